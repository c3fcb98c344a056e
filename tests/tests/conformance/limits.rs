//! Every limit at its edge: what passes, what does not, and the typed error and code of what does
//! not. F2, R3 to R6, R8.

use std::mem::discriminant;
use std::sync::Arc;
use std::time::Duration;

use wspulse_core::handshake::{Accept, ClientRequest, HandshakeLimits, ServerHandshake};
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{
    ApplicationHeartbeat, Cause, Closed, Config, ConfigBuilder, ConfigError, Connection, Delivery,
    Event, LimitExceeded, Role, Seed, State,
};
use wspulse_tests::kit::{at, drain, drain_frames, events, feed, open};
use wspulse_tests::meter::Meter;
use wspulse_tests::wire::{Frame, frame, header, opcode};

/// The kinds of limit; the tables leave the numbers out.
const FRAME_SIZE: LimitExceeded = LimitExceeded::FrameSize {
    limit: 0,
    length: 0,
};
const MESSAGE_SIZE: LimitExceeded = LimitExceeded::MessageSize {
    limit: 0,
    length: 0,
};
const FRAGMENT_COUNT: LimitExceeded = LimitExceeded::FragmentCount { limit: 0, count: 0 };

fn quiet() -> ConfigBuilder {
    Config::builder().heartbeat(HeartbeatConfig::off())
}

fn build(config: ConfigBuilder) -> Connection {
    open(Role::Server, &config.build().expect("valid").into())
}

fn part(opcode: u8, len: usize) -> Vec<u8> {
    let frame = Frame::new(opcode, &vec![b'x'; len]).unfinished();
    frame.from(Role::Client).encode()
}

fn last(len: usize) -> Vec<u8> {
    frame(Role::Client, opcode::CONTINUATION, &vec![b'x'; len])
}

/// A header alone, of a first frame or of a continuation that is the last.
fn announced(opcode: u8, len: u64) -> Vec<u8> {
    header(true, 0, opcode, Some([0; 4]), len)
}

/// Feeds it, whole and byte by byte, and expects to be open still, or failed by this limit with
/// no message delivered. What is held follows what arrived, whatever a header announces.
#[track_caller]
fn expect(config: &ConfigBuilder, bytes: &[u8], limit: Option<LimitExceeded>) {
    for cut in [usize::MAX, 1] {
        let mut server = build(config.clone());
        let mut meter = Meter::new();
        let mut list = Vec::new();
        for piece in bytes.chunks(cut) {
            meter.feed(&mut server, at(1), piece, |event| list.push(event.clone()));
        }
        let Some(limit) = limit else {
            assert_eq!(server.state(), State::Open, "{list:?}");
            continue;
        };
        assert_eq!(server.state(), State::Closing, "{limit:?}");
        let whole = list
            .iter()
            .any(|event| matches!(event, Event::Text(_) | Event::Binary(_) | Event::MessageEnd));
        assert!(!whole, "{list:?}");
        let closed = failed(&mut server);
        let Cause::Limit(met) = closed.cause else {
            panic!("{}", closed.cause);
        };
        assert_eq!(discriminant(&met), discriminant(&limit), "{met}");
        assert_eq!(closed.sent, Some(limit.close_code()));
    }
}

/// Writes the Close frame, ends the stream, and returns the end.
fn failed(server: &mut Connection) -> Closed {
    let codes = drain_frames(server, at(1));
    let codes: Vec<_> = codes.iter().filter_map(Frame::close_code).collect();
    assert_eq!(codes.len(), 1, "{codes:?}");
    server.handle_eof(at(2));
    match events(server).pop() {
        Some(Event::Closed(closed)) => *closed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_frame_and_a_message_are_judged_by_the_header_that_passes_the_limit() {
    let both = |frame: u64, message: u64| quiet().max_frame_size(frame).max_message_size(message);
    let text = |len| announced(opcode::TEXT, len);
    let next = |len| announced(opcode::CONTINUATION, len);
    let table = [
        // The frame's limit is the lower one.
        (both(100, 1_000), text(100), None),
        (both(100, 1_000), text(101), Some(FRAME_SIZE)),
        (both(100, 1_000), [part(1, 100), next(100)].concat(), None),
        (
            both(100, 1_000),
            [part(1, 100), next(101)].concat(),
            Some(FRAME_SIZE),
        ),
        (
            both(100, 1_000),
            [part(1, 100), part(0, 100).repeat(8), next(100)].concat(),
            None,
        ),
        (
            both(100, 1_000),
            [part(1, 100), part(0, 100).repeat(9), next(1)].concat(),
            Some(MESSAGE_SIZE),
        ),
        // The message's is.
        (both(1_000, 100), text(100), None),
        (both(1_000, 100), text(101), Some(MESSAGE_SIZE)),
        (both(1_000, 100), text(1_001), Some(FRAME_SIZE)),
        (both(1_000, 100), [part(2, 60), next(40)].concat(), None),
        (
            both(1_000, 100),
            [part(2, 60), next(41)].concat(),
            Some(MESSAGE_SIZE),
        ),
        (both(1_000, 100), [part(2, 100), next(0)].concat(), None),
        (
            both(1_000, 100),
            [part(2, 0), part(0, 100), next(1)].concat(),
            Some(MESSAGE_SIZE),
        ),
        // Of one byte.
        (both(1, 1), text(1), None),
        (both(1, 1), text(2), Some(FRAME_SIZE)),
        (both(1, 1), [part(1, 1), last(0)].concat(), None),
        (
            both(1, 1),
            [part(1, 1), next(1)].concat(),
            Some(MESSAGE_SIZE),
        ),
        // The next message starts again.
        (
            both(100, 100),
            [part(1, 100), last(0), part(1, 100), next(0)].concat(),
            None,
        ),
        // No limit but what the RFC has: nothing wraps.
        (
            both(u64::MAX, u64::MAX),
            text(i64::MAX.unsigned_abs()),
            None,
        ),
        (
            both(u64::MAX, u64::MAX),
            [part(1, 100), next(i64::MAX.unsigned_abs())].concat(),
            None,
        ),
        (
            both(u64::MAX, i64::MAX.unsigned_abs()),
            [part(1, 1), next(i64::MAX.unsigned_abs())].concat(),
            Some(MESSAGE_SIZE),
        ),
    ];
    for (config, bytes, limit) in table {
        expect(&config, &bytes, limit);
    }
}

/// A control frame in between is no part of the message, and none of its limits' business.
#[test]
fn control_frames_do_not_count_into_a_message() {
    let config = quiet().max_frame_size(10).max_message_size(10);
    let ping = frame(Role::Client, opcode::PING, &[b'p'; 125]);
    let bytes = [part(1, 5), ping.clone(), part(0, 5), ping, last(0)].concat();
    expect(&config, &bytes, None);
}

/// Streams have no size, only frames.
#[test]
fn a_message_in_parts_has_no_limit_but_that_of_its_frames() {
    let config = quiet()
        .max_frame_size(100)
        .max_message_size(100)
        .delivery(Delivery::Parts);
    let next = |len| announced(opcode::CONTINUATION, len);
    expect(
        &config,
        &[part(1, 100), part(0, 100).repeat(50), next(100)].concat(),
        None,
    );
    expect(
        &config,
        &[part(1, 100), part(0, 100).repeat(50), next(101)].concat(),
        Some(FRAME_SIZE),
    );
}

/// So many fragments, and one more for each 64 bytes that came.
#[test]
fn fragments_are_counted_beside_the_bytes_they_bring() {
    let some = |count| quiet().max_fragment_count(count);
    let table = [
        (some(1), part(1, 0), last(0), Some(FRAGMENT_COUNT)),
        (some(2), part(1, 0), last(0), None),
        (
            some(2),
            [part(1, 0), part(0, 0)].concat(),
            last(0),
            Some(FRAGMENT_COUNT),
        ),
        (
            some(10),
            [part(1, 0), part(0, 0).repeat(8)].concat(),
            last(0),
            None,
        ),
        (
            some(10),
            [part(1, 0), part(0, 0).repeat(9)].concat(),
            last(0),
            Some(FRAGMENT_COUNT),
        ),
        (
            some(10),
            [part(1, 1), part(0, 1).repeat(9)].concat(),
            last(1),
            Some(FRAGMENT_COUNT),
        ),
        // 63 bytes are none, 64 are one more, 128 are two.
        (some(1), part(1, 63), last(0), Some(FRAGMENT_COUNT)),
        (some(1), part(1, 64), last(0), None),
        (
            some(1),
            [part(1, 64), part(0, 0)].concat(),
            last(0),
            Some(FRAGMENT_COUNT),
        ),
        (some(1), [part(1, 128), part(0, 0)].concat(), last(0), None),
        (
            some(1),
            [part(1, 64), part(0, 64).repeat(1_000)].concat(),
            last(0),
            None,
        ),
        (
            some(1),
            [part(1, 64), part(0, 63)].concat(),
            last(0),
            Some(FRAGMENT_COUNT),
        ),
    ];
    for (config, before, last, limit) in table {
        expect(&config, &before, None);
        expect(&config, &[before, last].concat(), limit);
    }
    // The next message starts again.
    let one = [part(1, 0), last(0)].concat();
    expect(&some(2), &one.repeat(100), None);
}

/// C18: nothing is held for a fragment that is delivered as a part, so that only empty ones count.
#[test]
fn short_fragments_in_parts_have_no_limit() {
    let config = quiet().max_fragment_count(10).delivery(Delivery::Parts);
    let tokens = [part(1, 1), part(0, 1).repeat(100_000)].concat();
    expect(&config, &tokens, None);
    let empty = [part(1, 1), part(0, 0).repeat(10)].concat();
    expect(&config, &empty, None);
    expect(
        &config,
        &[empty.clone(), part(0, 1).repeat(63), last(1)].concat(),
        None,
    );
    expect(&config, &[empty, last(0)].concat(), Some(FRAGMENT_COUNT));
}

/// C22: a frame may be as long as a message, unless it has a limit of its own; and the error has the
/// numbers.
#[test]
fn an_unset_frame_limit_follows_that_of_the_message() {
    let announced = |config: ConfigBuilder, len| {
        let mut server = build(config);
        feed(&mut server, at(1), &announced(opcode::BINARY, len));
        server
    };
    let large = quiet().max_message_size(64 << 20);
    assert_eq!(announced(large.clone(), 64 << 20).state(), State::Open);
    for (config, length, met, text) in [
        (
            large.clone().max_frame_size(1 << 20),
            2 << 20,
            LimitExceeded::FrameSize {
                limit: 1 << 20,
                length: 2 << 20,
            },
            "limit exceeded: frame of 2097152 bytes, at most 1048576",
        ),
        (
            quiet().max_message_size(1_000),
            1_001,
            LimitExceeded::MessageSize {
                limit: 1_000,
                length: 1_001,
            },
            "limit exceeded: message of 1001 bytes or more, at most 1000",
        ),
        (
            large.max_frame_size(u64::MAX),
            65 << 20,
            LimitExceeded::MessageSize {
                limit: 64 << 20,
                length: 65 << 20,
            },
            "limit exceeded: message of 68157440 bytes or more, at most 67108864",
        ),
    ] {
        let closed = failed(&mut announced(config, length));
        assert_eq!(closed.cause, Cause::Limit(met));
        assert_eq!(closed.cause.to_string(), text);
    }
}

/// RFC 6455 §5.5.1: after our Close, limits still hold, and no second Close frame says so.
#[test]
fn limits_hold_while_the_peer_is_asked_to_close() {
    let mut server = build(quiet().max_frame_size(100));
    let closed = server.close(at(1), wspulse_core::CloseCode::NORMAL, "");
    closed.expect("a legal code");
    assert_eq!(drain_frames(&mut server, at(1)).len(), 1);
    feed(&mut server, at(2), &announced(opcode::TEXT, 101));
    assert!(drain_frames(&mut server, at(2)).is_empty());
    assert!(server.wants_shutdown());
    server.handle_eof(at(3));
    let Some(Event::Closed(closed)) = events(&mut server).pop() else {
        panic!("no end");
    };
    assert_eq!(
        (closed.cause, closed.clean),
        (
            Cause::Limit(LimitExceeded::FrameSize {
                limit: 100,
                length: 101
            }),
            false
        )
    );
}

/// C21: what nothing could pass is refused, and the error names the setting.
#[test]
fn a_limit_that_nothing_passes_is_refused_by_its_name() {
    let small = |setting| ConfigError::TooSmall { setting };
    let heartbeat = ConfigError::ApplicationHeartbeat;
    let long = Duration::from_secs(24 * 60 * 60 + 1);
    let answer = || ApplicationHeartbeat::answer("ping", &"p".repeat(100));
    for (config, error) in [
        (quiet().max_frame_size(0), small("max_frame_size")),
        (quiet().max_message_size(0), small("max_message_size")),
        (quiet().max_fragment_count(0), small("max_fragment_count")),
        (quiet().max_buffered_amount(0), small("max_buffered_amount")),
        (
            quiet().max_outgoing_frame(Some(0)),
            small("max_outgoing_frame"),
        ),
        (quiet().max_head_size(0), small("max_head_size")),
        (quiet().max_head_size(105), small("max_head_size")),
        (quiet().max_header_count(2), small("max_header_count")),
        (
            quiet().linger(long),
            ConfigError::TooLong { setting: "linger" },
        ),
        (
            quiet().application_heartbeat(answer()).max_message_size(99),
            heartbeat,
        ),
        (
            quiet().application_heartbeat(answer()).max_frame_size(99),
            heartbeat,
        ),
    ] {
        assert_eq!(config.build().err(), Some(error));
    }
    assert_eq!(
        small("max_head_size").to_string(),
        "max_head_size is too small"
    );
    let fits = quiet()
        .application_heartbeat(answer())
        .max_message_size(100);
    fits.build().expect("valid");

    // A response of so many bytes opens a connection.
    let config = quiet().max_head_size(106).max_header_count(3);
    let config = Arc::new(config.build().expect("valid"));
    let request = ClientRequest::new("a", "/").expect("legal");
    let seed = Seed::predictable_for_tests(1);
    let mut client = Connection::client(config, &request, seed, at(0));
    let head = drain(&mut client, at(0));
    let mut server = ServerHandshake::new(HandshakeLimits::default());
    server.handle_input(&head);
    let answer = server.accept(&Accept::new()).expect("a request");
    let answer = String::from_utf8(answer).expect("text");
    let answer = answer
        .replace(" Switching Protocols", "")
        .replace(": ", ":");
    assert_eq!(answer.len(), 106);
    let opened = feed(&mut client, at(1), answer.as_bytes());
    assert!(matches!(opened[..], [Event::Open(_)]), "{opened:?}");
}

/// C21: a heartbeat that asks needs pings, whenever the policy is set.
#[test]
fn a_policy_without_pings_is_refused_where_an_application_heartbeat_asks() {
    let config = Config::builder().application_heartbeat(ApplicationHeartbeat::ask("?", "!"));
    let mut server = build(config);
    for policy in [
        HeartbeatConfig::off(),
        HeartbeatConfig::passive(Duration::from_secs(60)),
    ] {
        let set = server.set_heartbeat(at(1), policy);
        assert_eq!(set, Err(ConfigError::ApplicationHeartbeat));
    }
    let fast = server.set_heartbeat(at(1), HeartbeatConfig::fast());
    assert_eq!(fast, Ok(()));
}
