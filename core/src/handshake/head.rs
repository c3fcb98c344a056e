//! The head of an HTTP/1.1 message: found in a stream, then parsed once.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::mem;

use bytes::Bytes;
use bytestring::ByteString;

pub(super) use crate::extension::{is_token, is_token_byte};

use super::{HandshakeError, HandshakeLimits};

/// Which head is awaited: the two differ in their first line only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Request,
    Response,
}

/// Collects a head from a stream that is cut anywhere.
///
/// Every byte is looked at once, in the order of arrival, so that where the stream was cut
/// cannot change the outcome and a head in a thousand pieces costs what a whole one costs.
/// The rules that [`httparse`] is lenient about are enforced here.
#[derive(Clone, Debug, Hash)]
pub(super) struct HeadReader {
    kind: Kind,
    limits: HandshakeLimits,
    /// Bytes of heads before this one, which count too.
    before: usize,
    buffer: Vec<u8>,
    scanned: usize,
    header_count: usize,
    place: Place,
    #[cfg(test)]
    pub(super) examined: usize,
}

/// Where the next byte belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// In the first word of the first line, after so many bytes of it.
    Opening(usize),
    /// In the empty line before a request.
    LeadingCr,
    /// After that empty line.
    Led,
    Line,
    LineCr,
    LineStart,
    FinalCr,
    End,
}

/// A whole head, ending in the empty line, and the number of its header lines.
#[derive(Debug)]
pub(super) struct RawHead {
    pub(super) bytes: Bytes,
    header_count: usize,
}

impl HeadReader {
    /// Awaits a head after so many bytes of heads before it, which share the limit.
    pub(super) const fn new(kind: Kind, limits: HandshakeLimits, before: usize) -> Self {
        Self {
            kind,
            limits,
            before,
            buffer: Vec::new(),
            scanned: 0,
            header_count: 0,
            place: Place::Opening(0),
            #[cfg(test)]
            examined: 0,
        }
    }

    /// Takes bytes up to the end of the head, never past it, and returns how many.
    ///
    /// An error is final: what follows a broken head has no meaning.
    pub(super) fn handle_input(&mut self, input: &[u8]) -> Result<usize, HandshakeError> {
        let mut taken: usize = 0;
        for &byte in input {
            if self.place == Place::End {
                break;
            }
            let limit = self.limits.max_head_size;
            if self.before.saturating_add(self.scanned) >= limit {
                return Err(HandshakeError::HeadTooLarge { limit });
            }
            self.place = self.step(byte)?;
            self.scanned = self.scanned.saturating_add(1);
            taken = taken.saturating_add(1);
        }
        self.keep(input.get(..taken).unwrap_or_default());
        Ok(taken)
    }

    /// Hands out the head once it is whole.
    pub(super) fn take_head(&mut self) -> Option<RawHead> {
        if self.place != Place::End || self.buffer.is_empty() {
            return None;
        }
        let mut head = mem::take(&mut self.buffer);
        // It stays as long as the request or the response does.
        head.shrink_to_fit();
        Some(RawHead {
            bytes: Bytes::from(head),
            header_count: self.header_count,
        })
    }

    fn step(&mut self, byte: u8) -> Result<Place, HandshakeError> {
        #[cfg(test)]
        {
            self.examined = self.examined.saturating_add(1);
        }
        match (self.place, byte) {
            // RFC 9112 §2.2: a server ignores an empty line before the request line.
            (Place::Opening(0), b'\r') if self.kind == Kind::Request => Ok(Place::LeadingCr),
            (Place::LeadingCr, b'\n') => Ok(Place::Led),
            (Place::LeadingCr, _) => Err(HandshakeError::NotHttp),
            (Place::Led, _) => self.open(0, byte),
            (Place::Opening(count), _) => self.open(count, byte),
            (Place::Line, b'\r') => Ok(Place::LineCr),
            (Place::LineStart, b'\r') => Ok(Place::FinalCr),
            (Place::LineCr, b'\n') => Ok(Place::LineStart),
            (Place::FinalCr, b'\n') => Ok(Place::End),
            // RFC 9112 §2.2: a lone CR is invalid, and a lone LF, which a recipient may
            // take for a line end, is where two parsers come to disagree.
            (Place::LineCr | Place::FinalCr, _) => Err(HandshakeError::BareCr),
            (_, b'\n') => Err(HandshakeError::BareLf),
            // RFC 9112 §5.2: a server answers a folded line with 400.
            (Place::LineStart, b' ' | b'\t') => Err(HandshakeError::LineFolding),
            (_, byte) if !is_field_byte(byte) => Err(HandshakeError::ControlByte),
            (Place::LineStart, _) => {
                self.header_count = self.header_count.saturating_add(1);
                let limit = self.limits.max_header_count;
                if self.header_count > limit {
                    return Err(HandshakeError::TooManyHeaders { limit });
                }
                Ok(Place::Line)
            }
            (place, _) => Ok(place),
        }
    }

    /// Judges the first word, so that a TLS hello or other noise is refused at its first
    /// bytes and not when the peer's patience or the limit ends.
    fn open(&self, count: usize, byte: u8) -> Result<Place, HandshakeError> {
        let next = count.saturating_add(1);
        match self.kind {
            Kind::Response => match OPENING_OF_RESPONSE.get(count) {
                Some(&expected) if expected == byte => {
                    if next == OPENING_OF_RESPONSE.len() {
                        Ok(Place::Line)
                    } else {
                        Ok(Place::Opening(next))
                    }
                }
                _ => Err(HandshakeError::NotHttp),
            },
            Kind::Request if byte == b' ' && count > 0 => Ok(Place::Line),
            Kind::Request if is_token_byte(byte) && count < MAX_METHOD_SIZE => {
                Ok(Place::Opening(next))
            }
            Kind::Request => Err(HandshakeError::NotHttp),
        }
    }

    /// Grows by doubling but never past the limit; a head that came whole is stored exactly.
    fn keep(&mut self, part: &[u8]) {
        let needed = self.buffer.len().saturating_add(part.len());
        if needed > self.buffer.capacity() {
            let doubled = self.buffer.capacity().saturating_mul(2);
            let target = doubled.min(self.limits.max_head_size).max(needed);
            self.buffer
                .reserve_exact(target.saturating_sub(self.buffer.len()));
        }
        self.buffer.extend_from_slice(part);
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }
}

/// A parsed request head.
#[derive(Debug)]
pub(super) struct RequestHead {
    pub(super) is_get: bool,
    pub(super) target: ByteString,
    pub(super) is_http_1_1: bool,
    pub(super) is_head: bool,
    pub(super) headers: Headers,
}

impl RequestHead {
    pub(super) fn parse(head: RawHead) -> Result<Self, HandshakeError> {
        let (first, lines) = head.split_first_line()?;
        let mut request = httparse::Request::new(&mut []);
        expect_partial(request.parse(first))?;
        let target = request.path.ok_or(HandshakeError::StartLine)?;
        let version = request.version.ok_or(HandshakeError::StartLine)?;
        Ok(Self {
            is_get: request.method == Some("GET"),
            target: shared(&head.bytes, target.as_bytes()).ok_or(HandshakeError::StartLine)?,
            is_http_1_1: version == 1,
            is_head: request.method == Some("HEAD"),
            headers: Headers::index(&head, lines)?,
        })
    }
}

/// A parsed response head.
#[derive(Debug)]
pub(super) struct ResponseHead {
    pub(super) status: u16,
    pub(super) is_http_1_1: bool,
    pub(super) headers: Headers,
}

impl ResponseHead {
    pub(super) fn parse(head: RawHead) -> Result<Self, HandshakeError> {
        let (first, lines) = head.split_first_line()?;
        let mut response = httparse::Response::new(&mut []);
        expect_partial(response.parse(first))?;
        let status = response.code.ok_or(HandshakeError::StartLine)?;
        // RFC 9110 §15: the first digit is the class, and there is none below 1.
        if status < 100 {
            return Err(HandshakeError::StartLine);
        }
        Ok(Self {
            status,
            is_http_1_1: response.version == Some(1),
            headers: Headers::index(&head, lines)?,
        })
    }
}

impl RawHead {
    /// Returns the first line with its end, and where the header lines begin.
    fn split_first_line(&self) -> Result<(&[u8], usize), HandshakeError> {
        let empty = usize::from(self.bytes.starts_with(b"\r\n")).saturating_mul(2);
        let rest = self.bytes.get(empty..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == b'\n');
        let length = end.ok_or(HandshakeError::StartLine)?.saturating_add(1);
        let first = rest.get(..length).unwrap_or_default();
        Ok((first, empty.saturating_add(length)))
    }
}

/// The parser is given a first line and no headers, of which it says that they are missing.
fn expect_partial(parsed: httparse::Result<usize>) -> Result<(), HandshakeError> {
    match parsed {
        Ok(_) => Ok(()),
        Err(httparse::Error::Version) => Err(HandshakeError::HttpVersion),
        Err(_) => Err(HandshakeError::StartLine),
    }
}

/// A part of the head that shares its buffer.
pub(super) fn shared(head: &Bytes, part: &[u8]) -> Option<ByteString> {
    ByteString::try_from(head.slice_ref(part)).ok()
}

/// The headers of a head: its bytes, and where each line begins.
///
/// A line of four bytes, the shortest there is, costs four more here, so that all of it is at most
/// twice what arrived.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Headers {
    head: Bytes,
    lines: Arc<[u32]>,
}

impl Headers {
    fn index(head: &RawHead, first: usize) -> Result<Self, HandshakeError> {
        let bytes = &head.bytes;
        // Only in a head of more than 4 GiB a line has no such place.
        let limit = usize::try_from(u32::MAX).unwrap_or(usize::MAX);
        if bytes.len() > limit {
            return Err(HandshakeError::HeadTooLarge { limit });
        }
        let mut at = first;
        let lines = (0..head.header_count).map(|_| {
            let start = at;
            let line = bytes.get(at..).unwrap_or_default();
            let end = line.iter().position(|byte| *byte == b'\n');
            at = at
                .saturating_add(end.unwrap_or(line.len()))
                .saturating_add(1);
            u32::try_from(start).unwrap_or(u32::MAX)
        });
        let headers = Self {
            lines: lines.collect(),
            head: bytes.clone(),
        };
        let is_whole = headers.fields().all(|field| field.is_some());
        is_whole
            .then_some(headers)
            .ok_or(HandshakeError::HeaderLine)
    }

    /// Returns the first header of this name, whatever the case.
    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        self.get_all(name).next()
    }

    pub(super) fn get_all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.iter()
            .filter(move |(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Returns a header that may be there once at most.
    pub(super) fn get_single(&self, name: &str) -> Result<Option<&[u8]>, HandshakeError> {
        let mut values = self.get_all(name);
        let value = values.next();
        if values.next().is_some() {
            return Err(HandshakeError::RepeatedHeader);
        }
        Ok(value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        // Each line was read before.
        self.fields().flatten()
    }

    /// A part of a value, sharing the buffer.
    pub(super) fn share(&self, part: &[u8]) -> Option<ByteString> {
        shared(&self.head, part)
    }

    fn fields(&self) -> impl Iterator<Item = Option<(&str, &[u8])>> {
        let starts = self.lines.iter();
        starts.enumerate().map(|(count, start)| {
            // The last line ends before the empty one.
            let end = match self.lines.get(count.saturating_add(1)) {
                Some(next) => usize::try_from(*next).ok()?,
                None => self.head.len().checked_sub(2)?,
            };
            let line = self.head.get(usize::try_from(*start).ok()?..end)?;
            field(line)
        })
    }
}

/// RFC 9112 §5: a name, a colon that follows it at once, and a value with spaces around it.
fn field(line: &[u8]) -> Option<(&str, &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = line.split_at_checked(colon)?;
    if !is_token(name) {
        return None;
    }
    // The colon, and the line's end.
    Some((str::from_utf8(name).ok()?, value.get(1..)?.trim_ascii()))
}

/// Names only: values carry cookies and tokens that have no place in a log.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|(name, _)| name))
            .finish()
    }
}

/// RFC 9110 §5.5: what a field value is made of; bytes above 0x7F are opaque.
pub(super) const fn is_field_byte(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..=0xFF)
}

const OPENING_OF_RESPONSE: &[u8] = b"HTTP/";

/// No registered HTTP method is longer than 17 bytes (UPDATEREDIRECTREF).
const MAX_METHOD_SIZE: usize = 20;
