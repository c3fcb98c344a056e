//! The server's side of the opening handshake (RFC 6455 §4.2).

use alloc::vec::Vec;
use core::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use bytestring::ByteString;

use super::head::{HeadReader, Headers, Kind, RawHead, RequestHead};
use super::origin::{Authority, Origin, OriginCheck, is_same_host};
use super::{
    Accept, AcceptKey, AnswerError, HandshakeError, HandshakeLimits, Reject, WithoutQuery, list,
};
use crate::extension::Extension;
use crate::extension::deflate::{self, DeflateConfig, DeflateParams};

/// The server's side of one handshake: reads a head, answers it.
///
/// Hand over what arrives until [`poll_request`](Self::poll_request) answers, look at who
/// asks for what, and send the bytes of [`accept`](Self::accept) or
/// [`reject`](Self::reject). Nothing is answered on its own, so that the origin can be
/// checked first.
///
/// ```
/// use wspulse_core::handshake::{Accept, HandshakeLimits, OriginCheck, Reject, ServerHandshake};
///
/// let mut handshake = ServerHandshake::new(HandshakeLimits::default());
/// let input = b"GET /chat HTTP/1.1\r\n\
///     Host: example.com\r\n\
///     Upgrade: websocket\r\n\
///     Connection: keep-alive, Upgrade\r\n\
///     Origin: https://example.com\r\n\
///     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
///     Sec-WebSocket-Version: 13\r\n\r\n";
/// assert_eq!(handshake.handle_input(input), input.len());
///
/// let answer = match handshake.poll_request().expect("a whole head") {
///     Ok(request) => match request.check_same_origin("https") {
///         OriginCheck::Allowed => handshake.accept(&Accept::new())?,
///         OriginCheck::Refused | OriginCheck::Absent => handshake.reject(&Reject::new(403)?)?,
///     },
///     Err(error) => error.to_response().unwrap_or_default(),
/// };
/// assert!(answer.starts_with(b"HTTP/1.1 101 Switching Protocols\r\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Hash)]
pub struct ServerHandshake {
    state: State,
    result: Option<Result<Request, HandshakeError>>,
    deflate: Option<DeflateConfig>,
    agreed: Option<DeflateParams>,
}

#[derive(Clone, Debug, Hash)]
enum State {
    Head(HeadReader),
    /// A valid request waits for the application's answer.
    Asked {
        accept: AcceptKey,
        headers: Headers,
        deflate_offer: Option<deflate::Offer>,
    },
    /// What follows are frames.
    Accepted,
    /// What follows has no meaning; a rejection can still be sent.
    Failed,
    Rejected,
}

impl ServerHandshake {
    /// Begins to wait for a request head.
    #[must_use]
    pub const fn new(limits: HandshakeLimits) -> Self {
        Self {
            state: State::Head(HeadReader::new(Kind::Request, limits, 0)),
            result: None,
            deflate: None,
            agreed: None,
        }
    }

    /// Agrees to permessage-deflate where a client offers it (RFC 7692 §5.1); by default no
    /// extension is agreed to. Frames then follow its rules: to compress is up to the caller.
    #[must_use]
    pub const fn with_deflate(mut self, config: DeflateConfig) -> Self {
        self.deflate = Some(config);
        self
    }

    /// Takes bytes that arrived and returns how many.
    ///
    /// Never takes a byte past the end of the request head: what is left are the first frames,
    /// to be read after the accept. Once the handshake has failed or the request is rejected,
    /// everything is taken and dropped, so that nothing behind it is ever read as a request.
    pub fn handle_input(&mut self, input: &[u8]) -> usize {
        let reader = match &mut self.state {
            State::Head(reader) => reader,
            State::Asked { .. } | State::Accepted => return 0,
            State::Failed | State::Rejected => return input.len(),
        };
        match reader.handle_input(input) {
            Ok(taken) => {
                if let Some(head) = reader.take_head() {
                    self.handle_head(head);
                }
                match self.state {
                    State::Failed => input.len(),
                    _ => taken,
                }
            }
            Err(error) => {
                self.fail(error);
                input.len()
            }
        }
    }

    /// Says that the stream has ended; a head that is whole by then stays valid.
    pub fn handle_eof(&mut self) {
        if matches!(self.state, State::Head(_)) {
            self.fail(HandshakeError::UnexpectedEof);
        }
    }

    /// Returns the request once, as soon as its head is whole.
    ///
    /// # Errors
    ///
    /// Inside the `Some`, the rule that the request broke; answer it with
    /// [`HandshakeError::to_response`] and close.
    pub fn poll_request(&mut self) -> Option<Result<Request, HandshakeError>> {
        self.result.take()
    }

    /// Consents, and returns the bytes of the 101 response to send (RFC 6455 §4.2.2).
    ///
    /// # Errors
    ///
    /// [`AnswerError::UnofferedSubprotocol`], after which another answer is still possible;
    /// [`AnswerError::NoRequest`] and [`AnswerError::AlreadyAnswered`].
    pub fn accept(&mut self, accept: &Accept) -> Result<Vec<u8>, AnswerError> {
        let (key, headers, deflate_offer) = match &self.state {
            State::Asked {
                accept,
                headers,
                deflate_offer,
            } => (accept, headers, *deflate_offer),
            State::Head(_) | State::Failed => return Err(AnswerError::NoRequest),
            State::Accepted | State::Rejected => return Err(AnswerError::AlreadyAnswered),
        };
        // RFC 6455 §4.2.2 item 5.5: only what the client offered can be chosen.
        if let Some(chosen) = &accept.subprotocol
            && !subprotocols(headers).any(|offered| offered == Ok(&**chosen))
        {
            return Err(AnswerError::UnofferedSubprotocol);
        }
        self.agreed = self
            .deflate
            .filter(|_| accept.extensions)
            .zip(deflate_offer)
            .map(|(config, offer)| deflate::choose(&config, offer));
        let head = accept.to_response(key, self.agreed);
        self.state = State::Accepted;
        Ok(head)
    }

    /// Returns what was agreed on with the accept (RFC 7692 §7.1); nothing before, or without
    /// compression.
    #[must_use]
    pub const fn deflate(&self) -> Option<DeflateParams> {
        self.agreed
    }

    /// Refuses, and returns the bytes of the response to send; then the connection closes.
    ///
    /// Legal before a request has arrived too, as when a server is full.
    ///
    /// # Errors
    ///
    /// [`AnswerError::AlreadyAnswered`].
    pub fn reject(&mut self, reject: &Reject) -> Result<Vec<u8>, AnswerError> {
        if matches!(self.state, State::Accepted | State::Rejected) {
            return Err(AnswerError::AlreadyAnswered);
        }
        self.state = State::Rejected;
        Ok(reject.to_response())
    }

    fn handle_head(&mut self, head: RawHead) {
        match RequestHead::parse(head).and_then(check) {
            Ok((request, accept, deflate_offer)) => {
                self.state = State::Asked {
                    accept,
                    headers: request.headers.clone(),
                    deflate_offer,
                };
                self.result = Some(Ok(request));
            }
            Err(error) => self.fail(error),
        }
    }

    fn fail(&mut self, error: HandshakeError) {
        self.state = State::Failed;
        self.result = Some(Err(error));
    }

    #[cfg(test)]
    pub(super) const fn reader(&self) -> Option<&HeadReader> {
        match &self.state {
            State::Head(reader) => Some(reader),
            _ => None,
        }
    }
}

impl fmt::Debug for ServerHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Head(_) => "Head",
            State::Asked { .. } => "Asked",
            State::Accepted => "Accepted",
            State::Failed => "Failed",
            State::Rejected => "Rejected",
        };
        f.debug_struct("ServerHandshake")
            .field("state", &format_args!("{state}"))
            .field("result", &self.result)
            .finish()
    }
}

/// Reads the client's handshake, item by item (RFC 6455 §4.2.1).
fn check(
    head: RequestHead,
) -> Result<(Request, AcceptKey, Option<deflate::Offer>), HandshakeError> {
    let headers = head.headers;
    // RFC 6455 §4.2.1 item 1: the method is GET, and the version 1.1 or one that came after
    // it; those that did are not spoken in lines of text.
    if head.is_head {
        return Err(HandshakeError::MethodHead);
    }
    if !head.is_get {
        return Err(HandshakeError::Method);
    }
    if !head.is_http_1_1 {
        return Err(HandshakeError::HttpVersion);
    }
    let host = check_host(&headers)?;
    if !is_target_for(&head.target, &host) {
        return Err(HandshakeError::Target);
    }
    // RFC 9110 §9.3.1: a body on GET has no meaning, and has been used to smuggle requests. That
    // there is none may be said (§8.6), and Java's HttpClient does.
    let is_empty = matches!(headers.get_single("content-length")?, None | Some(b"0"));
    if !is_empty || headers.get("transfer-encoding").is_some() {
        return Err(HandshakeError::RequestBody);
    }
    // RFC 6455 §4.2.1 item 3: Upgrade names "websocket".
    let protocols = list::protocols(headers.get_all("upgrade"), HandshakeError::Upgrade);
    if !list::names(protocols, "websocket")? {
        return Err(HandshakeError::Upgrade);
    }
    // RFC 6455 §4.2.1 item 4: Connection names "Upgrade".
    let options = list::tokens(headers.get_all("connection"), HandshakeError::Connection);
    if !list::names(options, "upgrade")? {
        return Err(HandshakeError::Connection);
    }
    // RFC 6455 §4.4: another version is answered with the one that is spoken here. It goes
    // first, since what a key looks like is for the version to say.
    if headers.get_single("sec-websocket-version")? != Some(b"13") {
        return Err(HandshakeError::Version);
    }
    let accept = check_key(&headers)?;
    for offered in subprotocols(&headers) {
        offered?;
    }
    let mut deflate_offer = None;
    let extensions = headers.get_all("sec-websocket-extensions");
    Extension::parse_each(extensions, |extension| {
        deflate_offer = deflate_offer.or_else(|| deflate::Offer::parse(&extension));
    })?;
    let request = Request {
        target: head.target,
        host,
        headers,
    };
    Ok((request, accept, deflate_offer))
}

/// RFC 6455 §4.2.1 item 2, RFC 9112 §3.2: there is one Host, and it is `host[:port]`.
fn check_host(headers: &Headers) -> Result<ByteString, HandshakeError> {
    let value = headers.get_single("host")?.ok_or(HandshakeError::Host)?;
    match str::from_utf8(value) {
        Ok(host) if Authority::parse(host).is_some() => {
            headers.share(value).ok_or(HandshakeError::Host)
        }
        _ => Err(HandshakeError::Host),
    }
}

/// RFC 6455 §4.2.1 item 1: a path, or an absolute HTTP URI, which must be for the same host.
fn is_target_for(target: &str, host: &str) -> bool {
    // RFC 6455 §3: there is no fragment.
    if !target
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'#')
    {
        return false;
    }
    if target.starts_with('/') {
        return true;
    }
    let Some((scheme, rest)) = target.split_once("://") else {
        return false;
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    list::contains(&["http", "https"], scheme) && is_same_host(scheme, authority, host)
}

/// RFC 6455 §4.2.1 item 5: one key, a base64 form of 16 bytes. Bits that its last digit has too
/// many may be anything: the RFC's own example in §4.1 has some, and the answer is made of the
/// text.
fn check_key(headers: &Headers) -> Result<AcceptKey, HandshakeError> {
    let key = headers.get_single("sec-websocket-key")?.unwrap_or_default();
    let mut nonce = [0; 16];
    match KEY.decode_slice(key, &mut nonce) {
        Ok(16) => AcceptKey::of(key).ok_or(HandshakeError::Key),
        _ => Err(HandshakeError::Key),
    }
}

const KEY: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// RFC 6455 §11.3.4: a list of tokens. That one comes twice, or none, is a client's mistake that
/// changes no choice (§4.1 item 10).
fn subprotocols(headers: &Headers) -> impl Iterator<Item = Result<&str, HandshakeError>> {
    let values = headers.get_all("sec-websocket-protocol");
    list::tokens(values, HandshakeError::Subprotocols)
}

/// A valid request to open a WebSocket connection (RFC 6455 §4.2.1).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Request {
    target: ByteString,
    host: ByteString,
    headers: Headers,
}

impl Request {
    /// Returns the request target in visible ASCII: a path and query such as `/chat?room=1`,
    /// or in the rare case of an absolute URI the whole of it.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Returns the `Host` header, checked to be `host[:port]`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns what the request says about the page that opened it.
    #[must_use]
    pub fn origin(&self) -> Origin<'_> {
        Origin::of(&self.headers)
    }

    /// Compares the origin with each of those allowed, such as `https://example.com`.
    ///
    /// Scheme, host and port are compared whole, scheme and host whatever the case, and a
    /// missing port is the scheme's default one. An allowed origin that is no
    /// `scheme://host[:port]`, with a path or a closing slash for instance, matches nothing.
    ///
    /// ```
    /// use wspulse_core::handshake::{HandshakeLimits, Origin, OriginCheck, ServerHandshake};
    ///
    /// # let mut handshake = ServerHandshake::new(HandshakeLimits::default());
    /// # handshake.handle_input(b"GET /chat HTTP/1.1\r\nHost: chat.example.com\r\n\
    /// #     Upgrade: websocket\r\nConnection: Upgrade\r\n\
    /// #     Origin: https://example.com.evil.example\r\n\
    /// #     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n");
    /// // Origin: https://example.com.evil.example
    /// let request = handshake.poll_request().expect("a whole head")?;
    /// let Origin::Tuple(origin) = request.origin() else { panic!() };
    /// assert_eq!(origin.host(), "example.com.evil.example");
    ///
    /// match request.check_origin(["https://example.com", "https://example.org:8443"]) {
    ///     OriginCheck::Allowed => unreachable!("hosts are compared whole"),
    ///     OriginCheck::Refused => {} // answer 403
    ///     OriginCheck::Absent => unreachable!("and this is yours to decide"),
    /// }
    /// # Ok::<(), wspulse_core::handshake::HandshakeError>(())
    /// ```
    pub fn check_origin<'a>(&self, allowed: impl IntoIterator<Item = &'a str>) -> OriginCheck {
        self.origin().check(allowed)
    }

    /// Compares the origin with the host this request was sent to, on `scheme`: `https` where
    /// the server is reached over TLS, by itself or through a proxy, else `http`.
    ///
    /// This protects as far as the `Host` header is the name the browser used; a proxy that
    /// rewrites it needs [`check_origin`](Self::check_origin).
    pub fn check_same_origin(&self, scheme: &str) -> OriginCheck {
        self.origin().check_same(scheme, &self.host)
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

    /// Goes through the offered subprotocols, each once, the preferred one first.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        let offered = || subprotocols(&self.headers).flatten();
        offered()
            .enumerate()
            .filter(move |(count, name)| !offered().take(*count).any(|before| before == *name))
            .map(|(_, name)| name)
    }
}

/// Leaves the query out, and of the headers all but their names: they carry credentials.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("target", &WithoutQuery(&self.target))
            .field("host", &self.host)
            .field("headers", &self.headers)
            .finish()
    }
}
