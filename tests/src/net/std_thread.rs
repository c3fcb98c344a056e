//! wspulse-std under test, with the connection in threads of its own.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Instant;

use wspulse_core::Event;
use wspulse_std::{Receiver, Sender, WebSocket};

use super::std::{LOOK, connect, serve};
use super::{End, Hall, Job, Recorder, Report, Script, Subject};

/// wspulse-std, spawned.
#[derive(Clone, Copy, Debug)]
pub struct StdThread;

impl Subject for StdThread {
    fn name(&self) -> &'static str {
        "std-thread"
    }

    fn connect(&self, address: SocketAddr, job: &Job) -> Report {
        connect(address, job, run)
    }

    fn serve(&self, hall: &Hall, job: &Job) {
        serve(hall, job, run);
    }

    fn runs_by_itself(&self) -> bool {
        true
    }

    fn own_memory(&self, message: usize) -> usize {
        super::INBOX + 2 * QUEUE * message
    }

    fn can_be_blocked(&self) -> bool {
        false
    }

    fn is_variant(&self) -> bool {
        true
    }
}

/// Messages that wait in each direction.
const QUEUE: usize = 4;

fn run(ws: WebSocket<TcpStream>, job: &Job, recorder: Recorder) -> Report {
    let (receiver, sender) = ws.spawn(QUEUE);
    let report = match job.script {
        Script::Pump { size, reads } => pump(receiver, &sender, job, recorder, size, reads),
        _ => receive(receiver, &sender, job, recorder),
    };
    // It is not to be closed in good order.
    sender.abort();
    sender.ended();
    report
}

/// An application that receives, and has other things to do now and then.
fn receive(mut receiver: Receiver, sender: &Sender, job: &Job, mut recorder: Recorder) -> Report {
    let opened = Instant::now();
    let until = opened.checked_add(job.window);
    let mut pause = match job.script {
        Script::Away(from, _) => Some(opened + from),
        Script::Block { first, .. } => Some(opened + first),
        _ => None,
    };
    if let Script::Send(message) = &job.script {
        // Where it cannot be sent, the next event says why.
        if sender.send(message.clone()).is_ok() {
            recorder.sent();
        }
    }
    loop {
        let now = Instant::now();
        if until.is_some_and(|until| now >= until)
            && let Some(snapshot) = sender.snapshot()
        {
            return recorder.finish(End::Alive(Box::new(snapshot)));
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
        let wait = wake.map_or(LOOK, |wake| wake.saturating_duration_since(now));
        match receiver.next_event_timeout(wait) {
            Poll::Pending => {}
            Poll::Ready(Some(Event::Closed(closed))) => {
                return recorder.finish(End::Closed(closed));
            }
            Poll::Ready(Some(event)) => {
                let message = recorder.event(event);
                // Where a message cannot be sent, the next event says why.
                if let (Script::Echo, Some(message)) = (&job.script, message)
                    && sender.send(message).is_ok()
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
    mut receiver: Receiver,
    sender: &Sender,
    job: &Job,
    mut recorder: Recorder,
    size: usize,
    reads: bool,
) -> Report {
    let until = Instant::now().checked_add(job.window);
    let (sent, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while sender.send(vec![7; size]).is_ok() {
                sent.fetch_add(1, Ordering::Relaxed);
            }
            is_over.store(true, Ordering::Relaxed);
        });
        let end = loop {
            let now = Instant::now();
            if until.is_some_and(|until| now >= until)
                && let Some(snapshot) = sender.snapshot()
            {
                sender.abort();
                break End::Alive(Box::new(snapshot));
            }
            let wait = until.map_or(LOOK, |until| LOOK.min(until.saturating_duration_since(now)));
            if !reads && !is_over.load(Ordering::Relaxed) {
                thread::sleep(wait);
                continue;
            }
            match receiver.next_event_timeout(wait) {
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
