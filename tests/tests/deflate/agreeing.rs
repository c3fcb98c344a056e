//! The opening handshake, with the engine on both ends (RFC 7692 §5).

use super::*;
use wspulse_core::handshake::{Accept, ClientRequest};

/// Both ends after the handshake, or what was agreed on is none.
fn shake(client: &Arc<Config>, server: &Arc<Config>, accept: &Accept) -> (Connection, Connection) {
    let request = ClientRequest::new("example.com", "/").unwrap();
    let [mine, yours] = [1, 2].map(Seed::predictable_for_tests);
    let mut client = Connection::client(Arc::clone(client), &request, mine, NOW);
    let mut server = Connection::server(Arc::clone(server), yours, NOW);
    let asked = carry(&mut client, &mut server);
    assert!(matches!(&asked[..], [Event::Request(_)]), "{asked:?}");
    assert_eq!(server.deflate(), None);
    server.accept(NOW, accept).unwrap();
    // What follows the head at once is compressed, and read as such.
    server
        .send("a message of some length, a message of some length")
        .unwrap();
    let opened = carry(&mut server, &mut client);
    match &opened[..] {
        [Event::Open(response), Event::Text(text)] => {
            assert_eq!(response.deflate(), client.deflate());
            assert_eq!(*text, "a message of some length, a message of some length");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(client.deflate(), server.deflate());
    (client, server)
}

fn with(deflate: DeflateConfig) -> Arc<Config> {
    config(|builder| builder.deflate(Some(deflate)))
}

fn payloads() -> Vec<Vec<u8>> {
    let mut payloads = vec![Vec::new(), b"x".to_vec(), vec![7; 200_000]];
    let mut state = 1u32;
    let noise = (0..100_000).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    payloads.push(noise.collect());
    payloads.push("Grüße, и так далее. ".repeat(5_000).into_bytes());
    payloads
}

#[test]
fn rfc_7692_section_7_1_every_agreement_carries_messages_both_ways() {
    for (client, server, agreed) in [
        (ALL, ALL, ""),
        (
            ALL.window_bits(8),
            ALL.window_bits(8),
            // Each keeps to its own window, and says nothing of it unasked.
            "",
        ),
        (ALL.window_bits(9), ALL, ""),
        (ALL, ALL.window_bits(9), ""),
        (
            ALL.peer_window_bits(10),
            ALL.window_bits(9),
            "; server_max_window_bits=9",
        ),
        (ALL.peer_window_bits(10), ALL, "; server_max_window_bits=10"),
        (ALL, ALL.peer_window_bits(10), "; client_max_window_bits=10"),
        (
            ALL.context_takeover(false),
            ALL,
            "; client_no_context_takeover",
        ),
        (
            ALL,
            ALL.context_takeover(false),
            "; server_no_context_takeover",
        ),
        (
            ALL.peer_context_takeover(false),
            ALL,
            "; server_no_context_takeover",
        ),
        (
            ALL,
            ALL.peer_context_takeover(false),
            "; client_no_context_takeover",
        ),
        (DeflateConfig::DEFAULT, DeflateConfig::DEFAULT, ""),
    ] {
        let (mut client, mut server) = shake(&with(client), &with(server), &Accept::new());
        let shown = client.deflate().expect("an agreement").to_string();
        assert_eq!(shown, format!("permessage-deflate{agreed}"));
        for payload in payloads().into_iter().chain(payloads()) {
            client.send(payload.clone()).unwrap();
            let arrived = messages(carry(&mut client, &mut server));
            assert!(arrived == [Err(payload.clone().into())], "{shown}");
            if let Ok(text) = String::from_utf8(payload) {
                server.send(text.clone()).unwrap();
                let arrived = messages(carry(&mut server, &mut client));
                assert!(arrived == [Ok(text)], "{shown}");
            }
        }
    }
}

#[test]
fn rfc_7692_section_5_nothing_is_agreed_on_unless_both_want_it() {
    let plain = Arc::new(Config::default());
    let refusing = Accept::new().without_extensions();
    for (client, server, accept) in [
        (&plain, &with(ALL), &Accept::new()),
        (&with(ALL), &plain, &Accept::new()),
        (&plain, &plain, &Accept::new()),
        (&with(ALL), &with(ALL), &refusing),
    ] {
        let (mut client, mut server) = shake(client, server, accept);
        assert_eq!(client.deflate(), None);
        client.send(vec![7; 10_000]).unwrap();
        assert_eq!(told(&mut client), [(FIN, Opcode::Binary, 10_000)]);
        // RFC 6455 §5.2: and then the bit has no meaning.
        let compressed = frame(Role::Client, FIN | COMPRESSED | TEXT, &HELLO);
        assert_fails(&mut server, &compressed, 1002);
    }
}

#[test]
fn config_that_cannot_work_is_refused() {
    use wspulse_core::ConfigError;
    for (deflate, error) in [
        (ALL.level(0), ConfigError::DeflateLevel),
        (ALL.level(10), ConfigError::DeflateLevel),
        (ALL.window_bits(7), ConfigError::DeflateWindowBits),
        (ALL.window_bits(16), ConfigError::DeflateWindowBits),
        (ALL.peer_window_bits(7), ConfigError::DeflateWindowBits),
        (ALL.peer_window_bits(16), ConfigError::DeflateWindowBits),
    ] {
        let built = Config::builder().deflate(Some(deflate)).build();
        assert_eq!(built.unwrap_err(), error);
    }
}

/// C16: a handshake that is under way agrees by itself; what is said of another changes nothing.
#[test]
fn an_agreement_elsewhere_is_none_of_a_handshake_under_way() {
    let agreed = Some(DeflateParams::default());
    let (plain, request) = (
        Arc::new(Config::default()),
        ClientRequest::new("example.com", "/").unwrap(),
    );
    let seed = || Seed::predictable_for_tests(1);
    let mut client = Connection::client(plain.clone(), &request, seed(), NOW).with_deflate(agreed);
    let mut server = Connection::server(plain, seed(), NOW).with_deflate(agreed);
    assert_eq!((client.deflate(), server.deflate()), (None, None));
    feed(&mut server, NOW, &drain(&mut client, NOW));
    server.accept(NOW, &Accept::new()).unwrap();
    feed(&mut client, NOW, &drain(&mut server, NOW));
    server.send("a".repeat(1_000)).unwrap();
    let arrived = messages(carry(&mut server, &mut client));
    assert_eq!(arrived, [Ok("a".repeat(1_000))]);
}
