//! What this process holds, from `/proc/self`.

use std::fs;

/// Returns how many descriptors are open.
#[must_use]
pub fn descriptors() -> usize {
    // The directory being read is one of them.
    entries("/proc/self/fd").saturating_sub(1)
}

/// Returns how many threads run.
#[must_use]
pub fn threads() -> usize {
    entries("/proc/self/task")
}

fn entries(directory: &str) -> usize {
    fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("{directory}: {error}"))
        .count()
}
