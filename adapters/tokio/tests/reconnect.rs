//! A client that comes back: over pipes in virtual time, and over a socket to a server that restarts.

mod common;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::*;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use wspulse_core::backoff::{BackoffConfig, BackoffConfigError, Generation};
use wspulse_core::{Cause, CloseCode, Config, Event, Message, SendError};
use wspulse_tokio::{
    ConnectOptions, DownReason, Error, ReconnectError, ReconnectEvent, ReconnectPolicy,
    ReconnectingClient, UrlError, WebSocket, WhileDown, accept, client,
};

/// Joins futures which a bug may keep from ending.
macro_rules! join {
    ($($future:expr),+ $(,)?) => {
        timeout(secs(3_600), async { tokio::join!($($future),+) })
            .await
            .expect("done long before")
    };
}

type Client = ReconnectingClient<DuplexStream>;
type Server = WebSocket<DuplexStream>;

/// The servers' ends of the attempts, in their order.
struct Net(mpsc::UnboundedReceiver<DuplexStream>);

/// A client, and the net in which it connects.
fn client_in_net(policy: impl Into<ReconnectPolicy>, config: Config) -> (Client, Net) {
    let (attempts, net) = mpsc::unbounded_channel();
    let connect = move |_| {
        let (near, far) = tokio::io::duplex(1 << 12);
        attempts.send(far).ok();
        let config = config.clone();
        async move { client(near, &request(), config).await }
    };
    let client = Client::with_connect(connect, policy).unwrap();
    (client, Net(net))
}

impl Net {
    /// The next attempt, which nobody has answered yet.
    async fn attempt(&mut self) -> Raw {
        let attempt = timeout(secs(100_000), self.0.recv()).await;
        Raw(attempt.expect("an attempt").expect("a client"))
    }

    async fn accept(&mut self) -> Server {
        let attempt = self.attempt().await;
        accept(attempt.0, Config::default()).await.unwrap()
    }

    async fn refuse(&mut self, head: &str) {
        let mut attempt = self.attempt().await;
        attempt.read_head().await;
        let answer = format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n");
        attempt.write(answer.as_bytes()).await;
        attempt.0.shutdown().await.unwrap();
    }
}

fn keep(count: usize) -> ReconnectPolicy {
    ReconnectPolicy::default().while_down(WhileDown::Keep(count))
}

async fn event(client: &mut Client) -> ReconnectEvent {
    let event = timeout(secs(100_000), client.next_event()).await;
    event.expect("an event").expect("no end")
}

async fn opened(client: &mut Client) -> Generation {
    match event(client).await {
        ReconnectEvent::Opened {
            generation,
            response,
        } => {
            assert!(response.is_some());
            generation
        }
        other => panic!("{other:?}"),
    }
}

async fn down(client: &mut Client) -> (Generation, DownReason, Duration) {
    match event(client).await {
        ReconnectEvent::Down {
            generation,
            reason,
            retry_in,
        } => (generation, reason, retry_in),
        other => panic!("{other:?}"),
    }
}

async fn text(server: &mut Server) -> String {
    let message = timeout(secs(60), server.next()).await;
    let message = message.expect("a message").expect("no end").unwrap();
    message.as_text().unwrap().to_owned()
}

fn given_back(result: Result<(), Error>) -> SendError {
    match result {
        Err(Error::Send(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn fatal(error: &ReconnectError) -> &DownReason {
    match error {
        ReconnectError::Fatal(reason) => reason,
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn it_comes_back_under_a_new_name_and_tells_how_the_old_connection_ended() {
    let (mut client, mut net) = client_in_net(BackoffConfig::default(), Config::default());
    let mut last = None;
    for _ in 0..3 {
        let (generation, mut server) = join!(opened(&mut client), net.accept());
        assert_eq!(client.generation(), Some(generation));
        assert!(last < Some(generation) && client.is_open());
        last = Some(generation);
        server.send("hi").await.unwrap();
        let message = event(&mut client).await;
        assert!(
            matches!(&message, ReconnectEvent::Connection(Event::Text(text)) if text == "hi"),
            "{message:?}"
        );
        tokio::time::sleep(secs(10)).await;
        drop(server);
        let lost_at = Instant::now();
        let (name, reason, retry_in) = down(&mut client).await;
        assert_eq!(name, generation);
        assert_eq!(reason.closed().unwrap().cause, Cause::Eof);
        assert!(matches!(reason, DownReason::Ended(_)));
        assert!(retry_in <= secs(5) && !client.is_open());
        // It connects when it said it would, to the millisecond of the runtime's timers.
        let attempt = async {
            let attempt = net.attempt().await;
            let waited = lost_at.elapsed();
            assert!(waited >= retry_in && waited - retry_in <= Duration::from_millis(2));
            drop(attempt);
        };
        let (failed, ()) = join!(down(&mut client), attempt);
        assert!(matches!(failed.1, DownReason::Failed(_)), "{:?}", failed.1);
    }
}

#[tokio::test(start_paused = true)]
async fn next_yields_messages_over_all_downtimes() {
    let (mut client, mut net) = client_in_net(BackoffConfig::default(), Config::default());
    let servers = async {
        for name in ["one", "two", "three"] {
            let mut server = net.accept().await;
            server.send(name).await.unwrap();
            server.close(CloseCode::GOING_AWAY, "").await.unwrap();
            drop(net.attempt().await);
        }
        let mut server = net.accept().await;
        server.close(CloseCode::NORMAL, "done").await.unwrap();
    };
    let all = async {
        let mut texts = Vec::new();
        loop {
            match client.next().await.unwrap() {
                Ok(message) => texts.push(message.as_text().unwrap().to_owned()),
                Err(error) => break (texts, error),
            }
        }
    };
    let ((texts, error), ()) = join!(all, servers);
    assert_eq!(texts, ["one", "two", "three"]);
    // The peer has nothing more to say: no sense in coming back, and it is said why.
    let closed = fatal(&error).closed().unwrap();
    assert_eq!(closed.code(), CloseCode::NORMAL);
    assert_eq!(&*closed.received.as_ref().unwrap().reason, "done");
    assert!(client.next().await.is_none());
    assert!(client.next_event().await.is_none());
    let back = given_back(client.send("late").await);
    assert_eq!(back, SendError::NotOpen(Message::from("late")));
}

#[tokio::test(start_paused = true)]
async fn the_hooks_messages_come_first_then_the_kept_ones_in_order_and_none_twice() {
    let (client, mut net) = client_in_net(keep(3), Config::default());
    let openings = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&openings);
    let mut client = client.on_open(move |opening| {
        assert!(opening.response().is_some());
        let nth = counter.fetch_add(1, Ordering::SeqCst) + 1;
        opening.send(format!("login {nth}"));
        opening.send("subscribe");
    });
    for text in ["1", "2", "3"] {
        client.send(text).await.unwrap();
    }
    // What was accepted stays, so it is the newest that does not get in.
    let back = given_back(client.send("4").await);
    assert_eq!(back, SendError::Full(Message::from("4")));

    let (_, mut server) = join!(opened(&mut client), net.accept());
    client.send("5").await.unwrap();
    for expected in ["login 1", "subscribe", "1", "2", "3", "5"] {
        assert_eq!(text(&mut server).await, expected);
    }
    drop(server);
    down(&mut client).await;
    client.send("6").await.unwrap();
    let handle = client.handle();
    handle.send("7").await.unwrap();

    let (_, mut server) = join!(opened(&mut client), net.accept());
    let received = async {
        for expected in ["login 2", "subscribe", "6", "7"] {
            assert_eq!(text(&mut server).await, expected);
        }
        server.close(CloseCode::NORMAL, "").await.unwrap();
    };
    let (error, ()) = join!(client.next(), received);
    assert!(error.unwrap().is_err());
    assert_eq!(openings.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_place_to_keep_it_a_message_comes_back() {
    let (mut client, mut net) = client_in_net(BackoffConfig::default(), Config::default());
    let handle = client.handle();
    for _ in 0..2 {
        let back = given_back(client.send("a").await);
        assert_eq!(back, SendError::NotOpen(Message::from("a")));
        let back = given_back(handle.send("b").await);
        assert_eq!(back, SendError::NotOpen(Message::from("b")));

        let (_, mut server) = join!(opened(&mut client), net.accept());
        client.send("c").await.unwrap();
        assert_eq!(text(&mut server).await, "c");
        drop(server);
        down(&mut client).await;
    }
}

/// What was handed to a connection may have been seen by the peer.
#[tokio::test(start_paused = true)]
async fn what_a_lost_connection_had_taken_is_not_sent_again() {
    let (client, mut net) = client_in_net(keep(9), Config::default());
    let mut client = client.on_open(|opening| opening.send("login"));
    let (_, server) = join!(opened(&mut client), net.accept());
    // More than the pipe holds, so that some of it waits in the connection.
    for _ in 0..8 {
        let _ = timeout(secs(1), client.send(vec![0; 1 << 10])).await;
    }
    drop(server);
    down(&mut client).await;
    client.send("later").await.unwrap();
    let (_, mut server) = join!(opened(&mut client), net.accept());
    assert_eq!(text(&mut server).await, "login");
    assert_eq!(text(&mut server).await, "later");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_fatal_or_a_reason_to_wait_as_long_as_it_asks() {
    let (mut client, mut net) = client_in_net(BackoffConfig::default(), Config::default());
    let start = Instant::now();
    let refused = net.refuse("503 x\r\nRetry-After: 30");
    let ((_, reason, retry_in), ()) = join!(down(&mut client), refused);
    assert!(matches!(reason, DownReason::Failed(_)));
    assert!(retry_in >= secs(30) && retry_in <= secs(35));
    client.network_up();

    let refused = async {
        net.refuse("401 x").await;
        assert!(start.elapsed() >= secs(30), "{:?}", start.elapsed());
    };
    let (error, ()) = join!(client.next(), refused);
    let error = error.unwrap().unwrap_err();
    assert!(error.to_string().contains("401"), "{error}");
    assert!(matches!(fatal(&error), DownReason::Failed(_)));
    assert!(client.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn it_gives_up_after_max_retries_and_says_why() {
    let config = BackoffConfig::default().max_retries(Some(4));
    let attempts = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&attempts);
    let connect = move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        async { Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into()) }
    };
    let mut client = Client::with_connect(connect, config).unwrap();
    match client.next().await.unwrap().unwrap_err() {
        ReconnectError::Exhausted { retries, reason } => {
            assert_eq!(retries, 4);
            assert!(matches!(reason, DownReason::Failed(Error::Io(_))));
        }
        other => panic!("{other}"),
    }
    assert_eq!(attempts.load(Ordering::SeqCst), 5);
    assert!(client.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_up_for_long_enough_starts_the_sequence_over() {
    let (mut client, mut net) = client_in_net(BackoffConfig::default(), Config::default());
    for expected in [1, 2, 3] {
        let (_, server) = join!(opened(&mut client), net.accept());
        drop(server);
        down(&mut client).await;
        assert_eq!(client.failures(), expected);
    }
    let (_, server) = join!(opened(&mut client), net.accept());
    let up = async {
        tokio::time::sleep(secs(11)).await;
        drop(server);
    };
    join!(down(&mut client), up);
    assert_eq!(client.failures(), 1);
}

/// The pings leave while the application only awaits the next message.
#[tokio::test(start_paused = true)]
async fn a_peer_that_fell_silent_is_given_up_and_connected_to_again() {
    let (mut client, mut net) = client_in_net(BackoffConfig::default(), heartbeat(5, 10));
    let (old, silent) = join!(opened(&mut client), net.accept());
    let start = Instant::now();
    assert!(matches!(
        event(&mut client).await,
        ReconnectEvent::Connection(Event::Suspect)
    ));
    let (name, reason, _) = down(&mut client).await;
    assert_eq!(name, old);
    assert!(matches!(reason.closed().unwrap().cause, Cause::Dead(_)));
    assert!(start.elapsed() <= secs(15) + Duration::from_secs(1));

    // What the old server still says is said to nobody.
    let (new, mut server) = join!(opened(&mut client), net.accept());
    let mut silent = silent;
    let _ = timeout(secs(1), silent.send("are you there?")).await;
    drop(silent);
    server.send("here").await.unwrap();
    let message = event(&mut client).await;
    assert!(
        matches!(&message, ReconnectEvent::Connection(Event::Text(text)) if text == "here"),
        "{message:?}"
    );
    assert_eq!(client.generation(), Some(new));
}

/// A12: on an open connection the hint asks the peer at once.
#[tokio::test(start_paused = true)]
async fn a12_a_hint_on_an_open_connection_asks_the_peer() {
    let (mut client, mut net) = client_in_net(keep(9), Config::default());
    let accepting = async {
        let attempt = net.attempt().await;
        let config = Config::builder().report_control(true).build().unwrap();
        accept(attempt.0, config).await.unwrap()
    };
    let (_, mut server) = join!(opened(&mut client), accepting);
    let handle = client.handle();
    tokio::spawn(async move { while client.next().await.is_some() {} });
    tokio::time::sleep(secs(1)).await;
    let asked = Instant::now();
    handle.network_up();
    let event = server.next_event().await;
    assert!(matches!(event, Some(Event::Ping(_))), "{event:?}");
    assert!(asked.elapsed() < secs(1), "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_hint_from_another_task_cuts_the_delay_short() {
    let hour = secs(3_600);
    let config = BackoffConfig::default().first(24 * hour);
    let (mut client, mut net) = client_in_net(config, Config::default());
    let handle = client.handle();
    let start = Instant::now();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(60)).await;
            handle.network_up();
        }
    });
    drop(join!(down(&mut client), async {
        drop(net.attempt().await);
    }));
    join!(opened(&mut client), net.accept());
    assert!(start.elapsed() <= secs(62), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_close_from_another_task_waits_for_no_delay_and_no_attempt() {
    // In a delay of a day, then in an attempt that nobody answers.
    for is_answered in [true, false] {
        let config = BackoffConfig::default()
            .first(secs(86_400))
            .cap(secs(86_400));
        let (mut client, mut net) = client_in_net(config, Config::default());
        let handle = client.handle();
        let start = Instant::now();
        let closing = async {
            let attempt = net.attempt().await;
            if is_answered {
                drop(attempt);
            } else {
                std::mem::forget(attempt);
            }
            tokio::time::sleep(secs(3)).await;
            let refused = given_back(handle.close(CloseCode::NO_STATUS, ""));
            assert!(matches!(refused, SendError::Close(_)));
            handle.close(CloseCode::NORMAL, "").unwrap();
        };
        let (end, ()) = join!(client.next(), closing);
        assert!(end.is_none());
        assert_eq!(start.elapsed().as_secs(), 3);
        assert!(client.next_event().await.is_none());
        assert!(net.0.try_recv().is_err(), "no further attempt");
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_says_goodbye_and_the_last_event_is_how_it_ended() {
    let (mut client, mut net) = client_in_net(BackoffConfig::default(), Config::default());
    let (_, mut server) = join!(opened(&mut client), net.accept());
    let handle = client.handle();
    handle.send("last words").await.unwrap();
    handle.close(CloseCode::NORMAL, "bye").unwrap();
    assert!(matches!(
        given_back(handle.send("more").await),
        SendError::NotOpen(_)
    ));
    let goodbye = async {
        assert_eq!(text(&mut server).await, "last words");
        assert!(server.next().await.is_none());
        let closed = server.closed().unwrap();
        assert_eq!(&*closed.received.as_ref().unwrap().reason, "bye");
    };
    let events = async {
        let mut last = None;
        while let Some(event) = client.next_event().await {
            last = Some(event);
        }
        last
    };
    let (last, ()) = join!(events, goodbye);
    match last {
        Some(ReconnectEvent::Connection(Event::Closed(closed))) => {
            assert_eq!(closed.cause, Cause::Normal);
        }
        other => panic!("{other:?}"),
    }

    let (mut client, mut net) = client_in_net(BackoffConfig::default(), Config::default());
    let (_, mut server) = join!(opened(&mut client), net.accept());
    let (closed, end) = join!(client.close(CloseCode::NORMAL, ""), server.next());
    closed.unwrap();
    assert!(end.is_none());
    assert!(client.next().await.is_none());
}

/// The connection goes with the client, whoever still holds a handle.
#[tokio::test(start_paused = true)]
async fn a_handle_keeps_nothing_alive() {
    let (mut client, mut net) = client_in_net(keep(9), Config::default());
    let (_, mut server) = join!(opened(&mut client), net.accept());
    let handle = client.handle();
    drop(client);
    assert!(server.next().await.unwrap().is_err());
    assert!(matches!(
        given_back(handle.send("a").await),
        SendError::NotOpen(_)
    ));
    assert!(!handle.is_open());
}

#[tokio::test(start_paused = true)]
async fn handles_wait_for_room_in_turn_and_no_message_is_lost() {
    let config = Config::builder().max_buffered_amount(1 << 10);
    let (mut client, mut net) = client_in_net(keep(9), config.build().unwrap());
    let (_, mut server) = join!(opened(&mut client), net.accept());
    let senders: Vec<_> = (0..8)
        .map(|sender: u8| {
            let handle = client.handle();
            tokio::spawn(async move {
                for nth in 0..50 {
                    let mut message = vec![sender; 700];
                    message[1] = nth;
                    handle.send(message).await.unwrap();
                }
            })
        })
        .collect();
    let received = async {
        let mut next = [0; 8];
        for _ in 0..8 * 50 {
            let message = timeout(secs(60), server.next()).await;
            let message = message.expect("a message").unwrap().unwrap();
            let bytes = message.as_bytes();
            let sender = usize::from(bytes[0]);
            assert_eq!(bytes[1], next[sender]);
            next[sender] += 1;
        }
        for sender in senders {
            sender.await.unwrap();
        }
        server.close(CloseCode::NORMAL, "").await.unwrap();
    };
    let (end, ()) = join!(client.next(), received);
    assert!(end.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_send_that_waits_for_room_when_the_connection_goes_is_kept_or_given_back() {
    for policy in [keep(1), ReconnectPolicy::default()] {
        let config = Config::builder().max_buffered_amount(1 << 10);
        let (mut client, mut net) = client_in_net(policy.clone(), config.build().unwrap());
        let (_, server) = join!(opened(&mut client), net.accept());
        let handle = client.handle();
        // In a task of its own, which has to be woken.
        let sending = tokio::spawn(async move {
            // Until one does not fit in what the pipe and the connection hold.
            for _ in 0..1_000 {
                let message = Message::from(vec![7; 1 << 10]);
                let mut send = pin!(handle.send(message));
                match give_up_after(1, send.as_mut()).await {
                    Some(sent) => sent.unwrap(),
                    None => return send.await,
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            panic!("there is always room");
        });
        let losing = async {
            tokio::time::sleep(secs(5)).await;
            drop(server);
        };
        let (_, ()) = join!(down(&mut client), losing);
        let sent = timeout(secs(1), sending).await.expect("an answer").unwrap();
        let kept = client.take_kept();
        if matches!(&sent, Ok(())) {
            assert_eq!(kept, [Message::from(vec![7; 1 << 10])]);
        } else {
            assert!(matches!(given_back(sent), SendError::NotOpen(_)));
            assert!(kept.is_empty());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_behind_kept_messages_is_kept_with_them_when_the_connection_goes() {
    let config = Config::builder().max_buffered_amount(1 << 10);
    let (mut client, mut net) = client_in_net(keep(100), config.build().unwrap());
    for nth in 0..20 {
        client.send(vec![nth; 1 << 10]).await.unwrap();
    }
    let (_, server) = join!(opened(&mut client), net.accept());
    let handle = client.handle();
    let sending = tokio::spawn(async move { handle.send("behind").await });
    let losing = async {
        tokio::time::sleep(secs(5)).await;
        drop(server);
    };
    join!(down(&mut client), losing);
    let sent = timeout(secs(1), sending).await.expect("an answer");
    sent.unwrap().unwrap();

    let (_, mut server) = join!(opened(&mut client), net.accept());
    let receiving = async {
        let mut rest = Vec::new();
        loop {
            let message = server.next().await.unwrap().unwrap();
            match message.as_text() {
                Some(text) => break assert_eq!(text, "behind"),
                None => rest.push(message.as_bytes()[0]),
            }
        }
        server.close(CloseCode::NORMAL, "").await.unwrap();
        rest
    };
    let (end, rest) = join!(client.next(), receiving);
    assert!(end.unwrap().is_err());
    // Those that the first connection took are gone, and the others came in order.
    let first = rest[0];
    assert!((1..20).contains(&first), "{rest:?}");
    assert_eq!(rest, (first..20).collect::<Vec<_>>());
}

/// The client's own `send` moves the connection while it waits, as nobody else does then.
#[tokio::test(start_paused = true)]
async fn the_clients_own_send_waits_for_room_and_moves_the_connection() {
    let config = Config::builder().max_buffered_amount(1 << 10);
    let (mut client, mut net) = client_in_net(keep(100), config.build().unwrap());
    for _ in 0..20 {
        client.send(vec![1; 1 << 10]).await.unwrap();
    }
    let (_, mut server) = join!(opened(&mut client), net.accept());
    let sending = async {
        for _ in 0..20 {
            client.send(vec![2; 1 << 10]).await.unwrap();
        }
        client.close(CloseCode::NORMAL, "").await.unwrap();
    };
    let receiving = async {
        let mut kinds = Vec::new();
        while let Some(message) = timeout(secs(60), server.next()).await.expect("an end") {
            kinds.push(message.unwrap().as_bytes()[0]);
        }
        kinds
    };
    let ((), kinds) = join!(sending, receiving);
    assert_eq!(kinds, [[1; 20], [2; 20]].concat());
}

// ---- cancelling

/// Drops `next` after each poll, at whatever await it is, and counts what comes.
#[tokio::test(start_paused = true)]
async fn a_next_that_is_dropped_at_any_await_loses_and_repeats_nothing() {
    let (mut client, mut net) = client_in_net(BackoffConfig::default(), Config::default());
    let attempts = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&attempts);
    let servers = async move {
        for connection in 0..5 {
            let mut server = net.accept().await;
            for nth in 0..100 {
                let padding = "x".repeat(nth * 7);
                server
                    .send(format!("{connection} {nth} {padding}"))
                    .await
                    .unwrap();
            }
            server.close(CloseCode::GOING_AWAY, "").await.unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
        }
        net.refuse("403 x").await;
    };
    let receiving = async {
        let mut texts = Vec::new();
        for _ in 0..1_000_000 {
            match give_up_after(1, client.next()).await {
                Some(Some(Ok(message))) => texts.push(message.as_text().unwrap().to_owned()),
                Some(Some(Err(_))) => return texts,
                Some(None) => panic!("an end without a reason"),
                None => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
        panic!("it never ends: {} messages", texts.len());
    };
    let (texts, ()) = join!(receiving, servers);
    assert_eq!(attempts.load(Ordering::SeqCst), 5, "one attempt each");
    let expected = (0..5).flat_map(|connection| {
        (0..100).map(move |nth| format!("{connection} {nth} {}", "x".repeat(nth * 7)))
    });
    assert!(texts.iter().eq(&expected.collect::<Vec<_>>()));
}

#[tokio::test(start_paused = true)]
async fn a_close_that_is_dropped_goes_on_in_next() {
    let (mut client, mut net) = client_in_net(BackoffConfig::default(), Config::default());
    let (_, mut server) = join!(opened(&mut client), net.accept());
    give_up_after(1, client.close(CloseCode::NORMAL, "")).await;
    let (end, seen) = join!(client.next(), server.next());
    assert!(end.is_none() && seen.is_none());
    assert_eq!(server.closed().unwrap().cause, Cause::Normal);
}

#[tokio::test(start_paused = true)]
async fn a_send_that_is_dropped_took_all_or_nothing_and_lets_the_others_go_on() {
    let config = Config::builder().max_buffered_amount(1 << 10);
    let (mut client, mut net) = client_in_net(keep(9), config.build().unwrap());
    let (_, mut server) = join!(opened(&mut client), net.accept());
    let handle = client.handle();
    // Nobody drives the client, so this fills its queue.
    handle.send(vec![1; 1 << 10]).await.unwrap();
    assert!(give_up_after(1, handle.send("lost")).await.is_none());
    let patient = handle.clone();
    let patient = tokio::spawn(async move { patient.send("sent").await });
    let receiving = async {
        assert_eq!(server.next().await.unwrap().unwrap().len(), 1 << 10);
        assert_eq!(text(&mut server).await, "sent");
        server.close(CloseCode::NORMAL, "").await.unwrap();
    };
    let (end, ()) = join!(client.next(), receiving);
    assert!(end.unwrap().is_err());
    patient.await.unwrap().unwrap();
}

// ---- arguments

#[test]
fn what_cannot_work_is_said_at_once() {
    let new = |url: &str, options: ConnectOptions, backoff: BackoffConfig| {
        ReconnectingClient::new(url, options, backoff).err()
    };
    let fine = || ConnectOptions::new(Config::default());
    let backoff = BackoffConfig::default();
    let url = "ws://127.0.0.1:1/";
    assert!(matches!(
        new("http://127.0.0.1/", fine(), backoff),
        Some(Error::Url(UrlError::Scheme))
    ));
    assert!(matches!(
        new(url, fine().header("a b", ""), backoff),
        Some(Error::Request(_))
    ));
    assert!(matches!(
        new(url, fine(), backoff.base(Duration::ZERO)),
        Some(Error::Backoff(BackoffConfigError::ZeroBase))
    ));
    assert!(new(url, fine(), backoff).is_none());
}

#[test]
fn a_client_and_its_handle_may_move_to_other_threads() {
    fn is_send<T: Send>(_: &T) {}
    fn is_sync<T: Sync>(_: &T) {}
    let client = ReconnectingClient::new("ws://127.0.0.1:1/", Config::default(), keep(1)).unwrap();
    is_send(&client);
    is_send(&client.handle());
    is_sync(&client.handle());
    let mut client = client;
    is_send(&client.next());
    let handle = client.handle();
    is_send(&handle.send("a"));
}

/// Outside a runtime's task: what `next` waits for wakes whoever polled it last.
#[tokio::test(start_paused = true)]
async fn the_last_task_that_polled_is_the_one_that_is_woken() {
    let (mut client, _net) = client_in_net(BackoffConfig::default(), Config::default());
    let (first, second) = (Arc::new(Alarm::default()), Arc::new(Alarm::default()));
    for alarm in [&first, &second] {
        let waker = Waker::from(Arc::clone(alarm));
        let poll = pin!(client.next()).poll(&mut Context::from_waker(&waker));
        assert!(matches!(poll, Poll::Pending));
    }
    client.handle().close(CloseCode::NORMAL, "").unwrap();
    assert_eq!((first.count(), second.count()), (0, 1));
}

// ---- over sockets

#[tokio::test]
async fn it_finds_a_server_that_restarts_on_the_same_port() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let backoff = BackoffConfig::default()
        .first(Duration::from_millis(20))
        .base(Duration::from_millis(20))
        .cap(Duration::from_millis(100));
    let policy = ReconnectPolicy::new(backoff).while_down(WhileDown::Keep(8));
    let url = format!("ws://{address}/");
    let mut client = ReconnectingClient::new(&url, Config::default(), policy)
        .unwrap()
        .on_open(|opening| opening.send("subscribe"));

    let client_task = async {
        let mut answers = Vec::new();
        while let Some(event) = client.next_event().await {
            match event {
                ReconnectEvent::Connection(Event::Text(text)) => answers.push(text.to_string()),
                ReconnectEvent::Down { .. } => {
                    let kept = format!("while down {}", answers.len());
                    client.send(kept).await.ok();
                }
                ReconnectEvent::GaveUp(error) => return (answers, error),
                _ => {}
            }
        }
        panic!("an end without a reason");
    };
    let server_task = async {
        let mut listener = Some(listener);
        for round in 0..3 {
            let accepting = match listener.take() {
                Some(listener) => listener,
                // Down for long enough that some attempts find no one.
                None => {
                    tokio::time::sleep(Duration::from_millis(150)).await;
                    rebind(address).await
                }
            };
            let (stream, _) = accepting.accept().await.unwrap();
            let mut ws: WebSocket<TcpStream> = accept(stream, Config::default()).await.unwrap();
            let first = ws.next().await.unwrap().unwrap();
            assert_eq!(first.as_text(), Some("subscribe"));
            if round > 0 {
                let kept = ws.next().await.unwrap().unwrap();
                assert_eq!(kept.as_text(), Some(&*format!("while down {round}")));
            }
            ws.send(format!("news {round}")).await.unwrap();
            match round {
                // Without a word.
                0 => {}
                1 => ws.close(CloseCode::SERVICE_RESTART, "").await.unwrap(),
                _ => ws.close(CloseCode::POLICY_VIOLATION, "").await.unwrap(),
            }
        }
    };
    let both = async { tokio::join!(client_task, server_task) };
    let ((answers, error), ()) = timeout(secs(20), both).await.expect("it takes too long");
    assert_eq!(answers, ["news 0", "news 1", "news 2"]);
    let closed = fatal(&error).closed().unwrap();
    assert_eq!(closed.code(), CloseCode::POLICY_VIOLATION);
}

async fn rebind(address: std::net::SocketAddr) -> TcpListener {
    for _ in 0..100 {
        if let Ok(listener) = TcpListener::bind(address).await {
            return listener;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the port is taken: {address}");
}
