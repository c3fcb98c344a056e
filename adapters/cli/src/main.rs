//! WebSocket on the command line.

#![forbid(unsafe_code)]

mod args;
mod cause;
mod connect;
mod demo;
mod echo;
mod ending;
mod escape;
mod output;
mod ping;
mod stop;
mod tls;

use std::process::ExitCode;
use std::{env, fmt};

use clap::{Parser, Subcommand, ValueEnum};
use serde_json::json;
use wspulse_drive::{Error, without_secrets};

use cause::Why;
use output::Output;

/// WebSocket connections that stay alive, and know when they are dead.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,

    /// Print one JSON object per line, for machines: results, events and failures alike, all to
    /// standard output
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keep a connection open, by hand or in a script
    Connect(connect::Options),
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
  wspulse connect ws://127.0.0.1:9001/
  wspulse ping ws://127.0.0.1:9001/ --count 5

Exit codes:
  0  it worked
  1  it failed: a step of the demo missed its bound, no pong came back,
     the connection ended otherwise than by our Close, an address is in use
  2  the command line makes no sense";

/// What runs connections.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Runtime {
    /// Blocking sockets and threads
    Std,
    /// Tasks
    #[default]
    Tokio,
    /// One thread and an event loop
    Mio,
}

/// Why a command did not work, in one line.
#[derive(Debug)]
enum Failure {
    /// The command line makes no sense, which only shows when it is followed.
    Usage(Why),
    /// It was tried, and failed.
    Failed(Why),
    /// It failed, and was said already.
    Told,
}

impl Failure {
    fn usage(error: impl fmt::Display) -> Self {
        Self::Usage(Why::new("usage", error))
    }

    fn failed(error: impl fmt::Display) -> Self {
        Self::because("failed", error)
    }

    /// Something failed that has a name for machines.
    fn because(cause: &str, text: impl fmt::Display) -> Self {
        Self::Failed(Why::new(cause, text))
    }

    fn interrupted() -> Self {
        Self::because("interrupted", "interrupted before the connection was open")
    }

    /// No connection to `url` came about.
    fn connecting(url: &str, error: &Error) -> Self {
        let mut why = Why::error(error, None);
        why.text = format!("{}: {}", without_secrets(url), why.text);
        match error {
            Error::Url(_) | Error::Request(_) => Self::Usage(why),
            _ => Self::Failed(why),
        }
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    let output = Output::new(arguments.json);
    let result = match arguments.command {
        Command::Connect(options) => connect::run(&options, output),
        Command::Demo(options) => demo::run(&options, output),
        Command::Echo(options) => echo::run(&options, output),
        Command::Ping(options) => block_on(ping::run(options, output)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure, output),
    }
}

/// Runs `command` on tokio.
fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::failed)?;
    let result = runtime.block_on(command);
    runtime.shutdown_background();
    result
}

fn report(failure: &Failure, output: Output) -> ExitCode {
    let (why, code) = match failure {
        Failure::Usage(why) => (why, 2),
        Failure::Failed(why) => (why, 1),
        Failure::Told => return ExitCode::from(1),
    };
    output.error_line(
        format_args!("wspulse: {}", why.text),
        &why.to_object("failed", json!({ "exit_code": code })),
    );
    ExitCode::from(code)
}

/// Answers a command line that cannot be read, or that asks for help.
fn refuse(error: &clap::Error) -> ExitCode {
    let mut words = env::args_os().take_while(|word| word != "--");
    if !error.use_stderr() || !words.any(|word| word == "--json") {
        error.exit();
    }
    let text = error.render().to_string();
    report(&Failure::usage(text.trim_end()), Output::new(true))
}
