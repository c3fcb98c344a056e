//! Taking a connection over from an HTTP server.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::{HeaderName, HeaderValue};
use http::{StatusCode, Version};
use hyper_util::rt::TokioIo;
use wspulse_core::extension::deflate::DeflateParams;
use wspulse_core::handshake::{
    Accept, AnswerError, HandshakeError, HandshakeLimits, Reject, Request, ServerHandshake,
};
use wspulse_core::{Config, Connection, Role};
use wspulse_drive::Clock as _;

use crate::Error;
use crate::clock::Clock;
use crate::driver::Driver;
use crate::websocket::WebSocket;

/// The stream of a connection that hyper handed over. What hyper had read of it is read first.
pub type Upgraded = TokioIo<hyper::upgrade::Upgraded>;

/// Accepts a request for a WebSocket connection to a [`hyper`] server, whoever asks for whatever.
///
/// Return the response from the service, and await the [`Upgrade`] in a task of its own: it is
/// ready once hyper has sent the response. The server has to allow upgrades
/// (`serve_connection(..).with_upgrades()`).
///
/// A server that browsers can reach and that trusts cookies must look at the request's origin
/// first: use [`upgrade_with`].
///
/// ```
/// use http_body_util::Full;
/// use hyper::body::{Bytes, Incoming};
/// use hyper::{Request, Response};
/// use wspulse_core::Config;
/// use wspulse_tokio::{Error, upgrade};
///
/// async fn service(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Error> {
///     let response = match upgrade(&mut request, Config::default()) {
///         Ok((response, upgrade)) => {
///             tokio::spawn(async move {
///                 let mut ws = upgrade.await?;
///                 while let Some(message) = ws.next().await {
///                     ws.feed(message?).await?;
///                 }
///                 Ok::<(), Error>(())
///             });
///             response
///         }
///         Err(error) => error.to_response(),
///     };
///     Ok(response.map(Full::from))
/// }
/// ```
///
/// The socket's options are the server's: see [`tune`](crate::tune).
///
/// # Errors
///
/// As [`upgrade_with`].
pub fn upgrade<B>(
    request: &mut http::Request<B>,
    config: impl Into<Arc<Config>>,
) -> Result<(http::Response<Vec<u8>>, Upgrade), UpgradeError> {
    upgrade_with(request, config, |_| Ok(Accept::new()))
}

/// Lets `decide` answer a request for a WebSocket connection to a [`hyper`] server.
///
/// # Errors
///
/// [`UpgradeError`] has the response to send instead.
pub fn upgrade_with<B>(
    request: &mut http::Request<B>,
    config: impl Into<Arc<Config>>,
    decide: impl FnOnce(&Request) -> Result<Accept, Reject>,
) -> Result<(http::Response<Vec<u8>>, Upgrade), UpgradeError> {
    let head = Head {
        method: request.method(),
        uri: request.uri(),
        version: request.version(),
        headers: request.headers(),
    };
    let config = config.into();
    let asked = Asked::read(&head)?;
    let accept = decide(&asked.request)?;
    let (response, agreed) = asked.accept(&accept, &config)?;
    if request
        .extensions()
        .get::<hyper::upgrade::OnUpgrade>()
        .is_none()
    {
        return Err(UpgradeError::NotUpgradable);
    }
    let on_upgrade = hyper::upgrade::on(request);
    Ok((response, Upgrade::new(on_upgrade, config, agreed)))
}

/// A connection on its way from hyper: ready when the response has left.
///
/// Errors with [`Error::Io`] if the client is gone before that, or the operating system has no
/// entropy to give.
#[must_use = "the connection is dropped with it"]
pub struct Upgrade {
    on_upgrade: hyper::upgrade::OnUpgrade,
    config: Arc<Config>,
    agreed: Option<DeflateParams>,
}

impl Upgrade {
    pub(crate) const fn new(
        on_upgrade: hyper::upgrade::OnUpgrade,
        config: Arc<Config>,
        agreed: Option<DeflateParams>,
    ) -> Self {
        Self {
            on_upgrade,
            config,
            agreed,
        }
    }
}

impl Future for Upgrade {
    type Output = Result<WebSocket<Upgraded>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let upgraded = ready!(Pin::new(&mut self.on_upgrade).poll(cx));
        let upgraded = upgraded.map_err(|error| Error::Io(std::io::Error::other(error)))?;
        let seed = wspulse_drive::seed()?;
        let clock = Clock::start();
        let config = Arc::clone(&self.config);
        let connection = Connection::from_upgrade(Role::Server, config, seed, clock.now());
        let connection = with_deflate(connection, self.agreed);
        let driver = Driver::new(TokioIo::new(upgraded), connection, clock);
        Poll::Ready(Ok(WebSocket::new(driver, None)))
    }
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrade").finish_non_exhaustive()
    }
}

/// Why a request does not become a WebSocket connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum UpgradeError {
    /// It is no valid request for one (RFC 6455 §4.2.1).
    Handshake(HandshakeError),
    /// The application refused it.
    Rejected(Reject),
    /// The application's answer is not a possible one; the client is told 500.
    Answer(AnswerError),
    /// The server does not let go of its connections; the client is told 500.
    NotUpgradable,
}

impl UpgradeError {
    /// Returns the status of the response: 405 for another method than GET, 426 for another
    /// version of WebSocket, 505 for one of HTTP, 431 for a head that is too large, 400 for any
    /// other broken rule.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        let status = match self {
            Self::Handshake(error) => error.status().unwrap_or(400),
            Self::Rejected(reject) => reject.status(),
            Self::Answer(_) | Self::NotUpgradable => 500,
        };
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Returns the whole response for the client: what went wrong, with 426 the version that is
    /// spoken here (RFC 6455 §4.4), with 405 the method that is allowed.
    #[must_use]
    pub fn to_response(&self) -> http::Response<Vec<u8>> {
        let bytes = match self {
            Self::Handshake(error) => error.to_response(),
            // Without a request, a handshake still refuses.
            Self::Rejected(reject) => ServerHandshake::new(HandshakeLimits::default())
                .reject(reject)
                .ok(),
            Self::Answer(_) | Self::NotUpgradable => None,
        };
        let mut response = bytes.as_deref().map(parse_response).unwrap_or_default();
        *response.status_mut() = self.status();
        response
    }
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handshake(error) => error.fmt(f),
            Self::Rejected(reject) => write!(f, "request rejected with status {}", reject.status()),
            Self::Answer(error) => error.fmt(f),
            Self::NotUpgradable => f.write_str("the server does not allow upgrades"),
        }
    }
}

impl std::error::Error for UpgradeError {}

impl From<Reject> for UpgradeError {
    fn from(rejection: Reject) -> Self {
        match rejection.mistake() {
            Some(mistake) => Self::Answer(mistake),
            None => Self::Rejected(rejection),
        }
    }
}

impl From<AnswerError> for UpgradeError {
    fn from(error: AnswerError) -> Self {
        Self::Answer(error)
    }
}

/// The head of a request, as an HTTP server has it.
pub(crate) struct Head<'a> {
    pub(crate) method: &'a http::Method,
    pub(crate) uri: &'a http::Uri,
    pub(crate) version: Version,
    pub(crate) headers: &'a http::HeaderMap,
}

/// A valid request that waits for its answer.
pub(crate) struct Asked {
    pub(crate) request: Request,
    handshake: ServerHandshake,
}

impl Asked {
    /// Judges a request by the core's own rules, which read it as it is on the wire.
    pub(crate) fn read(head: &Head<'_>) -> Result<Self, UpgradeError> {
        // Only 1.1 is spoken in lines of text and upgraded with a 101 (RFC 6455 §4.2.1 item 1).
        if head.method == http::Method::GET && head.version != Version::HTTP_11 {
            return Err(UpgradeError::Handshake(HandshakeError::HttpVersion));
        }
        let mut bytes = format!("{} {} HTTP/1.1\r\n", head.method, head.uri).into_bytes();
        for (name, value) in head.headers {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        // How large a head may be is for the HTTP server, which has read it already.
        let limits = HandshakeLimits {
            max_head_size: usize::MAX,
            max_header_count: usize::MAX,
        };
        let mut handshake = ServerHandshake::new(limits);
        handshake.handle_input(&bytes);
        // A head that is all there and asks for nothing does not exist.
        let asked = handshake
            .poll_request()
            .unwrap_or(Err(HandshakeError::StartLine));
        match asked {
            Ok(request) => Ok(Self { request, handshake }),
            Err(error) => Err(UpgradeError::Handshake(error)),
        }
    }

    /// Returns the response, and what it agrees to about compressed messages.
    pub(crate) fn accept(
        self,
        accept: &Accept,
        config: &Config,
    ) -> Result<(http::Response<Vec<u8>>, Option<DeflateParams>), AnswerError> {
        let mut handshake = match config.deflate() {
            Some(deflate) => self.handshake.with_deflate(deflate),
            None => self.handshake,
        };
        let head = handshake.accept(accept)?;
        Ok((parse_response(&head), handshake.deflate()))
    }
}

#[cfg(feature = "deflate")]
fn with_deflate(connection: Connection, agreed: Option<DeflateParams>) -> Connection {
    connection.with_deflate(agreed)
}

/// Without the feature no configuration has anything to agree to.
#[cfg(not(feature = "deflate"))]
fn with_deflate(connection: Connection, _: Option<DeflateParams>) -> Connection {
    connection
}

/// Reads a response that the core wrote: lines, an empty one, a body.
fn parse_response(bytes: &[u8]) -> http::Response<Vec<u8>> {
    let mut response = http::Response::new(Vec::new());
    let mut rest = bytes;
    let mut is_first = true;
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let (line, behind) = (&rest[..end], &rest[end + 2..]);
        rest = behind;
        if line.is_empty() {
            break;
        }
        if is_first {
            is_first = false;
            let status = line.get(9..12).map(StatusCode::from_bytes);
            if let Some(Ok(status)) = status {
                *response.status_mut() = status;
            }
            continue;
        }
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = parts.next().map(HeaderName::from_bytes);
        let value = parts
            .next()
            .map(|value| HeaderValue::from_bytes(value.trim_ascii_start()));
        if let (Some(Ok(name)), Some(Ok(value))) = (name, value) {
            response.headers_mut().append(name, value);
        }
    }
    *response.body_mut() = rest.to_vec();
    response
}
