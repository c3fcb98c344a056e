//! A peer that knows frames and no engine, over real sockets.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use wspulse_core::Role;
use wspulse_core::handshake::{Accept, HandshakeLimits, ServerHandshake};

use super::manner::{Answer, Manner, Sending};
use super::{Line, Sink, Tls};
use crate::kit::ms;
use crate::wire::{Frame, Wire, frame, header, opcode};

/// How a peer's socket is made.
#[derive(Clone, Debug, Default)]
pub struct PeerOptions {
    /// TLS, or plain TCP.
    pub tls: Option<Tls>,
    /// SO_RCVBUF, or what the kernel sees fit. The kernel doubles it.
    pub receive_buffer: Option<usize>,
}

/// What a peer saw and did.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// When the peer was through with the handshake.
    pub opened: Option<Instant>,
    /// When pings came.
    pub pings: Vec<Instant>,
    /// When answers to its own pings came.
    pub pongs: Vec<Instant>,
    /// Bytes of frames that came.
    pub bytes_in: u64,
    /// Whole data messages that came.
    pub messages_in: u64,
    /// Bytes of frames that the transport took.
    pub bytes_out: u64,
    /// When the transport last took a byte.
    pub last_write: Option<Instant>,
    /// The code of the Close frame that came, zero if it had none.
    pub close: Option<u16>,
    /// How the stream ended, if it did.
    pub end: Option<String>,
    /// What was illegal in what came.
    pub fault: Option<String>,
}

/// A connection as a peer has it.
#[derive(Debug)]
pub struct Peer {
    line: Line,
    role: Role,
    wire: Wire,
    out: Vec<u8>,
    written: usize,
    answers: VecDeque<(Instant, Vec<u8>)>,
    log: Log,
}

/// An opcode that means nothing (RFC 6455 §5.2).
const RESERVED: u8 = 0xB;

/// Everything in tests is bounded: no handshake takes longer.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How often a peer looks whether it is to stop, or whether a transport that was full takes more.
const LOOK: Duration = ms(25);
const TICK: Duration = ms(5);

impl Peer {
    /// Listens on a free port of the loopback interface.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn listen(options: &PeerOptions) -> io::Result<TcpListener> {
        let socket = socket(options)?;
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        socket.listen(1024)?;
        Ok(socket.into())
    }

    /// Waits for a client on `listener` and shakes hands with it.
    ///
    /// # Errors
    ///
    /// What the transport says; `InvalidData` for a request that is none.
    pub fn accept(listener: &TcpListener, options: &PeerOptions) -> io::Result<Self> {
        let socket = accept_before(listener, Instant::now() + HANDSHAKE)?;
        let mut line = Line::new(socket, Role::Server, options.tls.as_ref())?;
        line.shake_hands(HANDSHAKE)?;
        let head = read_head(&mut line)?;
        let mut handshake = ServerHandshake::new(HandshakeLimits::default());
        handshake.handle_input(&head);
        if let Some(Err(error)) = handshake.poll_request() {
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        let answer = handshake
            .accept(&Accept::new())
            .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        Self::begin(line, Role::Server, answer)
    }

    /// Connects to `address` and shakes hands.
    ///
    /// # Errors
    ///
    /// What the transport says; `InvalidData` for an answer that is none.
    pub fn connect(address: SocketAddr, options: &PeerOptions) -> io::Result<Self> {
        let mut line = dial(address, options)?;
        line.shake_hands(HANDSHAKE)?;
        let mut peer = Self::begin(line, Role::Client, request(address))?;
        let head = read_head(&mut peer.line)?;
        if !head.starts_with(b"HTTP/1.1 101 ") {
            let head = String::from_utf8_lossy(&head).into_owned();
            return Err(io::Error::new(ErrorKind::InvalidData, head));
        }
        Ok(peer)
    }

    fn begin(line: Line, role: Role, head: Vec<u8>) -> io::Result<Self> {
        let mut peer = Self {
            line,
            role,
            wire: Wire::frames(role.peer()),
            out: head,
            written: 0,
            answers: VecDeque::new(),
            log: Log::default(),
        };
        let deadline = Instant::now() + HANDSHAKE;
        while !peer.write()? {
            if Instant::now() > deadline {
                return Err(ErrorKind::TimedOut.into());
            }
            thread::sleep(TICK);
        }
        peer.log.bytes_out = 0;
        Ok(peer)
    }

    /// Behaves as `manner` says until `until`, `stop`, or the end of the connection.
    pub fn play(&mut self, manner: &Manner, until: Instant, stop: &AtomicBool) {
        self.log.opened = Some(Instant::now());
        let played = self.try_play(manner, until, stop);
        let is_awake = manner.reads_after != Duration::MAX && manner.silent_from == Duration::MAX;
        let played = match played {
            // What was said last may still be on its way.
            Ok(()) if is_awake => self.try_drain(manner),
            played => played,
        };
        if let Err(error) = played {
            self.log.end = Some(error.to_string());
        }
    }

    fn try_drain(&mut self, manner: &Manner) -> io::Result<()> {
        let deadline = Instant::now() + LOOK;
        let mut buffer = vec![0; 64 << 10];
        while self.log.end.is_none() && self.log.fault.is_none() && Instant::now() < deadline {
            if let Some(count) = self.line.read(&mut buffer, deadline)? {
                self.hear(&buffer[..count], manner)?;
            }
        }
        Ok(())
    }

    /// Returns what it saw and did so far.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Returns the connection itself.
    #[must_use]
    pub fn into_line(self) -> Line {
        self.line
    }

    fn try_play(&mut self, manner: &Manner, until: Instant, stop: &AtomicBool) -> io::Result<()> {
        let began = Instant::now();
        let silent_from = began.checked_add(manner.silent_from);
        let mut source = Source::new(manner.sending, self.role, began);
        let mut allowance = Allowance::new(manner, began);
        let mut buffer = vec![0; 256 << 10];
        while self.log.end.is_none() && self.log.fault.is_none() {
            let now = Instant::now();
            if now >= until || stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            if silent_from.is_some_and(|from| now >= from) {
                thread::sleep(LOOK);
                continue;
            }
            let is_drained = self.written == self.out.len();
            let mut wake = (now + LOOK).min(until);
            if let Some(next) = source.refill(now, is_drained, &mut self.out) {
                wake = wake.min(next);
            }
            // A pong cannot leave in the middle of a frame.
            while !source.is_within_frame()
                && let Some((at, _)) = self.answers.front()
            {
                if *at > now {
                    wake = wake.min(*at);
                    break;
                }
                let (_, bytes) = self.answers.pop_front().expect("looked at");
                self.out.extend_from_slice(&bytes);
            }
            if !self.write()? {
                wake = wake.min(now + TICK);
            } else if source.is_eager() {
                wake = now;
            }
            if let Some(from) = silent_from {
                wake = wake.min(from);
            }
            let budget = allowance.at(Instant::now(), buffer.len());
            if budget == 0 {
                thread::sleep(wake.min(now + TICK).saturating_duration_since(now));
                continue;
            }
            if let Some(count) = self.line.read(&mut buffer[..budget], wake)? {
                allowance.spend(count);
                self.hear(&buffer[..count], manner)?;
            }
        }
        Ok(())
    }

    /// Writes what is queued; tells whether all of it has gone.
    fn write(&mut self) -> io::Result<bool> {
        loop {
            let rest = &self.out[self.written..];
            let sink = self.line.write(rest)?;
            let (Sink::Took(taken) | Sink::Full(taken)) = sink;
            if taken > 0 {
                self.written += taken;
                self.log.bytes_out += taken as u64;
                self.log.last_write = Some(Instant::now());
            }
            if self.written == self.out.len() {
                self.out.clear();
                self.written = 0;
                return Ok(matches!(sink, Sink::Took(_)));
            }
            if matches!(sink, Sink::Full(_)) {
                return Ok(false);
            }
        }
    }

    fn hear(&mut self, bytes: &[u8], manner: &Manner) -> io::Result<()> {
        let now = Instant::now();
        if bytes.is_empty() {
            self.log.end = Some("end of stream".to_owned());
            return Ok(());
        }
        self.log.bytes_in += bytes.len() as u64;
        let frames = match self.wire.push(bytes) {
            Ok(frames) => frames,
            Err(fault) => {
                self.log.fault = Some(fault);
                return Ok(());
            }
        };
        for frame in frames {
            self.note(&frame, now, manner)?;
        }
        Ok(())
    }

    fn note(&mut self, seen: &Frame, now: Instant, manner: &Manner) -> io::Result<()> {
        match seen.opcode {
            opcode::PING => {
                self.log.pings.push(now);
                let payload = match manner.answer {
                    Answer::Right => &seen.payload[..],
                    Answer::Empty => &[],
                    Answer::Nothing => return Ok(()),
                };
                let pong = frame(self.role, opcode::PONG, payload);
                self.answers.push_back((now + manner.answer_after, pong));
            }
            opcode::PONG => self.log.pongs.push(now),
            opcode::CLOSE => {
                self.log.close = Some(seen.close_code().unwrap_or(0));
                let echo = Frame::new(opcode::CLOSE, &seen.payload).from(self.role);
                self.out.extend_from_slice(&echo.encode());
                self.write()?;
                self.line.shutdown();
            }
            _ => self.log.messages_in += u64::from(seen.fin),
        }
        Ok(())
    }
}

/// What a peer sends of its own, in time.
#[derive(Debug)]
struct Source {
    sending: Sending,
    role: Role,
    next: Instant,
    /// Bytes of the slow frame, or of the flood, still to come.
    left: usize,
    batch: Vec<u8>,
}

impl Source {
    fn new(sending: Sending, role: Role, now: Instant) -> Self {
        let (left, batch) = match sending {
            Sending::Slow { size, .. } => (size, Vec::new()),
            Sending::Flood(limit) => (limit, frame(role, opcode::PING, &[b'f'; 125]).repeat(64)),
            Sending::Stream(size) => (0, frame(role, opcode::BINARY, &vec![1; size])),
            Sending::Burst { count, size } => {
                (1, frame(role, opcode::BINARY, &vec![1; size]).repeat(count))
            }
            Sending::Illegal(size) => {
                let mut bytes = frame(role, RESERVED, b"what is this");
                bytes.resize(bytes.len() + size, 0x5a);
                (1, bytes)
            }
            _ => (0, Vec::new()),
        };
        Self {
            sending,
            role,
            next: now,
            left,
            batch,
        }
    }

    /// Adds what is due, and says when more is.
    fn refill(&mut self, now: Instant, is_drained: bool, out: &mut Vec<u8>) -> Option<Instant> {
        match self.sending {
            Sending::Nothing => None,
            Sending::Burst { .. } | Sending::Illegal(_) => {
                if self.left > 0 {
                    self.left = 0;
                    out.append(&mut self.batch);
                }
                None
            }
            Sending::Stream(_) => {
                if is_drained {
                    out.extend_from_slice(&self.batch);
                }
                None
            }
            Sending::Flood(_) => {
                if is_drained && self.left > 0 {
                    self.left = self.left.saturating_sub(self.batch.len());
                    out.extend_from_slice(&self.batch);
                }
                None
            }
            Sending::Slow { size, piece, every } => {
                while self.left > 0 && self.next <= now {
                    if self.left == size {
                        let key = (self.role == Role::Client).then_some([0x5a, 1, 2, 3]);
                        out.extend(header(true, 0, opcode::BINARY, key, size as u64));
                    }
                    let piece = piece.min(self.left);
                    self.left -= piece;
                    self.next += every;
                    out.resize(out.len() + piece, 0x11);
                }
                (self.left > 0).then_some(self.next)
            }
            Sending::Pongs(every) => self.repeat(now, every, opcode::PONG, out),
            Sending::Data(every) => self.repeat(now, every, opcode::BINARY, out),
            Sending::Pings(every) => self.repeat(now, every, opcode::PING, out),
        }
    }

    fn repeat(
        &mut self,
        now: Instant,
        every: Duration,
        opcode: u8,
        out: &mut Vec<u8>,
    ) -> Option<Instant> {
        if self.next <= now {
            self.next = now + every;
            out.extend(frame(self.role, opcode, b"unasked"));
        }
        Some(self.next)
    }

    fn is_within_frame(&self) -> bool {
        matches!(self.sending, Sending::Slow { .. }) && self.left > 0
    }

    fn is_eager(&self) -> bool {
        match self.sending {
            Sending::Stream(_) => true,
            Sending::Flood(_) => self.left > 0,
            _ => false,
        }
    }
}

/// How much may be read.
#[derive(Debug)]
struct Allowance {
    rate: Option<f64>,
    from: Option<Instant>,
    last: Instant,
    saved: f64,
}

impl Allowance {
    fn new(manner: &Manner, now: Instant) -> Self {
        Self {
            rate: manner.rate,
            from: now.checked_add(manner.reads_after),
            last: now,
            saved: 0.0,
        }
    }

    fn at(&mut self, now: Instant, most: usize) -> usize {
        if self.from.is_none_or(|from| now < from) {
            return 0;
        }
        let Some(rate) = self.rate else {
            return most;
        };
        self.saved += rate * now.duration_since(self.last).as_secs_f64();
        // A peer that was late for long does not catch up all at once.
        self.saved = self.saved.min(rate / 4.0);
        self.last = now;
        // Reads of a few KiB: a reader that sips would only burn the machine.
        let budget = self.saved as usize;
        if budget < 4096 { 0 } else { budget.min(most) }
    }

    fn spend(&mut self, count: usize) {
        self.saved -= count as f64;
    }
}

/// Connects, and says nothing yet.
///
/// # Errors
///
/// What the operating system says.
pub(super) fn dial(address: SocketAddr, options: &PeerOptions) -> io::Result<Line> {
    let socket = socket(options)?;
    socket.connect_timeout(&address.into(), HANDSHAKE)?;
    Line::new(TcpStream::from(socket), Role::Client, options.tls.as_ref())
}

/// A client's request, with the example key of the RFC.
pub(super) fn request(address: SocketAddr) -> Vec<u8> {
    format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    .into_bytes()
}

fn socket(options: &PeerOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    // Before the connection is there: a window that was offered is not taken back.
    if let Some(size) = options.receive_buffer {
        socket.set_recv_buffer_size(size)?;
    }
    Ok(socket)
}

pub(super) fn accept_before(listener: &TcpListener, deadline: Instant) -> io::Result<TcpStream> {
    let wait = deadline.saturating_duration_since(Instant::now());
    // An accept is a read, says Linux.
    socket2::SockRef::from(listener).set_read_timeout(Some(wait.max(TICK)))?;
    listener.accept().map(|(socket, _)| socket)
}

/// Reads an HTTP head and not a byte more.
pub(super) fn read_head(line: &mut Line) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + HANDSHAKE;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match line.read(&mut byte, deadline)? {
            Some(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Some(_) => head.push(byte[0]),
            None => return Err(ErrorKind::TimedOut.into()),
        }
    }
    Ok(head)
}
