//! What the targets excuse, each with an input that shows it. An entry that no longer fails is a
//! fault of this list: the engine does right, so the entry and the excuse go.

#![cfg(feature = "drive")]

use std::panic::{self, AssertUnwindSafe};

use wspulse_tests::alloc::Counting;
use wspulse_tests::fuzzing::drive_excusing;
use wspulse_tests::fuzzing::known::{Excused, Finding};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The finding, the oracle that meets it, and how that fails.
type Entry = (Finding, &'static str, fn(Excused), &'static str);

const KNOWN: &[Entry] = &[
    (
        Finding::A6,
        "drive: a ping behind an event that waits",
        |excused| drive_excusing(b"\x02\x00\x0f\x00\x81\x01a\x08\x00\x89\x01p\x08", excused),
        "a ping is not answered",
    ),
    (
        Finding::A6,
        "drive: a peer that is mute behind an event that waits",
        |excused| drive_excusing(b"\x00\x00\x0f\x00\x81\x01a\x08", excused),
        "a mute peer is not found",
    ),
    (
        Finding::A6,
        "drive: a write that fails behind an event that waits",
        |excused| {
            drive_excusing(
                b"\x02\x00\x0f\x00\x81\x01a\x08\x0d\x01\x03\x00\x05\x08",
                excused,
            )
        },
        "accepted behind a failed write",
    ),
    (
        Finding::A6,
        "drive: a write that fails in the turn that read something",
        |excused| {
            let input = b"\x31\x00\x92\x92\x2f\x92\x92\x92\x6e\x6d\x6d\x67\x92\x8f\x92\x92\xc9\x00";
            drive_excusing(input, excused);
        },
        "accepted behind a failed write",
    ),
];

#[test]
fn each_finding_that_is_excused_fails_where_it_is_not() {
    let mut passed = Vec::new();
    for (finding, oracle, run, expected) in KNOWN {
        run(Excused::ALL);
        let error = panic::catch_unwind(AssertUnwindSafe(|| run(Excused::all_but(*finding))));
        let told = error.err().map(|error| {
            let text = error.downcast_ref::<String>().map(String::as_str);
            let text = text.or(error.downcast_ref::<&str>().copied());
            text.unwrap_or_default().to_owned()
        });
        match told {
            Some(told) if told.contains(expected) => println!("{finding:?}, {oracle}: {told}"),
            Some(told) => panic!("{finding:?}, {oracle}: fails otherwise: {told}"),
            None => passed.push((finding, oracle)),
        }
    }
    assert!(
        passed.is_empty(),
        "these pass: take them off the list, and the excuse with them: {passed:?}"
    );
}
