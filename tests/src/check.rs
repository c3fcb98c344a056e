//! A connection under watch: the rules that hold after every call, whatever the call was.

use std::time::Duration;

use wspulse_core::{Closed, Connection, Event, Instant, Role, State};

use crate::wire::{Frame, Wire, opcode};

/// Wraps a [`Connection`] and checks each call.
#[derive(Debug)]
pub struct Checked {
    connection: Connection,
    role: Role,
    wire: Wire,
    /// What was lent and not taken; it must be lent again.
    owed: Vec<u8>,
    /// Control frames that left, with the time.
    control: Vec<(Instant, Frame)>,
    pings: Vec<Instant>,
    heard_since_ping: bool,
    pauses_at_ping: u16,
    last_input: Instant,
    suspected: Option<Instant>,
    suspicions: u32,
    closed: Option<(Instant, Box<Closed>)>,
    bytes_out: u64,
}

impl Checked {
    /// Watches a connection that begins with its handshake.
    #[must_use]
    pub fn new(connection: Connection, now: Instant) -> Self {
        let role = connection.role();
        Self::with_wire(connection, Wire::after_head(role), now)
    }

    /// Watches a connection that is open from the start.
    #[must_use]
    pub fn open(connection: Connection, now: Instant) -> Self {
        let role = connection.role();
        Self::with_wire(connection, Wire::frames(role), now)
    }

    fn with_wire(connection: Connection, wire: Wire, now: Instant) -> Self {
        Self {
            role: connection.role(),
            connection,
            wire,
            owed: Vec::new(),
            control: Vec::new(),
            pings: Vec::new(),
            heard_since_ping: true,
            pauses_at_ping: 0,
            last_input: now,
            suspected: None,
            suspicions: 0,
            closed: None,
            bytes_out: 0,
        }
    }

    // ---- looks

    /// Returns the connection for calls that need no check.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Returns the role.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Returns when automatic pings left.
    #[must_use]
    pub fn pings(&self) -> &[Instant] {
        &self.pings
    }

    /// Returns the control frames that left.
    #[must_use]
    pub fn control(&self) -> &[(Instant, Frame)] {
        &self.control
    }

    /// Returns how the connection ended, and when that was reported.
    #[must_use]
    pub fn closed(&self) -> Option<(Instant, &Closed)> {
        self.closed.as_ref().map(|(at, closed)| (*at, &**closed))
    }

    /// Returns when the last byte was handed in.
    #[must_use]
    pub const fn last_input(&self) -> Instant {
        self.last_input
    }

    /// Returns since when the peer is under suspicion.
    #[must_use]
    pub const fn suspected(&self) -> Option<Instant> {
        self.suspected
    }

    /// Returns how often the peer came under suspicion.
    #[must_use]
    pub const fn suspicions(&self) -> u32 {
        self.suspicions
    }

    /// Returns how many bytes the transport took.
    #[must_use]
    pub const fn bytes_out(&self) -> u64 {
        self.bytes_out
    }

    /// Returns the armed deadline.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.connection.poll_timeout()
    }

    /// Returns how many bytes wait to be taken.
    #[must_use]
    pub fn buffered_amount(&self) -> usize {
        self.connection.buffered_amount()
    }

    /// Returns the pauses that the heartbeat noticed.
    #[must_use]
    pub fn local_pauses(&self, now: Instant) -> u16 {
        self.connection.snapshot(now).heartbeat.local_pauses
    }

    // ---- checked calls

    /// Hands over input; received data never moves the deadline of an open connection, unless it is
    /// handed over later than that: then by as much (rule 6).
    pub fn input(&mut self, now: Instant, bytes: &[u8]) -> usize {
        let before = (self.connection.state(), self.connection.poll_timeout());
        let pauses = self.local_pauses(now);
        let taken = self.connection.handle_input(now, bytes);
        assert!(taken <= bytes.len(), "took {taken} of {}", bytes.len());
        if taken > 0 {
            self.heard_since_ping = true;
            self.last_input = now;
        }
        let after = (self.connection.state(), self.connection.poll_timeout());
        let quiet = before.0 == State::Open && after.0 == State::Open;
        if quiet && pauses == self.local_pauses(now) {
            let is_late = before.1.is_some_and(|deadline| deadline < now);
            let is_moved = if is_late {
                after.1 < before.1
            } else {
                after.1 != before.1
            };
            assert!(
                !is_moved,
                "input moved the deadline at {now:?}: {before:?} to {after:?}"
            );
        }
        if before.0 == State::Closed {
            assert_eq!(taken, bytes.len(), "input after the end is swallowed");
        }
        self.check_ended();
        taken
    }

    /// A read attempt found nothing.
    pub fn would_block(&mut self, now: Instant) {
        self.connection.handle_would_block(now);
        self.check_ended();
    }

    /// The stream ended.
    pub fn eof(&mut self, now: Instant) {
        self.connection.handle_eof(now);
        self.check_ended();
    }

    /// A deadline may have passed; none stays in the past.
    pub fn timeout(&mut self, now: Instant) {
        self.connection.handle_timeout(now);
        if let Some(next) = self.connection.poll_timeout() {
            assert!(
                next > now,
                "busy loop: {next:?} after handle_timeout({now:?})"
            );
        }
        self.check_ended();
    }

    /// Writes what is lent once; `write` says how much it takes. Returns whether to go on.
    pub fn transmit(&mut self, now: Instant, mut write: impl FnMut(&[u8]) -> usize) -> bool {
        let Some(transmit) = self.connection.poll_transmit() else {
            assert!(self.owed.is_empty(), "lent bytes vanished");
            return false;
        };
        assert!(self.closed.is_none(), "output after Closed");
        let (len, mut taken, mut owed) = (transmit.len(), 0, &self.owed[..]);
        let mut left = Vec::new();
        let mut out = Vec::new();
        assert!(len >= owed.len(), "lent bytes vanished");
        for chunk in transmit.chunks() {
            assert!(!chunk.is_empty(), "an empty chunk");
            let known = owed.len().min(chunk.len());
            assert_eq!(owed[..known], chunk[..known], "lent bytes changed");
            owed = &owed[known..];
            let n = if left.is_empty() { write(chunk) } else { 0 };
            out.extend_from_slice(&chunk[..n]);
            left.extend_from_slice(&chunk[n..]);
            taken += n;
        }
        assert_eq!(taken + left.len(), len, "len() and chunks() differ");
        self.owed = left;
        self.connection.handle_transmitted(now, taken);
        self.took(now, &out);
        self.check_ended();
        taken == len
    }

    /// Takes the next event.
    pub fn event(&mut self, now: Instant) -> Option<Event> {
        let event = self.connection.poll_event()?;
        assert!(self.closed.is_none(), "{event:?} after Closed");
        match &event {
            Event::Suspect => {
                assert_eq!(self.suspected, None, "suspect twice");
                self.suspected = Some(now);
                self.suspicions += 1;
            }
            Event::Recovered => {
                assert!(self.suspected.take().is_some(), "recovered from nothing");
            }
            Event::Closed(closed) => {
                self.closed = Some((now, closed.clone()));
                self.check_ended();
            }
            _ => {}
        }
        Some(event)
    }

    /// Sums up what left.
    fn took(&mut self, now: Instant, bytes: &[u8]) {
        self.bytes_out += bytes.len() as u64;
        let frames = self
            .wire
            .push(bytes)
            .unwrap_or_else(|fault| panic!("{fault}"));
        for frame in frames
            .into_iter()
            .filter(|frame| frame.opcode >= opcode::CLOSE)
        {
            if frame.opcode == opcode::PING && frame.len == 16 {
                let pauses = self.local_pauses(now);
                let fresh = self.heard_since_ping || pauses > self.pauses_at_ping;
                assert!(fresh, "two automatic pings are outstanding at {now:?}");
                self.heard_since_ping = false;
                self.pauses_at_ping = pauses;
                self.pings.push(now);
            }
            self.control.push((now, frame));
        }
    }

    /// Once `Closed` was reported there is nothing more.
    fn check_ended(&mut self) {
        if self.closed.is_some() {
            assert_eq!(self.connection.state(), State::Closed);
            assert_eq!(
                self.connection.poll_timeout(),
                None,
                "a deadline after Closed"
            );
            assert!(
                self.connection.poll_transmit().is_none(),
                "output after Closed"
            );
            assert!(
                self.connection.poll_event().is_none(),
                "an event after Closed"
            );
            assert!(!self.connection.wants_write());
        }
    }

    /// Pretends that the policy changed: one more ping may leave.
    pub fn forgive_ping(&mut self) {
        self.heard_since_ping = true;
    }

    /// Returns how long the silence was when the peer was declared dead.
    #[must_use]
    pub fn silence(&self) -> Option<Duration> {
        self.closed.as_ref().map(|(_, closed)| closed.silence)
    }
}
