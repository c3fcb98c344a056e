//! The liveness rules as a small program: what a heartbeat must do at jitter 0.
//!
//! It follows the wording of rules 1 to 9, 15 and 19 and nothing else: every clock is a stamp, a
//! lateness moves all stamps, and the deadline is computed anew from them. Each rule has a
//! [`Switch`] that takes it out, so that a test can show that the oracles miss it.

use std::time::Duration;

use wspulse_core::Instant;
use wspulse_core::heartbeat::{Evidence, Mode};

use super::heartbeat::{Engine, Event};
use super::oracle::{Death, Policy, span};
pub use super::switch::{Call, Switch};

/// A heartbeat by the rules.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    without: Option<Switch>,
    policy: Policy,
    phase: Phase,
    /// The largest time seen, and the armed deadline.
    seen: Instant,
    armed: Instant,
    evidence_at: Instant,
    sent_at: Instant,
    /// The last byte read, or the last look (rule 19).
    unread_since: Instant,
    not_read: Told,
    /// Since when an answer is awaited, or a sign of life by a passive policy.
    awaiting_since: Instant,
    /// E of rule 5.
    extension: Duration,
    suspect_since: Option<Instant>,
    suspicion_told: bool,
    death_told: bool,
    grace_used: bool,
    /// Pings made, and the number of the last one that left, and when.
    pings: u16,
    left: u16,
    left_at: Instant,
    latest_is_answered: bool,
    is_spoiled: bool,
    /// Smoothed round trip and its variation in microseconds (RFC 6298).
    rtt: Option<(u64, u64)>,
    output: Output,
}

/// What is known of the transport.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Output {
    /// The last progress of a transport that takes no more.
    stalled_since: Option<Instant>,
    /// Since when it has taken everything, after it had not.
    open_since: Instant,
    /// Whether it was full since all bytes were covered by a pong.
    was_full: bool,
    /// Bytes taken that no matching pong covers, and those taken after the last ping.
    uncovered: u64,
    after_ping: u64,
    window_from: Instant,
    window_bytes: u64,
    /// Bytes and the time in which they drained.
    rate: Option<(u64, Duration)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// No ping is out.
    Quiet,
    /// One is due.
    Due,
    /// One was handed out, and not yet taken.
    Queued,
    /// An answer is awaited.
    Awaiting,
    Dead(Death),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Told {
    Nothing,
    Due,
    Said,
}

impl Reference {
    /// Starts at tick 0.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        Self::without(policy, None)
    }

    /// Starts at tick 0, with a part of a rule taken out.
    #[must_use]
    pub fn without(policy: &Policy, without: Option<Switch>) -> Self {
        let mut reference = Self {
            without,
            policy: *policy,
            phase: Phase::Quiet,
            seen: Instant::ZERO,
            armed: Instant::MAX,
            evidence_at: Instant::ZERO,
            sent_at: Instant::ZERO,
            unread_since: Instant::ZERO,
            not_read: Told::Nothing,
            awaiting_since: Instant::ZERO,
            extension: Duration::ZERO,
            suspect_since: None,
            suspicion_told: false,
            death_told: false,
            grace_used: false,
            pings: 0,
            left: 0,
            left_at: Instant::ZERO,
            latest_is_answered: true,
            is_spoiled: false,
            rtt: None,
            output: Output {
                stalled_since: None,
                open_since: Instant::ZERO,
                was_full: false,
                uncovered: 0,
                after_ping: 0,
                window_from: Instant::ZERO,
                window_bytes: 0,
                rate: None,
            },
        };
        if reference.expects() {
            reference.phase = Phase::Awaiting;
        }
        reference.arm();
        reference
    }

    fn has(&self, switch: Switch) -> bool {
        self.without != Some(switch)
    }

    fn is_dead(&self) -> bool {
        matches!(self.phase, Phase::Dead(_))
    }

    fn expects(&self) -> bool {
        self.policy.mode == Mode::Passive && self.has(Switch::PassiveExpects)
    }

    /// Rule 6: lateness is counted before the call has any effect.
    fn observe(&mut self, now: Instant, call: Call) {
        let now = now.max(self.seen);
        let late = now.saturating_duration_since(self.armed.max(self.seen));
        if self.has(Switch::ShiftOnce) {
            self.seen = now;
        } else {
            self.seen = self.seen.max(self.armed.min(now));
        }
        if late.is_zero() || self.is_dead() {
            return;
        }
        self.is_spoiled = true;
        if self.has(Switch::Shift) && self.has(Switch::ShiftAt(call)) {
            let stamps = [
                &mut self.evidence_at,
                &mut self.sent_at,
                &mut self.left_at,
                &mut self.awaiting_since,
                &mut self.unread_since,
                &mut self.output.open_since,
                &mut self.armed,
            ];
            for stamp in stamps {
                *stamp = stamp.saturating_add(late);
            }
            if self.has(Switch::ShiftSuspicion)
                && let Some(since) = &mut self.suspect_since
            {
                *since = since.saturating_add(late);
            }
            if self.has(Switch::ShiftStall)
                && let Some(since) = &mut self.output.stalled_since
            {
                *since = since.saturating_add(late);
            }
        }
        // Rule 5: a rate is measured over windows without a pause.
        self.output.window_from = now;
        self.output.window_bytes = 0;
        if late * 4 > span(self.policy.timeout) {
            self.seen = now;
            self.grace();
        }
    }

    /// Rule 6: a fresh ping after a pause, and the full timeout once.
    fn grace(&mut self) {
        let pings = self.policy.pings();
        match self.phase {
            Phase::Quiet if pings && self.has(Switch::GraceOfQuiet) => self.make_ping(),
            Phase::Awaiting if !self.grace_used && self.has(Switch::GraceOfAwaiting) => {
                self.grace_used = self.has(Switch::GraceOnce);
                if pings {
                    self.make_ping();
                } else {
                    self.awaiting_since = self.seen;
                }
            }
            _ => return,
        }
        if !self.has(Switch::SuspicionStays) {
            self.suspect_since = None;
        }
        self.arm();
    }

    fn life(&mut self) {
        let too_late = !self.has(Switch::BytesWin)
            && self.phase == Phase::Awaiting
            && self.seen >= self.death_at();
        if self.is_dead() || too_late {
            return;
        }
        self.evidence_at = self.seen;
        self.suspect_since = None;
        self.grace_used = false;
        if self.phase == Phase::Awaiting {
            if self.policy.pings() {
                self.phase = Phase::Quiet;
            } else {
                self.awaiting_since = self.seen;
            }
        }
    }

    /// Rules 6 and 7: by a read that finds nothing now.
    fn judge(&mut self) {
        if self.phase != Phase::Awaiting {
            return;
        }
        if self.seen >= self.suspect_at() && self.has(Switch::Suspect) {
            self.suspect_since = self.suspect_since.or(Some(self.seen));
        }
        if self.seen >= self.death_at() {
            self.die(Death::Silence);
        }
    }

    fn die(&mut self, death: Death) {
        self.phase = Phase::Dead(death);
        self.armed = Instant::MAX;
    }

    fn suspect_at(&self) -> Instant {
        let after = self.suspect_after().saturating_add(self.extension);
        self.awaiting_since.saturating_add(after)
    }

    fn death_at(&self) -> Instant {
        let timeout = match self.has(Switch::Timeout) {
            true => self.answer_timeout(),
            false => self.answer_timeout() * 2,
        };
        let plain = self
            .awaiting_since
            .saturating_add(timeout.saturating_add(self.extension));
        match self.suspect_since {
            Some(told) if self.has(Switch::Guard) => {
                plain.max(told.saturating_add(self.answer_timeout() - self.suspect_after()))
            }
            _ => plain,
        }
    }

    fn answer_timeout(&self) -> Duration {
        span(self.policy.timeout)
    }

    fn interval(&self) -> Duration {
        span(self.policy.interval)
    }

    fn stall_timeout(&self) -> Duration {
        span(self.policy.write_stall)
    }

    /// Rule 7: max(T/2, srtt + 4 var), at most 3T/4, where it was not set.
    fn suspect_after(&self) -> Duration {
        if let Some(ticks) = self.policy.suspect_after {
            return span(ticks);
        }
        let (smoothed, variation) = self.rtt.unwrap_or_default();
        let timeout = self.answer_timeout();
        Duration::from_micros(smoothed + 4 * variation)
            .max(timeout / 2)
            .min(timeout * 3 / 4)
    }

    fn ping_due(&self) -> Instant {
        let since = match self.policy.mode {
            Mode::Periodic if self.has(Switch::PeriodicIsPeriodic) => self.left_at,
            Mode::Idle | Mode::Periodic => {
                match (
                    self.has(Switch::PingAfterNothingIn),
                    self.has(Switch::PingAfterNothingOut),
                ) {
                    (false, _) => self.sent_at,
                    (_, false) => self.evidence_at,
                    _ => self.evidence_at.min(self.sent_at),
                }
            }
            _ => return Instant::MAX,
        };
        since.saturating_add(self.interval())
    }

    fn make_ping(&mut self) {
        self.phase = Phase::Due;
        self.pings += 1;
        self.latest_is_answered = false;
        self.is_spoiled = false;
    }

    /// Makes a ping that is due, and arms the earliest deadline after now.
    fn arm(&mut self) {
        let now = self.seen;
        let another = !self.has(Switch::OnePing)
            && self.phase == Phase::Awaiting
            && self.awaiting_since.saturating_add(self.interval()) <= now;
        if (another || self.phase == Phase::Quiet) && self.ping_due() <= now {
            self.make_ping();
        }
        if self.unread_at() <= now && self.not_read == Told::Nothing {
            self.not_read = Told::Due;
        }
        let at_now = !self.has(Switch::TriedAgainLater);
        let mut armed = Instant::MAX;
        let mut at = |deadline: Instant| {
            if deadline > now || at_now && deadline == now {
                armed = armed.min(deadline);
            }
        };
        let half = self.answer_timeout() / 2;
        match self.phase {
            Phase::Quiet => at(self.ping_due()),
            Phase::Due | Phase::Queued if self.output.stalled_since.is_none() => {
                at(now.saturating_add(half));
            }
            Phase::Due | Phase::Queued => {}
            Phase::Awaiting => {
                at(self.suspect_at());
                at(self.death_at());
                if self.policy.pings() && self.has(Switch::CappedByInterval) {
                    let due = self.awaiting_since.saturating_add(self.interval());
                    at(due);
                    at(now.saturating_add(self.interval()));
                }
                if !self.policy.pings() {
                    at(now.saturating_add(self.suspect_after()));
                }
                if self.has(Switch::Steps) {
                    at(step(self.awaiting_since, half, now));
                }
                if self.death_at() <= now {
                    let again = match self.has(Switch::TriedAgainLater) {
                        true => half,
                        false => Duration::ZERO,
                    };
                    at(now.saturating_add(again));
                }
            }
            Phase::Dead(_) => return,
        }
        if let Some(since) = self.output.stalled_since {
            let dies_at = since.saturating_add(self.stall_timeout());
            at(dies_at);
            if self.has(Switch::Steps) {
                at(since.saturating_add(self.stall_timeout() / 2));
            }
            if dies_at <= now {
                at(now.saturating_add(half));
            }
        }
        if self.not_read == Told::Nothing {
            at(self.unread_at());
        }
        self.armed = armed;
    }

    /// Rule 19.
    fn unread_at(&self) -> Instant {
        let after = match self.policy.mode {
            _ if !self.has(Switch::NotRead) => return Instant::MAX,
            Mode::Off => return Instant::MAX,
            Mode::Passive => self.answer_timeout() * 2,
            _ => self.interval() + self.answer_timeout() * 2,
        };
        self.unread_since.saturating_add(after)
    }

    /// Rule 5: an attempt that finds the transport blocked after the ping left may lengthen E.
    fn lengthen(&mut self) {
        let output = &self.output;
        let ahead = output.uncovered - output.after_ping;
        let is_full = output.was_full && output.stalled_since.is_some();
        if ahead == 0 || !is_full || !self.has(Switch::Extension) {
            return;
        }
        let longest = match self.has(Switch::ExtensionIsBound) {
            true => self.stall_timeout(),
            false => self.stall_timeout() * 64,
        };
        let time = self.seen.saturating_duration_since(output.window_from);
        let mut drains_in = match output.rate {
            Some(rate) => drain_time(ahead, rate),
            None => longest,
        };
        if output.rate.is_some() && time * 4 > span(self.policy.timeout) {
            drains_in = drains_in.max(drain_time(ahead, (output.window_bytes, time)));
        }
        self.extension = self.extension.max(drains_in.min(longest));
    }

    /// A rate is remembered while a ping's clock may depend on it.
    fn forget_rate(&mut self) {
        let is_wanted = self.output.was_full && self.policy.pings();
        if !is_wanted && self.output.stalled_since.is_none() {
            self.output.was_full = false;
            self.output.rate = None;
        }
    }

    fn handled_bytes(&mut self) {
        self.unread_since = self.seen;
        self.not_read = Told::Nothing;
    }

    /// Rule 5: E, from what stood before the ping.
    fn extension_now(&self) -> Duration {
        let output = &self.output;
        let longest = match self.has(Switch::ExtensionIsBound) {
            true => self.stall_timeout(),
            false => Duration::MAX,
        };
        if !output.was_full || !self.has(Switch::Extension) {
            return Duration::ZERO;
        }
        let Some(rate) = output.rate else {
            return longest.min(self.stall_timeout() * 64);
        };
        let drains_in = drain_time(output.uncovered, rate);
        let drained_for = match output.stalled_since {
            Some(_) => Duration::ZERO,
            None => self.seen.saturating_duration_since(output.open_since),
        };
        drains_in.saturating_sub(drained_for).min(longest)
    }
}

/// Goes one `parts`th of the way, rounded towards where it is (RFC 6298 section 2).
const fn approach(from: u64, to: u64, parts: u64) -> u64 {
    if to > from {
        from + (to - from) / parts
    } else {
        from - (from - to) / parts
    }
}

/// Half of a rate is believed.
fn drain_time(ahead: u64, (bytes, time): (u64, Duration)) -> Duration {
    if bytes == 0 {
        return Duration::MAX;
    }
    let nanos = u128::from(ahead) * time.as_nanos() * 2 / u128::from(bytes);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

impl Engine for Reference {
    fn received(&mut self, now: Instant) {
        self.observe(now, Call::Received);
        self.handled_bytes();
        let is_evidence = match self.policy.evidence {
            Evidence::AnyByte => self.has(Switch::BytesAreLife),
            _ => !self.has(Switch::EvidenceIsChosen),
        };
        if is_evidence {
            self.life();
        }
    }

    fn frame(&mut self, now: Instant) {
        self.observe(now, Call::Received);
        let is_evidence = self.policy.evidence == Evidence::AnyFrame
            || self.policy.evidence == Evidence::AnyByte && !self.has(Switch::BytesAreLife);
        if is_evidence {
            self.life();
        }
    }

    fn pong(&mut self, now: Instant, number: u16) -> Option<Duration> {
        self.observe(now, Call::Received);
        if number == self.left && number > 0 {
            let output = &mut self.output;
            output.uncovered = output.after_ping;
            output.was_full &= output.stalled_since.is_some() || output.after_ping > 0;
            // What followed the ping stood behind it, and drains from now on.
            output.open_since = self.seen;
            self.forget_rate();
        }
        let is_latest = number == self.pings || number > 0 && !self.has(Switch::LatestPong);
        let is_first = !self.latest_is_answered || !self.has(Switch::SampleOnce);
        if !is_latest || !is_first || self.phase == Phase::Due || self.is_dead() {
            return None;
        }
        self.latest_is_answered = true;
        if self.policy.evidence == Evidence::MatchingPong {
            self.life();
        }
        if self.is_spoiled && self.has(Switch::SampleWithoutPause) {
            return None;
        }
        let sample = self.seen.saturating_duration_since(self.left_at);
        let micros = u64::from(u32::try_from(sample.as_micros()).unwrap_or(u32::MAX)).max(1);
        self.rtt = Some(match self.rtt {
            None => (micros, micros / 2),
            Some((smoothed, variation)) => (
                approach(smoothed, micros, 8),
                approach(variation, smoothed.abs_diff(micros), 4),
            ),
        });
        Some(sample)
    }

    fn would_block(&mut self, now: Instant) {
        self.observe(now, Call::WouldBlock);
        self.handled_bytes();
        self.judge();
    }

    fn transmitted(&mut self, now: Instant, taken: u32, blocked: bool) {
        self.observe(now, Call::Transmitted);
        if self.is_dead() {
            return;
        }
        let now = self.seen;
        let bytes = u64::from(taken);
        if taken > 0 {
            self.sent_at = now;
            if !self.has(Switch::WriteIsNoEvidence) {
                self.life();
            }
        }
        let output = &mut self.output;
        output.uncovered += bytes;
        output.after_ping += bytes;
        let was_blocked = output.stalled_since.is_some();
        if was_blocked && taken > 0 && now > output.window_from {
            output.window_bytes += bytes;
            let time = now.saturating_duration_since(output.window_from);
            // A window shorter than that is a matter of chance.
            if time * 4 > span(self.policy.timeout) {
                output.rate = Some((output.window_bytes, time));
                output.window_from = now;
                output.window_bytes = 0;
            }
        }
        output.was_full |= blocked;
        if was_blocked && !blocked {
            output.open_since = now;
        }
        if blocked && !was_blocked {
            output.window_from = now;
            output.window_bytes = 0;
        }
        match self.output.stalled_since {
            _ if !blocked => self.output.stalled_since = None,
            Some(since) if taken == 0 => {
                if since.saturating_add(self.stall_timeout()) <= now
                    && self.has(Switch::StallIsDeath)
                {
                    self.die(Death::WriteStalled);
                    return;
                }
            }
            Some(_) if !self.has(Switch::ProgressPostpones) => {}
            _ => self.output.stalled_since = Some(now),
        }
        if self.phase == Phase::Awaiting && self.policy.pings() {
            self.lengthen();
        }
        self.forget_rate();
        self.arm();
    }

    fn ping_sent(&mut self, now: Instant) {
        self.observe(now, Call::Transmitted);
        let is_out = self.left != self.pings && !matches!(self.phase, Phase::Due | Phase::Dead(_));
        if !is_out || !self.policy.pings() {
            return;
        }
        // A ping that counted as lost when the policy changed, and left nevertheless: its pong is
        // evidence, and no sample.
        self.is_spoiled = self.phase != Phase::Queued;
        self.latest_is_answered &= !self.is_spoiled;
        self.phase = Phase::Awaiting;
        if self.has(Switch::ClockFromLastByte) {
            self.awaiting_since = self.seen;
        }
        self.sent_at = self.seen;
        self.left_at = self.seen;
        self.left = self.pings;
        self.extension = self.extension_now();
        self.output.after_ping = 0;
        if !self.has(Switch::NoBurst) && self.pings.is_multiple_of(2) {
            self.make_ping();
        }
        self.arm();
    }

    fn timeout(&mut self, now: Instant) {
        self.observe(now, Call::Timeout);
        if self.seen < self.armed || self.is_dead() {
            return;
        }
        if !self.has(Switch::DeathNeedsLook) {
            self.judge();
        }
        if self.is_dead() {
            return;
        }
        if !self.has(Switch::StallNeedsAttempt)
            && let Some(since) = self.output.stalled_since
            && since.saturating_add(self.stall_timeout()) <= self.seen
        {
            self.die(Death::WriteStalled);
            return;
        }
        self.arm();
    }

    fn resumed(&mut self, now: Instant) {
        self.observe(now, Call::Resumed);
        if self.has(Switch::GraceOnResumed) {
            self.is_spoiled = true;
            self.grace();
        }
    }

    fn set_policy(&mut self, now: Instant, policy: &Policy) {
        self.observe(now, Call::Set);
        if self.is_dead() || *policy == self.policy && self.has(Switch::SameIsNoChange) {
            return;
        }
        if !self.has(Switch::ChangeTakesEffect) {
            return;
        }
        let pinged = self.policy.pings();
        self.policy = *policy;
        let is_awaited = self.phase == Phase::Awaiting || self.expects();
        if is_awaited && !self.grace_used && self.has(Switch::ChangeRestarts) {
            self.grace_used = self.has(Switch::ChangeUsesGrace);
            self.awaiting_since = self.seen;
        }
        self.extension = self.extension.min(self.stall_timeout());
        if pinged != policy.pings() || policy.mode == Mode::Off {
            // An outstanding ping belongs to the old policy: it counts as lost.
            self.latest_is_answered = true;
            self.extension = Duration::ZERO;
            self.phase = Phase::Quiet;
        }
        if policy.mode == Mode::Passive {
            self.phase = Phase::Awaiting;
        }
        if policy.mode == Mode::Off {
            self.suspect_since = None;
        }
        if !self.has(Switch::OldStamps) {
            self.evidence_at = self.seen;
            self.sent_at = self.seen;
        }
        self.forget_rate();
        self.arm();
    }

    fn poll_ping(&mut self) -> Option<u16> {
        if self.phase != Phase::Due {
            return None;
        }
        self.phase = Phase::Queued;
        if !self.has(Switch::ClockFromLastByte) {
            self.awaiting_since = self.seen;
        }
        Some(self.pings)
    }

    fn poll_event(&mut self) -> Option<Event> {
        let is_suspect = self.suspect_since.is_some();
        if is_suspect && !self.suspicion_told {
            self.suspicion_told = true;
            return Some(Event::Suspect);
        }
        if !is_suspect && self.suspicion_told && self.has(Switch::Recovered) {
            self.suspicion_told = false;
            return Some(Event::Recovered);
        }
        if self.not_read == Told::Due {
            self.not_read = Told::Said;
            return Some(Event::NotRead);
        }
        match self.phase {
            Phase::Dead(death) if !self.death_told => {
                self.death_told = true;
                Some(Event::Dead(death))
            }
            _ => None,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        (self.armed != Instant::MAX).then_some(self.armed)
    }
}

/// The first multiple of `length` after `since` that is later than `now`.
fn step(since: Instant, length: Duration, now: Instant) -> Instant {
    let length = length.max(Duration::from_nanos(1));
    let passed = now.saturating_duration_since(since);
    let steps = passed.as_nanos() / length.as_nanos() + 1;
    let steps = u32::try_from(steps).unwrap_or(u32::MAX);
    since.saturating_add(length.saturating_mul(steps))
}
