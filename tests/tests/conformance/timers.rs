//! Slow peers: every deadline that is absolute fires at its instant, however much trickles in
//! before it. T1, T2, T8. The deadlines that traffic does move are those of the heartbeat, which
//! `tests/rules` has.

use std::time::Duration;

use wspulse_core::handshake::{ClientRequest, HandshakeError};
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{
    Cause, CloseCode, Closed, Config, ConfigBuilder, ConfigError, Connection, Event, Instant,
    LimitExceeded, Role, Seed, State,
};
use wspulse_tests::kit::{at, drain, events, ms, open, sleep};
use wspulse_tests::wire::{Frame, frame, header, opcode};

/// Every timeout that is set here has two seconds.
const DUE: u64 = 2_000;

fn quiet() -> ConfigBuilder {
    Config::builder()
        .heartbeat(HeartbeatConfig::off())
        .handshake_timeout(ms(DUE))
        .close_timeout(ms(DUE))
}

fn client() -> Connection {
    let request = ClientRequest::new("example.com", "/").expect("legal");
    let config = quiet().build().expect("valid").into();
    let mut client = Connection::client(config, &request, Seed::predictable_for_tests(1), at(0));
    drain(&mut client, at(0));
    client
}

fn server() -> Connection {
    let config = quiet().build().expect("valid").into();
    Connection::server(config, Seed::predictable_for_tests(1), at(0))
}

fn ready(role: Role, config: ConfigBuilder) -> Connection {
    open(role, &config.build().expect("valid").into())
}

/// Closes at time zero.
fn closing(role: Role) -> Connection {
    let mut connection = ready(role, quiet());
    let closed = connection.close(at(0), CloseCode::NORMAL, "");
    closed.expect("a legal code");
    drain(&mut connection, at(0));
    connection
}

/// Gives one of the bytes each millisecond, over and over, and tells when it ended, and how.
fn trickle(mut connection: Connection, bytes: &[u8]) -> (Instant, Closed) {
    let mut bytes = bytes.iter().cycle();
    for now in 1..10 * DUE {
        let now = at(now);
        if connection.wants_read()
            && let Some(byte) = bytes.next()
        {
            assert_eq!(connection.handle_input(now, &[*byte]), 1);
        }
        let mut seen = events(&mut connection);
        if connection
            .poll_timeout()
            .is_some_and(|deadline| deadline <= now)
        {
            connection.handle_would_block(now);
            connection.handle_timeout(now);
        }
        drain(&mut connection, now);
        seen.extend(events(&mut connection));
        for event in seen {
            if let Event::Closed(closed) = event {
                return (now, *closed);
            }
        }
    }
    panic!("no end; {:?}", connection.poll_timeout());
}

#[test]
fn no_trickle_moves_an_absolute_deadline() {
    let ping = |role: Role| frame(role.peer(), opcode::PING, b"?");
    let text = |role: Role| frame(role.peer(), opcode::TEXT, b"more");
    let part = Frame::new(opcode::CONTINUATION, b"x").unfinished();
    let begun = |role: Role| {
        let mut connection = closing(role);
        let first = Frame::new(opcode::TEXT, b"x")
            .unfinished()
            .from(role.peer());
        let encoded = first.encode();
        assert_eq!(connection.handle_input(at(0), &encoded), encoded.len());
        connection
    };
    let (server_role, client_role) = (Role::Server, Role::Client);
    let asked = || {
        let mut server = server();
        assert_eq!(server.handle_input(at(0), b"GET /"), 5);
        server
    };
    let busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 250\r\n\r\n";
    let refused = || {
        let mut client = client();
        assert_eq!(client.handle_input(at(0), busy), busy.len());
        client
    };
    let early = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 101 ";
    let hinted = || {
        let mut client = client();
        assert_eq!(client.handle_input(at(0), early), early.len());
        client
    };
    let hall = header(true, 0, opcode::BINARY, Some([0; 4]), 1 << 20);
    let table: Vec<(&str, Connection, Vec<u8>, Cause)> = vec![
        (
            "a request line",
            asked(),
            b"a".to_vec(),
            Cause::HandshakeTimeout,
        ),
        (
            "an answer",
            hinted(),
            b"Yes, ".to_vec(),
            Cause::HandshakeTimeout,
        ),
        (
            "messages to one that closes",
            closing(server_role),
            text(server_role),
            Cause::CloseTimeout,
        ),
        (
            "messages to one that closes",
            closing(client_role),
            text(client_role),
            Cause::CloseTimeout,
        ),
        (
            "pings to one that closes",
            closing(server_role),
            ping(server_role),
            Cause::CloseTimeout,
        ),
        (
            "pings to one that closes",
            closing(client_role),
            ping(client_role),
            Cause::CloseTimeout,
        ),
        (
            "a message without an end",
            begun(server_role),
            part.clone().from(client_role).encode(),
            Cause::CloseTimeout,
        ),
        (
            "a message without an end",
            begun(client_role),
            part.encode(),
            Cause::CloseTimeout,
        ),
        (
            "a frame of a mebibyte",
            closing(server_role),
            hall,
            Cause::CloseTimeout,
        ),
    ];
    for (name, connection, bytes, cause) in table {
        let role = connection.role();
        let (when, closed) = trickle(connection, &bytes);
        assert_eq!(
            (when, closed.cause),
            (at(DUE), cause),
            "{name} to a {role:?}"
        );
    }
    // A status whose body is late is worth more than a timeout, and is told a second after it.
    let (when, closed) = trickle(refused(), b"");
    let Cause::Handshake(HandshakeError::Refused(refusal)) = closed.cause else {
        panic!("{closed:?}");
    };
    assert_eq!((when, refusal.status()), (at(DUE / 2), 503));
}

/// A message that trickles has its own time, in frames and in fragments alike.
#[test]
fn a_message_that_trickles_ends_at_its_deadline() {
    let first = Frame::new(opcode::BINARY, b"x")
        .unfinished()
        .from(Role::Client)
        .encode();
    let next = Frame::new(opcode::CONTINUATION, b"x")
        .unfinished()
        .from(Role::Client)
        .encode();
    let ping = frame(Role::Client, opcode::PING, b"?");
    let table: [(&str, Vec<u8>, Vec<u8>); 3] = [
        (
            "a frame",
            header(true, 0, opcode::BINARY, Some([0; 4]), 1 << 20),
            vec![0],
        ),
        ("fragments", first.clone(), next.clone()),
        ("fragments and pings", first, [next, ping].concat()),
    ];
    for (name, before, bytes) in table {
        let config = quiet().message_timeout(ms(DUE)).max_fragment_count(1 << 20);
        let mut server = ready(Role::Server, config);
        assert_eq!(server.handle_input(at(0), &before), before.len());
        let mut now = 0;
        let mut bytes = bytes.iter().cycle();
        while server.state() == State::Open && now < 10 * DUE {
            now += 1;
            assert_eq!(
                server.handle_input(at(now), &[*bytes.next().expect("for ever")]),
                1
            );
            server.handle_would_block(at(now));
            server.handle_timeout(at(now));
            drain(&mut server, at(now));
        }
        assert_eq!(now, DUE, "{name}");
        server.handle_eof(at(now));
        let Some(Event::Closed(closed)) = events(&mut server).pop() else {
            panic!("{name}: no end");
        };
        assert_eq!(
            closed.cause,
            Cause::Limit(LimitExceeded::MessageTime),
            "{name}"
        );
    }
}

type Setter = fn(ConfigBuilder, Duration) -> ConfigBuilder;

/// T8: the longest duration is never, and none at all is nonsense that is refused when built.
#[test]
fn t8_the_longest_timeout_never_fires_and_zero_is_refused() {
    let setters: [(&str, Setter); 5] = [
        ("handshake", ConfigBuilder::handshake_timeout),
        ("close", ConfigBuilder::close_timeout),
        ("idle", ConfigBuilder::idle_timeout),
        ("age", ConfigBuilder::max_age),
        ("message", ConfigBuilder::message_timeout),
    ];
    for (name, set) in setters {
        let zero = set(Config::builder(), Duration::ZERO).build().err();
        assert_eq!(zero, Some(ConfigError::ZeroTimeout), "{name}");
        for longest in [Duration::MAX, Duration::from_nanos(u64::MAX)] {
            let config = || set(quiet(), longest).build().expect("valid").into();
            let start = Instant::from_nanos(u64::MAX / 2);
            let seed = Seed::predictable_for_tests(1);
            let mut opening = Connection::server(config(), seed, start);
            let seed = Seed::predictable_for_tests(1);
            let mut ready = Connection::from_upgrade(Role::Server, config(), seed, start);
            let mut ending = closing(Role::Server);
            if name == "close" {
                let seed = Seed::predictable_for_tests(1);
                ending = Connection::from_upgrade(Role::Server, config(), seed, start);
                let closed = ending.close(start, CloseCode::NORMAL, "");
                closed.expect("a legal code");
            }
            let concerned = match name {
                "handshake" => &mut opening,
                "close" => &mut ending,
                _ => &mut ready,
            };
            if name == "message" {
                let begun = header(true, 0, opcode::BINARY, Some([0; 4]), 1_000);
                assert_eq!(concerned.handle_input(start, &begun), begun.len());
            }
            let state = concerned.state();
            for now in [start, Instant::from_nanos(u64::MAX - 2)] {
                concerned.handle_would_block(now);
                concerned.handle_timeout(now);
                assert_eq!(concerned.state(), state, "{name} at {now:?}");
            }
            assert_eq!(concerned.poll_timeout(), None, "{name}");
        }
    }
}

/// T2: the Close frame that answers ours may take its time, until the deadline and not beyond.
#[test]
fn t2_an_answer_that_trickles_counts_only_when_it_is_whole() {
    for role in [Role::Server, Role::Client] {
        let answer = Frame::close(1000, "a reason").from(role.peer()).encode();
        for came in 0..=answer.len() {
            let mut connection = closing(role);
            sleep(&mut connection, at(DUE - 1));
            for byte in &answer[..came] {
                let taken = connection.handle_input(at(DUE - 1), &[*byte]);
                assert_eq!(taken, 1);
            }
            connection.handle_would_block(at(DUE));
            connection.handle_timeout(at(DUE));
            let Some(Event::Closed(closed)) = events(&mut connection).pop() else {
                panic!("{role:?}: no end behind {came} bytes");
            };
            let expected = if came == answer.len() {
                (Cause::Normal, true, CloseCode::NORMAL)
            } else {
                (Cause::CloseTimeout, false, CloseCode::ABNORMAL)
            };
            let code = closed.code();
            assert_eq!(
                (closed.cause, closed.clean, code),
                expected,
                "{role:?} {came}"
            );
        }
    }
}
