//! A thread for each connection.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use wspulse_core::CloseCode;
use wspulse_std::{Error, WebSocket};

use super::{ACCEPT_PAUSE, STOPPING, Server};
use crate::cause::Why;
use crate::{Failure, stop};

/// What the threads share.
struct Hall {
    server: Server,
    is_stopping: AtomicBool,
    guests: Mutex<HashMap<u64, Arc<Guest>>>,
}

/// A connection that has not ended.
struct Guest {
    number: u64,
    address: SocketAddr,
    messages: AtomicU64,
    /// Its opening handshake is done.
    is_open: AtomicBool,
}

impl Hall {
    fn guests(&self) -> MutexGuard<'_, HashMap<u64, Arc<Guest>>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say_ended(&self, guest: &Guest, why: &Why) {
        let messages = guest.messages.load(Ordering::Relaxed);
        self.server.log.ended(guest.address, why, messages);
    }

    /// Tells whether somebody has to be told that the server stops.
    fn is_occupied(&self) -> bool {
        let guests = self.guests();
        guests
            .values()
            .any(|guest| guest.is_open.load(Ordering::SeqCst))
    }
}

pub(super) fn run(server: Server) -> Result<(), Failure> {
    let (stopper, stopped) = mpsc::channel::<()>();
    stop::on_request(move || drop(stopper)).map_err(Failure::failed)?;
    let listener = wspulse_std::listen(&*server.addresses);
    let listener = listener.map_err(|error| server.cannot_listen(error))?;
    server
        .log
        .listening(listener.local_addr().map_err(Failure::failed)?);
    let patience = server.patience();
    let hall = Arc::new(Hall {
        server,
        is_stopping: AtomicBool::new(false),
        guests: Mutex::default(),
    });
    let doorman = Arc::clone(&hall);
    // It waits for the next client until the program ends.
    thread::spawn(move || accept_all(&listener, &doorman));

    // The sender is only ever dropped.
    let _ = stopped.recv();
    hall.is_stopping.store(true, Ordering::SeqCst);
    let began = Instant::now();
    while hall.is_occupied() && began.elapsed() < patience {
        thread::sleep(TICK / 10);
    }
    // Their threads wait in a send, and their sockets close with the program. From here on nobody
    // else says how they ended.
    for (_, guest) in hall.guests().drain() {
        if guest.is_open.load(Ordering::SeqCst) {
            hall.say_ended(&guest, &Why::new("cut-off", "cut off, the server stopped"));
        }
    }
    Ok(())
}

fn accept_all(listener: &TcpListener, hall: &Arc<Hall>) {
    for number in 0.. {
        let (stream, address) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) => {
                hall.server.log.not_accepted(&error);
                thread::sleep(ACCEPT_PAUSE);
                continue;
            }
        };
        if hall.is_stopping.load(Ordering::SeqCst) {
            return;
        }
        let guest = Arc::new(Guest {
            number,
            address,
            messages: AtomicU64::new(0),
            is_open: AtomicBool::new(false),
        });
        hall.guests().insert(number, Arc::clone(&guest));
        let host = Arc::clone(hall);
        let spawned = thread::Builder::new().spawn(move || {
            let why = serve(stream, &guest, &host);
            // The line is out before the program may end.
            let mut guests = host.guests();
            if guests.contains_key(&guest.number) {
                host.say_ended(&guest, &why);
                guests.remove(&guest.number);
            }
        });
        if let Err(error) = spawned {
            hall.server.log.not_accepted(&error);
            hall.guests().remove(&number);
        }
    }
}

/// Serves one connection to its end, and tells how that was.
fn serve(stream: TcpStream, guest: &Guest, hall: &Hall) -> Why {
    match accept(stream, &hall.server) {
        Ok(mut ws) => {
            guest.is_open.store(true, Ordering::SeqCst);
            let end = match echo(&mut ws, &guest.messages, &hall.is_stopping) {
                // How it ended, rather than the failed call that noticed it first.
                Err(Error::Send(_) | Error::Closed(_)) => {
                    ws.by_ref().find_map(Result::err).map_or(Ok(()), Err)
                }
                end => end,
            };
            hall.server.why(end, ws.closed())
        }
        Err(error) => hall.server.why(Err(error), None),
    }
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
    messages: &AtomicU64,
    is_stopping: &AtomicBool,
) -> Result<(), Error> {
    // A client that always sends is told as well.
    while !is_stopping.load(Ordering::SeqCst) {
        match ws.next_timeout(TICK) {
            Poll::Ready(Some(message)) => {
                ws.feed(message?)?;
                messages.fetch_add(1, Ordering::Relaxed);
            }
            Poll::Ready(None) => return Ok(()),
            Poll::Pending => {}
        }
    }
    ws.close(CloseCode::GOING_AWAY, STOPPING)
}

/// How often a thread that waits looks whether the server is to stop.
const TICK: Duration = Duration::from_millis(200);
