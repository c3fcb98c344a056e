//! What comes from a peer (RFC 7692 §6.2, §7.2.2).

use super::*;
use proptest::prelude::*;
use wspulse_core::{ApplicationHeartbeat, Delivery, ProtocolError};
use wspulse_tests::meter::Meter;

fn parts() -> Arc<Config> {
    config(|builder| builder.delivery(Delivery::Parts))
}

/// Both ways of delivery, at both ends.
fn all_kinds() -> Vec<Connection> {
    let mut kinds = Vec::new();
    for role in [Role::Client, Role::Server] {
        for config in [config(|builder| builder), parts()] {
            kinds.push(open(role, &config));
        }
    }
    kinds
}

#[test]
fn rfc_7692_section_7_2_3_examples() {
    let hello = || Ok("Hello".to_owned());
    for mut connection in all_kinds() {
        let peer = connection.role().peer();
        let mut feed = |first: u8, payload: &[u8]| {
            let wire = frame(peer, first, payload);
            feed(&mut connection, NOW, &wire)
        };
        // §7.2.3.1: in one frame, and in two.
        assert_eq!(messages(feed(FIN | COMPRESSED | TEXT, &HELLO)), [hello()]);
        let mut fragments = feed(COMPRESSED | TEXT, &HELLO[..3]);
        fragments.extend(feed(FIN, &HELLO[3..]));
        assert_eq!(messages(fragments), [hello()]);
        // §7.2.3.2: it refers to the message before.
        let again = [0xf2, 0x00, 0x11, 0x00, 0x00];
        assert_eq!(messages(feed(FIN | COMPRESSED | TEXT, &again)), [hello()]);
        // §6.2: one that is not compressed stays out of the context.
        assert_eq!(messages(feed(FIN | TEXT, b"other")), [Ok("other".into())]);
        assert_eq!(messages(feed(FIN | COMPRESSED | TEXT, &again)), [hello()]);
        // §7.2.3.3 and §7.2.3.5
        let stored = [
            0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
        ];
        assert_eq!(messages(feed(FIN | COMPRESSED | TEXT, &stored)), [hello()]);
        let two = [
            0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
        ];
        assert_eq!(messages(feed(FIN | COMPRESSED | TEXT, &two)), [hello()]);
        // §7.2.3.4
        let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
        assert_eq!(messages(feed(FIN | COMPRESSED | TEXT, &last)), [hello()]);
        // §7.2.3.6: the end of a message that was flushed.
        let flushed = [&HELLO[..], &[0x00, 0x00, 0xff, 0xff]].concat();
        let mut fragments = feed(COMPRESSED | TEXT, &flushed);
        fragments.extend(feed(FIN, &[0x00]));
        assert_eq!(messages(fragments), [hello()]);
        // An empty one, and one whose frames are empty but for one.
        assert_eq!(
            messages(feed(FIN | COMPRESSED | TEXT, &[0x00])),
            [Ok("".into())]
        );
        let mut fragments = feed(COMPRESSED | BINARY, b"");
        fragments.extend(feed(0, b""));
        fragments.extend(feed(0, &HELLO));
        fragments.extend(feed(FIN, b""));
        assert_eq!(messages(fragments), [Err(Bytes::from("Hello"))]);
    }
}

/// Decided: RFC 7692 §7.2.1 has the sender remove the last four octets of the empty block that ends
/// a message, so a message that still has them is invalid. zlib takes it, and waits for more.
#[test]
fn rfc_7692_section_7_2_1_the_tail_is_not_sent_along() {
    is_invalid(&[&HELLO[..], &[0x00, 0x00, 0xff, 0xff]].concat());
}

/// Decided: a final block, and any other without an empty stored block after it, needs the octet
/// 0x00 that RFC 7692 §7.2.3.4 appends, so a message without it is invalid. zlib takes it.
#[test]
fn rfc_7692_section_7_2_3_4_the_octet_after_a_final_block_is_needed() {
    // "Hello" in a final block, and as Z_PARTIAL_FLUSH leaves it.
    is_invalid(&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
    is_invalid(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x08]);
}

/// Z1, RFC 7692 §7.2.2: the four octets that are appended are the rest of an empty block. A message
/// that was cut inside a block has no such rest, also where they would fit into that block.
#[test]
fn rfc_7692_section_7_2_2_a_message_that_is_cut_inside_a_block() {
    // A stored block that announces four octets and has none of them: they would be those.
    is_invalid(&[0x00, 0x04, 0x00, 0xfb, 0xff]);
    is_invalid(b"\x04\xc1\x0b\x02@ \x10@\xc1\xab\xbc\x03\xb8T\xb4\x15\xd2\xa6\x0f\xea\xf4fZ\x10\xee\
        \xbeo'k\xd17\xe1\xc0\xaa_0\xc9\xd2\x82\x10\xf4\xe3\xe8W\xae\xe8#\x85\x16\x84h\xe6\xc0\xaa_0\xc9\
        \xd2\x82\x10\xcd\x1cX");
}

/// I1: a compressed message without a single octet is an empty message, for a peer that flushes twice
/// in a row has nothing left to send.
#[test]
fn i1_a_message_without_an_octet_is_empty() {
    for mut connection in all_kinds() {
        let peer = connection.role().peer();
        let mut feed =
            |first, payload: &[u8]| feed(&mut connection, NOW, &frame(peer, first, payload));
        assert_eq!(
            messages(feed(FIN | COMPRESSED | TEXT, &HELLO)),
            [Ok("Hello".into())]
        );
        assert_eq!(
            messages(feed(FIN | COMPRESSED | TEXT, b"")),
            [Ok("".into())]
        );
        // In several frames, none of which has an octet.
        let mut fragments = feed(COMPRESSED | BINARY, b"");
        fragments.extend(feed(0, b""));
        fragments.extend(feed(FIN, b""));
        assert_eq!(messages(fragments), [Err(Bytes::new())]);
        assert_eq!(
            messages(feed(FIN | COMPRESSED | TEXT, &HELLO)),
            [Ok("Hello".into())]
        );
    }
}

#[track_caller]
fn is_invalid(payload: &[u8]) {
    for mut connection in all_kinds() {
        let peer = connection.role().peer();
        let wire = frame(peer, FIN | COMPRESSED | BINARY, payload);
        let mut events = feed(&mut connection, NOW, &wire);
        // Parts are delivered before it is known.
        let is_message = |event: &Event| matches!(event, Event::Binary(_) | Event::MessageEnd);
        assert!(!events.iter().any(is_message), "{events:?}");
        drain(&mut connection, NOW);
        connection.handle_eof(NOW);
        events.extend(std::iter::from_fn(|| connection.poll_event()));
        let Some(Event::Closed(closed)) = events.last() else {
            panic!("{events:?}");
        };
        assert_eq!(closed.cause, Cause::Protocol(ProtocolError::InvalidDeflate));
    }
}

#[test]
fn f4_rfc_7692_section_6_reserved_bits() {
    for mut connection in all_kinds() {
        let peer = connection.role().peer();
        let config = Arc::clone(connection.config());
        for (before, first, payload) in [
            (None, FIN | COMPRESSED | 0x9, &b""[..]),
            (None, FIN | COMPRESSED | 0xA, b""),
            (None, FIN | COMPRESSED | 0x8, b""),
            (None, FIN | COMPRESSED | 0x3, b""),
            (None, FIN | COMPRESSED, b""),
            // In the middle of a message, compressed or not.
            (Some(COMPRESSED | TEXT), FIN | COMPRESSED, &HELLO),
            (Some(COMPRESSED | TEXT), FIN | COMPRESSED | 0x9, b""),
            (Some(TEXT), COMPRESSED, b""),
            (Some(TEXT), FIN | COMPRESSED, &HELLO),
            // The other bits have no meaning.
            (None, FIN | 0x20 | TEXT, b""),
            (None, FIN | 0x10 | TEXT, b""),
            (None, FIN | COMPRESSED | 0x20 | TEXT, &HELLO),
            (None, FIN | COMPRESSED | 0x10 | TEXT, &HELLO),
        ] {
            let mut connection = open(connection.role(), &config);
            let before = before.map_or(Vec::new(), |first| frame(peer, first, b""));
            feed(&mut connection, NOW, &before);
            let wire = frame(peer, first, payload);
            let cause = assert_fails(&mut connection, &wire, 1002);
            assert!(
                matches!(cause, Cause::Protocol(ProtocolError::Frame(_))),
                "{cause:?}"
            );
        }
        // No state is left armed: what is not compressed comes as it is.
        let mut wire = frame(peer, FIN | COMPRESSED | TEXT, &HELLO);
        wire.extend(frame(peer, FIN | TEXT, &HELLO[2..2]));
        wire.extend(frame(peer, FIN | BINARY, &HELLO));
        let arrived = messages(feed(&mut connection, NOW, &wire));
        let plain = Err(Bytes::from_static(&HELLO));
        assert_eq!(arrived, [Ok("Hello".into()), Ok("".into()), plain]);
    }
}

#[test]
fn d5_d6_invalid_data_is_1007() {
    for connection in all_kinds() {
        let (role, config) = (connection.role(), Arc::clone(connection.config()));
        let peer = role.peer();
        for payload in [
            &[0x06][..],
            &[0xff; 40],
            &HELLO[..6],
            &HELLO[..1],
            &[0xf2, 0x00, 0x11, 0x00, 0x00],
            &[
                0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00, 0x00, 0xff, 0xff,
            ],
        ] {
            let mut connection = open(role, &config);
            let wire = frame(peer, FIN | COMPRESSED | BINARY, payload);
            let cause = assert_fails(&mut connection, &wire, 1007);
            assert_eq!(cause, Cause::Protocol(ProtocolError::InvalidDeflate));
            // At once, and not at the end of the message.
            if payload[..]
                .first()
                .is_some_and(|first| matches!(first, 0x06 | 0xff))
            {
                let wire = frame(peer, COMPRESSED | BINARY, payload);
                assert_fails(&mut open(role, &config), &wire, 1007);
            }
        }
    }
}

#[test]
fn u1_u3_text_is_validated_as_it_inflates() {
    for connection in all_kinds() {
        let (role, config) = (connection.role(), Arc::clone(connection.config()));
        let peer = role.peer();
        // "H", then a byte that never is in text, then nothing but the beginning.
        let invalid = [0x00, 0x02, 0x00, 0xfd, 0xff, b'H', 0xff];
        let wire = frame(peer, COMPRESSED | TEXT, &invalid);
        let cause = assert_fails(&mut open(role, &config), &wire, 1007);
        assert_eq!(cause, Cause::Protocol(ProtocolError::InvalidUtf8));
        // A character that is cut by the end.
        let cut = [0x00, 0x02, 0x00, 0xfd, 0xff, 0xe2, 0x82, 0x00];
        let wire = frame(peer, FIN | COMPRESSED | TEXT, &cut);
        let cause = assert_fails(&mut open(role, &config), &wire, 1007);
        assert_eq!(cause, Cause::Protocol(ProtocolError::InvalidUtf8));
        // And one that is cut by a fragment, and goes on.
        let mut connection = open(role, &config);
        let mut wire = frame(peer, COMPRESSED | TEXT, &cut[..7]);
        wire.extend(frame(
            peer,
            FIN,
            &[0x00, 0x01, 0x00, 0xfe, 0xff, 0xac, 0x00],
        ));
        assert_eq!(
            messages(feed(&mut connection, NOW, &wire)),
            [Ok("€".into())]
        );
    }
}

#[test]
fn f13_control_frames_come_between_compressed_fragments() {
    for mut connection in all_kinds() {
        let peer = connection.role().peer();
        let mut wire = Vec::new();
        for (at, byte) in HELLO.iter().enumerate() {
            let fin = if at + 1 == HELLO.len() { FIN } else { 0 };
            let first = if at == 0 { COMPRESSED | TEXT } else { 0 };
            wire.extend(frame(peer, fin | first, &[*byte]));
            wire.extend(frame(peer, FIN | 0x9, &[*byte]));
        }
        let arrived = messages(feed(&mut connection, NOW, &wire));
        assert_eq!(arrived, [Ok("Hello".into())]);
        let pongs = told(&mut connection);
        assert_eq!(pongs, vec![(FIN, Opcode::Pong, 1); 7]);
    }
}

#[test]
fn rule_14_application_heartbeat_is_seen_through_compression() {
    for delivery in [Delivery::Messages, Delivery::Parts] {
        let config = config(|builder| {
            let heartbeat = ApplicationHeartbeat::answer("Hello", "there");
            builder.application_heartbeat(heartbeat).delivery(delivery)
        });
        let mut server = open(Role::Server, &config);
        let mut wire = frame(Role::Client, FIN | COMPRESSED | TEXT, &HELLO);
        wire.extend(frame(Role::Client, FIN | COMPRESSED | TEXT, &[0x00]));
        let arrived = messages(feed(&mut server, NOW, &wire));
        assert_eq!(arrived, [Ok("".into())], "{delivery:?}");
        assert_eq!(drain(&mut server, NOW), b"\x81\x05there");
    }
}

#[test]
fn what_follows_a_close_is_swallowed() {
    let mut server = open(Role::Server, &config(|builder| builder));
    let mut wire = frame(Role::Client, COMPRESSED | TEXT, &HELLO[..3]);
    wire.extend(frame(Role::Client, FIN | 0x8, &[0x03, 0xe8]));
    wire.extend(frame(Role::Client, FIN, &[0xff; 100]));
    let events = feed(&mut server, NOW, &wire);
    assert!(matches!(&events[..], [Event::Closing(_)]), "{events:?}");
    assert_eq!(told(&mut server), [(FIN, Opcode::Close, 2)]);
}

/// A script of messages, each in fragments of some length.
fn script() -> impl Strategy<Value = Vec<(bool, Vec<u8>, bool)>> {
    let words = proptest::collection::vec("[a-c]{1,4}|€|ü", 0..800);
    let words = words.prop_map(|words| words.join("").into_bytes());
    let runs = (any::<u8>(), 0..30_000usize).prop_map(|(byte, count)| vec![byte & 0x7f; count]);
    let message = (any::<bool>(), prop_oneof![words, runs], any::<bool>());
    proptest::collection::vec(message, 1..6)
}

/// An event that shares nothing with the connection.
fn copy(event: &Event) -> Event {
    match event {
        Event::Text(text) => Event::Text(String::from(&**text).into()),
        Event::TextPart(text) => Event::TextPart(String::from(&**text).into()),
        Event::Binary(data) => Event::Binary(data.to_vec().into()),
        Event::BinaryPart(data) => Event::BinaryPart(data.to_vec().into()),
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_cut_of_a_compressed_stream_gives_the_same(
        script in script(),
        frame_size in 1..2000usize,
        cuts in proptest::collection::vec(1..3000usize, 1..8),
        bits in 8..=15u8,
        takeover: bool,
    ) {
        let deflate = ALL.window_bits(bits).context_takeover(takeover);
        let sending = config(|builder| {
            builder.deflate(Some(deflate)).max_outgoing_frame(Some(frame_size))
        });
        let (mut client, mut meter) = Meter::making(|| open(Role::Client, &sending));
        let mut expected = Vec::new();
        let mut wire = Vec::new();
        for (is_text, payload, is_compressed) in script {
            expected.push(if is_text {
                Ok(String::from_utf8(payload.clone()).unwrap())
            } else {
                Err(Bytes::from(payload.clone()))
            });
            let message = match expected.last() {
                Some(Ok(text)) => wspulse_core::Message::from(text.as_str()),
                _ => payload.into(),
            };
            meter.expect(message.len());
            let sent = meter.call(&mut client, |client| {
                if is_compressed {
                    client.send(message)
                } else {
                    client.send_uncompressed(message)
                }
            });
            sent.unwrap();
            wire.extend(meter.drain(&mut client, NOW));
        }
        let longest = expected.iter().map(|message| match message {
            Ok(text) => text.len(),
            Err(data) => data.len(),
        });
        let longest = longest.max().unwrap_or(0);
        for delivery in [Delivery::Messages, Delivery::Parts] {
            // A fragment of each byte is within the limits of this test.
            let config = config(|builder| builder.delivery(delivery).max_fragment_count(1 << 20));
            for cuts in [&[usize::MAX][..], &cuts] {
                let mut meter = Meter::new();
                meter.expect(longest);
                let mut server = open(Role::Server, &config);
                let mut events = Vec::new();
                let mut rest = &wire[..];
                for length in cuts.iter().cycle() {
                    let (piece, after) = rest.split_at((*length).min(rest.len()));
                    meter.feed(&mut server, NOW, piece, |event| events.push(copy(event)));
                    rest = after;
                    if rest.is_empty() {
                        break;
                    }
                }
                prop_assert!(messages(events) == expected);
            }
        }
    }
}
