//! The opening handshake (RFC 6455 §4): one HTTP/1.1 request, one answer, and from there frames.
//!
//! Two state machines without I/O or time: [`ClientHandshake`] and [`ServerHandshake`]. Each is
//! handed the bytes that arrived, cut anywhere, takes those that belong to the handshake and
//! never one more: what is left are the first frames. This module needs nothing else of the
//! crate and can be used alone.
//!
//! ```
//! use wspulse_core::handshake::{
//!     Accept, ClientHandshake, ClientRequest, HandshakeLimits, ServerHandshake,
//! };
//!
//! let request = ClientRequest::new("example.com", "/chat?room=1")?
//!     .subprotocol("chat.v2")?
//!     .subprotocol("chat.v1")?;
//! let nonce = [7; 16]; // 16 bytes from the operating system
//! let mut client = ClientHandshake::new(&request, nonce, HandshakeLimits::default());
//! let mut server = ServerHandshake::new(HandshakeLimits::default());
//!
//! let on_the_wire = client.request_head();
//! assert_eq!(server.handle_input(on_the_wire), on_the_wire.len());
//! let asked = server.poll_request().expect("a whole head")?;
//! assert_eq!(asked.target(), "/chat?room=1");
//! assert!(asked.subprotocols().eq(["chat.v2", "chat.v1"]));
//!
//! let mut answer = server.accept(&Accept::new().subprotocol("chat.v1")?)?;
//! let head_size = answer.len();
//! answer.extend_from_slice(b"\x81\x02hi"); // a frame in the same segment
//!
//! assert_eq!(client.handle_input(&answer), head_size);
//! let response = client.poll_response().expect("a whole head")?;
//! assert_eq!(response.subprotocol(), Some("chat.v1"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is enforced
//!
//! The grammar is strict, because leniency is where two parsers on one path come to disagree:
//! line ends are CR LF, no header is folded, nothing but one empty line precedes a request, no
//! header that must be single comes twice, and an upgrade request has no body. Header values are
//! opaque bytes. Each rule has its own [`HandshakeError`], which names its section.
//!
//! Memory follows the bytes that arrived, up to [`HandshakeLimits`]: a request or a response holds
//! its head and four bytes for each header line, and lists are read where they stand. However the
//! stream is cut, each byte is looked at once as it arrives, and the head is parsed once when it is
//! whole. How long a handshake may take is for the caller to say: a deadline that no arriving byte
//! moves.
//!
//! The one extension that is negotiated is permessage-deflate, and only where it is asked for
//! ([`ClientHandshake::with_deflate`], [`ServerHandshake::with_deflate`]); other offers stay
//! readable as a header and are not accepted.

mod answer;
mod client;
mod error;
mod head;
mod list;
mod origin;
mod refusal;
mod server;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

pub use answer::{Accept, Reject};
pub use client::{ClientHandshake, ClientRequest, Response};
pub use error::{AnswerError, HandshakeError, RequestError};
pub use origin::{Origin, OriginCheck, TupleOrigin};
pub use refusal::Refusal;
pub use server::{Request, ServerHandshake};

use head::{is_field_byte, is_token};

/// How large the peer's part of a handshake may be.
///
/// Both limits hold while bytes arrive: a head that passes one is refused at the byte that
/// passes it, with [`HeadTooLarge`](HandshakeError::HeadTooLarge) or
/// [`TooManyHeaders`](HandshakeError::TooManyHeaders) (431 from a server, RFC 6585 §5). The default
/// is [`SERVER`](Self::SERVER).
///
/// ```
/// use wspulse_core::handshake::HandshakeLimits;
///
/// let limits = HandshakeLimits { max_head_size: 4096, ..HandshakeLimits::default() };
/// assert_eq!(limits.max_header_count, 100);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HandshakeLimits {
    /// The largest head in bytes, first line and empty line included; for a client, of all
    /// heads of one answer together.
    pub max_head_size: usize,
    /// The largest number of header lines.
    pub max_header_count: usize,
}

impl HandshakeLimits {
    /// For requests: 16 KiB, room for the cookies a browser keeps for one site, and 100 headers, as
    /// common servers and proxies allow.
    pub const SERVER: Self = Self {
        max_head_size: 16 << 10,
        max_header_count: 100,
    };

    /// For responses: 64 KiB and 256 headers. A client chose its server, and real ones answer with
    /// 130 headers or 20 KB of cookies.
    pub const CLIENT: Self = Self {
        max_head_size: 64 << 10,
        max_header_count: 256,
    };
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        Self::SERVER
    }
}

/// The proof that the server read the key (RFC 6455 §4.2.2 item 5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct AcceptKey([u8; ACCEPT_KEY_SIZE]);

impl AcceptKey {
    /// Returns nothing if it cannot be computed, which counts as a failed handshake.
    fn of(key: &[u8]) -> Option<Self> {
        let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
        let mut text = [0; ACCEPT_KEY_SIZE];
        let size = STANDARD.encode_slice(digest, &mut text).ok()?;
        (size == ACCEPT_KEY_SIZE).then_some(Self(text))
    }
}

/// A request target without its query, which often carries a token.
struct WithoutQuery<'a>(&'a str);

impl fmt::Debug for WithoutQuery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_once('?') {
            Some((path, _)) => write!(f, "{path:?} and a query"),
            None => fmt::Debug::fmt(self.0, f),
        }
    }
}

/// What is wrong with a header that the application supplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeaderFault {
    Name,
    Value,
    Reserved,
}

/// Appends a header line of the application's, unless it would break the head.
fn push_header(
    lines: &mut Vec<u8>,
    name: &str,
    value: &[u8],
    reserved: &[&str],
) -> Result<(), HeaderFault> {
    if !is_token(name.as_bytes()) {
        return Err(HeaderFault::Name);
    }
    let is_websocket_header = name
        .get(..WEBSOCKET_PREFIX.len())
        .is_some_and(|prefix| prefix.eq_ignore_ascii_case(WEBSOCKET_PREFIX));
    if is_websocket_header || list::contains(reserved, name) {
        return Err(HeaderFault::Reserved);
    }
    // RFC 9110 §5.5: CR, LF and NUL in a value would let it write headers of its own.
    if !value.iter().copied().all(is_field_byte) {
        return Err(HeaderFault::Value);
    }
    push_line(lines, name, value);
    Ok(())
}

fn push_line(lines: &mut Vec<u8>, name: &str, value: &[u8]) {
    lines.extend_from_slice(name.as_bytes());
    lines.extend_from_slice(b": ");
    lines.extend_from_slice(value);
    lines.extend_from_slice(b"\r\n");
}

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Base64 of the 20 bytes of a SHA-1 digest.
const ACCEPT_KEY_SIZE: usize = 28;

const WEBSOCKET_PREFIX: &str = "Sec-WebSocket-";
