//! What the benches share: rounds that take turns, medians with their spread, tables; echo servers
//! in processes of their own, and a load for them.

#[cfg(feature = "peers")]
pub mod echo;
#[cfg(feature = "peers")]
pub mod load;
pub mod memory;
#[cfg(feature = "peers")]
pub mod servers;
pub mod stats;
pub mod svg;
pub mod table;
