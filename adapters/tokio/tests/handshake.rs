//! The opening handshake over pipes: agreed, refused, late, and with those who speak something else.

mod common;

use common::*;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::Instant;
use wspulse_core::handshake::{Accept, AnswerError, HandshakeError, Reject};
use wspulse_core::{Cause, Closed, Config};
use wspulse_tokio::{ConnectOptions, Error, Stage, UrlError, accept, accept_with, client, connect};

fn closed<T>(result: Result<T, Error>) -> Closed {
    match result {
        Err(Error::Closed(closed)) => *closed,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it worked"),
    }
}

/// What a client says to the bytes of `answer`, which arrive one by one.
async fn answered_with(answer: &[u8]) -> Closed {
    let (near, far) = tokio::io::duplex(1);
    let request = request();
    let server = async {
        let mut raw = Raw(far);
        raw.read_head().await;
        raw.0.write_all(answer).await.ok();
    };
    let (result, ()) = tokio::join!(client(near, &request, Config::default()), server);
    closed(result)
}

#[tokio::test(start_paused = true)]
async fn the_server_sees_who_asks_for_what_and_the_client_sees_the_answer() {
    let (near, far) = tokio::io::duplex(1 << 10);
    let request = request()
        .subprotocol("chat.v2")
        .and_then(|request| request.subprotocol("chat.v1"))
        .and_then(|request| request.header("X-Room", "7"))
        .unwrap();
    let (client, server) = tokio::join!(
        client(near, &request, Config::default()),
        accept_with(far, Config::default(), |request| {
            assert_eq!(request.target(), "/chat");
            assert_eq!(request.header("x-room"), Some(&b"7"[..]));
            let chosen = request.subprotocols().last().unwrap();
            Ok(Accept::new()
                .subprotocol(chosen)
                .unwrap()
                .header("X-Seat", "11")
                .unwrap())
        }),
    );
    server.unwrap();
    let client = client.unwrap();
    let response = client.response().unwrap();
    assert_eq!(response.subprotocol(), Some("chat.v1"));
    assert_eq!(response.header("x-seat"), Some(&b"11"[..]));
}

#[tokio::test(start_paused = true)]
async fn messages_right_behind_the_handshake_are_not_lost() {
    let (near, far) = tokio::io::duplex(1 << 10);
    let mut raw = Raw(far);
    raw.write(&[REQUEST, &frame(TEXT, b"early bird")].concat())
        .await;
    let mut server = accept(near, Config::default()).await.unwrap();
    assert_eq!(
        server.next().await.unwrap().unwrap().as_text(),
        Some("early bird")
    );
}

#[tokio::test(start_paused = true)]
async fn a_rejected_client_learns_the_status_and_the_server_too() {
    let (near, far) = tokio::io::duplex(1 << 10);
    let request = request();
    let (refused, rejected) = tokio::join!(
        client(near, &request, Config::default()),
        accept_with(far, Config::default(), |_| Err(Reject::new(403)
            .unwrap()
            .body("not you"))),
    );
    match closed(refused).cause {
        Cause::Handshake(HandshakeError::Refused(refusal)) => {
            assert_eq!(refusal.status(), 403);
            assert_eq!(refusal.body_excerpt(), b"not you");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(closed(rejected).cause, Cause::Rejected { status: 403 });
}

#[tokio::test(start_paused = true)]
async fn a_subprotocol_that_was_not_offered_is_our_mistake_and_answered_500() {
    let (near, far) = tokio::io::duplex(1 << 10);
    let request = request();
    let (refused, misused) = tokio::join!(
        client(near, &request, Config::default()),
        accept_with(far, Config::default(), |_| Ok(Accept::new()
            .subprotocol("chess")
            .unwrap())),
    );
    assert!(matches!(closed(refused).cause,
        Cause::Handshake(HandshakeError::Refused(refusal)) if refusal.status() == 500));
    assert!(matches!(
        misused,
        Err(Error::Answer(AnswerError::UnofferedSubprotocol))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_header_that_cannot_be_sent_is_our_mistake_and_answered_500() {
    let (near, far) = tokio::io::duplex(1 << 10);
    let request = request();
    let (refused, misused) = tokio::join!(
        client(near, &request, Config::default()),
        accept_with(far, Config::default(), |_| Ok(
            Accept::new().header("X-Room", "two\r\nlines")?
        )),
    );
    assert!(matches!(closed(refused).cause,
        Cause::Handshake(HandshakeError::Refused(refusal)) if refusal.status() == 500));
    assert!(matches!(
        misused,
        Err(Error::Answer(AnswerError::HeaderValue))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_no_websocket_server_is_told_apart() {
    let page = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    match answered_with(page).await.cause {
        Cause::Handshake(HandshakeError::Refused(refusal)) => assert_eq!(refusal.status(), 200),
        other => panic!("{other:?}"),
    }
    let ssh = b"SSH-2.0-OpenSSH_10.0\r\n";
    assert_eq!(
        answered_with(ssh).await.cause,
        Cause::Handshake(HandshakeError::NotHttp)
    );
    let nothing = b"";
    assert_eq!(
        answered_with(nothing).await.cause,
        Cause::Handshake(HandshakeError::UnexpectedEof)
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_no_websocket_client_is_answered() {
    let (near, far) = tokio::io::duplex(1 << 10);
    let mut raw = Raw(far);
    raw.write(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
        .await;
    let (result, head) = tokio::join!(accept(near, Config::default()), async {
        let head = raw.read_head().await;
        drop(raw);
        head
    });
    assert!(head.starts_with("HTTP/1.1 4"), "{head}");
    assert_eq!(
        closed(result).cause,
        Cause::Handshake(HandshakeError::Upgrade)
    );
}

#[tokio::test(start_paused = true)]
async fn rule_12_neither_side_waits_for_longer_than_the_handshake_timeout() {
    let start = Instant::now();
    let (near, _far) = tokio::io::duplex(1 << 10);
    let request = request();
    let late = closed(client(near, &request, Config::default()).await);
    assert_eq!(
        (late.cause, start.elapsed()),
        (Cause::HandshakeTimeout, secs(10))
    );

    // A byte a second does not move the deadline.
    let start = Instant::now();
    let (near, far) = tokio::io::duplex(1 << 10);
    let trickle = tokio::spawn(async move {
        let mut raw = Raw(far);
        for byte in REQUEST.chunks(1) {
            if raw.0.write_all(byte).await.is_err() {
                break;
            }
            tokio::time::sleep(secs(1)).await;
        }
    });
    let late = closed(accept(near, Config::default()).await);
    assert_eq!(
        (late.cause, start.elapsed()),
        (Cause::HandshakeTimeout, secs(10))
    );
    trickle.await.unwrap();
}

#[tokio::test]
async fn connect_goes_over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut host = String::new();
        let mut server = accept_with(stream, Config::default(), |request| {
            host = format!("{} {}", request.host(), request.target());
            Ok(Accept::new().subprotocol("echo").unwrap())
        })
        .await
        .unwrap();
        assert!(server.get_ref().nodelay().unwrap());
        while let Some(message) = server.next().await {
            server.send(message.unwrap()).await.unwrap();
        }
        host
    });
    let url = format!("ws://{address}/a?b");
    let options = ConnectOptions::new(Config::default()).subprotocol("echo");
    let mut client = connect(&url, options).await.unwrap();
    assert!(client.get_ref().get_ref().nodelay().unwrap());
    #[cfg(target_os = "linux")]
    {
        let socket = socket2::SockRef::from(client.get_ref());
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), 128 * 1024);
        // Rule 11: the heartbeat judges, and not the kernel.
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
    }
    client.send("over tcp").await.unwrap();
    assert_eq!(
        client.next().await.unwrap().unwrap().as_text(),
        Some("over tcp")
    );
    client
        .close(wspulse_core::CloseCode::NORMAL, "")
        .await
        .unwrap();
    assert_eq!(server.await.unwrap(), format!("{address} /a?b"));
}

#[tokio::test]
async fn what_cannot_be_connected_to_is_a_typed_error() {
    let refused = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    match connect(&format!("ws://{refused}"), Config::default()).await {
        Err(Error::Io(error)) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused),
        other => panic!("{other:?}"),
    }
    let scheme = connect("http://example.com", Config::default()).await;
    assert!(matches!(scheme, Err(Error::Url(UrlError::Scheme))));
    let options = ConnectOptions::new(Config::default()).header("X-Name", "a\r\nX-Admin: yes");
    let injected = connect("ws://127.0.0.1:1", options).await;
    assert!(matches!(injected, Err(Error::Request(_))));
}

#[test]
fn errors_fit_where_io_errors_are_spoken() {
    let error = std::io::Error::from(Error::Timeout(Stage::Connect));
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    assert!(error.get_ref().unwrap().is::<Error>());
    let original = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    let error = std::io::Error::from(Error::Io(original));
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}
