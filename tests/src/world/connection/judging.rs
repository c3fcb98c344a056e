//! What is judged after each call, and when a drive is over.

use wspulse_core::heartbeat::{DeadReason, Mode};
use wspulse_core::{Cause, Closed, Connection, Event, Instant, State as Phase};

use super::clocks::Terms;
use super::turn::Driver;
use super::{Call, First, State, TextHeartbeat};
use crate::world::oracle::{Death, Facts, Oracle, Violation, Watch, at, span};

impl Driver<'_> {
    /// A call was made.
    pub(super) fn after(&mut self, state: &mut State) -> Result<(), Violation> {
        let now = at(self.now);
        let phase = state.connection.0.state();
        let was = state.clocks.state();
        if was == Phase::Open && phase == Phase::Open {
            self.note_pings(state)?;
            let heartbeat = state.connection.0.snapshot(now).heartbeat;
            if heartbeat.not_read {
                // The event may wait, as others do.
                state.watch.not_read();
            }
            let is_suspect = heartbeat.suspect;
            if is_suspect != state.watch.is_suspect() {
                if is_suspect {
                    self.trace.mark("suspicion");
                    state.watch.suspect(now);
                } else {
                    self.trace.mark("recovery");
                    state.watch.recovered()?;
                }
            }
        }
        if phase != was {
            self.moved(state, was, phase)?;
        }
        Ok(())
    }

    pub(super) fn note_pings(&mut self, state: &mut State) -> Result<(), Violation> {
        if state.clocks.state() != Phase::Open {
            return Ok(());
        }
        let made = state.connection.0.snapshot(at(self.now)).heartbeat.pings;
        if made > state.pings_made {
            state.pings_made = made;
            self.trace.mark("ping");
            if self.setup.jitter.is_none() {
                state.watch.ping(at(self.now))?;
            } else {
                self.spread(state)?;
            }
        }
        Ok(())
    }

    /// Rule 13: the first ping in the second half of its interval, later ones up to a tenth early.
    fn spread(&mut self, state: &mut State) -> Result<(), Violation> {
        let interval = self.setup.policies[0].interval;
        let gap = self.now - state.last_ping.unwrap_or(0);
        let is_first = state.last_ping.is_none();
        let least = if is_first {
            interval / 2
        } else {
            interval - interval / 10
        };
        state.last_ping = Some(self.now);
        if gap < least || gap > interval {
            let class = "a ping outside the span from which it is drawn";
            return Err(Violation::new(Oracle::Ping, class));
        }
        self.trace
            .mark(match (is_first, 4 * (gap - least) / (interval - least)) {
                (true, 0) => "first ping in the first quarter",
                (true, 1) => "first ping in the second quarter",
                (true, 2) => "first ping in the third quarter",
                (true, _) => "first ping in the last quarter",
                (false, 4..) => "later ping on time",
                (false, _) => "later ping early",
            });
        Ok(())
    }

    fn moved(&mut self, state: &mut State, was: Phase, phase: Phase) -> Result<(), Violation> {
        let now = at(self.now);
        self.trace.note(|| format!("{phase}"));
        let closed = cause_of(&state.connection.0, now);
        if phase == Phase::Open {
            let policy = self.setup.policies[usize::from(state.policy)];
            state.watch = Watch::new(policy);
            state.watch.call(now, None);
            let facts = state.facts();
            state.watch.life(now, facts);
            state.watch.sent(now);
            state.pings_made = 0;
            self.trace.mark("open");
        }
        if let (Phase::Open, Some(closed)) = (was, &closed) {
            if let Cause::Protocol(_) | Cause::Limit(_) = closed.cause {
                state.has_failed = true;
            }
            if closed.cause == Cause::MaxAge
                && self.setup.lengths.age.is_some_and(|ticks| now < at(ticks))
            {
                self.trace.mark("maximum age early");
            }
            if let Cause::Dead(reason) = closed.cause {
                self.died(state, reason)?;
            }
        }
        let terms = self.terms(state);
        let around = state.around();
        state
            .clocks
            .moved(now, phase, closed.as_ref(), around, terms)
    }

    fn died(&mut self, state: &State, reason: DeadReason) -> Result<(), Violation> {
        let (death, lives) = match reason {
            DeadReason::WriteStalled => (Death::WriteStalled, false),
            _ => (Death::Silence, state.peer_lives()),
        };
        self.trace.mark(match death {
            Death::WriteStalled => "write stall",
            Death::Silence => "death",
        });
        if lives && death == Death::Silence {
            return Err(Violation::new(
                Oracle::LivePeerDied,
                match state.first {
                    _ if !state.is_disturbed() && state.was_changed => {
                        "a live peer died of silence when the policy changed"
                    }
                    _ if !state.is_disturbed() => "a live peer died of silence on a prompt host",
                    First::Read => "a live peer died of silence",
                    First::Write => "a live peer died of silence, a write first after our pause",
                    First::Timeout => {
                        "a live peer died of silence, the timeout first after our pause"
                    }
                    First::Call(Call::Set(_)) => {
                        "a live peer died of silence, set_heartbeat first after our pause"
                    }
                    First::Call(_) => {
                        "a live peer died of silence, another call first after our pause"
                    }
                },
            ));
        }
        let facts = Facts {
            peer_lives: lives,
            ..state.facts()
        };
        state.watch.died(at(self.now), death, facts)
    }

    fn terms(&self, state: &State) -> Terms {
        Terms {
            role: self.setup.role,
            lengths: self.setup.lengths,
            write_stall: span(state.watch.policy().write_stall),
            set_first: matches!(state.first, First::Call(Call::Set(_))),
            has_failed: state.has_failed,
        }
    }

    /// The drive is over.
    pub(super) fn driven(&mut self, state: &mut State) -> Result<(), Violation> {
        let now = at(self.now);
        let connection = &state.connection.0;
        if connection.wants_shutdown() && !state.shutdown_told {
            self.trace.note(|| "half-closes".into());
            state.shutdown_told = true;
            state.peer.hear_end(self.now);
        }
        let phase = state.clocks.state();
        let deadline = connection.poll_timeout();
        if deadline.is_some_and(|due| due <= now) {
            return Err(Violation::new(Oracle::DueAgain, "due again after a drive"));
        }
        if state.is_over || phase == Phase::Closed {
            return Ok(());
        }
        self.note_steps(state, deadline);
        if deadline.is_none() && phase != Phase::Open {
            return Err(Violation::new(Oracle::Stuck, "a handshake and no deadline"));
        }
        if phase == Phase::Open {
            let is_off = state.watch.policy().mode == Mode::Off;
            if is_off && connection.snapshot(now).heartbeat.suspect {
                let class = "suspicion stays though nobody watches any more";
                return Err(Violation::new(Oracle::NoWarning, class));
            }
            let facts = state.facts();
            if !self.has_other_clocks() {
                state.watch.driven(now, deadline, facts)?;
            }
            let heard = state.peer.heard();
            let setup_answers = self.setup.text_heartbeat == Some(TextHeartbeat::Answers);
            if setup_answers
                && state.text_owed_after == Some(heard.text_pongs)
                && state.peer.unread().is_empty()
                && !state.peer.is_at_end()
                && !state.is_full
                && !state.is_inside_parts
            {
                let class = "the peer's text heartbeat is not answered";
                return Err(Violation::new(Oracle::Traffic, class));
            }
        }
        state.had_event = phase == Phase::Open && !state.connection.0.wants_read();
        Ok(())
    }

    /// The tick is over, driven or not.
    pub(super) fn tick_over(&self, state: &State) -> Result<(), Violation> {
        let terms = self.terms(state);
        let shutdown = state.shutdown_told;
        let around = state.around();
        state
            .clocks
            .tick_over(at(self.now), around, terms, shutdown)
    }

    /// Rule 6: no clock that can end the connection is armed further ahead than half its length.
    ///
    /// A mark and no violation: the search would go no further anywhere.
    fn note_steps(&mut self, state: &State, deadline: Option<Instant>) {
        let lengths = self.setup.lengths;
        let now = at(self.now);
        let is_off = state.watch.policy().mode == Mode::Off;
        let is_message = state.clocks.has_message();
        let clocks = match state.clocks.state() {
            Phase::Connecting => vec![(NO_STEP[0], Some(lengths.opening))],
            Phase::Closing if !state.has_failed => vec![(NO_STEP[1], Some(lengths.closing))],
            Phase::Open if is_off => vec![
                (NO_STEP[2], lengths.message.filter(|_| is_message)),
                (NO_STEP[3], lengths.idle),
                (
                    NO_STEP[4],
                    state.is_full.then_some(state.watch.policy().write_stall),
                ),
            ],
            _ => Vec::new(),
        };
        for (name, length) in clocks {
            if let (Some(length), Some(deadline)) = (length, deadline)
                && deadline.saturating_duration_since(now) > span(length) / 2
            {
                self.trace.mark(name);
            }
        }
    }

    /// Whether a deadline may be that of another clock than the heartbeat's.
    fn has_other_clocks(&self) -> bool {
        let lengths = self.setup.lengths;
        lengths.message.is_some()
            || lengths.idle.is_some()
            || lengths.age.is_some()
            || self.setup.jitter.is_some()
    }
}

/// How a connection would end if the peer's stream ended now and the transport took everything.
fn cause_of(connection: &Connection, now: Instant) -> Option<Closed> {
    if matches!(connection.state(), Phase::Connecting | Phase::Open) {
        return None;
    }
    let mut copy = connection.fork().expect("nothing is compressed");
    copy.handle_eof(now);
    while let Some(transmit) = copy.poll_transmit() {
        let len = transmit.len();
        copy.handle_transmitted(now, len);
    }
    while let Some(event) = copy.poll_event() {
        if let Event::Closed(closed) = event {
            return Some(*closed);
        }
    }
    None
}

pub(super) fn mark_of(cause: &Cause) -> &'static str {
    match cause {
        Cause::Normal => "closed",
        Cause::Dead(_) => "dead",
        Cause::HandshakeTimeout => "handshake timeout",
        Cause::CloseTimeout => "close timeout",
        Cause::IdleTimeout => "idle timeout",
        Cause::MaxAge => "maximum age",
        Cause::Eof => "end of stream",
        Cause::Limit(_) => "message timeout",
        Cause::Protocol(_) => "protocol error",
        _ => "another end",
    }
}

/// The marks of clocks without steps.
pub const NO_STEP: [&str; 5] = [
    "no step: the opening handshake",
    "no step: the closing handshake",
    "no step: a message",
    "no step: idleness",
    "no step: a stalled write",
];
