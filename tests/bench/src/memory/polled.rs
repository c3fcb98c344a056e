//! Futures without a runtime: memory is ready at once or has nothing.

use std::io::{self, IoSlice, Write};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::{self, End, Source};

/// Polls a future that has no reason to wait.
pub(super) fn ready<F: Future>(future: F) -> F::Output {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a future waits for input that nobody will send"),
    }
}

/// Returns the next message, or nothing if the stream waits for input.
pub(super) fn next<S, M, E>(stream: &mut S) -> Option<M>
where
    S: Stream<Item = Result<M, E>> + Unpin,
    E: std::fmt::Debug,
{
    let mut context = Context::from_waker(Waker::noop());
    match Pin::new(stream).poll_next(&mut context) {
        Poll::Ready(Some(message)) => Some(message.expect("a message")),
        Poll::Ready(None) => panic!("the stream ended"),
        Poll::Pending => None,
    }
}

/// Feeds a message, with what `Sink` asks for before.
pub(super) fn feed<S, M>(sink: &mut S, message: M)
where
    S: Sink<M> + Unpin,
    S::Error: std::fmt::Debug,
{
    let mut context = Context::from_waker(Waker::noop());
    let mut sink = Pin::new(sink);
    let is_ready = sink.as_mut().poll_ready(&mut context);
    assert!(is_ready.is_ready(), "the sink waits");
    sink.start_send(message).expect("a message is taken");
}

/// Writes out what was fed.
pub(super) fn flush<S, M>(sink: &mut S)
where
    S: Sink<M> + Unpin,
    S::Error: std::fmt::Debug,
{
    let mut context = Context::from_waker(Waker::noop());
    let flushed = Pin::new(sink).poll_flush(&mut context);
    assert!(matches!(flushed, Poll::Ready(Ok(()))), "{flushed:?}");
}

impl<I: Source, O: stream::Sink> AsyncRead for End<I, O> {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let most = buffer.remaining();
        match self.input.take(most, |bytes| buffer.put_slice(bytes)) {
            0 => Poll::Pending,
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl<I: Source, O: stream::Sink> AsyncWrite for End<I, O> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
