//! Compressed messages: permessage-deflate (RFC 7692).
//!
//! Two sides agree on it in the opening handshake, and from then on each decides message by message
//! whether to compress. [`DeflateConfig`] says what is offered and agreed to, [`DeflateParams`] what
//! came of it. Negotiation is here always; compressing is the crate's feature `deflate`, and
//! [`ConfigBuilder::deflate`] switches it on. The handshake of this crate negotiates by itself;
//! others do it with two calls:
//!
//! ```
//! use wspulse_core::extension::Extension;
//! use wspulse_core::extension::deflate::{DeflateConfig, DeflateParams};
//!
//! // The server picks the first offer that it can keep to.
//! let header = b"permessage-deflate; server_max_window_bits=7, \
//!     permessage-deflate; server_max_window_bits=10; client_max_window_bits";
//! let offers = Extension::parse_list([&header[..]])?;
//! let agreed = DeflateConfig::DEFAULT.accept(&offers).expect("the second offer");
//! assert_eq!(agreed.to_string(), "permessage-deflate; server_max_window_bits=10");
//!
//! // The client holds the answer against its own offer.
//! let client = DeflateConfig::DEFAULT.window_bits(15);
//! assert_eq!(client.offer().to_string(), "permessage-deflate; client_max_window_bits");
//! let answer = Extension::parse_list([&b"permessage-deflate; client_max_window_bits=9"[..]])?;
//! assert_eq!(client.confirm(&answer[0]).map(|agreed| agreed.client_window_bits()), Some(9));
//! let answer = Extension::parse_list([&b"permessage-deflate; client_max_window_bits=16"[..]])?;
//! assert_eq!(client.confirm(&answer[0]), None);
//! # Ok::<(), wspulse_core::extension::ExtensionError>(())
//! ```
//!
//! # Where a message ends
//!
//! A message ends with an empty stored block of which the last four octets are not sent
//! (RFC 7692 §7.2.1). One that still has them is invalid, and so is a final block or a partial flush
//! without the octet 0x00 that belongs after it (§7.2.3.4), although zlib has no complaint: both
//! leave the next message without a beginning. So is one that ends inside a block, whatever the four
//! octets would make of it. A message without a single octet is the empty message: some peers have
//! no octet left after a second flush in a row.
//!
//! # What compression gives away
//!
//! Length is not encrypted. Where text that an attacker chooses is compressed together with a
//! secret, in one message or with context takeover in one connection, the lengths tell whether the
//! two agree, and so in the end the secret (CRIME, BREACH; RFC 7692 §8). Send secrets with
//! [`Connection::send_uncompressed`], which keeps them out of the context too.
//!
#![cfg_attr(
    feature = "deflate",
    doc = "[`ConfigBuilder::deflate`]: crate::ConfigBuilder::deflate"
)]
#![cfg_attr(
    not(feature = "deflate"),
    doc = "[`ConfigBuilder::deflate`]: crate::ConfigBuilder"
)]
//! [`Connection::send_uncompressed`]: crate::Connection::send_uncompressed

#[cfg(not(feature = "deflate"))]
mod absent;
#[cfg(feature = "deflate")]
mod codec;
#[cfg(feature = "deflate")]
mod deflater;
#[cfg(feature = "deflate")]
mod inflater;
mod negotiation;
#[cfg(test)]
mod tests;

use crate::error::ConfigError;

#[cfg(not(feature = "deflate"))]
pub(crate) use absent::{Codec, InflateFault};
#[cfg(feature = "deflate")]
pub(crate) use codec::Codec;
#[cfg(feature = "deflate")]
pub(crate) use inflater::InflateFault;
pub use negotiation::DeflateParams;
pub(crate) use negotiation::{Offer, choose};

/// The name of the extension (RFC 7692 §7).
pub const NAME: &str = "permessage-deflate";

/// How messages are compressed, and what is offered and agreed to.
///
/// Plain data, checked when a [`Config`](crate::Config) is built.
///
/// ```
/// use wspulse_core::extension::deflate::DeflateConfig;
///
/// // The least memory that compression can do with, at some cost in size.
/// let frugal = DeflateConfig::DEFAULT.context_takeover(false).peer_context_takeover(false);
/// assert_eq!(
///     frugal.offer().to_string(),
///     "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
///      client_max_window_bits",
/// );
/// ```
///
/// # Memory
///
/// A connection that has yet to see a compressed message holds next to nothing. The first that
/// comes costs 47 KiB; the first that goes out 160 KiB with 12 window bits and 270 KiB with 15, of
/// which the table of hashes is 128 KiB. With context takeover they stay as long as the connection
/// does. Without, they are freed: the one with the end of each message, the other when no more is
/// sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeflateConfig {
    pub(super) level: u8,
    pub(super) threshold: usize,
    pub(super) context_takeover: bool,
    pub(super) peer_context_takeover: bool,
    pub(super) window_bits: u8,
    pub(super) peer_window_bits: u8,
}

impl DeflateConfig {
    /// Level 1, a threshold of 64 bytes, context takeover both ways, 12 window bits for what we
    /// send and no limit for the peer.
    pub const DEFAULT: Self = Self {
        level: 1,
        threshold: 64,
        context_takeover: true,
        peer_context_takeover: true,
        window_bits: 12,
        peer_window_bits: MAX_WINDOW_BITS,
    };

    /// Sets how hard to compress, from 1, fast, to 9, small; 1 by default. On JSON messages with
    /// context takeover, level 6 takes seven times as long and leaves 22 % of the size where level 1
    /// leaves 25 %.
    #[must_use]
    pub const fn level(mut self, level: u8) -> Self {
        self.level = level;
        self
    }

    /// Sets the length in bytes below which messages are sent as they are; 64 by default. Shorter
    /// ones seldom shrink by more than the time is worth, and the frame has its header anyway.
    /// Parts of a message that is sent in parts are compressed whatever their length.
    ///
    /// Clients on libwebsockets 4.1.6, which Debian 12 has, hang on a message that is not compressed
    /// where compression was agreed on, although RFC 7692 §6 allows it. For them set it to zero.
    #[must_use]
    pub const fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// Sets whether what was sent before helps to compress a message; it does by default, and makes
    /// short messages that resemble each other very short. Without, the compressor is freed when
    /// it is idle (RFC 7692 §7.1.1).
    #[must_use]
    pub const fn context_takeover(mut self, takeover: bool) -> Self {
        self.context_takeover = takeover;
        self
    }

    /// Sets whether the peer may do the same; it may by default. A client that says no offers
    /// nothing else, a server always has its way (RFC 7692 §7.1.1).
    #[must_use]
    pub const fn peer_context_takeover(mut self, takeover: bool) -> Self {
        self.peer_context_takeover = takeover;
        self
    }

    /// Sets how far back, as a power of two from 8 to 15, a message that is sent refers at most; 12
    /// by default: 4 KiB hold what short messages have in common, for half the memory of 15. The
    /// peer may ask for less (RFC 7692 §7.1.2). Nothing is said of it unasked, since any receiver
    /// with a larger window can read it, and some peers refuse a handshake in which it is said.
    #[must_use]
    pub const fn window_bits(mut self, bits: u8) -> Self {
        self.window_bits = bits;
        self
    }

    /// Sets how far back, as a power of two from 8 to 15, the peer may refer; 15 by default, since
    /// what it costs here is the same. A client that says less offers nothing else, a server has its
    /// way with clients that allow it (RFC 7692 §7.1.2).
    #[must_use]
    pub const fn peer_window_bits(mut self, bits: u8) -> Self {
        self.peer_window_bits = bits;
        self
    }

    /// Checks that the values can work.
    pub(crate) const fn validate(&self) -> Result<(), ConfigError> {
        if self.level == 0 || self.level > MAX_LEVEL {
            return Err(ConfigError::DeflateLevel);
        }
        if !is_window_bits(self.window_bits) || !is_window_bits(self.peer_window_bits) {
            return Err(ConfigError::DeflateWindowBits);
        }
        Ok(())
    }
}

impl Default for DeflateConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

const MIN_WINDOW_BITS: u8 = 8;
const MAX_WINDOW_BITS: u8 = 15;
const MAX_LEVEL: u8 = 9;

const fn is_window_bits(bits: u8) -> bool {
    matches!(bits, MIN_WINDOW_BITS..=MAX_WINDOW_BITS)
}
