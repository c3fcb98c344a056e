//! An adapter under test in a process of its own: one that can be put into a namespace, or stopped.
//!
//! The process is the test binary itself, started once more. A test binary's `main` begins with
//! [`obey`], which does what [`Orders`] say if the process is such a child.

use std::collections::HashMap;
use std::env;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::process::{self, ChildStdin, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Config, Role};

use super::process::{descriptors, threads};
use super::{End, Hall, Job, Note, Recorder, Report, Script, content, subjects};
use crate::kit::ms;
use crate::netns::Namespace;

/// What a child does: one connection.
#[derive(Clone, Debug)]
pub struct Orders {
    /// The adapter's name.
    pub subject: &'static str,
    /// The child's role.
    pub role: Role,
    /// Where to connect to, or where to listen.
    pub address: SocketAddr,
    /// Ping after so long without traffic.
    pub interval: Duration,
    /// Dead so long after an unanswered ping.
    pub timeout: Duration,
    /// Dead after so long without progress of output.
    pub write_stall: Duration,
    /// Sends one message of [`content`] of this size; otherwise only receives.
    pub sends: Option<usize>,
    /// After how long of an open connection the child drops it.
    pub window: Duration,
}

impl Orders {
    /// Returns the configuration, which has no jitter.
    #[must_use]
    pub fn config(&self) -> Config {
        let heartbeat = HeartbeatConfig::ping(self.interval, self.timeout)
            .jitter_percent(0)
            .write_stall_timeout(self.write_stall);
        let config = Config::builder()
            .heartbeat(heartbeat)
            .max_message_size(LARGEST);
        config.build().expect("a configuration that can work")
    }

    /// Returns them as a job for a [`Subject`](super::Subject) in this process.
    #[must_use]
    pub fn job(&self) -> Job {
        Job {
            config: Arc::new(self.config()),
            tls: None,
            script: match self.sends {
                Some(size) => Script::Send(content(size)),
                None => Script::Read,
            },
            window: self.window,
        }
    }

    fn to_line(&self) -> String {
        let role = match self.role {
            Role::Client => "client",
            Role::Server => "server",
        };
        let [interval, timeout, write_stall, window] =
            [self.interval, self.timeout, self.write_stall, self.window].map(|d| d.as_millis());
        format!(
            "subject={} role={role} address={} interval={interval} timeout={timeout} \
             write_stall={write_stall} sends={} window={window}",
            self.subject,
            self.address,
            self.sends.unwrap_or(0),
        )
    }

    fn from_line(line: &str) -> Option<Self> {
        let line = Line::new(line);
        let subject = line.get("subject")?;
        let known = subjects().into_iter().map(|known| known.name());
        Some(Self {
            subject: known.into_iter().find(|known| *known == subject)?,
            role: match line.get("role")? {
                "client" => Role::Client,
                _ => Role::Server,
            },
            address: line.get("address")?.parse().ok()?,
            interval: line.span("interval")?,
            timeout: line.span("timeout")?,
            write_stall: line.span("write_stall")?,
            sends: line.number("sends").and_then(|size| match size {
                0 => None,
                size => usize::try_from(size).ok(),
            }),
            window: line.span("window")?,
        })
    }
}

/// The longest message that a child takes.
const LARGEST: u64 = 64 << 20;

// ---- the child's side

/// Tells a process that it is a child, and its orders.
const ORDERS: &str = "WSPULSE_CHILD";

/// Carries out the orders of a process that is a child; `None` if it is none.
#[must_use]
pub fn obey() -> Option<ExitCode> {
    let orders = env::var(ORDERS).ok()?;
    end_with_the_parent();
    let Some(orders) = Orders::from_line(&orders) else {
        println!("failed: no such orders: {orders}");
        return Some(ExitCode::FAILURE);
    };
    // A runtime's first start opens what the process keeps to its end, such as the pipe for
    // signals, where another package has tokio's feature for them.
    drop(super::tokio::runtime());
    let before = (descriptors(), threads());
    match perform(&orders) {
        Ok(report) => println!("{}", told(&report)),
        Err(error) => println!("failed: {error}"),
    }
    let mut after = (descriptors(), threads());
    let deadline = Instant::now() + ms(1_000);
    while after != before && Instant::now() < deadline {
        thread::sleep(ms(10));
        after = (descriptors(), threads());
    }
    println!(
        "left descriptors={} threads={}",
        after.0.saturating_sub(before.0),
        after.1.saturating_sub(before.1)
    );
    Some(ExitCode::SUCCESS)
}

fn perform(orders: &Orders) -> io::Result<Report> {
    let subject = subjects()
        .into_iter()
        .find(|known| known.name() == orders.subject)
        .ok_or_else(|| io::Error::other("no such adapter"))?;
    let job = orders.job();
    if orders.role == Role::Client {
        return Ok(subject.connect(orders.address, &job));
    }
    let listener = TcpListener::bind(orders.address)?;
    println!("listening on={}", listener.local_addr()?);
    let hall = Hall::new(listener, 1);
    subject.serve(&hall, &job);
    let report = hall.take_reports().pop();
    Ok(report.unwrap_or_else(|| Recorder::new().fail("no report")))
}

/// A parent that is gone has let go of the child's standard input.
fn end_with_the_parent() {
    thread::spawn(|| {
        let _ = io::stdin().read(&mut [0]);
        process::exit(1);
    });
}

fn told(report: &Report) -> String {
    let count = |note| report.notes.iter().filter(|(_, n)| *n == note).count();
    let mut line = format!(
        "ended open_for={} suspicions={} recoveries={} messages={} bytes={} digest={}",
        report.open_for().as_millis(),
        count(Note::Suspect),
        count(Note::Recovered),
        report.messages,
        report.bytes,
        report.digest,
    );
    let (end, cause, numbers) = match &report.end {
        End::Alive(snapshot) => ("alive", String::new(), Some(snapshot.heartbeat)),
        End::Closed(closed) => (
            "closed",
            format!("{:?}", closed.cause).replace(' ', ""),
            Some(closed.snapshot.heartbeat),
        ),
        End::Failed(_) => ("failed", String::new(), None),
    };
    let _ = write!(line, " end={end} cause={cause}");
    if let Some(numbers) = numbers {
        let _ = write!(
            line,
            " pings={} lost={} pauses={} silence={}",
            numbers.pings,
            numbers.lost,
            numbers.local_pauses,
            numbers.since_received.as_millis()
        );
    }
    let _ = write!(line, " said={}", report.end.to_string().replace(' ', "_"));
    line
}

// ---- the parent's side

/// A child. Dropped, it is killed.
#[derive(Debug)]
pub struct Child {
    process: process::Child,
    /// Held so that the child can tell when its parent is gone.
    _stdin: Option<ChildStdin>,
    lines: Receiver<(Instant, String)>,
    name: String,
}

impl Child {
    /// Starts a child, in a namespace if one is given.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn start(orders: &Orders, place: Option<&Namespace>) -> Result<Self, String> {
        let executable = env::current_exe().map_err(|error| error.to_string())?;
        let mut command = match place {
            Some(namespace) => namespace.command(&executable),
            None => Command::new(executable),
        };
        let mut process = command
            .env(ORDERS, orders.to_line())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{command:?}: {error}"))?;
        let (heard, lines) = mpsc::channel();
        if let Some(stdout) = process.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    let _ = heard.send((Instant::now(), line));
                }
            });
        }
        Ok(Self {
            _stdin: process.stdin.take(),
            process,
            lines,
            name: format!("{} as {:?}", orders.subject, orders.role).to_lowercase(),
        })
    }

    /// Waits until a server listens, and returns where.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub fn listening(&mut self) -> Result<SocketAddr, String> {
        let (_, line) = self.line("listening", Duration::from_secs(10))?;
        let address = line.get("on").and_then(|address| address.parse().ok());
        address.ok_or_else(|| format!("{}: {line:?}", self.name))
    }

    /// Waits until its connection ended.
    ///
    /// # Errors
    ///
    /// If that takes longer than `limit`.
    pub fn ended(&mut self, limit: Duration) -> Result<Ended, String> {
        let (at, line) = self.line("ended", limit)?;
        Ended::new(at, &line).ok_or_else(|| format!("{}: {line:?}", self.name))
    }

    /// Waits for the end of a child whose connection ended.
    ///
    /// # Errors
    ///
    /// If it does not end, or something stayed behind in it.
    pub fn leaves_nothing(&mut self) -> Result<(), String> {
        let (_, line) = self.line("left", Duration::from_secs(5))?;
        for what in ["descriptors", "threads"] {
            if line.number(what) != Some(0) {
                return Err(format!("{}: {what} are left: {line:?}", self.name));
            }
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match self.process.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(None) if Instant::now() < deadline => thread::sleep(ms(5)),
                other => return Err(format!("{} does not end well: {other:?}", self.name)),
            }
        }
    }

    /// Stops the process where it is (SIGSTOP).
    ///
    /// # Errors
    ///
    /// If it is gone.
    pub fn stop(&self) -> Result<(), String> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    ///
    /// If it is gone.
    pub fn resume(&self) -> Result<(), String> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), String> {
        kill_process(Pid::from_child(&self.process), signal)
            .map_err(|error| format!("{}: {error}", self.name))
    }

    fn line(&mut self, word: &str, limit: Duration) -> Result<(Instant, Line), String> {
        let heard = self.lines.recv_timeout(limit);
        let (at, line) =
            heard.map_err(|error| format!("{} does not say {word:?}: {error}", self.name))?;
        if !line.starts_with(word) {
            return Err(format!("{} says {line:?}, not {word:?}", self.name));
        }
        Ok((at, Line::new(&line)))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How a child's connection ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// When the child said so.
    pub at: Instant,
    /// "alive", "closed" or "failed".
    pub end: String,
    /// The cause, if it was closed, as `Debug` writes it.
    pub cause: String,
    /// The last byte's age at the end.
    pub silence: Duration,
    /// How long it was open.
    pub open_for: Duration,
    /// How often the peer was under suspicion.
    pub suspicions: u64,
    /// How often it was found to be alive after that.
    pub recoveries: u64,
    /// Messages received, their bytes and what they come to.
    pub messages: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Their digest.
    pub digest: u64,
    /// Pings sent.
    pub pings: u64,
    /// Pauses of the child's own that it noticed.
    pub pauses: u64,
    /// The end in words.
    pub said: String,
    /// All that the child said.
    pub line: String,
}

impl Ended {
    fn new(at: Instant, line: &Line) -> Option<Self> {
        Some(Self {
            at,
            end: line.get("end")?.to_owned(),
            cause: line.get("cause")?.to_owned(),
            silence: line.span("silence").unwrap_or_default(),
            open_for: line.span("open_for")?,
            suspicions: line.number("suspicions")?,
            recoveries: line.number("recoveries")?,
            messages: line.number("messages")?,
            bytes: line.number("bytes")?,
            digest: line.number("digest")?,
            pings: line.number("pings").unwrap_or(0),
            pauses: line.number("pauses").unwrap_or(0),
            said: line.get("said")?.replace('_', " "),
            line: line.whole.clone(),
        })
    }

    /// Tells whether the peer was declared dead.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.end == "closed" && self.cause.starts_with("Dead(")
    }
}

/// A line of `word key=value key=value`.
#[derive(Debug)]
struct Line {
    whole: String,
    values: HashMap<String, String>,
}

impl Line {
    fn new(line: &str) -> Self {
        let pairs = line.split(' ').filter_map(|word| word.split_once('='));
        Self {
            whole: line.to_owned(),
            values: pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        }
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.get(key)?.parse().ok()
    }

    fn span(&self, key: &str) -> Option<Duration> {
        self.number(key).map(ms)
    }
}
