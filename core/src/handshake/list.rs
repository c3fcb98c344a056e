//! Comma-separated header values: linear, bounded in the number of elements, and never collected.

use super::HandshakeError;
use super::head::is_token;

/// Elements a list may have, empty ones included. Browsers offer a handful; without a bound, ten
/// thousand offers would cost ten thousand answers.
const MAX_LIST_ELEMENTS: usize = 64;

/// Reads `1#token` out of all the lines that carry it (RFC 9110 §5.6.1); an element is an error
/// that is not a token, or one too many.
pub(super) fn tokens<'a>(
    values: impl Iterator<Item = &'a [u8]>,
    malformed: HandshakeError,
) -> impl Iterator<Item = Result<&'a str, HandshakeError>> {
    elements(values, malformed, is_token)
}

/// Reads the list of an `Upgrade` header, whose elements may name a version:
/// `protocol-name ["/" protocol-version]` (RFC 9110 §7.8).
pub(super) fn protocols<'a>(
    values: impl Iterator<Item = &'a [u8]>,
    malformed: HandshakeError,
) -> impl Iterator<Item = Result<&'a str, HandshakeError>> {
    elements(values, malformed, |element| {
        let mut words = element.splitn(2, |byte| *byte == b'/');
        words.all(is_token)
    })
}

/// Tells whether an element has this name, whatever the case; the list is read to its end.
pub(super) fn names<'a>(
    elements: impl Iterator<Item = Result<&'a str, HandshakeError>>,
    name: &str,
) -> Result<bool, HandshakeError> {
    let mut is_there = false;
    for element in elements {
        is_there |= element?.eq_ignore_ascii_case(name);
    }
    Ok(is_there)
}

pub(super) fn contains(elements: &[&str], name: &str) -> bool {
    elements
        .iter()
        .any(|element| element.eq_ignore_ascii_case(name))
}

fn elements<'a>(
    values: impl Iterator<Item = &'a [u8]>,
    malformed: HandshakeError,
    is_legal: fn(&[u8]) -> bool,
) -> impl Iterator<Item = Result<&'a str, HandshakeError>> {
    let parts = values.flat_map(|value| value.split(|byte| *byte == b','));
    parts.enumerate().filter_map(move |(count, part)| {
        if count >= MAX_LIST_ELEMENTS {
            return Some(Err(HandshakeError::ListTooLong));
        }
        let element = part.trim_ascii();
        // RFC 9110 §5.6.1.2: a recipient ignores a reasonable number of empty elements.
        if element.is_empty() {
            return None;
        }
        match str::from_utf8(element) {
            Ok(element) if is_legal(element.as_bytes()) => Some(Ok(element)),
            _ => Some(Err(malformed.clone())),
        }
    })
}
