//! wspulse and Python's websockets, on the same random streams of frames.
//!
//! `differential PYTHON REPLAY [STREAMS]` starts `PYTHON REPLAY` on each core, writes streams to
//! it, reads what came of them, and fails if a difference is in no class, or a class of 100,000
//! streams is empty. `DIFFERENTIAL_BASE` chooses other streams; `DIFFERENTIAL_SEED` replays one.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use wspulse_tests::differential::classes::{self, Class, Peer, Tally};
use wspulse_tests::differential::{generate, lines};
use wspulse_tests::rng::Rng;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let (python, replay, streams) = match &arguments[..] {
        [python, replay] => (python, replay, 100_000),
        [python, replay, streams] => (python, replay, streams.parse().expect("a number")),
        _ => panic!("differential PYTHON REPLAY [STREAMS]"),
    };
    let began = Instant::now();
    let seeds: Vec<u64> = match number("DIFFERENTIAL_SEED") {
        Some(seed) => vec![seed],
        None => {
            let mut rng = Rng::new(number("DIFFERENTIAL_BASE").unwrap_or(0));
            // 48 bits are enough, and a number that can be typed.
            (0..streams).map(|_| rng.draw() >> 16).collect()
        }
    };
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let share = seeds.len().div_ceil(cores);
    let mut tally = Tally::new(Peer::Websockets);
    std::thread::scope(|scope| {
        let share = seeds.chunks(share);
        let workers: Vec<_> = share
            .map(|seeds| scope.spawn(|| compare(python, replay, seeds)))
            .collect();
        for worker in workers {
            let found = worker.join().expect("a difference that no class explains");
            found.iter().for_each(|classes| tally.add(classes));
        }
    });
    println!("{tally}\n{:.1} s", began.elapsed().as_secs_f64());
    if seeds.len() >= 100_000 {
        assert_eq!(tally.dead(), [], "classes that nothing is in");
    }
}

/// Puts the streams of these seeds through one process, and returns the classes of each.
fn compare(python: &str, replay: &str, seeds: &[u64]) -> Vec<std::collections::BTreeSet<Class>> {
    let mut child = Command::new(python)
        .arg(replay)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let mut input = BufWriter::new(child.stdin.take().expect("a pipe"));
    let output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut answers = output.lines();
    let found = std::thread::scope(|scope| {
        scope.spawn(move || {
            for seed in seeds {
                let case = generate::case(*seed).cut_at_frames();
                if writeln!(input, "{}", lines::case(&case)).is_err() {
                    // The other thread sees that answers are missing.
                    return;
                }
            }
        });
        let found = seeds.iter().map(|&seed| {
            let case = generate::case(seed).cut_at_frames();
            let answer = answers.next().expect("an answer").expect("an answer");
            let theirs = lines::theirs(&answer).expect("an outcome");
            classes::explain(&case, Peer::Websockets, &theirs).unwrap_or_else(|difference| {
                let case = lines::case(&case);
                eprintln!("{case}\n{difference}\nreplay with DIFFERENTIAL_SEED={seed}");
                std::process::exit(1);
            })
        });
        found.collect()
    });
    assert!(child.wait().expect("an end").success());
    found
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number")),
    )
}
