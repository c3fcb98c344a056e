//! A stream of bytes that waits, but not for ever.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use wspulse_core::Config;

/// A stream of bytes with timeouts, which two threads may use at once: one reads, the other
/// writes.
///
/// A blocking socket is one. Whatever else can wait for a while and then give up can be one too:
///
/// ```
/// use std::collections::VecDeque;
/// use std::io;
/// use std::net::Shutdown;
/// use std::sync::{Arc, Condvar, Mutex};
/// use std::time::Duration;
///
/// use wspulse_std::Stream;
///
/// /// One direction of a pipe in memory, which always has room.
/// #[derive(Default)]
/// struct Way {
///     /// The bytes, and whether they have come to their end.
///     bytes: Mutex<(VecDeque<u8>, bool)>,
///     arrived: Condvar,
/// }
///
/// struct Pipe {
///     incoming: Arc<Way>,
///     outgoing: Arc<Way>,
///     timeout: Mutex<Option<Duration>>,
/// }
///
/// impl Stream for Pipe {
///     fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
///         *self.timeout.lock().unwrap() = timeout;
///         Ok(())
///     }
///     fn set_write_timeout(&self, _: Option<Duration>) -> io::Result<()> {
///         Ok(()) // it never waits
///     }
///     fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
///         let timeout = self.timeout.lock().unwrap().unwrap_or(Duration::MAX);
///         let bytes = self.incoming.bytes.lock().unwrap();
///         let waited = self.incoming.arrived.wait_timeout_while(bytes, timeout, |(bytes, ended)| {
///             bytes.is_empty() && !*ended
///         });
///         let ((bytes, ended), _) = &mut *waited.unwrap().0.into();
///         match (bytes.len().min(buffer.len()), ended) {
///             (0, false) => Err(io::ErrorKind::WouldBlock.into()),
///             (count, _) => {
///                 for (place, byte) in buffer.iter_mut().zip(bytes.drain(..count)) {
///                     *place = byte;
///                 }
///                 Ok(count)
///             }
///         }
///     }
///     fn write(&self, bytes: &[u8]) -> io::Result<usize> {
///         self.outgoing.bytes.lock().unwrap().0.extend(bytes);
///         self.outgoing.arrived.notify_all();
///         Ok(bytes.len())
///     }
///     fn shutdown(&self, how: Shutdown) -> io::Result<()> {
///         for (way, is_meant) in [
///             (&self.incoming, how != Shutdown::Write),
///             (&self.outgoing, how != Shutdown::Read),
///         ] {
///             way.bytes.lock().unwrap().1 |= is_meant;
///             way.arrived.notify_all();
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Stream {
    /// Sets how long a [`read`](Self::read) waits; `None` is for ever. Called when it changes.
    ///
    /// # Errors
    ///
    /// Whatever is wrong ends the reading.
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;

    /// Sets how long a [`write`](Self::write) waits; `None` is for ever. Called when it changes.
    ///
    /// # Errors
    ///
    /// Whatever is wrong ends the writing.
    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;

    /// Reads once into `buffer`, and waits for the first byte; 0 is the end of the stream.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when the timeout has passed; anything else ends the reading.
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes the beginning of `bytes`, and waits for room; returns how much was taken.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when the timeout has passed and nothing was taken; anything else ends the
    /// writing.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Closes one half or both. Reads and writes that wait in another thread return.
    ///
    /// # Errors
    ///
    /// Counts as done.
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;

    /// Sets the stream up for a connection; does nothing by default.
    ///
    /// # Errors
    ///
    /// If the stream cannot be used.
    fn prepare(&self, config: &Config) -> io::Result<()> {
        let _ = config;
        Ok(())
    }
}

/// Set up by [`wspulse_drive::tune`], and to wait.
impl Stream for TcpStream {
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        Self::set_read_timeout(self, timeout)
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        Self::set_write_timeout(self, timeout)
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut stream = self;
        Read::read(&mut stream, buffer).map_err(timed_out)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut stream = self;
        Write::write(&mut stream, bytes).map_err(timed_out)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        Self::shutdown(self, how)
    }

    fn prepare(&self, config: &Config) -> io::Result<()> {
        wspulse_drive::tune(self, config);
        self.set_nonblocking(false)
    }
}

#[cfg(unix)]
impl Stream for UnixStream {
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        Self::set_read_timeout(self, timeout)
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        Self::set_write_timeout(self, timeout)
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut stream = self;
        Read::read(&mut stream, buffer)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut stream = self;
        Write::write(&mut stream, bytes)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        Self::shutdown(self, how)
    }

    fn prepare(&self, _: &Config) -> io::Result<()> {
        self.set_nonblocking(false)
    }
}

/// A stream behind a pointer, for a type that is chosen at run time.
macro_rules! behind {
    ($pointer:ident) => {
        impl<S: Stream + ?Sized> Stream for $pointer<S> {
            fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
                (**self).set_read_timeout(timeout)
            }

            fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
                (**self).set_write_timeout(timeout)
            }

            fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
                (**self).read(buffer)
            }

            fn write(&self, bytes: &[u8]) -> io::Result<usize> {
                (**self).write(bytes)
            }

            fn shutdown(&self, how: Shutdown) -> io::Result<()> {
                (**self).shutdown(how)
            }

            fn prepare(&self, config: &Config) -> io::Result<()> {
                (**self).prepare(config)
            }
        }
    };
}

behind!(Arc);
behind!(Box);

/// Sorts the end of a socket's own timeout from a peer that the kernel gave up. Windows has one
/// error for both, and sets no TCP_USER_TIMEOUT.
fn timed_out(error: io::Error) -> io::Error {
    if cfg!(windows) && error.kind() == io::ErrorKind::TimedOut {
        io::ErrorKind::WouldBlock.into()
    } else {
        error
    }
}
