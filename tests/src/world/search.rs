//! Breadth-first search for the shortest counter-example.
//!
//! A [`World`] is a set of states with actions between them. One level of the search is one unit
//! of virtual time, so the first state that breaks an oracle has the shortest timeline there is.
//! The search keeps the full states of one level, a 128-bit hash of each state of the next one,
//! and for every state of every level its parent and the action that led to it. A counter-example
//! is replayed from the start along these links, with its [`Trace`] switched on.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::time::{Duration, Instant};

use super::oracle::Violation;

/// Virtual time, in units of the world's choice. A search of depth `n` sees the ticks 1 to `n`.
pub type Tick = u32;

/// States, and the actions that lead from one to the next.
pub trait World {
    /// What is true at one tick: the code under test and the truth around it.
    ///
    /// Two states with equal hashes at one level count as one, so everything that the future
    /// depends on must be hashed.
    type State: Clone + Hash;
    /// What may happen within one tick.
    type Action: Copy;

    /// The state before the first tick.
    fn start(&self) -> Self::State;

    /// Puts the actions that are possible in `state` at `now` into `actions`, which is empty.
    fn actions(&self, state: &Self::State, now: Tick, actions: &mut Vec<Self::Action>);

    /// Lets one tick pass. It must depend on its arguments alone, since counter-examples are
    /// replayed.
    ///
    /// # Errors
    /// The oracle that fell. The search goes no further from there.
    fn step(
        &self,
        state: &mut Self::State,
        now: Tick,
        action: Self::Action,
        trace: &mut Trace,
    ) -> Result<Step, Violation>;
}

/// How a tick ended that broke no oracle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The world goes on.
    Continues,
    /// This history is over, legally; the search counts endings by name.
    Ended(&'static str),
}

/// What a step tells: lines of a timeline, which cost nothing during the search, and marks, which
/// are counted.
#[derive(Debug, Default)]
pub struct Trace {
    lines: Option<Vec<String>>,
    marks: BTreeMap<&'static str, u64>,
}

impl Trace {
    /// Adds to the timeline's line of this tick. `words` runs only when a timeline is wanted.
    #[inline]
    pub fn note(&mut self, words: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(words());
        }
    }

    /// Counts something that a search must have met, such as a suspicion, so that a test can
    /// demand that it is reachable.
    pub fn mark(&mut self, name: &'static str) {
        *self.marks.entry(name).or_default() += 1;
    }
}

/// How far a search goes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The last tick.
    pub depth: Tick,
    /// The search stops before the level with which it would have kept more states in all.
    pub states: usize,
    /// The search stops before a level of more states: they are what takes memory.
    pub level: usize,
    /// The search stops after the level of the first counter-example.
    pub stops_at_failure: bool,
}

impl Limits {
    /// A search of `depth` ticks that fits an ordinary test.
    #[must_use]
    pub const fn depth(depth: Tick) -> Self {
        Self {
            depth,
            states: 4_000_000,
            level: 1_000_000,
            stops_at_failure: false,
        }
    }
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Different states met, the first one included.
    pub states: usize,
    /// Steps taken.
    pub transitions: usize,
    /// The last tick of which every state was met.
    pub depth: Tick,
    /// Whether that is the depth that was asked for, or no state was left before it.
    pub is_complete: bool,
    /// The shortest counter-example of each class of violation, in the order found.
    pub failures: Vec<Failure>,
    /// How often each mark and each ending was met.
    pub marks: BTreeMap<&'static str, u64>,
    /// How long it took.
    pub elapsed: Duration,
}

/// A class of violations, and the shortest history that shows it.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The oracle that fell, and how.
    pub violation: Violation,
    /// The tick at which it fell.
    pub at: Tick,
    /// How many steps of the search ended with it.
    pub count: u64,
    /// What happened, a line for each tick at which anything did.
    pub timeline: String,
}

impl Report {
    /// How often a mark or an ending was met.
    #[must_use]
    pub fn count(&self, mark: &str) -> u64 {
        self.marks.get(mark).copied().unwrap_or(0)
    }

    /// Returns the counter-example of a class, if there is one.
    #[must_use]
    pub fn failure(&self, violation: Violation) -> Option<&Failure> {
        self.failures.iter().find(|it| it.violation == violation)
    }
}

/// States, transitions, depth and speed, on one line.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        write!(
            f,
            "{} states, {} transitions, depth {}{}, {seconds:.2} s, {:.2} M states/s",
            self.states,
            self.transitions,
            self.depth,
            if self.is_complete { " complete" } else { "" },
            self.states as f64 / seconds.max(1e-6) / 1e6,
        )
    }
}

/// The oracle, the tick, and the timeline below.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at t={}, {} times\n{}",
            self.violation, self.at, self.count, self.timeline
        )
    }
}

/// Looks at every state of the world up to `limits`.
pub fn search<W: World>(world: &W, limits: Limits) -> Report {
    let began = Instant::now();
    let mut trace = Trace::default();
    let mut links: Vec<Vec<(u32, W::Action)>> = vec![Vec::new()];
    let mut level = vec![world.start()];
    let mut failures: Vec<Failure> = Vec::new();
    let mut actions = Vec::new();
    let (mut states, mut transitions, mut depth) = (1, 0, 0);
    let mut is_complete = false;
    'levels: loop {
        if limits.stops_at_failure && !failures.is_empty() {
            break;
        }
        if depth == limits.depth || level.is_empty() {
            is_complete = true;
            break;
        }
        let now = depth + 1;
        let mut next = Vec::new();
        let mut next_links = Vec::new();
        let mut seen = Seen::default();
        for (index, state) in level.iter().enumerate() {
            actions.clear();
            world.actions(state, now, &mut actions);
            for &action in &actions {
                let mut after = state.clone();
                transitions += 1;
                match world.step(&mut after, now, action, &mut trace) {
                    Ok(Step::Continues) => {
                        if seen.insert(digest(&after)) {
                            next.push(after);
                            next_links.push((index as u32, action));
                        }
                    }
                    Ok(Step::Ended(how)) => trace.mark(how),
                    Err(violation) => {
                        let known = failures.iter_mut().find(|it| it.violation == violation);
                        if let Some(failure) = known {
                            failure.count += 1;
                        } else {
                            let path = path(&links, index, action);
                            failures.push(Failure {
                                violation,
                                at: now,
                                count: 1,
                                timeline: timeline(world, &path),
                            });
                        }
                    }
                }
            }
            if next.len() > limits.level || states + next.len() > limits.states {
                break 'levels;
            }
        }
        depth = now;
        states += next.len();
        links.push(next_links);
        level = next;
    }
    Report {
        states,
        transitions,
        depth,
        is_complete,
        failures,
        marks: trace.marks,
        elapsed: began.elapsed(),
    }
}

/// Replays `path` from the start; a line for each tick at which a step noted anything.
pub fn timeline<W: World>(world: &W, path: &[W::Action]) -> String {
    let mut state = world.start();
    let mut text = String::new();
    for (now, &action) in (1..).zip(path) {
        let mut trace = Trace {
            lines: Some(Vec::new()),
            ..Trace::default()
        };
        let result = world.step(&mut state, now, action, &mut trace);
        let lines = trace.lines.unwrap_or_default();
        if !lines.is_empty() {
            text.push_str(&format!("    t={now:<3} {}\n", lines.join("; ")));
        }
        if let Err(violation) = result {
            text.push_str(&format!("    t={now:<3} => {violation}\n"));
        }
    }
    text
}

/// The actions from the start to a state of the last level, and one more.
fn path<A: Copy>(links: &[Vec<(u32, A)>], index: usize, last: A) -> Vec<A> {
    let mut path = vec![last];
    let mut index = index;
    for level in links.iter().skip(1).rev() {
        let (parent, action) = level[index];
        path.push(action);
        index = parent as usize;
    }
    path.reverse();
    path
}

type Seen = HashSet<u128, BuildHasherDefault<Digested>>;

fn digest(state: &impl Hash) -> u128 {
    let mut digest = Digest {
        low: 0x243F_6A88_85A3_08D3,
        high: 0x1319_8A2E_0370_7344,
    };
    state.hash(&mut digest);
    u128::from(digest.low) << 64 | u128::from(digest.high)
}

/// Two lanes of folded multiplication: 128 bits, so that no two of 10^9 states are likely to
/// share a hash, and fast, since states are hashed more often than anything else is done.
struct Digest {
    low: u64,
    high: u64,
}

impl Digest {
    #[inline]
    fn mix(&mut self, word: u64) {
        self.low = fold(self.low ^ word, 0x9E37_79B9_7F4A_7C15);
        self.high = fold(self.high.rotate_left(23) ^ word, 0xD6E8_FEB8_6659_FD93);
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64).wrapping_add(a.rotate_left(32))
}

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.mix(u64::from(word));
    }

    fn write_u32(&mut self, word: u32) {
        self.mix(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.mix(word as u64);
    }

    fn finish(&self) -> u64 {
        self.low
    }
}

/// Takes a digest for its own hash.
#[derive(Debug, Default)]
struct Digested(u64);

impl Hasher for Digested {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only digests are put in");
    }

    fn write_u128(&mut self, digest: u128) {
        self.0 = digest as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::oracle::Oracle;

    /// A counter that may take one or two steps a tick, and must not reach seven.
    struct Counter;

    impl World for Counter {
        type State = u32;
        type Action = u32;

        fn start(&self) -> u32 {
            0
        }

        fn actions(&self, _: &u32, _: Tick, actions: &mut Vec<u32>) {
            actions.extend([1, 2]);
        }

        fn step(
            &self,
            state: &mut u32,
            _: Tick,
            action: u32,
            trace: &mut Trace,
        ) -> Result<Step, Violation> {
            *state += action;
            trace.note(|| format!("add {action}"));
            match *state {
                7 => Err(Violation::new(Oracle::Stuck, "seven")),
                6 => Ok(Step::Ended("six")),
                _ => Ok(Step::Continues),
            }
        }
    }

    #[test]
    fn the_first_counter_example_is_the_shortest() {
        let report = search(&Counter, Limits::depth(10));
        let failure = report.failure(Violation::new(Oracle::Stuck, "seven"));
        let failure = failure.expect("seven is reachable");
        assert_eq!(failure.at, 4);
        assert_eq!(failure.timeline.lines().count(), 5, "{}", failure.timeline);
        assert!(report.is_complete);
        assert!(report.count("six") > 0);
        // Every number below six is met once a level at most.
        assert!(report.states < 20, "{report}");
    }

    #[test]
    fn a_search_out_of_room_says_so() {
        let limits = Limits {
            states: 3,
            ..Limits::depth(10)
        };
        let report = search(&Counter, limits);
        assert!(!report.is_complete);
        assert!(report.depth < 4);
    }
}
