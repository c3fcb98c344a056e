//! What a blocked transport tells about the bytes before a ping (rule 5).

use core::time::Duration;

use crate::time::Instant;

/// A transport that takes no more, or did not lately.
///
/// A ping that the transport took may stand behind megabytes in both kernels, and its pong cannot
/// come before they are read. While the transport is blocked its buffers are full, so the bytes it
/// takes are those that drain: that is the rate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Drain {
    /// The last progress of a transport that is blocked; `None` while it takes everything.
    stalled_since: Option<Instant>,
    /// Since when it takes everything, after it did not, and the bytes that no pong covers drain.
    open_since: Option<Instant>,
    /// Whether its buffers were full since a pong last covered every byte.
    was_full: bool,
    window_from: Option<Instant>,
    window_bytes: u64,
    /// Bytes, and the time in which they drained.
    rate: Option<(u64, Duration)>,
    /// By how much the outstanding ping's clock is extended.
    extension: Duration,
}

/// How a write attempt left the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// It took everything.
    Left,
    /// It took the rest of a chunk and may not have been offered more: its stall clock runs, but
    /// its buffers are not known to be full.
    Unknown,
    /// It takes no more for now.
    None,
}

impl Drain {
    /// An attempt was made that took `taken` bytes. A window of `shortest` or less is too short to
    /// tell a rate.
    pub(super) fn report(&mut self, now: Instant, taken: u64, room: Room, shortest: Duration) {
        let was_blocked = self.stalled_since.is_some();
        let from = self.window_from.unwrap_or(now);
        // What is taken at the instant at which a window begins had drained before.
        if was_blocked && taken > 0 && now > from {
            self.window_bytes = self.window_bytes.saturating_add(taken);
            let time = now.saturating_duration_since(from);
            if time > shortest {
                self.rate = Some((self.window_bytes, time));
                self.restart_window(now);
            }
        }
        self.was_full |= room == Room::None;
        if room == Room::Left {
            if was_blocked {
                self.open_since = Some(now);
            }
            self.stalled_since = None;
        } else {
            if !was_blocked {
                self.restart_window(now);
            }
            if !was_blocked || taken > 0 {
                self.stalled_since = Some(now);
            }
        }
    }

    /// Every byte up to the last ping that left was read by the peer; `after` tells whether others
    /// followed it.
    pub(super) fn covered(&mut self, now: Instant, after: bool) {
        self.was_full &= after || self.is_blocked();
        // Those that followed stood behind the ping, and drain from now on.
        self.open_since = Some(now);
    }

    /// Whether there is nothing to remember. Without pings, nothing will ask for a rate.
    pub(super) fn is_spent(&self, pings: bool) -> bool {
        !(self.is_blocked() || self.was_full && pings)
    }

    pub(super) const fn is_blocked(&self) -> bool {
        self.stalled_since.is_some()
    }

    /// A ping leaves after `ahead` bytes that no pong covers: its clock is extended by the time in
    /// which they drain, if half of the rate is believed. The kernel of a sender takes more at first
    /// than drains.
    pub(super) fn extend(&mut self, now: Instant, ahead: u64, longest: Duration) {
        self.extension = match self.rate {
            _ if !self.was_full => Duration::ZERO,
            None => longest,
            Some(rate) => {
                let drained_for = match (self.stalled_since, self.open_since) {
                    (None, Some(since)) => now.saturating_duration_since(since),
                    _ => Duration::ZERO,
                };
                let drains_in = drain_time(ahead, rate);
                drains_in.saturating_sub(drained_for).min(longest)
            }
        };
    }

    /// An attempt after the ping left found the transport blocked: it was full already, or it drains
    /// slower than was known. `ahead` are the bytes before the ping that no pong covers. What is known
    /// better now lengthens the extension and never shortens it.
    pub(super) fn lengthen(
        &mut self,
        now: Instant,
        ahead: u64,
        shortest: Duration,
        longest: Duration,
    ) {
        if ahead == 0 || !self.was_full || !self.is_blocked() {
            return;
        }
        let from = self.window_from.unwrap_or(now);
        let time = now.saturating_duration_since(from);
        let latest = (time > shortest).then_some((self.window_bytes, time));
        let drains_in = match (self.rate, latest) {
            (None, _) => longest,
            (Some(rate), None) => drain_time(ahead, rate),
            (Some(rate), Some(latest)) => drain_time(ahead, rate).max(drain_time(ahead, latest)),
        };
        self.extension = self.extension.max(drains_in.min(longest));
    }

    /// The policy changed: no extension is longer than it allows. The outstanding ping of a policy
    /// that ended is not waited for any more.
    pub(super) fn limit_extension(&mut self, longest: Duration) {
        self.extension = self.extension.min(longest);
    }

    pub(super) const fn extension(&self) -> Duration {
        self.extension
    }

    pub(super) const fn stalled_since(&self) -> Option<Instant> {
        self.stalled_since
    }

    /// Rule 6. A rate is measured over windows without a pause.
    pub(super) fn shift(&mut self, late: Duration, now: Instant) {
        for stamp in [&mut self.stalled_since, &mut self.open_since] {
            *stamp = stamp.map(|stamp| stamp.saturating_add(late));
        }
        self.restart_window(now);
    }

    fn restart_window(&mut self, now: Instant) {
        self.window_from = Some(now);
        self.window_bytes = 0;
    }
}

/// How long `bytes` take at half of a rate: for ever at none.
fn drain_time(bytes: u64, (drained, time): (u64, Duration)) -> Duration {
    if drained == 0 {
        return Duration::MAX;
    }
    let nanos = u128::from(bytes)
        .saturating_mul(time.as_nanos())
        .saturating_mul(2)
        .checked_div(u128::from(drained.max(1)));
    nanos
        .and_then(|nanos| u64::try_from(nanos).ok())
        .map_or(Duration::MAX, Duration::from_nanos)
}
