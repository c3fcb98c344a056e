//! Puts our client to an Autobahn fuzzing server:
//! `autobahn_client [--deflate] tokio|std|mio ws://ADDR:PORT AGENT [PARALLEL]`.
//!
//! Runs every case that the server has, `PARALLEL` at a time (8 by default), each on a connection
//! of its own, and has the report written. Whether a case is good is for the report to say.

mod mio;
mod std;
mod tokio;

use ::std::process::ExitCode;
use ::std::sync::Arc;
use ::std::time::Duration;

use wspulse_core::extension::deflate::DeflateConfig;
use wspulse_core::{Cause, Config};
use wspulse_drive::Error;

/// A fuzzing server, and how it is met.
struct Server {
    url: String,
    agent: String,
    parallel: usize,
    config: Arc<Config>,
}

fn main() -> ExitCode {
    let (options, words): (Vec<_>, Vec<_>) = ::std::env::args()
        .skip(1)
        .partition(|word| word.starts_with("--"));
    let [runtime, url, agent, rest @ ..] = &words[..] else {
        return usage("a runtime, a server and a name are needed");
    };
    let parallel = rest.first().map_or(Ok(8), |text| text.parse());
    let Ok(parallel @ 1..) = parallel else {
        return usage("PARALLEL is not a positive number");
    };
    if let Some(option) = options.iter().find(|option| *option != "--deflate") {
        return usage(&format!("there is no {option}"));
    }
    let server = Server {
        url: url.clone(),
        agent: agent.clone(),
        parallel,
        config: Arc::new(config(!options.is_empty())),
    };
    let done = match &runtime[..] {
        "tokio" => tokio::run(server),
        "std" => std::run(&server),
        "mio" => mio::run(server),
        _ => return usage("the runtime is tokio, std or mio"),
    };
    match done {
        Ok(count) => {
            println!("{count} cases");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("autobahn_client: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage(what: &str) -> ExitCode {
    eprintln!("autobahn_client: {what}");
    eprintln!("usage: autobahn_client [--deflate] tokio|std|mio ws://ADDR:PORT AGENT [PARALLEL]");
    ExitCode::from(2)
}

/// The largest messages of section 9 have 16 MiB, and a busy fuzzing server is slow to answer.
fn config(offers_deflate: bool) -> Config {
    let mut config = Config::builder().handshake_timeout(Duration::from_secs(60));
    if offers_deflate {
        // Some cases answer with 15 bits, which only fits an offer of as many.
        config = config.deflate(Some(DeflateConfig::DEFAULT.window_bits(15)));
    }
    config.build().expect("a configuration that can work")
}

impl Server {
    /// Where one text message says how many cases there are.
    fn count(&self) -> String {
        format!("{}/getCaseCount", self.url)
    }

    fn case(&self, number: usize) -> String {
        format!("{}/runCase?case={number}&agent={}", self.url, self.agent)
    }

    /// Where the report is written.
    fn report(&self) -> String {
        format!("{}/updateReports?agent={}", self.url, self.agent)
    }
}

/// Most cases end the connection on purpose, in ways that no peer should.
fn is_on_purpose(error: &Error) -> bool {
    match error {
        Error::Closed(closed) => matches!(closed.cause, Cause::Protocol(_) | Cause::Eof),
        _ => false,
    }
}

fn say_failed(case: usize, error: &Error) {
    eprintln!("case {case}: {error}");
}
