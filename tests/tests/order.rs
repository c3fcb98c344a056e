//! Any order of calls is legal: whatever else is called, the bytes and the events are the same, and
//! no more is held than the budget allows.

use wspulse_core::handshake::{Accept, ClientRequest};
use wspulse_core::{CloseCode, Config, Connection, Event, Instant, Message, Role, Seed, State};
use wspulse_tests::alloc::Counting;
use wspulse_tests::kit::{at, ms};
use wspulse_tests::meter::Meter;
use wspulse_tests::rng::{Rng, traces};
use wspulse_tests::wire::{Frame, Wire, frame, opcode};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What an owner may do besides what it has to.
#[derive(Clone, Copy, Debug)]
struct Habits {
    /// Percent of the places at which some call is made that nobody asked for.
    extra: u64,
    /// The most bytes handed over, and taken, at once; 0 for all.
    cut: usize,
}

const PLAIN: Habits = Habits { extra: 0, cut: 0 };

/// What happens to the connection, by itself and by command.
#[derive(Clone, Debug)]
enum Act {
    Input(Vec<u8>),
    Send(Message),
    Part(Message, bool),
    Ping(Vec<u8>),
    Close,
    Timeout,
    Eof,
}

/// An event as it can be compared.
fn text(event: &Event) -> String {
    match event {
        Event::Closed(closed) => {
            // The numbers of a snapshot tell of the calls; the rest must not.
            let sent = (
                closed.sent,
                &closed.received,
                closed.clean,
                closed.initiator,
            );
            format!("Closed {:?} {sent:?}", closed.cause)
        }
        Event::Text(text) => format!("Text {text}"),
        Event::Binary(data) => {
            let sum = data.iter().fold(7_u64, |sum, byte| {
                sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
            });
            format!("Binary of {} bytes, {sum:x}", data.len())
        }
        event => format!("{event:?}"),
    }
}

/// One run of a script: what went out, what was told, and when it wanted to be woken.
#[derive(Debug, Default, PartialEq, Eq)]
struct Streams {
    bytes: Vec<u8>,
    events: Vec<String>,
    deadlines: Vec<Option<Instant>>,
}

struct Run<'a> {
    connection: Connection,
    meter: Meter,
    habits: Habits,
    rng: &'a mut Rng,
    now: Instant,
    streams: Streams,
    turns: u64,
}

impl Run<'_> {
    fn extra(&mut self) {
        self.turns += 1;
        assert!(self.turns < 3_000_000, "a busy loop: {:?}", self.connection);
        while self.rng.chance(self.habits.extra) {
            let which = self.rng.below(12);
            if which == 2 {
                self.event();
                continue;
            }
            let (now, lie) = (self.now, &mut *self.rng);
            self.meter
                .call(&mut self.connection, |connection| match which {
                    0 => drop(connection.poll_timeout()),
                    1 => {
                        // Lent and not written; lent again later.
                        let lent = connection.poll_transmit().map(|lent| lent.first().to_vec());
                        let again = connection.poll_transmit().map(|lent| lent.first().to_vec());
                        assert_eq!(lent, again);
                    }
                    3 => connection.handle_would_block(now),
                    4 => connection.handle_timeout(now),
                    5 => assert_eq!(connection.handle_input(now, &[]), 0),
                    6 => connection.handle_timeout(Instant::ZERO),
                    7 => drop(connection.snapshot(now)),
                    8 => drop((connection.wants_read(), connection.wants_write())),
                    9 => drop((
                        connection.wants_shutdown(),
                        connection.next_timeout_reason(),
                    )),
                    10 if connection.poll_transmit().is_none() => {
                        // A report of what was never lent.
                        let lie = lie.draw() as usize;
                        connection.handle_transmitted(now, lie);
                    }
                    _ if connection.state() == State::Open => {
                        // A mistake of the caller's changes nothing.
                        connection.accept(now, &Accept::new()).unwrap_err();
                        connection.ping(&[0; 126]).unwrap_err();
                        connection.close(now, CloseCode::new(1005), "").unwrap_err();
                    }
                    _ => {}
                });
        }
    }

    fn event(&mut self) {
        let now = self.now;
        if let Some(event) = self.call(Connection::poll_event) {
            self.streams.events.push(text(&event));
            if matches!(event, Event::Request(_)) {
                self.call(|it| it.accept(now, &Accept::new()).unwrap());
            }
            self.call(|_| drop(event));
        }
    }

    fn call<T>(&mut self, call: impl FnOnce(&mut Connection) -> T) -> T {
        self.meter.call(&mut self.connection, call)
    }

    fn settle(&mut self) {
        loop {
            self.extra();
            let before = self.streams.events.len();
            self.event();
            if self.streams.events.len() == before {
                break;
            }
        }
        loop {
            self.extra();
            if !self.call(|it| it.poll_transmit().is_some()) {
                break;
            }
            let transmit = self.connection.poll_transmit().expect("as before");
            let len: usize = transmit.chunks().map(<[u8]>::len).sum();
            assert_eq!(len, transmit.len());
            let n = match self.habits.cut {
                0 => len,
                cut => self.rng.len(0..=cut.min(len)),
            };
            let mut left = n;
            for chunk in transmit.chunks() {
                let part = &chunk[..chunk.len().min(left)];
                self.streams.bytes.extend_from_slice(part);
                left -= part.len();
            }
            let now = self.now;
            self.call(|it| it.handle_transmitted(now, n));
        }
    }

    fn act(&mut self, act: &Act) {
        let now = self.now;
        match act {
            Act::Input(bytes) => {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    self.extra();
                    let n = match self.habits.cut {
                        0 => rest.len(),
                        cut => self.rng.len(1..=cut.min(rest.len())),
                    };
                    let wanted = self.connection.wants_read();
                    let (connection, now) = (&mut self.connection, self.now);
                    let taken = self.meter.input(connection, now, &rest[..n]);
                    assert!(taken > 0 || !wanted, "wants to read, and takes nothing");
                    rest = &rest[taken..];
                    while let before = self.streams.events.len()
                        && {
                            self.event();
                            self.streams.events.len() > before
                        }
                    {}
                }
            }
            // The script keeps a share of what is sent.
            Act::Send(message) => self.call(|it| drop(it.send(message.clone()))),
            Act::Part(part, last) => self.call(|it| drop(it.send_part(part.clone(), *last))),
            Act::Ping(payload) => self.call(|it| drop(it.ping(payload))),
            Act::Close => {
                let closed = self.call(|it| it.close(now, CloseCode::NORMAL, "bye"));
                closed.unwrap();
            }
            Act::Timeout => self.call(|it| it.handle_timeout(now)),
            Act::Eof => self.call(|it| it.handle_eof(now)),
        }
        self.settle();
        self.streams.deadlines.push(self.connection.poll_timeout());
    }
}

fn play(make: impl Fn() -> Connection, script: &[Act], habits: Habits, seed: u64) -> Streams {
    let mut rng = Rng::new(seed);
    let (connection, mut meter) = Meter::making(make);
    meter.expect(200_000);
    let streams = Streams::default();
    let mut run = Run {
        connection,
        meter,
        habits,
        rng: &mut rng,
        now: at(0),
        streams,
        turns: 0,
    };
    run.settle();
    for (index, act) in script.iter().enumerate() {
        run.now = at(index as u64 * 10);
        run.act(act);
    }
    // Whatever the script left open.
    run.now = run.now.saturating_add(ms(10));
    run.act(&Act::Eof);
    assert_eq!(run.connection.state(), State::Closed);
    run.streams
}

fn payload(rng: &mut Rng, longest: usize) -> Vec<u8> {
    let mut bytes = vec![0; rng.len(0..=longest)];
    rng.fill(&mut bytes);
    bytes
}

fn word(rng: &mut Rng) -> String {
    "añ€𝄞".repeat(rng.len(0..=40))
}

/// A random script of up to 30 acts, on either side, with or without a handshake.
fn script(rng: &mut Rng, role: Role) -> Vec<Act> {
    let from = role.peer();
    let mut list = Vec::new();
    for _ in 0..rng.range(1..=30) {
        let longest = if rng.chance(3) { 200_000 } else { 300 };
        list.push(match rng.below(14) {
            0..=2 => Act::Input(frame(from, opcode::BINARY, &payload(rng, longest))),
            3 => Act::Input(frame(from, opcode::TEXT, word(rng).as_bytes())),
            4 => {
                // Fragments, and a ping between them.
                let bytes = word(rng).into_bytes();
                let cut = rng.len(0..=bytes.len());
                let first = Frame::new(opcode::TEXT, &bytes[..cut])
                    .unfinished()
                    .from(from);
                let ping = frame(from, opcode::PING, &payload(rng, 125));
                let last = frame(from, opcode::CONTINUATION, &bytes[cut..]);
                Act::Input([first.encode(), ping, last].concat())
            }
            5 | 6 => Act::Input(frame(from, opcode::PING, &payload(rng, 125))),
            7 => Act::Input(frame(from, opcode::PONG, &payload(rng, 125))),
            8 | 9 => Act::Send(payload(rng, longest).into()),
            10 => Act::Part(word(rng).into(), rng.chance(50)),
            11 => Act::Ping(payload(rng, 125)),
            12 if rng.chance(20) => Act::Close,
            12 if rng.chance(20) => {
                let code = rng.pick(&[1000, 1001, 1005, 3000, 999]);
                Act::Input(Frame::close(code, "so long").from(from).encode())
            }
            12 if rng.chance(20) => Act::Input(payload(rng, 100)),
            _ => Act::Timeout,
        });
    }
    list
}

/// An open connection, or one that has its handshake before it.
fn connection(role: Role, handshake: bool, seed: u64) -> Connection {
    let config = Config::builder()
        .report_control(seed.is_multiple_of(2))
        .build()
        .unwrap()
        .into();
    let entropy = Seed::predictable_for_tests(seed);
    match role {
        _ if !handshake => Connection::from_upgrade(role, config, entropy, at(0)),
        Role::Server => Connection::server(config, entropy, at(0)),
        Role::Client => {
            let request = ClientRequest::new("example.org", "/chat").unwrap();
            Connection::client(config, &request, entropy, at(0))
        }
    }
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// A trace: what to make, and what happens to it.
fn trace(rng: &mut Rng) -> (Role, bool, u64, Vec<Act>) {
    let role = rng.pick(&[Role::Client, Role::Server]);
    // A client's handshake needs an answer to its nonce; servers show it as well.
    let handshake = role == Role::Server && rng.chance(30);
    let mut list = script(rng, role);
    if handshake {
        list.insert(0, Act::Input(REQUEST.to_vec()));
    }
    (role, handshake, rng.draw(), list)
}

/// Checks `habits` against the plain run; returns the length of the streams.
fn same(seed: u64, habits: impl Fn(&mut Rng) -> Habits, deadlines: bool) -> (usize, usize) {
    let mut rng = Rng::new(seed);
    let (role, handshake, entropy, script) = trace(&mut rng);
    let make = || connection(role, handshake, entropy);
    let plain = play(make, &script, PLAIN, 0);
    let mut habits = habits(&mut rng);
    let input = |act: &Act| {
        if let Act::Input(bytes) = act {
            bytes.len()
        } else {
            0
        }
    };
    let size = plain.bytes.len() + script.iter().map(input).sum::<usize>();
    if habits.cut > 0 && size > 50_000 {
        habits.cut = habits.cut.max(500);
    }
    let other = play(make, &script, habits, rng.draw());
    assert!(
        plain.bytes == other.bytes,
        "bytes differ with {habits:?}: {script:?}"
    );
    assert_eq!(plain.events, other.events, "{habits:?} {script:?}");
    if deadlines {
        assert_eq!(plain.deadlines, other.deadlines, "{habits:?} {script:?}");
    }
    let mut wire = if handshake {
        Wire::after_head(role)
    } else {
        Wire::frames(role)
    };
    wire.push(&plain.bytes)
        .unwrap_or_else(|fault| panic!("{fault}"));
    (plain.bytes.len(), plain.events.len())
}

fn assert_busy(lengths: &[(usize, usize)]) {
    let bytes: usize = lengths.iter().map(|(bytes, _)| bytes).sum();
    let events: usize = lengths.iter().map(|(_, events)| events).sum();
    assert!(
        bytes > lengths.len() * 200 && events > lengths.len() * 3,
        "{bytes} {events}"
    );
}

#[test]
fn the_same_script_gives_the_same_bytes_events_and_deadlines() {
    assert_busy(&traces("replay", 2_000, |seed| same(seed, |_| PLAIN, true)));
}

#[test]
fn calls_that_nobody_asked_for_change_nothing() {
    let habits = |_: &mut Rng| Habits { extra: 60, cut: 0 };
    assert_busy(&traces("order", 4_000, |seed| same(seed, habits, true)));
}

/// Writes of any length, none among them, and input cut anywhere.
#[test]
fn any_split_of_reads_and_writes_gives_the_same_streams() {
    let habits = |rng: &mut Rng| Habits {
        extra: 0,
        cut: rng.pick(&[1, 2, 7, 100, 70_000]),
    };
    assert_busy(&traces("splits", 4_000, |seed| same(seed, habits, false)));
}

#[test]
fn both_at_once() {
    let habits = |rng: &mut Rng| Habits {
        extra: 40,
        cut: rng.pick(&[3, 50, 5_000]),
    };
    assert_busy(&traces("both", 4_000, |seed| same(seed, habits, false)));
}

/// Counts that lie: more than was lent is all of it, and nothing breaks.
#[test]
fn a_lying_count_is_all_of_it() {
    let mut honest = connection(Role::Server, false, 1);
    let mut liar = connection(Role::Server, false, 1);
    for (connection, count) in [(&mut honest, None), (&mut liar, Some(usize::MAX))] {
        connection.send(vec![1; 200_000]).unwrap();
        let mut steps = 0;
        while let Some(len) = connection.poll_transmit().map(|transmit| transmit.len()) {
            connection.handle_transmitted(at(1), count.unwrap_or(len));
            steps += 1;
        }
        assert!(steps >= 3);
        assert_eq!(connection.buffered_amount(), 0);
    }
    assert_eq!(honest.poll_timeout(), liar.poll_timeout());
}

/// Random calls with random arguments, in no order at all: no panic, and the loop never spins.
#[test]
fn no_order_of_calls_panics_or_spins() {
    let ends = traces("any_order", 20_000, |seed| {
        let mut rng = Rng::new(seed);
        let role = rng.pick(&[Role::Client, Role::Server]);
        let handshake = rng.chance(20);
        let entropy = rng.draw();
        let made = Meter::making(|| connection(role, handshake, entropy));
        let (mut connection, mut meter) = made;
        meter.expect(1_000);
        let mut closed = 0;
        for _ in 0..rng.range(1..=200) {
            // Any time: forwards, backwards, years away.
            let scale = rng.pick(&[1, 1_000_000, 1_000_000_000, 1 << 57]);
            let now = Instant::from_nanos(rng.below(60) * scale);
            let which = rng.below(14);
            let input = match which {
                0 => payload(&mut rng, 60),
                1 => frame(role.peer(), opcode::PING, b"x"),
                2 => frame(role.peer(), opcode::TEXT, b"y"),
                _ => Vec::new(),
            };
            meter.input(&mut connection, now, &input);
            meter.call(&mut connection, |connection| match which {
                3 => connection.handle_would_block(now),
                4 if rng.chance(5) => connection.handle_eof(now),
                5 => connection.handle_transmitted(now, rng.below(100) as usize),
                6 => connection.handle_resumed(now),
                7 => drop(connection.send(payload(&mut rng, 1_000))),
                8 => drop(connection.send_part("part", rng.chance(50))),
                9 => drop(connection.ping(b"z")),
                10 if rng.chance(5) => drop(connection.close(now, CloseCode::NORMAL, "")),
                11 => drop(connection.poll_transmit().map(|lent| lent.len())),
                12 if rng.chance(1) => connection.abort(now),
                13 if rng.chance(20) => drop(connection.accept(now, &Accept::new())),
                _ => {}
            });
            meter.event(&mut connection, |event| {
                closed += usize::from(matches!(event, Event::Closed(_)));
            });
            let now = Instant::from_nanos(rng.below(60) * scale);
            meter.call(&mut connection, |it| it.handle_timeout(now));
            let next = connection.poll_timeout();
            assert!(next.is_none_or(|next| next > now), "{next:?} after {now:?}");
        }
        assert!(closed <= 1);
        closed
    });
    assert!(
        ends.iter().sum::<usize>() * 10 > ends.len(),
        "some of them come to an end"
    );
}
