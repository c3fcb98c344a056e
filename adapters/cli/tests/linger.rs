//! I7 and I8: `connect` waits for answers before its Close, and tells the end when it is there.

#![cfg(unix)]

mod programs;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use programs::{Program, RUNTIMES, accept, assert_ended, text};
use wspulse_core::Config;

/// Every client there is.
const CLIENTS: [&[&str]; 5] = [
    &["--runtime", "std"],
    &["--runtime", "tokio"],
    &["--runtime", "mio"],
    &["--runtime", "std", "--reconnect"],
    &["--runtime", "tokio", "--reconnect"],
];

/// Runs `check` with every client at the same time.
fn with_every_client(check: impl Fn(&[&str]) + Sync) {
    std::thread::scope(|scope| {
        for options in CLIENTS {
            let check = &check;
            scope.spawn(move || check(options));
        }
    });
}

fn serve(serve: impl FnOnce(TcpStream) + Send + 'static) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || serve(accept(&listener)));
    (url, server)
}

fn connect(url: &str, options: &[&str], more: &[&str]) -> Program {
    Program::start(&[&["connect", url], options, more].concat())
}

/// A server that thinks about an answer, and forgets it when a Close comes meanwhile.
fn forgetful(stream: TcpStream) {
    let mut ws = wspulse_std::accept(stream, Config::default()).unwrap();
    while let Some(Ok(question)) = ws.next() {
        std::thread::sleep(Duration::from_millis(200));
        match ws.next_timeout(Duration::from_millis(1)) {
            Poll::Pending => ws.send(question).unwrap(),
            _ => return,
        }
    }
}

#[test]
fn i7_the_answer_comes_before_the_close() {
    with_every_client(|options| {
        let (url, server) = serve(forgetful);
        let mut program = connect(&url, options, &["--linger", "5s"]);
        let mut lines = program.stdout();
        program.stdin().write_all(b"hi\n").unwrap();
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert_eq!(line, "hi\n", "{options:?}");
        // Five seconds are more than this test wants to wait.
        program.signal("-INT");
        assert_ended(&program.finish(), 0, &["closed: received 1000"]);
        server.join().unwrap();
    });
}

#[test]
fn i7_with_no_moment_to_spare_it_closes_at_once() {
    with_every_client(|options| {
        let (url, server) = serve(forgetful);
        let mut program = connect(&url, options, &["--linger", "0s"]);
        program.stdin().write_all(b"hi\n").unwrap();
        let output = program.finish();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(text(&output.stdout), "", "{options:?}");
        server.join().unwrap();
    });
}

#[test]
fn i7_a_server_that_never_stops_talking_is_left_all_the_same() {
    with_every_client(|options| {
        let (url, server) = serve(|stream| {
            let mut ws = wspulse_std::accept(stream, Config::default()).unwrap();
            while ws.send("tick").is_ok() {
                if let Poll::Ready(None | Some(Err(_))) = ws.next_timeout(Duration::from_millis(5))
                {
                    return;
                }
            }
        });
        let mut program = connect(&url, options, &["--linger", "50ms"]);
        drop(program.stdin());
        let output = program.finish();
        server.join().unwrap();
        assert_ended(&output, 0, &["open: ", "closed: received 1000"]);
    });
}

/// A server on a bare socket, that is told what to do: the opening handshake is done.
fn bare(serve_it: impl FnOnce(TcpStream) + Send + 'static) -> (String, JoinHandle<()>) {
    serve(|stream| {
        drop(wspulse_std::accept(stream.try_clone().unwrap(), Config::default()).unwrap());
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(programs::LONGEST)).unwrap();
        serve_it(stream);
    })
}

/// Reads a Close frame of 1000, and nothing else.
fn read_close(stream: &mut TcpStream) {
    let mut frame = [0; 8];
    stream.read_exact(&mut frame).unwrap();
    let [head, length, a, b, _, _, high, low] = frame;
    assert_eq!([head, length], [0x88, 0x82]);
    assert_eq!([a ^ high, b ^ low], [0x03, 0xE8]);
}

/// The end is told while the server still holds TCP open.
fn assert_told_before_tcp_ends(options: &[&str], mut program: Program, end: mpsc::Sender<()>) {
    let began = Instant::now();
    let mut lines = BufReader::new(program.child.stderr.take().unwrap()).lines();
    let closed = lines.find_map(|line| line.ok().filter(|line| line.starts_with("closed: ")));
    let closed = closed.unwrap_or_else(|| panic!("no end: {options:?}"));
    let numbers = "closed: received 1000, sent 1000 (last byte ";
    assert!(closed.starts_with(numbers), "{options:?}: {closed}");
    // Nobody waits for TCP longer than five seconds.
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{options:?}: {closed}"
    );
    end.send(()).unwrap();
    let rest: Vec<_> = lines.map(Result::unwrap).collect();
    assert!(rest.is_empty(), "{options:?}: {rest:?}");
    assert_eq!(program.finish().status.code(), Some(0));
}

#[test]
fn i8_the_end_is_told_when_the_close_was_answered() {
    with_every_client(|options| {
        let (end, ended) = mpsc::channel();
        let (url, server) = bare(move |mut stream| {
            read_close(&mut stream);
            stream.write_all(b"\x88\x02\x03\xE8").unwrap();
            let _ = ended.recv();
        });
        let mut program = connect(&url, options, &["--linger", "0s"]);
        drop(program.stdin());
        assert_told_before_tcp_ends(options, program, end);
        server.join().unwrap();
    });
}

#[test]
fn i8_the_end_is_told_when_our_answer_has_left() {
    for runtime in RUNTIMES {
        let options = ["--runtime", runtime];
        let (end, ended) = mpsc::channel();
        let (url, server) = bare(move |mut stream| {
            stream.write_all(b"\x88\x02\x03\xE8").unwrap();
            read_close(&mut stream);
            let _ = ended.recv();
        });
        let mut program = connect(&url, &options, &[]);
        let _stdin = program.stdin();
        assert_told_before_tcp_ends(&options, program, end);
        server.join().unwrap();
    }
}

#[test]
fn a_line_that_is_too_long_is_skipped_and_not_held() {
    let (url, server) = serve(|stream| {
        let mut ws = wspulse_std::accept(stream, Config::default()).unwrap();
        while let Some(Ok(message)) = ws.next() {
            ws.send(message).unwrap();
        }
    });
    let mut program = connect(&url, &[], &[]);
    let mut stdin = program.stdin();
    let writing = std::thread::spawn(move || {
        let block = [b'x'; 1 << 16];
        for _ in 0..(100 << 20) / block.len() {
            stdin.write_all(&block).unwrap();
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", program.child.id()));
        stdin.write_all(b"\nshort\n").unwrap();
        drop(stdin);
        (program.finish(), status)
    });
    let (output, status) = writing.join().unwrap();
    assert_ended(
        &output,
        0,
        &["skipped: a line above 16 MiB", "closed: received 1000"],
    );
    assert_eq!(text(&output.stdout), "short\n");
    server.join().unwrap();
    if let Ok(status) = status {
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(peak < 80 << 10, "100 MiB are not held: {peak} KiB");
    }
}
