//! Peers that speak bytes, handlers that take notes, and loops in threads.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use wspulse_core::handshake::{ClientRequest, Response};
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Closed, Config, Event, Message};
use wspulse_mio::{
    ConnectionId, Connections, DrainReport, Error, EventLoop, Handle, Handler, Listener,
};

pub(crate) const REQUEST: &[u8] =
    b"GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8A;

/// No test waits longer for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A heartbeat without jitter, in milliseconds.
pub(crate) fn heartbeat(interval: u64, timeout: u64) -> Config {
    let heartbeat = HeartbeatConfig::ping(millis(interval), millis(timeout)).jitter_percent(0);
    Config::builder().heartbeat(heartbeat).build().unwrap()
}

pub(crate) fn request() -> ClientRequest {
    ClientRequest::new("example.com", "/chat").unwrap()
}

/// A frame as a client sends it, masked with zeros.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length @ 126..0x1_0000 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// A client that speaks bytes over a socket that waits.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// A client whose request was agreed to.
    pub(crate) fn open(address: SocketAddr) -> Self {
        let mut raw = Self::connect(address);
        raw.write(REQUEST);
        assert!(raw.read_head().starts_with("HTTP/1.1 101 "));
        raw
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    pub(crate) fn read_head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        String::from_utf8(head).unwrap()
    }

    pub(crate) fn read_exact(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Reads a frame of a server, which masks nothing.
    pub(crate) fn read_frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.read_exact(2);
        let length = match head[1] {
            126 => u16::from_be_bytes(self.read_exact(2).try_into().unwrap()).into(),
            127 => u64::from_be_bytes(self.read_exact(8).try_into().unwrap()),
            length => length.into(),
        };
        (head[0], self.read_exact(length as usize))
    }

    /// Reads to the end of the stream; a reset ends it too.
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return bytes,
                Ok(count) => bytes.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return bytes,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// What a handler saw.
#[derive(Debug)]
pub(crate) enum Seen {
    Open(ConnectionId, Option<String>),
    Message(ConnectionId, Message),
    Event(ConnectionId, Event),
    Writable(ConnectionId),
    Unsent(ConnectionId, wspulse_core::SendError),
    Closed(ConnectionId, Result<Box<Closed>, Error>),
    AcceptFailed(std::io::Error),
    Drained(DrainReport),
}

/// Takes notes of everything and sends messages back, if it is to.
pub(crate) struct Notes {
    pub(crate) seen: Sender<Seen>,
    pub(crate) echoes: bool,
}

impl Notes {
    pub(crate) fn new(echoes: bool) -> (Self, Receiver<Seen>) {
        let (seen, receiver) = channel();
        (Self { seen, echoes }, receiver)
    }

    fn note(&self, seen: Seen) {
        let _ = self.seen.send(seen);
    }
}

impl Handler for Notes {
    fn open(&mut self, _: &mut Connections, id: ConnectionId, response: Option<&Response>) {
        let subprotocol = response.and_then(Response::subprotocol).map(str::to_owned);
        self.note(Seen::Open(id, subprotocol));
    }

    fn message(&mut self, connections: &mut Connections, id: ConnectionId, message: Message) {
        if self.echoes {
            connections.send(id, message).unwrap();
        } else {
            self.note(Seen::Message(id, message));
        }
    }

    fn event(&mut self, _: &mut Connections, id: ConnectionId, event: Event) {
        self.note(Seen::Event(id, event));
    }

    fn writable(&mut self, _: &mut Connections, id: ConnectionId) {
        self.note(Seen::Writable(id));
    }

    fn unsent(&mut self, _: &mut Connections, id: ConnectionId, error: wspulse_core::SendError) {
        self.note(Seen::Unsent(id, error));
    }

    fn closed(&mut self, _: &mut Connections, id: ConnectionId, end: Result<Box<Closed>, Error>) {
        self.note(Seen::Closed(id, end));
    }

    fn accept_failed(
        &mut self,
        _: &mut Connections,
        _: wspulse_mio::ListenerId,
        error: std::io::Error,
    ) {
        self.note(Seen::AcceptFailed(error));
    }

    fn drained(&mut self, report: DrainReport) {
        self.note(Seen::Drained(report));
    }
}

/// A loop in a thread of its own, which ends with it.
pub(crate) struct Running<H: Handler + Send + 'static> {
    pub(crate) handle: Handle<H>,
    pub(crate) address: SocketAddr,
    thread: Option<JoinHandle<EventLoop<H>>>,
}

impl<H: Handler + Send + 'static> Running<H> {
    /// Runs a loop that listens with `config`.
    pub(crate) fn start(handler: H, config: Config) -> Self {
        Self::start_with(handler, |connections, listener| {
            connections.listen(listener, config).unwrap();
        })
    }

    pub(crate) fn start_with(handler: H, listen: impl FnOnce(&mut Connections, Listener)) -> Self {
        let mut server = EventLoop::new(handler).unwrap();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        listen(server.connections(), listener);
        let handle = server.handle();
        let thread = std::thread::spawn(move || {
            server.run().unwrap();
            server
        });
        Self {
            handle,
            address,
            thread: Some(thread),
        }
    }

    /// Runs `look` in the loop and returns what it saw.
    pub(crate) fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut H, &mut Connections) -> T + Send + 'static,
    ) -> T {
        let (sender, receiver) = channel();
        self.handle
            .run(move |handler, connections| {
                let _ = sender.send(look(handler, connections));
            })
            .unwrap();
        receiver.recv_timeout(PATIENCE).unwrap()
    }

    /// Waits until no connection is left.
    pub(crate) fn wait_until_empty(&self) {
        let begun = Instant::now();
        while !self.look(|_, connections| connections.is_empty()) {
            assert!(begun.elapsed() < PATIENCE, "connections are left");
            std::thread::sleep(millis(5));
        }
    }

    /// Waits for the loop's own end.
    pub(crate) fn join(mut self) -> EventLoop<H> {
        self.thread.take().unwrap().join().unwrap()
    }

    pub(crate) fn stop(self) -> EventLoop<H> {
        self.handle.stop();
        self.join()
    }
}

impl<H: Handler + Send + 'static> Drop for Running<H> {
    fn drop(&mut self) {
        self.handle.stop();
    }
}

/// Waits for the first thing seen that `pick` takes, past the others.
pub(crate) fn wait_for<T>(seen: &Receiver<Seen>, mut pick: impl FnMut(Seen) -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let next = seen.recv_timeout(left).expect("it was to be seen by now");
        if let Some(picked) = pick(next) {
            return picked;
        }
    }
}

pub(crate) fn wait_for_open(seen: &Receiver<Seen>) -> ConnectionId {
    wait_for(seen, |seen| match seen {
        Seen::Open(id, _) => Some(id),
        Seen::Closed(_, end) => panic!("it is over: {end:?}"),
        _ => None,
    })
}

pub(crate) fn wait_for_message(seen: &Receiver<Seen>) -> Message {
    wait_for(seen, |seen| match seen {
        Seen::Message(_, message) => Some(message),
        Seen::Closed(_, end) => panic!("it is over: {end:?}"),
        _ => None,
    })
}

pub(crate) fn wait_for_end(seen: &Receiver<Seen>) -> Result<Box<Closed>, Error> {
    wait_for(seen, |seen| match seen {
        Seen::Closed(_, end) => Some(end),
        _ => None,
    })
}
