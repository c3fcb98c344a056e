//! The peers that are streams and sinks of messages: tungstenite, tokio-websockets and sockudo-ws.

use std::future::ready;
use std::io;
use std::net::TcpListener;

use super::Settings;
use super::on_tokio::serve;
use futures_util::{SinkExt, StreamExt, TryStreamExt};
use tokio::net::TcpStream;
use tokio::task::unconstrained;

pub(super) fn tungstenite(listener: TcpListener, _: Settings) -> io::Result<()> {
    use tokio_tungstenite::tungstenite::Error;

    serve(listener, |stream: TcpStream| async move {
        let mut ws = tokio_tungstenite::accept_async(stream).await?;
        while let Some(message) = ws.next().await {
            let message = message?;
            if message.is_text() || message.is_binary() {
                ws.send(message).await?;
            }
        }
        Ok::<_, Error>(())
    })
}

/// As its `examples/echo-server.rs`.
pub(super) fn tungstenite_forward(listener: TcpListener, _: Settings) -> io::Result<()> {
    use tokio_tungstenite::tungstenite::Error;

    serve(listener, |stream: TcpStream| async move {
        let (write, read) = tokio_tungstenite::accept_async(stream).await?.split();
        read.try_filter(|message| ready(message.is_text() || message.is_binary()))
            .forward(write)
            .await?;
        Ok::<_, Error>(())
    })
}

/// As its `examples/echo_server.rs`.
pub(super) fn tokio_websockets(listener: TcpListener, _: Settings) -> io::Result<()> {
    serve(listener, |stream| {
        unconstrained(async move {
            let mut ws = accept_tokio_websockets(stream).await?;
            while let Some(message) = ws.next().await {
                let message = message?;
                if message.is_text() || message.is_binary() {
                    ws.send(message).await?;
                }
            }
            Ok::<_, tokio_websockets::Error>(())
        })
    })
}

pub(super) fn tokio_websockets_forward(listener: TcpListener, _: Settings) -> io::Result<()> {
    serve(listener, |stream| {
        unconstrained(async move {
            let (write, read) = accept_tokio_websockets(stream).await?.split();
            read.try_filter(|message| ready(message.is_text() || message.is_binary()))
                .forward(write)
                .await
        })
    })
}

async fn accept_tokio_websockets(
    stream: TcpStream,
) -> Result<tokio_websockets::WebSocketStream<TcpStream>, tokio_websockets::Error> {
    use tokio_websockets::{Config, Limits, ServerBuilder};

    let server = ServerBuilder::new()
        .config(Config::default().frame_size(usize::MAX))
        .limits(Limits::unlimited());
    let (_, ws) = server.accept(stream).await?;
    Ok(ws)
}

/// As its `examples/simple_echo.rs`.
pub(super) fn sockudo(listener: TcpListener, settings: Settings) -> io::Result<()> {
    use sockudo_ws::handshake::server_handshake;
    use sockudo_ws::{Config, Message, WebSocketStream};

    let mut config = Config::default();
    if let Some(interval) = settings.heartbeat {
        config.ping_interval = u32::try_from(interval.as_secs()).unwrap_or(u32::MAX);
    }
    serve(listener, move |mut stream: TcpStream| {
        let config = config.clone();
        async move {
            server_handshake(&mut stream).await?;
            let mut ws = WebSocketStream::server(stream, config);
            while let Some(message) = ws.next().await {
                match message? {
                    Message::Text(text) => ws.send(Message::Text(text)).await?,
                    Message::Binary(data) => ws.send(Message::Binary(data)).await?,
                    Message::Close(_) => break,
                    Message::Ping(_) | Message::Pong(_) => {}
                }
            }
            Ok::<_, sockudo_ws::Error>(())
        }
    })
}
