//! From a host's name to a TCP connection.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, sleep_until, timeout};
use wspulse_drive::{ConnectOptions, Stage};

use crate::Error;

/// Looks `host` up and connects to it, each within its time.
pub(crate) async fn connect(
    host: &str,
    port: u16,
    options: &ConnectOptions,
) -> Result<TcpStream, Error> {
    let addresses = in_time(Stage::Lookup, options, lookup_host((host, port))).await?;
    let addresses = alternate(addresses);
    in_time(Stage::Connect, options, connect_any(&addresses)).await
}

/// Waits for `future` as long as `stage` may take.
pub(crate) async fn in_time<T, E: Into<Error>>(
    stage: Stage,
    options: &ConnectOptions,
    future: impl Future<Output = Result<T, E>>,
) -> Result<T, Error> {
    match timeout(options.timeout(stage), future).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(Error::Timeout(stage)),
    }
}

/// Puts the two families in turn, and begins with that of the first address, which the system's
/// resolver put first for its reasons (RFC 8305 §4).
fn alternate(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut addresses = addresses.peekable();
    let is_v6_first = addresses.peek().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.partition(|address| address.is_ipv6() == is_v6_first);
    let longest = first.len().max(second.len());
    (0..longest)
        .flat_map(|i| [first.get(i), second.get(i)])
        .flatten()
        .copied()
        .collect()
}

/// Connects to the first address that answers. Each gets a head start before the next is tried
/// beside it, so that one that swallows everything costs that much and not the whole time
/// (RFC 8305 §5).
///
/// # Errors
///
/// What the last attempt failed with, once all have.
async fn connect_any(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut waiting = addresses.iter();
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut failure = None;
    let mut is_due = true;
    let mut next = pin!(sleep_until(Instant::now()));
    poll_fn(|cx| {
        loop {
            let mut connected = None;
            attempts.retain_mut(|attempt| {
                let polled = attempt.as_mut().poll(cx);
                let is_pending = polled.is_pending();
                match polled {
                    Poll::Ready(Ok(stream)) => connected = Some(stream),
                    // A failure is an answer: the next address need not wait for its turn.
                    Poll::Ready(Err(error)) => (failure, is_due) = (Some(error), true),
                    Poll::Pending => {}
                }
                is_pending
            });
            if let Some(stream) = connected {
                return Poll::Ready(Ok(stream));
            }
            if !is_due && next.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            is_due = false;
            match waiting.next() {
                Some(&address) => {
                    attempts.push(Box::pin(TcpStream::connect(address)));
                    next.as_mut().reset(Instant::now() + HEAD_START);
                }
                None if attempts.is_empty() => {
                    return Poll::Ready(Err(failure.take().unwrap_or_else(no_address)));
                }
                None => return Poll::Pending,
            }
        }
    })
    .await
}

type Attempt = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the host has no address")
}

/// How long an address has to itself; what RFC 8305 §8 recommends.
const HEAD_START: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::net::{Ipv4Addr, TcpListener};

    use socket2::{Domain, Socket, Type};
    use wspulse_core::Config;

    use super::*;

    /// A listener whose queue is full: the kernel drops every further SYN, as a firewall does.
    struct BlackHole {
        listener: TcpListener,
        _queued: Vec<std::net::TcpStream>,
    }

    impl BlackHole {
        fn open() -> Self {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            socket.bind(&any.into()).unwrap();
            socket.listen(0).unwrap();
            let listener = TcpListener::from(socket);
            let address = listener.local_addr().unwrap();
            let mut queued = Vec::new();
            while queued.len() < 8 {
                let patience = Duration::from_millis(100);
                match std::net::TcpStream::connect_timeout(&address, patience) {
                    Ok(stream) => queued.push(stream),
                    Err(_) => break,
                }
            }
            Self {
                listener,
                _queued: queued,
            }
        }

        fn address(&self) -> SocketAddr {
            self.listener.local_addr().unwrap()
        }
    }

    fn options() -> ConnectOptions {
        ConnectOptions::new(Config::default())
    }

    #[tokio::test(start_paused = true)]
    async fn each_stage_has_a_time_of_its_own() {
        let seconds = Duration::from_secs;
        let options = options()
            .lookup_timeout(seconds(1))
            .connect_timeout(seconds(2))
            .proxy_timeout(seconds(3))
            .tls_timeout(seconds(4));
        let stages = [Stage::Lookup, Stage::Connect, Stage::Proxy, Stage::Tls];
        for (stage, after) in stages.into_iter().zip(1..) {
            let begin = Instant::now();
            let never = pending::<io::Result<()>>();
            let result = in_time(stage, &options, never).await;
            assert!(matches!(result, Err(Error::Timeout(late)) if late == stage));
            assert_eq!(begin.elapsed().as_secs(), after, "{stage:?}");
        }
    }

    #[test]
    fn the_families_take_turns() {
        let addresses = |list: &[&str]| -> Vec<SocketAddr> {
            list.iter()
                .map(|host| format!("{host}:80").parse().unwrap())
                .collect()
        };
        let cases: [(&[&str], &[&str]); 4] = [
            (&[], &[]),
            (&["10.0.0.1", "10.0.0.2"], &["10.0.0.1", "10.0.0.2"]),
            (
                &["[::1]", "[::2]", "[::3]", "10.0.0.1"],
                &["[::1]", "10.0.0.1", "[::2]", "[::3]"],
            ),
            (
                &["10.0.0.1", "[::1]", "[::2]"],
                &["10.0.0.1", "[::1]", "[::2]"],
            ),
        ];
        for (given, expected) in cases {
            let sorted = alternate(addresses(given).into_iter());
            assert_eq!(sorted, addresses(expected));
        }
    }

    #[tokio::test]
    async fn an_address_that_swallows_everything_does_not_eat_the_time_of_the_next() {
        let hole = BlackHole::open();
        let good = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = good.local_addr().unwrap();
        let both = [hole.address(), good];
        let limit = Duration::from_secs(5);
        let stream = timeout(limit, connect_any(&both)).await;
        let stream = stream.expect("in time").expect("connected");
        assert_eq!(stream.peer_addr().unwrap(), good);
    }

    #[tokio::test]
    async fn an_address_that_refuses_hands_on_at_once_and_the_last_failure_is_told() {
        let refusing = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        let good = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = good.local_addr().unwrap();
        let many = [refusing, refusing, refusing, good];
        let stream = connect_any(&many).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);

        let error = connect_any(&[refusing, refusing]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let error = connect_any(&[]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn a_host_that_does_not_answer_is_given_up_in_time() {
        let hole = BlackHole::open();
        let options = options().connect_timeout(Duration::from_millis(300));
        let address = hole.address();
        let connecting = connect("127.0.0.1", address.port(), &options);
        let result = timeout(Duration::from_secs(5), connecting).await;
        let result = result.expect("in time");
        assert!(
            matches!(result, Err(Error::Timeout(Stage::Connect))),
            "{result:?}"
        );
    }
}
