//! WebSocket on the command line.

#![forbid(unsafe_code)]

mod args;
mod demo;
mod echo;
mod output;
mod ping;
mod stop;

use std::fmt;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime;

use output::Output;

/// WebSocket connections that stay alive, and know when they are dead.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,

    /// Print one JSON object per line, for machines
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show in 15 seconds how a dead peer is noticed, on loopback
    Demo(demo::Options),
    /// Serve: send every message back
    Echo(echo::Options),
    /// Measure round trips to a WebSocket server, like ping(8)
    Ping(ping::Options),
}

const EXAMPLES: &str = "\
Examples:
  wspulse demo
  wspulse echo --listen 127.0.0.1:9001 --ping-interval 5s --pong-timeout 10s
  wspulse ping ws://127.0.0.1:9001/ --count 5

Exit codes:
  0  it worked
  1  it failed: a step of the demo missed its bound, no pong came back,
     the connection ended, an address is in use
  2  the command line makes no sense";

/// Why a command did not work, in one line.
#[derive(Debug)]
enum Failure {
    /// The command line makes no sense, which only shows when it is followed.
    Usage(String),
    /// It was tried, and failed.
    Failed(String),
}

impl Failure {
    fn usage(error: impl fmt::Display) -> Self {
        Self::Usage(error.to_string())
    }

    fn failed(error: impl fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output {
        json: arguments.json,
    };
    let runtime = match runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Failure::failed(error)),
    };
    let result = runtime.block_on(async {
        match arguments.command {
            Command::Demo(options) => demo::run(options, output).await,
            Command::Echo(options) => echo::run(options, output).await,
            Command::Ping(options) => ping::run(options, output).await,
        }
    });
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

fn report(failure: &Failure) -> ExitCode {
    let (message, code) = match failure {
        Failure::Usage(message) => (message, 2),
        Failure::Failed(message) => (message, 1),
    };
    eprintln!("wspulse: {message}");
    ExitCode::from(code)
}
