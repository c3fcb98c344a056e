//! UTF-8 for `wspulse-core`'s feature `simd`: what its safe twin in `core/src/utf8.rs` does with the
//! standard library, here with vectors and without a second look at what was looked at.
//!
//! The core itself has no `unsafe`; all of it is here.

/// Bytes of a text that arrives cut anywhere.
///
/// ```
/// let mut text = wspulse_text::Text::new();
/// assert!(text.push_with(|tail| tail.extend_from_slice(b"5 \xE2\x82")));
/// assert!(!text.is_complete());
/// assert!(text.push_with(|tail| tail.extend([0xAC])));
/// assert_eq!(text.finish(), Some("5 €".to_owned()));
/// ```
#[derive(Clone, Default, Hash)]
pub struct Text {
    bytes: Vec<u8>,
    /// So many bytes are UTF-8; nobody but [`push_with`](Self::push_with) says so.
    whole: usize,
}

/// The end of a [`Text`], to append to and nothing else.
#[derive(Debug)]
pub struct Tail<'a>(&'a mut Vec<u8>);

impl Tail<'_> {
    /// Appends bytes.
    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

impl Extend<u8> for Tail<'_> {
    #[inline]
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.0.extend(bytes);
    }
}

impl Text {
    /// Returns an empty text.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            whole: 0,
        }
    }

    /// Returns how many bytes are held.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Tells whether no byte is held.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns how many bytes can be held without another allocation.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Makes room for `more` bytes beyond those held, and no more than that.
    pub fn reserve_exact(&mut self, more: usize) {
        self.bytes.reserve_exact(more);
    }

    /// Goes on in another buffer, whose bytes are overwritten.
    pub fn move_to(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        buffer.extend_from_slice(&self.bytes);
        self.bytes = buffer;
    }

    /// Tells whether all bytes held are whole characters.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.whole == self.bytes.len()
    }

    /// Has `append` add what came, and tells whether a text can begin so. If not, it stays wrong.
    pub fn push_with(&mut self, append: impl FnOnce(&mut Tail<'_>)) -> bool {
        append(&mut Tail(&mut self.bytes));
        let unseen = self.bytes.get(self.whole..).unwrap_or_default();
        let whole = whole_characters(unseen);
        self.whole += whole.unwrap_or(0);
        whole.is_some()
    }

    /// Takes the whole characters that are there.
    #[must_use]
    pub fn take(&mut self) -> String {
        let cut = self.bytes.split_off(self.whole);
        let whole = std::mem::replace(&mut self.bytes, cut);
        self.whole = 0;
        // SAFETY: `push_with` found the first `whole` bytes to be UTF-8, and nothing since has done
        // more than to append to them, to move them, or to take all of them away.
        unsafe { String::from_utf8_unchecked(whole) }
    }

    /// Ends the text; `None` if it ends inside a character or is wrong.
    #[must_use]
    pub fn finish(mut self) -> Option<String> {
        self.is_complete().then(|| self.take())
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Text")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// Turns bytes into the text that they are; `None` if they are not UTF-8.
#[inline]
#[must_use]
pub fn into_string(bytes: Vec<u8>) -> Option<String> {
    // Short text is mostly ASCII, which a look at a few words tells.
    if bytes.len() >= SHORT || !bytes.is_ascii() {
        simdutf8::basic::from_utf8(&bytes).ok()?;
    }
    // SAFETY: the lines above have just found `bytes` to be UTF-8, or ASCII, which is UTF-8.
    Some(unsafe { String::from_utf8_unchecked(bytes) })
}

/// Vectors are worth their while from this length on.
const SHORT: usize = 64;

/// Returns how many bytes are whole characters; those behind begin one that is cut off. `None` if
/// no text begins so.
fn whole_characters(bytes: &[u8]) -> Option<usize> {
    match simdutf8::compat::from_utf8(bytes) {
        Ok(_) => Some(bytes.len()),
        Err(error) if error.error_len().is_none() => Some(error.valid_up_to()),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The safe twin.
    fn naive(bytes: &[u8]) -> Option<usize> {
        match str::from_utf8(bytes) {
            Ok(_) => Some(bytes.len()),
            Err(error) if error.error_len().is_none() => Some(error.valid_up_to()),
            Err(_) => None,
        }
    }

    fn nearly_text() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            8 => any::<char>().prop_map(|c| c.to_string().into_bytes()),
            4 => "[a-zé€😀]{0,90}".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 1..3),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_as_by_the_safe_twin(
            bytes in nearly_text(),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = &bytes[..cut.index(bytes.len() + 1)];
            prop_assert_eq!(whole_characters(bytes), naive(bytes));
            let expected = String::from_utf8(bytes.to_vec()).ok();
            prop_assert_eq!(into_string(bytes.to_vec()), expected);
        }
    }
}
