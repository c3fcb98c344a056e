//! Turns of the in-memory work.

use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

use super::Server;
use super::case::Case;
use super::stream::{Counter, End, Replay};
use crate::stats::{Contestant, cpu_time};

/// About how long one turn takes.
const TURN: Duration = Duration::from_millis(4);

/// The C library maps and unmaps large blocks until one was freed once, and keeps those up to its
/// size from then on. Whoever came first would pay for all.
pub fn settle_allocator() {
    drop(black_box(vec![1_u8; 24 << 20]));
}

/// A server whose echoes were looked at before it is timed; its figure is nanoseconds a message.
pub fn server<'a, S: Server + 'a>(case: &Case) -> Contestant<'a> {
    work(S::NAME, case.messages, echoes::<S>(case))
}

/// Returns what makes a server echo all of the case's input once. It was made to do so already,
/// and what it sent was looked at.
pub fn echoes<'a, S: Server + 'a>(case: &Case) -> impl FnMut() + 'a + use<'a, S> {
    let input = Rc::new(Replay::new(Rc::clone(&case.input)));
    let output = Rc::new(Counter::default());
    let mut server = S::new(End::new(&input, &output), case);
    let mut pass = move || {
        loop {
            let is_last = input.arrive();
            server.turn();
            if is_last {
                break;
            }
        }
    };
    output.keep();
    pass();
    if let Err(fault) = case.check(&output.kept()) {
        panic!("{} at {case}: {fault}", S::NAME);
    }
    pass
}

/// Does the work again and again for about a turn, always as often as at the first time; the
/// figure is nanoseconds of this thread for each of the `units` that are done at once.
pub fn work<'a>(
    name: impl Into<String>,
    units: usize,
    mut once: impl FnMut() + 'a,
) -> Contestant<'a> {
    let mut times = None;
    Contestant::new(name, move || {
        let times = *times.get_or_insert_with(|| {
            let start = cpu_time();
            let mut times = 0;
            while cpu_time() - start < TURN {
                once();
                times += 1;
            }
            times
        });
        let start = cpu_time();
        for _ in 0..times {
            once();
        }
        (cpu_time() - start).as_nanos() as f64 / (times * units) as f64
    })
}
