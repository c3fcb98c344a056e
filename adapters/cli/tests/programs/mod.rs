//! Running programs, and what they said.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::{self, BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

pub(crate) const RUNTIMES: [&str; 3] = ["std", "tokio", "mio"];

/// No test runs a program for longer than this.
pub(crate) const LONGEST: Duration = Duration::from_secs(30);

/// Accepts one connection, unless none comes for too long.
pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let began = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                return stream;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
        assert!(began.elapsed() < LONGEST, "nobody connects");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A program that ends with the test.
pub(crate) struct Program {
    pub(crate) child: Child,
}

impl Program {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_wspulse"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child }
    }

    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    pub(crate) fn stdout(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.child.stdout.take().unwrap())
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits for the end, or makes one.
    pub(crate) fn finish(mut self) -> Output {
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
pub(crate) fn idle() -> Child {
    Command::new("true").spawn().unwrap()
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running echo server.
pub(crate) struct Echo {
    pub(crate) program: Program,
    pub(crate) lines: BufReader<ChildStdout>,
    pub(crate) address: String,
}

impl Echo {
    pub(crate) fn start(runtime: &str, listen: &str, options: &[&str]) -> Self {
        let arguments = ["echo", "--listen", listen, "--runtime", runtime];
        let mut program = Program::start(&[&arguments, options].concat());
        let mut lines = program.stdout();
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let address = match line.trim_end().strip_prefix("listening on ") {
            Some(address) => address.to_owned(),
            None => {
                let object: serde_json::Value = serde_json::from_str(&line).expect(&line);
                object["address"].as_str().expect(&line).to_owned()
            }
        };
        Self {
            program,
            lines,
            address,
        }
    }

    pub(crate) fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    pub(crate) fn stop(self) -> Output {
        self.program.signal("-TERM");
        self.program.finish()
    }
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[track_caller]
pub(crate) fn assert_ended(output: &Output, code: i32, words: &[&str]) {
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
