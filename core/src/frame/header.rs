//! The header of a frame.

use alloc::vec::Vec;

use super::{FrameError, Opcode};
use crate::Role;

/// The header of a frame, legal by construction (RFC 6455 §5.2).
///
/// ```
/// use wspulse_core::Role;
/// use wspulse_core::frame::{FrameError, FrameHeader, FrameRules, Opcode};
///
/// let header = FrameHeader::new(Opcode::Text, 5)?.with_mask(Some([1, 2, 3, 4]));
/// let mut wire = Vec::new();
/// header.encode_into(&mut wire);
/// assert_eq!(wire, [0x81, 0x85, 1, 2, 3, 4]);
///
/// let from_client = FrameRules::from_peer_of(Role::Server);
/// assert_eq!(FrameHeader::parse(&wire, from_client), Ok(Some((header, 6))));
/// assert_eq!(FrameHeader::parse(&wire[..5], from_client), Ok(None));
/// assert_eq!(FrameHeader::parse(&[0x83], from_client), Err(FrameError::ReservedOpcode));
/// # Ok::<(), FrameError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameHeader {
    payload_len: u64,
    mask: Option<[u8; 4]>,
    opcode: Opcode,
    fin: bool,
    rsv: u8,
}

const _: () = assert!(size_of::<FrameHeader>() <= 16);

impl FrameHeader {
    /// The most bytes a header takes: two, eight of length, four of mask.
    pub const MAX_LEN: usize = 14;

    /// The first reserved bit, in its place on the wire; permessage-deflate sets it (RFC 7692 §6).
    pub const RSV1: u8 = 0x40;
    /// The second reserved bit, in its place on the wire.
    pub const RSV2: u8 = 0x20;
    /// The third reserved bit, in its place on the wire.
    pub const RSV3: u8 = 0x10;

    /// Returns the header of a final frame with a payload of `payload_len` bytes, unmasked and
    /// without reserved bits.
    ///
    /// # Errors
    ///
    /// [`ControlTooLong`](FrameError::ControlTooLong) for a control frame of more than 125 bytes,
    /// [`LengthTopBit`](FrameError::LengthTopBit) for 2^63 bytes or more.
    #[inline]
    pub const fn new(opcode: Opcode, payload_len: u64) -> Result<Self, FrameError> {
        // RFC 6455 §5.5: all control frames MUST have a payload length of 125 bytes or less.
        if opcode.is_control() && payload_len > 125 {
            return Err(FrameError::ControlTooLong);
        }
        if payload_len >> 63 != 0 {
            return Err(FrameError::LengthTopBit);
        }
        Ok(Self {
            payload_len,
            mask: None,
            opcode,
            fin: true,
            rsv: 0,
        })
    }

    /// Returns the header with this masking key, or with none.
    #[must_use]
    #[inline]
    pub const fn with_mask(mut self, mask: Option<[u8; 4]>) -> Self {
        self.mask = mask;
        self
    }

    /// Returns the header of a frame that does, or does not, end its message.
    ///
    /// # Errors
    ///
    /// [`FragmentedControl`](FrameError::FragmentedControl) if `fin` is false on a control frame.
    #[inline]
    pub const fn with_fin(mut self, fin: bool) -> Result<Self, FrameError> {
        // RFC 6455 §5.5: control frames MUST NOT be fragmented.
        if self.opcode.is_control() && !fin {
            return Err(FrameError::FragmentedControl);
        }
        self.fin = fin;
        Ok(self)
    }

    /// Returns the header with these reserved bits: a sum of [`RSV1`](Self::RSV1),
    /// [`RSV2`](Self::RSV2) and [`RSV3`](Self::RSV3).
    ///
    /// # Errors
    ///
    /// [`ReservedBits`](FrameError::ReservedBits) for other bits, and for any bit on a frame that
    /// does not begin a message.
    #[inline]
    pub const fn with_rsv(mut self, rsv: u8) -> Result<Self, FrameError> {
        if rsv & !FrameRules::rsv_of(self.opcode, Self::RSV) != 0 {
            return Err(FrameError::ReservedBits);
        }
        self.rsv = rsv;
        Ok(self)
    }

    /// Tells whether the frame ends its message.
    #[must_use]
    #[inline]
    pub const fn fin(&self) -> bool {
        self.fin
    }

    /// Returns the reserved bits that are set, in their place on the wire.
    #[must_use]
    #[inline]
    pub const fn rsv(&self) -> u8 {
        self.rsv
    }

    /// Returns what the frame is for.
    #[must_use]
    #[inline]
    pub const fn opcode(&self) -> Opcode {
        self.opcode
    }

    /// Returns the masking key (§5.3).
    #[must_use]
    #[inline]
    pub const fn mask(&self) -> Option<[u8; 4]> {
        self.mask
    }

    /// Returns how many bytes of payload follow, less than 2^63: the peer's word, to be held
    /// against a limit before it is believed.
    #[must_use]
    #[inline]
    pub const fn payload_len(&self) -> u64 {
        self.payload_len
    }

    /// Returns how many bytes the header takes on the wire, 2 to 14.
    #[must_use]
    #[inline]
    pub const fn encoded_len(&self) -> usize {
        match (self.payload_len, self.mask) {
            (0..=125, None) => 2,
            (126..=0xFFFF, None) => 4,
            (_, None) => 10,
            (0..=125, Some(_)) => 6,
            (126..=0xFFFF, Some(_)) => 8,
            (_, Some(_)) => 14,
        }
    }

    /// Appends the header to `out`.
    // Most of it is known where it is called.
    #[inline(always)]
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let first = (if self.fin { FIN } else { 0 }) | self.rsv | self.opcode.nibble();
        let mask_bit = if self.mask.is_some() { MASK } else { 0 };
        // RFC 6455 §5.2: the minimal number of bytes MUST be used to encode the length.
        match (
            u8::try_from(self.payload_len),
            u16::try_from(self.payload_len),
        ) {
            (Ok(len @ 0..=125), _) => out.extend_from_slice(&[first, mask_bit | len]),
            (_, Ok(len)) => {
                let [high, low] = len.to_be_bytes();
                out.extend_from_slice(&[first, mask_bit | LEN_16, high, low]);
            }
            _ => {
                out.extend_from_slice(&[first, mask_bit | LEN_64]);
                out.extend_from_slice(&self.payload_len.to_be_bytes());
            }
        }
        if let Some(mask) = &self.mask {
            out.extend_from_slice(mask);
        }
    }

    /// Reads the header at the start of `input` and tells how many bytes it takes; `None` if it is
    /// not complete but legal so far.
    ///
    /// # Errors
    ///
    /// Says which rule the header breaks, as soon as `input` holds the byte that breaks it.
    #[inline]
    pub fn parse(input: &[u8], rules: FrameRules) -> Result<Option<(Self, usize)>, FrameError> {
        Ok(Self::split(input, rules)?.map(|(header, rest)| {
            let taken = input.len().saturating_sub(rest.len());
            (header, taken)
        }))
    }

    /// Reads the header at the start of `input` and returns what follows it.
    // Kept in registers: through memory, its byte-wise stores would stall the word-wise loads.
    #[inline(always)]
    pub(super) fn split(
        input: &[u8],
        rules: FrameRules,
    ) -> Result<Option<(Self, &[u8])>, FrameError> {
        let Some((&[first, second], rest)) = input.split_first_chunk() else {
            if let Some(&first) = input.first() {
                parse_first(first, rules)?;
            }
            return Ok(None);
        };
        let (fin, rsv, opcode) = parse_first(first, rules)?;
        // RFC 6455 §5.1: a client MUST mask all frames that it sends, a server MUST NOT mask any.
        let masked = second & MASK != 0;
        if masked != rules.masked {
            return Err(if masked {
                FrameError::Masked
            } else {
                FrameError::NotMasked
            });
        }
        let len = second & !MASK;
        if opcode.is_control() && len > 125 {
            return Err(FrameError::ControlTooLong);
        }
        let (payload_len, rest) = if len < LEN_16 {
            (u64::from(len), rest)
        } else {
            match parse_extended(len, rest)? {
                Some(extended) => extended,
                None => return Ok(None),
            }
        };
        let (mask, rest) = if masked {
            let Some((&mask, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            (Some(mask), rest)
        } else {
            (None, rest)
        };
        Ok(Some((
            Self {
                payload_len,
                mask,
                opcode,
                fin,
                rsv,
            },
            rest,
        )))
    }

    /// The first byte of a message in one frame, without extensions.
    pub(super) const WHOLE_TEXT: u8 = FIN | Opcode::Text.nibble();
    pub(super) const WHOLE_BINARY: u8 = FIN | Opcode::Binary.nibble();

    const RSV: u8 = Self::RSV1 | Self::RSV2 | Self::RSV3;
}

/// What the frames of a peer must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameRules {
    /// Whether every frame must be masked; if not, none may be (RFC 6455 §5.1).
    pub masked: bool,
    /// The reserved bits that the agreed extensions gave a meaning, in their place on the wire.
    /// They are legal on Text and Binary only (RFC 7692 §6).
    pub rsv: u8,
}

impl FrameRules {
    /// Returns the rules for what arrives at `role` without extensions: a server takes masked
    /// frames only, a client unmasked ones (RFC 6455 §5.1).
    #[must_use]
    pub const fn from_peer_of(role: Role) -> Self {
        Self {
            masked: matches!(role, Role::Server),
            rsv: 0,
        }
    }

    /// The bit that tells of a mask, as it has to be.
    #[inline]
    pub(super) const fn mask_bit(self) -> u8 {
        if self.masked { MASK } else { 0 }
    }

    /// The reserved bits that a frame with this opcode may have set, of those in `rsv`.
    #[inline]
    const fn rsv_of(opcode: Opcode, rsv: u8) -> u8 {
        match opcode {
            Opcode::Text | Opcode::Binary => rsv & FrameHeader::RSV,
            _ => 0,
        }
    }
}

/// Judges the first byte.
#[inline]
fn parse_first(first: u8, rules: FrameRules) -> Result<(bool, u8, Opcode), FrameError> {
    // RFC 6455 §5.2: an unknown opcode, or a reserved bit without a negotiated meaning, MUST fail
    // the connection.
    let Some(opcode) = Opcode::from_nibble(first & 0x0F) else {
        return Err(FrameError::ReservedOpcode);
    };
    let rsv = first & FrameHeader::RSV;
    if rsv & !FrameRules::rsv_of(opcode, rules.rsv) != 0 {
        return Err(FrameError::ReservedBits);
    }
    let fin = first & FIN != 0;
    if opcode.is_control() && !fin {
        return Err(FrameError::FragmentedControl);
    }
    Ok((fin, rsv, opcode))
}

/// Reads a length of two or eight bytes, as `len` announces.
fn parse_extended(len: u8, input: &[u8]) -> Result<Option<(u64, &[u8])>, FrameError> {
    if len == LEN_16 {
        let Some((&bytes, rest)) = input.split_first_chunk() else {
            return Ok(None);
        };
        let len = u16::from_be_bytes(bytes);
        if len <= 125 {
            return Err(FrameError::LengthNotMinimal);
        }
        return Ok(Some((u64::from(len), rest)));
    }
    // RFC 6455 §5.2: the most significant bit MUST be 0.
    if input.first().is_some_and(|&top| top & 0x80 != 0) {
        return Err(FrameError::LengthTopBit);
    }
    // Six zeroes leave no length that two bytes could not have said.
    if input.starts_with(&[0; 6]) {
        return Err(FrameError::LengthNotMinimal);
    }
    let Some((&bytes, rest)) = input.split_first_chunk() else {
        return Ok(None);
    };
    Ok(Some((u64::from_be_bytes(bytes), rest)))
}

const FIN: u8 = 0x80;
const MASK: u8 = 0x80;
const LEN_16: u8 = 126;
const LEN_64: u8 = 127;
