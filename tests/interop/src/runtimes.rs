//! The adapters that are not tokio's, over real sockets without a tap: messages of all lengths and
//! a close of ours.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use wspulse_core::handshake::{ClientRequest, Response};
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{CloseCode, Closed, Config, Message};
use wspulse_mio::{ConnectionId, Connections, EventLoop, Handler};

use crate::cases::{bytes, letters};
use crate::link::{Fault, Link};

/// What one of the adapters does with a connected stream: `Some` request is a client's.
type Script = fn(TcpStream, Option<ClientRequest>, Config) -> Result<(), Fault>;

pub(crate) async fn on_std(link: &mut Link) -> Result<(), Fault> {
    run(link, blocking).await
}

pub(crate) async fn on_mio(link: &mut Link) -> Result<(), Fault> {
    run(link, event_loop).await
}

async fn run(link: &mut Link, script: Script) -> Result<(), Fault> {
    // Whatever the peer does, a thread does not wait for longer than this.
    let heartbeat = HeartbeatConfig::ping(Duration::from_secs(5), Duration::from_secs(5));
    let config = Config::builder().heartbeat(heartbeat).build()?;
    let (name, request, stream) = link.stream().await?;
    let stream = stream.into_std()?;
    spawn_blocking(move || script(stream, request, config)).await??;
    let known = link.closed(&name).await?;
    if known == format!("{CODE} {REASON}") {
        return Ok(());
    }
    Err(format!("closed with {CODE} {REASON:?}, the peer says {known:?}").into())
}

// ---- std

fn blocking(
    stream: TcpStream,
    request: Option<ClientRequest>,
    config: Config,
) -> Result<(), Fault> {
    stream.set_nonblocking(false)?;
    let mut ws = match request {
        Some(request) => wspulse_std::client(stream, &request, config)?,
        None => wspulse_std::accept(stream, config)?,
    };
    for message in messages() {
        ws.send(message.clone())?;
        let echo = ws.next().ok_or("it closed")??;
        compare(&message, &echo)?;
    }
    Ok(ws.close(CloseCode::new(CODE), REASON)?)
}

// ---- mio

fn event_loop(
    stream: TcpStream,
    request: Option<ClientRequest>,
    config: Config,
) -> Result<(), Fault> {
    let stream = mio::net::TcpStream::from_std(stream);
    let mut events = EventLoop::new(Echoed::default())?;
    match request {
        Some(request) => events.connections().client(stream, &request, config)?,
        None => events.connections().accept(stream, config)?,
    };
    let deadline = Instant::now() + Duration::from_secs(50);
    while events.turn(Some(Duration::from_secs(1)))? {
        if Instant::now() > deadline {
            return Err("not done in time".into());
        }
    }
    let handler = events.into_handler();
    handler
        .end
        .unwrap_or_else(|| Err("it ended without an end".into()))
}

/// Sends the messages one after another, each when the one before is back.
#[derive(Default)]
struct Echoed {
    waiting: VecDeque<Message>,
    end: Option<Result<(), Fault>>,
}

impl Echoed {
    fn go_on(&self, connections: &mut Connections, id: ConnectionId) -> Result<(), Fault> {
        match self.waiting.front() {
            Some(message) => connections.send(id, message.clone())?,
            None => connections.close(id, CloseCode::new(CODE), REASON)?,
        }
        Ok(())
    }

    fn fail(&mut self, connections: &mut Connections, id: ConnectionId, fault: Fault) {
        self.end.get_or_insert(Err(fault));
        connections.abort(id);
    }
}

impl Handler for Echoed {
    fn open(&mut self, connections: &mut Connections, id: ConnectionId, _: Option<&Response>) {
        self.waiting = messages().into();
        if let Err(fault) = self.go_on(connections, id) {
            self.fail(connections, id, fault);
        }
    }

    fn message(&mut self, connections: &mut Connections, id: ConnectionId, echo: Message) {
        let sent = self.waiting.pop_front();
        let compared = compare(&sent.unwrap_or_else(|| "nothing".into()), &echo);
        if let Err(fault) = compared.and_then(|()| self.go_on(connections, id)) {
            self.fail(connections, id, fault);
        }
    }

    fn closed(
        &mut self,
        connections: &mut Connections,
        _: ConnectionId,
        end: Result<Box<Closed>, wspulse_mio::Error>,
    ) {
        self.end.get_or_insert(end.map(drop).map_err(Fault::from));
        connections.stop();
    }
}

// ---- helpers

fn messages() -> Vec<Message> {
    let mut messages: Vec<Message> = vec!["hello".into(), "".into(), "Grüße, 時間 and 🦀".into()];
    for size in [0, 125, 126, 65_535, 65_536, 1 << 20] {
        messages.push(bytes(size).into());
        messages.push(letters(size).into());
    }
    messages
}

fn compare(sent: &Message, echo: &Message) -> Result<(), Fault> {
    if sent == echo {
        return Ok(());
    }
    Err(format!("sent {sent:?}, got {echo:?}").into())
}

const CODE: u16 = 4001;
const REASON: &str = "done";
