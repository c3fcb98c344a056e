//! WebSocket connections that stay alive, on blocking sockets and threads.

#![forbid(unsafe_code)]

mod client;
mod connect;
mod patience;
mod scratch;
mod server;
#[cfg(feature = "tls")]
mod session;
mod shared;
mod split;
mod state;
mod stream;
mod websocket;

pub use client::client;
#[cfg(feature = "tls")]
pub use client::client_tls;
pub use connect::connect;
pub use server::{accept, accept_with};
#[cfg(feature = "tls")]
pub use server::{accept_tls, accept_tls_with};
pub use split::{Reader, ReuniteError, Writer};
pub use stream::Stream;
pub use websocket::WebSocket;
#[cfg(feature = "tls")]
pub use wspulse_drive::tls;
pub use wspulse_drive::{ConnectOptions, Error, RedirectError, Stage, UrlError};
