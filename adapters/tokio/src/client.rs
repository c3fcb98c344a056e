//! The opening handshake of a client.

use std::future::poll_fn;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use wspulse_core::handshake::ClientRequest;
use wspulse_core::{Config, Connection, Event};
use wspulse_drive::{Clock as _, ConnectOptions, Stage, Target, UrlError};

use crate::Error;
use crate::clock::{self, Clock};
use crate::driver::Driver;
use crate::websocket::WebSocket;

/// Connects to a `ws://` URL over TCP and shakes hands.
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
/// # Errors
///
/// [`Error::Url`] and [`Error::Request`] before anything is done; [`Error::Io`] and
/// [`Error::Timeout`] if no TCP connection comes about; [`Error::Closed`] if the server is no
/// WebSocket server, refuses, or does not answer in time.
pub async fn connect(
    url: &str,
    options: impl Into<ConnectOptions>,
) -> Result<WebSocket<TcpStream>, Error> {
    let options = options.into();
    let target = Target::parse(url)?;
    if target.is_secure() {
        return Err(UrlError::Tls.into());
    }
    let request = options.request(&target, true)?;
    let address = (target.host(), target.port());
    let connected = tokio::time::timeout(
        options.timeout(Stage::Connect),
        TcpStream::connect((&*address.0, address.1)),
    );
    let stream = connected
        .await
        .map_err(|_| Error::Timeout(Stage::Connect))??;
    client(stream, &request, Arc::clone(options.config())).await
}

/// Shakes hands over a stream that is connected already: TLS, a Unix socket, a proxy's tunnel.
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
