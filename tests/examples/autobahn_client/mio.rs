//! One thread for all cases.

use std::collections::HashMap;
use std::sync::Arc;

use wspulse_core::{Closed, Message, SendError};
use wspulse_mio::{ConnectionId, Connections, Error, EventLoop, Handler};

use crate::{Server, is_on_purpose, say_failed};

pub(crate) fn run(server: Server) -> Result<usize, Error> {
    let client = Client {
        server,
        stage: Stage::Counting,
        count: 0,
        next: 1,
        cases: HashMap::new(),
        outcome: Ok(()),
    };
    let mut event_loop = EventLoop::new(client)?;
    let url = event_loop.handler().server.count();
    let config = Arc::clone(&event_loop.handler().server.config);
    event_loop.connections().connect(&url, config)?;
    event_loop.run()?;
    let client = event_loop.into_handler();
    client.outcome.map(|()| client.count)
}

struct Client {
    server: Server,
    stage: Stage,
    count: usize,
    /// The case that is run next.
    next: usize,
    cases: HashMap<ConnectionId, Case>,
    outcome: Result<(), Error>,
}

enum Stage {
    Counting,
    Running,
    Reporting,
}

struct Case {
    number: usize,
    /// An echo that the connection does not take yet; until then it is paused.
    waiting: Option<Message>,
}

impl Client {
    /// Connects for as many cases as there are places, and for the report behind the last.
    fn go_on(&mut self, connections: &mut Connections) {
        while self.cases.len() < self.server.parallel && self.next <= self.count {
            let (number, waiting) = (self.next, None);
            self.next += 1;
            let config = Arc::clone(&self.server.config);
            match connections.connect(&self.server.case(number), config) {
                Ok(id) => drop(self.cases.insert(id, Case { number, waiting })),
                Err(error) => say_failed(number, &error),
            }
        }
        if self.cases.is_empty() {
            self.stage = Stage::Reporting;
            let config = Arc::clone(&self.server.config);
            if let Err(error) = connections.connect(&self.server.report(), config) {
                self.end(connections, Err(error));
            }
        }
    }

    fn end(&mut self, connections: &mut Connections, outcome: Result<(), Error>) {
        self.outcome = outcome;
        connections.stop();
    }

    fn echo(&mut self, connections: &mut Connections, id: ConnectionId, message: Message) {
        let Some(case) = self.cases.get_mut(&id) else {
            return;
        };
        // What is not taken at the end is no loss: it is told how it ended.
        if let Err(SendError::Full(message)) = connections.send(id, message) {
            case.waiting = Some(message);
            connections.pause(id);
        }
    }
}

impl Handler for Client {
    fn message(&mut self, connections: &mut Connections, id: ConnectionId, message: Message) {
        if let Stage::Counting = self.stage {
            let number = message.as_text().and_then(|text| text.parse().ok());
            self.count = number.unwrap_or(self.count);
        } else {
            self.echo(connections, id, message);
        }
    }

    fn writable(&mut self, connections: &mut Connections, id: ConnectionId) {
        let waiting = self.cases.get_mut(&id);
        if let Some(message) = waiting.and_then(|case| case.waiting.take()) {
            connections.resume(id);
            self.echo(connections, id, message);
        }
    }

    fn closed(
        &mut self,
        connections: &mut Connections,
        id: ConnectionId,
        end: Result<Box<Closed>, Error>,
    ) {
        match self.stage {
            Stage::Counting => match end {
                Ok(_) => {
                    self.stage = Stage::Running;
                    self.go_on(connections);
                }
                Err(error) => self.end(connections, Err(error)),
            },
            Stage::Running => {
                let case = self.cases.remove(&id);
                if let (Some(case), Err(error)) = (case, end)
                    && !is_on_purpose(&error)
                {
                    say_failed(case.number, &error);
                }
                self.go_on(connections);
            }
            Stage::Reporting => self.end(connections, end.map(drop)),
        }
    }
}
