//! Compressed messages on whole connections (RFC 7692).

mod agreeing;
mod limits;
mod memory;
mod receiving;
mod sending;

use std::sync::Arc;

use bytes::Bytes;
use wspulse_core::extension::deflate::{DeflateConfig, DeflateParams};
use wspulse_core::frame::{FrameDecoder, FrameEvent, FrameHeader, FrameRules, Opcode, mask};
use wspulse_core::{Cause, Config, ConfigBuilder, Connection, Event, Instant, Role, Seed};
use wspulse_tests::alloc::Counting;
use wspulse_tests::kit::{drain, feed};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const NOW: Instant = Instant::ZERO;

/// "Hello" in one block (RFC 7692 §7.2.3.1).
const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

/// Compresses all there is, with the widest window.
const ALL: DeflateConfig = DeflateConfig::DEFAULT.threshold(0).window_bits(15);

fn config(set: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> Arc<Config> {
    let builder = Config::builder().deflate(Some(ALL));
    Arc::new(set(builder).build().expect("valid"))
}

/// An open connection on which compression was agreed on without limits.
fn open(role: Role, config: &Arc<Config>) -> Connection {
    open_with(role, config, DeflateParams::default())
}

fn open_with(role: Role, config: &Arc<Config>, agreed: DeflateParams) -> Connection {
    let seed = Seed::predictable_for_tests(1);
    Connection::from_upgrade(role, Arc::clone(config), seed, NOW).with_deflate(Some(agreed))
}

/// A frame of `role` with the reserved bits in `rsv`, their place on the wire.
fn frame(role: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    let mut wire = wspulse_tests::wire::frame(role, 0, payload);
    wire[0] = first;
    wire
}

/// A message, or the beginning of one, in a compressed frame.
const COMPRESSED: u8 = 0x40;
const FIN: u8 = 0x80;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;

/// Whole frames, without their masks.
fn frames(role: Role, mut wire: &[u8]) -> Vec<(FrameHeader, Vec<u8>)> {
    let mut decoder = FrameDecoder::new(FrameRules {
        rsv: FrameHeader::RSV1,
        ..FrameRules::from_peer_of(role.peer())
    });
    let mut frames: Vec<(FrameHeader, Vec<u8>)> = Vec::new();
    while let Some(event) = decoder.decode(&mut wire).expect("legal frames") {
        match event {
            FrameEvent::Header(header) => frames.push((header, Vec::new())),
            FrameEvent::Payload(part) => {
                let (_, payload) = frames.last_mut().expect("a header");
                mask::extend(payload, part.data, part.mask.unwrap_or_default());
            }
        }
    }
    assert!(decoder.is_between_frames(), "half a frame");
    frames
}

/// All that is lent, as frames, each told in short: first byte, opcode and length of the payload.
fn told(connection: &mut Connection) -> Vec<(u8, Opcode, usize)> {
    let wire = drain(connection, NOW);
    frames(connection.role(), &wire)
        .iter()
        .map(|(header, payload)| {
            let fin = if header.fin() { FIN } else { 0 };
            (fin | header.rsv(), header.opcode(), payload.len())
        })
        .collect()
}

/// Messages and parts, joined to whole ones whatever way they came; nothing else may have happened.
fn messages(events: Vec<Event>) -> Vec<Result<String, Bytes>> {
    let mut whole = Vec::new();
    let mut parts: Option<Result<String, Vec<u8>>> = None;
    for event in events {
        match event {
            Event::Text(text) => whole.push(Ok(text.to_string())),
            Event::Binary(data) => whole.push(Err(data)),
            Event::TextPart(part) => {
                let message = parts.get_or_insert(Ok(String::new())).as_mut();
                message.expect("one kind").push_str(&part);
            }
            Event::BinaryPart(part) => {
                let message = parts.get_or_insert(Err(Vec::new())).as_mut();
                message.expect_err("one kind").extend_from_slice(&part);
            }
            Event::MessageEnd => whole.push(parts.take().expect("a part").map_err(Bytes::from)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(parts, None, "half a message");
    whole
}

/// What `from` says arrives at `to`; returns what `to` makes of it.
fn carry(from: &mut Connection, to: &mut Connection) -> Vec<Event> {
    let wire = drain(from, NOW);
    feed(to, NOW, &wire)
}

/// `input` fails the connection with this close code; returns why.
#[track_caller]
fn assert_fails(connection: &mut Connection, input: &[u8], code: u16) -> Cause {
    let role = connection.role();
    let shown = format!("{:.60}", input.escape_ascii());
    let mut events = feed(connection, NOW, input);
    let wire = drain(connection, NOW);
    let frames = frames(role, &wire);
    let (header, payload) = frames.last().expect(&shown);
    assert_eq!(header.opcode(), Opcode::Close, "{shown}");
    assert_eq!(payload[..2], code.to_be_bytes(), "{shown}");
    connection.handle_eof(NOW);
    events.extend(std::iter::from_fn(|| connection.poll_event()));
    match events.pop() {
        Some(Event::Closed(closed)) => closed.cause,
        other => panic!("{shown}: {other:?}"),
    }
}
