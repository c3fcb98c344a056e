//! Life, suspicion and death: what is held against a peer, and what is not.

use super::{DeadReason, Heartbeat, Mode, Phase};
use crate::time::Instant;

impl Heartbeat {
    /// Whether this side slept for much longer than it asked to.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.deadline) > self.config.local_pause()
    }

    /// Rule 6, before anything is judged. Sleeping until the deadline is no pause; sleeping
    /// through it is, and then nothing that fell due meanwhile kills. What has yet to fall due
    /// waits for at least as long again as this side was late.
    pub(super) fn face_lateness(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.deadline);
        if late.is_zero() || !self.is_alive() {
            return;
        }
        let is_pause = late > self.config.local_pause();
        if is_pause
            && self.stall_deadline() <= now
            && let Some(drain) = &mut self.drain
        {
            drain.pardon(now);
        }
        if self.phase != Phase::Awaiting {
            return;
        }
        let death = self.death_deadline();
        let grace = now.saturating_add(late);
        if death > now {
            let missing = grace.saturating_duration_since(death);
            // The full timeout is the most that anybody gets.
            self.awaiting_since = self.awaiting_since.saturating_add(missing).min(now);
            self.is_spoiled |= !missing.is_zero();
        } else if is_pause {
            self.pardon(now);
        }
    }

    /// One fresh ping, the full timeout.
    pub(super) fn pardon(&mut self, now: Instant) {
        self.local_pauses = self.local_pauses.saturating_add(1);
        if self.phase == Phase::Awaiting {
            match self.config.mode {
                Mode::Passive => self.awaiting_since = now,
                _ => self.make_ping(),
            }
        }
        if self.is_alive() {
            self.arm(now);
        }
    }

    /// Rule 6 for evidence above the byte: a reader that was away when the deadline passed, and
    /// comes back to bytes that do not count, gets one more round: what counts may stand behind
    /// them.
    pub(super) fn pardon_unread(&mut self, now: Instant) {
        let read = self.last_would_block.max(self.last_received);
        let away = now.saturating_duration_since(read);
        if self.phase == Phase::Awaiting
            && (read..now).contains(&self.death_deadline())
            && away > self.config.local_pause()
        {
            self.pardon(now);
        }
    }

    /// A sign of life, as the policy counts them.
    #[inline]
    pub(super) fn handle_life(&mut self, now: Instant) {
        if !self.is_alive() {
            return;
        }
        self.suspect = false;
        if self.phase == Phase::Awaiting {
            if self.config.mode == Mode::Passive {
                self.awaiting_since = now;
            } else {
                self.phase = Phase::Quiet;
            }
        }
    }

    /// Rules 6 and 7: silence is judged by a read attempt at or after the deadline.
    pub(super) fn judge(&mut self, now: Instant) {
        if self.phase != Phase::Awaiting {
            return;
        }
        let read = self.last_would_block.min(now);
        if read >= self.suspect_deadline() && self.suspect_deadline() != Instant::MAX {
            self.suspect = true;
        }
        if read >= self.death_deadline() && self.death_deadline() != Instant::MAX {
            self.die(match self.config.mode {
                Mode::Passive => DeadReason::Silence,
                _ => DeadReason::PongTimeout,
            });
        }
    }

    /// Rule 5: a write attempt at or after the deadline, or a second chance to make one.
    pub(super) fn judge_stall(&mut self, now: Instant) {
        let (Some(drain), due) = (&self.drain, self.stall_deadline()) else {
            return;
        };
        if due == Instant::MAX || due > now {
            return;
        }
        if drain.attempted_at() >= due || now >= self.last_chance(due) {
            self.die(DeadReason::WriteStalled);
        }
    }

    pub(super) fn die(&mut self, reason: DeadReason) {
        self.phase = Phase::Dead(reason);
        self.suspect = true;
        self.deadline = Instant::MAX;
        self.drain = None;
    }

    pub(super) fn make_ping(&mut self) {
        if !self.latest_is_answered {
            self.lost = self.lost.saturating_add(1);
        }
        self.latest_is_answered = false;
        self.is_spoiled = false;
        self.sequence = self.sequence.wrapping_add(1);
        self.phase = Phase::Due;
    }
}
