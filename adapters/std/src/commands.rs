//! What applications do with a connection, whichever handle they hold.

use wspulse_core::{Cause, CloseCode, Message, State};

use crate::Error;
use crate::shared::{Departure, Shared};
use crate::stream::Stream;

impl<S: Stream + ?Sized> Shared<S> {
    pub(crate) fn send(&self, message: Message) -> Result<(), Error> {
        self.queue_message(message, Departure::Now)
    }

    pub(crate) fn feed(&self, message: Message) -> Result<(), Error> {
        self.queue_message(message, Departure::Soon)
    }

    pub(crate) fn queue_message(
        &self,
        message: Message,
        departure: Departure,
    ) -> Result<(), Error> {
        self.queue(message, departure, |connection, message| {
            connection.send(message)
        })
    }

    pub(crate) fn send_part(&self, part: Message, last: bool) -> Result<(), Error> {
        self.queue(part, Departure::Flushed, |connection, part| {
            connection.send_part(part, last)
        })?;
        self.look(|state, _| state.is_in_parts = !last);
        self.flush()
    }

    pub(crate) fn ping(&self, payload: &[u8]) -> Result<(), Error> {
        self.queue_ping(payload)?;
        self.flush()
    }

    pub(crate) fn queue_ping(&self, payload: &[u8]) -> Result<(), Error> {
        let queued = self.command(|drive, _| drive.command(|c| c.ping(payload)));
        queued.map_err(|error| self.look(|state, _| state.drive.send_error(error)))
    }

    pub(crate) fn start_close(&self, code: CloseCode, reason: &str) -> Result<(), Error> {
        let queued = self.command(|drive, now| match drive.connection().state() {
            State::Connecting | State::Open => drive.close(now, code, reason),
            State::Closing | State::Closed => Ok(()),
        });
        queued.map_err(Error::Send)
    }

    /// Sees a Close frame off; waits for the end if nobody else does.
    pub(crate) fn finish_close(&self) -> Result<(), Error> {
        match self.flush() {
            // Over is as closed as it gets.
            Ok(()) | Err(Error::NotOpen | Error::Closed(_)) => {}
            Err(error) => return Err(error),
        }
        if !self.look(|state, _| state.is_deaf) {
            return Ok(());
        }
        match self.drain() {
            Some(closed) if closed.cause != Cause::Normal => {
                Err(self.look(|state, _| state.drive.end_error(Box::new(closed))))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn abort(&self) {
        self.command(|drive, now| drive.abort(now));
    }
}
