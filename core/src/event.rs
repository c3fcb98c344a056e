//! What the application learns.

use alloc::boxed::Box;

use bytes::Bytes;
use bytestring::ByteString;

use crate::close::CloseFrame;
use crate::error::Closed;
use crate::handshake::{Request, Response};
use crate::message::Message;

/// Something the application should know, from [`Connection::poll_event`].
///
/// Forty bytes at most: what is rare is boxed.
///
/// [`Connection::poll_event`]: crate::Connection::poll_event
#[derive(Clone, Debug, Hash)]
#[non_exhaustive]
pub enum Event {
    /// Server: the client asks for a connection; answer with [`accept`](crate::Connection::accept)
    /// or [`reject`](crate::Connection::reject). Until then no more input is taken.
    Request(Box<Request>),
    /// Client: the server agreed, the connection is open.
    Open(Box<Response>),
    /// A whole text message (RFC 6455 §6.2).
    Text(ByteString),
    /// A whole binary message (RFC 6455 §6.2).
    Binary(Bytes),
    /// The next characters of a text message, never cut inside one. Only with
    /// [`Delivery::Parts`](crate::Delivery::Parts).
    TextPart(ByteString),
    /// The next bytes of a binary message. Only with
    /// [`Delivery::Parts`](crate::Delivery::Parts).
    BinaryPart(Bytes),
    /// The message whose parts came is whole; a message without a byte has one empty part. Only with
    /// [`Delivery::Parts`](crate::Delivery::Parts).
    MessageEnd,
    /// The peer sent a ping, which is answered already (RFC 6455 §5.5.2). Only with
    /// [`report_control`](crate::ConfigBuilder::report_control).
    Ping(Bytes),
    /// The peer sent a pong that is not the heartbeat's (RFC 6455 §5.5.3). Only after a
    /// [`ping`](crate::Connection::ping) of the application's own, or with
    /// [`report_control`](crate::ConfigBuilder::report_control).
    Pong(Bytes),
    /// No sign of life for the heartbeat's `suspect_after`; the peer may be gone.
    Suspect,
    /// The peer that was under suspicion spoke again.
    Recovered,
    /// Nothing was read, and no read attempt reported, for interval + 2 timeouts: input is held
    /// back, or [`handle_would_block`](crate::Connection::handle_would_block) is never called. Nobody
    /// can tell whether the peer lives. Told once until a byte or a report comes; with an
    /// `unread_timeout` the connection ends instead, with [`Cause::Unread`](crate::Cause::Unread).
    NotRead,
    /// The peer sends control frames faster than any honest use; if it goes on, the connection is
    /// failed with 1008.
    ControlFlood,
    /// The peer sent a Close frame, with [`CloseCode::NO_STATUS`](crate::CloseCode::NO_STATUS) if
    /// it carried no code (RFC 6455 §5.5.1). What was queued before is still sent, then the
    /// answer.
    Closing(Box<CloseFrame>),
    /// The connection is over. Always the last event, and always exactly one.
    Closed(Box<Closed>),
}

impl From<Message> for Event {
    fn from(message: Message) -> Self {
        match message {
            Message::Text(text) => Self::Text(text),
            Message::Binary(data) => Self::Binary(data),
        }
    }
}

/// Gives any other event back.
impl TryFrom<Event> for Message {
    type Error = Event;

    fn try_from(event: Event) -> Result<Self, Event> {
        match event {
            Event::Text(text) => Ok(Self::Text(text)),
            Event::Binary(data) => Ok(Self::Binary(data)),
            other => Err(other),
        }
    }
}

/// An event that comes of no input: small enough for two registers, so that the way of messages,
/// the hot one, needs no memory that both share.
#[derive(Debug)]
pub(crate) enum Notice {
    Suspect,
    Recovered,
    NotRead,
    ControlFlood,
    MessageEnd,
    Closing(Box<CloseFrame>),
    Closed(Box<Closed>),
}

impl From<Notice> for Event {
    #[inline]
    fn from(notice: Notice) -> Self {
        match notice {
            Notice::Suspect => Self::Suspect,
            Notice::Recovered => Self::Recovered,
            Notice::NotRead => Self::NotRead,
            Notice::ControlFlood => Self::ControlFlood,
            Notice::MessageEnd => Self::MessageEnd,
            Notice::Closing(frame) => Self::Closing(frame),
            Notice::Closed(closed) => Self::Closed(closed),
        }
    }
}

const _: () = assert!(size_of::<Option<Event>>() <= 40);
