//! A TCP relay that can swallow a connection: bytes vanish both ways, and nobody is told.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// A running relay in front of one server.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    origin: Instant,
    /// Connections so far; each has a number.
    connections: AtomicU64,
    /// Connections with a number below this are swallowed.
    swallowed: AtomicU64,
    /// When a byte was last passed on, in microseconds after the origin.
    to_client: AtomicU64,
    to_server: AtomicU64,
}

impl Relay {
    pub(super) async fn start(server: SocketAddr, origin: Instant) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            origin,
            connections: AtomicU64::new(0),
            swallowed: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
            to_server: AtomicU64::new(0),
        });
        tokio::spawn(relay(listener, server, Arc::clone(&shared)));
        Ok(Self { address, shared })
    }

    /// From now on nothing passes on the connections that exist; new ones are not affected.
    pub(super) fn go_silent(&self) {
        let connections = self.shared.connections.load(Ordering::SeqCst);
        self.shared.swallowed.store(connections, Ordering::SeqCst);
    }

    /// When the client was last passed a byte, after the origin.
    pub(super) fn last_to_client(&self) -> Duration {
        Duration::from_micros(self.shared.to_client.load(Ordering::SeqCst))
    }

    /// When the server was last passed a byte, after the origin.
    pub(super) fn last_to_server(&self) -> Duration {
        Duration::from_micros(self.shared.to_server.load(Ordering::SeqCst))
    }
}

async fn relay(listener: TcpListener, server: SocketAddr, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let number = shared.connections.fetch_add(1, Ordering::SeqCst);
        let Ok(server) = TcpStream::connect(server).await else {
            continue;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::spawn(pass(
            from_client,
            to_server,
            number,
            Arc::clone(&shared),
            |s| &s.to_server,
        ));
        tokio::spawn(pass(
            from_server,
            to_client,
            number,
            Arc::clone(&shared),
            |s| &s.to_client,
        ));
    }
}

/// Passes bytes and the end of the stream on, or swallows both.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: u64,
    shared: Arc<Shared>,
    passed_at: fn(&Shared) -> &AtomicU64,
) {
    let mut buffer = vec![0; 16 * 1024];
    let is_swallowed = || shared.swallowed.load(Ordering::SeqCst) > number;
    loop {
        match from.read(&mut buffer).await {
            Ok(count) if count > 0 => {
                if is_swallowed() {
                    continue;
                }
                let now = u64::try_from(shared.origin.elapsed().as_micros()).unwrap_or(u64::MAX);
                passed_at(&shared).store(now, Ordering::SeqCst);
                if to.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
            _ if is_swallowed() => {
                // The peer behind this end must not see a FIN.
                return std::future::pending().await;
            }
            _ => {
                let _ = to.shutdown().await;
                return;
            }
        }
    }
}
