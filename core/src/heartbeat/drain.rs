//! What a blocked transport tells about the bytes in front of a ping.

use core::time::Duration;

use crate::time::Instant;

/// How fast a transport drains that was blocked lately, and how much it holds.
///
/// A ping that the transport took may sit behind megabytes in both kernels, and its pong cannot
/// come before they are read. While the transport is blocked its buffers are full, so what it
/// takes is what drains: that is the rate. What it holds is what it took since it was known to be
/// empty, less what has drained since at the slowest rate seen: buffers that grow look like fast
/// ones for a while.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Drain {
    /// Since when it takes all it is offered; `None` while it is blocked.
    open_since: Option<Instant>,
    /// The last report of a write attempt.
    attempted_at: Instant,
    /// The last byte taken, or the moment the transport blocked.
    progress_at: Instant,
    window_start: Instant,
    window_bytes: u64,
    /// Bytes per second over the last whole window, and the least of those since `since`.
    rate: Option<u64>,
    slowest: u64,
    /// What the windows after the first one took, and how long they were; the older half is
    /// forgotten now and then.
    steady_bytes: u64,
    steady_time: Duration,
    /// The longest time between two bytes taken while it was blocked: it drains in lumps.
    longest_gap: Duration,
    /// Bytes taken since `since`, with those it held then.
    taken: u64,
    since: Instant,
    /// `taken` when the outstanding ping was, and how long after `since` that was.
    ping_taken: u64,
    ping_after: Duration,
}

/// No kernel is believed to hold more: the default maxima of a sender's and a receiver's buffer
/// add up to 10 MiB on Linux, and systems tuned for long fat pipes double that.
const MAX_BACKLOG: u64 = 32 << 20;

/// Windows of which half are forgotten: kernels wake a writer for a third of a buffer at a time,
/// which takes about one window where it is short, so a rate takes several to be known.
const REMEMBERED: u32 = 16;

impl Drain {
    /// The transport blocked for the first time; it took `backlog` bytes since the peer's last
    /// answer, of which `ahead` stand in front of an outstanding ping.
    pub(super) fn new(now: Instant, backlog: u64, ahead: u64) -> Self {
        Self {
            open_since: None,
            attempted_at: now,
            progress_at: now,
            window_start: now,
            window_bytes: 0,
            rate: None,
            slowest: 0,
            steady_bytes: 0,
            steady_time: Duration::ZERO,
            longest_gap: Duration::ZERO,
            taken: backlog.min(MAX_BACKLOG),
            since: now,
            ping_taken: ahead.min(MAX_BACKLOG),
            ping_after: Duration::ZERO,
        }
    }

    /// The transport took `taken` bytes, and no more if it is `blocked`.
    pub(super) fn report(&mut self, now: Instant, taken: u64, blocked: bool, window: Duration) {
        if self.is_full(now, window) {
            if now > self.attempted_at
                && let Some(rate) = self.window_rate(window)
            {
                self.slowest = self.rate.map_or(rate, |_| self.slowest.min(rate));
                self.remember_window(window);
                self.rate = Some(rate);
                self.restart_window(self.attempted_at);
            }
            self.window_bytes = self.window_bytes.saturating_add(taken);
            if taken > 0 {
                let gap = now.saturating_duration_since(self.progress_at);
                self.longest_gap = self.longest_gap.max(gap);
            }
        } else {
            if self.backlog(now) == 0 {
                self.taken = 0;
                self.since = now;
            }
            if blocked {
                self.restart_window(now);
            }
        }
        self.taken = self.taken.saturating_add(taken);
        if taken > 0 || (blocked && self.open_since.is_some()) {
            self.progress_at = now;
        }
        self.open_since = if blocked {
            None
        } else {
            self.open_since.or(Some(now))
        };
        self.attempted_at = now;
    }

    /// The last byte of a ping was taken.
    pub(super) fn ping_sent(&mut self, now: Instant) {
        self.ping_taken = self.taken;
        self.ping_after = now.saturating_duration_since(self.since);
    }

    /// The outstanding ping was answered: what stood in front of it is gone, `after` was taken
    /// since. Tells whether there is nothing left to know.
    pub(super) fn answered(&mut self, now: Instant, after: u64) -> bool {
        self.taken = after;
        self.since = now;
        self.slowest = self.rate.unwrap_or(0);
        self.ping_taken = 0;
        after == 0 && self.open_since.is_some()
    }

    /// By how much the outstanding ping's clock is extended: the time that what stood in front of
    /// it takes, in lumps as large as any seen.
    pub(super) fn extension(&self, window: Duration) -> Duration {
        let latest = if self.is_full(self.attempted_at, window) {
            self.window_rate(window)
        } else {
            None
        };
        let slowest = self.slowest.min(latest.unwrap_or(u64::MAX));
        let ahead = held(self.ping_taken, slowest, self.ping_after);
        // One window may hold a lump too many, or none at all; several of them do not.
        let rate = match (latest.or(self.rate), self.average()) {
            (Some(rate @ 1..), Some(average @ 1..)) => Some(rate.min(average)),
            (Some(0), Some(average)) if self.open_since.is_some() => Some(average),
            (rate, _) => rate,
        };
        match (rate, self.open_since) {
            _ if ahead == 0 => Duration::ZERO,
            (Some(rate @ 1..), _) => time_for(ahead, rate).saturating_add(self.longest_gap),
            // Nothing drains: that is for the stall deadline to judge.
            (_, None) => Duration::MAX,
            // Too early to tell; the next window will.
            (_, Some(_)) => window,
        }
    }

    /// When no progress becomes a death of its own.
    pub(super) fn stall_deadline(&self, timeout: Duration) -> Instant {
        match self.open_since {
            None => self.progress_at.saturating_add(timeout),
            Some(_) => Instant::MAX,
        }
    }

    pub(super) fn attempted_at(&self) -> Instant {
        self.attempted_at
    }

    /// Nothing before `now` is held against the transport.
    pub(super) fn pardon(&mut self, now: Instant) {
        self.progress_at = now;
        self.restart_window(now);
    }

    /// Tells whether the transport has been open for so long that there is nothing left to know:
    /// for `age` at all events, for `interval` if what it held has drained or no rate is known.
    pub(super) fn is_spent(&self, now: Instant, age: Duration, interval: Duration) -> bool {
        let Some(since) = self.open_since else {
            return false;
        };
        let open = now.saturating_duration_since(since);
        let is_known = self.rate.is_some() && self.backlog(now) > 0;
        open >= age || (open >= interval && !is_known)
    }

    /// Whether its buffers are full. Between two writes of one batch, or before the next wake,
    /// full ones look open; and a write that waits for room says so only when it is over.
    fn is_full(&self, now: Instant, window: Duration) -> bool {
        let grace = window.checked_div(2).unwrap_or_default();
        self.open_since
            .is_none_or(|since| now.saturating_duration_since(since) <= grace)
    }

    fn backlog(&self, now: Instant) -> u64 {
        let after = now.saturating_duration_since(self.since);
        held(self.taken, self.slowest, after)
    }

    /// The rate over the window, once it is long enough. Kernels wake a writer when much of a
    /// buffer is free, so bytes come in bursts of several reports at one instant; what was taken
    /// then was drained before, and a window ends with the last of them.
    fn window_rate(&self, window: Duration) -> Option<u64> {
        let length = self
            .attempted_at
            .saturating_duration_since(self.window_start);
        (length >= window).then(|| per_second(self.window_bytes, length))
    }

    /// A window is over. In the first one the buffers may have been growing, at any speed.
    fn remember_window(&mut self, window: Duration) {
        if self.rate.is_none() {
            return;
        }
        let length = self
            .attempted_at
            .saturating_duration_since(self.window_start);
        self.steady_bytes = self.steady_bytes.saturating_add(self.window_bytes);
        self.steady_time = self.steady_time.saturating_add(length);
        if self.steady_time > window.saturating_mul(REMEMBERED) {
            self.steady_bytes >>= 1_u32;
            self.steady_time = self.steady_time.checked_div(2).unwrap_or_default();
        }
    }

    /// The rate over several windows.
    fn average(&self) -> Option<u64> {
        (!self.steady_time.is_zero()).then(|| per_second(self.steady_bytes, self.steady_time))
    }

    fn restart_window(&mut self, now: Instant) {
        self.window_start = now;
        self.window_bytes = 0;
    }
}

/// What is left of `taken` bytes that drain at `rate`, after some time.
fn held(taken: u64, rate: u64, after: Duration) -> u64 {
    let drained = bytes_in(rate, after);
    taken.saturating_sub(drained).min(MAX_BACKLOG)
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    let nanos = time.as_nanos().max(1);
    let rate = u128::from(bytes)
        .saturating_mul(1_000_000_000)
        .checked_div(nanos);
    rate.and_then(|rate| u64::try_from(rate).ok())
        .unwrap_or(u64::MAX)
}

fn bytes_in(rate: u64, time: Duration) -> u64 {
    let bytes = u128::from(rate)
        .saturating_mul(time.as_nanos())
        .checked_div(1_000_000_000);
    bytes
        .and_then(|bytes| u64::try_from(bytes).ok())
        .unwrap_or(u64::MAX)
}

/// How long `bytes` take at `rate`; for ever at none.
fn time_for(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes)
        .saturating_mul(1_000_000_000)
        .checked_div(u128::from(rate));
    nanos
        .and_then(|nanos| u64::try_from(nanos).ok())
        .map_or(Duration::MAX, Duration::from_nanos)
}
