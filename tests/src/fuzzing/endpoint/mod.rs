//! A connection of either role, driven by a script.

mod check;
mod input;
mod output;
mod wire;

use std::sync::Arc;

use wspulse_core::handshake::{Accept, ClientRequest};
use wspulse_core::{
    CloseCode, ConfigError, Connection, Instant, Message, Role, Seed, SendError, Snapshot, State,
    TimeoutReason,
};

use super::Cuts;
use super::parts::{
    REQUESTS, RESPONSES, any_byte_counts, asks_text_ping, binary, config_of, frame_from, header,
    heartbeat, heartbeat_of, text,
};
use super::script::{self, Script, Step};
use crate::kit::{drain, feed};
use crate::meter::Meter;
pub(super) use wire::Wire;

/// Runs a script over a server twice, with the input whole and cut, and checks after each call what
/// must hold whatever was called before.
///
/// The two runs must agree on the events, on every byte of the output and on every deadline.
pub fn server(data: &[u8]) {
    run_twice(data, Role::Server);
}

/// As [`server`], for a client and what a server may send it: a request in a script is one of a few
/// responses here, and frames come without a mask.
pub fn client(data: &[u8]) {
    run_twice(data, Role::Client);
}

fn run_twice(data: &[u8], role: Role) {
    let script = Script::read(data);
    let whole = Run::new(&script, role, None).run(&script);
    let cuts = Some(Cuts::new(&script.cuts));
    let cut = Run::new(&script, role, cuts).run(&script);
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
    role: Role,
    meter: Meter,
    /// Bytes that arrived, and growth of buffers, since something was delivered.
    since: (u64, u64),
    /// The proof that a server read the client's request.
    accept_key: String,
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
    fn new(script: &Script, role: Role, cuts: Option<Cuts<'a>>) -> Self {
        let setup = script.setup;
        let config = Arc::new(config_of(setup));
        let clock = if setup & script::LATE != 0 {
            u64::MAX - 120_000_000_000
        } else {
            0
        };
        let now = Instant::from_nanos(clock);
        let seed = || Seed::predictable_for_tests(u64::from(setup));
        let has_handshake = setup & script::HANDSHAKE != 0;
        let request =
            ClientRequest::new("example.com", "/chat").and_then(|it| it.subprotocol("chat"));
        let request = request.expect("valid");
        let make = || match role {
            _ if !has_handshake => Connection::from_upgrade(role, Arc::clone(&config), seed(), now),
            Role::Client => Connection::client(Arc::clone(&config), &request, seed(), now),
            Role::Server => Connection::server(Arc::clone(&config), seed(), now),
        };
        // Its request is that of the connection under test, which may not have been lent yet when
        // the answer comes.
        let accept_key = if role == Role::Client && has_handshake {
            accept_key_of(&mut make())
        } else {
            String::new()
        };
        let (connection, mut meter) = Meter::making(make);
        meter.check(&connection);
        let mut wire = Wire::new(role, has_handshake);
        if asks_text_ping(setup) {
            wire.heartbeat_texts = &["ping"];
        } else if setup & script::ANSWER_TEXT_PING != 0 {
            wire.heartbeat_texts = &["pong"];
        }
        Self {
            connection,
            role,
            meter,
            since: (0, 0),
            accept_key,
            setup,
            cuts,
            clock,
            seen: now,
            inbox: Vec::new(),
            taken: 0,
            frames_at: (!has_handshake).then_some(0),
            lent: Vec::new(),
            took: 0,
            head_waits: has_handshake && role == Role::Client,
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
            Step::Frame(first, payload) => {
                self.arrive(&frame_from(self.role.peer(), *first, payload))
            }
            Step::LongFrame(first, length, fill) => {
                self.arrive(&frame_from(
                    self.role.peer(),
                    *first,
                    &vec![*fill; usize::from(*length)],
                ));
            }
            Step::Frames(first, eights) => {
                let frames =
                    frame_from(self.role.peer(), *first, &[]).repeat(usize::from(*eights) * 8);
                self.arrive(&frames);
            }
            Step::Header(first, length) => {
                let length = length
                    .iter()
                    .take(8)
                    .fold(0, |sum, &byte| sum << 8 | u64::from(byte));
                self.arrive(&header(self.role.peer(), *first, length));
            }
            Step::Request(which) => {
                let which = usize::from(*which);
                match self.role {
                    Role::Server => self.arrive(REQUESTS[which % REQUESTS.len()]),
                    Role::Client => {
                        let response = RESPONSES[which % RESPONSES.len()];
                        let response = response.replace("{accept}", &self.accept_key);
                        self.arrive(response.as_bytes());
                    }
                }
            }
            Step::CloseFrame(code, reason) => {
                let payload = [&code.to_be_bytes()[..], reason].concat();
                self.arrive(&frame_from(
                    self.role.peer(),
                    0x88,
                    &payload[..payload.len().min(125)],
                ));
            }
            Step::Pong => {
                let payload = self.wire.last_ping.clone().unwrap_or_default();
                self.arrive(&frame_from(self.role.peer(), 0x8A, &payload));
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
            Step::WouldBlock => self.engine(|connection| connection.handle_would_block(now)),
            Step::Eof => self.engine(|connection| connection.handle_eof(now)),
            Step::Timeout => self.time_out(now),
            Step::Backwards(power) => {
                let nanos = self.clock.saturating_sub(1 << (power % 64));
                let then = Instant::from_nanos(nanos);
                self.engine(|connection| connection.handle_would_block(then));
                self.time_out(then);
            }
            Step::SendText(length) => self.send(&text(*length).into(), copy),
            Step::SendBinary(length) => self.send(&binary(*length).into(), copy),
            Step::SendPart(kind, length) => self.send_part(*kind, *length),
            Step::Ping(length) => {
                let payload = vec![b'p'; usize::from(*length)];
                match self.engine(|connection| connection.ping(&payload)) {
                    Ok(()) => assert!(payload.len() <= 125 && self.state() == State::Open),
                    Err(SendError::PingTooLong) => assert!(payload.len() > 125),
                    Err(SendError::PingNotQueued) => assert_eq!(self.state(), State::Open),
                    Err(error) => {
                        assert_eq!(error, SendError::PingNotOpen);
                        assert_ne!(self.state(), State::Open);
                    }
                }
            }
            Step::Close(code, length) => {
                let reason = "r".repeat(usize::from(*length));
                let code = CloseCode::new(*code);
                let legal = code.is_sendable() && reason.len() <= 123;
                let was = self.state();
                let closed = self.engine(|connection| connection.close(now, code, &reason));
                assert_eq!(closed.is_ok(), legal);
                if !legal {
                    assert_eq!(self.state(), was, "a mistake changed something");
                }
            }
            Step::Abort => self.engine(|connection| connection.abort(now)),
            Step::SetHeartbeat(which) => {
                let config = heartbeat(*which % 10);
                let set = self.engine(|connection| connection.set_heartbeat(now, config));
                // A heartbeat of texts that asks does so in place of pings.
                let asks = asks_text_ping(self.setup) && matches!(*which % 10, 2 | 3);
                let mute = asks.then_some(ConfigError::ApplicationHeartbeat);
                assert_eq!(set, config.validate().and(mute.map_or(Ok(()), Err)));
                if set.is_ok() {
                    self.any_byte_counts = any_byte_counts(*which % 10);
                }
            }
            Step::Resumed => self.engine(|connection| connection.handle_resumed(now)),
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

    /// Calls the connection, and counts what that allocates.
    fn engine<T>(&mut self, call: impl FnOnce(&mut Connection) -> T) -> T {
        let result = self.meter.count(|| call(&mut self.connection));
        self.check_heap();
        result
    }

    /// As [`engine`](Self::engine), for a message that comes back where it is not taken.
    fn try_send(
        &mut self,
        send: impl FnOnce(&mut Connection) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        let sent = self.meter.count(|| send(&mut self.connection));
        if sent.is_ok() {
            self.check_heap();
        }
        sent
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
        self.engine(|connection| connection.handle_timeout(now));
        let next = self.connection.poll_timeout();
        assert!(
            next.is_none_or(|next| next > now),
            "the deadline {next:?} is not after {now:?}"
        );
    }
}

/// The value that a server answers the request at the front of the output with: such a server is at
/// hand.
fn accept_key_of(client: &mut Connection) -> String {
    const NAME: &str = "Sec-WebSocket-Accept: ";
    let now = Instant::ZERO;
    let seed = Seed::predictable_for_tests(1);
    let mut server = Connection::server(Arc::default(), seed, now);
    let _ = feed(&mut server, now, &drain(client, now));
    server.accept(now, &Accept::new()).expect("a request");
    let head = String::from_utf8(drain(&mut server, now)).expect("ASCII");
    let key = head.lines().find_map(|line| line.strip_prefix(NAME));
    key.expect("it agrees").to_owned()
}

/// A message of its own that shares nothing.
fn copy(message: &Message) -> Message {
    match message {
        Message::Text(text) => String::from(&**text).into(),
        Message::Binary(data) => data.to_vec().into(),
    }
}
