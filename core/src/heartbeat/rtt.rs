//! Round-trip times, smoothed as TCP does it (RFC 6298 §2).

use core::num::NonZeroU32;
use core::time::Duration;

use crate::time::widen;

/// Round-trip times of answered pings, to the microsecond; never below one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rtt {
    /// Not zero, so that no sample at all takes no room.
    last: NonZeroU32,
    min: u32,
    smoothed: u32,
    variation: u32,
}

impl Rtt {
    /// The most recent sample.
    #[must_use]
    pub const fn last(&self) -> Duration {
        micros(self.last.get())
    }

    /// The shortest sample.
    #[must_use]
    pub const fn min(&self) -> Duration {
        micros(self.min)
    }

    /// The smoothed round-trip time: each sample counts for one eighth.
    #[must_use]
    pub const fn smoothed(&self) -> Duration {
        micros(self.smoothed)
    }

    /// The smoothed distance of samples from [`smoothed`](Self::smoothed).
    #[must_use]
    pub const fn variation(&self) -> Duration {
        micros(self.variation)
    }

    /// Takes in one more sample.
    pub(super) fn sample(before: Option<Self>, rtt: Duration) -> Self {
        let micros = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX);
        let last = NonZeroU32::new(micros).unwrap_or(NonZeroU32::MIN);
        let sample = last.get();
        let Some(before) = before else {
            return Self {
                last,
                min: sample,
                smoothed: sample,
                variation: sample >> 1,
            };
        };
        let distance = before.smoothed.abs_diff(sample);
        Self {
            last,
            min: before.min.min(sample),
            smoothed: approach(before.smoothed, sample, 3),
            variation: approach(before.variation, distance, 2),
        }
    }
}

const fn micros(micros: u32) -> Duration {
    Duration::from_micros(widen(micros))
}

/// Moves `from` towards `to` by `1 / 2^shift` of the way.
fn approach(from: u32, to: u32, shift: u32) -> u32 {
    let step = from.abs_diff(to) >> shift;
    if to > from {
        from.saturating_add(step)
    } else {
        from.saturating_sub(step)
    }
}
