//! What the application over an adapter does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wspulse_core::Config;

use super::Tls;

/// One connection's task for a [`Subject`](super::Subject).
#[derive(Clone, Debug)]
pub struct Job {
    /// The configuration, the heartbeat's above all.
    pub config: Arc<Config>,
    /// TLS, or plain TCP.
    pub tls: Option<Tls>,
    /// What the application does.
    pub script: Script,
    /// After how long of an open connection the application drops it and reports
    /// [`End::Alive`](super::End::Alive).
    pub window: Duration,
}

/// What an application does with an open connection. Times count from when it is open.
#[derive(Clone, Debug)]
pub enum Script {
    /// Receives messages and sends each back.
    Echo,
    /// Receives messages and forgets them.
    Read,
    /// As `Read`, but receives nothing between the two times: it waits for something else, and
    /// leaves the connection alone. Where the adapter's user holds the connection himself, nothing
    /// is called meanwhile; where a task, a thread or a loop of the adapter's own has it, that one
    /// goes on.
    Away(Duration, Duration),
    /// As `Read`, but blocks the thread that runs the connection for `span`, first after `first`
    /// and again each `free` after a block's end.
    Block {
        /// When the first block begins.
        first: Duration,
        /// How long a block takes.
        span: Duration,
        /// How long it goes on normally between two blocks.
        free: Duration,
    },
    /// Sends one binary message at once, and does as `Read`.
    Send(Bytes),
    /// Makes and sends binary messages of this size, each as soon as the connection takes it.
    Pump {
        /// The payload of each.
        size: usize,
        /// Whether it does as `Read` meanwhile, or receives nothing at all.
        reads: bool,
    },
}
