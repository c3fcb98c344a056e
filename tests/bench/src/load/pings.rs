//! Connections that say nothing of their own, and answer pings.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::opening::{MASK, Opened};

/// Peers that only listen.
pub struct Listeners {
    epoll: rustix::fd::OwnedFd,
    streams: Vec<TcpStream>,
    events: Vec<epoll::Event>,
}

impl Listeners {
    /// Takes connections over.
    ///
    /// # Errors
    ///
    /// If there are no descriptors left.
    pub fn new(opened: Vec<Opened>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut streams = Vec::with_capacity(opened.len());
        for (number, opened) in opened.into_iter().enumerate() {
            let stream = opened.into_stream()?;
            let data = epoll::EventData::new_u64(number as u64);
            epoll::add(&epoll, &stream, data, epoll::EventFlags::IN)?;
            streams.push(stream);
        }
        Ok(Self {
            epoll,
            streams,
            events: Vec::with_capacity(1024),
        })
    }

    /// Answers pings for so long, and returns how many came.
    ///
    /// # Errors
    ///
    /// If a server ends a connection, or sends anything but pings.
    pub fn answer(&mut self, time: Duration) -> Result<u64, String> {
        let until = Instant::now() + time;
        let mut pings = 0;
        while Instant::now() < until {
            let wait = until.saturating_duration_since(Instant::now());
            let wait = Timespec::try_from(wait).map_err(|error| error.to_string())?;
            self.events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&wait)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.to_string()),
            }
            for event in &self.events {
                let number = event.data.u64() as usize;
                let answered = answer(&mut self.streams[number]);
                pings += answered.map_err(|error| format!("connection {number}: {error}"))?;
            }
        }
        Ok(pings)
    }
}

impl std::fmt::Debug for Listeners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listeners")
            .field("connections", &self.streams.len())
            .finish_non_exhaustive()
    }
}

/// Pings are so short that each comes whole, and that each answer goes whole.
fn answer(stream: &mut TcpStream) -> io::Result<u64> {
    let mut buffer = [0; 1024];
    let count = match stream.read(&mut buffer) {
        Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
        Ok(count) => count,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
        Err(error) => return Err(error),
    };
    let (mut bytes, mut pings) = (&buffer[..count], 0);
    while !bytes.is_empty() {
        let &[0x89, length @ 0..=125, ..] = bytes else {
            return Err(io::Error::other(format!("it sent {bytes:?}")));
        };
        let end = 2 + usize::from(length);
        let payload = bytes
            .get(2..end)
            .ok_or_else(|| io::Error::other("half a ping"))?;
        let mut pong = vec![0x8a, 0x80 | length];
        pong.extend_from_slice(&MASK);
        let masked = payload.iter().zip(MASK.iter().cycle());
        pong.extend(masked.map(|(byte, key)| byte ^ key));
        stream.write_all(&pong)?;
        bytes = &bytes[end..];
        pings += 1;
    }
    Ok(pings)
}
