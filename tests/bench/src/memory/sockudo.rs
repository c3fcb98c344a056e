//! sockudo-ws: its stream, fed and flushed as `forward` does, and its `Protocol` alone, which does
//! not know of streams and is the nearest relative of wspulse's core.
//!
//! Its own timers are off: they would need a runtime.

use bytes::{Bytes, BytesMut};
use sockudo_ws::protocol::Protocol;
use sockudo_ws::{Config, Message, Role, WebSocketStream};

use super::case::Case;
use super::polled::{feed, flush, next};
use super::stream::{READ_SIZE, Sink, Source};
use super::{Flush, HELLO, Pair, PairEnd, Server, ServerEnd};

/// An echo server.
pub struct Sockudo(WebSocketStream<ServerEnd>);

impl Server for Sockudo {
    const NAME: &'static str = "sockudo-ws";

    fn new(end: ServerEnd, _: &Case) -> Self {
        Self(WebSocketStream::server(end, config()))
    }

    fn turn(&mut self) {
        while let Some(message) = next(&mut self.0) {
            feed(&mut self.0, message);
        }
        flush(&mut self.0);
    }
}

impl std::fmt::Debug for Sockudo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sockudo").finish_non_exhaustive()
    }
}

/// An echo server made of `Protocol`, which validates text here as it does in the stream.
pub struct SockudoProtocol {
    protocol: Protocol,
    end: ServerEnd,
    input: BytesMut,
    output: BytesMut,
    messages: Vec<Message>,
}

impl Server for SockudoProtocol {
    const NAME: &'static str = "sockudo-ws Protocol";

    fn new(end: ServerEnd, _: &Case) -> Self {
        let config = config();
        Self {
            protocol: Protocol::new(Role::Server, config.max_frame_size, config.max_message_size),
            end,
            input: BytesMut::with_capacity(READ_SIZE),
            output: BytesMut::with_capacity(READ_SIZE),
            messages: Vec::new(),
        }
    }

    fn turn(&mut self) {
        let Self { input, output, .. } = self;
        input.reserve(READ_SIZE);
        self.end
            .input
            .take(READ_SIZE, |bytes| input.extend_from_slice(bytes));
        self.protocol
            .process_into(input, &mut self.messages)
            .expect("messages");
        for message in self.messages.drain(..) {
            self.protocol
                .encode_message(&message, output)
                .expect("a message is taken");
        }
        self.end.output.put(output);
        output.clear();
    }
}

impl std::fmt::Debug for SockudoProtocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SockudoProtocol").finish_non_exhaustive()
    }
}

/// A client and a server.
pub struct SockudoPair {
    client: WebSocketStream<PairEnd>,
    server: WebSocketStream<PairEnd>,
}

impl Pair for SockudoPair {
    const NAME: &'static str = "sockudo-ws";

    fn new(client: PairEnd, server: PairEnd) -> Self {
        Self {
            client: WebSocketStream::client(client, config()),
            server: WebSocketStream::server(server, config()),
        }
    }

    fn send(&mut self, count: usize, policy: Flush) {
        for _ in 0..count {
            let hello = Bytes::from_static(HELLO.as_bytes());
            feed(&mut self.client, Message::Text(hello));
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
            see(message.as_bytes());
        }
    }
}

impl std::fmt::Debug for SockudoPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SockudoPair").finish_non_exhaustive()
    }
}

fn config() -> Config {
    Config::builder()
        .auto_ping(false)
        .ping_interval(0)
        .pong_timeout(0)
        .idle_timeout(0)
        .build()
}
