//! Why an operation on a connection failed.

use std::{error, fmt, io};

use wspulse_core::handshake::RequestError;
use wspulse_core::{Cause, Closed, Misuse, SendError};

/// Why an operation on a [`WebSocket`](crate::WebSocket) failed.
///
/// What the peer did, or failed to do, is always [`Closed`](Self::Closed), with the typed cause.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The transport failed, or the operating system had no entropy to give.
    Io(io::Error),
    /// The connection is over, otherwise than by a closing handshake.
    Closed(Box<Closed>),
    /// The connection was over before the operation was done;
    /// [`next`](crate::WebSocket::next) tells how it ended.
    NotOpen,
    /// Something was not queued; [`SendError::into_message`] gives a message back.
    Send(SendError),
    /// The URL is not one to connect to.
    Url(UrlError),
    /// The request cannot be sent as it is.
    Request(RequestError),
    /// The answer to a request is not a possible one; the client was told 500.
    Answer(Misuse),
    /// No TCP connection came about within the configuration's `handshake_timeout`.
    ConnectTimeout,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Closed(closed) => closed.fmt(f),
            Self::NotOpen => f.write_str("the connection is over"),
            Self::Send(error) => error.fmt(f),
            Self::Url(error) => error.fmt(f),
            Self::Request(error) => error.fmt(f),
            Self::Answer(misuse) => misuse.fmt(f),
            Self::ConnectTimeout => f.write_str("connecting timed out"),
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
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
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

/// For code that speaks `io::Error`: an I/O error comes out as it was, everything else inside one
/// of the nearest kind.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Io(_) => io::ErrorKind::Other,
            Error::Closed(closed) => kind_of(&closed.cause),
            Error::NotOpen | Error::Send(SendError::NotOpen(_)) => io::ErrorKind::NotConnected,
            Error::Send(SendError::Full(_)) => io::ErrorKind::WouldBlock,
            Error::Send(_) | Error::Url(_) | Error::Request(_) | Error::Answer(_) => {
                io::ErrorKind::InvalidInput
            }
            Error::ConnectTimeout => io::ErrorKind::TimedOut,
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

/// Why a URL is not one to connect to (RFC 6455 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlError {
    /// It is not an absolute URL.
    Malformed,
    /// Its scheme is not `ws`.
    Scheme,
    /// Its scheme is `wss`: open a TLS stream and pass it to [`client`](crate::client).
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
            Self::Scheme => "the url's scheme is not ws",
            Self::Tls => "wss needs a tls stream of the caller's",
            Self::Host => "the url names no host",
            Self::Credentials => "the url carries credentials, which belong in a header",
            Self::Fragment => "the url has a fragment",
        })
    }
}

impl error::Error for UrlError {}
