//! Where reads go: one buffer a thread, and what a connection did not take of it. Where long
//! messages go: a few buffers a thread.

use std::cell::{Cell, RefCell};

use wspulse_core::{BufferPool, Connection, Event};

/// How much one read takes at most.
pub const READ_SIZE: usize = 64 * 1024;

thread_local! {
    static BUFFER: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
    static POOL: RefCell<BufferPool> = const { RefCell::new(BufferPool::new()) };
}

/// Lends this thread's read buffer of [`READ_SIZE`] bytes to `read`.
///
/// A stream that runs another connection inside its own read finds the place empty and gets a
/// buffer of its own.
pub fn with_buffer<T>(read: impl FnOnce(&mut [u8]) -> T) -> T {
    let kept = BUFFER.try_with(Cell::take).ok().flatten();
    let mut buffer = kept.unwrap_or_else(|| vec![0; READ_SIZE].into_boxed_slice());
    let result = read(&mut buffer);
    // Without a thread-local any more, the thread is ending and the buffer with it.
    let _ = BUFFER.try_with(|place| place.set(Some(buffer)));
    result
}

/// Lends `connection` a buffer of this thread for a long message, before input.
pub(crate) fn lend_buffer(connection: &mut Connection) {
    // A thread that is ending has none to lend.
    let _ = POOL.try_with(|pool| pool.borrow_mut().lend(connection));
}

/// Keeps the buffer of a long message for this thread's next ones.
pub(crate) fn keep_buffer(event: &Event) {
    let _ = POOL.try_with(|pool| pool.borrow_mut().keep(event));
}

/// Bytes that were read and that the connection has not taken yet; one read's worth at most.
#[derive(Debug, Default)]
pub(crate) struct Leftover {
    bytes: Vec<u8>,
    taken: usize,
}

impl Leftover {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or_default()
    }

    /// Keeps `bytes`, which come after everything that was kept before.
    pub(crate) fn keep(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Forgets the first `count` bytes, and frees the memory with the last of them.
    #[inline]
    pub(crate) fn consume(&mut self, count: usize) {
        self.taken = self.taken.saturating_add(count);
        if self.taken >= self.bytes.len() {
            *self = Self::default();
        }
    }
}
