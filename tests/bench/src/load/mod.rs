//! The load: one thread on one epoll that keeps messages in flight and counts the bytes of answers.
//!
//! It must cost less than what it measures. Its frames are made beforehand and all alike, an
//! answer is known by its length, and the kernel throws the bytes of answers away instead of
//! copying them (`MSG_TRUNC`, tcp(7)). What answers hold is looked at before the clock starts, and
//! that each of them came in full when it has stopped.

mod histogram;
mod opening;
mod peer;
mod pings;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::time::{ClockId, clock_gettime};

pub use self::histogram::Histogram;
pub use self::opening::{Opened, Talk, open, payload};
use self::peer::{Peer, Turn};
pub use self::pings::Listeners;

/// What the messages are, and how many are on the way at once on each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Bytes of payload.
    pub size: usize,
    /// Messages of a connection that were sent and not answered yet.
    pub in_flight: usize,
}

/// Connections that echo, and others that only are there.
pub struct Load {
    epoll: rustix::fd::OwnedFd,
    peers: Vec<Peer>,
    active: usize,
    frames: Frames,
    in_flight: usize,
    scratch: Vec<u8>,
    events: Vec<epoll::Event>,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Run {
    /// Messages that were answered.
    pub messages: u64,
    /// For how long.
    pub time: Duration,
    /// Processor time of the load.
    pub cpu: Duration,
    /// From sending a message to its answer.
    pub round_trips: Histogram,
}

impl Run {
    /// Returns messages per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.messages as f64 / self.time.as_secs_f64()
    }

    /// Returns how much of its core the load used, 1.0 for all of it.
    #[must_use]
    pub fn load_share(&self) -> f64 {
        self.cpu.as_secs_f64() / self.time.as_secs_f64()
    }
}

/// The bytes that go out again and again, and how long an answer is.
#[derive(Debug)]
struct Frames {
    /// As many frames as are worth one write.
    bytes: Vec<u8>,
    /// Bytes of a frame.
    sent: usize,
    /// Bytes of its answer.
    answered: usize,
}

impl Load {
    /// Opens `connections`, looks at what comes back on the first one, and makes `active` of them
    /// ready to echo.
    ///
    /// # Errors
    ///
    /// If a connection cannot be opened, or the answer is not what was sent.
    pub fn open(
        address: SocketAddr,
        talk: Talk,
        connections: usize,
        active: usize,
        work: Work,
    ) -> Result<Self, String> {
        let mut opened = open(address, talk, connections)?;
        let first = opened.first_mut().ok_or("no connection")?;
        let frame = talk.frame(work.size);
        let answered = first.look_at_answers(talk, work)?;
        // One more than are sent at once, since a write may begin within a frame.
        let alike = if frame.len() < LONG {
            work.in_flight + 1
        } else {
            1
        };
        let frames = Frames {
            bytes: frame.repeat(alike),
            sent: frame.len(),
            answered,
        };
        Self::with(opened, active, frames, work).map_err(|error| error.to_string())
    }

    fn with(opened: Vec<Opened>, active: usize, frames: Frames, work: Work) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut peers = Vec::with_capacity(opened.len());
        let every = (opened.len() / active.max(1)).max(1);
        for (number, opened) in opened.into_iter().enumerate() {
            let stream = opened.into_stream()?;
            let data = epoll::EventData::new_u64(number as u64);
            let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
            epoll::add(&epoll, &stream, data, flags)?;
            // The idle ones lie between the others, as they would.
            let is_active = number % every == 0 && number / every < active;
            peers.push(Peer::new(stream, is_active));
        }
        Ok(Self {
            epoll,
            active: peers.iter().filter(|peer| peer.is_active()).count(),
            peers,
            frames,
            in_flight: work.in_flight,
            scratch: vec![0; 256 * 1024],
            events: Vec::with_capacity(1024),
        })
    }

    /// Returns how many connections echo.
    #[must_use]
    pub const fn active(&self) -> usize {
        self.active
    }

    /// Echoes for `warm_up` and for `time`, and waits for what is on the way then. `begin` and
    /// `end` are called where the measured time begins and ends.
    ///
    /// # Errors
    ///
    /// If a connection ends, or an answer does not come.
    pub fn run(
        &mut self,
        warm_up: Duration,
        time: Duration,
        begin: &mut dyn FnMut(),
        end: &mut dyn FnMut(),
    ) -> Result<Run, String> {
        let said = |error: io::Error| error.to_string();
        let mut turn = Turn::new(self.in_flight);
        for peer in self.peers.iter_mut().filter(|peer| peer.is_active()) {
            peer.send_first(&self.frames, &mut turn).map_err(said)?;
        }
        self.turn_until(Instant::now() + warm_up, &mut turn)?;

        begin();
        turn.start_over();
        let (cpu, began) = (cpu_time(), Instant::now());
        self.turn_until(began + time, &mut turn)?;
        let (time, cpu) = (began.elapsed(), cpu_time() - cpu);
        end();

        let run = Run {
            messages: turn.messages,
            time,
            cpu: cpu.saturating_sub(turn.idle),
            round_trips: std::mem::take(&mut turn.round_trips),
        };
        self.drain(&mut turn)?;
        Ok(run)
    }

    /// Waits until nothing is on the way, and sees that nothing came beside the answers.
    fn drain(&mut self, turn: &mut Turn) -> Result<(), String> {
        turn.sends_more = false;
        let deadline = Instant::now() + PATIENCE;
        while self.peers.iter().any(|peer| peer.is_waiting(&self.frames)) {
            if Instant::now() > deadline {
                return Err("answers are missing".to_owned());
            }
            self.turn(turn)?;
        }
        match self.peers.iter().find(|peer| !peer.is_even(&self.frames)) {
            None => Ok(()),
            Some(_) => Err("there are more bytes than answers".to_owned()),
        }
    }

    fn turn_until(&mut self, until: Instant, turn: &mut Turn) -> Result<(), String> {
        while Instant::now() < until {
            self.turn(turn)?;
        }
        Ok(())
    }

    fn turn(&mut self, turn: &mut Turn) -> Result<(), String> {
        let began = Instant::now();
        self.events.clear();
        // It never sleeps: to wake it would be work for the server, and the more the slower it is.
        match epoll::wait(
            &self.epoll,
            spare_capacity(&mut self.events),
            Some(&NO_TIME),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.to_string()),
        }
        if self.events.is_empty() {
            turn.idle += began.elapsed();
        }
        for event in &self.events {
            let number = event.data.u64() as usize;
            let peer = &mut self.peers[number];
            peer.turn(&self.frames, &mut self.scratch, turn)
                .map_err(|error| format!("connection {number}: {error}"))?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Load")
            .field("connections", &self.peers.len())
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}

const NO_TIME: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Returns the processor time of the calling thread.
#[must_use]
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// A frame from here on is written alone.
const LONG: usize = 64 * 1024;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
