//! The programs of an adapter's README, for the tests of each adapter.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use std::{env, thread};

/// An example and its source.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) source: &'static str,
}

/// The README has the program to the letter, but for the line that says how to run it.
pub(crate) fn assert_in_readme(readme: &str, program: &Program) {
    let (head, source) = program.source.split_once("\n\n").unwrap();
    let call = format!("--example {} --", program.name);
    assert!(head.starts_with("//! ") && head.contains(&call), "{head}");
    let block = format!("\n```rust,no_run\n{source}```\n");
    assert!(
        readme.contains(&block),
        "the README has another {}",
        program.name
    );
    assert_linked(readme, program);
}

/// The README says where the program is and how to run it.
pub(crate) fn assert_linked(readme: &str, program: &Program) {
    let link = format!("[`examples/{0}.rs`](examples/{0}.rs)", program.name);
    let call = format!("--example {}`", program.name);
    assert!(readme.contains(&link) && readme.contains(&call), "{link}");
}

/// The server echoes, is killed, and begins again at the same address; the client comes back, says
/// first what it says first, and goes on.
pub(crate) fn assert_comes_back(echo: &Program, reconnect: &Program) {
    let mut server = Running::start(echo, "127.0.0.1:0");
    let listening = server.line("listening on ");
    let address = listening.strip_prefix("listening on ").unwrap();
    let mut client = Running::start(reconnect, &format!("ws://{address}/"));
    assert_eq!(client.line(""), "open");
    assert_eq!(client.line(""), "subscribe: news");
    assert_eq!(client.line(""), "message 1");

    server.kill();
    client.line("down: ");
    let mut server = Running::start(echo, address);
    assert_eq!(server.line("listening on "), listening);
    client.line("open");
    assert_eq!(client.line(""), "subscribe: news");
    client.line("message ");
}

/// A program that runs; killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    deadline: Instant,
    seen: Vec<String>,
}

impl Running {
    pub(crate) fn start(program: &Program, argument: &str) -> Self {
        let mut child = Command::new(path(program.name))
            .arg(argument)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("`cargo build --examples` before a test on its own");
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Nobody may be listening any more; the program goes on writing.
                let _ = sender.send(line);
            }
        });
        Self {
            child,
            lines,
            deadline: Instant::now() + PATIENCE,
            seen: Vec::new(),
        }
    }

    /// Waits for the next line that begins so.
    pub(crate) fn line(&mut self, begin: &str) -> String {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.starts_with(begin) {
                        return line;
                    }
                }
                Err(error) => {
                    self.kill();
                    let said = self.errors();
                    panic!("no {begin:?} ({error}) after {:?}; {said}", self.seen);
                }
            }
        }
    }

    /// Waits for the program's own end; returns what it wrote to standard error.
    #[allow(dead_code, reason = "not every adapter's test asks")]
    pub(crate) fn end(mut self) -> String {
        while self.child.try_wait().unwrap().is_none() {
            let is_late = Instant::now() > self.deadline;
            assert!(!is_late, "no end after {:?}", self.seen);
            thread::sleep(Duration::from_millis(10));
        }
        self.errors()
    }

    fn errors(&mut self) -> String {
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _ = stderr.read_to_string(&mut said);
        }
        said
    }

    fn kill(&mut self) {
        // One that has ended already is as dead.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where cargo puts examples: beside the directory of the tests.
fn path(name: &str) -> PathBuf {
    let tests = env::current_exe().unwrap();
    let target = tests.parent().and_then(|deps| deps.parent()).unwrap();
    let file = format!("{name}{}", env::consts::EXE_SUFFIX);
    target.join("examples").join(file)
}

/// The first attempt comes within 5 s after a loss; one that was too early, a second or two later.
const PATIENCE: Duration = Duration::from_secs(60);
