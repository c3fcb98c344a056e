//! Compressed messages: any frames a server may send, any data in them, any cut.

use std::sync::Arc;

use wspulse_core::extension::Extension;
use wspulse_core::extension::deflate::{DeflateConfig, DeflateParams};
use wspulse_core::{Cause, Config, Connection, Delivery, Event, Instant, Role, Seed, SendError};

use super::{Cuts, Reader};
use crate::alloc::{BASE, Budget, INFLATE_STATE, Usage, max_growths, measure};
use crate::kit::drain;
use crate::meter::Meter;
use crate::wire::frame;

/// Hands a client one stream in three ways, which must come to the same, in messages and in the
/// end; then carries what is left between two engines, which must come to what it was.
///
/// What the client holds stays within its budget, and so does what the two engines hold.
///
/// The input is a byte of settings (bits 0 to 2: what was agreed on; bit 3: delivery in parts; bits
/// 4 and 5: how often a message is repeated; bits 6 and 7: the level), a short message limit, the
/// sizes of pieces behind their count, and frames: a first byte, then a payload behind its length.
/// A first byte of 0xff ends them; what follows are messages, each behind its length.
pub fn deflate(data: &[u8]) {
    let mut reader = Reader::new(data);
    let settings = reader.byte();
    let limit = u64::from(reader.short()).max(1);
    let cuts = Cuts::new(reader.counted());
    let mut wire = Vec::new();
    while !reader.is_empty() && wire.len() < MAX_WIRE {
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

    if !wire.is_empty() {
        let delivery = [Delivery::Messages, Delivery::Parts][usize::from(settings >> 3 & 1)];
        receives_the_same(&wire, cuts, delivery, limit, agreed);
    }
    if !reader.is_empty() {
        round_trip(reader, cuts, settings >> 4, agreed);
    }
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

fn receives_the_same(
    wire: &[u8],
    cuts: Cuts<'_>,
    delivery: Delivery,
    limit: u64,
    agreed: DeflateParams,
) {
    // A kilobyte is inflated at a time where messages are delivered in parts.
    let longest = match delivery {
        Delivery::Parts => MAX_RATIO * wire.len().min(1 << 10) as u64,
        _ => limit.min(MAX_RATIO * wire.len() as u64),
    };
    let receiver = Receiver {
        role: Role::Client,
        delivery,
        limit,
        agreed,
        beside: INFLATE_STATE + 4 * longest,
    };
    let whole = receive(wire, Cuts::new(&[u8::MAX]), &receiver);
    assert_eq!(whole, receive(wire, cuts, &receiver), "cut");
    if wire.len() <= MAX_BYTEWISE {
        let bytes = receive(wire, Cuts::new(&[]), &receiver);
        assert_eq!(whole, bytes, "byte by byte");
    }
    if delivery == Delivery::Messages {
        let long = whole
            .messages
            .iter()
            .find(|message| message.len() > limit as usize);
        assert_eq!(long, None, "above the limit");
    }
}

/// What came of a stream: whole messages, and why it ended if it did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) messages: Vec<Vec<u8>>,
    pub(super) cause: Option<Cause>,
}

/// How a stream is received.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) role: Role,
    pub(super) delivery: Delivery,
    pub(super) limit: u64,
    pub(super) agreed: DeflateParams,
    /// What it may hold beside twice the bytes that arrived and the base.
    pub(super) beside: u64,
}

fn connection(role: Role, config: &Arc<Config>, agreed: DeflateParams) -> Connection {
    let seed = Seed::predictable_for_tests(1);
    let connection = Connection::from_upgrade(role, Arc::clone(config), seed, Instant::ZERO);
    connection.with_deflate(Some(agreed))
}

/// Hands over a stream in pieces, then its end. What is held is checked after each piece.
pub(super) fn receive(wire: &[u8], cuts: Cuts<'_>, receiver: &Receiver) -> Received {
    receive_counting(wire, cuts, receiver).0
}

/// As [`receive`]; returns too what the connection allocated.
pub(super) fn receive_counting(
    mut wire: &[u8],
    mut cuts: Cuts<'_>,
    receiver: &Receiver,
) -> (Received, Usage) {
    let config = Config::builder()
        .delivery(receiver.delivery)
        .max_message_size(receiver.limit);
    let config = Arc::new(config.build().expect("valid"));
    let mut budget = Budget::new();
    budget.set_exceptions(receiver.beside);
    let mut connection = budget.run(|| connection(receiver.role, &config, receiver.agreed));
    let mut received = Received::default();
    let mut parts = Vec::new();
    while let Some(mut piece) = cuts.split(&mut wire) {
        while !piece.is_empty() {
            budget.arrived(piece.len());
            let taken = budget.count(|| connection.handle_input(Instant::ZERO, piece));
            piece = &piece[taken..];
            let had_events = take_events(&mut connection, &mut budget, &mut parts, &mut received);
            assert!(
                taken > 0 || had_events,
                "neither took input nor had an event"
            );
            budget.check();
        }
        if connection.wants_write() {
            budget.run(|| drop(drain(&mut connection, Instant::ZERO)));
        }
    }
    connection.handle_eof(Instant::ZERO);
    take_events(&mut connection, &mut budget, &mut parts, &mut received);
    (received, budget.usage())
}

fn take_events(
    connection: &mut Connection,
    budget: &mut Budget,
    parts: &mut Vec<u8>,
    received: &mut Received,
) -> bool {
    let mut had_events = false;
    while let Some(event) = budget.count(|| connection.poll_event()) {
        had_events = true;
        match &event {
            Event::Text(text) => received.messages.push(text.as_bytes().to_vec()),
            Event::Binary(data) => received.messages.push(data.to_vec()),
            Event::TextPart(part) => parts.extend_from_slice(part.as_bytes()),
            Event::BinaryPart(part) => parts.extend_from_slice(part),
            Event::MessageEnd => received.messages.push(std::mem::take(parts)),
            Event::Closed(closed) => received.cause = Some(closed.cause.clone()),
            _ => {}
        }
        budget.count(|| drop(event));
    }
    had_events
}

/// Short messages in parts and whole, and the same several times over.
fn round_trip(mut reader: Reader<'_>, mut cuts: Cuts<'_>, manner: u8, agreed: DeflateParams) {
    let deflate = DeflateConfig::DEFAULT
        .threshold(cuts.size() / 2)
        .level([1, 3, 6, 9][usize::from(manner >> 2)]);
    let config = Config::builder().deflate(Some(deflate));
    let config = Arc::new(config.build().expect("valid"));
    let mut client = Metered::new(Role::Client, &config, agreed);
    let mut server = Metered::new(Role::Server, &config, agreed);
    // Flushes and compressed bytes decide how long a run takes, for the compressor is instrumented
    // too. Some windows of the smallest kind reach all that more would.
    let mut room = MAX_COMPRESSED;
    for index in 0..MAX_MESSAGES {
        if reader.is_empty() || room == 0 {
            break;
        }
        let message = reader.counted();
        // Every other message in parts, and every other one from the server: a compressor is 270 KB
        // to clear.
        let from_server = index % 2 == 1;
        if !from_server {
            let mut rest = message;
            for _ in 0..MAX_PARTS {
                if let Some(part) = cuts.split(&mut rest) {
                    client.send(part.len(), |client| client.send_part(part.to_vec(), false));
                    exchange(&mut client, &mut server, &[]);
                }
            }
            client.send(rest.len(), |client| client.send_part(rest.to_vec(), true));
            exchange(&mut client, &mut server, &[message]);
        }
        let times = 1 << (2 * (manner & 3));
        let long = message.repeat(times.min(room.div_ceil(message.len().max(1))));
        room = room.saturating_sub(long.len());
        let (from, to) = if from_server {
            (&mut server, &mut client)
        } else {
            (&mut client, &mut server)
        };
        from.send(long.len(), |from| from.send(long.clone()));
        exchange(from, to, &[&long]);
    }
}

/// An engine whose heap is counted.
struct Metered {
    connection: Connection,
    meter: Meter,
}

impl Metered {
    fn new(role: Role, config: &Arc<Config>, agreed: DeflateParams) -> Self {
        let (connection, mut meter) = Meter::making(|| connection(role, config, agreed));
        meter.check(&connection);
        Self { connection, meter }
    }

    fn send(&mut self, length: usize, send: impl FnOnce(&mut Connection) -> Result<(), SendError>) {
        self.meter.expect(length);
        let (sent, usage) = measure(|| self.meter.call(&mut self.connection, send));
        sent.expect("room");
        // The state of the compressor stays, the buffer that it writes to goes.
        let working = usage.peak - usage.held.max(0);
        let most = 4 * length as u64 + BASE;
        assert!(working <= most as i64, "{usage:?} for {length} bytes");
    }
}

fn exchange(from: &mut Metered, to: &mut Metered, expected: &[&[u8]]) {
    let wire = from.meter.drain(&mut from.connection, Instant::ZERO);
    let longest = expected.iter().map(|message| message.len()).max();
    to.meter.expect(longest.unwrap_or(0));
    let mut left = expected.iter();
    let growths = to.meter.growths();
    to.meter
        .feed(&mut to.connection, Instant::ZERO, &wire, |event| {
            let expected = left.next().expect("no more than was sent");
            assert!(matches!(event, Event::Binary(data) if data == expected));
        });
    assert_eq!(left.next(), None, "a message is left out");
    let growths = to.meter.growths() - growths;
    let allowed = max_growths((longest.unwrap_or(0) + wire.len()) as u64);
    assert!(growths <= allowed, "{growths} reallocations");
}

/// More frames teach nothing that these do not.
const MAX_WIRE: usize = 256;

/// Longer streams are cut as the input says, which may be byte by byte too.
pub(super) const MAX_BYTEWISE: usize = 64;

/// Deflate makes no more of a byte (258 bytes of two bits each).
const MAX_RATIO: u64 = 1_032;

/// What one run compresses each way.
const MAX_MESSAGES: usize = 3;
const MAX_PARTS: usize = 3;
const MAX_COMPRESSED: usize = 1 << 10;
