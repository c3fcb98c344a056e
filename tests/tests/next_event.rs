//! `next_event` is `handle_input` and `poll_event` by turns, and the short way of a message in one
//! frame is the long way: same events, same output, wherever the input is cut; and neither holds more
//! than its budget.

use std::sync::Arc;

use proptest::prelude::*;
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Config, Connection, Delivery, Event, Instant, Message, Role, Seed};
use wspulse_tests::alloc::Counting;
use wspulse_tests::meter::Meter;
use wspulse_tests::wire::{Frame, opcode};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Clone, Debug)]
struct Part {
    opcode: u8,
    fin: bool,
    payload: Vec<u8>,
}

/// Mostly what an honest peer sends; lengths around those where a header or a path changes.
fn part() -> impl Strategy<Value = Part> {
    let length = prop_oneof![
        6 => 0..40_usize,
        2 => 120..132_usize,
        1 => 4_090..4_100_usize,
        1 => 65_530..65_540_usize,
    ];
    let opcode = prop_oneof![
        6 => Just(opcode::BINARY),
        6 => Just(opcode::TEXT),
        3 => Just(opcode::CONTINUATION),
        1 => Just(opcode::PING),
        1 => Just(opcode::PONG),
    ];
    let byte = prop_oneof![9 => Just(b'a'), 1 => Just(0xC3)];
    (opcode, prop::bool::weighted(0.8), length, byte).prop_map(|(opcode, fin, length, byte)| {
        let is_control = opcode >= opcode::CLOSE;
        let length = if is_control { length.min(125) } else { length };
        let mut payload = vec![b'x'; length];
        if let Some(last) = payload.last_mut() {
            *last = byte;
        }
        Part {
            opcode,
            fin: fin || is_control,
            payload,
        }
    })
}

fn config(parts: bool) -> Arc<Config> {
    let delivery = if parts {
        Delivery::Parts
    } else {
        Delivery::Messages
    };
    let config = Config::builder()
        .heartbeat(HeartbeatConfig::off())
        .delivery(delivery)
        .max_message_size(65_536)
        .report_control(true)
        .build();
    Arc::new(config.expect("it can work"))
}

fn open(role: Role, config: &Arc<Config>) -> Connection {
    let seed = Seed::predictable_for_tests(7);
    Connection::from_upgrade(role, Arc::clone(config), seed, Instant::ZERO)
}

/// Echoes messages, and says what it saw.
#[derive(Default)]
struct Seen {
    meter: Meter,
    events: Vec<String>,
    output: Vec<u8>,
}

impl Seen {
    fn event(&mut self, connection: &mut Connection, event: Event) {
        self.events.push(format!("{event:?}"));
        match Message::try_from(event) {
            Ok(message) => {
                self.meter.expect(message.len());
                // After a failure nothing is sent any more, in either way of driving.
                self.meter.call(connection, |it| drop(it.send(message)));
            }
            Err(event) => self.meter.call(connection, |_| drop(event)),
        }
    }

    fn write(&mut self, connection: &mut Connection) {
        let output = self.meter.drain(connection, Instant::ZERO);
        self.output.extend(output);
    }
}

proptest! {
    #[test]
    fn next_event_is_input_and_events_by_turns(
        role in prop_oneof![Just(Role::Server), Just(Role::Client)],
        in_parts in prop::bool::weighted(0.2),
        parts in prop::collection::vec(part(), 1..12),
        piece in prop_oneof![Just(usize::MAX), 1..300_usize],
    ) {
        let config = config(in_parts);
        let from = match role {
            Role::Server => Role::Client,
            Role::Client => Role::Server,
        };
        let mut wire = Vec::new();
        for part in &parts {
            let frame = Frame::new(part.opcode, &part.payload);
            let frame = if part.fin { frame } else { frame.unfinished() };
            wire.extend(frame.from(from).encode());
        }

        let mut ahead = (open(role, &config), Seen::default());
        for mut input in wire.chunks(piece.min(wire.len())) {
            while let Some(event) = ahead.1.meter.next_event(&mut ahead.0, Instant::ZERO, &mut input) {
                ahead.1.event(&mut ahead.0, event);
            }
            prop_assert!(input.is_empty(), "{} bytes not taken", input.len());
        }
        ahead.1.write(&mut ahead.0);

        // Byte by byte every frame goes the long way; parts follow the cuts, so there both are cut
        // alike.
        let mut turns = (open(role, &config), Seen::default());
        let piece = if in_parts { piece.min(wire.len()) } else { 1 };
        for input in wire.chunks(piece) {
            let mut rest = input;
            while !rest.is_empty() {
                let taken = turns.1.meter.input(&mut turns.0, Instant::ZERO, rest);
                rest = &rest[taken..];
                while let Some(event) = turns.1.meter.call(&mut turns.0, Connection::poll_event) {
                    turns.1.event(&mut turns.0, event);
                }
            }
        }
        turns.1.write(&mut turns.0);
        prop_assert_eq!(ahead.1.events, turns.1.events);
        prop_assert_eq!(ahead.1.output, turns.1.output);
    }
}
