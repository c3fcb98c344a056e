//! The drive loop over pipes: batches, deadlines, backpressure, streams that misbehave.

mod common;

use std::io;
use std::time::Duration;

use common::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};
use tokio::time::Instant;
use wspulse_core::heartbeat::{DeadReason, HeartbeatConfig};
use wspulse_core::{Cause, CloseCode, Config, Delivery, Event, Message, SendError, State};
use wspulse_tokio::{Error, WebSocket};

/// The loop that everybody writes.
async fn echo<S>(ws: &mut WebSocket<S>) -> Result<(), Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    while let Some(message) = ws.next().await {
        ws.feed(message?).await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn messages_come_back_as_they_went() {
    let (mut client, mut server) = pair(64, Config::default()).await;
    let server = tokio::spawn(async move { echo(&mut server).await });
    let large = vec![7; 300_000];
    for message in [
        "hello".into(),
        "".into(),
        Message::from(large),
        vec![0; 126].into(),
    ] {
        client.send(message.clone()).await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), message);
    }
    client.close(CloseCode::NORMAL, "").await.unwrap();
    server.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_input_is_answered_with_one_write() {
    let (mut server, mut raw) = server_and_raw(Config::default(), Rough::new).await;
    let log = server.get_ref().log.clone();
    log.lock().unwrap().writes.clear();

    let batch: Vec<u8> = (0..32).flat_map(|n| frame(BINARY, &[n; 20])).collect();
    raw.write(&batch).await;
    assert!(
        tokio::time::timeout(secs(1), echo(&mut server))
            .await
            .is_err(),
        "it waits for more"
    );

    assert_eq!(log.lock().unwrap().writes, [32 * 22]);
    for n in 0..32 {
        assert_eq!(raw.read_frame().await, (BINARY, vec![n; 20]));
    }
}

#[tokio::test(start_paused = true)]
async fn rule_18_send_leaves_at_once_and_takes_along_what_was_fed() {
    let (mut server, mut raw) = server_and_raw(Config::default(), Rough::new).await;
    let log = server.get_ref().log.clone();
    log.lock().unwrap().writes.clear();
    raw.write(&[frame(TEXT, b"one"), frame(TEXT, b"two")].concat())
        .await;

    let first = server.next().await.unwrap().unwrap();
    server.feed(first).await.unwrap();
    assert_eq!(log.lock().unwrap().writes, [], "it was only queued");
    server.send("now").await.unwrap();
    assert_eq!(
        log.lock().unwrap().writes,
        [10],
        "although input is at hand"
    );
    let second = server.next().await.unwrap().unwrap();
    server.feed(second).await.unwrap();
    server.flush().await.unwrap();
    assert_eq!(log.lock().unwrap().writes, [10, 5]);
}

#[tokio::test(start_paused = true)]
async fn pings_are_answered_in_the_turn_that_reads_them() {
    let (mut server, mut raw) = server_and_raw(Config::default(), Rough::new).await;
    raw.write(&frame(PING, b"are you there")).await;
    let (pong, ()) = tokio::join!(raw.read_frame(), async {
        assert!(tokio::time::timeout(secs(1), server.next()).await.is_err());
    });
    assert_eq!(pong, (PONG, b"are you there".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn rule_2_a_ping_leaves_after_an_idle_interval_and_its_pong_gives_an_rtt() {
    let start = Instant::now();
    let (mut server, mut raw) = server_and_raw(heartbeat(5, 10), Rough::new).await;
    let peer = async {
        let (first, payload) = raw.read_frame().await;
        assert_eq!((first, payload.len()), (PING, 16));
        assert_eq!(start.elapsed(), secs(5));
        tokio::time::sleep(Duration::from_millis(30)).await;
        raw.write(&frame(PONG, &payload)).await;
        tokio::time::sleep(secs(1)).await;
        raw
    };
    tokio::select! {
        biased;
        message = server.next() => panic!("nothing was sent: {message:?}"),
        _ = peer => {}
    }
    let rtt = server.snapshot().heartbeat.rtt.expect("a sample");
    assert_eq!(rtt.last(), Duration::from_millis(30));
}

#[tokio::test(start_paused = true)]
async fn rule_8_a_silent_peer_is_dead_after_interval_and_timeout() {
    let start = Instant::now();
    let (mut server, _raw) = server_and_raw(heartbeat(5, 10), Rough::new).await;
    let mut events = Vec::new();
    while let Some(event) = server.next_event().await {
        events.push((start.elapsed(), event));
    }
    let [(suspected, Event::Suspect), (died, Event::Closed(closed))] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!((*suspected, *died), (secs(10), secs(15)));
    assert_eq!(closed.cause, Cause::Dead(DeadReason::PongTimeout));
    assert_eq!(closed.silence, secs(15));
}

#[tokio::test(start_paused = true)]
async fn the_stream_of_messages_ends_with_the_reason() {
    let (mut server, _raw) = server_and_raw(heartbeat(5, 10), Rough::new).await;
    match server.next().await {
        Some(Err(Error::Closed(closed))) => {
            assert_eq!(closed.cause, Cause::Dead(DeadReason::PongTimeout));
        }
        other => panic!("{other:?}"),
    }
    assert!(server.next().await.is_none());
    assert!(server.next_event().await.is_none());
    assert_eq!(
        server.closed().unwrap().cause,
        Cause::Dead(DeadReason::PongTimeout)
    );
    assert_eq!(server.state(), State::Closed);
}

/// quinn#587: a sleeping timer must follow a deadline that moves earlier.
#[tokio::test(start_paused = true)]
async fn a_deadline_that_moves_earlier_is_kept() {
    let (mut server, _raw) = server_and_raw(heartbeat(100, 100), Rough::new).await;
    assert!(
        tokio::time::timeout(secs(1), server.next()).await.is_err(),
        "asleep for 100 s"
    );

    let start = Instant::now();
    let impatient = HeartbeatConfig::ping(secs(2), secs(3)).jitter_percent(0);
    server.set_heartbeat(impatient).unwrap();
    assert!(matches!(server.next().await, Some(Err(Error::Closed(_)))));
    assert_eq!(
        start.elapsed(),
        secs(1) + secs(3),
        "the silence had lasted 1 s by then"
    );
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_kernel_waits_as_long_as_the_heartbeat_that_was_set_last() {
    use std::os::fd::AsFd;

    let stall = |seconds| HeartbeatConfig::off().write_stall_timeout(secs(seconds));
    let config = Config::builder().heartbeat(stall(2)).build().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        wspulse_tokio::accept(stream, Config::default()).await
    };
    // Behind the plain side of a stream that might be encrypted.
    let (client, server) = tokio::join!(wspulse_tokio::connect(&url, config), server);
    let (mut client, _server) = (client.unwrap(), server.unwrap());
    let look = client.get_ref().as_fd().try_clone_to_owned().unwrap();
    let kernel = || socket2::SockRef::from(&look).tcp_user_timeout().unwrap();

    assert_eq!(kernel(), Some(secs(3)));
    client.set_heartbeat(stall(30)).unwrap();
    assert_eq!(kernel(), Some(secs(31)));
    let never = HeartbeatConfig::ping(Duration::ZERO, secs(1));
    client.set_heartbeat(never).unwrap_err();
    assert_eq!(kernel(), Some(secs(31)), "what cannot work changes nothing");
    let (reader, mut writer) = client.split();
    writer.set_heartbeat(stall(40)).unwrap();
    assert_eq!(kernel(), Some(secs(41)));
    let watches = HeartbeatConfig::ping(secs(1), secs(1));
    writer.set_heartbeat(watches).unwrap();
    assert_eq!(kernel(), None, "the heartbeat judges");
    let client = reader.reunite(writer).unwrap();
    let (_receiver, sender) = client.spawn(1);
    sender.set_heartbeat(stall(50)).await.unwrap();
    assert_eq!(kernel(), Some(secs(51)));
}

#[tokio::test(start_paused = true)]
async fn received_data_puts_death_off() {
    let start = Instant::now();
    let (mut server, mut raw) = server_and_raw(heartbeat(5, 10), Rough::new).await;
    let peer = async {
        for _ in 0..20 {
            tokio::time::sleep(secs(4)).await;
            raw.write(&frame(TEXT, b"tick")).await;
        }
        raw
    };
    let count = async {
        let mut count = 0;
        while let Some(Ok(_)) = server.next().await {
            count += 1;
        }
        count
    };
    let (_raw, count) = tokio::join!(peer, count);
    assert_eq!(count, 20);
    // Its last byte came at 80 s, so the promise is 95 s.
    let elapsed = start.elapsed();
    assert!(elapsed > secs(80) && elapsed <= secs(95), "{elapsed:?}");
}

/// Rule 6. The task comes back long after the deadline; what came meanwhile is read first.
#[tokio::test(start_paused = true)]
async fn rule_6_a_task_that_stays_away_kills_nobody() {
    let (mut server, mut raw) = server_and_raw(heartbeat(5, 10), Rough::new).await;
    raw.write(&frame(TEXT, b"early")).await;
    tokio::time::sleep(secs(600)).await;
    assert_eq!(
        server.next().await.unwrap().unwrap().as_text(),
        Some("early")
    );
    tokio::time::sleep(secs(600)).await;
    let waited = tokio::time::timeout(secs(9), server.next()).await;
    assert!(waited.is_err(), "a fresh ping and its full timeout");
}

/// A runtime that is out of budget does not let a stream look. Nobody dies of that.
#[tokio::test(start_paused = true)]
async fn rule_6_a_task_out_of_budget_has_not_looked() {
    let (mut server, mut raw) = server_and_raw(heartbeat(5, 10), Rough::new).await;
    // Up to the last moment before death.
    assert!(
        tokio::time::timeout(Duration::from_millis(14_999), server.next())
            .await
            .is_err()
    );
    raw.write(&frame(TEXT, b"late")).await;
    tokio::time::advance(Duration::from_millis(1)).await;
    std::future::poll_fn(|cx| {
        while tokio::task::coop::poll_proceed(cx)
            .map(|proceed| proceed.made_progress())
            .is_ready()
        {}
        std::task::Poll::Ready(())
    })
    .await;
    assert!(!tokio::task::coop::has_budget_remaining());
    assert_eq!(
        server.next().await.unwrap().unwrap().as_text(),
        Some("late")
    );
}

#[tokio::test(start_paused = true)]
async fn the_order_of_bytes_survives_a_nasty_stream() {
    let (near, far) = tokio::io::duplex(16);
    let request = request();
    let (client, server) = tokio::join!(
        wspulse_tokio::client(Rough::nasty(near), &request, Config::default()),
        wspulse_tokio::accept(Rough::nasty(far), Config::default()),
    );
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    let server = tokio::spawn(async move { echo(&mut server).await });
    for n in 0..50_u8 {
        let message = Message::from(vec![n; usize::from(n) * 7]);
        client.send(message.clone()).await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), message);
    }
    client.close(CloseCode::NORMAL, "").await.unwrap();
    server.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_makes_send_wait() {
    let config = Config::builder()
        .max_buffered_amount(1_000)
        .build()
        .unwrap();
    let (mut client, mut server) = pair(100, config).await;
    client.feed(vec![1; 1_200]).await.unwrap();
    let waits = tokio::time::timeout(secs(1), client.send("more")).await;
    assert!(waits.is_err(), "the queue is full and nobody reads");
    let sender = async {
        client.send("more").await.unwrap();
        client.flush().await.unwrap();
    };
    let receiver = async {
        assert_eq!(server.next().await.unwrap().unwrap().len(), 1_200);
        assert_eq!(
            server.next().await.unwrap().unwrap().as_text(),
            Some("more")
        );
    };
    tokio::join!(sender, receiver);
}

#[tokio::test(start_paused = true)]
async fn rule_16_a_waiting_send_reads_into_the_inbox() {
    let config = Config::builder()
        .max_buffered_amount(1_000)
        .build()
        .unwrap();
    let (near, far) = tokio::io::duplex(100);
    let mut raw = Raw(far);
    let (server, ()) = tokio::join!(wspulse_tokio::accept(near, config), async {
        raw.write(REQUEST).await;
        raw.read_head().await;
    });
    let mut server = server.unwrap();
    server.feed(vec![1; 1_200]).await.unwrap();
    raw.write(&[frame(TEXT, b"one"), frame(TEXT, b"two")].concat())
        .await;
    assert!(
        tokio::time::timeout(secs(1), server.send("more"))
            .await
            .is_err()
    );
    let mut all = [0; 1_210];
    let (sent, read) = tokio::join!(server.send("more"), raw.0.read_exact(&mut all));
    sent.unwrap();
    read.unwrap();
    assert_eq!(server.next().await.unwrap().unwrap().as_text(), Some("one"));
    assert_eq!(server.next().await.unwrap().unwrap().as_text(), Some("two"));
}

#[tokio::test(start_paused = true)]
async fn parts_go_out_and_come_in_one_by_one() {
    let config = Config::builder().delivery(Delivery::Parts).build().unwrap();
    let (mut client, mut server) = pair(1 << 16, config).await;
    client.send_part("half a ", false).await.unwrap();
    assert!(matches!(
        client.send("whole").await,
        Err(Error::Send(SendError::Unfinished(_)))
    ));
    client.send_part("message", true).await.unwrap();
    let mut text = String::new();
    while let Some(event) = server.next_event().await {
        match event {
            Event::TextPart(part) => text.push_str(&part),
            Event::MessageEnd => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(text, "half a message");
}

#[tokio::test(start_paused = true)]
async fn a_ping_of_the_applications_own_is_answered() {
    let (mut client, mut server) = pair(1 << 16, Config::default()).await;
    client.ping(b"mine").await.unwrap();
    tokio::select! {
        biased;
        event = client.next_event() => {
            assert!(matches!(event, Some(Event::Pong(payload)) if &payload[..] == b"mine"));
        }
        message = server.next() => panic!("{message:?}"),
    }
    assert!(matches!(
        client.ping(&[0; 126]).await,
        Err(Error::Send(SendError::PingTooLong))
    ));
}

#[tokio::test(start_paused = true)]
async fn close_goes_both_ways() {
    let (mut client, mut server) = pair(64, Config::default()).await;
    client.send("last words").await.unwrap();
    let code = CloseCode::new(4_000);
    let (closed, ()) = tokio::join!(client.close(code, "enough"), async {
        assert_eq!(
            server.next().await.unwrap().unwrap().as_text(),
            Some("last words")
        );
        assert!(server.next().await.is_none());
    });
    closed.unwrap();
    let received = server.closed().unwrap().received.as_ref().unwrap();
    assert_eq!((received.code, &*received.reason), (code, "enough"));
    assert!(client.closed().unwrap().clean && server.closed().unwrap().clean);
    match server.send("late").await {
        Err(Error::Closed(closed)) => assert_eq!(closed.code(), code, "T8: the peer's Close"),
        other => panic!("{other:?}"),
    }
    server.flush().await.expect("all that was queued has left");
    assert!(matches!(
        client.send("late").await,
        Err(Error::Send(SendError::NotOpen(message))) if message.as_text() == Some("late")
    ));
    client.close(code, "again").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_may_close_first() {
    let (mut client, mut server) = pair(64, Config::default()).await;
    let (closed, end) = tokio::join!(server.close(CloseCode::GOING_AWAY, ""), client.next());
    closed.unwrap();
    assert!(end.is_none());
    assert_eq!(client.closed().unwrap().code(), CloseCode::GOING_AWAY);
}

#[tokio::test(start_paused = true)]
async fn a_close_that_is_not_answered_ends_at_the_close_timeout() {
    let start = Instant::now();
    let (mut server, _raw) = server_and_raw(Config::default(), Rough::new).await;
    match server.close(CloseCode::NORMAL, "").await {
        Err(Error::Closed(closed)) => assert_eq!(closed.cause, Cause::CloseTimeout),
        other => panic!("{other:?}"),
    }
    assert_eq!(start.elapsed(), secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_close_code_that_must_not_be_sent_closes_nothing() {
    let (mut client, _server) = pair(64, Config::default()).await;
    let refused = client.close(CloseCode::NO_STATUS, "").await;
    assert!(matches!(refused, Err(Error::Send(SendError::Close(_)))));
    assert_eq!(client.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_protocol_error_is_told_and_the_stream_half_closed_once() {
    let (mut server, mut raw) = server_and_raw(Config::default(), Rough::new).await;
    let log = server.get_ref().log.clone();
    raw.write(&frame(0x83, b"")).await; // a reserved opcode
    let peer = async {
        let (first, payload) = raw.read_frame().await;
        assert_eq!(
            (first, &payload[..2]),
            (CLOSE, &1_002_u16.to_be_bytes()[..])
        );
        assert_eq!(raw.0.read(&mut [0]).await.unwrap(), 0, "half-closed");
        raw.0.shutdown().await.unwrap();
        raw
    };
    let start = Instant::now();
    let (end, _raw) = tokio::join!(server.next(), peer);
    assert!(
        start.elapsed() < secs(1),
        "and not left to the close timeout"
    );
    assert!(matches!(end, Some(Err(Error::Closed(closed)))
        if matches!(closed.cause, Cause::Protocol(_))));
    assert_eq!(log.lock().unwrap().shutdowns, 1);
}

#[tokio::test(start_paused = true)]
async fn an_end_of_the_stream_without_a_close_frame_is_eof() {
    let (mut server, raw) = server_and_raw(Config::default(), Rough::new).await;
    drop(raw);
    match server.next().await {
        Some(Err(Error::Closed(closed))) => assert_eq!(closed.cause, Cause::Eof),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_pipe_still_lets_the_last_words_be_read() {
    let (mut server, mut raw) = server_and_raw(Config::default(), Rough::new).await;
    raw.write(&frame(TEXT, b"farewell")).await;
    server.get_ref().log.lock().unwrap().broken = Some(io::ErrorKind::BrokenPipe);
    match server.send("into the void").await {
        Err(Error::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::BrokenPipe),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        server.next().await.unwrap().unwrap().as_text(),
        Some("farewell")
    );
    match server.next().await {
        Some(Err(Error::Io(error))) => assert_eq!(error.kind(), io::ErrorKind::BrokenPipe),
        other => panic!("{other:?}"),
    }
    assert!(server.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn flush_tells_of_a_broken_pipe() {
    let (mut server, _raw) = server_and_raw(Config::default(), Rough::new).await;
    server.get_ref().log.lock().unwrap().broken = Some(io::ErrorKind::BrokenPipe);
    server.feed("into the void").await.unwrap();
    let Err(Error::Io(error)) = server.flush().await else {
        panic!("it was not written")
    };
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    assert!(server.next().await.is_some_and(|end| end.is_err()));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_takes_nothing_ends_the_connection() {
    let (mut server, _raw) = server_and_raw(Config::default(), Rough::new).await;
    server.get_ref().log.lock().unwrap().takes_nothing = true;
    server.feed("into the void").await.unwrap();
    let Err(Error::Io(error)) = server.flush().await else {
        panic!("it was not written")
    };
    assert_eq!(error.kind(), io::ErrorKind::WriteZero);
}

/// A stream that takes more than it passes on, such as TLS, and a peer that is slow to read: what
/// the stream keeps has not left, a ping among it has no clock, and a flush waits.
#[tokio::test(start_paused = true)]
async fn rule_4_a_ping_that_the_stream_holds_back_has_no_clock() {
    let (near, far) = tokio::io::duplex(256);
    let stream = BufWriter::with_capacity(64 << 10, near);
    let mut raw = Raw(far);
    let patient = HeartbeatConfig::ping(secs(1), secs(1))
        .jitter_percent(0)
        .write_stall_timeout(secs(30));
    let config = Config::builder().heartbeat(patient).build().unwrap();
    let (server, ()) = tokio::join!(wspulse_tokio::accept(stream, config), async {
        raw.write(REQUEST).await;
        raw.read_head().await;
    });
    let mut server = server.unwrap();
    for n in 0..5 {
        server.feed(vec![n; 100]).await.unwrap();
    }
    let flushed = tokio::time::timeout(secs(1), server.flush()).await;
    assert!(flushed.is_err(), "{flushed:?}");
    // Five times as long as the ping may take once it has left.
    let ended = tokio::time::timeout(secs(5), server.next_event()).await;
    assert!(ended.is_err(), "{ended:?}");

    let peer = async {
        let mut next = 0;
        for _ in 0..6 {
            match raw.read_frame().await {
                // In front of what was not lent to the stream when it was due.
                (PING, payload) => raw.write(&frame(PONG, &payload)).await,
                message => {
                    assert_eq!(message, (BINARY, vec![next; 100]));
                    next += 1;
                }
            }
        }
        assert_eq!(next, 5);
    };
    let (ended, ()) = tokio::join!(
        tokio::time::timeout(Duration::from_millis(500), server.next_event()),
        peer
    );
    assert!(ended.is_err(), "{ended:?}");
    server.flush().await.unwrap();
    assert_eq!(server.snapshot().heartbeat.answered, 1);
}

/// As above, for good: a stall is one, though the stream took all there was.
#[tokio::test(start_paused = true)]
async fn rule_5_output_that_the_stream_holds_back_is_a_stall() {
    let start = Instant::now();
    let (near, far) = tokio::io::duplex(256);
    let stream = BufWriter::with_capacity(64 << 10, near);
    let mut raw = Raw(far);
    let heartbeat = HeartbeatConfig::off().write_stall_timeout(secs(30));
    let config = Config::builder().heartbeat(heartbeat).build().unwrap();
    let (server, ()) = tokio::join!(wspulse_tokio::accept(stream, config), async {
        raw.write(REQUEST).await;
        raw.read_head().await;
    });
    let mut server = server.unwrap();
    server.feed(vec![7; 1000]).await.unwrap();
    match tokio::time::timeout(secs(60), server.next()).await {
        Ok(Some(Err(Error::Closed(closed)))) => {
            assert_eq!(closed.cause, Cause::Dead(DeadReason::WriteStalled));
        }
        other => panic!("{other:?}"),
    }
    assert!(start.elapsed() <= secs(31), "{:?}", start.elapsed());
}

/// Rule 5: a transport that takes nothing is noticed by a task that only flushes.
#[tokio::test(start_paused = true)]
async fn rule_5_a_stalled_write_is_a_death_of_its_own() {
    let start = Instant::now();
    let heartbeat = HeartbeatConfig::off().write_stall_timeout(secs(30));
    let config = Config::builder().heartbeat(heartbeat).build().unwrap();
    let (mut server, _raw) = server_and_raw(config, Rough::new).await;
    server.get_ref().log.lock().unwrap().stuck = true;
    server.feed("x").await.unwrap();
    let flushed = tokio::time::timeout(secs(60), server.flush()).await;
    match flushed {
        Ok(Err(Error::Closed(closed))) => {
            assert_eq!(closed.cause, Cause::Dead(DeadReason::WriteStalled));
        }
        other => panic!("{other:?}"),
    }
    assert!(
        start.elapsed() >= secs(30) && start.elapsed() <= secs(31),
        "{:?}",
        start.elapsed()
    );
    match server.next().await {
        Some(Err(Error::Closed(closed))) => {
            assert_eq!(closed.cause, Cause::Dead(DeadReason::WriteStalled));
        }
        other => panic!("{other:?}"),
    }
}

/// A task that only sends answers pings and learns of the end, though not at once.
#[tokio::test(start_paused = true)]
async fn a_task_that_only_sends_has_its_timers_run() {
    let (mut server, mut raw) = server_and_raw(heartbeat(5, 10), Rough::new).await;
    let peer = async {
        raw.write(&frame(PING, b"?")).await;
        loop {
            match raw.read_frame().await {
                (PONG, payload) => break assert_eq!(payload, b"?"),
                (first, _) => assert!([TEXT, PING].contains(&first)),
            }
        }
        drop(raw);
    };
    let sender = async {
        for _ in 0..60 {
            tokio::time::sleep(secs(1)).await;
            if let Err(error) = server.send("tick").await {
                return error;
            }
        }
        panic!("nobody told that the peer had gone");
    };
    let (error, ()) = tokio::join!(sender, peer);
    assert!(
        matches!(error, Error::Io(_) | Error::Send(SendError::NotOpen(_))),
        "{error:?}"
    );
}
