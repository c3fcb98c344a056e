//! What happened when, beside what was promised.

use std::cell::Cell;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::output::{Output, json_millis, millis};

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
        let (at, style) = (at.as_secs_f64(), style_of(who, event));
        self.output.styled_line(
            format_args!("{at:>6.2} s  {style}{who:<7}{style:#} {text}"),
            &object,
        );
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
        let (mark, style) = verdict_mark(is_kept);
        let text = format!("{text}: {style}{mark}{style:#}");
        self.note_at(at, who, event, &text, fields);
    }

    /// Returns how many promises were kept, and how many broken.
    pub(super) fn score(&self) -> (u32, u32) {
        (self.kept.get(), self.broken.get())
    }

    pub(super) fn text(&self, text: &str) {
        self.output.styled_text(text);
    }

    /// Prints an explanation, for people only, under the line that it explains.
    pub(super) fn explain(&self, text: &str) {
        for line in text.lines() {
            let line = format!("{INDENT}{EXPLAINED}{line}{EXPLAINED:#}");
            self.output.styled_text(line.trim_end());
        }
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

/// Shows a span in seconds, or in milliseconds where that would be nearly nothing.
pub(super) fn seconds(span: Duration) -> String {
    if span < Duration::from_millis(100) {
        return millis(span);
    }
    format!("{:.2} s", span.as_secs_f64())
}

/// Returns the word for a promise, and its style.
pub(super) fn verdict_mark(is_kept: bool) -> (&'static str, Style) {
    if is_kept {
        ("ok", AnsiColor::Green.on_default())
    } else {
        ("FAILED", AnsiColor::Red.on_default().bold())
    }
}

/// The style of a name; suspicion stands out.
fn style_of(who: &str, event: &str) -> Style {
    let color = match (who, event) {
        (_, "suspect") => AnsiColor::Yellow,
        ("client", _) => AnsiColor::Cyan,
        ("server", _) => AnsiColor::Blue,
        ("relay", _) => AnsiColor::Magenta,
        _ => return Style::new().bold(),
    };
    color.on_default()
}

/// Explanations stand back behind events.
const EXPLAINED: Style = Style::new().dimmed();

/// The width of the time and the name.
const INDENT: &str = "                  ";
