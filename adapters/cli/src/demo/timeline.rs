//! What happened when, beside what was promised.

use std::cell::Cell;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::output::{Output, json_millis};

/// By how much a loaded machine may be late. The engine's own deadlines are exact.
pub(super) const SLACK: Duration = Duration::from_millis(250);

/// Prints lines with times, and keeps count of promises.
#[derive(Debug)]
pub(super) struct Timeline {
    pub(super) origin: Instant,
    output: Output,
    kept: Cell<u32>,
    broken: Cell<u32>,
}

impl Timeline {
    pub(super) fn new(output: Output) -> Self {
        Self {
            origin: Instant::now(),
            output,
            kept: Cell::new(0),
            broken: Cell::new(0),
        }
    }

    /// Prints what `who` met; `fields` tell machines more.
    pub(super) fn note(&self, who: &str, event: &str, text: &str, fields: Value) {
        self.note_at(self.origin.elapsed(), who, event, text, fields);
    }

    pub(super) fn note_at(&self, at: Duration, who: &str, event: &str, text: &str, fields: Value) {
        let mut object = json!({ "at_ms": json_millis(at), "who": who, "event": event });
        if let (Value::Object(object), Value::Object(fields)) = (&mut object, fields) {
            object.extend(fields);
        }
        let at = at.as_secs_f64();
        self.output
            .line(format_args!("{at:>8.3} s  {who:<7} {text}"), &object);
    }

    /// Prints a line about a promise, and whether it was kept.
    pub(super) fn check(&self, at: Duration, is_kept: bool, claim: Claim<'_>) {
        let count = if is_kept { &self.kept } else { &self.broken };
        count.set(count.get() + 1);
        let Claim {
            who,
            event,
            text,
            mut fields,
        } = claim;
        if let Value::Object(fields) = &mut fields {
            fields.insert("ok".into(), is_kept.into());
        }
        let mark = if is_kept { "ok" } else { "FAILED" };
        self.note_at(at, who, event, &format!("{text}: {mark}"), fields);
    }

    /// Returns how many promises were kept, and how many broken.
    pub(super) fn score(&self) -> (u32, u32) {
        (self.kept.get(), self.broken.get())
    }

    pub(super) fn text(&self, text: &str) {
        self.output.text(text);
    }
}

/// A promise in words.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    pub(super) who: &'a str,
    pub(super) event: &'a str,
    pub(super) text: String,
    pub(super) fields: Value,
}

/// Shows a span in seconds, to the millisecond.
pub(super) fn seconds(span: Duration) -> String {
    format!("{:.3} s", span.as_secs_f64())
}
