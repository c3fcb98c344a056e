//! Why a connection ends, as the Close frame says it.

use core::error::Error;
use core::fmt;

use bytestring::ByteString;

/// The number in a Close frame that says why the connection ends (RFC 6455 §7.4).
///
/// Any number can be held, for a peer may send any; [`is_sendable`](Self::is_sendable) tells those
/// that are legal on the wire.
///
/// ```
/// use wspulse_core::CloseCode;
///
/// assert_eq!(CloseCode::NORMAL.as_u16(), 1000);
/// assert!(CloseCode::new(4000).is_sendable());
/// assert!(!CloseCode::ABNORMAL.is_sendable());
/// assert_eq!(CloseCode::GOING_AWAY.to_string(), "1001 (going away)");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: a server goes down, or a browser leaves the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: the type of data cannot be accepted.
    pub const UNSUPPORTED: Self = Self(1003);
    /// 1005: the Close frame carried no code; never on the wire (§7.1.5).
    pub const NO_STATUS: Self = Self(1005);
    /// 1006: the connection ended without a Close frame; never on the wire (§7.1.5).
    pub const ABNORMAL: Self = Self(1006);
    /// 1007: the payload does not fit its type, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: the peer broke a rule that has no code of its own.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: the message is larger than the receiver takes.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1010: the server did not agree to an extension that the client needs.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// 1011: something unexpected kept this end from going on.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the service restarts (IANA registry).
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: the service is overloaded (IANA registry).
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// 1014: a gateway got an invalid answer from behind it (IANA registry).
    pub const BAD_GATEWAY: Self = Self(1014);

    /// Returns the code with this number, whether legal or not.
    #[must_use]
    pub const fn new(code: u16) -> Self {
        Self(code)
    }

    /// Returns the number.
    #[must_use]
    pub const fn as_u16(self) -> u16 {
        self.0
    }

    /// Tells whether a Close frame may carry this code: 1000-1003, 1007-1014 and 3000-4999
    /// (RFC 6455 §7.4.2 and the IANA registry it opens).
    #[must_use]
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    const fn meaning(self) -> Option<&'static str> {
        Some(match self {
            Self::NORMAL => "normal",
            Self::GOING_AWAY => "going away",
            Self::PROTOCOL_ERROR => "protocol error",
            Self::UNSUPPORTED => "unsupported data",
            Self::NO_STATUS => "no status",
            Self::ABNORMAL => "abnormal",
            Self::INVALID_PAYLOAD => "invalid payload",
            Self::POLICY_VIOLATION => "policy violation",
            Self::MESSAGE_TOO_BIG => "message too big",
            Self::MANDATORY_EXTENSION => "mandatory extension",
            Self::INTERNAL_ERROR => "internal error",
            Self::SERVICE_RESTART => "service restart",
            Self::TRY_AGAIN_LATER => "try again later",
            Self::BAD_GATEWAY => "bad gateway",
            _ => return None,
        })
    }
}

impl From<u16> for CloseCode {
    fn from(code: u16) -> Self {
        Self(code)
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        code.0
    }
}

/// The number, and what it means where that is registered.
impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.meaning() {
            Some(meaning) => write!(f, "{} ({meaning})", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

/// What a Close frame with a body says (RFC 6455 §5.5.1).
///
/// ```
/// use wspulse_core::{CloseCode, CloseFrame};
///
/// let mut buf = [0; CloseFrame::MAX_PAYLOAD];
/// let payload = CloseFrame::encode(CloseCode::NORMAL, "bye", &mut buf)?;
/// assert_eq!(payload, b"\x03\xE8bye");
///
/// let close = CloseFrame::parse(payload).unwrap().unwrap();
/// assert_eq!(close.code, CloseCode::NORMAL);
/// assert_eq!(close.reason, "bye");
///
/// assert_eq!(CloseFrame::parse(b""), Ok(None));
/// # Ok::<(), wspulse_core::CloseEncodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CloseFrame {
    /// Why the connection ends.
    pub code: CloseCode,
    /// The same for people to read, at most 123 bytes, often empty.
    pub reason: ByteString,
}

impl CloseFrame {
    /// The most bytes a Close frame can carry, as any control frame (RFC 6455 §5.5).
    pub const MAX_PAYLOAD: usize = 125;

    /// The most bytes of a reason: what the code leaves of [`MAX_PAYLOAD`](Self::MAX_PAYLOAD).
    pub const MAX_REASON: usize = 123;

    /// Reads the unmasked payload of a Close frame; `None` if it is empty.
    ///
    /// # Errors
    ///
    /// Says which rule the payload breaks; [`CloseError::close_code`] is the answer to it.
    pub fn parse(payload: &[u8]) -> Result<Option<Self>, CloseError> {
        let (code, reason) = match payload {
            [] => return Ok(None),
            [_] => return Err(CloseError::CodeCut),
            [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
        };
        let code = CloseCode(code);
        if !code.is_sendable() {
            return Err(CloseError::InvalidCode(code));
        }
        let reason = core::str::from_utf8(reason).map_err(|_| CloseError::ReasonNotUtf8)?;
        Ok(Some(Self {
            code,
            reason: reason.into(),
        }))
    }

    /// Writes the payload of a Close frame into `buf` and returns the part that was written.
    ///
    /// # Errors
    ///
    /// Fails if the code is not [sendable](CloseCode::is_sendable) or the reason is longer than
    /// [`MAX_REASON`](Self::MAX_REASON) bytes; a reason is never cut.
    pub fn encode<'b>(
        code: CloseCode,
        reason: &str,
        buf: &'b mut [u8; Self::MAX_PAYLOAD],
    ) -> Result<&'b [u8], CloseEncodeError> {
        if !code.is_sendable() {
            return Err(CloseEncodeError::UnsendableCode(code));
        }
        let [high, low, room @ ..] = buf;
        let Some(room) = room.get_mut(..reason.len()) else {
            return Err(CloseEncodeError::ReasonTooLong(reason.len()));
        };
        [*high, *low] = code.as_u16().to_be_bytes();
        room.copy_from_slice(reason.as_bytes());
        let (payload, _) = buf.split_at(reason.len().saturating_add(2).min(Self::MAX_PAYLOAD));
        Ok(payload)
    }
}

/// What is wrong with the payload of a Close frame that the peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseError {
    /// The payload is one byte: half a code (RFC 6455 §5.5.1).
    CodeCut,
    /// The code must not be on the wire (§7.4).
    InvalidCode(CloseCode),
    /// The reason is not UTF-8 (§5.5.1).
    ReasonNotUtf8,
}

impl CloseError {
    /// Returns the code to fail the connection with: 1002, or 1007 for the reason.
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::CodeCut | Self::InvalidCode(_) => CloseCode::PROTOCOL_ERROR,
            Self::ReasonNotUtf8 => CloseCode::INVALID_PAYLOAD,
        }
    }

    /// Returns the section of RFC 6455 that holds the rule.
    #[must_use]
    pub const fn section(self) -> &'static str {
        match self {
            Self::CodeCut | Self::ReasonNotUtf8 => "RFC 6455 §5.5.1",
            Self::InvalidCode(_) => "RFC 6455 §7.4",
        }
    }
}

impl fmt::Display for CloseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CodeCut => f.write_str("close frame with half a code"),
            Self::InvalidCode(code) => write!(f, "close frame with the illegal code {code}"),
            Self::ReasonNotUtf8 => f.write_str("close reason that is not utf-8"),
        }
    }
}

impl Error for CloseError {}

/// Why a code and reason of the caller do not make a Close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseEncodeError {
    /// The code must not be on the wire (RFC 6455 §7.4).
    UnsendableCode(CloseCode),
    /// The reason has this many bytes, more than [`CloseFrame::MAX_REASON`] (§5.5).
    ReasonTooLong(usize),
}

impl fmt::Display for CloseEncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnsendableCode(code) => write!(f, "close code {code} cannot be sent"),
            Self::ReasonTooLong(len) => {
                write!(
                    f,
                    "close reason of {len} bytes, at most {} fit",
                    CloseFrame::MAX_REASON
                )
            }
        }
    }
}

impl Error for CloseEncodeError {}

#[cfg(test)]
mod tests {

    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use super::*;

    fn payload(code: u16, reason: &[u8]) -> Vec<u8> {
        [&code.to_be_bytes(), reason].concat()
    }

    #[test]
    fn u5_a_reason_that_is_not_utf8_is_1007() {
        let error = CloseFrame::parse(&payload(1000, b"\xC3\x28")).unwrap_err();
        assert_eq!(error, CloseError::ReasonNotUtf8);
        assert_eq!(error.close_code(), CloseCode::INVALID_PAYLOAD);
    }

    #[test]
    fn u6_half_a_code_is_1002() {
        let error = CloseFrame::parse(&[3]).unwrap_err();
        assert_eq!(error, CloseError::CodeCut);
        assert_eq!(error.close_code(), CloseCode::PROTOCOL_ERROR);
    }

    #[test]
    fn u7_every_code_is_accepted_or_refused_as_the_registry_says() {
        for code in 0..=u16::MAX {
            let legal = (1000..=1003).contains(&code)
                || (1007..=1014).contains(&code)
                || (3000..5000).contains(&code);
            let parsed = CloseFrame::parse(&payload(code, b""));
            if legal {
                let reason = ByteString::new();
                assert_eq!(
                    parsed,
                    Ok(Some(CloseFrame {
                        code: code.into(),
                        reason
                    }))
                );
            } else {
                let error = parsed.unwrap_err();
                assert_eq!(error, CloseError::InvalidCode(CloseCode::new(code)));
                assert_eq!(error.close_code(), CloseCode::PROTOCOL_ERROR);
            }
        }
        for code in [
            0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535,
        ] {
            assert!(!CloseCode::new(code).is_sendable(), "{code}");
        }
    }

    #[test]
    fn u9_an_empty_close_has_no_code() {
        assert_eq!(CloseFrame::parse(&[]), Ok(None));
    }

    #[test]
    fn u10_what_cannot_be_sent_is_a_typed_error_and_writes_nothing() {
        let mut buf = [0xAA; CloseFrame::MAX_PAYLOAD];
        let long = "r".repeat(124);
        assert_eq!(
            CloseFrame::encode(CloseCode::NORMAL, &long, &mut buf),
            Err(CloseEncodeError::ReasonTooLong(124))
        );
        for code in [1005, 1006, 1015, 2999].map(CloseCode::new) {
            assert_eq!(
                CloseFrame::encode(code, "", &mut buf),
                Err(CloseEncodeError::UnsendableCode(code))
            );
        }
        assert_eq!(buf, [0xAA; CloseFrame::MAX_PAYLOAD]);
    }

    #[test]
    fn every_reason_that_fits_comes_back() {
        let longest: String = "é".repeat(61) + "!";
        assert_eq!(longest.len(), CloseFrame::MAX_REASON);
        for (end, _) in longest.char_indices().chain([(123, '!')]) {
            let reason = &longest[..end];
            let mut buf = [0; CloseFrame::MAX_PAYLOAD];
            let payload = CloseFrame::encode(CloseCode::new(3000), reason, &mut buf).unwrap();
            assert_eq!(payload.len(), reason.len() + 2);
            let close = CloseFrame::parse(payload).unwrap().unwrap();
            assert_eq!((close.code.as_u16(), &*close.reason), (3000, reason));
        }
    }

    #[test]
    fn messages_are_lower_case_and_without_a_full_stop() {
        let code = CloseCode::new(1005);
        assert_eq!(
            CloseError::InvalidCode(code).to_string(),
            "close frame with the illegal code 1005 (no status)"
        );
        assert_eq!(
            CloseEncodeError::ReasonTooLong(200).to_string(),
            "close reason of 200 bytes, at most 123 fit"
        );
        assert_eq!(CloseCode::new(4321).to_string(), "4321");
    }
}
