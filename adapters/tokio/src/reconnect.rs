//! A client that comes back.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use futures_core::{FusedStream, Stream};
use futures_sink::Sink;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use wspulse_core::backoff::Generation;
use wspulse_core::{
    Cause, CloseCode, CloseFrame, Event, Message, SendError, Snapshot, State as Life,
};
use wspulse_drive::{
    Clock as _, ConnectOptions, DownReason, Opening, Reconnect, ReconnectError, ReconnectEvent,
    ReconnectPolicy, Target,
};

use crate::clock::Clock;
use crate::timer::Timer;
use crate::websocket::WebSocket;
use crate::{Error, MaybeTls};

/// A client that connects, and connects again whenever the connection is lost, until that is
/// hopeless or [`close`](Self::close) is called.
///
/// It is a [`Stream`] of the messages of all its connections, one after the other.
/// [`next_event`](Self::next_event) tells besides when one opens and when one is lost. Everything
/// happens inside them, the first attempt to connect too: keep one of them polled. Other tasks
/// send, and say that the network is up, through a [`handle`](Self::handle).
///
/// ```no_run
/// # async fn example() -> Result<(), wspulse_tokio::Error> {
/// use wspulse_core::Config;
/// use wspulse_tokio::{ReconnectPolicy, ReconnectingClient, WhileDown};
///
/// let policy = ReconnectPolicy::default().while_down(WhileDown::Keep(100));
/// let mut client = ReconnectingClient::new("ws://127.0.0.1:9001/", Config::default(), policy)?
///     .on_open(|opening| opening.send("subscribe: news"));
/// while let Some(message) = client.next().await {
///     println!("{:?}", message?);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # When it comes back
///
/// After a loss, within 5 s; then after longer and longer random times up to a minute
/// ([`BackoffConfig`](wspulse_core::backoff::BackoffConfig)). A server's Retry-After is the least
/// it waits. Lookups, connects and handshakes that fail or time out are tried again, and so is a
/// connection that the heartbeat or a limit ended. It stops at close codes and statuses that the
/// next attempt would meet again ([`Outcome::class`](wspulse_core::backoff::Outcome::class)), at
/// certificates that are not to be trusted, and at requests that cannot be sent.
///
/// # Messages
///
/// Each is sent at most once and in order. What was handed to a connection that is lost is not
/// sent again, for the peer may have seen it; nothing of one connection gets into the next. What
/// is sent while there is no connection is refused or kept, as [`WhileDown`](crate::WhileDown)
/// says; a connection gets first what the [`on_open`](Self::on_open) hook sends, then what was
/// kept, then what is sent since.
///
/// # Cancel safety
///
/// Each future may be dropped at any await. An attempt to connect, a delay and a closing handshake
/// go on where they were. A `send` that is dropped took its whole message or nothing of it.
///
/// # Memory
///
/// One connection's, the messages that are kept, and one boxed attempt.
pub struct ReconnectingClient<S = MaybeTls<TcpStream>> {
    connect: Connector<S>,
    on_open: Option<Hook>,
    phase: Phase<S>,
    timer: Timer,
    shared: Arc<Shared<S>>,
}

type Attempt<S> = Pin<Box<dyn Future<Output = Result<WebSocket<S>, Error>> + Send>>;
type Connector<S> = Box<dyn FnMut(Generation) -> Attempt<S> + Send>;
type Hook = Box<dyn FnMut(&mut Opening<'_>) + Send>;

enum Phase<S> {
    Idle,
    Connecting(Generation, Attempt<S>),
    /// The connection is with the handles.
    Open(Generation),
    Waiting,
    Over,
}

impl ReconnectingClient {
    /// Makes a client for `url`. It connects as soon as it is polled.
    ///
    /// # Errors
    ///
    /// [`Error::Url`], [`Error::Request`] and [`Error::Backoff`] if an argument cannot work;
    /// [`Error::Io`] if the operating system has no entropy to give.
    pub fn new(
        url: &str,
        options: impl Into<ConnectOptions>,
        policy: impl Into<ReconnectPolicy>,
    ) -> Result<Self, Error> {
        let options = options.into();
        options.request(&Target::parse(url)?, true)?;
        let url: Arc<str> = url.into();
        let connect = move |_| {
            let (url, options) = (Arc::clone(&url), options.clone());
            async move { crate::connect(&url, options).await }
        };
        Self::with_connect(connect, policy)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ReconnectingClient<S> {
    /// Makes a client that connects in a way of its own: over another kind of stream, to the next
    /// of several servers, with a token that is drawn afresh for each attempt.
    ///
    /// An attempt takes as long as its future does, so let it end by itself.
    ///
    /// # Errors
    ///
    /// [`Error::Backoff`] if the delays cannot work; [`Error::Io`] if the operating system has no
    /// entropy to give.
    pub fn with_connect<C, F>(
        mut connect: C,
        policy: impl Into<ReconnectPolicy>,
    ) -> Result<Self, Error>
    where
        C: FnMut(Generation) -> F + Send + 'static,
        F: Future<Output = Result<WebSocket<S>, Error>> + Send + 'static,
    {
        let state = State {
            reconnect: Reconnect::new(&policy.into())?,
            clock: Clock::start(),
            ws: None,
            owner: None,
            sender: None,
        };
        Ok(Self {
            connect: Box::new(move |generation| Box::pin(connect(generation))),
            on_open: None,
            phase: Phase::Idle,
            timer: Timer::default(),
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                turn: tokio::sync::Mutex::new(()),
            }),
        })
    }

    /// Sets what to do with each connection before anything else is sent on it: log in, subscribe
    /// again. It runs inside [`next`](Self::next), so it should not take long.
    #[must_use]
    pub fn on_open(mut self, hook: impl FnMut(&mut Opening<'_>) + Send + 'static) -> Self {
        self.on_open = Some(Box::new(hook));
        self
    }

    /// Returns a handle for other tasks.
    #[must_use]
    pub fn handle(&self) -> ReconnectHandle<S> {
        ReconnectHandle {
            shared: Arc::clone(&self.shared),
        }
    }

    // ---- receiving

    /// Waits for the next message, over all downtimes; `None` after a [`close`](Self::close).
    ///
    /// # Errors
    ///
    /// [`ReconnectError`], once, if there will be no further attempt.
    pub async fn next(&mut self) -> Option<Result<Message, ReconnectError>> {
        poll_fn(|cx| self.poll_message(cx)).await
    }

    /// Waits for whatever happens next: connections that open and go, and all that happens on
    /// them; last of all [`ReconnectEvent::GaveUp`], or after a [`close`](Self::close) of an open
    /// connection its [`Event::Closed`]; then `None`.
    pub async fn next_event(&mut self) -> Option<ReconnectEvent> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Message, ReconnectError>>> {
        while let Some(event) = ready!(self.poll_event(cx)) {
            match event {
                ReconnectEvent::Connection(event) => {
                    if let Ok(message) = Message::try_from(event) {
                        return Poll::Ready(Some(Ok(message)));
                    }
                }
                ReconnectEvent::GaveUp(error) => return Poll::Ready(Some(Err(error))),
                _ => {}
            }
        }
        Poll::Ready(None)
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<ReconnectEvent>> {
        loop {
            match &mut self.phase {
                Phase::Over => return Poll::Ready(None),
                Phase::Open(generation) => {
                    let generation = *generation;
                    let event = ready!(self.shared.lock().poll_event(cx));
                    if let Some(event) = self.pass_on(generation, event) {
                        return Poll::Ready(Some(event));
                    }
                }
                // Whoever closes while there is no connection has nothing to wait for.
                _ if self.shared.lock().is_over_for(cx) => self.phase = Phase::Over,
                Phase::Idle => self.begin(),
                Phase::Connecting(generation, attempt) => {
                    let generation = *generation;
                    let event = match ready!(attempt.as_mut().poll(cx)) {
                        Ok(ws) => self.open(generation, ws, cx),
                        Err(error) => self.down(generation, DownReason::Failed(error)),
                    };
                    if event.is_some() {
                        return Poll::Ready(event);
                    }
                }
                Phase::Waiting => {
                    let Some(deadline) = self.shared.lock().deadline() else {
                        return Poll::Pending;
                    };
                    ready!(self.timer.poll_until(cx, deadline));
                    self.begin();
                }
            }
        }
    }

    fn begin(&mut self) {
        let generation = {
            let mut state = self.shared.lock();
            let now = state.clock.now();
            state.reconnect.begin(now)
        };
        self.phase = Phase::Connecting(generation, (self.connect)(generation));
    }

    fn open(
        &mut self,
        generation: Generation,
        ws: WebSocket<S>,
        cx: &mut Context<'_>,
    ) -> Option<ReconnectEvent> {
        let mut opening = Opening::new(generation, ws.response());
        if let Some(hook) = &mut self.on_open {
            hook(&mut opening);
        }
        let greeting = opening.into_messages();
        let response = ws.response().cloned().map(Box::new);
        self.phase = Phase::Open(generation);
        self.shared.lock().open(generation, ws, greeting, cx);
        Some(ReconnectEvent::Opened {
            generation,
            response,
        })
    }

    fn pass_on(&mut self, generation: Generation, event: Option<Event>) -> Option<ReconnectEvent> {
        let reason = match event {
            Some(Event::Closed(closed)) => DownReason::Ended(closed),
            Some(event) => return Some(ReconnectEvent::Connection(event)),
            None => DownReason::Failed(Error::NotOpen),
        };
        self.down(generation, reason)
    }

    /// The next attempt waits for its time. Where there is none, that is found out first.
    fn down(&mut self, generation: Generation, reason: DownReason) -> Option<ReconnectEvent> {
        self.phase = Phase::Waiting;
        let (event, _ws) = self.shared.lock().down(generation, reason);
        event
    }

    // ---- sending

    /// Sends a message, or keeps it or gives it back while there is no connection.
    ///
    /// While there is one it waits until the transport has taken the message, as
    /// [`WebSocket::send`] does. While there is none it does not wait.
    ///
    /// # Errors
    ///
    /// [`Error::Send`] gives the message back: with [`SendError::NotOpen`] if there is no
    /// connection and messages are not kept, or there will be no connection any more; with
    /// [`SendError::Full`] if as many are kept as may be. [`Error::Closed`] or [`Error::Io`] if the
    /// connection ended before the transport had the message; [`next`](Self::next) goes on to the
    /// next connection.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        let mut slot = Some(message.into());
        poll_fn(|cx| self.shared.lock().poll_send(cx, &mut slot)).await
    }

    /// Says that the network came back, or that the machine woke up. An open connection is asked at
    /// once whether it still stands ([`WebSocket::handle_resumed`]). A delay is cut short, once, to
    /// a part of a second or what a Retry-After leaves.
    pub fn network_up(&self) {
        self.shared.lock().network_up();
    }

    /// Ends for good: closes the connection if there is one, as [`WebSocket::close`] does, and
    /// connects no more. Messages that still come are dropped.
    ///
    /// Dropped half way, the closing handshake goes on in [`next`](Self::next).
    ///
    /// # Errors
    ///
    /// [`Error::Send`] if the code or the reason must not be sent, and all stays as it is;
    /// [`Error::Closed`] if the connection ended otherwise than by the handshake.
    pub async fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error> {
        self.shared.lock().close(code, reason)?;
        while let Some(event) = self.next_event().await {
            match event {
                ReconnectEvent::Connection(Event::Closed(closed))
                    if closed.cause != Cause::Normal =>
                {
                    return Err(Error::Closed(closed));
                }
                _ => {}
            }
        }
        Ok(())
    }

    // ---- looks

    /// Tells whether there is a connection to send on.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared.lock().is_open()
    }

    /// Returns the name of the attempt or connection that is under way.
    #[must_use]
    pub fn generation(&self) -> Option<Generation> {
        self.shared.lock().reconnect.generation()
    }

    /// Returns how many connections and attempts ended, one after the other, since the last good
    /// one.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.shared.lock().reconnect.failures()
    }

    /// Returns the connection's numbers of this moment, if there is a connection.
    #[must_use]
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.shared.lock().ws.as_ref().map(WebSocket::snapshot)
    }

    /// Takes out the messages that are kept, oldest first. They were handed to no connection, so
    /// after the end they can be stored or sent in another way.
    #[must_use]
    pub fn take_kept(&mut self) -> Vec<Message> {
        self.shared.lock().reconnect.take_kept()
    }
}

/// The messages, as from [`next`](ReconnectingClient::next).
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for ReconnectingClient<S> {
    type Item = Result<Message, ReconnectError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_message(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> FusedStream for ReconnectingClient<S> {
    fn is_terminated(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }
}

/// Handles outlive the client, the connection does not.
impl<S> Drop for ReconnectingClient<S> {
    fn drop(&mut self) {
        let _ws = self.shared.lock().end();
    }
}

impl<S> fmt::Debug for ReconnectingClient<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReconnectingClient")
            .field("reconnect", &self.shared.lock().reconnect)
            .finish_non_exhaustive()
    }
}

/// Sends on a [`ReconnectingClient`]'s connections from other tasks.
///
/// It works while the client itself is polled.
pub struct ReconnectHandle<S = MaybeTls<TcpStream>> {
    shared: Arc<Shared<S>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ReconnectHandle<S> {
    /// Sends a message as [`ReconnectingClient::send`] does. Waits, in turn with others, while
    /// the connection's queue is full.
    ///
    /// Cancel safe: dropped, it took the whole message or nothing of it.
    ///
    /// # Errors
    ///
    /// As [`ReconnectingClient::send`]; [`SendError::NotOpen`] too if the client was dropped.
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), Error> {
        let mut slot = Some(message.into());
        let _turn = self.shared.turn.lock().await;
        poll_fn(|cx| self.shared.lock().poll_offer(cx, &mut slot)).await
    }

    /// Says that the network came back: see [`ReconnectingClient::network_up`].
    pub fn network_up(&self) {
        self.shared.lock().network_up();
    }

    /// Has the client end for good: it closes the connection, if there is one, and its
    /// [`next`](ReconnectingClient::next) comes to the end. Does not wait for that.
    ///
    /// # Errors
    ///
    /// [`Error::Send`] if the code or the reason must not be sent, and all stays as it is.
    pub fn close(&self, code: CloseCode, reason: &str) -> Result<(), Error> {
        self.shared.lock().close(code, reason)
    }

    /// Tells whether there is a connection to send on.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared.lock().is_open()
    }
}

impl<S> Clone for ReconnectHandle<S> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S> fmt::Debug for ReconnectHandle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReconnectHandle").finish_non_exhaustive()
    }
}

struct Shared<S> {
    state: Mutex<State<S>>,
    /// Held by the one handle that may wait for room.
    turn: tokio::sync::Mutex<()>,
}

impl<S> Shared<S> {
    /// No code of the application's runs under this lock, and none of ours panics half way.
    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the client and its handles share.
struct State<S> {
    reconnect: Reconnect,
    clock: Clock,
    /// From its opening until its last event.
    ws: Option<WebSocket<S>>,
    /// The task that polls the client.
    owner: Option<Waker>,
    /// The task that waits for room.
    sender: Option<Waker>,
}

impl<S> State<S> {
    /// Returns when the next attempt begins.
    fn deadline(&self) -> Option<tokio::time::Instant> {
        let deadline = self.reconnect.poll_timeout()?;
        Some(self.clock.runtime_time(deadline))
    }

    /// Tells the client's task whether to stop, and wakes it when that changes.
    fn is_over_for(&mut self, cx: &Context<'_>) -> bool {
        self.enlist(cx);
        self.reconnect.is_over()
    }

    fn enlist(&mut self, cx: &Context<'_>) {
        match &mut self.owner {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.owner = Some(cx.waker().clone()),
        }
    }

    fn end(&mut self) -> Option<WebSocket<S>> {
        self.reconnect.stop();
        wake(&mut self.owner);
        wake(&mut self.sender);
        self.ws.take()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> State<S> {
    fn network_up(&mut self) {
        let now = self.clock.now();
        self.reconnect.handle_network_up(now);
        if let Some(ws) = &mut self.ws {
            ws.handle_resumed();
        }
        wake(&mut self.owner);
    }

    fn is_open(&self) -> bool {
        self.ws.as_ref().is_some_and(|ws| ws.state() == Life::Open)
    }

    fn open(
        &mut self,
        generation: Generation,
        mut ws: WebSocket<S>,
        greeting: Vec<Message>,
        cx: &mut Context<'_>,
    ) {
        let now = self.clock.now();
        // The client makes one attempt at a time, so this is the present one.
        let _ = self.reconnect.handle_open(now, generation, greeting);
        // A handle may have closed the client while the attempt came to its end.
        if self.reconnect.is_over() {
            let _ = ws.start_close(CloseCode::NORMAL, "");
        }
        self.ws = Some(ws);
        self.hand_over();
        self.push(cx);
        wake(&mut self.sender);
    }

    /// Has what is queued leave at once, if it can, and not with the next poll.
    fn push(&mut self, cx: &mut Context<'_>) {
        if let Some(ws) = &mut self.ws {
            let _ = pin!(ws.push()).poll(cx);
        }
    }

    /// The connection is over: decides how to go on, and gives its remains to be dropped.
    fn down(
        &mut self,
        generation: Generation,
        reason: DownReason,
    ) -> (Option<ReconnectEvent>, Option<WebSocket<S>>) {
        let now = self.clock.now();
        let event = self.reconnect.handle_down(now, generation, reason);
        wake(&mut self.sender);
        (event, self.ws.take())
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.enlist(cx);
        loop {
            let Some(ws) = &mut self.ws else {
                return Poll::Ready(None);
            };
            let event = pin!(ws.next_event()).poll(cx);
            // What left made room, and what takes that room wants to leave.
            if self.hand_over() && event.is_pending() {
                continue;
            }
            if !self.reconnect.has_waiting() {
                wake(&mut self.sender);
            }
            return event;
        }
    }

    /// Hands over what waits as far as there is room; tells whether anything was.
    fn hand_over(&mut self) -> bool {
        let mut is_any = false;
        if let Some(ws) = &mut self.ws {
            self.reconnect.hand_over(|message| {
                let taken = Pin::new(&mut *ws).start_send(message);
                is_any |= taken.is_ok();
                taken
            });
        }
        is_any
    }

    /// Sends from the client's own task, which moves the connection meanwhile.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        slot: &mut Option<Message>,
    ) -> Poll<Result<(), Error>> {
        while slot.is_some() {
            self.hand_over();
            match self.offer(slot) {
                Poll::Ready(Ok(())) if self.is_open() => break,
                Poll::Ready(offered) => return Poll::Ready(offered),
                Poll::Pending => {}
            }
            let Some(ws) = &mut self.ws else {
                continue;
            };
            // How it ended, if it has, is told by the next offer.
            let _ = ready!(Pin::new(ws).poll_ready(cx));
        }
        match &mut self.ws {
            Some(ws) => Pin::new(ws).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Sends from another task, and has the client's move the connection.
    fn poll_offer(
        &mut self,
        cx: &Context<'_>,
        slot: &mut Option<Message>,
    ) -> Poll<Result<(), Error>> {
        let offered = self.offer(slot);
        match offered {
            Poll::Ready(_) => wake(&mut self.owner),
            Poll::Pending => self.sender = Some(cx.waker().clone()),
        }
        offered
    }

    /// Hands a message over, keeps it or gives it back; pending if there is no room just now.
    fn offer(&mut self, slot: &mut Option<Message>) -> Poll<Result<(), Error>> {
        let Some(message) = slot.take() else {
            return Poll::Ready(Ok(()));
        };
        let sent = match &mut self.ws {
            Some(ws) if ws.state() == Life::Open => match self.reconnect.has_waiting() {
                true => Err(SendError::Full(message).into()),
                false => Pin::new(ws).start_send(message),
            },
            _ => return Poll::Ready(self.reconnect.keep(message).map_err(Error::Send)),
        };
        match sent {
            Err(Error::Send(SendError::Full(message))) => {
                *slot = Some(message);
                Poll::Pending
            }
            sent => Poll::Ready(sent),
        }
    }

    fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error> {
        // Without a connection a mistake is a mistake all the same.
        let mut payload = [0; CloseFrame::MAX_PAYLOAD];
        CloseFrame::encode(code, reason, &mut payload).map_err(SendError::Close)?;
        self.hand_over();
        if let Some(ws) = &mut self.ws {
            ws.start_close(code, reason)?;
        }
        self.reconnect.stop();
        wake(&mut self.owner);
        wake(&mut self.sender);
        Ok(())
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
