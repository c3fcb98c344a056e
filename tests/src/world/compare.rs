//! Two heartbeats in one: both are told the same, and must answer the same.

use std::time::Duration;

use wspulse_core::Instant;

use super::heartbeat::{Engine, Event};
use super::oracle::{Death, Policy};

/// Two engines; the world sees the answers of the first one, and the first difference.
///
/// Deadlines, pings, events and samples have to be the same after every call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Both<A, B> {
    a: A,
    b: B,
    difference: Option<&'static str>,
}

impl<A: Engine, B: Engine> Both<A, B> {
    /// Puts two engines side by side. In the names of differences, `a` is the shipped one and `b`
    /// the reference.
    #[must_use]
    pub const fn new(a: A, b: B) -> Self {
        Self {
            a,
            b,
            difference: None,
        }
    }

    fn differ(&mut self, class: &'static str) {
        self.difference = self.difference.or(Some(class));
    }
}

impl<A: Engine, B: Engine> Engine for Both<A, B> {
    fn received(&mut self, now: Instant) {
        self.a.received(now);
        self.b.received(now);
    }

    fn frame(&mut self, now: Instant) {
        self.a.frame(now);
        self.b.frame(now);
    }

    fn pong(&mut self, now: Instant, number: u16) -> Option<Duration> {
        let (a, b) = (self.a.pong(now, number), self.b.pong(now, number));
        match (a, b) {
            _ if a == b => {}
            (Some(_), None) => self.differ("a sample, the reference has none"),
            (None, _) => self.differ("no sample, the reference has one"),
            _ => self.differ("another sample than the reference's"),
        }
        a
    }

    fn would_block(&mut self, now: Instant) {
        self.a.would_block(now);
        self.b.would_block(now);
    }

    fn transmitted(&mut self, now: Instant, taken: u32, blocked: bool) {
        self.a.transmitted(now, taken, blocked);
        self.b.transmitted(now, taken, blocked);
    }

    fn ping_sent(&mut self, now: Instant) {
        self.a.ping_sent(now);
        self.b.ping_sent(now);
    }

    fn timeout(&mut self, now: Instant) {
        self.a.timeout(now);
        self.b.timeout(now);
    }

    fn resumed(&mut self, now: Instant) {
        self.a.resumed(now);
        self.b.resumed(now);
    }

    fn set_policy(&mut self, now: Instant, policy: &Policy) {
        self.a.set_policy(now, policy);
        self.b.set_policy(now, policy);
    }

    fn poll_ping(&mut self) -> Option<u16> {
        let (a, b) = (self.a.poll_ping(), self.b.poll_ping());
        match (a, b) {
            (Some(_), None) => self.differ("a ping, the reference sends none"),
            (None, Some(_)) => self.differ("no ping, the reference sends one"),
            _ if a != b => self.differ("another number of pings than the reference"),
            _ => {}
        }
        a
    }

    fn poll_event(&mut self) -> Option<Event> {
        let (a, b) = (self.a.poll_event(), self.b.poll_event());
        match (a, b) {
            _ if a == b => {}
            (Some(Event::Suspect), Some(Event::Dead(_)) | None) => {
                self.differ("suspicion, the reference has none");
            }
            (Some(Event::Recovered), _) => self.differ("recovery, the reference has none"),
            (Some(Event::Dead(Death::Silence)), _) => {
                self.differ("death by silence, the reference lets it live");
            }
            (Some(Event::Dead(Death::WriteStalled)), _) => {
                self.differ("death by a stalled write, the reference lets it live");
            }
            (_, Some(Event::Suspect)) => self.differ("no suspicion, the reference has one"),
            (_, Some(Event::Recovered)) => self.differ("no recovery, the reference has one"),
            (_, Some(Event::Dead(_))) => self.differ("no death, the reference gives it up"),
            (_, Some(Event::NotRead)) => self.differ("no word that nobody reads"),
            (Some(_), _) => self.differ("another event than the reference's"),
            (None, None) => {}
        }
        a
    }

    fn deadline(&self) -> Option<Instant> {
        self.a.deadline()
    }

    fn disagreement(&self) -> Option<&'static str> {
        let another = self.a.deadline() != self.b.deadline();
        let deadline = another.then_some("another deadline than the reference's");
        self.difference.or(deadline)
    }
}
