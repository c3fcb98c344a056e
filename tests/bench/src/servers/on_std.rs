//! wspulse on blocking sockets: a thread for each connection.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use wspulse_core::{Config, Message};
use wspulse_std::{Error, WebSocket};

use super::Settings;

/// README's loop: the answers to a batch share a write.
pub(super) fn serve(listener: TcpListener, settings: Settings) -> io::Result<()> {
    accept(listener, settings, |ws, message| ws.feed(message))
}

/// The plain loop: each answer leaves by itself.
pub(super) fn send(listener: TcpListener, settings: Settings) -> io::Result<()> {
    accept(listener, settings, |ws, message| ws.send(message))
}

type Answer = fn(&mut WebSocket<TcpStream>, Message) -> Result<(), Error>;

fn accept(listener: TcpListener, settings: Settings, answer: Answer) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        let config = Arc::clone(&settings.config);
        thread::Builder::new().spawn(move || echo(stream, config, answer))?;
    }
}

fn echo(stream: TcpStream, config: Arc<Config>, answer: Answer) -> Result<(), Error> {
    let mut ws = wspulse_std::accept(stream, config)?;
    while let Some(message) = ws.next() {
        answer(&mut ws, message?)?;
    }
    Ok(())
}
