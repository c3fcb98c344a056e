//! wspulse-mio under test: its ready loop, all connections on one thread.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use wspulse_core::handshake::Response;
use wspulse_core::{Closed, Event, Message};
use wspulse_mio::{ConnectOptions, ConnectionId, Connections, Error, EventLoop, Handler, Listener};

use super::{End, Hall, Job, Recorder, Report, Script, Subject};

/// wspulse-mio.
#[derive(Clone, Copy, Debug)]
pub struct Mio;

impl Subject for Mio {
    fn name(&self) -> &'static str {
        "mio"
    }

    fn connect(&self, address: SocketAddr, job: &Job) -> Report {
        let recorder = Recorder::new();
        let mut options = ConnectOptions::new(job.config.clone());
        let mut url = format!("ws://{address}/");
        if let Some(tls) = &job.tls {
            options = options.tls(tls.client.clone());
            url = format!("wss://{address}/");
        }
        let ran = || {
            let mut event_loop = EventLoop::new(Application::new(job.clone()))?;
            event_loop.connections().connect(&url, options)?;
            loop {
                event_loop.turn(None)?;
                if let Some(report) = event_loop.handler().ended.pop() {
                    return Ok::<_, Error>(report);
                }
            }
        };
        ran().unwrap_or_else(|error| recorder.fail(error))
    }

    fn serve(&self, hall: &Hall, job: &Job) {
        serve(hall, job).expect("a loop");
    }

    fn runs_by_itself(&self) -> bool {
        true
    }

    fn own_memory(&self, message: usize) -> usize {
        super::INBOX + message
    }
}

fn serve(hall: &Hall, job: &Job) -> io::Result<()> {
    let mut event_loop = EventLoop::new(Application::new(job.clone()))?;
    let listener = Listener::try_from(hall.listener().try_clone()?)?;
    let connections = event_loop.connections();
    match &job.tls {
        Some(tls) => connections.listen_tls(listener, tls.server.clone(), job.config.clone())?,
        None => connections.listen(listener, job.config.clone())?,
    };
    let entries = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&entries);
    hall.count_tasks_by(move || count.load(Ordering::SeqCst));
    while hall.ended() < hall.count() {
        event_loop.turn(None)?;
        entries.store(event_loop.connections().len(), Ordering::SeqCst);
        for report in std::mem::take(&mut event_loop.handler().ended) {
            hall.connection_ended(report);
        }
    }
    Ok(())
}

/// The application, for all connections.
#[derive(Debug)]
struct Application {
    job: Job,
    seats: HashMap<ConnectionId, Seat>,
    ended: Vec<Report>,
}

/// One open connection.
#[derive(Debug)]
struct Seat {
    recorder: Recorder,
    opened: Instant,
    /// When the script has something else to do.
    pause: Option<Instant>,
    /// The window is over; only the connection's own end is waited for.
    alive: Option<End>,
}

impl Application {
    fn new(job: Job) -> Self {
        Self {
            job,
            seats: HashMap::new(),
            ended: Vec::new(),
        }
    }

    /// Does what is due, and asks to be told when more is.
    fn look(&mut self, connections: &mut Connections) {
        let job = &self.job;
        let mut next: Option<Instant> = None;
        for (id, seat) in &mut self.seats {
            if seat.alive.is_some() {
                continue;
            }
            let now = Instant::now();
            let until = seat.opened.checked_add(job.window);
            if until.is_some_and(|until| now >= until) {
                let snapshot = connections.get(*id).map(|ws| ws.snapshot());
                seat.alive = snapshot.map(|snapshot| End::Alive(Box::new(snapshot)));
                connections.abort(*id);
                continue;
            }
            if seat.pause.is_some_and(|pause| now >= pause) {
                seat.pause = match job.script {
                    Script::Away(from, to) if now < seat.opened + to => {
                        debug_assert!(now >= seat.opened + from, "not too early");
                        connections.pause(*id);
                        Some(seat.opened + to)
                    }
                    Script::Away(..) => {
                        connections.resume(*id);
                        None
                    }
                    Script::Block { span, free, .. } => {
                        thread::sleep(span);
                        Some(Instant::now() + free)
                    }
                    _ => None,
                };
            }
            next = [next, until, seat.pause].into_iter().flatten().min();
        }
        connections.set_timeout(next);
    }

    fn pump(&mut self, connections: &mut Connections, id: ConnectionId) {
        let (Script::Pump { size, .. }, Some(seat)) = (&self.job.script, self.seats.get_mut(&id))
        else {
            return;
        };
        while connections.send(id, vec![7; *size]).is_ok() {
            seat.recorder.sent();
        }
    }
}

impl Handler for Application {
    fn open(&mut self, connections: &mut Connections, id: ConnectionId, _: Option<&Response>) {
        let mut recorder = Recorder::new();
        let opened = recorder.open();
        let mut pause = None;
        match &self.job.script {
            Script::Away(from, _) => pause = Some(opened + *from),
            Script::Block { first, .. } => pause = Some(opened + *first),
            Script::Send(message) => {
                let sent = connections.send(id, message.clone());
                sent.map_or_else(drop, |()| recorder.sent());
            }
            Script::Pump { reads: false, .. } => connections.pause(id),
            _ => {}
        }
        let seat = Seat {
            recorder,
            opened,
            pause,
            alive: None,
        };
        self.seats.insert(id, seat);
        self.pump(connections, id);
        self.look(connections);
    }

    fn message(&mut self, connections: &mut Connections, id: ConnectionId, message: Message) {
        let Some(seat) = self.seats.get_mut(&id) else {
            return;
        };
        seat.recorder.message(&message);
        if matches!(self.job.script, Script::Echo) && connections.send(id, message).is_ok() {
            seat.recorder.sent();
        }
    }

    fn event(&mut self, _: &mut Connections, id: ConnectionId, event: Event) {
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.recorder.event(event);
        }
    }

    fn writable(&mut self, connections: &mut Connections, id: ConnectionId) {
        self.pump(connections, id);
    }

    fn closed(&mut self, _: &mut Connections, id: ConnectionId, end: Result<Box<Closed>, Error>) {
        let (recorder, alive) = match self.seats.remove(&id) {
            Some(seat) => (seat.recorder, seat.alive),
            None => (Recorder::new(), None),
        };
        self.ended.push(match (alive, end) {
            (Some(alive), _) => recorder.finish(alive),
            (None, Ok(closed) | Err(Error::Closed(closed))) => recorder.finish(End::Closed(closed)),
            (None, Err(error)) => recorder.fail(error),
        });
    }

    fn timeout(&mut self, connections: &mut Connections) {
        self.look(connections);
    }
}
