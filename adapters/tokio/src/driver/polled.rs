//! The stream, as a transport that does not wait.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop;
use wspulse_core::Transmit;
use wspulse_drive::{Transport, with_slices};

use crate::trace::Trace;

/// A stream and the task that is to be woken when it is ready.
pub(super) struct Polled<'a, 'b, S> {
    stream: Pin<&'a mut S>,
    held: &'a mut usize,
    trace: &'a mut Trace,
    cx: &'a mut Context<'b>,
}

pub(super) fn stream<'a, 'b, S: Unpin>(
    stream: &'a mut S,
    held: &'a mut usize,
    trace: &'a mut Trace,
    cx: &'a mut Context<'b>,
) -> Polled<'a, 'b, S> {
    Polled {
        stream: Pin::new(stream),
        held,
        trace,
        cx,
    }
}

impl<S: AsyncWrite> Polled<'_, '_, S> {
    /// Makes one write of everything lent, or of its first chunk where the stream has no better.
    fn write_once(&mut self, transmit: &Transmit<'_>) -> io::Result<usize> {
        if !self.stream.is_write_vectored() {
            return now(self.stream.as_mut().poll_write(self.cx, transmit.first()));
        }
        let (mut stream, cx) = (self.stream.as_mut(), &mut *self.cx);
        now(with_slices(transmit, |slices| match slices {
            [slice] => stream.as_mut().poll_write(cx, slice),
            slices => stream.as_mut().poll_write_vectored(cx, slices),
        }))
    }
}

impl<S: AsyncRead + AsyncWrite> Transport for Polled<'_, '_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        match now(self.stream.as_mut().poll_read(self.cx, &mut buffer)) {
            // TLS that ends without saying so has ended all the same: WebSocket has its own last
            // word, so nothing can be cut off unnoticed.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
            read => read?,
        }
        let count = buffer.filled().len();
        self.trace.read(count);
        Ok(count)
    }

    /// What a stream keeps to itself has not left: TLS takes 64 KiB that the socket does not, and a
    /// ping among them has no clock yet. So it counts as taken when the flush behind it is done.
    fn write(&mut self, transmit: &Transmit<'_>) -> io::Result<usize> {
        if *self.held == 0 {
            *self.held = self.write_once(transmit)?;
        }
        if *self.held > 0 {
            self.flush()?;
        }
        let count = std::mem::take(self.held);
        self.trace.wrote(count.min(transmit.len()));
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        now(self.stream.as_mut().poll_flush(self.cx))
    }

    fn shutdown(&mut self) -> io::Result<()> {
        now(self.stream.as_mut().poll_shutdown(self.cx))
    }

    /// Out of budget, the runtime did not let the stream look.
    fn has_looked(&self) -> bool {
        coop::has_budget_remaining()
    }

    fn has_offered(&self) -> bool {
        coop::has_budget_remaining()
    }
}

fn now<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}
