//! Why something ended or failed: in words for people, in fields for machines.

use std::io;
use std::time::Duration;

use serde_json::{Map, Value, json};
use wspulse_core::handshake::HandshakeError;
use wspulse_core::heartbeat::{DeadReason, HeartbeatSnapshot};
use wspulse_core::{Cause, CloseCode, CloseFrame, Closed};
use wspulse_drive::{DownReason, Error, Stage};

use crate::output::{json_millis, millis, seconds};

/// Why, in words and in fields.
#[derive(Clone, Debug)]
pub(crate) struct Why {
    pub(crate) text: String,
    /// `cause`, a word that never changes, and the numbers that belong to it.
    pub(crate) fields: Map<String, Value>,
}

impl Why {
    /// A cause that has no numbers.
    pub(crate) fn new(cause: &str, text: impl ToString) -> Self {
        Self::with(text, json!({ "cause": cause }))
    }

    fn with(text: impl ToString, fields: Value) -> Self {
        let fields = match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        Self {
            text: text.to_string(),
            fields,
        }
    }

    /// The end of a connection, with the Close frames that were part of it. `pong_timeout` is the
    /// one that was in force.
    pub(crate) fn closed(closed: &Closed, pong_timeout: Option<Duration>) -> Self {
        let mut why = Self::cause(closed, pong_timeout);
        why.add_frames(closed.received.as_ref(), closed.sent);
        why
    }

    /// A closing handshake that is complete.
    pub(crate) fn closing_handshake(received: &CloseFrame, sent: CloseCode) -> Self {
        let mut why = Self::new("closed", Cause::Normal);
        why.add_frames(Some(received), Some(sent));
        why
    }

    /// The failure of an operation on a connection, or of the way to one.
    pub(crate) fn error(error: &Error, pong_timeout: Option<Duration>) -> Self {
        let cause = match error {
            Error::Closed(closed) => return Self::closed(closed, pong_timeout),
            Error::Io(error) => return Self::io(error),
            Error::Timeout(stage) => {
                let fields = json!({ "cause": "timeout", "stage": stage_name(*stage) });
                return Self::with(error, fields);
            }
            Error::Tls(_) => "tls",
            Error::NotOpen => "not-open",
            Error::Send(_) => "send",
            Error::Url(_) => "url",
            Error::Request(_) => "request",
            Error::Answer(_) => "answer",
            Error::Config(_) | Error::Backoff(_) => "config",
            Error::Redirect(_) => "redirect",
            Error::Proxy(_) => "proxy",
            _ => "other",
        };
        Self::new(cause, error)
    }

    /// The end of a connection that was open. Its transport may have told more than the end: a
    /// reset is the same end as any other without a Close frame, and has the same words.
    pub(crate) fn end(error: &Error, pong_timeout: Option<Duration>) -> Self {
        match error {
            Error::Io(error) if is_end(error) => {
                let fields = json!({ "cause": "eof", "io": format!("{:?}", error.kind()) });
                Self::with(Cause::Eof, fields)
            }
            error => Self::error(error, pong_timeout),
        }
    }

    /// Why a client that comes back has no connection.
    pub(crate) fn down(reason: &DownReason, pong_timeout: Option<Duration>) -> Self {
        match reason {
            DownReason::Ended(closed) => Self::closed(closed, pong_timeout),
            DownReason::Failed(error) => Self::error(error, pong_timeout),
        }
    }

    pub(crate) fn io(error: &io::Error) -> Self {
        let fields = json!({ "cause": "io", "io": format!("{:?}", error.kind()) });
        Self::with(error, fields)
    }

    /// The object that says that `event` happened, and why.
    pub(crate) fn to_object(&self, event: &str, more: Value) -> Value {
        let mut object = Map::new();
        object.insert("event".into(), event.into());
        object.insert("reason".into(), self.text.as_str().into());
        object.extend(self.fields.clone());
        if let Value::Object(more) = more {
            object.extend(more);
        }
        Value::Object(object)
    }

    fn cause(closed: &Closed, pong_timeout: Option<Duration>) -> Self {
        let cause = &closed.cause;
        let name = match cause {
            Cause::Normal => "closed",
            Cause::Protocol(error) => {
                let fields = json!({ "cause": "protocol-error", "rule": error.section() });
                return Self::with(cause, fields);
            }
            Cause::Limit(_) => "limit-exceeded",
            Cause::Handshake(HandshakeError::Refused(refusal)) => {
                let fields = json!({
                    "cause": "refused",
                    "status": refusal.status(),
                    "body": String::from_utf8_lossy(refusal.body_excerpt()),
                });
                return Self::with(cause, fields);
            }
            Cause::Handshake(error) => {
                let fields = json!({ "cause": "handshake-failed", "rule": error.section() });
                return Self::with(cause, fields);
            }
            Cause::Rejected { status } => {
                return Self::with(cause, json!({ "cause": "rejected", "status": status }));
            }
            Cause::Dead(reason) => return Self::dead(closed, *reason, pong_timeout),
            Cause::HandshakeTimeout => "handshake-timeout",
            Cause::CloseTimeout => "close-timeout",
            Cause::IdleTimeout => "idle-timeout",
            Cause::MaxAge => "max-age",
            Cause::Unread => "unread",
            Cause::Eof => "eof",
            Cause::Aborted => "aborted",
            _ => "other",
        };
        Self::new(name, cause)
    }

    /// A verdict about the peer, with the numbers that it rests on.
    fn dead(closed: &Closed, reason: DeadReason, pong_timeout: Option<Duration>) -> Self {
        let heartbeat = &closed.snapshot.heartbeat;
        let (name, numbers) = match reason {
            DeadReason::WriteStalled => {
                let (since, unsent) = (heartbeat.since_sent, closed.snapshot.buffered_amount);
                let numbers = format!("for {}, {unsent} bytes wait", seconds(since));
                ("write-stalled", numbers)
            }
            reason => {
                let allowed = pong_timeout.map(|timeout| format!(", {} allowed", seconds(timeout)));
                let numbers = format!(
                    "silent for {}{}, {}",
                    seconds(closed.silence),
                    allowed.unwrap_or_default(),
                    last_rtt(heartbeat),
                );
                match reason {
                    DeadReason::PongTimeout => ("pong-timeout", numbers),
                    DeadReason::Silence => ("silence", numbers),
                    _ => ("other", numbers),
                }
            }
        };
        let fields = json!({
            "cause": "peer-dead",
            "dead": name,
            "silence_ms": json_millis(closed.silence),
            "pong_timeout_ms": pong_timeout.map(json_millis),
            "last_rtt_ms": heartbeat.rtt.map(|rtt| json_millis(rtt.last())),
        });
        Self::with(format_args!("{} ({numbers})", closed.cause), fields)
    }

    fn add_frames(&mut self, received: Option<&CloseFrame>, sent: Option<CloseCode>) {
        if let Some(CloseFrame { code, reason }) = received {
            self.text += &format!(", received {}", code.as_u16());
            if !reason.is_empty() {
                self.text += &format!(" {:?}", &**reason);
            }
            self.fields.insert("received".into(), code.as_u16().into());
            self.fields
                .insert("received_reason".into(), (**reason).into());
        }
        if let Some(code) = sent {
            self.text += &format!(", sent {}", code.as_u16());
            self.fields.insert("sent".into(), code.as_u16().into());
        }
    }
}

/// The last round trip, in words.
fn last_rtt(heartbeat: &HeartbeatSnapshot) -> String {
    heartbeat.rtt.map_or_else(
        || "no round trip measured".to_owned(),
        |rtt| format!("last round trip {}", millis(rtt.last())),
    )
}

/// Tells whether a transport's failure is the peer's end of it.
fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
    )
}

fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Lookup => "lookup",
        Stage::Connect => "connect",
        Stage::Proxy => "proxy",
        Stage::Tls => "tls",
        _ => "other",
    }
}
