//! Output: what waits, what is committed, and which comes first.
//!
//! Messages wait as shared payloads, short ones framed. When everything committed has been taken,
//! a refill picks *failing close, pong, ping, data, graceful close* (a failing close only lets
//! short messages that are framed go first), gathers small frames into one buffer, and commits at
//! most 64 KiB of payload. What is committed never changes; so a control frame waits for at most
//! one commit, and the transport may be offered the same bytes again.

use alloc::vec::Vec;

use bytes::Bytes;

use super::outgoing::{Outgoing, push_frame};
use super::state::{CloseStage, Ending};
use super::{Connection, Phase};
use crate::close::CloseFrame;
use crate::config::Config;
use crate::error::SendError;
use crate::frame::Opcode;
use crate::heartbeat::Heartbeat;
use crate::message::Message;
use crate::seed::SeedRng;
use crate::time::Instant;

/// A drained buffer of up to this size, enough for any control frame of a server, waits for the
/// next one; larger ones are freed at once.
const RETAIN: usize = 128;

/// Unsent pings of the application.
const MAX_PINGS: usize = 16;

/// Bytes to write, lent by [`Connection::poll_transmit`]: one or two chunks, in order.
///
/// Write as much as the transport takes and report it with
/// [`handle_transmitted`](Connection::handle_transmitted).
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    pub(super) first: &'a [u8],
    pub(super) second: &'a [u8],
}

impl<'a> Transmit<'a> {
    /// Returns the first chunk, never empty.
    #[must_use]
    pub const fn first(&self) -> &'a [u8] {
        self.first
    }

    /// Returns the chunks, none empty, for a vectored write.
    pub fn chunks(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        [self.first, self.second]
            .into_iter()
            .filter(|chunk| !chunk.is_empty())
    }

    /// Returns the number of bytes in all chunks.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub const fn len(&self) -> usize {
        self.first.len().saturating_add(self.second.len())
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
    /// Queues a data message or a part of one.
    pub(super) fn queue(&mut self, message: Message, sending: Sending) -> Result<(), SendError> {
        let last = sending != Sending::Part { last: false };
        let is_part = matches!(sending, Sending::Part { .. });
        if !self.takes_messages() {
            return Err(SendError::NotOpen(message));
        }
        let max_frame = self.config.max_outgoing_frame;
        let opcode = if message.is_text() {
            Opcode::Text
        } else {
            Opcode::Binary
        };
        let outgoing = self.outgoing.get_or_insert_default();
        if outgoing.held() >= self.config.max_buffered_amount {
            outgoing.was_full = true;
            return Err(SendError::Full(message));
        }
        let first = match outgoing.unfinished {
            None => opcode,
            Some(kind) if is_part && kind == opcode => Opcode::Continuation,
            Some(_) => return Err(SendError::Unfinished(message)),
        };
        outgoing.was_full = false;
        outgoing.unfinished = (!last).then_some(opcode);
        self.bucket.refund_bytes(message.len());
        self.bucket.refund_frame();
        let (payload, rsv) = match sending {
            Sending::Uncompressed => (message.into_bytes(), 0),
            _ => self.compress(message, first == opcode, last),
        };
        let outgoing = self.outgoing.get_or_insert_default();
        if last && first == opcode && outgoing.can_stage(payload.len(), max_frame) {
            let keys = self.extras.as_mut().and_then(|extras| extras.keys.as_mut());
            outgoing.stage(opcode, rsv, &payload, keys);
        } else {
            outgoing.push(payload, first, rsv, last);
        }
        if last && core::mem::take(&mut outgoing.owes_answer) {
            self.queue_answer();
        }
        if let Some(timers) = self.optional_timers() {
            timers.message_queued();
        }
        Ok(())
    }

    pub(super) fn queue_ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        if payload.len() > CloseFrame::MAX_PAYLOAD {
            return Err(SendError::PingTooLong);
        }
        if !matches!(self.phase, Phase::Open) {
            return Err(SendError::PingNotQueued);
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
        if !self.wants_transmit() {
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
        outgoing.wire.clear();
        outgoing.taken = 0;
        if !outgoing.head.is_empty() {
            outgoing.wire = core::mem::take(&mut outgoing.head);
            return;
        }
        if outgoing.is_inside_frame() {
            outgoing.commit_payload();
        }
        if outgoing.is_inside_frame() || !outgoing.has_room() {
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
            && outgoing.has_room()
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
        // Who writes without vectors writes the first chunk, and is not blocked by its end.
        let blocked = written < committed && written != outgoing.first_chunk();
        let before = outgoing.taken;
        outgoing.take(written);
        let ping_end = outgoing.ping_end.take_if(|end| *end <= outgoing.taken);
        let drained = outgoing.is_drained();
        let close_sent = drained && core::mem::take(&mut outgoing.has_close);
        if drained {
            // Whoever waits for our pongs pings no faster than the path allows.
            self.bucket
                .give_back(core::mem::take(&mut outgoing.pongs_committed));
        }
        if matches!(self.phase, Phase::Open) {
            let mut behind = written;
            if let Some(end) = ping_end {
                let up_to_ping = end.saturating_sub(before);
                behind = written.saturating_sub(up_to_ping);
                self.heartbeat.handle_transmitted(now, up_to_ping, false);
                self.heartbeat.handle_ping_sent(now);
            }
            self.heartbeat.handle_transmitted(now, behind, blocked);
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

    /// Frees the output's storage if nothing waits: at once if it is large or carried the
    /// heartbeat's ping, which does not come again soon; else when the line is `quiet`, and now if
    /// no timeout will come to find it so.
    pub(super) fn release_outgoing(&mut self, quiet: bool) {
        if self.holds_answer() {
            return;
        }
        let quiet = quiet || self.next_deadline().is_none();
        let Some(outgoing) = &mut self.outgoing else {
            return;
        };
        let had_ping = core::mem::take(&mut outgoing.has_ping);
        if outgoing.has_frames() || !outgoing.is_drained() {
            return;
        }
        let held = outgoing.wire.capacity().max(outgoing.staged.capacity());
        if !outgoing.is_empty() {
            if held > RETAIN {
                outgoing.wire = Vec::new();
                outgoing.staged = Vec::new();
                outgoing.taken = 0;
            }
        } else if quiet || had_ping || held > RETAIN {
            self.outgoing = None;
            if let Some(codec) = self.codec_mut() {
                codec.release();
            }
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
        }
        _ => push_frame(&mut outgoing.wire, Opcode::Ping, &payload, keys),
    }
    outgoing.ping_end = Some(outgoing.wire.len());
    outgoing.has_ping = true;
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
