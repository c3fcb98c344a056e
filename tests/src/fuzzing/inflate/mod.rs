//! Compressed messages received: what the engine makes of them, and what zlib does.

mod zlib;

use flate2::FlushCompress;
use wspulse_core::extension::Extension;
use wspulse_core::extension::deflate::{DeflateConfig, DeflateParams};
use wspulse_core::{Cause, Delivery, LimitExceeded, ProtocolError, Role};

use self::zlib::{Sender, TAIL, Verdict, Zlib};
use super::deflate::{MAX_BYTEWISE, Receiver, receive_counting};
use super::{Cuts, Reader};
use crate::alloc::{INFLATE_STATE, max_growths};
use crate::wire::frame;

/// Hands an engine messages, compressed by zlib, damaged or made of any bytes, in one piece and in
/// many. It delivers what zlib makes of them, and ends where zlib or RFC 7692 §7.2.1 refuses one.
///
/// What is held stays within its budget. The input is a byte of settings (bit 0: a server receives;
/// bit 1: the sender keeps no context; bit 2: delivery in parts; bits 4 and 5: the level), a short
/// message limit, the sizes of pieces behind their count, and messages: a byte that says what it is
/// and how it is framed, and its arguments.
pub fn inflate(data: &[u8]) {
    let mut reader = Reader::new(data);
    let settings = reader.byte();
    let role = if settings & 1 == 0 {
        Role::Client
    } else {
        Role::Server
    };
    let keeps_context = settings & 2 == 0;
    let delivery = if settings & 4 == 0 {
        Delivery::Messages
    } else {
        Delivery::Parts
    };
    let limit = u64::from(reader.short()).max(1);
    let cuts = Cuts::new(reader.counted());
    let level = [6, 0, 1, 9][usize::from(settings >> 4 & 3)];
    let messages = messages(&mut reader, Sender::new(keeps_context, level));

    let mut wire = Vec::new();
    for message in &messages {
        message.write(role, cuts, &mut wire);
    }
    let expected = expect(&messages, keeps_context, delivery, limit);
    let mut receiver = Receiver {
        role,
        delivery,
        limit,
        agreed: agreed(role, keeps_context),
        beside: 0,
    };
    // A buffer doubles; a message that waits to be taken is held beside the one under way.
    receiver.beside = INFLATE_STATE + 4 * expected.longest.min(limit as usize) as u64;
    let bytewise = (wire.len() <= MAX_BYTEWISE).then_some(Cuts::new(&[]));
    for cuts in [Cuts::new(&[u8::MAX]), cuts].into_iter().chain(bytewise) {
        let (received, usage) = receive_counting(&wire, cuts, &receiver);
        assert!(usage.growths <= expected.growths, "{usage:?}");
        assert_eq!(received.messages, expected.messages);
        assert_eq!(
            received.cause.map(without_length),
            Some(expected.cause.clone())
        );
    }
}

/// How long a message is at least depends on its frames; it is longer than the limit.
fn without_length(cause: Cause) -> Cause {
    match cause {
        Cause::Limit(LimitExceeded::MessageSize { limit, length }) => {
            assert!(length > limit);
            Cause::Limit(LimitExceeded::MessageSize { limit, length: 0 })
        }
        cause => cause,
    }
}

struct Message {
    payload: Vec<u8>,
    is_compressed: bool,
    frames: u8,
}

impl Message {
    /// Writes it in one frame or more, some of them empty.
    fn write(&self, role: Role, mut cuts: Cuts<'_>, wire: &mut Vec<u8>) {
        let mut rest = &self.payload[..];
        for index in 0..=self.frames {
            let part = if index == self.frames {
                rest
            } else {
                let (part, after) = rest.split_at((cuts.size() - 1).min(rest.len()));
                rest = after;
                part
            };
            let mut frame = frame(role.peer(), 0, part);
            let begins = if self.is_compressed { 0x42 } else { 0x02 };
            let first = if index == 0 { begins } else { 0 };
            frame[0] = first | if index == self.frames { 0x80 } else { 0 };
            wire.extend(frame);
        }
    }
}

/// Reads the messages. What zlib compresses refers back to messages before it, as agreed.
fn messages(reader: &mut Reader<'_>, mut sender: Sender) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut total = 0;
    while !reader.is_empty() && messages.len() < MAX_MESSAGES && total < MAX_TOTAL {
        let kind = reader.byte();
        let mut is_compressed = true;
        let payload = match kind & 3 {
            0 => reader.counted().to_vec(),
            1 => {
                is_compressed = false;
                reader.counted().to_vec()
            }
            how => {
                let manner = reader.byte();
                let plain = reader.counted().repeat(1 << (manner >> 4 & 7));
                let mut payload = sender.compress(
                    &plain,
                    [
                        FlushCompress::Sync,
                        FlushCompress::Full,
                        FlushCompress::Partial,
                        FlushCompress::Finish,
                    ][usize::from(manner >> 2 & 3)],
                );
                if manner & 0x80 == 0 && payload.ends_with(&TAIL) {
                    payload.truncate(payload.len() - TAIL.len());
                }
                if kind & 0x40 != 0 {
                    // RFC 7692 §7.2.3.4: where the last block has BFINAL.
                    payload.push(0);
                }
                if how == 3 {
                    let (at, change) = (reader.byte(), reader.byte());
                    if let Some(byte) = payload.get_mut(usize::from(at)) {
                        *byte ^= change;
                    } else {
                        payload.truncate(usize::from(change));
                    }
                }
                payload
            }
        };
        total += payload.len();
        messages.push(Message {
            payload,
            is_compressed,
            frames: kind >> 2 & 0xF,
        });
    }
    messages
}

/// What must come of the messages.
struct Expected {
    messages: Vec<Vec<u8>>,
    cause: Cause,
    longest: usize,
    /// How often buffers may grow.
    growths: u64,
}

fn expect(messages: &[Message], keeps_context: bool, delivery: Delivery, limit: u64) -> Expected {
    // RFC 7692 has no limits: where messages are delivered in parts, none is needed.
    let limit = match delivery {
        Delivery::Parts => usize::MAX,
        _ => usize::try_from(limit).unwrap_or(usize::MAX),
    };
    let mut zlib = Zlib::new(keeps_context);
    let mut expected = Expected {
        messages: Vec::new(),
        cause: Cause::Eof,
        longest: 0,
        growths: 0,
    };
    for message in messages {
        let is_empty = message.payload.is_empty();
        let verdict = if !message.is_compressed && message.payload.len() > limit {
            Verdict::TooLong
        } else if !message.is_compressed {
            Verdict::Message(message.payload.clone())
        } else if is_empty {
            // Decided: an empty message that follows a flush has no bytes left once the tail is
            // removed. Some peers send it so, and nothing is lost by taking it.
            Verdict::Message(Vec::new())
        } else {
            zlib.read(&message.payload, limit)
        };
        match verdict {
            Verdict::Message(message) => {
                expected.longest = expected.longest.max(message.len());
                expected.messages.push(message);
                continue;
            }
            Verdict::TooLong => {
                expected.longest = limit;
                expected.cause = Cause::Limit(LimitExceeded::MessageSize {
                    limit: limit as u64,
                    length: 0,
                });
            }
            // Decided: RFC 7692 §7.2.1 ends every message with an empty stored block whose last
            // four bytes are removed. Leaving them on, and leaving out the octet after a final
            // block or a partial flush, both end elsewhere.
            Verdict::Invalid => {
                expected.longest = expected.longest.max(limit.min(MAX_INFLATED));
                expected.cause = Cause::Protocol(ProtocolError::InvalidDeflate);
            }
        }
        break;
    }
    expected.growths = max_growths(expected.longest as u64);
    for message in &expected.messages {
        expected.growths += max_growths(message.len() as u64);
    }
    expected
}

fn agreed(role: Role, keeps_context: bool) -> DeflateParams {
    let answer = match (keeps_context, role) {
        (true, _) => "permessage-deflate",
        (false, Role::Client) => "permessage-deflate; server_no_context_takeover",
        (false, Role::Server) => "permessage-deflate; client_no_context_takeover",
    };
    let answer = Extension::parse_list([answer.as_bytes()]).expect("a list");
    let agreed = DeflateConfig::DEFAULT.confirm(&answer[0]);
    agreed.expect("an answer that fits")
}

/// More would only be more of the same.
const MAX_MESSAGES: usize = 8;
const MAX_TOTAL: usize = 2 << 10;

/// The most that so many bytes inflate to.
const MAX_INFLATED: usize = 1_032 * 2 * MAX_TOTAL;
