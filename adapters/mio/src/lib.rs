//! WebSocket connections that stay alive, on mio: many on one thread.
//!
//! An [`EventLoop`] runs [`wspulse_core::Connection`]s over streams that do not wait, and tells a
//! [`Handler`] what happens to them. By itself it pings peers that are silent, answers the peers'
//! pings, and ends each connection with a typed reason when its peer is gone. With the default
//! configuration that is at most 40 s after the peer's last byte.
//!
//! # A server and a client
//!
//! ```
//! use std::time::Duration;
//!
//! use wspulse_core::heartbeat::HeartbeatConfig;
//! use wspulse_core::{CloseCode, Config, Message};
//! use wspulse_mio::{ConnectionId, Connections, EventLoop, Handler, Listener};
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     fn message(&mut self, connections: &mut Connections, id: ConnectionId, message: Message) {
//!         if connections.send(id, message).is_err() {
//!             // It takes nothing and sends on: see `pause` for a kinder way.
//!             connections.abort(id);
//!         }
//!     }
//! }
//!
//! // Ping after 5 s of silence; dead 10 s after an unanswered ping.
//! let heartbeat = HeartbeatConfig::ping(Duration::from_secs(5), Duration::from_secs(10));
//! let config = Config::builder().heartbeat(heartbeat).build()?;
//! let mut server = EventLoop::new(Echo)?;
//! let listener = Listener::bind("127.0.0.1:0".parse()?)?;
//! let address = listener.local_addr().unwrap();
//! server.connections().listen(listener, config)?;
//! let handle = server.handle(); // for other threads
//! let thread = std::thread::spawn(move || server.run());
//!
//! // A client in a loop of its own:
//! # use wspulse_core::handshake::Response;
//! struct Client;
//!
//! impl Handler for Client {
//!     fn open(&mut self, connections: &mut Connections, id: ConnectionId, _: Option<&Response>) {
//!         connections.send(id, "hello").unwrap();
//!     }
//!
//!     fn message(&mut self, connections: &mut Connections, id: ConnectionId, message: Message) {
//!         assert_eq!(message.as_text(), Some("hello"));
//!         connections.close(id, CloseCode::NORMAL, "done").unwrap();
//!     }
//!
//!     fn closed(
//!         &mut self,
//!         connections: &mut Connections,
//!         _: ConnectionId,
//!         end: Result<Box<wspulse_core::Closed>, wspulse_mio::Error>,
//!     ) {
//!         assert!(end.unwrap().clean);
//!         connections.stop();
//!     }
//! }
//!
//! let mut client = EventLoop::new(Client)?;
//! client.connections().connect(&format!("ws://{address}/"), Config::default())?;
//! client.run()?;
//!
//! handle.drain(Duration::from_secs(1), Duration::from_secs(5));
//! thread.join().unwrap()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Piece by piece
//!
//! A loop that is there already takes [`WebSocket`]s, from [`accept`] and [`client`], and a
//! [`Timers`] for all their deadlines; the [`EventLoop`] is made of nothing else. [`WebSocket`]
//! says when to give one a turn.
//!
//! # What to know
//!
//! - **It lives while its loop turns.** Timers, pings and pongs run in the turns of the
//!   connections. A loop that was held up for long kills nobody: silence is judged only by a read
//!   that finds nothing. No timer is touched by traffic: deadlines are lazy, see [`Timers`].
//! - **A batch of input is answered with one write**, vectored: `send` only queues. What is queued
//!   leaves after the handler's call, or when more of that connection's input is at hand, at the
//!   latest 1 ms after it was queued with the next return of a handler's method, or at the end of
//!   the turn.
//! - **What lies unread hides nothing.** A connection that is [paused](Connections::pause) is read
//!   on into its inbox, up to 1 MiB or 65,536 messages: pings and Closes are answered, a dead peer
//!   is found. While the inbox is full nothing is read, the peer's pings are not answered, and the
//!   kernel watches over it.
//! - **After a suspend** that the system's monotonic clock does not show, say
//!   [`handle_resumed`](Connections::handle_resumed): fresh pings leave, with the whole timeout.
//! - **Dropping** a [`WebSocket`], or the loop with all of them, makes one attempt to write what is
//!   queued and closes the stream; no Close frame is sent.
//! - **What blocks**: the poll of the loop when there is nothing to do, and a handler's own
//!   methods; in the pieces nothing. A name's lookup blocks a thread made for it.
//! - **Cancel safe.** There are no futures to cancel: what a connection was told is done, and each
//!   ends with exactly one [`Event::Closed`], or
//!   [`closed`](Handler::closed).
//! - **Two threads.** All connections are the loop's. Other threads have a [`Handle`], whose queue
//!   is bounded and which never waits.
//! - **A thread of its own** is the loop's, one for all connections: see [`run`](EventLoop::run).
//!   It keeps them while the application is busy elsewhere.
//! - **A client that comes back** is a handler around a [`Reconnect`], which knows when; the
//!   README has one whole.
//! - **Memory.** Idle, a connection holds its socket, at most 512 bytes, its TLS session and an
//!   entry in the queue of deadlines.
//!   At most, by the limits of its configuration:
//!   - for what comes in, 2 × `max_message_size` + 68 KiB: a message that is under way or waits to
//!     be taken, and one read behind it;
//!   - for the inbox, 1 MiB and one message, or what
//!     [`set_inbox_limits`](Connections::set_inbox_limits) says;
//!   - for what goes out, `max_buffered_amount` + 80 KiB, and the one message that went beyond the
//!     limit;
//!   - some 80 KiB more each way under TLS.
//!
//!   By default that is less than 51 MiB beside that message. What is held follows what arrived, so
//!   a connection of small messages stays far below. The buffer for reads belongs to the thread:
//!   64 KiB; so do those of long messages that are used again, 4 MiB at most
//!   ([`BufferPool`](wspulse_core::BufferPool)). A loop's queue from other threads holds 1,024
//!   commands, unless [`with_queue`](EventLoop::with_queue) says otherwise.
//! - **Fair.** A connection that is fed without end goes to the end of the ready queue every
//!   256 KiB, or after 10 ms of its handler's work.
//! - **The stream** may be anything that is a [`Stream`]; on `TcpStream`s, also below TLS,
//!   TCP_NODELAY and, on Linux, TCP_NOTSENT_LOWAT are set, and TCP_USER_TIMEOUT while nobody reads,
//!   without a heartbeat, and for what the kernel keeps after the end.
//! - **On the way** to a connection each stage has a time of its own, several addresses of a name
//!   are tried one after the other, and redirects are followed only as far as
//!   [`ConnectOptions::max_redirects`] says, to other origins only with what the caller called
//!   public: see [`connect`](Connections::connect).
//! - **Compression** (feature `deflate`): permessage-deflate, offered and agreed to by
//!   `ConfigBuilder::deflate`; what it costs and gives away is said there. Text is checked with
//!   vectors by the default feature `simd`.
//! - **TLS** (feature `tls`): [`connect`](Connections::connect) takes `wss` URLs, `listen_tls`
//!   listeners; `accept_tls` and `client_tls` take streams that are there already. Which
//!   certificates a client trusts is said by one of the features `webpki-roots`, `native-roots` and
//!   `platform-verifier`, or by [`ConnectOptions`]; names and expiry are verified.
//! - **Proxies.** None: connect through one, and pass the stream to [`client`].
//! - **A server's end.** [`drain`](Connections::drain) closes all connections in order, spread over
//!   a time, and reports who was cut at the deadline.
//! - **From an HTTP server.** [`from_connection`](WebSocket::from_connection) takes over a
//!   connection that was upgraded elsewhere.
//! - **Log.** None: [`event`](Handler::event) and [`snapshot`](WebSocket::snapshot) have what one
//!   needs.

#![forbid(unsafe_code)]

mod clock;
mod event_loop;
mod stream;
mod timers;
mod websocket;
mod wire;

pub use event_loop::{
    ConnectionId, Connections, DrainReport, EventLoop, Handle, HandleError, Handler, Listener,
    ListenerId,
};
pub use stream::{Socket, Stream};
pub use timers::{TimerCounts, Timers};
pub use websocket::{Turn, WebSocket, accept, accept_with, client};
#[cfg(feature = "tls")]
pub use websocket::{accept_tls, accept_tls_with, client_tls};
#[cfg(feature = "tls")]
pub use wspulse_drive::tls;
pub use wspulse_drive::{
    Clock, ConnectOptions, DownReason, Error, InboxLimits, MalformedUrl, Opening, Reconnect,
    ReconnectError, ReconnectEvent, ReconnectPolicy, RedirectError, Stage, SystemClock, UrlError,
    WhileDown,
};

// Names of other crates in this interface.
#[doc(no_inline)]
pub use mio;
#[doc(no_inline)]
pub use wspulse_core::{
    ApplicationHeartbeat, ByteString, Bytes, Cause, CloseCode, CloseEncodeError, CloseFrame,
    Closed, Config, ConfigBuilder, ConfigError, Connection, Delivery, Event, Initiator,
    LimitExceeded, Message, ProtocolError, Role, SendError, Snapshot, State, backoff, extension,
    handshake, heartbeat,
};

/// Keeps the examples of the README compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
