//! Compressed messages: any frames a server may send, any data in them, any cut.

use std::sync::Arc;

use wspulse_core::extension::Extension;
use wspulse_core::extension::deflate::{DeflateConfig, DeflateParams};
use wspulse_core::{Cause, Config, Connection, Delivery, Event, Instant, Role, Seed};

use super::{Cuts, Reader};
use crate::kit::{drain, feed};
use crate::wire::frame;

/// Hands a client one stream in three ways, which must come to the same, in messages and in the
/// end; then carries what is left between two engines, which must come to what it was.
///
/// The input is a byte of settings (bits 0 to 2: what was agreed on; bit 3: delivery in parts), a
/// short message limit, the sizes of pieces behind their count, and frames: a first byte, then a
/// payload behind its length. A first byte of 0xff ends them; what follows are messages, each
/// behind its length.
pub fn deflate(data: &[u8]) {
    let mut reader = Reader::new(data);
    let settings = reader.byte();
    let limit = u64::from(reader.short()).max(1);
    let cuts = Cuts::new(reader.counted());
    let mut wire = Vec::new();
    while !reader.is_empty() {
        match reader.byte() {
            0xFF => break,
            first => {
                let mut frame = frame(Role::Server, 0, reader.counted());
                frame[0] = first;
                wire.extend(frame);
            }
        }
    }
    let answer = ANSWERS[usize::from(settings & 7)];
    let answer = Extension::parse_list([answer.as_bytes()]).expect("a list");
    let agreed = DeflateConfig::DEFAULT.window_bits(15).confirm(&answer[0]);
    let agreed = agreed.expect("an answer that fits");

    let deliveries = [Delivery::Messages, Delivery::Parts];
    let delivery = deliveries[usize::from(settings >> 3 & 1)];
    let whole = receive(&wire, Cuts::new(&[u8::MAX]), delivery, limit, agreed);
    let cut = receive(&wire, cuts, delivery, limit, agreed);
    assert_eq!(whole, cut, "cut");
    let bytes = receive(&wire, Cuts::new(&[]), delivery, limit, agreed);
    assert_eq!(whole, bytes, "byte by byte");
    if delivery == Delivery::Messages {
        let long = whole
            .messages
            .iter()
            .find(|message| message.len() > limit as usize);
        assert_eq!(long, None, "above the limit");
    }
    round_trip(reader, cuts, agreed);
}

/// What a server may have answered.
const ANSWERS: [&str; 8] = [
    "permessage-deflate",
    "permessage-deflate; server_no_context_takeover",
    "permessage-deflate; client_no_context_takeover",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    "permessage-deflate; client_max_window_bits=8; server_max_window_bits=8",
    "permessage-deflate; client_max_window_bits=9; client_no_context_takeover",
    "permessage-deflate; client_max_window_bits=12",
    "permessage-deflate; server_max_window_bits=15; client_max_window_bits=15",
];

/// What came of a stream: whole messages, and why it ended if it did.
#[derive(Debug, Default, PartialEq, Eq)]
struct Received {
    messages: Vec<Vec<u8>>,
    cause: Option<Cause>,
}

fn connection(role: Role, config: &Arc<Config>, agreed: DeflateParams) -> Connection {
    let seed = Seed::predictable_for_tests(1);
    let connection = Connection::from_upgrade(role, Arc::clone(config), seed, Instant::ZERO);
    connection.with_deflate(Some(agreed))
}

fn receive(
    mut wire: &[u8],
    mut cuts: Cuts<'_>,
    delivery: Delivery,
    limit: u64,
    agreed: DeflateParams,
) -> Received {
    let config = Config::builder().delivery(delivery).max_message_size(limit);
    let config = Arc::new(config.build().expect("valid"));
    let mut client = connection(Role::Client, &config, agreed);
    let mut events = Vec::new();
    while let Some(piece) = cuts.split(&mut wire) {
        events.extend(feed(&mut client, Instant::ZERO, piece));
        drain(&mut client, Instant::ZERO);
    }
    client.handle_eof(Instant::ZERO);
    events.extend(std::iter::from_fn(|| client.poll_event()));
    let mut received = Received::default();
    let mut parts = Vec::new();
    for event in events {
        match event {
            Event::Text(text) => received.messages.push(text.as_bytes().to_vec()),
            Event::Binary(data) => received.messages.push(data.to_vec()),
            Event::TextPart(part) => parts.extend_from_slice(part.as_bytes()),
            Event::BinaryPart(part) => parts.extend_from_slice(&part),
            Event::MessageEnd => received.messages.push(std::mem::take(&mut parts)),
            Event::Closed(closed) => received.cause = Some(closed.cause),
            _ => {}
        }
    }
    received
}

/// Short messages in parts and whole, and the same a hundred times over.
fn round_trip(mut reader: Reader<'_>, mut cuts: Cuts<'_>, agreed: DeflateParams) {
    let deflate = DeflateConfig::DEFAULT.threshold(cuts.size() / 2);
    let config = Config::builder().deflate(Some(deflate));
    let config = Arc::new(config.build().expect("valid"));
    let mut client = connection(Role::Client, &config, agreed);
    let mut server = connection(Role::Server, &config, agreed);
    while !reader.is_empty() {
        let message = reader.counted();
        let mut rest = message;
        while let Some(part) = cuts.split(&mut rest) {
            client.send_part(part.to_vec(), false).expect("room");
            exchange(&mut client, &mut server, &[]);
        }
        client.send_part(Vec::new(), true).expect("room");
        exchange(&mut client, &mut server, &[message]);
        for message in [message.to_vec(), message.repeat(100)] {
            server.send(message.clone()).expect("room");
            exchange(&mut server, &mut client, &[&message]);
            client.send(message.clone()).expect("room");
            exchange(&mut client, &mut server, &[&message]);
        }
    }
}

fn exchange(from: &mut Connection, to: &mut Connection, expected: &[&[u8]]) {
    let wire = drain(from, Instant::ZERO);
    let events = feed(to, Instant::ZERO, &wire);
    assert_eq!(events.len(), expected.len(), "{events:?}");
    for (event, expected) in events.iter().zip(expected) {
        assert!(matches!(event, Event::Binary(data) if data == expected));
    }
}
