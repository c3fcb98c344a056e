//! Futures that are dropped at their awaits lose and repeat nothing.

mod common;

use common::*;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use wspulse_core::{CloseCode, Config, Message};
use wspulse_tokio::WebSocket;

fn message(n: u32) -> Message {
    // Lengths on both sides of the pipe's size, so that most of them are cut.
    let mut bytes = vec![0; (n as usize * 13) % 97];
    bytes.extend(n.to_be_bytes());
    Message::from(bytes)
}

/// How often each future in turn is polled before it is dropped.
#[derive(Clone, Debug)]
struct Patience {
    seed: u64,
    most: u32,
}

impl Patience {
    fn next(&mut self) -> u32 {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) as u32 % self.most + 1
    }
}

/// Makes a future again and again, and drops it each time, until one of them comes to its end.
macro_rules! insist {
    ($patience:expr, $future:expr) => {
        loop {
            match give_up_after($patience.next(), $future).await {
                Some(output) => break output,
                None => tokio::task::yield_now().await,
            }
        }
    };
}

fn config() -> Config {
    Config::builder().max_buffered_amount(100).build().unwrap()
}

const COUNT: u32 = 100;

/// Messages both ways at once, then a Close, over whole connections: each side sends a part, then
/// receives a part.
async fn exchange_whole<S>(ends: [WebSocket<S>; 2], patience: Patience)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let [mut client, mut server] = ends;
    let mut ours = patience.clone();
    let near = async {
        for n in 0..COUNT {
            insist!(ours, client.feed(message(n))).unwrap();
            if n % 7 == 0 {
                insist!(ours, client.flush()).unwrap();
            }
            if n % 2 == 0 {
                let next = insist!(ours, client.next()).unwrap();
                assert_eq!(next.unwrap(), message(n / 2), "{patience:?}");
            }
        }
        insist!(ours, client.close(CloseCode::NORMAL, "")).unwrap();
        client
    };
    let mut theirs = Patience {
        seed: !patience.seed,
        ..patience
    };
    let far = async {
        for n in 0..COUNT {
            let next = insist!(theirs, server.next()).unwrap();
            assert_eq!(next.unwrap(), message(n), "{patience:?}");
            if n % 2 == 0 {
                insist!(theirs, server.feed(message(n / 2))).unwrap();
            }
        }
        assert!(insist!(theirs, server.next()).is_none(), "{patience:?}");
        server
    };
    let (client, server) = tokio::join!(near, far);
    assert!(client.closed().unwrap().clean && server.closed().unwrap().clean);
}

/// The same with halves in tasks of their own: all four send or receive at once.
async fn exchange_split(ends: [WebSocket<Rough<DuplexStream>>; 2], patience: Patience) {
    let mut tasks = Vec::new();
    let mut readers = Vec::new();
    for (end, ws) in ends.into_iter().enumerate() {
        let (mut reader, mut writer) = ws.split();
        let said = patience.clone();
        let mut patience = patience.clone();
        patience.seed = patience.seed.wrapping_add(end as u64);
        let mut reading = patience.clone();
        tasks.push(tokio::spawn(async move {
            for n in 0..COUNT {
                insist!(patience, writer.feed(message(n))).unwrap();
                if n % 7 == 0 {
                    insist!(patience, writer.flush()).unwrap();
                }
            }
            if end == 0 {
                insist!(patience, writer.close(CloseCode::NORMAL, "")).unwrap();
            } else {
                insist!(patience, writer.flush()).unwrap();
            }
        }));
        readers.push(tokio::spawn(async move {
            for n in 0..COUNT {
                let next = insist!(reading, reader.next()).unwrap();
                assert_eq!(next.unwrap(), message(n), "{said:?}");
            }
            // The side that closes first may lose nothing of the other's.
            assert!(insist!(reading, reader.next()).is_none(), "{said:?}");
            reader
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    for reader in readers {
        assert!(reader.await.unwrap().closed().unwrap().clean);
    }
}

/// A client and a server over a pipe of this size, each end of which is rough.
async fn rough_pair(pipe: usize, is_nasty: bool) -> [WebSocket<Rough<DuplexStream>>; 2] {
    let (near, far) = tokio::io::duplex(pipe);
    let wrap = if is_nasty { Rough::nasty } else { Rough::new };
    let request = request();
    let (client, server) = tokio::join!(
        wspulse_tokio::client(wrap(near), &request, config()),
        wspulse_tokio::accept(wrap(far), config()),
    );
    [client.unwrap(), server.unwrap()]
}

fn patiences() -> impl Iterator<Item = Patience> {
    (1..=4).flat_map(|most| (0..3).map(move |seed| Patience { seed, most }))
}

#[tokio::test(start_paused = true)]
async fn a_future_dropped_after_any_number_of_polls_loses_nothing() {
    for patience in patiences() {
        for pipe in [1, 7, 64, 4_096] {
            for is_nasty in [false, true] {
                exchange_whole(rough_pair(pipe, is_nasty).await, patience.clone()).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_half_whose_futures_are_dropped_loses_nothing() {
    for patience in patiences() {
        for pipe in [1, 7, 64, 4_096] {
            for is_nasty in [false, true] {
                exchange_split(rough_pair(pipe, is_nasty).await, patience.clone()).await;
            }
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
