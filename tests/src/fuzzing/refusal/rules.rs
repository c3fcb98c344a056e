//! RFC 6455 §4.2.1 and §4.1 as two lists of rules over a head that is read whole.

use std::net::Ipv6Addr;

use super::super::http::{self, Fields, end_of_head, is_token, list, nonce_of, split_lines};

/// What a head comes to.
#[derive(Debug)]
pub(super) enum Verdict<'a> {
    /// There is no end of it.
    Incomplete,
    Accepted(Asked<'a>),
    /// It depends: on a limit, or on what an RFC leaves to the reader.
    Lax(Asked<'a>, Reason),
    /// Against the rule named.
    Refused(&'static str),
    /// A response that is not 101.
    Status(u16),
}

/// What a head asks for, or agrees to.
#[derive(Debug, Default)]
pub(super) struct Asked<'a> {
    pub(super) target: &'a [u8],
    pub(super) host: &'a [u8],
    pub(super) subprotocols: Vec<&'a [u8]>,
}

/// Where the engine is stricter or laxer than the letter, on purpose or, with a finding, not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// Stricter: a head, or a list in it, above a limit. RFC 9110 §17.5: "recipients ought to
    /// carefully limit the extent to which they process other protocol elements".
    Limit,
    /// Stricter: content on GET. RFC 9110 §9.3.1: it "might lead some implementations to reject the
    /// request and close the connection because of its potential as a request smuggling attack".
    Content,
    /// Stricter: HTTP/1.2 and above. RFC 9110 §6.2: a recipient "can" read a higher minor version as
    /// its own; there is none, and RFC 9112 §2.3 lets a server refuse what it does not support.
    HigherVersion,
    /// Stricter: a port above 65,535, which RFC 3986 §3.2.3 spells and no TCP has; an address of a
    /// future version (RFC 3986 §3.2.2), of which there is none.
    NoSuchHost,
    /// Laxer: characters in a target that RFC 3986 leaves out. RFC 9112 §3.2: a recipient "SHOULD
    /// respond with either a 400 (Bad Request) error"; browsers send some of them.
    TargetBytes,
    /// Laxer: a status line without the space before an empty reason. RFC 9112 §4: "A client SHOULD
    /// ignore the reason-phrase content".
    NoReasonPhrase,
}

impl Reason {
    /// Whether the engine takes what the letter refuses.
    pub(super) fn is_taken(self) -> bool {
        matches!(self, Self::TargetBytes | Self::NoReasonPhrase)
    }
}

/// The subprotocols that the client offers.
pub(super) const OFFERED: [&str; 2] = ["chat", "superchat"];

const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The limits of the engine.
const MAX_HEAD_SIZE: usize = 16 << 10;
const MAX_HEADERS: usize = 100;
const MAX_ELEMENTS: usize = 64;
const MAX_INTERIM: usize = 8;

macro_rules! refuse_unless {
    ($rule:expr, $holds:expr) => {
        if !$holds {
            return Verdict::Refused($rule);
        }
    };
}

/// RFC 6455 §4.2.1, with RFC 9112 beneath.
pub(super) fn read_request(stream: &[u8]) -> Verdict<'_> {
    let mut reasons = Vec::new();
    // RFC 9112 §2.2: a server "SHOULD ignore at least one empty line (CRLF) received prior to the
    // request-line".
    let whole = stream.len();
    let stream = stream.strip_prefix(b"\r\n").unwrap_or(stream);
    let empty = whole - stream.len();
    let Some(end) = end_of_head(stream) else {
        return Verdict::Incomplete;
    };
    let lines = split_lines(&stream[..end - 4]);
    if empty + end > MAX_HEAD_SIZE || lines.len() > MAX_HEADERS + 1 {
        reasons.push(Reason::Limit);
    }
    let words: Vec<&[u8]> = lines[0].split(|&byte| byte == b' ').collect();
    let [method, target, version] = words[..] else {
        return Verdict::Refused("RFC 9112 §3: three words");
    };
    refuse_unless!("item 1: GET", method == b"GET");
    match version {
        b"HTTP/1.1" => {}
        [b'H', b'T', b'T', b'P', b'/', b'2'..=b'9', b'.', b'0'..=b'9']
        | [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => {
            reasons.push(Reason::HigherVersion)
        }
        _ => return Verdict::Refused("item 1: HTTP/1.1 or higher"),
    }
    let Some(fields) = Fields::read(&lines[1..]) else {
        return Verdict::Refused("RFC 9112 §5: field lines");
    };
    let Some(host) = fields.only("host") else {
        return Verdict::Refused("RFC 9112 §3.2: one Host");
    };
    let Some((name, port)) = read_host(host, &mut reasons) else {
        return Verdict::Refused("item 2: a host and perhaps a port");
    };
    refuse_unless!(
        "item 1: a path, or a URI for this host",
        read_target(target, name, port, &mut reasons)
    );

    let lengths = fields.all("content-length");
    if !fields.all("transfer-encoding").is_empty() || !matches!(lengths[..], [] | [b"0"]) {
        reasons.push(Reason::Content);
    }
    let upgrades = fields.all("upgrade");
    let protocols = bounded(&upgrades, &mut reasons);
    let is_protocol = |element: &&[u8]| element.splitn(2, |&byte| byte == b'/').all(is_token);
    refuse_unless!(
        "RFC 9110 §7.8: protocols",
        protocols.iter().all(is_protocol)
    );
    refuse_unless!("item 3: Upgrade", fields.has_word("upgrade", "websocket"));
    let options = bounded(&fields.all("connection"), &mut reasons);
    refuse_unless!(
        "RFC 9110 §7.6.1: options",
        options.iter().all(|option| is_token(option))
    );
    refuse_unless!(
        "item 4: Connection",
        fields.has_word("connection", "upgrade")
    );
    let key = fields.only("sec-websocket-key");
    refuse_unless!(
        "item 5: a key of 16 bytes",
        key.and_then(nonce_of).is_some()
    );
    refuse_unless!(
        "item 6: version 13",
        fields.only("sec-websocket-version") == Some(b"13")
    );

    let offers = fields.all("sec-websocket-protocol");
    let names = bounded(&offers, &mut reasons);
    refuse_unless!(
        "§11.3.4: subprotocols are tokens",
        names.iter().all(|name| is_token(name))
    );
    // RFC 6455 §4.2.2 names neither an empty list nor a repeated name a reason to refuse.
    let mut distinct: Vec<&[u8]> = Vec::new();
    for name in names {
        if !distinct.contains(&name) {
            distinct.push(name);
        }
    }
    match http::extensions(&fields.all("sec-websocket-extensions")) {
        Ok(_) => {}
        Err(http::ListFault::TooLong) => reasons.push(Reason::Limit),
        Err(http::ListFault::Malformed) => return Verdict::Refused("§9.1: extensions"),
    }
    verdict(
        Asked {
            target,
            host,
            subprotocols: distinct,
        },
        reasons,
    )
}

/// RFC 6455 §4.1, after "Once the client's opening handshake has been sent".
pub(super) fn read_response(mut stream: &[u8]) -> Verdict<'_> {
    let mut reasons = Vec::new();
    let mut interim = 0;
    let whole = stream.len();
    let (mut fields, first, status) = loop {
        let Some(end) = end_of_head(stream) else {
            return Verdict::Incomplete;
        };
        let lines = split_lines(&stream[..end - 4]);
        let Some(status) = read_status(lines[0], &mut reasons) else {
            return Verdict::Refused("RFC 9112 §4: a status line");
        };
        let Some(fields) = Fields::read(&lines[1..]) else {
            return Verdict::Refused("RFC 9112 §5: field lines");
        };
        stream = &stream[end..];
        if whole - stream.len() > MAX_HEAD_SIZE || lines.len() > MAX_HEADERS + 1 {
            reasons.push(Reason::Limit);
        }
        // RFC 9110 §15.2: interim responses come before the one that counts.
        if (100..200).contains(&status) && status != 101 {
            interim += 1;
            if interim > MAX_INTERIM {
                reasons.push(Reason::Limit);
            }
            continue;
        }
        break (fields, lines[0], status);
    };
    if status != 101 {
        // A limit that was passed before it hides the status.
        return match reasons.contains(&Reason::Limit) {
            true => Verdict::Lax(Asked::default(), Reason::Limit),
            false => Verdict::Status(status),
        };
    }
    let fields = std::mem::take(&mut fields);
    match first {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', ..] => {}
        _ => return Verdict::Refused("RFC 9110 §15.2: no 101 in HTTP/1.0"),
    }
    let upgrade = fields.only("upgrade").unwrap_or_default();
    refuse_unless!(
        "item 2: Upgrade",
        upgrade.eq_ignore_ascii_case(b"websocket")
    );
    let options = bounded(&fields.all("connection"), &mut reasons);
    refuse_unless!(
        "RFC 9110 §7.6.1: options",
        options.iter().all(|option| is_token(option))
    );
    refuse_unless!(
        "item 3: Connection",
        fields.has_word("connection", "upgrade")
    );
    refuse_unless!(
        "item 4: Accept",
        fields.only("sec-websocket-accept") == Some(ACCEPT)
    );
    let extensions = fields.all("sec-websocket-extensions");
    refuse_unless!("item 5: no extension was offered", extensions.is_empty());
    let chosen = fields.all("sec-websocket-protocol");
    let is_offered = |name: &&[u8]| OFFERED.iter().any(|offered| offered.as_bytes() == *name);
    refuse_unless!(
        "item 6: subprotocol",
        chosen.len() <= 1 && chosen.iter().all(is_offered)
    );
    verdict(
        Asked {
            subprotocols: chosen,
            ..Asked::default()
        },
        reasons,
    )
}

/// Without a reason it is accepted; a reason to refuse counts more than one to take it.
fn verdict(asked: Asked<'_>, reasons: Vec<Reason>) -> Verdict<'_> {
    let refused = reasons.iter().find(|reason| !reason.is_taken());
    match refused.or(reasons.first()) {
        None => Verdict::Accepted(asked),
        Some(reason) => Verdict::Lax(asked, *reason),
    }
}

/// The elements of a list, whose number is limited with the empty ones.
fn bounded<'a>(lines: &[&'a [u8]], reasons: &mut Vec<Reason>) -> Vec<&'a [u8]> {
    let count = lines
        .iter()
        .flat_map(|line| line.split(|&byte| byte == b','))
        .count();
    if count > MAX_ELEMENTS {
        reasons.push(Reason::Limit);
    }
    list(lines)
}

/// RFC 9112 §4: `HTTP-version SP status-code SP [ reason-phrase ]`.
fn read_status(line: &[u8], reasons: &mut Vec<Reason>) -> Option<u16> {
    let rest = line
        .strip_prefix(b"HTTP/1.0 ")
        .or_else(|| line.strip_prefix(b"HTTP/1.1 "))?;
    let (digits, reason) = rest.split_at_checked(3)?;
    let is_text = |&byte: &u8| byte == b'\t' || (byte >= b' ' && byte != 0x7F);
    match reason.split_first() {
        None => reasons.push(Reason::NoReasonPhrase),
        Some((b' ', phrase)) if phrase.iter().all(is_text) => {}
        Some(_) => return None,
    }
    // RFC 9110 §15: three digits, of which the first is a class.
    let status = str::from_utf8(digits).ok()?.parse().ok()?;
    (digits.iter().all(u8::is_ascii_digit) && status >= 100).then_some(status)
}

/// RFC 9110 §7.2: `uri-host [ ":" port ]`. A WebSocket URI has a host (RFC 6455 §3).
fn read_host<'a>(host: &'a [u8], reasons: &mut Vec<Reason>) -> Option<(&'a str, Option<&'a str>)> {
    let host = str::from_utf8(host).ok()?;
    let (name, rest) = if host.starts_with('[') {
        let end = host.find(']')? + 1;
        let inner = &host[1..end - 1];
        // RFC 3986 §3.2.2: IPvFuture.
        let future = inner
            .strip_prefix(['v', 'V'])
            .and_then(|inner| inner.split_once('.'));
        if let Some((version, address)) = future {
            let is_version =
                !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_hexdigit());
            let is_address = !address.is_empty()
                && address
                    .bytes()
                    .all(|byte| byte == b':' || is_unreserved(byte) || is_sub_delim(byte));
            if !is_version || !is_address {
                return None;
            }
            reasons.push(Reason::NoSuchHost);
        } else {
            inner.parse::<Ipv6Addr>().ok()?;
        }
        host.split_at(end)
    } else {
        let end = host.find(':').unwrap_or(host.len());
        let (name, rest) = host.split_at(end);
        if name.is_empty() || !is_encoded(name, |byte| is_unreserved(byte) || is_sub_delim(byte)) {
            return None;
        }
        (name, rest)
    };
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        None => return None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits),
        Some(_) => return None,
    };
    if port.is_some_and(|digits| !digits.is_empty() && digits.parse::<u16>().is_err()) {
        reasons.push(Reason::NoSuchHost);
    }
    Some((name, port))
}

/// RFC 6455 §4.2.1 item 1, §3: a path, or an http or https URI for this host; no fragment.
fn read_target(target: &[u8], name: &str, port: Option<&str>, reasons: &mut Vec<Reason>) -> bool {
    let Ok(target) = str::from_utf8(target) else {
        return false;
    };
    let is_visible = target
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if !is_visible {
        return false;
    }
    let path = if target.starts_with('/') {
        target
    } else {
        let Some((scheme, rest)) = target.split_once("://") else {
            return false;
        };
        let scheme = scheme.to_ascii_lowercase();
        let usual = match &*scheme {
            "http" => "80",
            "https" => "443",
            _ => return false,
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let mut unused = Vec::new();
        let Some((target_name, target_port)) = read_host(authority.as_bytes(), &mut unused) else {
            return false;
        };
        // RFC 9110 §4.2.3: an empty or missing port is the default one.
        let or_usual = |port: Option<&str>| match port {
            None | Some("") => usual.to_owned(),
            Some(port) => port.to_owned(),
        };
        if !target_name.eq_ignore_ascii_case(name) || or_usual(target_port) != or_usual(port) {
            return false;
        }
        path
    };
    let is_legal = |byte| is_unreserved(byte) || is_sub_delim(byte) || b":@/?".contains(&byte);
    if !is_encoded(path, is_legal) {
        reasons.push(Reason::TargetBytes);
    }
    true
}

/// RFC 3986 §2.1: these bytes, and `%` with two hexadecimal digits.
fn is_encoded(text: &str, is_legal: impl Fn(u8) -> bool) -> bool {
    let mut pieces = text.split('%');
    let first = pieces.next().unwrap_or_default();
    first.bytes().all(&is_legal)
        && pieces.all(|piece| {
            piece.len() >= 2
                && piece.bytes().take(2).all(|digit| digit.is_ascii_hexdigit())
                && piece.bytes().skip(2).all(&is_legal)
        })
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn is_sub_delim(byte: u8) -> bool {
    b"!$&'()*+,;=".contains(&byte)
}
