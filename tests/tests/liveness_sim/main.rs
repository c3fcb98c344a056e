//! Two hundred thousand random lives in virtual time. Healthy peers never die (rules 5 and 6);
//! dying ones are found within the bound (rule 8).
//!
//! `SIM_SEED=n cargo test -p wspulse-tests --test liveness_sim NAME` replays one trace,
//! `SIM_TRACES=n` sets how many there are in all, `SIM_BASE=n` draws other ones.

mod dying;
mod healthy;
mod opening;
mod transfer;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Config, Connection, Instant, Role, Seed};
use wspulse_tests::check::Checked;
use wspulse_tests::host::Host;
use wspulse_tests::rng::Rng;

/// What one trace has to tell.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    traces: u64,
    simulated: Duration,
    steps: u64,
    pings: u64,
    messages: u64,
    pauses: u64,
    suspicions: u64,
    deaths: u64,
    stalled: u64,
}

impl Told {
    /// Adds what `host` did.
    fn of(mut self, host: &Host, now: Instant) -> Self {
        self.pings += host.conn().pings().len() as u64;
        self.messages += host.received().len() as u64;
        self.pauses += u64::from(host.conn().local_pauses(host.local(now)));
        self.suspicions += u64::from(host.conn().suspicions());
        self
    }
}

/// Adds up, and prints past the test runner's capture: how much was simulated is of interest.
fn sum(name: &str, traces: &[Told]) -> Told {
    let mut all = Told {
        traces: traces.len() as u64,
        ..Told::default()
    };
    for told in traces {
        all.simulated += told.simulated;
        all.steps += told.steps;
        all.pings += told.pings;
        all.messages += told.messages;
        all.pauses += told.pauses;
        all.suspicions += told.suspicions;
        all.deaths += told.deaths;
        all.stalled += told.stalled;
    }
    let line = format!(
        "{name}: {} traces, {} h simulated, {} steps, {} pings, {} messages, {} local pauses, \
         {} suspicions, {} deaths, {} of them stalled writes\n",
        all.traces,
        all.simulated.as_secs() / 3600,
        all.steps,
        all.pings,
        all.messages,
        all.pauses,
        all.suspicions,
        all.deaths,
        all.stalled,
    );
    let _ = std::io::stderr().write_all(line.as_bytes());
    all
}

/// A span between `low` and `high`, each order of magnitude as likely as the next.
fn log_span(rng: &mut Rng, low: Duration, high: Duration) -> Duration {
    let (low, high) = (low.as_secs_f64(), high.as_secs_f64());
    let part = rng.below(1 << 32) as f64 / (1_u64 << 32) as f64;
    Duration::from_secs_f64(low * (high / low).powf(part))
}

fn role(rng: &mut Rng) -> Role {
    rng.pick(&[Role::Client, Role::Server])
}

/// An open connection on a host.
fn host(rng: &mut Rng, role: Role, heartbeat: HeartbeatConfig) -> Host {
    let for_ever = Patience {
        message: Duration::MAX,
        idle: Duration::MAX,
    };
    host_with(rng, role, heartbeat, for_ever)
}

/// How long a message may take, and how long the application may be silent.
#[derive(Clone, Copy, Debug)]
struct Patience {
    message: Duration,
    idle: Duration,
}

/// An open connection on a host with this patience.
fn host_with(rng: &mut Rng, role: Role, heartbeat: HeartbeatConfig, patience: Patience) -> Host {
    // Round trips of minutes occur, and closing takes one.
    let config = Config::builder()
        .heartbeat(heartbeat)
        .message_timeout(patience.message)
        .idle_timeout(patience.idle)
        .close_timeout(Duration::from_secs(3_600));
    let config = Arc::new(config.build().expect("valid"));
    let seed = Seed::predictable_for_tests(rng.draw());
    let connection = Connection::from_upgrade(role, config, seed, Instant::ZERO);
    Host::new(Checked::open(connection, Instant::ZERO), rng.draw())
}

/// A heartbeat that judges nobody.
fn patient(heartbeat: HeartbeatConfig) -> HeartbeatConfig {
    heartbeat.write_stall_timeout(Duration::MAX)
}
