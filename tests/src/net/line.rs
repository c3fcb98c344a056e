//! A TCP connection, plain or inside TLS, with reads and writes that never wait unasked.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustls::{ClientConnection, Connection, ServerConnection};
use wspulse_core::Role;

use super::Tls;

/// A connection as the raw peer holds it.
#[derive(Debug)]
pub struct Line {
    socket: TcpStream,
    tls: Option<Box<Connection>>,
    /// The end of input was seen.
    is_over: bool,
}

/// What was made of some bytes to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// This many were taken, and the transport may take more.
    Took(usize),
    /// This many were taken, and the transport takes no more.
    Full(usize),
}

impl Line {
    /// Takes over a socket; with `tls`, `role` says which end of the TLS handshake this is.
    /// Handshakes lazily, in the first reads and writes.
    ///
    /// # Errors
    ///
    /// What the socket or the TLS library say.
    pub fn new(socket: TcpStream, role: Role, tls: Option<&Tls>) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        let tls = match (tls, role) {
            (None, _) => None,
            (Some(tls), Role::Client) => {
                let client = ClientConnection::new(tls.client.clone(), tls.name.clone());
                Some(Box::new(Connection::Client(
                    client.map_err(io::Error::other)?,
                )))
            }
            (Some(tls), Role::Server) => {
                let server = ServerConnection::new(tls.server.clone());
                Some(Box::new(Connection::Server(
                    server.map_err(io::Error::other)?,
                )))
            }
        };
        Ok(Self {
            socket,
            tls,
            is_over: false,
        })
    }

    /// Finishes the TLS handshake, if there is one.
    ///
    /// # Errors
    ///
    /// What the socket or the TLS library say; a timeout after `limit`.
    pub fn shake_hands(&mut self, limit: Duration) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            return Ok(());
        };
        self.socket.set_read_timeout(Some(limit))?;
        self.socket.set_write_timeout(Some(limit))?;
        while tls.is_handshaking() {
            tls.complete_io(&mut self.socket)?;
        }
        Ok(())
    }

    /// Writes what the transport takes at once.
    ///
    /// # Errors
    ///
    /// What the socket says, other than that it is full.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<Sink> {
        self.socket.set_nonblocking(true)?;
        let result = self.try_write(bytes);
        self.socket.set_nonblocking(false)?;
        result
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<Sink> {
        let Some(tls) = &mut self.tls else {
            return match self.socket.write(bytes) {
                Ok(taken) => Ok(Sink::Took(taken)),
                Err(error) if is_wait(&error) => Ok(Sink::Full(0)),
                Err(error) => Err(error),
            };
        };
        let mut taken = 0;
        loop {
            while tls.wants_write() {
                match tls.write_tls(&mut self.socket) {
                    Ok(_) => {}
                    Err(error) if is_wait(&error) => return Ok(Sink::Full(taken)),
                    Err(error) => return Err(error),
                }
            }
            if taken == bytes.len() {
                return Ok(Sink::Took(taken));
            }
            taken += tls.writer().write(&bytes[taken..])?;
        }
    }

    /// Reads what there is, and waits for it until `deadline`: `None` if nothing came, zero at
    /// the end.
    ///
    /// # Errors
    ///
    /// What the socket or the TLS library say.
    pub fn read(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<Option<usize>> {
        if self.is_over {
            return Ok(Some(0));
        }
        loop {
            if let Some(tls) = &mut self.tls {
                match tls.reader().read(buffer) {
                    Ok(0) | Err(_) => {}
                    Ok(count) => return Ok(Some(count)),
                }
            }
            let wait = deadline.saturating_duration_since(Instant::now());
            // Zero would mean for ever.
            self.socket
                .set_read_timeout(Some(wait.max(Duration::from_micros(1))))?;
            let read = match &mut self.tls {
                None => self.socket.read(buffer),
                Some(tls) => tls.read_tls(&mut self.socket),
            };
            match read {
                Ok(0) => {
                    self.is_over = true;
                    return Ok(Some(0));
                }
                Ok(count) if self.tls.is_none() => return Ok(Some(count)),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_wait(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
            if let Some(tls) = &mut self.tls {
                let state = tls.process_new_packets().map_err(io::Error::other)?;
                if state.peer_has_closed() && state.plaintext_bytes_to_read() == 0 {
                    self.is_over = true;
                    return Ok(Some(0));
                }
            }
        }
    }

    /// Ends this side's half of the stream.
    pub fn shutdown(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = self.try_write(&[]);
        }
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Drops the connection with a reset in place of an end.
    pub fn reset(self) {
        let _ = socket2::SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
    }

    /// Returns the address of the other end.
    ///
    /// # Errors
    ///
    /// What the socket says.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }
}

fn is_wait(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
