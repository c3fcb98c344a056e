//! The heap of one end of an opening handshake.

use super::known::{Excused, Finding, lists_of_handshake};
use crate::alloc::{Budget, max_growths};

/// Counts what one end of a handshake allocates, and checks after each call that it holds, and held
/// at any time, at most twice what arrived and the base. What it hands out belongs to it until it
/// is dropped in [`call`](Self::call).
///
/// Excused are the lists that a whole head is read into ([`Finding::C15`]).
#[derive(Debug)]
pub(super) struct Opening {
    budget: Budget,
    excused: Excused,
    /// The end of the last piece, at most as long as the end of a head without its last byte.
    tail: Vec<u8>,
    has_end: bool,
}

impl Opening {
    /// Makes one end, and starts with what that allocated.
    #[track_caller]
    pub(super) fn making<T>(excused: Excused, make: impl FnOnce() -> T) -> (T, Self) {
        let mut opening = Self {
            budget: Budget::new(),
            excused,
            tail: Vec::new(),
            has_end: false,
        };
        let made = opening.call(make);
        (made, opening)
    }

    /// Hands over `piece` by `call`, which tells how much was taken.
    #[track_caller]
    pub(super) fn input(&mut self, piece: &[u8], call: impl FnOnce(&[u8]) -> usize) -> usize {
        self.tail.extend_from_slice(piece);
        self.has_end |= self.tail.windows(END.len()).any(|part| part == END);
        let kept = self.tail.len().saturating_sub(END.len() - 1);
        self.tail.drain(..kept);
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
        let lists = if self.has_end {
            lists_of_handshake(arrived)
        } else {
            0
        };
        let lists = self.excused.allow(Finding::C15, lists);
        self.budget.set_exceptions(lists);
        self.budget.check();
        self.budget.check_peak(0);
        let growths = self.budget.usage().growths;
        let allowed = max_growths(arrived.max(lists));
        assert!(
            growths <= allowed,
            "{growths} reallocations for a head of {arrived} bytes"
        );
    }
}

const END: &[u8] = b"\r\n\r\n";
