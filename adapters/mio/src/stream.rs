//! The streams that connections run over.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::{fmt, net};

use mio::event::Source;
use mio::net::TcpStream;
#[cfg(unix)]
use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use wspulse_core::Config;
use wspulse_core::heartbeat::HeartbeatConfig;

/// A stream of bytes that does not wait, registered with the owner's
/// [`Registry`](mio::Registry).
///
/// Of [`Read`], [`Write`] and [`Source`] each does what mio wants; beside these a connection
/// needs a half-close, so that what was written arrives although input is left unread.
pub trait Stream: Read + Write + Source {
    /// Closes the writing half and leaves the reading half open (RFC 6455 §7.1.1).
    ///
    /// # Errors
    ///
    /// `WouldBlock` if it is not done yet; anything else counts as done.
    fn shutdown(&mut self) -> io::Result<()>;

    /// Sets the stream up for a connection with `config`. Does nothing by default; sockets are
    /// [tuned](wspulse_drive::tune).
    fn tune(&self, config: &Config) {
        let _ = config;
    }

    /// The heartbeat has changed, and with it for how long the stream is to wait for its peer by
    /// itself. Does nothing by default; sockets are [told](wspulse_drive::set_patience).
    fn set_patience(&self, heartbeat: &HeartbeatConfig) {
        let _ = heartbeat;
    }

    /// Nobody reads from now on, since too much lies unread, or somebody does again: meanwhile the
    /// stream has to watch over its peer by itself, and fail when that is gone for as long as
    /// `heartbeat` allows. Does nothing by default; sockets are [told](wspulse_drive::watch).
    fn watch(&self, heartbeat: &HeartbeatConfig, is_unread: bool) {
        let _ = (heartbeat, is_unread);
    }

    /// Returns what the stream has died of, if it has, while nobody reads. `None` by default.
    fn take_error(&self) -> Option<io::Error> {
        None
    }
}

impl Stream for TcpStream {
    fn shutdown(&mut self) -> io::Result<()> {
        Self::shutdown(self, Shutdown::Write)
    }

    fn tune(&self, config: &Config) {
        wspulse_drive::tune(self, config);
    }

    fn set_patience(&self, heartbeat: &HeartbeatConfig) {
        wspulse_drive::set_patience(self, heartbeat);
    }

    fn watch(&self, heartbeat: &HeartbeatConfig, is_unread: bool) {
        wspulse_drive::watch(self, heartbeat, is_unread);
    }

    fn take_error(&self) -> Option<io::Error> {
        Self::take_error(self).ok().flatten()
    }
}

#[cfg(unix)]
impl Stream for UnixStream {
    fn shutdown(&mut self) -> io::Result<()> {
        Self::shutdown(self, Shutdown::Write)
    }
}

/// The streams of an [`EventLoop`](crate::EventLoop): one type for all, so that they fit in one
/// place.
#[non_exhaustive]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    #[cfg(unix)]
    Unix(UnixStream),
    /// Anything else.
    Other(Box<dyn Stream + Send>),
}

impl Socket {
    /// Returns the peer's address, where it has one and is connected.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            _ => None,
        }
    }

    fn as_source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(stream) => stream,
            #[cfg(unix)]
            Self::Unix(stream) => stream,
            Self::Other(stream) => stream,
        }
    }
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

#[cfg(unix)]
impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }
}

impl From<Box<dyn Stream + Send>> for Socket {
    fn from(stream: Box<dyn Stream + Send>) -> Self {
        Self::Other(stream)
    }
}

/// Fails if the stream cannot be made not to wait.
impl TryFrom<net::TcpStream> for Socket {
    type Error = io::Error;

    fn try_from(stream: net::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self::Tcp(TcpStream::from_std(stream)))
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            #[cfg(unix)]
            Self::Unix(stream) => stream.read(buffer),
            Self::Other(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            #[cfg(unix)]
            Self::Unix(stream) => stream.write(bytes),
            Self::Other(stream) => stream.write(bytes),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write_vectored(slices),
            #[cfg(unix)]
            Self::Unix(stream) => stream.write_vectored(slices),
            Self::Other(stream) => stream.write_vectored(slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.flush(),
            #[cfg(unix)]
            Self::Unix(stream) => stream.flush(),
            Self::Other(stream) => stream.flush(),
        }
    }
}

impl Stream for Socket {
    fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => Stream::shutdown(stream),
            #[cfg(unix)]
            Self::Unix(stream) => Stream::shutdown(stream),
            Self::Other(stream) => stream.shutdown(),
        }
    }

    fn tune(&self, config: &Config) {
        match self {
            Self::Tcp(stream) => stream.tune(config),
            #[cfg(unix)]
            Self::Unix(stream) => stream.tune(config),
            Self::Other(stream) => stream.tune(config),
        }
    }

    fn set_patience(&self, heartbeat: &HeartbeatConfig) {
        match self {
            Self::Tcp(stream) => stream.set_patience(heartbeat),
            #[cfg(unix)]
            Self::Unix(stream) => stream.set_patience(heartbeat),
            Self::Other(stream) => stream.set_patience(heartbeat),
        }
    }

    fn watch(&self, heartbeat: &HeartbeatConfig, is_unread: bool) {
        match self {
            Self::Tcp(stream) => stream.watch(heartbeat, is_unread),
            #[cfg(unix)]
            Self::Unix(stream) => stream.watch(heartbeat, is_unread),
            Self::Other(stream) => stream.watch(heartbeat, is_unread),
        }
    }

    fn take_error(&self) -> Option<io::Error> {
        match self {
            Self::Tcp(stream) => Stream::take_error(stream),
            #[cfg(unix)]
            Self::Unix(stream) => Stream::take_error(stream),
            Self::Other(stream) => stream.take_error(),
        }
    }
}

impl Source for Socket {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.as_source().register(registry, token, interests)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.as_source().reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.as_source().deregister(registry)
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(stream) => stream.fmt(f),
            #[cfg(unix)]
            Self::Unix(stream) => stream.fmt(f),
            Self::Other(_) => f.write_str("Other"),
        }
    }
}
