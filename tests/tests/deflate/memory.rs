//! What compression costs a connection, counted.

use super::*;
use wspulse_core::extension::Extension;
use wspulse_tests::alloc::counters;

fn agreed(answer: &str) -> DeflateParams {
    let answer = format!("permessage-deflate{answer}");
    let answer = Extension::parse_list([answer.as_bytes()]).unwrap();
    ALL.confirm(&answer[0]).unwrap()
}

/// What it holds after each of: being opened, receiving, sending, and then being quiet.
fn held(deflate: DeflateConfig, answer: &str) -> [i64; 4] {
    let config = config(|builder| builder.deflate(Some(deflate)));
    let before = counters().held;
    let held = || counters().held - before;
    let mut server = open_with(Role::Server, &config, agreed(answer));
    let opened = held();
    let hello = frame(Role::Client, FIN | COMPRESSED | TEXT, &HELLO);
    assert_eq!(server.handle_input(NOW, &hello), hello.len());
    drop(hello);
    drop(server.poll_event());
    let received = held();
    server.send(vec![7; 1000]).unwrap();
    let sent = held();
    drop(drain(&mut server, NOW));
    let deadline = server.poll_timeout().expect("a ping is due");
    server.handle_timeout(deadline);
    drop(drain(&mut server, deadline));
    server.handle_would_block(deadline);
    let quiet = held();
    [opened, received, sent, quiet]
}

const KIB: i64 = 1 << 10;

#[test]
fn d7_memory_of_a_connection_is_as_documented() {
    let [opened, received, sent, quiet] = held(DeflateConfig::DEFAULT, "");
    assert!(opened < KIB, "{opened}");
    assert!((46 * KIB..49 * KIB).contains(&received), "{received}");
    assert!((205 * KIB..212 * KIB).contains(&sent), "{sent}");
    assert!((205 * KIB..212 * KIB).contains(&quiet), "{quiet}");

    let [_, received, sent, _] = held(ALL, "");
    let compressor = sent - received;
    assert!((265 * KIB..275 * KIB).contains(&compressor), "{compressor}");

    let without = "; server_no_context_takeover; client_no_context_takeover";
    let [opened, received, sent, quiet] = held(DeflateConfig::DEFAULT, without);
    assert!(opened < KIB && received < KIB, "{opened} {received}");
    assert!((155 * KIB..165 * KIB).contains(&sent), "{sent}");
    assert!(quiet < KIB, "{quiet}");
}

#[test]
fn r1_an_inflated_message_grows_by_doubling() {
    let config = config(|builder| builder);
    let mut client = open(Role::Client, &config);
    client.send(vec![7; 1 << 20]).unwrap();
    let wire = drain(&mut client, NOW);
    let mut server = open(Role::Server, &config);
    let before = counters().allocations;
    assert_eq!(server.handle_input(NOW, &wire), wire.len());
    let made = counters().allocations - before;
    assert!(made < 20, "{made}");
}

/// C1: what waits to be sent holds what the queue counts, and no room for its uncompressed length.
#[test]
fn c1_compressed_messages_that_wait_have_no_slack() {
    const LENGTH: usize = 1 << 20;
    let config = config(|builder| builder.max_buffered_amount(256 << 10));
    let mut server = open(Role::Server, &config);
    // The compressor's state, and a message that is longer than what is framed at once: the others
    // wait behind it.
    let noise: Vec<u8> = (0..16_000_u32)
        .flat_map(|at| (at.wrapping_mul(2_654_435_761) >> 7).to_le_bytes())
        .collect();
    server.send(noise[..20_000].to_vec()).unwrap();
    let before = (counters().held, server.queue_cost() as i64);
    let mut count = 0;
    while server.send(vec![0; LENGTH]).is_ok() {
        count += 1;
        let held = counters().held - before.0;
        let cost = server.queue_cost() as i64 - before.1;
        assert!(held <= 2 * cost, "{held} bytes are held, {cost} count");
    }
    assert!(count > 10, "{count} messages fit");
}

#[test]
fn connections_that_agreed_on_nothing_pay_nothing() {
    let config = config(|builder| builder);
    let before = counters().held;
    let seed = Seed::predictable_for_tests(1);
    let server = Connection::from_upgrade(Role::Server, Arc::clone(&config), seed, NOW);
    assert_eq!(counters().held, before);
    assert_eq!(server.deflate(), None);
}
