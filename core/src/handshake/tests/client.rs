use super::*;

use HandshakeError as E;

#[test]
fn right_answer_opens() {
    let response = ask(&good_response()).unwrap();
    assert_eq!(response.subprotocol(), None);
    assert_eq!(response.header("UPGRADE"), Some(&b"websocket"[..]));
    assert_eq!(response.headers().count(), 3);
    ask(&response_with("Upgrade", "upgrade: WebSocket")).unwrap();
    ask(&response_with("Connection", "Connection: foo, UPGRADE")).unwrap();
    ask(&replace(
        &good_response(),
        b" Switching Protocols",
        b" \xff",
    ))
    .unwrap();
}

#[test]
fn h1_endless_head_is_cut_off_at_the_limit() {
    let limits = HandshakeLimits {
        max_head_size: 200,
        ..ROOMY
    };
    let request = ClientRequest::new("a", "/").unwrap();
    let mut client = ClientHandshake::new(&request, NONCE, limits);
    client.handle_input(b"HTTP/1.1 101 Switching Protocols\r\n");
    for _ in 0..100 {
        client.handle_input(b"X: y\r\n");
    }
    let error = client.poll_response().unwrap().unwrap_err();
    assert_eq!(error, E::HeadTooLarge { limit: 200 });
    assert_eq!(error.to_string(), "head of more than 200 bytes");
}

#[test]
fn h3_header_count() {
    let request = ClientRequest::new("a", "/").unwrap();
    for (limit, is_fine) in [(3, true), (2, false)] {
        let limits = HandshakeLimits {
            max_header_count: limit,
            ..ROOMY
        };
        let mut client = ClientHandshake::new(&request, NONCE, limits);
        client.handle_input(&good_response());
        match client.poll_response().unwrap() {
            Ok(_) => assert!(is_fine),
            Err(error) => assert_eq!((error, is_fine), (E::TooManyHeaders { limit }, false)),
        }
    }
}

#[test]
fn h4_grammar_is_strict() {
    for (line, error) in [
        ("no colon", E::HeaderLine),
        (": empty name", E::HeaderLine),
        ("Server : x", E::HeaderLine),
        ("Server: a\r\n b", E::LineFolding),
        ("Server: a\0b", E::ControlByte),
        ("Server: a\rb", E::BareCr),
        ("Server: a\nb: c", E::BareLf),
    ] {
        assert_response_fails(&response_with("", line), error);
    }
    for junk in [
        "\r\n",
        "\n",
        "\0",
        " ",
        "h",
        "HTTQ",
        "ICY 200 OK",
        "\x15\x03\x01",
    ] {
        let head = [junk.as_bytes(), &good_response()].concat();
        assert_response_fails(&head, E::NotHttp);
    }
    assert_response_fails(b"\x15", E::NotHttp);
    let opaque = replace(&response_with("", "Server: ?"), b"?", b"\xff");
    assert_eq!(ask(&opaque).unwrap().header("server"), Some(&b"\xff"[..]));
}

#[test]
fn h5_single_headers_come_once() {
    let accept = format!("Sec-WebSocket-Accept: {ACCEPT}");
    for line in [
        &accept,
        "Sec-WebSocket-Accept: x",
        "Upgrade: websocket",
        "upgrade: h2c",
    ] {
        let head = replace(
            &good_response(),
            b"\r\n\r\n",
            format!("\r\n{line}\r\n\r\n").as_bytes(),
        );
        assert_response_fails(&head, E::RepeatedHeader);
    }
}

#[test]
fn h12_frames_behind_the_answer_are_left_in_the_input() {
    let head = good_response();
    let input = [&head[..], b"\x81\x02hi"].concat();
    let mut client = client();
    assert_eq!(client.handle_input(&input), head.len());
    assert_eq!(client.handle_input(b"\x81\x02hi"), 0);
    assert!(client.poll_response().unwrap().is_ok());
    assert_eq!(client.poll_response(), None);
    assert_eq!(client.handle_input(b"\x81\x02hi"), 0);
}

#[test]
fn h13_accept_is_exactly_right() {
    for value in [
        "",
        "S3PPLMBITXAQ9KYGZZHZRBK+XOO=",
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo",
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOp=",
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo==",
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=, x",
        "ICX+Yqv66kxgM0FcWaLWlFLwTAI=", // of the key of 16 zero bytes
        KEY,
    ] {
        let head = response_with(
            "Sec-WebSocket-Accept",
            &format!("Sec-WebSocket-Accept: {value}"),
        );
        assert_response_fails(&head, E::Accept);
    }
    assert_response_fails(&response_with("Sec-WebSocket-Accept", ""), E::Accept);
}

#[test]
fn h14_refusals_keep_status_headers_and_the_beginning_of_the_body() {
    let long = "y".repeat(5_000);
    for (head, body, excerpt) in [
        ("200 OK\r\nContent-Length: 2", "hixx", "hi"),
        ("301 Moved\r\nLocation: /a\r\nContent-Length: 0", "", ""),
        (
            "401 No\r\nTransfer-Encoding: chunked",
            "2\r\nhi\r\n3;x=y\r\n yo\r\n0\r\n\r\n",
            "hi yo",
        ),
        (
            "403 No\r\nTransfer-Encoding: gzip, Chunked\r\nContent-Length: 1",
            "2\r\nhi\r\n0\r\n",
            "hi",
        ),
        ("204 None\r\nContent-Length: 9", "", ""),
        ("304 Same\r\nContent-Length: 9", "", ""),
        ("503 Busy\r\nContent-Length: 10000", &long, &long[..4_096]),
        ("503 Busy", &long, &long[..4_096]),
        ("503 Busy\r\nContent-Length: x", &long, &long[..4_096]),
        // C27, RFC 9110 §8.6: said twice, or joined by a proxy, it is the same length.
        (
            "503 Busy\r\nContent-Length: 2\r\nContent-Length: 2",
            "hixx",
            "hi",
        ),
        ("503 Busy\r\nContent-Length: 2, 2", "hixx", "hi"),
        ("503 Busy\r\nContent-Length: 2, 3", &long, &long[..4_096]),
        (
            "503 Busy\r\nContent-Length: 1\r\nContent-Length: 2",
            &long,
            &long[..4_096],
        ),
        ("503 Busy\r\nTransfer-Encoding: chunked", "1\r\nab\r\n", "a"),
        ("503 Busy\r\nTransfer-Encoding: chunked", "x", ""),
        (
            "503 Busy\r\nTransfer-Encoding: chunked",
            "11111111111111111",
            "",
        ),
        ("999 Denied\r\nContent-Length: 0", "", ""),
    ] {
        let mut client = client();
        let input = format!("HTTP/1.1 {head}\r\n\r\n{body}");
        assert_eq!(client.handle_input(input.as_bytes()), input.len());
        let refusal = refusal(client.poll_response());
        assert_eq!(
            refusal.status(),
            head[..3].parse::<u16>().unwrap(),
            "{head}"
        );
        assert_eq!(refusal.body_excerpt(), excerpt.as_bytes(), "{head}");
        assert_eq!(client.poll_response(), None);
        assert_eq!(client.handle_input(&good_response()), good_response().len());
        assert_eq!(client.poll_response(), None);
    }
    let mut client = client();
    client.handle_input(b"HTTP/1.1 302 Found\r\nLocation: /a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(
        refusal(client.poll_response()).header("location"),
        Some(&b"/a"[..])
    );
}

#[test]
fn h14_body_until_the_stream_ends_or_the_deadline_does() {
    for end in [ClientHandshake::handle_eof, ClientHandshake::give_up] {
        for head in [
            "",
            "Content-Length: 9\r\n",
            "Transfer-Encoding: chunked\r\n",
        ] {
            let body = if head.starts_with('T') {
                "9\r\nbusy"
            } else {
                "busy"
            };
            let mut client = client();
            client.handle_input(format!("HTTP/1.0 503 Busy\r\n{head}\r\n{body}").as_bytes());
            assert_eq!(client.poll_response(), None);
            end(&mut client);
            let refusal = refusal(client.poll_response());
            assert_eq!(
                (refusal.status(), refusal.body_excerpt()),
                (503, &b"busy"[..])
            );
            end(&mut client);
            assert_eq!(client.poll_response(), None);
        }
    }
}

#[test]
fn h14_body_that_is_nearly_all_framing_is_bounded() {
    let mut client = client();
    client.handle_input(b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n2;");
    for _ in 0..16_384 {
        client.handle_input(b"x");
    }
    assert_eq!(refusal(client.poll_response()).status(), 503);
}

#[test]
fn h14_interim_responses_are_skipped_and_bounded() {
    let interim = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
    let input = [&interim[..], &good_response(), b"\x81"].concat();
    let mut client = client();
    assert_eq!(client.handle_input(&input), input.len() - 1);
    assert!(client.poll_response().unwrap().is_ok());

    let nine = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(9);
    let eight = &nine[..nine.len() / 9 * 8];
    assert!(ask(&[eight, &good_response()].concat()).is_ok());
    assert_response_fails(&nine, E::TooManyInterim);

    let limits = HandshakeLimits {
        max_head_size: good_response().len() + interim.len() - 1,
        ..ROOMY
    };
    let request = ClientRequest::new("a", "/").unwrap();
    let mut client = ClientHandshake::new(&request, NONCE, limits);
    client.handle_input(&input);
    let limit = limits.max_head_size;
    let error = client.poll_response().unwrap().unwrap_err();
    assert_eq!(error, E::HeadTooLarge { limit });
}

#[test]
fn h14_status_line() {
    for line in [
        "HTTP/1.1 099 x",
        "HTTP/1.1 000 x",
        "HTTP/1.1 1000 x",
        "HTTP/1.1 10 1",
        "HTTP/1.1 10",
        "HTTP/1.1  101 x",
        "HTTP/1.1 +101 x",
        "HTTP/1.1 101x",
    ] {
        assert_response_fails(format!("{line}\r\n\r\n").as_bytes(), E::StartLine);
    }
    for line in ["HTTP/2.0 101 x", "HTTP/1.12 101 x", "HTTP/1.1\t101"] {
        let error = ask(format!("{line}\r\n\r\n").as_bytes()).unwrap_err();
        assert_eq!(error, E::HttpVersion, "{line}");
    }
    assert_response_fails(&replace(&good_response(), b"/1.1", b"/1.0"), E::HttpVersion);
}

#[test]
fn h14_text_of_a_refusal_is_escaped_and_short() {
    let mut client = client();
    client.handle_input(b"HTTP/1.1 500 \x1b[31m\r\n\r\n");
    assert_eq!(client.poll_response(), Some(Err(E::ControlByte)));

    let mut client = super::client();
    client.handle_input(b"HTTP/1.1 500 Oops\r\n\r\n\x1b[31m\r\n\xff");
    client.handle_input(&[b'x'; 5_000]);
    let shown = format!("{}", client.poll_response().unwrap().unwrap_err());
    let text = shown
        .strip_prefix("handshake refused with status 500: ")
        .unwrap();
    assert!(text.starts_with("\\x1b[31m\\r\\n\\xffxxx"), "{text}");
    assert_eq!(text.len(), 1_024);
    assert!(
        shown
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic())
    );
}

#[test]
fn h15_only_what_was_offered_can_be_chosen() {
    let request = ClientRequest::new("a", "/")
        .and_then(|request| request.subprotocol("chat"))
        .and_then(|request| request.subprotocol("superchat"))
        .unwrap();
    let ask = |lines: &str| {
        let mut client = client_of(&request);
        client.handle_input(&response_with("", lines));
        client.poll_response().unwrap()
    };
    let chosen = ask("Sec-WebSocket-Protocol: superchat").unwrap();
    assert_eq!(chosen.subprotocol(), Some("superchat"));
    assert_eq!(ask("").unwrap().subprotocol(), None);
    for value in ["", "Chat", "chat, superchat", "super", "x", "\u{e9}"] {
        let error = ask(&format!("Sec-WebSocket-Protocol: {value}")).unwrap_err();
        assert_eq!(error, E::UnofferedSubprotocol);
    }
    let twice = "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: chat";
    assert_eq!(ask(twice).unwrap_err(), E::RepeatedHeader);
    for value in ["permessage-deflate", ""] {
        let error = ask(&format!("Sec-WebSocket-Extensions: {value}")).unwrap_err();
        assert_eq!(error, E::UnofferedExtension);
    }
}

#[test]
fn h16_cve_2026_43974_switch_without_consent_is_none() {
    for value in [
        "",
        "Upgrade: h2c",
        "Upgrade: h2c, websocket",
        "Upgrade: websocketx",
    ] {
        assert_response_fails(&response_with("Upgrade", value), E::Upgrade);
    }
    for value in [
        "",
        "Connection: keep-alive",
        "Connection: up grade",
        "Connection: upgradex",
    ] {
        assert_response_fails(&response_with("Connection", value), E::Connection);
    }
    // A second 101 is none of the handshake's: it is left for the frame decoder to refuse.
    let input = [good_response(), good_response()].concat();
    let mut client = client();
    assert_eq!(client.handle_input(&input), input.len() / 2);
    assert_eq!(client.handle_input(&good_response()), 0);
}

#[test]
fn h17_cve_2026_1527_cve_2026_47072_client_writes_no_line_of_a_stranger() {
    for host in [
        "",
        "a b",
        "a\r\nX: y",
        "a\0",
        "a/b",
        "user@a",
        "a:x",
        "ä",
        ":80",
    ] {
        assert_eq!(ClientRequest::new(host, "/"), Err(RequestError::Host));
    }
    for target in [
        "",
        "a",
        "/a b",
        "/\r\nX: y",
        "/\0",
        "/#a",
        "/ä",
        "http://a/",
        "/a\tb",
        "/\x7f",
    ] {
        assert_eq!(ClientRequest::new("a", target), Err(RequestError::Target));
    }
    let request = ClientRequest::new("a", "/").unwrap();
    for value in ["a\r\nb: c", "a\n", "a\r", "a\0", "\x7f", "\x08"] {
        let header = request.clone().header("X", value);
        assert_eq!(header, Err(RequestError::HeaderValue));
        let subprotocol = request.clone().subprotocol(value);
        assert_eq!(subprotocol, Err(RequestError::Subprotocol));
        let origin = request.clone().origin(value);
        assert_eq!(origin, Err(RequestError::Origin));
    }
    for name in ["", "a b", "a:", "a\r\n", "é", "a\0"] {
        let header = request.clone().header(name, "x");
        assert_eq!(header, Err(RequestError::HeaderName));
    }
    for name in [
        "upgrade",
        "Connection",
        "origin",
        "Content-Length",
        "Transfer-Encoding",
        "Sec-WebSocket-Key",
        "sec-websocket-foo",
    ] {
        let header = request.clone().header(name, "x");
        assert_eq!(header, Err(RequestError::ReservedHeader));
    }
    for name in ["", "a b", "a,b"] {
        let subprotocol = request.clone().subprotocol(name);
        assert_eq!(subprotocol, Err(RequestError::Subprotocol));
    }
    let twice = request.clone().subprotocol("a").unwrap().subprotocol("a");
    assert_eq!(twice, Err(RequestError::DuplicateSubprotocol));
    let head = client_of(&request.header("X", b"\xff\t \x80").unwrap())
        .request_head()
        .clone();
    assert!(head.ends_with(b"\r\nX: \xff\t \x80\r\n\r\n"));
}

#[test]
fn h18_lists_are_bounded() {
    let many = format!("Connection: {}", ",".repeat(10_000));
    assert_response_fails(&response_with("Connection", &many), E::ListTooLong);
}

#[test]
fn client_hears_of_a_stream_that_ends() {
    for size in [0, 1, 20, good_response().len() - 1] {
        let mut client = client();
        client.handle_input(&good_response()[..size]);
        client.give_up();
        assert_eq!(client.poll_response(), None, "no status is known yet");
        client.handle_eof();
        assert_eq!(client.poll_response(), Some(Err(E::UnexpectedEof)));
    }
    let mut client = client();
    client.handle_input(&good_response());
    client.handle_eof();
    assert!(client.poll_response().unwrap().is_ok());
}

/// C27: real responses have 130 headers or 20 KB of cookies.
#[test]
fn a_client_takes_a_larger_head_than_a_server() {
    let many = "X-Field: y\r\n".repeat(130);
    let cookies = format!("Set-Cookie: {}", "x".repeat(20 << 10));
    let request = ClientRequest::new("example.com", "/").unwrap();
    for with in [many.trim_end(), &cookies] {
        let head = response_with("", with);
        let mut client = ClientHandshake::new(&request, NONCE, HandshakeLimits::CLIENT);
        client.handle_input(&head);
        assert!(client.poll_response().unwrap().is_ok());
        let mut client = ClientHandshake::new(&request, NONCE, HandshakeLimits::SERVER);
        client.handle_input(&head);
        assert!(client.poll_response().unwrap().is_err());
    }
}

/// C27: through a tunnel a server is reached under another address than its name.
#[test]
fn a_host_of_ones_own_replaces_the_first() {
    let request = ClientRequest::new("127.0.0.1:8080", "/").unwrap();
    let request = request.header("host", "example.com:444").unwrap();
    let head = text(client_of(&request).request_head().to_vec());
    assert_eq!(head.matches("Host: ").count(), 1, "{head}");
    assert!(head.contains("\r\nHost: example.com:444\r\n"), "{head}");
    for host in ["", "a b", "a\r\nX: y", "http://a", "\u{e9}"] {
        let named = request.clone().header("Host", host);
        assert_eq!(named.unwrap_err(), RequestError::Host, "{host:?}");
    }
}
