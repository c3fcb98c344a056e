//! A client and a server, joined in memory.

mod end;
mod pipe;

use std::sync::Arc;
use std::time::Duration;

use wspulse_core::extension::deflate::DeflateConfig;
use wspulse_core::handshake::ClientRequest;
use wspulse_core::heartbeat::{HeartbeatConfig, Mode};
use wspulse_core::{Cause, CloseCode, Closed, Config, Connection, Delivery, Instant, Seed, State};

use super::parts::{binary, text};
use super::{Cuts, Reader};
use crate::rng::Rng;
use end::End;
use pipe::Pipe;

/// Joins a client and a server that was asked by its head, runs a script over both, then lets them
/// finish and close.
///
/// Each message that was accepted arrives once, in order and equal; what both ends say of the
/// closing handshake agrees; neither is stuck, with output left or a peer gone and no deadline; the
/// heap of each stays within its budget. Nobody is declared dead while both are driven whenever
/// something is due.
///
/// The input is, for each end, a byte of configuration and one of compression; a byte for the pipe;
/// the sizes of reads and those of writes, each behind their count; and steps: a byte whose lower
/// four bits say what happens and whose highest bit says at which end, and its arguments.
pub fn pair(data: &[u8]) {
    let mut reader = Reader::new(data);
    let configs = [(); 2].map(|()| config(&mut reader));
    let pipe = reader.byte();
    let mut pair = Pair::new(&configs, pipe);
    pair.reads = Cuts::new(reader.counted());
    pair.writes = Cuts::new(reader.counted());
    for _ in 0..MAX_STEPS {
        if reader.is_empty() {
            break;
        }
        pair.step(&mut reader);
    }
    pair.conclude();
}

const CLIENT: usize = 0;
const SERVER: usize = 1;

/// What an end is configured for; the longest frame it sends, and whether it takes parts.
struct Settings {
    config: Arc<Config>,
    shape: (usize, bool),
    accepts_at_once: bool,
}

fn config(reader: &mut Reader<'_>) -> Settings {
    let (byte, compression) = (reader.byte(), reader.byte());
    let seconds = Duration::from_secs;
    let heartbeat = match byte & 3 {
        0 => HeartbeatConfig::DEFAULT,
        1 => HeartbeatConfig::ping(seconds(1), seconds(2)),
        2 => HeartbeatConfig::off(),
        _ => HeartbeatConfig::ping(seconds(5), seconds(5)).mode(Mode::Periodic),
    };
    let max_frame = [64 << 10, 100, 5_000, usize::MAX][usize::from(byte >> 2 & 3)];
    let in_parts = byte & 16 != 0;
    let max_buffered = [1 << 20, 2_000][usize::from(byte >> 5 & 1)];
    let deflate = DeflateConfig::DEFAULT
        .level(1 + (compression & 7) % 6)
        .threshold([0, 64][usize::from(compression >> 3 & 1)])
        .context_takeover(compression & 16 == 0)
        .peer_context_takeover(compression & 32 == 0)
        .window_bits([12, 15, 9, 8][usize::from(compression >> 6)])
        .peer_window_bits([15, 10][usize::from(byte >> 7)]);
    let config = Config::builder()
        .heartbeat(heartbeat)
        .delivery(if in_parts {
            Delivery::Parts
        } else {
            Delivery::Messages
        })
        .max_outgoing_frame((max_frame < usize::MAX).then_some(max_frame))
        .max_buffered_amount(max_buffered)
        .deflate((compression & 7 != 0).then_some(deflate));
    Settings {
        config: Arc::new(config.build().expect("valid")),
        shape: (max_frame, in_parts),
        accepts_at_once: byte & 64 == 0,
    }
}

struct Pair<'a> {
    ends: [End; 2],
    /// From the client, and from the server.
    pipes: [Pipe; 2],
    /// Bytes that pass in a second, about.
    throughput: usize,
    now: u64,
    reads: Cuts<'a>,
    writes: Cuts<'a>,
    /// How many messages were made: each differs from the one before.
    made: usize,
    /// How much more the messages of the script may have together.
    left: usize,
    /// Both ends were driven whenever something was due.
    is_prompt: bool,
}

impl Pair<'_> {
    fn new(settings: &[Settings; 2], pipe: u8) -> Self {
        let request = ClientRequest::new("example.com", "/").expect("valid");
        let [seed, other] = [1, 2].map(Seed::predictable_for_tests);
        let [client, server] = settings;
        let at = Instant::ZERO;
        let is_compressed = settings.iter().all(|end| end.config.deflate().is_some());
        let left = if is_compressed {
            MAX_COMPRESSED
        } else {
            MAX_QUEUED
        };
        let config = Arc::clone(&client.config);
        let make = || Connection::client(config, &request, seed, at);
        let client = End::new(make, client.shape);
        let config = Arc::clone(&server.config);
        let make = || Connection::server(config, other, at);
        let mut server_end = End::new(make, server.shape);
        server_end.accepts_at_once = server.accepts_at_once;
        let capacity = [64 << 10, 1 << 20, 5_000, 700][usize::from(pipe & 3)];
        let delay = [0, 1, 10, 30][usize::from(pipe >> 2 & 3)];
        Self {
            ends: [client, server_end],
            pipes: [(); 2].map(|()| Pipe::new(capacity, delay)),
            throughput: capacity * 1_000 / delay.max(1) as usize,
            now: 0,
            reads: Cuts::new(&[]),
            writes: Cuts::new(&[]),
            made: 0,
            left,
            is_prompt: true,
        }
    }

    // ---- the script

    fn step(&mut self, reader: &mut Reader<'_>) {
        let byte = reader.byte();
        let which = usize::from(byte >> 7);
        let now = self.now;
        let peer = 1 - which;
        match byte & 15 {
            kind @ 0..=2 => {
                let length = usize::from(reader.short()) << (byte >> 4 & 3);
                let payload = self.payload(kind, length);
                self.ends[peer].expect(payload.len());
                self.ends[which].send(kind == 0, payload);
            }
            3 => {
                let (kind, length) = (reader.byte(), usize::from(reader.short()));
                let is_text = self.ends[which].sends_text().unwrap_or(kind & 1 == 0);
                let payload = self.payload(if is_text { 0 } else { 1 + (kind >> 1 & 1) }, length);
                self.ends[which].send_part(is_text, payload, kind & 4 != 0);
                let longest = self.ends[which].longest();
                self.ends[peer].expect(longest as usize);
            }
            4 => self.ends[which].ping(usize::from(reader.byte()) % 126),
            5 => {
                let codes = [1_000, 1_001, 3_000, 4_999];
                let code = CloseCode::new(codes[usize::from(reader.byte() & 3)]);
                self.ends[which].close(now, code);
            }
            6 => {
                self.turn(which, false);
            }
            7 => {
                let most = reader.short().into();
                self.ends[which].write(now, &mut self.pipes[which], most);
            }
            8 => {
                let most = usize::from(reader.byte()).max(1);
                self.ends[which].read(now, &mut self.pipes[peer], most);
            }
            9 => {
                for _ in 0..reader.byte() {
                    if !self.poll_event(which) {
                        break;
                    }
                }
            }
            10 => {
                let end = &mut self.ends[which];
                end.is_holding = !end.is_holding;
            }
            11 => self.pass(u64::from(reader.byte()), None),
            12 => {
                let until = self.next().unwrap_or(now);
                self.pass(until - now, None);
            }
            13 => self.pass(reader.short().into(), Some(which)),
            14 => {
                if reader.byte() == 0xAB {
                    self.ends[which].abort(now);
                }
            }
            _ => self.ends[SERVER].accept(now),
        }
    }

    /// Text, repeating bytes or noise of this length, with a number at its front.
    fn payload(&mut self, kind: u8, length: usize) -> Vec<u8> {
        self.made += 1;
        let length = length.min(self.left);
        self.left -= length;
        let short = u16::try_from(length).unwrap_or(u16::MAX);
        let mut payload = match kind {
            0 => {
                let number = format!("{} ", self.made);
                let rest = length.saturating_sub(number.len());
                let rest = u16::try_from(rest).unwrap_or(u16::MAX);
                return (number + &text(rest)).into_bytes();
            }
            1 => binary(short).repeat(length.div_ceil(usize::from(short).max(1))),
            _ => {
                let mut rng = Rng::new(self.made as u64);
                let mut noise = Vec::with_capacity(length + 8);
                while noise.len() < length {
                    noise.extend(rng.draw().to_le_bytes());
                }
                noise
            }
        };
        payload.truncate(length);
        for (place, byte) in payload.iter_mut().zip(self.made.to_le_bytes()) {
            *place = byte;
        }
        payload
    }

    // ---- the drive loop

    fn poll_event(&mut self, which: usize) -> bool {
        let [client, server] = &mut self.ends;
        let (end, peer) = if which == CLIENT {
            (client, server)
        } else {
            (server, client)
        };
        end.poll_event(self.now, peer)
    }

    /// Drives the ends that are awake until nothing moves at this time.
    fn exchange(&mut self, at_once: bool, asleep: Option<usize>) {
        for _ in 0..MAX_ROUNDS {
            let mut is_moved = false;
            for which in [CLIENT, SERVER] {
                is_moved |= Some(which) != asleep && self.turn(which, at_once);
            }
            if !is_moved {
                return;
            }
        }
        panic!(
            "it spins: {:?}",
            self.ends.each_ref().map(|end| &end.connection)
        );
    }

    /// Drives one end until nothing moves, in pieces as the script has them or at once; tells whether
    /// anything did.
    fn turn(&mut self, which: usize, at_once: bool) -> bool {
        let now = self.now;
        for round in 0..MAX_ROUNDS {
            let mut is_moved = false;
            // Much is cut coarsely: small pieces of it teach nothing new.
            let coarse = (self.pipes[1 - which].held() / 128).max(1);
            let most = piece(at_once, &mut self.reads, coarse);
            is_moved |= self.ends[which].read(now, &mut self.pipes[1 - which], most);
            is_moved |= self.ends[which].time_out(now);
            if !self.ends[which].is_holding {
                while self.poll_event(which) {
                    is_moved = true;
                }
            }
            let coarse = (self.ends[which].connection.buffered_amount() / 64).max(1);
            let most = piece(at_once, &mut self.writes, coarse);
            is_moved |= self.ends[which].write(now, &mut self.pipes[which], most);
            let [up, down] = &mut self.pipes;
            let (to, from) = if which == CLIENT {
                (up, down)
            } else {
                (down, up)
            };
            is_moved |= self.ends[which].shut_down(to, from);
            if !is_moved {
                return round > 0;
            }
        }
        panic!("it spins: {:?}", self.ends[which].connection);
    }

    /// When something is due or arrives next, later than now, for an end that is awake.
    fn next_for(&self, asleep: Option<usize>) -> Option<u64> {
        let awake = (0..2).filter(|which| Some(*which) != asleep);
        let times = awake.flat_map(|which| {
            let due = self.ends[which].connection.poll_timeout();
            // The next whole millisecond at which the deadline has passed.
            let due = due.map(|due| due.as_nanos().div_ceil(1_000_000));
            [due, self.pipes[1 - which].arrival()]
        });
        times.flatten().filter(|time| *time > self.now).min()
    }

    fn next(&self) -> Option<u64> {
        self.next_for(None)
    }

    /// Lets time pass, in which every end that is awake does what is due when it is.
    fn pass(&mut self, millis: u64, asleep: Option<usize>) {
        let until = self.now + millis;
        for _ in 0..MAX_ROUNDS {
            self.exchange(false, asleep);
            let next = self.next_for(asleep).filter(|next| *next <= until);
            let is_held = self.ends.iter().any(|end| end.is_holding || end.is_asked);
            self.is_prompt &= self.now == until || (asleep.is_none() && !is_held);
            self.now = next.unwrap_or(until);
            if next.is_none() {
                return;
            }
        }
        panic!("there is always something due");
    }

    // ---- the end

    fn conclude(&mut self) {
        for end in &mut self.ends {
            end.is_holding = false;
            end.accept(self.now);
            end.accepts_at_once = true;
        }
        self.settle(|pair| pair.is_quiet());
        for end in &mut self.ends {
            end.finish_message();
        }
        self.settle(|pair| pair.is_quiet());
        if self.ends.iter().all(|end| end.state() == State::Open) {
            for end in &self.ends {
                assert!(end.accepted.is_empty(), "a message is lost");
            }
        }
        self.ends[CLIENT].close(self.now, CloseCode::GOING_AWAY);
        let over = |pair: &Self| pair.ends.iter().all(|end| end.closed.is_some());
        self.settle(over);
        let [client, server] = &self.ends;
        self.ended_well(client);
        self.ended_well(server);
        self.agree(client, server);
        self.agree(server, client);
    }

    /// Whether nothing is left to do but heartbeats.
    fn is_quiet(&self) -> bool {
        let is_quiet = |which: usize| {
            let end = &self.ends[which];
            let is_still = !end.connection.wants_write() && end.is_idle();
            let is_settled = matches!(end.state(), State::Open | State::Closed);
            is_still && is_settled && self.pipes[which].is_empty()
        };
        is_quiet(CLIENT) && is_quiet(SERVER) || self.ends.iter().all(|end| end.closed.is_some())
    }

    /// Drives both ends until it is `enough`.
    fn settle(&mut self, enough: impl Fn(&Self) -> bool) {
        for _ in 0..MAX_ROUNDS {
            self.exchange(true, None);
            if enough(self) {
                return;
            }
            // With something to come for one end alone, the other must not wait for ever.
            let next = self.next();
            self.now = next.unwrap_or_else(|| {
                let ends = self.ends.each_ref().map(|end| &end.connection);
                panic!("stuck: {ends:?}, {:?}", self.pipes)
            });
        }
        panic!("it never ends");
    }

    fn ended_well(&self, end: &End) {
        let closed = end.closed.as_ref().expect("it is over");
        let both = self
            .ends
            .each_ref()
            .map(|end| end.closed.as_deref().expect("over"));
        let is_slow = self.throughput < 512 << 10 || !self.is_prompt;
        match &closed.cause {
            Cause::Normal => assert!(closed.clean, "{closed:?}"),
            // Where one end is gone, the other may see no more than the end of the stream.
            Cause::Eof | Cause::Handshake(_) => assert!(
                self.ends.iter().any(|end| end.is_aborted)
                    || both.iter().any(|other| is_given_up(other)),
                "{both:?}"
            ),
            Cause::Aborted => assert!(end.is_aborted),
            Cause::CloseTimeout => assert!(is_slow, "{both:?}"),
            Cause::Dead(_) => assert!(!self.is_prompt, "a live peer was declared dead: {both:?}"),
            Cause::HandshakeTimeout => assert!(is_slow, "{both:?}"),
            cause => panic!("{cause:?}"),
        }
        if closed.cause == Cause::CloseTimeout {
            let since = end.closed_at.map_or(0, |at| self.now - at);
            let timeout = end.connection.config().close_timeout().as_millis() as u64;
            assert!(
                end.closed_at.is_none() || since >= timeout,
                "too early: {since} ms"
            );
        }
    }

    /// What `one` sent of the closing handshake is what `other` received, and every message came.
    fn agree(&self, one: &End, other: &End) {
        let [sent, received] = [one, other].map(|end| end.closed.as_deref().expect("it is over"));
        if let Some(frame) = &received.received {
            assert_eq!(sent.sent, Some(frame.code), "{sent:?} {received:?}");
        }
        let all_is_well = [sent, received].iter().all(|closed| closed.clean);
        if all_is_well {
            assert!(other.closed_with(sent), "{sent:?} {received:?}");
            assert!(one.accepted.is_empty(), "a message is lost");
            // A message in parts may be cut short by a Close.
            let is_whole = !other.is_inside_message() || one.sends_text().is_some();
            assert!(is_whole, "half a message");
        }
    }
}

/// How much one call moves at most.
fn piece(at_once: bool, cuts: &mut Cuts<'_>, coarse: usize) -> usize {
    if at_once {
        usize::MAX
    } else {
        cuts.size() * coarse
    }
}

/// Whether an end stopped waiting for the other.
fn is_given_up(closed: &Closed) -> bool {
    let by_timer = matches!(
        closed.cause,
        Cause::Dead(_) | Cause::CloseTimeout | Cause::HandshakeTimeout
    );
    by_timer || closed.cause == Cause::Aborted
}

const MAX_STEPS: usize = 100;

/// What all messages of a script have together; less where they are compressed, which takes longer
/// than all else.
const MAX_QUEUED: usize = 256 << 10;
const MAX_COMPRESSED: usize = 32 << 10;

const MAX_ROUNDS: usize = 2_000_000;
