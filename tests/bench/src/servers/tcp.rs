//! The physical limit: what came is written back, whatever it is.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpListener;

use super::Settings;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

pub(super) fn on_tokio(listener: TcpListener, _: Settings) -> io::Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    super::on_tokio::serve(listener, |mut stream: tokio::net::TcpStream| async move {
        let mut buffer = vec![0; READ];
        loop {
            match stream.read(&mut buffer).await? {
                0 => return Ok::<_, io::Error>(()),
                count => stream.write_all(&buffer[..count]).await?,
            }
        }
    })
}

pub(super) fn on_mio(listener: TcpListener, _: Settings) -> io::Result<()> {
    let mut listener = mio::net::TcpListener::from_std(listener);
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut echoes: Vec<Option<Echo>> = Vec::new();
    let mut buffer = vec![0; READ];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                accept_all(&listener, &poll, &mut echoes)?;
                continue;
            }
            let Token(number) = event.token();
            let Some(echo) = &mut echoes[number] else {
                continue;
            };
            if !matches!(echo.turn(&mut buffer), Ok(true)) {
                echoes[number] = None;
            }
        }
    }
}

fn accept_all(
    listener: &mio::net::TcpListener,
    poll: &Poll,
    echoes: &mut Vec<Option<Echo>>,
) -> io::Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        stream.set_nodelay(true)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        let token = Token(echoes.len());
        poll.registry().register(&mut stream, token, both)?;
        let left = Vec::new();
        echoes.push(Some(Echo { stream, left }));
    }
}

struct Echo {
    stream: TcpStream,
    /// What the socket did not take.
    left: Vec<u8>,
}

impl Echo {
    /// Returns `false` at the end. A read that falls short has emptied the socket.
    fn turn(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        if !self.left.is_empty() {
            let written = write(&mut self.stream, &self.left)?;
            self.left.drain(..written);
        }
        while self.left.is_empty() {
            let count = match self.stream.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            let written = write(&mut self.stream, &buffer[..count])?;
            self.left.extend_from_slice(&buffer[written..count]);
            if count < buffer.len() {
                break;
            }
        }
        Ok(true)
    }
}

/// Returns how much the socket took.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

const LISTENER: Token = Token(usize::MAX - 1);

/// Bytes that are read at once, as wspulse does.
const READ: usize = 64 * 1024;
