//! Events that were read and that the application has not taken yet (rule 16).

use std::collections::VecDeque;
use std::fmt;

use wspulse_core::{ByteString, Bytes, Event};

use crate::input::READ_SIZE;

/// How much may wait in a connection's inbox: messages that were read, because somebody sends or
/// because the application is busy, and that the application has not taken.
///
/// A message counts its length and 64 bytes. Reading stops when either limit is reached. The
/// message that crosses the line is kept whole, so that an inbox holds at most `max_bytes` and one
/// message. While it is full nothing is read: the peer's pings are not answered, and the kernel
/// watches over the peer.
///
/// ```
/// use wspulse_drive::InboxLimits;
///
/// // Enough for a few hundred small messages.
/// let limits = InboxLimits::new().max_bytes(64 * 1024);
/// assert_eq!(limits, InboxLimits { max_bytes: 64 * 1024, max_messages: 65_536 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxLimits {
    /// Bytes of messages, each with 64 more; 1 MiB by default.
    pub max_bytes: usize,
    /// Messages; 65,536 by default.
    pub max_messages: usize,
}

impl InboxLimits {
    /// Starts from the defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_bytes: 1 << 20,
            max_messages: 65_536,
        }
    }

    /// Sets how many bytes may wait. 0 lets one event wait at a time.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets how many messages may wait. 0 lets one event wait at a time.
    #[must_use]
    pub const fn max_messages(mut self, messages: usize) -> Self {
        self.max_messages = messages;
        self
    }
}

impl Default for InboxLimits {
    fn default() -> Self {
        Self::new()
    }
}

/// A queue of events with a limit. Allocates nothing while it is empty and the limits are the
/// defaults: an idle connection is small.
#[derive(Default)]
pub(crate) struct Inbox(Option<Box<Queue>>);

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    bytes: usize,
    limits: InboxLimits,
}

impl Inbox {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|queue| queue.events.is_empty())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.events.len())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.bytes)
    }

    /// Tells whether no further event is to be taken in. One always may be.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.0.as_ref().is_some_and(|queue| {
            let limits = &queue.limits;
            let is_at =
                queue.bytes >= limits.max_bytes || queue.events.len() >= limits.max_messages;
            is_at && !queue.events.is_empty()
        })
    }

    /// Tells whether not even the rest of one read is to be taken in, at the end of the stream.
    pub(crate) fn is_overfull(&self) -> bool {
        self.bytes() >= self.limits().max_bytes.saturating_add(MAX_REST)
    }

    fn limits(&self) -> InboxLimits {
        let limits = self.0.as_ref().map(|queue| queue.limits);
        limits.unwrap_or_default()
    }

    pub(crate) fn set_limits(&mut self, limits: InboxLimits) {
        self.0.get_or_insert_default().limits = limits;
        self.release();
    }

    /// Adds an event behind those that wait, also to a full inbox.
    pub(crate) fn push(&mut self, event: Event) {
        let event = self.shrink(event);
        let queue = self.0.get_or_insert_default();
        queue.bytes = queue.bytes.saturating_add(cost(&event));
        queue.events.push_back(event);
    }

    /// Adds an event before those that wait.
    pub(crate) fn push_front(&mut self, event: Event) {
        let queue = self.0.get_or_insert_default();
        queue.bytes = queue.bytes.saturating_add(cost(&event));
        queue.events.push_front(event);
    }

    /// Takes the oldest event, and frees the memory with the last one.
    pub(crate) fn pop(&mut self) -> Option<Event> {
        let queue = self.0.as_mut()?;
        let event = queue.events.pop_front();
        queue.bytes = queue.bytes.saturating_sub(event.as_ref().map_or(0, cost));
        self.release();
        event
    }

    fn release(&mut self) {
        let Some(queue) = &mut self.0 else {
            return;
        };
        if queue.events.is_empty() {
            queue.events = VecDeque::new();
            if queue.limits == InboxLimits::new() {
                self.0 = None;
            }
        }
    }

    /// A payload may hold more memory than its length, up to twice as much, and nobody can ask
    /// for how much. A copy holds as much as is counted. A payload beyond the limit fills the
    /// inbox alone, and is not worth a copy.
    fn shrink(&self, event: Event) -> Event {
        let max_bytes = self.limits().max_bytes;
        let is_worth = |length| length > 0 && length <= max_bytes;
        match event {
            Event::Text(text) if is_worth(text.len()) => Event::Text(ByteString::from(&*text)),
            Event::Binary(data) if is_worth(data.len()) => {
                Event::Binary(Bytes::copy_from_slice(&data))
            }
            event => event,
        }
    }
}

/// The numbers, and none of the bytes.
impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("len", &self.len())
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

fn cost(event: &Event) -> usize {
    let payload = match event {
        Event::Text(text) | Event::TextPart(text) => text.len(),
        Event::Binary(data) | Event::BinaryPart(data) | Event::Ping(data) | Event::Pong(data) => {
            data.len()
        }
        _ => 0,
    };
    payload.saturating_add(OVERHEAD)
}

/// What one read brings at most, if each of its bytes were a message.
const MAX_REST: usize = READ_SIZE * OVERHEAD;

/// What an event costs beside its payload: its place in the queue and an allocation.
const OVERHEAD: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(length: usize) -> Event {
        Event::Binary(vec![7; length].into())
    }

    #[test]
    fn rule_16_the_message_that_crosses_the_line_is_kept_whole() {
        let mut inbox = Inbox::default();
        inbox.push(binary((1 << 20) - OVERHEAD - 1));
        assert!(!inbox.is_full());
        inbox.push(binary(5 << 20));
        assert!(inbox.is_full());
        assert_eq!(inbox.bytes(), (6 << 20) + OVERHEAD - 1);
        let lengths = std::iter::from_fn(|| inbox.pop()).map(|event| match event {
            Event::Binary(data) => data.len(),
            _ => 0,
        });
        assert_eq!(lengths.collect::<Vec<_>>(), [(1 << 20) - 65, 5 << 20]);
        assert!(inbox.is_empty() && !inbox.is_full() && inbox.bytes() == 0);
        assert!(inbox.0.is_none(), "an empty inbox holds nothing");
    }

    #[test]
    fn rule_16_both_limits_hold() {
        let mut inbox = Inbox::default();
        while !inbox.is_full() {
            inbox.push(binary(0));
        }
        assert_eq!(inbox.len(), (1 << 20) / OVERHEAD);

        let mut inbox = Inbox::default();
        inbox.set_limits(InboxLimits::new().max_bytes(usize::MAX));
        while !inbox.is_full() {
            inbox.push(binary(0));
        }
        assert_eq!(inbox.len(), 65_536);
    }

    #[test]
    fn an_inbox_of_nothing_lets_one_event_wait() {
        let mut inbox = Inbox::default();
        inbox.set_limits(InboxLimits::new().max_bytes(0));
        assert!(!inbox.is_full());
        inbox.push(Event::Suspect);
        assert!(inbox.is_full());
    }
}
