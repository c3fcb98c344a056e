//! The rules of both sides, named by the hostile input or published flaw they answer.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that trips has failed, which is its purpose"
)]

mod client;
mod extensions;
mod random;
mod server;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::*;

/// The nonce, key and accept value of RFC 6455 §1.3.
const NONCE: [u8; 16] = *b"the sample nonce";
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const ROOMY: HandshakeLimits = HandshakeLimits {
    max_head_size: 1 << 20,
    max_header_count: 100,
};

/// The header lines of a good request, one of them replaced by `with` (perhaps by nothing),
/// or `with` added where none begins with `name`.
fn request_with(name: &str, with: &str) -> Vec<u8> {
    let lines = [
        "Host: example.com".into(),
        "Upgrade: websocket".into(),
        "Connection: Upgrade".into(),
        format!("Sec-WebSocket-Key: {KEY}"),
        "Sec-WebSocket-Version: 13".into(),
    ];
    head_with("GET /chat HTTP/1.1", &lines, name, with)
}

/// The same for a good response.
fn response_with(name: &str, with: &str) -> Vec<u8> {
    let lines = [
        "Upgrade: websocket".into(),
        "Connection: Upgrade".into(),
        format!("Sec-WebSocket-Accept: {ACCEPT}"),
    ];
    head_with("HTTP/1.1 101 Switching Protocols", &lines, name, with)
}

fn head_with(first_line: &str, lines: &[String], name: &str, with: &str) -> Vec<u8> {
    let mut head = format!("{first_line}\r\n");
    let mut is_replaced = false;
    for line in lines {
        let line = if line.starts_with(&format!("{name}:")) {
            is_replaced = true;
            with
        } else {
            line
        };
        if !line.is_empty() {
            head += &format!("{line}\r\n");
        }
    }
    if !is_replaced && !with.is_empty() {
        head += &format!("{with}\r\n");
    }
    (head + "\r\n").into_bytes()
}

fn good_request() -> Vec<u8> {
    request_with("", "")
}

fn good_response() -> Vec<u8> {
    response_with("", "")
}

fn replace(input: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = input.windows(from.len()).position(|part| part == from);
    let at = at.expect("the pattern is there");
    [&input[..at], to, &input[at + from.len()..]].concat()
}

fn serve_within(limits: HandshakeLimits, input: &[u8]) -> Option<Result<Request, HandshakeError>> {
    let mut server = ServerHandshake::new(limits);
    server.handle_input(input);
    server.poll_request()
}

fn serve(input: &[u8]) -> Result<Request, HandshakeError> {
    serve_within(ROOMY, input).expect("an outcome")
}

#[track_caller]
fn assert_request_fails(input: &[u8], error: HandshakeError) {
    let shown = input.escape_ascii();
    assert_eq!(serve(input).unwrap_err(), error, "{shown:.300}");
}

fn client_of(request: &ClientRequest) -> ClientHandshake {
    ClientHandshake::new(request, NONCE, ROOMY)
}

fn client() -> ClientHandshake {
    client_of(&ClientRequest::new("example.com", "/chat").unwrap())
}

fn ask(input: &[u8]) -> Result<Response, HandshakeError> {
    let mut client = client();
    client.handle_input(input);
    client.poll_response().expect("an outcome")
}

#[track_caller]
fn assert_response_fails(input: &[u8], error: HandshakeError) {
    let shown = input.escape_ascii();
    assert_eq!(ask(input).unwrap_err(), error, "{shown:.300}");
}

#[track_caller]
fn refusal(outcome: Option<Result<Response, HandshakeError>>) -> Refusal {
    match outcome {
        Some(Err(HandshakeError::Refused(refusal))) => *refusal,
        other => panic!("{other:?}"),
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn rfc_6455_section_1_3_example() {
    let mut server = ServerHandshake::new(HandshakeLimits::default());
    let input = b"GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Origin: http://example.com\r\nSec-WebSocket-Protocol: chat, superchat\r\n\
        Sec-WebSocket-Version: 13\r\n\r\n";
    assert_eq!(server.handle_input(input), input.len());
    let request = server.poll_request().unwrap().unwrap();
    assert_eq!(request.host(), "server.example.com");
    assert!(request.subprotocols().eq(["chat", "superchat"]));
    let answer = server
        .accept(&Accept::new().subprotocol("chat").unwrap())
        .unwrap();
    assert_eq!(
        text(answer),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
         Sec-WebSocket-Protocol: chat\r\n\r\n"
    );
}

#[test]
fn request_head_is_exactly_this() {
    let request = ClientRequest::new("example.com:8080", "/chat?x=1")
        .and_then(|request| request.origin("https://example.com"))
        .and_then(|request| request.subprotocol("a"))
        .and_then(|request| request.subprotocol("b"))
        .and_then(|request| request.header("Cookie", "a=b"))
        .unwrap();
    assert_eq!(
        text(client_of(&request).request_head().to_vec()),
        "GET /chat?x=1 HTTP/1.1\r\nHost: example.com:8080\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\nOrigin: https://example.com\r\n\
         Sec-WebSocket-Protocol: a, b\r\nCookie: a=b\r\n\r\n"
    );
}

#[test]
fn h2_cve_2023_43669_head_is_not_reparsed() {
    let padding = format!("X: {}", "x".repeat(64 * 1024));
    let head = request_with("", &padding);
    let mut server = ServerHandshake::new(ROOMY);
    for (count, byte) in head.iter().enumerate() {
        let reader = server.reader().expect("still reading");
        assert_eq!(reader.examined, count, "each byte is looked at once");
        assert_eq!(server.handle_input(&[*byte]), 1);
    }
    // The parser proper consumes the head it is given, and so runs once.
    assert!(server.poll_request().unwrap().is_ok());
}

#[test]
fn debug_shows_no_credentials() {
    // C26: a token often stands in the query.
    let request = ClientRequest::new("example.com", "/chat?token=secret")
        .and_then(|request| request.header("Authorization", "secret"))
        .unwrap();
    let client = client_of(&request);
    let asked = request_with("", "Cookie: secret");
    let asked = serve(&replace(&asked, b"/chat", b"/chat?token=secret")).unwrap();
    assert_eq!(asked.target(), "/chat?token=secret");
    let accept = Accept::new().header("Set-Cookie", "secret").unwrap();
    let reject = Reject::new(403).unwrap().body("secret");
    let shown = format!("{request:?} {client:?} {asked:?} {accept:?} {reject:?}");
    assert!(!shown.contains("secret"), "{shown}");
    assert!(shown.contains("Cookie"), "{shown}");
    assert!(shown.contains("/chat"), "{shown}");
}

#[test]
fn errors_are_small_and_name_their_section() {
    assert!(size_of::<HandshakeError>() <= 16);
    for error in [HandshakeError::Key, HandshakeError::BareLf] {
        assert!(error.section().starts_with("RFC "));
        assert!(!format!("{error}").ends_with('.'));
    }
}
