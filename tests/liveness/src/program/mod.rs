//! The programs: ways to use the adapters, each in a process of its own.

mod mio;
mod naive;
mod std;
mod tokio;

use ::std::env;
use ::std::fmt;
use ::std::io;
use ::std::net::{SocketAddr, TcpListener, TcpStream};
use ::std::process;
use ::std::sync::Arc;
use ::std::time::{Duration, Instant};

use wspulse_core::heartbeat::{Evidence, HeartbeatConfig};
use wspulse_core::{Config, Message};
use wspulse_tokio::Error;

use crate::scenario::{App, Heartbeat, SCENARIOS, Scenario};

/// A way to use an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) adapter: Adapter,
    pub(crate) way: Way,
}

/// An adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Adapter {
    Tokio,
    Std,
    Mio,
    /// None: a timer of the application's own over a connection without a heartbeat, which looks
    /// at nothing but pongs and the clock. It shows that the scenarios are not easy.
    Naive,
}

/// What the application holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// W: a `WebSocket`, in one task or thread that sends and receives.
    Whole,
    /// K: the two ends of `StreamExt::split`: `Sink` and `Stream` of futures.
    Sink,
    /// H: the halves, the reader polled.
    Halves,
    /// P: the ends of `spawn`.
    Spawned,
    /// M: a handler.
    Handler,
}

impl Program {
    pub(crate) const ALL: [Self; 9] = [
        Self::new(Adapter::Tokio, Way::Whole),
        Self::new(Adapter::Tokio, Way::Sink),
        Self::new(Adapter::Tokio, Way::Halves),
        Self::new(Adapter::Tokio, Way::Spawned),
        Self::new(Adapter::Std, Way::Whole),
        Self::new(Adapter::Std, Way::Halves),
        Self::new(Adapter::Std, Way::Spawned),
        Self::new(Adapter::Mio, Way::Handler),
        Self::new(Adapter::Naive, Way::Whole),
    ];

    const fn new(adapter: Adapter, way: Way) -> Self {
        Self { adapter, way }
    }

    pub(crate) const fn name(self) -> &'static str {
        match (self.adapter, self.way) {
            (Adapter::Tokio, Way::Whole) => "tokio-W",
            (Adapter::Tokio, Way::Sink) => "tokio-K",
            (Adapter::Tokio, Way::Halves) => "tokio-H",
            (Adapter::Tokio, _) => "tokio-P",
            (Adapter::Std, Way::Whole) => "std-W",
            (Adapter::Std, Way::Halves) => "std-H",
            (Adapter::Std, _) => "std-P",
            (Adapter::Mio, _) => "mio-M",
            (Adapter::Naive, _) => "naive",
        }
    }

    /// Whether it answers pings while the application does something else.
    pub(crate) const fn runs_alone(self) -> bool {
        matches!(self.way, Way::Spawned | Way::Handler)
    }

    pub(crate) fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|program| program.name() == name)
    }
}

/// What a process does.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    pub(crate) scenario: &'static Scenario,
    pub(crate) program: Program,
    pub(crate) timer: Duration,
    pub(crate) has_heartbeat: bool,
    /// Where a client connects to; `None` for a server, which says where it listens.
    pub(crate) address: Option<SocketAddr>,
}

impl Orders {
    /// The arguments of the process.
    pub(crate) fn to_arguments(&self) -> Vec<String> {
        vec![
            "subject".to_owned(),
            self.scenario.name.to_owned(),
            self.program.name().to_owned(),
            self.timer.as_millis().to_string(),
            self.has_heartbeat.to_string(),
            self.address
                .map_or(String::new(), |address| address.to_string()),
        ]
    }

    fn from_arguments(arguments: &[String]) -> Option<Self> {
        let [scenario, program, timer, has_heartbeat, address] = arguments else {
            return None;
        };
        Some(Self {
            scenario: SCENARIOS.iter().find(|known| known.name == scenario)?,
            program: Program::find(program)?,
            timer: Duration::from_millis(timer.parse().ok()?),
            has_heartbeat: has_heartbeat.parse().ok()?,
            address: match &address[..] {
                "" => None,
                address => Some(address.parse().ok()?),
            },
        })
    }

    /// Interval and timeout.
    pub(crate) fn policy(&self) -> (Duration, Duration) {
        match self.scenario.heartbeat {
            Heartbeat::Timers(count) => {
                let both = self.timer.mul_f64(count);
                (both, both)
            }
            Heartbeat::Seconds(interval, timeout) => {
                (Duration::from_secs(interval), Duration::from_secs(timeout))
            }
        }
    }

    pub(crate) fn heartbeat(&self) -> HeartbeatConfig {
        if !self.has_heartbeat || self.program.adapter == Adapter::Naive {
            return HeartbeatConfig::off();
        }
        let (interval, timeout) = self.policy();
        let heartbeat = HeartbeatConfig::ping(interval, timeout);
        if self.scenario.matching_pong {
            return heartbeat.evidence(Evidence::MatchingPong);
        }
        heartbeat
    }

    fn config(&self) -> Arc<Config> {
        let config = Config::builder()
            .heartbeat(self.heartbeat())
            .report_control(self.program.adapter == Adapter::Naive)
            .build();
        Arc::new(config.expect("a configuration that can work"))
    }

    fn plan(&self) -> Plan {
        Plan {
            app: self.scenario.app,
            opened: Instant::now(),
            timer: self.timer,
        }
    }
}

/// Carries out orders, and says how it ended on the standard output.
pub(crate) fn run(arguments: &[String]) {
    crate::process::end_with_the_parent();
    let Some(orders) = Orders::from_arguments(arguments) else {
        return say("end failed: no such orders");
    };
    let end = match orders.program.adapter {
        Adapter::Tokio => tokio::run(&orders),
        Adapter::Std => std::run(&orders),
        Adapter::Mio => mio::run(&orders),
        Adapter::Naive => naive::run(&orders),
    };
    say(&end.to_string());
    // Whatever a thread still waits for.
    process::exit(0);
}

/// How a connection ended for the application.
#[derive(Debug)]
pub(crate) enum End {
    /// By a closing handshake.
    Clean,
    /// As an error says.
    Error(Error),
    /// As the application itself found.
    Own(&'static str),
}

impl End {
    /// What receiving a message said, if that was the last.
    pub(crate) fn of<T>(received: Option<Result<T, Error>>) -> Result<T, Self> {
        match received {
            Some(Ok(message)) => Ok(message),
            Some(Err(error)) => Err(Self::Error(error)),
            None => Err(Self::Clean),
        }
    }
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Error(error.into())
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clean => f.write_str("end clean"),
            Self::Error(Error::Closed(closed)) => write!(f, "end closed {:?}", closed.cause),
            Self::Error(Error::Io(error)) => write!(f, "end io {:?} {error}", error.kind()),
            Self::Error(error) => write!(f, "end untold {error}"),
            Self::Own(why) => write!(f, "end own {why}"),
        }
    }
}

/// What the application does, and since when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) app: App,
    opened: Instant,
    timer: Duration,
}

impl Plan {
    pub(crate) fn moment(&self, timers: f64) -> Instant {
        self.opened + self.timer.mul_f64(timers)
    }

    /// When something else than receiving is to be done first.
    pub(crate) fn first(&self) -> Option<Instant> {
        match self.app {
            App::Away { from, .. } | App::Blocks { from, .. } => Some(self.moment(from)),
            App::Closes(at) => Some(self.moment(at)),
            _ => None,
        }
    }

    /// The time between two ticks.
    pub(crate) fn pace(&self) -> Duration {
        pace(self.timer)
    }
}

/// A tenth of a second, or of a shorter timer: a deadline that comes between two calls of a program
/// that only sends is met by the second, and rule 6 counts that as a pause of this side.
pub(crate) fn pace(timer: Duration) -> Duration {
    (timer / 10).min(Duration::from_millis(100))
}

/// What a receiving application answers.
pub(crate) fn answer(message: &Message) -> Option<Message> {
    match message {
        Message::Text(text) if text == "ask" => Some(Message::from("answer")),
        _ => None,
    }
}

/// Listens, and says where, or connects.
pub(crate) fn listen() -> io::Result<TcpListener> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    say(&format!("listening {}", listener.local_addr()?));
    Ok(listener)
}

pub(crate) fn accept_one() -> io::Result<TcpStream> {
    listen()?.accept().map(|(stream, _)| stream)
}

/// Says something to the process that gave the orders.
pub(crate) fn say(line: &str) {
    use io::Write as _;
    let mut out = io::stdout().lock();
    // Where nobody listens any more, this process is about to be ended.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// The path of this program.
pub(crate) fn executable() -> io::Result<::std::path::PathBuf> {
    env::current_exe()
}
