//! The heap of a connection under test, held to its budget at each call.

use wspulse_core::{Connection, Instant};

use crate::alloc::{Budget, WRITE_BUFFERS};

/// Counts what the calls on one connection allocate, and checks after each of them that no more is
/// held than twice what arrived, the outgoing queue twice over, its buffers and the base.
///
/// For connections without compression, behind the opening handshake. Make messages inside
/// [`call`](Self::call), and drop events there.
#[derive(Debug, Default)]
pub struct Meter {
    budget: Budget,
    /// The most that the queue cost.
    queue_cost: u64,
    /// The longest message that was queued: its payload stays until its last byte is framed.
    longest: u64,
}

impl Meter {
    /// Starts with a connection that holds nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A message of this length, or a part of one, is about to be sent.
    pub fn expect(&mut self, length: usize) {
        self.longest = self.longest.max(length as u64);
    }

    /// Calls the connection.
    ///
    /// # Panics
    ///
    /// Where it holds more than it may.
    #[track_caller]
    pub fn call<T>(
        &mut self,
        connection: &mut Connection,
        call: impl FnOnce(&mut Connection) -> T,
    ) -> T {
        let result = self.budget.count(|| call(connection));
        self.check(connection);
        result
    }

    /// Hands over input; returns how much of it was taken.
    ///
    /// # Panics
    ///
    /// Where the connection holds more than it may, at any time.
    #[track_caller]
    pub fn input(&mut self, connection: &mut Connection, now: Instant, input: &[u8]) -> usize {
        let taken = self.budget.count(|| connection.handle_input(now, input));
        self.budget.arrived(taken);
        self.check(connection);
        self.budget.check_peak(0);
        taken
    }

    #[track_caller]
    fn check(&mut self, connection: &Connection) {
        self.queue_cost = self.queue_cost.max(connection.queue_cost() as u64);
        let buffers = if self.longest > 0 { WRITE_BUFFERS } else { 0 };
        self.budget
            .set_exceptions(2 * self.queue_cost + 2 * self.longest + buffers);
        self.budget.check();
    }
}
