//! The opening handshake of a server.

use std::future::poll_fn;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use wspulse_core::handshake::{Accept, Reject, Request};
use wspulse_core::{Config, Connection, Event};
use wspulse_drive::Clock as _;

use crate::Error;
use crate::clock::{self, Clock};
use crate::driver::Driver;
use crate::websocket::WebSocket;

/// Waits for a client's request on `stream` and accepts it, whoever asks for whatever.
///
/// A server that browsers can reach and that trusts cookies must look at the request's origin
/// first: use [`accept_with`].
///
/// A `TcpStream`, also one below TLS, is set to send small messages at once (TCP_NODELAY) and to
/// queue little in the kernel (TCP_NOTSENT_LOWAT, Linux); other streams are taken as they are.
///
/// # TLS
///
/// Accept TLS first, in a time of its own, and WebSocket over it:
///
#[cfg_attr(feature = "tls", doc = "```no_run")]
#[cfg_attr(not(feature = "tls"), doc = "```text")]
/// use std::io;
/// use std::time::Duration;
///
/// use tokio::net::TcpListener;
/// use wspulse_core::Config;
/// use wspulse_tokio::tls::server_config_from_pem;
/// use wspulse_tokio::tokio_rustls::TlsAcceptor;
///
/// async fn serve(listener: TcpListener, chain: &[u8], key: &[u8]) -> io::Result<()> {
///     let tls = server_config_from_pem(chain, key).map_err(io::Error::other)?;
///     let acceptor = TlsAcceptor::from(tls);
///     loop {
///         let (stream, _) = listener.accept().await?;
///         let acceptor = acceptor.clone();
///         tokio::spawn(async move {
///             let handshake = acceptor.accept(stream);
///             let stream = tokio::time::timeout(Duration::from_secs(10), handshake).await??;
///             let mut ws = wspulse_tokio::accept(stream, Config::default()).await?;
///             while let Some(message) = ws.next().await {
///                 ws.send(message?).await?;
///             }
///             Ok::<(), io::Error>(())
///         });
///     }
/// }
/// ```
///
/// # Errors
///
/// As [`accept_with`].
pub async fn accept<S>(stream: S, config: impl Into<Arc<Config>>) -> Result<WebSocket<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    accept_with(stream, config, |_| Ok(Accept::new())).await
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
///     let forbidden = Reject::new(403).expect("a status of refusal");
///     accept_with(stream, Config::default(), |request| {
///         match request.check_origin(["https://example.com"]) {
///             OriginCheck::Allowed if request.target() == "/chat" => Ok(Accept::new()),
///             _ => Err(forbidden),
///         }
///     })
///     .await
/// }
/// ```
///
/// # Errors
///
/// [`Error::Closed`] if the request was not a valid one, came too late, or was rejected: then the
/// client has been told. [`Error::Answer`] if `decide` chose a subprotocol that the client did
/// not offer. [`Error::Io`] if the transport failed.
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
    let mut driver = Driver::new(stream, connection, clock);

    let mut decide = Some(decide);
    let mut misuse = None;
    loop {
        match poll_fn(|cx| driver.poll_event(cx)).await {
            Some(Event::Request(request)) => {
                let Some(decide) = decide.take() else {
                    continue;
                };
                let answered = match decide(&request) {
                    Ok(accept) => driver.command(|c, now| c.accept(now, &accept)),
                    Err(reject) => {
                        driver
                            .command(|c, now| c.reject(now, &reject))
                            .map_err(Error::Answer)?;
                        continue;
                    }
                };
                match answered {
                    Ok(()) => break,
                    Err(error) => misuse = Some(error),
                }
                // The client is not to be left waiting over a mistake of this side.
                let sorry = Reject::new(500).expect("500 is a status of refusal");
                driver
                    .command(|c, now| c.reject(now, &sorry))
                    .map_err(Error::Answer)?;
            }
            Some(Event::Closed(closed)) => {
                return Err(match misuse {
                    Some(misuse) => Error::Answer(misuse),
                    None => driver.end_error(closed),
                });
            }
            Some(_) => {}
            None => return Err(Error::NotOpen),
        }
    }
    poll_fn(|cx| driver.poll_flush(cx)).await?;
    Ok(WebSocket::new(driver, None))
}
