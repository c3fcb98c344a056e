//! Where the engine and its documentation disagree, found while the oracles were written.

use std::sync::Arc;
use std::time::Duration;

use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{
    CloseCode, Config, ConfigBuilder, Connection, Delivery, Event, Instant, Role, Seed, State,
};

const NOW: Instant = Instant::ZERO;

fn server(config: ConfigBuilder) -> Connection {
    let config = Arc::new(config.build().unwrap());
    Connection::from_upgrade(Role::Server, config, Seed::predictable_for_tests(1), NOW)
}

/// "Received data never moves it": an owner that does not read the deadline again after input
/// sleeps through the message timeout.
#[test]
fn a_message_that_begins_moves_no_deadline() {
    let mut server = server(Config::builder().message_timeout(Duration::from_secs(1)));
    let deadline = server.poll_timeout();
    let _ = server.handle_input(NOW, b"\x01\x81\0\0\0\0a");
    assert_eq!(server.poll_timeout(), deadline);
}

/// Rule 6: if two drives are further apart than `max_local_pause`, nothing that fell due between
/// them kills.
#[test]
fn a_message_timeout_that_was_slept_through_does_not_kill() {
    let heartbeat = HeartbeatConfig::off().max_local_pause(Duration::from_secs(1));
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

/// Any cut gives the same events: what stands before the byte that spoils a text is delivered in
/// parts, or is not.
#[test]
fn parts_before_a_bad_byte_do_not_depend_on_the_cut() {
    let delivered = |cut: usize| {
        let mut server = server(Config::builder().delivery(Delivery::Parts));
        let mut text = String::new();
        let frame = b"\x81\x83\0\0\0\0ab\xFF";
        let (one, other) = frame.split_at(cut);
        for mut piece in [one, other] {
            while !piece.is_empty() {
                piece = &piece[server.handle_input(NOW, piece)..];
                if let Some(Event::TextPart(data)) = server.poll_event() {
                    text.push_str(&data);
                }
            }
        }
        text
    };
    assert_eq!(delivered(0), delivered(8));
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
