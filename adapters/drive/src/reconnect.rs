//! A client that comes back: what it waits for, what it keeps meanwhile, and when it stops.

mod class;

use std::collections::VecDeque;
use std::time::Duration;
use std::{error, fmt};

use wspulse_core::backoff::{
    Backoff, BackoffConfig, BackoffConfigError, Decision, Generation, GiveUp, Stale,
};
use wspulse_core::handshake::Response;
use wspulse_core::{Closed, Event, Instant, Message, SendError};

pub use class::retry_after;

use crate::error::Error;
use crate::socket;

/// How a client reconnects; the same type in every adapter.
///
/// A [`BackoffConfig`] alone will do where a policy is asked for.
///
/// A client comes back after every end that may be different next time. A Close with 1000 from the
/// server is none of these: the server says that the conversation is complete. Some proxies say it
/// in the server's place: mitmproxy turns a server's abrupt end into a Close with 1000, so behind
/// one a client stops where it should come back. [`BackoffConfig::classify`] can class 1000 as
/// [`Retry`](wspulse_core::backoff::RetryClass::Retry).
///
/// ```
/// use std::time::Duration;
/// use wspulse_core::backoff::BackoffConfig;
/// use wspulse_drive::{ReconnectPolicy, WhileDown};
///
/// let backoff = BackoffConfig::default().max_retries(Some(20));
/// let policy = ReconnectPolicy::new(backoff)
///     .while_down(WhileDown::Keep(100))
///     .max_retry_after(Duration::from_secs(600));
/// ```
#[derive(Clone, Debug)]
pub struct ReconnectPolicy {
    backoff: BackoffConfig,
    while_down: WhileDown,
}

impl ReconnectPolicy {
    /// Starts from the defaults, with these delays.
    #[must_use]
    pub const fn new(backoff: BackoffConfig) -> Self {
        Self {
            backoff,
            while_down: WhileDown::Reject,
        }
    }

    /// Sets what becomes of messages that are sent while there is no connection;
    /// [`WhileDown::Reject`] by default.
    #[must_use]
    pub const fn while_down(mut self, while_down: WhileDown) -> Self {
        self.while_down = while_down;
        self
    }

    /// Sets the longest time for which a server's Retry-After is obeyed; an hour by default.
    /// It is that of the delays ([`BackoffConfig::max_retry_after`]).
    #[must_use]
    pub const fn max_retry_after(mut self, max: Duration) -> Self {
        self.backoff = self.backoff.max_retry_after(max);
        self
    }
}

impl Default for ReconnectPolicy {
    fn default() -> Self {
        Self::new(BackoffConfig::default())
    }
}

impl From<BackoffConfig> for ReconnectPolicy {
    fn from(backoff: BackoffConfig) -> Self {
        Self::new(backoff)
    }
}

/// What becomes of a message that is sent while there is no connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhileDown {
    /// It is refused, with [`SendError::NotOpen`], which gives it back. For messages that are
    /// worth nothing later.
    #[default]
    Reject,
    /// It is kept, and sent on the next connection in its turn. At most this many messages are;
    /// one more is refused with [`SendError::Full`], which gives it back: what was accepted
    /// stays.
    Keep(usize),
}

/// The life of a client over all its connections, without I/O: when to connect, what to tell the
/// application, which messages wait.
///
/// 1. [`begin`](Self::begin) an attempt to connect.
/// 2. When it is open, run the application's hook on an [`Opening`] and say
///    [`handle_open`](Self::handle_open); then [`hand_over`](Self::hand_over) what waits.
/// 3. When it ends, or never came to be, say [`handle_down`](Self::handle_down) and pass on the
///    event.
/// 4. Sleep until [`poll_timeout`](Self::poll_timeout), and begin again.
///
/// # Messages
///
/// Each is sent at most once. What was handed to a connection shares its fate, and is not
/// repeated on the next: the peer may have seen it. What waits here was handed to none; the next
/// connection gets it behind the messages of its own opening, in the order it was accepted.
/// Messages of an opening belong to their connection and end with it.
pub struct Reconnect {
    backoff: Backoff,
    while_down: WhileDown,
    /// The attempt or connection that is under way.
    current: Option<Generation>,
    /// The opening's messages, for the present connection alone.
    greeting: VecDeque<Message>,
    kept: VecDeque<Message>,
    is_over: bool,
}

impl Reconnect {
    /// Starts a life, with a seed for its delays from the operating system.
    ///
    /// # Errors
    ///
    /// [`Error::Backoff`] if the delays cannot work; [`Error::Io`] if the operating system has no
    /// entropy to give.
    pub fn new(policy: &ReconnectPolicy) -> Result<Self, Error> {
        Ok(Self::with_seed(policy, socket::backoff_seed()?)?)
    }

    /// Starts a life whose delays can be foretold, for simulations. Clients that share a seed
    /// come back at the same time.
    ///
    /// # Errors
    ///
    /// If the delays cannot work.
    pub fn with_seed(policy: &ReconnectPolicy, seed: u64) -> Result<Self, BackoffConfigError> {
        Ok(Self {
            backoff: Backoff::new(policy.backoff, seed)?,
            while_down: policy.while_down,
            current: None,
            greeting: VecDeque::new(),
            kept: VecDeque::new(),
            is_over: false,
        })
    }

    // ---- connections

    /// Says that an attempt to connect begins now, and names it.
    pub fn begin(&mut self, now: Instant) -> Generation {
        let generation = self.backoff.begin(now);
        self.current = Some(generation);
        generation
    }

    /// Says that the connection is open. `greeting` leaves before whatever was kept.
    ///
    /// # Errors
    ///
    /// Changes nothing if `generation` is over.
    pub fn handle_open(
        &mut self,
        now: Instant,
        generation: Generation,
        greeting: Vec<Message>,
    ) -> Result<(), Stale> {
        self.backoff.handle_open(now, generation)?;
        self.greeting = greeting.into();
        Ok(())
    }

    /// Says that the connection is over, or that the attempt failed; returns what to tell the
    /// application: [`ReconnectEvent::Down`], or [`ReconnectEvent::GaveUp`] and there is no more
    /// to do. After a [`stop`](Self::stop) that is the connection's [`Event::Closed`], if there
    /// was one.
    ///
    /// `None` if there is nothing to tell; about a generation that is over there never is, and
    /// nothing changes.
    pub fn handle_down(
        &mut self,
        now: Instant,
        generation: Generation,
        reason: DownReason,
    ) -> Option<ReconnectEvent> {
        if self.current != Some(generation) {
            return None;
        }
        self.current = None;
        self.greeting.clear();
        if self.is_over {
            return match reason {
                DownReason::Ended(closed) => {
                    Some(ReconnectEvent::Connection(Event::Closed(closed)))
                }
                DownReason::Failed(_) => None,
            };
        }
        let retries = self.backoff.failures();
        let decision = match class::outcome(&reason) {
            Some(outcome) => self.backoff.handle_closed(now, generation, outcome).ok()?,
            None => Decision::GiveUp(GiveUp::Fatal),
        };
        Some(match decision {
            Decision::Retry { at } => ReconnectEvent::Down {
                generation,
                reason,
                retry_in: at.saturating_duration_since(now),
            },
            Decision::GiveUp(why) => {
                self.is_over = true;
                ReconnectEvent::GaveUp(match why {
                    GiveUp::Exhausted => ReconnectError::Exhausted { retries, reason },
                    _ => ReconnectError::Fatal(reason),
                })
            }
        })
    }

    /// Says that the network came back: see [`Backoff::handle_network_up`].
    pub fn handle_network_up(&mut self, now: Instant) {
        self.backoff.handle_network_up(now);
    }

    /// Ends for good, at the application's wish: no attempt follows, and nothing more is kept.
    pub fn stop(&mut self) {
        self.is_over = true;
    }

    /// Returns the name of the attempt or connection that is under way.
    #[must_use]
    pub const fn generation(&self) -> Option<Generation> {
        self.current
    }

    /// Tells whether there will be no further attempt.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Returns when to [`begin`](Self::begin) the next attempt; `None` unless one is waited for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.backoff.poll_timeout().filter(|_| !self.is_over)
    }

    /// Returns how many connections ended, one after the other, since the last good one.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.backoff.failures()
    }

    // ---- messages

    /// Takes a message for which there is no connection, or behind others that wait for theirs.
    ///
    /// # Errors
    ///
    /// [`SendError::NotOpen`] if messages are not kept, or there will be no connection any more;
    /// [`SendError::Full`] if as many are kept as may be.
    pub fn keep(&mut self, message: Message) -> Result<(), SendError> {
        match self.while_down {
            _ if self.is_over => Err(SendError::NotOpen(message)),
            WhileDown::Reject => Err(SendError::NotOpen(message)),
            WhileDown::Keep(max) if self.kept.len() >= max => Err(SendError::Full(message)),
            WhileDown::Keep(_) => {
                self.kept.push_back(message);
                Ok(())
            }
        }
    }

    /// Tells whether messages wait for the connection, behind which later ones belong.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        !self.greeting.is_empty() || !self.kept.is_empty()
    }

    /// Hands messages that wait to the connection until it takes no more. One that `send` fails
    /// to take goes on waiting.
    pub fn hand_over<E>(&mut self, mut send: impl FnMut(Message) -> Result<(), E>) {
        for queue in [&mut self.greeting, &mut self.kept] {
            // A clone shares the payload.
            while let Some(message) = queue.front().cloned() {
                if send(message).is_err() {
                    return;
                }
                queue.pop_front();
            }
        }
    }

    /// Takes out the messages that are kept, oldest first: they were handed to no connection.
    pub fn take_kept(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.kept).into()
    }
}

/// Without the messages, which can be anybody's secret.
impl fmt::Debug for Reconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconnect")
            .field("backoff", &self.backoff)
            .field("while_down", &self.while_down)
            .field("kept", &self.kept.len())
            .field("is_over", &self.is_over)
            .finish_non_exhaustive()
    }
}

/// A connection that has just opened, before anything was sent on it: the place to log in and to
/// subscribe again.
pub struct Opening<'a> {
    generation: Generation,
    response: Option<&'a Response>,
    messages: Vec<Message>,
}

impl<'a> Opening<'a> {
    /// Describes a connection to the application's hook.
    #[must_use]
    pub const fn new(generation: Generation, response: Option<&'a Response>) -> Self {
        Self {
            generation,
            response,
            messages: Vec::new(),
        }
    }

    /// Returns the connection's name; a later one is greater.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// Returns the server's answer, with its headers and the chosen subprotocol.
    #[must_use]
    pub const fn response(&self) -> Option<&'a Response> {
        self.response
    }

    /// Sends a message on this connection and on no other, in front of those that were kept while
    /// there was none.
    pub fn send(&mut self, message: impl Into<Message>) {
        self.messages.push(message.into());
    }

    /// Returns what was sent, for [`Reconnect::handle_open`].
    #[must_use]
    pub fn into_messages(self) -> Vec<Message> {
        self.messages
    }
}

/// Without the messages, of which one may log in.
impl fmt::Debug for Opening<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening")
            .field("generation", &self.generation)
            .field("response", &self.response)
            .field("messages", &self.messages.len())
            .finish()
    }
}

/// Something that a reconnecting client tells the application.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReconnectEvent {
    /// A connection is open.
    Opened {
        /// Its name; a later one is greater.
        generation: Generation,
        /// The server's answer.
        response: Option<Box<Response>>,
    },
    /// Something happened on the connection that is open: a message, a part of one, a pong,
    /// suspicion. [`Event::Closed`] is among them only after a `close` of the application's own.
    Connection(Event),
    /// The connection is over, or the attempt failed; another one follows.
    Down {
        /// Which one.
        generation: Generation,
        /// How it ended.
        reason: DownReason,
        /// When the next attempt begins, unless a hint that the network is up brings it forward.
        retry_in: Duration,
    },
    /// There will be no further attempt. The last event.
    GaveUp(ReconnectError),
}

/// Why there is no connection.
#[derive(Debug)]
pub enum DownReason {
    /// None came about.
    Failed(Error),
    /// It was open, and is over.
    Ended(Box<Closed>),
}

impl DownReason {
    /// Returns how the connection ended, with its numbers, if there was one as far as to an
    /// opening handshake.
    #[must_use]
    pub fn closed(&self) -> Option<&Closed> {
        match self {
            Self::Ended(closed) | Self::Failed(Error::Closed(closed)) => Some(closed),
            Self::Failed(_) => None,
        }
    }
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Ended(closed) => closed.fmt(f),
        }
    }
}

impl From<DownReason> for Error {
    fn from(reason: DownReason) -> Self {
        match reason {
            DownReason::Failed(error) => error,
            DownReason::Ended(closed) => Self::Closed(closed),
        }
    }
}

/// Why a client does not come back any more.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReconnectError {
    /// The next attempt would meet the same end: a refusal, a close code, a certificate or a
    /// request that stays what it is
    /// ([`Outcome::class`](wspulse_core::backoff::Outcome::class)).
    Fatal(DownReason),
    /// As many retries in a row failed as
    /// [`max_retries`](wspulse_core::backoff::BackoffConfig::max_retries) allows.
    Exhausted {
        /// How many.
        retries: u32,
        /// How the last one ended.
        reason: DownReason,
    },
}

impl ReconnectError {
    /// Returns how the last attempt or connection ended.
    #[must_use]
    pub const fn reason(&self) -> &DownReason {
        match self {
            Self::Fatal(reason) | Self::Exhausted { reason, .. } => reason,
        }
    }
}

impl fmt::Display for ReconnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fatal(reason) => write!(f, "no use in another attempt: {reason}"),
            Self::Exhausted { retries, reason } => {
                write!(f, "gave up after {retries} retries: {reason}")
            }
        }
    }
}

impl error::Error for ReconnectError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self.reason() {
            DownReason::Failed(error) => Some(error),
            DownReason::Ended(closed) => Some(closed),
        }
    }
}

/// For code that speaks of one connection: how the last one ended.
impl From<ReconnectError> for Error {
    fn from(error: ReconnectError) -> Self {
        match error {
            ReconnectError::Fatal(reason) | ReconnectError::Exhausted { reason, .. } => {
                reason.into()
            }
        }
    }
}

#[cfg(test)]
mod tests;
