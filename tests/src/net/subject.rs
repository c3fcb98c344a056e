//! An adapter under test.
//!
//! A new one takes three steps: a file beside this one with a unit type that is a [`Subject`]
//! (`bare.rs` is the model for adapters that block or have a loop of their own, `tokio.rs` for
//! runtimes), its name in [`subjects`], and the adapter among the dependencies of the feature
//! `net`. Then every suite that takes its subjects from [`subjects`] runs it.
//!
//! An implementation makes one [`Recorder`] a connection, before the handshake; calls
//! [`open`](Recorder::open) when the connection is open and [`event`](Recorder::event) with each
//! event; does what [`Job::script`](super::Job::script) says; and ends with
//! [`finish`](Recorder::finish): [`End::Closed`] if the connection ended, [`End::Alive`] with its
//! snapshot if `Job::window` did first, counted from the opening. Then it drops the connection, and
//! no closing handshake is tried. What fails before the opening is [`End::Closed`] if the adapter's
//! error carries one, or else [`fail`](Recorder::fail).

use std::fmt::{self, Debug, Display};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use wspulse_core::{Closed, Event, Message, Role, Snapshot};

use super::{Digest, Job};

/// An adapter, with the small application of a [`Script`](super::Script) on top.
///
/// Both methods block the thread they are called on until the work is done, and use it, or
/// threads of their own, as the adapter's users would.
pub trait Subject: Debug + Sync {
    /// The name in test names.
    fn name(&self) -> &'static str;

    /// Connects to `ws://address/` (`wss://` if the job has TLS), and does the job.
    fn connect(&self, address: SocketAddr, job: &Job) -> Report;

    /// Accepts `hall.count()` connections and does the job on each, all at the same time, and tells
    /// [`Hall::connection_ended`] after each. Returns when all have ended.
    fn serve(&self, hall: &Hall, job: &Job);

    /// Whether the connection goes on (pings, pongs, deadlines) while the application of
    /// [`Script::Away`](super::Script::Away) leaves it alone.
    fn runs_by_itself(&self) -> bool;

    /// The most bytes that the adapter holds for one connection beyond the engine's own budget
    /// and one read of 64 KiB, such as bounded queues, when messages are of `message` bytes.
    fn own_memory(&self, message: usize) -> usize;

    /// Whether what the application of [`Script::Block`](super::Script::Block) blocks is the
    /// thread that runs the connection.
    fn can_be_blocked(&self) -> bool {
        true
    }

    /// Whether this is another way to use an adapter that is a subject already.
    fn is_variant(&self) -> bool {
        false
    }
}

/// All adapters, in each way to use them.
#[must_use]
pub fn subjects() -> Vec<&'static dyn Subject> {
    vec![
        &super::Bare,
        &super::Mio,
        &super::MioPieces,
        &super::Std,
        &super::StdThread,
        &super::Tokio,
        &super::TokioTask,
    ]
}

/// All adapters in both roles, plain and through TLS; the second, third and fourth part of a test's
/// name. A variant has each role and each transport once.
#[must_use]
pub fn places() -> Vec<(&'static dyn Subject, Role, bool)> {
    let mut places = Vec::new();
    for subject in subjects() {
        for role in [Role::Client, Role::Server] {
            for tls in [false, true] {
                if !subject.is_variant() || (role == Role::Client) == tls {
                    places.push((subject, role, tls));
                }
            }
        }
    }
    places
}

/// Returns the name of a place, `adapter/role/transport`.
#[must_use]
pub fn place(subject: &dyn Subject, role: Role, tls: bool) -> String {
    let role = match role {
        Role::Client => "client",
        Role::Server => "server",
    };
    let transport = if tls { "tls" } else { "tcp" };
    format!("{}/{role}/{transport}", subject.name())
}

/// Where a [`Subject`] serves, and where it tells what becomes of its connections.
pub struct Hall {
    listener: TcpListener,
    count: usize,
    ended: AtomicUsize,
    tasks: OnceLock<CountTasks>,
    reports: Mutex<Vec<Report>>,
}

type CountTasks = Box<dyn Fn() -> usize + Send + Sync>;

impl Hall {
    /// Makes a hall for so many connections; the last 16 reports are kept.
    #[must_use]
    pub fn new(listener: TcpListener, count: usize) -> Self {
        Self {
            listener,
            count,
            ended: AtomicUsize::new(0),
            tasks: OnceLock::new(),
            reports: Mutex::default(),
        }
    }

    /// Returns the socket to accept from; it blocks unless told otherwise.
    #[must_use]
    pub fn listener(&self) -> &TcpListener {
        &self.listener
    }

    /// Returns how many connections to accept.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Lets `count` tell how many tasks there are, or other things that end with their connection
    /// and are neither threads nor descriptors, at any time from now on.
    pub fn count_tasks_by(&self, count: impl Fn() -> usize + Send + Sync + 'static) {
        let _ = self.tasks.set(Box::new(count));
    }

    /// Tells that a connection has ended and is dropped.
    ///
    /// # Panics
    ///
    /// If another user panicked.
    pub fn connection_ended(&self, report: Report) {
        let mut reports = self.reports.lock().expect("no panic");
        if reports.len() < KEPT {
            reports.reserve_exact(KEPT);
        } else {
            reports.remove(0);
        }
        reports.push(report);
        self.ended.fetch_add(1, Ordering::SeqCst);
    }

    /// Returns how many connections have ended.
    #[must_use]
    pub fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }

    /// Returns how many tasks there are.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.tasks.get().map_or(0, |count| count())
    }

    /// Returns the last reports.
    ///
    /// # Panics
    ///
    /// If another user panicked.
    pub fn take_reports(&self) -> Vec<Report> {
        std::mem::take(&mut self.reports.lock().expect("no panic"))
    }
}

impl Debug for Hall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hall")
            .field("listener", &self.listener)
            .field("count", &self.count)
            .field("ended", &self.ended())
            .finish_non_exhaustive()
    }
}

const KEPT: usize = 16;

/// What an application saw.
#[derive(Clone, Debug)]
pub struct Report {
    /// When the connection was open, if it ever was.
    pub opened: Option<Instant>,
    /// Suspicion and the like, in order.
    pub notes: Vec<(Instant, Note)>,
    /// Messages received.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What their payloads come to, in order: see [`Digest`](super::Digest).
    pub digest: u64,
    /// Messages that the connection took for sending.
    pub sent: u64,
    /// When it ended.
    pub ended: Instant,
    /// How it ended.
    pub end: End,
}

/// What is noted of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the events")]
pub enum Note {
    Suspect,
    Recovered,
    ControlFlood,
    Closing,
}

/// How a connection ended.
#[derive(Clone, Debug)]
pub enum End {
    /// It was alive when the window was over; these are its numbers.
    Alive(Box<Snapshot>),
    /// With [`Event::Closed`], or an error that carries it.
    Closed(Box<Closed>),
    /// With an error of the transport, or before it was open.
    Failed(String),
}

impl Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alive(_) => f.write_str("alive"),
            Self::Closed(closed) => write!(f, "closed: {closed}"),
            Self::Failed(error) => write!(f, "failed: {error}"),
        }
    }
}

/// Writes a [`Report`] for an application.
#[derive(Debug)]
pub struct Recorder {
    report: Report,
    digest: Digest,
}

impl Recorder {
    /// Begins before the connection is open.
    #[must_use]
    pub fn new() -> Self {
        Self {
            report: Report {
                opened: None,
                notes: Vec::new(),
                messages: 0,
                bytes: 0,
                digest: 0,
                sent: 0,
                ended: Instant::now(),
                end: End::Failed("no end".to_owned()),
            },
            digest: Digest::default(),
        }
    }

    /// The connection is open; returns the present time.
    pub fn open(&mut self) -> Instant {
        *self.report.opened.insert(Instant::now())
    }

    /// Notes an event; returns the message if it was one.
    pub fn event(&mut self, event: Event) -> Option<Message> {
        let note = match event {
            Event::Suspect => Note::Suspect,
            Event::Recovered => Note::Recovered,
            Event::ControlFlood => Note::ControlFlood,
            Event::Closing(_) => Note::Closing,
            event => {
                let message = Message::try_from(event).ok()?;
                self.message(&message);
                return Some(message);
            }
        };
        self.report.notes.push((Instant::now(), note));
        None
    }

    /// Notes a message.
    pub fn message(&mut self, message: &Message) {
        self.report.messages += 1;
        self.report.bytes += message.len() as u64;
        self.digest.add(message.as_bytes());
        self.report.digest = self.digest.value();
    }

    /// A message was taken for sending.
    pub fn sent(&mut self) {
        self.report.sent += 1;
    }

    /// So many messages were taken for sending, in all.
    pub fn sent_so_far(&mut self, count: u64) {
        self.report.sent = count;
    }

    /// The end.
    #[must_use]
    pub fn finish(mut self, end: End) -> Report {
        self.report.ended = Instant::now();
        self.report.end = end;
        self.report
    }

    /// The end before the connection was open, or by the transport.
    #[must_use]
    pub fn fail(self, error: impl Display) -> Report {
        self.finish(End::Failed(error.to_string()))
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Report {
    /// Returns how long the connection was open.
    #[must_use]
    pub fn open_for(&self) -> Duration {
        self.opened
            .map_or(Duration::ZERO, |opened| self.ended - opened)
    }
}
