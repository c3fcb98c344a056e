//! The connection as an application holds it.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::{FusedStream, Stream};
use futures_sink::Sink;
use tokio::io::{AsyncRead, AsyncWrite};
use wspulse_core::handshake::Response;
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{CloseCode, Closed, ConfigError, Event, Message, Role, Snapshot, State};
use wspulse_drive::InboxLimits;

use crate::Error;
use crate::drain::Guard;
use crate::driver::Driver;
use crate::split::{Reader, Writer, split};
use crate::task::{Receiver, Sender, spawn};

/// A WebSocket connection over a stream of bytes, from [`accept`](crate::accept),
/// [`connect`](crate::connect) or [`client`](crate::client).
///
/// It is a [`Stream`] of messages and a [`Sink`] for them; the methods of the same names do the
/// same without an import. Pings, pongs, deadlines and the closing handshake are taken care of
/// inside them: the connection lives as long as [`next`](Self::next),
/// [`next_event`](Self::next_event), [`send`](Self::send), [`feed`](Self::feed),
/// [`flush`](Self::flush) or [`close`](Self::close) are called, and each of them does for it
/// whatever is due. Where your task has nothing to send, keep a `next` running, in a `select!` if
/// there is more to wait for.
///
/// # Messages that you have not taken
///
/// Sending is enough to stay alive. A call that sends reads too, once the last read is older than a
/// sixteenth of the heartbeat's interval, 250 ms at most: the peer's pings and its Close are
/// answered, and a peer that is gone is noticed. The messages that it reads wait in an inbox for
/// [`next`](Self::next). The inbox takes 1 MiB (each message counts 64 bytes more than its length)
/// or 65,536 messages, and the message that crosses that line; [`set_inbox_limits`] changes the
/// limits. While it is full nothing is read, so the peer's pings are not answered; a dead peer is
/// then found by the kernel, on a `TcpStream`.
///
/// A call that sends on a connection that has ended tells how it ended, as `next` does: the cause,
/// and the Close frame of the peer.
///
/// [`set_inbox_limits`]: Self::set_inbox_limits
///
/// # Batches
///
/// `send` returns when the transport has taken the message: one system call for each. [`feed`]
/// only queues it, and the queue leaves with the next `send` or [`flush`](Self::flush), when
/// `next` has no more messages at hand, and with any call once the message is older than 1 ms. So
/// the loop
///
/// ```no_run
/// # use wspulse_tokio::{Error, WebSocket};
/// # async fn echo(mut ws: WebSocket<tokio::net::TcpStream>) -> Result<(), Error> {
/// while let Some(message) = ws.next().await {
///     ws.feed(message?).await?;
/// }
/// # Ok(())
/// # }
/// ```
///
/// needs two system calls for a burst of messages, and not two each; and no answer waits for the
/// work on the next one. A task that waits for something else between two messages, such as a
/// database, uses `send`.
///
/// [`feed`]: Self::feed
///
/// # Dropping it
///
/// makes one attempt to write what is queued, and waits for nothing. No Close frame is sent, so the
/// peer sees the end of its stream (1006). What the operating system has not sent by then it still
/// sends, unless bytes of the peer were not read: then TCP resets the connection, and the last
/// messages may be lost with it. To be sure of them, [`close`](Self::close).
///
/// # Cancel safety
///
/// Each future may be dropped at any await: no byte is lost and none is repeated. A
/// [`send`](Self::send) or [`feed`](Self::feed) that is dropped either queued its whole message or
/// nothing of it. Where you need to know which, `feed` in an await of its own, which mostly is
/// ready at once, and put the [`flush`](Self::flush) into the `select!`.
pub struct WebSocket<S> {
    driver: Driver<S>,
    response: Option<Box<Response>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    pub(crate) fn new(mut driver: Driver<S>, response: Option<Box<Response>>) -> Self {
        driver.opened();
        Self { driver, response }
    }

    // ---- receiving

    /// Waits for the next message; `None` after the closing handshake, whatever its code.
    ///
    /// With [`Delivery::Parts`](wspulse_core::Delivery::Parts) there are no messages: use
    /// [`next_event`](Self::next_event).
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] or [`Error::Io`], once, if the connection ends in any other way.
    pub async fn next(&mut self) -> Option<Result<Message, Error>> {
        poll_fn(|cx| self.driver.poll_message(cx)).await
    }

    /// Waits for whatever happens next: messages, parts of messages, pongs, suspicion, and last
    /// of all [`Event::Closed`]; then `None`.
    ///
    /// Where the transport itself failed, `Closed` says [`Cause::Eof`](wspulse_core::Cause::Eof).
    pub async fn next_event(&mut self) -> Option<Event> {
        poll_fn(|cx| self.driver.poll_event(cx)).await
    }

    // ---- sending

    /// Sends a message: returns when the transport has taken all of it.
    ///
    /// While it waits it reads into the [inbox](Self#messages-that-you-have-not-taken). Two peers
    /// that both only send wait for each other once both inboxes are full, until the heartbeat's
    /// `write_stall_timeout` ends it.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] or [`Error::Io`] if the connection has ended, with the cause;
    /// [`Error::Send`] gives the message back if this side closes or has closed it.
    // Not an `async fn`, which would keep the message in two places.
    pub fn send(&mut self, message: impl Into<Message>) -> impl Future<Output = Result<(), Error>> {
        let mut slot = Some(message.into());
        poll_fn(move |cx| self.driver.poll_send(cx, &mut slot, Driver::queue))
    }

    /// Queues a message, to leave in a [batch](Self#batches) with others. Waits only while
    /// `max_buffered_amount` is queued.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn feed(&mut self, message: impl Into<Message>) -> impl Future<Output = Result<(), Error>> {
        let mut slot = Some(message.into());
        poll_fn(move |cx| self.driver.poll_feed(cx, &mut slot))
    }

    /// Sends a part of a message, which `last` completes (RFC 6455 §5.4): for messages whose
    /// length is not known yet, or that nobody wants to hold whole. All parts are of one kind.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn send_part(&mut self, part: impl Into<Message>, last: bool) -> Result<(), Error> {
        let mut slot = Some(part.into());
        poll_fn(|cx| {
            self.driver
                .poll_send(cx, &mut slot, |driver, part| driver.queue_part(part, last))
        })
        .await
    }

    /// Waits until the transport has taken everything that is queued.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] or [`Error::Io`] if the connection ended first, with the cause;
    /// [`Error::NotOpen`] if it was this side that ended it.
    pub async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| self.driver.poll_flush(cx)).await
    }

    /// Sends a ping of the application's own, of at most 125 bytes; its pong is an
    /// [`Event::Pong`]. The heartbeat needs none of these.
    ///
    /// # Errors
    ///
    /// [`Error::Send`] if the payload is too long, too many pings wait, or the connection is not
    /// open.
    pub async fn ping(&mut self, payload: &[u8]) -> Result<(), Error> {
        self.driver.queue_ping(payload)?;
        self.push().await;
        Ok(())
    }

    /// Closes the connection: sends what is queued and a Close frame, waits for the peer's, and
    /// drops the messages that still come. Takes at most the configuration's `close_timeout`.
    ///
    /// Dropped half way, the closing handshake goes on in [`next`](Self::next). Where the peer's
    /// last messages matter, poll this once and go on with `next`, or use the [`Sink`]'s `close`.
    ///
    /// # Errors
    ///
    /// [`Error::Send`] if the code or the reason must not be sent, and the connection stays open;
    /// [`Error::Closed`] or [`Error::Io`] if it ended otherwise than by the handshake.
    pub async fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error> {
        self.driver.start_close(code, reason)?;
        while let Some(message) = self.next().await {
            message?;
        }
        Ok(())
    }

    /// Ends the connection without a closing handshake; [`next`](Self::next) reports
    /// [`Cause::Aborted`](wspulse_core::Cause::Aborted).
    pub fn abort(&mut self) {
        self.driver.abort();
    }

    /// Begins what [`close`](Self::close) does.
    pub(crate) fn start_close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error> {
        self.driver.start_close(code, reason)
    }

    pub(crate) async fn push(&mut self) {
        poll_fn(|cx| {
            self.driver.push(cx);
            Poll::Ready(())
        })
        .await;
    }

    // ---- two tasks

    /// Splits the connection into a half that receives and one that sends, for two tasks. Neither
    /// ever waits for the other.
    ///
    /// ```
    /// # use wspulse_core::{CloseCode, Config};
    /// # use wspulse_tokio::{Error, WebSocket};
    /// # async fn example(ws: WebSocket<tokio::net::TcpStream>) -> Result<(), Error> {
    /// let (mut reader, mut writer) = ws.split();
    /// let printer = tokio::spawn(async move {
    ///     while let Some(Ok(message)) = reader.next().await {
    ///         println!("{message:?}");
    ///     }
    /// });
    /// writer.send("hello").await?;
    /// writer.close(CloseCode::NORMAL, "").await?;
    /// printer.await.expect("the printer does not panic");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn split(self) -> (Reader<S>, Writer<S>) {
        split(self.driver, self.response)
    }

    /// Gives the connection a task of its own, which keeps pings, pongs and deadlines going while
    /// the application is busy, with a queue of at most `queue` messages each way.
    ///
    /// The [`Receiver`]'s queue goes on into the
    /// [inbox](Self#messages-that-you-have-not-taken): the task reads, answers pings and finds a
    /// dead peer until 1 MiB of messages waits there. Beyond that it holds input back, and goes on
    /// with all else: what is sent leaves, and pings go out on time. A peer that is not read is not
    /// declared dead, but may give us up, since its pings are not answered. Messages that are
    /// [sent](Sender::send) while the task is busy leave in one write.
    ///
    /// The task ends with the connection. Drop the [`Receiver`] and each [`Sender`], and it sends
    /// what is queued and a Close frame with code 1001.
    ///
    /// Beside the connection's own memory the queues hold at most `queue` messages each, as large
    /// as they come, and the inbox its limit and one message.
    ///
    /// A message that is being [sent in parts](Self::send_part) has to be whole by then, or
    /// nothing can be sent.
    ///
    /// ```
    /// # use wspulse_tokio::{Error, WebSocket};
    /// # async fn example(ws: WebSocket<tokio::net::TcpStream>) -> Result<(), Error> {
    /// let (mut receiver, sender) = ws.spawn(16);
    /// while let Some(message) = receiver.next().await {
    ///     let message = message?;
    ///     // The connection is kept meanwhile, until the inbox is full.
    ///     let answer = tokio::task::spawn_blocking(move || message).await.unwrap();
    ///     sender.send(answer).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn spawn(self, queue: usize) -> (Receiver, Sender)
    where
        S: Send + 'static,
    {
        spawn(self.driver, self.response, queue)
    }

    // ---- settings and looks

    /// Changes when pings are sent and when the peer is given up, from now on; by a TCP socket's
    /// kernel too.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the configuration cannot work; the one before stays.
    pub fn set_heartbeat(&mut self, config: HeartbeatConfig) -> Result<(), ConfigError> {
        self.driver.set_heartbeat(config)
    }

    /// Sets how many messages may wait in the
    /// [inbox](Self#messages-that-you-have-not-taken); also for the halves and the task that this
    /// connection becomes.
    pub fn set_inbox_limits(&mut self, limits: InboxLimits) {
        self.driver.set_inbox_limits(limits);
    }

    /// Says that this machine was asleep, or that its network changed: the peer is asked at once,
    /// and has the full timeout to answer. A clock that runs on during sleep needs no such word.
    pub fn handle_resumed(&mut self) {
        self.driver.handle_resumed();
    }

    /// Returns where the connection stands in its life.
    #[must_use]
    pub fn state(&self) -> State {
        self.driver.connection().state()
    }

    /// Returns which end this is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.driver.connection().role()
    }

    /// Returns the numbers of this moment: silence, round-trip times, pings, queued bytes.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.driver.connection().snapshot(self.driver.now())
    }

    /// Returns how many bytes are queued and not yet taken by the transport.
    #[must_use]
    pub fn buffered_amount(&self) -> usize {
        self.driver.connection().buffered_amount()
    }

    /// Returns how the connection ended, once [`next`](Self::next) or
    /// [`next_event`](Self::next_event) has come to the end, or a call that sends has met it.
    #[must_use]
    pub fn closed(&self) -> Option<&Closed> {
        self.driver.closed()
    }

    /// Client: returns the server's answer, with its headers and the chosen subprotocol.
    #[must_use]
    pub fn response(&self) -> Option<&Response> {
        self.response.as_deref()
    }

    /// Returns the stream underneath, for its addresses or options. Reading or writing it would
    /// break the connection.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        self.driver.stream()
    }
}

impl<S> WebSocket<S> {
    pub(crate) fn set_guard(&mut self, guard: Guard) {
        self.driver.set_guard(guard);
    }
}

/// The messages, as from [`next`](WebSocket::next).
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for WebSocket<S> {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.driver.poll_message(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> FusedStream for WebSocket<S> {
    fn is_terminated(&self) -> bool {
        self.driver.is_done()
    }
}

/// `poll_ready` waits for room in the queue, and reads into the
/// [inbox](WebSocket#messages-that-you-have-not-taken) meanwhile; `start_send` is
/// [`feed`](WebSocket::feed), and `poll_flush` is [`flush`](WebSocket::flush). `poll_close` sends a
/// Close frame with code 1000 and is ready when the transport has taken it: the stream of messages
/// then comes to its end.
///
/// Where the peer closes while a combinator such as `forward` still holds a message, that message
/// is sent before the answer.
impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Message> for WebSocket<S> {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.driver.poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        self.driver.queue_fed(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.driver.poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.driver.start_close(CloseCode::NORMAL, "")?;
        self.driver.poll_closing(cx)
    }
}

impl<S> fmt::Debug for WebSocket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket").finish_non_exhaustive()
    }
}

/// An idle connection is this, its timer and its socket.
const _: () = {
    let traced = size_of::<crate::trace::Trace>();
    assert!(size_of::<WebSocket<tokio::net::TcpStream>>() <= 512 + traced);
};
