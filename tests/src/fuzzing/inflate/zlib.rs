//! RFC 7692 §7.2.2 by the C library that nearly every other implementation uses.

use flate2::{
    Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status as ZlibStatus,
};

/// What a message comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// This is the message.
    Message(Vec<u8>),
    /// zlib refuses the data, or the message ends inside a block: that is not what RFC 7692 §7.2.1
    /// makes of any message, though zlib may have no complaint yet.
    Invalid,
    /// There is more than the limit.
    TooLong,
}

/// A receiver of messages.
#[derive(Debug)]
pub(super) struct Zlib {
    stream: Decompress,
    /// What a message may refer back to.
    context: Vec<u8>,
    keeps_context: bool,
    /// Where in the message at hand a stream began that refers back to nothing before it.
    stream_begins: usize,
}

impl Zlib {
    pub(super) fn new(keeps_context: bool) -> Self {
        Self {
            stream: Decompress::new_with_window_bits(false, 15),
            context: Vec::new(),
            keeps_context,
            stream_begins: 0,
        }
    }

    /// Reads a message, of which at most `limit` bytes are wanted.
    pub(super) fn read(&mut self, payload: &[u8], limit: usize) -> Verdict {
        self.stream.reset(false);
        self.stream_begins = 0;
        if !self.context.is_empty() {
            let set = self.stream.set_dictionary(&self.context);
            set.expect("a raw stream takes one at its beginning");
        }
        let mut out = Vec::new();
        let is_valid = self.feed(payload, &mut out, limit);
        if out.len() > limit {
            return Verdict::TooLong;
        }
        if !is_valid {
            return Verdict::Invalid;
        }
        // The tail is the rest of an empty block: zlib that makes output of it is inside another.
        let mut of_tail = Vec::new();
        let is_taken = self.feed(&TAIL, &mut of_tail, 0);
        if !is_taken || !of_tail.is_empty() {
            return Verdict::Invalid;
        }
        // Between blocks, and on a byte's boundary, a stored block is its content and no more.
        // Anywhere else some bit of it means something else.
        let mut probe = Vec::new();
        if !self.feed(&STORED_PROBE, &mut probe, usize::MAX) || probe != PROBE {
            return Verdict::Invalid;
        }
        if self.keeps_context {
            self.context.extend_from_slice(&out[self.stream_begins..]);
            let old = self.context.len().saturating_sub(WINDOW);
            self.context.drain(..old);
        }
        Verdict::Message(out)
    }

    /// Inflates until `input` is used up, or there is more than `limit`; tells whether it is valid.
    fn feed(&mut self, mut input: &[u8], out: &mut Vec<u8>, limit: usize) -> bool {
        let mut block = [0; 4096];
        while out.len() <= limit {
            let before = (self.stream.total_in(), self.stream.total_out());
            let status = self
                .stream
                .decompress(input, &mut block, FlushDecompress::Sync);
            let taken = self.stream.total_in() - before.0;
            let made = self.stream.total_out() - before.1;
            input = &input[usize::try_from(taken).expect("less than the input")..];
            out.extend_from_slice(&block[..usize::try_from(made).expect("less than a block")]);
            match status {
                Err(_) => return false,
                // RFC 7692 §7.2.3.4: the last block of a stream need not be the last of its
                // message. The next stream has nothing to refer back to.
                Ok(ZlibStatus::StreamEnd) => {
                    self.stream.reset(false);
                    self.context.clear();
                    self.stream_begins = out.len();
                }
                Ok(_) if taken == 0 && made == 0 => return true,
                Ok(_) => {}
            }
        }
        true
    }
}

/// A sender of messages, legal and nearly so.
#[derive(Debug)]
pub(super) struct Sender {
    stream: Compress,
    keeps_context: bool,
}

impl Sender {
    /// Levels are 0, which stores, to 9.
    pub(super) fn new(keeps_context: bool, level: u32) -> Self {
        Self {
            stream: Compress::new_with_window_bits(Compression::new(level), false, 15),
            keeps_context,
        }
    }

    /// Compresses a message, with all that the flush leaves at its end.
    pub(super) fn compress(&mut self, message: &[u8], flush: FlushCompress) -> Vec<u8> {
        let mut out = Vec::with_capacity(message.len() * 2 + 1_024);
        let before = self.stream.total_in();
        loop {
            let taken = usize::try_from(self.stream.total_in() - before).expect("a message");
            let length = out.len();
            let status = self.stream.compress_vec(&message[taken..], &mut out, flush);
            match status.expect("zlib compresses anything") {
                ZlibStatus::StreamEnd => break,
                _ if out.len() < out.capacity() || out.len() == length => break,
                _ => out.reserve(1_024),
            }
        }
        if !self.keeps_context || matches!(flush, FlushCompress::Finish) {
            self.stream.reset();
        }
        out
    }
}

/// What a sender removes (RFC 7692 §7.2.1).
pub(super) const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

const PROBE: [u8; 8] = *b"wspulse!";
const STORED_PROBE: [u8; 13] = *b"\x00\x08\x00\xF7\xFFwspulse!";

const WINDOW: usize = 32 << 10;
