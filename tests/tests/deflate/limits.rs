//! What a peer may make of a few bytes (RFC 7692 §8).

use super::*;
use wspulse_core::{Delivery, LimitExceeded};
use wspulse_tests::alloc::{counters, reset_peak};

const MIB: usize = 1 << 20;

/// Zeros, compressed as well as can be.
fn bomb(zeros: usize) -> Vec<u8> {
    let config = config(|builder| builder.deflate(Some(ALL.level(9))).max_outgoing_frame(None));
    let mut server = open(Role::Server, &config);
    server.send(vec![0; zeros]).unwrap();
    let wire = drain(&mut server, NOW);
    let [(header, payload)] = &frames(Role::Server, &wire)[..] else {
        panic!("one frame");
    };
    assert_eq!(header.rsv(), COMPRESSED);
    assert!(payload.len() < zeros / 900 + 100, "{}", payload.len());
    payload.clone()
}

fn limited(bytes: usize) -> Arc<Config> {
    config(|builder| builder.max_message_size(bytes as u64))
}

#[test]
fn d1_a_bomb_costs_no_more_than_the_limit() {
    let bomb = bomb(10 * MIB);
    let config = limited(MIB);
    for (first, cut) in [(FIN, usize::MAX), (FIN, 1), (0, usize::MAX), (0, 100)] {
        let wire = frame(Role::Client, first | COMPRESSED | BINARY, &bomb);
        let mut server = open(Role::Server, &config);
        reset_peak();
        let before = counters().held;
        let mut rest = &wire[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            assert_eq!(server.handle_input(NOW, piece), piece.len());
            assert!(server.poll_event().is_none());
            rest = after;
        }
        let peak = counters().peak - before;
        // The limit, once more while the buffer grows, and the window.
        assert!(peak <= 2 * MIB as i64 + (64 << 10), "{peak}");
        let cause = assert_fails(&mut server, b"", 1009);
        let limit = MIB as u64;
        let length = limit + 1;
        let exceeded = LimitExceeded::MessageSize { limit, length };
        assert_eq!(cause, Cause::Limit(exceeded));
    }
}

#[test]
fn d2_the_message_limit_counts_what_is_inflated() {
    let bomb = bomb(MIB);
    let wire = frame(Role::Client, FIN | COMPRESSED | BINARY, &bomb);
    let mut server = open(Role::Server, &limited(MIB));
    let arrived = messages(feed(&mut server, NOW, &wire));
    assert!(arrived == [Err(vec![0; MIB].into())]);
    let mut server = open(Role::Server, &limited(MIB - 1));
    assert_fails(&mut server, &wire, 1009);
    // In fragments, none of which is too much.
    let mut wire = Vec::new();
    for (at, piece) in bomb.chunks(100).enumerate() {
        let first = if at == 0 { COMPRESSED | BINARY } else { 0 };
        wire.extend(frame(Role::Client, first, piece));
    }
    assert_fails(&mut open(Role::Server, &limited(MIB - 1)), &wire, 1009);
    wire.extend(frame(Role::Client, FIN, b""));
    let arrived = messages(feed(&mut open(Role::Server, &limited(MIB)), NOW, &wire));
    assert!(arrived == [Err(vec![0; MIB].into())]);
}

#[test]
fn d2_the_frame_limit_counts_what_is_on_the_wire() {
    let bomb = bomb(MIB);
    let wire = frame(Role::Client, FIN | COMPRESSED | BINARY, &bomb);
    let of_frames = |bytes: usize| config(|builder| builder.max_frame_size(bytes as u64));
    let mut server = open(Role::Server, &of_frames(bomb.len()));
    assert_eq!(messages(feed(&mut server, NOW, &wire)).len(), 1);
    let mut server = open(Role::Server, &of_frames(bomb.len() - 1));
    let cause = assert_fails(&mut server, &wire[..8], 1009);
    let length = bomb.len() as u64;
    let limit = length - 1;
    let exceeded = LimitExceeded::FrameSize { limit, length };
    assert_eq!(cause, Cause::Limit(exceeded));
    // A message may be longer on the wire than its limit, if little comes of it.
    let blocks = [&[0x00, 0x00, 0x00, 0xff, 0xff][..]; 50].concat();
    let wire = frame(
        Role::Client,
        FIN | COMPRESSED | TEXT,
        &[&blocks[..], &HELLO].concat(),
    );
    let arrived = messages(feed(&mut open(Role::Server, &limited(5)), NOW, &wire));
    assert_eq!(arrived, [Ok("Hello".into())]);
}

#[test]
fn d9_r3_fragments_of_compressed_messages_are_counted() {
    let config = config(|builder| builder.max_fragment_count(10));
    let mut wire = frame(Role::Client, COMPRESSED | TEXT, b"");
    for _ in 0..10 {
        wire.extend(frame(Role::Client, 0, b""));
    }
    let cause = assert_fails(&mut open(Role::Server, &config), &wire, 1008);
    let (limit, count) = (10, 11);
    let exceeded = LimitExceeded::FragmentCount { limit, count };
    assert_eq!(cause, Cause::Limit(exceeded));
}

#[test]
fn d1_parts_of_a_bomb_are_delivered_in_steps() {
    let bomb = bomb(100 * MIB);
    let config = config(|builder| builder.delivery(Delivery::Parts).max_message_size(1));
    for first in [FIN, 0] {
        let mut wire = frame(Role::Client, first | COMPRESSED | BINARY, &bomb);
        if first == 0 {
            wire.extend(frame(Role::Client, FIN, b""));
        }
        let mut server = open(Role::Server, &config);
        let (mut sum, mut has_ended) = (0, false);
        reset_peak();
        let before = counters().held;
        let mut rest = &wire[..];
        while !has_ended {
            let taken = server.handle_input(NOW, rest);
            rest = &rest[taken..];
            match server.poll_event() {
                Some(Event::BinaryPart(part)) => {
                    assert!(part.len() <= 1032 * 1024 + 1032, "{}", part.len());
                    assert!(part.iter().all(|byte| *byte == 0));
                    sum += part.len();
                }
                Some(Event::MessageEnd) => has_ended = true,
                None => assert!(taken > 0),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(sum, 100 * MIB);
        let peak = counters().peak - before;
        assert!(peak <= 4 * MIB as i64, "{peak}");
    }
}
