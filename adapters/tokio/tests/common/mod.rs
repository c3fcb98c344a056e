//! A peer that speaks bytes, a stream that misbehaves, and the pairs that the tests run.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use wspulse_core::Config;
use wspulse_core::handshake::ClientRequest;
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_tokio::WebSocket;

pub(crate) const REQUEST: &[u8] =
    b"GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8A;

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A heartbeat without jitter, so that its times are exact.
pub(crate) fn heartbeat(interval: u64, timeout: u64) -> Config {
    let heartbeat = HeartbeatConfig::ping(secs(interval), secs(timeout)).jitter_percent(0);
    Config::builder().heartbeat(heartbeat).build().unwrap()
}

pub(crate) fn request() -> ClientRequest {
    ClientRequest::new("example.com", "/chat").unwrap()
}

/// A client and a server over a pipe that holds `size` bytes each way.
pub(crate) async fn pair(
    size: usize,
    config: Config,
) -> (WebSocket<DuplexStream>, WebSocket<DuplexStream>) {
    let (near, far) = tokio::io::duplex(size);
    let request = request();
    let (client, server) = tokio::join!(
        wspulse_tokio::client(near, &request, config.clone()),
        wspulse_tokio::accept(far, config),
    );
    (client.unwrap(), server.unwrap())
}

/// A server over `wrap` of a pipe, and the pipe's other end after the handshake.
pub(crate) async fn server_and_raw<S>(
    config: Config,
    wrap: impl FnOnce(DuplexStream) -> S,
) -> (WebSocket<S>, Raw)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (near, far) = tokio::io::duplex(1 << 20);
    let mut raw = Raw(far);
    let (server, ()) = tokio::join!(wspulse_tokio::accept(wrap(near), config), async {
        raw.write(REQUEST).await;
        raw.read_head().await;
    });
    (server.unwrap(), raw)
}

/// A peer that speaks bytes.
pub(crate) struct Raw(pub(crate) DuplexStream);

impl Raw {
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn read_head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    /// Reads one short unmasked frame: its first byte and its payload.
    pub(crate) async fn read_frame(&mut self) -> (u8, Vec<u8>) {
        let first = self.0.read_u8().await.unwrap();
        let len = self.0.read_u8().await.unwrap();
        assert!(len < 126, "a short frame from a server");
        let mut payload = vec![0; usize::from(len)];
        self.0.read_exact(&mut payload).await.unwrap();
        (first, payload)
    }
}

/// A short frame as a client sends it, with a masking key that changes nothing.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).unwrap();
    assert!(len < 126);
    let mut frame = vec![first, 0x80 | len, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

/// A stream that counts writes, and misbehaves in the ways that streams may.
pub(crate) struct Rough<S> {
    inner: S,
    pub(crate) log: Arc<Mutex<Log>>,
    /// The most that one write takes.
    pub(crate) max_write: usize,
    pub(crate) vectored: bool,
    /// Whether each attempt is first interrupted and then not ready.
    pub(crate) hiccups: bool,
    reads: u32,
    writes: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Log {
    /// The bytes that each write took.
    pub(crate) writes: Vec<usize>,
    pub(crate) shutdowns: usize,
    /// What each write fails with from now on.
    pub(crate) broken: Option<io::ErrorKind>,
    /// Whether writes are not ready, without a word when they will be.
    pub(crate) stuck: bool,
    /// Whether writes succeed with nothing, which no stream should do.
    pub(crate) takes_nothing: bool,
}

impl<S> Rough<S> {
    pub(crate) fn new(inner: S) -> Self {
        let log = Arc::default();
        Self {
            inner,
            log,
            max_write: usize::MAX,
            vectored: true,
            hiccups: false,
            reads: 0,
            writes: 0,
        }
    }

    /// One byte a write, and nothing works the first time.
    pub(crate) fn nasty(inner: S) -> Self {
        Self {
            max_write: 1,
            vectored: false,
            hiccups: true,
            ..Self::new(inner)
        }
    }
}

/// The first attempt is interrupted, the second not ready, the third goes through.
fn hiccup(cx: &mut Context<'_>, count: &mut u32) -> Poll<io::Result<()>> {
    *count += 1;
    match *count % 3 {
        1 => Poll::Ready(Err(io::ErrorKind::Interrupted.into())),
        2 => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        _ => Poll::Ready(Ok(())),
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rough<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.hiccups {
            std::task::ready!(hiccup(cx, &mut self.reads))?;
        }
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rough<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.hiccups {
            std::task::ready!(hiccup(cx, &mut self.writes))?;
        }
        {
            let log = self.log.lock().unwrap();
            if let Some(kind) = log.broken {
                return Poll::Ready(Err(kind.into()));
            }
            if log.stuck {
                return Poll::Pending;
            }
            if log.takes_nothing {
                return Poll::Ready(Ok(0));
            }
        }
        let most = bytes.len().min(self.max_write);
        let written = std::task::ready!(Pin::new(&mut self.inner).poll_write(cx, &bytes[..most]))?;
        self.log.lock().unwrap().writes.push(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = slices
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect::<Vec<u8>>();
        self.poll_write(cx, &bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.vectored
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.log.lock().unwrap().shutdowns += 1;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Polls `future` at most `times` times, then drops it.
pub(crate) async fn give_up_after<F: Future>(times: u32, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut polls = 0;
    std::future::poll_fn(|cx| {
        polls += 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if polls >= times => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Counts how often a task is woken.
#[derive(Debug, Default)]
pub(crate) struct Alarm(AtomicU32);

impl Alarm {
    pub(crate) fn count(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
