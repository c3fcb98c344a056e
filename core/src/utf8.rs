//! UTF-8 that arrives in pieces.

use alloc::string::String;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

#[cfg(not(feature = "simd"))]
use twin::Text;
#[cfg(not(feature = "simd"))]
pub(crate) use twin::into_string;
#[cfg(feature = "simd")]
use wspulse_text::Text;
#[cfg(feature = "simd")]
pub(crate) use wspulse_text::into_string;

use crate::frame::mask;

/// Text that arrives cut anywhere, and fails in the piece with the first byte that no valid text
/// could have in its place (RFC 6455 §8.1, RFC 3629 §4).
///
/// After an error it stays failed.
///
/// ```
/// use wspulse_core::utf8::TextBuffer;
///
/// let mut text = TextBuffer::new();
/// text.push(b"5 \xE2\x82", None)?;
/// assert!(!text.is_complete());
/// text.push(b"\xAC", None)?;
/// assert!(text.is_complete());
/// assert_eq!(text.finish()?, "5 €");
///
/// let half_a_surrogate = TextBuffer::new().push(b"\xED\xA0", None);
/// assert!(half_a_surrogate.is_err()); // known at its second byte
/// # Ok::<(), wspulse_core::utf8::InvalidUtf8>(())
/// ```
#[derive(Clone, Default, Hash)]
pub struct TextBuffer(Text);

impl TextBuffer {
    /// Returns a buffer at the start of a text.
    #[must_use]
    pub const fn new() -> Self {
        Self(Text::new())
    }

    /// Returns how many bytes are held.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether no byte is held.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns how many bytes can be held without another allocation.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// Makes room for `more` bytes beyond those held, and no more than that.
    pub fn reserve_exact(&mut self, more: usize) {
        self.0.reserve_exact(more);
    }

    /// Goes on in another buffer, whose bytes are overwritten.
    pub fn move_to(&mut self, buffer: Vec<u8>) {
        self.0.move_to(buffer);
    }

    /// Tells whether the text could end here: no character is unfinished and nothing failed.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.0.is_complete()
    }

    /// Appends the next piece of the text, unmasked with `mask` on the way.
    ///
    /// # Errors
    ///
    /// Fails if the text so far cannot be the start of valid UTF-8; close code 1007.
    pub fn push(&mut self, piece: &[u8], mask: Option<[u8; 4]>) -> Result<(), InvalidUtf8> {
        let is_possible = self.0.push_with(|tail| match mask {
            Some(mask) => mask::append(tail, piece, mask),
            None => tail.extend_from_slice(piece),
        });
        if is_possible {
            Ok(())
        } else {
            Err(InvalidUtf8)
        }
    }

    /// Takes the whole characters that are there.
    #[must_use]
    pub fn take(&mut self) -> String {
        self.0.take()
    }

    /// Ends the text.
    ///
    /// # Errors
    ///
    /// Fails if it ends inside a character, or failed before.
    pub fn finish(self) -> Result<String, InvalidUtf8> {
        self.0.finish().ok_or(InvalidUtf8)
    }
}

/// The length and none of the bytes, which can be anybody's secret.
impl fmt::Debug for TextBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextBuffer")
            .field("len", &self.len())
            .field("is_complete", &self.is_complete())
            .finish_non_exhaustive()
    }
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

#[cfg(not(feature = "simd"))]
mod twin;

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "a test fails by panicking")]

    use alloc::vec::Vec;
    use core::str;

    use proptest::prelude::*;

    use super::*;

    /// Where the first byte is that no valid text has in its place, by the standard library.
    fn first_impossible(bytes: &[u8]) -> Option<usize> {
        (0..bytes.len()).find(|&at| {
            str::from_utf8(&bytes[..=at]).is_err_and(|error| error.error_len().is_some())
        })
    }

    fn pushed(bytes: &[u8]) -> Result<TextBuffer, InvalidUtf8> {
        let mut text = TextBuffer::new();
        text.push(bytes, None).map(|()| text)
    }

    /// Pushes byte by byte; where that fails, or what is held.
    fn bytewise(bytes: &[u8]) -> Result<TextBuffer, usize> {
        let mut text = TextBuffer::new();
        for (at, byte) in bytes.iter().enumerate() {
            text.push(&[*byte], None).map_err(|InvalidUtf8| at)?;
        }
        Ok(text)
    }

    fn assert_fails_at(bytes: &[u8], expected: usize) {
        assert_eq!(bytewise(bytes).err(), Some(expected), "{bytes:x?}");
    }

    fn assert_as_std(bytes: &[u8]) {
        match first_impossible(bytes) {
            Some(at) => {
                assert_fails_at(bytes, at);
                assert!(pushed(&bytes[..at]).is_ok(), "{bytes:x?}");
                assert!(pushed(&bytes[..=at]).is_err(), "{bytes:x?}");
                assert!(pushed(bytes).is_err(), "{bytes:x?}");
            }
            None => {
                for mut text in [bytewise(bytes).unwrap(), pushed(bytes).unwrap()] {
                    assert_eq!(text.is_complete(), str::from_utf8(bytes).is_ok());
                    let whole = text.take();
                    assert!(bytes.starts_with(whole.as_bytes()), "{bytes:x?}");
                    assert_eq!(bytes.len() - whole.len(), text.len(), "{bytes:x?}");
                    assert!(text.len() <= 3, "{bytes:x?}");
                }
            }
        }
    }

    #[test]
    fn u1_an_impossible_byte_fails_at_once() {
        assert_fails_at(b"\xC3\x28", 1);
        assert_fails_at(b"\xFF and a megabyte to come", 0);
    }

    #[test]
    fn u2_a_character_may_come_in_three_pieces() {
        let mut text = TextBuffer::new();
        for piece in [&b"\xE2"[..], b"", b"\x82", b"\xAC"] {
            assert_eq!(text.take(), "");
            text.push(piece, None).unwrap();
        }
        assert!(text.is_complete());
        assert_eq!(text.finish().unwrap(), "€");
    }

    #[test]
    fn u3_an_end_inside_a_character_is_seen() {
        for cut in [&b"\xC3"[..], b"\xE2\x82", b"\xF0\x9F\x98"] {
            let text = pushed(cut).unwrap();
            assert!(!text.is_complete());
            assert_eq!(text.finish(), Err(InvalidUtf8));
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
            assert_fails_at(bytes, at);
            assert_as_std(bytes);
        }
    }

    #[test]
    fn after_an_error_it_stays_failed() {
        let mut text = TextBuffer::new();
        assert_eq!(text.push(b"a\xFF", None), Err(InvalidUtf8));
        assert_eq!(text.push(b"b", None), Err(InvalidUtf8));
        assert!(!text.is_complete());
        assert_eq!(text.finish(), Err(InvalidUtf8));
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
            mask in any::<Option<[u8; 4]>>(),
        ) {
            let mut text = TextBuffer::new();
            let (mut rest, mut ok) = (&bytes[..], true);
            for size in sizes.iter().copied().chain([usize::MAX]) {
                let (piece, after) = rest.split_at(size.min(rest.len()));
                let before = bytes.len() - rest.len();
                rest = after;
                let sent: Vec<u8> = match mask {
                    Some(key) => piece.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k).collect(),
                    None => piece.to_vec(),
                };
                ok = text.push(&sent, mask).is_ok();
                let seen = &bytes[..before + piece.len()];
                prop_assert_eq!(ok, first_impossible(seen).is_none());
                if !ok {
                    break;
                }
            }
            if ok {
                prop_assert_eq!(text.finish().ok(), String::from_utf8(bytes).ok());
            }
        }
    }
}
