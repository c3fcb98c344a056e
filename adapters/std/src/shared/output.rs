//! Writing, and waiting until there is room to.
//!
//! A socket is tried without waiting, and waited for in both directions at once. Any other stream
//! can only wait by itself, and for one direction at a time: where its output is blocked and input
//! is wanted too, it waits for both in turn, the write for a slice of time here, then the read for
//! as much.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::time::Duration;

use wspulse_core::Instant;
use wspulse_drive::{Clock as _, Outcome};

use super::{Guard, NAP, Shared, Task, Wrote, earlier};
use crate::patience::{Pace, SHORTEST};
use crate::scratch;
use crate::socket::Socket;
use crate::state::State;
use crate::stream::Stream;

/// What came of one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    /// There was nothing to write.
    Idle,
    /// The stream took something, or failed.
    Moved,
    /// The stream takes no more now.
    Blocked,
}

impl<S: Stream + ?Sized> Shared<S> {
    /// Writes until nothing is left, or the stream takes no more: a socket at once, others within
    /// `slice`. Half-closes it when it is time to.
    pub(super) fn write<'s>(
        &'s self,
        task: Task,
        mut state: Guard<'s>,
        slice: Duration,
    ) -> (Guard<'s>, Wrote) {
        // Who sees to all output waits for room too. Meanwhile anybody may look for it when that is
        // due, which is sooner than to wake him.
        let is_left = state.flushers > 0 && task != Task::Flush;
        let may_try = !is_left || state.owes_try;
        if state.is_writing || !may_try {
            return (state, Wrote::Elsewhere);
        }
        state.is_writing = true;
        let (mut state, wrote) = self.write_all(state, slice);
        state.is_writing = false;
        self.changed.ring();
        if is_left && wrote == Wrote::Blocked {
            return (state, Wrote::Elsewhere);
        }
        (state, wrote)
    }

    fn write_all<'s>(&'s self, mut state: Guard<'s>, mut slice: Duration) -> (Guard<'s>, Wrote) {
        loop {
            let attempt;
            (state, attempt) = self.write_once(state, slice);
            match attempt {
                // Rule 5 goes by when the stream stopped taking bytes, so that is noticed soon.
                Attempt::Moved => slice = SHORTEST,
                Attempt::Blocked => return (state, Wrote::Blocked),
                Attempt::Idle if state.is_shut || !state.drive.wants_shutdown() => {
                    let wrote = if state.wants_write() {
                        Wrote::Elsewhere
                    } else {
                        Wrote::All
                    };
                    return (state, wrote);
                }
                Attempt::Idle => {
                    if state.say_goodbye() {
                        return (self.half_close(state), Wrote::All);
                    }
                }
            }
        }
    }

    /// Writes what is lent, once.
    fn write_once<'s>(&'s self, mut state: Guard<'s>, slice: Duration) -> (Guard<'s>, Attempt) {
        let socket = Socket::of(&self.stream);
        let is_split = state.is_split;
        if let Some(socket) = socket
            && self.is_still_full(socket, &mut state)
        {
            return (state, Attempt::Blocked);
        }
        let lent = state.lend();
        let len = lent.len();
        if len == 0 {
            return (state, Attempt::Idle);
        }
        let (began, ended, written);
        match socket {
            // What does not wait may be done under the lock, where nobody else wants it: nothing
            // has to be copied.
            Some(socket) if !is_split => {
                began = self.clock.now();
                written = lent.with_slices(|slices| socket.write(slices));
                ended = self.clock.now();
            }
            socket => (state, began, ended, written) = self.write_copied(socket, state, slice),
        }
        let is_part = matches!(written, Ok(count) if count < len);
        // A stream that takes little at a time has not been waited for.
        let is_spent = ended.saturating_duration_since(began) >= slice / 2;
        let outcome = state.handle_write(began, ended, written);
        if outcome != Outcome::Blocked && !(is_part && (socket.is_some() || is_spent)) {
            return (state, Attempt::Moved);
        }
        state.is_full = socket.is_some();
        (state, Attempt::Blocked)
    }

    /// Writes a copy of what is lent, without the lock.
    fn write_copied<'s>(
        &'s self,
        socket: Option<Socket<'_>>,
        mut state: Guard<'s>,
        slice: Duration,
    ) -> (Guard<'s>, Instant, Instant, io::Result<usize>) {
        scratch::with(|bytes| {
            bytes.clear();
            state.lend().append_to(bytes);
            state.is_in_write = true;
            drop(state);
            let began = self.clock.now();
            let written = match socket {
                Some(socket) => socket.write(&[IoSlice::new(bytes)]),
                None => self.write_within(bytes, slice),
            };
            let ended = self.clock.now();
            let mut state = self.lock();
            state.is_in_write = false;
            // A reader that waits for the report sees it: the lock is held until it is made.
            self.changed.ring();
            (state, began, ended, written)
        })
    }

    /// Tells whether `socket` took no more and has no room yet. Looks again if that is owed.
    fn is_still_full(&self, socket: Socket<'_>, state: &mut State) -> bool {
        if std::mem::take(&mut state.owes_try) && state.is_full {
            let ready = socket.wait(false, Some(Duration::ZERO));
            self.note_room(state, ready.is_ok_and(|ready| ready.room));
        }
        state.is_full
    }

    /// Somebody looked for room. To have found none is as good as a write that took nothing (rule
    /// 5); a write in earnest would fill what little is left below the mark at which the kernel
    /// wakes a writer, and look like progress.
    fn note_room(&self, state: &mut State, has_room: bool) {
        state.is_full = !has_room;
        if !has_room {
            let now = self.clock.now();
            state.handle_write(now, now, Err(io::ErrorKind::WouldBlock.into()));
        }
    }

    fn write_within(&self, bytes: &[u8], slice: Duration) -> io::Result<usize> {
        self.write_timeout
            .set(Some(slice), |timeout| {
                self.stream.set_write_timeout(timeout)
            })
            .and_then(|()| self.stream.write(bytes))
    }

    /// Writes what may be lost.
    pub(super) fn say(&self, bytes: &[u8]) {
        let _ = match Socket::of(&self.stream) {
            Some(socket) => socket.write(&[IoSlice::new(bytes)]),
            None => self.write_within(bytes, SHORTEST),
        };
    }

    fn half_close<'s>(&'s self, state: Guard<'s>) -> Guard<'s> {
        drop(state);
        // A peer that is gone already cannot be told.
        let _ = self.stream.shutdown(Shutdown::Write);
        let mut state = self.lock();
        state.is_shut = true;
        state.drive.handle_shutdown(Ok(()));
        state
    }

    /// Waits until `socket` has room, or input if that is wanted; tells whether there is some to
    /// read.
    pub(super) fn wait_for_room<'s>(
        &'s self,
        socket: Socket<'_>,
        state: Guard<'s>,
        limit: Option<Duration>,
        pace: &mut Pace,
    ) -> (Guard<'s>, bool) {
        let is_wanted = state.drive.wants_read() && !state.is_reading;
        // The other thread may come to want input, or move the deadline, and cannot say so.
        let nap = state.is_split.then_some(NAP);
        drop(state);
        let began = self.clock.now();
        let ready = socket.wait(is_wanted, earlier(limit, nap));
        let mut state = self.lock();
        let Ok(ready) = ready else {
            pace.slacken();
            return (state, false);
        };
        if !state.is_writing {
            self.note_room(&mut state, ready.room);
        }
        if ready.room || ready.input {
            pace.hasten();
        } else {
            pace.slacken();
        }
        if state.is_reading || !state.drive.wants_read() {
            return (state, false);
        }
        if is_wanted && !ready.input {
            // As good as a read that found nothing.
            state.handle_read(began, began, Err(io::ErrorKind::WouldBlock.into()));
        }
        (state, ready.input)
    }
}
