//! What a server answers: its consent, its refusal, and what a broken rule comes to.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;
use bytestring::ByteString;

use super::head::is_token;
use super::{AcceptKey, AnswerError, HandshakeError, push_header, push_line};
use crate::extension::deflate::DeflateParams;

/// What a server consents with: a subprotocol perhaps, and headers of its own.
#[derive(Clone, PartialEq, Eq)]
pub struct Accept {
    pub(super) subprotocol: Option<ByteString>,
    pub(super) extensions: bool,
    header_lines: Vec<u8>,
}

impl Accept {
    /// Consents without a subprotocol and without further headers.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            subprotocol: None,
            extensions: true,
            header_lines: Vec::new(),
        }
    }

    /// Agrees to no extension, whatever the client offers and the configuration allows.
    #[must_use]
    pub fn without_extensions(mut self) -> Self {
        self.extensions = false;
        self
    }

    /// Chooses a subprotocol; it must be one that the client offered.
    ///
    /// # Errors
    ///
    /// [`AnswerError::Subprotocol`] if it is not a token.
    pub fn subprotocol(mut self, name: &str) -> Result<Self, AnswerError> {
        if !is_token(name.as_bytes()) {
            return Err(AnswerError::Subprotocol);
        }
        self.subprotocol = Some(name.into());
        Ok(self)
    }

    /// Adds a header; the same name may be added again, as with `Set-Cookie`.
    ///
    /// # Errors
    ///
    /// [`AnswerError::HeaderName`], [`AnswerError::HeaderValue`], and
    /// [`AnswerError::ReservedHeader`] for `Upgrade`, `Connection`, `Sec-WebSocket-*`,
    /// `Content-Length` and `Transfer-Encoding`.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Result<Self, AnswerError> {
        push_header(&mut self.header_lines, name, value.as_ref(), RESERVED)?;
        Ok(self)
    }

    pub(super) fn to_response(&self, key: &AcceptKey, deflate: Option<DeflateParams>) -> Vec<u8> {
        let mut head = Vec::with_capacity(self.header_lines.len().saturating_add(256));
        head.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
        push_line(&mut head, "Upgrade", b"websocket");
        push_line(&mut head, "Connection", b"Upgrade");
        push_line(&mut head, "Sec-WebSocket-Accept", &key.0);
        if let Some(chosen) = &self.subprotocol {
            push_line(&mut head, "Sec-WebSocket-Protocol", chosen.as_bytes());
        }
        if let Some(agreed) = deflate {
            let answer = agreed.to_string();
            push_line(&mut head, "Sec-WebSocket-Extensions", answer.as_bytes());
        }
        head.extend_from_slice(&self.header_lines);
        head.extend_from_slice(b"\r\n");
        head
    }
}

impl Default for Accept {
    fn default() -> Self {
        Self::new()
    }
}

/// Leaves the added headers out: they carry credentials.
impl fmt::Debug for Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accept")
            .field("subprotocol", &self.subprotocol)
            .finish_non_exhaustive()
    }
}

/// What a server refuses with: a status, headers and a body.
///
/// ```
/// use wspulse_core::handshake::{HandshakeLimits, Reject, ServerHandshake};
///
/// let full = Reject::new(503)?.header("Retry-After", "30")?.body("come back later");
/// let mut handshake = ServerHandshake::new(HandshakeLimits::default());
/// assert_eq!(
///     handshake.reject(&full)?,
///     b"HTTP/1.1 503 Service Unavailable\r\n\
///       Connection: close\r\n\
///       Content-Length: 15\r\n\
///       Retry-After: 30\r\n\r\n\
///       come back later",
/// );
/// # Ok::<(), wspulse_core::handshake::AnswerError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Reject {
    status: u16,
    header_lines: Vec<u8>,
    body: Bytes,
    mistake: Option<AnswerError>,
}

impl Reject {
    /// Refuses with a status from 300 to 599, except 304, which cannot have a body.
    ///
    /// With 426 the version that is spoken here, 13, is told along (RFC 6455 §4.4).
    ///
    /// # Errors
    ///
    /// [`AnswerError::Status`].
    pub const fn new(status: u16) -> Result<Self, AnswerError> {
        match status {
            304 => Err(AnswerError::Status),
            300..=599 => Ok(Self::with_status(status)),
            _ => Err(AnswerError::Status),
        }
    }

    const fn with_status(status: u16) -> Self {
        Self {
            status,
            header_lines: Vec::new(),
            body: Bytes::new(),
            mistake: None,
        }
    }

    /// Adds a header; the same name may be added again.
    ///
    /// # Errors
    ///
    /// [`AnswerError::HeaderName`], [`AnswerError::HeaderValue`], and
    /// [`AnswerError::ReservedHeader`] for `Upgrade`, `Connection`, `Sec-WebSocket-*`,
    /// `Content-Length` and `Transfer-Encoding`.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Result<Self, AnswerError> {
        push_header(&mut self.header_lines, name, value.as_ref(), RESERVED)?;
        Ok(self)
    }

    /// Sets the body; its type is a header of the caller's, `Content-Type`.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Returns the status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Returns the mistake in the application's own answer that this rejection stands for.
    ///
    /// A rejection made from an [`AnswerError`] has the status 500: the client did nothing wrong,
    /// and is not left waiting. So `?` works where an answer is put together:
    ///
    /// ```
    /// use wspulse_core::handshake::{Accept, AnswerError, Reject, Request};
    ///
    /// fn decide(request: &Request) -> Result<Accept, Reject> {
    ///     match request.target() {
    ///         "/chat" => Ok(Accept::new().header("Set-Cookie", "room=1")?),
    ///         _ => Err(Reject::new(404)?),
    ///     }
    /// }
    ///
    /// let rejection = Reject::from(AnswerError::HeaderValue);
    /// assert_eq!((rejection.status(), rejection.mistake()), (500, Some(AnswerError::HeaderValue)));
    /// ```
    #[must_use]
    pub const fn mistake(&self) -> Option<AnswerError> {
        self.mistake
    }

    pub(super) fn to_response(&self) -> Vec<u8> {
        let size = self.header_lines.len().saturating_add(self.body.len());
        let mut response = Vec::with_capacity(size.saturating_add(256));
        let status_line = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        response.extend_from_slice(status_line.as_bytes());
        if self.status == 426 {
            // RFC 9110 §15.5.22: the answer names the protocol to upgrade to.
            push_line(&mut response, "Upgrade", b"websocket");
            push_line(&mut response, "Connection", b"Upgrade, close");
            push_line(&mut response, "Sec-WebSocket-Version", b"13");
        } else {
            // Closing keeps a request that was pipelined behind this one from being read.
            push_line(&mut response, "Connection", b"close");
        }
        let length = self.body.len().to_string();
        push_line(&mut response, "Content-Length", length.as_bytes());
        response.extend_from_slice(&self.header_lines);
        response.extend_from_slice(b"\r\n");
        response.extend_from_slice(&self.body);
        response
    }
}

impl From<AnswerError> for Reject {
    fn from(mistake: AnswerError) -> Self {
        Self {
            mistake: Some(mistake),
            ..Self::with_status(500)
        }
    }
}

/// Leaves the added headers and the body out.
impl fmt::Debug for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reject")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl HandshakeError {
    /// Returns the whole response that a server sends before it closes, or nothing where
    /// [`status`](Self::status) is nothing.
    ///
    /// It says `Connection: close` and has this error's text as its body, which HEAD does not get.
    ///
    /// ```
    /// use wspulse_core::handshake::HandshakeError;
    ///
    /// let response = HandshakeError::Version.to_response().unwrap();
    /// let response = String::from_utf8(response).unwrap();
    /// assert!(response.starts_with("HTTP/1.1 426 Upgrade Required\r\n"));
    /// assert!(response.contains("\r\nSec-WebSocket-Version: 13\r\n"));
    /// ```
    #[must_use]
    pub fn to_response(&self) -> Option<Vec<u8>> {
        let mut reject = Reject::with_status(self.status()?);
        let lines = &mut reject.header_lines;
        if matches!(self, Self::Method | Self::MethodHead) {
            // RFC 9110 §15.5.6: 405 says what is allowed.
            push_line(lines, "Allow", b"GET");
        }
        push_line(lines, "Content-Type", b"text/plain; charset=utf-8");
        let reject = reject.body(format!("{self}\n"));
        let mut response = reject.to_response();
        if *self == Self::MethodHead {
            // RFC 9110 §9.3.2: the length is told, and the body is not sent.
            response.truncate(response.len().saturating_sub(reject.body.len()));
        }
        Some(response)
    }
}

/// The reason phrases of RFC 9110 §15 and RFC 6585; an empty one is legal too.
const fn reason(status: u16) -> &'static str {
    match status {
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

const RESERVED: &[&str] = &[
    "Upgrade",
    "Connection",
    "Content-Length",
    "Transfer-Encoding",
];
