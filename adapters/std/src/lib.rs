//! WebSocket connections that stay alive, on blocking sockets and threads.
//!
//! A [`WebSocket`] runs a [`wspulse_core::Connection`] over any [`Stream`] of bytes with timeouts:
//! a `TcpStream`, a Unix socket, one of your own. It is an iterator over messages; by itself it
//! pings a peer that is silent, answers the peer's pings, and ends with a typed reason when the
//! peer is gone. With the default configuration that is at most 40 s after the peer's last byte.
//!
//! # A server
//!
//! ```
//! use std::net::{TcpListener, TcpStream};
//! use std::sync::Arc;
//! use std::thread;
//! use std::time::Duration;
//!
//! use wspulse_core::Config;
//! use wspulse_core::heartbeat::HeartbeatConfig;
//! use wspulse_std::Error;
//!
//! fn serve(listener: TcpListener) -> std::io::Result<()> {
//!     // Ping after 5 s of silence; dead 10 s after an unanswered ping.
//!     let heartbeat = HeartbeatConfig::ping(Duration::from_secs(5), Duration::from_secs(10));
//!     let config = Config::builder().heartbeat(heartbeat).build();
//!     let config = Arc::new(config.expect("a configuration that can work"));
//!     loop {
//!         let (stream, peer) = listener.accept()?;
//!         let config = Arc::clone(&config);
//!         thread::Builder::new().spawn(move || match echo(stream, config) {
//!             Ok(()) => println!("{peer} closed"),
//!             Err(error) => println!("{peer}: {error}"),
//!         })?;
//!     }
//! }
//!
//! fn echo(stream: TcpStream, config: Arc<Config>) -> Result<(), Error> {
//!     let mut ws = wspulse_std::accept(stream, config)?;
//!     while let Some(message) = ws.next() {
//!         ws.feed(message?)?;
//!     }
//!     Ok(())
//! }
//! # let listener = TcpListener::bind("127.0.0.1:0")?;
//! # let url = format!("ws://{}", listener.local_addr()?);
//! # thread::spawn(|| serve(listener));
//! # let mut ws = wspulse_std::connect(&url, Config::default())?;
//! # ws.send("hello")?;
//! # assert_eq!(ws.next().unwrap()?.as_text(), Some("hello"));
//! # ws.close(wspulse_core::CloseCode::NORMAL, "")?;
//! # Ok::<(), Error>(())
//! ```
//!
//! # A client
//!
//! ```no_run
//! use wspulse_core::{CloseCode, Config};
//! use wspulse_std::Error;
//!
//! fn main() -> Result<(), Error> {
//!     let mut ws = wspulse_std::connect("ws://127.0.0.1:9001/", Config::default())?;
//!     ws.send("hello")?;
//!     if let Some(answer) = ws.next() {
//!         println!("{:?}", answer?);
//!     }
//!     ws.close(CloseCode::NORMAL, "done")
//! }
//! ```
//!
//! # What to know
//!
//! - **It lives while a thread calls.** Timers, pings and pongs run inside
//!   [`next`](WebSocket::next), [`send`](WebSocket::send) and their kin: a read waits no longer
//!   than the next deadline, and [sending is enough](WebSocket#sending-is-enough). A thread that
//!   stays away for long does not kill its connection: silence is judged only by a read that finds
//!   nothing.
//! - **Ok means on its way**: `send` returns when the stream has taken the message; what is
//!   [fed](WebSocket#batches) during a batch of input leaves in one write.
//! - **After a suspend** that the system's monotonic clock does not show, say
//!   [`handle_resumed`](WebSocket::handle_resumed): a fresh ping leaves, with the whole timeout.
//! - **How it waits**: for input inside one read with a timeout that is seldom set; with output
//!   that the socket does not take, for room and for input by one poll(2), until the next deadline.
//!   A batch costs one read and one write, and nothing else. Without sockets as Unix has them, or
//!   over a [`Stream`] of another kind, what is blocked is tried in turn with the reading, up to
//!   32 ms late.
//! - **What blocks**, and for how long, [`WebSocket`](WebSocket#what-blocks) says. Nothing blocks
//!   for ever that the configuration puts a limit to.
//! - **Cancel safe.** [`next_timeout`](WebSocket::next_timeout) comes back having lost nothing, and
//!   [`abort`](Writer::abort) from another thread ends every wait at once.
//! - **Two threads.** A [`WebSocket`] is for one thread at a time. [`split`](WebSocket::split) gives
//!   a [`Reader`] and a [`Writer`] for two, of which neither waits behind the other. Either of
//!   them runs the whole protocol while it waits, and only the reader takes events.
//! - **A thread of its own.** Who has nothing to do with a connection for longer than its interval
//!   [`spawn`](WebSocket::spawn)s threads that do nothing else: they keep the connection while the
//!   application is busy, up to what the inbox takes, and end with 1001 when the [`Receiver`] and all [`Sender`]s are dropped.
//!   Dropping any of them never waits.
//! - **A client that comes back** is a [`ReconnectingClient`]: it connects again whenever the
//!   connection is lost, until that is hopeless.
//! - **Memory.** Idle, a connection holds its socket, at most 512 bytes, its TLS session and, as a
//!   client, the server's answer.
//!   At most, by the limits of its configuration:
//!   - for what comes in, 2 × `max_message_size` + 68 KiB: a message that is under way or waits to
//!     be taken, and one read behind it;
//!   - for the inbox, 1 MiB and one message, or what
//!     [`set_inbox_limits`](WebSocket::set_inbox_limits) says;
//!   - for what goes out, `max_buffered_amount` + 80 KiB, and the one message that went beyond the
//!     limit;
//!   - some 80 KiB more each way under TLS.
//!
//!   By default that is less than 51 MiB beside that message. What is held follows what arrived, so
//!   a connection of small messages stays far below. The buffers belong to the thread: 64 KiB
//!   for reads; up to 256 KiB for TLS, for halves, and for streams that are no sockets.
//!   [`spawn`](WebSocket::spawn) adds two threads, and a queue of the length that it is told.
//! - **Fair** is the system, between threads.
//! - **The stream** may be anything that is a [`Stream`]; on `TcpStream`s, also below TLS,
//!   TCP_NODELAY and, on Linux, TCP_NOTSENT_LOWAT are set, and TCP_USER_TIMEOUT while nobody reads,
//!   without a heartbeat, and for what the kernel keeps after the end. Its timeouts are the connection's.
//! - **On the way** to a connection each stage has a time of its own, several addresses of a name
//!   are tried one after the other, and redirects are followed only as far as
//!   [`ConnectOptions::max_redirects`] says: see [`connect`].
//! - **Compression** (feature `deflate`): permessage-deflate, offered and agreed to by
//!   `ConfigBuilder::deflate`; what it costs and gives away is said there. Text is checked with
//!   vectors by the default feature `simd`.
//! - **TLS** (feature `tls`): [`connect`] takes `wss` URLs; `accept_tls` and `client_tls` take
//!   streams that are there already. Which certificates a client trusts is said by one of the
//!   features `webpki-roots`, `native-roots` and `platform-verifier`, or by [`ConnectOptions`];
//!   names and expiry are verified.
//! - **Proxies.** None: connect through one, and pass the stream to [`client`].
//! - **A server's beginning.** [`listen`] has a longer queue of clients than
//!   [`TcpListener::bind`](std::net::TcpListener::bind), so that many may come at once.
//! - **A server's end.** Keep a [`Sender`] of each connection, and [`close`](Sender::close) it with
//!   1001.
//! - **Log.** None: [`next_event`](WebSocket::next_event) and [`snapshot`](WebSocket::snapshot)
//!   have what one needs.

#![forbid(unsafe_code)]

mod bell;
mod client;
mod commands;
mod connect;
mod patience;
mod reconnect;
mod scratch;
mod server;
#[cfg(feature = "tls")]
mod session;
mod shared;
mod socket;
mod spawn;
mod split;
mod state;
mod stream;
mod websocket;

pub use client::client;
#[cfg(feature = "tls")]
pub use client::client_tls;
pub use connect::connect;
pub use reconnect::{ReconnectHandle, ReconnectingClient};
pub use server::{accept, accept_with};
#[cfg(feature = "tls")]
pub use server::{accept_tls, accept_tls_with};
pub use spawn::{Receiver, Sender};
pub use split::{Reader, ReuniteError, Writer};
pub use stream::Stream;
pub use websocket::WebSocket;
#[cfg(feature = "tls")]
pub use wspulse_drive::tls;
pub use wspulse_drive::{
    ConnectOptions, DownReason, Error, InboxLimits, MalformedUrl, Opening, ReconnectError,
    ReconnectEvent, ReconnectPolicy, RedirectError, Stage, UrlError, WhileDown, listen,
};

// Names of other crates in this interface.
#[doc(no_inline)]
pub use wspulse_core::{
    ApplicationHeartbeat, ByteString, Bytes, Cause, CloseCode, CloseEncodeError, CloseFrame,
    Closed, Config, ConfigBuilder, ConfigError, Delivery, Event, Initiator, LimitExceeded, Message,
    ProtocolError, Role, SendError, Snapshot, State, backoff, extension, handshake, heartbeat,
};

/// Keeps the examples of the README compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
