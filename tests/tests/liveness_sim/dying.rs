//! Peers that fall silent: found within interval + timeout, suspected first, never too early.

use std::time::Duration;

use wspulse_core::heartbeat::{DeadReason, Evidence, HeartbeatConfig, Mode};
use wspulse_core::{Cause, Instant};
use wspulse_tests::host::{Host, Lag, Traffic};
use wspulse_tests::kit::ms;
use wspulse_tests::pipe::PipeConfig;
use wspulse_tests::rng::{Rng, traces};
use wspulse_tests::sim::World;

use crate::{Told, host, log_span, role, sum};

/// One side's policy, and by when it must have found the other dead.
struct Policy {
    heartbeat: HeartbeatConfig,
    interval: Duration,
    timeout: Duration,
    bound: Duration,
}

fn policy(rng: &mut Rng) -> Policy {
    let interval = log_span(rng, ms(100), ms(60_000));
    let timeout = log_span(rng, ms(100), ms(60_000));
    let mode = rng.pick(&[Mode::Idle, Mode::Idle, Mode::Periodic]);
    let evidence = rng.pick(&[
        Evidence::AnyByte,
        Evidence::AnyFrame,
        Evidence::MatchingPong,
    ]);
    let heartbeat = HeartbeatConfig::ping(interval, timeout)
        .mode(mode)
        .evidence(evidence)
        .jitter_percent(rng.range(0..=50) as u8);
    Policy {
        heartbeat,
        interval,
        timeout,
        bound: interval + timeout,
    }
}

/// Dead between `timeout` and `bound` after the last byte, `slack` for being late; suspected
/// before.
fn assert_found(host: &Host, policy: &Policy, slack: Duration) {
    let conn = host.conn();
    let Some((at, closed)) = conn.closed() else {
        panic!(
            "{:?} still lives: last byte {:?}",
            conn.role(),
            conn.last_input()
        );
    };
    assert_eq!(closed.cause, Cause::Dead(DeadReason::PongTimeout));
    // Silence is counted in awake time, and each wake-up may be late.
    let silence = at.saturating_duration_since(conn.last_input());
    assert!(closed.silence <= silence && silence <= closed.silence + slack);
    let ping = *conn.pings().last().expect("a ping went out first");
    assert!(ping >= conn.last_input() || closed.silence < policy.timeout + slack);
    assert!(
        at >= ping.saturating_add(policy.timeout),
        "too early: {at:?}, ping {ping:?}"
    );
    assert!(
        closed.silence <= policy.bound,
        "{:?} after the last byte, not {:?}",
        closed.silence,
        policy.bound
    );
    let suspected = conn.suspected().expect("suspected first");
    assert!(suspected < at && suspected >= ping.saturating_add(policy.timeout / 2));
}

fn told(world: &World<Host, Host>) -> Told {
    let simulated = Duration::from_nanos(world.now().as_nanos());
    let told = Told {
        simulated,
        steps: world.steps(),
        deaths: 2,
        ..Told::default()
    };
    told.of(&world.a, world.now()).of(&world.b, world.now())
}

fn quiet(seed: u64) -> Told {
    let rng = &mut Rng::new(seed);
    let role = role(rng);
    let policies = [policy(rng), policy(rng)];
    let shortest = policies[0].timeout.min(policies[1].timeout);
    let shortest_step = shortest.min(policies[0].interval).min(policies[1].interval);
    let longest = policies[0].bound.max(policies[1].bound);
    let end = Instant::ZERO.saturating_add(rng.span(ms(1)..=longest * 4));
    // No step is shorter than this, so lateness adds up to an eighth of the bound at most.
    let lag = if rng.chance(50) {
        shortest_step.min(ms(5_000)) / 16
    } else {
        Duration::ZERO
    };
    let make = |rng: &mut Rng, role, policy: &Policy| {
        let mut host = host(rng, role, policy.heartbeat);
        host.lag = Lag {
            usual: lag,
            rare: lag,
            rare_percent: 0,
        };
        // The last words are said a moment before the end.
        host.traffic = Traffic {
            next: Some(Instant::ZERO.saturating_add(rng.span(Duration::ZERO..=longest))),
            gap: longest,
            left: rng.below(6) as u32 + 1,
            longest: 500,
            ping_percent: 20,
            ..Traffic::NONE
        };
        host.traffic.next = host.traffic.next.filter(|&next| next < end);
        host.traffic.gap = Duration::ZERO.max(longest / 8);
        host
    };
    let (a, b) = (
        make(rng, role, &policies[0]),
        make(rng, role.peer(), &policies[1]),
    );
    let pipe = |rng: &mut Rng| PipeConfig {
        latency: rng.span(Duration::ZERO..=shortest / 4),
        black_hole: Some(end),
        send_buffer: 1 << 20,
        ..PipeConfig::default()
    };
    let mut world = World::new(a, b, pipe(rng), pipe(rng));
    let slack = longest / 8 + lag * 8;
    world.run_until(end.saturating_add(longest + slack));
    // A matching pong is required and does not come while the peer still talks: its own bound
    // runs from the ping, and both are below interval + timeout after the ping before.
    let slack = if lag.is_zero() { lag } else { slack };
    assert_found(&world.a, &policies[0], slack);
    assert_found(&world.b, &policies[1], slack);
    told(&world)
}

/// The worst case: something went out after the peer's last byte, so the ping waits for the whole
/// interval. Without jitter the bound is met to the nanosecond.
fn worst(seed: u64) -> Told {
    let rng = &mut Rng::new(seed);
    let role = role(rng);
    let interval = log_span(rng, ms(1_000), ms(60_000));
    let timeout = log_span(rng, ms(100), ms(60_000));
    let heartbeat = HeartbeatConfig::ping(interval, timeout).jitter_percent(0);
    let policy = Policy {
        heartbeat,
        interval,
        timeout,
        bound: interval + timeout,
    };
    let mut a = host(rng, role, heartbeat);
    let mut b = host(rng, role.peer(), HeartbeatConfig::off());
    let latency = rng.span(Duration::ZERO..=timeout / 4);
    let last = Instant::ZERO.saturating_add(rng.span(ms(1)..=interval * 5));
    let arrives = last.saturating_add(latency);
    b.traffic = Traffic {
        next: Some(last),
        left: 1,
        longest: 50,
        ..Traffic::NONE
    };
    let after = Duration::from_nanos(2);
    a.traffic = Traffic {
        next: Some(arrives.saturating_add(after)),
        left: 1,
        ..b.traffic
    };
    let hole = arrives.saturating_add(Duration::from_nanos(1));
    let pipe = PipeConfig {
        latency,
        black_hole: Some(hole),
        ..PipeConfig::default()
    };
    let mut world = World::new(a, b, pipe.clone(), pipe);
    world.run_until(arrives.saturating_add(policy.bound * 2));
    assert_eq!(world.a.conn().last_input(), arrives);
    assert_found(&world.a, &policy, Duration::ZERO);
    assert_eq!(world.a.conn().silence(), Some(policy.bound), "met exactly");
    Told {
        deaths: 1,
        ..told(&world)
    }
}

/// A passive host hears nothing: dead when its silence is over, to the nanosecond.
fn passive(seed: u64) -> Told {
    let rng = &mut Rng::new(seed);
    let role = role(rng);
    let silence = log_span(rng, ms(100), ms(60_000));
    let a = host(rng, role, HeartbeatConfig::passive(silence));
    let talk = HeartbeatConfig::ping(silence / 3, Duration::MAX).mode(Mode::Periodic);
    let b = host(rng, role.peer(), talk);
    let end = Instant::ZERO.saturating_add(rng.span(ms(1)..=silence * 20));
    let latency = rng.span(Duration::ZERO..=silence / 8);
    let pipe = PipeConfig {
        latency,
        black_hole: Some(end),
        ..PipeConfig::default()
    };
    let mut world = World::new(a, b, pipe.clone(), pipe);
    world.run_until(end.saturating_add(silence));
    let (at, closed) = world.a.conn().closed().expect("found");
    assert_eq!(closed.cause, Cause::Dead(DeadReason::Silence));
    assert_eq!(
        at.saturating_duration_since(world.a.conn().last_input()),
        silence
    );
    assert!(
        world.a.conn().pings().is_empty(),
        "a passive host sends none"
    );
    let suspected = world.a.conn().suspected().expect("suspected first");
    assert_eq!(
        suspected,
        world.a.conn().last_input().saturating_add(silence / 2)
    );
    Told {
        deaths: 1,
        ..told(&world)
    }
}

#[test]
fn silence_is_found_within_the_bound() {
    let all = sum("dying, quiet", &traces("quiet", 20_000, quiet));
    assert!(
        all.deaths == 2 * all.traces && all.pings > all.traces,
        "{all:?}"
    );
}

#[test]
fn the_bound_is_met_in_the_worst_case() {
    let all = sum("dying, worst case", &traces("worst", 5_000, worst));
    assert!(
        all.deaths == all.traces && all.pings > all.traces,
        "{all:?}"
    );
}

#[test]
fn a_passive_host_finds_silence() {
    sum("dying, passive", &traces("passive", 3_000, passive));
}
