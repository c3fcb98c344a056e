//! TLS by rustls: a certificate chain that is good, and those that are not.
#![cfg(feature = "tls")]

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use common::*;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd,
};
use rustls::{CertificateError, ClientConfig, ServerConfig};
use wspulse_core::{Config, Event, Message};
use wspulse_mio::tls;
use wspulse_mio::{ConnectOptions, Error, Stage, Turn, accept_tls_with, client_tls};

/// An authority that signs what a test asks for.
struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        Self::named("an authority")
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            certificate,
            issuer: Issuer::new(params, key),
        }
    }

    fn server(&self, params: CertificateParams) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let config =
            tls::server_config_from_pem(leaf.pem().as_bytes(), key.serialize_pem().as_bytes());
        let mut config = config.unwrap();
        // Tickets would be one more thing to read behind the handshake: a reason to look again
        // that not every server gives.
        Arc::make_mut(&mut config).send_tls13_tickets = 0;
        config
    }

    fn client(&self) -> Arc<ClientConfig> {
        tls::client_config_from_pem(self.certificate.pem().as_bytes()).unwrap()
    }
}

fn names(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
    CertificateParams::new(names).unwrap()
}

fn serve(server: Arc<ServerConfig>) -> Running<Notes> {
    Running::start_with(Notes::new(true).0, |connections, listener| {
        connections
            .listen_tls(listener, server, Config::default())
            .unwrap();
    })
}

/// What a client that trusts `trusted` has of a server with `server`.
fn refused_over(server: Arc<ServerConfig>, trusted: Arc<ClientConfig>) -> Error {
    let server = serve(server);
    let (notes, seen) = Notes::new(false);
    let peer = Running::start(notes, Config::default());
    let url = format!("wss://{}/", server.address);
    let options = ConnectOptions::new(Config::default()).tls(trusted);
    peer.look(move |_, c| c.connect(&url, options).unwrap());
    let error = wait_for_end(&seen).unwrap_err();
    server.wait_until_empty();
    peer.wait_until_empty();
    error
}

fn certificate_error(error: &Error) -> &CertificateError {
    match error {
        Error::Tls(rustls::Error::InvalidCertificate(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_go_through_tls_and_back() {
    let authority = Authority::new();
    let server = serve(authority.server(names(&["127.0.0.1", "localhost"])));
    let (notes, seen) = Notes::new(false);
    let peer = Running::start(notes, Config::default());
    // By address, and by a name that is looked up.
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("wss://{host}:{}/", server.address.port());
        let options = ConnectOptions::new(Config::default()).tls(authority.client());
        let id = peer.look(move |_, c| c.connect(&url, options).unwrap());
        assert_eq!(wait_for_open(&seen), id);
        for message in ["hello".into(), Message::from(vec![7; 600_000])] {
            peer.handle.send(id, message.clone()).unwrap();
            assert_eq!(wait_for_message(&seen), message);
        }
        peer.handle
            .close(id, wspulse_core::CloseCode::NORMAL, "")
            .unwrap();
        assert!(wait_for_end(&seen).unwrap().clean);
    }
    server.wait_until_empty();
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new();
    let server = authority.server(names(&["example.com"]));
    let error = refused_over(server, authority.client());
    assert!(
        matches!(
            certificate_error(&error),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        ),
        "{error:?}"
    );
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    let server = Authority::named("another").server(names(&["127.0.0.1"]));
    let error = refused_over(server, Authority::new().client());
    assert_eq!(certificate_error(&error), &CertificateError::UnknownIssuer);

    let key = KeyPair::generate().unwrap();
    let own = names(&["127.0.0.1"]).self_signed(&key).unwrap();
    let own =
        tls::server_config_from_pem(own.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    let error = refused_over(own, Authority::new().client());
    assert_eq!(certificate_error(&error), &CertificateError::UnknownIssuer);
}

#[test]
fn an_expired_certificate_is_refused() {
    let authority = Authority::new();
    let mut params = names(&["127.0.0.1"]);
    params.not_before = date_time_ymd(2001, 1, 1);
    params.not_after = date_time_ymd(2002, 1, 1);
    let error = refused_over(authority.server(params), authority.client());
    assert!(
        matches!(
            certificate_error(&error),
            CertificateError::Expired | CertificateError::ExpiredContext { .. }
        ),
        "{error:?}"
    );
}

#[test]
fn a_server_that_speaks_no_tls_is_told_apart() {
    let server = Running::start(Notes::new(true).0, Config::default());
    let (notes, seen) = Notes::new(false);
    let peer = Running::start(notes, Config::default());
    let url = format!("wss://{}/", server.address);
    let options = ConnectOptions::new(Config::default()).tls(Authority::new().client());
    peer.look(move |_, c| c.connect(&url, options).unwrap());
    assert!(matches!(wait_for_end(&seen).unwrap_err(), Error::Tls(_)));
}

#[test]
fn a_server_that_does_not_shake_hands_is_a_timeout_of_that_stage() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (notes, seen) = Notes::new(false);
    let peer = Running::start(notes, Config::default());
    let url = format!("wss://{}/", silent.local_addr().unwrap());
    let options = ConnectOptions::new(Config::default())
        .tls(Authority::new().client())
        .tls_timeout(millis(50));
    peer.look(move |_, c| c.connect(&url, options).unwrap());
    let error = wait_for_end(&seen).unwrap_err();
    assert!(matches!(error, Error::Timeout(Stage::Tls)), "{error:?}");
    peer.wait_until_empty();
}

/// The pieces: TLS is a session beside the stream, and what is wrong with it by `end_error`.
#[test]
fn the_pieces_speak_tls_too() {
    let authority = Authority::new();
    let good = authority.server(names(&["127.0.0.1"]));
    let wrong = authority.server(names(&["example.com"]));
    assert_eq!(
        pieces(good, authority.client()),
        (Some("hello".into()), None)
    );
    let (text, error) = pieces(wrong, authority.client());
    assert_eq!(text, None);
    assert!(error.unwrap().starts_with("tls: invalid peer certificate"));
}

/// Runs a server and a client in one poll; returns what came back, or the client's error.
fn pieces(
    server: Arc<ServerConfig>,
    trusted: Arc<ClientConfig>,
) -> (Option<String>, Option<String>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    far.set_nonblocking(true).unwrap();
    let name = IpAddr::V4(Ipv4Addr::LOCALHOST).into();
    let near = client_tls(near, trusted, name, &request(), Config::default()).unwrap();
    let far = accept_tls_with(TcpStream::from_std(far), server, Config::default()).unwrap();
    assert!(near.tls().unwrap().is_handshaking());
    let mut ends = [near, far];
    let mut poll = Poll::new().unwrap();
    let both = Interest::READABLE | Interest::WRITABLE;
    for (key, ws) in ends.iter_mut().enumerate() {
        poll.registry().register(ws, Token(key), both).unwrap();
    }
    let mut events = Events::with_capacity(16);
    let (mut text, mut error) = (None, None);
    let mut is_ready = [true; 2];
    for _ in 0..200 {
        for (key, ws) in ends.iter_mut().enumerate() {
            // Nobody has a turn whose stream is not ready.
            if !std::mem::take(&mut is_ready[key]) {
                continue;
            }
            let turn = ws.handle_ready(|ws, event| match event {
                Event::Request(_) => ws.accept_request(&Default::default()).unwrap(),
                Event::Open(_) => ws.send("hello").unwrap(),
                Event::Text(came) if key == 1 => ws.send(came).unwrap(),
                Event::Text(came) => text = Some(came.to_string()),
                Event::Closed(closed) if key == 0 => error = Some(ws.end_error(closed).to_string()),
                _ => {}
            });
            if text.is_some() || (key == 0 && turn == Turn::Over) {
                return (text, error);
            }
        }
        poll.poll(&mut events, Some(millis(100))).unwrap();
        for event in &events {
            is_ready[event.token().0] = true;
        }
    }
    panic!("nothing came of it");
}
