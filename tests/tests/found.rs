//! Flaws that the simulator and the model found, each as small as it can be told.

use core::time::Duration;

use wspulse_core::Instant;
use wspulse_core::heartbeat::{DeadReason, Heartbeat, HeartbeatConfig, HeartbeatEvent};

const fn secs(secs: u64) -> Instant {
    Instant::from_secs(secs)
}

fn ping(interval: u64, timeout: u64) -> HeartbeatConfig {
    HeartbeatConfig::ping(Duration::from_secs(interval), Duration::from_secs(timeout))
        .jitter_percent(0)
}

/// A host that did not read for longer than interval and timeout, while its timers ran, reads
/// again and finds the peer alive: the heartbeat must go on.
#[test]
fn life_after_a_long_unread_spell_keeps_a_deadline() {
    let mut heartbeat = Heartbeat::new(ping(20, 20), 1, secs(0)).unwrap();
    heartbeat.handle_timeout(secs(20));
    heartbeat.poll_ping().unwrap();
    heartbeat.handle_ping_sent(secs(20));
    while let Some(deadline) = heartbeat.poll_timeout().filter(|&d| d < secs(45)) {
        heartbeat.handle_timeout(deadline); // nobody reads
    }
    heartbeat.handle_received(secs(45));
    heartbeat.handle_would_block(secs(45));
    let deadline = heartbeat.poll_timeout().expect("the heartbeat goes on");
    assert!(deadline <= secs(65), "{deadline:?}");
}

/// An interval that has passed already under the new policy is due at once, not never.
#[test]
fn a_shorter_interval_takes_effect_on_a_quiet_connection() {
    let mut heartbeat = Heartbeat::new(ping(60, 20), 1, secs(0)).unwrap();
    heartbeat.set_config(secs(30), ping(5, 10)).unwrap();
    let deadline = heartbeat.poll_timeout();
    let soon = deadline.is_some_and(|deadline| deadline <= secs(35));
    assert!(heartbeat.wants_ping() || soon, "{deadline:?}");
}

/// Bytes from the dead change nothing.
#[test]
fn nothing_follows_death() {
    let mut heartbeat = Heartbeat::new(ping(1, 1), 1, secs(0)).unwrap();
    heartbeat.handle_timeout(secs(1));
    heartbeat.poll_ping().unwrap();
    heartbeat.handle_ping_sent(secs(1));
    let mut events = [None; 2];
    for event in &mut events {
        let deadline = heartbeat.poll_timeout().unwrap();
        heartbeat.handle_would_block(deadline);
        heartbeat.handle_timeout(deadline);
        *event = heartbeat.poll_event();
    }
    assert_eq!(
        events,
        [
            Some(HeartbeatEvent::Suspect),
            Some(HeartbeatEvent::Dead(DeadReason::PongTimeout))
        ]
    );
    heartbeat.handle_received(secs(2));
    assert_eq!(heartbeat.poll_event(), None);
    assert_eq!(heartbeat.poll_timeout(), None);
}
