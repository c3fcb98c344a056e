//! wspulse-std.

use std::convert::Infallible;
use std::net::TcpStream;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use wspulse_core::{CloseCode, Message};
use wspulse_std::{
    ConnectOptions, Error, Reader, Receiver, Sender, WebSocket, Writer, accept, connect,
};

use super::{End, Orders, Plan, Way, accept_one, answer};
use crate::scenario::App;

/// What the application holds.
enum Link {
    Whole(WebSocket<TcpStream>),
    Halves(Reader<TcpStream>, Writer<TcpStream>),
    Spawned(Receiver, Sender),
}

pub(super) fn run(orders: &Orders) -> End {
    let played = open(orders).map_err(End::from).and_then(|ws| {
        let plan = orders.plan();
        play(Link::new(ws, orders.program.way), plan)
    });
    match played {
        Ok(never) => match never {},
        Err(end) => end,
    }
}

pub(super) fn open(orders: &Orders) -> Result<WebSocket<TcpStream>, Error> {
    let config = orders.config();
    match orders.address {
        Some(address) => connect(&format!("ws://{address}/"), ConnectOptions::new(config)),
        None => accept(accept_one()?, config),
    }
}

fn play(mut link: Link, plan: Plan) -> Result<Infallible, End> {
    match plan.app {
        App::Ticks => return sends(link, "tick".into(), plan.pace(), Reading::Polled),
        App::TicksOnly => return sends(link, "tick".into(), plan.pace(), Reading::Held),
        App::Pushes(size) => {
            return sends(link, vec![7; size].into(), Duration::ZERO, Reading::Polled);
        }
        App::Sends(size) => link.send(vec![7; size].into())?,
        _ => {}
    }
    let mut wake = plan.first();
    loop {
        let now = Instant::now();
        if wake.is_some_and(|wake| now >= wake) {
            wake = None;
            match plan.app {
                App::Away { to, .. } | App::Blocks { to, .. } => {
                    thread::sleep(plan.moment(to).saturating_duration_since(now));
                }
                App::Closes(_) => link.close()?,
                _ => {}
            }
            continue;
        }
        let wait = wake.map_or(Duration::MAX, |wake| wake.saturating_duration_since(now));
        if let Poll::Ready(received) = link.next(wait) {
            let message = End::of(received)?;
            if let Some(answer) = answer(&message) {
                link.send(answer)?;
            }
        }
    }
}

/// Whether a reader of its own is polled.
#[derive(PartialEq, Eq)]
enum Reading {
    Polled,
    Held,
}

/// Sends without end, and never receives but where a reader has a thread of its own.
fn sends(
    mut link: Link,
    message: Message,
    pace: Duration,
    reading: Reading,
) -> Result<Infallible, End> {
    if reading == Reading::Polled
        && let Link::Halves(mut reader, mut writer) = link
    {
        thread::spawn(move || while let Some(Ok(_)) = reader.next() {});
        loop {
            writer.send(message.clone())?;
            thread::sleep(pace);
        }
    }
    loop {
        link.send(message.clone())?;
        thread::sleep(pace);
    }
}

impl Link {
    fn new(ws: WebSocket<TcpStream>, way: Way) -> Self {
        match way {
            Way::Halves => {
                let (reader, writer) = ws.split();
                Self::Halves(reader, writer)
            }
            Way::Spawned => {
                let (receiver, sender) = ws.spawn(16);
                Self::Spawned(receiver, sender)
            }
            _ => Self::Whole(ws),
        }
    }

    fn next(&mut self, wait: Duration) -> Poll<Option<Result<Message, Error>>> {
        match self {
            Self::Whole(ws) => ws.next_timeout(wait),
            Self::Halves(reader, _) => reader.next_timeout(wait),
            Self::Spawned(receiver, _) => receiver.next_timeout(wait),
        }
    }

    fn send(&mut self, message: Message) -> Result<(), Error> {
        match self {
            Self::Whole(ws) => ws.send(message),
            Self::Halves(_, writer) => writer.send(message),
            Self::Spawned(_, sender) => sender.send(message),
        }
    }

    fn close(&mut self) -> Result<(), Error> {
        match self {
            Self::Whole(ws) => ws.close(CloseCode::NORMAL, ""),
            Self::Halves(_, writer) => writer.close(CloseCode::NORMAL, ""),
            Self::Spawned(_, sender) => sender.close(CloseCode::NORMAL, ""),
        }
    }
}
