//! The lines of a server, which its connections do not wait for.

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cause::Why;
use crate::output::Output;

/// Prints lines in threads of its own: a terminal that is stopped, or a pipe that nobody reads,
/// holds up no connection. A clone is the same log.
#[derive(Clone, Debug)]
pub(super) struct Log {
    output: Output,
    lines: Printer,
    errors: Printer,
    accept_failures: Arc<Mutex<Pace>>,
}

impl Log {
    pub(super) fn start(output: Output) -> Self {
        Self {
            output,
            lines: Printer::start(output, io::stdout()),
            errors: Printer::start(output, io::stderr()),
            accept_failures: Arc::default(),
        }
    }

    pub(super) fn listening(&self, address: SocketAddr) {
        self.line(
            format_args!("listening on {address}"),
            &json!({ "event": "listening", "address": address.to_string() }),
        );
    }

    pub(super) fn ended(&self, peer: impl Into<Option<SocketAddr>>, why: &Why, messages: u64) {
        let peer = peer.into().map(|address| address.to_string());
        let name = peer.as_deref().unwrap_or("a client");
        self.line(
            format_args!("{name}: {} ({messages} messages)", why.text),
            &why.to_object("ended", json!({ "peer": peer, "messages": messages })),
        );
    }

    /// A connection could not be accepted, such as for want of descriptors: others have to go
    /// first. Said once a second at most, since each attempt fails until then.
    pub(super) fn not_accepted(&self, error: &io::Error) {
        let pace = self.accept_failures.lock();
        let mut pace = pace.unwrap_or_else(PoisonError::into_inner);
        let Some(silent) = pace.next(Instant::now()) else {
            return;
        };
        let why = Why::io(error);
        let more = match silent {
            0 => String::new(),
            silent => format!(" ({silent} more failures before)"),
        };
        let text = format!("wspulse: cannot accept: {error}{more}");
        let object = why.to_object("not-accepted", json!({ "unsaid": silent }));
        // Objects have one stream.
        let printer = if self.output.json {
            &self.lines
        } else {
            &self.errors
        };
        printer.print(self.output.render(text, &object));
    }

    /// Gives the lines that wait a moment to be printed.
    pub(super) fn finish(&self) {
        self.lines.finish();
        self.errors.finish();
    }

    fn line(&self, text: impl fmt::Display, object: &Value) {
        self.lines.print(self.output.render(text, object));
    }
}

/// A thread that prints.
#[derive(Clone, Debug)]
struct Printer {
    lines: SyncSender<Job>,
    /// Lines that were dropped since the last one that was not.
    dropped: Arc<Mutex<u64>>,
}

#[derive(Debug)]
enum Job {
    Line(String),
    /// Tell when everything before it is printed.
    Finish(SyncSender<()>),
}

impl Printer {
    fn start(output: Output, mut stream: impl Write + Send + 'static) -> Self {
        let (lines, next) = mpsc::sync_channel(MAX_WAITING);
        let dropped = Arc::new(Mutex::new(0));
        let count = Arc::clone(&dropped);
        thread::spawn(move || {
            // Nobody reading any more is no error of ours.
            for job in next {
                match job {
                    Job::Line(line) => {
                        let _ = writeln!(stream, "{line}");
                    }
                    Job::Finish(done) => {
                        let _ = done.try_send(());
                    }
                }
                // The queue has room again. Lines that came while it was full are counted.
                let dropped = std::mem::take(&mut *lock(&count));
                if dropped > 0 {
                    let text = format!("{dropped} lines were dropped, since nobody read them");
                    let object = json!({ "event": "dropped", "lines": dropped });
                    let _ = writeln!(stream, "{}", output.render(text, &object));
                }
            }
        });
        Self { lines, dropped }
    }

    fn print(&self, line: String) {
        if let Err(TrySendError::Full(_)) = self.lines.try_send(Job::Line(line)) {
            *lock(&self.dropped) += 1;
        }
    }

    fn finish(&self) {
        let (done, is_done) = mpsc::sync_channel(1);
        if self.lines.try_send(Job::Finish(done)).is_ok() {
            let _ = is_done.recv_timeout(PATIENCE);
        }
    }
}

/// Lets something be said once in a while, and counts how often it was not.
#[derive(Debug, Default)]
struct Pace {
    said_at: Option<Instant>,
    silent: u64,
}

impl Pace {
    /// Returns how often nothing was said since the last time, if it is time to say something.
    fn next(&mut self, now: Instant) -> Option<u64> {
        let is_early = |said_at| now.saturating_duration_since(said_at) < PERIOD;
        if self.said_at.is_some_and(is_early) {
            self.silent += 1;
            return None;
        }
        self.said_at = Some(now);
        Some(std::mem::take(&mut self.silent))
    }
}

fn lock(count: &Mutex<u64>) -> std::sync::MutexGuard<'_, u64> {
    count.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lines that wait to be printed, at most: some hundred kilobytes.
const MAX_WAITING: usize = 1_024;

/// How long the end waits for lines to be printed.
const PATIENCE: Duration = Duration::from_millis(500);

/// The time between two lines about connections that cannot be accepted.
const PERIOD: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that takes nothing until it is told to.
    struct Stuck {
        go_on: mpsc::Receiver<()>,
        written: mpsc::Sender<String>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // An error is the end of the test's patience.
            let _ = self.go_on.recv();
            let _ = self
                .written
                .send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a11_a_log_that_nobody_reads_holds_up_nobody_and_counts_what_it_drops() {
        let (unstick, go_on) = mpsc::channel();
        let (written, said) = mpsc::channel();
        let printer = Printer::start(Output::new(false), Stuck { go_on, written });
        for n in 0..MAX_WAITING + 100 {
            printer.print(format!("line {n}"));
        }
        printer.finish();
        drop(unstick);
        let mut all = String::new();
        let mut dropped = None;
        while dropped.is_none() {
            all += &said.recv_timeout(Duration::from_secs(10)).unwrap();
            dropped = all.split_once(" lines were dropped").map(|(before, _)| {
                let number = before.rsplit('\n').next().unwrap();
                number.parse::<usize>().unwrap()
            });
        }
        let dropped = dropped.unwrap();
        // The thread may hold one line more than the queue, or not yet.
        assert!((99..=100).contains(&dropped), "{dropped}");
        assert!(all.starts_with("line 0\n"));
        while !all.contains(&format!("line {}\n", MAX_WAITING + 99 - dropped)) {
            all += &said.recv_timeout(Duration::from_secs(10)).unwrap();
        }
    }

    #[test]
    fn what_fails_again_and_again_is_said_once_a_second() {
        let mut pace = Pace::default();
        let start = Instant::now();
        let said: Vec<_> = (0..100)
            .filter_map(|n| pace.next(start + Duration::from_millis(n * 100)))
            .collect();
        assert_eq!(said, [0, 9, 9, 9, 9, 9, 9, 9, 9, 9]);
    }
}
