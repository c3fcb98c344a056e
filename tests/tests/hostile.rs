//! Hostile frames. F: framing, U: text and Close, R: resources, T: time. Each input is given
//! whole, byte by byte, and in every two pieces: the events and the bytes must be the same.

use std::sync::Arc;

use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{
    Cause, CloseCode, Closed, Config, Connection, Event, LimitExceeded, Message, Role, SendError,
    State,
};
use wspulse_tests::alloc::Counting;
use wspulse_tests::kit::{
    at, drain, drain_frames, events, feed, open, ping, sleep, with_heartbeat,
};
use wspulse_tests::meter::Meter;
use wspulse_tests::wire::{Frame, frame, header, opcode};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MASK: [u8; 4] = [0x11, 0x22, 0x33, 0x44];

fn quiet() -> Arc<Config> {
    with_heartbeat(HeartbeatConfig::off())
}

/// Bytes from a hex string; `M` is a mask of four bytes, `0` so that what follows is plain.
fn hex(text: &str) -> Vec<u8> {
    let words = text.split_whitespace();
    words
        .flat_map(|word| match word {
            "M" => vec![0; 4],
            _ => vec![u8::from_str_radix(word, 16).expect("hex")],
        })
        .collect()
}

fn message(event: &Event) -> String {
    match event {
        Event::Closed(closed) => format!("Closed {:?} {:?}", closed.cause, closed.received),
        event => format!("{event:?}"),
    }
}

/// However the input is cut, and whatever it is, a connection holds no more than it may.
#[track_caller]
fn stays_within_its_budget(role: Role, config: &Arc<Config>, pieces: &[&[u8]]) {
    let mut meter = Meter::new();
    let mut connection = open(role, config);
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let taken = meter.input(&mut connection, at(5), rest);
            rest = &rest[taken..];
            let event = meter.call(&mut connection, |it| it.poll_event().is_some());
            assert!(taken > 0 || event, "neither took input nor had an event");
        }
    }
}

/// What came of it: the frames sent, and the events up to and with the end of the stream.
fn outcome(role: Role, config: &Arc<Config>, pieces: &[&[u8]]) -> (Vec<Frame>, Vec<String>) {
    stays_within_its_budget(role, config, pieces);
    let mut connection = open(role, config);
    let mut list = Vec::new();
    for piece in pieces {
        list.extend(feed(&mut connection, at(5), piece));
    }
    let frames = drain_frames(&mut connection, at(5));
    connection.handle_eof(at(6));
    list.extend(events(&mut connection));
    assert_eq!(connection.state(), State::Closed);
    let closed = list
        .iter()
        .filter(|event| matches!(event, Event::Closed(_)))
        .count();
    assert_eq!(closed, 1, "one end");
    (frames, list.iter().map(message).collect())
}

/// The same for every cut (F15).
#[track_caller]
fn all_cuts(role: Role, config: &Arc<Config>, bytes: &[u8]) -> (Vec<Frame>, Vec<String>) {
    let whole = outcome(role, config, &[bytes]);
    let single: Vec<_> = bytes.chunks(1).collect();
    // A client's frames are masked with keys that do not depend on the cut either.
    assert_eq!(
        whole,
        outcome(role, config, &single),
        "byte by byte: {bytes:02x?}"
    );
    for cut in 1..bytes.len().min(200) {
        let pieces = [&bytes[..cut], &bytes[cut..]];
        assert_eq!(
            whole,
            outcome(role, config, &pieces),
            "cut at {cut}: {bytes:02x?}"
        );
    }
    whole
}

/// The connection fails with `code`, and nothing is delivered.
#[track_caller]
fn fails(role: Role, bytes: &[u8], code: u16) {
    fails_after(role, bytes, code, 0);
}

/// It fails after `count` events.
#[track_caller]
fn fails_after(role: Role, bytes: &[u8], code: u16, count: usize) {
    let (frames, events) = all_cuts(role, &quiet(), bytes);
    let codes: Vec<_> = frames.iter().filter_map(Frame::close_code).collect();
    assert_eq!(codes, [code], "{bytes:02x?}");
    assert_eq!(events.len(), count + 1, "{events:?}");
}

#[track_caller]
fn fails_hex(text: &str, code: u16) {
    fails(Role::Server, &hex(text), code);
}

/// Decided with this byte, and not before.
#[track_caller]
fn fails_at_byte(role: Role, bytes: &[u8], index: usize, code: u16) {
    let mut connection = open(role, &quiet());
    feed(&mut connection, at(5), &bytes[..index - 1]);
    assert_eq!(
        connection.state(),
        State::Open,
        "not before byte {index} of {bytes:02x?}"
    );
    feed(&mut connection, at(5), &bytes[index - 1..index]);
    let frames = drain_frames(&mut connection, at(5));
    assert_eq!(frames[0].close_code(), Some(code), "{bytes:02x?}");
}

#[test]
fn f01_a_length_with_its_highest_bit() {
    let bytes = hex("82 FF 80 00 00 00 00 00 00 01 M");
    fails(Role::Server, &bytes, 1002);
    fails(Role::Client, &hex("82 7F FF FF FF FF FF FF FF FF"), 1002);
    fails(Role::Server, &bytes[..10], 1002);
    fails(Role::Server, &hex("82 FF FF FF FF FF FF FF FF FF M"), 1002);
}

#[test]
fn f02_a_length_above_the_limit_is_refused_by_the_header() {
    let limit = 16 << 20;
    for len in [(1 << 63) - 1, 1 << 32, 1 << 31, (1 << 31) - 1, limit + 1] {
        let bytes = header(true, 0, opcode::BINARY, Some(MASK), len);
        fails(Role::Server, &bytes, 1009);
        fails_at_byte(Role::Server, &bytes, bytes.len(), 1009);
    }
    let mut server = open(Role::Server, &quiet());
    feed(
        &mut server,
        at(5),
        &header(true, 0, opcode::BINARY, Some(MASK), limit),
    );
    assert_eq!(server.state(), State::Open, "the limit itself is allowed");
}

#[test]
fn f03_reserved_bits() {
    for text in ["C1 80 M", "A2 80 M", "91 80 M", "C9 80 M", "C0 80 M"] {
        fails_hex(text, 1002);
    }
    fails(Role::Client, &hex("A2 00"), 1002);
}

#[test]
fn f05_reserved_opcodes_by_the_header() {
    for opcode in (3..=7).chain(0xb..=0xf) {
        let bytes = [vec![0x80 | opcode, 0x80], vec![0; 4]].concat();
        fails(Role::Server, &bytes, 1002);
    }
}

#[test]
fn f06_control_frames_in_parts() {
    for text in ["08 80 M", "09 80 M", "0A 80 M"] {
        fails_hex(text, 1002);
    }
}

#[test]
fn f07_control_frames_too_long_at_byte_two() {
    for text in [
        "89 FE 00 7E M",
        "88 FF 00 00 00 00 00 00 00 7E M",
        "8A FE 00 7E M",
    ] {
        fails_hex(text, 1002);
        fails_at_byte(Role::Server, &hex(text), 2, 1002);
    }
}

#[test]
fn f08_unmasked_to_a_server() {
    let behind = frame(Role::Client, opcode::TEXT, b"behind");
    fails(
        Role::Server,
        &[hex("81 05 68 65 6C 6C 6F"), behind].concat(),
        1002,
    );
}

#[test]
fn f09_masked_to_a_client() {
    fails(
        Role::Client,
        &frame(Role::Client, opcode::TEXT, b"hello"),
        1002,
    );
}

#[test]
fn f10_a_continuation_of_nothing() {
    fails_hex("80 80 M", 1002);
    let after = [frame(Role::Client, opcode::TEXT, b"a"), hex("80 80 M")].concat();
    fails_after(Role::Server, &after, 1002, 1);
}

#[test]
fn f11_a_message_inside_a_message() {
    fails_hex("01 81 M 61 01 81 M 62", 1002);
    fails_hex("01 81 M 61 82 81 M 62", 1002);
}

#[test]
fn f12_lengths_not_in_their_shortest_form() {
    fails_hex("82 FE 00 05 M 00 00 00 00 00", 1002);
    fails_hex("82 FE 00 7D M", 1002);
    fails_hex("82 FF 00 00 00 00 00 00 00 05 M 00 00 00 00 00", 1002);
    fails_hex("82 FF 00 00 00 00 00 00 FF FF M", 1002);
}

#[test]
fn f13_control_frames_between_fragments() {
    let bytes = [
        Frame::new(opcode::TEXT, b"one ")
            .unfinished()
            .from(Role::Client)
            .encode(),
        frame(Role::Client, opcode::PING, b"1"),
        Frame::new(opcode::CONTINUATION, b"two ")
            .unfinished()
            .from(Role::Client)
            .encode(),
        frame(Role::Client, opcode::PONG, b"?"),
        frame(Role::Client, opcode::PING, b"2"),
        frame(Role::Client, opcode::CONTINUATION, b"three"),
    ];
    let (frames, events) = all_cuts(Role::Server, &quiet(), &bytes.concat());
    assert_eq!(
        frames,
        [
            Frame::new(opcode::PONG, b"1"),
            Frame::new(opcode::PONG, b"2")
        ]
    );
    assert_eq!(events[0], r#"Text("one two three")"#);
    assert_eq!(events.len(), 2);
}

#[test]
fn f14_the_end_at_every_byte() {
    let bytes = frame(Role::Client, opcode::BINARY, &[1; 200]);
    for end in 0..bytes.len() {
        let (frames, events) = outcome(Role::Server, &quiet(), &[&bytes[..end]]);
        assert!(frames.is_empty());
        assert_eq!(events, ["Closed Eof None"], "{end}");
    }
}

#[test]
fn f16_empty_frames_are_legal() {
    for (text, out, in_) in [
        ("81 80 M", vec![], r#"Text("")"#),
        ("82 80 M", vec![], r#"Binary(b"")"#),
        ("01 80 M 80 80 M", vec![], r#"Text("")"#),
        ("01 81 M 61 80 80 M", vec![], r#"Text("a")"#),
    ] {
        let (frames, events) = all_cuts(Role::Server, &quiet(), &hex(text));
        assert_eq!(frames, out);
        assert_eq!(events, [in_, "Closed Eof None"], "{text}");
    }
    let mut server = open(Role::Server, &quiet());
    feed(&mut server, at(5), &hex("89 80 M 8A 80 M"));
    assert_eq!(drain(&mut server, at(5)), [0x8a, 0]);
}

#[test]
fn f17_pings_of_every_length() {
    for len in [0, 1, 124, 125] {
        let payload: Vec<u8> = (0..len).collect();
        let bytes = frame(Role::Client, opcode::PING, &payload);
        let (frames, _) = all_cuts(Role::Server, &quiet(), &bytes);
        assert_eq!(frames, [Frame::new(opcode::PONG, &payload)]);
    }
}

#[test]
fn f18_after_a_failure_nothing_counts() {
    let mut server = open(Role::Server, &quiet());
    feed(&mut server, at(5), &hex("83 80 M"));
    assert_eq!(
        server.handle_input(at(5), &vec![0x81; 1 << 20]),
        1 << 20,
        "swallowed"
    );
    assert!(matches!(server.send("late"), Err(SendError::NotOpen(_))));
    assert_eq!(server.ping(b""), Err(SendError::PingNotOpen));
    server.close(at(5), CloseCode::NORMAL, "").unwrap();
    assert_eq!(drain_frames(&mut server, at(5)).len(), 1, "one Close frame");
    server.handle_eof(at(6));
    assert_eq!(events(&mut server).len(), 1);
    assert_eq!(server.handle_input(at(7), &[1; 100]), 100);
    server.abort(at(8));
    assert!(events(&mut server).is_empty() && server.poll_timeout().is_none());
}

#[test]
fn u01_text_fails_at_the_first_bad_byte() {
    fails_hex("81 82 M C3 28", 1007);
    let bytes = [
        header(true, 0, opcode::TEXT, Some([0; 4]), 1 << 20),
        vec![0xff],
    ]
    .concat();
    fails_at_byte(Role::Server, &bytes, bytes.len(), 1007);
}

#[test]
fn u02_a_character_across_fragments() {
    let bytes = hex("01 81 M E2 89 80 M 00 81 M 82 80 81 M AC");
    let (frames, events) = all_cuts(Role::Server, &quiet(), &bytes);
    assert_eq!(frames.len(), 1);
    assert_eq!(events[0], r#"Text("€")"#);
}

#[test]
fn u03_the_end_inside_a_character() {
    fails_hex("81 81 M E2", 1007);
    fails_hex("01 81 M E2 80 81 M 82", 1007);
}

#[test]
fn u04_impossible_sequences() {
    let cases: [(&[u8], usize); 9] = [
        (&[0xed, 0xa0, 0x80], 2),
        (&[0xc0, 0xaf], 1),
        (&[0xe0, 0x80, 0x80], 2),
        (&[0xf0, 0x80, 0x80, 0x80], 2),
        (&[0xf4, 0x90, 0x80, 0x80], 2),
        (&[0xf5], 1),
        (&[0xfe], 1),
        (&[0xff], 1),
        (&[0x80], 1),
    ];
    for (text, first_bad) in cases {
        fails(Role::Server, &frame(Role::Client, opcode::TEXT, text), 1007);
        let bytes = [
            header(true, 0, opcode::TEXT, Some([0; 4]), 100),
            text.to_vec(),
        ]
        .concat();
        fails_at_byte(Role::Server, &bytes, 6 + first_bad, 1007);
    }
}

#[test]
fn u05_a_reason_that_is_not_text() {
    fails_hex("88 84 M 03 E8 C3 28", 1007);
}

#[test]
fn u06_a_close_of_one_byte() {
    fails_hex("88 81 M 03", 1002);
}

#[test]
fn u07_close_codes() {
    let bytes = |code: u16| Frame::close(code, "").from(Role::Client).encode();
    for code in [
        0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535,
    ] {
        fails(Role::Server, &bytes(code), 1002);
    }
    for code in (1000..=1003)
        .chain(1007..=1014)
        .chain([3000, 3999, 4000, 4999])
    {
        let (frames, events) = all_cuts(Role::Server, &quiet(), &bytes(code));
        assert_eq!(frames, [Frame::close(code, "")], "echoed");
        assert_eq!(events.len(), 2, "{events:?}");
        assert!(events[1].starts_with("Closed Normal"), "{events:?}");
    }
}

#[test]
fn u08_nothing_after_a_close_counts() {
    let bytes = [
        Frame::close(1000, "bye").from(Role::Client).encode(),
        frame(Role::Client, opcode::TEXT, b"more"),
        frame(Role::Client, opcode::PING, b"more"),
        Frame::close(1001, "again").from(Role::Client).encode(),
    ];
    let (frames, events) = all_cuts(Role::Server, &quiet(), &bytes.concat());
    assert_eq!(frames, [Frame::close(1000, "")]);
    assert_eq!(events.len(), 2, "{events:?}");
}

#[test]
fn u09_an_empty_close_is_answered_by_one() {
    let mut server = open(Role::Server, &quiet());
    feed(&mut server, at(5), &hex("88 80 M"));
    assert_eq!(drain(&mut server, at(5)), [0x88, 0]);
    let closed = closed(&mut server);
    assert_eq!((closed.code(), closed.clean), (CloseCode::NO_STATUS, true));
}

fn closed(connection: &mut Connection) -> Closed {
    match events(connection).pop() {
        Some(Event::Closed(closed)) => *closed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn u10_our_own_close_is_checked() {
    let mut server = open(Role::Server, &quiet());
    let long = "x".repeat(124);
    server.close(at(5), CloseCode::NORMAL, &long).unwrap_err();
    for code in [0, 1005, 1006, 1015, 2999, 5000] {
        server.close(at(5), CloseCode::new(code), "").unwrap_err();
    }
    assert_eq!((server.state(), server.wants_write()), (State::Open, false));
    server.close(at(5), CloseCode::NORMAL, &long[1..]).unwrap();
    assert_eq!(
        drain_frames(&mut server, at(5)),
        [Frame::close(1000, &long[1..])]
    );
}

#[test]
fn u11_a_close_into_a_message_half_sent() {
    let mut server = open(Role::Server, &quiet());
    server.send(vec![1; 1 << 20]).unwrap();
    assert!(server.poll_transmit().unwrap().len() > 1_000);
    server.handle_transmitted(at(4), 1_000);
    feed(
        &mut server,
        at(5),
        &Frame::close(1001, "").from(Role::Client).encode(),
    );
    let sent = drain(&mut server, at(5));
    assert!(
        sent.ends_with(&[0x88, 2, 0x03, 0xe9]),
        "one Close, at the end"
    );
    assert!(closed(&mut server).clean);
    // Both at once: one Close frame each way, too.
    let mut server = open(Role::Server, &quiet());
    server.close(at(1), CloseCode::NORMAL, "").unwrap();
    drain(&mut server, at(1));
    feed(
        &mut server,
        at(2),
        &Frame::close(1001, "").from(Role::Client).encode(),
    );
    assert!(drain(&mut server, at(2)).is_empty());
    assert!(server.poll_timeout().is_none());
}

/// One fragment of a byte, many times, without an end.
fn fragments(payload: &[u8], count: usize) -> Vec<u8> {
    let first = Frame::new(opcode::TEXT, b"x")
        .unfinished()
        .from(Role::Client)
        .encode();
    let next = Frame::new(opcode::CONTINUATION, payload)
        .unfinished()
        .from(Role::Client)
        .encode();
    [first, next.repeat(count)].concat()
}

#[track_caller]
fn ends_with_limit(bytes: &[u8], limit: LimitExceeded, code: u16) {
    let mut server = open(Role::Server, &quiet());
    assert!(feed(&mut server, at(5), bytes).is_empty());
    assert_eq!(drain_frames(&mut server, at(5))[0].close_code(), Some(code));
    server.handle_eof(at(6));
    assert_eq!(closed(&mut server).cause, Cause::Limit(limit));
}

#[test]
fn r03_fragments_of_one_byte_are_counted() {
    ends_with_limit(
        &fragments(b"x", 100_000),
        LimitExceeded::FragmentCount,
        1008,
    );
}

#[test]
fn r04_empty_fragments_are_counted() {
    ends_with_limit(&fragments(b"", 2_000), LimitExceeded::FragmentCount, 1008);
}

#[test]
fn r05_the_sum_of_fragments_is_judged_by_the_header_that_passes_it() {
    let part = vec![b'a'; 64 << 10];
    let next = Frame::new(opcode::CONTINUATION, &part)
        .unfinished()
        .from(Role::Client)
        .encode();
    let first = Frame::new(opcode::TEXT, &part)
        .unfinished()
        .from(Role::Client)
        .encode();
    let mut server = open(Role::Server, &quiet());
    feed(&mut server, at(5), &first);
    (0..255).for_each(|_| drop(feed(&mut server, at(5), &next)));
    assert_eq!(server.state(), State::Open, "16 MiB, the limit");
    let header = header(false, 0, opcode::CONTINUATION, Some(MASK), 1);
    feed(&mut server, at(5), &header);
    assert_eq!(drain_frames(&mut server, at(5))[0].close_code(), Some(1009));
}

#[test]
fn r10_many_empty_messages_come_one_at_a_time() {
    let bytes = hex("82 80 M").repeat(100_000);
    let mut server = open(Role::Server, &quiet());
    let (mut rest, mut count) = (&bytes[..], 0);
    while !rest.is_empty() {
        let taken = server.handle_input(at(5), rest);
        rest = &rest[taken..];
        let list = events(&mut server);
        assert!(list.len() <= 4, "a bounded number at once");
        count += list.len();
    }
    assert_eq!(count, 100_000);
}

#[test]
fn r11_honest_traffic_trips_no_limit() {
    let mut server = open(Role::Server, &quiet());
    let small = frame(Role::Client, opcode::TEXT, b"hi").repeat(1_000);
    let mut count = 0;
    for second in 0..100 {
        count += feed(&mut server, at(second * 1_000), &small).len();
        feed(
            &mut server,
            at(second * 1_000),
            &frame(Role::Client, opcode::PING, b"tick"),
        );
        drain(&mut server, at(second * 1_000));
    }
    assert_eq!(count, 100_000);
    // An upload of 16 MB in fragments of 64 bytes.
    let mut upload = fragments(&[b'u'; 64], 250_000);
    upload.extend(frame(Role::Client, opcode::CONTINUATION, b""));
    let list = feed(&mut server, at(200_000), &upload);
    let whole: Vec<_> = list
        .into_iter()
        .map(|event| Message::try_from(event).unwrap())
        .collect();
    assert_eq!(whole[0].len(), 16_000_001);
    assert_eq!(server.state(), State::Open);
}

#[test]
fn t03_a_peer_that_never_closes_tcp() {
    let mut client = open(Role::Client, &quiet());
    client.close(at(0), CloseCode::NORMAL, "").unwrap();
    drain(&mut client, at(0));
    feed(&mut client, at(100), &Frame::close(1000, "").encode());
    sleep(&mut client, at(4_999));
    assert_eq!(client.state(), State::Closing);
    client.handle_would_block(at(5_000));
    let closed = closed(&mut client);
    assert_eq!((closed.cause, closed.clean), (Cause::Normal, true));
}

#[test]
fn t05_a_byte_each_second_is_alive_unless_a_message_has_a_time() {
    let trickle = |config: wspulse_core::ConfigBuilder| {
        let config = config.heartbeat(ping(2_000, 2_000)).build().unwrap();
        let mut server = open(Role::Server, &config.into());
        feed(
            &mut server,
            at(0),
            &header(true, 0, opcode::BINARY, Some(MASK), 1_000),
        );
        for now in (0..60_000).step_by(1_000) {
            let _ = server.handle_input(at(now), &[1]);
            server.handle_would_block(at(now));
            server.handle_timeout(at(now));
            drain(&mut server, at(now));
        }
        server.state()
    };
    assert_eq!(trickle(Config::builder()), State::Open);
    let limited = Config::builder().message_timeout(std::time::Duration::from_secs(30));
    assert_ne!(trickle(limited), State::Open);
}

#[test]
fn t10_timeouts_early_late_and_twice_change_nothing() {
    let mut server = open(Role::Server, &with_heartbeat(ping(1_000, 1_000)));
    for now in [0, 1, 500, 999, 999, 3] {
        server.handle_timeout(at(now));
        assert_eq!(server.poll_timeout(), Some(at(1_000)));
        assert!(!server.wants_write());
    }
    for _ in 0..3 {
        server.handle_timeout(at(1_000));
    }
    assert_eq!(drain_frames(&mut server, at(1_000)).len(), 1);
}

/// RFC 6455 §5.5.1: an answer to a Close may wait for the message under way.
#[test]
fn who_waits_for_room_when_the_close_comes_is_not_cut_off() {
    let config = Config::builder().max_buffered_amount(10_000).build();
    let config = Arc::new(config.unwrap());
    let told_full = || {
        let mut server = open(Role::Server, &config);
        server.send(vec![1; 20_000]).unwrap();
        let full = server.send(vec![2; 20_000]);
        assert!(matches!(full, Err(SendError::Full(_))));
        assert!(server.takes_messages());
        let close = Frame::close(1000, "").from(Role::Client).encode();
        let taken = server.handle_input(at(5), &close);
        assert_eq!(taken, close.len());
        assert_eq!(server.state(), State::Closing);
        server
    };
    let sizes = |frames: &[Frame]| -> Vec<usize> {
        frames.iter().map(|frame| frame.payload.len()).collect()
    };

    // It sends what it has, and then the answer goes out once it heard of the Close.
    let mut server = told_full();
    let frames = drain_frames(&mut server, at(5));
    assert_eq!(sizes(&frames), [20_000], "the answer waits");
    assert!(server.takes_messages() && !server.wants_write());
    server.send(vec![2; 20_000]).unwrap();
    assert!(!server.takes_messages(), "one message is what was promised");
    assert!(matches!(server.send("3"), Err(SendError::NotOpen(_))));
    let frames = drain_frames(&mut server, at(5));
    assert_eq!(sizes(&frames), [20_000, 2]);
    assert_eq!(frames[1].close_code(), Some(1000));

    // It gave the message up: hearing of the Close is enough.
    let mut server = told_full();
    assert_eq!(sizes(&drain_frames(&mut server, at(5))), [20_000]);
    assert!(server.has_event());
    assert!(matches!(server.poll_event(), Some(Event::Closing(_))));
    assert!(server.wants_write());
    assert_eq!(sizes(&drain_frames(&mut server, at(5))), [2]);
    assert!(matches!(server.send("3"), Err(SendError::NotOpen(_))));

    // Short messages, whose storage is freed with the last byte of them, are no exception.
    let mut server = open(Role::Server, &config);
    for n in 0.. {
        if let Err(full) = server.send(vec![n; 1_000]) {
            assert!(matches!(full, SendError::Full(_)));
            break;
        }
    }
    let close = Frame::close(1000, "").from(Role::Client).encode();
    assert_eq!(server.handle_input(at(5), &close), close.len());
    assert!(drain_frames(&mut server, at(5)).len() >= 10);
    server.send("the last").unwrap();
    assert_eq!(sizes(&drain_frames(&mut server, at(5))), [8, 2]);

    // It does neither: the deadline of the closing handshake stands.
    let mut server = told_full();
    drain_frames(&mut server, at(5));
    // Its event waits, so nothing is read, and the deadline is half as long again.
    for _ in 0..3 {
        assert_eq!(server.state(), State::Closing);
        server.handle_timeout(server.poll_timeout().unwrap());
    }
    assert_eq!(server.state(), State::Closed);

    // Nobody was told to wait: the answer goes out at once.
    let mut server = open(Role::Server, &config);
    server.send(vec![1; 20_000]).unwrap();
    let close = Frame::close(1000, "").from(Role::Client).encode();
    assert_eq!(server.handle_input(at(5), &close), close.len());
    assert!(matches!(server.send("3"), Err(SendError::NotOpen(_))));
    assert_eq!(sizes(&drain_frames(&mut server, at(5))), [20_000, 2]);
}
