//! What the peer may cost: limits judged from a frame's header, and a bucket for control frames.

use crate::config::{Config, Delivery};
use crate::error::LimitExceeded;
use crate::message::Assembler;
use crate::time::Instant;

/// Judges a data frame from its header alone, before any byte of its payload.
pub(super) fn admit_frame(
    config: &Config,
    message: Option<&Assembler>,
    payload_len: u64,
    is_compressed: bool,
) -> Result<(), LimitExceeded> {
    let (limit, length) = (config.max_frame_size, payload_len);
    if length > limit {
        return Err(LimitExceeded::FrameSize { limit, length });
    }
    let received = message.map_or(0, Assembler::received);
    let (limit, length) = (
        config.max_message_size,
        received.saturating_add(payload_len),
    );
    // What a compressed one comes to is seen as it is inflated.
    let has_size = config.delivery == Delivery::Messages && !is_compressed;
    if has_size && length > limit {
        return Err(LimitExceeded::MessageSize { limit, length });
    }
    // One fragment for each 64 bytes received is honest at any length: streams of small but real
    // fragments pass, streams of empty ones do not.
    let limit = config.max_fragment_count.saturating_add(received >> 6);
    let fragments = message.map_or(0, Assembler::fragments);
    if message.is_some() && counts_as_fragment(config, payload_len) && fragments >= limit {
        let count = fragments.saturating_add(1);
        return Err(LimitExceeded::FragmentCount { limit, count });
    }
    Ok(())
}

/// Whether a fragment counts against the limit. Nothing is held for those that are delivered in
/// parts, and a stream of short ones is what parts are for.
pub(super) fn counts_as_fragment(config: &Config, payload_len: u64) -> bool {
    config.delivery == Delivery::Messages || payload_len == 0
}

/// A message in one frame that is shorter than this is within all limits, and nothing but its
/// delivery comes of it.
pub(super) fn plain_below(config: &Config) -> u16 {
    let is_watched = config.application_heartbeat.is_some() || config.has_optional_timers();
    if is_watched || config.delivery == Delivery::Parts {
        return 0;
    }
    let longest = config.max_frame_size.min(config.max_message_size);
    u16::try_from(longest.saturating_add(1)).unwrap_or(u16::MAX)
}

/// A token bucket for control frames (rule 10), refilled by time and by data in either direction.
///
/// Answers are bounded anyway; the bucket bounds the work. Below zero the application is told,
/// one more burst below the connection is failed.
#[derive(Clone, Debug, Hash)]
pub(super) struct ControlBucket {
    tokens: i16,
    /// When the bucket was last refilled, in milliseconds that wrap every 49 days.
    refilled_at: u32,
    /// Whether the application was told of a flood since the bucket was last half full.
    is_told: bool,
}

/// What a control frame means for its sender's standing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Fine,
    /// The bucket ran empty, for the first time since it was half full.
    Flood,
    /// The bucket ran empty, and as much again.
    Excess,
}

/// The burst is what a second's batch of pings from an impatient peer may hold; the rate is ten
/// times what the fastest heartbeats in use send.
const BURST: i16 = 1_000;
const PER_SECOND: u32 = 100;

impl ControlBucket {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            tokens: BURST,
            refilled_at: millis(now),
            is_told: false,
        }
    }

    /// A control frame came.
    pub(super) fn take(&mut self, now: Instant) -> Standing {
        let now = millis(now);
        let elapsed = now.wrapping_sub(self.refilled_at);
        let earned = elapsed
            .saturating_mul(PER_SECOND)
            .checked_div(1_000)
            .unwrap_or(0);
        if earned > 0 {
            self.refilled_at = now;
            self.add(earned);
        }
        self.tokens = self.tokens.saturating_sub(1);
        if self.tokens < BURST.saturating_neg() {
            Standing::Excess
        } else if self.tokens < 0 && !self.is_told {
            self.is_told = true;
            Standing::Flood
        } else {
            Standing::Fine
        }
    }

    /// A message in one frame went either way.
    #[inline]
    pub(super) fn refund_message(&mut self, bytes: usize) {
        if self.tokens < BURST {
            self.refund_bytes(bytes);
            self.refund_frame();
        }
    }

    /// `bytes` of data went either way.
    pub(super) fn refund_bytes(&mut self, bytes: usize) {
        self.add(u32::try_from(bytes >> 10).unwrap_or(u32::MAX));
    }

    /// A data frame went either way, or a ping of ours that will be answered.
    pub(super) fn refund_frame(&mut self) {
        self.add(1);
    }

    /// Control frames whose answers the transport took.
    pub(super) fn give_back(&mut self, count: usize) {
        self.add(u32::try_from(count).unwrap_or(u32::MAX));
    }

    fn add(&mut self, tokens: u32) {
        let tokens = i16::try_from(tokens).unwrap_or(i16::MAX);
        self.tokens = self.tokens.saturating_add(tokens).min(BURST);
        if self.tokens >= BURST / 2 {
            self.is_told = false;
        }
    }
}

fn millis(now: Instant) -> u32 {
    let millis = now.as_nanos().checked_div(1_000_000).unwrap_or(0);
    u32::try_from(millis & u64::from(u32::MAX)).unwrap_or(0)
}
