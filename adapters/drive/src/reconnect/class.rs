//! What an end means to the backoff.

use std::time::{Duration, SystemTime};

use wspulse_core::backoff::Outcome;
use wspulse_core::handshake::{HandshakeError, Refusal};
use wspulse_core::{Cause, CloseCode, Closed, Initiator};

use super::DownReason;
use crate::error::Error;

/// Sorts an end. `None` is a mistake of the caller's own, or a server that must not be trusted:
/// fatal, whatever [`classify`](wspulse_core::backoff::BackoffConfig::classify) says.
pub(super) fn outcome(reason: &DownReason) -> Option<Outcome> {
    match reason {
        DownReason::Ended(closed) => Some(Outcome::Closed {
            code: code(closed).as_u16(),
        }),
        DownReason::Failed(error) => failure(error),
    }
}

/// The code that browsers report (RFC 6455 §7.1.5), but for one case: a Close frame that only
/// answers ours says what we said, and not what the peer wants.
fn code(closed: &Closed) -> CloseCode {
    match closed.initiator {
        Initiator::Peer => closed.code(),
        Initiator::Local => CloseCode::ABNORMAL,
    }
}

fn failure(error: &Error) -> Option<Outcome> {
    match error {
        Error::Closed(closed) => Some(match &closed.cause {
            Cause::Handshake(HandshakeError::Refused(refusal)) => Outcome::Refused {
                status: refusal.status(),
                retry_after: retry_after(refusal, SystemTime::now()),
            },
            // An answer that is none: a server that is half way up, a proxy's complaint. Wrongly
            // taken for fatal it would end a client that had only to wait.
            _ => Outcome::ConnectFailed,
        }),
        Error::Url(_)
        | Error::Request(_)
        | Error::Answer(_)
        | Error::Config(_)
        | Error::Redirect(_)
        | Error::Backoff(_) => None,
        #[cfg(feature = "tls")]
        Error::Tls(error) => (!is_lasting(error)).then_some(Outcome::ConnectFailed),
        Error::Io(_) | Error::NotOpen | Error::Send(_) | Error::Timeout(_) | Error::Proxy(_) => {
            Some(Outcome::ConnectFailed)
        }
    }
}

/// Tells whether TLS would fail in the same way again: a certificate is not trusted, on either
/// side, or the two have nothing in common. Everything else a bad moment can bring about.
#[cfg(feature = "tls")]
fn is_lasting(error: &rustls::Error) -> bool {
    use rustls::{AlertDescription as Alert, Error};
    match error {
        Error::InvalidCertificate(_)
        | Error::InvalidCertRevocationList(_)
        | Error::NoCertificatesPresented
        | Error::UnsupportedNameType
        | Error::PeerIncompatible(_)
        | Error::NoApplicationProtocol
        | Error::InconsistentKeys(_)
        | Error::BadMaxFragmentSize => true,
        Error::AlertReceived(alert) => matches!(
            alert,
            Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::CertificateRequired
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::ProtocolVersion
                | Alert::InsufficientSecurity
                | Alert::NoApplicationProtocol
        ),
        _ => false,
    }
}

/// Reads how long a server asks to be left alone: `Retry-After` (RFC 9110 §10.2.3), in seconds or
/// as a date. `None` if there is no such header, or it is neither.
///
/// A date is taken against the answer's own `Date`, so that a client whose clock is wrong waits
/// as long as was meant, and against `wall`, the present time, if there is none.
#[must_use]
pub fn retry_after(refusal: &Refusal, wall: SystemTime) -> Option<Duration> {
    let value = refusal.header("retry-after")?.trim_ascii();
    if !value.is_empty() && value.iter().all(u8::is_ascii_digit) {
        // Nothing but digits fails only by being too many.
        let seconds = str::from_utf8(value).ok()?.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds));
    }
    let at = date(value)?;
    let sent_at = refusal.header("date").and_then(date).unwrap_or(wall);
    Some(at.duration_since(sent_at).unwrap_or_default())
}

fn date(value: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(str::from_utf8(value).ok()?).ok()
}
