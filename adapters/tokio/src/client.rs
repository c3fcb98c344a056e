//! The opening handshake of a client.

use std::future::{Future, poll_fn};
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use url::{Host, Url};
use wspulse_core::handshake::{ClientRequest, RequestError};
use wspulse_core::{Config, Connection, Event};

use crate::driver::Driver;
use crate::error::{Error, UrlError};
use crate::system::{self, Clock};
use crate::websocket::WebSocket;

/// Connects to a `ws://` URL over TCP and shakes hands.
///
/// Name lookup, TCP and the handshake together take at most the configuration's
/// `handshake_timeout`.
///
/// # Errors
///
/// [`Error::Url`] before anything is done; [`Error::Io`] and [`Error::ConnectTimeout`] if no TCP
/// connection comes about; [`Error::Closed`] if the server is no WebSocket server, refuses, or
/// does not answer in time.
pub async fn connect(
    url: &str,
    config: impl Into<Arc<Config>>,
) -> Result<WebSocket<TcpStream>, Error> {
    connect_with(url, config, Ok).await
}

/// Connects as [`connect`] does, with headers and subprotocols of the caller's.
///
/// ```no_run
/// # async fn example() -> Result<(), wspulse_tokio::Error> {
/// use wspulse_core::Config;
///
/// let ws = wspulse_tokio::connect_with("ws://127.0.0.1:9001/chat", Config::default(), |request| {
///     request.subprotocol("chat.v2")?.header("Authorization", "Bearer 4711")
/// })
/// .await?;
/// assert_eq!(ws.response().unwrap().subprotocol(), Some("chat.v2"));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// As [`connect`], and [`Error::Request`] for what `build` returns.
pub async fn connect_with<F>(
    url: &str,
    config: impl Into<Arc<Config>>,
    build: F,
) -> Result<WebSocket<TcpStream>, Error>
where
    F: FnOnce(ClientRequest) -> Result<ClientRequest, RequestError>,
{
    let target = Target::parse(url)?;
    let request = build(ClientRequest::new(&target.authority, &target.path)?)?;
    shake_hands(&request, config.into(), target.connect()).await
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
    shake_hands(request, config.into(), async { Ok(stream) }).await
}

async fn shake_hands<S>(
    request: &ClientRequest,
    config: Arc<Config>,
    transport: impl Future<Output = io::Result<S>>,
) -> Result<WebSocket<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    // The connection comes first: its handshake deadline covers the transport's way too.
    let clock = Clock::start();
    let connection = Connection::client(config, request, system::seed()?, clock.now());
    let stream = match connection.poll_timeout() {
        Some(deadline) => tokio::time::timeout_at(clock.runtime_time(deadline), transport)
            .await
            .map_err(|_| Error::ConnectTimeout)??,
        None => transport.await?,
    };
    system::tune(&stream);
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

/// A `ws` URL, taken apart (RFC 6455 §3).
struct Target {
    host: Host,
    port: u16,
    /// The value of the Host header: with a port unless it is the default one.
    authority: String,
    path: String,
}

impl Target {
    fn parse(url: &str) -> Result<Self, UrlError> {
        let url = Url::parse(url).map_err(|_| UrlError::Malformed)?;
        match url.scheme() {
            "ws" => {}
            "wss" => return Err(UrlError::Tls),
            _ => return Err(UrlError::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlError::Credentials);
        }
        if url.fragment().is_some() {
            return Err(UrlError::Fragment);
        }
        let host = url.host().ok_or(UrlError::Host)?.to_owned();
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        Ok(Self {
            host,
            port: url.port().unwrap_or(80),
            authority,
            path,
        })
    }

    async fn connect(self) -> io::Result<TcpStream> {
        match self.host {
            Host::Domain(name) => TcpStream::connect((name, self.port)).await,
            Host::Ipv4(address) => TcpStream::connect((address, self.port)).await,
            Host::Ipv6(address) => TcpStream::connect((address, self.port)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Target, UrlError};

    #[test]
    fn a_url_becomes_host_and_target() {
        let cases = [
            ("ws://example.com", "example.com", 80, "/"),
            (
                "ws://EXAMPLE.com:80/a b?c=d",
                "example.com",
                80,
                "/a%20b?c=d",
            ),
            ("ws://example.com:8080?x", "example.com:8080", 8080, "/?x"),
            ("ws://[::1]:9001/", "[::1]:9001", 9001, "/"),
            ("ws://127.0.0.1", "127.0.0.1", 80, "/"),
        ];
        for (url, authority, port, path) in cases {
            let target = Target::parse(url).unwrap();
            assert_eq!(
                (&*target.authority, target.port, &*target.path),
                (authority, port, path)
            );
        }
    }

    #[test]
    fn a_url_that_is_not_for_us_is_refused() {
        let cases = [
            ("example.com", UrlError::Malformed),
            ("ws://", UrlError::Malformed),
            ("http://example.com", UrlError::Scheme),
            ("wss://example.com", UrlError::Tls),
            ("ws://me@example.com", UrlError::Credentials),
            ("ws://:secret@example.com", UrlError::Credentials),
            ("ws://example.com/#top", UrlError::Fragment),
        ];
        for (url, error) in cases {
            assert_eq!(Target::parse(url).err(), Some(error), "{url}");
        }
    }
}
