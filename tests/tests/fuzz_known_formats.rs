//! Known failures that the targets of the wire formats excuse: what each input does where the
//! finding is not excused. An entry that passes fails here: then the engine does right, and the
//! excuse goes (`fuzzing::known`).

use std::panic::{self, AssertUnwindSafe};

use wspulse_tests::alloc::Counting;
use wspulse_tests::fuzzing::known::{Excused, Finding};
use wspulse_tests::fuzzing::{
    backoff_excusing, head_excusing, negotiate_excusing, refusal_excusing,
};

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

/// A request that offers 64 subprotocols of two digits: 357 bytes, and 6.4 KB held.
#[test]
fn c15_the_lists_of_a_request() {
    let offered = (0..64)
        .map(|n| (10 + n).to_string())
        .collect::<Vec<_>>()
        .join(",");
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: {offered}\r\n\r\n"
    );
    let cut_nowhere = [&b"\x00\x00"[..], request.as_bytes()].concat();
    let held = "bytes are held";
    is_known(head_excusing, &cut_nowhere, Finding::C15, held);
    let as_it_is = [&b"\x02"[..], request.as_bytes()].concat();
    is_known(refusal_excusing, &as_it_is, Finding::C15, held);
}

/// A response with 96 headers of a byte each: 513 bytes, and 6.9 KB held while they are read.
#[test]
fn c15_the_headers_of_a_response() {
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n{}\r\n",
        "a:\r\n".repeat(96)
    );
    let cut_nowhere = [&b"\x01\x00"[..], response.as_bytes()].concat();
    let held = "bytes were held at once";
    is_known(head_excusing, &cut_nowhere, Finding::C15, held);
    let as_it_is = [&b"\x03"[..], response.as_bytes()].concat();
    is_known(refusal_excusing, &as_it_is, Finding::C15, held);
}

/// 32 extensions with a parameter each: 127 bytes, and 7.7 KB held.
#[test]
fn c15_a_list_of_extensions() {
    let input = [&b"\x3f\x00\x3f\x00"[..], &b"a;b,".repeat(31), b"a;b"].concat();
    is_known(negotiate_excusing, &input, Finding::C15, "bytes are held");
}

/// The offer says 12 (bits 4 of the client's settings), the answer 15.
#[test]
fn c23_an_answer_above_the_hint() {
    is_known(
        negotiate_excusing,
        b"\x3c\x00\x3f\x00permessage-deflate; client_max_window_bits=15",
        Finding::C23,
        "an answer that fits the offer",
    );
}

/// Each is refused with 400: an empty line before the request; `Upgrade` on two lines; an absolute
/// target with `:80` beside a Host without; an empty and a repeated subprotocol.
#[test]
fn c27_legal_requests_that_are_refused() {
    for input in [
        &b"\x04\x0e"[..],
        b"\x00\x24",
        b"\x04\x02",
        b"\x00\x35",
        b"\x00\x34",
    ] {
        is_known(refusal_excusing, input, Finding::C27, "C27");
    }
}
