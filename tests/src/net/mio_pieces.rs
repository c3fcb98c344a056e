//! wspulse-mio under test, by its pieces: connections and a queue of deadlines in a loop of the
//! application's own.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mio::event::Source as _;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use wspulse_core::Event;
use wspulse_core::handshake::ClientRequest;
use wspulse_mio::{Error, Timers, Turn, WebSocket, accept, accept_tls, client, client_tls};

use super::{End, Hall, Job, Recorder, Report, Script, Subject};

/// wspulse-mio, in pieces.
#[derive(Clone, Copy, Debug)]
pub struct MioPieces;

impl Subject for MioPieces {
    fn name(&self) -> &'static str {
        "mio-pieces"
    }

    fn connect(&self, address: SocketAddr, job: &Job) -> Report {
        let ran = || {
            let mut pieces = Pieces::new(job)?;
            pieces.insert(connect(address, job)?)?;
            loop {
                pieces.turn(|_| {})?;
                if let Some(report) = pieces.ended.pop() {
                    return Ok::<_, Error>(report);
                }
            }
        };
        ran().unwrap_or_else(|error| Recorder::new().fail(error))
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

    fn is_variant(&self) -> bool {
        true
    }
}

fn connect(address: SocketAddr, job: &Job) -> Result<WebSocket<TcpStream>, Error> {
    let request = ClientRequest::new(&address.to_string(), "/").map_err(io::Error::other)?;
    let (stream, config) = (TcpStream::connect(address)?, job.config.clone());
    match &job.tls {
        Some(tls) => client_tls(
            stream,
            tls.client.clone(),
            tls.name.clone(),
            &request,
            config,
        ),
        None => client(stream, &request, config),
    }
}

fn take(stream: TcpStream, job: &Job) -> Result<WebSocket<TcpStream>, Error> {
    let config = job.config.clone();
    match &job.tls {
        Some(tls) => accept_tls(stream, tls.server.clone(), config),
        None => accept(stream, config),
    }
}

fn serve(hall: &Hall, job: &Job) -> Result<(), Error> {
    let listener = hall.listener().try_clone()?;
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    let mut pieces = Pieces::new(job)?;
    let registry = pieces.poll.registry();
    registry.register(&mut listener, LISTENER, Interest::READABLE)?;
    let entries = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&entries);
    hall.count_tasks_by(move || count.load(Ordering::SeqCst));
    while hall.ended() < hall.count() {
        pieces.turn(|pieces| {
            loop {
                let ws = match listener.accept() {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                    Err(error) => Err(error.into()),
                    Ok((stream, _)) => take(stream, job),
                };
                // A client that is gone before it was accepted counts too.
                if let Err(error) = ws.and_then(|ws| pieces.insert(ws)) {
                    pieces.ended.push(Recorder::new().fail(error));
                }
            }
        })?;
        entries.store(pieces.seats.len(), Ordering::SeqCst);
        for report in std::mem::take(&mut pieces.ended) {
            hall.connection_ended(report);
        }
    }
    Ok(())
}

const LISTENER: Token = Token(usize::MAX >> 1);

/// The loop.
struct Pieces<'a> {
    job: &'a Job,
    poll: Poll,
    events: Events,
    seats: BTreeMap<usize, Seat>,
    ready: VecDeque<usize>,
    timers: Timers,
    ended: Vec<Report>,
}

impl<'a> Pieces<'a> {
    fn new(job: &'a Job) -> io::Result<Self> {
        Ok(Self {
            job,
            poll: Poll::new()?,
            events: Events::with_capacity(256),
            seats: BTreeMap::new(),
            ready: VecDeque::new(),
            timers: Timers::new(),
            ended: Vec::new(),
        })
    }

    fn insert(&mut self, mut ws: WebSocket<TcpStream>) -> Result<(), Error> {
        // Keys of the queue of deadlines are to stay small.
        let is_free = |key: &usize| !self.seats.contains_key(key);
        let key = (0..).find(is_free).expect("there are not so many");
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut ws, Token(key), both)?;
        self.seats.insert(key, Seat::new(ws));
        self.ready.push_back(key);
        Ok(())
    }

    /// Waits, and gives a turn to each that has something to do.
    fn turn(&mut self, mut accept: impl FnMut(&mut Self)) -> io::Result<()> {
        let next = self.timers.next();
        let wait = next.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let wait = if self.ready.is_empty() {
            wait
        } else {
            Some(Duration::ZERO)
        };
        match self.poll.poll(&mut self.events, wait) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            polled => polled?,
        }
        let mut can_accept = false;
        for event in &self.events {
            match event.token() {
                LISTENER => can_accept = true,
                Token(key) => self.ready.push_back(key),
            }
        }
        if can_accept {
            accept(self);
        }
        let now = Instant::now();
        while let Some(key) = self.timers.pop(now) {
            self.ready.push_back(key);
        }
        for _ in 0..self.ready.len() {
            if let Some(key) = self.ready.pop_front() {
                self.run(key);
            }
        }
        Ok(())
    }

    fn run(&mut self, key: usize) {
        let Some(seat) = self.seats.get_mut(&key) else {
            return;
        };
        let end = match seat.look(self.job) {
            Some(end) => Some(end),
            None => match seat.turn(self.job) {
                Turn::Over => seat.end(),
                Turn::Again => {
                    self.ready.push_back(key);
                    None
                }
                Turn::Wait => None,
            },
        };
        match end {
            None => {
                if let Some(deadline) = seat.next(self.job) {
                    self.timers.arm(key, deadline);
                }
            }
            Some(end) => {
                self.timers.cancel(key);
                if let Some(mut seat) = self.seats.remove(&key) {
                    // One that cannot be deregistered is when it is closed.
                    let _ = seat.ws.deregister(self.poll.registry());
                    drop(seat.ws);
                    self.ended.push(seat.recorder.finish(end));
                }
            }
        }
    }
}

/// One connection, and the application on it.
struct Seat {
    ws: WebSocket<TcpStream>,
    recorder: Recorder,
    opened: Option<Instant>,
    /// When the script has something else to do.
    pause: Option<Instant>,
}

impl Seat {
    fn new(ws: WebSocket<TcpStream>) -> Self {
        Self {
            ws,
            recorder: Recorder::new(),
            opened: None,
            pause: None,
        }
    }

    fn open(&mut self, job: &Job) {
        let opened = self.recorder.open();
        self.opened = Some(opened);
        match &job.script {
            Script::Away(from, _) => self.pause = Some(opened + *from),
            Script::Block { first, .. } => self.pause = Some(opened + *first),
            Script::Send(message) => {
                let sent = self.ws.send(message.clone());
                sent.map_or_else(drop, |()| self.recorder.sent());
            }
            Script::Pump { reads: false, .. } => self.ws.pause(),
            _ => {}
        }
    }

    /// Does what the script has due; returns the end of the window.
    fn look(&mut self, job: &Job) -> Option<End> {
        let (now, opened) = (Instant::now(), self.opened?);
        if self.until(job).is_some_and(|until| now >= until) {
            return Some(End::Alive(Box::new(self.ws.snapshot())));
        }
        if self.pause.is_some_and(|pause| now >= pause) {
            self.pause = match job.script {
                Script::Away(_, to) if now < opened + to => {
                    self.ws.pause();
                    Some(opened + to)
                }
                Script::Away(..) => {
                    self.ws.resume();
                    None
                }
                Script::Block { span, free, .. } => {
                    thread::sleep(span);
                    Some(Instant::now() + free)
                }
                _ => None,
            };
        }
        None
    }

    fn turn(&mut self, job: &Job) -> Turn {
        while let Some(event) = self.ws.poll_event() {
            match event {
                Event::Request(_) | Event::Open(_) => self.open(job),
                // `end` has it.
                Event::Closed(_) => {}
                event => {
                    let message = self.recorder.event(event);
                    if let (Script::Echo, Some(message)) = (&job.script, message)
                        && self.ws.send(message).is_ok()
                    {
                        self.recorder.sent();
                    }
                }
            }
        }
        if let (Script::Pump { size, .. }, Some(_)) = (&job.script, self.opened) {
            while self.ws.send(vec![7; *size]).is_ok() {
                self.recorder.sent();
            }
        }
        let turn = self.ws.end_turn();
        // Who was told to wait for room is to come again.
        if turn == Turn::Wait && self.ws.take_writable() {
            return Turn::Again;
        }
        turn
    }

    fn end(&self) -> Option<End> {
        let closed = self.ws.closed()?;
        Some(End::Closed(Box::new(closed.clone())))
    }

    fn until(&self, job: &Job) -> Option<Instant> {
        self.opened?.checked_add(job.window)
    }

    fn next(&self, job: &Job) -> Option<Instant> {
        let deadlines = [self.ws.poll_timeout(), self.until(job), self.pause];
        deadlines.into_iter().flatten().min()
    }
}
