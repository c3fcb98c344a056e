//! Runs a connection's drive loop inside `poll_*` calls.
//!
//! All state lives here and not in their callers' futures: a future that is dropped at any await
//! loses no byte and repeats none.

mod commands;
mod polled;

use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use polled::stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::unconstrained;
use wspulse_core::{Cause, Connection, Event, Instant, Message, SendError, State};
use wspulse_drive::{Clock as _, Drive, Turn};

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
    /// Does what depends on more than is known of `S` where it is wanted.
    call: fn(&mut Self, Call) -> Option<io::Error>,
    /// When the oldest of the messages was queued that no write was attempted for.
    fed_at: Instant,
    /// Whether anything moved, or output alone, in the call under way.
    moved: bool,
    wrote: bool,
    /// The stream of messages has ended.
    is_done: bool,
    /// Nobody takes events any more, so they are dropped, all but the last.
    is_deaf: bool,
    /// A message that is sent in parts is not finished.
    is_in_parts: bool,
    /// Messages come through the `Sink`, before which others may hold one more.
    is_sink: bool,
    /// That one more was waited for, after the peer's Close.
    has_yielded: bool,
    /// The kernel watches over the peer, since the inbox is full.
    is_watched: bool,
    // Rare: in a box it costs an idle connection little.
    guard: Option<Box<Guard>>,
    trace: Trace,
}

#[derive(Clone, Copy, Debug)]
enum Call {
    /// Has the socket, if `S` is one or has one, wait for the peer as long as the heartbeat does.
    SetPatience,
    /// Has the kernel watch over the peer, or no longer.
    Watch(bool),
    /// Returns what the socket failed with.
    TakeFailure,
    /// Makes a last attempt to write, when the driver is dropped.
    WriteLast,
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
            call: Self::call,
            fed_at: Instant::MAX,
            moved: false,
            wrote: false,
            is_done: false,
            is_deaf: false,
            is_in_parts: false,
            is_sink: false,
            has_yielded: false,
            is_watched: false,
            guard: None,
        }
    }

    fn call(&mut self, call: Call) -> Option<io::Error> {
        let heartbeat = self.drive.connection().heartbeat();
        match call {
            Call::SetPatience => clock::set_patience(&self.stream, heartbeat),
            Call::Watch(on) => clock::watch(&self.stream, heartbeat, on),
            Call::TakeFailure => return clock::take_failure(&self.stream),
            Call::WriteLast => self.write_last(),
        }
        None
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    // ---- what callers wait for

    /// Waits for the next event; `None` after [`Event::Closed`].
    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.wait(Side::Receive, cx, |driver, cx| {
            driver.tend_at_hand(cx);
            loop {
                if driver.yields_to_sink(cx) {
                    return Poll::Pending;
                }
                if let Some(event) = driver.take_event() {
                    driver.note_taken(&event, cx);
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
            // A message at hand waits for nobody.
            let mut event = None;
            if !self.is_sink && !self.needs_more_than_taking() {
                event = match self.take_event() {
                    Some(Event::Text(text)) => return Poll::Ready(Some(Ok(Message::Text(text)))),
                    Some(Event::Binary(data)) => {
                        return Poll::Ready(Some(Ok(Message::Binary(data))));
                    }
                    event => event,
                };
            }
            let event = match event {
                Some(event) => ready!(self.wait(Side::Receive, cx, |driver, cx| {
                    driver.note_taken(&event, cx);
                    Poll::Ready(Some(event))
                })),
                None => ready!(self.poll_event(cx)),
            };
            let Some(event) = event else {
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

    /// Waits until `queue` has taken the message in `slot`, and then until the stream has (rule
    /// 18). Meanwhile it reads into the inbox.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        slot: &mut Option<Message>,
        mut queue: impl FnMut(&mut Self, Message) -> Result<(), SendError>,
    ) -> Poll<Result<(), Error>> {
        // Straight: there is room, the stream takes all of it at once, and nothing is due.
        if let Some(message) = slot.take() {
            match queue(self, message) {
                Ok(()) => {
                    self.write(cx);
                    let now = self.drive.written_at();
                    if self.has_flushed() && !self.is_due(now) {
                        if self.is_timer_late(Side::Receive) {
                            self.waiters.wake(Side::Receive);
                        }
                        return Poll::Ready(Ok(()));
                    }
                }
                Err(SendError::Full(message) | SendError::NotOpen(message)) => {
                    *slot = Some(message);
                }
                Err(error) => return Poll::Ready(Err(self.send_error(error))),
            }
        }
        self.wait(Side::Send, cx, |driver, cx| {
            ready!(driver.poll_slot(cx, slot, &mut queue))?;
            driver.poll_flushed(cx)
        })
    }

    /// Waits until the message in `slot` is queued.
    pub(crate) fn poll_feed(
        &mut self,
        cx: &mut Context<'_>,
        slot: &mut Option<Message>,
    ) -> Poll<Result<(), Error>> {
        if let Some(message) = slot.take() {
            match self.queue(message) {
                Ok(()) => {
                    let now = self.note_fed();
                    if !self.is_due(now) && !self.is_fed_old(now) {
                        // The other half, if it waits, writes it.
                        self.waiters.wake(Side::Receive);
                        return Poll::Ready(Ok(()));
                    }
                }
                Err(SendError::Full(message) | SendError::NotOpen(message)) => {
                    *slot = Some(message);
                }
                Err(error) => return Poll::Ready(Err(self.send_error(error))),
            }
        }
        self.wait(Side::Send, cx, |driver, cx| {
            ready!(driver.poll_slot(cx, slot, &mut Self::queue))?;
            let now = driver.note_fed();
            if driver.is_fed_old(now) {
                driver.write(cx);
            }
            driver.tend(cx, now);
            Poll::Ready(Ok(()))
        })
    }

    /// Waits until `queue` has taken the message in `slot`.
    fn poll_slot(
        &mut self,
        cx: &mut Context<'_>,
        slot: &mut Option<Message>,
        queue: &mut dyn FnMut(&mut Self, Message) -> Result<(), SendError>,
    ) -> Poll<Result<(), Error>> {
        while let Some(message) = slot.take() {
            match queue(self, message) {
                Ok(()) => break,
                Err(SendError::Full(message)) => *slot = Some(message),
                // Its end is worth waiting for, to tell of it.
                Err(SendError::NotOpen(message)) if self.drive.is_ending_unasked() => {
                    *slot = Some(message);
                }
                Err(error) => return Poll::Ready(Err(self.send_error(error))),
            }
            if !self.write(cx) {
                ready!(self.poll_turn_ahead(cx));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Waits until a message would be taken, or tells why none will be.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.is_sink = true;
        if self.connection().state() == State::Open && self.drive.has_room() {
            let now = self.clock.now();
            if !self.is_due(now) && !self.is_fed_old(now) {
                return Poll::Ready(Ok(()));
            }
        }
        self.wait(Side::Send, cx, |driver, cx| {
            let now = driver.clock.now();
            if driver.is_fed_old(now) {
                driver.write(cx);
            }
            driver.tend(cx, now);
            loop {
                driver.drive.command(Connection::hold_answer);
                let takes_any = driver.connection().takes_messages();
                if takes_any && driver.drive.has_room() {
                    return Poll::Ready(Ok(()));
                }
                if !takes_any && !driver.drive.is_ending_unasked() {
                    return Poll::Ready(driver.drive.sender_error().map_or(Ok(()), Err));
                }
                if !driver.write(cx) {
                    ready!(driver.poll_turn_ahead(cx));
                }
            }
        })
    }

    /// Waits until the stream has taken all output.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.wait(Side::Send, cx, Self::poll_flushed)
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            let wrote = self.write(cx);
            let now = match wrote {
                true => self.drive.written_at(),
                false => self.clock.now(),
            };
            self.tend(cx, now);
            if self.drive.is_flushed()? {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_turn_ahead(cx));
        }
    }

    /// Writes what is queued, as far as the stream takes it, and waits for nothing.
    pub(crate) fn push(&mut self, cx: &mut Context<'_>) {
        let _ = self.wait(Side::Send, cx, |driver, cx| {
            driver.write(cx);
            let now = driver.clock.now();
            driver.tend(cx, now);
            Poll::Ready(())
        });
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
            Err(Error::Closed(closed)) if closed.cause == Cause::Normal => Poll::Ready(Ok(())),
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
        if self.guard.is_some() {
            self.tell_drain();
        }
        let other = side.other();
        if self.moved
            || self.drive.is_over()
            || (self.wrote && side == Side::Receive)
            || (result.is_ready() && self.leaves_something_to(other))
        {
            self.waiters.wake(other);
        }
        result
    }

    /// Tells whether `side`, which waits in another call, has more to wait for now that this call
    /// ends: an earlier deadline, or output that is left.
    fn leaves_something_to(&self, side: Side) -> bool {
        let has_output = side == Side::Receive && self.drive.wants_write();
        self.is_timer_late(side) || (has_output && self.waiters.is_waiting(side))
    }

    /// Tells whether `side` sleeps in another call, for longer than it may by now.
    fn is_timer_late(&self, side: Side) -> bool {
        self.waiters.is_waiting(side)
            && self
                .drive
                .poll_timeout()
                .is_some_and(|deadline| !self.timer.covers(self.clock.runtime_time(deadline)))
    }

    // ---- sending is enough (rule 16), and ok means on its way (rule 18)

    /// Tells whether a call that does not wait for events has more to do than what it was made for.
    #[inline]
    fn is_due(&self, now: Instant) -> bool {
        self.drive.poll_timeout().is_some_and(|due| due <= now)
            || self.drive.is_read_due(now)
            || self.guard.as_ref().is_some_and(|guard| guard.has_order())
    }

    /// Runs what is due: timers, a drain's order, and a read into the inbox.
    fn tend(&mut self, cx: &mut Context<'_>, now: Instant) {
        if self.is_due(now) {
            while self.poll_turn_ahead(cx).is_ready() {}
        }
    }

    /// The same for a call that finds an event at hand, and so would neither write nor read.
    fn tend_at_hand(&mut self, cx: &mut Context<'_>) {
        if !self.drive.has_buffered_input() {
            return;
        }
        let now = self.clock.now();
        if self.is_fed_old(now) {
            self.write(cx);
        }
        self.tend(cx, now);
    }

    /// Tells whether no event is at hand, or more is to be done than to take it.
    #[inline]
    fn needs_more_than_taking(&self) -> bool {
        if !self.drive.has_buffered_input() {
            return true;
        }
        let now = self.clock.now();
        self.is_due(now) || self.is_fed_old(now)
    }

    /// A message was queued for a later call to write. Returns the time.
    #[inline]
    fn note_fed(&mut self) -> Instant {
        let now = self.clock.now();
        self.fed_at = self.fed_at.min(now);
        now
    }

    /// Notes what `start_send` queued, which has nobody to write for it.
    pub(crate) fn queue_fed(&mut self, message: Message) -> Result<(), Error> {
        self.queue(message)
            .map_err(|error| self.send_error(error))?;
        self.note_fed();
        self.waiters.wake(Side::Receive);
        Ok(())
    }

    #[inline]
    fn is_fed_old(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.fed_at) >= MAX_FED_AGE
    }

    /// Tells whether the peer's Close has come while a combinator in front of the `Sink` may hold
    /// a message that it was ready for. The answer waits for one more poll of the task, in which
    /// that message can be sent.
    fn yields_to_sink(&mut self, cx: &Context<'_>) -> bool {
        if !self.is_sink || self.has_yielded {
            return false;
        }
        self.drive.hand_over();
        if !self.drive.is_ending_unasked() || self.drive.has_waiting_message() {
            return false;
        }
        self.has_yielded = true;
        self.drive.command(Connection::hold_answer);
        cx.waker().wake_by_ref();
        true
    }

    // ---- the loop

    /// Tries each thing once. Pending if nothing moved; then whatever can move next wakes the task.
    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.turn(cx, |drive, transport, clock| drive.turn(transport, clock))
    }

    /// The same where nobody takes events: they go into the inbox.
    pub(crate) fn poll_turn_ahead(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_deaf {
            return self.poll_turn(cx);
        }
        self.turn(cx, |drive, transport, clock| {
            drive.turn_ahead(transport, clock)
        })
    }

    fn turn(
        &mut self,
        cx: &mut Context<'_>,
        turn: impl FnOnce(&mut Drive, &mut polled::Polled<'_, '_, S>, &Clock) -> Turn,
    ) -> Poll<()> {
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
        let turn = turn(
            &mut self.drive,
            &mut stream(&mut self.stream, &mut self.held, &mut self.trace, cx),
            &self.clock,
        );
        self.trace.tick(self.drive.connection(), &self.clock);
        let read = u32::try_from(turn.read).unwrap_or(u32::MAX);
        self.read_in_turn = self.read_in_turn.saturating_add(read);
        self.moved |= turn.moved;
        self.wrote |= turn.wrote;
        if turn.wrote || !self.drive.wants_write() {
            self.fed_at = Instant::MAX;
        }
        if self.drive.is_inbox_full() != self.is_watched {
            self.watch();
        }
        if turn.has_progress() || self.poll_time(cx).is_ready() {
            return Poll::Ready(());
        }
        self.read_in_turn = 0;
        if self.is_watched {
            return self.poll_failure(cx);
        }
        Poll::Pending
    }

    /// Has the kernel watch over the peer while the inbox is full, and no longer.
    fn watch(&mut self) {
        self.is_watched = self.drive.is_inbox_full();
        (self.call)(self, Call::Watch(self.is_watched));
    }

    /// Looks whether the socket failed while nobody reads it, and arms the timer for the next look.
    // A readiness of the runtime is reset by reading alone, so it cannot be waited for here.
    fn poll_failure(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.clock.now();
        if let Some(error) = (self.call)(self, Call::TakeFailure) {
            self.drive.handle_failure(now, error);
            self.moved = true;
            return Poll::Ready(());
        }
        let next = self
            .clock
            .runtime_time(now.saturating_add(LOOK_FOR_FAILURE));
        // Ready would be a clock that jumps: the next poll looks again.
        if self.timer.poll_until(cx, next).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    #[inline(always)]
    pub(crate) fn take_event(&mut self) -> Option<Event> {
        // As of the last turn, which is when the side that sends went to sleep.
        let was_full = self.is_watched;
        let event = self.drive.poll_event();
        if was_full {
            // Reading goes on, and the side that sends may be the one that does it.
            self.waiters.wake(Side::Send);
        }
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

    /// One attempt for a driver that is dropped: neither the runtime's budget nor another task keeps
    /// it from being made.
    fn write_last(&mut self) {
        let has_opened = self.connection().state() != State::Connecting;
        if !has_opened || !self.drive.wants_write() || std::thread::panicking() {
            return;
        }
        let attempt = unconstrained(std::future::poll_fn(|cx| {
            self.write(cx);
            Poll::Ready(())
        }));
        let _ = pin!(attempt).poll(&mut Context::from_waker(Waker::noop()));
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
                // The drain checked the code; where it is closing already, nothing happens. The
                // application did not ask for it, and is told of it where it sends.
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

    /// Drops the events at hand, all but the last one of the connection.
    fn drop_events(&mut self) {
        while self.drive.closed().is_none()
            && let Some(event) = self.take_event()
        {
            if matches!(event, Event::Closed(_)) {
                self.drive.put_back(event);
            }
        }
    }

    /// An event other than a message is news for the other side too: it may wait for room, and there
    /// may be none to wait for.
    fn note_taken(&mut self, event: &Event, cx: &mut Context<'_>) {
        self.moved |= !matches!(event, Event::Text(_) | Event::Binary(_));
        self.half_close(cx);
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
        self.fed_at = Instant::MAX;
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
    /// Tells the drain of an end, also of one that nobody has taken yet.
    fn tell_drain(&mut self) {
        if let Some(closed) = self.drive.closed()
            && let Some(guard) = self.guard.take()
        {
            guard.end(closed);
        }
    }
}

/// What was queued leaves if the stream takes it now.
impl<S> Drop for Driver<S> {
    fn drop(&mut self) {
        self.tell_drain();
        (self.call)(self, Call::WriteLast);
        // The kernel goes on alone, and is not to keep what nobody acknowledges.
        if self.drive.closed().is_none_or(|closed| !closed.clean) {
            (self.call)(self, Call::Watch(true));
        }
    }
}

/// How old a message that was fed gets before any call writes it.
const MAX_FED_AGE: Duration = Duration::from_millis(1);

/// How often a socket is asked whether it failed, while nobody reads it.
const LOOK_FOR_FAILURE: Duration = Duration::from_millis(250);

/// Bytes read before the task lets others run.
const READ_BUDGET: u32 = 256 << 10;
