//! Floods: each ends with its own limit after a bounded number of frames, whatever is mixed in;
//! and the honest twin of each lives. R1 to R4, R10, R11.

use std::mem::discriminant;

use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Cause, Connection, Event, LimitExceeded, Role, State};
use wspulse_tests::kit::{at, drain_frames, events, feed, open, with_heartbeat};
use wspulse_tests::meter::Meter;
use wspulse_tests::wire::{Frame, frame, opcode};

use LimitExceeded::ControlFlood;

/// The kinds of limit; the table leaves the numbers out.
const FRAGMENT_COUNT: LimitExceeded = LimitExceeded::FragmentCount { limit: 0, count: 0 };
const MESSAGE_SIZE: LimitExceeded = LimitExceeded::MessageSize {
    limit: 0,
    length: 0,
};

fn of(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(Role::Client, opcode, payload)
}

fn part(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let frame = Frame::new(opcode, payload).unfinished();
    frame.from(Role::Client).encode()
}

struct Flood {
    name: &'static str,
    before: Vec<u8>,
    unit: Vec<u8>,
    /// Whether we read and write in turns; else the peer never reads.
    answers: bool,
    /// How it ends, and within how many units.
    end: Option<(LimitExceeded, usize)>,
}

fn floods() -> Vec<Flood> {
    let (text, none) = (part(opcode::TEXT, b""), Vec::new());
    let ping = of(opcode::PING, b"flood");
    let pong = of(opcode::PONG, b"flood");
    let empty = part(opcode::CONTINUATION, b"");
    let flood = |name, before: &Vec<u8>, unit: &[&[u8]], answers, end| Flood {
        name,
        before: before.clone(),
        unit: unit.concat(),
        answers,
        end,
    };
    vec![
        flood(
            "pings, never read",
            &none,
            &[&ping],
            false,
            Some((ControlFlood, 2_100)),
        ),
        flood(
            "empty pings",
            &none,
            &[&of(opcode::PING, b"")],
            false,
            Some((ControlFlood, 2_100)),
        ),
        flood(
            "pongs nobody asked for",
            &none,
            &[&pong],
            true,
            Some((ControlFlood, 2_100)),
        ),
        flood(
            "empty pongs",
            &none,
            &[&of(opcode::PONG, b"")],
            true,
            Some((ControlFlood, 2_100)),
        ),
        flood(
            "pings and pongs",
            &none,
            &[&ping, &pong],
            false,
            Some((ControlFlood, 1_100)),
        ),
        flood(
            "pings inside a message",
            &text,
            &[&ping],
            false,
            Some((ControlFlood, 2_100)),
        ),
        flood(
            "pongs inside a message",
            &text,
            &[&pong],
            true,
            Some((ControlFlood, 2_100)),
        ),
        flood(
            "two pings a message",
            &none,
            &[&ping, &ping, &of(opcode::TEXT, b"")],
            false,
            Some((ControlFlood, 2_100)),
        ),
        flood(
            "empty fragments",
            &text,
            &[&empty],
            true,
            Some((FRAGMENT_COUNT, 1_100)),
        ),
        flood(
            "empty fragments and pings",
            &text,
            &[&empty, &ping],
            true,
            Some((FRAGMENT_COUNT, 1_100)),
        ),
        flood(
            "fragments of a byte",
            &text,
            &[&part(0, b"x")],
            true,
            Some((FRAGMENT_COUNT, 1_100)),
        ),
        flood(
            "fragments of 32 bytes",
            &text,
            &[&part(0, &[b'x'; 32])],
            true,
            Some((FRAGMENT_COUNT, 2_100)),
        ),
        flood(
            "fragments of 63 bytes",
            &text,
            &[&part(0, &[b'x'; 63])],
            true,
            Some((FRAGMENT_COUNT, 66_000)),
        ),
        // What brings bytes is a message, as long as it is one that we take.
        flood(
            "fragments of 64 KiB",
            &text,
            &[&part(0, &[b'x'; 1 << 16])],
            true,
            Some((MESSAGE_SIZE, 257)),
        ),
        // Honest, though fast.
        flood("pings in lockstep", &none, &[&ping], true, None),
        flood(
            "a ping with each message",
            &none,
            &[&ping, &of(opcode::TEXT, b"hi")],
            false,
            None,
        ),
        flood(
            "a pong with each message",
            &none,
            &[&pong, &of(opcode::TEXT, b"hi")],
            true,
            None,
        ),
        flood(
            "empty messages",
            &none,
            &[&of(opcode::BINARY, b"")],
            true,
            None,
        ),
        flood(
            "messages in two fragments",
            &none,
            &[&part(1, b"a"), &of(0, b"b")],
            true,
            None,
        ),
        flood(
            "messages with a ping inside",
            &none,
            &[&part(1, b"a"), &ping, &of(0, b"b")],
            true,
            None,
        ),
    ]
}

/// How many units until it failed, and the events that are no messages. No flood makes the server
/// hold more than its budget.
fn run(server: &mut Connection, flood: &Flood, units: usize) -> (usize, Vec<Event>) {
    let mut meter = Meter::new();
    let mut rare = Vec::new();
    let mut told = |event: &Event| {
        if !matches!(event, Event::Text(_) | Event::Binary(_)) {
            rare.push(event.clone());
        }
    };
    meter.feed(server, at(5), &flood.before, &mut told);
    for unit in 0..units {
        if server.state() != State::Open {
            return (unit, rare);
        }
        meter.feed(server, at(5), &flood.unit, &mut told);
        if flood.answers {
            meter.drain(server, at(5));
        }
    }
    (units, rare)
}

#[test]
fn every_flood_ends_and_its_honest_twin_does_not() {
    for flood in floods() {
        let mut server = open(Role::Server, &with_heartbeat(HeartbeatConfig::off()));
        let Some((limit, within)) = flood.end else {
            let (_, rare) = run(&mut server, &flood, 20_000);
            assert_eq!(server.state(), State::Open, "{}", flood.name);
            assert!(rare.is_empty(), "{}: {rare:?}", flood.name);
            continue;
        };
        let (units, rare) = run(&mut server, &flood, within);
        assert_ne!(
            server.state(),
            State::Open,
            "{}: not in {within}",
            flood.name
        );
        assert!(
            units > within * 9 / 10 - 200,
            "{}: after {units}",
            flood.name
        );
        // Control frames are warned of first; what is no flood of them is not.
        let is_warning = |event: &Event| matches!(event, Event::ControlFlood);
        assert!(rare.iter().all(is_warning), "{}: {rare:?}", flood.name);
        assert_eq!(!rare.is_empty(), limit == ControlFlood, "{}", flood.name);
        if !flood.answers {
            let codes = drain_frames(&mut server, at(5));
            let code = codes.last().and_then(Frame::close_code);
            assert_eq!(code, Some(limit.close_code().as_u16()), "{}", flood.name);
        }
        // It goes on, and nobody listens.
        let more = flood.unit.repeat(100);
        assert_eq!(
            server.handle_input(at(6), &more),
            more.len(),
            "{}",
            flood.name
        );
        server.handle_eof(at(7));
        let Some(Event::Closed(closed)) = events(&mut server).pop() else {
            panic!("{}: no end", flood.name);
        };
        let Cause::Limit(met) = closed.cause else {
            panic!("{}: {}", flood.name, closed.cause);
        };
        assert_eq!(discriminant(&met), discriminant(&limit), "{}", flood.name);
    }
}

/// RFC 6455 §5.5.3: of pings that pile up, the newest has its answer.
#[test]
fn of_a_flood_that_nobody_reads_the_newest_ping_is_answered() {
    let mut server = open(Role::Server, &with_heartbeat(HeartbeatConfig::off()));
    for n in 0..900_u32 {
        feed(&mut server, at(5), &of(opcode::PING, &n.to_be_bytes()));
    }
    let pongs = drain_frames(&mut server, at(5));
    assert!(pongs.len() <= 16, "{}", pongs.len());
    let newest = pongs.last().map(|frame| frame.payload.clone());
    assert_eq!(newest, Some(899_u32.to_be_bytes().to_vec()));
}

/// C13: a peer that stays at the edge of a flood is told of once, and again only after the bucket was
/// half full.
#[test]
fn a_flood_is_told_of_once_until_the_bucket_is_half_full_again() {
    let mut server = open(Role::Server, &with_heartbeat(HeartbeatConfig::off()));
    let pong = of(opcode::PONG, b"");
    let message = of(opcode::TEXT, b"");
    let mut told = 0;
    let mut is_flood = |event: &Event| told += usize::from(matches!(event, Event::ControlFlood));
    let mut take = |server: &mut Connection, now, bytes: &[u8]| {
        for event in feed(server, now, bytes) {
            is_flood(&event);
        }
    };
    take(&mut server, at(5), &pong.repeat(1_001));
    for _ in 0..3_000 {
        take(
            &mut server,
            at(5),
            &[&message[..], &message, &pong, &pong].concat(),
        );
    }
    // Not yet half full.
    take(&mut server, at(4_000), &pong.repeat(500));
    // 100 tokens a second: half full, and empty again.
    take(&mut server, at(20_000), &pong.repeat(1_600));
    assert_eq!(server.state(), State::Open);
    assert_eq!(told, 2);
}
