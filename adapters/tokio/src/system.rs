//! What an adapter asks of the operating system: the time, entropy, and two socket options.
//!
//! Nothing here but the clock's type knows of tokio.

use std::any::Any;
use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use wspulse_core::{Instant, Seed};

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

    pub(crate) fn now(&self) -> Instant {
        Instant::ZERO.saturating_add(self.origin.elapsed())
    }

    /// Returns when `deadline` comes on the runtime's own clock.
    pub(crate) fn runtime_time(&self, deadline: Instant) -> tokio::time::Instant {
        let after = deadline.saturating_duration_since(Instant::ZERO).min(FAR);
        self.origin.checked_add(after).unwrap_or(self.origin)
    }
}

/// Draws a connection's secret from the operating system.
pub(crate) fn seed() -> io::Result<Seed> {
    let mut entropy = [0; 32];
    getrandom::fill(&mut entropy).map_err(io::Error::other)?;
    Ok(Seed::new(entropy))
}

/// Sets up a TCP socket for small messages and honest backpressure; other streams are left alone.
///
/// Best effort: a socket that refuses an option still works, only less promptly.
pub(crate) fn tune<S: Any>(stream: &S) {
    let Some(socket) = (stream as &dyn Any).downcast_ref::<TcpStream>() else {
        return;
    };
    // The engine gathers small frames itself; a ping must not wait for an acknowledgement.
    let _ = socket.set_nodelay(true);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket2::SockRef::from(socket).set_tcp_notsent_lowat(NOTSENT_LOWAT);
}

/// How much unsent output the kernel takes before it pushes back: enough to keep the path busy,
/// little enough that a control frame does not queue behind megabytes that nobody can reorder.
#[cfg(any(target_os = "linux", target_os = "android"))]
const NOTSENT_LOWAT: u32 = 128 * 1024;

/// A timer later than this is armed again when it fires. Clocks and timers all reach that far.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
