//! What is said of a connection: messages on standard output, everything else on standard error.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};
use wspulse_core::{Cause, CloseCode, Closed, Event, Initiator, Message, Snapshot};
use wspulse_drive::{DownReason, Error, ReconnectEvent};

use crate::output::{Output, json_millis, millis};
use crate::{Failure, ending};

/// Says what happens, one line each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    output: Output,
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
    pub(super) fn new(output: Output) -> Self {
        Self { output }
    }

    /// Says what happened.
    pub(super) fn event(self, event: Event, snapshot: impl FnOnce() -> Option<Snapshot>) -> Next {
        match event {
            Event::Suspect => {
                if let Some(snapshot) = snapshot() {
                    self.suspect(snapshot);
                }
            }
            Event::Recovered => self.recovered(),
            Event::ControlFlood => self.flooded(),
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
        self,
        url: &str,
        event: ReconnectEvent,
        snapshot: impl FnOnce() -> Option<Snapshot>,
    ) -> Next {
        match event {
            ReconnectEvent::Opened { .. } => self.open(url),
            ReconnectEvent::Connection(event) => return self.event(event, snapshot),
            ReconnectEvent::Down {
                reason, retry_in, ..
            } => self.reconnecting(retry_in, &reason),
            ReconnectEvent::GaveUp(error) => {
                return Next::End(match error.reason().closed() {
                    Some(closed) => self.closed(closed),
                    None => Err(self.failed(error)),
                });
            }
            _ => {}
        }
        Next::GoOn
    }

    /// Shows a message, unless nobody reads any more.
    pub(super) fn message(self, message: &Message) -> Next {
        let shown = match message.as_text() {
            Some(text) => self
                .output
                .try_line(text, &json!({ "event": "text", "data": text })),
            None => self.output.try_line(
                format_args!("binary: {} bytes", message.len()),
                &json!({ "event": "binary", "size": message.len() }),
            ),
        };
        match shown {
            Ok(()) => Next::GoOn,
            Err(_) => Next::Close,
        }
    }

    pub(super) fn open(self, url: &str) {
        self.say(
            format_args!("open: {url}"),
            &json!({ "event": "open", "url": url }),
        );
    }

    fn suspect(self, snapshot: Snapshot) {
        let silence = snapshot.heartbeat.since_received;
        self.say(
            format_args!("suspect: silent for {}", seconds(silence)),
            &json!({ "event": "suspect", "silence_ms": json_millis(silence) }),
        );
    }

    fn recovered(self) {
        self.say("recovered", &json!({ "event": "recovered" }));
    }

    fn flooded(self) {
        self.say(
            "flooded: the server sends too many control frames",
            &json!({ "event": "flooded" }),
        );
    }

    fn reconnecting(self, delay: Duration, reason: &DownReason) {
        let numbers = reason.closed().map(Numbers);
        let ending = numbers.as_ref().map(|numbers| format!(" ({numbers})"));
        self.say(
            format_args!(
                "reconnecting in {}: {reason}{}",
                seconds(delay),
                ending.unwrap_or_default()
            ),
            &json!({
                "event": "reconnecting",
                "delay_ms": json_millis(delay),
                "reason": reason.to_string(),
                "closed": numbers.map(|numbers| numbers.to_json()),
            }),
        );
    }

    /// A line of input that is no message.
    pub(super) fn skipped(self) {
        self.say(
            "skipped: a line that is not utf-8",
            &json!({ "event": "skipped" }),
        );
    }

    /// The end, with its numbers; a failure unless it was in order.
    pub(super) fn closed(self, closed: &Closed) -> Result<(), Failure> {
        let numbers = Numbers(closed);
        let reason = closed.to_string();
        let reason = reason.strip_prefix("closed, ").unwrap_or(&reason);
        self.say(
            format_args!("closed: {reason} ({numbers})"),
            &numbers.to_json(),
        );
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
        ending::note_closed(self.output, closed);
        Ok(())
    }

    /// The end of a connection by a failure of its transport after we asked for its end.
    pub(super) fn failed_after_close(self, error: &Error) {
        let _ = self.failed(error);
        ending::note(self.output, error);
    }

    /// The end of a connection by a failure of its transport.
    pub(super) fn failed(self, error: impl fmt::Display) -> Failure {
        self.say(
            format_args!("closed: {error}"),
            &json!({ "event": "closed", "reason": error.to_string() }),
        );
        Failure::Told
    }

    /// The end of a client that comes back, while it was away.
    pub(super) fn gave_up(self) -> Failure {
        self.failed("there was no connection to close")
    }

    fn say(self, text: impl fmt::Display, object: &Value) {
        self.output.error_line(text, object);
    }
}

/// The bytes of a client's Close frame with a code and no reason: header, mask, code.
const CLOSE_FRAME: usize = 8;

struct Numbers<'a>(&'a Closed);

impl fmt::Display for Numbers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = &self.0.snapshot;
        let heartbeat = &snapshot.heartbeat;
        write!(f, "last byte {} ago", seconds(heartbeat.since_received))?;
        if let Some(rtt) = heartbeat.rtt {
            write!(f, ", rtt {}", millis(rtt.smoothed()))?;
        }
        write!(
            f,
            ", {} pings, {} answered, {} lost, {} bytes unsent",
            heartbeat.pings, heartbeat.answered, heartbeat.lost, snapshot.buffered_amount
        )
    }
}

impl Numbers<'_> {
    fn to_json(&self) -> Value {
        let snapshot = &self.0.snapshot;
        let heartbeat = &snapshot.heartbeat;
        json!({
            "event": "closed",
            "reason": self.0.to_string(),
            "code": self.0.code().as_u16(),
            "clean": self.0.clean,
            "since_received_ms": json_millis(heartbeat.since_received),
            "rtt_ms": heartbeat.rtt.map(|rtt| json_millis(rtt.smoothed())),
            "pings": heartbeat.pings,
            "answered": heartbeat.answered,
            "lost": heartbeat.lost,
            "unsent": snapshot.buffered_amount,
        })
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.3} s", duration.as_secs_f64())
}
