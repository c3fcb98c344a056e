//! Standard input, line by line.

use std::io::{self, BufRead};
use std::thread;

/// Reads lines in a thread of its own, whose blocked read may outlive the connection, and hands
/// each to `take` without its line end, `Some(None)` for one that is not UTF-8; and at the end of
/// input, once, `None`. Ends before it when `take` wants no more.
pub(super) fn spawn(mut take: impl FnMut(Option<Option<String>>) -> bool + Send + 'static) {
    thread::spawn(move || {
        let mut input = io::stdin().lock();
        let mut line = Vec::new();
        // A broken input is an ended one.
        while input
            .read_until(b'\n', &mut line)
            .is_ok_and(|count| count > 0)
        {
            if line.ends_with(b"\n") {
                line.pop();
                if line.ends_with(b"\r") {
                    line.pop();
                }
            }
            if !take(Some(String::from_utf8(std::mem::take(&mut line)).ok())) {
                return;
            }
        }
        take(None);
    });
}
