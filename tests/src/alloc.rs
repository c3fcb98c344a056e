//! An allocator that counts what each thread holds.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, with counters for the thread at hand.
///
/// A test binary that wants the figures makes it its `#[global_allocator]`; each test runs on a
/// thread of its own, so tests do not disturb one another.
#[derive(Debug)]
pub struct Counting;

/// What a thread allocated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Allocations and reallocations.
    pub allocations: u64,
    /// Bytes held now.
    pub held: i64,
    /// The most bytes held at once since the last [`reset_peak`].
    pub peak: i64,
}

thread_local! {
    static COUNTERS: Cell<Counters> = const {
        Cell::new(Counters { allocations: 0, held: 0, peak: 0 })
    };
}

/// Returns the counters of this thread.
#[must_use]
pub fn counters() -> Counters {
    COUNTERS.get()
}

/// Starts a new peak at what is held now.
pub fn reset_peak() {
    let now = counters();
    COUNTERS.set(Counters {
        peak: now.held,
        ..now
    });
}

fn count(allocations: u64, bytes: i64) {
    // A thread that ends has no counters any more, and nobody asks.
    let _ = COUNTERS.try_with(|counters| {
        let mut now = counters.get();
        now.allocations += allocations;
        now.held += bytes;
        now.peak = now.peak.max(now.held);
        counters.set(now);
    });
}

// SAFETY: every call goes to the system's allocator unchanged; the counters are `const`-made
// thread locals without a destructor, so counting neither allocates nor unwinds.
#[allow(unsafe_code, reason = "there is no other way to be an allocator")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, -(layout.size() as i64));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size as i64 - layout.size() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
