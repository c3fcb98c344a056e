//! The shortest adapter under test: wspulse-drive over a socket that does not wait, a thread a
//! connection, and a look at the socket in place of a selector.
//!
//! What the adapters share is tested here without any of them.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use wspulse_core::handshake::{Accept, ClientRequest};
use wspulse_core::{Connection, Event, Transmit};
use wspulse_drive::tls::TlsSession;
use wspulse_drive::{Clock, Drive, SystemClock, Transport, seed, tune, watch};

use super::{End, Hall, Job, Recorder, Report, Script, Subject};
use crate::kit::ms;

/// wspulse-drive, without a runtime.
#[derive(Clone, Copy, Debug)]
pub struct Bare;

impl Subject for Bare {
    fn name(&self) -> &'static str {
        "drive"
    }

    fn connect(&self, address: SocketAddr, job: &Job) -> Report {
        let recorder = Recorder::new();
        match Bound::client(address, job) {
            Ok(mut bound) => bound.run(job, recorder),
            Err(error) => recorder.fail(error),
        }
    }

    fn serve(&self, hall: &Hall, job: &Job) {
        thread::scope(|scope| {
            for _ in 0..hall.count() {
                let accepted = hall.listener().accept();
                scope.spawn(|| {
                    let recorder = Recorder::new();
                    let report = match accepted.and_then(|(stream, _)| Bound::server(stream, job)) {
                        Ok(mut bound) => bound.run(job, recorder),
                        Err(error) => recorder.fail(error),
                    };
                    hall.connection_ended(report);
                });
            }
        });
    }

    fn runs_by_itself(&self) -> bool {
        true
    }

    fn own_memory(&self, _message: usize) -> usize {
        0
    }
}

/// A connection and its socket.
#[derive(Debug)]
struct Bound {
    socket: Socket,
    drive: Drive,
    clock: SystemClock,
}

/// The kernel goes on alone, and is not to keep what nobody acknowledges.
impl Drop for Bound {
    fn drop(&mut self) {
        watch(
            &self.socket.stream,
            self.drive.connection().heartbeat(),
            true,
        );
    }
}

impl Bound {
    fn client(address: SocketAddr, job: &Job) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        let tls = match &job.tls {
            Some(tls) => TlsSession::client(tls.client.clone(), tls.name.clone()),
            None => return Self::new(stream, None, job, Self::request(address)?),
        };
        let tls = tls.map_err(io::Error::other)?;
        Self::new(stream, Some(tls), job, Self::request(address)?)
    }

    fn server(stream: TcpStream, job: &Job) -> io::Result<Self> {
        let tls = job
            .tls
            .as_ref()
            .map(|tls| TlsSession::server(tls.server.clone()));
        Self::new(
            stream,
            tls.transpose().map_err(io::Error::other)?,
            job,
            None,
        )
    }

    fn request(address: SocketAddr) -> io::Result<Option<ClientRequest>> {
        let request = ClientRequest::new(&address.to_string(), "/");
        request.map(Some).map_err(io::Error::other)
    }

    fn new(
        stream: TcpStream,
        tls: Option<TlsSession>,
        job: &Job,
        request: Option<ClientRequest>,
    ) -> io::Result<Self> {
        tune(&stream, &job.config);
        stream.set_nonblocking(true)?;
        let clock = SystemClock::start();
        let (config, now) = (job.config.clone(), clock.now());
        let connection = match &request {
            Some(request) => Connection::client(config, request, seed()?, now),
            None => Connection::server(config, seed()?, now),
        };
        Ok(Self {
            socket: Socket { stream, tls },
            drive: Drive::new(connection),
            clock,
        })
    }

    /// The application.
    fn run(&mut self, job: &Job, mut recorder: Recorder) -> Report {
        let mut opened = None;
        let mut pause = None;
        loop {
            let now = Instant::now();
            let since = opened.map_or(Duration::ZERO, |opened| now - opened);
            if opened.is_some() && since >= job.window {
                let now = self.clock.now();
                let snapshot = self.drive.command(|connection| connection.snapshot(now));
                return recorder.finish(End::Alive(Box::new(snapshot)));
            }
            if let Script::Block { span, free, .. } = job.script
                && pause.is_some_and(|pause| now >= pause)
            {
                thread::sleep(span);
                pause = Some(Instant::now() + free);
            }
            let mut moved = self
                .drive
                .turn(&mut self.socket, &self.clock)
                .has_progress();
            while opened.is_none() || receives(&job.script, since, self.drive.is_over()) {
                let Some(event) = self.drive.poll_event() else {
                    break;
                };
                moved = true;
                let was_open = opened.is_some();
                match event {
                    Event::Request(_) => {
                        let now = self.clock.now();
                        let answer = |c: &mut Connection| c.accept(now, &Accept::new());
                        if let Err(error) = self.drive.command(answer) {
                            return recorder.fail(error);
                        }
                        opened = Some(recorder.open());
                    }
                    Event::Open(_) => opened = Some(recorder.open()),
                    Event::Closed(closed) => return recorder.finish(End::Closed(closed)),
                    event => {
                        let message = recorder.event(event);
                        if let (Script::Echo, Some(message)) = (&job.script, message) {
                            let sent = self.drive.command(|c| c.send(message));
                            sent.map_or_else(drop, |()| recorder.sent());
                        }
                    }
                }
                if let (false, Some(opened)) = (was_open, opened) {
                    if let Script::Send(message) = &job.script {
                        let sent = self.drive.command(|c| c.send(message.clone()));
                        sent.map_or_else(drop, |()| recorder.sent());
                    }
                    if let Script::Block { first, .. } = job.script {
                        pause = Some(opened + first);
                    }
                }
            }
            if let (Some(_), Script::Pump { size, .. }) = (opened, &job.script)
                && !self.drive.is_over()
                && self.drive.has_room()
            {
                let sent = self.drive.command(|c| c.send(vec![7; *size]));
                moved |= sent.is_ok();
                sent.map_or_else(drop, |()| recorder.sent());
            }
            if !moved {
                let until = opened.map(|opened| opened + job.window);
                let wake = [until, pause].into_iter().flatten().min();
                self.wait(wake.map_or(LOOK, |wake| wake.saturating_duration_since(now)));
            }
        }
    }

    /// Waits until something may move, for `limit` at most.
    fn wait(&self, limit: Duration) {
        let mut limit = limit.min(LOOK);
        if let Some(deadline) = self.drive.poll_timeout() {
            limit = limit.min(deadline.saturating_duration_since(self.clock.now()));
        }
        if self.drive.wants_write() || self.socket.wants_flush() {
            limit = limit.min(ms(2));
        }
        limit = limit.max(Duration::from_micros(100));
        if !self.drive.wants_read() {
            return thread::sleep(limit);
        }
        let stream = &self.socket.stream;
        let looked = stream
            .set_read_timeout(Some(limit))
            .and_then(|()| stream.set_nonblocking(false))
            .and_then(|()| match stream.peek(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                looked => looked,
            });
        // What is wrong with the socket, the next turn meets too.
        let _ = stream.set_nonblocking(true);
        if looked.is_err() {
            thread::sleep(ms(1));
        }
    }
}

/// Whether the application takes events.
fn receives(script: &Script, since: Duration, is_over: bool) -> bool {
    match script {
        Script::Away(from, to) => !(*from..*to).contains(&since),
        Script::Pump { reads, .. } => *reads || is_over,
        _ => true,
    }
}

/// A socket that does not wait, plain or with TLS.
#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    tls: Option<TlsSession>,
}

impl Transport for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => tls.read(&mut self.stream, buffer),
            None => self.stream.read(buffer),
        }
    }

    fn write(&mut self, transmit: &Transmit<'_>) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => tls.write(&mut self.stream, transmit),
            None => self.stream.write(transmit.first()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => tls.flush(&mut self.stream),
            None => Ok(()),
        }
    }

    fn shutdown(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.shutdown(&mut self.stream)?;
        }
        self.stream.shutdown(Shutdown::Write)
    }

    fn wants_flush(&self) -> bool {
        self.tls.as_ref().is_some_and(TlsSession::wants_flush)
    }
}

/// How often it looks around, at least.
const LOOK: Duration = ms(100);
