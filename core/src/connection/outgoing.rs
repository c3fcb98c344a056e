//! What is on its way out: the queue, and the bytes that are committed.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::{Buf, Bytes};

use super::transmit::Transmit;
use crate::frame::{FrameHeader, Opcode, mask};
use crate::seed::SeedRng;

/// No more payload than this is committed at once, so that no control frame waits for more: only
/// the headers and control frames beside it, or one frame that is longer. A server commits up to
/// twice what the transport took at once lately: as much is in front of a control frame anyway, where
/// nobody can reorder it, and long messages leave in few writes.
const COMMIT: usize = 64 << 10;

/// The most that is committed to a transport which takes everything: 1 MiB in frames of 64 KiB.
const LONGEST_COMMIT: usize = MAX_SHARED * (COMMIT + FrameHeader::MAX_LEN);

/// Payloads up to this length are copied into the buffer, which costs less than a slice of their
/// own; whole messages when they are queued, which spares them a place in the queue. Longer ones
/// leave a server as they are.
const GATHER: usize = 4 << 10;

/// A drained buffer of up to this size, enough for any control frame of a server, waits for the
/// next one; larger ones are freed at once.
const RETAIN: usize = 128;

/// A queue of up to this size waits for the next long message.
const RETAIN_QUEUE: usize = 1 << 10;

/// The most payloads that a commit holds without a copy.
const MAX_SHARED: usize = 16;

/// Unsent pongs beyond these are replaced by the newest (RFC 6455 §5.5.3 allows answering only
/// the newest; peers that insist on ten answers exist).
const MAX_PONGS: usize = 16;

/// Everything on its way out. Exists only while there is something.
#[derive(Clone, Default, Hash)]
pub(super) struct Outgoing {
    /// A head of the opening handshake, before everything else.
    pub(super) head: Vec<u8>,
    /// Committed bytes, of which the transport took `taken`.
    pub(super) wire: Vec<u8>,
    pub(super) taken: usize,
    /// Committed payloads, each in its place among the bytes of `wire`; those before `shared_taken`
    /// are gone, the others have `shared_left` bytes.
    shared: Vec<Shared>,
    shared_taken: usize,
    shared_left: usize,
    /// About how much the transport takes at once: the last write, or half of this before it.
    took: usize,
    /// Where in `wire` the heartbeat's ping ends.
    pub(super) ping_end: Option<usize>,
    /// Whether the commit is the heartbeat's ping or the handshake's head, after which the line is
    /// likely to be silent.
    pub(super) is_rare: bool,
    /// Whether the commit ends with the Close frame.
    pub(super) has_close: bool,
    pub(super) pongs: Pongs,
    pub(super) pongs_committed: usize,
    pub(super) pings: VecDeque<Bytes>,
    /// Short whole messages, framed when they were queued and not committed yet. They come before
    /// all of `parts`.
    pub(super) staged: Vec<u8>,
    /// How long the last commit was, of short ones: the next is expected to be as long.
    usual: usize,
    /// How many bytes of frames can be staged without a further question; what changes the answer
    /// sets it to zero.
    room: usize,
    pub(super) parts: VecDeque<Part>,
    /// Whether the last data frame committed was not the last of its message.
    pub(super) inside_message: bool,
    /// Payload bytes in `parts` that are not framed yet.
    pub(super) unframed: usize,
    /// The kind of the message that the application is sending in parts.
    pub(super) unfinished: Option<Opcode>,
    /// Whether the last message was turned away for want of room.
    pub(super) was_full: bool,
    /// Whether an application heartbeat is to be answered behind that message.
    pub(super) owes_answer: bool,
    /// Answers to application heartbeats that were queued since the last commit.
    answers: u8,
}

/// A committed payload that is not copied into the buffer.
#[derive(Clone, Hash)]
pub(super) struct Shared {
    /// It follows this many bytes of the buffer.
    pub(super) at: usize,
    pub(super) payload: Bytes,
}

/// Payloads of pongs we owe, each behind a byte with its length. Kept in one buffer, so that
/// answering pings allocates nothing while they keep coming.
#[derive(Clone, Default, Hash)]
pub(super) struct Pongs {
    bytes: Vec<u8>,
    pub(super) count: usize,
}

impl Pongs {
    /// Rule 10: a bounded number, and beyond it the newest.
    pub(super) fn push(&mut self, payload: &[u8]) {
        if self.count >= MAX_PONGS {
            self.clear();
        }
        self.bytes
            .push(u8::try_from(payload.len()).unwrap_or(u8::MAX));
        self.bytes.extend_from_slice(payload);
        self.count = self.count.saturating_add(1);
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
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
#[derive(Clone, Hash)]
pub(super) struct Part {
    payload: Bytes,
    framed: usize,
    /// The opcode and the reserved bits of the next frame.
    opcode: Opcode,
    rsv: u8,
    last: bool,
    /// The frame that is committed in part: what is missing, and its masking key.
    frame_left: usize,
    mask: Option<[u8; 4]>,
}

impl Outgoing {
    /// Payloads that a commit holds without a copy, bytes before each of them, and behind the last.
    pub(super) const MAX_CHUNKS: usize = 2 * MAX_SHARED + 1;

    /// Starts with bytes that are no frame: a head of the opening handshake.
    pub(super) fn from_head(head: Vec<u8>) -> Self {
        Self {
            head,
            ..Self::default()
        }
    }

    pub(super) fn committed(&self) -> usize {
        self.wire
            .len()
            .saturating_sub(self.taken)
            .saturating_add(self.shared_left)
    }

    pub(super) fn is_drained(&self) -> bool {
        self.committed() == 0
    }

    pub(super) fn has_data(&self) -> bool {
        !self.is_drained() || !self.staged.is_empty() || !self.parts.is_empty()
    }

    /// Whether nothing that will be written is left.
    pub(super) fn is_silent(&self) -> bool {
        self.is_drained() && self.head.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.is_drained() && !self.has_frames() && self.unfinished.is_none() && !self.inside_message
    }

    /// Whether short messages are all that waits.
    pub(super) fn is_only_staged(&self) -> bool {
        let is_first = self.is_drained() && self.head.is_empty() && self.pongs.count == 0;
        is_first && self.pings.is_empty() && self.parts.is_empty() && !self.staged.is_empty()
    }

    /// Whether anything goes before an answer to a Close: pings do not any more.
    pub(super) fn precedes_close(&self) -> bool {
        self.pongs.count > 0 || !self.staged.is_empty() || !self.parts.is_empty()
    }

    pub(super) fn has_frames(&self) -> bool {
        !self.head.is_empty() || !self.pings.is_empty() || self.precedes_close()
    }

    pub(super) fn buffered_amount(&self) -> usize {
        self.committed()
            .saturating_add(self.head.len())
            .saturating_add(self.staged.len())
            .saturating_add(self.unframed)
    }

    /// What the queue costs: a place in it counts too, or empty messages would be free.
    pub(super) fn held(&self) -> usize {
        let places = self.parts.len().saturating_mul(size_of::<Part>());
        self.buffered_amount().saturating_add(places)
    }

    pub(super) fn lend(&self) -> Option<Transmit<'_>> {
        let transmit = Transmit {
            at: self.taken,
            wire: self.wire.get(self.taken..).unwrap_or_default(),
            shared: self.shared.get(self.shared_taken..).unwrap_or_default(),
        };
        (!self.is_drained()).then_some(transmit)
    }

    /// The transport took `written` bytes, at most what was lent. Tells whether a chunk ended with
    /// them.
    pub(super) fn take(&mut self, mut written: usize) -> bool {
        self.note_taken(written);
        loop {
            let next = self.shared.get_mut(self.shared_taken);
            let end = next.as_ref().map_or(self.wire.len(), |shared| shared.at);
            let of_wire = end.saturating_sub(self.taken);
            if written < of_wire {
                self.taken = self.taken.saturating_add(written);
                return false;
            }
            self.taken = end;
            written = written.saturating_sub(of_wire);
            let Some(shared) = next else {
                return true;
            };
            if written < shared.payload.len() {
                self.shared_left = self.shared_left.saturating_sub(written);
                shared.payload.advance(written);
                return written == 0;
            }
            written = written.saturating_sub(shared.payload.len());
            self.shared_left = self.shared_left.saturating_sub(shared.payload.len());
            shared.payload = Bytes::new();
            self.shared_taken = self.shared_taken.saturating_add(1);
        }
    }

    /// What the transport takes at once now says how long a commit may be.
    fn note_taken(&mut self, written: usize) {
        if written > 0 {
            self.took = written.max(self.took / 2);
        }
    }

    /// How much payload may be committed at once. A client's is copied to be masked, and no more
    /// of it than stays close by.
    fn longest_commit(&self, is_masked: bool) -> usize {
        if is_masked {
            return COMMIT;
        }
        self.took.saturating_mul(2).clamp(COMMIT, LONGEST_COMMIT)
    }

    /// Begins the next commit, when all of the last one is taken.
    pub(super) fn clear_committed(&mut self) {
        self.wire.clear();
        self.taken = 0;
        self.shared.clear();
        self.shared_taken = 0;
        self.answers = 0;
    }

    /// Frees the buffers, when nothing is in them.
    pub(super) fn free_buffers(&mut self) {
        self.usual = self.wire.len().min(COMMIT);
        self.room = 0;
        self.clear_committed();
        self.wire = Vec::new();
        self.staged = Vec::new();
        self.shared = Vec::new();
        if self.has_long_queue() {
            self.parts = VecDeque::new();
        }
    }

    /// Whether the buffers are too large to wait for the next output.
    pub(super) fn is_large(&self) -> bool {
        let shared = self.shared.capacity().saturating_mul(size_of::<Shared>());
        let buffers = self.wire.capacity().max(self.staged.capacity());
        buffers.max(shared) > RETAIN || self.has_long_queue()
    }

    /// Whether the queue has more places than a connection uses that keeps up.
    fn has_long_queue(&self) -> bool {
        self.parts.capacity().saturating_mul(size_of::<Part>()) > RETAIN_QUEUE
    }

    pub(super) fn push(&mut self, payload: Bytes, opcode: Opcode, rsv: u8, last: bool) {
        self.unframed = self.unframed.saturating_add(payload.len());
        let part = Part {
            payload,
            framed: 0,
            opcode,
            rsv,
            last,
            frame_left: 0,
            mask: None,
        };
        self.parts.push_back(part);
        self.room = 0;
    }

    /// Whether a message of `len` bytes can be framed at once: it is short, no longer one waits
    /// before it, and what is framed stays within a commit.
    pub(super) fn can_stage(&self, len: usize, max_frame: usize) -> bool {
        let staged = self.staged.len().saturating_add(len);
        len <= GATHER.min(max_frame) && self.parts.is_empty() && staged <= COMMIT
    }

    /// Stages a whole message if there is room for it, which [`make_room`](Self::make_room) made.
    #[inline]
    pub(super) fn stage_in_room(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        keys: Option<&mut SeedRng>,
    ) -> bool {
        let framed = payload.len().saturating_add(FrameHeader::MAX_LEN);
        if framed > self.room || payload.len() > GATHER {
            return false;
        }
        self.room = self.room.saturating_sub(framed);
        push_frame(&mut self.staged, opcode, payload, keys);
        true
    }

    /// Counts the room for [`stage_in_room`](Self::stage_in_room).
    pub(super) fn make_room(&mut self, max_frame: usize, max_buffered_amount: usize) {
        let is_plain = self.head.is_empty()
            && self.parts.is_empty()
            && self.unfinished.is_none()
            && max_frame >= GATHER;
        self.room = if is_plain {
            let until_full = max_buffered_amount.saturating_sub(self.held());
            COMMIT.saturating_sub(self.staged.len()).min(until_full)
        } else {
            0
        };
    }

    /// A message was turned away: the next one that is taken is to be noted.
    pub(super) fn note_full(&mut self) {
        self.was_full = true;
        self.room = 0;
    }

    /// Counts an answer to an application heartbeat; tells whether it is one too many. Like pongs they
    /// are bounded: those that wait show that we live as well as more would.
    pub(super) fn is_answer_excess(&mut self) -> bool {
        self.answers = self.answers.saturating_add(1);
        usize::from(self.answers) > MAX_PONGS
    }

    /// Makes place for as many short messages as there were in the last commit.
    pub(super) fn expect_as_usual(&mut self) {
        if self.staged.is_empty() {
            self.staged.reserve(self.usual);
        }
    }

    #[inline]
    pub(super) fn stage(
        &mut self,
        opcode: Opcode,
        rsv: u8,
        payload: &[u8],
        keys: Option<&mut SeedRng>,
    ) {
        let mask = keys.map(SeedRng::next_mask);
        push_header(&mut self.staged, opcode, rsv, true, payload.len(), mask);
        extend(&mut self.staged, payload, mask);
        self.room = 0;
    }

    /// Commits what is staged, without a copy where nothing goes before it.
    pub(super) fn commit_staged(&mut self) {
        if self.wire.is_empty() {
            core::mem::swap(&mut self.wire, &mut self.staged);
        } else {
            // Exactly: the wire and what is staged next would hold two doubled buffers otherwise.
            self.wire.reserve_exact(self.staged.len());
            self.wire.append(&mut self.staged);
            if self.staged.capacity() > RETAIN {
                self.staged = Vec::new();
            }
            // What goes before it is queued too.
            self.room = 0;
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

    pub(super) fn is_inside_frame(&self) -> bool {
        self.parts.front().is_some_and(|part| part.frame_left > 0)
    }

    pub(super) fn has_room(&self, is_masked: bool) -> bool {
        self.committed() < self.longest_commit(is_masked) && self.shared.len() < MAX_SHARED
    }

    /// Commits the next frames of messages, as far as there is room.
    pub(super) fn frame_data(&mut self, max_frame: usize, mut keys: Option<&mut SeedRng>) {
        if let Some(part) = self.parts.front()
            && (keys.is_some() || part.is_gathered())
        {
            let left = COMMIT.saturating_sub(self.wire.len());
            let expected = self.unframed.min(left);
            self.wire
                .reserve_exact(expected.saturating_add(FrameHeader::MAX_LEN));
        }
        let longest = self.longest_commit(keys.is_some());
        while let Some(part) = self.parts.front_mut() {
            let committed = self
                .wire
                .len()
                .saturating_add(self.shared_left)
                .saturating_add(part.next_length(max_frame));
            let is_full = committed > longest || self.shared.len() >= MAX_SHARED;
            if is_full && !(self.wire.is_empty() && self.shared.is_empty()) {
                return;
            }
            let fin = part.begin_frame(&mut self.wire, max_frame, keys.as_deref_mut());
            self.inside_message = !fin;
            self.commit_payload();
        }
    }

    /// Commits payload of the frame in progress, as far as there is room.
    pub(super) fn commit_payload(&mut self) {
        let Some(part) = self.parts.front_mut() else {
            return;
        };
        let length = match part.share_payload() {
            Some(payload) => {
                let length = payload.len();
                self.shared_left = self.shared_left.saturating_add(length);
                self.shared.push(Shared {
                    at: self.wire.len(),
                    payload,
                });
                length
            }
            None => part.copy_payload(&mut self.wire),
        };
        self.unframed = self.unframed.saturating_sub(length);
        if part.frame_left == 0 && part.framed == part.payload.len() {
            self.parts.pop_front();
        }
    }
}

impl Part {
    /// The length of the next frame.
    pub(super) fn next_length(&self, max_frame: usize) -> usize {
        self.payload
            .len()
            .saturating_sub(self.framed)
            .min(max_frame)
    }

    /// Whether an unmasked payload is copied into the buffer.
    pub(super) fn is_gathered(&self) -> bool {
        self.payload.len().saturating_sub(self.framed) <= GATHER
    }

    /// Commits the header of the next frame; tells whether it ends the message.
    pub(super) fn begin_frame(
        &mut self,
        wire: &mut Vec<u8>,
        max_frame: usize,
        keys: Option<&mut SeedRng>,
    ) -> bool {
        let length = self.next_length(max_frame);
        let fin = self.last && self.framed.saturating_add(length) == self.payload.len();
        self.mask = keys.map(SeedRng::next_mask);
        push_header(wire, self.opcode, self.rsv, fin, length, self.mask);
        self.opcode = Opcode::Continuation;
        self.rsv = 0;
        self.frame_left = length;
        fin
    }

    /// Takes the payload of the frame in progress, if it is to leave as it is.
    fn share_payload(&mut self) -> Option<Bytes> {
        if self.mask.is_some() || self.frame_left <= GATHER {
            return None;
        }
        let end = self.framed.saturating_add(self.frame_left);
        let payload = self.payload.slice(self.framed..end.min(self.payload.len()));
        self.framed(payload.len());
        Some(payload)
    }

    /// Copies payload of the frame in progress, as far as there is room; returns how many bytes.
    fn copy_payload(&mut self, wire: &mut Vec<u8>) -> usize {
        let length = self.frame_left.min(COMMIT);
        let end = self.framed.saturating_add(length);
        let payload = self.payload.get(self.framed..end).unwrap_or_default();
        extend(wire, payload, self.mask);
        self.mask = self.mask.map(|key| mask::rotate(key, length));
        self.framed(length);
        length
    }

    fn framed(&mut self, length: usize) {
        self.framed = self.framed.saturating_add(length);
        self.frame_left = self.frame_left.saturating_sub(length);
    }
}

#[inline]
pub(super) fn push_frame(
    wire: &mut Vec<u8>,
    opcode: Opcode,
    payload: &[u8],
    keys: Option<&mut SeedRng>,
) {
    let mask = keys.map(SeedRng::next_mask);
    push_header(wire, opcode, 0, true, payload.len(), mask);
    extend(wire, payload, mask);
}

#[inline]
fn push_header(
    wire: &mut Vec<u8>,
    opcode: Opcode,
    rsv: u8,
    fin: bool,
    len: usize,
    mask: Option<[u8; 4]>,
) {
    let header = FrameHeader::new(opcode, u64::try_from(len).unwrap_or(u64::MAX))
        .and_then(|header| header.with_fin(fin))
        .and_then(|header| header.with_rsv(rsv));
    // Control payloads were checked when they were queued, and no slice has 2^63 bytes.
    if let Ok(header) = header {
        header.with_mask(mask).encode_into(wire);
    }
}

#[inline]
fn extend(wire: &mut Vec<u8>, payload: &[u8], mask: Option<[u8; 4]>) {
    match mask {
        Some(key) => mask::extend(wire, payload, key),
        None => wire.extend_from_slice(payload),
    }
}
