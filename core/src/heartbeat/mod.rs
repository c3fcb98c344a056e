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

mod answer;
mod config;
mod drain;
mod pause;
mod report;
mod rtt;
mod schedule;
mod suspicion;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;

pub use config::{Evidence, HeartbeatConfig, Mode};
use drain::Drain;
pub(crate) use drain::Room;
pub use report::{DeadReason, HeartbeatEvent, HeartbeatSnapshot, HeartbeatTimeout, PongMatch};
pub use rtt::Rtt;
use schedule::mix;
pub(crate) use schedule::{half, step};

use crate::error::ConfigError;
use crate::time::Instant;

/// The payload of a heartbeat's ping, 16 lower-case hexadecimal digits: a nonce of the connection,
/// and a number. Peers and proxies that treat payloads as text keep them as they are.
pub type PingPayload = [u8; 16];

/// Decides when to ping and when the peer is dead.
///
/// Everything is O(1). The heap is touched only while a transport is blocked, or was lately, while
/// the peer is suspect, and when a policy changes while an answer is awaited.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Heartbeat {
    config: Arc<HeartbeatConfig>,
    /// The largest time seen; time does not run backwards here.
    now: Instant,
    /// The armed deadline, `MAX` for none. At or before every deadline that the facts imply.
    deadline: Instant,
    /// The last evidence of life, the last byte read, and the last byte taken by the transport.
    evidence_at: Instant,
    last_received: Instant,
    last_sent: Instant,
    /// The last read attempt that found nothing.
    last_would_block: Instant,
    /// When the last byte of the last ping left.
    left_at: Instant,
    rare: Option<Box<Rare>>,
    /// Bytes taken by the transport that no matching pong covers, and those since the last ping.
    uncovered: u32,
    after_ping: u32,
    nonce: u32,
    sequence: u32,
    lost: u32,
    rtt: Option<Rtt>,
    /// How far before its interval's end the next ping is due, in units of 2^-16.
    early: u16,
    local_pauses: u16,
    phase: Phase,
    answer: Answer,
    not_read: NotRead,
    /// Pings made since one last left.
    pings_unsent: u8,
    /// Requests without a number that wait for their answers.
    unnumbered: u8,
    /// Whether the full timeout was granted once more since the last evidence of life (rule 6).
    grace_used: bool,
    /// What `poll_event` has reported of suspicion, and of death.
    suspect_reported: bool,
    dead_reported: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// No ping is outstanding.
    Quiet,
    /// A ping should be sent.
    Due,
    /// A ping was handed out, and not yet taken by the transport.
    Queued,
    /// Its pong came before the transport said that it left.
    Early,
    /// A sign of life is awaited.
    Awaiting,
    Dead(DeadReason),
}

/// Whether the pong of the last ping made is yet to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Answer {
    None,
    Awaited,
    /// A pause or a change lies between: it will give no sample of the round-trip time.
    AwaitedUntimed,
}

/// Rule 19: the word that nobody reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum NotRead {
    Untold,
    Due,
    Told,
}

/// What few connections have, and not for long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Rare {
    /// The transport is blocked, or was lately.
    drain: Option<Drain>,
    suspect_since: Option<Instant>,
    /// The wait for a sign of life began anew, after a pause or with another policy.
    restarted_at: Option<Instant>,
}

impl Rare {
    fn shift(&mut self, late: Duration, now: Instant) {
        for stamp in [&mut self.suspect_since, &mut self.restarted_at] {
            *stamp = stamp.map(|stamp| stamp.saturating_add(late));
        }
        if let Some(drain) = &mut self.drain {
            drain.shift(late, now);
        }
    }
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
            evidence_at: now,
            last_received: now,
            last_sent: now,
            last_would_block: Instant::ZERO,
            left_at: now,
            rare: None,
            uncovered: 0,
            after_ping: 0,
            nonce: mix(seed),
            sequence: 0,
            lost: 0,
            rtt: None,
            early: 0,
            local_pauses: 0,
            phase: Phase::Quiet,
            answer: Answer::None,
            not_read: NotRead::Untold,
            pings_unsent: 0,
            unnumbered: 0,
            grace_used: false,
            suspect_reported: false,
            dead_reported: false,
        };
        if heartbeat.config.mode == Mode::Passive {
            heartbeat.phase = Phase::Awaiting;
        }
        heartbeat.begin();
        heartbeat
    }

    // ---- what happened

    /// Bytes came. Stores a stamp; never moves the deadline of a call that is not late.
    #[inline]
    pub fn handle_received(&mut self, now: Instant) {
        self.observe(now);
        self.last_received = self.now;
        self.not_read = NotRead::Untold;
        if self.config.evidence == Evidence::AnyByte {
            self.handle_life();
        }
    }

    /// A frame, or whatever the protocol's unit is, came to its end.
    #[inline]
    pub fn handle_frame(&mut self, now: Instant) {
        self.observe(now);
        if self.config.evidence == Evidence::AnyFrame {
            self.handle_life();
        }
    }

    /// Bytes came, and a frame in them to its end.
    #[inline]
    pub(crate) fn handle_message(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Quiet) && self.rare.is_none() {
            // No ping is out and nothing is held against the peer: only stamps change.
            self.observe(now);
            self.last_received = self.now;
            self.not_read = NotRead::Untold;
            if self.config.evidence != Evidence::MatchingPong {
                self.evidence_at = self.now;
                self.grace_used = false;
            }
            return;
        }
        self.handle_received(now);
        self.handle_frame(now);
    }

    /// A read attempt that began at `now` found nothing. Take `now` before the attempt: only this
    /// can turn silence into death (rule 6), and a time after it would blame the peer for a pause in
    /// between. An attempt that was interrupted found nothing out.
    pub fn handle_would_block(&mut self, now: Instant) {
        self.observe(now);
        self.look();
        self.judge();
    }

    /// A read attempt found nothing, and nothing is to be judged by it here.
    pub(crate) fn look(&mut self) {
        self.last_would_block = self.now;
        self.not_read = NotRead::Untold;
    }

    /// The transport took `taken` bytes of the output. `blocked` tells that it would take no more
    /// for now; report that also when it took none.
    pub fn handle_transmitted(&mut self, now: Instant, taken: usize, blocked: bool) {
        let room = if blocked { Room::None } else { Room::Left };
        self.handle_write(now, taken, room);
    }

    pub(crate) fn handle_write(&mut self, now: Instant, taken: usize, room: Room) {
        self.observe(now);
        if !self.is_alive() {
            return;
        }
        let now = self.now;
        let bytes = u32::try_from(taken).unwrap_or(u32::MAX);
        if taken > 0 {
            self.last_sent = now;
            self.uncovered = self.uncovered.saturating_add(bytes);
            self.after_ping = self.after_ping.saturating_add(bytes);
        }
        // Rule 5: an attempt at or after the deadline that took nothing.
        let is_vain = taken == 0 && room != Room::Left;
        if is_vain && self.stalled_since().is_some() && self.stall_deadline() <= now {
            return self.die(DeadReason::WriteStalled);
        }
        let timeout = self.config.timeout;
        let shortest = || timeout.checked_div(4).unwrap_or_default();
        if room != Room::Left {
            let shortest = shortest();
            let ahead = self.uncovered.saturating_sub(self.after_ping).into();
            let is_awaited = self.phase == Phase::Awaiting && self.config.pings();
            let longest = self.longest_extension();
            let drain = self.rare_mut().drain.get_or_insert_default();
            drain.report(now, bytes.into(), room, shortest);
            if is_awaited {
                drain.lengthen(now, ahead, shortest, longest);
            }
        } else if let Some(rare) = &mut self.rare
            && let Some(drain) = &mut rare.drain
        {
            drain.report(now, bytes.into(), room, shortest());
            self.drop_rare();
        }
        self.arm();
    }

    /// The last byte of the ping was taken by the transport: its clock starts (rule 4). Call
    /// [`handle_transmitted`](Self::handle_transmitted) first.
    pub fn handle_ping_sent(&mut self, now: Instant) {
        self.observe(now);
        let is_out = self.pings_unsent > 0 && !matches!(self.phase, Phase::Due | Phase::Dead(_));
        if !is_out || !self.config.pings() {
            return;
        }
        let now = self.now;
        self.answer = match (self.phase, self.answer) {
            (Phase::Early, answer) => answer,
            (Phase::Queued, _) => Answer::Awaited,
            // It was counted as lost when the policy changed, and left nevertheless.
            _ => Answer::AwaitedUntimed,
        };
        self.phase = match self.phase {
            Phase::Early => Phase::Quiet,
            _ => Phase::Awaiting,
        };
        self.left_at = now;
        self.last_sent = now;
        self.pings_unsent = 0;
        self.after_ping = 0;
        let (ahead, longest) = (self.uncovered.into(), self.longest_extension());
        if let Some(rare) = &mut self.rare {
            rare.restarted_at = None;
            if let Some(drain) = &mut rare.drain {
                drain.extend(now, ahead, longest);
            }
            self.drop_rare();
        }
        self.early = self.draw_early(self.config.jitter_percent);
        self.arm();
    }

    /// A deadline may have passed. Early and repeated calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.observe(now);
        if self.now < self.deadline || self.deadline == Instant::MAX {
            return;
        }
        self.arm();
    }

    /// This side was paused in a way the caller's clock did not show, such as a suspend: a fresh
    /// ping, and once since the last sign of life the full timeout (rule 6).
    pub fn handle_resumed(&mut self, now: Instant) {
        let pauses = self.local_pauses;
        self.observe(now);
        if !self.is_alive() || pauses != self.local_pauses {
            return; // or its clock did show it
        }
        self.spoil_sample();
        self.note_pause();
    }

    /// Changes the policy (rule 15). The same policy again changes nothing. Where no ping is out, the
    /// new interval counts from the old stamps. Where an answer is awaited, the first change since
    /// the last sign of life grants the new timeout whole; later ones go by when the wait began.
    ///
    /// # Errors
    /// [`ConfigError`] if the configuration cannot work; the one before stays.
    pub fn set_config(&mut self, now: Instant, config: HeartbeatConfig) -> Result<(), ConfigError> {
        config.validate()?;
        self.observe(now);
        if config == *self.config || !self.is_alive() {
            return Ok(());
        }
        let before = self.config.pings();
        let since = self.awaiting_since();
        self.config = Arc::new(config);
        let is_passive = config.mode == Mode::Passive;
        if before != config.pings() || config.mode == Mode::Off {
            // An outstanding ping belongs to the old policy: it counts as lost.
            if core::mem::replace(&mut self.answer, Answer::None) != Answer::None {
                self.lost = self.lost.saturating_add(1);
            }
        }
        let longest = match before == config.pings() {
            true => self.longest_extension(),
            false => Duration::ZERO,
        };
        if let Some(drain) = self.rare.as_mut().and_then(|rare| rare.drain.as_mut()) {
            drain.limit_extension(longest);
        }
        let is_awaited = self.phase == Phase::Awaiting || is_passive;
        if is_awaited && !self.grace_used {
            self.grace_used = true;
            self.restart_wait();
        } else if self.grace_used && self.awaiting_since() != since {
            // Another way of waiting goes by the same fact.
            self.rare_mut().restarted_at = Some(since);
        }
        if is_passive {
            self.phase = Phase::Awaiting;
        } else if before != config.pings() || config.mode == Mode::Off {
            self.phase = Phase::Quiet;
        }
        if config.mode == Mode::Off
            && let Some(rare) = &mut self.rare
        {
            rare.suspect_since = None;
        }
        self.drop_rare();
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
    pub fn has_event(&self) -> bool {
        let is_dead = matches!(self.phase, Phase::Dead(_));
        let is_unread = matches!(self.not_read, NotRead::Due);
        self.suspicion_changed() || is_unread || (is_dead && !self.dead_reported)
    }

    /// Whether an event waits, or may come of the next byte.
    #[inline]
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.is_suspect() | self.suspect_reported | matches!(self.not_read, NotRead::Due)
    }

    /// Whether suspicion came or went, and nobody was told.
    #[inline]
    pub(crate) fn suspicion_changed(&self) -> bool {
        self.is_suspect() != self.suspect_reported
    }

    /// Returns what changed, one change a call.
    pub fn poll_event(&mut self) -> Option<HeartbeatEvent> {
        if self.suspicion_changed() {
            self.suspect_reported = self.is_suspect();
            return Some(if self.suspect_reported {
                HeartbeatEvent::Suspect
            } else {
                HeartbeatEvent::Recovered
            });
        }
        if self.not_read == NotRead::Due {
            self.not_read = NotRead::Told;
            return Some(HeartbeatEvent::NotRead);
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
    /// never moves it, unless it is told later than that. Any other call may, so read it again
    /// before each wait.
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
        let awaits = self.phase == Phase::Awaiting;
        Some(if deadline == self.stall_deadline() {
            HeartbeatTimeout::WriteStall
        } else if awaits && deadline == self.death_deadline() {
            HeartbeatTimeout::Dead
        } else if awaits && deadline == self.suspect_deadline() {
            HeartbeatTimeout::Suspect
        } else if self.phase == Phase::Quiet && deadline == self.ping_due() {
            HeartbeatTimeout::Ping
        } else if deadline == self.unread_deadline() {
            HeartbeatTimeout::NotRead
        } else {
            HeartbeatTimeout::Step
        })
    }

    /// Returns the numbers. O(1), and allocates nothing.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> HeartbeatSnapshot {
        let now = now.max(self.now);
        let awaits = self.phase == Phase::Awaiting;
        let open = u32::from(self.answer != Answer::None);
        HeartbeatSnapshot {
            since_received: now.saturating_duration_since(self.last_received),
            since_sent: now.saturating_duration_since(self.last_sent),
            awaiting: awaits.then(|| now.saturating_duration_since(self.awaiting_since())),
            suspect: self.is_suspect(),
            not_read: self.not_read != NotRead::Untold,
            rtt: self.rtt,
            pings: self.sequence,
            answered: self.sequence.saturating_sub(self.lost).saturating_sub(open),
            lost: self.lost,
            local_pauses: self.local_pauses,
        }
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

    /// Whether a connection that nobody reads is to be ended (rule 19).
    pub(crate) fn is_unread_for_too_long(&self) -> bool {
        self.not_read != NotRead::Untold && self.config.unread_timeout.is_some()
    }

    /// The last read attempt that found nothing.
    pub(crate) const fn last_would_block(&self) -> Instant {
        self.last_would_block
    }

    fn is_alive(&self) -> bool {
        !matches!(self.phase, Phase::Dead(_))
    }

    fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Frees the box once nothing is in it.
    fn drop_rare(&mut self) {
        let pings = self.config.pings();
        let Some(rare) = &mut self.rare else {
            return;
        };
        if rare
            .drain
            .as_ref()
            .is_some_and(|drain| drain.is_spent(pings))
        {
            rare.drain = None;
        }
        if **rare == Rare::default() {
            self.rare = None;
        }
    }
}

const _: () = assert!(size_of::<Heartbeat>() <= 128);
