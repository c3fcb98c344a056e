//! What a connection allocates and holds, counted.

use std::sync::Arc;

use wspulse_core::extension::deflate::DeflateConfig;
use wspulse_core::handshake::Accept;
use wspulse_core::heartbeat::{Heartbeat, HeartbeatConfig};
use wspulse_core::{
    ApplicationHeartbeat, CloseCode, Config, Connection, Event, Instant, Role, Seed, State,
};
use wspulse_tests::alloc::{Budget, Counters, Counting, counters, max_growths, reset_peak};
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

/// C2: a fragment costs no reallocation of its own, whatever its length, so that an allocator that
/// copies moves each byte about once.
#[test]
fn c2_fragments_grow_their_buffer_by_doubling() {
    for (opcode, length, count) in [
        (opcode::BINARY, 64, 16_384),
        (opcode::TEXT, 64, 16_384),
        (opcode::BINARY, 1, 1_000),
        (opcode::BINARY, 65_536, 128),
    ] {
        let payload = vec![b'x'; length];
        let fragment = |opcode| {
            let fragment = Frame::new(opcode, &payload).unfinished();
            fragment.from(Role::Client).encode()
        };
        let mut bytes = fragment(opcode);
        bytes.extend(fragment(opcode::CONTINUATION).repeat(count - 2));
        bytes.extend(frame(Role::Client, opcode::CONTINUATION, &payload));
        for cut in [usize::MAX, 10_000] {
            let mut server = open(Role::Server, &with_heartbeat(HeartbeatConfig::off()));
            let before = counters().allocations;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let piece = &rest[..cut.min(rest.len())];
                rest = &rest[server.handle_input(at(1), piece)..];
            }
            let made = counters().allocations - before;
            // Beside the buffer: the part of the connection that holds it, and the shared message.
            let most = max_growths((length * count) as u64) + 3;
            assert!(made <= most, "{made} for {count} fragments of {length}");
            let event = server.poll_event().expect("a message");
            assert_eq!(text_or_binary(&event).len(), length * count);
        }
    }
}

fn text_or_binary(event: &Event) -> &[u8] {
    match event {
        Event::Text(text) => text.as_bytes(),
        Event::Binary(data) => data,
        other => panic!("{other:?}"),
    }
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

/// C15: an opening handshake holds what arrived, twice over at most, and 4 KiB: for the lists that make
/// most of the fewest bytes, and however many headers are allowed. The event counts.
#[test]
fn c15_the_lists_of_a_handshake_follow_what_arrived() {
    let names: Vec<_> = (10..74).map(|name| name.to_string()).collect();
    let mut lists = vec![
        format!("Sec-WebSocket-Protocol: {}\r\n", names.join(",")),
        format!("Sec-WebSocket-Extensions: a{}\r\n", ",a;b".repeat(31)),
        format!("Sec-WebSocket-Extensions: a{}\r\n", ",a".repeat(63)),
        "a:\r\n".repeat(9_000),
        format!("Cookie: {}\r\n", "c".repeat(9_000)),
        String::new(),
    ];
    lists.push(lists[..2].concat());
    for config in [
        Config::builder(),
        Config::builder().deflate(Some(DeflateConfig::DEFAULT)),
    ] {
        let roomy = config.max_header_count(10_000).max_head_size(1 << 20);
        let config = Arc::new(roomy.build().expect("valid"));
        for list in &lists {
            let head = format!(
                "GET /{} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{list}\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                "a".repeat(3_000)
            );
            for cut in [1, 1_000, usize::MAX] {
                let seed = Seed::predictable_for_tests(1);
                let mut meter = Budget::new();
                let make = || Connection::server(Arc::clone(&config), seed, at(0));
                let mut server = meter.run(make);
                for piece in head.as_bytes().chunks(cut) {
                    meter.arrived(piece.len());
                    meter.run(|| server.handle_input(at(1), piece));
                    meter.check_peak(0);
                }
                let event = meter.run(|| server.poll_event());
                assert!(matches!(event, Some(Event::Request(_))), "{event:?}");
                meter.run(|| drop(event));
            }
        }
    }
}

/// C15, rule 10: a peer that asks by text and never reads has sixteen answers to come, as with pings.
#[test]
fn c15_answers_to_application_heartbeats_are_bounded() {
    let answer = ApplicationHeartbeat::answer("ping", &"p".repeat(125));
    let config = Config::builder().application_heartbeat(answer);
    let config = Arc::new(config.build().expect("valid"));
    let mut server = open(Role::Server, &config);
    let ask = frame(Role::Client, opcode::TEXT, b"ping");
    let before = counters().held;
    for _ in 0..10_000 {
        assert!(feed(&mut server, at(1), &ask).is_empty());
        assert!(server.poll_transmit().is_some());
        server.handle_transmitted(at(1), 0);
    }
    let held = counters().held - before;
    assert!(held < 8 << 10, "{held} bytes");
    // A peer that reads gets each answer.
    discard(&mut server, at(1));
    for _ in 0..100 {
        feed(&mut server, at(2), &ask.repeat(10));
        assert_eq!(discard(&mut server, at(2)), 10 * 127);
    }
}

/// What was taken is freed at once, and not after a quiet time: the buffers, and the places of the
/// queue.
#[test]
fn drained_output_is_freed_while_the_connection_is_open() {
    for (length, count) in [(0, 10_000), (100, 1_000), (4_000, 100), (5_000, 200)] {
        for role in [Role::Server, Role::Client] {
            let mut connection = open(role, &with_heartbeat(HeartbeatConfig::default()));
            let before = counters().held;
            // Behind a part, messages wait in the queue and are not framed at once.
            connection.send_part("a", false).expect("room");
            connection.send_part("b", true).expect("room");
            for _ in 0..count {
                connection.send(vec![1; length]).expect("room");
            }
            discard(&mut connection, at(1));
            let held = counters().held - before;
            assert!(held <= 2 << 10, "{held} bytes after {count} x {length}");
        }
    }
}

/// The same while it closes, with pings in the queue that will not be sent any more, and while the
/// answer to a Close waits for a message that came back.
#[test]
fn drained_output_is_freed_while_the_connection_closes() {
    let mut server = open(Role::Server, &with_heartbeat(HeartbeatConfig::default()));
    let before = counters().held;
    server.send("first").expect("room");
    server.poll_transmit().expect("it is lent");
    for _ in 0..15 {
        server.send(vec![1; 4_000]).expect("room");
    }
    server.ping(b"mine").expect("room");
    server
        .close(at(1), CloseCode::NORMAL, "")
        .expect("it is open");
    assert!(discard(&mut server, at(1)) > 60_000);
    assert_eq!(server.state(), State::Closing);
    let held = counters().held - before;
    assert!(held <= 2 << 10, "{held} bytes while it closes");

    let config = Config::builder().max_buffered_amount(60_000).build();
    let mut server = open(Role::Server, &Arc::new(config.expect("valid")));
    let before = counters().held;
    while server.send(vec![1; 4_000]).is_ok() {}
    let close = frame(Role::Client, opcode::CLOSE, &1000_u16.to_be_bytes());
    assert_eq!(server.handle_input(at(1), &close), close.len());
    assert!(discard(&mut server, at(1)) > 60_000);
    let held = counters().held - before;
    assert!(held <= 2 << 10, "{held} bytes before it answers");
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
