//! The contestants: echo servers, each on one thread (the blocking ones on one a connection), in
//! processes of their own.
//!
//! Each is written as its project writes its own echo example, with that example's settings. All
//! of them set TCP_NODELAY.

mod child;
mod fast;
mod on_mio;
mod on_std;
mod on_tokio;
mod peers;
mod pings;
mod tcp;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use wspulse_core::Config;
use wspulse_core::heartbeat::HeartbeatConfig;

pub use self::child::{Child, obey, raise_descriptor_limit};
use crate::load::Talk;

/// Whose server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// wspulse's.
    Ours,
    /// A peer's.
    Peer,
    /// Nobody's: the bytes alone.
    Limit,
}

/// A server by name.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// What it is called on the command line and in tables.
    pub name: &'static str,
    /// Whose it is.
    pub side: Side,
    /// What a load speaks with it.
    pub talk: Talk,
    /// Tells whether it takes a thread for each connection.
    pub is_threaded: bool,
    serve: Serve,
}

impl Server {
    const fn new(name: &'static str, side: Side, serve: Serve) -> Self {
        Self {
            name,
            side,
            talk: match side {
                Side::Limit => Talk::Tcp,
                Side::Ours | Side::Peer => Talk::WebSocket,
            },
            is_threaded: false,
            serve,
        }
    }

    const fn threaded(mut self) -> Self {
        self.is_threaded = true;
        self
    }

    /// Serves for as long as the process is there.
    fn serve(&self, listener: TcpListener, heartbeat: Option<Duration>) -> io::Result<()> {
        let mut config = Config::builder();
        if let Some(interval) = heartbeat {
            config = config.heartbeat(HeartbeatConfig::ping(interval, PONG_TIMEOUT));
        }
        let config = Arc::new(config.build().map_err(io::Error::other)?);
        listener.set_nonblocking(!self.is_threaded)?;
        (self.serve)(listener, Settings { config, heartbeat })
    }
}

/// Serves all connections of a listener.
type Serve = fn(TcpListener, Settings) -> io::Result<()>;

/// How it is to serve.
struct Settings {
    /// wspulse's.
    config: Arc<Config>,
    /// How often a silent connection is pinged; if not said, as often as is the default.
    heartbeat: Option<Duration>,
}

/// Long enough for a machine that is busy.
const PONG_TIMEOUT: Duration = Duration::from_secs(10);

/// All of them.
pub const SERVERS: &[Server] = &[
    Server::new("wspulse-tokio", Side::Ours, on_tokio::plain),
    Server::new("wspulse-tokio-send", Side::Ours, on_tokio::send),
    Server::new("wspulse-tokio-forward", Side::Ours, on_tokio::forward),
    Server::new("wspulse-mio", Side::Ours, on_mio::serve),
    Server::new("wspulse-std", Side::Ours, on_std::serve).threaded(),
    Server::new("wspulse-std-send", Side::Ours, on_std::send).threaded(),
    Server::new("tungstenite", Side::Peer, peers::tungstenite),
    Server::new(
        "tungstenite-forward",
        Side::Peer,
        peers::tungstenite_forward,
    ),
    Server::new("fastwebsockets", Side::Peer, fast::serve),
    Server::new("tokio-websockets", Side::Peer, peers::tokio_websockets),
    Server::new(
        "tokio-websockets-forward",
        Side::Peer,
        peers::tokio_websockets_forward,
    ),
    Server::new("sockudo-ws", Side::Peer, peers::sockudo),
    Server::new("tcp-tokio", Side::Limit, tcp::on_tokio),
    Server::new("tcp-mio", Side::Limit, tcp::on_mio),
];

/// Pings over bare sockets, beside the heartbeats of servers.
pub const BARE_PINGS: &Server = &Server::new("bare", Side::Limit, pings::serve);

/// Returns the server of this name.
#[must_use]
pub fn server(name: &str) -> Option<&'static Server> {
    let mut all = SERVERS.iter().chain([BARE_PINGS]);
    all.find(|server| server.name == name)
}
