//! What all connections of the process under test share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use wspulse_core::{Config, Message};
use wspulse_tests::kit::ms;
use wspulse_tests::rng::Rng;

use crate::books::{Books, Tally};
use crate::plan::Plan;
use crate::talk::Talk;

/// A soak.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) seed: u64,
    pub(crate) books: Arc<Books>,
    pub(crate) config: Arc<Config>,
    /// The echo servers to connect to.
    pub(crate) peers: Vec<SocketAddr>,
}

impl Scene {
    /// Has client `who` begin its `nth` connection.
    pub(crate) fn talk(&self, who: u64, nth: u64) -> Talk {
        Talk::new(&self.books, self.plan(who, nth))
    }

    pub(crate) fn plan(&self, who: u64, nth: u64) -> Plan {
        Plan::new(self.seed, who, nth)
    }

    /// Spreads clients over the peers.
    pub(crate) fn peer(&self, who: u64) -> SocketAddr {
        self.peers[who as usize % self.peers.len()]
    }

    pub(crate) fn url(&self, who: u64) -> String {
        format!("ws://{}/", self.peer(who))
    }

    /// Enters a client's connection; what should not be gets a name.
    pub(crate) fn enter(
        &self,
        kind: &'static str,
        (who, nth): (u64, u64),
        tally: Tally,
        end: Result<String, String>,
    ) {
        let peer = self.peer(who);
        let named = |failure| format!("client {who}, connection {nth}, to {peer}: {failure}");
        self.books.enter(kind, tally, end.map_err(named));
    }
}

/// A heartbeat that is often heard, and patience for a machine that is shared.
pub(crate) fn config() -> Arc<Config> {
    let heartbeat = wspulse_core::heartbeat::HeartbeatConfig::ping(ms(1_000), PATIENCE);
    let config = Config::builder()
        .heartbeat(heartbeat)
        .handshake_timeout(PATIENCE)
        .close_timeout(PATIENCE);
    Arc::new(config.build().expect("a configuration that can work"))
}

/// How long each life of a server is, and how long it is away after that.
#[derive(Debug)]
pub(crate) struct Rhythm(Rng);

impl Rhythm {
    pub(crate) fn new(scene: &Scene, server: u64) -> Self {
        Self(Rng::new(scene.seed ^ (server << 56)))
    }

    pub(crate) fn life(&mut self) -> Duration {
        self.0.span(ms(2_000)..=ms(10_000))
    }

    pub(crate) fn absence(&mut self) -> Duration {
        self.0.span(ms(10)..=ms(300))
    }
}

/// What a server echoed.
pub(crate) fn count(tally: &mut Tally, message: &Message) {
    tally.messages += 1;
    tally.bytes += message.len() as u64;
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Over which time a server tells its clients to go, and until when they have to have gone.
pub(crate) const SPREAD: Duration = ms(300);
pub(crate) const DEADLINE: Duration = Duration::from_secs(25);

/// How often those look around who have nothing else to wake them.
pub(crate) const TICK: Duration = ms(50);
