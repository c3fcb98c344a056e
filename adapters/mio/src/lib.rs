//! WebSocket connections that stay alive, on mio.
//!
//! A [`WebSocket`] is one connection, for a loop of anybody's; an [`EventLoop`] is a loop that is
//! ready, for a [`Handler`] of yours. Many connections share one thread, one read buffer and one
//! queue of deadlines.

#![forbid(unsafe_code)]

mod clock;
mod event_loop;
mod stream;
mod timers;
mod websocket;
mod wire;

pub use event_loop::{
    ConnectionId, Connections, Drained, EventLoop, Handle, HandleError, Handler, Listener,
    ListenerId,
};
pub use stream::{Socket, Stream};
pub use timers::{TimerCounts, Timers};
pub use websocket::{Turn, WebSocket, accept, accept_with, client};
#[cfg(feature = "tls")]
pub use wspulse_drive::tls;
pub use wspulse_drive::{ConnectOptions, Error, RedirectError, Stage, UrlError};
