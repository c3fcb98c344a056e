//! Futures that are dropped at their awaits lose and repeat nothing.

mod common;

use common::*;
use wspulse_core::{CloseCode, Config, Message};

fn message(n: u32) -> Message {
    // Lengths on both sides of the pipe's size, so that most of them are cut.
    let mut bytes = vec![0; (n as usize * 13) % 97];
    bytes.extend(n.to_be_bytes());
    Message::from(bytes)
}

/// Every `next` and every `send` gets `polls` polls before it is dropped and tried again.
async fn exchange(polls: u32, pipe: usize) {
    let config = Config::builder().max_buffered_amount(100).build().unwrap();
    let (mut client, mut server) = pair(pipe, config).await;
    let count = 200;
    let sender = async {
        for n in 0..count {
            while give_up_after(polls, client.send(message(n)))
                .await
                .is_none()
            {
                tokio::task::yield_now().await;
            }
        }
        while give_up_after(polls, client.flush()).await.is_none() {
            tokio::task::yield_now().await;
        }
        client
    };
    let receiver = async {
        let mut received = 0;
        while received < count {
            match give_up_after(polls, server.next()).await {
                Some(next) => {
                    assert_eq!(next.unwrap().unwrap(), message(received));
                    received += 1;
                }
                None => tokio::task::yield_now().await,
            }
        }
        server
    };
    let (mut client, mut server) = tokio::join!(sender, receiver);
    let end = async {
        while give_up_after(polls, client.close(CloseCode::NORMAL, ""))
            .await
            .is_none()
        {
            tokio::task::yield_now().await;
        }
    };
    let (end, ()) = tokio::join!(server.next(), end);
    assert!(end.is_none());
    assert!(client.closed().unwrap().clean && server.closed().unwrap().clean);
}

#[tokio::test(start_paused = true)]
async fn a_future_dropped_after_any_number_of_polls_loses_nothing() {
    for polls in 1..=4 {
        for pipe in [1, 7, 64, 4_096] {
            exchange(polls, pipe).await;
        }
    }
}

/// `select!` against a timer that fires all the time, the way it is used.
#[tokio::test(start_paused = true)]
async fn next_may_stand_in_a_select() {
    let (mut client, mut server) = pair(5, Config::default()).await;
    let sender = tokio::spawn(async move {
        for n in 0..100 {
            client.send(message(n)).await.unwrap();
            client.flush().await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(7)).await;
        }
        client.close(CloseCode::NORMAL, "").await.unwrap();
    });
    let mut received = 0;
    let mut ticks = 0;
    loop {
        tokio::select! {
            next = server.next() => match next {
                Some(next) => {
                    assert_eq!(next.unwrap(), message(received));
                    received += 1;
                }
                None => break,
            },
            () = tokio::time::sleep(std::time::Duration::from_millis(2)) => ticks += 1,
        }
    }
    assert_eq!(received, 100);
    assert!(ticks > 100);
    sender.await.unwrap();
}
