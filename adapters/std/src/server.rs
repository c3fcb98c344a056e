//! The opening handshake of a server.

use std::sync::Arc;

use wspulse_core::handshake::{Accept, Reject, Request};
use wspulse_core::{Config, Connection, Event};
#[cfg(feature = "tls")]
use wspulse_drive::tls::{TlsSession, rustls::ServerConfig};
use wspulse_drive::{Clock as _, SystemClock};

use crate::Error;
use crate::shared::Shared;
use crate::state::State;
use crate::stream::Stream;
use crate::websocket::WebSocket;

/// Waits for a client's request on `stream` and accepts it, whoever asks for whatever.
///
/// A server that browsers can reach and that trusts cookies must look at the request's origin
/// first: use [`accept_with`].
///
/// A `TcpStream` is set up by [`tune`](wspulse_drive::tune) and to wait; see
/// [`Stream::prepare`].
///
/// # Errors
///
/// As [`accept_with`].
pub fn accept<S: Stream>(stream: S, config: impl Into<Arc<Config>>) -> Result<WebSocket<S>, Error> {
    accept_with(stream, config, |_| Ok(Accept::new()))
}

/// Waits for a client's request on `stream` and lets `decide` answer it.
///
/// Returns when the answer has left. Takes at most the configuration's `handshake_timeout`,
/// however slowly the request trickles in.
///
/// ```
/// use std::net::TcpStream;
///
/// use wspulse_core::Config;
/// use wspulse_core::handshake::{Accept, OriginCheck, Reject};
/// use wspulse_std::{Error, WebSocket, accept_with};
///
/// fn greet(stream: TcpStream) -> Result<WebSocket<TcpStream>, Error> {
///     accept_with(stream, Config::default(), |request| {
///         match request.check_origin(["https://example.com"]) {
///             OriginCheck::Allowed if request.target() == "/chat" => Ok(Accept::new()),
///             _ => Err(Reject::new(403)?), // `?` on an impossible answer: the client is told 500
///         }
///     })
/// }
/// ```
///
/// # Errors
///
/// [`Error::Closed`] if the request was not a valid one, came too late, or was rejected: then the
/// client has been told. [`Error::Answer`] if `decide` gave an answer that cannot be sent, such as a
/// subprotocol that the client did not offer: then the client was told 500. [`Error::Io`] if the stream
/// failed.
pub fn accept_with<S, F>(
    stream: S,
    config: impl Into<Arc<Config>>,
    decide: F,
) -> Result<WebSocket<S>, Error>
where
    S: Stream,
    F: FnOnce(&Request) -> Result<Accept, Reject>,
{
    let config = config.into();
    stream.prepare(&config)?;
    let clock = SystemClock::start();
    let connection = Connection::server(config, wspulse_drive::seed()?, clock.now());
    answer(Shared::new(stream, State::new(connection), clock), decide)
}

/// Shakes hands by TLS, then waits for the client's request and accepts it.
///
/// ```no_run
/// # fn main() -> Result<(), wspulse_std::Error> {
/// use std::net::TcpListener;
///
/// use wspulse_core::Config;
/// use wspulse_std::tls::server_config_from_pem;
///
/// let chain = std::fs::read("chain.pem")?;
/// let key = std::fs::read("key.pem")?;
/// let tls = server_config_from_pem(&chain, &key)?;
/// let (stream, _) = TcpListener::bind("0.0.0.0:443")?.accept()?;
/// let ws = wspulse_std::accept_tls(stream, tls.clone(), Config::default())?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// As [`accept_tls_with`].
#[cfg(feature = "tls")]
pub fn accept_tls<S: Stream>(
    stream: S,
    tls: impl Into<Arc<ServerConfig>>,
    config: impl Into<Arc<Config>>,
) -> Result<WebSocket<S>, Error> {
    accept_tls_with(stream, tls, config, |_| Ok(Accept::new()))
}

/// Shakes hands by TLS, then waits for the client's request and lets `decide` answer it.
///
/// TLS and the request may take the configuration's `handshake_timeout` each.
///
/// # Errors
///
/// [`Error::Tls`] if the peers do not agree or the configuration cannot work, [`Error::Timeout`]
/// if that takes too long; else as [`accept_with`].
#[cfg(feature = "tls")]
pub fn accept_tls_with<S, F>(
    stream: S,
    tls: impl Into<Arc<ServerConfig>>,
    config: impl Into<Arc<Config>>,
    decide: F,
) -> Result<WebSocket<S>, Error>
where
    S: Stream,
    F: FnOnce(&Request) -> Result<Accept, Reject>,
{
    let config = config.into();
    let session = TlsSession::server(tls.into())?;
    stream.prepare(&config)?;
    let (tls, early) = crate::session::handshake(&stream, session, config.handshake_timeout())?;
    let clock = SystemClock::start();
    let connection = Connection::server(config, wspulse_drive::seed()?, clock.now());
    let state = State::new(connection).with_tls(tls, &early, clock.now());
    answer(Shared::new(stream, state, clock), decide)
}

fn answer<S, F>(shared: Shared<S>, decide: F) -> Result<WebSocket<S>, Error>
where
    S: Stream,
    F: FnOnce(&Request) -> Result<Accept, Reject>,
{
    let mut decide = Some(decide);
    let mut mistake = None;
    loop {
        match shared.next_event(None) {
            Ok(Some(Event::Request(request))) => {
                let Some(decide) = decide.take() else {
                    continue;
                };
                let rejection = match decide(&request) {
                    Ok(accept) => match shared
                        .command(|drive, now| drive.command(|c| c.accept(now, &accept)))
                    {
                        Ok(()) => break,
                        // The client is not left waiting over a mistake of this side.
                        Err(error) => Reject::from(error),
                    },
                    Err(rejection) => rejection,
                };
                mistake = rejection.mistake();
                shared.command(|drive, now| drive.command(|c| c.reject(now, &rejection)))?;
            }
            Ok(Some(Event::Closed(closed))) => {
                return Err(match mistake {
                    Some(mistake) => Error::Answer(mistake),
                    None => shared.look(|state, _| state.drive.end_error(closed)),
                });
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return Err(Error::NotOpen),
        }
    }
    shared.flush()?;
    Ok(WebSocket::new(shared))
}
