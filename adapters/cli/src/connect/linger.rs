//! How long the connection stays after the end of input.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Keeps a connection until its answers are in. Some servers drop what they have yet to say once
/// they read our Close, so the Close waits for a moment in which nothing comes.
#[derive(Debug)]
pub(super) struct Linger {
    moment: Duration,
    last: Mutex<Last>,
}

/// When things happened last.
#[derive(Debug)]
struct Last {
    heard: Option<Instant>,
    input_ended: Option<Instant>,
}

impl Linger {
    pub(super) fn new(moment: Duration) -> Self {
        Self {
            moment,
            last: Mutex::new(Last {
                heard: None,
                input_ended: None,
            }),
        }
    }

    /// A message came.
    pub(super) fn heard(&self) {
        self.last().heard = Some(Instant::now());
    }

    /// Returns how long to wait before the next look; `None` if it is time to close. The first
    /// call is the end of input.
    pub(super) fn left(&self) -> Option<Duration> {
        self.left_at(Instant::now())
    }

    fn left_at(&self, now: Instant) -> Option<Duration> {
        let mut last = self.last();
        let ended = *last.input_ended.get_or_insert(now);
        let since = last.heard.map_or(ended, |heard| heard.max(ended));
        let quiet = self
            .moment
            .checked_sub(now.saturating_duration_since(since));
        let whole = self.moment.saturating_mul(MOST_MOMENTS);
        let rest = whole.checked_sub(now.saturating_duration_since(ended));
        let left = quiet?.min(rest?);
        (!left.is_zero()).then_some(left.min(LOOK))
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server that never stops talking is heard for this many moments.
pub(super) const MOST_MOMENTS: u32 = 20;

/// The longest wait between two looks: the user may want to stop.
const LOOK: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::{Duration, Instant, LOOK, Linger, MOST_MOMENTS};

    const MOMENT: Duration = Duration::from_millis(400);

    /// How long it lasts when a message comes every `pause`.
    fn lasts(moment: Duration, pause: Duration) -> Duration {
        let linger = Linger::new(moment);
        let start = Instant::now();
        let (mut now, mut next) = (start, start);
        while let Some(left) = linger.left_at(now) {
            assert!(left <= LOOK && !left.is_zero());
            now += left;
            if now >= next {
                linger.last().heard = Some(now);
                next += pause;
            }
        }
        now - start
    }

    #[test]
    fn i7_it_ends_after_a_moment_without_a_message_or_twenty_with() {
        let never = Duration::from_secs(3_600);
        let silent = Linger::new(MOMENT);
        let start = Instant::now();
        assert!(silent.left_at(start).is_some());
        assert!(
            silent
                .left_at(start + MOMENT - Duration::from_millis(1))
                .is_some()
        );
        assert_eq!(silent.left_at(start + MOMENT), None);
        assert_eq!(
            lasts(MOMENT, never),
            MOMENT + LOOK,
            "one message after 50 ms"
        );
        assert_eq!(
            lasts(MOMENT, Duration::from_millis(100)),
            MOMENT * MOST_MOMENTS
        );
        assert_eq!(lasts(Duration::ZERO, never), Duration::ZERO);
    }
}
