//! How `echo` and `connect` end, on each runtime, whatever they are busy with.

mod programs;

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::ChildStdin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use programs::{Echo, LONGEST, Program, RUNTIMES, assert_ended, text};
use wspulse_core::{CloseCode, Config, Event};
use wspulse_std::WebSocket;

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
        // A program that another test starts at this moment has the pipe open until it begins, so
        // one line alone may find a reader yet.
        let writing = std::thread::spawn(move || {
            while stdin.write_all(b"unread\n").is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let output = program.finish();
        writing.join().unwrap();
        assert_ended(&output, 0, &["open: ", "closed: received 1000"]);
        let line = server.next_line();
        assert!(line.contains("received 1000"), "{runtime}: {line:?}");
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
