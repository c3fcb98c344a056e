//! The opening handshake of a client.

use std::sync::Arc;

use wspulse_core::handshake::ClientRequest;
use wspulse_core::{Config, Connection, Event};
#[cfg(feature = "tls")]
use wspulse_drive::tls::{
    TlsSession,
    rustls::{ClientConfig, pki_types::ServerName},
};
use wspulse_drive::{Clock as _, SystemClock};

use crate::Error;
use crate::shared::Shared;
use crate::state::State;
use crate::stream::Stream;
use crate::websocket::WebSocket;

/// Shakes hands over a stream that is connected already: a Unix socket, a proxy's tunnel.
///
/// Takes at most the configuration's `handshake_timeout`.
///
/// # Errors
///
/// [`Error::Closed`] if the server is no WebSocket server, refuses, or does not answer in time;
/// [`Error::Io`] if the stream fails.
pub fn client<S: Stream>(
    stream: S,
    request: &ClientRequest,
    config: impl Into<Arc<Config>>,
) -> Result<WebSocket<S>, Error> {
    let config = config.into();
    stream.prepare(&config)?;
    let clock = SystemClock::start();
    let connection = Connection::client(config, request, wspulse_drive::seed()?, clock.now());
    open(Shared::new(stream, State::new(connection), clock))
}

/// Shakes hands by TLS and then as [`client`] does, over a stream that is connected already.
///
/// `name` is what the server's certificate has to carry: `"example.com".try_into()?`. TLS may take the configuration's `handshake_timeout`, and the answer to the request once more.
///
/// # Errors
///
/// [`Error::Tls`] if the peers do not agree or the server's certificate is not one to trust,
/// [`Error::Timeout`] if that takes too long; else as [`client`].
#[cfg(feature = "tls")]
pub fn client_tls<S: Stream>(
    stream: S,
    tls: impl Into<Arc<ClientConfig>>,
    name: ServerName<'static>,
    request: &ClientRequest,
    config: impl Into<Arc<Config>>,
) -> Result<WebSocket<S>, Error> {
    let config = config.into();
    let session = TlsSession::client(tls.into(), name)?;
    let timeout = config.handshake_timeout();
    client_tls_within(stream, session, timeout, request, config)
}

#[cfg(feature = "tls")]
pub(crate) fn client_tls_within<S: Stream>(
    stream: S,
    session: TlsSession,
    timeout: std::time::Duration,
    request: &ClientRequest,
    config: Arc<Config>,
) -> Result<WebSocket<S>, Error> {
    stream.prepare(&config)?;
    let (tls, early) = crate::session::handshake(&stream, session, timeout)?;
    let clock = SystemClock::start();
    let connection = Connection::client(config, request, wspulse_drive::seed()?, clock.now());
    let state = State::new(connection).with_tls(tls, &early, clock.now());
    open(Shared::new(stream, state, clock))
}

fn open<S: Stream>(mut shared: Shared<S>) -> Result<WebSocket<S>, Error> {
    loop {
        match shared.next_event(None) {
            Ok(Some(Event::Open(response))) => {
                shared.response = Some(response);
                return Ok(WebSocket::new(shared));
            }
            Ok(Some(Event::Closed(closed))) => {
                return Err(shared.look(|state, _| state.drive.end_error(closed)));
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return Err(Error::NotOpen),
        }
    }
}
