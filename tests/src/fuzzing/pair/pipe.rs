//! One direction of a connection in memory.

use std::collections::VecDeque;

/// Bytes on their way from one end to the other: they arrive after a delay, and only so many are
/// under way at once.
#[derive(Debug)]
pub(super) struct Pipe {
    /// When bytes arrive, in milliseconds, and the bytes.
    pieces: VecDeque<(u64, Vec<u8>)>,
    held: usize,
    capacity: usize,
    delay: u64,
    /// The writer has ended the stream.
    is_ended: bool,
    /// The reader is gone: bytes are taken and lost.
    is_unread: bool,
}

/// What a read came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    Bytes(Vec<u8>),
    Nothing,
    End,
}

impl Pipe {
    pub(super) const fn new(capacity: usize, delay: u64) -> Self {
        Self {
            pieces: VecDeque::new(),
            held: 0,
            capacity,
            delay,
            is_ended: false,
            is_unread: false,
        }
    }

    /// Takes the beginning of `bytes`; returns how much.
    pub(super) fn write(&mut self, now: u64, bytes: &[u8]) -> usize {
        assert!(!self.is_ended, "bytes behind the end of the stream");
        if self.is_unread {
            return bytes.len();
        }
        let count = bytes.len().min(self.capacity - self.held);
        if count > 0 {
            let piece = bytes[..count].to_vec();
            self.pieces.push_back((now + self.delay, piece));
            self.held += count;
        }
        count
    }

    /// Returns at most `most` bytes that have arrived.
    pub(super) fn read(&mut self, now: u64, most: usize) -> Read {
        match self.pieces.front_mut() {
            Some((at, piece)) if *at <= now => {
                let rest = piece.split_off(most.min(piece.len()));
                let bytes = std::mem::replace(piece, rest);
                if piece.is_empty() {
                    self.pieces.pop_front();
                }
                self.held -= bytes.len();
                Read::Bytes(bytes)
            }
            None if self.is_ended => Read::End,
            _ => Read::Nothing,
        }
    }

    /// The writer ends the stream; the end arrives after all bytes.
    pub(super) const fn end(&mut self) {
        self.is_ended = true;
    }

    /// The reader goes.
    pub(super) fn abandon(&mut self) {
        self.is_unread = true;
        self.pieces.clear();
        self.held = 0;
    }

    pub(super) const fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// How many bytes are under way.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    /// Tells whether nothing is under way, or nobody reads it.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// When the next bytes arrive.
    pub(super) fn arrival(&self) -> Option<u64> {
        self.pieces.front().map(|(at, _)| *at)
    }
}
