//! Through proxies of both kinds, written for these tests.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use wspulse_core::handshake::{Accept, Reject};
use wspulse_tokio::{Error, Proxy, ProxyRefusal, ProxyUrlError, connect_through};

use crate::certificates::Authority;
use crate::kit::*;

/// An HTTP proxy that answers CONNECT with `answer`, and if that is good leads to `server`
/// whatever was asked for.
async fn http_proxy(seen: &Seen, server: SocketAddr, answer: &'static str) -> SocketAddr {
    let seen = seen.clone();
    serve(move |mut stream| {
        let seen = seen.clone();
        async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            for line in String::from_utf8(head).unwrap().lines() {
                seen.note(line);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            if answer.starts_with("HTTP/1.1 200") {
                relay(stream, server).await;
            }
        }
    })
    .await
}

/// A SOCKS5 proxy (RFC 1928) that wants `method`, answers a CONNECT with the code `reply`, and
/// leads to `server` whatever was asked for.
async fn socks_proxy(seen: &Seen, server: SocketAddr, method: u8, reply: u8) -> SocketAddr {
    let seen = seen.clone();
    serve(move |stream| {
        let seen = seen.clone();
        async move {
            // A client that hangs up early ends this early.
            let _ = socks(stream, &seen, server, method, reply).await;
        }
    })
    .await
}

async fn socks(
    mut stream: TcpStream,
    seen: &Seen,
    server: SocketAddr,
    method: u8,
    reply: u8,
) -> std::io::Result<()> {
    assert_eq!(stream.read_u8().await?, 5);
    let methods = read_block(&mut stream).await?;
    let chosen = if methods.contains(&method) {
        method
    } else {
        0xFF
    };
    stream.write_all(&[5, chosen]).await?;
    if chosen == 2 {
        // RFC 1929.
        assert_eq!(stream.read_u8().await?, 1);
        let user = String::from_utf8(read_block(&mut stream).await?).unwrap();
        let password = String::from_utf8(read_block(&mut stream).await?).unwrap();
        seen.note(format!("{user}:{password}"));
        stream
            .write_all(&[1, u8::from(password != "secret")])
            .await?;
    }
    let mut request = [0; 3];
    stream.read_exact(&mut request).await?;
    assert_eq!(request, [5, 1, 0]);
    let host = match stream.read_u8().await? {
        1 => std::net::Ipv4Addr::from(stream.read_u32().await?).to_string(),
        3 => String::from_utf8(read_block(&mut stream).await?).unwrap(),
        4 => std::net::Ipv6Addr::from(stream.read_u128().await?).to_string(),
        other => panic!("address type {other}"),
    };
    let port = stream.read_u16().await?;
    seen.note(format!("{host} {port}"));
    stream
        .write_all(&[5, reply, 0, 1, 127, 0, 0, 1, 0, 80])
        .await?;
    if reply == 0 {
        relay(stream, server).await;
    }
    Ok(())
}

async fn read_block(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut block = vec![0; usize::from(stream.read_u8().await?)];
    stream.read_exact(&mut block).await?;
    Ok(block)
}

async fn relay(mut stream: TcpStream, server: SocketAddr) {
    let mut server = TcpStream::connect(server).await.unwrap();
    copy_bidirectional(&mut stream, &mut server).await.ok();
}

const GOOD: &str = "HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n";

/// What the proxy said when it did not let us through, or else what was wrong with that.
async fn refusal_of(proxy: &str) -> Result<ProxyRefusal, String> {
    let proxy = Proxy::parse(proxy).unwrap();
    let result = connect_through(&proxy, "ws://server.invalid/", options());
    match bounded(result).await {
        Err(Error::Proxy(error)) => match error.downcast_ref() {
            Some(refusal) => Ok(*refusal),
            None => Err(error.to_string()),
        },
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_http_proxy_is_asked_to_connect_and_looks_the_name_up() {
    let seen = Seen::default();
    let proxy = http_proxy(&seen, echo_server().await, GOOD).await;
    let proxy = Proxy::parse(&format!("http://{proxy}")).unwrap();
    // Nobody can look these names up here, and the server is on another port.
    for (url, asked) in [
        ("ws://server.invalid/chat", "server.invalid:80"),
        ("ws://server.invalid:8080/", "server.invalid:8080"),
        ("ws://[::1]:8080/", "[::1]:8080"),
    ] {
        let ws = bounded(connect_through(&proxy, url, options())).await;
        assert_echoes(ws.unwrap()).await;
        let lines = seen.lines();
        let head = &lines[lines.len() - 3..];
        let expected = [
            format!("CONNECT {asked} HTTP/1.1"),
            format!("Host: {asked}"),
            String::new(),
        ];
        assert_eq!(head, expected);
    }
}

#[tokio::test]
async fn a_socks_proxy_is_asked_to_connect_and_looks_the_name_up() {
    let seen = Seen::default();
    let proxy = socks_proxy(&seen, echo_server().await, 0, 0).await;
    for (scheme, url, asked) in [
        ("socks5", "ws://server.invalid/chat", "server.invalid 80"),
        (
            "socks5h",
            "ws://server.invalid:8080/",
            "server.invalid 8080",
        ),
        ("socks5", "ws://192.0.2.1/", "192.0.2.1 80"),
        ("socks5", "ws://[2001:db8::1]/", "2001:db8::1 80"),
    ] {
        let proxy = Proxy::parse(&format!("{scheme}://{proxy}")).unwrap();
        let ws = bounded(connect_through(&proxy, url, options())).await;
        assert_echoes(ws.unwrap()).await;
        assert_eq!(seen.lines().last().unwrap(), asked);
    }
}

#[tokio::test]
async fn tls_goes_through_both_and_is_the_servers_own() {
    let authority = Authority::new("an authority");
    let acceptor = authority.sign("server.invalid");
    let server = serve(move |stream| {
        let accepting = acceptor.accept(stream);
        async move {
            if let Ok(stream) = accepting.await {
                echo(stream, |_| Ok(Accept::new())).await;
            }
        }
    })
    .await;
    let seen = Seen::default();
    let http = http_proxy(&seen, server, GOOD).await;
    let socks = socks_proxy(&seen, server, 0, 0).await;
    for proxy in [format!("http://{http}"), format!("socks5://{socks}")] {
        let proxy = Proxy::parse(&proxy).unwrap();
        let connecting = connect_through(&proxy, "wss://server.invalid/", authority.trusted());
        let ws = bounded(connecting).await.unwrap();
        assert!(ws.get_ref().is_tls());
        assert!(ws.get_ref().get_ref().nodelay().unwrap());
        assert_echoes(ws).await;
        // The name that the certificate must carry is the server's, whatever the proxy's.
        let connecting = connect_through(&proxy, "wss://other.invalid/", authority.trusted());
        let result = bounded(connecting).await;
        assert!(matches!(result, Err(Error::Tls(_))), "{result:?}");
    }
    let lines = seen.lines();
    assert!(lines.contains(&"CONNECT server.invalid:443 HTTP/1.1".to_owned()));
    assert!(lines.contains(&"server.invalid 443".to_owned()));
}

#[tokio::test]
async fn credentials_are_sent_as_each_proxy_wants_them() {
    let seen = Seen::default();
    let server = echo_server().await;
    let http = http_proxy(&seen, server, GOOD).await;
    let proxy = Proxy::parse(&format!("http://us%40er:se%3Acret@{http}")).unwrap();
    let ws = bounded(connect_through(&proxy, "ws://server.invalid/", options())).await;
    assert_echoes(ws.unwrap()).await;
    // us@er:se:cret
    let header = "Proxy-Authorization: Basic dXNAZXI6c2U6Y3JldA==".to_owned();
    assert!(seen.lines().contains(&header), "{:?}", seen.lines());

    let socks = socks_proxy(&seen, server, 2, 0).await;
    let proxy = Proxy::parse(&format!("socks5://us%40er:secret@{socks}")).unwrap();
    let ws = bounded(connect_through(&proxy, "ws://server.invalid/", options())).await;
    assert_echoes(ws.unwrap()).await;
    assert!(seen.lines().contains(&"us@er:secret".to_owned()));
}

#[tokio::test]
async fn a_proxy_that_refuses_is_an_error_with_its_reason() {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let seen = Seen::default();
    for (status, answer) in [
        (403, "HTTP/1.1 403 Forbidden\r\n\r\n"),
        (407, "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"),
        (
            502,
            "HTTP/1.0 502 Bad Gateway\r\nVia: 1.1 test\r\n\r\nsorry",
        ),
    ] {
        let proxy = http_proxy(&seen, nowhere, answer).await;
        let refusal = refusal_of(&format!("http://{proxy}")).await;
        assert_eq!(refusal, Ok(ProxyRefusal::Status(status)));
    }
    for reply in 1..=9 {
        let proxy = socks_proxy(&seen, nowhere, 0, reply).await;
        let refusal = refusal_of(&format!("socks5://{proxy}")).await;
        assert_eq!(refusal, Ok(ProxyRefusal::Reply(reply)));
    }
    let guarded = socks_proxy(&seen, nowhere, 2, 2).await;
    for (user, expected) in [
        ("", ProxyRefusal::Credentials),
        ("user:wrong@", ProxyRefusal::Credentials),
        ("user:secret@", ProxyRefusal::Reply(2)),
    ] {
        let refusal = refusal_of(&format!("socks5://{user}{guarded}")).await;
        assert_eq!(refusal, Ok(expected), "{user}");
    }
}

#[tokio::test]
async fn what_is_no_proxy_is_an_error_too() {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let endless: &'static str = "HTTP/1.1 200 OK\r\nX: ".repeat(1000).leak();
    for answer in ["", "HTTP/1.1 200", "SSH-2.0-OpenSSH_10.0\r\n", endless] {
        let other = serve(move |mut stream| async move {
            stream.write_all(answer.as_bytes()).await.ok();
            stream.shutdown().await.ok();
            read_to_end(&mut stream).await;
        })
        .await;
        for scheme in ["http", "socks5"] {
            let refusal = refusal_of(&format!("{scheme}://{other}")).await;
            let error = refusal.expect_err("nothing that a proxy would say");
            assert!(!error.is_empty(), "{answer}");
        }
    }
    // Longer than SOCKS can say.
    let long = "x".repeat(250);
    let silent = socks_proxy(&Seen::default(), nowhere, 2, 0).await;
    let refusal = refusal_of(&format!("socks5://{long}:{long}@{silent}")).await;
    assert!(refusal.is_err(), "{refusal:?}");
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_an_io_error() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let proxy = Proxy::parse(&format!("http://{gone}")).unwrap();
    let result = bounded(connect_through(&proxy, "ws://server.invalid/", options())).await;
    match result {
        Err(Error::Io(error)) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn redirects_go_through_the_proxy_too() {
    let seen = Seen::default();
    let server = serve(|stream| {
        echo(stream, |request| match request.target() {
            "/" => Err(Reject::new(302)
                .and_then(|reject| reject.header("Location", "ws://next.invalid:81/there"))
                .unwrap()),
            _ => Ok(Accept::new()),
        })
    })
    .await;
    let proxy = socks_proxy(&seen, server, 0, 0).await;
    let proxy = Proxy::parse(&format!("socks5://{proxy}")).unwrap();
    let options = options().max_redirects(1);
    let ws = bounded(connect_through(&proxy, "ws://server.invalid/", options)).await;
    assert_echoes(ws.unwrap()).await;
    assert_eq!(seen.lines(), ["server.invalid 80", "next.invalid 81"]);
}

#[test]
fn what_is_no_proxy_is_said_before_anything_is_done() {
    let long = "x".repeat(256);
    let cases = [
        ("proxy.example:3128", ProxyUrlError::Scheme),
        ("proxy", ProxyUrlError::Malformed),
        ("https://proxy.example", ProxyUrlError::Scheme),
        ("socks4://proxy.example", ProxyUrlError::Scheme),
        ("socks5:proxy.example", ProxyUrlError::Path),
        ("socks5:///", ProxyUrlError::Host),
        ("http://proxy.example/path", ProxyUrlError::Path),
        ("http://proxy.example/?query", ProxyUrlError::Path),
        ("http://proxy.example/#top", ProxyUrlError::Path),
        ("http://a%3Ab:c@proxy.example", ProxyUrlError::Credentials),
        ("http://%FF@proxy.example", ProxyUrlError::Credentials),
        ("socks5://:c@proxy.example", ProxyUrlError::Credentials),
        (
            &format!("socks5://{long}:c@proxy.example"),
            ProxyUrlError::Credentials,
        ),
    ];
    for (url, error) in cases {
        assert_eq!(Proxy::parse(url).err(), Some(error), "{url}");
    }
}

#[test]
fn credentials_do_not_get_into_logs() {
    let proxy = Proxy::parse("socks5://alice:secret@proxy.example").unwrap();
    let text = format!("{proxy:?}");
    assert!(
        !text.contains("alice") && !text.contains("secret"),
        "{text}"
    );
    assert!(
        text.contains("proxy.example") && text.contains("1080"),
        "{text}"
    );
}
