//! Growth over connections: the cost of a message as more of them are open, half of which echo.
//!
//! ```text
//! connections [--contestant wspulse-tokio,..] [--counts 100,1000,..] [--seconds 0.5] [--rounds 3]
//!             [--results FILE]
//! ```

use std::process::ExitCode;

use wspulse_bench::echo::{Figures, Pace, Scenario, wanted};
use wspulse_bench::servers::{obey, raise_descriptor_limit};
use wspulse_bench::stats::{Results, option_value, pin_to};
use wspulse_bench::table::{Table, figure};

const COUNTS: &str = "100,1000,5000,10000,20000";

const SIZE: usize = 64;

/// Ours, the most used peer, and what the kernel costs by itself.
const CONTESTANTS: [&str; 4] = ["wspulse-tokio", "wspulse-mio", "tungstenite", "tcp-mio"];

/// Descriptors beside those of the connections.
const SOME_MORE: usize = 100;

fn main() -> ExitCode {
    if let Some(code) = obey() {
        return code;
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("connections: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let pace = Pace::from_args(0.5, 3)?;
    let servers = wanted(|server| CONTESTANTS.contains(&server.name))?;
    let counts = option_value("--counts").unwrap_or_else(|| COUNTS.to_owned());
    let mut results = Results::from_args("connections").map_err(|error| error.to_string())?;
    pin_to(0).map_err(|error| error.to_string())?;

    let names = servers.iter().map(|server| server.name);
    let mut table = Table::new(["connections", "active"].into_iter().chain(names));
    let mut first: Option<Figures> = None;
    let mut last = None;
    for count in counts.split(',') {
        let count: usize = count.parse().map_err(|_| format!("{count}: no number"))?;
        // Some machines do not allow as many descriptors.
        let connections = raise_descriptor_limit(count + SOME_MORE) - SOME_MORE;
        let scenario = Scenario {
            active: connections / 2,
            ..Scenario::new(connections, SIZE, 1)
        };
        let figures = Figures::take(&servers, scenario, pace)?;
        let recorded = figures.record(&mut results, &connections.to_string());
        recorded.map_err(|error| error.to_string())?;
        let cells = figures.rate.iter().zip(&figures.cpu);
        let cells = cells
            .map(|(rate, cpu)| format!("{} ns, {}/s", figure(cpu.median()), figure(rate.median())));
        let numbers = [connections, connections / 2].map(|number| figure(number as f64));
        table.row(numbers.into_iter().chain(cells));
        first.get_or_insert_with(|| figures.clone());
        last = Some(figures);
    }
    if let Some((first, last)) = first.zip(last) {
        let growth = last.cpu.iter().zip(&first.cpu);
        let growth = growth.map(|(last, first)| format!("{:.2} x", last.ratio_to(first)));
        let head = ["last to first", ""].map(str::to_owned);
        table.row(head.into_iter().chain(growth));
    }
    println!(
        "The server's processor time a message of {SIZE} bytes, and messages a second\n\n{table}"
    );
    Ok(())
}
