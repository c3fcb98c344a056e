//! Output: what waits, what is committed, and which comes first.
//!
//! Messages wait as shared payloads. When everything committed has been taken, a refill picks
//! *failing close, pong, ping, data, graceful close*, gathers small frames into one buffer, and
//! commits at most [`COMMIT`] bytes. What is committed never changes; so a control frame waits for
//! at most one commit, and the transport may be offered the same bytes again.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

use super::state::{CloseStage, Ending};
use super::{Connection, Phase};
use crate::close::CloseFrame;
use crate::config::Config;
use crate::error::SendError;
use crate::frame::{FrameHeader, Opcode, mask};
use crate::heartbeat::Heartbeat;
use crate::message::Message;
use crate::seed::SeedRng;
use crate::time::Instant;

/// No more payload than this is committed at once, so that no control frame waits for more: only
/// the headers and control frames beside it, or one frame that is longer.
const COMMIT: usize = 64 << 10;

/// Payloads above this leave a server as they are, beside the buffer; copying less costs less
/// than a second slice.
const GATHER: usize = 16 << 10;

/// Messages up to this length are framed when they are queued, which spares them a place in the
/// queue; the payload is free again at once.
const STAGE: usize = 4 << 10;

/// A drained buffer of up to this size, enough for any control frame of a server, waits for the
/// next one; larger ones are freed at once.
const RETAIN: usize = 128;

/// Unsent pongs beyond these are replaced by the newest (RFC 6455 §5.5.3 allows answering only
/// the newest; peers that insist on ten answers exist).
const MAX_PONGS: usize = 16;

/// Unsent pings of the application.
const MAX_PINGS: usize = 16;

/// Bytes to write, lent by [`Connection::poll_transmit`]: one or two chunks, in order.
///
/// Write as much as the transport takes and report it with
/// [`handle_transmitted`](Connection::handle_transmitted).
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    first: &'a [u8],
    second: &'a [u8],
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

/// Everything on its way out. Exists only while there is something.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// A head of the opening handshake, before everything else.
    head: Vec<u8>,
    /// Committed bytes, of which the transport took `taken`; then those of `tail`.
    wire: Vec<u8>,
    taken: usize,
    tail: Bytes,
    /// Where in `wire` the heartbeat's ping ends.
    ping_end: Option<usize>,
    /// Whether the commit carries the heartbeat's ping, or ends with the Close frame.
    has_ping: bool,
    has_close: bool,
    pongs: Pongs,
    pongs_committed: usize,
    pings: VecDeque<Bytes>,
    /// Short whole messages, framed when they were queued and not committed yet. They come before
    /// all of `parts`.
    staged: Vec<u8>,
    parts: VecDeque<Part>,
    /// Whether the last data frame committed was not the last of its message.
    inside_message: bool,
    /// Payload bytes in `parts` that are not framed yet.
    unframed: usize,
    /// The kind of the message that the application is sending in parts.
    unfinished: Option<Opcode>,
    /// Whether an application heartbeat is to be answered behind that message.
    owes_answer: bool,
}

/// Payloads of pongs we owe, each behind a byte with its length. Kept in one buffer, so that
/// answering pings allocates nothing while they keep coming.
#[derive(Debug, Default)]
struct Pongs {
    bytes: Vec<u8>,
    count: usize,
}

impl Pongs {
    /// Rule 10: a bounded number, and beyond it the newest.
    fn push(&mut self, payload: &[u8]) {
        if self.count >= MAX_PONGS {
            self.clear();
        }
        self.bytes
            .push(u8::try_from(payload.len()).unwrap_or(u8::MAX));
        self.bytes.extend_from_slice(payload);
        self.count = self.count.saturating_add(1);
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &*self.bytes;
        core::iter::from_fn(move || {
            let (&length, bytes) = rest.split_first()?;
            let (payload, after) = bytes.split_at_checked(usize::from(length))?;
            rest = after;
            Some(payload)
        })
    }
}

/// A message, or a part of one, that waits to be framed.
#[derive(Debug)]
struct Part {
    payload: Bytes,
    framed: usize,
    /// The opcode of the next frame.
    opcode: Opcode,
    last: bool,
    /// The frame that is committed in part: what is missing, and its masking key.
    frame_left: usize,
    mask: Option<[u8; 4]>,
}

impl Outgoing {
    /// Starts with bytes that are no frame: a head of the opening handshake.
    pub(super) fn from_head(head: Vec<u8>) -> Self {
        Self {
            head,
            ..Self::default()
        }
    }

    fn committed(&self) -> usize {
        self.wire
            .len()
            .saturating_sub(self.taken)
            .saturating_add(self.tail.len())
    }

    fn is_drained(&self) -> bool {
        self.committed() == 0
    }

    fn has_data(&self) -> bool {
        !self.is_drained() || !self.staged.is_empty() || !self.parts.is_empty()
    }

    fn first_chunk(&self) -> usize {
        self.lend().map_or(0, |transmit| transmit.first.len())
    }

    /// Whether nothing that will be written is left.
    pub(super) fn is_silent(&self) -> bool {
        self.is_drained() && self.head.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.is_drained() && !self.has_frames() && self.unfinished.is_none() && !self.inside_message
    }

    fn has_frames(&self) -> bool {
        !self.head.is_empty()
            || self.pongs.count > 0
            || !self.pings.is_empty()
            || !self.staged.is_empty()
            || !self.parts.is_empty()
    }

    pub(super) fn buffered_amount(&self) -> usize {
        self.committed()
            .saturating_add(self.head.len())
            .saturating_add(self.staged.len())
            .saturating_add(self.unframed)
    }

    /// What the queue costs: a place in it counts too, or empty messages would be free.
    fn held(&self) -> usize {
        let places = self.parts.len().saturating_mul(size_of::<Part>());
        self.buffered_amount().saturating_add(places)
    }

    fn lend(&self) -> Option<Transmit<'_>> {
        let wire = self.wire.get(self.taken..).unwrap_or_default();
        match (wire, &*self.tail) {
            ([], []) => None,
            ([], tail) => Some(Transmit {
                first: tail,
                second: &[],
            }),
            (wire, tail) => Some(Transmit {
                first: wire,
                second: tail,
            }),
        }
    }

    /// The transport took `written` bytes, at most what was lent.
    fn take(&mut self, written: usize) {
        let of_wire = self.wire.len().saturating_sub(self.taken).min(written);
        self.taken = self.taken.saturating_add(of_wire);
        let of_tail = written.saturating_sub(of_wire).min(self.tail.len());
        if of_tail > 0 {
            drop(self.tail.split_to(of_tail));
        }
    }

    fn push(&mut self, payload: Bytes, opcode: Opcode, last: bool) {
        self.unframed = self.unframed.saturating_add(payload.len());
        let part = Part {
            payload,
            framed: 0,
            opcode,
            last,
            frame_left: 0,
            mask: None,
        };
        self.parts.push_back(part);
    }

    /// Whether a message of `len` bytes can be framed at once: it is short, no longer one waits
    /// before it, and what is framed stays within a commit.
    fn can_stage(&self, len: usize, max_frame: usize) -> bool {
        let staged = self.staged.len().saturating_add(len);
        len <= STAGE.min(max_frame) && self.parts.is_empty() && staged <= COMMIT
    }

    fn stage(&mut self, opcode: Opcode, payload: &[u8], keys: Option<&mut SeedRng>) {
        push_frame(&mut self.staged, opcode, payload, keys);
    }

    /// Commits what is staged, without a copy where nothing goes before it.
    fn commit_staged(&mut self) {
        if self.wire.is_empty() {
            core::mem::swap(&mut self.wire, &mut self.staged);
        } else {
            self.wire.append(&mut self.staged);
        }
    }

    /// Forgets what is not committed, but for a frame that is committed in part and, unless the
    /// peer is gone, the short messages that are framed already.
    pub(super) fn drop_uncommitted(&mut self, is_peer_there: bool) {
        self.pongs.clear();
        self.pings.clear();
        if !is_peer_there {
            self.staged.clear();
        }
        self.parts.truncate(1);
        self.unfinished = None;
        self.unframed = 0;
        let Some(part) = self.parts.front_mut() else {
            return;
        };
        if part.frame_left == 0 {
            self.parts.clear();
        } else {
            part.payload
                .truncate(part.framed.saturating_add(part.frame_left));
            self.unframed = part.frame_left;
        }
    }

    fn is_inside_frame(&self) -> bool {
        self.parts.front().is_some_and(|part| part.frame_left > 0)
    }

    fn has_room(&self) -> bool {
        self.wire.len() < COMMIT && self.tail.is_empty()
    }

    /// Commits the next frames of messages, as far as there is room.
    fn frame_data(&mut self, max_frame: usize, mut keys: Option<&mut SeedRng>) {
        if let Some(part) = self.parts.front()
            && (keys.is_some() || part.is_gathered())
        {
            let expected = self.unframed.min(COMMIT);
            self.wire
                .reserve(expected.saturating_add(FrameHeader::MAX_LEN));
        }
        while self.tail.is_empty()
            && let Some(part) = self.parts.front_mut()
        {
            let length = self.wire.len().saturating_add(part.next_length(max_frame));
            if length > COMMIT && !self.wire.is_empty() {
                return;
            }
            let fin = part.begin_frame(&mut self.wire, max_frame, keys.as_deref_mut());
            self.inside_message = !fin;
            self.commit_payload();
        }
    }

    /// Commits payload of the frame in progress, as far as there is room.
    fn commit_payload(&mut self) {
        let Some(part) = self.parts.front_mut() else {
            return;
        };
        let length = part.commit_payload(&mut self.wire, &mut self.tail);
        self.unframed = self.unframed.saturating_sub(length);
        if part.frame_left == 0 && part.framed == part.payload.len() {
            self.parts.pop_front();
        }
    }
}

impl Part {
    /// The length of the next frame.
    fn next_length(&self, max_frame: usize) -> usize {
        self.payload
            .len()
            .saturating_sub(self.framed)
            .min(max_frame)
    }

    /// Whether an unmasked payload is copied into the buffer.
    fn is_gathered(&self) -> bool {
        self.payload.len().saturating_sub(self.framed) <= GATHER
    }

    /// Commits the header of the next frame; tells whether it ends the message.
    fn begin_frame(
        &mut self,
        wire: &mut Vec<u8>,
        max_frame: usize,
        keys: Option<&mut SeedRng>,
    ) -> bool {
        let length = self.next_length(max_frame);
        let fin = self.last && self.framed.saturating_add(length) == self.payload.len();
        self.mask = keys.map(SeedRng::next_mask);
        push_header(wire, self.opcode, fin, length, self.mask);
        self.opcode = Opcode::Continuation;
        self.frame_left = length;
        fin
    }

    /// Commits payload of the frame in progress; returns how many bytes.
    fn commit_payload(&mut self, wire: &mut Vec<u8>, tail: &mut Bytes) -> usize {
        let length = if self.mask.is_none() && self.frame_left > GATHER {
            let end = self.framed.saturating_add(self.frame_left);
            *tail = self.payload.slice(self.framed..end.min(self.payload.len()));
            tail.len()
        } else {
            let length = self.frame_left.min(COMMIT);
            let end = self.framed.saturating_add(length);
            let payload = self.payload.get(self.framed..end).unwrap_or_default();
            extend(wire, payload, self.mask);
            self.mask = self.mask.map(|key| mask::rotate(key, length));
            length
        };
        self.framed = self.framed.saturating_add(length);
        self.frame_left = self.frame_left.saturating_sub(length);
        length
    }
}

impl Connection {
    /// Queues a data message or a part of one.
    pub(super) fn queue(
        &mut self,
        message: Message,
        last: bool,
        is_part: bool,
    ) -> Result<(), SendError> {
        if !matches!(self.phase, Phase::Open) {
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
            return Err(SendError::Full(message));
        }
        let first = match outgoing.unfinished {
            None => opcode,
            Some(kind) if is_part && kind == opcode => Opcode::Continuation,
            Some(_) => return Err(SendError::Unfinished(message)),
        };
        outgoing.unfinished = (!last).then_some(opcode);
        self.bucket.refund(message.len());
        if last && first == opcode && outgoing.can_stage(message.len(), max_frame) {
            let keys = self.extras.as_mut().and_then(|extras| extras.keys.as_mut());
            outgoing.stage(opcode, message.as_bytes(), keys);
        } else {
            outgoing.push(message.into_bytes(), first, last);
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
        self.bucket.refund(0);
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
            outgoing.stage(Opcode::Text, heartbeat.response.as_bytes(), keys);
        } else if outgoing.held() < self.config.max_buffered_amount {
            outgoing.push(heartbeat.response.clone().into_bytes(), Opcode::Text, true);
        }
    }

    pub(super) fn wants_transmit(&self) -> bool {
        let left = |what: fn(&Outgoing) -> bool| self.outgoing.as_deref().is_some_and(what);
        match &self.phase {
            Phase::Open => {
                self.heartbeat.wants_ping() || left(|out| !out.is_drained() || out.has_frames())
            }
            Phase::Opening(_) => left(|out| !out.is_silent()),
            Phase::Ending(ending) => ending.close.is_waiting() || left(|out| !out.is_silent()),
            Phase::Over(_) => false,
        }
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

fn push_frame(wire: &mut Vec<u8>, opcode: Opcode, payload: &[u8], keys: Option<&mut SeedRng>) {
    let mask = keys.map(SeedRng::next_mask);
    push_header(wire, opcode, true, payload.len(), mask);
    extend(wire, payload, mask);
}

fn push_header(wire: &mut Vec<u8>, opcode: Opcode, fin: bool, len: usize, mask: Option<[u8; 4]>) {
    let header = FrameHeader::new(opcode, u64::try_from(len).unwrap_or(u64::MAX))
        .and_then(|header| header.with_fin(fin));
    // Control payloads were checked when they were queued, and no slice has 2^63 bytes.
    if let Ok(header) = header {
        header.with_mask(mask).encode_into(wire);
    }
}

fn extend(wire: &mut Vec<u8>, payload: &[u8], mask: Option<[u8; 4]>) {
    match mask {
        Some(key) => mask::extend(wire, payload, key),
        None => wire.extend_from_slice(payload),
    }
}
