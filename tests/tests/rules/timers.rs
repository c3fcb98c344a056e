//! Rules 11 and 12: how it ends, and what else may end it.

use wspulse_core::handshake::ClientRequest;
use wspulse_core::heartbeat::{DeadReason, HeartbeatConfig};
use wspulse_core::{
    Cause, CloseCode, Closed, Config, ConfigBuilder, Connection, Event, Instant, LimitExceeded,
    Role, Seed, State, TimeoutReason,
};
use wspulse_tests::kit::{
    at, drain, drain_frames, events, feed, ms, open, ping, silence, sleep, told, with_heartbeat,
};
use wspulse_tests::wire::{Frame, frame, header, opcode};

fn quiet() -> ConfigBuilder {
    Config::builder().heartbeat(HeartbeatConfig::off())
}

fn server(config: ConfigBuilder) -> Connection {
    open(Role::Server, &config.build().unwrap().into())
}

fn close_frame(role: Role, code: u16) -> Vec<u8> {
    Frame::close(code, "").from(role).encode()
}

/// Runs to the end and tells when and how it came.
fn end(connection: &mut Connection) -> (Instant, Closed) {
    for _ in 0..1_000 {
        let deadline = connection
            .poll_timeout()
            .expect("a deadline, or it is over");
        connection.handle_would_block(deadline);
        connection.handle_timeout(deadline);
        drain(connection, deadline);
        for event in events(connection) {
            if let Event::Closed(closed) = event {
                return (deadline, *closed);
            }
        }
        if connection.state() == State::Closing && connection.wants_shutdown() {
            connection.handle_eof(deadline);
        }
    }
    panic!("no end");
}

/// Death says one Close frame, and if the transport takes it, that is all.
#[test]
fn rule_11_death_says_one_close_and_goes() {
    let mut server = open(Role::Server, &with_heartbeat(ping(1_000, 1_000)));
    let end = [
        (1_000, "ping"),
        (1_500, "suspect"),
        (2_000, "dead PongTimeout"),
        (2_000, "close 1011"),
    ];
    assert_eq!(silence(&mut server, at(60_000)), told(&end));
    let config = Config::builder()
        .heartbeat(ping(1_000, 1_000))
        .dead_close_code(CloseCode::new(4_000));
    let mut server = open(Role::Server, &config.build().unwrap().into());
    assert_eq!(
        silence(&mut server, at(60_000))[3],
        (at(2_000), "close 4000".into())
    );
}

/// If the transport is blocked, the Close frame waits for the linger and not longer.
#[test]
fn rule_11_death_lingers_shortly() {
    let config = Config::builder()
        .heartbeat(ping(1_000, 1_000))
        .linger(ms(300));
    let mut server = open(Role::Server, &config.build().unwrap().into());
    server.handle_timeout(at(1_000));
    drain(&mut server, at(1_000));
    sleep(&mut server, at(1_999));
    server.handle_would_block(at(2_000));
    assert_eq!(server.state(), State::Open, "suspected, and not yet dead");
    sleep(&mut server, at(2_499));
    server.handle_would_block(at(2_500));
    assert_eq!(server.state(), State::Closing);
    assert_eq!(server.poll_transmit().unwrap().first()[0], 0x88);
    server.handle_transmitted(at(2_500), 0);
    sleep(&mut server, at(2_799));
    assert_eq!(server.state(), State::Closing);
    server.handle_timeout(at(2_800));
    let last = events(&mut server).pop();
    let Some(Event::Closed(closed)) = last else {
        panic!("{last:?}")
    };
    assert_eq!(closed.cause, Cause::Dead(DeadReason::PongTimeout));
    assert_eq!(closed.sent, None, "nobody took it");
}

/// Five seconds from `close`, whatever comes in meanwhile.
#[test]
fn rule_11_no_traffic_extends_the_closing_handshake() {
    for role in [Role::Server, Role::Client] {
        let mut connection = open(role, &quiet().build().unwrap().into());
        connection.close(at(1_000), CloseCode::NORMAL, "").unwrap();
        drain(&mut connection, at(1_000));
        for now in (1_000..6_000).step_by(100) {
            assert!(connection.poll_timeout() <= Some(at(6_000)), "{now}");
            let list = feed(
                &mut connection,
                at(now),
                &frame(role.peer(), opcode::TEXT, b"more"),
            );
            assert_eq!(list.len(), 1, "data still comes until the peer's Close");
            connection.handle_timeout(at(now));
        }
        let (when, closed) = end(&mut connection);
        assert_eq!((when, closed.cause), (at(6_000), Cause::CloseTimeout));
    }
}

/// The deadline runs although the transport takes nothing at all.
#[test]
fn rule_11_a_blocked_transport_does_not_stop_the_close_deadline() {
    let mut server = server(quiet());
    server.send(vec![1; 500_000]).unwrap();
    server.close(at(1_000), CloseCode::NORMAL, "").unwrap();
    server.poll_transmit().unwrap();
    server.handle_transmitted(at(1_000), 0);
    sleep(&mut server, at(5_999));
    assert_eq!(server.state(), State::Closing);
    server.handle_would_block(at(6_000));
    assert_eq!(server.state(), State::Closed);
}

/// RFC 6455 §7.1.1: the server is done when both Close frames went; the client waits for it.
#[test]
fn rule_11_the_server_closes_tcp_first() {
    let both = |role: Role| {
        let mut connection = open(role, &quiet().build().unwrap().into());
        feed(&mut connection, at(1_000), &close_frame(role.peer(), 1000));
        let frames = drain_frames(&mut connection, at(1_000));
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].close_code(), Some(1000));
        connection
    };
    let mut server = both(Role::Server);
    assert_eq!(server.state(), State::Closed);
    let mut client = both(Role::Client);
    assert_eq!(client.state(), State::Closing);
    client.handle_eof(at(1_200));
    assert_eq!(client.state(), State::Closed);
    for connection in [&mut server, &mut client] {
        let last = events(connection).pop();
        let Some(Event::Closed(closed)) = last else {
            panic!("{last:?}")
        };
        assert!(closed.clean && closed.cause == Cause::Normal, "{closed:?}");
    }
    let mut client = both(Role::Client);
    let (when, closed) = end(&mut client);
    assert_eq!(
        (when, closed.clean),
        (at(6_000), true),
        "a server that stays is left"
    );
}

/// What tells the peer of its fault must arrive: half-close, drain, within the deadline.
#[test]
fn rule_11_a_close_that_we_sent_must_arrive() {
    let mut server = server(quiet());
    feed(&mut server, at(1_000), &[0xff; 4]);
    assert!(!server.wants_shutdown(), "not before it is taken");
    assert_eq!(
        drain_frames(&mut server, at(1_000))[0].close_code(),
        Some(1002)
    );
    assert!(server.wants_shutdown() && server.wants_read());
    assert_eq!(
        server.state(),
        State::Closing,
        "until the peer's stream ends"
    );
    assert_eq!(
        server.handle_input(at(2_000), &[7; 1_000]),
        1_000,
        "swallowed"
    );
    assert!(server.poll_timeout() <= Some(at(6_000)));
    server.handle_eof(at(3_000));
    assert_eq!(server.state(), State::Closed);
}

/// Ten seconds for the handshake, whatever trickles in.
#[test]
fn rule_12_the_opening_handshake_has_an_absolute_deadline() {
    let config = quiet().handshake_timeout(ms(10_000)).build().unwrap();
    let seed = Seed::predictable_for_tests;
    let mut server = Connection::server(config.clone().into(), seed(1), at(0));
    assert_eq!(server.next_timeout_reason(), Some(TimeoutReason::Handshake));
    for (index, byte) in b"GET /long/path".iter().enumerate() {
        let now = at(index as u64 * 700);
        sleep(&mut server, now);
        let _ = server.handle_input(now, &[*byte]);
        assert!(server.poll_timeout() <= Some(at(10_000)));
    }
    let (when, closed) = end(&mut server);
    assert_eq!((when, closed.cause), (at(10_000), Cause::HandshakeTimeout));

    let request = ClientRequest::new("example.org", "/").unwrap();
    let mut client = Connection::client(config.into(), &request, seed(2), at(0));
    drain(&mut client, at(0));
    let (when, closed) = end(&mut client);
    assert_eq!((when, closed.cause), (at(10_000), Cause::HandshakeTimeout));
}

/// Messages are use, in either direction; pings are not.
#[test]
fn rule_12_the_application_may_be_idle_for_so_long() {
    let mut server = server(quiet().idle_timeout(ms(3_000)));
    sleep(&mut server, at(2_000));
    feed(
        &mut server,
        at(2_000),
        &frame(Role::Client, opcode::TEXT, b"use"),
    );
    sleep(&mut server, at(4_500));
    assert_eq!(server.state(), State::Open);
    assert!(server.poll_timeout() <= Some(at(5_000)));
    feed(
        &mut server,
        at(4_500),
        &frame(Role::Client, opcode::PING, b"no use"),
    );
    drain(&mut server, at(4_500));
    server.handle_timeout(at(5_000));
    assert_eq!(server.state(), State::Open, "nobody has looked");
    server.handle_would_block(at(5_000));
    assert_eq!(server.state(), State::Closing);
    assert_eq!(
        drain_frames(&mut server, at(5_000))[0].close_code(),
        Some(1001)
    );
    let last = feed(&mut server, at(5_050), &close_frame(Role::Client, 1001)).pop();
    let Some(Event::Closed(closed)) = last else {
        panic!("{last:?}")
    };
    assert_eq!((closed.cause, closed.clean), (Cause::IdleTimeout, true));
}

/// A message that we send is use as well.
#[test]
fn rule_12_sending_is_use() {
    let mut server = server(quiet().idle_timeout(ms(3_000)));
    sleep(&mut server, at(2_000));
    server.send("use").unwrap();
    drain(&mut server, at(2_000));
    for (now, state) in [(4_999, State::Open), (5_000, State::Closing)] {
        sleep(&mut server, at(now));
        server.handle_would_block(at(now));
        assert_eq!(server.state(), state, "{now}");
    }
}

/// Whatever it does; up to a tenth earlier, not all at once.
#[test]
fn rule_12_a_connection_may_be_so_old() {
    let config = std::sync::Arc::new(quiet().max_age(ms(100_000)).build().unwrap());
    let mut all: Vec<Instant> = (0..100)
        .map(|seed| {
            let seed = Seed::predictable_for_tests(seed);
            let mut server = Connection::from_upgrade(Role::Server, config.clone(), seed, at(0));
            let due = server.poll_timeout().unwrap();
            feed(
                &mut server,
                due,
                &frame(Role::Client, opcode::TEXT, b"busy"),
            );
            server.handle_timeout(due);
            assert_eq!(server.state(), State::Closing);
            assert_eq!(drain_frames(&mut server, due)[0].close_code(), Some(1001));
            due
        })
        .collect();
    all.sort();
    all.dedup();
    assert!(all.len() > 90, "jittered");
    assert!(
        all[0] >= at(90_000) && all[all.len() - 1] <= at(100_000),
        "{all:?}"
    );
}

/// From a message's first byte to its last.
#[test]
fn rule_12_a_message_may_take_so_long() {
    let mut server = server(quiet().message_timeout(ms(2_000)));
    // A message that begins moves no deadline: there is a step twice a timeout.
    assert_eq!(server.poll_timeout(), Some(at(1_000)));
    feed(
        &mut server,
        at(1_000),
        &header(true, 0, opcode::BINARY, Some([0; 4]), 1_000),
    );
    for now in (1_000..3_000).step_by(100) {
        feed(&mut server, at(now), &[1]);
        server.handle_timeout(at(now));
        assert_eq!(server.state(), State::Open);
    }
    server.handle_timeout(at(3_000));
    assert_eq!(
        server.state(),
        State::Open,
        "what was not read is not held against the peer"
    );
    server.handle_would_block(at(3_010));
    assert_eq!(
        drain_frames(&mut server, at(3_000))[0].close_code(),
        Some(1008)
    );
    server.handle_eof(at(3_000));
    let last = events(&mut server).pop();
    let Some(Event::Closed(closed)) = last else {
        panic!("{last:?}")
    };
    assert_eq!(closed.cause, Cause::Limit(LimitExceeded::MessageTime));
}

/// All at once: each pair in both orders, the earlier one fires.
#[test]
fn rule_12_the_earliest_wins() {
    let build = |beat: u64, idle: u64| {
        let config = Config::builder()
            .heartbeat(ping(beat, beat))
            .idle_timeout(ms(idle));
        open(Role::Server, &config.build().unwrap().into())
    };
    let mut server = build(1_000, 1_500);
    let log = silence(&mut server, at(1_500));
    assert_eq!(
        log[..],
        told(&[(1_000, "ping"), (1_500, "suspect"), (1_500, "close 1001")])
    );
    let mut server = build(1_000, 5_000);
    assert!(matches!(
        server.next_timeout_reason(),
        Some(TimeoutReason::Heartbeat(_))
    ));
    let log = silence(&mut server, at(60_000));
    assert!(
        log.contains(&(at(2_000), "dead PongTimeout".into())),
        "{log:?}"
    );
    let mut server = build(5_000, 1_000);
    assert_eq!(server.next_timeout_reason(), Some(TimeoutReason::Limit));
    assert_eq!(
        silence(&mut server, at(1_000)),
        told(&[(1_000, "close 1001")])
    );
    assert_eq!(server.next_timeout_reason(), Some(TimeoutReason::Close));
    assert_eq!(
        server.poll_timeout(),
        Some(at(3_500)),
        "a step of five seconds"
    );
}
