//! The connection in an event loop of its own.

use std::sync::mpsc::{self, Receiver};
use std::thread;

use wspulse_core::handshake::Response;
use wspulse_core::{CloseCode, Closed, Event, Message, SendError};
use wspulse_drive::ConnectOptions;
use wspulse_mio::{ConnectionId, Connections, Error, EventLoop, HandleError, Handler};

use super::report::{Next, Report};
use super::{Options, RETRY, stdin};
use crate::{Failure, stop};

pub(super) fn run(
    options: &Options,
    connect: ConnectOptions,
    report: Report,
) -> Result<(), Failure> {
    let (line, lines) = mpsc::sync_channel(16);
    let client = Client {
        url: options.url.clone(),
        report,
        lines,
        waiting: None,
        is_open: false,
        has_closed: false,
        end: Ok(()),
    };
    let mut event_loop = EventLoop::new(client).map_err(Failure::failed)?;
    let id = event_loop
        .connections()
        .connect(&options.url, connect)
        .map_err(|error| Failure::connecting(&options.url, error))?;
    let handle = event_loop.handle();
    stop::on_request(move || {
        // Lines that wait may have filled the loop's queue for a moment.
        while let Err(HandleError::Full) =
            handle.run(move |client, connections| client.close(connections, id))
        {
            thread::sleep(RETRY);
        }
    })
    .map_err(Failure::failed)?;

    let handle = event_loop.handle();
    stdin::spawn(move |next| {
        // A loop whose queue is full has more than one call to take lines waiting.
        let is_taken = line.send(next).is_ok();
        let _ = handle.run(move |client, connections| client.send_lines(connections, id));
        is_taken
    });
    event_loop.run().map_err(Failure::failed)?;
    event_loop.into_handler().end
}

struct Client {
    url: String,
    report: Report,
    lines: Receiver<Option<Option<String>>>,
    /// A message that the connection does not take yet.
    waiting: Option<Message>,
    is_open: bool,
    /// We asked for the end of the open connection.
    has_closed: bool,
    end: Result<(), Failure>,
}

impl Client {
    /// What the server still has to say is received.
    fn close(&mut self, connections: &mut Connections, id: ConnectionId) {
        self.has_closed |= self.is_open;
        let _ = connections.close(id, CloseCode::NORMAL, "");
    }

    /// Sends as many lines as the connection takes.
    fn send_lines(&mut self, connections: &mut Connections, id: ConnectionId) {
        while self.is_open {
            let message = match self.waiting.take() {
                Some(message) => message,
                None => match self.lines.try_recv() {
                    Ok(Some(Some(line))) => line.into(),
                    Ok(Some(None)) => {
                        self.report.skipped();
                        continue;
                    }
                    Ok(None) => return self.close(connections, id),
                    Err(_) => return,
                },
            };
            match connections.send(id, message) {
                Ok(()) => {}
                Err(SendError::Full(message)) => {
                    self.waiting = Some(message);
                    return;
                }
                Err(_) => return, // it is closing, which is told in its own time
            }
        }
    }
}

impl Handler for Client {
    fn open(&mut self, connections: &mut Connections, id: ConnectionId, _: Option<&Response>) {
        self.is_open = true;
        self.report.open(&self.url);
        self.send_lines(connections, id);
    }

    fn message(&mut self, connections: &mut Connections, id: ConnectionId, message: Message) {
        if let Next::Close = self.report.message(&message) {
            self.close(connections, id);
        }
    }

    fn event(&mut self, connections: &mut Connections, id: ConnectionId, event: Event) {
        let snapshot = || connections.get(id).map(|ws| ws.snapshot());
        self.report.event(event, snapshot);
    }

    fn writable(&mut self, connections: &mut Connections, id: ConnectionId) {
        self.send_lines(connections, id);
    }

    fn closed(
        &mut self,
        connections: &mut Connections,
        _: ConnectionId,
        end: Result<Box<Closed>, Error>,
    ) {
        self.end = match end {
            Ok(closed) => self.report.closed(&closed),
            Err(error) if !self.is_open => Err(Failure::connecting(&self.url, error)),
            Err(Error::Closed(closed)) => self.report.closed(&closed),
            Err(error) if self.has_closed => {
                self.report.failed_after_close(&error);
                Ok(())
            }
            Err(error) => Err(self.report.failed(error)),
        };
        connections.stop();
    }
}
