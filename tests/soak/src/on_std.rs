//! wspulse-std: a thread for each connection, on either side.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use wspulse_core::{CloseCode, Event, Message};
use wspulse_std::{Error, ReconnectingClient, WebSocket};
use wspulse_tests::kit::ms;

use crate::books::{Tally, judge};
use crate::scene::{PATIENCE, Rhythm, Scene, TICK, count};
use crate::stay::{Do, Stay, policy};
use crate::talk::{Next, Talk};

// ---- the server

pub(crate) fn serve(mut listener: TcpListener, scene: &Scene) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    let mut rhythm = Rhythm::new(scene, 2);
    loop {
        let is_stopping = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let until = Instant::now() + rhythm.life();
                while Instant::now() < until && !scene.books.is_closed() {
                    thread::sleep(TICK);
                }
                is_stopping.store(true, SeqCst);
                // Wakes who accepts.
                let _ = TcpStream::connect(address);
            });
            while let Ok((stream, _)) = listener.accept() {
                if is_stopping.load(SeqCst) {
                    break;
                }
                scope.spawn(|| answer(stream, scene, &is_stopping));
            }
            drop(listener);
        });
        if scene.books.is_closed() {
            return Ok(());
        }
        thread::sleep(rhythm.absence());
        listener = listen(address)?;
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    for _ in 0..200 {
        if let Ok(listener) = TcpListener::bind(address) {
            return Ok(listener);
        }
        thread::sleep(ms(20));
    }
    TcpListener::bind(address)
}

fn answer(stream: TcpStream, scene: &Scene, is_stopping: &AtomicBool) {
    let mut tally = Tally::default();
    let end = match wspulse_std::accept(stream, Arc::clone(&scene.config)) {
        Ok(mut ws) => echo(&mut ws, &mut tally, is_stopping),
        Err(Error::Closed(closed)) => judge(&closed).map(|how| format!("{how} in the handshake")),
        Err(Error::Io(_)) => Ok("cut in the handshake".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    scene.books.enter("std server", tally, end);
}

fn echo(
    ws: &mut WebSocket<TcpStream>,
    tally: &mut Tally,
    is_stopping: &AtomicBool,
) -> Result<String, String> {
    let mut is_asked = false;
    loop {
        if is_stopping.load(SeqCst) && !is_asked {
            is_asked = true;
            // How it ends is told below, unless it is over with this.
            let _ = ws.close(CloseCode::GOING_AWAY, "");
            if let Some(closed) = ws.closed() {
                return judge(closed);
            }
        }
        match ws.next_event_timeout(2 * TICK) {
            Poll::Ready(Some(Event::Closed(closed))) => return judge(&closed),
            Poll::Ready(Some(event)) => {
                if let Ok(message) = Message::try_from(event) {
                    count(tally, &message);
                    let _ = ws.send(message);
                }
            }
            Poll::Ready(None) => return Err("ended without an end".to_owned()),
            Poll::Pending => {}
        }
    }
}

// ---- clients that come and go

pub(crate) fn come_and_go(who: u64, scene: &Scene) {
    for nth in 0.. {
        if scene.books.is_over() {
            return;
        }
        let mut talk = scene.talk(who, nth);
        let end = converse(&scene.url(who), scene, &mut talk);
        if end.is_err() {
            thread::sleep(ms(500));
        }
        scene.enter("std client", (who, nth), talk.tally, end);
    }
}

fn converse(url: &str, scene: &Scene, talk: &mut Talk) -> Result<String, String> {
    let connected = wspulse_std::connect(url, Arc::clone(&scene.config));
    let mut ws = connected.map_err(|error| format!("no connection: {error}"))?;
    loop {
        let sent = match talk.next() {
            Next::Send(mut parts) => {
                let last = parts.pop();
                let is_whole = parts.is_empty();
                let mut sent = Ok(());
                for part in parts {
                    sent = sent.and_then(|()| ws.send_part(part, false));
                }
                match last {
                    Some(last) if is_whole => ws.send(last),
                    Some(last) => sent.and_then(|()| ws.send_part(last, true)),
                    None => sent,
                }
            }
            Next::Ping(payload) => ws.ping(&payload),
            Next::Pause(pause) => {
                if let Some(end) = hear_for(&mut ws, pause, talk)? {
                    return Ok(end);
                }
                Ok(())
            }
            Next::Wait => {
                let event = ws.next_event_timeout(ms(500));
                if let Some(end) = hear(event, talk)? {
                    return Ok(end);
                }
                talk.check_patience()?;
                Ok(())
            }
            Next::Close(code) => ws.close(code, ""),
            Next::Abort => return Ok("cut by us".to_owned()),
        };
        if sent.is_err() || ws.closed().is_some() {
            if let Some(closed) = ws.closed() {
                return judge(closed);
            }
            let ended = hear_for(&mut ws, 2 * PATIENCE, talk)?;
            return ended.ok_or_else(|| "does not end".to_owned());
        }
    }
}

fn hear_for<S: wspulse_std::Stream>(
    ws: &mut WebSocket<S>,
    span: Duration,
    talk: &mut Talk,
) -> Result<Option<String>, String> {
    let until = Instant::now() + span;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        if let Some(end) = hear(ws.next_event_timeout(left), talk)? {
            return Ok(Some(end));
        }
    }
}

/// Returns how it ended, if it did.
fn hear(event: Poll<Option<Event>>, talk: &mut Talk) -> Result<Option<String>, String> {
    match event {
        Poll::Ready(Some(Event::Closed(closed))) => judge(&closed).map(Some),
        Poll::Ready(Some(event)) => talk.hear(event).map(|()| None),
        Poll::Ready(None) => Err("ended without an end".to_owned()),
        Poll::Pending => Ok(None),
    }
}

// ---- clients that come back

/// Goes on over all ends that the peer makes.
pub(crate) fn stay(who: u64, scene: &Scene) {
    if let Err(failure) = go_on(who, scene) {
        let failure = format!("std client {who} that comes back: {failure}");
        scene.books.fail(failure);
    }
}

fn go_on(who: u64, scene: &Scene) -> Result<(), String> {
    let config = Arc::clone(&scene.config);
    let client = ReconnectingClient::new(&scene.url(who), config, policy());
    let mut client = client.map_err(|error| error.to_string())?;
    let mut stay = Stay::new(scene, "std client that comes back", who);
    loop {
        match stay.next() {
            Do::Send(message) => {
                let _ = client.send(message);
            }
            Do::Wait(span) => match client.next_event_timeout(span) {
                Poll::Ready(event) => stay.hear(event)?,
                Poll::Pending => stay.check_patience()?,
            },
            Do::Close => {
                stay.closed(client.close(CloseCode::NORMAL, ""));
                return Ok(());
            }
            Do::Leave => return Ok(()),
        }
    }
}
