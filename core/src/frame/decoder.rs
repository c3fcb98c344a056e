//! From a stream of bytes to frames.

use super::{FrameError, FrameHeader, FrameRules, Opcode, mask};

/// Cuts a stream of bytes into frames, wherever the stream itself is cut (RFC 6455 §5.2).
///
/// It holds at most one header that is not complete yet. Payload is lent from the input as it
/// arrived, still masked.
///
/// ```
/// use wspulse_core::Role;
/// use wspulse_core::frame::{FrameDecoder, FrameError, FrameEvent, FrameRules, mask};
///
/// let mut decoder = FrameDecoder::new(FrameRules::from_peer_of(Role::Server));
/// let mut text = Vec::new();
/// for mut input in [&b"\x81\x85\x37\xfa\x21"[..], b"\x3d\x7f\x9f", b"\x4d\x51\x58"] {
///     while let Some(event) = decoder.decode(&mut input)? {
///         match event {
///             FrameEvent::Header(header) => assert_eq!(header.payload_len(), 5),
///             FrameEvent::Payload(part) => {
///                 mask::extend(&mut text, part.data, part.mask.unwrap_or_default());
///             }
///         }
///     }
/// }
/// assert_eq!(text, b"Hello");
/// assert!(decoder.is_between_frames());
/// # Ok::<(), FrameError>(())
/// ```
#[derive(Clone, Debug, Hash)]
pub struct FrameDecoder {
    remaining: u64,
    /// Rotated to the next byte of payload; of no meaning where frames are not masked.
    mask: [u8; 4],
    /// The start of a header, `held_len` bytes.
    held: [u8; FrameHeader::MAX_LEN - 1],
    held_len: u8,
    rules: FrameRules,
    /// Of the frame whose header was given last.
    opcode: Opcode,
    fin: bool,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Header,
    /// The next part is due: if nothing remains, the empty one of an empty frame.
    Payload,
    Failed(FrameError),
}

const _: () = assert!(size_of::<FrameDecoder>() <= 32);

impl FrameDecoder {
    /// Returns a decoder at the start of a stream of frames that keep these rules.
    #[must_use]
    pub const fn new(rules: FrameRules) -> Self {
        Self {
            remaining: 0,
            mask: [0; 4],
            held: [0; FrameHeader::MAX_LEN - 1],
            held_len: 0,
            rules,
            opcode: Opcode::Continuation,
            fin: false,
            phase: Phase::Header,
        }
    }

    /// Takes the next header or part of a payload from the front of `input`; `None` once all of
    /// `input` is taken and no more can be said.
    ///
    /// Every frame gives one header, then one or more parts of payload, the last one marked.
    ///
    /// # Errors
    ///
    /// Says which rule the peer broke, at the first byte that breaks it. From then on every call
    /// says the same and takes nothing.
    #[inline]
    pub fn decode<'a>(
        &mut self,
        input: &mut &'a [u8],
    ) -> Result<Option<FrameEvent<'a>>, FrameError> {
        match self.phase {
            Phase::Payload => Ok(self.payload(input).map(FrameEvent::Payload)),
            Phase::Header => Ok(self.header(input)?.map(FrameEvent::Header)),
            Phase::Failed(error) => Err(error),
        }
    }

    /// Takes a frame that is at the front of `input` whole and keeps to the rules: what two calls of
    /// [`decode`](Self::decode) would give. Otherwise changes nothing, and `decode` says more.
    #[inline]
    pub fn decode_whole<'a>(
        &mut self,
        input: &mut &'a [u8],
    ) -> Option<(FrameHeader, PayloadPart<'a>)> {
        if !self.is_between_frames() {
            return None;
        }
        let (header, rest) = FrameHeader::split(input, self.rules).ok()??;
        let len = usize::try_from(header.payload_len()).ok()?;
        let (data, rest) = rest.split_at_checked(len)?;
        *input = rest;
        self.opcode = header.opcode();
        self.fin = header.fin();
        let part = PayloadPart {
            data,
            mask: header.mask(),
            end: true,
        };
        Some((header, part))
    }

    /// Returns the message at the front of `input` if it is there whole, in one frame that is legal
    /// without extensions and shorter than 64 KiB, and what follows it. Only between frames.
    #[inline]
    pub(crate) fn peek_message<'a>(
        &self,
        input: &'a [u8],
    ) -> Option<(Opcode, PayloadPart<'a>, &'a [u8])> {
        let (&[first, second], rest) = input.split_first_chunk()?;
        let opcode = match first {
            FrameHeader::WHOLE_TEXT => Opcode::Text,
            FrameHeader::WHOLE_BINARY => Opcode::Binary,
            _ => return None,
        };
        // With the wrong mask bit it is no length.
        let (len, rest) = match second ^ self.rules.mask_bit() {
            len @ 0..=125 => (usize::from(len), rest),
            126 => {
                let (&len, rest) = rest.split_first_chunk()?;
                match u16::from_be_bytes(len) {
                    0..=125 => return None,
                    len => (usize::from(len), rest),
                }
            }
            _ => return None,
        };
        let (mask, rest) = if self.rules.masked {
            let (&mask, rest) = rest.split_first_chunk()?;
            (Some(mask), rest)
        } else {
            (None, rest)
        };
        let (data, rest) = rest.split_at_checked(len)?;
        let part = PayloadPart {
            data,
            mask,
            end: true,
        };
        Some((opcode, part, rest))
    }

    /// Tells whether the stream could end here without cutting a frame.
    #[must_use]
    #[inline]
    pub const fn is_between_frames(&self) -> bool {
        matches!(self.phase, Phase::Header) && self.held_len == 0
    }

    /// Returns how many bytes of payload are still to come of the frame whose header was given
    /// last.
    #[must_use]
    #[inline]
    pub const fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Returns what the frame is for whose header was given last.
    #[inline]
    pub(crate) const fn opcode(&self) -> Opcode {
        self.opcode
    }

    /// Tells whether that frame ends its message.
    #[inline]
    pub(crate) const fn fin(&self) -> bool {
        self.fin
    }

    #[inline]
    fn header(&mut self, input: &mut &[u8]) -> Result<Option<FrameHeader>, FrameError> {
        if self.held_len == 0
            && let Ok(Some((header, rest))) = FrameHeader::split(input, self.rules)
        {
            *input = rest;
            return Ok(Some(self.begin(header)));
        }
        // By value, so that a caller's `input` can stay in registers.
        let (header, rest) = self.header_in_pieces(input);
        *input = rest;
        header
    }

    /// Reads a header that is not wholly in `input`, or is illegal; also returns what follows.
    #[cold]
    #[inline(never)]
    fn header_in_pieces<'a>(
        &mut self,
        input: &'a [u8],
    ) -> (Result<Option<FrameHeader>, FrameError>, &'a [u8]) {
        let mut start = [0; FrameHeader::MAX_LEN];
        let held_len = usize::from(self.held_len);
        let mut known = 0_usize;
        let held = self.held.iter().take(held_len);
        for (slot, &byte) in start.iter_mut().zip(held.chain(input)) {
            *slot = byte;
            known = known.saturating_add(1);
        }
        let known = start.get(..known).unwrap_or_default();
        match FrameHeader::parse(known, self.rules) {
            Ok(Some((header, len))) => {
                let rest = input
                    .get(len.saturating_sub(held_len)..)
                    .unwrap_or_default();
                self.held_len = 0;
                (Ok(Some(self.begin(header))), rest)
            }
            Ok(None) => {
                for (slot, &byte) in self.held.iter_mut().zip(known) {
                    *slot = byte;
                }
                self.held_len = u8::try_from(known.len()).unwrap_or(u8::MAX);
                (Ok(None), &[])
            }
            Err(error) => {
                self.phase = Phase::Failed(error);
                (Err(error), input)
            }
        }
    }

    #[inline]
    fn begin(&mut self, header: FrameHeader) -> FrameHeader {
        self.remaining = header.payload_len();
        self.opcode = header.opcode();
        self.fin = header.fin();
        self.mask = header.mask().unwrap_or_default();
        self.phase = Phase::Payload;
        header
    }

    #[inline]
    fn payload<'a>(&mut self, input: &mut &'a [u8]) -> Option<PayloadPart<'a>> {
        let mask = self.rules.masked.then_some(self.mask);
        let whole = usize::try_from(self.remaining).ok();
        if let Some((data, rest)) = whole.and_then(|len| input.split_at_checked(len)) {
            *input = rest;
            self.remaining = 0;
            self.phase = Phase::Header;
            return Some(PayloadPart {
                data,
                mask,
                end: true,
            });
        }
        if input.is_empty() {
            return None;
        }
        let data = core::mem::take(input);
        let len = u64::try_from(data.len()).unwrap_or(u64::MAX);
        self.remaining = self.remaining.saturating_sub(len);
        self.mask = mask::rotate(self.mask, data.len());
        Some(PayloadPart {
            data,
            mask,
            end: false,
        })
    }
}

/// What a [`FrameDecoder`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameEvent<'a> {
    /// A frame begins.
    Header(FrameHeader),
    /// A part of its payload arrived.
    Payload(PayloadPart<'a>),
}

/// A part of the payload of a frame, empty only if the frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadPart<'a> {
    /// The bytes as they arrived.
    pub data: &'a [u8],
    /// The masking key to unmask `data` with, already rotated to its first byte.
    pub mask: Option<[u8; 4]>,
    /// Whether the frame ends with this part.
    pub end: bool,
}
