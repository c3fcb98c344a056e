//! Threads of its own for a connection, and the handles that speak to it.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::iter::FusedIterator;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use wspulse_core::handshake::Response;
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{
    Cause, CloseCode, Closed, ConfigError, Event, Message, SendError, Snapshot, State,
};
use wspulse_drive::{Drive, copy_of};

use crate::bell::Bell;
use crate::shared::{Departure, Late, Shared};
use crate::stream::Stream;
use crate::websocket::{in_time, within};
use crate::{Error, InboxLimits};

/// What a connection in [threads of its own](crate::WebSocket::spawn) receives.
///
/// Dropped, the connection goes on without it: what the peer sends is read and dropped, until the
/// last [`Sender`] is dropped too.
pub struct Receiver {
    queues: Arc<Queues>,
    link: Link,
    /// The messages have ended.
    is_done: bool,
}

/// Sends through a connection in [threads of its own](crate::WebSocket::spawn). Clones send
/// through the same one.
pub struct Sender {
    queues: Arc<Queues>,
    link: Link,
}

/// The connection, as long as its threads run. The handles hold no socket open.
type Link = Weak<Shared<dyn Stream + Send + Sync>>;

/// Between the threads and the handles. Locked after the connection, never before it.
struct Queues {
    state: Mutex<Queued>,
    /// For who waits for events or the end.
    arrived: Bell,
    /// For who waits for commands, or room for them.
    ordered: Bell,
    size: usize,
    response: Option<Box<Response>>,
    /// A message in parts was under way when the threads began, so no other may be sent.
    is_in_parts: bool,
    end: OnceLock<End>,
}

#[derive(Default)]
struct Queued {
    /// What lay in the inbox when the connection ended.
    rest: VecDeque<Event>,
    /// Events may lie in the connection's inbox.
    has_news: bool,
    commands: VecDeque<Command>,
    senders: usize,
    is_deaf: bool,
    /// The thread that receives has come to its end.
    is_over: bool,
}

struct End {
    closed: Box<Closed>,
    /// How the connection ended, for the receiver, once.
    error: Mutex<Option<Error>>,
    /// For each that sends, unless a handle has ended it.
    sending: Option<Error>,
}

/// What goes out, in the order of its queue.
enum Command {
    Message(Message),
    Ping(Vec<u8>, SyncSender<Result<(), Error>>),
    Flush(SyncSender<Result<(), Error>>),
    Close(CloseCode, String, Option<SyncSender<Result<(), Error>>>),
}

pub(crate) fn spawn<S>(shared: Arc<Shared<S>>, queue: usize) -> (Receiver, Sender)
where
    S: Stream + Send + Sync + 'static,
{
    let shared: Arc<Shared<dyn Stream + Send + Sync>> = shared;
    let is_in_parts = shared.look(|state, _| {
        state.is_split = true;
        state.is_in_parts
    });
    let queues = Arc::new(Queues {
        state: Mutex::new(Queued {
            senders: 1,
            ..Queued::default()
        }),
        arrived: Bell::default(),
        ordered: Bell::default(),
        size: queue.max(1),
        response: shared.response.clone(),
        is_in_parts,
        end: OnceLock::new(),
    });
    let receiver = Receiver {
        queues: Arc::clone(&queues),
        link: Arc::downgrade(&shared),
        is_done: false,
    };
    let sender = Sender {
        queues: Arc::clone(&queues),
        link: Arc::downgrade(&shared),
    };
    if let Err(error) = start(&shared, &queues) {
        // No thread to be had: the connection ends of it.
        shared.abort();
        if let Some(closed) = shared.drain() {
            queues.finish(End {
                closed: Box::new(closed),
                error: Mutex::new(Some(error.into())),
                sending: None,
            });
        }
        drop(Over(&queues));
    }
    (receiver, sender)
}

fn start(shared: &Arc<Shared<dyn Stream + Send + Sync>>, queues: &Arc<Queues>) -> io::Result<()> {
    let thread = |name: &str, run: fn(&Shared<dyn Stream + Send + Sync>, &Queues)| {
        let (shared, queues) = (Arc::clone(shared), Arc::clone(queues));
        let builder = thread::Builder::new().name(name.into());
        builder.spawn(move || run(&shared, &queues)).map(drop)
    };
    thread("wspulse send", send)?;
    thread("wspulse receive", receive)
}

/// The thread that receives, keeps the time, and answers pings.
fn receive(shared: &Shared<dyn Stream + Send + Sync>, queues: &Queues) {
    let over = Over(queues);
    let ended = shared.run_until(|state| {
        let mut queued = queues.lock();
        if queued.is_deaf {
            while let Some(event) = state.drive.poll_event() {
                if let Event::Closed(closed) = event {
                    return Some(end_of(&mut state.drive, closed));
                }
            }
            return None;
        }
        state.collect();
        if state.drive.is_over() {
            while let Some(event) = state.drive.poll_event() {
                match event {
                    Event::Closed(closed) => return Some(end_of(&mut state.drive, closed)),
                    event => queued.rest.push_back(event),
                }
            }
        } else if state.drive.inbox_len() > 0 {
            queued.has_news = true;
            queues.arrived.ring();
        }
        None
    });
    if let Some(end) = ended {
        queues.finish(end);
    }
    drop(over);
}

fn end_of(drive: &mut Drive, closed: Box<Closed>) -> End {
    let is_normal = closed.cause == Cause::Normal;
    let error = (!is_normal).then(|| drive.end_error(closed.clone()));
    End {
        error: Mutex::new(error),
        sending: drive.sender_error(),
        closed,
    }
}

/// The thread that sends.
fn send(shared: &Shared<dyn Stream + Send + Sync>, queues: &Queues) {
    let mut is_flushed = true;
    while let Some(command) = queues.next_command(!is_flushed) {
        // Who waits for an answer may be gone, and then nobody minds.
        match command {
            // All that is queued by now leaves in one write.
            None => {
                let _ = shared.flush();
                is_flushed = true;
                continue;
            }
            // What came too late for the connection is lost with it.
            Some(Command::Message(message)) => {
                let _ = shared.queue_message(message, Departure::Flushed);
            }
            Some(Command::Ping(payload, answer)) => {
                let _ = answer.send(shared.queue_ping(&payload));
            }
            Some(Command::Flush(answer)) => {
                let _ = answer.send(shared.flush());
            }
            Some(Command::Close(code, reason, answer)) => {
                let started = shared.start_close(code, &reason);
                if let Some(answer) = answer {
                    let _ = answer.send(started);
                }
            }
        }
        is_flushed = false;
    }
}

/// The end of the thread that receives, also by a panic of its stream.
struct Over<'a>(&'a Queues);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        let mut queued = self.0.lock();
        queued.is_over = true;
        // Who waits for an answer to one of these is told so by its end.
        let late = std::mem::take(&mut queued.commands);
        drop(queued);
        drop(late);
        self.0.arrived.ring();
        self.0.ordered.ring();
    }
}

impl Queues {
    fn lock(&self) -> MutexGuard<'_, Queued> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self, end: End) {
        let _ = self.end.set(end);
    }

    /// Tells a sender why nothing is sent any more: how the connection ended, or what it was not
    /// able to do if a handle has ended it.
    fn sending_error(&self, otherwise: impl FnOnce() -> Error) -> Error {
        match self.end.get().and_then(|end| end.sending.as_ref()) {
            Some(Error::Closed(closed)) => Error::Closed(closed.clone()),
            Some(Error::Io(error)) => Error::Io(copy_of(error)),
            #[cfg(feature = "tls")]
            Some(Error::Tls(error)) => Error::Tls(error.clone()),
            _ => otherwise(),
        }
    }

    fn closed(&self) -> Option<&Closed> {
        self.end.get().map(|end| &*end.closed)
    }

    /// Waits for the next command; `None` when the connection is over, and nothing instead of a
    /// command if none is there and `is_busy` says that there is something else to do.
    fn next_command(&self, is_busy: bool) -> Option<Option<Command>> {
        let mut queued = self.lock();
        loop {
            if queued.is_over {
                return None;
            }
            if let Some(command) = queued.commands.pop_front() {
                self.ordered.ring();
                return Some(Some(command));
            }
            if is_busy {
                return Some(None);
            }
            queued = self.ordered.wait(queued, None);
        }
    }

    /// Nobody is left who could send, or hear what comes.
    fn leave(&self, mut queued: MutexGuard<'_, Queued>) {
        if queued.is_deaf && queued.senders == 0 {
            let goodbye = Command::Close(CloseCode::GOING_AWAY, String::new(), None);
            queued.commands.push_back(goodbye);
            self.ordered.ring();
        }
    }
}

impl Receiver {
    /// Waits for the next message; `None` after the closing handshake, whatever its code.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] or [`Error::Io`], once, if the connection ends in any other way.
    #[expect(clippy::should_implement_trait, reason = "it is implemented")]
    pub fn next(&mut self) -> Option<Result<Message, Error>> {
        in_time(self.next_until(None))
    }

    /// Waits for the next message as [`next`](Self::next) does, but no longer than `timeout`:
    /// `Pending` if none came.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub fn next_timeout(&mut self, timeout: Duration) -> Poll<Option<Result<Message, Error>>> {
        within(timeout, |until| self.next_until(until))
    }

    /// Waits for whatever happens next, as [`WebSocket::next_event`](crate::WebSocket::next_event)
    /// does.
    pub fn next_event(&mut self) -> Option<Event> {
        in_time(self.next_event_until(None))
    }

    /// Waits for whatever happens next, but no longer than `timeout`: `Pending` if nothing did.
    pub fn next_event_timeout(&mut self, timeout: Duration) -> Poll<Option<Event>> {
        within(timeout, |until| self.next_event_until(until))
    }

    /// Returns how the connection ended, once it has. Messages from before may still wait.
    #[must_use]
    pub fn closed(&self) -> Option<&Closed> {
        self.queues.closed()
    }

    /// Client: returns the server's answer, with its headers and the chosen subprotocol.
    #[must_use]
    pub fn response(&self) -> Option<&Response> {
        self.queues.response.as_deref()
    }

    fn next_until(
        &mut self,
        until: Option<Instant>,
    ) -> Result<Option<Result<Message, Error>>, Late> {
        while !self.is_done {
            let Some(event) = self.next_event_until(until)? else {
                // A stream that panicked took its thread along.
                self.is_done = true;
                let is_lost = self.closed().is_none();
                return Ok(is_lost.then_some(Err(Error::NotOpen)));
            };
            match Message::try_from(event) {
                Ok(message) => return Ok(Some(Ok(message))),
                Err(Event::Closed(closed)) if closed.cause != Cause::Normal => {
                    let error = self.queues.end.get().and_then(|end| {
                        let mut error = end.error.lock().unwrap_or_else(PoisonError::into_inner);
                        error.take()
                    });
                    return Ok(Some(Err(error.unwrap_or(Error::Closed(closed)))));
                }
                Err(_) => {}
            }
        }
        Ok(None)
    }

    fn next_event_until(&mut self, until: Option<Instant>) -> Result<Option<Event>, Late> {
        loop {
            let mut queued = self.queues.lock();
            if let Some(event) = queued.rest.pop_front() {
                return Ok(Some(event));
            }
            if queued.is_over {
                drop(queued);
                let closed = self.queues.end.get().map(|end| end.closed.clone());
                let is_told = std::mem::replace(&mut self.is_done, true);
                return Ok(closed.filter(|_| !is_told).map(Event::Closed));
            }
            queued.has_news = false;
            drop(queued);
            // The connection's lock comes before that of the queues.
            if let Some(event) = self.link.upgrade().and_then(|shared| shared.take_event()) {
                return Ok(Some(event));
            }
            let mut queued = self.queues.lock();
            while !queued.has_news && !queued.is_over {
                let left = until.map(|until| until.saturating_duration_since(Instant::now()));
                if left.is_some_and(|left| left.is_zero()) {
                    return Err(Late);
                }
                queued = self.queues.arrived.wait(queued, left);
            }
        }
    }
}

impl Sender {
    /// Queues a message. Waits while `queue` messages wait for the thread, which takes no more of
    /// them while `max_buffered_amount` waits for the stream.
    ///
    /// What is queued when the connection ends is lost, as what is under way always is; what was
    /// queued before a [`close`](Self::close) is sent.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] or [`Error::Io`] if the connection has ended, with its cause and the
    /// peer's Close; while the peer closes it, this waits for the end. If a handle has ended it,
    /// [`Error::Send`] gives the message back.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), Error> {
        let message = self.whole(message.into())?;
        self.order(Command::Message(message), true)
    }

    /// Queues a message if there is room for it now.
    ///
    /// # Errors
    ///
    /// [`Error::Send`] gives the message back, with [`SendError::Full`] if there is none; else as
    /// [`send`](Self::send), but that this does not wait for the end.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), Error> {
        let message = self.whole(message.into())?;
        self.order(Command::Message(message), false)
    }

    /// Waits until the stream has taken everything that was queued before.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] or [`Error::Io`] if the connection ended first; [`Error::NotOpen`] if a
    /// handle has ended it.
    pub fn flush(&self) -> Result<(), Error> {
        self.ask(Command::Flush)
    }

    /// Sends a ping of the application's own, of at most 125 bytes; its pong is an
    /// [`Event::Pong`] at the [`Receiver`].
    ///
    /// # Errors
    ///
    /// [`Error::Send`] if the payload is too long or too many pings wait; else as
    /// [`flush`](Self::flush).
    pub fn ping(&self, payload: &[u8]) -> Result<(), Error> {
        self.ask(|answer| Command::Ping(payload.to_vec(), answer))
    }

    /// Sends what is queued and a Close frame, and waits for the end: at most `close_timeout`
    /// after the Close frame was its turn.
    ///
    /// The messages that still come go to the [`Receiver`]. If it takes none and the inbox is
    /// full, the peer's Close is not read and the timeout ends it.
    ///
    /// # Errors
    ///
    /// [`Error::Send`] if the code or the reason must not be sent, and the connection stays open;
    /// [`Error::Closed`] if it ended otherwise than by the handshake.
    pub fn close(&self, code: CloseCode, reason: &str) -> Result<(), Error> {
        let asked = self.ask(|answer| Command::Close(code, reason.to_owned(), Some(answer)));
        // Otherwise it may be closing already, or over.
        if let Err(error @ Error::Send(_)) = asked {
            return Err(error);
        }
        match self.ended() {
            Some(closed) if closed.cause == Cause::Normal => Ok(()),
            Some(closed) => Err(Error::Closed(Box::new(closed.clone()))),
            None => Err(Error::NotOpen),
        }
    }

    /// Says that the machine woke up or the network changed, as
    /// [`WebSocket::handle_resumed`](crate::WebSocket::handle_resumed) does. Does nothing when the
    /// connection is over.
    pub fn handle_resumed(&self) {
        if let Some(shared) = self.link.upgrade() {
            shared.handle_resumed();
        }
    }

    /// Ends the connection without a closing handshake, whatever is queued.
    pub fn abort(&self) {
        if let Some(shared) = self.link.upgrade() {
            shared.abort();
        }
    }

    /// Sets how much may wait in the inbox, as
    /// [`WebSocket::set_inbox_limits`](crate::WebSocket::set_inbox_limits) does. Does nothing when
    /// the connection is over.
    pub fn set_inbox_limits(&self, limits: InboxLimits) {
        if let Some(shared) = self.link.upgrade() {
            shared.look(|state, _| state.drive.set_inbox_limits(limits));
        }
    }

    /// Changes when pings are sent and when the peer is given up, from now on; by a TCP socket's
    /// kernel too. Does nothing when the connection is over.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the configuration cannot work; the one before stays.
    pub fn set_heartbeat(&self, config: HeartbeatConfig) -> Result<(), ConfigError> {
        match self.link.upgrade() {
            Some(shared) => shared.set_heartbeat(config),
            None => Ok(()),
        }
    }

    /// Returns the numbers of this moment: silence, round-trip times, pings, queued bytes; `None`
    /// when the connection is over.
    #[must_use]
    pub fn snapshot(&self) -> Option<Snapshot> {
        let shared = self.link.upgrade()?;
        let snapshot = shared.look(|state, now| state.drive.connection().snapshot(now));
        (snapshot.state != State::Closed).then_some(snapshot)
    }

    /// Returns how the connection ended, once it has.
    #[must_use]
    pub fn closed(&self) -> Option<&Closed> {
        self.queues.closed()
    }

    /// Waits until the connection is over, and returns how it ended; `None` if a panic of its
    /// stream took its thread along.
    pub fn ended(&self) -> Option<&Closed> {
        let mut queued = self.queues.lock();
        while !queued.is_over {
            queued = self.queues.arrived.wait(queued, None);
        }
        drop(queued);
        self.closed()
    }

    /// Client: returns the server's answer, with its headers and the chosen subprotocol.
    #[must_use]
    pub fn response(&self) -> Option<&Response> {
        self.queues.response.as_deref()
    }

    fn whole(&self, message: Message) -> Result<Message, Error> {
        if self.queues.is_in_parts {
            return Err(SendError::Unfinished(message).into());
        }
        Ok(message)
    }

    fn order(&self, command: Command, waits: bool) -> Result<(), Error> {
        let (is_open, is_ending) = self.link.upgrade().map_or((false, false), |shared| {
            shared.look(|state, _| {
                let is_open = state.drive.connection().state() == State::Open;
                (is_open, state.drive.is_ending_unasked())
            })
        });
        let mut queued = self.queues.lock();
        // How it ends is known soon, and said then.
        while waits && is_ending && !queued.is_over {
            queued = self.queues.arrived.wait(queued, None);
        }
        if !is_open {
            drop(queued);
            return Err(self.queues.sending_error(|| not_open(command)));
        }
        while queued.commands.len() >= self.queues.size && !queued.is_over {
            if !waits {
                return Err(full(command));
            }
            queued = self.queues.ordered.wait(queued, None);
        }
        if queued.is_over {
            drop(queued);
            return Err(self.queues.sending_error(|| not_open(command)));
        }
        queued.commands.push_back(command);
        self.queues.ordered.ring();
        Ok(())
    }

    fn ask(
        &self,
        command: impl FnOnce(SyncSender<Result<(), Error>>) -> Command,
    ) -> Result<(), Error> {
        let (answer, answered) = sync_channel(1);
        self.order(command(answer), true)?;
        // A command that the end overtook is dropped with its channel.
        let answer = answered.recv();
        answer.unwrap_or_else(|_| Err(self.queues.sending_error(|| Error::NotOpen)))
    }
}

/// The messages, as from [`next`](Receiver::next).
impl Iterator for Receiver {
    type Item = Result<Message, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        Self::next(self)
    }
}

impl FusedIterator for Receiver {}

impl Clone for Sender {
    fn clone(&self) -> Self {
        self.queues.lock().senders += 1;
        Self {
            queues: Arc::clone(&self.queues),
            link: Weak::clone(&self.link),
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut queued = self.queues.lock();
        queued.senders -= 1;
        self.queues.leave(queued);
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut queued = self.queues.lock();
        queued.is_deaf = true;
        let untaken = std::mem::take(&mut queued.rest);
        self.queues.leave(queued);
        drop(untaken);
        if let Some(shared) = self.link.upgrade() {
            shared.nudge();
        }
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("closed", &self.closed())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("closed", &self.closed())
            .finish_non_exhaustive()
    }
}

fn not_open(command: Command) -> Error {
    match command {
        Command::Message(message) => SendError::NotOpen(message).into(),
        _ => Error::NotOpen,
    }
}

fn full(command: Command) -> Error {
    match command {
        Command::Message(message) => SendError::Full(message).into(),
        _ => Error::NotOpen,
    }
}
