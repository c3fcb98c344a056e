//! How late this machine is.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// A thread that sleeps again and again and notes when it was woken late: the processes beside it
/// are late in the same way.
#[derive(Debug, Default)]
pub(crate) struct Lateness {
    lapses: Mutex<Vec<(Instant, Duration)>>,
}

const STEP: Duration = Duration::from_millis(5);

impl Lateness {
    /// Starts the thread, which runs as long as the process.
    pub(crate) fn start() -> &'static Self {
        let lateness: &'static Self = Box::leak(Box::default());
        thread::spawn(move || {
            loop {
                let due = Instant::now() + STEP;
                thread::sleep(STEP);
                let late = due.elapsed();
                if late > STEP {
                    let mut lapses = lateness.lapses.lock().expect("no panic");
                    lapses.push((Instant::now(), late));
                }
            }
        });
        lateness
    }

    /// The sum and the worst of what it was late by between two moments.
    pub(crate) fn between(&self, from: Instant, to: Instant) -> (Duration, Duration) {
        // One that began before `to` may be noted a little after it.
        thread::sleep(2 * STEP);
        let lapses = self.lapses.lock().expect("no panic");
        let inside = lapses
            .iter()
            .filter(|(end, late)| *end >= from && *end - *late <= to)
            .map(|(_, late)| *late);
        (inside.clone().sum(), inside.max().unwrap_or_default())
    }
}
