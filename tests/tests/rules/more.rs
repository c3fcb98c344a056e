//! What `tests/rules.sh` found that no other test noticed when it was taken out.

use std::time::Duration;

use wspulse_core::heartbeat::{Evidence, HeartbeatConfig};
use wspulse_core::{
    ApplicationHeartbeat, Cause, Config, Connection, Event, Instant, Role, Seed, State,
};
use wspulse_tests::kit::{
    at, drain, drain_frames, events, feed, ms, open, ping, pings, silence, sleep, told, turn,
    with_heartbeat,
};
use wspulse_tests::wire::{Wire, frame, header, opcode};

fn server(heartbeat: HeartbeatConfig) -> Connection {
    open(Role::Server, &with_heartbeat(heartbeat))
}

/// A server with interval and timeout of a second, whose first ping left at 1 s.
fn awaiting(heartbeat: HeartbeatConfig) -> (Connection, Vec<u8>) {
    let mut server = server(heartbeat);
    server.handle_timeout(at(1_000));
    let sent = pings(&drain_frames(&mut server, at(1_000))).concat();
    assert_eq!(sent.len(), 16);
    (server, sent)
}

/// The right number is not enough.
#[test]
fn rule_03_a_pong_for_another_connection_is_no_answer() {
    let strict = ping(1_000, 1_000).evidence(Evidence::MatchingPong);
    let (mut server, mut foreign) = awaiting(strict);
    foreign[0] ^= 1;
    let pong = frame(Role::Client, opcode::PONG, &foreign);
    feed(&mut server, at(1_010), &pong);
    let heartbeat = server.snapshot(at(1_010)).heartbeat;
    assert_eq!((heartbeat.rtt, heartbeat.answered), (None, 0));
    silence(&mut server, at(2_000));
    assert_eq!(server.state(), State::Closed);
}

/// Also one that ended before the pong was read, and was too short to pardon anybody.
#[test]
fn rule_03_a_sample_that_spans_a_short_pause_is_discarded() {
    let (mut server, sent) = awaiting(ping(1_000, 1_000));
    server.handle_timeout(at(1_700));
    let pong = frame(Role::Client, opcode::PONG, &sent);
    feed(&mut server, at(1_710), &pong);
    let heartbeat = server.snapshot(at(1_710)).heartbeat;
    assert_eq!((heartbeat.rtt, heartbeat.answered), (None, 1));
}

/// Two tenths late for suspicion: death is two tenths later.
#[test]
fn rule_06_what_is_yet_to_fall_due_moves_by_as_much_as_we_were_late() {
    let (mut server, _) = awaiting(ping(1_000, 1_000));
    turn(&mut server, at(1_700), &mut Vec::new());
    for (now, state) in [(2_199, State::Open), (2_200, State::Closed)] {
        turn(&mut server, at(now), &mut Vec::new());
        assert_eq!(server.state(), state, "{now}");
    }
}

/// Nothing was late but the read: the bytes it finds came in time, for all anybody knows.
#[test]
fn rule_06_bytes_read_behind_the_deadline_win_without_a_pause() {
    for spoke in [true, false] {
        let (mut server, _) = awaiting(ping(1_000, 1_000));
        sleep(&mut server, at(2_450));
        if spoke {
            feed(&mut server, at(2_450), &[0x82]);
        }
        silence(&mut server, at(2_450));
        server.handle_would_block(at(2_450));
        assert_eq!(server.state(), State::Open, "suspicion comes first");
        silence(&mut server, at(2_950));
        assert_eq!(server.state() == State::Open, spoke);
        let pauses = server.snapshot(at(2_450)).heartbeat.local_pauses;
        assert_eq!(pauses, 0);
    }
}

/// A server whose transport blocked at 1 s, and may take nothing for three seconds.
fn blocked() -> Connection {
    let heartbeat = ping(60_000, 60_000).write_stall_timeout(ms(3_000));
    let mut server = server(heartbeat);
    server.send(vec![1; 100_000]).unwrap();
    server.poll_transmit().unwrap();
    server.handle_transmitted(at(1_000), 500);
    assert_eq!(server.poll_timeout(), Some(at(2_500)), "a step");
    server
}

/// What we slept through is not the transport's fault either.
#[test]
fn rule_06_our_own_pause_is_not_held_against_the_transport() {
    let mut server = blocked();
    // A step was due at 2.5 s, half of the time before.
    server.handle_timeout(at(60_000));
    for (now, state) in [(61_499, State::Open), (61_500, State::Closing)] {
        sleep(&mut server, at(now));
        server.handle_transmitted(at(now), 0);
        assert_eq!(server.state(), state, "{now}");
    }
}

/// Where the clock stood still, so did the stall's.
#[test]
fn rule_06_resumed_leaves_the_clock_of_the_transport() {
    let mut server = blocked();
    sleep(&mut server, at(3_900));
    server.handle_resumed(at(3_900));
    for (now, state) in [(3_999, State::Open), (4_000, State::Closing)] {
        server.handle_transmitted(at(now), 0);
        assert_eq!(server.state(), state, "{now}");
    }
}

/// A ping although none was outstanding or due: who knows how long it was.
#[test]
fn rule_06_resumed_asks_at_once() {
    let mut server = server(ping(10_000, 1_000));
    server.handle_resumed(at(100));
    assert_eq!(pings(&drain_frames(&mut server, at(100))).len(), 1);
}

/// What a reader finds that was away may have the end of the frame behind it: suspicion comes
/// first, and leaves it time.
#[test]
fn rule_06_a_reader_that_was_away_reads_on() {
    let beginning = header(true, 0, opcode::BINARY, Some([0; 4]), 1_000);
    for away in [true, false] {
        let (mut server, _) = awaiting(ping(1_000, 1_000).evidence(Evidence::AnyFrame));
        sleep(&mut server, at(1_500));
        if !away {
            server.handle_would_block(at(1_500));
        }
        sleep(&mut server, at(2_010));
        feed(&mut server, at(2_010), &beginning);
        server.handle_would_block(at(2_010));
        assert_eq!(server.state() == State::Open, away);
    }
}

/// Nor is the peer blamed for a handshake that we slept through.
#[test]
fn rule_06_our_own_pause_is_not_held_against_the_handshake() {
    let config = Config::builder().handshake_timeout(ms(10_000));
    let seed = Seed::predictable_for_tests(1);
    let mut server = Connection::server(config.build().unwrap().into(), seed, at(0));
    // A step was due at 5 s.
    server.handle_timeout(at(60_000));
    assert_eq!(server.state(), State::Connecting);
    assert_eq!(server.poll_timeout(), Some(at(65_000)));
    server.handle_timeout(at(65_000));
    assert_eq!(server.state(), State::Connecting, "nobody has looked");
    server.handle_would_block(at(65_000));
    let last = events(&mut server).pop();
    let Some(Event::Closed(closed)) = last else {
        panic!("{last:?}")
    };
    assert_eq!(closed.cause, Cause::HandshakeTimeout);
}

/// Not even at the end of time.
#[test]
fn rule_09_the_longest_timeout_never_ends() {
    let max = Duration::MAX;
    let heartbeat = HeartbeatConfig::ping(ms(1_000), max).jitter_percent(0);
    let (mut server, _) = awaiting(heartbeat);
    server.handle_would_block(Instant::MAX);
    server.handle_timeout(Instant::MAX);
    assert_eq!(server.state(), State::Open);
}

/// Each thing that refills the bucket alone, where nothing else does.
#[test]
fn rule_10_time_data_and_answers_taken_each_refill_the_bucket() {
    let unasked = frame(Role::Client, opcode::PONG, b"honest");
    let asking = frame(Role::Client, opcode::PING, b"honest");
    let small = frame(Role::Client, opcode::TEXT, b"hello");
    let large = frame(Role::Client, opcode::BINARY, &[1; 4 << 10]);
    let run = |name: &str, turns: u64, turn: &dyn Fn(&mut Connection, u64) -> Vec<Event>| {
        let mut server = server(HeartbeatConfig::off());
        for n in 0..turns {
            let list = turn(&mut server, n);
            let flood = list
                .iter()
                .any(|event| matches!(event, Event::ControlFlood));
            assert!(!flood, "{name}: {n}");
        }
        assert_eq!(server.state(), State::Open, "{name}");
    };
    run("time", 10_000, &|server, n| {
        feed(server, at(n * 1_000), &unasked)
    });
    run("messages in", 5_000, &|server, _| {
        feed(server, at(5), &[&small[..], &unasked].concat())
    });
    run("messages out", 5_000, &|server, _| {
        server.send("hello").unwrap();
        drain(server, at(5));
        feed(server, at(5), &unasked)
    });
    run("bytes in", 1_000, &|server, _| {
        feed(server, at(5), &[&large[..], &unasked.repeat(5)].concat())
    });
    run("bytes out", 1_000, &|server, _| {
        server.send(vec![1; 4 << 10]).unwrap();
        drain(server, at(5));
        feed(server, at(5), &unasked.repeat(5))
    });
    run("answers taken", 5_000, &|server, _| {
        let list = feed(server, at(5), &asking);
        drain(server, at(5));
        list
    });
}

fn application(heartbeat: ApplicationHeartbeat) -> Connection {
    let config = Config::builder()
        .heartbeat(ping(1_000, 1_000))
        .application_heartbeat(heartbeat);
    open(Role::Server, &config.build().unwrap().into())
}

/// Nothing but control frames may come between the fragments of a message (RFC 6455 §5.4).
#[test]
fn rule_14_between_the_fragments_of_a_message_a_ping_frame_asks() {
    let mut server = application(ApplicationHeartbeat::ask("ping", "pong"));
    server.send_part("half", false).unwrap();
    drain(&mut server, at(0));
    server.handle_timeout(at(1_000));
    let frames = drain_frames(&mut server, at(1_000));
    assert_eq!((frames.len(), pings(&frames).len()), (1, 1), "{frames:?}");
}

/// And the answer waits for the message's end.
#[test]
fn rule_14_no_answer_between_the_parts_of_a_message() {
    let mut server = application(ApplicationHeartbeat::answer("ping", "pong"));
    server.send_part("one ", false).unwrap();
    let mut sent = drain(&mut server, at(5));
    let list = feed(
        &mut server,
        at(5),
        &frame(Role::Client, opcode::TEXT, b"ping"),
    );
    assert!(list.is_empty(), "{list:?}");
    sent.extend(drain(&mut server, at(6)));
    server.send_part("two", true).unwrap();
    sent.extend(drain(&mut server, at(7)));
    let frames = Wire::frames(Role::Server)
        .keeping_data()
        .push(&sent)
        .expect("legal frames");
    let payloads: Vec<_> = frames.iter().map(|frame| &frame.payload[..]).collect();
    assert_eq!(payloads, [&b"one "[..], b"two", b"pong"]);
}

/// Silence from a time when nobody expected anything is not held against the peer.
#[test]
fn rule_15_a_passive_policy_counts_from_the_change() {
    let mut server = server(HeartbeatConfig::off());
    turn(&mut server, at(99_999), &mut Vec::new());
    let passive = HeartbeatConfig::passive(ms(1_500));
    server.set_heartbeat(at(100_000), passive).unwrap();
    let end = told(&[
        (100_750, "suspect"),
        (101_500, "dead Silence"),
        (101_500, "close 1011"),
    ]);
    turn(&mut server, at(100_000), &mut Vec::new());
    assert_eq!(silence(&mut server, at(900_000)), end);
}
