//! Offers and answers, case by case (RFC 7692 §5.1, §7.1).

use alloc::format;
use alloc::string::{String, ToString};

use crate::extension::Extension;
use crate::extension::deflate::{DeflateConfig, DeflateParams};

/// No limits of our own: what is answered is what the other side asked for.
const OPEN: DeflateConfig = DeflateConfig::DEFAULT.window_bits(15);

/// What a server answers to these offers, each given without its name.
fn answer(config: DeflateConfig, offers: &[&str]) -> Option<String> {
    let written = |offer: &&str| format!("permessage-deflate{offer}");
    let header = offers.iter().map(written).collect::<alloc::vec::Vec<_>>();
    let header = header.join(", ");
    let offers = Extension::parse_list([header.as_bytes()]).unwrap();
    let answer = config.accept(&offers)?.to_string();
    Some(answer.strip_prefix("permessage-deflate").unwrap().into())
}

/// What a client makes of this answer, given without its name.
fn confirm(config: DeflateConfig, answer: &str) -> Option<DeflateParams> {
    let header = format!("permessage-deflate{answer}");
    let answer = Extension::parse_list([header.as_bytes()]).unwrap();
    config.confirm(&answer[0])
}

fn offer(config: DeflateConfig) -> String {
    let offer = config.offer().to_string();
    offer.strip_prefix("permessage-deflate").unwrap().into()
}

#[test]
fn rfc_7692_section_7_1_server_answers_each_parameter() {
    let no_takeover = OPEN.context_takeover(false);
    let no_peer_takeover = OPEN.peer_context_takeover(false);
    let small = OPEN.window_bits(10);
    let small_peer = OPEN.peer_window_bits(10);
    for (config, offer, expected) in [
        (OPEN, "", ""),
        // §7.1.1.1: accepted by saying it too; may be said without having been offered.
        (
            OPEN,
            "; server_no_context_takeover",
            "; server_no_context_takeover",
        ),
        (no_takeover, "", "; server_no_context_takeover"),
        (
            no_takeover,
            "; server_no_context_takeover",
            "; server_no_context_takeover",
        ),
        // §7.1.1.2
        (
            OPEN,
            "; client_no_context_takeover",
            "; client_no_context_takeover",
        ),
        (no_peer_takeover, "", "; client_no_context_takeover"),
        // §7.1.2.1: the same or a smaller value, and nothing unasked (I5).
        (
            OPEN,
            "; server_max_window_bits=15",
            "; server_max_window_bits=15",
        ),
        (
            OPEN,
            "; server_max_window_bits=12",
            "; server_max_window_bits=12",
        ),
        (
            OPEN,
            "; server_max_window_bits=9",
            "; server_max_window_bits=9",
        ),
        (
            OPEN,
            "; server_max_window_bits=8",
            "; server_max_window_bits=8",
        ),
        (
            OPEN,
            "; server_max_window_bits=\"11\"",
            "; server_max_window_bits=11",
        ),
        (small, "", ""),
        (small, "; client_max_window_bits", ""),
        (
            small,
            "; server_max_window_bits=15",
            "; server_max_window_bits=10",
        ),
        (
            small,
            "; server_max_window_bits=8",
            "; server_max_window_bits=8",
        ),
        // §7.1.2.2: only a client that says so can be told a window, and none above its hint.
        (OPEN, "; client_max_window_bits", ""),
        (OPEN, "; client_max_window_bits=15", ""),
        (
            OPEN,
            "; client_max_window_bits=8",
            "; client_max_window_bits=8",
        ),
        (small_peer, "", ""),
        (
            small_peer,
            "; client_max_window_bits",
            "; client_max_window_bits=10",
        ),
        (
            small_peer,
            "; client_max_window_bits=12",
            "; client_max_window_bits=10",
        ),
        (
            small_peer,
            "; client_max_window_bits=9",
            "; client_max_window_bits=9",
        ),
        (
            OPEN,
            "; client_max_window_bits=14; server_max_window_bits=13; \
             client_no_context_takeover; server_no_context_takeover",
            "; server_no_context_takeover; client_no_context_takeover; \
             server_max_window_bits=13; client_max_window_bits=14",
        ),
    ] {
        assert_eq!(
            answer(config, &[offer]).as_deref(),
            Some(expected),
            "{config:?} {offer:?}"
        );
    }
}

/// What nobody may offer or answer.
const INVALID: &[&str] = &[
    "; unknown",
    "; unknown=1",
    "; Server_no_context_takeover",
    "; server_no_context_takeover=1",
    "; server_no_context_takeover=true",
    "; client_no_context_takeover=0",
    "; server_no_context_takeover; server_no_context_takeover",
    "; client_no_context_takeover; client_no_context_takeover",
    "; server_max_window_bits",
    "; server_max_window_bits=0",
    "; server_max_window_bits=7",
    "; server_max_window_bits=16",
    "; server_max_window_bits=08",
    "; server_max_window_bits=010",
    "; server_max_window_bits=+9",
    "; server_max_window_bits=-9",
    "; server_max_window_bits=1e1",
    "; server_max_window_bits=0x9",
    "; server_max_window_bits=9.0",
    "; server_max_window_bits=99",
    "; server_max_window_bits=110",
    "; server_max_window_bits=1",
    "; server_max_window_bits=18446744073709551624",
    "; server_max_window_bits=x",
    "; server_max_window_bits=10; server_max_window_bits=10",
    "; server_max_window_bits=10; server_max_window_bits=11",
    "; client_max_window_bits=7",
    "; client_max_window_bits=16",
    "; client_max_window_bits=09",
    "; client_max_window_bits=\"08\"",
    "; client_max_window_bits=10; client_max_window_bits=10",
    "; client_max_window_bits; client_max_window_bits",
    "; client_max_window_bits; client_max_window_bits=10",
];

#[test]
fn rfc_7692_section_5_1_d3_server_declines_and_looks_at_the_next() {
    for &invalid in INVALID {
        assert_eq!(answer(OPEN, &[invalid]), None, "{invalid}");
        let next = answer(OPEN, &[invalid, "; server_max_window_bits=11", ""]);
        assert_eq!(
            next.as_deref(),
            Some("; server_max_window_bits=11"),
            "{invalid}"
        );
    }
    // The order is the client's preference.
    let first = answer(OPEN, &["; server_no_context_takeover", ""]);
    assert_eq!(first.as_deref(), Some("; server_no_context_takeover"));
    let first = answer(OPEN, &["", "; server_no_context_takeover"]);
    assert_eq!(first.as_deref(), Some(""));
    // Other extensions are none of ours, whatever their parameters.
    for header in [
        "",
        "x-other",
        "x-webkit-deflate-frame, Permessage-Deflate",
        "permessage-bzip2",
    ] {
        let offers = Extension::parse_list([header.as_bytes()]).unwrap_or_default();
        assert_eq!(OPEN.accept(&offers), None, "{header}");
    }
    let offers = Extension::parse_list([&b"x; y=1, permessage-deflate"[..]]).unwrap();
    assert_eq!(OPEN.accept(&offers), Some(DeflateParams::default()));
}

#[test]
fn rfc_7692_section_7_1_client_offers() {
    for (config, expected) in [
        (OPEN, "; client_max_window_bits"),
        (DeflateConfig::DEFAULT, "; client_max_window_bits"),
        (OPEN.window_bits(8), "; client_max_window_bits"),
        (
            OPEN.peer_window_bits(9),
            "; server_max_window_bits=9; client_max_window_bits",
        ),
        (
            OPEN.context_takeover(false),
            "; client_no_context_takeover; client_max_window_bits",
        ),
        (
            OPEN.peer_context_takeover(false),
            "; server_no_context_takeover; client_max_window_bits",
        ),
    ] {
        assert_eq!(offer(config), expected);
    }
}

#[test]
fn rfc_7692_section_5_1_d3_client_refuses_what_is_invalid() {
    for &invalid in INVALID {
        assert_eq!(confirm(OPEN, invalid), None, "{invalid}");
    }
    // §7.1.2.2: without a value only in an offer.
    assert_eq!(confirm(OPEN, "; client_max_window_bits"), None);
}

#[test]
fn rfc_7692_section_7_1_client_refuses_what_does_not_fit_its_offer() {
    let no_peer_takeover = OPEN.peer_context_takeover(false);
    let small = OPEN.window_bits(10);
    let small_peer = OPEN.peer_window_bits(10);
    for (config, answer, fits) in [
        (OPEN, "", true),
        (OPEN, "; server_no_context_takeover", true),
        (OPEN, "; client_no_context_takeover", true),
        (no_peer_takeover, "", false),
        (no_peer_takeover, "; server_no_context_takeover", true),
        (no_peer_takeover, "; client_no_context_takeover", false),
        (OPEN, "; server_max_window_bits=8", true),
        (OPEN, "; server_max_window_bits=15", true),
        (small_peer, "", false),
        (small_peer, "; server_max_window_bits=11", false),
        (small_peer, "; server_max_window_bits=10", true),
        (small_peer, "; server_max_window_bits=9", true),
        (OPEN, "; client_max_window_bits=15", true),
        (OPEN, "; client_max_window_bits=8", true),
        (small, "", true),
        // C23: the client's own window is a hint that binds no answer.
        (small, "; client_max_window_bits=11", true),
        (small, "; client_max_window_bits=15", true),
        (small, "; client_max_window_bits=10", true),
        (small, "; client_max_window_bits=8", true),
    ] {
        let agreed = confirm(config, answer);
        assert_eq!(agreed.is_some(), fits, "{config:?} {answer:?}");
        if let Some(agreed) = agreed {
            assert_eq!(agreed.to_string(), format!("permessage-deflate{answer}"));
        }
    }
    let other = Extension::new("x-other").unwrap();
    assert_eq!(OPEN.confirm(&other), None);
}

#[test]
fn every_server_policy_meets_every_client_policy() {
    let switch = [false, true];
    let mut configs = alloc::vec::Vec::new();
    for (own, peer) in [(15, 15), (8, 15), (15, 8), (12, 10), (10, 12)] {
        for takeover in switch {
            for peer_takeover in switch {
                let config = OPEN.window_bits(own).peer_window_bits(peer);
                let config = config.context_takeover(takeover);
                configs.push(config.peer_context_takeover(peer_takeover));
            }
        }
    }
    for client in &configs {
        for server in &configs {
            let case = format!("{client:?} {server:?}");
            let offer = client.offer();
            let agreed = server.accept(core::slice::from_ref(&offer)).expect(&case);
            let answer = agreed.to_string();
            let answer = Extension::parse_list([answer.as_bytes()]).unwrap();
            assert_eq!(client.confirm(&answer[0]), Some(agreed), "{case}");
            // Nobody has to do more than they said they would.
            assert!(
                agreed.client_window_bits() <= 15.min(server.peer_window_bits),
                "{case}"
            );
            assert!(
                agreed.server_window_bits() <= client.peer_window_bits,
                "{case}"
            );
            let of_server = server.context_takeover && client.peer_context_takeover;
            assert_eq!(agreed.server_context_takeover(), of_server, "{case}");
            let of_client = client.context_takeover && server.peer_context_takeover;
            assert_eq!(agreed.client_context_takeover(), of_client, "{case}");
        }
    }
}

#[test]
fn params_of_an_empty_answer_are_the_widest() {
    let agreed = DeflateParams::default();
    assert!(agreed.server_context_takeover() && agreed.client_context_takeover());
    assert_eq!(
        (agreed.server_window_bits(), agreed.client_window_bits()),
        (15, 15)
    );
    assert_eq!(agreed.to_string(), "permessage-deflate");
}
