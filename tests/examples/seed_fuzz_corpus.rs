//! Writes the seeds of the fuzz corpora: `cargo run -p wspulse-tests --example seed_fuzz_corpus`.
//!
//! The fuzzer adds to them; these have names that say what they are.

use std::fs;
use std::path::{Path, PathBuf};

use wspulse_tests::fuzzing::script::{self, Script, Step};

fn main() {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "fuzz", "corpus"]
        .iter()
        .collect();
    frames(&folder.join("frame_decoder"));
    heads(&folder.join("head"));
    scripts(&folder.join("server"));
}

fn keep(folder: &Path, name: &str, data: &[u8]) {
    fs::create_dir_all(folder).expect("writable");
    fs::write(folder.join(name), data).expect("writable");
}

// ---- frames

const FROM_CLIENT: u8 = 1;
const FROM_SERVER: u8 = 0;
const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

fn frames(folder: &Path) {
    let keep = |name: &str, rules: u8, stream: &[u8]| {
        keep(folder, name, &[&[rules, 2, 1, 3], stream].concat());
    };
    // RFC 6455 §5.7, in its order.
    keep("rfc6455-5.7-text", FROM_SERVER, b"\x81\x05Hello");
    keep(
        "rfc6455-5.7-masked-text",
        FROM_CLIENT,
        b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58",
    );
    keep(
        "rfc6455-5.7-fragments",
        FROM_SERVER,
        b"\x01\x03Hel\x80\x02lo",
    );
    keep("rfc6455-5.7-ping", FROM_SERVER, b"\x89\x05Hello");
    keep(
        "rfc6455-5.7-pong",
        FROM_CLIENT,
        b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58",
    );
    let long = [b"\x82\x7e\x01\x00", &[0xAB; 256][..]].concat();
    keep("rfc6455-5.7-256-bytes", FROM_SERVER, &long);
    let header = b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00";
    keep("rfc6455-5.7-64-kib-header", FROM_SERVER, header);

    let top = b"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x01\x37\xfa\x21\x3d";
    keep("length-top-bit", FROM_CLIENT, top);
    keep(
        "length-all-ones",
        FROM_CLIENT,
        &[0x82, 255, 255, 255, 255, 255, 255, 255, 255, 255],
    );
    keep(
        "length-2-63-less-1",
        FROM_SERVER,
        &[0x82, 127, 127, 255, 255, 255, 255, 255, 255, 255, 1],
    );
    keep(
        "length-2-32",
        FROM_CLIENT,
        b"\x82\xff\0\0\0\x01\0\0\0\0\x37\xfa\x21\x3dab",
    );
    for (name, first) in [("rsv1", 0xC1), ("rsv2", 0xA2), ("rsv3", 0x91)] {
        keep(name, FROM_CLIENT, &masked(first, b""));
        keep(
            &format!("{name}-allowed"),
            FROM_CLIENT | 0x70,
            &masked(first, b"x"),
        );
    }
    keep("rsv1-on-ping", FROM_CLIENT | 0x40, &masked(0xC9, b""));
    keep(
        "rsv1-on-continuation",
        FROM_CLIENT | 0x40,
        &masked(0xC0, b""),
    );
    for opcode in [3, 7, 11, 15] {
        keep(
            &format!("opcode-{opcode}"),
            FROM_CLIENT,
            &masked(0x80 | opcode, b""),
        );
    }
    for (name, first) in [("close", 8), ("ping", 9), ("pong", 10)] {
        keep(
            &format!("fragmented-{name}"),
            FROM_CLIENT,
            &masked(first, b""),
        );
        let long = [0x80 | first, 0xFE, 0, 126];
        keep(&format!("long-{name}"), FROM_CLIENT, &long);
    }
    keep("not-masked", FROM_CLIENT, b"\x81\x05hello\x81\x05hello");
    keep("masked", FROM_SERVER, &masked(0x81, b"hello"));
    keep(
        "not-minimal-2",
        FROM_CLIENT,
        b"\x82\xfe\x00\x05\x37\xfa\x21\x3dhello",
    );
    keep(
        "not-minimal-8",
        FROM_CLIENT,
        b"\x82\xff\0\0\0\0\0\0\0\x05\x37\xfa\x21\x3dhello",
    );
    keep(
        "not-minimal-65535",
        FROM_CLIENT,
        b"\x82\xff\0\0\0\0\0\0\xff\xff\x37\xfa\x21\x3d",
    );
    keep("not-minimal-125", FROM_SERVER, b"\x82\x7e\x00\x7d");
    keep("minimal-126", FROM_SERVER, b"\x82\x7e\x00\x7eab");
    keep(
        "minimal-65536",
        FROM_SERVER,
        b"\x82\x7f\0\0\0\0\0\x01\0\0ab",
    );
    let empty: Vec<u8> = [0x81, 0x82, 0x89, 0x8A, 0x01, 0x80, 0x02, 0x00, 0x80]
        .iter()
        .flat_map(|&first| masked(first, b""))
        .collect();
    keep("empty-frames", FROM_CLIENT, &empty);
    let mixed = [
        masked(0x01, b"Hel"),
        masked(0x89, &[b'p'; 125]),
        masked(0x00, b"l"),
        masked(0x8A, b"p"),
        masked(0x80, b"o"),
        masked(0x82, &[7; 126]),
        masked(0x88, b"\x03\xE8bye"),
    ];
    keep("control-between-fragments", FROM_CLIENT, &mixed.concat());
    keep("cut-header", FROM_CLIENT, b"\x82\xfe\x01");
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u8::try_from(payload.len()) {
        Ok(length @ 0..=125) => frame.push(0x80 | length),
        _ => {
            let length = u16::try_from(payload.len()).expect("a short frame");
            frame.push(0xFE);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    frame
}

// ---- heads

const REQUEST: u8 = 0;
const RESPONSE: u8 = 1;
const SMALL_SIZE: u8 = 2;
const FEW_HEADERS: u8 = 4;

const GET: &str = "GET /chat HTTP/1.1\r\n";
const HOST: &str = "Host: server.example.com\r\n";
const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\n";
const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

fn heads(folder: &Path) {
    let keep = |name: &str, flags: u8, lines: &[&str]| {
        let text = lines.concat();
        let data = [&[flags, 2, 7, 1], text.as_bytes(), b"\r\n"].concat();
        keep(folder, name, &data);
    };
    let request = |name: &str, lines: &[&str]| keep(&format!("request-{name}"), REQUEST, lines);
    let response = |name: &str, lines: &[&str]| keep(&format!("response-{name}"), RESPONSE, lines);
    let with = |name: &str, line: &str| request(name, &[GET, HOST, UPGRADE, KEY, VERSION, line]);

    with(
        "rfc6455-1.3",
        "Origin: http://example.com\r\nSec-WebSocket-Protocol: chat, superchat\r\n",
    );
    with("frames-behind", "\r\n\u{1}\u{5}Hello");
    with(
        "second-request-behind",
        "\r\nGET /admin HTTP/1.1\r\nHost: a\r\n",
    );
    with(
        "extensions",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x; a=\"1\"\r\n",
    );
    with(
        "extension-spaces",
        &format!("Sec-WebSocket-Extensions: b{}x\r\n", " ".repeat(300)),
    );
    with(
        "commas",
        &format!("Sec-WebSocket-Protocol: {}\r\n", ",".repeat(100)),
    );
    with(
        "many-subprotocols",
        &format!(
            "Sec-WebSocket-Protocol: {}\r\n",
            (0..70)
                .map(|n| format!("p{n}"))
                .collect::<Vec<_>>()
                .join(",")
        ),
    );
    with("repeated-subprotocol", "Sec-WebSocket-Protocol: a, a\r\n");
    with("obs-text", "X: \u{e9}\u{ff}\r\n");
    with("folded", " x\r\n");
    with("no-colon", "nothing\r\n");
    with("empty-name", ": x\r\n");
    with("space-before-colon", "Host : x\r\n");
    with("nul", "X: a\0b\r\n");
    with("bare-cr", "X: a\rb\r\n");
    with("bare-lf", "X: a\nb: c\r\n");
    with("host-twice", HOST);
    with("key-twice", KEY);
    with("version-twice", VERSION);
    with("upgrade-twice", "Upgrade: websocket\r\n");
    with("content-length", "Content-Length: 2\r\n");
    with("transfer-encoding", "Transfer-Encoding: chunked\r\n");
    with("origin-null", "Origin: null\r\n");
    with(
        "origin-hostile",
        "Origin: https://good.example.evil.tld:443\r\n",
    );
    request(
        "lists",
        &[
            GET,
            HOST,
            "Upgrade: h2c, WebSocket\r\nConnection: keep-alive\r\nConnection: , upgrade\r\n",
            KEY,
            VERSION,
        ],
    );
    request(
        "absolute",
        &[
            "GET http://server.example.com/chat?x HTTP/1.1\r\n",
            HOST,
            UPGRADE,
            KEY,
            VERSION,
        ],
    );
    request(
        "absolute-elsewhere",
        &[
            "GET http://other.example.com/ HTTP/1.1\r\n",
            HOST,
            UPGRADE,
            KEY,
            VERSION,
        ],
    );
    request(
        "fragment",
        &["GET /#a HTTP/1.1\r\n", HOST, UPGRADE, KEY, VERSION],
    );
    request(
        "ipv6-host",
        &[GET, "Host: [::1]:8080\r\n", UPGRADE, KEY, VERSION],
    );
    request("bad-host", &[GET, "Host: a b\r\n", UPGRADE, KEY, VERSION]);
    request("no-host", &[GET, UPGRADE, KEY, VERSION]);
    request(
        "post",
        &["POST /chat HTTP/1.1\r\n", HOST, UPGRADE, KEY, VERSION],
    );
    request(
        "http-1.0",
        &["GET /chat HTTP/1.0\r\n", HOST, UPGRADE, KEY, VERSION],
    );
    request("http-2", &["PRI * HTTP/2.0\r\n\r\nSM\r\n"]);
    request("tls", &["\u{16}\u{3}\u{1}\u{2}"]);
    request("leading-crlf", &["\r\n", GET, HOST, UPGRADE, KEY, VERSION]);
    request(
        "no-upgrade",
        &[GET, HOST, "Connection: Upgrade\r\n", KEY, VERSION],
    );
    request(
        "upgrade-x",
        &[
            GET,
            HOST,
            "Upgrade: websocketx\r\nConnection: Upgrade\r\n",
            KEY,
            VERSION,
        ],
    );
    request(
        "no-connection",
        &[GET, HOST, "Upgrade: websocket\r\n", KEY, VERSION],
    );
    for version in ["0", "8", "12", "13, 8", "+13", "013"] {
        let line = format!("Sec-WebSocket-Version: {version}\r\n");
        request(
            &format!("version-{}", version.replace(", ", "-")),
            &[GET, HOST, UPGRADE, KEY, &line],
        );
    }
    for (name, key) in [
        ("empty", ""),
        ("short", "dGhlIHNhbXBsZSBub25jZQ"),
        ("15-bytes", "dGhlIHNhbXBsZSBub25j"),
        ("17-bytes", "dGhlIHNhbXBsZSBub25jZWU="),
        ("padding-bits", "dGhlIHNhbXBsZSBub25jZR=="),
    ] {
        let line = format!("Sec-WebSocket-Key: {key}\r\n");
        request(
            &format!("key-{name}"),
            &[GET, HOST, UPGRADE, &line, VERSION],
        );
    }
    keep(
        "request-too-large",
        REQUEST | SMALL_SIZE,
        &[GET, HOST, "Cookie: ", &"a".repeat(300)],
    );
    keep(
        "request-at-limit",
        REQUEST | SMALL_SIZE,
        &[
            GET,
            HOST,
            UPGRADE,
            KEY,
            VERSION,
            "X: ",
            &"a".repeat(40),
            "\r\n",
        ],
    );
    keep(
        "request-too-many",
        REQUEST | FEW_HEADERS,
        &[GET, HOST, UPGRADE, KEY, VERSION, "A: b\r\nC: d\r\n"],
    );
    keep(
        "request-many-enough",
        REQUEST | FEW_HEADERS,
        &[GET, HOST, UPGRADE, KEY, VERSION, "A: b\r\n"],
    );

    let switch = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    response(
        "rfc6455-1.3",
        &[SWITCH, switch, ACCEPT, "Sec-WebSocket-Protocol: chat\r\n"],
    );
    response(
        "frames-behind",
        &[SWITCH, switch, ACCEPT, "\r\n\u{1}\u{5}Hello"],
    );
    response(
        "interim",
        &[
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n",
            SWITCH,
            switch,
            ACCEPT,
        ],
    );
    response(
        "nine-interim",
        &[
            &"HTTP/1.1 100 Continue\r\n\r\n".repeat(9),
            SWITCH,
            switch,
            ACCEPT,
        ],
    );
    response("no-accept", &[SWITCH, switch]);
    response(
        "wrong-accept",
        &[
            SWITCH,
            switch,
            "Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
        ],
    );
    response("accept-twice", &[SWITCH, switch, ACCEPT, ACCEPT]);
    response(
        "unoffered-subprotocol",
        &[SWITCH, switch, ACCEPT, "Sec-WebSocket-Protocol: mqtt\r\n"],
    );
    response(
        "two-subprotocols",
        &[
            SWITCH,
            switch,
            ACCEPT,
            "Sec-WebSocket-Protocol: chat, superchat\r\n",
        ],
    );
    response(
        "unoffered-extension",
        &[
            SWITCH,
            switch,
            ACCEPT,
            "Sec-WebSocket-Extensions: permessage-deflate\r\n",
        ],
    );
    response("no-upgrade", &[SWITCH, "Connection: Upgrade\r\n", ACCEPT]);
    response("no-connection", &[SWITCH, "Upgrade: websocket\r\n", ACCEPT]);
    response(
        "length",
        &["HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\nRetry-After: 7\r\n\r\nbusy"],
    );
    response(
        "chunked",
        &[
            "HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n",
        ],
    );
    response(
        "until-close",
        &["HTTP/1.1 403 Forbidden\r\n\r\nno\0\u{1b}[31m"],
    );
    response(
        "redirect",
        &["HTTP/1.1 301 Moved Permanently\r\nLocation: https://a/\r\nContent-Length: 0\r\n"],
    );
    response("not-found-1.0", &["HTTP/1.0 404 Not Found\r\n"]);
    response("status-099", &["HTTP/1.1 099 Odd\r\n"]);
    response("status-1000", &["HTTP/1.1 1000 Odd\r\n"]);
    response("status-10-1", &["HTTP/1.1 10 1 Odd\r\n"]);
    response(
        "switch-1.0",
        &["HTTP/1.0 101 Switching Protocols\r\n", switch, ACCEPT],
    );
    response("noise", &["SSH-2.0-OpenSSH\r\n"]);
    keep(
        "response-too-large",
        RESPONSE | SMALL_SIZE,
        &[SWITCH, "X: ", &"a".repeat(300)],
    );
}

// ---- scripts

fn scripts(folder: &Path) {
    let keep = |name: &str, setup: u16, steps: &[Step]| {
        let script = Script {
            setup,
            cuts: vec![1, 2, 7],
            steps: steps.to_vec(),
        };
        let data = script.write();
        assert_eq!(Script::read(&data), script, "{name}");
        keep(folder, name, &data);
    };
    use Step::{
        Abort, Accept, Backwards, Bytes, Claim, Close, CloseFrame, Deadline, Eof, Events, Frame,
        Frames, Header, LongFrame, Look, Ping, Pong, ReadOn, Reject, Request, Resumed, SendBinary,
        SendPart, SendText, SetHeartbeat, Sleep, Timeout, Turn, Wait, WouldBlock, Write, WriteAll,
    };
    let heartbeat = |which: u16| which << script::HEARTBEAT_SHIFT;
    let frame = |first: u8, payload: &[u8]| Frame(first, payload.to_vec());

    keep(
        "handshake-echo-close",
        script::HANDSHAKE | script::ECHO,
        &[
            Request(0),
            Turn,
            frame(0x81, b"hello"),
            frame(0x82, b"\0\x01"),
            Turn,
            CloseFrame(1000, b"bye".to_vec()),
            Turn,
            Eof,
            Turn,
        ],
    );
    keep(
        "answer-later",
        script::HANDSHAKE | script::ANSWER_LATER,
        &[
            Request(1),
            frame(0x81, b"early"),
            Events(1),
            ReadOn,
            Accept(1),
            ReadOn,
            Write(20),
            Write(0),
            WriteAll,
            Events(9),
        ],
    );
    keep(
        "refused-version",
        script::HANDSHAKE,
        &[Request(2), WriteAll, Turn, Eof],
    );
    keep(
        "refused-post",
        script::HANDSHAKE,
        &[Request(3), Write(9), Look, Deadline(0), Timeout],
    );
    keep(
        "rejected",
        script::HANDSHAKE | script::ANSWER_LATER,
        &[Request(0), Events(1), Reject(0), WriteAll, Request(0), Eof],
    );
    keep(
        "handshake-timeout",
        script::HANDSHAKE,
        &[Bytes(b"GET / HT".to_vec()), Deadline(0), Timeout, Events(1)],
    );
    keep(
        "handshake-pause",
        script::HANDSHAKE,
        &[
            Bytes(b"GET / HT".to_vec()),
            Deadline(200),
            Timeout,
            Deadline(0),
            Timeout,
        ],
    );
    keep(
        "handshake-eof",
        script::HANDSHAKE,
        &[Bytes(b"GET / HTTP/1.1\r\n".to_vec()), Eof],
    );
    keep(
        "heartbeats-answered",
        heartbeat(1),
        &[Turn, Pong, Turn, Pong, Turn, Turn, Pong, Look],
    );
    keep(
        "heartbeat-dead",
        heartbeat(1),
        &[Turn, Turn, Turn, Turn, Turn],
    );
    keep(
        "heartbeat-recovers",
        heartbeat(1),
        &[Turn, Turn, frame(0x89, b"x"), Turn, Turn],
    );
    keep(
        "heartbeat-dead-no-linger",
        heartbeat(1) | script::NO_LINGER,
        &[Turn, Turn, Turn, Turn],
    );
    keep("passive-dead", heartbeat(2), &[Turn, Turn, Turn]);
    keep(
        "pardoned-pause",
        heartbeat(1),
        &[
            Turn,
            Deadline(255),
            Timeout,
            WriteAll,
            Pong,
            WouldBlock,
            Turn,
        ],
    );
    keep(
        "any-frame",
        heartbeat(4),
        &[
            Turn,
            Turn,
            Header(0x82, vec![100]),
            Bytes(vec![1; 50]),
            Turn,
            Bytes(vec![1; 50]),
            Turn,
        ],
    );
    keep(
        "matching-pong",
        heartbeat(5),
        &[Turn, frame(0x81, b"x"), Turn, Pong, Turn, Turn, Turn],
    );
    keep(
        "periodic",
        heartbeat(6),
        &[Turn, Pong, frame(0x81, b"x"), Turn, Turn, Pong, Turn],
    );
    keep(
        "never",
        heartbeat(7),
        &[Sleep(63), Timeout, Sleep(62), Turn],
    );
    keep(
        "write-stall",
        heartbeat(3),
        &[
            SendBinary(1000),
            Write(10),
            Write(0),
            Deadline(0),
            Write(0),
            Timeout,
            Turn,
        ],
    );
    keep(
        "stalled-no-linger",
        heartbeat(3) | script::NO_LINGER,
        &[
            SendBinary(1000),
            Write(0),
            Deadline(0),
            Timeout,
            Deadline(0),
            Timeout,
            Deadline(0),
            Timeout,
        ],
    );
    keep(
        "policy-changes",
        heartbeat(1),
        &[
            Turn,
            SetHeartbeat(2),
            Turn,
            SetHeartbeat(3),
            SetHeartbeat(8),
            SetHeartbeat(9),
            Turn,
            SetHeartbeat(6),
            Turn,
        ],
    );
    keep(
        "resumed",
        heartbeat(1),
        &[Turn, Resumed, WriteAll, Wait(100), Resumed, Turn, Turn],
    );
    keep(
        "end-of-time",
        script::LATE,
        &[Turn, Turn, Pong, Turn, Sleep(63), Turn, Backwards(40), Turn],
    );
    keep(
        "text-ping-asked",
        heartbeat(1) | script::ASK_TEXT_PING,
        &[
            Turn,
            frame(0x81, b"pong"),
            SendPart(1, 10),
            Turn,
            Turn,
            frame(0x81, b"pong"),
            SendPart(3, 4),
            Turn,
        ],
    );
    keep(
        "text-ping-answered",
        script::ANSWER_TEXT_PING,
        &[
            frame(0x81, b"ping"),
            SendPart(0, 3),
            frame(0x81, b"ping"),
            Turn,
            frame(0x81, b"x"),
            Turn,
        ],
    );
    keep(
        "ping-flood",
        script::REPORT_CONTROL,
        &[Frames(0x89, 255), Turn, Frames(0x89, 1), Turn],
    );
    keep(
        "pong-flood",
        0,
        &[Ping(3), Frames(0x8A, 126), Turn, Frames(0x8A, 255), Turn],
    );
    keep(
        "empty-fragments",
        script::SMALL_LIMITS,
        &[frame(0x01, b"a"), Frames(0x00, 1), Turn],
    );
    keep(
        "messages-flood",
        script::ECHO,
        &[Frames(0x82, 30), WriteAll, Frames(0x81, 30), Turn],
    );
    keep(
        "pings-between-writes",
        0,
        &[
            SendBinary(60_000),
            Write(100),
            frame(0x89, b"a"),
            Write(100),
            frame(0x89, b"b"),
            Ping(125),
            Ping(126),
            WriteAll,
        ],
    );
    keep(
        "fragments-and-control",
        0,
        &[
            frame(0x01, b"\xE2"),
            frame(0x89, b"p"),
            frame(0x00, b"\x82"),
            frame(0x80, b"\xAC"),
            Turn,
        ],
    );
    keep(
        "text-cut-in-character",
        0,
        &[frame(0x01, b"\xE2"), frame(0x80, b""), Turn],
    );
    keep(
        "bad-utf8-early",
        0,
        &[Header(0x81, vec![1, 0, 0]), Bytes(vec![0xFF]), Turn],
    );
    keep(
        "parts",
        script::PARTS,
        &[
            frame(0x01, b"a\xE2"),
            Events(2),
            frame(0x00, b"\x82"),
            frame(0x80, b"\xACb"),
            LongFrame(0x82, 3000, 5),
            Turn,
        ],
    );
    keep(
        "frame-too-long",
        script::SMALL_LIMITS,
        &[Header(0x82, vec![4, 0]), Turn],
    );
    keep(
        "frame-2-62",
        0,
        &[
            Header(0x82, vec![0x40, 0, 0, 0, 0, 0, 0, 0]),
            Turn,
            Bytes(vec![0; 200]),
        ],
    );
    keep(
        "message-too-long",
        script::SMALL_LIMITS,
        &[LongFrame(0x02, 900, 1), LongFrame(0x80, 900, 1), Turn],
    );
    keep(
        "protocol-error",
        0,
        &[
            frame(0x83, b""),
            frame(0x81, b"never"),
            WriteAll,
            Turn,
            Eof,
            Events(1),
        ],
    );
    keep(
        "not-masked",
        0,
        &[Bytes(b"\x81\x05hello\x81\x05hello".to_vec()), Turn],
    );
    keep("continuation-of-nothing", 0, &[frame(0x80, b""), Turn]);
    keep(
        "message-inside-message",
        0,
        &[frame(0x01, b"a"), frame(0x82, b"b"), Turn],
    );
    keep("close-empty", 0, &[frame(0x88, b""), Turn]);
    keep("close-half-code", 0, &[frame(0x88, b"\x03"), Turn]);
    keep(
        "close-bad-reason",
        0,
        &[CloseFrame(1000, b"\xC3\x28".to_vec()), Turn],
    );
    for code in [
        999, 1004, 1005, 1006, 1014, 1015, 1016, 2999, 3000, 4999, 5000,
    ] {
        keep(
            &format!("close-{code}"),
            0,
            &[CloseFrame(code, Vec::new()), Turn],
        );
    }
    keep(
        "frames-behind-close",
        0,
        &[
            CloseFrame(1000, Vec::new()),
            frame(0x81, b"x"),
            frame(0x89, b"y"),
            CloseFrame(1001, Vec::new()),
            Turn,
        ],
    );
    keep(
        "close-inside-large-message",
        0,
        &[
            SendBinary(65_535),
            SendBinary(65_535),
            Write(1000),
            CloseFrame(1000, Vec::new()),
            Write(2000),
            WriteAll,
        ],
    );
    keep(
        "both-close",
        0,
        &[Close(1000, 5), WriteAll, CloseFrame(1001, Vec::new()), Turn],
    );
    keep(
        "close-unanswered",
        0,
        &[
            SendText(9),
            Close(4000, 123),
            WriteAll,
            frame(0x81, b"still"),
            frame(0x89, b"p"),
            Deadline(0),
            Timeout,
        ],
    );
    keep(
        "close-then-garbage",
        0,
        &[Close(1000, 0), frame(0x83, b""), Turn],
    );
    keep(
        "close-mistakes",
        0,
        &[
            Close(1005, 0),
            Close(1000, 124),
            Close(2999, 1),
            SendText(3),
            WriteAll,
        ],
    );
    keep(
        "abort-lent",
        0,
        &[
            SendBinary(100),
            Write(5),
            Abort,
            SendText(1),
            Ping(1),
            Accept(0),
            Reject(0),
            Turn,
        ],
    );
    keep(
        "claims",
        script::HANDSHAKE,
        &[
            Claim(1),
            Request(0),
            Claim(1),
            Events(1),
            Write(10),
            Claim(0),
            SendText(300),
            Claim(9),
            WriteAll,
            Claim(65_535),
        ],
    );
    keep(
        "parts-sent",
        script::SMALL_LIMITS,
        &[
            SendPart(1, 150),
            Write(30),
            SendText(1),
            SendPart(0, 1),
            SendPart(1, 0),
            WriteAll,
            SendPart(3, 250),
            WriteAll,
        ],
    );
    keep(
        "parts-left-open",
        0,
        &[
            SendPart(0, 150),
            WriteAll,
            frame(0x89, b"x"),
            Close(1000, 0),
            WriteAll,
            frame(0x88, b"\x03\xE8"),
        ],
    );
    keep(
        "queue-full",
        script::SMALL_LIMITS,
        &[
            SendBinary(1999),
            SendBinary(9),
            SendBinary(9),
            Write(50),
            SendBinary(9),
            WriteAll,
        ],
    );
    keep(
        "no-split",
        script::NO_SPLIT,
        &[SendBinary(65_535), Write(1), frame(0x89, b"x"), WriteAll],
    );
    keep(
        "many-small-then-large",
        0,
        &[
            SendBinary(16_000),
            SendBinary(16_000),
            SendBinary(16_000),
            SendBinary(16_000),
            SendBinary(65_535),
            WriteAll,
        ],
    );
    keep(
        "idle",
        script::TIMERS,
        &[Turn, frame(0x81, b"x"), Turn, Turn],
    );
    keep(
        "max-age",
        script::TIMERS,
        &[
            Wait(600),
            frame(0x81, b"x"),
            Wait(600),
            SendText(1),
            Wait(4000),
            Turn,
            Turn,
        ],
    );
    keep(
        "message-timeout",
        script::MESSAGE_TIMEOUT,
        &[frame(0x01, b"a"), Wait(300), frame(0x00, b"b"), Turn, Turn],
    );
    keep(
        "eof-in-frame",
        0,
        &[Bytes(vec![0x81, 0x85, 1, 2]), Eof, Turn],
    );
    keep("eof-while-closing", 0, &[Close(1000, 0), Eof, Turn]);
    keep(
        "eof-then-everything",
        0,
        &[
            Eof,
            Eof,
            frame(0x81, b"x"),
            Timeout,
            WouldBlock,
            Write(0),
            Claim(1),
            Resumed,
            SetHeartbeat(1),
            Close(1000, 0),
            Abort,
            Look,
        ],
    );
}
