//! What is behind the lock: the connection, TLS if there is any, and who does what.

use std::io::{self, IoSlice};

use wspulse_core::{Connection, Instant, Transmit};
use wspulse_drive::{Drive, Outcome, with_slices};

#[cfg(feature = "tls")]
use crate::session::Tls;

/// A connection, and which threads are at its stream. Nothing here waits.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) drive: Drive,
    #[cfg(feature = "tls")]
    tls: Option<Box<Tls>>,
    /// A thread reads from the stream, and has yet to hand over what it read.
    pub(crate) is_reading: bool,
    /// A thread writes to the stream, and has yet to say how much was taken.
    pub(crate) is_writing: bool,
    /// Threads that see to all output until it has left; others leave theirs to them.
    pub(crate) flushers: usize,
    /// Time has passed that only a read can judge.
    pub(crate) owes_look: bool,
    /// Two threads may use the connection.
    pub(crate) is_split: bool,
    /// A message that is sent in parts is under way.
    pub(crate) is_in_parts: bool,
    /// Nobody is there to take events any more.
    pub(crate) is_deaf: bool,
    /// The last write left nothing to write.
    pub(crate) is_drained: bool,
    /// A socket took no more, and nobody has seen room since.
    pub(crate) is_full: bool,
    /// Time has passed that only another look for room can judge.
    pub(crate) owes_try: bool,
    /// The writing half of the stream is closed.
    pub(crate) is_shut: bool,
    /// The connection is over, and so is the stream.
    pub(crate) is_hung_up: bool,
}

impl State {
    pub(crate) fn new(connection: Connection) -> Self {
        Self {
            drive: Drive::new(connection),
            #[cfg(feature = "tls")]
            tls: None,
            is_reading: false,
            is_writing: false,
            flushers: 0,
            owes_look: false,
            is_split: false,
            is_in_parts: false,
            is_deaf: false,
            is_drained: true,
            is_full: false,
            owes_try: false,
            is_shut: false,
            is_hung_up: false,
        }
    }

    /// Puts TLS in between; `early` is what it has decrypted already.
    #[cfg(feature = "tls")]
    pub(crate) fn with_tls(mut self, tls: Tls, early: &[u8], now: Instant) -> Self {
        self.tls = Some(Box::new(tls));
        if !early.is_empty() {
            self.drive.handle_read(now, Ok(early));
        }
        self
    }

    // ---- input

    /// A read of the stream ended like this.
    pub(crate) fn handle_read(&mut self, now: Instant, read: io::Result<&[u8]>) -> Outcome {
        // What a thread finds at a stream that another one closed under it says nothing.
        if self.is_hung_up {
            return Outcome::Progress;
        }
        #[cfg(feature = "tls")]
        if let (Some(tls), Ok(bytes @ [_, ..])) = (&mut self.tls, &read) {
            return tls.receive(now, bytes, &mut self.drive);
        }
        self.drive.handle_read(now, read)
    }

    /// Time passed; does nothing unless the deadline has come.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Outcome {
        let outcome = self.drive.handle_timeout(now);
        if outcome == Outcome::Progress {
            self.owes_look = true;
            self.owes_try = self.is_full;
        }
        outcome
    }

    // ---- output

    /// Tells whether there is something to write, or the stream is to be half-closed.
    pub(crate) fn wants_write(&self) -> bool {
        if self.is_shut || self.drive.has_failed_writing() {
            return false;
        }
        #[cfg(feature = "tls")]
        if self.tls.as_ref().is_some_and(|tls| tls.wants_write()) {
            return true;
        }
        self.drive.wants_write() || self.drive.wants_shutdown()
    }

    /// Lends what is to be written next; nothing if there is nothing.
    pub(crate) fn lend(&mut self) -> Lent<'_> {
        if self.is_shut || self.drive.has_failed_writing() {
            return Lent::Bytes(&[]);
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return Lent::Bytes(tls.lend(&mut self.drive));
        }
        self.drive
            .poll_transmit()
            .map_or(Lent::Bytes(&[]), Lent::Frames)
    }

    /// A write of what was lent began and ended, and took this much of it.
    pub(crate) fn handle_write(
        &mut self,
        began: Instant,
        ended: Instant,
        written: io::Result<usize>,
    ) -> Outcome {
        if self.is_hung_up {
            return Outcome::Progress;
        }
        let was_over = self.drive.is_over();
        #[cfg(feature = "tls")]
        let outcome = match &mut self.tls {
            Some(tls) => tls.handle_write(began, ended, written, &mut self.drive),
            None => self.drive.handle_write(began, ended, written),
        };
        #[cfg(not(feature = "tls"))]
        let outcome = self.drive.handle_write(began, ended, written);
        // A socket sends what it took without being asked again.
        self.drive.handle_flush(ended, Ok(()));
        self.is_drained = !was_over
            && !self.drive.has_failed_writing()
            && (self.drive.is_over() || !self.drive.wants_write());
        outcome
    }

    /// Queues what is to be said before the stream is half-closed; tells whether that is nothing.
    pub(crate) fn say_goodbye(&mut self) -> bool {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return tls.say_goodbye();
        }
        true
    }
}

/// What is to be written next.
#[derive(Clone, Copy)]
pub(crate) enum Lent<'a> {
    /// Bytes of TLS, or none.
    Bytes(&'a [u8]),
    Frames(Transmit<'a>),
}

impl Lent<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Frames(transmit) => transmit.len(),
        }
    }

    pub(crate) fn append_to(&self, buffer: &mut Vec<u8>) {
        match self {
            Self::Bytes(bytes) => buffer.extend_from_slice(bytes),
            Self::Frames(transmit) => {
                for chunk in transmit.chunks() {
                    buffer.extend_from_slice(chunk);
                }
            }
        }
    }

    pub(crate) fn with_slices<T>(&self, write: impl FnOnce(&[IoSlice<'_>]) -> T) -> T {
        match self {
            Self::Bytes(bytes) => write(&[IoSlice::new(bytes)]),
            Self::Frames(transmit) => with_slices(transmit, write),
        }
    }
}
