//! wspulse-tokio under test: a runtime of one thread, and the connection in the application's own
//! task.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use wspulse_core::Event;
use wspulse_tokio::{ConnectOptions, Error, MaybeTls, WebSocket};

use super::{End, Hall, Job, Recorder, Report, Script, Subject, tokio_task};

/// wspulse-tokio.
#[derive(Clone, Copy, Debug)]
pub struct Tokio;

impl Subject for Tokio {
    fn name(&self) -> &'static str {
        "tokio"
    }

    fn connect(&self, address: SocketAddr, job: &Job) -> Report {
        runtime().block_on(connect(address, job, Keeper::Application))
    }

    fn serve(&self, hall: &Hall, job: &Job) {
        serve(hall, job, Keeper::Application);
    }

    fn runs_by_itself(&self) -> bool {
        false
    }

    fn own_memory(&self, message: usize) -> usize {
        super::INBOX + message
    }
}

/// Whose task has the connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keeper {
    Application,
    /// One of its own.
    Task,
}

pub(super) fn serve(hall: &Hall, job: &Job, keeper: Keeper) {
    let runtime = runtime();
    let metrics = runtime.metrics();
    hall.count_tasks_by(move || metrics.num_alive_tasks());
    runtime.block_on(async {
        let listener = listener(hall).expect("a listener");
        let mut connections = JoinSet::new();
        let mut left = hall.count();
        while left > 0 || !connections.is_empty() {
            tokio::select! {
                accepted = listener.accept(), if left > 0 => {
                    // A client that is gone before it was accepted counts too.
                    left -= 1;
                    let job = job.clone();
                    connections.spawn(async move {
                        match accepted {
                            Ok((stream, _)) => accept(stream, &job, keeper).await,
                            Err(error) => Recorder::new().fail(error),
                        }
                    });
                }
                Some(report) = connections.join_next() => {
                    let report = report.unwrap_or_else(|panic| Recorder::new().fail(panic));
                    hall.connection_ended(report);
                }
            }
        }
    });
}

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

fn listener(hall: &Hall) -> io::Result<TcpListener> {
    let listener = hall.listener().try_clone()?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

pub(super) async fn connect(address: SocketAddr, job: &Job, keeper: Keeper) -> Report {
    let recorder = Recorder::new();
    let mut options = ConnectOptions::new(job.config.clone());
    let mut url = format!("ws://{address}/");
    if let Some(tls) = &job.tls {
        options = options.tls(tls.client.clone());
        url = format!("wss://{address}/");
    }
    match wspulse_tokio::connect(&url, options).await {
        Ok(ws) => run(ws, job, recorder, keeper).await,
        Err(error) => refused(error, recorder),
    }
}

async fn accept(stream: TcpStream, job: &Job, keeper: Keeper) -> Report {
    let recorder = Recorder::new();
    let config = job.config.clone();
    let ws = match &job.tls {
        Some(tls) => wspulse_tokio::accept_tls(stream, tls.server.clone(), config).await,
        None => wspulse_tokio::accept(MaybeTls::Plain(stream), config).await,
    };
    match ws {
        Ok(ws) => run(ws, job, recorder, keeper).await,
        Err(error) => refused(error, recorder),
    }
}

pub(super) fn refused(error: Error, recorder: Recorder) -> Report {
    match error {
        Error::Closed(closed) => recorder.finish(End::Closed(closed)),
        error => recorder.fail(error),
    }
}

/// The application.
async fn run<S>(ws: WebSocket<S>, job: &Job, mut recorder: Recorder, keeper: Keeper) -> Report
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    recorder.open();
    match (keeper, &job.script) {
        (Keeper::Task, _) => tokio_task::run(ws, job, recorder).await,
        (_, Script::Pump { size, reads }) => pump(ws, job, recorder, *size, *reads).await,
        _ => receive(ws, job, recorder).await,
    }
}

/// An application that receives, and has other things to do now and then.
async fn receive<S>(mut ws: WebSocket<S>, job: &Job, mut recorder: Recorder) -> Report
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let opened = Instant::now();
    let until = opened.checked_add(job.window);
    let mut pause = match job.script {
        Script::Away(from, _) => Some(opened + from),
        Script::Block { first, .. } => Some(opened + first),
        _ => None,
    };
    if let Script::Send(message) = &job.script {
        match ws.send(message.clone()).await {
            Ok(()) => recorder.sent(),
            Err(error) => return refused(error, recorder),
        }
    }
    loop {
        let wake = [until, pause].into_iter().flatten().min();
        let event = tokio::select! {
            event = ws.next_event() => event,
            () = sleep_until(wake) => {
                if until.is_some_and(|until| Instant::now() >= until) {
                    return recorder.finish(End::Alive(Box::new(ws.snapshot())));
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
                    && ws.send(message).await.is_ok()
                {
                    recorder.sent();
                }
            }
            None => return recorder.fail("the end came twice"),
        }
    }
}

/// An application that sends in one task and receives, or does not, in another.
async fn pump<S>(
    ws: WebSocket<S>,
    job: &Job,
    mut recorder: Recorder,
    size: usize,
    reads: bool,
) -> Report
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let until = Instant::now().checked_add(job.window);
    let (mut reader, mut writer) = ws.split();
    let (counter, count) = watch::channel(0_u64);
    let mut sender = JoinSet::new();
    sender.spawn(async move {
        while writer.send(vec![7; size]).await.is_ok() {
            counter.send_modify(|count| *count += 1);
        }
    });
    let mut is_over = false;
    let end = loop {
        tokio::select! {
            event = reader.next_event(), if reads || is_over => match event {
                Some(Event::Closed(closed)) => break End::Closed(closed),
                Some(event) => drop(recorder.event(event)),
                None => break End::Failed("the end came twice".to_owned()),
            },
            // How it ended, the next event says.
            Some(_) = sender.join_next() => is_over = true,
            () = sleep_until(until) => break End::Alive(Box::new(reader.snapshot())),
        }
    };
    recorder.sent_so_far(*count.borrow());
    recorder.finish(end)
}

pub(super) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
