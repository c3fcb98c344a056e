//! Runs a connection's drive loop inside `poll_*` calls.
//!
//! All state lives here and not in their callers' futures: a future that is dropped at any await
//! loses no byte and repeats none.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop;
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{
    Cause, CloseCode, Closed, ConfigError, Connection, Event, Instant, Message, SendError, State,
    Transmit,
};
use wspulse_drive::{Clock as _, Drive, Transport, with_slices};

use crate::Error;
use crate::clock::{self, Clock};
use crate::drain::{Guard, Order};
use crate::timer::Timer;
use crate::trace::Trace;
use crate::waiters::{Side, Waiters};

/// A connection, its stream and its timer.
pub(crate) struct Driver<S> {
    stream: S,
    /// What the stream took and has yet to send on, of what is lent.
    held: usize,
    drive: Drive,
    clock: Clock,
    timer: Timer,
    waiters: Waiters,
    /// Bytes read since the task last waited.
    read_in_turn: u32,
    /// Tells the socket, where `S` is known to be or to have one.
    set_patience: fn(&S, &HeartbeatConfig),
    /// Whether anything moved, or output alone, in the call under way.
    moved: bool,
    wrote: bool,
    /// The stream of messages has ended.
    is_done: bool,
    /// Nobody takes events any more, so they are dropped, all but the last.
    is_deaf: bool,
    // Both are rare: in boxes they cost an idle connection little.
    last: Option<Box<Event>>,
    guard: Option<Box<Guard>>,
    trace: Trace,
}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Driver<S> {
    pub(crate) fn new(stream: S, connection: Connection, clock: Clock) -> Self {
        let trace = Trace::new(&connection, || clock::peer_of(&stream));
        Self {
            stream,
            held: 0,
            drive: Drive::new(connection),
            trace,
            clock,
            timer: Timer::default(),
            waiters: Waiters::default(),
            read_in_turn: 0,
            set_patience: clock::set_patience::<S>,
            moved: false,
            wrote: false,
            is_done: false,
            is_deaf: false,
            last: None,
            guard: None,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    // ---- what callers wait for

    /// Waits for the next event; `None` after [`Event::Closed`].
    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.wait(Side::Receive, cx, |driver, cx| {
            loop {
                if let Some(event) = driver.take_event() {
                    // Whoever waits for room may have none to wait for.
                    driver.moved |= !matches!(event, Event::Text(_) | Event::Binary(_));
                    driver.half_close(cx);
                    return Poll::Ready(Some(event));
                }
                if driver.drive.closed().is_some() {
                    return Poll::Ready(None);
                }
                ready!(driver.poll_turn(cx));
            }
        })
    }

    /// Waits for the next message; `None` after the closing handshake, or after the error.
    pub(crate) fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Message, Error>>> {
        while !self.is_done {
            // A message at hand waits for nobody, and changes nothing for who sends.
            match self.take_event() {
                Some(Event::Text(text)) => return Poll::Ready(Some(Ok(Message::Text(text)))),
                Some(Event::Binary(data)) => return Poll::Ready(Some(Ok(Message::Binary(data)))),
                event => self.last = event.map(Box::new),
            }
            let Some(event) = ready!(self.poll_event(cx)) else {
                self.is_done = true;
                break;
            };
            match Message::try_from(event) {
                Ok(message) => return Poll::Ready(Some(Ok(message))),
                Err(Event::Closed(closed)) => {
                    self.is_done = true;
                    if closed.cause != Cause::Normal {
                        return Poll::Ready(Some(Err(self.end_error(closed))));
                    }
                }
                Err(_) => {}
            }
        }
        Poll::Ready(None)
    }

    /// Tells whether the stream of messages has ended.
    pub(crate) const fn is_done(&self) -> bool {
        self.is_done
    }

    /// Waits until `queue` takes the message, which stays in `slot` until then.
    pub(crate) fn poll_queue(
        &mut self,
        cx: &mut Context<'_>,
        slot: &mut Option<Message>,
        mut queue: impl FnMut(&mut Self, Message) -> Result<(), SendError>,
    ) -> Poll<Result<(), Error>> {
        loop {
            let Some(message) = slot.take() else {
                return Poll::Ready(Ok(()));
            };
            match queue(self, message) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(SendError::Full(message)) => *slot = Some(message),
                Err(error) => return Poll::Ready(Err(self.send_error(error))),
            }
            ready!(self.poll_room(cx));
        }
    }

    /// Waits until the message in `slot` is queued, and sees it off.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        slot: &mut Option<Message>,
    ) -> Poll<Result<(), Error>> {
        ready!(self.poll_queue(cx, slot, Self::queue))?;
        self.push(cx);
        Poll::Ready(Ok(()))
    }

    /// Waits until a message would be taken, or no message ever will be.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.drive.has_room() {
            return Poll::Ready(());
        }
        self.wait(Side::Send, cx, |driver, cx| {
            while !driver.drive.has_room() {
                if !driver.write(cx) {
                    ready!(driver.poll_turn(cx));
                }
            }
            Poll::Ready(())
        })
    }

    /// Waits until the stream has taken all output.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.wait(Side::Send, cx, |driver, cx| {
            loop {
                driver.write(cx);
                if driver.drive.is_flushed()? {
                    return Poll::Ready(Ok(()));
                }
                ready!(driver.poll_turn(cx));
            }
        })
    }

    /// Waits until a Close frame that was queued has left, and if nobody else waits for the end,
    /// until then.
    pub(crate) fn poll_closing(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.is_deaf {
            while let Some(message) = ready!(self.poll_message(cx)) {
                message?;
            }
            return Poll::Ready(Ok(()));
        }
        match ready!(self.poll_flush(cx)) {
            // Over is as closed as it gets.
            Err(Error::NotOpen) => Poll::Ready(Ok(())),
            flushed => Poll::Ready(flushed),
        }
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
        let other = side.other();
        if self.moved
            || self.drive.is_over()
            || (self.wrote && side == Side::Receive)
            || (result.is_ready() && self.is_timer_late(other))
        {
            self.waiters.wake(other);
        }
        result
    }

    /// Tells whether `side` sleeps in another call, for longer than it may by now.
    fn is_timer_late(&self, side: Side) -> bool {
        self.waiters.is_waiting(side)
            && self
                .drive
                .poll_timeout()
                .is_some_and(|deadline| !self.timer.covers(self.clock.runtime_time(deadline)))
    }

    /// Writes what is queued, as far as the stream takes it, unless more input is at hand whose
    /// answers can leave in the same write. Waits for nothing.
    pub(crate) fn push(&mut self, cx: &mut Context<'_>) {
        if self.waits_for_batch() {
            return;
        }
        self.write(cx);
        // A task that only ever sends has its timers run here, and its input read now and then.
        let is_due = self
            .drive
            .poll_timeout()
            .is_some_and(|due| due <= self.drive.written_at());
        let has_turned = is_due || self.drive.has_failed_writing();
        if has_turned {
            let _ = self.poll_turn(cx);
            self.write(cx);
        }
        // This task goes away, and its waker took the place of the other's in the stream: whoever
        // waits for events is to wait for what is left, too.
        if has_turned || self.drive.wants_write() || self.is_timer_late(Side::Receive) {
            self.waiters.wake(Side::Receive);
        }
    }

    /// Tells whether what is queued waits for the answers to input that is at hand.
    pub(crate) fn waits_for_batch(&self) -> bool {
        self.drive.has_buffered_input() && self.connection().buffered_amount() < BATCH_LIMIT
    }

    // ---- commands and looks

    pub(crate) fn connection(&self) -> &Connection {
        self.drive.connection()
    }

    /// Runs a command of the connection, at the present time.
    pub(crate) fn command<T>(&mut self, run: impl FnOnce(&mut Connection, Instant) -> T) -> T {
        let now = self.clock.now();
        self.drive.command(|connection| run(connection, now))
    }

    pub(crate) fn queue(&mut self, message: Message) -> Result<(), SendError> {
        self.drive.command(|connection| connection.send(message))?;
        self.trace.sent();
        Ok(())
    }

    pub(crate) fn queue_part(&mut self, part: Message, last: bool) -> Result<(), SendError> {
        self.drive
            .command(|connection| connection.send_part(part, last))?;
        if last {
            self.trace.sent();
        }
        Ok(())
    }

    pub(crate) fn queue_ping(&mut self, payload: &[u8]) -> Result<(), Error> {
        self.command(|connection, _| connection.ping(payload))
            .map_err(|error| self.send_error(error))
    }

    pub(crate) fn abort(&mut self) {
        self.command(|connection, now| connection.abort(now));
        self.waiters.wake(Side::Receive);
        self.waiters.wake(Side::Send);
    }

    pub(crate) fn set_heartbeat(&mut self, config: HeartbeatConfig) -> Result<(), ConfigError> {
        self.command(|connection, now| connection.set_heartbeat(now, config))?;
        (self.set_patience)(&self.stream, &config);
        // A deadline that moved earlier is to be slept for.
        self.waiters.wake(Side::Receive);
        self.waiters.wake(Side::Send);
        Ok(())
    }

    /// Queues a Close frame, unless the connection is past that.
    pub(crate) fn start_close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error> {
        if !matches!(self.connection().state(), State::Connecting | State::Open) {
            return Ok(());
        }
        self.command(|connection, now| connection.close(now, code, reason))
            .map_err(Error::Send)
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
    pub(crate) fn end_error(&mut self, closed: Box<Closed>) -> Error {
        self.drive.end_error(closed)
    }

    // ---- the loop

    /// Tries each thing once. Pending if nothing moved; then whatever can move next wakes the task.
    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.obey(cx);
        if self.is_deaf {
            self.drop_events();
        }
        if self.read_in_turn >= READ_BUDGET {
            self.read_in_turn = 0;
            self.write(cx);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let turn = self.drive.turn(
            &mut stream(&mut self.stream, &mut self.held, &mut self.trace, cx),
            &self.clock,
        );
        self.trace.tick(self.drive.connection(), &self.clock);
        let read = u32::try_from(turn.read).unwrap_or(u32::MAX);
        self.read_in_turn = self.read_in_turn.saturating_add(read);
        self.moved |= turn.moved;
        self.wrote |= turn.wrote;
        if turn.has_progress() || self.poll_time(cx).is_ready() {
            return Poll::Ready(());
        }
        self.read_in_turn = 0;
        Poll::Pending
    }

    #[inline(always)]
    pub(crate) fn take_event(&mut self) -> Option<Event> {
        if let Some(last) = self.last.take() {
            return Some(*last);
        }
        self.poll_drive()
    }

    /// Every event passes here, once.
    #[inline(always)]
    fn poll_drive(&mut self) -> Option<Event> {
        let event = self.drive.poll_event();
        if let Some(event) = &event {
            self.trace.event(event);
        }
        if let Some(Event::Closed(closed)) = &event
            && let Some(guard) = self.guard.take()
        {
            guard.end(closed);
        }
        event
    }

    /// Does what the server's drain orders.
    fn obey(&mut self, cx: &Context<'_>) {
        let Some(guard) = &self.guard else {
            return;
        };
        let now = self.clock.now();
        match guard.poll_order(cx) {
            Some(Order::Close) => {
                let (code, reason) = guard.close();
                // The drain checked the code; where it is closing already, nothing happens.
                let _ = self.drive.command(|c| c.close(now, code, reason));
            }
            Some(Order::Cut) => self.drive.command(|c| c.abort(now)),
            None => {}
        }
    }

    /// Half-closes the stream if it is time to. Best effort after the last event: whoever holds
    /// the stream drops it next.
    pub(crate) fn half_close(&mut self, cx: &mut Context<'_>) {
        let _ = self.drive.shutdown(&mut stream(
            &mut self.stream,
            &mut self.held,
            &mut self.trace,
            cx,
        ));
    }

    fn drop_events(&mut self) {
        while let Some(event) = self.poll_drive() {
            if matches!(event, Event::Closed(_)) {
                self.last = Some(Box::new(event));
            }
        }
    }

    /// Arms the timer for the next deadline, of which the clock said that it has not come.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.drive.poll_timeout() else {
            return Poll::Pending;
        };
        let runtime_time = self.clock.runtime_time(deadline);
        ready!(self.timer.poll_until(cx, runtime_time));
        self.drive.handle_timeout(self.clock.now().max(deadline));
        self.moved = true;
        Poll::Ready(())
    }

    /// Writes what the stream takes; tells whether it took any.
    fn write(&mut self, cx: &mut Context<'_>) -> bool {
        let wrote = self.drive.write(
            &mut stream(&mut self.stream, &mut self.held, &mut self.trace, cx),
            &self.clock,
        );
        self.wrote |= wrote;
        self.moved |= self.drive.has_failed_writing();
        wrote
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
}

/// A stream and the task that is to be woken when it is ready.
struct Polled<'a, 'b, S> {
    stream: Pin<&'a mut S>,
    held: &'a mut usize,
    trace: &'a mut Trace,
    cx: &'a mut Context<'b>,
}

fn stream<'a, 'b, S: Unpin>(
    stream: &'a mut S,
    held: &'a mut usize,
    trace: &'a mut Trace,
    cx: &'a mut Context<'b>,
) -> Polled<'a, 'b, S> {
    Polled {
        stream: Pin::new(stream),
        held,
        trace,
        cx,
    }
}

impl<S: AsyncWrite> Polled<'_, '_, S> {
    /// Makes one write of everything lent, or of its first chunk where the stream has no better.
    fn write_once(&mut self, transmit: &Transmit<'_>) -> io::Result<usize> {
        if !self.stream.is_write_vectored() {
            return now(self.stream.as_mut().poll_write(self.cx, transmit.first()));
        }
        let (mut stream, cx) = (self.stream.as_mut(), &mut *self.cx);
        now(with_slices(transmit, |slices| match slices {
            [slice] => stream.as_mut().poll_write(cx, slice),
            slices => stream.as_mut().poll_write_vectored(cx, slices),
        }))
    }
}

impl<S: AsyncRead + AsyncWrite> Transport for Polled<'_, '_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        match now(self.stream.as_mut().poll_read(self.cx, &mut buffer)) {
            // TLS that ends without saying so has ended all the same: WebSocket has its own last
            // word, so nothing can be cut off unnoticed.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
            read => read?,
        }
        let count = buffer.filled().len();
        self.trace.read(count);
        Ok(count)
    }

    /// What a stream keeps to itself has not left: TLS takes 64 KiB that the socket does not, and a
    /// ping among them has no clock yet. So it counts as taken when the flush behind it is done.
    fn write(&mut self, transmit: &Transmit<'_>) -> io::Result<usize> {
        if *self.held == 0 {
            *self.held = self.write_once(transmit)?;
        }
        if *self.held > 0 {
            self.flush()?;
        }
        let count = std::mem::take(self.held);
        self.trace.wrote(count.min(transmit.len()));
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        now(self.stream.as_mut().poll_flush(self.cx))
    }

    fn shutdown(&mut self) -> io::Result<()> {
        now(self.stream.as_mut().poll_shutdown(self.cx))
    }

    /// Out of budget, the runtime did not let the stream look.
    fn has_looked(&self) -> bool {
        coop::has_budget_remaining()
    }

    fn has_offered(&self) -> bool {
        coop::has_budget_remaining()
    }
}

fn now<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// Output that does not wait for more to share its write.
const BATCH_LIMIT: usize = 64 * 1024;

/// Bytes read before the task lets others run.
const READ_BUDGET: u32 = 256 << 10;
