//! Offers of compression and answers to them, against a naive reader of RFC 6455 §9.1 and RFC 7692.

use wspulse_core::extension::deflate::{DeflateConfig, DeflateParams};
use wspulse_core::extension::{Extension, ExtensionError};
use wspulse_core::handshake::{
    Accept, ClientHandshake, ClientRequest, HandshakeLimits, ServerHandshake,
};

use super::Reader;
use super::http::{self, ListFault};
use super::opening::Opening;
use crate::alloc::{BASE, Budget, measure};

/// Reads the values of extension headers, answers them as a server, takes each as an answer as a
/// client, and lets both sides of a handshake agree; holds all of it against RFC 7692 §5 and §7.1.
///
/// A list, and each end of the handshake, holds at most twice what arrived and 4 KiB; an answer that
/// is chosen or confirmed has no heap.
///
/// The input is two bytes of configuration for a client, two for a server (bits 0 to 2: the own
/// window; bits 3 to 5: the peer's; bit 6: no context takeover; bit 7: none for the peer; the second
/// byte is a level), and header values, each ended by a line feed.
pub fn negotiate(data: &[u8]) {
    let mut reader = Reader::new(data);
    let client = Settings::read(&mut reader);
    let server = Settings::read(&mut reader);
    let text = reader.rest();
    let values: Vec<&[u8]> = match text {
        [] => Vec::new(),
        text => text.split(|&byte| byte == b'\n').collect(),
    };

    let parsed = parse_list(&values);
    let naive = http::extensions(&values);
    match (&parsed, &naive) {
        (Ok(ours), Ok(naive)) => {
            assert_eq!(ours.iter().map(plain).collect::<Vec<_>>(), *naive);
            server.answers(ours, naive);
            for (answer, naive) in ours.iter().zip(naive) {
                client.confirms(answer, naive);
                is_spelt_again(answer);
            }
        }
        (Err(ExtensionError::Malformed), Err(ListFault::Malformed))
        | (Err(ExtensionError::TooLong), Err(ListFault::TooLong)) => {}
        _ => panic!("{parsed:?}, but naively {naive:?}"),
    }
    agree(&client, &server);
}

fn parse_list<'a>(values: &[&'a [u8]]) -> Result<Vec<Extension<'a>>, ExtensionError> {
    let arrived = values.iter().map(|value| value.len()).sum();
    let mut budget = Budget::new();
    budget.arrived(arrived);
    let parsed = budget.run(|| Extension::parse_list(values.iter().copied()));
    budget.check_peak(0);
    parsed
}

/// A configuration, and what it was made of.
struct Settings {
    config: DeflateConfig,
    window: u8,
    peer_window: u8,
    takeover: bool,
    peer_takeover: bool,
}

impl Settings {
    fn read(reader: &mut Reader<'_>) -> Self {
        let (bits, level) = (reader.byte(), reader.byte());
        let (window, peer_window) = (8 + (bits & 7), 8 + (bits >> 3 & 7));
        let (takeover, peer_takeover) = (bits & 0x40 == 0, bits & 0x80 == 0);
        Self {
            config: DeflateConfig::DEFAULT
                .window_bits(window)
                .peer_window_bits(peer_window)
                .context_takeover(takeover)
                .peer_context_takeover(peer_takeover)
                .level(1 + level % 9),
            window,
            peer_window,
            takeover,
            peer_takeover,
        }
    }

    /// RFC 7692 §5.1: a server answers an offer that it can keep to, here the first, or none.
    fn answers(&self, ours: &[Extension<'_>], offers: &[http::Extension]) {
        let answer = keeps_nothing(|| self.config.accept(ours));
        let Some(offer) = offers.iter().find_map(Parameters::read) else {
            return assert_eq!(answer, None, "an answer to no legal offer");
        };
        let answer = answer.expect("any legal offer can be kept to");
        let said = Parameters::written(&answer);

        // §7.1.1.1, §7.1.1.2: a server that takes the offer says so; either may be said unasked.
        assert!(said.server_no_takeover || !offer.server_no_takeover);
        assert_eq!(
            said.client_no_takeover,
            offer.client_no_takeover || !self.peer_takeover
        );
        assert!(said.server_no_takeover || self.takeover);
        // §7.1.2.1: the same window as was asked for, or a smaller one.
        if let Some(asked) = offer.server_bits {
            let bits = said.server_bits.expect("who takes a window says so");
            assert!(bits <= asked);
        }
        // I5: nothing unasked. The compressor keeps to its own window all the same.
        assert_eq!(said.server_bits.is_some(), offer.server_bits.is_some());
        assert!(said.server_bits.is_none_or(|bits| bits <= self.window));
        // §7.1.2.2: only a client that speaks of its window can be told one; it then has a value.
        match (offer.client_bits, said.client_bits) {
            (None, bits) => assert_eq!(bits, None, "a window for a client that knows none"),
            (Some(hint), Some(bits)) => {
                let bits = bits.expect("an answer has a value");
                assert!(bits <= hint.unwrap_or(15) && bits <= self.peer_window);
            }
            (Some(hint), None) => assert!(hint.is_some() || self.peer_window == 15),
        }
        said.are(&answer);
    }

    /// RFC 7692 §5.1, §7.1: a client takes an answer that fits its offer, and no other.
    fn confirms(&self, answer: &Extension<'_>, naive: &http::Extension) {
        let ours = keeps_nothing(|| self.config.confirm(answer));
        let Some(said) = Parameters::read(naive) else {
            return assert_eq!(ours, None, "an answer that breaks the rules");
        };
        let mut fits = self.peer_takeover || said.server_no_takeover;
        if self.peer_window < 15 {
            fits &= said
                .server_bits
                .is_some_and(|bits| bits <= self.peer_window);
        }
        // §7.1.2.2: in an answer it has a value.
        fits &= said.client_bits != Some(None);
        if !fits {
            return assert_eq!(ours, None, "an answer that does not fit the offer");
        }
        // §7.1.2.2: the client's window in an offer is a hint, which binds no answer. What the
        // client compresses with is the smaller of both.
        said.are(&ours.expect("an answer that fits the offer"));
    }
}

/// Runs a call whose result has no heap, and which works with little.
fn keeps_nothing<T>(call: impl FnOnce() -> T) -> T {
    let (result, usage) = measure(call);
    assert_eq!(usage.held, 0, "it has heap");
    assert!(usage.peak <= BASE as i64, "{usage:?}");
    result
}

/// What an offer or an answer says (RFC 7692 §7.1).
#[derive(Debug, Default)]
struct Parameters {
    server_no_takeover: bool,
    client_no_takeover: bool,
    server_bits: Option<u8>,
    client_bits: Option<Option<u8>>,
}

impl Parameters {
    /// RFC 7692 §7.1: parameters that are unknown, come twice or have a wrong value make all of it
    /// invalid.
    fn read(extension: &http::Extension) -> Option<Self> {
        if extension.name != "permessage-deflate" {
            return None;
        }
        let mut read = Self::default();
        let names = extension.parameters.iter().map(|(name, _)| name);
        let mut distinct: Vec<_> = names.collect();
        distinct.sort();
        distinct.dedup();
        if distinct.len() < extension.parameters.len() {
            return None;
        }
        for (name, value) in &extension.parameters {
            let bits = value.as_deref().map(window_bits);
            match (name.as_str(), bits) {
                ("server_no_context_takeover", None) => read.server_no_takeover = true,
                ("client_no_context_takeover", None) => read.client_no_takeover = true,
                ("server_max_window_bits", Some(Some(bits))) => read.server_bits = Some(bits),
                ("client_max_window_bits", None) => read.client_bits = Some(None),
                ("client_max_window_bits", Some(Some(bits))) => read.client_bits = Some(Some(bits)),
                _ => return None,
            }
        }
        Some(read)
    }

    /// What an answer says on the wire.
    fn written(answer: &DeflateParams) -> Self {
        let header = answer.to_string();
        let list = http::extensions(&[header.as_bytes()]).expect("a legal header");
        let [extension] = &list[..] else {
            panic!("one extension: {header}");
        };
        Self::read(extension).expect("legal parameters")
    }

    fn are(&self, params: &DeflateParams) {
        assert_eq!(params.server_context_takeover(), !self.server_no_takeover);
        assert_eq!(params.client_context_takeover(), !self.client_no_takeover);
        assert_eq!(params.server_window_bits(), self.server_bits.unwrap_or(15));
        let bits = self.client_bits.flatten().unwrap_or(15);
        assert_eq!(params.client_window_bits(), bits);
    }
}

/// RFC 7692 §7.1.2: a decimal number from 8 to 15, without leading zeroes.
fn window_bits(value: &str) -> Option<u8> {
    (8..=15).find(|bits: &u8| bits.to_string() == value)
}

fn plain(extension: &Extension<'_>) -> http::Extension {
    let parameters = extension.parameters();
    http::Extension {
        name: extension.name().to_owned(),
        parameters: parameters
            .map(|(name, value)| (name.to_owned(), value.map(str::to_owned)))
            .collect(),
    }
}

/// What was read is written so that it reads the same.
fn is_spelt_again(extension: &Extension<'_>) {
    let text = extension.to_string();
    let again = Extension::parse_list([text.as_bytes()]).expect("legal");
    assert_eq!(again, std::slice::from_ref(extension));
}

/// Both ends of one handshake come to the same, which the offer and the answer allow.
fn agree(client: &Settings, server: &Settings) {
    let limits = HandshakeLimits::default();
    let request = ClientRequest::new("example.com", "/").expect("legal");
    let asks = || ClientHandshake::with_deflate(&request, [7; 16], limits, client.config);
    let (mut asks, mut heap_of_client) = Opening::making(asks);
    let answers = || ServerHandshake::new(limits).with_deflate(server.config);
    let (mut answers, mut heap_of_server) = Opening::making(answers);
    heap_of_server.input(asks.request_head(), |head| answers.handle_input(head));
    let request = heap_of_server.call(|| answers.poll_request());
    request.expect("a whole head").expect("legal");
    let head = heap_of_server.call(|| answers.accept(&Accept::new()));
    let head = head.expect("a request waits");
    heap_of_client.input(&head, |head| asks.handle_input(head));
    let response = heap_of_client.call(|| asks.poll_response());
    let response = response.expect("a whole head").expect("it fits");
    let agreed = response
        .deflate()
        .expect("any offer of ours can be kept to");
    assert_eq!(answers.deflate(), Some(agreed));
    assert!(agreed.client_context_takeover() <= (client.takeover && server.peer_takeover));
    assert!(agreed.server_context_takeover() <= (client.peer_takeover && server.takeover));
    assert!(agreed.client_window_bits() <= server.peer_window);
    assert!(agreed.server_window_bits() <= client.peer_window);
}
