//! fastwebsockets: `read_frame` and `write_frame`, which writes each frame at once.
//!
//! Frames are taken as they are, without `FragmentCollector`: none here is a fragment, and it is
//! faster so.

use std::pin::Pin;
use std::task::{Context, Waker};

use fastwebsockets::{Frame, Payload, Role, WebSocket};

use super::case::Case;
use super::polled::ready;
use super::{Flush, HELLO, Pair, PairEnd, Server, ServerEnd};

/// An echo server. `read_frame` must not be dropped inside a frame, so one future lives as long
/// as the server.
pub struct Fastwebsockets(Pin<Box<dyn Future<Output = ()>>>);

impl Server for Fastwebsockets {
    const NAME: &'static str = "fastwebsockets";

    fn new(end: ServerEnd, _: &Case) -> Self {
        let mut socket = WebSocket::after_handshake(end, Role::Server);
        Self(Box::pin(async move {
            loop {
                let frame = socket.read_frame().await.expect("a frame");
                socket.write_frame(answer(frame)).await.expect("taken");
            }
        }))
    }

    fn turn(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        assert!(self.0.as_mut().poll(&mut context).is_pending());
    }
}

impl std::fmt::Debug for Fastwebsockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fastwebsockets").finish_non_exhaustive()
    }
}

/// A client and a server.
pub struct FastwebsocketsPair {
    client: WebSocket<PairEnd>,
    server: WebSocket<PairEnd>,
}

impl Pair for FastwebsocketsPair {
    const NAME: &'static str = "fastwebsockets";

    fn new(client: PairEnd, server: PairEnd) -> Self {
        Self {
            client: WebSocket::after_handshake(client, Role::Client),
            server: WebSocket::after_handshake(server, Role::Server),
        }
    }

    fn send(&mut self, count: usize, _: Flush) {
        ready(async {
            for _ in 0..count {
                let frame = Frame::text(Payload::Borrowed(HELLO.as_bytes()));
                self.client.write_frame(frame).await.expect("taken");
            }
        });
    }

    fn echo(&mut self, count: usize, _: Flush) {
        ready(async {
            for _ in 0..count {
                let frame = self.server.read_frame().await.expect("a frame");
                self.server.write_frame(answer(frame)).await.expect("taken");
            }
        });
    }

    fn receive(&mut self, count: usize, mut see: impl FnMut(&[u8])) {
        ready(async {
            for _ in 0..count {
                see(&self.client.read_frame().await.expect("a frame").payload);
            }
        });
    }
}

impl std::fmt::Debug for FastwebsocketsPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FastwebsocketsPair").finish_non_exhaustive()
    }
}

/// A frame that was read keeps the mask it came with, which a server must not send.
fn answer(frame: Frame<'_>) -> Frame<'_> {
    Frame::new(frame.fin, frame.opcode, None, frame.payload)
}
