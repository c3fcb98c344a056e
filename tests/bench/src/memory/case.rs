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

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server would send, in frames of up to `most` bytes.
    fn output(case: &Case, most: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in 0..case.messages {
            let parts = case.payload.chunks(most);
            let last = parts.len() - 1;
            for (index, part) in parts.enumerate() {
                let opcode = if index == 0 {
                    opcode(case.kind)
                } else {
                    opcode::CONTINUATION
                };
                let mut frame = Frame::new(opcode, part);
                frame.fin = index == last;
                out.extend(frame.encode());
            }
        }
        out
    }

    #[test]
    fn an_echo_passes_in_one_frame_or_several() {
        for kind in [Kind::Binary, Kind::Text, Kind::MixedText] {
            let case = Case::repeated(kind, 1_000, 3);
            assert_eq!(case.check(&output(&case, 1_000)), Ok(()));
            assert_eq!(case.check(&output(&case, 300)), Ok(()));
        }
    }

    #[test]
    fn another_byte_kind_or_number_does_not_pass() {
        let case = Case::repeated(Kind::Binary, 100, 3);
        let right = output(&case, 100);
        let mut wrong = right.clone();
        wrong[150] ^= 1;
        assert!(case.check(&wrong).is_err());
        assert!(case.check(&right[102..]).is_err());
        assert!(case.check(&case.input).is_err(), "masked");
        let text = Case::repeated(Kind::Text, 100, 3);
        assert!(case.check(&output(&text, 100)).is_err());
    }

    #[test]
    fn mixed_text_is_text_of_the_size() {
        for size in [1, 16, 100, 4_096] {
            let payload = payload(Kind::MixedText, size);
            assert_eq!(payload.len(), size);
            assert!(std::str::from_utf8(&payload).is_ok());
        }
    }
}
