//! One end of the connection, driven and observed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;
use wspulse_core::{Closed, Config, Event, Message};
use wspulse_tokio::WebSocket;

/// What one end saw, and when.
#[derive(Debug)]
pub(super) struct Sighting {
    pub(super) who: &'static str,
    pub(super) at: Duration,
    pub(super) what: Sight,
}

#[derive(Debug)]
pub(super) enum Sight {
    Open,
    Message(Message),
    /// A ping of this end was answered.
    Pong {
        number: u32,
        rtt: Duration,
    },
    Suspect,
    Recovered,
    Closed(Box<Closed>),
}

/// Where sightings go.
#[derive(Clone, Debug)]
pub(super) struct Observer {
    pub(super) who: &'static str,
    pub(super) origin: Instant,
    pub(super) sightings: mpsc::UnboundedSender<Sighting>,
    /// Pongs reported for the connection under way.
    pub(super) answered: u32,
}

impl Observer {
    pub(super) fn report(&self, what: Sight) {
        let at = self.origin.elapsed();
        // Nobody listens any more when the program ends.
        let _ = self.sightings.send(Sighting {
            who: self.who,
            at,
            what,
        });
    }
}

/// Serves on a free port, and sends messages back.
pub(super) async fn serve(config: Arc<Config>, observer: Observer) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (config, mut observer) = (Arc::clone(&config), observer.clone());
            tokio::spawn(async move {
                let Ok(mut ws) = wspulse_tokio::accept(stream, config).await else {
                    return;
                };
                observer.report(Sight::Open);
                while let Some(message) = watch(&mut ws, &mut observer).await {
                    observer.report(Sight::Message(message.clone()));
                    if ws.send(message).await.is_err() {
                        break;
                    }
                }
                // Whatever stopped the echo, the end has a reason.
                while watch(&mut ws, &mut observer).await.is_some() {}
            });
        }
    });
    Ok(address)
}

/// Runs `ws` until its next message, and reports everything else; `None` at its end.
///
/// May be dropped and called again.
pub(super) async fn watch(
    ws: &mut WebSocket<impl AsyncRead + AsyncWrite + Unpin>,
    observer: &mut Observer,
) -> Option<Message> {
    let mut looks = tokio::time::interval(LOOK);
    loop {
        let event = tokio::select! {
            biased;
            event = ws.next_event() => Some(event?),
            _ = looks.tick() => None,
        };
        // The heartbeat's pongs are no events: they show in its numbers.
        let heartbeat = ws.snapshot().heartbeat;
        if heartbeat.answered != observer.answered {
            observer.answered = heartbeat.answered;
            if let Some(rtt) = heartbeat.rtt {
                observer.report(Sight::Pong {
                    number: heartbeat.answered,
                    rtt: rtt.last(),
                });
            }
        }
        match event.map(Message::try_from) {
            Some(Ok(message)) => return Some(message),
            Some(Err(Event::Suspect)) => observer.report(Sight::Suspect),
            Some(Err(Event::Recovered)) => observer.report(Sight::Recovered),
            Some(Err(Event::Closed(closed))) => observer.report(Sight::Closed(closed)),
            Some(Err(_)) | None => {}
        }
    }
}

/// How often the numbers are looked at.
const LOOK: Duration = Duration::from_millis(20);
