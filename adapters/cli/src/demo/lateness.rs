//! How late this machine runs the program, measured while the demonstration plays.
//!
//! Everything plays in one thread. A timer in that thread fires as late as the thread gets the
//! processor, so it tells by how much a deadline of the engine may have been missed, and no bound
//! needs a guess for a busy machine.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The times at which the thread was held up.
#[derive(Clone, Debug)]
pub(super) struct Lateness {
    record: Arc<Mutex<Record>>,
}

#[derive(Debug, Default)]
struct Record {
    /// When the timer fires next, after the origin.
    due: Duration,
    delays: Vec<Delay>,
}

/// The timer was due at `from` and fired at `to`.
#[derive(Clone, Copy, Debug)]
struct Delay {
    from: Duration,
    to: Duration,
}

impl Delay {
    /// How much of it lies between `from` and `to`.
    fn within(self, from: Duration, to: Duration) -> Duration {
        self.to.min(to).saturating_sub(self.from.max(from))
    }
}

impl Lateness {
    /// Starts to measure, in the thread that runs this.
    pub(super) fn measure(origin: Instant) -> Self {
        let lateness = Self {
            record: Arc::default(),
        };
        let record = Arc::clone(&lateness.record);
        lock(&record).due = origin.elapsed() + TICK;
        tokio::spawn(async move {
            loop {
                let from = lock(&record).due;
                tokio::time::sleep_until(origin + from).await;
                let to = origin.elapsed();
                let mut record = lock(&record);
                if to.saturating_sub(from) >= NOTICED {
                    record.delays.push(Delay { from, to });
                }
                record.due = to + TICK;
            }
        });
        lateness
    }

    /// The time for which the thread was held up between `from` and `to`.
    pub(super) fn total(&self, from: Duration, to: Duration) -> Duration {
        self.within(from, to).iter().sum()
    }

    /// By how much `wakeups` deadlines between `from` and `to` can have been missed in all: that
    /// many of the longest delays.
    pub(super) fn of(&self, wakeups: usize, from: Duration, to: Duration) -> Duration {
        self.within(from, to).iter().take(wakeups).sum()
    }

    /// The longest time for which the thread can have been held up between `from` and `to`.
    pub(super) fn longest(&self, from: Duration, to: Duration) -> Duration {
        let longest = self.within(from, to).first().copied();
        longest.map_or(Duration::ZERO, |late| late + TICK)
    }

    /// The delays between `from` and `to`, the longest first.
    fn within(&self, from: Duration, to: Duration) -> Vec<Duration> {
        let record = lock(&self.record);
        // After a delay another task may run, and judge, before the timer's.
        let pending = Delay {
            from: record.due,
            to: Duration::MAX,
        };
        let delays = record.delays.iter().chain([&pending]);
        let delays = delays.map(|delay| delay.within(from, to));
        let mut delays: Vec<_> = delays.filter(|late| *late >= NOTICED).collect();
        delays.sort_unstable_by(|a, b| b.cmp(a));
        delays
    }
}

fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often the timer fires: a delay is measured at most this much too short.
const TICK: Duration = Duration::from_millis(5);

/// Timers have a resolution of a millisecond. Such small amounts must not add up to an excuse.
const NOTICED: Duration = Duration::from_millis(4);

#[cfg(test)]
mod tests {
    use super::{Delay, Duration, Instant, Lateness, Record, TICK};

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn delayed(due: u64, delays: &[(u64, u64)]) -> Lateness {
        let delay = |&(from, to)| Delay {
            from: millis(from),
            to: millis(to),
        };
        let record = Record {
            due: millis(due),
            delays: delays.iter().map(delay).collect(),
        };
        Lateness {
            record: std::sync::Arc::new(record.into()),
        }
    }

    #[test]
    fn only_the_longest_delays_between_two_times_count() {
        let lateness = delayed(
            900,
            &[(10, 60), (100, 110), (200, 230), (400, 420), (500, 503)],
        );
        assert_eq!(lateness.total(millis(0), millis(800)), millis(110));
        assert_eq!(lateness.of(2, millis(0), millis(800)), millis(80));
        assert_eq!(lateness.of(2, millis(50), millis(410)), millis(40));
        assert_eq!(lateness.longest(millis(50), millis(300)), millis(30) + TICK);
        assert_eq!(lateness.longest(millis(300), millis(350)), Duration::ZERO);
    }

    #[test]
    fn a_delay_whose_timer_has_not_fired_yet_counts() {
        let lateness = delayed(900, &[]);
        assert_eq!(lateness.total(millis(0), millis(900)), Duration::ZERO);
        assert_eq!(lateness.total(millis(0), millis(950)), millis(50));
    }

    #[tokio::test]
    async fn a_thread_that_is_held_up_is_measured() {
        let origin = Instant::now();
        let lateness = Lateness::measure(origin);
        tokio::time::sleep(millis(50)).await;
        let from = origin.elapsed();
        std::thread::sleep(millis(200));
        let to = origin.elapsed();
        for _ in 0..2 {
            let late = lateness.total(from, to);
            assert!(late >= millis(200) - TICK - millis(1), "{late:?}");
            tokio::time::sleep(millis(50)).await;
        }
    }
}
