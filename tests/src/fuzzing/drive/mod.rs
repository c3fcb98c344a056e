//! A drive over a stream that fails in every way.

mod stream;

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{CloseCode, Config, Connection, Event, Instant, Role, Seed, SendError, State};
use wspulse_drive::{Clock, Drive, READ_SIZE, with_buffer};

use super::Reader;
use super::endpoint::Wire;
use super::naive;
use super::parts::{binary, frame_from, text};
use crate::meter::Meter;
use stream::Stream;

/// Runs a script over a [`Drive`]: the peer's bytes, an application that takes events or does not,
/// and a stream that moves few bytes, would block, is interrupted, ends, is reset, takes no output
/// or cannot be half-closed.
///
/// Turns are bounded: without something new, nothing moves any more. After them no timer is due. A
/// message that was accepted leaves whenever the stream takes bytes (rule 18); pings are answered, a
/// mute peer is found, and after a failed write no message is accepted, whether the application
/// takes its events or not (rule 16). What came before the end is handed out before it, and the end
/// is told once.
///
/// While the application takes no events they go into the inbox. Once that is full nothing is read,
/// and the rest of rule 16 waits.
///
/// The input is a byte of configuration (bit 0: the role; bits 1 and 2: the heartbeat; bit 3: a
/// small queue; bits 4 and 5: how the half-close fails), what happens at the calls of the stream,
/// one after the other, behind its count, and steps: a byte that says what happens, and its
/// arguments.
pub fn drive(data: &[u8]) {
    let mut reader = Reader::new(data);
    let setup = reader.byte();
    let faults = reader.counted();
    let mut run = Run::new(setup, faults);
    for _ in 0..MAX_STEPS {
        if reader.is_empty() {
            break;
        }
        run.step(&mut reader);
    }
    run.conclude();
}

/// Time that passes only when the script says so.
struct Virtual(Cell<u64>);

impl Clock for Virtual {
    fn now(&self) -> Instant {
        Instant::from_millis(self.0.get())
    }
}

struct Run {
    drive: Drive,
    stream: Stream,
    clock: Virtual,
    role: Role,
    meter: Meter,
    heartbeat_is_on: bool,
    /// What the stream took, read by a peer that trusts nothing.
    wire: Wire,
    read_by_peer: usize,
    /// The application takes no events.
    is_holding: bool,
    has_closed: bool,
    messages: Vec<(bool, Vec<u8>)>,
    /// How often the end was told.
    ends: usize,
    left: usize,
}

impl Run {
    fn new(setup: u8, faults: &[u8]) -> Self {
        let role = [Role::Server, Role::Client][usize::from(setup & 1)];
        let seconds = Duration::from_secs;
        let heartbeat = match setup >> 1 & 3 {
            0 => HeartbeatConfig::ping(seconds(1), seconds(2)),
            1 => HeartbeatConfig::off(),
            2 => HeartbeatConfig::passive(seconds(3)),
            _ => HeartbeatConfig::DEFAULT,
        };
        let limit = if setup & 8 == 0 { 1 << 20 } else { 2_000 };
        let config = Config::builder()
            .heartbeat(heartbeat)
            .max_buffered_amount(limit);
        let config = Arc::new(config.build().expect("valid"));
        // The buffer of the thread is not the connection's.
        with_buffer(|_| ());
        let seed = Seed::predictable_for_tests(1);
        let (drive, mut meter) = Meter::making(|| {
            let at = Instant::ZERO;
            Drive::new(Connection::from_upgrade(role, config, seed, at))
        });
        meter.check(drive.connection());
        Self {
            drive,
            stream: Stream::new(faults, setup >> 4),
            clock: Virtual(Cell::new(0)),
            role,
            meter,
            heartbeat_is_on: setup >> 1 & 3 != 1,
            wire: Wire::new(role, false),
            read_by_peer: 0,
            is_holding: false,
            has_closed: false,
            messages: Vec::new(),
            ends: 0,
            left: MAX_BYTES,
        }
    }

    fn step(&mut self, reader: &mut Reader<'_>) {
        match reader.byte() & 15 {
            0 => {
                let first = reader.byte();
                let frame = frame_from(self.role.peer(), first, reader.counted());
                self.arrive(&frame);
            }
            1 => {
                let bytes = reader.counted().to_vec();
                self.arrive(&bytes);
            }
            2 => {
                let length = reader.short();
                self.send(text(length).into_bytes(), true);
            }
            3 => {
                let length = reader.short();
                self.send(binary(length), false);
            }
            4 => {
                let _ = self.command(|connection, _| connection.ping(b"p"));
            }
            5 => {
                let close =
                    |connection: &mut Connection, now| connection.close(now, CloseCode::NORMAL, "");
                self.command(close).expect("legal");
                self.has_closed = true;
            }
            6 => self.pass(reader.short().into()),
            7 => {
                self.turn();
            }
            8 => self.settle(),
            9 => {
                for _ in 0..reader.byte() {
                    if !self.poll_event() {
                        break;
                    }
                }
            }
            10 => self.stream.room = usize::from(reader.byte()) * 16,
            11 => self.stream.room = usize::MAX,
            12 => {
                let kinds = [
                    Ok(()),
                    Err(io::ErrorKind::ConnectionReset),
                    Err(io::ErrorKind::TimedOut),
                ];
                self.stream.read_end = Some(kinds[usize::from(reader.byte() % 3)]);
            }
            13 => {
                let kinds = [
                    Ok(()),
                    Err(io::ErrorKind::BrokenPipe),
                    Err(io::ErrorKind::TimedOut),
                ];
                self.stream.write_end = Some(kinds[usize::from(reader.byte() % 3)]);
            }
            14 => {
                let payload = self.wire.last_ping.clone().unwrap_or_default();
                let pong = frame_from(self.role.peer(), 0x8A, &payload);
                self.arrive(&pong);
            }
            _ => self.is_holding = !self.is_holding,
        }
    }

    // ---- the world

    fn arrive(&mut self, bytes: &[u8]) {
        if self.stream.read_end.is_none() && self.left >= bytes.len() {
            self.left -= bytes.len();
            self.stream.inbox.extend(bytes);
        }
    }

    /// Calls the drive, and counts what that allocates.
    fn call<T>(&mut self, call: impl FnOnce(&mut Drive, &mut Stream, &Virtual) -> T) -> T {
        // The stream has its own allocations; it allocates before and after.
        self.stream.taken.reserve(MAX_COMMIT);
        self.stream.delivered.reserve(READ_SIZE);
        let before = self.stream.delivered.len();
        let (drive, stream, clock) = (&mut self.drive, &mut self.stream, &self.clock);
        let result = self.meter.count(|| call(drive, stream, clock));
        // What the inbox holds beside the copy of a payload is counted in its cost.
        self.meter
            .allow(2 * self.drive.inbox_bytes() as u64 + INBOX);
        // Bytes that were read and not taken are among those that arrived.
        self.meter.arrived(self.stream.delivered.len() - before);
        self.meter.look(self.drive.connection());
        result
    }

    fn command<T>(&mut self, run: impl FnOnce(&mut Connection, Instant) -> T) -> T {
        let now = self.clock.now();
        self.call(|drive, _, _| drive.command(|connection| run(connection, now)))
    }

    fn send(&mut self, payload: Vec<u8>, is_text: bool) {
        if self.left < payload.len() {
            return;
        }
        self.left -= payload.len();
        self.meter.expect(payload.len());
        let was_failed = self.stream.has_failed_writing;
        let sent = self.command(|connection, _| {
            if is_text {
                let text = str::from_utf8(&payload).expect("text");
                connection.send(text.to_owned())
            } else {
                connection.send(payload.clone())
            }
        });
        match sent {
            Ok(()) => {
                // Rule 16: a failed write ends the connection for the sender at once.
                assert!(!was_failed, "accepted behind a failed write");
                self.wire.queue(is_text, payload);
            }
            Err(error) => {
                let is_known = matches!(error, SendError::Full(_) | SendError::NotOpen(_));
                assert!(is_known, "{error:?}");
                self.call(|_, _, _| drop(error));
            }
        }
    }

    // ---- the drive loop

    /// One turn, as an adapter makes it: tells whether another one may move more.
    fn turn(&mut self) -> bool {
        let moved = self.stream.delivered.len() + self.stream.taken.len();
        let interruptions = self.stream.interruptions;
        let is_holding = self.is_holding;
        let turn = self.call(|drive, stream, clock| match is_holding {
            true => drive.turn_ahead(stream, clock),
            false => drive.turn(stream, clock),
        });
        self.meter.check(self.drive.connection());
        self.read_as_peer();
        let has_moved = self.stream.delivered.len() + self.stream.taken.len() > moved;
        assert!(turn.read == 0 || turn.moved, "{turn:?}");
        let mut has_event = false;
        if !self.is_holding {
            while self.poll_event() {
                has_event = true;
            }
        }
        let is_interrupted = self.stream.interruptions > interruptions;
        has_moved || has_event || (turn.has_progress() && !is_interrupted)
    }

    /// Turns until nothing moves; the stream is ready again after each time that it would block.
    fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..MAX_TURNS {
            quiet = if self.turn() { 0 } else { quiet + 1 };
            if quiet > self.stream.faults.len() {
                self.nothing_is_due();
                return self.nothing_is_held_back();
            }
        }
        panic!("it spins: {:?} {:?}", self.drive, self.stream);
    }

    fn nothing_is_due(&self) {
        let now = self.clock.now();
        let due = self.drive.poll_timeout();
        assert!(due.is_none_or(|due| due > now), "due and not run: {due:?}");
    }

    /// Rule 18: what was accepted is on its way, as far as the stream takes it.
    fn nothing_is_held_back(&mut self) {
        let takes_output = self.stream.room > 0 && self.stream.write_end.is_none();
        if self.drive.connection().state() == State::Open && takes_output {
            assert!(!self.drive.wants_write(), "output is left");
            assert!(self.wire.has_all(), "a message is held back");
            self.pings_are_answered();
        }
    }

    /// Rule 16: at least the last ping of those that arrived is.
    fn pings_are_answered(&self) {
        if self.drive.is_inbox_full() {
            return;
        }
        let (read, unread) = (self.stream.delivered.iter(), self.stream.inbox.iter());
        let came: Vec<u8> = read.chain(unread).copied().collect();
        let stream = naive::read(&came, self.role == Role::Server, 0);
        let mut pings = stream
            .frames
            .iter()
            .filter(|frame| frame.opcode == 9 && frame.is_whole);
        let last = pings.next_back().map(|ping| &ping.payload);
        assert_eq!(last, self.wire.pongs.last(), "a ping is not answered");
    }

    fn read_as_peer(&mut self) {
        let taken = &self.stream.taken[self.read_by_peer..];
        if !taken.is_empty() {
            self.wire.extend(taken);
            self.read_by_peer = self.stream.taken.len();
        }
    }

    fn pass(&mut self, millis: u64) {
        let until = self.clock.0.get() + millis;
        for _ in 0..MAX_TURNS {
            self.settle();
            let due = self.drive.poll_timeout();
            let due = due.map(|due| due.as_nanos().div_ceil(1_000_000));
            match due.filter(|due| *due <= until) {
                Some(due) => self.clock.0.set(due.max(self.clock.0.get())),
                None => return self.clock.0.set(until),
            }
        }
        panic!("there is always something due");
    }

    // ---- events

    fn poll_event(&mut self) -> bool {
        let Some(event) = self.call(|drive, _, _| drive.poll_event()) else {
            return false;
        };
        assert_eq!(self.ends, 0, "an event after the last");
        match &event {
            Event::Text(text) => self.messages.push((true, text.as_bytes().to_vec())),
            Event::Binary(data) => self.messages.push((false, data.to_vec())),
            Event::Closed(_) => self.ends += 1,
            _ => {}
        }
        self.call(|_, _, _| drop(event));
        true
    }

    // ---- the end

    fn conclude(&mut self) {
        // The stream works again, unless it failed for good; the application does as it did.
        self.stream.faults.clear();
        self.stream.room = usize::MAX;
        self.settle();
        if self.stream.has_failed_writing {
            self.send(b"late".to_vec(), false);
        }
        // Then the peer is mute.
        let nobody_reads = self.drive.is_inbox_full();
        self.pass(MUTE);
        let is_open = self.drive.connection().state() == State::Open;
        if self.heartbeat_is_on && !nobody_reads {
            assert!(!is_open, "a mute peer is not found");
        }
        self.is_holding = false;
        self.settle();
        self.stream.read_end.get_or_insert(Ok(()));
        self.pass(MUTE);
        self.settle();
        assert_eq!(self.ends, 1, "the end is told once: {:?}", self.drive);
        assert!(self.drive.closed().is_some() && self.drive.is_over());
        assert!(!self.turn(), "it moves after its end");
        assert!(self.stream.shutdowns <= 1, "half-closed twice");
        self.told_what_came();
    }

    /// All whole messages before a Close, or before what ends the connection, were handed out.
    fn told_what_came(&self) {
        let mut came = Vec::new();
        let mut message: Option<(bool, Vec<u8>)> = None;
        let stream = naive::read(&self.stream.delivered, self.role == Role::Server, 0);
        for frame in stream.frames {
            match frame.opcode {
                8 => break,
                9 | 10 => {}
                opcode => {
                    let (_, payload) = message.get_or_insert((opcode == 1, Vec::new()));
                    payload.extend(frame.payload);
                    if frame.fin && frame.is_whole {
                        came.extend(message.take());
                    }
                }
            }
        }
        assert!(
            came.starts_with(&self.messages),
            "a message that nobody sent"
        );
        let closed = self.drive.closed().expect("it is over");
        // What ended the connection may be a message itself, or may have come before one.
        let ended_by_stream = closed.cause == wspulse_core::Cause::Eof;
        if ended_by_stream && !self.has_closed && !self.stream.has_failed_writing {
            assert_eq!(
                self.messages.len(),
                came.len(),
                "a message before the end is lost"
            );
        }
    }
}

const MAX_STEPS: usize = 100;

/// What the script brings in and sends, together.
const MAX_BYTES: usize = 256 << 10;

const MAX_TURNS: usize = 1 << 20;

/// The first block of an inbox.
const INBOX: u64 = 512;

/// How long a mute peer goes unfound at most with any of the heartbeats, and with a write that
/// stalls, in milliseconds.
const MUTE: u64 = 120_000;

/// The most that is committed at once, and so written.
const MAX_COMMIT: usize = (1 << 20) + (64 << 10);
