//! A TCP relay that can swallow a connection: bytes vanish both ways, and nothing is closed.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    to_client: Passed,
    to_server: Passed,
}

/// When bytes were passed on in one direction, after the origin.
#[derive(Debug, Default)]
pub(super) struct Passed(Mutex<Vec<Duration>>);

impl Passed {
    /// When the last byte was passed on.
    pub(super) fn last(&self) -> Duration {
        self.lock().last().copied().unwrap_or_default()
    }

    /// The silences between `from` and `to`, each from one byte to the next.
    pub(super) fn silences(&self, from: Duration, to: Duration) -> Vec<(Duration, Duration)> {
        let times = self.lock();
        let inside = times.iter().filter(|time| (from..to).contains(time));
        let ends: Vec<_> = [from].iter().chain(inside).chain([&to]).copied().collect();
        ends.windows(2).map(|pair| (pair[0], pair[1])).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Duration>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Relay {
    pub(super) async fn start(server: SocketAddr, origin: Instant) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            origin,
            connections: AtomicU64::new(0),
            swallowed: AtomicU64::new(0),
            to_client: Passed::default(),
            to_server: Passed::default(),
        });
        tokio::spawn(relay(listener, server, Arc::clone(&shared)));
        Ok(Self { address, shared })
    }

    /// From now on nothing passes on the connections that exist; new ones are not affected.
    pub(super) fn go_silent(&self) {
        let connections = self.shared.connections.load(Ordering::SeqCst);
        self.shared.swallowed.store(connections, Ordering::SeqCst);
    }

    /// What was passed on to this end.
    pub(super) fn passed_to(&self, who: &str) -> &Passed {
        match who {
            "client" => &self.shared.to_client,
            _ => &self.shared.to_server,
        }
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
    passed: fn(&Shared) -> &Passed,
) {
    let mut buffer = vec![0; 16 * 1024];
    let is_swallowed = || shared.swallowed.load(Ordering::SeqCst) > number;
    loop {
        match from.read(&mut buffer).await {
            Ok(count) if count > 0 => {
                if is_swallowed() {
                    continue;
                }
                passed(&shared).lock().push(shared.origin.elapsed());
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

#[cfg(test)]
mod tests {
    use super::{Duration, Passed};

    #[test]
    fn silences_reach_from_byte_to_byte_and_to_both_ends() {
        let seconds = Duration::from_secs;
        let passed = Passed(vec![seconds(1), seconds(3), seconds(4), seconds(9)].into());
        assert_eq!(passed.last(), seconds(9));
        let silences = passed.silences(seconds(2), seconds(8));
        let expected = [(2, 3), (3, 4), (4, 8)].map(|(from, to)| (seconds(from), seconds(to)));
        assert_eq!(silences, expected);
        let silent = Passed::default().silences(seconds(2), seconds(8));
        assert_eq!(silent, [(seconds(2), seconds(8))]);
    }
}
