//! The world around a heartbeat: the truth, told in the calls that an adapter makes.

use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use wspulse_core::Instant;
use wspulse_core::heartbeat::{
    DeadReason, Evidence, Heartbeat, HeartbeatEvent, PingPayload, PongMatch,
};

use super::oracle::{Death, Facts, Oracle, Policy, Violation, Watch, at};
use super::search::{Step, Tick, Trace, World};
use super::truth::{Action, First, Peer, Piece, Setting, Truth};

/// Anything that keeps the liveness rules: the calls of [`Heartbeat`], with pings by number.
pub trait Engine: Clone + Hash + fmt::Debug {
    /// Bytes came.
    fn received(&mut self, now: Instant);
    /// A frame came to its end.
    fn frame(&mut self, now: Instant);
    /// The pong of a ping came; returns the round-trip sample that it gave.
    fn pong(&mut self, now: Instant, number: u16) -> Option<Duration>;
    /// A read found nothing.
    fn would_block(&mut self, now: Instant);
    /// The transport took bytes.
    fn transmitted(&mut self, now: Instant, taken: u32, blocked: bool);
    /// The transport took a ping's last byte.
    fn ping_sent(&mut self, now: Instant);
    /// The deadline came.
    fn timeout(&mut self, now: Instant);
    /// This host was paused.
    fn resumed(&mut self, now: Instant);
    /// The policy changes.
    fn set_policy(&mut self, now: Instant, policy: &Policy);
    /// A ping to send, by its number.
    fn poll_ping(&mut self) -> Option<u16>;
    /// What changed.
    fn poll_event(&mut self) -> Option<Event>;
    /// When to call `timeout`.
    fn deadline(&self) -> Option<Instant>;
    /// How two implementations inside this one differed, if they did.
    fn disagreement(&self) -> Option<&'static str> {
        None
    }
}

/// What an engine tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The peer is under suspicion.
    Suspect,
    /// It gave a sign of life.
    Recovered,
    /// It is given up.
    Dead(Death),
    /// Nobody reads (rule 19).
    NotRead,
}

/// The heartbeat as shipped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shipped {
    heartbeat: Heartbeat,
    /// The payload of the last ping, from which all others follow.
    payload: PingPayload,
}

impl Shipped {
    /// Starts at tick 0.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        let heartbeat = Heartbeat::new(policy.config(), 1, Instant::ZERO);
        Self {
            heartbeat: heartbeat.expect("a policy that can work"),
            payload: PingPayload::default(),
        }
    }
}

impl Engine for Shipped {
    fn received(&mut self, now: Instant) {
        self.heartbeat.handle_received(now);
    }

    fn frame(&mut self, now: Instant) {
        self.heartbeat.handle_frame(now);
    }

    fn pong(&mut self, now: Instant, number: u16) -> Option<Duration> {
        let mut payload = self.payload;
        payload[8..].copy_from_slice(format!("{number:08x}").as_bytes());
        match self.heartbeat.handle_pong(now, &payload) {
            PongMatch::Matched(rtt) => Some(rtt),
            _ => None,
        }
    }

    fn would_block(&mut self, now: Instant) {
        self.heartbeat.handle_would_block(now);
    }

    fn transmitted(&mut self, now: Instant, taken: u32, blocked: bool) {
        self.heartbeat
            .handle_transmitted(now, taken as usize, blocked);
    }

    fn ping_sent(&mut self, now: Instant) {
        self.heartbeat.handle_ping_sent(now);
    }

    fn timeout(&mut self, now: Instant) {
        self.heartbeat.handle_timeout(now);
    }

    fn resumed(&mut self, now: Instant) {
        self.heartbeat.handle_resumed(now);
    }

    fn set_policy(&mut self, now: Instant, policy: &Policy) {
        let result = self.heartbeat.set_config(now, policy.config());
        result.expect("a policy that can work");
    }

    fn poll_ping(&mut self) -> Option<u16> {
        self.payload = self.heartbeat.poll_ping()?;
        let number = str::from_utf8(&self.payload[12..]).expect("digits");
        Some(u16::from_str_radix(number, 16).expect("digits"))
    }

    fn poll_event(&mut self) -> Option<Event> {
        Some(match self.heartbeat.poll_event()? {
            HeartbeatEvent::Suspect => Event::Suspect,
            HeartbeatEvent::Recovered => Event::Recovered,
            HeartbeatEvent::NotRead => Event::NotRead,
            HeartbeatEvent::Dead(DeadReason::WriteStalled) => Event::Dead(Death::WriteStalled),
            HeartbeatEvent::Dead(_) => Event::Dead(Death::Silence),
            other => panic!("an event that the world does not know: {other:?}"),
        })
    }

    fn deadline(&self) -> Option<Instant> {
        self.heartbeat.poll_timeout()
    }
}

/// A heartbeat of some kind in a world.
#[derive(Clone, Debug)]
pub struct HeartbeatWorld<E> {
    /// What may happen.
    pub setting: Setting,
    /// The policies; the first one is in force at the start.
    pub policies: Vec<Policy>,
    /// The heartbeat at tick 0.
    pub engine: E,
}

/// The heartbeat, the truth and the oracles at one tick.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State<E> {
    engine: E,
    truth: Truth,
    watch: Watch,
    /// Bytes that the application wrote and the transport has not taken.
    pending: u32,
    /// The ping that waits after them, and how many of its bytes.
    ping: Option<(u16, u32)>,
}

impl<E: Engine> World for HeartbeatWorld<E> {
    type State = State<E>;
    type Action = Action;

    fn start(&self) -> State<E> {
        State {
            engine: self.engine.clone(),
            truth: Truth::new(),
            watch: Watch::new(self.policies[0]),
            pending: 0,
            ping: None,
        }
    }

    fn actions(&self, state: &State<E>, now: Tick, actions: &mut Vec<Action>) {
        let is_due = state.is_due(now);
        state.truth.actions(&self.setting, now, is_due, actions);
    }

    fn step(
        &self,
        state: &mut State<E>,
        now: Tick,
        action: Action,
        trace: &mut Trace,
    ) -> Result<Step, Violation> {
        if let Some(what) = action.describe(now) {
            trace.note(|| what);
        }
        if !state.truth.advance(&self.setting, now, &action) {
            return Ok(Step::Continues);
        }
        state.watch.wake();
        if state.is_driven(self, now, &action) {
            let mut drive = Drive {
                world: self,
                state,
                trace,
                tick: now,
            };
            if let Some(death) = drive.run(&action)? {
                return Ok(Step::Ended(match death {
                    Death::Silence => "death by silence",
                    Death::WriteStalled => "death by a stalled write",
                }));
            }
            trace.note(|| match state.engine.deadline() {
                Some(deadline) => format!("next {deadline:?}"),
                None => "no deadline".into(),
            });
        }
        let facts = state.facts();
        state.watch.tick_over(at(now), facts)?;
        Ok(Step::Continues)
    }
}

impl<E: Engine> State<E> {
    fn is_due(&self, now: Tick) -> bool {
        self.engine.deadline().is_some_and(|due| due <= at(now))
    }

    fn is_driven(&self, world: &HeartbeatWorld<E>, now: Tick, action: &Action) -> bool {
        let reads =
            !self.truth.holds_reads() && (self.truth.is_readable(now) || action.toggles_reading);
        let has_output = self.pending > 0 || self.ping.is_some();
        let writes = has_output && self.truth.is_writable(&world.setting, now);
        let caller = action.writes || action.change.is_some() || action.extra;
        reads || writes || caller || self.truth.just_woke() || self.is_due(now)
    }

    fn facts(&self) -> Facts {
        let peer_lives = match self.truth.peer() {
            Peer::Lives => true,
            Peer::Mute => self.watch.policy().evidence == Evidence::AnyByte,
            Peer::Deaf => self.watch.policy().evidence != Evidence::MatchingPong,
            Peer::Gone => false,
        };
        Facts {
            peer_lives,
            has_output: self.pending > 0 || self.ping.is_some(),
            has_backlog: self.truth.backlog() > 0,
        }
    }
}

/// One drive of the heartbeat.
struct Drive<'a, E> {
    world: &'a HeartbeatWorld<E>,
    state: &'a mut State<E>,
    trace: &'a mut Trace,
    tick: Tick,
}

impl<E: Engine> Drive<'_, E> {
    /// Returns how the connection ended, if it did so legally.
    fn run(&mut self, action: &Action) -> Result<Option<Death>, Violation> {
        if self.state.truth.just_woke() && self.world.setting.resumes {
            self.state.watch.resumed();
            self.call("resumed", E::resumed)?;
        }
        if let Some(policy) = action.change {
            let policy = self.world.policies[usize::from(policy)];
            // The lateness belongs to the policy that was in force.
            self.lateness();
            self.state.watch.changed(policy);
            self.call("set_config", |engine, now| engine.set_policy(now, &policy))?;
        }
        if action.writes {
            self.state.pending += self.world.setting.write_len;
        }
        match action.first {
            First::Read => {}
            First::Timeout => self.timeout()?,
            First::Write => self.write()?,
        }
        if self.state.truth.holds_reads() {
            self.state.watch.no_look();
        } else {
            self.read()?;
        }
        self.timeout()?;
        if let Some(death) = self.events()? {
            return Ok(Some(death));
        }
        self.write()?;
        if let Some(death) = self.events()? {
            return Ok(Some(death));
        }
        let (now, facts) = (at(self.tick), self.state.facts());
        self.state
            .watch
            .driven(now, self.state.engine.deadline(), facts)?;
        Ok(None)
    }

    fn read(&mut self) -> Result<(), Violation> {
        let now = at(self.tick);
        while let Some(piece) = self.state.truth.read(self.tick) {
            let evidence = self.state.watch.policy().evidence;
            self.state.watch.look();
            self.call("received", E::received)?;
            let mut is_life = evidence == Evidence::AnyByte;
            if piece != Piece::Bytes {
                self.call("frame", E::frame)?;
                is_life |= evidence == Evidence::AnyFrame;
            }
            if let Piece::Pong(number) = piece {
                let mut sample = None;
                self.call("pong", |engine, now| sample = engine.pong(now, number))?;
                let is_answer = self.state.watch.pong(now, number, sample)?;
                is_life |= evidence == Evidence::MatchingPong && is_answer;
            }
            if is_life {
                let facts = self.state.facts();
                self.state.watch.life(now, facts);
            }
        }
        if self.world.setting.forgets_looks {
            self.state.watch.no_look();
            return Ok(());
        }
        self.state.watch.look();
        self.call("would_block", E::would_block)
    }

    fn timeout(&mut self) -> Result<(), Violation> {
        if !self.state.is_due(self.tick) {
            return Ok(());
        }
        self.call("timeout", E::timeout)?;
        let deadline = self.state.engine.deadline();
        self.state.watch.timed_out(at(self.tick), deadline)
    }

    fn write(&mut self) -> Result<(), Violation> {
        let now = at(self.tick);
        let ping = self.state.engine.poll_ping();
        self.agree()?;
        if let Some(ping) = ping {
            self.trace.note(|| format!("PING {ping}"));
            self.trace.mark("ping");
            self.state.watch.ping(now)?;
            let ping_len = self.world.setting.ping_len;
            if let Some((_, left)) = self.state.ping.replace((ping, ping_len)) {
                // The one before it still waits, and nobody waits for its answer.
                self.state.pending += left;
            }
        }
        let ping_left = self.state.ping.map_or(0, |(_, left)| left);
        let offered = self.state.pending + ping_left;
        if offered == 0 {
            return Ok(());
        }
        let setting = &self.world.setting;
        let taken = self.state.truth.take(setting, self.tick, offered);
        self.lateness();
        if taken > 0 {
            self.state.watch.sent(now);
        }
        let data = taken.min(self.state.pending);
        self.state.pending -= data;
        if let Some((_, left)) = &mut self.state.ping {
            *left -= taken - data;
        }
        self.trace.note(|| format!("took {taken} of {offered}"));
        self.call("transmitted", |engine, now| {
            engine.transmitted(now, taken, taken < offered);
        })?;
        if let Some((ping, _)) = self.state.ping.take_if(|(_, left)| *left == 0) {
            self.state.watch.ping_sent(now, ping);
            self.call("ping_sent", E::ping_sent)?;
            self.state.truth.ping_taken(setting, self.tick, ping);
        }
        Ok(())
    }

    fn events(&mut self) -> Result<Option<Death>, Violation> {
        let now = at(self.tick);
        loop {
            let event = self.state.engine.poll_event();
            self.agree()?;
            let Some(event) = event else {
                return Ok(None);
            };
            self.trace.note(|| format!("{event:?}").to_uppercase());
            match event {
                Event::Suspect => {
                    self.trace.mark("suspicion");
                    self.state.watch.suspect(now);
                }
                Event::Recovered => {
                    self.trace.mark("recovery");
                    self.state.watch.recovered()?;
                }
                Event::NotRead => {
                    self.trace.mark("not read");
                    self.state.watch.not_read();
                }
                Event::Dead(death) => {
                    let facts = self.state.facts();
                    self.state.watch.died(now, death, facts)?;
                    return Ok(Some(death));
                }
            }
        }
    }

    /// Makes a call with `now`, and tells the oracles.
    fn call(&mut self, name: &str, call: impl FnOnce(&mut E, Instant)) -> Result<(), Violation> {
        self.lateness();
        self.trace.note(|| name.to_owned());
        call(&mut self.state.engine, at(self.tick));
        self.agree()
    }

    fn agree(&self) -> Result<(), Violation> {
        match self.state.engine.disagreement() {
            Some(class) => Err(Violation::new(Oracle::Disagreement, class)),
            None => Ok(()),
        }
    }

    fn lateness(&mut self) {
        let armed = self.state.engine.deadline();
        let late = self.state.watch.call(at(self.tick), armed);
        if !late.is_zero() {
            self.trace.note(|| format!("{late:?} late"));
        }
    }
}
