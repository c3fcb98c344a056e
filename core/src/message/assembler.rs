//! Fragments to message: one buffer that grows by what arrives (RFC 6455 §5.4).

use alloc::vec::Vec;

use bytes::Bytes;
use bytestring::ByteString;

use super::Message;
use crate::frame::mask;
use crate::utf8::{self, InvalidUtf8, TextBuffer};

/// A message under way.
///
/// Text is validated as it arrives and fails at the first impossible byte; it is never looked at
/// twice.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Assembler {
    buffer: Buffer,
    /// Payload bytes that arrived, delivered in parts or not.
    received: u64,
    fragments: u64,
}

#[derive(Clone, Debug, Hash)]
enum Buffer {
    Text(TextBuffer),
    Binary(Vec<u8>),
}

impl Assembler {
    pub(crate) fn new(is_text: bool) -> Self {
        let buffer = if is_text {
            Buffer::Text(TextBuffer::new())
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

    /// Fragments that ended so far and count against the limit.
    pub(crate) fn fragments(&self) -> u64 {
        self.fragments
    }

    pub(crate) fn end_fragment(&mut self) {
        self.fragments = self.fragments.saturating_add(1);
    }

    /// Appends masked payload, after which at most `rest` more bytes will come.
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
            Buffer::Text(text) => {
                let more = growth(text.capacity(), text.len(), data.len(), rest);
                text.reserve_exact(more);
                text.push(data, mask)
            }
        }
    }

    /// Returns how many bytes are held.
    pub(crate) fn len(&self) -> usize {
        match &self.buffer {
            Buffer::Binary(buffer) => buffer.len(),
            Buffer::Text(text) => text.len(),
        }
    }

    /// Returns how many bytes can be held without another allocation.
    pub(crate) fn capacity(&self) -> usize {
        match &self.buffer {
            Buffer::Binary(buffer) => buffer.capacity(),
            Buffer::Text(text) => text.capacity(),
        }
    }

    /// Goes on in another buffer, whose bytes are overwritten.
    pub(crate) fn move_to(&mut self, mut buffer: Vec<u8>) {
        match &mut self.buffer {
            Buffer::Binary(bytes) => {
                buffer.clear();
                buffer.extend_from_slice(bytes);
                *bytes = buffer;
            }
            Buffer::Text(text) => text.move_to(buffer),
        }
    }

    /// Takes what has arrived since the last call, whole characters only.
    pub(crate) fn take_part(&mut self) -> Message {
        match &mut self.buffer {
            Buffer::Binary(buffer) => Message::Binary(core::mem::take(buffer).into()),
            Buffer::Text(text) => Message::Text(text.take().into()),
        }
    }

    /// Ends the message. Fails if text ends inside a character.
    pub(crate) fn finish(self) -> Result<Message, InvalidUtf8> {
        Ok(match self.buffer {
            Buffer::Binary(buffer) => Message::Binary(buffer.into()),
            Buffer::Text(text) => Message::Text(text.finish()?.into()),
        })
    }

    /// Tells whether text stands at the end of a character.
    pub(crate) fn is_complete(&self) -> bool {
        match &self.buffer {
            Buffer::Binary(_) => true,
            Buffer::Text(text) => text.is_complete(),
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
    let bytes = match mask {
        Some(mask) => mask::masked(data, mask),
        None => data.to_vec(),
    };
    utf8::into_string(bytes)
        .map(ByteString::from)
        .ok_or(InvalidUtf8)
}

/// How much to reserve beyond `len` for `data` bytes, after which at most `rest` will come: twice as
/// much as before, and never beyond that.
fn growth(capacity: usize, len: usize, data: usize, rest: u64) -> usize {
    let needed = len.saturating_add(data);
    if needed <= capacity {
        return 0;
    }
    let longest = needed.saturating_add(usize::try_from(rest).unwrap_or(usize::MAX));
    let doubled = needed.max(capacity.saturating_mul(2)).max(LEAST);
    doubled.min(longest).saturating_sub(len)
}

/// The smallest buffer of a message of more than one frame.
const LEAST: usize = 64;

fn extend(buffer: &mut Vec<u8>, data: &[u8], mask: Option<[u8; 4]>) {
    match mask {
        Some(mask) => mask::extend(buffer, data, mask),
        None => buffer.extend_from_slice(data),
    }
}
