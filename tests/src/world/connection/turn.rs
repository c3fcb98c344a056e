//! One tick: what arrives, then a drive, with every call watched.

use bytes::Bytes;
use wspulse_core::handshake::{Accept, HandshakeLimits, ServerHandshake};
use wspulse_core::{CloseCode, Connection, Event, Role, State as Phase};

use super::clocks::Around;
use super::judging::mark_of;
use super::peer::Say;
use super::{Action, Call, Drive, Env, First, Host, Network, Setup, State, Take, TextHeartbeat};
use crate::world::oracle::{Facts, Oracle, Violation, at};
use crate::world::search::{Tick, Trace};

impl State {
    /// Whether a host that sleeps is woken at `now`.
    pub(super) fn wakes(&self, now: Tick, env: Env) -> bool {
        let connection = &self.connection.0;
        let is_due = connection.poll_timeout().is_some_and(|due| due <= at(now));
        let arrives = env != Env::Nothing || self.peer.is_flying() || self.peer.is_readable();
        let is_readable = connection.wants_read() && arrives && !self.end_told;
        let is_writable = connection.wants_write() && (!self.is_full || env == Env::Drains);
        let is_told = connection.has_event() && !self.is_holding;
        self.away || is_due || is_readable || is_writable || is_told
    }

    /// Whether the application can make this call.
    pub(super) fn can(&self, call: Call) -> bool {
        let is_open = self.clocks.state() == Phase::Open;
        match call {
            Call::Send | Call::SendLong | Call::SendPart => is_open && !self.is_inside_parts,
            Call::SendLast => is_open && self.is_inside_parts,
            Call::Close => matches!(self.clocks.state(), Phase::Open | Phase::Connecting),
            Call::Set(policy) => policy != self.policy,
            Call::Resumed => self.away,
        }
    }

    pub(super) fn tick(
        &mut self,
        setup: &Setup,
        now: Tick,
        action: Action,
        trace: &mut Trace,
    ) -> Result<(), Violation> {
        let has_network = action.host != Host::Away(Network::Freezes);
        self.peer.tick(now, has_network);
        match action.env {
            Env::Nothing => {}
            Env::Say(say) => {
                trace.note(|| format!("peer: {say:?}"));
                self.left.says = self.left.says.saturating_sub(1);
                let head = setup.head(say);
                self.peer.say(say, &head);
                if say == Say::TextPing {
                    self.text_owed_after = Some(self.peer.heard().text_pongs);
                }
            }
            Env::Drains => {
                trace.note(|| "transport has room".into());
                self.is_full = false;
            }
        }
        match action.host {
            Host::Away(network) => {
                trace.note(|| match network {
                    Network::Stays => "away".into(),
                    Network::Freezes => "away without network".into(),
                });
                self.left.away = self.left.away.saturating_sub(1);
                if !self.away {
                    self.left.pauses = self.left.pauses.saturating_sub(1);
                }
                self.away = true;
                self.awake = 0;
                Ok(())
            }
            Host::Drives(drive) => {
                let calls = matches!(drive.first, First::Call(_));
                let is_woken = calls || self.is_woken(now, drive);
                self.spend(drive);
                if self.clocks.state() == Phase::Open {
                    self.watch.wake();
                }
                let mut driver = Driver {
                    setup,
                    now,
                    trace,
                    is_blocked: false,
                };
                if is_woken {
                    driver.drive(self, drive)?;
                }
                if drive.reports && !drive.holds && !self.is_over {
                    driver.tick_over(self)?;
                }
                self.away = false;
                let facts = self.facts();
                self.awake = self.awake.saturating_add(1).min(ROUND_TRIP_AWAKE);
                if self.clocks.state() != Phase::Open {
                    return Ok(());
                }
                match self.watch.tick_over(at(now), facts) {
                    // The search over a heartbeat judges when pings are due, to the tick.
                    Err(violation) if violation.oracle == Oracle::Ping => Ok(()),
                    judged => judged,
                }
            }
        }
    }

    fn is_woken(&self, now: Tick, drive: Drive) -> bool {
        let connection = &self.connection.0;
        let is_due = connection.poll_timeout().is_some_and(|due| due <= at(now));
        let is_readable = connection.wants_read() && self.peer.is_readable() && !self.end_told;
        let is_writable = connection.wants_write() && !self.is_full;
        let is_told = connection.has_event() && !drive.holds;
        self.away || is_due || is_readable || is_writable || is_told
    }

    fn spend(&mut self, drive: Drive) {
        let spend = |left: &mut u8, is: bool| *left = left.saturating_sub(u8::from(is));
        spend(&mut self.left.calls, matches!(drive.first, First::Call(_)));
        spend(&mut self.left.shorts, drive.take != Take::All);
        spend(&mut self.left.misses, !drive.reports);
        spend(&mut self.left.holds, drive.holds && !self.is_holding);
        self.is_holding = drive.holds;
    }

    /// Whether the peer would answer a ping that it got, and is sent some.
    pub(super) fn peer_lives(&self) -> bool {
        self.peer.is_alive() && self.peer.can(Say::Ping) && self.watch.policy().pings()
    }

    /// Whether anything happened since the last byte that a rule speaks of: a call was late, a
    /// read was not reported, the transport was full.
    #[must_use]
    pub(super) fn is_disturbed(&self) -> bool {
        self.clocks.lateness() > self.late_at_life || self.has_missed || self.was_full > 0
    }

    pub(super) fn facts(&self) -> Facts {
        Facts {
            peer_lives: self.peer_lives(),
            has_output: self.connection.0.wants_write(),
            has_backlog: self.is_full,
        }
    }

    pub(super) fn around(&self) -> Around {
        Around {
            has_unread: self.peer.is_readable() && !self.end_told,
            has_event: self.had_event,
            is_blocked: self.is_full,
            has_missed: self.has_missed,
        }
    }
}

/// A drive in progress.
pub(super) struct Driver<'a> {
    pub(super) setup: &'a Setup,
    pub(super) now: Tick,
    pub(super) trace: &'a mut Trace,
    /// A write was reported as short: no other is tried in this drive.
    is_blocked: bool,
}

impl Driver<'_> {
    fn drive(&mut self, state: &mut State, drive: Drive) -> Result<(), Violation> {
        match drive.first {
            First::Read => {}
            First::Write => self.write(state, drive.take)?,
            First::Timeout => self.timeout(state)?,
            First::Call(call) => self.call(state, call)?,
        }
        let mut take = match drive.first {
            First::Write => Take::All,
            _ => drive.take,
        };
        for round in 0.. {
            if round == ROUNDS {
                return Err(Violation::new(Oracle::DueAgain, "a drive without end"));
            }
            let before = self.progress(state);
            self.read(state, drive)?;
            if state.is_due(self.now) {
                self.timeout(state)?;
            }
            self.write(state, take)?;
            take = Take::All;
            self.events(state, drive.holds)?;
            if self.progress(state) == before {
                break;
            }
        }
        self.driven(state)
    }

    fn progress(&self, state: &State) -> (usize, usize, Phase, [bool; 4]) {
        let connection = &state.connection.0;
        (
            state.peer.unread().len(),
            connection.buffered_amount(),
            connection.state(),
            [
                connection.wants_write(),
                connection.wants_read(),
                connection.has_event(),
                state.end_told,
            ],
        )
    }

    fn read(&mut self, state: &mut State, drive: Drive) -> Result<(), Violation> {
        while state.connection.0.wants_read() {
            if !state.peer.unread().is_empty() {
                self.input(state)?;
                self.events(state, drive.holds)?;
            } else if state.peer.is_at_end() && !state.end_told {
                self.begin(state, First::Read);
                self.trace.note(|| "end of stream".into());
                state.end_told = true;
                state.clocks.end_read();
                state.connection.call(|it| it.handle_eof(at(self.now)));
                self.after(state)?;
                return Ok(());
            } else if drive.reports {
                self.begin(state, First::Read);
                state.watch.look();
                let now = at(self.now);
                state.connection.call(|it| it.handle_would_block(now));
                return self.after(state);
            } else {
                self.trace.note(|| "nothing to read, not reported".into());
                state.watch.no_look();
                state.has_missed = true;
                return Ok(());
            }
        }
        if state.clocks.state() == Phase::Open {
            state.watch.no_look();
            state.has_missed = true;
        }
        Ok(())
    }

    fn input(&mut self, state: &mut State) -> Result<(), Violation> {
        self.begin(state, First::Read);
        let now = at(self.now);
        let was_open = state.clocks.state() == Phase::Open;
        let taken = state.connection.input(now, state.peer.unread());
        self.trace.note(|| format!("read {taken}"));
        let kinds = state.peer.read(taken);
        if taken > 0 && was_open {
            state.has_missed = false;
            if !state.is_full {
                state.was_full = state.was_full.saturating_sub(1);
            }
            state.was_changed = false;
            state.late_at_life = state.clocks.lateness();
            state.watch.look();
            let facts = state.facts();
            state.watch.life(now, facts);
        }
        if kinds.message {
            state.clocks.used(now);
        }
        if kinds.close {
            state.clocks.close_read();
        }
        if state.peer.unread().is_empty() {
            let is_under_way = was_open && state.peer.is_inside_message();
            state.clocks.message(now, is_under_way);
        }
        self.after(state)
    }

    fn timeout(&mut self, state: &mut State) -> Result<(), Violation> {
        self.begin(state, First::Timeout);
        self.trace.note(|| "timeout".into());
        let now = at(self.now);
        state.connection.call(|it| it.handle_timeout(now));
        let deadline = state.connection.0.poll_timeout();
        state.watch.timed_out(at(self.now), deadline)?;
        self.after(state)
    }

    fn write(&mut self, state: &mut State, take: Take) -> Result<(), Violation> {
        let mut take = take;
        while !self.is_blocked {
            if !state.connection.call(|it| it.poll_transmit().is_some()) {
                return self.after(state);
            }
            let transmit = state.connection.0.poll_transmit().expect("as before");
            let chunks: Vec<usize> = transmit.chunks().map(<[u8]>::len).collect();
            let bytes: Vec<u8> = transmit.chunks().flatten().copied().collect();
            let taken = match take {
                _ if state.is_full => 0,
                Take::All => bytes.len(),
                Take::Nothing => 0,
                Take::One => 1,
                Take::Chunk => chunks[0],
                Take::ButLast => bytes.len() - 1,
            };
            // Making a frame can bring out a ping.
            self.note_pings(state)?;
            self.begin(state, First::Write);
            let is_blocked = taken < bytes.len();
            self.trace
                .note(|| format!("{taken} of {chunks:?} bytes taken"));
            self.is_blocked = is_blocked;
            state.is_full = is_blocked;
            if is_blocked {
                state.was_full = FORGETS_FULL;
            }
            self.took(state, &bytes[..taken], is_blocked)?;
            let now = at(self.now);
            state
                .connection
                .call(|it| it.handle_transmitted(now, taken));
            self.after(state)?;
            take = Take::All;
        }
        Ok(())
    }

    /// The transport took these bytes, which the peer has from now on.
    fn took(&mut self, state: &mut State, bytes: &[u8], is_blocked: bool) -> Result<(), Violation> {
        let now = at(self.now);
        state.clocks.wrote(now, bytes.len(), is_blocked);
        let before = state.peer.heard();
        let was_inside = state.peer.hears_half_a_message();
        state
            .peer
            .hear(self.now, bytes)
            .map_err(|_| Violation::new(Oracle::Traffic, "output that RFC 6455 forbids"))?;
        let heard = state.peer.heard();
        if !bytes.is_empty() {
            state.watch.sent(now);
            if state.messages_sent > before.messages || state.is_sending_part {
                state.clocks.used(now);
            }
            state.is_sending_part &= is_blocked;
        }
        let pings = heard.pings + heard.text_pings;
        if pings > before.pings + before.text_pings {
            self.trace.note(|| "ping sent".into());
            state.watch.ping_sent(now, pings);
        }
        let asks = self.setup.text_heartbeat == Some(TextHeartbeat::Asks);
        if asks && heard.pings > before.pings && !was_inside {
            let class = "a ping frame where the application's heartbeat asks";
            return Err(Violation::new(Oracle::Traffic, class));
        }
        if heard.close.is_some() && before.close.is_none() {
            self.trace.note(|| format!("Close {:?} sent", heard.close));
            state.clocks.close_taken(now);
        }
        Ok(())
    }

    fn call(&mut self, state: &mut State, call: Call) -> Result<(), Violation> {
        let now = at(self.now);
        self.trace.note(|| format!("{call:?}"));
        let is_timed = matches!(call, Call::Close | Call::Set(_) | Call::Resumed);
        if is_timed {
            self.begin(state, First::Call(call));
        }
        let connection = &mut state.connection;
        match call {
            Call::Send => {
                let _ = connection.call(|it| it.send(Bytes::from_static(b"short")));
                state.messages_sent += 1;
            }
            Call::SendLong => {
                let _ = connection.call(|it| it.send(Bytes::from_static(&[7; 4_200])));
                state.messages_sent += 1;
            }
            Call::SendPart => {
                let _ = connection.call(|it| it.send_part(Bytes::from_static(b"first"), false));
                state.is_inside_parts = true;
                state.is_sending_part = true;
            }
            Call::SendLast => {
                let _ = connection.call(|it| it.send_part(Bytes::from_static(b"last"), true));
                state.is_inside_parts = false;
                state.is_sending_part = true;
                state.messages_sent += 1;
            }
            Call::Close => {
                let closed = connection.call(|it| it.close(now, CloseCode::NORMAL, ""));
                closed.expect("a legal Close");
            }
            Call::Set(number) => {
                let policy = self.setup.policies[usize::from(number)];
                state.policy = number;
                state.was_changed = true;
                state.watch.changed(policy);
                let set = connection.call(|it| it.set_heartbeat(now, policy.config()));
                set.expect("a legal policy");
                if !policy.pings() {
                    // The lateness may have made one, which the change took back.
                    state.pings_made = connection.0.snapshot(now).heartbeat.pings;
                }
            }
            Call::Resumed => {
                state.watch.resumed();
                connection.call(|it| it.handle_resumed(now));
            }
        }
        self.after(state)
    }

    fn events(&mut self, state: &mut State, holds: bool) -> Result<(), Violation> {
        if holds {
            if state.connection.0.has_event() {
                self.trace.note(|| "an event waits".into());
            }
            return Ok(());
        }
        while let Some(event) = state.connection.call(Connection::poll_event) {
            match &event {
                Event::Request(_) => {
                    self.trace.note(|| "accepts".into());
                    self.begin(state, First::Read);
                    let accept = Accept::new();
                    let now = at(self.now);
                    let accepted = state.connection.call(|it| it.accept(now, &accept));
                    // A request that waited for too long was answered already.
                    if accepted.is_err() && state.clocks.state() == Phase::Connecting {
                        let class = "a request that waits cannot be accepted";
                        return Err(Violation::new(Oracle::Traffic, class));
                    }
                    self.after(state)?;
                }
                Event::Text(text) => self.text(text)?,
                Event::Closed(closed) => {
                    self.trace.note(|| format!("Closed: {}", closed.cause));
                    self.trace.mark(mark_of(&closed.cause));
                    state.is_over = true;
                }
                Event::Suspect => self.trace.note(|| "Suspect".into()),
                Event::Recovered => self.trace.note(|| "Recovered".into()),
                Event::NotRead => {
                    self.trace.note(|| "NotRead".into());
                    self.trace.mark("not read");
                }
                Event::Binary(_) => self.trace.note(|| "Binary".into()),
                event => self
                    .trace
                    .note(|| format!("{event:?}").chars().take(40).collect()),
            }
            state.connection.call(|_| drop(event));
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), Violation> {
        self.trace.note(|| format!("Text {text:?}"));
        let hidden = match self.setup.text_heartbeat {
            Some(TextHeartbeat::Asks) => "pong",
            Some(TextHeartbeat::Answers) => "ping",
            None => return Ok(()),
        };
        if text == hidden {
            let class = "the application learns of its heartbeat's messages";
            return Err(Violation::new(Oracle::Traffic, class));
        }
        Ok(())
    }

    /// A call with this time is about to be made.
    fn begin(&mut self, state: &mut State, first: First) {
        let connection = &state.connection.0;
        state.had_event = state.clocks.state() == Phase::Open && !connection.wants_read();
        let armed = connection.poll_timeout();
        let late = state.watch.call(at(self.now), armed);
        if !late.is_zero() {
            state.first = first;
            self.trace.note(|| format!("late by {late:?}"));
        }
        state.clocks.late(late);
    }
}

impl State {
    fn is_due(&self, now: Tick) -> bool {
        let deadline = self.connection.0.poll_timeout();
        deadline.is_some_and(|due| due <= at(now))
    }
}

impl Setup {
    /// The opening handshake of the peer.
    fn head(&self, say: Say) -> Vec<u8> {
        match self.role {
            _ if !matches!(say, Say::Head | Say::HalfHead) => Vec::new(),
            Role::Server => REQUEST.to_vec(),
            Role::Client => {
                let mut client = self.connection(self.config());
                let request = client.poll_transmit().expect("a request");
                let mut server = ServerHandshake::new(HandshakeLimits::default());
                server.handle_input(request.first());
                let accepted = server.accept(&Accept::new());
                accepted.expect("a request waits")
            }
        }
    }
}

/// For how many ticks a host is awake at least before it goes away without its network: what was
/// under way comes again within them.
pub(super) const ROUND_TRIP_AWAKE: u8 = 2;

/// After so many reads a full transport is forgotten.
const FORGETS_FULL: u8 = 3;

/// More rounds than a drive can need.
const ROUNDS: usize = 32;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
