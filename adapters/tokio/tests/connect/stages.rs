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

#[tokio::test]
async fn an_ipv6_address_is_connected_to_without_its_brackets() {
    // Where the machine has no IPv6 there is nothing to connect to.
    let Ok(listener) = tokio::net::TcpListener::bind("[::1]:0").await else {
        return;
    };
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let serving = async {
        let (stream, _) = listener.accept().await.unwrap();
        echo(stream, |_| Ok(Accept::new())).await;
    };
    let connecting = async { assert_echoes(connect(&url, options()).await.unwrap()).await };
    bounded(async { tokio::join!(serving, connecting) }).await;
}

#[test]
fn the_way_to_a_connection_may_be_a_task_of_its_own() {
    fn assert_send(_: impl Send) {}
    let proxy = Proxy::parse("http://127.0.0.1:1").unwrap();
    assert_send(connect("wss://127.0.0.1:1/", options()));
    assert_send(connect_through(&proxy, "wss://127.0.0.1:1/", options()));
}

#[test]
#[should_panic(expected = "there is no reactor running")]
fn outside_a_runtime_it_panics_as_the_docs_say() {
    let connecting = std::pin::pin!(connect("ws://127.0.0.1:1/", options()));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let _ = connecting.poll(&mut context);
}
