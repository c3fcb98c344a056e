//! All connections of a loop, for its handler.

use std::collections::VecDeque;
use std::mem;
use std::time::{Duration, Instant};

use mio::{Registry, Token};
use slab::Slab;
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{CloseCode, ConfigError, Event, Message, SendError, State};
use wspulse_drive::{Error, InboxLimits};

use super::connecting::{Connecting, Place, Plan};
use super::drain::Drain;
use super::handler::{ConnectionId, ListenerId};
use super::listener::Listening;
use super::lookup::Lookups;
use crate::stream::Socket;
use crate::timers::Timers;
use crate::websocket::{BATCH_TIME, WebSocket};

/// The connections of an [`EventLoop`](crate::EventLoop), and its listeners.
///
/// Commands to a connection that is over, or not open yet, do nothing and say so. What is sent
/// leaves when the loop comes to that connection, in one write with whatever else it has to say
/// by then; or, where handlers take their time, 1 ms after it was queued when the next method
/// returns.
#[derive(Debug)]
pub struct Connections {
    pub(super) registry: Registry,
    pub(super) entries: Slab<Entry>,
    generation: u32,
    /// Who has something to do; each at most once that counts.
    pub(super) ready: VecDeque<usize>,
    pub(super) timers: Timers,
    pub(super) listeners: Slab<Listening>,
    pub(super) lookups: Lookups,
    /// Whose turn it is.
    pub(super) current: Option<usize>,
    /// Connections that were given something to write while it was not their turn.
    writers: Vec<ConnectionId>,
    /// When these were last written to, or the loop's turn began.
    wrote_at: Instant,
    /// When a method of the handler last returned.
    called_at: Instant,
    /// Whether one took long, in this turn of the loop or the one before.
    is_slow: bool,
    was_slow: bool,
    /// When the handler wants to be told.
    pub(super) timeout: Option<Instant>,
    pub(super) drain: Option<Drain>,
    pub(super) is_over: bool,
    max_connections: usize,
}

/// One connection's place.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) stage: Stage,
    pub(super) rare: Option<Box<Rare>>,
    pub(super) generation: u32,
    pub(super) wants: Wants,
    /// Whether it is among those that were given something to write.
    is_writer: bool,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are running")]
pub(super) enum Stage {
    Connecting(Box<Connecting>),
    Running(WebSocket<Socket>),
    /// From one to the other.
    Between,
}

/// What few connections have.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// A client that may be sent elsewhere yet.
    pub(super) plan: Option<Plan>,
    /// Why it really ended.
    pub(super) failure: Option<Error>,
}

/// What a connection waits in the ready queue for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wants {
    Nothing,
    /// To write what is queued; nothing says that there is anything to read.
    Write,
    Turn,
}

impl Connections {
    pub(super) fn new(registry: Registry, lookups: Lookups) -> Self {
        Self {
            registry,
            entries: Slab::new(),
            generation: 0,
            ready: VecDeque::new(),
            timers: Timers::new(),
            listeners: Slab::new(),
            lookups,
            current: None,
            writers: Vec::new(),
            wrote_at: Instant::now(),
            called_at: Instant::now(),
            is_slow: false,
            was_slow: false,
            timeout: None,
            drain: None,
            is_over: false,
            max_connections: usize::MAX,
        }
    }

    /// Sets how many connections there may be before no listener takes another one; those who
    /// come wait in the kernel's queue. No limit by default but that on descriptors.
    pub const fn set_max_connections(&mut self, most: usize) {
        self.max_connections = most;
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= self.max_connections
    }

    // ---- commands

    /// Queues a message for a connection.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] gives the message back while `max_buffered_amount` is queued; the
    /// handler's [`writable`](crate::Handler::writable) says when there is room again.
    /// [`SendError::NotOpen`] if the connection is not open.
    pub fn send(&mut self, id: ConnectionId, message: impl Into<Message>) -> Result<(), SendError> {
        let message = message.into();
        match self.running_mut(id) {
            Some(ws) => {
                ws.send(message)?;
                self.schedule(id, Wants::Write);
                Ok(())
            }
            None => Err(SendError::NotOpen(message)),
        }
    }

    /// Queues a part of a message, which `last` completes; see [`WebSocket::send_part`].
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_part(
        &mut self,
        id: ConnectionId,
        part: impl Into<Message>,
        last: bool,
    ) -> Result<(), SendError> {
        let part = part.into();
        match self.running_mut(id) {
            Some(ws) => {
                ws.send_part(part, last)?;
                self.schedule(id, Wants::Write);
                Ok(())
            }
            None => Err(SendError::NotOpen(part)),
        }
    }

    /// Queues a message for every open connection, which all share its bytes; returns how many
    /// took it. Those whose queue is full did not.
    pub fn broadcast(&mut self, message: impl Into<Message>) -> usize {
        let message = message.into();
        let ids: Vec<_> = self.ids().collect();
        let mut took = 0;
        for id in ids {
            took += usize::from(self.send(id, message.clone()).is_ok());
        }
        took
    }

    /// Queues a ping of the application's own; see [`WebSocket::ping`].
    ///
    /// # Errors
    ///
    /// [`SendError::PingTooLong`] above 125 bytes; [`SendError::PingNotQueued`] if too many wait;
    /// [`SendError::PingNotOpen`] if the connection is not open.
    pub fn ping(&mut self, id: ConnectionId, payload: &[u8]) -> Result<(), SendError> {
        let ws = self.running_mut(id).ok_or(SendError::PingNotOpen)?;
        ws.ping(payload)?;
        self.schedule(id, Wants::Write);
        Ok(())
    }

    /// Starts the closing handshake; one that is still on its way is given up. The handler's
    /// [`closed`](crate::Handler::closed) comes within `close_timeout`.
    ///
    /// # Errors
    ///
    /// [`SendError::Close`] if the code or the reason must not be sent, and nothing changed.
    pub fn close(
        &mut self,
        id: ConnectionId,
        code: CloseCode,
        reason: &str,
    ) -> Result<(), SendError> {
        match self.running_mut(id) {
            Some(ws) => {
                ws.close(code, reason)?;
                self.schedule(id, Wants::Write);
            }
            None => self.give_up(id),
        }
        Ok(())
    }

    /// Ends a connection without a closing handshake.
    pub fn abort(&mut self, id: ConnectionId) {
        match self.running_mut(id) {
            Some(ws) => {
                ws.abort();
                self.schedule(id, Wants::Turn);
            }
            None => self.give_up(id),
        }
    }

    /// Says to every connection that the machine woke up after a suspend that its clock does not
    /// show, or that the network changed: fresh pings leave, and each peer has the whole timeout
    /// for its answer.
    pub fn handle_resumed(&mut self) {
        let all = self.entries.iter();
        let ids: Vec<_> = all.map(|(key, entry)| entry.id(key)).collect();
        for id in ids {
            if let Some(ws) = self.running_mut(id) {
                ws.handle_resumed();
                self.schedule(id, Wants::Turn);
            }
        }
    }

    /// Gives up a client that is on its way.
    fn give_up(&mut self, id: ConnectionId) {
        let Some(entry) = self.entry_mut(id) else {
            return;
        };
        entry.rare.get_or_insert_default().failure = Some(Error::NotOpen);
        self.schedule(id, Wants::Turn);
    }

    /// Stops taking a connection's messages: for a handler that has more to do than it can. See
    /// [`WebSocket::pause`] for what goes on meanwhile.
    pub fn pause(&mut self, id: ConnectionId) {
        if let Some(ws) = self.running_mut(id) {
            ws.pause();
        }
    }

    /// Takes a connection's messages again.
    pub fn resume(&mut self, id: ConnectionId) {
        if let Some(ws) = self.running_mut(id) {
            ws.resume();
            self.schedule(id, Wants::Turn);
        }
    }

    /// Sets how much may wait in a connection's inbox; see [`WebSocket::set_inbox_limits`].
    pub fn set_inbox_limits(&mut self, id: ConnectionId, limits: InboxLimits) {
        if let Some(ws) = self.running_mut(id) {
            ws.set_inbox_limits(limits);
        }
    }

    /// Changes when pings are sent and when the peer is given up, from now on; by a TCP socket's
    /// kernel too.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the configuration cannot work; the one before stays.
    pub fn set_heartbeat(
        &mut self,
        id: ConnectionId,
        config: HeartbeatConfig,
    ) -> Result<(), ConfigError> {
        if let Some(ws) = self.running_mut(id) {
            ws.set_heartbeat(config)?;
            self.schedule(id, Wants::Write);
        }
        Ok(())
    }

    /// Has the handler told of the time: [`timeout`](crate::Handler::timeout) comes once, at
    /// `deadline`. There is one such deadline, the last one set; for many, keep a
    /// [`Timers`](crate::Timers).
    pub fn set_timeout(&mut self, deadline: Option<Instant>) {
        self.timeout = deadline;
    }

    // ---- the end

    /// Ends the loop in good order: stops listening, closes the connections with 1001 one after
    /// the other, evenly over `spread` so that they do not all come back at once, and cuts those
    /// that are not over `wait` after now. The handler's [`drained`](crate::Handler::drained) has
    /// the report, and [`run`](crate::EventLoop::run) returns.
    ///
    /// Said again, it can only be over earlier.
    pub fn drain(&mut self, spread: Duration, wait: Duration) {
        let listeners: Vec<_> = self.listeners.iter().map(|(key, _)| key).collect();
        for key in listeners {
            self.unlisten(ListenerId(key));
        }
        if let Some(drain) = &mut self.drain {
            return drain.hurry(spread, wait);
        }
        let all = self.entries.iter();
        let ids: Vec<_> = all.map(|(key, entry)| entry.id(key)).collect();
        self.drain = Some(Drain::new(ids, spread, wait));
    }

    /// Ends the loop at once: each connection is sent a Close frame with 1001, as far as that
    /// goes without waiting, and cut.
    pub fn stop(&mut self) {
        self.drain(Duration::ZERO, Duration::ZERO);
    }

    // ---- looks

    /// Returns a connection to look at, unless it is over or still on its way.
    #[must_use]
    pub fn get(&self, id: ConnectionId) -> Option<&WebSocket<Socket>> {
        let entry = self.entries.get(id.index as usize)?;
        match &entry.stage {
            Stage::Running(ws) if entry.generation == id.generation => Some(ws),
            _ => None,
        }
    }

    /// Returns how many connections there are, in any state.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Tells whether there is no connection.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Goes through the open connections.
    pub fn ids(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        let is_open = |entry: &Entry| match &entry.stage {
            Stage::Running(ws) => ws.state() == State::Open,
            Stage::Connecting(_) | Stage::Between => false,
        };
        let open = self.entries.iter().filter(move |(_, entry)| is_open(entry));
        open.map(|(key, entry)| entry.id(key))
    }

    /// Returns the queue of deadlines, for what it counted.
    #[must_use]
    pub const fn timers(&self) -> &Timers {
        &self.timers
    }

    // ---- for the loop

    pub(super) fn insert(&mut self, stage: Stage) -> ConnectionId {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let key = self.entries.insert(Entry {
            stage,
            rare: None,
            generation,
            wants: Wants::Nothing,
            is_writer: false,
        });
        self.entries[key].id(key)
    }

    /// Frees a connection's place.
    pub(super) fn remove(&mut self, index: usize) -> Option<Entry> {
        self.timers.cancel(index);
        self.entries.try_remove(index)
    }

    /// Puts a connection at the end of the ready queue.
    pub(super) fn schedule(&mut self, id: ConnectionId, wants: Wants) {
        let index = id.index as usize;
        // It sees to everything in the turn that it has.
        if self.current == Some(index) {
            return;
        }
        if let Some(entry) = self.entry_mut(id) {
            let was = entry.wants;
            entry.wants = was.max(wants);
            let is_new = wants == Wants::Write && !mem::replace(&mut entry.is_writer, true);
            if was == Wants::Nothing {
                self.ready.push_back(index);
            }
            if is_new {
                self.writers.push(id);
            }
        }
    }

    /// Writes what was queued for the connections whose turn it is not, as far as their streams
    /// take it. What else they have to do waits for their turn.
    pub(super) fn write_queued(&mut self) {
        let mut writers = mem::take(&mut self.writers);
        for id in writers.drain(..) {
            if let Some(entry) = self.entry_mut(id) {
                entry.is_writer = false;
            }
            let ws = self.running_mut(id);
            if ws.is_some_and(|ws| ws.push_queued()) {
                self.schedule(id, Wants::Turn);
            }
        }
        self.writers = writers;
    }

    /// Arms the timer of a connection for what it says.
    pub(super) fn arm(&mut self, index: usize) {
        if let Some(deadline) = self.entries.get(index).and_then(Entry::poll_timeout) {
            self.timers.arm(index, deadline);
        }
    }

    pub(super) fn place(&self, id: ConnectionId) -> Place<'_> {
        Place {
            registry: &self.registry,
            token: id.token(),
        }
    }

    pub(super) fn entry_mut(&mut self, id: ConnectionId) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(id.index as usize)?;
        (entry.generation == id.generation).then_some(entry)
    }

    pub(super) fn running_mut(&mut self, id: ConnectionId) -> Option<&mut WebSocket<Socket>> {
        match &mut self.entry_mut(id)?.stage {
            Stage::Running(ws) => Some(ws),
            Stage::Connecting(_) | Stage::Between => None,
        }
    }

    /// Runs the connection whose turn it is to its next event.
    #[inline]
    pub(super) fn next_event(&mut self, id: ConnectionId) -> Option<Event> {
        self.running_mut(id)?.next_event()
    }

    /// A turn of the loop begins.
    pub(super) fn begin_turn(&mut self) {
        self.wrote_at = Instant::now();
        self.called_at = self.wrote_at;
        self.was_slow = mem::take(&mut self.is_slow);
    }

    /// A method of the handler has returned, which may have taken its time: what was queued leaves
    /// if it has waited for company long enough (rule 18).
    #[inline]
    pub(super) fn end_call(&mut self, now: Instant) {
        self.is_slow |= now.saturating_duration_since(self.called_at) >= BATCH_TIME;
        self.called_at = now;
        if now.saturating_duration_since(self.wrote_at) >= BATCH_TIME {
            self.wrote_at = now;
            self.write_all();
        }
    }

    /// A connection's turn is over. Where the handler takes its time, the next one's work is not to
    /// hold up what was queued for others.
    pub(super) fn end_connection(&mut self) {
        if self.is_slow || self.was_slow {
            self.write_queued();
        }
    }

    #[inline(never)]
    fn write_all(&mut self) {
        self.write_queued();
        if let Some(index) = self.current
            && let Some(entry) = self.entries.get_mut(index)
            && let Stage::Running(ws) = &mut entry.stage
        {
            ws.push_queued();
        }
    }
}

impl Entry {
    pub(super) fn id(&self, key: usize) -> ConnectionId {
        ConnectionId {
            // Nobody has 2^32 descriptors.
            index: key as u32,
            generation: self.generation,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Running(ws) => ws.poll_timeout(),
            Stage::Connecting(connecting) => Some(connecting.poll_timeout()),
            Stage::Between => None,
        }
    }
}

impl ConnectionId {
    pub(super) fn token(self) -> Token {
        Token(self.index as usize)
    }
}

impl ListenerId {
    pub(super) fn token(self) -> Token {
        Token(LISTENERS + self.0)
    }
}

/// Tokens from here on are listeners'; those below are connections'.
pub(super) const LISTENERS: usize = 1 << (usize::BITS - 2);

/// What an idle connection costs beside its socket and its place in the timers.
const _: () = assert!(size_of::<Entry>() <= 512);
