//! What a perfect Autobahn score does not tell: its 517 cases ask nothing about the highest bit of
//! a length, longer forms than needed, the direction of masks, abuse of the handshake, limits,
//! floods or time.
//!
//! An [oracle](wspulse_tests::oracle) that was written from RFC 6455 alone says what must come of
//! some bytes. `headers` asks it about every pair of first bytes, in every state, for both roles,
//! with every length at an edge; `sequences` about every order of frames that mean something;
//! `lengths` about every length in a form that is too long. The rest are tables of what the RFC
//! leaves to us. Each input comes whole and byte by byte.
//!
//! Where each kind of hostile input is tested, by the letter and number that it has in the names of
//! tests:
//!
//! | | here | elsewhere |
//! | --- | --- | --- |
//! | F1, F2, F12 lengths | `lengths`, `headers` | `hostile`, `core/src/frame/tests.rs` |
//! | F3, F5 to F11, F13, F16, F17 frames | `headers`, `sequences` | `hostile` |
//! | F14 the end at every byte | `handshake` | `hostile` for frames |
//! | F15 every cut | all | `hostile`, `order`, the fuzz targets |
//! | F18 behind a failure | `headers`, `handshake`, `floods` | `hostile` |
//! | U1 to U5 text | `headers`, `sequences` | `hostile`, `core/src/utf8.rs` |
//! | U6 to U11 Close | `headers`, `sequences` | `hostile`, `core/src/close.rs` |
//! | H1 to H10, H13 to H17 heads | `handshake` | `core/src/handshake/tests` |
//! | H11, H12 frames behind a head | `sending` | |
//! | H2, H18, H19 cost, lists, Origin | | `core/src/handshake/tests` |
//! | S2, S3 masks of ours | `sending` | |
//! | S1, S4, S5 what we send | | `order`, `any_order`, the target `server` |
//! | R1, R2 control frames | `floods` | `rules` (rule 10), `memory` |
//! | R3, R4 fragments | `limits`, `floods` | `hostile`, `memory` |
//! | R5, R8 sums | `limits` | `hostile`, `memory` |
//! | R6, R7, R9 cost and memory | | `memory`, `adapter_memory` |
//! | R10, R11 honest traffic | `floods` | `hostile` |
//! | R12, R13 excerpts, reconnecting | | `core/src/handshake/tests`, `storm` |
//! | T1, T2 absolute deadlines | `timers` | `rules` (11, 12) |
//! | T3, T5, T10 | `timers` | `hostile` |
//! | T4, T6, T7, T9, T11 the heartbeat | | `rules` (3, 6, 8, 11, 13) |
//! | T8 the longest and the shortest time | `timers` | `rules` (9) |
//! | A adapters | | `adapter_churn`, `half_open`, the adapters' own tests |
//!
//! F4 and D are permessage-deflate's.

mod floods;
mod handshake;
mod headers;
mod judged;
mod lengths;
mod limits;
mod sending;
mod sequences;
mod timers;

use wspulse_tests::alloc::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;
