//! What the targets excuse, each with an input that shows it. An entry that no longer fails is a
//! fault of this list: the engine does right, so the entry and the excuse go.

use std::panic::{self, AssertUnwindSafe};

use wspulse_tests::alloc::Counting;
use wspulse_tests::fuzzing::known::{Excused, Finding};
use wspulse_tests::fuzzing::server_excusing;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The finding, the oracle that meets it, and how that fails.
type Entry = (Finding, &'static str, fn(Excused), &'static str);

const KNOWN: &[Entry] = &[
    (
        Finding::C15,
        "server: 64 subprotocols are offered",
        |excused| server_excusing(&subprotocols(), excused),
        "bytes are held",
    ),
    #[cfg(feature = "drive")]
    (
        Finding::A6,
        "drive: a ping behind an event that waits",
        |excused| drive_excusing(b"\x02\x00\x0f\x00\x81\x01a\x08\x00\x89\x01p\x08", excused),
        "a ping is not answered",
    ),
    #[cfg(feature = "drive")]
    (
        Finding::A6,
        "drive: a peer that is mute behind an event that waits",
        |excused| drive_excusing(b"\x00\x00\x0f\x00\x81\x01a\x08", excused),
        "a mute peer is not found",
    ),
    #[cfg(feature = "drive")]
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
    #[cfg(feature = "drive")]
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

#[cfg(feature = "drive")]
use wspulse_tests::fuzzing::drive_excusing;

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

/// A handshake whose request offers 64 subprotocols of one or two letters.
fn subprotocols() -> Vec<u8> {
    let offered = (0..64).map(|n| format!("{}", 10 + n)).collect::<Vec<_>>();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: {}\r\n\r\n",
        offered.join(",")
    );
    let mut script = vec![0x00, 0x03, 0];
    for piece in request.as_bytes().chunks(255) {
        script.push(0);
        script.push(u8::try_from(piece.len()).expect("at most 255"));
        script.extend(piece);
    }
    script
}
