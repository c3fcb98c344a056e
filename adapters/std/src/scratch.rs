//! Memory of a thread for bytes on their way between a connection and its stream.

use std::cell::Cell;

#[cfg(feature = "tls")]
use wspulse_drive::READ_SIZE;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends a buffer to `run`, with whatever it held before; a thread keeps one.
pub(crate) fn with<T>(run: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut bytes = SCRATCH.try_with(Cell::take).unwrap_or_default();
    let result = run(&mut bytes);
    if bytes.capacity() <= KEPT {
        let _ = SCRATCH.try_with(|place| place.set(bytes));
    }
    result
}

/// Lends room for what one read brought.
#[cfg(feature = "tls")]
pub(crate) fn with_room<T>(run: impl FnOnce(&mut [u8]) -> T) -> T {
    with(|bytes| {
        bytes.resize(READ_SIZE.max(bytes.len()), 0);
        run(bytes)
    })
}

/// Room for everything that a connection lends at once, encrypted.
const KEPT: usize = 256 * 1024;
