//! What the engine does wrong today, by the number of its finding.
//!
//! A target excuses exactly this, so that it stays green and finds what is new. For each finding
//! a test keeps an input that fails where the finding is not excused: the list fails once the
//! engine does right, and then the excuse goes.

/// A fault that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A compressed message without a byte of payload is invalid, where an empty one was meant.
    I1,
    /// Compressed messages that wait to be sent hold room for half of their uncompressed length.
    C1,
    /// A buffer grows once for each fragment, and does not double.
    C2,
    /// The lists of a handshake hold many times what arrived.
    C15,
    /// A first delay above the cap is not capped, and a Retry-After can be for ever.
    C20,
    /// A server's window for the client that is larger than the client's hint is refused.
    C23,
    /// Legal requests that are refused: see `refusal`.
    C27,
    /// A compressed message that is cut inside a block is taken, with bytes made of the tail, where
    /// the tail happens to end that block in the middle of its last byte.
    Z1,
}

/// What the lists of a handshake hold beside its budget where [`Finding::C15`] is excused: an entry
/// of 32 bytes for a list element of two.
#[must_use]
pub const fn lists_of_handshake(arrived: u64) -> u64 {
    32 * arrived
}

/// The findings that a run excuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excused(u32);

impl Excused {
    /// All of them, as the targets do.
    pub const ALL: Self = Self(u32::MAX);

    /// All but `finding`.
    #[must_use]
    pub const fn all_but(finding: Finding) -> Self {
        Self(!(1 << finding as u32))
    }

    /// Tells whether `finding` is excused.
    #[must_use]
    pub const fn has(self, finding: Finding) -> bool {
        self.0 & 1 << finding as u32 != 0
    }

    /// Returns `excuse` where `finding` is excused, otherwise nothing.
    #[must_use]
    pub const fn allow(self, finding: Finding, excuse: u64) -> u64 {
        if self.has(finding) { excuse } else { 0 }
    }
}
