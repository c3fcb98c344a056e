//! What a proxy said, word for word.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::{error, fmt};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Why a proxy did not let us through, in its own words: what is inside
/// [`Error::Proxy`](crate::Error::Proxy) if the proxy answered at all.
///
/// ```
/// use wspulse_tokio::{Error, ProxyRefusal};
///
/// fn is_worth_another_try(error: &Error) -> bool {
///     match error {
///         Error::Proxy(error) => match error.downcast_ref() {
///             Some(ProxyRefusal::Status(status)) => *status >= 500,
///             Some(ProxyRefusal::Reply(reply)) => matches!(reply, 1 | 3..=6),
///             _ => false,
///         },
///         _ => true,
///     }
/// }
/// # assert!(is_worth_another_try(&Error::Proxy(Box::new(ProxyRefusal::Status(502)))));
/// # assert!(!is_worth_another_try(&Error::Proxy(Box::new(ProxyRefusal::Status(407)))));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyRefusal {
    /// The status that an HTTP proxy answered: 407 if it wants other credentials, or any at all.
    Status(u16),
    /// The reply code that a SOCKS proxy answered (RFC 1928 §6).
    Reply(u8),
    /// A SOCKS proxy wants other credentials, or any at all, or none.
    Credentials,
}

impl ProxyRefusal {
    /// Reads the beginning of an answer to CONNECT.
    pub(crate) fn from_http(heard: &[u8]) -> Option<Self> {
        let status = heard.strip_prefix(b"HTTP/1.")?.get(2..5)?;
        let status = str::from_utf8(status).ok()?.parse().ok()?;
        (status != 200).then_some(Self::Status(status))
    }

    /// Reads the answers of a SOCKS proxy: the method it chose (RFC 1928 §3), with a password
    /// whether it is right (RFC 1929 §2), and whether it has connected.
    pub(crate) fn from_socks(heard: &[u8]) -> Option<Self> {
        let reply = match heard {
            [5, 0xFF, ..] => return Some(Self::Credentials),
            [5, 2, 1, 0, rest @ ..] => rest,
            [5, 2, 1, _, ..] => return Some(Self::Credentials),
            [5, 0, rest @ ..] => rest,
            _ => return None,
        };
        match *reply {
            [5, code, ..] if code != 0 => Some(Self::Reply(code)),
            _ => None,
        }
    }
}

impl fmt::Display for ProxyRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(407) => f.write_str("status 407, it wants other credentials"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Credentials => f.write_str("it wants other credentials"),
            Self::Reply(code) => {
                let reason = match code {
                    1 => "general failure",
                    2 => "not allowed",
                    3 => "network unreachable",
                    4 => "host unreachable",
                    5 => "connection refused",
                    6 => "time to live expired",
                    7 => "command not supported",
                    8 => "address type not supported",
                    _ => "unassigned",
                };
                write!(f, "reply {code}, {reason}")
            }
        }
    }
}

impl error::Error for ProxyRefusal {}

/// A stream of which the first bytes that come are kept: those who speak to proxies for us tell
/// that they were refused, and not how.
pub(crate) struct Overheard<S> {
    pub(crate) stream: S,
    heard: Heard,
}

/// The first bytes that came; outlives the stream.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<u8>>>);

impl<S> Overheard<S> {
    pub(crate) fn new(stream: S, heard: Heard) -> Self {
        Self { stream, heard }
    }
}

impl Heard {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.clone()
    }

    fn hear(&self, bytes: &[u8]) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_HEARD.saturating_sub(heard.len());
        heard.extend(bytes.iter().take(room));
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Overheard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.heard
            .hear(buffer.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Overheard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// As far as a status goes, or SOCKS' three answers.
const MAX_HEARD: usize = 16;

#[cfg(test)]
mod tests {
    use super::ProxyRefusal;

    #[test]
    fn an_answer_is_a_refusal_only_if_it_is_one() {
        let http: [(&[u8], Option<ProxyRefusal>); 6] = [
            (b"HTTP/1.1 200 OK", None),
            (b"HTTP/1.0 403 No", Some(ProxyRefusal::Status(403))),
            (b"HTTP/1.1 407", Some(ProxyRefusal::Status(407))),
            (b"HTTP/1.1 40", None),
            (b"SSH-2.0-OpenSSH", None),
            (b"", None),
        ];
        for (heard, refusal) in http {
            assert_eq!(ProxyRefusal::from_http(heard), refusal, "{heard:?}");
        }
        let socks: [(&[u8], Option<ProxyRefusal>); 9] = [
            (&[], None),
            (&[5], None),
            (&[5, 0xFF], Some(ProxyRefusal::Credentials)),
            (&[5, 2, 1, 1], Some(ProxyRefusal::Credentials)),
            (&[5, 2, 1, 0, 5, 0, 0, 1], None),
            (&[5, 2, 1, 0, 5, 2, 0, 1], Some(ProxyRefusal::Reply(2))),
            (&[5, 0, 5, 5, 0, 1], Some(ProxyRefusal::Reply(5))),
            (&[5, 0, 5, 0, 0, 1], None),
            (&[4, 0, 4, 5], None),
        ];
        for (heard, refusal) in socks {
            assert_eq!(ProxyRefusal::from_socks(heard), refusal, "{heard:?}");
        }
    }
}
