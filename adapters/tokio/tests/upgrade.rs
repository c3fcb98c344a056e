//! Connections that begin in somebody else's HTTP server: hyper, axum.
#![cfg(feature = "axum")]

mod common;

use std::net::SocketAddr;

use axum::Router;
use axum::response::Response;
use axum::routing::any;
use common::*;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use wspulse_core::extension::deflate::DeflateConfig;
use wspulse_core::handshake::{Accept, AnswerError, Reject};
use wspulse_core::{CloseCode, Config};
use wspulse_tokio::{
    ConnectOptions, Error, UpgradeError, Upgraded, WebSocket, WebSocketUpgrade, connect, upgrade,
    upgrade_with,
};

async fn echo(mut ws: WebSocket<Upgraded>) {
    while let Some(Ok(message)) = ws.next().await {
        if ws.send(message).await.is_err() {
            break;
        }
    }
}

fn compressing() -> Config {
    let config = Config::builder().deflate(Some(DeflateConfig::DEFAULT));
    config.build().unwrap()
}

/// An echo server on hyper, which refuses the path `/private`.
async fn on_hyper(allows_upgrades: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = |mut request: hyper::Request<Incoming>| async move {
        let answer = upgrade_with(&mut request, compressing(), |request| {
            match request.target() {
                "/private" => Err(Reject::new(403)
                    .unwrap()
                    .header("X-Why", "private")
                    .unwrap()
                    .body("members only")),
                _ => Ok(Accept::new().header("X-Served-By", "hyper").unwrap()),
            }
        });
        let response = match answer {
            Ok((response, upgrade)) => {
                tokio::spawn(async move {
                    if let Ok(ws) = upgrade.await {
                        echo(ws).await;
                    }
                });
                response
            }
            Err(error) => error.to_response(),
        };
        Ok::<_, Error>(response.map(|body| Full::new(Bytes::from(body))))
    };
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let http = hyper::server::conn::http1::Builder::new();
                let connection = http.serve_connection(TokioIo::new(stream), service_fn(service));
                let _ = if allows_upgrades {
                    connection.with_upgrades().await
                } else {
                    connection.await
                };
            });
        }
    });
    address
}

/// An echo server on axum.
async fn on_axum() -> SocketAddr {
    async fn handler(upgrade: WebSocketUpgrade) -> Response {
        let config = Config::builder()
            .max_message_size(1 << 20)
            .deflate(Some(DeflateConfig::DEFAULT))
            .build()
            .unwrap();
        let upgrade = upgrade
            .config(config)
            .subprotocols(["chat.v2", "chat.v1"])
            .header("X-Served-By", "axum")
            .unwrap();
        let greeting = upgrade.subprotocol().unwrap_or("none").to_owned();
        upgrade.on_upgrade(move |mut ws| async move {
            if greeting != "none" {
                ws.send(greeting).await.unwrap();
            }
            echo(ws).await;
        })
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/chat", any(handler));
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn servers() -> [SocketAddr; 2] {
    [on_hyper(true).await, on_axum().await]
}

/// Sends bytes as one segment, and returns the head of the answer and the stream behind it.
async fn ask(address: SocketAddr, bytes: &[u8]) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut head = Vec::new();
    let read = async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
    };
    timeout(secs(10), read).await.expect("an answer");
    (String::from_utf8(head).unwrap().to_lowercase(), stream)
}

/// The request with one line replaced, or left out.
fn request_with(line: &str, instead: &str) -> Vec<u8> {
    let request = str::from_utf8(REQUEST).unwrap();
    assert!(request.contains(line));
    request.replace(line, instead).into_bytes()
}

#[tokio::test]
async fn messages_come_back_as_they_went() {
    for address in servers().await {
        come_back(address, Config::default()).await;
    }
}

/// RFC 7692 §5: only who offers compression has it agreed on.
#[tokio::test]
async fn messages_come_back_compressed_if_the_client_offers_it() {
    for address in servers().await {
        come_back(address, compressing()).await;
    }
}

async fn come_back(address: SocketAddr, config: Config) {
    let is_offered = config.deflate().is_some();
    let url = format!("ws://{address}/chat");
    let mut ws = connect(&url, config).await.unwrap();
    assert_eq!(ws.response().unwrap().deflate().is_some(), is_offered);
    assert!(ws.response().unwrap().header("x-served-by").is_some());
    for message in [vec![], vec![1; 10], vec![2; 300_000]] {
        ws.send(message.clone()).await.unwrap();
        let echo = timeout(secs(10), ws.next()).await.expect("an echo");
        assert_eq!(echo.unwrap().unwrap(), message.into());
    }
    ws.close(CloseCode::NORMAL, "").await.unwrap();
    assert!(ws.closed().unwrap().clean);
}

/// What the HTTP server read behind the head belongs to the connection.
#[tokio::test]
async fn a_frame_in_the_segment_of_the_request_is_not_lost() {
    for address in servers().await {
        let segment = [REQUEST, &frame(TEXT, b"early"), &frame(PING, b"too")].concat();
        let (head, mut stream) = ask(address, &segment).await;
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        // The key's own answer in RFC 6455 §1.3.
        let accept = "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        assert!(head.contains(&accept.to_lowercase()), "{head}");
        let mut frames = [0; 12];
        let read = timeout(secs(10), stream.read_exact(&mut frames)).await;
        read.expect("an echo").unwrap();
        let (echo, pong) = (b"\x81\x05early", b"\x8A\x03too");
        let is_echo = frames == [&echo[..], pong].concat()[..];
        let is_pong_first = frames == [&pong[..], echo].concat()[..];
        assert!(is_echo || is_pong_first, "{frames:?}");
    }
}

#[tokio::test]
async fn what_is_no_request_for_a_websocket_gets_the_right_status() {
    let cases = [
        (
            "Version: 13",
            "Version: 8",
            "426",
            "sec-websocket-version: 13\r\n",
        ),
        (
            "Sec-WebSocket-Version: 13\r\n",
            "",
            "426",
            "upgrade: websocket\r\n",
        ),
        (
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            "",
            "400",
            "",
        ),
        ("dGhlIHNhbXBsZSBub25jZQ==", "short", "400", ""),
        ("Upgrade: websocket\r\n", "", "400", ""),
        ("Connection: Upgrade\r\n", "", "400", ""),
        (
            "Connection: Upgrade",
            "Connection: Upgrade\r\nContent-Length: 1",
            "400",
            "",
        ),
        ("GET", "POST", "405", "allow: get\r\n"),
        ("HTTP/1.1", "HTTP/1.0", "505", ""),
    ];
    for address in servers().await {
        for (line, instead, status, header) in cases {
            let (head, _) = ask(address, &request_with(line, instead)).await;
            let got = head.split(' ').nth(1);
            assert_eq!(got, Some(status), "{line:?} {instead:?} {address} {head}");
            assert!(head.contains(header), "{head}");
        }
    }
}

#[tokio::test]
async fn a_refusal_comes_with_its_status_headers_and_body() {
    let address = on_hyper(true).await;
    let (head, mut stream) = ask(address, &request_with("/chat", "/private")).await;
    assert!(head.starts_with("http/1.1 403 "), "{head}");
    assert!(head.contains("x-why: private\r\n"), "{head}");
    let mut body = String::new();
    stream.read_to_string(&mut body).await.unwrap();
    assert_eq!(body, "members only");
}

/// The request without a connection beneath.
fn detached() -> hyper::Request<()> {
    let mut request = hyper::Request::get("/chat");
    for line in str::from_utf8(REQUEST).unwrap().lines().skip(1) {
        if let Some((name, value)) = line.split_once(": ") {
            request = request.header(name, value);
        }
    }
    request.body(()).unwrap()
}

#[test]
fn a_header_that_cannot_be_sent_is_our_mistake_and_answered_500() {
    let decide = |_: &_| Ok(Accept::new().header("X-Room", "two\r\nlines")?);
    let error = upgrade_with(&mut detached(), Config::default(), decide).unwrap_err();
    assert!(
        matches!(error, UpgradeError::Answer(AnswerError::HeaderValue)),
        "{error:?}"
    );
    assert_eq!(error.to_response().status(), 500);
}

#[test]
fn a_server_that_keeps_its_connections_answers_500() {
    let error = upgrade(&mut detached(), Config::default()).unwrap_err();
    assert!(matches!(error, UpgradeError::NotUpgradable), "{error:?}");
    assert_eq!(error.to_response().status(), 500);
}

/// hyper tells too late that it does not allow it.
#[tokio::test]
async fn a_server_without_upgrades_drops_the_connection() {
    let address = on_hyper(false).await;
    let (head, mut stream) = ask(address, REQUEST).await;
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    let end = timeout(secs(10), stream.read(&mut [0])).await;
    assert!(matches!(end, Ok(Ok(0))), "{end:?}");
}

#[tokio::test]
async fn the_client_prefers_among_the_subprotocols_that_are_known() {
    let url = format!("ws://{}/chat", on_axum().await);
    let cases = [
        (&["chat.v1", "chat.v2"][..], Some("chat.v1")),
        (&["chat.v9", "chat.v2"], Some("chat.v2")),
        (&["chat.v9"], None),
        (&[], None),
    ];
    for (offered, chosen) in cases {
        let mut options = ConnectOptions::new(Config::default());
        for name in offered {
            options = options.subprotocol(name);
        }
        let mut ws = connect(&url, options).await.unwrap();
        assert_eq!(ws.response().unwrap().subprotocol(), chosen);
        if let Some(chosen) = chosen {
            let greeting = ws.next().await.unwrap().unwrap();
            assert_eq!(greeting.as_text(), Some(chosen));
        }
        ws.close(CloseCode::NORMAL, "").await.unwrap();
    }
}

#[tokio::test]
async fn the_configuration_is_the_handlers() {
    let url = format!("ws://{}/chat", on_axum().await);
    let mut ws = connect(&url, Config::default()).await.unwrap();
    ws.send(vec![0; (1 << 20) + 1]).await.unwrap();
    let end = timeout(secs(10), ws.next()).await.expect("an end");
    assert!(matches!(end, None | Some(Err(_))), "{end:?}");
    let closed = ws.closed().unwrap();
    assert_eq!(closed.code(), CloseCode::MESSAGE_TOO_BIG, "{closed:?}");
}
