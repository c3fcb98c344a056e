//! What one connection keeps about compressed messages.

use alloc::vec::Vec;
use core::fmt;

use super::deflater::{Deflater, stored};
use super::inflater::{InflateFault, Inflater};
use super::{DeflateConfig, DeflateParams};
use crate::Role;
use crate::frame::mask;

/// Compresses and inflates the messages of one connection as it was agreed on.
///
/// What that takes is allocated with the first message that needs it.
pub(crate) struct Codec {
    params: DeflateParams,
    level: u8,
    threshold: usize,
    window_bits: u8,
    context_takeover: bool,
    peer_context_takeover: bool,
    inflater: Option<Inflater>,
    deflater: Option<Deflater>,
    /// Whether the message that arrives is compressed.
    is_inflating: bool,
    /// Whether that message has had a byte of payload.
    has_payload: bool,
    /// Whether the message that is sent in parts is compressed.
    is_sending: bool,
}

impl Codec {
    /// Always returns one; without the feature, none.
    pub(crate) fn new(config: &DeflateConfig, params: DeflateParams, role: Role) -> Option<Self> {
        Some(Self {
            params,
            level: config.level,
            threshold: config.threshold,
            // Less than was agreed on is always allowed (RFC 7692 §7.1.2).
            window_bits: params.window_bits_of(role).min(config.window_bits),
            context_takeover: params.context_takeover_of(role) && config.context_takeover,
            peer_context_takeover: params.context_takeover_of(role.peer()),
            inflater: None,
            deflater: None,
            is_inflating: false,
            has_payload: false,
            is_sending: false,
        })
    }

    pub(crate) const fn params(&self) -> DeflateParams {
        self.params
    }

    /// Whether the message that arrives is compressed.
    pub(crate) const fn is_inflating(&self) -> bool {
        self.is_inflating
    }

    /// A message begins to arrive.
    pub(crate) const fn set_inflating(&mut self, is_compressed: bool) {
        self.is_inflating = is_compressed;
        self.has_payload = false;
    }

    /// Inflates payload of a compressed message, masked as it came; `last` ends the message.
    pub(crate) fn inflate<E>(
        &mut self,
        data: &[u8],
        mask: Option<[u8; 4]>,
        last: bool,
        mut room: u64,
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), InflateFault<E>> {
        if !data.is_empty() {
            self.has_payload = true;
            let inflater = self.inflater.get_or_insert_with(Inflater::new);
            match mask {
                None => inflater.push(data, &mut room, sink)?,
                Some(key) => push_masked(inflater, data, key, &mut room, sink)?,
            }
        }
        if last {
            self.is_inflating = false;
            // RFC 7692 §7.2.3.6 gives an empty message one byte. Where it follows a flush some peers
            // send none: a second flush in a row makes no output, and there is nothing to inflate.
            let has_payload = core::mem::take(&mut self.has_payload);
            if let Some(inflater) = self.inflater.as_mut().filter(|_| has_payload)
                && !inflater.finish()
            {
                return Err(InflateFault::Data);
            }
            if !self.peer_context_takeover {
                self.inflater = None;
            }
        }
        Ok(())
    }

    /// Compresses a message, or the next part of one. `None`: it is to be sent as it is.
    pub(crate) fn deflate(&mut self, data: &[u8], first: bool, last: bool) -> Option<Vec<u8>> {
        let is_whole = first && last;
        if first {
            self.is_sending = !is_whole || data.len() >= self.threshold;
        }
        if !self.is_sending {
            return None;
        }
        let (level, window_bits) = (self.level, self.window_bits);
        let deflater = self
            .deflater
            .get_or_insert_with(|| Deflater::new(level, window_bits));
        let Ok(compressed) = deflater.compress(data, last) else {
            self.deflater = None;
            self.is_sending = !last;
            return Some(stored(data, last));
        };
        if last {
            self.is_sending = false;
            if !self.context_takeover {
                deflater.reset();
                // RFC 7692 §6.1: any message may go uncompressed. Where the next ones refer to it,
                // it must not: the peer would not have it.
                if is_whole && compressed.len() >= data.len() {
                    return None;
                }
            }
        }
        Some(compressed)
    }

    /// Frees what no message needs any more, for the time that nothing is sent.
    pub(crate) fn release(&mut self) {
        if !self.context_takeover && !self.is_sending {
            self.deflater = None;
        }
    }
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec")
            .field("params", &self.params)
            .field("inflater", &self.inflater)
            .field("deflater", &self.deflater)
            .finish_non_exhaustive()
    }
}

fn push_masked<E>(
    inflater: &mut Inflater,
    data: &[u8],
    key: [u8; 4],
    room: &mut u64,
    sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), InflateFault<E>> {
    let mut block = [0; BLOCK];
    // BLOCK is a multiple of four: each block begins with the first byte of the mask.
    for masked in data.chunks(BLOCK) {
        let plain = block.get_mut(..masked.len()).unwrap_or_default();
        plain.copy_from_slice(masked);
        mask::apply(plain, key);
        inflater.push(plain, room, sink)?;
    }
    Ok(())
}

/// Unmasked at once, on the stack.
const BLOCK: usize = 4096;
