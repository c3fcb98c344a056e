//! One timer per connection, moved as seldom as possible.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep};

/// Sleeps until a deadline that may change at any time.
///
/// A deadline that moves earlier moves the timer at once. One that moves later does not: the timer
/// fires at the old time and goes on from there, so a deadline that moves with each message costs
/// one timer operation per interval and not one per message.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// Tells whether whoever polled last is woken no later than at `deadline`.
    pub(crate) fn covers(&self, deadline: Instant) -> bool {
        self.sleep
            .as_ref()
            .is_some_and(|sleep| sleep.deadline() <= deadline)
    }

    /// Is ready once `deadline` has come; until then `cx` is woken no later than that.
    pub(crate) fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if deadline < sleep.deadline() {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}
