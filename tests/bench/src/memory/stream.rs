//! Memory in the place of a socket.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::hint::black_box;
use std::io::{self, IoSlice, Read, Write};
use std::rc::Rc;

/// The most that one read brings: the size of the read buffer of wspulse's adapters.
pub const READ_SIZE: usize = 64 << 10;

/// Where bytes come from.
pub trait Source {
    /// Lends up to `most` bytes, which are gone then; none if a socket would block.
    fn take(&self, most: usize, copy: impl FnOnce(&[u8])) -> usize;
}

/// Where bytes go.
pub trait Sink {
    /// Takes all of them.
    fn put(&self, bytes: &[u8]);
}

/// The same input over and over, a read at a time.
#[derive(Debug)]
pub struct Replay {
    input: Rc<[u8]>,
    taken: Cell<usize>,
    arrived: Cell<usize>,
}

impl Replay {
    /// Begins with nothing to read.
    pub fn new(input: Rc<[u8]>) -> Self {
        Self {
            input,
            taken: Cell::new(0),
            arrived: Cell::new(0),
        }
    }

    /// Lets the next bytes arrive. Those of one pass over the input never mix with those of the
    /// next; returns whether the pass is through.
    pub fn arrive(&self) -> bool {
        assert_eq!(self.taken, self.arrived, "something was left unread");
        if self.arrived.get() == self.input.len() {
            self.taken.set(0);
            self.arrived.set(0);
        }
        let next = self.arrived.get() + READ_SIZE;
        self.arrived.set(next.min(self.input.len()));
        next >= self.input.len()
    }
}

impl Source for Replay {
    fn take(&self, most: usize, copy: impl FnOnce(&[u8])) -> usize {
        let start = self.taken.get();
        let end = self.arrived.get().min(start.saturating_add(most));
        copy(&self.input[start..end]);
        self.taken.set(end);
        end - start
    }
}

/// Counts, and keeps what it counted if it was told to.
#[derive(Debug, Default)]
pub struct Counter {
    count: Cell<u64>,
    is_keeping: Cell<bool>,
    kept: RefCell<Vec<u8>>,
}

impl Counter {
    /// Returns how many bytes were written.
    pub fn count(&self) -> u64 {
        self.count.get()
    }

    /// Keeps from here on.
    pub fn keep(&self) {
        self.is_keeping.set(true);
    }

    /// Stops keeping and returns what was kept.
    pub fn kept(&self) -> Vec<u8> {
        self.is_keeping.set(false);
        self.kept.take()
    }
}

impl Sink for Counter {
    fn put(&self, bytes: &[u8]) {
        let bytes = black_box(bytes);
        self.count.set(self.count.get() + bytes.len() as u64);
        if self.is_keeping.get() {
            self.kept.borrow_mut().extend_from_slice(bytes);
        }
    }
}

/// What one end writes and the other reads.
#[derive(Debug, Default)]
pub struct Pipe {
    bytes: RefCell<Vec<u8>>,
    taken: Cell<usize>,
}

impl Source for Pipe {
    fn take(&self, most: usize, copy: impl FnOnce(&[u8])) -> usize {
        let bytes = &mut *self.bytes.borrow_mut();
        let rest = &bytes[self.taken.get()..];
        let count = rest.len().min(most).min(READ_SIZE);
        copy(&rest[..count]);
        self.taken.set(self.taken.get() + count);
        if self.taken.get() == bytes.len() {
            bytes.clear();
            self.taken.set(0);
        }
        count
    }
}

impl Sink for Pipe {
    fn put(&self, bytes: &[u8]) {
        self.bytes.borrow_mut().extend_from_slice(bytes);
    }
}

/// One end: a socket for whoever reads and writes, blocking or polled.
pub struct End<I, O> {
    /// What it reads from.
    pub input: Rc<I>,
    /// What it writes to.
    pub output: Rc<O>,
}

impl<I: Source, O: Sink> End<I, O> {
    /// Joins two directions.
    pub fn new(input: &Rc<I>, output: &Rc<O>) -> Self {
        Self {
            input: Rc::clone(input),
            output: Rc::clone(output),
        }
    }

    /// Reads into `buffer` and returns what it holds then; empty if there was nothing.
    pub fn read_into<'a>(&self, buffer: &'a mut [u8]) -> &'a [u8] {
        let most = buffer.len();
        let count = self
            .input
            .take(most, |bytes| buffer[..bytes.len()].copy_from_slice(bytes));
        &buffer[..count]
    }
}

impl<I, O> fmt::Debug for End<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("End").finish_non_exhaustive()
    }
}

impl<I: Source, O: Sink> Read for End<I, O> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.read_into(buffer).len() {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl<I: Source, O: Sink> Write for End<I, O> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.put(bytes);
        Ok(bytes.len())
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        slices.iter().for_each(|slice| self.output.put(slice));
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
