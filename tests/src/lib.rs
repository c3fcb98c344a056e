//! The harness that the suites share.
//!
//! - [`rng`]: one `u64` decides a trace; the runner prints it when the trace fails.
//! - [`pipe`], [`host`], [`peer`], [`sim`]: TCP in virtual time, machines that are late, paused,
//!   suspended or not reading, and the world that joins them.
//! - [`check`]: the rules that hold after every call.
//! - [`wire`]: frames, written down a second time.
//! - [`oracle`]: what RFC 6455 makes of the bytes that arrive.
//! - [`kit`]: short ways to say what tests say often.
//! - [`differential`]: the same bytes into other implementations.
//! - [`alloc`], [`meter`]: an allocator that counts, and the heap of a connection held to its budget.
//! - [`fuzzing`]: the oracles of the fuzz targets.
//! - [`netns`]: two hosts and a cable that can be cut, out of network namespaces.
//! - [`world`]: a truth about the peer, the path and our pauses, searched exhaustively.
//! - `net` (feature, on by default): a raw peer over real sockets, and the adapters under test.

pub mod alloc;
pub mod check;
pub mod differential;
pub mod fuzzing;
pub mod host;
pub mod kit;
pub mod meter;
#[cfg(feature = "net")]
pub mod net;
pub mod netns;
pub mod oracle;
pub mod peer;
pub mod pipe;
pub mod rng;
pub mod sim;
pub mod wire;
pub mod world;
