//! Where connections come from.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::net::TcpListener;
#[cfg(unix)]
use mio::net::UnixListener;
use wspulse_core::Config;
#[cfg(feature = "tls")]
use wspulse_drive::tls::rustls::ServerConfig;

use crate::stream::Socket;

/// A listening socket.
#[derive(Debug)]
#[non_exhaustive]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    #[cfg(unix)]
    Unix(UnixListener),
}

impl Listener {
    /// Listens on a TCP address; port 0 picks a free one. Up to 1,024 clients that come at once wait
    /// in the kernel's queue ([`listen`](wspulse_drive::listen)).
    ///
    /// # Errors
    ///
    /// If the address cannot be listened on.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        wspulse_drive::listen(address)?.try_into()
    }

    /// Returns the address, where it is one of TCP.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            #[cfg(unix)]
            Self::Unix(_) => None,
        }
    }

    pub(crate) fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => listener.accept().map(|(stream, _)| stream.into()),
            #[cfg(unix)]
            Self::Unix(listener) => listener.accept().map(|(stream, _)| stream.into()),
        }
    }

    pub(crate) fn as_source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(listener) => listener,
            #[cfg(unix)]
            Self::Unix(listener) => listener,
        }
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

#[cfg(unix)]
impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

/// Fails if the listener cannot be made not to wait.
impl TryFrom<std::net::TcpListener> for Listener {
    type Error = io::Error;

    fn try_from(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::Tcp(TcpListener::from_std(listener)))
    }
}

/// A listener and what its connections get.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) listener: Listener,
    pub(crate) config: Arc<Config>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// Whether somebody may be waiting to be taken.
    pub(crate) is_ready: bool,
    /// After a failure: not before.
    pub(crate) retry_at: Option<Instant>,
}

/// What becomes of an error to accept.
pub(crate) enum Trouble {
    /// Nobody waits.
    Nobody,
    /// That one is gone; the next may be there.
    Gone,
    /// It will not get better at once: too many open files, no memory.
    Lasting(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock => Self::Nobody,
            io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset => Self::Gone,
            _ => Self::Lasting(error),
        }
    }
}

/// Connections taken in one go, before others have their turn.
pub(crate) const ACCEPT_BUDGET: usize = 64;

/// How long a listener rests that could not take a connection.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
