//! The world as an oracle: a truth about the peer, the path and our pauses, searched exhaustively.
//!
//! - [`search`]: breadth first over any [`World`](search::World), one tick a level, with the
//!   shortest counter-example as a timeline.
//! - [`truth`]: whether the peer is alive, when its bytes arrive, when this host was away, and
//!   what the transport takes.
//! - [`oracle`]: what must hold whatever the truth is, in the words of the liveness rules.
//!
//! - [`heartbeat`]: the world around a heartbeat, told in its calls; [`cases`]: which worlds.
//! - [`reference`](mod@reference): the liveness rules as a small program, with a switch for each.
//! - [`compare`]: two heartbeats that must answer the same.
//!
//! A world joins the three: it holds the code under test beside a [`Truth`](truth::Truth) and a
//! [`Watch`](oracle::Watch), and turns what the truth says into calls.

pub mod cases;
pub mod compare;
pub mod connection;
pub mod heartbeat;
pub mod oracle;
mod policy;
pub mod reference;
pub mod search;
mod switch;
pub mod truth;
