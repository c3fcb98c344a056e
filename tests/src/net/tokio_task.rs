//! wspulse-tokio under test, with the connection in a task of its own.

use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;
use wspulse_core::Event;
use wspulse_tokio::{Receiver, Sender, WebSocket};

use super::tokio::{Keeper, connect, runtime, serve, sleep_until};
use super::{End, Hall, Job, Recorder, Report, Script, Subject};

/// wspulse-tokio, spawned.
#[derive(Clone, Copy, Debug)]
pub struct TokioTask;

impl Subject for TokioTask {
    fn name(&self) -> &'static str {
        "tokio-task"
    }

    fn connect(&self, address: SocketAddr, job: &Job) -> Report {
        runtime().block_on(connect(address, job, Keeper::Task))
    }

    fn serve(&self, hall: &Hall, job: &Job) {
        serve(hall, job, Keeper::Task);
    }

    fn runs_by_itself(&self) -> bool {
        true
    }

    fn own_memory(&self, message: usize) -> usize {
        super::INBOX + 2 * QUEUE * message
    }

    fn is_variant(&self) -> bool {
        true
    }
}

/// Messages that wait in each direction.
const QUEUE: usize = 4;

/// The application.
pub(super) async fn run<S>(ws: WebSocket<S>, job: &Job, recorder: Recorder) -> Report
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (receiver, sender) = ws.spawn(QUEUE);
    let report = match job.script {
        Script::Pump { size, reads } => pump(receiver, &sender, job, recorder, size, reads).await,
        _ => receive(receiver, &sender, job, recorder).await,
    };
    // It is not to be closed in good order.
    sender.abort();
    sender.ended().await;
    report
}

/// An application that receives, and has other things to do now and then.
async fn receive(
    mut receiver: Receiver,
    sender: &Sender,
    job: &Job,
    mut recorder: Recorder,
) -> Report {
    let opened = Instant::now();
    let mut until = opened.checked_add(job.window);
    let mut pause = match job.script {
        Script::Away(from, _) => Some(opened + from),
        Script::Block { first, .. } => Some(opened + first),
        _ => None,
    };
    if let Script::Send(message) = &job.script {
        match sender.send(message.clone()).await {
            Ok(()) => recorder.sent(),
            Err(error) => return super::tokio::refused(error, recorder),
        }
    }
    loop {
        let wake = [until, pause].into_iter().flatten().min();
        let event = tokio::select! {
            event = receiver.next_event() => event,
            () = sleep_until(wake) => {
                if until.is_some_and(|until| Instant::now() >= until) {
                    match sender.snapshot().await {
                        Some(snapshot) => return recorder.finish(End::Alive(Box::new(snapshot))),
                        // It is over, as the next event says.
                        None => until = None,
                    }
                    continue;
                }
                pause = match job.script {
                    Script::Away(_, to) => {
                        sleep_until(Some(opened + to)).await;
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
        };
        match event {
            Some(Event::Closed(closed)) => return recorder.finish(End::Closed(closed)),
            Some(event) => {
                let message = recorder.event(event);
                // Where a message cannot be sent, the next event says why.
                if let (Script::Echo, Some(message)) = (&job.script, message)
                    && sender.send(message).await.is_ok()
                {
                    recorder.sent();
                }
            }
            None => return recorder.fail("the end came twice"),
        }
    }
}

/// An application that sends in one task and receives, or does not, in another.
async fn pump(
    mut receiver: Receiver,
    sender: &Sender,
    job: &Job,
    mut recorder: Recorder,
    size: usize,
    reads: bool,
) -> Report {
    let mut until = Instant::now().checked_add(job.window);
    let (counter, count) = watch::channel(0_u64);
    let mut pumps = JoinSet::new();
    let pump = sender.clone();
    pumps.spawn(async move {
        while pump.send(vec![7; size]).await.is_ok() {
            counter.send_modify(|count| *count += 1);
        }
    });
    let mut is_over = false;
    let end = loop {
        tokio::select! {
            event = receiver.next_event(), if reads || is_over => match event {
                Some(Event::Closed(closed)) => break End::Closed(closed),
                Some(event) => drop(recorder.event(event)),
                None => break End::Failed("the end came twice".to_owned()),
            },
            // How it ended, the next event says.
            Some(_) = pumps.join_next() => is_over = true,
            () = sleep_until(until) => match sender.snapshot().await {
                Some(snapshot) => break End::Alive(Box::new(snapshot)),
                None => until = None,
            },
        }
    };
    recorder.sent_so_far(*count.borrow());
    recorder.finish(end)
}
