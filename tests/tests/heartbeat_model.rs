//! The shipped heartbeat agrees with the reference of the rules to the nanosecond, over random
//! histories: the same deadlines, pings, events and samples after every call.
//!
//! The search in `tests/world/` is exhaustive over whole seconds; here times are any.

use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use wspulse_core::Instant;
use wspulse_core::heartbeat::{Evidence, Mode};
use wspulse_tests::alloc::Counting;
use wspulse_tests::kit::ms;
use wspulse_tests::meter::HeartbeatMeter;
use wspulse_tests::world::heartbeat::{Engine, Event, Shipped};
use wspulse_tests::world::oracle::Policy;
use wspulse_tests::world::reference::Reference;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What was told, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Ping(u16),
    Event(Event),
    Sample(Duration),
}

/// Both, side by side.
struct Pair {
    real: Shipped,
    heap: HeartbeatMeter,
    model: Reference,
    log: Vec<(Instant, Told)>,
    /// The last ping that left, and one that was handed out and has not.
    left: u16,
    unsent: Option<u16>,
    now: Instant,
}

#[derive(Clone, Debug)]
enum Step {
    Received,
    Frame,
    /// A pong for a ping so many back.
    Pong(u16),
    WouldBlock,
    Timeout,
    Resumed,
    /// Bytes taken, and whether the transport blocks.
    Transmitted(u32, bool),
    /// The ping's last byte is taken.
    PingSent,
    SetPolicy(Policy),
}

impl Pair {
    fn new(policy: &Policy) -> Self {
        let mut heap = HeartbeatMeter::new();
        Self {
            real: heap.call(|| Shipped::new(policy)),
            heap,
            model: Reference::new(policy),
            log: Vec::new(),
            left: 0,
            unsent: None,
            now: Instant::ZERO,
        }
    }

    /// Makes one call on both, and compares.
    fn call(&mut self, now: Instant, mut call: impl FnMut(&mut dyn Calls)) {
        self.now = self.now.max(now);
        self.heap.call(|| call(&mut self.real));
        call(&mut self.model);
        loop {
            let (real, model) = (self.real.poll_event(), self.model.poll_event());
            assert_eq!(real, model, "at {now:?}");
            let Some(event) = real else {
                break;
            };
            self.log.push((self.now, Told::Event(event)));
        }
        let (real, model) = (self.real.poll_ping(), self.model.poll_ping());
        assert_eq!(real, model, "at {now:?}");
        if let Some(ping) = real {
            self.unsent = Some(ping);
            self.log.push((self.now, Told::Ping(ping)));
        }
        let (real, model) = (self.real.deadline(), self.model.deadline());
        assert_eq!(
            real, model,
            "deadlines at {now:?}: {:#?} {:#?}",
            self.real, self.model
        );
    }

    fn ping_sent(&mut self, now: Instant) {
        if let Some(ping) = self.unsent.take() {
            self.call(now, |it| it.transmitted(now, 10, false));
            self.left = ping;
            self.call(now, |it| it.ping_sent(now));
        }
    }

    fn step(&mut self, now: Instant, step: &Step) {
        match step {
            Step::Received => self.call(now, |it| it.received(now)),
            Step::Frame => {
                self.call(now, |it| it.received(now));
                self.call(now, |it| it.frame(now));
            }
            Step::Pong(back) => {
                let Some(number) = self.left.checked_sub(*back).filter(|number| *number > 0) else {
                    return;
                };
                self.step(now, &Step::Frame);
                let mut samples = Vec::with_capacity(2); // not to be counted
                self.call(now, |it| samples.push(it.pong(now, number)));
                assert_eq!(samples[0], samples[1], "samples at {now:?}");
                let sample = samples[0].map(|sample| (self.now, Told::Sample(sample)));
                self.log.extend(sample);
            }
            Step::WouldBlock => self.call(now, |it| it.would_block(now)),
            Step::Timeout => {
                self.call(now, |it| it.timeout(now));
                let next = self.real.deadline();
                assert!(next.is_none_or(|next| next > self.now), "{next:?}");
            }
            Step::Resumed => self.call(now, |it| it.resumed(now)),
            Step::Transmitted(taken, blocked) => {
                self.call(now, |it| it.transmitted(now, *taken, *blocked));
            }
            Step::PingSent => self.ping_sent(now),
            Step::SetPolicy(policy) => self.call(now, |it| it.set_policy(now, policy)),
        }
    }

    /// Sleeps until `until`, waking `late` after each deadline.
    fn sleep(&mut self, until: Instant, late: Duration, reads: bool, sends: bool) {
        for _ in 0..10_000 {
            let Some(deadline) = self.real.deadline() else {
                return;
            };
            let wake = deadline.saturating_add(late);
            if wake > until {
                return;
            }
            if reads {
                self.step(wake, &Step::WouldBlock);
            }
            self.step(wake, &Step::Timeout);
            if sends {
                self.ping_sent(wake);
            }
        }
    }
}

/// The calls of an engine whose kind does not matter.
trait Calls {
    fn received(&mut self, now: Instant);
    fn frame(&mut self, now: Instant);
    fn pong(&mut self, now: Instant, number: u16) -> Option<Duration>;
    fn would_block(&mut self, now: Instant);
    fn transmitted(&mut self, now: Instant, taken: u32, blocked: bool);
    fn ping_sent(&mut self, now: Instant);
    fn timeout(&mut self, now: Instant);
    fn resumed(&mut self, now: Instant);
    fn set_policy(&mut self, now: Instant, policy: &Policy);
}

impl<E: Engine> Calls for E {
    fn received(&mut self, now: Instant) {
        Engine::received(self, now);
    }

    fn frame(&mut self, now: Instant) {
        Engine::frame(self, now);
    }

    fn pong(&mut self, now: Instant, number: u16) -> Option<Duration> {
        Engine::pong(self, now, number)
    }

    fn would_block(&mut self, now: Instant) {
        Engine::would_block(self, now);
    }

    fn transmitted(&mut self, now: Instant, taken: u32, blocked: bool) {
        Engine::transmitted(self, now, taken, blocked);
    }

    fn ping_sent(&mut self, now: Instant) {
        Engine::ping_sent(self, now);
    }

    fn timeout(&mut self, now: Instant) {
        Engine::timeout(self, now);
    }

    fn resumed(&mut self, now: Instant) {
        Engine::resumed(self, now);
    }

    fn set_policy(&mut self, now: Instant, policy: &Policy) {
        Engine::set_policy(self, now, policy);
    }
}

fn policy() -> impl Strategy<Value = Policy> {
    let mode = prop_oneof![
        4 => Just(Mode::Idle),
        2 => Just(Mode::Periodic),
        2 => Just(Mode::Passive),
        1 => Just(Mode::Off),
    ];
    let evidence = prop_oneof![
        Just(Evidence::AnyByte),
        Just(Evidence::AnyFrame),
        Just(Evidence::MatchingPong),
    ];
    let share = proptest::option::of(1_u32..=100);
    (mode, evidence, 1_u32..40, 2_u32..40, share, 1_u32..60).prop_map(
        |(mode, evidence, interval, timeout, share, write_stall)| Policy {
            mode,
            // A policy that sends no pings cannot ask for their pongs: that is refused.
            evidence: match (mode, evidence) {
                (Mode::Passive | Mode::Off, Evidence::MatchingPong) => Evidence::AnyFrame,
                (_, evidence) => evidence,
            },
            interval,
            timeout,
            suspect_after: share.map(|share| (timeout * share / 100).max(1)),
            write_stall,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let taken = prop_oneof![Just(0), 1_u32..100, 1_000_u32..1_000_000];
    prop_oneof![
        3 => Just(Step::Received),
        2 => Just(Step::Frame),
        4 => (0_u16..3).prop_map(Step::Pong),
        2 => Just(Step::WouldBlock),
        3 => (taken, any::<bool>()).prop_map(|(taken, blocked)| Step::Transmitted(taken, blocked)),
        1 => Just(Step::Resumed),
        2 => Just(Step::Timeout),
        1 => policy().prop_map(Step::SetPolicy),
        3 => Just(Step::PingSent),
    ]
}

fn wait() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(ms(1_000)),
        (0_u64..5_000_000_000).prop_map(Duration::from_nanos),
        (0_u64..100_000_000_000).prop_map(Duration::from_nanos),
    ]
}

fn late() -> impl Strategy<Value = Duration> {
    prop_oneof![
        6 => Just(Duration::ZERO),
        2 => (0_u64..9_000_000_000).prop_map(Duration::from_nanos),
        1 => Just(Duration::from_secs(10 * 365 * 86_400)),
    ]
}

#[derive(Clone, Debug)]
struct Turn {
    wait: Duration,
    late: Duration,
    backwards: bool,
    reads: bool,
    sends: bool,
    step: Step,
}

type Script = (Policy, Vec<Turn>);

fn script() -> impl Strategy<Value = Script> {
    let often = || prop_oneof![3 => Just(true), 1 => Just(false)];
    let turn = (wait(), late(), any::<bool>(), often(), often(), step());
    let turn = turn.prop_map(|(wait, late, backwards, reads, sends, step)| Turn {
        wait,
        late,
        backwards,
        reads,
        sends,
        step,
    });
    (policy(), proptest::collection::vec(turn, 1..60))
}

fn play((policy, turns): Script) -> Vec<(Instant, Told)> {
    let mut pair = Pair::new(&policy);
    let mut now = Instant::ZERO;
    for turn in &turns {
        now = now.saturating_add(turn.wait);
        pair.sleep(now, turn.late, turn.reads, turn.sends);
        // Now and then the caller's clock runs backwards, which counts as standing still.
        let told = match turn.backwards {
            true => now.saturating_sub(ms(700)),
            false => now,
        };
        pair.step(told, &turn.step);
        now = now.max(pair.now);
    }
    pair.log
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40_000,
        failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_heartbeat_does_as_the_reference_of_the_rules(script in script()) {
        play(script);
    }
}

/// The scripts above do reach every kind of answer, so that agreement says something.
#[test]
fn the_scripts_reach_every_answer() {
    let mut runner = TestRunner::deterministic();
    let mut counts = [0; 7];
    for _ in 0..2_000 {
        let script = script().new_tree(&mut runner).expect("a script").current();
        for (_, told) in play(script) {
            counts[match told {
                Told::Ping(_) => 0,
                Told::Sample(_) => 1,
                Told::Event(Event::Suspect) => 2,
                Told::Event(Event::Recovered) => 3,
                Told::Event(Event::NotRead) => 4,
                Told::Event(Event::Dead(wspulse_tests::world::oracle::Death::Silence)) => 5,
                Told::Event(Event::Dead(_)) => 6,
            }] += 1;
        }
    }
    assert!(counts.iter().all(|&count| count > 20), "{counts:?}");
}

/// Found by random seeds: a policy that pings follows one that is passive.
#[test]
fn a_change_to_passive_and_back_is_the_same_in_both() {
    let idle = Policy {
        mode: Mode::Idle,
        evidence: Evidence::AnyByte,
        interval: 1,
        timeout: 2,
        suspect_after: None,
        write_stall: 1,
    };
    let turn = |wait: u64, late: u64, sends: bool, step: Step| Turn {
        wait: Duration::from_secs(wait),
        late: Duration::from_nanos(late),
        backwards: false,
        reads: true,
        sends,
        step,
    };
    let passive = Policy {
        mode: Mode::Passive,
        ..idle
    };
    let asks = Policy {
        evidence: Evidence::MatchingPong,
        interval: 3,
        ..idle
    };
    // A ping that counts as lost leaves, and its pong comes.
    play((
        idle,
        vec![
            turn(1, 1, true, Step::Received),
            turn(0, 0, false, Step::SetPolicy(passive)),
            turn(0, 0, true, Step::SetPolicy(asks)),
            turn(0, 0, true, Step::PingSent),
            turn(0, 0, true, Step::Pong(0)),
            turn(1, 0, true, Step::Received),
        ],
    ));
    // One that counts as lost has not left when the next one is due, and one is reported twice.
    play((
        idle,
        vec![
            turn(0, 0, true, Step::Resumed),
            turn(0, 0, true, Step::SetPolicy(passive)),
            turn(0, 0, true, Step::SetPolicy(idle)),
            turn(1, 1, true, Step::PingSent),
            turn(2, 0, true, Step::Received),
        ],
    ));
}
