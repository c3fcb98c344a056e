//! An allocator that counts what each thread holds, and the bounds that are checked by it.
//!
//! [`measure`] tells what one call did. A [`Budget`] adds up what the calls on one connection did
//! and compares it with what a peer may make a connection hold.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

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
    /// Reallocations to more than [`CONTROL`] bytes.
    pub growths: u64,
    /// Bytes held now.
    pub held: i64,
    /// The most bytes held at once since the last [`reset_peak`].
    pub peak: i64,
}

thread_local! {
    static COUNTERS: Cell<Counters> = const {
        Cell::new(Counters { allocations: 0, growths: 0, held: 0, peak: 0 })
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

/// What one call allocated, or several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that it allocated and did not free, less those that it freed and had not allocated.
    pub held: i64,
    /// The most of them at once.
    pub peak: i64,
    /// Reallocations to more than [`CONTROL`] bytes.
    pub growths: u64,
}

/// Runs `call` and tells what it allocated. Measurements may nest.
///
/// # Panics
///
/// Where [`Counting`] is not the allocator: a bound that nothing counts would hold always.
pub fn measure<T>(call: impl FnOnce() -> T) -> (T, Usage) {
    assert!(
        is_counting(),
        "the binary does not have the counting allocator"
    );
    let before = counters();
    reset_peak();
    let result = call();
    let after = counters();
    COUNTERS.set(Counters {
        peak: after.peak.max(before.peak),
        ..after
    });
    let usage = Usage {
        held: after.held - before.held,
        peak: after.peak - before.held,
        growths: after.growths - before.growths,
    };
    (result, usage)
}

/// Runs `call`, which allocates nothing.
///
/// # Panics
///
/// Where it allocates, or where [`Counting`] is not the allocator.
#[track_caller]
pub fn without_heap<T>(call: impl FnOnce() -> T) -> T {
    let (result, usage) = measure(call);
    assert_eq!(usage, Usage::default(), "it has heap");
    result
}

fn is_counting() -> bool {
    thread_local! {
        static IS_COUNTING: Cell<bool> = const { Cell::new(false) };
    }
    if !IS_COUNTING.get() {
        let before = counters().allocations;
        drop(black_box(Box::new(0_u64)));
        IS_COUNTING.set(counters().allocations > before);
    }
    IS_COUNTING.get()
}

/// How often a buffer may grow that comes to hold `bytes`: twice, and once for each doubling beyond
/// 64 bytes.
#[must_use]
pub const fn max_growths(bytes: u64) -> u64 {
    let doublings = bytes.div_ceil(64).next_power_of_two().trailing_zeros();
    2 + doublings as u64
}

/// How long the buffers of control frames become: sixteen pongs of up to 125 bytes. Reallocations up
/// to it are not counted as growth, so that growth is the messages' own.
pub const CONTROL: usize = 2 << 10;

/// What a connection may hold whatever arrives: the parts that exist only while they are needed.
pub const BASE: u64 = 4 << 10;

/// The inflating half of agreed compression.
pub const INFLATE_STATE: u64 = 48 << 10;

/// The compressing half.
pub const DEFLATE_STATE: u64 = 272 << 10;

/// The buffers of output, once messages were queued: 64 KiB that are committed and as much that is
/// framed already, each in a buffer that grew by doubling.
pub const WRITE_BUFFERS: u64 = 256 << 10;

/// The heap of one connection, against the bound: twice the bytes that arrived, [`BASE`], and the
/// exceptions that the caller names.
///
/// What belongs to the connection is what was allocated inside [`run`](Self::run) and not freed
/// there: make a message that is to be sent inside it, and drop events inside it.
#[derive(Debug, Default)]
pub struct Budget {
    arrived: u64,
    exceptions: u64,
    usage: Usage,
    /// The most held inside the last [`run`](Self::run).
    last_peak: i64,
}

impl Budget {
    /// Starts with nothing held and nothing arrived.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts `bytes` that were handed over.
    pub const fn arrived(&mut self, bytes: usize) {
        self.arrived += bytes as u64;
    }

    /// Returns how many bytes arrived.
    #[must_use]
    pub const fn bytes_arrived(&self) -> u64 {
        self.arrived
    }

    /// Sets what may be held beside the bound: the state of agreed compression, inflated output,
    /// the outgoing queue.
    pub const fn set_exceptions(&mut self, bytes: u64) {
        self.exceptions = bytes;
    }

    /// Runs a call on the connection and counts what it allocates and frees; checks the bound.
    ///
    /// # Panics
    ///
    /// Where more is held after the call than the bound allows.
    #[track_caller]
    pub fn run<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let result = self.count(call);
        self.check();
        result
    }

    /// As [`run`](Self::run), where the bound is known only after the call: [`check`](Self::check)
    /// it then.
    pub fn count<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let (result, usage) = measure(call);
        self.last_peak = self.usage.held + usage.peak;
        self.usage.held += usage.held;
        self.usage.peak = self.usage.peak.max(self.last_peak);
        self.usage.growths += usage.growths;
        result
    }

    /// Checks the bound.
    ///
    /// # Panics
    ///
    /// Where more is held than the bound allows.
    #[track_caller]
    pub fn check(&self) {
        let most = self.most();
        assert!(
            self.usage.held <= most,
            "{} bytes are held, {} arrived, {} are exceptions: at most {most}",
            self.usage.held,
            self.arrived,
            self.exceptions
        );
    }

    /// Checks that the last call held no more than the bound and `beside` at any time.
    ///
    /// # Panics
    ///
    /// Where it held more.
    #[track_caller]
    pub fn check_peak(&self, beside: u64) {
        let most = self.most().saturating_add_unsigned(beside);
        assert!(
            self.last_peak <= most,
            "{} bytes were held at once, {} arrived: at most {most}",
            self.last_peak,
            self.arrived
        );
    }

    /// Returns what is held, the most that was, and how often blocks grew.
    #[must_use]
    pub const fn usage(&self) -> Usage {
        self.usage
    }

    fn most(&self) -> i64 {
        let most = self.arrived.saturating_mul(2).saturating_add(BASE);
        most.saturating_add(self.exceptions)
            .try_into()
            .unwrap_or(i64::MAX)
    }
}

fn count(allocations: u64, growths: u64, bytes: i64) {
    // A thread that ends has no counters any more, and nobody asks.
    let _ = COUNTERS.try_with(|counters| {
        let mut now = counters.get();
        now.allocations += allocations;
        now.growths += growths;
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
        count(1, 0, layout.size() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, 0, layout.size() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, 0, -(layout.size() as i64));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let growths = u64::from(size > layout.size() && size > CONTROL);
        count(1, growths, size as i64 - layout.size() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    #[test]
    fn a_call_is_charged_with_its_own_allocations() {
        let outside = vec![0_u8; 1_000];
        let (kept, usage) = measure(|| {
            let (inner, usage) = measure(|| vec![0_u8; 500]);
            assert_eq!((usage.held, usage.peak), (500, 500));
            drop(vec![0_u8; 3_000]);
            drop(outside);
            inner
        });
        assert_eq!((usage.held, usage.peak), (500 - 1_000, 3_500));
        assert_eq!(kept.len(), 500);
    }

    #[test]
    fn a_buffer_that_doubles_grows_within_the_bound_and_one_that_does_not_does_not() {
        let (_, usage) = measure(|| {
            let mut buffer = Vec::new();
            for n in 0..100_u8 {
                buffer.extend([n; 64]);
            }
        });
        assert!(usage.growths <= max_growths(6_400), "{usage:?}");
        let (_, usage) = measure(|| {
            let mut buffer = Vec::new();
            for n in 0..100_u8 {
                buffer.reserve_exact(64);
                buffer.extend([n; 64]);
            }
        });
        assert!(usage.growths > max_growths(6_400), "{usage:?}");
        let bounds = [0, 64, 65, 128, 6_400, 1 << 20].map(max_growths);
        assert_eq!(bounds, [2, 2, 3, 3, 9, 16]);
    }

    #[test]
    #[should_panic(expected = "5097 bytes are held, 500 arrived")]
    fn a_budget_is_broken_by_one_byte() {
        let mut budget = Budget::new();
        budget.arrived(500);
        let kept = budget.run(|| vec![0_u8; 5_096]);
        drop(budget.run(|| (kept, Box::new(0_u8))));
    }
}
