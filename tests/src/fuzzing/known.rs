//! What the engine does wrong today, by the number of its finding.
//!
//! A target excuses exactly this, so that it stays green and finds what is new. For each finding
//! a test keeps an input that fails where the finding is not excused: the list fails once the
//! engine does right, and then the excuse goes.

/// A fault that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// While an event waits nothing is read: pings are not answered, death is not found, and a
    /// failed write does not end the connection, which waits for a read that finds nothing.
    A6,
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
}
