//! The client's side of the opening handshake (RFC 6455 §4.1).

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;
use core::mem;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;

use super::head::{HeadReader, Headers, Kind, RawHead, ResponseHead, is_token};
use super::list;
use super::origin::{Authority, TupleOrigin};
use super::refusal::RefusalReader;
use super::{
    AcceptKey, HandshakeError, HandshakeLimits, RequestError, WithoutQuery, push_header, push_line,
};
use crate::extension::Extension;
use crate::extension::deflate::{self, DeflateConfig, DeflateParams};

/// What a client asks a server for.
///
/// Everything is checked when it is added, so that nothing the application passes on, were
/// it from a stranger, can end a line and begin a header of its own.
///
/// ```
/// use wspulse_core::handshake::{ClientRequest, RequestError};
///
/// let request = ClientRequest::new("example.com:8080", "/chat?room=1")?
///     .origin("https://example.com")?
///     .subprotocol("chat.v1")?
///     .header("Authorization", "Bearer 4711")?;
///
/// let injected = request.header("X-Name", "a\r\nX-Admin: yes");
/// assert_eq!(injected.unwrap_err(), RequestError::HeaderValue);
/// # Ok::<(), RequestError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ClientRequest {
    host: ByteString,
    target: ByteString,
    origin: Option<ByteString>,
    subprotocols: Vec<ByteString>,
    header_lines: Vec<u8>,
}

impl ClientRequest {
    /// Asks `host`, the value of the `Host` header with a port unless it is the default one,
    /// for `target`, a path with an optional query such as `/chat?room=1`.
    ///
    /// # Errors
    ///
    /// [`RequestError::Host`] and [`RequestError::Target`]. A fragment must not be part of
    /// the target (RFC 6455 §3).
    pub fn new(host: &str, target: &str) -> Result<Self, RequestError> {
        if Authority::parse(host).is_none() {
            return Err(RequestError::Host);
        }
        let is_legal = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        if !target.starts_with('/') || !target.bytes().all(is_legal) {
            return Err(RequestError::Target);
        }
        Ok(Self {
            host: host.into(),
            target: target.into(),
            origin: None,
            subprotocols: Vec::new(),
            header_lines: Vec::new(),
        })
    }

    /// Adds a header; the same name may be added again.
    ///
    /// `Host` replaces the one there is: through a tunnel, a server is reached under another
    /// address than the name it answers to.
    ///
    /// # Errors
    ///
    /// [`RequestError::HeaderName`], [`RequestError::HeaderValue`], [`RequestError::Host`], and
    /// [`RequestError::ReservedHeader`] for what the handshake writes itself: `Upgrade`,
    /// `Connection`, `Origin`, `Sec-WebSocket-*`, `Content-Length` and `Transfer-Encoding`.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Result<Self, RequestError> {
        if name.eq_ignore_ascii_case("host") {
            let host = str::from_utf8(value.as_ref()).ok();
            let host = host.filter(|host| Authority::parse(host).is_some());
            self.host = host.ok_or(RequestError::Host)?.into();
            return Ok(self);
        }
        push_header(&mut self.header_lines, name, value.as_ref(), RESERVED)?;
        Ok(self)
    }

    /// Offers a subprotocol, after those offered before: the first is preferred.
    ///
    /// # Errors
    ///
    /// [`RequestError::Subprotocol`] and [`RequestError::DuplicateSubprotocol`].
    pub fn subprotocol(mut self, name: &str) -> Result<Self, RequestError> {
        // RFC 6455 §4.1 item 10: the elements are tokens and all different.
        if !is_token(name.as_bytes()) {
            return Err(RequestError::Subprotocol);
        }
        if self.subprotocols.iter().any(|offered| offered == name) {
            return Err(RequestError::DuplicateSubprotocol);
        }
        self.subprotocols.push(name.into());
        Ok(self)
    }

    /// Sets the `Origin` header, which browsers send and other clients may.
    ///
    /// # Errors
    ///
    /// [`RequestError::Origin`].
    pub fn origin(mut self, origin: &str) -> Result<Self, RequestError> {
        if origin != "null" && TupleOrigin::parse(origin).is_none() {
            return Err(RequestError::Origin);
        }
        self.origin = Some(origin.into());
        Ok(self)
    }

    fn head(&self, key: &[u8], deflate: Option<&DeflateConfig>) -> Vec<u8> {
        let mut head = Vec::with_capacity(self.header_lines.len().saturating_add(512));
        head.extend_from_slice(b"GET ");
        head.extend_from_slice(self.target.as_bytes());
        head.extend_from_slice(b" HTTP/1.1\r\n");
        push_line(&mut head, "Host", self.host.as_bytes());
        push_line(&mut head, "Upgrade", b"websocket");
        push_line(&mut head, "Connection", b"Upgrade");
        push_line(&mut head, "Sec-WebSocket-Key", key);
        push_line(&mut head, "Sec-WebSocket-Version", b"13");
        if let Some(origin) = &self.origin {
            push_line(&mut head, "Origin", origin.as_bytes());
        }
        if !self.subprotocols.is_empty() {
            let offer = self.subprotocols.join(", ");
            push_line(&mut head, "Sec-WebSocket-Protocol", offer.as_bytes());
        }
        if let Some(config) = deflate {
            let offer = config.offer().to_string();
            push_line(&mut head, "Sec-WebSocket-Extensions", offer.as_bytes());
        }
        head.extend_from_slice(&self.header_lines);
        head.extend_from_slice(b"\r\n");
        head
    }
}

/// Leaves the query and the added headers out: they carry credentials.
impl fmt::Debug for ClientRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientRequest")
            .field("host", &self.host)
            .field("target", &WithoutQuery(&self.target))
            .field("origin", &self.origin)
            .field("subprotocols", &self.subprotocols)
            .finish_non_exhaustive()
    }
}

/// The client's side of one handshake: sends a head, reads one.
///
/// Send [`request_head`](Self::request_head), hand over what arrives until
/// [`poll_response`](Self::poll_response) answers, then read frames from where
/// [`handle_input`](Self::handle_input) stopped.
///
/// ```
/// use wspulse_core::handshake::{
///     ClientHandshake, ClientRequest, HandshakeError, HandshakeLimits,
/// };
///
/// let request = ClientRequest::new("example.com", "/")?;
/// let nonce = [7; 16]; // 16 bytes from the operating system
/// let mut handshake = ClientHandshake::new(&request, nonce, HandshakeLimits::default());
/// assert!(handshake.request_head().starts_with(b"GET / HTTP/1.1\r\nHost: example.com\r\n"));
///
/// handshake.handle_input(b"HTTP/1.1 503 Service Unavailable\r\nRetry-");
/// assert_eq!(handshake.poll_response(), None);
/// handshake.handle_input(b"After: 7\r\nContent-Length: 4\r\n\r\nbusy");
///
/// match handshake.poll_response() {
///     Some(Err(HandshakeError::Refused(refusal))) => {
///         assert_eq!(refusal.status(), 503);
///         assert_eq!(refusal.header("retry-after"), Some(&b"7"[..]));
///         assert_eq!(refusal.body_excerpt(), b"busy");
///     }
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), wspulse_core::handshake::RequestError>(())
/// ```
#[derive(Clone, Hash)]
pub struct ClientHandshake {
    request_head: Bytes,
    /// Nothing if it could not be computed; then no answer is the right one.
    accept: Option<AcceptKey>,
    offered: Vec<ByteString>,
    deflate: Option<DeflateConfig>,
    limits: HandshakeLimits,
    interim_count: u8,
    /// The bytes of interim responses.
    interim_size: usize,
    state: State,
    result: Option<Result<Response, HandshakeError>>,
}

#[derive(Clone, Debug, Hash)]
enum State {
    Head(HeadReader),
    /// The server refused; the beginning of the body is on its way.
    Body(Box<RefusalReader>),
    /// What follows are frames.
    Open,
    /// What follows has no meaning.
    Failed,
}

impl ClientHandshake {
    /// Begins a handshake with 16 bytes that nobody can guess and that serve no other one
    /// (RFC 6455 §4.1 item 7).
    #[must_use]
    pub fn new(request: &ClientRequest, nonce: [u8; 16], limits: HandshakeLimits) -> Self {
        Self::offering(request, nonce, limits, None)
    }

    /// Begins a handshake that offers permessage-deflate too (RFC 7692 §5). Frames follow its rules
    /// if the server agrees ([`Response::deflate`]): to compress is up to the caller.
    #[must_use]
    pub fn with_deflate(
        request: &ClientRequest,
        nonce: [u8; 16],
        limits: HandshakeLimits,
        config: DeflateConfig,
    ) -> Self {
        Self::offering(request, nonce, limits, Some(config))
    }

    pub(crate) fn offering(
        request: &ClientRequest,
        nonce: [u8; 16],
        limits: HandshakeLimits,
        deflate: Option<DeflateConfig>,
    ) -> Self {
        let key = STANDARD.encode(nonce);
        Self {
            request_head: request.head(key.as_bytes(), deflate.as_ref()).into(),
            accept: AcceptKey::of(key.as_bytes()),
            offered: request.subprotocols.clone(),
            deflate,
            limits,
            interim_count: 0,
            interim_size: 0,
            state: State::Head(HeadReader::new(Kind::Response, limits, 0)),
            result: None,
        }
    }

    /// Returns the bytes to send; a clone shares them.
    #[must_use]
    pub const fn request_head(&self) -> &Bytes {
        &self.request_head
    }

    /// Takes bytes that arrived and returns how many.
    ///
    /// Never takes a byte past the end of a 101 head: what is left are the first frames.
    /// Once the handshake has failed, everything is taken and dropped.
    pub fn handle_input(&mut self, input: &[u8]) -> usize {
        let mut rest = input;
        loop {
            match &mut self.state {
                State::Head(reader) => {
                    let taken = match reader.handle_input(rest) {
                        Ok(taken) => taken,
                        Err(error) => {
                            self.fail(error);
                            return input.len();
                        }
                    };
                    rest = rest.get(taken..).unwrap_or_default();
                    match reader.take_head() {
                        Some(head) => self.handle_head(head),
                        None => return input.len(),
                    }
                }
                State::Body(reader) => {
                    reader.handle_input(rest);
                    if reader.is_complete() {
                        self.give_up();
                    }
                    return input.len();
                }
                State::Open => return input.len().saturating_sub(rest.len()),
                State::Failed => return input.len(),
            }
        }
    }

    /// Says that the stream has ended.
    pub fn handle_eof(&mut self) {
        if matches!(self.state, State::Head(_)) {
            self.fail(HandshakeError::UnexpectedEof);
        }
        self.give_up();
    }

    /// Stops waiting for the body of a refusal, so that a deadline which fires meanwhile does
    /// not cost the status. Changes nothing before the status is known.
    pub fn give_up(&mut self) {
        match mem::replace(&mut self.state, State::Failed) {
            State::Body(reader) => {
                self.fail(HandshakeError::Refused(Box::new(reader.into_refusal())));
            }
            state => self.state = state,
        }
    }

    /// Tells whether the server has refused, and only the body is on its way.
    pub(crate) const fn is_refused(&self) -> bool {
        matches!(self.state, State::Body(_))
    }

    /// Returns the outcome once, as soon as there is one.
    ///
    /// # Errors
    ///
    /// Inside the `Some`, the rule that the answer broke;
    /// [`HandshakeError::Refused`] for every well-formed answer other than 101.
    pub fn poll_response(&mut self) -> Option<Result<Response, HandshakeError>> {
        self.result.take()
    }

    fn handle_head(&mut self, head: RawHead) {
        let size = head.bytes.len();
        match ResponseHead::parse(head) {
            Ok(head) if head.status == 101 => match self.check(head) {
                Ok(response) => {
                    self.state = State::Open;
                    self.result = Some(Ok(response));
                }
                Err(error) => self.fail(error),
            },
            // RFC 9110 §15.2: interim responses precede the final one and are skipped.
            Ok(head) if head.status < 200 => self.skip_interim(size),
            Ok(head) => {
                let reader = RefusalReader::new(head.status, head.headers);
                self.state = State::Body(Box::new(reader));
            }
            Err(error) => self.fail(error),
        }
    }

    fn skip_interim(&mut self, size: usize) {
        self.interim_count = self.interim_count.saturating_add(1);
        if self.interim_count > MAX_INTERIM {
            self.fail(HandshakeError::TooManyInterim);
            return;
        }
        self.interim_size = self.interim_size.saturating_add(size);
        let reader = HeadReader::new(Kind::Response, self.limits, self.interim_size);
        self.state = State::Head(reader);
    }

    fn check(&self, head: ResponseHead) -> Result<Response, HandshakeError> {
        let headers = head.headers;
        if !head.is_http_1_1 {
            return Err(HandshakeError::HttpVersion);
        }
        // RFC 6455 §4.1: Upgrade is "websocket" and nothing else, Connection has "Upgrade".
        let upgrade = headers.get_single("upgrade")?.unwrap_or_default();
        if !upgrade.eq_ignore_ascii_case(b"websocket") {
            return Err(HandshakeError::Upgrade);
        }
        let options = list::tokens(headers.get_all("connection"), HandshakeError::Connection);
        if !list::names(options, "upgrade")? {
            return Err(HandshakeError::Connection);
        }
        // RFC 6455 §4.1: the proof that this server read this request.
        let accept = headers.get_single("sec-websocket-accept")?;
        match (&self.accept, accept) {
            (Some(AcceptKey(expected)), Some(found)) if expected.as_slice() == found => {}
            _ => return Err(HandshakeError::Accept),
        }
        let deflate = self.check_extensions(&headers)?;
        let subprotocol = match headers.get_single("sec-websocket-protocol")? {
            None => None,
            Some(chosen) => Some(
                self.offered
                    .iter()
                    .find(|offered| offered.as_bytes() == chosen)
                    .ok_or(HandshakeError::UnofferedSubprotocol)?
                    .clone(),
            ),
        };
        Ok(Response {
            subprotocol,
            deflate,
            headers,
        })
    }

    /// RFC 6455 §4.1, §9.1: only what was offered can be chosen, and once.
    fn check_extensions(&self, headers: &Headers) -> Result<Option<DeflateParams>, HandshakeError> {
        let chosen = headers.get_all("sec-websocket-extensions");
        let Some(config) = &self.deflate else {
            return match headers.get("sec-websocket-extensions") {
                Some(_) => Err(HandshakeError::UnofferedExtension),
                None => Ok(None),
            };
        };
        let mut answers = 0_u32;
        let mut agreed = None;
        Extension::parse_each(chosen, |answer| {
            answers = answers.saturating_add(1);
            agreed = (answer.name() == deflate::NAME).then(|| config.confirm(&answer));
        })?;
        match (answers, agreed) {
            (0, _) => Ok(None),
            (1, Some(agreed)) => agreed.map(Some).ok_or(HandshakeError::ExtensionParameters),
            _ => Err(HandshakeError::UnofferedExtension),
        }
    }

    fn fail(&mut self, error: HandshakeError) {
        self.state = State::Failed;
        self.result = Some(Err(error));
    }
}

impl fmt::Debug for ClientHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Head(_) => "Head",
            State::Body(_) => "Body",
            State::Open => "Open",
            State::Failed => "Failed",
        };
        f.debug_struct("ClientHandshake")
            .field("state", &format_args!("{state}"))
            .field("result", &self.result)
            .finish_non_exhaustive()
    }
}

/// A server's consent: status 101 and all that RFC 6455 §4.1 asks of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Response {
    subprotocol: Option<ByteString>,
    deflate: Option<DeflateParams>,
    headers: Headers,
}

impl Response {
    /// Returns the subprotocol the server chose among those offered, if it chose one.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// Returns what was agreed on about compressed messages, if it was (RFC 7692 §7.1).
    #[must_use]
    pub const fn deflate(&self) -> Option<DeflateParams> {
        self.deflate
    }

    /// Returns the first header of this name, whatever the case, as opaque bytes.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.get(name)
    }

    /// Goes through the headers in the order they came.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter()
    }
}

const RESERVED: &[&str] = &[
    "Upgrade",
    "Connection",
    "Origin",
    "Content-Length",
    "Transfer-Encoding",
];

/// More than a proxy chain sends in earnest; the size of all heads together is bounded too.
const MAX_INTERIM: u8 = 8;
