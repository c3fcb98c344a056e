//! Standard input, line by line.

use std::io::{self, BufRead};
use std::thread;

/// What standard input has to say.
pub(super) enum Input {
    /// A line, without its end.
    Line(String),
    /// A line that cannot be sent.
    Skipped(Unfit),
    /// There is no more. The last one.
    End,
}

/// Why a line cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    NotUtf8,
    TooLong,
}

/// The longest line that is sent: the longest message that most servers take. Of a longer one only
/// its end is looked for.
pub(super) const MAX_LINE: usize = 16 << 20;

/// Reads lines in a thread of its own, whose blocked read may outlive the connection, and hands
/// each to `take`, and the end of input, once. Ends before it when `take` wants no more.
pub(super) fn spawn(mut take: impl FnMut(Input) -> bool + Send + 'static) {
    thread::spawn(move || {
        let mut input = io::stdin().lock();
        // A broken input is an ended one.
        while let Ok(Some(line)) = read_line(&mut input, MAX_LINE) {
            let next = match line.map(String::from_utf8) {
                Ok(Ok(line)) => Input::Line(line),
                Ok(Err(_)) => Input::Skipped(Unfit::NotUtf8),
                Err(unfit) => Input::Skipped(unfit),
            };
            if !take(next) {
                return;
            }
        }
        take(Input::End);
    });
}

/// Reads one line, of which at most `max` bytes are held; `None` at the end of input.
fn read_line(input: &mut impl BufRead, max: usize) -> io::Result<Option<Result<Vec<u8>, Unfit>>> {
    let mut line = Vec::new();
    let (mut has_begun, mut is_too_long) = (false, false);
    loop {
        let chunk = match input.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let is_last = end.is_some() || chunk.is_empty();
        has_begun |= !chunk.is_empty();
        let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
        is_too_long |= part.len() > max - line.len();
        if is_too_long {
            line = Vec::new();
        } else {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        input.consume(used);
        if is_last {
            if end.is_some() && line.ends_with(b"\r") {
                line.pop();
            }
            let line = if is_too_long {
                Err(Unfit::TooLong)
            } else {
                Ok(line)
            };
            return Ok(has_begun.then_some(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::{Unfit, read_line};

    /// All lines of a text that is read `chunk` bytes at a time.
    fn lines(text: &str, max: usize, chunk: usize) -> Vec<Result<String, Unfit>> {
        let mut input = BufReader::with_capacity(chunk, text.as_bytes());
        let next = || read_line(&mut input, max).unwrap();
        std::iter::from_fn(next)
            .map(|line| line.map(|line| String::from_utf8(line).unwrap()))
            .collect()
    }

    #[test]
    fn a_line_above_the_limit_is_skipped_and_the_next_one_is_whole() {
        for chunk in 1..12 {
            let read = lines("four\r\nfive!\n\n123456789\nlast", 5, chunk);
            let line = |text: &str| Ok(text.to_owned());
            let expected = [
                line("four"),
                line("five!"),
                line(""),
                Err(Unfit::TooLong),
                line("last"),
            ];
            assert_eq!(read, expected, "{chunk}");
            assert_eq!(lines("", 5, chunk), []);
            assert_eq!(lines("\n", 5, chunk), [line("")]);
            assert_eq!(lines("123456", 5, chunk), [Err(Unfit::TooLong)]);
        }
    }
}
