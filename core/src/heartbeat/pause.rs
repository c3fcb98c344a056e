//! Rule 6: time in which this side slept past what it had asked for is not the peer's.

use core::time::Duration;

use super::{Answer, Heartbeat, Mode, Phase};
use crate::time::Instant;

impl Heartbeat {
    /// Notes the time of a call; a `now` below the largest seen counts as the largest seen. `armed`
    /// is the deadline that the owner was given. A call after it is late, and is counted before it
    /// has any effect of its own.
    #[inline]
    pub(crate) fn observe_until(&mut self, now: Instant, armed: Instant) -> Instant {
        if now > self.now {
            let late = now.saturating_duration_since(armed.max(self.now));
            self.now = now;
            if !late.is_zero() {
                self.account_for_late_wakeup(late);
            }
        }
        self.now
    }

    /// Notes the time of a call by the owner of a heartbeat alone.
    #[inline]
    pub(super) fn observe(&mut self, now: Instant) -> Instant {
        self.observe_until(now, self.deadline)
    }

    /// The largest time seen.
    #[inline]
    pub(crate) const fn latest_now(&self) -> Instant {
        self.now
    }

    /// Clocks run in awake time: every stamp that one counts from moves by the lateness, and the
    /// armed deadline with them, so that it is counted once.
    #[cold]
    fn account_for_late_wakeup(&mut self, late: Duration) {
        if !self.is_alive() {
            return;
        }
        // Rule 3: a sample that spans a pause says nothing of the path.
        self.spoil_sample();
        let stamps = [
            &mut self.evidence_at,
            &mut self.last_received,
            &mut self.last_would_block,
            &mut self.last_sent,
            &mut self.left_at,
            &mut self.deadline,
        ];
        for stamp in stamps {
            *stamp = stamp.saturating_add(late);
        }
        if let Some(rare) = &mut self.rare {
            rare.shift(late, self.now);
        }
        if late > quarter(self.config.timeout) {
            self.note_pause();
        }
    }

    /// A pause that may have cost the peer its time to answer.
    pub(super) fn note_pause(&mut self) {
        self.local_pauses = self.local_pauses.saturating_add(1);
        self.restart_after_pause();
    }

    /// Grace: a fresh ping where none is out; and where an answer is awaited, a fresh one with the
    /// full timeout, once between two signs of life, so that no series of pauses hides a death.
    fn restart_after_pause(&mut self) {
        let pings = self.config.pings();
        match self.phase {
            Phase::Quiet if pings => self.make_ping(),
            Phase::Awaiting if !self.grace_used => {
                self.grace_used = true;
                if pings {
                    self.make_ping();
                } else {
                    self.restart_wait();
                }
            }
            _ => return,
        }
        self.arm();
    }

    /// The wait for a sign of life begins anew.
    pub(super) fn restart_wait(&mut self) {
        let now = self.now;
        self.rare_mut().restarted_at = Some(now);
    }

    pub(super) fn spoil_sample(&mut self) {
        if self.answer == Answer::Awaited {
            self.answer = Answer::AwaitedUntimed;
        }
    }

    /// Since when an answer is awaited: since the last ping left. By a passive policy, since the
    /// last sign of life. Unless the wait began anew.
    pub(super) fn awaiting_since(&self) -> Instant {
        let restarted = self.rare.as_ref().and_then(|rare| rare.restarted_at);
        restarted.unwrap_or(match self.config.mode {
            Mode::Idle | Mode::Periodic => self.left_at,
            Mode::Passive | Mode::Off => self.evidence_at,
        })
    }
}

fn quarter(duration: Duration) -> Duration {
    duration.checked_div(4).unwrap_or_default()
}
