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
/// inside them: the connection lives as long as one of [`next`](Self::next),
/// [`next_event`](Self::next_event), [`send`](Self::send), [`flush`](Self::flush) or
/// [`close`](Self::close) is polled, so keep a `next` running, in a `select!` if there is more to
/// wait for.
///
/// # Batches
///
/// What one read brought is answered with one write. While input that was read is not used up,
/// `send` only queues; the queue leaves when `next` has used up the input, before it reads or
/// waits again, or when 64 KiB wait. Without such input, `send` writes at once. So the plain loop
///
/// ```no_run
/// # use wspulse_tokio::{Error, WebSocket};
/// # async fn echo(mut ws: WebSocket<tokio::net::TcpStream>) -> Result<(), Error> {
/// while let Some(message) = ws.next().await {
///     ws.send(message?).await?;
/// }
/// # Ok(())
/// # }
/// ```
///
/// needs two system calls for a burst of messages, and not two each. A task that waits for
/// something else between two messages, such as a database, calls [`flush`](Self::flush) first.
///
/// # Cancel safety
///
/// Each future may be dropped at any await: no byte is lost and none is repeated. A
/// [`send`](Self::send) that is dropped either queued its whole message or nothing of it.
pub struct WebSocket<S> {
    driver: Driver<S>,
    response: Option<Box<Response>>,
    /// A message that is sent in parts is not finished.
    is_in_parts: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    pub(crate) fn new(mut driver: Driver<S>, response: Option<Box<Response>>) -> Self {
        driver.opened();
        Self {
            driver,
            response,
            is_in_parts: false,
        }
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

    /// Queues a message and sees it off, in a [batch](Self#batches) with others if there are.
    ///
    /// Waits only while `max_buffered_amount` is queued; what the transport does not take at once
    /// leaves with later calls of any method. To wait until it has left, [`flush`](Self::flush).
    ///
    /// While it waits it goes on reading, but no further than the next event, which is for
    /// [`next`](Self::next) to take. Two peers that both only send will therefore wait for each
    /// other, until the heartbeat's `write_stall_timeout` ends it.
    ///
    /// # Errors
    ///
    /// [`Error::Send`] gives the message back if the connection is not open; how it ended,
    /// [`next`](Self::next) tells. [`Error::Io`] if it ended by a failure of the transport.
    // Not an `async fn`, which would keep the message in two places.
    pub fn send(&mut self, message: impl Into<Message>) -> impl Future<Output = Result<(), Error>> {
        let mut slot = Some(message.into());
        poll_fn(move |cx| self.driver.poll_send(cx, &mut slot))
    }

    /// Queues a message and leaves it there, for [`flush`](Self::flush) or any other method to
    /// send. Waits only while `max_buffered_amount` is queued.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn feed(&mut self, message: impl Into<Message>) -> impl Future<Output = Result<(), Error>> {
        let mut slot = Some(message.into());
        poll_fn(move |cx| self.driver.poll_queue(cx, &mut slot, Driver::queue))
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
                .poll_queue(cx, &mut slot, |driver, part| driver.queue_part(part, last))
        })
        .await?;
        self.is_in_parts = !last;
        self.push().await;
        Ok(())
    }

    /// Waits until the transport has taken everything that is queued.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] or [`Error::NotOpen`] if the connection ended first.
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
    /// ever waits behind the other.
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
    /// The task holds input back while the [`Receiver`]'s queue is full, and goes on with all
    /// else: what is sent leaves, and pings go out on time. A peer that is not read is not
    /// declared dead. Messages that are [sent](Sender::send) while the task is busy leave in one
    /// write.
    ///
    /// The task ends with the connection. Drop the [`Receiver`] and each [`Sender`], and it sends
    /// what is queued and a Close frame with code 1001.
    ///
    /// Beside the connection's own memory the queues hold at most `queue` messages each, as large
    /// as they come.
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
    ///     // However long this takes, the connection is kept.
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
        spawn(self.driver, self.response, self.is_in_parts, queue)
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
    /// [`next_event`](Self::next_event) has come to the end.
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

/// `poll_ready` waits for room in the queue, reading on meanwhile as [`send`](WebSocket::send)
/// does; `poll_flush` is [`flush`](WebSocket::flush); `poll_close` sends a Close frame with code
/// 1000 and is ready when the transport has taken it: the stream of messages then comes to its
/// end.
impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Message> for WebSocket<S> {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.driver.poll_room(cx).map(Ok)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        let queued = self.driver.queue(message);
        queued.map_err(|error| self.driver.send_error(error))
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
