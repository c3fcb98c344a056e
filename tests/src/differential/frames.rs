//! A stream as frames, whatever rules they break. Only the length says where a frame ends, and it
//! can always be read.

use wspulse_core::Role;

/// A frame as it stands in the stream. The last one of a stream may be cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where it begins in the stream.
    pub start: usize,
    /// Where it ends, or would end if the stream went on.
    pub end: u64,
    /// The first byte: FIN, the reserved bits and the opcode.
    pub first: u8,
    /// The masking key.
    pub mask: Option<[u8; 4]>,
    /// How many bytes hold the length: 1, 3 or 9.
    pub length_size: usize,
    /// The length that they tell.
    pub length: u64,
    /// The payload that is there, unmasked.
    pub payload: Vec<u8>,
    /// Whether all of it is there.
    pub is_whole: bool,
}

impl Frame {
    /// Returns the opcode.
    #[must_use]
    pub const fn opcode(&self) -> u8 {
        self.first & 0x0F
    }

    /// Tells whether it is the last frame of its message.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        self.first & 0x80 != 0
    }

    /// Tells whether it is a control frame (RFC 6455 §5.5).
    #[must_use]
    pub const fn is_control(&self) -> bool {
        self.opcode() >= 8
    }

    /// Tells whether its length would fit into fewer bytes (RFC 6455 §5.2).
    #[must_use]
    pub const fn is_padded(&self) -> bool {
        match self.length_size {
            1 => false,
            3 => self.length < 126,
            _ => self.length < 1 << 16,
        }
    }

    /// Returns the code in the payload of a Close frame.
    #[must_use]
    pub fn close_code(&self) -> Option<u16> {
        let code = self.payload.first_chunk()?;
        (self.opcode() == 8).then_some(u16::from_be_bytes(*code))
    }

    /// Appends the frame to `out`, with as many bytes of length as `length_size` says.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let masked = if self.mask.is_some() { 0x80 } else { 0 };
        out.push(self.first);
        match self.length_size {
            1 => out.push(masked | self.length as u8),
            3 => {
                out.push(masked | 126);
                out.extend_from_slice(&(self.length as u16).to_be_bytes());
            }
            _ => {
                out.push(masked | 127);
                out.extend_from_slice(&self.length.to_be_bytes());
            }
        }
        out.extend_from_slice(self.mask.as_ref().map_or(&[], |mask| &mask[..]));
        let begin = out.len();
        out.extend_from_slice(&self.payload);
        apply(&mut out[begin..], self.mask.unwrap_or_default());
    }

    /// Returns the fewest bytes that can hold the length.
    #[must_use]
    pub const fn shortest_length_size(length: u64) -> usize {
        match length {
            0..=125 => 1,
            126..=0xFFFF => 3,
            _ => 9,
        }
    }
}

/// Reads the frames of `stream`, and returns what is left when its end cuts a header.
#[must_use]
pub fn read(stream: &[u8]) -> (Vec<Frame>, &[u8]) {
    let mut frames = Vec::new();
    let mut start = 0;
    while let Some(frame) = frame_at(stream, start) {
        // A length near 2^64 ends nowhere in this stream.
        start = usize::try_from(frame.end)
            .unwrap_or(usize::MAX)
            .min(stream.len());
        frames.push(frame);
        if start == stream.len() {
            break;
        }
    }
    (frames, &stream[start..])
}

fn frame_at(stream: &[u8], start: usize) -> Option<Frame> {
    let [first, second, rest @ ..] = stream.get(start..)? else {
        return None;
    };
    let (length_size, length, rest) = match second & 0x7F {
        126 => {
            let (bytes, rest) = rest.split_first_chunk()?;
            (3, u64::from(u16::from_be_bytes(*bytes)), rest)
        }
        127 => {
            let (bytes, rest) = rest.split_first_chunk()?;
            (9, u64::from_be_bytes(*bytes), rest)
        }
        short => (1, u64::from(short), rest),
    };
    let (mask, rest) = if second & 0x80 != 0 {
        let (mask, rest) = rest.split_first_chunk()?;
        (Some(*mask), rest)
    } else {
        (None, rest)
    };
    let there = usize::try_from(length)
        .unwrap_or(usize::MAX)
        .min(rest.len());
    let mut payload = rest[..there].to_vec();
    apply(&mut payload, mask.unwrap_or_default());
    let header_end = stream.len() - rest.len();
    Some(Frame {
        start,
        end: length.saturating_add(header_end as u64),
        first: *first,
        mask,
        length_size,
        length,
        is_whole: payload.len() as u64 == length,
        payload,
    })
}

/// Tells whether what arrives at `role` has to be masked (RFC 6455 §5.1).
#[must_use]
pub const fn arrives_masked(role: Role) -> bool {
    matches!(role, Role::Server)
}

fn apply(payload: &mut [u8], mask: [u8; 4]) {
    for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}
