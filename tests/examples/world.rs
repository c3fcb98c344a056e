//! The search of `--test world`, as deep as a budget of states allows. `tests/world.sh` runs it.
//!
//! `world shipped|reference [states] [name]`: so many states in each world (5,000,000 by default)
//! whose name holds `name`. Ends with 1 if an oracle fell that `tests/world/known.txt` does not
//! have.

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use wspulse_tests::world::cases::{Case, cases, scenes};
use wspulse_tests::world::heartbeat::{Engine, HeartbeatWorld, Shipped};
use wspulse_tests::world::reference::Reference;
use wspulse_tests::world::search::{Limits, Report, search};

/// Full states of one level are what takes memory, at some 500 bytes each.
const LEVEL: usize = 1_500_000;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let is_shipped = match args.first().map(String::as_str) {
        Some("shipped") => true,
        Some("reference") => false,
        _ => {
            eprintln!("world shipped|reference [states] [name]");
            return ExitCode::from(2);
        }
    };
    let states = args.get(1).map_or(5_000_000, |number| {
        let digits: String = number.chars().filter(char::is_ascii_digit).collect();
        digits.parse().expect("a number of states")
    });
    let name = args.get(2).map_or("", String::as_str);
    let mut worlds: Vec<Case> = cases().into_iter().chain(scenes()).collect();
    worlds.retain(|case| case.name.contains(name));
    worlds.reverse();
    let worlds = Mutex::new(worlds);
    let totals = Mutex::new((0, 0, true));
    let began = Instant::now();
    let work = || {
        // The lock is not held during the search.
        while let Some(case) = { worlds.lock().expect("no thread panicked").pop() } {
            let policy = &case.policies[0];
            let (report, is_known) = if is_shipped {
                let report = deep(&case, Shipped::new(policy), states);
                let is_known =
                    print_failures(&case, &report, include_str!("../tests/world/known.txt"));
                (report, is_known)
            } else {
                let report = deep(&case, Reference::new(policy), states);
                let is_known = print_failures(&case, &report, "");
                (report, is_known)
            };
            let mut totals = totals.lock().expect("no thread panicked");
            totals.0 += report.states;
            totals.1 += report.transitions;
            totals.2 &= is_known;
            println!("{}: {report}; {} in all", case.name, totals.0);
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..threads.min(2) {
            scope.spawn(work);
        }
    });
    let (states, transitions, is_known) = totals.into_inner().expect("no thread panicked");
    let seconds = began.elapsed().as_secs_f64();
    println!("{states} states, {transitions} transitions, {seconds:.0} s");
    if is_known {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn deep<E: Engine>(case: &Case, engine: E, states: usize) -> Report {
    let world = HeartbeatWorld {
        setting: case.setting.clone(),
        policies: case.policies.clone(),
        engine,
    };
    let limits = Limits {
        depth: 2_000,
        states,
        level: LEVEL,
        stops_at_failure: false,
    };
    search(&world, limits)
}

/// Prints what the list does not have; returns whether that is nothing.
fn print_failures(case: &Case, report: &Report, known: &str) -> bool {
    let mut is_known = true;
    for failure in &report.failures {
        let entry = format!("| {} | {}", case.name, failure.violation);
        if !known.lines().any(|line| line.ends_with(&entry)) {
            println!("NEW in \"{}\": {failure}", case.name);
            is_known = false;
        }
    }
    is_known
}
