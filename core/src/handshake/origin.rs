//! Who opened the connection: the `Origin` header and how to compare it.

use core::net::Ipv6Addr;

use super::head::Headers;

/// What a request says about the page that opened it (RFC 6455 §10.2, RFC 6454 §7).
///
/// A browser always says it and a page cannot forge it; any other client can send what it
/// likes, or nothing. A server that serves browsers and trusts cookies must compare it, or
/// any page on the web can act with its visitor's session: see
/// [`Request::check_origin`](super::Request::check_origin).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    /// There is no `Origin` header: not a browser, or one that hides it.
    Absent,
    /// The literal `null`: a sandboxed frame, a local file, a redirect between origins. Any
    /// page can bring it about, so it identifies nobody.
    Null,
    /// The header is there more than once or is not an origin; best answered with 403.
    Invalid,
    /// A scheme, a host and a port.
    Tuple(TupleOrigin<'a>),
}

/// An origin of scheme, host and port (RFC 6454 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TupleOrigin<'a> {
    scheme: &'a str,
    authority: Authority<'a>,
}

/// The answer of a comparison of origins.
#[must_use = "an origin that was compared and not heeded protects nobody"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginCheck {
    /// The request comes from an allowed origin.
    Allowed,
    /// The request comes from another origin, from `null`, or from one that cannot be read.
    Refused,
    /// The request names no origin. Letting it in is right where clients that are no
    /// browsers are welcome, and wrong where a cookie alone opens the door.
    Absent,
}

impl<'a> Origin<'a> {
    pub(super) fn of(headers: &'a Headers) -> Self {
        let mut values = headers.get_all("origin");
        let Some(value) = values.next() else {
            return Self::Absent;
        };
        if values.next().is_some() {
            return Self::Invalid;
        }
        str::from_utf8(value).map_or(Self::Invalid, Self::parse)
    }

    fn parse(text: &'a str) -> Self {
        if text == "null" {
            return Self::Null;
        }
        TupleOrigin::parse(text).map_or(Self::Invalid, Self::Tuple)
    }

    /// Compares with each allowed origin, as
    /// [`Request::check_origin`](super::Request::check_origin) does.
    pub fn check<'b>(&self, allowed: impl IntoIterator<Item = &'b str>) -> OriginCheck {
        let origin = match self {
            Self::Absent => return OriginCheck::Absent,
            Self::Null | Self::Invalid => return OriginCheck::Refused,
            Self::Tuple(origin) => origin,
        };
        let is_allowed = allowed
            .into_iter()
            .filter_map(TupleOrigin::parse)
            .any(|allowed| origin.is_same_as(&allowed));
        if is_allowed {
            OriginCheck::Allowed
        } else {
            OriginCheck::Refused
        }
    }

    /// Compares with the host that the request was sent to.
    pub(super) fn check_same(&self, scheme: &str, host: &str) -> OriginCheck {
        let origin = match self {
            Self::Absent => return OriginCheck::Absent,
            Self::Null | Self::Invalid => return OriginCheck::Refused,
            Self::Tuple(origin) => origin,
        };
        match Authority::parse(host) {
            Some(authority) if origin.is_same_as(&TupleOrigin { scheme, authority }) => {
                OriginCheck::Allowed
            }
            _ => OriginCheck::Refused,
        }
    }
}

impl<'a> TupleOrigin<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        if !is_scheme(scheme) {
            return None;
        }
        let authority = Authority::parse(rest)?;
        Some(Self { scheme, authority })
    }

    /// Returns the scheme as it was sent, such as `https`.
    #[must_use]
    pub const fn scheme(&self) -> &'a str {
        self.scheme
    }

    /// Returns the host as it was sent; an IPv6 address keeps its brackets.
    #[must_use]
    pub const fn host(&self) -> &'a str {
        self.authority.host
    }

    /// Returns the port, or the default one of `http`, `https`, `ws` and `wss`.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.authority.port.or_else(|| default_port(self.scheme))
    }

    // RFC 6454 §5: equal when scheme, host and port are, each of them whole.
    fn is_same_as(&self, other: &TupleOrigin<'_>) -> bool {
        self.scheme.eq_ignore_ascii_case(other.scheme)
            && self.host().eq_ignore_ascii_case(other.host())
            && self.port() == other.port()
    }
}

/// `host [":" port]` (RFC 3986 §3.2), without user information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Authority<'a> {
    host: &'a str,
    port: Option<u16>,
}

impl<'a> Authority<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                address.parse::<Ipv6Addr>().ok()?;
                (text.strip_suffix(port)?, port)
            }
            None => {
                let end = text.find(':').unwrap_or(text.len());
                let (host, port) = text.split_at_checked(end)?;
                if !is_registered_name(host) {
                    return None;
                }
                (host, port)
            }
        };
        Some(Self {
            host,
            port: parse_port(port)?,
        })
    }
}

/// RFC 9110 §4.2.3: the same host, whatever the case, and the same port, be it said or the default
/// of the scheme.
pub(super) fn is_same_host(scheme: &str, one: &str, other: &str) -> bool {
    let of = |text| Authority::parse(text).map(|authority| TupleOrigin { scheme, authority });
    matches!((of(one), of(other)), (Some(one), Some(other)) if one.is_same_as(&other))
}

/// Reads `[":" *DIGIT]`; an empty port is the default one (RFC 3986 §3.2.3).
fn parse_port(text: &str) -> Option<Option<u16>> {
    if text.is_empty() || text == ":" {
        return Some(None);
    }
    let digits = text.strip_prefix(':')?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(Some)
}

fn default_port(scheme: &str) -> Option<u16> {
    if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("ws") {
        Some(80)
    } else if scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("wss") {
        Some(443)
    } else {
        None
    }
}

fn is_scheme(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(is_inner)
}

/// RFC 3986 §3.2.2: `reg-name`, which an IPv4 address is too, but not the empty one: a
/// WebSocket URI has a host (RFC 6455 §3).
fn is_registered_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let is_legal = match byte {
            b'%' => {
                bytes.next().is_some_and(|digit| digit.is_ascii_hexdigit())
                    && bytes.next().is_some_and(|digit| digit.is_ascii_hexdigit())
            }
            b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+'
            | b',' | b';' | b'=' => true,
            _ => byte.is_ascii_alphanumeric(),
        };
        if !is_legal {
            return false;
        }
    }
    !text.is_empty()
}
