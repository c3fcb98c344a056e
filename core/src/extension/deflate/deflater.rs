//! Message to compressed payload (RFC 7692 §7.2.1).

use alloc::vec::Vec;
use core::fmt;

use zlib_rs::{Deflate, DeflateConfig as Settings, DeflateFlush, Strategy};

use super::{MAX_LEVEL, MAX_WINDOW_BITS};

/// Compresses messages, whole or in parts.
///
/// 160 KiB with windows of up to 12 bits, 270 KiB with 15; of that the table of hashes alone is
/// 128 KiB.
pub(super) struct Deflater {
    stream: Deflate,
}

impl Deflater {
    /// Returns one that refers back at most `2^window_bits` bytes.
    pub(super) fn new(level: u8, window_bits: u8) -> Self {
        let level = level.clamp(1, MAX_LEVEL);
        // zlib has no window of 8 bits, and takes one of 9 in its place. Runs of one byte refer
        // back by 1, which is within any window.
        let strategy = if window_bits < SMALLEST_WINDOW_BITS {
            Strategy::Rle
        } else {
            Strategy::Default
        };
        let window_bits = window_bits.clamp(SMALLEST_WINDOW_BITS, MAX_WINDOW_BITS);
        Self {
            stream: Deflate::new_with_config(Settings {
                level: i32::from(level),
                window_bits: i32::from(window_bits).saturating_neg(),
                mem_level: MEMORY_LEVEL,
                strategy,
                ..Settings::default()
            }),
        }
    }

    /// Compresses a message, or the next part of one, so that all of it can be inflated at once;
    /// `last` ends the message.
    pub(super) fn compress(&mut self, data: &[u8], last: bool) -> Result<Vec<u8>, Broken> {
        let mut output = Vec::new();
        let mut rest = data;
        let mut block = [0; BLOCK];
        loop {
            let before = (self.stream.total_in(), self.stream.total_out());
            self.stream
                .compress(rest, &mut block, DeflateFlush::SyncFlush)
                .map_err(|_| Broken)?;
            let taken = difference(self.stream.total_in(), before.0);
            let made = difference(self.stream.total_out(), before.1);
            rest = rest.get(taken..).unwrap_or_default();
            output.extend_from_slice(block.get(..made).unwrap_or_default());
            if made < BLOCK {
                break;
            }
        }
        if last {
            let removed = output.len().checked_sub(TAIL.len());
            match removed.filter(|_| output.ends_with(&TAIL)) {
                Some(length) => output.truncate(length),
                // All was flushed before, and the end of it is on its way (RFC 7692 §7.2.3.6).
                None if output.is_empty() => output = stored(&[], true),
                None => return Err(Broken),
            }
        }
        if !rest.is_empty() {
            return Err(Broken);
        }
        // It may wait in the queue, which counts its length.
        output.shrink_to_fit();
        Ok(output)
    }

    /// Forgets the messages before.
    pub(super) fn reset(&mut self) {
        self.stream.reset();
    }
}

/// The compressor did not do what it must, which only a bug in it explains; it is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// Wraps a message, or a part that follows a flushed one, in blocks without compression
/// (RFC 7692 §7.2.3.3).
pub(super) fn stored(data: &[u8], last: bool) -> Vec<u8> {
    let headers = data.len().div_ceil(usize::from(u16::MAX)).saturating_mul(5);
    let length = data.len().saturating_add(headers);
    let mut output = Vec::with_capacity(length.saturating_add(usize::from(last)));
    for block in data.chunks(usize::from(u16::MAX)) {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        output.push(0);
        output.extend_from_slice(&length.to_le_bytes());
        output.extend_from_slice(&(!length).to_le_bytes());
        output.extend_from_slice(block);
    }
    if last {
        // The beginning of an empty block, whose rest is what is removed.
        output.push(0);
    }
    output
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater").finish_non_exhaustive()
    }
}

/// What is removed from the end of each message (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// Compressed at once, on the stack: how long the output will be is not known before.
const BLOCK: usize = 4096;

/// Larger ones cost 100 KiB and more, and gain nothing on messages of up to some KiB.
const MEMORY_LEVEL: i32 = 5;

/// The smallest window that the compressor has.
const SMALLEST_WINDOW_BITS: u8 = 9;

fn difference(after: u64, before: u64) -> usize {
    usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX)
}
