//! wspulse-tokio on a runtime of one thread.

use std::thread;
use std::time::Instant;

use futures_util::stream::{SplitSink, SplitStream, unfold};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use wspulse_core::{CloseCode, Message};
use wspulse_tokio::{
    ConnectOptions, Error, MaybeTls, Reader, Receiver, Sender, WebSocket, Writer, accept, connect,
};

use super::{End, Orders, Plan, Way, accept_one, answer};
use crate::scenario::App;

type Socket = WebSocket<MaybeTls<TcpStream>>;

/// What the application holds.
enum Link {
    Whole(Box<Socket>),
    Sink(SplitSink<Socket, Message>, SplitStream<Socket>),
    Halves(
        Box<Reader<MaybeTls<TcpStream>>>,
        Writer<MaybeTls<TcpStream>>,
    ),
    Spawned(Receiver, Sender),
}

pub(super) fn run(orders: &Orders) -> End {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let ws = match open(orders).await {
            Ok(ws) => ws,
            Err(end) => return end,
        };
        let plan = orders.plan();
        match play(Link::new(ws, orders.program.way), plan).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    })
}

async fn open(orders: &Orders) -> Result<Socket, End> {
    let config = orders.config();
    if let Some(address) = orders.address {
        let options = ConnectOptions::new(config);
        return Ok(connect(&format!("ws://{address}/"), options).await?);
    }
    let stream = accept_one()?;
    stream.set_nonblocking(true)?;
    let stream = TcpStream::from_std(stream)?;
    Ok(accept(MaybeTls::Plain(stream), config).await?)
}

async fn play(mut link: Link, plan: Plan) -> Result<std::convert::Infallible, End> {
    match plan.app {
        App::Ticks | App::TicksOnly => return ticks(link, plan).await,
        App::Pushes(size) => return pushes(link, size).await,
        App::Sends(size) => link.send(vec![7; size].into()).await?,
        _ => {}
    }
    let mut wake = plan.first();
    loop {
        let received = tokio::select! {
            received = link.next() => received,
            () = sleep_until(wake) => {
                wake = None;
                match plan.app {
                    App::Away { to, .. } => sleep_until(Some(plan.moment(to))).await,
                    App::Blocks { to, .. } => {
                        thread::sleep(plan.moment(to).saturating_duration_since(Instant::now()));
                    }
                    App::Closes(_) => link.close().await?,
                    _ => {}
                }
                continue;
            }
        };
        let message = End::of(received)?;
        if let Some(answer) = answer(&message) {
            link.send(answer).await?;
        }
    }
}

async fn ticks(link: Link, plan: Plan) -> Result<std::convert::Infallible, End> {
    let pace = plan.pace();
    match link {
        Link::Whole(mut ws) => loop {
            ws.send("tick").await?;
            tokio::time::sleep(pace).await;
        },
        Link::Sink(sink, _stream) => {
            let ticks = unfold((), |()| async move {
                tokio::time::sleep(pace).await;
                Some((Ok::<_, Error>(Message::from("tick")), ()))
            });
            ticks.forward(sink).await?;
            Err(End::Own("the ticks ended"))
        }
        Link::Halves(reader, mut writer) => {
            let _held = match plan.app {
                App::TicksOnly => Some(reader),
                _ => {
                    tokio::spawn(drain(reader));
                    None
                }
            };
            loop {
                writer.send("tick").await?;
                tokio::time::sleep(pace).await;
            }
        }
        Link::Spawned(_receiver, sender) => loop {
            sender.send("tick").await?;
            tokio::time::sleep(pace).await;
        },
    }
}

async fn pushes(mut link: Link, size: usize) -> Result<std::convert::Infallible, End> {
    if let Link::Halves(reader, mut writer) = link {
        tokio::spawn(drain(reader));
        loop {
            writer.send(vec![7; size]).await?;
        }
    }
    loop {
        link.send(vec![7; size].into()).await?;
    }
}

async fn drain(mut reader: Box<Reader<MaybeTls<TcpStream>>>) {
    while let Some(Ok(_)) = reader.next().await {}
}

impl Link {
    fn new(ws: Socket, way: Way) -> Self {
        match way {
            Way::Sink => {
                let (sink, stream) = futures_util::StreamExt::split(ws);
                Self::Sink(sink, stream)
            }
            Way::Halves => {
                let (reader, writer) = ws.split();
                Self::Halves(Box::new(reader), writer)
            }
            Way::Spawned => {
                let (receiver, sender) = ws.spawn(16);
                Self::Spawned(receiver, sender)
            }
            Way::Whole | Way::Handler => Self::Whole(Box::new(ws)),
        }
    }

    async fn next(&mut self) -> Option<Result<Message, Error>> {
        match self {
            Self::Whole(ws) => ws.next().await,
            Self::Sink(_, stream) => stream.next().await,
            Self::Halves(reader, _) => reader.next().await,
            Self::Spawned(receiver, _) => receiver.next().await,
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), Error> {
        match self {
            Self::Whole(ws) => ws.send(message).await,
            Self::Sink(sink, _) => sink.send(message).await,
            Self::Halves(_, writer) => writer.send(message).await,
            Self::Spawned(_, sender) => sender.send(message).await,
        }
    }

    async fn close(&mut self) -> Result<(), Error> {
        match self {
            Self::Whole(ws) => ws.close(CloseCode::NORMAL, "").await,
            Self::Sink(sink, _) => sink.close().await,
            Self::Halves(_, writer) => writer.close(CloseCode::NORMAL, "").await,
            Self::Spawned(_, sender) => sender.close(CloseCode::NORMAL, "").await,
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
