//! tungstenite: `read` and `write` until there is nothing more to read, then `flush`.

use std::io;

use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tungstenite::{Error, Message};

use super::case::Case;
use super::{Flush, HELLO, Pair, PairEnd, Server, ServerEnd};

/// An echo server.
#[derive(Debug)]
pub struct Tungstenite(WebSocket<ServerEnd>);

impl Server for Tungstenite {
    const NAME: &'static str = "tungstenite";

    fn new(end: ServerEnd, _: &Case) -> Self {
        Self(WebSocket::from_raw_socket(end, Role::Server, None))
    }

    fn turn(&mut self) {
        loop {
            match self.0.read() {
                Ok(message) => self.0.write(message).expect("a message is taken"),
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        self.0.flush().expect("memory takes all");
    }
}

/// A client and a server.
#[derive(Debug)]
pub struct TungstenitePair {
    client: WebSocket<PairEnd>,
    server: WebSocket<PairEnd>,
}

impl Pair for TungstenitePair {
    const NAME: &'static str = "tungstenite";

    fn new(client: PairEnd, server: PairEnd) -> Self {
        // Its read buffer is filled with zeros before a read; the usual 128 KiB would be most of
        // the time where messages come one by one, and gain nothing where they come together.
        let config = WebSocketConfig::default().read_buffer_size(4 << 10);
        Self {
            client: WebSocket::from_raw_socket(client, Role::Client, Some(config)),
            server: WebSocket::from_raw_socket(server, Role::Server, Some(config)),
        }
    }

    fn send(&mut self, count: usize, flush: Flush) {
        for _ in 0..count {
            let message = Message::Text(HELLO.into());
            write(&mut self.client, message, flush);
        }
        self.client.flush().expect("memory takes all");
    }

    fn echo(&mut self, count: usize, flush: Flush) {
        for _ in 0..count {
            let message = self.server.read().expect("a message");
            write(&mut self.server, message, flush);
        }
        self.server.flush().expect("memory takes all");
    }

    fn receive(&mut self, count: usize, mut see: impl FnMut(&[u8])) {
        for _ in 0..count {
            match self.client.read().expect("a message") {
                Message::Text(text) => see(text.as_bytes()),
                other => panic!("{other:?}"),
            }
        }
    }
}

fn write(socket: &mut WebSocket<PairEnd>, message: Message, flush: Flush) {
    match flush {
        Flush::Each => socket.send(message),
        Flush::Together => socket.write(message),
    }
    .expect("a message is taken");
}
