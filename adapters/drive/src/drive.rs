//! The drive loop's contract in one place: what each attempt on a stream means to a connection.

use std::time::Duration;
use std::{fmt, io};

use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{
    BufferPool, Cause, CloseCode, Closed, ConfigError, Connection, Event, Instant, SendError,
    State, Transmit,
};

use crate::inbox::{Inbox, InboxLimits};
use crate::input::{self, Leftover};

mod attempts;
mod ends;

pub use ends::copy_of;

/// A connection and what became of its stream.
///
/// The `handle_*` methods are told how each attempt on the stream ended, as the operating system
/// put it, and keep the contract with the engine: input that it did not take waits, a read that
/// found nothing is said so, every write attempt is reported, the stream is half-closed once
/// everything was said and read on to its end. [`read`](Self::read), [`write`](Self::write),
/// [`shutdown`](Self::shutdown) and [`turn`](Self::turn) make the attempts too, for a
/// [`Transport`](crate::Transport) that does not wait.
///
/// Events are for the application to take, by [`poll_event`](Self::poll_event). Where it does not,
/// since it only sends or is busy, [`collect`](Self::collect) puts them into an inbox, so that
/// reading goes on up to its [limits](InboxLimits): pings and Closes are answered, and death is
/// noticed. `poll_event` serves the inbox first.
///
/// How to wait, for what, and how long one connection may keep others from their turn is left to
/// the adapter. Before it sleeps it reads [`poll_timeout`](Self::poll_timeout) again, which moves
/// earlier whenever a call makes it.
pub struct Drive {
    connection: Connection,
    inbox: Inbox,
    leftover: Leftover,
    /// When the last read attempt began, and so that of the leftover, behind which nothing is read.
    read_at: Instant,
    /// How old that may be when something is sent, in nanoseconds.
    read_interval: u32,
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
    /// The application has asked for the end.
    is_asked: bool,
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
        let read_interval = nanos(connection.config().heartbeat().read_interval());
        Self {
            connection,
            inbox: Inbox::default(),
            leftover: Leftover::default(),
            read_at: Instant::ZERO,
            read_interval,
            reading: Half::Open,
            writing: Half::Open,
            needs_flush: false,
            failure: None,
            was_ending: false,
            is_cut_off: false,
            is_asked: false,
            closed: None,
            written: 0,
            written_at: Instant::ZERO,
        }
    }

    // ---- what happened

    /// A read that began at `now` ended like this. No bytes are the end of the stream; `WouldBlock`
    /// says that there was nothing to read. `TimedOut` is a failure: the kernel gave the peer up.
    pub fn handle_read(&mut self, now: Instant, read: io::Result<&[u8]>) -> Outcome {
        if self.reading != Half::Open {
            return Outcome::Idle;
        }
        self.read_at = now;
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

    /// The stream failed, as it says without being read or written: a socket's SO_ERROR. What was
    /// read before is still handed out.
    pub fn handle_failure(&mut self, now: Instant, error: io::Error) {
        self.fail_writing(now, error);
        self.keep_leftover();
        self.end_reading(now, Half::Failed);
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

    /// Returns the next event, for which it hands over bytes that were read earlier. Those in the
    /// inbox come first.
    // Events are looked at where they lie: each move of a fresh one waits for its stores.
    #[inline(always)]
    #[must_use = "an event is told once"]
    pub fn poll_event(&mut self) -> Option<Event> {
        if !self.inbox.is_empty() {
            return self.inbox.pop();
        }
        self.next_event()
    }

    /// Puts the event that was taken last back, to be taken next.
    pub fn put_back(&mut self, event: Event) {
        self.inbox.push_front(event);
    }

    #[inline(always)]
    fn next_event(&mut self) -> Option<Event> {
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
                // The Close frame that came is the reason, although its answer could not leave.
                closed.cause = match closed.received {
                    Some(_) => Cause::Normal,
                    None => Cause::Eof,
                };
            }
            self.closed = Some(closed.clone());
        }
    }

    /// Takes the events that are at hand into the inbox, up to its [limits](InboxLimits), where
    /// the application does not take them just now; tells whether there were any. Afterwards
    /// [`wants_read`](Self::wants_read) tells whether to read on.
    ///
    /// The end of the connection is taken in whatever the limits, so that [`closed`](Self::closed)
    /// and the errors of commands tell of it.
    pub fn collect(&mut self) -> bool {
        let before = self.inbox.len();
        while self.may_collect() {
            // A Close that comes now is seen before its event is taken.
            if self.hand_over() && !self.may_collect() {
                break;
            }
            match self.next_event() {
                Some(event) => self.inbox.push(event),
                None => break,
            }
        }
        self.inbox.len() > before
    }

    /// A peer that closes waits for the message that was told to wait for room, until its Close is
    /// taken: that is for the application to do.
    fn may_collect(&self) -> bool {
        let is_awaited =
            self.connection.state() == State::Closing && self.connection.takes_messages();
        self.is_over() || !(self.inbox.is_full() || is_awaited && self.connection.wants_read())
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

    /// Starts the closing handshake for the application, unless the connection is past that:
    /// [`Connection::close`]. A call that sends is then told that this side has ended it, and not
    /// how.
    ///
    /// # Errors
    ///
    /// [`SendError::Close`] for a code that must not be sent, or a reason above 123 bytes.
    pub fn close(&mut self, now: Instant, code: CloseCode, reason: &str) -> Result<(), SendError> {
        let was_open = matches!(self.connection.state(), State::Connecting | State::Open);
        self.connection.close(now, code, reason)?;
        self.is_asked |= was_open;
        Ok(())
    }

    /// Ends the connection for the application, at once: [`Connection::abort`].
    pub fn abort(&mut self, now: Instant) {
        self.is_asked |= self.connection.state() != State::Closed;
        self.connection.abort(now);
    }

    /// Changes the heartbeat's policy, at any time.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it cannot work; the one before stays.
    pub fn set_heartbeat(
        &mut self,
        now: Instant,
        config: HeartbeatConfig,
    ) -> Result<(), ConfigError> {
        self.connection.set_heartbeat(now, config)?;
        self.read_interval = nanos(config.read_interval());
        Ok(())
    }

    /// Sets how much the inbox takes.
    pub fn set_inbox_limits(&mut self, limits: InboxLimits) {
        self.inbox.set_limits(limits);
    }

    /// Tells whether the inbox takes no more, so that nothing is read: the kernel has to watch
    /// over the peer ([`watch`](crate::watch)).
    #[must_use]
    pub fn is_inbox_full(&self) -> bool {
        self.inbox.is_full()
    }

    /// Returns how many events wait in the inbox.
    #[must_use]
    pub fn inbox_len(&self) -> usize {
        self.inbox.len()
    }

    /// Returns how many bytes of the limit the inbox uses.
    #[must_use]
    pub fn inbox_bytes(&self) -> usize {
        self.inbox.bytes()
    }

    /// Tells whether to make a read attempt although nobody waits for events: the last one is
    /// older than it may be ([`HeartbeatConfig::read_interval`]), or the stream took no more
    /// output and the peer's last words are still to be read (rule 16).
    /// [`collect`](Self::collect) first.
    #[must_use]
    pub fn is_read_due(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.read_at);
        let is_old = age.as_nanos() >= self.read_interval.into();
        let may_read = self.reading == Half::Open && !self.inbox.is_full();
        may_read && (is_old || self.writing == Half::Failed)
    }

    /// Returns how the connection ended, once its last event was taken, or is in the inbox.
    #[must_use]
    pub fn closed(&self) -> Option<&Closed> {
        self.closed.as_deref()
    }

    /// Tells whether to read: the stream has more, and the connection takes it.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        self.reading == Half::Open
            && self.leftover.is_empty()
            && self.connection.wants_read()
            && !self.inbox.is_full()
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
        !self.inbox.is_empty() || !self.leftover.is_empty() || !self.connection.wants_read()
    }

    /// Tells whether an event waits that came before the peer's Close.
    #[must_use]
    pub fn has_waiting_message(&self) -> bool {
        let has_input = self.connection.state() == State::Open && !self.leftover.is_empty();
        !self.inbox.is_empty() || has_input || !self.connection.wants_read()
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

    // ---- ends

    fn take_input(&mut self, now: Instant, bytes: &[u8]) {
        let mut rest = bytes;
        if self.leftover.is_empty() {
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

    /// The peer's last words may still be there to read: a read that finds nothing ends the
    /// connection, or the end of the stream.
    fn fail_writing(&mut self, now: Instant, error: io::Error) {
        self.writing = Half::Failed;
        self.needs_flush = false;
        self.note_failure(error);
        if self.reading != Half::Open {
            self.cut_off(now);
        }
    }

    /// Ends the connection, since nothing can be sent any more. Messages that were read are still
    /// handed out.
    fn cut_off(&mut self, now: Instant) {
        self.keep_leftover();
        self.is_cut_off |= !self.is_over();
        self.connection.abort(now);
    }

    fn keep_leftover(&mut self) {
        while !self.leftover.is_empty() && !self.inbox.is_overfull() {
            match self.next_event() {
                Some(event) => self.inbox.push(event),
                None => break,
            }
        }
    }
}

/// Without the bytes that wait, which can be anybody's secret.
impl fmt::Debug for Drive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drive")
            .field("connection", &self.connection)
            .field("reading", &self.reading)
            .field("writing", &self.writing)
            .field("inbox", &self.inbox)
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

fn nanos(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos()).unwrap_or(u32::MAX)
}

fn is_would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// No write takes longer by itself: the stream only copies.
const LONG_WRITE: Duration = Duration::from_millis(1);
