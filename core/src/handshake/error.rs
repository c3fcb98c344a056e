//! What a peer did wrong, and apart from it what a caller did.

use alloc::boxed::Box;
use core::error::Error;
use core::fmt;

use super::{HeaderFault, Refusal};
use crate::extension::ExtensionError;

/// Why an opening handshake failed: one variant for each rule that the peer can break.
///
/// It holds none of the peer's bytes, with the exception of [`Refused`](Self::Refused), whose
/// excerpt is bounded and written escaped. A server answers it with
/// [`to_response`](Self::to_response).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The first bytes are not those of an HTTP message: TLS, another protocol, leading junk.
    NotHttp,
    /// The stream ended before the head did.
    UnexpectedEof,
    /// The head is larger than [`HandshakeLimits::max_head_size`](super::HandshakeLimits).
    HeadTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// There are more headers than [`HandshakeLimits::max_header_count`](super::HandshakeLimits).
    TooManyHeaders {
        /// The limit.
        limit: usize,
    },
    /// NUL or another control byte is in the head.
    ControlByte,
    /// A CR is not followed by LF.
    BareCr,
    /// An LF is not preceded by CR.
    BareLf,
    /// A header continues on a second line.
    LineFolding,
    /// The request line or status line is malformed.
    StartLine,
    /// A header line has no colon, no name, or a name that is no token.
    HeaderLine,
    /// The HTTP version is not 1.1.
    HttpVersion,
    /// A header that must be single is there more than once.
    RepeatedHeader,
    /// A list in a header has more than 64 elements.
    ListTooLong,
    /// The method is not GET.
    Method,
    /// The method is HEAD, which asks for an answer without a body (RFC 9110 §9.3.2).
    MethodHead,
    /// The request target is neither a path nor an absolute URI for the same host.
    Target,
    /// The `Host` header is missing or is not `host[:port]`.
    Host,
    /// The request announces a body, other than by `Content-Length: 0`.
    RequestBody,
    /// `Upgrade` is missing, is malformed or does not name `websocket`.
    Upgrade,
    /// `Connection` is missing, is malformed or does not name `upgrade`.
    Connection,
    /// `Sec-WebSocket-Version` is missing or is not 13.
    Version,
    /// `Sec-WebSocket-Key` is missing or is not the base64 form of 16 bytes.
    Key,
    /// The offered subprotocols are no list of tokens.
    Subprotocols,
    /// The extensions, offered or chosen, are malformed.
    Extensions,
    /// The server did not switch protocols: its answer is not 101.
    Refused(Box<Refusal>),
    /// More interim responses came than a client waits through.
    TooManyInterim,
    /// `Sec-WebSocket-Accept` is missing or is not the answer to our key.
    Accept,
    /// The server chose a subprotocol that was not offered.
    UnofferedSubprotocol,
    /// The server chose an extension that was not offered, or one more than once.
    UnofferedExtension,
    /// The server agreed to permessage-deflate with parameters that are invalid or do not fit the
    /// offer.
    ExtensionParameters,
}

impl HandshakeError {
    /// Returns the status a server answers with; nothing where it has nobody to answer, or
    /// is the one who was answered.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::HeadTooLarge { .. } | Self::TooManyHeaders { .. } => Some(431),
            Self::Method => Some(405),
            Self::Version => Some(426),
            Self::HttpVersion => Some(505),
            Self::MethodHead => Some(405),
            Self::NotHttp
            | Self::ControlByte
            | Self::BareCr
            | Self::BareLf
            | Self::LineFolding
            | Self::StartLine
            | Self::HeaderLine
            | Self::RepeatedHeader
            | Self::ListTooLong
            | Self::Target
            | Self::Host
            | Self::RequestBody
            | Self::Upgrade
            | Self::Connection
            | Self::Key
            | Self::Subprotocols
            | Self::Extensions => Some(400),
            Self::UnexpectedEof
            | Self::Refused(_)
            | Self::TooManyInterim
            | Self::Accept
            | Self::UnofferedSubprotocol
            | Self::UnofferedExtension
            | Self::ExtensionParameters => None,
        }
    }

    /// Returns the section that holds the rule, such as `RFC 6455 §4.2.1`.
    #[must_use]
    pub const fn section(&self) -> &'static str {
        match self {
            Self::NotHttp => "RFC 9112 §2.1",
            Self::UnexpectedEof => "RFC 9112 §8",
            Self::HeadTooLarge { .. } | Self::TooManyHeaders { .. } => "RFC 6585 §5",
            Self::ControlByte => "RFC 9110 §5.5",
            Self::BareCr | Self::BareLf => "RFC 9112 §2.2",
            Self::LineFolding => "RFC 9112 §5.2",
            Self::StartLine => "RFC 9112 §2.1",
            Self::HeaderLine => "RFC 9112 §5.1",
            Self::RepeatedHeader => "RFC 9110 §5.3",
            Self::ListTooLong => "RFC 9110 §5.6.1",
            Self::RequestBody => "RFC 9110 §9.3.1",
            Self::HttpVersion
            | Self::Method
            | Self::Target
            | Self::Host
            | Self::Upgrade
            | Self::MethodHead
            | Self::Connection
            | Self::Key => "RFC 6455 §4.2.1",
            Self::Version => "RFC 6455 §4.4",
            Self::Subprotocols => "RFC 6455 §11.3.4",
            Self::Extensions => "RFC 6455 §9.1",
            Self::TooManyInterim => "RFC 9110 §15.2",
            Self::Refused(_)
            | Self::Accept
            | Self::UnofferedSubprotocol
            | Self::UnofferedExtension => "RFC 6455 §4.1",
            Self::ExtensionParameters => "RFC 7692 §7.1",
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused(refusal) => return write!(f, "handshake refused with {refusal}"),
            Self::NotHttp => "not an HTTP message",
            Self::UnexpectedEof => "stream ended inside the head",
            Self::HeadTooLarge { limit } => return write!(f, "head of more than {limit} bytes"),
            Self::TooManyHeaders { limit } => return write!(f, "more than {limit} headers"),
            Self::ControlByte => "control byte in the head",
            Self::BareCr => "CR without LF in the head",
            Self::BareLf => "LF without CR in the head",
            Self::LineFolding => "folded header line",
            Self::StartLine => "malformed first line",
            Self::HeaderLine => "malformed header line",
            Self::HttpVersion => "HTTP version is not 1.1",
            Self::RepeatedHeader => "header that must be single is repeated",
            Self::ListTooLong => "too many elements in a header",
            Self::Method => "method is not GET",
            Self::MethodHead => "method is HEAD, not GET",
            Self::Target => "invalid request target",
            Self::Host => "missing or invalid host header",
            Self::RequestBody => "upgrade request announces a body",
            Self::Upgrade => "upgrade header does not name websocket",
            Self::Connection => "connection header does not name upgrade",
            Self::Version => "WebSocket version is not 13",
            Self::Key => "missing or invalid WebSocket key",
            Self::Subprotocols => "malformed list of subprotocols",
            Self::Extensions => "malformed list of extensions",
            Self::TooManyInterim => "too many interim responses",
            Self::Accept => "missing or wrong WebSocket accept value",
            Self::UnofferedSubprotocol => "subprotocol was not offered",
            Self::UnofferedExtension => "extension was not offered",
            Self::ExtensionParameters => "extension parameters are invalid or were not offered",
        })
    }
}

impl Error for HandshakeError {}

impl From<ExtensionError> for HandshakeError {
    fn from(error: ExtensionError) -> Self {
        match error {
            ExtensionError::TooLong => Self::ListTooLong,
            ExtensionError::Malformed | ExtensionError::NotAToken => Self::Extensions,
        }
    }
}

/// What the caller asked for cannot be put into a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// The host is not `host[:port]`.
    Host,
    /// The target is not a path and query in visible ASCII, beginning with a slash.
    Target,
    /// The header's name is not a token.
    HeaderName,
    /// The header's value holds CR, LF, NUL or another control byte.
    HeaderValue,
    /// The header is written by the handshake itself.
    ReservedHeader,
    /// The subprotocol is not a token.
    Subprotocol,
    /// The subprotocol is already on the list.
    DuplicateSubprotocol,
    /// The origin is neither `scheme://host[:port]` nor `null`.
    Origin,
}

/// A server's answer that cannot be sent: the application's mistake, never the peer's. Nothing
/// changed, and another answer is still possible where a request waits.
///
/// It is the one error of [`Accept`](super::Accept), [`Reject`](super::Reject) and of the calls
/// that answer with them. A function that returns `Result<Accept, Reject>` may use `?` on it: see
/// [`Reject::mistake`](super::Reject::mistake).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerError {
    /// No valid request waits for an answer.
    NoRequest,
    /// The request has been accepted or rejected before.
    AlreadyAnswered,
    /// The chosen subprotocol is not a token.
    Subprotocol,
    /// The client did not offer the chosen subprotocol (RFC 6455 §4.2.2).
    UnofferedSubprotocol,
    /// The status of a rejection is not one of 300 to 599 that may have a body.
    Status,
    /// The header's name is not a token.
    HeaderName,
    /// The header's value holds CR, LF, NUL or another control byte.
    HeaderValue,
    /// The header is written by the handshake itself.
    ReservedHeader,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host is not host[:port]",
            Self::Target => "target is not a path and query",
            Self::HeaderName => HEADER_NAME,
            Self::HeaderValue => HEADER_VALUE,
            Self::ReservedHeader => RESERVED_HEADER,
            Self::Subprotocol => SUBPROTOCOL,
            Self::DuplicateSubprotocol => "subprotocol is already offered",
            Self::Origin => "origin is not scheme://host[:port]",
        })
    }
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRequest => "no request waits for an answer",
            Self::AlreadyAnswered => "the request is answered already",
            Self::Subprotocol => SUBPROTOCOL,
            Self::UnofferedSubprotocol => "the client did not offer this subprotocol",
            Self::Status => "status is not one of 300 to 599 that may have a body",
            Self::HeaderName => HEADER_NAME,
            Self::HeaderValue => HEADER_VALUE,
            Self::ReservedHeader => RESERVED_HEADER,
        })
    }
}

impl Error for RequestError {}
impl Error for AnswerError {}

impl From<HeaderFault> for RequestError {
    fn from(fault: HeaderFault) -> Self {
        match fault {
            HeaderFault::Name => Self::HeaderName,
            HeaderFault::Value => Self::HeaderValue,
            HeaderFault::Reserved => Self::ReservedHeader,
        }
    }
}

impl From<HeaderFault> for AnswerError {
    fn from(fault: HeaderFault) -> Self {
        match fault {
            HeaderFault::Name => Self::HeaderName,
            HeaderFault::Value => Self::HeaderValue,
            HeaderFault::Reserved => Self::ReservedHeader,
        }
    }
}

const HEADER_NAME: &str = "header name is not a token";
const HEADER_VALUE: &str = "control byte in a header value";
const RESERVED_HEADER: &str = "header is written by the handshake itself";
const SUBPROTOCOL: &str = "subprotocol is not a token";
