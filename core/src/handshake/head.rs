//! The head of an HTTP/1.1 message: found in a stream, then parsed once.

use alloc::vec;
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
    pub(super) const fn new(kind: Kind, limits: HandshakeLimits) -> Self {
        Self {
            kind,
            limits,
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
            if self.scanned >= self.limits.max_head_size {
                return Err(HandshakeError::HeadTooLarge);
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
        Some(RawHead {
            bytes: Bytes::from(mem::take(&mut self.buffer)),
            header_count: self.header_count,
        })
    }

    fn step(&mut self, byte: u8) -> Result<Place, HandshakeError> {
        #[cfg(test)]
        {
            self.examined = self.examined.saturating_add(1);
        }
        match (self.place, byte) {
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
                if self.header_count > self.limits.max_header_count {
                    return Err(HandshakeError::TooManyHeaders);
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
        let mut fields = vec![httparse::EMPTY_HEADER; head.header_count];
        let mut request = httparse::Request::new(&mut fields);
        expect_whole(&head, request.parse(&head.bytes))?;
        Ok(Self {
            is_get: request.method == Some("GET"),
            target: ByteString::from(request.path.unwrap_or_default()),
            is_http_1_1: request.version == Some(1),
            is_head: request.method == Some("HEAD"),
            headers: Headers::index(&head.bytes, request.headers)?,
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
        let mut fields = vec![httparse::EMPTY_HEADER; head.header_count];
        let mut response = httparse::Response::new(&mut fields);
        expect_whole(&head, response.parse(&head.bytes))?;
        let status = response.code.unwrap_or_default();
        // RFC 9110 §15: the first digit is the class, and there is none below 1.
        if status < 100 {
            return Err(HandshakeError::StartLine);
        }
        Ok(Self {
            status,
            is_http_1_1: response.version == Some(1),
            headers: Headers::index(&head.bytes, response.headers)?,
        })
    }
}

fn expect_whole(head: &RawHead, parsed: httparse::Result<usize>) -> Result<(), HandshakeError> {
    match parsed {
        Ok(httparse::Status::Complete(size)) if size == head.bytes.len() => Ok(()),
        Ok(_) => Err(HandshakeError::HeaderLine),
        Err(error) => Err(match error {
            httparse::Error::Token | httparse::Error::Status => HandshakeError::StartLine,
            httparse::Error::Version => HandshakeError::HttpVersion,
            httparse::Error::TooManyHeaders => HandshakeError::TooManyHeaders,
            httparse::Error::HeaderName
            | httparse::Error::HeaderValue
            | httparse::Error::NewLine => HandshakeError::HeaderLine,
        }),
    }
}

/// The headers of a head: one shared buffer, and where in it each name and value lies.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Headers {
    head: Bytes,
    fields: Vec<Field>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Field {
    name: Span,
    value: Span,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Span {
    start: u32,
    end: u32,
}

impl Headers {
    fn index(head: &Bytes, parsed: &[httparse::Header<'_>]) -> Result<Self, HandshakeError> {
        let field = |header: &httparse::Header<'_>| {
            Some(Field {
                name: Span::of(header.name.as_bytes(), head)?,
                value: Span::of(header.value, head)?,
            })
        };
        let fields: Option<Vec<Field>> = parsed.iter().map(field).collect();
        Ok(Self {
            head: head.clone(),
            // Only a head of more than 4 GiB has no span.
            fields: fields.ok_or(HandshakeError::HeadTooLarge)?,
        })
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
        self.fields.iter().map(|field| {
            // A name is a token and so ASCII: the default is never taken.
            let name = str::from_utf8(field.name.get(&self.head)).unwrap_or_default();
            (name, field.value.get(&self.head))
        })
    }
}

/// Names only: values carry cookies and tokens that have no place in a log.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|(name, _)| name))
            .finish()
    }
}

impl Span {
    fn of(part: &[u8], whole: &[u8]) -> Option<Self> {
        let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
        let end = start.checked_add(part.len())?;
        Some(Self {
            start: u32::try_from(start).ok()?,
            end: u32::try_from(end).ok()?,
        })
    }

    fn get(self, whole: &[u8]) -> &[u8] {
        let bounds = usize::try_from(self.start)
            .ok()
            .zip(usize::try_from(self.end).ok());
        bounds
            .and_then(|(start, end)| whole.get(start..end))
            .unwrap_or_default()
    }
}

/// RFC 9110 §5.5: what a field value is made of; bytes above 0x7F are opaque.
pub(super) const fn is_field_byte(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..=0xFF)
}

const OPENING_OF_RESPONSE: &[u8] = b"HTTP/";

/// No registered HTTP method is longer than 17 bytes (UPDATEREDIRECTREF).
const MAX_METHOD_SIZE: usize = 20;
