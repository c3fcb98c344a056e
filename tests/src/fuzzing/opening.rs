//! The heap of one end of an opening handshake.

use crate::alloc::{Budget, max_growths};

/// Counts what one end of a handshake allocates, and checks after each call that it holds, and held
/// at any time, at most twice what arrived and the base. What it hands out belongs to it until it
/// is dropped in [`call`](Self::call).
#[derive(Debug)]
pub(super) struct Opening {
    budget: Budget,
}

impl Opening {
    /// Makes one end, and starts with what that allocated.
    #[track_caller]
    pub(super) fn making<T>(make: impl FnOnce() -> T) -> (T, Self) {
        let mut opening = Self {
            budget: Budget::new(),
        };
        let made = opening.call(make);
        (made, opening)
    }

    /// Hands over `piece` by `call`, which tells how much was taken.
    #[track_caller]
    pub(super) fn input(&mut self, piece: &[u8], call: impl FnOnce(&[u8]) -> usize) -> usize {
        let taken = self.budget.count(|| call(piece));
        self.budget.arrived(taken);
        self.check();
        taken
    }

    /// Makes another call.
    #[track_caller]
    pub(super) fn call<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let result = self.budget.count(call);
        self.check();
        result
    }

    #[track_caller]
    fn check(&mut self) {
        let arrived = self.budget.bytes_arrived();
        self.budget.check();
        self.budget.check_peak(0);
        let growths = self.budget.usage().growths;
        let allowed = max_growths(arrived);
        assert!(
            growths <= allowed,
            "{growths} reallocations for a head of {arrived} bytes"
        );
    }
}
