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
/// `[0, base]`, `[0, 2 base]`, `[0, 4 base]` and so on; none is above `cap`. A Retry-After of at most
/// `max_retry_after` goes before the delay. A connection that stayed open for `min_uptime` starts the
/// sequence over.
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

        // The delay comes on top of the floor, and spreads as widely as after a loss: clients
        // that were told the same time to come back must not come back at the same time.
        let (floor, ceiling) = match outcome.retry_after() {
            Some(asked) => (
                self.now
                    .saturating_add(asked.min(self.config.max_retry_after)),
                self.ceiling().max(self.first()),
            ),
            None => (self.now, self.ceiling()),
        };
        let until = floor.saturating_add(self.uniform(ceiling, Draw::Delay));
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
            None => self.first(),
            Some(doublings) => {
                let ceiling =
                    nanos(self.config.base).saturating_mul(2u64.saturating_pow(doublings));
                Duration::from_nanos(ceiling).min(self.config.cap)
            }
        }
    }

    /// The longest first delay.
    fn first(&self) -> Duration {
        self.config.first.min(self.config.cap)
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
    max_retry_after: Duration,
    min_uptime: Duration,
    max_retries: Option<u32>,
    classify: fn(Outcome) -> RetryClass,
}

impl BackoffConfig {
    /// Sets the longest delay after a good connection, or after the first attempt of all.
    ///
    /// 5 s by default, the value of RFC 6455 §7.2.3. It is over this time that the clients of
    /// a server that went down spread out; zero spreads nobody. On top of a Retry-After, which can
    /// be the same moment for all of them, a delay is drawn from no less.
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

    /// Sets the longest delay of all, the first among them; a Retry-After goes before it.
    ///
    /// 60 s by default: on average a client is back half a minute after its server, and no
    /// server minds one attempt in half a minute.
    #[must_use]
    pub const fn cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// Sets the longest time for which a Retry-After is obeyed; a longer one counts as this much.
    ///
    /// An hour by default: a slip of the server's must not cost a client its day, and
    /// [`Backoff::handle_network_up`] never comes before the time that the server asked for.
    #[must_use]
    pub const fn max_retry_after(mut self, max: Duration) -> Self {
        self.max_retry_after = max;
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
            max_retry_after: Duration::from_secs(3_600),
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
mod tests;
