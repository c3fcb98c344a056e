//! A stream of bytes that waits, but not for ever.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use wspulse_core::Config;
use wspulse_core::heartbeat::HeartbeatConfig;

/// A stream of bytes with timeouts, which two threads may use at once: one reads, the other
/// writes.
///
/// A blocking socket is one. Whatever else can wait for a while and then give up can be one too;
/// around a stream that is there already, it takes a few lines:
///
/// ```
/// use std::io;
/// use std::net::{Shutdown, TcpStream};
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use std::time::Duration;
///
/// use wspulse_std::Stream;
///
/// /// Counts what is received.
/// struct Counted<S> {
///     inner: S,
///     received: AtomicUsize,
/// }
///
/// impl<S: Stream> Stream for Counted<S> {
///     fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
///         self.inner.set_read_timeout(timeout)
///     }
///     fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
///         self.inner.set_write_timeout(timeout)
///     }
///     fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
///         let count = self.inner.read(buffer)?;
///         self.received.fetch_add(count, Ordering::Relaxed);
///         Ok(count)
///     }
///     fn write(&self, bytes: &[u8]) -> io::Result<usize> {
///         self.inner.write(bytes)
///     }
///     fn shutdown(&self, how: Shutdown) -> io::Result<()> {
///         self.inner.shutdown(how)
///     }
/// }
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # let url = format!("ws://{}", listener.local_addr()?);
/// # let client = std::thread::spawn(move || {
/// #     let mut ws = wspulse_std::connect(&url, wspulse_core::Config::default())?;
/// #     ws.close(wspulse_core::CloseCode::NORMAL, "")
/// # });
/// # let (stream, _) = listener.accept()?;
///
/// let stream = Counted { inner: stream, received: AtomicUsize::new(0) };
/// let mut ws = wspulse_std::accept(stream, wspulse_core::Config::default())?;
/// while let Some(message) = ws.next() {
///     println!("{:?}", message?);
/// }
/// assert!(ws.get_ref().received.load(Ordering::Relaxed) > 100);
/// # client.join().unwrap()?;
/// # Ok::<(), wspulse_std::Error>(())
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

    /// Returns the socket, if the stream is one and nothing more: no bytes wait inside it, and none
    /// change on their way. `None` by default.
    ///
    /// The connection writes to a socket, and at times reads from it, by system calls of its own
    /// that do not wait, and waits for input and for room at once. Any other stream is only ever
    /// asked to [`read`](Self::read) and [`write`](Self::write); where it takes no output and input
    /// is wanted too, both wait in turn, for up to 32 ms each.
    #[cfg(unix)]
    fn socket(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Sets the stream up for a connection; does nothing by default.
    ///
    /// # Errors
    ///
    /// If the stream cannot be used.
    fn prepare(&self, config: &Config) -> io::Result<()> {
        let _ = config;
        Ok(())
    }

    /// The heartbeat has changed, and with it for how long the stream is to wait for its peer by
    /// itself; does nothing by default.
    fn set_patience(&self, heartbeat: &HeartbeatConfig) {
        let _ = heartbeat;
    }

    /// Nobody reads from now on, since too much lies unread, or somebody does again: meanwhile the
    /// stream has to watch over its peer by itself, and fail when that is gone for as long as
    /// `heartbeat` allows. Does nothing by default.
    fn watch(&self, heartbeat: &HeartbeatConfig, is_unread: bool) {
        let _ = (heartbeat, is_unread);
    }
}

/// Set up by [`wspulse_drive::tune`], and to wait.
impl Stream for TcpStream {
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        is_shut(Self::set_read_timeout(self, timeout))
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        is_shut(Self::set_write_timeout(self, timeout))
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

    #[cfg(unix)]
    fn socket(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }

    fn prepare(&self, config: &Config) -> io::Result<()> {
        wspulse_drive::tune(self, config);
        self.set_nonblocking(false)
    }

    fn set_patience(&self, heartbeat: &HeartbeatConfig) {
        wspulse_drive::set_patience(self, heartbeat);
    }

    fn watch(&self, heartbeat: &HeartbeatConfig, is_unread: bool) {
        wspulse_drive::watch(self, heartbeat, is_unread);
    }
}

#[cfg(unix)]
impl Stream for UnixStream {
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        is_shut(Self::set_read_timeout(self, timeout))
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        is_shut(Self::set_write_timeout(self, timeout))
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

    fn socket(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
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

            #[cfg(unix)]
            fn socket(&self) -> Option<BorrowedFd<'_>> {
                (**self).socket()
            }

            fn prepare(&self, config: &Config) -> io::Result<()> {
                (**self).prepare(config)
            }

            fn set_patience(&self, heartbeat: &HeartbeatConfig) {
                (**self).set_patience(heartbeat);
            }

            fn watch(&self, heartbeat: &HeartbeatConfig, is_unread: bool) {
                (**self).watch(heartbeat, is_unread);
            }
        }
    };
}

behind!(Arc);
behind!(Box);

/// macOS refuses a timeout for a socket that is closed at its other end; nothing waits there.
fn is_shut(set: io::Result<()>) -> io::Result<()> {
    match set {
        Err(error) if cfg!(target_vendor = "apple") && error.kind() == INVALID => Ok(()),
        set => set,
    }
}

const INVALID: io::ErrorKind = io::ErrorKind::InvalidInput;

/// Sorts the end of a socket's own timeout from a peer that the kernel gave up. Windows has one
/// error for both, and sets no TCP_USER_TIMEOUT.
fn timed_out(error: io::Error) -> io::Error {
    if cfg!(windows) && error.kind() == io::ErrorKind::TimedOut {
        io::ErrorKind::WouldBlock.into()
    } else {
        error
    }
}
