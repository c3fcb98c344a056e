//! The drive loop's contract in one place: what each attempt on a stream means to a connection.

use std::time::Duration;
use std::{fmt, io};

use wspulse_core::handshake::HandshakeError;
use wspulse_core::{
    BufferPool, Cause, Closed, Connection, Event, Instant, SendError, State, Transmit,
};

use crate::clock::Clock;
use crate::error::Error;
use crate::input::{self, Leftover};
use crate::transport::Transport;

/// A connection and what became of its stream.
///
/// The `handle_*` methods are told how each attempt on the stream ended, as the operating system
/// put it, and keep the contract with the engine: input that it did not take waits, a read that
/// found nothing is said so, every write attempt is reported, the stream is half-closed once
/// everything was said and read on to its end. [`read`](Self::read), [`write`](Self::write),
/// [`shutdown`](Self::shutdown) and [`turn`](Self::turn) make the attempts too, for a
/// [`Transport`] that does not wait.
///
/// How to wait, for what, and how long one connection may keep others from their turn is left to
/// the adapter. Before it sleeps it reads [`poll_timeout`](Self::poll_timeout) again, which moves
/// earlier whenever a call makes it.
pub struct Drive {
    connection: Connection,
    leftover: Leftover,
    /// When the leftover was read.
    read_at: Instant,
    reading: Half,
    writing: Half,
    /// The stream may hold back what it took until it is flushed.
    needs_flush: bool,
    /// What the transport died of, until somebody is told.
    failure: Option<io::Error>,
    /// Whether the connection was ending already when the transport died.
    was_ending: bool,
    /// The connection was ended because the stream failed, and not by its owner.
    is_cut_off: bool,
    closed: Option<Box<Closed>>,
    /// Writes that the stream took.
    written: u32,
    /// When the last attempt at one ended.
    written_at: Instant,
}

/// What became of one direction of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Open,
    /// It ends: a half-close is under way, or the end was read and input before it waits.
    Ending,
    Ended,
    Failed,
}

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Something moved; another round may move more.
    Progress,
    /// Nothing to do.
    Idle,
    /// The stream has to be waited for.
    Blocked,
}

/// What moved in a [`turn`](Drive::turn). If nothing did, wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Input, time or an event: whoever waits for one should look.
    pub moved: bool,
    /// Output: whoever waits for room should look.
    pub wrote: bool,
    /// How many bytes were read.
    pub read: usize,
    is_blocked: bool,
}

impl Turn {
    /// Tells whether another turn may move more; a stream that took a part of the output and then
    /// would block takes no more of it now.
    #[must_use]
    pub const fn has_progress(&self) -> bool {
        self.moved || (self.wrote && !self.is_blocked)
    }
}

impl Drive {
    /// Takes over `connection`, whose stream is whole.
    #[must_use]
    pub fn new(connection: Connection) -> Self {
        Self {
            connection,
            leftover: Leftover::default(),
            read_at: Instant::ZERO,
            reading: Half::Open,
            writing: Half::Open,
            needs_flush: false,
            failure: None,
            was_ending: false,
            is_cut_off: false,
            closed: None,
            written: 0,
            written_at: Instant::ZERO,
        }
    }

    // ---- what happened

    /// A read ended like this. No bytes are the end of the stream; `WouldBlock` says that there
    /// was nothing to read. `TimedOut` is a failure: the kernel gave the peer up.
    pub fn handle_read(&mut self, now: Instant, read: io::Result<&[u8]>) -> Outcome {
        if self.reading != Half::Open {
            return Outcome::Idle;
        }
        match read {
            // What was read before the end comes before the end.
            Ok([]) if !self.leftover.is_empty() => self.reading = Half::Ending,
            Ok([]) => self.end_reading(now, Half::Ended),
            Ok(bytes) => self.take_input(now, bytes),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_would_block(&error) => {
                // A stream that takes no output any more, and has no more input either.
                if self.writing == Half::Failed {
                    self.end_reading(now, Half::Failed);
                    return Outcome::Progress;
                }
                // With bytes at hand, nobody can say that there was nothing.
                if self.leftover.is_empty() {
                    self.connection.handle_would_block(now);
                }
                return Outcome::Blocked;
            }
            Err(error) => {
                self.note_failure(error);
                self.end_reading(now, Half::Failed);
            }
        }
        Outcome::Progress
    }

    /// A write of what [`poll_transmit`](Self::poll_transmit) lends began and ended, and took this
    /// much of it. `WouldBlock` says that it took nothing for now.
    pub fn handle_write(
        &mut self,
        began: Instant,
        ended: Instant,
        written: io::Result<usize>,
    ) -> Outcome {
        if self.writing != Half::Open {
            return Outcome::Idle;
        }
        match written {
            Ok(0) => self.fail_writing(ended, io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                self.needs_flush = true;
                self.written = self.written.wrapping_add(1);
                // The peer may have the bytes before the write returns, so a round trip is
                // measured from its beginning; unless this thread was held up in it, for which no
                // pong is to be late.
                let is_held_up = ended.saturating_duration_since(began) > LONG_WRITE;
                let left_at = if is_held_up { ended } else { began };
                self.connection.handle_transmitted(left_at, count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_would_block(&error) => {
                self.connection.handle_transmitted(began, 0);
                return Outcome::Blocked;
            }
            Err(error) => self.fail_writing(ended, error),
        }
        Outcome::Progress
    }

    /// A flush ended like this.
    pub fn handle_flush(&mut self, now: Instant, flushed: io::Result<()>) -> Outcome {
        match flushed {
            Ok(()) => self.needs_flush = false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_would_block(&error) => return Outcome::Blocked,
            Err(error) if self.writing == Half::Open => self.fail_writing(now, error),
            Err(_) => self.needs_flush = false,
        }
        Outcome::Progress
    }

    /// The half-close ended like this.
    pub fn handle_shutdown(&mut self, shut: io::Result<()>) -> Outcome {
        match shut {
            Err(error) if is_would_block(&error) => {
                self.writing = Half::Ending;
                Outcome::Blocked
            }
            // A peer that is gone already cannot be told.
            Ok(()) | Err(_) => {
                self.writing = Half::Ended;
                Outcome::Progress
            }
        }
    }

    /// Time passed; does nothing unless the deadline has come.
    pub fn handle_timeout(&mut self, now: Instant) -> Outcome {
        if self.poll_timeout().is_none_or(|deadline| deadline > now) {
            return Outcome::Idle;
        }
        self.connection.handle_timeout(now);
        Outcome::Progress
    }

    // ---- what comes next

    /// Lends the bytes to write next, while the stream takes output.
    #[must_use = "what is lent is to be written and reported"]
    pub fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        match self.writing {
            Half::Open => self.connection.poll_transmit(),
            Half::Ending | Half::Ended | Half::Failed => None,
        }
    }

    /// Returns the next event, for which it hands over bytes that were read earlier.
    // Events are looked at where they lie: each move of a fresh one waits for its stores.
    #[inline(always)]
    #[must_use = "an event is told once"]
    pub fn poll_event(&mut self) -> Option<Event> {
        let mut input = self.leftover.as_slice();
        let before = input.len();
        let mut event = self.connection.next_event(self.read_at, &mut input);
        let taken = before - input.len();
        if taken > 0 {
            self.leftover.consume(taken);
        }
        match &event {
            None | Some(Event::Closed(_)) => self.note_end(&mut event),
            Some(event) if BufferPool::may_keep(event) => input::keep_buffer(event),
            Some(_) => {}
        }
        event
    }

    /// Notes how the connection ended, or that its input has and what there was is taken.
    #[inline(never)]
    fn note_end(&mut self, event: &mut Option<Event>) {
        if event.is_none() && self.reading == Half::Ending && self.leftover.is_empty() {
            self.end_reading(self.read_at, Half::Ended);
            *event = self.connection.poll_event();
        }
        if let Some(Event::Closed(closed)) = event {
            if self.is_cut_off && closed.cause == Cause::Aborted {
                closed.cause = Cause::Eof;
            }
            self.closed = Some(closed.clone());
        }
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.connection.poll_timeout()
    }

    /// Hands over bytes that were read earlier, as [`poll_event`](Self::poll_event) does, where
    /// nobody takes events; tells whether any were taken.
    pub fn hand_over(&mut self) -> bool {
        if self.leftover.is_empty() || !self.connection.wants_read() {
            return false;
        }
        let taken = self
            .connection
            .handle_input(self.read_at, self.leftover.as_slice());
        self.leftover.consume(taken);
        if self.reading == Half::Ending && self.leftover.is_empty() {
            self.end_reading(self.read_at, Half::Ended);
        }
        taken > 0
    }

    // ---- attempts, for a stream that does not wait

    /// Reads once, if the connection takes input.
    pub fn read(&mut self, transport: &mut impl Transport, clock: &impl Clock) -> Outcome {
        self.read_counted(transport, clock).0
    }

    /// Also returns how much was read, and when.
    fn read_counted(
        &mut self,
        transport: &mut impl Transport,
        clock: &impl Clock,
    ) -> (Outcome, usize, Option<Instant>) {
        if !self.wants_read() {
            return (Outcome::Idle, 0, None);
        }
        input::with_buffer(|buffer| {
            let read = transport.read(buffer);
            let bytes = match read {
                Ok(count) => buffer.get(..count).ok_or_else(|| {
                    io::Error::other("the stream read more than there was room for")
                }),
                Err(error) => Err(error),
            };
            if bytes.as_ref().is_err_and(is_would_block) && !transport.has_looked() {
                return (Outcome::Blocked, 0, None);
            }
            let count = bytes.as_ref().map_or(0, |bytes| bytes.len());
            if count > 0 {
                input::lend_buffer(&mut self.connection);
            }
            let now = clock.now();
            (self.handle_read(now, bytes), count, Some(now))
        })
    }

    /// Writes until the output is drained or the stream takes no more; tells whether it took any.
    pub fn write(&mut self, transport: &mut impl Transport, clock: &impl Clock) -> bool {
        let was_written = self.written;
        self.write_all(transport, clock);
        self.written != was_written
    }

    fn write_all(&mut self, transport: &mut impl Transport, clock: &impl Clock) -> Outcome {
        let mut outcome = Outcome::Idle;
        while let Some(transmit) = self.poll_transmit() {
            let began = clock.now();
            let written = transport.write(&transmit);
            if written.as_ref().is_err_and(is_would_block) && !transport.has_offered() {
                return Outcome::Blocked;
            }
            let ended = clock.now();
            self.written_at = ended;
            if self.handle_write(began, ended, written) == Outcome::Blocked {
                return Outcome::Blocked;
            }
            outcome = Outcome::Progress;
        }
        let wants_flush = self.needs_flush || transport.wants_flush();
        if wants_flush && self.writing == Half::Open {
            let flushed = transport.flush();
            // Only a failure needs the time.
            let now = match flushed {
                Ok(()) => self.written_at,
                Err(_) => clock.now(),
            };
            if self.handle_flush(now, flushed) == Outcome::Blocked {
                return Outcome::Blocked;
            }
        }
        outcome
    }

    /// Half-closes the stream if it is time to (RFC 6455 §7.1.1), and leaves the reading side
    /// open: closing over unread input would destroy what is on its way.
    pub fn shutdown(&mut self, transport: &mut impl Transport) -> Outcome {
        if self.wants_shutdown() {
            self.handle_shutdown(transport.shutdown())
        } else {
            Outcome::Idle
        }
    }

    /// Tries each thing once: hand over, write, read, the clock.
    pub fn turn(&mut self, transport: &mut impl Transport, clock: &impl Clock) -> Turn {
        // What is at hand comes first, so that its answers share a write.
        if self.hand_over() {
            return Turn {
                moved: true,
                ..Turn::default()
            };
        }
        let was_written = self.written;
        let had_event = self.connection.has_event();
        let write = self.write_all(transport, clock);
        let shutdown = self.shutdown(transport);
        let (read, count, read_at) = self.read_counted(transport, clock);
        // A moment ago is now: a deadline that came since then is seen in the next turn.
        let wrote_at = (self.written != was_written).then_some(self.written_at);
        let time = match (self.poll_timeout(), read_at.or(wrote_at)) {
            (None, _) => Outcome::Idle,
            (Some(deadline), Some(now)) if deadline > now => Outcome::Idle,
            (Some(_), now) => self.handle_timeout(now.unwrap_or_else(|| clock.now())),
        };
        Turn {
            moved: [read, shutdown, time].contains(&Outcome::Progress)
                // What time or a write brought is for somebody to take.
                || (self.connection.has_event() && !had_event)
                || (write != Outcome::Blocked && self.wants_write())
                || self.writing == Half::Open && self.connection.wants_shutdown(),
            wrote: self.written != was_written,
            read: count,
            is_blocked: write == Outcome::Blocked,
        }
    }

    // ---- what an owner asks

    /// Runs a command of the connection.
    pub fn command<T>(&mut self, run: impl FnOnce(&mut Connection) -> T) -> T {
        run(&mut self.connection)
    }

    /// Returns the connection, to look at.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Returns how the connection ended, once its last event was taken.
    #[must_use]
    pub fn closed(&self) -> Option<&Closed> {
        self.closed.as_deref()
    }

    /// Tells whether to read: the stream has more, and the connection takes it.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        self.reading == Half::Open && self.leftover.is_empty() && self.connection.wants_read()
    }

    /// Tells whether something is left to write or to flush.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        self.writing == Half::Open && (self.connection.wants_write() || self.needs_flush)
    }

    /// Tells whether to half-close the stream: everything was said, or the connection is over.
    #[must_use]
    pub fn wants_shutdown(&self) -> bool {
        match self.writing {
            Half::Open => self.connection.wants_shutdown() || self.closed.is_some(),
            Half::Ending => true,
            Half::Ended | Half::Failed => false,
        }
    }

    /// Tells whether more input is at hand than the application has seen.
    #[must_use]
    pub fn has_buffered_input(&self) -> bool {
        !self.leftover.is_empty() || !self.connection.wants_read()
    }

    /// Returns when the last write that [`write`](Self::write) or [`turn`](Self::turn) attempted
    /// ended.
    #[must_use]
    pub const fn written_at(&self) -> Instant {
        self.written_at
    }

    /// Tells whether the stream failed to take output.
    #[must_use]
    pub fn has_failed_writing(&self) -> bool {
        self.writing == Half::Failed
    }

    /// Tells whether there is nothing to come but events that wait.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.connection.state() == State::Closed
    }

    /// Tells whether a message would be queued, or never will be.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let limit = self.connection.config().max_buffered_amount();
        !self.connection.takes_messages() || self.connection.queue_cost() < limit
    }

    /// Tells whether everything queued was taken, or why it never will be.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the stream failed, [`Error::NotOpen`] if the connection is over.
    pub fn is_flushed(&mut self) -> Result<bool, Error> {
        if let Some(error) = self.take_cause() {
            return Err(error.into());
        }
        // What is left after a failure never will be.
        if self.is_over() || self.writing == Half::Failed {
            return Err(Error::NotOpen);
        }
        Ok(!self.wants_write())
    }

    /// Turns a failed command into an error: the stream's own where that is what it came from.
    pub fn send_error(&mut self, error: SendError) -> Error {
        match error {
            SendError::NotOpen(message) => match self.take_cause() {
                Some(failure) => failure.into(),
                None => SendError::NotOpen(message).into(),
            },
            error => error.into(),
        }
    }

    /// Turns the end into an error: the stream's own where that is what it came from.
    pub fn end_error(&mut self, closed: Box<Closed>) -> Error {
        let is_of_stream = matches!(
            closed.cause,
            Cause::Eof | Cause::Aborted | Cause::Handshake(HandshakeError::UnexpectedEof)
        );
        // A peer that said why it goes has told more than its stream.
        let is_of_stream = is_of_stream && closed.received.is_none();
        match self.failure.take() {
            Some(error) if is_of_stream => error.into(),
            _ => Error::Closed(closed),
        }
    }

    // ---- ends

    fn take_input(&mut self, now: Instant, bytes: &[u8]) {
        let mut rest = bytes;
        if self.leftover.is_empty() {
            self.read_at = now;
            let taken = self.connection.handle_input(now, bytes);
            rest = bytes.get(taken..).unwrap_or_default();
        }
        if !rest.is_empty() {
            self.leftover.keep(rest);
        }
    }

    fn end_reading(&mut self, now: Instant, half: Half) {
        self.reading = half;
        self.connection.handle_eof(now);
        // Nothing can be answered any more, so nothing is left to wait for.
        if self.writing == Half::Failed {
            self.cut_off(now);
        }
    }

    /// The peer's last words may still be there to read, so reading goes on to its end.
    fn fail_writing(&mut self, now: Instant, error: io::Error) {
        self.writing = Half::Failed;
        self.needs_flush = false;
        self.note_failure(error);
        if self.reading != Half::Open {
            self.cut_off(now);
        }
    }

    fn note_failure(&mut self, error: io::Error) {
        if self.failure.is_none() {
            self.was_ending = matches!(self.connection.state(), State::Closing | State::Closed);
            self.failure = Some(error);
        }
    }

    /// The failure, if that is why the connection ended. A stream that fails while a connection
    /// ends, such as one that the kernel gives up after the engine did, has not ended it.
    fn take_cause(&mut self) -> Option<io::Error> {
        if self.was_ending {
            return None;
        }
        self.failure.take()
    }

    fn cut_off(&mut self, now: Instant) {
        self.is_cut_off |= !self.is_over();
        self.connection.abort(now);
    }
}

/// Without the bytes that wait, which can be anybody's secret.
impl fmt::Debug for Drive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drive")
            .field("connection", &self.connection)
            .field("reading", &self.reading)
            .field("writing", &self.writing)
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

fn is_would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// No write takes longer by itself: the stream only copies.
const LONG_WRITE: Duration = Duration::from_millis(1);
