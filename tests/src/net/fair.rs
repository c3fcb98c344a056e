//! Which runs count.

use std::time::{Duration, Instant};

use super::Control;

/// Runs of one test before a machine is given up that is late each time.
const ATTEMPTS: u32 = 3;

/// A machine that wakes a sleeping thread this late cannot tell whether bounds of 250 ms are kept.
const TOO_LATE: Duration = Duration::from_millis(150);

/// Runs a test, and adds to what it says how late the machine was.
///
/// A run that fails counts, unless the control was woken too late in the same time: then it is
/// void and repeated. If that goes on, the test fails.
///
/// # Errors
///
/// What the run that counts says.
pub fn fairly(
    control: &Control,
    mut run: impl FnMut() -> Result<String, String>,
) -> Result<String, String> {
    let mut attempt = 1;
    loop {
        let began = Instant::now();
        let outcome = run();
        let late = control.worst_lateness(began, Instant::now());
        let of_the_control = format!("control at most {} ms late", late.as_millis());
        match outcome {
            Ok(figure) => return Ok(format!("{figure}; {of_the_control}")),
            Err(error) if late > TOO_LATE && attempt < ATTEMPTS => {
                println!("void: {error}; {of_the_control}");
                attempt += 1;
            }
            Err(error) => return Err(format!("{error}; {of_the_control}, attempt {attempt}")),
        }
    }
}
