//! permessage-deflate in the opening handshake (RFC 6455 §9.1, RFC 7692 §5).

use super::*;
use crate::extension::deflate::{DeflateConfig, DeflateParams};

use HandshakeError as E;

const CONFIG: DeflateConfig = DeflateConfig::DEFAULT.window_bits(15);

fn offering() -> ClientHandshake {
    let request = ClientRequest::new("example.com", "/chat").unwrap();
    ClientHandshake::with_deflate(&request, NONCE, ROOMY, CONFIG)
}

fn ask_deflate(line: &str) -> Result<Option<DeflateParams>, HandshakeError> {
    let mut client = offering();
    client.handle_input(&response_with("", line));
    let response = client.poll_response().expect("an outcome");
    response.map(|response| response.deflate())
}

/// The extensions header of the answer, and what the server says was agreed on.
fn answer(server: ServerHandshake, offers: &str, accept: &Accept) -> (Option<String>, bool) {
    let mut server = server;
    server.handle_input(&request_with("", offers));
    server.poll_request().unwrap().unwrap();
    assert_eq!(server.deflate(), None, "nothing is agreed on yet");
    let head = text(server.accept(accept).unwrap());
    let line = head
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "));
    let agreed = server.deflate();
    assert_eq!(agreed.map(|agreed| format!("{agreed}")).as_deref(), line);
    (line.map(Into::into), agreed.is_some())
}

#[test]
fn rfc_7692_section_5_client_offers_and_server_answers() {
    let head = text(offering().request_head().to_vec());
    let line = "\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    assert!(head.contains(line), "{head}");

    let server = || ServerHandshake::new(ROOMY).with_deflate(CONFIG);
    let offers = "Sec-WebSocket-Extensions: x-other; a=1, permessage-deflate; x\r\n\
        Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9";
    let (line, agreed) = answer(server(), offers, &Accept::new());
    assert_eq!(
        line.as_deref(),
        Some("permessage-deflate; server_max_window_bits=9")
    );
    assert!(agreed);
    for offers in ["", "Sec-WebSocket-Extensions: permessage-deflate; x"] {
        assert_eq!(answer(server(), offers, &Accept::new()), (None, false));
    }
    // Neither by default, nor where the application says no.
    let offers = "Sec-WebSocket-Extensions: permessage-deflate";
    let silent = answer(ServerHandshake::new(ROOMY), offers, &Accept::new());
    assert_eq!(silent, (None, false));
    let refused = answer(server(), offers, &Accept::new().without_extensions());
    assert_eq!(refused, (None, false));
}

#[test]
fn rfc_6455_section_4_1_client_takes_only_what_it_offered() {
    let header = "Sec-WebSocket-Extensions";
    assert_eq!(ask_deflate(""), Ok(None));
    let agreed = ask_deflate(&format!("{header}: permessage-deflate"));
    assert_eq!(agreed, Ok(Some(DeflateParams::default())));
    let agreed = ask_deflate(&format!(
        "{header}: permessage-deflate; client_max_window_bits=\"10\""
    ));
    assert_eq!(agreed.unwrap().unwrap().client_window_bits(), 10);
    for (value, error) in [
        ("x-other", E::UnofferedExtension),
        ("Permessage-Deflate", E::UnofferedExtension),
        ("permessage-deflate, x-other", E::UnofferedExtension),
        (
            "permessage-deflate, permessage-deflate",
            E::UnofferedExtension,
        ),
        ("permessage-deflate; x", E::ExtensionParameters),
        (
            "permessage-deflate; client_max_window_bits",
            E::ExtensionParameters,
        ),
        (
            "permessage-deflate; server_max_window_bits=16",
            E::ExtensionParameters,
        ),
        (
            "permessage-deflate; server_max_window_bits=08",
            E::ExtensionParameters,
        ),
        ("", E::Extensions),
        ("permessage-deflate;", E::Extensions),
    ] {
        assert_eq!(
            ask_deflate(&format!("{header}: {value}")),
            Err(error),
            "{value}"
        );
    }
    let twice = format!("{header}: permessage-deflate\r\n{header}: permessage-deflate");
    assert_eq!(ask_deflate(&twice), Err(E::UnofferedExtension));
    let long = format!("{header}: {}", "permessage-deflate,".repeat(65));
    assert_eq!(ask_deflate(&long), Err(E::ListTooLong));
    assert_eq!(E::ExtensionParameters.status(), None);
    assert_eq!(E::ExtensionParameters.section(), "RFC 7692 §7.1");
}
