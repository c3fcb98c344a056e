//! Payloads that show when a byte is missing, doubled or out of place.

use bytes::Bytes;

/// Makes a payload of `size` bytes that do not repeat.
#[must_use]
pub fn content(size: usize) -> Bytes {
    let mut state = 1_u64;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        state.to_be_bytes()
    });
    words.flatten().take(size).collect()
}

/// What bytes come to, in their order and however they are cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// Takes the next bytes in.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |digest, byte| {
            digest
                .wrapping_mul(0x0100_0000_01B3)
                .wrapping_add(u64::from(*byte) + 1)
        });
    }

    /// Returns the number.
    #[must_use]
    pub fn value(self) -> u64 {
        self.0
    }
}

/// Returns what these bytes come to.
#[must_use]
pub fn digest(bytes: &[u8]) -> u64 {
    let mut digest = Digest::default();
    digest.add(bytes);
    digest.value()
}
