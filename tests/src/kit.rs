//! Short ways to say what tests say often.

use std::sync::Arc;
use std::time::Duration;

use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Cause, Config, Connection, Event, Instant, Role, Seed, State};

use crate::check::Checked;
use crate::host::Host;
use crate::wire::{Frame, Wire, opcode};

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

/// Drives a connection whose transport takes everything and brings nothing, up to `until`, and
/// tells what happened when: "ping", "close 1011", "suspect", "recovered", "dead PongTimeout", or
/// how else it ended.
pub fn silence(connection: &mut Connection, until: Instant) -> Vec<(Instant, String)> {
    let mut log = Vec::new();
    for _ in 0..10_000 {
        let Some(deadline) = connection.poll_timeout().filter(|&due| due <= until) else {
            return log;
        };
        turn(connection, deadline, &mut log);
    }
    panic!("a busy loop: {log:?}");
}

/// A host that wakes at each deadline up to `until`, and makes no read or write.
pub fn sleep(connection: &mut Connection, until: Instant) {
    for _ in 0..10_000 {
        match connection.poll_timeout().filter(|&due| due <= until) {
            Some(deadline) => connection.handle_timeout(deadline),
            None => return,
        }
    }
    panic!("a busy loop");
}

/// One turn of the drive loop that finds nothing to read.
pub fn turn(connection: &mut Connection, now: Instant, log: &mut Vec<(Instant, String)>) {
    connection.handle_would_block(now);
    connection.handle_timeout(now);
    let state = connection.state();
    let mut say = |what: String| log.push((now, what));
    let frames = drain_frames(connection, now);
    for event in events(connection) {
        say(match event {
            Event::Suspect => "suspect".into(),
            Event::Recovered => "recovered".into(),
            Event::Closed(closed) => match closed.cause {
                Cause::Dead(reason) => format!("dead {reason:?}"),
                cause => format!("{cause:?}"),
            },
            event => format!("{event:?}"),
        });
    }
    for frame in frames {
        let code = frame.close_code().unwrap_or(0);
        say(match frame.opcode {
            opcode::PING => "ping".into(),
            opcode::PONG => "pong".into(),
            opcode::CLOSE => format!("close {code}"),
            _ => format!("data {}", String::from_utf8_lossy(&frame.payload)),
        });
    }
    assert!(state != State::Closed || connection.poll_timeout().is_none());
}

/// Writes down a log as a test expects it.
#[must_use]
pub fn told(list: &[(u64, &str)]) -> Vec<(Instant, String)> {
    list.iter()
        .map(|(millis, what)| (at(*millis), (*what).to_owned()))
        .collect()
}

/// The payloads of the automatic pings among `frames`.
#[must_use]
pub fn pings(frames: &[Frame]) -> Vec<Vec<u8>> {
    let pings = frames
        .iter()
        .filter(|frame| frame.opcode == opcode::PING && frame.len == 16);
    pings.map(|frame| frame.payload.clone()).collect()
}
