//! A peer that speaks bytes, a stream that misbehaves, and the pairs that the tests run.
#![allow(dead_code, reason = "each test uses some")]

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use wspulse_core::handshake::ClientRequest;
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Config, ConfigBuilder};
use wspulse_std::{Error, Stream, WebSocket, accept, client};

pub(crate) const REQUEST: &[u8] =
    b"GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8A;

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A heartbeat without jitter, in milliseconds.
pub(crate) fn heartbeat(interval: u64, timeout: u64) -> ConfigBuilder {
    let heartbeat = HeartbeatConfig::ping(ms(interval), ms(timeout)).jitter_percent(0);
    Config::builder().heartbeat(heartbeat)
}

pub(crate) fn request() -> ClientRequest {
    ClientRequest::new("example.com", "/chat").unwrap()
}

/// A bug is a failed test, and not one that never ends.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    run: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        let _ = sender.send(run());
    });
    match receiver.recv_timeout(limit) {
        Ok(result) => result,
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("took more than {limit:?}"),
        Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("it sends before it ends"),
        },
    }
}

pub(crate) fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    (near, far)
}

/// A client and a server over TCP.
pub(crate) fn pair(config: Config) -> (WebSocket<TcpStream>, WebSocket<TcpStream>) {
    let (near, far) = sockets();
    pair_over(near, far, config)
}

pub(crate) fn pair_over<A, B>(near: A, far: B, config: Config) -> (WebSocket<A>, WebSocket<B>)
where
    A: Stream + Send + Sync,
    B: Stream + Send + Sync + 'static,
{
    let theirs = config.clone();
    let server = thread::spawn(move || accept(far, theirs).unwrap());
    let client = client(near, &request(), config).unwrap();
    (client, server.join().unwrap())
}

/// A server over TCP, and its peer's socket after the handshake.
pub(crate) fn server_and_raw(config: Config) -> (WebSocket<TcpStream>, Raw) {
    let (near, far) = sockets();
    let mut raw = Raw(near);
    raw.write(REQUEST);
    let server = accept(far, config).unwrap();
    raw.read_head();
    (server, raw)
}

/// The loop that everybody writes.
pub(crate) fn echo<S: Stream>(ws: &mut WebSocket<S>) -> Result<(), Error> {
    while let Some(message) = ws.next() {
        ws.feed(message?)?;
    }
    Ok(())
}

/// A peer that speaks bytes.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    fn read_u8(&mut self) -> u8 {
        let mut byte = [0];
        self.0.read_exact(&mut byte).unwrap();
        byte[0]
    }

    pub(crate) fn read_head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.read_u8());
        }
        String::from_utf8(head).unwrap()
    }

    /// Reads one unmasked frame: its first byte and its payload.
    pub(crate) fn read_frame(&mut self) -> (u8, Vec<u8>) {
        let first = self.read_u8();
        let len = match self.read_u8() {
            126 => usize::from(u16::from_be_bytes([self.read_u8(), self.read_u8()])),
            127 => {
                let mut len = [0; 8];
                self.0.read_exact(&mut len).unwrap();
                usize::try_from(u64::from_be_bytes(len)).unwrap()
            }
            len => usize::from(len),
        };
        let mut payload = vec![0; len];
        self.0.read_exact(&mut payload).unwrap();
        (first, payload)
    }

    /// Reads to the end, and says what came.
    pub(crate) fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).map(|_| bytes)
    }
}

/// A frame as a client sends it, with a masking key that changes nothing.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | u8::try_from(len).unwrap()),
        len @ 126..0x1_0000 => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend(u64::try_from(len).unwrap().to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// One direction of a pipe in memory.
#[derive(Debug, Default)]
pub(crate) struct Way {
    state: Mutex<WayState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct WayState {
    bytes: VecDeque<u8>,
    has_ended: bool,
}

/// One end of a pipe in memory that holds `size` bytes each way.
#[derive(Debug)]
pub(crate) struct Pipe {
    incoming: Arc<Way>,
    outgoing: Arc<Way>,
    size: usize,
    read_timeout: Mutex<Option<Duration>>,
    write_timeout: Mutex<Option<Duration>>,
}

pub(crate) fn pipe(size: usize) -> (Pipe, Pipe) {
    let (up, down) = (Arc::<Way>::default(), Arc::<Way>::default());
    let end = |incoming: &Arc<Way>, outgoing: &Arc<Way>| Pipe {
        incoming: incoming.clone(),
        outgoing: outgoing.clone(),
        size,
        read_timeout: Mutex::default(),
        write_timeout: Mutex::default(),
    };
    (end(&down, &up), end(&up, &down))
}

impl Way {
    /// Waits until `ready`, at most for `timeout`.
    fn wait<T>(
        &self,
        timeout: Option<Duration>,
        mut ready: impl FnMut(&mut WayState) -> Option<T>,
    ) -> io::Result<T> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some(result) = ready(&mut state) {
                self.changed.notify_all();
                return Ok(result);
            }
            let left = match deadline {
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
                None => Duration::from_secs(3600),
            };
            if left.is_zero() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }
}

impl Stream for Pipe {
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        assert_ne!(timeout, Some(Duration::ZERO));
        *self.read_timeout.lock().unwrap() = timeout;
        Ok(())
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        assert_ne!(timeout, Some(Duration::ZERO));
        *self.write_timeout.lock().unwrap() = timeout;
        Ok(())
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let timeout = *self.read_timeout.lock().unwrap();
        self.incoming.wait(timeout, |way| {
            let count = way.bytes.len().min(buffer.len());
            if count == 0 && !way.has_ended {
                return None;
            }
            for (place, byte) in buffer.iter_mut().zip(way.bytes.drain(..count)) {
                *place = byte;
            }
            Some(count)
        })
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let timeout = *self.write_timeout.lock().unwrap();
        let written = self.outgoing.wait(timeout, |way| {
            if way.has_ended {
                return Some(None);
            }
            let count = self.size.saturating_sub(way.bytes.len()).min(bytes.len());
            way.bytes.extend(&bytes[..count]);
            (count > 0).then_some(Some(count))
        })?;
        written.ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        for (way, is_meant) in [
            (&self.incoming, how != Shutdown::Write),
            (&self.outgoing, how != Shutdown::Read),
        ] {
            way.state.lock().unwrap().has_ended |= is_meant;
            way.changed.notify_all();
        }
        Ok(())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let _ = Stream::shutdown(self, Shutdown::Both);
    }
}

/// Writes all of `bytes`, waiting as long as it takes.
pub(crate) fn write_all(pipe: &Pipe, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let count = pipe.write(bytes).unwrap();
        bytes = &bytes[count..];
    }
}

/// Reads until `is_enough`.
pub(crate) fn read_until(pipe: &Pipe, is_enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !is_enough(&bytes) {
        let mut buffer = [0; 4096];
        let count = pipe.read(&mut buffer).unwrap();
        assert!(count > 0, "an early end after {bytes:?}");
        bytes.extend_from_slice(&buffer[..count]);
    }
    bytes
}

/// A stream that counts writes.
#[derive(Debug)]
pub(crate) struct Counted<S> {
    inner: S,
    /// The bytes that each write took.
    pub(crate) writes: Arc<Mutex<Vec<usize>>>,
}

impl<S> Counted<S> {
    pub(crate) fn new(inner: S) -> Self {
        let writes = Arc::default();
        Self { inner, writes }
    }
}

impl<S: Stream> Stream for Counted<S> {
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.inner.set_read_timeout(timeout)
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.inner.set_write_timeout(timeout)
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        // Who has read the bytes finds them counted.
        let mut writes = self.writes.lock().unwrap();
        let count = self.inner.write(bytes)?;
        writes.push(count);
        Ok(count)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.inner.shutdown(how)
    }
}
