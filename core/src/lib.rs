//! A WebSocket connection that stays alive, and knows when it is dead.
//!
//! [`Connection`] is RFC 6455 as a pure state machine: no I/O, no clock, no randomness, no threads,
//! no `unsafe`, no `std`. It is told what arrived and what time it is, and answers with what to
//! send, what happened, and when to wake it. It parses frames, checks text, joins fragments,
//! answers pings, sends its own, matches pongs, watches every deadline and closes as the RFC
//! wants. The adapters `wspulse-std`, `wspulse-tokio` and `wspulse-mio` move its bytes; your own
//! event loop can do the same:
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use wspulse_core::heartbeat::HeartbeatConfig;
//! use wspulse_core::{Config, Connection, Event, Instant, Role, Seed};
//!
//! /// One turn of the drive loop, with two byte vectors for a socket.
//! fn drive(ws: &mut Connection, now: Instant, rx: &mut Vec<u8>, tx: &mut Vec<u8>) -> Vec<Event> {
//!     let mut events = Vec::new();
//!     loop {
//!         let taken = ws.handle_input(now, rx);
//!         rx.drain(..taken);
//!         if rx.is_empty() {
//!             ws.handle_would_block(now); // only a read that found nothing can judge silence
//!         }
//!         if ws.poll_timeout().is_some_and(|deadline| deadline <= now) {
//!             ws.handle_timeout(now);
//!         }
//!         while let Some(transmit) = ws.poll_transmit() {
//!             let length = transmit.len();
//!             transmit.chunks().for_each(|chunk| tx.extend_from_slice(chunk));
//!             ws.handle_transmitted(now, length); // every attempt, also one that took nothing
//!         }
//!         match ws.poll_event() {
//!             Some(event) => events.push(event), // and again: events hold input back
//!             None => return events,
//!         }
//!     }
//! }
//!
//! // Ping after 5 s of silence, dead 10 s after an unanswered ping: one line.
//! let heartbeat = HeartbeatConfig::ping(Duration::from_secs(5), Duration::from_secs(10));
//! let config = Arc::new(Config::builder().heartbeat(heartbeat).build()?);
//! let mut now = Instant::ZERO; // virtual time
//! let [mut client, mut server] = [Role::Client, Role::Server].map(|role| {
//!     // 32 bytes from the operating system, in an adapter; and a handshake, see below.
//!     Connection::from_upgrade(role, config.clone(), Seed::predictable_for_tests(7), now)
//! });
//! let (mut up, mut down) = (Vec::new(), Vec::new());
//! client.send("hello")?;
//! while now < Instant::from_secs(1_000) {
//!     assert!(drive(&mut client, now, &mut down, &mut up).is_empty());
//!     for event in drive(&mut server, now, &mut up, &mut down) {
//!         assert!(matches!(event, Event::Text(text) if text == "hello"));
//!     }
//!     if down.is_empty() {
//!         now = client.poll_timeout().min(server.poll_timeout()).unwrap(); // sleep
//!     }
//! }
//! // A quarter of an hour of silence later each knows how far away the other is.
//! assert!(client.snapshot(now).heartbeat.rtt.is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Connection::client`] and [`Connection::server`] do the opening handshake in the same loop: a
//! server gets an [`Event::Request`] to [`accept`](Connection::accept) or
//! [`reject`](Connection::reject), a client an [`Event::Open`].
//!
//! # Driving it
//!
//! [`Connection`] says which methods there are, in four kinds, and in which order to call them;
//! any other order is legal too. What an owner has to know:
//!
//! - **Input** is borrowed and cut anywhere. All of it is taken, unless an event waits: take the
//!   event and hand over the rest. That is the read backpressure.
//! - **Output** is lent and stays the same until it was reported as taken. Report every attempt,
//!   also those that took nothing: so the engine knows when a ping has left, and when a transport
//!   is stuck.
//! - **Time** is an argument, on a timeline of your own. [`poll_timeout`](Connection::poll_timeout)
//!   is never moved by received messages, so a busy connection touches no timer. Any other call or
//!   input can move it, so read it again before each wait.
//! - **Entropy** is a [`Seed`] at the start. The same seed and calls give the same bytes, events
//!   and deadlines.
//! - **Errors** are of three kinds: what the caller did wrong is an `Err` and harms nothing; what
//!   the peer did wrong, or failed to do, ends in one [`Event::Closed`] with its [`Cause`] and
//!   numbers; what the transport did wrong is the owner's, who says
//!   [`handle_eof`](Connection::handle_eof) or drops the connection.
//!
//! # Liveness
//!
//! The usual heartbeat, a ticker that pings and a timer that hangs up, kills healthy connections:
//! a pong behind our own large write, an application that is busy, a peer in the middle of a long
//! message, a process that was paused. These rules are why this one does not. The tests name them
//! by number.
//!
//! 1. Any byte is a sign of life, even in the middle of a frame
//!    ([`Evidence`](heartbeat::Evidence) has stricter choices).
//! 2. A ping is due when no evidence of life came in for the interval or nothing went out for it, so
//!    that both directions of the path stay warm ([`Mode`](heartbeat::Mode) has others). At most one
//!    is outstanding.
//! 3. A ping carries a nonce and a number in 16 hexadecimal digits; a pong answers its ping and all
//!    before it, and gives one sample of the round-trip time. Other pongs are bytes and nothing
//!    more.
//! 4. The clock of a ping starts when the transport took its last byte, not when it was queued.
//! 5. Progress postpones: after output that still drains, the clock is extended by the time that
//!    the bytes before the ping need at half of the rate observed, at most by
//!    `write_stall_timeout`. A transport that takes nothing for that long is a death of its own; it
//!    needs an attempt that took nothing. That bytes were taken is never a sign of life.
//! 6. The peer is not blamed for our own pause, and no pause hides a death. All clocks run in awake
//!    time: a call that comes after the deadline that was asked for, and after every earlier call,
//!    is late, and moves every clock by as much, before anything else. No clock is armed further
//!    ahead than half of its length. A call that is late by more than a quarter of the timeout asks
//!    afresh where no ping is out, and once between two signs of life also where an answer is
//!    awaited, with the full timeout. Death needs a read attempt that began at or after the deadline
//!    and found nothing; without one it is tried again after half of the timeout.
//! 7. [`Event::Suspect`] comes before death, and death leaves it the rest of the timeout;
//!    [`Event::Recovered`] comes with the first byte after it.
//! 8. A peer that falls silent with nothing under way is declared dead at most interval + timeout of
//!    awake time after its last byte, and one timeout more where a pause was granted one.
//! 9. However late a drive comes, it causes one ping and one change, no burst. `Duration::MAX`
//!    means never; what cannot work is refused when the configuration is built.
//! 10. Pongs leave before data, at most 16 at once, then the newest only, and wait for no more than
//!     what was lent: 64 KiB, or twice what the transport takes at once. A token bucket guards
//!     against floods: first [`Event::ControlFlood`], then Close 1008.
//! 11. A dead peer is sent one best-effort Close and given a short linger. The closing handshake
//!     has an absolute deadline that nothing extends.
//! 12. Other timers stand each on its own, and the earliest wins: opening handshake, idle, maximum
//!     age, close, write stall, message. Rule 6 holds for all of them but the age, which is counted
//!     in the time of the world. The handshakes' end without a read attempt after half of their
//!     length more.
//! 13. The first ping comes anywhere in the second half of its interval and later ones up to a
//!     tenth early: connections that open at once do not ping at once.
//! 14. A heartbeat of text messages serves peers that cannot ping
//!     ([`ApplicationHeartbeat`]).
//! 15. The policy can change while the connection is open. Where an answer is awaited, the first
//!     change since the last sign of life grants the new timeout whole.
//!
//! Rules 16 to 18 are about what adapters do with a connection. Rule 19: where nothing is read and
//! no read attempt reported, nobody can judge the peer. After interval + 2 timeouts
//! [`Event::NotRead`] says so, or `unread_timeout` ends the connection with [`Cause::Unread`].
//!
//! # Memory
//!
//! An open connection is one value of at most 256 bytes and holds no heap while it is idle (a
//! client keeps the state of its masking keys). What a peer makes it hold follows the bytes that
//! arrived, at most twice over, never the lengths it announced; every limit in
//! [`ConfigBuilder`] says why it stands where it does. Who serves many connections of long messages
//! has a [`BufferPool`] use their buffers again.
//!
//! # Features
//!
//! - `deflate`: compressed messages (RFC 7692), offered and agreed to by `ConfigBuilder::deflate`;
//!   see [`extension::deflate`]. It links `std`.
//! - `simd`: text checked with vectors, and once where the standard library would look twice, by
//!   `wspulse-text`, a crate with the `unsafe` that this one has none of. It links `std`.
//!
//! # The parts
//!
//! Each is usable alone: [`heartbeat`] (timing for any protocol), [`backoff`] (reconnecting),
//! [`frame`] (headers, decoder, masks), [`handshake`] (both sides of the upgrade), [`extension`]
//! (what a handshake may agree on), [`utf8`] (incremental validation), and [`Instant`].
// `std` is not linked but by the features; `alloc` is all that is used.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod backoff;
mod close;
mod config;
mod connection;
mod error;
mod event;
pub mod extension;
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
pub use connection::{BufferPool, Connection, Snapshot, State, TimeoutReason, Transmit};
pub use error::{Cause, Closed, ConfigError, Initiator, LimitExceeded, ProtocolError, SendError};
pub use event::Event;
pub use message::Message;
pub use role::Role;
pub use seed::Seed;
pub use time::Instant;

// Types of other crates in this interface.
pub use bytes::Bytes;
pub use bytestring::ByteString;
