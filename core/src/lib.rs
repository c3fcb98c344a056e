//! A WebSocket connection that stays alive.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod backoff;
mod role;
mod seed;
mod time;

pub use role::Role;
pub use seed::Seed;
pub use time::Instant;
