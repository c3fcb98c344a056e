//! How long one system call may wait.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How long a write that is blocked and a read beside it wait in turn: shortly while something
/// moves, longer while nothing does.
#[derive(Debug)]
pub(crate) struct Pace {
    slice: Duration,
    /// Attempts in a row that moved nothing.
    idle: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            slice: SHORTEST,
            idle: 0,
        }
    }
}

impl Pace {
    pub(crate) const fn slice(&self) -> Duration {
        self.slice
    }

    /// Something moved.
    pub(crate) const fn hasten(&mut self) {
        *self = Self {
            slice: SHORTEST,
            idle: 0,
        };
    }

    /// Nothing moved.
    pub(crate) fn slacken(&mut self) {
        self.slice = self.slice.saturating_mul(2).min(LONGEST_SLICE);
        self.idle = self.idle.saturating_add(1);
    }

    /// Tells whether this is a stream that says at once that it would have to wait, and again and
    /// again, instead of waiting.
    pub(crate) fn is_spinning(&self, round: Duration) -> bool {
        self.idle > FEW && round < SHORTEST / 2
    }
}

/// The timeout that a stream has, so that one which will do costs no system call.
///
/// Only one thread at a time uses it.
#[derive(Debug)]
pub(crate) struct Remembered {
    nanos: AtomicU64,
    /// Whether the last wait was in vain.
    is_idle: AtomicBool,
}

impl Default for Remembered {
    fn default() -> Self {
        Self {
            nanos: AtomicU64::new(UNKNOWN),
            is_idle: AtomicBool::new(false),
        }
    }
}

impl Remembered {
    /// Makes the stream wait for `wanted`, or up to an eighth less: each read of a busy connection
    /// is a little nearer to its deadline than the one before, and need not say so.
    pub(crate) fn set(
        &self,
        wanted: Option<Duration>,
        set: impl FnOnce(Option<Duration>) -> io::Result<()>,
    ) -> io::Result<()> {
        let wanted = match wanted {
            None => FOR_EVER,
            Some(wanted) => {
                let nanos = u64::try_from(wanted.as_nanos()).unwrap_or(LONGEST);
                nanos.clamp(SHORTEST_NANOS, LONGEST)
            }
        };
        let present = self.nanos.load(Ordering::Relaxed);
        let will_do = (wanted - wanted / 8)..=wanted;
        if present == wanted || (wanted != FOR_EVER && will_do.contains(&present)) {
            return Ok(());
        }
        // Who waited in vain will wait again, to the end.
        let is_idle = self.is_idle.load(Ordering::Relaxed);
        let chosen = match wanted {
            FOR_EVER => FOR_EVER,
            _ if is_idle => wanted,
            _ => (wanted - wanted / 16).max(SHORTEST_NANOS),
        };
        self.nanos.store(UNKNOWN, Ordering::Relaxed);
        set((chosen != FOR_EVER).then(|| Duration::from_nanos(chosen)))?;
        self.nanos.store(chosen, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn note_idle(&self, is_idle: bool) {
        self.is_idle.store(is_idle, Ordering::Relaxed);
    }
}

/// A stream may be woken for nothing now and then.
const FEW: u32 = 3;

/// Zero would mean no timeout at all, and kernels count in milliseconds.
pub(crate) const SHORTEST: Duration = Duration::from_millis(1);
const SHORTEST_NANOS: u64 = 1_000_000;

/// Kernels count seconds in different sizes; who waits longer is woken once a day.
const LONGEST: u64 = 24 * 60 * 60 * 1_000_000_000;

const FOR_EVER: u64 = u64::MAX;
const UNKNOWN: u64 = u64::MAX - 1;

/// What a thread that both reads and writes is late by at most.
const LONGEST_SLICE: Duration = Duration::from_millis(32);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Remembered, SHORTEST};

    #[test]
    fn a_deadline_that_comes_nearer_costs_few_calls_and_is_never_passed() {
        let remembered = Remembered::default();
        let (mut calls, mut present) = (0, None);
        for left in (1..20_000).rev().map(Duration::from_millis) {
            let set = remembered.set(Some(left), |timeout| {
                (calls, present) = (calls + 1, timeout);
                Ok(())
            });
            set.unwrap();
            assert!(present.unwrap() <= left, "{present:?} with {left:?} left");
        }
        assert!(calls < 200, "{calls} calls");
    }

    #[test]
    fn who_waits_in_vain_waits_to_the_end() {
        let remembered = Remembered::default();
        remembered.note_idle(true);
        let mut present = None;
        for wanted in [Some(Duration::from_secs(20)), None, Some(Duration::ZERO)] {
            let set = remembered.set(wanted, |timeout| {
                present = timeout;
                Ok(())
            });
            set.unwrap();
            // Zero would be no timeout at all.
            assert_eq!(present, wanted.map(|wanted| wanted.max(SHORTEST)));
        }
    }
}
