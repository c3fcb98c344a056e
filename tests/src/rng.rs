//! One `u64` decides everything random in a trace; and the runner that replays one.

use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// SplitMix64: small, fast, and the same on every machine.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Starts the stream of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// Returns a number below `n`, 0 if `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        let wide = u128::from(self.draw()) * u128::from(n);
        (wide >> 64) as u64
    }

    /// Returns a number of the range.
    pub fn range(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.below((range.end() - range.start()).saturating_add(1))
    }

    /// Returns a length of the range.
    pub fn len(&mut self, range: RangeInclusive<usize>) -> usize {
        self.range(*range.start() as u64..=*range.end() as u64) as usize
    }

    /// Is true `percent` times of a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Returns a span of the range, to the nanosecond.
    pub fn span(&mut self, range: RangeInclusive<Duration>) -> Duration {
        let (low, high) = (
            range.start().as_nanos() as u64,
            range.end().as_nanos() as u64,
        );
        Duration::from_nanos(self.range(low..=high.max(low)))
    }

    /// Returns one of `choices`.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// Starts a stream of its own, so that more draws here change nothing there.
    pub fn fork(&mut self) -> Self {
        Self(self.draw())
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let random = self.draw().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }
}

const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Runs `trace` with `count` seeds on all cores and returns what the traces returned.
///
/// A trace that panics has its seed printed. `SIM_SEED=n` runs that seed alone, `SIM_TRACES=n`
/// sets the count (of a test that has 100,000 in the ordinary run; others scale with it), and
/// `SIM_BASE=n` draws other seeds than those of the ordinary run.
pub fn traces<T: Send>(name: &str, count: u64, trace: impl Fn(u64) -> T + Sync) -> Vec<T> {
    if let Some(seed) = number("SIM_SEED") {
        println!("{name}: replaying seed {seed}");
        return vec![trace(seed)];
    }
    let count = number("SIM_TRACES").map_or(count, |all| (count * all).div_ceil(100_000));
    let base = name
        .bytes()
        .fold(number("SIM_BASE").unwrap_or(0), |hash, byte| {
            mix(hash ^ u64::from(byte)).wrapping_add(1)
        });
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let next = AtomicU64::new(0);
    let run = || {
        let mut results = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return results;
            }
            // 48 bits are enough, and a number that can be typed.
            let seed = mix(base.wrapping_add(index)) >> 16;
            match catch_unwind(AssertUnwindSafe(|| trace(seed))) {
                Ok(result) => results.push(result),
                Err(panic) => {
                    next.store(count, Ordering::Relaxed);
                    eprintln!("{name}: replay with SIM_SEED={seed}");
                    resume_unwind(panic);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let results: Vec<_> = handles.into_iter().map(|handle| handle.join()).collect();
        results
            .into_iter()
            .flat_map(|result| result.unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number")),
    )
}
