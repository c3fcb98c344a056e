//! What a program is told by an event loop.

use std::{fmt, io};

use wspulse_core::handshake::{Accept, Reject, Request, Response};
use wspulse_core::{Closed, Event, Message, SendError};
use wspulse_drive::Error;

use super::Connections;

/// One connection of an [`EventLoop`](crate::EventLoop). Never given out again: one that is over
/// stays over, whoever has its place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectionId({self})")
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// One listener of an [`EventLoop`](crate::EventLoop).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(pub(crate) usize);

/// What a program does with its connections; one for all of an [`EventLoop`](crate::EventLoop).
///
/// Each method gets the [`Connections`], to send to this one or any other. While a method runs,
/// all connections wait: work that takes long belongs in another thread, which answers through a
/// [`Handle`](crate::Handle).
///
/// Messages are handed over as they come. What cannot be taken now is not taken by
/// [`pause`](Connections::pause): the peer is held back, and nobody else.
pub trait Handler {
    /// Server: a client asks for a connection. Agrees by default, whoever asks for whatever; a
    /// server that browsers can reach and that trusts cookies must look at the origin.
    ///
    /// # Errors
    ///
    /// A refusal, which the client is told.
    fn request(
        &mut self,
        connections: &mut Connections,
        id: ConnectionId,
        request: &Request,
    ) -> Result<Accept, Reject> {
        let _ = (connections, id, request);
        Ok(Accept::new())
    }

    /// A connection is open. A client has the server's answer.
    fn open(
        &mut self,
        connections: &mut Connections,
        id: ConnectionId,
        response: Option<&Response>,
    ) {
        let _ = (connections, id, response);
    }

    /// A message came.
    fn message(&mut self, connections: &mut Connections, id: ConnectionId, message: Message);

    /// Something else happened that is not said by the other methods: parts of messages, pongs,
    /// suspicion, recovery, the peer's Close frame.
    fn event(&mut self, connections: &mut Connections, id: ConnectionId, event: Event) {
        let _ = (connections, id, event);
    }

    /// There is room again after a [`SendError::Full`]: half of what may be queued has left.
    fn writable(&mut self, connections: &mut Connections, id: ConnectionId) {
        let _ = (connections, id);
    }

    /// A message that another thread sent through a [`Handle`](crate::Handle) was not queued:
    /// the connection's queue is full, or it is not open, as none is when the loop ends. The error
    /// gives it back.
    fn unsent(&mut self, connections: &mut Connections, id: ConnectionId, error: SendError) {
        let _ = (connections, id, error);
    }

    /// A connection is over, opened or not; told once for each. Its place and its descriptor are
    /// free again.
    ///
    /// `end` is `Ok` after the closing handshake, whatever its code. Else [`Error::Closed`] with
    /// the typed cause, [`Error::Io`] or [`Error::Tls`](Error) if the stream failed, and for one
    /// from [`connect`](Connections::connect) also [`Error::Timeout`] and [`Error::Redirect`].
    fn closed(
        &mut self,
        connections: &mut Connections,
        id: ConnectionId,
        end: Result<Box<Closed>, Error>,
    ) {
        let _ = (connections, id, end);
    }

    /// A listener could not take a connection, such as for want of descriptors. It tries again
    /// after 100 ms.
    fn accept_failed(
        &mut self,
        connections: &mut Connections,
        listener: ListenerId,
        error: io::Error,
    ) {
        let _ = (connections, listener, error);
    }

    /// The time came that [`set_timeout`](Connections::set_timeout) asked for.
    fn timeout(&mut self, connections: &mut Connections) {
        let _ = connections;
    }

    /// A [`drain`](Connections::drain) is done; the loop ends. Nothing comes behind this.
    fn drained(&mut self, report: DrainReport) {
        let _ = report;
    }
}

/// How a [`drain`](Connections::drain) went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// How many connections there were.
    pub asked: usize,
    /// Those that were not over in time, and were cut. Not one whose Close frames had gone both
    /// ways, and that waited for nothing but the end of its stream: its
    /// [`closed`](Handler::closed) said `Ok`.
    pub cut: Vec<ConnectionId>,
}
