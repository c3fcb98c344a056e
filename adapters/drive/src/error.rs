//! Why an operation on a connection failed.

use std::{error, fmt, io};

use wspulse_core::backoff::BackoffConfigError;
use wspulse_core::handshake::{AnswerError, RequestError};
use wspulse_core::{Cause, Closed, ConfigError, SendError};

use crate::url::{RedirectError, UrlError};

/// Why an operation on a `WebSocket` failed; the same type in every adapter.
///
/// What the peer did, or failed to do, is always [`Closed`](Self::Closed), with the typed cause.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The transport failed, or the operating system had no entropy to give.
    Io(io::Error),
    /// TLS failed: the certificate is not one to trust, or the peers have nothing in common.
    #[cfg(feature = "tls")]
    Tls(rustls::Error),
    /// The connection is over, otherwise than by a closing handshake; for a call that sends, also by
    /// the peer's.
    Closed(Box<Closed>),
    /// This side ended the connection before the operation was done, or its task is gone.
    NotOpen,
    /// Something was not queued; [`SendError::into_message`] gives a message back.
    Send(SendError),
    /// The URL is not one to connect to.
    Url(UrlError),
    /// The request cannot be sent as it is.
    Request(RequestError),
    /// The answer to a request is not a possible one; the client was told 500.
    Answer(AnswerError),
    /// The configuration cannot work.
    Config(ConfigError),
    /// The delays between two attempts to connect cannot work.
    Backoff(BackoffConfigError),
    /// A step on the way to the connection took longer than it may.
    Timeout(Stage),
    /// The server sent us elsewhere, and there we do not go.
    Redirect(RedirectError),
    /// The proxy did not let us through.
    Proxy(Box<dyn error::Error + Send + Sync>),
}

/// The steps on the way to a connection, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Looking the host's name up.
    Lookup,
    /// Connecting by TCP.
    Connect,
    /// Asking a proxy to connect.
    Proxy,
    /// The TLS handshake.
    Tls,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lookup => "name lookup",
            Self::Connect => "connecting",
            Self::Proxy => "the proxy's answer",
            Self::Tls => "the tls handshake",
        })
    }
}

impl Error {
    /// Sorts an I/O error by what it is inside: a failure of TLS comes out as such.
    #[must_use]
    pub fn from_io(error: io::Error) -> Self {
        #[cfg(feature = "tls")]
        if let Some(tls) = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            return Self::Tls(tls.clone());
        }
        Self::Io(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            #[cfg(feature = "tls")]
            Self::Tls(error) => write!(f, "tls: {error}"),
            Self::Closed(closed) => closed.fmt(f),
            Self::NotOpen => f.write_str("the connection is over"),
            Self::Send(error) => error.fmt(f),
            Self::Url(error) => error.fmt(f),
            Self::Request(error) => error.fmt(f),
            Self::Answer(error) => error.fmt(f),
            Self::Config(error) => error.fmt(f),
            Self::Backoff(error) => error.fmt(f),
            Self::Timeout(stage) => write!(f, "{stage} timed out"),
            Self::Redirect(error) => error.fmt(f),
            Self::Proxy(error) => write!(f, "proxy: {error}"),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Io(error) => error.source(),
            Self::Closed(closed) => match &closed.cause {
                Cause::Protocol(error) => Some(error),
                Cause::Limit(limit) => Some(limit),
                Cause::Handshake(error) => Some(error),
                _ => None,
            },
            Self::Proxy(error) => error.source(),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::from_io(error)
    }
}

#[cfg(feature = "tls")]
impl From<rustls::Error> for Error {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error)
    }
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        Self::Send(error)
    }
}

impl From<UrlError> for Error {
    fn from(error: UrlError) -> Self {
        Self::Url(error)
    }
}

impl From<RequestError> for Error {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

impl From<AnswerError> for Error {
    fn from(error: AnswerError) -> Self {
        Self::Answer(error)
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<BackoffConfigError> for Error {
    fn from(error: BackoffConfigError) -> Self {
        Self::Backoff(error)
    }
}

impl From<RedirectError> for Error {
    fn from(error: RedirectError) -> Self {
        Self::Redirect(error)
    }
}

/// For code that speaks `io::Error`: an I/O error comes out as it was, everything else inside one
/// of the nearest kind.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Io(_) | Error::Proxy(_) => io::ErrorKind::Other,
            #[cfg(feature = "tls")]
            Error::Tls(_) => io::ErrorKind::InvalidData,
            Error::Closed(closed) => kind_of(&closed.cause),
            Error::NotOpen | Error::Send(SendError::NotOpen(_) | SendError::PingNotOpen) => {
                io::ErrorKind::NotConnected
            }
            Error::Send(SendError::Full(_) | SendError::PingNotQueued) => io::ErrorKind::WouldBlock,
            Error::Send(_)
            | Error::Url(_)
            | Error::Request(_)
            | Error::Answer(_)
            | Error::Config(_)
            | Error::Backoff(_) => io::ErrorKind::InvalidInput,
            Error::Redirect(_) => io::ErrorKind::InvalidData,
            Error::Timeout(_) => io::ErrorKind::TimedOut,
        };
        match error {
            Error::Io(error) => error,
            error => Self::new(kind, error),
        }
    }
}

fn kind_of(cause: &Cause) -> io::ErrorKind {
    match cause {
        Cause::Protocol(_) | Cause::Limit(_) | Cause::Handshake(_) => io::ErrorKind::InvalidData,
        Cause::Rejected { .. } => io::ErrorKind::PermissionDenied,
        Cause::Dead(_)
        | Cause::HandshakeTimeout
        | Cause::CloseTimeout
        | Cause::IdleTimeout
        | Cause::MaxAge => io::ErrorKind::TimedOut,
        Cause::Eof => io::ErrorKind::UnexpectedEof,
        Cause::Aborted => io::ErrorKind::ConnectionAborted,
        _ => io::ErrorKind::Other,
    }
}
