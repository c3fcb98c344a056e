//! A transport in memory that fails as it is told.

use std::collections::VecDeque;
use std::io;

use wspulse_core::Transmit;
use wspulse_drive::Transport;

/// What happens at a call of the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    WouldBlock,
    Interrupted,
    /// At most so many bytes move.
    Short(usize),
}

/// The end of the stream that a `Drive` owns, and its peer's side of it.
#[derive(Debug)]
pub(super) struct Stream {
    /// What the peer sent and nobody read.
    pub(super) inbox: VecDeque<u8>,
    /// All that was read.
    pub(super) delivered: Vec<u8>,
    /// All that was taken, in order, and how much of it was looked at.
    pub(super) taken: Vec<u8>,
    /// How much more is taken.
    pub(super) room: usize,
    /// How reading ends behind the inbox: in order, or with this error.
    pub(super) read_end: Option<Result<(), io::ErrorKind>>,
    /// How writing fails from now on. `Ok` takes nothing and calls it a success.
    pub(super) write_end: Option<Result<(), io::ErrorKind>>,
    pub(super) shutdown_end: Option<io::ErrorKind>,
    pub(super) has_failed_writing: bool,
    pub(super) has_ended_reading: bool,
    /// How often the writing half was closed, or could not be.
    pub(super) shutdowns: usize,
    /// How many calls were interrupted; each is worth another turn.
    pub(super) interruptions: usize,
    pub(super) faults: Vec<u8>,
    /// The next fault of reads, writes and half-closes.
    next: [usize; 3],
}

impl Stream {
    pub(super) fn new(faults: &[u8], shutdown: u8) -> Self {
        let shutdown_end = match shutdown & 3 {
            1 => Some(io::ErrorKind::NotConnected),
            2 => Some(io::ErrorKind::BrokenPipe),
            _ => None,
        };
        Self {
            inbox: VecDeque::new(),
            delivered: Vec::new(),
            taken: Vec::new(),
            room: usize::MAX,
            read_end: None,
            write_end: None,
            shutdown_end,
            has_failed_writing: false,
            has_ended_reading: false,
            shutdowns: 0,
            interruptions: 0,
            faults: faults.to_vec(),
            next: [0; 3],
        }
    }

    fn fault(&mut self, call: usize) -> Fault {
        // After one round of them, a call that works.
        let byte = self
            .faults
            .get(self.next[call])
            .copied()
            .unwrap_or_default();
        self.next[call] = (self.next[call] + 1) % (self.faults.len() + 1);
        match byte & 7 {
            1 => Fault::WouldBlock,
            2 => Fault::Interrupted,
            3..=6 => Fault::Short(1 + usize::from(byte >> 3)),
            _ => Fault::None,
        }
    }

    /// How much one call moves at most.
    fn most(&mut self, call: usize) -> io::Result<usize> {
        match self.fault(call) {
            Fault::None => Ok(usize::MAX),
            Fault::Short(count) => Ok(count),
            Fault::WouldBlock => Err(io::ErrorKind::WouldBlock.into()),
            Fault::Interrupted => {
                self.interruptions += 1;
                Err(io::ErrorKind::Interrupted.into())
            }
        }
    }
}

impl Transport for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        assert!(!self.has_ended_reading, "it reads behind the end");
        let most = self.most(READ);
        let count = most?.min(self.inbox.len()).min(buffer.len());
        if count == 0 {
            let end = self.read_end.unwrap_or(Err(io::ErrorKind::WouldBlock));
            self.has_ended_reading = self.read_end.is_some();
            return end.map(|()| 0).map_err(Into::into);
        }
        for (place, byte) in buffer.iter_mut().zip(self.inbox.drain(..count)) {
            *place = byte;
            self.delivered.push(byte);
        }
        Ok(count)
    }

    fn write(&mut self, transmit: &Transmit<'_>) -> io::Result<usize> {
        assert!(!self.has_failed_writing, "it writes behind a failure");
        assert_eq!(self.shutdowns, 0, "it writes behind the half-close");
        let most = self.most(WRITE)?;
        if let Some(end) = self.write_end {
            self.has_failed_writing = true;
            return end.map(|()| 0).map_err(Into::into);
        }
        let count = transmit.len().min(most).min(self.room);
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let before = self.taken.len();
        for chunk in transmit.chunks() {
            let left = count - (self.taken.len() - before);
            self.taken
                .extend_from_slice(&chunk[..left.min(chunk.len())]);
        }
        self.room -= count;
        Ok(count)
    }

    fn shutdown(&mut self) -> io::Result<()> {
        if self.fault(SHUTDOWN) == Fault::WouldBlock {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.shutdowns += 1;
        self.shutdown_end.map_or(Ok(()), |kind| Err(kind.into()))
    }
}

const READ: usize = 0;
const WRITE: usize = 1;
const SHUTDOWN: usize = 2;
