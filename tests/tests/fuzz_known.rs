//! What the targets excuse, each with an input that shows it. An entry that no longer fails is a
//! fault of this list: the engine does right, so the entry and the excuse go.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use wspulse_core::extension::Extension;
use wspulse_core::extension::deflate::DeflateConfig;
use wspulse_core::{Config, Connection, Instant, Role, Seed};
use wspulse_tests::alloc::{Budget, Counting, DEFLATE_STATE, INFLATE_STATE};
use wspulse_tests::fuzzing::known::{Excused, Finding};
use wspulse_tests::fuzzing::{client_excusing, pair_excusing, server_excusing};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The finding, the oracle that meets it, and how that fails.
type Entry = (Finding, &'static str, fn(Excused), &'static str);

const KNOWN: &[Entry] = &[
    (
        Finding::C1,
        "the heap of compressed messages that wait",
        compressed_messages_wait,
        "bytes are held",
    ),
    (
        Finding::C2,
        "pair: a message in 200 frames",
        |excused| pair_excusing(PAIR_FRAGMENTS, excused),
        "reallocations for 20000 bytes in ",
    ),
    (
        Finding::C2,
        "server: fragments of 64 bytes",
        |excused| server_excusing(&fragments(), excused),
        "reallocations for 6400 bytes",
    ),
    (
        Finding::C2,
        "client: fragments of 64 bytes",
        |excused| client_excusing(&fragments(), excused),
        "reallocations for 6400 bytes",
    ),
    (
        Finding::C15,
        "server: 64 subprotocols are offered",
        |excused| server_excusing(&subprotocols(), excused),
        "bytes are held",
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

/// The client sends in frames of 100 bytes; both are driven for 100 ms, then the client sends 20,000
/// bytes of noise.
const PAIR_FRAGMENTS: &[u8] = b"\x04\x00\x00\x00\x00\x00\x00\x0b\x64\x02\x4e\x20";

/// A hundred fragments of 64 bytes: no switches but no heartbeat, no cuts, and the steps
/// `LongFrame`.
fn fragments() -> Vec<u8> {
    let mut script = vec![0x60, 0x00, 0];
    script.extend([2, 0x02, 0, 64, b'x']);
    for _ in 0..98 {
        script.extend([2, 0x00, 0, 64, b'x']);
    }
    script.extend([2, 0x80, 0, 64, b'x']);
    script
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

/// A queue of messages of 64 KiB of zeros, up to `Full`: what it holds is what it counts, twice
/// over, and the state of the compressor.
fn compressed_messages_wait(excused: Excused) {
    let config = Config::builder().deflate(Some(DeflateConfig::DEFAULT));
    let config = Arc::new(config.build().expect("valid"));
    let answer = Extension::parse_list([&b"permessage-deflate"[..]]).expect("a list");
    let agreed = DeflateConfig::DEFAULT.accept(&answer);
    let seed = Seed::predictable_for_tests(1);
    let mut budget = Budget::new();
    let mut server = budget.run(|| {
        let server = Connection::from_upgrade(Role::Server, config, seed, Instant::ZERO);
        server.with_deflate(agreed)
    });
    // The first is longer than what is copied into the buffer, so that the others wait behind it.
    let mut noise = wspulse_tests::rng::Rng::new(1);
    let first: Vec<u8> = (0..8_000).map(|_| noise.draw() as u8).collect();
    budget.count(|| server.send(first.clone())).expect("room");
    for count in 1..=64 {
        const LENGTH: usize = 64 << 10;
        budget.count(|| server.send(vec![0; LENGTH])).expect("room");
        let slack = (count * LENGTH / 2) as u64;
        let queued = 2 * server.queue_cost() as u64;
        let slack = excused.allow(Finding::C1, slack);
        budget.set_exceptions(queued + slack + DEFLATE_STATE + INFLATE_STATE);
        budget.check();
    }
}
