//! A stream, with or without TLS, as the drive loop wants it.

use std::io::{self, IoSlice, Read, Write};

use wspulse_core::Transmit;
#[cfg(feature = "tls")]
use wspulse_drive::tls::TlsSession;
use wspulse_drive::{Transport, with_slices};

use crate::stream::Stream;

/// What is known of a stream's input in this turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Nothing: only a read that finds none tells.
    Unknown,
    /// The poll told of what there is, and will tell of all that comes later: a read that takes
    /// less than it has room for takes the last of it.
    Told,
    /// That read was made.
    Taken,
}

/// A stream and what lies between it and the connection.
pub(crate) struct Wire<'a, S> {
    pub(crate) stream: Raw<'a, S>,
    pub(crate) input: &'a mut Input,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<&'a mut TlsSession>,
}

impl<S: Stream> Transport for Wire<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            let was_handshaking = tls.is_handshaking();
            let read = tls.read(&mut self.stream, buffer);
            // The end of the handshake is what the output has waited for: look at it again.
            let is_done = was_handshaking && !tls.is_handshaking();
            return match read {
                Err(error) if is_done && error.kind() == io::ErrorKind::WouldBlock => {
                    Err(io::ErrorKind::Interrupted.into())
                }
                read => read,
            };
        }
        if *self.input == Input::Taken {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let read = self.stream.read(buffer);
        if *self.input == Input::Told && matches!(read, Ok(count) if count < buffer.len()) {
            *self.input = Input::Taken;
        }
        read
    }

    /// Makes one write of everything lent.
    fn write(&mut self, transmit: &Transmit<'_>) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return tls.write(&mut self.stream, transmit);
        }
        let written = with_slices(transmit, |slices| match slices {
            [slice] => self.stream.write(slice),
            slices => self.stream.write_vectored(slices),
        });
        if written
            .as_ref()
            .is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock)
        {
            // What is wrong with the stream, a read may tell.
            *self.input = Input::Unknown;
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            tls.flush(&mut self.stream)?;
        }
        self.stream.flush()
    }

    fn shutdown(&mut self) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            tls.shutdown(&mut self.stream)?;
        }
        self.stream.stream.shutdown()
    }

    /// Nobody is declared dead over a read that was not made.
    fn has_looked(&self) -> bool {
        *self.input != Input::Taken
    }

    fn wants_flush(&self) -> bool {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.wants_flush();
        }
        false
    }
}

/// The stream itself, which may still be connecting and is not taken at its word.
pub(crate) struct Raw<'a, S> {
    pub(crate) stream: &'a mut S,
    /// Set by the first byte in either direction.
    pub(crate) is_connected: &'a mut bool,
}

impl<S> Raw<'_, S> {
    /// Makes of what a stream said what it can have meant.
    fn check(&mut self, result: io::Result<usize>, room: usize) -> io::Result<usize> {
        match result {
            Ok(count) => {
                *self.is_connected |= count > 0;
                Ok(count.min(room))
            }
            // Some systems say so of a connection that is on its way; its end is an event.
            Err(error) if error.kind() == io::ErrorKind::NotConnected && !*self.is_connected => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            Err(error) => Err(error),
        }
    }
}

impl<S: Stream> Read for Raw<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self.stream.read(buffer) {
            Ok(count) if count > buffer.len() => Err(io::Error::other(
                "the stream read more than there was room for",
            )),
            read => read,
        };
        self.check(read, buffer.len())
    }
}

impl<S: Stream> Write for Raw<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.stream.write(bytes);
        self.check(written, bytes.len())
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let written = self.stream.write_vectored(slices);
        let length = slices.iter().map(|slice| slice.len()).sum();
        self.check(written, length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
