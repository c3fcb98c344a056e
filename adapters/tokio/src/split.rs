//! The two halves of a connection, for two tasks.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_core::{FusedStream, Stream};
use futures_sink::Sink;
use tokio::io::{AsyncRead, AsyncWrite};
use wspulse_core::handshake::Response;
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{CloseCode, Closed, ConfigError, Event, Message, Role, Snapshot, State};
use wspulse_drive::InboxLimits;

use crate::Error;
use crate::driver::Driver;
use crate::websocket::WebSocket;

/// The half of a connection that receives, from [`WebSocket::split`].
///
/// Each method of either half runs the whole protocol while it is polled: it reads, writes, pings,
/// answers pings, and keeps the deadlines. What differs is what it waits for, and that only this
/// half takes events. So:
///
/// - with a [`next`](Self::next) running here, the connection is kept whatever the other half
///   does, and what the other half queued leaves;
/// - while nothing runs here, the other half reads into the
///   [inbox](WebSocket#messages-that-you-have-not-taken), and holds the peer back when that is
///   full; the peer is not declared dead for that;
/// - once this half is dropped, what the peer sends is dropped too, whenever the [`Writer`] is
///   polled;
/// - once the [`Writer`] is dropped, the connection stays open, and this half sends what is queued.
///
/// # Cancel safety
///
/// Each future may be dropped at any await: no byte is lost and none is repeated.
pub struct Reader<S> {
    shared: Arc<Shared<S>>,
}

/// The half of a connection that sends, from [`WebSocket::split`].
///
/// What keeps the connection alive while only one half is polled, [`Reader`] says. The methods
/// are those of [`WebSocket`], and so are their [batches](WebSocket#batches). When both halves are
/// dropped, the connection is [dropped](WebSocket#dropping-it).
///
/// # Cancel safety
///
/// Each future may be dropped at any await: no byte is lost and none is repeated. A
/// [`send`](Self::send) that is dropped either queued its whole message or nothing of it.
pub struct Writer<S> {
    shared: Arc<Shared<S>>,
}

/// Locked inside a poll and never across an await; whoever has it does not wait.
struct Shared<S> {
    driver: Mutex<Driver<S>>,
    response: Option<Box<Response>>,
}

impl<S> Shared<S> {
    /// A stream that panicked leaves a connection that says what became of it.
    fn lock(&self) -> MutexGuard<'_, Driver<S>> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn split<S>(
    driver: Driver<S>,
    response: Option<Box<Response>>,
) -> (Reader<S>, Writer<S>) {
    let driver = Mutex::new(driver);
    let shared = Arc::new(Shared { driver, response });
    let reader = Reader {
        shared: Arc::clone(&shared),
    };
    (reader, Writer { shared })
}

impl<S: AsyncRead + AsyncWrite + Unpin> Reader<S> {
    /// Waits for the next message, as [`WebSocket::next`] does.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] or [`Error::Io`], once, if the connection ends otherwise than by a
    /// closing handshake.
    pub async fn next(&mut self) -> Option<Result<Message, Error>> {
        poll_fn(|cx| self.shared.lock().poll_message(cx)).await
    }

    /// Waits for whatever happens next, as [`WebSocket::next_event`] does.
    pub async fn next_event(&mut self) -> Option<Event> {
        poll_fn(|cx| self.shared.lock().poll_event(cx)).await
    }

    /// Ends the connection without a closing handshake.
    pub fn abort(&mut self) {
        self.shared.lock().abort();
    }

    /// Puts the halves together again.
    ///
    /// # Errors
    ///
    /// [`ReuniteError`] gives both back if they are not of one connection.
    pub fn reunite(self, writer: Writer<S>) -> Result<WebSocket<S>, ReuniteError<S>> {
        if !Arc::ptr_eq(&self.shared, &writer.shared) {
            return Err(ReuniteError(self, writer));
        }
        drop(self);
        let shared = Arc::into_inner(writer.shared).expect("there are two halves");
        let mut driver = shared
            .driver
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        driver.set_deaf(false);
        Ok(WebSocket::new(driver, shared.response))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Writer<S> {
    /// Sends a message, as [`WebSocket::send`] does: returns when the transport has taken it.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] or [`Error::Io`] if the connection has ended, with the cause;
    /// [`Error::Send`] gives the message back if this side closes or has closed it.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        let mut slot = Some(message.into());
        poll_fn(|cx| self.shared.lock().poll_send(cx, &mut slot, Driver::queue)).await
    }

    /// Queues a message, to leave in a [batch](WebSocket#batches) with others: with the next
    /// [`send`](Self::send) or [`flush`](Self::flush), and at once if the [`Reader`] waits, whose
    /// task then writes it.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn feed(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        let mut slot = Some(message.into());
        poll_fn(|cx| self.shared.lock().poll_feed(cx, &mut slot)).await
    }

    /// Sends a part of a message, as [`WebSocket::send_part`] does.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn send_part(&mut self, part: impl Into<Message>, last: bool) -> Result<(), Error> {
        let mut slot = Some(part.into());
        let queue = |driver: &mut Driver<S>, part| driver.queue_part(part, last);
        poll_fn(|cx| self.shared.lock().poll_send(cx, &mut slot, queue)).await
    }

    /// Waits until the transport has taken everything that is queued.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] or [`Error::Io`] if the connection ended first, with the cause;
    /// [`Error::NotOpen`] if it was this side that ended it.
    pub async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| self.shared.lock().poll_flush(cx)).await
    }

    /// Sends a ping of the application's own, as [`WebSocket::ping`] does.
    ///
    /// # Errors
    ///
    /// [`Error::Send`] if the payload is too long, too many pings wait, or the connection is not
    /// open.
    pub async fn ping(&mut self, payload: &[u8]) -> Result<(), Error> {
        self.shared.lock().queue_ping(payload)?;
        self.push().await;
        Ok(())
    }

    /// Sends what is queued and a Close frame, and waits until they have left: the [`Reader`]
    /// goes on to the peer's last messages and then its end.
    ///
    /// With the reader dropped it waits for the end itself, for at most `close_timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::Send`] if the code or the reason must not be sent, and the connection stays open;
    /// [`Error::Io`] if the transport failed; with the reader dropped [`Error::Closed`] if the
    /// connection ended otherwise than by the handshake.
    pub async fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error> {
        self.shared.lock().start_close(code, reason)?;
        poll_fn(|cx| self.shared.lock().poll_closing(cx)).await
    }

    /// Ends the connection without a closing handshake.
    pub fn abort(&mut self) {
        self.shared.lock().abort();
    }

    /// Changes when pings are sent and when the peer is given up, from now on; by a TCP socket's
    /// kernel too.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the configuration cannot work; the one before stays.
    pub fn set_heartbeat(&mut self, config: HeartbeatConfig) -> Result<(), ConfigError> {
        self.shared.lock().set_heartbeat(config)
    }

    /// Returns how many bytes are queued and not yet taken by the transport.
    #[must_use]
    pub fn buffered_amount(&self) -> usize {
        self.shared.lock().connection().buffered_amount()
    }

    async fn push(&mut self) {
        poll_fn(|cx| {
            self.shared.lock().push(cx);
            Poll::Ready(())
        })
        .await;
    }
}

/// What both halves tell.
macro_rules! looks {
    ($half:ident) => {
        impl<S: AsyncRead + AsyncWrite + Unpin> $half<S> {
            /// Returns where the connection stands in its life.
            #[must_use]
            pub fn state(&self) -> State {
                self.shared.lock().connection().state()
            }

            /// Returns which end this is.
            #[must_use]
            pub fn role(&self) -> Role {
                self.shared.lock().connection().role()
            }

            /// Returns the numbers of this moment: silence, round-trip times, pings, queued bytes.
            #[must_use]
            pub fn snapshot(&self) -> Snapshot {
                let driver = self.shared.lock();
                driver.connection().snapshot(driver.now())
            }

            /// Says that this machine was asleep, or that its network changed, as
            /// [`WebSocket::handle_resumed`] does.
            pub fn handle_resumed(&mut self) {
                self.shared.lock().handle_resumed();
            }

            /// Sets how many messages may wait, as [`WebSocket::set_inbox_limits`] does.
            pub fn set_inbox_limits(&mut self, limits: InboxLimits) {
                self.shared.lock().set_inbox_limits(limits);
            }

            /// Returns how the connection ended, once the end was taken from the [`Reader`], or a
            /// call that sends has met it.
            #[must_use]
            pub fn closed(&self) -> Option<Closed> {
                self.shared.lock().closed().cloned()
            }

            /// Lends the stream underneath to `look`, for its addresses or options. Reading or
            /// writing it would break the connection.
            pub fn with_ref<T>(&self, look: impl FnOnce(&S) -> T) -> T {
                look(self.shared.lock().stream())
            }

            /// Client: returns the server's answer, with its headers and the chosen subprotocol.
            #[must_use]
            pub fn response(&self) -> Option<&Response> {
                self.shared.response.as_deref()
            }
        }

        impl<S> fmt::Debug for $half<S> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($half)).finish_non_exhaustive()
            }
        }
    };
}

looks!(Reader);
looks!(Writer);

/// The messages, as from [`next`](Reader::next).
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for Reader<S> {
    type Item = Result<Message, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.shared.lock().poll_message(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> FusedStream for Reader<S> {
    fn is_terminated(&self) -> bool {
        self.shared.lock().is_done()
    }
}

/// As the [`WebSocket`]'s own: `poll_close` sends a Close frame with code 1000, and is ready as
/// [`close`](Writer::close) is.
impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Message> for Writer<S> {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.shared.lock().poll_ready(cx)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        self.shared.lock().queue_fed(message)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.shared.lock().poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut driver = self.shared.lock();
        driver.start_close(CloseCode::NORMAL, "")?;
        driver.poll_closing(cx)
    }
}

impl<S> Drop for Reader<S> {
    fn drop(&mut self) {
        self.shared.lock().set_deaf(true);
    }
}

/// Two halves that are not of one connection, and how to get them back.
pub struct ReuniteError<S>(pub Reader<S>, pub Writer<S>);

impl<S> fmt::Debug for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReuniteError").finish_non_exhaustive()
    }
}

impl<S> fmt::Display for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the halves are of two connections")
    }
}

impl<S> std::error::Error for ReuniteError<S> {}
