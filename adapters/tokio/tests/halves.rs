//! `Stream` and `Sink`, in one task and in two.

mod common;

use std::io;
use std::sync::Arc;
use std::task::Context;

use common::*;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::time::Instant;
use wspulse_core::{Cause, CloseCode, Config, Message};
use wspulse_tokio::{Error, Reader, Writer};

#[tokio::test(start_paused = true)]
async fn stream_and_sink_work_with_the_usual_adapters() {
    let (client, server) = pair(64, Config::default()).await;
    let server = tokio::spawn(async move {
        let (stream, sink) = server.split();
        stream.forward(sink).await
    });
    let (mut stream, mut sink) = client.split();
    let sender = async {
        for n in 0..100 {
            sink.feed(Message::from(format!("message {n}")))
                .await
                .unwrap();
        }
        sink.flush().await.unwrap();
    };
    let (received, ()) = tokio::join!(stream.by_ref().take(100).collect::<Vec<_>>(), sender);
    for (n, message) in received.into_iter().enumerate() {
        assert_eq!(message.unwrap().as_text(), Some(&*format!("message {n}")));
    }
    SinkExt::close(&mut sink).await.unwrap();
    assert!(stream.next().await.is_none());
    server.await.unwrap().unwrap();
}

/// tokio-websockets#92, #96, #106: halves in two tasks must not lose each other's wake-ups.
#[tokio::test(start_paused = true)]
async fn halves_in_two_tasks_wake_each_other() {
    let config = Config::builder().max_buffered_amount(100).build().unwrap();
    let (client, server) = pair(16, config).await;
    let server = tokio::spawn(async move {
        let (stream, sink) = server.split();
        stream.forward(sink).await
    });
    let (mut stream, mut sink) = client.split();
    let sender = tokio::spawn(async move {
        for n in 0..200 {
            sink.send(Message::from(format!("message {n}")))
                .await
                .unwrap();
        }
        sink
    });
    let start = Instant::now();
    let receiver = tokio::spawn(async move {
        for n in 0..200 {
            let message = stream.next().await.unwrap().unwrap();
            assert_eq!(message.as_text(), Some(&*format!("message {n}")));
        }
        stream
    });
    let mut stream = receiver.await.unwrap();
    SinkExt::close(&mut sender.await.unwrap()).await.unwrap();
    assert!(stream.next().await.is_none());
    server.await.unwrap().unwrap();
    assert!(
        start.elapsed() < secs(1),
        "no timer had to help: {:?}",
        start.elapsed()
    );
}

/// The half that sends waits too, and is then dropped: the other one still hears of its input.
#[tokio::test(start_paused = true)]
async fn a_half_that_waits_takes_no_wake_up_from_the_other() {
    let (mut server, mut raw) = server_and_raw(Config::default(), Rough::new).await;
    let (reader, writer) = (Arc::new(Alarm::default()), Arc::new(Alarm::default()));
    server.get_ref().log.lock().unwrap().stuck = true;
    server.feed("stuck").await.unwrap();
    let waker = reader.clone().into();
    assert!(
        server
            .poll_next_unpin(&mut Context::from_waker(&waker))
            .is_pending()
    );
    let waker = writer.clone().into();
    assert!(
        server
            .poll_flush_unpin(&mut Context::from_waker(&waker))
            .is_pending()
    );
    assert_eq!((reader.count(), writer.count()), (0, 0));
    raw.write(&frame(TEXT, b"input")).await;
    assert_eq!((reader.count(), writer.count()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_half_that_meets_the_end_tells_the_other() {
    let (mut server, _raw) = server_and_raw(Config::default(), Rough::new).await;
    let (reader, writer) = (Arc::new(Alarm::default()), Arc::new(Alarm::default()));
    let waker = reader.clone().into();
    assert!(
        server
            .poll_next_unpin(&mut Context::from_waker(&waker))
            .is_pending()
    );
    server.get_ref().log.lock().unwrap().broken = Some(io::ErrorKind::BrokenPipe);
    server.feed("into the void").await.unwrap();
    let waker = writer.clone().into();
    assert!(
        server
            .poll_flush_unpin(&mut Context::from_waker(&waker))
            .is_ready()
    );
    assert_eq!(reader.count(), 1);
    let waker = reader.clone().into();
    assert!(
        server
            .poll_next_unpin(&mut Context::from_waker(&waker))
            .is_ready()
    );
}

#[test]
fn halves_may_go_to_other_threads() {
    fn assert_send<T: Send + Unpin + 'static>() {}
    assert_send::<Reader<DuplexStream>>();
    assert_send::<Writer<DuplexStream>>();
}

/// A15: what is fed while the other half waits leaves with that half, whose waker the stream has.
#[tokio::test(start_paused = true)]
async fn what_is_fed_goes_out_with_the_reader() {
    let (near, far) = tokio::io::duplex(100);
    let mut raw = Raw(far);
    let (server, ()) = tokio::join!(wspulse_tokio::accept(near, Config::default()), async {
        raw.write(REQUEST).await;
        raw.read_head().await;
    });
    let (mut reader, mut writer) = server.unwrap().split();
    let start = Instant::now();
    let reading = tokio::spawn(async move { reader.next().await.map(Result::unwrap) });
    tokio::task::yield_now().await;
    writer.feed(vec![1; 1_000]).await.unwrap();
    let mut frame_of_1000 = [0; 1_004];
    raw.0.read_exact(&mut frame_of_1000).await.unwrap();
    assert!(start.elapsed() < secs(1), "no timer had to help");
    raw.write(&frame(TEXT, b"thanks")).await;
    let message = reading.await.unwrap().unwrap();
    assert_eq!(message.as_text(), Some("thanks"));
    drop(writer);
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_is_stuck_keeps_nobody_from_reading() {
    let (mut server, mut raw) = server_and_raw(Config::default(), Rough::new).await;
    server.get_ref().log.lock().unwrap().stuck = true;
    server.feed("stuck").await.unwrap();
    let (mut reader, mut writer) = server.split();
    let stuck = tokio::spawn(async move { writer.flush().await });
    tokio::task::yield_now().await;
    for _ in 0..3 {
        raw.write(&frame(TEXT, b"in")).await;
        let message = reader.next().await.unwrap().unwrap();
        assert_eq!(message.as_text(), Some("in"));
    }
    assert!(!stuck.is_finished());
    stuck.abort();
}

/// quinn#587 once more: the Close of one half moves the deadline that the other sleeps for.
#[tokio::test(start_paused = true)]
async fn a_deadline_that_one_half_moves_wakes_the_other() {
    let (server, _raw) = server_and_raw(Config::default(), Rough::new).await;
    let (mut reader, mut writer) = server.split();
    let start = Instant::now();
    let reading = tokio::spawn(async move { reader.next().await });
    tokio::task::yield_now().await;
    writer.close(CloseCode::NORMAL, "").await.unwrap();
    assert_eq!(start.elapsed(), secs(0), "it waits for its own words only");
    match reading.await.unwrap() {
        Some(Err(Error::Closed(closed))) => assert_eq!(closed.cause, Cause::CloseTimeout),
        other => panic!("{other:?}"),
    }
    assert_eq!(start.elapsed(), secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_reader_alone_answers_pings_and_sends_what_is_queued() {
    let (server, mut raw) = server_and_raw(heartbeat(5, 10), Rough::new).await;
    let (mut reader, mut writer) = server.split();
    writer.feed("queued").await.unwrap();
    drop(writer);
    raw.write(&frame(PING, b"?")).await;
    let peer = async {
        assert_eq!(raw.read_frame().await, (TEXT, b"queued".to_vec()));
        assert_eq!(raw.read_frame().await, (PONG, b"?".to_vec()));
        assert_eq!(raw.read_frame().await.0, PING, "the heartbeat's own");
    };
    tokio::select! {
        next = reader.next() => panic!("{next:?}"),
        () = peer => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_writer_alone_drops_what_comes_and_closes_in_order() {
    let (mut client, server) = pair(64, Config::default()).await;
    let (reader, mut writer) = server.split();
    let peer = tokio::spawn(async move {
        for _ in 0..50 {
            // Until the Close comes.
            if client.send("nobody hears this").await.is_err() {
                break;
            }
        }
        while client.next().await.is_some() {}
        client.closed().unwrap().clean
    });
    let closing = tokio::spawn(async move {
        let closed = writer.close(CloseCode::NORMAL, "").await;
        (closed, writer)
    });
    tokio::task::yield_now().await;
    drop(reader);
    let (closed, mut writer) = closing.await.unwrap();
    closed.unwrap();
    writer.close(CloseCode::NORMAL, "").await.unwrap();
    assert!(writer.closed().unwrap().clean);
    assert!(peer.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_writer_alone_learns_that_the_peer_is_gone() {
    let (server, _raw) = server_and_raw(heartbeat(5, 10), Rough::new).await;
    let (reader, mut writer) = server.split();
    drop(reader);
    writer.with_ref(|stream| stream.log.lock().unwrap().stuck = true);
    writer.feed("stuck").await.unwrap();
    let flushed = tokio::time::timeout(secs(60), writer.flush()).await;
    match flushed {
        Ok(Err(Error::Closed(closed))) => assert!(matches!(closed.cause, Cause::Dead(_))),
        other => panic!("{other:?}"),
    }
    match writer.close(CloseCode::NORMAL, "").await {
        Err(Error::Closed(closed)) => assert!(matches!(closed.cause, Cause::Dead(_))),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn halves_of_one_connection_go_together_again() {
    let (client, server) = pair(64, Config::default()).await;
    let (client_reader, mut client_writer) = client.split();
    let (mut server_reader, server_writer) = server.split();
    client_writer.send("before").await.unwrap();
    let before = server_reader.next().await.unwrap().unwrap();
    assert_eq!(before.as_text(), Some("before"));

    let refused = client_reader.reunite(server_writer).unwrap_err();
    let wspulse_tokio::ReuniteError(client_reader, server_writer) = refused;
    let mut client = client_reader.reunite(client_writer).unwrap();
    let mut server = server_reader.reunite(server_writer).unwrap();
    client.send("after").await.unwrap();
    let after = server.next().await.unwrap().unwrap();
    assert_eq!(after.as_text(), Some("after"));
    assert!(client.response().is_some());
}
