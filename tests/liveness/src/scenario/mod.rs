//! The scenarios, as data.
//!
//! Spans and moments are in *timers*: 1.0 is the interval and the timeout of the heartbeat, which
//! are equal. Moments count from the end of the opening handshake.

mod table;

use std::time::Duration;

pub(crate) use table::SCENARIOS;

/// A scenario.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    /// Its name in `../../README.md`.
    pub(crate) name: &'static str,
    /// What must come out.
    pub(crate) expect: Expect,
    /// What our application does.
    pub(crate) app: App,
    /// What the peer does.
    pub(crate) peer: Peer,
    /// What happens to our process and to the cable.
    pub(crate) host: Host,
    /// The programs of which the outcome counts.
    pub(crate) counted: Counted,
    /// Only a matching pong is a sign of life.
    pub(crate) matching_pong: bool,
    /// Interval and timeout of the heartbeat.
    pub(crate) heartbeat: Heartbeat,
}

/// Interval and timeout of the heartbeat.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Heartbeat {
    /// Both are so many timers.
    Timers(f64),
    /// They are so many seconds, whatever the timers are.
    Seconds(u64, u64),
}

/// What must come out.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expect {
    /// The connection lives at this moment, and carries what the application does.
    Lives(f64),
    /// The peer's Close frame is answered within 1.5 s.
    AnswersClose,
    /// The connection ends by a closing handshake, whatever `close_timeout` says, within 0.5 s
    /// after this moment.
    ClosesCleanly(f64),
    /// The memory grows by 1 MB at most until this moment. The connection may be closed for it.
    StaysSmall(f64),
    /// The application is told that the connection is over, and why.
    Finds {
        /// The moment from which the bound counts.
        from: f64,
        /// How long it may take.
        within: Bound,
        /// What it must be told.
        told: Told,
    },
}

/// How long finding a dead peer may take, without the machine's half second.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// So many timers: 2 is interval and timeout.
    Timers(f64),
    /// At once: the transport says it.
    Now,
    /// `write_stall_timeout`: 1.5 timeouts, and 2 s at least.
    WriteStall,
    /// `close_timeout`, 5 s.
    CloseTimeout,
}

/// What the application must be told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Told {
    /// The peer is dead.
    Dead,
    /// The transport ended.
    Ended,
    /// The closing handshake took too long.
    CloseTimeout,
}

/// What our application does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum App {
    /// It receives, and answers "ask".
    Reads,
    /// It receives, but does not poll the connection for a while.
    Away { from: f64, to: f64 },
    /// It receives, but its thread is asleep for a while, and the runtime with it.
    Blocks { from: f64, to: f64 },
    /// It sends ten small messages a timer and never receives. A reader of its own, as halves
    /// have, is polled all the same, and a handler drops what comes.
    Ticks,
    /// The same, but the reader is not polled, and a handler's connection is paused.
    TicksOnly,
    /// It sends one message of so many bytes, and then receives.
    Sends(usize),
    /// It sends messages of so many bytes without end and never receives.
    Pushes(usize),
    /// It receives, and closes at this moment.
    Closes(f64),
}

/// What the peer does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) pongs: Pongs,
    pub(crate) talk: &'static [Talk],
    /// It reads no more than so many bytes in a thousandth of a timer.
    pub(crate) rate: Option<u32>,
    /// It pings after so much time, and hangs up after so much more without a pong.
    pub(crate) strict: Option<(f64, f64)>,
    /// It, or the path, forgets the connection after so long without traffic.
    pub(crate) forgets: Option<(Direction, f64)>,
    /// From this moment on it does nothing and reads nothing; its kernel still acknowledges.
    pub(crate) hush: Option<f64>,
    /// What it does last, and when.
    pub(crate) last: Option<(f64, Last)>,
}

/// How it answers pings.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pongs {
    Right,
    RightUntil(f64),
    Late(f64),
    Empty,
    Never,
}

/// What it sends of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Talk {
    /// Pongs that nobody asked for.
    Pongs { every: f64 },
    /// Pings.
    Pings { every: f64 },
    /// "ask", which a receiving application answers.
    Asks { every: f64 },
    /// "ask", so many times at once.
    AskBurst { at: f64, count: usize },
    /// Binary messages between two moments.
    Data {
        from: f64,
        to: f64,
        every: f64,
        size: usize,
    },
    /// So many binary messages at once.
    Burst { at: f64, count: usize, size: usize },
    /// One frame that takes this long, in pieces; nothing else leaves before its end.
    Slow { from: f64, to: f64, size: usize },
    /// Half a frame.
    HalfFrame { at: f64 },
    /// Pings without end, until this moment.
    Flood { to: f64 },
}

/// A direction of the path.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Direction {
    /// From us to the peer.
    Out,
    /// From the peer to us.
    In,
    /// Either: what has been idle in both is forgotten.
    Both,
}

/// What a peer does last.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Last {
    /// It resets the connection.
    Reset,
    /// It ends its direction of the stream.
    Fin,
    /// It sends a Close frame.
    Close,
    /// The same as the answer to ours, and a server ends TCP.
    Answer,
}

/// What happens to our process and to the cable.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Host {
    /// Nothing.
    Calm,
    /// The process is stopped for a while.
    Stopped { from: f64, to: f64 },
    /// The process is stopped again and again for `asleep`, and runs for `awake` in between.
    Jerks {
        from: f64,
        to: f64,
        asleep: f64,
        awake: f64,
    },
    /// The process gets 2 ms of CPU a second; it is stopped and resumed so where control groups
    /// cannot be made.
    Starved { from: f64, to: f64 },
    /// The process is stopped for so many seconds in the middle of the opening handshake, and what
    /// it waits for comes meanwhile.
    StoppedInOpening { seconds: f64 },
    /// The cable is cut, and nobody is told.
    Cut { at: f64 },
    /// What we send is lost, and nobody is told.
    Hole { at: f64 },
    /// The same, and the process is stopped again and again from then on.
    CutAndJerks {
        at: f64,
        to: f64,
        asleep: f64,
        awake: f64,
    },
    /// The process is stopped, and the cable is cut meanwhile.
    CutWhileStopped { from: f64, cut: f64, to: f64 },
    /// The cable is away for so many seconds, from just before the second ping after this moment,
    /// if one is due each second: that one is lost.
    Outage { at: f64, seconds: f64 },
}

/// The programs of which the outcome counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    All,
    /// Spawned and mio: they run without the application.
    SpawnAndMio,
}

impl Scenario {
    pub(crate) const fn is_healthy(&self) -> bool {
        !matches!(self.expect, Expect::Finds { .. })
    }
}

impl Bound {
    pub(crate) fn span(self, timer: Duration) -> Duration {
        match self {
            Self::Timers(count) => timer.mul_f64(count),
            Self::Now => Duration::ZERO,
            Self::WriteStall => timer.mul_f64(1.5).max(Duration::from_secs(2)),
            Self::CloseTimeout => Duration::from_secs(5),
        }
    }
}
