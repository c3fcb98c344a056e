//! The way to a server: names, refusals, redirects, and those who never answer.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;

use common::*;
use wspulse_core::handshake::{Accept, AnswerError, HandshakeError, OriginCheck, Reject, Request};
use wspulse_core::{Cause, CloseCode, Config, Message};
use wspulse_mio::{
    ConnectOptions, ConnectionId, Connections, Error, Handler, RedirectError, Stage, UrlError,
};

/// Answers each request with the next of `answers`, and returns the requests.
fn answering(answers: Vec<String>) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (address, answering_on(listener, answers))
}

fn answering_on(listener: TcpListener, answers: Vec<String>) -> JoinHandle<Vec<String>> {
    std::thread::spawn(move || {
        let answer = |answer: String| {
            let (stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut raw = Raw(stream);
            let head = raw.read_head();
            raw.write(answer.as_bytes());
            raw.0.shutdown(std::net::Shutdown::Write).unwrap();
            raw.read_to_end();
            head
        };
        answers.into_iter().map(answer).collect()
    })
}

fn see_other(location: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

struct Client {
    peer: Running<Notes>,
    seen: Receiver<Seen>,
}

impl Client {
    fn new() -> Self {
        let (notes, seen) = Notes::new(false);
        let peer = Running::start(notes, Config::default());
        Self { peer, seen }
    }

    fn connect(&self, url: &str, options: impl Into<ConnectOptions>) -> ConnectionId {
        let (url, options) = (url.to_owned(), options.into());
        self.peer
            .look(move |_, c| c.connect(&url, options).unwrap())
    }

    fn end_of(&self, url: &str, options: impl Into<ConnectOptions>) -> Error {
        self.connect(url, options);
        let error = wait_for_end(&self.seen).unwrap_err();
        self.peer.wait_until_empty();
        error
    }
}

fn options() -> ConnectOptions {
    ConnectOptions::new(Config::default())
}

#[test]
fn what_can_never_work_is_said_at_once() {
    let client = Client::new();
    let errors = client.peer.look(|_, connections| {
        let mut error = |url: &str, options: ConnectOptions| {
            connections.connect(url, options).unwrap_err().to_string()
        };
        [
            error("http://example.com", options()),
            error("ws://me@example.com", options()),
            error("ws://example.com", options().header("A", "b\r\nC: d")),
        ]
    });
    assert_eq!(errors[0], UrlError::Scheme.to_string());
    assert_eq!(errors[1], UrlError::Credentials.to_string());
    assert!(errors[2].contains("header"), "{}", errors[2]);
    // Other packages of one build may have said whom to trust.
    if options().tls_config().is_err() {
        let error = client
            .peer
            .look(|_, c| c.connect("wss://example.com", options()).unwrap_err());
        assert!(matches!(error, Error::Url(UrlError::Tls)), "{error:?}");
    }
    assert!(client.peer.look(|_, connections| connections.is_empty()));
}

#[test]
fn a_name_is_looked_up_and_its_addresses_are_tried_in_turn() {
    let server = Running::start(Notes::new(true).0, Config::default());
    let client = Client::new();
    // Where ::1 comes first, nobody listens there.
    let url = format!("ws://localhost:{}/", server.address.port());
    let id = client.connect(&url, options());
    assert_eq!(wait_for_open(&client.seen), id);
}

#[test]
fn many_lookups_at_once_all_come_to_their_end() {
    let server = Running::start(Notes::new(true).0, Config::default());
    let client = Client::new();
    let url = format!("ws://localhost:{}/", server.address.port());
    for _ in 0..30 {
        client.connect(&url, options());
    }
    for _ in 0..30 {
        wait_for_open(&client.seen);
    }
}

#[test]
fn a_name_without_an_address_is_an_error_of_the_lookup() {
    let client = Client::new();
    let error = client.end_of("ws://no-such-host.invalid/", options());
    assert!(
        matches!(error, Error::Io(_) | Error::Timeout(Stage::Lookup)),
        "{error:?}"
    );
    let error = client.end_of(
        "ws://no-such-host.invalid/",
        options().lookup_timeout(std::time::Duration::ZERO),
    );
    assert!(matches!(
        error,
        Error::Timeout(Stage::Lookup) | Error::Io(_)
    ));
}

#[test]
fn a_server_that_refuses_tcp_is_an_error_of_io() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = Client::new();
    let error = client.end_of(&format!("ws://{address}/"), options());
    assert!(
        matches!(&error, Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused),
        "{error:?}"
    );
}

/// A listener whose queue is full leaves the next SYN unanswered.
#[test]
fn a_server_that_does_not_answer_tcp_is_a_timeout_of_that_stage() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    // Std listens with a queue of its own length; fill it.
    let mut waiting = Vec::new();
    for _ in 0..5_000 {
        match std::net::TcpStream::connect_timeout(&address, millis(200)) {
            Ok(stream) => waiting.push(stream),
            Err(_) => break,
        }
    }
    let client = Client::new();
    let error = client.end_of(
        &format!("ws://{address}/"),
        options().connect_timeout(millis(100)),
    );
    assert!(
        matches!(error, Error::Timeout(Stage::Connect)),
        "{error:?} after {} connections",
        waiting.len()
    );
}

#[test]
fn a_client_that_is_given_up_on_its_way_is_told_so() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::new();
    let url = format!("ws://{}/", silent.local_addr().unwrap());
    let id = client.connect(&url, options());
    client.peer.handle.close(id, CloseCode::NORMAL, "").unwrap();
    assert!(matches!(
        wait_for_end(&client.seen).unwrap_err(),
        Error::NotOpen | Error::Closed(_)
    ));
    client.peer.wait_until_empty();
}

#[test]
fn a_refusal_is_the_cause_with_its_status() {
    let (address, thread) = answering(vec![see_other("/elsewhere")]);
    let client = Client::new();
    let Error::Closed(closed) = client.end_of(&format!("ws://{address}/"), options()) else {
        panic!("it is the peer's doing");
    };
    let Cause::Handshake(HandshakeError::Refused(refusal)) = &closed.cause else {
        panic!("{:?}", closed.cause);
    };
    assert_eq!(refusal.status(), 302);
    thread.join().unwrap();
}

#[test]
fn a7_only_what_is_public_follows_a_redirect_to_another_origin() {
    let refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_owned();
    let (other, strangers) = answering(vec![refusal]);
    let (address, thread) = answering(vec![see_other(&format!("ws://{other}/"))]);
    let options = options()
        .max_redirects(1)
        .header("Authorization", "Bearer 4711")
        .header("X-Api-Key", "4711")
        .origin("https://4711.example")
        .subprotocol("bearer.4711")
        .public_header("X-Trace", "1");
    Client::new().end_of(&format!("ws://{address}/"), options);
    assert!(thread.join().unwrap()[0].contains("4711"));
    let head = &strangers.join().unwrap()[0];
    assert!(!head.contains("4711") && head.contains("X-Trace"), "{head}");
}

/// The path that a stranger leads back to is the stranger's choice.
#[test]
fn credentials_stay_with_their_origin_even_if_the_way_leads_back() {
    let refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_owned();
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = origin.local_addr().unwrap();
    let (other, stranger) = answering(vec![see_other(&format!("ws://{address}/back"))]);
    let origin = answering_on(origin, vec![see_other(&format!("ws://{other}/")), refusal]);
    let options = options()
        .max_redirects(2)
        .header("Authorization", "Bearer 4711");
    Client::new().end_of(&format!("ws://{address}/"), options);
    stranger.join().unwrap();
    let heads = origin.join().unwrap();
    assert!(heads[0].contains("4711"), "{}", heads[0]);
    assert!(heads[1].starts_with("GET /back "), "{}", heads[1]);
    assert!(!heads[1].contains("4711"), "{}", heads[1]);
}

#[test]
fn redirects_are_followed() {
    let server = Running::start(Notes::new(true).0, Config::default());
    let elsewhere = format!("http://{}/there", server.address);
    let (address, thread) = answering(vec![see_other("/here?x"), see_other(&elsewhere)]);
    let client = Client::new();
    let options = options()
        .max_redirects(2)
        .header("Authorization", "Bearer 4711");
    let id = client.connect(&format!("ws://{address}/start"), options);
    assert_eq!(wait_for_open(&client.seen), id);
    client.peer.handle.send(id, "hello").unwrap();
    assert_eq!(wait_for_message(&client.seen), Message::from("hello"));
    let requests = thread.join().unwrap();
    assert!(requests[0].starts_with("GET /start "));
    assert!(requests[1].starts_with("GET /here?x "));
    assert!(requests.iter().all(|head| head.contains("4711")));
}

#[test]
fn a_redirect_too_many_or_to_nowhere_is_not_followed() {
    let client = Client::new();
    let end = |answers, count| {
        let (address, thread) = answering(answers);
        let url = format!("ws://{address}/");
        let error = client.end_of(&url, options().max_redirects(count));
        thread.join().unwrap();
        match error {
            Error::Redirect(error) => error,
            other => panic!("{other:?}"),
        }
    };
    let twice = vec![see_other("/a"), see_other("/b")];
    assert_eq!(end(twice, 1), RedirectError::TooMany);
    let nowhere = "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n".to_owned();
    assert_eq!(end(vec![nowhere], 1), RedirectError::Location);
    assert_eq!(end(vec![see_other("ftp://a/")], 1), RedirectError::Location);
}

#[test]
fn a_stream_that_ends_in_the_handshake_is_said() {
    let (address, thread) = answering(vec![String::new()]);
    let client = Client::new();
    let error = client.end_of(&format!("ws://{address}/"), options());
    let Error::Closed(closed) = error else {
        panic!("{error:?}");
    };
    assert_eq!(
        closed.cause,
        Cause::Handshake(HandshakeError::UnexpectedEof)
    );
    thread.join().unwrap();
}

/// A handler that looks at requests.
struct Doorman {
    notes: Notes,
}

impl Handler for Doorman {
    fn request(
        &mut self,
        _: &mut Connections,
        _: ConnectionId,
        request: &Request,
    ) -> Result<Accept, Reject> {
        match request.target() {
            "/closed" => Err(Reject::new(403).unwrap().body("not here")),
            "/mistake" => Ok(Accept::new().subprotocol("never-offered").unwrap()),
            "/header" => Ok(Accept::new().header("X-Room", "two\r\nlines")?),
            _ => match request.check_origin(["https://example.com"]) {
                OriginCheck::Refused => Err(Reject::new(403).unwrap()),
                _ => Ok(Accept::new().subprotocol("chat.v2").unwrap()),
            },
        }
    }

    fn message(&mut self, connections: &mut Connections, id: ConnectionId, message: Message) {
        self.notes.message(connections, id, message);
    }

    fn closed(
        &mut self,
        connections: &mut Connections,
        id: ConnectionId,
        end: Result<Box<wspulse_core::Closed>, Error>,
    ) {
        self.notes.closed(connections, id, end);
    }
}

#[test]
fn the_handler_decides_about_requests() {
    let (notes, seen) = Notes::new(true);
    let server = Running::start(Doorman { notes }, Config::default());
    let url = format!("ws://{}", server.address);
    let client = Client::new();
    client.connect(&format!("{url}/chat"), options().subprotocol("chat.v2"));
    let chosen = wait_for(&client.seen, |seen| match seen {
        Seen::Open(_, subprotocol) => Some(subprotocol),
        _ => None,
    });
    assert_eq!(chosen.as_deref(), Some("chat.v2"));

    let refused = |path: &str, options: ConnectOptions| {
        client.connect(&format!("{url}{path}"), options);
        let Err(Error::Closed(closed)) = wait_for_end(&client.seen) else {
            panic!("it is refused");
        };
        match closed.cause {
            Cause::Handshake(HandshakeError::Refused(refusal)) => refusal.status(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused("/closed", options()), 403);
    let Err(Error::Closed(closed)) = wait_for_end(&seen) else {
        panic!("the server knows that it refused");
    };
    assert_eq!(closed.cause, Cause::Rejected { status: 403 });
    let stranger = options().origin("https://evil.example");
    assert_eq!(refused("/chat", stranger), 403);
    wait_for_end(&seen).unwrap_err();
    // The client is not left waiting over a mistake of the server's.
    assert_eq!(refused("/mistake", options()), 500);
    assert!(matches!(
        wait_for_end(&seen),
        Err(Error::Answer(AnswerError::UnofferedSubprotocol))
    ));
    assert_eq!(refused("/header", options()), 500);
    assert!(matches!(
        wait_for_end(&seen),
        Err(Error::Answer(AnswerError::HeaderValue))
    ));
}

#[test]
fn a_request_that_trickles_in_too_slowly_is_a_timeout() {
    let (notes, seen) = Notes::new(true);
    let config = Config::builder()
        .handshake_timeout(millis(100))
        .build()
        .unwrap();
    let server = Running::start(notes, config);
    let mut raw = Raw::connect(server.address);
    raw.0.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let Err(Error::Closed(closed)) = wait_for_end(&seen) else {
        panic!("it never opened");
    };
    assert_eq!(closed.cause, Cause::HandshakeTimeout);
    assert_eq!(raw.0.read(&mut [0; 16]).unwrap_or(0), 0);
}
