//! A [`Connection`] of either role in the world: the handshakes, the messages and every timer.
//!
//! The heartbeat's oracles are those of [`Watch`], told what really passed over the wire;
//! [`clocks`] adds the timers of rule 12 and the end of a connection, [`peer`] the far end, which
//! reads and writes real frames. A tick is a second. In each one the host sleeps as it was asked
//! to, is away, or drives the connection in the documented order after one call that comes first.
//!
//! States are copied with [`Connection::fork`] and known again by the derived `Hash` of all their
//! parts. A masking key changes nothing but masked bytes, so it is no part of a state.

pub mod clocks;
pub mod judging;
pub mod known;
pub mod peer;
pub mod setups;
mod turn;

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use wspulse_core::handshake::ClientRequest;
use wspulse_core::{Config, Connection, Instant, Role, Seed};

use self::clocks::{Clocks, Lengths};
use self::peer::{Peer, Say};
use self::turn::ROUND_TRIP_AWAKE;
use super::oracle::{Policy, Violation, Watch, at, span};
use super::search::{Step, Tick, Trace, World};
use crate::meter::Meter;

/// A world: one configuration, and what may happen around it.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its name in lists and timelines.
    pub name: &'static str,
    /// Which end the connection is.
    pub role: Role,
    /// Begins with the opening handshake.
    pub opens: bool,
    /// The peer is dead from the beginning.
    pub is_peer_dead: bool,
    /// The policy at the beginning, and those that `set_heartbeat` may bring.
    pub policies: Vec<Policy>,
    /// Draw jitter, and from how many seeds.
    pub jitter: Option<u8>,
    /// The other clocks.
    pub lengths: Lengths,
    /// A heartbeat of text messages.
    pub text_heartbeat: Option<TextHeartbeat>,
    /// What the peer may say.
    pub says: Vec<Say>,
    /// Which calls may come first, beside the read, the write and the timeout.
    pub calls: Vec<Call>,
    /// How often.
    pub budget: Budget,
    /// How far an ordinary test searches.
    pub depth: Tick,
}

/// Which end sends the text `ping`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextHeartbeat {
    /// This one.
    Asks,
    /// The peer.
    Answers,
}

/// How often each thing may happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Times at which the host is away, and ticks of that in all.
    pub pauses: u8,
    /// Ticks in which it is away.
    pub away: u8,
    /// Things that the peer does of itself.
    pub says: u8,
    /// Calls of the application.
    pub calls: u8,
    /// Writes that the transport does not take whole.
    pub shorts: u8,
    /// Reads that found nothing and were not reported.
    pub misses: u8,
    /// Times at which the application lets an event wait.
    pub holds: u8,
}

/// A call of the application, or of an adapter that knows of a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// A message of five bytes.
    Send,
    /// A message of 4,200 bytes, which leaves as a chunk of its own.
    SendLong,
    /// The first part of a message.
    SendPart,
    /// Its last part.
    SendLast,
    /// The closing handshake.
    Close,
    /// Another policy, by its number.
    Set(u8),
    /// The host was suspended.
    Resumed,
}

/// The call that comes first in a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum First {
    /// The read, as documented.
    Read,
    /// The write.
    Write,
    /// The timeout.
    Timeout,
    /// A call of the application.
    Call(Call),
}

/// What the transport takes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Take {
    /// All of it.
    All,
    /// Nothing.
    Nothing,
    /// One byte.
    One,
    /// The first chunk.
    Chunk,
    /// All but the last byte.
    ButLast,
}

/// What happens in one tick: around the host, then on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Action {
    /// What the peer or the path does.
    pub env: Env,
    /// What the host does.
    pub host: Host,
}

/// What the peer or the path does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Env {
    /// What was under way goes on.
    Nothing,
    /// The peer does something of itself.
    Say(Say),
    /// A full transport has room again.
    Drains,
}

/// What the host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// It does not run, with or without its network.
    Away(Network),
    /// It sleeps until a deadline, or until it is readable or writable, then drives.
    Drives(Drive),
}

/// Whether bytes arrive while the host is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// They arrive.
    Stays,
    /// They are late by as long as the host is away.
    Freezes,
}

/// How a host drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Drive {
    /// Which call comes first.
    pub first: First,
    /// What the transport takes of the first write.
    pub take: Take,
    /// A read that finds nothing is reported.
    pub reports: bool,
    /// The application lets its events wait.
    pub holds: bool,
}

impl Drive {
    /// The documented one.
    pub const PROMPT: Self = Self {
        first: First::Read,
        take: Take::All,
        reports: true,
        holds: false,
    };
}

/// A connection that can be copied, and whose heap can be counted.
#[derive(Debug)]
struct Forked(Connection, Option<Box<Meter>>);

impl Forked {
    /// Calls the connection, within its budget if its heap is counted.
    fn call<T>(&mut self, call: impl FnOnce(&mut Connection) -> T) -> T {
        match &mut self.1 {
            Some(meter) => meter.call(&mut self.0, call),
            None => call(&mut self.0),
        }
    }

    fn input(&mut self, now: Instant, input: &[u8]) -> usize {
        match &mut self.1 {
            Some(meter) => meter.input(&mut self.0, now, input),
            None => self.0.handle_input(now, input),
        }
    }
}

/// The blocks of a copy are as long as their contents, so its heap tells nothing and is not counted.
impl Clone for Forked {
    fn clone(&self) -> Self {
        Self(self.0.fork().expect("nothing is compressed"), None)
    }
}

impl Hash for Forked {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// What is true at one tick.
#[derive(Clone, Debug, Hash)]
pub struct State {
    connection: Forked,
    peer: Peer,
    watch: Watch,
    clocks: Clocks,
    left: Budget,
    away: bool,
    /// Ticks since the host was away, as far as they count.
    awake: u8,
    is_full: bool,
    is_holding: bool,
    /// All lateness at the last byte read. Since then: a read was not reported or not made, the
    /// policy changed. And how many more reads it takes until a full transport is forgotten: what
    /// it holds lengthens the clock of the next pings as well (rule 5).
    late_at_life: Duration,
    has_missed: bool,
    was_full: u8,
    was_changed: bool,
    /// An event waited before the last call, or after the last drive.
    had_event: bool,
    last_ping: Option<Tick>,
    end_told: bool,
    shutdown_told: bool,
    has_failed: bool,
    is_inside_parts: bool,
    /// A part of a message waits for the transport.
    is_sending_part: bool,
    policy: u8,
    pings_made: u32,
    messages_sent: u16,
    /// The texts `pong` that the peer had when it last sent the text `ping`.
    text_owed_after: Option<u16>,
    /// Which call came first after the last lateness.
    first: First,
    is_over: bool,
}

impl Setup {
    /// A connection that is open, with a heartbeat and nothing else, and nothing that happens.
    #[must_use]
    pub fn open(name: &'static str, role: Role, policy: Policy) -> Self {
        Self {
            name,
            role,
            opens: false,
            is_peer_dead: false,
            policies: vec![policy],
            jitter: None,
            lengths: Lengths {
                opening: 4,
                closing: 4,
                linger: 1,
                message: None,
                idle: None,
                age: None,
            },
            text_heartbeat: None,
            says: Vec::new(),
            calls: Vec::new(),
            budget: Budget::default(),
            depth: 16,
        }
    }

    /// The same world, in which everything that happens may happen once more.
    #[must_use]
    pub fn wider(mut self) -> Self {
        let more = |count: &mut u8, by: u8| {
            if *count > 0 {
                *count = count.saturating_add(by);
            }
        };
        more(&mut self.budget.pauses, 1);
        more(&mut self.budget.away, 3);
        more(&mut self.budget.says, 1);
        more(&mut self.budget.calls, 1);
        more(&mut self.budget.shorts, 1);
        more(&mut self.budget.misses, 1);
        more(&mut self.budget.holds, 1);
        self
    }

    fn config(&self) -> Arc<Config> {
        let lengths = self.lengths;
        let policy = self.policies[0].config();
        let policy = policy.jitter_percent(self.jitter.map_or(0, |_| 10));
        let mut config = Config::builder()
            .heartbeat(policy)
            .handshake_timeout(span(lengths.opening))
            .close_timeout(span(lengths.closing))
            .linger(span(lengths.linger));
        if let Some(ticks) = lengths.message {
            config = config.message_timeout(span(ticks));
        }
        if let Some(ticks) = lengths.idle {
            config = config.idle_timeout(span(ticks));
        }
        if let Some(ticks) = lengths.age {
            config = config.max_age(span(ticks));
        }
        if let Some(text) = self.text_heartbeat {
            let make = match text {
                TextHeartbeat::Asks => wspulse_core::ApplicationHeartbeat::ask,
                TextHeartbeat::Answers => wspulse_core::ApplicationHeartbeat::answer,
            };
            config = config.application_heartbeat(make("ping", "pong"));
        }
        Arc::new(config.build().expect("a legal configuration"))
    }

    fn connection(&self, config: Arc<Config>) -> Connection {
        let seed = Seed::predictable_for_tests(u64::from(self.jitter.unwrap_or(1)));
        match self.role {
            _ if !self.opens => Connection::from_upgrade(self.role, config, seed, at(0)),
            Role::Server => Connection::server(config, seed, at(0)),
            Role::Client => {
                let request = ClientRequest::new("example.com", "/").expect("a legal request");
                Connection::client(config, &request, seed, at(0))
            }
        }
    }
}

impl World for Setup {
    type State = State;
    type Action = Action;

    fn start(&self) -> State {
        self.start_with(Forked(self.connection(self.config()), None))
    }

    fn actions(&self, state: &State, now: Tick, actions: &mut Vec<Action>) {
        let mut envs = vec![Env::Nothing];
        if state.left.says > 0 {
            let says = self.says.iter().filter(|say| state.peer.can(**say));
            envs.extend(says.map(|say| Env::Say(*say)));
        }
        if state.is_full && state.peer.is_alive() {
            envs.push(Env::Drains);
        }
        for env in envs {
            self.host_actions(state, now, env, actions);
        }
    }

    fn step(
        &self,
        state: &mut State,
        now: Tick,
        action: Action,
        trace: &mut Trace,
    ) -> Result<Step, Violation> {
        state.tick(self, now, action, trace)?;
        if state.is_over {
            return Ok(Step::Ended("over"));
        }
        Ok(Step::Continues)
    }
}

impl Setup {
    /// Starts as the search does, and counts the connection's heap from then on: each call must
    /// leave it within its budget. The binary must have the counting allocator.
    #[must_use]
    pub fn start_counting(&self) -> State {
        let config = self.config();
        let (connection, mut meter) = Meter::making(|| self.connection(config));
        meter.check(&connection);
        self.start_with(Forked(connection, Some(Box::new(meter))))
    }

    fn start_with(&self, connection: Forked) -> State {
        let asks = self.text_heartbeat == Some(TextHeartbeat::Asks);
        let mut peer = Peer::of(self.role, !self.opens, asks);
        if self.is_peer_dead {
            peer.say(Say::Die, &[]);
        }
        State {
            peer,
            watch: Watch::new(self.policies[0]),
            clocks: Clocks::new(connection.0.state()),
            connection,
            left: self.budget,
            away: false,
            awake: ROUND_TRIP_AWAKE,
            is_full: false,
            is_holding: false,
            late_at_life: Duration::ZERO,
            has_missed: false,
            was_full: 0,
            was_changed: false,
            had_event: false,
            last_ping: None,
            end_told: false,
            shutdown_told: false,
            has_failed: false,
            is_inside_parts: false,
            is_sending_part: false,
            policy: 0,
            pings_made: 0,
            messages_sent: 0,
            text_owed_after: None,
            first: First::Read,
            is_over: false,
        }
    }

    fn host_actions(&self, state: &State, now: Tick, env: Env, actions: &mut Vec<Action>) {
        let left = state.left;
        let mut drive = |drive: Drive| {
            actions.push(Action {
                env,
                host: Host::Drives(drive),
            });
        };
        let holds = state.is_holding;
        let prompt = Drive {
            holds,
            ..Drive::PROMPT
        };
        drive(prompt);
        let wakes = state.wakes(now, env);
        if wakes {
            if holds {
                drive(Drive::PROMPT);
            } else if left.holds > 0 {
                drive(Drive {
                    holds: true,
                    ..prompt
                });
            }
            if left.misses > 0 {
                drive(Drive {
                    reports: false,
                    ..prompt
                });
            }
        }
        let mut firsts = Vec::new();
        if state.away && env == Env::Nothing {
            firsts.extend([First::Write, First::Timeout]);
        }
        if left.calls > 0 && env == Env::Nothing {
            let calls = self.calls.iter().filter(|call| state.can(**call));
            firsts.extend(calls.map(|call| First::Call(*call)));
        }
        for first in &firsts {
            drive(Drive {
                first: *first,
                ..prompt
            });
        }
        if left.shorts > 0 && !state.is_full && env == Env::Nothing {
            if wakes {
                firsts.push(First::Read);
            }
            for first in firsts {
                for take in [Take::Nothing, Take::One, Take::Chunk, Take::ButLast] {
                    drive(Drive {
                        first,
                        take,
                        ..prompt
                    });
                }
            }
        }
        if left.away > 0 && (state.away || left.pauses > 0) {
            for network in [Network::Stays, Network::Freezes] {
                let freezes =
                    state.peer.is_flying() && (state.away || state.awake >= ROUND_TRIP_AWAKE);
                if network == Network::Stays || freezes {
                    actions.push(Action {
                        env,
                        host: Host::Away(network),
                    });
                }
            }
        }
    }
}
