//! Megabytes between the ping and its reader.

use std::time::Duration;

use wspulse_core::heartbeat::{DeadReason, Evidence, HeartbeatConfig, Mode};
use wspulse_core::{Cause, Instant, Message, Role};
use wspulse_tests::host::{Host, Lag, Traffic};
use wspulse_tests::kit::ms;
use wspulse_tests::peer::Peer;
use wspulse_tests::pipe::PipeConfig;
use wspulse_tests::rng::{Rng, traces};
use wspulse_tests::sim::{End, World};
use wspulse_tests::wire::opcode;

use crate::{Told, host, log_span, patient, role, sum};

const STALL: Duration = Duration::from_secs(30);

/// A transfer through buffers that hold many timeouts' worth of bytes.
#[derive(Clone, Debug)]
struct Plan {
    role: Role,
    heartbeat: HeartbeatConfig,
    interval: Duration,
    timeout: Duration,
    traffic: Traffic,
    there: PipeConfig,
    back: PipeConfig,
    rate: u64,
    total: u64,
    /// How long full buffers take to drain.
    depth: Duration,
}

fn plan(rng: &mut Rng, receive_buffer: usize) -> Plan {
    let interval = log_span(rng, ms(500), ms(20_000));
    let timeout = log_span(rng, ms(500), ms(20_000));
    let evidence = rng.pick(&[
        Evidence::AnyByte,
        Evidence::AnyFrame,
        Evidence::MatchingPong,
    ]);
    let heartbeat = HeartbeatConfig::ping(interval, timeout)
        .mode(rng.pick(&[Mode::Idle, Mode::Periodic]))
        .evidence(evidence)
        .write_stall_timeout(STALL)
        .jitter_percent(rng.range(0..=50) as u8);
    let most = if rng.chance(10) { 4 << 20 } else { 500_000 };
    let send_buffer = log_size(rng, 100_000, most);
    let depth = log_span(rng, timeout / 2, (STALL * 3 / 4).max(timeout / 2 + ms(1)));
    let held = (send_buffer + receive_buffer) as u64;
    let rate = (held as f64 / depth.as_secs_f64()).max(1_000.0) as u64;
    // Enough that the buffers are full and the transport blocked for long.
    let longest = log_size(rng, 1_000, send_buffer) as u64;
    let left = 4 * held / longest + 2;
    let latency = rng.span(Duration::ZERO..=timeout / 8);
    let there = PipeConfig {
        latency,
        send_buffer,
        receive_buffer,
        segment: (send_buffer / 16).clamp(536, 65_536),
        wake_at: rng.len(1..=send_buffer / 3),
        ..PipeConfig::default()
    };
    Plan {
        role: role(rng),
        heartbeat,
        interval,
        timeout,
        traffic: Traffic {
            next: Some(Instant::ZERO.saturating_add(rng.span(Duration::ZERO..=interval))),
            gap: Duration::ZERO,
            left: left as u32,
            longest: longest as usize,
            shortest: longest as usize / 2,
            ..Traffic::NONE
        },
        there,
        back: PipeConfig {
            latency,
            ..PipeConfig::default()
        },
        rate,
        total: left * longest,
        depth,
    }
}

fn log_size(rng: &mut Rng, low: usize, high: usize) -> usize {
    log_span(
        rng,
        Duration::from_nanos(low as u64),
        Duration::from_nanos(high as u64),
    )
    .as_nanos() as usize
}

/// The time it takes in all, and then some.
fn length(plan: &Plan) -> Duration {
    let transfer = Duration::from_secs_f64(plan.total as f64 / plan.rate as f64);
    transfer + plan.depth * 2 + (plan.interval + plan.timeout) * 3
}

fn told<B: End>(world: &World<Host, B>) -> Told {
    let simulated = Duration::from_nanos(world.now().as_nanos());
    Told {
        simulated,
        steps: world.steps(),
        ..Told::default()
    }
    .of(&world.a, world.now())
}

/// A link at a constant rate, and an engine behind it.
fn slow_link(seed: u64) -> Told {
    let rng = &mut Rng::new(seed);
    let mut plan = plan(rng, 1 << 20);
    plan.rate = (plan.there.send_buffer as f64 / plan.depth.as_secs_f64()).max(1_000.0) as u64;
    plan.there.rate = Some(plan.rate);
    let mut a = host(rng, plan.role, plan.heartbeat);
    let mut b = host(rng, plan.role.peer(), patient(HeartbeatConfig::off()));
    a.traffic = plan.traffic.clone();
    b.lag = Lag {
        usual: plan.timeout / 16,
        rare: plan.timeout / 8,
        rare_percent: 5,
    };
    let end = Instant::ZERO.saturating_add(length(&plan));
    let mut world = World::new(a, b, plan.there.clone(), plan.back.clone());
    world.run_until(end);
    let closed = world.a.conn().closed();
    assert!(closed.is_none(), "{closed:?}\n{plan:?}");
    assert!(world.a.sent() == world.b.received(), "all arrived");
    told(&world)
}

/// A reader at a constant rate, with both kernels' buffers full in front of it.
fn slow_reader(seed: u64) -> Told {
    let rng = &mut Rng::new(seed);
    let receive_buffer = log_size(rng, 100_000, 500_000);
    let plan = plan(rng, receive_buffer);
    let mut a = host(rng, plan.role, plan.heartbeat);
    a.traffic = plan.traffic.clone();
    let mut b = Peer::new(plan.role.peer());
    b.read_rate = Some(plan.rate);
    b.tick = rng.span(ms(5)..=plan.timeout.min(ms(1_000)) / 16);
    let end = Instant::ZERO.saturating_add(length(&plan));
    let mut world = World::new(a, b, plan.there.clone(), plan.back.clone());
    world.run_until(end);
    let closed = world.a.conn().closed();
    assert!(closed.is_none(), "{closed:?}\n{plan:?}");
    let sent: usize = world.a.sent().iter().map(Message::len).sum();
    let data = world
        .b
        .frames()
        .iter()
        .filter(|(_, frame)| frame.opcode < opcode::CLOSE);
    assert_eq!(
        data.map(|(_, frame)| frame.len).sum::<u64>(),
        sent as u64,
        "all arrived"
    );
    told(&world)
}

/// The path breaks in the middle: dead by silence or by a stalled write, within the sum of all
/// that may be waited for.
fn breaks(seed: u64) -> Told {
    let rng = &mut Rng::new(seed);
    let mut plan = plan(rng, 1 << 20);
    let stall = log_span(rng, ms(500), STALL);
    plan.heartbeat = plan.heartbeat.write_stall_timeout(stall);
    plan.depth = plan.depth.min(stall / 2);
    // Bytes leave the buffer once they have arrived.
    let latency = plan.there.latency.min(stall / 4);
    (plan.there.latency, plan.back.latency) = (latency, latency);
    plan.rate = (plan.there.send_buffer as f64 / plan.depth.as_secs_f64()).max(1_000.0) as u64;
    plan.there.rate = Some(plan.rate);
    let mut a = host(rng, plan.role, plan.heartbeat);
    let b = host(rng, plan.role.peer(), patient(HeartbeatConfig::off()));
    a.traffic = plan.traffic.clone();
    let start = plan.traffic.next.expect("it sends");
    let transfer = Duration::from_secs_f64(plan.total as f64 / plan.rate as f64);
    let hole = start.saturating_add(rng.span(ms(1)..=transfer));
    (plan.there.black_hole, plan.back.black_hole) = (Some(hole), Some(hole));
    let mut world = World::new(a, b, plan.there.clone(), plan.back.clone());
    let pause = (plan.timeout / 2).min(ms(5_000));
    // A ping that waits behind full buffers leaves the stall to find it, which counts from the last
    // byte that they took.
    let bound = plan.interval * 2 + plan.timeout + stall + pause + plan.depth;
    let linger = ms(250);
    world.run_until(hole.saturating_add(bound * 2 + linger));
    let conn = world.a.conn();
    let (at, closed) = conn.closed().expect("found");
    assert!(at > hole, "a healthy peer: {closed:?}");
    let Cause::Dead(reason) = closed.cause else {
        panic!("{closed:?}")
    };
    let is_stalled = reason == DeadReason::WriteStalled;
    assert!(conn.suspicions() > 0 || is_stalled, "suspected before dead");
    let quiet_since = conn.last_input().max(hole);
    let silence = at.saturating_duration_since(quiet_since);
    assert!(
        silence <= bound + linger,
        "{silence:?} of silence, not {bound:?}: {closed:?}\n{plan:?} {stall:?}"
    );
    let least = plan.timeout.min(stall);
    assert!(
        at >= conn.last_input().saturating_add(least),
        "too early: {closed:?}"
    );
    let stalled = u64::from(is_stalled);
    Told {
        deaths: 1,
        stalled,
        ..told(&world)
    }
}

#[test]
fn a_slow_link_kills_nobody() {
    let all = sum("slow link", &traces("slow_link", 4_000, slow_link));
    assert!(all.pings > all.traces, "{all:?}");
}

#[test]
fn a_slow_reader_kills_nobody() {
    let all = sum("slow reader", &traces("slow_reader", 1_000, slow_reader));
    assert!(all.pings > all.traces, "{all:?}");
}

#[test]
fn a_path_that_breaks_under_load_is_found() {
    let all = sum("dying, transfer", &traces("breaks", 4_000, breaks));
    let both = all.stalled > all.traces / 10 && all.deaths - all.stalled > all.traces / 10;
    assert!(both, "{all:?}");
}
