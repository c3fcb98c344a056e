//! One end of the pair: a connection, its application and what both said.

use std::collections::VecDeque;

use wspulse_core::handshake::Accept;
use wspulse_core::{CloseCode, Closed, Connection, Event, Instant, Message, SendError, State};

use super::pipe::{Pipe, Read};
use crate::alloc::max_growths;
use crate::meter::Meter;

/// A message as it was accepted by `send`.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) is_text: bool,
    pub(super) payload: Vec<u8>,
    /// How many frames it leaves in at most.
    pub(super) frames: usize,
}

pub(super) struct End {
    pub(super) connection: Connection,
    meter: Meter,
    max_frame: usize,
    in_parts: bool,
    /// What was read and not taken.
    leftover: Vec<u8>,
    /// What was lent and not taken: it must not change.
    lent: Vec<u8>,
    /// Messages accepted here and not delivered there.
    pub(super) accepted: VecDeque<Accepted>,
    /// The message that is sent in parts.
    unfinished: Option<Accepted>,
    /// The message that arrives in parts.
    arriving: Option<(bool, Vec<u8>)>,
    pings: VecDeque<Vec<u8>>,
    /// A request waits for its answer.
    pub(super) is_asked: bool,
    /// The application answers a request as soon as it sees it.
    pub(super) accepts_at_once: bool,
    /// The application takes no events.
    pub(super) is_holding: bool,
    pub(super) is_aborted: bool,
    pub(super) closed_at: Option<u64>,
    pub(super) closed: Option<Box<Closed>>,
    /// Bytes that arrived, and growth of buffers, since the last whole message.
    since: (u64, u64),
}

impl End {
    pub(super) fn new(
        make: impl FnOnce() -> Connection,
        (max_frame, in_parts): (usize, bool),
    ) -> Self {
        let (connection, mut meter) = Meter::making(make);
        meter.check(&connection);
        Self {
            max_frame,
            in_parts,
            connection,
            meter,
            leftover: Vec::new(),
            lent: Vec::new(),
            accepted: VecDeque::new(),
            unfinished: None,
            arriving: None,
            pings: VecDeque::new(),
            is_asked: false,
            accepts_at_once: true,
            is_holding: false,
            is_aborted: false,
            closed_at: None,
            closed: None,
            since: (0, 0),
        }
    }

    pub(super) fn state(&self) -> State {
        self.connection.state()
    }

    /// Calls the connection, and counts what that allocates.
    fn call<T>(&mut self, call: impl FnOnce(&mut Connection) -> T) -> T {
        self.meter.call(&mut self.connection, call)
    }

    /// The peer sends, or this end does, a message of this length. The message that is inflated is
    /// among the longest of its sender's.
    pub(super) fn expect(&mut self, length: usize) {
        self.meter.expect(length);
    }

    /// The longest message sent or received.
    pub(super) const fn longest(&self) -> u64 {
        self.meter.longest()
    }

    // ---- input

    /// Reads once, at most `most` bytes; tells whether anything came of it.
    pub(super) fn read(&mut self, now: u64, from: &mut Pipe, most: usize) -> bool {
        if !self.leftover.is_empty() {
            return self.hand_over(now);
        }
        if !self.connection.wants_read() {
            return false;
        }
        let at = Instant::from_millis(now);
        match from.read(now, most) {
            Read::Bytes(bytes) => {
                self.meter.arrived(bytes.len());
                self.leftover = bytes;
                self.hand_over(now)
            }
            Read::Nothing => {
                self.call(|connection| connection.handle_would_block(at));
                false
            }
            Read::End => {
                self.call(|connection| connection.handle_eof(at));
                assert!(!self.connection.wants_read(), "it reads behind the end");
                true
            }
        }
    }

    fn hand_over(&mut self, now: u64) -> bool {
        let at = Instant::from_millis(now);
        let input = std::mem::take(&mut self.leftover);
        let growths = self.meter.growths();
        let wants_read = self.connection.wants_read();
        let taken = self.call(|connection| connection.handle_input(at, &input));
        assert!(taken > 0 || !wants_read, "it takes no input");
        self.since.0 += taken as u64;
        self.since.1 += self.meter.growths() - growths;
        self.leftover = input[taken..].to_vec();
        taken > 0
    }

    // ---- time

    pub(super) fn time_out(&mut self, now: u64) -> bool {
        let at = Instant::from_millis(now);
        let is_due = |end: &Self| end.connection.poll_timeout().is_some_and(|due| due <= at);
        if !is_due(self) {
            return false;
        }
        self.call(|connection| connection.handle_timeout(at));
        assert!(!is_due(self), "due again at once");
        true
    }

    // ---- output

    /// Writes once, at most `most` bytes; tells whether the pipe took any.
    pub(super) fn write(&mut self, now: u64, to: &mut Pipe, most: usize) -> bool {
        let wants_write = self.connection.wants_write();
        let lent = self.call(|connection| {
            let transmit = connection.poll_transmit();
            // Bytes of the transport, not of the connection.
            transmit.map(|transmit| (transmit.len(), transmit.first().len()))
        });
        let Some((length, first)) = lent else {
            assert!(!wants_write, "wants_write without output");
            return false;
        };
        assert!(wants_write && first > 0);
        let transmit = self.connection.poll_transmit().expect("as before");
        let bytes = transmit.chunks().collect::<Vec<_>>().concat();
        assert_eq!(bytes.len(), length);
        assert!(bytes.starts_with(&self.lent), "what was lent has changed");
        let count = to.write(now, &bytes[..most.min(bytes.len())]);
        self.lent = bytes[count..].to_vec();
        let at = Instant::from_millis(now);
        self.call(|connection| connection.handle_transmitted(at, count));
        if self.state() == State::Closed {
            self.lent.clear();
        }
        count > 0
    }

    /// Half-closes if it is time, and closes if the connection is over.
    pub(super) fn shut_down(&mut self, to: &mut Pipe, from: &mut Pipe) -> bool {
        let is_over = self.state() == State::Closed;
        let is_due = is_over || self.connection.wants_shutdown();
        if !is_due || to.is_ended() {
            return false;
        }
        to.end();
        if is_over {
            self.leftover.clear();
            from.abandon();
        }
        true
    }

    // ---- events

    /// Takes one event; `peer` sent what it tells of.
    pub(super) fn poll_event(&mut self, now: u64, peer: &mut Self) -> bool {
        let Some(event) = self.call(Connection::poll_event) else {
            return false;
        };
        assert!(self.closed.is_none(), "an event after the last");
        match &event {
            Event::Text(text) => self.is_delivered(peer, true, text.as_bytes()),
            Event::Binary(data) => self.is_delivered(peer, false, data),
            Event::TextPart(text) => self.is_part(peer, true, text.as_bytes()),
            Event::BinaryPart(data) => self.is_part(peer, false, data),
            Event::MessageEnd => {
                let (is_text, payload) = self.arriving.take().expect("a part came first");
                self.is_delivered(peer, is_text, &payload);
            }
            Event::Request(_) => {
                self.is_asked = true;
                if self.accepts_at_once {
                    self.accept(now);
                }
            }
            Event::Pong(payload) => {
                let is_its = |ping: Vec<u8>| ping[..] == payload[..];
                let pings = &mut self.pings;
                let is_answer = std::iter::from_fn(|| pings.pop_front()).any(is_its);
                assert!(is_answer, "a pong to no ping");
            }
            Event::Closed(closed) => {
                assert_eq!(self.state(), State::Closed);
                self.closed = Some(closed.clone());
            }
            Event::ControlFlood => panic!("an honest peer floods"),
            _ => {}
        }
        self.call(|_| drop(event));
        true
    }

    fn is_part(&mut self, peer: &Self, is_text: bool, data: &[u8]) {
        // Each part has a buffer of its own.
        let frames = peer.accepted.front().or(peer.unfinished.as_ref());
        self.grew_within(data.len(), frames.expect("it was sent").frames);
        let (kind, payload) = self.arriving.get_or_insert((is_text, Vec::new()));
        assert_eq!(*kind, is_text);
        payload.extend_from_slice(data);
    }

    /// Each message once, in order, equal.
    fn is_delivered(&mut self, peer: &mut Self, is_text: bool, payload: &[u8]) {
        let sent = peer.accepted.pop_front();
        let sent = sent.unwrap_or_else(|| panic!("a message that was not sent: {payload:?}"));
        assert_eq!(sent.is_text, is_text);
        assert!(sent.payload == payload, "{:?} {payload:?}", sent.payload);
        if !self.in_parts {
            self.grew_within(payload.len(), sent.frames);
        }
    }

    /// What was delivered came in so many frames, in a buffer that grew by doubling.
    fn grew_within(&mut self, length: usize, frames: usize) {
        let (arrived, growths) = std::mem::take(&mut self.since);
        let allowed = max_growths(arrived.max(length as u64));
        assert!(
            growths <= allowed,
            "{growths} reallocations for {length} bytes in {frames} frames"
        );
    }

    // ---- commands

    pub(super) fn accept(&mut self, now: u64) {
        if std::mem::take(&mut self.is_asked) && self.state() == State::Connecting {
            let at = Instant::from_millis(now);
            let accepted = self.call(|connection| connection.accept(at, &Accept::new()));
            accepted.expect("a request waits");
            assert_eq!(self.state(), State::Open);
        }
    }

    pub(super) fn send(&mut self, is_text: bool, payload: Vec<u8>) {
        let length = payload.len();
        self.expect(length);
        let sent = self.call_send(is_text, &payload, Connection::send);
        if self.is_taken(sent, is_text, &payload) {
            let frames = self.frames_of(length);
            self.accepted.push_back(Accepted {
                is_text,
                payload,
                frames,
            });
        }
    }

    pub(super) fn send_part(&mut self, is_text: bool, payload: Vec<u8>, last: bool) {
        let is_text = self.unfinished.as_ref().map_or(is_text, |it| it.is_text);
        self.expect(payload.len());
        let sent = self.call_send(is_text, &payload, |connection, message| {
            connection.send_part(message, last)
        });
        if !self.is_taken(sent, is_text, &payload) {
            return;
        }
        let frames = self.frames_of(payload.len());
        let message = self.unfinished.get_or_insert(Accepted {
            is_text,
            payload: Vec::new(),
            frames: 0,
        });
        message.payload.extend(payload);
        message.frames += frames;
        let length = message.payload.len();
        self.expect(length);
        if last {
            self.accepted.extend(self.unfinished.take());
        }
    }

    /// Makes the message inside the measured call: it belongs to the connection from there on, unless
    /// it comes back.
    fn call_send(
        &mut self,
        is_text: bool,
        payload: &[u8],
        send: impl FnOnce(&mut Connection, Message) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        let sent = self.meter.count(|| {
            let message: Message = if is_text {
                let text = str::from_utf8(payload).expect("text");
                text.to_owned().into()
            } else {
                payload.to_vec().into()
            };
            send(&mut self.connection, message)
        });
        if sent.is_ok() {
            self.meter.check(&self.connection);
        }
        sent
    }

    fn is_taken(&mut self, sent: Result<(), SendError>, is_text: bool, payload: &[u8]) -> bool {
        let Err(error) = sent else {
            return true;
        };
        match &error {
            SendError::NotOpen(_) => assert_ne!(self.state(), State::Open),
            SendError::Unfinished(_) => assert!(self.unfinished.is_some()),
            SendError::Full(_) => {
                let limit = self.connection.config().max_buffered_amount();
                assert!(self.connection.queue_cost() >= limit);
            }
            _ => panic!("{error:?}"),
        }
        let back = error.into_message().expect("it comes back");
        assert_eq!(back.is_text(), is_text);
        assert!(back.as_bytes() == payload, "it comes back as it was");
        self.call(|_| drop(back));
        false
    }

    fn frames_of(&self, length: usize) -> usize {
        // What deflate cannot shorten it lengthens by a few bytes a block.
        let most = length + length / 64 + 64;
        most / self.max_frame.max(1) + 1
    }

    pub(super) fn ping(&mut self, length: usize) {
        let number = self.pings.len() as u8;
        let payload = vec![number; length];
        match self.call(|connection| connection.ping(&payload)) {
            Ok(()) => self.pings.push_back(payload),
            Err(SendError::PingNotQueued | SendError::PingNotOpen) => {}
            Err(error) => panic!("{error:?}"),
        }
    }

    pub(super) fn close(&mut self, now: u64, code: CloseCode) {
        let was = self.state();
        let at = Instant::from_millis(now);
        let closed = self.call(|connection| connection.close(at, code, "done"));
        closed.expect("a legal Close");
        if matches!(was, State::Connecting | State::Open) {
            self.closed_at = Some(now);
            self.is_aborted |= was == State::Connecting;
        }
    }

    pub(super) fn abort(&mut self, now: u64) {
        self.is_aborted |= self.state() != State::Closed;
        let at = Instant::from_millis(now);
        self.call(|connection| connection.abort(at));
        self.lent.clear();
    }

    /// Ends a message that is sent in parts, so that it can be delivered.
    pub(super) fn finish_message(&mut self) {
        if self.unfinished.is_some() {
            self.send_part(false, Vec::new(), true);
        }
    }

    // ---- looks

    /// The kind of the message that is sent in parts.
    pub(super) fn sends_text(&self) -> Option<bool> {
        self.unfinished.as_ref().map(|message| message.is_text)
    }

    pub(super) const fn is_inside_message(&self) -> bool {
        self.arriving.is_some()
    }

    /// Whether all that was read is taken.
    pub(super) fn is_idle(&self) -> bool {
        self.leftover.is_empty() && !self.connection.has_event()
    }

    /// Whether this end received what `closed` says that the other sent, and the other way round.
    pub(super) fn closed_with(&self, closed: &Closed) -> bool {
        let own = self.closed.as_ref().expect("it is over");
        let received = own.received.as_ref().map(|frame| frame.code);
        let theirs = closed.received.as_ref().map(|frame| frame.code);
        received == closed.sent && theirs == own.sent
    }
}
