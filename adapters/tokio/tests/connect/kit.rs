//! Servers to connect to, and patience.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use wspulse_core::handshake::{Accept, HandshakeError, Refusal, Reject, Request};
use wspulse_core::{Cause, CloseCode, Closed, Config};
use wspulse_tokio::{ConnectOptions, Error, MaybeTls, WebSocket, accept_with};

pub(crate) type Client = WebSocket<MaybeTls<TcpStream>>;

/// Waits for `future`, which a bug may keep from ending.
pub(crate) async fn bounded<F: Future>(future: F) -> F::Output {
    let limit = Duration::from_secs(20);
    let bounded = tokio::time::timeout(limit, future);
    bounded.await.expect("done long before")
}

pub(crate) fn options() -> ConnectOptions {
    ConnectOptions::new(Config::default())
}

pub(crate) fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Listens on the loopback, and handles each connection in a task of its own.
pub(crate) async fn serve<F>(handle: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handle(stream));
        }
    });
    address
}

/// A server that echoes to everybody.
pub(crate) async fn echo_server() -> SocketAddr {
    serve(|stream| echo(stream, |_| Ok(Accept::new()))).await
}

/// A server that accepts connections, reads, and never says anything.
pub(crate) async fn silent_server() -> SocketAddr {
    serve(|mut stream| async move { read_to_end(&mut stream).await }).await
}

/// Answers one request as `decide` says, and echoes if that is to accept it.
pub(crate) async fn echo<S>(stream: S, decide: impl FnOnce(&Request) -> Result<Accept, Reject>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let Ok(mut ws) = accept_with(stream, Config::default(), decide).await else {
        return;
    };
    while let Some(Ok(message)) = ws.next().await {
        if ws.send(message).await.is_err() {
            return;
        }
    }
}

pub(crate) async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
}

/// Sends one message there and back, and closes.
pub(crate) async fn assert_echoes(mut ws: Client) {
    bounded(async {
        ws.send("there and back").await.unwrap();
        let message = ws.next().await.unwrap().unwrap();
        assert_eq!(message.as_text(), Some("there and back"));
        ws.close(CloseCode::NORMAL, "").await.unwrap();
    })
    .await;
}

pub(crate) fn closed<T>(result: Result<T, Error>) -> Closed {
    match result {
        Err(Error::Closed(closed)) => *closed,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it worked"),
    }
}

pub(crate) fn refusal<T>(result: Result<T, Error>) -> Box<Refusal> {
    match closed(result).cause {
        Cause::Handshake(HandshakeError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

/// What servers saw, for tests to look at.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    pub(crate) fn note(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    /// Notes a request: its target, and the headers that `names` name.
    pub(crate) fn note_request(&self, request: &Request, names: &[&str]) {
        let mut line = request.target().to_owned();
        for name in names {
            if let Some(value) = request.header(name) {
                line += &format!(" {name}={}", String::from_utf8_lossy(value));
            }
        }
        self.note(line);
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}
