//! What the fuzz targets found, each in its smallest form.

use std::sync::Arc;
use std::time::Duration;

use wspulse_core::handshake::{Accept, ClientRequest};
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Config, Connection, Event, Instant, Role, Seed, State};

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
    let heartbeat = HeartbeatConfig::passive(timeout).max_local_pause(Duration::from_secs(9));
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
    // The transport is stuck and nobody reads: the write stall kills in `handle_timeout`.
    for _ in 0..100 {
        let Some(deadline) = server.poll_timeout() else {
            break;
        };
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
