//! Heads of the opening handshake that are refused, and those that are not.

mod rules;

use wspulse_core::handshake::{
    ClientHandshake, ClientRequest, HandshakeError, HandshakeLimits, Request, Response,
    ServerHandshake,
};

use self::rules::{Asked, Verdict, read_request, read_response};
use super::Reader;
use super::opening::Opening;

/// Puts a head together, or takes one as it is, and holds the engine's verdict against a naive
/// reader of RFC 6455 §4.
///
/// What the naive reader accepts is accepted, and what it refuses is refused, but for the reasons in
/// `rules::Reason`, each with its sentence of an RFC. An end holds at most twice what arrived and
/// 4 KiB. The input is a byte (bit 0: a response; bit 1: the head follows as it is; otherwise bits 2
/// to 7 leave out lines of a legal head), and pieces: a byte below 128 names a line, another one is
/// the length of a line that follows, plus 128.
pub fn refusal(data: &[u8]) {
    let mut reader = Reader::new(data);
    let flags = reader.byte();
    let is_response = flags & 1 != 0;
    let head = if flags & 2 != 0 {
        reader.rest().to_vec()
    } else {
        put_together(is_response, flags >> 2, &mut reader)
    };
    if is_response {
        response(&head);
    } else {
        request(&head);
    }
}

fn request(head: &[u8]) {
    let make = || ServerHandshake::new(HandshakeLimits::default());
    let (mut server, mut heap) = Opening::making(make);
    let taken = heap.input(head, |head| server.handle_input(head));
    let ours = heap.call(|| server.poll_request());
    let naive = read_request(head);
    match (&ours, &naive) {
        (None, Verdict::Incomplete) => assert_eq!(taken, head.len()),
        (Some(Ok(request)), Verdict::Accepted(asked)) => are_the_same(request, asked),
        (Some(Ok(request)), Verdict::Lax(asked, reason)) => {
            assert!(reason.is_taken(), "taken, though {reason:?}");
            are_the_same(request, asked);
        }
        (Some(Err(_)), Verdict::Lax(_, reason)) => {
            assert!(!reason.is_taken(), "refused: {reason:?}");
        }
        (Some(Err(_)), Verdict::Refused(rule)) => assert!(!rule.is_empty()),
        // Some faults show before the head is whole.
        (Some(Err(error)), Verdict::Incomplete) => {
            assert!(shows_early(error), "{error:?} before the end");
        }
        _ => panic!("{ours:?}, but naively {naive:?}\n{}", head.escape_ascii()),
    }
}

fn are_the_same(request: &Request, asked: &Asked<'_>) {
    assert_eq!(request.target().as_bytes(), asked.target);
    assert_eq!(request.host().as_bytes(), asked.host);
    let subprotocols = request.subprotocols().map(str::as_bytes);
    assert_eq!(subprotocols.collect::<Vec<_>>(), asked.subprotocols);
}

fn response(head: &[u8]) {
    let mut request = ClientRequest::new("example.com", "/chat").expect("legal");
    for name in rules::OFFERED {
        request = request.subprotocol(name).expect("legal");
    }
    let nonce = *b"the sample nonce";
    let make = || ClientHandshake::new(&request, nonce, HandshakeLimits::default());
    let (mut client, mut heap) = Opening::making(make);
    heap.input(head, |head| client.handle_input(head));
    heap.call(|| client.give_up());
    let ours: Option<Result<Response, HandshakeError>> = heap.call(|| client.poll_response());
    let naive = read_response(head);
    match (&ours, &naive) {
        (None, Verdict::Incomplete) => {}
        (Some(Ok(response)), Verdict::Accepted(asked)) => {
            assert_eq!(
                response.subprotocol().map(str::as_bytes),
                asked.subprotocols.first().copied()
            );
        }
        (Some(Ok(_)), Verdict::Lax(_, reason)) => {
            assert!(reason.is_taken(), "taken, though {reason:?}");
        }
        (Some(Err(HandshakeError::Refused(refusal))), Verdict::Status(status)) => {
            assert_eq!(refusal.status(), *status);
        }
        (Some(Err(error)), Verdict::Refused(_)) => {
            assert!(!matches!(error, HandshakeError::Refused(_)), "{error:?}");
        }
        (Some(Err(_)), Verdict::Lax(_, reason)) => {
            assert!(!reason.is_taken(), "refused: {reason:?}");
        }
        (Some(Err(error)), Verdict::Incomplete) => {
            assert!(shows_early(error), "{error:?} before the end");
        }
        _ => panic!("{ours:?}, but naively {naive:?}\n{}", head.escape_ascii()),
    }
}

/// Faults that the bytes show by themselves, and limits.
fn shows_early(error: &HandshakeError) -> bool {
    matches!(
        error,
        HandshakeError::NotHttp
            | HandshakeError::BareCr
            | HandshakeError::BareLf
            | HandshakeError::LineFolding
            | HandshakeError::ControlByte
            | HandshakeError::HeadTooLarge { .. }
            | HandshakeError::TooManyHeaders { .. }
            | HandshakeError::TooManyInterim
    )
}

/// A legal head, without the lines that `without` names, with others between and behind them.
fn put_together(is_response: bool, without: u8, reader: &mut Reader<'_>) -> Vec<u8> {
    let legal: &[&[u8]] = if is_response { &RESPONSE } else { &REQUEST };
    let mut lines: Vec<&[u8]> = Vec::new();
    for (index, line) in legal.iter().enumerate() {
        if without >> index & 1 == 0 {
            lines.push(line);
        }
    }
    while !reader.is_empty() && lines.len() < MAX_LINES {
        let piece = match reader.byte() {
            index @ 0..=127 => LINES[usize::from(index) % LINES.len()],
            length => reader.bytes(usize::from(length - 128)),
        };
        lines.push(piece);
    }
    // A first line in place of the usual one comes first.
    if let Some(at) = lines.iter().rposition(|line| is_first_line(line)) {
        let first = lines.remove(at);
        lines.insert(0, first);
    }
    lines.push(b"");
    let mut head = lines.join(&b"\r\n"[..]);
    head.extend_from_slice(b"\r\n");
    head
}

fn is_first_line(line: &[u8]) -> bool {
    line.starts_with(b"GET ") || line.starts_with(b"HTTP/") || line.starts_with(b"\r\nGET ")
}

const REQUEST: [&[u8]; 6] = [
    b"GET /chat HTTP/1.1",
    b"Host: example.com",
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Version: 13",
];

const RESPONSE: [&[u8]; 4] = [
    b"HTTP/1.1 101 Switching Protocols",
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
];

/// Lines to put in: other spellings, other values, other lines.
const LINES: [&[u8]; 64] = [
    b"GET /chat?room=1 HTTP/1.1",
    b"GET http://example.com/chat HTTP/1.1",
    b"GET http://example.com:80/chat HTTP/1.1",
    b"GET https://example.com HTTP/1.1",
    b"GET https://example.com:443/ HTTP/1.1",
    b"GET ws://example.com/ HTTP/1.1",
    b"GET example.com:80 HTTP/1.1",
    b"GET * HTTP/1.1",
    b"GET /a#b HTTP/1.1",
    b"GET /a|b HTTP/1.1",
    b"GET /%zz HTTP/1.1",
    b"GET / HTTP/1.0",
    b"GET / HTTP/1.2",
    b"GET / HTTP/2.0",
    b"\r\nGET / HTTP/1.1",
    b"\r\n\r\nGET / HTTP/1.1",
    b"GET  / HTTP/1.1",
    b"HTTP/1.1 101",
    b"HTTP/1.1 101 ",
    b"HTTP/1.0 101 Switching Protocols",
    b"HTTP/1.1 200 OK",
    b"HTTP/1.1 99 Less",
    b"HTTP/1.1 1010 More",
    b"HTTP/1.1 403 Forbidden",
    b"Host: EXAMPLE.com",
    b"Host: example.com:80",
    b"Host: example.com:443",
    b"Host: example.com:",
    b"Host: example.com:99999",
    b"Host: [::1]:80",
    b"Host: [v1.a]",
    b"Host: a b",
    b"Host:",
    b"Host: user@example.com",
    b"Upgrade: WebSocket",
    b"Upgrade: h2c, websocket",
    b"Upgrade: h2c",
    b"Upgrade: websocket/13",
    b"Upgrade: websocket, ,",
    b"Upgrade: web socket",
    b"Connection: keep-alive, upgrade",
    b"Connection: keep-alive",
    b"Connection: ,UPGRADE,",
    b"Connection: a b",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==",
    b"Sec-WebSocket-Key: c2hvcnQ=",
    b"Sec-WebSocket-Key: AAAA",
    b"Sec-WebSocket-Version: 8",
    b"Sec-WebSocket-Version: 013",
    b"Sec-WebSocket-Version: 13, 8",
    b"Sec-WebSocket-Protocol: chat, superchat",
    b"Sec-WebSocket-Protocol: superchat",
    b"Sec-WebSocket-Protocol: chat, chat",
    b"Sec-WebSocket-Protocol:",
    b"Sec-WebSocket-Protocol: a/b",
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    b"Sec-WebSocket-Extensions:",
    b"Sec-WebSocket-Extensions: a;;b",
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"Transfer-Encoding: chunked",
    b"X-Other :1",
    b" folded",
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
];

const MAX_LINES: usize = 24;
