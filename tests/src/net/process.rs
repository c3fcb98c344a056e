//! What this process holds and uses, from `/proc/self`, and may hold.

use std::fs;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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

/// Lets this process have so many descriptors.
///
/// # Errors
///
/// If the limit is lower and cannot be raised.
pub fn raise_descriptor_limit(descriptors: usize) -> Result<(), String> {
    let wanted = descriptors as u64;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    // Only root may raise the limit of limits.
    let maximum = limit.maximum.map(|maximum| maximum.max(wanted));
    let raised = Rlimit {
        current: maximum.or(Some(wanted)),
        maximum,
    };
    setrlimit(Resource::Nofile, raised)
        .map_err(|error| format!("{wanted} descriptors are needed, {limit:?}: {error}"))
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
