//! wspulse and Python's websockets, on the same random streams of frames and request heads.
//!
//! `differential PYTHON REPLAY [STREAMS]` starts `PYTHON REPLAY` on each core, writes streams to
//! it and a fifth as many heads, reads what came of them, and fails if a difference is in no
//! class, or a class is empty after 100,000 streams. `DIFFERENTIAL_BASE` chooses other inputs;
//! `DIFFERENTIAL_SEED` replays one.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use wspulse_tests::differential::classes::{self, Class, Peer};
use wspulse_tests::differential::head_classes::{self, HeadClass};
use wspulse_tests::differential::tally::Tally;
use wspulse_tests::differential::{Case, generate, heads, lines};
use wspulse_tests::rng::Rng;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let (python, replay, streams) = match &arguments[..] {
        [python, replay] => (python, replay, 100_000),
        [python, replay, streams] => (python, replay, streams.parse().expect("a number")),
        _ => panic!("differential PYTHON REPLAY [STREAMS]"),
    };
    let began = Instant::now();
    let seed = number("DIFFERENTIAL_SEED");
    let base = number("DIFFERENTIAL_BASE").unwrap_or(0);
    // Five streams for each head, as in the comparison with tungstenite.
    let [streams, heads] = [streams, streams / 5].map(|count: usize| match seed {
        Some(seed) => vec![seed],
        None => {
            let mut rng = Rng::new(base);
            // 48 bits are enough, and a number that can be typed.
            (0..count).map(|_| rng.draw() >> 16).collect::<Vec<u64>>()
        }
    });
    let python = Python { python, replay };
    let mut tally = Tally::new(Class::of(Peer::Websockets));
    python.compare(&streams, &mut tally, stream_line, explain_stream);
    println!("streams: {tally}");
    let mut head_tally = Tally::new(HeadClass::of(Peer::Websockets).iter().copied());
    python.compare(&heads, &mut head_tally, head_line, explain_head);
    println!("heads: {head_tally}");
    println!("{:.1} s", began.elapsed().as_secs_f64());
    if streams.len() >= 100_000 {
        assert_eq!(tally.dead(), [], "classes that nothing is in");
        assert_eq!(head_tally.dead(), [], "classes that nothing is in");
    }
}

fn stream(seed: u64) -> Case {
    generate::case(seed).cut_at_frames()
}

fn stream_line(seed: u64) -> String {
    lines::case(&stream(seed))
}

fn explain_stream(seed: u64, answer: &str) -> Result<Vec<Class>, String> {
    let theirs = lines::theirs(answer)?;
    let classes = classes::explain(&stream(seed), Peer::Websockets, &theirs)?;
    Ok(classes.into_iter().collect())
}

fn head_line(seed: u64) -> String {
    format!("head {}", lines::hex(&heads::head(seed)))
}

fn explain_head(seed: u64, answer: &str) -> Result<Vec<HeadClass>, String> {
    let theirs = (answer != "-").then_some(answer);
    let class = head_classes::explain(&heads::head(seed), Peer::Websockets, theirs)?;
    Ok(class.into_iter().collect())
}

/// The other implementation.
struct Python<'a> {
    python: &'a str,
    replay: &'a str,
}

impl Python<'_> {
    /// Puts the inputs of these seeds through a process on each core, and counts their classes.
    fn compare<C: Copy + Ord + Send>(
        &self,
        seeds: &[u64],
        tally: &mut Tally<C>,
        line: fn(u64) -> String,
        explain: fn(u64, &str) -> Result<Vec<C>, String>,
    ) {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let shares = seeds.chunks(seeds.len().div_ceil(cores).max(1));
        std::thread::scope(|scope| {
            let workers: Vec<_> = shares
                .map(|seeds| scope.spawn(|| self.compare_share(seeds, line, explain)))
                .collect();
            for worker in workers {
                let found = worker.join().expect("the process answers");
                found.into_iter().for_each(|classes| tally.add(classes));
            }
        });
    }

    /// Puts the inputs of these seeds through one process, and returns the classes of each.
    fn compare_share<C>(
        &self,
        seeds: &[u64],
        line: fn(u64) -> String,
        explain: fn(u64, &str) -> Result<Vec<C>, String>,
    ) -> Vec<Vec<C>> {
        let mut child = Command::new(self.python)
            .arg(self.replay)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let mut input = BufWriter::new(child.stdin.take().expect("a pipe"));
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut answers = output.lines();
        let writer = seeds.to_vec();
        let writer = std::thread::spawn(move || {
            for seed in writer {
                if writeln!(input, "{}", line(seed)).is_err() {
                    // The reader sees that answers are missing.
                    return;
                }
            }
        });
        let found = seeds.iter().map(|&seed| {
            let answer = answers.next().expect("an answer").expect("an answer");
            explain(seed, &answer).unwrap_or_else(|difference| {
                let line = line(seed);
                eprintln!("{line}\n{difference}\nreplay with DIFFERENTIAL_SEED={seed}");
                std::process::exit(1);
            })
        });
        let found = found.collect();
        writer.join().expect("no panic");
        assert!(child.wait().expect("an end").success());
        found
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number")),
    )
}
