//! What the log is told with the feature `tracing`, and what it is not.
#![cfg(feature = "tracing")]

mod common;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use common::*;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Metadata, Subscriber};
use wspulse_core::{CloseCode, Config};

type Fields = BTreeMap<&'static str, String>;

/// One event, with the fields of its span.
#[derive(Clone, Debug)]
struct Line {
    level: Level,
    target: String,
    fields: Fields,
    span: Fields,
}

impl Line {
    fn number(&self, field: &str) -> u64 {
        self.fields[field].parse().unwrap()
    }
}

/// Keeps what it is told.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<(Vec<Fields>, Vec<Line>)>>);

struct Collect<'a>(&'a mut Fields);

impl Visit for Collect<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::new();
        span.record(&mut Collect(&mut fields));
        let mut log = self.0.lock().unwrap();
        log.0.push(fields);
        Id::from_u64(log.0.len() as u64)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let fields = &mut self.0.lock().unwrap().0;
        values.record(&mut Collect(&mut fields[span.into_u64() as usize - 1]));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields::new();
        event.record(&mut Collect(&mut fields));
        let mut log = self.0.lock().unwrap();
        let span = event.parent().map(|id| id.into_u64() as usize - 1);
        let line = Line {
            level: *event.metadata().level(),
            target: event.metadata().target().to_owned(),
            fields,
            span: span.map(|span| log.0[span].clone()).unwrap_or_default(),
        };
        log.1.push(line);
    }

    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl Log {
    fn lines(&self, message: &str) -> Vec<Line> {
        let log = self.0.lock().unwrap();
        let is_it = |line: &&Line| {
            line.target.starts_with("wspulse_tokio") && line.fields["message"] == message
        };
        log.1.iter().filter(is_it).cloned().collect()
    }

    /// What was told in all, as one text.
    fn all(&self) -> String {
        format!("{:?}", self.0.lock().unwrap())
    }
}

#[tokio::test]
async fn a_connections_life_is_told_with_its_numbers_and_without_its_secrets() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/secret-path", listener.local_addr().unwrap());
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut ws = wspulse_tokio::accept(stream, Config::default())
            .await
            .unwrap();
        while let Some(message) = ws.next().await {
            ws.send(message.unwrap()).await.unwrap();
        }
    };
    let client = async {
        let options = wspulse_tokio::ConnectOptions::new(Config::default())
            .header("Authorization", "secret-header");
        let mut ws = wspulse_tokio::connect(&url, options).await.unwrap();
        for _ in 0..3 {
            ws.send("secret-payload").await.unwrap();
            ws.next().await.unwrap().unwrap();
        }
        ws.close(CloseCode::NORMAL, "secret-reason").await.unwrap();
    };
    tokio::join!(server, client);

    let open = log.lines("open");
    assert_eq!(open.len(), 2);
    let mut roles: Vec<_> = open.iter().map(|line| &*line.span["role"]).collect();
    roles.sort_unstable();
    assert_eq!(roles, ["\"client\"", "\"server\""]);
    for line in &open {
        assert_eq!(line.level, Level::DEBUG);
        assert!(line.span["peer"].starts_with("127.0.0.1:"), "{line:?}");
    }
    let closed = log.lines("closed");
    assert_eq!(closed.len(), 2);
    for line in closed {
        assert_eq!(line.level, Level::DEBUG, "an end in order wakes nobody");
        assert_eq!(line.fields["cause"], "closed");
        assert_eq!(line.number("code"), 1_000);
        assert_eq!(
            (line.number("messages_in"), line.number("messages_out")),
            (3, 3)
        );
        // The frames and the head at least.
        assert!(line.number("bytes_in") > 3 * 14 + 100);
        assert!(line.number("bytes_out") > 3 * 14 + 100);
    }
    let counted: u64 = log
        .lines("counters")
        .iter()
        .map(|line| line.number("monotonic_counter.wspulse_messages_in"))
        .sum();
    assert_eq!(counted, 6);
    assert!(!log.all().contains("secret"), "{}", log.all());
}

#[tokio::test(start_paused = true)]
async fn suspicion_recovery_and_death_are_told() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let (server, mut raw) = server_and_raw(heartbeat(5, 10), Rough::new).await;
    let (_receiver, sender) = server.spawn(4);
    sleep(secs(12)).await;
    raw.write(&frame(TEXT, b"still here")).await;
    sender.ended().await.unwrap();

    let told: Vec<_> = ["open", "suspect", "recovered", "closed"]
        .map(|message| log.lines(message))
        .into_iter()
        .map(|lines| lines.iter().map(|line| line.level).collect::<Vec<_>>())
        .collect();
    let info = Level::INFO;
    assert_eq!(
        told,
        [vec![Level::DEBUG], vec![info; 2], vec![info], vec![info]]
    );
    let closed = &log.lines("closed")[0];
    assert!(closed.fields["cause"].starts_with("peer is dead"));
    assert!((10_000..=15_000).contains(&closed.number("silence_ms")));
    assert!(closed.number("pings") >= 2);
    assert_eq!(closed.number("messages_in"), 1);
    let pings: u64 = log
        .lines("counters")
        .iter()
        .map(|line| line.number("monotonic_counter.wspulse_pings"))
        .sum();
    assert_eq!(pings, closed.number("pings"));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_breaks_the_protocol_is_a_warning() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let (mut server, mut raw) = server_and_raw(Config::default(), Rough::new).await;
    raw.write(&frame(0x83, b"")).await;
    drop(raw);
    assert!(server.next().await.unwrap().is_err());
    let closed = &log.lines("closed")[0];
    assert_eq!(closed.level, Level::WARN);
    assert!(closed.fields["cause"].starts_with("protocol error"));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_dropped_is_told_too() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let (server, _raw) = server_and_raw(Config::default(), Rough::new).await;
    drop(server);
    assert_eq!(log.lines("dropped while open")[0].level, Level::DEBUG);
    assert!(log.lines("closed").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_without_its_words() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let (near, far) = tokio::io::duplex(1 << 10);
    let mut raw = Raw(far);
    let request = request();
    let (client, ()) = tokio::join!(
        wspulse_tokio::client(near, &request, Config::default()),
        async {
            raw.read_head().await;
            raw.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\nsecret")
                .await;
        }
    );
    assert!(client.is_err());
    let closed = &log.lines("closed")[0];
    assert_eq!(closed.fields["cause"], "handshake refused with status 403");
    assert!(!log.all().contains("secret"));
}

/// hyper tells too late that it does not allow upgrades.
#[cfg(feature = "axum")]
#[tokio::test]
async fn an_upgrade_that_fails_is_told() {
    use axum::extract::FromRequestParts as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = |request: hyper::Request<hyper::body::Incoming>| async move {
        let (mut parts, _) = request.into_parts();
        let upgrade = wspulse_tokio::WebSocketUpgrade::from_request_parts(&mut parts, &()).await;
        let serve = |_| async { panic!("there is nothing to serve") };
        Ok::<_, std::convert::Infallible>(upgrade.unwrap().on_upgrade(serve))
    };
    let server = async {
        let stream = hyper_util::rt::TokioIo::new(listener.accept().await.unwrap().0);
        let http = hyper::server::conn::http1::Builder::new();
        let _ = http
            .serve_connection(stream, hyper::service::service_fn(service))
            .await;
    };
    let client = async {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = "GET /secret-path HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
                       Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       Sec-WebSocket-Version: 13\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.unwrap();
    };
    tokio::join!(server, client);
    // The task that waited for the connection runs before the end of this one's turn.
    let told = async {
        while log.lines("upgrade failed").is_empty() {
            sleep(secs(0)).await;
        }
    };
    tokio::time::timeout(secs(10), told).await.expect("a line");
    let lines = log.lines("upgrade failed");
    assert_eq!((lines.len(), lines[0].level), (1, Level::INFO));
    assert!(!lines[0].fields["error"].is_empty());
    assert!(!log.all().contains("secret"));
}
