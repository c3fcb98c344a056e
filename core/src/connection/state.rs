//! The life of a connection: one table, blind to role but for who closes TCP first.
//!
//! ```text
//!              open()                 end()                    finish()
//!  Opening ─────────────► Open ─────────────────► Ending ─────────────────► Over
//!     │                     │                       ▲  │ fail(), die():       ▲
//!     │ refuse()            │ abort, end of stream  │  └─ a worse ending      │
//!     └─────────────────────┼───────────────────────┘                         │
//!                           └─────────────────────────────────────────────────┘
//! ```
//!
//! Everything that changes the phase is in this file. An ending knows what still has to happen
//! before it is over, and [`settle`](Connection::settle) asks whether it has:
//!
//! | ending   | says            | over when                                                        |
//! |----------|-----------------|------------------------------------------------------------------|
//! | graceful | data, Close     | Close went both ways, and for a client the stream ended           |
//! | failing  | framed, Close   | it was taken, and the stream ended                                |
//! | refused  | an HTTP answer  | it was taken, and the stream ended                                |
//! | dead     | Close           | it was taken                                                      |
//!
//! and each is over at its deadline, which no traffic extends (rule 11).

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use bytestring::ByteString;

use super::outgoing::Outgoing;
use super::timers::{Clock, OptionalTimers};
use super::{Connection, Extras, Phase, Snapshot, State};
use crate::close::{CloseCode, CloseFrame};
use crate::error::{Cause, Closed, Initiator, LimitExceeded, ProtocolError};
use crate::handshake::{ClientHandshake, HandshakeError, Reject, ServerHandshake};
use crate::heartbeat::{DeadReason, Heartbeat};
use crate::role::Role;
use crate::seed::SeedRng;
use crate::time::Instant;

/// The opening handshake under way.
pub(super) struct Opening {
    pub(super) side: OpeningSide,
    pub(super) clock: Clock,
    pub(super) random: SeedRng,
}

#[derive(Clone, Hash)]
pub(super) enum OpeningSide {
    Client(ClientHandshake),
    /// `asked` while a request waits for an answer.
    Server {
        handshake: ServerHandshake,
        asked: bool,
    },
    /// Done before this connection began.
    Elsewhere,
}

/// The end under way.
#[derive(Clone, Hash)]
pub(super) struct Ending {
    kind: EndingKind,
    cause: Cause,
    initiator: Initiator,
    pub(super) close: CloseStage,
    pub(super) received: Option<CloseFrame>,
    pub(super) stream_ended: bool,
    pub(super) clock: Clock,
    silence: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum EndingKind {
    Graceful,
    Failing,
    Refused,
    Dead,
}

/// How far our Close frame has come. `NO_STATUS` stands for one without a code.
#[derive(Clone, Hash)]
pub(super) enum CloseStage {
    None,
    Waiting { code: CloseCode, reason: ByteString },
    Committed(CloseCode),
    Sent(CloseCode),
}

impl CloseStage {
    fn waiting(code: CloseCode, reason: &str) -> Self {
        Self::Waiting {
            code,
            reason: reason.into(),
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        matches!(self, Self::Waiting { .. })
    }

    /// The transport took the whole frame.
    pub(super) fn sent(&mut self) {
        if let Self::Committed(code) = *self {
            *self = Self::Sent(code);
        }
    }

    fn is_done(&self) -> bool {
        matches!(self, Self::None | Self::Sent(_))
    }

    fn sent_code(&self) -> Option<CloseCode> {
        match self {
            Self::Sent(code) => Some(*code),
            _ => None,
        }
    }
}

impl Ending {
    /// Whether data that waits is given up and input no longer matters.
    pub(super) fn is_failing(&self) -> bool {
        self.kind != EndingKind::Graceful
    }

    /// Whether frames from the peer still count: until its Close (RFC 6455 §1.4).
    pub(super) fn takes_frames(&self) -> bool {
        self.kind == EndingKind::Graceful && self.received.is_none() && !self.stream_ended
    }

    /// Whether a ping still deserves an answer: until our Close is committed.
    pub(super) fn answers_pings(&self) -> bool {
        !self.is_failing() && self.close.is_waiting()
    }

    /// Whether the peer's Close is yet to be answered, behind what is queued.
    pub(super) fn delays_answer(&self) -> bool {
        let is_asked = self.received.is_some() && self.initiator == Initiator::Peer;
        is_asked && !self.is_failing() && self.close.is_waiting()
    }

    fn is_over(&self, role: Role, silent: bool) -> bool {
        let said = silent && self.close.is_done();
        match self.kind {
            // RFC 6455 §7.1.1: the server closes TCP first.
            EndingKind::Graceful if self.received.is_some() => {
                said && (role == Role::Server || self.stream_ended)
            }
            EndingKind::Graceful => self.stream_ended,
            EndingKind::Failing | EndingKind::Refused => said && self.stream_ended,
            EndingKind::Dead => said || self.stream_ended,
        }
    }

    /// Whether nothing more will be written although the connection goes on: time to half-close,
    /// so that what was written arrives (dropping a socket with unread input destroys it).
    fn is_mute(&self, silent: bool) -> bool {
        silent
            && self.close.is_done()
            && matches!(self.kind, EndingKind::Failing | EndingKind::Refused)
    }
}

impl Connection {
    pub(super) fn current_state(&self) -> State {
        match &self.phase {
            Phase::Opening(_) => State::Connecting,
            Phase::Open => State::Open,
            Phase::Ending(_) => State::Closing,
            Phase::Over(_) => State::Closed,
        }
    }

    /// The opening handshake is done, here or elsewhere.
    pub(super) fn open(&mut self, now: Instant) {
        let phase = core::mem::replace(&mut self.phase, Phase::Open);
        let Phase::Opening(opening) = phase else {
            return self.phase = phase;
        };
        let mut random = opening.random;
        let heartbeat = self.heartbeat.shared_config();
        self.heartbeat = Heartbeat::from_valid(heartbeat, random.next_u64(), now);
        let timers = self
            .config
            .has_optional_timers()
            .then(|| OptionalTimers::new(&self.config, random.next_u64(), now));
        let keys = (self.role == Role::Client).then_some(random);
        if keys.is_some() || timers.is_some() {
            self.extras = Some(Box::new(Extras {
                keys,
                timers,
                codec: None,
            }));
        }
    }

    /// Starts the closing handshake, behind what is queued (RFC 6455 §7.1.2).
    pub(super) fn end(&mut self, now: Instant, cause: Cause, code: CloseCode, reason: &str) {
        self.phase = Phase::Ending(Box::new(Ending {
            kind: EndingKind::Graceful,
            cause,
            initiator: Initiator::Local,
            close: CloseStage::waiting(code, reason),
            received: None,
            stream_ended: false,
            clock: Clock::start(now, self.config.close_timeout),
            silence: Duration::ZERO,
        }));
    }

    /// The peer's Close frame came; it is answered once, with its own code (RFC 6455 §5.5.1).
    pub(super) fn handle_close_frame(&mut self, now: Instant, frame: Option<CloseFrame>) {
        let frame = frame.unwrap_or(CloseFrame {
            code: CloseCode::NO_STATUS,
            reason: ByteString::new(),
        });
        if matches!(self.phase, Phase::Open) {
            self.end(now, Cause::Normal, frame.code, "");
            if let Phase::Ending(ending) = &mut self.phase {
                ending.initiator = Initiator::Peer;
            }
        }
        if let Phase::Ending(ending) = &mut self.phase {
            ending.received = Some(frame);
            self.close_unreported = true;
        }
        self.incoming = None;
        self.settle(now);
    }

    /// Fails the connection for what the peer did (RFC 6455 §7.1.7).
    pub(super) fn fail_protocol(&mut self, now: Instant, error: ProtocolError) {
        self.fail(now, Cause::Protocol(error), error.close_code());
    }

    /// Fails the connection for what the peer would cost.
    pub(super) fn fail_limit(&mut self, now: Instant, limit: LimitExceeded) {
        self.fail(now, Cause::Limit(limit), limit.close_code());
    }

    fn fail(&mut self, now: Instant, cause: Cause, code: CloseCode) {
        self.give_up(
            now,
            EndingKind::Failing,
            cause,
            code,
            self.config.close_timeout,
        );
    }

    /// The heartbeat's verdict: one best-effort Close, a short linger, then gone (rule 11).
    pub(super) fn die(&mut self, now: Instant, reason: DeadReason) {
        let silence = self.heartbeat.snapshot(now).since_received;
        let code = self.config.dead_close_code;
        let linger = self.config.linger;
        self.give_up(now, EndingKind::Dead, Cause::Dead(reason), code, linger);
        if let Phase::Ending(ending) = &mut self.phase {
            ending.initiator = Initiator::Local;
            ending.silence = silence;
        }
        self.settle(now);
    }

    /// Gives up on data in both directions and leaves one Close frame to say.
    fn give_up(
        &mut self,
        now: Instant,
        kind: EndingKind,
        cause: Cause,
        code: CloseCode,
        patience: Duration,
    ) {
        self.incoming = None;
        if let Some(outgoing) = &mut self.outgoing {
            outgoing.drop_uncommitted(kind != EndingKind::Dead);
        }
        match &mut self.phase {
            Phase::Open => {
                let reason = text(format_args!("{cause}"));
                self.end(now, cause, code, &reason);
                if let Phase::Ending(ending) = &mut self.phase {
                    ending.kind = kind;
                    ending.clock = Clock::start(now, patience);
                }
            }
            // A closing handshake that goes wrong keeps its deadline, and its Close if it is out.
            Phase::Ending(ending) => {
                if ending.close.is_waiting() {
                    ending.close = CloseStage::waiting(code, &text(format_args!("{cause}")));
                }
                ending.kind = kind;
                ending.cause = cause;
            }
            Phase::Opening(_) | Phase::Over(_) => {}
        }
    }

    /// Answers a request with something other than consent, then closes.
    pub(super) fn refuse(&mut self, now: Instant, cause: Cause, response: Vec<u8>) {
        self.outgoing = Some(Box::new(Outgoing::from_head(response)));
        self.end(now, cause, CloseCode::NORMAL, "");
        if let Phase::Ending(ending) = &mut self.phase {
            ending.kind = EndingKind::Refused;
            ending.close = CloseStage::None;
        }
    }

    /// The peer's stream ended.
    pub(super) fn handle_end_of_stream(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Opening(opening) => {
                let cause = match &mut opening.side {
                    OpeningSide::Client(handshake) => {
                        handshake.handle_eof();
                        match handshake.poll_response() {
                            Some(Err(error)) => Cause::Handshake(error),
                            _ => Cause::Handshake(HandshakeError::UnexpectedEof),
                        }
                    }
                    _ => Cause::Handshake(HandshakeError::UnexpectedEof),
                };
                self.finish(now, cause, Initiator::Peer);
            }
            Phase::Open => self.finish(now, Cause::Eof, Initiator::Peer),
            Phase::Ending(ending) => {
                ending.stream_ended = true;
                let unanswered = ending.kind == EndingKind::Graceful && ending.received.is_none();
                if unanswered && ending.cause == Cause::Normal {
                    ending.cause = Cause::Eof;
                }
                self.settle(now);
            }
            Phase::Over(_) => {}
        }
    }

    /// The deadline of the opening handshake passed.
    pub(super) fn handle_opening_timeout(&mut self, now: Instant) {
        let Phase::Opening(opening) = &mut self.phase else {
            return;
        };
        // A request that waits for its answer is ours to answer, and nothing is read.
        let is_asked = matches!(opening.side, OpeningSide::Server { asked: true, .. });
        let looked_at = (!is_asked).then(|| self.heartbeat.last_would_block());
        if !opening.clock.has_run_out(now, looked_at) {
            return;
        }
        let mut cause = Cause::HandshakeTimeout;
        if let OpeningSide::Server {
            handshake,
            asked: true,
        } = &mut opening.side
            && let Ok(unavailable) = Reject::new(503)
            && let Ok(response) = handshake.reject(&unavailable)
        {
            // The request is whole, and it is our application that did not answer in time.
            return self.refuse(now, cause, response);
        }
        if let OpeningSide::Client(handshake) = &mut opening.side {
            // A status whose body is late is worth more than a timeout.
            handshake.give_up();
            if let Some(Err(error @ HandshakeError::Refused(_))) = handshake.poll_response() {
                cause = Cause::Handshake(error);
            }
        }
        self.finish(now, cause, Initiator::Local);
    }

    /// The deadline of the ending passed.
    pub(super) fn handle_ending_timeout(&mut self, now: Instant) {
        let Phase::Ending(ending) = &mut self.phase else {
            return;
        };
        // A dead peer was looked for already, and after the end of the stream there is nothing more.
        let waits = ending.kind != EndingKind::Dead && !ending.stream_ended;
        let looked_at = waits.then(|| self.heartbeat.last_would_block());
        if !ending.clock.has_run_out(now, looked_at) {
            return;
        }
        let shaken = ending.received.is_some() && ending.close.is_done();
        if ending.cause == Cause::Normal && !shaken {
            ending.cause = Cause::CloseTimeout;
        }
        self.finish_ending(now);
    }

    /// Finishes an ending to which nothing is missing any more.
    pub(super) fn settle(&mut self, now: Instant) {
        let silent = self.is_silent();
        let over = match &self.phase {
            Phase::Ending(ending) => ending.is_over(self.role, silent),
            _ => false,
        };
        if over {
            self.finish_ending(now);
        }
    }

    pub(super) fn is_mute(&self) -> bool {
        match &self.phase {
            Phase::Ending(ending) => ending.is_mute(self.is_silent()),
            _ => false,
        }
    }

    /// Ends at once: nothing more is said. What was said before still counts.
    pub(super) fn finish(&mut self, now: Instant, cause: Cause, initiator: Initiator) {
        match &mut self.phase {
            Phase::Over(_) => return,
            Phase::Ending(ending) => {
                let is_done = ending.received.is_some() && ending.close.is_done();
                if !is_done && ending.cause == Cause::Normal {
                    ending.cause = cause;
                }
            }
            Phase::Opening(_) | Phase::Open => {
                self.end(now, cause, CloseCode::ABNORMAL, "");
                if let Phase::Ending(ending) = &mut self.phase {
                    ending.initiator = initiator;
                    ending.close = CloseStage::None;
                }
            }
        }
        self.finish_ending(now);
    }

    fn finish_ending(&mut self, now: Instant) {
        let snapshot = Snapshot {
            state: State::Closed,
            ..self.snapshot(now)
        };
        let Phase::Ending(ending) = core::mem::replace(&mut self.phase, Phase::Over(None)) else {
            return;
        };
        let sent = ending.close.sent_code();
        self.phase = Phase::Over(Some(Box::new(Closed {
            clean: sent.is_some() && ending.received.is_some(),
            cause: ending.cause,
            initiator: ending.initiator,
            sent,
            received: ending.received,
            silence: ending.silence,
            snapshot,
        })));
        self.outgoing = None;
        self.incoming = None;
        self.extras = None;
    }

    fn is_silent(&self) -> bool {
        self.outgoing
            .as_ref()
            .is_none_or(|outgoing| outgoing.is_silent())
    }
}

/// What fits into a close reason.
fn text(arguments: core::fmt::Arguments<'_>) -> String {
    let mut text = alloc::fmt::format(arguments);
    while text.len() > CloseFrame::MAX_REASON {
        text.pop();
    }
    text
}
