//! Why things happen in the demonstration: a few plain lines, with the figures of this run.

use std::time::Duration;

use super::timeline::seconds;

/// The ticker with a timer that people write by hand: a ping every interval since the connection
/// opened, and the end of the connection if a pong takes longer than the timeout.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticker {
    pub(super) opened: Duration,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

impl Ticker {
    /// How many pings it sends between two times.
    pub(super) fn pings(self, from: Duration, to: Duration) -> u128 {
        self.ticks(to).saturating_sub(self.ticks(from))
    }

    /// When it hangs up if nothing arrives any more from `silent` on: its first ping that is not
    /// answered is the first one after that.
    pub(super) fn hangs_up(self, silent: Duration) -> Duration {
        let next = u32::try_from(self.ticks(silent)).map_or(u32::MAX, |ticks| ticks + 1);
        let ping = self.opened + self.interval.saturating_mul(next);
        ping.saturating_add(self.timeout)
    }

    /// How many pings it has sent at a time.
    fn ticks(self, at: Duration) -> u128 {
        let age = at.saturating_sub(self.opened).as_nanos();
        age / self.interval.as_nanos().max(1)
    }
}

pub(super) fn quiet(ticker: Ticker, from: Duration, to: Duration, answered: u32) -> String {
    format!(
        "A ticker would have sent {} pings from each end. Here the two ends needed {answered}\n\
         together: one ping and its pong show both ends that the other is there.",
        ticker.pings(from, to)
    )
}

pub(super) fn suspicion(ticker: Ticker, silent: Duration, now: Duration) -> String {
    let hangs_up = ticker.hangs_up(silent);
    let then = match hangs_up.checked_sub(now) {
        Some(left) if !left.is_zero() => format!(
            "would still call this\nconnection alive, and hang up {} from now without a warning.",
            seconds(left)
        ),
        _ => format!(
            "would have hung up\n{} ago, without a warning.",
            seconds(now.saturating_sub(hangs_up))
        ),
    };
    format!(
        "'Suspect' is a warning: a ping has waited too long for an answer. The connection\n\
         stays open, and one byte from the peer ends the suspicion.\n\
         A ticker with a timer (ping every {}, {} for the pong) {then}",
        seconds(ticker.interval),
        seconds(ticker.timeout),
    )
}

pub(super) fn verdicts() -> &'static str {
    "TCP noticed nothing: the relay's kernel acknowledges every byte. Without pings, both\n\
     ends would keep this dead connection for ever."
}

pub(super) fn backoff() -> &'static str {
    "Why it waits: a server that restarts loses all its clients in one moment. If all came\n\
     back at once (a thundering herd), they could bring it down again. So each draws its\n\
     delay at random, from zero up (full jitter), and the range grows with each failure."
}

pub(super) fn next(interval: Duration, timeout: Duration) -> String {
    format!(
        "
Try next, each in its own terminal:
  wspulse echo --ping-interval 5s --pong-timeout 10s
  wspulse ping ws://127.0.0.1:9001/ --count 5
  wspulse connect ws://127.0.0.1:9001/ --reconnect
      (type lines; stop the echo server, start it again, type on)
In a program, one line sets the heartbeat of this demonstration:
  HeartbeatConfig::ping({}, {})",
        code(interval),
        code(timeout)
    )
}

/// A duration as Rust code.
fn code(duration: Duration) -> String {
    match (duration.subsec_nanos(), duration.as_millis()) {
        (0, _) => format!("Duration::from_secs({})", duration.as_secs()),
        (nanos, millis) if nanos.is_multiple_of(1_000_000) => {
            format!("Duration::from_millis({millis})")
        }
        _ => format!("Duration::from_nanos({})", duration.as_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Ticker, code, suspicion};

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    const TICKER: Ticker = Ticker {
        opened: Duration::from_millis(100),
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(2),
    };

    #[test]
    fn a_ticker_hangs_up_after_its_first_ping_into_the_silence() {
        // Pings at 1.1 s, 2.1 s, 3.1 s ..; the silence begins at 2.5 s.
        assert_eq!(TICKER.hangs_up(millis(2_500)), millis(3_100 + 2_000));
        assert_eq!(TICKER.pings(millis(1_000), millis(3_200)), 3);
        assert_eq!(TICKER.pings(millis(3_200), millis(3_200)), 0);
    }

    #[test]
    fn the_moment_of_suspicion_is_compared_with_the_ticker() {
        let early = suspicion(TICKER, millis(2_500), millis(4_500));
        assert!(early.contains("hang up 0.60 s from now"), "{early}");
        let late = suspicion(TICKER, millis(2_500), millis(5_500));
        assert!(late.contains("hung up\n0.40 s ago"), "{late}");
    }

    #[test]
    fn durations_are_valid_rust() {
        assert_eq!(code(millis(2_000)), "Duration::from_secs(2)");
        assert_eq!(code(millis(2_500)), "Duration::from_millis(2500)");
        assert_eq!(code(Duration::from_micros(5)), "Duration::from_nanos(5000)");
    }
}
