//! Copies and hashes of a connection, for a test that searches through its states.
//!
//! Behind a feature of its own: two connections with the same masking keys must never talk to
//! anybody (RFC 6455 §10.3), and nothing but such a search needs them.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::hash::{Hash, Hasher};

use super::{Connection, Extras, Opening, Phase};

impl Connection {
    /// Returns a second connection in the same state, which answers the same calls with the same
    /// bytes, events and deadlines; `None` if compressed messages were agreed on, whose state
    /// cannot be copied.
    ///
    /// For tests that search through the states of a connection. Both draw the same masking keys.
    #[must_use]
    pub fn fork(&self) -> Option<Self> {
        // Every field by its name, so that a new one does not compile until it is copied.
        let Self {
            heartbeat,
            slot,
            decoder,
            phase,
            config,
            outgoing,
            incoming,
            extras,
            bucket,
            role,
            has_pinged,
            frame_is_short_text,
            flood_unreported,
            close_unreported,
            end_unreported,
            plain_below,
        } = self;
        let extras = match extras {
            Some(extras) => Some(Box::new(extras.fork()?)),
            None => None,
        };
        Some(Self {
            heartbeat: heartbeat.clone(),
            slot: slot.clone(),
            decoder: decoder.clone(),
            phase: phase.fork(),
            config: Arc::clone(config),
            outgoing: outgoing.clone(),
            incoming: incoming.clone(),
            extras,
            bucket: bucket.clone(),
            role: *role,
            has_pinged: *has_pinged,
            frame_is_short_text: *frame_is_short_text,
            flood_unreported: *flood_unreported,
            close_unreported: *close_unreported,
            end_unreported: *end_unreported,
            plain_below: *plain_below,
        })
    }
}

/// Everything that decides what happens next, but for the configuration and the masking keys: a
/// search has one configuration, and keys change no call's outcome but the masked bytes.
impl Hash for Connection {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self {
            heartbeat,
            slot,
            decoder,
            phase,
            config: _,
            outgoing,
            incoming,
            extras,
            bucket,
            role,
            has_pinged,
            frame_is_short_text,
            flood_unreported,
            close_unreported,
            end_unreported,
            plain_below: _,
        } = self;
        heartbeat.hash(state);
        slot.hash(state);
        decoder.hash(state);
        phase.hash(state);
        outgoing.hash(state);
        incoming.hash(state);
        if let Some(Extras {
            keys: _,
            timers,
            codec: _,
        }) = extras.as_deref()
        {
            timers.hash(state);
        }
        bucket.hash(state);
        role.hash(state);
        has_pinged.hash(state);
        frame_is_short_text.hash(state);
        flood_unreported.hash(state);
        close_unreported.hash(state);
        end_unreported.hash(state);
    }
}

impl Phase {
    fn fork(&self) -> Self {
        match self {
            Self::Opening(opening) => {
                let Opening {
                    side,
                    clock,
                    random,
                } = &**opening;
                Self::Opening(Box::new(Opening {
                    side: side.clone(),
                    clock: clock.clone(),
                    random: random.fork(),
                }))
            }
            Self::Open => Self::Open,
            Self::Ending(ending) => Self::Ending(ending.clone()),
            Self::Over(closed) => Self::Over(closed.clone()),
        }
    }
}

impl Hash for Phase {
    fn hash<H: Hasher>(&self, state: &mut H) {
        core::mem::discriminant(self).hash(state);
        match self {
            Self::Opening(opening) => {
                let Opening {
                    side,
                    clock,
                    random: _,
                } = &**opening;
                side.hash(state);
                clock.hash(state);
            }
            Self::Open => {}
            Self::Ending(ending) => ending.hash(state),
            Self::Over(closed) => closed.hash(state),
        }
    }
}

impl Extras {
    fn fork(&self) -> Option<Self> {
        let Self {
            keys,
            timers,
            codec,
        } = self;
        codec.is_none().then(|| Self {
            keys: keys.as_ref().map(crate::seed::SeedRng::fork),
            timers: timers.clone(),
            codec: None,
        })
    }
}
