//! What the application learns, and in which order.

use alloc::boxed::Box;

use super::{Connection, Phase};
use crate::event::{Event, Notice};
use crate::heartbeat::HeartbeatEvent;
use crate::time::Instant;

impl Connection {
    /// Returns the next thing the application should know.
    #[must_use = "an event is told once"]
    #[inline(always)]
    pub fn poll_event(&mut self) -> Option<Event> {
        if !self.is_quiet()
            && let Some(notice) = self.poll_notice()
        {
            return Some(notice.into());
        }
        self.slot.take()
    }

    /// Returns the next event, for which it hands over bytes from the front of `input`: what
    /// [`poll_event`](Self::poll_event) and [`handle_input`](Self::handle_input) do by turns, at
    /// less cost for each message. `None` if there is no event and nothing more is taken:
    /// `input` is used up, or a request waits for its answer.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use wspulse_core::{Config, Connection, Event, Instant, Role, Seed};
    /// # let now = Instant::ZERO;
    /// # let config = Arc::new(Config::default());
    /// # let mut connection =
    /// #     Connection::from_upgrade(Role::Client, config, Seed::predictable_for_tests(1), now);
    /// let mut input = &b"\x81\x05Hello\x81\x05World"[..];
    /// let mut texts = Vec::new();
    /// while let Some(event) = connection.next_event(now, &mut input) {
    ///     if let Event::Text(text) = event {
    ///         texts.push(text);
    ///     }
    /// }
    /// assert_eq!(texts, ["Hello", "World"]);
    /// ```
    #[inline(always)]
    #[must_use = "an event is told once"]
    pub fn next_event(&mut self, now: Instant, input: &mut &[u8]) -> Option<Event> {
        let now = self.observe(now);
        loop {
            let event = self.poll_event();
            // One ahead: what is asked for lies in memory by then, and is not on its way there.
            // Only messages, that none is failed over what follows before it could be answered.
            if let Some(rest) = self.receive_message(now, input) {
                *input = rest;
                if event.is_some() {
                    return event;
                }
                continue;
            }
            if event.is_some() {
                return event;
            }
            let taken = self.receive(now, input);
            if taken == 0 {
                return None;
            }
            *input = input.get(taken..).unwrap_or_default();
        }
    }

    /// Whether nothing but the slot has an event, and no doubt of the peer is to be lifted.
    #[inline(always)]
    pub(super) fn is_quiet(&self) -> bool {
        let unreported = self.flood_unreported | self.end_unreported | self.close_unreported;
        matches!(self.phase, Phase::Open) && !self.heartbeat.is_in_doubt() && !unreported
    }

    /// Returns what is to be told before the event in the slot, or what follows if there is none.
    fn poll_notice(&mut self) -> Option<Notice> {
        // An end that was told is the last word.
        if !matches!(self.phase, Phase::Opening(_) | Phase::Over(None)) {
            match self.heartbeat.poll_event() {
                Some(HeartbeatEvent::Suspect) => return Some(Notice::Suspect),
                Some(HeartbeatEvent::Recovered) => return Some(Notice::Recovered),
                // With an `unread_timeout` the connection ends of it.
                Some(HeartbeatEvent::NotRead)
                    if matches!(self.phase, Phase::Open)
                        && !self.heartbeat.is_unread_for_too_long() =>
                {
                    return Some(Notice::NotRead);
                }
                Some(HeartbeatEvent::NotRead | HeartbeatEvent::Dead(_)) | None => {}
            }
        }
        if core::mem::take(&mut self.flood_unreported) {
            return Some(Notice::ControlFlood);
        }
        if self.slot.is_some() {
            return None;
        }
        if core::mem::take(&mut self.end_unreported) {
            return Some(Notice::MessageEnd);
        }
        if core::mem::take(&mut self.close_unreported) {
            let received = match &self.phase {
                Phase::Ending(ending) => ending.received.clone(),
                Phase::Over(Some(closed)) => closed.received.clone(),
                _ => None,
            };
            if let Some(frame) = received {
                return Some(Notice::Closing(Box::new(frame)));
            }
        }
        match &mut self.phase {
            Phase::Over(closed) => closed.take().map(Notice::Closed),
            _ => None,
        }
    }
}
