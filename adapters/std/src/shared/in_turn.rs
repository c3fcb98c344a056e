//! Streams that can do nothing but wait, for one direction at a time.
//!
//! Where output is blocked and input is wanted too, they wait for both in turn: the write for a
//! slice of time here, then the read for as much.

use std::time::Duration;

use wspulse_drive::{Clock as _, Outcome};

use super::{Attempt, Guard, Shared};
use crate::scratch;
use crate::stream::Stream;

impl<S: Stream + ?Sized> Shared<S> {
    /// Writes once, and waits for room no longer than `slice`. What is lent is copied, for nobody
    /// holds the lock while he waits.
    pub(super) fn write_for<'s>(
        &'s self,
        mut state: Guard<'s>,
        slice: Duration,
    ) -> (Guard<'s>, Attempt) {
        scratch::with(|bytes| {
            bytes.clear();
            for chunk in state.lend() {
                bytes.extend_from_slice(chunk);
            }
            if bytes.is_empty() {
                return (state, Attempt::Idle);
            }
            drop(state);
            let began = self.clock.now();
            let written = self.write_within(bytes, slice);
            let ended = self.clock.now();
            // A stream that takes little at a time has not been waited for.
            let is_part = matches!(written, Ok(count) if count < bytes.len());
            let has_waited = ended.saturating_duration_since(began) >= slice / 2;
            let mut state = self.lock();
            let outcome = state.handle_write(began, ended, written);
            let is_blocked = outcome == Outcome::Blocked || (is_part && has_waited);
            let attempt = if is_blocked {
                Attempt::Blocked
            } else {
                Attempt::Moved
            };
            (state, attempt)
        })
    }

    pub(super) fn write_within(&self, bytes: &[u8], slice: Duration) -> std::io::Result<usize> {
        self.write_timeout
            .set(Some(slice), |timeout| {
                self.stream.set_write_timeout(timeout)
            })
            .and_then(|()| self.stream.write(bytes))
    }
}
