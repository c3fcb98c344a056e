//! Where a URL leads, and where a redirect leads from there.

use std::{error, fmt};

use url::{Host, ParseError, Url};

/// A `ws` or `wss` URL, taken apart (RFC 6455 §3).
#[derive(Clone)]
pub struct Target {
    url: Url,
    host: Host,
    port: u16,
    authority: String,
    path: String,
    is_secure: bool,
}

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    ///
    /// [`UrlError`] says what is wrong with it.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let parsed = Url::parse(url).map_err(|error| match error {
            ParseError::InvalidIpv6Address if has_zone(url) => UrlError::Zone,
            error => UrlError::Malformed(MalformedUrl(error)),
        })?;
        Self::from_url(parsed)
    }

    fn from_url(url: Url) -> Result<Self, UrlError> {
        let (is_secure, default_port) = match url.scheme() {
            "ws" => (false, 80),
            "wss" => (true, 443),
            _ => return Err(UrlError::Scheme),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlError::Credentials);
        }
        if url.fragment().is_some() {
            return Err(UrlError::Fragment);
        }
        let host = url.host().ok_or(UrlError::Host)?.to_owned();
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        Ok(Self {
            port: url.port().unwrap_or(default_port),
            url,
            host,
            authority,
            path,
            is_secure,
        })
    }

    /// Finds out where a redirect with this `Location` leads (RFC 9110 §10.2.2). `http` stands for
    /// `ws`, and `https` for `wss`.
    ///
    /// # Errors
    ///
    /// [`RedirectError::Location`] if it leads nowhere, [`RedirectError::Downgrade`] from `wss`
    /// to `ws`.
    pub fn redirect(&self, location: &[u8]) -> Result<Self, RedirectError> {
        let location = str::from_utf8(location).map_err(|_| RedirectError::Location)?;
        let mut url = self
            .url
            .join(location)
            .map_err(|_| RedirectError::Location)?;
        url.set_fragment(None);
        let scheme = match url.scheme() {
            "http" | "ws" => "ws",
            "https" | "wss" => "wss",
            _ => return Err(RedirectError::Location),
        };
        url = with_scheme(&url, scheme).ok_or(RedirectError::Location)?;
        let target = Self::from_url(url).map_err(|_| RedirectError::Location)?;
        if self.is_secure && !target.is_secure {
            return Err(RedirectError::Downgrade);
        }
        Ok(target)
    }

    /// Tells whether `other` is of the same origin: scheme, host and port (RFC 6454 §5).
    #[must_use]
    pub fn is_same_origin(&self, other: &Self) -> bool {
        (self.is_secure, &self.host, self.port) == (other.is_secure, &other.host, other.port)
    }

    /// Returns the host's name or address; an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> String {
        match &self.host {
            Host::Domain(name) => name.clone(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        }
    }

    /// Returns the port: that of the URL, or 80 or 443.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns the value of the `Host` header: with a port unless it is the scheme's own.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns the path and the query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Tells whether TLS is asked for (`wss`).
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.is_secure
    }
}

/// The whole URL with its query, to connect to: for a log, use [`without_secrets`].
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

/// Without the query, which often carries a token.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = show(&self.url);
        f.debug_tuple("Target").field(&url).finish()
    }
}

/// Returns a URL as a log or an error message may show it: `..` stands for a user name with its
/// password, and for a query with its fragment. A token can be in each of them.
///
/// A text that is no URL of a server is shown from its last `@` on.
///
/// ```
/// use wspulse_drive::without_secrets;
///
/// let shown = without_secrets("wss://me:secret@example.com/chat?token=4711");
/// assert_eq!(shown, "wss://..@example.com/chat?..");
/// assert_eq!(without_secrets("ws://me:sec/ret@example.com:9001"), "..@example.com:9001");
/// assert_eq!(without_secrets("ws://127.0.0.1:9001/"), "ws://127.0.0.1:9001/");
/// ```
#[must_use]
pub fn without_secrets(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) if matches!(url.scheme(), "ws" | "wss" | "http" | "https") => show(&url),
        _ => {
            // A password may hold any character, so only the last `@` is sure to follow it.
            let (before, rest) = url
                .rsplit_once('@')
                .map_or(("", url), |(_, rest)| ("..@", rest));
            match rest.find(['?', '#']) {
                Some(end) => format!("{before}{}?..", rest.get(..end).unwrap_or_default()),
                None => format!("{before}{rest}"),
            }
        }
    }
}

fn show(url: &Url) -> String {
    let has_user = !url.username().is_empty() || url.password().is_some();
    let user = if has_user { "..@" } else { "" };
    let host = url.host_str().unwrap_or_default();
    let port = url
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    let hides_more = url.query().is_some() || url.fragment().is_some();
    let rest = if hides_more { "?.." } else { "" };
    format!("{}://{user}{host}{port}{}{rest}", url.scheme(), url.path())
}

/// Tells whether the brackets of an IPv6 address hold a zone, such as `%eth0` (RFC 6874).
fn has_zone(url: &str) -> bool {
    let brackets = url
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'));
    brackets.is_some_and(|(address, _)| address.contains('%'))
}

/// The same URL with another scheme. [`Url::set_scheme`] drops a port that is the new scheme's
/// default, which is what is wanted, and refuses nothing among these four.
fn with_scheme(url: &Url, scheme: &str) -> Option<Url> {
    let mut url = url.clone();
    url.set_scheme(scheme).ok()?;
    Some(url)
}

/// Why a URL is not one to connect to (RFC 6455 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlError {
    /// It is not an absolute URL; inside is the rule that it breaks.
    Malformed(MalformedUrl),
    /// Its IPv6 address names a zone, such as `[fe80::1%25eth0]`, which the URL standard has no
    /// place for. Connect a socket to the address, and hand it to the adapter's `client`.
    Zone,
    /// Its scheme is neither `ws` nor `wss`.
    Scheme,
    /// Its scheme is `wss`, and nothing says which certificates to trust. Turn on the feature `tls`
    /// of the crate `wspulse`; of an adapter, one of the features `webpki-roots`, `native-roots` and
    /// `platform-verifier`; or set a TLS configuration (`ConnectOptions::tls`).
    Tls,
    /// It names no host.
    Host,
    /// It carries a user name or a password; send an `Authorization` header instead.
    Credentials,
    /// It has a fragment (`#..`), which has no meaning here.
    Fragment,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed(MalformedUrl(ParseError::RelativeUrlWithoutBase)) => {
                "not an absolute url like ws://host/path"
            }
            Self::Malformed(reason) => return write!(f, "not a url: {reason}"),
            Self::Zone => "the url's ipv6 address names a zone (%..), which no url can",
            Self::Scheme => "the url's scheme is neither ws nor wss",
            Self::Tls if cfg!(feature = "tls") => {
                "wss needs certificates to trust: turn on the feature webpki-roots, native-roots \
                 or platform-verifier, or set ConnectOptions::tls"
            }
            Self::Tls => {
                "wss needs tls: turn on the feature tls of the crate wspulse (of an adapter: \
                 webpki-roots, native-roots or platform-verifier)"
            }
            Self::Host => "the url names no host",
            Self::Credentials => "the url carries credentials, which belong in a header",
            Self::Fragment => "the url has a fragment",
        })
    }
}

impl error::Error for UrlError {}

/// The rule of the URL standard that a text breaks: its words are those of the crate `url`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedUrl(ParseError);

impl fmt::Display for MalformedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl error::Error for MalformedUrl {}

/// Why a redirect is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedirectError {
    /// More redirects one after the other than `max_redirects`.
    TooMany,
    /// The `Location` is missing, or leads to nothing a WebSocket can be at.
    Location,
    /// It leads from `wss` to `ws`: what was to be encrypted would not be.
    Downgrade,
}

impl fmt::Display for RedirectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooMany => "too many redirects",
            Self::Location => "the redirect leads to no websocket url",
            Self::Downgrade => "the redirect leads from wss to ws",
        })
    }
}

impl error::Error for RedirectError {}

#[cfg(test)]
mod tests {
    use super::{MalformedUrl, ParseError, RedirectError, Target, UrlError, without_secrets};

    #[test]
    fn a_url_becomes_host_and_target() {
        let cases = [
            ("ws://example.com", "example.com", 80, "/"),
            (
                "ws://EXAMPLE.com:80/a b?c=d",
                "example.com",
                80,
                "/a%20b?c=d",
            ),
            ("ws://example.com:8080?x", "example.com:8080", 8080, "/?x"),
            ("wss://example.com", "example.com", 443, "/"),
            ("wss://example.com:443/", "example.com", 443, "/"),
            ("wss://example.com:80/", "example.com:80", 80, "/"),
            ("ws://[::1]:9001/", "[::1]:9001", 9001, "/"),
            ("ws://127.0.0.1", "127.0.0.1", 80, "/"),
        ];
        for (url, authority, port, path) in cases {
            let target = Target::parse(url).unwrap();
            assert_eq!(
                (target.authority(), target.port(), target.path()),
                (authority, port, path)
            );
            assert_eq!(target.is_secure(), url.starts_with("wss"));
        }
        assert_eq!(Target::parse("ws://[::1]:9001/").unwrap().host(), "::1");
    }

    const fn malformed(error: ParseError) -> UrlError {
        UrlError::Malformed(MalformedUrl(error))
    }

    #[test]
    fn a_malformed_url_is_refused_with_the_reason() {
        let cases = [
            ("ws://localhost:99999/", "not a url: invalid port number"),
            ("ws://[::1", "not a url: invalid IPv6 address"),
            ("example.com", "not an absolute url like ws://host/path"),
            (
                "ws://[fe80::1%25eth0]:9001/",
                "the url's ipv6 address names a zone (%..), which no url can",
            ),
        ];
        for (url, reason) in cases {
            let error = Target::parse(url).err().unwrap();
            assert_eq!(error.to_string(), reason, "{url}");
        }
    }

    #[test]
    fn no_secret_of_a_url_is_shown() {
        let secret = "s3cr3t";
        let urls = [
            "ws://me:s3cr3t@example.com/",
            "ws://s3cr3t@example.com/",
            "http://me:s3cr3t@example.com/",
            "ws://me:s3cr3t@[::1",
            "ws://me:s3cr3t@example.com:99999/",
            "ws://me:a/s3cr3t@example.com/",
            "ws://me:a?s3cr3t@example.com/",
            "ws://me:a#s3cr3t@example.com/",
            "ws://me:a@s3cr3t@example.com/",
            "ws:\\\\me:s3cr3t@example.com/",
            "ws:me:s3cr3t@example.com",
            "me:s3cr3t@example.com",
            "s3cr3t@example.com",
            "foo://me:s3cr3t@example.com/",
            "ws://example.com/?s3cr3t",
            "ws://example.com/?token=s3cr3t#s3cr3t",
            "ws://example.com/#s3cr3t",
            "example.com/?s3cr3t",
            "ws://example.com:99999/?token=s3cr3t",
        ];
        for url in urls {
            let shown = without_secrets(url);
            assert!(!shown.contains(secret), "{url}: {shown}");
            assert!(
                shown.contains("example.com") || shown.contains("[::1"),
                "{url}: {shown}"
            );
        }
        let target = Target::parse("ws://example.com/chat?token=s3cr3t").unwrap();
        assert_eq!(
            format!("{target:?}"),
            "Target(\"ws://example.com/chat?..\")"
        );
    }

    #[test]
    fn a_url_that_is_not_for_us_is_refused() {
        let cases = [
            ("example.com", malformed(ParseError::RelativeUrlWithoutBase)),
            ("ws://", malformed(ParseError::EmptyHost)),
            ("http://example.com", UrlError::Scheme),
            ("ws://me@example.com", UrlError::Credentials),
            ("ws://:secret@example.com", UrlError::Credentials),
            ("ws://example.com/#top", UrlError::Fragment),
        ];
        for (url, error) in cases {
            assert_eq!(Target::parse(url).err(), Some(error), "{url}");
        }
    }

    #[test]
    fn a_redirect_is_read_from_where_it_was_met() {
        let cases = [
            ("ws://a.example/x/y", "z?q", "ws://a.example/x/z?q"),
            ("ws://a.example/x", "/z#top", "ws://a.example/z"),
            ("ws://a.example/", "//b.example:81/", "ws://b.example:81/"),
            ("ws://a.example/", "http://b.example/", "ws://b.example/"),
            ("ws://a.example/", "https://b.example/", "wss://b.example/"),
            (
                "wss://a.example/",
                "https://a.example:8443/",
                "wss://a.example:8443/",
            ),
            (
                "ws://a.example/",
                "https://b.example:80/",
                "wss://b.example:80/",
            ),
        ];
        for (from, location, to) in cases {
            let target = Target::parse(from).unwrap().redirect(location.as_bytes());
            assert_eq!(target.unwrap().to_string(), to);
        }
    }

    #[test]
    fn h17_a_redirect_that_leads_astray_is_refused() {
        let cases: [(&str, &[u8], RedirectError); 5] = [
            (
                "wss://a.example/",
                b"ws://a.example/",
                RedirectError::Downgrade,
            ),
            (
                "wss://a.example/",
                b"http://a.example/",
                RedirectError::Downgrade,
            ),
            (
                "ws://a.example/",
                b"ftp://a.example/",
                RedirectError::Location,
            ),
            (
                "ws://a.example/",
                b"ws://me:pw@a.example/",
                RedirectError::Location,
            ),
            ("ws://a.example/", b"\xFF", RedirectError::Location),
        ];
        for (from, location, error) in cases {
            let target = Target::parse(from).unwrap().redirect(location);
            assert_eq!(target.err(), Some(error), "{from}");
        }
        // CR and LF, which would write headers of their own, do not get into a target.
        let target = Target::parse("ws://a.example/").unwrap();
        let target = target.redirect(b"/x\r\nSet-Cookie: a=b").unwrap();
        assert!(!target.path().contains(['\r', '\n']));
    }
}
