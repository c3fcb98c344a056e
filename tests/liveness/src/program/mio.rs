//! wspulse-mio: a handler in the adapter's own loop.

use std::thread;
use std::time::Instant;

use wspulse_core::handshake::Response;
use wspulse_core::{CloseCode, Closed, Message, SendError};
use wspulse_mio::{ConnectOptions, ConnectionId, Connections, Error, EventLoop, Handler};

use super::{End, Orders, Plan, accept_one, answer};
use crate::scenario::App;

pub(super) fn run(orders: &Orders) -> End {
    watch(orders).unwrap_or_else(End::from)
}

fn watch(orders: &Orders) -> Result<End, Error> {
    let mut event_loop = EventLoop::new(Application {
        orders: orders.clone(),
        plan: orders.plan(),
        wake: None,
        away: false,
        id: None,
        end: None,
    })?;
    let config = orders.config();
    match orders.address {
        Some(address) => {
            let options = ConnectOptions::new(config);
            event_loop
                .connections()
                .connect(&format!("ws://{address}/"), options)?;
        }
        None => {
            let stream = wspulse_mio::Socket::try_from(accept_one()?)?;
            event_loop.connections().accept(stream, config)?;
        }
    }
    loop {
        event_loop.turn(None)?;
        if let Some(end) = event_loop.handler().end.take() {
            return Ok(end);
        }
    }
}

/// The application, for its one connection.
#[derive(Debug)]
struct Application {
    orders: Orders,
    plan: Plan,
    /// When it has something else to do than to receive.
    wake: Option<Instant>,
    /// Input is held.
    away: bool,
    id: Option<ConnectionId>,
    end: Option<End>,
}

impl Application {
    fn look(&mut self, connections: &mut Connections) {
        let (Some(id), Some(wake)) = (self.id, self.wake) else {
            return;
        };
        let now = Instant::now();
        if now >= wake {
            self.wake = match self.plan.app {
                App::Away { .. } if self.away => {
                    self.away = false;
                    connections.resume(id);
                    None
                }
                App::Away { to, .. } => {
                    self.away = true;
                    connections.pause(id);
                    Some(self.plan.moment(to))
                }
                App::Blocks { to, .. } => {
                    thread::sleep(self.plan.moment(to).saturating_duration_since(now));
                    None
                }
                App::Closes(_) => {
                    // How it goes on, `closed` says.
                    let _ = connections.close(id, CloseCode::NORMAL, "");
                    None
                }
                App::Ticks | App::TicksOnly => {
                    self.send(connections, id, Message::from("tick"));
                    Some(now + self.plan.pace())
                }
                _ => None,
            };
        }
        connections.set_timeout(self.wake);
    }

    fn send(&mut self, connections: &mut Connections, id: ConnectionId, message: Message) -> bool {
        match connections.send(id, message) {
            Ok(()) => true,
            // There is no room: `writable` goes on. It is over: `closed` says why.
            Err(SendError::Full(_) | SendError::NotOpen(_)) => false,
            Err(error) => {
                self.end = Some(End::Error(Error::Send(error)));
                false
            }
        }
    }

    fn push(&mut self, connections: &mut Connections, id: ConnectionId) {
        if let App::Pushes(size) = self.plan.app {
            while self.send(connections, id, vec![7; size].into()) {}
        }
    }
}

impl Handler for Application {
    fn open(&mut self, connections: &mut Connections, id: ConnectionId, _: Option<&Response>) {
        self.id = Some(id);
        self.plan = self.orders.plan();
        self.wake = match self.plan.app {
            App::Ticks => Some(Instant::now()),
            App::TicksOnly => {
                connections.pause(id);
                Some(Instant::now())
            }
            App::Sends(size) => {
                self.send(connections, id, vec![7; size].into());
                None
            }
            _ => self.plan.first(),
        };
        self.push(connections, id);
        self.look(connections);
    }

    fn message(&mut self, connections: &mut Connections, id: ConnectionId, message: Message) {
        if let Some(answer) = answer(&message) {
            self.send(connections, id, answer);
        }
    }

    fn writable(&mut self, connections: &mut Connections, id: ConnectionId) {
        self.push(connections, id);
    }

    fn closed(&mut self, _: &mut Connections, _: ConnectionId, end: Result<Box<Closed>, Error>) {
        self.end = Some(match end {
            Ok(_) => End::Clean,
            Err(error) => End::Error(error),
        });
    }

    fn timeout(&mut self, connections: &mut Connections) {
        self.look(connections);
    }
}
