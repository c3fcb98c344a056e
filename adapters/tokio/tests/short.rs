//! More short messages than the queue holds: each arrives, in order, whatever sends them.

mod common;

use common::*;
use futures_util::{SinkExt, StreamExt, stream};
use tokio::io::DuplexStream;
use wspulse_core::{CloseCode, Config, Message};
use wspulse_tokio::WebSocket;

const COUNT: u32 = 60_000;

fn message(number: u32) -> Message {
    format!("{number:>20}").into()
}

/// Receives them all, after some time in which nothing is read.
async fn receive(mut ws: WebSocket<DuplexStream>) {
    tokio::time::sleep(secs(2)).await;
    for number in 0..COUNT {
        let next = tokio::time::timeout(secs(5), ws.next()).await;
        let next = next.unwrap_or_else(|_| panic!("{number} does not come"));
        assert_eq!(next.unwrap().unwrap(), message(number));
    }
    while ws.next().await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn by_send() {
    let (mut client, server) = pair(4_096, Config::default()).await;
    let receiving = tokio::spawn(receive(server));
    for number in 0..COUNT {
        client.send(message(number)).await.unwrap();
    }
    client.close(CloseCode::NORMAL, "").await.unwrap();
    receiving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn by_a_writer() {
    let (client, server) = pair(4_096, Config::default()).await;
    let receiving = tokio::spawn(receive(server));
    let (mut reader, mut writer) = client.split();
    let reading = tokio::spawn(async move { while reader.next().await.is_some() {} });
    for number in 0..COUNT {
        writer.send(message(number)).await.unwrap();
    }
    writer.close(CloseCode::NORMAL, "").await.unwrap();
    receiving.await.unwrap();
    reading.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn by_a_sink() {
    let (mut client, server) = pair(4_096, Config::default()).await;
    let receiving = tokio::spawn(receive(server));
    let mut messages = stream::iter(0..COUNT).map(|number| Ok(message(number)));
    client.send_all(&mut messages).await.unwrap();
    SinkExt::close(&mut client).await.unwrap();
    while client.next().await.is_some() {}
    receiving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn by_a_task() {
    let (client, server) = pair(4_096, Config::default()).await;
    let receiving = tokio::spawn(receive(server));
    let (mut receiver, sender) = client.spawn(16);
    for number in 0..COUNT {
        sender.send(message(number)).await.unwrap();
    }
    sender.close(CloseCode::NORMAL, "").await.unwrap();
    while receiver.next().await.is_some() {}
    receiving.await.unwrap();
}
