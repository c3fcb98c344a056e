//! From a URL to a connection: lookup, TCP, TLS, redirects.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use wspulse_core::Cause;
use wspulse_core::handshake::{HandshakeError, Refusal};
use wspulse_drive::{ConnectOptions, RedirectError, Stage, Target};

use crate::Error;
use crate::client::client;
use crate::websocket::WebSocket;

/// Connects to a `ws://` or `wss://` URL over TCP and shakes hands.
///
/// `options` may be a [`Config`](wspulse_core::Config) alone. Blocks for at most the sum of the
/// stages' timeouts and the configuration's `handshake_timeout`, once more for each redirect.
/// The operating system's name lookup cannot be called off: one that takes longer than
/// `lookup_timeout` comes to its end in a thread of its own.
///
/// `wss` needs the feature `tls`, and certificates to trust: one of the features `webpki-roots`,
/// `native-roots` and `platform-verifier`, or `ConnectOptions::tls`.
///
/// Redirects are followed as far as [`ConnectOptions::max_redirects`] says. Once they lead to
/// another scheme, host or port, only what the caller called public goes along:
/// [`public_header`](ConnectOptions::public_header) and
/// [`public_subprotocol`](ConnectOptions::public_subprotocol).
///
/// ```no_run
/// # fn example() -> Result<(), wspulse_std::Error> {
/// use wspulse_core::Config;
/// use wspulse_std::{ConnectOptions, connect};
///
/// let options = ConnectOptions::new(Config::default())
///     .subprotocol("chat.v2")
///     .header("Authorization", "Bearer 4711");
/// let ws = connect("ws://127.0.0.1:9001/chat", options)?;
/// assert_eq!(ws.response().unwrap().subprotocol(), Some("chat.v2"));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`Error::Url`] and [`Error::Request`] before anything is done; [`Error::Io`] and
/// [`Error::Timeout`] if no TCP connection comes about; `Error::Tls` if the server's certificate
/// is not one to trust; [`Error::Closed`] if the server is no WebSocket server, refuses, or does
/// not answer in time; [`Error::Redirect`] if it sends us where we do not go.
pub fn connect(
    url: &str,
    options: impl Into<ConnectOptions>,
) -> Result<WebSocket<TcpStream>, Error> {
    let options = options.into();
    let origin = Target::parse(url)?;
    let mut target = origin.clone();
    // What a stranger leads back to is not trusted again: the path is the stranger's choice.
    let mut is_trusted = true;
    let mut redirects = 0;
    loop {
        let refusal = match attempt(&target, &options, is_trusted) {
            Err(Error::Closed(closed)) => match &closed.cause {
                Cause::Handshake(HandshakeError::Refused(refusal))
                    if options.redirects() > 0 && is_redirect(refusal) =>
                {
                    refusal.clone()
                }
                _ => return Err(Error::Closed(closed)),
            },
            result => return result,
        };
        if redirects >= options.redirects() {
            return Err(RedirectError::TooMany.into());
        }
        redirects += 1;
        let location = refusal.header("location").ok_or(RedirectError::Location)?;
        target = target.redirect(location)?;
        is_trusted &= origin.is_same_origin(&target);
    }
}

/// RFC 9110 §15.4: these say where else to go, with the same method.
fn is_redirect(refusal: &Refusal) -> bool {
    matches!(refusal.status(), 301 | 302 | 303 | 307 | 308)
}

fn attempt(
    target: &Target,
    options: &ConnectOptions,
    is_trusted: bool,
) -> Result<WebSocket<TcpStream>, Error> {
    let request = options.request(target, is_trusted)?;
    let config = Arc::clone(options.config());
    if !target.is_secure() {
        return client(dial(target, options)?, &request, config);
    }
    #[cfg(feature = "tls")]
    {
        use wspulse_drive::tls::{TlsSession, server_name};
        let session = TlsSession::client(options.tls_config()?, server_name(target)?)?;
        let stream = dial(target, options)?;
        let timeout = options.timeout(Stage::Tls);
        crate::client::client_tls_within(stream, session, timeout, &request, config)
    }
    #[cfg(not(feature = "tls"))]
    Err(wspulse_drive::UrlError::Tls.into())
}

/// Tries the host's addresses one after the other, each for its share of the time.
fn dial(target: &Target, options: &ConnectOptions) -> Result<TcpStream, Error> {
    let addresses = look_up(target, options.timeout(Stage::Lookup))?;
    let deadline = Instant::now().checked_add(options.timeout(Stage::Connect));
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    let mut others = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for address in addresses {
        let Some(deadline) = deadline else {
            match TcpStream::connect(address) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
            continue;
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / others.max(1);
        others = others.saturating_sub(1);
        if share.is_zero() {
            return Err(Error::Timeout(Stage::Connect));
        }
        match TcpStream::connect_timeout(&address, share) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    let is_late = deadline.is_some_and(|deadline| deadline <= Instant::now());
    if last.kind() == io::ErrorKind::TimedOut && is_late {
        return Err(Error::Timeout(Stage::Connect));
    }
    Err(last.into())
}

fn look_up(target: &Target, timeout: Duration) -> Result<Vec<SocketAddr>, Error> {
    let (host, port) = (target.host(), target.port());
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    if timeout.is_zero() {
        return Err(Error::Timeout(Stage::Lookup));
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("wspulse lookup".into())
        .spawn(move || {
            let found = (&*host, port).to_socket_addrs();
            // Whoever asked may have given up.
            let _ = sender.send(found.map(Iterator::collect));
        })?;
    match receiver.recv_timeout(timeout) {
        Ok(found) => Ok(found?),
        Err(_) => Err(Error::Timeout(Stage::Lookup)),
    }
}
