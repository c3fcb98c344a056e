//! Rounds that take turns, and what they come to.
//!
//! In each round every contestant runs once, and each round another one begins: what disturbs the
//! machine disturbs all of them. Figures are medians over the rounds; a ratio is the median of the
//! ratios within each round, which a slow drift of the machine does not move.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

/// One who does the work, and says what it took: nanoseconds, messages per second, bytes.
pub struct Contestant<'a> {
    name: String,
    run: Box<dyn FnMut() -> f64 + 'a>,
}

impl<'a> Contestant<'a> {
    /// Names a contestant; `run` does the work once and returns the figure.
    pub fn new(name: impl Into<String>, run: impl FnMut() -> f64 + 'a) -> Self {
        Self {
            name: name.into(),
            run: Box::new(run),
        }
    }
}

impl std::fmt::Debug for Contestant<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Contestant").field(&self.name).finish()
    }
}

/// What one contestant did in each round.
#[derive(Clone, Debug)]
pub struct Samples {
    /// Whose they are.
    pub name: String,
    values: Vec<f64>,
}

impl Samples {
    /// Takes one figure for each round, in order.
    pub fn new(name: impl Into<String>, values: Vec<f64>) -> Self {
        Self {
            name: name.into(),
            values,
        }
    }

    /// Returns the figures in the order of the rounds.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Returns the middle one; between two, their mean. `NaN` without a round.
    pub fn median(&self) -> f64 {
        median(self.values.clone())
    }

    /// Returns the smallest one.
    pub fn min(&self) -> f64 {
        self.values.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// Returns the largest one.
    pub fn max(&self) -> f64 {
        self.values
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max)
    }

    /// Returns the distance between the quartiles as a part of the median: 0.02 says that half of
    /// the rounds lie within about one percent of it.
    pub fn spread(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let Some(last) = sorted.len().checked_sub(1) else {
            return f64::NAN;
        };
        let quartile = |part: usize| sorted[(last * part + 2) / 4];
        (quartile(3) - quartile(1)) / self.median()
    }

    /// Returns the median, over the rounds, of this contestant's figure as a multiple of
    /// `other`'s.
    pub fn ratio_to(&self, other: &Self) -> f64 {
        let pairs = self.values.iter().zip(&other.values);
        median(pairs.map(|(mine, theirs)| mine / theirs).collect())
    }
}

/// Runs `rounds` rounds after one that does not count.
pub fn rounds(rounds: usize, contestants: &mut [Contestant<'_>]) -> Vec<Samples> {
    for contestant in contestants.iter_mut() {
        (contestant.run)();
    }
    let count = contestants.len();
    let mut values = vec![Vec::with_capacity(rounds); count];
    for round in 0..rounds {
        for turn in 0..count {
            let index = (round + turn) % count;
            values[index].push((contestants[index].run)());
        }
    }
    contestants
        .iter()
        .zip(values)
        .map(|(contestant, values)| Samples::new(&contestant.name, values))
        .collect()
}

/// Keeps the calling thread, and those it starts from here on, on this core.
pub fn pin_to(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

/// Returns the time that this thread has had a core for. In-memory work is timed by it: another
/// program on the same core then costs only what it does to the caches.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("time since the thread began")
}

/// A file of figures, one JSON object a line, for whoever draws the tables.
///
/// Each line has the keys `bench`, `case`, `contestant`, `unit`, `median`, `min`, `max`, `spread`
/// and `rounds`.
#[derive(Debug)]
pub struct Results {
    bench: &'static str,
    file: Option<File>,
}

impl Results {
    /// Keeps nothing.
    pub const fn none(bench: &'static str) -> Self {
        Self { bench, file: None }
    }

    /// Adds to the end of the file.
    pub fn append_to(bench: &'static str, path: impl AsRef<Path>) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self {
            bench,
            file: Some(file),
        })
    }

    /// Adds to the file that the command line names behind `--results`, if it names one.
    pub fn from_args(bench: &'static str) -> io::Result<Self> {
        match option_value("--results") {
            Some(path) => Self::append_to(bench, path),
            None => Ok(Self::none(bench)),
        }
    }

    /// Writes down what a contestant did in a case.
    pub fn record(&mut self, case: &str, unit: &str, samples: &Samples) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let line = json!({
            "bench": self.bench,
            "case": case,
            "contestant": samples.name,
            "unit": unit,
            "median": samples.median(),
            "min": samples.min(),
            "max": samples.max(),
            "spread": samples.spread(),
            "rounds": samples.values.len(),
        });
        writeln!(file, "{line}")
    }
}

/// Returns what the command line says behind `name`.
pub fn option_value(name: &str) -> Option<String> {
    let mut args = std::env::args();
    args.find(|arg| arg == name)?;
    args.next()
}

/// Tells whether the command line says `name`.
pub fn has_option(name: &str) -> bool {
    std::env::args().any(|arg| arg == name)
}

/// Returns the middle one; between two, their mean. `NaN` of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.get(middle) {
        None => f64::NAN,
        Some(&upper) if values.len() % 2 == 1 => upper,
        Some(&upper) => (values[middle - 1] + upper) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn each_round_another_one_begins() {
        let order = RefCell::new(String::new());
        let contestant = |name: char| {
            let order = &order;
            Contestant::new(name, move || {
                order.borrow_mut().push(name);
                1.0
            })
        };
        let samples = rounds(3, &mut ['a', 'b', 'c'].map(contestant));
        assert_eq!(*order.borrow(), "abcabcbcacab");
        assert!(samples.iter().all(|samples| samples.values().len() == 3));
    }

    #[test]
    fn a_ratio_is_taken_within_each_round() {
        let ours = Samples::new("ours", vec![1.0, 10.0, 3.0]);
        let theirs = Samples::new("theirs", vec![2.0, 20.0, 6.0]);
        assert_eq!(ours.ratio_to(&theirs), 0.5);
        assert_eq!((ours.median(), ours.min(), ours.max()), (3.0, 1.0, 10.0));
    }

    #[test]
    fn spread_is_the_middle_half() {
        let values = vec![96.0, 98.0, 100.0, 102.0, 1_000.0];
        assert!((Samples::new("", values).spread() - 0.04).abs() < 1e-9);
        assert!(Samples::new("", Vec::new()).median().is_nan());
    }
}
