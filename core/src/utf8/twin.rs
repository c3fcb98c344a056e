//! What the feature `simd` does with vectors, by the standard library and without `unsafe`.

use alloc::string::String;
use alloc::vec::Vec;

/// Bytes of a text that arrives cut anywhere.
#[derive(Clone, Default, Hash)]
pub(super) struct Text {
    bytes: Vec<u8>,
    /// So many bytes are whole characters; those behind begin one, or are wrong.
    whole: usize,
}

impl Text {
    pub(super) const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            whole: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) const fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn reserve_exact(&mut self, more: usize) {
        self.bytes.reserve_exact(more);
    }

    pub(super) fn move_to(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        buffer.extend_from_slice(&self.bytes);
        self.bytes = buffer;
    }

    pub(super) const fn is_complete(&self) -> bool {
        self.whole == self.bytes.len()
    }

    /// Has `append` add what came, and tells whether a text can begin so. If not, it stays wrong.
    pub(super) fn push_with(&mut self, append: impl FnOnce(&mut Vec<u8>)) -> bool {
        append(&mut self.bytes);
        let unseen = self.bytes.get(self.whole..).unwrap_or_default();
        let whole = match core::str::from_utf8(unseen) {
            Ok(_) => unseen.len(),
            // No length means that only the end of the input is wrong.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => return false,
        };
        self.whole = self.whole.saturating_add(whole);
        true
    }

    /// Takes the whole characters that are there.
    pub(super) fn take(&mut self) -> String {
        let cut = self.bytes.split_off(self.whole);
        let whole = core::mem::replace(&mut self.bytes, cut);
        self.whole = 0;
        into_string(whole).unwrap_or_default()
    }

    /// Ends the text; `None` if it ends inside a character or is wrong.
    pub(super) fn finish(mut self) -> Option<String> {
        self.is_complete().then(|| self.take())
    }
}

/// Turns bytes into the text that they are; `None` if they are not UTF-8.
pub(crate) fn into_string(bytes: Vec<u8>) -> Option<String> {
    String::from_utf8(bytes).ok()
}
