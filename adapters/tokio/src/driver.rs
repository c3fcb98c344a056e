//! The drive loop: moves bytes and time between a stream and a connection.
//!
//! Everything happens inside `poll_*` calls, and all state lives here and not in their callers'
//! futures: a future that is dropped at any await loses no byte and repeats none.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::coop;
use wspulse_core::{
    Cause, Closed, Connection, Event, Instant, Message, SendError, State, Transmit,
};

use crate::error::Error;
use crate::input::{self, Leftover, READ_SIZE};
use crate::system::Clock;
use crate::timer::Timer;
use crate::waiters::{Side, Waiters};

/// A connection, its stream and its timer.
pub(crate) struct Driver<S> {
    stream: S,
    connection: Connection,
    clock: Clock,
    timer: Timer,
    waiters: Waiters,
    leftover: Leftover,
    /// When the leftover was read.
    read_at: Instant,
    /// An event that was found while somebody else was waiting.
    ahead: Option<Event>,
    reading: Half,
    writing: Half,
    /// The stream may hold back what it took until it is flushed.
    needs_flush: bool,
    /// What the transport died of, until somebody is told.
    failure: Option<io::Error>,
    closed: Option<Box<Closed>>,
    /// Bytes read since the task last waited.
    read_in_turn: usize,
    /// Whether anything moved, or output alone, in the call under way.
    moved: bool,
    wrote: bool,
}

/// What became of one direction of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Open,
    /// A half-close is under way.
    Ending,
    Ended,
    Failed,
}

/// What a round of attempts came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Something moved; another round may move more.
    Progress,
    /// Nothing to do.
    Idle,
    /// The stream will wake the task.
    Blocked,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    pub(crate) fn new(stream: S, connection: Connection, clock: Clock) -> Self {
        Self {
            stream,
            connection,
            clock,
            timer: Timer::default(),
            waiters: Waiters::default(),
            leftover: Leftover::default(),
            read_at: Instant::ZERO,
            ahead: None,
            reading: Half::Open,
            writing: Half::Open,
            needs_flush: false,
            failure: None,
            closed: None,
            read_in_turn: 0,
            moved: false,
            wrote: false,
        }
    }

    // ---- what callers wait for

    /// Waits for the next event; `None` after [`Event::Closed`].
    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.wait(Side::Receive, cx, |driver, cx| {
            loop {
                if let Some(event) = driver.take_event(cx) {
                    return Poll::Ready(Some(event));
                }
                if driver.closed.is_some() {
                    return Poll::Ready(None);
                }
                ready!(driver.poll_turn(cx));
            }
        })
    }

    /// Waits until `queue` takes the message, which stays in `slot` until then.
    pub(crate) fn poll_queue(
        &mut self,
        cx: &mut Context<'_>,
        slot: &mut Option<Message>,
        mut queue: impl FnMut(&mut Connection, Message) -> Result<(), SendError>,
    ) -> Poll<Result<(), Error>> {
        loop {
            let Some(message) = slot.take() else {
                return Poll::Ready(Ok(()));
            };
            match queue(&mut self.connection, message) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(SendError::Full(message)) => *slot = Some(message),
                Err(error) => return Poll::Ready(Err(self.send_error(error))),
            }
            ready!(self.poll_room(cx));
        }
    }

    /// Waits until a message would be taken, or no message ever will be.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.connection.config().max_buffered_amount();
        if self.has_room(limit) {
            return Poll::Ready(());
        }
        self.wait(Side::Send, cx, |driver, cx| {
            while !driver.has_room(limit) {
                if driver.poll_write(cx) != Outcome::Progress {
                    ready!(driver.poll_turn(cx));
                }
            }
            Poll::Ready(())
        })
    }

    fn has_room(&self, limit: usize) -> bool {
        self.connection.state() != State::Open || self.connection.buffered_amount() < limit
    }

    /// Waits until the stream has taken all output.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.wait(Side::Send, cx, |driver, cx| {
            loop {
                driver.poll_write(cx);
                if let Some(error) = driver.failure.take() {
                    return Poll::Ready(Err(error.into()));
                }
                if driver.connection.state() == State::Closed {
                    return Poll::Ready(Err(Error::NotOpen));
                }
                if !driver.connection.wants_write() && !driver.needs_flush {
                    return Poll::Ready(Ok(()));
                }
                ready!(driver.poll_turn(cx));
            }
        })
    }

    /// Runs `poll` for one side, and lets the other side know of what it moved.
    fn wait<T>(
        &mut self,
        side: Side,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Self, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        (self.moved, self.wrote) = (false, false);
        let result = match self.waiters.joined(side, cx) {
            Some(waker) => poll(self, &mut Context::from_waker(&waker)),
            None => poll(self, cx),
        };
        self.waiters.note(side, &result, cx);
        let is_over = self.connection.state() == State::Closed;
        if self.moved || is_over || (self.wrote && side == Side::Receive) {
            self.waiters.wake(side.other());
        }
        result
    }

    /// Writes what is queued, as far as the stream takes it, unless more input is at hand whose
    /// answers can leave in the same write. Waits for nothing.
    pub(crate) fn push(&mut self, cx: &mut Context<'_>) {
        let amount = self.connection.buffered_amount();
        if self.has_buffered_input() && amount < BATCH_LIMIT {
            return;
        }
        self.poll_write(cx);
        // A task that only ever sends has its timers run here, and its input read now and then.
        let is_due = self
            .connection
            .poll_timeout()
            .is_some_and(|due| due <= self.clock.now());
        if is_due || self.writing == Half::Failed {
            let _ = self.poll_turn(cx);
            self.poll_write(cx);
        }
    }

    // ---- commands and looks

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Runs a command of the connection, at the present time.
    pub(crate) fn command<T>(&mut self, run: impl FnOnce(&mut Connection, Instant) -> T) -> T {
        run(&mut self.connection, self.clock.now())
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(crate) fn stream(&self) -> &S {
        &self.stream
    }

    pub(crate) fn closed(&self) -> Option<&Closed> {
        self.closed.as_deref()
    }

    pub(crate) fn send_error(&mut self, error: SendError) -> Error {
        match (error, self.failure.take()) {
            (SendError::NotOpen(_), Some(failure)) => failure.into(),
            (error, failure) => {
                self.failure = failure;
                error.into()
            }
        }
    }

    /// Turns the end into an error: the transport's own where that is what it came from.
    pub(crate) fn end_error(&mut self, closed: Box<Closed>) -> Error {
        match self.failure.take() {
            Some(error) if matches!(closed.cause, Cause::Eof | Cause::Aborted) => error.into(),
            _ => Error::Closed(closed),
        }
    }

    // ---- the loop

    /// Tries each thing once: hand over, write, read, the clock. Pending if nothing moved; then
    /// whatever can move next wakes the task.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // What is at hand comes first, so that its answers share a write.
        if self.hand_over() {
            self.moved = true;
            return Poll::Ready(());
        }
        if self.read_in_turn >= READ_BUDGET {
            self.read_in_turn = 0;
            self.poll_write(cx);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let write = self.poll_write(cx);
        let end = self.poll_half_close(cx);
        let read = self.poll_read(cx);
        let time = self.poll_time(cx);
        let moved = [end, read, time].contains(&Outcome::Progress) || self.has_work(write);
        self.moved |= moved;
        if moved || write == Outcome::Progress {
            return Poll::Ready(());
        }
        self.read_in_turn = 0;
        Poll::Pending
    }

    /// Tells whether the last steps of a turn made work for its first ones, or for the receiver.
    fn has_work(&mut self, write: Outcome) -> bool {
        // With no message waiting, this finds what the clock brought, and makes no room for input.
        if self.ahead.is_none() && self.connection.wants_read() {
            self.ahead = self.connection.poll_event();
            if self.ahead.is_some() {
                return true;
            }
        }
        let wants_write = self.connection.wants_write() || self.connection.wants_shutdown();
        self.writing == Half::Open && write != Outcome::Blocked && wants_write
    }

    /// Hands over bytes that were read earlier.
    fn hand_over(&mut self) -> bool {
        if self.leftover.is_empty() || !self.connection.wants_read() {
            return false;
        }
        let taken = self
            .connection
            .handle_input(self.read_at, self.leftover.as_slice());
        self.leftover.consume(taken);
        taken > 0
    }

    /// Reads once.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Outcome {
        let is_full = !self.leftover.is_empty() || !self.connection.wants_read();
        if self.reading != Half::Open || is_full {
            return Outcome::Idle;
        }
        let read = input::with_buffer(|buffer| {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
            let bytes = buffer.filled();
            if !bytes.is_empty() {
                self.read_at = self.clock.now();
                let taken = self.connection.handle_input(self.read_at, bytes);
                let rest = bytes.get(taken..).unwrap_or_default();
                if !rest.is_empty() {
                    self.leftover.keep(rest);
                }
            }
            Poll::Ready(io::Result::Ok(bytes.len()))
        });
        match read {
            Poll::Ready(Ok(0)) => self.end_reading(Half::Ended),
            Poll::Ready(Ok(count)) => self.read_in_turn = self.read_in_turn.saturating_add(count),
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Poll::Ready(Err(error)) => {
                self.failure.get_or_insert(error);
                self.end_reading(Half::Failed);
            }
            // A stream that takes no output any more, and has no more input either.
            Poll::Pending if self.writing == Half::Failed => self.end_reading(Half::Failed),
            Poll::Pending => {
                // Out of budget, the runtime did not let the stream look: nobody knows whether
                // there is input, and nobody must be declared dead over it.
                if coop::has_budget_remaining() {
                    self.connection.handle_would_block(self.clock.now());
                }
                return Outcome::Blocked;
            }
        }
        Outcome::Progress
    }

    fn end_reading(&mut self, half: Half) {
        self.reading = half;
        let now = self.clock.now();
        self.connection.handle_eof(now);
        // Nothing can be answered any more, so nothing is left to wait for.
        if self.writing == Half::Failed {
            self.connection.abort(now);
        }
    }

    /// Writes until the output is drained or the stream takes no more.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Outcome {
        let mut outcome = Outcome::Idle;
        while self.writing == Half::Open {
            let Some(transmit) = self.connection.poll_transmit() else {
                break;
            };
            let lent = transmit.len();
            let began = self.clock.now();
            let written = write_once(Pin::new(&mut self.stream), cx, &transmit);
            match written {
                Poll::Ready(Ok(0)) => self.fail_writing(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    self.needs_flush = true;
                    let now = self.time_of_write(began);
                    self.connection.handle_transmitted(now, count.min(lent));
                }
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(error)) => self.fail_writing(error),
                Poll::Pending => {
                    if coop::has_budget_remaining() {
                        self.connection.handle_transmitted(began, 0);
                    }
                    return Outcome::Blocked;
                }
            }
            self.wrote = true;
            outcome = Outcome::Progress;
        }
        if self.needs_flush && self.writing == Half::Open {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.needs_flush = false,
                Poll::Ready(Err(error)) => self.fail_writing(error),
                Poll::Pending => return Outcome::Blocked,
            }
        }
        outcome
    }

    /// Returns when bytes left whose write began at `began`.
    ///
    /// The peer may have them before the write returns, so a round trip is measured from its
    /// beginning; unless this thread was held up in it, for which no pong is to be late.
    fn time_of_write(&self, began: Instant) -> Instant {
        let ended = self.clock.now();
        let is_held_up = ended.saturating_duration_since(began) > LONG_WRITE;
        if is_held_up { ended } else { began }
    }

    /// The peer's last words may still be there to read, so reading goes on to its end.
    fn fail_writing(&mut self, error: io::Error) {
        self.writing = Half::Failed;
        self.needs_flush = false;
        self.moved = true;
        self.failure.get_or_insert(error);
        if self.reading != Half::Open {
            self.connection.abort(self.clock.now());
        }
    }

    /// Half-closes the stream once the connection has said its last (RFC 6455 §7.1.1), and leaves
    /// the reading side open: closing over unread input would destroy what is on its way.
    fn poll_half_close(&mut self, cx: &mut Context<'_>) -> Outcome {
        match self.writing {
            Half::Open if self.connection.wants_shutdown() => self.writing = Half::Ending,
            Half::Ending => {}
            _ => return Outcome::Idle,
        }
        match Pin::new(&mut self.stream).poll_shutdown(cx) {
            Poll::Ready(Ok(())) => self.writing = Half::Ended,
            // A peer that is gone already cannot be told.
            Poll::Ready(Err(_)) => self.writing = Half::Ended,
            Poll::Pending => return Outcome::Blocked,
        }
        Outcome::Progress
    }

    /// Looks at the clock, and arms the timer for what is not due yet.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> Outcome {
        let Some(deadline) = self.connection.poll_timeout() else {
            return Outcome::Idle;
        };
        // The clock itself, first: a runtime that is out of budget says that no time has passed.
        let mut now = self.clock.now();
        if deadline > now {
            if self
                .timer
                .poll_until(cx, self.clock.runtime_time(deadline))
                .is_pending()
            {
                return Outcome::Blocked;
            }
            now = self.clock.now().max(deadline);
        }
        self.connection.handle_timeout(now);
        Outcome::Progress
    }

    fn take_event(&mut self, cx: &mut Context<'_>) -> Option<Event> {
        let event = self.ahead.take().or_else(|| self.connection.poll_event())?;
        if let Event::Closed(closed) = &event {
            self.closed = Some(closed.clone());
            // Best effort: whoever holds the stream drops it next.
            if matches!(self.writing, Half::Open | Half::Ending) {
                self.writing = Half::Ended;
                let _ = Pin::new(&mut self.stream).poll_shutdown(cx);
            }
        }
        Some(event)
    }

    /// Tells whether more input is at hand than the application has seen.
    fn has_buffered_input(&self) -> bool {
        !self.leftover.is_empty() || !self.connection.wants_read()
    }
}

/// Makes one write of everything lent, or of its first chunk where the stream has no better.
fn write_once<S: AsyncWrite>(
    stream: Pin<&mut S>,
    cx: &mut Context<'_>,
    transmit: &Transmit<'_>,
) -> Poll<io::Result<usize>> {
    if !stream.is_write_vectored() {
        return stream.poll_write(cx, transmit.first());
    }
    let mut slices = [IoSlice::new(&[]); MAX_CHUNKS];
    let mut count = 0;
    for (slice, chunk) in slices.iter_mut().zip(transmit.chunks()) {
        *slice = IoSlice::new(chunk);
        count += 1;
    }
    stream.poll_write_vectored(cx, &slices[..count])
}

/// Chunks in one vectored write; a connection lends one or two.
const MAX_CHUNKS: usize = 4;

/// No write takes longer by itself: the stream only copies.
const LONG_WRITE: Duration = Duration::from_millis(1);

/// Output that does not wait for more to share its write.
const BATCH_LIMIT: usize = 64 * 1024;

/// Bytes read before the task lets others run.
const READ_BUDGET: usize = 4 * READ_SIZE;
