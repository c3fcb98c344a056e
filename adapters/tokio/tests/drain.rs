//! A server that ends in order.

mod common;

use std::sync::{Arc, Mutex};

use common::*;
use tokio::io::DuplexStream;
use tokio::time::{Instant, sleep, timeout};
use wspulse_core::{Cause, CloseCode, Config};
use wspulse_tokio::{Drain, DrainOutcome, Error, WebSocket};

/// The loop that everybody writes, in the three ways there are to hold a connection.
async fn echo(mut ws: WebSocket<DuplexStream>, way: usize) -> Result<(), Error> {
    match way % 3 {
        0 => {
            while let Some(message) = ws.next().await {
                ws.send(message?).await?;
            }
        }
        1 => {
            let (mut reader, mut writer) = ws.split();
            while let Some(message) = reader.next().await {
                writer.send(message?).await?;
            }
        }
        _ => {
            let (mut receiver, sender) = ws.spawn(1);
            while let Some(message) = receiver.next().await {
                sender.send(message?).await?;
            }
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_thousand_connections_are_closed_in_order_and_spread() {
    let drain = Drain::new();
    let start = Instant::now();
    let closes = Arc::new(Mutex::new(Vec::new()));
    let (mut servers, mut clients) = (Vec::new(), Vec::new());
    for n in 0..1_000 {
        let (mut client, mut server) = pair(256, Config::default()).await;
        drain.guard(&mut server, format!("peer {n}"));
        servers.push(tokio::spawn(echo(server, n)));
        let closes = Arc::clone(&closes);
        clients.push(tokio::spawn(async move {
            client.send("hello").await.unwrap();
            let answer = client.next().await.unwrap().unwrap();
            assert_eq!(answer.as_text(), Some("hello"));
            assert!(client.next().await.is_none());
            closes.lock().unwrap().push(start.elapsed());
            assert_eq!(client.closed().unwrap().code(), CloseCode::GOING_AWAY);
        }));
    }
    sleep(secs(1)).await;
    assert_eq!((drain.count(), closes.lock().unwrap().len()), (1_000, 0));

    let report = drain.shutdown(secs(2), secs(10)).await;
    let elapsed = start.elapsed();
    assert!(elapsed <= secs(1) + secs(2), "{elapsed:?}");
    for task in servers {
        task.await.unwrap().expect("an end in order");
    }
    for task in clients {
        task.await.unwrap();
    }
    let text = "1000 connections: 1000 closed in order, 0 ended otherwise, 0 cut at the deadline";
    assert_eq!(report.to_string(), text);
    assert!(report.is_in_order());
    let mut labels: Vec<_> = report.connections.iter().map(|one| &one.label).collect();
    labels.sort();
    labels.dedup();
    assert_eq!(labels.len(), 1_000);
    // 50 in each of the 20 tenths of a second.
    let mut tenths = [0; 20];
    for close in closes.lock().unwrap().iter() {
        let tenth = (*close - secs(1)).as_millis() / 100;
        tenths[usize::try_from(tenth).unwrap()] += 1;
    }
    assert!(tenths.iter().all(|n| (48..=52).contains(n)), "{tenths:?}");
    assert_eq!(drain.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_answer_is_cut_at_the_deadline() {
    let drain = Drain::new();
    let (mut silent, _raw) = server_and_raw(Config::default(), |stream| stream).await;
    let (mut honest_client, mut honest) = pair(64, Config::default()).await;
    let late = drain.guard(&mut silent, "silent");
    drain.guard(&mut honest, "honest");
    let loops = [tokio::spawn(echo(silent, 0)), tokio::spawn(echo(honest, 0))];
    let client = tokio::spawn(async move { honest_client.next().await.is_none() });

    let start = Instant::now();
    let report = drain.shutdown(secs(0), secs(3)).await;
    assert_eq!(start.elapsed(), secs(3));
    assert!(!report.is_in_order());
    let cut: Vec<_> = report.cut().map(|one| (one.id, &*one.label)).collect();
    assert_eq!(cut, [(late, "silent")]);
    assert!(report.connections.iter().any(|one| one.is_in_order()));
    let [silent, honest] = loops;
    match silent.await.unwrap() {
        Err(Error::Closed(closed)) => assert_eq!(closed.cause, Cause::Aborted),
        other => panic!("{other:?}"),
    }
    honest.await.unwrap().unwrap();
    assert!(client.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_deadline_behind_the_close_timeout_cuts_nobody() {
    let drain = Drain::new();
    let (mut silent, _raw) = server_and_raw(Config::default(), |stream| stream).await;
    drain.guard(&mut silent, "silent");
    let silent = tokio::spawn(echo(silent, 2));
    let start = Instant::now();
    let report = drain.shutdown(secs(2), secs(60)).await;
    assert_eq!(start.elapsed(), secs(5), "no longer than there is somebody");
    match &report.connections[0].outcome {
        DrainOutcome::Closed(closed) => assert_eq!(closed.cause, Cause::CloseTimeout),
        other => panic!("{other:?}"),
    }
    assert!(silent.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_nobody_polls_is_cut_when_it_is_polled_next() {
    let drain = Drain::new();
    let (mut client, mut server) = pair(64, Config::default()).await;
    drain.guard(&mut server, "busy");
    let report = drain.shutdown(secs(1), secs(2)).await;
    assert_eq!(report.cut().count(), 1);
    match server.next().await {
        Some(Err(Error::Closed(closed))) => assert_eq!(closed.cause, Cause::Aborted),
        other => panic!("{other:?}"),
    }
    assert!(client.next().await.unwrap().is_err());
}

/// A task that is waiting for room to send obeys as well.
#[tokio::test(start_paused = true)]
async fn a_task_that_waits_to_send_is_told_too() {
    let drain = Drain::new();
    let config = Config::builder().max_buffered_amount(10).build().unwrap();
    let (mut server, _raw) = server_and_raw(config, Rough::new).await;
    server.get_ref().log.lock().unwrap().stuck = true;
    drain.guard(&mut server, "stuck");
    let sending = tokio::spawn(async move {
        loop {
            if server.send("a message of some length").await.is_err() {
                break;
            }
        }
        server.next().await
    });
    let report = drain.shutdown(secs(0), secs(2)).await;
    assert_eq!(report.cut().count(), 1);
    let end = timeout(secs(1), sending).await.unwrap().unwrap();
    assert!(matches!(end, Some(Err(Error::Closed(closed))) if closed.cause == Cause::Aborted));
}

#[tokio::test(start_paused = true)]
async fn messages_come_until_the_peer_has_closed() {
    let drain = Drain::new();
    let (mut server, mut raw) = server_and_raw(Config::default(), |stream| stream).await;
    drain.guard(&mut server, "peer");
    let server = tokio::spawn(async move {
        let message = server.next().await.unwrap().unwrap();
        assert_eq!(message.as_text(), Some("farewell"));
        assert!(server.next().await.is_none());
    });
    let peer = async {
        let (first, payload) = raw.read_frame().await;
        assert_eq!((first, &*payload), (CLOSE, &1_001_u16.to_be_bytes()[..]));
        raw.write(&frame(TEXT, b"farewell")).await;
        raw.write(&frame(CLOSE, &1_001_u16.to_be_bytes())).await;
        raw
    };
    let (report, _raw) = tokio::join!(drain.shutdown(secs(0), secs(10)), peer);
    assert!(report.is_in_order(), "{report:?}");
    server.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_comes_late_is_closed_at_once() {
    let drain = Drain::with_close(CloseCode::new(1_012), "restart").unwrap();
    let begun = tokio::spawn({
        let drain = drain.clone();
        async move { drain.begun().await }
    });
    let (mut client, mut server) = pair(64, Config::default()).await;
    assert!(!drain.has_begun());
    let report = drain.shutdown(secs(0), secs(1)).await;
    assert!(report.connections.is_empty() && report.is_in_order());
    timeout(secs(1), begun).await.unwrap().unwrap();
    assert!(drain.has_begun());

    drain.guard(&mut server, "late");
    let (end, their_end) = tokio::join!(server.next(), client.next());
    assert!(end.is_none() && their_end.is_none());
    let received = client.closed().unwrap().received.as_ref().unwrap();
    assert_eq!(
        (received.code.as_u16(), &*received.reason),
        (1_012, "restart")
    );
    // And a second call tells of it.
    assert_eq!(
        drain.shutdown(secs(0), secs(1)).await.connections[0].label,
        "late"
    );
}

#[tokio::test(start_paused = true)]
async fn the_report_tells_of_those_that_were_there_and_no_others() {
    let drain = Drain::new();
    let (mut client, mut server) = pair(64, Config::default()).await;
    drain.guard(&mut server, "gone before");
    let (closed, end) = tokio::join!(client.close(CloseCode::NORMAL, ""), server.next());
    assert!(closed.is_ok() && end.is_none());
    assert_eq!(drain.count(), 0);

    let (_client, mut dropped) = pair(64, Config::default()).await;
    drain.guard(&mut dropped, "dropped");
    tokio::spawn(async move {
        sleep(secs(1)).await;
        drop(dropped);
    });
    let report = drain.shutdown(secs(0), secs(10)).await;
    let [only] = &*report.connections else {
        panic!("{report:?}");
    };
    assert_eq!(only.label, "dropped");
    assert!(matches!(only.outcome, DrainOutcome::Dropped));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_that_is_dropped_half_way_is_taken_up_again() {
    let drain = Drain::new();
    let mut clients = Vec::new();
    for n in 0..10 {
        let (mut client, mut server) = pair(64, Config::default()).await;
        drain.guard(&mut server, n);
        tokio::spawn(echo(server, n));
        clients.push(tokio::spawn(async move { client.next().await.is_none() }));
    }
    let given_up = timeout(secs(1), drain.shutdown(secs(2), secs(10))).await;
    assert!(given_up.is_err());
    sleep(secs(3)).await;
    assert!((4..=6).contains(&drain.count()), "{}", drain.count());
    let report = drain.shutdown(secs(1), secs(10)).await;
    assert_eq!(report.connections.len(), 10);
    assert!(report.is_in_order());
    for client in clients {
        assert!(client.await.unwrap());
    }
}
