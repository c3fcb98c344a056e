//! The time, as the runtime has it.

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Config, Instant};

use crate::maybe_tls::MaybeTls;

/// The connection's timeline, which begins when the connection is made.
///
/// On tokio's clock, so that paused time in tests is the connection's time too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: tokio::time::Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            origin: tokio::time::Instant::now(),
        }
    }

    /// Returns when `deadline` comes on the runtime's own clock.
    pub(crate) fn runtime_time(&self, deadline: Instant) -> tokio::time::Instant {
        let after = deadline.saturating_duration_since(Instant::ZERO).min(FAR);
        self.origin.checked_add(after).unwrap_or(self.origin)
    }
}

impl wspulse_drive::Clock for Clock {
    fn now(&self) -> Instant {
        Instant::ZERO.saturating_add(self.origin.elapsed())
    }
}

/// Sets up the TCP socket that `stream` is, or that it encrypts; other streams are left alone.
pub(crate) fn tune<S: Any>(stream: &S, config: &Config) {
    if let Some(socket) = tcp_of(stream) {
        wspulse_drive::tune(socket, config);
    }
}

/// Has the kernel wait for the peer as long as the heartbeat does; see [`tune`].
pub(crate) fn set_patience<S: Any>(stream: &S, heartbeat: &HeartbeatConfig) {
    if let Some(socket) = tcp_of(stream) {
        wspulse_drive::set_patience(socket, heartbeat);
    }
}

/// Has the kernel watch over the peer while nobody reads, or no longer.
pub(crate) fn watch<S: Any>(stream: &S, heartbeat: &HeartbeatConfig, on: bool) {
    if let Some(socket) = tcp_of(stream) {
        wspulse_drive::watch(socket, heartbeat, on);
    }
}

/// Returns what the TCP socket failed with, which is told once.
pub(crate) fn take_failure<S: Any>(stream: &S) -> Option<io::Error> {
    tcp_of(stream)?.take_error().ok().flatten()
}

/// Returns who is at the other end of the TCP socket underneath, if that is known.
pub(crate) fn peer_of<S: Any>(stream: &S) -> Option<SocketAddr> {
    tcp_of(stream)?.peer_addr().ok()
}

fn tcp_of(stream: &dyn Any) -> Option<&TcpStream> {
    if let Some(socket) = stream.downcast_ref::<TcpStream>() {
        return Some(socket);
    }
    if let Some(stream) = stream.downcast_ref::<MaybeTls<TcpStream>>() {
        return Some(stream.get_ref());
    }
    #[cfg(feature = "tls")]
    {
        use tokio_rustls::{TlsStream, client, server};
        if let Some(stream) = stream.downcast_ref::<server::TlsStream<TcpStream>>() {
            return Some(stream.get_ref().0);
        }
        if let Some(stream) = stream.downcast_ref::<client::TlsStream<TcpStream>>() {
            return Some(stream.get_ref().0);
        }
        if let Some(stream) = stream.downcast_ref::<TlsStream<TcpStream>>() {
            return Some(stream.get_ref().0);
        }
    }
    None
}

/// A timer later than this is armed again when it fires. Clocks and timers all reach that far.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
