//! One direction of a TCP connection, in virtual time.

use std::collections::VecDeque;
use std::time::Duration;

use wspulse_core::Instant;

/// How a pipe behaves.
#[derive(Clone, Debug)]
pub struct PipeConfig {
    /// From the sender's kernel to the receiver's.
    pub latency: Duration,
    /// Bytes per second of the link; `None` for as fast as it takes them.
    pub rate: Option<u64>,
    /// The sender's kernel buffer: what it took and the receiver's kernel has not got.
    pub send_buffer: usize,
    /// The receiver's kernel buffer.
    pub receive_buffer: usize,
    /// The most that travels at once.
    pub segment: usize,
    /// A blocked sender is woken when this much of its buffer is free (a third of it in Linux).
    pub wake_at: usize,
    /// Spans in which nothing sets out.
    pub stalls: Vec<(Instant, Instant)>,
    /// From here on nothing arrives, and nobody is told.
    pub black_hole: Option<Instant>,
    /// The stream ends at this byte, whatever was written.
    pub cut: Option<(u64, Cut)>,
}

/// How a stream ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// In order, as after a half-close.
    Eof,
    /// Abruptly.
    Reset,
}

impl Default for PipeConfig {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            rate: None,
            send_buffer: 1 << 16,
            receive_buffer: 1 << 16,
            segment: 1 << 16,
            wake_at: 1,
            stalls: Vec::new(),
            black_hole: None,
            cut: None,
        }
    }
}

/// What a read attempt finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Read<'a> {
    /// Bytes, some of them; take with [`Pipe::consume`].
    Bytes(&'a [u8]),
    /// Nothing now.
    WouldBlock,
    /// The end, of either kind.
    End(Cut),
}

/// The stream itself.
#[derive(Debug)]
pub struct Pipe {
    config: PipeConfig,
    /// Everything written and not yet read: received, then in flight, then queued.
    bytes: VecDeque<u8>,
    received: usize,
    in_flight: VecDeque<(Instant, usize)>,
    flying: usize,
    queued: usize,
    link_free: Instant,
    blocked: bool,
    shut: bool,
    fin_arrives: Option<Instant>,
    ended: bool,
    reset: bool,
    read_total: u64,
    last_arrival: Option<Instant>,
}

impl Pipe {
    /// Makes an empty pipe.
    #[must_use]
    pub fn new(config: PipeConfig) -> Self {
        Self {
            config,
            bytes: VecDeque::new(),
            received: 0,
            in_flight: VecDeque::new(),
            flying: 0,
            queued: 0,
            link_free: Instant::ZERO,
            blocked: false,
            shut: false,
            fin_arrives: None,
            ended: false,
            reset: false,
            read_total: 0,
            last_arrival: None,
        }
    }

    // ---- the sender's side

    /// Writes what fits, perhaps nothing.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let take = bytes.len().min(self.free());
        self.bytes.extend(&bytes[..take]);
        self.queued += take;
        self.blocked = take < bytes.len();
        take
    }

    /// Tells whether the sender would be woken to write.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        !self.blocked || self.free() >= self.config.wake_at.clamp(1, self.config.send_buffer)
    }

    /// Ends the stream behind what was written.
    pub fn shutdown(&mut self) {
        self.shut = true;
    }

    fn free(&self) -> usize {
        self.config
            .send_buffer
            .saturating_sub(self.queued + self.flying)
    }

    // ---- the receiver's side

    /// Looks at what has arrived.
    #[must_use]
    pub fn read(&self) -> Read<'_> {
        let (mut front, _) = self.bytes.as_slices();
        front = &front[..front.len().min(self.received)];
        let mut end = None;
        if let Some((at, cut)) = self.config.cut {
            let left = usize::try_from(at - self.read_total).unwrap_or(usize::MAX);
            front = &front[..front.len().min(left)];
            end = (left == 0).then_some(cut);
        }
        if self.reset {
            return Read::End(Cut::Reset);
        }
        match end {
            Some(cut) => Read::End(cut),
            None if !front.is_empty() => Read::Bytes(front),
            None if self.ended => Read::End(Cut::Eof),
            None => Read::WouldBlock,
        }
    }

    /// Takes `n` bytes of what [`read`](Self::read) showed.
    pub fn consume(&mut self, n: usize) {
        assert!(n <= self.received, "more than was shown");
        self.bytes.drain(..n);
        self.received -= n;
        self.read_total += n as u64;
    }

    /// Tells whether a read attempt finds anything.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.read() != Read::WouldBlock
    }

    /// The other direction was reset.
    pub fn reset(&mut self) {
        self.reset = true;
    }

    /// Returns how many bytes were read in all.
    #[must_use]
    pub const fn read_total(&self) -> u64 {
        self.read_total
    }

    /// Returns how many bytes lie in both kernels and between them.
    #[must_use]
    pub fn held(&self) -> usize {
        self.bytes.len()
    }

    /// Returns when the last byte arrived.
    #[must_use]
    pub const fn last_arrival(&self) -> Option<Instant> {
        self.last_arrival
    }

    // ---- time

    /// Moves what moves up to `now`. Call it at every [`next_change`](Self::next_change).
    pub fn advance(&mut self, now: Instant) {
        let dead = self.config.black_hole.is_some_and(|hole| hole <= now);
        while let Some(&(at, n)) = self.in_flight.front() {
            if at > now || self.config.black_hole.is_some_and(|hole| hole <= at) {
                break;
            }
            self.in_flight.pop_front();
            self.flying -= n;
            self.received += n;
            self.last_arrival = Some(at);
        }
        if dead {
            return;
        }
        while self.queued > 0 && self.link_free <= now && self.stalled_until(now).is_none() {
            let window = self
                .config
                .receive_buffer
                .saturating_sub(self.received + self.flying);
            let n = self.config.segment.max(1).min(self.queued).min(window);
            if n == 0 {
                break;
            }
            self.link_free = now.saturating_add(self.travel(n));
            let arrival = self.link_free.saturating_add(self.config.latency);
            self.queued -= n;
            self.flying += n;
            self.in_flight.push_back((arrival, n));
            if arrival <= now {
                self.advance(now);
            }
        }
        if self.shut && self.queued == 0 && self.fin_arrives.is_none() {
            let sent = self.link_free.max(now);
            self.fin_arrives = Some(sent.saturating_add(self.config.latency));
        }
        if self.fin_arrives.is_some_and(|at| at <= now) && self.flying == 0 {
            self.ended = true;
        }
    }

    /// Returns when something changes next by itself, after `now`.
    #[must_use]
    pub fn next_change(&self, now: Instant) -> Option<Instant> {
        if self.config.black_hole.is_some_and(|hole| hole <= now) {
            return None;
        }
        let arrival = self.in_flight.front().map(|&(at, _)| at);
        let departure = (self.queued > 0).then(|| {
            self.stalled_until(now)
                .unwrap_or(self.link_free)
                .max(self.link_free)
        });
        let fin = self.fin_arrives.filter(|_| !self.ended);
        let next = [arrival, departure, fin]
            .into_iter()
            .flatten()
            .filter(|&at| at > now)
            .min()?;
        Some(self.config.black_hole.map_or(next, |hole| next.min(hole)))
    }

    fn stalled_until(&self, now: Instant) -> Option<Instant> {
        let stall = self
            .config
            .stalls
            .iter()
            .find(|(from, to)| *from <= now && now < *to)?;
        Some(stall.1)
    }

    fn travel(&self, n: usize) -> Duration {
        let nanos = |rate: u64| (n as u64).saturating_mul(1_000_000_000) / rate.max(1);
        Duration::from_nanos(self.config.rate.map_or(0, nanos))
    }
}
