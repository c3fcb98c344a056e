//! A client's way to a connection.

use std::future::poll_fn;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use wspulse_core::handshake::{ClientRequest, HandshakeError};
use wspulse_core::{Cause, Closed, Config, Connection, Event};
use wspulse_drive::{Clock as _, ConnectOptions, RedirectError, Target};
#[cfg(feature = "tls")]
use wspulse_drive::{
    Stage,
    tls::rustls::{ClientConfig, pki_types::ServerName},
};

use crate::Error;
use crate::clock::{self, Clock};
use crate::driver::Driver;
use crate::layer::Layer;
use crate::maybe_tls::MaybeTls;
#[cfg(feature = "proxy")]
use crate::proxy::Proxy;
use crate::tcp;
use crate::websocket::WebSocket;

/// Connects to a `ws` or `wss` URL and shakes hands.
///
/// `options` may be a [`Config`] alone.
///
/// ```no_run
/// # async fn example() -> Result<(), wspulse_tokio::Error> {
/// use wspulse_core::Config;
/// use wspulse_tokio::{ConnectOptions, connect};
///
/// let options = ConnectOptions::new(Config::default())
///     .subprotocol("chat.v2")
///     .header("Authorization", "Bearer 4711");
/// let ws = connect("ws://127.0.0.1:9001/chat", options).await?;
/// assert_eq!(ws.response().unwrap().subprotocol(), Some("chat.v2"));
/// # Ok(())
/// # }
/// ```
///
/// # Stages
///
/// The name lookup, TCP, the proxy's answer and the TLS handshake each have a time of their own in
/// [`ConnectOptions`]; the opening handshake has the configuration's `handshake_timeout`. Where a
/// name has several addresses, the next is tried beside the one before after 250 ms, and the first
/// to answer is taken.
///
/// # TLS
///
/// `wss` needs the feature `tls` and certificates to trust: one of the features `webpki-roots`,
/// `native-roots` and `platform-verifier`, or `ConnectOptions::tls`. Names and expiry are verified.
///
/// # Redirects
///
/// None is followed unless [`ConnectOptions::max_redirects`] says how many: then 301, 302, 303,
/// 307 and 308 are, though never from `wss` to `ws`. Once they lead to another scheme, host or
/// port, only what the caller called public goes along:
/// [`public_header`](ConnectOptions::public_header) and
/// [`public_subprotocol`](ConnectOptions::public_subprotocol). Any other header, subprotocol and
/// the `Origin` stay behind.
///
/// # Cancel safety
///
/// Dropping the future closes whatever it has opened. A name lookup under way goes on in its
/// thread, and its answer is dropped.
///
/// # Errors
///
/// [`Error::Url`] and [`Error::Request`] before anything is done; [`Error::Timeout`] names the
/// stage that took too long; [`Error::Io`] if no TCP connection comes about; `Error::Tls` says
/// what is wrong with the server's certificate; [`Error::Redirect`] why a redirect is not
/// followed; [`Error::Closed`] if the server is no WebSocket server, refuses, or does not answer
/// in time.
pub async fn connect(
    url: &str,
    options: impl Into<ConnectOptions>,
) -> Result<WebSocket<MaybeTls<TcpStream>>, Error> {
    follow(Route::Direct, url, &options.into()).await
}

/// Connects as [`connect`] does, with a proxy between. The proxy looks the host's name up.
///
/// ```no_run
/// # async fn example() -> Result<(), wspulse_tokio::Error> {
/// use wspulse_core::Config;
/// use wspulse_tokio::{Proxy, connect_through};
///
/// let proxy = Proxy::parse("socks5://user:secret@proxy.example:1080")?;
/// let ws = connect_through(&proxy, "ws://example.com/", Config::default()).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// As [`connect`], and [`Error::Proxy`] if the proxy does not let us through: around a
/// [`ProxyRefusal`](crate::ProxyRefusal) if it said so. [`Error::Io`] and the stages `Lookup` and
/// `Connect` are about the way to the proxy.
#[cfg(feature = "proxy")]
pub async fn connect_through(
    proxy: &Proxy,
    url: &str,
    options: impl Into<ConnectOptions>,
) -> Result<WebSocket<MaybeTls<TcpStream>>, Error> {
    follow(Route::Through(proxy.clone()), url, &options.into()).await
}

/// Where TCP leads to.
enum Route {
    Direct,
    #[cfg(feature = "proxy")]
    Through(Proxy),
}

impl Route {
    async fn connect(&self, target: &Target, options: &ConnectOptions) -> Result<TcpStream, Error> {
        match self {
            Self::Direct => tcp::connect(&target.host(), target.port(), options).await,
            #[cfg(feature = "proxy")]
            Self::Through(proxy) => proxy.connect(target, options).await,
        }
    }
}

/// Connects to `url`, and from there to wherever it leads.
async fn follow(
    route: Route,
    url: &str,
    options: &ConnectOptions,
) -> Result<WebSocket<MaybeTls<TcpStream>>, Error> {
    let origin = Target::parse(url)?;
    let mut target = origin.clone();
    // What a stranger leads back to is not trusted again: the path is the stranger's choice.
    let mut is_trusted = true;
    let mut redirects = 0;
    loop {
        let request = options.request(&target, is_trusted)?;
        let layer = Layer::new(&target, options)?;
        let stream = route.connect(&target, options).await?;
        let stream = layer.wrap(stream, options).await?;
        let closed = match client(stream, &request, Arc::clone(options.config())).await {
            Err(Error::Closed(closed)) => closed,
            result => return result,
        };
        let Some(location) = redirect(&closed).filter(|_| options.redirects() > 0) else {
            return Err(Error::Closed(closed));
        };
        if redirects == options.redirects() {
            return Err(RedirectError::TooMany.into());
        }
        redirects += 1;
        target = target.redirect(location.ok_or(RedirectError::Location)?)?;
        is_trusted &= origin.is_same_origin(&target);
    }
}

/// Returns the `Location` of a redirect, if it was one (RFC 9110 §15.4).
fn redirect(closed: &Closed) -> Option<Option<&[u8]>> {
    match &closed.cause {
        Cause::Handshake(HandshakeError::Refused(refusal)) => {
            let is_redirect = matches!(refusal.status(), 301 | 302 | 303 | 307 | 308);
            is_redirect.then(|| refusal.header("location"))
        }
        _ => None,
    }
}

/// Shakes hands over a stream that is connected already: a Unix socket, a proxy's tunnel, TLS.
///
/// # Errors
///
/// [`Error::Closed`] if the server is no WebSocket server, refuses, or does not answer in time;
/// [`Error::Io`] if the transport fails.
pub async fn client<S>(
    stream: S,
    request: &ClientRequest,
    config: impl Into<Arc<Config>>,
) -> Result<WebSocket<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let config = config.into();
    clock::tune(&stream, &config);
    let clock = Clock::start();
    let connection = Connection::client(config, request, wspulse_drive::seed()?, clock.now());
    let mut driver = Driver::new(stream, connection, clock);
    loop {
        match poll_fn(|cx| driver.poll_event(cx)).await {
            Some(Event::Open(response)) => {
                return Ok(WebSocket::new(driver, Some(response)));
            }
            Some(Event::Closed(closed)) => return Err(driver.end_error(closed)),
            Some(_) => {}
            None => return Err(Error::NotOpen),
        }
    }
}

/// Shakes hands by TLS and then as [`client`] does, over a stream that is connected already.
///
/// `name` is what the server's certificate has to carry: `"example.com".try_into()?`. TLS may take
/// the configuration's `handshake_timeout`, and the answer to the request once more.
///
/// # Errors
///
/// [`Error::Tls`] if the peers do not agree or the server's certificate is not one to trust,
/// [`Error::Timeout`] if that takes too long; else as [`client`].
#[cfg(feature = "tls")]
pub async fn client_tls<S>(
    stream: S,
    tls: impl Into<Arc<ClientConfig>>,
    name: ServerName<'static>,
    request: &ClientRequest,
    config: impl Into<Arc<Config>>,
) -> Result<WebSocket<MaybeTls<S>>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let config = config.into();
    clock::tune(&stream, &config);
    let handshake = tokio_rustls::TlsConnector::from(tls.into()).connect(name, stream);
    let shaken = tokio::time::timeout(config.handshake_timeout(), handshake).await;
    let stream = shaken.map_err(|_| Error::Timeout(Stage::Tls))??;
    client(MaybeTls::from(stream), request, config).await
}
