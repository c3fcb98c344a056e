//! wspulse on tokio, and what all servers on tokio have in common.

use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use futures_util::StreamExt;
use tokio::net::TcpStream;
use wspulse_core::Config;
use wspulse_tokio::Error;

use super::Settings;

/// Runs `echo` for each connection, all on this thread.
pub(super) fn serve<F, Fut, E>(listener: TcpListener, echo: F) -> io::Result<()>
where
    F: Fn(TcpStream) -> Fut,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
    E: Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            // The load ends its connections with a reset, which is no news.
            tokio::spawn(echo(stream));
        }
    })
}

/// As everybody writes it: one write for each message.
pub(super) fn send(listener: TcpListener, settings: Settings) -> io::Result<()> {
    serve(listener, move |stream| {
        echo_by_send(stream, Arc::clone(&settings.config))
    })
}

async fn echo_by_send(stream: TcpStream, config: Arc<Config>) -> Result<(), Error> {
    let mut ws = wspulse_tokio::accept(stream, config).await?;
    while let Some(message) = ws.next().await {
        ws.send(message?).await?;
    }
    Ok(())
}

/// As the README has it: one write for a batch.
pub(super) fn plain(listener: TcpListener, settings: Settings) -> io::Result<()> {
    serve(listener, move |stream| {
        echo(stream, Arc::clone(&settings.config))
    })
}

async fn echo(stream: TcpStream, config: Arc<Config>) -> Result<(), Error> {
    let mut ws = wspulse_tokio::accept(stream, config).await?;
    while let Some(message) = ws.next().await {
        ws.feed(message?).await?;
    }
    Ok(())
}

pub(super) fn forward(listener: TcpListener, settings: Settings) -> io::Result<()> {
    serve(listener, move |stream| {
        forward_all(stream, Arc::clone(&settings.config))
    })
}

async fn forward_all(stream: TcpStream, config: Arc<Config>) -> Result<(), Error> {
    let (reader, writer) = wspulse_tokio::accept(stream, config).await?.split();
    reader.forward(writer).await
}
