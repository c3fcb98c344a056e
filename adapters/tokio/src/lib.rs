//! WebSocket connections that stay alive, on tokio.
//!
//! A [`WebSocket`] runs a [`wspulse_core::Connection`] over any stream of bytes. It is a
//! [`Stream`](futures_core::Stream) of messages and a [`Sink`](futures_sink::Sink) for them; by
//! itself it pings a peer that is silent, answers the peer's pings, and ends with a typed reason
//! when the peer is gone. With the default configuration that is at most 40 s after the peer's
//! last byte.
//!
//! # A server
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use tokio::net::{TcpListener, TcpStream};
//! use wspulse_core::Config;
//! use wspulse_core::heartbeat::HeartbeatConfig;
//! use wspulse_tokio::Error;
//!
//! async fn serve(listener: TcpListener) -> std::io::Result<()> {
//!     // Ping after 5 s of silence; dead 10 s after an unanswered ping.
//!     let heartbeat = HeartbeatConfig::ping(Duration::from_secs(5), Duration::from_secs(10));
//!     let config = Config::builder().heartbeat(heartbeat).build();
//!     let config = Arc::new(config.expect("a configuration that can work"));
//!     loop {
//!         let (stream, peer) = listener.accept().await?;
//!         let config = Arc::clone(&config);
//!         tokio::spawn(async move {
//!             match echo(stream, config).await {
//!                 Ok(()) => println!("{peer} closed"),
//!                 Err(error) => println!("{peer}: {error}"),
//!             }
//!         });
//!     }
//! }
//!
//! async fn echo(stream: TcpStream, config: Arc<Config>) -> Result<(), Error> {
//!     let mut ws = wspulse_tokio::accept(stream, config).await?;
//!     while let Some(message) = ws.next().await {
//!         // All that one read brought is answered with one write.
//!         ws.feed(message?).await?;
//!     }
//!     Ok(())
//! }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! #     let listener = TcpListener::bind("127.0.0.1:0").await?;
//! #     let url = format!("ws://{}", listener.local_addr()?);
//! #     tokio::spawn(serve(listener));
//! #     let mut ws = wspulse_tokio::connect(&url, Config::default()).await?;
//! #     ws.send("hello").await?;
//! #     assert_eq!(ws.next().await.unwrap()?.as_text(), Some("hello"));
//! #     ws.close(wspulse_core::CloseCode::NORMAL, "").await
//! # })?;
//! # Ok::<(), Error>(())
//! ```
//!
//! # A client
//!
//! ```no_run
//! use wspulse_core::{CloseCode, Config};
//! use wspulse_tokio::Error;
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Error> {
//!     let mut ws = wspulse_tokio::connect("ws://127.0.0.1:9001/", Config::default()).await?;
//!     ws.send("hello").await?;
//!     if let Some(answer) = ws.next().await {
//!         println!("{:?}", answer?);
//!     }
//!     ws.close(CloseCode::NORMAL, "done").await
//! }
//! ```
//!
//! # What to know
//!
//! - **It needs a runtime of tokio**, with I/O and time (`enable_all`). A future of this crate that
//!   is polled outside one panics in tokio's words: "there is no reactor running". Code of another
//!   runtime enters tokio's with [`Handle::enter`](tokio::runtime::Handle::enter).
//! - **It lives while it is used.** Timers, pings and pongs run inside
//!   [`next`](WebSocket::next), [`send`](WebSocket::send) and every other call: keep a `next`
//!   running, or send now and then. A task that stays away for long does not kill its connection:
//!   silence is judged only by a read that finds nothing.
//! - **Sending is enough.** A call that sends also reads, into an
//!   [inbox](WebSocket#messages-that-you-have-not-taken) of 1 MiB, so that the peer's pings and its
//!   Close are answered and its death is noticed; it tells how the connection ended.
//! - **Ok means on its way.** [`send`](WebSocket::send) returns when the transport has taken the
//!   message; [`feed`](WebSocket::feed) queues it, and **a batch of input is answered with one
//!   write**; see [`WebSocket`](WebSocket#batches).
//! - **What blocks**: no thread. [`send`](WebSocket::send) and [`flush`](WebSocket::flush) wait until
//!   all has left, [`feed`](WebSocket::feed) only for room in the queue. Nothing waits for ever that
//!   the configuration puts a limit to, but a [`next`](WebSocket::next) with the heartbeat off.
//! - **Cancel safe.** Each future may be dropped at any await without losing or repeating a byte,
//!   and so may be used in `select!`.
//! - **Two tasks.** [`split`](WebSocket::split) gives a [`Reader`] and a [`Writer`], of which
//!   neither waits for the other. Either of them runs the whole protocol while it is polled, and
//!   only the reader takes events.
//! - **A task of its own.** Who has nothing to do with a connection for longer than its interval
//!   [`spawn`](WebSocket::spawn)s a task that does nothing else: it keeps the connection while the
//!   application is busy, and ends with 1001 when the [`Receiver`] and all [`Sender`]s are dropped.
//! - **A client that comes back** is a [`ReconnectingClient`]: it connects again whenever the
//!   connection is lost, until that is hopeless.
//! - **Memory.** Idle, a connection holds its socket, 512 bytes, one timer, its TLS session and,
//!   as a client, the server's answer.
//!   At most, by the limits of its configuration:
//!   - for what comes in, 2 × `max_message_size` + 68 KiB: a message that is under way or waits to
//!     be taken, and one read behind it;
//!   - for what was read and not taken, the inbox's limit of 1 MiB and the one message that went
//!     beyond it;
//!   - for what goes out, `max_buffered_amount` + 80 KiB, and the one message that went beyond the
//!     limit;
//!   - some 80 KiB more each way under TLS.
//!
//!   By default that is less than 51 MiB beside a message that went beyond the limit of output. What is held follows what arrived, so
//!   a connection of small messages stays far below. The buffer for reads belongs to the thread:
//!   64 KiB; so do those of long messages that are used again, 4 MiB at most
//!   ([`BufferPool`](wspulse_core::BufferPool)). [`spawn`](WebSocket::spawn) adds a task, and two
//!   queues of the length that it is told.
//! - **Fair.** A task that is fed without end yields every 256 KiB.
//! - **The stream** may be anything that reads and writes; on `TcpStream`s, also below TLS,
//!   TCP_NODELAY and, on Linux, TCP_NOTSENT_LOWAT are set, and TCP_USER_TIMEOUT while nobody reads,
//!   without a heartbeat, and for what the kernel keeps after the end.
//! - **On the way** to a connection each stage has a time of its own, several addresses of a name
//!   are tried one beside the other, and redirects are followed only as far as
//!   [`ConnectOptions::max_redirects`] says: see [`connect`].
//! - **Compression** (feature `deflate`): permessage-deflate, offered and agreed to by
//!   `ConfigBuilder::deflate`; what it costs and gives away is said there. Text is checked with
//!   vectors by the default feature `simd`.
//! - **TLS** (feature `tls`): [`connect`] takes `wss` URLs; `accept_tls` and `client_tls` take
//!   streams that are there already. Which certificates a client trusts is said by one of the
//!   features `webpki-roots`, `native-roots` and `platform-verifier`, or by [`ConnectOptions`];
//!   names and expiry are verified.
//! - **Proxies** (feature `proxy`): HTTP CONNECT and SOCKS5, by `connect_through`.
//! - **A server's end.** [`Drain`] closes all connections in order, spread over a time, and
//!   reports who was cut at the deadline.
//! - **From an HTTP server.** With the feature `hyper`, `upgrade` takes a connection over from a
//!   hyper server; with the feature `axum`, `WebSocketUpgrade` is an extractor that does.
//! - **Log** (feature `tracing`). Each connection has a span with its role and peer. Events:
//!   `open` and an end in order at debug; `suspect`, `recovered` and an end that the network
//!   caused at info, as is an upgrade of axum's that failed; a peer that breaks a rule or a limit at warn. `closed` has the cause and the
//!   numbers. Every 10 s the target `wspulse_tokio::counters` has, at trace, what was added to
//!   messages, bytes, pings, pongs and lost pings. No payload, header, target or reason is told.

#![forbid(unsafe_code)]

#[cfg(feature = "axum")]
mod axum;
mod client;
mod clock;
mod drain;
mod driver;
mod layer;
mod maybe_tls;
#[cfg(feature = "proxy")]
mod overheard;
#[cfg(feature = "proxy")]
mod proxy;
mod reconnect;
mod server;
mod split;
mod task;
mod tcp;
mod timer;
mod trace;
#[cfg(feature = "hyper")]
mod upgrade;
mod waiters;
mod websocket;

#[cfg(feature = "axum")]
pub use axum::WebSocketUpgrade;
#[cfg(feature = "tls")]
pub use client::client_tls;
#[cfg(feature = "proxy")]
pub use client::connect_through;
pub use client::{client, connect};
pub use drain::{Drain, DrainOutcome, DrainReport, Drained};
pub use maybe_tls::MaybeTls;
#[cfg(feature = "proxy")]
pub use overheard::ProxyRefusal;
#[cfg(feature = "proxy")]
pub use proxy::{Proxy, ProxyUrlError};
pub use reconnect::{ReconnectHandle, ReconnectingClient};
pub use server::{accept, accept_with};
#[cfg(feature = "tls")]
pub use server::{accept_tls, accept_tls_with};
pub use split::{Reader, ReuniteError, Writer};
pub use task::{Receiver, Sender};
#[cfg(feature = "tls")]
pub use tokio_rustls;
#[cfg(feature = "hyper")]
pub use upgrade::{Upgrade, UpgradeError, Upgraded, upgrade, upgrade_with};
pub use websocket::WebSocket;
#[cfg(feature = "tls")]
pub use wspulse_drive::tls;
pub use wspulse_drive::{
    ConnectOptions, DownReason, Error, InboxLimits, MalformedUrl, Opening, ReconnectError,
    ReconnectEvent, ReconnectPolicy, RedirectError, Stage, UrlError, WhileDown,
};
#[cfg(feature = "hyper")]
pub use wspulse_drive::{set_patience, tune};

// Names of other crates in this interface.
#[cfg(feature = "axum")]
#[doc(no_inline)]
pub use axum_core;
#[doc(no_inline)]
pub use tokio;
#[doc(no_inline)]
pub use wspulse_core::{
    ApplicationHeartbeat, ByteString, Bytes, Cause, CloseCode, CloseEncodeError, CloseFrame,
    Closed, Config, ConfigBuilder, ConfigError, Delivery, Event, Initiator, LimitExceeded, Message,
    ProtocolError, Role, SendError, Snapshot, State, backoff, extension, handshake, heartbeat,
};
#[cfg(feature = "hyper")]
#[doc(no_inline)]
pub use {http, hyper, hyper_util};

/// Keeps the examples of the README compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
