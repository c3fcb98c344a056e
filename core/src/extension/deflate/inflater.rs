//! Compressed payload to message (RFC 7692 §7.2.2).

use core::fmt;

use zlib_rs::{Inflate, InflateFlush, Status};

use super::MAX_WINDOW_BITS;

/// Inflates messages that arrive in pieces.
///
/// About 47 KiB, whatever was agreed on: a window of 32 KiB, tables, and nothing that grows. The
/// largest window also reads what was written for a smaller one.
pub(super) struct Inflater {
    stream: Inflate,
}

/// Why inflating stopped. Nothing can be inflated after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InflateFault<E> {
    /// The data is not what RFC 7692 §7.2.1 makes of a message.
    Data,
    /// There is more than there is room for.
    Limit,
    /// The taker of the output had enough.
    Sink(E),
}

impl Inflater {
    pub(super) fn new() -> Self {
        Self {
            stream: Inflate::new(false, MAX_WINDOW_BITS),
        }
    }

    /// Inflates the next bytes of a message. At most `room` bytes come out, in blocks; the byte
    /// after them is the [`Limit`](InflateFault::Limit).
    pub(super) fn push<E>(
        &mut self,
        data: &[u8],
        room: &mut u64,
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), InflateFault<E>> {
        self.run(data, InflateFlush::NoFlush, room, sink).map(drop)
    }

    /// Ends a message.
    pub(super) fn finish<E>(
        &mut self,
        room: &mut u64,
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), InflateFault<E>> {
        // RFC 7692 §7.2.2: the four bytes that the sender removed. They are the rest of an empty
        // block, so they stop short of the byte behind them; a message that was cut inside a block
        // takes it for its own.
        let [.., last] = TAIL_AND_PROBE;
        let left = self.run(&TAIL_AND_PROBE, InflateFlush::Block, room, sink)?;
        if left == [last] {
            Ok(())
        } else {
            Err(InflateFault::Data)
        }
    }

    /// Inflates all of `data`, or at the end of a message up to the end of the first block in it;
    /// returns what is left.
    fn run<'a, E>(
        &mut self,
        data: &'a [u8],
        flush: InflateFlush,
        room: &mut u64,
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<&'a [u8], InflateFault<E>> {
        let mut rest = data;
        let mut block = [0; BLOCK];
        loop {
            // One more than fits, or it could not be told from just enough.
            let fits = usize::try_from(room.saturating_add(1)).unwrap_or(BLOCK);
            let output = block.get_mut(..fits.min(BLOCK)).unwrap_or_default();
            let before = (self.stream.total_in(), self.stream.total_out());
            let status = self.stream.decompress(rest, output, flush);
            let taken = difference(self.stream.total_in(), before.0);
            let made = difference(self.stream.total_out(), before.1);
            rest = rest.get(taken..).unwrap_or_default();
            let output = output.get(..made).unwrap_or_default();
            *room = u64::try_from(made)
                .ok()
                .and_then(|made| room.checked_sub(made))
                .ok_or(InflateFault::Limit)?;
            if !output.is_empty() {
                sink(output).map_err(InflateFault::Sink)?;
            }
            // What came before a mistake counts, however the input was cut.
            let status = status.map_err(|_| InflateFault::Data)?;
            if status == Status::StreamEnd {
                // RFC 7692 §7.2.3.4: a block may be the last of its stream without being the last
                // of its message. Another stream follows, with nothing to refer back to.
                self.stream.reset(false);
                continue;
            }
            let is_full = made == fits.min(BLOCK);
            if !is_full && (rest.is_empty() || flush == InflateFlush::Block) {
                return Ok(rest);
            }
            // Nothing can come of nothing: neither taken nor made.
            if taken == 0 && made == 0 {
                return Ok(rest);
            }
        }
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").finish_non_exhaustive()
    }
}

/// The end that every message lacks, and a byte that must not be needed.
const TAIL_AND_PROBE: [u8; 5] = [0x00, 0x00, 0xFF, 0xFF, 0x00];

/// Inflated at once, on the stack.
const BLOCK: usize = 4096;

fn difference(after: u64, before: u64) -> usize {
    usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX)
}
