//! Three kinds of error that never mix: what the caller did wrong is an `Err` and harms nothing
//! ([`AnswerError`](crate::handshake::AnswerError), [`SendError`], [`ConfigError`]); what the peer
//! did wrong, or failed to do, ends in one final [`Closed`].

use core::fmt;
use core::time::Duration;

use crate::close::{CloseCode, CloseEncodeError, CloseError, CloseFrame};
use crate::connection::Snapshot;
use crate::frame::FrameError;
use crate::handshake::HandshakeError;
use crate::heartbeat::DeadReason;
use crate::message::Message;

/// Something was not queued. Nothing was sent and nothing closed; a message comes back.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The outgoing queue is at its limit: let the transport take some, then send again.
    Full(Message),
    /// The connection is not open: not yet, or no longer.
    NotOpen(Message),
    /// A message that is sent in parts is not finished; or a part is of another kind than the
    /// parts before it (RFC 6455 §5.4).
    Unfinished(Message),
    /// A ping payload of more than 125 bytes (RFC 6455 §5.5).
    PingTooLong,
    /// Too many pings wait to be sent: let the transport take some.
    PingNotQueued,
    /// A ping for a connection that is not open: not yet, or no longer.
    PingNotOpen,
    /// A close code that must not be sent, or a reason of more than 123 bytes (RFC 6455 §5.5,
    /// §7.4).
    Close(CloseEncodeError),
}

impl SendError {
    /// Returns the message that was not queued.
    #[must_use]
    pub fn into_message(self) -> Option<Message> {
        match self {
            Self::Full(message) | Self::NotOpen(message) | Self::Unfinished(message) => {
                Some(message)
            }
            _ => None,
        }
    }
}

/// With the length of a message that comes back, and not with its content: the message that was not
/// sent is often the one that logs in.
impl fmt::Debug for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, message) = match self {
            Self::Full(message) => ("Full", message),
            Self::NotOpen(message) => ("NotOpen", message),
            Self::Unfinished(message) => ("Unfinished", message),
            Self::PingTooLong => return f.write_str("PingTooLong"),
            Self::PingNotQueued => return f.write_str("PingNotQueued"),
            Self::PingNotOpen => return f.write_str("PingNotOpen"),
            Self::Close(error) => return f.debug_tuple("Close").field(error).finish(),
        };
        let size = message.len();
        write!(f, "{name}({size} bytes)")
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("the outgoing queue is full"),
            Self::NotOpen(_) | Self::PingNotOpen => f.write_str("the connection is not open"),
            Self::Unfinished(_) => {
                f.write_str("a message in parts of another kind is not finished")
            }
            Self::PingTooLong => f.write_str("a ping carries at most 125 bytes"),
            Self::PingNotQueued => f.write_str("too many pings wait to be sent"),
            Self::Close(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl core::error::Error for SendError {}

/// A configuration that cannot work, refused when it is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The heartbeat's interval is zero.
    ZeroInterval,
    /// A timeout is zero.
    ZeroTimeout,
    /// Suspicion would come after death: `suspect_after` is zero or above the timeout.
    SuspectAfter,
    /// The write stall timeout or the unread timeout is zero.
    ZeroDuration,
    /// A passive heartbeat that accepts only pongs as evidence, and sends no pings.
    EvidenceWithoutPings,
    /// Jitter above 50 %.
    Jitter,
    /// A limit of zero, which nothing could pass.
    ZeroLimit,
    /// The close code for a dead peer must not be sent.
    CloseCode,
    /// An application heartbeat that answers itself, has a payload that is empty or above 125
    /// bytes, or asks while the heartbeat sends no pings.
    ApplicationHeartbeat,
    /// A compression level that is not 1 to 9.
    DeflateLevel,
    /// Window bits below 8 or above 15 (RFC 7692 §7.1.2).
    DeflateWindowBits,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ZeroInterval => "the heartbeat's interval must not be zero",
            Self::ZeroTimeout => "a timeout must not be zero",
            Self::SuspectAfter => "suspect_after must lie between zero and the timeout",
            Self::ZeroDuration => "write_stall_timeout and unread_timeout must not be zero",
            Self::EvidenceWithoutPings => "a passive heartbeat gets no pongs to go by",
            Self::Jitter => "jitter is at most 50 percent",
            Self::ZeroLimit => "a limit must not be zero",
            Self::CloseCode => "the close code for a dead peer must not be sent",
            Self::ApplicationHeartbeat => {
                "an application heartbeat needs pings, and two different payloads of 1 to 125 bytes"
            }
            Self::DeflateLevel => "a compression level is 1 to 9",
            Self::DeflateWindowBits => "window bits are 8 to 15",
        })
    }
}

impl core::error::Error for ConfigError {}

/// What the peer did against RFC 6455, one variant a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A frame whose header breaks a rule of §5.2 to §5.5.
    Frame(FrameError),
    /// A continuation frame with no message to continue (§5.4).
    UnexpectedContinuation,
    /// A new message before the last fragment of the one before (§5.4).
    ExpectedContinuation,
    /// Text that is not UTF-8 (§8.1).
    InvalidUtf8,
    /// A Close frame with a code or reason that must not be sent (§5.5.1, §7.4).
    Close(CloseError),
    /// A compressed message that cannot be inflated, or does not end where it should (RFC 7692
    /// §7.2). The RFC names no close code; 1007 says what is the matter, data that is not what it
    /// claims to be, and is what the `ws` of Node.js sends.
    InvalidDeflate,
}

impl ProtocolError {
    /// Returns the code that goes on the wire (RFC 6455 §7.4.1).
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::InvalidUtf8 | Self::InvalidDeflate => CloseCode::INVALID_PAYLOAD,
            Self::Close(error) => error.close_code(),
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }

    /// Returns the section of the RFC that was broken.
    #[must_use]
    pub const fn section(self) -> &'static str {
        match self {
            Self::Frame(error) => error.section(),
            Self::UnexpectedContinuation | Self::ExpectedContinuation => "RFC 6455 §5.4",
            Self::InvalidUtf8 => "RFC 6455 §8.1",
            Self::Close(error) => error.section(),
            Self::InvalidDeflate => "RFC 7692 §7.2",
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(error) => fmt::Display::fmt(error, f),
            Self::UnexpectedContinuation => f.write_str("continuation without a message"),
            Self::ExpectedContinuation => f.write_str("new message inside a fragmented one"),
            Self::InvalidUtf8 => f.write_str("text is not utf-8"),
            Self::Close(error) => fmt::Display::fmt(error, f),
            Self::InvalidDeflate => f.write_str("compressed message is invalid"),
        }
    }
}

impl core::error::Error for ProtocolError {}

/// Which limit the peer went beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LimitExceeded {
    /// A frame longer than `max_frame_size`, judged from its header.
    FrameSize,
    /// A message longer than `max_message_size`, judged from the header that would pass it, or as
    /// it is inflated.
    MessageSize,
    /// More fragments than `max_fragment_count` and the bytes received allow.
    FragmentCount,
    /// More control frames than any honest use.
    ControlFlood,
    /// A message that took longer than `message_timeout`.
    MessageTime,
}

impl LimitExceeded {
    /// Returns the code that goes on the wire (RFC 6455 §7.4.1).
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::FrameSize | Self::MessageSize => CloseCode::MESSAGE_TOO_BIG,
            Self::FragmentCount | Self::ControlFlood | Self::MessageTime => {
                CloseCode::POLICY_VIOLATION
            }
        }
    }
}

impl fmt::Display for LimitExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FrameSize => "frame above the size limit",
            Self::MessageSize => "message above the size limit",
            Self::FragmentCount => "too many fragments for so few bytes",
            Self::ControlFlood => "flood of control frames",
            Self::MessageTime => "message took too long",
        })
    }
}

impl core::error::Error for LimitExceeded {}

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The closing handshake was done (RFC 6455 §7.1.4).
    Normal,
    /// The peer broke the protocol.
    Protocol(ProtocolError),
    /// The peer went beyond a limit.
    Limit(LimitExceeded),
    /// The opening handshake failed.
    Handshake(HandshakeError),
    /// The server refused the request ([`reject`](crate::Connection::reject)).
    Rejected {
        /// The HTTP status it answered with.
        status: u16,
    },
    /// The peer is gone, says the heartbeat.
    Dead(DeadReason),
    /// The opening handshake took too long.
    HandshakeTimeout,
    /// The closing handshake took too long.
    CloseTimeout,
    /// No message in either direction for `idle_timeout`.
    IdleTimeout,
    /// The connection reached `max_age`.
    MaxAge,
    /// Nobody read for `unread_timeout`. This says nothing of the peer.
    Unread,
    /// The transport ended without a Close frame (1006).
    Eof,
    /// The application called [`abort`](crate::Connection::abort).
    Aborted,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("closed"),
            Self::Protocol(error) => write!(f, "protocol error: {error} ({})", error.section()),
            Self::Limit(limit) => write!(f, "limit exceeded: {limit}"),
            Self::Handshake(error) => write!(f, "handshake failed: {error}"),
            Self::Rejected { status } => write!(f, "request rejected with status {status}"),
            Self::Dead(reason) => write!(f, "peer is dead: {reason}"),
            Self::HandshakeTimeout => f.write_str("opening handshake timed out"),
            Self::CloseTimeout => f.write_str("closing handshake timed out"),
            Self::IdleTimeout => f.write_str("no message for the idle timeout"),
            Self::MaxAge => f.write_str("maximum age reached"),
            Self::Unread => f.write_str("nothing was read for the unread timeout"),
            Self::Eof => f.write_str("transport ended without a close frame"),
            Self::Aborted => f.write_str("aborted"),
        }
    }
}

/// Who began the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Initiator {
    /// This side: a command, a deadline, or a verdict about the peer.
    Local,
    /// The peer: its Close frame, or the end of its stream.
    Peer,
}

/// How a connection ended, with numbers. The payload of the last [`Event`](crate::Event).
#[derive(Clone, Debug, Hash)]
#[non_exhaustive]
pub struct Closed {
    /// Why.
    pub cause: Cause,
    /// Who began it.
    pub initiator: Initiator,
    /// The code of the Close frame that the transport took, `NO_STATUS` if it was empty.
    pub sent: Option<CloseCode>,
    /// The Close frame that came, `NO_STATUS` if it was empty.
    pub received: Option<CloseFrame>,
    /// Whether Close frames went both ways (RFC 6455 §7.1.4).
    pub clean: bool,
    /// The last numbers.
    pub snapshot: Snapshot,
    /// How long the silence was when the peer was declared dead; zero otherwise.
    pub silence: Duration,
}

impl Closed {
    /// Returns the code the browser API would show: the peer's, or 1006 without a Close frame
    /// (RFC 6455 §7.1.5).
    #[must_use]
    pub fn code(&self) -> CloseCode {
        self.received
            .as_ref()
            .map_or(CloseCode::ABNORMAL, |frame| frame.code)
    }
}

/// One line for a log.
impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cause)?;
        if let Some(frame) = &self.received {
            write!(f, ", received {}", frame.code.as_u16())?;
            if !frame.reason.is_empty() {
                write!(f, " {:?}", &*frame.reason)?;
            }
        }
        if let Some(code) = self.sent {
            write!(f, ", sent {}", code.as_u16())?;
        }
        Ok(())
    }
}

impl core::error::Error for Closed {}
