//! Peers that answer in time, and machines that are not kind to the connection.

use std::time::Duration;

use wspulse_core::heartbeat::{Evidence, HeartbeatConfig, Mode};
use wspulse_core::{Cause, Instant};
use wspulse_tests::host::{Host, Lag, Spell, SpellKind, Traffic};
use wspulse_tests::kit::ms;
use wspulse_tests::pipe::PipeConfig;
use wspulse_tests::rng::{Rng, traces};
use wspulse_tests::sim::World;

use crate::{Patience, Told, host, host_with, log_span, patient, role, sum};

/// A pipe that takes at most a quarter of `timeout`, stalls included.
pub(crate) fn pipe(rng: &mut Rng, timeout: Duration, end: Duration) -> PipeConfig {
    // What is said at once must get through in a quarter of the timeout as well.
    let buffer = 1 << rng.range(16..=20);
    let mut stalls = Vec::new();
    let mut from = Instant::ZERO.saturating_add(rng.span(Duration::ZERO..=end / 2));
    for _ in 0..rng.below(4) {
        let to = from.saturating_add(rng.span(ms(1)..=timeout / 8));
        stalls.push((from, to));
        from = to
            .saturating_add(timeout)
            .saturating_add(rng.span(ms(1)..=end / 4));
    }
    PipeConfig {
        latency: rng.span(Duration::ZERO..=timeout / 8),
        rate: rng.chance(50).then(|| rng.range(4_000_000..=1_000_000_000)),
        send_buffer: buffer,
        receive_buffer: 1 << rng.range(16..=20),
        segment: rng.len(1_000..=65_536),
        wake_at: rng.len(1..=buffer / 3),
        stalls,
        ..PipeConfig::default()
    }
}

fn traffic(rng: &mut Rng, end: Duration) -> Traffic {
    if rng.chance(30) {
        return Traffic::NONE;
    }
    let left = rng.range(1..=30) as u32;
    Traffic {
        next: Some(Instant::ZERO.saturating_add(rng.span(Duration::ZERO..=end / 2))),
        gap: if rng.chance(50) {
            end / 2 / left
        } else {
            ms(5)
        },
        left,
        shortest: 0,
        longest: rng.pick(&[20, 200, 1_000]),
        parts_percent: 20,
        ping_percent: 10,
    }
}

/// Pauses, suspends, and spells without reading, of any length.
pub(crate) fn spells(rng: &mut Rng, timeout: Duration, end: Duration) -> Vec<Spell> {
    let mut spells = Vec::new();
    let mut from = Instant::ZERO.saturating_add(rng.span(ms(1)..=end / 2));
    for _ in 0..rng.below(4) {
        let to = from.saturating_add(log_span(rng, ms(10), timeout * 8));
        let kind = rng.pick(&[
            SpellKind::Paused,
            SpellKind::Suspended,
            SpellKind::NotReading,
        ]);
        spells.push(Spell { from, to, kind });
        from = to.saturating_add(rng.span(ms(1)..=end / 4));
    }
    spells
}

/// Everything that was sent arrived, in order and equal, and nobody was declared dead.
fn assert_whole(a: &Host, b: &Host) {
    for host in [a, b] {
        let closed = host.conn().closed();
        let (_, closed) = closed.unwrap_or_else(|| panic!("{:?} never ended", host.conn().role()));
        assert_eq!(closed.cause, Cause::Normal, "{closed:?}");
        assert!(closed.clean);
        let (queued, seen) = host.application_pings();
        // At most the newest sixteen pongs wait, and none follow a Close frame.
        assert!(seen <= queued);
    }
    assert!(
        a.sent() == b.received(),
        "{:?} and {:?}",
        a.sent(),
        b.received()
    );
    assert!(
        b.sent() == a.received(),
        "{:?} and {:?}",
        b.sent(),
        a.received()
    );
}

/// Naps, one after another: each time awake lasts for more than a round trip.
fn naps(rng: &mut Rng, timeout: Duration, end: Duration) -> Vec<Spell> {
    let mut spells = Vec::new();
    let mut from = Instant::ZERO.saturating_add(rng.span(ms(1)..=end / 2));
    for _ in 0..rng.below(12) {
        let to = from.saturating_add(log_span(rng, ms(10), timeout * 4));
        let kind = SpellKind::Paused;
        spells.push(Spell { from, to, kind });
        from = to.saturating_add(timeout + rng.span(ms(1)..=timeout));
    }
    spells
}

/// A host whose policy changes again and again, which naps, makes any call first and gives messages
/// and the application's silence their time.
fn changing(seed: u64) -> Told {
    lives(seed, true)
}

/// One host under test, against a patient one that is always there.
fn against_patient(seed: u64) -> Told {
    lives(seed, false)
}

fn lives(seed: u64, changes: bool) -> Told {
    let rng = &mut Rng::new(seed);
    let role = role(rng);
    let interval = log_span(rng, ms(100), ms(60_000));
    let timeout = log_span(rng, ms(100), ms(60_000));
    let end = (interval + timeout) * 10;
    let mode = rng.pick(&[
        Mode::Idle,
        Mode::Idle,
        Mode::Idle,
        Mode::Periodic,
        Mode::Passive,
    ]);
    let evidence = rng.pick(&[
        Evidence::AnyByte,
        Evidence::AnyFrame,
        Evidence::MatchingPong,
    ]);
    let evidence = if mode == Mode::Passive {
        Evidence::AnyByte
    } else {
        evidence
    };
    let heartbeat = HeartbeatConfig::ping(interval, timeout)
        .mode(mode)
        .evidence(evidence)
        .jitter_percent(rng.range(0..=50) as u8);
    // A passive host lives by the pings of its peer.
    let other = match mode {
        Mode::Passive => HeartbeatConfig::ping(timeout / 4, Duration::MAX).mode(Mode::Periodic),
        _ => HeartbeatConfig::off(),
    };
    // Longer than anything that goes on while awake, and shorter than some pauses.
    let patience = Patience {
        message: if changes { timeout * 2 } else { Duration::MAX },
        idle: if changes { end * 4 } else { Duration::MAX },
    };
    let mut a = host_with(rng, role, heartbeat, patience);
    let mut b = host(rng, role.peer(), patient(other));
    a.spells = if changes && rng.chance(50) {
        naps(rng, timeout, end)
    } else {
        spells(rng, timeout, end)
    };
    if changes {
        a.any_first = rng.chance(50);
        for _ in 0..rng.below(6) {
            let at = Instant::ZERO.saturating_add(rng.span(ms(1)..=end));
            let policy = HeartbeatConfig::ping(
                log_span(rng, ms(100), ms(60_000)),
                timeout + rng.span(Duration::ZERO..=timeout),
            );
            let policy = policy.mode(mode).evidence(evidence);
            a.policies
                .push((at, policy.jitter_percent(rng.range(0..=50) as u8)));
        }
        a.policies.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    }
    a.lag = lag(rng, timeout);
    b.lag = Lag {
        usual: timeout / 16,
        rare: timeout / 4,
        rare_percent: 5,
    };
    a.traffic = traffic(rng, end);
    // Where only the pong counts, it must not be behind what the host did not read.
    if evidence != Evidence::MatchingPong {
        b.traffic = traffic(rng, end);
    }
    a.read_budget = 1 << rng.range(8..=18);
    a.read_chunk = 1 << rng.range(0..=16);
    let last = a.spells.last().map_or(Instant::ZERO, |spell| spell.to);
    let end = last
        .max(Instant::ZERO.saturating_add(end))
        .saturating_add(interval + timeout);
    a.close_at = Some(end);
    let mut world = World::new(
        a,
        b,
        pipe(rng, timeout, ms(1) * 1_000),
        PipeConfig::default(),
    );
    world.back = wspulse_tests::pipe::Pipe::new(pipe(rng, timeout, interval * 5));
    finish(world, end)
}

pub(crate) fn lag(rng: &mut Rng, timeout: Duration) -> Lag {
    match rng.below(3) {
        0 => Lag::NONE,
        1 => Lag {
            usual: ms(5),
            rare: timeout,
            rare_percent: 2,
        },
        _ => Lag {
            usual: timeout / 4,
            rare: timeout * 2,
            rare_percent: 10,
        },
    }
}

/// Two hosts that both judge; neither is away for longer than the other would bear.
fn pair(seed: u64) -> Told {
    let rng = &mut Rng::new(seed);
    let role = role(rng);
    let timeout = log_span(rng, ms(500), ms(60_000));
    let mut intervals = [Duration::ZERO; 2];
    let mut make = |rng: &mut Rng, role, index: usize| {
        intervals[index] = log_span(rng, ms(100), ms(60_000));
        let own = timeout + rng.span(Duration::ZERO..=timeout);
        let heartbeat = HeartbeatConfig::ping(intervals[index], own)
            .mode(rng.pick(&[Mode::Idle, Mode::Periodic]))
            .evidence(rng.pick(&[
                Evidence::AnyByte,
                Evidence::AnyFrame,
                Evidence::MatchingPong,
            ]))
            .jitter_percent(rng.range(0..=50) as u8);
        let mut host = host(rng, role, heartbeat);
        host.lag = Lag {
            usual: timeout / 32,
            rare: timeout / 8,
            rare_percent: 10,
        };
        host.read_chunk = 1 << rng.range(0..=16);
        host
    };
    let (mut a, mut b) = (make(rng, role, 0), make(rng, role.peer(), 1));
    let length = (intervals[0].max(intervals[1]) + timeout) * 8;
    (a.traffic, b.traffic) = (traffic(rng, length), traffic(rng, length));
    // The machine that both run on is suspended, or the process that holds both is paused.
    if rng.chance(50) {
        let from = Instant::ZERO.saturating_add(rng.span(ms(1)..=length));
        let to = from.saturating_add(log_span(rng, ms(10), timeout * 100));
        let kind = rng.pick(&[SpellKind::Paused, SpellKind::Suspended]);
        a.spells = vec![Spell { from, to, kind }];
        b.spells = a.spells.clone();
        // Both wake up late for the first time, and the first to wake must bear the other.
        (a.lag.rare, b.lag.rare) = (timeout / 16, timeout / 16);
    }
    let last = a.spells.last().map_or(Instant::ZERO, |spell| spell.to);
    let end = last
        .max(Instant::ZERO.saturating_add(length))
        .saturating_add(length / 8);
    a.close_at = Some(end);
    let (there, back) = (pipe(rng, timeout, length), pipe(rng, timeout, length));
    finish(World::new(a, b, there, back), end)
}

pub(crate) fn finish(mut world: World<Host, Host>, end: Instant) -> Told {
    world.run_until(end);
    let over = |world: &World<Host, Host>| {
        world.a.conn().closed().is_some() && world.b.conn().closed().is_some()
    };
    world.run_while(end.saturating_add(ms(3_600_000)), |world| !over(world));
    assert_whole(&world.a, &world.b);
    let simulated = Duration::from_nanos(world.now().as_nanos());
    let told = Told {
        simulated,
        steps: world.steps(),
        ..Told::default()
    };
    told.of(&world.a, world.now()).of(&world.b, world.now())
}

#[test]
fn a_patient_peer_is_never_declared_dead() {
    let all = sum("patient peer", &traces("patient", 75_000, against_patient));
    assert!(all.pings > all.traces, "{all:?}");
    assert!(all.pauses > all.traces / 10, "{all:?}");
    assert!(all.messages > all.traces, "{all:?}");
}

#[test]
fn a_host_that_changes_its_policy_declares_no_patient_peer_dead() {
    let all = sum("changing host", &traces("changing", 58_000, changing));
    assert!(all.pings > all.traces, "{all:?}");
    assert!(all.pauses > all.traces / 10, "{all:?}");
    assert!(all.messages > all.traces / 2, "{all:?}");
}

#[test]
fn two_healthy_hosts_never_declare_each_other_dead() {
    let all = sum("healthy pair", &traces("pair", 20_000, pair));
    assert!(all.pings > all.traces, "{all:?}");
    assert!(all.pauses > all.traces / 10, "{all:?}");
}
