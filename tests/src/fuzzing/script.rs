//! The language of the scripts that drive a connection: one byte says what happens, a few more
//! how. Every string of bytes is a script.

use super::Reader;

/// A connection, and what happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Two bytes of switches, see the constants.
    pub setup: u16,
    /// Where the input is cut in the second run: sizes of pieces.
    pub cuts: Vec<u8>,
    /// What happens.
    pub steps: Vec<Step>,
}

/// Begins with the opening handshake, not behind it.
pub const HANDSHAKE: u16 = 1;
/// Leaves requests for the script to answer.
pub const ANSWER_LATER: u16 = 1 << 1;
/// Delivers messages in parts.
pub const PARTS: u16 = 1 << 2;
/// Reports pings and pongs.
pub const REPORT_CONTROL: u16 = 1 << 3;
/// Sends every message back.
pub const ECHO: u16 = 1 << 4;
/// Limits so small that they are reached.
pub const SMALL_LIMITS: u16 = 1 << 5;
/// Sets an idle timeout and a maximum age.
pub const TIMERS: u16 = 1 << 6;
/// Sets a message timeout.
pub const MESSAGE_TIMEOUT: u16 = 1 << 7;
/// Answers the text "ping" with the text "pong".
pub const ANSWER_TEXT_PING: u16 = 1 << 8;
/// Sends the text "ping" and waits for the text "pong".
pub const ASK_TEXT_PING: u16 = 1 << 9;
/// Begins two minutes before time ends.
pub const LATE: u16 = 1 << 10;
/// Gives the Close for a dead peer no time.
pub const NO_LINGER: u16 = 1 << 11;
/// Sends messages in one frame, however long.
pub const NO_SPLIT: u16 = 1 << 12;
/// Which heartbeat to begin with, one of eight.
pub const HEARTBEAT: u16 = 0b111 << HEARTBEAT_SHIFT;
/// Where the number of the heartbeat stands.
pub const HEARTBEAT_SHIFT: u16 = 13;

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Bytes arrive.
    Bytes(Vec<u8>),
    /// A masked frame arrives: its first byte, and its payload.
    Frame(u8, Vec<u8>),
    /// A masked frame arrives: its first byte, the length of its payload, and the byte it is
    /// made of.
    LongFrame(u8, u16, u8),
    /// Many masked empty frames arrive: their first byte, and how many, in eights.
    Frames(u8, u8),
    /// A header arrives and no payload: its first byte, and the length it announces.
    Header(u8, Vec<u8>),
    /// A request head arrives, one of a few.
    Request(u8),
    /// A masked Close frame arrives: its code and its reason.
    CloseFrame(u16, Vec<u8>),
    /// A masked Pong arrives that answers the last ping.
    Pong,
    /// A read finds nothing.
    WouldBlock,
    /// The stream ends.
    Eof,
    /// Milliseconds pass.
    Wait(u16),
    /// A power of two of nanoseconds passes.
    Sleep(u8),
    /// Time passes up to the deadline, and the square of so many milliseconds more.
    Deadline(u8),
    /// The timer fires.
    Timeout,
    /// The timer fires and a read finds nothing, a power of two of nanoseconds ago.
    Backwards(u8),
    /// The application sends text of this length.
    SendText(u16),
    /// The application sends bytes of this length.
    SendBinary(u16),
    /// The application sends a part of a message: bit 0 says text, bit 1 the last; and its length.
    SendPart(u8, u16),
    /// The application pings with a payload of this length.
    Ping(u8),
    /// The application closes with this code and a reason of this length.
    Close(u16, u8),
    /// The application aborts.
    Abort,
    /// The application changes the heartbeat.
    SetHeartbeat(u8),
    /// The host was suspended.
    Resumed,
    /// The transport takes at most so many bytes.
    Write(u16),
    /// The transport takes all there is.
    WriteAll,
    /// The transport is said to have taken sixteen times so many bytes, whatever was lent.
    Claim(u16),
    /// The application takes at most so many events.
    Events(u8),
    /// The application accepts, with or without a subprotocol.
    Accept(u8),
    /// The application rejects.
    Reject(u8),
    /// Input that was left over is offered again.
    ReadOn,
    /// A whole turn of the drive loop, at the deadline.
    Turn,
    /// Somebody looks at everything.
    Look,
}

/// No script is longer.
const MAX_STEPS: usize = 200;

impl Script {
    /// Reads a script, whatever the bytes.
    #[must_use]
    pub fn read(data: &[u8]) -> Self {
        let mut reader = Reader::new(data);
        let mut script = Self {
            setup: reader.short(),
            cuts: reader.counted().to_vec(),
            steps: Vec::new(),
        };
        while !reader.is_empty() && script.steps.len() < MAX_STEPS {
            script.steps.push(Step::read(&mut reader));
        }
        script
    }

    /// Writes it so that [`read`](Self::read) gives it back. Byte strings of more than 255 bytes
    /// are cut.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut out = self.setup.to_be_bytes().to_vec();
        Field::Counted(&self.cuts).write(&mut out);
        for step in &self.steps {
            let (number, fields) = step.fields();
            out.push(number);
            for field in fields {
                field.write(&mut out);
            }
        }
        out
    }
}

enum Field<'a> {
    Byte(u8),
    Short(u16),
    Counted(&'a [u8]),
}

impl Field<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Byte(byte) => out.push(*byte),
            Self::Short(short) => out.extend(short.to_be_bytes()),
            Self::Counted(bytes) => {
                let count = bytes.len().min(255);
                out.push(u8::try_from(count).expect("at most 255"));
                out.extend_from_slice(&bytes[..count]);
            }
        }
    }
}

impl Step {
    fn read(reader: &mut Reader<'_>) -> Self {
        match reader.byte() % 32 {
            0 => Self::Bytes(reader.counted().to_vec()),
            1 => Self::Frame(reader.byte(), reader.counted().to_vec()),
            2 => Self::LongFrame(reader.byte(), reader.short(), reader.byte()),
            3 => Self::Frames(reader.byte(), reader.byte()),
            4 => Self::Header(reader.byte(), reader.counted().to_vec()),
            5 => Self::Request(reader.byte()),
            6 => Self::CloseFrame(reader.short(), reader.counted().to_vec()),
            7 => Self::Pong,
            8 => Self::WouldBlock,
            9 => Self::Eof,
            10 => Self::Wait(reader.short()),
            11 => Self::Sleep(reader.byte()),
            12 => Self::Deadline(reader.byte()),
            13 => Self::Timeout,
            14 => Self::Backwards(reader.byte()),
            15 => Self::SendText(reader.short()),
            16 => Self::SendBinary(reader.short()),
            17 => Self::SendPart(reader.byte(), reader.short()),
            18 => Self::Ping(reader.byte()),
            19 => Self::Close(reader.short(), reader.byte()),
            20 => Self::Abort,
            21 => Self::SetHeartbeat(reader.byte()),
            22 => Self::Resumed,
            23 => Self::Write(reader.short()),
            24 => Self::WriteAll,
            25 => Self::Claim(reader.short()),
            26 => Self::Events(reader.byte()),
            27 => Self::Accept(reader.byte()),
            28 => Self::Reject(reader.byte()),
            29 => Self::ReadOn,
            30 => Self::Turn,
            _ => Self::Look,
        }
    }

    fn fields(&self) -> (u8, Vec<Field<'_>>) {
        match self {
            Self::Bytes(a) => (0, vec![Field::Counted(a)]),
            Self::Frame(a, b) => (1, vec![Field::Byte(*a), Field::Counted(b)]),
            Self::LongFrame(a, b, c) => {
                (2, vec![Field::Byte(*a), Field::Short(*b), Field::Byte(*c)])
            }
            Self::Frames(a, b) => (3, vec![Field::Byte(*a), Field::Byte(*b)]),
            Self::Header(a, b) => (4, vec![Field::Byte(*a), Field::Counted(b)]),
            Self::Request(a) => (5, vec![Field::Byte(*a)]),
            Self::CloseFrame(a, b) => (6, vec![Field::Short(*a), Field::Counted(b)]),
            Self::Pong => (7, vec![]),
            Self::WouldBlock => (8, vec![]),
            Self::Eof => (9, vec![]),
            Self::Wait(a) => (10, vec![Field::Short(*a)]),
            Self::Sleep(a) => (11, vec![Field::Byte(*a)]),
            Self::Deadline(a) => (12, vec![Field::Byte(*a)]),
            Self::Timeout => (13, vec![]),
            Self::Backwards(a) => (14, vec![Field::Byte(*a)]),
            Self::SendText(a) => (15, vec![Field::Short(*a)]),
            Self::SendBinary(a) => (16, vec![Field::Short(*a)]),
            Self::SendPart(a, b) => (17, vec![Field::Byte(*a), Field::Short(*b)]),
            Self::Ping(a) => (18, vec![Field::Byte(*a)]),
            Self::Close(a, b) => (19, vec![Field::Short(*a), Field::Byte(*b)]),
            Self::Abort => (20, vec![]),
            Self::SetHeartbeat(a) => (21, vec![Field::Byte(*a)]),
            Self::Resumed => (22, vec![]),
            Self::Write(a) => (23, vec![Field::Short(*a)]),
            Self::WriteAll => (24, vec![]),
            Self::Claim(a) => (25, vec![Field::Short(*a)]),
            Self::Events(a) => (26, vec![Field::Byte(*a)]),
            Self::Accept(a) => (27, vec![Field::Byte(*a)]),
            Self::Reject(a) => (28, vec![Field::Byte(*a)]),
            Self::ReadOn => (29, vec![]),
            Self::Turn => (30, vec![]),
            Self::Look => (31, vec![]),
        }
    }
}
