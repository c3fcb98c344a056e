//! Sockets: they are tried without waiting, and waited for in both directions at once.

use std::io;
use std::time::Duration;

use wspulse_drive::{Clock as _, Outcome};

use super::{Attempt, Guard, NAP, Shared, earlier};
use crate::patience::Pace;
use crate::socket::Socket;
use crate::state::State;
use crate::stream::Stream;

impl<S: Stream + ?Sized> Shared<S> {
    /// Writes once, under the lock: what does not wait holds nobody up, and copies nothing.
    pub(super) fn write_now(&self, socket: Socket<'_>, state: &mut State) -> Attempt {
        let is_full = state.is_full;
        let chunks = state.lend();
        let len: usize = chunks.iter().map(|chunk| chunk.len()).sum();
        if len == 0 {
            return Attempt::Idle;
        }
        if is_full {
            return Attempt::Blocked;
        }
        let began = self.clock.now();
        let written = socket.write(chunks);
        // A socket that takes a part has no room for more.
        let is_part = matches!(written, Ok(count) if count < len);
        let outcome = state.handle_write(began, self.clock.now(), written);
        state.is_full = is_part || outcome == Outcome::Blocked;
        if state.is_full {
            Attempt::Blocked
        } else {
            Attempt::Moved
        }
    }

    /// Waits for room, and for input if it is wanted; tells whether there is some to read.
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
        let ready = socket.wait(is_wanted, earlier(limit, nap));
        let mut state = self.lock();
        let Ok(ready) = ready else {
            pace.slacken();
            return (state, false);
        };
        if ready.room {
            state.is_full = false;
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
            state.owes_look = false;
            state.handle_read(self.clock.now(), Err(io::ErrorKind::WouldBlock.into()));
        }
        (state, ready.input)
    }
}
