//! The peer on tokio-websockets. Fragments come from its frame size, for every message.

use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_websockets::{ClientBuilder, CloseCode, Config, Message, ServerBuilder, WebSocketStream};

use super::{Command, Order, end, ended, name_of, version};
use crate::link::Fault;

pub(super) async fn serve() -> Result<(), Fault> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    let over = Arc::new(Notify::new());
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            () = over.notified() => return Ok(()),
        };
        stream.set_nodelay(true)?;
        let over = Arc::clone(&over);
        tokio::spawn(async move {
            let accepted = ServerBuilder::new().config(config()).accept(stream).await;
            let Ok((request, ws)) = accepted else {
                return;
            };
            if attend(ws, name_of(request.uri().path())).await {
                over.notify_one();
            }
        });
    }
}

pub(super) async fn connect(url: String) -> Result<(), Fault> {
    let client = ClientBuilder::new().uri(&url)?.config(config());
    let (ws, _) = client.connect().await?;
    attend(ws, name_of(&url)).await;
    Ok(())
}

fn open(url: String) {
    tokio::spawn(async move {
        if let Err(error) = connect(url.clone()).await {
            eprintln!("{url}: {error}");
        }
    });
}

/// Returns whether this was the control connection.
async fn attend<S>(mut ws: WebSocketStream<S>, name: &str) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if name == "control" {
        let _ = control(&mut ws).await;
        return true;
    }
    if let Err(error) = echo(&mut ws, name).await {
        eprintln!("{name}: {error}");
        end(name, 1006, &error.to_string());
    }
    false
}

async fn control<S>(ws: &mut WebSocketStream<S>) -> Result<(), tokio_websockets::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = ws.next().await {
        let message = message?;
        match message.as_text().and_then(Order::parse) {
            Some(Order::Open(url)) => open(url.to_owned()),
            Some(Order::Closed(name)) => ws.send(Message::text(ended(name))).await?,
            Some(Order::Version) => ws.send(Message::text(version("tokio-websockets"))).await?,
            None => {}
        }
    }
    Ok(())
}

async fn echo<S>(ws: &mut WebSocketStream<S>, name: &str) -> Result<(), tokio_websockets::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut pinged = None;
    let mut close = None;
    while let Some(message) = ws.next().await {
        let message = message?;
        if let Some((code, reason)) = message.as_close() {
            close = Some((code.into(), reason.to_owned()));
        } else if message.is_pong() {
            let payload = message.as_payload();
            if pinged.as_deref() == Some(&payload[..]) {
                let said = format!("pong {}", String::from_utf8_lossy(payload));
                ws.send(Message::text(said)).await?;
            }
        } else if let Some(command) = message.as_text().and_then(Command::parse) {
            match command {
                Command::Ping(payload) => {
                    ws.send(Message::ping(payload.clone())).await?;
                    pinged = Some(payload);
                }
                Command::Close(code, reason) => {
                    let code = CloseCode::try_from(code).ok();
                    ws.send(Message::close(code, &reason)).await?;
                }
                Command::Parts => {}
            }
        } else if message.is_text() || message.is_binary() {
            ws.send(message).await?;
        }
    }
    let (code, reason) = close.unwrap_or((1005, String::new()));
    end(name, code, &reason);
    Ok(())
}

fn config() -> Config {
    Config::default().frame_size(64 << 10)
}
