//! Echo, measured: contestants that take turns, and all that a turn tells.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use crate::load::{Load, Run, Work};
use crate::servers::{Child, SERVERS, Server, Side};
use crate::stats::{Results, Samples, option_value};

/// Connections, and what goes over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Connections that are open.
    pub connections: usize,
    /// Those of them that echo.
    pub active: usize,
    /// The messages.
    pub work: Work,
}

impl Scenario {
    /// All of the connections echo.
    #[must_use]
    pub const fn new(connections: usize, size: usize, in_flight: usize) -> Self {
        Self {
            connections,
            active: connections,
            work: Work { size, in_flight },
        }
    }
}

/// As in `64x1024x8`: connections, bytes, messages in flight.
impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Work { size, in_flight } = self.work;
        write!(f, "{}x{size}x{in_flight}", self.connections)
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Vec<usize> = text.split('x').filter_map(|n| n.parse().ok()).collect();
        match numbers[..] {
            [connections, size, in_flight] if connections > 0 && in_flight > 0 => {
                Ok(Self::new(connections, size, in_flight))
            }
            _ => Err(format!("{text}: not connections x bytes x in flight")),
        }
    }
}

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Of a turn, behind a tenth of a second that does not count.
    pub time: Duration,
    /// Turns of each contestant.
    pub rounds: usize,
}

impl Pace {
    /// Takes what the command line says behind `--seconds` and `--rounds`.
    ///
    /// # Errors
    ///
    /// If it says something else than numbers.
    pub fn from_args(seconds: f64, rounds: usize) -> Result<Self, String> {
        let seconds = number("--seconds", seconds)?;
        let time = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
        Ok(Self {
            time,
            rounds: number("--rounds", rounds)?.max(1),
        })
    }
}

/// Returns the number behind `name` on the command line.
///
/// # Errors
///
/// If there is something else.
pub fn number<T: FromStr>(name: &str, default: T) -> Result<T, String> {
    match option_value(name) {
        Some(text) => text
            .parse()
            .map_err(|_| format!("{name} {text}: no number")),
        None => Ok(default),
    }
}

/// Returns the servers that the command line wants: those it names behind `--contestant`, with
/// commas between and a star for any ending, or those that `default` is true for.
///
/// # Errors
///
/// If there is none of these names.
pub fn wanted(default: impl Fn(&Server) -> bool) -> Result<Vec<&'static Server>, String> {
    let list = option_value("--contestant");
    let is_wanted = |server: &&Server| match &list {
        None => default(server),
        Some(list) => list.split(',').any(|item| match item.strip_suffix('*') {
            Some(beginning) => server.name.starts_with(beginning),
            None => server.name == item,
        }),
    };
    let servers: Vec<_> = SERVERS.iter().filter(is_wanted).collect();
    if servers.is_empty() {
        let all: Vec<_> = SERVERS.iter().map(|server| server.name).collect();
        return Err(format!("no such contestant; there are {}", all.join(", ")));
    }
    Ok(servers)
}

/// What a contestant did in a turn.
struct Taken {
    run: Run,
    server_cpu: Duration,
}

fn measure(server: &Server, scenario: Scenario, time: Duration) -> Result<Taken, String> {
    let Scenario {
        connections,
        active,
        work,
    } = scenario;
    let child = Child::start(server, Some(LONG_HEARTBEAT))?;
    let said = |error| format!("{} at {scenario}: {error}", server.name);
    let load = Load::open(child.address(), server.talk, connections, active, work);
    let (mut begin, mut end) = (Duration::ZERO, Duration::ZERO);
    let run = load
        .map_err(said)?
        .run(WARM_UP, time, &mut || begin = child.cpu_time(), &mut || {
            end = child.cpu_time()
        });
    Ok(Taken {
        run: run.map_err(said)?,
        server_cpu: end - begin,
    })
}

/// Figures of all contestants, in their order.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Messages a second.
    pub rate: Vec<Samples>,
    /// Nanoseconds from sending a message to its answer, which half of them do not exceed.
    pub p50: Vec<Samples>,
    /// Which 99 % do not exceed.
    pub p99: Vec<Samples>,
    /// Which 99.9 % do not exceed.
    pub p999: Vec<Samples>,
    /// Nanoseconds of the server's processor time a message.
    pub cpu: Vec<Samples>,
    /// How much of its core the server used, 1.0 for all of it.
    pub server_core: Vec<Samples>,
    /// How much of its core the load used.
    pub load_core: Vec<Samples>,
}

impl Figures {
    /// Lets all contestants take turns.
    ///
    /// # Errors
    ///
    /// If a server does not start, or does not answer as it should.
    pub fn take(servers: &[&Server], scenario: Scenario, pace: Pace) -> Result<Self, String> {
        let mut taken: Vec<Vec<Taken>> = servers.iter().map(|_| Vec::new()).collect();
        for round in 0..pace.rounds {
            for turn in 0..servers.len() {
                let index = (round + turn) % servers.len();
                taken[index].push(measure(servers[index], scenario, pace.time)?);
            }
        }
        let samples = |figure: &dyn Fn(&Taken) -> f64| -> Vec<Samples> {
            let turns = servers.iter().zip(&taken);
            turns
                .map(|(server, turns)| {
                    Samples::new(server.name, turns.iter().map(figure).collect())
                })
                .collect()
        };
        let quantile =
            |part: f64| samples(&move |taken: &Taken| taken.run.round_trips.quantile(part) as f64);
        Ok(Self {
            rate: samples(&|taken| taken.run.rate()),
            p50: quantile(0.5),
            p99: quantile(0.99),
            p999: quantile(0.999),
            // Without a message it is not a number, which is nobody's least.
            cpu: samples(&|taken| match taken.run.messages {
                0 => f64::NAN,
                messages => taken.server_cpu.as_nanos() as f64 / messages as f64,
            }),
            server_core: samples(&|taken| {
                taken.server_cpu.as_secs_f64() / taken.run.time.as_secs_f64()
            }),
            load_core: samples(&|taken| taken.run.load_share()),
        })
    }

    /// Writes all of them down.
    ///
    /// # Errors
    ///
    /// If the file takes nothing.
    pub fn record(&self, results: &mut Results, case: &str) -> io::Result<()> {
        for (unit, figures) in [
            ("messages/s", &self.rate),
            ("p50 ns", &self.p50),
            ("p99 ns", &self.p99),
            ("p99.9 ns", &self.p999),
            ("server ns/message", &self.cpu),
            ("server core", &self.server_core),
            ("load core", &self.load_core),
        ] {
            for samples in figures {
                results.record(case, unit, samples)?;
            }
        }
        Ok(())
    }
}

/// Returns the one of a side whose median is the largest.
#[must_use]
pub fn best<'a>(servers: &[&Server], side: Side, figures: &'a [Samples]) -> Option<&'a Samples> {
    let of_side = servers.iter().zip(figures);
    let of_side = of_side.filter(|(server, _)| server.side == side);
    of_side
        .map(|(_, samples)| samples)
        .max_by(|a, b| a.median().total_cmp(&b.median()))
}

/// Returns the one of a side whose median is the smallest.
#[must_use]
pub fn least<'a>(servers: &[&Server], side: Side, figures: &'a [Samples]) -> Option<&'a Samples> {
    let of_side = servers.iter().zip(figures);
    let of_side = of_side.filter(|(server, _)| server.side == side);
    of_side
        .map(|(_, samples)| samples)
        .min_by(|a, b| a.median().total_cmp(&b.median()))
}

/// Returns a ratio for a table, a dash without a figure to compare with.
#[must_use]
pub fn ratio(samples: &Samples, to: Option<&Samples>) -> String {
    to.map_or_else(
        || "-".to_owned(),
        |to| format!("{:.2}", samples.ratio_to(to)),
    )
}

const WARM_UP: Duration = Duration::from_millis(100);

/// An interval at which heartbeats are on, and no ping is due while the bytes of answers are
/// counted or a connection is only looked at.
pub const LONG_HEARTBEAT: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_reads_as_it_is_written() {
        let scenario: Scenario = "64x1024x8".parse().expect("a scenario");
        assert_eq!(scenario, Scenario::new(64, 1024, 8));
        assert_eq!(scenario.to_string(), "64x1024x8");
        for wrong in ["", "64x16", "0x16x1", "1x16x0", "1x16x1x1"] {
            assert!(wrong.parse::<Scenario>().is_err(), "{wrong}");
        }
    }
}
