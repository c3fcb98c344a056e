//! What a client may say about how it connects.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use wspulse_core::Config;
use wspulse_core::handshake::{ClientRequest, RequestError};

use crate::url::Target;

/// How to connect; the same type in every adapter.
///
/// ```
/// use std::time::Duration;
/// use wspulse_core::Config;
/// use wspulse_drive::ConnectOptions;
///
/// let options = ConnectOptions::new(Config::default())
///     .header("Authorization", "Bearer 4711")
///     .subprotocol("chat.v2")
///     .connect_timeout(Duration::from_secs(3))
///     .max_redirects(2);
/// ```
#[derive(Clone)]
pub struct ConnectOptions {
    config: Arc<Config>,
    headers: Vec<Header>,
    subprotocols: Vec<Subprotocol>,
    origin: Option<String>,
    lookup_timeout: Duration,
    connect_timeout: Duration,
    proxy_timeout: Duration,
    tls_timeout: Duration,
    max_redirects: u32,
    #[cfg(feature = "tls")]
    tls: Option<Arc<rustls::ClientConfig>>,
}

#[derive(Clone)]
struct Header {
    name: String,
    value: Vec<u8>,
    reach: Reach,
}

#[derive(Clone)]
struct Subprotocol {
    name: String,
    reach: Reach,
}

/// Where a part of the request goes when a redirect leads to another origin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// It stays with the origin that the caller named.
    Origin,
    /// It goes along: the caller says that it is no secret.
    Anywhere,
}

impl ConnectOptions {
    /// Starts from the defaults, with the connection's configuration. The opening handshake's
    /// timeout is there: [`ConfigBuilder::handshake_timeout`](wspulse_core::ConfigBuilder::handshake_timeout).
    #[must_use]
    pub fn new(config: impl Into<Arc<Config>>) -> Self {
        Self {
            config: config.into(),
            headers: Vec::new(),
            subprotocols: Vec::new(),
            origin: None,
            lookup_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(10),
            proxy_timeout: Duration::from_secs(10),
            tls_timeout: Duration::from_secs(10),
            max_redirects: 0,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Adds a header to the request. Whether it can be sent is said when connecting
    /// ([`Error::Request`](crate::Error::Request)).
    ///
    /// It stays with the origin of the URL: a redirect to another scheme, host or port leaves it
    /// behind, for any header can carry a token. See [`public_header`](Self::public_header).
    #[must_use]
    pub fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.with_header(name, value.as_ref(), Reach::Origin)
    }

    /// Adds a header that is no secret, as [`header`](Self::header) does: redirects to other
    /// origins take it along. `Authorization`, `Cookie`, `Cookie2` and `Proxy-Authorization` stay
    /// behind even so.
    #[must_use]
    pub fn public_header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let reach = if is_credential(name) {
            Reach::Origin
        } else {
            Reach::Anywhere
        };
        self.with_header(name, value.as_ref(), reach)
    }

    fn with_header(mut self, name: &str, value: &[u8], reach: Reach) -> Self {
        self.headers.push(Header {
            name: name.to_owned(),
            value: value.to_vec(),
            reach,
        });
        self
    }

    /// Offers a subprotocol, after those offered before (RFC 6455 §1.9).
    ///
    /// It stays with the origin of the URL, as a [`header`](Self::header) does: browsers put
    /// tokens into subprotocols. See [`public_subprotocol`](Self::public_subprotocol).
    #[must_use]
    pub fn subprotocol(self, name: &str) -> Self {
        self.with_subprotocol(name, Reach::Origin)
    }

    /// Offers a subprotocol that is no secret: redirects to other origins take it along.
    #[must_use]
    pub fn public_subprotocol(self, name: &str) -> Self {
        self.with_subprotocol(name, Reach::Anywhere)
    }

    fn with_subprotocol(mut self, name: &str, reach: Reach) -> Self {
        self.subprotocols.push(Subprotocol {
            name: name.to_owned(),
            reach,
        });
        self
    }

    /// Sets the `Origin` header, as browsers do; none by default (RFC 6455 §4.1). A redirect to
    /// another origin leaves it behind.
    #[must_use]
    pub fn origin(mut self, origin: &str) -> Self {
        self.origin = Some(origin.to_owned());
        self
    }

    /// Sets how long the name lookup may take; 5 s by default, what resolvers wait for one server.
    #[must_use]
    pub const fn lookup_timeout(mut self, timeout: Duration) -> Self {
        self.lookup_timeout = timeout;
        self
    }

    /// Sets how long TCP may take to connect, all addresses of the host together; 10 s by default,
    /// room for three lost SYNs.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how long a proxy may take to connect to the server; 10 s by default.
    #[must_use]
    pub const fn proxy_timeout(mut self, timeout: Duration) -> Self {
        self.proxy_timeout = timeout;
        self
    }

    /// Sets how long the TLS handshake may take; 10 s by default.
    #[must_use]
    pub const fn tls_timeout(mut self, timeout: Duration) -> Self {
        self.tls_timeout = timeout;
        self
    }

    /// Sets how many redirects one after the other are followed; none by default, as browsers do.
    /// From `wss` to `ws` is never followed.
    #[must_use]
    pub const fn max_redirects(mut self, count: u32) -> Self {
        self.max_redirects = count;
        self
    }

    /// Sets the TLS configuration for `wss`. Without one the enabled feature decides which
    /// certificates are trusted: `platform-verifier` before `native-roots` before `webpki-roots`.
    /// Those of the system are read when the first connection needs them, and not again.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, config: impl Into<Arc<rustls::ClientConfig>>) -> Self {
        self.tls = Some(config.into());
        self
    }
}

/// What an adapter reads.
impl ConnectOptions {
    /// Makes the request for `target`; `is_trusted` says whether the target is of the origin that
    /// the caller named. Any other gets only what the caller called public.
    ///
    /// # Errors
    ///
    /// [`RequestError`] if a header or a subprotocol cannot be sent.
    pub fn request(
        &self,
        target: &Target,
        is_trusted: bool,
    ) -> Result<ClientRequest, RequestError> {
        let mut request = ClientRequest::new(target.authority(), target.path())?;
        let goes_along = |reach| is_trusted || reach == Reach::Anywhere;
        for offer in self
            .subprotocols
            .iter()
            .filter(|offer| goes_along(offer.reach))
        {
            request = request.subprotocol(&offer.name)?;
        }
        if let Some(origin) = self.origin.as_ref().filter(|_| is_trusted) {
            request = request.origin(origin)?;
        }
        for header in self
            .headers
            .iter()
            .filter(|header| goes_along(header.reach))
        {
            request = request.header(&header.name, &header.value)?;
        }
        Ok(request)
    }

    /// Returns the connection's configuration.
    #[must_use]
    pub const fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Returns how long `stage` may take.
    #[must_use]
    pub const fn timeout(&self, stage: crate::Stage) -> Duration {
        match stage {
            crate::Stage::Lookup => self.lookup_timeout,
            crate::Stage::Connect => self.connect_timeout,
            crate::Stage::Proxy => self.proxy_timeout,
            crate::Stage::Tls => self.tls_timeout,
        }
    }

    /// Returns how many redirects to follow.
    #[must_use]
    pub const fn redirects(&self) -> u32 {
        self.max_redirects
    }

    /// Returns the TLS configuration to use for `wss`.
    ///
    /// # Errors
    ///
    /// [`UrlError::Tls`](crate::UrlError::Tls) if none is set and no feature says which
    /// certificates to trust; [`Error::Tls`](crate::Error::Tls) if the trusted ones cannot be
    /// loaded.
    #[cfg(feature = "tls")]
    pub fn tls_config(&self) -> Result<Arc<rustls::ClientConfig>, crate::Error> {
        match &self.tls {
            Some(config) => Ok(Arc::clone(config)),
            None => crate::tls::default_client_config(),
        }
    }
}

impl From<Config> for ConnectOptions {
    fn from(config: Config) -> Self {
        Self::new(config)
    }
}

impl From<Arc<Config>> for ConnectOptions {
    fn from(config: Arc<Config>) -> Self {
        Self::new(config)
    }
}

/// Without the values of headers and without subprotocols, which can be secrets.
impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.headers.iter().map(|header| &header.name);
        f.debug_struct("ConnectOptions")
            .field("headers", &names.collect::<Vec<_>>())
            .field("subprotocols", &self.subprotocols.len())
            .field("connect_timeout", &self.connect_timeout)
            .field("max_redirects", &self.max_redirects)
            .finish_non_exhaustive()
    }
}

/// Tells whether a header is a credential by its definition.
fn is_credential(name: &str) -> bool {
    ["authorization", "cookie", "cookie2", "proxy-authorization"]
        .iter()
        .any(|credential| name.eq_ignore_ascii_case(credential))
}

#[cfg(test)]
mod tests {
    use wspulse_core::Config;
    use wspulse_core::handshake::{ClientHandshake, HandshakeLimits};

    use super::{ConnectOptions, Target};

    fn head(options: &ConnectOptions, is_trusted: bool) -> String {
        let target = Target::parse("ws://example.com/chat").unwrap();
        let request = options.request(&target, is_trusted).unwrap();
        let handshake = ClientHandshake::new(&request, [7; 16], HandshakeLimits::default());
        String::from_utf8(handshake.request_head().to_vec()).unwrap()
    }

    #[test]
    fn a7_only_what_is_public_goes_to_another_origin() {
        let options = ConnectOptions::new(Config::default())
            .header("authorization", "4711")
            .header("Cookie2", "4711")
            .header("X-Api-Key", "4711")
            .public_header("Cookie", "4711")
            .public_header("X-Trace", "1")
            .origin("https://4711.example")
            .subprotocol("bearer.4711")
            .public_subprotocol("chat.v2");
        let trusted = head(&options, true);
        assert_eq!(trusted.matches("4711").count(), 6, "{trusted}");
        let stranger = head(&options, false);
        assert!(!stranger.contains("4711"), "{stranger}");
        assert!(!stranger.contains("\r\nOrigin:"), "{stranger}");
        for head in [trusted, stranger] {
            assert!(
                head.contains("X-Trace: 1\r\n") && head.contains("chat.v2"),
                "{head}"
            );
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let options = ConnectOptions::new(Config::default())
            .header("X-Api-Key", "4711")
            .subprotocol("bearer.4711");
        let shown = format!("{options:?}");
        assert!(
            shown.contains("X-Api-Key") && !shown.contains("4711"),
            "{shown}"
        );
    }

    #[test]
    fn a_header_that_cannot_be_sent_is_said_when_connecting() {
        let target = Target::parse("ws://example.com/").unwrap();
        let options = ConnectOptions::new(Config::default()).header("X-A", "b\r\nX-C: d");
        assert!(options.request(&target, true).is_err());
    }
}
