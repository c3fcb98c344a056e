//! The time, on the connection's own timeline.

use std::time;

use wspulse_core::Instant;

/// Tells the time on a connection's timeline.
pub trait Clock {
    /// Returns the present time; never less than before.
    fn now(&self) -> Instant;
}

/// The operating system's monotonic clock, on a timeline that begins when the clock is made.
///
/// Where the system is suspended this clock may stand still (Linux, macOS): say
/// [`handle_resumed`](wspulse_core::Connection::handle_resumed) after it if you can tell.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: time::Instant,
}

impl SystemClock {
    /// Starts a timeline now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            origin: time::Instant::now(),
        }
    }

    /// Returns how far away `deadline` is; zero if it has passed.
    #[must_use]
    pub fn until(&self, deadline: Instant) -> time::Duration {
        deadline.saturating_duration_since(self.now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::ZERO.saturating_add(self.origin.elapsed())
    }
}
