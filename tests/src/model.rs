//! The heartbeat once more: eager, naive, and with every instant written out.
//!
//! It computes what is due from the facts at each call and keeps a log of what it decided. The
//! real one arms a deadline once and lets received data pass by; both must decide the same, at
//! the same nanosecond. Of the real one it knows a single thing: for when it asked to be woken,
//! since sleeping through that is what rule 6 calls a pause of our own, and since a ping that
//! falls due by received data waits for it.

use std::time::Duration;

use wspulse_core::Instant;
use wspulse_core::heartbeat::{DeadReason, Evidence, HeartbeatConfig, Mode};

use crate::rng::Rng;

/// A decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A ping is to be sent; its number.
    Ping(u32),
    /// The peer is under suspicion.
    Suspect,
    /// It spoke again.
    Recovered,
    /// It is gone.
    Dead(DeadReason),
}

/// What the model needs to know of a policy, in plain words.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// When pings are sent.
    pub mode: Mode,
    /// What counts as life.
    pub evidence: Evidence,
    /// The interval.
    pub interval: Duration,
    /// The timeout.
    pub timeout: Duration,
    /// When suspicion begins.
    pub suspect_after: Duration,
    /// How late a drive may be before it is a pause of our own.
    pub local_pause: Duration,
    /// Jitter in percent.
    pub jitter: u8,
}

impl Policy {
    /// The same policy for the real one.
    #[must_use]
    pub fn config(&self) -> HeartbeatConfig {
        HeartbeatConfig::ping(self.interval, self.timeout)
            .mode(self.mode)
            .evidence(self.evidence)
            .suspect_after(self.suspect_after)
            .max_local_pause(self.local_pause)
            .jitter_percent(self.jitter)
    }

    fn pings(&self) -> bool {
        matches!(self.mode, Mode::Idle | Mode::Periodic)
    }
}

/// The last ping.
#[derive(Clone, Copy, Debug)]
struct Ping {
    sent: Option<Instant>,
    /// A sign of life came after it was sent.
    lived: bool,
    /// Its own pong came.
    answered: bool,
}

impl Ping {
    fn is_on_its_way(&self) -> bool {
        self.sent.is_none() && !self.lived
    }
}

/// The naive heartbeat.
#[derive(Debug)]
pub struct Model {
    policy: Policy,
    now: Instant,
    last_in: Instant,
    last_out: Instant,
    last_found_nothing: Instant,
    /// A passive clock, or a periodic one: since when.
    since: Instant,
    ping: Option<Ping>,
    number: u32,
    suspect: bool,
    dead: bool,
    jitter: Rng,
    shorter_by: u64,
    log: Vec<(Instant, Decision)>,
}

/// `at + span`, `None` if that is never.
fn after(at: Instant, span: Duration) -> Option<Instant> {
    Some(at.saturating_add(span)).filter(|&at| at != Instant::MAX)
}

impl Model {
    /// Starts at `now`.
    #[must_use]
    pub fn new(policy: Policy, seed: u64, now: Instant) -> Self {
        let mut jitter = Rng::new(seed);
        jitter.draw(); // the nonce
        let mut model = Self {
            policy,
            now,
            last_in: now,
            last_out: now,
            last_found_nothing: Instant::ZERO,
            since: now,
            ping: None,
            number: 0,
            suspect: false,
            dead: false,
            jitter,
            shorter_by: 0,
            log: Vec::new(),
        };
        model.draw(50);
        model
    }

    /// What was decided so far.
    #[must_use]
    pub fn log(&self) -> &[(Instant, Decision)] {
        &self.log
    }

    /// The time at which the next ping is due, if one is.
    #[must_use]
    pub fn ping_due(&self) -> Option<Instant> {
        if self.dead || !self.policy.pings() || self.ping.is_some_and(|ping| !ping.lived) {
            return None;
        }
        let from = match self.policy.mode {
            Mode::Periodic => self.since,
            _ => self.last_in.min(self.last_out),
        };
        after(from, self.interval())
    }

    /// The time by which the next ping is sent. A ping that falls due by received data waits for
    /// the wake asked for before, which is never later than an interval after that data.
    #[must_use]
    pub fn ping_bound(&self) -> Option<Instant> {
        let due = self.ping_due()?;
        Some(due.max(self.last_in.saturating_add(self.interval())))
    }

    /// The time at which the peer is dead, if it is on trial.
    #[must_use]
    pub fn death_due(&self) -> Option<Instant> {
        after(self.on_trial_since()?, self.policy.timeout)
    }

    // ---- what happened; `woken` is the time that the real one asked for

    fn observe(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    /// Rule 6: whether we overslept. What fell due meanwhile kills nobody; what has yet to fall
    /// due waits for as long again as we were late.
    fn face_lateness(&mut self, woken: Option<Instant>) {
        let late = self
            .now
            .saturating_duration_since(woken.unwrap_or(Instant::MAX));
        let Some(since) = self.on_trial_since().filter(|_| !late.is_zero()) else {
            return;
        };
        match self.death_due().filter(|&due| due <= self.now) {
            Some(_) if late > self.policy.local_pause => self.pardon(),
            Some(_) => {}
            None => {
                let grace = self.now.saturating_add(late);
                let death = since.saturating_add(self.policy.timeout);
                let missing = grace.saturating_duration_since(death);
                let later = since.saturating_add(missing).min(self.now);
                self.since = later;
                if let Some(ping) = self.ping.as_mut().filter(|_| self.policy.pings()) {
                    ping.sent = Some(later);
                }
            }
        }
    }

    /// Bytes came.
    pub fn received(&mut self, now: Instant) {
        let now = self.observe(now);
        if self.policy.evidence == Evidence::AnyByte {
            self.last_in = now;
            return self.life();
        }
        // Nobody read while the deadline passed: what counts may stand behind these bytes.
        let read = self.last_found_nothing.max(self.last_in);
        let away = now.saturating_duration_since(read) > self.policy.local_pause;
        if away && self.death_due().is_some_and(|due| read <= due && due < now) {
            self.pardon();
        }
        self.last_in = now;
    }

    /// A frame ended.
    pub fn frame(&mut self, now: Instant) {
        self.observe(now);
        if self.policy.evidence == Evidence::AnyFrame {
            self.life();
        }
    }

    /// A pong for ping `number` came. It may come before the transport says that the ping left.
    pub fn pong(&mut self, now: Instant, number: u32) {
        self.observe(now);
        let latest = number == self.number && !self.dead;
        if let Some(ping) = self.ping.as_mut().filter(|_| latest)
            && !ping.answered
        {
            ping.answered = true;
            ping.lived = true;
            self.life();
        }
    }

    /// A read attempt found nothing.
    pub fn would_block(&mut self, now: Instant, woken: Option<Instant>) {
        self.last_found_nothing = self.observe(now);
        self.face_lateness(woken);
        self.judge();
    }

    /// Bytes left, and the transport would take more.
    pub fn transmitted(&mut self, now: Instant) {
        let now = self.observe(now);
        if !self.dead {
            self.last_out = now;
        }
    }

    /// The ping's last byte left.
    pub fn ping_sent(&mut self, now: Instant) {
        let now = self.observe(now);
        if self.dead || !self.policy.pings() {
            return;
        }
        if let Some(ping) = self.ping.as_mut().filter(|ping| ping.is_on_its_way()) {
            ping.sent = Some(now);
        }
        self.since = now;
        self.last_out = now;
        self.draw(self.policy.jitter);
        self.ping_if_due();
    }

    /// Woken, or not.
    pub fn timeout(&mut self, now: Instant, woken: Option<Instant>) {
        let now = self.observe(now);
        if woken.is_none_or(|woken| now < woken) {
            return;
        }
        self.face_lateness(woken);
        self.judge();
        self.ping_if_due();
    }

    /// Back from a suspend: one fresh ping, or a fresh silence.
    pub fn resumed(&mut self, now: Instant) {
        self.observe(now);
        self.pardon();
    }

    /// Another policy. Between policies that ping, an outstanding ping stays outstanding.
    pub fn set_policy(&mut self, now: Instant, policy: Policy) {
        let now = self.observe(now);
        let before = self.policy;
        if self.dead || before.config() == policy.config() {
            return;
        }
        self.policy = policy;
        let stays = before.mode == Mode::Passive && policy.mode == Mode::Passive;
        let stays = stays || (before.pings() && policy.pings());
        if !stays {
            if let Some(ping) = &mut self.ping {
                (ping.lived, ping.answered) = (true, true);
            }
            self.since = now;
        }
        self.draw(50);
        self.ping_if_due();
    }

    // ---- the rules

    fn interval(&self) -> Duration {
        let share = self.policy.interval / (1 << 20) * self.shorter_by as u32;
        self.policy.interval.saturating_sub(share)
    }

    fn draw(&mut self, percent: u8) {
        let percent = if self.policy.jitter == 0 { 0 } else { percent };
        let most = (1_u64 << 20) * u64::from(percent) / 100;
        self.shorter_by = ((self.jitter.draw() >> 32) * most) >> 32;
    }

    fn on_trial_since(&self) -> Option<Instant> {
        match self.policy.mode {
            _ if self.dead => None,
            Mode::Off => None,
            Mode::Passive => Some(self.since),
            _ => self.ping.filter(|ping| !ping.lived)?.sent,
        }
    }

    fn judge(&mut self) {
        let Some(since) = self.on_trial_since() else {
            return;
        };
        let reached = |span| after(since, span).is_some_and(|due| self.last_found_nothing >= due);
        let (suspect, dead) = (
            reached(self.policy.suspect_after),
            reached(self.policy.timeout),
        );
        if (suspect || dead) && !self.suspect {
            self.suspect = true;
            self.log.push((self.now, Decision::Suspect));
        }
        if dead {
            self.dead = true;
            let passive = self.policy.mode == Mode::Passive;
            let reason = if passive {
                DeadReason::Silence
            } else {
                DeadReason::PongTimeout
            };
            self.log.push((self.now, Decision::Dead(reason)));
        }
    }

    fn ping_if_due(&mut self) {
        if self.ping_due().is_some_and(|due| due <= self.now) {
            self.make_ping();
        }
    }

    fn make_ping(&mut self) {
        self.number += 1;
        self.ping = Some(Ping {
            sent: None,
            lived: false,
            answered: false,
        });
        self.log.push((self.now, Decision::Ping(self.number)));
    }

    fn life(&mut self) {
        if self.dead {
            return;
        }
        if self.suspect {
            self.suspect = false;
            self.log.push((self.now, Decision::Recovered));
        }
        if let Some(ping) = self.ping.as_mut().filter(|ping| ping.sent.is_some()) {
            ping.lived = true;
        }
        if self.policy.mode == Mode::Passive {
            self.since = self.now;
        }
    }

    /// Our own pause: a fresh ping, unless one is on its way out; or a fresh silence.
    fn pardon(&mut self) {
        if self.dead {
            return;
        }
        let on_its_way = self.ping.is_some_and(|ping| ping.is_on_its_way());
        if self.policy.mode == Mode::Passive {
            self.since = self.now;
        } else if self.policy.pings() && !on_its_way {
            self.make_ping();
        }
    }
}
