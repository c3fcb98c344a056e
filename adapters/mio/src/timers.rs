//! One queue for all deadlines, in which traffic moves nothing.

use std::time::Instant;

/// The deadlines of many connections, earliest first.
///
/// Deadlines are lazy. A connection under traffic puts its deadline off all the time, and its
/// entry here stays where it is: when it fires, the connection is asked again and armed for what
/// it then says. Only a deadline that moves *earlier* than the armed one moves its entry. So a
/// busy connection costs this queue nothing, and a silent one one entry an interval, each in
/// O(log n).
///
/// Keys are small numbers, such as those of a slab: each takes one word, up to the largest.
///
/// ```
/// use std::time::{Duration, Instant};
/// use wspulse_mio::Timers;
///
/// let mut timers = Timers::new();
/// let now = Instant::now();
/// let secs = Duration::from_secs;
/// timers.arm(7, now + secs(20));
/// timers.arm(7, now + secs(30)); // put off: nothing moves
/// assert_eq!(timers.next(), Some(now + secs(20)));
///
/// // It fires, and connection 7 says that it is not due before:
/// assert_eq!(timers.pop(now + secs(20)), Some(7));
/// timers.arm(7, now + secs(30));
/// assert_eq!(timers.pop(now + secs(20)), None);
/// ```
#[derive(Debug, Default)]
pub struct Timers {
    /// A binary heap, the earliest first.
    heap: Vec<(Instant, usize)>,
    /// Where in the heap each key's entry is; `NOWHERE` without one.
    places: Vec<u32>,
    counts: TimerCounts,
}

/// What a [`Timers`] did since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimerCounts {
    /// Entries that were added.
    pub added: u64,
    /// Entries that moved, to an earlier time.
    pub moved: u64,
    /// Entries that fired.
    pub fired: u64,
    /// Entries that were taken out before they fired.
    pub cancelled: u64,
}

impl Timers {
    /// Makes an empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sees to it that `key` fires at `deadline` or before. Does nothing if it is armed for an
    /// earlier time already.
    pub fn arm(&mut self, key: usize, deadline: Instant) {
        let Some(place) = self.place(key) else {
            if self.places.len() <= key {
                self.places.resize(key + 1, NOWHERE);
            }
            self.counts.added += 1;
            self.heap.push((deadline, key));
            self.rise(self.heap.len() - 1);
            return;
        };
        if deadline < self.heap[place].0 {
            self.counts.moved += 1;
            self.heap[place].0 = deadline;
            self.rise(place);
        }
    }

    /// Takes the entry of `key` out, if it has one.
    pub fn cancel(&mut self, key: usize) {
        if let Some(place) = self.place(key) {
            self.counts.cancelled += 1;
            self.remove(place);
        }
    }

    /// Returns when the earliest entry fires.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.heap.first().map(|(deadline, _)| *deadline)
    }

    /// Takes out an entry that is due at `now`. Ask whose it is for its deadline, and
    /// [`arm`](Self::arm) it again.
    pub fn pop(&mut self, now: Instant) -> Option<usize> {
        let (deadline, key) = *self.heap.first()?;
        if deadline > now {
            return None;
        }
        self.counts.fired += 1;
        self.remove(0);
        Some(key)
    }

    /// Returns when `key` fires, if it is armed.
    #[must_use]
    pub fn armed(&self, key: usize) -> Option<Instant> {
        self.place(key).map(|place| self.heap[place].0)
    }

    /// Returns how many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Tells whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Returns what was done so far.
    #[must_use]
    pub const fn counts(&self) -> TimerCounts {
        self.counts
    }

    fn place(&self, key: usize) -> Option<usize> {
        let place = *self.places.get(key)?;
        (place != NOWHERE).then_some(place as usize)
    }

    fn remove(&mut self, place: usize) {
        let (_, key) = self.heap.swap_remove(place);
        self.places[key] = NOWHERE;
        if place < self.heap.len() {
            // What came from the end may belong further up or further down.
            self.rise(place);
            self.sink(place);
        }
    }

    fn rise(&mut self, mut place: usize) {
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.heap[parent].0 <= self.heap[place].0 {
                break;
            }
            self.heap.swap(parent, place);
            self.note(place);
            place = parent;
        }
        self.note(place);
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let children = [2 * place + 1, 2 * place + 2].into_iter();
            let earliest = children
                .filter(|child| *child < self.heap.len())
                .min_by_key(|child| self.heap[*child].0);
            match earliest {
                Some(child) if self.heap[child].0 < self.heap[place].0 => {
                    self.heap.swap(child, place);
                    self.note(place);
                    place = child;
                }
                _ => break,
            }
        }
        self.note(place);
    }

    fn note(&mut self, place: usize) {
        // No machine holds 2^32 connections.
        self.places[self.heap[place].1] = place as u32;
    }
}

const NOWHERE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    use super::Timers;

    #[test]
    fn entries_fire_in_the_order_of_a_sorted_list() {
        let start = Instant::now();
        let mut state = 7_u64;
        let mut random = move |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        let mut timers = Timers::new();
        let mut model = BTreeMap::<usize, Instant>::new();
        let mut now = start;
        for step in 0..50_000 {
            let key = random(300) as usize;
            match random(10) {
                0..6 => {
                    let deadline = now + Duration::from_millis(random(1_000));
                    timers.arm(key, deadline);
                    let armed = model.entry(key).or_insert(deadline);
                    *armed = deadline.min(*armed);
                }
                6 => {
                    timers.cancel(key);
                    model.remove(&key);
                }
                _ => {
                    now += Duration::from_millis(random(40));
                    let mut last = start;
                    while let Some(key) = timers.pop(now) {
                        let deadline = model.remove(&key).expect("it was armed");
                        assert!(last <= deadline && deadline <= now, "step {step}");
                        last = deadline;
                    }
                }
            }
            assert_eq!(timers.next(), model.values().min().copied(), "step {step}");
            assert_eq!(timers.armed(key), model.get(&key).copied(), "step {step}");
            assert_eq!(timers.len(), model.len(), "step {step}");
        }
    }

    #[test]
    fn a_deadline_that_is_put_off_moves_nothing() {
        let now = Instant::now();
        let mut timers = Timers::new();
        timers.arm(0, now + Duration::from_secs(1));
        for millis in 0..1_000 {
            timers.arm(
                0,
                now + Duration::from_secs(1) + Duration::from_millis(millis),
            );
        }
        assert_eq!((timers.counts().added, timers.counts().moved), (1, 0));
        timers.arm(0, now);
        assert_eq!(timers.counts().moved, 1);
    }
}
