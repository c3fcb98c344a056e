//! The way to one peer: its program, a control connection, and as many others as are wanted.
//!
//! Our side always leads. What a peer does with a connection is the same whichever side opened it,
//! and depends on the last part of the URL alone. On `control` it takes orders as text:
//!
//! - `version`: answers with its version.
//! - `open URL` (clients): connects there.
//! - `closed NAME`: answers how the connection of this name ended, as code, space and reason, or
//!   `open`.
//!
//! It ends with its control connection. On any other it echoes, but for these texts:
//!
//! - `cmd:ping PAYLOAD`: pings, and sends `pong PAYLOAD` once that is answered; or `pinged
//!   PAYLOAD` at once, if it does not learn of pongs.
//! - `cmd:close CODE REASON`: closes.
//! - `cmd:parts`: echoes the next message in four fragments or so.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{error, io};

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::ChildStdout;
use tokio::time::{sleep, timeout};
use wspulse_core::handshake::{Accept, ClientRequest, Reject};
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Config, Event, Message};
use wspulse_tokio::{Receiver, Sender, WebSocket};

use crate::child::Child;
use crate::page::Page;
use crate::peers::{Peer, Program, Side};
use crate::tap::{Look, Tap};

/// Whatever went wrong, for people to read.
pub(crate) type Fault = Box<dyn error::Error + Send + Sync>;

/// A running peer.
#[derive(Debug)]
pub(crate) struct Link {
    receiver: Receiver,
    sender: Sender,
    reach: Reach,
    count: u32,
    is_hasty: bool,
    // Dropped in this order: the program before the folder that it writes to.
    _child: Child,
    _output: Option<BufReader<ChildStdout>>,
    _profile: Option<Profile>,
    _page: Option<Page>,
}

/// Who listens.
#[derive(Debug)]
enum Reach {
    Peer(SocketAddr),
    Us(TcpListener),
}

impl Link {
    /// Starts the peer and waits for its control connection; what it says goes to `log`.
    pub(crate) async fn open(peer: &Peer, side: Side, log: &Path) -> Result<Self, Fault> {
        let profile = match peer.program {
            Program::Chromium(_) => Some(Profile::new()?),
            _ => None,
        };
        let path = profile.as_ref().map_or(Path::new(""), |profile| &profile.0);
        let log = File::create(log)?;
        let (child, reach, output, page) = match side {
            Side::Server => {
                let mut child = Child::start(peer.command(side, None, path), log)?;
                let (address, output) = listening(&mut child).await?;
                (child, Reach::Peer(address), Some(output), None)
            }
            Side::Client => {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                let mut url = format!("ws://{}/control", listener.local_addr()?);
                let mut page = None;
                if let Program::Chromium(file) = peer.program {
                    let served = Page::serve(file).await?;
                    url = format!("http://{}/?{url}", served.address());
                    page = Some(served);
                }
                let child = Child::start(peer.command(side, Some(&url), path), log)?;
                (child, Reach::Us(listener), None, page)
            }
        };
        let config = Config::builder()
            .heartbeat(HeartbeatConfig::off())
            .build()?;
        let opening = timeout(START, reach.connection("control", config));
        let ws = opening.await.map_err(|_| "does not come up in time")??.ws;
        // A task of its own answers the pings of the peer's keepalive.
        let (receiver, sender) = ws.spawn(16);
        Ok(Self {
            receiver,
            sender,
            reach,
            count: 0,
            is_hasty: peer.is_hasty,
            _child: child,
            _output: output,
            _profile: profile,
            _page: page,
        })
    }

    /// Returns which end the peer is.
    #[cfg(feature = "deflate")]
    pub(crate) const fn side(&self) -> Side {
        match self.reach {
            Reach::Peer(_) => Side::Server,
            Reach::Us(_) => Side::Client,
        }
    }

    /// Asks for the peer's version.
    pub(crate) async fn version(&mut self) -> Result<String, Fault> {
        self.sender.send("version").await?;
        self.answer().await
    }

    /// Opens a connection with this configuration.
    pub(crate) async fn connection(&mut self, config: Config) -> Result<Line, Fault> {
        let name = self.call().await?;
        let mut line = self.reach.connection(&name, config).await?;
        if self.is_hasty {
            line.echo("ready").await?;
        }
        Ok(line)
    }

    /// Opens a connection as far as TCP, for one of the other adapters: its name, and the request
    /// with which a client goes on.
    pub(crate) async fn stream(
        &mut self,
    ) -> Result<(String, Option<ClientRequest>, TcpStream), Fault> {
        let name = self.call().await?;
        match &self.reach {
            Reach::Peer(address) => {
                let request = ClientRequest::new(&address.to_string(), &format!("/{name}"))?;
                Ok((name, Some(request), TcpStream::connect(address).await?))
            }
            Reach::Us(listener) => Ok((name, None, listener.accept().await?.0)),
        }
    }

    /// Has a client open its next connection, and returns the name of it.
    async fn call(&mut self) -> Result<String, Fault> {
        self.count += 1;
        let name = self.count.to_string();
        if let Reach::Us(listener) = &self.reach {
            let url = format!("open ws://{}/{name}", listener.local_addr()?);
            self.sender.send(url).await?;
        }
        Ok(name)
    }

    /// Waits until the peer knows how this connection ended, and says it: code, space, reason.
    pub(crate) async fn closed(&mut self, name: &str) -> Result<String, Fault> {
        loop {
            self.sender.send(format!("closed {name}")).await?;
            let answer = self.answer().await?;
            if answer != "open" {
                return Ok(answer);
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn answer(&mut self) -> Result<String, Fault> {
        let message = self
            .receiver
            .next()
            .await
            .ok_or("the control connection is gone")??;
        Ok(message
            .as_text()
            .ok_or("an answer that is no text")?
            .to_owned())
    }
}

impl Reach {
    async fn connection(&self, name: &str, config: Config) -> Result<Line, Fault> {
        let target = format!("/{name}");
        match self {
            Self::Peer(address) => {
                let stream = tapped(TcpStream::connect(address).await?, &config);
                let look = stream.look();
                let request = ClientRequest::new(&address.to_string(), &target)?;
                let ws = wspulse_tokio::client(stream, &request, config).await?;
                Ok(Line::new(name, ws, look))
            }
            Self::Us(listener) => {
                let (stream, _) = listener.accept().await?;
                let stream = tapped(stream, &config);
                let look = stream.look();
                let elsewhere = Reject::new(404)?;
                let accepting = wspulse_tokio::accept_with(stream, config, |request| {
                    match request.target() == target {
                        true => Ok(Accept::new()),
                        false => Err(elsewhere),
                    }
                });
                Ok(Line::new(name, accepting.await?, look))
            }
        }
    }
}

/// Sets the socket up as the adapter would, which does not see it through the tap.
fn tapped(stream: TcpStream, config: &Config) -> Tap<TcpStream> {
    wspulse_drive::tune(&stream, config);
    Tap::new(stream)
}

/// Waits for the line in which a server says where it listens.
async fn listening(child: &mut Child) -> Result<(SocketAddr, BufReader<ChildStdout>), Fault> {
    let output = child.take_output().ok_or("its output was taken before")?;
    let mut output = BufReader::new(ChildStdout::from_std(output)?);
    let mut line = String::new();
    let reading = timeout(START, output.read_line(&mut line)).await;
    reading.map_err(|_| "does not listen in time")??;
    let address = line.trim().strip_prefix("listening on ");
    Ok((
        address.ok_or("does not say where it listens")?.parse()?,
        output,
    ))
}

/// A connection of ours to the peer.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) ws: WebSocket<Tap<TcpStream>>,
    /// What passes on the wire.
    pub(crate) look: Look,
    /// The payloads of the pings and pongs that came while a message was awaited.
    pub(crate) pings: Vec<Vec<u8>>,
    pub(crate) pongs: Vec<Vec<u8>>,
}

impl Line {
    fn new(name: &str, ws: WebSocket<Tap<TcpStream>>, look: Look) -> Self {
        Self {
            name: name.to_owned(),
            ws,
            look,
            pings: Vec::new(),
            pongs: Vec::new(),
        }
    }

    /// Waits for the next event, but notes pings and pongs by the way.
    pub(crate) async fn event(&mut self) -> Result<Event, Fault> {
        loop {
            match self
                .ws
                .next_event()
                .await
                .ok_or("no event after the last")?
            {
                Event::Ping(payload) => self.pings.push(payload.to_vec()),
                Event::Pong(payload) => self.pongs.push(payload.to_vec()),
                Event::Suspect | Event::Recovered => {}
                other => return Ok(other),
            }
        }
    }

    pub(crate) async fn message(&mut self) -> Result<Message, Fault> {
        match Message::try_from(self.event().await?) {
            Ok(message) => Ok(message),
            Err(Event::Closed(closed)) => Err(format!("it ended: {closed}").into()),
            Err(Event::Closing(close)) => {
                Err(format!("the peer closed: {} {}", close.code, close.reason).into())
            }
            Err(other) => Err(format!("no message, but {other:?}").into()),
        }
    }

    /// Waits for the echo of this message.
    pub(crate) async fn expect(&mut self, message: &Message) -> Result<(), Fault> {
        let echo = self.message().await?;
        if echo == *message {
            return Ok(());
        }
        Err(format!("sent {message:?}, got {echo:?}").into())
    }

    pub(crate) async fn echo(&mut self, message: impl Into<Message>) -> Result<(), Fault> {
        let message = message.into();
        self.ws.send(message.clone()).await?;
        self.expect(&message).await
    }
}

/// A browser's folder, removed with it.
#[derive(Debug)]
struct Profile(PathBuf);

impl Profile {
    fn new() -> io::Result<Self> {
        let name = format!("wspulse-interop-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How long a peer may take to come up: a browser or a compiler on a busy machine.
const START: Duration = Duration::from_secs(40);
