//! Each step on the way ends in its time, and headers arrive.

use wspulse_core::handshake::Accept;
use wspulse_core::{Cause, Config};
use wspulse_tokio::{ConnectOptions, Error, Proxy, Stage, connect, connect_through};

use crate::certificates::Authority;
use crate::kit::*;

#[tokio::test]
async fn a_server_that_is_silent_in_the_tls_handshake_is_given_up() {
    let silent = silent_server().await;
    let options = Authority::new("an authority")
        .trusted()
        .tls_timeout(millis(200));
    let result = bounded(connect(&format!("wss://{silent}/"), options)).await;
    assert!(
        matches!(result, Err(Error::Timeout(Stage::Tls))),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_proxy_that_is_silent_is_given_up() {
    let silent = silent_server().await;
    for scheme in ["http", "socks5"] {
        let proxy = Proxy::parse(&format!("{scheme}://{silent}")).unwrap();
        let options = options().proxy_timeout(millis(200));
        let result = connect_through(&proxy, "ws://server.invalid/", options);
        let result = bounded(result).await;
        assert!(
            matches!(result, Err(Error::Timeout(Stage::Proxy))),
            "{result:?}"
        );
    }
}

#[tokio::test]
async fn a_server_that_is_silent_in_the_opening_handshake_is_given_up() {
    let config = Config::builder().handshake_timeout(millis(200));
    let config = config.build().unwrap();
    let authority = Authority::new("an authority");
    let acceptor = authority.sign("127.0.0.1");
    let encrypted = serve(move |stream| {
        let accepting = acceptor.accept(stream);
        async move { read_to_end(&mut accepting.await.unwrap()).await }
    })
    .await;
    let plain = silent_server().await;
    let trusted = authority.trusted().tls_config().unwrap();
    for url in [format!("ws://{plain}/"), format!("wss://{encrypted}/")] {
        let options = ConnectOptions::new(config.clone()).tls(trusted.clone());
        let closed = closed(bounded(connect(&url, options)).await);
        assert_eq!(closed.cause, Cause::HandshakeTimeout, "{url}");
    }
}

#[tokio::test]
async fn a_name_that_nobody_has_is_an_io_error() {
    // RFC 6761 §6.4: .invalid never resolves.
    let result = bounded(connect("ws://server.invalid/", options())).await;
    assert!(
        matches!(
            result,
            Err(Error::Io(_)) | Err(Error::Timeout(Stage::Lookup))
        ),
        "{result:?}"
    );
}

#[tokio::test]
async fn headers_subprotocols_and_origin_arrive() {
    let seen = Seen::default();
    let noting = seen.clone();
    let server = serve(move |stream| {
        let seen = noting.clone();
        echo(stream, move |request| {
            seen.note_request(request, &["authorization", "origin", "x-room"]);
            seen.note(request.subprotocols().collect::<Vec<_>>().join("+"));
            let chosen = request.subprotocols().last().unwrap();
            Ok(Accept::new().subprotocol(chosen).unwrap())
        })
    })
    .await;
    let options = options()
        .header("Authorization", "Bearer 4711")
        .header("X-Room", "7")
        .origin("https://example.com")
        .subprotocol("chat.v2")
        .subprotocol("chat.v1");
    let url = format!("ws://{server}/chat?room=7");
    let ws = bounded(connect(&url, options)).await.unwrap();
    assert_eq!(ws.response().unwrap().subprotocol(), Some("chat.v1"));
    assert_eq!(
        seen.lines(),
        [
            "/chat?room=7 authorization=Bearer 4711 origin=https://example.com x-room=7",
            "chat.v2+chat.v1",
        ]
    );
    assert_echoes(ws).await;
}
