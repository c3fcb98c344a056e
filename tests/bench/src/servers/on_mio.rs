//! wspulse on mio: its loop and a handler.

use std::collections::HashMap;
use std::io;
use std::net::TcpListener;

use wspulse_core::{Closed, Message, SendError};
use wspulse_mio::{ConnectionId, Connections, Error, EventLoop, Handler};

use super::Settings;

pub(super) fn serve(listener: TcpListener, settings: Settings) -> io::Result<()> {
    let mut server = EventLoop::new(Echo::default())?;
    let listener = mio::net::TcpListener::from_std(listener);
    server.connections().listen(listener, settings.config)?;
    server.run()
}

#[derive(Default)]
struct Echo {
    /// Answers for peers that do not read; each is paused until it does.
    waiting: HashMap<ConnectionId, Message>,
}

impl Handler for Echo {
    fn message(&mut self, connections: &mut Connections, id: ConnectionId, message: Message) {
        if let Err(SendError::Full(message)) = connections.send(id, message) {
            connections.pause(id);
            self.waiting.insert(id, message);
        }
    }

    fn writable(&mut self, connections: &mut Connections, id: ConnectionId) {
        if let Some(message) = self.waiting.remove(&id) {
            connections.resume(id);
            self.message(connections, id, message);
        }
    }

    fn closed(&mut self, _: &mut Connections, id: ConnectionId, _: Result<Box<Closed>, Error>) {
        self.waiting.remove(&id);
    }
}
