//! Comma-separated header values: linear, and bounded in the number of elements.

use alloc::vec::Vec;

use super::HandshakeError;
use super::head::{is_token, is_token_byte};

/// Elements a list may have, empty ones and extension parameters included. Browsers offer a
/// handful; without a bound, ten thousand offers would cost ten thousand answers.
pub(super) const MAX_LIST_ELEMENTS: usize = 64;

/// Reads `1#token` out of all the lines that carry it (RFC 9110 §5.6.1), or says `malformed`.
pub(super) fn tokens<'a>(
    values: impl Iterator<Item = &'a [u8]>,
    malformed: &HandshakeError,
) -> Result<Vec<&'a str>, HandshakeError> {
    elements(values, malformed, is_token)
}

/// Reads the list of an `Upgrade` header, whose elements may name a version:
/// `protocol-name ["/" protocol-version]` (RFC 9110 §7.8).
pub(super) fn protocols<'a>(
    values: impl Iterator<Item = &'a [u8]>,
    malformed: &HandshakeError,
) -> Result<Vec<&'a str>, HandshakeError> {
    elements(values, malformed, |element| {
        let mut words = element.splitn(2, |byte| *byte == b'/');
        words.all(is_token)
    })
}

pub(super) fn contains(elements: &[&str], name: &str) -> bool {
    elements
        .iter()
        .any(|element| element.eq_ignore_ascii_case(name))
}

fn elements<'a>(
    values: impl Iterator<Item = &'a [u8]>,
    malformed: &HandshakeError,
    is_legal: fn(&[u8]) -> bool,
) -> Result<Vec<&'a str>, HandshakeError> {
    let mut found = Vec::new();
    let parts = values.flat_map(|value| value.split(|byte| *byte == b','));
    for (count, part) in parts.enumerate() {
        if count >= MAX_LIST_ELEMENTS {
            return Err(HandshakeError::ListTooLong);
        }
        let element = part.trim_ascii();
        // RFC 9110 §5.6.1.2: a recipient ignores a reasonable number of empty elements.
        if element.is_empty() {
            continue;
        }
        match str::from_utf8(element) {
            Ok(element) if is_legal(element.as_bytes()) => found.push(element),
            _ => return Err(malformed.clone()),
        }
    }
    Ok(found)
}

/// Checks the grammar of `Sec-WebSocket-Extensions` (RFC 6455 §9.1).
pub(super) fn check_extensions<'a>(
    values: impl Iterator<Item = &'a [u8]>,
) -> Result<(), HandshakeError> {
    let mut budget = MAX_LIST_ELEMENTS;
    let mut is_present = false;
    let mut is_empty = true;
    for value in values {
        is_present = true;
        let mut cursor = Cursor { rest: value };
        loop {
            spend(&mut budget)?;
            cursor.skip_whitespace();
            if cursor.take_token() {
                is_empty = false;
                check_parameters(&mut cursor, &mut budget)?;
            }
            cursor.skip_whitespace();
            if cursor.rest.is_empty() {
                break;
            }
            if !cursor.take(b',') {
                return Err(HandshakeError::Extensions);
            }
        }
    }
    if is_present && is_empty {
        return Err(HandshakeError::Extensions);
    }
    Ok(())
}

fn check_parameters(cursor: &mut Cursor<'_>, budget: &mut usize) -> Result<(), HandshakeError> {
    loop {
        cursor.skip_whitespace();
        if !cursor.take(b';') {
            return Ok(());
        }
        spend(budget)?;
        cursor.skip_whitespace();
        if !cursor.take_token() {
            return Err(HandshakeError::Extensions);
        }
        cursor.skip_whitespace();
        if cursor.take(b'=') {
            cursor.skip_whitespace();
            if !cursor.take_token() && !cursor.take_quoted_token() {
                return Err(HandshakeError::Extensions);
            }
        }
    }
}

fn spend(budget: &mut usize) -> Result<(), HandshakeError> {
    *budget = budget.checked_sub(1).ok_or(HandshakeError::ListTooLong)?;
    Ok(())
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl Cursor<'_> {
    fn skip_whitespace(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn take(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((&first, rest)) if first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn take_token(&mut self) -> bool {
        let before = self.rest.len();
        while let Some((&byte, rest)) = self.rest.split_first() {
            if !is_token_byte(byte) {
                break;
            }
            self.rest = rest;
        }
        self.rest.len() < before
    }

    /// RFC 6455 §9.1: a quoted value must be a token once its escapes are undone.
    fn take_quoted_token(&mut self) -> bool {
        if !self.take(b'"') {
            return false;
        }
        let mut is_empty = true;
        loop {
            if self.take(b'"') {
                return !is_empty;
            }
            self.take(b'\\');
            match self.rest.split_first() {
                Some((&byte, rest)) if is_token_byte(byte) => self.rest = rest,
                _ => return false,
            }
            is_empty = false;
        }
    }
}
