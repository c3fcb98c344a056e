//! Whom a client trusts, and that what follows is a WebSocket like any other.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::date_time_ymd;
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use wspulse_core::handshake::{Accept, ClientRequest};
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Cause, Config};
use wspulse_tokio::tokio_rustls::TlsAcceptor;
use wspulse_tokio::tokio_rustls::rustls::{self, CertificateError, InvalidMessage};
use wspulse_tokio::{
    ConnectOptions, Error, MaybeTls, Stage, accept, accept_tls, accept_tls_with, client_tls,
    connect,
};

use crate::certificates::{Authority, self_signed};
use crate::kit::*;

async fn tls_server(acceptor: TlsAcceptor) -> SocketAddr {
    serve(move |stream| {
        let accepting = acceptor.accept(stream);
        async move {
            if let Ok(stream) = accepting.await {
                echo(stream, |_| Ok(Accept::new())).await;
            }
        }
    })
    .await
}

/// Why a client that calls the server `name` does not trust it.
async fn distrust(acceptor: TlsAcceptor, name: &str, options: ConnectOptions) -> rustls::Error {
    let server = tls_server(acceptor).await;
    let url = format!("wss://{name}:{}/", server.port());
    match bounded(connect(&url, options)).await {
        Err(Error::Tls(error)) => error,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("{name} was trusted"),
    }
}

#[tokio::test]
async fn a_chain_to_a_trusted_authority_is_accepted_for_a_name_and_for_an_address() {
    let authority = Authority::new("an authority");
    for name in ["localhost", "127.0.0.1"] {
        let server = tls_server(authority.sign(name)).await;
        let url = format!("wss://{name}:{}/", server.port());
        let ws = bounded(connect(&url, authority.trusted())).await.unwrap();
        assert!(ws.get_ref().is_tls());
        assert_eq!(ws.get_ref().get_ref().peer_addr().unwrap(), server);
        assert_echoes(ws).await;
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new("an authority");
    for (vouched, called) in [
        ("example.com", "localhost"),
        ("localhost", "127.0.0.1"),
        ("127.0.0.2", "127.0.0.1"),
    ] {
        let error = distrust(authority.sign(vouched), called, authority.trusted()).await;
        assert!(
            matches!(
                error,
                rustls::Error::InvalidCertificate(
                    CertificateError::NotValidForName
                        | CertificateError::NotValidForNameContext { .. }
                )
            ),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_certificate_out_of_its_time_is_refused() {
    let authority = Authority::new("an authority");
    let expired = authority.sign_as("localhost", |params| {
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 1);
    });
    let error = distrust(expired, "localhost", authority.trusted()).await;
    assert!(
        matches!(
            error,
            rustls::Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. }
            )
        ),
        "{error:?}"
    );
    let early = authority.sign_as("localhost", |params| {
        params.not_before = date_time_ymd(4000, 1, 1);
        params.not_after = date_time_ymd(4001, 1, 1);
    });
    let error = distrust(early, "localhost", authority.trusted()).await;
    assert!(
        matches!(
            error,
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }
            )
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_certificate_that_nobody_trusted_vouches_for_is_refused() {
    let authority = Authority::new("an authority");
    let stranger = Authority::new("a stranger").sign("localhost");
    let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
    for acceptor in [self_signed("localhost"), stranger] {
        let error = distrust(acceptor, "localhost", authority.trusted()).await;
        assert_eq!(error, unknown);
    }
    // By name the right authority, by key another.
    let impostor = Authority::new("an authority").sign("localhost");
    let error = distrust(impostor, "localhost", authority.trusted()).await;
    assert!(
        matches!(error, rustls::Error::InvalidCertificate(_)),
        "{error:?}"
    );
}

#[tokio::test]
async fn without_a_word_about_trust_the_public_authorities_are_trusted() {
    let private = Authority::new("an authority").sign("localhost");
    let error = distrust(private, "localhost", options()).await;
    assert!(
        matches!(error, rustls::Error::InvalidCertificate(_)),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_plain_server_is_told_from_one_that_speaks_tls() {
    let authority = Authority::new("an authority");
    let plain = echo_server().await;
    let url = format!("wss://{plain}/");
    let result = connect(&url, authority.trusted());
    match bounded(result).await {
        Err(Error::Tls(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType))) => {}
        other => panic!("{other:?}"),
    }
    let encrypted = tls_server(authority.sign("127.0.0.1")).await;
    let url = format!("ws://{encrypted}/");
    let result = connect(&url, authority.trusted());
    let closed = closed(bounded(result).await);
    assert!(matches!(closed.cause, Cause::Handshake(_)), "{closed:?}");
}

#[tokio::test]
async fn the_socket_below_tls_is_set_up_on_both_sides() {
    let config = Config::default();
    let authority = Authority::new("an authority");
    let acceptor = authority.sign("127.0.0.1");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wss://{}/", listener.local_addr().unwrap());
    for way in 0..3 {
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            if way == 0 {
                let tls = Arc::clone(acceptor.config());
                let ws = accept_tls(stream, tls, config.clone()).await;
                assert_is_set_up(ws.unwrap().get_ref().get_ref());
                return;
            }
            let stream = acceptor.accept(stream).await.unwrap();
            if way == 1 {
                let ws = accept(MaybeTls::from(stream), config.clone()).await;
                assert_is_set_up(ws.unwrap().get_ref().get_ref());
            } else {
                let ws = accept(stream, config.clone()).await;
                assert_is_set_up(ws.unwrap().get_ref().get_ref().0);
            }
        };
        let client = connect(&url, authority.trusted());
        let (client, ()) = bounded(async { tokio::join!(client, server) }).await;
        assert_is_set_up(client.unwrap().get_ref().get_ref());
    }
}

fn assert_is_set_up(stream: &tokio::net::TcpStream) {
    assert!(stream.nodelay().unwrap());
    #[cfg(target_os = "linux")]
    {
        let socket = SockRef::from(stream);
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), 128 * 1024);
    }
}

#[tokio::test]
async fn a_stream_that_ends_without_a_word_of_tls_has_ended() {
    let authority = Authority::new("an authority");
    let acceptor = authority.sign("127.0.0.1");
    let server = serve(move |stream| {
        let accepting = acceptor.accept(stream);
        async move {
            let ws = accept(accepting.await.unwrap(), Config::default()).await;
            // Dropped, with the TCP connection, and no close_notify before.
            drop(ws.unwrap());
        }
    })
    .await;
    let url = format!("wss://{server}/");
    let mut ws = bounded(connect(&url, authority.trusted())).await.unwrap();
    match bounded(ws.next()).await {
        Some(Err(Error::Closed(closed))) => assert_eq!(closed.cause, Cause::Eof),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_during_the_tls_handshake_is_an_io_error() {
    let authority = Authority::new("an authority");
    let server = serve(|mut stream| async move {
        stream.shutdown().await.ok();
        read_to_end(&mut stream).await;
    })
    .await;
    let url = format!("wss://{server}/");
    let result = connect(&url, authority.trusted());
    match bounded(result).await {
        Err(Error::Io(error)) => assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn messages_of_any_size_pass_both_ways() {
    let authority = Authority::new("an authority");
    let server = tls_server(authority.sign("127.0.0.1")).await;
    let url = format!("wss://{server}/");
    let mut ws = bounded(connect(&url, authority.trusted())).await.unwrap();
    bounded(async {
        for size in [0, 1, 125, 126, 16 * 1024, 65_536, 1 << 20] {
            let message: Vec<u8> = (0..size).map(|i: usize| (i % 251) as u8).collect();
            ws.send(message.clone()).await.unwrap();
            let echoed = ws.next().await.unwrap().unwrap();
            assert!(echoed.as_bytes() == &message[..], "{size} bytes");
        }
    })
    .await;
    assert_echoes(ws).await;
}

#[tokio::test]
async fn over_streams_that_are_there_accept_tls_and_client_tls_meet() {
    let authority = Authority::new("an authority");
    let tls = Arc::clone(authority.sign("localhost").config());
    let trusted = authority.trusted().tls_config().unwrap();
    let request = ClientRequest::new("localhost", "/").unwrap();
    for called in ["localhost", "example.com"] {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let name = called.try_into().unwrap();
        let client = client_tls(near, trusted.clone(), name, &request, Config::default());
        let server = accept_tls_with(far, tls.clone(), Config::default(), |request| {
            assert_eq!(request.target(), "/");
            Ok(Accept::new())
        });
        let (client, server) = bounded(async { tokio::join!(client, server) }).await;
        if called == "localhost" {
            let (mut client, mut server) = (client.unwrap(), server.unwrap());
            client.send("hello").await.unwrap();
            let message = bounded(server.next()).await.unwrap().unwrap();
            assert_eq!(message.as_text(), Some("hello"));
        } else {
            assert!(matches!(
                client,
                Err(Error::Tls(rustls::Error::InvalidCertificate(_)))
            ));
            // The server is told by an alert.
            assert!(matches!(
                server,
                Err(Error::Tls(rustls::Error::AlertReceived(_)))
            ));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn tls_on_a_stream_that_is_there_may_take_the_handshake_timeout() {
    let authority = Authority::new("an authority");
    let tls = Arc::clone(authority.sign("localhost").config());
    let trusted = authority.trusted().tls_config().unwrap();
    let request = ClientRequest::new("localhost", "/").unwrap();
    let limit = Config::default().handshake_timeout();

    let (stream, _silent) = tokio::io::duplex(64 * 1024);
    let began = Instant::now();
    let server = accept_tls(stream, tls, Config::default()).await;
    assert!(matches!(server, Err(Error::Timeout(Stage::Tls))));
    assert_eq!(began.elapsed().as_secs(), limit.as_secs());

    let (stream, _silent) = tokio::io::duplex(64 * 1024);
    let began = Instant::now();
    let name = "localhost".try_into().unwrap();
    let client = client_tls(stream, trusted, name, &request, Config::default()).await;
    assert!(matches!(client, Err(Error::Timeout(Stage::Tls))));
    assert_eq!(began.elapsed().as_secs(), limit.as_secs());
}

/// What TLS holds back has not left: a peer that is slow to read is not dead over a ping among it.
#[tokio::test(start_paused = true)]
async fn rule_4_a_ping_that_tls_holds_back_has_no_clock() {
    let authority = Authority::new("an authority");
    let tls = Arc::clone(authority.sign("localhost").config());
    let trusted = authority.trusted().tls_config().unwrap();
    let name = "localhost".try_into().unwrap();
    let second = millis(1_000);
    let heartbeat = HeartbeatConfig::ping(second, second)
        .jitter_percent(0)
        .write_stall_timeout(30 * second);
    let config = Config::builder().heartbeat(heartbeat).build().unwrap();
    let request = ClientRequest::new("localhost", "/").unwrap();
    let (near, far) = tokio::io::duplex(4 << 10);
    let (server, client) = tokio::join!(
        accept_tls(near, tls, config),
        client_tls(far, trusted, name, &request, Config::default())
    );
    let (mut server, mut client) = (server.unwrap(), client.unwrap());
    server.feed(vec![7; 32 << 10]).await.unwrap();
    let ended = tokio::time::timeout(5 * second, server.next_event()).await;
    assert!(ended.is_err(), "{ended:?}");

    // The peer reads after all, and answers.
    let reads = async { while client.next().await.is_some() {} };
    tokio::select! {
        ended = server.next_event() => panic!("{ended:?}"),
        () = reads => panic!("the client's end"),
        () = tokio::time::sleep(5 * second) => {}
    }
    assert!(server.snapshot().heartbeat.answered > 0);
}
