//! Rule 16: sending is enough to stay alive, and unread input hides nothing.

mod common;

use std::time::Duration;

use common::*;
use futures_util::SinkExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use wspulse_core::heartbeat::{DeadReason, HeartbeatConfig};
use wspulse_core::{Cause, CloseCode, Config, Event};
use wspulse_tokio::{Drain, Error, InboxLimits, Reader, Receiver, Sender, WebSocket, Writer};

/// The ways to send that a program has, each with an application that takes no event.
#[expect(dead_code, reason = "the half that takes events is kept, and not used")]
enum Way {
    Whole(WebSocket<DuplexStream>),
    Sink(WebSocket<DuplexStream>),
    Feed(WebSocket<DuplexStream>),
    Half(Writer<DuplexStream>, Reader<DuplexStream>),
    /// The reader is dropped.
    Deaf(Writer<DuplexStream>),
    Spawned(Sender, Receiver),
}

impl Way {
    const COUNT: usize = 6;

    fn new(way: usize, ws: WebSocket<DuplexStream>) -> Self {
        match way {
            0 => Self::Whole(ws),
            1 => Self::Sink(ws),
            2 => Self::Feed(ws),
            3 => {
                let (reader, writer) = ws.split();
                Self::Half(writer, reader)
            }
            4 => Self::Deaf(ws.split().1),
            _ => {
                let (receiver, sender) = ws.spawn(16);
                Self::Spawned(sender, receiver)
            }
        }
    }

    async fn send(&mut self) -> Result<(), Error> {
        match self {
            Self::Whole(ws) => ws.send("tick").await,
            Self::Sink(ws) => SinkExt::send(ws, "tick".into()).await,
            Self::Feed(ws) => ws.feed("tick").await,
            Self::Half(writer, _) | Self::Deaf(writer) => writer.send("tick").await,
            Self::Spawned(sender, _) => sender.send("tick").await,
        }
    }

    /// Ten ticks a second until an error tells of the end.
    async fn tick(&mut self) -> Error {
        loop {
            if let Err(error) = self.send().await {
                return error;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A server of each kind, and its raw peer.
async fn way(way: usize, config: Config) -> (Way, Raw) {
    let (server, raw) = server_and_raw(config, |stream| stream).await;
    (Way::new(way, server), raw)
}

/// Reads frames until one begins with `first`, and returns its payload.
async fn read_until(raw: &mut Raw, first: u8) -> Vec<u8> {
    loop {
        let frame = raw.read_frame().await;
        if frame.0 == first {
            return frame.1;
        }
    }
}

/// A6, with the default heartbeat: its 20 s are not what a peer waits for.
#[tokio::test(start_paused = true)]
async fn a6_a_ping_and_a_close_are_answered_within_a_second_or_two() {
    for kind in 0..Way::COUNT {
        let (mut way, mut raw) = way(kind, Config::default()).await;
        let peer = async {
            sleep(secs(3)).await;
            let asked = Instant::now();
            raw.write(&frame(PING, b"?")).await;
            assert_eq!(read_until(&mut raw, PONG).await, b"?");
            assert!(
                asked.elapsed() <= Duration::from_millis(1_200),
                "{kind}: {:?}",
                asked.elapsed()
            );
            let asked = Instant::now();
            raw.write(&frame(CLOSE, b"\x03\xF3overload")).await;
            assert_eq!(read_until(&mut raw, CLOSE).await, b"\x03\xF3");
            assert!(
                asked.elapsed() <= Duration::from_millis(1_200),
                "{kind}: {:?}",
                asked.elapsed()
            );
        };
        let (error, ()) = tokio::join!(timeout(secs(60), way.tick()), peer);
        let error = error.expect("T8: it is told").to_string();
        assert!(
            error.starts_with("closed, received 1011 \"overload\""),
            "{kind}: {error}"
        );
    }
}

/// A1: a greeting that nobody takes holds nothing back, and hides no pings.
#[tokio::test(start_paused = true)]
async fn a1_an_unread_greeting_holds_nothing_back() {
    for kind in 0..Way::COUNT {
        let (mut way, mut raw) = way(kind, heartbeat(1, 2)).await;
        let peer = async {
            raw.write(&[frame(TEXT, b"hello"), frame(TEXT, b"again")].concat())
                .await;
            let begin = Instant::now();
            let mut ticks = 0;
            let mut pongs = 0;
            while begin.elapsed() < secs(10) {
                match raw.read_frame().await {
                    (TEXT, _) => {
                        ticks += 1;
                        if ticks % 10 == 0 {
                            raw.write(&frame(PING, b"!")).await;
                        }
                    }
                    (PONG, _) => pongs += 1,
                    (PING, payload) => raw.write(&frame(PONG, &payload)).await,
                    other => panic!("{other:?}"),
                }
            }
            assert!(ticks >= 95, "{kind}: {ticks} ticks came");
            assert!(pongs >= 5, "{kind}: {pongs} pongs came");
        };
        tokio::select! {
            error = way.tick() => panic!("{kind}: {error}"),
            () = peer => {}
        }
    }
}

/// A1, T8: a mute peer is found within interval and timeout, though something lies unread.
#[tokio::test(start_paused = true)]
async fn a1_a_mute_peer_is_found_by_a_program_that_only_sends() {
    for config in [heartbeat(1, 2), Config::default()] {
        let bound = config.heartbeat().detection_bound().unwrap();
        for kind in 0..Way::COUNT {
            let (mut way, mut raw) = way(kind, config.clone()).await;
            raw.write(&[frame(TEXT, b"hello"), frame(TEXT, b"again")].concat())
                .await;
            let begin = Instant::now();
            let error = timeout(bound * 2, way.tick()).await.expect("it is told");
            let elapsed = begin.elapsed();
            // The engine looks when a call does.
            assert!(elapsed <= bound + secs(1), "{kind}: {elapsed:?}");
            match error {
                Error::Closed(closed) => {
                    assert_eq!(closed.cause, Cause::Dead(DeadReason::PongTimeout), "{kind}");
                }
                other => panic!("{kind}: {other:?}"),
            }
        }
    }
}

/// Messages that a sending call read are handed out in their order, before the end.
#[tokio::test(start_paused = true)]
async fn what_was_read_while_sending_is_handed_out() {
    let (mut server, mut raw) = server_and_raw(Config::default(), |stream| stream).await;
    for n in 0..50 {
        raw.write(&frame(TEXT, format!("{n}").as_bytes())).await;
    }
    raw.write(&frame(CLOSE, &1_000_u16.to_be_bytes())).await;
    sleep(secs(2)).await;
    while server.send("tick").await.is_ok() {}
    for n in 0..50 {
        let message = server.next().await.unwrap().unwrap();
        assert_eq!(message.as_text(), Some(&*format!("{n}")));
    }
    assert!(server.next().await.is_none());
    assert!(server.closed().unwrap().clean);
}

/// A slow application that takes a message every three seconds answers pings all the same.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_answers_pings_too() {
    let (mut server, mut raw) = server_and_raw(Config::default(), |stream| stream).await;
    let batch: Vec<u8> = (0..20).flat_map(|_| frame(TEXT, b"x")).collect();
    raw.write(&batch).await;
    let slow = async {
        while let Some(Ok(_)) = server.next().await {
            sleep(secs(3)).await;
        }
    };
    let peer = async {
        for n in 0..10_u8 {
            sleep(secs(5)).await;
            raw.write(&frame(PING, &[n])).await;
            let asked = Instant::now();
            assert_eq!(read_until(&mut raw, PONG).await, [n]);
            assert!(asked.elapsed() <= secs(4), "{:?}", asked.elapsed());
        }
    };
    tokio::select! {
        () = slow => panic!("it ended"),
        () = peer => {}
    }
}

/// A5: a drain reaches a connection that only sends, and the sender is told.
#[tokio::test(start_paused = true)]
async fn a5_a_drain_reaches_a_connection_that_only_sends() {
    for kind in 0..Way::COUNT {
        let drain = Drain::new();
        let (mut server, mut raw) = server_and_raw(Config::default(), |stream| stream).await;
        drain.guard(&mut server, kind);
        let mut way = Way::new(kind, server);
        let peer = async {
            sleep(secs(1)).await;
            let (report, ()) = tokio::join!(drain.shutdown(secs(0), secs(2)), async {
                assert_eq!(read_until(&mut raw, CLOSE).await, b"\x03\xE9");
                raw.write(&frame(CLOSE, b"\x03\xE9")).await;
            });
            assert!(report.is_in_order(), "{kind}: {report:?}");
        };
        let (error, ()) = tokio::join!(timeout(secs(10), way.tick()), peer);
        let error = error.expect("it is told").to_string();
        assert_eq!(error, "closed, received 1001, sent 1001", "{kind}");
    }
}

/// A16: sends 1.8 MB, then reads, against the plain echo loop. That is less than both inboxes take,
/// and far more than the pipe between them.
#[tokio::test(start_paused = true)]
async fn a16_a_program_that_sends_much_before_it_reads_gets_it_back() {
    let (mut client, server) = pair(1 << 16, heartbeat(1, 2)).await;
    let echo = tokio::spawn(async move {
        let mut server = server;
        while let Some(message) = server.next().await {
            server.send(message?).await?;
        }
        Ok::<(), Error>(())
    });
    let count = 1_800;
    for _ in 0..count {
        client.send(vec![7; 1_000]).await.unwrap();
    }
    for _ in 0..count {
        assert_eq!(client.next().await.unwrap().unwrap().len(), 1_000);
    }
    client.close(CloseCode::NORMAL, "").await.unwrap();
    echo.await.unwrap().unwrap();
}

/// T1: a reset is told to the sender at once, with its cause, whatever lies unread.
#[tokio::test]
async fn t1_a_reset_behind_unread_messages_is_told_to_the_sender() {
    for is_full in [false, true] {
        for is_spawned in [false, true] {
            let (mut client, mut server) = tcp_pair(heartbeat(1, 2)).await;
            if is_full {
                server.set_inbox_limits(InboxLimits::new().max_messages(4));
            }
            for _ in 0..40 {
                client.send("unread").await.unwrap();
            }
            let reset = async {
                sleep(Duration::from_millis(300)).await;
                socket2::SockRef::from(client.get_ref().get_ref())
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
                client.abort();
                drop(client);
                Instant::now()
            };
            let tick = async {
                if is_spawned {
                    let (receiver, sender) = server.spawn(16);
                    let error = loop {
                        if let Err(error) = sender.send("tick").await {
                            break error;
                        }
                        sleep(Duration::from_millis(50)).await;
                    };
                    drop(receiver);
                    return (error, Instant::now());
                }
                loop {
                    if let Err(error) = server.send("tick").await {
                        break (error, Instant::now());
                    }
                    sleep(Duration::from_millis(50)).await;
                }
            };
            let (at, told) = tokio::join!(reset, timeout(secs(20), tick));
            let (error, told_at) = told.expect("it is told");
            assert!(told_at - at <= secs(2), "{:?}", told_at - at);
            let is_reset =
                |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
            assert!(
                matches!(&error, Error::Io(error) if is_reset(error)),
                "{error:?}"
            );
        }
    }
}

/// T1: with a full inbox and nothing to send, the socket's failure is noticed all the same.
#[tokio::test]
async fn t1_a_reset_ends_a_task_whose_inbox_is_full() {
    let (mut client, mut server) = tcp_pair(Config::default()).await;
    server.set_inbox_limits(InboxLimits::new().max_messages(4));
    let (mut receiver, sender) = server.spawn(2);
    for _ in 0..40 {
        client.send("unread").await.unwrap();
    }
    sleep(Duration::from_millis(300)).await;
    socket2::SockRef::from(client.get_ref().get_ref())
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    let ended = timeout(secs(10), sender.ended()).await;
    let ended = ended.expect("the kernel's word is heard").unwrap();
    assert_eq!(ended.cause, Cause::Eof);
    let mut count = 0;
    let end = loop {
        match receiver.next().await {
            Some(Ok(_)) => count += 1,
            end => break end,
        }
    };
    assert!(count >= 6, "what was read is handed out");
    assert!(matches!(end, Some(Err(Error::Io(_)))), "{end:?}");
}

/// T3: a busy application, 100 messages a second of 3,200 bytes, and a peer that hangs up after
/// 2.5 s without a pong.
#[tokio::test(start_paused = true)]
async fn t3_a_task_keeps_a_busy_applications_connection() {
    let (server, raw) = server_and_raw(Config::default(), |stream| stream).await;
    let (mut receiver, _sender) = server.spawn(16);
    let (mut input, mut output) = tokio::io::split(raw.0);
    let message = {
        let mut frame = vec![BINARY, 0x80 | 126, 0x0C, 0x80, 0, 0, 0, 0];
        frame.resize(8 + 3_200, 7);
        frame
    };
    let peer = tokio::spawn(async move {
        for n in 0..700_u32 {
            output.write_all(&message).await.unwrap();
            if n % 100 == 0 {
                output
                    .write_all(&frame(PING, &n.to_be_bytes()))
                    .await
                    .unwrap();
            }
            sleep(Duration::from_millis(10)).await;
        }
        output
    });
    // Busy for so long as 1 MiB takes.
    let mut pong = [0; 6];
    for n in [0_u32, 100, 200, 300] {
        timeout(Duration::from_millis(2_500), input.read_exact(&mut pong))
            .await
            .expect("a pong in time")
            .unwrap();
        assert_eq!(pong[2..], n.to_be_bytes());
    }
    for _ in 0..700 {
        assert_eq!(receiver.next().await.unwrap().unwrap().len(), 3_200);
    }
    peer.await.unwrap();
}

/// The inbox has a bound, and the peer is held back beyond it.
#[tokio::test(start_paused = true)]
async fn the_inbox_is_bounded_and_goes_on_when_it_is_taken() {
    let (server, raw) = server_and_raw(heartbeat(1, 2), |stream| stream).await;
    let (mut input, mut output) = tokio::io::split(raw.0);
    let peer = tokio::spawn(async move {
        let mut frame = vec![BINARY, 0x80 | 126, 0x40, 0, 0, 0, 0, 0];
        frame.resize(8 + 16_384, 7);
        for _ in 0..1_000 {
            output.write_all(&frame).await.unwrap();
        }
        output
    });
    let swallow = tokio::spawn(async move {
        let mut buffer = [0; 4_096];
        while input.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
    });
    let mut server = server;
    for _ in 0..600 {
        server
            .send("tick")
            .await
            .expect("a peer that is not read is not dead");
        sleep(Duration::from_millis(100)).await;
    }
    assert!(!peer.is_finished(), "16 MB did not fit");
    for _ in 0..1_000 {
        assert_eq!(server.next().await.unwrap().unwrap().len(), 16_384);
    }
    let output = peer.await.unwrap();
    drop((output, server));
    swallow.await.unwrap();
}

/// The inbox is full and nobody takes anything: the sender is told so, and the peer is not blamed.
#[tokio::test(start_paused = true)]
async fn an_inbox_that_nobody_empties_ends_the_connection_as_unread() {
    // Without a reader nothing stays in the inbox.
    for kind in [0, 1, 2, 3, 5] {
        let heartbeat = HeartbeatConfig::default().unread_timeout(secs(600));
        let config = Config::builder().heartbeat(heartbeat).build().unwrap();
        let (mut server, mut raw) = server_and_raw(config, |stream| stream).await;
        server.set_inbox_limits(InboxLimits::new().max_messages(2));
        for n in 0..20 {
            raw.write(&frame(BINARY, &[n; 10])).await;
        }
        let begin = Instant::now();
        let (mut input, _output) = tokio::io::split(raw.0);
        let peer = tokio::spawn(async move {
            let mut buffer = [0; 4_096];
            while input.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
        });
        let mut way = Way::new(kind, server);
        let told = timeout(secs(700), way.tick()).await.expect("it ends");
        if let Error::Closed(closed) = &told {
            assert_eq!(closed.cause, Cause::Unread, "{kind}");
        } else {
            panic!("{kind}: {told:?}");
        }
        let took = begin.elapsed();
        assert!((secs(600)..secs(610)).contains(&took), "{kind}: {took:?}");
        drop(way);
        peer.await.unwrap();
    }
}

/// A12: `handle_resumed` asks the peer at once, on whatever the connection has become.
#[tokio::test(start_paused = true)]
async fn a12_after_a_pause_the_peer_is_asked_at_once() {
    for kind in [0, 3, 5] {
        let (mut way, mut raw) = way(kind, Config::default()).await;
        sleep(secs(1)).await;
        let asked = Instant::now();
        match &mut way {
            Way::Half(writer, _) => {
                writer.handle_resumed();
                writer.flush().await.unwrap();
            }
            Way::Spawned(sender, _) => sender.handle_resumed(),
            Way::Whole(ws) => {
                ws.handle_resumed();
                ws.flush().await.unwrap();
            }
            _ => unreachable!(),
        }
        read_until(&mut raw, PING).await;
        assert!(asked.elapsed() < secs(1), "{kind}: {:?}", asked.elapsed());
    }
}

/// A21: the Close that came is the cause, although its answer could not leave.
#[tokio::test(start_paused = true)]
async fn a21_the_close_that_came_is_the_cause() {
    let (mut server, mut raw) = server_and_raw(Config::default(), Rough::new).await;
    raw.write(&frame(CLOSE, b"\x03\xF3overload")).await;
    server.get_ref().log.lock().unwrap().broken = Some(std::io::ErrorKind::BrokenPipe);
    let mut last = None;
    while let Some(event) = server.next_event().await {
        last = Some(event);
    }
    let Some(Event::Closed(closed)) = last else {
        panic!("{last:?}")
    };
    assert_eq!(closed.to_string(), "closed, received 1011 \"overload\"");
    assert!(!closed.clean);
    let told = server.send("late").await.unwrap_err();
    assert_eq!(told.to_string(), "closed, received 1011 \"overload\"");
}

/// The kernel watches while nobody reads, and no longer.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_kernel_watches_while_the_inbox_is_full() {
    let (mut client, mut server) = tcp_pair(heartbeat(3, 4)).await;
    server.set_inbox_limits(InboxLimits::new().max_messages(4));
    let kernel = |server: &WebSocket<TcpStream>| {
        let socket = socket2::SockRef::from(server.get_ref());
        (
            socket.keepalive().unwrap(),
            socket.tcp_user_timeout().unwrap(),
        )
    };
    for _ in 0..40 {
        client.send("unread").await.unwrap();
    }
    let begin = Instant::now();
    while !kernel(&server).0 {
        assert!(begin.elapsed() < secs(10), "nobody watches");
        server.send("tick").await.unwrap();
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(kernel(&server).1, Some(secs(7)), "interval and timeout");
    for _ in 0..40 {
        server.next().await.unwrap().unwrap();
    }
    server.send("tick").await.unwrap();
    while kernel(&server).0 {
        assert!(begin.elapsed() < secs(20), "it watches on");
        server.send("tick").await.unwrap();
        sleep(Duration::from_millis(100)).await;
    }
}

/// A client and a server over the loopback.
async fn tcp_pair(
    config: Config,
) -> (
    WebSocket<wspulse_tokio::MaybeTls<TcpStream>>,
    WebSocket<TcpStream>,
) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let accept = async {
        let (stream, _) = listener.accept().await.unwrap();
        wspulse_tokio::accept(stream, config.clone()).await.unwrap()
    };
    let (client, server) = tokio::join!(wspulse_tokio::connect(&url, config.clone()), accept);
    (client.unwrap(), server)
}
