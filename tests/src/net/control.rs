//! How late this machine is.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// A thread that sleeps for [`Control::STEP`] again and again, and notes when it was woken late.
///
/// A thread under test that shares the machine is late in the same way. A bound that was missed
/// while the control was on time was missed by the thread under test; one that was missed while
/// the control was late proves nothing, and the run has to be repeated.
#[derive(Debug)]
pub struct Control {
    lapses: Mutex<Vec<(Instant, Duration)>>,
}

impl Control {
    /// How long it sleeps.
    pub const STEP: Duration = Duration::from_millis(5);

    /// Starts the thread, which runs as long as the process.
    #[must_use]
    pub fn start() -> &'static Self {
        let control: &'static Self = Box::leak(Box::new(Self {
            lapses: Mutex::default(),
        }));
        thread::spawn(move || {
            super::exempt_this_thread();
            loop {
                let due = Instant::now() + Self::STEP;
                thread::sleep(Self::STEP);
                let late = due.elapsed();
                if late > 2 * Self::STEP {
                    let mut lapses = control.lapses.lock().expect("no panic");
                    lapses.push((Instant::now(), late));
                }
            }
        });
        control
    }

    /// Returns by how much the control was late at the worst between `from` and `to`; under
    /// 10 ms counts as nothing.
    ///
    /// # Panics
    ///
    /// If the control's thread panicked.
    #[must_use]
    pub fn worst_lateness(&self, from: Instant, to: Instant) -> Duration {
        // One that began before `to` may be noted a little after it.
        thread::sleep(2 * Self::STEP);
        let lapses = self.lapses.lock().expect("no panic");
        lapses
            .iter()
            .filter(|(end, late)| *end >= from && *end - *late <= to)
            .map(|(_, late)| *late)
            .max()
            .unwrap_or_default()
    }
}
