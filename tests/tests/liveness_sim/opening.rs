//! Lives that begin with the opening handshake, and handshakes that nobody answers.

use std::sync::Arc;
use std::time::Duration;

use wspulse_core::handshake::ClientRequest;
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Cause, Config, Connection, Instant, Role, Seed};
use wspulse_tests::check::Checked;
use wspulse_tests::host::{Host, Lag, SpellKind, Traffic};
use wspulse_tests::kit::ms;
use wspulse_tests::pipe::PipeConfig;
use wspulse_tests::rng::{Rng, traces};
use wspulse_tests::sim::World;

use crate::healthy::{finish, lag, pipe, spells};
use crate::{Told, log_span, patient, role, sum};

/// A host whose connection has yet to open, within `opening`.
fn opening_host(
    rng: &mut Rng,
    role: Role,
    heartbeat: HeartbeatConfig,
    opening: Duration,
    start: Instant,
) -> Host {
    let config = Config::builder()
        .heartbeat(heartbeat)
        .handshake_timeout(opening)
        .close_timeout(Duration::from_secs(3_600));
    let config = Arc::new(config.build().expect("valid"));
    let seed = Seed::predictable_for_tests(rng.draw());
    let connection = match role {
        Role::Server => Connection::server(config, seed, start),
        Role::Client => {
            let request = ClientRequest::new("example.com", "/").expect("a legal request");
            Connection::client(config, &request, seed, start)
        }
    };
    Host::new(Checked::new(connection, start), rng.draw())
}

/// A host that opens a connection, pauses at any time, writes more than the transport takes at once,
/// and changes its policy before or after the connection is open.
fn opens(seed: u64) -> Told {
    let rng = &mut Rng::new(seed);
    let role = role(rng);
    let opening = log_span(rng, ms(200), ms(30_000));
    let interval = log_span(rng, ms(100), ms(30_000));
    let timeout = log_span(rng, ms(500), ms(30_000));
    let shortest = opening.min(timeout);
    let end = (opening + interval + timeout) * 5;
    let heartbeat = HeartbeatConfig::ping(interval, timeout);
    let off = patient(HeartbeatConfig::off());
    let mut a = opening_host(rng, role, heartbeat, opening, Instant::ZERO);
    let mut b = opening_host(rng, role.peer(), off, Duration::MAX, Instant::ZERO);
    a.spells = spells(rng, shortest, end);
    // An answer that nobody reads opens nothing.
    a.spells.retain(|spell| spell.kind != SpellKind::NotReading);
    a.any_first = rng.chance(50);
    a.lag = lag(rng, shortest);
    b.lag = Lag {
        usual: shortest / 16,
        rare: shortest / 8,
        rare_percent: 5,
    };
    if rng.chance(50) {
        let at = Instant::ZERO.saturating_add(rng.span(ms(1)..=opening * 2));
        let policy = HeartbeatConfig::ping(interval * 2, timeout + ms(100));
        a.policies.push((at, policy));
    }
    let longest = rng.pick(&[100, 10_000, 250_000]);
    let traffic = |rng: &mut Rng| {
        let left = rng.range(1..=8) as u32;
        Traffic {
            next: Some(Instant::ZERO),
            gap: end / 2 / left,
            left,
            longest,
            parts_percent: 20,
            ping_percent: 10,
            ..Traffic::NONE
        }
    };
    (a.traffic, b.traffic) = (traffic(rng), traffic(rng));
    a.read_chunk = 1 << rng.range(0..=16);
    let last = a.spells.last().map_or(Instant::ZERO, |spell| spell.to);
    let end = last
        .max(Instant::ZERO.saturating_add(end))
        .saturating_add(opening + interval + timeout);
    a.close_at = Some(end);
    let (mut there, mut back) = (pipe(rng, shortest, opening), pipe(rng, shortest, opening));
    if longest > 100_000 {
        // No transport takes such a message at once.
        for pipe in [&mut there, &mut back] {
            pipe.send_buffer = 1 << 16;
            pipe.wake_at = pipe.wake_at.min(pipe.send_buffer / 3);
        }
    }
    finish(World::new(a, b, there, back), end)
}

/// A path that breaks before the handshake is over: the connection ends when its time to open is, in
/// awake time.
fn unanswered(seed: u64) -> Told {
    let rng = &mut Rng::new(seed);
    let role = role(rng);
    let opening = log_span(rng, ms(100), ms(60_000));
    let heartbeat = HeartbeatConfig::default();
    let mut a = opening_host(rng, role, heartbeat, opening, Instant::ZERO);
    let b = opening_host(rng, role.peer(), heartbeat, Duration::MAX, Instant::ZERO);
    let most = match rng.chance(50) {
        true => opening / 32,
        false => Duration::ZERO,
    };
    a.lag = Lag {
        usual: most,
        ..Lag::NONE
    };
    let latency = opening / 8;
    // What arrives before: nothing, or a part of a head.
    let hole = latency + Duration::from_nanos(rng.range(0..=1));
    let pipe = PipeConfig {
        latency,
        segment: rng.len(1..=100),
        rate: Some(1_000),
        black_hole: Some(Instant::ZERO.saturating_add(hole)),
        ..PipeConfig::default()
    };
    let mut world = World::new(a, b, pipe.clone(), pipe);
    world.run_until(Instant::ZERO.saturating_add(opening * 2));
    let (at, closed) = world.a.conn().closed().expect("given up");
    assert_eq!(closed.cause, Cause::HandshakeTimeout);
    let took = at.saturating_duration_since(Instant::ZERO);
    // Each wake-up may be late: for what can be written, at the steps, and at the end.
    let late = most * world.a.turns() as u32;
    assert!(
        opening <= took && took <= opening + late,
        "{took:?}, not {opening:?} and {late:?}"
    );
    assert!(world.a.conn().pings().is_empty(), "not open");
    Told {
        simulated: took,
        steps: world.steps(),
        deaths: 1,
        ..Told::default()
    }
}

#[test]
fn a_connection_that_opens_lives_through_pauses_and_blocked_writes() {
    let all = sum("opening", &traces("opens", 5_000, opens));
    assert!(all.pings > all.traces, "{all:?}");
    assert!(all.pauses > all.traces / 10, "{all:?}");
    assert!(all.messages > all.traces, "{all:?}");
}

#[test]
fn a_handshake_that_nobody_answers_ends_in_its_time() {
    let all = sum("unanswered", &traces("unanswered", 5_000, unanswered));
    assert!(all.deaths == all.traces, "{all:?}");
}
