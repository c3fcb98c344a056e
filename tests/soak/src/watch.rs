//! What the process holds, each second, and whether that grows.

use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use wspulse_tests::net::process::{descriptors, threads};
use wspulse_tests::net::{held, held_in_large_blocks};

/// What the process holds at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Resident memory in bytes.
    pub(crate) resident: u64,
    /// The heap in bytes, as the allocator counts it, without its large blocks.
    pub(crate) heap: i64,
    /// What its large blocks hold: long messages, and what the pools of their buffers keep.
    pub(crate) large: i64,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
}

impl Sample {
    pub(crate) fn take() -> Self {
        Self {
            resident: resident(),
            heap: held() - held_in_large_blocks(),
            large: held_in_large_blocks(),
            descriptors: descriptors(),
            threads: threads(),
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} KiB resident, {} KiB heap and {} KiB in large blocks, {} descriptors, {} threads",
            self.resident >> 10,
            self.heap >> 10,
            self.large >> 10,
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
             heap, {MORE_DESCRIPTORS} descriptors; for large blocks: {} KiB",
            MORE_RESIDENT >> 10,
            MORE_HEAP >> 10,
            MOST_LARGE >> 10
        );
        // What the pools took since is resident, and bounded on its own.
        let pooled = last.large.saturating_sub(warm.large).max(0) as u64;
        let is_flat = last.resident <= warm.resident + pooled + MORE_RESIDENT
            && last.heap <= warm.heap + MORE_HEAP
            && last.large <= MOST_LARGE
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
            large: samples().map(|sample| sample.large).min().ok_or(none)?,
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

/// What connections of more or less traffic may make of it.
const MORE_HEAP: i64 = 256 << 10;

/// What the pools of two threads on tokio and of two on mio keep at most, which they come to by and
/// by: four messages each, in buffers of up to twice the length. And one that is always on its way.
const MOST_LARGE: i64 = (4 * 4 * 2 + 1) << 20;

const MORE_DESCRIPTORS: usize = 10;
