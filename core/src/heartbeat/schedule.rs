//! Deadlines, computed from facts.

use core::time::Duration;

use super::{Heartbeat, Mode, NotRead, Phase};
use crate::time::Instant;

impl Heartbeat {
    /// Takes up the policy in force, with the jitter of a first interval.
    pub(super) fn begin(&mut self) {
        // Rule 13: connections that open at once do not ping at once.
        let spread = if self.config.jitter_percent == 0 {
            0
        } else {
            50
        };
        self.early = self.draw_early(spread);
        self.arm();
    }

    /// Makes a ping if one is due, notes that nothing was read if that is, and arms the earliest
    /// deadline after now: a write arms it too, and would pass by what became due since. What is due
    /// and needs a read or a write attempt is tried again after half a timeout.
    pub(super) fn arm(&mut self) {
        if self.phase == Phase::Quiet {
            let due = self.ping_due();
            // Each write comes here: while nothing else runs, the ping is the earliest. In idle mode
            // it is due before the word that nothing was read, by two timeouts.
            let is_plain = self.rare.is_none()
                && self.config.mode == Mode::Idle
                && self.config.unread_timeout.is_none();
            if due > self.now && is_plain {
                self.deadline = due;
                return;
            }
            if due <= self.now {
                self.make_ping();
            }
        }
        if self.not_read == NotRead::Untold && self.unread_deadline() <= self.now {
            self.not_read = NotRead::Due;
        }
        self.deadline = self.earliest_deadline();
    }

    fn earliest_deadline(&self) -> Instant {
        let now = self.now;
        let retry = || now.saturating_add(half(self.config.timeout));
        let mut earliest = Instant::MAX;
        let mut at = |deadline: Instant| {
            if deadline > now {
                earliest = earliest.min(deadline);
            }
        };
        let stalled_since = self.stalled_since();
        match self.phase {
            Phase::Dead(_) => return Instant::MAX,
            Phase::Quiet => at(self.ping_due()),
            // The stall has a clock of its own.
            Phase::Due | Phase::Queued | Phase::Early => {
                if stalled_since.is_none() {
                    at(retry());
                }
            }
            Phase::Awaiting => {
                let since = self.awaiting_since();
                at(self.suspect_deadline());
                at(self.death_deadline());
                // A sign of life moves no deadline, so none is armed that would delay a later ping
                // (rule 2), or a later suspicion where no ping is sent (rule 8).
                if self.config.pings() {
                    at(since.saturating_add(self.interval()));
                    at(now.saturating_add(self.interval().max(MIN_WAIT)));
                } else {
                    at(now.saturating_add(self.suspect_after().max(MIN_WAIT)));
                }
                // Also after the end of the wait: what was not looked for is tried again.
                at(step(since, half(self.config.timeout), now));
            }
        }
        if let Some(since) = stalled_since {
            let dies_at = self.stall_deadline();
            at(dies_at);
            at(since.saturating_add(half(self.config.write_stall())));
            if dies_at <= now {
                at(retry());
            }
        }
        if self.not_read == NotRead::Untold {
            at(self.unread_deadline());
        }
        earliest
    }

    /// Rule 2: no evidence of life for the interval, or nothing went out.
    pub(super) fn ping_due(&self) -> Instant {
        let since = match self.config.mode {
            Mode::Idle => self.evidence_at.min(self.last_sent),
            Mode::Periodic => self.left_at,
            Mode::Passive | Mode::Off => return Instant::MAX,
        };
        since.saturating_add(self.interval())
    }

    pub(super) fn suspect_deadline(&self) -> Instant {
        let after = self.suspect_after().saturating_add(self.extension());
        self.awaiting_since().saturating_add(after)
    }

    /// Rule 7: death comes no sooner than this after suspicion was told, whatever brought the plain
    /// deadline forward.
    pub(super) fn death_deadline(&self) -> Instant {
        let after = self.config.timeout.saturating_add(self.extension());
        let plain = self.awaiting_since().saturating_add(after);
        let warning = self.config.timeout.saturating_sub(self.suspect_after());
        match self.suspect_since() {
            Some(since) => plain.max(since.saturating_add(warning)),
            None => plain,
        }
    }

    /// Rule 7: half of the timeout, more where answers take long, at most three quarters.
    pub(super) fn suspect_after(&self) -> Duration {
        if let Some(after) = self.config.suspect_after {
            return after;
        }
        let timeout = self.config.timeout;
        let usual = self.rtt.map_or(Duration::ZERO, |rtt| {
            let spread = rtt.variation().saturating_mul(4);
            rtt.smoothed().saturating_add(spread)
        });
        let most = timeout.saturating_sub(timeout.checked_div(4).unwrap_or_default());
        let half = timeout.checked_div(2).unwrap_or_default();
        usual.max(half).min(most).max(Duration::from_nanos(1))
    }

    /// Rule 5: by how much the outstanding ping's clock is extended.
    pub(super) fn extension(&self) -> Duration {
        let drain = self.rare.as_ref().and_then(|rare| rare.drain.as_ref());
        drain.map_or(Duration::ZERO, |drain| drain.extension())
    }

    pub(super) fn longest_extension(&self) -> Duration {
        match self.config.write_stall() {
            Duration::MAX => self.config.timeout.saturating_mul(4),
            timeout => timeout,
        }
    }

    pub(super) fn stalled_since(&self) -> Option<Instant> {
        let drain = self.rare.as_ref()?.drain.as_ref()?;
        drain.stalled_since()
    }

    /// When a transport that takes nothing becomes a death of its own.
    pub(super) fn stall_deadline(&self) -> Instant {
        let since = self.stalled_since().unwrap_or(Instant::MAX);
        since.saturating_add(self.config.write_stall())
    }

    /// Rule 19: when it is told that nothing was read, and no read attempt reported.
    pub(super) fn unread_deadline(&self) -> Instant {
        let patience = self.config.timeout.saturating_mul(2);
        let after = match (self.config.unread_timeout, self.config.mode) {
            (Some(timeout), _) => timeout,
            (None, Mode::Idle | Mode::Periodic) => self.config.interval.saturating_add(patience),
            (None, Mode::Passive) => patience,
            (None, Mode::Off) => return Instant::MAX,
        };
        let since = self.last_received.max(self.last_would_block);
        since.saturating_add(after)
    }

    /// The interval up to the next ping; rule 13: jitter only shortens it.
    pub(super) fn interval(&self) -> Duration {
        let unit = self
            .config
            .interval
            .checked_div(1 << 16)
            .unwrap_or_default();
        self.config
            .interval
            .saturating_sub(unit.saturating_mul(self.early.into()))
    }

    /// Up to `percent` of an interval, in units of 2^-16: another share for each connection and ping.
    pub(super) fn draw_early(&self, percent: u8) -> u16 {
        let most = (1_u64 << 16)
            .saturating_mul(u64::from(percent))
            .checked_div(100)
            .unwrap_or(0);
        let number = (u64::from(self.nonce) << 32) | u64::from(self.sequence);
        let share = u64::from(mix(number)).saturating_mul(most) >> 32;
        u16::try_from(share).unwrap_or(0)
    }
}

/// SplitMix64: enough for jitter and for telling one connection's pings from another's.
pub(super) fn mix(number: u64) -> u32 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or(0)
}

/// Rule 6: no clock is armed further ahead than half its `length`, so that a pause that ends at a
/// step costs the peer half a clock. Returns the first step after `now`.
pub(crate) fn step(since: Instant, half: Duration, now: Instant) -> Instant {
    let first = since.saturating_add(half);
    if first > now {
        return first;
    }
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).ok();
    let passed = nanos(now.saturating_duration_since(since));
    let into = passed
        .zip(nanos(half))
        .and_then(|(passed, half)| passed.checked_rem(half));
    let left = half.saturating_sub(Duration::from_nanos(into.unwrap_or(0)));
    now.saturating_add(left)
}

/// Half of a clock's length, and no shorter than what a host can be asked to sleep.
pub(crate) fn half(length: Duration) -> Duration {
    length.checked_div(2).unwrap_or_default().max(MIN_WAIT)
}

/// No step and no second attempt comes sooner, whatever the configuration.
const MIN_WAIT: Duration = Duration::from_millis(1);
