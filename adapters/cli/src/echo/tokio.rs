//! A task for each connection.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use wspulse_core::CloseCode;
use wspulse_tokio::{Error, MaybeTls, WebSocket};

use super::{ACCEPT_PAUSE, STOPPING, Server};
use crate::{Failure, stop};

type Stream = MaybeTls<TcpStream>;

pub(super) async fn run(server: Server) -> Result<(), Failure> {
    let stop = stop::requested().map_err(Failure::failed)?;
    let listener = wspulse_drive::listen(&*server.addresses).and_then(|listener| {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    });
    let listener = listener.map_err(|error| server.cannot_listen(error))?;
    server
        .log
        .listening(listener.local_addr().map_err(Failure::failed)?);

    let server = Arc::new(server);
    let (stopper, stopped) = watch::channel(false);
    // Each connection holds a sender: when the last is gone, so are the connections.
    let (alive, mut all_gone) = mpsc::channel::<()>(1);
    tokio::pin!(stop);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    server.log.not_accepted(&error);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = &mut stop => break,
        };
        let (server, stopped, alive) = (Arc::clone(&server), stopped.clone(), alive.clone());
        tokio::spawn(async move {
            serve(stream, peer, &server, stopped).await;
            drop(alive);
        });
    }
    drop((listener, alive));
    let _ = stopper.send(true);
    let _ = tokio::time::timeout(server.patience(), all_gone.recv()).await;
    Ok(())
}

/// Serves one connection to its end.
async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    server: &Server,
    mut stopped: watch::Receiver<bool>,
) {
    let stop = async {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    tokio::pin!(stop);
    let accepted = tokio::select! {
        biased;
        accepted = accept(stream, server) => accepted,
        () = &mut stop => return,
    };
    let (why, messages) = match accepted {
        Ok(mut ws) => {
            let mut messages = 0;
            let end = tokio::select! {
                biased;
                end = echo(&mut ws, &mut messages) => Some(end),
                () = &mut stop => None,
            };
            let end = match end {
                Some(end) => end,
                None => ws.close(CloseCode::GOING_AWAY, STOPPING).await,
            };
            let end = ending(end, &mut ws).await;
            (server.why(end, ws.closed()), messages)
        }
        Err(error) => (server.why(Err(error), None), 0),
    };
    server.log.ended(peer, &why, messages);
}

async fn accept(stream: TcpStream, server: &Server) -> Result<WebSocket<Stream>, Error> {
    let config = Arc::clone(&server.config);
    match &server.tls {
        Some(tls) => wspulse_tokio::accept_tls(stream, Arc::clone(tls), config).await,
        None => wspulse_tokio::accept(MaybeTls::Plain(stream), config).await,
    }
}

async fn echo(ws: &mut WebSocket<Stream>, messages: &mut u64) -> Result<(), Error> {
    while let Some(message) = ws.next().await {
        ws.feed(message?).await?;
        *messages += 1;
    }
    Ok(())
}

/// Returns how the connection ended, rather than the failed send that noticed it first.
async fn ending(end: Result<(), Error>, ws: &mut WebSocket<Stream>) -> Result<(), Error> {
    if !matches!(end, Err(Error::Send(_) | Error::Closed(_) | Error::Io(_))) {
        return end;
    }
    while let Some(message) = ws.next().await {
        message?;
    }
    Ok(())
}
