//! Real sockets: a peer that knows frames and no engine, and the adapters it is let loose on.
//!
//! - [`Peer`] speaks plain TCP or TLS in either role and behaves as a [`Manner`] says: the nine
//!   behaviours that kill healthy connections, or leave dead ones standing, have their names there.
//! - [`Subject`] is an adapter under test. It runs a [`Script`] as its application and returns a
//!   [`Report`].
//! - [`Heap`] counts what the whole process holds, without the peers; [`process`] counts
//!   descriptors and threads.
//! - [`child`] runs an adapter in a process of its own.
//! - [`isolated`] gives each test of a binary a process of its own.
//! - [`Control`] measures how late this machine is, so that a test can tell a late adapter from a
//!   late machine.

mod abort;
mod bare;
pub mod child;
mod content;
mod control;
mod fair;
mod heap;
pub mod isolated;
mod line;
mod manner;
mod mio;
mod mio_pieces;
mod peer;
pub mod process;
mod script;
mod stage;
mod std;
mod std_thread;
mod subject;
mod tls;
mod tokio;
mod tokio_task;

pub use abort::{Ending, Point, abort_as_client, abort_as_server, round};
pub use bare::Bare;
pub use content::{Digest, content, digest};
pub use control::Control;
pub use fair::fairly;
pub use heap::{
    Heap, LARGE_BLOCK, exempt_this_thread, held, held_in_large_blocks, peak, reset_peak,
};
pub use line::{Line, Sink};
pub use manner::{Answer, Manner, Sending};
pub use mio_pieces::MioPieces;
pub use peer::{Log, Peer, PeerOptions};
pub use script::{Job, Script};
pub use stage::{Outcome, Stage};
pub use std_thread::StdThread;
pub use subject::{End, Hall, Note, Recorder, Report, Subject, place, places, subjects};
pub use tls::Tls;
pub use tokio_task::TokioTask;

pub use self::mio::Mio;
pub use self::std::Std;
pub use self::tokio::Tokio;

/// What an adapter keeps of messages that the application has not taken, and of the one that
/// crosses that line.
const INBOX: usize = 1 << 20;
