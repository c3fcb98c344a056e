//! The time, as the operating system has it.

use std::time::{self, Duration};

use wspulse_core::Instant;

/// A connection's timeline, which begins when the connection is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: time::Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            origin: time::Instant::now(),
        }
    }

    /// Returns when `deadline` comes on the system's own clock: the same answer at any time.
    pub(crate) fn system_time(&self, deadline: Instant) -> time::Instant {
        let after = deadline.saturating_duration_since(Instant::ZERO);
        after_by(self.origin, after)
    }
}

impl wspulse_drive::Clock for Clock {
    fn now(&self) -> Instant {
        Instant::ZERO.saturating_add(self.origin.elapsed())
    }
}

/// Adds, however far away.
pub(crate) fn after_by(start: time::Instant, duration: Duration) -> time::Instant {
    start.checked_add(duration.min(FAR)).unwrap_or(start)
}

/// Nobody waits longer in one go, and all clocks reach that far.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
