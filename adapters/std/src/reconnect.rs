//! A client that comes back.

use std::fmt;
use std::iter::FusedIterator;
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant as SystemInstant};

use wspulse_core::backoff::Generation;
use wspulse_core::{
    Cause, CloseCode, CloseFrame, Event, Message, SendError, Snapshot, State as Life,
};
use wspulse_drive::{
    Clock as _, ConnectOptions, DownReason, Opening, Reconnect, ReconnectError, ReconnectEvent,
    ReconnectPolicy, SystemClock, Target,
};

use crate::Error;
use crate::shared::{Departure, Late, Shared};
use crate::stream::Stream;
use crate::websocket::{WebSocket, in_time, within};

/// A client that connects, and connects again whenever the connection is lost, until that is
/// hopeless or [`close`](Self::close) is called.
///
/// It is an [`Iterator`] over the messages of all its connections, one after the other.
/// [`next_event`](Self::next_event) tells besides when one opens and when one is lost. Everything
/// happens inside them, the first attempt to connect too: keep a thread in one of them. Other
/// threads send, and say that the network is up, through a [`handle`](Self::handle).
///
/// ```no_run
/// # fn example() -> Result<(), wspulse_std::Error> {
/// use wspulse_core::Config;
/// use wspulse_std::{ReconnectPolicy, ReconnectingClient, WhileDown};
///
/// let policy = ReconnectPolicy::default().while_down(WhileDown::Keep(100));
/// let mut client = ReconnectingClient::new("ws://127.0.0.1:9001/", Config::default(), policy)?
///     .on_open(|opening| opening.send("subscribe: news"));
/// while let Some(message) = client.next() {
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
/// # What blocks
///
/// [`next`](Self::next) and [`next_event`](Self::next_event) until something happens, over all
/// downtimes; [`next_timeout`](Self::next_timeout) for as long as you say, and for an attempt to
/// connect. A delay ends at once when a handle says that the network is up, or closes the client;
/// an attempt to connect comes to its own end, at most the sum of its timeouts.
/// [`send`](Self::send) while there is a connection, as [`WebSocket::send`] does; while there is
/// none it does not. While there is a connection, a waiting thread wakes up four times a second,
/// as after a [`split`](WebSocket::split).
///
/// # Memory
///
/// One connection's, and the messages that are kept.
pub struct ReconnectingClient<S: Stream = TcpStream> {
    connect: Connector<S>,
    on_open: Option<Hook>,
    phase: Phase<S>,
    common: Arc<Common<S>>,
}

type Connector<S> = Box<dyn FnMut(Generation) -> Result<WebSocket<S>, Error> + Send>;
type Hook = Box<dyn FnMut(&mut Opening<'_>) + Send>;

enum Phase<S: Stream> {
    Idle,
    Open(Generation, Arc<Shared<S>>),
    Waiting,
    Over,
}

impl ReconnectingClient {
    /// Makes a client for `url`. It connects in the first [`next`](Self::next).
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
        let url = url.to_owned();
        Self::with_connect(move |_| crate::connect(&url, options.clone()), policy)
    }
}

impl<S: Stream> ReconnectingClient<S> {
    /// Makes a client that connects in a way of its own: over another kind of stream, to the next
    /// of several servers, with a token that is drawn afresh for each attempt.
    ///
    /// An attempt takes as long as `connect` does, so let it end by itself.
    ///
    /// # Errors
    ///
    /// [`Error::Backoff`] if the delays cannot work; [`Error::Io`] if the operating system has no
    /// entropy to give.
    pub fn with_connect(
        connect: impl FnMut(Generation) -> Result<WebSocket<S>, Error> + Send + 'static,
        policy: impl Into<ReconnectPolicy>,
    ) -> Result<Self, Error> {
        let state = State {
            reconnect: Reconnect::new(&policy.into())?,
            link: None,
        };
        Ok(Self {
            connect: Box::new(connect),
            on_open: None,
            phase: Phase::Idle,
            common: Arc::new(Common {
                state: Mutex::new(state),
                changed: Condvar::new(),
                clock: SystemClock::start(),
            }),
        })
    }

    /// Sets what to do with each connection before anything else is sent on it: log in, subscribe
    /// again. It runs inside [`next`](Self::next).
    #[must_use]
    pub fn on_open(mut self, hook: impl FnMut(&mut Opening<'_>) + Send + 'static) -> Self {
        self.on_open = Some(Box::new(hook));
        self
    }

    /// Returns a handle for other threads.
    #[must_use]
    pub fn handle(&self) -> ReconnectHandle<S> {
        ReconnectHandle {
            common: Arc::clone(&self.common),
        }
    }

    // ---- receiving

    /// Waits for the next message, over all downtimes; `None` after a [`close`](Self::close).
    ///
    /// # Errors
    ///
    /// [`ReconnectError`], once, if there will be no further attempt.
    #[expect(clippy::should_implement_trait, reason = "it is implemented")]
    pub fn next(&mut self) -> Option<Result<Message, ReconnectError>> {
        in_time(self.wait_message(None))
    }

    /// Waits for the next message, but no longer than `timeout`: `Pending` if none came. An attempt
    /// to connect that begins meanwhile may take longer.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub fn next_timeout(
        &mut self,
        timeout: Duration,
    ) -> Poll<Option<Result<Message, ReconnectError>>> {
        within(timeout, |until| self.wait_message(until))
    }

    /// Waits for whatever happens next: connections that open and go, and all that happens on
    /// them; last of all [`ReconnectEvent::GaveUp`], or after a [`close`](Self::close) of an open
    /// connection its [`Event::Closed`]; then `None`.
    pub fn next_event(&mut self) -> Option<ReconnectEvent> {
        in_time(self.wait_event(None))
    }

    /// Waits for whatever happens next, but no longer than `timeout`: `Pending` if nothing did. An
    /// attempt to connect that begins meanwhile may take longer.
    pub fn next_event_timeout(&mut self, timeout: Duration) -> Poll<Option<ReconnectEvent>> {
        within(timeout, |until| self.wait_event(until))
    }

    fn wait_message(
        &mut self,
        until: Option<SystemInstant>,
    ) -> Result<Option<Result<Message, ReconnectError>>, Late> {
        while let Some(event) = self.wait_event(until)? {
            match event {
                ReconnectEvent::Connection(event) => {
                    if let Ok(message) = Message::try_from(event) {
                        return Ok(Some(Ok(message)));
                    }
                }
                ReconnectEvent::GaveUp(error) => return Ok(Some(Err(error))),
                _ => {}
            }
        }
        Ok(None)
    }

    fn wait_event(&mut self, until: Option<SystemInstant>) -> Result<Option<ReconnectEvent>, Late> {
        loop {
            let event = match &self.phase {
                Phase::Over => return Ok(None),
                Phase::Open(generation, link) => {
                    let generation = *generation;
                    let event = self.common.wait_event(link, until)?;
                    self.pass_on(generation, event)
                }
                // Whoever closes while there is no connection has nothing to wait for.
                _ if self.common.lock().reconnect.is_over() => {
                    self.phase = Phase::Over;
                    None
                }
                Phase::Idle => self.attempt(),
                Phase::Waiting => {
                    if self.common.wait_deadline(until)? {
                        self.phase = Phase::Idle;
                    }
                    None
                }
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    fn attempt(&mut self) -> Option<ReconnectEvent> {
        let generation = {
            let now = self.common.clock.now();
            self.common.lock().reconnect.begin(now)
        };
        match (self.connect)(generation) {
            Ok(ws) => Some(self.open(generation, ws)),
            Err(error) => self.down(generation, DownReason::Failed(error)),
        }
    }

    fn open(&mut self, generation: Generation, ws: WebSocket<S>) -> ReconnectEvent {
        let mut opening = Opening::new(generation, ws.response());
        if let Some(hook) = &mut self.on_open {
            hook(&mut opening);
        }
        let greeting = opening.into_messages();
        let response = ws.response().cloned().map(Box::new);
        let link = ws.into_shared();
        self.phase = Phase::Open(generation, Arc::clone(&link));
        self.common.open(generation, link, greeting);
        ReconnectEvent::Opened {
            generation,
            response,
        }
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
        self.common.down(generation, reason)
    }

    // ---- sending

    /// Sends a message, or keeps it or gives it back while there is no connection.
    ///
    /// While there is one it returns when the stream has taken the message, as
    /// [`WebSocket::send`] does, and reads on meanwhile. If the connection is lost then, so is the
    /// message.
    ///
    /// # Errors
    ///
    /// [`Error::Send`] gives the message back: with [`SendError::NotOpen`] if there is no
    /// connection and messages are not kept, or there will be no connection any more; with
    /// [`SendError::Full`] if as many are kept as may be.
    pub fn send(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        // Nobody else makes room for what waits.
        if self.common.drain() {
            self.common.send(message.into())
        } else {
            self.common.keep(message.into())
        }
    }

    /// Says that the network came back, or that the machine woke up: cuts the present delay
    /// short, once, to a part of a second or what a Retry-After leaves. On an open connection a
    /// fresh ping leaves, and the server has the whole timeout for its answer
    /// ([`WebSocket::handle_resumed`]). During an attempt to connect it does nothing.
    pub fn network_up(&self) {
        self.common.network_up();
    }

    /// Ends for good: closes the connection if there is one, as [`WebSocket::close`] does, and
    /// connects no more. Messages that still come are dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Send`] if the code or the reason must not be sent, and all stays as it is;
    /// [`Error::Closed`] if the connection ended otherwise than by the handshake.
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error> {
        self.common.close(code, reason)?;
        while let Some(event) = self.next_event() {
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
        self.common.lock().is_open()
    }

    /// Returns the name of the attempt or connection that is under way.
    #[must_use]
    pub fn generation(&self) -> Option<Generation> {
        self.common.lock().reconnect.generation()
    }

    /// Returns how many connections and attempts ended, one after the other, since the last good
    /// one.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.common.lock().reconnect.failures()
    }

    /// Returns the connection's numbers of this moment, if there is a connection.
    #[must_use]
    pub fn snapshot(&self) -> Option<Snapshot> {
        let link = self.common.lock().link.clone()?;
        Some(link.look(|state, now| state.drive.connection().snapshot(now)))
    }

    /// Takes out the messages that are kept, oldest first. They were handed to no connection, so
    /// after the end they can be stored or sent in another way.
    #[must_use]
    pub fn take_kept(&mut self) -> Vec<Message> {
        self.common.lock().reconnect.take_kept()
    }
}

/// The messages, as from [`next`](ReconnectingClient::next).
impl<S: Stream> Iterator for ReconnectingClient<S> {
    type Item = Result<Message, ReconnectError>;

    fn next(&mut self) -> Option<Self::Item> {
        Self::next(self)
    }
}

impl<S: Stream> FusedIterator for ReconnectingClient<S> {}

/// Handles outlive the client, the connection does not.
impl<S: Stream> Drop for ReconnectingClient<S> {
    fn drop(&mut self) {
        self.common.end();
    }
}

impl<S: Stream> fmt::Debug for ReconnectingClient<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReconnectingClient")
            .field("reconnect", &self.common.lock().reconnect)
            .finish_non_exhaustive()
    }
}

/// Sends on a [`ReconnectingClient`]'s connections from other threads.
///
/// It works while a thread is in the client's own methods.
pub struct ReconnectHandle<S: Stream = TcpStream> {
    common: Arc<Common<S>>,
}

impl<S: Stream> ReconnectHandle<S> {
    /// Sends a message as [`ReconnectingClient::send`] does.
    ///
    /// # Errors
    ///
    /// As [`ReconnectingClient::send`]; [`SendError::NotOpen`] too if the client was dropped.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), Error> {
        self.common.send(message.into())
    }

    /// Says that the network came back: see [`ReconnectingClient::network_up`].
    pub fn network_up(&self) {
        self.common.network_up();
    }

    /// Has the client end for good: it closes the connection, if there is one, and its
    /// [`next`](ReconnectingClient::next) comes to the end. Does not wait for that.
    ///
    /// # Errors
    ///
    /// [`Error::Send`] if the code or the reason must not be sent, and all stays as it is.
    pub fn close(&self, code: CloseCode, reason: &str) -> Result<(), Error> {
        self.common.close(code, reason)
    }

    /// Tells whether there is a connection to send on.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.common.lock().is_open()
    }
}

impl<S: Stream> Clone for ReconnectHandle<S> {
    fn clone(&self) -> Self {
        Self {
            common: Arc::clone(&self.common),
        }
    }
}

impl<S: Stream> fmt::Debug for ReconnectHandle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReconnectHandle").finish_non_exhaustive()
    }
}

/// What the client and its handles have in common. Nobody holds the lock while he waits for a
/// connection; a connection's own lock is only ever taken inside it.
struct Common<S: Stream> {
    state: Mutex<State<S>>,
    /// A delay was cut short, or messages that waited are gone, one way or the other.
    changed: Condvar,
    clock: SystemClock,
}

struct State<S: Stream> {
    reconnect: Reconnect,
    /// From its opening until its last event.
    link: Option<Arc<Shared<S>>>,
}

impl<S: Stream> Common<S> {
    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn network_up(&self) {
        let now = self.clock.now();
        let link = {
            let mut state = self.lock();
            state.reconnect.handle_network_up(now);
            state.link.clone()
        };
        self.changed.notify_all();
        if let Some(link) = link {
            link.handle_resumed();
        }
    }

    /// Waits until the next attempt is due, or there will be none; tells whether it is due.
    fn wait_deadline(&self, until: Option<SystemInstant>) -> Result<bool, Late> {
        let mut state = self.lock();
        loop {
            if state.reconnect.is_over() {
                return Ok(false);
            }
            let due = state.reconnect.poll_timeout();
            let left = due.map_or(Duration::MAX, |due| self.clock.until(due));
            if left.is_zero() {
                return Ok(true);
            }
            let left_for_caller = until.map_or(Duration::MAX, |until| {
                until.saturating_duration_since(SystemInstant::now())
            });
            if left_for_caller.is_zero() {
                return Err(Late);
            }
            // Some platforms cannot wait for very long.
            let wait = left.min(left_for_caller).min(DAY);
            let waited = self.changed.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl<S: Stream> Common<S> {
    fn open(&self, generation: Generation, link: Arc<Shared<S>>, greeting: Vec<Message>) {
        // Threads that send share the connection with the one that receives.
        link.look(|state, _| state.is_split = true);
        let mut state = self.lock();
        let now = self.clock.now();
        // The client makes one attempt at a time, so this is the present one.
        let _ = state.reconnect.handle_open(now, generation, greeting);
        // A handle may have closed the client during the attempt.
        if state.reconnect.is_over() {
            let _ = link.start_close(CloseCode::NORMAL, "");
        }
        state.link = Some(link);
        state.hand_over();
        self.changed.notify_all();
    }

    fn down(&self, generation: Generation, reason: DownReason) -> Option<ReconnectEvent> {
        let mut state = self.lock();
        state.link = None;
        let now = self.clock.now();
        let event = state.reconnect.handle_down(now, generation, reason);
        self.changed.notify_all();
        event
    }

    /// Waits for the connection's next event; hands over what waits for room meanwhile.
    fn wait_event(
        &self,
        link: &Shared<S>,
        until: Option<SystemInstant>,
    ) -> Result<Option<Event>, Late> {
        loop {
            if !self.hand_over() {
                return link.next_event(until);
            }
            let soon = SystemInstant::now() + NAP;
            let is_soon = until.is_none_or(|until| soon < until);
            match link.next_event(if is_soon { Some(soon) } else { until }) {
                Err(Late) if is_soon => {}
                event => return event,
            }
        }
    }

    /// Hands over what waits as far as there is room; tells whether more waits.
    fn hand_over(&self) -> bool {
        let mut state = self.lock();
        if !state.reconnect.has_waiting() {
            return false;
        }
        state.hand_over();
        self.changed.notify_all();
        state.reconnect.has_waiting()
    }

    /// Hands over all that waits, in the client's own thread; tells whether it could.
    fn drain(&self) -> bool {
        while self.hand_over() {
            let Some(link) = self.lock().open_link() else {
                return false;
            };
            let _ = link.flush();
            if link.look(|state, _| state.drive.has_failed_writing()) {
                return false;
            }
        }
        true
    }

    fn keep(&self, message: Message) -> Result<(), Error> {
        self.lock().reconnect.keep(message).map_err(Error::Send)
    }

    fn send(&self, message: Message) -> Result<(), Error> {
        let link = {
            let mut state = self.lock();
            loop {
                let Some(link) = state.open_link() else {
                    return state.reconnect.keep(message).map_err(Error::Send);
                };
                if !state.reconnect.has_waiting() {
                    break link;
                }
                // The thread in `next` sees to it. That the connection ends is not told here, so
                // it is looked for.
                let waited = self.changed.wait_timeout(state, NAP);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        };
        // A clone shares the payload.
        let queued = link.queue_message(message.clone(), Departure::Flushed);
        if queued.is_err() {
            return self.keep(message);
        }
        // What it has taken shares its fate; `next` tells.
        let _ = link.flush();
        Ok(())
    }

    fn close(&self, code: CloseCode, reason: &str) -> Result<(), Error> {
        // Without a connection a mistake is a mistake all the same.
        let mut payload = [0; CloseFrame::MAX_PAYLOAD];
        CloseFrame::encode(code, reason, &mut payload).map_err(SendError::Close)?;
        let mut state = self.lock();
        state.hand_over();
        if let Some(link) = &state.link {
            link.start_close(code, reason)?;
        }
        state.reconnect.stop();
        self.changed.notify_all();
        Ok(())
    }

    fn end(&self) {
        let mut state = self.lock();
        state.reconnect.stop();
        let link = state.link.take();
        self.changed.notify_all();
        drop(state);
        if let Some(link) = link {
            link.abort();
        }
    }
}

impl<S: Stream> State<S> {
    fn open_link(&self) -> Option<Arc<Shared<S>>> {
        let link = self.link.as_ref()?;
        let life = link.look(|state, _| state.drive.connection().state());
        (life == Life::Open).then(|| Arc::clone(link))
    }

    fn is_open(&self) -> bool {
        self.open_link().is_some()
    }

    fn hand_over(&mut self) {
        if let Some(link) = &self.link {
            self.reconnect
                .hand_over(|message| link.command(|drive, _| drive.command(|c| c.send(message))));
        }
    }
}

/// How long a thread waits while another one may change what it waits for.
const NAP: Duration = Duration::from_millis(20);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
