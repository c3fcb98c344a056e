//! The peers' processes.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use wspulse_tests::kit::ms;
use wspulse_tests::net::exempt_this_thread;

use crate::books::Books;

/// A peer. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Peer {
    name: &'static str,
    process: Child,
    pub(crate) address: SocketAddr,
    /// What it says at its end.
    said: Arc<Mutex<Vec<String>>>,
    listening: Option<JoinHandle<()>>,
}

impl Peer {
    /// Starts a peer, with a client for each target, and waits until it listens.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub(crate) fn start(
        name: &'static str,
        mut command: Command,
        seed: u64,
        targets: &[SocketAddr],
        books: &Arc<Books>,
    ) -> Result<Self, String> {
        let targets = targets.iter().map(SocketAddr::to_string);
        command.arg(seed.to_string()).args(targets);
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{name}: {command:?}: {error}"))?;
        let stdout = process.stdout.take().ok_or("no output")?;
        let (found, address) = mpsc::channel();
        let said = Arc::<Mutex<Vec<String>>>::default();
        let (noted, books) = (Arc::clone(&said), Arc::clone(books));
        let listening = thread::spawn(move || {
            exempt_this_thread();
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(address) = line.strip_prefix("listening on ") {
                    let _ = found.send(address.parse());
                } else if line.starts_with("FAILED") {
                    books.fail(format!("{name} says: {line}"));
                } else {
                    noted.lock().expect("no panic").push(line);
                }
            }
        });
        let address = address.recv_timeout(Duration::from_secs(20));
        let Ok(Ok(address)) = address else {
            let _ = process.kill();
            let _ = process.wait();
            return Err(format!("{name} does not listen: {address:?}"));
        };
        Ok(Self {
            name,
            process,
            address,
            said,
            listening: Some(listening),
        })
    }

    /// Has it come to its end, and returns what it says then.
    ///
    /// # Errors
    ///
    /// If it does not end well.
    pub(crate) fn finish(&mut self) -> Result<String, String> {
        drop(self.process.stdin.take());
        let deadline = Instant::now() + Duration::from_secs(90);
        let status = loop {
            match self.process.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < deadline => thread::sleep(ms(20)),
                other => return Err(format!("{} does not end: {other:?}", self.name)),
            }
        };
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
        if !status.success() {
            return Err(format!("{}: {status}", self.name));
        }
        Ok(self.said.lock().expect("no panic").join("\n"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
