//! A peer that follows a script, with frames and no engine.

use std::collections::VecDeque;
use std::time::Duration;

use wspulse_core::{Instant, Role};

use crate::pipe::{Pipe, Read};
use crate::sim::End;
use crate::wire::{Frame, Wire, frame, opcode};

/// How a [`Peer`] answers pings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// As RFC 6455 §5.5.3 says.
    Right,
    /// With an empty pong.
    Empty,
    /// Not at all.
    Nothing,
}

/// Reads frames at some rate, answers pings somehow, and writes what its script says.
#[derive(Debug)]
pub struct Peer {
    role: Role,
    wire: Wire,
    /// How it answers pings.
    pub answer: Answer,
    /// How long it takes to answer.
    pub answer_after: Duration,
    /// No answer is written before.
    pub answer_from: Instant,
    /// Bytes per second it reads; `None` for all there is, 0 for none.
    pub read_rate: Option<u64>,
    /// How often a peer with a rate reads.
    pub tick: Duration,
    script: VecDeque<(Instant, Vec<u8>)>,
    answers: VecDeque<(Instant, Vec<u8>)>,
    unwritten: Vec<u8>,
    frames: Vec<(Instant, Frame)>,
    read_at: Instant,
    wake: Option<Instant>,
}

impl Peer {
    /// Makes a peer of `role` that answers pings at once and says nothing else.
    #[must_use]
    pub fn new(role: Role) -> Self {
        Self {
            role,
            wire: Wire::frames(role.peer()),
            answer: Answer::Right,
            answer_after: Duration::ZERO,
            answer_from: Instant::ZERO,
            read_rate: None,
            tick: Duration::from_millis(5),
            script: VecDeque::new(),
            answers: VecDeque::new(),
            unwritten: Vec::new(),
            frames: Vec::new(),
            read_at: Instant::ZERO,
            wake: None,
        }
    }

    /// Writes `bytes` at `at`; calls come in the order of time.
    pub fn write_at(&mut self, at: Instant, bytes: Vec<u8>) {
        self.script.push_back((at, bytes));
        self.plan();
    }

    /// Returns the frames that came, with the time.
    #[must_use]
    pub fn frames(&self) -> &[(Instant, Frame)] {
        &self.frames
    }

    fn plan(&mut self) {
        let script = self.script.front().map(|(at, _)| *at);
        let answer = self.answers.front().map(|(at, _)| *at);
        self.wake = [script, answer].into_iter().flatten().min();
    }

    fn read(&mut self, now: Instant, inbound: &mut Pipe) {
        let mut budget = usize::MAX;
        if let Some(rate) = self.read_rate {
            let elapsed = now.saturating_duration_since(self.read_at).min(self.tick);
            budget = (u128::from(rate) * elapsed.as_nanos() / 1_000_000_000) as usize;
        }
        self.read_at = now;
        while budget > 0 {
            let Read::Bytes(bytes) = inbound.read() else {
                return;
            };
            let n = bytes.len().min(budget);
            let frames = self
                .wire
                .push(&bytes[..n])
                .unwrap_or_else(|fault| panic!("{fault}"));
            inbound.consume(n);
            budget -= n;
            for frame in frames {
                self.hear(now, &frame);
                self.frames.push((now, frame));
            }
        }
    }

    fn hear(&mut self, now: Instant, ping: &Frame) {
        if ping.opcode != opcode::PING || self.answer == Answer::Nothing {
            return;
        }
        let payload = if self.answer == Answer::Right {
            &ping.payload[..]
        } else {
            &[]
        };
        let at = now.saturating_add(self.answer_after).max(self.answer_from);
        self.answers
            .push_back((at, frame(self.role, opcode::PONG, payload)));
    }
}

impl End for Peer {
    fn wake(&self) -> Option<Instant> {
        self.wake
    }

    fn notice(&mut self, now: Instant, inbound: &Pipe, outbound: &Pipe) {
        let at = match self.read_rate {
            _ if !self.unwritten.is_empty() && outbound.is_writable() => now,
            Some(0) => return,
            _ if !matches!(inbound.read(), Read::Bytes(_)) => return,
            Some(_) => self.read_at.saturating_add(self.tick).max(now),
            None => now,
        };
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    fn turn(&mut self, now: Instant, inbound: &mut Pipe, outbound: &mut Pipe) {
        self.read(now, inbound);
        for list in [&mut self.script, &mut self.answers] {
            while list.front().is_some_and(|(at, _)| *at <= now) {
                let (_, bytes) = list.pop_front().expect("looked at");
                self.unwritten.extend_from_slice(&bytes);
            }
        }
        let n = outbound.write(&self.unwritten);
        self.unwritten.drain(..n);
        self.plan();
    }
}
