//! Fragments to message: one buffer that grows by what arrives (RFC 6455 §5.4).

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use bytestring::ByteString;

use super::Message;
use crate::frame::mask;
use crate::utf8::{InvalidUtf8, Utf8Validator};

/// A message under way.
///
/// Text is validated as it arrives and fails at the first impossible byte; it is never looked at
/// twice.
#[derive(Debug)]
pub(crate) struct Assembler {
    buffer: Buffer,
    /// Payload bytes that arrived, delivered in parts or not.
    received: u64,
    fragments: u64,
}

#[derive(Debug)]
enum Buffer {
    Text {
        text: String,
        partial: Utf8Validator,
    },
    Binary(Vec<u8>),
}

/// Text is unmasked in blocks of this size, which stay in the first-level cache.
const BLOCK: usize = 4096;

impl Assembler {
    pub(crate) fn new(is_text: bool) -> Self {
        let buffer = if is_text {
            Buffer::Text {
                text: String::new(),
                partial: Utf8Validator::new(),
            }
        } else {
            Buffer::Binary(Vec::new())
        };
        Self {
            buffer,
            received: 0,
            fragments: 0,
        }
    }

    /// Payload bytes received so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Fragments that ended so far.
    pub(crate) fn fragments(&self) -> u64 {
        self.fragments
    }

    pub(crate) fn end_fragment(&mut self) {
        self.fragments = self.fragments.saturating_add(1);
    }

    /// Appends masked payload of a frame that has `rest` more bytes to come after it.
    pub(crate) fn push(
        &mut self,
        data: &[u8],
        mask: Option<[u8; 4]>,
        rest: u64,
    ) -> Result<(), InvalidUtf8> {
        self.received = self
            .received
            .saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        match &mut self.buffer {
            Buffer::Binary(buffer) => {
                let more = growth(buffer.capacity(), buffer.len(), data.len(), rest);
                buffer.reserve_exact(more);
                extend(buffer, data, mask);
                Ok(())
            }
            Buffer::Text { text, partial } => {
                // The characters cut by the end of the data wait for their rest in `partial`.
                let more = growth(
                    text.capacity(),
                    text.len(),
                    data.len().saturating_add(3),
                    rest,
                );
                text.reserve_exact(more);
                push_text(text, partial, data, mask)
            }
        }
    }

    /// Takes what has arrived since the last call, whole characters only.
    pub(crate) fn take_part(&mut self) -> Message {
        match &mut self.buffer {
            Buffer::Binary(buffer) => Message::Binary(core::mem::take(buffer).into()),
            Buffer::Text { text, .. } => Message::Text(core::mem::take(text).into()),
        }
    }

    /// Ends the message. Fails if text ends inside a character.
    pub(crate) fn finish(self) -> Result<Message, InvalidUtf8> {
        match self.buffer {
            Buffer::Binary(buffer) => Ok(Message::Binary(buffer.into())),
            Buffer::Text { text, partial } if partial.is_complete() => {
                Ok(Message::Text(text.into()))
            }
            Buffer::Text { .. } => Err(InvalidUtf8),
        }
    }

    /// Tells whether text stands at the end of a character.
    pub(crate) fn is_complete(&self) -> bool {
        match &self.buffer {
            Buffer::Binary(_) => true,
            Buffer::Text { partial, .. } => partial.is_complete(),
        }
    }
}

/// Makes a binary message of one frame that is there whole: one exact allocation.
#[inline]
pub(crate) fn whole_binary(data: &[u8], mask: Option<[u8; 4]>) -> Bytes {
    match mask {
        Some(mask) => mask::masked(data, mask).into(),
        None => Bytes::copy_from_slice(data),
    }
}

/// Makes a text message of one frame that is there whole: one exact allocation.
#[inline]
pub(crate) fn whole_text(data: &[u8], mask: Option<[u8; 4]>) -> Result<ByteString, InvalidUtf8> {
    if data.len() <= BLOCK {
        return ByteString::try_from(whole_binary(data, mask)).map_err(|_| InvalidUtf8);
    }
    let mut text = String::with_capacity(data.len());
    let mut partial = Utf8Validator::new();
    push_text(&mut text, &mut partial, data, mask)?;
    if partial.is_complete() {
        Ok(text.into())
    } else {
        Err(InvalidUtf8)
    }
}

/// How much to reserve beyond `len` for `data` bytes, of a frame with `rest` more to come: by what
/// arrived (twice over), and never beyond what the frame announces.
fn growth(capacity: usize, len: usize, data: usize, rest: u64) -> usize {
    let needed = len.saturating_add(data);
    if needed <= capacity {
        return 0;
    }
    let announced = needed.saturating_add(usize::try_from(rest).unwrap_or(usize::MAX));
    let doubled = needed.max(capacity.saturating_mul(2));
    doubled.min(announced).saturating_sub(len)
}

fn extend(buffer: &mut Vec<u8>, data: &[u8], mask: Option<[u8; 4]>) {
    match mask {
        Some(mask) => mask::extend(buffer, data, mask),
        None => buffer.extend_from_slice(data),
    }
}

fn push_text(
    text: &mut String,
    partial: &mut Utf8Validator,
    data: &[u8],
    mask: Option<[u8; 4]>,
) -> Result<(), InvalidUtf8> {
    let Some(mask) = mask else {
        return partial.push_to(data, text);
    };
    let mut block = [0; BLOCK];
    // BLOCK is a multiple of four: each block begins with the first byte of the mask.
    for masked in data.chunks(BLOCK) {
        let Some(plain) = block.get_mut(..masked.len()) else {
            return Ok(());
        };
        plain.copy_from_slice(masked);
        mask::apply(plain, mask);
        partial.push_to(plain, text)?;
    }
    Ok(())
}
