//! Deadlines, computed from facts.

use core::time::Duration;

use super::{Heartbeat, Mode, Phase};
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
        self.arm(self.now);
    }

    /// Makes a ping if one is due, and arms the earliest deadline after `now` that the facts
    /// imply, or could come to imply by received data alone.
    pub(super) fn arm(&mut self, now: Instant) {
        if self.phase == Phase::Quiet && self.ping_due() <= now {
            self.make_ping();
        }
        self.deadline = self.earliest_deadline(now);
    }

    pub(super) fn earliest_deadline(&self, now: Instant) -> Instant {
        let silence = match self.phase {
            Phase::Quiet => [self.ping_due(), Instant::MAX, Instant::MAX],
            Phase::Due | Phase::Queued | Phase::Dead(_) => [Instant::MAX; 3],
            Phase::Awaiting => [
                self.after_life(now),
                self.suspect_deadline(),
                self.death_deadline(),
            ],
        };
        let stall = self.stall_deadline();
        let last_chance = self.last_chance(stall).max(now.saturating_add(MIN_WAIT));
        // What is not after `now` waits for a read or a write attempt, not for time.
        let deadlines = silence.into_iter().chain([stall, last_chance]);
        let later = deadlines.filter(|deadline| *deadline > now);
        later.min().unwrap_or(Instant::MAX)
    }

    /// Until when a write attempt is waited for before a stall is judged without one.
    pub(super) fn last_chance(&self, stall: Instant) -> Instant {
        let pause = self.config.local_pause().min(Duration::from_secs(5));
        stall.saturating_add(pause)
    }

    /// Rule 2: nothing came in for the interval, or nothing went out.
    pub(super) fn ping_due(&self) -> Instant {
        let since = match self.config.mode {
            Mode::Idle => self.last_received.min(self.last_sent),
            Mode::Periodic => self.awaiting_since,
            Mode::Passive | Mode::Off => return Instant::MAX,
        };
        since.saturating_add(self.interval())
    }

    /// The earliest time to look again if a sign of life comes: life does not move the deadline.
    pub(super) fn after_life(&self, now: Instant) -> Instant {
        match self.config.mode {
            Mode::Idle | Mode::Periodic => {
                let due = self.awaiting_since.saturating_add(self.interval());
                if due > now {
                    due
                } else {
                    now.saturating_add(self.interval().max(MIN_WAIT))
                }
            }
            Mode::Passive => now.saturating_add(self.config.suspicion().max(MIN_WAIT)),
            Mode::Off => Instant::MAX,
        }
    }

    pub(super) fn suspect_deadline(&self) -> Instant {
        let after = self.config.suspicion().saturating_add(self.extension());
        self.awaiting_since.saturating_add(after)
    }

    pub(super) fn death_deadline(&self) -> Instant {
        let after = self.config.timeout.saturating_add(self.extension());
        self.awaiting_since.saturating_add(after)
    }

    /// Rule 5: the time that the bytes in front of the ping need.
    pub(super) fn extension(&self) -> Duration {
        match &self.drain {
            Some(drain) if self.config.mode != Mode::Passive => drain
                .extension(self.drain_window())
                .min(self.longest_extension()),
            _ => Duration::ZERO,
        }
    }

    pub(super) fn longest_extension(&self) -> Duration {
        match self.config.write_stall_timeout {
            Duration::MAX => self.config.timeout.saturating_mul(4),
            timeout => timeout,
        }
    }

    pub(super) fn stall_deadline(&self) -> Instant {
        let timeout = self.config.write_stall_timeout;
        self.drain
            .as_ref()
            .map_or(Instant::MAX, |drain| drain.stall_deadline(timeout))
    }

    /// Over how long a drain rate is measured: some four times within a timeout.
    pub(super) fn drain_window(&self) -> Duration {
        let quarter = self.config.timeout.checked_div(4).unwrap_or_default();
        quarter.min(Duration::from_secs(1))
    }

    /// The interval up to the next ping; rule 13: jitter only shortens it.
    pub(super) fn interval(&self) -> Duration {
        let unit = self
            .config
            .interval
            .checked_div(1 << 20)
            .unwrap_or_default();
        self.config
            .interval
            .saturating_sub(unit.saturating_mul(self.early))
    }

    pub(super) fn draw_early(&mut self, percent: u8) -> u32 {
        let most = (1_u64 << 20)
            .saturating_mul(u64::from(percent))
            .checked_div(100)
            .unwrap_or(0);
        let share = u64::from(self.draw()).saturating_mul(most) >> 32;
        u32::try_from(share).unwrap_or(0)
    }

    /// SplitMix64: enough for jitter and for telling one connection's pings from another's.
    pub(super) fn draw(&mut self) -> u32 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or(0)
    }
}

/// No wait for what may come of life is shorter, whatever the configuration.
const MIN_WAIT: Duration = Duration::from_millis(1);
