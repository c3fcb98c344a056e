//! What heartbeats cost: processor time for a ping and its pong at ten thousand connections,
//! beside the same bytes over bare sockets; and how often messages move a timer.
//!
//! ```text
//! heartbeats [--contestant wspulse-tokio,..] [--connections 10000] [--seconds 4] [--rounds 3]
//!            [--results FILE]
//! ```

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wspulse_bench::echo::{Pace, number, ratio, wanted};
use wspulse_bench::load::{Listeners, Talk, open};
use wspulse_bench::servers::{BARE_PINGS, Child, Server, obey, raise_descriptor_limit};
use wspulse_bench::stats::{Results, Samples, pin_to};
use wspulse_bench::table::{Table, figure};
use wspulse_core::{Config, Event, Role};
use wspulse_tests::kit::{at, drain, feed};

/// Of a silent connection; as short as sockudo-ws's goes, in seconds, and still longer than it
/// takes to open all.
const INTERVAL: Duration = Duration::from_secs(2);

/// The ones that ping by themselves.
const KEEPERS: [&str; 3] = ["wspulse-tokio", "wspulse-mio", "sockudo-ws"];

fn main() -> ExitCode {
    if let Some(code) = obey() {
        return code;
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("heartbeats: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let connections: usize = number("--connections", 10_000)?;
    let pace = Pace::from_args(4.0, 3)?;
    let mut servers = wanted(|server| KEEPERS.contains(&server.name))?;
    servers.push(BARE_PINGS);
    let mut results = Results::from_args("heartbeats").map_err(|error| error.to_string())?;
    pin_to(0).map_err(|error| error.to_string())?;
    if raise_descriptor_limit(connections + 100) < connections + 100 {
        return Err(format!(
            "there are no descriptors for {connections} connections"
        ));
    }

    let mut taken: Vec<Vec<Taken>> = servers.iter().map(|_| Vec::new()).collect();
    for round in 0..pace.rounds {
        for turn in 0..servers.len() {
            let index = (round + turn) % servers.len();
            let measured = measure(servers[index], connections, pace.time);
            let measured = measured.map_err(|error| format!("{}: {error}", servers[index].name))?;
            taken[index].push(measured);
        }
    }
    let samples = |of: fn(&Taken) -> f64| -> Vec<Samples> {
        let turns = servers.iter().zip(&taken);
        turns
            .map(|(server, taken)| Samples::new(server.name, taken.iter().map(of).collect()))
            .collect()
    };
    let cost = samples(|taken| taken.cpu.as_nanos() as f64 / taken.pings.max(1) as f64);
    let rate = samples(|taken| taken.pings as f64 / taken.time.as_secs_f64());
    let case = format!("{connections} connections");
    for (unit, figures) in [("ns/heartbeat", &cost), ("heartbeats/s", &rate)] {
        for samples in figures {
            let recorded = results.record(&case, unit, samples);
            recorded.map_err(|error| error.to_string())?;
        }
    }

    let mut table = Table::new([
        "",
        "heartbeats/s",
        "CPU µs each",
        "spread",
        "to bare sockets",
    ]);
    for (index, server) in servers.iter().enumerate() {
        table.row([
            server.name.to_owned(),
            figure(rate[index].median()),
            figure(cost[index].median() / 1e3),
            format!("{:.0} %", 100.0 * cost[index].spread()),
            ratio(&cost[index], cost.last()),
        ]);
    }
    println!(
        "{case}, a ping after {} s of silence\n\n{table}",
        INTERVAL.as_secs()
    );

    let moves = timer_moves();
    let core = Samples::new("wspulse-core", vec![moves as f64]);
    let recorded = results.record("a million echoes", "timer moves", &core);
    recorded.map_err(|error| error.to_string())?;
    println!("Times that a message in or out moved the deadline, of {ECHOES} echoes: {moves}.");
    Ok(())
}

struct Taken {
    pings: u64,
    time: Duration,
    cpu: Duration,
}

fn measure(server: &Server, connections: usize, time: Duration) -> Result<Taken, String> {
    let child = Child::start(server, Some(INTERVAL))?;
    let opened = open(child.address(), server.talk, connections)?;
    let mut listeners = Listeners::new(opened).map_err(|error| error.to_string())?;
    // Until pings are as frequent as they stay.
    listeners.answer(INTERVAL + INTERVAL / 2)?;
    let (cpu, began) = (child.cpu_time(), Instant::now());
    let pings = listeners.answer(time)?;
    Ok(Taken {
        pings,
        time: began.elapsed(),
        cpu: child.cpu_time() - cpu,
    })
}

const ECHOES: u64 = 1_000_000;

/// Echoes messages in memory, a millisecond apart, and counts how often the deadline is another
/// after one came or went. That it fires, once an interval, is not a message's doing.
fn timer_moves() -> u64 {
    let config = Arc::new(Config::default());
    let mut server = wspulse_tests::kit::open(Role::Server, &config);
    let frame = Talk::WebSocket.frame(64);
    let mut moves = 0;
    for millis in 1..=ECHOES {
        let now = at(millis);
        if server
            .poll_timeout()
            .is_some_and(|deadline| deadline <= now)
        {
            server.handle_would_block(now);
            server.handle_timeout(now);
            drop(drain(&mut server, now));
        }
        let before = server.poll_timeout();
        for event in feed(&mut server, now, &frame) {
            if let Event::Binary(message) = event {
                server.send(message).expect("room");
            }
        }
        moves += u64::from(server.poll_timeout() != before);
        let before = server.poll_timeout();
        drop(drain(&mut server, now));
        moves += u64::from(server.poll_timeout() != before);
    }
    moves
}
