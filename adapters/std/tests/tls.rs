//! TLS with a real chain of certificates: what works, and what is refused.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use common::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::{CertificateError, ClientConfig, ClientConnection, ServerConfig, StreamOwned};
use wspulse_core::heartbeat::DeadReason;
use wspulse_core::{Cause, CloseCode, Config, Message};
use wspulse_std::tls::{client_config_from_pem, server_config_from_pem};
use wspulse_std::{
    ConnectOptions, Error, RedirectError, Stage, UrlError, WebSocket, accept_tls, client_tls,
    connect,
};

/// An authority, and what it issues.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn trust(&self) -> Arc<ClientConfig> {
        client_config_from_pem(self.0.pem().as_bytes()).unwrap()
    }

    fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Arc<ServerConfig> {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.0).unwrap();
        let chain = leaf.pem() + &self.0.pem();
        server_config_from_pem(chain.as_bytes(), key.serialize_pem().as_bytes()).unwrap()
    }
}

/// A client and a server that trust each other, over TCP.
fn tls_pair(config: Config) -> (WebSocket<TcpStream>, WebSocket<TcpStream>) {
    let authority = Authority::new();
    let tls = authority.issue("localhost", |_| {});
    let (near, far) = sockets();
    let theirs = config.clone();
    let server = thread::spawn(move || accept_tls(far, tls, theirs).unwrap());
    let name = "localhost".try_into().unwrap();
    let client = client_tls(near, authority.trust(), name, &request(), config).unwrap();
    (client, server.join().unwrap())
}

/// A server for one connection; returns its URL and how its opening went.
fn serve_once(tls: Arc<ServerConfig>) -> (String, thread::JoinHandle<Result<(), Error>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("wss://localhost:{}/", listener.local_addr().unwrap().port());
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept()?;
        echo(&mut accept_tls(stream, tls, Config::default())?)
    });
    (url, server)
}

#[test]
fn connect_and_accept_meet_over_tls() {
    within(ms(20_000), || {
        let authority = Authority::new();
        let (url, server) = serve_once(authority.issue("localhost", |_| {}));
        let options = ConnectOptions::new(Config::default()).tls(authority.trust());
        let mut client = connect(&url, options).unwrap();
        for message in [
            "hello".into(),
            "".into(),
            Message::from(vec![7; 3_000_000]),
            vec![0; 16_384].into(),
        ] {
            client.send(message.clone()).unwrap();
            assert_eq!(client.next().unwrap().unwrap(), message);
        }
        client.close(CloseCode::NORMAL, "").unwrap();
        server.join().unwrap().unwrap();
    });
}

fn refused_with(authority: &Authority, tls: Arc<ServerConfig>) -> CertificateError {
    let (url, server) = serve_once(tls);
    let options = ConnectOptions::new(Config::default()).tls(authority.trust());
    let error = match connect(&url, options) {
        Err(Error::Tls(rustls::Error::InvalidCertificate(error))) => error,
        other => panic!("{other:?}"),
    };
    // The server is told by an alert.
    let told = server.join().unwrap();
    assert!(
        matches!(told, Err(Error::Tls(rustls::Error::AlertReceived(_)))),
        "{told:?}"
    );
    error
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    within(ms(20_000), || {
        let authority = Authority::new();
        let tls = authority.issue("example.com", |_| {});
        let error = refused_with(&authority, tls);
        assert!(
            matches!(error, CertificateError::NotValidForNameContext { .. }),
            "{error:?}"
        );
    });
}

#[test]
fn a_certificate_that_has_expired_is_refused() {
    within(ms(20_000), || {
        let authority = Authority::new();
        let tls = authority.issue("localhost", |params| {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        });
        let error = refused_with(&authority, tls);
        assert!(
            matches!(error, CertificateError::ExpiredContext { .. }),
            "{error:?}"
        );
    });
}

#[test]
fn a_certificate_of_its_own_making_is_refused() {
    within(ms(20_000), || {
        let authority = Authority::new();
        let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let tls = server_config_from_pem(
            stranger.cert.pem().as_bytes(),
            stranger.signing_key.serialize_pem().as_bytes(),
        );
        let error = refused_with(&authority, tls.unwrap());
        assert_eq!(error, CertificateError::UnknownIssuer);
    });
}

#[test]
fn a_server_that_speaks_no_tls_is_told_apart() {
    within(ms(20_000), || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("wss://localhost:{}/", listener.local_addr().unwrap().port());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .unwrap();
            stream
        });
        let options = ConnectOptions::new(Config::default()).tls(Authority::new().trust());
        let error = connect(&url, options).unwrap_err();
        assert!(matches!(error, Error::Tls(_)), "{error:?}");
        drop(server);
    });
}

#[test]
fn a_server_that_says_nothing_times_out_in_the_tls_handshake() {
    within(ms(20_000), || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("wss://localhost:{}/", listener.local_addr().unwrap().port());
        let options = ConnectOptions::new(Config::default())
            .tls(Authority::new().trust())
            .tls_timeout(ms(200));
        let start = Instant::now();
        let error = connect(&url, options).unwrap_err();
        assert!(matches!(error, Error::Timeout(Stage::Tls)), "{error:?}");
        assert!(start.elapsed() < ms(1_000), "{:?}", start.elapsed());

        // And a client that says nothing, at a server.
        let (_near, far) = sockets();
        let config = Config::builder()
            .handshake_timeout(ms(200))
            .build()
            .unwrap();
        let tls = Authority::new().issue("localhost", |_| {});
        let error = accept_tls(far, tls, config).unwrap_err();
        assert!(matches!(error, Error::Timeout(Stage::Tls)), "{error:?}");
    });
}

#[test]
fn a_peer_that_goes_away_in_the_tls_handshake_is_an_error() {
    within(ms(20_000), || {
        let (near, far) = sockets();
        drop(near);
        let tls = Authority::new().issue("localhost", |_| {});
        let error = accept_tls(far, tls, Config::default()).unwrap_err();
        assert!(matches!(error, Error::Io(_)), "{error:?}");
    });
}

#[test]
fn without_certificates_to_trust_nothing_is_connected() {
    // Other packages of one build may have said whom to trust.
    if ConnectOptions::new(Config::default()).tls_config().is_ok() {
        return;
    }
    let error = connect("wss://localhost:1/", Config::default()).unwrap_err();
    assert!(matches!(error, Error::Url(UrlError::Tls)), "{error:?}");
}

#[test]
fn two_peers_that_both_send_do_not_wait_for_each_other() {
    within(ms(60_000), || {
        let ends = <[_; 2]>::from(tls_pair(Config::default())).map(|mut end| {
            thread::spawn(move || {
                let message = Message::from(vec![9; 12 << 20]);
                end.send(message.clone()).unwrap();
                assert_eq!(end.next().unwrap().unwrap(), message);
            })
        });
        for end in ends {
            end.join().unwrap();
        }
    });
}

#[test]
fn two_threads_share_one_session() {
    within(ms(60_000), || {
        let ends = <[_; 2]>::from(tls_pair(Config::default())).map(|end| {
            let (mut reader, mut writer) = end.split();
            let writing = thread::spawn(move || {
                for n in 0..200_u8 {
                    writer.send(vec![n; 64 << 10]).unwrap();
                }
                writer
            });
            let reading = thread::spawn(move || {
                for n in 0..200_u8 {
                    let message = reader.next().unwrap().unwrap();
                    assert_eq!(message, Message::from(vec![n; 64 << 10]));
                }
                reader
            });
            (reading, writing)
        });
        let [(mut reader, mut writer), (mut other, _writer)] =
            ends.map(|(r, w)| (r.join().unwrap(), w.join().unwrap()));
        let other = thread::spawn(move || assert!(other.next().is_none()));
        writer.close(CloseCode::NORMAL, "").unwrap();
        assert!(reader.next().is_none());
        other.join().unwrap();
    });
}

#[test]
fn spawned_threads_keep_a_session_alive() {
    within(ms(20_000), || {
        let config = heartbeat(100, 300).build().unwrap();
        let (client, mut server) = tls_pair(config);
        let server = thread::spawn(move || echo(&mut server));
        let (mut receiver, sender) = client.spawn(4);
        thread::sleep(ms(1_000));
        sender.send("still here").unwrap();
        assert_eq!(
            receiver.next().unwrap().unwrap().as_text(),
            Some("still here")
        );
        sender.close(CloseCode::NORMAL, "").unwrap();
        server.join().unwrap().unwrap();
    });
}

/// A server over TLS, and its peer's TLS stream after the handshake.
fn server_and_raw_tls(
    config: Config,
) -> (
    WebSocket<TcpStream>,
    StreamOwned<ClientConnection, TcpStream>,
) {
    let authority = Authority::new();
    let tls = authority.issue("localhost", |_| {});
    let (near, far) = sockets();
    let server = thread::spawn(move || accept_tls(far, tls, config).unwrap());
    let name = "localhost".try_into().unwrap();
    let session = ClientConnection::new(authority.trust(), name).unwrap();
    let mut raw = StreamOwned::new(session, near);
    // The request, and a message right behind it in the same record.
    raw.write_all(&[REQUEST, &frame(TEXT, b"early bird")].concat())
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        raw.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let mut server = server.join().unwrap();
    assert_eq!(
        server.next().unwrap().unwrap().as_text(),
        Some("early bird")
    );
    (server, raw)
}

#[test]
fn rule_8_a_silent_peer_is_found_dead_behind_tls() {
    within(ms(10_000), || {
        let (mut server, _raw) = server_and_raw_tls(heartbeat(300, 400).build().unwrap());
        let start = Instant::now();
        match server.next() {
            Some(Err(Error::Closed(closed))) => {
                assert_eq!(closed.cause, Cause::Dead(DeadReason::PongTimeout));
            }
            other => panic!("{other:?}"),
        }
        assert!(start.elapsed() <= ms(700 + 250), "{:?}", start.elapsed());
    });
}

#[test]
fn rule_11_a_close_we_owe_reaches_a_peer_behind_tls() {
    within(ms(20_000), || {
        let (mut server, mut raw) = server_and_raw_tls(Config::default());
        let server = thread::spawn(move || server.next());
        raw.write_all(&frame(TEXT, b"\xFF")).unwrap();
        raw.write_all(&vec![0; 4 << 20]).unwrap();
        let mut rest = Vec::new();
        // An end that is announced, and not a stream that is cut off.
        raw.read_to_end(&mut rest).unwrap();
        assert_eq!((rest[0], &rest[2..4]), (CLOSE, &1007_u16.to_be_bytes()[..]));
        drop(raw);
        match server.join().unwrap() {
            Some(Err(Error::Closed(closed))) => {
                assert!(matches!(closed.cause, Cause::Protocol(_)), "{closed:?}");
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn bytes_that_are_no_tls_end_the_connection_with_a_tls_error() {
    within(ms(10_000), || {
        let (mut server, mut raw) = server_and_raw_tls(Config::default());
        raw.sock.write_all(&[0x17, 3, 3, 0, 32]).unwrap();
        raw.sock.write_all(&[0; 32]).unwrap();
        match server.next() {
            Some(Err(Error::Tls(error))) => assert_eq!(error, rustls::Error::DecryptError),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_redirect_from_wss_to_ws_is_not_followed() {
    within(ms(20_000), || {
        let authority = Authority::new();
        let tls = authority.issue("localhost", |_| {});
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("wss://localhost:{}/", listener.local_addr().unwrap().port());
        let server = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let session = rustls::ServerConnection::new(tls).unwrap();
            let mut stream = StreamOwned::new(session, stream);
            let _ = stream.read(&mut [0; 4096]).unwrap();
            let answer = b"HTTP/1.1 302 Found\r\nLocation: ws://localhost/\r\n\r\n";
            stream.write_all(answer).unwrap();
        });
        let options = ConnectOptions::new(Config::default())
            .tls(authority.trust())
            .max_redirects(3);
        let error = connect(&url, options).unwrap_err();
        assert!(
            matches!(error, Error::Redirect(RedirectError::Downgrade)),
            "{error:?}"
        );
        server.join().unwrap();
    });
}
