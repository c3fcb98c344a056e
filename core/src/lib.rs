//! A WebSocket connection that stays alive, and knows when it is dead.
//!
//! [`Connection`] is RFC 6455 as a pure state machine: no I/O, no clock, no randomness, no threads,
//! no `unsafe`, no `std`. It is told what arrived and what time it is, and answers with what to
//! send, what happened, and when to wake it. It parses frames, checks text, joins fragments,
//! answers pings, sends its own, matches pongs, watches every deadline and closes as the RFC
//! wants. The adapters `wspulse-tokio`, `-std` and `-mio` move its bytes; your own event loop can do
//! the same:
//!
//! ```
//! use std::collections::VecDeque;
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use wspulse_core::handshake::{Accept, ClientRequest};
//! use wspulse_core::heartbeat::HeartbeatConfig;
//! use wspulse_core::{Config, Connection, Event, Instant, Seed};
//!
//! /// One turn of the drive loop, with two byte queues for a socket.
//! fn drive(
//!     connection: &mut Connection,
//!     now: Instant,
//!     input: &mut VecDeque<u8>,
//!     output: &mut VecDeque<u8>,
//! ) -> Vec<Event> {
//!     let mut events = Vec::new();
//!     loop {
//!         let taken = connection.handle_input(now, input.make_contiguous());
//!         input.drain(..taken);
//!         if input.is_empty() {
//!             connection.handle_would_block(now);
//!         }
//!         if connection.poll_timeout().is_some_and(|deadline| deadline <= now) {
//!             connection.handle_timeout(now);
//!         }
//!         while let Some(transmit) = connection.poll_transmit() {
//!             let length = transmit.len();
//!             output.extend(transmit.chunks().flatten());
//!             connection.handle_transmitted(now, length);
//!         }
//!         let Some(event) = connection.poll_event() else { break };
//!         if matches!(event, Event::Request(_)) {
//!             connection.accept(now, &Accept::new()).unwrap();
//!         }
//!         events.push(event);
//!     }
//!     events
//! }
//!
//! // Ping after 5 s of silence, dead after another 10 s: one line.
//! let heartbeat = HeartbeatConfig::ping(Duration::from_secs(5), Duration::from_secs(10));
//! let config = Arc::new(Config::builder().heartbeat(heartbeat).build()?);
//!
//! // Adapters take the entropy from the operating system; here two fixed seeds will do.
//! let [one, two] = [1, 2].map(Seed::predictable_for_tests);
//! let request = ClientRequest::new("example.com", "/chat")?;
//! let mut now = Instant::ZERO;
//! let mut client = Connection::client(config.clone(), &request, one, now);
//! let mut server = Connection::server(config, two, now);
//! let (mut up, mut down) = (VecDeque::new(), VecDeque::new());
//!
//! let mut echoes = Vec::new();
//! for _ in 0..1_000 {
//!     for event in drive(&mut client, now, &mut down, &mut up) {
//!         match event {
//!             Event::Open(_) => client.send("hello")?,
//!             Event::Text(text) => echoes.push(text),
//!             other => panic!("unexpected {other:?}"),
//!         }
//!     }
//!     for event in drive(&mut server, now, &mut up, &mut down) {
//!         if let Event::Text(text) = event {
//!             server.send(text)?; // shares the payload
//!         }
//!     }
//!     let busy = client.wants_write() || server.wants_write();
//!     if !busy && up.is_empty() && down.is_empty() {
//!         // Nothing to do: sleep until the earlier deadline.
//!         now = client.poll_timeout().min(server.poll_timeout()).unwrap();
//!     }
//! }
//!
//! // Half an hour of silence later both are open, and each knows how far away the other is.
//! assert_eq!(echoes, ["hello"]);
//! assert!(now > Instant::from_secs(1_000));
//! assert!(client.snapshot(now).heartbeat.rtt.is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
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
//!   is never moved by received data, so a busy connection touches no timer; it can move earlier
//!   in any other call.
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
//! 2. A ping is due when nothing came in for the interval or nothing went out for it, so that both
//!    directions of the path stay warm ([`Mode`](heartbeat::Mode) has others). At most one is
//!    outstanding.
//! 3. A ping carries a nonce and a number; a pong answers its ping and all before it, and gives
//!    one sample of the round-trip time. Other pongs are bytes and nothing more.
//! 4. The clock of a ping starts when the transport took its last byte, not when it was queued.
//! 5. Progress postpones: behind output that still drains, the clock is extended by the time the
//!    bytes in front need at the rate just observed. A transport that takes nothing for
//!    `write_stall_timeout` is a death of its own. That bytes were taken is never a sign of life.
//! 6. The peer is not blamed for our own pause. Death needs a read attempt at or after the
//!    deadline that found nothing; a drive that comes later than `max_local_pause` after the
//!    deadline it asked for kills nobody, but sends one fresh ping with the full timeout.
//! 7. [`Event::Suspect`] comes before death, [`Event::Recovered`] with the first byte after it.
//! 8. A peer that falls silent with nothing queued is declared dead at most interval + timeout
//!    after its last byte.
//! 9. However late a drive comes, it causes one ping and one change, no burst. `Duration::MAX`
//!    means never; what cannot work is refused when the configuration is built.
//! 10. Pongs leave before data, at most 16 at once, then the newest only. A token bucket guards
//!     against floods: first [`Event::ControlFlood`], then Close 1008.
//! 11. A dead peer is sent one best-effort Close and given a short linger. The closing handshake
//!     has an absolute deadline that nothing extends.
//! 12. Other timers stand each on its own, and the earliest wins: opening handshake, idle, maximum
//!     age, close, write stall, message.
//! 13. The first ping comes anywhere in the second half of its interval and later ones up to a
//!     tenth early: connections that open at once do not ping at once.
//! 14. A heartbeat of text messages serves peers that cannot ping
//!     ([`ApplicationHeartbeat`]).
//! 15. The policy can change while the connection is open.
//!
//! # Memory
//!
//! An open connection is one value of at most 256 bytes and holds no heap while it is idle (a
//! client keeps the state of its masking keys). What a peer makes it hold follows the bytes that
//! arrived, at most twice over, never the lengths it announced; every limit in
//! [`ConfigBuilder`] says why it stands where it does.
//!
//! # The parts
//!
//! Each is usable alone: [`heartbeat`] (timing for any protocol), [`backoff`] (reconnecting),
//! [`frame`] (headers, decoder, masks), [`handshake`] (both sides of the upgrade), [`utf8`]
//! (incremental validation), and [`Instant`].
// `std` is not linked; `alloc` is all there is.
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

// Types of other crates in this interface.
pub use bytes::Bytes;
pub use bytestring::ByteString;
