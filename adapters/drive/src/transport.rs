//! A stream of bytes that does not wait.

use std::io::{self, IoSlice};

use wspulse_core::Transmit;

/// A stream of bytes, asked to do one thing at once or to say that it cannot now.
///
/// Each method makes one attempt; [`io::ErrorKind::WouldBlock`] says that it would have to wait,
/// and whoever runs the loop waits in its own way.
pub trait Transport {
    /// Reads once into `buffer`; 0 is the end of the stream.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is nothing now; anything else ends the reading.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes the beginning of `transmit` and returns how much of it was taken.
    ///
    /// A transport that holds a part back, such as TLS, may be offered the same bytes again, with
    /// more behind them, until it says that it took them.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if nothing is taken now; anything else ends the writing.
    fn write(&mut self, transmit: &Transmit<'_>) -> io::Result<usize>;

    /// Sends on what an earlier write left inside. Does nothing by default.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Closes the writing half and leaves the reading half open (RFC 6455 §7.1.1).
    ///
    /// # Errors
    ///
    /// `WouldBlock` if it is not done yet; anything else counts as done.
    fn shutdown(&mut self) -> io::Result<()>;

    /// Tells whether the transport has output of its own to flush, such as a TLS handshake's.
    fn wants_flush(&self) -> bool {
        false
    }

    /// Tells whether the last read that said `WouldBlock` was made. Where a scheduler did not let
    /// the stream look, nobody knows whether there is input, and nobody must be declared dead over
    /// it.
    fn has_looked(&self) -> bool {
        true
    }

    /// Tells whether the last write that said `WouldBlock` was made. Where a scheduler did not let
    /// it, nobody knows whether there is room.
    fn has_offered(&self) -> bool {
        true
    }
}

/// Hands `write` what is lent, in slices for one vectored write: all of it, however many chunks it
/// has.
pub fn with_slices<T>(transmit: &Transmit<'_>, write: impl FnOnce(&[IoSlice<'_>]) -> T) -> T {
    let mut chunks = transmit.chunks();
    // One chunk is what short messages make, and one or two more a longer one.
    let mut few = [IoSlice::new(&[]); 3];
    let mut count = 0;
    for (slice, chunk) in few.iter_mut().zip(chunks.by_ref()) {
        *slice = IoSlice::new(chunk);
        count += 1;
    }
    let Some(next) = chunks.next() else {
        return write(few.get(..count).unwrap_or_default());
    };
    let mut many = [IoSlice::new(&[]); Transmit::MAX_CHUNKS];
    let all = few.into_iter().chain([IoSlice::new(next)]);
    let all = all.chain(chunks.map(IoSlice::new));
    count = 0;
    for (slice, chunk) in many.iter_mut().zip(all) {
        *slice = chunk;
        count += 1;
    }
    write(many.get(..count).unwrap_or_default())
}
