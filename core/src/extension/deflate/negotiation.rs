//! Offers and answers (RFC 7692 §5, §7.1).

use alloc::borrow::Cow;
use alloc::string::ToString;
use core::fmt;

use super::{DeflateConfig, MAX_WINDOW_BITS, MIN_WINDOW_BITS, NAME};
#[cfg(feature = "deflate")]
use crate::Role;
use crate::extension::{Extension, Parameter};

/// What both sides agreed on: the parameters of the server's answer (RFC 7692 §7.1).
///
/// [`Display`](fmt::Display) writes that answer. The default is one without parameters: context
/// takeover and 15 window bits both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DeflateParams {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: Option<u8>,
}

impl DeflateParams {
    /// Tells whether a message of the server may refer to those before it (RFC 7692 §7.1.1.1).
    #[must_use]
    pub const fn server_context_takeover(&self) -> bool {
        !self.server_no_context_takeover
    }

    /// Tells whether a message of the client may refer to those before it (RFC 7692 §7.1.1.2).
    #[must_use]
    pub const fn client_context_takeover(&self) -> bool {
        !self.client_no_context_takeover
    }

    /// Returns how far back the server refers at most, as a power of two, 8 to 15
    /// (RFC 7692 §7.1.2.1).
    #[must_use]
    pub fn server_window_bits(&self) -> u8 {
        self.server_max_window_bits.unwrap_or(MAX_WINDOW_BITS)
    }

    /// Returns how far back the client refers at most, as a power of two, 8 to 15
    /// (RFC 7692 §7.1.2.2).
    #[must_use]
    pub fn client_window_bits(&self) -> u8 {
        self.client_max_window_bits.unwrap_or(MAX_WINDOW_BITS)
    }

    /// Whether messages that `role` sends may refer to earlier ones.
    #[cfg(feature = "deflate")]
    pub(crate) const fn context_takeover_of(&self, role: Role) -> bool {
        match role {
            Role::Client => self.client_context_takeover(),
            Role::Server => self.server_context_takeover(),
        }
    }

    /// How far back messages that `role` sends refer at most.
    #[cfg(feature = "deflate")]
    pub(crate) fn window_bits_of(&self, role: Role) -> u8 {
        match role {
            Role::Client => self.client_window_bits(),
            Role::Server => self.server_window_bits(),
        }
    }

    fn to_extension(self) -> Extension<'static> {
        extension([
            self.server_no_context_takeover
                .then_some((SERVER_NO_CONTEXT_TAKEOVER, None)),
            self.client_no_context_takeover
                .then_some((CLIENT_NO_CONTEXT_TAKEOVER, None)),
            self.server_max_window_bits
                .map(|bits| (SERVER_MAX_WINDOW_BITS, Some(bits))),
            self.client_max_window_bits
                .map(|bits| (CLIENT_MAX_WINDOW_BITS, Some(bits))),
        ])
    }
}

impl fmt::Display for DeflateParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_extension(), f)
    }
}

/// One offer that can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Offer {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// Whether the client can be told a window, and what it says itself.
    client_max_window_bits: Option<Option<u8>>,
}

impl DeflateConfig {
    /// Client: returns the extension to offer (RFC 7692 §5, §7.1).
    ///
    /// It always says that the server may limit the client's window, and never how large that is: a
    /// value would be a hint that binds nobody, and some servers refuse one (RFC 7692 §7.1.2.2).
    #[must_use]
    pub fn offer(&self) -> Extension<'static> {
        extension([
            (!self.peer_context_takeover).then_some((SERVER_NO_CONTEXT_TAKEOVER, None)),
            (!self.context_takeover).then_some((CLIENT_NO_CONTEXT_TAKEOVER, None)),
            below_max(self.peer_window_bits).map(|bits| (SERVER_MAX_WINDOW_BITS, Some(bits))),
            Some((CLIENT_MAX_WINDOW_BITS, None)),
        ])
    }

    /// Server: picks the first of the offers that can be kept to (RFC 7692 §5.1), or none. Other
    /// extensions are passed over.
    ///
    /// The answer's header is the [`Display`](fmt::Display) of what is returned.
    #[must_use]
    pub fn accept(&self, offered: &[Extension<'_>]) -> Option<DeflateParams> {
        let offer = offered.iter().find_map(Offer::parse)?;
        Some(choose(self, offer))
    }

    /// Client: holds the server's answer against the [`offer`](Self::offer). `None` if it is of
    /// another extension, is invalid or does not fit: then the connection must be failed
    /// (RFC 7692 §5.1).
    #[must_use]
    pub fn confirm(&self, answer: &Extension<'_>) -> Option<DeflateParams> {
        let answer = Offer::parse(answer)?;
        let server_max_window_bits = match (
            below_max(self.peer_window_bits),
            answer.server_max_window_bits,
        ) {
            // RFC 7692 §7.1.2.1: who accepts it says it too, with the same or a smaller value.
            (Some(_), None) => return None,
            (Some(offered), Some(bits)) if bits > offered => return None,
            (_, bits) => bits,
        };
        let client_max_window_bits = match answer.client_max_window_bits {
            // RFC 7692 §7.1.2.2: in an answer it has a value. Where that is larger than our own
            // window, the compressor stays within its own.
            Some(None) => return None,
            bits => bits.flatten(),
        };
        // RFC 7692 §7.1.1.1: who accepts it says it too.
        if !self.peer_context_takeover && !answer.server_no_context_takeover {
            return None;
        }
        Some(DeflateParams {
            server_no_context_takeover: answer.server_no_context_takeover,
            client_no_context_takeover: answer.client_no_context_takeover,
            server_max_window_bits,
            client_max_window_bits,
        })
    }
}

/// Answers an offer. There is none that could not be kept to: whatever window the client asks for,
/// the compressor stays within it.
pub(crate) fn choose(config: &DeflateConfig, offer: Offer) -> DeflateParams {
    // RFC 7692 §7.1.2.1: it may be said unasked, but a stream with a smaller window is read by any
    // client, and Netty 4.1 refuses an answer with a parameter that it did not offer.
    let server_max_window_bits = offer
        .server_max_window_bits
        .map(|asked| asked.min(clamped(config.window_bits)));
    // RFC 7692 §7.1.2.2: only a client that says so can be told a window.
    let client_max_window_bits = offer.client_max_window_bits.and_then(|hint| {
        let bits = hint.unwrap_or(MAX_WINDOW_BITS);
        below_max(bits.min(clamped(config.peer_window_bits)))
    });
    DeflateParams {
        server_no_context_takeover: offer.server_no_context_takeover || !config.context_takeover,
        client_no_context_takeover: offer.client_no_context_takeover
            || !config.peer_context_takeover,
        server_max_window_bits,
        client_max_window_bits,
    }
}

impl Offer {
    /// RFC 7692 §5.1, §7.1: unknown names, names that come twice, values where there are none, missing
    /// values and invalid ones make all of it invalid, and an invalid offer MUST be declined.
    pub(crate) fn parse(extension: &Extension<'_>) -> Option<Self> {
        if extension.name() != NAME {
            return None;
        }
        let mut offer = Self {
            server_no_context_takeover: false,
            client_no_context_takeover: false,
            server_max_window_bits: None,
            client_max_window_bits: None,
        };
        for (name, value) in extension.parameters() {
            let is_repeated = match (name, value) {
                (SERVER_NO_CONTEXT_TAKEOVER, None) => {
                    core::mem::replace(&mut offer.server_no_context_takeover, true)
                }
                (CLIENT_NO_CONTEXT_TAKEOVER, None) => {
                    core::mem::replace(&mut offer.client_no_context_takeover, true)
                }
                (SERVER_MAX_WINDOW_BITS, Some(value)) => {
                    let bits = parse_window_bits(value)?;
                    offer.server_max_window_bits.replace(bits).is_some()
                }
                (CLIENT_MAX_WINDOW_BITS, value) => {
                    let bits = value.map(|value| parse_window_bits(value).ok_or(()));
                    let bits = bits.transpose().ok()?;
                    offer.client_max_window_bits.replace(bits).is_some()
                }
                _ => return None,
            };
            if is_repeated {
                return None;
            }
        }
        Some(offer)
    }
}

/// RFC 7692 §7.1.2: a decimal number from 8 to 15, without leading zeroes.
fn parse_window_bits(value: &str) -> Option<u8> {
    match value.as_bytes() {
        [digit @ b'8'..=b'9'] => digit.checked_sub(b'0'),
        [b'1', digit @ b'0'..=b'5'] => digit.checked_sub(b'0')?.checked_add(10),
        _ => None,
    }
}

/// A window to speak of: the largest goes without saying.
fn below_max(bits: u8) -> Option<u8> {
    let bits = clamped(bits);
    (bits < MAX_WINDOW_BITS).then_some(bits)
}

/// Keeps a configuration that nobody checked from saying what no peer understands.
fn clamped(bits: u8) -> u8 {
    bits.clamp(MIN_WINDOW_BITS, MAX_WINDOW_BITS)
}

fn extension(parameters: [Option<(&'static str, Option<u8>)>; 4]) -> Extension<'static> {
    let written = |(name, bits): (&'static str, Option<u8>)| Parameter {
        name: Cow::Borrowed(name),
        value: bits.map(|bits| Cow::Owned(bits.to_string())),
    };
    Extension {
        name: Cow::Borrowed(NAME),
        parameters: parameters.into_iter().flatten().map(written).collect(),
    }
}

const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";
