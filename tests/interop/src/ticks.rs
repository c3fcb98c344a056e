//! Servers that only send, for two minutes, beside a client that pings them and hangs up on silence.
//!
//! Each is `loop { ws.send(tick).await?; sleep(100 ms) }` and never reads. Rule 16 has the client's
//! pings answered all the same.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::SinkExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use wspulse_core::{Config, Message};

use crate::link::Fault;
use crate::peers;

/// Starts the servers and the client; returns what the client printed, and whether all lived.
pub(crate) async fn run(seconds: u32) -> Result<(bool, String), Fault> {
    let mut servers = Vec::new();
    for way in [Way::Send, Way::Sink, Way::Half] {
        servers.push((way.name(), serve_tokio(way).await?));
    }
    servers.push(("std send", serve_std()?));

    let mut client = Command::new(peers::installed("venv/bin/python"));
    client
        .arg(peers::source("ticks_peer.py"))
        .arg(seconds.to_string());
    for (name, address) in servers {
        client.arg(format!("{name}=ws://{address}/"));
    }
    let mut client = tokio::process::Command::from(client);
    client
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    let said = client.output().await?;
    Ok((
        said.status.success(),
        String::from_utf8_lossy(&said.stdout).into_owned(),
    ))
}

/// A way to send on tokio.
#[derive(Clone, Copy)]
enum Way {
    Send,
    Sink,
    /// The sending half, whose other half is kept and not polled.
    Half,
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::Send => "tokio send",
            Self::Sink => "tokio Sink",
            Self::Half => "tokio half",
        }
    }
}

async fn serve_tokio(way: Way) -> Result<SocketAddr, Fault> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // The client tells how it ended.
                let _ = tick_tokio(stream, way).await;
            });
        }
    });
    Ok(address)
}

async fn tick_tokio(stream: TcpStream, way: Way) -> Result<(), wspulse_tokio::Error> {
    let mut ws = wspulse_tokio::accept(stream, Arc::new(Config::default())).await?;
    match way {
        Way::Send => loop {
            ws.send(TICK).await?;
            sleep(PAUSE).await;
        },
        Way::Sink => loop {
            SinkExt::send(&mut ws, Message::from(TICK)).await?;
            sleep(PAUSE).await;
        },
        Way::Half => {
            let (_reader, mut writer) = ws.split();
            loop {
                writer.send(TICK).await?;
                sleep(PAUSE).await;
            }
        }
    }
}

fn serve_std() -> Result<SocketAddr, Fault> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            thread::spawn(move || tick_std(stream));
        }
    });
    Ok(address)
}

fn tick_std(stream: std::net::TcpStream) -> Result<(), wspulse_std::Error> {
    let mut ws = wspulse_std::accept(stream, Config::default())?;
    loop {
        ws.send(TICK)?;
        thread::sleep(PAUSE);
    }
}

const TICK: &str = "tick";
const PAUSE: Duration = Duration::from_millis(100);
