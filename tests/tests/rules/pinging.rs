//! Rules 1 to 4, 10, 13 and 14: what is sent, what is answered, and what counts as life.

use std::time::Duration;

use wspulse_core::heartbeat::{Evidence, HeartbeatConfig, Mode};
use wspulse_core::{
    ApplicationHeartbeat, Cause, Config, Connection, Event, Instant, LimitExceeded, Message, Role,
    Seed, State,
};
use wspulse_tests::kit::{
    at, drain, drain_frames, events, feed, ms, open, ping, pings, silence, sleep, told,
    with_heartbeat,
};
use wspulse_tests::wire::{frame, header, opcode};

/// A server with interval and timeout of a second, whose first ping has left at 1 s.
fn awaiting(heartbeat: HeartbeatConfig) -> (Connection, Vec<u8>) {
    let mut server = open(Role::Server, &with_heartbeat(heartbeat));
    server.handle_timeout(at(1_000));
    let sent = pings(&drain_frames(&mut server, at(1_000)));
    (server, sent.concat())
}

fn is_dead_at(server: &mut Connection, millis: u64) -> bool {
    silence(server, at(millis));
    server.state() == State::Closed
}

/// One byte in the middle of a frame is life.
#[test]
fn rule_01_any_byte_is_life() {
    let (mut server, _) = awaiting(ping(1_000, 1_000));
    silence(&mut server, at(1_998));
    feed(&mut server, at(1_999), &[0x82]);
    assert!(!is_dead_at(&mut server, 2_000));
    // That byte opened a new interval, and nothing came after it.
    let log = silence(&mut server, at(9_000));
    assert!(
        log.contains(&(at(3_000), "dead PongTimeout".into())),
        "{log:?}"
    );

    let (mut server, _) = awaiting(ping(1_000, 1_000));
    assert!(is_dead_at(&mut server, 2_000), "without it, it is dead");
}

/// `AnyFrame` wants the end of a frame, `MatchingPong` the pong itself.
#[test]
fn rule_01_stricter_evidence_is_a_choice() {
    let beginning = header(true, 0, opcode::BINARY, Some([0; 4]), 1_000);
    let whole = frame(Role::Client, opcode::TEXT, b"hello");
    let cases = [
        (Evidence::AnyFrame, beginning, true),
        (Evidence::AnyFrame, whole.clone(), false),
        (Evidence::MatchingPong, whole, true),
        (
            Evidence::MatchingPong,
            frame(Role::Client, opcode::PONG, b"12345678"),
            true,
        ),
    ];
    for (evidence, bytes, dies) in cases {
        let (mut server, _) = awaiting(ping(1_000, 1_000).evidence(evidence));
        silence(&mut server, at(1_998));
        feed(&mut server, at(1_999), &bytes);
        assert_eq!(
            is_dead_at(&mut server, 2_000),
            dies,
            "{evidence:?} {bytes:02x?}"
        );
    }
    let (mut server, sent) = awaiting(ping(1_000, 1_000).evidence(Evidence::MatchingPong));
    silence(&mut server, at(1_998));
    feed(
        &mut server,
        at(1_999),
        &frame(Role::Client, opcode::PONG, &sent),
    );
    assert!(!is_dead_at(&mut server, 2_000));
}

/// Feeds `bytes` and sends a message every 300 ms, as told, and returns when pings left.
fn ping_times(heartbeat: HeartbeatConfig, receives: bool, sends: bool) -> Vec<u64> {
    let mut server = open(Role::Server, &with_heartbeat(heartbeat));
    let mut times = Vec::new();
    for now in (0..=3_000).step_by(100) {
        if receives && now % 300 == 0 {
            feed(
                &mut server,
                at(now),
                &frame(Role::Client, opcode::TEXT, b"in"),
            );
        }
        if sends && now % 300 == 0 {
            server.send("out").unwrap();
        }
        server.handle_would_block(at(now));
        server.handle_timeout(at(now));
        let count = pings(&drain_frames(&mut server, at(now))).len();
        times.extend(std::iter::repeat_n(now, count));
        events(&mut server);
    }
    times
}

/// A ping is due when nothing came in, or nothing went out, for the interval.
#[test]
fn rule_02_both_directions_stay_warm() {
    let heartbeat = ping(1_000, 10_000);
    assert_eq!(
        ping_times(heartbeat, true, true),
        [],
        "a busy connection carries none"
    );
    assert_eq!(
        ping_times(heartbeat, true, false),
        [1_000, 2_000, 3_000],
        "nothing went out"
    );
    assert_eq!(
        ping_times(heartbeat, false, true),
        [1_000],
        "nothing came in"
    );
}

/// Bytes that are no evidence postpone no ping, however much goes out.
#[test]
fn rule_02_only_evidence_postpones_a_ping() {
    for evidence in [Evidence::AnyFrame, Evidence::MatchingPong] {
        let heartbeat = ping(1_000, 10_000).evidence(evidence);
        let mut server = open(Role::Server, &with_heartbeat(heartbeat));
        // A frame of 200 bytes, a byte at a time.
        feed(&mut server, at(0), &[0x82, 0xFE, 0, 200, 0, 0, 0, 0]);
        for now in (100..1_000).step_by(100).map(at) {
            feed(&mut server, now, &[7]);
            server.send("something").unwrap();
            drain(&mut server, now);
        }
        assert_eq!(server.poll_timeout(), Some(at(1_000)));
        server.handle_timeout(at(1_000));
        assert_eq!(
            pings(&drain_frames(&mut server, at(1_000))).len(),
            1,
            "{evidence:?}"
        );
    }
}

/// Whatever the traffic, or never.
#[test]
fn rule_02_periodic_and_passive_are_choices() {
    let periodic = ping(1_000, 10_000).mode(Mode::Periodic);
    assert_eq!(ping_times(periodic, true, true), [1_000, 2_000, 3_000]);
    let passive = HeartbeatConfig::passive(ms(1_500));
    assert_eq!(ping_times(passive, true, false), []);
    let mut server = open(Role::Server, &with_heartbeat(passive));
    let end = told(&[
        (750, "suspect"),
        (1_500, "dead Silence"),
        (1_500, "close 1011"),
    ]);
    assert_eq!(silence(&mut server, at(60_000)), end);
}

/// However many intervals pass, one ping is out.
#[test]
fn rule_02_one_ping_is_outstanding() {
    for mode in [Mode::Idle, Mode::Periodic] {
        let mut server = open(
            Role::Server,
            &with_heartbeat(ping(1_000, 30_000).mode(mode)),
        );
        let log = silence(&mut server, at(30_999));
        assert_eq!(log, told(&[(1_000, "ping"), (16_000, "suspect")]));
    }
}

/// 16 lower-case hexadecimal digits (I3): a nonce of the connection, and a number that counts up.
#[test]
fn rule_03_a_ping_names_its_connection_and_itself() {
    let config = with_heartbeat(ping(1_000, 1_000));
    let two = |seed| {
        let seed = Seed::predictable_for_tests(seed);
        let mut server = Connection::from_upgrade(Role::Server, config.clone(), seed, at(0));
        server.handle_timeout(at(1_000));
        let first = pings(&drain_frames(&mut server, at(1_000))).concat();
        feed(
            &mut server,
            at(1_010),
            &frame(Role::Client, opcode::PONG, &first),
        );
        server.handle_timeout(at(2_010));
        let second = pings(&drain_frames(&mut server, at(2_010))).concat();
        [first, second]
    };
    let (ours, others) = (two(1), two(2));
    for payload in ours.iter().chain(&others) {
        assert_eq!(payload.len(), 16);
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        assert!(payload.iter().all(is_digit), "{}", payload.escape_ascii());
    }
    assert_eq!(ours[0][..8], ours[1][..8], "one nonce");
    assert_eq!(ours[0][8..], *b"00000001");
    assert_eq!(ours[1][8..], *b"00000002");
    assert_ne!(
        ours[0][..8],
        others[0][..8],
        "another connection, another nonce"
    );
}

/// Only the pong that matches the latest ping is a sample, and only once.
#[test]
fn rule_03_only_a_matching_pong_is_a_sample_and_once() {
    let (mut server, first) = awaiting(ping(1_000, 1_000));
    let rtt = |server: &Connection, now| server.snapshot(at(now)).heartbeat.rtt;
    let pong = |payload: &[u8]| frame(Role::Client, opcode::PONG, payload);
    for unsolicited in [
        &b""[..],
        b"hello",
        &[0; 8],
        &first[..15],
        b"0000000g00000001",
    ] {
        feed(&mut server, at(1_020), &pong(unsolicited));
        assert_eq!(rtt(&server, 1_020), None, "{unsolicited:02x?}");
    }
    feed(&mut server, at(1_030), &pong(&first));
    assert_eq!(rtt(&server, 1_030).unwrap().last(), ms(30));
    feed(&mut server, at(1_500), &pong(&first));
    assert_eq!(
        rtt(&server, 1_500).unwrap().last(),
        ms(30),
        "again is not a sample"
    );

    // The next ping, and a pong for the one before: an answer to neither, and no sample.
    server.handle_timeout(at(2_000));
    let second = pings(&drain_frames(&mut server, at(2_000))).concat();
    assert_eq!(second.len(), 16);
    feed(&mut server, at(2_010), &pong(&first));
    assert_eq!(rtt(&server, 2_010).unwrap().last(), ms(30));
    feed(&mut server, at(2_020), &pong(&second));
    assert_eq!(rtt(&server, 2_020).unwrap().last(), ms(20));
    assert_eq!(server.snapshot(at(2_020)).heartbeat.answered, 2);
}

/// A pong that answers a ping from before our own pause measures the pause.
#[test]
fn rule_03_a_sample_that_spans_a_pause_is_discarded() {
    let (mut server, sent) = awaiting(ping(1_000, 1_000));
    let pong = frame(Role::Client, opcode::PONG, &sent);
    feed(&mut server, at(60_000), &pong);
    assert_eq!(server.snapshot(at(60_000)).heartbeat.rtt, None);
}

/// The clock starts with the ping's last byte, not when the ping is queued.
#[test]
fn rule_04_the_pong_clock_starts_when_the_last_byte_left() {
    let mut server = open(Role::Server, &with_heartbeat(ping(1_000, 1_000)));
    server.handle_timeout(at(1_000));
    assert_eq!(server.poll_transmit().unwrap().len(), 18);
    sleep(&mut server, at(2_100));
    server.handle_would_block(at(2_100));
    server.handle_timeout(at(2_100));
    assert_eq!(
        events(&mut server).len(),
        0,
        "no suspicion: the ping has not left"
    );
    sleep(&mut server, at(2_200));
    server.handle_transmitted(at(2_200), 18);
    let end = told(&[
        (2_700, "suspect"),
        (3_200, "dead PongTimeout"),
        (3_200, "close 1011"),
    ]);
    assert_eq!(silence(&mut server, at(60_000)), end);

    // All but its last byte is not the ping.
    let mut server = open(Role::Server, &with_heartbeat(ping(1_000, 1_000)));
    server.handle_timeout(at(1_000));
    assert_eq!(server.poll_transmit().unwrap().len(), 18);
    server.handle_transmitted(at(1_000), 17);
    assert_eq!(silence_unsent(&mut server, at(9_000)), 0);
    assert_eq!(server.snapshot(at(9_000)).heartbeat.awaiting, None);
    server.handle_transmitted(at(9_000), 1);
    assert_eq!(server.snapshot(at(9_500)).heartbeat.awaiting, Some(ms(500)));
}

/// Runs while nothing is written; returns how many events there were.
fn silence_unsent(connection: &mut Connection, until: Instant) -> usize {
    let mut count = 0;
    while let Some(deadline) = connection.poll_timeout().filter(|&due| due <= until) {
        connection.handle_would_block(deadline);
        connection.handle_timeout(deadline);
        count += events(connection).len();
    }
    count
}

/// The answer is there at once, before data that waited longer, with the same payload.
#[test]
fn rule_10_pongs_leave_before_data() {
    let mut server = open(Role::Server, &with_heartbeat(HeartbeatConfig::off()));
    server.send("queued before").unwrap();
    let payloads: [&[u8]; 3] = [b"", b"\x00\xff payload", &[7; 125]];
    for payload in payloads {
        feed(
            &mut server,
            at(5),
            &frame(Role::Client, opcode::PING, payload),
        );
    }
    let frames = drain_frames(&mut server, at(5));
    let opcodes: Vec<_> = frames.iter().map(|frame| frame.opcode).collect();
    assert_eq!(
        opcodes,
        [opcode::PONG, opcode::PONG, opcode::PONG, opcode::TEXT]
    );
    assert!(
        frames
            .iter()
            .zip(payloads)
            .all(|(frame, payload)| frame.payload == payload)
    );
}

/// A control frame waits for one commit of 64 KiB, not for a message of megabytes.
#[test]
fn rule_10_a_pong_does_not_wait_for_a_large_message() {
    for role in [Role::Server, Role::Client] {
        let mut connection = open(role, &with_heartbeat(HeartbeatConfig::off()));
        connection.send(vec![1; 8 << 20]).unwrap();
        let committed = connection.poll_transmit().unwrap().len();
        feed(
            &mut connection,
            at(5),
            &frame(role.peer(), opcode::PING, b"now"),
        );
        let bytes = drain(&mut connection, at(5));
        let pong = bytes
            .windows(2)
            .position(|window| window[0] == 0x8a && window[1] & 0x7f == 3);
        assert!(committed <= (64 << 10) + 14, "{committed}");
        assert_eq!(pong, Some(committed), "directly behind what was committed");
    }
}

/// Nor does it when the transport took megabytes before: as soon as it takes little at once, little
/// is committed in front of the pong.
#[test]
fn rule_10_a_commit_is_at_most_twice_what_the_transport_takes_at_once() {
    let config = with_heartbeat(HeartbeatConfig::off());
    let mut server = open(Role::Server, &config);
    server.send(vec![1; 64 << 20]).unwrap();
    let mut take = |most: usize| {
        let lent = server.poll_transmit().unwrap().len();
        server.handle_transmitted(at(5), lent.min(most));
        lent
    };
    let frame = (64 << 10) + 14;
    let mut took = 0;
    for round in 0..20 {
        let lent = take(usize::MAX);
        assert!(lent <= frame.max(2 * took), "{lent} after {took}");
        assert!(lent <= 16 * frame, "{lent}");
        assert!(round < 6 || lent >= 1 << 20, "{lent}: it takes everything");
        took = lent;
    }
    for _ in 0..200 {
        take(20 << 10);
    }
    // All that is committed drains, and the next commit is a short one.
    for _ in 0..4 {
        let lent = take(20 << 10);
        assert!(lent <= frame, "{lent}");
    }
}

/// Sixteen wait; of more, the newest.
#[test]
fn rule_10_sixteen_pongs_wait_at_most() {
    let pongs = |count: u8| {
        let mut server = open(Role::Server, &with_heartbeat(HeartbeatConfig::off()));
        for n in 1..=count {
            feed(&mut server, at(5), &frame(Role::Client, opcode::PING, &[n]));
        }
        let frames = drain_frames(&mut server, at(5));
        frames
            .iter()
            .map(|frame| frame.payload[0])
            .collect::<Vec<_>>()
    };
    assert_eq!(pongs(16), (1..=16).collect::<Vec<_>>());
    assert_eq!(pongs(17), [17], "then the newest only");
    let many = pongs(200);
    assert!(many.len() <= 16 && many.last() == Some(&200), "{many:?}");
}

/// A flood is reported, and ends with 1008 if it goes on.
#[test]
fn rule_10_a_flood_of_pings_is_told_and_then_ended() {
    let mut server = open(Role::Server, &with_heartbeat(HeartbeatConfig::off()));
    let ping = frame(Role::Client, opcode::PING, b"flood");
    let (mut told_at, mut ended_at) = (None, None);
    for n in 1..=100_000 {
        let list = feed(&mut server, at(5), &ping);
        if list
            .iter()
            .any(|event| matches!(event, Event::ControlFlood))
        {
            assert_eq!(told_at.replace(n), None, "told once");
        }
        if server.state() != State::Open {
            ended_at = Some(n);
            break;
        }
    }
    assert!(
        told_at.is_some() && told_at < ended_at,
        "{told_at:?} {ended_at:?}"
    );
    let frames = drain_frames(&mut server, at(5));
    assert_eq!(frames.last().unwrap().close_code(), Some(1008));
    server.handle_eof(at(6));
    let Some(Event::Closed(closed)) = server.poll_event() else {
        panic!("over")
    };
    assert_eq!(closed.cause, Cause::Limit(LimitExceeded::ControlFlood));
}

/// A ping each second for a day, a ping with each message at any speed: no flood.
#[test]
fn rule_10_honest_use_is_no_flood() {
    let quiet = with_heartbeat(HeartbeatConfig::off());
    let mut server = open(Role::Server, &quiet);
    let ping = frame(Role::Client, opcode::PING, b"honest");
    for second in 0..86_400 {
        assert!(feed(&mut server, at(second * 1_000), &ping).is_empty());
        drain(&mut server, at(second * 1_000));
    }
    let mut server = open(Role::Server, &quiet);
    let both = [frame(Role::Client, opcode::TEXT, b"hello"), ping].concat();
    for _ in 0..100_000 {
        let events = feed(&mut server, at(5), &both);
        assert!(matches!(events[..], [Event::Text(_)]), "{events:?}");
        drain(&mut server, at(5));
    }
    assert_eq!(server.state(), State::Open);
}

/// Times at which the first and the second ping of a thousand connections are due.
fn spread(percent: Option<u8>) -> Vec<[Duration; 2]> {
    let mut heartbeat = HeartbeatConfig::ping(ms(20_000), ms(20_000));
    if let Some(percent) = percent {
        heartbeat = heartbeat.jitter_percent(percent);
    }
    let config = with_heartbeat(heartbeat);
    let due = |seed| {
        let seed = Seed::predictable_for_tests(seed);
        let mut server = Connection::from_upgrade(Role::Server, config.clone(), seed, at(0));
        let first = server.poll_timeout().unwrap();
        server.handle_timeout(first);
        let sent = pings(&drain_frames(&mut server, first)).concat();
        feed(
            &mut server,
            first,
            &frame(Role::Client, opcode::PONG, &sent),
        );
        let mut second = first;
        while drain(&mut server, second).is_empty() {
            second = server.poll_timeout().unwrap();
            server.handle_timeout(second);
        }
        [
            first.saturating_duration_since(at(0)),
            second.saturating_duration_since(first),
        ]
    };
    (0..1_000).map(due).collect()
}

/// First in `[I/2, I]`, later in `[0.9 I, I]`, and all over those.
#[test]
fn rule_13_connections_that_open_at_once_do_not_ping_at_once() {
    let all = spread(None);
    for (index, low) in [(0, 10_000), (1, 18_000)] {
        let mut tenths = [0; 10];
        for due in &all {
            assert!((ms(low)..=ms(20_000)).contains(&due[index]), "{due:?}");
            let part = (due[index] - ms(low)).as_nanos() * 10 / (ms(20_000 - low).as_nanos() + 1);
            tenths[part as usize] += 1;
        }
        assert!(
            tenths.iter().all(|count| (50..200).contains(count)),
            "{index} {tenths:?}"
        );
    }
    assert!(
        spread(Some(0)).iter().all(|due| *due == [ms(20_000); 2]),
        "zero switches it off"
    );
}

fn application(heartbeat: ApplicationHeartbeat, policy: HeartbeatConfig) -> Connection {
    let config = Config::builder()
        .heartbeat(policy)
        .application_heartbeat(heartbeat);
    open(Role::Server, &config.build().unwrap().into())
}

/// A text message in place of a ping frame; its answer is life, a sample, and nobody's message.
#[test]
fn rule_14_an_application_heartbeat_asks() {
    let asks = || ApplicationHeartbeat::ask("ping", "pong");
    let strict = ping(1_000, 1_000).evidence(Evidence::MatchingPong);
    let mut server = application(asks(), strict);
    server.handle_timeout(at(1_000));
    let frames = drain_frames(&mut server, at(1_000));
    assert_eq!(frames.len(), 1);
    assert_eq!(
        (frames[0].opcode, &frames[0].payload[..]),
        (opcode::TEXT, &b"ping"[..])
    );
    let list = feed(
        &mut server,
        at(1_040),
        &frame(Role::Client, opcode::TEXT, b"pong"),
    );
    assert!(list.is_empty(), "{list:?}");
    assert_eq!(
        server.snapshot(at(1_040)).heartbeat.rtt.unwrap().last(),
        ms(40)
    );
    assert!(!is_dead_at(&mut server, 2_000));

    let mut server = application(asks(), strict);
    let end = [
        (1_000, "data ping"),
        (1_500, "suspect"),
        (2_000, "dead PongTimeout"),
    ];
    assert_eq!(silence(&mut server, at(60_000))[..3], told(&end));
}

/// The other side of it: a text message is answered, and nobody's message.
#[test]
fn rule_14_an_application_heartbeat_answers() {
    let mut server = application(
        ApplicationHeartbeat::answer("ping", "pong"),
        ping(1_000, 1_000),
    );
    let mut say = |text: &[u8]| {
        let list = feed(&mut server, at(5), &frame(Role::Client, opcode::TEXT, text));
        let list: Vec<_> = list
            .into_iter()
            .map(|event| Message::try_from(event).unwrap())
            .collect();
        let frames = drain_frames(&mut server, at(5));
        (
            list,
            frames
                .into_iter()
                .map(|frame| frame.payload)
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(say(b"ping"), (vec![], vec![b"pong".to_vec()]));
    assert_eq!(say(b"pong"), (vec!["pong".into()], vec![]));
    assert_eq!(say(b"pings"), (vec!["pings".into()], vec![]));
}
