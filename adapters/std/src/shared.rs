//! Runs a connection's drive loop in the threads that call it.
//!
//! One lock guards the connection, and is never held across a read or write that waits. A thread
//! that wants to read, or to write where that may take a while, says so under the lock, does it
//! without, and reports under the lock how it ended; so at most one thread reads and one writes, and
//! bytes keep their order. A thread that finds another one writing leaves its output to it: that
//! one looks again under the same lock before it goes, so what was left is never forgotten.
//!
//! Every call does besides what is due for the connection ([`Shared::tend`], rule 16).

mod output;

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant as SystemInstant};

use wspulse_core::handshake::Response;
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Closed, ConfigError, Connection, Event, Instant, Message, SendError};
use wspulse_drive::{Clock as _, Drive, Outcome, READ_SIZE, SystemClock, with_buffer};

use crate::Error;
use crate::bell::Bell;
use crate::patience::{Pace, Remembered, SHORTEST};
use crate::socket::Socket;
use crate::state::State;
use crate::stream::Stream;

/// A connection and its stream, for the threads that use them.
pub(crate) struct Shared<S: Stream + ?Sized> {
    state: Mutex<State>,
    /// A thread has finished at the stream, or something happened to the connection.
    changed: Bell,
    clock: SystemClock,
    read_timeout: Remembered,
    write_timeout: Remembered,
    pub(crate) response: Option<Box<Response>>,
    /// At the end, so that its type can be left open.
    stream: S,
}

type Guard<'a> = MutexGuard<'a, State>;

/// What came of an attempt to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrote {
    /// Nothing was to be written, or nothing is left of it.
    All,
    /// The stream takes no more now; one that can only wait has been waited for.
    Blocked,
    /// Another thread does the writing.
    Elsewhere,
}

impl<S: Stream> Shared<S> {
    pub(crate) fn new(stream: S, state: State, clock: SystemClock) -> Self {
        Self {
            state: Mutex::new(state),
            changed: Bell::default(),
            clock,
            read_timeout: Remembered::default(),
            write_timeout: Remembered::default(),
            response: None,
            stream,
        }
    }
}

impl<S: Stream + ?Sized> Shared<S> {
    // ---- what callers wait for

    /// Waits for the next event; `None` after [`Event::Closed`]. `Err` when `until` has come.
    pub(crate) fn next_event(&self, until: Option<SystemInstant>) -> Result<Option<Event>, Late> {
        let mut take = |state: &mut State| match state.drive.poll_event() {
            None if state.drive.closed().is_some() => Some(None),
            None => None,
            event => Some(event),
        };
        let state = self.tend(self.lock());
        self.run(state, until, &mut take)
    }

    /// Takes an event that lies in the inbox, for a thread that neither waits nor reads. At the end
    /// the thread that does takes them all.
    pub(crate) fn take_event(&self) -> Option<Event> {
        let mut state = self.lock();
        if state.drive.is_over() || state.drive.inbox_len() == 0 {
            return None;
        }
        let was_full = state.drive.is_inbox_full();
        let event = state.drive.poll_event();
        if was_full {
            self.changed.ring();
        }
        event
    }

    /// Waits until `queue` takes the message, and sees it off as `departure` says.
    pub(crate) fn queue(
        &self,
        message: Message,
        departure: Departure,
        mut queue: impl FnMut(&mut Connection, Message) -> Result<(), SendError>,
    ) -> Result<(), Error> {
        let mut slot = Some(message);
        let mut attempt = |state: &mut State| {
            let message = slot.take()?;
            state.is_drained = false;
            match state.drive.command(|c| queue(c, message)) {
                Ok(()) => Some(Ok(())),
                Err(SendError::Full(message)) if !state.drive.has_failed_writing() => {
                    slot = Some(message);
                    None
                }
                // How it ends is known soon, and said then.
                Err(SendError::NotOpen(message)) if state.drive.is_ending_unasked() => {
                    slot = Some(message);
                    None
                }
                Err(error) => Some(Err(state.drive.send_error(error))),
            }
        };
        let mut state = self.lock();
        match attempt(&mut state) {
            Some(queued) => queued?,
            None => {
                self.run_flushing(state, &mut attempt)?;
                state = self.lock();
            }
        }
        if departure == Departure::Now {
            let state = self.tend(state);
            return self.run_flushing(state, &mut flushed);
        }
        let now = self.clock.now();
        // A thread that waits in a read cannot be woken to write.
        let is_lonely = departure == Departure::Soon && state.is_reading;
        if is_lonely || state.is_tending_due(now) {
            state = self.tend_at(state, now);
        }
        drop(state);
        self.changed.ring();
        Ok(())
    }

    /// Waits until the stream has taken all output.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        let mut state = self.tend(self.lock());
        if state.drive.is_over() {
            return state.drive.is_flushed().map(drop);
        }
        self.run_flushing(state, &mut flushed)
    }

    /// Runs the connection until `done` says what came of it.
    pub(crate) fn run_until<T>(&self, mut done: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        self.run(self.lock(), None, &mut done).ok()
    }

    /// Waits for the end, and drops whatever comes before it.
    pub(crate) fn drain(&self) -> Option<Closed> {
        self.run_until(|state| {
            while state.drive.poll_event().is_some() {}
            state.drive.closed().cloned()
        })
    }

    // ---- what every call does

    /// Does what is due whatever the call is for (rule 16): runs timers, takes what has come, and
    /// writes what has waited for company long enough.
    fn tend<'s>(&'s self, state: Guard<'s>) -> Guard<'s> {
        let now = self.clock.now();
        if state.is_tending_due(now) {
            self.tend_at(state, now)
        } else {
            state
        }
    }

    #[inline(never)]
    fn tend_at<'s>(&'s self, mut state: Guard<'s>, now: Instant) -> Guard<'s> {
        let is_late = state.is_timeout_due(now);
        if is_late || state.is_look_due(now) {
            // What came before the deadline counts before it. A late read moves the deadline to the
            // time at which it began.
            state = self.read_on(state, now);
            let now = self.clock.now();
            if state.handle_timeout(now) == Outcome::Progress {
                state = self.read_on(state, now);
            }
        }
        if state.wants_write() {
            // Output that waits for room has nobody else to look for it.
            state.owes_try |= state.is_full;
            (state, _) = self.write(Task::Other, state, SHORTEST);
        }
        self.settle(state)
    }

    /// Takes what has come, as far as the inbox has room, without waiting.
    fn read_on<'s>(&'s self, mut state: Guard<'s>, now: Instant) -> Guard<'s> {
        state.looked_at = state.looked_at.max(now);
        for _ in 0..MAX_READS {
            state.collect();
            if !state.drive.wants_read() || state.is_reading {
                break;
            }
            let count;
            (state, count) = self.read(state, Some(Duration::ZERO));
            if count.is_none_or(|count| count < READ_SIZE) {
                break;
            }
        }
        state.collect();
        if state.drive.has_failed_writing() {
            state = self.read_last(state, now);
        } else if state.drive.is_inbox_full() && !state.is_reading {
            self.look_for_hang_up(&mut state);
        }
        state
    }

    /// Takes the peer's last words after a failed write, as far as they are there and the inbox has
    /// room, and ends the connection. A thread that reads does so itself.
    fn read_last<'s>(&'s self, mut state: Guard<'s>, now: Instant) -> Guard<'s> {
        for _ in 0..MAX_LAST_READS {
            state.collect();
            if state.is_reading || state.drive.is_over() {
                return state;
            }
            if !state.drive.wants_read() {
                break;
            }
            (state, _) = self.read(state, Some(Duration::ZERO));
        }
        state.handle_failure(now, io::ErrorKind::BrokenPipe.into());
        state
    }

    /// While nobody reads, a peer that is gone is noticed by what the socket says without a read.
    fn look_for_hang_up(&self, state: &mut State) {
        if let Some(socket) = Socket::of(&self.stream)
            && let Some(error) = socket.hang_up()
        {
            state.handle_failure(self.clock.now(), error);
        }
    }

    // ---- commands and looks

    /// Runs a command of the connection, at the present time.
    pub(crate) fn command<T>(&self, run: impl FnOnce(&mut Drive, Instant) -> T) -> T {
        let now = self.clock.now();
        let mut state = self.lock();
        state.is_drained = false;
        let result = run(&mut state.drive, now);
        drop(self.settle(state));
        result
    }

    /// The machine slept or the network changed: a fresh ping leaves, and has the whole timeout.
    pub(crate) fn handle_resumed(&self) {
        let now = self.clock.now();
        let mut state = self.lock();
        state.is_drained = false;
        state.drive.command(|c| c.handle_resumed(now));
        drop(self.tend_at(state, now));
        self.changed.ring();
    }

    pub(crate) fn set_heartbeat(&self, config: HeartbeatConfig) -> Result<(), ConfigError> {
        let now = self.clock.now();
        let mut state = self.lock();
        state.is_drained = false;
        state.set_heartbeat(now, config)?;
        self.stream.set_patience(&config);
        drop(self.settle(state));
        Ok(())
    }

    /// Looks at the connection.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&mut State, Instant) -> T) -> T {
        look(&mut self.lock(), self.clock.now())
    }

    pub(crate) fn stream(&self) -> &S {
        &self.stream
    }

    // ---- the loop

    /// Runs the connection until `done` says what came of it, and sees to all output until then.
    fn run_flushing<T>(
        &self,
        mut state: Guard<'_>,
        done: &mut dyn FnMut(&mut State) -> Option<Result<T, Error>>,
    ) -> Result<T, Error> {
        state.flushers += 1;
        // It leaves under the lock that `done` was asked under: who queues more after that finds
        // nobody here, and sees to it.
        let mut leave = |state: &mut State| {
            let result = done(state)?;
            state.flushers -= 1;
            Some(result)
        };
        let ran = self.run_as(Task::Flush, state, None, &mut leave);
        ran.unwrap_or(Err(Error::NotOpen))
    }

    /// Runs the connection until `done` says what came of it, or until the time has come.
    fn run<T>(
        &self,
        state: Guard<'_>,
        until: Option<SystemInstant>,
        done: &mut dyn FnMut(&mut State) -> Option<T>,
    ) -> Result<T, Late> {
        self.run_as(Task::Other, state, until, done)
    }

    fn run_as<'s, T>(
        &'s self,
        task: Task,
        mut state: Guard<'s>,
        until: Option<SystemInstant>,
        done: &mut dyn FnMut(&mut State) -> Option<T>,
    ) -> Result<T, Late> {
        let mut pace = Pace::default();
        let mut has_waited = false;
        loop {
            if state.drive.has_failed_writing() && !state.drive.is_over() {
                let now = self.clock.now();
                state = self.read_last(state, now);
            }
            if let Some(result) = done(&mut state) {
                drop(self.settle(state));
                return Ok(result);
            }
            if has_waited && until.is_some_and(|until| until <= SystemInstant::now()) {
                return Err(Late);
            }
            let has_collected = state.collect();
            state = self.settle(state);
            // What is at hand comes first, so that its answers share a write.
            if has_collected || state.drive.hand_over() {
                self.changed.ring();
                continue;
            }
            let now = self.clock.now();
            if state.is_timeout_due(now) {
                // What came before the deadline counts before it. A late read moves the deadline to
                // the time at which it began.
                state = self.read_on(state, now);
                let now = self.clock.now();
                state.handle_timeout(now);
                // The read alone may have ended the connection, and is to be told.
                self.changed.ring();
                continue;
            }
            let mut wrote = Wrote::All;
            if state.wants_write() {
                (state, wrote) = self.write(task, state, pace.slice());
                if wrote == Wrote::All {
                    pace.hasten();
                    continue;
                }
            }
            has_waited = true;
            state = self.wait(task, state, wrote, until, &mut pace);
            if pace.is_spinning(self.clock.now().saturating_duration_since(now)) {
                drop(state);
                thread::sleep(pace.slice());
                state = self.lock();
            }
        }
    }

    /// Waits for input, for the other thread, or for the time; not for long while output is left.
    fn wait<'s>(
        &'s self,
        task: Task,
        mut state: Guard<'s>,
        wrote: Wrote,
        until: Option<SystemInstant>,
        pace: &mut Pace,
    ) -> Guard<'s> {
        let until_due = state.drive.poll_timeout().map(|due| self.clock.until(due));
        let until_late = until.map(|until| until.saturating_duration_since(SystemInstant::now()));
        let mut limit = earlier(until_due, until_late);
        // Time that has passed is judged by the next look, not by one that waits (rule 6).
        let may_look = state.drive.wants_read() && !state.is_reading;
        let look = (may_look && state.owes_look()).then_some(Duration::ZERO);
        // Output that another thread is at may be gone at any moment.
        let waits_for_token = wrote == Wrote::Elsewhere && task == Task::Flush;
        if wrote == Wrote::Blocked
            && let Some(socket) = Socket::of(&self.stream)
        {
            let has_input;
            (state, has_input) = self.wait_for_room(socket, state, earlier(limit, look), pace);
            if !has_input {
                return state;
            }
            limit = Some(Duration::ZERO);
        } else if !state.drive.wants_read() || state.is_reading || waits_for_token {
            if wrote == Wrote::Blocked {
                // The write has waited already.
                pace.slacken();
                return state;
            }
            if state.drive.is_inbox_full() && !state.is_reading {
                self.look_for_hang_up(&mut state);
                if state.drive.is_over() {
                    return state;
                }
            }
            let limit = earlier(limit, Some(NAP));
            return self.changed.wait(state, limit);
        } else if wrote == Wrote::Blocked {
            limit = earlier(limit, Some(pace.slice()));
        } else if state.is_split {
            // The other thread may move the deadline, and has no way to say so.
            limit = earlier(limit, Some(NAP));
        }
        limit = earlier(limit, look);
        // A peer that sends as much as we do makes room when it is read.
        let mut reads = if wrote == Wrote::Blocked {
            MAX_READS
        } else {
            1
        };
        loop {
            let count;
            (state, count) = self.read(state, limit);
            reads -= 1;
            match count {
                None => pace.slacken(),
                Some(_) => pace.hasten(),
            }
            let may_have_more = count.is_some_and(|count| count >= READ_SIZE);
            if reads == 0 || !may_have_more || !state.drive.wants_read() || state.is_reading {
                return state;
            }
        }
    }

    // ---- at the stream

    /// Reads once, and hands over what came. Returns how much that was, nothing if the time passed.
    fn read<'s>(
        &'s self,
        mut state: Guard<'s>,
        timeout: Option<Duration>,
    ) -> (Guard<'s>, Option<usize>) {
        state.is_reading = true;
        drop(state);
        with_buffer(|buffer| {
            // A read that finds nothing speaks for the time at which it began (rule 6).
            let began = self.clock.now();
            let read = match Socket::of(&self.stream) {
                Some(socket) if timeout == Some(Duration::ZERO) => socket.read(buffer),
                _ => self.read_within(buffer, timeout),
            };
            let bytes = read.and_then(|count| {
                buffer
                    .get(..count)
                    .ok_or_else(|| io::Error::other("the stream read more than there was room for"))
            });
            let count = bytes.as_ref().map_or(0, |bytes| bytes.len());
            let ended = self.clock.now();
            let mut state = self.wait_for_report(self.lock());
            state.is_reading = false;
            let outcome = state.handle_read(began, ended, bytes);
            self.changed.ring();
            (state, (outcome != Outcome::Blocked).then_some(count))
        })
    }

    /// Waits for the report of a write that may have left before what was just read came: the peer's
    /// answer to our Close frame is no answer before the Close frame is known to have left.
    fn wait_for_report<'s>(&'s self, mut state: Guard<'s>) -> Guard<'s> {
        if !state.is_in_write {
            return state;
        }
        // A socket's write does not wait. Any other stream's may, and longer than it was told to.
        let is_socket = Socket::of(&self.stream).is_some();
        let deadline = SystemInstant::now() + LONGEST_WRITE;
        while state.is_in_write {
            let left = deadline.saturating_duration_since(SystemInstant::now());
            if left.is_zero() && !is_socket {
                break;
            }
            state = self.changed.wait(state, Some(left.max(SHORTEST)));
        }
        state
    }

    fn read_within(&self, buffer: &mut [u8], timeout: Option<Duration>) -> io::Result<usize> {
        let read = self
            .read_timeout
            .set(timeout, |timeout| self.stream.set_read_timeout(timeout))
            .and_then(|()| self.stream.read(buffer));
        self.read_timeout.note_idle(read.is_err());
        read
    }

    /// Lets go of the stream when the connection is over, so that nobody waits for it any more.
    /// While the inbox is full, the kernel watches over the peer.
    fn settle<'s>(&'s self, mut state: Guard<'s>) -> Guard<'s> {
        if let Some(is_unread) = state.watch_changed() {
            self.stream.watch(state.heartbeat(), is_unread);
        }
        if !state.drive.is_over() || state.is_hung_up {
            return state;
        }
        state.is_hung_up = true;
        let mut goodbye = Vec::new();
        if !state.is_shut && !state.is_writing {
            state.say_goodbye();
            state.lend().append_to(&mut goodbye);
        }
        state.is_shut = true;
        drop(state);
        if !goodbye.is_empty() {
            // The connection has said its own last word.
            self.say(&goodbye);
        }
        let _ = self.stream.shutdown(Shutdown::Both);
        self.changed.ring();
        self.lock()
    }
}

impl<S: Stream + ?Sized> Shared<S> {
    /// A stream that panicked leaves a connection that says what became of it.
    fn lock(&self) -> Guard<'_> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody takes events any more.
    pub(crate) fn be_deaf(&self) {
        self.lock().is_deaf = true;
        self.changed.ring();
    }

    /// Wakes a thread that waits for what another one does.
    pub(crate) fn nudge(&self) {
        // Under the lock it is either before that thread looked, or after it began to wait.
        let _state = self.lock();
        self.changed.ring();
    }
}

/// One last attempt at what is queued, which does not wait.
impl<S: Stream + ?Sized> Drop for Shared<S> {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        // The kernel goes on alone, and is not to keep what nobody acknowledges.
        if state.drive.closed().is_none_or(|closed| !closed.clean) {
            self.stream.watch(state.heartbeat(), true);
        }
        if state.is_hung_up || state.drive.is_over() || thread::panicking() {
            return;
        }
        let mut output = Vec::new();
        while state.wants_write() {
            output.clear();
            state.lend().append_to(&mut output);
            let now = self.clock.now();
            let written = match Socket::of(&self.stream) {
                _ if output.is_empty() => return,
                Some(socket) => socket.write(&[IoSlice::new(&output)]),
                None => self
                    .stream
                    .set_write_timeout(Some(SHORTEST))
                    .and_then(|()| self.stream.write(&output)),
            };
            let is_whole = matches!(written, Ok(count) if count >= output.len());
            state.handle_write(now, now, written);
            if !is_whole {
                return;
            }
        }
    }
}

/// When what was queued is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Departure {
    /// At once, and the caller waits until the stream has taken it.
    Now,
    /// With others, unless another thread waits for input and would leave it lying.
    Soon,
    /// With others, and with the flush that follows.
    Flushed,
}

/// What a thread is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    /// To see to all output until it has left.
    Flush,
    /// Something else; it writes what nobody else does.
    Other,
}

/// The time that a caller allows has passed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Late;

fn flushed(state: &mut State) -> Option<Result<(), Error>> {
    if state.drive.is_over() && state.is_drained {
        return Some(Ok(()));
    }
    match state.drive.is_flushed() {
        Ok(true) => Some(Ok(())),
        Ok(false) => None,
        Err(error) => Some(Err(error)),
    }
}

fn earlier(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Reads in a row while output waits.
const MAX_READS: u32 = 16;

/// Reads in a row after a failed write: enough for what a socket's receive buffer holds.
const MAX_LAST_READS: u32 = 256;

/// No write without the lock takes longer.
const LONGEST_WRITE: Duration = Duration::from_millis(50);

/// How long a thread waits while another one may change what it waits for.
const NAP: Duration = Duration::from_millis(250);

/// An idle connection is this, and its socket.
const _: () = assert!(size_of::<Shared<std::net::TcpStream>>() <= 512);
