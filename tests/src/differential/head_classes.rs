//! The differences in what request heads a server accepts that are allowed.

use wspulse_core::handshake::{Accept, HandshakeError, HandshakeLimits, ServerHandshake};

use super::classes::Peer;

/// A difference that is allowed. In those with a finding wspulse is the one to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HeadClass {
    /// wspulse ignores one empty line before the request line, the peer several.
    ///
    /// RFC 9112 §2.2: "a server that is expecting to receive and parse a request-line SHOULD
    /// ignore at least one empty line (CRLF) received prior to the request-line."
    EmptyLines,
    /// The peer does not look at Host.
    ///
    /// RFC 6455 §4.2.1 item 2: "A |Host| header field containing the server's authority." RFC 9112
    /// §3.2: a request without one, or with an invalid one, is answered with 400.
    HostNotChecked,
    /// The peer looks less at the target.
    ///
    /// RFC 6455 §4.2.1 item 1: a "Request-URI" that is a resource name (§3, without a fragment) or
    /// "an absolute HTTP/HTTPS URI containing the /resource name/".
    TargetNotChecked,
    /// The peer refuses a target with characters that no URI has; wspulse takes all that are
    /// visible ASCII but `#`, since browsers leave some of them as they are.
    ///
    /// RFC 9112 §3.2: "Recipients of an invalid request-line SHOULD respond with either a 400 (Bad
    /// Request) error or a 301 (Moved Permanently) redirect"; RFC 3986 §2 has the characters.
    TargetNotUri,
    /// The peer takes a request that announces a body.
    ///
    /// RFC 9110 §9.3.1: content in a GET request "might lead some implementations to reject the
    /// request and close the connection because of its potential as a request smuggling attack".
    BodyNotChecked,
    /// The peer takes the first of several headers that must be single.
    ///
    /// RFC 6455 §11.3.1 and §11.3.5: Key and Version "MUST NOT appear more than once in an HTTP
    /// request"; RFC 9112 §3.2: more than one Host is answered with 400.
    FirstOfSeveral,
    /// The peer finds "upgrade" in a Connection header that is no list of tokens, or does not
    /// find it in one that is.
    ///
    /// RFC 9110 §7.6.1: `Connection = #connection-option`, a token; §5.6.1: separated by commas
    /// with optional whitespace, space or tab; §5.3: over several lines.
    ConnectionNoList,
    /// The peer does not read the subprotocols by itself.
    ///
    /// RFC 6455 §4.3: `Sec-WebSocket-Protocol-Client = 1#token`.
    SubprotocolsNotRead,
    /// The peer does not read the extensions.
    ///
    /// RFC 6455 §9.1: "If a value is received by either the client or the server during
    /// negotiation that does not conform to the ABNF below, the recipient of such malformed data
    /// MUST immediately _Fail the WebSocket Connection_."
    ExtensionsNotRead,
    /// The peer takes a line that ends in LF alone.
    ///
    /// RFC 9112 §2.2: "a recipient MAY recognize a single LF as a line terminator".
    BareLf,
    /// The limits of the two differ: of the head, the headers, one line or the elements of a list.
    ///
    /// RFC 6585 §5: 431 is for "header fields are too large"; RFC 9110 §5.4 leaves limits to each.
    OtherLimits,
    /// The peer takes `websocket` only where it is the only protocol.
    ///
    /// RFC 6455 §4.2.1 item 3: "An |Upgrade| header field containing the value "websocket"";
    /// RFC 9110 §7.8: it is a list.
    UpgradeNoList,
    /// The peer refuses a key with bits that its last digit has too many.
    ///
    /// RFC 6455 §4.2.1 item 5: "a base64-encoded .. value that, when decoded, is 16 bytes in
    /// length"; the example of §4.1, `AQIDBAUGBwgJCgsMDQ4PEC==`, has such bits.
    KeyTrailingBits,
    /// The peer refuses bytes that come after the head before its answer; wspulse takes them for
    /// the first frames.
    ///
    /// RFC 6455 §4.1: "the client MUST wait for a response from the server before sending any
    /// further data" binds the client; no sentence has the server look.
    BytesAfterHead,
    /// The peer refuses two Origin headers; wspulse tells the application that the origin is
    /// invalid.
    ///
    /// RFC 6454 §7.3: "the user agent MUST NOT include more than one Origin header field";
    /// RFC 6455 §4.2.2 item 4 leaves the origin to the server's purpose.
    OriginTwice,
    /// The peer refuses a line of a list that holds no element, wspulse only a list that does.
    ///
    /// RFC 9110 §5.6.1.2: "A recipient MUST parse and ignore a reasonable number of empty list
    /// elements"; §5.3: lines of one name are one list.
    EmptyLineOfList,
}

impl HeadClass {
    /// The classes of `peer`.
    #[must_use]
    pub const fn of(peer: Peer) -> &'static [Self] {
        match peer {
            Peer::Tungstenite => &[
                Self::EmptyLines,
                Self::HostNotChecked,
                Self::TargetNotChecked,
                Self::TargetNotUri,
                Self::BodyNotChecked,
                Self::FirstOfSeveral,
                Self::ConnectionNoList,
                Self::SubprotocolsNotRead,
                Self::ExtensionsNotRead,
                Self::BareLf,
                Self::OtherLimits,
                Self::UpgradeNoList,
                Self::KeyTrailingBits,
                Self::BytesAfterHead,
            ],
            Peer::Websockets => &[
                Self::HostNotChecked,
                Self::TargetNotChecked,
                Self::FirstOfSeveral,
                Self::OtherLimits,
                Self::UpgradeNoList,
                Self::OriginTwice,
                Self::EmptyLineOfList,
            ],
        }
    }
}

/// Finds the class that explains in what `theirs` differs: the value of `Sec-WebSocket-Accept`,
/// or nothing where the request was refused.
///
/// # Errors
/// Tells what is not explained.
pub fn explain(head: &[u8], peer: Peer, theirs: Option<&str>) -> Result<Option<HeadClass>, String> {
    let ours = accept(head);
    let look = Look::new(head);
    // Where both take what the RFC refuses, their agreement proves nothing.
    if ours.is_ok() && !look.is_legal() {
        return Err("wspulse accepts what the RFC refuses".to_owned());
    }
    let found = match (&ours, theirs) {
        (Ok(ours), Some(theirs)) if ours == theirs => return Ok(None),
        (Err(_), None) => return Ok(None),
        (Ok(_), Some(_)) => None,
        (Err(error), Some(_)) => look.refused_here(error),
        (Ok(_), None) => look.refused_there(peer),
    };
    match found {
        Some(class) if HeadClass::of(peer).contains(&class) => Ok(Some(class)),
        _ => Err(format!(
            "{found:?} {peer:?}\nours   {ours:?}\ntheirs {theirs:?}"
        )),
    }
}

/// What wspulse answers.
fn accept(head: &[u8]) -> Result<String, HandshakeError> {
    let mut handshake = ServerHandshake::new(HandshakeLimits::default());
    handshake.handle_input(head);
    handshake.handle_eof();
    handshake.poll_request().expect("an answer at the end")?;
    let answer = handshake.accept(&Accept::new()).expect("a valid request");
    let answer = String::from_utf8(answer).expect("ASCII");
    let value = answer
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Accept: "));
    Ok(value.expect("the answer to the key").to_owned())
}

/// A head as lines, read plainly.
struct Look<'a> {
    bytes: &'a [u8],
    /// Where the empty line ends.
    end: usize,
    request_line: String,
    target: String,
    fields: Vec<(String, String)>,
}

impl<'a> Look<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let four = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = four.map_or(bytes.len(), |at| at + 4);
        // Bytes above 0x7F keep their number.
        let text: String = bytes[..end].iter().map(|&byte| char::from(byte)).collect();
        let mut lines = text.split("\r\n").skip_while(|line| line.is_empty());
        let request_line = lines.next().unwrap_or_default().to_owned();
        let target = request_line.split(' ').nth(1);
        let target = target.unwrap_or_default().to_owned();
        let fields = lines.filter_map(|line| line.split_once(':'));
        let fields = fields.map(|(name, value)| {
            let value = value.trim_matches([' ', '\t']);
            (name.to_ascii_lowercase(), value.to_owned())
        });
        Self {
            bytes,
            end,
            request_line,
            target,
            fields: fields.collect(),
        }
    }

    fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.fields.iter().filter(|(other, _)| other == name);
        fields.map(|(_, value)| &**value).collect()
    }

    /// The elements of a list that are not empty.
    fn list(&self, name: &str) -> Vec<&str> {
        let values = self.values(name).into_iter();
        let elements = values.flat_map(|value| value.split(','));
        let elements = elements.map(|element| element.trim_matches([' ', '\t']));
        elements.filter(|element| !element.is_empty()).collect()
    }

    /// The class in which wspulse is the one that refuses.
    fn refused_here(&self, error: &HandshakeError) -> Option<HeadClass> {
        use HandshakeError as E;
        let is_repeated = |name: &&str| self.values(name).len() > 1;
        match error {
            E::NotHttp => (self.bytes.starts_with(b"\r\n\r\n") || self.bytes.starts_with(b"\n"))
                .then_some(HeadClass::EmptyLines),
            E::BareLf => {
                let pairs = self.bytes.windows(2);
                let mut bare = pairs.filter(|pair| pair[1] == b'\n' && pair[0] != b'\r');
                bare.next().map(|_| HeadClass::BareLf)
            }
            E::HeadTooLarge { .. } => (self.end > 16 << 10).then_some(HeadClass::OtherLimits),
            E::TooManyHeaders { .. } => (self.fields.len() > 100).then_some(HeadClass::OtherLimits),
            E::ListTooLong => (self.list("connection").len() > 64
                || self.values("connection").join(",").split(',').count() > 64)
                .then_some(HeadClass::OtherLimits),
            E::Host => (!self.is_legal_host()).then_some(HeadClass::HostNotChecked),
            E::Target | E::StartLine => {
                (!self.is_legal_target()).then_some(HeadClass::TargetNotChecked)
            }
            // In the target, whatever else.
            E::ControlByte | E::BareCr => {
                let mut chars = self.target.chars();
                let is_there = chars.any(|c| c.is_ascii_control());
                is_there.then_some(HeadClass::TargetNotChecked)
            }
            E::RequestBody => self.has_body().then_some(HeadClass::BodyNotChecked),
            E::Connection => (!self.is_legal_connection()).then_some(HeadClass::ConnectionNoList),
            E::RepeatedHeader if SINGLE.iter().any(is_repeated) => Some(HeadClass::FirstOfSeveral),
            E::Extensions => (!self.is_legal_extensions()).then_some(HeadClass::ExtensionsNotRead),
            E::Subprotocols => {
                (!self.is_legal_subprotocols()).then_some(HeadClass::SubprotocolsNotRead)
            }
            _ => None,
        }
    }

    /// The class in which the peer is the one that refuses.
    fn refused_there(&self, peer: Peer) -> Option<HeadClass> {
        let first = |name| self.values(name).first().copied().unwrap_or_default();
        match peer {
            Peer::Tungstenite => {
                if !first("upgrade").eq_ignore_ascii_case("websocket") {
                    return Some(HeadClass::UpgradeNoList);
                }
                let mut words = first("connection").split([' ', ',']);
                let digit = first("sec-websocket-key").as_bytes().get(21);
                if !words.any(|word| word.eq_ignore_ascii_case("upgrade")) {
                    self.is_legal_connection()
                        .then_some(HeadClass::ConnectionNoList)
                } else if digit.is_none_or(|digit| !b"AQgw".contains(digit)) {
                    Some(HeadClass::KeyTrailingBits)
                } else if self.end < self.bytes.len() {
                    Some(HeadClass::BytesAfterHead)
                } else {
                    (!self.is_target_of_uri()).then_some(HeadClass::TargetNotUri)
                }
            }
            Peer::Websockets => {
                if self.list("upgrade").len() != 1 {
                    return Some(HeadClass::UpgradeNoList);
                }
                let mut lists = LISTS.iter().flat_map(|name| self.values(name));
                let mut lines = self.bytes[..self.end].split(|&byte| byte == b'\n');
                if lines.any(|line| line.len() >= 8_192) {
                    Some(HeadClass::OtherLimits)
                } else if self.values("origin").len() > 1 {
                    Some(HeadClass::OriginTwice)
                } else {
                    let is_empty = |value: &str| value.split(',').all(|part| part.trim() == "");
                    lists.any(is_empty).then_some(HeadClass::EmptyLineOfList)
                }
            }
        }
    }

    /// RFC 6455 §4.2.1, item by item, of which wspulse takes any visible ASCII in the target.
    fn is_legal(&self) -> bool {
        let is_visible = |c: char| c.is_ascii_graphic() && c != '#';
        let is_key = |key: &str| {
            let digits = key.strip_suffix("==").unwrap_or_default();
            let is_digit = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
            digits.len() == 22 && digits.chars().all(is_digit)
        };
        let is_websocket = |name: &&str| name.eq_ignore_ascii_case("websocket");
        let extensions = self.values("sec-websocket-extensions");
        let bytes = self.bytes.strip_prefix(b"\r\n").unwrap_or(self.bytes);
        bytes.starts_with(b"GET ")
            && self.request_line == format!("GET {} HTTP/1.1", self.target)
            && self.target.chars().all(is_visible)
            && (self.target.starts_with('/') || self.is_absolute_target())
            && self.is_legal_host()
            && !self.has_body()
            && self.list("upgrade").iter().any(is_websocket)
            && self.is_legal_connection()
            && self.values("sec-websocket-version") == ["13"]
            && matches!(self.values("sec-websocket-key")[..], [key] if is_key(key))
            && self.is_legal_subprotocols()
            && (extensions.is_empty() || self.is_legal_extensions())
    }

    fn is_legal_connection(&self) -> bool {
        let elements = self.list("connection");
        elements.iter().all(|element| is_token(element))
            && elements
                .iter()
                .any(|element| element.eq_ignore_ascii_case("upgrade"))
    }

    fn is_legal_subprotocols(&self) -> bool {
        let elements = self.list("sec-websocket-protocol");
        elements.iter().all(|element| is_token(element))
    }

    /// One host, and a port if any (RFC 9112 §3.2).
    fn is_legal_host(&self) -> bool {
        let [host] = self.values("host")[..] else {
            return false;
        };
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (host, ""),
        };
        let is_address = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
        let is_in_name = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=".contains(c);
        let mut parts = host.split('%');
        let is_name = !host.is_empty()
            && parts
                .next()
                .is_some_and(|part| part.chars().all(is_in_name))
            && parts.all(|part| {
                let is_escape = |digits: &str| digits.chars().all(|c| c.is_ascii_hexdigit());
                part.get(..2).is_some_and(is_escape) && part.chars().all(is_in_name)
            });
        let is_port = port.chars().all(|c| c.is_ascii_digit())
            && (port.is_empty() || port.parse::<u16>().is_ok());
        (is_address || is_name) && is_port
    }

    /// A path, or an absolute URI for the host, of characters that a URI may have, without a
    /// fragment.
    fn is_legal_target(&self) -> bool {
        self.is_target_of_uri() && (self.target.starts_with('/') || self.is_absolute_target())
    }

    fn is_absolute_target(&self) -> bool {
        let host = self.values("host").join(",");
        // RFC 3986 §6.2.3: a port that is empty or the default one is as good as none.
        let without = |text: &str, port| {
            let text = text.strip_suffix(port).or(text.strip_suffix(':'));
            text.map(str::to_ascii_lowercase)
        };
        [("http://", ":80"), ("https://", ":443")]
            .into_iter()
            .filter_map(|(scheme, port)| Some((self.target.strip_prefix(scheme)?, port)))
            .any(|(rest, port)| {
                let authority = rest.split(['/', '?']).next().unwrap_or_default();
                let [one, other] = [authority, &host]
                    .map(|text| without(text, port).unwrap_or(text.to_ascii_lowercase()));
                one == other
            })
    }

    /// RFC 3986 §2, without the `#` of a fragment.
    fn is_target_of_uri(&self) -> bool {
        let is_legal = |c: char| c.is_ascii_graphic() && !"#\"<>\\^`{|}".contains(c);
        self.target.chars().all(is_legal)
    }

    fn has_body(&self) -> bool {
        let lengths = self.values("content-length");
        !self.values("transfer-encoding").is_empty() || lengths.iter().any(|length| *length != "0")
    }

    /// RFC 6455 §9.1, without escapes in quoted values.
    fn is_legal_extensions(&self) -> bool {
        let elements = self.list("sec-websocket-extensions");
        let is_legal = |element: &&str| {
            let mut parts = element
                .split(';')
                .map(|part| part.trim_matches([' ', '\t']));
            parts.next().is_some_and(is_token)
                && parts.all(|part| match part.split_once('=') {
                    None => is_token(part),
                    Some((name, value)) => {
                        let value = value.trim_matches([' ', '\t']);
                        let quoted = value
                            .strip_prefix('"')
                            .and_then(|rest| rest.strip_suffix('"'));
                        is_token(name.trim_matches([' ', '\t']))
                            && is_token(quoted.unwrap_or(value))
                    }
                })
        };
        !elements.is_empty() && elements.iter().all(is_legal)
    }
}

/// Headers that may be there once.
const SINGLE: [&str; 4] = [
    "host",
    "content-length",
    "sec-websocket-version",
    "sec-websocket-key",
];

/// Headers that are lists.
const LISTS: [&str; 3] = [
    "connection",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
];

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.chars().all(is_legal)
}
