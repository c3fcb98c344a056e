//! Extensions: the grammar in which they are offered and agreed on (RFC 6455 §9.1), and the one
//! that is known here, [`deflate`].
//!
//! The grammar is strict and bounded, whatever the extensions in it are called: this module needs
//! nothing else of the crate and can be used alone.
//!
//! ```
//! use wspulse_core::extension::{Extension, ExtensionError};
//!
//! let header = b"permessage-deflate; client_max_window_bits=\"1\\0\", x-other";
//! let offered = Extension::parse_list([&header[..]])?;
//! assert_eq!(offered[0].name(), "permessage-deflate");
//! assert!(offered[0].parameters().eq([("client_max_window_bits", Some("10"))]));
//! assert_eq!(offered[1], Extension::new("x-other")?);
//!
//! let answer = Extension::new("x-other")?.parameter("speed", Some("7"))?;
//! assert_eq!(answer.to_string(), "x-other; speed=7");
//! # Ok::<(), ExtensionError>(())
//! ```

pub mod deflate;
#[cfg(test)]
mod tests;

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// One extension, as it is offered or agreed on: a name, and parameters with or without values.
///
/// [`Display`](fmt::Display) writes it as the header has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension<'a> {
    name: Cow<'a, str>,
    parameters: Vec<Parameter<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parameter<'a> {
    name: Cow<'a, str>,
    value: Option<Cow<'a, str>>,
}

/// Why a list of extensions was not understood, or an extension cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExtensionError {
    /// The header breaks the grammar, or holds nothing but commas (RFC 6455 §9.1).
    Malformed,
    /// The list has more than 64 elements, parameters and empty elements included.
    TooLong,
    /// A name or value to be written is not a token.
    NotAToken,
}

impl fmt::Display for ExtensionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed list of extensions",
            Self::TooLong => "too many elements in a list of extensions",
            Self::NotAToken => "name or value is not a token",
        })
    }
}

impl core::error::Error for ExtensionError {}

impl<'a> Extension<'a> {
    /// Returns an extension without parameters.
    ///
    /// # Errors
    ///
    /// [`ExtensionError::NotAToken`].
    pub fn new(name: impl Into<Cow<'a, str>>) -> Result<Self, ExtensionError> {
        Ok(Self {
            name: checked(name.into())?,
            parameters: Vec::new(),
        })
    }

    /// Adds a parameter.
    ///
    /// # Errors
    ///
    /// [`ExtensionError::NotAToken`] for its name or its value.
    pub fn parameter(
        mut self,
        name: impl Into<Cow<'a, str>>,
        value: Option<impl Into<Cow<'a, str>>>,
    ) -> Result<Self, ExtensionError> {
        self.parameters.push(Parameter {
            name: checked(name.into())?,
            value: value.map(|value| checked(value.into())).transpose()?,
        });
        Ok(self)
    }

    /// Reads the values of all `Sec-WebSocket-Extensions` headers of one head, in their order.
    ///
    /// Empty elements are skipped (RFC 9110 §5.6.1.2), but a header that is there has at least one
    /// that is not. Quoted values are unquoted.
    ///
    /// # Errors
    ///
    /// [`ExtensionError::Malformed`] and [`ExtensionError::TooLong`].
    pub fn parse_list(
        values: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Vec<Self>, ExtensionError> {
        let mut found = Vec::new();
        Self::parse_each(values, |extension| {
            // By steps: an entry is twenty times as long as the shortest element.
            if found.len() == found.capacity() {
                found.reserve_exact(STEP);
            }
            found.push(extension);
        })?;
        Ok(found)
    }

    /// Reads a list, and hands out each extension while it is read.
    pub(crate) fn parse_each(
        values: impl IntoIterator<Item = &'a [u8]>,
        mut visit: impl FnMut(Self),
    ) -> Result<(), ExtensionError> {
        let mut budget = MAX_ELEMENTS;
        let (mut is_present, mut is_empty) = (false, true);
        for value in values {
            is_present = true;
            let mut cursor = Cursor { rest: value };
            loop {
                spend(&mut budget)?;
                cursor.skip_whitespace();
                if let Some(name) = cursor.take_token() {
                    is_empty = false;
                    visit(Self {
                        name: name.into(),
                        parameters: cursor.take_parameters(&mut budget)?,
                    });
                }
                cursor.skip_whitespace();
                if cursor.rest.is_empty() {
                    break;
                }
                if !cursor.take(b',') {
                    return Err(ExtensionError::Malformed);
                }
            }
        }
        if is_present && is_empty {
            return Err(ExtensionError::Malformed);
        }
        Ok(())
    }

    /// Returns the name. Names are compared as they are, with their case.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Goes through the parameters in their order, each with its value if it has one.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.parameters
            .iter()
            .map(|parameter| (&*parameter.name, parameter.value.as_deref()))
    }
}

impl fmt::Display for Extension<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (name, value) in self.parameters() {
            write!(f, "; {name}")?;
            if let Some(value) = value {
                write!(f, "={value}")?;
            }
        }
        Ok(())
    }
}

/// RFC 9110 §5.6.2: `tchar`.
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    matches!(byte,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_'
        | b'`' | b'|' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z')
}

pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().copied().all(is_token_byte)
}

fn checked(text: Cow<'_, str>) -> Result<Cow<'_, str>, ExtensionError> {
    if is_token(text.as_bytes()) {
        Ok(text)
    } else {
        Err(ExtensionError::NotAToken)
    }
}

fn spend(budget: &mut usize) -> Result<(), ExtensionError> {
    *budget = budget.checked_sub(1).ok_or(ExtensionError::TooLong)?;
    Ok(())
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take_parameters(
        &mut self,
        budget: &mut usize,
    ) -> Result<Vec<Parameter<'a>>, ExtensionError> {
        let mut parameters = Vec::new();
        loop {
            self.skip_whitespace();
            if !self.take(b';') {
                return Ok(parameters);
            }
            spend(budget)?;
            self.skip_whitespace();
            let name = self.take_token().ok_or(ExtensionError::Malformed)?;
            self.skip_whitespace();
            let mut value = None;
            if self.take(b'=') {
                self.skip_whitespace();
                let taken = match self.take_token() {
                    Some(token) => Cow::Borrowed(token),
                    None => self.take_quoted_token().ok_or(ExtensionError::Malformed)?,
                };
                value = Some(taken);
            }
            parameters.reserve_exact(1);
            parameters.push(Parameter {
                name: name.into(),
                value,
            });
        }
    }

    /// RFC 9110 §5.6.3: whitespace is spaces and tabs.
    fn skip_whitespace(&mut self) {
        while let Some((b' ' | b'\t', rest)) = self.rest.split_first() {
            self.rest = rest;
        }
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

    fn take_token(&mut self) -> Option<&'a str> {
        let is_other = |byte: &u8| !is_token_byte(*byte);
        let end = self.rest.iter().position(is_other);
        let (token, rest) = self.rest.split_at_checked(end.unwrap_or(self.rest.len()))?;
        self.rest = rest;
        // A token is ASCII: only an empty one is none.
        str::from_utf8(token).ok().filter(|token| !token.is_empty())
    }

    /// RFC 6455 §9.1: a quoted value must be a token once its escapes are undone.
    fn take_quoted_token(&mut self) -> Option<Cow<'a, str>> {
        if !self.take(b'"') {
            return None;
        }
        let mut value = String::new();
        while !self.take(b'"') {
            self.take(b'\\');
            let (&byte, rest) = self.rest.split_first()?;
            if !is_token_byte(byte) {
                return None;
            }
            value.push(char::from(byte));
            self.rest = rest;
        }
        (!value.is_empty()).then(|| value.into())
    }
}

/// Elements a list may have. Browsers offer a handful; without a bound, ten thousand offers would
/// cost ten thousand answers.
const MAX_ELEMENTS: usize = 64;

/// So many places for extensions are added at a time.
const STEP: usize = 8;
