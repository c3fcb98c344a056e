//! What the fuzz targets check. Each function takes any bytes and panics if a promise is broken.
//!
//! The targets in `fuzz/` are wrappers of three lines, so that the same oracles run in three
//! places: under libFuzzer, over the kept corpora in the ordinary tests, and over pseudo-random
//! inputs there. A crash file replays anywhere with one call.

mod backoff;
mod deflate;
#[cfg(feature = "drive")]
mod drive;
mod endpoint;
mod frame_decoder;
mod head;
mod http;
mod inflate;
pub mod naive;
mod negotiate;
mod opening;
mod pair;
mod parts;
mod refusal;
pub mod script;
mod world;

pub use backoff::backoff;
pub use deflate::deflate;
#[cfg(feature = "drive")]
pub use drive::drive;
pub use endpoint::{client, server};
pub use frame_decoder::frame_decoder;
pub use head::head;
pub use inflate::inflate;
pub use negotiate::negotiate;
pub use pair::pair;
pub use refusal::refusal;
pub use world::world;

/// Reads a fuzz input from its front; behind its end everything is zero or empty.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Begins at the front of `data`.
    #[must_use]
    pub const fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// Tells whether nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes one byte.
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// Takes a number of two bytes, the higher one first.
    pub fn short(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// Takes `count` bytes, or those that are left.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Takes a byte with a length, then so many bytes.
    pub fn counted(&mut self) -> &'a [u8] {
        let count = self.byte().into();
        self.bytes(count)
    }

    /// Takes all that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        self.bytes(self.0.len())
    }
}

/// Where to cut a stream: sizes of pieces, over and over. Without any, every byte is a piece.
#[derive(Clone, Copy, Debug)]
pub struct Cuts<'a> {
    sizes: &'a [u8],
    next: usize,
}

impl<'a> Cuts<'a> {
    /// Cuts pieces of these sizes; a size of zero counts as one.
    #[must_use]
    pub const fn new(sizes: &'a [u8]) -> Self {
        Self { sizes, next: 0 }
    }

    /// Returns the size of the next piece, at least one.
    pub fn size(&mut self) -> usize {
        let size = self.sizes.get(self.next).copied().unwrap_or(1);
        self.next = (self.next + 1) % self.sizes.len().max(1);
        usize::from(size).max(1)
    }

    /// Splits the next piece off the front of `stream`, `None` at its end.
    pub fn split<'b>(&mut self, stream: &mut &'b [u8]) -> Option<&'b [u8]> {
        if stream.is_empty() {
            return None;
        }
        let (piece, rest) = stream.split_at(self.size().min(stream.len()));
        *stream = rest;
        Some(piece)
    }
}
