//! Life, suspicion and death: what is held against a peer.

use super::{Answer, DeadReason, Heartbeat, Mode, Phase};
use crate::time::Instant;

impl Heartbeat {
    /// A sign of life, as the policy counts them.
    #[inline]
    pub(super) fn handle_life(&mut self) {
        if !self.is_alive() {
            return;
        }
        self.evidence_at = self.now;
        self.grace_used = false;
        if self.rare.is_some() {
            self.lift_suspicion();
        }
        if self.phase == Phase::Awaiting && self.config.mode != Mode::Passive {
            self.phase = Phase::Quiet;
        }
    }

    /// Nothing is held against the peer any more.
    pub(super) fn lift_suspicion(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.suspect_since = None;
            rare.restarted_at = None;
        }
        self.drop_rare();
    }

    /// Rules 6 and 7: silence is judged by a read attempt that found nothing now, and by nothing
    /// else: one from before the policy changed, or before a pause, tells nothing.
    pub(super) fn judge(&mut self) {
        if self.phase != Phase::Awaiting {
            return;
        }
        let now = self.now;
        let is_due = |deadline: Instant| now >= deadline && deadline != Instant::MAX;
        if is_due(self.suspect_deadline()) && !self.is_suspect() {
            self.rare_mut().suspect_since = Some(now);
        }
        if is_due(self.death_deadline()) {
            self.die(match self.config.mode {
                Mode::Passive => DeadReason::Silence,
                _ => DeadReason::PongTimeout,
            });
        }
    }

    pub(super) fn die(&mut self, reason: DeadReason) {
        self.phase = Phase::Dead(reason);
        self.deadline = Instant::MAX;
        if let Some(rare) = &mut self.rare {
            rare.drain = None;
        }
        self.drop_rare();
    }

    /// A ping is due. One that is outstanding counts as lost.
    pub(super) fn make_ping(&mut self) {
        if self.answer != Answer::None {
            self.lost = self.lost.saturating_add(1);
        }
        self.answer = Answer::Awaited;
        self.sequence = self.sequence.wrapping_add(1);
        self.pings_unsent = self.pings_unsent.saturating_add(1);
        self.phase = Phase::Due;
    }

    #[inline]
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect_since().is_some()
    }

    #[inline]
    pub(super) fn suspect_since(&self) -> Option<Instant> {
        self.rare.as_ref().and_then(|rare| rare.suspect_since)
    }
}
