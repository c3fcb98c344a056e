//! WebSocket connections that stay alive, and know when they are dead.

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
