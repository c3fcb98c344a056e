//! Rule 5 with transports as kernels have them: a writer is woken when a third of a buffer is
//! free, so output leaves in lumps, about one in each window over which a rate is measured.

use wspulse_core::Instant;
use wspulse_core::heartbeat::{Heartbeat, HeartbeatConfig, HeartbeatEvent};
use wspulse_tests::kit::{ms, ping};

/// What stands in both kernels before the first lump leaves.
const BUFFERED: u64 = 10_000_000;

/// What the writer offers at once.
const OFFER: u64 = 65_550;

/// How a writer learns of room, and how it tells.
#[derive(Clone, Copy, Debug)]
struct Writer {
    /// From one lump to the next.
    gap: u64,
    /// How long the write that takes the last part of a lump waits for more before it says so.
    late: u64,
    /// How often it tries in vain between two lumps.
    retry: u64,
}

/// The extension may be as long as what stands before the ping needs.
fn policy() -> HeartbeatConfig {
    ping(1_000, 1_000).write_stall_timeout(ms(30_000))
}

/// A peer that drains two bytes a microsecond answers as soon as the ping is through. Returns what
/// the heartbeat said until then, and when that was.
fn drained_at_two_megabytes(writer: Writer) -> (Vec<(u64, HeartbeatEvent)>, u64) {
    let mut heartbeat = Heartbeat::new(policy(), 1, Instant::ZERO).expect("valid");
    let mut left = 16_000_000 - BUFFERED;
    let mut said = Vec::new();
    let offer = |heartbeat: &mut Heartbeat, now: u64, bytes: u64, blocked: bool| {
        let taken = usize::try_from(bytes).expect("small");
        heartbeat.handle_transmitted(Instant::from_millis(now), taken, blocked);
    };
    (0..BUFFERED / OFFER).for_each(|_| offer(&mut heartbeat, 0, OFFER, false));
    offer(&mut heartbeat, 0, OFFER / 2, true);
    let (mut taken, mut answer, mut next) = (BUFFERED, u64::MAX, writer.gap);
    let mut end_of_lump = u64::MAX;
    for now in 1..20_000 {
        let at = Instant::from_millis(now);
        if now >= answer {
            return (said, answer);
        }
        if left > 0 && now == next {
            next += writer.gap;
            let lump = (2_000 * writer.gap).min(left);
            left -= lump;
            taken += lump;
            (0..lump / OFFER).for_each(|_| offer(&mut heartbeat, now, OFFER, false));
            // Everything has left with the last lump, and the transport takes more.
            end_of_lump = if left > 0 {
                now + writer.late
            } else {
                u64::MAX
            };
        }
        if now == end_of_lump {
            offer(&mut heartbeat, now, OFFER / 2, true);
        } else if left > 0 && now > end_of_lump && now % writer.retry == 0 {
            offer(&mut heartbeat, now, 0, true);
        }
        heartbeat.handle_would_block(at);
        if heartbeat.poll_timeout().is_some_and(|due| due <= at) {
            heartbeat.handle_timeout(at);
        }
        if heartbeat.poll_ping().is_some() {
            heartbeat.handle_ping_sent(at);
            answer = answer.min(taken / 2_000);
        }
        said.extend(std::iter::from_fn(|| heartbeat.poll_event()).map(|event| (now, event)));
    }
    (said, answer)
}

#[test]
fn rule_5_lumps_of_any_size_kill_nobody() {
    for gap in [20, 100, 200, 240, 260, 300, 330, 400, 490] {
        for late in [0, 1, 10, 35, 60, 100] {
            for retry in [7, 33, 72, 1_000] {
                let writer = Writer { gap, late, retry };
                if late >= gap {
                    continue;
                }
                let (said, answer) = drained_at_two_megabytes(writer);
                assert!(answer >= 4_000, "the ping is not behind much: {answer} ms");
                let is_killed = said
                    .iter()
                    .any(|(_, event)| matches!(event, HeartbeatEvent::Dead(_)));
                assert!(
                    !is_killed,
                    "{writer:?}: {said:?}, the pong comes at {answer} ms"
                );
            }
        }
    }
}
