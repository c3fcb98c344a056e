//! A WebSocket connection that stays alive.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod backoff;
mod close;
mod config;
mod connection;
mod error;
mod event;
pub mod frame;
pub mod handshake;
pub mod heartbeat;
mod message;
mod role;
mod seed;
mod time;
pub mod utf8;

pub use close::{CloseCode, CloseEncodeError, CloseError, CloseFrame};
pub use config::{ApplicationHeartbeat, Config, ConfigBuilder, Delivery};
pub use connection::{Connection, Snapshot, State, TimeoutReason, Transmit};
pub use error::{
    Cause, Closed, ConfigError, Initiator, LimitExceeded, Misuse, ProtocolError, SendError,
};
pub use event::Event;
pub use message::Message;
pub use role::Role;
pub use seed::Seed;
pub use time::Instant;
