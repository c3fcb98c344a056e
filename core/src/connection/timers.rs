//! Deadlines beyond the heartbeat's (rule 12). Each is computed from facts; received data never
//! moves what is armed.

use core::time::Duration;

use super::{Connection, Phase, TimeoutReason};
use crate::close::CloseCode;
use crate::config::Config;
use crate::error::{Cause, LimitExceeded};
use crate::time::Instant;

/// The line is quiet when nothing has passed for this long at the time of a timeout: what a burst
/// of small frames left allocated is freed then.
const QUIET: Duration = Duration::from_secs(1);

/// Timers that few connections want: exists only if the configuration sets one.
#[derive(Clone, Hash)]
pub(super) struct OptionalTimers {
    armed: Instant,
    /// The last message in either direction.
    last_message: Instant,
    /// Whether a message is on its way out.
    is_sending: bool,
    /// When the message under way began.
    message_began: Option<Instant>,
    too_old: Instant,
    idle_timeout: Duration,
    message_timeout: Duration,
}

/// What is due.
enum Due {
    Nothing,
    Idle,
    MaxAge,
    MessageTime,
}

impl OptionalTimers {
    pub(super) fn new(config: &Config, random: u64, now: Instant) -> Self {
        // Up to a tenth earlier: connections opened at once do not close at once.
        let unit = config.max_age.checked_div(10 << 16).unwrap_or_default();
        let early = unit.saturating_mul(u32::try_from(random & 0xFFFF).unwrap_or(0));
        let mut timers = Self {
            armed: Instant::MAX,
            last_message: now,
            is_sending: false,
            message_began: None,
            too_old: now.saturating_add(config.max_age.saturating_sub(early)),
            idle_timeout: config.idle_timeout,
            message_timeout: config.message_timeout,
        };
        timers.arm(now);
        timers
    }

    pub(super) fn message_began(&mut self, now: Instant) {
        self.message_began = Some(now);
    }

    /// A message came to its end; heartbeats of the application are no use of the connection.
    pub(super) fn message_ended(&mut self, now: Instant, is_use: bool) {
        self.message_began = None;
        if is_use {
            self.last_message = now;
        }
    }

    pub(super) fn message_queued(&mut self) {
        self.is_sending = true;
    }

    /// The transport took output. Messages are in use until their last byte is taken.
    pub(super) fn output_taken(&mut self, now: Instant, more: bool) {
        if self.is_sending {
            self.last_message = now;
            self.is_sending = more;
        }
    }

    /// A part of a message came.
    pub(super) fn message_goes_on(&mut self, now: Instant) {
        self.last_message = now;
    }

    fn message_deadline(&self) -> Instant {
        let began = self.message_began.unwrap_or(Instant::MAX);
        began.saturating_add(self.message_timeout)
    }

    fn idle_deadline(&self) -> Instant {
        self.last_message.saturating_add(self.idle_timeout)
    }

    /// Arms the earliest deadline after `now`; what is not waits for a read attempt.
    fn arm(&mut self, now: Instant) {
        let deadlines = [
            self.message_deadline(),
            self.idle_deadline(),
            self.too_old,
            // A message that begins moves nothing: a look once a timeout finds it in time.
            now.saturating_add(self.message_timeout),
        ];
        let later = deadlines.into_iter().filter(|deadline| *deadline > now);
        self.armed = later.min().unwrap_or(Instant::MAX);
    }

    /// Tells what is due. A message is late only if a read attempt found no more of it, the last
    /// one at `read` (rule 6: what we have not read is not held against the peer).
    fn due(&mut self, now: Instant, read: Instant) -> Due {
        if now >= self.armed {
            self.arm(now);
        }
        let is_due = |deadline: Instant, at: Instant| deadline <= at && deadline != Instant::MAX;
        if is_due(self.message_deadline(), read) {
            Due::MessageTime
        } else if is_due(self.too_old, now) {
            Due::MaxAge
        } else if is_due(self.idle_deadline(), now) {
            Due::Idle
        } else {
            Due::Nothing
        }
    }
}

impl Connection {
    pub(super) fn optional_timers(&mut self) -> Option<&mut OptionalTimers> {
        self.extras.as_mut()?.timers.as_mut()
    }

    /// The earliest deadline.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let deadline = match &self.phase {
            Phase::Opening(opening) => opening.deadline,
            Phase::Ending(ending) => ending.deadline,
            Phase::Over(_) => Instant::MAX,
            Phase::Open => {
                let timers = self
                    .extras
                    .as_ref()
                    .and_then(|extras| extras.timers.as_ref());
                let limit = timers.map_or(Instant::MAX, |timers| timers.armed);
                let heartbeat = self.heartbeat.poll_timeout();
                limit.min(heartbeat.unwrap_or(Instant::MAX))
            }
        };
        (deadline != Instant::MAX).then_some(deadline)
    }

    /// What the earliest deadline is for.
    pub(super) fn next_reason(&self) -> Option<TimeoutReason> {
        let deadline = self.next_deadline()?;
        Some(match &self.phase {
            Phase::Opening(_) => TimeoutReason::Handshake,
            Phase::Ending(_) | Phase::Over(_) => TimeoutReason::Close,
            Phase::Open if self.heartbeat.poll_timeout() == Some(deadline) => {
                TimeoutReason::Heartbeat(self.heartbeat.next_timeout_reason()?)
            }
            Phase::Open => TimeoutReason::Limit,
        })
    }

    pub(super) fn handle_deadlines(&mut self, now: Instant) {
        match &self.phase {
            Phase::Opening(_) => self.handle_opening_timeout(now),
            Phase::Ending(_) => self.handle_ending_timeout(now),
            Phase::Over(_) => {}
            Phase::Open => {
                self.heartbeat.handle_timeout(now);
                self.handle_verdict(now);
                self.handle_limits(now);
                self.release_quiet(now);
                // Without a linger, the end that just began is over.
                self.handle_ending_timeout(now);
            }
        }
    }

    /// Turns the heartbeat's verdict into the connection's end.
    pub(super) fn handle_verdict(&mut self, now: Instant) {
        if let (Phase::Open, Some(reason)) = (&self.phase, self.heartbeat.verdict()) {
            self.die(now, reason);
        }
    }

    pub(super) fn handle_limits(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Open) {
            return;
        }
        let read = self.heartbeat.last_would_block();
        let timers = self.optional_timers();
        match timers.map_or(Due::Nothing, |timers| timers.due(now, read)) {
            Due::Nothing => {}
            Due::MessageTime => self.fail_limit(now, LimitExceeded::MessageTime),
            Due::Idle => self.end(now, Cause::IdleTimeout, CloseCode::GOING_AWAY, "idle"),
            Due::MaxAge => self.end(now, Cause::MaxAge, CloseCode::GOING_AWAY, "maximum age"),
        }
    }

    /// Idle connections hold no heap.
    fn release_quiet(&mut self, now: Instant) {
        let snapshot = self.heartbeat.snapshot(now);
        if snapshot.since_sent >= QUIET {
            self.release_outgoing(true);
        }
        if snapshot.since_received >= QUIET {
            self.release_incoming(true);
        }
    }
}
