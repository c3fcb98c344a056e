//! What is said of a connection: its messages are results, everything else is an event.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use wspulse_core::handshake::Response;
use wspulse_core::{Cause, CloseCode, CloseFrame, Closed, Event, Initiator, Message, Snapshot};
use wspulse_drive::{DownReason, Error, ReconnectEvent, without_secrets};

use super::Options;
use super::linger::Linger;
use super::stdin::{MAX_LINE, Unfit};
use crate::cause::Why;
use crate::output::{Output, json_millis, millis, seconds};
use crate::{Failure, ending};

/// Says what happens, one line each. A clone is the same report.
#[derive(Clone, Debug)]
pub(super) struct Report(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    output: Output,
    url: String,
    pong_timeout: Duration,
    /// Another connection follows one that the server ends.
    comes_back: bool,
    linger: Linger,
    ending: Mutex<Ending>,
}

/// How far the connection is on its way to the end.
#[derive(Debug, Default)]
struct Ending {
    /// We asked for it.
    is_ours: bool,
    /// The server's Close came, and the end was not told yet.
    received: Option<Box<CloseFrame>>,
    is_told: bool,
}

/// What is to be done after something was said.
#[derive(Debug)]
pub(super) enum Next {
    GoOn,
    /// Nobody reads the messages any more: close.
    Close,
    /// It has ended.
    End(Result<(), Failure>),
}

impl Report {
    pub(super) fn new(options: &Options, output: Output) -> Self {
        Self(Arc::new(Inner {
            output,
            url: without_secrets(&options.url),
            pong_timeout: options.pong_timeout,
            comes_back: options.reconnect,
            linger: Linger::new(options.linger),
            ending: Mutex::default(),
        }))
    }

    /// Returns how long to wait before a look whether to close, after the end of input.
    pub(super) fn linger(&self) -> Option<Duration> {
        self.0.linger.left()
    }

    /// Says what happened.
    pub(super) fn event(&self, event: Event, snapshot: impl FnOnce() -> Option<Snapshot>) -> Next {
        match event {
            Event::Suspect => {
                if let Some(snapshot) = snapshot() {
                    self.suspect(snapshot);
                }
            }
            Event::Recovered => self.say("recovered", &json!({ "event": "recovered" })),
            Event::ControlFlood => self.flooded(),
            Event::Closing(frame) => {
                let mut ending = self.ending();
                let is_last = ending.is_ours || !self.0.comes_back;
                ending.received = is_last.then_some(frame);
                drop(ending);
                self.look(snapshot);
            }
            Event::Closed(closed) => return Next::End(self.closed(&closed)),
            event => {
                if let Ok(message) = Message::try_from(event) {
                    return self.message(&message);
                }
            }
        }
        Next::GoOn
    }

    /// Says what happened to a client that comes back.
    pub(super) fn reconnect_event(
        &self,
        event: ReconnectEvent,
        snapshot: impl FnOnce() -> Option<Snapshot>,
    ) -> Next {
        match event {
            ReconnectEvent::Opened { response, .. } => self.open(response.as_deref()),
            ReconnectEvent::Connection(event) => return self.event(event, snapshot),
            ReconnectEvent::Down {
                reason, retry_in, ..
            } => self.reconnecting(retry_in, &reason),
            ReconnectEvent::GaveUp(error) => {
                return Next::End(match error.reason() {
                    DownReason::Ended(closed) => self.closed(closed),
                    DownReason::Failed(Error::Closed(closed)) => self.closed(closed),
                    DownReason::Failed(error) => Err(self.failed(error)),
                });
            }
            _ => {}
        }
        Next::GoOn
    }

    /// Shows a message, unless nobody reads any more.
    pub(super) fn message(&self, message: &Message) -> Next {
        self.0.linger.heard();
        let output = self.0.output;
        let shown = match message.as_text() {
            Some(text) => output.try_message(text, || json!({ "event": "text", "data": text })),
            None => output.try_line(
                format_args!("binary: {} bytes", message.len()),
                &json!({ "event": "binary", "size": message.len() }),
            ),
        };
        match shown {
            Ok(()) => Next::GoOn,
            Err(_) => Next::Close,
        }
    }

    pub(super) fn open(&self, response: Option<&Response>) {
        *self.ending() = Ending::default();
        let url = &self.0.url;
        let subprotocol = response.and_then(Response::subprotocol);
        let deflate = response.is_some_and(|response| response.deflate().is_some());
        let mut agreed = String::new();
        if let Some(name) = subprotocol {
            agreed += &format!(", subprotocol {name}");
        }
        if deflate {
            agreed += ", compressed";
        }
        let object = json!({
            "event": "open",
            "url": url,
            "subprotocol": subprotocol,
            "deflate": deflate,
        });
        self.say(format_args!("open: {url}{agreed}"), &object);
    }

    /// We ask for the end of the connection.
    pub(super) fn closing(&self) {
        self.ending().is_ours = true;
    }

    /// Tells whether the end is to be told as soon as our answer to the server's Close has left:
    /// [`look`](Self::look) again.
    pub(super) fn is_ending(&self) -> bool {
        self.ending().received.is_some()
    }

    /// Tells the end once the closing handshake is complete: the server may leave TCP open for as
    /// long as it likes.
    pub(super) fn look(&self, snapshot: impl FnOnce() -> Option<Snapshot>) {
        let mut ending = self.ending();
        let Some(frame) = ending.received.take() else {
            return;
        };
        // RFC 6455 §5.5.1: the answer to a Close has the same code. Where our Close and the
        // server's differ, both sides began, and only the connection knows which code it sent.
        let is_known = !ending.is_ours || frame.code == CloseCode::NORMAL;
        let Some(snapshot) = snapshot().filter(|_| is_known && !ending.is_told) else {
            return;
        };
        if snapshot.buffered_amount > 0 {
            ending.received = Some(frame);
            return;
        }
        ending.is_told = true;
        drop(ending);
        let why = Why::closing_handshake(&frame, frame.code);
        self.say_closed(&why, frame.code, true, &snapshot);
    }

    fn suspect(&self, snapshot: Snapshot) {
        let silence = snapshot.heartbeat.since_received;
        self.say(
            format_args!("suspect: silent for {}", seconds(silence)),
            &json!({ "event": "suspect", "silence_ms": json_millis(silence) }),
        );
    }

    fn flooded(&self) {
        self.say(
            "flooded: the server sends too many control frames",
            &json!({ "event": "flooded" }),
        );
    }

    fn reconnecting(&self, delay: Duration, reason: &DownReason) {
        let why = Why::down(reason, Some(self.0.pong_timeout));
        let numbers = reason.closed().map(|closed| Numbers(&closed.snapshot));
        let text = numbers.as_ref().map(|numbers| format!(" ({numbers})"));
        let numbers = numbers.map(|numbers| numbers.to_json());
        let more = json!({ "delay_ms": json_millis(delay), "numbers": numbers });
        self.say(
            format_args!(
                "reconnecting in {}: {}{}",
                seconds(delay),
                why.text,
                text.unwrap_or_default()
            ),
            &why.to_object("reconnecting", more),
        );
    }

    /// A line of input that cannot be sent.
    pub(super) fn skipped(&self, unfit: Unfit) {
        let (cause, text) = match unfit {
            Unfit::NotUtf8 => ("not-utf-8", "a line that is not utf-8".to_owned()),
            Unfit::TooLong => ("too-long", format!("a line above {} MiB", MAX_LINE >> 20)),
        };
        let why = Why::new(cause, &text);
        self.say(
            format_args!("skipped: {text}"),
            &why.to_object("skipped", Value::Null),
        );
    }

    /// The end, with its numbers; a failure unless it was in order.
    pub(super) fn closed(&self, closed: &Closed) -> Result<(), Failure> {
        if !self.ending().is_told {
            let why = Why::closed(closed, Some(self.0.pong_timeout));
            self.say_closed(&why, closed.code(), closed.clean, &closed.snapshot);
        }
        let is_normal = matches!(closed.code(), CloseCode::NORMAL | CloseCode::NO_STATUS);
        if closed.cause == Cause::Normal && is_normal {
            return Ok(());
        }
        // The transport took all that we had to say. A server that ends TCP at once may be faster
        // than the report that our Close has left, where one thread writes and another reads.
        let unsent = closed.snapshot.buffered_amount;
        let is_said = closed.sent == Some(CloseCode::NORMAL)
            || (closed.cause == Cause::Eof && unsent <= CLOSE_FRAME);
        let is_ours = closed.initiator == Initiator::Local && is_said;
        if !is_ours {
            return Err(Failure::Told);
        }
        ending::note_closed(self.0.output, closed);
        Ok(())
    }

    /// The end of a connection by a failure of its transport after we asked for its end.
    pub(super) fn failed_after_close(&self, error: &Error) {
        let _ = self.failed(error);
        ending::note(self.0.output, error);
    }

    /// The end of a connection by a failure of its transport.
    pub(super) fn failed(&self, error: &Error) -> Failure {
        self.ended(&Why::end(error, Some(self.0.pong_timeout)))
    }

    /// The end of a client that comes back, while it was away.
    pub(super) fn gave_up(&self) -> Failure {
        self.ended(&Why::new("not-open", "there was no connection to close"))
    }

    fn ended(&self, why: &Why) -> Failure {
        let object = why.to_object("closed", Value::Null);
        self.say(format_args!("closed: {}", why.text), &object);
        Failure::Told
    }

    fn say_closed(&self, why: &Why, code: CloseCode, clean: bool, snapshot: &Snapshot) {
        let numbers = Numbers(snapshot);
        let mut more = numbers.to_json();
        if let Value::Object(more) = &mut more {
            more.insert("code".into(), code.as_u16().into());
            more.insert("clean".into(), clean.into());
        }
        let text = why.text.strip_prefix("closed, ").unwrap_or(&why.text);
        let object = why.to_object("closed", more);
        self.say(format_args!("closed: {text} ({numbers})"), &object);
    }

    fn say(&self, text: impl fmt::Display, object: &Value) {
        self.0.output.error_line(text, object);
    }

    fn ending(&self) -> MutexGuard<'_, Ending> {
        let ending = self.0.ending.lock();
        ending.unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of a client's Close frame with a code and no reason: header, mask, code.
const CLOSE_FRAME: usize = 8;

struct Numbers<'a>(&'a Snapshot);

impl Numbers<'_> {
    /// Pings that are lost, or still wait for their pong.
    fn unanswered(&self) -> u32 {
        let heartbeat = &self.0.heartbeat;
        heartbeat.pings.saturating_sub(heartbeat.answered)
    }

    fn to_json(&self) -> Value {
        let heartbeat = &self.0.heartbeat;
        json!({
            "since_received_ms": json_millis(heartbeat.since_received),
            "rtt_ms": heartbeat.rtt.map(|rtt| json_millis(rtt.smoothed())),
            "pings": heartbeat.pings,
            "answered": heartbeat.answered,
            "unanswered": self.unanswered(),
            "unsent": self.0.buffered_amount,
        })
    }
}

impl fmt::Display for Numbers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heartbeat = &self.0.heartbeat;
        write!(f, "last byte {} ago", seconds(heartbeat.since_received))?;
        if let Some(rtt) = heartbeat.rtt {
            write!(f, ", rtt {}", millis(rtt.smoothed()))?;
        }
        write!(
            f,
            ", {} pings, {} answered, {} unanswered, {} bytes unsent",
            heartbeat.pings,
            heartbeat.answered,
            self.unanswered(),
            self.0.buffered_amount
        )
    }
}
