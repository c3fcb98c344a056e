//! TLS between the connection and its stream.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant as SystemInstant};

use wspulse_core::Instant;
use wspulse_drive::tls::TlsSession;
use wspulse_drive::{Drive, Outcome, Stage, with_buffer};

use crate::Error;
use crate::scratch;
use crate::stream::Stream;

/// A session, and what it has encrypted for the stream.
#[derive(Debug)]
pub(crate) struct Tls {
    session: TlsSession,
    /// Encrypted bytes, of which the stream has taken the first `sent`.
    cipher: Vec<u8>,
    sent: usize,
    /// How much of the connection's output they carry.
    plain: usize,
    has_said_goodbye: bool,
}

impl Tls {
    fn new(session: TlsSession) -> Self {
        Self {
            session,
            cipher: Vec::new(),
            sent: 0,
            plain: 0,
            has_said_goodbye: false,
        }
    }

    /// Decrypts what was read, and hands all of it over.
    pub(crate) fn receive(&mut self, now: Instant, bytes: &[u8], drive: &mut Drive) -> Outcome {
        let mut feed = Feed(bytes);
        scratch::with_room(|room| {
            loop {
                match self.session.read(&mut feed, room) {
                    Ok(count) => {
                        drive.handle_read(now, Ok(&room[..count]));
                        if count == 0 {
                            return Outcome::Progress;
                        }
                    }
                    // It has nothing more to say about these bytes. That is not a read which
                    // found nothing.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return Outcome::Progress;
                    }
                    Err(error) => return drive.handle_read(now, Err(error)),
                }
            }
        })
    }

    pub(crate) fn wants_write(&self) -> bool {
        self.sent < self.cipher.len() || self.session.wants_flush()
    }

    /// Encrypts what the connection lends, unless the last of it is still on its way, and lends
    /// that.
    pub(crate) fn lend(&mut self, drive: &mut Drive) -> &[u8] {
        if self.sent >= self.cipher.len() {
            (self.sent, self.plain) = (0, 0);
            self.cipher.clear();
            let filled = match drive.poll_transmit() {
                Some(transmit) => self.session.write(&mut self.cipher, &transmit),
                None => self.session.flush(&mut self.cipher).map(|()| 0),
            };
            // Memory takes everything; what is left is that the session itself cannot.
            self.plain = filled.unwrap_or(0);
        }
        &self.cipher[self.sent..]
    }

    /// Reports output once the last byte that carries it has left.
    pub(crate) fn handle_write(
        &mut self,
        began: Instant,
        ended: Instant,
        written: io::Result<usize>,
        drive: &mut Drive,
    ) -> Outcome {
        match written {
            Ok(count @ 1..) => {
                self.sent = self.sent.saturating_add(count);
                if self.sent < self.cipher.len() {
                    // The connection has to know that the stream is full, as it would from a
                    // part that was taken of plain output.
                    drive.handle_write(began, ended, Err(io::ErrorKind::WouldBlock.into()));
                    return Outcome::Progress;
                }
                self.sent = 0;
                self.cipher = Vec::new();
                match std::mem::take(&mut self.plain) {
                    0 => Outcome::Progress,
                    plain => drive.handle_write(began, ended, Ok(plain)),
                }
            }
            written => drive.handle_write(began, ended, written),
        }
    }

    /// Queues a closure alert (RFC 8446 §6.1), once.
    pub(crate) fn say_goodbye(&mut self) -> bool {
        if self.has_said_goodbye {
            return true;
        }
        self.has_said_goodbye = true;
        self.session.shutdown(&mut self.cipher).is_err()
    }
}

/// Shakes hands within `timeout`. Returns the session, and what the peer sent behind its
/// handshake.
///
/// # Errors
///
/// [`Error::Tls`] if the peers do not agree, or the certificate is not one to trust;
/// [`Error::Timeout`]; [`Error::Io`].
pub(crate) fn handshake(
    stream: &impl Stream,
    mut session: TlsSession,
    timeout: Duration,
) -> Result<(Tls, Vec<u8>), Error> {
    let deadline = SystemInstant::now().checked_add(timeout);
    let left = || match deadline {
        None => Ok(None),
        Some(deadline) => match deadline.saturating_duration_since(SystemInstant::now()) {
            Duration::ZERO => Err(Error::Timeout(Stage::Tls)),
            left => Ok(Some(left.max(SHORTEST))),
        },
    };
    let mut early = Vec::new();
    loop {
        let mut answer = Vec::new();
        session.flush(&mut answer)?;
        let mut rest = &answer[..];
        while !rest.is_empty() {
            stream.set_write_timeout(left()?)?;
            match stream.write(rest) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if !session.is_handshaking() {
            return Ok((Tls::new(session), early));
        }
        stream.set_read_timeout(left()?)?;
        let taken = with_buffer(|buffer| match stream.read(buffer) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => take(&mut session, &buffer[..count.min(buffer.len())], &mut early),
            Err(error) if is_transient(&error) => Ok(()),
            Err(error) => Err(error),
        });
        if let Err(error) = taken {
            // The peer is told why, if it can be told at once.
            let mut alert = Vec::new();
            if session.flush(&mut alert).is_ok() && !alert.is_empty() {
                let _ = stream.set_write_timeout(Some(SHORTEST));
                let _ = stream.write(&alert);
            }
            return Err(error.into());
        }
    }
}

fn take(session: &mut TlsSession, bytes: &[u8], early: &mut Vec<u8>) -> io::Result<()> {
    let mut feed = Feed(bytes);
    scratch::with_room(|room| {
        loop {
            match session.read(&mut feed, room) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => early.extend_from_slice(&room[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    })
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// Bytes that were read, as a socket that has no more now; what is to be sent waits inside the
/// session.
struct Feed<'a>(&'a [u8]);

impl Read for Feed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 if !buffer.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for Feed<'_> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A zero timeout would mean none.
const SHORTEST: Duration = Duration::from_millis(1);
