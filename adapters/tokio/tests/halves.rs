//! `Stream` and `Sink`, in one task and in two.

mod common;

use std::io;
use std::sync::Arc;
use std::task::Context;

use common::*;
use futures_util::{SinkExt, StreamExt};
use tokio::time::Instant;
use wspulse_core::{Config, Message};

#[tokio::test(start_paused = true)]
async fn stream_and_sink_work_with_the_usual_adapters() {
    let (client, server) = pair(64, Config::default()).await;
    let server = tokio::spawn(async move {
        let (sink, stream) = server.split();
        stream.forward(sink).await
    });
    let (mut sink, mut stream) = client.split();
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
    sink.close().await.unwrap();
    assert!(stream.next().await.is_none());
    server.await.unwrap().unwrap();
}

/// tokio-websockets#92, #96, #106: halves in two tasks must not lose each other's wake-ups.
#[tokio::test(start_paused = true)]
async fn halves_in_two_tasks_wake_each_other() {
    let config = Config::builder().max_buffered_amount(100).build().unwrap();
    let (client, server) = pair(16, config).await;
    let server = tokio::spawn(async move {
        let (sink, stream) = server.split();
        stream.forward(sink).await
    });
    let (mut sink, mut stream) = client.split();
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
    sender.await.unwrap().close().await.unwrap();
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
