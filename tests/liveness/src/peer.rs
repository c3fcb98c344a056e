//! A peer that knows frames and no engine, and behaves as a scenario says.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;
use wspulse_core::Role;
use wspulse_core::handshake::{Accept, HandshakeLimits, ServerHandshake};
use wspulse_tests::wire::{Frame, Wire, frame, header, opcode};

use crate::scenario::{self, Direction, Last, Pongs, Talk};

/// A connection as the peer has it.
#[derive(Debug)]
pub(crate) struct Peer {
    stream: Option<TcpStream>,
    role: Role,
    timer: Duration,
    script: scenario::Peer,
    opened: Instant,
    wire: Wire,
    out: Vec<u8>,
    written: usize,
    /// Pongs and answers that are owed, and when they leave.
    answers: VecDeque<(Instant, Vec<u8>)>,
    /// When each of the script's sources sends next; `None` for one that is through.
    next: Vec<Option<Instant>>,
    /// The number of bytes of a slow frame that are still to come, by source.
    missing: Vec<usize>,
    /// Nothing may leave but the rest of a frame.
    is_within_frame: bool,
    allowance: f64,
    looked: Instant,
    pinged: Option<Instant>,
    next_ping: Instant,
    last_in: Instant,
    last_out: Instant,
    is_over: bool,
    last_ping: Arc<Mutex<Instant>>,
    log: Log,
}

/// What a peer saw and did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    /// Whole data messages that came, and when the last one did.
    pub(crate) messages: u64,
    pub(crate) last_message: Option<Instant>,
    /// Bytes of frames that came.
    pub(crate) bytes: u64,
    /// Messages "answer" that came.
    pub(crate) answers: u64,
    /// When a Close frame came.
    pub(crate) close: Option<Instant>,
    /// How the stream ended, or why the peer gave up.
    pub(crate) end: Option<String>,
}

/// No handshake takes longer.
const HANDSHAKE: Duration = Duration::from_secs(20);

/// How often a peer looks around.
const LOOK: Duration = Duration::from_millis(5);

impl Peer {
    /// Accepts a client. `before_answer` is called when the answer is about to leave,
    /// `after_answer` when it has left.
    pub(crate) fn accept(
        listener: &TcpListener,
        script: scenario::Peer,
        timer: Duration,
        before_answer: impl FnOnce(),
        after_answer: impl FnOnce(),
    ) -> io::Result<Self> {
        // An accept is a read, says Linux.
        SockRef::from(listener).set_read_timeout(Some(HANDSHAKE))?;
        let (mut stream, _) = listener.accept()?;
        let head = read_head(&mut stream)?;
        let mut handshake = ServerHandshake::new(HandshakeLimits::default());
        handshake.handle_input(&head);
        if let Some(Err(error)) = handshake.poll_request() {
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        let answer = handshake
            .accept(&Accept::new())
            .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        before_answer();
        stream.write_all(&answer)?;
        after_answer();
        Self::open(stream, Role::Server, script, timer)
    }

    /// Connects to a server. `before_end` is called when half of the request has left, `after_end`
    /// when all of it has.
    pub(crate) fn connect(
        address: SocketAddr,
        script: scenario::Peer,
        timer: Duration,
        before_end: impl FnOnce(),
        after_end: impl FnOnce(),
    ) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        let (first, rest) = request.split_at(request.len() / 2);
        stream.write_all(first.as_bytes())?;
        before_end();
        stream.write_all(rest.as_bytes())?;
        after_end();
        let head = read_head(&mut stream)?;
        if !head.starts_with(b"HTTP/1.1 101 ") {
            let head = String::from_utf8_lossy(&head).into_owned();
            return Err(io::Error::new(ErrorKind::InvalidData, head));
        }
        Self::open(stream, Role::Client, script, timer)
    }

    fn open(
        stream: TcpStream,
        role: Role,
        script: scenario::Peer,
        timer: Duration,
    ) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let now = Instant::now();
        let first = |talk: &Talk| match talk {
            Talk::Data { from: at, .. }
            | Talk::Slow { from: at, .. }
            | Talk::Burst { at, .. }
            | Talk::AskBurst { at, .. }
            | Talk::HalfFrame { at } => Some(now + timer.mul_f64(*at)),
            _ => Some(now),
        };
        let strict = script
            .strict
            .map_or(Duration::ZERO, |(every, _)| timer.mul_f64(every));
        Ok(Self {
            stream: Some(stream),
            role,
            timer,
            opened: now,
            wire: Wire::frames(role.peer()).keeping_data(),
            out: Vec::new(),
            written: 0,
            answers: VecDeque::new(),
            next: script.talk.iter().map(first).collect(),
            missing: script.talk.iter().map(size_of_slow).collect(),
            is_within_frame: false,
            allowance: 0.0,
            looked: now,
            pinged: None,
            next_ping: now + strict,
            last_in: now,
            last_out: now,
            is_over: false,
            last_ping: Arc::new(Mutex::new(now)),
            log: Log::default(),
            script,
        })
    }

    /// When it was through with the opening handshake.
    pub(crate) const fn opened(&self) -> Instant {
        self.opened
    }

    /// The port of its end.
    pub(crate) fn port(&self) -> Option<u16> {
        let address = self.stream.as_ref()?.local_addr().ok()?;
        Some(address.port())
    }

    /// When the last ping came, for other threads.
    pub(crate) fn last_ping(&self) -> Arc<Mutex<Instant>> {
        Arc::clone(&self.last_ping)
    }

    pub(crate) const fn log(&self) -> &Log {
        &self.log
    }

    /// Sends a message that a receiving application answers.
    pub(crate) fn ask(&mut self) {
        let ask = frame(self.role, opcode::TEXT, b"ask");
        self.answers.push_back((Instant::now(), ask));
    }

    /// Behaves as its script says, for a moment.
    pub(crate) fn step(&mut self) {
        let now = Instant::now();
        let is_hushed = |peer: &Self| peer.script.hush.is_some_and(|at| now >= peer.moment(at));
        if self.is_over || self.log.end.is_some() || is_hushed(self) {
            std::thread::sleep(LOOK);
            return;
        }
        if let Err(error) = self.try_step(now) {
            self.log.end = Some(error.to_string());
        }
    }

    fn try_step(&mut self, now: Instant) -> io::Result<()> {
        if let Some((at, last)) = self.script.last
            && now >= self.moment(at)
        {
            return self.do_last(last);
        }
        self.look_at_the_clock(now);
        if self.log.end.is_some() {
            return Ok(());
        }
        self.refill(now);
        let is_drained = self.write(now)?;
        let budget = self.budget(now);
        let Some(stream) = &self.stream else {
            return Ok(());
        };
        let mut flags = PollFlags::empty();
        if budget > 0 {
            flags |= PollFlags::IN;
        }
        if !is_drained {
            flags |= PollFlags::OUT;
        }
        let wait = if is_drained && self.floods(now) {
            Duration::ZERO
        } else {
            LOOK
        };
        let wait = Timespec::try_from(wait).map_err(io::Error::other)?;
        poll(&mut [PollFd::new(stream, flags)], Some(&wait))?;
        if budget == 0 {
            return Ok(());
        }
        let mut buffer = vec![0; budget];
        match (&*stream).read(&mut buffer) {
            Ok(0) => self.log.end = Some("end of stream".to_owned()),
            Ok(count) => {
                self.allowance -= count as f64;
                self.last_in = Instant::now();
                self.log.bytes += count as u64;
                self.hear(&buffer[..count])?;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn do_last(&mut self, last: Last) -> io::Result<()> {
        self.script.last = None;
        match last {
            Last::Reset => {
                if let Some(stream) = self.stream.take() {
                    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
                }
                self.is_over = true;
            }
            Last::Fin => {
                if let Some(stream) = &self.stream {
                    stream.shutdown(Shutdown::Write)?;
                }
                self.is_over = true;
            }
            Last::Close => self
                .out
                .extend(Frame::close(1000, "").from(self.role).encode()),
            Last::Answer => {
                let frame = Frame::close(1000, "").from(self.role).encode();
                if let Some(stream) = &mut self.stream {
                    stream.write_all(&frame)?;
                    // RFC 6455 §7.1.1: the server ends TCP first.
                    if self.role == Role::Server {
                        stream.shutdown(Shutdown::Write)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A strict peer's timer, and that of a path that forgets.
    fn look_at_the_clock(&mut self, now: Instant) {
        if let Some((every, patience)) = self.script.strict {
            let patience = self.timer.mul_f64(patience);
            if let Some(pinged) = self.pinged {
                if now > pinged + patience {
                    self.give_up("no pong, says the strict peer");
                }
            } else if now >= self.next_ping && !self.is_within_frame {
                self.out.extend(frame(self.role, opcode::PING, b"strict"));
                self.pinged = Some(now);
                self.next_ping = now + self.timer.mul_f64(every);
            }
        }
        if let Some((direction, after)) = self.script.forgets {
            let last = match direction {
                Direction::Out => self.last_in,
                Direction::In => self.last_out,
                Direction::Both => self.last_in.max(self.last_out),
            };
            if now > last + self.timer.mul_f64(after) {
                self.give_up("the path was idle for too long");
            }
        }
    }

    fn give_up(&mut self, why: &str) {
        let at = self.opened.elapsed().as_millis();
        self.log.end = Some(format!("{why}, after {at} ms"));
        if let Some(stream) = &self.stream {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn refill(&mut self, now: Instant) {
        let is_drained = self.out.is_empty();
        for index in 0..self.next.len() {
            while let Some(at) = self.next[index]
                && at <= now
            {
                let talk = self.script.talk[index];
                self.next[index] = self.say(index, talk, at, now, is_drained);
                if self.next[index] == Some(at) {
                    break;
                }
            }
        }
        while !self.is_within_frame
            && let Some((at, _)) = self.answers.front()
            && *at <= now
        {
            if let Some((_, bytes)) = self.answers.pop_front() {
                self.out.extend(bytes);
            }
        }
    }

    /// Queues what a source has to say, and returns when it has more.
    fn say(
        &mut self,
        index: usize,
        talk: Talk,
        at: Instant,
        now: Instant,
        is_drained: bool,
    ) -> Option<Instant> {
        let role = self.role;
        let again = |every: f64| Some(at + self.timer.mul_f64(every));
        match talk {
            Talk::Pongs { every } => {
                self.out.extend(frame(role, opcode::PONG, b"unasked"));
                again(every)
            }
            Talk::Pings { every } => {
                self.out.extend(frame(role, opcode::PING, b"ping"));
                again(every)
            }
            Talk::Asks { every } => {
                self.out.extend(frame(role, opcode::TEXT, b"ask"));
                again(every)
            }
            Talk::Data {
                to, every, size, ..
            } => {
                let next = again(every);
                let is_due = to == f64::MAX || now < self.moment(to);
                if is_due {
                    self.out.extend(frame(role, opcode::BINARY, &vec![1; size]));
                }
                next.filter(|_| is_due)
            }
            Talk::Burst { count, size, .. } => {
                let message = frame(role, opcode::BINARY, &vec![1; size]);
                self.out.extend(message.repeat(count));
                None
            }
            Talk::AskBurst { count, .. } => {
                self.out
                    .extend(frame(role, opcode::TEXT, b"ask").repeat(count));
                None
            }
            Talk::HalfFrame { .. } => {
                let whole = frame(role, opcode::BINARY, &[1; 1_000]);
                self.out.extend(&whole[..500]);
                self.is_within_frame = true;
                None
            }
            Talk::Slow { from, to, size } => {
                if self.missing[index] == size {
                    let mask = (role == Role::Client).then_some([1, 2, 3, 4]);
                    self.out
                        .extend(header(true, 0, opcode::BINARY, mask, size as u64));
                    self.is_within_frame = true;
                }
                let every = 0.05;
                let pieces = ((to - from) / every) as usize;
                let piece = (size / pieces + 1).min(self.missing[index]);
                self.missing[index] -= piece;
                self.out.resize(self.out.len() + piece, 7);
                self.is_within_frame = self.missing[index] > 0;
                again(every).filter(|_| self.is_within_frame)
            }
            Talk::Flood { to } => {
                if is_drained {
                    let ping = frame(role, opcode::PING, &[b'f'; 125]);
                    self.out.extend(ping.repeat(64));
                }
                (now < self.moment(to)).then_some(at)
            }
        }
    }

    fn floods(&self, now: Instant) -> bool {
        let is_flood = |talk: &Talk| matches!(talk, Talk::Flood { to } if now < self.moment(*to));
        self.script.talk.iter().any(is_flood)
    }

    /// Writes what is queued; tells whether all of it has gone.
    fn write(&mut self, now: Instant) -> io::Result<bool> {
        let Some(mut stream) = self.stream.as_ref() else {
            return Ok(true);
        };
        while self.written < self.out.len() {
            match stream.write(&self.out[self.written..]) {
                Ok(count) => {
                    self.written += count;
                    self.last_out = now;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(true)
    }

    /// How much it may read now.
    fn budget(&mut self, now: Instant) -> usize {
        const MOST: usize = 256 << 10;
        let Some(rate) = self.script.rate else {
            return MOST;
        };
        let elapsed = now.duration_since(self.looked).as_secs_f64() / self.timer.as_secs_f64();
        self.looked = now;
        // A peer that was late does not catch up all at once.
        let most = (f64::from(rate) * 50.0).max(8_192.0);
        let earned = f64::from(rate) * elapsed * 1_000.0;
        self.allowance = (self.allowance + earned).min(most);
        if self.allowance < 4_096.0 {
            0
        } else {
            (self.allowance as usize).min(MOST)
        }
    }

    fn hear(&mut self, bytes: &[u8]) -> io::Result<()> {
        let now = Instant::now();
        let frames = self
            .wire
            .push(bytes)
            .map_err(|fault| io::Error::new(ErrorKind::InvalidData, fault))?;
        for seen in frames {
            match seen.opcode {
                opcode::PING => {
                    *self.last_ping.lock().expect("no panic") = now;
                    self.owe_pong(&seen.payload, now);
                }
                opcode::PONG => self.pinged = None,
                opcode::CLOSE => {
                    self.log.close = Some(now);
                    // A peer whose own Close is still to come answers with that one.
                    if self.script.last.is_none() {
                        let echo = Frame::new(opcode::CLOSE, &seen.payload).from(self.role);
                        self.out.extend(echo.encode());
                        self.write(now)?;
                    }
                }
                _ => {
                    self.log.messages += u64::from(seen.fin);
                    self.log.last_message = Some(now);
                    self.log.answers += u64::from(seen.payload == b"answer");
                }
            }
        }
        Ok(())
    }

    fn owe_pong(&mut self, payload: &[u8], now: Instant) {
        let (at, payload) = match self.script.pongs {
            Pongs::Right => (now, payload),
            Pongs::RightUntil(end) if now < self.moment(end) => (now, payload),
            Pongs::Late(after) => (now + self.timer.mul_f64(after), payload),
            Pongs::Empty => (now, &[][..]),
            Pongs::RightUntil(_) | Pongs::Never => return,
        };
        self.answers
            .push_back((at, frame(self.role, opcode::PONG, payload)));
    }

    fn moment(&self, timers: f64) -> Instant {
        self.opened + self.timer.mul_f64(timers)
    }
}

fn size_of_slow(talk: &Talk) -> usize {
    match talk {
        Talk::Slow { size, .. } => *size,
        _ => 0,
    }
}

/// Reads an HTTP head and not a byte more.
fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(HANDSHAKE))?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(head)
}
