//! A client that one keeps open, by hand or in a script.

mod linger;
mod mio;
mod report;
mod std;
mod stdin;
mod tokio;

use ::std::path::PathBuf;
use ::std::time::Duration;

use wspulse_core::extension::deflate::DeflateConfig;
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Config, ConfigError};
use wspulse_drive::{ConnectOptions, ReconnectPolicy, WhileDown};

use crate::output::Output;
use crate::{Failure, Runtime, args, tls};
use report::Report;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each line of standard input is sent as a text message, if it is UTF-8 and at most 16 MiB. After the
end of input the connection is closed with 1000, once no message came for --linger, or at the latest
after twenty times as long. Each text message received is a line of standard output; of a binary one
only the size is shown. What happens to the connection goes to standard error, one line each: open,
suspect, recovered, reconnecting, closed with the reason and its numbers. Ctrl-C closes with 1000 at
once, and a second one ends the program. When nobody reads standard output any more, the next
message closes the connection with 1000.

A message goes to a file or a pipe as it came. On a terminal its control characters are escaped,
except line ends and tabs: a server must not move the cursor. In every other line, and in JSON,
they are always escaped. With --json the events stand on standard output too.

Examples:
  wspulse connect ws://127.0.0.1:9001/
  wspulse connect wss://127.0.0.1:9001/ --ca ca.pem --ping-interval 5s --pong-timeout 10s
  wspulse connect ws://127.0.0.1:9001/ --header 'Authorization: Bearer 4711' --subprotocol chat.v2
  wspulse connect ws://127.0.0.1:9001/ --reconnect

Exit codes:
  0  the connection was closed in order, with 1000; or we closed it, and the server ended it in
     another way, which is noted
  1  it was not, or could not be made
  2  the command line makes no sense")]
pub(crate) struct Options {
    /// A ws:// or wss:// URL
    url: String,

    /// What runs the connection
    #[arg(long, value_enum, default_value_t)]
    runtime: Runtime,

    /// Ping the server after this much silence
    #[arg(long, value_name = "D", default_value = "20s", value_parser = args::duration)]
    ping_interval: Duration,

    /// Give the server up this long after an unanswered ping
    #[arg(long, value_name = "D", default_value = "20s", value_parser = args::duration)]
    pong_timeout: Duration,

    /// Send this header with the request; may be repeated
    #[arg(long, value_name = "NAME:VALUE")]
    header: Vec<String>,

    /// Offer this subprotocol; may be repeated
    #[arg(long, value_name = "NAME")]
    subprotocol: Vec<String>,

    /// Offer compressed messages (permessage-deflate)
    #[arg(long)]
    deflate: bool,

    /// After the end of input, stay until no message came for this long, then close; 0s closes at
    /// once
    #[arg(
        long,
        value_name = "D",
        default_value = "500ms",
        value_parser = args::duration_or_zero
    )]
    linger: Duration,

    /// Trust the certificates in this PEM file, and no others; the server's own may be among them
    #[arg(long, value_name = "PEM")]
    ca: Option<PathBuf>,

    /// Connect again when the connection is lost, with growing delays; not on mio. A line that was
    /// handed to a connection that is lost is not sent again. The end of input waits for the server
    /// while it is away
    #[arg(long)]
    reconnect: bool,
}

impl Options {
    fn config(&self) -> Result<Config, ConfigError> {
        let heartbeat = HeartbeatConfig::ping(self.ping_interval, self.pong_timeout);
        let deflate = self.deflate.then_some(DeflateConfig::DEFAULT);
        let config = Config::builder().heartbeat(heartbeat).deflate(deflate);
        config.build()
    }

    fn connect_options(&self) -> Result<ConnectOptions, Failure> {
        let config = self.config().map_err(Failure::usage)?;
        let mut options = tls::client(ConnectOptions::new(config), self.ca.as_deref())?;
        for header in &self.header {
            // The text is not repeated: it may be a secret with a typing mistake.
            let (name, value) =
                args::header(header).ok_or_else(|| Failure::usage("--header needs NAME:VALUE"))?;
            options = options.header(name, value);
        }
        for name in &self.subprotocol {
            options = options.subprotocol(name);
        }
        Ok(options)
    }
}

/// Keeps the connection until it is closed.
pub(crate) fn run(options: &Options, output: Output) -> Result<(), Failure> {
    let connect = options.connect_options()?;
    let report = Report::new(options, output);
    if options.reconnect && matches!(options.runtime, Runtime::Mio) {
        return Err(Failure::usage("--reconnect needs --runtime std or tokio"));
    }
    match options.runtime {
        Runtime::Tokio => crate::block_on(tokio::run(options, connect, report)),
        Runtime::Std => std::run(options, connect, report),
        Runtime::Mio => mio::run(options, connect, report),
    }
}

/// How a client comes back.
fn policy() -> ReconnectPolicy {
    ReconnectPolicy::default().while_down(WhileDown::Keep(16))
}

/// After a line that was not taken: there is no connection, and enough lines are kept for it.
const RETRY: Duration = Duration::from_millis(50);

/// How often is looked whether a close has left, or has had its time.
const LOOK: Duration = Duration::from_millis(100);
