//! Short ways to say what tests say often.

use std::sync::Arc;
use std::time::Duration;

use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Config, Connection, Event, Instant, Role, Seed};

use crate::check::Checked;
use crate::host::Host;
use crate::wire::{Frame, Wire};

/// A span in milliseconds.
#[must_use]
pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A moment in milliseconds.
#[must_use]
pub const fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// A heartbeat without jitter, in milliseconds.
#[must_use]
pub const fn ping(interval: u64, timeout: u64) -> HeartbeatConfig {
    HeartbeatConfig::ping(ms(interval), ms(timeout)).jitter_percent(0)
}

/// The default configuration with this heartbeat.
#[must_use]
pub fn with_heartbeat(heartbeat: HeartbeatConfig) -> Arc<Config> {
    Arc::new(
        Config::builder()
            .heartbeat(heartbeat)
            .build()
            .expect("valid"),
    )
}

/// An open connection at time zero.
#[must_use]
pub fn open(role: Role, config: &Arc<Config>) -> Connection {
    let seed = Seed::predictable_for_tests(1);
    Connection::from_upgrade(role, Arc::clone(config), seed, Instant::ZERO)
}

/// An open connection on a host that is on time.
#[must_use]
pub fn host(role: Role, heartbeat: HeartbeatConfig) -> Host {
    let connection = open(role, &with_heartbeat(heartbeat));
    Host::new(Checked::open(connection, Instant::ZERO), 1)
}

/// Takes all that is lent, at `now`.
pub fn drain(connection: &mut Connection, now: Instant) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(transmit) = connection.poll_transmit() {
        let before = out.len();
        transmit
            .chunks()
            .for_each(|chunk| out.extend_from_slice(chunk));
        let len = out.len() - before;
        connection.handle_transmitted(now, len);
    }
    out
}

/// Takes all that is lent as frames; they are whole.
pub fn drain_frames(connection: &mut Connection, now: Instant) -> Vec<Frame> {
    let mut wire = Wire::frames(connection.role()).keeping_data();
    let frames = wire.push(&drain(connection, now)).expect("legal frames");
    assert!(wire.is_between_frames(), "half a frame");
    frames
}

/// Takes all events.
pub fn events(connection: &mut Connection) -> Vec<Event> {
    std::iter::from_fn(|| connection.poll_event()).collect()
}

/// Hands over all of `input`, taking events in between.
pub fn feed(connection: &mut Connection, now: Instant, mut input: &[u8]) -> Vec<Event> {
    let mut list = Vec::new();
    while !input.is_empty() {
        let taken = connection.handle_input(now, input);
        input = &input[taken..];
        let before = list.len();
        list.extend(events(connection));
        assert!(
            taken > 0 || list.len() > before,
            "neither took input nor had an event"
        );
    }
    list
}
