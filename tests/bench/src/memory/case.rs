//! What is measured: a size, a kind, and the frames of a client that go with them.

use std::fmt;
use std::rc::Rc;

use wspulse_core::Role;
use wspulse_tests::rng::Rng;
use wspulse_tests::wire::{Frame, Wire, opcode};

use super::stream::READ_SIZE;

/// What is in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes of any value.
    Binary,
    /// Plain ASCII.
    Text,
    /// ASCII among characters of two, three and four bytes.
    MixedText,
}

/// Messages of one size and kind, and the frames that a client would send of them.
#[derive(Clone, Debug)]
pub struct Case {
    /// The length of each payload.
    pub size: usize,
    /// What is in it.
    pub kind: Kind,
    /// In how many frames it comes, of the same length as far as that goes.
    pub fragments: usize,
    /// Masked frames, one after the other, each with a key of its own.
    pub input: Rc<[u8]>,
    /// How many messages those are.
    pub messages: usize,
    payload: Vec<u8>,
}

impl Case {
    /// Makes whole messages for four full reads, or one message if that is longer.
    pub fn new(kind: Kind, size: usize) -> Self {
        Self::repeated(kind, size, (4 * READ_SIZE / size.max(1)).max(1))
    }

    /// Makes this many whole messages.
    pub fn repeated(kind: Kind, size: usize, messages: usize) -> Self {
        Self::fragmented(kind, size, messages, 1)
    }

    /// Makes this many messages in this many fragments each.
    pub fn fragmented(kind: Kind, size: usize, messages: usize, fragments: usize) -> Self {
        let payload = payload(kind, size);
        let mut rng = Rng::new(1);
        let mut input = Vec::new();
        for _ in 0..messages {
            for index in 0..fragments {
                let [start, end] = [index, index + 1].map(|index| size * index / fragments);
                let opcode = if index == 0 {
                    opcode(kind)
                } else {
                    opcode::CONTINUATION
                };
                let mut frame = Frame::new(opcode, &payload[start..end]);
                frame.fin = index + 1 == fragments;
                frame.mask = Some((rng.draw() as u32).to_be_bytes());
                input.extend(frame.encode());
            }
        }
        Self {
            size,
            kind,
            fragments,
            input: input.into(),
            messages,
            payload,
        }
    }

    /// Returns what is in each message.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Says what is wrong with `output` as the echo of the input.
    pub fn check(&self, output: &[u8]) -> Result<(), String> {
        let mut reader = Wire::frames(Role::Server).keeping_data();
        let frames = reader.push(output)?;
        let mut messages = 0;
        let mut payload = Vec::new();
        for frame in frames {
            let first = if payload.is_empty() {
                opcode(self.kind)
            } else {
                opcode::CONTINUATION
            };
            if frame.opcode != first {
                return Err(format!("{frame:?} in the place of opcode {first}"));
            }
            payload.extend(frame.payload);
            if frame.fin {
                if payload != self.payload {
                    return Err(format!("message {messages} is another one"));
                }
                payload.clear();
                messages += 1;
            }
        }
        if messages != self.messages {
            return Err(format!("{messages} messages, not {}", self.messages));
        }
        Ok(())
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Binary => "binary",
            Kind::Text => "text",
            Kind::MixedText => "text, mixed",
        };
        write!(f, "{} {kind}", bytes(self.size))
    }
}

/// Writes a number of bytes as people say it.
pub fn bytes(count: usize) -> String {
    match count {
        _ if count >= 1 << 20 && count.is_multiple_of(1 << 20) => format!("{} MiB", count >> 20),
        _ if count >= 1 << 10 && count.is_multiple_of(1 << 10) => format!("{} KiB", count >> 10),
        _ => format!("{count} B"),
    }
}

const fn opcode(kind: Kind) -> u8 {
    match kind {
        Kind::Binary => opcode::BINARY,
        Kind::Text | Kind::MixedText => opcode::TEXT,
    }
}

fn payload(kind: Kind, size: usize) -> Vec<u8> {
    match kind {
        Kind::Binary => {
            let mut rng = Rng::new(size as u64);
            (0..size).map(|_| rng.draw() as u8).collect()
        }
        Kind::Text => (b' '..=b'~').cycle().take(size).collect(),
        Kind::MixedText => {
            let sentence = "Příliš žluťoučký kůň; the quick brown fox, 色は匂へど散りぬるを 🦊. ";
            let mut text = String::new();
            for character in sentence.chars().cycle() {
                if text.len() + character.len_utf8() > size {
                    break;
                }
                text.push(character);
            }
            let mut text = text.into_bytes();
            text.resize(size, b'.');
            text
        }
    }
}
