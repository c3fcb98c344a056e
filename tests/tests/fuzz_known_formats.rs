//! Known failures that the targets of the wire formats excuse: what each input does where the
//! finding is not excused. An entry that passes fails here: then the engine does right, and the
//! excuse goes (`fuzzing::known`).

use std::panic::{self, AssertUnwindSafe};

use wspulse_tests::alloc::Counting;
use wspulse_tests::fuzzing::backoff_excusing;
use wspulse_tests::fuzzing::known::{Excused, Finding};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Fails with `message` where `finding` is not excused, and is green where it is.
#[track_caller]
fn is_known(target: fn(&[u8], Excused), input: &[u8], finding: Finding, message: &str) {
    let text = fault(target, input, finding).expect("the engine does right: remove the excuse");
    assert!(text.contains(message), "another fault: {text}");
}

/// What is wrong where `finding` is not excused.
fn fault(target: fn(&[u8], Excused), input: &[u8], finding: Finding) -> Option<String> {
    target(input, Excused::ALL);
    let run = AssertUnwindSafe(|| target(input, Excused::all_but(finding)));
    let error = panic::catch_unwind(run).err()?;
    let text = error.downcast_ref::<String>().cloned();
    text.or(error.downcast_ref::<&str>().map(|&text| text.to_owned()))
}

/// A first delay of up to 5 s under a cap of 3 s.
#[test]
fn c20_a_first_delay_above_the_cap() {
    // The seed decides how long the delay is; one of a few is above 3 s.
    let faults: Vec<String> = (0..16)
        .filter_map(|seed| {
            let mut input = b"\x14\x04\x0c\x28\x00\0\0\0\0\0\0\0\0\x03\x05\0\0".to_vec();
            input[12] = seed;
            fault(backoff_excusing, &input, Finding::C20)
        })
        .collect();
    assert!(
        !faults.is_empty(),
        "the engine does right: remove the excuse"
    );
    assert!(
        faults
            .iter()
            .all(|fault| fault.contains("is not in 0..=3000000000")),
        "{faults:?}"
    );
}

/// `Retry-After` of `u64::MAX` seconds: there is no deadline, and a hint makes none.
#[test]
fn c20_a_retry_after_for_ever() {
    is_known(
        backoff_excusing,
        b"\x14\x04\xf0\x28\x00seedseed\x03\x05\x00\x03\x00\xff",
        Finding::C20,
        "a Retry-After for ever",
    );
}
