//! Rule 18: ok means on its way.

mod common;

use std::time::Duration;

use common::*;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use wspulse_core::{CloseCode, Config, Message, SendError};
use wspulse_tokio::{Error, WebSocket};

fn batch(count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|n| frame(TEXT, format!("{n}").as_bytes()))
        .collect()
}

/// A3: each answer leaves when it is there, whatever lies behind the message.
#[tokio::test(start_paused = true)]
async fn a3_no_answer_waits_for_the_work_on_the_next_one() {
    for feeds in [false, true] {
        let (mut server, mut raw) = server_and_raw(Config::default(), |stream| stream).await;
        raw.write(&batch(5)).await;
        let begin = Instant::now();
        let serve = async {
            while let Some(Ok(message)) = server.next().await {
                sleep(secs(2)).await;
                if feeds {
                    server.feed(message).await.unwrap();
                } else {
                    server.send(message).await.unwrap();
                }
            }
        };
        let peer = async {
            for n in 0..5 {
                let (_, payload) = read_text(&mut raw).await;
                assert_eq!(payload, format!("{n}").as_bytes());
                assert_eq!(begin.elapsed(), secs(2 * (n + 1)), "{feeds} {n}");
            }
        };
        tokio::select! {
            () = serve => panic!("it ended"),
            () = peer => {}
        }
    }
}

async fn read_text(raw: &mut Raw) -> (u8, Vec<u8>) {
    loop {
        let frame = raw.read_frame().await;
        if frame.0 == TEXT {
            return frame;
        }
    }
}

/// A4: the answer is there when the connection is dropped right after it, also behind input.
#[tokio::test]
async fn a4_an_answer_is_there_when_the_connection_is_dropped_after_it() {
    for count in [1, 2, 5] {
        for feeds in [false, true] {
            let (mut server, mut raw) = server_and_raw(Config::default(), |stream| stream).await;
            raw.write(&batch(count)).await;
            let message = server.next().await.unwrap().unwrap();
            if feeds {
                server.feed(message).await.unwrap();
            } else {
                server.send(message).await.unwrap();
            }
            drop(server);
            assert_eq!(
                raw.read_frame().await,
                (TEXT, b"0".to_vec()),
                "{count} {feeds}"
            );
            assert_eq!(raw.0.read(&mut [0]).await.unwrap(), 0);
        }
    }
}

/// The same with halves, of which the last one writes.
#[tokio::test]
async fn a4_the_last_half_writes_what_was_fed() {
    for writer_first in [false, true] {
        let (server, mut raw) = server_and_raw(Config::default(), |stream| stream).await;
        let (reader, mut writer) = server.split();
        writer.feed("last").await.unwrap();
        if writer_first {
            drop(writer);
            drop(reader);
        } else {
            drop(reader);
            drop(writer);
        }
        assert_eq!(raw.read_frame().await, (TEXT, b"last".to_vec()));
    }
}

/// A2: a reader that takes four seconds for a message delays no tick of the writer.
#[tokio::test(start_paused = true)]
async fn a2_halves_do_not_wait_for_each_other() {
    let (server, mut raw) = server_and_raw(Config::default(), |stream| stream).await;
    let (mut reader, mut writer) = server.split();
    let reading = tokio::spawn(async move {
        while let Some(Ok(_)) = reader.next().await {
            sleep(secs(4)).await;
        }
    });
    let writing = tokio::spawn(async move {
        loop {
            sleep(Duration::from_millis(200)).await;
            writer.send("tick").await?;
        }
        #[expect(unreachable_code, reason = "the type of the error")]
        Ok::<(), Error>(())
    });
    raw.write(&batch(3)).await;
    let mut last = Instant::now();
    for _ in 0..60 {
        read_text(&mut raw).await;
        assert!(
            last.elapsed() <= Duration::from_millis(250),
            "{:?}",
            last.elapsed()
        );
        last = Instant::now();
    }
    reading.abort();
    writing.abort();
}

/// A15: what is fed leaves although its task does nothing more, if the other half waits.
#[tokio::test(start_paused = true)]
async fn a15_what_is_fed_leaves_with_a_reader_that_waits() {
    let (server, mut raw) = server_and_raw(Config::default(), |stream| stream).await;
    let (mut reader, mut writer) = server.split();
    let reading = tokio::spawn(async move { reader.next().await.map(Result::unwrap) });
    tokio::task::yield_now().await;
    writer.feed("fed").await.unwrap();
    let begin = Instant::now();
    assert_eq!(raw.read_frame().await, (TEXT, b"fed".to_vec()));
    assert!(
        begin.elapsed() < Duration::from_millis(1),
        "no timer had to help"
    );
    raw.write(&frame(TEXT, b"done")).await;
    assert!(reading.await.unwrap().is_some());
    drop(writer);
}

/// What is fed leaves with any call once it is older than a millisecond, also in a program that
/// only feeds, and with one that finds a message at hand.
#[tokio::test(start_paused = true)]
async fn what_is_fed_leaves_with_any_later_call() {
    let (mut server, mut raw) = server_and_raw(Config::default(), Rough::new).await;
    let log = server.get_ref().log.clone();
    log.lock().unwrap().writes.clear();
    let writes = || log.lock().unwrap().writes.clone();
    raw.write(&batch(3)).await;
    server.next().await.unwrap().unwrap();
    server.feed("one").await.unwrap();
    server.next().await.unwrap().unwrap();
    assert_eq!(writes(), [], "it is young");
    sleep(Duration::from_millis(2)).await;
    server.next().await.unwrap().unwrap();
    assert_eq!(writes(), [5], "next");
    server.feed("two").await.unwrap();
    sleep(Duration::from_millis(2)).await;
    server.feed("three").await.unwrap();
    assert_eq!(writes(), [5, 5 + 7], "feed");
    server.feed("four").await.unwrap();
    sleep(Duration::from_millis(2)).await;
    server.ping(b"").await.unwrap();
    assert_eq!(writes()[2..].iter().sum::<usize>(), 6 + 2, "ping");
    server.feed("five").await.unwrap();
    sleep(Duration::from_millis(2)).await;
    std::future::poll_fn(|cx| server.poll_ready_unpin(cx))
        .await
        .unwrap();
    assert_eq!(writes().last(), Some(&6), "the sink");
}

/// `send` waits for the transport: what it says Ok to has left.
#[tokio::test(start_paused = true)]
async fn send_returns_when_the_transport_has_the_whole_message() {
    let (mut client, mut server) = pair(100, Config::default()).await;
    let waiting = timeout(secs(1), client.send(vec![7; 1_000])).await;
    assert!(waiting.is_err(), "nobody reads");
    assert!(client.buffered_amount() > 0);
    let received = async { server.next().await.unwrap().unwrap() };
    let (sent, received) = tokio::join!(client.send("next"), received);
    sent.unwrap();
    assert_eq!(
        received.len(),
        1_000,
        "a send that was dropped queued all of it"
    );
    assert_eq!(client.buffered_amount(), 0);
    assert_eq!(
        server.next().await.unwrap().unwrap().as_text(),
        Some("next")
    );
}

/// A13: a Close in the segment of the last message, and a combinator that holds one message.
#[tokio::test(start_paused = true)]
async fn a13_forward_loses_nothing_to_a_close_that_comes_with_the_last_message() {
    for close_in_segment in [true, false] {
        for buffered in [0, 1, 3] {
            let (server, mut raw) = server_and_raw(Config::default(), |stream| stream).await;
            let mut input = batch(3);
            let close = frame(CLOSE, &1_000_u16.to_be_bytes());
            let serve = async {
                let (sink, stream) = StreamExt::split(server);
                if buffered > 0 {
                    stream.forward(sink.buffer(buffered)).await
                } else {
                    stream.forward(sink).await
                }
            };
            let peer = async {
                if close_in_segment {
                    input.extend(&close);
                    raw.write(&input).await;
                } else {
                    raw.write(&input).await;
                    raw.write(&close).await;
                }
                for n in 0..3 {
                    let expected = (TEXT, format!("{n}").into_bytes());
                    assert_eq!(
                        raw.read_frame().await,
                        expected,
                        "{close_in_segment} {buffered}"
                    );
                }
                assert_eq!(raw.read_frame().await, (CLOSE, vec![3, 0xE8]));
            };
            let (served, ()) = tokio::join!(serve, peer);
            served.unwrap();
        }
    }
}

/// A peer's Close is answered all the same where nobody has a message to add.
#[tokio::test(start_paused = true)]
async fn a13_a_close_is_answered_where_the_sink_has_nothing_to_add() {
    let (mut server, mut raw) = server_and_raw(Config::default(), |stream| stream).await;
    SinkExt::send(&mut server, Message::from("once"))
        .await
        .unwrap();
    assert_eq!(raw.read_frame().await, (TEXT, b"once".to_vec()));
    raw.write(&frame(CLOSE, &1_000_u16.to_be_bytes())).await;
    let begin = Instant::now();
    assert!(server.next().await.is_none());
    assert_eq!(raw.read_frame().await, (CLOSE, vec![3, 0xE8]));
    assert!(begin.elapsed() < Duration::from_millis(1));
}

/// A14: a message that is sent in parts is not forgotten by halves, a reunion or a task.
#[tokio::test(start_paused = true)]
async fn a14_nothing_is_sent_into_a_message_in_parts() {
    let is_unfinished = |told: Result<(), Error>| {
        matches!(told, Err(Error::Send(SendError::Unfinished(message)))
            if message.as_text() == Some("other"))
    };
    let (server, _raw) = server_and_raw(Config::default(), |stream| stream).await;
    let (reader, mut writer) = server.split();
    writer.send_part("begun", false).await.unwrap();
    assert!(is_unfinished(writer.send("other").await));
    assert!(is_unfinished(writer.feed("other").await));
    let mut whole = reader.reunite(writer).unwrap();
    assert!(is_unfinished(whole.send("other").await));
    let (_receiver, sender) = whole.spawn(4);
    assert!(is_unfinished(sender.send("other").await));
    assert!(is_unfinished(sender.try_send("other")));
}

/// A14: once it is whole, anything may follow, on whatever the connection has become.
#[tokio::test(start_paused = true)]
async fn a14_a_message_in_parts_that_was_ended_bars_nothing() {
    let (server, mut raw) = server_and_raw(Config::default(), |stream| stream).await;
    let (reader, mut writer) = server.split();
    writer.send_part("a", false).await.unwrap();
    let mut whole = reader.reunite(writer).unwrap();
    whole.send_part("b", true).await.unwrap();
    let (_receiver, sender) = whole.spawn(4);
    sender.send("c").await.unwrap();
    assert_eq!(raw.read_frame().await, (0x01, b"a".to_vec()));
    assert_eq!(raw.read_frame().await, (0x80, b"b".to_vec()));
    assert_eq!(raw.read_frame().await, (TEXT, b"c".to_vec()));
}

/// T8: a broken pipe is not the news, if the peer said why it goes.
#[tokio::test]
async fn t8_a_sender_is_told_the_peers_close_and_not_the_broken_pipe() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (mut near, far) = (near.unwrap(), far.unwrap().0);
    let accept = wspulse_tokio::accept(far, heartbeat(5, 5));
    let shake = async {
        near.write_all(REQUEST).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(near.read_u8().await.unwrap());
        }
    };
    let (server, ()) = tokio::join!(accept, shake);
    let mut server: WebSocket<TcpStream> = server.unwrap();
    // It says why it goes, and is gone.
    near.write_all(&frame(CLOSE, b"\x03\xF3overload"))
        .await
        .unwrap();
    drop(near);
    let error = loop {
        if let Err(error) = server.send("tick").await {
            break error;
        }
        sleep(Duration::from_millis(50)).await;
    };
    assert!(
        error
            .to_string()
            .starts_with("closed, received 1011 \"overload\""),
        "{error}"
    );
    let code = CloseCode::from(1011);
    assert_eq!(server.closed().unwrap().code(), code);
}
