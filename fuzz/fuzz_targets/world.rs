#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wspulse_tests::fuzzing::world(data));
