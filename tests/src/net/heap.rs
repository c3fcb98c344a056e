//! An allocator that counts what the whole process holds, but for the threads of the tests.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// The system's allocator, with one pair of counters for all threads that are not
/// [exempt](exempt_this_thread).
#[derive(Debug)]
pub struct Heap;

static HELD: AtomicI64 = AtomicI64::new(0);
static HELD_LARGE: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);

thread_local! {
    static EXEMPT: Cell<bool> = const { Cell::new(false) };
}

/// Takes what this thread allocates and frees out of the count: the peer is not under test.
pub fn exempt_this_thread() {
    EXEMPT.set(true);
}

/// Returns how many bytes are held.
#[must_use]
pub fn held() -> i64 {
    HELD.load(Relaxed)
}

/// Returns how many of the bytes are held in blocks of at least [`LARGE_BLOCK`] bytes: long
/// messages on their way, and the buffers that are kept for the next ones.
#[must_use]
pub fn held_in_large_blocks() -> i64 {
    HELD_LARGE.load(Relaxed)
}

/// The length from which a message's buffer is kept in a [`BufferPool`](wspulse_core::BufferPool).
pub const LARGE_BLOCK: usize = 128 << 10;

/// Returns the most bytes held at once since [`reset_peak`].
#[must_use]
pub fn peak() -> i64 {
    PEAK.load(Relaxed)
}

/// Starts a new peak at what is held now.
pub fn reset_peak() {
    PEAK.store(held(), Relaxed);
}

/// Counts a block whose size changes; what is not there has size 0.
fn count(from: usize, to: usize) {
    if EXEMPT.try_with(Cell::get).unwrap_or(false) {
        return;
    }
    let is_large = |size: &usize| *size >= LARGE_BLOCK;
    if is_large(&from) || is_large(&to) {
        let [from, to] = [from, to].map(|size| Some(size).filter(is_large).unwrap_or(0) as i64);
        HELD_LARGE.fetch_add(to - from, Relaxed);
    }
    let bytes = to as i64 - from as i64;
    let held = HELD.fetch_add(bytes, Relaxed) + bytes;
    if bytes > 0 {
        PEAK.fetch_max(held, Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator unchanged; the counters are atomics and a
// `const`-made thread local without a destructor, so counting neither allocates nor unwinds.
#[allow(unsafe_code, reason = "there is no other way to be an allocator")]
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(0, layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(layout.size(), 0);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(layout.size(), size);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
