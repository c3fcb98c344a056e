//! The fuzz targets without a fuzzer: every file of the kept corpora, and inputs made from them.
//!
//! A crash that the fuzzer found is replayed by copying its file into `fuzz/corpus/TARGET`.

use std::any::Any;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;

use wspulse_tests::alloc::Counting;
use wspulse_tests::fuzzing;

// The budgets of the targets are counted by it.
#[global_allocator]
static ALLOCATOR: Counting = Counting;

type Target = fn(&[u8]);

#[test]
fn backoff_corpus() {
    replay("backoff", fuzzing::backoff);
}

#[test]
fn client_corpus() {
    replay("client", fuzzing::client);
}

#[test]
fn deflate_corpus() {
    replay("deflate", fuzzing::deflate);
}

#[cfg(feature = "drive")]
#[test]
fn drive_corpus() {
    replay("drive", fuzzing::drive);
}

#[test]
fn frame_decoder_corpus() {
    replay("frame_decoder", fuzzing::frame_decoder);
}

#[test]
fn head_corpus() {
    replay("head", fuzzing::head);
}

#[test]
fn inflate_corpus() {
    replay("inflate", fuzzing::inflate);
}

#[test]
fn negotiate_corpus() {
    replay("negotiate", fuzzing::negotiate);
}

#[test]
fn pair_corpus() {
    replay("pair", fuzzing::pair);
}

#[test]
fn refusal_corpus() {
    replay("refusal", fuzzing::refusal);
}

#[test]
fn server_corpus() {
    replay("server", fuzzing::server);
}

#[test]
fn world_corpus() {
    replay("world", fuzzing::world);
}

#[test]
fn backoff_random() {
    mutate("backoff", fuzzing::backoff, 20_000);
}

#[test]
fn client_random() {
    mutate("client", fuzzing::client, 10_000);
}

#[test]
fn deflate_random() {
    mutate("deflate", fuzzing::deflate, 10_000);
}

#[cfg(feature = "drive")]
#[test]
fn drive_random() {
    mutate("drive", fuzzing::drive, 5_000);
}

#[test]
fn frame_decoder_random() {
    mutate("frame_decoder", fuzzing::frame_decoder, 20_000);
}

#[test]
fn head_random() {
    mutate("head", fuzzing::head, 10_000);
}

#[test]
fn inflate_random() {
    mutate("inflate", fuzzing::inflate, 10_000);
}

#[test]
fn negotiate_random() {
    mutate("negotiate", fuzzing::negotiate, 20_000);
}

#[test]
fn pair_random() {
    mutate("pair", fuzzing::pair, 3_000);
}

#[test]
fn refusal_random() {
    mutate("refusal", fuzzing::refusal, 20_000);
}

#[test]
fn server_random() {
    mutate("server", fuzzing::server, 10_000);
}

#[test]
fn world_random() {
    mutate("world", fuzzing::world, 10_000);
}

fn replay(name: &str, target: Target) {
    for (file, data) in corpus(name) {
        try_input(target, &data).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

/// Runs `target` on inputs that differ from kept ones in a few places.
fn mutate(name: &str, target: Target, count: u64) {
    let corpus = corpus(name);
    let seed = std::env::var("WSPULSE_SEED").map(|seed| seed.parse().expect("a number"));
    let seeds = match seed {
        Ok(seed) => seed..seed + 1,
        Err(_) => 0..count,
    };
    for seed in seeds {
        let mut random = Random(seed);
        let mut data = pick(&corpus, &mut random).to_vec();
        for _ in 0..=random.below(4) {
            alter(&mut data, &corpus, &mut random);
        }
        try_input(target, &data).unwrap_or_else(|error| {
            panic!(
                "replay with WSPULSE_SEED={seed}: {error}\n{}",
                data.escape_ascii()
            )
        });
    }
}

fn alter(data: &mut Vec<u8>, corpus: &[(String, Vec<u8>)], random: &mut Random) {
    let at = random.below(data.len() + 1);
    match random.below(6) {
        0 => data.truncate(at),
        1 => data.insert(at, random.byte()),
        2 if at < data.len() => data[at] ^= 1 << random.below(8),
        3 if at < data.len() => data[at] = random.byte(),
        4 if at < data.len() => {
            let end = data.len().min(at + 1 + random.below(8));
            let part = data[at..end].to_vec();
            let to = random.below(data.len());
            data.splice(to..to, part);
        }
        _ => {
            let other = pick(corpus, random);
            let from = random.below(other.len() + 1);
            data.truncate(at);
            data.extend_from_slice(&other[from..]);
        }
    }
}

fn pick<'a>(corpus: &'a [(String, Vec<u8>)], random: &mut Random) -> &'a [u8] {
    &corpus[random.below(corpus.len())].1
}

fn try_input(target: Target, data: &[u8]) -> Result<(), String> {
    panic::catch_unwind(AssertUnwindSafe(|| target(data))).map_err(|error| message(&*error))
}

fn message(error: &(dyn Any + Send)) -> String {
    let text = error.downcast_ref::<String>().map(String::as_str);
    text.or(error.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message")
        .to_owned()
}

fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = [env!("CARGO_MANIFEST_DIR"), "..", "fuzz", "corpus", name];
    let folder: PathBuf = folder.iter().collect();
    let entries = fs::read_dir(&folder).expect("the corpus is kept");
    let mut files: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("readable").path();
            let data = fs::read(&path).expect("readable");
            (path.display().to_string(), data)
        })
        .collect();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.sort();
    files
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}
