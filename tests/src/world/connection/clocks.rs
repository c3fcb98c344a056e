//! The clocks of rule 12 as the truth keeps them, and what they may do.
//!
//! Each clock counts awake time, as [`Watch`](crate::world::oracle::Watch) does for the heartbeat:
//! the time that passed, less every lateness (rule 6). A clock that ends a connection must have
//! run for its whole length, must not end it while anything of the peer waits in the socket, and
//! must end it when it has run for its length and a half.

use std::time::Duration;

use wspulse_core::heartbeat::DeadReason;
use wspulse_core::{Cause, Closed, Instant, LimitExceeded, Role, State};

use crate::world::oracle::{Oracle, Violation, span};
use crate::world::search::Tick;

/// How long each clock is, in ticks.
#[derive(Clone, Copy, Debug)]
pub struct Lengths {
    /// The opening handshake.
    pub opening: Tick,
    /// The closing handshake.
    pub closing: Tick,
    /// The Close of a dead peer.
    pub linger: Tick,
    /// A message that comes in.
    pub message: Option<Tick>,
    /// No message in either direction.
    pub idle: Option<Tick>,
    /// The age of the connection; up to a tenth earlier.
    pub age: Option<Tick>,
}

/// A moment, and how much lateness there had been before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Stamp {
    at: Instant,
    late: Duration,
}

/// How long a clock has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Run {
    awake: Duration,
    late: Duration,
}

/// What is true of the connection's surroundings at a call.
#[derive(Clone, Copy, Debug)]
pub struct Around {
    /// Bytes of the peer, or its end, wait in the socket.
    pub has_unread: bool,
    /// An event waits for the application.
    pub has_event: bool,
    /// The transport is full.
    pub is_blocked: bool,
    /// A read was not made, or not reported, since the last byte.
    pub has_missed: bool,
}

/// What was agreed on beforehand.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Which end this is.
    pub role: Role,
    /// How long each clock is.
    pub lengths: Lengths,
    /// The write stall of the policy in force, or the shortest since output was left.
    pub write_stall: Duration,
    /// `set_heartbeat` was the first call after the last pause.
    pub set_first: bool,
    /// The peer broke RFC 6455 or a limit, and was told so.
    pub has_failed: bool,
}

/// All clocks but the heartbeat's.
#[derive(Clone, Debug, Hash)]
pub struct Clocks {
    late: Duration,
    state: State,
    state_began: Stamp,
    opened: Option<Stamp>,
    message: Option<Stamp>,
    used: Stamp,
    /// The last byte that a blocked transport took, or the moment at which it blocked.
    progress: Option<Stamp>,
    /// The last attempt since then that took nothing.
    attempt: Option<Stamp>,
    /// The transport was full when the connection stopped being open, or since.
    was_blocked: bool,
    close_taken: Option<Instant>,
    close_read: bool,
    end_read: bool,
}

impl Clocks {
    /// Begins at tick 0.
    #[must_use]
    pub fn new(state: State) -> Self {
        let start = Stamp {
            at: Instant::ZERO,
            late: Duration::ZERO,
        };
        Self {
            late: Duration::ZERO,
            state,
            state_began: start,
            opened: (state == State::Open).then_some(start),
            message: None,
            used: start,
            progress: None,
            attempt: None,
            was_blocked: false,
            close_taken: None,
            close_read: false,
            end_read: false,
        }
    }

    /// A call is this late.
    pub fn late(&mut self, late: Duration) {
        self.late += late;
    }

    /// All lateness so far.
    #[must_use]
    pub const fn lateness(&self) -> Duration {
        self.late
    }

    /// The state before the next call.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Bytes of a message were read, or taken by the transport.
    pub fn used(&mut self, now: Instant) {
        self.used = self.stamp(now);
    }

    /// A message is under way from the peer, or is not any more.
    pub fn message(&mut self, now: Instant, is_under_way: bool) {
        self.message = is_under_way.then(|| self.message.unwrap_or(self.stamp(now)));
    }

    /// Whether a message of the peer is under way.
    #[must_use]
    pub const fn has_message(&self) -> bool {
        self.message.is_some()
    }

    /// A write attempt was reported: it took `taken` bytes, and left some if `is_blocked`.
    pub fn wrote(&mut self, now: Instant, taken: usize, is_blocked: bool) {
        let stamp = self.stamp(now);
        self.was_blocked |= is_blocked;
        if !is_blocked {
            self.progress = None;
            self.attempt = None;
        } else if taken > 0 {
            self.progress = Some(stamp);
            self.attempt = None;
        } else {
            self.progress = self.progress.or(Some(stamp));
            self.attempt = Some(stamp);
        }
    }

    /// Our Close frame was taken whole.
    pub fn close_taken(&mut self, now: Instant) {
        self.close_taken = self.close_taken.or(Some(now));
    }

    /// The peer's Close frame was read.
    pub const fn close_read(&mut self) {
        self.close_read = true;
    }

    /// The end of the peer's stream was read.
    pub const fn end_read(&mut self) {
        self.end_read = true;
    }

    /// The connection is in another state after a call; `closed` says why, or would.
    ///
    /// # Errors
    /// A clock that did this and must not have, or an end that is not as rule 11 says.
    pub fn moved(
        &mut self,
        now: Instant,
        state: State,
        closed: Option<&Closed>,
        around: Around,
        terms: Terms,
    ) -> Result<(), Violation> {
        let from = std::mem::replace(&mut self.state, state);
        if let Some(closed) = closed {
            if from == State::Open {
                self.may_end(now, &closed.cause, around, terms)?;
            }
            if state == State::Closed {
                self.may_be_over(now, from, closed, around, terms)?;
            }
        }
        if from == State::Open {
            self.was_blocked = around.is_blocked;
        }
        if state == State::Open {
            self.opened = Some(self.stamp(now));
            self.used(now);
        }
        self.message = None;
        self.state_began = self.stamp(now);
        Ok(())
    }

    /// An open connection begins to end.
    fn may_end(
        &self,
        now: Instant,
        cause: &Cause,
        around: Around,
        terms: Terms,
    ) -> Result<(), Violation> {
        let lengths = terms.lengths;
        match cause {
            Cause::Limit(LimitExceeded::MessageTime) => {
                let length = span(lengths.message.unwrap_or_default());
                self.ran_out(MESSAGE, self.message, now, length, around)
            }
            Cause::IdleTimeout if around.has_event => {
                Err(early("an idle timeout while an event waits"))
            }
            Cause::IdleTimeout => {
                let length = span(lengths.idle.unwrap_or_default());
                self.ran_out(IDLE, Some(self.used), now, length, around)
            }
            Cause::MaxAge => {
                let tenths = span(lengths.age.unwrap_or_default() * 9) / 10;
                let opened = self.opened.map_or(Duration::ZERO, |opened| {
                    now.saturating_duration_since(opened.at)
                });
                if opened < tenths {
                    return Err(early("a maximum age before nine tenths of it"));
                }
                Ok(())
            }
            Cause::Dead(DeadReason::WriteStalled) => {
                let stalled = self.progress.map(|since| self.run(since, now));
                let tried = match (self.progress, self.attempt) {
                    (Some(since), Some(last)) => self.between(since, last),
                    _ => Duration::ZERO,
                };
                let stall = terms.write_stall;
                match stalled {
                    Some(run) if run.awake >= stall && tried >= stall => Ok(()),
                    Some(run) if run.awake >= stall => Err(early(
                        "a stalled write without an attempt that took nothing",
                    )),
                    Some(run) if !run.late.is_zero() && terms.set_first => Err(early(
                        "a stalled write in the time of our own pause, set_heartbeat first",
                    )),
                    Some(run) if !run.late.is_zero() => {
                        Err(early("a stalled write in the time of our own pause"))
                    }
                    _ => Err(early("a stalled write too early")),
                }
            }
            _ => Ok(()),
        }
    }

    /// A connection is over.
    fn may_be_over(
        &self,
        now: Instant,
        from: State,
        closed: &Closed,
        around: Around,
        terms: Terms,
    ) -> Result<(), Violation> {
        let lengths = terms.lengths;
        let since = Some(self.state_began);
        let closing = self.run(self.state_began, now).awake;
        let was_closing = from == State::Closing;
        let is_due = was_closing && closing >= span(lengths.closing);
        match &closed.cause {
            // An owner that cannot read must not wait for ever: half as long again is enough.
            Cause::HandshakeTimeout if from == State::Connecting => {
                let has_unread = around.has_unread && closing < half_more(lengths.opening);
                let around = Around {
                    has_unread,
                    ..around
                };
                self.ran_out(OPENING, since, now, span(lengths.opening), around)
            }
            Cause::CloseTimeout => {
                let has_unread = around.has_unread && closing < half_more(lengths.closing);
                let around = Around {
                    has_unread,
                    ..around
                };
                self.ran_out(CLOSING, since, now, span(lengths.closing), around)
            }
            Cause::Dead(_) => {
                let took_all = !self.was_blocked && !around.is_blocked;
                if took_all && self.close_taken.is_none() {
                    return Err(ending("a dead peer was sent no Close"));
                }
                if self.close_taken.is_some_and(|at| at < now) && !self.end_read {
                    return Err(ending(
                        "a dead peer was waited for after its Close was taken",
                    ));
                }
                if was_closing && closing > span(lengths.linger + 1) {
                    return Err(ending("a dead peer had longer than the linger"));
                }
                Ok(())
            }
            Cause::Normal if terms.role == Role::Client && !self.end_read && !is_due => {
                Err(ending("the client closed TCP first"))
            }
            Cause::Protocol(_) | Cause::Limit(_) if !self.end_read && !is_due => {
                Err(ending("a Close that we sent was not waited for"))
            }
            _ => Ok(()),
        }
    }

    /// A clock ended something: it must have run for its length, and nothing of the peer waits.
    fn ran_out(
        &self,
        names: Names,
        since: Option<Stamp>,
        now: Instant,
        length: Duration,
        around: Around,
    ) -> Result<(), Violation> {
        let [too_early, in_our_pause, unread, ..] = names;
        let Some(run) = since.map(|since| self.run(since, now)) else {
            return Err(early(too_early));
        };
        if run.awake < length {
            return Err(early(if run.late.is_zero() {
                too_early
            } else {
                in_our_pause
            }));
        }
        if around.has_unread {
            return Err(early(unread));
        }
        Ok(())
    }

    /// A tick is over in which the host was not away, and reported its reads if it made any.
    ///
    /// # Errors
    /// A clock that has run out and did not end anything, or an end that goes on too long.
    pub fn tick_over(
        &self,
        now: Instant,
        around: Around,
        terms: Terms,
        wants_shutdown: bool,
    ) -> Result<(), Violation> {
        let lengths = terms.lengths;
        let state = self.run(self.state_began, now);
        match self.state {
            State::Connecting if state.awake > half_more(lengths.opening) => {
                Err(beyond(OPENING, state))
            }
            State::Open => {
                let beyond_of = |since: Option<Stamp>, length: Option<Duration>| {
                    let run = self.run(since?, now);
                    (run.awake > length?).then_some(run)
                };
                if let Some(run) = beyond_of(self.message, lengths.message.map(half_more)) {
                    return Err(if around.has_missed {
                        late("a message goes on beyond its timeout, a read was not reported")
                    } else {
                        beyond(MESSAGE, run)
                    });
                }
                let idle = lengths.idle.map(|ticks| {
                    let is_prompt = self.run(self.used, now).late.is_zero();
                    if is_prompt && !around.has_missed {
                        // A prompt host was woken in the tick in which it ran out.
                        span(ticks) - Duration::from_nanos(1)
                    } else {
                        half_more(ticks)
                    }
                });
                if let Some(run) = beyond_of(Some(self.used), idle)
                    && !around.has_event
                {
                    return Err(beyond(IDLE, run));
                }
                let age = lengths.age.map(|ticks| span(ticks + 1));
                if beyond_of(self.opened, age).is_some() {
                    return Err(late("a connection beyond its maximum age"));
                }
                Ok(())
            }
            State::Closing => {
                if state.awake > half_more(lengths.closing) {
                    return Err(beyond(CLOSING, state));
                }
                let is_done = self.close_taken.is_some() && self.close_read;
                if terms.role == Role::Server && is_done && !terms.has_failed {
                    return Err(ending("the server waits for the client to close TCP"));
                }
                let is_said = self.close_taken.is_some() && !self.end_read;
                if terms.has_failed && is_said && !wants_shutdown {
                    return Err(ending("nobody is told to half-close after a failure"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn stamp(&self, now: Instant) -> Stamp {
        Stamp {
            at: now,
            late: self.late,
        }
    }

    fn run(&self, since: Stamp, now: Instant) -> Run {
        let late = self.late - since.late;
        Run {
            awake: now.saturating_duration_since(since.at).saturating_sub(late),
            late,
        }
    }

    /// Awake time from one moment to a later one.
    fn between(&self, since: Stamp, until: Stamp) -> Duration {
        let late = until.late - since.late;
        let time = until.at.saturating_duration_since(since.at);
        time.saturating_sub(late)
    }
}

fn half_more(ticks: Tick) -> Duration {
    span(ticks) + span(ticks) / 2
}

/// Of one clock: too early, in our own pause, with bytes unread, not at all, and not at all after
/// a pause.
type Names = [&'static str; 5];

const OPENING: Names = [
    "the opening handshake timed out too early",
    "the opening handshake timed out in the time of our own pause",
    "the opening handshake timed out while bytes of the peer were unread",
    "the opening handshake goes on beyond its timeout",
    "the opening handshake goes on beyond its timeout, after a pause",
];
const CLOSING: Names = [
    "the closing handshake timed out too early",
    "the closing handshake timed out in the time of our own pause",
    "the closing handshake timed out while bytes of the peer were unread",
    "the closing handshake goes on beyond its timeout",
    "the closing handshake goes on beyond its timeout, after a pause",
];
const MESSAGE: Names = [
    "a message timed out too early",
    "a message timed out in the time of our own pause",
    "a message timed out while bytes of the peer were unread",
    "a message goes on beyond its timeout",
    "a message goes on beyond its timeout, after a pause",
];
const IDLE: Names = [
    "an idle timeout too early",
    "an idle timeout in the time of our own pause",
    "an idle timeout while bytes of the peer were unread",
    "a connection idle beyond its timeout",
    "a connection idle beyond its timeout, after a pause",
];

const fn early(class: &'static str) -> Violation {
    Violation::new(Oracle::LivePeerDied, class)
}

const fn beyond(names: Names, run: Run) -> Violation {
    let [_, _, _, promptly, after_a_pause] = names;
    late(if run.late.is_zero() {
        promptly
    } else {
        after_a_pause
    })
}

const fn late(class: &'static str) -> Violation {
    Violation::new(Oracle::NotFound, class)
}

const fn ending(class: &'static str) -> Violation {
    Violation::new(Oracle::Ending, class)
}
