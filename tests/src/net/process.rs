//! What this process holds and uses, from `/proc/self`.

use std::fs;
use std::time::Duration;

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

/// Returns how much processor time the process used, without this thread.
#[must_use]
pub fn others_time() -> Duration {
    time_of("/proc/self/stat").saturating_sub(time_of("/proc/thread-self/stat"))
}

/// User and system time, fields 14 and 15 of proc_pid_stat(5), in hundredths of a second.
fn time_of(stat: &str) -> Duration {
    let text = fs::read_to_string(stat).unwrap_or_else(|error| panic!("{stat}: {error}"));
    // The second field, a name in parentheses, may hold anything.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}

fn entries(directory: &str) -> usize {
    fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("{directory}: {error}"))
        .count()
}
