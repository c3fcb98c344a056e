//! wspulse-tokio under test: a runtime of one thread, and the connection in the application's own
//! task.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::thread;
use std::time::Instant;

use futures_util::Sink;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use wspulse_core::handshake::ClientRequest;
use wspulse_core::{Event, Message};
use wspulse_tokio::{Error, WebSocket};

use super::{End, Hall, Job, Recorder, Report, Script, Subject};

/// wspulse-tokio.
#[derive(Clone, Copy, Debug)]
pub struct Tokio;

impl Subject for Tokio {
    fn name(&self) -> &'static str {
        "tokio"
    }

    fn connect(&self, address: SocketAddr, job: &Job) -> Report {
        runtime().block_on(connect(address, job))
    }

    fn serve(&self, hall: &Hall, job: &Job) {
        let runtime = runtime();
        let handle = runtime.handle().clone();
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
                                Ok((stream, _)) => accept(stream, &job).await,
                                Err(error) => Recorder::new().fail(error),
                            }
                        });
                    }
                    Some(report) = connections.join_next() => {
                        let report = report.unwrap_or_else(|panic| Recorder::new().fail(panic));
                        hall.connection_ended(report, handle.metrics().num_alive_tasks());
                    }
                }
            }
        });
    }

    fn runs_by_itself(&self) -> bool {
        false
    }

    fn own_memory(&self, _message: usize) -> usize {
        0
    }
}

fn runtime() -> tokio::runtime::Runtime {
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

async fn connect(address: SocketAddr, job: &Job) -> Report {
    let recorder = Recorder::new();
    let Some(tls) = &job.tls else {
        let url = format!("ws://{address}/");
        return match wspulse_tokio::connect(&url, job.config.clone()).await {
            Ok(ws) => run(ws, job, recorder).await,
            Err(error) => refused(error, recorder),
        };
    };
    let connector = TlsConnector::from(tls.client.clone());
    let ws = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let stream = connector.connect(tls.name.clone(), stream).await?;
        let request = ClientRequest::new(&address.to_string(), "/")?;
        wspulse_tokio::client(stream, &request, job.config.clone()).await
    };
    match ws.await {
        Ok(ws) => run(ws, job, recorder).await,
        Err(error) => refused(error, recorder),
    }
}

async fn accept(stream: TcpStream, job: &Job) -> Report {
    let recorder = Recorder::new();
    let Some(tls) = &job.tls else {
        return match wspulse_tokio::accept(stream, job.config.clone()).await {
            Ok(ws) => run(ws, job, recorder).await,
            Err(error) => refused(error, recorder),
        };
    };
    let acceptor = TlsAcceptor::from(tls.server.clone());
    let ws = async {
        stream.set_nodelay(true)?;
        let stream = acceptor.accept(stream).await?;
        wspulse_tokio::accept(stream, job.config.clone()).await
    };
    match ws.await {
        Ok(ws) => run(ws, job, recorder).await,
        Err(error) => refused(error, recorder),
    }
}

fn refused(error: Error, recorder: Recorder) -> Report {
    match error {
        Error::Closed(closed) => recorder.finish(End::Closed(closed)),
        error => recorder.fail(error),
    }
}

/// The application.
async fn run<S>(mut ws: WebSocket<S>, job: &Job, mut recorder: Recorder) -> Report
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let opened = recorder.open();
    let until = opened.checked_add(job.window);
    let mut pause = match job.script {
        Script::Away(from, _) => Some(opened + from),
        Script::Block { first, .. } => Some(opened + first),
        _ => None,
    };
    if let Script::Send(message) = &job.script {
        match ws.send(message.clone()).await {
            Ok(()) => recorder.sent(),
            Err(error) => return recorder.fail(error),
        }
    }
    loop {
        let wake = [until, pause].into_iter().flatten().min();
        let event = tokio::select! {
            event = next(&mut ws, &job.script, &mut recorder) => event,
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
                let Some(message) = recorder.event(event) else {
                    continue;
                };
                // Where it fails, the next event says why.
                if matches!(job.script, Script::Echo) && ws.send(message).await.is_ok() {
                    recorder.sent();
                }
            }
            None => return recorder.fail("the end came twice"),
        }
    }
}

/// The next event; meanwhile the pump of [`Script::Pump`] works.
async fn next<S>(ws: &mut WebSocket<S>, script: &Script, recorder: &mut Recorder) -> Option<Event>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match script {
        Script::Pump { size, reads: false } => {
            while ws.send(vec![7; *size]).await.is_ok() {
                recorder.sent();
            }
            ws.next_event().await
        }
        Script::Pump { size, reads: true } => {
            poll_fn(|cx| {
                if pump(Pin::new(&mut *ws), cx, *size, recorder).is_ready() {
                    cx.waker().wake_by_ref();
                }
                pin!(ws.next_event()).poll(cx)
            })
            .await
        }
        _ => ws.next_event().await,
    }
}

/// Sends until the connection takes no more, or for long enough that others want to run.
fn pump<S>(
    mut ws: Pin<&mut WebSocket<S>>,
    cx: &mut Context<'_>,
    size: usize,
    recorder: &mut Recorder,
) -> Poll<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    for _ in 0..PUMPED_AT_ONCE {
        match Sink::<Message>::poll_ready(ws.as_mut(), cx) {
            Poll::Ready(Ok(())) if ws.as_mut().start_send(vec![7; size].into()).is_ok() => {
                recorder.sent();
            }
            // How it ended, the next event says.
            Poll::Ready(_) => return Poll::Pending,
            Poll::Pending => {
                if Sink::<Message>::poll_flush(ws.as_mut(), cx).is_pending() {
                    return Poll::Pending;
                }
            }
        }
    }
    Poll::Ready(())
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// Messages sent before the task looks around.
const PUMPED_AT_ONCE: usize = 16;
