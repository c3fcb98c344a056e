//! An echo server.

mod mio;
mod std;
mod tokio;

use ::std::fmt;
use ::std::net::SocketAddr;
use ::std::sync::Arc;
use ::std::time::Duration;

use rustls::ServerConfig;
use serde_json::json;
use wspulse_core::extension::deflate::DeflateConfig;
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Closed, Config};
use wspulse_drive::Error;

use crate::output::Output;
use crate::{Failure, Runtime, args, tls};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Prints 'listening on ADDR:PORT' once it is ready, then a line for each connection that ends,
with the reason. SIGINT and SIGTERM close every connection with 1001 and end with exit code 0.

Examples:
  wspulse echo
  wspulse echo --listen 127.0.0.1:0 --json
  wspulse echo --ping-interval 5s --pong-timeout 10s --max-message 64MiB
  wspulse echo --runtime mio --cert server.pem --key server.key

Exit codes:
  0  stopped by a signal
  1  the address cannot be listened on, or the certificate cannot be used
  2  the command line makes no sense")]
pub(crate) struct Options {
    /// Where to listen; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9001")]
    listen: SocketAddr,

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

    #[command(flatten)]
    identity: tls::Identity,
}

/// Serves until a signal comes.
pub(crate) fn run(options: &Options, output: Output) -> Result<(), Failure> {
    let heartbeat = HeartbeatConfig::ping(options.ping_interval, options.pong_timeout);
    let deflate = (!options.no_deflate).then_some(DeflateConfig::DEFAULT);
    let config = Config::builder()
        .heartbeat(heartbeat)
        .deflate(deflate)
        .max_message_size(options.max_message)
        .max_frame_size(options.max_message)
        .build()
        .map_err(Failure::usage)?;
    let server = Server {
        listen: options.listen,
        config: Arc::new(config),
        tls: options.identity.load()?,
        output,
    };
    match options.runtime {
        Runtime::Tokio => crate::block_on(tokio::run(server)),
        Runtime::Std => std::run(server),
        Runtime::Mio => mio::run(server),
    }
}

/// What every runtime serves.
struct Server {
    listen: SocketAddr,
    config: Arc<Config>,
    tls: Option<Arc<ServerConfig>>,
    output: Output,
}

impl Server {
    fn cannot_listen(&self, error: impl fmt::Display) -> Failure {
        Failure::Failed(format!("cannot listen on {}: {error}", self.listen))
    }

    fn say_listening(&self, address: SocketAddr) {
        self.output.line(
            format_args!("listening on {address}"),
            &json!({ "event": "listening", "address": address.to_string() }),
        );
    }

    /// How long connections have to close once the server is to stop.
    fn patience(&self) -> Duration {
        let close = self.config.close_timeout();
        close.saturating_add(Duration::from_secs(1))
    }
}

/// Such as too many open files: others will have to go first.
fn say_not_accepted(error: impl fmt::Display) {
    eprintln!("wspulse: cannot accept: {error}");
}

fn say_ended(
    output: Output,
    peer: impl Into<Option<SocketAddr>>,
    end: impl fmt::Display,
    messages: u64,
) {
    let peer = peer.into().map(|address| address.to_string());
    let name = peer.as_deref().unwrap_or("a client");
    output.line(
        format_args!("{name}: {end} ({messages} messages)"),
        &json!({
            "event": "ended",
            "peer": peer,
            "reason": end.to_string(),
            "messages": messages,
        }),
    );
}

/// Says how a connection ended: in the words of its end, or of its transport's.
fn words(end: Result<(), Error>, closed: Option<&Closed>) -> String {
    match (end, closed) {
        (Err(error @ (Error::Io(_) | Error::Tls(_))), _) => error.to_string(),
        (_, Some(closed)) => closed.to_string(),
        (Err(error), None) => error.to_string(),
        (Ok(()), None) => "closed".into(),
    }
}

/// After a failed accept, so that the failure is not met again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What clients read when the server stops.
const STOPPING: &str = "the server is stopping";
