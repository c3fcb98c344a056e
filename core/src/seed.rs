//! Where unpredictability comes from.

use core::fmt;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};

/// Thirty-two bytes of entropy from which a connection draws everything it must not
/// let others guess: masking keys (RFC 6455 §10.3), the handshake nonce, ping nonces
/// and jitter.
///
/// The core has no source of its own: an adapter fills it from the operating system, once
/// a connection. The same seed and the same calls give the same bytes, events and deadlines,
/// so a seed must never serve two connections outside a test.
///
/// ```
/// use wspulse_core::Seed;
///
/// let from_the_os = [7; 32]; // getrandom::fill(&mut bytes)
/// let seed = Seed::new(from_the_os);
/// assert_eq!(format!("{seed:?}"), "Seed(..)");
/// ```
pub struct Seed([u8; 32]);

impl Seed {
    /// Takes 32 bytes from a cryptographically secure source.
    #[must_use]
    pub const fn new(entropy: [u8; 32]) -> Self {
        Self(entropy)
    }

    /// Returns a seed that anybody can guess, for tests and replays.
    #[must_use]
    pub fn predictable_for_tests(number: u64) -> Self {
        let mut entropy = [0; 32];
        for (byte, value) in entropy.iter_mut().zip(number.to_le_bytes()) {
            *byte = value;
        }
        Self(entropy)
    }

    pub(crate) fn into_rng(self) -> SeedRng {
        SeedRng(ChaCha20Rng::from_seed(self.0))
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// The stream of numbers that a [`Seed`] unfolds into.
pub(crate) struct SeedRng(ChaCha20Rng);

impl SeedRng {
    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub(crate) fn next_mask(&mut self) -> [u8; 4] {
        self.0.next_u32().to_ne_bytes()
    }

    pub(crate) fn nonce(&mut self) -> [u8; 16] {
        let mut nonce = [0; 16];
        self.0.fill_bytes(&mut nonce);
        nonce
    }

    #[cfg(feature = "explore")]
    pub(crate) fn fork(&self) -> Self {
        Self(ChaCha20Rng::deserialize_state(&self.0.serialize_state()))
    }
}

impl fmt::Debug for SeedRng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeedRng(..)")
    }
}
