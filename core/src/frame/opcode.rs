//! What a frame is for.

/// What a frame is for (RFC 6455 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// 0: goes on with the message of an earlier frame (§5.4).
    Continuation = 0x0,
    /// 1: begins a message of UTF-8 text.
    Text = 0x1,
    /// 2: begins a message of bytes.
    Binary = 0x2,
    /// 8: begins or answers the closing handshake (§5.5.1).
    Close = 0x8,
    /// 9: asks for a pong (§5.5.2).
    Ping = 0x9,
    /// 10: answers a ping, or says unasked that the sender lives (§5.5.3).
    Pong = 0xA,
}

impl Opcode {
    /// Returns the opcode with this number on the wire, `None` for the reserved ones.
    #[must_use]
    #[inline]
    pub const fn from_nibble(nibble: u8) -> Option<Self> {
        Some(match nibble {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    /// Returns the number on the wire, 0 to 10.
    #[must_use]
    #[inline]
    pub const fn nibble(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    /// Tells whether this is Close, Ping or Pong: never fragmented, at most 125 bytes (§5.5).
    #[must_use]
    #[inline]
    pub const fn is_control(self) -> bool {
        self.nibble() & 0x8 != 0
    }
}
