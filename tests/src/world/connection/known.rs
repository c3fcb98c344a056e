//! What is known to fail over a connection. The list must shrink to nothing: the test fails when
//! an entry passes, and when anything fails that is not listed.
//!
//! Behind each entry is what the code does against a rule. A search stops at a violation, so that an
//! entry hides what would come after it.

use wspulse_core::{Instant, Role};

use crate::kit::{drain_frames, open, ping, with_heartbeat};
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
    // What leaves.
    known(
        "whole messages",
        Oracle::Traffic,
        "a message of 1 MB on a fresh connection leaves in several frames",
        "C24, rule 17: messages are split at 64 KiB whatever the line",
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
