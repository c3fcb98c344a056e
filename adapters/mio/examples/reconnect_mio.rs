//! A client that comes back: `cargo run -p wspulse-mio --example reconnect_mio -- ws://127.0.0.1:9001/`.

use std::env;
use std::thread;
use std::time::{Duration, Instant};

use wspulse_mio::handshake::Response;
use wspulse_mio::{
    Clock, Closed, Config, ConnectionId, Connections, DownReason, Error, EventLoop, Handler,
    Message, Reconnect, ReconnectError, ReconnectEvent, ReconnectPolicy, SystemClock, WhileDown,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // While there is no connection, up to ten messages wait for the next one.
    let policy = ReconnectPolicy::default().while_down(WhileDown::Keep(10));
    let mut client = EventLoop::new(Client {
        url: env::args().nth(1).unwrap_or("ws://127.0.0.1:9001/".into()),
        reconnect: Reconnect::new(&policy)?,
        clock: SystemClock::start(),
        open: None,
        end: None,
    })?;
    client.connections().set_timeout(Some(Instant::now()));

    let handle = client.handle();
    thread::spawn(move || {
        for n in 1.. {
            // The loop runs this; it fails once the loop has ended.
            let _ = handle.run(move |client, connections| {
                client.send(connections, format!("message {n}"));
            });
            thread::sleep(Duration::from_secs(1));
        }
    });

    client.run()?;
    match client.into_handler().end {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

struct Client {
    url: String,
    /// When to connect, and what to keep until then.
    reconnect: Reconnect,
    clock: SystemClock,
    open: Option<ConnectionId>,
    end: Option<ReconnectError>,
}

impl Client {
    fn send(&mut self, connections: &mut Connections, message: String) {
        if let Err(error) = self.reconnect.keep(message.into()) {
            println!("not sent: {error}"); // which gives it back
        }
        self.hand_over(connections);
    }

    fn hand_over(&mut self, connections: &mut Connections) {
        if let Some(id) = self.open {
            self.reconnect
                .hand_over(|message| connections.send(id, message));
        }
    }

    fn down(&mut self, connections: &mut Connections, reason: DownReason) {
        let Some(generation) = self.reconnect.generation() else {
            return;
        };
        let now = self.clock.now();
        match self.reconnect.handle_down(now, generation, reason) {
            Some(ReconnectEvent::Down {
                reason, retry_in, ..
            }) => {
                println!("down: {reason}; again in {retry_in:.1?}");
                connections.set_timeout(Some(Instant::now() + retry_in));
            }
            Some(ReconnectEvent::GaveUp(error)) => {
                self.end = Some(error);
                connections.stop();
            }
            _ => {}
        }
    }
}

impl Handler for Client {
    /// It is time to connect.
    fn timeout(&mut self, connections: &mut Connections) {
        self.reconnect.begin(self.clock.now());
        if let Err(error) = connections.connect(&self.url, Config::default()) {
            self.down(connections, DownReason::Failed(error));
        }
    }

    fn open(&mut self, connections: &mut Connections, id: ConnectionId, _: Option<&Response>) {
        println!("open");
        self.open = Some(id);
        if let Some(generation) = self.reconnect.generation() {
            let now = self.clock.now();
            let first = vec!["subscribe: news".into()]; // before anything else, each time
            let _ = self.reconnect.handle_open(now, generation, first);
        }
        self.hand_over(connections);
    }

    fn message(&mut self, _: &mut Connections, _: ConnectionId, message: Message) {
        if let Some(text) = message.as_text() {
            println!("{text}");
        }
    }

    fn writable(&mut self, connections: &mut Connections, _: ConnectionId) {
        self.hand_over(connections);
    }

    fn closed(
        &mut self,
        connections: &mut Connections,
        _: ConnectionId,
        end: Result<Box<Closed>, Error>,
    ) {
        let reason = match (self.open.take(), end) {
            (_, Ok(closed)) | (Some(_), Err(Error::Closed(closed))) => DownReason::Ended(closed),
            (_, Err(error)) => DownReason::Failed(error),
        };
        self.down(connections, reason);
    }
}
