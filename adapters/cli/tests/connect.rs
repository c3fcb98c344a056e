//! `echo` and `connect` on each runtime, plain and by TLS.

mod programs;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use programs::{Echo, Program, RUNTIMES, assert_ended, text};
use rcgen::{CertificateParams, KeyPair};
use wspulse_core::Config;

/// Runs `connect` with this input to its end.
fn connect(runtime: &str, url: &str, options: &[&str], input: &[u8]) -> Output {
    let arguments = ["connect", url, "--runtime", runtime];
    let mut program = Program::start(&[&arguments, options].concat());
    let (mut stdin, input) = (program.stdin(), input.to_vec());
    let writer = std::thread::spawn(move || {
        // Who ended early has closed it.
        let _ = stdin.write_all(&input);
    });
    let output = program.finish();
    writer.join().unwrap();
    output
}

/// A certificate for `localhost` that vouches for itself, in a folder of its own.
struct Pki {
    folder: PathBuf,
}

impl Pki {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("wspulse-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".into()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(folder.join("cert.pem"), certificate.pem()).unwrap();
        fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Pki {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn lines_go_out_and_come_back_and_the_end_of_input_closes_with_1000() {
    for runtime in RUNTIMES {
        let mut server = Echo::start(runtime, "127.0.0.1:0", &[]);
        let url = format!("ws://{}/", server.address);
        let output = connect(runtime, &url, &[], b"hello\nworld\r\n\nno line end");
        assert_ended(
            &output,
            0,
            &[&format!("open: {url}\n"), "closed: received 1000"],
        );
        assert_eq!(
            text(&output.stdout),
            "hello\nworld\n\nno line end\n",
            "{runtime}"
        );
        assert_eq!(text(&output.stderr).lines().count(), 2);
        assert!(
            server
                .next_line()
                .contains("received 1000, sent 1000 (4 messages)")
        );
        assert_eq!(server.stop().status.code(), Some(0));
    }
}

#[test]
fn more_than_all_buffers_hold_comes_back_whole() {
    for runtime in RUNTIMES {
        let server = Echo::start(runtime, "127.0.0.1:0", &[]);
        let url = format!("ws://{}/", server.address);
        let lines = (0..24).map(|n| format!("{n}{}\n", "x".repeat(1 << 20)));
        let input: String = lines.collect();
        let output = connect(runtime, &url, &[], input.as_bytes());
        assert_ended(&output, 0, &["open: ", "closed: received 1000"]);
        assert!(output.stdout == input.as_bytes(), "{runtime}");
    }
}

#[test]
fn tls_is_verified() {
    let pki = Pki::new("tls");
    let identity = [
        "--cert",
        &pki.path("cert.pem"),
        "--key",
        &pki.path("key.pem"),
    ];
    let ca = ["--ca", &pki.path("cert.pem")];
    for runtime in RUNTIMES {
        let server = Echo::start(runtime, "127.0.0.1:0", &identity);
        let port = server.address.rsplit(':').next().unwrap();
        let url = format!("wss://localhost:{port}/");
        let output = connect(runtime, &url, &ca, b"hello\n");
        assert_ended(&output, 0, &["open: ", "closed: received 1000"]);
        assert_eq!(text(&output.stdout), "hello\n");

        let stranger = connect(runtime, &url, &[], b"secret\n");
        assert_ended(&stranger, 1, &["wspulse: ", "tls: "]);
        let misnamed = connect(
            runtime,
            &format!("wss://127.0.0.1:{port}/"),
            &ca,
            b"secret\n",
        );
        assert_ended(&misnamed, 1, &["wspulse: ", "tls: ", "not valid for name"]);
        assert!(misnamed.stdout.is_empty());
    }
}

#[test]
fn a_file_without_a_certificate_is_named() {
    let pki = Pki::new("empty");
    let empty = pki.path("empty.pem");
    fs::write(&empty, "").unwrap();
    let output = connect("tokio", "wss://127.0.0.1:1/", &["--ca", &empty], b"");
    let said = format!("wspulse: {empty}: no certificate in the pem\n");
    assert_eq!(text(&output.stderr), said);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn headers_and_subprotocols_are_sent() {
    for runtime in RUNTIMES {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<_> = lines
                .by_ref()
                .map(|line| line.unwrap())
                .take_while(|line| !line.is_empty())
                .collect();
            stream
                .write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                .unwrap();
            head
        });
        let options = [
            "--header",
            "X-Who: me",
            "--subprotocol",
            "chat",
            "--subprotocol",
            "plain",
        ];
        let output = connect(runtime, &url, &options, b"");
        assert_ended(&output, 1, &["wspulse: ", "403"]);
        let head = server.join().unwrap();
        assert!(head.contains(&"X-Who: me".to_owned()), "{head:?}");
        assert!(
            head.iter().any(|line| line.contains("chat, plain")),
            "{head:?}"
        );
    }
}

#[test]
fn a_server_that_falls_silent_is_suspected_and_then_given_up_with_numbers() {
    for runtime in RUNTIMES {
        let server = Echo::start(runtime, "127.0.0.1:0", &[]);
        let url = format!("ws://{}/", server.address);
        let options = ["--ping-interval", "300ms", "--pong-timeout", "600ms"];
        let arguments = ["connect", &url, "--runtime", runtime];
        let mut program = Program::start(&[&arguments[..], &options].concat());
        let mut stdin = program.stdin();
        stdin.write_all(b"hello\n").unwrap();
        let mut lines = program.stdout();
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert_eq!(line, "hello\n");

        server.program.signal("-STOP");
        let output = program.finish();
        server.program.signal("-CONT");
        let said = [
            "open: ",
            "suspect: silent for 0.",
            "closed: peer is dead: no sign of life after a ping (silent for 0.",
            ", 0.600 s allowed, ",
            "last byte 0.",
            "pings",
        ];
        assert_ended(&output, 1, &said);
    }
}

#[test]
fn with_reconnect_a_server_that_was_away_gets_the_lines_that_follow() {
    for runtime in ["std", "tokio"] {
        let server = Echo::start(runtime, "127.0.0.1:0", &[]);
        let address = server.address.clone();
        let url = format!("ws://{address}/");
        let mut program = Program::start(&["connect", &url, "--runtime", runtime, "--reconnect"]);
        let mut stdin = program.stdin();
        let mut lines = program.stdout();
        let mut line = String::new();
        stdin.write_all(b"before\n").unwrap();
        lines.read_line(&mut line).unwrap();

        assert_eq!(server.stop().status.code(), Some(0));
        stdin.write_all(b"meanwhile\n").unwrap();
        let again = Echo::start(runtime, &address, &[]);
        lines.read_line(&mut line).unwrap();
        drop(stdin);
        assert_eq!(line, "before\nmeanwhile\n", "{runtime}");
        let said = [
            "open: ",
            "reconnecting in ",
            "received 1001",
            "open: ",
            "closed: received 1000",
        ];
        assert_ended(&program.finish(), 0, &said);
        drop(again);
    }
    let mio = [
        "connect",
        "ws://127.0.0.1:1/",
        "--runtime",
        "mio",
        "--reconnect",
    ];
    assert_ended(&Program::start(&mio).finish(), 2, &["--reconnect needs"]);
}

#[test]
fn with_reconnect_a_refusal_that_will_not_change_ends_it() {
    for runtime in ["std", "tokio"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = std::io::Read::read(&mut stream, &mut [0; 4_096]).unwrap();
            stream
                .write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
                .unwrap();
        });
        let arguments = ["connect", &url, "--runtime", runtime, "--reconnect"];
        assert_ended(
            &Program::start(&arguments).finish(),
            1,
            &["closed: ", "401"],
        );
        server.join().unwrap();
    }
}

/// So many short lines that the messages queued for them are many too.
fn many_lines() -> String {
    (0..200_000).map(|n| format!("{n:019}\n")).collect()
}

/// Tells where two texts begin to differ, and not all that is in them.
#[track_caller]
fn assert_same(runtime: &str, received: &[u8], expected: &[u8]) {
    let same = received.iter().zip(expected).take_while(|(a, b)| a == b);
    let (same, of) = (same.count(), expected.len());
    let length = received.len();
    assert!(
        same == of && length == of,
        "{runtime}: {length} bytes came back, the first {same} of {of} as they were sent"
    );
}

/// Runs `check` with every runtime at the same time.
fn with_every_runtime(check: impl Fn(&str) + Sync) {
    std::thread::scope(|scope| {
        for runtime in RUNTIMES {
            let check = &check;
            scope.spawn(move || check(runtime));
        }
    });
}

#[test]
fn many_short_lines_come_back() {
    let lines = many_lines();
    with_every_runtime(|runtime| {
        let server = Echo::start(runtime, "127.0.0.1:0", &[]);
        let url = format!("ws://{}/", server.address);
        let output = connect(runtime, &url, &[], lines.as_bytes());
        assert_same(runtime, &output.stdout, lines.as_bytes());
        assert_ended(&output, 0, &["open: ", "closed: received 1000"]);
    });
}

#[test]
fn many_short_lines_come_back_from_a_server_that_reads_late() {
    let lines = many_lines();
    with_every_runtime(|runtime| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut ws = wspulse_std::accept(stream, Config::default()).unwrap();
            std::thread::sleep(Duration::from_secs(2));
            while let Some(message) = ws.next() {
                ws.send(message?)?;
            }
            Ok::<(), wspulse_std::Error>(())
        });
        let output = connect(runtime, &url, &[], lines.as_bytes());
        assert_same(runtime, &output.stdout, lines.as_bytes());
        assert_ended(&output, 0, &["open: ", "closed: received 1000"]);
        server.join().unwrap().unwrap();
    });
}

/// The header of a request, or of an answer, that tells of extensions.
fn extensions(stream: &TcpStream) -> Option<String> {
    let name = "Sec-WebSocket-Extensions: ";
    let lines = BufReader::new(stream).lines().map(Result::unwrap);
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let mut values = head.iter().filter_map(|line| line.strip_prefix(name));
    values.next().map(str::to_owned)
}

#[test]
fn echo_agrees_to_compressed_messages_where_they_are_offered() {
    for runtime in RUNTIMES {
        let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
        let agreed = "permessage-deflate";
        for (options, offer, answer) in [
            (&[][..], offer, Some(agreed)),
            (&[], "", None),
            (&["--no-deflate"], offer, None),
        ] {
            let server = Echo::start(runtime, "127.0.0.1:0", options);
            let mut stream = TcpStream::connect(&server.address).unwrap();
            let timeout = Some(Duration::from_secs(10));
            stream.set_read_timeout(timeout).unwrap();
            let request = format!(
                "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                 {offer}\r\n"
            );
            stream.write_all(request.as_bytes()).unwrap();
            assert_eq!(extensions(&stream).as_deref(), answer, "{runtime}");
            drop(stream);
            assert_eq!(server.stop().status.code(), Some(0));
        }
    }
}

#[test]
fn connect_offers_compressed_messages_when_it_is_told_to() {
    for (options, offer) in [
        (&[][..], None),
        (
            &["--deflate"],
            Some("permessage-deflate; client_max_window_bits"),
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        let program = Program::start(&[&["connect", &url], options].concat());
        let (stream, _) = listener.accept().unwrap();
        assert_eq!(extensions(&stream).as_deref(), offer);
        drop(stream);
        program.finish();
    }
}

#[test]
fn compressed_lines_come_back_on_each_runtime() {
    let line = "a line that is long enough to be worth it, and long enough, and long enough";
    let input = format!("{line}\nshort\n\n{line}\n");
    for runtime in RUNTIMES {
        for options in [&[][..], &["--no-deflate"]] {
            let server = Echo::start(runtime, "127.0.0.1:0", options);
            let url = format!("ws://{}/", server.address);
            let output = connect(runtime, &url, &["--deflate"], input.as_bytes());
            assert_ended(&output, 0, &["closed: received 1000"]);
            assert_eq!(text(&output.stdout), input, "{runtime}");
            assert_eq!(server.stop().status.code(), Some(0));
        }
    }
}
