//! Engines without sockets: every peer behind the same two traits, over the same memory.
//!
//! A read copies up to 64 KiB of input into the peer's own buffer, as a kernel does; a write only
//! counts. Between two reads everything that came is handled and everything owed is written.
//! Each peer is used in the fastest way that its documentation shows and that still checks what
//! RFC 6455 wants: text is validated, masks are applied, no compression.

pub mod case;
mod copies;
#[cfg(feature = "peers")]
mod fastwebsockets;
#[cfg(feature = "peers")]
mod polled;
#[cfg(feature = "peers")]
mod sockudo;
pub mod stream;
pub mod timing;
#[cfg(feature = "peers")]
mod tokio_websockets;
#[cfg(feature = "peers")]
mod tungstenite;
mod wspulse;

pub use self::copies::Copies;
#[cfg(feature = "peers")]
pub use self::fastwebsockets::{Fastwebsockets, FastwebsocketsPair};
#[cfg(feature = "peers")]
pub use self::sockudo::{Sockudo, SockudoPair, SockudoProtocol};
#[cfg(feature = "peers")]
pub use self::tokio_websockets::{TokioWebsockets, TokioWebsocketsPair};
#[cfg(feature = "peers")]
pub use self::tungstenite::{Tungstenite, TungstenitePair};
pub use self::wspulse::{Heartbeats, Wspulse, WspulsePair};

use self::case::Case;
use self::stream::{Counter, End, Pipe, Replay};

/// What a server reads from and writes to.
pub type ServerEnd = End<Replay, Counter>;

/// What either side of a pair reads from and writes to.
pub type PairEnd = End<Pipe, Pipe>;

/// A server that echoes.
pub trait Server {
    /// What it is called in tables.
    const NAME: &'static str;

    /// Begins after the opening handshake.
    fn new(end: ServerEnd, case: &Case) -> Self;

    /// Input is there: echoes every message that is whole.
    fn turn(&mut self);
}

/// When what was sent is written out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Each message on its own, before the next.
    Each,
    /// All of them together.
    Together,
}

/// A client and a server of one library; the client sends the text [`HELLO`].
pub trait Pair {
    /// What it is called in tables.
    const NAME: &'static str;

    /// Begins after the opening handshake.
    fn new(client: PairEnd, server: PairEnd) -> Self;

    /// The client sends `count` messages.
    fn send(&mut self, count: usize, flush: Flush);

    /// The server receives `count` messages and sends each back.
    fn echo(&mut self, count: usize, flush: Flush);

    /// The client receives `count` messages and shows each to `see`.
    fn receive(&mut self, count: usize, see: impl FnMut(&[u8]));
}

/// The message that the field measures with.
pub const HELLO: &str = "Hello, World!";
