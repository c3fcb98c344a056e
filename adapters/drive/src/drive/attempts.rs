//! Attempts on a stream that does not wait, and what they tell the drive.

use std::io;

use wspulse_core::Instant;

use super::{Drive, Half, Outcome, Turn, is_would_block};
use crate::clock::Clock;
use crate::input;
use crate::transport::Transport;

impl Drive {
    /// Reads once, if the connection takes input.
    pub fn read(&mut self, transport: &mut impl Transport, clock: &impl Clock) -> Outcome {
        self.read_counted(transport, clock).0
    }

    /// Also returns how much was read, and when that began.
    fn read_counted(
        &mut self,
        transport: &mut impl Transport,
        clock: &impl Clock,
    ) -> (Outcome, usize, Option<Instant>) {
        if !self.wants_read() {
            return (Outcome::Idle, 0, None);
        }
        // A judgement about the peer needs a read that began after its deadline (rule 6).
        let now = clock.now();
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
            (self.handle_read(now, bytes), count, Some(now))
        })
    }

    /// Writes until the output is drained or the stream takes no more; tells whether it took any.
    pub fn write(&mut self, transport: &mut impl Transport, clock: &impl Clock) -> bool {
        let was_written = self.written;
        self.write_all(transport, clock);
        self.read_last(transport, clock);
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
        let last = self.read_last(transport, clock);
        let shutdown = self.shutdown(transport);
        let (read, count, read_at) = match last {
            Some(count) => (Outcome::Progress, count, None),
            None => self.read_counted(transport, clock),
        };
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

    /// As [`turn`](Self::turn), where nobody takes events just now: those that are at hand and those
    /// that this brings go into the inbox (rule 16).
    pub fn turn_ahead(&mut self, transport: &mut impl Transport, clock: &impl Clock) -> Turn {
        let was_any = self.collect();
        let mut turn = self.turn(transport, clock);
        turn.moved |= self.collect() || was_any;
        turn
    }

    /// After a failed write: reads the peer's last words into the inbox, as far as they are there
    /// and as there is room, and ends the connection. Returns how much that was; `None` if the
    /// stream takes output, or could not be looked at just now.
    fn read_last(&mut self, transport: &mut impl Transport, clock: &impl Clock) -> Option<usize> {
        if self.writing != Half::Failed || self.is_over() {
            return None;
        }
        let mut total = 0;
        // Each round reads, or ends it; an interrupted read is no look.
        for _ in 0..MAX_LAST_READS {
            self.collect();
            let (outcome, count, _) = self.read_counted(transport, clock);
            total += count;
            match outcome {
                // The runtime did not let the stream look.
                Outcome::Blocked => return (total > 0).then_some(total),
                Outcome::Idle => break,
                Outcome::Progress if self.is_over() => break,
                Outcome::Progress => {}
            }
        }
        self.cut_off(clock.now());
        Some(total)
    }
}

/// Reads after a failed write: enough for more than the receive buffer of a socket.
const MAX_LAST_READS: u32 = 256;
