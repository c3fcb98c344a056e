//! The connection in an event loop of its own.

use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use wspulse_core::handshake::Response;
use wspulse_core::{CloseCode, Closed, Event, Message, SendError};
use wspulse_drive::ConnectOptions;
use wspulse_mio::{ConnectionId, Connections, Error, EventLoop, Handle, HandleError, Handler};

use super::report::{Next, Report};
use super::stdin::{self, Input};
use super::{LOOK, Options, RETRY};
use crate::{Failure, stop};

pub(super) fn run(
    options: &Options,
    connect: ConnectOptions,
    report: Report,
) -> Result<(), Failure> {
    let (line, lines) = mpsc::sync_channel(16);
    let (later, tasks) = mpsc::channel();
    let client = Client {
        url: options.url.clone(),
        report: report.clone(),
        lines,
        later,
        waiting: None,
        is_open: false,
        has_closed: false,
        end: Ok(()),
    };
    let mut event_loop = EventLoop::new(client).map_err(Failure::failed)?;
    let id = event_loop
        .connections()
        .connect(&options.url, connect)
        .map_err(|error| Failure::connecting(&options.url, &error))?;
    let handle = event_loop.handle();
    stop::on_request(move || close(&handle, id)).map_err(Failure::failed)?;

    let handle = event_loop.handle();
    thread::spawn(move || wait(&tasks, &report, &handle, id));

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

/// What the event loop has another thread wait for.
enum Later {
    /// Close once the answers are in.
    Close,
    /// Look again whether the closing handshake is complete.
    Look,
}

/// Waits, so that the event loop need not.
fn wait(tasks: &Receiver<Later>, report: &Report, handle: &Handle<Client>, id: ConnectionId) {
    while let Ok(task) = tasks.recv() {
        match task {
            Later::Close => {
                while let Some(left) = report.linger() {
                    thread::sleep(left);
                }
                close(handle, id);
            }
            Later::Look => {
                thread::sleep(LOOK);
                let _ = handle.run(move |client, connections| client.look(connections, id));
            }
        }
    }
}

fn close(handle: &Handle<Client>, id: ConnectionId) {
    // Lines that wait may have filled the loop's queue for a moment.
    while let Err(HandleError::Full) =
        handle.run(move |client, connections| client.close(connections, id))
    {
        thread::sleep(RETRY);
    }
}

struct Client {
    url: String,
    report: Report,
    lines: Receiver<Input>,
    later: Sender<Later>,
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
        if self.is_open {
            self.has_closed = true;
            self.report.closing();
        }
        let _ = connections.close(id, CloseCode::NORMAL, "");
    }

    /// Tells the end if the closing handshake is complete, or looks again later.
    fn look(&mut self, connections: &mut Connections, id: ConnectionId) {
        self.report
            .look(|| connections.get(id).map(|ws| ws.snapshot()));
        if self.report.is_ending() {
            let _ = self.later.send(Later::Look);
        }
    }

    /// Sends as many lines as the connection takes.
    fn send_lines(&mut self, connections: &mut Connections, id: ConnectionId) {
        while self.is_open {
            let message = match self.waiting.take() {
                Some(message) => message,
                None => match self.lines.try_recv() {
                    Ok(Input::Line(line)) => line.into(),
                    Ok(Input::Skipped(unfit)) => {
                        self.report.skipped(unfit);
                        continue;
                    }
                    Ok(Input::End) => {
                        let _ = self.later.send(Later::Close);
                        return;
                    }
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
    fn open(
        &mut self,
        connections: &mut Connections,
        id: ConnectionId,
        response: Option<&Response>,
    ) {
        self.is_open = true;
        self.report.open(response);
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
        if self.report.is_ending() {
            let _ = self.later.send(Later::Look);
        }
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
            Err(error) if !self.is_open => Err(Failure::connecting(&self.url, &error)),
            Err(Error::Closed(closed)) => self.report.closed(&closed),
            Err(error) if self.has_closed => {
                self.report.failed_after_close(&error);
                Ok(())
            }
            Err(error) => Err(self.report.failed(&error)),
        };
        connections.stop();
    }
}
