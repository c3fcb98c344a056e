//! What is behind the lock: the connection, TLS if there is any, and who does what.

use std::io::{self, IoSlice};
use std::time::Duration;

use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{ConfigError, Connection, Instant, Transmit};
use wspulse_drive::{Drive, Outcome, with_slices};

#[cfg(feature = "tls")]
use crate::session::Tls;

/// A connection, and which threads are at its stream. Nothing here waits.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) drive: Drive,
    #[cfg(feature = "tls")]
    tls: Option<Box<Tls>>,
    /// A thread reads from the stream, and has yet to hand over what it read.
    pub(crate) is_reading: bool,
    /// A thread writes to the stream, and has yet to say how much was taken.
    pub(crate) is_writing: bool,
    /// That thread is at it without the lock, and what was taken is not reported.
    pub(crate) is_in_write: bool,
    /// Threads that see to all output until it has left; others leave theirs to them.
    pub(crate) flushers: u32,
    /// When a deadline came that only a read can judge which begins after it (rule 6);
    /// [`Instant::MAX`] if none did.
    owes_look: Instant,
    /// When the last read was attempted.
    pub(crate) looked_at: Instant,
    /// How many nanoseconds old that may become before a call attempts another one (rule 16).
    read_interval: u32,
    /// The heartbeat, if it is no longer the configuration's.
    heartbeat: Option<Box<HeartbeatConfig>>,
    /// The kernel watches over the peer, since nobody reads.
    is_watched: bool,
    /// When input was last taken or a write last attempted: what is queued waits for company until
    /// [`BATCH_TIME`] later.
    batch_began: Instant,
    /// Two threads may use the connection.
    pub(crate) is_split: bool,
    /// A message that is sent in parts is under way.
    pub(crate) is_in_parts: bool,
    /// Nobody is there to take events any more.
    pub(crate) is_deaf: bool,
    /// The last write left nothing to write.
    pub(crate) is_drained: bool,
    /// A socket took no more, and nobody has seen room since.
    pub(crate) is_full: bool,
    /// Time has passed that only another look for room can judge.
    pub(crate) owes_try: bool,
    /// The writing half of the stream is closed.
    pub(crate) is_shut: bool,
    /// The connection is over, and so is the stream.
    pub(crate) is_hung_up: bool,
}

impl State {
    pub(crate) fn new(connection: Connection) -> Self {
        let read_interval = nanos(connection.config().heartbeat().read_interval());
        Self {
            drive: Drive::new(connection),
            #[cfg(feature = "tls")]
            tls: None,
            is_reading: false,
            is_writing: false,
            is_in_write: false,
            flushers: 0,
            owes_look: Instant::MAX,
            looked_at: Instant::ZERO,
            read_interval,
            heartbeat: None,
            is_watched: false,
            batch_began: Instant::ZERO,
            is_split: false,
            is_in_parts: false,
            is_deaf: false,
            is_drained: true,
            is_full: false,
            owes_try: false,
            is_shut: false,
            is_hung_up: false,
        }
    }

    /// Puts TLS in between; `early` is what it has decrypted already.
    #[cfg(feature = "tls")]
    pub(crate) fn with_tls(mut self, tls: Tls, early: &[u8], now: Instant) -> Self {
        self.tls = Some(Box::new(tls));
        if !early.is_empty() {
            self.drive.handle_read(now, Ok(early));
        }
        self
    }

    // ---- input

    /// A read of the stream began and ended, like this.
    pub(crate) fn handle_read(
        &mut self,
        began: Instant,
        ended: Instant,
        read: io::Result<&[u8]>,
    ) -> Outcome {
        // What a thread finds at a stream that another one closed under it says nothing.
        if self.is_hung_up {
            return Outcome::Progress;
        }
        let failed = read.as_ref().err().map(io::Error::kind);
        // A read that was interrupted is no look.
        if failed != Some(io::ErrorKind::Interrupted) {
            self.looked_at = self.looked_at.max(began);
            if self.owes_look <= began {
                self.owes_look = Instant::MAX;
            }
        }
        if matches!(read, Ok([_, ..])) {
            self.batch_began = ended;
        }
        let now = match failed {
            Some(io::ErrorKind::WouldBlock) => began,
            _ => ended,
        };
        #[cfg(feature = "tls")]
        if let (Some(tls), Ok(bytes @ [_, ..])) = (&mut self.tls, &read) {
            return tls.receive(now, bytes, &mut self.drive);
        }
        self.drive.handle_read(now, read)
    }

    /// Lays up what was read, for an application that has not asked for it. Tells whether that was
    /// anything.
    pub(crate) fn collect(&mut self) -> bool {
        if !self.is_deaf {
            return self.drive.collect();
        }
        let mut has_dropped = false;
        while self.drive.poll_event().is_some() {
            has_dropped = true;
        }
        has_dropped
    }

    /// The stream failed, as its socket said without a read, or as a write did.
    pub(crate) fn handle_failure(&mut self, now: Instant, error: io::Error) {
        self.drive.handle_failure(now, error);
        self.collect();
    }

    // ---- the heartbeat

    pub(crate) fn set_heartbeat(
        &mut self,
        now: Instant,
        config: HeartbeatConfig,
    ) -> Result<(), ConfigError> {
        self.drive.set_heartbeat(now, config)?;
        self.read_interval = nanos(config.read_interval());
        self.heartbeat = Some(Box::new(config));
        // It sets the kernel's patience anew.
        self.is_watched = false;
        Ok(())
    }

    pub(crate) fn heartbeat(&self) -> &HeartbeatConfig {
        let default = || self.drive.connection().config().heartbeat();
        self.heartbeat.as_deref().unwrap_or_else(default)
    }

    /// Tells whether the kernel is to watch over the peer from now on, or no more; nothing if that
    /// stays. It begins when the inbox is full, and ends when it is empty.
    pub(crate) fn watch_changed(&mut self) -> Option<bool> {
        let is_unread = if self.is_watched {
            self.drive.inbox_len() > 0
        } else {
            self.drive.is_inbox_full()
        };
        let has_changed = is_unread != self.is_watched;
        self.is_watched = is_unread;
        has_changed.then_some(is_unread)
    }

    // ---- what is due

    /// Tells whether a call has more to do than it is for.
    pub(crate) fn is_tending_due(&self, now: Instant) -> bool {
        self.is_timeout_due(now)
            || self.is_look_due(now)
            || (self.is_batch_over(now) && self.wants_write())
    }

    pub(crate) fn is_timeout_due(&self, now: Instant) -> bool {
        self.drive.poll_timeout().is_some_and(|due| due <= now)
    }

    /// Tells whether input was last looked for too long ago. A thread that waits for some looks all
    /// the time.
    pub(crate) fn is_look_due(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.looked_at);
        let is_owed = self.owes_look() && self.drive.wants_read();
        let is_due = is_owed || age.as_nanos() >= self.read_interval.into();
        !self.is_reading && (is_due || self.drive.has_failed_writing()) && !self.drive.is_over()
    }

    pub(crate) fn owes_look(&self) -> bool {
        self.owes_look != Instant::MAX
    }

    fn is_batch_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.batch_began) >= BATCH_TIME
    }

    /// Time passed; does nothing unless the deadline has come.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Outcome {
        let outcome = self.drive.handle_timeout(now);
        if outcome == Outcome::Progress {
            self.owes_look = now;
            self.owes_try = self.is_full;
        }
        outcome
    }

    // ---- output

    /// Tells whether there is something to write, or the stream is to be half-closed.
    pub(crate) fn wants_write(&self) -> bool {
        if self.is_shut || self.drive.has_failed_writing() {
            return false;
        }
        #[cfg(feature = "tls")]
        if self.tls.as_ref().is_some_and(|tls| tls.wants_write()) {
            return true;
        }
        self.drive.wants_write() || self.drive.wants_shutdown()
    }

    /// Lends what is to be written next; nothing if there is nothing.
    pub(crate) fn lend(&mut self) -> Lent<'_> {
        if self.is_shut || self.drive.has_failed_writing() {
            return Lent::Bytes(&[]);
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return Lent::Bytes(tls.lend(&mut self.drive));
        }
        self.drive
            .poll_transmit()
            .map_or(Lent::Bytes(&[]), Lent::Frames)
    }

    /// A write of what was lent began and ended, and took this much of it.
    pub(crate) fn handle_write(
        &mut self,
        began: Instant,
        ended: Instant,
        written: io::Result<usize>,
    ) -> Outcome {
        if self.is_hung_up {
            return Outcome::Progress;
        }
        self.batch_began = ended;
        let was_over = self.drive.is_over();
        #[cfg(feature = "tls")]
        let outcome = match &mut self.tls {
            Some(tls) => tls.handle_write(began, ended, written, &mut self.drive),
            None => self.drive.handle_write(began, ended, written),
        };
        #[cfg(not(feature = "tls"))]
        let outcome = self.drive.handle_write(began, ended, written);
        // A socket sends what it took without being asked again.
        self.drive.handle_flush(ended, Ok(()));
        self.is_drained = !was_over
            && !self.drive.has_failed_writing()
            && (self.drive.is_over() || !self.drive.wants_write());
        outcome
    }

    /// Queues what is to be said before the stream is half-closed; tells whether that is nothing.
    pub(crate) fn say_goodbye(&mut self) -> bool {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return tls.say_goodbye();
        }
        true
    }
}

/// What is to be written next.
#[derive(Clone, Copy)]
pub(crate) enum Lent<'a> {
    /// Bytes of TLS, or none.
    Bytes(&'a [u8]),
    Frames(Transmit<'a>),
}

impl Lent<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Frames(transmit) => transmit.len(),
        }
    }

    pub(crate) fn append_to(&self, buffer: &mut Vec<u8>) {
        match self {
            Self::Bytes(bytes) => buffer.extend_from_slice(bytes),
            Self::Frames(transmit) => {
                for chunk in transmit.chunks() {
                    buffer.extend_from_slice(chunk);
                }
            }
        }
    }

    pub(crate) fn with_slices<T>(&self, write: impl FnOnce(&[IoSlice<'_>]) -> T) -> T {
        match self {
            Self::Bytes(bytes) => write(&[IoSlice::new(bytes)]),
            Self::Frames(transmit) => with_slices(transmit, write),
        }
    }
}

/// A read interval is 250 ms at most.
fn nanos(interval: Duration) -> u32 {
    u32::try_from(interval.as_nanos()).unwrap_or(u32::MAX)
}

/// How long output waits for more to share its write, at the most.
const BATCH_TIME: Duration = Duration::from_millis(1);
