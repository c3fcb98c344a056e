//! wspulse: the drive loop of its adapters, with the default heartbeat.

use std::sync::Arc;
use std::time::Duration;

use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{
    BufferPool, ByteString, Config, Connection, Event, Instant, Message, Role, Seed, SendError,
};

use super::case::Case;
use super::stream::{End, READ_SIZE, Sink, Source};
use super::{Flush, HELLO, Pair, PairEnd, Server, ServerEnd};

/// An echo server.
#[derive(Debug)]
pub struct Wspulse {
    driven: Driven,
    end: ServerEnd,
}

impl Server for Wspulse {
    const NAME: &'static str = "wspulse";

    fn new(end: ServerEnd, case: &Case) -> Self {
        let size = case.size as u64;
        let config = Config::builder()
            .max_frame_size(size.max(16 << 20))
            .max_message_size(size.max(16 << 20));
        let driven = Driven::new(Role::Server, config.build().expect("a valid configuration"));
        Self { driven, end }
    }

    fn turn(&mut self) {
        let Self { driven, end } = self;
        driven.read(end, |driven, event| {
            let message = Message::try_from(event).expect("a message");
            driven.send(end, message);
        });
        driven.write(end);
    }
}

/// A client and a server.
#[derive(Debug)]
pub struct WspulsePair {
    client: (Driven, PairEnd),
    server: (Driven, PairEnd),
}

impl Pair for WspulsePair {
    const NAME: &'static str = "wspulse";

    fn new(client: PairEnd, server: PairEnd) -> Self {
        Self {
            client: (Driven::new(Role::Client, Config::default()), client),
            server: (Driven::new(Role::Server, Config::default()), server),
        }
    }

    fn send(&mut self, count: usize, flush: Flush) {
        let (client, end) = &mut self.client;
        for _ in 0..count {
            client.send(end, Message::Text(ByteString::from_static(HELLO)));
            if flush == Flush::Each {
                client.write(end);
            }
        }
        client.write(end);
    }

    fn echo(&mut self, count: usize, flush: Flush) {
        let (server, end) = &mut self.server;
        let mut echoed = 0;
        while echoed < count {
            server.read(end, |server, event| {
                server.send(end, Message::try_from(event).expect("a message"));
                echoed += 1;
                if flush == Flush::Each {
                    server.write(end);
                }
            });
            server.write(end);
        }
    }

    fn receive(&mut self, count: usize, mut see: impl FnMut(&[u8])) {
        let (client, end) = &mut self.client;
        let mut received = 0;
        while received < count {
            client.read(end, |_, event| {
                see(Message::try_from(event).expect("a message").as_bytes());
                received += 1;
            });
        }
    }
}

/// A server that pings and a client that answers.
#[derive(Debug)]
pub struct Heartbeats {
    client: (Driven, PairEnd),
    server: (Driven, PairEnd),
}

impl Heartbeats {
    /// Begins after the opening handshake.
    pub fn new(client: PairEnd, server: PairEnd) -> Self {
        let silent = Config::builder().heartbeat(HeartbeatConfig::off()).build();
        let silent = silent.expect("a valid configuration");
        Self {
            client: (Driven::new(Role::Client, silent), client),
            server: (Driven::new(Role::Server, Config::default()), server),
        }
    }

    /// Lets time pass until the server has pinged once and has read the pong.
    pub fn round(&mut self) {
        let (client, client_end) = &mut self.client;
        let (server, server_end) = &mut self.server;
        while !server.connection.wants_write() {
            let deadline = server.connection.poll_timeout().expect("a heartbeat");
            server.now = deadline;
            server.connection.handle_would_block(deadline);
            server.connection.handle_timeout(deadline);
        }
        server.write(server_end);
        client.now = server.now;
        client.read(client_end, |_, event| panic!("{event:?}"));
        client.write(client_end);
        server.read(server_end, |_, event| panic!("{event:?}"));
    }
}

/// A connection, and what its owner keeps beside it.
#[derive(Debug)]
struct Driven {
    connection: Connection,
    buffer: Box<[u8]>,
    pool: BufferPool,
    now: Instant,
}

impl Driven {
    fn new(role: Role, config: Config) -> Self {
        let now = Instant::ZERO;
        let seed = Seed::predictable_for_tests(1);
        Self {
            connection: Connection::from_upgrade(role, Arc::new(config), seed, now),
            buffer: vec![0; READ_SIZE].into_boxed_slice(),
            pool: BufferPool::new(),
            now,
        }
    }

    /// Reads once and hands over all of it, with the events on the way.
    fn read<I: Source, O: Sink>(
        &mut self,
        end: &End<I, O>,
        mut handle: impl FnMut(&mut Self, Event),
    ) {
        // The loop would ask its clock once a read.
        self.now = self.now.saturating_add(Duration::from_micros(1));
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut input = end.read_into(&mut buffer);
        self.pool.lend(&mut self.connection);
        while let Some(event) = self.connection.next_event(self.now, &mut input) {
            if BufferPool::may_keep(&event) {
                self.pool.keep(&event);
            }
            handle(self, event);
        }
        self.buffer = buffer;
    }

    /// Sends; a full queue is written out first.
    fn send<I: Source, O: Sink>(&mut self, end: &End<I, O>, message: Message) {
        match self.connection.send(message) {
            Ok(()) => {}
            Err(SendError::Full(message)) => {
                self.write(end);
                self.connection.send(message).expect("there is room");
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Writes all that is lent.
    fn write<I: Source, O: Sink>(&mut self, end: &End<I, O>) {
        while let Some(transmit) = self.connection.poll_transmit() {
            let count = transmit.len();
            transmit.chunks().for_each(|chunk| end.output.put(chunk));
            self.connection.handle_transmitted(self.now, count);
        }
    }
}
