//! A task of its own for a connection, and the handles that speak to it.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use futures_core::{FusedStream, Stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use tokio::sync::{mpsc, oneshot};
use wspulse_core::handshake::Response;
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{
    Cause, CloseCode, Closed, ConfigError, Event, Message, SendError, Snapshot, State,
};
use wspulse_drive::{InboxLimits, copy_of};

use crate::Error;
use crate::driver::Driver;

/// What a connection in a [task of its own](crate::WebSocket::spawn) receives.
///
/// Dropped, the connection goes on without it: what the peer sends is read and dropped, until the
/// last [`Sender`] is dropped too.
///
/// # Cancel safety
///
/// Each future may be dropped at any await: no message is lost and none is repeated.
pub struct Receiver {
    events: mpsc::Receiver<Event>,
    controls: mpsc::UnboundedSender<Control>,
    shared: Arc<Shared>,
    /// What did not fit into the queue when the connection was over.
    rest: VecDeque<Event>,
    is_told: bool,
    is_done: bool,
}

/// Sends through a connection in a [task of its own](crate::WebSocket::spawn). Clones send through
/// the same one.
///
/// # Cancel safety
///
/// Each future may be dropped at any await. A [`send`](Self::send) that is dropped either queued
/// its whole message or nothing of it.
#[derive(Clone)]
pub struct Sender {
    commands: mpsc::Sender<Command>,
    controls: mpsc::UnboundedSender<Control>,
    shared: Arc<Shared>,
}

/// What the task and its handles have in common.
struct Shared {
    response: Option<Box<Response>>,
    /// A message in parts was under way when the task began, so no other may be sent.
    is_in_parts: bool,
    /// A handle has asked for the end.
    is_asked: AtomicBool,
    end: OnceLock<End>,
}

struct End {
    closed: Box<Closed>,
    /// What the transport failed with, if that is why.
    failure: Option<io::Error>,
    untold: Mutex<Untold>,
}

/// What the receiver has yet to take.
type Untold = VecDeque<Event>;

/// What goes out, in the order of its queue.
enum Command {
    Message(Message),
    Ping(Vec<u8>, oneshot::Sender<Result<(), Error>>),
    Flush(oneshot::Sender<()>),
    Close(CloseCode, String, oneshot::Sender<Result<(), Error>>),
}

/// What waits in no queue.
enum Control {
    SetHeartbeat(HeartbeatConfig, oneshot::Sender<Result<(), ConfigError>>),
    SetInboxLimits(InboxLimits),
    Snapshot(oneshot::Sender<Snapshot>),
    Resumed,
    Abort,
    /// The receiver is gone.
    Deaf,
}

/// The task.
struct Task<S> {
    driver: Driver<S>,
    /// Nothing once every sender is gone.
    commands: Option<mpsc::Receiver<Command>>,
    controls: mpsc::UnboundedReceiver<Control>,
    /// Nothing once the receiver is gone.
    events: Option<mpsc::Sender<Event>>,
    /// Room in the queue of events, waited for.
    room: Option<Room>,
    /// Who waits until everything has left. Nothing more is queued meanwhile.
    flushes: Vec<oneshot::Sender<()>>,
    shared: Arc<Shared>,
}

type Room = Pin<Box<dyn Future<Output = Reserved> + Send>>;
type Reserved = Result<mpsc::OwnedPermit<Event>, mpsc::error::SendError<()>>;

pub(crate) fn spawn<S>(
    driver: Driver<S>,
    response: Option<Box<Response>>,
    queue: usize,
) -> (Receiver, Sender)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let queue = queue.clamp(1, tokio::sync::Semaphore::MAX_PERMITS);
    let (commands, commands_in) = mpsc::channel(queue);
    let (controls, controls_in) = mpsc::unbounded_channel();
    let (events_out, events) = mpsc::channel(queue);
    let shared = Arc::new(Shared {
        response,
        is_in_parts: driver.is_in_parts(),
        is_asked: AtomicBool::new(false),
        end: OnceLock::new(),
    });
    let is_told = driver.closed().is_some();
    let is_done = driver.is_done();
    let mut task = Task {
        driver,
        commands: Some(commands_in),
        controls: controls_in,
        events: Some(events_out),
        room: None,
        flushes: Vec::new(),
        shared: Arc::clone(&shared),
    };
    tokio::spawn(async move { poll_fn(|cx| task.poll(cx)).await });
    let receiver = Receiver {
        events,
        controls: controls.clone(),
        shared: Arc::clone(&shared),
        rest: VecDeque::new(),
        is_told,
        is_done,
    };
    let sender = Sender {
        commands,
        controls,
        shared,
    };
    (receiver, sender)
}

impl<S: AsyncRead + AsyncWrite + Unpin> Task<S> {
    /// Is ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.take_controls(cx);
            // All that is queued by now leaves in one write.
            self.take_commands(cx);
            if self.hand_events(cx) {
                return Poll::Ready(());
            }
            let had_room = self.driver.has_room();
            // Events for which the receiver's queue has no room go on into the inbox.
            let turn = match self.room {
                Some(_) => self.driver.poll_turn_ahead(cx),
                None => self.driver.poll_turn(cx),
            };
            // What waited for room, or behind a flush, comes next.
            let has_more = self.driver.has_room() && !had_room;
            if !self.answer_flushes() && !has_more {
                ready!(turn);
            }
        }
    }

    fn take_controls(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(control)) = self.controls.poll_recv(cx) {
            match control {
                Control::SetHeartbeat(config, answer) => {
                    let _ = answer.send(self.driver.set_heartbeat(config));
                }
                Control::Snapshot(answer) => {
                    let now = self.driver.now();
                    let _ = answer.send(self.driver.connection().snapshot(now));
                }
                Control::SetInboxLimits(limits) => self.driver.set_inbox_limits(limits),
                Control::Resumed => self.driver.handle_resumed(),
                Control::Abort => self.driver.abort(),
                Control::Deaf => (self.events, self.room) = (None, None),
            }
        }
    }

    fn take_commands(&mut self, cx: &mut Context<'_>) {
        while self.flushes.is_empty() && self.driver.has_room() {
            let Some(commands) = &mut self.commands else {
                // Nobody is left who could send, or hear what comes.
                if self.events.is_none() {
                    let _ = self.driver.start_close(CloseCode::GOING_AWAY, "");
                }
                return;
            };
            let command = match commands.try_recv() {
                Err(TryRecvError::Empty) => match commands.poll_recv(cx) {
                    Poll::Ready(command) => command,
                    Poll::Pending => break,
                },
                command => command.ok(),
            };
            match command {
                Some(command) => self.run(command),
                None => self.commands = None,
            }
        }
        // What is not queued yet never will be, and who sends more gets it back.
        if self.driver.connection().state() != State::Open
            && let Some(commands) = &mut self.commands
        {
            commands.close();
        }
    }

    fn run(&mut self, command: Command) {
        match command {
            // There is room; what came too late for the connection is lost with it.
            Command::Message(message) => {
                let _ = self.driver.queue(message);
            }
            Command::Ping(payload, answer) => {
                let _ = answer.send(self.driver.queue_ping(&payload));
            }
            Command::Flush(answer) => self.flushes.push(answer),
            Command::Close(code, reason, answer) => {
                let is_open = self.driver.connection().state() == State::Open;
                let started = self.driver.start_close(code, &reason);
                let is_asked = is_open && started.is_ok();
                self.shared.is_asked.fetch_or(is_asked, Ordering::AcqRel);
                let _ = answer.send(started);
            }
        }
    }

    /// Hands events over while there is room for them.
    ///
    /// Tells whether that was all.
    fn hand_events(&mut self, cx: &mut Context<'_>) -> bool {
        let mut untold = VecDeque::new();
        loop {
            let room = match &mut self.room {
                // An end waits for nobody.
                _ if !untold.is_empty() => None,
                Some(room) => match room.as_mut().poll(cx) {
                    Poll::Ready(reserved) => {
                        self.room = None;
                        reserved.ok()
                    }
                    Poll::Pending => None,
                },
                None => match self.events.clone().map(mpsc::Sender::try_reserve_owned) {
                    Some(Ok(permit)) => Some(permit),
                    Some(Err(TrySendError::Full(events))) => {
                        self.room = Some(Box::pin(events.reserve_owned()));
                        continue;
                    }
                    Some(Err(TrySendError::Closed(_))) | None => None,
                },
            };
            if room.is_none() && self.room.is_some() && !self.driver.is_over() {
                return false;
            }
            match (self.driver.take_event(), room) {
                (Some(Event::Closed(closed)), _) => {
                    self.driver.half_close(cx);
                    self.finish(closed, untold);
                    return true;
                }
                (Some(event), Some(room)) => drop(room.send(event)),
                (Some(event), None) if self.driver.is_over() => untold.push_back(event),
                // Nobody hears it.
                (Some(_), None) => {}
                // Its end was taken before it had a task.
                (None, _) => match self.driver.closed().cloned() {
                    Some(closed) => {
                        self.finish(Box::new(closed), untold);
                        return true;
                    }
                    None => return false,
                },
            }
        }
    }

    /// Tells whether anybody waited for that. Who waits for what will never leave is told by the
    /// end of the task.
    fn answer_flushes(&mut self) -> bool {
        if self.flushes.is_empty() || !self.driver.has_flushed() {
            return false;
        }
        for answer in self.flushes.drain(..) {
            let _ = answer.send(());
        }
        true
    }

    fn finish(&mut self, closed: Box<Closed>, events: VecDeque<Event>) {
        let failure = match self.driver.end_error(closed.clone()) {
            Error::Io(error) => Some(error),
            _ => None,
        };
        let untold = Mutex::new(events);
        let _ = self.shared.end.set(End {
            closed,
            failure,
            untold,
        });
    }
}

impl Receiver {
    /// Waits for the next message; `None` after the closing handshake, whatever its code.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] or [`Error::Io`], once, if the connection ends in any other way;
    /// [`Error::NotOpen`] if its task was stopped by the end of the runtime.
    pub async fn next(&mut self) -> Option<Result<Message, Error>> {
        poll_fn(|cx| self.poll_message(cx)).await
    }

    /// Waits for whatever happens next, as [`WebSocket::next_event`](crate::WebSocket::next_event)
    /// does.
    pub async fn next_event(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Returns how the connection ended, once it has. Messages from before may still wait.
    #[must_use]
    pub fn closed(&self) -> Option<&Closed> {
        self.shared.closed()
    }

    /// Client: returns the server's answer, with its headers and the chosen subprotocol.
    #[must_use]
    pub fn response(&self) -> Option<&Response> {
        self.shared.response.as_deref()
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        if let Some(event) = ready!(self.events.poll_recv(cx)) {
            return Poll::Ready(Some(event));
        }
        let Some(end) = self.shared.end.get() else {
            return Poll::Ready(None);
        };
        if self.rest.is_empty() {
            self.rest = std::mem::take(&mut end.untold());
        }
        Poll::Ready(match self.rest.pop_front() {
            None if !self.is_told => {
                self.is_told = true;
                Some(Event::Closed(end.closed.clone()))
            }
            rest => rest,
        })
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        while !self.is_done {
            let Some(event) = ready!(self.poll_event(cx)) else {
                self.is_done = true;
                let is_lost = self.shared.end.get().is_none();
                return Poll::Ready(is_lost.then_some(Err(Error::NotOpen)));
            };
            match Message::try_from(event) {
                Ok(message) => return Poll::Ready(Some(Ok(message))),
                Err(Event::Closed(closed)) => {
                    self.is_done = true;
                    if closed.cause != Cause::Normal {
                        let end = self.shared.end.get();
                        let error = end.map_or(Error::Closed(closed), End::error);
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                Err(_) => {}
            }
        }
        Poll::Ready(None)
    }
}

impl Sender {
    /// Queues a message for the task, which sends it at once if the transport takes it. Waits while
    /// `queue` messages wait for the task, which takes no more of them while `max_buffered_amount`
    /// waits for the transport. To wait until it has left, [`flush`](Self::flush).
    ///
    /// What is queued when the connection ends is lost, as what is under way always is; what was
    /// queued before a [`close`](Self::close) is sent.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] or [`Error::Io`] if the connection has ended, with the cause;
    /// [`Error::Send`] gives the message back if a [`close`](Self::close) or an
    /// [`abort`](Self::abort) has ended it.
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), Error> {
        let message = self.whole(message.into())?;
        match self.commands.send(Command::Message(message)).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendError(command)) => Err(self.end_error(command).await),
        }
    }

    /// Queues a message if there is room for it now.
    ///
    /// # Errors
    ///
    /// [`Error::Send`] gives the message back, with [`SendError::Full`] if there is none, and with
    /// [`SendError::NotOpen`] while the connection ends; then as [`send`](Self::send).
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), Error> {
        let message = self.whole(message.into())?;
        match self.commands.try_send(Command::Message(message)) {
            Err(TrySendError::Full(Command::Message(message))) => {
                Err(SendError::Full(message).into())
            }
            Err(TrySendError::Full(command) | TrySendError::Closed(command)) => {
                Err(self.shared.error().unwrap_or_else(|| not_open(command)))
            }
            Ok(()) => Ok(()),
        }
    }

    /// Waits until the transport has taken everything that was queued before. What is queued
    /// after it waits until then.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] or [`Error::Io`] if the connection ended first, with the cause;
    /// [`Error::NotOpen`] if a [`close`](Self::close) or an [`abort`](Self::abort) has ended it.
    pub async fn flush(&self) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        let queued = self.commands.send(Command::Flush(answer)).await;
        if queued.is_ok() && answered.await.is_ok() {
            return Ok(());
        }
        match self.ended().await {
            // A Close frame goes last, so all that was queued before it has left.
            Some(closed)
                if queued.is_ok() && closed.cause == Cause::Normal && closed.sent.is_some() =>
            {
                Ok(())
            }
            _ => Err(self.shared.error().unwrap_or(Error::NotOpen)),
        }
    }

    /// Sends a ping of the application's own, of at most 125 bytes; its pong is an
    /// [`Event::Pong`] at the [`Receiver`].
    ///
    /// # Errors
    ///
    /// [`Error::Send`] if the payload is too long or too many pings wait; otherwise as
    /// [`flush`](Self::flush).
    pub async fn ping(&self, payload: &[u8]) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        let command = Command::Ping(payload.to_vec(), answer);
        match self.commands.send(command).await {
            Err(mpsc::error::SendError(command)) => Err(self.end_error(command).await),
            Ok(()) => answered.await.unwrap_or(Err(Error::NotOpen)),
        }
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
    /// [`Error::Closed`] if it ended otherwise than by the handshake; [`Error::NotOpen`] if its
    /// task was stopped by the end of the runtime.
    pub async fn close(&self, code: CloseCode, reason: &str) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        let command = Command::Close(code, reason.to_owned(), answer);
        if self.commands.send(command).await.is_ok() {
            // No answer says that it is closing already.
            answered.await.unwrap_or(Ok(()))?;
        }
        match self.ended().await {
            Some(closed) if closed.cause == Cause::Normal => Ok(()),
            Some(closed) => Err(Error::Closed(Box::new(closed.clone()))),
            None => Err(Error::NotOpen),
        }
    }

    /// Ends the connection without a closing handshake, whatever is queued.
    pub fn abort(&self) {
        self.shared.is_asked.store(true, Ordering::Release);
        let _ = self.controls.send(Control::Abort);
    }

    /// Says that this machine was asleep, or that its network changed, as
    /// [`WebSocket::handle_resumed`](crate::WebSocket::handle_resumed) does.
    pub fn handle_resumed(&self) {
        let _ = self.controls.send(Control::Resumed);
    }

    /// Sets how many messages may wait in the inbox, behind the [`Receiver`]'s queue.
    pub fn set_inbox_limits(&self, limits: InboxLimits) {
        let _ = self.controls.send(Control::SetInboxLimits(limits));
    }

    /// Changes when pings are sent and when the peer is given up, from now on; by a TCP socket's
    /// kernel too. Does nothing when the connection is over.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the configuration cannot work; the one before stays.
    pub async fn set_heartbeat(&self, config: HeartbeatConfig) -> Result<(), ConfigError> {
        let (answer, answered) = oneshot::channel();
        let _ = self.controls.send(Control::SetHeartbeat(config, answer));
        answered.await.unwrap_or(Ok(()))
    }

    /// Asks for the numbers of this moment: silence, round-trip times, pings, queued bytes;
    /// `None` when the connection is over.
    pub async fn snapshot(&self) -> Option<Snapshot> {
        let (answer, answered) = oneshot::channel();
        let _ = self.controls.send(Control::Snapshot(answer));
        answered.await.ok()
    }

    /// Returns how the connection ended, once it has.
    #[must_use]
    pub fn closed(&self) -> Option<&Closed> {
        self.shared.closed()
    }

    /// Waits until the connection is over, and returns how it ended; `None` if its task was
    /// stopped by the end of the runtime.
    pub async fn ended(&self) -> Option<&Closed> {
        self.controls.closed().await;
        self.closed()
    }

    /// Client: returns the server's answer, with its headers and the chosen subprotocol.
    #[must_use]
    pub fn response(&self) -> Option<&Response> {
        self.shared.response.as_deref()
    }

    /// The connection takes no more commands: waits for its end, at most `close_timeout`, to tell
    /// of it.
    async fn end_error(&self, command: Command) -> Error {
        if !self.shared.is_asked.load(Ordering::Acquire) {
            self.ended().await;
        }
        self.shared.error().unwrap_or_else(|| not_open(command))
    }

    fn whole(&self, message: Message) -> Result<Message, Error> {
        if self.shared.is_in_parts {
            return Err(SendError::Unfinished(message).into());
        }
        Ok(message)
    }
}

impl Shared {
    fn closed(&self) -> Option<&Closed> {
        self.end.get().map(|end| &*end.closed)
    }

    /// How the connection ended, unless a handle has asked for it.
    fn error(&self) -> Option<Error> {
        let end = self.end.get()?;
        let is_asked = self.is_asked.load(Ordering::Acquire);
        let is_own = matches!(end.closed.cause, Cause::Normal | Cause::Aborted);
        (!is_asked || !is_own).then(|| end.error())
    }
}

impl End {
    fn error(&self) -> Error {
        match &self.failure {
            Some(error) => copy_of(error).into(),
            None => Error::Closed(self.closed.clone()),
        }
    }

    fn untold(&self) -> std::sync::MutexGuard<'_, Untold> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The messages, as from [`next`](Receiver::next).
impl Stream for Receiver {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_message(cx)
    }
}

impl FusedStream for Receiver {
    fn is_terminated(&self) -> bool {
        self.is_done
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.controls.send(Control::Deaf);
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
