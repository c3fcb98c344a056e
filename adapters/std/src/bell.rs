//! A condition variable that costs a system call only where somebody waits.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, MutexGuard, PoisonError};
use std::time::Duration;

/// Wakes the threads that wait for what one lock guards.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    condvar: Condvar,
    /// Counted under the lock.
    waiting: AtomicU32,
}

impl Bell {
    /// Waits until the bell rings, at most for `limit`. May return without a reason.
    pub(crate) fn wait<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        limit: Option<Duration>,
    ) -> MutexGuard<'a, T> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let guard = match limit {
            None => self
                .condvar
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner),
            Some(limit) => {
                let waited = self.condvar.wait_timeout(guard, limit);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        guard
    }

    /// Wakes whoever waits. To be called by who has changed something under the lock, or holds it
    /// still: who looked before that was counted before that, and who looks later sees it.
    pub(crate) fn ring(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.condvar.notify_all();
        }
    }
}
