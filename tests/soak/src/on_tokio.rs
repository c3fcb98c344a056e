//! wspulse-tokio: a server that drains and comes back, clients that come and go, and clients that
//! come back.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout, timeout_at};
use wspulse_core::{CloseCode, Event, Message};
use wspulse_tests::kit::ms;
use wspulse_tokio::{Drain, Error, MaybeTls, ReconnectingClient, WebSocket};

use crate::books::{Tally, judge};
use crate::scene::{DEADLINE, PATIENCE, Rhythm, SPREAD, Scene, TICK, count};
use crate::stay::{Do, Stay, policy};
use crate::talk::{Next, Talk};

// ---- the server

pub(crate) async fn serve(mut listener: TcpListener, scene: Arc<Scene>) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    let mut rhythm = Rhythm::new(&scene, 1);
    loop {
        let drain = Drain::new();
        let accepting = tokio::spawn(accept_all(listener, drain.clone(), Arc::clone(&scene)));
        let until = Instant::now() + rhythm.life();
        while Instant::now() < until && !scene.books.is_closed() {
            sleep(TICK).await;
        }
        accepting.abort();
        let _ = accepting.await;
        let report = drain.shutdown(SPREAD, DEADLINE).await;
        if report.cut().next().is_some() {
            scene.books.fail(format!("tokio server: {report}"));
        }
        if scene.books.is_closed() {
            return Ok(());
        }
        sleep(rhythm.absence()).await;
        listener = listen(address).await?;
    }
}

/// Between two lives of a server somebody may have its port for a moment.
async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    for _ in 0..200 {
        if let Ok(listener) = TcpListener::bind(address).await {
            return Ok(listener);
        }
        sleep(ms(20)).await;
    }
    TcpListener::bind(address).await
}

async fn accept_all(listener: TcpListener, drain: Drain, scene: Arc<Scene>) {
    for number in 0.. {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(answer(stream, number, drain.clone(), Arc::clone(&scene)));
            }
            Err(error) => scene.books.fail(format!("tokio server: {error}")),
        }
    }
}

/// Echoes, in each of the three ways to hold a connection.
async fn answer(stream: TcpStream, number: u64, drain: Drain, scene: Arc<Scene>) {
    let mut ws = match wspulse_tokio::accept(stream, Arc::clone(&scene.config)).await {
        Ok(ws) => ws,
        Err(error) => return not_opened(&scene, &error),
    };
    drain.guard(&mut ws, number);
    let mut tally = Tally::default();
    let end = match number % 3 {
        0 => loop {
            match ws.next_event().await {
                Some(Event::Closed(closed)) => break judge(&closed),
                event => {
                    if let Some(message) = message(event, &mut tally) {
                        // How it ended says the event.
                        let _ = ws.send(message).await;
                    }
                }
            }
        },
        1 => {
            let (mut reader, mut writer) = ws.split();
            loop {
                match reader.next_event().await {
                    Some(Event::Closed(closed)) => break judge(&closed),
                    event => {
                        if let Some(message) = message(event, &mut tally) {
                            let _ = writer.send(message).await;
                        }
                    }
                }
            }
        }
        _ => {
            let (mut receiver, sender) = ws.spawn(4);
            loop {
                match receiver.next_event().await {
                    Some(Event::Closed(closed)) => break judge(&closed),
                    event => {
                        if let Some(message) = message(event, &mut tally) {
                            let _ = sender.send(message).await;
                        }
                    }
                }
            }
        }
    };
    scene.books.enter("tokio server", tally, end);
}

fn message(event: Option<Event>, tally: &mut Tally) -> Option<Message> {
    let message = Message::try_from(event?).ok()?;
    count(tally, &message);
    Some(message)
}

/// A peer may be gone before its handshake is through, when all comes to its end.
fn not_opened(scene: &Scene, error: &Error) {
    let end = match error {
        Error::Closed(closed) => judge(closed),
        Error::Io(_) => Ok("cut".to_owned()),
        error => Err(error.to_string()),
    };
    let end = end.map(|how| format!("{how} in the handshake"));
    scene.books.enter("tokio server", Tally::default(), end);
}

// ---- clients that come and go

pub(crate) async fn come_and_go(who: u64, scene: Arc<Scene>) {
    for nth in 0.. {
        if scene.books.is_over() {
            return;
        }
        let mut talk = scene.talk(who, nth);
        let end = converse(&scene.url(who), &scene, &mut talk).await;
        if end.is_err() {
            // The next one may fail as well, and there is no hurry.
            sleep(ms(500)).await;
        }
        scene.enter("tokio client", (who, nth), talk.tally, end);
    }
}

type Ws = WebSocket<MaybeTls<TcpStream>>;

async fn converse(url: &str, scene: &Scene, talk: &mut Talk) -> Result<String, String> {
    let connected = wspulse_tokio::connect(url, Arc::clone(&scene.config)).await;
    let mut ws = connected.map_err(|error| format!("no connection: {error}"))?;
    loop {
        let sent = match talk.next() {
            Next::Send(parts) => send(&mut ws, parts).await,
            Next::Ping(payload) => ws.ping(&payload).await,
            Next::Pause(pause) => {
                let until = tokio::time::Instant::now() + pause;
                // What came is taken in any case.
                while let Ok(event) = timeout_at(until, ws.next_event()).await {
                    if let Some(end) = hear(event, talk)? {
                        return Ok(end);
                    }
                }
                Ok(())
            }
            Next::Wait => {
                if let Ok(event) = timeout(ms(500), ws.next_event()).await
                    && let Some(end) = hear(event, talk)?
                {
                    return Ok(end);
                }
                talk.check_patience()?;
                Ok(())
            }
            Next::Close(code) => ws.close(code, "").await,
            Next::Abort => return Ok("cut by us".to_owned()),
        };
        match sent {
            Ok(()) if ws.closed().is_none() => {}
            // It is over, or will be soon.
            Ok(()) | Err(_) => return end(&mut ws, talk).await,
        }
    }
}

async fn send(ws: &mut Ws, mut parts: Vec<Message>) -> Result<(), Error> {
    let Some(last) = parts.pop() else {
        return Ok(());
    };
    if parts.is_empty() {
        return ws.send(last).await;
    }
    for part in parts {
        ws.send_part(part, false).await?;
    }
    ws.send_part(last, true).await
}

/// Returns how it ended, if it did.
fn hear(event: Option<Event>, talk: &mut Talk) -> Result<Option<String>, String> {
    match event {
        Some(Event::Closed(closed)) => judge(&closed).map(Some),
        Some(event) => talk.hear(event).map(|()| None),
        None => Err("ended without an end".to_owned()),
    }
}

async fn end(ws: &mut Ws, talk: &mut Talk) -> Result<String, String> {
    if let Some(closed) = ws.closed() {
        return judge(closed);
    }
    let all = async {
        loop {
            if let Some(end) = hear(ws.next_event().await, talk)? {
                return Ok(end);
            }
        }
    };
    let ended = timeout(2 * PATIENCE, all).await;
    ended.unwrap_or_else(|_| Err("does not end".to_owned()))
}

// ---- clients that come back

/// Goes on over all ends that the peer makes.
pub(crate) async fn stay(who: u64, scene: Arc<Scene>) {
    let outcome = go_on(who, &scene).await;
    if let Err(failure) = outcome {
        scene
            .books
            .fail(format!("tokio client {who} that comes back: {failure}"));
    }
}

async fn go_on(who: u64, scene: &Scene) -> Result<(), String> {
    let config = Arc::clone(&scene.config);
    let client = ReconnectingClient::new(&scene.url(who), config, policy());
    let mut client = client.map_err(|error| error.to_string())?;
    let mut stay = Stay::new(scene, "tokio client that comes back", who);
    loop {
        match stay.next() {
            Do::Send(message) => {
                let _ = client.send(message).await;
            }
            Do::Wait(span) => match timeout(span, client.next_event()).await {
                Ok(event) => stay.hear(event)?,
                Err(_) => stay.check_patience()?,
            },
            Do::Close => {
                stay.closed(client.close(CloseCode::NORMAL, "").await);
                return Ok(());
            }
            Do::Leave => return Ok(()),
        }
    }
}

/// Listens on a free port.
pub(crate) async fn bind() -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
}
