//! Futures without a runtime: memory is ready at once or has nothing.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use futures_util::{Sink, Stream};

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
