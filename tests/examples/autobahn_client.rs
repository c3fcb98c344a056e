//! Puts this client to an Autobahn fuzzing server: `autobahn_client ws://ADDR:PORT AGENT [PARALLEL]`.
//!
//! Runs every case that the server has, `PARALLEL` at a time (8 by default), each on a connection
//! of its own, and has the report written. Whether a case is good is for the report to say.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use wspulse_core::{Cause, Config};
use wspulse_tokio::{Error, connect};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(server), Some(agent)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: autobahn_client ws://ADDR:PORT AGENT [PARALLEL]");
        return ExitCode::from(2);
    };
    let parallel = arguments.next().map_or(Ok(8), |text| text.parse());
    let Ok(parallel @ 1..) = parallel else {
        eprintln!("PARALLEL is not a positive number");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime
        .map_err(Error::Io)
        .and_then(|runtime| runtime.block_on(run_cases(server, agent, parallel)))
    {
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

async fn run_cases(server: String, agent: String, parallel: usize) -> Result<usize, Error> {
    let config = Arc::new(config());
    let count = case_count(&server, &config).await?;
    let places = Arc::new(Semaphore::new(parallel));
    let mut cases = JoinSet::new();
    for case in 1..=count {
        let place = Arc::clone(&places).acquire_owned().await;
        let url = format!("{server}/runCase?case={case}&agent={agent}");
        let config = Arc::clone(&config);
        cases.spawn(async move {
            if let Err(error) = run_case(&url, config).await {
                eprintln!("case {case}: {error}");
            }
            drop(place);
        });
    }
    cases.join_all().await;
    let mut ws = connect(&format!("{server}/updateReports?agent={agent}"), config).await?;
    while let Some(message) = ws.next().await {
        message?;
    }
    Ok(count)
}

/// The largest messages of section 9 have 16 MiB, and a busy fuzzing server is slow to answer.
fn config() -> Config {
    Config::builder()
        .handshake_timeout(Duration::from_secs(60))
        .build()
        .expect("a configuration that can work")
}

/// The server says how many cases it has in one text message.
async fn case_count(server: &str, config: &Arc<Config>) -> Result<usize, Error> {
    let mut ws = connect(&format!("{server}/getCaseCount"), Arc::clone(config)).await?;
    let mut count = 0;
    while let Some(message) = ws.next().await {
        if let Some(number) = message?.as_text().and_then(|text| text.parse().ok()) {
            count = number;
        }
    }
    Ok(count)
}

/// Echoes until the connection ends; most cases end it on purpose, in ways that no peer should.
async fn run_case(url: &str, config: Arc<Config>) -> Result<(), Error> {
    let mut ws = connect(url, config).await?;
    while let Some(message) = ws.next().await {
        match message {
            Ok(message) => match ws.send(message).await {
                Ok(()) | Err(Error::Send(_)) => {}
                Err(error) => return Err(error),
            },
            Err(Error::Closed(closed))
                if matches!(closed.cause, Cause::Protocol(_) | Cause::Eof) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
