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
    from_client: Direction,
    from_server: Direction,
}

/// What the relay met from one end.
#[derive(Debug, Default)]
struct Direction {
    came: Times,
    /// Those that the other end got.
    passed: Times,
}

/// When bytes came by, after the origin.
#[derive(Debug, Default)]
pub(super) struct Times(Mutex<Vec<Duration>>);

impl Times {
    /// When the last byte came by.
    pub(super) fn last(&self) -> Duration {
        self.lock().last().copied().unwrap_or_default()
    }

    /// When the last byte before this time came by.
    pub(super) fn last_before(&self, time: Duration) -> Duration {
        let times = self.lock();
        let before = times.iter().rev().find(|came| **came < time);
        before.copied().unwrap_or_default()
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
            from_client: Direction::default(),
            from_server: Direction::default(),
        });
        tokio::spawn(relay(listener, server, Arc::clone(&shared)));
        Ok(Self { address, shared })
    }

    /// From now on nothing passes on the connections that exist; new ones are not affected.
    pub(super) fn go_silent(&self) {
        let connections = self.shared.connections.load(Ordering::SeqCst);
        self.shared.swallowed.store(connections, Ordering::SeqCst);
    }

    /// When this end got bytes.
    pub(super) fn passed_to(&self, who: &str) -> &Times {
        match who {
            "client" => &self.shared.from_server.passed,
            _ => &self.shared.from_client.passed,
        }
    }

    /// When this end sent bytes, whether they were passed on or not.
    pub(super) fn came_from(&self, who: &str) -> &Times {
        match who {
            "client" => &self.shared.from_client.came,
            _ => &self.shared.from_server.came,
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
            |s| &s.from_client,
        ));
        tokio::spawn(pass(
            from_server,
            to_client,
            number,
            Arc::clone(&shared),
            |s| &s.from_server,
        ));
    }
}

/// Passes bytes and the end of the stream on, or swallows both.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: u64,
    shared: Arc<Shared>,
    direction: fn(&Shared) -> &Direction,
) {
    let mut buffer = vec![0; 16 * 1024];
    let is_swallowed = || shared.swallowed.load(Ordering::SeqCst) > number;
    loop {
        match from.read(&mut buffer).await {
            Ok(count) if count > 0 => {
                let (direction, now) = (direction(&shared), shared.origin.elapsed());
                direction.came.lock().push(now);
                if is_swallowed() {
                    continue;
                }
                direction.passed.lock().push(now);
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
    use super::{Duration, Times};

    #[test]
    fn silences_reach_from_byte_to_byte_and_to_both_ends() {
        let seconds = Duration::from_secs;
        let passed = Times(vec![seconds(1), seconds(3), seconds(4), seconds(9)].into());
        assert_eq!(passed.last(), seconds(9));
        assert_eq!(passed.last_before(seconds(4)), seconds(3));
        assert_eq!(passed.last_before(seconds(1)), Duration::ZERO);
        let silences = passed.silences(seconds(2), seconds(8));
        let expected = [(2, 3), (3, 4), (4, 8)].map(|(from, to)| (seconds(from), seconds(to)));
        assert_eq!(silences, expected);
        let silent = Times::default().silences(seconds(2), seconds(8));
        assert_eq!(silent, [(seconds(2), seconds(8))]);
    }
}
