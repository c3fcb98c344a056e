//! Who waits for a connection: one task that receives, one that sends.
//!
//! Most connections have one task for both. After a `split`, two tasks poll the same connection,
//! and each turn of its loop reads and writes: what one of them moves, the other may wait for, and
//! the waker that one of them leaves with the stream replaces the other's. So each side's waker is
//! kept here, the stream gets one that wakes both, and who moves something wakes the other.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// What a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// An event.
    Receive,
    /// Room in the queue, or that it has left.
    Send,
}

/// The wakers of those who wait.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    receiver: Option<Waker>,
    sender: Option<Waker>,
}

impl Waiters {
    /// Returns a waker for both sides if the other one waits in another task.
    pub(crate) fn joined(&self, side: Side, cx: &Context<'_>) -> Option<Waker> {
        let other = self.slot(side.other()).as_ref()?;
        let joined = || Waker::from(Arc::new(Both(other.clone(), cx.waker().clone())));
        (!other.will_wake(cx.waker())).then(joined)
    }

    /// Notes whether `side` waits from now on.
    pub(crate) fn note<T>(&mut self, side: Side, result: &Poll<T>, cx: &Context<'_>) {
        let slot = self.slot_mut(side);
        match (result, &slot) {
            (Poll::Ready(_), _) => *slot = None,
            (Poll::Pending, Some(waker)) if waker.will_wake(cx.waker()) => {}
            (Poll::Pending, _) => *slot = Some(cx.waker().clone()),
        }
    }

    /// Tells whether a task waits on `side`.
    pub(crate) fn is_waiting(&self, side: Side) -> bool {
        self.slot(side).is_some()
    }

    /// Wakes whoever waits on `side`.
    pub(crate) fn wake(&mut self, side: Side) {
        if let Some(waker) = self.slot_mut(side).take() {
            waker.wake();
        }
    }

    fn slot(&self, side: Side) -> &Option<Waker> {
        match side {
            Side::Receive => &self.receiver,
            Side::Send => &self.sender,
        }
    }

    fn slot_mut(&mut self, side: Side) -> &mut Option<Waker> {
        match side {
            Side::Receive => &mut self.receiver,
            Side::Send => &mut self.sender,
        }
    }
}

impl Side {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Receive => Self::Send,
            Self::Send => Self::Receive,
        }
    }
}

struct Both(Waker, Waker);

impl Wake for Both {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake_by_ref();
        self.1.wake_by_ref();
    }
}
