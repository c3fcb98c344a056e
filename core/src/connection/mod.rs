//! One WebSocket connection, from the first byte of its handshake to its last deadline.

mod budget;
mod compressed;
mod events;
#[cfg(feature = "explore")]
mod explore;
mod outgoing;
mod pool;
mod receive;
mod snapshot;
mod state;
mod timers;
mod transmit;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;

use budget::ControlBucket;
use outgoing::Outgoing;
pub use pool::BufferPool;
use receive::Incoming;
pub use snapshot::{Snapshot, State, TimeoutReason};
use state::{Ending, Opening, OpeningSide};
use timers::{Clock, OptionalTimers};
use transmit::Sending;
pub use transmit::Transmit;

use crate::close::{CloseCode, CloseFrame};
use crate::config::Config;
use crate::error::{Cause, Closed, ConfigError, Initiator, SendError};
use crate::event::Event;
use crate::extension::deflate::{Codec, DeflateParams};
use crate::frame::{FrameDecoder, FrameRules};
use crate::handshake::{
    Accept, AnswerError, ClientHandshake, ClientRequest, Reject, ServerHandshake,
};
use crate::heartbeat::{Heartbeat, HeartbeatConfig};
use crate::message::Message;
use crate::role::Role;
use crate::seed::{Seed, SeedRng};
use crate::time::Instant;

/// One WebSocket connection (RFC 6455), driven by its owner.
///
/// Methods come in four kinds:
///
/// - **`handle_*`** tell it what happened: bytes came, a read found nothing, the stream ended, the
///   transport took bytes, time passed.
/// - **Commands** tell it what to do: [`accept`](Self::accept), [`reject`](Self::reject),
///   [`send`](Self::send), [`send_part`](Self::send_part), [`ping`](Self::ping),
///   [`close`](Self::close), [`abort`](Self::abort), [`set_heartbeat`](Self::set_heartbeat).
/// - **`poll_*`** ask what comes next: [`poll_transmit`](Self::poll_transmit) lends bytes to
///   write, [`poll_event`](Self::poll_event) says what the application should know,
///   [`poll_timeout`](Self::poll_timeout) says when to wake it.
/// - The rest **look** and change nothing.
///
/// Any order of calls is legal, and any repetition. The most prompt one, each time the owner
/// wakes, is the drive loop:
///
/// 1. read until the transport has no more (or a fair share is used up) and hand it to
///    [`handle_input`](Self::handle_input); if a read found nothing, say so with
///    [`handle_would_block`](Self::handle_would_block);
/// 2. if [`poll_timeout`](Self::poll_timeout) has passed, call
///    [`handle_timeout`](Self::handle_timeout);
/// 3. write what [`poll_transmit`](Self::poll_transmit) lends and report every attempt with
///    [`handle_transmitted`](Self::handle_transmitted), until nothing is lent or the transport
///    blocks; if [`wants_shutdown`](Self::wants_shutdown), half-close the transport once;
/// 4. take events until there are none. A write can cause one (the last byte of a Close is the end
///    of a connection), and an event can cause a write (an answer) or make room for input that it
///    held back: then begin again;
/// 5. sleep until it is readable (while [`wants_read`](Self::wants_read)), writable (if output is
///    left), or [`poll_timeout`](Self::poll_timeout).
///
/// `now` is the first argument exactly where a deadline can move. A `now` before the largest seen
/// counts as the largest seen.
///
/// What the peer does wrong is never an `Err` and never a panic: it ends in the right Close frame
/// and one [`Event::Closed`], always the last event. After it there is no output and no timeout,
/// and input is swallowed.
pub struct Connection {
    heartbeat: Heartbeat,
    /// The event that waits. Input is taken only while there is none: the read backpressure.
    slot: Option<Event>,
    decoder: FrameDecoder,
    phase: Phase,
    config: Arc<Config>,
    outgoing: Option<Box<Outgoing>>,
    incoming: Option<Box<Incoming>>,
    extras: Option<Box<Extras>>,
    bucket: ControlBucket,
    role: Role,
    /// Whether the application sent pings of its own, and so wants to hear of pongs.
    has_pinged: bool,
    /// Whether the frame under way may be an application heartbeat, and is delivered whole.
    frame_is_short_text: bool,
    flood_unreported: bool,
    close_unreported: bool,
    /// Whether the end of a message in parts waits, behind the slot.
    end_unreported: bool,
    /// A message in one frame that is shorter needs no look at the configuration.
    plain_below: u16,
}

/// Where the connection stands; everything that changes it is in `state.rs`.
enum Phase {
    Opening(Box<Opening>),
    Open,
    Ending(Box<Ending>),
    /// The closing words, until they are taken.
    Over(Option<Box<Closed>>),
}

/// What only some open connections need.
struct Extras {
    /// Where a client's masking keys come from (RFC 6455 §5.3).
    keys: Option<SeedRng>,
    timers: Option<OptionalTimers>,
    /// What compressed messages take, if they were agreed on.
    codec: Option<Box<Codec>>,
}

impl Connection {
    /// Starts a client. Its request is the first thing to transmit (RFC 6455 §4.1).
    #[must_use]
    pub fn client(config: Arc<Config>, request: &ClientRequest, seed: Seed, now: Instant) -> Self {
        let mut random = seed.into_rng();
        let (nonce, limits) = (random.nonce(), config.response_limits);
        let handshake = ClientHandshake::offering(request, nonce, limits, config.deflate);
        let head = handshake.request_head().to_vec();
        let mut connection = Self::opening(
            Role::Client,
            config,
            OpeningSide::Client(handshake),
            random,
            now,
        );
        connection.outgoing = Some(Box::new(Outgoing::from_head(head)));
        connection
    }

    /// Starts a server, which waits for a request (RFC 6455 §4.2).
    #[must_use]
    pub fn server(config: Arc<Config>, seed: Seed, now: Instant) -> Self {
        let mut handshake = ServerHandshake::new(config.request_limits);
        if let Some(deflate) = config.deflate {
            handshake = handshake.with_deflate(deflate);
        }
        let side = OpeningSide::Server {
            handshake,
            asked: false,
        };
        Self::opening(Role::Server, config, side, seed.into_rng(), now)
    }

    /// Takes over a connection whose opening handshake was done elsewhere: by an HTTP server, in
    /// an HTTP/2 tunnel, in a test. It is open at once; bytes that came behind the handshake's
    /// head go to [`handle_input`](Self::handle_input) first.
    #[must_use]
    pub fn from_upgrade(role: Role, config: Arc<Config>, seed: Seed, now: Instant) -> Self {
        let side = OpeningSide::Elsewhere;
        let mut connection = Self::opening(role, config, side, seed.into_rng(), now);
        connection.open(now);
        connection
    }

    /// Continues with compressed messages, if the handshake that was done elsewhere agreed on them
    /// (RFC 7692). How they are compressed is for the configuration to say. To be called before
    /// anything is handed over or sent; a connection whose handshake is under way agrees by itself,
    /// and ignores it.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use wspulse_core::extension::Extension;
    /// # use wspulse_core::extension::deflate::DeflateConfig;
    /// # use wspulse_core::{Config, Connection, Instant, Role, Seed};
    /// # let (seed, now) = (Seed::predictable_for_tests(1), Instant::ZERO);
    /// # let config = Config::builder().deflate(Some(DeflateConfig::DEFAULT)).build()?;
    /// # let config = Arc::new(config);
    /// # let headers = [&b"permessage-deflate; server_max_window_bits=10"[..]];
    /// // The values of the request's Sec-WebSocket-Extensions headers.
    /// let offers = Extension::parse_list(headers)?;
    /// let agreed = config.deflate().and_then(|deflate| deflate.accept(&offers));
    /// // The value of that header in the answer is `agreed.to_string()`, if it is there.
    /// let connection =
    ///     Connection::from_upgrade(Role::Server, config, seed, now).with_deflate(agreed);
    /// assert_eq!(connection.deflate(), agreed);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn with_deflate(mut self, agreed: Option<DeflateParams>) -> Self {
        if matches!(self.phase, Phase::Open) && self.decoder.is_between_frames() {
            self.agree_on_deflate(agreed);
        }
        self
    }

    fn opening(
        role: Role,
        config: Arc<Config>,
        side: OpeningSide,
        random: SeedRng,
        now: Instant,
    ) -> Self {
        let clock = Clock::start(now, config.handshake_timeout);
        let opening = Opening {
            side,
            clock,
            random,
        };
        Self::new(role, config, Phase::Opening(Box::new(opening)), now)
    }

    fn new(role: Role, config: Arc<Config>, phase: Phase, now: Instant) -> Self {
        let plain_below = budget::plain_below(&config);
        Self {
            heartbeat: Heartbeat::from_valid(Arc::clone(&config.heartbeat), 0, now),
            slot: None,
            decoder: FrameDecoder::new(FrameRules::from_peer_of(role)),
            phase,
            config,
            outgoing: None,
            incoming: None,
            extras: None,
            bucket: ControlBucket::new(now),
            role,
            has_pinged: false,
            frame_is_short_text: false,
            flood_unreported: false,
            close_unreported: false,
            end_unreported: false,
            plain_below,
        }
    }

    // ---- what happened

    /// Bytes came. Returns how many were taken: all, unless an event waits; then poll the events
    /// and hand over the rest. Nothing is taken while a request waits for its answer.
    ///
    /// Whenever [`wants_read`](Self::wants_read), at least one byte is taken. Cut the input
    /// anywhere; it is copied once, and never kept.
    #[must_use = "what was not taken is to be handed over again, after the events"]
    #[inline]
    pub fn handle_input(&mut self, now: Instant, input: &[u8]) -> usize {
        let now = self.observe(now);
        match self.receive_message(now, input) {
            Some(rest) => input.len().saturating_sub(rest.len()),
            None => self.receive(now, input),
        }
    }

    fn receive(&mut self, now: Instant, input: &[u8]) -> usize {
        if !self.wants_read() {
            // What comes behind the end is swallowed.
            let is_over = match &self.phase {
                Phase::Ending(ending) => ending.stream_ended && !self.holds_input(),
                Phase::Over(_) => true,
                Phase::Opening(_) | Phase::Open => false,
            };
            return if is_over { input.len() } else { 0 };
        }
        if input.is_empty() {
            return 0;
        }
        match &self.phase {
            Phase::Opening(_) => self.receive_head(now, input),
            Phase::Open => {
                self.heartbeat.handle_received(now);
                self.receive_frames(now, input)
            }
            Phase::Ending(_) => self.receive_frames(now, input),
            Phase::Over(_) => input.len(),
        }
    }

    /// A read attempt that began at `now` found nothing. Silence is judged only by this (rule 6 of
    /// [liveness](crate#liveness)): an owner that does not read cannot know. Take `now` before the
    /// attempt, and do not report one that was interrupted.
    pub fn handle_would_block(&mut self, now: Instant) {
        let now = self.observe(now);
        // While an event waits, nobody knows what is behind it.
        if self.holds_input() {
            return;
        }
        match &self.phase {
            Phase::Opening(_) => {
                self.heartbeat.look();
                self.handle_opening_timeout(now);
            }
            Phase::Open => {
                self.heartbeat.handle_would_block(now);
                self.handle_verdict(now);
                self.handle_limits(now);
            }
            Phase::Ending(_) => {
                self.heartbeat.look();
                self.handle_ending_timeout(now);
            }
            Phase::Over(_) => {}
        }
    }

    /// The peer's stream ended, in order or not. Without a Close frame that is
    /// [`Cause::Eof`] (1006, RFC 6455 §7.1.5). Say so after all input was taken: what comes
    /// behind the end is swallowed.
    pub fn handle_eof(&mut self, now: Instant) {
        let now = self.observe(now);
        self.handle_end_of_stream(now);
    }

    /// The transport took `written` bytes of what was lent. Report every attempt, also one that
    /// took none: less than what was lent means that it is blocked. More counts as all.
    pub fn handle_transmitted(&mut self, now: Instant, written: usize) {
        let now = self.observe(now);
        self.take(now, written);
        self.handle_verdict(now);
    }

    /// A deadline may have passed. Early and repeated calls do nothing; afterwards
    /// [`poll_timeout`](Self::poll_timeout) is `None` or later than `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.observe(now);
        self.handle_deadlines(now);
    }

    /// This side was suspended in a way the caller's clock did not show. The peer is sent a fresh
    /// ping; where an answer is awaited, it has the full timeout for it, once since its last sign of
    /// life. Where the clock did show it, the connection notices by itself.
    pub fn handle_resumed(&mut self, now: Instant) {
        let now = self.observe(now);
        if matches!(self.phase, Phase::Open) {
            self.heartbeat.handle_resumed(now);
            self.handle_verdict(now);
        }
    }

    // ---- commands

    /// Server: agrees to the request (RFC 6455 §4.2.2). The connection is open at once; messages
    /// may follow.
    ///
    /// # Errors
    /// [`AnswerError::NoRequest`] if no request waits, [`AnswerError::UnofferedSubprotocol`] if the client
    /// did not offer the subprotocol. Nothing changed.
    pub fn accept(&mut self, now: Instant, accept: &Accept) -> Result<(), AnswerError> {
        let now = self.observe(now);
        let handshake = self.asked()?;
        let head = handshake.accept(accept)?;
        let deflate = handshake.deflate();
        self.outgoing = Some(Box::new(Outgoing::from_head(head)));
        self.open(now);
        self.agree_on_deflate(deflate);
        Ok(())
    }

    /// Server: refuses the request with an HTTP status, then closes.
    ///
    /// # Errors
    /// [`AnswerError::NoRequest`] if no request waits. Nothing changed.
    pub fn reject(&mut self, now: Instant, reject: &Reject) -> Result<(), AnswerError> {
        let now = self.observe(now);
        let response = self.asked()?.reject(reject)?;
        self.refuse(
            now,
            Cause::Rejected {
                status: reject.status(),
            },
            response,
        );
        Ok(())
    }

    /// The handshake whose request waits for an answer.
    fn asked(&mut self) -> Result<&mut ServerHandshake, AnswerError> {
        let Phase::Opening(opening) = &mut self.phase else {
            return Err(AnswerError::NoRequest);
        };
        let OpeningSide::Server {
            handshake,
            asked: true,
        } = &mut opening.side
        else {
            return Err(AnswerError::NoRequest);
        };
        Ok(handshake)
    }

    /// Queues a message (RFC 6455 §6.1).
    ///
    /// # Errors
    /// [`SendError::Full`] if `max_buffered_amount` waits already, [`SendError::NotOpen`] unless
    /// [`takes_messages`](Self::takes_messages), or
    /// [`SendError::Unfinished`] inside a message that is sent in parts. The message comes back,
    /// and nothing changed.
    #[inline]
    pub fn send(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        let message = message.into();
        if self.stage(&message) {
            return Ok(());
        }
        self.queue(message, Sending::Message)
    }

    /// Queues a message that is not compressed, whatever was agreed on: for secrets, which
    /// compression can [give away](crate::extension::deflate#what-compression-gives-away), and for
    /// what is compressed already.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_uncompressed(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        self.queue(message.into(), Sending::Uncompressed)
    }

    /// Queues the next part of a message that is sent in parts (RFC 6455 §5.4); `last` ends it.
    /// The first part decides the kind. Parts may be of any length, also empty.
    ///
    /// # Errors
    /// As [`send`](Self::send); [`SendError::Unfinished`] if the part is of another kind than
    /// those before it.
    pub fn send_part(&mut self, part: impl Into<Message>, last: bool) -> Result<(), SendError> {
        self.queue(part.into(), Sending::Part { last })
    }

    /// Queues a ping of the application's own (RFC 6455 §5.5.2), apart from the heartbeat's. Its
    /// pong, and any other that is not the heartbeat's, is an [`Event::Pong`] from then on.
    ///
    /// # Errors
    /// [`SendError::PingTooLong`] above 125 bytes; [`SendError::PingNotQueued`] if 16 wait
    /// already; [`SendError::PingNotOpen`] if the connection is not open.
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.queue_ping(payload)
    }

    /// Starts the closing handshake (RFC 6455 §7.1.2): what is queued is sent first, then the
    /// Close frame; messages still come in until the peer's. The close deadline starts now.
    ///
    /// Before the connection is open it is over at once; when it is closing or closed already,
    /// nothing happens.
    ///
    /// # Errors
    /// [`SendError::Close`] for a code that must not be sent, or a reason above 123 bytes.
    pub fn close(&mut self, now: Instant, code: CloseCode, reason: &str) -> Result<(), SendError> {
        let now = self.observe(now);
        CloseFrame::encode(code, reason, &mut [0; CloseFrame::MAX_PAYLOAD])
            .map_err(SendError::Close)?;
        match &self.phase {
            Phase::Opening(_) => self.finish(now, Cause::Aborted, Initiator::Local),
            Phase::Open => {
                self.end(now, Cause::Normal, code, reason);
            }
            Phase::Ending(_) | Phase::Over(_) => {}
        }
        Ok(())
    }

    /// Ends the connection at once: no Close frame, no more output.
    pub fn abort(&mut self, now: Instant) {
        let now = self.observe(now);
        self.finish(now, Cause::Aborted, Initiator::Local);
    }

    /// Changes the heartbeat's policy, at any time. Where an answer is awaited, the first change
    /// since the last sign of life grants the new timeout whole.
    ///
    /// # Errors
    /// [`ConfigError`] if it cannot work; the one before stays.
    pub fn set_heartbeat(
        &mut self,
        now: Instant,
        config: HeartbeatConfig,
    ) -> Result<(), ConfigError> {
        let now = self.observe(now);
        config.validate()?;
        let asks = self.config.application_heartbeat.as_ref();
        if asks.is_some_and(|heartbeat| heartbeat.sends) && !config.pings() {
            return Err(ConfigError::ApplicationHeartbeat);
        }
        self.heartbeat.set_config(now, config)?;
        self.handle_verdict(now);
        Ok(())
    }

    // ---- what comes next

    /// Lends the bytes to write next. They stay the same until
    /// [`handle_transmitted`](Self::handle_transmitted) says that they were taken; later output
    /// follows them.
    #[must_use = "what is lent is to be written and reported"]
    pub fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        self.lend()
    }

    /// Returns when to call [`handle_timeout`](Self::handle_timeout) at the latest.
    ///
    /// Received messages never move it. Anything else may: the end of the opening handshake, a
    /// Close, an illegal frame, bytes that are no [`Evidence`](crate::heartbeat::Evidence) of life,
    /// and every other call. Read it again before each wait.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_deadline()
    }

    // ---- looks

    /// Returns which end this is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Returns where the connection stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.current_state()
    }

    /// Returns what was agreed on about compressed messages, if it was (RFC 7692 §7.1); nothing
    /// before the connection is open, and once it is closed.
    #[must_use]
    pub fn deflate(&self) -> Option<DeflateParams> {
        self.agreed_deflate()
    }

    /// Returns the configuration.
    #[must_use]
    pub const fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Returns the heartbeat's policy in force.
    #[must_use]
    pub fn heartbeat(&self) -> &HeartbeatConfig {
        self.heartbeat.config()
    }

    /// Tells whether input would be taken: no event waits, no request waits for its answer, and
    /// it is not over.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        !self.holds_input()
            && match &self.phase {
                Phase::Opening(opening) => {
                    !matches!(opening.side, OpeningSide::Server { asked: true, .. })
                }
                Phase::Open => true,
                Phase::Ending(ending) => !ending.stream_ended,
                Phase::Over(_) => false,
            }
    }

    /// Whether an event waits that holds input back.
    const fn holds_input(&self) -> bool {
        self.slot.is_some() || self.end_unreported
    }

    /// Tells whether [`poll_event`](Self::poll_event) has something to tell.
    #[must_use]
    pub fn has_event(&self) -> bool {
        let is_over = matches!(&self.phase, Phase::Over(Some(_)));
        let of_heartbeat = match self.phase {
            Phase::Opening(_) | Phase::Over(None) => false,
            Phase::Open => self.heartbeat.has_event(),
            Phase::Ending(_) | Phase::Over(Some(_)) => self.heartbeat.suspicion_changed(),
        };
        let of_control = self.flood_unreported || self.close_unreported;
        self.holds_input() || of_heartbeat || of_control || is_over
    }

    /// Tells whether [`send`](Self::send) takes messages, if there is room.
    ///
    /// It does while the connection is open. Who was told [`SendError::Full`] and waits for room
    /// when the peer's Close frame comes may still send that one message, which goes before the
    /// answer as what is queued does (RFC 6455 §5.5.1). The answer waits for it no longer than
    /// until [`Event::Closing`] is taken.
    #[must_use]
    pub fn takes_messages(&self) -> bool {
        match &self.phase {
            Phase::Open => true,
            Phase::Ending(ending) => {
                let somebody_waits = self.outgoing.as_ref().is_some_and(|out| out.was_full);
                somebody_waits && ending.delays_answer()
            }
            Phase::Opening(_) | Phase::Over(_) => false,
        }
    }

    /// Somebody has one more message at hand. If the peer's Close frame came and its answer is not
    /// on its way yet, the answer waits for that message as for one that was told
    /// [`SendError::Full`]: until it is sent, or [`Event::Closing`] is taken. Otherwise nothing
    /// changes.
    pub fn hold_answer(&mut self) {
        if let Phase::Ending(ending) = &self.phase
            && ending.delays_answer()
        {
            self.outgoing.get_or_insert_default().note_full();
        }
    }

    /// Tells whether [`poll_transmit`](Self::poll_transmit) has something to lend.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        self.wants_transmit()
    }

    /// Tells whether everything was said and the peer has yet to end its stream: half-close the
    /// transport, once, and go on reading until [`Event::Closed`].
    ///
    /// Dropping a socket with unread input resets the connection and can destroy the Close frame
    /// that tells the peer what went wrong.
    #[must_use]
    pub fn wants_shutdown(&self) -> bool {
        self.is_mute()
    }

    /// Returns how many bytes wait to be taken by the transport: payloads not framed yet, and
    /// frames. The browser's `bufferedAmount`.
    #[must_use]
    pub fn buffered_amount(&self) -> usize {
        self.outgoing
            .as_ref()
            .map_or(0, |outgoing| outgoing.buffered_amount())
    }

    /// Returns how much of `max_buffered_amount` is used: the bytes of
    /// [`buffered_amount`](Self::buffered_amount), and for each message that is not framed yet its
    /// place in the queue, which costs memory too. A message is taken while it is below the limit.
    #[must_use]
    pub fn queue_cost(&self) -> usize {
        self.outgoing.as_ref().map_or(0, |outgoing| outgoing.held())
    }

    /// Tells what [`poll_timeout`](Self::poll_timeout) waits for.
    #[must_use]
    pub fn next_timeout_reason(&self) -> Option<TimeoutReason> {
        self.next_reason()
    }

    /// Returns the numbers at `now`. O(1), and allocates nothing.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        Snapshot {
            state: self.state(),
            buffered_amount: self.buffered_amount(),
            heartbeat: self.heartbeat.snapshot(now),
        }
    }
}

/// No payload, head or key: what is under way can be anybody's secret.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("role", &self.role)
            .field("state", &self.state())
            .field("buffered_amount", &self.buffered_amount())
            .field("heartbeat", &self.heartbeat)
            .finish_non_exhaustive()
    }
}

const _: () = assert!(size_of::<Connection>() <= 256);
