//! What holds after every call, and at the end.

use std::time::Duration;

use wspulse_core::{CloseCode, Instant, Role, State};

use super::{Run, script};
use crate::alloc::max_growths;
use crate::fuzzing::known::{Finding, lists_of_handshake};
use crate::fuzzing::naive;
use crate::fuzzing::parts::asks_text_ping;

/// Half of the time that a closing handshake may take.
const HALF_ENDING: Duration = Duration::from_millis(2_500);

impl Run<'_> {
    pub(super) fn turn(&mut self) {
        self.wait_for_deadline(0);
        self.read();
        let now = self.now();
        self.engine(|connection| connection.handle_would_block(now));
        if self.connection.poll_timeout().is_some_and(|due| due <= now) {
            self.time_out(now);
        }
        while self.poll_event() {}
        self.forget_if_over();
        self.write_all();
    }

    pub(super) fn look(&self) {
        let connection = &self.connection;
        assert_eq!(connection.role(), self.role);
        // All that is queued is in it.
        if connection.buffered_amount() < 1_000 {
            assert!(!format!("{connection:?}").is_empty());
        }
        assert_eq!(
            connection.snapshot(self.seen),
            connection.snapshot(self.seen)
        );
        assert_eq!(connection.snapshot(self.seen).state, connection.state());
    }

    /// The deadline of an ending under way.
    pub(super) fn ending(&self) -> Option<Instant> {
        let deadline = self.connection.poll_timeout();
        (self.state() == State::Closing).then(|| deadline.unwrap_or(Instant::MAX))
    }

    /// What holds after every call.
    pub(super) fn check(&mut self, ending_before: Option<Instant>) {
        self.forget_if_over();
        if let (Some(before), Some(after)) = (ending_before, self.ending()) {
            // The step that came is followed by the next one, half of the ending later at most.
            let is_due = before <= self.seen;
            let latest = self.seen.saturating_add(HALF_ENDING);
            let is_kept = after <= before || is_due && after <= latest;
            assert!(is_kept, "an ending was extended");
        }
        let connection = &self.connection;
        let due = connection.poll_timeout();
        assert_eq!(due.is_some(), connection.next_timeout_reason().is_some());
        let buffered = connection.buffered_amount();
        if connection.wants_shutdown() {
            assert!(!connection.wants_write(), "half-closed with output left");
        }
        match connection.state() {
            State::Closed => {
                assert_eq!(due, None);
                assert!(!connection.wants_write() && !connection.wants_read());
                assert!(!connection.wants_shutdown());
                assert_eq!(buffered, 0);
                assert!(self.connection.poll_transmit().is_none());
            }
            State::Open if !self.head_waits && self.wire.heartbeat_texts.is_empty() => {
                // Short messages wait with their headers, of four bytes at most, or with a mask.
                let unframed = self.queued - self.wire.data_bytes();
                let headers = (buffered - self.lent.len()).checked_sub(unframed);
                let headers = headers.expect("buffered_amount leaves something out");
                let most = if self.role == Role::Client { 8 } else { 4 };
                assert!(headers <= most * self.sends, "buffered_amount");
            }
            _ => assert!(buffered >= self.lent.len(), "buffered_amount"),
        }
    }

    // ---- the heap

    /// What the connection holds is within its budget; the lists of a handshake are excused.
    pub(super) fn check_heap(&mut self) {
        let is_opening = self.state() != State::Open || self.connection.has_event();
        let lists = if is_opening && self.is(script::HANDSHAKE) {
            lists_of_handshake(self.meter.bytes_arrived())
        } else {
            0
        };
        self.meter.excuse(self.excused.allow(Finding::C15, lists));
        self.meter.check(&self.connection);
    }

    /// What was delivered came in a buffer that grew by doubling.
    pub(super) fn grew_within(&mut self, length: usize) {
        let (arrived, growths) = std::mem::take(&mut self.since);
        let mut allowed = max_growths(arrived.max(length as u64));
        if growths > allowed
            && let Some(frames_at) = self.frames_at
        {
            let frames = self.read_naively(frames_at).frames.len();
            allowed += self.excused.allow(Finding::C2, frames as u64);
        }
        assert!(
            growths <= allowed,
            "{growths} reallocations for {length} bytes of {arrived}"
        );
    }

    fn read_naively(&self, frames_at: usize) -> naive::Stream {
        let is_masked = self.role == Role::Server;
        naive::read(&self.inbox[frames_at..], is_masked, 0)
    }

    // ---- the end

    /// However it stands, a connection comes to its end.
    pub(super) fn conclude(&mut self) {
        let now = self.now();
        let closed = self.engine(|connection| connection.close(now, CloseCode::NORMAL, ""));
        closed.expect("legal");
        self.forget_if_over();
        self.write_all();
        for _ in 0..8 {
            let before = self.ending();
            if let Some(due) = self.connection.poll_timeout() {
                self.clock = self.clock.max(due.as_nanos());
                let now = self.now();
                self.time_out(now);
            } else if self.state() != State::Closed {
                let now = self.now();
                self.engine(|connection| connection.handle_eof(now));
            }
            self.check(before);
            while self.poll_event() {}
        }
        assert_eq!(self.state(), State::Closed);
        assert!(self.log.closed.is_some(), "no last event");
        assert!(self.connection.poll_event().is_none());
    }

    /// The messages delivered are the first of those that the naive reader finds in the input, and
    /// the pongs sent answer pings in it; what stands behind a Close does not count.
    pub(super) fn delivered_what_came(&self) {
        let Some(frames_at) = self.frames_at else {
            return assert!(self.log.messages.is_empty());
        };
        let mut came = Vec::new();
        let mut pings = Vec::new();
        let mut message: Option<(bool, Vec<u8>)> = None;
        for frame in self.read_naively(frames_at).frames {
            match frame.opcode {
                8 => break,
                9 if frame.is_whole => pings.push(frame.payload),
                9 | 10 => {}
                opcode => {
                    let (_, payload) = message.get_or_insert((opcode == 1, Vec::new()));
                    payload.extend_from_slice(&frame.payload);
                    if frame.fin && frame.is_whole {
                        came.extend(message.take().map(|(text, payload)| (text, payload, true)));
                    }
                }
            }
        }
        let mut unanswered = pings.iter();
        for pong in &self.wire.pongs {
            assert!(unanswered.any(|ping| ping == pong), "a pong to no ping");
        }
        came.extend(message.map(|(is_text, payload)| (is_text, payload, false)));
        let consumed: Option<&[u8]> = if asks_text_ping(self.setup) {
            Some(b"pong")
        } else {
            self.is(script::ANSWER_TEXT_PING).then_some(b"ping")
        };
        let mut came = came.iter();
        for (is_text, payload, ended) in &self.log.messages {
            // What a heartbeat consumed is left out; some of it may not have looked like it.
            let delivers = |(text, whole, is_whole): &&(bool, Vec<u8>, bool)| {
                let fits = if *ended {
                    *is_whole && whole == payload
                } else {
                    whole.starts_with(payload)
                };
                assert!(fits || *text && Some(&**whole) == consumed, "{payload:?}");
                fits && text == is_text
            };
            assert!(came.find(delivers).is_some(), "a message that nobody sent");
            assert!(!is_text || str::from_utf8(payload).is_ok());
        }
    }
}
