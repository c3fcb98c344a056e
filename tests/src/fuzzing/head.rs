//! The heads of the opening handshake: any bytes, any cut.

use wspulse_core::handshake::{
    Accept, ClientHandshake, ClientRequest, HandshakeError, HandshakeLimits, Reject, Request,
    Response, ServerHandshake,
};

use super::http::{end_of_head, is_token, nonce_of, split_heads, split_lines};
use super::opening::Opening;
use super::{Cuts, Reader};
use crate::alloc::{BASE, measure};

/// Reads a stream as a request or as a response, cut in three ways.
///
/// An end holds at most twice what arrived and 4 KiB, at any time; the answer to a bad request is at
/// most 4 KiB.
///
/// The input is a byte (bit 0: a response; bits 1 and 2: a small limit of the size, of the
/// number of headers), the sizes of pieces behind their count, and the stream.
pub fn head(data: &[u8]) {
    let mut reader = Reader::new(data);
    let flags = reader.byte();
    let cuts = Cuts::new(reader.counted());
    let stream = reader.rest();
    let mut limits = HandshakeLimits::default();
    if flags & 2 != 0 {
        limits.max_head_size = 256;
    }
    if flags & 4 != 0 {
        limits.max_header_count = 6;
    }
    if flags & 1 == 0 {
        request(stream, cuts, limits);
    } else {
        response(stream, cuts, limits);
    }
}

// ---- requests

type Asked = Option<Result<Request, HandshakeError>>;

fn request(stream: &[u8], cuts: Cuts<'_>, limits: HandshakeLimits) {
    let (mut server, outcome, taken) = read_request(stream, Cuts::new(&[]), limits);
    for cuts in [cuts, Cuts::new(&[u8::MAX])] {
        let (_, other, other_taken) = read_request(stream, cuts, limits);
        assert_eq!((&outcome, taken), (&other, other_taken), "cut");
    }
    let (mut at_once, mut heap) = Opening::making(|| ServerHandshake::new(limits));
    let at_once_taken = heap.input(stream, |stream| at_once.handle_input(stream));
    assert_eq!(at_once_taken, taken, "at once");
    let asked = heap.call(|| at_once.poll_request());
    assert_eq!(asked, outcome, "at once");
    heap.call(|| drop((asked, at_once)));

    match outcome {
        None => {
            assert_eq!(taken, stream.len());
            assert!(taken <= limits.max_head_size, "holds more than the limit");
            assert_eq!(end_of_head(stream), None, "a whole head without an answer");
            server.handle_eof();
            let ended = server.poll_request();
            assert_eq!(ended, Some(Err(HandshakeError::UnexpectedEof)));
            assert_eq!(server.poll_request(), None);
        }
        Some(Ok(request)) => {
            assert_eq!(Some(taken), end_of_head(stream), "past the head");
            assert!(taken <= limits.max_head_size);
            assert!(request.headers().count() <= limits.max_header_count);
            keeps_the_rules(&stream[..taken], &request);
            is_answered(&mut server, &request);
            is_asked_again(&request);
        }
        Some(Err(error)) => {
            assert_eq!(taken, stream.len(), "what follows an error is swallowed");
            is_refused(&error);
            assert_eq!(server.handle_input(b"GET / HTTP/1.1\r\n\r\n"), 18);
            assert_eq!(server.poll_request(), None, "a second answer");
            match error {
                HandshakeError::HeadTooLarge { limit } => {
                    assert_eq!(limit, limits.max_head_size);
                    assert!(stream.len() > limit);
                }
                HandshakeError::TooManyHeaders { limit } => {
                    assert_eq!(limit, limits.max_header_count);
                    let lines = stream.split(|&byte| byte == b'\n').count();
                    assert!(lines > limits.max_header_count);
                }
                HandshakeError::UnexpectedEof => panic!("the stream has not ended"),
                _ => {}
            }
        }
    }
}

fn read_request(
    mut stream: &[u8],
    mut cuts: Cuts<'_>,
    limits: HandshakeLimits,
) -> (ServerHandshake, Asked, usize) {
    let (mut server, mut heap) = Opening::making(|| ServerHandshake::new(limits));
    let mut outcome = None;
    let mut taken = 0;
    while let Some(piece) = cuts.split(&mut stream) {
        assert_eq!(server.handle_input(&[]), 0);
        let count = heap.input(piece, |piece| server.handle_input(piece));
        assert!(count <= piece.len());
        if matches!(outcome, Some(Ok(_))) {
            assert_eq!(count, 0, "past the head");
        }
        taken += count;
        if let Some(result) = heap.call(|| server.poll_request()) {
            assert!(outcome.is_none(), "two outcomes");
            outcome = Some(result);
        } else if outcome.is_none() {
            assert_eq!(count, piece.len(), "stopped without an outcome");
        }
    }
    (server, outcome, taken)
}

/// Reads the head once more, line by line: what was accepted has all that RFC 6455 §4.2.1 wants.
fn keeps_the_rules(head: &[u8], request: &Request) {
    let text = head.strip_suffix(b"\r\n\r\n").expect("an empty line");
    // RFC 9112 §2.2: one before the request is skipped.
    let text = text.strip_prefix(b"\r\n").unwrap_or(text);
    let mut lines = split_lines(text).into_iter();
    let first = lines.next().expect("a first line");
    let target = first
        .strip_prefix(b"GET ")
        .and_then(|rest| rest.strip_suffix(b" HTTP/1.1"))
        .expect("a request line");
    assert_eq!(target, request.target().as_bytes());

    let mut headers = Vec::new();
    for line in lines {
        let colon = line.iter().position(|&byte| byte == b':').expect("a colon");
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        assert!(is_token(name));
        let is_clean = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7F);
        assert!(value.iter().all(is_clean));
        headers.push((name.to_ascii_lowercase(), value.trim_ascii()));
    }
    let named = |name: &str| -> Vec<&[u8]> {
        let matches = headers
            .iter()
            .filter(|(found, _)| found == name.as_bytes())
            .map(|(_, value)| *value);
        matches.collect()
    };
    let has_word = |name: &str, word: &str| {
        named(name)
            .join(&b","[..])
            .split(|&byte| byte == b',')
            .any(|element| element.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    };
    assert_eq!(named("host"), [request.host().as_bytes()]);
    assert!(has_word("upgrade", "websocket"));
    assert!(has_word("connection", "upgrade"));
    assert_eq!(named("sec-websocket-version"), [b"13"]);
    assert_eq!(named("sec-websocket-key").len(), 1);
    assert!(nonce_of(named("sec-websocket-key")[0]).is_some());
    assert!(matches!(named("content-length")[..], [] | [b"0"]));
    assert!(named("transfer-encoding").is_empty());

    let given: Vec<_> = request
        .headers()
        .map(|(name, value)| (name.to_ascii_lowercase().into_bytes(), value))
        .collect();
    assert_eq!(given, headers);
}

/// The 101 response is one that our own client accepts, with any subprotocol that was offered.
fn is_answered(server: &mut ServerHandshake, request: &Request) {
    let key = request.header("sec-websocket-key").expect("a key");
    let (nonce, is_ours) = nonce_of(key).expect("16 bytes");
    let offered: Vec<&str> = request.subprotocols().collect();
    let mut accept = Accept::new();
    let mut asked = ClientRequest::new("example.com", "/").expect("legal");
    for name in &offered {
        asked = asked.subprotocol(name).expect("distinct tokens");
    }
    if let Some(name) = offered.last() {
        accept = accept.subprotocol(name).expect("a token");
    }
    let mut answer = server.accept(&accept).expect("a request waits");
    let head = answer.len();
    assert_eq!(server.handle_input(b"\x81\x80"), 0, "frames are not ours");
    assert!(server.reject(&Reject::new(503).expect("legal")).is_err());

    answer.extend_from_slice(b"\x81\x02hi");
    let mut client = ClientHandshake::new(&asked, nonce, HandshakeLimits::default());
    let taken = client.handle_input(&answer);
    let outcome = client.poll_response().expect("a whole head");
    if !is_ours {
        // Our client spells its key in the one way that has no bits too many.
        return assert_eq!(outcome, Err(HandshakeError::Accept));
    }
    assert_eq!(taken, head);
    let response = outcome.expect("legal");
    assert_eq!(response.subprotocol(), offered.last().copied());
}

/// What one side accepted, the other can ask for, and it comes out the same.
fn is_asked_again(request: &Request) {
    if !request.target().starts_with('/') {
        return;
    }
    let mut again = ClientRequest::new(request.host(), request.target()).expect("legal");
    for name in request.subprotocols() {
        again = again.subprotocol(name).expect("distinct tokens");
    }
    let limits = HandshakeLimits {
        max_head_size: 1 << 20,
        ..HandshakeLimits::default()
    };
    let client = ClientHandshake::new(&again, [7; 16], limits);
    let mut server = ServerHandshake::new(limits);
    let head = client.request_head();
    assert_eq!(server.handle_input(head), head.len());
    let asked = server.poll_request().expect("whole").expect("legal");
    assert_eq!(asked.host(), request.host());
    assert_eq!(asked.target(), request.target());
    assert!(asked.subprotocols().eq(request.subprotocols()));
}

/// A refusal is a whole HTTP response that ends the connection, and our client reads its status.
fn is_refused(error: &HandshakeError) {
    let (response, usage) = measure(|| error.to_response());
    assert!(usage.peak <= BASE as i64, "{usage:?} for an answer");
    let response = response.expect("a server has an answer");
    let status = error.status().expect("and a status");
    let end = end_of_head(&response).expect("an empty line");
    let mut lines = split_lines(&response[..end - 4]).into_iter();
    let first = String::from_utf8(lines.next().expect("a line").to_vec()).expect("ASCII");
    assert!(first.starts_with(&format!("HTTP/1.1 {status} ")));
    let headers: Vec<(String, String)> = lines
        .map(|line| {
            let line = String::from_utf8(line.to_vec()).expect("ASCII");
            let (name, value) = line.split_once(": ").expect("a colon");
            (name.to_ascii_lowercase(), value.to_owned())
        })
        .collect();
    let value = |name: &str| {
        let mut values = headers.iter().filter(|(found, _)| found == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} twice");
        value
    };
    let body = &response[end..];
    assert_eq!(value("content-length"), Some(&*body.len().to_string()));
    assert!(value("connection").is_some_and(|value| value.ends_with("close")));
    if status == 426 {
        assert_eq!(value("sec-websocket-version"), Some("13"));
    }

    let request = ClientRequest::new("example.com", "/").expect("legal");
    let mut client = ClientHandshake::new(&request, NONCE, HandshakeLimits::default());
    assert_eq!(client.handle_input(&response), response.len());
    match client.poll_response() {
        Some(Err(HandshakeError::Refused(refusal))) => {
            assert_eq!(refusal.status(), status);
            assert_eq!(refusal.body_excerpt(), body);
        }
        other => panic!("{other:?}"),
    }
}

// ---- responses

type Answered = Option<Result<Response, HandshakeError>>;

fn response(stream: &[u8], cuts: Cuts<'_>, limits: HandshakeLimits) {
    let (outcome, taken) = read_response(stream, Cuts::new(&[]), limits);
    for cuts in [cuts, Cuts::new(&[u8::MAX])] {
        let other = read_response(stream, cuts, limits);
        assert_eq!((&outcome, taken), (&other.0, other.1), "cut");
    }
    let request = client_request();
    let make = || ClientHandshake::new(&request, NONCE, limits);
    let (mut at_once, mut heap) = Opening::making(make);
    let at_once_taken = heap.input(stream, |stream| at_once.handle_input(stream));
    assert_eq!(at_once_taken, taken, "at once");
    let early = heap.call(|| at_once.poll_response());
    heap.call(|| at_once.handle_eof());
    let answered = early.or(heap.call(|| at_once.poll_response()));
    assert_eq!(answered, outcome, "at once");
    heap.call(|| drop((answered, at_once)));

    match outcome.expect("an end of the stream settles it") {
        Ok(response) => {
            let heads = &stream[..taken];
            assert!(taken <= limits.max_head_size, "all heads share the limit");
            assert!(heads.ends_with(b"\r\n\r\n"), "not the end of a head");
            // Interim heads come first; the last head is the one that counts.
            let last = split_heads(heads).pop().expect("a head");
            assert!(last.starts_with(b"HTTP/1.1 101"));
            assert!(last.windows(ACCEPT.len()).any(|part| part == ACCEPT));
            assert!(response.headers().count() <= limits.max_header_count);
            let chosen = response.subprotocol();
            assert!(chosen.is_none_or(|name| OFFERED.contains(&name)));
        }
        Err(error) => {
            assert_eq!(taken, stream.len(), "what follows an error is swallowed");
            if let HandshakeError::Refused(refusal) = &error {
                assert!(refusal.status() >= 200);
                assert!(refusal.body_excerpt().len() <= 4_096);
                let text = error.to_string();
                assert!(
                    text.len() <= 1_088 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
                );
            }
            if let HandshakeError::HeadTooLarge { limit } = error {
                assert_eq!(limit, limits.max_head_size);
                assert!(stream.len() > limit);
            }
        }
    }
}

fn client_request() -> ClientRequest {
    let mut request = ClientRequest::new("example.com", "/chat").expect("legal");
    for name in OFFERED {
        request = request.subprotocol(name).expect("legal");
    }
    request
}

fn read_response(
    mut stream: &[u8],
    mut cuts: Cuts<'_>,
    limits: HandshakeLimits,
) -> (Answered, usize) {
    let request = client_request();
    let make = || ClientHandshake::new(&request, NONCE, limits);
    let (mut client, mut heap) = Opening::making(make);
    let mut outcome = None;
    let mut taken = 0;
    while let Some(piece) = cuts.split(&mut stream) {
        let count = heap.input(piece, |piece| client.handle_input(piece));
        assert!(count <= piece.len());
        if matches!(outcome, Some(Ok(_))) {
            assert_eq!(count, 0, "past the head");
        }
        taken += count;
        if let Some(result) = heap.call(|| client.poll_response()) {
            assert!(outcome.is_none(), "two outcomes");
            outcome = Some(result);
        } else if outcome.is_none() {
            assert_eq!(count, piece.len(), "stopped without an outcome");
        }
    }
    heap.call(|| client.handle_eof());
    if let Some(result) = heap.call(|| client.poll_response()) {
        assert!(outcome.is_none(), "two outcomes");
        outcome = Some(result);
    }
    (outcome, taken)
}

/// The nonce of RFC 6455 §1.3, so that the answer is the one that stands there.
const NONCE: [u8; 16] = *b"the sample nonce";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const OFFERED: [&str; 2] = ["chat", "superchat"];
