//! wspulse-std under test: a thread a connection, and one more for an application that sends and
//! receives at once.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use wspulse_core::Event;
use wspulse_std::{ConnectOptions, Error, WebSocket};

use super::{End, Hall, Job, Recorder, Report, Script, Subject};
use crate::kit::ms;

/// wspulse-std.
#[derive(Clone, Copy, Debug)]
pub struct Std;

impl Subject for Std {
    fn name(&self) -> &'static str {
        "std"
    }

    fn connect(&self, address: SocketAddr, job: &Job) -> Report {
        connect(address, job, run)
    }

    fn serve(&self, hall: &Hall, job: &Job) {
        serve(hall, job, run);
    }

    fn runs_by_itself(&self) -> bool {
        false
    }

    fn own_memory(&self, message: usize) -> usize {
        super::INBOX + message
    }
}

/// An application.
pub(super) type Run = fn(WebSocket<TcpStream>, &Job, Recorder) -> Report;

pub(super) fn connect(address: SocketAddr, job: &Job, run: Run) -> Report {
    let recorder = Recorder::new();
    let mut options = ConnectOptions::new(job.config.clone());
    let mut url = format!("ws://{address}/");
    if let Some(tls) = &job.tls {
        options = options.tls(tls.client.clone());
        url = format!("wss://{address}/");
    }
    begin(wspulse_std::connect(&url, options), job, recorder, run)
}

pub(super) fn serve(hall: &Hall, job: &Job, run: Run) {
    thread::scope(|scope| {
        for _ in 0..hall.count() {
            let accepted = hall.listener().accept();
            scope.spawn(|| {
                let recorder = Recorder::new();
                let ws = accepted
                    .map_err(Error::from)
                    .and_then(|(stream, _)| accept(stream, job));
                hall.connection_ended(begin(ws, job, recorder, run));
            });
        }
    });
}

fn accept(stream: TcpStream, job: &Job) -> Result<WebSocket<TcpStream>, Error> {
    let config = job.config.clone();
    match &job.tls {
        Some(tls) => wspulse_std::accept_tls(stream, tls.server.clone(), config),
        None => wspulse_std::accept(stream, config),
    }
}

fn begin(
    ws: Result<WebSocket<TcpStream>, Error>,
    job: &Job,
    mut recorder: Recorder,
    run: Run,
) -> Report {
    match ws {
        Ok(ws) => {
            recorder.open();
            run(ws, job, recorder)
        }
        Err(Error::Closed(closed)) => recorder.finish(End::Closed(closed)),
        Err(error) => recorder.fail(error),
    }
}

fn run(ws: WebSocket<TcpStream>, job: &Job, recorder: Recorder) -> Report {
    match job.script {
        Script::Pump { size, reads } => pump(ws, job, recorder, size, reads),
        _ => receive(ws, job, recorder),
    }
}

/// An application that receives, and has other things to do now and then.
fn receive(mut ws: WebSocket<TcpStream>, job: &Job, mut recorder: Recorder) -> Report {
    let opened = Instant::now();
    let until = opened.checked_add(job.window);
    let mut pause = match job.script {
        Script::Away(from, _) => Some(opened + from),
        Script::Block { first, .. } => Some(opened + first),
        _ => None,
    };
    if let Script::Send(message) = &job.script {
        // Where it cannot be sent, the next event says why.
        if ws.send(message.clone()).is_ok() {
            recorder.sent();
        }
    }
    loop {
        let now = Instant::now();
        if until.is_some_and(|until| now >= until) {
            return recorder.finish(End::Alive(Box::new(ws.snapshot())));
        }
        if pause.is_some_and(|pause| now >= pause) {
            pause = match job.script {
                Script::Away(_, to) => {
                    thread::sleep((opened + to).saturating_duration_since(now));
                    None
                }
                Script::Block { span, free, .. } => {
                    thread::sleep(span);
                    Some(Instant::now() + free)
                }
                _ => None,
            };
            continue;
        }
        let wake = [until, pause].into_iter().flatten().min();
        let wait = wake.map_or(Duration::MAX, |wake| wake.saturating_duration_since(now));
        match ws.next_event_timeout(wait) {
            Poll::Pending => {}
            Poll::Ready(Some(Event::Closed(closed))) => {
                return recorder.finish(End::Closed(closed));
            }
            Poll::Ready(Some(event)) => {
                let message = recorder.event(event);
                // Where a message cannot be sent, the next event says why.
                if let (Script::Echo, Some(message)) = (&job.script, message)
                    && ws.send(message).is_ok()
                {
                    recorder.sent();
                }
            }
            Poll::Ready(None) => return recorder.fail("the end came twice"),
        }
    }
}

/// An application that sends in one thread and receives, or does not, in another.
fn pump(
    ws: WebSocket<TcpStream>,
    job: &Job,
    mut recorder: Recorder,
    size: usize,
    reads: bool,
) -> Report {
    let until = Instant::now().checked_add(job.window);
    let (mut reader, mut writer) = ws.split();
    let (sent, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while writer.send(vec![7; size]).is_ok() {
                sent.fetch_add(1, Ordering::Relaxed);
            }
            is_over.store(true, Ordering::Relaxed);
        });
        let end = loop {
            let now = Instant::now();
            if until.is_some_and(|until| now >= until) {
                let snapshot = reader.snapshot();
                reader.abort();
                break End::Alive(Box::new(snapshot));
            }
            let wait = until.map_or(LOOK, |until| LOOK.min(until.saturating_duration_since(now)));
            if !reads && !is_over.load(Ordering::Relaxed) {
                thread::sleep(wait);
                continue;
            }
            match reader.next_event_timeout(wait) {
                Poll::Pending => {}
                Poll::Ready(Some(Event::Closed(closed))) => break End::Closed(closed),
                Poll::Ready(Some(event)) => drop(recorder.event(event)),
                Poll::Ready(None) => break End::Failed("the end came twice".to_owned()),
            }
        };
        recorder.sent_so_far(sent.load(Ordering::Relaxed));
        recorder.finish(end)
    })
}

/// How often an application that sends looks for the end.
pub(super) const LOOK: Duration = ms(50);
