//! Abuse of the opening handshake, as a connection meets it: the answer on the wire, one end, and
//! nothing behind it. The rules of the grammar have their tests in the core's handshake module.

use std::sync::Arc;

use wspulse_core::handshake::{Accept, AnswerError, ClientRequest, HandshakeError as E};
use wspulse_core::{Cause, CloseCode, Connection, Event, Initiator, Seed, SendError, State};
use wspulse_tests::kit::{at, drain, events};

use crate::judged::limited;

const GOOD: &str = "GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

fn server() -> Connection {
    let config = limited(1_000).max_head_size(1_000).max_header_count(20);
    let config = Arc::new(config.build().expect("valid"));
    Connection::server(config, Seed::predictable_for_tests(1), at(0))
}

fn client() -> Connection {
    asked_by_client().0
}

/// A client, and its request.
fn asked_by_client() -> (Connection, Vec<u8>) {
    let config = limited(1_000).max_head_size(1_000).max_header_count(20);
    let config = Arc::new(config.build().expect("valid"));
    let request = ClientRequest::new("example.com", "/chat").expect("legal");
    let mut client = Connection::client(config, &request, Seed::predictable_for_tests(1), at(0));
    let asked = drain(&mut client, at(0));
    (client, asked)
}

/// Hands over all, with the events between.
fn arrive(connection: &mut Connection, input: &[u8], list: &mut Vec<Event>) {
    let mut rest = input;
    for _ in 0..=input.len() {
        let taken = connection.handle_input(at(1), rest);
        rest = &rest[taken..];
        list.extend(events(connection));
    }
    assert!(rest.is_empty(), "{} bytes were not taken", rest.len());
}

/// What came of it: the events, the end among them, and the bytes that went out.
fn outcome(mut connection: Connection, input: &[u8], cut: usize) -> (Vec<Event>, Vec<u8>) {
    let mut list = Vec::new();
    for piece in input.chunks(cut) {
        arrive(&mut connection, piece, &mut list);
    }
    let out = drain(&mut connection, at(1));
    if connection.state() != State::Closed {
        assert!(connection.wants_shutdown() || out.is_empty(), "half-closes");
        connection.handle_eof(at(2));
    }
    list.extend(events(&mut connection));
    assert_eq!(connection.state(), State::Closed);
    assert!(drain(&mut connection, at(3)).is_empty());
    assert_eq!(connection.poll_timeout(), None);
    (list, out)
}

/// The error it ends with, after no other event, and the bytes that went out.
#[track_caller]
fn refused(make: fn() -> Connection, input: &[u8]) -> (E, Vec<u8>) {
    let (mut first, mut answer) = (None, Vec::new());
    for cut in [usize::MAX, 1, 7] {
        let (list, out) = outcome(make(), input, cut);
        let shown = input.escape_ascii();
        let [Event::Closed(closed)] = &list[..] else {
            panic!("{list:?} for {shown:.300}");
        };
        let Cause::Handshake(error) = &closed.cause else {
            panic!("{closed:?} for {shown:.300}");
        };
        assert_eq!(closed.initiator, Initiator::Local, "{shown:.300}");
        assert!(!closed.clean && closed.received.is_none());
        let before = first.get_or_insert_with(|| error.clone());
        assert_eq!(before, error, "in pieces of {cut}: {shown:.300}");
        answer = out;
    }
    (first.expect("an error"), answer)
}

/// One line of the good request replaced, or one added before the end.
fn with(line: &str, instead: &str) -> String {
    assert!(GOOD.contains(line), "{line}");
    GOOD.replacen(line, instead, 1)
}

fn and(line: &str) -> String {
    with("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"))
}

#[test]
fn a_request_that_breaks_a_rule_gets_its_status_and_the_end() {
    let many = "X: y\r\n".repeat(20);
    let long = format!("Cookie: {}", "c".repeat(1_000));
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let table = [
        (and(&long), 431, E::HeadTooLarge { limit: 1_000 }),
        (
            with("Host", &format!("{many}Host")),
            431,
            E::TooManyHeaders { limit: 20 },
        ),
        (and("Host : x"), 400, E::HeaderLine),
        (and("no colon"), 400, E::HeaderLine),
        (and("X: a\r\n folded"), 400, E::LineFolding),
        (and("X: a\0b"), 400, E::ControlByte),
        (and("X: a\rb"), 400, E::BareCr),
        (GOOD.replace("\r\n", "\n"), 400, E::BareLf),
        (format!("\r\n\r\n{GOOD}"), 400, E::NotHttp),
        (format!("\0{GOOD}"), 400, E::NotHttp),
        (and(key), 400, E::RepeatedHeader),
        (and("Host: evil.example"), 400, E::RepeatedHeader),
        (with(key, "Sec-WebSocket-Key: dGhl"), 400, E::Key),
        (with(&format!("{key}\r\n"), ""), 400, E::Key),
        (with("Version: 13", "Version: 8"), 426, E::Version),
        (with("Version: 13", "Version: 013"), 426, E::Version),
        (with("GET", "POST"), 405, E::Method),
        (with("HTTP/1.1", "HTTP/1.0"), 505, E::HttpVersion),
        (with("HTTP/1.1", "HTTP/2.0"), 505, E::HttpVersion),
        (with("Host: example.com\r\n", ""), 400, E::Host),
        (with("example.com", "user@example.com"), 400, E::Host),
        (with("/chat", "http://evil.example/"), 400, E::Target),
        (with("websocket", "websocketx"), 400, E::Upgrade),
        (
            with("Connection: Upgrade", "Connection: close"),
            400,
            E::Connection,
        ),
        (and("Content-Length: 5"), 400, E::RequestBody),
        (and("Transfer-Encoding: chunked"), 400, E::RequestBody),
        (and("Sec-WebSocket-Protocol: a b"), 400, E::Subprotocols),
        (
            and("Sec-WebSocket-Extensions: a; b=\"c"),
            400,
            E::Extensions,
        ),
    ];
    for (input, status, error) in table {
        // H10: what is pipelined behind it is never parsed.
        let input = [input.as_bytes(), GOOD.as_bytes()].concat();
        let (got, answer) = refused(server, &input);
        assert_eq!(got, error, "{}", input.escape_ascii());
        assert_eq!(got.status(), Some(status));
        let answer = String::from_utf8(answer).expect("ASCII");
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        let (head, _) = answer.split_once("\r\n\r\n").expect("a whole head");
        // 426 names what it would have upgraded to (RFC 9110 §15.5.22), and closes all the same.
        assert!(head.contains("close\r\n"), "{answer}");
        assert_eq!(head.contains("\r\nUpgrade: "), status == 426, "{answer}");
        assert_eq!(head.contains("-Version: 13"), status == 426, "{answer}");
    }
}

/// What a server says to the request of [`client`].
fn answer() -> String {
    let mut server = server();
    arrive(&mut server, &asked_by_client().1, &mut Vec::new());
    server.accept(at(0), &Accept::new()).expect("it asks");
    String::from_utf8(drain(&mut server, at(0))).expect("ASCII")
}

#[test]
fn an_answer_that_breaks_a_rule_opens_nothing_and_is_not_answered() {
    let good = answer();
    let (list, _) = outcome(client(), good.as_bytes(), 1);
    assert!(
        matches!(list[..], [Event::Open(_), Event::Closed(_)]),
        "{list:?}"
    );

    let with = |line: &str, instead: &str| {
        assert!(good.contains(line), "{good}");
        good.replacen(line, instead, 1)
    };
    let and = |line: &str| with("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"));
    let accept = good
        .find("Accept: ")
        .map(|at| &good[at..at + 36])
        .expect("there");
    let other = accept.to_lowercase();
    let long = format!("Server: {}", "s".repeat(1_000));
    let many = "X: y\r\n".repeat(20);
    let table = [
        (with(accept, &other), E::Accept),
        (with(accept, "Accept: "), E::Accept),
        (with("Sec-WebSocket-Accept", "X"), E::Accept),
        (and(&format!("Sec-WebSocket-{accept}")), E::RepeatedHeader),
        (with("Upgrade: websocket", "Upgrade: h2c"), E::Upgrade),
        (with("Upgrade: websocket\r\n", ""), E::Upgrade),
        (
            with("Connection: Upgrade", "Connection: close"),
            E::Connection,
        ),
        (and("Sec-WebSocket-Protocol: chat"), E::UnofferedSubprotocol),
        (and("Sec-WebSocket-Extensions: x"), E::UnofferedExtension),
        (and(&long), E::HeadTooLarge { limit: 1_000 }),
        (
            with("Upgrade:", &format!("{many}Upgrade:")),
            E::TooManyHeaders { limit: 20 },
        ),
        (and("X: a\r\n folded"), E::LineFolding),
        (with("HTTP/1.1", "HTTP/1.0"), E::HttpVersion),
        (with(" 101 ", " 1010 "), E::StartLine),
        (with(" 101 ", " 099 "), E::StartLine),
        ("HTTP/1.1 100 Continue\r\n\r\n".repeat(9), E::TooManyInterim),
        (format!("\r\n{good}"), E::NotHttp),
        ("\x15\x03\x01".into(), E::NotHttp),
    ];
    for (input, error) in table {
        // Whatever is behind it, it is not delivered.
        let (got, answer) = refused(client, &[input.as_bytes(), b"\x81\x02hi"].concat());
        assert_eq!(got, error, "{input}");
        assert!(answer.is_empty(), "{input}");
    }
}

/// F14, for the handshake: the end of the stream after each byte.
#[test]
fn f14_the_end_at_every_byte_of_a_handshake() {
    let good = answer();
    for (make, whole) in [
        (server as fn() -> Connection, GOOD.as_bytes()),
        (client, good.as_bytes()),
    ] {
        for end in 0..whole.len() {
            let (list, out) = outcome(make(), &whole[..end], usize::MAX);
            let [Event::Closed(closed)] = &list[..] else {
                panic!("{list:?} behind byte {end}");
            };
            assert_eq!(closed.cause, Cause::Handshake(E::UnexpectedEof), "{end}");
            assert_eq!(
                (closed.code(), closed.initiator),
                (CloseCode::ABNORMAL, Initiator::Peer)
            );
            assert!(out.is_empty(), "nobody is there to be answered");
        }
    }
}

/// F18, for the handshake.
#[test]
fn f18_after_a_failed_handshake_nothing_counts() {
    for (make, input) in [
        (
            server as fn() -> Connection,
            &b"POST / HTTP/1.1\r\n\r\n"[..],
        ),
        (client, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let mut connection = make();
        let mut list = Vec::new();
        arrive(&mut connection, input, &mut list);
        assert_eq!(
            connection.handle_input(at(1), &vec![b'x'; 1 << 20]),
            1 << 20
        );
        assert!(matches!(connection.send("x"), Err(SendError::NotOpen(_))));
        assert_eq!(connection.ping(b""), Err(SendError::PingNotOpen));
        assert_eq!(
            connection.accept(at(1), &Accept::new()),
            Err(AnswerError::NoRequest)
        );
        let closed = connection.close(at(1), CloseCode::NORMAL, "");
        closed.expect("a legal code");
        drain(&mut connection, at(1));
        connection.handle_eof(at(2));
        connection.abort(at(3));
        list.extend(events(&mut connection));
        let ends = list
            .iter()
            .filter(|event| matches!(event, Event::Closed(_)));
        assert_eq!((ends.count(), list.len()), (1, 1), "{list:?}");
        assert!(connection.poll_timeout().is_none() && !connection.wants_write());
    }
}

/// The application has not decided, and more comes: it waits in front of the door.
#[test]
fn nothing_is_taken_while_a_request_waits_for_its_answer() {
    let mut server = server();
    let taken = server.handle_input(at(1), GOOD.as_bytes());
    assert_eq!(taken, GOOD.len());
    assert!(matches!(server.poll_event(), Some(Event::Request(_))));
    for more in [GOOD.as_bytes(), b"\x81\x80\0\0\0\0", &[0; 100_000]] {
        assert_eq!(server.handle_input(at(2), more), 0);
        assert!(!server.wants_read() && !server.wants_write());
    }
}
