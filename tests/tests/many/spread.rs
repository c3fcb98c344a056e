//! How evenly pings came.

use std::time::{Duration, Instant};

use crate::held::Held;

/// Pings counted by hundredths of the interval.
#[derive(Debug)]
pub(crate) struct Spread {
    began: Instant,
    slot: Duration,
    counts: Vec<u32>,
}

/// A slot that holds more than it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    /// Which one.
    pub(crate) slot: u32,
    /// How many pings it holds.
    pub(crate) count: u32,
    /// For how long the machine held the load up just then.
    pub(crate) held: Duration,
}

impl Spread {
    /// Counts from `began` on, for `span`.
    pub(crate) fn new(began: Instant, interval: Duration, span: Duration) -> Self {
        let slot = slot(interval);
        let slots = span.as_nanos() / slot.as_nanos();
        Self {
            began,
            slot,
            counts: vec![0; usize::try_from(slots).unwrap_or(0)],
        }
    }

    /// A ping came.
    pub(crate) fn count(&mut self, at: Instant) {
        let since = at.saturating_duration_since(self.began).as_nanos();
        let slot = usize::try_from(since / self.slot.as_nanos()).unwrap_or(usize::MAX);
        if let Some(count) = self.counts.get_mut(slot) {
            *count += 1;
        }
    }

    /// Returns how many came.
    pub(crate) fn total(&self) -> u32 {
        self.counts.iter().sum()
    }

    /// Returns how many the fullest slot holds.
    pub(crate) fn fullest(&self) -> u32 {
        self.counts.iter().max().copied().unwrap_or(0)
    }

    /// Returns how many a slot holds on average.
    pub(crate) fn mean(&self) -> f64 {
        f64::from(self.total()) / self.counts.len().max(1) as f64
    }

    /// Returns the slots that hold more than three times the mean.
    pub(crate) fn full(&self, held: &Held) -> Vec<Full> {
        let most = 3.0 * self.mean();
        let slots = (0..).zip(&self.counts);
        slots
            .filter(|(_, count)| f64::from(**count) > most)
            .map(|(slot, count)| Full {
                slot,
                count: *count,
                held: held_about(held, self.began, self.slot, slot),
            })
            .collect()
    }
}

/// A hundredth of the interval.
pub(crate) fn slot(interval: Duration) -> Duration {
    interval / 100
}

/// For how long the machine held this process up, so that it showed in this slot.
pub(crate) fn held_about(held: &Held, began: Instant, slot: Duration, number: u32) -> Duration {
    let from = began + slot * number;
    // The two processes agree on the time to within a slot.
    held.within(from - slot, from + 2 * slot)
}

impl Full {
    /// Tells whether the machine accounts for it: who was held up for a while does all at once
    /// what was due in that while, so a slot counts as longer by as much.
    pub(crate) fn is_excused(&self, mean: f64, slot: Duration, server_held: Duration) -> bool {
        let held = self.held + server_held;
        let length = 1.0 + held.as_secs_f64() / slot.as_secs_f64();
        f64::from(self.count) <= 3.0 * mean * length
    }

    pub(crate) fn to_line(self) -> String {
        format!("{} {} {}", self.slot, self.count, self.held.as_micros())
    }

    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let [slot, count, held] = words[..] else {
            return None;
        };
        Some(Self {
            slot: slot.parse().ok()?,
            count: count.parse().ok()?,
            held: Duration::from_micros(held.parse().ok()?),
        })
    }
}
