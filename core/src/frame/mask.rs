//! Masking and unmasking, which are the same (RFC 6455 §5.3).
//!
//! ```
//! use wspulse_core::frame::mask;
//!
//! let key = [0x37, 0xfa, 0x21, 0x3d];
//! let mut data = *b"Hello";
//! mask::apply(&mut data, key);
//! assert_eq!(data, [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
//!
//! let mut text = Vec::new();
//! mask::extend(&mut text, &data[..3], key);
//! mask::extend(&mut text, &data[3..], mask::rotate(key, 3));
//! assert_eq!(text, b"Hello");
//! ```

use alloc::vec::Vec;

/// Masks or unmasks `data`, whose first byte meets the first byte of `mask`.
#[inline]
pub fn apply(data: &mut [u8], mask: [u8; 4]) {
    let (words, rest) = data.as_chunks_mut::<4>();
    for word in words {
        *word = xor(*word, mask);
    }
    for (byte, key) in rest.iter_mut().zip(mask) {
        *byte ^= key;
    }
}

/// Returns `mask` as the byte `n` places further on meets it.
#[must_use]
#[inline]
pub const fn rotate(mask: [u8; 4], n: usize) -> [u8; 4] {
    let [a, b, c, d] = mask;
    match n % 4 {
        0 => [a, b, c, d],
        1 => [b, c, d, a],
        2 => [c, d, a, b],
        _ => [d, a, b, c],
    }
}

/// Appends `src` to `dst`, masked or unmasked on the way; the first byte of `src` meets the first
/// byte of `mask`.
pub fn extend(dst: &mut Vec<u8>, src: &[u8], mask: [u8; 4]) {
    dst.reserve(src.len());
    append(dst, src, mask);
}

/// Returns `src` masked or unmasked, in one allocation of its length.
#[inline]
pub(crate) fn masked(src: &[u8], mask: [u8; 4]) -> Vec<u8> {
    // One chain of known length, so that nothing asks for room on the way: 20 instructions less for
    // a short message than `append`, which asks for each of its parts.
    let (blocks, rest) = src.as_chunks::<16>();
    let (words, rest) = rest.as_chunks::<4>();
    let blocks = blocks.iter().flat_map(|block| xor_block(*block, mask));
    let words = words.iter().flat_map(|word| xor(*word, mask));
    let rest = rest.iter().zip(mask).map(|(byte, key)| byte ^ key);
    blocks.chain(words).chain(rest).collect()
}

/// As [`extend`], where there is room already.
///
/// One pass over the memory, and room for all blocks is asked for at once: block by block, each one
/// would wait for the length that the one before has stored, which takes twice the time of a copy.
#[inline]
pub(crate) fn append(dst: &mut impl Extend<u8>, src: &[u8], mask: [u8; 4]) {
    let (blocks, rest) = src.as_chunks::<16>();
    let (words, rest) = rest.as_chunks::<4>();
    dst.extend(blocks.iter().flat_map(|block| xor_block(*block, mask)));
    dst.extend(words.iter().flat_map(|word| xor(*word, mask)));
    let [k, l, m, _] = mask;
    match *rest {
        [a] => dst.extend([a ^ k]),
        [a, b] => dst.extend([a ^ k, b ^ l]),
        [a, b, c] => dst.extend([a ^ k, b ^ l, c ^ m]),
        _ => {}
    }
}

#[inline]
fn xor_block(mut block: [u8; 16], mask: [u8; 4]) -> [u8; 16] {
    apply(&mut block, mask);
    block
}

#[inline]
const fn xor(data: [u8; 4], mask: [u8; 4]) -> [u8; 4] {
    (u32::from_ne_bytes(data) ^ u32::from_ne_bytes(mask)).to_ne_bytes()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    fn naive(data: &[u8], mask: [u8; 4]) -> Vec<u8> {
        data.iter()
            .zip(mask.iter().cycle())
            .map(|(byte, key)| byte ^ key)
            .collect()
    }

    fn assert_as_naive(data: &[u8], mask: [u8; 4]) {
        let expected = naive(data, mask);
        let mut applied = data.to_vec();
        apply(&mut applied, mask);
        assert_eq!(applied, expected, "{} bytes", data.len());

        let mut extended = Vec::from(*b"before");
        extend(&mut extended, data, mask);
        assert_eq!(
            extended,
            [b"before", &*expected].concat(),
            "{} bytes",
            data.len()
        );
    }

    #[test]
    fn every_length_at_every_alignment_is_masked_as_by_the_naive_loop() {
        let bytes: Vec<u8> = (0..=255)
            .cycle()
            .map(|n: u8| n.wrapping_mul(167))
            .take(200)
            .collect();
        for start in 0..64 {
            for len in 0..=100 {
                assert_as_naive(&bytes[start..start + len], [0x01, 0x80, 0xFE, 0x37]);
            }
        }
    }

    #[test]
    fn long_payloads_are_masked_as_by_the_naive_loop() {
        let bytes: Vec<u8> = (0..=255).cycle().take(40_000).collect();
        for len in [255, 256, 257, 4_095, 4_096, 4_097, 8_191, 16_385, 39_999] {
            assert_as_naive(&bytes[..len], [0x01, 0x80, 0xFE, 0x37]);
        }
    }

    proptest! {
        #[test]
        fn masking_in_two_parts_with_a_rotated_key_is_masking_at_once(
            data in prop::collection::vec(any::<u8>(), 0..200),
            mask in any::<[u8; 4]>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let cut = cut.index(data.len() + 1);
            let mut parts = Vec::new();
            extend(&mut parts, &data[..cut], mask);
            extend(&mut parts, &data[cut..], rotate(mask, cut));
            prop_assert_eq!(parts, naive(&data, mask));
        }

        #[test]
        fn rotations_add_up(mask in any::<[u8; 4]>(), a in 0..1_000_usize, b in 0..1_000_usize) {
            prop_assert_eq!(rotate(rotate(mask, a), b), rotate(mask, a + b));
            prop_assert_eq!(rotate(mask, 4 * a), mask);
        }
    }
}
