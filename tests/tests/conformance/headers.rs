//! Every pair of first bytes, in every state, for both roles, with every length that has a
//! neighbour of another kind.

use std::sync::Arc;

use wspulse_core::{Config, Role};
use wspulse_tests::wire::{Frame, frame, opcode};

use crate::judged::{Cut, Judged, limited};

/// What came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    BetweenMessages,
    InsideText,
    InsideCharacter,
    InsideBinary,
    WeClosed,
    WeClosedInsideText,
    /// The peer's Close frame came, and its answer has not left.
    PeerClosed,
    PeerClosedAndAnswered,
}

const ROLES: [Role; 2] = [Role::Server, Role::Client];

/// Above 65,536, so that no limit hides the longer forms.
const LIMIT: u64 = 66_000;

/// Lengths that come in two bytes, or in eight.
const LENGTHS: [u64; 12] = [
    0,
    125,
    126,
    127,
    65_535,
    65_536,
    LIMIT,
    LIMIT + 1,
    1 << 31,
    1 << 32,
    (1 << 63) - 1,
    1 << 63,
];

/// The first bytes of data frames: fragments, then last or only ones.
const DATA: [u8; 6] = [0x00, 0x01, 0x02, 0x80, 0x81, 0x82];

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// One header, in one state.
#[derive(Debug)]
struct Case<'a> {
    role: Role,
    state: State,
    header: &'a [u8],
    payload_len: usize,
}

impl Case<'_> {
    fn judge(&self, config: &Arc<Config>, limit: u64, payload: &[u8]) {
        for cut in [Cut::Whole, Cut::Bytes] {
            let mut judged = Judged::new(self.role, config, limit);
            self.state.reach(self.role, &mut judged);
            judged.feed_cut(self.header, cut);
            judged.feed_cut(payload, cut);
            judged.conclude(&(self, cut));
        }
    }
}

impl State {
    const ALL: [Self; 8] = [
        Self::BetweenMessages,
        Self::InsideText,
        Self::InsideCharacter,
        Self::InsideBinary,
        Self::WeClosed,
        Self::WeClosedInsideText,
        Self::PeerClosed,
        Self::PeerClosedAndAnswered,
    ];

    fn reach(self, role: Role, judged: &mut Judged) {
        let part = |opcode, payload: &[u8]| {
            let frame = Frame::new(opcode, payload).unfinished();
            frame.from(role.peer()).encode()
        };
        let close = Frame::close(1001, "bye").from(role.peer()).encode();
        match self {
            Self::BetweenMessages => judged.feed(&frame(role.peer(), opcode::TEXT, b"hi")),
            Self::InsideText => judged.feed(&part(opcode::TEXT, b"a")),
            Self::InsideCharacter => judged.feed(&part(opcode::TEXT, b"\xE2\x82")),
            Self::InsideBinary => judged.feed(&part(opcode::BINARY, b"\xE2\x82")),
            Self::WeClosed => judged.close(),
            Self::WeClosedInsideText => {
                judged.feed(&part(opcode::TEXT, b"a"));
                judged.close();
            }
            Self::PeerClosed => judged.feed(&close),
            Self::PeerClosedAndAnswered => {
                judged.feed(&close);
                judged.write();
            }
        }
    }
}

/// Calls `then` with every header that begins with `first`, and the length it announces.
fn each_header(first: u8, lengths: &[u64], mut then: impl FnMut(&[u8], u64)) {
    for second in 0..=u8::MAX {
        let fields: Vec<Vec<u8>> = match second & 0x7F {
            126 => {
                let fit = lengths.iter().filter_map(|&len| u16::try_from(len).ok());
                fit.map(|len| len.to_be_bytes().to_vec()).collect()
            }
            127 => lengths
                .iter()
                .map(|len| len.to_be_bytes().to_vec())
                .collect(),
            _ => vec![Vec::new()],
        };
        for field in fields {
            let len = match &field[..] {
                [] => u64::from(second & 0x7F),
                field => field
                    .iter()
                    .fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
            };
            let mut header = [&[first, second], &field[..]].concat();
            if second >= 0x80 {
                header.extend_from_slice(&KEY);
            }
            then(&header, len);
        }
    }
}

/// Payloads that tell the opcodes apart: good for each of them, and bad for some.
fn payloads(header: &[u8], len: usize) -> Vec<Vec<u8>> {
    let starts: &[&[u8]] = match header[0] & 0x0F {
        8 => &[b"\x03\xE8", b"\x03\xED", b"\x13\x88", b"\x03\xF6\xC3\x28"],
        // Whole characters, or the end of one and whole ones behind it.
        _ if len <= 1_000 => &[b"", b"\xAC", b"\xFF"],
        _ => &[b"\xAC"],
    };
    starts
        .iter()
        .map(|start| {
            let mut payload = start.to_vec();
            payload.resize(len, b'a');
            if header[1] >= 0x80 {
                let key = KEY.iter().cycle();
                payload
                    .iter_mut()
                    .zip(key)
                    .for_each(|(byte, key)| *byte ^= key);
            }
            payload
        })
        .collect()
}

fn judge_all(
    state: State,
    firsts: impl Iterator<Item = u8> + Clone,
    limit: u64,
    lengths: &[u64],
) -> usize {
    let config = Arc::new(limited(limit).build().expect("valid"));
    let mut count = 0;
    for role in ROLES {
        for first in firsts.clone() {
            each_header(first, lengths, |header, len| {
                let is_masked = header[1] >= 0x80;
                // What follows a header that is refused at once is not worth a loop.
                let may_be_taken = first & 0x70 == 0 && is_masked == (role == Role::Server);
                let payload_len = if may_be_taken && len <= limit { len } else { 0 };
                let case = Case {
                    role,
                    state,
                    header,
                    payload_len: usize::try_from(payload_len).expect("small"),
                };
                let payloads = payloads(header, case.payload_len);
                let all = if case.payload_len == 0 {
                    &payloads[..1]
                } else {
                    &payloads
                };
                for payload in all {
                    case.judge(&config, limit, &payload[..case.payload_len]);
                }
                count += 1;
            });
        }
    }
    count
}

/// The 65,536 pairs; behind those that say so, a length in two bytes or in eight.
fn every_header(state: State) {
    let count = judge_all(state, 0..=u8::MAX, LIMIT, &LENGTHS);
    assert_eq!(count, 2 * 256 * 2 * (126 + 5 + 12));
}

#[test]
fn every_header_between_messages() {
    every_header(State::BetweenMessages);
}

#[test]
fn every_header_inside_a_text_message() {
    every_header(State::InsideText);
}

#[test]
fn every_header_inside_a_binary_message() {
    every_header(State::InsideBinary);
}

#[test]
fn every_header_after_we_sent_close() {
    every_header(State::WeClosed);
}

#[test]
fn every_header_after_the_peers_close() {
    every_header(State::PeerClosedAndAnswered);
}

/// The states beside those, for the first bytes that are legal in one state or another.
#[test]
fn every_legal_header_in_states_between() {
    for state in [
        State::InsideCharacter,
        State::WeClosedInsideText,
        State::PeerClosed,
    ] {
        let control = [0x88, 0x89, 0x8A];
        judge_all(state, DATA.into_iter().chain(control), LIMIT, &LENGTHS);
    }
}

/// Where the limit itself has a length of one byte, or of two.
#[test]
fn every_header_around_a_low_limit() {
    for limit in [1, 125, 126, 65_535] {
        for state in State::ALL {
            judge_all(
                state,
                DATA.into_iter(),
                limit,
                &[limit - 1, limit, limit + 1],
            );
        }
    }
}
