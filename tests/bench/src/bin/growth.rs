//! Work that grows, and what a unit of it costs: messages of 1 B to 64 MiB, fragments of 1 to
//! 100,000 a message, connections that live for 1 to 1,000 hours in the simulator.
//!
//! `growth [--results FILE] [--svg FILE] [--rounds N]` measures wspulse's core in memory, as
//! nanoseconds of the thread's own time; an allocator that counts is part of it.

use std::fmt::Display;
use std::sync::Arc;
use std::{fs, io, iter};

use wspulse_bench::memory::case::{Case, Kind, bytes};
use wspulse_bench::memory::{Wspulse, timing};
use wspulse_bench::stats::{Contestant, Results, Samples, cpu_time, option_value, pin_to, rounds};
use wspulse_bench::svg::{self, Chart, Line, Scale};
use wspulse_bench::table::{Table, figure, whole};
use wspulse_core::{Config, Connection, Instant, Role, Seed};
use wspulse_tests::alloc::{Counting, counters};
use wspulse_tests::check::Checked;
use wspulse_tests::host::Host;
use wspulse_tests::pipe::PipeConfig;
use wspulse_tests::sim::World;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> io::Result<()> {
    pin_to(1)?;
    timing::settle_allocator();
    let count = option_value("--rounds").map_or(9, |text| text.parse().expect("a number"));
    let mut results = Results::from_args("growth")?;
    let messages = messages(count);
    let fragments = fragments(count);
    let hours = hours(count);

    print_table("A message by its size", "size", &messages, bytes);
    print_table("A message by its fragments", "fragments", &fragments, |n| n);
    print_table("A simulated connection by its age", "hours", &hours, |n| n);
    for growth in messages.iter().chain(&fragments).chain(&hours) {
        for point in &growth.points {
            let case = format!("{} at {}", growth.name, point.at);
            results.record(&case, growth.unit, &point.samples)?;
        }
    }
    if let Some(path) = option_value("--svg") {
        fs::write(path, draw(&messages, &fragments, &hours))?;
    }
    Ok(())
}

/// How the cost of a unit of work grows with the amount of it.
struct Growth {
    name: String,
    unit: &'static str,
    points: Vec<Point>,
}

struct Point {
    at: usize,
    samples: Samples,
}

impl Growth {
    /// Runs one contestant for each amount, all of them in turns.
    fn measure<'a>(
        name: impl Into<String>,
        unit: &'static str,
        count: usize,
        amounts: &[usize],
        contestant: impl FnMut(usize) -> Contestant<'a>,
    ) -> Self {
        let mut contestants: Vec<_> = amounts.iter().copied().map(contestant).collect();
        let samples = rounds(count, &mut contestants);
        let points = amounts.iter().zip(samples);
        Self {
            name: name.into(),
            unit,
            points: points.map(|(&at, samples)| Point { at, samples }).collect(),
        }
    }

    fn line(&self) -> Line {
        let points = self.points.iter();
        Line {
            name: self.name.clone(),
            points: points
                .map(|point| (point.at as f64, point.samples.median()))
                .collect(),
        }
    }
}

const KINDS: [(Kind, &str); 2] = [(Kind::Binary, "binary"), (Kind::Text, "text")];

/// Echoes of 1 B to 64 MiB: nanoseconds a byte, and allocations a message.
fn messages(count: usize) -> Vec<Growth> {
    let sizes: Vec<usize> = (0..=13).map(|power| 1 << (2 * power)).collect();
    let of_kind = |(kind, name)| {
        let time = Growth::measure(name, "ns/byte", count, &sizes, |size| {
            let case = Case::new(kind, size);
            let work = timing::echoes::<Wspulse>(&case);
            timing::work("wspulse", case.messages * size, work)
        });
        let allocations = Growth::measure(
            format!("allocations, {name}"),
            "allocations/message",
            1,
            &sizes,
            |size| {
                let case = Case::new(kind, size);
                let mut pass = timing::echoes::<Wspulse>(&case);
                let messages = case.messages as f64;
                Contestant::new("wspulse", move || {
                    let before = counters().allocations;
                    pass();
                    (counters().allocations - before) as f64 / messages
                })
            },
        );
        [time, allocations]
    };
    KINDS.into_iter().flat_map(of_kind).collect()
}

/// A message in 1 to 100,000 fragments of 64 bytes: nanoseconds a fragment.
fn fragments(count: usize) -> Vec<Growth> {
    let amounts = [1, 10, 100, 1_000, 10_000, 100_000];
    let of_kind = |(kind, name)| {
        Growth::measure(name, "ns/fragment", count, &amounts, |fragments| {
            let messages = (1_000 / fragments).max(1);
            let case = Case::fragmented(kind, 64 * fragments, messages, fragments);
            let work = timing::echoes::<Wspulse>(&case);
            timing::work("wspulse", messages * fragments, work)
        })
    };
    KINDS.into_iter().map(of_kind).collect()
}

/// Both ends of an idle connection with the default heartbeat, every call of them checked against
/// the rules: connection-hours a second.
fn hours(count: usize) -> Vec<Growth> {
    let amounts = [1, 10, 100, 1_000];
    let unit = "connection-hours/s";
    vec![Growth::measure("idle", unit, count, &amounts, |hours| {
        let repeats = (100 / hours).max(1);
        Contestant::new("wspulse", move || {
            let start = cpu_time();
            (0..repeats as u64).for_each(|seed| live(hours as u64, seed));
            (repeats * hours) as f64 / (cpu_time() - start).as_secs_f64()
        })
    })]
}

fn live(hours: u64, seed: u64) {
    let config = Arc::new(Config::default());
    let [a, b] = [Role::Client, Role::Server].map(|role| {
        let seed = Seed::predictable_for_tests(seed);
        let connection = Connection::from_upgrade(role, Arc::clone(&config), seed, Instant::ZERO);
        Host::new(Checked::open(connection, Instant::ZERO), 1)
    });
    let pipe = PipeConfig::default();
    let mut world = World::new(a, b, pipe.clone(), pipe);
    for hour in 1..=hours {
        world.run_until(Instant::from_secs(3_600 * hour));
    }
    assert!(world.a.conn().closed().is_none(), "it died");
}

fn print_table<D: Display>(
    title: &str,
    amount: &str,
    growths: &[Growth],
    show: impl Fn(usize) -> D,
) {
    let heads = growths.iter().map(|growth| {
        if growth.unit.starts_with("allocations") {
            growth.name.clone()
        } else {
            format!("{}, {}", growth.name, growth.unit)
        }
    });
    let mut table = Table::new(iter::once(amount.to_owned()).chain(heads));
    for (index, first) in growths[0].points.iter().enumerate() {
        let medians = growths.iter().map(|growth| &growth.points[index].samples);
        let cells = medians.map(|samples| match samples.median() {
            small if small < 1.0 => format!("{small:.3}"),
            median => figure(median),
        });
        table.row(iter::once(show(first.at).to_string()).chain(cells));
    }
    println!("{title}\n\n{table}");
}

fn draw(messages: &[Growth], fragments: &[Growth], hours: &[Growth]) -> String {
    let by_unit = |unit: &'static str| messages.iter().filter(move |growth| growth.unit == unit);
    let sizes = [1, 1 << 10, 1 << 20, 64 << 20].map(|size| (size as f64, bytes(size)));
    let plain = |amounts: &[usize]| {
        let marks = amounts.iter().map(|&at| (at as f64, whole(at as f64)));
        marks.collect::<Vec<_>>()
    };
    let allocations = by_unit("allocations/message").zip(KINDS);
    let charts = [
        Chart {
            title: "Echo of a message: ns a byte".into(),
            x_label: "length of the message".into(),
            x_ticks: sizes.to_vec(),
            y_scale: Scale::Log,
            lines: by_unit("ns/byte").map(Growth::line).collect(),
        },
        Chart {
            title: "Echo of a message: allocations".into(),
            x_label: "length of the message".into(),
            x_ticks: sizes.to_vec(),
            y_scale: Scale::Linear,
            lines: allocations
                .map(|(growth, (_, name))| Line {
                    name: name.to_owned(),
                    ..growth.line()
                })
                .collect(),
        },
        Chart {
            title: "A message in parts: ns a fragment of 64 B".into(),
            x_label: "fragments of the message".into(),
            x_ticks: plain(&[1, 100, 10_000, 100_000]),
            y_scale: Scale::Linear,
            lines: fragments.iter().map(Growth::line).collect(),
        },
        Chart {
            title: "Simulator: connection-hours a second".into(),
            x_label: "age of the connection in hours".into(),
            x_ticks: plain(&[1, 10, 100, 1_000]),
            y_scale: Scale::Linear,
            lines: hours.iter().map(Growth::line).collect(),
        },
    ];
    svg::draw("What a unit of work costs as the work grows", &charts)
}
