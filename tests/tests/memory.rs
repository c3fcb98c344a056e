//! What a connection allocates and holds, counted.

use std::sync::Arc;

use wspulse_core::handshake::Accept;
use wspulse_core::heartbeat::{Heartbeat, HeartbeatConfig};
use wspulse_core::{Config, Connection, Event, Instant, Role, Seed, State};
use wspulse_tests::alloc::{Counters, Counting, counters, reset_peak};
use wspulse_tests::kit::{at, events, feed, ms, open, ping, with_heartbeat};
use wspulse_tests::wire::{Frame, frame, header, opcode};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Takes what is lent without allocating; returns how many bytes that were.
fn discard(connection: &mut Connection, now: Instant) -> usize {
    let mut all = 0;
    while let Some(len) = connection.poll_transmit().map(|transmit| transmit.len()) {
        connection.handle_transmitted(now, len);
        all += len;
    }
    all
}

/// One small read: input, timers, output, as the drive loop has it.
fn read(connection: &mut Connection, now: Instant, bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while !rest.is_empty() {
        let taken = connection.handle_input(now, rest);
        rest = &rest[taken..];
        assert!(
            connection.poll_event().is_none(),
            "control traffic is no event"
        );
        assert!(taken > 0);
    }
    discard(connection, now)
}

/// A million pings of 8 bytes, whole or byte by byte, 20 ms apart: after the first few, not one
/// allocation, and no input moves the deadline.
fn a_million_reads(role: Role, cut: usize) {
    let config = with_heartbeat(ping(20_000, 20_000));
    let mut connection = open(role, &config);
    let ping = frame(role.peer(), opcode::PING, b"8 bytes!");
    let reads: u64 = 1_000_000;
    let mut start = None;
    let (mut moves, mut fired, mut answered) = (0, 0, 0);
    let mut reader = ping.chunks(cut).cycle();
    for n in 0..reads + 100 {
        let now = at(n * 20);
        if n == 100 {
            start = Some(counters());
        }
        let before = connection.poll_timeout();
        let chunk = reader.next().expect("for ever");
        let taken = connection.handle_input(now, chunk);
        assert_eq!(taken, chunk.len());
        moves += u64::from(connection.poll_timeout() != before);
        answered += discard(&mut connection, now) as u64;
        if connection
            .poll_timeout()
            .is_some_and(|deadline| deadline <= now)
        {
            fired += 1;
            connection.handle_would_block(now);
            connection.handle_timeout(now);
        }
        assert!(connection.poll_event().is_none());
    }
    let start = start.expect("warmed up");
    let end = counters();
    assert_eq!(end.allocations - start.allocations, 0, "allocations");
    assert_eq!(end.held, start.held, "bytes held");
    assert_eq!(moves, 0, "deadline moves by input");
    // 20,000 s of virtual time: the deadline fired once an interval at most, not once a read.
    assert!(fired < 3_000, "{fired}");
    let pings =
        (reads + 100) / (ping.len() / cut + usize::from(!ping.len().is_multiple_of(cut))) as u64;
    assert!(
        answered >= pings * 10,
        "{answered} bytes of pongs for {pings} pings"
    );
    assert_eq!(connection.state(), State::Open);
}

#[test]
fn a_million_small_reads_allocate_nothing_and_move_no_deadline() {
    a_million_reads(Role::Server, usize::MAX);
    a_million_reads(Role::Client, usize::MAX);
}

#[test]
fn a_million_reads_of_one_byte_allocate_nothing_once_warm() {
    a_million_reads(Role::Server, 1);
    a_million_reads(Role::Client, 1);
}

/// Nothing at all, from the first: the connection carries only control traffic.
#[test]
fn a_million_pongs_allocate_nothing() {
    let mut server = open(Role::Server, &with_heartbeat(HeartbeatConfig::off()));
    let pong = frame(Role::Client, opcode::PONG, b"8 bytes!");
    let before = counters();
    for n in 0..1_000_000 {
        assert_eq!(read(&mut server, at(n * 20), &pong), 0);
    }
    assert_eq!(
        counters(),
        Counters {
            peak: counters().peak,
            ..before
        }
    );
}

/// A connection's life, then quiet: nothing is left on the heap.
#[test]
fn an_idle_open_server_connection_holds_no_heap() {
    let config = Arc::new(Config::default());
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let ping = frame(Role::Client, opcode::PING, &[1; 125]);
    let text = frame(Role::Client, opcode::TEXT, &[b'a'; 100_000]);
    let part = Frame::new(opcode::BINARY, &[1; 3_000])
        .unfinished()
        .from(Role::Client)
        .encode();
    let last = frame(Role::Client, opcode::CONTINUATION, &[1; 3_000]);
    let before = counters();
    let seed = Seed::predictable_for_tests(1);
    let mut server = Connection::server(Arc::clone(&config), seed, at(0));
    let opened = feed(&mut server, at(1), request);
    assert!(matches!(opened[..], [Event::Request(_)]));
    drop(opened);
    server.accept(at(2), &Accept::new()).expect("it asks");
    assert!(discard(&mut server, at(2)) > 100);
    assert_eq!(counters().held, before.held, "after the handshake");

    for n in 0..100 {
        let now = at(100 + n * 10);
        for bytes in [&ping, &text, &part, &ping, &last] {
            drop(feed(&mut server, now, &bytes[..bytes.len() / 2]));
            drop(feed(&mut server, now, &bytes[bytes.len() / 2..]));
        }
        server.send(vec![1; 200_000]).expect("room");
        server.send("small").expect("room");
        server.ping(b"mine").expect("room");
        discard(&mut server, now);
    }
    assert!(
        counters().allocations > before.allocations + 100,
        "it did work"
    );
    // One quiet timeout: the ping leaves, its pong comes, and nothing is kept.
    let quiet = server.poll_timeout().expect("a heartbeat");
    server.handle_would_block(quiet);
    server.handle_timeout(quiet);
    let sent = server
        .poll_transmit()
        .map(|transmit| transmit.first().to_vec());
    if let Some(sent) = sent {
        discard(&mut server, quiet);
        let pong = frame(Role::Client, opcode::PONG, &sent[2..]);
        assert!(feed(&mut server, quiet, &pong).is_empty());
    }
    let next = server.poll_timeout().expect("a heartbeat");
    server.handle_would_block(next);
    server.handle_timeout(next);
    discard(&mut server, next);
    assert_eq!(counters().held, before.held, "after one quiet timeout");
    drop(server);
}

/// A header that claims the limit, and nothing after it.
#[test]
fn a_header_alone_costs_less_than_a_kibibyte() {
    for opcode in [opcode::BINARY, opcode::TEXT] {
        let header = header(true, 0, opcode, Some([0; 4]), 16 << 20);
        let config = with_heartbeat(HeartbeatConfig::default());
        let mut all: Vec<_> = (0..1_000).map(|_| open(Role::Server, &config)).collect();
        let before = counters();
        for server in &mut all {
            assert_eq!(server.handle_input(at(1), &header), header.len());
            assert_eq!(server.state(), State::Open);
        }
        let each = (counters().held - before.held) / 1_000;
        assert!(each < 1_024, "{each} bytes each");
    }
}

/// Twice what arrived and 4 KiB, at every moment, whatever the header says.
fn assert_follows(server: &mut Connection, bytes: &[u8], cut: usize) -> Vec<Event> {
    let mut list = Vec::with_capacity(16);
    let before = counters().held;
    let mut arrived = 0;
    for chunk in bytes.chunks(cut) {
        reset_peak();
        let mut rest = chunk;
        while !rest.is_empty() {
            let taken = server.handle_input(at(1), rest);
            rest = &rest[taken..];
            list.extend(server.poll_event());
        }
        arrived += chunk.len() as i64;
        let peak = counters().peak - before;
        assert!(peak <= 2 * arrived + 4_096, "{peak} bytes for {arrived}");
    }
    list
}

#[test]
fn memory_follows_what_arrived() {
    for (opcode, cut) in [
        (opcode::BINARY, 100),
        (opcode::TEXT, 1_000),
        (opcode::BINARY, 70_000),
    ] {
        let bytes = frame(Role::Client, opcode, &vec![b'x'; 5_000_000]);
        let mut server = open(Role::Server, &with_heartbeat(HeartbeatConfig::off()));
        let list = assert_follows(&mut server, &bytes, cut);
        assert_eq!(list.len(), 1);
    }
}

/// Fragments of 64 bytes are joined as they come.
#[test]
fn memory_follows_what_arrived_in_fragments() {
    let mut bytes = Frame::new(opcode::BINARY, &[1; 64])
        .unfinished()
        .from(Role::Client)
        .encode();
    let next = Frame::new(opcode::CONTINUATION, &[1; 64])
        .unfinished()
        .from(Role::Client)
        .encode();
    bytes.extend(next.repeat(20_000));
    bytes.extend(frame(Role::Client, opcode::CONTINUATION, b""));
    let mut server = open(Role::Server, &with_heartbeat(HeartbeatConfig::off()));
    let list = assert_follows(&mut server, &bytes, 700);
    assert!(
        matches!(&list[..], [Event::Binary(data)] if data.len() == 20_001 * 64),
        "{list:?}"
    );
}

/// A million pings from a peer that never reads: bounded while it lasts, and it ends.
#[test]
fn a_ping_flood_is_bounded() {
    let mut server = open(Role::Server, &with_heartbeat(HeartbeatConfig::default()));
    let pings = frame(Role::Client, opcode::PING, &[0x55; 125]).repeat(100);
    let before = counters().held;
    reset_peak();
    for n in 0..10_000 {
        // Spread over time, so that it is the queue that is tested first, then the bucket.
        let now = at(n / 10 * 100);
        let mut rest = &pings[..];
        while !rest.is_empty() && server.state() != State::Closed {
            let taken = server.handle_input(now, rest);
            rest = &rest[taken..];
            drop(events(&mut server));
        }
        if server.poll_transmit().is_some() {
            server.handle_transmitted(now, 0);
        }
    }
    let peak = counters().peak - before;
    assert!(peak < 16 << 10, "{peak} bytes");
    assert_ne!(
        server.state(),
        State::Open,
        "and it does not go on for ever"
    );
}

/// The same below the rate of a flood: sixteen pongs wait, and no more is held.
#[test]
fn unread_pongs_are_bounded_without_a_flood() {
    let off = HeartbeatConfig::off().write_stall_timeout(std::time::Duration::MAX);
    let mut server = open(Role::Server, &with_heartbeat(off));
    let ping = frame(Role::Client, opcode::PING, &[0x55; 125]);
    let before = counters().held;
    reset_peak();
    for n in 0..100_000 {
        assert!(feed(&mut server, at(n * 20), &ping).is_empty());
    }
    assert_eq!(server.state(), State::Open);
    let peak = counters().peak - before;
    assert!((100..8 << 10).contains(&peak), "{peak} bytes");
}

/// The application writes, the peer reads nothing: the message comes back at the mark.
#[test]
fn output_has_a_high_water_mark() {
    let mut server = open(Role::Server, &with_heartbeat(HeartbeatConfig::off()));
    let before = counters().held;
    let mut queued = 0;
    let refused = loop {
        match server.send(vec![1; 50_000]) {
            Ok(()) => queued += 50_000,
            Err(error) => break error,
        }
        assert!(queued < 10_000_000, "no limit");
    };
    assert_eq!(refused.into_message().expect("it comes back").len(), 50_000);
    assert!((1 << 20..1 << 21).contains(&queued), "{queued}");
    assert!(counters().held - before < (1 << 21) + (256 << 10));
}

#[test]
fn sizes() {
    assert!(size_of::<Connection>() <= 256);
    assert!(size_of::<Heartbeat>() <= 128);
    assert!(size_of::<Event>() <= 40);
    assert_eq!(size_of::<Instant>(), 8);
    assert_eq!(size_of::<Option<Instant>>(), 8);
    assert_eq!(ms(1).as_millis(), 1);
}
