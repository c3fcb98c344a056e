//! A thread for each connection.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use wspulse_core::CloseCode;
use wspulse_std::{Error, WebSocket};

use super::{ACCEPT_PAUSE, STOPPING, Server, say_ended, say_not_accepted, words};
use crate::{Failure, stop};

/// What the threads share.
struct Hall {
    server: Server,
    is_stopping: AtomicBool,
    open: AtomicUsize,
}

pub(super) fn run(server: Server) -> Result<(), Failure> {
    let (stopper, stopped) = mpsc::channel::<()>();
    stop::on_request(move || drop(stopper)).map_err(Failure::failed)?;
    let listener = TcpListener::bind(server.listen);
    let listener = listener.map_err(|error| server.cannot_listen(error))?;
    server.say_listening(listener.local_addr().map_err(Failure::failed)?);
    let patience = server.patience();
    let hall = Arc::new(Hall {
        server,
        is_stopping: AtomicBool::new(false),
        open: AtomicUsize::new(0),
    });
    let doorman = Arc::clone(&hall);
    // It waits for the next client until the program ends.
    thread::spawn(move || accept_all(&listener, &doorman));

    // The sender is only ever dropped.
    let _ = stopped.recv();
    hall.is_stopping.store(true, Ordering::SeqCst);
    let began = Instant::now();
    while hall.open.load(Ordering::SeqCst) > 0 && began.elapsed() < patience {
        thread::sleep(TICK / 10);
    }
    Ok(())
}

fn accept_all(listener: &TcpListener, hall: &Arc<Hall>) {
    loop {
        let (stream, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) => {
                say_not_accepted(error);
                thread::sleep(ACCEPT_PAUSE);
                continue;
            }
        };
        if hall.is_stopping.load(Ordering::SeqCst) {
            return;
        }
        hall.open.fetch_add(1, Ordering::SeqCst);
        let (guest, failed) = (Arc::clone(hall), Arc::clone(hall));
        let spawned = thread::Builder::new().spawn(move || {
            serve(stream, peer, &guest);
            guest.open.fetch_sub(1, Ordering::SeqCst);
        });
        if let Err(error) = spawned {
            say_not_accepted(error);
            failed.open.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Serves one connection to its end.
fn serve(stream: TcpStream, peer: SocketAddr, hall: &Hall) {
    let server = &hall.server;
    let mut messages = 0;
    let end = match accept(stream, server) {
        Ok(mut ws) => {
            let end = match echo(&mut ws, &mut messages, &hall.is_stopping) {
                // How it ended, rather than the failed send that noticed it first.
                Err(Error::Send(_)) => ws.by_ref().find_map(Result::err).map_or(Ok(()), Err),
                end => end,
            };
            words(end, ws.closed())
        }
        Err(error) => error.to_string(),
    };
    say_ended(server.output, peer, end, messages);
}

fn accept(stream: TcpStream, server: &Server) -> Result<WebSocket<TcpStream>, Error> {
    let config = Arc::clone(&server.config);
    match &server.tls {
        Some(tls) => wspulse_std::accept_tls(stream, Arc::clone(tls), config),
        None => wspulse_std::accept(stream, config),
    }
}

fn echo(
    ws: &mut WebSocket<TcpStream>,
    messages: &mut u64,
    is_stopping: &AtomicBool,
) -> Result<(), Error> {
    loop {
        match ws.next_timeout(TICK) {
            Poll::Ready(Some(message)) => {
                ws.send(message?)?;
                *messages += 1;
            }
            Poll::Ready(None) => return Ok(()),
            Poll::Pending if is_stopping.load(Ordering::SeqCst) => {
                return ws.close(CloseCode::GOING_AWAY, STOPPING);
            }
            Poll::Pending => {}
        }
    }
}

/// How often a thread that waits looks whether the server is to stop.
const TICK: Duration = Duration::from_millis(200);
