//! What goes out: every frame masked or none, each with a key of its own. S2, S3, H11, H12.

use std::collections::HashSet;
use std::sync::Arc;

use wspulse_core::handshake::{Accept, ClientRequest};
use wspulse_core::{Cause, CloseCode, Connection, Event, Role, Seed};
use wspulse_tests::kit::{at, drain, events, feed, open, ping, with_heartbeat};
use wspulse_tests::wire::{Frame, Wire, frame, opcode};

use crate::judged::limited;

/// A frame of each kind, from every place that makes one.
fn every_kind(role: Role) -> Vec<Frame> {
    let mut connection = open(role, &with_heartbeat(ping(1_000, 1_000)));
    let peer = role.peer();
    let mut bytes = Vec::new();
    connection.send("short").expect("room");
    connection.send(vec![1; 200_000]).expect("room");
    bytes.extend(drain(&mut connection, at(1)));
    connection.send_part("one", false).expect("room");
    connection.ping(b"mine").expect("room");
    bytes.extend(drain(&mut connection, at(1)));
    connection.send_part("two", true).expect("room");
    feed(&mut connection, at(1), &frame(peer, opcode::PING, b"yours"));
    bytes.extend(drain(&mut connection, at(1)));
    connection.handle_would_block(at(2_000));
    connection.handle_timeout(at(2_000));
    bytes.extend(drain(&mut connection, at(2_000)));
    let closed = connection.close(at(2_000), CloseCode::NORMAL, "bye");
    closed.expect("a legal code");
    bytes.extend(drain(&mut connection, at(2_000)));
    let mut wire = Wire::frames(role).keeping_data();
    wire.push(&bytes).expect("legal frames")
}

#[test]
fn every_frame_is_masked_as_its_role_demands() {
    for role in [Role::Server, Role::Client] {
        let frames = every_kind(role);
        let kinds: HashSet<u8> = frames.iter().map(|frame| frame.opcode).collect();
        assert_eq!(kinds.len(), 6, "{frames:?}");
        let masked = frames.iter().filter(|frame| frame.mask.is_some()).count();
        let expected = if role == Role::Client {
            frames.len()
        } else {
            0
        };
        assert_eq!(masked, expected, "{frames:?}");
    }
}

/// RFC 6455 §5.3, §10.3: a fresh key for every frame, that nobody can guess from the last one.
#[test]
fn every_key_is_fresh() {
    const FRAMES: usize = 100_000;
    let keys = |seed: u64| {
        let config = Arc::new(limited(1_000).build().expect("valid"));
        let seed = Seed::predictable_for_tests(seed);
        let mut client = Connection::from_upgrade(Role::Client, config, seed, at(0));
        let mut wire = Wire::frames(Role::Client);
        let mut keys = Vec::new();
        for n in 0..FRAMES {
            match n % 3 {
                0 => client.send("text").expect("room"),
                1 => client.send(vec![7; 30]).expect("room"),
                _ => client.ping(b"ping").expect("room"),
            }
            let sent = wire.push(&drain(&mut client, at(1))).expect("legal frames");
            keys.extend(sent.into_iter().filter_map(|frame| frame.mask));
        }
        keys
    };
    let (one, other) = (keys(1), keys(2));
    assert_eq!((one.len(), one == keys(1)), (FRAMES, true), "replays");
    // Among so many of 2^32, one or two are expected twice; ten would be a weak source.
    let distinct: HashSet<_> = one.iter().chain(&other).collect();
    assert!(distinct.len() > 2 * FRAMES - 30, "{}", distinct.len());
    // Each of the 32 bits is set half of the time: 500 is more than three deviations.
    for bit in 0..32 {
        let set = one
            .iter()
            .filter(|key| u32::from_be_bytes(**key) >> bit & 1 == 1);
        assert!(set.count().abs_diff(FRAMES / 2) < 1_000, "bit {bit}");
    }
}

const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// A server that is asked, with `behind` in the same segment, and accepts.
fn served(behind: &[u8], cut: usize) -> (Vec<Event>, Vec<u8>) {
    let config = Arc::new(limited(1_000).build().expect("valid"));
    let mut server = Connection::server(config, Seed::predictable_for_tests(1), at(0));
    let input = [REQUEST, behind].concat();
    let (mut list, mut out) = (Vec::new(), Vec::new());
    for piece in [&input[..cut], &input[cut..]] {
        let mut rest = piece;
        while !rest.is_empty() {
            let taken = server.handle_input(at(1), rest);
            rest = &rest[taken..];
            for event in events(&mut server) {
                if let Event::Request(_) = event {
                    server.accept(at(1), &Accept::new()).expect("it asks");
                }
                list.push(event);
            }
            out.extend(drain(&mut server, at(1)));
        }
    }
    server.handle_eof(at(2));
    list.extend(events(&mut server));
    (list, out)
}

#[test]
fn h11_frames_in_the_segment_of_the_request_count_from_the_accept() {
    let good = frame(Role::Client, opcode::TEXT, b"early");
    let unmasked = frame(Role::Server, opcode::TEXT, b"early");
    for cut in 0..=REQUEST.len() + good.len() {
        let (list, out) = served(&good, cut);
        assert!(out.starts_with(b"HTTP/1.1 101 ") && out.ends_with(b"\r\n\r\n"));
        assert!(
            matches!(&list[..], [Event::Request(_), Event::Text(text), Event::Closed(_)] if text == "early"),
            "cut at {cut}: {list:?}"
        );
    }
    for cut in 0..=REQUEST.len() + unmasked.len() {
        let (list, out) = served(&unmasked, cut);
        assert!(
            matches!(&list[..], [Event::Request(_), Event::Closed(closed)] if matches!(closed.cause, Cause::Protocol(_))),
            "cut at {cut}: {list:?}"
        );
        // The answer to the request, then the Close frame.
        let mut wire = Wire::after_head(Role::Server);
        let frames = wire.push(&out).expect("legal");
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].close_code(), Some(1002), "cut at {cut}");
    }
}

/// A client whose server answers with frames behind the answer.
fn answered(behind: &[u8], cut: usize) -> Vec<Event> {
    let config = Arc::new(limited(1_000).build().expect("valid"));
    let seed = || Seed::predictable_for_tests(3);
    let request = ClientRequest::new("a", "/").expect("legal");
    let mut client = Connection::client(Arc::clone(&config), &request, seed(), at(0));
    let mut server = Connection::server(config, seed(), at(0));
    let asked = feed(&mut server, at(0), &drain(&mut client, at(0)));
    assert!(matches!(asked[..], [Event::Request(_)]));
    server.accept(at(0), &Accept::new()).expect("it asks");
    let input = [&drain(&mut server, at(0))[..], behind].concat();
    let cut = cut.min(input.len());
    let mut list = feed(&mut client, at(1), &input[..cut]);
    list.extend(feed(&mut client, at(1), &input[cut..]));
    drain(&mut client, at(1));
    client.handle_eof(at(2));
    list.extend(events(&mut client));
    list
}

#[test]
fn h12_frames_in_the_segment_of_the_answer_count() {
    let good = frame(Role::Server, opcode::TEXT, b"early");
    let masked = frame(Role::Client, opcode::TEXT, b"early");
    for cut in 0..200 {
        let list = answered(&good, cut);
        assert!(
            matches!(&list[..], [Event::Open(_), Event::Text(text), Event::Closed(_)] if text == "early"),
            "cut at {cut}: {list:?}"
        );
        let list = answered(&masked, cut);
        assert!(
            matches!(&list[..], [Event::Open(_), Event::Closed(closed)] if matches!(closed.cause, Cause::Protocol(_))),
            "cut at {cut}: {list:?}"
        );
    }
}
