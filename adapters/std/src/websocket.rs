//! The connection as an application holds it.

use std::fmt;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant as SystemInstant};

use wspulse_core::handshake::Response;
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Cause, CloseCode, Closed, ConfigError, Event, Message, Role, Snapshot, State};

use crate::shared::{Late, Shared};
use crate::spawn::{self, Receiver, Sender};
use crate::split::{self, Reader, Writer};
use crate::stream::Stream;
use crate::{Error, InboxLimits};

/// A WebSocket connection over a stream of bytes, from [`accept`](crate::accept),
/// [`connect`](crate::connect) or [`client`](crate::client).
///
/// It is an [`Iterator`] over messages. Pings, pongs, deadlines and the closing handshake are taken
/// care of inside its methods: the connection lives as long as a thread is in
/// [`next`](Self::next), [`next_event`](Self::next_event), [`send`](Self::send),
/// [`flush`](Self::flush) or [`close`](Self::close). A thread that has other things to do for long
/// gives it away with [`spawn`](Self::spawn); two threads share it with [`split`](Self::split).
///
/// # Sending is enough
///
/// A thread that only sends keeps its connection: each call runs the timers that are due and, at
/// most [every 250 ms](HeartbeatConfig::read_interval), looks for input, so that the peer's pings
/// and its Close are answered and a dead peer is noticed. What comes in meanwhile waits in an
/// **inbox** for [`next`](Self::next): up to 1 MiB or 65,536 messages, or what
/// [`set_inbox_limits`](Self::set_inbox_limits) says. While it is full nothing is read: the peer's
/// pings are not answered, TCP holds the peer back, and the kernel watches over it; a reset still
/// ends the connection.
///
/// # Batches
///
/// [`send`](Self::send) returns when the stream has taken the message. [`feed`](Self::feed) only
/// queues it, and what is fed leaves in one write: with the next `send` or [`flush`](Self::flush),
/// when `next` has no more messages at hand, or with any other call once it is older than 1 ms. So
/// the plain loop
///
/// ```no_run
/// # use wspulse_std::{Error, WebSocket};
/// # fn echo(mut ws: WebSocket<std::net::TcpStream>) -> Result<(), Error> {
/// while let Some(message) = ws.next() {
///     ws.feed(message?)?;
/// }
/// # Ok(())
/// # }
/// ```
///
/// needs two system calls for a burst of messages, and not two each; and an answer never waits for
/// long work on the next message.
///
/// # What blocks
///
/// [`next`](Self::next) and [`next_event`](Self::next_event) until something happens, for ever if
/// the heartbeat is off; [`next_timeout`](Self::next_timeout) for as long as you say.
/// [`send`](Self::send) and [`flush`](Self::flush) until the stream has taken what is queued: a
/// peer that reads nothing holds them up for the heartbeat's `write_stall_timeout`, 30 s by
/// default. [`close`](Self::close) for at most the configuration's `close_timeout`; so does a call
/// that sends while the peer closes the connection, to tell how it ended. Nothing else blocks, but
/// that a stream which is no socket may take a millisecond for each look.
///
/// # Dropping
///
/// Dropping a connection makes one attempt to write what is queued, which does not wait, and closes
/// the stream. The peer is sent no Close frame, and where input lies unread in the kernel, TCP
/// resets the connection and may destroy what is under way: [`close`](Self::close) it first.
pub struct WebSocket<S: Stream> {
    shared: Arc<Shared<S>>,
    messages: MessageStream,
}

/// The messages of a connection, and how it ended.
#[derive(Debug, Default)]
pub(crate) struct MessageStream {
    closed: Option<Box<Closed>>,
    /// The messages have ended.
    is_over: bool,
}

impl MessageStream {
    pub(crate) fn next_event<S: Stream>(
        &mut self,
        shared: &Shared<S>,
        until: Option<SystemInstant>,
    ) -> Result<Option<Event>, Late> {
        let event = shared.next_event(until)?;
        if let Some(Event::Closed(closed)) = &event {
            self.closed = Some(closed.clone());
        }
        Ok(event)
    }

    pub(crate) fn next<S: Stream>(
        &mut self,
        shared: &Shared<S>,
        until: Option<SystemInstant>,
    ) -> Result<Option<Result<Message, Error>>, Late> {
        while !self.is_over {
            let Some(event) = self.next_event(shared, until)? else {
                self.is_over = true;
                break;
            };
            match Message::try_from(event) {
                Ok(message) => return Ok(Some(Ok(message))),
                Err(Event::Closed(closed)) => {
                    self.is_over = true;
                    if closed.cause != Cause::Normal {
                        let error = shared.look(|state, _| state.drive.end_error(closed));
                        return Ok(Some(Err(error)));
                    }
                }
                Err(_) => {}
            }
        }
        Ok(None)
    }

    pub(crate) fn closed(&self) -> Option<&Closed> {
        self.closed.as_deref()
    }
}

/// A wait without end does not come to one.
pub(crate) fn in_time<T>(waited: Result<Option<T>, Late>) -> Option<T> {
    waited.ok().flatten()
}

pub(crate) fn within<T>(
    timeout: Duration,
    wait: impl FnOnce(Option<SystemInstant>) -> Result<T, Late>,
) -> Poll<T> {
    match wait(SystemInstant::now().checked_add(timeout)) {
        Ok(result) => Poll::Ready(result),
        Err(Late) => Poll::Pending,
    }
}

impl<S: Stream> WebSocket<S> {
    pub(crate) fn new(shared: Shared<S>) -> Self {
        Self::over(Arc::new(shared), MessageStream::default())
    }

    pub(crate) fn over(shared: Arc<Shared<S>>, messages: MessageStream) -> Self {
        Self { shared, messages }
    }

    pub(crate) fn into_shared(self) -> Arc<Shared<S>> {
        self.shared
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
    // The iterator's own method of this name needs an import that nobody has to make.
    #[expect(clippy::should_implement_trait, reason = "it is implemented")]
    pub fn next(&mut self) -> Option<Result<Message, Error>> {
        in_time(self.messages.next(&self.shared, None))
    }

    /// Waits for the next message as [`next`](Self::next) does, but no longer than `timeout`:
    /// `Pending` if none came. A thread that has more to do than to wait comes back here before
    /// long.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub fn next_timeout(&mut self, timeout: Duration) -> Poll<Option<Result<Message, Error>>> {
        within(timeout, |until| self.messages.next(&self.shared, until))
    }

    /// Waits for whatever happens next: messages, parts of messages, pongs, suspicion, and last
    /// of all [`Event::Closed`]; then `None`.
    ///
    /// Where the stream itself failed, `Closed` says [`Cause::Eof`].
    pub fn next_event(&mut self) -> Option<Event> {
        in_time(self.messages.next_event(&self.shared, None))
    }

    /// Waits for whatever happens next as [`next_event`](Self::next_event) does, but no longer
    /// than `timeout`: `Pending` if nothing did.
    pub fn next_event_timeout(&mut self, timeout: Duration) -> Poll<Option<Event>> {
        within(timeout, |until| {
            self.messages.next_event(&self.shared, until)
        })
    }

    // ---- sending

    /// Sends a message: returns when the stream has taken all of it, and what was
    /// [fed](Self::feed) before it.
    ///
    /// While it waits it reads into the [inbox](Self#sending-is-enough). Two peers that both only
    /// send will therefore wait for each other once both inboxes are full, until the heartbeat's
    /// `write_stall_timeout` ends it.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] or [`Error::Io`] if the connection has ended, with its cause and the
    /// peer's Close. If it was ended by this side, [`Error::Send`] gives the message back.
    pub fn send(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        self.shared.send(message.into())
    }

    /// Queues a message, which leaves in a [batch](Self#batches) with others. Waits only while
    /// `max_buffered_amount` is queued.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn feed(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        self.shared.feed(message.into())
    }

    /// Sends a part of a message, which `last` completes (RFC 6455 §5.4): for messages whose
    /// length is not known yet, or that nobody wants to hold whole. All parts are of one kind.
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
    /// [`Error::Closed`] or [`Error::Io`] if the connection ended first; [`Error::NotOpen`] if it
    /// was this side that ended it.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.shared.flush()
    }

    /// Sends a ping of the application's own, of at most 125 bytes; its pong is an
    /// [`Event::Pong`]. The heartbeat needs none of these.
    ///
    /// # Errors
    ///
    /// [`Error::Send`] if the payload is too long or too many pings wait; else as
    /// [`send`](Self::send).
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), Error> {
        self.shared.ping(payload)
    }

    /// Closes the connection: sends what is queued and a Close frame, waits for the peer's, and
    /// drops the messages that still come. Takes at most the configuration's `close_timeout`.
    ///
    /// Where the peer's last messages matter, [`split`](Self::split) it: the [`Writer`] closes,
    /// and the [`Reader`] goes on to the end.
    ///
    /// # Errors
    ///
    /// [`Error::Send`] if the code or the reason must not be sent, and the connection stays open;
    /// [`Error::Closed`] or [`Error::Io`] if it ended otherwise than by the handshake.
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error> {
        self.shared.start_close(code, reason)?;
        while let Some(message) = self.next() {
            message?;
        }
        Ok(())
    }

    /// Says that the machine woke up after a suspend that its clock does not show, or that the
    /// network changed: a fresh ping leaves, and the peer has the whole timeout for its answer.
    pub fn handle_resumed(&mut self) {
        self.shared.handle_resumed();
    }

    /// Ends the connection without a closing handshake; [`next`](Self::next) reports
    /// [`Cause::Aborted`].
    pub fn abort(&mut self) {
        self.shared.abort();
    }

    // ---- more threads

    /// Takes the connection apart, for two threads: one that receives and one that sends.
    #[must_use]
    pub fn split(self) -> (Reader<S>, Writer<S>) {
        split::split(self.shared, self.messages)
    }

    /// Gives the connection to threads of its own, which keep pings, pongs and deadlines going
    /// while the application is busy, and returns the handles that speak to it.
    ///
    /// One thread receives and keeps the time; another one sends, and sleeps while nobody does.
    /// Both end with the connection. If there is no thread to be had, the [`Receiver`] says so.
    ///
    /// So many messages as `queue` says wait to be sent, beside `max_buffered_amount`. What comes in
    /// waits in the [inbox](Self#sending-is-enough), however long the application is busy. When
    /// that is full nothing more is read, and a peer that sends finds its own queues full: its pings
    /// are not answered then and it is not declared dead, but the kernel watches over it.
    ///
    /// When both handles are dropped, clones of the sender too, what was sent still leaves and the
    /// connection is closed with 1001.
    #[must_use]
    pub fn spawn(self, queue: usize) -> (Receiver, Sender)
    where
        S: Send + Sync + 'static,
    {
        spawn::spawn(self.shared, queue)
    }

    // ---- settings and looks

    /// Sets how much may wait in the [inbox](Self#sending-is-enough): messages that were read and
    /// that nobody has taken.
    pub fn set_inbox_limits(&mut self, limits: InboxLimits) {
        self.shared
            .look(|state, _| state.drive.set_inbox_limits(limits));
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

    /// Returns how many bytes are queued and not yet taken by the stream.
    #[must_use]
    pub fn buffered_amount(&self) -> usize {
        self.shared
            .look(|state, _| state.drive.connection().buffered_amount())
    }

    /// Returns how the connection ended, once [`next`](Self::next) or
    /// [`next_event`](Self::next_event) has come to the end.
    #[must_use]
    pub fn closed(&self) -> Option<&Closed> {
        self.messages.closed()
    }

    /// Client: returns the server's answer, with its headers and the chosen subprotocol.
    #[must_use]
    pub fn response(&self) -> Option<&Response> {
        self.shared.response.as_deref()
    }

    /// Returns the stream underneath, for its addresses or options. Reading or writing it, or
    /// changing its timeouts, would break the connection.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        self.shared.stream()
    }
}

/// The messages, as from [`next`](WebSocket::next).
impl<S: Stream> Iterator for WebSocket<S> {
    type Item = Result<Message, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        Self::next(self)
    }
}

impl<S: Stream> std::iter::FusedIterator for WebSocket<S> {}

impl<S: Stream> fmt::Debug for WebSocket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("is_over", &self.messages.is_over)
            .finish_non_exhaustive()
    }
}
