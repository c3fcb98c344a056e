//! What is printed: a line for people, or a JSON object for machines.
//!
//! For people, results go to standard output, and what happens to a connection or fails goes to
//! standard error. For machines everything goes to standard output, one object a line, in the order
//! in which it happened.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anstream::AutoStream;
use serde_json::Value;

use crate::escape;

/// Where lines go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
    is_terminal: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            is_terminal: io::stdout().is_terminal(),
        }
    }

    /// Prints one line: `text`, or `object` for machines.
    ///
    /// Nobody reading any more (`| head`) is no error of ours.
    pub(crate) fn line(self, text: impl fmt::Display, object: &Value) {
        let _ = self.try_line(text, object);
    }

    /// Prints one line in the same way, for those who want to know whether that is still possible.
    pub(crate) fn try_line(self, text: impl fmt::Display, object: &Value) -> io::Result<()> {
        let line = self.render(text, object);
        writeln!(io::stdout().lock(), "{line}")
    }

    /// Prints a peer's message: as it came, for a program or a file to read; escaped on a terminal.
    pub(crate) fn try_message(self, text: &str, object: impl FnOnce() -> Value) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        if self.json {
            writeln!(stdout, "{}", escape::json(&object().to_string()))
        } else if self.is_terminal {
            writeln!(stdout, "{}", escape::block(text))
        } else {
            writeln!(stdout, "{text}")
        }
    }

    /// Prints one line to standard error; an object goes to standard output.
    pub(crate) fn error_line(self, text: impl fmt::Display, object: &Value) {
        if self.json {
            self.line("", object);
        } else {
            let _ = writeln!(io::stderr().lock(), "{}", self.render(text, object));
        }
    }

    /// Prints a line that has nothing to tell machines.
    pub(crate) fn text(self, text: impl fmt::Display) {
        if !self.json {
            self.line(text, &Value::Null);
        }
    }

    /// Prints one line as [`line`](Self::line) does. The text has colours, which go to a terminal
    /// only, and not where `NO_COLOR` or `TERM=dumb` forbids them. It is our own: nothing that a
    /// stranger says may be in it.
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

    /// Returns the line to print, without its end, harmless for a terminal.
    pub(crate) fn render(self, text: impl fmt::Display, object: &Value) -> String {
        if self.json {
            escape::json(&object.to_string()).into_owned()
        } else {
            escape::line(&text.to_string()).into_owned()
        }
    }
}

/// Shows a duration in milliseconds, to the microsecond.
pub(crate) fn millis(duration: Duration) -> String {
    format!("{:.3} ms", duration.as_secs_f64() * 1e3)
}

/// Shows a duration in seconds, to the millisecond.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.3} s", duration.as_secs_f64())
}

/// Returns a duration in milliseconds for machines.
pub(crate) fn json_millis(duration: Duration) -> Value {
    Value::from((duration.as_secs_f64() * 1e6).round() / 1e3)
}
