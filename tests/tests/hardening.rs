//! What a hostile peer, a careless owner or an odd machine could do to a connection, and what the
//! docs promise in its face. Each test is named after the promise.

use std::sync::Arc;
use std::time::Duration;

use wspulse_core::heartbeat::{
    DeadReason, Evidence, Heartbeat, HeartbeatConfig, HeartbeatEvent, Mode, PongMatch,
};
use wspulse_core::{
    ApplicationHeartbeat, Cause, CloseCode, Closed, Config, ConfigBuilder, Connection, Delivery,
    Event, Initiator, Instant, LimitExceeded, Message, Role, Seed, SendError, State,
};
use wspulse_tests::alloc::Counting;
use wspulse_tests::meter::Meter;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn s(secs: u64) -> Instant {
    Instant::from_secs(secs)
}
fn ms(millis: u64) -> Instant {
    Instant::from_millis(millis)
}
const fn d(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn server(config: ConfigBuilder) -> Connection {
    Connection::from_upgrade(
        Role::Server,
        Arc::new(config.build().unwrap()),
        Seed::predictable_for_tests(1),
        Instant::ZERO,
    )
}
fn off() -> ConfigBuilder {
    Config::builder().heartbeat(HeartbeatConfig::off())
}
fn steady(interval: u64, timeout: u64) -> HeartbeatConfig {
    HeartbeatConfig::ping(d(interval), d(timeout)).jitter_percent(0)
}

/// A client's frame, masked with zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 126);
    let mut bytes = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    bytes.extend_from_slice(payload);
    bytes
}
fn events(connection: &mut Connection) -> Vec<Event> {
    std::iter::from_fn(|| connection.poll_event()).collect()
}
fn flush(connection: &mut Connection, now: Instant) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(transmit) = connection.poll_transmit() {
        let n = transmit.len();
        out.extend(transmit.chunks().flatten());
        connection.handle_transmitted(now, n);
    }
    out
}
fn closed(events: &[Event]) -> Option<&Closed> {
    events.iter().find_map(|event| match event {
        Event::Closed(closed) => Some(&**closed),
        _ => None,
    })
}

// ---- what is queued is bounded

#[test]
fn empty_messages_fill_the_outgoing_queue_too() {
    let mut connection = server(off());
    connection.send("x").unwrap();
    let lent = connection.poll_transmit().unwrap().len();
    connection.handle_transmitted(Instant::ZERO, lent - 1); // the peer does not read
    let mut meter = Meter::new();
    for _ in 0..2_000_000 {
        match meter.call(&mut connection, |it| it.send("")) {
            Ok(()) => {}
            Err(SendError::Full(_)) => return,
            Err(other) => panic!("{other:?}"),
        }
    }
    panic!(
        "two million messages wait; buffered_amount says {}",
        connection.buffered_amount()
    );
}

// ---- abort

#[test]
fn abort_behind_the_peers_close_hides_nothing() {
    let mut connection = server(off());
    let _ = connection.handle_input(s(1), &frame(0x88, b"\x03\xe9bye"));
    connection.abort(s(1));
    let seen = events(&mut connection);
    assert!(closed(&seen).is_some(), "no Closed event: {seen:?}");
}

#[test]
fn abort_keeps_the_close_frames_that_went_both_ways() {
    let mut connection = Connection::from_upgrade(
        Role::Client,
        Arc::new(off().build().unwrap()),
        Seed::predictable_for_tests(1),
        Instant::ZERO,
    );
    connection.close(s(1), CloseCode::NORMAL, "").unwrap();
    flush(&mut connection, s(1));
    let _ = connection.handle_input(s(1), b"\x88\x02\x03\xe8");
    events(&mut connection);
    connection.abort(s(2)); // tired of waiting for the server to close TCP
    let seen = events(&mut connection);
    let closed = closed(&seen).unwrap();
    assert!(closed.received.is_some(), "{closed:?}");
    assert_eq!(closed.sent, Some(CloseCode::NORMAL));
}

// ---- completion based I/O

#[test]
fn a_pong_read_before_the_write_is_reported_is_an_answer() {
    let mut heartbeat = Heartbeat::new(steady(5, 10), 1, Instant::ZERO).unwrap();
    heartbeat.handle_timeout(s(5));
    let ping = heartbeat.poll_ping().unwrap();
    // io_uring: the completion of the read comes before that of the write.
    heartbeat.handle_received(ms(5_010));
    heartbeat.handle_pong(ms(5_010), &ping);
    heartbeat.handle_transmitted(ms(5_011), 10, false);
    heartbeat.handle_ping_sent(ms(5_011));
    // The peer answers every ping at once.
    let mut now = ms(5_011);
    for _ in 0..100 {
        let Some(at) = heartbeat.poll_timeout() else {
            break;
        };
        now = at;
        heartbeat.handle_would_block(now);
        heartbeat.handle_timeout(now);
        while let Some(event) = heartbeat.poll_event() {
            assert!(
                !matches!(event, HeartbeatEvent::Dead(_)),
                "{event:?} at {now:?}"
            );
        }
        if let Some(ping) = heartbeat.poll_ping() {
            heartbeat.handle_transmitted(now, 10, false);
            heartbeat.handle_ping_sent(now);
            heartbeat.handle_received(now);
            heartbeat.handle_pong(now, &ping);
        }
    }
    assert!(now > s(60));
}

// ---- a loop on wants_read

#[test]
fn nothing_is_read_behind_the_end_of_the_stream() {
    let mut connection = server(off());
    connection.send("x").unwrap();
    connection.poll_transmit().unwrap();
    connection.handle_transmitted(s(1), 0); // blocked
    let _ = connection.handle_input(s(1), &frame(0x88, b"\x03\xe8"));
    events(&mut connection);
    connection.handle_eof(s(1));
    assert_eq!(connection.state(), State::Closing);
    // A level-triggered poll says "readable" for ever from here.
    assert!(!connection.wants_read());
}

// ---- set_heartbeat

#[test]
fn a_dead_peer_is_found_although_the_policy_is_set_again_and_again() {
    let mut heartbeat = Heartbeat::new(steady(20, 20), 1, Instant::ZERO).unwrap();
    for at in 1..3_600 {
        let now = s(at);
        heartbeat.handle_would_block(now);
        heartbeat.handle_timeout(now);
        if heartbeat.poll_ping().is_some() {
            heartbeat.handle_transmitted(now, 10, false);
            heartbeat.handle_ping_sent(now);
        }
        if at % 15 == 0 {
            heartbeat.set_config(now, steady(20, 20)).unwrap();
        }
        while let Some(event) = heartbeat.poll_event() {
            if matches!(event, HeartbeatEvent::Dead(_)) {
                return;
            }
        }
    }
    panic!("an hour of silence; the doc says that the outstanding ping stays");
}

#[test]
fn a_ping_that_outlives_its_policy_gives_no_false_sample() {
    // Off while the ping is in the wire.
    let mut heartbeat = Heartbeat::new(steady(20, 20), 1, Instant::ZERO).unwrap();
    heartbeat.handle_timeout(s(20));
    let ping = heartbeat.poll_ping().unwrap();
    heartbeat.set_config(s(20), HeartbeatConfig::off()).unwrap();
    heartbeat.handle_transmitted(s(20), 10, false);
    heartbeat.handle_ping_sent(s(20));
    heartbeat.handle_received(ms(20_050));
    if let PongMatch::Matched(rtt) = heartbeat.handle_pong(ms(20_050), &ping) {
        assert_eq!(rtt, Duration::from_millis(50));
    }
}

#[test]
fn a_ping_answered_under_a_passive_policy_gives_no_false_sample() {
    let mut heartbeat = Heartbeat::new(steady(20, 20), 1, Instant::ZERO).unwrap();
    heartbeat.handle_timeout(s(20));
    let ping = heartbeat.poll_ping().unwrap();
    heartbeat.handle_transmitted(s(20), 10, false);
    heartbeat.handle_ping_sent(s(20));
    heartbeat
        .set_config(ms(20_010), HeartbeatConfig::passive(d(30)))
        .unwrap();
    heartbeat.handle_received(ms(20_050));
    if let PongMatch::Matched(rtt) = heartbeat.handle_pong(ms(20_050), &ping) {
        assert_eq!(rtt, Duration::from_millis(50));
    }
}

// ---- rule 14

#[test]
fn rule_14_holds_for_delivery_in_parts() {
    let config = off()
        .application_heartbeat(ApplicationHeartbeat::answer("ping", "pong"))
        .delivery(Delivery::Parts);
    let mut connection = server(config);
    let _ = connection.handle_input(s(1), &frame(0x81, b"ping"));
    let seen = events(&mut connection);
    assert!(seen.is_empty(), "reaches the application: {seen:?}");
    assert_eq!(flush(&mut connection, s(1)), b"\x81\x04pong");
}

#[test]
fn heartbeats_of_the_application_do_not_count_as_use() {
    let config = off()
        .application_heartbeat(ApplicationHeartbeat::answer("ping", "pong"))
        .idle_timeout(d(60));
    let mut connection = server(config);
    for at in (10..600).step_by(10) {
        let _ = connection.handle_input(s(at), &frame(0x81, b"ping"));
        flush(&mut connection, s(at));
        connection.handle_would_block(s(at));
        connection.handle_timeout(s(at));
    }
    assert_ne!(connection.state(), State::Open, "never idle");
}

#[test]
fn rule_14_holds_while_a_message_is_sent_in_parts() {
    let config = off().application_heartbeat(ApplicationHeartbeat::answer("ping", "pong"));
    let mut connection = server(config);
    connection.send_part("begin", false).unwrap();
    flush(&mut connection, s(1));
    let _ = connection.handle_input(s(2), &frame(0x81, b"ping"));
    connection.send_part("end", true).unwrap();
    let out = flush(&mut connection, s(3));
    let answer = b"\x81\x04pong";
    assert!(
        out.windows(answer.len()).any(|bytes| bytes == answer),
        "the request was dropped: {out:?}"
    );
}

// ---- floods

#[test]
fn a_flood_of_one_old_pong_is_a_flood() {
    let config = Config::builder().heartbeat(steady(5, 10));
    let mut connection = server(config);
    connection.handle_timeout(s(5));
    let ping = flush(&mut connection, s(5));
    let pong = frame(0x8A, &ping[2..]);
    for _ in 0..100_000 {
        let _ = connection.handle_input(s(5), &pong);
    }
    let seen = events(&mut connection);
    assert!(
        seen.iter()
            .any(|event| matches!(event, Event::ControlFlood)),
        "100,000 pongs in an instant, and {seen:?}"
    );
}

// ---- Heartbeat alone

#[test]
fn nothing_follows_death() {
    let mut heartbeat = Heartbeat::new(steady(5, 10), 1, Instant::ZERO).unwrap();
    heartbeat.handle_timeout(s(5));
    heartbeat.poll_ping().unwrap();
    heartbeat.handle_ping_sent(s(5));
    let mut seen = Vec::new();
    while let Some(deadline) = heartbeat.poll_timeout() {
        heartbeat.handle_would_block(deadline);
        heartbeat.handle_timeout(deadline);
        seen.extend(std::iter::from_fn(|| heartbeat.poll_event()));
    }
    assert_eq!(
        seen.last(),
        Some(&HeartbeatEvent::Dead(DeadReason::PongTimeout))
    );
    heartbeat.handle_received(s(16));
    assert_eq!(heartbeat.poll_event(), None);
}

// ---- contract of handle_timeout

#[test]
fn after_handle_timeout_the_deadline_is_later_without_linger() {
    let config = Config::builder()
        .heartbeat(steady(5, 10).mode(Mode::Passive))
        .linger(Duration::ZERO);
    let mut connection = server(config);
    for at in [5, 10] {
        connection.handle_would_block(s(at - 1));
        connection.handle_timeout(s(at));
    }
    connection.handle_would_block(s(10));
    connection.handle_timeout(s(10));
    assert!(
        connection.poll_timeout().is_none_or(|at| at > s(10)),
        "{:?} in {:?}",
        connection.poll_timeout(),
        connection.state()
    );
}

#[test]
fn no_linger_after_a_stalled_write() {
    let config = Config::builder()
        .heartbeat(HeartbeatConfig::off().write_stall_timeout(d(3)))
        .linger(Duration::ZERO);
    let mut connection = server(config);
    connection.send("x").unwrap();
    connection.poll_transmit().unwrap();
    connection.handle_transmitted(s(1), 0);
    while connection.state() == State::Open {
        let at = connection.poll_timeout().unwrap();
        connection.handle_transmitted(at, 0);
        connection.handle_timeout(at);
        assert!(
            connection.poll_timeout().is_none_or(|next| next > at),
            "handle_timeout({at:?}) leaves {:?}",
            connection.poll_timeout()
        );
    }
}

// ---- message_timeout and rule 6

#[test]
fn message_timeout_does_not_blame_the_peer_for_our_pause() {
    let config = off().delivery(Delivery::Parts).message_timeout(d(5));
    let mut connection = server(config);
    let whole = frame(0x82, &[7; 100]);
    let _ = connection.handle_input(s(1), &whole[..50]);
    events(&mut connection);
    let _ = connection.handle_input(s(2), &whole[50..60]);
    // The application stalls for a minute with a part in the slot; the rest has long arrived.
    let rest = &whole[60..];
    let now = s(62);
    // Step 1: the event that waits refuses the rest. Step 2: the deadline.
    let taken = connection.handle_input(now, rest);
    if connection.poll_timeout().is_some_and(|at| at <= now) {
        connection.handle_timeout(now);
    }
    let mut seen = events(&mut connection); // step 3
    let _ = connection.handle_input(now, &rest[taken..]);
    seen.extend(events(&mut connection));
    assert_eq!(connection.state(), State::Open, "{seen:?}");
}

#[test]
fn send_after_close_says_not_open_inside_a_message_too() {
    let mut connection = server(off());
    connection.send_part("begin", false).unwrap();
    connection.close(s(1), CloseCode::NORMAL, "").unwrap();
    let error = connection.send("x").unwrap_err();
    assert!(matches!(error, SendError::NotOpen(_)), "{error:?}");
}

// ---- wakes

#[test]
fn bytes_handed_in_before_death_win_also_behind_an_event() {
    let mut connection = server(Config::builder().heartbeat(steady(20, 20)));
    connection.handle_timeout(s(20));
    flush(&mut connection, s(20));
    let text = frame(0x81, b"hi");
    let _ = connection.handle_input(s(20), &text); // the application does not take the event
    connection.handle_would_block(s(20));
    connection.handle_timeout(s(40)); // a ping
    flush(&mut connection, s(40));
    connection.handle_would_block(s(50));
    connection.handle_timeout(s(50));
    // At 60 s more bytes come; the event in front refuses them.
    let taken = connection.handle_input(s(60), &text);
    assert_eq!(taken, 0);
    connection.handle_would_block(s(60)); // nothing behind them
    assert_eq!(connection.state(), State::Open, "killed with bytes at hand");
}

#[test]
fn no_commit_is_longer_than_64_kib() {
    let mut connection = server(off().max_buffered_amount(1 << 30));
    for _ in 0..3 {
        connection.send(vec![7_u8; 15 << 10]).unwrap();
    }
    connection.send(vec![7_u8; 16 << 10]).unwrap();
    for _ in 0..4 {
        connection.send(vec![7_u8; 64 << 10]).unwrap();
    }
    let len = connection.poll_transmit().unwrap().len();
    assert!(len <= (64 << 10) + 64, "{len}");
}

#[test]
fn writing_the_first_chunk_alone_is_watched_until_the_rest_follows() {
    // C7: whether more was offered is not known. Nobody tries again, or the next attempt tells.
    let stall = d(3);
    let config = Config::builder().heartbeat(HeartbeatConfig::off().write_stall_timeout(stall));
    let mut connection = server(config);
    connection.send(vec![7_u8; 40 << 10]).unwrap();
    let lent = connection.poll_transmit().unwrap();
    assert_eq!(lent.chunks().count(), 2);
    let first = lent.first().len();
    connection.handle_transmitted(s(1), first);
    assert!(
        connection.poll_timeout().is_some(),
        "a stall without a clock"
    );
    let rest = connection.poll_transmit().unwrap().len();
    connection.handle_transmitted(s(1), rest);
    assert_eq!(connection.poll_timeout(), None, "a stall that is none");
}

// ---- strict evidence

#[test]
fn a_reader_that_comes_back_soon_after_the_deadline_gives_strict_evidence_a_chance() {
    for late in [1, 4, 6] {
        let config = steady(20, 20).evidence(Evidence::AnyFrame);
        let mut connection = server(Config::builder().heartbeat(config));
        connection.handle_would_block(s(1));
        connection.handle_timeout(s(20));
        flush(&mut connection, s(20)); // ping; due at 40 s
        // The application is busy for 20 s; timers run, nobody reads, so the peer's large message
        // stands still in a closed window.
        connection.handle_timeout(s(30));
        connection.handle_timeout(s(40));
        let now = s(40 + late);
        let _ = connection.handle_input(now, &[0x82, 0xFE, 0xFF, 0xFF, 0, 0, 0, 0, 1, 2, 3]);
        connection.handle_would_block(now);
        assert_eq!(
            connection.state(),
            State::Open,
            "{late} s after the deadline"
        );
    }
}

// ---- drain extremes

#[test]
fn a_dead_peer_is_found_without_a_write_stall_timeout() {
    let config = steady(20, 20).write_stall_timeout(Duration::MAX);
    let mut heartbeat = Heartbeat::new(config, 1, Instant::ZERO).unwrap();
    heartbeat.handle_transmitted(s(1), 100_000, true); // blocked
    heartbeat.handle_transmitted(s(3), 0, true); // took nothing for two windows
    heartbeat.handle_transmitted(ms(3_100), 100_000, false); // all drains
    let mut now = s(4);
    heartbeat.handle_received(now); // and the peer's last byte
    while now < s(100_000) {
        let Some(at) = heartbeat.poll_timeout() else {
            break;
        };
        now = at;
        heartbeat.handle_would_block(now);
        heartbeat.handle_timeout(now);
        if heartbeat.poll_ping().is_some() {
            heartbeat.handle_transmitted(now, 10, false);
            heartbeat.handle_ping_sent(now);
        }
        while let Some(event) = heartbeat.poll_event() {
            if matches!(event, HeartbeatEvent::Dead(_)) {
                // No rate is known, so the extension is the longest: four timeouts.
                assert!(now <= s(4 + 20 + 20 + 80), "{now:?}");
                return;
            }
        }
    }
    panic!("never found; {:?}", heartbeat.poll_timeout());
}

// ---- coarse timers

#[test]
fn a_dead_peer_is_found_by_a_sweep_every_8_seconds() {
    let mut heartbeat = Heartbeat::new(steady(20, 20), 1, Instant::ZERO).unwrap();
    for at in (0..36_000).step_by(8) {
        let now = s(at);
        heartbeat.handle_would_block(now);
        heartbeat.handle_timeout(now);
        if heartbeat.poll_ping().is_some() {
            heartbeat.handle_transmitted(now, 10, false);
            heartbeat.handle_ping_sent(now);
        }
        while let Some(event) = heartbeat.poll_event() {
            if matches!(event, HeartbeatEvent::Dead(_)) {
                return;
            }
        }
    }
    panic!("ten hours of silence");
}

// ---- bound after a block that is long over

#[test]
fn rule_8_holds_after_a_momentary_block() {
    let mut heartbeat = Heartbeat::new(steady(20, 20), 1, Instant::ZERO).unwrap();
    heartbeat.handle_transmitted(s(1), 100_000, true);
    heartbeat.handle_transmitted(ms(1_010), 100_000, false);
    heartbeat.handle_received(s(2)); // the last byte
    loop {
        let now = heartbeat.poll_timeout().unwrap();
        heartbeat.handle_would_block(now);
        heartbeat.handle_timeout(now);
        if heartbeat.poll_ping().is_some() {
            heartbeat.handle_transmitted(now, 10, false);
            heartbeat.handle_ping_sent(now);
        }
        while let Some(event) = heartbeat.poll_event() {
            if matches!(event, HeartbeatEvent::Dead(_)) {
                // No rate is known of a block so short, so the extension is the longest.
                assert!(now <= s(42 + 30), "{now:?}");
                return;
            }
        }
    }
}

#[allow(unused)]
fn unused(_: (Cause, Initiator, LimitExceeded, Message)) {}

// ---- the end of an extension

#[test]
fn an_extension_that_ends_is_judged_at_once() {
    let config = steady(20, 1).write_stall_timeout(d(20));
    let mut heartbeat = Heartbeat::new(config, 1, Instant::ZERO).unwrap();
    heartbeat.handle_transmitted(s(1), 10_000_000, true);
    heartbeat.handle_transmitted(ms(1_001), 10, false); // it opened at once
    heartbeat.handle_received(ms(1_001)); // the last byte
    loop {
        let now = heartbeat.poll_timeout().unwrap();
        heartbeat.handle_would_block(now);
        heartbeat.handle_timeout(now);
        if heartbeat.poll_ping().is_some() {
            heartbeat.handle_transmitted(now, 10, false);
            heartbeat.handle_ping_sent(now);
        }
        while let Some(event) = heartbeat.poll_event() {
            if matches!(event, HeartbeatEvent::Dead(_)) {
                assert!(
                    now <= s(1 + 1 + 20 + 1 + 20),
                    "interval + timeout + stall, yet {now:?}"
                );
                return;
            }
        }
    }
}

// ---- idle

#[test]
fn what_is_sent_counts_as_use_from_when_it_is_sent() {
    let mut connection = server(off().idle_timeout(d(60)));
    connection.send("push").unwrap(); // at 50 s, the first thing since the start
    flush(&mut connection, s(50));
    connection.handle_timeout(s(60));
    assert_eq!(
        connection.state(),
        State::Open,
        "idle 10 s after a message went out"
    );
}

// ---- honest use

#[test]
fn pings_in_lockstep_are_honest_at_any_speed() {
    let mut connection = server(off());
    for at in 0..10_000 {
        let _ = connection.handle_input(ms(at), &frame(0x89, b"x"));
        let out = flush(&mut connection, ms(at));
        assert_eq!(out, b"\x8a\x01x", "{at}: {:?}", events(&mut connection));
    }
}

// ---- pause of the owner's own making

#[test]
fn the_peer_is_not_blamed_while_its_request_waits_for_us() {
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\n\r\n";
    let config = Arc::new(off().build().unwrap());
    let mut connection = Connection::server(config, Seed::predictable_for_tests(1), Instant::ZERO);
    let _ = connection.handle_input(s(9), REQUEST);
    assert!(matches!(connection.poll_event(), Some(Event::Request(_))));
    connection.handle_timeout(s(10)); // the application asks its database
    let seen = events(&mut connection);
    assert!(
        !flush(&mut connection, s(10)).is_empty() || seen.is_empty(),
        "a whole request, and not even an answer: {seen:?}"
    );
}

// ---- never

#[test]
fn a_stalled_write_is_found_without_a_heartbeat() {
    let mut connection = server(off());
    connection.send("x").unwrap();
    connection.poll_transmit().unwrap();
    connection.handle_transmitted(s(1), 0);
    // Driven by its deadlines: writability never comes.
    let mut turns = 0;
    while let Some(at) = connection.poll_timeout() {
        connection.handle_transmitted(at, 0);
        connection.handle_would_block(at);
        connection.handle_timeout(at);
        turns += 1;
        assert!(turns < 1_000);
    }
    assert_eq!(
        connection.state(),
        State::Closed,
        "no deadline, output stuck"
    );
}

// ---- nonsense

#[test]
fn an_application_heartbeat_that_can_never_be_sent_is_refused() {
    let ask = ApplicationHeartbeat::ask("ping", "pong");
    let without_pings = off().application_heartbeat(ask).build();
    let empty = off()
        .application_heartbeat(ApplicationHeartbeat::answer("", "pong"))
        .build();
    assert!(
        without_pings.is_err() && empty.is_err(),
        "empty messages vanish, requests never go"
    );
}

// ---- RFC 6455 §4.1 item 7, its own example of a key

#[test]
fn the_key_of_the_rfcs_own_example_is_taken() {
    use wspulse_core::handshake::{HandshakeLimits, ServerHandshake};
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let mut handshake = ServerHandshake::new(HandshakeLimits::default());
    let _ = handshake.handle_input(request);
    let answer = handshake.poll_request().unwrap();
    assert!(answer.is_ok(), "{answer:?}");
}

// ---- idle in the middle of a message

#[test]
fn a_long_upload_is_not_idle() {
    for delivery in [Delivery::Parts, Delivery::Messages] {
        let mut connection = server(off().idle_timeout(d(60)).delivery(delivery));
        let _ = connection.handle_input(s(1), &[0x82, 0xFE, 0xFF, 0xFF, 0, 0, 0, 0]);
        for at in 2..120 {
            let _ = connection.handle_input(s(at), &[7; 100]);
            events(&mut connection);
            connection.handle_timeout(s(at));
            assert_eq!(connection.state(), State::Open, "{delivery:?} at {at} s");
        }
    }
}

#[test]
fn a_long_download_is_not_idle() {
    let mut connection = server(off().idle_timeout(d(60)));
    connection.send(vec![7; 1 << 20]).unwrap();
    for at in 1..120 {
        let lent = connection.poll_transmit().unwrap().len();
        connection.handle_transmitted(s(at), lent.min(4_000));
        connection.handle_timeout(s(at));
        assert_eq!(connection.state(), State::Open, "{at} s");
    }
}
