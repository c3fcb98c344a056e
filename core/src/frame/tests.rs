//! Tests named after an id hold a line of the list of hostile inputs that the engine answers.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test fails by panicking"
)]

use alloc::string::ToString;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::{CloseCode, Role};

const SERVER: FrameRules = FrameRules::from_peer_of(Role::Server);
const CLIENT: FrameRules = FrameRules::from_peer_of(Role::Client);
const M: [u8; 4] = [0xA1, 0xB2, 0xC3, 0xD4];

// RFC 6455 §5.7

#[test]
fn section_5_7_unmasked_text() {
    assert_frames(CLIENT, b"\x81\x05Hello", &[text(true, b"Hello")]);
}

#[test]
fn section_5_7_masked_text() {
    let wire = [
        0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
    ];
    let mut hello = text(true, b"Hello");
    hello.header = hello.header.with_mask(Some([0x37, 0xfa, 0x21, 0x3d]));
    assert_frames(SERVER, &wire, &[hello]);
}

#[test]
fn section_5_7_fragmented_text() {
    let lo = Frame::new(Opcode::Continuation, true, b"lo");
    assert_frames(CLIENT, b"\x01\x03Hel\x80\x02lo", &[text(false, b"Hel"), lo]);
}

#[test]
fn section_5_7_ping_and_masked_pong() {
    assert_frames(
        CLIENT,
        b"\x89\x05Hello",
        &[Frame::new(Opcode::Ping, true, b"Hello")],
    );
    let wire = [
        0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
    ];
    let mut pong = Frame::new(Opcode::Pong, true, b"Hello");
    pong.header = pong.header.with_mask(Some([0x37, 0xfa, 0x21, 0x3d]));
    assert_frames(SERVER, &wire, &[pong]);
}

#[test]
fn section_5_7_binary_of_256_bytes_and_of_64_kib() {
    for (head, len) in [
        (&[0x82, 0x7E, 0x01, 0x00][..], 256),
        (&[0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0], 65_536),
    ] {
        let payload = alloc::vec![7; len];
        let frame = Frame::new(Opcode::Binary, true, &payload);
        assert_frames(CLIENT, &[head, &payload].concat(), &[frame]);
    }
}

// Hostile headers

#[test]
fn f1_length_top_bit_is_refused_at_its_own_byte() {
    let with_mask = |len: [u8; 8]| [&[0x82, 0xFF][..], &len, &M].concat();
    assert_refused_at(
        2,
        SERVER,
        &with_mask([0x80, 0, 0, 0, 0, 0, 0, 1]),
        FrameError::LengthTopBit,
    );
    assert_refused_at(2, SERVER, &with_mask([0xFF; 8]), FrameError::LengthTopBit);
    let unmasked = [0x82, 0x7F, 0x80, 0, 0, 0, 0, 0, 0, 1];
    assert_refused_at(2, CLIENT, &unmasked, FrameError::LengthTopBit);
    // Fourteen bytes that made a published parser panic; the first begins a fragmented pong.
    let published = [&[0x0A][..], &[0xFF; 10], &[0xEB, 0x0E, 0x8F]].concat();
    assert_refused_at(0, SERVER, &published, FrameError::FragmentedControl);
}

#[test]
fn f2_huge_legal_lengths_are_told_from_the_header_alone() {
    for len in [(1 << 63) - 1, 1 << 32, 1 << 31, (1 << 31) - 1] {
        let wire = [&[0x82, 0xFF][..], &u64::to_be_bytes(len), &M].concat();
        let (header, taken) = FrameHeader::parse(&wire, SERVER).unwrap().unwrap();
        assert_eq!((header.payload_len(), taken), (len, 14));

        let mut decoder = FrameDecoder::new(SERVER);
        let mut input = &wire[..];
        assert_eq!(
            decoder.decode(&mut input),
            Ok(Some(FrameEvent::Header(header)))
        );
        assert_eq!(decoder.decode(&mut input), Ok(None));
        assert_eq!(
            decoder.decode(&mut &b"x"[..]).unwrap(),
            part(b"x", Some(M), false)
        );
        assert_eq!(decoder.remaining(), len - 1);
    }
}

#[test]
fn f3_reserved_bits_are_refused_at_the_first_byte() {
    for first in [0xC1, 0xA2, 0x91, 0xF1, 0xC0, 0xC9] {
        assert_refused_at(0, SERVER, &[first, 0x80], FrameError::ReservedBits);
    }
    assert_refused_at(0, SERVER, &[0xA2, 0x00], FrameError::ReservedBits);
}

#[test]
fn f4_an_agreed_bit_is_refused_on_control_frames_and_continuations() {
    let deflate = FrameRules {
        rsv: FrameHeader::RSV1,
        ..SERVER
    };
    for first in [0xC8, 0xC9, 0xCA, 0xC0, 0x40] {
        assert_refused_at(0, deflate, &[first, 0x80], FrameError::ReservedBits);
    }
    assert_refused_at(0, deflate, &[0xA1, 0x80], FrameError::ReservedBits);
    let compressed = FrameHeader::parse(&[0xC1, 0x80, 1, 2, 3, 4], deflate)
        .unwrap()
        .unwrap()
        .0;
    assert_eq!(compressed.rsv(), FrameHeader::RSV1);
    let plain = FrameHeader::parse(&[0x82, 0x82, 1, 2, 3, 4], deflate)
        .unwrap()
        .unwrap()
        .0;
    assert_eq!(plain.rsv(), 0);
}

#[test]
fn f5_reserved_opcodes_are_refused_at_the_first_byte() {
    for opcode in (3..=7).chain(0xB..=0xF) {
        for fin in [0, 0x80] {
            assert_refused_at(0, SERVER, &[fin | opcode, 0x80], FrameError::ReservedOpcode);
        }
    }
}

#[test]
fn f6_fragmented_control_frames_are_refused_at_the_first_byte() {
    for opcode in [0x08, 0x09, 0x0A] {
        assert_refused_at(0, SERVER, &[opcode, 0x80], FrameError::FragmentedControl);
    }
}

#[test]
fn f7_long_control_frames_are_refused_at_the_second_byte() {
    for first in [0x88, 0x89, 0x8A] {
        for len in [126, 127] {
            let wire = [first, 0x80 | len, 0, 0x7E];
            assert_refused_at(1, SERVER, &wire, FrameError::ControlTooLong);
        }
    }
}

#[test]
fn f8_a_frame_without_a_mask_never_surfaces_at_a_server() {
    let wire = b"\x81\x05hello\x81\x05hello";
    assert_refused_at(1, SERVER, wire, FrameError::NotMasked);
}

#[test]
fn f9_a_masked_frame_never_surfaces_at_a_client() {
    assert_refused_at(
        1,
        CLIENT,
        b"\x81\x85\x01\x02\x03\x04hello",
        FrameError::Masked,
    );
}

#[test]
fn f12_lengths_in_more_bytes_than_needed_are_refused_once_known() {
    for len in [0, 5, 125_u16] {
        let wire = [&[0x82, 0xFE][..], &len.to_be_bytes(), &M].concat();
        assert_refused_at(3, SERVER, &wire, FrameError::LengthNotMinimal);
    }
    for len in [0, 5, 126, 0xFFFF_u64] {
        let wire = [&[0x82, 0xFF][..], &len.to_be_bytes(), &M].concat();
        assert_refused_at(7, SERVER, &wire, FrameError::LengthNotMinimal);
    }
    for (head, len) in [
        (&[0x82, 0xFE, 0, 126][..], 126),
        (&[0x82, 0xFE, 255, 255], 0xFFFF),
    ] {
        let wire = [head, &M].concat();
        let (header, _) = FrameHeader::parse(&wire, SERVER).unwrap().unwrap();
        assert_eq!(header.payload_len(), len);
    }
    let wire = [&[0x82, 0xFF][..], &65_536_u64.to_be_bytes(), &M].concat();
    assert_eq!(
        FrameHeader::parse(&wire, SERVER)
            .unwrap()
            .unwrap()
            .0
            .payload_len(),
        65_536
    );
}

#[test]
fn f13_a_ping_between_fragments() {
    let frames = [
        text(false, b"Hel"),
        Frame::new(Opcode::Ping, true, b"?"),
        Frame::new(Opcode::Continuation, true, b"lo"),
    ];
    assert_frames(CLIENT, b"\x01\x03Hel\x89\x01?\x80\x02lo", &frames);
}

#[test]
fn f14_a_stream_that_ends_anywhere_ends_the_decoding() {
    let wire = [&[0x82, 0xFF][..], &65_536_u64.to_be_bytes(), &M, b"x"].concat();
    for end in 0..=wire.len() {
        let mut decoder = FrameDecoder::new(SERVER);
        let mut input = &wire[..end];
        let mut events = 0;
        while decoder.decode(&mut input).unwrap().is_some() {
            events += 1;
        }
        assert_eq!(events, end.saturating_sub(13), "cut at {end}");
        assert_eq!(decoder.decode(&mut input), Ok(None));
        assert_eq!(decoder.is_between_frames(), end == 0);
    }
}

#[test]
fn f16_empty_frames_give_one_empty_part_without_more_input() {
    for first in [0x81, 0x82, 0x89, 0x8A, 0x01, 0x80] {
        for cut in 0..6 {
            let wire = [first, 0x80, 1, 2, 3, 4];
            let mut decoder = FrameDecoder::new(SERVER);
            let (mut start, mut rest) = wire.split_at(cut);
            assert_eq!(decoder.decode(&mut start), Ok(None));
            assert!(matches!(
                decoder.decode(&mut rest),
                Ok(Some(FrameEvent::Header(_)))
            ));
            assert!(!decoder.is_between_frames());
            assert_eq!(
                decoder.decode(&mut &b""[..]).unwrap(),
                part(b"", Some([1, 2, 3, 4]), true)
            );
            assert!(decoder.is_between_frames());
            assert_eq!(decoder.decode(&mut rest), Ok(None));
        }
    }
    let empty = Frame::new(Opcode::Binary, true, b"");
    let full = Frame::new(Opcode::Binary, true, b"x");
    assert_frames(
        CLIENT,
        b"\x82\x01x\x82\x00\x82\x00\x82\x01x",
        &[full.clone(), empty.clone(), empty, full],
    );
}

#[test]
fn f17_control_frames_of_up_to_125_bytes() {
    for len in [0, 1, 124, 125] {
        let payload = alloc::vec![b'p'; len];
        let ping = Frame::new(Opcode::Ping, true, &payload);
        assert_frames(CLIENT, &ping.wire(), &[ping]);
    }
}

#[test]
fn f18_after_an_error_nothing_is_taken_and_the_error_stays() {
    let mut decoder = FrameDecoder::new(SERVER);
    let mut input = &b"\x81"[..];
    assert_eq!(decoder.decode(&mut input), Ok(None));
    let mut input = &b"\x05hello"[..];
    assert_eq!(decoder.decode(&mut input), Err(FrameError::NotMasked));
    for mut legal in [&b"\x81\x80\x01\x02\x03\x04"[..], b""] {
        let before = legal.len();
        assert_eq!(decoder.decode(&mut legal), Err(FrameError::NotMasked));
        assert_eq!(legal.len(), before);
        assert!(!decoder.is_between_frames());
    }
}

// Headers

#[test]
fn what_is_illegal_cannot_be_built() {
    assert_eq!(
        FrameHeader::new(Opcode::Ping, 126),
        Err(FrameError::ControlTooLong)
    );
    assert_eq!(
        FrameHeader::new(Opcode::Binary, 1 << 63),
        Err(FrameError::LengthTopBit)
    );
    let pong = FrameHeader::new(Opcode::Pong, 125).unwrap();
    assert_eq!(pong.with_fin(false), Err(FrameError::FragmentedControl));
    assert_eq!(
        pong.with_rsv(FrameHeader::RSV1),
        Err(FrameError::ReservedBits)
    );
    let binary = FrameHeader::new(Opcode::Binary, (1 << 63) - 1).unwrap();
    assert_eq!(binary.with_rsv(0x80), Err(FrameError::ReservedBits));
    assert_eq!(binary.with_rsv(0x70).unwrap().rsv(), 0x70);
}

#[test]
fn every_error_is_1002_with_a_section_and_a_plain_message() {
    for error in [
        FrameError::ReservedOpcode,
        FrameError::ReservedBits,
        FrameError::FragmentedControl,
        FrameError::ControlTooLong,
        FrameError::NotMasked,
        FrameError::Masked,
        FrameError::LengthTopBit,
        FrameError::LengthNotMinimal,
    ] {
        assert_eq!(error.close_code(), CloseCode::PROTOCOL_ERROR);
        assert!(error.section().starts_with("RFC 6455 §5."));
        let message = error.to_string();
        assert!(
            message.starts_with(char::is_lowercase) && !message.ends_with('.'),
            "{message}"
        );
    }
}

#[test]
fn every_pair_of_first_bytes_is_judged_as_by_the_oracle() {
    let deflate = FrameRules {
        rsv: FrameHeader::RSV1,
        ..SERVER
    };
    for rules in [SERVER, CLIENT, deflate] {
        for (first, second) in (0..=u16::MAX).map(|pair| pair.to_be_bytes().into()) {
            let pair = [first, second];
            let expected = oracle(first, second, rules);
            // Long enough to be complete, with lengths that are minimal.
            let whole = [first, second, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
            match expected {
                Err((at, error)) => assert_refused_at(at, rules, &whole, error),
                Ok(len) => {
                    let (header, taken) = FrameHeader::parse(&whole, rules).unwrap().unwrap();
                    assert_eq!((header.encoded_len(), taken), (len, len), "{pair:x?}");
                    assert_eq!(header.fin(), first >= 128);
                    assert_eq!(header.opcode().nibble(), first % 16);
                    assert_eq!(header.rsv(), first & 0b0111_0000);
                    assert_eq!(header.mask().is_some(), second >= 128);
                    let mut wire = Vec::new();
                    header.encode_into(&mut wire);
                    assert_eq!(wire, whole[..len]);
                    for cut in 0..len {
                        assert_eq!(FrameHeader::parse(&whole[..cut], rules), Ok(None));
                    }
                }
            }
        }
    }
}

/// Reads the table of RFC 6455 §5.2 aloud: the length of the header, or the byte that is wrong.
fn oracle(first: u8, second: u8, rules: FrameRules) -> Result<usize, (usize, FrameError)> {
    let bit = |byte: u8, n: u8| (byte >> (7 - n)) & 1 == 1;
    let opcode = first % 16;
    let control = opcode >= 8;
    if ![0, 1, 2, 8, 9, 10].contains(&opcode) {
        return Err((0, FrameError::ReservedOpcode));
    }
    for n in 1..=3 {
        let agreed = bit(rules.rsv, n) && (opcode == 1 || opcode == 2);
        if bit(first, n) && !agreed {
            return Err((0, FrameError::ReservedBits));
        }
    }
    if control && !bit(first, 0) {
        return Err((0, FrameError::FragmentedControl));
    }
    match (bit(second, 0), rules.masked) {
        (true, false) => return Err((1, FrameError::Masked)),
        (false, true) => return Err((1, FrameError::NotMasked)),
        _ => {}
    }
    let extended = match second % 128 {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    if control && extended > 0 {
        return Err((1, FrameError::ControlTooLong));
    }
    Ok(2 + extended + if rules.masked { 4 } else { 0 })
}

// Streams

proptest! {
    #[test]
    fn a_header_comes_back(header in any_header()) {
        let rules = FrameRules { masked: header.mask().is_some(), rsv: header.rsv() };
        let mut wire = Vec::new();
        header.encode_into(&mut wire);
        prop_assert_eq!(wire.len(), header.encoded_len());
        for cut in 0..wire.len() {
            prop_assert_eq!(FrameHeader::parse(&wire[..cut], rules), Ok(None));
        }
        wire.extend_from_slice(b"and more");
        let parsed = FrameHeader::parse(&wire, rules);
        prop_assert_eq!(parsed, Ok(Some((header, header.encoded_len()))));
    }

    #[test]
    fn any_chunking_gives_the_same_frames(
        role in prop_oneof![Just(Role::Server), Just(Role::Client)],
        frames in prop::collection::vec(any_frame(), 0..6),
        sizes in prop::collection::vec(0..40_usize, 1..12),
    ) {
        let frames: Vec<Frame> = frames.into_iter().map(|f| f.sent_to(role)).collect();
        let wire: Vec<u8> = frames.iter().flat_map(Frame::wire).collect();
        let rules = FrameRules::from_peer_of(role);
        prop_assert_eq!(decode_in_chunks(rules, &wire, &sizes), (frames.clone(), None));
        prop_assert_eq!(decode_in_chunks(rules, &wire, &[1]), (frames, None));
    }

    #[test]
    fn f15_any_bytes_cut_anywhere_give_the_same_frames_and_error(
        wire in prop::collection::vec(prop_oneof![any::<u8>(), 0x80..=0x83_u8, 0..4_u8], 0..60),
        sizes in prop::collection::vec(0..9_usize, 1..12),
    ) {
        for rules in [SERVER, CLIENT] {
            let whole = decode_in_chunks(rules, &wire, &[usize::MAX]);
            prop_assert_eq!(&decode_in_chunks(rules, &wire, &sizes), &whole);
            prop_assert_eq!(&decode_in_chunks(rules, &wire, &[1]), &whole);
        }
    }
}

fn any_opcode() -> impl Strategy<Value = Opcode> {
    (0..=0xA_u8).prop_filter_map("reserved", Opcode::from_nibble)
}

fn any_header() -> impl Strategy<Value = FrameHeader> {
    let len = prop_oneof![
        0..300_u64,
        65_000..66_000_u64,
        any::<u64>().prop_map(|len| len >> 1)
    ];
    (
        any_opcode(),
        len,
        any::<bool>(),
        any::<u8>(),
        any::<Option<[u8; 4]>>(),
    )
        .prop_map(|(opcode, len, fin, rsv, mask)| {
            let len = if opcode.is_control() { len % 126 } else { len };
            let header = FrameHeader::new(opcode, len).unwrap().with_mask(mask);
            let header = header.with_fin(fin).unwrap_or(header);
            header.with_rsv(rsv & 0x70).unwrap_or(header)
        })
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let payload = prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..30),
        1 => prop::collection::vec(any::<u8>(), 120..300),
    ];
    (any_opcode(), any::<bool>(), payload, any::<[u8; 4]>()).prop_map(
        |(opcode, fin, mut payload, mask)| {
            if opcode.is_control() {
                payload.truncate(125);
            }
            let mut frame = Frame::new(opcode, fin || opcode.is_control(), &payload);
            frame.header = frame.header.with_mask(Some(mask));
            frame
        },
    )
}

/// A frame with its payload unmasked, which is what every chunking must agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Frame {
    header: FrameHeader,
    payload: Vec<u8>,
    ended: bool,
}

impl Frame {
    fn new(opcode: Opcode, fin: bool, payload: &[u8]) -> Self {
        let header = FrameHeader::new(opcode, payload.len() as u64).unwrap();
        Self {
            header: header.with_fin(fin).unwrap(),
            payload: payload.to_vec(),
            ended: true,
        }
    }

    fn sent_to(mut self, role: Role) -> Self {
        if role == Role::Client {
            self.header = self.header.with_mask(None);
        }
        self
    }

    fn wire(&self) -> Vec<u8> {
        let mut wire = Vec::new();
        self.header.encode_into(&mut wire);
        let mask = self.header.mask().unwrap_or_default();
        wire.extend(
            self.payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, key)| byte ^ key),
        );
        wire
    }
}

fn text(fin: bool, payload: &[u8]) -> Frame {
    Frame::new(Opcode::Text, fin, payload)
}

fn part(data: &[u8], mask: Option<[u8; 4]>, end: bool) -> Option<FrameEvent<'_>> {
    Some(FrameEvent::Payload(PayloadPart { data, mask, end }))
}

/// Decodes `wire` cut into pieces of these sizes, over and over; also checks the order of events.
fn decode_in_chunks(
    rules: FrameRules,
    wire: &[u8],
    sizes: &[usize],
) -> (Vec<Frame>, Option<FrameError>) {
    let mut decoder = FrameDecoder::new(rules);
    let mut frames: Vec<Frame> = Vec::new();
    let mut rest = wire;
    // Two empty pieces in a row would make no headway.
    for size in sizes.iter().flat_map(|&size| [size, 1]).cycle() {
        let (mut input, after) = rest.split_at(size.min(rest.len()));
        rest = after;
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(FrameEvent::Header(header))) => {
                    assert!(frames.last().is_none_or(|frame| frame.ended));
                    frames.push(Frame {
                        header,
                        payload: Vec::new(),
                        ended: false,
                    });
                }
                Ok(Some(FrameEvent::Payload(part))) => {
                    let frame = frames.last_mut().unwrap();
                    assert!(!frame.ended);
                    assert_eq!(part.mask.is_some(), rules.masked);
                    assert_eq!(part.data.is_empty(), frame.header.payload_len() == 0);
                    mask::extend(&mut frame.payload, part.data, part.mask.unwrap_or_default());
                    frame.ended = part.end;
                    let have = frame.payload.len() as u64;
                    assert_eq!(decoder.remaining(), frame.header.payload_len() - have);
                    assert_eq!(part.end, decoder.remaining() == 0);
                }
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(input.is_empty());
        if rest.is_empty() {
            break;
        }
    }
    (frames, None)
}

fn assert_frames(rules: FrameRules, wire: &[u8], expected: &[Frame]) {
    let expected = (expected.to_vec(), None);
    for size in [1, 2, 3, 7, usize::MAX] {
        assert_eq!(
            decode_in_chunks(rules, wire, &[size]),
            expected,
            "in pieces of {size}"
        );
    }
    for frame in expected.0 {
        let wire = frame.wire();
        assert_eq!(
            decode_in_chunks(rules, &wire, &[1]),
            (alloc::vec![frame], None)
        );
    }
}

/// Asserts that byte `at` of `wire`, and none before it, is refused, whatever follows.
fn assert_refused_at(at: usize, rules: FrameRules, wire: &[u8], error: FrameError) {
    for end in 0..=wire.len() {
        let expected = if end > at { Err(error) } else { Ok(None) };
        assert_eq!(
            FrameHeader::parse(&wire[..end], rules),
            expected,
            "{:x?}",
            &wire[..end]
        );
    }
    let mut decoder = FrameDecoder::new(rules);
    for (index, byte) in wire.iter().enumerate() {
        let expected = if index >= at { Err(error) } else { Ok(None) };
        assert_eq!(
            decoder.decode(&mut &[*byte][..]),
            expected,
            "{wire:x?} at {index}"
        );
    }
    assert_eq!(FrameDecoder::new(rules).decode(&mut &*wire), Err(error));
}
