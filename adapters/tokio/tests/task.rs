//! A connection in a task of its own: its queues, its heartbeat, its ends.

mod common;

use std::time::Duration;

use common::*;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep, timeout};
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Cause, CloseCode, Config, Event, Message, SendError};
use wspulse_tokio::{Error, InboxLimits, Receiver, Sender};

fn alive_tasks() -> usize {
    tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks()
}

/// Lets tasks that have ended be counted so.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

fn text(next: Option<Result<Message, Error>>) -> String {
    let message = next.expect("a message").expect("a message");
    message.as_text().expect("text").to_owned()
}

#[test]
fn the_handles_may_go_to_other_threads() {
    fn assert_send<T: Send + Sync + Unpin + 'static>() {}
    assert_send::<Receiver>();
    assert_send::<Sender>();
}

#[tokio::test(start_paused = true)]
async fn messages_come_in_the_order_they_went_through_small_queues() {
    for (pipe, queue) in [(1, 1), (7, 2), (64, 16), (4_096, 1)] {
        let config = Config::builder().max_buffered_amount(100).build().unwrap();
        let (client, server) = pair(pipe, config).await;
        let (mut receiver, sender) = client.spawn(queue);
        let (mut echo_receiver, echo_sender) = server.spawn(queue);
        let echo = tokio::spawn(async move {
            while let Some(message) = echo_receiver.next().await {
                echo_sender.send(message.unwrap()).await.unwrap();
            }
        });
        let sending = tokio::spawn(async move {
            for n in 0..200 {
                // Given up on the way, it is queued whole or not at all.
                let lost = give_up_after(1, sender.send(format!("lost {n}"))).await;
                if lost.is_none() {
                    sender.send(format!("lost {n}")).await.unwrap();
                }
                sender.send(format!("message {n}")).await.unwrap();
            }
            sender
        });
        for n in 0..200 {
            assert_eq!(text(receiver.next().await), format!("lost {n}"));
            let given_up = give_up_after(1, receiver.next()).await;
            let next = match given_up {
                Some(next) => next,
                None => receiver.next().await,
            };
            assert_eq!(text(next), format!("message {n}"));
        }
        let sender = sending.await.unwrap();
        let closed = sender.close(CloseCode::NORMAL, "").await;
        closed.unwrap();
        assert!(receiver.next().await.is_none());
        assert!(receiver.next_event().await.is_none());
        assert!(receiver.closed().unwrap().clean && sender.closed().unwrap().clean);
        echo.await.unwrap();
        settle().await;
        assert_eq!(alive_tasks(), 0);
    }
}

/// Rule 2: a busy application is no reason for silence.
#[tokio::test(start_paused = true)]
async fn the_heartbeat_goes_on_while_the_application_is_away() {
    let (server, mut raw) = server_and_raw(heartbeat(5, 10), Rough::new).await;
    let (receiver, _sender) = server.spawn(4);
    for _ in 0..100 {
        let (first, payload) = raw.read_frame().await;
        assert_eq!(first, PING);
        raw.write(&frame(PONG, &payload)).await;
        raw.write(&frame(PING, b"you?")).await;
        assert_eq!(raw.read_frame().await, (PONG, b"you?".to_vec()));
    }
    assert!(receiver.closed().is_none());
}

/// Rule 8, without anybody who asks.
#[tokio::test(start_paused = true)]
async fn a_peer_that_is_gone_is_declared_dead_while_the_application_is_away() {
    let start = Instant::now();
    let (server, _raw) = server_and_raw(heartbeat(5, 10), Rough::new).await;
    let (mut receiver, sender) = server.spawn(4);
    let cause = &sender.ended().await.unwrap().cause;
    assert!(matches!(cause, Cause::Dead(_)), "{cause:?}");
    assert_eq!(start.elapsed(), secs(15));
    assert!(matches!(receiver.next().await, Some(Err(Error::Closed(_)))));
    assert!(receiver.next().await.is_none());
    settle().await;
    assert_eq!(alive_tasks(), 0);
}

/// Rule 6: whose input is held back is not judged. Pings and what is sent leave all the same.
#[tokio::test(start_paused = true)]
async fn rule_6_a_full_queue_holds_the_peer_back_and_kills_nobody() {
    let (near, far) = tokio::io::duplex(256);
    let mut raw = Raw(far);
    let (server, ()) = tokio::join!(wspulse_tokio::accept(near, heartbeat(5, 10)), async {
        raw.write(REQUEST).await;
        raw.read_head().await;
    });
    let mut server = server.unwrap();
    server.set_inbox_limits(InboxLimits::new().max_messages(10));
    let (mut receiver, sender) = server.spawn(2);
    raw.write(&frame(PING, b"before")).await;
    let (mut input, mut output) = tokio::io::split(raw.0);
    let peer = tokio::spawn(async move {
        for n in 0..2_000 {
            let frame = frame(TEXT, format!("message {n}").as_bytes());
            tokio::io::AsyncWriteExt::write_all(&mut output, &frame)
                .await
                .unwrap();
        }
        output
    });
    let mut frame = [0; 8];
    input.read_exact(&mut frame).await.unwrap();
    assert_eq!(&frame, b"\x8A\x06before");
    let mut ping = [0; 10];
    input.read_exact(&mut ping).await.unwrap();
    assert_eq!(ping[0], PING, "the heartbeat goes on");

    sleep(secs(600)).await;
    assert!(!peer.is_finished(), "the peer is held back");
    assert!(receiver.closed().is_none());
    sender.send("still here").await.unwrap();
    sender.flush().await.unwrap();
    let mut rest = vec![0; 1 << 10];
    let count = input.read(&mut rest).await.unwrap();
    assert!(rest[..count].ends_with(b"\x81\x0Astill here"));
    for n in 0..2_000 {
        assert_eq!(text(receiver.next().await), format!("message {n}"));
    }
    peer.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_while_the_task_is_busy_leaves_in_one_write() {
    let (server, mut raw) = server_and_raw(Config::default(), Rough::new).await;
    let log = server.get_ref().log.clone();
    let (_receiver, sender) = server.spawn(500);
    settle().await;
    log.lock().unwrap().writes.clear();
    // No more than the runtime lets one task do at a time.
    for _ in 0..100 {
        sender.send(vec![0; 20]).await.unwrap();
    }
    sender.flush().await.unwrap();
    assert_eq!(log.lock().unwrap().writes, [100 * 22]);
    for _ in 0..100 {
        assert_eq!(raw.read_frame().await, (BINARY, vec![0; 20]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_makes_send_wait_and_try_send_give_back() {
    let config = Config::builder().max_buffered_amount(100).build().unwrap();
    let (server, _raw) = server_and_raw(config, Rough::new).await;
    let log = server.get_ref().log.clone();
    log.lock().unwrap().stuck = true;
    let (_receiver, sender) = server.spawn(3);
    sender.send(vec![0; 200]).await.unwrap();
    settle().await;
    for n in 0..3 {
        sender.try_send(format!("{n}")).unwrap();
    }
    assert!(timeout(secs(1), sender.send("no room")).await.is_err());
    match sender.try_send("no room") {
        Err(Error::Send(SendError::Full(message))) => {
            assert_eq!(message.as_text(), Some("no room"));
        }
        other => panic!("{other:?}"),
    }
    assert!(timeout(secs(1), sender.flush()).await.is_err());
}

/// A flush that was given up keeps nobody from sending.
#[tokio::test(start_paused = true)]
async fn a_flush_waits_for_what_came_before_it_and_for_nothing_else() {
    let (server, mut raw) = server_and_raw(Config::default(), Rough::new).await;
    let log = server.get_ref().log.clone();
    let (_receiver, sender) = server.spawn(8);
    sender.flush().await.unwrap();
    log.lock().unwrap().stuck = true;
    sender.send("before").await.unwrap();
    let flushing = tokio::spawn({
        let sender = sender.clone();
        async move { sender.flush().await }
    });
    settle().await;
    assert!(!flushing.is_finished());
    sender.send("behind").await.unwrap();
    log.lock().unwrap().stuck = false;
    // The stream said nothing of its own; any reason to look will do.
    raw.write(&frame(PING, b"")).await;
    flushing.await.unwrap().unwrap();
    assert_eq!(raw.read_frame().await, (TEXT, b"before".to_vec()));
    sender.flush().await.unwrap();
    let rest = [raw.read_frame().await, raw.read_frame().await];
    assert!(rest.contains(&(TEXT, b"behind".to_vec())));
}

#[tokio::test(start_paused = true)]
async fn t8_a_sender_is_told_how_the_connection_ended() {
    let (mut client, server) = pair(64, Config::default()).await;
    let (mut receiver, sender) = server.spawn(4);
    client.close(CloseCode::NORMAL, "bye").await.unwrap();
    assert!(receiver.next().await.is_none());
    let told = [
        sender.send("late").await,
        sender.try_send("late"),
        sender.flush().await,
        sender.ping(b"").await,
    ];
    for told in told {
        assert_eq!(
            told.unwrap_err().to_string(),
            "closed, received 1000 \"bye\", sent 1000"
        );
    }
    assert!(sender.snapshot().await.is_none());
    sender.close(CloseCode::NORMAL, "again").await.unwrap();
    let received = sender.closed().unwrap().received.clone().unwrap();
    assert_eq!(&*received.reason, "bye");
}

#[tokio::test(start_paused = true)]
async fn without_handles_the_connection_says_1001_after_what_is_queued() {
    let (mut client, server) = pair(16, Config::default()).await;
    let (receiver, sender) = server.spawn(8);
    let clone = sender.clone();
    sender.send("last words").await.unwrap();
    sender.send("and these").await.unwrap();
    drop((receiver, sender));
    settle().await;
    assert_eq!(alive_tasks(), 1, "one sender is left");
    drop(clone);
    assert_eq!(text(client.next().await), "last words");
    assert_eq!(text(client.next().await), "and these");
    let end = timeout(secs(60), client.next()).await;
    assert!(end.expect("an end").is_none());
    let closed = client.closed().unwrap();
    assert!(closed.clean);
    assert_eq!(closed.code(), CloseCode::GOING_AWAY);
    settle().await;
    assert_eq!(alive_tasks(), 0);
}

/// The peer neither reads nor answers, and the task still ends.
#[tokio::test(start_paused = true)]
async fn without_handles_a_stuck_connection_ends_too() {
    let start = Instant::now();
    let (server, _raw) = server_and_raw(Config::default(), Rough::new).await;
    server.get_ref().log.lock().unwrap().stuck = true;
    let (receiver, sender) = server.spawn(8);
    sender.send(vec![0; 2 << 20]).await.unwrap();
    sender.send("never queued").await.unwrap();
    drop((receiver, sender));
    while alive_tasks() > 0 {
        sleep(secs(1)).await;
        assert!(start.elapsed() < secs(90));
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_receiver_what_comes_is_dropped_and_sending_goes_on() {
    let (mut client, server) = pair(64, Config::default()).await;
    let (receiver, sender) = server.spawn(1);
    for n in 0..20 {
        client.send(format!("{n}")).await.unwrap();
    }
    let flushing = tokio::spawn(async move {
        client.flush().await.unwrap();
        client
    });
    sleep(secs(1)).await;
    drop(receiver);
    let flushed = timeout(secs(60), flushing).await;
    let mut client = flushed.expect("it reads on").unwrap();
    sender.send("hello").await.unwrap();
    assert_eq!(text(client.next().await), "hello");
    let (closed, end) = tokio::join!(sender.close(CloseCode::NORMAL, ""), client.next());
    closed.unwrap();
    assert!(end.is_none());
}

#[tokio::test(start_paused = true)]
async fn without_senders_receiving_goes_on() {
    let (mut client, server) = pair(64, Config::default()).await;
    let (mut receiver, sender) = server.spawn(1);
    drop(sender);
    sleep(secs(10)).await;
    client.send("hello").await.unwrap();
    assert_eq!(text(receiver.next().await), "hello");
    client.close(CloseCode::NORMAL, "").await.unwrap();
    assert!(receiver.next().await.is_none());
}

/// The end waits for no room in the queue, and takes no message's place.
#[tokio::test(start_paused = true)]
async fn an_end_behind_a_full_queue_comes_last() {
    let (server, mut raw) = server_and_raw(Config::default(), Rough::new).await;
    let (mut receiver, sender) = server.spawn(2);
    for n in 0..3 {
        raw.write(&frame(TEXT, format!("{n}").as_bytes())).await;
    }
    settle().await;
    sender.abort();
    assert_eq!(sender.ended().await.unwrap().cause, Cause::Aborted);
    settle().await;
    assert_eq!(alive_tasks(), 0, "it waits for nobody");
    for n in 0..3 {
        match receiver.next_event().await {
            Some(Event::Text(text)) => assert_eq!(&*text, &format!("{n}")),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(
        receiver.next_event().await,
        Some(Event::Closed(_))
    ));
    assert!(receiver.next_event().await.is_none());
    assert!(receiver.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_abort_waits_behind_nothing() {
    let (server, _raw) = server_and_raw(Config::default(), Rough::new).await;
    server.get_ref().log.lock().unwrap().stuck = true;
    let (_receiver, sender) = server.spawn(1);
    sender.send(vec![0; 2 << 20]).await.unwrap();
    sender.send("more").await.unwrap();
    let start = Instant::now();
    sender.abort();
    assert_eq!(sender.ended().await.unwrap().cause, Cause::Aborted);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_close_code_that_must_not_be_sent_closes_nothing() {
    let (_client, server) = pair(64, Config::default()).await;
    let (_receiver, sender) = server.spawn(1);
    let refused = sender.close(CloseCode::NO_STATUS, "").await;
    assert!(matches!(refused, Err(Error::Send(SendError::Close(_)))));
    sender.send("open").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_close_that_is_not_answered_ends_at_the_close_timeout() {
    let start = Instant::now();
    let (server, _raw) = server_and_raw(Config::default(), Rough::new).await;
    let (_receiver, sender) = server.spawn(1);
    match sender.close(CloseCode::NORMAL, "").await {
        Err(Error::Closed(closed)) => assert_eq!(closed.cause, Cause::CloseTimeout),
        other => panic!("{other:?}"),
    }
    assert_eq!(start.elapsed(), secs(5));
}

#[tokio::test(start_paused = true)]
async fn settings_and_numbers_go_through_the_sender() {
    let (server, _raw) = server_and_raw(heartbeat(100, 100), Rough::new).await;
    let (_receiver, sender) = server.spawn(1);
    sleep(secs(1)).await;
    let snapshot = sender.snapshot().await.unwrap();
    assert_eq!(snapshot.heartbeat.since_received, secs(1));
    let start = Instant::now();
    let never = HeartbeatConfig::ping(Duration::ZERO, secs(1));
    assert!(sender.set_heartbeat(never).await.is_err());
    let impatient = HeartbeatConfig::ping(secs(2), secs(3)).jitter_percent(0);
    sender.set_heartbeat(impatient).await.unwrap();
    let closed = sender.ended().await.unwrap();
    assert!(matches!(closed.cause, Cause::Dead(_)));
    assert_eq!(start.elapsed(), secs(1) + secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_ping_of_the_applications_own_is_answered() {
    let (client, mut server) = pair(64, Config::default()).await;
    let (mut receiver, sender) = client.spawn(1);
    let server = tokio::spawn(async move { server.next().await });
    sender.ping(b"mine").await.unwrap();
    match receiver.next_event().await {
        Some(Event::Pong(payload)) => assert_eq!(&payload[..], b"mine"),
        other => panic!("{other:?}"),
    }
    let refused = sender.ping(&[0; 126]).await;
    assert!(matches!(refused, Err(Error::Send(SendError::PingTooLong))));
    server.abort();
}

/// What has ended before has an end, and no task that stays.
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_over_needs_no_task() {
    let (mut client, mut server) = pair(64, Config::default()).await;
    let (closed, end) = tokio::join!(client.close(CloseCode::NORMAL, ""), server.next());
    assert!(closed.is_ok() && end.is_none());
    let (mut receiver, sender) = server.spawn(1);
    let closed = timeout(secs(1), sender.ended()).await.unwrap();
    assert!(closed.unwrap().clean);
    assert!(receiver.next().await.is_none());
    assert!(receiver.next_event().await.is_none(), "it was told before");
    settle().await;
    assert_eq!(alive_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_in_parts_is_not_mixed_with_others() {
    let (_client, mut server) = pair(64, Config::default()).await;
    server.send_part("half a ", false).await.unwrap();
    let (_receiver, sender) = server.spawn(1);
    match sender.send("message").await {
        Err(Error::Send(SendError::Unfinished(message))) => {
            assert_eq!(message.as_text(), Some("message"));
        }
        other => panic!("{other:?}"),
    }
}

/// On several threads, with the stream that fails now and then: nothing hangs, nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_on_two_threads_lose_nothing() {
    let mut all = Vec::new();
    for n in 0..20 {
        all.push(tokio::spawn(async move {
            let (near, far) = tokio::io::duplex(97);
            let request = request();
            let (client, server) = tokio::join!(
                wspulse_tokio::client(Rough::nasty(near), &request, Config::default()),
                wspulse_tokio::accept(Rough::nasty(far), Config::default()),
            );
            let (mut receiver, sender) = client.unwrap().spawn(1 + n % 4);
            let (mut reader, mut writer) = server.unwrap().split();
            let echo = tokio::spawn(async move {
                while let Some(message) = reader.next().await {
                    writer.send(message.unwrap()).await.unwrap();
                }
            });
            let sending = tokio::spawn(async move {
                for n in 0..200 {
                    sender.send(format!("{n}")).await.unwrap();
                }
                sender
            });
            for n in 0..200 {
                assert_eq!(text(receiver.next().await), format!("{n}"));
            }
            let sender = sending.await.unwrap();
            sender.close(CloseCode::NORMAL, "").await.unwrap();
            echo.await.unwrap();
        }));
    }
    for one in all {
        timeout(secs(60), one).await.expect("no hang").unwrap();
    }
}
