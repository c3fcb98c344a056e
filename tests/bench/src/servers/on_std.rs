//! wspulse on blocking sockets: a thread for each connection.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use wspulse_core::Config;
use wspulse_std::Error;

use super::Settings;

pub(super) fn serve(listener: TcpListener, settings: Settings) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        let config = Arc::clone(&settings.config);
        thread::Builder::new().spawn(move || echo(stream, config))?;
    }
}

fn echo(stream: TcpStream, config: Arc<Config>) -> Result<(), Error> {
    let mut ws = wspulse_std::accept(stream, config)?;
    while let Some(message) = ws.next() {
        ws.send(message?)?;
    }
    Ok(())
}
