//! Runs a connection's drive loop in the threads that call it.
//!
//! One lock guards the connection, and nobody holds it while he waits. Who wants to read, or to
//! write where that may take a while, says so under the lock, does it without, and comes back to
//! say how it ended; so at most one thread reads and one writes, and bytes keep their order. Who
//! finds another thread at it leaves its output there: that thread looks again under the same lock
//! before it goes, so what was left is never forgotten.

mod output;

use std::io;
use std::net::Shutdown;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant as SystemInstant};

use wspulse_core::handshake::Response;
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Closed, ConfigError, Connection, Event, Instant, Message, SendError};
use wspulse_drive::{Clock as _, Outcome, READ_SIZE, SystemClock, with_buffer};

use crate::Error;
use crate::bell::Bell;
use crate::patience::{Pace, Remembered};
use crate::socket::Socket;
use crate::state::State;
use crate::stream::Stream;

/// A connection and its stream, for the threads that use them.
pub(crate) struct Shared<S: ?Sized> {
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
        self.run(self.lock(), until, &mut take)
    }

    /// Waits until `queue` takes the message.
    pub(crate) fn queue(
        &self,
        message: Message,
        mut queue: impl FnMut(&mut Connection, Message) -> Result<(), SendError>,
    ) -> Result<(), Error> {
        let mut slot = Some(message);
        let mut attempt = |state: &mut State| {
            let message = slot.take()?;
            state.is_drained = false;
            match state.drive.command(|c| queue(c, message)) {
                Ok(()) => Some(Ok(())),
                // A stream that takes nothing any more makes no room either.
                Err(SendError::Full(message)) if state.drive.has_failed_writing() => {
                    let error = SendError::NotOpen(message);
                    Some(Err(state.drive.send_error(error)))
                }
                Err(SendError::Full(message)) => {
                    slot = Some(message);
                    None
                }
                Err(error) => Some(Err(state.drive.send_error(error))),
            }
        };
        let mut state = self.lock();
        if let Some(result) = attempt(&mut state) {
            return result;
        }
        self.run_flushing(state, &mut attempt)
    }

    /// Sees off what is queued, unless more input is at hand whose answers can leave in the same
    /// write.
    pub(crate) fn push(&self) -> Result<(), Error> {
        let state = self.lock();
        let amount = state.drive.connection().buffered_amount();
        // With two threads nobody knows whether anybody will take that input.
        if !state.is_split && state.drive.has_buffered_input() && amount < BATCH_LIMIT {
            return Ok(());
        }
        self.run_flushing(state, &mut flushed)?;
        self.keep_time();
        Ok(())
    }

    /// Waits until the stream has taken all output.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        let mut state = self.lock();
        if state.drive.is_over() {
            return state.drive.is_flushed().map(|_| ());
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

    /// A thread that only ever sends has its timers run here, and its input read now and then.
    fn keep_time(&self) {
        let now = self.clock.now();
        let mut state = self.lock();
        let is_due = state.drive.poll_timeout().is_some_and(|due| due <= now);
        if !is_due && !state.owes_look && !state.drive.has_failed_writing() {
            return;
        }
        if state.drive.wants_read() && !state.is_reading {
            (state, _) = self.read(state, Some(Duration::ZERO));
        }
        state.handle_timeout(self.clock.now());
        (state, _) = self.write(Task::Other, state, Pace::default().slice());
        drop(self.settle(state));
    }

    // ---- commands and looks

    /// Runs a command of the connection, at the present time.
    pub(crate) fn command<T>(&self, run: impl FnOnce(&mut Connection, Instant) -> T) -> T {
        let now = self.clock.now();
        let mut state = self.lock();
        state.is_drained = false;
        let result = state.drive.command(|connection| run(connection, now));
        drop(self.settle(state));
        result
    }

    pub(crate) fn set_heartbeat(&self, config: HeartbeatConfig) -> Result<(), ConfigError> {
        self.command(|connection, now| connection.set_heartbeat(now, config))?;
        self.stream.set_patience(&config);
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
            if let Some(result) = done(&mut state) {
                drop(self.settle(state));
                return Ok(result);
            }
            if has_waited && until.is_some_and(|until| until <= SystemInstant::now()) {
                return Err(Late);
            }
            if state.is_deaf {
                while state.drive.poll_event().is_some() {}
            }
            state = self.settle(state);
            // What is at hand comes first, so that its answers share a write.
            let now = self.clock.now();
            if state.drive.hand_over() || state.handle_timeout(now) == Outcome::Progress {
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
        // Output that another thread is at may be gone at any moment.
        let waits_for_token = wrote == Wrote::Elsewhere && task == Task::Flush;
        if wrote == Wrote::Blocked
            && let Some(socket) = Socket::of(&self.stream)
        {
            let has_input;
            (state, has_input) = self.wait_for_room(socket, state, limit, pace);
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
            let limit = earlier(limit, Some(NAP));
            return self.changed.wait(state, limit);
        } else if state.drive.has_failed_writing() {
            // Only the peer's last words are left to read, if there are any.
            limit = Some(Duration::ZERO);
        } else if wrote == Wrote::Blocked {
            limit = earlier(limit, Some(pace.slice()));
        } else if state.is_split {
            // The other thread may move the deadline, and has no way to say so.
            limit = earlier(limit, Some(NAP));
        }
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
        state.owes_look = false;
        drop(state);
        with_buffer(|buffer| {
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
            let mut state = self.lock();
            state.is_reading = false;
            let outcome = state.handle_read(self.clock.now(), bytes);
            self.changed.ring();
            (state, (outcome != Outcome::Blocked).then_some(count))
        })
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
    fn settle<'s>(&'s self, mut state: Guard<'s>) -> Guard<'s> {
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

impl<S: ?Sized> Shared<S> {
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
        // Somebody else was told why.
        Ok(true) if state.drive.has_failed_writing() => Some(Err(Error::NotOpen)),
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

/// Output that does not wait for more to share its write.
const BATCH_LIMIT: usize = 64 * 1024;

/// Reads in a row while output waits.
const MAX_READS: u32 = 16;

/// How long a thread waits while another one may change what it waits for.
const NAP: Duration = Duration::from_millis(250);

/// An idle connection is this, and its socket.
const _: () = assert!(size_of::<Shared<std::net::TcpStream>>() <= 512);
