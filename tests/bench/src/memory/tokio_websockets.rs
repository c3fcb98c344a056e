//! tokio-websockets: messages are fed until there is nothing more to read, then flushed, as
//! `forward` does.

use tokio_websockets::{ClientBuilder, Message, ServerBuilder, WebSocketStream};

use super::case::Case;
use super::polled::{feed, flush, next};
use super::{Flush, HELLO, Pair, PairEnd, Server, ServerEnd};

/// An echo server.
#[derive(Debug)]
pub struct TokioWebsockets(WebSocketStream<ServerEnd>);

impl Server for TokioWebsockets {
    const NAME: &'static str = "tokio-websockets";

    fn new(end: ServerEnd, _: &Case) -> Self {
        Self(ServerBuilder::new().serve(end))
    }

    fn turn(&mut self) {
        while let Some(message) = next(&mut self.0) {
            feed(&mut self.0, message);
        }
        flush(&mut self.0);
    }
}

/// A client and a server.
#[derive(Debug)]
pub struct TokioWebsocketsPair {
    client: WebSocketStream<PairEnd>,
    server: WebSocketStream<PairEnd>,
}

impl Pair for TokioWebsocketsPair {
    const NAME: &'static str = "tokio-websockets";

    fn new(client: PairEnd, server: PairEnd) -> Self {
        Self {
            client: ClientBuilder::new().take_over(client),
            server: ServerBuilder::new().serve(server),
        }
    }

    fn send(&mut self, count: usize, policy: Flush) {
        for _ in 0..count {
            feed(&mut self.client, Message::text(HELLO));
            if policy == Flush::Each {
                flush(&mut self.client);
            }
        }
        flush(&mut self.client);
    }

    fn echo(&mut self, count: usize, policy: Flush) {
        for _ in 0..count {
            let message = next(&mut self.server).expect("a message");
            feed(&mut self.server, message);
            if policy == Flush::Each {
                flush(&mut self.server);
            }
        }
        flush(&mut self.server);
    }

    fn receive(&mut self, count: usize, mut see: impl FnMut(&[u8])) {
        for _ in 0..count {
            let message = next(&mut self.client).expect("a message");
            see(message.as_payload());
        }
    }
}
