//! Growth over connections: the cost of a message as more of them are open, half of which echo.
//!
//! ```text
//! connections [--contestant wspulse-tokio,..] [--counts 100,1000,..] [--seconds 0.5] [--rounds 3]
//!             [--results FILE] [--svg FILE]
//! ```

use std::fs;
use std::process::ExitCode;

use wspulse_bench::echo::{Figures, Pace, Scenario, wanted};
use wspulse_bench::servers::{Server, obey, raise_descriptor_limit};
use wspulse_bench::stats::{Results, Samples, option_value, pin_to};
use wspulse_bench::svg::{self, Chart, Line, Scale};
use wspulse_bench::table::{Table, figure, whole};

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

    let mut points = Vec::new();
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
        points.push((connections, figures));
    }
    if let Some(path) = option_value("--svg") {
        fs::write(path, draw(&points)).map_err(|error| error.to_string())?;
    }
    println!(
        "The server's processor time a message of {SIZE} bytes, and messages a second\n\n{}",
        table(&servers, &points)
    );
    Ok(())
}

/// Connections, and what they cost.
type Point = (usize, Figures);

fn table(servers: &[&Server], points: &[Point]) -> Table {
    let names = servers.iter().map(|server| server.name);
    let mut table = Table::new(["connections", "active"].into_iter().chain(names));
    for (connections, figures) in points {
        let cells = figures.rate.iter().zip(&figures.cpu);
        let cells = cells.map(|(rate, cpu)| {
            let (cpu, rate) = (figure(cpu.median()), figure(rate.median()));
            format!("{cpu} ns, {rate}/s")
        });
        let numbers = [*connections, connections / 2].map(|number| whole(number as f64));
        table.row(numbers.into_iter().chain(cells));
    }
    if let Some(((_, first), (_, last))) = points.first().zip(points.last()) {
        let growth = last.cpu.iter().zip(&first.cpu);
        let growth = growth.map(|(last, first)| format!("{:.2} x", last.ratio_to(first)));
        let head = ["last to first", ""].map(str::to_owned);
        table.row(head.into_iter().chain(growth));
    }
    table
}

fn draw(points: &[Point]) -> String {
    let chart = |title: &str, of: fn(&Figures) -> &[Samples]| {
        let names = points.first().map_or(&[][..], |(_, figures)| of(figures));
        let lines = names.iter().enumerate().map(|(index, samples)| Line {
            name: samples.name.clone(),
            points: points
                .iter()
                .map(|(at, figures)| (*at as f64, of(figures)[index].median()))
                .collect(),
        });
        let marks = points.iter().map(|(at, _)| (*at as f64, whole(*at as f64)));
        Chart {
            title: title.to_owned(),
            x_label: "connections, of which half echo".to_owned(),
            x_ticks: marks.collect(),
            y_scale: Scale::Linear,
            lines: lines.collect(),
        }
    };
    let charts = [
        chart("Echo of 64 B: ns of the server's time", |figures| {
            &figures.cpu
        }),
        chart("Echo of 64 B: messages a second", |figures| &figures.rate),
    ];
    svg::draw("What a message costs as connections are more", &charts)
}
