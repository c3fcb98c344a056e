//! Two ends, two pipes, one clock.

use wspulse_core::Instant;

use crate::pipe::{Pipe, PipeConfig};

/// Something at one end of a connection.
pub trait End: std::fmt::Debug {
    /// When it runs next.
    fn wake(&self) -> Option<Instant>;
    /// Something may have become readable or writable.
    fn notice(&mut self, now: Instant, inbound: &Pipe, outbound: &Pipe);
    /// Runs.
    fn turn(&mut self, now: Instant, inbound: &mut Pipe, outbound: &mut Pipe);
}

/// Two ends and what is between them.
#[derive(Debug)]
pub struct World<A, B> {
    /// One end.
    pub a: A,
    /// The other.
    pub b: B,
    /// From `a` to `b`.
    pub there: Pipe,
    /// From `b` to `a`.
    pub back: Pipe,
    now: Instant,
    steps: u64,
}

/// More steps in one drive are a busy loop.
const MOST_STEPS: u64 = 2_000_000;

impl<A: End, B: End> World<A, B> {
    /// Connects two ends.
    #[must_use]
    pub fn new(a: A, b: B, there: PipeConfig, back: PipeConfig) -> Self {
        let (there, back) = (Pipe::new(there), Pipe::new(back));
        Self {
            a,
            b,
            there,
            back,
            now: Instant::ZERO,
            steps: 0,
        }
    }

    /// Returns the time.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Returns how many steps it took so far.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// Runs up to `until`. A world that does not get there in a bounded number of steps panics.
    pub fn run_until(&mut self, until: Instant) {
        self.run_while(until, |_| true);
    }

    /// Runs up to `until`, or as long as `go` says so.
    pub fn run_while(&mut self, until: Instant, mut go: impl FnMut(&Self) -> bool) {
        let limit = self.steps + MOST_STEPS;
        let mut here = 0;
        while go(self) {
            let pipes = [
                self.there.next_change(self.now),
                self.back.next_change(self.now),
            ];
            let ends = [self.a.wake(), self.b.wake()];
            let next = pipes.into_iter().chain(ends).flatten().min();
            let Some(next) = next.filter(|&next| next <= until) else {
                self.now = until;
                return;
            };
            here = if next > self.now { 0 } else { here + 1 };
            self.now = self.now.max(next);
            self.steps += 1;
            assert!(
                self.steps < limit && here < 10_000,
                "a busy loop at {:?}: {:?}",
                self.now,
                (&self.a, &self.b),
            );
            self.step();
        }
    }

    fn step(&mut self) {
        let now = self.now;
        self.there.advance(now);
        self.back.advance(now);
        if self.a.wake().is_some_and(|wake| wake <= now) {
            self.a.turn(now, &mut self.back, &mut self.there);
            self.there.advance(now);
            self.back.advance(now);
        }
        if self.b.wake().is_some_and(|wake| wake <= now) {
            self.b.turn(now, &mut self.there, &mut self.back);
            self.there.advance(now);
            self.back.advance(now);
        }
        self.a.notice(now, &self.back, &self.there);
        self.b.notice(now, &self.there, &self.back);
    }
}
