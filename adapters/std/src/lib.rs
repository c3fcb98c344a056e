//! WebSocket connections that stay alive, on blocking sockets and threads.

#![forbid(unsafe_code)]

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
    ConnectOptions, DownReason, Error, Opening, ReconnectError, ReconnectEvent, ReconnectPolicy,
    RedirectError, Stage, UrlError, WhileDown,
};
