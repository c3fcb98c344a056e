//! One connection of the load.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::{Frames, Histogram};

#[derive(Debug)]
pub(super) struct Peer {
    stream: TcpStream,
    is_active: bool,
    /// Messages that were asked for, and those that were answered.
    asked: u64,
    answered: u64,
    /// Bytes of frames that went out, and of answers that came.
    sent: u64,
    received: u64,
    /// When the messages on the way were sent, and how many at once.
    batches: VecDeque<(Instant, u64)>,
}

/// What is common to all connections.
#[derive(Debug)]
pub(super) struct Turn {
    in_flight: u64,
    /// An answer is followed by another message.
    pub(super) sends_more: bool,
    pub(super) messages: u64,
    /// How long the load had nothing to do.
    pub(super) idle: Duration,
    pub(super) round_trips: Histogram,
}

impl Turn {
    pub(super) fn new(in_flight: usize) -> Self {
        Self {
            in_flight: in_flight as u64,
            sends_more: true,
            messages: 0,
            idle: Duration::ZERO,
            round_trips: Histogram::default(),
        }
    }

    /// Forgets what was counted.
    pub(super) fn start_over(&mut self) {
        self.messages = 0;
        self.idle = Duration::ZERO;
        self.round_trips = Histogram::default();
    }
}

impl Peer {
    pub(super) fn new(stream: TcpStream, is_active: bool) -> Self {
        Self {
            stream,
            is_active,
            asked: 0,
            answered: 0,
            sent: 0,
            received: 0,
            batches: VecDeque::with_capacity(4),
        }
    }

    pub(super) const fn is_active(&self) -> bool {
        self.is_active
    }

    /// Sends as many messages as may be on the way.
    pub(super) fn send_first(&mut self, frames: &Frames, turn: &mut Turn) -> io::Result<()> {
        self.asked += turn.in_flight;
        self.batches.push_back((Instant::now(), turn.in_flight));
        self.write(frames)
    }

    /// Takes what came, and sends as many messages as were answered.
    pub(super) fn turn(
        &mut self,
        frames: &Frames,
        scratch: &mut [u8],
        turn: &mut Turn,
    ) -> io::Result<()> {
        self.read(scratch)?;
        if !self.is_active {
            // A heartbeat's ping, which this short a run need not answer.
            return Ok(());
        }
        let answered = self.received / frames.answered as u64;
        let count = answered - self.answered;
        if count > 0 {
            self.answered = answered;
            turn.messages += count;
            let now = Instant::now();
            self.time(now, count, &mut turn.round_trips);
            if turn.sends_more {
                self.asked += count;
                self.batches.push_back((now, count));
            }
        }
        self.write(frames)
    }

    /// The edge that woke this connection is used up when a read falls short.
    fn read(&mut self, scratch: &mut [u8]) -> io::Result<()> {
        loop {
            match recv(&self.stream, &mut scratch[..], RecvFlags::TRUNC) {
                Ok((_, 0)) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok((_, count)) => {
                    self.received += count as u64;
                    if count < scratch.len() {
                        return Ok(());
                    }
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn write(&mut self, frames: &Frames) -> io::Result<()> {
        let all = self.asked * frames.sent as u64;
        while self.sent < all {
            let within = (self.sent % frames.sent as u64) as usize;
            let most = usize::try_from(all - self.sent).unwrap_or(usize::MAX);
            let bytes = &frames.bytes[within..];
            let bytes = &bytes[..bytes.len().min(most)];
            match send(&self.stream, bytes, SendFlags::NOSIGNAL) {
                Ok(count) => self.sent += count as u64,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Answers come in the order of the messages.
    fn time(&mut self, now: Instant, mut count: u64, round_trips: &mut Histogram) {
        while count > 0 {
            let Some((sent, left)) = self.batches.front_mut() else {
                return;
            };
            let taken = count.min(*left);
            let time = now.saturating_duration_since(*sent).as_nanos();
            round_trips.add(u64::try_from(time).unwrap_or(u64::MAX), taken);
            count -= taken;
            *left -= taken;
            if *left == 0 {
                self.batches.pop_front();
            }
        }
    }

    pub(super) const fn is_waiting(&self, frames: &Frames) -> bool {
        self.is_active && self.received < self.asked * frames.answered as u64
    }

    /// Tells whether the bytes that came are those of the answers.
    pub(super) const fn is_even(&self, frames: &Frames) -> bool {
        !self.is_active || self.received == self.asked * frames.answered as u64
    }
}
