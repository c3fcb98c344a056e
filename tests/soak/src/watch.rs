//! What the process holds, each second, and whether that grows.

use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use wspulse_tests::net::held;
use wspulse_tests::net::process::{descriptors, threads};

/// What the process holds at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Resident memory in bytes.
    pub(crate) resident: u64,
    /// The heap in bytes, as the allocator counts it.
    pub(crate) heap: i64,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
}

impl Sample {
    pub(crate) fn take() -> Self {
        Self {
            resident: resident(),
            heap: held(),
            descriptors: descriptors(),
            threads: threads(),
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} KiB resident, {} KiB heap, {} descriptors, {} threads",
            self.resident >> 10,
            self.heap >> 10,
            self.descriptors,
            self.threads
        )
    }
}

/// The second field of proc_pid_statm(5), in pages.
fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

/// The samples of a soak.
#[derive(Debug)]
pub(crate) struct Watch {
    began: Option<Instant>,
    length: Duration,
    samples: Vec<(Duration, Sample)>,
}

impl Watch {
    /// Makes room for all samples at once, so that watching does not grow what is watched.
    pub(crate) fn new(length: Duration) -> Self {
        let count = length.as_millis() / STEP.as_millis() + 100;
        Self {
            began: None,
            length,
            samples: Vec::with_capacity(count as usize),
        }
    }

    /// Takes a sample, and says when that was, counted from the first.
    pub(crate) fn look(&mut self) -> (Duration, Sample) {
        let began = *self.began.get_or_insert_with(Instant::now);
        let looked = (began.elapsed(), Sample::take());
        self.samples.push(looked);
        looked
    }

    pub(crate) fn is_over(&self) -> bool {
        self.began
            .is_some_and(|began| began.elapsed() >= self.length)
    }

    pub(crate) fn length(&self) -> Duration {
        self.length
    }

    /// Compares the time after the warm-up with the end.
    ///
    /// # Errors
    ///
    /// If memory or descriptors grew.
    pub(crate) fn judge(&self) -> Result<String, String> {
        let warm = self.window(25..45)?;
        let last = self.window(80..100)?;
        let figure = format!(
            "after warm-up: {warm}\nat the end: {last}\nbounds for growth: {} KiB resident, {} KiB \
             heap, {MORE_DESCRIPTORS} descriptors",
            MORE_RESIDENT >> 10,
            MORE_HEAP >> 10
        );
        let is_flat = last.resident <= warm.resident + MORE_RESIDENT
            && last.heap <= warm.heap + MORE_HEAP
            && last.descriptors <= warm.descriptors + MORE_DESCRIPTORS;
        if is_flat || self.length < LONG_ENOUGH {
            Ok(figure)
        } else {
            Err(figure)
        }
    }

    /// Returns what was held in a part of the time, in percent: resident memory at the median, and
    /// of what traffic moves up and down the least.
    fn window(&self, percent: std::ops::Range<u32>) -> Result<Sample, String> {
        let [from, to] = [percent.start, percent.end].map(|part| self.length * part / 100);
        let within = |(at, _): &&(Duration, Sample)| (from..to).contains(at);
        let samples = || self.samples.iter().filter(within).map(|(_, sample)| sample);
        let mut resident: Vec<u64> = samples().map(|sample| sample.resident).collect();
        resident.sort_unstable();
        let none = "too few samples";
        Ok(Sample {
            resident: *resident.get(resident.len() / 2).ok_or(none)?,
            heap: samples().map(|sample| sample.heap).min().ok_or(none)?,
            descriptors: samples().map(|s| s.descriptors).min().ok_or(none)?,
            threads: samples().map(|sample| sample.threads).min().ok_or(none)?,
        })
    }
}

/// How often to look.
pub(crate) const STEP: Duration = Duration::from_millis(200);

/// In less, all is warm-up: the pools of the allocator grow for a minute or two.
const LONG_ENOUGH: Duration = Duration::from_secs(300);

/// What an allocator of several threads may still take after the warm-up.
const MORE_RESIDENT: u64 = 8 << 20;

/// One large message that is on its way at every look of the last part.
const MORE_HEAP: i64 = 1 << 20;

const MORE_DESCRIPTORS: usize = 10;
