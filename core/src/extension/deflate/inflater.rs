//! Compressed payload to message (RFC 7692 §7.2.2).

use core::fmt;

use zlib_rs::{Inflate, InflateError, InflateFlush, Status};

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
        let mut rest = data;
        let mut block = [0; BLOCK];
        loop {
            // One more than fits, or it could not be told from just enough.
            let fits = usize::try_from(room.saturating_add(1)).unwrap_or(BLOCK);
            let output = block.get_mut(..fits.min(BLOCK)).unwrap_or_default();
            let step = self.step(rest, output, InflateFlush::NoFlush);
            rest = rest.get(step.taken..).unwrap_or_default();
            let left = usize::try_from(*room).unwrap_or(usize::MAX);
            let output = output.get(..step.made.min(left)).unwrap_or_default();
            // What there is room for counts before the byte beyond it, however the input was cut.
            if !output.is_empty() {
                sink(output).map_err(InflateFault::Sink)?;
            }
            *room = u64::try_from(step.made)
                .ok()
                .and_then(|made| room.checked_sub(made))
                .ok_or(InflateFault::Limit)?;
            // Output that came before a mistake counts, however the input was cut.
            let status = step.status.map_err(|_| InflateFault::Data)?;
            if status == Status::StreamEnd {
                // RFC 7692 §7.2.3.4: a block may be the last of its stream without being the last
                // of its message. Another stream follows, with nothing to refer back to.
                self.stream.reset(false);
                continue;
            }
            let is_full = step.made == fits.min(BLOCK);
            let is_stuck = step.taken == 0 && step.made == 0;
            if is_stuck || (!is_full && rest.is_empty()) {
                return Ok(());
            }
        }
    }

    /// Ends a message; tells whether it ends where it should.
    ///
    /// RFC 7692 §7.2.2: the four bytes that the sender removed follow. They are the rest of an empty
    /// stored block: they make no output, and a block ends with the last of their bits. Where a
    /// message was cut inside a block they are codes of that block, and one of the two is not so.
    pub(super) fn finish(&mut self) -> bool {
        // The stream stops where the block ends, short of the probe, which an unfinished block takes.
        let [tail @ .., _] = TAIL_AND_PROBE;
        let step = self.step(&TAIL_AND_PROBE, &mut [0], InflateFlush::Block);
        if step.status.is_err() || step.made != 0 || step.taken != tail.len() {
            return false;
        }
        let mut block = self.step(&EMPTY_BLOCK, &mut [0], InflateFlush::NoFlush);
        if block.status == Ok(Status::StreamEnd) && block.taken == 0 {
            // The empty block has BFINAL (RFC 7692 §7.2.3.4).
            self.stream.reset(false);
            block = self.step(&EMPTY_BLOCK, &mut [0], InflateFlush::NoFlush);
        }
        // Bits of the tail that are left over are ones. Before an empty block they make a final
        // block or one of the reserved type.
        let is_over = block.status.is_ok_and(|status| status != Status::StreamEnd);
        is_over && block.made == 0 && block.taken == EMPTY_BLOCK.len()
    }

    fn step(&mut self, data: &[u8], output: &mut [u8], flush: InflateFlush) -> Step {
        let before = (self.stream.total_in(), self.stream.total_out());
        let status = self.stream.decompress(data, output, flush);
        Step {
            taken: difference(self.stream.total_in(), before.0),
            made: difference(self.stream.total_out(), before.1),
            status,
        }
    }
}

/// What one call of the decompressor did.
struct Step {
    taken: usize,
    made: usize,
    status: Result<Status, InflateError>,
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").finish_non_exhaustive()
    }
}

/// The end that every message lacks, and a byte that must not be needed.
const TAIL_AND_PROBE: [u8; 5] = [0x00, 0x00, 0xFF, 0xFF, 0x00];

/// A stored block without content: between blocks, and on a byte's boundary, it changes nothing.
const EMPTY_BLOCK: [u8; 5] = [0x00, 0x00, 0x00, 0xFF, 0xFF];

/// Inflated at once, on the stack.
const BLOCK: usize = 4096;

fn difference(after: u64, before: u64) -> usize {
    usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX)
}
