//! What a heartbeat is asked to do, in ticks.

use std::time::Duration;

use wspulse_core::heartbeat::{Evidence, HeartbeatConfig, Mode};

use super::oracle::span;
use super::search::Tick;

/// A heartbeat's policy in ticks, without jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// When pings are sent.
    pub mode: Mode,
    /// What counts as life.
    pub evidence: Evidence,
    /// I.
    pub interval: Tick,
    /// T.
    pub timeout: Tick,
    /// When suspicion begins; by itself where `None`.
    pub suspect_after: Option<Tick>,
    /// How long a blocked transport may take nothing.
    pub write_stall: Tick,
}

impl Policy {
    /// Pings in idle mode; suspicion after half the timeout, a stall after one and a half.
    #[must_use]
    pub const fn idle(interval: Tick, timeout: Tick) -> Self {
        Self {
            mode: Mode::Idle,
            evidence: Evidence::AnyByte,
            interval,
            timeout,
            suspect_after: Some(timeout / 2),
            write_stall: timeout + timeout / 2,
        }
    }

    /// Pings every interval.
    #[must_use]
    pub const fn periodic(interval: Tick, timeout: Tick) -> Self {
        Self {
            mode: Mode::Periodic,
            ..Self::idle(interval, timeout)
        }
    }

    /// Sends no pings.
    #[must_use]
    pub const fn passive(timeout: Tick) -> Self {
        Self {
            mode: Mode::Passive,
            ..Self::idle(timeout, timeout)
        }
    }

    /// Sends no pings and expects nothing.
    #[must_use]
    pub const fn off(timeout: Tick) -> Self {
        Self {
            mode: Mode::Off,
            ..Self::idle(timeout, timeout)
        }
    }

    /// Sets what counts as life.
    #[must_use]
    pub const fn evidence(self, evidence: Evidence) -> Self {
        Self { evidence, ..self }
    }

    /// Sets when suspicion begins.
    #[must_use]
    pub const fn suspect_after(self, ticks: Tick) -> Self {
        Self {
            suspect_after: Some(ticks),
            ..self
        }
    }

    /// Sets how long a blocked transport may take nothing.
    #[must_use]
    pub const fn write_stall(self, ticks: Tick) -> Self {
        Self {
            write_stall: ticks,
            ..self
        }
    }

    /// The same policy for the code under test.
    #[must_use]
    pub fn config(&self) -> HeartbeatConfig {
        let config = HeartbeatConfig::ping(span(self.interval), span(self.timeout))
            .mode(self.mode)
            .evidence(self.evidence)
            .write_stall_timeout(span(self.write_stall))
            .jitter_percent(0);
        match self.suspect_after {
            Some(ticks) => config.suspect_after(span(ticks)),
            None => config,
        }
    }

    /// Whether pings are sent.
    #[must_use]
    pub const fn pings(&self) -> bool {
        matches!(self.mode, Mode::Idle | Mode::Periodic)
    }

    /// Rule 8: how long a silent peer goes unnoticed at most, without grace and bytes under way.
    pub(super) const fn bound(&self) -> Option<Tick> {
        match self.mode {
            Mode::Idle | Mode::Periodic => Some(self.interval + self.timeout),
            Mode::Passive => Some(self.timeout),
            _ => None,
        }
    }

    /// Rule 7: how long suspicion comes before death at least.
    pub(super) const fn warning(&self) -> Duration {
        match self.suspect_after {
            Some(ticks) => span(self.timeout - ticks),
            None => Duration::from_millis(self.timeout as u64 * 250),
        }
    }
}
