//! When to ping, what counts as life, and when to give up: timing alone, for any protocol.
//!
//! A [`Heartbeat`] knows nothing of WebSocket. It is told what happened (`handle_*`), and answers
//! with a ping to send ([`poll_ping`](Heartbeat::poll_ping)), what changed
//! ([`poll_event`](Heartbeat::poll_event)) and when to wake it
//! ([`poll_timeout`](Heartbeat::poll_timeout)).
//!
//! It keeps facts (when a byte last came, when the ping left) and derives deadlines from them.
//! A sign of life stores a stamp and never moves the deadline: a deadline that fires and finds that
//! the peer spoke is armed again. So a busy connection touches no timer.
//!
//! ```
//! use core::time::Duration;
//! use wspulse_core::Instant;
//! use wspulse_core::heartbeat::{DeadReason, Heartbeat, HeartbeatConfig, HeartbeatEvent};
//!
//! let config = HeartbeatConfig::ping(Duration::from_secs(5), Duration::from_secs(10))
//!     .jitter_percent(0);
//! let mut heartbeat = Heartbeat::new(config, 42, Instant::ZERO)?;
//!
//! // Silence: a ping is due after the interval.
//! let due = heartbeat.poll_timeout().unwrap();
//! assert_eq!(due, Instant::from_secs(5));
//! heartbeat.handle_timeout(due);
//! let ping = heartbeat.poll_ping().unwrap();
//! heartbeat.handle_ping_sent(due); // the transport took its last byte: its clock starts
//!
//! // An answer 30 ms later.
//! let now = Instant::from_millis(5_030);
//! heartbeat.handle_received(now);
//! heartbeat.handle_pong(now, &ping);
//! assert_eq!(heartbeat.snapshot(now).rtt.unwrap().last(), Duration::from_millis(30));
//!
//! // Silence for good: suspect, then dead, at the computed times.
//! let mut seen = Vec::new();
//! while let Some(deadline) = heartbeat.poll_timeout() {
//!     heartbeat.handle_would_block(deadline); // a read found nothing
//!     heartbeat.handle_timeout(deadline);
//!     if heartbeat.poll_ping().is_some() {
//!         heartbeat.handle_ping_sent(deadline);
//!     }
//!     seen.extend(core::iter::from_fn(|| heartbeat.poll_event()).map(|event| (deadline, event)));
//! }
//! // The last ping left 5 s after the one before it, since nothing went out in between.
//! assert_eq!(seen, [
//!     (Instant::from_secs(15), HeartbeatEvent::Suspect),
//!     (Instant::from_secs(20), HeartbeatEvent::Dead(DeadReason::PongTimeout)),
//! ]);
//! # Ok::<(), wspulse_core::ConfigError>(())
//! ```

mod config;
mod drain;
mod judging;
mod report;
mod rtt;
mod schedule;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;

pub use config::{Evidence, HeartbeatConfig, Mode};
use drain::Drain;
pub use report::{DeadReason, HeartbeatEvent, HeartbeatSnapshot, HeartbeatTimeout, PongMatch};
pub use rtt::Rtt;

use crate::error::ConfigError;
use crate::time::Instant;

/// The payload of a heartbeat's ping: a nonce of the connection, and a number.
pub type PingPayload = [u8; 8];

/// Decides when to ping and when the peer is dead.
///
/// Everything is O(1). The heap is touched only while a transport is blocked, or was lately.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Heartbeat {
    config: Arc<HeartbeatConfig>,
    /// The largest time seen; time does not run backwards here.
    now: Instant,
    /// The armed deadline, `MAX` for none. At or before every deadline that the facts imply.
    deadline: Instant,
    last_received: Instant,
    last_sent: Instant,
    /// The last read attempt that found nothing.
    last_would_block: Instant,
    /// Since when an answer is awaited: the last ping's last byte left then. In passive mode, the
    /// last sign of life.
    awaiting_since: Instant,
    drain: Option<Box<Drain>>,
    random: u64,
    /// Bytes taken by the transport since the last answered ping, and since the last ping.
    unanswered_bytes: u32,
    bytes_after_ping: u32,
    /// How far before its interval's end the next ping is due, in units of 2^-20.
    early: u32,
    nonce: u32,
    sequence: u32,
    lost: u32,
    rtt: Option<Rtt>,
    local_pauses: u16,
    phase: Phase,
    suspect: bool,
    /// What `poll_event` has reported of `suspect`, and of death.
    suspect_reported: bool,
    dead_reported: bool,
    latest_is_answered: bool,
    /// Whether `awaiting_since` is no longer the time at which the latest ping left.
    is_spoiled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// No ping is outstanding.
    Quiet,
    /// A ping should be sent.
    Due,
    /// A ping was handed out, and not yet taken by the transport.
    Queued,
    /// A sign of life is awaited.
    Awaiting,
    Dead(DeadReason),
}

impl Heartbeat {
    /// Starts a heartbeat on a connection that opened at `now`. `seed` decides jitter and the
    /// ping nonce; the same seed and calls give the same pings and deadlines.
    ///
    /// # Errors
    /// [`ConfigError`] if the configuration cannot work.
    pub fn new(config: HeartbeatConfig, seed: u64, now: Instant) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self::from_valid(Arc::new(config), seed, now))
    }

    pub(crate) fn from_valid(config: Arc<HeartbeatConfig>, seed: u64, now: Instant) -> Self {
        let mut heartbeat = Self {
            config,
            now,
            deadline: Instant::MAX,
            last_received: now,
            last_sent: now,
            last_would_block: Instant::ZERO,
            awaiting_since: now,
            drain: None,
            random: seed,
            unanswered_bytes: 0,
            bytes_after_ping: 0,
            early: 0,
            nonce: 0,
            sequence: 0,
            lost: 0,
            rtt: None,
            local_pauses: 0,
            phase: Phase::Quiet,
            suspect: false,
            suspect_reported: false,
            dead_reported: false,
            latest_is_answered: true,
            is_spoiled: false,
        };
        heartbeat.nonce = heartbeat.draw();
        if heartbeat.config.mode == Mode::Passive {
            heartbeat.phase = Phase::Awaiting;
        }
        heartbeat.begin();
        heartbeat
    }

    // ---- what happened

    /// Bytes came. Stores a stamp; never moves the deadline.
    #[inline]
    pub fn handle_received(&mut self, now: Instant) {
        let now = self.observe(now);
        if self.config.evidence == Evidence::AnyByte {
            self.last_received = now;
            self.handle_life(now);
        } else {
            self.pardon_unread(now);
            self.last_received = now;
        }
    }

    /// A frame, or whatever the protocol's unit is, came to its end.
    #[inline]
    pub fn handle_frame(&mut self, now: Instant) {
        let now = self.observe(now);
        if self.config.evidence == Evidence::AnyFrame {
            self.handle_life(now);
        }
    }

    /// Bytes came, and a frame in them to its end.
    #[inline]
    pub(crate) fn handle_message(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Quiet) && !self.suspect {
            // Nobody doubts it: no kind of evidence changes more than the stamp.
            self.last_received = now;
            return;
        }
        self.handle_received(now);
        self.handle_frame(now);
    }

    /// A pong came. Call [`handle_received`](Self::handle_received) for its bytes first.
    pub fn handle_pong(&mut self, now: Instant, payload: &[u8]) -> PongMatch {
        let now = self.observe(now);
        let Some(sequence) = self.sequence_of(payload) else {
            return PongMatch::Unsolicited;
        };
        // Rule 3: a pong for ping k answers every j <= k, and k once.
        let is_latest = sequence == self.sequence && !self.latest_is_answered;
        if !is_latest || self.phase == Phase::Due || !self.is_alive() {
            return PongMatch::Late;
        }
        self.latest_is_answered = true;
        let is_early = self.phase == Phase::Queued;
        if is_early {
            // It left, though the transport has yet to say so.
            self.phase = Phase::Quiet;
        }
        self.handle_life(now);
        if is_early || self.is_spoiled || self.is_late(now) {
            return PongMatch::Untimed;
        }
        let rtt = now.saturating_duration_since(self.awaiting_since);
        self.rtt = Some(Rtt::sample(self.rtt, rtt));
        self.unanswered_bytes = self.bytes_after_ping;
        let after = u64::from(self.bytes_after_ping);
        if let Some(drain) = &mut self.drain
            && drain.answered(now, after)
        {
            self.drain = None;
        }
        PongMatch::Matched(rtt)
    }

    /// A read attempt found nothing. Only this can turn silence into death (rule 6): who does not
    /// read cannot judge.
    pub fn handle_would_block(&mut self, now: Instant) {
        let now = self.observe(now);
        self.last_would_block = now;
        self.face_lateness(now);
        self.judge(now);
    }

    /// The transport took `taken` bytes of the output. `blocked` tells that it would take no more
    /// for now; report that also when it took none.
    pub fn handle_transmitted(&mut self, now: Instant, taken: usize, blocked: bool) {
        let now = self.observe(now);
        if !self.is_alive() {
            return;
        }
        let bytes = u32::try_from(taken).unwrap_or(u32::MAX);
        if taken > 0 {
            self.last_sent = now;
            self.unanswered_bytes = self.unanswered_bytes.saturating_add(bytes);
            self.bytes_after_ping = self.bytes_after_ping.saturating_add(bytes);
        }
        if self.drain.is_none() && !blocked {
            return;
        }
        let window = self.drain_window();
        if self.config.mode == Mode::Off && !blocked {
            // No ping will ever ask for a rate.
            self.drain = None;
        }
        match &mut self.drain {
            Some(drain) => drain.report(now, u64::from(bytes), blocked, window),
            None if blocked => {
                let backlog = u64::from(self.unanswered_bytes);
                let ahead = backlog.saturating_sub(u64::from(self.bytes_after_ping));
                self.drain = Some(Box::new(Drain::new(now, backlog, ahead)));
            }
            None => return,
        }
        self.face_lateness(now);
        let stall = self.stall_deadline();
        if blocked && taken == 0 && stall <= now {
            self.die(DeadReason::WriteStalled);
        } else {
            // A rate that rises brings the verdict forward.
            self.deadline = self.deadline.min(self.earliest_deadline(now));
        }
    }

    /// The last byte of the ping was taken by the transport: its clock starts (rule 4). Call
    /// [`handle_transmitted`](Self::handle_transmitted) first.
    pub fn handle_ping_sent(&mut self, now: Instant) {
        let now = self.observe(now);
        if !self.config.pings() || matches!(self.phase, Phase::Due | Phase::Dead(_)) {
            return;
        }
        // Unless its pong came first.
        if self.phase == Phase::Queued {
            self.phase = Phase::Awaiting;
        }
        self.awaiting_since = now;
        self.is_spoiled = false;
        self.last_sent = now;
        self.bytes_after_ping = 0;
        if let Some(drain) = &mut self.drain {
            drain.ping_sent(now);
        }
        self.early = self.draw_early(self.config.jitter_percent);
        self.arm(now);
    }

    /// A deadline may have passed. Early and repeated calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.observe(now);
        if now < self.deadline || self.deadline == Instant::MAX {
            return;
        }
        self.face_lateness(now);
        if self.is_late(now) {
            // Late, and nothing had fallen due that would need a pardon.
            self.local_pauses = self.local_pauses.saturating_add(1);
        }
        let interval = self.interval();
        if self.phase != Phase::Awaiting
            && let Some(drain) = &self.drain
            && drain.is_spent(now, self.config.write_stall_timeout, interval)
        {
            self.drain = None;
        }
        self.judge(now);
        self.judge_stall(now);
        self.arm(now);
    }

    /// This side was paused in a way the caller's clock did not show, such as a suspend: nothing
    /// that fell due meanwhile is held against the peer. One fresh ping, and the full timeout.
    pub fn handle_resumed(&mut self, now: Instant) {
        let now = self.observe(now);
        if let Some(drain) = &mut self.drain {
            drain.pardon(now);
        }
        if self.phase == Phase::Quiet && self.config.mode != Mode::Off {
            self.make_ping();
        }
        self.pardon(now);
    }

    /// Changes the policy (rule 15). The same policy again changes nothing; between policies that
    /// ping, an outstanding ping stays outstanding.
    ///
    /// # Errors
    /// [`ConfigError`] if the configuration cannot work; the one before stays.
    pub fn set_config(&mut self, now: Instant, config: HeartbeatConfig) -> Result<(), ConfigError> {
        config.validate()?;
        let now = self.observe(now);
        let before = self.config.mode;
        if config == *self.config || !self.is_alive() {
            return Ok(());
        }
        self.config = Arc::new(config);
        match (before, config.mode) {
            (Mode::Idle | Mode::Periodic, Mode::Idle | Mode::Periodic)
            | (Mode::Passive, Mode::Passive) => {}
            (_, after) => {
                // A ping that lost its clock is not waited for.
                if !self.latest_is_answered {
                    self.latest_is_answered = true;
                    self.lost = self.lost.saturating_add(1);
                }
                self.awaiting_since = now;
                self.phase = match after {
                    Mode::Passive => Phase::Awaiting,
                    _ => Phase::Quiet,
                };
            }
        }
        self.begin();
        Ok(())
    }

    // ---- what comes next

    /// Returns the payload of a ping to send now, once.
    pub fn poll_ping(&mut self) -> Option<PingPayload> {
        if self.phase != Phase::Due {
            return None;
        }
        self.phase = Phase::Queued;
        Some(self.latest_payload())
    }

    /// Tells whether [`poll_ping`](Self::poll_ping) has a ping.
    #[must_use]
    pub fn wants_ping(&self) -> bool {
        self.phase == Phase::Due
    }

    /// Tells whether [`poll_event`](Self::poll_event) has something to tell.
    #[must_use]
    #[inline]
    pub const fn has_event(&self) -> bool {
        let is_dead = matches!(self.phase, Phase::Dead(_));
        self.changed_its_mind() || (is_dead && !self.dead_reported)
    }

    /// Whether the peer is under suspicion, or was and nobody was told otherwise.
    #[inline]
    pub(crate) const fn is_in_doubt(&self) -> bool {
        self.suspect | self.suspect_reported
    }

    /// Whether suspicion came or went, and nobody was told.
    #[inline]
    pub(crate) const fn changed_its_mind(&self) -> bool {
        self.suspect != self.suspect_reported
    }

    /// Returns what changed, one change a call.
    pub fn poll_event(&mut self) -> Option<HeartbeatEvent> {
        if self.changed_its_mind() {
            self.suspect_reported = self.suspect;
            return Some(if self.suspect {
                HeartbeatEvent::Suspect
            } else {
                HeartbeatEvent::Recovered
            });
        }
        if let Phase::Dead(reason) = self.phase
            && !self.dead_reported
        {
            self.dead_reported = true;
            return Some(HeartbeatEvent::Dead(reason));
        }
        None
    }

    /// Returns when to call [`handle_timeout`](Self::handle_timeout) at the latest. A sign of life
    /// never moves it. Any other call may, so read it again before each wait.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        (self.deadline != Instant::MAX).then_some(self.deadline)
    }

    // ---- looks

    /// Returns the policy in force.
    #[must_use]
    pub fn config(&self) -> &HeartbeatConfig {
        &self.config
    }

    /// Tells what [`poll_timeout`](Self::poll_timeout) waits for.
    #[must_use]
    pub fn next_timeout_reason(&self) -> Option<HeartbeatTimeout> {
        let deadline = self.poll_timeout()?;
        Some(if deadline == self.stall_deadline() {
            HeartbeatTimeout::WriteStall
        } else if self.phase != Phase::Awaiting {
            HeartbeatTimeout::Ping
        } else if deadline == self.death_deadline() {
            HeartbeatTimeout::Dead
        } else if deadline == self.suspect_deadline() {
            HeartbeatTimeout::Suspect
        } else {
            HeartbeatTimeout::Ping
        })
    }

    /// Returns the numbers. O(1), and allocates nothing.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> HeartbeatSnapshot {
        let now = now.max(self.now);
        let awaits = self.phase == Phase::Awaiting;
        let open = u32::from(!self.latest_is_answered);
        HeartbeatSnapshot {
            since_received: now.saturating_duration_since(self.last_received),
            since_sent: now.saturating_duration_since(self.last_sent),
            awaiting: awaits.then(|| now.saturating_duration_since(self.awaiting_since)),
            suspect: self.suspect,
            rtt: self.rtt,
            pings: self.sequence,
            answered: self.sequence.saturating_sub(self.lost).saturating_sub(open),
            lost: self.lost,
            local_pauses: self.local_pauses,
        }
    }

    /// The payload of the last ping made.
    pub(crate) fn latest_payload(&self) -> PingPayload {
        let [a, b, c, d] = self.nonce.to_be_bytes();
        let [e, f, g, h] = self.sequence.to_be_bytes();
        [a, b, c, d, e, f, g, h]
    }

    pub(crate) fn verdict(&self) -> Option<DeadReason> {
        match self.phase {
            Phase::Dead(reason) => Some(reason),
            _ => None,
        }
    }

    pub(crate) fn shared_config(&self) -> Arc<HeartbeatConfig> {
        Arc::clone(&self.config)
    }

    pub(crate) fn local_pause(&self) -> Duration {
        self.config.local_pause()
    }

    /// The last read attempt that found nothing.
    pub(crate) const fn last_would_block(&self) -> Instant {
        self.last_would_block
    }

    /// Notes the time and nothing else; returns the largest seen.
    #[inline]
    pub(crate) fn observe(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    fn is_alive(&self) -> bool {
        !matches!(self.phase, Phase::Dead(_))
    }

    fn sequence_of(&self, payload: &[u8]) -> Option<u32> {
        let (nonce, sequence) = payload.split_first_chunk::<4>()?;
        let sequence = u32::from_be_bytes(<[u8; 4]>::try_from(sequence).ok()?);
        let ours = u32::from_be_bytes(*nonce) == self.nonce;
        (ours && (1..=self.sequence).contains(&sequence)).then_some(sequence)
    }
}

const _: () = assert!(size_of::<Heartbeat>() <= 128);
