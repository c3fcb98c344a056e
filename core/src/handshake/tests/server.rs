use super::*;

use HandshakeError as E;

#[test]
fn h1_cve_2026_54465_endless_head_is_cut_off_at_the_limit() {
    let limits = HandshakeLimits {
        max_head_size: 1000,
        ..ROOMY
    };
    let mut server = ServerHandshake::new(limits);
    server.handle_input(b"GET / HTTP/1.1\r\nX: ");
    for _ in 0..1000 - 19 {
        server.handle_input(b"x");
        let reader = server.reader().expect("still within the limit");
        assert!(reader.capacity() <= 1000);
        assert_eq!(server.poll_request(), None);
    }
    server.handle_input(b"x");
    assert!(server.reader().is_none(), "nothing is held any more");
    let error = server.poll_request().unwrap().unwrap_err();
    assert_eq!(error, E::HeadTooLarge { limit: 1000 });
    assert_eq!(error.status(), Some(431));
}

#[test]
fn h1_head_of_exactly_the_limit_passes() {
    let head = good_request();
    let mut limits = ROOMY;
    limits.max_head_size = head.len();
    assert!(serve_within(limits, &head).unwrap().is_ok());
    limits.max_head_size -= 1;
    assert_eq!(
        serve_within(limits, &head),
        Some(Err(E::HeadTooLarge {
            limit: head.len() - 1
        })),
        "one byte less"
    );
}

#[test]
fn h3_cve_2024_37890_header_count() {
    for (count, limit, is_fine) in [
        (64, 64, true),
        (65, 64, false),
        (128, 128, true),
        (129, 128, false),
        (2000, 2000, true),
        (2000, 100, false),
    ] {
        // The required headers come last: behind the limit they must not be "missing".
        let padding = "X: y\r\n".repeat(count - 5);
        let line = b"GET /chat HTTP/1.1\r\n";
        let head = replace(&good_request(), line, &[line, padding.as_bytes()].concat());
        let limits = HandshakeLimits {
            max_header_count: limit,
            ..ROOMY
        };
        match serve_within(limits, &head).unwrap() {
            Ok(request) => assert!(is_fine && request.headers().count() == count),
            Err(error) => {
                assert!(!is_fine, "{count} of {limit}");
                assert_eq!(error, E::TooManyHeaders { limit });
                assert_eq!(error.to_string(), format!("more than {limit} headers"));
                assert_eq!(error.status(), Some(431));
            }
        }
    }
}

#[test]
fn h4_grammar_is_strict() {
    for (line, error) in [
        ("no colon", E::HeaderLine),
        (": empty name", E::HeaderLine),
        ("Cookie : x", E::HeaderLine),
        ("Coo kie: x", E::HeaderLine),
        ("Cöökie: x", E::HeaderLine),
        ("Cookie: a\r\n b", E::LineFolding),
        ("Cookie: a\r\n\tb", E::LineFolding),
        ("Cookie: a\0b", E::ControlByte),
        ("Cookie: a\x01b", E::ControlByte),
        ("Cookie: a\x7Fb", E::ControlByte),
        ("Cookie: a\rb", E::BareCr),
        ("Cookie: a\r\rb", E::BareCr),
        ("Cookie: a\nb: c", E::BareLf),
        ("Cookie: a\r\n\nb", E::BareLf),
        ("Cookie: a\r\n\rb", E::BareCr),
    ] {
        assert_request_fails(&request_with("", line), error.clone());
        assert_eq!(error.status(), Some(400));
    }
    // Folded before the first header, where some parsers skip it.
    let folded = replace(&good_request(), b"Host", b" Host");
    assert_request_fails(&folded, E::LineFolding);
    let only_lf = text(good_request()).replace("\r\n", "\n");
    assert_request_fails(only_lf.as_bytes(), E::BareLf);
}

#[test]
fn h4_cve_2026_50020_nothing_precedes_the_request_line() {
    for junk in ["\n", "\0", "\x01", " ", "\t", "\u{feff}", ":", "/"] {
        let head = [junk.as_bytes(), &good_request()].concat();
        assert_request_fails(&head, E::NotHttp);
        // Not when the head ends: at the first byte.
        assert_request_fails(&head[..1], E::NotHttp);
    }
    for junk in ["\r", "\r\r\n", "\r\n\r\n", "\r\n\n", "\r\n "] {
        let head = [junk.as_bytes(), &good_request()].concat();
        assert_request_fails(&head, E::NotHttp);
    }
}

/// C27, RFC 9112 §2.2: one empty line is skipped, however it is cut, and counts as bytes.
#[test]
fn rfc_9112_section_2_2_an_empty_line_before_the_request() {
    let head = [b"\r\n", &*good_request()].concat();
    assert_eq!(serve(&head).unwrap().target(), "/chat");
    let mut server = ServerHandshake::new(ROOMY);
    for byte in &head {
        assert_eq!(server.poll_request(), None);
        assert_eq!(server.handle_input(&[*byte]), 1);
    }
    assert_eq!(server.poll_request().unwrap(), serve(&head));
    let mut limits = ROOMY;
    limits.max_head_size = head.len() - 1;
    let limit = limits.max_head_size;
    let outcome = serve_within(limits, &head);
    assert_eq!(outcome, Some(Err(E::HeadTooLarge { limit })));
}

#[test]
fn h4_other_protocols_are_refused_at_once() {
    let tls_hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01];
    assert_request_fails(&tls_hello, E::NotHttp);
    assert_request_fails(b"SSH-2.0-OpenSSH_9.2p1 Debian", E::NotHttp);
    assert_request_fails(&[b'A'; 21], E::NotHttp);
    assert_request_fails(b"PRI * HTTP/2.0\r\n\r\n", E::HttpVersion);
}

#[test]
fn h4_request_line() {
    for (line, error) in [
        ("GET /chat", E::StartLine),
        ("GET  /chat HTTP/1.1", E::StartLine),
        ("GET /chat  HTTP/1.1", E::HttpVersion),
        ("GET /chat HTTP/1.1 ", E::StartLine),
        ("GET /ch at HTTP/1.1", E::HttpVersion),
        ("GET /ch\tat HTTP/1.1", E::StartLine),
        ("GET /ch\u{e4}t HTTP/1.1", E::Target),
        ("GET /chat#x HTTP/1.1", E::Target),
        ("GET chat HTTP/1.1", E::Target),
        ("GET * HTTP/1.1", E::Target),
        ("GET example.com:80 HTTP/1.1", E::Target),
        ("GET http://evil.example/ HTTP/1.1", E::Target),
        ("GET http://example.com.evil.example/ HTTP/1.1", E::Target),
        ("GET ftp://example.com/ HTTP/1.1", E::Target),
        ("GET /chat http/1.1", E::HttpVersion),
    ] {
        let head = replace(&good_request(), b"GET /chat HTTP/1.1", line.as_bytes());
        assert_request_fails(&head, error);
    }
    let invalid_utf8 = replace(&good_request(), b"/chat", b"/\xff");
    assert_request_fails(&invalid_utf8, E::StartLine);
    for target in [
        "/",
        "//",
        "/?",
        "/a%20b|{}",
        "HTTP://EXAMPLE.com/x",
        "https://example.com?x",
    ] {
        let head = replace(&good_request(), b"/chat", target.as_bytes());
        assert_eq!(serve(&head).unwrap().target(), target);
    }
}

#[test]
fn h4_cve_2026_42544_cve_2017_16025_values_are_opaque_bytes() {
    for byte in 0x80..=0xFF {
        let head = replace(&request_with("", "Cookie: ?"), b"?", &[b'a', byte]);
        let request = serve(&head).unwrap();
        assert_eq!(request.header("cookie"), Some(&[b'a', byte][..]));
    }
    for (name, error) in [
        ("Sec-WebSocket-Protocol", E::Subprotocols),
        ("Sec-WebSocket-Extensions", E::Extensions),
        ("Sec-WebSocket-Key", E::Key),
        ("Sec-WebSocket-Version", E::Version),
        ("Host", E::Host),
        ("Upgrade", E::Upgrade),
        ("Connection", E::Connection),
    ] {
        let head = request_with(name, &format!("{name}: ?"));
        assert_request_fails(&replace(&head, b"?", b"\xff"), error.clone());
        assert_request_fails(&replace(&head, b"?", "é".as_bytes()), error);
    }
}

#[test]
fn h4_cve_2026_45541_malformed_subprotocols() {
    for value in ["a b", "a;b", "\"a\"", "a/b"] {
        let head = request_with("", &format!("Sec-WebSocket-Protocol: {value}"));
        assert_request_fails(&head, E::Subprotocols);
    }
    let two_lines = "Sec-WebSocket-Protocol: a,, b\r\nsec-websocket-protocol: A";
    let request = serve(&request_with("", two_lines)).unwrap();
    assert!(request.subprotocols().eq(["a", "b", "A"]));
    // C27: an empty list offers nothing, and what comes twice is offered once.
    for (value, offered) in [
        ("", &[][..]),
        (",", &[]),
        ("a, a", &["a"]),
        (
            "b, a, b, a\r\nSec-WebSocket-Protocol: c, b",
            &["b", "a", "c"],
        ),
    ] {
        let head = request_with("", &format!("Sec-WebSocket-Protocol: {value}"));
        assert!(
            serve(&head)
                .unwrap()
                .subprotocols()
                .eq(offered.iter().copied())
        );
    }
}

#[test]
fn h4_extensions_grammar() {
    for value in [
        "",
        ",",
        "a b",
        "a;",
        "a; ",
        "a;;b",
        "a; =b",
        "a; b=",
        "a; b=\"\"",
        "a; b=\"c",
        "a; b=\"c d\"",
        "a; b=\"\\\"",
        "a; b=c d",
        "\"a\"",
        "a=b",
        "a; b=\"c\"d",
    ] {
        let head = request_with("", &format!("Sec-WebSocket-Extensions: {value}"));
        assert_request_fails(&head, E::Extensions);
    }
    for value in [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits, permessage-deflate; x=\"1\\5\" ,, foo",
        " a ; b = c ",
    ] {
        let head = request_with("", &format!("Sec-WebSocket-Extensions: {value}"));
        let request = serve(&head).unwrap();
        let raw = request.header("Sec-WebSocket-Extensions");
        assert_eq!(raw, Some(value.trim().as_bytes()));
    }
}

#[test]
fn h5_single_headers_come_once() {
    let good = serve(&good_request()).unwrap();
    for name in ["Host", "Sec-WebSocket-Key", "Sec-WebSocket-Version"] {
        let value = str::from_utf8(good.header(name).unwrap()).unwrap();
        let same = format!("{name}: {value}\r\n{}: {value}", name.to_uppercase());
        let other = format!("{name}: {value}\r\n{name}: x");
        let empty = format!("{name}: {value}\r\n{name}:");
        for lines in [same, other, empty] {
            assert_request_fails(&request_with(name, &lines), E::RepeatedHeader);
        }
    }
}

#[test]
fn h6_cve_2026_5067_key_is_base64_of_16_bytes() {
    let long = "A".repeat(64 * 1024);
    for key in [
        "",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQAA", // 18 bytes
        "dGhlIHNhbXBsZSBub25jZXg=", // 17 bytes
        "dGhlIHNhbXBsZSBub25j",     // 15 bytes
        "dGhlIHNhbXBsZSBub25jZ===",
        "dGhlIHNhbXBsZSBub25jZQ===",
        "dGhlIHNhbXBsZSBub25j Q==",
        "dGhlIHNhbXBsZSBub-_jZQ==", // the other alphabet
        "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
        &long,
    ] {
        let head = request_with("Sec-WebSocket-Key", &format!("Sec-WebSocket-Key: {key}"));
        assert_request_fails(&head, E::Key);
    }
    // RFC 6455 §4.1 has this one, with bits behind the last byte.
    let key = "AQIDBAUGBwgJCgsMDQ4PEC==";
    let head = request_with("Sec-WebSocket-Key", &format!("Sec-WebSocket-Key: {key}"));
    assert!(serve(&head).is_ok());
    assert_request_fails(&request_with("Sec-WebSocket-Key", ""), E::Key);
}

#[test]
fn h7_version_is_13() {
    for version in ["0", "7", "8", "12", "14", "13, 8", "+13", "013", "", "1 3"] {
        let line = format!("Sec-WebSocket-Version: {version}");
        assert_request_fails(&request_with("Sec-WebSocket-Version", &line), E::Version);
    }
    assert_request_fails(&request_with("Sec-WebSocket-Version", ""), E::Version);
    let response = text(E::Version.to_response().unwrap());
    assert!(response.starts_with("HTTP/1.1 426 Upgrade Required\r\n"));
    assert!(response.contains("\r\nSec-WebSocket-Version: 13\r\n"));
}

#[test]
fn h8_method_and_http_version() {
    for method in ["POST", "get", "CONNECT", "GETX", "head"] {
        let head = replace(&good_request(), b"GET", method.as_bytes());
        assert_request_fails(&head, E::Method);
    }
    for version in ["HTTP/1.0", "HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/11"] {
        let head = replace(&good_request(), b"HTTP/1.1", version.as_bytes());
        assert_request_fails(&head, E::HttpVersion);
    }
    let response = text(E::Method.to_response().unwrap());
    assert!(response.contains("\r\nAllow: GET\r\n"));
}

#[test]
fn h8_head_gets_no_body() {
    let head = replace(&good_request(), b"GET", b"HEAD");
    assert_request_fails(&head, E::MethodHead);
    let response = text(E::MethodHead.to_response().unwrap());
    assert!(
        response.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"),
        "{response}"
    );
    assert!(response.contains("\r\nAllow: GET\r\n"), "{response}");
    assert!(response.ends_with("\r\n\r\n"), "{response}");
}

#[test]
fn h8_cve_2026_61666_host() {
    for host in [
        "",
        ":80",
        "a b",
        "a/b",
        "user@a",
        "a:b",
        "a:-1",
        "a:+1",
        "a:65536",
        "a:80:80",
        "[::1",
        "::1",
        "[::1]x",
        "[x]",
        "[::1%25eth0]",
        "a%2",
        "a%zz",
        "a,b c",
        "http://a",
        "a?b",
        "a\\b",
    ] {
        assert_request_fails(&request_with("Host", &format!("Host: {host}")), E::Host);
    }
    assert_request_fails(&request_with("Host", ""), E::Host);
    for host in [
        "a",
        "A.b:8080",
        "127.0.0.1",
        "[::1]",
        "[2001:db8::1]:443",
        "a_b",
        "xn--a",
        "a:",
    ] {
        let request = serve(&request_with("Host", &format!("Host: {host}"))).unwrap();
        assert_eq!(request.host(), host);
    }
}

#[test]
fn h8_cve_2020_7693_upgrade_and_connection() {
    for value in [
        "websocketx",
        "web socket",
        "h2c",
        "",
        "websocket/13",
        "/websocket",
        "h2c/",
    ] {
        let head = request_with("Upgrade", &format!("Upgrade: {value}"));
        assert_request_fails(&head, E::Upgrade);
    }
    for value in ["keep-alive", "upgradex", "up grade", "", "close"] {
        let head = request_with("Connection", &format!("Connection: {value}"));
        assert_request_fails(&head, E::Connection);
    }
    assert_request_fails(&request_with("Upgrade", ""), E::Upgrade);
    assert_request_fails(&request_with("Connection", ""), E::Connection);

    for value in [
        "WebSocket",
        "h2c, websocket",
        "HTTP/2.0,websocket",
        ",websocket ,",
        // C27: a list may come on several lines.
        "h2c\r\nUpgrade: websocket",
        "websocket\r\nUpgrade: websocket",
    ] {
        serve(&request_with("Upgrade", &format!("Upgrade: {value}"))).unwrap();
    }
    for value in [
        "keep-alive, Upgrade",
        "UPGRADE",
        "upgrade\r\nConnection: keep-alive",
    ] {
        serve(&request_with("Connection", &format!("Connection: {value}"))).unwrap();
    }
}

#[test]
fn h9_cve_2018_12541_request_has_no_body() {
    for line in [
        "Content-Length: 5",
        "Content-Length: 00",
        "Content-Length: 0, 0",
        "Content-Length: -0",
        "Content-Length: ",
        "content-length: x",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: identity",
    ] {
        let mut input = request_with("", line);
        input.extend_from_slice(b"GET /smuggled HTTP/1.1\r\n");
        assert_request_fails(&input, E::RequestBody);
    }
    let twice = request_with("", "Content-Length: 0\r\nContent-Length: 0");
    assert_request_fails(&twice, E::RepeatedHeader);
    let both = request_with("", "Content-Length: 0\r\nTransfer-Encoding: chunked");
    assert_request_fails(&both, E::RequestBody);
}

#[test]
fn h9_a_request_may_say_that_it_has_no_body() {
    // Java's HttpClient does.
    serve(&request_with("", "Content-Length: 0")).unwrap();
}

#[test]
fn h10_nothing_behind_a_refused_request_is_read() {
    let bad = request_with("Upgrade", "");
    let input = [&bad[..], &good_request()].concat();
    let mut server = ServerHandshake::new(ROOMY);
    assert_eq!(server.handle_input(&input), input.len());
    let error = server.poll_request().unwrap().unwrap_err();
    assert_eq!(error, E::Upgrade);
    assert_eq!(server.handle_input(&good_request()), good_request().len());
    assert_eq!(server.poll_request(), None);
    assert_eq!(server.accept(&Accept::new()), Err(AnswerError::NoRequest));
    let response = text(error.to_response().unwrap());
    assert!(response.starts_with("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n"));

    let mut server = ServerHandshake::new(ROOMY);
    server.handle_input(&good_request());
    server.poll_request().unwrap().unwrap();
    let response = text(server.reject(&Reject::new(403).unwrap()).unwrap());
    assert_eq!(
        response,
        "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    assert_eq!(server.handle_input(&good_request()), good_request().len());
    assert_eq!(server.poll_request(), None);
}

#[test]
fn h11_first_frames_are_left_in_the_input() {
    let head = good_request();
    let input = [&head[..], b"\x81\x82mask.."].concat();
    let mut server = ServerHandshake::new(ROOMY);
    assert_eq!(server.handle_input(&input), head.len());
    assert_eq!(server.handle_input(&input[head.len()..]), 0);
    server.poll_request().unwrap().unwrap();
    server.accept(&Accept::new()).unwrap();
    assert_eq!(server.handle_input(&input[head.len()..]), 0);
}

#[test]
fn h15_only_an_offered_subprotocol_can_be_chosen() {
    let mut server = ServerHandshake::new(ROOMY);
    server.handle_input(&request_with("", "Sec-WebSocket-Protocol: a, b"));
    let choose = |name| Accept::new().subprotocol(name).unwrap();
    for name in ["c", "A", "ab"] {
        let refused = server.accept(&choose(name));
        assert_eq!(refused, Err(AnswerError::UnofferedSubprotocol));
    }
    assert!(server.accept(&choose("b")).is_ok());
    let again = server.accept(&choose("b"));
    assert_eq!(again, Err(AnswerError::AlreadyAnswered));
    let reject = server.reject(&Reject::new(403).unwrap());
    assert_eq!(reject, Err(AnswerError::AlreadyAnswered));
}

#[test]
fn h17_server_writes_no_line_of_a_stranger() {
    for value in ["a\r\nb: c", "a\n", "a\r", "a\0", "\x7f", "\x1b[0m"] {
        let accept = Accept::new().header("X", value);
        assert_eq!(accept, Err(AnswerError::HeaderValue));
        let reject = Reject::new(400).unwrap().header("X", value);
        assert_eq!(reject, Err(AnswerError::HeaderValue));
        let accept = Accept::new().subprotocol(value);
        assert_eq!(accept, Err(AnswerError::Subprotocol));
    }
    for name in ["", "a b", "a:", "a\r\n", "é", "a\0"] {
        let accept = Accept::new().header(name, "x");
        assert_eq!(accept, Err(AnswerError::HeaderName));
        let reject = Reject::new(400).unwrap().header(name, "x");
        assert_eq!(reject, Err(AnswerError::HeaderName));
    }
    for name in [
        "upgrade",
        "CONNECTION",
        "Content-Length",
        "transfer-encoding",
        "Sec-WebSocket-Accept",
        "sec-websocket-extensions",
    ] {
        let accept = Accept::new().header(name, "x");
        assert_eq!(accept, Err(AnswerError::ReservedHeader));
        let reject = Reject::new(400).unwrap().header(name, "x");
        assert_eq!(reject, Err(AnswerError::ReservedHeader));
    }
    for status in [0, 100, 101, 200, 204, 299, 304, 600, 1000] {
        assert_eq!(Reject::new(status), Err(AnswerError::Status));
    }
}

#[test]
fn h18_cve_2021_32640_cve_2023_26103_lists_are_bounded() {
    let spaces = format!("Sec-WebSocket-Protocol: b{}x", " ".repeat(64 * 1024));
    assert_request_fails(&request_with("", &spaces), E::Subprotocols);
    // CVE-2023-26103: the same in Connection and Upgrade.
    for (name, error) in [("Connection", E::Connection), ("Upgrade", E::Upgrade)] {
        let line = format!("{name}: b{}x", " ".repeat(64 * 1024));
        assert_request_fails(&request_with(name, &line), error);
    }
    let many = "a,".repeat(10_000);
    let commas = ",".repeat(10_000);
    let parameters = format!("a{}", ";b".repeat(10_000));
    for (name, value) in [
        ("Upgrade", &commas),
        ("Upgrade", &many),
        ("Connection", &commas),
        ("Connection", &many),
        ("Sec-WebSocket-Protocol", &commas),
        ("Sec-WebSocket-Protocol", &many),
        ("Sec-WebSocket-Extensions", &commas),
        ("Sec-WebSocket-Extensions", &many),
        ("Sec-WebSocket-Extensions", &parameters),
    ] {
        let head = request_with(name, &format!("{name}: {value}"));
        assert_request_fails(&head, E::ListTooLong);
    }
    // The bound is of all lines together, not of each.
    let lines = ["Connection: a, b, c"; 30].join("\r\n");
    assert_request_fails(&request_with("", &lines), E::ListTooLong);
}

#[test]
fn h18_cve_2020_7662_unclosed_quote() {
    let value = format!("a; b=\"{}", "\\c".repeat(64 * 1024));
    let head = request_with("", &format!("Sec-WebSocket-Extensions: {value}"));
    assert_request_fails(&head, E::Extensions);
}

#[test]
fn h19_origin_is_compared_whole() {
    let allowed = ["https://good.example", "https://other.example:8443"];
    let ask = |origin: &str| serve(&request_with("", &format!("Origin: {origin}"))).unwrap();
    for origin in [
        "https://good.example",
        "HTTPS://GOOD.example",
        "https://good.example:443",
        "https://other.example:8443",
    ] {
        assert_eq!(ask(origin).check_origin(allowed), OriginCheck::Allowed);
    }
    for origin in [
        "https://good.example.evil.tld",
        "https://evilgood.example",
        "https://evil.tld/https://good.example",
        "https://good.example@evil.tld",
        "http://good.example",
        "wss://good.example",
        "https://good.example:8443",
        "https://other.example",
        "https://good.example/",
        "https://good.example.",
        "good.example",
        "null",
        "",
        "https://good.example https://evil.tld",
    ] {
        assert_eq!(
            ask(origin).check_origin(allowed),
            OriginCheck::Refused,
            "{origin}"
        );
    }
    assert_eq!(
        serve(&good_request()).unwrap().check_origin(allowed),
        OriginCheck::Absent
    );
    // What is no origin allows nobody, and "null" identifies nobody.
    let loose = ["good.example", "https://good.example/", "*", ""];
    assert_eq!(
        ask("https://good.example").check_origin(loose),
        OriginCheck::Refused
    );
    assert_eq!(ask("null").check_origin(["null"]), OriginCheck::Refused);
}

#[test]
fn h19_origin_is_read_before_the_accept() {
    let ask = |line: &str| serve(&request_with("", line)).unwrap();
    assert_eq!(serve(&good_request()).unwrap().origin(), Origin::Absent);
    assert_eq!(ask("Origin: null").origin(), Origin::Null);
    for line in [
        "Origin:",
        "Origin: x",
        "Origin: https://",
        "Origin: ://a",
        "Origin: 1http://a",
        "Origin: https://a:b",
        "Origin: https://a/b",
        "Origin: https://a?b",
        "Origin: https://user@a",
        "Origin: https://[::1",
        "Origin: https://ä",
        "Origin: https://a\r\nOrigin: https://a",
        "Origin: null\r\nOrigin: null",
    ] {
        assert_eq!(ask(line).origin(), Origin::Invalid, "{line}");
    }
    let request = ask("Origin: https://[::1]:8443");
    let Origin::Tuple(origin) = request.origin() else {
        panic!("{:?}", request.origin());
    };
    assert_eq!(
        (origin.scheme(), origin.host(), origin.port()),
        ("https", "[::1]", Some(8443))
    );
    let request = ask("Origin: moz-extension://a-b");
    assert!(matches!(request.origin(), Origin::Tuple(origin) if origin.port().is_none()));
}

#[test]
fn h19_same_origin() {
    let ask = |host: &str, origin: &str| {
        let head = request_with("Host", &format!("Host: {host}\r\nOrigin: {origin}"));
        serve(&head).unwrap()
    };
    for (host, origin) in [
        ("good.example", "https://good.example"),
        ("Good.example:443", "https://good.example"),
        ("good.example:8443", "https://good.example:8443"),
        ("[::1]", "https://[::1]"),
    ] {
        let check = ask(host, origin).check_same_origin("https");
        assert_eq!(check, OriginCheck::Allowed, "{host} {origin}");
    }
    for (host, origin) in [
        ("good.example", "http://good.example"),
        ("good.example", "http://good.example:443"),
        ("good.example", "https://good.example:8443"),
        ("good.example:8443", "https://good.example"),
        ("good.example", "https://evil.tld"),
        ("good.example", "https://a.good.example"),
        ("good.example", "null"),
    ] {
        let check = ask(host, origin).check_same_origin("https");
        assert_eq!(check, OriginCheck::Refused, "{host} {origin}");
    }
    let absent = serve(&good_request()).unwrap();
    assert_eq!(absent.check_same_origin("https"), OriginCheck::Absent);
}

#[test]
fn server_hears_of_a_stream_that_ends() {
    for size in [0, 1, 20, good_request().len() - 1] {
        let mut server = ServerHandshake::new(ROOMY);
        server.handle_input(&good_request()[..size]);
        assert_eq!(server.poll_request(), None);
        server.handle_eof();
        assert_eq!(server.poll_request(), Some(Err(E::UnexpectedEof)));
        server.handle_eof();
        assert_eq!(server.poll_request(), None);
    }
    assert_eq!(E::UnexpectedEof.to_response(), None);
    let mut server = ServerHandshake::new(ROOMY);
    server.handle_input(&good_request());
    server.handle_eof();
    assert!(server.poll_request().unwrap().is_ok());
    assert!(server.accept(&Accept::new()).is_ok());
}

#[test]
fn server_may_reject_before_it_is_asked() {
    let mut server = ServerHandshake::new(ROOMY);
    assert_eq!(server.accept(&Accept::new()), Err(AnswerError::NoRequest));
    assert!(server.reject(&Reject::new(503).unwrap()).is_ok());
    assert_eq!(server.handle_input(&good_request()), good_request().len());
    assert_eq!(server.poll_request(), None);
}

/// C27, RFC 9110 §4.2.3: a port that is the default one may be said or not.
#[test]
fn an_absolute_target_is_for_the_same_host_and_port() {
    let ask = |target: &str, host: &str| {
        let head = request_with("Host", &format!("Host: {host}"));
        let first = format!("GET {target} HTTP/1.1");
        serve(&replace(&head, b"GET /chat HTTP/1.1", first.as_bytes())).map(|_| ())
    };
    for (target, host) in [
        ("http://a:80/", "a"),
        ("http://a/", "A:80"),
        ("http://a:/?x", "a:80"),
        ("https://a:443", "a"),
        ("HTTPS://[::1]/", "[::1]:443"),
        ("http://a:8080/", "a:8080"),
    ] {
        assert_eq!(ask(target, host), Ok(()), "{target} {host}");
    }
    for (target, host) in [
        ("http://a:443/", "a"),
        ("https://a:80/", "a"),
        ("http://a:8080/", "a"),
        ("http://b/", "a"),
        ("http://u@a/", "a"),
        ("http:///", "a"),
        ("ftp://a/", "a"),
    ] {
        assert_eq!(ask(target, host), Err(E::Target), "{target} {host}");
    }
}
