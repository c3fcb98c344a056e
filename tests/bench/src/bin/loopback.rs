//! Echo over loopback: every contestant a process on one core, the load on the other.
//!
//! ```text
//! loopback [--scenario 64x64x32,..] [--contestant wspulse-tokio,tcp-*,..]
//!          [--seconds 0.5] [--rounds 7] [--results FILE]
//! ```
//!
//! A scenario is connections x bytes x messages in flight on each connection.

use std::process::ExitCode;
use std::time::Duration;

use wspulse_bench::load::{Load, Run, Work};
use wspulse_bench::servers::{Child, SERVERS, Server, Side, obey};
use wspulse_bench::stats::{Results, Samples, option_value, pin_to};

/// Connections, bytes and messages in flight.
const SCENARIOS: [(usize, usize, usize); 6] = [
    (1, 16, 1),
    (64, 16, 1),
    (64, 64, 32),
    (16, 1024, 8),
    (8, 16 * 1024, 4),
    (2, 1024 * 1024, 1),
];

const WARM_UP: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    if let Some(code) = obey() {
        return code;
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loopback: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let seconds = number("--seconds", 0.5)?;
    let rounds = number("--rounds", 7.0)? as usize;
    let time = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    let scenarios = option_value("--scenario");
    let scenarios: Vec<_> = match &scenarios {
        Some(list) => list.split(',').map(parse).collect::<Result<_, _>>()?,
        None => SCENARIOS.to_vec(),
    };
    let wanted = option_value("--contestant");
    let servers: Vec<&Server> = SERVERS
        .iter()
        .filter(|server| wanted.as_ref().is_none_or(|list| names(list, server.name)))
        .collect();
    if servers.is_empty() {
        let all: Vec<_> = SERVERS.iter().map(|server| server.name).collect();
        return Err(format!("no such contestant; there are {}", all.join(", ")));
    }

    let mut results = Results::from_args("loopback").map_err(|error| error.to_string())?;
    pin_to(0).map_err(|error| error.to_string())?;
    for scenario in scenarios {
        let mut taken: Vec<Vec<Taken>> = servers.iter().map(|_| Vec::new()).collect();
        for round in 0..rounds {
            for turn in 0..servers.len() {
                let index = (round + turn) % servers.len();
                taken[index].push(measure(servers[index], scenario, time)?);
            }
        }
        report(scenario, &servers, &taken, &mut results)?;
    }
    Ok(())
}

/// What a contestant did in a round.
struct Taken {
    run: Run,
    server_cpu: Duration,
}

fn measure(
    server: &Server,
    (connections, size, in_flight): (usize, usize, usize),
    time: Duration,
) -> Result<Taken, String> {
    let child = Child::start(server, None)?;
    let said = |error| format!("{}: {error}", server.name);
    let work = Work { size, in_flight };
    let load = Load::open(child.address(), server.talk, connections, connections, work);
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

/// A figure of a round, by its unit.
const FIGURES: [(&str, fn(&Taken) -> f64); 7] = [
    ("messages/s", |taken| taken.run.rate()),
    ("p50 ns", |taken| taken.run.round_trips.quantile(0.5) as f64),
    ("p99 ns", |taken| {
        taken.run.round_trips.quantile(0.99) as f64
    }),
    ("p99.9 ns", |taken| {
        taken.run.round_trips.quantile(0.999) as f64
    }),
    ("server ns/message", |taken| {
        taken.server_cpu.as_nanos() as f64 / taken.run.messages.max(1) as f64
    }),
    ("server core", |taken| {
        taken.server_cpu.as_secs_f64() / taken.run.time.as_secs_f64()
    }),
    ("load core", |taken| taken.run.load_share()),
];

fn report(
    (connections, size, in_flight): (usize, usize, usize),
    servers: &[&Server],
    taken: &[Vec<Taken>],
    results: &mut Results,
) -> Result<(), String> {
    let case = format!("{connections}x{size}x{in_flight}");
    let samples = |figure: fn(&Taken) -> f64| -> Vec<Samples> {
        let of = |(server, taken): (&&Server, &Vec<Taken>)| {
            Samples::new(server.name, taken.iter().map(figure).collect())
        };
        servers.iter().zip(taken).map(of).collect()
    };
    let figures = FIGURES.map(|(_, figure)| samples(figure));
    for ((unit, _), figure) in FIGURES.iter().zip(&figures) {
        for samples in figure {
            let recorded = results.record(&case, unit, samples);
            recorded.map_err(|error| error.to_string())?;
        }
    }

    let [rates, p50, p99, p999, cpu, server_core, load_core] = &figures;
    // The most messages a second, and the least processor time for one.
    let best = |side: Side, of: &dyn Fn(usize) -> f64| {
        let of_side = (0..servers.len()).filter(|index| servers[*index].side == side);
        of_side.max_by(|a, b| of(*a).total_cmp(&of(*b)))
    };
    let fastest = |side| best(side, &|index| rates[index].median());
    let cheapest = |side| best(side, &|index| -cpu[index].median());
    let (limit, peer) = (fastest(Side::Limit), fastest(Side::Peer));
    let (cheap_limit, cheap_peer) = (cheapest(Side::Limit), cheapest(Side::Peer));
    println!("\n{case}");
    println!(
        "{:26}{:>12}{:>8}{:>7}{:>8}{:>10}{:>10}{:>10}{:>10}{:>7}{:>8}{:>8}{:>7}",
        "",
        "messages/s",
        "spread",
        "x TCP",
        "x peer",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "CPU ns/m",
        "x TCP",
        "x peer",
        "server",
        "load"
    );
    for index in 0..servers.len() {
        let ratio = |samples: &[Samples], to: Option<usize>| match to {
            Some(to) => format!("{:.2}", samples[index].ratio_to(&samples[to])),
            None => "-".to_owned(),
        };
        let micros = |samples: &[Samples]| samples[index].median() / 1e3;
        let (server, load) = (server_core[index].median(), load_core[index].median());
        // The load kept it waiting: it could do more.
        let note = if load > 0.95 && server < 0.9 {
            "  load-bound"
        } else {
            ""
        };
        println!(
            "{:26}{:>12.0}{:>7.1}%{:>7}{:>8}{:>10.1}{:>10.1}{:>10.1}{:>10.0}{:>7}{:>8}{:>7.0}%{:>6.0}%{note}",
            servers[index].name,
            rates[index].median(),
            100.0 * rates[index].spread(),
            ratio(rates, limit),
            ratio(rates, peer),
            micros(p50),
            micros(p99),
            micros(p999),
            cpu[index].median(),
            ratio(cpu, cheap_limit),
            ratio(cpu, cheap_peer),
            100.0 * server,
            100.0 * load,
        );
    }
    Ok(())
}

fn number(name: &str, default: f64) -> Result<f64, String> {
    match option_value(name) {
        Some(text) => text
            .parse()
            .map_err(|_| format!("{name} {text}: no number")),
        None => Ok(default),
    }
}

fn parse(scenario: &str) -> Result<(usize, usize, usize), String> {
    let numbers: Vec<usize> = scenario.split('x').filter_map(|n| n.parse().ok()).collect();
    match numbers[..] {
        [connections, size, in_flight] if connections > 0 && in_flight > 0 => {
            Ok((connections, size, in_flight))
        }
        _ => Err(format!("{scenario}: not connections x bytes x in flight")),
    }
}

/// Tells whether a list has this name, or the beginning of it before a star.
fn names(list: &str, name: &str) -> bool {
    list.split(',').any(|item| match item.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => item == name,
    })
}
