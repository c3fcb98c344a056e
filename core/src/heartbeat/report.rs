//! What a heartbeat tells: verdicts, events and numbers.

use core::fmt;
use core::time::Duration;

use super::Rtt;

/// Why the peer is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadReason {
    /// A ping stayed without a sign of life for the timeout.
    PongTimeout,
    /// A passive heartbeat heard nothing for its timeout.
    Silence,
    /// The transport took nothing for `write_stall_timeout` while output waited.
    WriteStalled,
}

impl fmt::Display for DeadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PongTimeout => "no sign of life after a ping",
            Self::Silence => "no sign of life",
            Self::WriteStalled => "transport takes no output",
        })
    }
}

/// What a heartbeat has to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeartbeatEvent {
    /// No sign of life for `suspect_after`.
    Suspect,
    /// The suspected peer gave a sign of life.
    Recovered,
    /// Nothing was read, and no read attempt reported, for interval + 2 timeouts or for
    /// `unread_timeout`: the owner holds its reads back, or forgets to call
    /// [`handle_would_block`](super::Heartbeat::handle_would_block). Told once until a byte or a
    /// report comes. It says nothing of the peer, which cannot be judged.
    NotRead,
    /// The peer is gone. Nothing follows.
    Dead(DeadReason),
}

/// What a pong was worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PongMatch {
    /// It answers the latest ping, for the first time; here is the sample.
    Matched(Duration),
    /// It answers the latest ping, for the first time, but how long that took is not known: the
    /// transport has yet to report that the ping left, or a local pause lies between.
    Untimed,
    /// It answers an earlier ping, or the latest one again: no sample.
    Late,
    /// It is no answer to a ping of this heartbeat.
    Unsolicited,
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeartbeatTimeout {
    /// A ping is, or may be, due.
    Ping,
    /// Suspicion.
    Suspect,
    /// Death by silence.
    Dead,
    /// Death by a transport that takes nothing.
    WriteStall,
    /// A word that nothing was read.
    NotRead,
    /// Nothing may be due: a pause of this side that goes past it is seen there.
    Step,
}

/// A heartbeat's numbers at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct HeartbeatSnapshot {
    /// How long ago the last byte came. This and the other times are awake time: what this side
    /// slept past its deadlines is not counted.
    pub since_received: Duration,
    /// How long ago the transport last took a byte.
    pub since_sent: Duration,
    /// How long the outstanding ping has been waiting for a sign of life.
    pub awaiting: Option<Duration>,
    /// Whether the peer is under suspicion.
    pub suspect: bool,
    /// Whether nothing was read for so long that nobody can judge the peer
    /// ([`HeartbeatEvent::NotRead`]).
    pub not_read: bool,
    /// Round-trip times, once there is a sample.
    pub rtt: Option<Rtt>,
    /// Pings made.
    pub pings: u32,
    /// Pings answered by their own pong.
    pub answered: u32,
    /// Pings that had no pong of their own when the next one was made.
    pub lost: u32,
    /// Calls that were late by more than a quarter of the timeout, and reported pauses.
    pub local_pauses: u16,
}
