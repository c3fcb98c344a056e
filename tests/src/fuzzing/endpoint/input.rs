//! What arrives, and what comes of it.

use wspulse_core::{Connection, Event, Instant, Message, Role, State};

use super::{Run, script};

impl Run<'_> {
    pub(super) fn arrive(&mut self, bytes: &[u8]) {
        if self.inbox.len() < MAX_INPUT {
            self.inbox.extend_from_slice(bytes);
            self.read();
        }
    }

    /// Hands over what arrived, and takes the events that hold it back.
    pub(super) fn read(&mut self) {
        while self.taken < self.inbox.len() {
            let waiting = self.inbox.len() - self.taken;
            let size = match &mut self.cuts {
                // Much input is cut coarsely first: small pieces of it teach nothing new.
                Some(cuts) => (cuts.size() * (waiting / 256).max(1)).min(waiting),
                None => waiting,
            };
            let end = self.taken + size;
            while self.taken < end {
                self.hand_over(end);
                if self.taken < end && !self.poll_event() {
                    return assert!(self.request_waits, "input is held back by nothing");
                }
            }
        }
    }

    pub(super) fn hand_over(&mut self, end: usize) {
        let now = self.now();
        let (was, due) = (self.state(), self.connection.poll_timeout());
        let wants_read = self.connection.wants_read();
        let growths = self.meter.growths();
        let offered = &self.inbox[self.taken..end];
        let (connection, meter) = (&mut self.connection, &mut self.meter);
        assert_eq!(meter.count(|| connection.handle_input(now, &[])), 0);
        let count = meter.count(|| connection.handle_input(now, offered));
        meter.arrived(count);
        assert!(count <= offered.len());
        match was {
            State::Closed => assert_eq!(count, offered.len(), "input is swallowed"),
            // Behind the end of its stream the peer has nothing to say.
            State::Closing if !wants_read => assert!(count == 0 || count == offered.len()),
            _ => assert_eq!(count > 0, wants_read, "wants_read"),
        }
        self.taken += count;
        self.check_heap();
        self.meter.check_peak();
        self.since.0 += count as u64;
        self.since.1 += self.meter.growths() - growths;
        if (was, self.state()) == (State::Open, State::Open) {
            self.data_moves_no_deadline(due);
        }
        if (was, self.state(), self.role) == (State::Connecting, State::Open, Role::Client) {
            self.frames_at = Some(self.taken);
        }
        if was == State::Connecting && self.state() == State::Closing {
            self.head_waits = true;
        }
    }

    /// Received messages never move the deadline. Other input may make output that is due at once,
    /// or bring the deadline forward: bytes that are no evidence of life, found after a pause of
    /// ours, get the peer a fresh ping (C19).
    pub(super) fn data_moves_no_deadline(&self, due: Option<Instant>) {
        let now_due = self.connection.poll_timeout();
        match due {
            // A deadline that passed is for the next turn; that of a pause is made anew.
            Some(due) if due <= self.seen => {
                assert!(now_due.is_none_or(|now_due| now_due >= due));
            }
            // A message that begins arms its own timer.
            _ if self.is(script::MESSAGE_TIMEOUT) => {}
            _ if !self.any_byte_counts => {
                let is_earlier =
                    now_due.is_some_and(|now_due| due.is_none_or(|due| now_due <= due));
                let is_at_once = now_due.is_none() && self.connection.wants_write();
                assert!(
                    is_earlier || is_at_once || now_due == due,
                    "input moved the deadline"
                );
            }
            _ => assert_eq!(now_due, due, "input moved the deadline"),
        }
    }

    // ---- events

    pub(super) fn poll_event(&mut self) -> bool {
        let Some(event) = self.engine(Connection::poll_event) else {
            assert!(self.connection.poll_event().is_none(), "a hidden event");
            return false;
        };
        assert!(self.log.closed.is_none(), "an event after the last");
        match &event {
            Event::Text(text) => {
                self.deliver(true, text.as_bytes());
                self.echo(&event);
            }
            Event::Binary(data) => {
                self.deliver(false, data);
                self.echo(&event);
            }
            Event::TextPart(data) => self.deliver_part(true, data.as_bytes()),
            Event::BinaryPart(data) => self.deliver_part(false, data),
            Event::MessageEnd => {
                let (_, _, ended) = self.log.messages.last_mut().expect("a part comes first");
                assert!(!core::mem::replace(ended, true), "one end a message");
            }
            Event::Request(request) => {
                // It may have been answered unseen.
                self.request_waits = self.state() == State::Connecting;
                self.note(format!("{request:?}"));
                if !self.is(script::ANSWER_LATER) {
                    self.accept(0);
                }
            }
            Event::Closed(closed) => {
                assert_eq!(self.state(), State::Closed);
                assert_eq!(
                    closed.clean,
                    closed.sent.is_some() && closed.received.is_some()
                );
                self.log.closed = Some(format!("{closed:?} {closed}"));
            }
            other => self.note(format!("{other:?}")),
        }
        self.meter.count(|| drop(event));
        self.check_heap();
        true
    }

    pub(super) fn note(&mut self, event: String) {
        // Where parts are cut, the events between them fall elsewhere, and may cancel out.
        if !self.is(script::PARTS) {
            self.log.others.push((self.log.messages.len(), event));
        }
    }

    pub(super) fn deliver(&mut self, is_text: bool, data: &[u8]) {
        self.grew_within(data.len());
        self.log.messages.push((is_text, data.to_vec(), true));
    }

    pub(super) fn deliver_part(&mut self, is_text: bool, data: &[u8]) {
        self.grew_within(data.len());
        match self.log.messages.last_mut() {
            Some((is_text_before, message, ended)) if !*ended => {
                assert_eq!(*is_text_before, is_text);
                message.extend_from_slice(data);
            }
            _ => self.log.messages.push((is_text, data.to_vec(), false)),
        }
    }

    pub(super) fn echo(&mut self, event: &Event) {
        // A clone shares the payload.
        let message = match event {
            _ if !self.is(script::ECHO) => return,
            Event::Text(text) => self.meter.count(|| Message::Text(text.clone())),
            Event::Binary(data) => self.meter.count(|| Message::Binary(data.clone())),
            _ => return,
        };
        self.send(&message, Message::clone);
        self.meter.count(|| drop(message));
    }
}

/// What one script may bring in.
const MAX_INPUT: usize = 1 << 18;
