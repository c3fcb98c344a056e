//! An echo server.

mod log;
mod mio;
mod std;
mod tokio;

use ::std::fmt;
use ::std::net::SocketAddr;
use ::std::sync::Arc;
use ::std::time::Duration;

use rustls::ServerConfig;
use wspulse_core::extension::deflate::DeflateConfig;
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Closed, Config};
use wspulse_drive::Error;

use crate::args::Listen;
use crate::cause::Why;
use crate::output::Output;
use crate::{Failure, Runtime, args, tls};
use log::Log;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Prints 'listening on ADDR:PORT' once it is ready, then a line for each connection that ends,
with the reason. What a client says is printed with its control characters escaped. Where nobody
reads the lines, they are dropped and counted; connections do not wait for them.
SIGINT and SIGTERM close every connection with 1001 and end with exit code 0.

Examples:
  wspulse echo
  wspulse echo --listen 127.0.0.1:0 --json
  wspulse echo --listen localhost:9001
  wspulse echo --ping-interval 5s --pong-timeout 10s --max-message 64MiB
  wspulse echo --runtime mio --cert server.pem --key server.key

Exit codes:
  0  stopped by a signal
  1  the address cannot be listened on, or the certificate cannot be used
  2  the command line makes no sense")]
pub(crate) struct Options {
    /// Where to listen: HOST:PORT, or a PORT of 127.0.0.1; port 0 picks a free one
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:9001",
        value_parser = Listen::parse
    )]
    listen: Listen,

    /// What runs the connections
    #[arg(long, value_enum, default_value_t)]
    runtime: Runtime,

    /// Ping a peer after this much silence
    #[arg(long, value_name = "D", default_value = "20s", value_parser = args::duration)]
    ping_interval: Duration,

    /// Give a peer up this long after an unanswered ping
    #[arg(long, value_name = "D", default_value = "20s", value_parser = args::duration)]
    pong_timeout: Duration,

    /// The longest message taken
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = args::size)]
    max_message: u64,

    /// Do not agree to compressed messages (permessage-deflate) where a client offers them
    #[arg(long)]
    no_deflate: bool,

    /// Send messages below this length as they are, also where compression was agreed on; 0
    /// compresses all of them, for clients that cannot read a mixture (libwebsockets 4.1)
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 64,
        conflicts_with = "no_deflate"
    )]
    deflate_threshold: usize,

    #[command(flatten)]
    identity: tls::Identity,
}

/// Serves until a signal comes.
pub(crate) fn run(options: &Options, output: Output) -> Result<(), Failure> {
    let heartbeat = HeartbeatConfig::ping(options.ping_interval, options.pong_timeout);
    let deflate = DeflateConfig::DEFAULT.threshold(options.deflate_threshold);
    let deflate = (!options.no_deflate).then_some(deflate);
    let config = Config::builder()
        .heartbeat(heartbeat)
        .deflate(deflate)
        .max_message_size(options.max_message)
        .max_frame_size(options.max_message)
        .build()
        .map_err(Failure::usage)?;
    let listen = options.listen.clone();
    let addresses = listen
        .addresses()
        .map_err(|error| cannot_listen(&listen, error))?;
    let log = Log::start(output);
    let server = Server {
        listen,
        addresses,
        config: Arc::new(config),
        tls: options.identity.load()?,
        pong_timeout: options.pong_timeout,
        log: log.clone(),
    };
    let end = match options.runtime {
        Runtime::Tokio => crate::block_on(tokio::run(server)),
        Runtime::Std => std::run(server),
        Runtime::Mio => mio::run(server),
    };
    log.finish();
    end
}

fn cannot_listen(listen: &Listen, error: impl fmt::Display) -> Failure {
    Failure::because("listen", format_args!("cannot listen on {listen}: {error}"))
}

/// What every runtime serves.
struct Server {
    listen: Listen,
    /// What its host leads to; the first that can be had is listened on.
    addresses: Vec<SocketAddr>,
    config: Arc<Config>,
    tls: Option<Arc<ServerConfig>>,
    pong_timeout: Duration,
    log: Log,
}

impl Server {
    fn cannot_listen(&self, error: impl fmt::Display) -> Failure {
        cannot_listen(&self.listen, error)
    }

    /// Says how a connection ended: in the words of its end, or of its transport's.
    fn why(&self, end: Result<(), Error>, closed: Option<&Closed>) -> Why {
        let pong_timeout = Some(self.pong_timeout);
        match (end, closed) {
            (Err(error @ (Error::Io(_) | Error::Tls(_))), _) => Why::end(&error, pong_timeout),
            (_, Some(closed)) => Why::closed(closed, pong_timeout),
            (Err(error), None) => Why::end(&error, pong_timeout),
            (Ok(()), None) => Why::new("closed", "closed"),
        }
    }

    /// How long connections have to close once the server is to stop.
    fn patience(&self) -> Duration {
        let close = self.config.close_timeout();
        close.saturating_add(Duration::from_secs(1))
    }
}

/// After a failed accept, so that the failure is not met again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What clients read when the server stops.
const STOPPING: &str = "the server is stopping";
