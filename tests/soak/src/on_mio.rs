//! wspulse-mio: one thread for the server, one for all clients.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use wspulse_core::handshake::Response;
use wspulse_core::{Cause, Closed, Event, Message, SendError};
use wspulse_mio::{
    ConnectionId, Connections, DrainReport, Error, EventLoop, Handler, Listener, ListenerId,
};
use wspulse_tests::kit::ms;

use crate::books::{Tally, judge};
use crate::scene::{DEADLINE, Rhythm, SPREAD, Scene, TICK, count};
use crate::talk::{Next, Talk};

// ---- the server

pub(crate) fn serve(mut listener: Listener, scene: &Arc<Scene>) -> io::Result<()> {
    let address = listener.local_addr().expect("a TCP listener");
    let mut rhythm = Rhythm::new(scene, 3);
    loop {
        let mut event_loop = EventLoop::new(Echo::new(scene, Instant::now() + rhythm.life()))?;
        let connections = event_loop.connections();
        connections.listen(listener, Arc::clone(&scene.config))?;
        connections.set_timeout(Some(Instant::now() + TICK));
        event_loop.run()?;
        drop(event_loop);
        if scene.books.is_closed() {
            return Ok(());
        }
        thread::sleep(rhythm.absence());
        listener = listen(address)?;
    }
}

fn listen(address: SocketAddr) -> io::Result<Listener> {
    for _ in 0..200 {
        if let Ok(listener) = Listener::bind(address) {
            return Ok(listener);
        }
        thread::sleep(ms(20));
    }
    Listener::bind(address)
}

struct Echo {
    scene: Arc<Scene>,
    until: Instant,
    open: HashMap<ConnectionId, Guest>,
}

#[derive(Default)]
struct Guest {
    tally: Tally,
    /// An echo that the connection does not take yet; until then it is paused.
    waiting: Option<Message>,
}

impl Echo {
    fn new(scene: &Arc<Scene>, until: Instant) -> Self {
        Self {
            scene: Arc::clone(scene),
            until,
            open: HashMap::new(),
        }
    }

    fn answer(&mut self, connections: &mut Connections, id: ConnectionId, message: Message) {
        if let Err(SendError::Full(message)) = connections.send(id, message)
            && let Some(guest) = self.open.get_mut(&id)
        {
            guest.waiting = Some(message);
            connections.pause(id);
        }
    }
}

impl Handler for Echo {
    fn open(&mut self, _: &mut Connections, id: ConnectionId, _: Option<&Response>) {
        self.open.insert(id, Guest::default());
    }

    fn message(&mut self, connections: &mut Connections, id: ConnectionId, message: Message) {
        if let Some(guest) = self.open.get_mut(&id) {
            count(&mut guest.tally, &message);
        }
        self.answer(connections, id, message);
    }

    fn writable(&mut self, connections: &mut Connections, id: ConnectionId) {
        let waiting = self
            .open
            .get_mut(&id)
            .and_then(|guest| guest.waiting.take());
        if let Some(message) = waiting {
            connections.resume(id);
            self.answer(connections, id, message);
        }
    }

    fn closed(&mut self, _: &mut Connections, id: ConnectionId, end: Result<Box<Closed>, Error>) {
        let guest = self.open.remove(&id);
        let end = match (&guest, end) {
            // A drain waits for nobody's handshake.
            (None, Err(Error::Closed(closed))) if closed.cause == Cause::Aborted => {
                Ok("given up in the handshake".to_owned())
            }
            (None, end) => how(end).map(|how| format!("{how} in the handshake")),
            (Some(_), end) => how(end),
        };
        let tally = guest.map(|guest| guest.tally).unwrap_or_default();
        self.scene.books.enter("mio server", tally, end);
    }

    fn accept_failed(&mut self, _: &mut Connections, _: ListenerId, error: io::Error) {
        self.scene.books.fail(format!("mio server: {error}"));
    }

    fn timeout(&mut self, connections: &mut Connections) {
        if self.scene.books.is_closed() || Instant::now() >= self.until {
            connections.drain(SPREAD, DEADLINE);
        } else {
            connections.set_timeout(Some(Instant::now() + TICK));
        }
    }

    fn drained(&mut self, report: DrainReport) {
        if !report.cut.is_empty() {
            self.scene.books.fail(format!("mio server: {report:?}"));
        }
    }
}

/// The loop tells a failure of the socket as such.
fn how(end: Result<Box<Closed>, Error>) -> Result<String, String> {
    match end {
        Ok(closed) | Err(Error::Closed(closed)) => judge(&closed),
        Err(Error::Io(_)) => Ok("cut".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

// ---- clients

/// Runs these clients until all is over.
pub(crate) fn come_and_go(who: Vec<u64>, scene: &Arc<Scene>) -> io::Result<()> {
    let seat = |who| Seat {
        who,
        nth: 0,
        talk: scene.talk(who, 0),
        place: Place::Away(Instant::now()),
        resume_at: None,
        waiting: VecDeque::new(),
        end: None,
    };
    let mut event_loop = EventLoop::new(Clients {
        scene: Arc::clone(scene),
        seats: who.into_iter().map(seat).collect(),
    })?;
    event_loop.connections().set_timeout(Some(Instant::now()));
    event_loop.run()
}

struct Clients {
    scene: Arc<Scene>,
    seats: Vec<Seat>,
}

/// A client, over all its connections.
struct Seat {
    who: u64,
    nth: u64,
    talk: Talk,
    place: Place,
    /// When a pause is over.
    resume_at: Option<Instant>,
    /// Parts of a message for which there is no room yet, and whether each is the last.
    waiting: VecDeque<(Message, bool)>,
    /// How a connection ended that the client ended itself.
    end: Option<Result<String, String>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Not connected before then.
    Away(Instant),
    Connecting(ConnectionId),
    Open(ConnectionId),
}

impl Seat {
    fn has(&self, id: ConnectionId) -> bool {
        matches!(self.place, Place::Connecting(mine) | Place::Open(mine) if mine == id)
    }

    /// Goes on until it has to wait.
    fn advance(&mut self, connections: &mut Connections) {
        let Place::Open(id) = self.place else {
            return;
        };
        while self.end.is_none() && self.resume_at.is_none() {
            let done = match self.waiting.pop_front() {
                Some((part, is_last)) => connections.send_part(id, part, is_last),
                None => match self.talk.next() {
                    Next::Send(parts) => {
                        let count = parts.len();
                        let number = |(nth, part)| (part, nth + 1 == count);
                        self.waiting
                            .extend(parts.into_iter().enumerate().map(number));
                        Ok(())
                    }
                    Next::Ping(payload) => connections.ping(id, &payload),
                    Next::Pause(pause) => {
                        self.resume_at = Some(Instant::now() + pause);
                        Ok(())
                    }
                    Next::Wait => return,
                    Next::Close(code) => {
                        // From here on it says no more, and how it ended says the loop.
                        self.resume_at = Some(Instant::now() + 2 * DEADLINE);
                        connections.close(id, code, "")
                    }
                    Next::Abort => return self.cut(connections, id, Ok("cut by us".to_owned())),
                },
            };
            match done {
                Ok(()) => {}
                // The loop tells when there is room.
                Err(SendError::Full(part)) => {
                    let is_last = self.waiting.is_empty();
                    return self.waiting.push_front((part, is_last));
                }
                // The end is told soon.
                Err(SendError::NotOpen(_) | SendError::PingNotOpen) => return,
                Err(error) => return self.cut(connections, id, Err(error.to_string())),
            }
        }
    }

    fn cut(
        &mut self,
        connections: &mut Connections,
        id: ConnectionId,
        end: Result<String, String>,
    ) {
        self.end = Some(end);
        connections.abort(id);
    }
}

impl Clients {
    fn seat(&mut self, id: ConnectionId) -> Option<&mut Seat> {
        self.seats.iter_mut().find(|seat| seat.has(id))
    }

    fn hear(
        &mut self,
        connections: &mut Connections,
        id: ConnectionId,
        hear: impl FnOnce(&mut Talk) -> Result<(), String>,
    ) {
        let Some(seat) = self.seat(id) else {
            return;
        };
        match hear(&mut seat.talk) {
            Ok(()) => seat.advance(connections),
            Err(failure) => seat.cut(connections, id, Err(failure)),
        }
    }
}

impl Handler for Clients {
    fn open(&mut self, connections: &mut Connections, id: ConnectionId, _: Option<&Response>) {
        if let Some(seat) = self.seat(id) {
            seat.place = Place::Open(id);
            seat.advance(connections);
        }
    }

    fn writable(&mut self, connections: &mut Connections, id: ConnectionId) {
        self.hear(connections, id, |_| Ok(()));
    }

    fn message(&mut self, connections: &mut Connections, id: ConnectionId, message: Message) {
        self.hear(connections, id, |talk| talk.message(&message));
    }

    fn event(&mut self, connections: &mut Connections, id: ConnectionId, event: Event) {
        self.hear(connections, id, |talk| talk.hear(event));
    }

    fn closed(&mut self, _: &mut Connections, id: ConnectionId, end: Result<Box<Closed>, Error>) {
        let scene = Arc::clone(&self.scene);
        let Some(seat) = self.seat(id) else {
            return;
        };
        let told = if matches!(seat.place, Place::Connecting(_)) {
            Err(format!("no connection: {end:?}"))
        } else {
            how(end)
        };
        let end = seat.end.take().unwrap_or(told);
        let pause = if end.is_err() { ms(500) } else { ms(0) };
        scene.enter("mio client", (seat.who, seat.nth), seat.talk.tally, end);
        seat.place = Place::Away(Instant::now() + pause);
        seat.resume_at = None;
        seat.waiting.clear();
        seat.nth += 1;
        seat.talk = scene.talk(seat.who, seat.nth);
    }

    fn timeout(&mut self, connections: &mut Connections) {
        let now = Instant::now();
        let is_over = self.scene.books.is_over();
        for seat in &mut self.seats {
            match seat.place {
                Place::Away(until) if !is_over && now >= until => {
                    let config = Arc::clone(&self.scene.config);
                    match connections.connect(&self.scene.url(seat.who), config) {
                        Ok(id) => seat.place = Place::Connecting(id),
                        Err(error) => self.scene.books.fail(format!("mio client: {error}")),
                    }
                }
                Place::Open(id) => {
                    seat.resume_at = seat.resume_at.filter(|at| *at > now);
                    match seat.talk.check_patience() {
                        Ok(()) => seat.advance(connections),
                        Err(failure) => seat.cut(connections, id, Err(failure)),
                    }
                }
                _ => {}
            }
        }
        let is_away = |seat: &Seat| matches!(seat.place, Place::Away(_));
        if is_over && self.seats.iter().all(is_away) {
            connections.stop();
        } else {
            connections.set_timeout(Some(now + ms(20)));
        }
    }
}
