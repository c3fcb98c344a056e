//! What the fuzz targets found, each in its smallest form.

use std::sync::Arc;
use std::time::Duration;

use wspulse_core::handshake::{Accept, ClientRequest};
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{
    CloseCode, Config, ConfigBuilder, Connection, Event, Instant, Role, Seed, State,
};
use wspulse_tests::alloc::Counting;
use wspulse_tests::fuzzing;

// The budgets of the targets are counted by it.
#[global_allocator]
static ALLOCATOR: Counting = Counting;

const NOW: Instant = Instant::ZERO;

/// A report about bytes that were never lent takes none of them.
#[test]
fn a_head_that_was_not_lent_is_not_taken() {
    let config = Arc::new(Config::default());
    let request = ClientRequest::new("example.com", "/").unwrap();
    let [one, two] = [1, 2].map(Seed::predictable_for_tests);
    let mut client = Connection::client(config.clone(), &request, one, NOW);
    let mut server = Connection::server(config, two, NOW);

    client.handle_transmitted(NOW, 16);
    let head: Vec<u8> = client
        .poll_transmit()
        .unwrap()
        .chunks()
        .flatten()
        .copied()
        .collect();
    assert!(head.starts_with(b"GET / HTTP/1.1\r\n"));

    let _ = server.handle_input(NOW, &head);
    assert!(matches!(server.poll_event(), Some(Event::Request(_))));
    server.accept(NOW, &Accept::new()).unwrap();
    server.handle_transmitted(NOW, 16);
    assert!(
        server
            .poll_transmit()
            .unwrap()
            .first()
            .starts_with(b"HTTP/1.1 101 ")
    );
}

/// After `handle_timeout(t)` there is no deadline at t, also where a dead peer gets no linger.
#[test]
fn no_linger_leaves_no_deadline_behind() {
    let timeout = Duration::from_secs(1);
    let heartbeat = HeartbeatConfig::passive(timeout);
    let config = Config::builder()
        .heartbeat(heartbeat)
        .linger(Duration::ZERO)
        .build()
        .unwrap();
    let seed = Seed::predictable_for_tests(1);
    let mut server = Connection::from_upgrade(Role::Server, Arc::new(config), seed, NOW);
    server.send("stuck").unwrap();
    server.poll_transmit().unwrap();
    server.handle_transmitted(NOW, 0);
    // The transport is stuck: the silence kills in `handle_timeout`, or in the read before it.
    for _ in 0..100 {
        let Some(deadline) = server.poll_timeout() else {
            break;
        };
        server.handle_would_block(deadline);
        server.handle_timeout(deadline);
        assert!(server.poll_timeout().is_none_or(|next| next > deadline));
    }
    assert_eq!(server.state(), State::Closed);
}

/// As long as an event waits, `poll_event` returns one: `Closed` is not hidden behind a `Closing`
/// that lost its frame.
#[test]
fn an_abort_after_a_close_frame_hides_no_event() {
    let config = Arc::new(Config::default());
    let seed = Seed::predictable_for_tests(1);
    let mut server = Connection::from_upgrade(Role::Server, config, seed, NOW);
    let _ = server.handle_input(NOW, b"\x88\x82\0\0\0\0\x03\xE8");
    server.abort(NOW);
    let events: Vec<Event> = std::iter::from_fn(|| server.poll_event()).collect();
    assert!(
        matches!(events.last(), Some(Event::Closed(_))),
        "{events:?}"
    );
}

/// A Close follows the head of the handshake, however early it is due.
#[test]
fn a_connection_that_fails_at_once_still_answers_the_request() {
    let config = Arc::new(Config::default());
    let request = ClientRequest::new("example.com", "/").unwrap();
    let [one, two] = [1, 2].map(Seed::predictable_for_tests);
    let mut client = Connection::client(config.clone(), &request, one, NOW);
    let mut server = Connection::server(config, two, NOW);
    let head = client.poll_transmit().unwrap().first().to_vec();
    let _ = server.handle_input(NOW, &head);
    assert!(matches!(server.poll_event(), Some(Event::Request(_))));
    server.accept(NOW, &Accept::new()).unwrap();
    let _ = server.handle_input(NOW, b"\x83\x80\0\0\0\0");
    let first = server.poll_transmit().unwrap().first().to_vec();
    assert!(
        first.starts_with(b"HTTP/1.1 101 "),
        "{}",
        first.escape_ascii()
    );
}

fn server(config: ConfigBuilder) -> Connection {
    let config = Arc::new(config.build().unwrap());
    Connection::from_upgrade(Role::Server, config, Seed::predictable_for_tests(1), NOW)
}

/// "Received messages never move it": an owner that does not read the deadline again after input
/// sleeps through the message timeout.
#[test]
fn a_message_that_begins_moves_no_deadline() {
    let mut server = server(Config::builder().message_timeout(Duration::from_secs(1)));
    let deadline = server.poll_timeout();
    let _ = server.handle_input(NOW, b"\x01\x81\0\0\0\0a");
    assert_eq!(server.poll_timeout(), deadline);
}

/// Rule 6: nothing that fell due while this side slept past its deadline kills.
#[test]
fn a_message_timeout_that_was_slept_through_does_not_kill() {
    let heartbeat = HeartbeatConfig::off();
    let config = Config::builder()
        .heartbeat(heartbeat)
        .message_timeout(Duration::from_secs(2));
    let mut server = server(config);
    let _ = server.handle_input(NOW, b"\x01\x81\0\0\0\0a");
    server.handle_timeout(Instant::from_secs(100));
    assert_eq!(server.state(), State::Open);
}

/// "Commits at most 64 KiB", so that no control frame waits for more.
#[test]
fn no_more_than_64_kib_is_lent_at_once() {
    let mut server = server(Config::builder());
    for length in [16 << 10, 16 << 10, 16 << 10, 15 << 10, 64 << 10] {
        server.send(vec![0; length]).unwrap();
    }
    let lent = server.poll_transmit().unwrap().len();
    assert!(lent <= (64 << 10) + 14, "{lent} bytes");
}

/// The output of `Debug` is for a log: it does not hold all that is queued.
#[test]
fn debug_output_does_not_hold_what_is_queued() {
    let mut server = server(Config::builder());
    let empty = format!("{server:?}").len();
    server.send(vec![b's'; 10_000]).unwrap();
    let full = format!("{server:?}").len();
    assert!(full < empty + 2_000, "{full} bytes");
}

/// What was known before an abort is not lost: the peer's Close frame, and why we were failing.
#[test]
fn an_abort_keeps_what_came_before() {
    let mut server = server(Config::builder());
    let _ = server.handle_input(NOW, b"\x88\x82\0\0\0\0\x03\xE8");
    server.abort(NOW);
    let last = std::iter::from_fn(|| server.poll_event()).last();
    let Some(Event::Closed(closed)) = last else {
        panic!("{last:?}");
    };
    assert_eq!(closed.code(), CloseCode::NORMAL);
}

/// What a data frame earns its sender does not depend on how the transport cut it.
#[test]
fn a_frame_in_pieces_earns_no_more_than_a_whole_one() {
    let end = |piece: usize| {
        let mut server = server(Config::builder());
        let pings = b"\x89\x80\0\0\0\0".repeat(1_500);
        let data = [&b"\x82\xFE\x03\xE8\0\0\0\0"[..], &[0; 1_000]].concat();
        let input = [&pings[..], &data, &pings].concat();
        let mut rest = &input[..];
        while !rest.is_empty() {
            let (piece, _) = rest.split_at(piece.min(rest.len()));
            rest = &rest[server.handle_input(NOW, piece)..];
            while server.poll_event().is_some() {}
        }
        server.state()
    };
    assert_eq!(end(1), end(usize::MAX));
}

/// P3, C19: received messages never move the deadline, and other input may. Here half a frame, which
/// is no evidence of life under `Evidence::AnyFrame`, comes after a pause of ours: the peer gets a
/// fresh ping at once, and until the transport takes it the output stands for the deadline.
#[test]
fn half_a_frame_may_bring_a_ping_forward() {
    fuzzing::server(b"\x80\x00\x00\x1e\x1e\x0c\x0a\x0d\x01");
}

/// C19: a frame that fails the connection replaces the deadline by that of the ending, which may be
/// earlier.
#[test]
fn a_bad_frame_may_bring_the_deadline_forward() {
    let mut server = server(Config::builder().close_timeout(Duration::from_secs(1)));
    let before = server.poll_timeout().unwrap();
    let _ = server.handle_input(NOW, b"\x80\x80\0\0\0\0");
    let after = server.poll_timeout().unwrap();
    assert_eq!(after, Instant::from_millis(500), "a step");
    assert!(after < before);
}
