//! An echo server on one thread: `cargo run -p wspulse-mio --example echo [ADDRESS]`.

use std::time::Duration;

use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Closed, Config, Message, SendError};
use wspulse_mio::{ConnectionId, Connections, Error, EventLoop, Handler, Listener};

#[derive(Default)]
struct Echo {
    /// Answers for peers that do not read; each is paused until it does.
    waiting: std::collections::HashMap<ConnectionId, Message>,
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

    fn closed(&mut self, _: &mut Connections, id: ConnectionId, end: Result<Box<Closed>, Error>) {
        self.waiting.remove(&id);
        match end {
            Ok(_) => println!("{id} closed"),
            Err(error) => println!("{id}: {error}"),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:9001");
    // Ping after 5 s of silence; dead 10 s after an unanswered ping.
    let heartbeat = HeartbeatConfig::ping(Duration::from_secs(5), Duration::from_secs(10));
    let config = Config::builder().heartbeat(heartbeat).build()?;

    let mut server = EventLoop::new(Echo::default())?;
    let listener = Listener::bind(address.parse()?)?;
    if let Some(address) = listener.local_addr() {
        println!("listening on ws://{address}/");
    }
    server.connections().listen(listener, config)?;
    server.run()?;
    Ok(())
}
