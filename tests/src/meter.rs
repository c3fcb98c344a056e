//! The heap of a connection or a heartbeat under test, held to its budget at each call.

use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Connection, Event, Instant};

use crate::alloc::{Budget, DEFLATE_STATE, INFLATE_STATE, WRITE_BUFFERS, measure};

/// Counts what the calls on one connection allocate, and checks after each of them that no more is
/// held than twice what arrived, the base, and the exceptions.
///
/// The exceptions are the state of agreed compression with the longest message twice over and, while
/// output waits, the outgoing queue twice over, the longest message twice over and the write
/// buffers. Make messages inside [`call`](Self::call), and drop events there.
#[derive(Debug, Default)]
pub struct Meter {
    budget: Budget,
    /// The most that the queue cost.
    queue_cost: u64,
    /// The longest message that was announced: its payload stays until its last byte is framed.
    longest: u64,
    /// Whether compression was agreed on.
    is_compressed: bool,
    /// What the connection's surroundings may hold beside it.
    around: u64,
}

impl Meter {
    /// Starts with a connection that holds nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a connection and starts with what that allocated.
    pub fn making<T>(make: impl FnOnce() -> T) -> (T, Self) {
        let mut meter = Self::new();
        let made = meter.count(make);
        (made, meter)
    }

    /// A message of this length, or a part of one, is about to be sent; or a compressed one that
    /// inflates to it is about to arrive.
    pub fn expect(&mut self, length: usize) {
        self.longest = self.longest.max(length as u64);
    }

    /// Returns the longest message that was announced.
    #[must_use]
    pub const fn longest(&self) -> u64 {
        self.longest
    }

    /// Sets what may be held beside all else, by what is around the connection.
    pub const fn allow(&mut self, bytes: u64) {
        self.around = bytes;
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

    /// Takes all that is lent, at `now`.
    ///
    /// # Panics
    ///
    /// Where the connection holds more than it may.
    #[track_caller]
    pub fn drain(&mut self, connection: &mut Connection, now: Instant) -> Vec<u8> {
        let mut out = Vec::new();
        while self.call(connection, |it| it.poll_transmit().is_some()) {
            let transmit = connection.poll_transmit().expect("as before");
            let length = transmit.len();
            transmit.chunks().for_each(|chunk| out.extend(chunk));
            self.call(connection, |it| it.handle_transmitted(now, length));
        }
        out
    }

    /// Takes an event and drops it after `look`; tells whether there was one.
    ///
    /// # Panics
    ///
    /// Where the connection holds more than it may, the event counted.
    #[track_caller]
    pub fn event(&mut self, connection: &mut Connection, look: impl FnOnce(&Event)) -> bool {
        let Some(event) = self.call(connection, Connection::poll_event) else {
            return false;
        };
        look(&event);
        self.call(connection, |_| drop(event));
        true
    }

    /// Hands over all of `input` and takes the events in between.
    ///
    /// # Panics
    ///
    /// Where the connection holds more than it may, or takes no input and has no event.
    #[track_caller]
    pub fn feed(
        &mut self,
        connection: &mut Connection,
        now: Instant,
        mut input: &[u8],
        mut look: impl FnMut(&Event),
    ) {
        while !input.is_empty() {
            let taken = self.input(connection, now, input);
            input = &input[taken..];
            let mut had_event = false;
            while self.event(connection, &mut look) {
                had_event = true;
            }
            assert!(
                taken > 0 || had_event,
                "neither took input nor had an event"
            );
        }
    }

    /// Takes an event by `next_event`; `input` begins behind what was taken. Drop the event in
    /// [`call`](Self::call).
    ///
    /// # Panics
    ///
    /// Where the connection holds more than it may.
    #[track_caller]
    pub fn next_event(
        &mut self,
        connection: &mut Connection,
        now: Instant,
        input: &mut &[u8],
    ) -> Option<Event> {
        let before = input.len();
        let event = self.budget.count(|| connection.next_event(now, input));
        self.budget.arrived(before - input.len());
        self.check(connection);
        event
    }

    // ---- the same in steps

    /// Counts what a call allocates that is checked later, or was not made on the connection alone.
    pub fn count<T>(&mut self, call: impl FnOnce() -> T) -> T {
        self.budget.count(call)
    }

    /// Counts `bytes` that were handed over.
    pub const fn arrived(&mut self, bytes: usize) {
        self.budget.arrived(bytes);
    }

    /// Returns how many bytes arrived.
    #[must_use]
    pub const fn bytes_arrived(&self) -> u64 {
        self.budget.bytes_arrived()
    }

    /// Returns how often blocks grew.
    #[must_use]
    pub const fn growths(&self) -> u64 {
        self.budget.usage().growths
    }

    /// Looks at the connection and sets what it may hold beside the bound.
    pub fn look(&mut self, connection: &Connection) {
        let queue_cost = connection.queue_cost() as u64;
        self.queue_cost = self.queue_cost.max(queue_cost);
        let mut exceptions = self.around;
        if connection.deflate().is_some() {
            self.is_compressed = true;
            exceptions += INFLATE_STATE + DEFLATE_STATE;
        }
        if self.is_compressed {
            // An inflated message may wait to be taken when the connection is over.
            exceptions += 2 * self.longest;
        }
        // What was taken is freed, in every state.
        if queue_cost > 0 || connection.wants_write() {
            // Two buffers that grew by doubling hold no more than was queued at once.
            let buffers = WRITE_BUFFERS.min(4 * self.queue_cost);
            exceptions += 2 * self.queue_cost + 2 * self.longest + buffers;
        }
        self.budget.set_exceptions(exceptions);
    }

    /// Checks the bound after a [`look`](Self::look).
    ///
    /// # Panics
    ///
    /// Where the connection holds more than it may.
    #[track_caller]
    pub fn check(&mut self, connection: &Connection) {
        self.look(connection);
        self.budget.check();
    }

    /// Checks that the last call held no more than that at any time.
    ///
    /// # Panics
    ///
    /// Where it held more.
    #[track_caller]
    pub fn check_peak(&self) {
        self.budget.check_peak(0);
    }
}

/// Counts what the calls on one heartbeat allocate: its configuration, which it shares with those that
/// have the same, and its one boxed part, which exists while it has to know how fast a blocked
/// transport drains.
#[derive(Debug, Default)]
pub struct HeartbeatMeter {
    held: i64,
}

impl HeartbeatMeter {
    /// Starts with a heartbeat that holds nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls the heartbeat.
    ///
    /// # Panics
    ///
    /// Where it holds more than the two afterwards, or held more than them and a new configuration.
    #[track_caller]
    pub fn call<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let (result, usage) = measure(call);
        let peak = self.held + usage.peak;
        self.held += usage.held;
        let most = CONFIGURATION + BOXED_PART;
        assert!(
            self.held <= most && peak <= most + CONFIGURATION,
            "a heartbeat holds {} bytes, {peak} at once",
            self.held
        );
        result
    }

    /// Tells whether the boxed part exists.
    #[must_use]
    pub const fn has_part(&self) -> bool {
        self.held > CONFIGURATION
    }
}

/// A configuration behind its two counts.
const CONFIGURATION: i64 = (size_of::<HeartbeatConfig>() + 2 * size_of::<usize>()) as i64;

/// The boxed part of a heartbeat: some times, counts and rates.
const BOXED_PART: i64 = 144;
