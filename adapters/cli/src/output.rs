//! What is printed: a line for people, or a JSON object for machines.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use anstream::AutoStream;
use serde_json::Value;

/// Where lines go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// Prints one line: `text`, or `object` for machines.
    ///
    /// Nobody reading any more (`| head`) is no error of ours.
    pub(crate) fn line(self, text: impl fmt::Display, object: &Value) {
        let _ = self.try_line(text, object);
    }

    /// Prints one line in the same way, for those who want to know whether that is still possible.
    pub(crate) fn try_line(self, text: impl fmt::Display, object: &Value) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        if self.json {
            writeln!(stdout, "{object}")
        } else {
            writeln!(stdout, "{text}")
        }
    }

    /// Prints one line to standard error, in the same way.
    pub(crate) fn error_line(self, text: impl fmt::Display, object: &Value) {
        let mut stderr = io::stderr().lock();
        let _ = if self.json {
            writeln!(stderr, "{object}")
        } else {
            writeln!(stderr, "{text}")
        };
    }

    /// Prints a line that has nothing to tell machines.
    pub(crate) fn text(self, text: impl fmt::Display) {
        if !self.json {
            let _ = writeln!(io::stdout().lock(), "{text}");
        }
    }

    /// Prints one line as [`line`](Self::line) does. The text has colours, which go to a terminal
    /// only, and not where `NO_COLOR` or `TERM=dumb` forbids them.
    pub(crate) fn styled_line(self, text: impl fmt::Display, object: &Value) {
        if self.json {
            self.line("", object);
        } else {
            self.styled_text(text);
        }
    }

    /// Prints a line in colours that has nothing to tell machines.
    pub(crate) fn styled_text(self, text: impl fmt::Display) {
        if !self.json {
            let _ = writeln!(AutoStream::auto(io::stdout().lock()), "{text}");
        }
    }
}

/// Shows a duration in milliseconds, to the microsecond.
pub(crate) fn millis(duration: Duration) -> String {
    format!("{:.3} ms", duration.as_secs_f64() * 1e3)
}

/// Returns a duration in milliseconds for machines.
pub(crate) fn json_millis(duration: Duration) -> Value {
    Value::from((duration.as_secs_f64() * 1e6).round() / 1e3)
}
