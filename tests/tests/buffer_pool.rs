//! Buffers of long messages, used again: never one that somebody holds, and nothing else changes.

use proptest::prelude::*;
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{BufferPool, Bytes, Connection, Instant, Message, Role};
use wspulse_tests::alloc::{Counting, counters, reset_peak};
use wspulse_tests::kit::{open, with_heartbeat};
use wspulse_tests::wire::{Frame, opcode};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

fn server() -> Connection {
    open(Role::Server, &with_heartbeat(HeartbeatConfig::off()))
}

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    Frame::new(opcode, payload).from(Role::Client).encode()
}

/// Reads `wire` in pieces, with the pool if there is one; returns the messages.
fn receive(
    connection: &mut Connection,
    mut pool: Option<&mut BufferPool>,
    wire: &[u8],
    piece: usize,
) -> Vec<Message> {
    let mut messages = Vec::new();
    for mut input in wire.chunks(piece) {
        if let Some(pool) = &mut pool {
            pool.lend(connection);
        }
        while let Some(event) = connection.next_event(Instant::ZERO, &mut input) {
            if let Some(pool) = &mut pool {
                pool.keep(&event);
            }
            messages.push(Message::try_from(event).expect("a message"));
        }
        assert!(input.is_empty());
    }
    messages
}

fn only(messages: Vec<Message>) -> Bytes {
    let [message] = <[Message; 1]>::try_from(messages).expect("one message");
    message.into_bytes()
}

#[test]
fn a_long_message_that_was_let_go_leaves_its_buffer_to_the_next() {
    for kind in [opcode::BINARY, opcode::TEXT] {
        let (mut one, mut other, mut pool) = (server(), server(), BufferPool::new());
        let first = frame(kind, &vec![b'1'; MIB]);
        let first = only(receive(&mut one, Some(&mut pool), &first, 64 * KIB));
        let place = first.as_ptr();
        drop(first);
        let second = frame(kind, &vec![b'2'; MIB - 5]);
        reset_peak();
        let before = counters().held;
        let second = only(receive(&mut other, Some(&mut pool), &second, 64 * KIB));
        let allocated = counters().peak - before;
        assert!(second.iter().all(|byte| *byte == b'2'));
        assert_eq!(second.as_ptr(), place);
        assert!(
            allocated < 70 * KIB as i64,
            "the first read and no more: {allocated}"
        );
    }
}

#[test]
fn a_message_that_somebody_holds_stays_as_it_is() {
    let (mut connection, mut pool) = (server(), BufferPool::new());
    let mut held = Vec::new();
    for byte in 0..8 {
        let wire = frame(opcode::BINARY, &vec![byte; MIB]);
        let message = only(receive(&mut connection, Some(&mut pool), &wire, 64 * KIB));
        // A part of it is enough.
        held.push(message.slice(MIB - 10..));
    }
    for (byte, held) in (0..).zip(held) {
        assert_eq!(held, vec![byte; 10]);
    }
    assert_eq!(pool.held(), 4 * MIB, "of eight");
}

#[test]
fn what_nobody_could_have_used_is_not_kept() {
    let (mut connection, mut pool) = (server(), BufferPool::new());
    // There whole: there is nothing to grow.
    let whole = frame(opcode::BINARY, &vec![1; MIB]);
    receive(&mut connection, Some(&mut pool), &whole, whole.len());
    // Short, and longer than all that is kept.
    for size in [100, 127 * KIB, 4 * MIB + 1] {
        let wire = frame(opcode::BINARY, &vec![1; size]);
        receive(&mut connection, Some(&mut pool), &wire, 64 * KIB);
    }
    assert_eq!(pool.held(), 0);
}

#[test]
fn nobody_gets_more_than_twice_what_was_announced() {
    let (mut connection, mut pool) = (server(), BufferPool::new());
    let mut place_of = |size| {
        let wire = frame(opcode::BINARY, &vec![1; size]);
        only(receive(&mut connection, Some(&mut pool), &wire, 64 * KIB)).as_ptr()
    };
    let long = place_of(2 * MIB);
    assert_ne!(place_of(MIB - 1), long);
    assert_eq!(place_of(MIB), long);
    // It does not become shorter by what it is used for; the other one comes first.
    for _ in 0..2 {
        assert_ne!(place_of(MIB - 1), long);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn with_a_pool_the_messages_are_the_same(
        sizes in prop::collection::vec((100 * KIB..600 * KIB, any::<bool>(), 1..4_usize), 1..12),
        piece in prop_oneof![Just(64 * KIB), 10 * KIB..300 * KIB],
        holds in any::<u64>(),
    ) {
        let mut pool = BufferPool::new();
        let (mut pooled, mut plain) = (server(), server());
        let mut held = Vec::new();
        for (index, (size, is_text, fragments)) in sizes.into_iter().enumerate() {
            let kind = if is_text { opcode::TEXT } else { opcode::BINARY };
            let payload = format!("{index}€").repeat(size / 4);
            let mut wire = Vec::new();
            let parts = payload.as_bytes().chunks(payload.len().div_ceil(fragments));
            let last = parts.len() - 1;
            for (n, part) in parts.enumerate() {
                let part = Frame::new(if n == 0 { kind } else { opcode::CONTINUATION }, part);
                let part = if n == last { part } else { part.unfinished() };
                wire.extend(part.from(Role::Client).encode());
            }
            let with = receive(&mut pooled, Some(&mut pool), &wire, piece);
            let without = receive(&mut plain, None, &wire, piece);
            prop_assert!(with == without);
            if holds >> index & 1 == 1 {
                held.push((with, without));
            }
        }
        for (with, without) in held {
            prop_assert!(with == without, "one that was held has changed");
        }
    }
}
