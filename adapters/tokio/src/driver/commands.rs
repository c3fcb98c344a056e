//! Commands, looks and settings: what waits for nothing.

use tokio::io::{AsyncRead, AsyncWrite};
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{
    CloseCode, Closed, ConfigError, Connection, Instant, Message, SendError, State,
};
use wspulse_drive::{Clock as _, InboxLimits};

use super::{Call, Driver};
use crate::Error;
use crate::drain::Guard;
use crate::waiters::Side;

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    pub(crate) fn connection(&self) -> &Connection {
        self.drive.connection()
    }

    /// Runs a command of the connection, at the present time.
    pub(crate) fn command<T>(&mut self, run: impl FnOnce(&mut Connection, Instant) -> T) -> T {
        let now = self.clock.now();
        self.drive.command(|connection| run(connection, now))
    }

    pub(crate) fn queue(&mut self, message: Message) -> Result<(), SendError> {
        if self.drive.has_failed_writing() {
            return Err(SendError::NotOpen(message));
        }
        self.drive.command(|connection| connection.send(message))?;
        self.trace.sent();
        Ok(())
    }

    pub(crate) fn queue_part(&mut self, part: Message, last: bool) -> Result<(), SendError> {
        if self.drive.has_failed_writing() {
            return Err(SendError::NotOpen(part));
        }
        self.drive
            .command(|connection| connection.send_part(part, last))?;
        self.is_in_parts = !last;
        if last {
            self.trace.sent();
        }
        Ok(())
    }

    /// Tells whether a message that is sent in parts is not finished.
    pub(crate) const fn is_in_parts(&self) -> bool {
        self.is_in_parts
    }

    pub(crate) fn queue_ping(&mut self, payload: &[u8]) -> Result<(), Error> {
        self.command(|connection, _| connection.ping(payload))
            .map_err(|error| self.send_error(error))
    }

    pub(crate) fn abort(&mut self) {
        self.drive.abort(self.clock.now());
        self.wake_all();
    }

    pub(crate) fn set_heartbeat(&mut self, config: HeartbeatConfig) -> Result<(), ConfigError> {
        self.drive.set_heartbeat(self.clock.now(), config)?;
        (self.call)(self, Call::SetPatience);
        // The kernel is told again, if it watches.
        self.is_watched = false;
        // A deadline that moved earlier is to be slept for.
        self.wake_all();
        Ok(())
    }

    /// This side was suspended, or its network changed: the peer gets a fresh ping and the full
    /// timeout.
    pub(crate) fn handle_resumed(&mut self) {
        self.command(|connection, now| connection.handle_resumed(now));
        self.wake_all();
    }

    pub(crate) fn set_inbox_limits(&mut self, limits: InboxLimits) {
        self.drive.set_inbox_limits(limits);
        self.wake_all();
    }

    /// Queues a Close frame, unless the connection is past that.
    pub(crate) fn start_close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error> {
        if !matches!(self.connection().state(), State::Connecting | State::Open) {
            return Ok(());
        }
        let now = self.clock.now();
        self.drive.close(now, code, reason).map_err(Error::Send)
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(crate) fn stream(&self) -> &S {
        &self.stream
    }

    pub(crate) fn closed(&self) -> Option<&Closed> {
        self.drive.closed()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.drive.has_room()
    }

    /// Tells whether the stream has taken everything that was queued.
    pub(crate) fn has_flushed(&self) -> bool {
        !self.drive.wants_write() && !self.drive.has_failed_writing() && !self.is_over()
    }

    /// Tells whether there is nothing to come but events that wait.
    pub(crate) fn is_over(&self) -> bool {
        self.drive.is_over()
    }

    pub(crate) fn send_error(&mut self, error: SendError) -> Error {
        self.drive.send_error(error)
    }

    /// Turns the end into an error: the transport's own where that is what it came from.
    pub(crate) fn end_error(&self, closed: Box<Closed>) -> Error {
        self.drive.end_error(closed)
    }
}

impl<S> Driver<S> {
    /// The opening handshake is done.
    pub(crate) fn opened(&mut self) {
        self.trace.open();
    }

    pub(crate) fn set_guard(&mut self, guard: Guard) {
        self.guard = Some(Box::new(guard));
    }

    /// From now on nobody takes events, or somebody does again.
    pub(crate) fn set_deaf(&mut self, is_deaf: bool) {
        self.is_deaf = is_deaf;
        // The side that sends may wait behind an event.
        self.waiters.wake(Side::Send);
    }

    fn wake_all(&mut self) {
        self.waiters.wake(Side::Receive);
        self.waiters.wake(Side::Send);
    }
}
