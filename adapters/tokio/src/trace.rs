//! What a connection tells the log; nothing at all without the feature `tracing`.
//!
//! The driver calls these methods where bytes, messages and events pass, and does not know whether
//! anybody listens. No payload, header, target or reason is ever told.

#[cfg(not(feature = "tracing"))]
pub(crate) use off::Trace;
#[cfg(all(feature = "axum", not(feature = "tracing")))]
pub(crate) use off::upgrade_failed;
#[cfg(feature = "tracing")]
pub(crate) use on::Trace;
#[cfg(all(feature = "axum", feature = "tracing"))]
pub(crate) use on::upgrade_failed;

#[cfg(feature = "tracing")]
mod on {
    use std::fmt;
    use std::net::SocketAddr;
    use std::time::Duration;

    use tracing::field::{Empty, display};
    use tracing::{Level, Span, debug, error_span, info, trace, warn};
    use wspulse_core::handshake::HandshakeError;
    use wspulse_core::{Cause, Closed, Connection, Event, Initiator, Instant, Role, Snapshot};
    use wspulse_drive::Clock;

    /// A connection's span and its counts.
    #[derive(Debug)]
    pub(crate) struct Trace {
        span: Span,
        stage: Stage,
        counts: Counts,
        /// What was told of the counts, and when.
        told: Counts,
        told_at: Instant,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Stage {
        Opening,
        Open,
        Closed,
    }

    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    struct Counts {
        messages_in: u64,
        messages_out: u64,
        bytes_in: u64,
        bytes_out: u64,
        pings: u32,
        pongs: u32,
        lost: u32,
    }

    impl Trace {
        pub(crate) fn new(
            connection: &Connection,
            peer: impl FnOnce() -> Option<SocketAddr>,
        ) -> Self {
            // A span that no level hides, or a warning would not say whom it is about.
            let role = match connection.role() {
                Role::Client => "client",
                Role::Server => "server",
            };
            let span = error_span!(target: TARGET, "websocket", role, peer = Empty);
            if !span.is_disabled()
                && let Some(peer) = peer()
            {
                span.record("peer", display(peer));
            }
            Self {
                span,
                stage: Stage::Opening,
                counts: Counts::default(),
                told: Counts::default(),
                told_at: Instant::ZERO,
            }
        }

        /// The connection is open, which may be said again.
        pub(crate) fn open(&mut self) {
            if self.stage == Stage::Opening {
                self.stage = Stage::Open;
                debug!(target: TARGET, parent: &self.span, "open");
            }
        }

        pub(crate) fn read(&mut self, count: usize) {
            add(&mut self.counts.bytes_in, count);
        }

        pub(crate) fn wrote(&mut self, count: usize) {
            add(&mut self.counts.bytes_out, count);
        }

        /// A whole message was queued.
        pub(crate) fn sent(&mut self) {
            add(&mut self.counts.messages_out, 1);
        }

        /// An event passes, of which each passes once.
        pub(crate) fn event(&mut self, event: &Event) {
            match event {
                Event::Text(_) | Event::Binary(_) | Event::MessageEnd => {
                    add(&mut self.counts.messages_in, 1);
                }
                Event::Suspect => info!(target: TARGET, parent: &self.span, "suspect"),
                Event::Recovered => info!(target: TARGET, parent: &self.span, "recovered"),
                Event::ControlFlood => {
                    warn!(target: TARGET, parent: &self.span, "flood of control frames");
                }
                Event::NotRead => {
                    warn!(target: TARGET, parent: &self.span, "nothing is read, so death is not found");
                }
                Event::Closed(closed) => self.closed(closed),
                _ => {}
            }
        }

        /// Something may have moved: tells the counters, now and then.
        pub(crate) fn tick(&mut self, connection: &Connection, clock: &impl Clock) {
            if self.stage != Stage::Open || !tracing::enabled!(target: COUNTERS, Level::TRACE) {
                return;
            }
            let now = clock.now();
            if now.saturating_duration_since(self.told_at) >= PERIOD {
                self.told_at = now;
                self.note(&connection.snapshot(now));
                self.tell_counters();
            }
        }

        fn closed(&mut self, closed: &Closed) {
            if self.stage == Stage::Closed {
                return;
            }
            self.stage = Stage::Closed;
            self.note(&closed.snapshot);
            // At night, somebody else's network is no reason to wake up. What breaks the protocol
            // or a limit is either a bug or an attack.
            macro_rules! tell {
                ($level:ident) => {
                    $level!(
                        target: TARGET,
                        parent: &self.span,
                        cause = %Told(&closed.cause),
                        by_peer = closed.initiator == Initiator::Peer,
                        clean = closed.clean,
                        code = closed.code().as_u16(),
                        sent = closed.sent.map(|code| code.as_u16()),
                        silence_ms = millis(closed.silence),
                        rtt_ms = closed.snapshot.heartbeat.rtt.map(|rtt| millis(rtt.smoothed())),
                        messages_in = self.counts.messages_in,
                        messages_out = self.counts.messages_out,
                        bytes_in = self.counts.bytes_in,
                        bytes_out = self.counts.bytes_out,
                        unsent = closed.snapshot.buffered_amount,
                        pings = self.counts.pings,
                        pongs = self.counts.pongs,
                        lost = self.counts.lost,
                        "closed"
                    )
                };
            }
            match closed.cause {
                Cause::Normal | Cause::Aborted | Cause::Rejected { .. } | Cause::MaxAge => {
                    tell!(debug);
                }
                Cause::Protocol(_) | Cause::Limit(_) => tell!(warn),
                _ => tell!(info),
            }
            self.tell_counters();
        }

        fn note(&mut self, snapshot: &Snapshot) {
            self.counts.pings = snapshot.heartbeat.pings;
            self.counts.pongs = snapshot.heartbeat.answered;
            self.counts.lost = snapshot.heartbeat.lost;
        }

        /// Tells how much was added, under the names that metrics layers collect.
        fn tell_counters(&mut self) {
            let (counts, told) = (self.counts, self.told);
            if counts == told {
                return;
            }
            self.told = counts;
            trace!(
                target: COUNTERS,
                parent: &self.span,
                {
                monotonic_counter.wspulse_messages_in = counts.messages_in - told.messages_in,
                monotonic_counter.wspulse_messages_out = counts.messages_out - told.messages_out,
                monotonic_counter.wspulse_bytes_in = counts.bytes_in - told.bytes_in,
                monotonic_counter.wspulse_bytes_out = counts.bytes_out - told.bytes_out,
                monotonic_counter.wspulse_pings = u64::from(counts.pings - told.pings),
                monotonic_counter.wspulse_pongs = u64::from(counts.pongs - told.pongs),
                monotonic_counter.wspulse_lost = u64::from(counts.lost - told.lost)
                },
                "counters"
            );
        }
    }

    impl Drop for Trace {
        fn drop(&mut self) {
            if self.stage == Stage::Open {
                debug!(target: TARGET, parent: &self.span, "dropped while open");
                self.tell_counters();
            }
        }
    }

    /// A cause without what the peer wrote: the body of a refusal stays out.
    struct Told<'a>(&'a Cause);

    impl fmt::Display for Told<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self.0 {
                Cause::Handshake(HandshakeError::Refused(refusal)) => {
                    write!(f, "handshake refused with status {}", refusal.status())
                }
                cause => cause.fmt(f),
            }
        }
    }

    /// A connection that was accepted never came from the HTTP server.
    #[cfg(feature = "axum")]
    pub(crate) fn upgrade_failed(error: &crate::Error) {
        info!(target: TARGET, error = %error, "upgrade failed");
    }

    fn add(count: &mut u64, more: usize) {
        *count = count.saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
    }

    fn millis(duration: Duration) -> u64 {
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
    }

    const TARGET: &str = "wspulse_tokio";
    const COUNTERS: &str = "wspulse_tokio::counters";

    /// How often a connection tells its counters, if anything moves.
    const PERIOD: Duration = Duration::from_secs(10);
}

#[cfg(not(feature = "tracing"))]
mod off {
    use std::net::SocketAddr;

    use wspulse_core::{Connection, Event};
    use wspulse_drive::Clock;

    /// Nothing.
    #[derive(Debug)]
    pub(crate) struct Trace;

    impl Trace {
        pub(crate) fn new(_: &Connection, _: impl FnOnce() -> Option<SocketAddr>) -> Self {
            Self
        }
        pub(crate) fn open(&mut self) {}
        pub(crate) fn read(&mut self, _: usize) {}
        pub(crate) fn wrote(&mut self, _: usize) {}
        pub(crate) fn sent(&mut self) {}
        pub(crate) fn event(&mut self, _: &Event) {}
        pub(crate) fn tick(&mut self, _: &Connection, _: &impl Clock) {}
    }

    #[cfg(feature = "axum")]
    pub(crate) fn upgrade_failed(_: &crate::Error) {}

    const _: () = assert!(size_of::<Trace>() == 0);
}
