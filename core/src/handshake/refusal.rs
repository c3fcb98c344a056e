//! An answer that is not 101: its status, its headers and the beginning of its body.

use alloc::vec::Vec;
use core::fmt;

use super::head::Headers;

/// The server's answer when it does not switch to WebSocket (RFC 6455 §4.1).
///
/// It is what a client decides with: to wait (`Retry-After`), to go elsewhere (`Location`),
/// to log in (`WWW-Authenticate`) or to give up. Nothing is followed on its own.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Refusal {
    status: u16,
    headers: Headers,
    body_excerpt: Vec<u8>,
}

impl Refusal {
    /// Returns the status code, 200 to 999; above 599 it has no meaning.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Returns the first header of this name, whatever the case, as opaque bytes.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.get(name)
    }

    /// Goes through the headers in the order they came.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter()
    }

    /// Returns the beginning of the body, at most 4 KiB, without any transfer coding.
    #[must_use]
    pub fn body_excerpt(&self) -> &[u8] {
        &self.body_excerpt
    }
}

/// Writes the status, and at most 1,024 bytes of the body, escaped: safe in a log.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}", self.status)?;
        if self.body_excerpt.is_empty() {
            return Ok(());
        }
        f.write_str(": ")?;
        let mut room = MAX_DISPLAYED_SIZE;
        for &byte in &self.body_excerpt {
            let escaped = byte.escape_ascii();
            match room.checked_sub(escaped.len()) {
                Some(left) => room = left,
                None => break,
            }
            write!(f, "{escaped}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("body_size", &self.body_excerpt.len())
            .finish()
    }
}

/// Collects a [`Refusal`] whose head has come and whose body is on its way.
///
/// The body is a courtesy to whoever reads the log. Whatever is wrong with it ends the
/// collecting, and never costs the status.
#[derive(Clone, Debug, Hash)]
pub(super) struct RefusalReader {
    refusal: Refusal,
    framing: Framing,
    room_on_wire: usize,
}

/// How the end of the body is known (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Framing {
    Length(u64),
    Chunked(Chunk),
    UntilClose,
    Complete,
}

/// Where in a chunk the next byte belongs (RFC 9112 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Chunk {
    Size(Option<u64>),
    Extension(u64),
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
}

impl RefusalReader {
    pub(super) fn new(status: u16, headers: Headers) -> Self {
        Self {
            framing: Framing::of(status, &headers),
            refusal: Refusal {
                status,
                headers,
                body_excerpt: Vec::new(),
            },
            room_on_wire: MAX_BODY_ON_WIRE,
        }
    }

    pub(super) fn handle_input(&mut self, input: &[u8]) {
        for &byte in input {
            if self.is_complete() {
                return;
            }
            self.room_on_wire = self.room_on_wire.saturating_sub(1);
            self.framing = self.step(byte);
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        matches!(self.framing, Framing::Complete | Framing::Length(0))
            || self.refusal.body_excerpt.len() >= MAX_BODY_EXCERPT
            || self.room_on_wire == 0
    }

    pub(super) fn into_refusal(self) -> Refusal {
        self.refusal
    }

    fn step(&mut self, byte: u8) -> Framing {
        match self.framing {
            Framing::Length(left) => {
                self.refusal.body_excerpt.push(byte);
                Framing::Length(left.saturating_sub(1))
            }
            Framing::UntilClose => {
                self.refusal.body_excerpt.push(byte);
                Framing::UntilClose
            }
            Framing::Chunked(chunk) => {
                if matches!(chunk, Chunk::Data(_)) {
                    self.refusal.body_excerpt.push(byte);
                }
                chunk.step(byte).map_or(Framing::Complete, Framing::Chunked)
            }
            Framing::Complete => Framing::Complete,
        }
    }
}

impl Framing {
    fn of(status: u16, headers: &Headers) -> Self {
        if matches!(status, 204 | 304) {
            return Self::Complete;
        }
        // RFC 9112 §6.3: Transfer-Encoding overrides Content-Length.
        if let Some(coding) = headers.get_all("transfer-encoding").last() {
            let last = coding
                .rsplit(|byte| *byte == b',')
                .next()
                .unwrap_or_default();
            return if last.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                Self::Chunked(Chunk::Size(None))
            } else {
                Self::UntilClose
            };
        }
        // RFC 9110 §8.6: a length that is said again is the same length.
        let mut lengths = headers.get_all("content-length");
        let Some(first) = lengths.next() else {
            return Self::UntilClose;
        };
        if lengths.any(|other| other != first) {
            return Self::UntilClose;
        }
        parse_length(first).map_or(Self::UntilClose, Self::Length)
    }
}

impl Chunk {
    /// Returns what follows, or nothing behind the last chunk and where the coding is broken.
    fn step(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Size(size), digit) if digit.is_ascii_hexdigit() => {
                let digit = char::from(digit).to_digit(16)?;
                let size = size.unwrap_or(0).checked_mul(16)?;
                Some(Self::Size(Some(size.checked_add(u64::from(digit))?)))
            }
            (Self::Size(Some(size)), b';' | b' ' | b'\t') => Some(Self::Extension(size)),
            (Self::Size(Some(size)) | Self::Extension(size), b'\r') => Some(Self::SizeLf(size)),
            (Self::Extension(size), _) => Some(Self::Extension(size)),
            (Self::SizeLf(size), b'\n') if size > 0 => Some(Self::Data(size)),
            (Self::Data(left), _) => match left.saturating_sub(1) {
                0 => Some(Self::DataCr),
                left => Some(Self::Data(left)),
            },
            (Self::DataCr, b'\r') => Some(Self::DataLf),
            (Self::DataLf, b'\n') => Some(Self::Size(None)),
            _ => None,
        }
    }
}

/// Reads a length, which a proxy may have joined with the same one: `5, 5`.
fn parse_length(value: &[u8]) -> Option<u64> {
    let mut parts = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let value = parts.next()?;
    if parts.any(|other| other != value) {
        return None;
    }
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(value).ok()?.parse().ok()
}

/// A whole error of an API as JSON, such as a `Status` of Kubernetes.
const MAX_BODY_EXCERPT: usize = 4_096;

/// What may be read for that excerpt: a chunked body can be nearly all framing.
const MAX_BODY_ON_WIRE: usize = 16_384;

/// What a line of a log has room for.
const MAX_DISPLAYED_SIZE: usize = 1_024;
