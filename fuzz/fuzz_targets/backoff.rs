#![no_main]

use wspulse_tests::alloc::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

libfuzzer_sys::fuzz_target!(|data: &[u8]| wspulse_tests::fuzzing::backoff(data));
