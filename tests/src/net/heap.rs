//! An allocator that counts what the whole process holds, but for the threads of the tests.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// The system's allocator, with one pair of counters for all threads that are not
/// [exempt](exempt_this_thread).
#[derive(Debug)]
pub struct Heap;

static HELD: AtomicI64 = AtomicI64::new(0);
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

/// Returns the most bytes held at once since [`reset_peak`].
#[must_use]
pub fn peak() -> i64 {
    PEAK.load(Relaxed)
}

/// Starts a new peak at what is held now.
pub fn reset_peak() {
    PEAK.store(held(), Relaxed);
}

fn count(bytes: i64) {
    if EXEMPT.try_with(Cell::get).unwrap_or(false) {
        return;
    }
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
        count(layout.size() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
