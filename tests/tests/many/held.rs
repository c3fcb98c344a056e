//! How long the threads of this process were held up by the machine.

use std::collections::HashMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A thread that looks every [`Held::STEP`] how long each thread of this process was ready to run
/// and did not, by the kernel's own account; and how late it is itself.
///
/// A thread that is slow by its own doing was not held up, so this excuses nothing else.
#[derive(Debug, Default)]
pub(crate) struct Held {
    lapses: Mutex<Vec<(Instant, Duration)>>,
    cost: AtomicU64,
}

impl Held {
    /// How often it looks.
    const STEP: Duration = Duration::from_millis(10);

    /// What is shorter says nothing.
    const LEAST: Duration = Duration::from_millis(5);

    /// Starts the thread, which runs as long as the process.
    pub(crate) fn start() -> &'static Self {
        let held: &'static Self = Box::leak(Box::default());
        thread::spawn(move || held.watch());
        held
    }

    fn watch(&self) {
        let mut delays = HashMap::new();
        loop {
            let due = Instant::now() + Self::STEP;
            thread::sleep(Self::STEP);
            let mut worst = due.elapsed();
            for (name, delay) in run_delays() {
                let before = delays.insert(name, delay).unwrap_or(delay);
                worst = worst.max(delay.saturating_sub(before));
            }
            if worst >= Self::LEAST {
                let mut lapses = self.lapses.lock().expect("no panic");
                lapses.push((Instant::now(), worst));
            }
            let cost = cpu_time(ClockId::ThreadCPUTime).as_nanos();
            self.cost
                .store(u64::try_from(cost).unwrap_or(0), Ordering::Relaxed);
        }
    }

    /// Returns for how long the process was held up between `from` and `to`, in lapses that ended
    /// then.
    pub(crate) fn within(&self, from: Instant, to: Instant) -> Duration {
        let lapses = self.lapses.lock().expect("no panic");
        let ended = lapses.iter().filter(|(end, _)| (from..=to).contains(end));
        ended.map(|(_, late)| *late).sum()
    }

    /// Returns the longest lapse between `from` and `to`.
    pub(crate) fn longest(&self, from: Instant, to: Instant) -> Duration {
        let lapses = self.lapses.lock().expect("no panic");
        let ended = lapses.iter().filter(|(end, _)| (from..=to).contains(end));
        ended.map(|(_, late)| *late).max().unwrap_or_default()
    }

    /// Returns the CPU time of this process so far, without what the looking cost.
    pub(crate) fn cpu_time(&self) -> Duration {
        let cost = Duration::from_nanos(self.cost.load(Ordering::Relaxed));
        cpu_time(ClockId::ProcessCPUTime).saturating_sub(cost)
    }
}

fn cpu_time(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanos)
}

/// How long each thread waited for a processor so far (proc(5), `schedstat`, the second field).
/// Without that file in the kernel, nothing is excused but what the watching thread sees itself.
fn run_delays() -> Vec<(std::ffi::OsString, Duration)> {
    let Ok(threads) = fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let delay = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path().join("schedstat")).ok()?;
        let nanos = text.split(' ').nth(1)?.parse().ok()?;
        Some((entry.file_name(), Duration::from_nanos(nanos)))
    };
    threads.filter_map(|entry| delay(entry.ok()?)).collect()
}
