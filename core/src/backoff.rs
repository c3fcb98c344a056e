//! When to connect again.
//!
//! A [`Backoff`] is told how each connection ended and answers when to begin the next, or that there
//! is no point. It knows the time only from its caller and opens no sockets, so it serves any client.
//!
//! 1. [`begin`](Backoff::begin) an attempt, and keep its [`Generation`] with the connection.
//! 2. When the connection opens, say [`handle_open`](Backoff::handle_open).
//! 3. When it ends, or never came to be, say [`handle_closed`](Backoff::handle_closed).
//! 4. Sleep until [`poll_timeout`](Backoff::poll_timeout), and begin again.
//!
//! ```
//! use core::time::Duration;
//! use wspulse_core::Instant;
//! use wspulse_core::backoff::{Backoff, BackoffConfig, Decision, GiveUp, Outcome};
//!
//! // What a client meets: no route, a server that is starting, an hour online, a wrong password.
//! let mut world = [
//!     (None, Outcome::ConnectFailed),
//!     (None, Outcome::Refused { status: 503, retry_after: Some(Duration::from_secs(30)) }),
//!     (Some(Duration::from_secs(3_600)), Outcome::Closed { code: 1001 }),
//!     (None, Outcome::Refused { status: 401, retry_after: None }),
//! ]
//! .into_iter();
//!
//! let mut now = Instant::ZERO; // your monotonic clock
//! let mut backoff = Backoff::new(BackoffConfig::default(), 0x5eed)?; // a seed of its own for each client
//! let why = loop {
//!     let generation = backoff.begin(now);
//!     let (uptime, outcome) = world.next().expect("the last outcome is fatal");
//!     if let Some(uptime) = uptime {
//!         backoff.handle_open(now, generation)?;
//!         now = now.saturating_add(uptime);
//!     }
//!     match backoff.handle_closed(now, generation, outcome)? {
//!         Decision::Retry { at } => now = at, // sleep until then
//!         Decision::GiveUp(why) => break why,
//!     }
//! };
//! assert_eq!(why, GiveUp::Fatal);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

use core::fmt;
use core::time::Duration;

use crate::Instant;

/// Decides when a client connects again.
///
/// The first delay after a good connection is uniform in `[0, first]`; further ones are uniform in
/// `[0, base]`, `[0, 2 base]`, `[0, 4 base]` and so on up to `[0, cap]`. A connection that stayed open
/// for `min_uptime` starts the sequence over.
///
/// Delays depend on the seed and on what happened, on nothing else: the same calls give the same
/// answers. Any order of calls is legal. A `now` below the largest seen counts as the largest seen.
#[derive(Clone, Debug)]
pub struct Backoff {
    config: BackoffConfig,
    seed: u64,
    now: Instant,
    generation: Generation,
    /// Connections that ended since the last one that was good.
    failures: u32,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nothing is under way: before the first attempt, or given up.
    Idle,
    Connecting,
    Open {
        since: Instant,
    },
    Waiting {
        until: Instant,
        /// What no hint may undercut.
        floor: Instant,
    },
}

impl Backoff {
    /// Creates a policy that waits for the first [`begin`](Self::begin).
    ///
    /// The seed spreads clients apart, so each wants its own, from the operating system.
    ///
    /// # Errors
    ///
    /// Refuses a configuration that cannot work.
    pub fn new(config: BackoffConfig, seed: u64) -> Result<Self, BackoffConfigError> {
        config.validate()?;
        Ok(Self {
            config,
            seed,
            now: Instant::ZERO,
            generation: Generation(0),
            failures: 0,
            phase: Phase::Idle,
        })
    }

    /// Says that an attempt to connect begins now, and names it.
    ///
    /// Whatever is said later about an earlier generation is [`Stale`]. Beginning before the deadline,
    /// or after giving up, is the caller's right: think of a button that says "try now".
    pub fn begin(&mut self, now: Instant) -> Generation {
        self.advance(now);
        self.credit_uptime();
        self.generation = Generation(self.generation.0.saturating_add(1));
        self.phase = Phase::Connecting;
        self.generation
    }

    /// Says that the connection is open: the opening handshake is done.
    ///
    /// # Errors
    ///
    /// Changes nothing if `generation` is over.
    pub fn handle_open(&mut self, now: Instant, generation: Generation) -> Result<(), Stale> {
        self.advance(now);
        self.check(generation)?;
        if let Phase::Connecting = self.phase {
            self.phase = Phase::Open { since: self.now };
        }
        Ok(())
    }

    /// Says that the connection is over, or that the attempt failed, and decides what to do.
    ///
    /// # Errors
    ///
    /// Changes nothing if `generation` is over, as it is after the first call.
    pub fn handle_closed(
        &mut self,
        now: Instant,
        generation: Generation,
        outcome: Outcome,
    ) -> Result<Decision, Stale> {
        self.advance(now);
        self.check(generation)?;
        self.credit_uptime();

        if (self.config.classify)(outcome) == RetryClass::Fatal {
            return Ok(self.give_up(GiveUp::Fatal));
        }
        if self
            .config
            .max_retries
            .is_some_and(|max| self.failures >= max)
        {
            return Ok(self.give_up(GiveUp::Exhausted));
        }
        self.failures = self.failures.saturating_add(1);

        // The delay comes on top of the floor: clients that were told the same time to come
        // back must not come back at the same time.
        let floor = self
            .now
            .saturating_add(outcome.retry_after().unwrap_or_default());
        let until = floor.saturating_add(self.uniform(self.ceiling(), Draw::Delay));
        self.phase = Phase::Waiting { until, floor };
        Ok(Decision::Retry { at: until })
    }

    /// Says that the network came back, or that the machine woke up: waiting longer is pointless.
    ///
    /// Shortens the wait to a random part of `base`, never below a Retry-After, once between two attempts;
    /// at any other time it does nothing. Read [`poll_timeout`](Self::poll_timeout) again.
    pub fn handle_network_up(&mut self, now: Instant) {
        self.advance(now);
        if let Phase::Waiting { until, floor } = self.phase {
            // A second hint draws the same delay from a later time: it shortens nothing.
            let delay = self.uniform(self.config.base, Draw::Hint);
            let soon = self.now.max(floor).saturating_add(delay);
            self.phase = Phase::Waiting {
                until: until.min(soon),
                floor,
            };
        }
    }

    /// Returns when to [`begin`](Self::begin) the next attempt; `None` unless one is waited for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { until, .. } if until < Instant::MAX => Some(until),
            _ => None,
        }
    }

    /// Returns how many connections ended, one after the other, since the last good one.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    fn check(&self, generation: Generation) -> Result<(), Stale> {
        match self.phase {
            Phase::Connecting | Phase::Open { .. } if generation == self.generation => Ok(()),
            _ => Err(Stale),
        }
    }

    /// Starts the sequence over if the connection was up for long enough. That it opened is not
    /// enough: a server that accepts and closes would be asked again at full speed for ever.
    fn credit_uptime(&mut self) {
        if let Phase::Open { since } = self.phase
            && self.now.saturating_duration_since(since) >= self.config.min_uptime
        {
            self.failures = 0;
        }
    }

    fn give_up(&mut self, why: GiveUp) -> Decision {
        self.failures = 0;
        self.phase = Phase::Idle;
        Decision::GiveUp(why)
    }

    /// The longest delay after this many failures.
    fn ceiling(&self) -> Duration {
        // RFC 6455 §7.2.3: "The first reconnect attempt SHOULD be delayed by a random amount
        // of time. [...] a value chosen randomly between 0 and 5 seconds is a reasonable
        // initial delay". Then: "subsequent reconnect attempts SHOULD be delayed by
        // increasingly longer amounts of time, using a method such as truncated binary
        // exponential backoff".
        match self.failures.checked_sub(2) {
            None => self.config.first,
            Some(doublings) => {
                let ceiling =
                    nanos(self.config.base).saturating_mul(2u64.saturating_pow(doublings));
                Duration::from_nanos(ceiling).min(self.config.cap)
            }
        }
    }

    /// A duration below `ceiling`, the same one each time it is asked for in this generation.
    fn uniform(&self, ceiling: Duration, draw: Draw) -> Duration {
        let index = self.generation.0.wrapping_mul(2).wrapping_add(draw.index());
        let product =
            u128::from(nanos(ceiling)).saturating_mul(splitmix64(self.seed, index).into());
        Duration::from_nanos(u64::try_from(product >> 64).unwrap_or(u64::MAX))
    }
}

/// Names one attempt to connect and the connection it leads to.
///
/// Carry it with everything that belongs to that connection, timers above all: what comes
/// in under an old name is about something that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(u64);

/// How a [`Backoff`] waits.
///
/// ```
/// use core::time::Duration;
/// use wspulse_core::backoff::{Backoff, BackoffConfig, Outcome, RetryClass};
///
/// let config = BackoffConfig::default()
///     .cap(Duration::from_secs(300))
///     .max_retries(Some(20))
///     .classify(|outcome| match outcome {
///         Outcome::Closed { code: 4401 } => RetryClass::Fatal, // this server's "log in again"
///         other => other.class(),
///     });
/// assert!(Backoff::new(config, 1).is_ok());
/// assert!(Backoff::new(config.base(Duration::ZERO), 1).is_err());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BackoffConfig {
    first: Duration,
    base: Duration,
    cap: Duration,
    min_uptime: Duration,
    max_retries: Option<u32>,
    classify: fn(Outcome) -> RetryClass,
}

impl BackoffConfig {
    /// Sets the longest delay after a good connection, or after the first attempt of all.
    ///
    /// 5 s by default, the value of RFC 6455 §7.2.3. It is over this time that the clients of
    /// a server that went down spread out; zero spreads nobody.
    #[must_use]
    pub const fn first(mut self, first: Duration) -> Self {
        self.first = first;
        self
    }

    /// Sets the longest second delay, from which the later ones double; 1 s by default.
    #[must_use]
    pub const fn base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// Sets the longest delay of all, Retry-After apart.
    ///
    /// 60 s by default: on average a client is back half a minute after its server, and no
    /// server minds one attempt in half a minute.
    #[must_use]
    pub const fn cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// Sets how long a connection has to stay open to count as good.
    ///
    /// 10 s by default: enough for a login to be refused or an overloaded server to give way.
    #[must_use]
    pub const fn min_uptime(mut self, min_uptime: Duration) -> Self {
        self.min_uptime = min_uptime;
        self
    }

    /// Sets after how many retries in a row to give up; `None`, the default, never does.
    #[must_use]
    pub const fn max_retries(mut self, max_retries: Option<u32>) -> Self {
        self.max_retries = max_retries;
        self
    }

    /// Replaces [`Outcome::class`], to which the replacement may leave what it has no opinion on.
    #[must_use]
    pub const fn classify(mut self, classify: fn(Outcome) -> RetryClass) -> Self {
        self.classify = classify;
        self
    }

    fn validate(&self) -> Result<(), BackoffConfigError> {
        if self.base.is_zero() {
            return Err(BackoffConfigError::ZeroBase);
        }
        if self.base > self.cap {
            return Err(BackoffConfigError::BaseAboveCap);
        }
        Ok(())
    }
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(5),
            base: Duration::from_secs(1),
            cap: Duration::from_secs(60),
            min_uptime: Duration::from_secs(10),
            max_retries: None,
            classify: Outcome::class,
        }
    }
}

/// How a connection ended, or failed to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It was open and ended with this close code, as browsers report it: 1005 if the Close
    /// frame had none, 1006 if there was no Close frame, as after a death by silence.
    Closed {
        /// The close code (RFC 6455 §7.4).
        code: u16,
    },
    /// No answer to the opening handshake came: name lookup, TCP, TLS or a timeout.
    ConnectFailed,
    /// The server answered the opening handshake with something else than 101.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The Retry-After header (RFC 9110 §10.2.3) as a time from now, if there was one.
        retry_after: Option<Duration>,
    },
}

impl Outcome {
    /// Tells whether trying again can help.
    ///
    /// | | retry | fatal |
    /// | --- | --- | --- |
    /// | close code | 1001, 1005, 1006, 1011 to 1015, all others | 1000, 1002, 1003, 1007 to 1010, 3000, 3003 |
    /// | HTTP status | 408, 425, 429, 5xx | all others |
    ///
    /// Fatal is what this same client would meet again: a protocol or data the peer does not
    /// take, a policy it breaks, credentials that are refused. So is 1000: nothing is left to
    /// come back for. A failure to connect is always worth another try.
    #[must_use]
    pub const fn class(self) -> RetryClass {
        match self {
            Self::Closed {
                code: 1000 | 1002 | 1003 | 1007..=1010,
            } => RetryClass::Fatal,
            // Registered with IANA as Unauthorized and Forbidden.
            Self::Closed { code: 3000 | 3003 } => RetryClass::Fatal,
            Self::Closed { .. } | Self::ConnectFailed => RetryClass::Retry,
            Self::Refused {
                status: 408 | 425 | 429 | 500..=599,
                ..
            } => RetryClass::Retry,
            Self::Refused { .. } => RetryClass::Fatal,
        }
    }

    const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => retry_after,
            Self::Closed { .. } | Self::ConnectFailed => None,
        }
    }
}

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetryClass {
    /// The next attempt would meet the same.
    Fatal,
    /// The next attempt may succeed.
    Retry,
}

/// What to do after a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Decision {
    /// Stay away; only a [`Backoff::begin`] of the caller's own accord goes on.
    GiveUp(GiveUp),
    /// Begin the next attempt at this time, unless [`Backoff::handle_network_up`] brings it forward.
    Retry {
        /// The deadline, as [`Backoff::poll_timeout`] has it; [`Instant::MAX`] means never.
        at: Instant,
    },
}

/// Why there will be no further attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GiveUp {
    /// As many retries in a row as [`BackoffConfig::max_retries`] allows have failed.
    Exhausted,
    /// The outcome was classed as [`RetryClass::Fatal`].
    Fatal,
}

impl fmt::Display for GiveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exhausted => "too many attempts failed in a row",
            Self::Fatal => "another attempt would meet the same end",
        })
    }
}

/// The call was about a connection that is over, and changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stale;

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection of this generation is over")
    }
}

impl core::error::Error for Stale {}

/// A [`BackoffConfig`] that cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackoffConfigError {
    /// `base` is above `cap`, so no delay could grow.
    BaseAboveCap,
    /// `base` is zero, and doubled is still zero: attempts without a pause.
    ZeroBase,
}

impl fmt::Display for BackoffConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BaseAboveCap => "the base delay is above the cap",
            Self::ZeroBase => "the base delay is zero",
        })
    }
}

impl core::error::Error for BackoffConfigError {}

/// The random numbers that a generation has a right to.
#[derive(Clone, Copy)]
enum Draw {
    Delay,
    Hint,
}

impl Draw {
    const fn index(self) -> u64 {
        match self {
            Self::Delay => 0,
            Self::Hint => 1,
        }
    }
}

/// The number at `index` of the sequence that SplitMix64 (Steele, Lea and Flood, 2014) makes
/// of `seed`. Drawn by index, so that a hint does not change the delays after it.
const fn splitmix64(seed: u64, index: u64) -> u64 {
    let z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The nanoseconds of `duration`, stopping at `u64::MAX`.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "an overflow in a test is a failed test"
)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn backoff(seed: u64) -> Backoff {
        Backoff::new(BackoffConfig::default(), seed).unwrap()
    }

    /// Fails one attempt that begins as soon as it may, and returns the delay after it.
    fn fail(backoff: &mut Backoff, outcome: Outcome) -> Duration {
        let now = backoff.poll_timeout().unwrap_or(backoff.now);
        let generation = backoff.begin(now);
        match backoff.handle_closed(now, generation, outcome) {
            Ok(Decision::Retry { at }) => {
                assert_eq!(
                    backoff.poll_timeout(),
                    Some(at).filter(|at| *at < Instant::MAX)
                );
                at.saturating_duration_since(now)
            }
            other => panic!("expected a retry, got {other:?}"),
        }
    }

    fn delays(backoff: &mut Backoff, count: usize) -> Vec<Duration> {
        (0..count)
            .map(|_| fail(backoff, Outcome::ConnectFailed))
            .collect()
    }

    /// Opens a connection, keeps it for `uptime`, loses it.
    fn open_and_lose(backoff: &mut Backoff, uptime: Duration) {
        let now = backoff.poll_timeout().unwrap_or(backoff.now);
        let generation = backoff.begin(now);
        backoff.handle_open(now, generation).unwrap();
        let end = now.saturating_add(uptime);
        let decision = backoff.handle_closed(end, generation, Outcome::Closed { code: 1006 });
        assert!(matches!(decision, Ok(Decision::Retry { .. })));
    }

    #[test]
    fn p40_delays_are_drawn_below_ceilings_that_double_up_to_the_cap() {
        let ceilings = [5, 1, 2, 4, 8, 16, 32, 60, 60, 60].map(Duration::from_secs);
        let clients: Vec<_> = (0..2_000)
            .map(|seed| delays(&mut backoff(seed), ceilings.len()))
            .collect();
        for (nth, ceiling) in ceilings.into_iter().enumerate() {
            let of_clients = || clients.iter().map(|delays| delays[nth]);
            let mean = of_clients().sum::<Duration>() / 2_000;
            // Full jitter, so the whole range is used and the middle is the mean.
            assert!(of_clients().all(|delay| delay <= ceiling), "delay {nth}");
            assert!(of_clients().max() > Some(ceiling * 99 / 100), "delay {nth}");
            assert!(of_clients().min() < Some(ceiling / 100), "delay {nth}");
            assert!(mean.abs_diff(ceiling / 2) < ceiling / 40, "delay {nth}");
        }
    }

    #[test]
    fn p40_the_sequence_is_a_function_of_seed_and_outcomes() {
        let plain = delays(&mut backoff(7), 20);
        assert_eq!(delays(&mut backoff(7), 20), plain);
        assert_ne!(delays(&mut backoff(8), 20), plain);

        // A hint shortens the wait it is given in and no other.
        let mut hinted = backoff(7);
        let mut seen = Vec::new();
        for _ in 0..20 {
            seen.push(fail(&mut hinted, Outcome::ConnectFailed));
            hinted.handle_network_up(hinted.now);
        }
        assert_eq!(seen, plain);
    }

    #[test]
    fn p41_only_min_uptime_starts_the_sequence_over() {
        let mut backoff = backoff(1);
        for failures in 1..=20 {
            open_and_lose(&mut backoff, 10 * SECOND - Duration::from_nanos(1));
            assert_eq!(backoff.failures(), failures);
        }
        assert_eq!(backoff.ceiling(), 60 * SECOND);

        open_and_lose(&mut backoff, 10 * SECOND);
        assert_eq!(backoff.failures(), 1);
        assert_eq!(backoff.ceiling(), 5 * SECOND);
    }

    #[test]
    fn p41_a_connection_replaced_while_open_counts_by_its_uptime() {
        for (uptime, failures) in [(9 * SECOND, 4), (10 * SECOND, 1)] {
            let mut backoff = backoff(1);
            delays(&mut backoff, 3);
            let generation = backoff.begin(backoff.now);
            backoff.handle_open(backoff.now, generation).unwrap();
            backoff.begin(backoff.now.saturating_add(uptime));
            fail(&mut backoff, Outcome::ConnectFailed);
            assert_eq!(backoff.failures(), failures, "{uptime:?}");
        }
    }

    #[test]
    fn p42_close_codes() {
        let fatal = [1000, 1002, 1003, 1007, 1008, 1009, 1010, 3000, 3003];
        for code in 0..=u16::MAX {
            let expected = match fatal.contains(&code) {
                true => RetryClass::Fatal,
                false => RetryClass::Retry,
            };
            assert_eq!(Outcome::Closed { code }.class(), expected, "{code}");
        }
    }

    #[test]
    fn p42_http_statuses() {
        for status in 0..=u16::MAX {
            let refused = Outcome::Refused {
                status,
                retry_after: None,
            };
            let expected = match [408, 425, 429].contains(&status) || status / 100 == 5 {
                true => RetryClass::Retry,
                false => RetryClass::Fatal,
            };
            assert_eq!(refused.class(), expected, "{status}");
        }
        assert_eq!(Outcome::ConnectFailed.class(), RetryClass::Retry);
    }

    #[test]
    fn p42_a_fatal_outcome_ends_it_until_the_caller_begins_again() {
        let mut backoff = backoff(1);
        delays(&mut backoff, 5);
        let generation = backoff.begin(backoff.now);
        let decision =
            backoff.handle_closed(backoff.now, generation, Outcome::Closed { code: 1008 });
        assert_eq!(decision, Ok(Decision::GiveUp(GiveUp::Fatal)));
        assert_eq!(backoff.poll_timeout(), None);
        backoff.handle_network_up(backoff.now);
        assert_eq!(backoff.poll_timeout(), None);

        fail(&mut backoff, Outcome::ConnectFailed);
        assert_eq!(backoff.failures(), 1);
    }

    #[test]
    fn p42_the_caller_may_class_otherwise() {
        let config = BackoffConfig::default().classify(|outcome| match outcome {
            Outcome::Closed { code: 1000 } => RetryClass::Retry,
            Outcome::Closed { code: 4000..=4099 } => RetryClass::Fatal,
            other => other.class(),
        });
        for (code, retried) in [(1000, true), (4001, false), (1001, true), (1002, false)] {
            let mut backoff = Backoff::new(config, 1).unwrap();
            let generation = backoff.begin(Instant::ZERO);
            let decision =
                backoff.handle_closed(Instant::ZERO, generation, Outcome::Closed { code });
            assert_eq!(
                matches!(decision, Ok(Decision::Retry { .. })),
                retried,
                "{code}"
            );
        }
    }

    #[test]
    fn p42_retry_after_is_a_floor_with_the_delay_on_top() {
        let asked = 120 * SECOND;
        let refused = Outcome::Refused {
            status: 503,
            retry_after: Some(asked),
        };
        for seed in 0..100 {
            let plain = fail(&mut backoff(seed), Outcome::ConnectFailed);
            assert_eq!(fail(&mut backoff(seed), refused), asked + plain);

            let mut hinted = backoff(seed);
            fail(&mut hinted, refused);
            hinted.handle_network_up(hinted.now);
            assert!(hinted.poll_timeout() >= Some(hinted.now.saturating_add(asked)));
        }
    }

    #[test]
    fn p42_gives_up_after_max_retries_in_a_row() {
        for max in 0..5 {
            let config = BackoffConfig::default().max_retries(Some(max));
            let mut backoff = Backoff::new(config, 1).unwrap();
            for _ in 0..max {
                fail(&mut backoff, Outcome::ConnectFailed);
            }
            let generation = backoff.begin(backoff.now);
            let decision = backoff.handle_closed(backoff.now, generation, Outcome::ConnectFailed);
            assert_eq!(decision, Ok(Decision::GiveUp(GiveUp::Exhausted)));
            assert_eq!(backoff.poll_timeout(), None);
        }
    }

    /// Returns the most connects in any second, and the mean over the first five.
    fn storm(connects: &mut [Instant]) -> (usize, usize) {
        connects.sort_unstable();
        let first_window = connects.partition_point(|at| *at <= Instant::from_secs(5));
        let peak = connects
            .iter()
            .enumerate()
            .map(|(nth, at)| {
                let end = at.saturating_add(SECOND);
                connects.partition_point(|other| *other < end) - nth
            })
            .max();
        (peak.unwrap_or_default(), first_window / 5)
    }

    /// Ten thousand clients lose a server at once; it refuses everybody for `outage`.
    fn connects(outage: Duration, outcome: Outcome) -> Vec<Instant> {
        let back = Instant::ZERO.saturating_add(outage);
        let mut connects = Vec::new();
        for seed in 0..10_000 {
            let mut backoff = backoff(seed);
            fail(&mut backoff, Outcome::Closed { code: 1006 });
            while let Some(at) = backoff.poll_timeout() {
                connects.push(at);
                if at >= back {
                    break;
                }
                fail(&mut backoff, outcome);
            }
        }
        connects
    }

    #[test]
    fn p43_ten_thousand_clients_are_no_storm() {
        for outage in [0, 1, 5, 30, 300].map(Duration::from_secs) {
            let (peak, mean) = storm(&mut connects(outage, Outcome::ConnectFailed));
            assert!(mean >= 2_000, "{outage:?}: {mean}");
            assert!(peak * 2 <= mean * 5, "{outage:?}: {peak} against {mean}");
        }
    }

    #[test]
    fn p43_a_common_retry_after_is_no_storm() {
        let busy = Outcome::Refused {
            status: 503,
            retry_after: Some(60 * SECOND),
        };
        let (peak, mean) = storm(&mut connects(30 * SECOND, busy));
        assert!(peak * 2 <= mean * 5, "{peak} against {mean}");
    }

    #[test]
    fn p44_nothing_of_an_earlier_generation_changes_anything() {
        let lost = Outcome::Closed { code: 1002 };
        let mut backoff = backoff(1);
        let old = backoff.begin(Instant::ZERO);
        let new = backoff.begin(Instant::from_secs(1));
        assert_ne!(old, new);
        let now = Instant::from_secs(2);
        assert_eq!(backoff.handle_open(now, old), Err(Stale));
        assert_eq!(backoff.handle_closed(now, old, lost), Err(Stale));
        assert!(matches!(backoff.phase, Phase::Connecting));

        backoff.handle_open(now, new).unwrap();
        assert_eq!(backoff.handle_closed(now, old, lost), Err(Stale));
        assert!(matches!(backoff.phase, Phase::Open { .. }));

        // Over once means over.
        let decision = backoff.handle_closed(now, new, Outcome::ConnectFailed);
        let waiting = backoff.poll_timeout();
        assert!(matches!(decision, Ok(Decision::Retry { .. })));
        assert_eq!(backoff.handle_open(now, new), Err(Stale));
        assert_eq!(backoff.handle_closed(now, new, lost), Err(Stale));
        assert_eq!(backoff.poll_timeout(), waiting);
    }

    #[test]
    fn p45_a_hint_shortens_the_wait_once_between_two_attempts() {
        for seed in 0..100 {
            let mut backoff = backoff(seed);
            for _ in 0..10 {
                delays(&mut backoff, 1);
                let (now, before) = (backoff.now, backoff.poll_timeout());
                backoff.handle_network_up(now);
                let after = backoff.poll_timeout();
                assert!(after <= before);
                assert!(after <= Some(now.saturating_add(SECOND)));

                backoff.handle_network_up(now.saturating_add(SECOND / 2));
                assert_eq!(backoff.poll_timeout(), after);
            }
        }
    }

    #[test]
    fn p45_a_hint_at_any_other_time_does_nothing_and_is_not_used_up() {
        let mut backoff = backoff(1);
        backoff.handle_network_up(Instant::ZERO);
        assert_eq!(backoff.poll_timeout(), None);
        delays(&mut backoff, 10);

        let generation = backoff.begin(backoff.now);
        backoff.handle_network_up(backoff.now);
        assert_eq!(backoff.poll_timeout(), None);
        backoff.handle_open(backoff.now, generation).unwrap();
        backoff.handle_network_up(backoff.now);
        assert_eq!(backoff.poll_timeout(), None);

        let decision = backoff.handle_closed(backoff.now, generation, Outcome::ConnectFailed);
        assert!(matches!(decision, Ok(Decision::Retry { .. })));
        backoff.handle_network_up(backoff.now);
        assert!(backoff.poll_timeout() <= Some(backoff.now.saturating_add(SECOND)));
    }

    #[test]
    fn p45_hints_are_spread_over_the_base_delay() {
        let mut connects: Vec<_> = (0..10_000)
            .filter_map(|seed| {
                let mut backoff = backoff(seed);
                delays(&mut backoff, 10);
                let now = backoff.now;
                backoff.handle_network_up(now);
                Some(backoff.poll_timeout()?.saturating_duration_since(now))
            })
            .collect();
        connects.sort_unstable();
        for (tenth, slice) in connects.chunks(1_000).enumerate() {
            let middle = SECOND * u32::try_from(tenth).unwrap() / 10 + SECOND / 20;
            assert!(slice[500].abs_diff(middle) < SECOND / 10, "{tenth}");
        }
    }

    #[test]
    fn the_longest_durations_saturate() {
        let config = BackoffConfig::default()
            .first(Duration::MAX)
            .base(Duration::MAX)
            .cap(Duration::MAX)
            .min_uptime(Duration::MAX);
        let mut backoff = Backoff::new(config, 1).unwrap();
        for _ in 0..100 {
            fail(&mut backoff, Outcome::ConnectFailed);
            backoff.handle_network_up(backoff.now);
        }
        backoff.failures = u32::MAX;
        fail(&mut backoff, Outcome::ConnectFailed);
        assert_eq!(backoff.failures(), u32::MAX);

        let never = Outcome::Refused {
            status: 503,
            retry_after: Some(Duration::MAX),
        };
        let generation = backoff.begin(Instant::MAX);
        assert_eq!(
            backoff.handle_closed(Instant::MAX, generation, never),
            Ok(Decision::Retry { at: Instant::MAX })
        );
        backoff.handle_network_up(Instant::MAX);
        assert_eq!(backoff.poll_timeout(), None);
    }

    #[test]
    fn a_clock_that_runs_backwards_stands_still() {
        let mut backoff = backoff(1);
        let generation = backoff.begin(Instant::from_secs(100));
        backoff
            .handle_open(Instant::from_secs(50), generation)
            .unwrap();
        let decision =
            backoff.handle_closed(Instant::ZERO, generation, Outcome::Closed { code: 1006 });
        assert!(matches!(decision, Ok(Decision::Retry { .. })));
        assert!(backoff.poll_timeout() >= Some(Instant::from_secs(100)));
    }

    #[test]
    fn nonsense_is_refused() {
        let refused = |config: BackoffConfig| Backoff::new(config, 1).err();
        let config = BackoffConfig::default();
        assert_eq!(
            refused(config.base(Duration::ZERO)),
            Some(BackoffConfigError::ZeroBase)
        );
        assert_eq!(
            refused(config.base(61 * SECOND)),
            Some(BackoffConfigError::BaseAboveCap)
        );
        assert_eq!(refused(config.base(60 * SECOND)), None);
        assert_eq!(refused(config.first(Duration::ZERO)), None);
    }

    #[test]
    fn splitmix64_gives_the_published_numbers() {
        // The first outputs for the seed 1234567, as in the test vectors of Rosetta Code.
        let numbers = [0, 1, 2].map(|index| splitmix64(1_234_567, index));
        assert_eq!(
            numbers,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }
}
