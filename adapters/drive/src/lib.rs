//! What the adapters of [`wspulse_core`] share, and what an adapter for one more runtime starts
//! from.
//!
//! A [`Drive`] owns a connection and keeps its contract with a stream: it is told how each
//! attempt to read or write ended, and says what comes next. How to wait is the adapter's. The
//! shortest adapter of all, over a socket that does not wait:
//!
//! ```
//! use std::io::{self, Read, Write};
//! use std::net::{Shutdown, TcpListener, TcpStream};
//!
//! use wspulse_core::handshake::ClientRequest;
//! use wspulse_core::{CloseCode, Config, Connection, Event, Transmit};
//! use wspulse_drive::{Clock, Drive, SystemClock, Transport, seed, tune};
//!
//! struct Socket(TcpStream);
//!
//! impl Transport for Socket {
//!     fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
//!         self.0.read(buffer)
//!     }
//!     fn write(&mut self, transmit: &Transmit<'_>) -> io::Result<usize> {
//!         self.0.write(transmit.first())
//!     }
//!     fn shutdown(&mut self) -> io::Result<()> {
//!         self.0.shutdown(Shutdown::Write)
//!     }
//! }
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let near = TcpStream::connect(listener.local_addr()?)?;
//! let (far, _) = listener.accept()?;
//! let config = std::sync::Arc::new(Config::default());
//! let clock = SystemClock::start();
//! let request = ClientRequest::new("example.com", "/")?;
//! let client = Connection::client(config.clone(), &request, seed()?, clock.now());
//! let server = Connection::server(config.clone(), seed()?, clock.now());
//!
//! let mut echoed = false;
//! let mut ends = [(near, client), (far, server)].map(|(stream, connection)| {
//!     tune(&stream, &config);
//!     stream.set_nonblocking(true).unwrap();
//!     (Socket(stream), Drive::new(connection))
//! });
//! while ends.iter().any(|(_, drive)| drive.closed().is_none()) {
//!     for (socket, drive) in &mut ends {
//!         while drive.turn(socket, &clock).has_progress() {
//!             while let Some(event) = drive.poll_event() {
//!                 let now = clock.now();
//!                 drive.command(|connection| match event {
//!                     Event::Request(_) => connection.accept(now, &Default::default()).unwrap(),
//!                     Event::Open(_) => connection.send("hello").unwrap(),
//!                     Event::Text(text) if !echoed => {
//!                         echoed = true;
//!                         connection.send(text).unwrap();
//!                     }
//!                     Event::Text(_) => connection.close(now, CloseCode::NORMAL, "").unwrap(),
//!                     _ => {}
//!                 });
//!             }
//!         }
//!     }
//!     // An adapter sleeps here, until a socket is ready or `drive.poll_timeout()`.
//! }
//! assert!(echoed);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Beside it: [`ConnectOptions`], [`Error`] and [`Target`], which are the same in every adapter;
//! [`tune`], [`set_patience`], [`watch`] and [`seed`]; [`InboxLimits`]; [`Reconnect`], for clients that come back; and with the
//! feature `tls`, the module `tls`.

#![forbid(unsafe_code)]

mod clock;
mod drive;
mod error;
mod inbox;
mod input;
mod options;
mod reconnect;
mod socket;
#[cfg(feature = "tls")]
pub mod tls;
mod transport;
mod url;

pub use clock::{Clock, SystemClock};
pub use drive::{Drive, Outcome, Turn, copy_of};
pub use error::{Error, Stage};
pub use inbox::InboxLimits;
pub use input::{READ_SIZE, with_buffer};
pub use options::ConnectOptions;
pub use reconnect::{
    DownReason, Opening, Reconnect, ReconnectError, ReconnectEvent, ReconnectPolicy, WhileDown,
    retry_after,
};
pub use socket::{listen, seed, set_patience, tune, watch};
pub use transport::{Transport, with_slices};
pub use url::{MalformedUrl, RedirectError, Target, UrlError, without_secrets};
