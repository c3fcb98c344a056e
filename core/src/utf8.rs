//! UTF-8 that arrives in pieces.

use alloc::string::String;
use core::error::Error;
use core::fmt;
use core::str;

/// Checks text that arrives cut anywhere, and fails in the piece with the first byte that no
/// valid text could have in its place (RFC 6455 §8.1, RFC 3629 §4).
///
/// It holds back the bytes of an unfinished character, at most three, and lends everything else,
/// so text is validated once however it is cut. After an error it stays failed; after a complete
/// message it is as new.
///
/// ```
/// use wspulse_core::utf8::Utf8Validator;
///
/// let mut text = String::new();
/// let mut utf8 = Utf8Validator::new();
/// utf8.push_to(b"5 \xE2\x82", &mut text)?;
/// assert_eq!(text, "5 ");
/// assert!(!utf8.is_complete());
///
/// utf8.push_to(b"\xAC", &mut text)?;
/// assert_eq!(text, "5 €");
/// assert!(utf8.is_complete());
///
/// assert!(utf8.push(b"\xED\xA0").is_err()); // half a surrogate, known at its second byte
/// # Ok::<(), wspulse_core::utf8::InvalidUtf8>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Utf8Validator {
    held: [u8; 3],
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Between,
    /// This many bytes of a character are held, 1 to 3.
    Inside(u8),
    Failed,
}

const _: () = assert!(size_of::<Utf8Validator>() <= 8);

impl Utf8Validator {
    /// Returns a validator at the start of a text.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            held: [0; 3],
            state: State::Between,
        }
    }

    /// Tells whether the text could end here: no character is unfinished and nothing failed.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        matches!(self.state, State::Between)
    }

    /// Checks the next piece of the text.
    ///
    /// # Errors
    ///
    /// Fails if the text so far cannot be the start of valid UTF-8; close code 1007.
    #[inline]
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), InvalidUtf8> {
        self.decode(chunk).map(drop)
    }

    /// Checks the next piece of the text and appends the characters that it finishes.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push); nothing is appended then.
    #[inline]
    pub fn push_to(&mut self, chunk: &[u8], out: &mut String) -> Result<(), InvalidUtf8> {
        let part = self.decode(chunk)?;
        out.extend(part.joined);
        out.push_str(part.text);
        Ok(())
    }

    /// Checks the next piece of the text and lends the characters that it finishes.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    #[inline]
    pub fn decode<'a>(&mut self, chunk: &'a [u8]) -> Result<TextPart<'a>, InvalidUtf8> {
        let decoded = match self.state {
            State::Between => self
                .decode_whole(chunk)
                .map(|text| TextPart { joined: None, text }),
            State::Inside(len) => self.decode_joined(len, chunk),
            State::Failed => Err(InvalidUtf8),
        };
        if decoded.is_err() {
            self.state = State::Failed;
        }
        decoded
    }

    /// Takes a piece that starts between characters.
    #[inline]
    fn decode_whole<'a>(&mut self, chunk: &'a [u8]) -> Result<&'a str, InvalidUtf8> {
        let (whole, cut) = split_unfinished(chunk);
        // If `whole` ends inside a character, the first byte of `cut` is the impossible one.
        let text = str::from_utf8(whole).map_err(|_| InvalidUtf8)?;
        self.state = State::Between;
        if !cut.is_empty() {
            self.hold(cut)?;
        }
        Ok(text)
    }

    /// Takes a piece that starts inside the character of which `len` bytes are held.
    #[inline(never)]
    fn decode_joined<'a>(&mut self, len: u8, chunk: &'a [u8]) -> Result<TextPart<'a>, InvalidUtf8> {
        let [a, b, c] = self.held;
        let mut character = [a, b, c, 0];
        let (_, room) = character.split_at_mut(usize::from(len));
        let (head, _) = chunk.split_at(room.len().min(chunk.len()));
        for (slot, &byte) in room.iter_mut().zip(head) {
            *slot = byte;
        }
        let have = usize::from(len).saturating_add(head.len());
        let known = character.get(..have).unwrap_or_default();

        let Some(first) = known.utf8_chunks().next() else {
            return Ok(TextPart::default());
        };
        let Some(joined) = first.valid().chars().next() else {
            self.hold(known)?;
            return Ok(TextPart::default());
        };
        let taken = joined.len_utf8().saturating_sub(usize::from(len));
        let text = self.decode_whole(chunk.get(taken..).unwrap_or_default())?;
        Ok(TextPart {
            joined: Some(joined),
            text,
        })
    }

    /// Keeps the bytes of an unfinished character, provided that some character starts so.
    fn hold(&mut self, cut: &[u8]) -> Result<(), InvalidUtf8> {
        let possible = str::from_utf8(cut).is_err_and(|error| {
            // No length means that only the end of the input is wrong.
            error.valid_up_to() == 0 && error.error_len().is_none()
        });
        let len = u8::try_from(cut.len()).unwrap_or(u8::MAX);
        if !possible || len > 3 {
            return Err(InvalidUtf8);
        }
        for (slot, &byte) in self.held.iter_mut().zip(cut) {
            *slot = byte;
        }
        self.state = State::Inside(len);
        Ok(())
    }
}

/// The characters that a piece of text finished: `joined`, then `text`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextPart<'a> {
    /// The character that an earlier piece began, if this one ended it.
    pub joined: Option<char>,
    /// The characters that lie within this piece.
    pub text: &'a str,
}

/// The error of text that is not UTF-8 (RFC 6455 §8.1); close code 1007.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InvalidUtf8;

impl fmt::Display for InvalidUtf8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text that is not utf-8")
    }
}

impl Error for InvalidUtf8 {}

/// Splits off the last character if its lead byte announces more than there is.
#[inline]
fn split_unfinished(chunk: &[u8]) -> (&[u8], &[u8]) {
    let cut = match chunk {
        [.., 0xC0..=0xFF] => 1,
        [.., 0xE0..=0xFF, _] => 2,
        [.., 0xF0..=0xFF, _, _] => 3,
        _ => 0,
    };
    chunk.split_at(chunk.len().saturating_sub(cut))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "a test fails by panicking")]

    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// Where the first byte is that no valid text has in its place, by the standard library.
    fn first_impossible(bytes: &[u8]) -> Option<usize> {
        (0..bytes.len()).find(|&at| {
            str::from_utf8(&bytes[..=at]).is_err_and(|error| error.error_len().is_some())
        })
    }

    /// Pushes byte by byte; where that fails, or the text and whether it is complete.
    fn bytewise(bytes: &[u8]) -> Result<(String, bool), usize> {
        let (mut utf8, mut text) = (Utf8Validator::new(), String::new());
        for (at, byte) in bytes.iter().enumerate() {
            utf8.push_to(&[*byte], &mut text)
                .map_err(|InvalidUtf8| at)?;
        }
        Ok((text, utf8.is_complete()))
    }

    fn assert_as_std(bytes: &[u8]) {
        match first_impossible(bytes) {
            Some(at) => {
                assert_eq!(bytewise(bytes), Err(at), "{bytes:x?}");
                assert!(
                    Utf8Validator::new().push(&bytes[..at]).is_ok(),
                    "{bytes:x?}"
                );
                assert!(
                    Utf8Validator::new().push(&bytes[..=at]).is_err(),
                    "{bytes:x?}"
                );
                assert!(Utf8Validator::new().push(bytes).is_err(), "{bytes:x?}");
            }
            None => {
                let (text, complete) = bytewise(bytes).unwrap();
                assert_eq!(complete, str::from_utf8(bytes).is_ok(), "{bytes:x?}");
                assert!(bytes.starts_with(text.as_bytes()), "{bytes:x?}");
                assert!(bytes.len() - text.len() <= 3, "{bytes:x?}");
                assert!(Utf8Validator::new().push(bytes).is_ok(), "{bytes:x?}");
            }
        }
    }

    #[test]
    fn u1_an_impossible_byte_fails_at_once() {
        assert_eq!(bytewise(b"\xC3\x28"), Err(1));
        assert_eq!(bytewise(b"\xFF and a megabyte to come"), Err(0));
    }

    #[test]
    fn u2_a_character_may_come_in_three_pieces() {
        let (mut utf8, mut text) = (Utf8Validator::new(), String::new());
        for piece in [&b"\xE2"[..], b"", b"\x82", b"\xAC"] {
            assert_eq!(text, "");
            utf8.push_to(piece, &mut text).unwrap();
        }
        assert_eq!(text, "€");
        assert!(utf8.is_complete());
    }

    #[test]
    fn u3_an_end_inside_a_character_is_seen() {
        for cut in [&b"\xC3"[..], b"\xE2\x82", b"\xF0\x9F\x98"] {
            let mut utf8 = Utf8Validator::new();
            utf8.push(cut).unwrap();
            assert!(!utf8.is_complete());
        }
    }

    #[test]
    fn u4_the_first_impossible_byte_fails() {
        for (bytes, at) in [
            (&b"\xED\xA0\x80"[..], 1),
            (b"\xC0\xAF", 0),
            (b"\xE0\x80\x80", 1),
            (b"\xF0\x80\x80\x80", 1),
            (b"\xF4\x90\x80\x80", 1),
            (b"\xF5", 0),
            (b"\xFE", 0),
            (b"\xFF", 0),
            (b"\x80", 0),
            (b"\xE2\x82\x41", 2),
            (b"\xF0\x9F\x98\xE2", 3),
        ] {
            assert_eq!(bytewise(bytes), Err(at), "{bytes:x?}");
            assert_as_std(bytes);
        }
    }

    #[test]
    fn after_an_error_it_stays_failed() {
        let (mut utf8, mut text) = (Utf8Validator::new(), String::new());
        assert_eq!(utf8.push_to(b"a\xFF", &mut text), Err(InvalidUtf8));
        assert_eq!(utf8.push_to(b"b", &mut text), Err(InvalidUtf8));
        assert!(!utf8.is_complete());
        assert_eq!(text, "");
    }

    #[test]
    fn every_start_of_up_to_three_bytes_is_judged_as_by_std() {
        for a in 0..=u8::MAX {
            assert_as_std(&[a]);
            for b in 0..=u8::MAX {
                assert_as_std(&[a, b]);
                // Past the lead bytes only the class of a byte counts.
                for c in [
                    0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xE2, 0xF4, 0xFF,
                ] {
                    assert_as_std(&[a, b, c]);
                    assert_as_std(&[b'x', a, b, c, 0x80]);
                }
            }
        }
    }

    fn nearly_text() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            8 => any::<char>().prop_map(|c| c.encode_utf8(&mut [0; 4]).as_bytes().to_vec()),
            4 => "[a-zé€😀]{0,12}".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 1..3),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_as_by_std(bytes in nearly_text()) {
            assert_as_std(&bytes);
        }

        #[test]
        fn any_chunking_gives_the_same_text(
            bytes in nearly_text(),
            sizes in prop::collection::vec(0..9_usize, 1..8),
        ) {
            let (mut utf8, mut text) = (Utf8Validator::new(), String::new());
            let (mut rest, mut ok) = (&bytes[..], true);
            for size in sizes.iter().copied().chain([usize::MAX]) {
                let (piece, after) = rest.split_at(size.min(rest.len()));
                let before = bytes.len() - rest.len();
                rest = after;
                ok = utf8.push_to(piece, &mut text).is_ok();
                let seen = &bytes[..before + piece.len()];
                prop_assert_eq!(ok, first_impossible(seen).is_none());
                if !ok {
                    break;
                }
            }
            if ok {
                prop_assert_eq!(utf8.is_complete(), str::from_utf8(&bytes).is_ok());
                prop_assert!(bytes.starts_with(text.as_bytes()));
            }
        }
    }
}
