//! A server connection, driven by a script.

use std::sync::Arc;

use wspulse_core::handshake::{Accept, Reject};
use wspulse_core::{
    CloseCode, Connection, Event, Instant, Message, Role, Seed, SendError, Snapshot, State,
    TimeoutReason,
};

use super::parts::{
    REQUESTS, any_byte_counts, asks_text_ping, binary, config_of, header, heartbeat, heartbeat_of,
    masked, text,
};
use super::script::{self, Script, Step};
use super::wire::Wire;
use super::{Cuts, naive};

/// Runs a script twice, with the input whole and cut, and checks after each call what must hold
/// whatever was called before.
///
/// The two runs must agree on the events, on every byte of the output and on every deadline.
pub fn server(data: &[u8]) {
    let script = Script::read(data);
    let whole = Run::new(&script, None).run(&script);
    let cut = Run::new(&script, Some(Cuts::new(&script.cuts))).run(&script);
    let differs = whole
        .marks
        .iter()
        .zip(&cut.marks)
        .position(|(one, other)| one != other);
    if let Some(at) = differs {
        let step = script.steps.get(at);
        let (one, other) = (&whole.marks[at], &cut.marks[at]);
        panic!("after step {at}, {step:?}:\nwhole {one:?}\ncut   {other:?}");
    }
    assert_eq!(whole.log, cut.log);
    assert_eq!(whole.wire.bytes, cut.wire.bytes);
}

/// What two runs of one script are compared by, besides their output.
#[derive(Debug, Default, PartialEq)]
struct Log {
    messages: Vec<(bool, Vec<u8>, bool)>,
    /// The other events, and between which messages they came.
    others: Vec<(usize, String)>,
    closed: Option<String>,
}

/// The connection after a step.
#[derive(Debug, PartialEq)]
struct Mark {
    deadline: Option<Instant>,
    reason: Option<TimeoutReason>,
    wants_write: bool,
    snapshot: Snapshot,
}

struct Run<'a> {
    connection: Connection,
    setup: u16,
    /// How the input is cut, if it is.
    cuts: Option<Cuts<'a>>,
    clock: u64,
    /// The largest time that the connection may have been told.
    seen: Instant,
    /// What arrived, and how much of it was taken.
    inbox: Vec<u8>,
    taken: usize,
    /// Where in the inbox the frames begin.
    frames_at: Option<usize>,
    /// What was lent and not reported as taken.
    lent: Vec<u8>,
    /// The most that was taken at once.
    took: usize,
    /// A head was committed and not lent yet.
    head_waits: bool,
    /// Payload bytes of messages queued.
    queued: usize,
    /// Messages and parts queued.
    sends: usize,
    /// The message that is sent in parts.
    unfinished: Option<(bool, Vec<u8>)>,
    request_waits: bool,
    wire: Wire,
    /// Whether any byte is evidence of life by the policy in force.
    any_byte_counts: bool,
    marks: Vec<Mark>,
    log: Log,
}

impl<'a> Run<'a> {
    fn new(script: &Script, cuts: Option<Cuts<'a>>) -> Self {
        let setup = script.setup;
        let config = Arc::new(config_of(setup));
        let clock = if setup & script::LATE != 0 {
            u64::MAX - 120_000_000_000
        } else {
            0
        };
        let now = Instant::from_nanos(clock);
        let seed = Seed::predictable_for_tests(u64::from(setup));
        let has_handshake = setup & script::HANDSHAKE != 0;
        let connection = if has_handshake {
            Connection::server(config, seed, now)
        } else {
            Connection::from_upgrade(Role::Server, config, seed, now)
        };
        let mut wire = Wire::new(has_handshake);
        if asks_text_ping(setup) {
            wire.heartbeat_texts = &["ping"];
        } else if setup & script::ANSWER_TEXT_PING != 0 {
            wire.heartbeat_texts = &["pong"];
        }
        Self {
            connection,
            setup,
            cuts,
            clock,
            seen: now,
            inbox: Vec::new(),
            taken: 0,
            frames_at: (!has_handshake).then_some(0),
            lent: Vec::new(),
            took: 0,
            head_waits: false,
            queued: 0,
            sends: 0,
            unfinished: None,
            request_waits: false,
            wire,
            any_byte_counts: any_byte_counts(heartbeat_of(setup)),
            marks: Vec::new(),
            log: Log::default(),
        }
    }

    fn is(&self, switch: u16) -> bool {
        self.setup & switch != 0
    }

    fn run(mut self, script: &Script) -> Self {
        for step in &script.steps {
            let before = self.ending();
            self.step(step);
            self.check(before);
            self.marks.push(Mark {
                deadline: self.connection.poll_timeout(),
                reason: self.connection.next_timeout_reason(),
                wants_write: self.connection.wants_write(),
                snapshot: self.connection.snapshot(self.seen),
            });
        }
        self.conclude();
        self.delivered_what_came();
        // How much of a text was delivered before a byte that spoils it depends on the cuts.
        self.log
            .messages
            .pop_if(|(is_text, _, ended)| *is_text && !*ended);
        self
    }

    fn now(&mut self) -> Instant {
        let now = Instant::from_nanos(self.clock);
        self.seen = self.seen.max(now);
        now
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Bytes(bytes) => self.arrive(bytes),
            Step::Frame(first, payload) => self.arrive(&masked(*first, payload)),
            Step::LongFrame(first, length, fill) => {
                self.arrive(&masked(*first, &vec![*fill; usize::from(*length)]));
            }
            Step::Frames(first, eights) => {
                let frames = masked(*first, &[]).repeat(usize::from(*eights) * 8);
                self.arrive(&frames);
            }
            Step::Header(first, length) => {
                let length = length
                    .iter()
                    .take(8)
                    .fold(0, |sum, &byte| sum << 8 | u64::from(byte));
                self.arrive(&header(*first, length));
            }
            Step::Request(which) => self.arrive(REQUESTS[usize::from(*which) % REQUESTS.len()]),
            Step::CloseFrame(code, reason) => {
                let payload = [&code.to_be_bytes()[..], reason].concat();
                self.arrive(&masked(0x88, &payload[..payload.len().min(125)]));
            }
            Step::Pong => {
                let payload = self.wire.last_ping.clone().unwrap_or_default();
                self.arrive(&masked(0x8A, &payload));
            }
            Step::ReadOn => self.read(),
            Step::Wait(millis) => self.pass(u64::from(*millis) * 1_000_000),
            Step::Sleep(power) => self.pass(1 << (power % 64)),
            Step::Deadline(late) => self.wait_for_deadline(*late),
            _ => self.call(step),
        }
    }

    /// The steps that are a call, or a few.
    fn call(&mut self, step: &Step) {
        let now = self.now();
        match step {
            Step::WouldBlock => self.connection.handle_would_block(now),
            Step::Eof => self.connection.handle_eof(now),
            Step::Timeout => self.time_out(now),
            Step::Backwards(power) => {
                let nanos = self.clock.saturating_sub(1 << (power % 64));
                let then = Instant::from_nanos(nanos);
                self.connection.handle_would_block(then);
                self.time_out(then);
            }
            Step::SendText(length) => self.send(text(*length).into()),
            Step::SendBinary(length) => self.send(binary(*length).into()),
            Step::SendPart(kind, length) => self.send_part(*kind, *length),
            Step::Ping(length) => {
                let payload = vec![b'p'; usize::from(*length)];
                match self.connection.ping(&payload) {
                    Ok(()) => assert!(payload.len() <= 125 && self.state() == State::Open),
                    Err(SendError::PingTooLong) => assert!(payload.len() > 125),
                    Err(error) => assert_eq!(error, SendError::PingNotQueued),
                }
            }
            Step::Close(code, length) => {
                let reason = "r".repeat(usize::from(*length));
                let code = CloseCode::new(*code);
                let legal = code.is_sendable() && reason.len() <= 123;
                let was = self.state();
                let closed = self.connection.close(now, code, &reason);
                assert_eq!(closed.is_ok(), legal);
                if !legal {
                    assert_eq!(self.state(), was, "a mistake changed something");
                }
            }
            Step::Abort => self.connection.abort(now),
            Step::SetHeartbeat(which) => {
                let config = heartbeat(*which % 10);
                let set = self.connection.set_heartbeat(now, config);
                assert_eq!(set, config.validate());
                if set.is_ok() {
                    self.any_byte_counts = any_byte_counts(*which % 10);
                }
            }
            Step::Resumed => self.connection.handle_resumed(now),
            Step::Write(most) => {
                self.write(usize::from(*most));
            }
            Step::WriteAll => self.write_all(),
            Step::Claim(count) => self.report(usize::from(*count) * 16),
            Step::Events(most) => {
                for _ in 0..*most {
                    if !self.poll_event() {
                        break;
                    }
                }
            }
            Step::Accept(kind) => self.accept(*kind),
            Step::Reject(kind) => self.reject(*kind),
            Step::Turn => self.turn(),
            Step::Look => self.look(),
            _ => unreachable!("not a call"),
        }
    }

    // ---- time

    fn pass(&mut self, nanos: u64) {
        self.clock = self.clock.saturating_add(nanos);
    }

    fn wait_for_deadline(&mut self, late: u8) {
        if let Some(deadline) = self.connection.poll_timeout() {
            self.clock = self.clock.max(deadline.as_nanos());
            self.pass(u64::from(late).pow(2) * 1_000_000);
        }
    }

    fn time_out(&mut self, now: Instant) {
        self.connection.handle_timeout(now);
        let next = self.connection.poll_timeout();
        assert!(
            next.is_none_or(|next| next > now),
            "the deadline {next:?} is not after {now:?}"
        );
    }

    // ---- input

    fn arrive(&mut self, bytes: &[u8]) {
        if self.inbox.len() < MAX_INPUT {
            self.inbox.extend_from_slice(bytes);
            self.read();
        }
    }

    /// Hands over what arrived, and takes the events that hold it back.
    fn read(&mut self) {
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

    fn hand_over(&mut self, end: usize) {
        let now = self.now();
        let (was, due) = (self.state(), self.connection.poll_timeout());
        let wants_read = self.connection.wants_read();
        let offered = &self.inbox[self.taken..end];
        assert_eq!(self.connection.handle_input(now, &[]), 0);
        let count = self.connection.handle_input(now, offered);
        assert!(count <= offered.len());
        match was {
            State::Closed => assert_eq!(count, offered.len(), "input is swallowed"),
            // Behind the end of its stream the peer has nothing to say.
            State::Closing if !wants_read => assert!(count == 0 || count == offered.len()),
            _ => assert_eq!(count > 0, wants_read, "wants_read"),
        }
        self.taken += count;
        if (was, self.state()) == (State::Open, State::Open) {
            self.data_moves_no_deadline(due);
        }
        if was == State::Connecting && self.state() == State::Closing {
            self.head_waits = true;
        }
    }

    /// Received messages never move the deadline. Other input may make output that is due at once,
    /// or bring the deadline forward: bytes that are no evidence of life, found after a pause of
    /// ours, get the peer a fresh ping (C19).
    fn data_moves_no_deadline(&self, due: Option<Instant>) {
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

    fn poll_event(&mut self) -> bool {
        let Some(event) = self.connection.poll_event() else {
            assert!(self.connection.poll_event().is_none(), "a hidden event");
            return false;
        };
        assert!(self.log.closed.is_none(), "an event after the last");
        match event {
            Event::Text(text) => {
                self.log
                    .messages
                    .push((true, text.as_bytes().to_vec(), true));
                self.echo(text.into());
            }
            Event::Binary(data) => {
                self.log.messages.push((false, data.to_vec(), true));
                self.echo(data.into());
            }
            Event::TextPart(data) => self.deliver_part(true, data.as_bytes()),
            Event::BinaryPart(data) => self.deliver_part(false, &data),
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
        true
    }

    fn note(&mut self, event: String) {
        // Where parts are cut, the events between them fall elsewhere, and may cancel out.
        if !self.is(script::PARTS) {
            self.log.others.push((self.log.messages.len(), event));
        }
    }

    fn deliver_part(&mut self, is_text: bool, data: &[u8]) {
        match self.log.messages.last_mut() {
            Some((is_text_before, message, ended)) if !*ended => {
                assert_eq!(*is_text_before, is_text);
                message.extend_from_slice(data);
            }
            _ => self.log.messages.push((is_text, data.to_vec(), false)),
        }
    }

    fn echo(&mut self, message: Message) {
        if self.is(script::ECHO) {
            self.send(message);
        }
    }

    // ---- commands

    fn state(&self) -> State {
        self.connection.state()
    }

    fn send(&mut self, message: Message) {
        match self.connection.send(message.clone()) {
            Ok(()) => {
                assert!(self.state() == State::Open && self.unfinished.is_none());
                self.queued += message.len();
                self.sends += 1;
                self.wire
                    .queue(message.is_text(), message.as_bytes().to_vec());
            }
            Err(error) => self.is_given_back(error, message),
        }
    }

    fn send_part(&mut self, kind: u8, length: u16) {
        let (is_text, last) = (kind & 1 != 0, kind & 2 != 0);
        let part: Message = if is_text {
            text(length).into()
        } else {
            binary(length).into()
        };
        match self.connection.send_part(part.clone(), last) {
            Ok(()) => {
                assert_eq!(self.state(), State::Open);
                self.queued += part.len();
                self.sends += 1;
                let (kind, payload) = self.unfinished.get_or_insert((is_text, Vec::new()));
                assert_eq!(*kind, is_text);
                payload.extend_from_slice(part.as_bytes());
                if last && let Some((is_text, payload)) = self.unfinished.take() {
                    self.wire.queue(is_text, payload);
                }
            }
            Err(error) => self.is_given_back(error, part),
        }
    }

    fn is_given_back(&self, error: SendError, message: Message) {
        match error {
            SendError::NotOpen(_) => assert_ne!(self.state(), State::Open),
            SendError::Unfinished(_) => assert!(self.unfinished.is_some()),
            SendError::Full(_) => {
                let limit = if self.is(script::SMALL_LIMITS) {
                    2_000
                } else {
                    1 << 20
                };
                // A place in the queue counts too.
                let held = self.connection.buffered_amount() + 128 * self.sends;
                assert!(held >= limit);
            }
            _ => panic!("{error:?}"),
        }
        assert_eq!(error.into_message(), Some(message));
    }

    fn accept(&mut self, kind: u8) {
        let now = self.now();
        let accept = if kind & 1 == 0 {
            Accept::new()
        } else {
            Accept::new().subprotocol("chat").expect("a token")
        };
        if self.connection.accept(now, &accept).is_ok() {
            assert_eq!(self.state(), State::Open);
            self.request_waits = false;
            self.head_waits = true;
            self.frames_at = Some(self.taken);
        }
    }

    fn reject(&mut self, kind: u8) {
        let now = self.now();
        let status = [503, 403, 426, 302][usize::from(kind % 4)];
        let reject = Reject::new(status).expect("legal").body("no\n");
        if self.connection.reject(now, &reject).is_ok() {
            assert_eq!(self.state(), State::Closing);
            self.request_waits = false;
            self.head_waits = true;
        }
    }

    // ---- output

    /// Asks for what is lent, and checks it; returns how much it is.
    fn borrow(&mut self) -> usize {
        let wants_write = self.connection.wants_write();
        let Some(transmit) = self.connection.poll_transmit() else {
            assert!(!wants_write, "wants_write without output");
            assert!(self.lent.is_empty(), "what was lent is gone");
            return 0;
        };
        assert!(wants_write, "output without wants_write");
        assert!(!transmit.first().is_empty());
        let bytes = transmit.chunks().collect::<Vec<_>>().concat();
        assert_eq!(bytes.len(), transmit.len());
        assert!(bytes.starts_with(&self.lent), "what was lent has changed");
        let most = (2 * self.took).clamp(MIN_COMMIT, MAX_COMMIT) + MAX_BESIDE;
        assert!(bytes.len() <= most, "{} bytes at once", bytes.len());
        self.wire.extend(&bytes[self.lent.len()..]);
        self.lent = bytes;
        self.head_waits = false;
        self.lent.len()
    }

    /// Says how much the transport took, be it true or not.
    fn report(&mut self, count: usize) {
        let now = self.now();
        self.connection.handle_transmitted(now, count);
        let count = count.min(self.lent.len());
        self.took = self.took.max(count);
        self.lent.drain(..count);
    }

    fn write(&mut self, most: usize) -> bool {
        let lent = self.borrow();
        if lent > 0 {
            self.report(most.min(lent));
            self.forget_if_over();
        }
        lent > 0
    }

    fn write_all(&mut self) {
        for _ in 0..MAX_ROUNDS {
            if !self.write(usize::MAX) {
                return;
            }
        }
        panic!("there is no end of the output");
    }

    /// What was lent and not taken before the end is lost.
    fn forget_if_over(&mut self) {
        if self.state() == State::Closed {
            self.lent.clear();
        }
    }

    // ---- all of it

    fn turn(&mut self) {
        self.wait_for_deadline(0);
        self.read();
        let now = self.now();
        self.connection.handle_would_block(now);
        if self.connection.poll_timeout().is_some_and(|due| due <= now) {
            self.time_out(now);
        }
        while self.poll_event() {}
        self.forget_if_over();
        self.write_all();
    }

    fn look(&self) {
        let connection = &self.connection;
        assert_eq!(connection.role(), Role::Server);
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
    fn ending(&self) -> Option<Instant> {
        let deadline = self.connection.poll_timeout();
        (self.state() == State::Closing).then(|| deadline.unwrap_or(Instant::MAX))
    }

    /// What holds after every call.
    fn check(&mut self, ending_before: Option<Instant>) {
        self.forget_if_over();
        if let (Some(before), Some(after)) = (ending_before, self.ending()) {
            assert!(after <= before, "an ending was extended");
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
                // Short messages wait with their headers, of four bytes at most.
                let unframed = self.queued - self.wire.data_bytes();
                let headers = (buffered - self.lent.len()).checked_sub(unframed);
                let headers = headers.expect("buffered_amount leaves something out");
                assert!(headers <= 4 * self.sends, "buffered_amount");
            }
            _ => assert!(buffered >= self.lent.len(), "buffered_amount"),
        }
    }

    /// However it stands, a connection comes to its end.
    fn conclude(&mut self) {
        let now = self.now();
        self.connection
            .close(now, CloseCode::NORMAL, "")
            .expect("legal");
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
                self.connection.handle_eof(now);
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
    fn delivered_what_came(&self) {
        let Some(frames_at) = self.frames_at else {
            return assert!(self.log.messages.is_empty());
        };
        let mut came = Vec::new();
        let mut pings = Vec::new();
        let mut message: Option<(bool, Vec<u8>)> = None;
        for frame in naive::read(&self.inbox[frames_at..], true, 0).frames {
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

/// What one script may bring in.
const MAX_INPUT: usize = 1 << 18;

/// What may be committed at once: twice what was taken at once, within these.
const MIN_COMMIT: usize = 64 << 10;
const MAX_COMMIT: usize = (1 << 20) + 16 * 14;

/// And a frame beside it.
const MAX_BESIDE: usize = (64 << 10) + 28;

const MAX_ROUNDS: usize = 100_000;
