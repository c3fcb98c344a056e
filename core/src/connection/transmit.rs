//! Output: what waits, what is committed, and which comes first.
//!
//! Messages wait as shared payloads, short ones framed. When everything committed has been taken,
//! a refill picks *failing close, pong, ping, data, graceful close* (a failing close only lets
//! short messages that are framed go first), gathers small frames into one buffer, and commits at
//! most 64 KiB of payload, or twice what the transport took at once if that is more. What is
//! committed never changes; so a control frame waits for at most one commit, and the transport may
//! be offered the same bytes again.

use core::fmt;

use bytes::Bytes;

use super::outgoing::{Outgoing, Shared, push_frame};
use super::state::{CloseStage, Ending};
use super::{Connection, Phase};
use crate::close::CloseFrame;
use crate::config::Config;
use crate::error::SendError;
use crate::frame::Opcode;
use crate::heartbeat::{Heartbeat, Room};
use crate::message::Message;
use crate::seed::SeedRng;
use crate::time::Instant;

/// A drained buffer of up to this size, enough for any control frame of a server, waits for the
/// next one; larger ones are freed at once.
const RETAIN: usize = 128;

/// Unsent pings of the application.
const MAX_PINGS: usize = 16;

/// Bytes to write, lent by [`Connection::poll_transmit`]: one or more chunks, in order.
///
/// Write as much as the transport takes, best in one vectored write, and report it with
/// [`handle_transmitted`](Connection::handle_transmitted).
#[derive(Clone, Copy)]
pub struct Transmit<'a> {
    /// The rest of the buffer, whose first byte is its byte number `at`.
    pub(super) wire: &'a [u8],
    pub(super) at: usize,
    pub(super) shared: &'a [Shared],
}

impl<'a> Transmit<'a> {
    /// The most chunks there can be.
    pub const MAX_CHUNKS: usize = Outgoing::MAX_CHUNKS;

    /// Returns the first chunk, never empty.
    #[must_use]
    #[inline]
    pub fn first(&self) -> &'a [u8] {
        let mut chunks = *self;
        chunks.next_chunk().unwrap_or_default()
    }

    /// Returns the chunks, none empty, for a vectored write: headers and short messages gathered,
    /// payloads of long messages between them; at most [`MAX_CHUNKS`](Self::MAX_CHUNKS).
    #[inline]
    pub fn chunks(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut left = *self;
        core::iter::from_fn(move || left.next_chunk())
    }

    /// Returns the number of bytes in all chunks.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        let shared = self.shared.iter().map(|shared| shared.payload.len());
        shared.fold(self.wire.len(), usize::saturating_add)
    }

    #[inline]
    fn next_chunk(&mut self) -> Option<&'a [u8]> {
        let wire = match self.shared.split_first() {
            Some((shared, rest)) if shared.at == self.at => {
                self.shared = rest;
                return Some(&shared.payload);
            }
            Some((shared, _)) => shared.at.saturating_sub(self.at),
            None => self.wire.len(),
        };
        let (chunk, rest) = self.wire.split_at_checked(wire)?;
        self.wire = rest;
        self.at = self.at.saturating_add(wire);
        (!chunk.is_empty()).then_some(chunk)
    }
}

/// The lengths, and none of the bytes.
impl fmt::Debug for Transmit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.chunks().map(<[u8]>::len))
            .finish()
    }
}

/// What is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    Message,
    Uncompressed,
    Part { last: bool },
}

impl Connection {
    /// Queues a short message where the last one left room, as nearly all go; what
    /// [`queue`](Self::queue) makes of it, without the questions. Tells whether it did.
    #[inline(always)]
    pub(super) fn stage(&mut self, message: &Message) -> bool {
        let (Phase::Open, Some(outgoing)) = (&self.phase, &mut self.outgoing) else {
            return false;
        };
        let keys = self.extras.as_mut().and_then(|extras| extras.keys.as_mut());
        let opcode = message.opcode();
        let is_staged = outgoing.stage_in_room(opcode, message.as_bytes(), keys);
        if is_staged {
            self.bucket.refund_message(message.len());
        }
        is_staged
    }

    /// Queues a data message or a part of one.
    pub(super) fn queue(&mut self, message: Message, sending: Sending) -> Result<(), SendError> {
        let last = sending != Sending::Part { last: false };
        let is_part = matches!(sending, Sending::Part { .. });
        if !self.takes_messages() {
            return Err(SendError::NotOpen(message));
        }
        let max_frame = self.config.max_outgoing_frame;
        let opcode = message.opcode();
        let outgoing = self.outgoing.get_or_insert_default();
        if outgoing.held() >= self.config.max_buffered_amount {
            outgoing.note_full();
            return Err(SendError::Full(message));
        }
        let first = match outgoing.unfinished {
            None => opcode,
            Some(kind) if is_part && kind == opcode => Opcode::Continuation,
            Some(_) => return Err(SendError::Unfinished(message)),
        };
        outgoing.was_full = false;
        outgoing.unfinished = (!last).then_some(opcode);
        self.bucket.refund_message(message.len());
        let (payload, rsv) = match sending {
            Sending::Uncompressed => (message.into_bytes(), 0),
            _ => self.compress(message, first == opcode, last),
        };
        let outgoing = self.outgoing.get_or_insert_default();
        if last && first == opcode && outgoing.can_stage(payload.len(), max_frame) {
            let keys = self.extras.as_mut().and_then(|extras| extras.keys.as_mut());
            outgoing.expect_as_usual();
            outgoing.stage(opcode, rsv, &payload, keys);
        } else {
            outgoing.push(payload, first, rsv, last);
        }
        if last && core::mem::take(&mut outgoing.owes_answer) {
            self.queue_answer();
        }
        if let Some(timers) = self.optional_timers() {
            timers.message_queued();
        } else if self.codec().is_none()
            && let Some(outgoing) = &mut self.outgoing
        {
            outgoing.make_room(max_frame, self.config.max_buffered_amount);
        }
        Ok(())
    }

    pub(super) fn queue_ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        if payload.len() > CloseFrame::MAX_PAYLOAD {
            return Err(SendError::PingTooLong);
        }
        if !matches!(self.phase, Phase::Open) {
            return Err(SendError::PingNotOpen);
        }
        let outgoing = self.outgoing.get_or_insert_default();
        if outgoing.pings.len() >= MAX_PINGS {
            return Err(SendError::PingNotQueued);
        }
        outgoing.pings.push_back(Bytes::copy_from_slice(payload));
        self.bucket.refund_frame();
        self.has_pinged = true;
        Ok(())
    }

    pub(super) fn queue_pong(&mut self, payload: &[u8]) {
        self.outgoing.get_or_insert_default().pongs.push(payload);
    }

    /// Queues an answer to an application heartbeat: never between the parts of a message, and
    /// only while the queue has room; where it has none, there is data to show life.
    pub(super) fn queue_answer(&mut self) {
        let Some(heartbeat) = &self.config.application_heartbeat else {
            return;
        };
        let outgoing = self.outgoing.get_or_insert_default();
        if outgoing.unfinished.is_some() {
            outgoing.owes_answer = true;
        } else if outgoing.can_stage(heartbeat.response.len(), self.config.max_outgoing_frame) {
            let keys = self.extras.as_mut().and_then(|extras| extras.keys.as_mut());
            outgoing.stage(Opcode::Text, 0, heartbeat.response.as_bytes(), keys);
        } else if outgoing.held() < self.config.max_buffered_amount {
            let answer = heartbeat.response.clone().into_bytes();
            outgoing.push(answer, Opcode::Text, 0, true);
        }
    }

    pub(super) fn wants_transmit(&self) -> bool {
        let left = |what: fn(&Outgoing) -> bool| self.outgoing.as_deref().is_some_and(what);
        match &self.phase {
            Phase::Open => {
                self.heartbeat.wants_ping() || left(|out| !out.is_drained() || out.has_frames())
            }
            Phase::Opening(_) => left(|out| !out.is_silent()),
            Phase::Ending(ending) => {
                let is_next = !self.holds_answer() || left(Outgoing::precedes_close);
                (ending.close.is_waiting() && is_next) || left(|out| !out.is_silent())
            }
            Phase::Over(_) => false,
        }
    }

    /// Whether the answer to the peer's Close waits for somebody who was told `Full` and does not
    /// know of it yet.
    fn holds_answer(&self) -> bool {
        self.close_unreported && self.takes_messages()
    }

    pub(super) fn lend(&mut self) -> Option<Transmit<'_>> {
        // What `refill` makes of it, without the questions.
        if let (Phase::Open, Some(outgoing)) = (&self.phase, &mut self.outgoing)
            && outgoing.is_only_staged()
            && !self.heartbeat.wants_ping()
        {
            outgoing.clear_committed();
            outgoing.commit_staged();
        } else if !self.wants_transmit() {
            return None;
        }
        if self
            .outgoing
            .as_ref()
            .is_none_or(|outgoing| outgoing.is_drained())
        {
            self.refill();
        }
        self.outgoing.as_ref()?.lend()
    }

    /// Commits what comes next. Only when everything committed was taken.
    fn refill(&mut self) {
        let holds_answer = self.holds_answer();
        let max_frame = self.config.max_outgoing_frame;
        let mut keys = self.extras.as_mut().and_then(|extras| extras.keys.as_mut());
        let outgoing = self.outgoing.get_or_insert_default();
        outgoing.clear_committed();
        if !outgoing.head.is_empty() {
            outgoing.wire = core::mem::take(&mut outgoing.head);
            outgoing.is_rare = true;
            return;
        }
        if outgoing.is_inside_frame() {
            outgoing.commit_payload();
        }
        let is_masked = keys.is_some();
        if outgoing.is_inside_frame() || !outgoing.has_room(is_masked) {
            return;
        }
        if let Phase::Ending(ending) = &mut self.phase
            && ending.is_failing()
        {
            outgoing.commit_staged();
            return commit_close(outgoing, ending, keys);
        }
        for payload in outgoing.pongs.iter() {
            push_frame(
                &mut outgoing.wire,
                Opcode::Pong,
                payload,
                keys.as_deref_mut(),
            );
        }
        outgoing.pongs_committed = outgoing.pongs.count;
        outgoing.pongs.clear();
        if matches!(self.phase, Phase::Open) {
            commit_ping(
                outgoing,
                &self.config,
                &mut self.heartbeat,
                keys.as_deref_mut(),
            );
            while let Some(payload) = outgoing.pings.pop_front() {
                push_frame(
                    &mut outgoing.wire,
                    Opcode::Ping,
                    &payload,
                    keys.as_deref_mut(),
                );
            }
        }
        outgoing.commit_staged();
        outgoing.frame_data(max_frame, keys.as_deref_mut());
        if let Phase::Ending(ending) = &mut self.phase
            && !holds_answer
            && outgoing.parts.is_empty()
            && outgoing.has_room(is_masked)
        {
            commit_close(outgoing, ending, keys);
        }
    }

    /// The transport took `written` bytes of what was lent.
    pub(super) fn take(&mut self, now: Instant, written: usize) {
        let Some(outgoing) = &mut self.outgoing else {
            return;
        };
        let committed = outgoing.committed();
        let written = written.min(committed);
        if committed == 0 {
            return;
        }
        let before = outgoing.taken;
        let is_chunk = outgoing.take(written);
        // A short write that ends with a chunk may be all that the transport was offered.
        let room = match written < committed {
            false => Room::Left,
            true if is_chunk && written > 0 => Room::Unknown,
            true => Room::None,
        };
        let ping_end = outgoing.ping_end.take_if(|end| *end <= outgoing.taken);
        let drained = outgoing.is_drained();
        let close_sent = drained && core::mem::take(&mut outgoing.has_close);
        if drained {
            // Whoever waits for our pongs pings no faster than the path allows.
            self.bucket
                .give_back(core::mem::take(&mut outgoing.pongs_committed));
        }
        if matches!(self.phase, Phase::Open) {
            let up_to_ping = ping_end.map(|end| end.saturating_sub(before));
            let first = up_to_ping.unwrap_or(written);
            self.heartbeat.handle_write(now, first, room);
            if up_to_ping.is_some() {
                self.heartbeat.handle_ping_sent(now);
                let after = written.saturating_sub(first);
                if after > 0 {
                    self.heartbeat.handle_write(now, after, room);
                }
            }
        }
        let more = outgoing.has_data();
        if drained {
            self.release_outgoing(false);
        }
        if written > 0
            && let Some(timers) = self.optional_timers()
        {
            timers.output_taken(now, more);
        }
        if let Phase::Ending(ending) = &mut self.phase {
            if close_sent {
                ending.close.sent();
            }
            self.settle(now);
        }
    }

    /// Frees the output's storage if nothing waits: large buffers at once, the rest when the line is
    /// `quiet`, or likely to be so, and now if no timeout will come to find it so.
    pub(super) fn release_outgoing(&mut self, quiet: bool) {
        if self.holds_answer() {
            return;
        }
        let is_quiet = quiet || self.next_deadline().is_none();
        let Some(outgoing) = &mut self.outgoing else {
            return;
        };
        let is_unused = core::mem::take(&mut outgoing.is_rare) || is_quiet;
        if outgoing.has_frames() || !outgoing.is_drained() {
            return;
        }
        let is_large = outgoing.capacity() > RETAIN;
        if is_unused && outgoing.is_empty() {
            self.outgoing = None;
            if let Some(codec) = self.codec_mut() {
                codec.release();
            }
        } else if is_large {
            outgoing.free_buffers();
        }
    }
}

/// Commits the heartbeat's ping, if one is due.
fn commit_ping(
    outgoing: &mut Outgoing,
    config: &Config,
    heartbeat: &mut Heartbeat,
    keys: Option<&mut SeedRng>,
) {
    let Some(payload) = heartbeat.poll_ping() else {
        return;
    };
    match &config.application_heartbeat {
        // Rule 14. Nothing may come between the fragments of a message but control frames
        // (RFC 6455 §5.4): there a ping frame takes the request's place.
        Some(application) if application.sends && !outgoing.inside_message => {
            let request = application.request.as_bytes();
            push_frame(&mut outgoing.wire, Opcode::Text, request, keys);
            heartbeat.asked_without_number();
        }
        _ => push_frame(&mut outgoing.wire, Opcode::Ping, &payload, keys),
    }
    outgoing.ping_end = Some(outgoing.wire.len());
    outgoing.is_rare = true;
}

/// Commits the Close frame, if it was not before; nothing follows it (RFC 6455 §5.5.1).
fn commit_close(outgoing: &mut Outgoing, ending: &mut Ending, keys: Option<&mut SeedRng>) {
    let CloseStage::Waiting { code, reason } = &ending.close else {
        return;
    };
    let code = *code;
    let mut buffer = [0; CloseFrame::MAX_PAYLOAD];
    // An unsendable code stands for a Close frame without one.
    let payload = CloseFrame::encode(code, reason, &mut buffer).unwrap_or_default();
    push_frame(&mut outgoing.wire, Opcode::Close, payload, keys);
    outgoing.has_close = true;
    ending.close = CloseStage::Committed(code);
}
