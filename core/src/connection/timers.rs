//! Deadlines beyond the heartbeat's (rule 12). Each is computed from facts; received data never
//! moves what is armed, unless the call is late.

use core::time::Duration;

use super::{Connection, Phase, TimeoutReason};
use crate::close::CloseCode;
use crate::config::Config;
use crate::error::{Cause, LimitExceeded};
use crate::heartbeat::{half, step};
use crate::time::Instant;

/// The line is quiet when nothing has passed for this long at the time of a timeout: what a burst
/// of small frames left allocated is freed then.
const QUIET: Duration = Duration::from_secs(1);

/// A clock that ends a connection when it has run for its length, in awake time (rule 6).
#[derive(Clone, Hash)]
pub(super) struct Clock {
    since: Instant,
    length: Duration,
    armed: Instant,
}

impl Clock {
    pub(super) fn start(now: Instant, length: Duration) -> Self {
        let mut clock = Self {
            since: now,
            length,
            armed: Instant::MAX,
        };
        clock.arm(now);
        clock
    }

    pub(super) const fn armed(&self) -> Instant {
        self.armed
    }

    /// It runs out at `latest`, unless it does so before.
    pub(super) fn end_by(&mut self, now: Instant, latest: Instant) {
        let length = latest.saturating_duration_since(self.since);
        self.length = self.length.min(length);
        self.arm(now);
    }

    pub(super) fn shift(&mut self, late: Duration) {
        self.since = self.since.saturating_add(late);
        self.armed = self.armed.saturating_add(late);
    }

    /// Tells whether it has run out: by a read attempt at `looked_at` that found nothing. Without
    /// one, by half of its length more, since an owner that cannot read must not wait for ever.
    pub(super) fn has_run_out(&mut self, now: Instant, looked_at: Option<Instant>) -> bool {
        let deadline = self.since.saturating_add(self.length);
        let last = deadline.saturating_add(half(self.length));
        let is_due = now >= deadline && deadline != Instant::MAX;
        let is_looked_for = |at: Instant| at >= deadline || now >= last;
        let has_run_out = is_due && looked_at.is_none_or(is_looked_for);
        if !has_run_out && now >= self.armed {
            self.arm(now);
        }
        has_run_out
    }

    /// Arms the next step; after the deadline, the last chance of a read attempt.
    fn arm(&mut self, now: Instant) {
        let deadline = self.since.saturating_add(self.length);
        self.armed = if deadline == Instant::MAX {
            Instant::MAX
        } else if deadline > now {
            step(self.since, half(self.length), now).min(deadline)
        } else {
            deadline.saturating_add(half(self.length))
        };
    }
}

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
    /// In the time of the world: an age is nobody's fault.
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

    /// Rule 6. The age goes on.
    fn shift(&mut self, late: Duration) {
        self.armed = self.armed.saturating_add(late);
        self.last_message = self.last_message.saturating_add(late);
        self.message_began = self.message_began.map(|began| began.saturating_add(late));
    }

    /// Arms the earliest deadline or step after `now`. What is due waits for a read attempt, and is
    /// looked at again after half its length.
    fn arm(&mut self, now: Instant) {
        let next = |since: Instant, length: Duration| match since.saturating_add(length) {
            Instant::MAX => Instant::MAX,
            deadline if deadline > now => step(since, half(length), now).min(deadline),
            _ => now.saturating_add(half(length)),
        };
        // A message that begins moves nothing: a step from now on finds it in time.
        let message = next(self.message_began.unwrap_or(now), self.message_timeout);
        let idle = next(self.last_message, self.idle_timeout);
        let age = Some(self.too_old).filter(|at| *at > now);
        self.armed = message.min(idle).min(age.unwrap_or(Instant::MAX));
    }

    /// Tells what is due. A peer is too late, or idle, only if a read attempt found nothing, the last
    /// one at `read` (rule 6: what we have not read is not held against it). While an event waits no
    /// attempt says so.
    fn due(&mut self, now: Instant, read: Instant) -> Due {
        if now >= self.armed {
            self.arm(now);
        }
        let is_due = |deadline: Instant, at: Instant| deadline <= at && deadline != Instant::MAX;
        if is_due(self.message_deadline(), read) {
            Due::MessageTime
        } else if is_due(self.too_old, now) {
            Due::MaxAge
        } else if is_due(self.idle_deadline(), read) {
            Due::Idle
        } else {
            Due::Nothing
        }
    }
}

impl Connection {
    /// Notes the time of a call, before anything else is done: the one place in which the pauses of
    /// this side are seen (rule 6). The armed deadline is the earliest of all clocks, and all clocks
    /// move.
    #[inline]
    pub(super) fn observe(&mut self, now: Instant) -> Instant {
        let seen = self.heartbeat.latest_now();
        if now <= seen {
            return seen;
        }
        let armed = self.next_deadline().unwrap_or(Instant::MAX);
        let late = now.saturating_duration_since(armed.max(seen));
        if !late.is_zero() {
            self.shift_clocks(late);
        }
        self.heartbeat.observe_until(now, armed)
    }

    #[cold]
    fn shift_clocks(&mut self, late: Duration) {
        match &mut self.phase {
            Phase::Opening(opening) => opening.clock.shift(late),
            Phase::Ending(ending) => ending.clock.shift(late),
            Phase::Open => {
                if let Some(timers) = self.optional_timers() {
                    timers.shift(late);
                }
            }
            Phase::Over(_) => {}
        }
    }

    pub(super) fn optional_timers(&mut self) -> Option<&mut OptionalTimers> {
        self.extras.as_mut()?.timers.as_mut()
    }

    /// The earliest deadline.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let deadline = match &self.phase {
            Phase::Opening(opening) => opening.clock.armed(),
            Phase::Ending(ending) => ending.clock.armed(),
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

    /// Turns the heartbeat's verdict into the connection's end; and rule 19: nobody reads, and the
    /// configuration does not let that go on.
    pub(super) fn handle_verdict(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Open) {
            return;
        }
        if let Some(reason) = self.heartbeat.verdict() {
            self.die(now, reason);
        } else if self.heartbeat.is_unread_for_too_long() {
            self.end(now, Cause::Unread, CloseCode::GOING_AWAY, "unread");
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
