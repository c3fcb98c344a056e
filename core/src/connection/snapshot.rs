//! The numbers of a connection at one moment.

use core::fmt;

use crate::heartbeat::{HeartbeatSnapshot, HeartbeatTimeout};

/// Where a connection stands in its life (RFC 6455 §4.1, §7.1; the browser's `readyState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The opening handshake is under way.
    Connecting,
    /// Messages flow.
    Open,
    /// The closing handshake is under way, or the connection is being failed.
    Closing,
    /// It is over.
    Closed,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connecting => "connecting",
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Closed => "closed",
        })
    }
}

/// What [`poll_timeout`](crate::Connection::poll_timeout) waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeoutReason {
    /// The opening handshake's deadline.
    Handshake,
    /// The heartbeat.
    Heartbeat(HeartbeatTimeout),
    /// `idle_timeout`, `max_age` or `message_timeout`.
    Limit,
    /// The closing handshake's deadline, or the linger of a dead connection.
    Close,
}

/// A connection's numbers at one moment, from
/// [`Connection::snapshot`](crate::Connection::snapshot). O(1), and allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Snapshot {
    /// Where the connection stands.
    pub state: State,
    /// Bytes queued and not yet taken by the transport.
    pub buffered_amount: usize,
    /// Silence, round-trip times and pings.
    pub heartbeat: HeartbeatSnapshot,
}
