//! Frames: RFC 6455 section 5, from bytes to headers and payload and back.
//!
//! Nothing here knows of messages, connections or limits, so it can be used alone.
//! [`FrameDecoder`] cuts a stream into frames and lends their payload as it arrived,
//! [`FrameHeader`] reads and writes one header, [`mask`] masks and unmasks.
//!
//! The order of fragments (§5.4) and the size of a payload are for the caller to judge.

mod decoder;
mod error;
mod header;
pub mod mask;
mod opcode;
#[cfg(test)]
mod tests;

pub use decoder::{FrameDecoder, FrameEvent, PayloadPart};
pub use error::FrameError;
pub use header::{FrameHeader, FrameRules};
pub use opcode::Opcode;
