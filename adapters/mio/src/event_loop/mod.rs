//! A ready loop: many connections on one thread.

mod connecting;
mod connections;
mod drain;
mod handle;
mod handler;
mod listener;
mod lookup;
mod sources;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use std::{fmt, mem};

use mio::event::Source as _;
use mio::{Events, Poll, Token, Waker};
use wspulse_core::handshake::{HandshakeError, Reject};
use wspulse_core::{Cause, CloseCode, Closed, Event, Message};
use wspulse_drive::Error;

use connecting::Outcome;
use connections::{LISTENERS, Rare, Stage, Wants};
use handle::{Command, Shared};
use listener::{ACCEPT_BUDGET, ACCEPT_PAUSE, Trouble};
use lookup::Lookups;

pub use connections::Connections;
pub use handle::{Handle, HandleError};
pub use handler::{ConnectionId, DrainReport, Handler, ListenerId};
pub use listener::Listener;

use crate::websocket::Turn;

/// Runs many connections on one thread, and tells a [`Handler`] what happens to them.
///
/// ```
/// use mio::net::TcpListener;
/// use wspulse_core::{CloseCode, Config, Message};
/// use wspulse_mio::{ConnectionId, Connections, EventLoop, Handler};
///
/// struct Echo;
///
/// impl Handler for Echo {
///     fn message(&mut self, connections: &mut Connections, id: ConnectionId, message: Message) {
///         // The peer takes no more than it sends: room is what pausing is for elsewhere.
///         let _ = connections.send(id, message);
///     }
/// }
///
/// let mut server = EventLoop::new(Echo)?;
/// let listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
/// let address = listener.local_addr()?;
/// server.connections().listen(listener, Config::default())?;
/// let handle = server.handle();
/// let thread = std::thread::spawn(move || server.run());
/// # let _ = address;
///
/// handle.stop(); // from any thread
/// thread.join().unwrap()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Turns
///
/// Connections are registered edge-triggered, once. One that is ready gets a turn: it reads until
/// its stream has no more, and what it has to say leaves in one write at the end, or 1 ms after it
/// was queued when the next method of the handler returns. One that is fed without end is cut off
/// after 256 KiB or 10 ms and goes to the end of the ready queue; as long as anybody is in that
/// queue the loop does not sleep.
///
/// # What blocks
///
/// The poll, when there is nothing to do; and the handler's own methods.
pub struct EventLoop<H> {
    connections: Connections,
    handler: H,
    commands: Receiver<Command<H>>,
    sender: SyncSender<Command<H>>,
    shared: Arc<Shared>,
    /// Whether commands may be left from the last turn.
    has_commands: bool,
    events: Events,
    // Last: everything registered goes before it.
    poll: Poll,
}

impl<H: Handler> EventLoop<H> {
    /// Makes a loop without connections, whose queue from other threads holds 1,024 commands.
    ///
    /// # Errors
    ///
    /// If the operating system has no poll to give.
    pub fn new(handler: H) -> io::Result<Self> {
        Self::with_queue(handler, 1024)
    }

    /// Makes a loop whose queue from other threads holds `queue` commands, at least one.
    ///
    /// # Errors
    ///
    /// If the operating system has no poll to give.
    pub fn with_queue(handler: H, queue: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (sender, commands) = sync_channel(queue.max(1));
        let registry = poll.registry().try_clone()?;
        Ok(Self {
            connections: Connections::new(registry, Lookups::new(Arc::clone(&waker))),
            handler,
            commands,
            sender,
            shared: Arc::new(Shared::new(waker)),
            has_commands: false,
            events: Events::with_capacity(1024),
            poll,
        })
    }

    /// Returns the connections, to listen, to connect, and for everything else.
    pub const fn connections(&mut self) -> &mut Connections {
        &mut self.connections
    }

    /// Returns the handler.
    pub const fn handler(&mut self) -> &mut H {
        &mut self.handler
    }

    /// Ends the loop and gives its handler back; the connections, and what other threads queued,
    /// are dropped as they are.
    #[must_use]
    pub fn into_handler(self) -> H {
        self.handler
    }

    /// Returns a hold on this loop for other threads.
    #[must_use]
    pub fn handle(&self) -> Handle<H> {
        Handle {
            sender: self.sender.clone(),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Runs until a [`drain`](Connections::drain) is done, or a [`stop`](Connections::stop).
    ///
    /// # Errors
    ///
    /// If the poll fails; what is wrong with a connection never does.
    pub fn run(&mut self) -> io::Result<()> {
        while self.turn(None)? {}
        Ok(())
    }

    /// Waits until there is something to do, at most `wait`, and does it; tells whether the loop
    /// goes on.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn turn(&mut self, wait: Option<Duration>) -> io::Result<bool> {
        if self.connections.is_over {
            return Ok(false);
        }
        let wait = self.wait(wait);
        match self.poll.poll(&mut self.events, wait) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            polled => polled?,
        }
        self.connections.begin_turn();
        self.note_events();
        self.run_lookups();
        self.run_commands();
        self.accept_all();
        self.run_deadlines();
        self.run_ready();
        self.run_drain();
        self.connections.write_queued();
        Ok(!self.connections.is_over)
    }

    /// Returns how long the poll may sleep.
    fn wait(&self, most: Option<Duration>) -> Option<Duration> {
        let connections = &self.connections;
        if self.has_commands || !connections.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        let now = Instant::now();
        let listeners = connections.listeners.iter();
        let accepts = listeners
            .filter(|(_, listening)| listening.is_ready && !connections.is_full())
            .map(|(_, listening)| listening.retry_at.unwrap_or(now));
        let deadlines = [
            connections.timers.next(),
            connections.timeout,
            connections.drain.as_ref().and_then(|drain| drain.next()),
        ];
        let next = deadlines.into_iter().flatten().chain(accepts).min();
        let next = next.map(|deadline| deadline.saturating_duration_since(now));
        next.into_iter().chain(most).min()
    }

    // ---- one step each

    fn note_events(&mut self) {
        let connections = &mut self.connections;
        for event in &self.events {
            let Token(token) = event.token();
            if token >= LISTENERS {
                // The waker's is none of them: what it is for is looked at in any case.
                if let Some(listening) = connections.listeners.get_mut(token - LISTENERS) {
                    listening.is_ready = true;
                }
            } else if let Some(entry) = connections.entries.get(token) {
                let id = entry.id(token);
                connections.schedule(id, Wants::Turn);
                if event.is_readable()
                    && !event.is_read_closed()
                    && let Some(ws) = connections.running_mut(id)
                {
                    ws.note_readable();
                }
            }
        }
    }

    fn run_lookups(&mut self) {
        let connections = &mut self.connections;
        while let Some((id, found)) = connections.lookups.poll() {
            let Some(entry) = connections.entry_mut(id) else {
                continue;
            };
            match mem::replace(&mut entry.stage, Stage::Between) {
                Stage::Connecting(connecting) if connecting.is_lookup() => {
                    let connecting = connecting.found(found, connections.place(id));
                    let stage = Stage::Connecting(Box::new(connecting));
                    connections.entries[id.index as usize].stage = stage;
                    connections.schedule(id, Wants::Turn);
                }
                stage => entry.stage = stage,
            }
        }
    }

    fn run_commands(&mut self) {
        if let Some((spread, wait)) = self.shared.take_end() {
            self.connections.drain(spread, wait);
        }
        if !self.shared.take_woken() && !self.has_commands {
            return;
        }
        self.has_commands = true;
        for _ in 0..COMMAND_BUDGET {
            let Ok(command) = self.commands.try_recv() else {
                self.has_commands = false;
                return;
            };
            self.run_command(command);
            self.connections.end_call(Instant::now());
        }
    }

    fn run_command(&mut self, command: Command<H>) {
        let connections = &mut self.connections;
        match command {
            Command::Send(id, message) => {
                if let Err(error) = connections.send(id, message) {
                    self.handler.unsent(connections, id, error);
                }
            }
            Command::Broadcast(message) => {
                let ids: Vec<_> = connections.ids().collect();
                for id in ids {
                    if let Err(error) = connections.send(id, message.clone()) {
                        self.handler.unsent(connections, id, error);
                    }
                }
            }
            Command::Close(id, code, reason) => {
                let closed = connections.close(id, code, &reason);
                if let Err(error) = closed {
                    self.handler.unsent(connections, id, error);
                }
            }
            Command::Abort(id) => connections.abort(id),
            Command::Resumed => connections.handle_resumed(),
            Command::Run(task) => task(&mut self.handler, connections),
        }
    }

    fn accept_all(&mut self) {
        let listeners = self.connections.listeners.iter();
        let ready = listeners.filter(|(_, listening)| listening.is_ready);
        let keys: Vec<usize> = ready.map(|(key, _)| key).collect();
        for key in keys {
            self.accept_some(key);
        }
    }

    fn accept_some(&mut self, key: usize) {
        let now = Instant::now();
        for _ in 0..ACCEPT_BUDGET {
            let connections = &mut self.connections;
            if connections.is_full() {
                return;
            }
            let Some(listening) = connections.listeners.get_mut(key) else {
                return;
            };
            if listening.retry_at.is_some_and(|retry_at| retry_at > now) {
                return;
            }
            listening.retry_at = None;
            let trouble = match listening.listener.accept() {
                Ok(stream) => {
                    let config = Arc::clone(&listening.config);
                    #[cfg(feature = "tls")]
                    let added = match listening.tls.clone() {
                        Some(tls) => connections.accept_tls(stream, tls, config),
                        None => connections.accept(stream, config),
                    };
                    #[cfg(not(feature = "tls"))]
                    let added = connections.accept(stream, config);
                    match added {
                        Ok(_) => continue,
                        Err(error) => Trouble::Lasting(error.into()),
                    }
                }
                Err(error) => error.into(),
            };
            match trouble {
                Trouble::Nobody => {
                    listening_mut(connections, key, |listening| listening.is_ready = false);
                    return;
                }
                Trouble::Gone => {}
                Trouble::Lasting(error) => {
                    listening_mut(connections, key, |listening| {
                        listening.retry_at = Some(now + ACCEPT_PAUSE);
                    });
                    let id = ListenerId(key);
                    self.handler.accept_failed(connections, id, error);
                    return connections.end_call(Instant::now());
                }
            }
        }
    }

    fn run_deadlines(&mut self) {
        let now = Instant::now();
        let connections = &mut self.connections;
        while let Some(index) = connections.timers.pop(now) {
            let Some(entry) = connections.entries.get(index) else {
                continue;
            };
            let id = entry.id(index);
            match entry.poll_timeout() {
                Some(deadline) if deadline <= now => connections.schedule(id, Wants::Turn),
                // Traffic has put it off meanwhile.
                _ => connections.arm(index),
            }
        }
        if connections.timeout.take_if(|due| *due <= now).is_some() {
            self.handler.timeout(connections);
            connections.end_call(Instant::now());
        }
    }

    /// Gives a turn to each that waits for one by now; who comes again waits for the next round.
    fn run_ready(&mut self) {
        for _ in 0..self.connections.ready.len() {
            let Some(index) = self.connections.ready.pop_front() else {
                return;
            };
            let Some(entry) = self.connections.entries.get_mut(index) else {
                continue;
            };
            let id = entry.id(index);
            match mem::replace(&mut entry.wants, Wants::Nothing) {
                Wants::Nothing => {}
                wants => {
                    self.run_connection(id, wants);
                    self.connections.end_connection();
                }
            }
        }
    }

    fn run_connection(&mut self, id: ConnectionId, wants: Wants) {
        let index = id.index as usize;
        if self.connections.running_mut(id).is_none() && !self.advance(id) {
            return;
        }
        self.connections.current = Some(index);
        let turn = self.run_turn(id, wants);
        self.connections.current = None;
        match turn {
            // It was told, and its place is free.
            Turn::Over => return,
            Turn::Again => self.connections.schedule(id, Wants::Turn),
            Turn::Wait => {}
        }
        self.connections.arm(index);
        let ws = self.connections.running_mut(id);
        if ws.is_some_and(|ws| ws.take_writable()) {
            self.handler.writable(&mut self.connections, id);
            self.connections.end_call(Instant::now());
        }
    }

    fn run_turn(&mut self, id: ConnectionId, wants: Wants) -> Turn {
        if wants == Wants::Write {
            let ws = self.connections.running_mut(id);
            if ws.is_some_and(|ws| !ws.push()) {
                return Turn::Wait;
            }
        }
        let mut began = None;
        if let Some(ws) = self.connections.running_mut(id) {
            ws.catch_up();
        }
        while let Some(event) = self.connections.next_event(id) {
            if self.tell(id, event) == Turn::Over {
                self.connections.end_call(Instant::now());
                return Turn::Over;
            }
            let now = Instant::now();
            self.connections.end_call(now);
            let began = *began.get_or_insert(now);
            if now.saturating_duration_since(began) >= TURN_TIME {
                if let Some(ws) = self.connections.running_mut(id) {
                    ws.cut_short();
                }
                break;
            }
        }
        let ws = self.connections.running_mut(id);
        ws.map_or(Turn::Over, |ws| ws.end_turn())
    }

    /// Tells the handler of an event.
    fn tell(&mut self, id: ConnectionId, event: Event) -> Turn {
        let connections = &mut self.connections;
        match event {
            Event::Request(request) => match self.handler.request(connections, id, &request) {
                Ok(accept) => {
                    let answered = connections
                        .running_mut(id)
                        .map(|ws| ws.accept_request(&accept));
                    match answered {
                        Some(Ok(())) => self.handler.open(connections, id, None),
                        Some(Err(error)) => self.reject(id, &Reject::from(error)),
                        None => {}
                    }
                }
                Err(rejection) => self.reject(id, &rejection),
            },
            Event::Open(response) => {
                if let Some(entry) = connections.entry_mut(id) {
                    entry.rare = None;
                }
                self.handler.open(connections, id, Some(&response));
            }
            Event::Closed(closed) => {
                self.finish(id, closed);
                return Turn::Over;
            }
            event => match Message::try_from(event) {
                Ok(message) => self.handler.message(connections, id, message),
                Err(event) => self.handler.event(connections, id, event),
            },
        }
        Turn::Wait
    }

    /// Refuses the request that waits; none does if the handler has ended the connection itself.
    fn reject(&mut self, id: ConnectionId, rejection: &Reject) {
        if let Some(ws) = self.connections.running_mut(id)
            && ws.reject(rejection).is_ok()
            && let Some(mistake) = rejection.mistake()
            && let Some(entry) = self.connections.entry_mut(id)
        {
            entry.rare.get_or_insert_default().failure = Some(Error::Answer(mistake));
        }
    }

    // ---- the way to a server, and the end

    /// Takes a client further on its way; tells whether it is there.
    fn advance(&mut self, id: ConnectionId) -> bool {
        let Some(entry) = self.connections.entry_mut(id) else {
            return false;
        };
        let given_up = entry.rare.as_mut().and_then(|rare| rare.failure.take());
        let Stage::Connecting(connecting) = mem::replace(&mut entry.stage, Stage::Between) else {
            return false;
        };
        let outcome = match given_up {
            Some(error) => Err(error),
            None => connecting.advance(self.connections.place(id)),
        };
        let entry = &mut self.connections.entries[id.index as usize];
        match outcome {
            Ok(Outcome::Waiting(connecting)) => {
                entry.stage = Stage::Connecting(connecting);
                self.connections.arm(id.index as usize);
                false
            }
            Ok(Outcome::Arrived(arrived)) => {
                let (plan, ws) = *arrived;
                entry.rare.get_or_insert_default().plan = Some(plan);
                entry.stage = Stage::Running(ws);
                true
            }
            Err(error) => {
                self.connections.lookups.cancel(id);
                self.end(id, Err(error));
                false
            }
        }
    }

    /// A connection came to its end; or to another beginning.
    fn finish(&mut self, id: ConnectionId, closed: Box<Closed>) {
        let Some(entry) = self.connections.entry_mut(id) else {
            return;
        };
        let Rare { plan, failure } = entry.rare.take().map_or_else(Rare::default, |rare| *rare);
        let Stage::Running(mut ws) = mem::replace(&mut entry.stage, Stage::Between) else {
            return;
        };
        // One that cannot be deregistered is when it is closed.
        let _ = ws.deregister(&self.connections.registry);
        if let Cause::Handshake(HandshakeError::Refused(refusal)) = &closed.cause
            && let Some(followed) = plan.and_then(|plan| plan.follow(refusal))
        {
            drop(ws);
            match followed {
                Ok(plan) if self.connections.drain.is_none() => {
                    self.connections.current = None;
                    self.connections.go(id, plan);
                }
                Ok(_) => self.end(id, Err(Error::NotOpen)),
                Err(error) => self.end(id, Err(error)),
            }
            return;
        }
        let end = match (failure, &closed.cause) {
            (Some(failure), _) => Err(failure),
            (None, Cause::Normal) => Ok(closed),
            (None, _) => Err(ws.end_error(closed)),
        };
        drop(ws);
        self.end(id, end);
    }

    /// Frees a connection's place, then says so.
    fn end(&mut self, id: ConnectionId, end: Result<Box<Closed>, Error>) {
        self.connections.remove(id.index as usize);
        // Who takes the place meanwhile has its turn later.
        self.connections.current = None;
        if let Some(drain) = &mut self.connections.drain
            && end.is_ok()
        {
            drain.note_in_order(id);
        }
        self.handler.closed(&mut self.connections, id, end);
    }

    fn run_drain(&mut self) {
        let now = Instant::now();
        let connections = &mut self.connections;
        let Some(mut drain) = connections.drain.take() else {
            return;
        };
        let mut has_asked = false;
        while let Some(id) = drain.pop(now) {
            has_asked = true;
            // The code is a legal one.
            let _ = connections.close(id, CloseCode::GOING_AWAY, "");
        }
        // Who was asked just now has a turn to write it.
        if !has_asked && drain.is_time_to_cut(now) {
            let left = connections.entries.iter();
            let left: Vec<_> = left.map(|(key, entry)| entry.id(key)).collect();
            for id in left {
                drain.note_cut(id);
                connections.abort(id);
            }
        }
        connections.drain = Some(drain);
        if !connections.entries.is_empty() {
            return;
        }
        self.shared.end();
        while let Ok(command) = self.commands.try_recv() {
            self.run_command(command);
        }
        // One of them may have added a connection, which is over in its first turn.
        if !self.connections.entries.is_empty() {
            return;
        }
        self.connections.is_over = true;
        if let Some(drain) = self.connections.drain.take() {
            self.handler.drained(drain.into_report());
        }
    }
}

fn listening_mut(
    connections: &mut Connections,
    key: usize,
    change: impl FnOnce(&mut listener::Listening),
) {
    if let Some(listening) = connections.listeners.get_mut(key) {
        change(listening);
    }
}

impl<H> fmt::Debug for EventLoop<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop")
            .field("connections", &self.connections.entries.len())
            .finish_non_exhaustive()
    }
}

/// How long a connection's turn goes on, before others have theirs: what its handler does may
/// take long.
const TURN_TIME: Duration = Duration::from_millis(10);

/// Commands taken in one go, before connections have their turn.
const COMMAND_BUDGET: usize = 1024;

const WAKER: Token = Token(usize::MAX);
