//! Compressed messages on a connection (RFC 7692 §6): what differs from those that are not.

use alloc::boxed::Box;

use bytes::Bytes;

use super::receive::Fault;
use super::{Connection, Extras};
use crate::config::Delivery;
use crate::error::{LimitExceeded, ProtocolError};
use crate::extension::deflate::{Codec, DeflateParams, InflateFault};
use crate::frame::{FrameDecoder, FrameHeader, FrameRules, Opcode, PayloadPart};
use crate::message::{Assembler, Message};

/// Input is inflated in steps of so many bytes where messages are delivered in parts: a step becomes
/// one event, and deflate can make a thousand bytes and more of each.
const STEP: usize = 1 << 10;

impl Connection {
    /// Messages may be compressed from here on, before the first frame either way.
    pub(super) fn agree_on_deflate(&mut self, agreed: Option<DeflateParams>) {
        let config = self.config.deflate.unwrap_or_default();
        let codec = agreed.and_then(|params| Codec::new(&config, params, self.role));
        let Some(codec) = codec else {
            return;
        };
        self.decoder = FrameDecoder::new(FrameRules {
            rsv: FrameHeader::RSV1,
            ..FrameRules::from_peer_of(self.role)
        });
        let extras = self.extras.get_or_insert_with(|| {
            Box::new(Extras {
                keys: None,
                timers: None,
                codec: None,
            })
        });
        extras.codec = Some(Box::new(codec));
    }

    pub(super) fn codec(&self) -> Option<&Codec> {
        self.extras.as_ref()?.codec.as_deref()
    }

    pub(super) fn codec_mut(&mut self) -> Option<&mut Codec> {
        self.extras.as_mut()?.codec.as_deref_mut()
    }

    pub(super) fn agreed_deflate(&self) -> Option<DeflateParams> {
        self.codec().map(Codec::params)
    }

    /// Judges the reserved bit of a data frame, which tells whether its message is compressed.
    /// Returns whether it is.
    pub(super) fn begin_inflating(&mut self, header: &FrameHeader) -> bool {
        let Some(codec) = self.codec_mut() else {
            return false;
        };
        // RFC 7692 §6: it is set on the first frame of a message or on none; the decoder sees to
        // the others.
        if header.opcode() != Opcode::Continuation {
            codec.set_inflating(header.rsv() & FrameHeader::RSV1 != 0);
        }
        codec.is_inflating()
    }

    pub(super) fn is_inflating(&self) -> bool {
        self.codec().is_some_and(Codec::is_inflating)
    }

    /// How much of the input to look at: all of it, unless it may make a part of a message that is
    /// too long.
    pub(super) fn step<'a>(&self, input: &'a [u8]) -> &'a [u8] {
        if self.config.delivery != Delivery::Parts || self.codec().is_none() {
            return input;
        }
        let is_plain = if self.decoder.remaining() > 0 {
            !self.is_inflating()
        } else {
            let first = input.first().copied().unwrap_or_default();
            let is_first = self.decoder.is_between_frames() && !self.is_inflating();
            is_first && first & FrameHeader::RSV1 == 0
        };
        if is_plain {
            input
        } else {
            input.get(..STEP).unwrap_or(input)
        }
    }

    /// Adds what the payload inflates to, to the message under way; `last` ends it.
    pub(super) fn inflate(
        &mut self,
        part: PayloadPart<'_>,
        is_text: bool,
        in_parts: bool,
        last: bool,
    ) -> Result<(), Fault> {
        let Some(codec) = self
            .extras
            .as_mut()
            .and_then(|extras| extras.codec.as_deref_mut())
        else {
            return Ok(());
        };
        let incoming = self.incoming.get_or_insert_default();
        let message = incoming
            .message
            .get_or_insert_with(|| Assembler::new(is_text));
        // RFC 7692 §7.2.2 says nothing of limits: what counts is what is delivered.
        let limit = if in_parts {
            u64::MAX
        } else {
            self.config.max_message_size
        };
        let room = limit.saturating_sub(message.received());
        let inflated = codec.inflate(part.data, part.mask, last, room, &mut |block| {
            let left = limit.saturating_sub(message.received());
            message.push(block, None, left)
        });
        inflated.map_err(|fault| match fault {
            InflateFault::Data => Fault::Protocol(ProtocolError::InvalidDeflate),
            InflateFault::Limit => Fault::Limit(LimitExceeded::MessageSize {
                limit,
                length: limit.saturating_add(1),
            }),
            InflateFault::Sink(error) => error.into(),
        })
    }

    /// Compresses a message that is to be sent, or the next part of one, if it is to be; returns
    /// its payload, and the reserved bits of its first frame.
    pub(super) fn compress(&mut self, message: Message, first: bool, last: bool) -> (Bytes, u8) {
        let compressed = self
            .codec_mut()
            .and_then(|codec| codec.deflate(message.as_bytes(), first, last));
        match compressed {
            Some(payload) if first => (payload.into(), FrameHeader::RSV1),
            Some(payload) => (payload.into(), 0),
            None => (message.into_bytes(), 0),
        }
    }
}
