//! Echo over loopback: every contestant a process on one core, the load on the other.
//!
//! ```text
//! loopback [--scenario 64x64x32,..] [--contestant wspulse-tokio,tcp-*,..]
//!          [--seconds 0.5] [--rounds 7] [--results FILE]
//! ```
//!
//! A scenario is connections x bytes x messages in flight on each connection.

use std::process::ExitCode;

use wspulse_bench::echo::{Figures, Pace, Scenario, best, least, ratio, wanted};
use wspulse_bench::servers::{Server, Side, obey};
use wspulse_bench::stats::{Results, Samples, option_value, pin_to};
use wspulse_bench::table::{Table, figure};

const SCENARIOS: [Scenario; 6] = [
    Scenario::new(1, 16, 1),
    Scenario::new(64, 16, 1),
    Scenario::new(64, 64, 32),
    Scenario::new(16, 1024, 8),
    Scenario::new(8, 16 * 1024, 4),
    Scenario::new(2, 1024 * 1024, 1),
];

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
    let pace = Pace::from_args(0.5, 7)?;
    let servers = wanted(|_| true)?;
    let scenarios = match option_value("--scenario") {
        Some(list) => list.split(',').map(str::parse).collect::<Result<_, _>>()?,
        None => SCENARIOS.to_vec(),
    };
    let mut results = Results::from_args("loopback").map_err(|error| error.to_string())?;
    pin_to(0).map_err(|error| error.to_string())?;
    for scenario in scenarios {
        let figures = Figures::take(&servers, scenario, pace)?;
        let recorded = figures.record(&mut results, &scenario.to_string());
        recorded.map_err(|error| error.to_string())?;
        println!("### {scenario}\n\n{}", table(&servers, &figures));
        for note in notes(&servers, &figures) {
            println!("{note}\n");
        }
    }
    Ok(())
}

fn table(servers: &[&Server], figures: &Figures) -> Table {
    let mut table = Table::new([
        "",
        "messages/s",
        "spread",
        "to TCP",
        "to the best peer",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "server CPU ns/message",
        "to TCP",
        "to the best peer",
        "server's core",
        "load's core",
    ]);
    let fastest = |side| best(servers, side, &figures.rate);
    let cheapest = |side| least(servers, side, &figures.cpu);
    for (index, server) in servers.iter().enumerate() {
        let (rate, cpu) = (&figures.rate[index], &figures.cpu[index]);
        let micros = |samples: &[Samples]| figure(samples[index].median() / 1e3);
        table.row([
            server.name.to_owned(),
            figure(rate.median()),
            percent(rate.spread()),
            ratio(rate, fastest(Side::Limit)),
            ratio(rate, fastest(Side::Peer)),
            micros(&figures.p50),
            micros(&figures.p99),
            micros(&figures.p999),
            figure(cpu.median()),
            ratio(cpu, cheapest(Side::Limit)),
            ratio(cpu, cheapest(Side::Peer)),
            percent(figures.server_core[index].median()),
            percent(figures.load_core[index].median()),
        ]);
    }
    table
}

/// Says where the load, or the machine, was measured and not the server.
fn notes(servers: &[&Server], figures: &Figures) -> Vec<String> {
    let median = |samples: &[Samples], index: usize| samples[index].median();
    let of = |what: &str, is_so: &dyn Fn(f64, f64) -> bool| {
        let so = (0..servers.len()).filter(|&index| {
            let server = median(&figures.server_core, index);
            is_so(server, median(&figures.load_core, index))
        });
        let names: Vec<_> = so.map(|index| servers[index].name).collect();
        (!names.is_empty()).then(|| format!("{what}: {}.", names.join(", ")))
    };
    let mut notes = vec![
        of(
            "The load was the limit and not the server, which could do more",
            &|server, load| load > 0.95 && server < 0.9,
        ),
        of(
            "Neither used its core: the wait for one another, or the machine, was the limit",
            &|server, load| load < 0.9 && server < 0.9,
        ),
    ];
    let by_name = |side| best(servers, side, &figures.rate);
    let fastest = [Side::Ours, Side::Peer].into_iter().filter_map(by_name);
    let fastest = fastest.max_by(|a, b| a.median().total_cmp(&b.median()));
    notes.push(by_name(Side::Limit).zip(fastest).map(|(limit, fastest)| {
        let times = limit.ratio_to(fastest);
        format!(
            "Plain TCP through this load: {times:.2} x the fastest WebSocket, {}.",
            fastest.name
        )
    }));
    notes.into_iter().flatten().collect()
}

fn percent(part: f64) -> String {
    format!("{:.0} %", 100.0 * part)
}
