//! A WebSocket connection that stays alive.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod close;
pub mod frame;
pub mod handshake;
pub mod backoff;
mod role;
mod seed;
mod time;
pub mod utf8;

pub use close::{CloseCode, CloseEncodeError, CloseError, CloseFrame};
pub use role::Role;
pub use seed::Seed;
pub use time::Instant;
