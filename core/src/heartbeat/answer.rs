//! What a ping carries, and what answers it (rule 3).

use super::{Answer, Evidence, Heartbeat, Phase, PingPayload, PongMatch, Rtt};
use crate::time::Instant;

impl Heartbeat {
    /// A pong came. Call [`handle_received`](Self::handle_received) for its bytes first.
    pub fn handle_pong(&mut self, now: Instant, payload: &[u8]) -> PongMatch {
        self.observe(now);
        let Some(sequence) = self.sequence_of(payload) else {
            return PongMatch::Unsolicited;
        };
        // Rule 3: a pong for ping k answers every j <= k, and k once.
        let left = self.sequence.wrapping_sub(self.pings_unsent.into());
        if sequence == left && left > 0 {
            self.cover();
        }
        if sequence != self.sequence || self.phase == Phase::Due {
            return PongMatch::Late;
        }
        self.handle_answer(true)
    }

    /// The payload from [`poll_ping`](Self::poll_ping) was not used: the ping leaves as a request
    /// without a number.
    pub(crate) fn asked_without_number(&mut self) {
        self.unnumbered = self.unnumbered.saturating_add(1);
    }

    /// The answer to a request without a number came. If several wait for theirs, it may answer an
    /// older one: then it is evidence of life and no sample.
    pub(crate) fn handle_unnumbered_answer(&mut self, now: Instant) -> PongMatch {
        self.observe(now);
        self.unnumbered = self.unnumbered.saturating_sub(1);
        let is_latest = self.unnumbered == 0;
        if self.phase == Phase::Due || (self.phase == Phase::Queued && !is_latest) {
            // The latest has yet to leave.
            return PongMatch::Late;
        }
        if is_latest && self.pings_unsent == 0 {
            self.cover();
        }
        self.handle_answer(is_latest)
    }

    /// The latest ping was answered.
    fn handle_answer(&mut self, is_timed: bool) -> PongMatch {
        if self.answer == Answer::None || !self.is_alive() {
            return PongMatch::Late;
        }
        let is_early = self.phase == Phase::Queued;
        if is_early {
            // It left, though the transport has yet to say so.
            self.phase = Phase::Early;
        }
        let answer = core::mem::replace(&mut self.answer, Answer::None);
        if self.config.evidence == Evidence::MatchingPong {
            self.handle_life();
        }
        if is_early || !is_timed || answer == Answer::AwaitedUntimed {
            return PongMatch::Untimed;
        }
        let rtt = self.now.saturating_duration_since(self.left_at);
        self.rtt = Some(Rtt::sample(self.rtt, rtt));
        PongMatch::Matched(rtt)
    }

    /// Every byte up to the last ping that left was read by the peer.
    fn cover(&mut self) {
        self.uncovered = self.after_ping;
        if let Some(rare) = &mut self.rare
            && let Some(drain) = &mut rare.drain
        {
            drain.covered(self.now, self.after_ping > 0);
            self.drop_rare();
        }
    }

    /// The payload of the last ping made.
    pub(super) fn latest_payload(&self) -> PingPayload {
        let numbers = [self.nonce, self.sequence].map(u32::to_be_bytes);
        let mut payload = [0; 16];
        for (digits, byte) in payload.chunks_mut(2).zip(numbers.as_flattened()) {
            digits.copy_from_slice(&[digit(byte >> 4), digit(byte & 0xF)]);
        }
        payload
    }

    fn sequence_of(&self, payload: &[u8]) -> Option<u32> {
        let payload = <&PingPayload>::try_from(payload).ok()?;
        let (nonce, sequence) = payload.split_first_chunk::<8>()?;
        let sequence = number(sequence)?;
        let ours = number(nonce)? == self.nonce;
        (ours && (1..=self.sequence).contains(&sequence)).then_some(sequence)
    }
}

/// A lower-case hexadecimal digit.
const fn digit(value: u8) -> u8 {
    match value {
        0..=9 => b'0'.saturating_add(value),
        _ => b'a'.saturating_add(value.saturating_sub(10)),
    }
}

/// The number in hexadecimal digits of either case: a peer may have changed it.
fn number(digits: &[u8]) -> Option<u32> {
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u32::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()
}
