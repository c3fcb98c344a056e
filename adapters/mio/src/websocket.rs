//! One connection, for a loop of anybody's.

use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, io};

use mio::event::Source;
use mio::{Interest, Registry, Token};
use wspulse_core::handshake::{Accept, AnswerError, ClientRequest, Reject};
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{
    CloseCode, Closed, Config, ConfigError, Connection, Event, Message, Role, SendError, Snapshot,
    State,
};
#[cfg(feature = "tls")]
use wspulse_drive::tls::{
    TlsSession,
    rustls::{ClientConfig, ServerConfig, pki_types::ServerName},
};
use wspulse_drive::{Clock as _, Drive, Error, InboxLimits, seed};

use crate::clock::Clock;
use crate::stream::Stream;
use crate::wire::{Input, Raw, Wire};

/// A WebSocket connection over a stream that does not wait, from [`accept`], [`client`] and their
/// kin.
///
/// The owner registers it (it is a [`Source`]) for reading and writing, once, and gives it a turn
/// whenever its stream is ready, when [`poll_timeout`](Self::poll_timeout) has come, and after
/// commands:
///
/// ```no_run
/// # use wspulse_mio::{Turn, WebSocket};
/// # use wspulse_core::Event;
/// # fn turn(ws: &mut WebSocket<mio::net::TcpStream>) {
/// while let Some(event) = ws.poll_event() {
///     if let Event::Text(text) = event {
///         let _ = ws.send(text); // queued; what a turn has to say leaves in one write
///     }
/// }
/// match ws.end_turn() {
///     Turn::Again => {} // it used up its share: another turn after the others', without sleeping
///     Turn::Wait => {}  // until the stream is ready or `poll_timeout`, which is to be read again
///     Turn::Over => {}  // deregister and drop it
/// }
/// # }
/// ```
///
/// No method waits. A turn reads until the stream has no more, so edge-triggered registration
/// (which is mio's) misses nothing; one that is fed without end is cut off after 256 KiB.
///
/// Dropping it makes one attempt to write what is queued. The peer is sent no Close frame, and where
/// input lies unread in the kernel, TCP resets the connection and may destroy what is under way:
/// [`close`](Self::close) it first.
pub struct WebSocket<S: Stream> {
    stream: S,
    drive: Drive,
    clock: Clock,
    #[cfg(feature = "tls")]
    tls: Option<TlsSession>,
    /// What this turn used of its share.
    spent: usize,
    is_connected: bool,
    input: Input,
    /// Whether a request is agreed to unseen.
    consents: bool,
    /// Whether the turn ended with more to do.
    is_cut_short: bool,
    is_paused: bool,
    /// The heartbeat, if it is no longer the configuration's.
    heartbeat: Option<Box<HeartbeatConfig>>,
    /// The kernel watches over the peer, since nobody reads.
    is_watched: bool,
    /// Whether something may be queued that no attempt was made to write.
    has_commands: bool,
    /// When input was last taken or a write last attempted: what is queued waits for company until
    /// [`BATCH_TIME`] later.
    batch_began: wspulse_core::Instant,
    /// Whether a message came back, and whoever sent it waits for room.
    is_full: bool,
    /// When to try again to write, though nobody said that there is room, and how long that was
    /// waited for.
    retry: Option<(Instant, Duration)>,
}

/// What comes after a turn, from [`WebSocket::end_turn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Turn {
    /// There is more to do at once: give it another turn after the others have had theirs, and do
    /// not sleep.
    Again,
    /// Wait until the stream is ready or [`poll_timeout`](WebSocket::poll_timeout).
    Wait,
    /// The connection is over and told so: deregister and drop it.
    Over,
}

/// Takes a client's connection on `stream`, and agrees to its request, whoever asks for whatever.
///
/// [`Event::Request`] tells what was asked for; the connection is open then. A server that
/// browsers can reach and that trusts cookies must look at the request's origin first: use
/// [`accept_with`].
///
/// A `TcpStream` is set to send small messages at once (TCP_NODELAY) and to queue little in the
/// kernel (TCP_NOTSENT_LOWAT, Linux); other streams are taken as they are.
///
/// # Errors
///
/// [`Error::Io`] if the operating system has no entropy to give.
pub fn accept<S: Stream>(stream: S, config: impl Into<Arc<Config>>) -> Result<WebSocket<S>, Error> {
    let mut ws = accept_with(stream, config)?;
    ws.consents = true;
    Ok(ws)
}

/// Takes a client's connection on `stream`, whose [`Event::Request`] is to be answered with
/// [`accept_request`](WebSocket::accept_request) or [`reject`](WebSocket::reject).
///
/// The answer has time until the configuration's `handshake_timeout`; then it is 503.
///
/// # Errors
///
/// As [`accept`].
pub fn accept_with<S: Stream>(
    stream: S,
    config: impl Into<Arc<Config>>,
) -> Result<WebSocket<S>, Error> {
    let config = config.into();
    stream.tune(&config);
    let clock = Clock::start();
    let connection = Connection::server(config, seed()?, clock.now());
    Ok(WebSocket::new(stream, connection, clock))
}

/// As [`accept`], over TLS.
///
/// The configuration's `handshake_timeout` covers the TLS handshake too; what is wrong in it,
/// [`end_error`](WebSocket::end_error) knows.
///
/// # Errors
///
/// As [`accept`], and [`Error::Tls`] if the configuration cannot work.
#[cfg(feature = "tls")]
pub fn accept_tls<S: Stream>(
    stream: S,
    tls: impl Into<Arc<ServerConfig>>,
    config: impl Into<Arc<Config>>,
) -> Result<WebSocket<S>, Error> {
    let session = TlsSession::server(tls.into())?;
    Ok(accept(stream, config)?.with_tls(session))
}

/// As [`accept_with`], over TLS; see [`accept_tls`].
///
/// # Errors
///
/// As [`accept`], and [`Error::Tls`] if the configuration cannot work.
#[cfg(feature = "tls")]
pub fn accept_tls_with<S: Stream>(
    stream: S,
    tls: impl Into<Arc<ServerConfig>>,
    config: impl Into<Arc<Config>>,
) -> Result<WebSocket<S>, Error> {
    let session = TlsSession::server(tls.into())?;
    Ok(accept_with(stream, config)?.with_tls(session))
}

/// As [`client`], over TLS; see [`accept_tls`].
///
/// `name` is what the server's certificate has to carry: `"example.com".try_into()?`.
///
/// # Errors
///
/// As [`client`], and [`Error::Tls`] if the configuration cannot work.
#[cfg(feature = "tls")]
pub fn client_tls<S: Stream>(
    stream: S,
    tls: impl Into<Arc<ClientConfig>>,
    name: ServerName<'static>,
    request: &ClientRequest,
    config: impl Into<Arc<Config>>,
) -> Result<WebSocket<S>, Error> {
    let session = TlsSession::client(tls.into(), name)?;
    Ok(client(stream, request, config)?.with_tls(session))
}

/// Asks for a connection over `stream`, which may still be connecting itself. [`Event::Open`]
/// says that the server agreed.
///
/// # Errors
///
/// [`Error::Io`] if the operating system has no entropy to give.
pub fn client<S: Stream>(
    stream: S,
    request: &ClientRequest,
    config: impl Into<Arc<Config>>,
) -> Result<WebSocket<S>, Error> {
    let config = config.into();
    stream.tune(&config);
    let clock = Clock::start();
    let connection = Connection::client(config, request, seed()?, clock.now());
    Ok(WebSocket::new(stream, connection, clock))
}

impl<S: Stream> WebSocket<S> {
    /// Runs `connection`, made elsewhere ([`Connection::from_upgrade`]), over `stream`. Its
    /// timeline begins now, with [`Instant::ZERO`](wspulse_core::Instant::ZERO).
    pub fn from_connection(stream: S, connection: Connection) -> Self {
        Self::new(stream, connection, Clock::start())
    }

    fn new(stream: S, connection: Connection, clock: Clock) -> Self {
        Self {
            stream,
            drive: Drive::new(connection),
            clock,
            #[cfg(feature = "tls")]
            tls: None,
            spent: 0,
            is_connected: false,
            input: Input::Unknown,
            consents: false,
            is_cut_short: false,
            is_paused: false,
            heartbeat: None,
            is_watched: false,
            has_commands: false,
            batch_began: wspulse_core::Instant::ZERO,
            is_full: false,
            retry: None,
        }
    }

    /// Speaks TLS on the stream, from before the first turn on: what [`accept_tls`] and its kin
    /// do, with a session that is new or has shaken hands over the stream.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, session: TlsSession) -> Self {
        self.tls = Some(session);
        self
    }

    // ---- turns

    /// Returns what happens next, as far as the stream gives it without waiting; `None` ends the
    /// turn, for [`end_turn`](Self::end_turn) to say what comes after it.
    ///
    /// The last event is [`Event::Closed`]. Where the stream itself failed it says
    /// [`Cause::Eof`](wspulse_core::Cause::Eof); [`end_error`](Self::end_error) knows more.
    ///
    /// What was queued since the last event leaves in one write with what is queued over the next
    /// ones, or 1 ms later with the next call of this method.
    #[must_use = "an event is told once"]
    #[inline]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.catch_up();
        self.next_event()
    }

    /// Returns what happens next, and leaves output that waits for company to the caller.
    #[inline]
    pub(crate) fn next_event(&mut self) -> Option<Event> {
        let event = self.take_event();
        if event.is_some() {
            return event;
        }
        self.run_to_event()
    }

    /// Writes what is queued, in the middle of a turn or outside of one; tells whether a turn has
    /// something to look after.
    pub(crate) fn push_queued(&mut self) -> bool {
        if self.has_commands {
            self.is_cut_short |= self.push();
        }
        self.is_cut_short
    }

    /// The poll told of input, and the stream has not ended: what comes later it will tell of too.
    /// Not so on Windows, where mio tells of nothing more until a read has found nothing.
    pub(crate) fn note_readable(&mut self) {
        if cfg!(unix) {
            self.input = Input::Told;
        }
    }

    /// The turn ends before all events were taken.
    pub(crate) fn cut_short(&mut self) {
        self.is_cut_short = true;
    }

    /// Does what is due although events are at hand, over which the caller may take long: writes
    /// what has waited for company long enough (rule 18), runs timers, and takes what has come into
    /// the inbox (rule 16).
    #[inline]
    pub(crate) fn catch_up(&mut self) {
        // Otherwise the next event is looked for in the same way.
        if !self.drive.has_buffered_input() {
            return;
        }
        let now = self.clock.now();
        if self.is_late(now) || self.drive.is_read_due(now) {
            self.run_ahead();
        } else if now.saturating_duration_since(self.batch_began) >= BATCH_TIME {
            self.push_queued();
        }
    }

    #[inline(never)]
    fn run_ahead(&mut self) {
        while self.spent < TURN_BUDGET {
            let turn = self.with_wire(|drive, wire, clock| drive.turn_ahead(wire, clock));
            self.note_turn(turn, READ_COST);
            if !turn.moved {
                break;
            }
        }
    }

    fn is_late(&self, now: wspulse_core::Instant) -> bool {
        self.drive.poll_timeout().is_some_and(|due| due <= now)
    }

    /// Whether the end was told.
    fn is_told(&self) -> bool {
        self.drive.closed().is_some() && self.drive.inbox_len() == 0
    }

    #[inline(never)]
    fn run_to_event(&mut self) -> Option<Event> {
        if self.drive.is_inbox_full()
            && let Some(error) = self.stream.take_error()
        {
            // What lies unread holds back the read that would say so.
            self.drive.handle_failure(self.clock.now(), error);
            return self.take_event();
        }
        loop {
            if self.is_told() {
                return None;
            }
            if self.spent >= TURN_BUDGET {
                self.is_cut_short = true;
                return None;
            }
            // After the last of the input there is only what was queued over it.
            let is_last = self.input == Input::Taken && !self.drive.has_buffered_input();
            let moved = if is_last && !self.drive.wants_shutdown() {
                self.push()
            } else {
                self.run()
            };
            if !moved {
                self.is_cut_short = false;
                return None;
            }
            let event = self.take_event();
            if event.is_some() {
                return event;
            }
        }
    }

    /// Ends the turn: writes what was queued behind the last event, and says what comes next.
    pub fn end_turn(&mut self) -> Turn {
        self.spent = 0;
        self.input = Input::Unknown;
        if self.is_told() {
            return Turn::Over;
        }
        self.watch_unread();
        let is_cut_short = std::mem::take(&mut self.is_cut_short);
        let has_news = (is_cut_short || self.has_commands) && self.push();
        if is_cut_short || has_news {
            Turn::Again
        } else {
            Turn::Wait
        }
    }

    /// While the inbox is full and nobody reads, the kernel watches over the peer, until the inbox is
    /// empty.
    fn watch_unread(&mut self) {
        let is_unread = if self.is_watched {
            self.drive.inbox_len() > 0
        } else {
            self.drive.is_inbox_full()
        };
        if is_unread != self.is_watched {
            self.is_watched = is_unread;
            self.watch(is_unread);
        }
    }

    fn watch(&self, on: bool) {
        let default = || self.drive.connection().config().heartbeat();
        let heartbeat = self.heartbeat.as_deref().unwrap_or_else(default);
        self.stream.watch(heartbeat, on);
    }

    /// Gives the connection a whole turn, and `on_event` each of its events.
    pub fn handle_ready(&mut self, mut on_event: impl FnMut(&mut Self, Event)) -> Turn {
        while let Some(event) = self.poll_event() {
            on_event(self, event);
        }
        self.end_turn()
    }

    /// Returns when a turn is due at the latest: the connection's next deadline, or the next try of
    /// output that the stream did not take. What comes in does not move it; anything else may move
    /// it earlier, so read it again after each turn and after commands. [`Timers`](crate::Timers)
    /// makes the best of that.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        // A flush outside of a turn may have read what the stream will not tell of again.
        if self.is_cut_short {
            return Some(self.clock.system_time(wspulse_core::Instant::ZERO));
        }
        let deadline = self.drive.poll_timeout();
        let deadline = deadline.map(|deadline| self.clock.system_time(deadline));
        let retry = self.retry.map(|(at, _)| at);
        deadline.into_iter().chain(retry).min()
    }

    #[inline(always)]
    fn take_event(&mut self) -> Option<Event> {
        if self.is_paused {
            // It waits in the inbox, and at the end for nothing any more.
            self.drive.collect();
            if !self.drive.is_over() {
                return None;
            }
        }
        let event = self.drive.poll_event();
        if let Some(Event::Request(_) | Event::Closed(_)) = &event {
            self.note_event(event.as_ref());
        }
        event
    }

    #[inline(never)]
    fn note_event(&mut self, event: Option<&Event>) {
        match event {
            Some(Event::Request(_)) if self.consents => {
                // Its time may be up already: then 503 is on its way, and the end.
                let _ = self.command(|c, now| c.accept(now, &Accept::new()));
            }
            // Best effort: the stream is dropped next.
            Some(Event::Closed(_)) => self.with_wire(|drive, wire, _| {
                drive.shutdown(wire);
            }),
            _ => {}
        }
    }

    /// Tries each thing once; tells whether anything moved.
    fn run(&mut self) -> bool {
        let has_input = self.drive.has_buffered_input();
        let turn = self.with_wire(|drive, wire, clock| drive.turn(wire, clock));
        self.note_turn(turn, if has_input { MIN_COST } else { READ_COST });
        // What was only written makes room, and nothing else to look for.
        turn.moved
    }

    fn note_turn(&mut self, turn: wspulse_drive::Turn, least: usize) {
        // A stream that gives a byte at a time has its turn cut short too.
        self.spent += turn.read.max(least);
        self.has_commands = false;
        self.batch_began = self.clock.now();
        self.note_blocked(turn.wrote);
    }

    /// Writes what is queued; tells whether that brought something a turn has to look after.
    pub(crate) fn push(&mut self) -> bool {
        self.has_commands = false;
        let before = self.standing();
        let wrote = self.with_wire(|drive, wire, clock| drive.write(wire, clock));
        self.batch_began = self.clock.now();
        self.note_blocked(wrote);
        self.drive.is_over() || self.standing() != before
    }

    /// A kernel that has room again says so only when it has much, and for what is less some write
    /// has to try. One that came by chance, seconds later, would take for progress of the peer what
    /// had long been there, and put off the verdict on a stall. So it is tried soon, then less and
    /// less often.
    fn note_blocked(&mut self, wrote: bool) {
        if !self.drive.wants_write() {
            self.retry = None;
            return;
        }
        let now = Instant::now();
        let wait = match self.retry {
            Some((at, wait)) if !wrote && now >= at => wait.saturating_mul(2),
            Some(_) if !wrote => return,
            _ => FIRST_RETRY,
        };
        self.retry = now.checked_add(wait).map(|at| (at, wait));
    }

    fn standing(&self) -> (bool, bool, State) {
        (
            self.drive.has_failed_writing(),
            self.drive.wants_shutdown(),
            self.drive.connection().state(),
        )
    }

    fn with_wire<T>(&mut self, run: impl FnOnce(&mut Drive, &mut Wire<'_, S>, &Clock) -> T) -> T {
        let mut wire = Wire {
            stream: Raw {
                stream: &mut self.stream,
                is_connected: &mut self.is_connected,
            },
            input: &mut self.input,
            #[cfg(feature = "tls")]
            tls: self.tls.as_mut(),
        };
        run(&mut self.drive, &mut wire, &self.clock)
    }

    /// Runs a command of the connection, at the present time.
    fn command<T>(&mut self, run: impl FnOnce(&mut Connection, wspulse_core::Instant) -> T) -> T {
        self.has_commands = true;
        let now = self.clock.now();
        self.drive.command(|connection| run(connection, now))
    }

    // ---- the opening handshake of a server

    /// Agrees to the request that waits. The connection is open at once.
    ///
    /// # Errors
    ///
    /// [`AnswerError`] if no request waits, or the client did not offer the subprotocol; nothing
    /// changed.
    pub fn accept_request(&mut self, accept: &Accept) -> Result<(), AnswerError> {
        self.command(|c, now| c.accept(now, accept))
    }

    /// Refuses the request that waits with an HTTP status, then closes.
    ///
    /// # Errors
    ///
    /// [`AnswerError`] if no request waits.
    pub fn reject(&mut self, reject: &Reject) -> Result<(), AnswerError> {
        self.command(|c, now| c.reject(now, reject))
    }

    // ---- sending

    /// Queues a message, which leaves at the end of the turn, in one write with what else is
    /// queued then, or with a [`poll_event`](Self::poll_event) 1 ms later; outside of a turn, give
    /// it one or [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] gives the message back while `max_buffered_amount` is queued:
    /// [`take_writable`](Self::take_writable) says when there is room again.
    /// [`SendError::NotOpen`] if the connection is not open.
    pub fn send(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        self.has_commands = true;
        let queued = self.drive.command(|connection| connection.send(message));
        self.note_full(queued)
    }

    /// Queues a part of a message, which `last` completes (RFC 6455 §5.4): for messages whose
    /// length is not known yet, or that nobody wants to hold whole. All parts are of one kind.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_part(&mut self, part: impl Into<Message>, last: bool) -> Result<(), SendError> {
        let queued = self.command(|c, _| c.send_part(part, last));
        self.note_full(queued)
    }

    fn note_full(&mut self, queued: Result<(), SendError>) -> Result<(), SendError> {
        self.is_full |= matches!(queued, Err(SendError::Full(_)));
        queued
    }

    /// Tells, once, that there is room again after a [`SendError::Full`]: half of what may be
    /// queued has left.
    pub fn take_writable(&mut self) -> bool {
        let connection = self.drive.connection();
        let low = connection.config().max_buffered_amount() / 2;
        let is_writable =
            self.is_full && connection.takes_messages() && connection.queue_cost() <= low;
        self.is_full &= !is_writable;
        is_writable
    }

    /// Writes what is queued, as far as the stream takes it now; tells whether it took all. Runs
    /// timers that are due, and takes what has come into the inbox if nobody has looked for
    /// [some time](HeartbeatConfig::read_interval).
    ///
    /// # Errors
    ///
    /// [`Error::Io`] or [`Error::NotOpen`] if the connection ended first.
    pub fn flush(&mut self) -> Result<bool, Error> {
        let now = self.clock.now();
        if self.is_late(now) || self.drive.is_read_due(now) {
            self.run_ahead();
            // What came is for a turn to take.
            self.is_cut_short |= self.drive.has_buffered_input();
        }
        self.is_cut_short |= self.push();
        self.drive.is_flushed()
    }

    /// Queues a ping of the application's own, of at most 125 bytes; its pong is an
    /// [`Event::Pong`]. The heartbeat needs none of these.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the payload is too long, too many pings wait, or the connection is not
    /// open.
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.command(|c, _| c.ping(payload))
    }

    /// Starts the closing handshake: sends what is queued and a Close frame, and goes on until
    /// the peer's. [`Event::Closed`] comes within the configuration's `close_timeout`.
    ///
    /// # Errors
    ///
    /// [`SendError::Close`] if the code or the reason must not be sent, and nothing changed.
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        self.has_commands = true;
        self.drive.close(self.clock.now(), code, reason)
    }

    /// Says that the machine woke up after a suspend that its clock does not show, or that the
    /// network changed: a fresh ping leaves with the next turn, and the peer has the whole timeout
    /// for its answer.
    pub fn handle_resumed(&mut self) {
        self.command(|c, now| {
            c.handle_resumed(now);
            c.handle_timeout(now);
        });
    }

    /// Ends the connection without a closing handshake; the next turn reports
    /// [`Cause::Aborted`](wspulse_core::Cause::Aborted).
    pub fn abort(&mut self) {
        self.has_commands = true;
        self.drive.abort(self.clock.now());
    }

    // ---- reading

    /// Stops taking messages. What comes is read on into the inbox, up to its
    /// [limits](Self::set_inbox_limits), so that pings and Closes are answered and a dead peer is
    /// found. With the inbox full nothing more is read: the peer's pings are not answered, TCP
    /// holds the peer back, and the kernel watches over it; a reset still ends the connection.
    ///
    /// Should the connection end, the messages in the inbox and [`Event::Closed`] come all the
    /// same.
    pub fn pause(&mut self) {
        self.is_paused = true;
    }

    /// Takes messages again. Give it a turn: no readiness is going to be reported for what came
    /// meanwhile.
    pub fn resume(&mut self) {
        self.is_paused = false;
    }

    /// Tells whether messages are not taken.
    #[must_use]
    pub const fn is_paused(&self) -> bool {
        self.is_paused
    }

    // ---- settings and looks

    /// Sets how much may wait in the inbox: messages that were read and that nobody has taken, such
    /// as those that come during a [`pause`](Self::pause).
    pub fn set_inbox_limits(&mut self, limits: InboxLimits) {
        self.drive.set_inbox_limits(limits);
    }

    /// Changes when pings are sent and when the peer is given up, from now on; by a TCP socket's
    /// kernel too.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the configuration cannot work; the one before stays.
    pub fn set_heartbeat(&mut self, config: HeartbeatConfig) -> Result<(), ConfigError> {
        self.has_commands = true;
        self.drive.set_heartbeat(self.clock.now(), config)?;
        self.heartbeat = Some(Box::new(config));
        self.is_watched = false;
        self.stream.set_patience(&config);
        Ok(())
    }

    /// Returns where the connection stands in its life.
    #[must_use]
    pub fn state(&self) -> State {
        self.drive.connection().state()
    }

    /// Returns which end this is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.drive.connection().role()
    }

    /// Returns the numbers of this moment: silence, round-trip times, pings, queued bytes.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.drive.connection().snapshot(self.clock.now())
    }

    /// Returns how many bytes are queued and not yet taken by the stream.
    #[must_use]
    pub fn buffered_amount(&self) -> usize {
        self.drive.connection().buffered_amount()
    }

    /// Returns how the connection ended, once [`Event::Closed`] was taken.
    #[must_use]
    pub fn closed(&self) -> Option<&Closed> {
        self.drive.closed()
    }

    /// Turns the end into an error: the stream's own, such as one of TLS, where that is what it
    /// came from.
    pub fn end_error(&mut self, closed: Box<Closed>) -> Error {
        self.drive.end_error(closed)
    }

    /// Returns the stream underneath, for its addresses or options. Reading or writing it would
    /// break the connection.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Returns the TLS session, if there is one.
    #[cfg(feature = "tls")]
    #[must_use]
    pub const fn tls(&self) -> Option<&TlsSession> {
        self.tls.as_ref()
    }
}

/// Registers the stream underneath. Register it for [`READABLE`](Interest::READABLE) and
/// [`WRITABLE`](Interest::WRITABLE) at once, and never again.
impl<S: Stream> Source for WebSocket<S> {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.stream.register(registry, token, interests)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.stream.reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.stream.deregister(registry)
    }
}

/// One last attempt at what is queued, which does not wait.
impl<S: Stream> Drop for WebSocket<S> {
    fn drop(&mut self) {
        let is_running = !self.drive.is_over() && !std::thread::panicking();
        if is_running && self.drive.wants_write() {
            self.push();
        }
        // The kernel goes on alone, and is not to keep what nobody acknowledges.
        if self.drive.closed().is_none_or(|closed| !closed.clean) {
            self.watch(true);
        }
    }
}

impl<S: Stream> fmt::Debug for WebSocket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("drive", &self.drive)
            .field("is_paused", &self.is_paused)
            .finish_non_exhaustive()
    }
}

/// Bytes read in one turn, before others have theirs.
const TURN_BUDGET: usize = 4 * wspulse_drive::READ_SIZE;

/// How long output waits for more to share its write, at the most.
pub(crate) const BATCH_TIME: Duration = Duration::from_millis(1);

/// When output that the stream did not take is tried again, at first.
const FIRST_RETRY: Duration = Duration::from_millis(50);

/// What a read counts at least, whatever it brought.
const READ_COST: usize = 1024;

/// What taking a message counts that was read already.
const MIN_COST: usize = 16;

/// An idle connection is this, and its socket.
const _: () = assert!(size_of::<WebSocket<mio::net::TcpStream>>() <= 480);
