//! The two halves of a connection, for two threads.

use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use wspulse_core::handshake::Response;
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{CloseCode, Closed, ConfigError, Event, Message, Role, Snapshot, State};

use crate::shared::Shared;
use crate::stream::Stream;
use crate::websocket::{MessageStream, WebSocket, in_time, within};
use crate::{Error, InboxLimits};

/// The half of a connection that receives, from [`WebSocket::split`].
///
/// Each method of either half runs the whole protocol: pings, pongs, deadlines. The halves never
/// wait for each other: a [`next`](Self::next) that waits for the peer does not hold up a
/// [`send`](Writer::send), and a `send` that waits for the peer to read does not hold up a `next`.
/// So:
///
/// - with a [`next`](Self::next) running here, the connection is kept whatever the other half
///   does;
/// - while nothing runs here, each call of the other half looks for input, and what comes waits in
///   the [inbox](WebSocket#sending-is-enough) for this one;
/// - once this half is dropped, what the peer sends is dropped too, whenever the [`Writer`] does
///   anything;
/// - once the [`Writer`] is dropped, the connection stays open, and this half sends what is queued;
/// - when both are dropped, what is queued is tried to be written, as when a
///   [`WebSocket`](WebSocket#dropping) is.
///
/// A thread that waits here wakes up four times a second, since what the other half does may move
/// a deadline.
pub struct Reader<S: Stream> {
    shared: Arc<Shared<S>>,
    messages: MessageStream,
}

/// The half of a connection that sends, from [`WebSocket::split`].
///
/// What keeps the connection alive while only one half is used, [`Reader`] says.
pub struct Writer<S: Stream> {
    shared: Arc<Shared<S>>,
}

pub(crate) fn split<S: Stream>(
    shared: Arc<Shared<S>>,
    messages: MessageStream,
) -> (Reader<S>, Writer<S>) {
    shared.look(|state, _| state.is_split = true);
    let writer = Writer {
        shared: Arc::clone(&shared),
    };
    (Reader { shared, messages }, writer)
}

impl<S: Stream> Reader<S> {
    /// Waits for the next message, as [`WebSocket::next`] does.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] or [`Error::Io`], once, if the connection ends otherwise than by a
    /// closing handshake.
    #[expect(clippy::should_implement_trait, reason = "it is implemented")]
    pub fn next(&mut self) -> Option<Result<Message, Error>> {
        in_time(self.messages.next(&self.shared, None))
    }

    /// Waits for the next message, as [`WebSocket::next_timeout`] does.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub fn next_timeout(&mut self, timeout: Duration) -> Poll<Option<Result<Message, Error>>> {
        within(timeout, |until| self.messages.next(&self.shared, until))
    }

    /// Waits for whatever happens next, as [`WebSocket::next_event`] does.
    pub fn next_event(&mut self) -> Option<Event> {
        in_time(self.messages.next_event(&self.shared, None))
    }

    /// Waits for whatever happens next, as [`WebSocket::next_event_timeout`] does.
    pub fn next_event_timeout(&mut self, timeout: Duration) -> Poll<Option<Event>> {
        within(timeout, |until| {
            self.messages.next_event(&self.shared, until)
        })
    }

    /// Says that the machine woke up or the network changed, as [`WebSocket::handle_resumed`] does.
    pub fn handle_resumed(&mut self) {
        self.shared.handle_resumed();
    }

    /// Ends the connection without a closing handshake. The other half returns at once.
    pub fn abort(&mut self) {
        self.shared.abort();
    }

    /// Puts the halves together again.
    ///
    /// # Errors
    ///
    /// [`ReuniteError`] gives both back if they are not of one connection.
    pub fn reunite(mut self, writer: Writer<S>) -> Result<WebSocket<S>, ReuniteError<S>> {
        if !Arc::ptr_eq(&self.shared, &writer.shared) {
            return Err(ReuniteError(self, writer));
        }
        let messages = std::mem::take(&mut self.messages);
        drop(self);
        writer.shared.look(|state, _| {
            state.is_split = false;
            state.is_deaf = false;
        });
        Ok(WebSocket::over(writer.shared, messages))
    }
}

impl<S: Stream> Writer<S> {
    /// Sends a message, as [`WebSocket::send`] does: returns when the stream has taken it.
    ///
    /// # Errors
    ///
    /// As [`WebSocket::send`].
    pub fn send(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        self.shared.send(message.into())
    }

    /// Queues a message, as [`WebSocket::feed`] does. While the [`Reader`] waits for input it leaves
    /// at once, since a thread that waits in a read cannot be woken to write.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn feed(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        self.shared.feed(message.into())
    }

    /// Sends a part of a message, as [`WebSocket::send_part`] does.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_part(&mut self, part: impl Into<Message>, last: bool) -> Result<(), Error> {
        self.shared.send_part(part.into(), last)
    }

    /// Waits until the stream has taken everything that is queued.
    ///
    /// # Errors
    ///
    /// As [`WebSocket::flush`].
    pub fn flush(&mut self) -> Result<(), Error> {
        self.shared.flush()
    }

    /// Sends a ping of the application's own, as [`WebSocket::ping`] does.
    ///
    /// # Errors
    ///
    /// As [`WebSocket::ping`].
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), Error> {
        self.shared.ping(payload)
    }

    /// Sends what is queued and a Close frame, and waits until they have left: the [`Reader`]
    /// goes on to the peer's last messages and then its end.
    ///
    /// With the reader dropped it waits for the end itself, for at most `close_timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::Send`] if the code or the reason must not be sent, and the connection stays open;
    /// [`Error::Io`] if the stream failed; with the reader dropped [`Error::Closed`] if the
    /// connection ended otherwise than by the handshake.
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error> {
        self.shared.start_close(code, reason)?;
        self.shared.finish_close()
    }

    /// Says that the machine woke up or the network changed, as [`WebSocket::handle_resumed`] does.
    pub fn handle_resumed(&mut self) {
        self.shared.handle_resumed();
    }

    /// Ends the connection without a closing handshake. The other half returns at once.
    pub fn abort(&mut self) {
        self.shared.abort();
    }

    /// Changes when pings are sent and when the peer is given up, from now on; by a TCP socket's
    /// kernel too.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the configuration cannot work; the one before stays.
    pub fn set_heartbeat(&mut self, config: HeartbeatConfig) -> Result<(), ConfigError> {
        self.shared.set_heartbeat(config)
    }

    /// Returns how many bytes are queued and not yet taken by the stream.
    #[must_use]
    pub fn buffered_amount(&self) -> usize {
        self.shared
            .look(|state, _| state.drive.connection().buffered_amount())
    }
}

/// What both halves tell.
macro_rules! looks {
    ($half:ident) => {
        impl<S: Stream> $half<S> {
            /// Returns where the connection stands in its life.
            #[must_use]
            pub fn state(&self) -> State {
                self.shared
                    .look(|state, _| state.drive.connection().state())
            }

            /// Returns which end this is.
            #[must_use]
            pub fn role(&self) -> Role {
                self.shared.look(|state, _| state.drive.connection().role())
            }

            /// Returns the numbers of this moment: silence, round-trip times, pings, queued bytes.
            #[must_use]
            pub fn snapshot(&self) -> Snapshot {
                self.shared
                    .look(|state, now| state.drive.connection().snapshot(now))
            }

            /// Returns how the connection ended, once the end was taken from the [`Reader`].
            #[must_use]
            pub fn closed(&self) -> Option<Closed> {
                self.shared.look(|state, _| state.drive.closed().cloned())
            }

            /// Client: returns the server's answer, with its headers and the chosen subprotocol.
            #[must_use]
            pub fn response(&self) -> Option<&Response> {
                self.shared.response.as_deref()
            }

            /// Sets how much may wait in the inbox, as [`WebSocket::set_inbox_limits`] does.
            pub fn set_inbox_limits(&mut self, limits: InboxLimits) {
                self.shared
                    .look(|state, _| state.drive.set_inbox_limits(limits));
            }

            /// Lends the stream underneath to `look`, for its addresses or options. Reading or
            /// writing it, or changing its timeouts, would break the connection.
            pub fn with_ref<T>(&self, look: impl FnOnce(&S) -> T) -> T {
                look(self.shared.stream())
            }
        }

        impl<S: Stream> fmt::Debug for $half<S> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($half)).finish_non_exhaustive()
            }
        }
    };
}

looks!(Reader);
looks!(Writer);

/// The messages, as from [`next`](Reader::next).
impl<S: Stream> Iterator for Reader<S> {
    type Item = Result<Message, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        Self::next(self)
    }
}

impl<S: Stream> FusedIterator for Reader<S> {}

impl<S: Stream> Drop for Reader<S> {
    fn drop(&mut self) {
        self.shared.be_deaf();
    }
}

/// Two halves that are not of one connection, and how to get them back.
pub struct ReuniteError<S: Stream>(pub Reader<S>, pub Writer<S>);

impl<S: Stream> fmt::Debug for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReuniteError").finish_non_exhaustive()
    }
}

impl<S: Stream> fmt::Display for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the halves are of two connections")
    }
}

impl<S: Stream> std::error::Error for ReuniteError<S> {}
