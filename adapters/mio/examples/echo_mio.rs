//! An echo server: `cargo run -p wspulse-mio --example echo_mio -- 127.0.0.1:9001`.

use std::collections::HashMap;
use std::env;
use std::time::Duration;

use wspulse_mio::heartbeat::HeartbeatConfig;
use wspulse_mio::{
    Closed, Config, ConnectionId, Connections, Error, EventLoop, Handler, Listener, Message,
    SendError,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Ping after 5 s of silence; dead 10 s after an unanswered ping.
    let heartbeat = HeartbeatConfig::ping(Duration::from_secs(5), Duration::from_secs(10));
    let config = Config::builder().heartbeat(heartbeat).build()?;

    let address = env::args().nth(1).unwrap_or("127.0.0.1:9001".into());
    let listener = Listener::bind(address.parse()?)?;
    if let Some(address) = listener.local_addr() {
        println!("listening on {address}");
    }
    let mut server = EventLoop::new(Echo::default())?;
    server.connections().listen(listener, config)?;
    server.run()?; // until somebody says `server.handle().stop()`, from any thread
    Ok(())
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

    fn closed(&mut self, _: &mut Connections, id: ConnectionId, end: Result<Box<Closed>, Error>) {
        self.waiting.remove(&id);
        match end {
            Ok(_) => println!("{id} closed"),
            Err(error) => println!("{id}: {error}"), // also a peer that is gone, with the reason
        }
    }
}
