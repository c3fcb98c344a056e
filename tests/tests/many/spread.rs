//! How evenly pings came.

use std::time::{Duration, Instant};

use wspulse_tests::net::Control;

/// Pings counted by hundredths of the interval.
#[derive(Debug)]
pub(crate) struct Spread {
    began: Instant,
    slot: Duration,
    counts: Vec<u32>,
}

impl Spread {
    /// Counts from `began` on, for `span`.
    pub(crate) fn new(began: Instant, interval: Duration, span: Duration) -> Self {
        let slot = interval / 100;
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

    /// Says whether no slot holds more than three times the mean.
    ///
    /// A machine that held everybody up for a while hands out all at once what would have come in
    /// that while: by as much as the control was late just then, a slot counts as longer.
    pub(crate) fn verdict(&self, control: &Control) -> Result<String, String> {
        let mean = f64::from(self.total()) / self.counts.len().max(1) as f64;
        let fullest = self.counts.iter().max().copied().unwrap_or(0);
        let figure = format!(
            "{} slots of {} ms, mean {mean:.1}, fullest {fullest} ({:.2} x)",
            self.counts.len(),
            self.slot.as_millis(),
            f64::from(fullest) / mean
        );
        let mut excused = 0;
        for (from, count) in (0..).zip(&self.counts) {
            if f64::from(*count) <= 3.0 * mean {
                continue;
            }
            let from = self.began + self.slot * from;
            let late = control.worst_lateness(from - self.slot, from + 2 * self.slot);
            let length = 1.0 + late.as_secs_f64() / self.slot.as_secs_f64();
            if f64::from(*count) > 3.0 * mean * length {
                return Err(format!(
                    "{count} pings in one slot, control {} ms late: {figure}",
                    late.as_millis()
                ));
            }
            excused += 1;
        }
        Ok(match excused {
            0 => figure,
            _ => format!("{figure}, {excused} fuller slots while the machine was late"),
        })
    }
}
