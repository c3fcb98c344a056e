//! One thread for all connections.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use wspulse_core::handshake::Response;
use wspulse_core::{Closed, Message, SendError};
use wspulse_mio::{ConnectionId, Connections, Error, EventLoop, Handler, Listener, ListenerId};

use super::Server;
use crate::{Failure, stop};

pub(super) fn run(server: Server) -> Result<(), Failure> {
    let server = Arc::new(server);
    let echo = Echo {
        server: Arc::clone(&server),
        open: HashMap::new(),
    };
    let mut event_loop = EventLoop::new(echo).map_err(Failure::failed)?;
    let (handle, patience) = (event_loop.handle(), server.patience());
    stop::on_request(move || handle.drain(Duration::ZERO, patience)).map_err(Failure::failed)?;

    let listener = bind(&server.addresses).map_err(|error| server.cannot_listen(error))?;
    let address = listener.local_addr();
    let connections = event_loop.connections();
    let config = Arc::clone(&server.config);
    let listening = match &server.tls {
        Some(tls) => connections.listen_tls(listener, Arc::clone(tls), config),
        None => connections.listen(listener, config),
    };
    listening.map_err(|error| server.cannot_listen(error))?;
    if let Some(address) = address {
        server.log.listening(address);
    }
    event_loop.run().map_err(Failure::failed)
}

/// Binds the first address that can be had.
fn bind(addresses: &[SocketAddr]) -> io::Result<Listener> {
    let mut failure = io::ErrorKind::NotFound.into();
    for address in addresses {
        match Listener::bind(*address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

struct Echo {
    server: Arc<Server>,
    open: HashMap<ConnectionId, Client>,
}

struct Client {
    address: SocketAddr,
    messages: u64,
    /// An answer that the connection does not take yet; until then it is paused.
    waiting: Option<Message>,
}

impl Echo {
    fn answer(&mut self, connections: &mut Connections, id: ConnectionId, message: Message) {
        let Some(client) = self.open.get_mut(&id) else {
            return;
        };
        match connections.send(id, message) {
            Ok(()) => client.messages += 1,
            Err(SendError::Full(message)) => {
                client.waiting = Some(message);
                connections.pause(id);
            }
            // It is closing, which is told in its own time.
            Err(_) => {}
        }
    }
}

impl Handler for Echo {
    fn open(&mut self, connections: &mut Connections, id: ConnectionId, _: Option<&Response>) {
        let socket = connections.get(id).map(|ws| ws.get_ref());
        if let Some(address) = socket.and_then(|socket| socket.peer_addr()) {
            let client = Client {
                address,
                messages: 0,
                waiting: None,
            };
            self.open.insert(id, client);
        }
    }

    fn message(&mut self, connections: &mut Connections, id: ConnectionId, message: Message) {
        self.answer(connections, id, message);
    }

    fn writable(&mut self, connections: &mut Connections, id: ConnectionId) {
        let waiting = self.open.get_mut(&id);
        if let Some(message) = waiting.and_then(|client| client.waiting.take()) {
            connections.resume(id);
            self.answer(connections, id, message);
        }
    }

    fn closed(&mut self, _: &mut Connections, id: ConnectionId, end: Result<Box<Closed>, Error>) {
        let why = match end {
            Ok(closed) => self.server.why(Ok(()), Some(&closed)),
            Err(error) => self.server.why(Err(error), None),
        };
        // One that never came through its handshakes is nobody yet.
        let client = self.open.remove(&id);
        let (address, messages) = client.map_or((None, 0), |c| (Some(c.address), c.messages));
        self.server.log.ended(address, &why, messages);
    }

    fn accept_failed(&mut self, _: &mut Connections, _: ListenerId, error: io::Error) {
        self.server.log.not_accepted(&error);
    }
}
