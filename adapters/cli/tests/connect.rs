//! `echo` and `connect` on each runtime, plain and by TLS.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use wspulse_core::{CloseCode, Config, Event};
use wspulse_std::WebSocket;

const RUNTIMES: [&str; 3] = ["std", "tokio", "mio"];

/// Every client there is.
const CLIENTS: [(&str, &[&str]); 5] = [
    ("std", &[]),
    ("tokio", &[]),
    ("mio", &[]),
    ("std", &["--reconnect"]),
    ("tokio", &["--reconnect"]),
];

/// What a peer is given to answer a Close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// No test runs a program for longer than this.
const LONGEST: Duration = Duration::from_secs(30);

/// A program that ends with the test.
struct Program {
    child: Child,
}

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_wspulse"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child }
    }

    fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    fn stdout(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.child.stdout.take().unwrap())
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits for the end, or makes one.
    fn finish(mut self) -> Output {
        let (sender, receiver) = mpsc::channel();
        let id = self.child.id().to_string();
        let watch = std::thread::spawn(move || {
            if receiver.recv_timeout(LONGEST).is_err() {
                let _ = Command::new("kill").args(["-9", &id]).status();
            }
        });
        // Both outputs are read to their ends, so that a full pipe holds nobody up.
        let child = std::mem::replace(&mut self.child, idle());
        let output = child.wait_with_output().unwrap();
        let _ = sender.send(());
        watch.join().unwrap();
        output
    }
}

/// Something to leave behind in a `Program` that was waited for.
fn idle() -> Child {
    Command::new("true").spawn().unwrap()
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running echo server.
struct Echo {
    program: Program,
    lines: BufReader<ChildStdout>,
    address: String,
}

impl Echo {
    fn start(runtime: &str, listen: &str, options: &[&str]) -> Self {
        let arguments = ["echo", "--listen", listen, "--runtime", runtime];
        let mut program = Program::start(&[&arguments, options].concat());
        let mut lines = program.stdout();
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening on ");
        let address = address.unwrap_or_else(|| panic!("{line:?}")).to_owned();
        Self {
            program,
            lines,
            address,
        }
    }

    fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    fn stop(self) -> Output {
        self.program.signal("-TERM");
        self.program.finish()
    }
}

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

/// Accepts one client, and then reads nothing; returns its URL, and the connection in the end.
fn one_that_never_reads() -> (String, JoinHandle<WebSocket<TcpStream>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        wspulse_std::accept(stream, Config::default()).unwrap()
    });
    (url, server)
}

/// Writes lines until nobody takes them any more, and tells so.
fn fill(mut stdin: ChildStdin) -> mpsc::Receiver<()> {
    let (full, is_full) = mpsc::channel();
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    std::thread::spawn(move || {
        let line = format!("{}\n", "x".repeat(16 * 1_024));
        while stdin.write_all(line.as_bytes()).is_ok() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    std::thread::spawn(move || {
        wait_until_it_stands(&written);
        let _ = full.send(());
    });
    is_full
}

/// Waits until a count has begun, and then stopped growing.
fn wait_until_it_stands(count: &AtomicUsize) {
    let mut before = 0;
    for _ in 0..60 {
        std::thread::sleep(Duration::from_millis(500));
        let now = count.load(Ordering::SeqCst);
        if now > 0 && now == before {
            return;
        }
        before = now;
    }
    panic!("it still grows: {before}");
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[track_caller]
fn assert_ended(output: &Output, code: i32, words: &[&str]) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    let mut rest = said;
    for word in words {
        let found = rest
            .find(word)
            .unwrap_or_else(|| panic!("no {word:?} in {said:?}"));
        rest = &rest[found..];
    }
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
            "closed: peer is dead",
            "last byte 0.",
            "pings",
        ];
        assert_ended(&output, 1, &said);
    }
}

#[test]
fn a_server_that_stops_says_1001_which_is_no_normal_close() {
    for runtime in RUNTIMES {
        let server = Echo::start(runtime, "127.0.0.1:0", &[]);
        let url = format!("ws://{}/", server.address);
        let mut program = Program::start(&["connect", &url, "--runtime", runtime]);
        let mut stdin = program.stdin();
        stdin.write_all(b"hello\n").unwrap();
        let mut line = String::new();
        program.stdout().read_line(&mut line).unwrap();
        let began = Instant::now();
        assert_eq!(server.stop().status.code(), Some(0));
        assert!(began.elapsed() < Duration::from_secs(6), "{runtime}");
        assert_ended(&program.finish(), 1, &["open: ", "closed: received 1001"]);
    }
}

#[test]
fn ctrl_c_closes_with_1000() {
    for runtime in RUNTIMES {
        let mut server = Echo::start(runtime, "127.0.0.1:0", &[]);
        let url = format!("ws://{}/", server.address);
        let mut program = Program::start(&["connect", &url, "--runtime", runtime]);
        let mut stdin = program.stdin();
        stdin.write_all(b"hello\n").unwrap();
        let mut line = String::new();
        program.stdout().read_line(&mut line).unwrap();
        program.signal("-INT");
        assert_ended(&program.finish(), 0, &["open: ", "closed: received 1000"]);
        assert!(server.next_line().contains("received 1000"), "{runtime}");
    }
}

/// A client that is stuck in a send, and the server that does not read.
fn stuck(runtime: &str, options: &[&str]) -> (Program, JoinHandle<WebSocket<TcpStream>>) {
    let (url, server) = one_that_never_reads();
    let arguments = ["connect", &url, "--runtime", runtime];
    let mut program = Program::start(&[&arguments, options].concat());
    let full = fill(program.stdin());
    full.recv_timeout(LONGEST).unwrap();
    (program, server)
}

/// Runs `check` with every client at the same time.
fn with_every_client(check: impl Fn(&str, &[&str]) + Sync) {
    std::thread::scope(|scope| {
        for (runtime, options) in CLIENTS {
            let check = &check;
            scope.spawn(move || check(runtime, options));
        }
    });
}

#[test]
fn ctrl_c_ends_a_send_that_the_server_does_not_read() {
    with_every_client(|runtime, options| {
        let (program, _server) = stuck(runtime, options);
        let began = Instant::now();
        program.signal("-INT");
        let output = program.finish();
        let took = began.elapsed();
        let said = ["open: ", "closed: closing handshake timed out"];
        assert_ended(&output, 1, &said);
        let bound = CLOSE_TIMEOUT + Duration::from_secs(1);
        assert!(took < bound, "{runtime} {options:?}: {took:?}");
    });
}

#[test]
fn a_second_ctrl_c_ends_at_once() {
    with_every_client(|runtime, options| {
        let (program, _server) = stuck(runtime, options);
        program.signal("-INT");
        // Two that come together count as one.
        std::thread::sleep(Duration::from_millis(500));
        let began = Instant::now();
        program.signal("-INT");
        let output = program.finish();
        let took = began.elapsed();
        assert_ended(&output, 1, &["open: "]);
        assert!(!text(&output.stderr).contains("closed: "), "{output:?}");
        let bound = Duration::from_secs(2);
        assert!(took < bound, "{runtime} {options:?}: {took:?}");
    });
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
fn with_reconnect_ctrl_c_while_the_server_is_away_is_no_orderly_end() {
    for runtime in ["std", "tokio"] {
        let server = Echo::start(runtime, "127.0.0.1:0", &[]);
        let url = format!("ws://{}/", server.address);
        let arguments = ["connect", &url, "--runtime", runtime, "--reconnect"];
        let mut program = Program::start(&arguments);
        let _stdin = program.stdin();
        let mut said = BufReader::new(program.child.stderr.take().unwrap()).lines();
        assert_eq!(said.next().unwrap().unwrap(), format!("open: {url}"));
        assert_eq!(server.stop().status.code(), Some(0));
        let line = said.next().unwrap().unwrap();
        assert!(line.starts_with("reconnecting in "), "{line}");
        program.signal("-INT");
        let last = said.last().unwrap().unwrap();
        assert_eq!(
            last, "closed: there was no connection to close",
            "{runtime}"
        );
        assert_eq!(program.finish().status.code(), Some(1), "{runtime}");
    }
}

#[test]
fn a_reader_who_goes_away_closes_with_1000() {
    for (runtime, options) in CLIENTS {
        let mut server = Echo::start(runtime, "127.0.0.1:0", &[]);
        let url = format!("ws://{}/", server.address);
        let arguments = ["connect", &url, "--runtime", runtime];
        let mut program = Program::start(&[&arguments, options].concat());
        let mut stdin = program.stdin();
        let mut stdout = program.stdout();
        stdin.write_all(b"read\n").unwrap();
        stdout.read_line(&mut String::new()).unwrap();
        drop(stdout);
        stdin.write_all(b"unread\n").unwrap();
        let output = program.finish();
        assert_ended(&output, 0, &["open: ", "closed: received 1000"]);
        let line = server.next_line();
        assert!(line.contains("received 1000"), "{runtime}: {line:?}");
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

#[test]
fn a_server_that_stops_tells_a_client_that_sends_all_the_time() {
    for runtime in RUNTIMES {
        let mut server = Echo::start(runtime, "127.0.0.1:0", &[]);
        let url = format!("ws://{}/", server.address);
        let ws = wspulse_std::connect(&url, Config::default()).unwrap();
        let (mut reader, mut writer) = ws.split();
        let sending = std::thread::spawn(move || while writer.send("again").is_ok() {});
        for _ in 0..100 {
            reader.next().unwrap().unwrap();
        }
        server.program.signal("-TERM");
        let closed = std::iter::from_fn(|| reader.next_event())
            .find_map(|event| match event {
                Event::Closed(closed) => Some(closed),
                _ => None,
            })
            .unwrap();
        sending.join().unwrap();
        assert_eq!(closed.code(), CloseCode::GOING_AWAY, "{runtime}: {closed}");
        let line = server.next_line();
        assert!(line.contains("1001"), "{runtime}: {line:?}");
        assert_eq!(server.program.finish().status.code(), Some(0), "{runtime}");
    }
}

#[test]
fn a_server_that_stops_does_not_wait_for_a_client_that_does_not_read() {
    std::thread::scope(|scope| {
        for runtime in RUNTIMES {
            scope.spawn(move || {
                let mut server = Echo::start(runtime, "127.0.0.1:0", &[]);
                let url = format!("ws://{}/", server.address);
                let ws = wspulse_std::connect(&url, Config::default()).unwrap();
                let stream = ws.get_ref().try_clone().unwrap();
                let (mut ws, sent) = (ws, Arc::new(AtomicUsize::new(0)));
                let count = Arc::clone(&sent);
                // It takes no answer, so each end waits for the other to read.
                let sending = std::thread::spawn(move || {
                    let line = "x".repeat(16 * 1_024);
                    while ws.send(line.as_str()).is_ok() {
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                });
                wait_until_it_stands(&sent);
                let began = Instant::now();
                server.program.signal("-TERM");
                let line = server.next_line();
                let output = server.program.finish();
                let took = began.elapsed();
                assert_eq!(output.status.code(), Some(0), "{runtime}: {output:?}");
                assert!(line.contains(" messages)"), "{runtime}: {line:?}");
                let bound = CLOSE_TIMEOUT + Duration::from_secs(2);
                assert!(took < bound, "{runtime}: {took:?}");
                let _ = stream.shutdown(Shutdown::Both);
                sending.join().unwrap();
            });
        }
    });
}
