//! From a URL to a connection.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use wspulse_core::handshake::{Accept, HandshakeError};
use wspulse_core::{Cause, CloseCode, Config};
use wspulse_std::{
    ConnectOptions, Error, RedirectError, Stage, UrlError, accept, accept_with, connect,
};

fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Answers one request with `answer`, and returns the request.
fn answer(listener: &TcpListener, answer: &str) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    let request = read_request(&mut stream);
    stream.write_all(answer.as_bytes()).unwrap();
    request
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        request.push(byte[0]);
    }
    String::from_utf8(request).unwrap()
}

fn redirect(status: u16, location: &str) -> String {
    format!("HTTP/1.1 {status} Elsewhere\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

#[test]
fn connect_and_accept_meet_over_tcp() {
    within(ms(10_000), || {
        let (listener, port) = listen();
        let server = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut ws = accept_with(stream, Config::default(), |request| {
                assert_eq!(request.target(), "/chat?x=1");
                assert_eq!(request.header("x-room"), Some(&b"7"[..]));
                let chosen = request.subprotocols().last().unwrap();
                Ok(Accept::new().subprotocol(chosen).unwrap())
            })?;
            echo(&mut ws)
        });
        let options = ConnectOptions::new(Config::default())
            .subprotocol("v2")
            .subprotocol("v1")
            .header("X-Room", "7");
        let mut client = connect(&format!("ws://localhost:{port}/chat?x=1"), options).unwrap();
        assert_eq!(client.response().unwrap().subprotocol(), Some("v1"));
        assert!(client.get_ref().nodelay().unwrap());
        client.send("hello").unwrap();
        assert_eq!(client.next().unwrap().unwrap().as_text(), Some("hello"));
        client.close(CloseCode::NORMAL, "").unwrap();
        server.join().unwrap().unwrap();
    });
}

#[test]
fn what_is_wrong_with_a_url_or_a_header_is_said_before_anything_is_done() {
    let refused = |url: &str| connect(url, Config::default()).unwrap_err();
    assert!(matches!(
        refused("http://localhost/"),
        Error::Url(UrlError::Scheme)
    ));
    assert!(matches!(
        refused("localhost"),
        Error::Url(UrlError::Malformed(_))
    ));
    let options = ConnectOptions::new(Config::default()).header("X-A", "b\r\nX-C: d");
    let refused = connect("ws://localhost:1/", options).unwrap_err();
    assert!(matches!(refused, Error::Request(_)));
}

#[test]
fn redirects_are_followed_as_far_as_allowed() {
    within(ms(20_000), || {
        for status in [301, 302, 303, 307, 308] {
            let (first, port) = listen();
            let (second, other) = listen();
            let server = thread::spawn(move || {
                let trusted = answer(&first, &redirect(status, "/here?a"));
                let still = answer(
                    &first,
                    &redirect(status, &format!("http://localhost:{other}/")),
                );
                let (mut stream, _) = second.accept().unwrap();
                // A look at the request, whose bytes stay for the handshake.
                let mut peeked = [0; 4096];
                thread::sleep(ms(50));
                let count = stream.peek(&mut peeked).unwrap();
                let stranger = String::from_utf8(peeked[..count].to_vec()).unwrap();
                stream.flush().unwrap();
                let mut ws = accept(stream, Config::default()).unwrap();
                assert!(ws.next().is_none());
                [trusted, still, stranger]
            });
            let options = ConnectOptions::new(Config::default())
                .header("Authorization", "Bearer 4711")
                .header("X-Api-Key", "4711")
                .origin("https://4711.example")
                .subprotocol("bearer.4711")
                .public_header("X-Trace", "1")
                .max_redirects(2);
            let mut client = connect(&format!("ws://localhost:{port}/"), options).unwrap();
            client.close(CloseCode::NORMAL, "").unwrap();
            let [trusted, still, stranger] = server.join().unwrap();
            assert!(trusted.contains("4711") && still.contains("4711"));
            assert!(still.starts_with("GET /here?a "), "{still}");
            assert!(
                !stranger.contains("4711"),
                "A7: only what is public leaves its origin: {stranger}"
            );
            assert!(stranger.contains("X-Trace: 1"), "{stranger}");
        }
    });
}

#[test]
fn a_redirect_too_many_is_not_followed() {
    within(ms(10_000), || {
        let (listener, port) = listen();
        let server = thread::spawn(move || {
            for _ in 0..3 {
                answer(&listener, &redirect(302, "/again"));
            }
        });
        let url = format!("ws://localhost:{port}/");
        let options = ConnectOptions::new(Config::default()).max_redirects(2);
        let error = connect(&url, options).unwrap_err();
        assert!(
            matches!(error, Error::Redirect(RedirectError::TooMany)),
            "{error:?}"
        );
        server.join().unwrap();
    });
}

#[test]
fn a_redirect_is_a_refusal_unless_redirects_are_followed() {
    within(ms(10_000), || {
        let (listener, port) = listen();
        let server = thread::spawn(move || {
            answer(&listener, &redirect(302, "/again"));
            answer(&listener, "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n");
        });
        let url = format!("ws://localhost:{port}/");
        match connect(&url, Config::default()) {
            Err(Error::Closed(closed)) => assert!(matches!(
                &closed.cause,
                Cause::Handshake(HandshakeError::Refused(refusal)) if refusal.status() == 302
            )),
            other => panic!("{other:?}"),
        }
        let options = ConnectOptions::new(Config::default()).max_redirects(2);
        let error = connect(&url, options).unwrap_err();
        assert!(
            matches!(error, Error::Redirect(RedirectError::Location)),
            "{error:?}"
        );
        server.join().unwrap();
    });
}

#[test]
fn each_stage_has_its_own_timeout() {
    within(ms(10_000), || {
        let (_listener, port) = listen();
        let url = format!("ws://127.0.0.1:{port}/");
        let options = ConnectOptions::new(Config::default()).connect_timeout(Duration::ZERO);
        let error = connect(&url, options).unwrap_err();
        assert!(matches!(error, Error::Timeout(Stage::Connect)), "{error:?}");

        let options = ConnectOptions::new(Config::default()).lookup_timeout(Duration::ZERO);
        let error = connect(&format!("ws://localhost:{port}/"), options).unwrap_err();
        assert!(matches!(error, Error::Timeout(Stage::Lookup)), "{error:?}");

        // A server that takes the connection and says nothing.
        let config = Config::builder()
            .handshake_timeout(ms(200))
            .build()
            .unwrap();
        let start = Instant::now();
        match connect(&url, config) {
            Err(Error::Closed(closed)) => assert_eq!(closed.cause, Cause::HandshakeTimeout),
            other => panic!("{other:?}"),
        }
        assert!(start.elapsed() < ms(1_000), "{:?}", start.elapsed());
    });
}

#[test]
fn nobody_there_is_an_io_error() {
    within(ms(20_000), || {
        let (listener, port) = listen();
        drop(listener);
        let error = connect(&format!("ws://localhost:{port}/"), Config::default()).unwrap_err();
        assert!(
            matches!(&error, Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused),
            "{error:?}"
        );
        let error = connect("ws://nobody.invalid/", Config::default()).unwrap_err();
        assert!(
            matches!(error, Error::Io(_) | Error::Timeout(Stage::Lookup)),
            "{error:?}"
        );
    });
}

/// The path that a stranger leads back to is the stranger's choice.
#[test]
fn credentials_stay_with_their_origin_even_if_the_way_leads_back() {
    within(ms(10_000), || {
        let (origin, port) = listen();
        let (stranger, other) = listen();
        let server = thread::spawn(move || {
            let there = redirect(302, &format!("http://localhost:{other}/"));
            let back = redirect(302, &format!("http://localhost:{port}/back"));
            let first = answer(&origin, &there);
            answer(&stranger, &back);
            let last = answer(
                &origin,
                "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
            );
            (first, last)
        });
        let options = ConnectOptions::new(Config::default())
            .header("Authorization", "Bearer 4711")
            .max_redirects(2);
        connect(&format!("ws://localhost:{port}/"), options).unwrap_err();
        let (first, last) = server.join().unwrap();
        assert!(first.contains("4711"), "{first}");
        assert!(last.starts_with("GET /back "), "{last}");
        assert!(!last.contains("4711"), "{last}");
    });
}
