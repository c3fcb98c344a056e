//! The lazy heartbeat agrees with the eager one, to the nanosecond.

use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use wspulse_core::Instant;
use wspulse_core::heartbeat::{DeadReason, Evidence, Heartbeat, HeartbeatEvent, Mode, PingPayload};
use wspulse_tests::alloc::Counting;
use wspulse_tests::kit::{at, ms};
use wspulse_tests::meter::HeartbeatMeter;
use wspulse_tests::model::{Decision, Model, Policy};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Both, side by side.
struct Pair {
    real: Heartbeat,
    heap: HeartbeatMeter,
    model: Model,
    log: Vec<(Instant, Decision)>,
    pings: Vec<PingPayload>,
    /// A ping was handed out and has not left.
    unsent: bool,
    reads: bool,
    now: Instant,
}

#[derive(Clone, Debug)]
enum Step {
    Received,
    Frame,
    /// A pong for a ping so many back.
    Pong(usize),
    ForeignPong,
    WouldBlock,
    Transmitted,
    Resumed,
    Spurious,
    SetPolicy(Policy),
    /// Whether the host reads from now on, and takes pings at once.
    Reads(bool),
    Flush(bool),
}

impl Pair {
    fn new(policy: Policy, seed: u64) -> Self {
        let mut heap = HeartbeatMeter::new();
        let real = heap.call(|| Heartbeat::new(policy.config(), seed, Instant::ZERO));
        Self {
            real: real.expect("valid"),
            heap,
            model: Model::new(policy, seed, Instant::ZERO),
            log: Vec::new(),
            pings: Vec::new(),
            unsent: false,
            reads: true,
            now: Instant::ZERO,
        }
    }

    /// Makes one call on both and compares what they decided.
    fn call(
        &mut self,
        now: Instant,
        real: impl FnOnce(&mut Heartbeat),
        model: impl FnOnce(&mut Model, Option<Instant>),
    ) {
        let woken = self.real.poll_timeout();
        self.heap.call(|| real(&mut self.real));
        assert!(!self.heap.has_part(), "the transport never blocks");
        model(&mut self.model, woken);
        self.now = self.now.max(now);
        while let Some(event) = self.heap.call(|| self.real.poll_event()) {
            self.log.push((
                self.now,
                match event {
                    HeartbeatEvent::Suspect => Decision::Suspect,
                    HeartbeatEvent::Recovered => Decision::Recovered,
                    HeartbeatEvent::Dead(reason) => Decision::Dead(reason),
                    event => panic!("{event:?}"),
                },
            ));
        }
        if let Some(payload) = self.heap.call(|| self.real.poll_ping()) {
            self.pings.push(payload);
            self.unsent = true;
            self.log.push((self.now, Decision::Ping(number(&payload))));
        }
        // Within one call the order of a ping and a change does not matter.
        let mut logs = [self.log.clone(), self.model.log().to_vec()];
        for log in &mut logs {
            log.sort_by_key(|(at, decision)| (*at, matches!(decision, Decision::Ping(_))));
        }
        assert_eq!(logs[0], logs[1]);
        self.check_deadline();
    }

    /// The real one asks to be woken in time.
    fn check_deadline(&self) {
        if self.unsent {
            return; // the report that the ping left is what it waits for
        }
        let asked = self.real.poll_timeout().unwrap_or(Instant::MAX);
        if let Some(due) = self.model.death_due().filter(|&due| due > self.now) {
            assert!(
                asked <= due,
                "asleep until {asked:?}, death is due at {due:?}"
            );
        }
        if let Some(due) = self.model.ping_bound().filter(|&due| due > self.now) {
            assert!(
                asked <= due,
                "asleep until {asked:?}, a ping is due at {due:?}"
            );
        }
        if self.model.ping_due().is_some() {
            assert!(
                asked < Instant::MAX,
                "no deadline, though a ping will be due"
            );
        }
    }

    fn flush(&mut self, now: Instant) {
        if self.unsent {
            self.call(
                now,
                |h| h.handle_transmitted(now, 10, false),
                |m, _| m.transmitted(now),
            );
            self.unsent = false;
            self.call(now, |h| h.handle_ping_sent(now), |m, _| m.ping_sent(now));
        }
    }

    fn would_block(&mut self, now: Instant) {
        self.call(
            now,
            |h| h.handle_would_block(now),
            |m, w| m.would_block(now, w),
        );
    }

    fn timeout(&mut self, now: Instant) {
        self.call(now, |h| h.handle_timeout(now), |m, w| m.timeout(now, w));
        let next = self.real.poll_timeout();
        assert!(
            next.is_none_or(|next| next > self.now),
            "{next:?} at {:?}",
            self.now
        );
    }

    /// Sleeps until `until`, waking `late` after each deadline.
    fn sleep(&mut self, until: Instant, late: Duration, flush: bool) {
        for _ in 0..100_000 {
            let Some(deadline) = self.real.poll_timeout() else {
                return;
            };
            let wake = deadline.saturating_add(late);
            if wake > until {
                return;
            }
            if self.reads {
                self.would_block(wake);
            }
            self.timeout(wake);
            if flush {
                self.flush(wake);
            }
        }
        panic!("a busy loop: 100,000 deadlines in one sleep");
    }

    fn step(&mut self, now: Instant, step: &Step) {
        match step {
            Step::Received => self.received(now),
            Step::Frame => {
                self.received(now);
                self.call(now, |h| h.handle_frame(now), |m, _| m.frame(now));
            }
            Step::Pong(back) => {
                let index = self.pings.len().wrapping_sub(1 + back);
                let Some(payload) = self.pings.get(index).copied() else {
                    return;
                };
                self.received(now);
                let number = number(&payload);
                self.call(
                    now,
                    |h| {
                        h.handle_pong(now, &payload);
                    },
                    |m, _| m.pong(now, number),
                );
            }
            Step::ForeignPong => {
                self.received(now);
                self.call(
                    now,
                    |h| {
                        h.handle_pong(now, b"strange!");
                    },
                    |_, _| {},
                );
            }
            Step::WouldBlock => self.would_block(now),
            Step::Transmitted => {
                self.call(
                    now,
                    |h| h.handle_transmitted(now, 9, false),
                    |m, _| {
                        m.transmitted(now);
                    },
                );
            }
            Step::Resumed => self.call(now, |h| h.handle_resumed(now), |m, _| m.resumed(now)),
            Step::Spurious => self.timeout(now),
            Step::SetPolicy(policy) => self.call(
                now,
                |h| h.set_config(now, policy.config()).expect("valid"),
                |m, _| m.set_policy(now, *policy),
            ),
            Step::Reads(reads) => self.reads = *reads,
            Step::Flush(_) => self.flush(now),
        }
    }

    fn received(&mut self, now: Instant) {
        self.call(now, |h| h.handle_received(now), |m, _| m.received(now));
    }
}

/// The number that a ping carries behind its nonce.
fn number(payload: &PingPayload) -> u32 {
    let (_, number) = payload.split_last_chunk().expect("eight bytes");
    u32::from_be_bytes(*number)
}

fn span() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(ms(1_000)),
        Just(ms(2_000)),
        (50_000_000_u64..10_000_000_000).prop_map(Duration::from_nanos),
        Just(Duration::MAX),
    ]
}

fn policy(jitter: u8) -> impl Strategy<Value = Policy> {
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
    (mode, evidence, span(), span(), 20_u32..=100, span()).prop_map(
        move |(mode, evidence, interval, timeout, share, local_pause)| Policy {
            mode,
            // Who sends no pings cannot ask for their pongs: that is refused.
            evidence: match mode {
                Mode::Passive | Mode::Off if evidence == Evidence::MatchingPong => {
                    Evidence::AnyFrame
                }
                _ => evidence,
            },
            interval,
            timeout,
            suspect_after: (timeout / 100)
                .saturating_mul(share)
                .max(Duration::from_nanos(1))
                .min(timeout),
            local_pause,
            jitter,
        },
    )
}

fn step(jitter: u8) -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Received),
        2 => Just(Step::Frame),
        4 => (0..3_usize).prop_map(Step::Pong),
        1 => Just(Step::ForeignPong),
        2 => Just(Step::WouldBlock),
        2 => Just(Step::Transmitted),
        1 => Just(Step::Resumed),
        2 => Just(Step::Spurious),
        1 => policy(jitter).prop_map(Step::SetPolicy),
        1 => any::<bool>().prop_map(Step::Reads),
        3 => any::<bool>().prop_map(Step::Flush),
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
        2 => (0_u64..3_000_000_000).prop_map(Duration::from_nanos),
        1 => Just(Duration::from_secs(10 * 365 * 86_400)),
    ]
}

type Script = (Policy, u64, Vec<(Duration, Duration, bool, Step)>);

fn script(jitter: u8) -> impl Strategy<Value = Script> {
    let steps = proptest::collection::vec((wait(), late(), any::<bool>(), step(jitter)), 1..60);
    (policy(jitter), any::<u64>(), steps)
}

fn play((policy, seed, steps): Script) -> Vec<(Instant, Decision)> {
    let mut pair = Pair::new(policy, seed);
    let mut now = Instant::ZERO;
    let mut flush = true;
    for (wait, late, backwards, step) in &steps {
        now = now.saturating_add(*wait);
        if let Step::Flush(always) = step {
            flush = *always;
        }
        pair.sleep(now, *late, flush);
        // Now and then the caller's clock runs backwards, which counts as standing still.
        let heard = if *backwards {
            now.saturating_sub(ms(700))
        } else {
            now
        };
        pair.step(heard, step);
        if flush {
            pair.flush(now);
        }
        now = now.max(pair.now);
    }
    pair.log
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000,
        failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lazy_and_eager_decide_the_same(script in script(0)) {
        play(script);
    }

    #[test]
    fn lazy_and_eager_decide_the_same_with_jitter(script in script(10)) {
        play(script);
    }
}

/// The scripts above do reach every kind of decision, so that agreement says something.
#[test]
fn the_scripts_reach_every_decision() {
    let mut runner = TestRunner::deterministic();
    let mut counts = [0; 5];
    for _ in 0..2_000 {
        let script = script(10)
            .new_tree(&mut runner)
            .expect("a script")
            .current();
        for (_, decision) in play(script) {
            counts[match decision {
                Decision::Ping(_) => 0,
                Decision::Suspect => 1,
                Decision::Recovered => 2,
                Decision::Dead(DeadReason::PongTimeout) => 3,
                Decision::Dead(_) => 4,
            }] += 1;
        }
    }
    assert!(counts.iter().all(|&count| count > 50), "{counts:?}");
}

fn plain(interval: Duration, timeout: Duration) -> Policy {
    Policy {
        mode: Mode::Idle,
        evidence: Evidence::AnyByte,
        interval,
        timeout,
        suspect_after: timeout / 2,
        local_pause: ms(5_000),
        jitter: 0,
    }
}

/// Interval below, at and above the timeout, three lengths each: silence is found at their sum.
#[test]
fn nine_pairs_of_interval_and_timeout_find_silence() {
    for interval in [1_000, 2_000, 3_000] {
        for timeout in [1_000, 2_000, 3_000] {
            let mut pair = Pair::new(plain(ms(interval), ms(timeout)), 7);
            pair.sleep(at(60_000), Duration::ZERO, true);
            assert_eq!(
                pair.log,
                [
                    (at(interval), Decision::Ping(1)),
                    (at(interval + timeout / 2), Decision::Suspect),
                    (
                        at(interval + timeout),
                        Decision::Dead(DeadReason::PongTimeout)
                    ),
                ],
                "interval {interval}, timeout {timeout}"
            );
        }
    }
}

/// The same nine, and a peer that answers just in time: a ping each interval, and no word more.
#[test]
fn nine_pairs_of_interval_and_timeout_let_the_living_live() {
    for interval in [1_000, 2_000, 3_000] {
        for timeout in [1_000, 2_000, 3_000] {
            let policy = Policy {
                suspect_after: ms(timeout),
                ..plain(ms(interval), ms(timeout))
            };
            let mut pair = Pair::new(policy, 7);
            let mut pings = Vec::new();
            for _ in 0..10 {
                let sent = pings.len();
                while pings.len() == sent {
                    let deadline = pair.real.poll_timeout().expect("armed");
                    pair.sleep(deadline, Duration::ZERO, true);
                    pings = pair.log.clone();
                }
                let answer = pair
                    .now
                    .saturating_add(ms(timeout) - Duration::from_nanos(1));
                pair.sleep(answer, Duration::ZERO, true);
                pair.step(answer, &Step::Pong(0));
            }
            let only_pings = pair
                .log
                .iter()
                .all(|(_, what)| matches!(what, Decision::Ping(_)));
            assert!(
                only_pings,
                "interval {interval}, timeout {timeout}: {:?}",
                pair.log
            );
        }
    }
}

/// Ten years late: one ping and no verdict, however many intervals went by.
#[test]
fn late_by_ten_years_is_one_ping() {
    let years = Duration::from_secs(10 * 365 * 86_400);
    for mode in [Mode::Idle, Mode::Periodic] {
        let mut pair = Pair::new(
            Policy {
                mode,
                ..plain(ms(20_000), ms(20_000))
            },
            7,
        );
        let late = at(20_000).saturating_add(years);
        pair.would_block(late);
        pair.timeout(late);
        pair.timeout(late);
        assert_eq!(pair.log, [(late, Decision::Ping(1))]);
    }
    let mut pair = Pair::new(
        Policy {
            mode: Mode::Passive,
            ..plain(ms(1), ms(20_000))
        },
        7,
    );
    let late = at(10_000).saturating_add(years);
    pair.would_block(late);
    pair.timeout(late);
    assert_eq!(pair.log, [], "a passive one begins anew");
    assert_eq!(
        pair.real.poll_timeout(),
        Some(late.saturating_add(ms(10_000)))
    );
}

/// A clock that runs backwards stands still: no panic, and no deadline beyond the largest time.
#[test]
fn a_clock_that_runs_backwards_stands_still() {
    let mut pair = Pair::new(plain(ms(1_000), ms(1_000)), 7);
    pair.step(at(900), &Step::Received);
    pair.step(at(100), &Step::Transmitted);
    pair.step(Instant::ZERO, &Step::Spurious);
    pair.sleep(at(60_000), Duration::ZERO, true);
    let dead = Decision::Dead(DeadReason::PongTimeout);
    assert_eq!(pair.log.last(), Some(&(at(2_900), dead)));
}

/// `Duration::MAX` is never, alone and in sums.
#[test]
fn the_longest_duration_is_never() {
    let mut pair = Pair::new(plain(Duration::MAX, ms(1)), 7);
    assert_eq!(pair.real.poll_timeout(), None);
    pair.timeout(Instant::MAX);
    assert_eq!(pair.log, []);

    let mut pair = Pair::new(plain(ms(1_000), Duration::MAX), 7);
    let century = Instant::from_secs(100 * 365 * 86_400);
    pair.step(at(1_000), &Step::Spurious);
    pair.flush(at(1_000));
    pair.step(century, &Step::WouldBlock);
    let kinds: Vec<_> = pair.log.iter().map(|(_, what)| *what).collect();
    assert_eq!(kinds, [Decision::Ping(1)], "a ping that may wait for ever");
}
