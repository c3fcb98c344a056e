//! What wspulse makes of a stream.

use std::sync::Arc;
use std::time::Duration;

use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Cause, CloseCode, Closed, Config, Connection, Event, Instant, Seed};

use super::{Case, End, Item, Kind, Outcome, frames};

/// What differs from one run of a case to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many fragments a message may have beyond one for each 64 bytes; others know no such
    /// limit.
    pub fragments: u64,
    /// How much time passes with each piece: with 10 ms no control frames are a flood.
    pub pace: Duration,
    /// Counts each ping that came after our Close frame as answered, which wspulse does not do.
    pub answers_when_closing: bool,
}

/// As the ordinary run has them.
impl Default for Options {
    fn default() -> Self {
        Self {
            fragments: 16,
            pace: Duration::ZERO,
            answers_when_closing: false,
        }
    }
}

/// What came of a stream that arrived byte by byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exact {
    /// The outcome.
    pub outcome: Outcome,
    /// How many bytes had arrived when the end came; `None` for [`End::Eof`].
    pub ended_at: Option<usize>,
}

/// Hands the stream over byte by byte, with a write after each.
#[must_use]
pub fn exact(case: &Case, options: Options) -> Exact {
    let mut run = Run::new(case, options);
    let mut ended_at = None;
    for (index, byte) in case.bytes.iter().enumerate() {
        run.push(std::slice::from_ref(byte));
        if run.has_ended() {
            ended_at = Some(index + 1);
            break;
        }
    }
    let mut outcome = run.finish();
    if options.answers_when_closing && case.closes_first {
        let pings = outcome.items.iter().filter(|item| item.kind == Kind::Ping);
        outcome.pongs = pings.map(|item| item.payload.clone()).collect();
    }
    Exact { outcome, ended_at }
}

/// Hands the stream over in its pieces, with a write after each.
#[must_use]
pub fn in_pieces(case: &Case) -> Outcome {
    let mut run = Run::new(case, Options::default());
    case.pieces().for_each(|piece| run.push(piece));
    run.finish()
}

/// One connection that takes one stream.
struct Run {
    connection: Connection,
    now: Instant,
    pace: Duration,
    items: Vec<Item>,
    sent: Vec<u8>,
    has_closing: bool,
    closed: Option<Box<Closed>>,
    closes_first: bool,
}

impl Run {
    fn new(case: &Case, options: Options) -> Self {
        let config = Config::builder()
            .heartbeat(HeartbeatConfig::off())
            .report_control(true)
            .close_timeout(Duration::from_secs(3_600))
            .max_message_size(case.limits.message as u64)
            .max_frame_size(case.limits.frame as u64)
            .max_fragment_count(options.fragments)
            .build()
            .expect("valid");
        let seed = Seed::predictable_for_tests(1);
        let now = Instant::ZERO;
        let mut run = Self {
            connection: Connection::from_upgrade(case.role, Arc::new(config), seed, now),
            now,
            pace: options.pace,
            items: Vec::new(),
            sent: Vec::new(),
            has_closing: false,
            closed: None,
            closes_first: case.closes_first,
        };
        if case.closes_first {
            let closing = run.connection.close(now, CloseCode::NORMAL, "");
            closing.expect("a legal code");
            run.write();
        }
        run
    }

    fn push(&mut self, mut piece: &[u8]) {
        self.now = self.now.saturating_add(self.pace);
        while !piece.is_empty() {
            let taken = self.connection.handle_input(self.now, piece);
            piece = &piece[taken..];
            let had = self.items.len();
            let is_told = self.take_events();
            assert!(
                taken > 0 || is_told || self.items.len() > had,
                "neither took input nor had an event"
            );
        }
        self.write();
        self.take_events();
    }

    fn write(&mut self) {
        while let Some(transmit) = self.connection.poll_transmit() {
            let length = transmit.len();
            let chunks = transmit.chunks();
            chunks.for_each(|chunk| self.sent.extend_from_slice(chunk));
            self.connection.handle_transmitted(self.now, length);
        }
    }

    /// Takes all events, and tells whether there were any.
    fn take_events(&mut self) -> bool {
        let mut is_told = false;
        while let Some(event) = self.connection.poll_event() {
            is_told = true;
            let (kind, payload) = match event {
                Event::Text(text) => (Kind::Text, text.as_bytes().to_vec()),
                Event::Binary(data) => (Kind::Binary, data.to_vec()),
                Event::Ping(data) => (Kind::Ping, data.to_vec()),
                Event::Pong(data) => (Kind::Pong, data.to_vec()),
                Event::Closing(_) => {
                    self.has_closing = true;
                    continue;
                }
                Event::Closed(closed) => {
                    self.closed = Some(closed);
                    continue;
                }
                Event::ControlFlood => continue,
                other => panic!("an event that nothing caused: {other:?}"),
            };
            self.items.push(Item { kind, payload });
        }
        is_told
    }

    /// Whether the peer's Close frame came or the connection was failed.
    fn has_ended(&self) -> bool {
        self.has_closing || self.closed.is_some() || self.connection.wants_shutdown()
    }

    fn finish(mut self) -> Outcome {
        self.connection.handle_eof(self.now);
        self.write();
        self.take_events();
        let closed = self.closed.expect("an end");
        let (frames, rest) = frames::read(&self.sent);
        assert!(rest.is_empty() && frames.iter().all(|frame| frame.is_whole));
        let close = frames.iter().find(|frame| frame.opcode() == 8);
        let close = close.map(|frame| frame.close_code().unwrap_or(1005));
        let end = match &closed.cause {
            Cause::Normal => {
                let received = closed.received.expect("the peer's Close");
                End::Closed {
                    code: received.code.as_u16(),
                    reason: received.reason.to_string(),
                    answer: close.filter(|_| !self.closes_first),
                }
            }
            Cause::Protocol(error) => End::Failed(error.close_code().as_u16()),
            Cause::Limit(limit) => End::Failed(limit.close_code().as_u16()),
            Cause::Eof => End::Eof,
            other => panic!("an end that nothing caused: {other}"),
        };
        // RFC 6455 §7.1.7: the Close frame of a failure tells its code, unless one was sent before.
        match (&end, self.closes_first) {
            (End::Failed(_) | End::Eof, true) => assert_eq!(close, Some(1000)),
            (End::Failed(code), false) => assert_eq!(close, Some(*code)),
            (End::Eof, false) => assert_eq!(close, None),
            (End::Closed { .. }, _) => {}
        }
        let pongs = frames.into_iter().filter(|frame| frame.opcode() == 10);
        Outcome {
            items: self.items,
            pongs: pongs.map(|frame| frame.payload).collect(),
            end,
        }
    }
}
