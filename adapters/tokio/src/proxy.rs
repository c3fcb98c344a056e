//! A proxy on the way: HTTP CONNECT or SOCKS5.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::{error, fmt};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::net::TcpStream;
use tower_service::Service;
use url::Url;
use wspulse_drive::{ConnectOptions, Stage, Target, UrlError};

use crate::Error;
use crate::overheard::{Heard, Overheard, ProxyRefusal};
use crate::tcp::{self, in_time};

/// A proxy to [connect through](crate::connect_through).
///
/// ```
/// use wspulse_tokio::Proxy;
///
/// let proxy = Proxy::parse("http://user:secret@proxy.example:3128")?;
/// assert!(!format!("{proxy:?}").contains("secret"));
/// # Ok::<(), wspulse_tokio::ProxyUrlError>(())
/// ```
#[derive(Clone)]
pub struct Proxy {
    kind: Kind,
    host: String,
    port: u16,
    credentials: Option<Credentials>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// RFC 9110 §9.3.6.
    Http,
    /// RFC 1928, and RFC 1929 with credentials.
    Socks5,
}

#[derive(Clone)]
struct Credentials {
    user: String,
    password: String,
}

impl Proxy {
    /// Reads a proxy's URL: `http://host:port`, which is asked to CONNECT, or
    /// `socks5://host:port`; the port is 80 or 1080 if none is given. `socks5h` means the same as
    /// `socks5`: it is always the proxy that looks the server's name up.
    ///
    /// A user name and a password, percent-encoded where they have to be, are sent as Basic
    /// authentication (RFC 7617) or as SOCKS does (RFC 1929): neither is encrypted.
    ///
    /// # Errors
    ///
    /// [`ProxyUrlError`] says what is wrong with it.
    pub fn parse(url: &str) -> Result<Self, ProxyUrlError> {
        let url = Url::parse(url).map_err(|_| ProxyUrlError::Malformed)?;
        let (kind, default_port) = match url.scheme() {
            "http" => (Kind::Http, 80),
            "socks5" | "socks5h" => (Kind::Socks5, 1080),
            _ => return Err(ProxyUrlError::Scheme),
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(ProxyUrlError::Path);
        }
        let host = match url.host() {
            Some(url::Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => String::new(),
        };
        if host.is_empty() {
            return Err(ProxyUrlError::Host);
        }
        Ok(Self {
            kind,
            host,
            port: url.port().unwrap_or(default_port),
            credentials: Credentials::parse(kind, &url)?,
        })
    }

    /// Connects to the proxy, and has it connect to `target`.
    pub(crate) async fn connect(
        &self,
        target: &Target,
        options: &ConnectOptions,
    ) -> Result<TcpStream, Error> {
        let destination = destination(target)?;
        let stream = tcp::connect(&self.host, self.port, options).await?;
        let tunnel = self.tunnel(stream, destination);
        in_time(Stage::Proxy, options, tunnel).await
    }

    async fn tunnel(&self, stream: TcpStream, destination: Uri) -> Result<TcpStream, Error> {
        // Only told to a connector, and ours is connected already.
        let proxy = Uri::default();
        let heard = Heard::default();
        let connected = Connected(Some(Overheard::new(stream, heard.clone())));
        let tunnel = match self.kind {
            Kind::Http => {
                let mut tunnel = Tunnel::new(proxy, connected);
                if let Some(credentials) = &self.credentials {
                    tunnel = tunnel.with_auth(credentials.basic());
                }
                let tunnel = tunnel.call(destination).await;
                tunnel.map_err(|error| refused(ProxyRefusal::from_http(&heard.bytes()), error))
            }
            Kind::Socks5 => {
                let mut tunnel = SocksV5::new(proxy, connected);
                if let Some(Credentials { user, password }) = &self.credentials {
                    tunnel = tunnel.with_auth(user.clone(), password.clone());
                }
                let tunnel = tunnel.call(destination).await;
                tunnel.map_err(|error| refused(ProxyRefusal::from_socks(&heard.bytes()), error))
            }
        };
        Ok(tunnel?.into_inner().stream)
    }
}

/// Without the credentials.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("kind", &self.kind)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("has_credentials", &self.credentials.is_some())
            .finish()
    }
}

impl Credentials {
    fn parse(kind: Kind, url: &Url) -> Result<Option<Self>, ProxyUrlError> {
        let decode = |text: &str| {
            let text = percent_decode_str(text).decode_utf8();
            let text = text.map_err(|_| ProxyUrlError::Credentials)?;
            Ok(text.into_owned())
        };
        let user = decode(url.username())?;
        let password = decode(url.password().unwrap_or_default())?;
        if user.is_empty() && password.is_empty() {
            return Ok(None);
        }
        let can_be_sent = match kind {
            // RFC 7617 §2: the first colon ends the user name.
            Kind::Http => !user.contains(':'),
            // RFC 1929 §2: a byte says how long each is.
            Kind::Socks5 => !user.is_empty() && user.len().max(password.len()) <= 255,
        };
        let credentials = Self { user, password };
        can_be_sent
            .then_some(Some(credentials))
            .ok_or(ProxyUrlError::Credentials)
    }

    fn basic(&self) -> HeaderValue {
        let encoded = STANDARD.encode(format!("{}:{}", self.user, self.password));
        HeaderValue::try_from(format!("Basic {encoded}")).expect("base64 can be sent in a header")
    }
}

/// Returns the authority of `target`, always with its port.
fn destination(target: &Target) -> Result<Uri, UrlError> {
    let (host, port) = (target.host(), target.port());
    let authority = match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    Uri::try_from(authority).map_err(|_| UrlError::Host)
}

/// What the proxy said is the better reason, if it said something.
fn refused(
    refusal: Option<ProxyRefusal>,
    error: impl error::Error + Send + Sync + 'static,
) -> Error {
    match refusal {
        Some(refusal) => Error::Proxy(Box::new(refusal)),
        None => Error::Proxy(Box::new(error)),
    }
}

/// A connector that has connected.
struct Connected(Option<Overheard<TcpStream>>);

impl Service<Uri> for Connected {
    type Response = TokioIo<Overheard<TcpStream>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let stream = self.0.take().expect("called once");
        ready(Ok(TokioIo::new(stream)))
    }
}

/// Why a URL is not one of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyUrlError {
    /// It is not an absolute URL.
    Malformed,
    /// Its scheme is neither `http` nor `socks5`.
    Scheme,
    /// It names no host.
    Host,
    /// It has a path, a query or a fragment, which have no meaning here.
    Path,
    /// The user name or the password cannot be sent: it is not UTF-8, too long for SOCKS (255
    /// bytes), or has a colon in the wrong place for HTTP.
    Credentials,
}

impl fmt::Display for ProxyUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the proxy's url is not an absolute one",
            Self::Scheme => "the proxy's scheme is neither http nor socks5",
            Self::Host => "the proxy's url names no host",
            Self::Path => "the proxy's url has more than a host and a port",
            Self::Credentials => "the proxy's user name or password cannot be sent",
        })
    }
}

impl error::Error for ProxyUrlError {}

impl From<ProxyUrlError> for Error {
    fn from(error: ProxyUrlError) -> Self {
        Self::Proxy(Box::new(error))
    }
}
