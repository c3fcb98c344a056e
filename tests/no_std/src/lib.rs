//! A program for a machine without an operating system, as far as the linker can tell.
//!
//! It is built and looked at, never run. Were any crate below to use std, the panic handler
//! here would be the second one, which the compiler refuses.
#![no_std]

use core::alloc::{GlobalAlloc, Layout};
use core::panic::PanicInfo;
use core::time::Duration;

use wspulse_core::backoff::{Backoff, BackoffConfig, Decision, Outcome};
use wspulse_core::{Config, Connection, Instant, Message, Role, Seed};

extern crate alloc;

/// Uses what the core offers, so that it is compiled and not only type-checked.
#[unsafe(no_mangle)]
pub extern "C" fn wspulse_no_std(now: u64, seed: u64) -> u64 {
    let now = Instant::from_nanos(now).saturating_add(Duration::from_secs(1));
    let Ok(mut backoff) = Backoff::new(BackoffConfig::default(), seed) else {
        return 0;
    };
    let generation = backoff.begin(now);
    match backoff.handle_closed(now, generation, Outcome::ConnectFailed) {
        Ok(Decision::Retry { at }) => at.as_nanos(),
        _ => 0,
    }
}

/// A turn of the drive loop: takes `input`, echoes messages, returns how much it would write.
///
/// # Safety
/// `input` points to `length` readable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wspulse_no_std_echo(now: u64, input: *const u8, length: usize) -> usize {
    // SAFETY: the caller's promise.
    let input = unsafe { core::slice::from_raw_parts(input, length) };
    let now = Instant::from_nanos(now);
    let config = alloc::sync::Arc::new(Config::default());
    let seed = Seed::predictable_for_tests(now.as_nanos());
    let mut connection = Connection::from_upgrade(Role::Server, config, seed, now);
    connection.handle_input(now, input);
    while let Some(event) = connection.poll_event() {
        if let Ok(message) = Message::try_from(event) {
            let _ = connection.send(message);
        }
    }
    connection.handle_timeout(now);
    connection
        .poll_transmit()
        .map_or(0, |transmit| transmit.len())
}

struct NoMemory;

// SAFETY: failing is always allowed, and what was never handed out never comes back.
unsafe impl GlobalAlloc for NoMemory {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: NoMemory = NoMemory;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
