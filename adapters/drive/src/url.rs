//! Where a URL leads, and where a redirect leads from there.

use std::{error, fmt};

use url::{Host, Url};

/// A `ws` or `wss` URL, taken apart (RFC 6455 §3).
#[derive(Clone, Debug)]
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
        let url = Url::parse(url).map_err(|_| UrlError::Malformed)?;
        Self::from_url(url)
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

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
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
    /// It is not an absolute URL.
    Malformed,
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
            Self::Malformed => "not an absolute url",
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
    use super::{RedirectError, Target, UrlError};

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

    #[test]
    fn a_url_that_is_not_for_us_is_refused() {
        let cases = [
            ("example.com", UrlError::Malformed),
            ("ws://", UrlError::Malformed),
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
