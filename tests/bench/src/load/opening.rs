//! Opening connections, and looking at what they answer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use super::{PATIENCE, Work};

/// What the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Talk {
    /// WebSocket: a handshake, masked frames out and plain ones back.
    WebSocket,
    /// Nothing: the same masked frames, and the same bytes back.
    Tcp,
}

/// A connection after its handshake, which waits.
#[derive(Debug)]
pub struct Opened(TcpStream);

/// Opens connections, some at once so that neither side waits for the other.
///
/// # Errors
///
/// If one cannot be opened, or is not answered with 101.
pub fn open(address: SocketAddr, talk: Talk, connections: usize) -> Result<Vec<Opened>, String> {
    let mut opened = Vec::with_capacity(connections);
    while opened.len() < connections {
        let count = AT_ONCE.min(connections - opened.len());
        let batch = open_some(address, talk, count);
        let number = opened.len();
        opened.extend(batch.map_err(|error| format!("connection {number} and on: {error}"))?);
    }
    Ok(opened)
}

fn open_some(address: SocketAddr, talk: Talk, count: usize) -> io::Result<Vec<Opened>> {
    let mut opened = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // Thousands of connections that end are not to stay in TIME_WAIT.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        if talk == Talk::WebSocket {
            stream.write_all(request(address).as_bytes())?;
        }
        opened.push(Opened(stream));
    }
    if talk == Talk::WebSocket {
        for Opened(stream) in &mut opened {
            read_head(stream)?;
        }
    }
    Ok(opened)
}

fn request(address: SocketAddr) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// Reads until the empty line. A server says nothing of its own behind it yet.
fn read_head(stream: &mut TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => head.extend_from_slice(&buffer[..count]),
        }
    }
    if head.starts_with(b"HTTP/1.1 101 ") {
        return Ok(());
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    Err(io::Error::other(head))
}

impl Talk {
    /// Returns a masked frame with this much payload.
    #[must_use]
    pub fn frame(self, size: usize) -> Vec<u8> {
        let mut frame = vec![0x82];
        match size {
            0..126 => frame.push(0x80 | size as u8),
            126..0x1_0000 => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&(size as u16).to_be_bytes());
            }
            _ => {
                frame.push(0x80 | 127);
                frame.extend_from_slice(&(size as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&MASK);
        let payload = payload(size);
        let masked = payload.iter().zip(MASK.iter().cycle());
        frame.extend(masked.map(|(byte, key)| byte ^ key));
        frame
    }
}

/// Returns the payload of all messages of this size. No byte of it is that of its neighbour.
#[must_use]
pub fn payload(size: usize) -> Vec<u8> {
    let byte = |place: usize| (place * 31 + place / 256) as u8;
    (0..size).map(byte).collect()
}

impl Opened {
    /// Echoes one message, looks at every byte of the answer, and returns how long it is on the
    /// wire; then as many as are to be in flight, whose answers must be as long.
    pub(super) fn look_at_answers(&mut self, talk: Talk, work: Work) -> Result<usize, String> {
        let frame = talk.frame(work.size);
        let answer = self.exchange(&frame, |opened| match talk {
            Talk::WebSocket => opened.read_message(&payload(work.size)),
            Talk::Tcp => opened.read_exactly(frame.len()),
        })?;
        if talk == Talk::Tcp && answer != frame {
            return Err("other bytes came back".to_owned());
        }
        let burst = work.in_flight.min(MOST_LOOKED_AT / answer.len() + 1);
        let answers = self.exchange(&frame.repeat(burst), |opened| {
            opened.read_exactly(answer.len() * burst)
        })?;
        match answers.chunks(answer.len()).all(|other| other == answer) {
            true => Ok(answer.len()),
            false => Err("answers to the same message differ".to_owned()),
        }
    }

    /// Writes in another thread, since a server may answer before it has read all.
    fn exchange<T>(
        &mut self,
        bytes: &[u8],
        read: impl FnOnce(&mut Self) -> Result<T, String>,
    ) -> Result<T, String> {
        let mut writer = self.0.try_clone().map_err(|error| error.to_string())?;
        thread::scope(|scope| {
            let written = scope.spawn(move || writer.write_all(bytes));
            let answer = read(self)?;
            match written.join() {
                Ok(Ok(())) => Ok(answer),
                other => Err(format!("not sent: {other:?}")),
            }
        })
    }

    fn read_exactly(&mut self, count: usize) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; count];
        let read = self.0.read_exact(&mut bytes);
        read.map_err(|error| format!("no answer: {error}"))?;
        Ok(bytes)
    }

    /// Echoes one message: this payload, and its [`frame`](Talk::frame).
    ///
    /// # Errors
    ///
    /// If the answer is not the same message.
    pub fn echo(&mut self, frame: &[u8], payload: &[u8]) -> Result<(), String> {
        self.exchange(frame, |opened| opened.read_message(payload).map(drop))
    }

    /// Reads the frames of one message with this payload, and returns them. Control frames before
    /// it are not for the echo.
    fn read_message(&mut self, payload: &[u8]) -> Result<Vec<u8>, String> {
        let (mut wire, mut message) = (Vec::new(), Vec::with_capacity(payload.len()));
        loop {
            let (head, length) = self.read_header().map_err(|error| error.to_string())?;
            let body = self.read_exactly(length)?;
            if head[0] & 0x08 != 0 {
                if head[0] & 0x0f == 0x08 {
                    return Err("the server closes".to_owned());
                }
                continue;
            }
            wire.extend_from_slice(&head);
            wire.extend_from_slice(&body);
            message.extend_from_slice(&body);
            if head[0] & 0x80 != 0 {
                break;
            }
        }
        match message == payload {
            true => Ok(wire),
            false => Err(format!("other {} bytes came back", message.len())),
        }
    }

    /// Reads a frame's header byte for byte, so that nothing behind the frame is read.
    fn read_header(&mut self) -> io::Result<(Vec<u8>, usize)> {
        let mut head = vec![0; 2];
        self.0.read_exact(&mut head)?;
        let more = match head[1] {
            126 => 2,
            127 => 8,
            _ => return Ok((head.clone(), usize::from(head[1]))),
        };
        let mut length = [0; 8];
        self.0.read_exact(&mut length[8 - more..])?;
        head.extend_from_slice(&length[8 - more..]);
        Ok((head, u64::from_be_bytes(length) as usize))
    }

    /// Makes it one that does not wait.
    pub(super) fn into_stream(self) -> io::Result<TcpStream> {
        self.0.set_nonblocking(true)?;
        Ok(self.0)
    }
}

/// Masks must not be zero, or a server could leave the bytes alone.
pub(super) const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Connections that are opened at once.
const AT_ONCE: usize = 64;

/// Bytes of answers that are looked at.
const MOST_LOOKED_AT: usize = 1 << 20;
