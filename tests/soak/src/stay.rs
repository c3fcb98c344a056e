//! A client that comes back whatever the peer does, without I/O.

use std::time::Duration;

use wspulse_core::Message;
use wspulse_core::backoff::BackoffConfig;
use wspulse_tests::kit::ms;
use wspulse_tokio::{Error, ReconnectEvent, ReconnectPolicy};

use crate::books::judge;
use crate::plan::whole;
use crate::scene::Scene;
use crate::talk::{Next, Talk};

/// Follows plan after plan, over all connections. It ends none of them by itself.
pub(crate) struct Stay<'a> {
    scene: &'a Scene,
    kind: &'static str,
    who: u64,
    nth: u64,
    /// While there is a connection.
    talk: Option<Talk>,
}

/// What to do next.
pub(crate) enum Do {
    /// Send; if it is refused, the end of the connection is told next.
    Send(Message),
    /// Wait for an event, so long at most.
    Wait(Duration),
    /// Close.
    Close,
    /// Go: there is nothing to close.
    Leave,
}

impl<'a> Stay<'a> {
    pub(crate) fn new(scene: &'a Scene, kind: &'static str, who: u64) -> Self {
        Self {
            scene,
            kind,
            who,
            nth: 0,
            talk: None,
        }
    }

    pub(crate) fn next(&mut self) -> Do {
        let is_over = self.scene.books.is_over();
        let Some(talk) = &mut self.talk else {
            return match is_over {
                true => Do::Leave,
                false => Do::Wait(ms(100)),
            };
        };
        loop {
            match talk.next() {
                Next::Send(parts) => return Do::Send(whole(&parts)),
                Next::Close(_) if is_over => return Do::Close,
                Next::Close(_) | Next::Abort => {
                    self.nth += 1;
                    talk.follow(self.scene.plan(self.who, self.nth));
                }
                // It has no pings of its own.
                Next::Ping(_) => {}
                Next::Pause(pause) => return Do::Wait(pause),
                Next::Wait => return Do::Wait(ms(500)),
            }
        }
    }

    /// Takes what happened.
    ///
    /// # Errors
    ///
    /// If it should not have.
    pub(crate) fn hear(&mut self, event: Option<ReconnectEvent>) -> Result<(), String> {
        match event {
            Some(ReconnectEvent::Opened { .. }) => {
                self.nth += 1;
                self.talk = Some(self.scene.talk(self.who, self.nth));
                Ok(())
            }
            Some(ReconnectEvent::Connection(event)) => match &mut self.talk {
                Some(talk) => talk.hear(event),
                None => Err("an event before the opening".to_owned()),
            },
            Some(ReconnectEvent::Down { reason, .. }) => {
                let end = reason.closed().map(judge);
                self.enter(end.unwrap_or_else(|| Err(reason.to_string())));
                Ok(())
            }
            other => Err(format!("does not go on: {other:?}")),
        }
    }

    /// # Errors
    ///
    /// If an echo is outstanding for too long.
    pub(crate) fn check_patience(&self) -> Result<(), String> {
        self.talk.as_ref().map_or(Ok(()), Talk::check_patience)
    }

    /// Takes how closing ended.
    pub(crate) fn closed(&mut self, end: Result<(), Error>) {
        self.enter(match end {
            Ok(()) => Ok("1000".to_owned()),
            Err(Error::Closed(closed)) => judge(&closed),
            Err(error) => Err(error.to_string()),
        });
    }

    fn enter(&mut self, end: Result<String, String>) {
        let tally = self.talk.take().map(|talk| talk.tally).unwrap_or_default();
        self.scene
            .enter(self.kind, (self.who, self.nth), tally, end);
    }
}

/// Short, for the test's sake.
pub(crate) fn policy() -> ReconnectPolicy {
    let backoff = BackoffConfig::default()
        .first(ms(200))
        .base(ms(100))
        .cap(ms(1_000))
        .min_uptime(ms(500));
    ReconnectPolicy::new(backoff)
}
