//! Peers that go away in the middle.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use wspulse_core::Role;
use wspulse_core::handshake::{Accept, HandshakeLimits, ServerHandshake};

use super::peer::{accept_before, dial, read_head, request};
use super::{Line, PeerOptions, Sink};
use crate::kit::ms;
use crate::wire::{Frame, frame, header, opcode};

/// How far a peer comes before it goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Connected, and said nothing.
    Connected,
    /// In the middle of its first bytes: of a TLS record, or of an HTTP head.
    Hello,
    /// With TLS, after the handshake; otherwise as `Head`.
    Tls,
    /// In the middle of the HTTP head.
    Head,
    /// With its head sent, and the other's not read.
    Unread,
    /// With the connection open.
    Open,
    /// In the middle of a frame.
    Frame,
    /// In the middle of a message of several frames.
    Message,
    /// After a whole message and a ping, whose answers it does not read.
    Answers,
    /// After a Close frame.
    Close,
}

/// How a peer goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a reset.
    Reset,
    /// By closing its socket, whatever is unread.
    Drop,
    /// With a FIN, and it waits for the other's.
    Fin,
}

/// Each point with each ending, in turn.
#[must_use]
pub fn round(n: usize) -> (Point, Ending) {
    const POINTS: [Point; 10] = [
        Point::Connected,
        Point::Hello,
        Point::Tls,
        Point::Head,
        Point::Unread,
        Point::Open,
        Point::Frame,
        Point::Message,
        Point::Answers,
        Point::Close,
    ];
    const ENDINGS: [Ending; 3] = [Ending::Reset, Ending::Drop, Ending::Fin];
    (
        POINTS[n % POINTS.len()],
        ENDINGS[n / POINTS.len() % ENDINGS.len()],
    )
}

/// Connects to `address`, and goes away.
///
/// # Errors
///
/// What the transport says on the way; an end of the other side's is none.
pub fn abort_as_client(
    address: SocketAddr,
    options: &PeerOptions,
    point: Point,
    ending: Ending,
) -> io::Result<()> {
    let plain = PeerOptions {
        tls: None,
        ..options.clone()
    };
    let is_before_tls = matches!(point, Point::Connected | Point::Hello);
    let mut line = dial(address, if is_before_tls { &plain } else { options })?;
    let head = request(address);
    let went = go(
        &mut line,
        Role::Client,
        point,
        options.tls.is_some(),
        &head,
        |line| read_head(line).map(drop),
    );
    leave(line, ending);
    went
}

/// Accepts a client, and goes away.
///
/// # Errors
///
/// As [`abort_as_client`].
pub fn abort_as_server(
    listener: &TcpListener,
    options: &PeerOptions,
    point: Point,
    ending: Ending,
) -> io::Result<()> {
    let socket = accept_before(listener, Instant::now() + LIMIT)?;
    let is_before_tls = matches!(point, Point::Connected | Point::Hello);
    let tls = options.tls.as_ref().filter(|_| !is_before_tls);
    let mut line = Line::new(socket, Role::Server, tls)?;
    let mut answer = Vec::new();
    if !is_before_tls && point != Point::Tls {
        line.shake_hands(LIMIT)?;
        let mut handshake = ServerHandshake::new(HandshakeLimits::default());
        handshake.handle_input(&read_head(&mut line)?);
        answer = handshake.accept(&Accept::new()).map_err(io::Error::other)?;
    }
    let went = go(
        &mut line,
        Role::Server,
        point,
        options.tls.is_some(),
        &answer,
        |_| Ok(()),
    );
    leave(line, ending);
    went
}

/// Comes as far as `point`.
fn go(
    line: &mut Line,
    role: Role,
    point: Point,
    is_tls: bool,
    head: &[u8],
    open: impl FnOnce(&mut Line) -> io::Result<()>,
) -> io::Result<()> {
    match point {
        Point::Connected => return Ok(()),
        // A handshake record of 512 bytes is announced, and begins.
        Point::Hello if is_tls => return write(line, &[22, 3, 1, 2, 0, 1, 0, 1]),
        Point::Hello => return write(line, b"GE"),
        Point::Tls => return line.shake_hands(LIMIT),
        _ => line.shake_hands(LIMIT)?,
    }
    if point == Point::Head {
        return write(line, &head[..head.len() / 2]);
    }
    write(line, head)?;
    if point == Point::Unread {
        return Ok(());
    }
    open(line)?;
    let key = (role == Role::Client).then_some([1, 2, 3, 4]);
    match point {
        Point::Frame => {
            let mut bytes = header(true, 0, opcode::BINARY, key, 1 << 20);
            bytes.resize(10_000, 0);
            write(line, &bytes)
        }
        Point::Message => {
            let part = Frame::new(opcode::TEXT, &[b'a'; 2_000]).unfinished();
            write(line, &part.from(role).encode())
        }
        Point::Answers => {
            write(line, &frame(role, opcode::BINARY, &[1; 5_000]))?;
            write(line, &frame(role, opcode::PING, b"and this"))
        }
        Point::Close => write(line, &Frame::close(1000, "").from(role).encode()),
        _ => Ok(()),
    }
}

fn leave(mut line: Line, ending: Ending) {
    match ending {
        Ending::Reset => line.reset(),
        Ending::Drop => {}
        Ending::Fin => {
            line.shutdown();
            let deadline = Instant::now() + LIMIT;
            let mut buffer = [0; 4096];
            while let Ok(Some(1..)) = line.read(&mut buffer, deadline) {}
        }
    }
}

fn write(line: &mut Line, mut bytes: &[u8]) -> io::Result<()> {
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        let sink = line.write(bytes)?;
        let (Sink::Took(taken) | Sink::Full(taken)) = sink;
        bytes = &bytes[taken..];
        if bytes.is_empty() && matches!(sink, Sink::Took(_)) {
            return Ok(());
        }
        if matches!(sink, Sink::Full(_)) {
            thread::sleep(ms(1));
        }
    }
    Err(ErrorKind::TimedOut.into())
}

/// No step takes longer.
const LIMIT: Duration = Duration::from_secs(10);
