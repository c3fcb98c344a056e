//! What is known to fail over a connection. The list must shrink to nothing: the test fails when
//! an entry passes, and when anything fails that is not listed.
//!
//! Behind each entry is what the code does against a rule of liveness, so that a fuzz target can
//! excuse it and nothing else. A search stops at a violation, so that an entry hides what would
//! come after it.

use wspulse_core::{Instant, Role};

use super::State;
use super::judging::NO_STEP;
use crate::kit::{drain_frames, open, ping, with_heartbeat};
use crate::world::oracle::Oracle::{LivePeerDied as A, NoWarning as C, NotFound as B, Stuck as G};
use crate::world::oracle::{Oracle, Violation};

/// A violation that is known, by world.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The name of the world, or a part of it that several share; empty for every world.
    pub world: &'static str,
    /// What fails.
    pub violation: Violation,
    /// What the code does.
    pub because: &'static str,
}

const fn known(
    world: &'static str,
    oracle: Oracle,
    class: &'static str,
    because: &'static str,
) -> Known {
    Known {
        world,
        violation: Violation::new(oracle, class),
        because,
    }
}

/// What is known to fail.
pub const KNOWN: &[Known] = &[
    // Our pause, counted against the peer.
    known(
        "message",
        A,
        "a message timed out in the time of our own pause",
        "C6: the message's clock runs through our pauses",
    ),
    known(
        "idle",
        A,
        "an idle timeout in the time of our own pause",
        "the idle clock runs through our pauses",
    ),
    known(
        "stalling",
        A,
        "a stalled write in the time of our own pause",
        "a lateness below the local pause is counted against the transport",
    ),
    known(
        "stalling, changing",
        A,
        "a stalled write in the time of our own pause, set_heartbeat first",
        "C3: set_heartbeat arms a deadline anew and forgets the lateness",
    ),
    known(
        "changing",
        A,
        "a live peer died of silence, set_heartbeat first after our pause",
        "C3: set_heartbeat arms a deadline anew and forgets the lateness",
    ),
    known(
        "changing",
        A,
        "a live peer died of silence when the policy changed",
        "C4: a shorter timeout condemns for the time before it",
    ),
    known(
        "changing",
        A,
        "a live peer died of silence",
        "a lateness below the local pause is counted against the peer",
    ),
    known(
        "changing",
        A,
        "a live peer died of silence, the timeout first after our pause",
        "a lateness below the local pause is counted against the peer",
    ),
    known(
        "stalling",
        A,
        "a live peer died of silence",
        "a lateness below the local pause is counted against the peer",
    ),
    known(
        "stalling",
        A,
        "a live peer died of silence, the timeout first after our pause",
        "a lateness below the local pause is counted against the peer",
    ),
    // Bytes that waited.
    known(
        "closing, ",
        A,
        "the closing handshake timed out while bytes of the peer were unread",
        "T7: the closing deadline needs no read that found nothing",
    ),
    known(
        "opening, ",
        A,
        "the closing handshake timed out while bytes of the peer were unread",
        "T7: the closing deadline needs no read that found nothing",
    ),
    known(
        "opening, ",
        A,
        "the opening handshake timed out while bytes of the peer were unread",
        "the opening deadline needs no read that found nothing",
    ),
    known(
        "idle",
        A,
        "an idle timeout while bytes of the peer were unread",
        "the idle deadline needs no read that found nothing",
    ),
    known(
        "idle",
        A,
        "an idle timeout while an event waits",
        "C9: the idle clock runs while an event waits to be taken",
    ),
    known(
        "stalling",
        A,
        "a stalled write without an attempt that took nothing",
        "a stall is judged after a second chance, tried or not",
    ),
    known(
        "stalling, changing",
        A,
        "a stalled write without an attempt that took nothing",
        "a stall is judged after a second chance, tried or not",
    ),
    // No end.
    known(
        "opening, ",
        B,
        C8,
        "C8: each late drive starts the opening deadline anew",
    ),
    known(
        "message",
        B,
        "a message goes on beyond its timeout, a read was not reported",
        "a judgement without a look is tried again after a whole timeout, not half",
    ),
    known(
        "dying",
        B,
        "a silent peer was not found, with grace and bytes under way counted",
        "T2: each pause grants a fresh ping and the full timeout",
    ),
    known(
        "forgetting",
        B,
        "a silent peer was not found, nor that nobody reads",
        "C12, rule 19: a forgotten report switches the heartbeat off without a sign",
    ),
    known(
        "short writes",
        G,
        "output left and no deadline",
        "C7: a short write that ends with a chunk is not taken for a blocked transport",
    ),
    // Suspicion.
    known(
        "switching off",
        C,
        C10,
        "C10: set_heartbeat(off()) keeps a suspicion for ever",
    ),
    known(
        "stalling",
        C,
        "death at the moment of suspicion",
        "P2: an extension that shrinks brings death forward, and suspicion with it",
    ),
    known(
        "",
        C,
        "death without a suspicion before it",
        "a pause, or a read that was not reported, can leave no time between suspicion and death",
    ),
    known(
        "",
        C,
        "death too soon after suspicion",
        "a pause, or a read that was not reported, shortens the time between suspicion and death",
    ),
    // What leaves.
    known(
        "whole messages",
        Oracle::Traffic,
        "a message of 1 MB on a fresh connection leaves in several frames",
        "C24, rule 17: messages are split at 64 KiB whatever the line",
    ),
    // Steps.
    known(
        "opening, ",
        Oracle::ShiftedTwice,
        NO_STEP[0],
        "a pause that ends at the deadline is invisible and costs the whole clock",
    ),
    known(
        "",
        Oracle::ShiftedTwice,
        NO_STEP[1],
        "a pause that ends at the deadline is invisible and costs the whole clock",
    ),
    known(
        "message",
        Oracle::ShiftedTwice,
        NO_STEP[2],
        "a pause that ends at the deadline is invisible and costs the whole clock",
    ),
    known(
        "idle",
        Oracle::ShiftedTwice,
        NO_STEP[3],
        "a pause that ends at the deadline is invisible and costs the whole clock",
    ),
    known(
        "",
        Oracle::ShiftedTwice,
        NO_STEP[4],
        "a pause that ends at the deadline is invisible and costs the whole clock",
    ),
];

impl Known {
    /// Whether this is about a world.
    #[must_use]
    pub fn is_of(&self, world: &str) -> bool {
        let is_part = self.world.is_empty() || self.world.ends_with(' ');
        self.world == world || is_part && world.starts_with(self.world)
    }
}

/// Whether a violation is known in some world, and came about as it does there.
#[must_use]
pub fn is_excused(violation: Violation, state: &State) -> bool {
    if !KNOWN.iter().any(|known| known.violation == violation) {
        return false;
    }
    match violation.oracle {
        // C7 is about the end of a chunk alone.
        Oracle::Stuck => state.ended_with_chunk,
        // Suspicion, and how long a peer is looked for, are right on a prompt host that reports
        // its reads, keeps its policy (C4) and whose transport takes what it is given; but C10.
        Oracle::NoWarning | Oracle::NotFound => {
            let is_by_itself = violation.class == C10 || violation.class == C8;
            state.is_disturbed() || state.was_changed || is_by_itself
        }
        // Here the class says it.
        _ => true,
    }
}

const C8: &str = "the opening handshake goes on beyond its timeout, after a pause";
const C10: &str = "suspicion stays though nobody watches any more";

/// Rule 17: a message of 1 MB on a fresh connection, where no rate was observed, is one frame.
///
/// # Errors
/// If it is not.
pub fn whole_messages() -> Result<(), Violation> {
    let mut connection = open(Role::Server, &with_heartbeat(ping(20_000, 20_000)));
    connection.send(vec![7; 1_000_000]).expect("room");
    let frames = drain_frames(&mut connection, Instant::ZERO);
    if frames.len() == 1 {
        return Ok(());
    }
    Err(Violation::new(
        Oracle::Traffic,
        "a message of 1 MB on a fresh connection leaves in several frames",
    ))
}
