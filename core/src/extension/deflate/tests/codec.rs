//! Compressing and inflating (RFC 7692 §7.2).

#![expect(
    clippy::arithmetic_side_effects,
    reason = "a test that trips has failed, which is its purpose"
)]

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::convert::Infallible;

use proptest::prelude::*;

use super::naive;
use crate::Role;
use crate::extension::Extension;
use crate::extension::deflate::deflater::{Deflater, stored};
use crate::extension::deflate::{Codec, DeflateConfig, DeflateParams, InflateFault};

/// One that compresses everything, whatever its length.
const CONFIG: DeflateConfig = DeflateConfig::DEFAULT.threshold(0).window_bits(15);

const ROOM: u64 = 1 << 24;

fn codec() -> Codec {
    Codec::new(&CONFIG, DeflateParams::default(), Role::Client).unwrap()
}

/// Both ends of a connection whose answer had these parameters.
fn pair(config: DeflateConfig, answer: &str) -> (Codec, Codec) {
    let answer = format!("permessage-deflate{answer}");
    let answer = Extension::parse_list([answer.as_bytes()]).unwrap();
    let params = CONFIG.confirm(&answer[0]).unwrap();
    (
        Codec::new(&config, params, Role::Client).unwrap(),
        Codec::new(&config, params, Role::Server).unwrap(),
    )
}

/// Inflates a message that comes in these pieces.
fn inflate(
    codec: &mut Codec,
    pieces: &[&[u8]],
    room: u64,
) -> Result<Vec<u8>, InflateFault<Infallible>> {
    let mut output = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let last = at + 1 == pieces.len();
        let left = room - u64::try_from(output.len()).unwrap();
        codec.inflate(piece, None, last, left, &mut |block| {
            output.extend_from_slice(block);
            Ok(())
        })?;
    }
    Ok(output)
}

#[track_caller]
fn assert_inflates(codec: &mut Codec, compressed: &[u8], expected: &[u8]) {
    assert_eq!(inflate(codec, &[compressed], ROOM), Ok(expected.into()));
}

#[track_caller]
fn assert_invalid(compressed: &[u8]) {
    let inflated = inflate(&mut codec(), &[compressed], ROOM);
    assert_eq!(inflated, Err(InflateFault::Data), "{compressed:02x?}");
}

/// `f2 48 cd c9 c9 07 00`: "Hello" in one block (RFC 7692 §7.2.3.1).
const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

#[test]
fn rfc_7692_section_7_2_3_1_one_block() {
    assert_inflates(&mut codec(), &HELLO, b"Hello");
    for cut in 0..=HELLO.len() {
        let (first, second) = HELLO.split_at(cut);
        let inflated = inflate(&mut codec(), &[first, second], ROOM);
        assert_eq!(inflated, Ok(b"Hello".into()), "{cut}");
    }
    let bytes: Vec<&[u8]> = HELLO.chunks(1).collect();
    assert_eq!(inflate(&mut codec(), &bytes, ROOM), Ok(b"Hello".into()));
    assert_eq!(
        codec().deflate(b"Hello", true, true).as_deref(),
        Some(&HELLO[..])
    );
}

#[test]
fn rfc_7692_section_7_2_3_2_sharing_the_window() {
    let again = [0xf2, 0x00, 0x11, 0x00, 0x00];
    let mut receiver = codec();
    assert_inflates(&mut receiver, &HELLO, b"Hello");
    assert_inflates(&mut receiver, &again, b"Hello");
    // Without a window to share it refers to nothing.
    assert_invalid(&again);
    let (_, mut server) = pair(CONFIG, "; client_no_context_takeover");
    assert_inflates(&mut server, &HELLO, b"Hello");
    assert_eq!(
        inflate(&mut server, &[&again], ROOM),
        Err(InflateFault::Data)
    );
    // What we make of it is one byte longer or shorter, and refers back too.
    let mut sender = codec();
    let first = sender.deflate(b"Hello Hello Hello", true, true).unwrap();
    let second = sender.deflate(b"Hello Hello Hello", true, true).unwrap();
    assert!(second.len() < first.len(), "{first:02x?} {second:02x?}");
}

#[test]
fn rfc_7692_section_7_2_3_3_no_compression() {
    let block = [
        0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
    ];
    assert_inflates(&mut codec(), &block, b"Hello");
    assert_eq!(stored(b"Hello", true), block);
    assert_eq!(stored(b"", true), [0]);
    let long: Vec<u8> = (0..200_000u32).map(|at| at.to_le_bytes()[0]).collect();
    assert_inflates(&mut codec(), &stored(&long, true), &long);
    let parts = [
        &*stored(&long, false),
        &stored(b"Hello", false),
        &stored(b"", true),
    ]
    .concat();
    assert_inflates(&mut codec(), &parts, &[&*long, b"Hello"].concat());
}

#[test]
fn rfc_7692_section_7_2_3_4_bfinal_set() {
    let block = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    let mut receiver = codec();
    assert_inflates(&mut receiver, &block, b"Hello");
    // The next message is read, be it with or without that bit.
    assert_inflates(&mut receiver, &HELLO, b"Hello");
    assert_inflates(&mut receiver, &block, b"Hello");
    // In the middle of a message, cut anywhere.
    let twice = [&block[..7], &HELLO[..]].concat();
    for cut in 0..=twice.len() {
        let (first, second) = twice.split_at(cut);
        let inflated = inflate(&mut codec(), &[first, second], ROOM);
        assert_eq!(inflated, Ok(b"HelloHello".into()), "{cut}");
    }
    // The octet that begins the empty block is missing.
    assert_invalid(&block[..7]);
}

#[test]
fn rfc_7692_section_7_2_3_5_two_blocks() {
    let blocks = [
        0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
    ];
    assert_inflates(&mut codec(), &blocks, b"Hello");
}

#[test]
fn rfc_7692_section_7_2_3_6_empty() {
    let mut receiver = codec();
    assert_inflates(&mut receiver, &[0x00], b"");
    assert_inflates(&mut receiver, &HELLO, b"Hello");
    let flushed = [
        0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00, 0x00, 0xff, 0xff,
    ];
    let inflated = inflate(&mut receiver, &[&flushed, &[0x00]], ROOM);
    assert_eq!(inflated, Ok(b"Hello".into()));
    // And we send the same.
    let mut sender = codec();
    for _ in 0..3 {
        let empty = sender.deflate(b"", true, true).unwrap();
        assert_eq!(empty, [0x00]);
    }
    assert_eq!(sender.deflate(b"Hello", true, false).unwrap(), flushed);
    assert_eq!(sender.deflate(b"", false, true).unwrap(), [0x00]);
}

#[test]
fn d5_garbage_is_invalid() {
    assert_invalid(&[0x06]); // the reserved block type
    assert_invalid(&[0xff; 64]);
    assert_invalid(&[0x00, 0x05, 0x00, 0xfa, 0xfe, 0x48]); // the length's complement is none
    assert_invalid(&[0x02, 0x00, 0x11, 0x00, 0x00]); // refers to before the beginning
    // A mistake stays where it is: nothing is taken after it, and nothing is asked twice.
    let mut receiver = codec();
    assert!(inflate(&mut receiver, &[&[0x06]], ROOM).is_err());
    assert!(inflate(&mut receiver, &[&HELLO], ROOM).is_err());
}

#[test]
fn d6_messages_that_end_inside_a_block_are_invalid() {
    let text = b"the quick brown fox jumps over the lazy dog, and the lazy dog jumps too".repeat(3);
    for level in [1, 6, 9] {
        let config = CONFIG.level(level);
        let params = DeflateParams::default();
        let message = Codec::new(&config, params, Role::Server)
            .unwrap()
            .deflate(&text, true, true);
        let message = message.unwrap();
        assert_inflates(&mut codec(), &message, &text);
        for cut in 1..message.len() {
            assert_invalid(&message[..cut]);
        }
        // The tail is not to be sent along.
        assert_invalid(&[&message[..], &[0x00, 0x00, 0xff, 0xff]].concat());
    }
    for cut in 1..HELLO.len() {
        assert_invalid(&HELLO[..cut]);
    }
}

/// Z1: the tail is the rest of an empty block. It makes no output, and a block ends with its last
/// bit.
#[test]
fn rfc_7692_section_7_2_2_the_tail_inflates_to_nothing() {
    // Cut inside a block of dynamic codes: the tail comes to output and to the end of the block.
    assert_invalid(CUT_INSIDE_A_BLOCK);
    // Cut inside a stored block of four bytes: they would be those of the tail.
    assert_invalid(&[0x00, 0x04, 0x00, 0xfb, 0xff]);
    // The same behind text, and with the last octets of the content there.
    for there in 0..4 {
        let block = [
            &HELLO[..6],
            &[0x00, 0x04, 0x00, 0xfb, 0xff],
            &b"abcd"[..there],
        ]
        .concat();
        assert_invalid(&block);
    }
    // A block that is final and empty is one all the same, and the next message is read.
    let mut receiver = codec();
    assert_inflates(&mut receiver, &[0x01], b"");
    assert_inflates(&mut receiver, &HELLO, b"Hello");
}

const CUT_INSIDE_A_BLOCK: &[u8] = b"\x04\xc1\x0b\x02@ \x10@\xc1\xab\xbc\x03\xb8T\xb4\x15\xd2\xa6\
    \x0f\xea\xf4fZ\x10\xee\xbeo'k\xd17\xe1\xc0\xaa_0\xc9\xd2\x82\x10\xf4\xe3\xe8W\xae\xe8#\x85\x16\
    \x84h\xe6\xc0\xaa_0\xc9\xd2\x82\x10\xcd\x1cX";

/// I1: an empty message that follows a flush may have no payload at all.
#[test]
fn i1_a_message_without_a_byte_of_payload_is_empty() {
    for answer in ["", "; client_no_context_takeover"] {
        let (_, mut server) = pair(CONFIG, answer);
        assert_inflates(&mut server, b"", b"");
        assert_inflates(&mut server, &HELLO, b"Hello");
        server.set_inflating(true);
        assert_eq!(inflate(&mut server, &[b"", b""], ROOM), Ok(Vec::new()));
        assert_inflates(&mut server, &HELLO, b"Hello");
    }
    // A byte that came before counts.
    let inflated = inflate(&mut codec(), &[&HELLO[..3], b""], ROOM);
    assert_eq!(inflated, Err(InflateFault::Data));
}

#[test]
fn d1_d2_a_bomb_costs_no_more_than_the_limit() {
    let zeros = vec![0; 10 << 20];
    let sender = CONFIG.level(9);
    let mut sender = Codec::new(&sender, DeflateParams::default(), Role::Server).unwrap();
    let bomb = sender.deflate(&zeros, true, true).unwrap();
    assert!(bomb.len() < zeros.len() / 900, "{}", bomb.len());
    let limit = 1 << 20;
    for piece in [1, 100, bomb.len()] {
        let mut receiver = codec();
        let mut seen = 0;
        let outcome = bomb.chunks(piece).try_for_each(|data| {
            let room = limit - u64::try_from(seen).unwrap();
            receiver.inflate(data, None, false, room, &mut |block| {
                assert!(block.len() <= 4096);
                seen += block.len();
                Ok::<(), Infallible>(())
            })
        });
        assert_eq!(outcome, Err(InflateFault::Limit), "{piece}");
        assert!(seen <= 1 << 20, "{piece}: {seen}");
    }
    // Exactly the limit passes, and one byte more does not.
    for (room, fits) in [(10 << 20, true), ((10 << 20) - 1, false), (0, false)] {
        let inflated = inflate(&mut codec(), &[&bomb], room);
        assert_eq!(inflated.is_ok(), fits, "{room}");
    }
    assert_eq!(inflate(&mut codec(), &[&[0x00]], 0), Ok(Vec::new()));
}

#[test]
fn what_the_sink_says_comes_back() {
    let refused = codec().inflate(&HELLO, None, true, ROOM, &mut |_| Err("no"));
    assert_eq!(refused, Err(InflateFault::Sink("no")));
}

#[test]
fn masked_payload_is_unmasked_in_blocks() {
    let text: Vec<u8> = (0..100_000u32)
        .flat_map(|at| at.wrapping_mul(at).to_le_bytes())
        .collect();
    let key = [1, 2, 3, 4];
    let mut message = codec().deflate(&text, true, true).unwrap();
    assert!(message.len() > 10_000);
    crate::frame::mask::apply(&mut message, key);
    let mut output = Vec::new();
    let mut sink = |block: &[u8]| {
        output.extend_from_slice(block);
        Ok::<(), Infallible>(())
    };
    codec()
        .inflate(&message, Some(key), true, ROOM, &mut sink)
        .unwrap();
    assert!(output == text);
}

#[test]
fn short_messages_and_those_that_do_not_shrink_go_as_they_are() {
    let config = CONFIG.threshold(10);
    let random: Vec<u8> = (0..64u8)
        .map(|at| at.wrapping_mul(167) ^ (at >> 1))
        .collect();
    let (mut client, mut server) = pair(config, "");
    assert_eq!(client.deflate(b"123456789", true, true), None);
    // With context takeover the compressor has seen it, and so the peer must.
    let expanded = client.deflate(&random, true, true).unwrap();
    assert!(expanded.len() >= random.len());
    assert_inflates(&mut server, &expanded, &random);
    let again = client.deflate(&random, true, true).unwrap();
    assert!(again.len() < 10, "it refers to the one before");
    assert_inflates(&mut server, &again, &random);

    let (mut client, mut server) = pair(config, "; client_no_context_takeover");
    assert_eq!(client.deflate(&random, true, true), None);
    assert_eq!(
        client.deflate(&random, true, true),
        None,
        "nothing to refer to"
    );
    let zeros = client.deflate(&[0; 100], true, true).unwrap();
    assert_inflates(&mut server, &zeros, &[0; 100]);
    // Parts are compressed whatever they are: what follows is not known.
    for (at, part) in [&b"1"[..], &random, b""].into_iter().enumerate() {
        let sent = client.deflate(part, at == 0, at == 2);
        assert!(sent.is_some());
    }
    assert_eq!(client.deflate(b"1", true, true), None);
}

#[test]
fn memory_is_there_while_it_is_needed() {
    let held = |codec: &Codec| {
        let shown = format!("{codec:?}");
        ["inflater", "deflater"].map(|name| !shown.contains(&format!("{name}: None")))
    };
    let (mut client, mut server) = pair(CONFIG, "");
    assert_eq!(held(&client), [false, false]);
    let message = client.deflate(b"Hello", true, true).unwrap();
    assert_eq!(held(&client), [false, true]);
    client.release();
    assert_eq!(held(&client), [false, true], "the context is");
    assert_inflates(&mut server, &message, b"Hello");
    assert_eq!(held(&server), [true, false]);

    let (mut client, mut server) = pair(CONFIG, "; client_no_context_takeover");
    let message = client.deflate(&[7; 100], true, true).unwrap();
    client.release();
    assert_eq!(held(&client), [false, false]);
    assert_inflates(&mut server, &message, &[7; 100]);
    assert_eq!(held(&server), [false, false]);
    client.deflate(b"Hello", true, false).unwrap();
    client.release();
    assert_eq!(held(&client), [false, true], "a message is under way");
}

#[test]
fn rfc_7692_section_7_1_2_nothing_refers_further_back_than_was_agreed() {
    let data = words();
    for bits in 8..=15 {
        for level in 1..=9 {
            let mut deflater = Deflater::new(level, bits);
            let mut inflated = Vec::new();
            let mut farthest = 0;
            for part in data.chunks(33_333) {
                let message = deflater.compress(part, true).unwrap();
                farthest = farthest.max(naive::inflate(&message, &mut inflated));
            }
            assert!(inflated == data, "{bits} {level}");
            // For the smallest there is no window, only runs.
            let most = if bits == 8 { 1 } else { 1 << bits };
            assert!(farthest <= most, "{bits} {level}: {farthest}");
        }
    }
}

#[test]
fn rfc_7692_section_7_1_2_each_side_keeps_to_its_own_window() {
    let data = words();
    let answer = "; server_max_window_bits=10; client_max_window_bits=11";
    let (client, server) = pair(CONFIG.level(9), answer);
    let (narrow, _) = pair(CONFIG.level(9).window_bits(9), answer);
    for (mut codec, bits) in [(client, 11), (server, 10), (narrow, 9)] {
        let message = codec.deflate(&data, true, true).unwrap();
        let farthest = naive::inflate(&message, &mut Vec::new());
        assert!(farthest <= 1 << bits, "{bits}: {farthest}");
        // Of each window the compressor leaves 262 bytes unused.
        assert!(farthest > (1 << bits) - 300, "{bits}: {farthest} is timid");
    }
}

/// Words that come again after every distance there is.
fn words() -> Vec<u8> {
    let mut data = Vec::new();
    let mut state = 1u32;
    while data.len() < 100_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let word = (state >> 16) % 1000;
        data.extend_from_slice(format!("word{word} ").as_bytes());
    }
    data
}

/// Messages as they come: text with repetitions, runs, and noise.
fn data() -> impl Strategy<Value = Vec<u8>> {
    let run = (any::<u8>(), 0..9000usize).prop_map(|(byte, count)| vec![byte; count]);
    let words = proptest::collection::vec("[ab]{1,3}(cde|fgh){0,9}", 0..300);
    let words = words.prop_map(|words| words.join(" ").into_bytes());
    let noise = proptest::collection::vec(any::<u8>(), 0..3000);
    let piece = prop_oneof![run, words, noise];
    proptest::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

/// Cuts data in pieces of random lengths.
fn cut(data: &[u8], lengths: &[usize]) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    let mut rest = data;
    for length in lengths {
        let (piece, after) = rest.split_at((*length).min(rest.len()));
        pieces.push(piece.to_vec());
        rest = after;
    }
    pieces.push(rest.to_vec());
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn rfc_7692_section_7_2_round_trip(
        messages in proptest::collection::vec(data(), 1..5),
        parts in proptest::collection::vec(0..5000usize, 0..4),
        pieces in proptest::collection::vec(0..700usize, 0..9),
        bits in 8..=15u8,
        level in 1..=9u8,
        takeover: bool,
        threshold in prop_oneof![Just(0), 0..2000usize],
    ) {
        let no_takeover = if takeover { "" } else { "; client_no_context_takeover" };
        let config = CONFIG.level(level).threshold(threshold);
        let answer = format!("; client_max_window_bits={bits}{no_takeover}");
        let (mut client, mut server) = pair(config, &answer);
        for message in &messages {
            let parts = cut(message, &parts);
            let mut payload = Vec::new();
            let mut compressed = None;
            for (at, part) in parts.iter().enumerate() {
                let last = at + 1 == parts.len();
                let sent = client.deflate(part, at == 0, last);
                prop_assert_eq!(compressed.get_or_insert(sent.is_some()), &sent.is_some());
                payload.extend(sent.unwrap_or_default());
            }
            if compressed == Some(true) {
                let pieces = cut(&payload, &pieces);
                let pieces: Vec<&[u8]> = pieces.iter().map(|piece| &**piece).collect();
                let inflated = inflate(&mut server, &pieces, ROOM);
                prop_assert!(inflated.as_deref() == Ok(message));
            } else {
                prop_assert!(message.len() < threshold || !takeover);
            }
            client.release();
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(
        data in proptest::collection::vec(any::<u8>(), 0..600),
        pieces in proptest::collection::vec(0..50usize, 0..9),
        room in prop_oneof![Just(0), 0..5000u64, Just(ROOM)],
    ) {
        let pieces = cut(&data, &pieces);
        let pieces: Vec<&[u8]> = pieces.iter().map(|piece| &**piece).collect();
        let in_pieces = inflate(&mut codec(), &pieces, room);
        if let Ok(output) = &in_pieces {
            prop_assert!(u64::try_from(output.len()).unwrap() <= room);
        }
        prop_assert_eq!(in_pieces, inflate(&mut codec(), &[&data], room));
    }
}

#[test]
fn debug_shows_no_data() {
    let mut sender = codec();
    sender.deflate(b"secret", true, true).unwrap();
    let shown = format!("{sender:?}");
    assert!(!shown.contains("secret"), "{shown}");
}
