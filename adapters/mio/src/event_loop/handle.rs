//! What other threads may do.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use mio::Waker;
use wspulse_core::{CloseCode, Message, SendError};

use super::connections::Connections;
use super::handler::ConnectionId;

/// A hold on an [`EventLoop`](crate::EventLoop) for other threads; clone it freely.
///
/// What is said here goes through the loop's bounded queue and wakes it, in the order it was said.
/// Nothing waits: where the queue is full, that is an error, and so it is once the loop has ended.
///
/// What was taken before the end is seen to: messages that no connection is there for come back
/// through [`Handler::unsent`](crate::Handler::unsent), tasks run. Only a loop that is dropped
/// before its end drops its queue too.
pub struct Handle<H> {
    pub(crate) sender: SyncSender<Command<H>>,
    pub(crate) shared: Arc<Shared>,
}

/// Something for the loop's thread to do.
pub(crate) enum Command<H> {
    Send(ConnectionId, Message),
    Broadcast(Message),
    Close(ConnectionId, CloseCode, String),
    Abort(ConnectionId),
    Resumed,
    Run(Task<H>),
}

type Task<H> = Box<dyn FnOnce(&mut H, &mut Connections) + Send>;

/// What a loop and its handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) waker: Arc<Waker>,
    /// Whether the loop was woken and has not looked yet.
    is_woken: AtomicBool,
    /// Whether the loop takes no more commands. Held for reading while one is put in its queue.
    has_ended: RwLock<bool>,
    /// How to end, for the loop to find.
    end: Mutex<Option<(Duration, Duration)>>,
}

impl Shared {
    pub(crate) fn new(waker: Arc<Waker>) -> Self {
        Self {
            waker,
            is_woken: AtomicBool::new(false),
            has_ended: RwLock::new(false),
            end: Mutex::new(None),
        }
    }

    /// Wakes the loop, once until it looks.
    fn wake(&self) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            // It fails when the loop's poll is gone, and the loop with it.
            let _ = self.waker.wake();
        }
    }

    /// Tells whether the loop was woken. What was queued before is there to take.
    pub(crate) fn take_woken(&self) -> bool {
        self.is_woken.swap(false, Ordering::AcqRel)
    }

    /// Takes no more commands: those that were queued by now are the last ones.
    pub(crate) fn end(&self) {
        *self
            .has_ended
            .write()
            .unwrap_or_else(PoisonError::into_inner) = true;
    }

    pub(crate) fn take_end(&self) -> Option<(Duration, Duration)> {
        self.end
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl<H> Handle<H> {
    /// Sends a message to a connection. Where the connection does not take it, the loop's
    /// [`Handler::unsent`](crate::Handler::unsent) gets it.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] if the loop's queue is full, [`SendError::NotOpen`] if the loop has
    /// ended; both give the message back.
    pub fn send(&self, id: ConnectionId, message: impl Into<Message>) -> Result<(), SendError> {
        self.send_command(Command::Send(id, message.into()))
    }

    /// Sends a message to every open connection.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn broadcast(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.send_command(Command::Broadcast(message.into()))
    }

    fn send_command(&self, command: Command<H>) -> Result<(), SendError> {
        let message = |command| match command {
            Command::Send(_, message) | Command::Broadcast(message) => message,
            _ => Message::from(""),
        };
        self.push(command).map_err(|error| match error {
            TrySendError::Full(command) => SendError::Full(message(command)),
            TrySendError::Disconnected(command) => SendError::NotOpen(message(command)),
        })
    }

    /// Closes a connection, as [`Connections::close`].
    ///
    /// # Errors
    ///
    /// [`HandleError`].
    pub fn close(
        &self,
        id: ConnectionId,
        code: CloseCode,
        reason: &str,
    ) -> Result<(), HandleError> {
        Ok(self.push(Command::Close(id, code, reason.to_owned()))?)
    }

    /// Ends a connection without a closing handshake.
    ///
    /// # Errors
    ///
    /// [`HandleError`].
    pub fn abort(&self, id: ConnectionId) -> Result<(), HandleError> {
        Ok(self.push(Command::Abort(id))?)
    }

    /// Says to every connection that the machine woke up or the network changed, as
    /// [`Connections::handle_resumed`].
    ///
    /// # Errors
    ///
    /// [`HandleError`].
    pub fn handle_resumed(&self) -> Result<(), HandleError> {
        Ok(self.push(Command::Resumed)?)
    }

    /// Runs `task` in the loop's thread, with the handler and the connections at hand; at the end
    /// of a drain no connections are left.
    ///
    /// # Errors
    ///
    /// [`HandleError`].
    pub fn run(
        &self,
        task: impl FnOnce(&mut H, &mut Connections) + Send + 'static,
    ) -> Result<(), HandleError> {
        Ok(self.push(Command::Run(Box::new(task)))?)
    }

    /// Ends the loop in good order, as [`Connections::drain`]. Needs no room in the queue.
    pub fn drain(&self, spread: Duration, wait: Duration) {
        let mut end = self
            .shared
            .end
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (spread, wait) = match *end {
            Some(earlier) => (earlier.0.min(spread), earlier.1.min(wait)),
            None => (spread, wait),
        };
        *end = Some((spread, wait));
        drop(end);
        self.shared.wake();
    }

    /// Ends the loop at once, as [`Connections::stop`]. Needs no room in the queue.
    pub fn stop(&self) {
        self.drain(Duration::ZERO, Duration::ZERO);
    }

    fn push(&self, command: Command<H>) -> Result<(), TrySendError<Command<H>>> {
        let has_ended = self.shared.has_ended.read();
        let has_ended = has_ended.unwrap_or_else(PoisonError::into_inner);
        if *has_ended {
            return Err(TrySendError::Disconnected(command));
        }
        self.sender.try_send(command)?;
        drop(has_ended);
        self.shared.wake();
        Ok(())
    }
}

impl<H> Clone for Handle<H> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<H> fmt::Debug for Handle<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// Why a loop was not told something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandleError {
    /// Its queue is full: say it again later.
    Full,
    /// It has ended.
    Ended,
}

impl fmt::Display for HandleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the event loop's queue is full",
            Self::Ended => "the event loop has ended",
        })
    }
}

impl std::error::Error for HandleError {}

impl<T> From<TrySendError<T>> for HandleError {
    fn from(error: TrySendError<T>) -> Self {
        match error {
            TrySendError::Full(_) => Self::Full,
            TrySendError::Disconnected(_) => Self::Ended,
        }
    }
}
