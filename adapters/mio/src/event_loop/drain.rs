//! An end in good order.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::handler::{ConnectionId, DrainReport};
use crate::clock::after_by;

/// A drain under way.
#[derive(Debug)]
pub(crate) struct Drain {
    waiting: VecDeque<ConnectionId>,
    began: Instant,
    spread: Duration,
    deadline: Instant,
    is_cut: bool,
    asked: usize,
    /// Those that were cut, but for who had closed in order by then.
    cut: BTreeSet<ConnectionId>,
}

impl Drain {
    pub(crate) fn new(ids: Vec<ConnectionId>, spread: Duration, wait: Duration) -> Self {
        let began = Instant::now();
        Self {
            began,
            spread,
            deadline: after_by(began, wait),
            is_cut: false,
            asked: ids.len(),
            cut: BTreeSet::new(),
            waiting: ids.into(),
        }
    }

    /// Ends no later than `wait` from now says, and asks no later than `spread` does.
    pub(crate) fn hurry(&mut self, spread: Duration, wait: Duration) {
        let now = Instant::now();
        self.deadline = self.deadline.min(after_by(now, wait));
        let elapsed = now.saturating_duration_since(self.began);
        self.spread = self.spread.min(elapsed.saturating_add(spread));
    }

    /// Returns who is to be asked to go by now.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<ConnectionId> {
        if self.next_ask()? > now && self.deadline > now {
            return None;
        }
        self.waiting.pop_front()
    }

    /// Returns when something is to be done.
    pub(crate) fn next(&self) -> Option<Instant> {
        if self.is_cut {
            return None;
        }
        let ask = self.next_ask().unwrap_or(self.deadline);
        Some(ask.min(self.deadline))
    }

    /// When the next one is asked: evenly spread.
    fn next_ask(&self) -> Option<Instant> {
        let left = u32::try_from(self.waiting.len()).ok().filter(|n| *n > 0)?;
        let all = u32::try_from(self.asked).ok()?;
        let share = self.spread / all;
        Some(after_by(self.began, share * (all - left)))
    }

    /// Tells, once, that the time is up for those who are left.
    pub(crate) fn is_time_to_cut(&mut self, now: Instant) -> bool {
        let is_due = !self.is_cut && self.waiting.is_empty() && self.deadline <= now;
        self.is_cut |= is_due;
        is_due
    }

    pub(crate) fn note_cut(&mut self, id: ConnectionId) {
        self.cut.insert(id);
    }

    /// A connection is over, and closed in order: if it was cut, there was nothing to cut but its
    /// stream.
    pub(crate) fn note_in_order(&mut self, id: ConnectionId) {
        self.cut.remove(&id);
    }

    pub(crate) fn into_report(self) -> DrainReport {
        DrainReport {
            asked: self.asked,
            cut: self.cut.into_iter().collect(),
        }
    }
}
