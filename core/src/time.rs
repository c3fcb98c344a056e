//! A point in time that the caller supplies.

use core::fmt;
use core::num::NonZeroU64;
use core::time::Duration;

/// A point on the caller's monotonic timeline, in nanoseconds since an origin the caller picks.
///
/// The core never reads a clock: whoever drives it says what time it is. Eight bytes, also
/// inside an [`Option`], and good for 584 years. All arithmetic saturates.
///
/// ```
/// use core::time::Duration;
/// use wspulse_core::Instant;
///
/// let sent = Instant::from_millis(20_000);
/// let deadline = sent.saturating_add(Duration::from_secs(20));
/// assert_eq!(deadline, Instant::from_millis(40_000));
/// assert_eq!(sent.saturating_duration_since(deadline), Duration::ZERO);
/// assert_eq!(sent.saturating_add(Duration::MAX), Instant::MAX);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(
    // Off by one, so that zero is free to mean `None` in an `Option<Instant>`.
    NonZeroU64,
);

impl Instant {
    /// The origin of the timeline.
    pub const ZERO: Self = Self(NonZeroU64::MIN);

    /// The end of the timeline; as a deadline it means never.
    pub const MAX: Self = Self(NonZeroU64::MAX);

    /// Returns the point `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(nanos))
    }

    /// Returns the point `micros` microseconds after the origin.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self::from_nanos(micros.saturating_mul(1_000))
    }

    /// Returns the point `millis` milliseconds after the origin.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self::from_nanos(millis.saturating_mul(1_000_000))
    }

    /// Returns the point `secs` seconds after the origin.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self::from_nanos(secs.saturating_mul(1_000_000_000))
    }

    /// Returns the nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0.get().saturating_sub(1)
    }

    /// Adds `duration`, stopping at [`Instant::MAX`].
    #[must_use]
    pub const fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// Subtracts `duration`, stopping at [`Instant::ZERO`].
    #[must_use]
    pub const fn saturating_sub(self, duration: Duration) -> Self {
        Self::from_nanos(self.as_nanos().saturating_sub(nanos(duration)))
    }

    /// Returns the time from `earlier` to `self`, zero if `earlier` is later.
    #[must_use]
    pub const fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.as_nanos().saturating_sub(earlier.as_nanos()))
    }
}

/// The span since the origin, in seconds.
impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::MAX {
            return f.write_str("never");
        }
        fmt::Debug::fmt(&Duration::from_nanos(self.as_nanos()), f)
    }
}

/// The nanoseconds of `duration`, stopping at `u64::MAX`.
const fn nanos(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(widen(duration.subsec_nanos()))
}

/// `u64::from` in a `const fn`.
pub(crate) const fn widen(number: u32) -> u64 {
    let [a, b, c, d] = number.to_le_bytes();
    u64::from_le_bytes([a, b, c, d, 0, 0, 0, 0])
}

const _: () = assert!(size_of::<Option<Instant>>() == 8);
