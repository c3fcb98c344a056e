//! wspulse beside other implementations: the same bytes into both, and a reason for every
//! difference.
//!
//! - [`generate`]: random streams of frames, legal and illegal, and where to cut them.
//! - [`frames`]: a stream as frames, without a judgement, and written anew.
//! - [`ours`]: what wspulse makes of a stream.
//! - [`classes`]: the differences that are allowed, each with the sentence that decides it.
//! - [`rfc`]: wspulse beside the RFC alone.
//! - [`heads`] and [`head_classes`]: the same for the opening handshake, as a server sees it.
//! - [`lines`]: streams and outcomes as lines of text, for an implementation in another process.
//! - [`tally`]: how many are in each class.
//!
//! The other implementation runs beside this module: tungstenite in `tests/differential`, Python's
//! websockets behind `examples/differential.rs`.

pub mod classes;
pub mod frames;
pub mod generate;
pub mod head_classes;
pub mod heads;
pub mod lines;
pub mod ours;
pub mod rfc;
pub mod tally;

use wspulse_core::Role;

/// A stream that arrives at one end of an open connection, then the end of the stream.
#[derive(Clone, Debug)]
pub struct Case {
    /// The end that receives.
    pub role: Role,
    /// Whether the receiving end sent a Close frame with code 1000 before anything arrived.
    pub closes_first: bool,
    /// The limits of the receiving end.
    pub limits: Limits,
    /// What arrives.
    pub bytes: Vec<u8>,
    /// The lengths of the pieces in which it arrives; together they are all of it.
    pub cuts: Vec<usize>,
}

impl Case {
    /// Returns the pieces in which the bytes arrive.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.bytes[..];
        self.cuts.iter().map(move |&length| {
            let (piece, after) = rest.split_at(length);
            rest = after;
            piece
        })
    }

    /// Cuts the bytes at the end of each frame as well, so that it can be seen at which frame an
    /// end comes.
    #[must_use]
    pub fn cut_at_frames(mut self) -> Self {
        let (frames, _) = frames::read(&self.bytes);
        let ends = frames.iter().filter(|frame| frame.is_whole);
        let mut ends: Vec<_> = ends.map(|frame| frame.end as usize).collect();
        ends.extend(self.cuts.iter().scan(0, |end, length| {
            *end += length;
            Some(*end)
        }));
        ends.sort_unstable();
        ends.dedup();
        let begins = std::iter::once(0).chain(ends.iter().copied());
        self.cuts = begins.zip(&ends).map(|(begin, end)| end - begin).collect();
        self
    }
}

/// What another implementation made of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Theirs {
    /// The outcome.
    pub outcome: Outcome,
    /// The index of the piece in which the end came; of no meaning for [`End::Eof`].
    pub piece: usize,
}

/// The limits that all implementations know, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest message.
    pub message: usize,
    /// The longest payload of a frame.
    pub frame: usize,
}

/// What an implementation made of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it delivered, in order.
    pub items: Vec<Item>,
    /// The payloads of the pongs it sent, in order.
    pub pongs: Vec<Vec<u8>>,
    /// How it ended.
    pub end: End,
}

/// Something that was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// The kinds of [`Item`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    Text,
    Binary,
    Ping,
    Pong,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The stream ended before a Close frame or a failure.
    Eof,
    /// The peer's Close frame came.
    Closed {
        /// Its code, 1005 if it had none.
        code: u16,
        /// Its reason.
        reason: String,
        /// The code of the answer, 1005 if it had none; `None` if there was no answer.
        answer: Option<u16>,
    },
    /// The connection was failed with this close code.
    Failed(u16),
}
