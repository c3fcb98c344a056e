//! wspulse beside the RFC alone: where two implementations take what the RFC refuses, their
//! agreement proves nothing.

use super::ours::Exact;
use super::{Case, End, Kind, lines};
use crate::oracle::{self, Oracle};

/// Checks the outcome against [`Oracle`].
///
/// The oracle knows one limit for frames and messages, and none for fragments and control frames:
/// where another one counts, nothing is checked.
///
/// # Errors
/// Tells what differs.
pub fn check(case: &Case, ours: &Exact) -> Result<(), String> {
    let outcome = &ours.outcome;
    if case.limits.frame < case.limits.message || outcome.end == End::Failed(1008) {
        return Ok(());
    }
    let mut oracle = Oracle::new(case.role, case.limits.message as u64);
    if case.closes_first {
        oracle.close();
    }
    case.bytes.iter().for_each(|&byte| oracle.push(byte));
    let expected = oracle.outcome();
    let messages = outcome.items.iter().filter_map(|item| match item.kind {
        Kind::Text => Some((true, &item.payload)),
        Kind::Binary => Some((false, &item.payload)),
        Kind::Ping | Kind::Pong => None,
    });
    let is_same_end = match (&expected.end, &outcome.end) {
        // A header that no byte can make legal any more may be judged at once or at its end.
        (None, End::Failed(_)) => oracle.is_doomed(),
        (None, End::Eof) => true,
        (Some(oracle::End::Failed(code)), End::Failed(ours)) => code == ours,
        (
            Some(oracle::End::Closed(code, told)),
            End::Closed {
                code: ours, reason, ..
            },
        ) => code.unwrap_or(1005) == *ours && told == reason,
        _ => false,
    };
    let expected_messages = expected.messages.iter();
    let is_same = is_same_end
        && messages.eq(expected_messages.map(|(is_text, payload)| (*is_text, payload)))
        && outcome.pongs == expected.pongs;
    if is_same {
        return Ok(());
    }
    let ours = lines::outcome(outcome);
    Err(format!("beside the RFC\nours {ours}\nRFC  {expected:?}"))
}
