//! The load: thousands of raw peers on one epoll, in a process of its own.

use std::env;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::{self, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use wspulse_core::Role;
use wspulse_tests::net::process::raise_descriptor_limit;
use wspulse_tests::wire::{Wire, frame, opcode};

use crate::SOME_MORE;
use crate::held::Held;
use crate::spread::Spread;

/// Tells a process that it is the load, and its orders.
pub(crate) const ORDERS: &str = "WSPULSE_LOAD";

/// What the load does: connects all peers, waits for an interval, and counts pings for the span.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Orders {
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) interval: Duration,
    pub(crate) span: Duration,
}

impl Orders {
    pub(crate) fn to_line(self) -> String {
        format!(
            "{} {} {} {}",
            self.address,
            self.connections,
            self.interval.as_millis(),
            self.span.as_millis()
        )
    }

    fn from_line(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let [address, connections, interval, span] = words[..] else {
            return None;
        };
        Some(Self {
            address: address.parse().ok()?,
            connections: connections.parse().ok()?,
            interval: Duration::from_millis(interval.parse().ok()?),
            span: Duration::from_millis(span.parse().ok()?),
        })
    }
}

/// Carries out the orders of a process that is the load; `None` if it is none.
pub(crate) fn obey() -> Option<ExitCode> {
    let line = env::var(ORDERS).ok()?;
    thread::spawn(|| {
        let _ = io::stdin().read(&mut [0]);
        process::exit(1);
    });
    let done = Orders::from_line(&line)
        .ok_or(line)
        .and_then(|orders| run(&orders));
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {error}");
            ExitCode::FAILURE
        }
    })
}

fn run(orders: &Orders) -> Result<(), String> {
    raise_descriptor_limit(orders.connections + SOME_MORE)?;
    let held = Held::start();
    let mut load = Load::new(orders).map_err(|error| error.to_string())?;
    load.open_all()?;
    println!("open");
    load.run_until(Instant::now() + orders.interval)?;
    println!("measuring");
    let began = Instant::now();
    load.spread = Some(Spread::new(began, orders.interval, orders.span));
    load.run_until(began + orders.span)?;
    let spread = load.spread.take().ok_or("no spread")?;
    println!("measured {} {}", spread.total(), spread.fullest());
    for full in spread.full(held) {
        println!("full {}", full.to_line());
    }
    println!("told {:.3}", spread.mean());
    // Nobody ends before the server's side has looked.
    load.run_until(Instant::now() + Duration::from_secs(60))
}

struct Load {
    poll: Poll,
    peers: Vec<Peer>,
    connections: usize,
    address: SocketAddr,
    open: usize,
    spread: Option<Spread>,
}

struct Peer {
    stream: TcpStream,
    wire: Wire,
    has_asked: bool,
    is_open: bool,
}

impl Load {
    fn new(orders: &Orders) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            peers: Vec::with_capacity(orders.connections),
            connections: orders.connections,
            address: orders.address,
            open: 0,
            spread: None,
        })
    }

    fn open_all(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(50);
        while self.open < self.connections {
            while self.peers.len() < self.connections && self.peers.len() - self.open < ON_THE_WAY {
                self.connect().map_err(|error| error.to_string())?;
            }
            self.turn(Instant::now() + Duration::from_millis(100))?;
            if Instant::now() > deadline {
                let (open, all) = (self.open, self.connections);
                return Err(format!("{open} of {all} connections are open"));
            }
        }
        Ok(())
    }

    fn connect(&mut self) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.address)?;
        let token = Token(self.peers.len());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, token, interest)?;
        self.peers.push(Peer {
            stream,
            wire: Wire::after_head(Role::Server),
            has_asked: false,
            is_open: false,
        });
        Ok(())
    }

    fn run_until(&mut self, deadline: Instant) -> Result<(), String> {
        while Instant::now() < deadline {
            self.turn(deadline)?;
        }
        Ok(())
    }

    fn turn(&mut self, until: Instant) -> Result<(), String> {
        let mut events = Events::with_capacity(1024);
        let wait = until.saturating_duration_since(Instant::now());
        match self.poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            polled => polled.map_err(|error| error.to_string())?,
        }
        for event in &events {
            let Token(number) = event.token();
            let peer = &mut self.peers[number];
            let turn = peer.turn(event.is_writable(), self.address, self.spread.as_mut());
            let is_new = turn.map_err(|error| format!("peer {number}: {error}"))?;
            self.open += usize::from(is_new);
        }
        Ok(())
    }
}

impl Peer {
    /// Asks once it is connected, and answers pings; tells whether it is open only now.
    fn turn(
        &mut self,
        is_writable: bool,
        address: SocketAddr,
        mut spread: Option<&mut Spread>,
    ) -> Result<bool, String> {
        let said = |error: io::Error| error.to_string();
        if !self.has_asked && is_writable {
            if let Some(error) = self.stream.take_error().map_err(said)? {
                return Err(error.to_string());
            }
            self.has_asked = true;
            let request = format!(
                "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\
                 Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 Sec-WebSocket-Version: 13\r\n\r\n"
            );
            self.say(request.as_bytes())?;
        }
        let mut buffer = [0; 1024];
        let was_open = self.is_open;
        loop {
            let bytes = match self.stream.read(&mut buffer) {
                Ok(0) => return Err("the server ended it".to_owned()),
                Ok(count) => &buffer[..count],
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.to_string()),
            };
            let now = Instant::now();
            if !self.is_open && !bytes.starts_with(b"HTTP/1.1 101 ") {
                return Err(String::from_utf8_lossy(bytes).into_owned());
            }
            for seen in self.wire.push(bytes)? {
                if seen.opcode != opcode::PING {
                    return Err(format!("the server sent {seen:?}"));
                }
                if let Some(spread) = &mut spread {
                    spread.count(now);
                }
                self.say(&frame(Role::Client, opcode::PONG, &seen.payload))?;
            }
            self.is_open = true;
        }
        Ok(self.is_open && !was_open)
    }

    /// What a peer says is short, and its socket is never full.
    fn say(&mut self, bytes: &[u8]) -> Result<(), String> {
        match self.stream.write(bytes) {
            Ok(count) if count == bytes.len() => Ok(()),
            other => Err(format!("of {} bytes went {other:?}", bytes.len())),
        }
    }
}

/// Peers that are not open yet, at once.
const ON_THE_WAY: usize = 200;
