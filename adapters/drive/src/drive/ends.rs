//! How a connection ended, as an error for those that wait for something else.

use std::io;

use wspulse_core::handshake::HandshakeError;
use wspulse_core::{Cause, Closed, Initiator, SendError, State};

use super::{Drive, Half};
use crate::error::Error;

impl Drive {
    /// Tells whether everything queued was taken, or why it never will be.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] or [`Error::Io`] if the connection ended first; [`Error::NotOpen`] if it
    /// was this side that ended it.
    pub fn is_flushed(&mut self) -> Result<bool, Error> {
        if !self.is_over() && self.writing != Half::Failed {
            return Ok(!self.wants_write());
        }
        self.collect();
        // A Close frame goes last, so all that was queued before it has left (RFC 6455 §5.5.1).
        let has_said_all = |closed: &Closed| closed.cause == Cause::Normal && closed.sent.is_some();
        if self.closed.as_deref().is_some_and(has_said_all) {
            return Ok(true);
        }
        Err(self.sender_error().unwrap_or(Error::NotOpen))
    }

    /// Turns a failed command into an error: the connection's end where that is what it came from,
    /// unless the application itself has ended it.
    pub fn send_error(&mut self, error: SendError) -> Error {
        if self.connection.state() == State::Open && self.writing != Half::Failed {
            return error.into();
        }
        match error {
            SendError::NotOpen(message) | SendError::Full(message) => self
                .sender_error()
                .unwrap_or_else(|| SendError::NotOpen(message).into()),
            SendError::PingNotOpen => self
                .sender_error()
                .unwrap_or_else(|| SendError::PingNotOpen.into()),
            error => error.into(),
        }
    }

    /// Turns the end into an error: the stream's own where that is what it came from.
    pub fn end_error(&self, closed: Box<Closed>) -> Error {
        let is_of_stream = matches!(
            closed.cause,
            Cause::Eof | Cause::Aborted | Cause::Handshake(HandshakeError::UnexpectedEof)
        );
        // A peer that said why it goes has told more than its stream.
        let is_of_stream = is_of_stream && closed.received.is_none();
        match &self.failure {
            Some(error) if is_of_stream => copy_of(error).into(),
            _ => Error::Closed(closed),
        }
    }

    /// Tells whether the connection ends otherwise than by [`close`](Self::close), and the end is not
    /// there yet: a call that sends waits for it, to tell of it.
    #[must_use]
    pub fn is_ending_unasked(&self) -> bool {
        !self.is_asked && self.connection.state() == State::Closing
    }

    /// Returns why nothing is sent any more, for a sender that has not ended the connection itself.
    pub fn sender_error(&mut self) -> Option<Error> {
        // The end is known as soon as somebody asks for it.
        self.collect();
        match &self.closed {
            Some(closed) => {
                let is_own = closed.initiator == Initiator::Local
                    && matches!(closed.cause, Cause::Normal | Cause::Aborted)
                    && self.is_asked;
                (!is_own).then(|| self.end_error(closed.clone()))
            }
            None if self.was_ending => None,
            None => self.failure.as_ref().map(|error| copy_of(error).into()),
        }
    }

    /// Keeps why the transport died. A write that came after the reset says less than the reset.
    pub(super) fn note_failure(&mut self, error: io::Error) {
        let says_little = |kept: &io::Error| kept.kind() == io::ErrorKind::BrokenPipe;
        if self.failure.is_none() {
            self.was_ending = matches!(self.connection.state(), State::Closing | State::Closed);
            self.failure = Some(error);
        } else if self.failure.as_ref().is_some_and(says_little) {
            self.failure = Some(error);
        }
    }
}

/// Makes another error that says the same, since several calls may be told of one failure.
#[must_use]
pub fn copy_of(error: &io::Error) -> io::Error {
    #[cfg(feature = "tls")]
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
        return io::Error::new(error.kind(), rustls::Error::clone(tls));
    }
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None if error.get_ref().is_some() => io::Error::new(error.kind(), error.to_string()),
        None => error.kind().into(),
    }
}
