//! What must hold, whatever the peer, the path and this host do.
//!
//! A [`Watch`] stands beside the code under test and is told the same story: which calls were
//! made, what was read, what the transport took, which events came. It keeps its own clocks and
//! asks the code for nothing but the deadline it armed, since sleeping past that is what rule 6
//! calls lateness. Each check returns a [`Violation`], which names an [`Oracle`] and the way in
//! which it fell.

use std::fmt;
use std::time::Duration;

use wspulse_core::Instant;
use wspulse_core::heartbeat::Mode;

pub use super::policy::Policy;
use super::search::Tick;

/// How long one tick is.
pub const UNIT: Duration = Duration::from_secs(1);

/// The time of a tick.
#[must_use]
pub const fn at(tick: Tick) -> Instant {
    Instant::from_secs(tick as u64)
}

/// A span of ticks.
#[must_use]
pub const fn span(ticks: Tick) -> Duration {
    Duration::from_secs(ticks as u64)
}

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Oracle {
    /// A. A live peer never dies while its bytes can be read in time (rules 1, 4 to 6, 15).
    LivePeerDied,
    /// B. A silent peer is found within I + T of awake time, I + 2T where a grace was used, and E
    /// more with bytes under way (rules 5, 6, 8); a forgotten report within I + 2T (rule 19).
    NotFound,
    /// C. Death comes no sooner than T - `suspect_after` of awake time after suspicion was told,
    /// and the first byte after a suspicion is told as well (rule 7).
    NoWarning,
    /// D. A live connection always has a deadline.
    NoDeadline,
    /// E. After `handle_timeout(t)`, and after a whole drive at t, the deadline is later than t.
    DueAgain,
    /// F. One pause shifts every clock once: no clock lies further ahead than its own length, and
    /// no stamp lies in the future (rules 2, 6).
    ShiftedTwice,
    /// G. Nothing is stuck: output left, or a peer gone, and no deadline.
    Stuck,
    /// H. A ping is due when one direction was quiet for the interval; at most one is outstanding
    /// but for a grace, and lateness makes no burst (rules 2, 9).
    Ping,
    /// I. A round-trip sample is the time from the ping's last byte to its pong, once, and none
    /// spans a pause (rules 3, 4).
    Sample,
    /// J. The closing handshake and every other end go as rule 11 says.
    Ending,
    /// K. What leaves, and what the application learns, is as RFC 6455 and rules 14 and 17 say.
    Traffic,
    /// Two implementations of the rules were told the same and answered differently.
    Disagreement,
}

impl Oracle {
    /// A letter, for timelines and lists.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::LivePeerDied => 'A',
            Self::NotFound => 'B',
            Self::NoWarning => 'C',
            Self::NoDeadline => 'D',
            Self::DueAgain => 'E',
            Self::ShiftedTwice => 'F',
            Self::Stuck => 'G',
            Self::Ping => 'H',
            Self::Sample => 'I',
            Self::Ending => 'J',
            Self::Traffic => 'K',
            Self::Disagreement => '=',
        }
    }
}

/// An oracle that fell, and how. Equal violations count as one, so the class holds no numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Violation {
    /// Which oracle.
    pub oracle: Oracle,
    /// In which way.
    pub class: &'static str,
}

impl Violation {
    /// Names an oracle and the way in which it fell.
    #[must_use]
    pub const fn new(oracle: Oracle, class: &'static str) -> Self {
        Self { oracle, class }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.oracle.letter(), self.class)
    }
}

/// Whether the peer lives, as the evidence of the policy counts it, and whether reads are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Facts {
    /// The peer gives the evidence that the policy asks for.
    pub peer_lives: bool,
    /// Output is left that the transport has not taken.
    pub has_output: bool,
    /// Bytes that the transport took stand in its buffer.
    pub has_backlog: bool,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Death {
    /// The peer gave no sign of life: `PongTimeout` or `Silence`.
    Silence,
    /// The transport took nothing.
    WriteStalled,
}

/// The outstanding ping, as its maker's user sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Ping {
    None,
    /// Handed out, and not yet taken by the transport.
    Queued,
    /// Taken; no evidence of life since.
    Out,
}

/// What the oracles remember.
///
/// Its time is *awake time*, as rule 6 has it: the time that passed, less every lateness.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Watch {
    policy: Policy,
    /// The largest time seen.
    seen: Instant,
    /// The sum of all lateness.
    late: Duration,
    /// Awake stamps of the last evidence, the last byte taken, and the last ping taken.
    evidence_at: Duration,
    sent_at: Duration,
    ping_sent_at: Duration,
    /// When suspicion was told.
    told_at: Option<Duration>,
    is_suspect: bool,
    /// Ticks in which the host was awake since the last evidence, and how much of them it was late:
    /// a deadline between two ticks is served at the second one.
    awake: Tick,
    late_awake: Duration,
    /// How many there were at the last look, where reads were held back before it.
    awake_at_look: Tick,
    /// Since the last evidence: a late call or `handle_resumed` that allows a grace, or a change.
    graced: bool,
    /// Since the last evidence: output was left, or bytes stood in the transport's buffer.
    blocked: bool,
    /// Since the last evidence: reads were held back.
    held: bool,
    /// The largest bounds in force since the last evidence.
    bound: Option<Tick>,
    timeout: Tick,
    stall: Tick,
    ping: Ping,
    /// Since the last ping was handed out: something that allows another one, and any lateness.
    ping_graced: bool,
    ping_late: bool,
    /// The last ping taken whose pong was not read, and when it was taken.
    unanswered: Option<(u16, Instant)>,
    /// Since then: a lateness or a resume, so that no sample may come; or a change, so that none
    /// is expected.
    is_spoiled: bool,
    is_changed: bool,
    warned_unread: bool,
    /// In this tick a timeout was handled at which a ping was due.
    owes_ping: bool,
    /// In this tick a pause was seen while no ping was out.
    owes_fresh_ping: bool,
    /// Since when no ping is out.
    quiet_since: Duration,
    /// Output was left since a pong covered every byte taken; and bytes went out after the ping.
    was_full: bool,
    after_ping: bool,
}

impl Watch {
    /// Begins with a connection that opened at tick 0.
    #[must_use]
    pub const fn new(policy: Policy) -> Self {
        Self {
            policy,
            seen: Instant::ZERO,
            late: Duration::ZERO,
            evidence_at: Duration::ZERO,
            sent_at: Duration::ZERO,
            ping_sent_at: Duration::ZERO,
            told_at: None,
            is_suspect: false,
            awake: 0,
            late_awake: Duration::ZERO,
            awake_at_look: 0,
            graced: false,
            blocked: false,
            held: false,
            bound: policy.bound(),
            timeout: policy.timeout,
            stall: policy.write_stall,
            ping: Ping::None,
            ping_graced: false,
            ping_late: false,
            unanswered: None,
            is_spoiled: false,
            is_changed: false,
            warned_unread: false,
            owes_ping: false,
            owes_fresh_ping: false,
            quiet_since: Duration::ZERO,
            was_full: false,
            after_ping: false,
        }
    }

    /// The policy in force.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether suspicion was told and no recovery.
    #[must_use]
    pub const fn is_suspect(&self) -> bool {
        self.is_suspect
    }

    /// The host is awake in this tick. Call it once a tick, before everything else.
    pub fn wake(&mut self) {
        self.awake += 1;
        self.owes_ping = false;
        self.owes_fresh_ping = false;
    }

    /// A call that carries `now` is about to be made; `armed` is the deadline before it. Returns
    /// by how much it is late.
    pub fn call(&mut self, now: Instant, armed: Option<Instant>) -> Duration {
        let from = armed.unwrap_or(Instant::MAX).max(self.seen);
        self.seen = self.seen.max(now);
        let late = now.saturating_duration_since(from);
        self.late += late;
        self.late_awake += Duration::from_nanos(late.subsec_nanos().into());
        if !late.is_zero() {
            self.is_spoiled = true;
            self.ping_late = true;
        }
        if late * 4 > span(self.policy.timeout) {
            self.allow_grace();
        }
        late
    }

    /// `handle_resumed` is about to be called.
    pub fn resumed(&mut self) {
        self.is_spoiled = true;
        self.allow_grace();
    }

    /// The policy is about to change.
    pub fn changed(&mut self, policy: Policy) {
        if policy == self.policy {
            return;
        }
        let before = std::mem::replace(&mut self.policy, policy);
        self.graced = true;
        self.is_changed = true;
        self.ping_late = true;
        self.bound = match (self.bound, policy.bound()) {
            (Some(a), Some(b)) => Some(a.max(b)),
            _ => policy.bound(),
        };
        self.timeout = self.timeout.max(policy.timeout);
        self.stall = self.stall.max(policy.write_stall);
        if before.pings() != policy.pings() || before.bound().is_none() {
            // Another way of watching begins; the rules do not say what it takes over.
            self.awake = 0;
            self.late_awake = Duration::ZERO;
            self.awake_at_look = 0;
            self.ping = Ping::None;
            self.owes_fresh_ping = false;
            self.quiet_since = self.clock(self.seen);
        }
        if policy.mode == Mode::Off {
            self.told_at = None;
        }
    }

    /// Evidence of life was read.
    pub fn life(&mut self, now: Instant, facts: Facts) {
        self.evidence_at = self.clock(now);
        self.awake = 0;
        self.late_awake = Duration::ZERO;
        self.awake_at_look = 0;
        self.graced = false;
        self.held = false;
        self.blocked = self.was_full || facts.has_output || facts.has_backlog;
        self.bound = self.policy.bound();
        self.timeout = self.policy.timeout;
        self.stall = self.policy.write_stall;
        self.told_at = None;
        if self.ping == Ping::Out {
            self.ping = Ping::None;
            self.quiet_since = self.evidence_at;
        }
    }

    /// The application does not want to read in this tick, or the adapter does not say that a
    /// read found nothing.
    pub fn no_look(&mut self) {
        self.held = true;
    }

    /// A byte was read, or a read found nothing: what rule 19 waits for.
    pub const fn look(&mut self) {
        self.warned_unread = false;
        if self.held {
            self.awake_at_look = self.awake;
        }
    }

    /// The transport took bytes, of which none are a ping's.
    pub fn sent(&mut self, now: Instant) {
        self.sent_at = self.clock(now);
        self.after_ping = true;
    }

    /// A ping was handed out.
    ///
    /// # Errors
    /// [`Oracle::Ping`] if it is not due.
    pub fn ping(&mut self, now: Instant) -> Result<(), Violation> {
        let now = self.clock(now);
        let due = now >= self.ping_due();
        let violation = |class| Err(Violation::new(Oracle::Ping, class));
        if !self.policy.pings() {
            return violation("a ping by a policy that sends none");
        }
        if self.ping != Ping::None && !self.ping_graced {
            return violation("a second ping while one is outstanding");
        }
        // What was due before the bytes of this moment were read is still sent.
        let was_due = due || self.evidence_at == now;
        if !was_due && !self.ping_graced && !self.ping_late {
            return violation("a ping before it is due");
        }
        self.ping = Ping::Queued;
        self.owes_ping = false;
        self.owes_fresh_ping = false;
        self.ping_graced = false;
        self.ping_late = false;
        Ok(())
    }

    /// The transport took the last byte of ping `number`.
    pub fn ping_sent(&mut self, now: Instant, number: u16) {
        self.ping = Ping::Out;
        self.ping_sent_at = self.clock(now);
        self.sent_at = self.ping_sent_at;
        self.unanswered = Some((number, now));
        self.after_ping = false;
        self.is_spoiled = false;
        self.is_changed = false;
    }

    /// The pong of ping `number` was read and gave `sample`. Returns whether it answers the
    /// latest ping for the first time.
    ///
    /// # Errors
    /// [`Oracle::Sample`] if the sample is none, or is not the round trip.
    pub fn pong(
        &mut self,
        now: Instant,
        number: u16,
        sample: Option<Duration>,
    ) -> Result<bool, Violation> {
        let violation = |class| Err(Violation::new(Oracle::Sample, class));
        let latest = self.unanswered.filter(|(latest, _)| *latest == number);
        let Some((_, left)) = latest else {
            return match sample {
                Some(_) => violation("a sample from a pong that is none of the latest ping"),
                None => Ok(false),
            };
        };
        self.unanswered = None;
        self.was_full &= self.after_ping || self.ping == Ping::Queued;
        match sample {
            Some(_) if self.is_spoiled => violation("a sample that spans a pause"),
            Some(sample) if sample != now.saturating_duration_since(left) => {
                violation("a sample that is not the round trip")
            }
            // It may count as late once the next ping was made.
            None if !self.is_spoiled
                && !self.is_changed
                && self.ping != Ping::Queued
                && self.clock(now) < self.ping_due() =>
            {
                violation("no sample from a matching pong")
            }
            _ => Ok(true),
        }
    }

    /// Suspicion was told.
    pub fn suspect(&mut self, now: Instant) {
        self.told_at = Some(self.clock(now));
        self.is_suspect = true;
    }

    /// Recovery was told.
    ///
    /// # Errors
    /// [`Oracle::NoWarning`] if nothing was suspected, or nothing was read since.
    pub fn recovered(&mut self) -> Result<(), Violation> {
        let was_suspect = std::mem::take(&mut self.is_suspect);
        if was_suspect && self.told_at.is_none() {
            return Ok(());
        }
        let class = "recovery of a peer that gave no sign of life";
        Err(Violation::new(Oracle::NoWarning, class))
    }

    /// Rule 19's warning was told: nothing was read for I + 2T.
    pub fn not_read(&mut self) {
        self.warned_unread = true;
    }

    /// The peer was given up.
    ///
    /// # Errors
    /// [`Oracle::LivePeerDied`], or [`Oracle::NoWarning`] without suspicion long enough before.
    pub fn died(&self, now: Instant, death: Death, facts: Facts) -> Result<(), Violation> {
        let violation = |oracle, class| Err(Violation::new(oracle, class));
        match death {
            _ if !facts.peer_lives => {}
            Death::Silence if self.held && self.clock(now) > self.answer_due() => {
                let class = "a live peer died of silence that nobody looked for in time";
                return violation(Oracle::LivePeerDied, class);
            }
            Death::Silence => {
                return violation(Oracle::LivePeerDied, "a live peer died of silence");
            }
            Death::WriteStalled => {
                return violation(Oracle::LivePeerDied, "a live peer died of a stalled write");
            }
        }
        if death == Death::WriteStalled {
            return Ok(());
        }
        match self.told_at {
            None => violation(Oracle::NoWarning, "death without a suspicion before it"),
            Some(told) if self.clock(now) == told && !self.policy.warning().is_zero() => {
                violation(Oracle::NoWarning, "death at the moment of suspicion")
            }
            Some(told) if self.clock(now) - told < self.policy.warning() => {
                violation(Oracle::NoWarning, "death too soon after suspicion")
            }
            Some(_) => Ok(()),
        }
    }

    /// `handle_timeout(now)` returned; `deadline` is the one after it.
    ///
    /// # Errors
    /// [`Oracle::DueAgain`] if it is due.
    pub fn timed_out(&mut self, now: Instant, deadline: Option<Instant>) -> Result<(), Violation> {
        let is_due = self.policy.pings() && self.clock(now) >= self.ping_due();
        self.owes_ping = is_due && self.ping == Ping::None;
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Err(Violation::new(
                Oracle::DueAgain,
                "due again after the timeout was handled",
            ));
        }
        Ok(())
    }

    /// The drive at `now` is over and the peer was not given up; `deadline` is the one armed.
    ///
    /// # Errors
    /// The oracles D to G and the half of C that is about recovery.
    pub fn driven(
        &self,
        now: Instant,
        deadline: Option<Instant>,
        facts: Facts,
    ) -> Result<(), Violation> {
        let violation = |oracle, class| Err(Violation::new(oracle, class));
        if self.is_suspect && self.told_at.is_none() {
            return violation(Oracle::NoWarning, "no recovery after a sign of life");
        }
        let is_watched = self.policy.mode != Mode::Off;
        let Some(deadline) = deadline else {
            return match facts {
                _ if facts.has_output => violation(Oracle::Stuck, "output left and no deadline"),
                _ if is_watched && !facts.peer_lives => {
                    violation(Oracle::Stuck, "a peer gone and no deadline")
                }
                _ if is_watched => violation(Oracle::NoDeadline, "no deadline"),
                _ => Ok(()),
            };
        };
        if deadline <= now {
            return violation(Oracle::DueAgain, "due again after a drive");
        }
        // The longest clock that may be running. A clock that was shifted twice, or shifted into
        // the future, lies further ahead than that.
        let clocks = [
            (self.policy.pings(), self.policy.interval),
            (self.policy.mode == Mode::Passive, self.policy.timeout),
            (self.ping == Ping::Queued, self.policy.timeout),
            (
                self.blocked || facts.has_output || facts.has_backlog,
                self.policy.write_stall,
            ),
        ];
        let running = clocks.iter().filter(|(runs, _)| *runs);
        let longest = running.map(|(_, ticks)| *ticks).max().unwrap_or(0);
        if is_watched && deadline.saturating_duration_since(now) > span(longest) {
            return violation(
                Oracle::ShiftedTwice,
                "a clock further ahead than its length",
            );
        }
        Ok(())
    }

    /// The tick is over, driven or not, and the peer was not given up.
    ///
    /// # Errors
    /// [`Oracle::NotFound`] for a peer that should have been, and [`Oracle::Ping`] for a ping.
    pub fn tick_over(&mut self, now: Instant, facts: Facts) -> Result<(), Violation> {
        self.was_full |= facts.has_output;
        self.blocked |= facts.has_output || facts.has_backlog;
        // Received bytes move no deadline, so a ping that they made due may wait for the one that
        // is armed: an interval at most, by rule 2.
        let latest = self
            .ping_due()
            .max(self.quiet_since + span(self.policy.interval));
        let is_overdue = self.policy.pings()
            && self.ping == Ping::None
            && self.clock(now) >= latest
            && now == self.seen;
        if self.owes_ping || is_overdue {
            let class = "no ping though one direction was quiet for the interval";
            return Err(Violation::new(Oracle::Ping, class));
        }
        if self.owes_fresh_ping {
            let class = "no ping after a pause that was seen";
            return Err(Violation::new(Oracle::Ping, class));
        }
        if facts.peer_lives || self.warned_unread {
            return Ok(());
        }
        let Some(bound) = self.bound else {
            return Ok(());
        };
        let (t, i) = (self.timeout, self.policy.interval);
        let grace = if self.graced { t } else { 0 };
        let blocked = if self.blocked { 2 * self.stall } else { 0 };
        let (held, unread) = match self.held {
            true => (i + 2 * t, self.awake_at_look + i + 2 * t),
            false => (0, 0),
        };
        let awake = span(self.awake).saturating_sub(self.late_awake);
        let bound = (bound + grace + blocked + held).max(unread);
        if awake >= span(bound) {
            let class = match (self.held, self.graced || self.blocked) {
                (true, _) => "a silent peer was not found, nor that nobody reads",
                (_, false) => "a silent peer was not found",
                (_, true) => "a silent peer was not found, with grace and bytes under way counted",
            };
            return Err(Violation::new(Oracle::NotFound, class));
        }
        Ok(())
    }

    /// Awake time at `now`.
    fn clock(&self, now: Instant) -> Duration {
        now.saturating_duration_since(Instant::ZERO)
            .saturating_sub(self.late)
    }

    fn ping_due(&self) -> Duration {
        let since = match self.policy.mode {
            Mode::Periodic => self.ping_sent_at,
            _ => self.evidence_at.min(self.sent_at),
        };
        since + span(self.policy.interval)
    }

    /// Until when an answer, or a sign of life, is awaited by a host that looks.
    fn answer_due(&self) -> Duration {
        let since = match self.policy.mode {
            Mode::Passive => self.evidence_at,
            _ => self.ping_sent_at,
        };
        since + span(self.policy.timeout)
    }

    fn allow_grace(&mut self) {
        self.graced = true;
        self.ping_graced = true;
        self.owes_fresh_ping |= self.policy.pings() && self.ping == Ping::None;
    }
}
