//! The rules that a frame header can break.

use core::error::Error;
use core::fmt;

use crate::CloseCode;

/// The rule of RFC 6455 that a frame header breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FrameError {
    /// The opcode is 3 to 7 or 11 to 15 (§5.2).
    ReservedOpcode,
    /// A reserved bit is set that no extension gave a meaning here (§5.2; RFC 7692 §6).
    ReservedBits,
    /// A Close, Ping or Pong without FIN (§5.5).
    FragmentedControl,
    /// A Close, Ping or Pong of more than 125 bytes (§5.5).
    ControlTooLong,
    /// A client sent a frame without a mask (§5.1).
    NotMasked,
    /// A server sent a frame with a mask (§5.1).
    Masked,
    /// The most significant bit of a 64-bit length is set (§5.2).
    LengthTopBit,
    /// The length is written in more bytes than it needs (§5.2).
    LengthNotMinimal,
}

impl FrameError {
    /// Returns the code to fail the connection with: 1002.
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        CloseCode::PROTOCOL_ERROR
    }

    /// Returns the section of RFC 6455 that holds the rule.
    #[must_use]
    pub const fn section(self) -> &'static str {
        match self {
            Self::NotMasked | Self::Masked => "RFC 6455 §5.1",
            Self::ReservedOpcode
            | Self::ReservedBits
            | Self::LengthTopBit
            | Self::LengthNotMinimal => "RFC 6455 §5.2",
            Self::FragmentedControl | Self::ControlTooLong => "RFC 6455 §5.5",
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReservedOpcode => "frame with a reserved opcode",
            Self::ReservedBits => "frame with a reserved bit set",
            Self::FragmentedControl => "fragmented control frame",
            Self::ControlTooLong => "control frame of more than 125 bytes",
            Self::NotMasked => "frame from a client without a mask",
            Self::Masked => "frame from a server with a mask",
            Self::LengthTopBit => "frame length with the top bit set",
            Self::LengthNotMinimal => "frame length in more bytes than needed",
        })
    }
}

impl Error for FrameError {}
