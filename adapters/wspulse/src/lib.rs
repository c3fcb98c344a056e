//! WebSocket connections (RFC 6455) that stay alive, and know when they are dead.
//!
//! A connection pings a silent peer by itself, answers the peer's pings, and ends with a typed
//! reason when the peer is gone. It does not end healthy connections: a slow line, a busy
//! application and a paused process are not mistaken for a dead peer.
//!
//! This crate has no code of its own. It puts the parts under one name:
//!
//! | name | feature | what it is |
//! | --- | --- | --- |
//! | `wspulse::tokio` | `tokio` (on by default) | connections for tokio: [`wspulse-tokio`](https://docs.rs/wspulse-tokio) |
//! | `wspulse::std` | `std` | connections for blocking sockets: [`wspulse-std`](https://docs.rs/wspulse-std) |
//! | `wspulse::mio` | `mio` | an event loop of many connections: [`wspulse-mio`](https://docs.rs/wspulse-mio) |
//! | the names below | always | the protocol and its timers without I/O: [`wspulse-core`](https://docs.rs/wspulse-core) |
//!
//! # A client
//!
//! ```no_run
//! # #[cfg(feature = "tokio")]
//! # mod client {
//! use std::time::Duration;
//!
//! use wspulse::heartbeat::HeartbeatConfig;
//! use wspulse::tokio::{Error, connect};
//! use wspulse::{CloseCode, Config};
//!
//! async fn run() -> Result<(), Error> {
//!     // Ping after 5 s of silence. The peer is dead 10 s after an unanswered ping.
//!     let heartbeat = HeartbeatConfig::ping(Duration::from_secs(5), Duration::from_secs(10));
//!     let config = Config::builder().heartbeat(heartbeat).build()?;
//!
//!     let mut ws = connect("ws://127.0.0.1:9001/", config).await?;
//!     ws.send("hello").await?;
//!     while let Some(message) = ws.next().await {
//!         println!("{:?}", message?); // an `Err` names the cause of a lost connection
//!     }
//!     ws.close(CloseCode::NORMAL, "").await
//! }
//! # }
//! ```
//!
//! # Features
//!
//! - `tokio`, `std`, `mio`: the runtimes. Without any, the crate is the core alone.
//! - `tls`: `wss://` by rustls, with the certificates of the crate webpki-roots to trust.
//!   `native-roots` trusts those of the operating system instead, `platform-verifier` asks the
//!   operating system, and `tls-no-roots` leaves that to a rustls configuration of yours.
//! - `deflate`: compressed messages (RFC 7692).
//! - `simd` (on by default): UTF-8 is checked with vector instructions.
//! - `proxy`, `hyper`, `axum`, `tracing`: on tokio, connections through HTTP CONNECT and SOCKS5
//!   proxies; connections taken over from hyper and axum; log events.
//!
//! Without the features `simd` and `deflate` and without a runtime, the crate is `no_std` (it needs
//! `alloc`).

#![no_std]
#![forbid(unsafe_code)]

#[doc(inline)]
pub use wspulse_core::*;

#[cfg(feature = "mio")]
#[doc(inline)]
pub use wspulse_mio as mio;
#[cfg(feature = "std")]
#[doc(inline)]
pub use wspulse_std as std;
#[cfg(feature = "tokio")]
#[doc(inline)]
pub use wspulse_tokio as tokio;

/// Keeps the programs of the project's README compiling.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../../../README.md")]
struct Readme;
