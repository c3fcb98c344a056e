//! What a server did after our Close, which changes nothing about what came before.

use serde_json::json;
use wspulse_core::{Cause, Closed};
use wspulse_drive::Error;

use crate::cause::Why;
use crate::output::Output;

/// Notes how the server ended a connection that we had closed.
pub(crate) fn note(output: Output, error: &Error) {
    match error {
        Error::Closed(closed) => note_closed(output, closed),
        error => note_why(output, &Why::end(error, None)),
    }
}

/// Notes how the server ended a connection that we had closed, from the typed cause.
pub(crate) fn note_closed(output: Output, closed: &Closed) {
    let text = match (&closed.cause, &closed.received) {
        (Cause::CloseTimeout, None) => "the server did not answer our Close in time".to_owned(),
        (Cause::Normal, Some(frame)) => {
            format!("the server answered our Close with {}", frame.code)
        }
        _ => return note_why(output, &Why::closed(closed, None)),
    };
    say(output, &text);
}

fn note_why(output: Output, why: &Why) {
    match why.fields.get("cause").and_then(|cause| cause.as_str()) {
        Some("eof") if !why.fields.contains_key("received") => {
            say(output, "the server ended TCP without answering our Close");
        }
        _ => say(output, &format!("after our Close: {}", why.text)),
    }
}

fn say(output: Output, text: &str) {
    let object = json!({ "event": "note", "text": text });
    output.error_line(format_args!("note: {text}"), &object);
}
