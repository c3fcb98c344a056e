//! HTTP/1.1 heads and lists, read as plainly as RFC 9110, RFC 9112 and RFC 6455 say them: whole
//! input, split and split again. What the engine does in one pass must agree with this.

/// Returns where the first head ends, behind its empty line.
pub(super) fn end_of_head(stream: &[u8]) -> Option<usize> {
    let at = stream.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(at + 4)
}

pub(super) fn split_heads(mut stream: &[u8]) -> Vec<&[u8]> {
    let mut heads = Vec::new();
    while let Some(end) = end_of_head(stream) {
        heads.push(&stream[..end]);
        stream = &stream[end..];
    }
    heads
}

pub(super) fn split_lines(mut text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    while let Some(end) = text.windows(2).position(|two| two == b"\r\n") {
        lines.push(&text[..end]);
        text = &text[end + 2..];
    }
    lines.push(text);
    lines
}

/// RFC 9110 §5.6.2: `tchar`.
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 9110 §5.6.2: `token`.
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_token_byte(byte))
}

/// RFC 9110 §5.6.3: without the whitespace around it, which is spaces and tabs.
pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// RFC 9110 §5.6.1: the elements of all lines of a list, without the empty ones.
pub(super) fn list<'a>(lines: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let elements = lines
        .iter()
        .flat_map(|line| line.split(|&byte| byte == b','));
    elements
        .map(trim)
        .filter(|element| !element.is_empty())
        .collect()
}

/// A header section: names in lower case, and values without the whitespace around them.
#[derive(Debug, Default)]
pub(super) struct Fields<'a>(pub(super) Vec<(Vec<u8>, &'a [u8])>);

impl<'a> Fields<'a> {
    /// RFC 9112 §5: `field-name ":" OWS field-value OWS`, each on a line of its own.
    pub(super) fn read(lines: &[&'a [u8]]) -> Option<Self> {
        let mut fields = Vec::new();
        for line in lines {
            let colon = line.iter().position(|&byte| byte == b':')?;
            let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
            // RFC 9110 §5.5: `field-vchar`, spaces and tabs.
            let is_legal = |&byte: &u8| byte == b'\t' || (byte >= b' ' && byte != 0x7F);
            if !is_token(name) || !value.iter().all(is_legal) {
                return None;
            }
            fields.push((name.to_ascii_lowercase(), value));
        }
        Some(Self(fields))
    }

    /// The values of all fields of this name, in their order.
    pub(super) fn all(&self, name: &str) -> Vec<&'a [u8]> {
        let named = self.0.iter().filter(|(found, _)| found == name.as_bytes());
        named.map(|(_, value)| *value).collect()
    }

    /// The value of the one field of this name.
    pub(super) fn only(&self, name: &str) -> Option<&'a [u8]> {
        match self.all(name)[..] {
            [value] => Some(value),
            _ => None,
        }
    }

    /// Tells whether the list in the fields of this name has this word, whatever the case.
    pub(super) fn has_word(&self, name: &str, word: &str) -> bool {
        let lines = self.all(name);
        list(&lines)
            .iter()
            .any(|element| element.eq_ignore_ascii_case(word.as_bytes()))
    }
}

/// Reads base64 of 16 bytes, bit by bit, and tells whether the bits too many are zero.
pub(super) fn nonce_of(key: &[u8]) -> Option<([u8; 16], bool)> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = key.strip_suffix(b"==")?;
    if digits.len() != 22 {
        return None;
    }
    let mut bits = Vec::new();
    for digit in digits {
        let value = ALPHABET.iter().position(|letter| letter == digit)?;
        bits.extend((0..6).rev().map(|place| value >> place & 1));
    }
    let (bits, padding) = bits.split_at(128);
    let mut nonce = [0; 16];
    for (byte, bits) in nonce.iter_mut().zip(bits.chunks(8)) {
        for &bit in bits {
            *byte = *byte << 1 | u8::from(bit == 1);
        }
    }
    Some((nonce, padding.iter().all(|&bit| bit == 0)))
}

/// An extension in a list, with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extension {
    pub(super) name: String,
    pub(super) parameters: Vec<(String, Option<String>)>,
}

/// Why a list of extensions is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListFault {
    Malformed,
    /// More than 64 elements, empty ones and parameters included: a limit of ours.
    TooLong,
}

/// RFC 6455 §9.1: `1#extension`. A quoted value is a token once it is unquoted, so no separator
/// stands inside it, and splitting is enough.
pub(super) fn extensions(lines: &[&[u8]]) -> Result<Vec<Extension>, ListFault> {
    let mut found = Vec::new();
    let mut left = 64;
    let mut count = || {
        left -= 1;
        if left < 0 {
            Err(ListFault::TooLong)
        } else {
            Ok(())
        }
    };
    for element in lines
        .iter()
        .flat_map(|line| line.split(|&byte| byte == b','))
    {
        count()?;
        if trim(element).is_empty() {
            continue;
        }
        let mut pieces = element.split(|&byte| byte == b';');
        let name = token(pieces.next().unwrap_or_default())?;
        let mut parameters = Vec::new();
        for piece in pieces {
            count()?;
            let mut sides = piece.splitn(2, |&byte| byte == b'=');
            let name = token(sides.next().unwrap_or_default())?;
            let value = sides
                .next()
                .map(|value| exact_token(&unquoted(trim(value))));
            parameters.push((name, value.transpose()?));
        }
        found.push(Extension { name, parameters });
    }
    if found.is_empty() && !lines.is_empty() {
        return Err(ListFault::Malformed);
    }
    Ok(found)
}

fn token(text: &[u8]) -> Result<String, ListFault> {
    exact_token(trim(text))
}

fn exact_token(text: &[u8]) -> Result<String, ListFault> {
    if !is_token(text) {
        return Err(ListFault::Malformed);
    }
    Ok(String::from_utf8(text.to_vec()).expect("a token is ASCII"))
}

/// RFC 9110 §5.6.4: a quoted string without its quotes and escapes. What is none stays, and is no
/// token either.
fn unquoted(value: &[u8]) -> Vec<u8> {
    let Some(inner) = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
    else {
        return value.to_vec();
    };
    let mut out = Vec::new();
    let mut bytes = inner.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            // An escape of nothing: the closing quote was escaped.
            b'\\' => match bytes.next() {
                Some(&escaped) => out.push(escaped),
                None => return value.to_vec(),
            },
            _ => out.push(byte),
        }
    }
    out
}
