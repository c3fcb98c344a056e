//! How a peer behaves: the nine behaviours, and the knobs they are made of.

use std::time::Duration;

use crate::kit::ms;

/// How a peer behaves after the opening handshake.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Manner {
    /// How pings are answered.
    pub answer: Answer,
    /// How long an answer takes.
    pub answer_after: Duration,
    /// How long it reads nothing at first.
    pub reads_after: Duration,
    /// How many bytes a second it reads then; `None` for what there is.
    pub rate: Option<f64>,
    /// What it sends of its own.
    pub sending: Sending,
    /// From when on it does nothing at all, and leaves the connection open.
    pub silent_from: Duration,
}

/// How a peer answers pings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// As RFC 6455 §5.5.3 says.
    Right,
    /// With an empty pong.
    Empty,
    /// Not at all.
    Nothing,
}

/// What a peer sends of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// Nothing.
    Nothing,
    /// So many binary messages of so many bytes, at once, and whatever else has to queue behind
    /// them.
    Burst {
        /// How many.
        count: usize,
        /// The payload of each.
        size: usize,
    },
    /// One frame of so many bytes, in pieces; what else there is to send waits for its end.
    Slow {
        /// The frame's payload.
        size: usize,
        /// Bytes a piece.
        piece: usize,
        /// A piece each so often.
        every: Duration,
    },
    /// Pongs that nobody asked for.
    Pongs(Duration),
    /// Small binary messages.
    Data(Duration),
    /// Small pings, that want an answer.
    Pings(Duration),
    /// Pings of 125 bytes as fast as the transport takes them, up to so many bytes.
    Flood(usize),
    /// Binary messages of this size as fast as the transport takes them.
    Stream(usize),
    /// A frame that RFC 6455 §5.2 forbids, and so many bytes behind it.
    Illegal(usize),
}

impl Manner {
    /// Reads, answers pings at once, and says nothing else.
    pub const HEALTHY: Self = Self {
        answer: Answer::Right,
        answer_after: Duration::ZERO,
        reads_after: Duration::ZERO,
        rate: None,
        sending: Sending::Nothing,
        silent_from: Duration::MAX,
    };

    /// *noread*: 6.5 MB at once, for an application that does not read; pongs queue behind them.
    #[must_use]
    pub const fn noread() -> Self {
        Self {
            sending: Sending::Burst {
                count: 100,
                size: 65_000,
            },
            ..Self::HEALTHY
        }
    }

    /// *slowmsg*: one frame of 4 MiB, 64 KiB every 100 ms; pongs only after it.
    #[must_use]
    pub const fn slowmsg() -> Self {
        Self {
            sending: Sending::Slow {
                size: 4 << 20,
                piece: 64 << 10,
                every: ms(100),
            },
            ..Self::HEALTHY
        }
    }

    /// *stall*: a healthy peer 50 ms away, for an application that blocks its thread.
    #[must_use]
    pub const fn stall() -> Self {
        Self {
            answer_after: ms(50),
            ..Self::HEALTHY
        }
    }

    /// *backlog*: reads 2 MB/s and answers a ping at once when it sees it.
    #[must_use]
    pub const fn backlog() -> Self {
        Self {
            rate: Some(2e6),
            ..Self::HEALTHY
        }
    }

    /// *dead*: falls silent after a while, without a FIN.
    #[must_use]
    pub const fn dead(after: Duration) -> Self {
        Self {
            silent_from: after,
            ..Self::HEALTHY
        }
    }

    /// *emptypong*: answers with an empty pong.
    #[must_use]
    pub const fn emptypong() -> Self {
        Self {
            answer: Answer::Empty,
            ..Self::HEALTHY
        }
    }

    /// *unsol*: no answers, but pongs that nobody asked for every 200 ms.
    #[must_use]
    pub const fn unsol() -> Self {
        Self {
            answer: Answer::Nothing,
            sending: Sending::Pongs(ms(200)),
            ..Self::HEALTHY
        }
    }

    /// *datanopong*: data every 200 ms, never a pong.
    #[must_use]
    pub const fn datanopong() -> Self {
        Self {
            answer: Answer::Nothing,
            sending: Sending::Data(ms(200)),
            ..Self::HEALTHY
        }
    }

    /// *illegal*: breaks the protocol, and sends 4 MiB more before it looks what was said about it.
    #[must_use]
    pub const fn illegal() -> Self {
        Self {
            reads_after: ms(500),
            sending: Sending::Illegal(4 << 20),
            ..Self::HEALTHY
        }
    }

    /// *flood*: pings of 125 bytes as fast as possible, 32 MiB of them at most; reads nothing.
    #[must_use]
    pub const fn flood() -> Self {
        Self {
            reads_after: Duration::MAX,
            sending: Sending::Flood(32 << 20),
            ..Self::HEALTHY
        }
    }
}
