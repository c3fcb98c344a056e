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
    headers: Vec<(String, Vec<u8>)>,
    subprotocols: Vec<String>,
    origin: Option<String>,
    lookup_timeout: Duration,
    connect_timeout: Duration,
    proxy_timeout: Duration,
    tls_timeout: Duration,
    max_redirects: u32,
    #[cfg(feature = "tls")]
    tls: Option<Arc<rustls::ClientConfig>>,
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
    /// `Authorization`, `Cookie` and `Proxy-Authorization` are not sent on to another origin.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers
            .push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Offers a subprotocol, after those offered before (RFC 6455 §1.9).
    #[must_use]
    pub fn subprotocol(mut self, name: &str) -> Self {
        self.subprotocols.push(name.to_owned());
        self
    }

    /// Sets the `Origin` header, as browsers do; none by default (RFC 6455 §4.1).
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
    /// the caller named, and so may see credentials.
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
        for name in &self.subprotocols {
            request = request.subprotocol(name)?;
        }
        if let Some(origin) = &self.origin {
            request = request.origin(origin)?;
        }
        let headers = self.headers.iter();
        for (name, value) in headers.filter(|(name, _)| is_trusted || !is_credential(name)) {
            request = request.header(name, value)?;
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

/// Without the values of headers, which can be secrets.
impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.headers.iter().map(|(name, _)| name);
        f.debug_struct("ConnectOptions")
            .field("headers", &names.collect::<Vec<_>>())
            .field("subprotocols", &self.subprotocols)
            .field("connect_timeout", &self.connect_timeout)
            .field("max_redirects", &self.max_redirects)
            .finish_non_exhaustive()
    }
}

/// Headers that are for the server they were meant for alone.
fn is_credential(name: &str) -> bool {
    ["authorization", "cookie", "proxy-authorization"]
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
    fn credentials_stay_with_their_origin() {
        let options = ConnectOptions::new(Config::default())
            .header("authorization", "Bearer 4711")
            .header("Cookie", "a=b")
            .header("X-Trace", "1");
        let trusted = head(&options, true);
        assert!(trusted.contains("Bearer 4711") && trusted.contains("a=b"));
        let stranger = head(&options, false);
        assert!(!stranger.contains("4711") && !stranger.contains("a=b"));
        assert!(stranger.contains("X-Trace: 1"));
    }

    #[test]
    fn a_header_that_cannot_be_sent_is_said_when_connecting() {
        let target = Target::parse("ws://example.com/").unwrap();
        let options = ConnectOptions::new(Config::default()).header("X-A", "b\r\nX-C: d");
        assert!(options.request(&target, true).is_err());
    }
}
