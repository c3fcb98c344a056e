//! Buffers of long messages that were let go, for the next ones.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

use super::Connection;
use crate::event::Event;

/// Buffers of long messages, to gather the next ones in once nobody holds the message any more.
///
/// The buffer of a message grows with what arrives, and memory that is fresh from the system costs
/// more than everything else that is done with a megabyte. A pool spares that: one for each thread,
/// or for each loop of connections. It changes nothing that is sent or delivered.
///
/// It keeps messages of 128 KiB to 4 MiB, and no more than 4 MiB of them in all, of connections that
/// could have used a buffer; a handle that it holds is one more for [`Bytes::is_unique`]. The buffer
/// of a message that came in many frames may be up to twice as long as the message. A message gets
/// a buffer of at most twice the length that its frame announces, and no peer can make more of them
/// than it has sent messages.
///
/// ```
/// # use std::sync::Arc;
/// # use wspulse_core::{BufferPool, Config, Connection, Event, Instant, Role, Seed};
/// # let (now, config) = (Instant::ZERO, Arc::new(Config::default()));
/// # let seed = Seed::predictable_for_tests(1);
/// # let mut connection = Connection::from_upgrade(Role::Client, config, seed, now);
/// # let frame = [&[0x82, 127, 0, 0, 0, 0, 0, 4, 0, 0][..], &[7; 256 << 10]].concat();
/// # let mut reads = frame.chunks(64 << 10);
/// let mut pool = BufferPool::new();
/// # let mut messages = 0;
/// while let Some(mut input) = reads.next() {
///     pool.lend(&mut connection); // before the input
///     while let Some(event) = connection.next_event(now, &mut input) {
///         pool.keep(&event);
/// #       messages += 1;
///     }
/// }
/// # assert_eq!((messages, pool.held()), (1, 256 << 10));
/// ```
#[derive(Debug, Default)]
pub struct BufferPool {
    kept: VecDeque<Bytes>,
    /// Whether a message under way could have used a buffer since one was kept.
    is_wanted: bool,
}

impl BufferPool {
    /// Returns an empty pool.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            kept: VecDeque::new(),
            is_wanted: false,
        }
    }

    /// Gives the message that `connection` is receiving a buffer for all of it, if it is a long one
    /// that has none yet and there is one that nobody else holds.
    pub fn lend(&mut self, connection: &mut Connection) {
        let Some((message, length)) = connection.growing_message() else {
            return;
        };
        if !is_long(length) {
            return;
        }
        self.is_wanted = true;
        let fits =
            |kept: &Bytes| kept.len() >= length && kept.len() / 2 <= length && kept.is_unique();
        let Some(mut kept) = self
            .kept
            .iter()
            .position(fits)
            .and_then(|place| self.kept.remove(place))
        else {
            return;
        };
        // What is cut off need not be moved; without a byte there would be no buffer either.
        kept.truncate(1);
        let buffer = Vec::from(kept);
        // It may be longer than the message was that it held.
        if buffer.capacity() / 2 <= length {
            message.move_to(buffer);
        }
    }

    /// Tells whether an event is a message that is worth a call of [`keep`](Self::keep).
    #[must_use]
    #[inline]
    pub fn may_keep(event: &Event) -> bool {
        long_payload(event).is_some()
    }

    /// Keeps the buffer of an event that is a long message, if a connection could have used one.
    pub fn keep(&mut self, event: &Event) {
        let Some(payload) = long_payload(event) else {
            return;
        };
        if core::mem::take(&mut self.is_wanted) {
            self.kept.push_back(payload.clone());
        }
        while self.held() > LONGEST {
            self.kept.pop_front();
        }
    }

    /// Returns the length of all messages whose buffers it keeps.
    #[must_use]
    pub fn held(&self) -> usize {
        let lengths = self.kept.iter().map(Bytes::len);
        lengths.fold(0, usize::saturating_add)
    }
}

fn is_long(length: usize) -> bool {
    (SHORTEST..=LONGEST).contains(&length)
}

#[inline]
fn long_payload(event: &Event) -> Option<&Bytes> {
    let payload = match event {
        Event::Text(text) => text.as_bytes(),
        Event::Binary(payload) => payload,
        _ => return None,
    };
    is_long(payload.len()).then_some(payload)
}

/// Shorter messages are gathered in memory that allocators keep at hand.
const SHORTEST: usize = 128 << 10;

/// Of one message, and of all that are kept.
const LONGEST: usize = 4 << 20;
