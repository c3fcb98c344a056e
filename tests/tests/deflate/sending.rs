//! What goes out (RFC 7692 §6.1, §7.2.1).

use super::*;
use wspulse_core::SendError;

#[test]
fn rfc_7692_section_6_1_only_the_first_frame_of_a_message_has_the_bit() {
    for role in [Role::Client, Role::Server] {
        let config = config(|builder| builder.max_outgoing_frame(Some(1_000)));
        let mut connection = open(role, &config);
        let noise: Vec<u8> = (0..3_000u32)
            .flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect();
        connection.send(noise.clone()).unwrap();
        connection.ping(b"!").unwrap();
        let frames = told(&mut connection);
        let data: Vec<_> = frames
            .iter()
            .filter(|frame| frame.1 != Opcode::Ping)
            .collect();
        assert!(data.len() > 5, "{frames:?}");
        for (at, frame) in data.iter().enumerate() {
            let rsv = if at == 0 { COMPRESSED } else { 0 };
            let fin = if at + 1 == data.len() { FIN } else { 0 };
            assert_eq!(frame.0, fin | rsv, "{at}: {frames:?}");
        }
        assert!(frames.contains(&(FIN, Opcode::Ping, 1)), "{frames:?}");
        // And it arrives.
        let mut peer = open(role.peer(), &config);
        let mut again = open(role, &config);
        again.send(noise.clone()).unwrap();
        again.ping(b"!").unwrap();
        let arrived = messages(carry(&mut again, &mut peer));
        assert!(arrived == [Err(noise.into())]);
    }
}

#[test]
fn rfc_7692_section_7_2_3_1_hello_on_the_wire() {
    let mut server = open(Role::Server, &config(|builder| builder));
    server.send("Hello").unwrap();
    assert_eq!(
        drain(&mut server, NOW),
        [&[0xc1, 0x07][..], &HELLO].concat()
    );
}

#[test]
fn messages_below_the_threshold_go_as_they_are() {
    let config = config(|builder| builder.deflate(Some(ALL.threshold(50))));
    let mut server = open(Role::Server, &config);
    server.send(vec![7; 49]).unwrap();
    server.send(vec![7; 50]).unwrap();
    let frames = told(&mut server);
    assert_eq!(frames[0], (FIN, Opcode::Binary, 49));
    assert_eq!(frames[1].0, FIN | COMPRESSED);
    assert!(frames[1].2 < 20);
}

#[test]
fn d8_secrets_can_stay_out_of_the_context() {
    let config = config(|builder| builder);
    let (mut server, mut client) = (open(Role::Server, &config), open(Role::Client, &config));
    let secret = "a secret that nobody should guess, whatever else is sent".repeat(3);
    server.send_uncompressed(secret.clone()).unwrap();
    let plain = told(&mut server);
    assert_eq!(plain, [(FIN, Opcode::Text, secret.len())]);
    // It has left no trace: the same text costs what it costs a connection that never sent it.
    server.send(secret.clone()).unwrap();
    let mut fresh = open(Role::Server, &config);
    fresh.send(secret.clone()).unwrap();
    let wire = drain(&mut server, NOW);
    assert_eq!(wire, drain(&mut fresh, NOW));
    assert_eq!(messages(feed(&mut client, NOW, &wire)), [Ok(secret)]);
}

#[test]
fn rfc_7692_section_6_1_messages_in_parts() {
    let long: Vec<u8> = (0..40_000u32).flat_map(u32::to_le_bytes).collect();
    for role in [Role::Client, Role::Server] {
        let config = config(|builder| builder);
        let (mut sender, mut receiver) = (open(role, &config), open(role.peer(), &config));
        for parts in [
            &[&b"Hello"[..], b"", b"Hello", &long, &long][..],
            &[b"", b""],
            &[b"Hello", b""],
            &[b""],
            &[b"", b"", &long, b"", b"", b"end"],
        ] {
            let mut frames = Vec::new();
            let mut wire = Vec::new();
            for (at, part) in parts.iter().enumerate() {
                let last = at + 1 == parts.len();
                sender.send_part(part.to_vec(), last).unwrap();
                if !last {
                    let refused = sender.send("another");
                    assert!(matches!(refused, Err(SendError::Unfinished(_))));
                    sender.ping(b"between").unwrap();
                }
                wire.extend(drain(&mut sender, NOW));
            }
            frames.extend(super::frames(role, &wire));
            let data = frames
                .iter()
                .filter(|(header, _)| !header.opcode().is_control());
            for (at, (header, _)) in data.enumerate() {
                let rsv = if at == 0 { COMPRESSED } else { 0 };
                assert_eq!(header.rsv(), rsv, "{at}");
            }
            let arrived = messages(feed(&mut receiver, NOW, &wire));
            assert!(arrived == [Err(parts.concat().into())]);
            drain(&mut receiver, NOW);
        }
        // And whole ones after them.
        sender.send("Hello").unwrap();
        assert_eq!(
            messages(carry(&mut sender, &mut receiver)),
            [Ok("Hello".into())]
        );
    }
}

#[test]
fn what_is_not_queued_stays_out_of_the_context() {
    let config = config(|builder| builder.max_buffered_amount(100));
    let (mut server, mut client) = (open(Role::Server, &config), open(Role::Client, &config));
    let noise: Vec<u8> = (0..400u32)
        .flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    server.send(noise.clone()).unwrap();
    for _ in 0..3 {
        let full = server.send("never sent, never seen".repeat(9));
        assert!(matches!(full, Err(SendError::Full(_))), "{full:?}");
    }
    let mut arrived = messages(carry(&mut server, &mut client));
    server.send("never sent, never seen").unwrap();
    arrived.extend(messages(carry(&mut server, &mut client)));
    assert!(arrived == [Err(noise.into()), Ok("never sent, never seen".into())]);
}
