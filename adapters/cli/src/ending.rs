//! What a server did after our Close, which changes nothing about what came before.

use std::io;

use serde_json::json;
use wspulse_core::{Cause, Closed};
use wspulse_drive::Error;

use crate::output::Output;

/// Notes how the server ended a connection that we had closed.
pub(crate) fn note(output: Output, error: &Error) {
    match error {
        Error::Closed(closed) => note_closed(output, closed),
        Error::Io(error) if error.kind() == io::ErrorKind::ConnectionReset => {
            say(output, "the server reset TCP without answering our Close");
        }
        error => say(output, &format!("after our Close: {error}")),
    }
}

/// Notes how the server ended a connection that we had closed, from the typed cause.
pub(crate) fn note_closed(output: Output, closed: &Closed) {
    let text = match (&closed.cause, &closed.received) {
        (Cause::Eof, None) => "the server ended TCP without answering our Close".to_owned(),
        (Cause::CloseTimeout, None) => "the server did not answer our Close in time".to_owned(),
        (Cause::Normal, Some(frame)) => {
            format!("the server answered our Close with {}", frame.code)
        }
        _ => format!("after our Close: {closed}"),
    };
    say(output, &text);
}

fn say(output: Output, text: &str) {
    let object = json!({ "event": "note", "text": text });
    output.error_line(format_args!("note: {text}"), &object);
}
