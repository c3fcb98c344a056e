//! An echo server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{CloseCode, Config};
use wspulse_tokio::{Error, WebSocket};

use crate::output::Output;
use crate::{Failure, args, stop};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Prints 'listening on ADDR:PORT' once it is ready, then a line for each connection that ends,
with the reason. SIGINT and SIGTERM close every connection with 1001 and end with exit code 0.

Examples:
  wspulse echo
  wspulse echo --listen 127.0.0.1:0 --json
  wspulse echo --ping-interval 5s --pong-timeout 10s --max-message 64MiB

Exit codes:
  0  stopped by a signal
  1  the address cannot be listened on
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
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Runtime {
    #[default]
    Tokio,
}

/// Serves until a signal comes.
pub(crate) async fn run(options: Options, output: Output) -> Result<(), Failure> {
    let Runtime::Tokio = options.runtime;
    let config = Config::builder()
        .heartbeat(HeartbeatConfig::ping(
            options.ping_interval,
            options.pong_timeout,
        ))
        .max_message_size(options.max_message)
        .max_frame_size(options.max_message)
        .build()
        .map_err(Failure::usage)?;
    let config = Arc::new(config);
    let stop = stop::requested().map_err(Failure::failed)?;
    let listener = TcpListener::bind(options.listen).await;
    let listener = listener.map_err(|error| {
        Failure::Failed(format!("cannot listen on {}: {error}", options.listen))
    })?;
    let address = listener.local_addr().map_err(Failure::failed)?;
    output.line(
        format_args!("listening on {address}"),
        &json!({ "event": "listening", "address": address.to_string() }),
    );

    let (stopper, stopped) = watch::channel(false);
    // Each connection holds a sender: when the last is gone, so are the connections.
    let (alive, mut all_gone) = mpsc::channel::<()>(1);
    tokio::pin!(stop);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Such as too many open files: others will have to go first.
                    eprintln!("wspulse: cannot accept: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = &mut stop => break,
        };
        let (config, stopped, alive) = (Arc::clone(&config), stopped.clone(), alive.clone());
        tokio::spawn(async move {
            serve(stream, peer, config, stopped, output).await;
            drop(alive);
        });
    }
    drop((listener, alive));
    let _ = stopper.send(true);
    let patience = config
        .close_timeout()
        .saturating_add(Duration::from_secs(1));
    let _ = tokio::time::timeout(patience, all_gone.recv()).await;
    Ok(())
}

/// Serves one connection to its end.
async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    config: Arc<Config>,
    mut stopped: watch::Receiver<bool>,
    output: Output,
) {
    let stop = async {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    tokio::pin!(stop);
    let accepted = tokio::select! {
        biased;
        accepted = wspulse_tokio::accept(stream, config) => accepted,
        () = &mut stop => return,
    };
    let (end, messages) = match accepted {
        Ok(mut ws) => {
            let mut messages = 0;
            let end = tokio::select! {
                biased;
                end = echo(&mut ws, &mut messages) => Some(end),
                () = &mut stop => None,
            };
            let end = match end {
                Some(end) => end,
                None => {
                    ws.close(CloseCode::GOING_AWAY, "the server is stopping")
                        .await
                }
            };
            (ending(end, &mut ws).await, messages)
        }
        Err(error) => (error.to_string(), 0),
    };
    output.line(
        format_args!("{peer}: {end} ({messages} messages)"),
        &json!({
            "event": "ended",
            "peer": peer.to_string(),
            "reason": end,
            "messages": messages,
        }),
    );
}

async fn echo(ws: &mut WebSocket<TcpStream>, messages: &mut u64) -> Result<(), Error> {
    while let Some(message) = ws.next().await {
        ws.send(message?).await?;
        *messages += 1;
    }
    Ok(())
}

/// Says how the connection ended, in the words of its end rather than of the failed send that
/// noticed it first.
async fn ending(end: Result<(), Error>, ws: &mut WebSocket<TcpStream>) -> String {
    let end = match end {
        Err(Error::Send(_)) => loop {
            match ws.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break Err(error),
                None => break Ok(()),
            }
        },
        end => end,
    };
    match (end, ws.closed()) {
        (Err(error @ Error::Io(_)), _) => error.to_string(),
        (_, Some(closed)) => closed.to_string(),
        (Err(error), None) => error.to_string(),
        (Ok(()), None) => "closed".into(),
    }
}
