//! tungstenite over an in-memory stream.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use tungstenite::protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode};
use tungstenite::{Error, HandshakeError, Message, WebSocket, error::ProtocolError};
use wspulse_core::Role;
use wspulse_tests::differential::{Case, End, Item, Kind, Outcome, Theirs, frames};

/// Hands the stream over in its pieces.
pub(crate) fn run(case: &Case) -> Theirs {
    let role = match case.role {
        Role::Server => tungstenite::protocol::Role::Server,
        Role::Client => tungstenite::protocol::Role::Client,
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(512)
        .max_message_size(Some(case.limits.message))
        .max_frame_size(Some(case.limits.frame));
    let pieces = Pieces {
        pieces: case.pieces().map(<[u8]>::to_vec).collect(),
        sent: Vec::new(),
    };
    let mut socket = WebSocket::from_raw_socket(pieces, role, Some(config));
    if case.closes_first {
        let code = CloseCode::Normal;
        let reason = "".into();
        let closing = socket.close(Some(CloseFrame { code, reason }));
        closing.expect("a Close frame that can be written");
    }
    let mut items = Vec::new();
    let end = loop {
        let (kind, payload) = match socket.read() {
            Ok(Message::Text(text)) => (Kind::Text, text.as_bytes().to_vec()),
            Ok(Message::Binary(data)) => (Kind::Binary, data.to_vec()),
            Ok(Message::Ping(data)) => (Kind::Ping, data.to_vec()),
            Ok(Message::Pong(data)) => (Kind::Pong, data.to_vec()),
            Ok(Message::Close(frame)) => break closed(frame),
            Ok(Message::Frame(_)) => panic!("a frame that is no message"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => break failed(&error),
        };
        items.push(Item { kind, payload });
    };
    let left = socket.get_ref().pieces.len();
    // Writes the answer to a Close frame.
    let _ = socket.flush();
    Theirs {
        outcome: outcome(case, items, end, &socket.get_ref().sent),
        piece: case.cuts.len() - left,
    }
}

/// Puts the head before a server, and returns the value of `Sec-WebSocket-Accept` if it agrees.
pub(crate) fn accept(head: &[u8]) -> Option<String> {
    let pieces = Pieces {
        pieces: VecDeque::from([head.to_vec()]),
        sent: Vec::new(),
    };
    let mut handshake = tungstenite::accept(pieces);
    let socket = loop {
        match handshake {
            Ok(socket) => break socket,
            Err(HandshakeError::Interrupted(waiting)) => handshake = waiting.handshake(),
            Err(HandshakeError::Failure(_)) => return None,
        }
    };
    let sent = str::from_utf8(&socket.get_ref().sent).expect("ASCII");
    let mut lines = sent.lines();
    let value = lines.find_map(|line| line.strip_prefix("sec-websocket-accept: "));
    Some(value.expect("the answer to the key").to_owned())
}

fn closed(frame: Option<CloseFrame>) -> End {
    let (code, reason) = frame.map_or((1005, String::new()), |frame| {
        (frame.code.into(), frame.reason.to_string())
    });
    // It gives its answer to an illegal code out in place of the peer's frame.
    if (code, &*reason) == (1002, "Protocol violation") {
        return End::Failed(1002);
    }
    End::Closed {
        code,
        reason,
        answer: None,
    }
}

/// The code that the caller has to send: tungstenite leaves the Close frame of a failure to it.
fn failed(error: &Error) -> End {
    match error {
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Eof,
        Error::Protocol(_) => End::Failed(1002),
        Error::Utf8(_) => End::Failed(1007),
        Error::Capacity(_) => End::Failed(1009),
        other => panic!("an end that nothing caused: {other}"),
    }
}

fn outcome(case: &Case, items: Vec<Item>, mut end: End, sent: &[u8]) -> Outcome {
    let (frames, rest) = frames::read(sent);
    assert!(rest.is_empty() && frames.iter().all(|frame| frame.is_whole));
    if let End::Closed { answer, .. } = &mut end
        && !case.closes_first
    {
        let close = frames.iter().find(|frame| frame.opcode() == 8);
        *answer = close.map(|frame| frame.close_code().unwrap_or(1005));
    }
    let pongs = frames.into_iter().filter(|frame| frame.opcode() == 10);
    Outcome {
        items,
        pongs: pongs.map(|frame| frame.payload).collect(),
        end,
    }
}

/// A transport that brings one piece at a time, then blocks once, and takes everything.
#[derive(Debug)]
struct Pieces {
    pieces: VecDeque<Vec<u8>>,
    sent: Vec<u8>,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(piece) = self.pieces.front_mut() else {
            return Ok(0);
        };
        if piece.is_empty() {
            self.pieces.pop_front();
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let length = piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&piece[..length]);
        piece.drain(..length);
        Ok(length)
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sent.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
