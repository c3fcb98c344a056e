//! The opening handshake of a server.

use std::future::poll_fn;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use wspulse_core::handshake::{Accept, Reject, Request};
use wspulse_core::{Config, Connection, Event};
use wspulse_drive::Clock as _;
#[cfg(feature = "tls")]
use wspulse_drive::{Stage, tls::rustls::ServerConfig};

use crate::Error;
use crate::clock::{self, Clock};
use crate::driver::Driver;
#[cfg(feature = "tls")]
use crate::maybe_tls::MaybeTls;
use crate::websocket::WebSocket;

/// Waits for a client's request on `stream` and accepts it, whoever asks for whatever.
///
/// A server that browsers can reach and that trusts cookies must look at the request's origin
/// first: use [`accept_with`].
///
/// A `TcpStream`, also one below TLS, is set to send small messages at once (TCP_NODELAY) and to
/// queue little in the kernel (TCP_NOTSENT_LOWAT, Linux); other streams are taken as they are.
///
/// For TLS there is `accept_tls`; a TLS stream of the caller's own may be passed here, too.
///
/// # Errors
///
/// As [`accept_with`].
// Not an `async fn`, which would keep the stream in two places.
pub fn accept<S>(
    stream: S,
    config: impl Into<Arc<Config>>,
) -> impl Future<Output = Result<WebSocket<S>, Error>>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    accept_with(stream, config, |_| Ok(Accept::new()))
}

/// Waits for a client's request on `stream` and lets `decide` answer it.
///
/// Returns when the answer has left. Takes at most the configuration's `handshake_timeout`,
/// however slowly the request trickles in.
///
/// ```
/// use wspulse_core::Config;
/// use wspulse_core::handshake::{Accept, OriginCheck, Reject};
/// use wspulse_tokio::{Error, WebSocket, accept_with};
///
/// async fn greet(stream: tokio::net::TcpStream) -> Result<WebSocket<tokio::net::TcpStream>, Error> {
///     accept_with(stream, Config::default(), |request| {
///         match request.check_origin(["https://example.com"]) {
///             OriginCheck::Allowed if request.target() == "/chat" => Ok(Accept::new()),
///             _ => Err(Reject::new(403)?), // `?` on an impossible answer: the client is told 500
///         }
///     })
///     .await
/// }
/// ```
///
/// # Errors
///
/// [`Error::Closed`] if the request was not a valid one, came too late, or was rejected: then the
/// client has been told. [`Error::Answer`] if `decide` gave an answer that cannot be sent, such as a
/// subprotocol that the client did not offer: then the client was told 500. [`Error::Io`] if the
/// transport failed.
pub async fn accept_with<S, F>(
    stream: S,
    config: impl Into<Arc<Config>>,
    decide: F,
) -> Result<WebSocket<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    F: FnOnce(&Request) -> Result<Accept, Reject>,
{
    let config = config.into();
    clock::tune(&stream, &config);
    let clock = Clock::start();
    let connection = Connection::server(config, wspulse_drive::seed()?, clock.now());
    // Out of this future, beside which the caller's has a place for the connection already.
    let mut driver = Box::new(Driver::new(stream, connection, clock));

    let mut decide = Some(decide);
    let mut mistake = None;
    loop {
        match poll_fn(|cx| driver.poll_event(cx)).await {
            Some(Event::Request(request)) => {
                let Some(decide) = decide.take() else {
                    continue;
                };
                let rejection = match decide(&request) {
                    Ok(accept) => match driver.command(|c, now| c.accept(now, &accept)) {
                        Ok(()) => break,
                        // The client is not left waiting over a mistake of this side.
                        Err(error) => Reject::from(error),
                    },
                    Err(rejection) => rejection,
                };
                mistake = rejection.mistake();
                driver.command(|c, now| c.reject(now, &rejection))?;
            }
            Some(Event::Closed(closed)) => {
                return Err(match mistake {
                    Some(mistake) => Error::Answer(mistake),
                    None => driver.end_error(closed),
                });
            }
            Some(_) => {}
            None => return Err(Error::NotOpen),
        }
    }
    poll_fn(|cx| driver.poll_flush(cx)).await?;
    Ok(WebSocket::new(*driver, None))
}

/// Shakes hands by TLS, then waits for the client's request and accepts it.
///
/// ```no_run
/// use tokio::net::TcpListener;
/// use wspulse_core::Config;
/// use wspulse_tokio::Error;
/// use wspulse_tokio::tls::server_config_from_pem;
///
/// # async fn example() -> Result<(), Error> {
/// let chain = std::fs::read("chain.pem")?;
/// let key = std::fs::read("key.pem")?;
/// let tls = server_config_from_pem(&chain, &key)?;
/// let (stream, _) = TcpListener::bind("0.0.0.0:443").await?.accept().await?;
/// let ws = wspulse_tokio::accept_tls(stream, tls.clone(), Config::default()).await?;
/// # Ok(())
/// # }
/// ```
///
/// The type is the same that [`connect`](crate::connect) returns. A server that takes both `ws`
/// and `wss` gets it from [`accept`] with [`MaybeTls::Plain`].
///
/// # Errors
///
/// As [`accept_tls_with`].
#[cfg(feature = "tls")]
pub async fn accept_tls<S>(
    stream: S,
    tls: impl Into<Arc<ServerConfig>>,
    config: impl Into<Arc<Config>>,
) -> Result<WebSocket<MaybeTls<S>>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    accept_tls_with(stream, tls, config, |_| Ok(Accept::new())).await
}

/// Shakes hands by TLS, then waits for the client's request and lets `decide` answer it.
///
/// TLS and the request may take the configuration's `handshake_timeout` each.
///
/// # Errors
///
/// [`Error::Tls`] if the peers do not agree, [`Error::Timeout`] if that takes too long; else as
/// [`accept_with`].
#[cfg(feature = "tls")]
pub async fn accept_tls_with<S, F>(
    stream: S,
    tls: impl Into<Arc<ServerConfig>>,
    config: impl Into<Arc<Config>>,
    decide: F,
) -> Result<WebSocket<MaybeTls<S>>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    F: FnOnce(&Request) -> Result<Accept, Reject>,
{
    let config = config.into();
    clock::tune(&stream, &config);
    let handshake = tokio_rustls::TlsAcceptor::from(tls.into()).accept(stream);
    let shaken = tokio::time::timeout(config.handshake_timeout(), handshake).await;
    let stream = shaken.map_err(|_| Error::Timeout(Stage::Tls))??;
    accept_with(MaybeTls::from(stream), config, decide).await
}
