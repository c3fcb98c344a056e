//! What the heartbeat does, and the reasons for its defaults.

use core::time::Duration;

use super::half;
use crate::error::ConfigError;

/// When to ping, what counts as life, and when to give up.
///
/// Plain data, checked where it is used: when a [`Config`](crate::Config) is built, and by
/// [`Heartbeat::new`](super::Heartbeat::new). `Duration::MAX` means never.
///
/// ```
/// use core::time::Duration;
/// use wspulse_core::heartbeat::HeartbeatConfig;
///
/// // Ping after 5 s without traffic, dead 10 s after an unanswered ping.
/// let active = HeartbeatConfig::ping(Duration::from_secs(5), Duration::from_secs(10));
/// // Send nothing, expect a byte at least every 30 s.
/// let passive = HeartbeatConfig::passive(Duration::from_secs(30));
/// assert_eq!(active.detection_bound(), Some(Duration::from_secs(15)));
/// assert_eq!(passive.detection_bound(), Some(Duration::from_secs(30)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HeartbeatConfig {
    pub(super) mode: Mode,
    pub(super) evidence: Evidence,
    pub(super) jitter_percent: u8,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) suspect_after: Option<Duration>,
    pub(super) write_stall_timeout: Option<Duration>,
    pub(super) unread_timeout: Option<Duration>,
}

/// When pings are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// After an interval without [`Evidence`] of life, or in which nothing went out: both
    /// directions of the path stay warm, and a busy connection carries no pings. The default.
    Idle,
    /// Every interval, whatever the traffic: a steady supply of RTT samples.
    Periodic,
    /// Never; the peer is expected to send something within the timeout.
    Passive,
    /// Never, and nothing is expected.
    Off,
}

/// What counts as a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Evidence {
    /// Any byte, even in the middle of a frame. The default: a peer that sends a long message
    /// cannot answer a ping before its end.
    AnyByte,
    /// The end of a frame.
    AnyFrame,
    /// Only the pong that answers the ping.
    MatchingPong,
}

impl HeartbeatConfig {
    /// Ping every 20 s of silence, dead 20 s after an unanswered ping.
    ///
    /// 20 s is under half of the shortest common idle cut-off of proxies (55 to 60 s), and leaves
    /// the timeout room for TCP's own retransmissions (1 + 2 + 4 + 8 s).
    pub const DEFAULT: Self = Self {
        mode: Mode::Idle,
        evidence: Evidence::AnyByte,
        jitter_percent: 10,
        interval: Duration::from_secs(20),
        timeout: Duration::from_secs(20),
        suspect_after: None,
        write_stall_timeout: None,
        unread_timeout: None,
    };

    /// Pings after `interval` without traffic; gives up `timeout` after an unanswered ping.
    ///
    /// A peer that falls silent is found within `interval + timeout` on a host without pauses. A
    /// host that is paused loses no connection by it, and no pause hides a death: time is counted
    /// while the host is awake, which is all time but that in which it slept past a deadline it
    /// had asked for. A silent peer is found within `interval + 2 * timeout` of awake time, and in
    /// at most five naps, however the time is cut. A live one never dies if each time awake lasts
    /// for one round trip on the reawakened network, and that takes at most half of the timeout
    /// (nearly all of it after a first pause that was seen). Bytes that were under way before a
    /// ping, on a transport that was full, extend its timeout by up to
    /// [`write_stall_timeout`](Self::write_stall_timeout).
    #[must_use]
    pub const fn ping(interval: Duration, timeout: Duration) -> Self {
        Self {
            interval,
            timeout,
            ..Self::DEFAULT
        }
    }

    /// Sends no pings; gives up after `silence` without a sign of life.
    #[must_use]
    pub const fn passive(silence: Duration) -> Self {
        Self {
            mode: Mode::Passive,
            timeout: silence,
            ..Self::DEFAULT
        }
    }

    /// Neither sends pings nor gives up on silence. Writes that stall are still noticed.
    #[must_use]
    pub const fn off() -> Self {
        Self {
            mode: Mode::Off,
            ..Self::DEFAULT
        }
    }

    /// 5 s / 10 s, for people who watch.
    #[must_use]
    pub const fn fast() -> Self {
        Self::ping(Duration::from_secs(5), Duration::from_secs(10))
    }

    /// 25 s / 20 s, for servers with very many connections.
    #[must_use]
    pub const fn many() -> Self {
        Self::ping(Duration::from_secs(25), Duration::from_secs(20))
    }

    /// Sets when pings are sent; [`Mode::Idle`] by default.
    #[must_use]
    pub const fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets what counts as life; [`Evidence::AnyByte`] by default.
    #[must_use]
    pub const fn evidence(mut self, evidence: Evidence) -> Self {
        self.evidence = evidence;
        self
    }

    /// Sets how long after an unanswered ping (or after the last sign of life, in
    /// [`Mode::Passive`]) the peer is under suspicion. By default half of the timeout, or more
    /// where answers take long (the smoothed round trip and four times its variation), at most
    /// three quarters. Death comes no sooner than the rest of the timeout after suspicion was told.
    #[must_use]
    pub const fn suspect_after(mut self, suspect_after: Duration) -> Self {
        self.suspect_after = Some(suspect_after);
        self
    }

    /// Sets how long a blocked transport may take nothing; by default one and a half timeouts, at
    /// least 2 s. Also the most by which bytes before a ping extend its timeout.
    #[must_use]
    pub const fn write_stall_timeout(mut self, timeout: Duration) -> Self {
        self.write_stall_timeout = Some(timeout);
        self
    }

    /// Sets how long nobody may read before a connection ends with
    /// [`Cause::Unread`](crate::Cause::Unread). A byte that was read and a read attempt that found
    /// nothing both count. Off by default: [`Event::NotRead`](crate::Event::NotRead) tells instead,
    /// once, after interval + 2 timeouts.
    #[must_use]
    pub const fn unread_timeout(mut self, timeout: Duration) -> Self {
        self.unread_timeout = Some(timeout);
        self
    }

    /// Sets by how much of the interval a ping may come early, in percent; 10 by default.
    ///
    /// The first ping comes anywhere in the second half of its interval, so that connections
    /// opened at once do not ping at once. Zero switches both off. At most 50.
    #[must_use]
    pub const fn jitter_percent(mut self, percent: u8) -> Self {
        self.jitter_percent = percent;
        self
    }

    /// Returns within how much time of its last byte a peer that falls silent is declared dead
    /// when nothing is queued: interval + timeout, or the silence of a passive heartbeat.
    /// `None` means never.
    #[must_use]
    pub const fn detection_bound(&self) -> Option<Duration> {
        match self.mode {
            Mode::Idle | Mode::Periodic => self.interval.checked_add(self.timeout),
            Mode::Passive => Some(self.timeout),
            Mode::Off => None,
        }
    }

    /// Returns for how long a peer may acknowledge nothing of our output before it is given up: the
    /// timeout or `write_stall_timeout`, whichever is longer. For a transport that can be told,
    /// such as by TCP_USER_TIMEOUT (RFC 5482).
    #[must_use]
    pub fn output_patience(&self) -> Duration {
        match self.mode {
            Mode::Idle | Mode::Periodic | Mode::Passive => self.timeout.max(self.write_stall()),
            Mode::Off => self.write_stall(),
        }
    }

    /// Returns how old the last read attempt may be when something is sent: a sixteenth of the
    /// interval, or of the silence of a passive heartbeat, and 250 ms at most (rule 16). An
    /// older one is repeated, so that a program that only sends hears its peer, and in time: what is
    /// read late counts from then.
    #[must_use]
    pub fn read_interval(&self) -> Duration {
        let longest = Duration::from_millis(250);
        let interval = match self.mode {
            Mode::Idle | Mode::Periodic => self.interval,
            Mode::Passive => self.timeout,
            Mode::Off => return longest,
        };
        (0..4).fold(interval, |part, _| half(part)).min(longest)
    }

    /// Checks that the configuration can work.
    ///
    /// # Errors
    /// [`ConfigError`] names the value that cannot.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.pings() && self.interval.is_zero() {
            return Err(ConfigError::ZeroInterval);
        }
        if self.mode == Mode::Passive && self.evidence == Evidence::MatchingPong {
            return Err(ConfigError::EvidenceWithoutPings);
        }
        if self.timeout.is_zero() {
            return Err(ConfigError::ZeroTimeout);
        }
        if self
            .suspect_after
            .is_some_and(|after| after.is_zero() || after > self.timeout)
        {
            return Err(ConfigError::SuspectAfter);
        }
        if [self.write_stall_timeout, self.unread_timeout].contains(&Some(Duration::ZERO)) {
            return Err(ConfigError::ZeroDuration);
        }
        if self.jitter_percent > 50 {
            return Err(ConfigError::Jitter);
        }
        Ok(())
    }

    /// Whether pings are sent at all.
    pub(crate) const fn pings(&self) -> bool {
        matches!(self.mode, Mode::Idle | Mode::Periodic)
    }

    pub(super) fn write_stall(&self) -> Duration {
        let half = self.timeout.checked_div(2).unwrap_or_default();
        self.write_stall_timeout.unwrap_or(
            self.timeout
                .saturating_add(half)
                .max(Duration::from_secs(2)),
        )
    }
}

impl Default for HeartbeatConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}
