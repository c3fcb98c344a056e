//! Sockets: attempts that do not wait, and one wait for both directions.

use std::io::{self, IoSlice};
use std::time::Duration;

use crate::stream::Stream;

/// A socket that is asked to do one thing at once, or to say that it cannot now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Socket<'a>(Handle<'a>);

/// What can be done at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    /// There are bytes to read, or an end.
    pub(crate) input: bool,
    /// There is room to write, or an end.
    pub(crate) room: bool,
}

#[cfg(unix)]
type Handle<'a> = std::os::fd::BorrowedFd<'a>;

#[cfg(unix)]
impl Socket<'_> {
    /// Returns the socket that `stream` is, if it is one.
    pub(crate) fn of(stream: &(impl Stream + ?Sized)) -> Option<Socket<'_>> {
        stream.socket().map(Socket)
    }

    pub(crate) fn read(self, buffer: &mut [u8]) -> io::Result<usize> {
        use rustix::net::{RecvFlags, recv};

        let (count, _) = recv(self.0, buffer, RecvFlags::DONTWAIT)?;
        Ok(count)
    }

    /// Writes the beginning of what `slices` are together.
    pub(crate) fn write(self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg};

        // An end is an error here and no signal. Apple's sockets are told so when they are made.
        #[cfg(not(any(target_vendor = "apple", target_os = "redox")))]
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        #[cfg(any(target_vendor = "apple", target_os = "redox"))]
        let flags = SendFlags::DONTWAIT;
        let count = match slices {
            [slice] => send(self.0, slice, flags)?,
            slices => sendmsg(self.0, slices, &mut SendAncillaryBuffer::default(), flags)?,
        };
        Ok(count)
    }

    /// Returns what the socket died of, if it has ended in both directions, whatever lies unread.
    pub(crate) fn hang_up(self) -> Option<io::Error> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        use rustix::net::sockopt::socket_error;

        let mut polled = [PollFd::from_borrowed_fd(self.0, PollFlags::empty())];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut polled, Some(&at_once)).ok()?;
        let [polled] = polled;
        if !polled.revents().intersects(PollFlags::HUP | PollFlags::ERR) {
            return None;
        }
        match socket_error(self.0) {
            Ok(Err(error)) => Some(error.into()),
            // Somebody else was told.
            Ok(Ok(())) | Err(_) => Some(io::ErrorKind::ConnectionReset.into()),
        }
    }

    /// Waits for room, and for input too if that `is_wanted`.
    pub(crate) fn wait(self, is_wanted: bool, timeout: Option<Duration>) -> io::Result<Ready> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};

        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout.min(LONGEST)).ok());
        let mut interests = PollFlags::OUT;
        interests.set(PollFlags::IN, is_wanted);
        let mut polled = [PollFd::from_borrowed_fd(self.0, interests)];
        poll(&mut polled, timeout.as_ref())?;
        let [polled] = polled;
        // An end is for the next attempt to tell.
        let has_ended = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        let is = |what: PollFlags| polled.revents().intersects(what | has_ended);
        Ok(Ready {
            input: is_wanted && is(PollFlags::IN),
            room: is(PollFlags::OUT),
        })
    }
}

/// Kernels count seconds in different sizes; who waits longer is woken once a day.
#[cfg(unix)]
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Elsewhere every stream waits by its timeouts.
#[cfg(not(unix))]
type Handle<'a> = (std::convert::Infallible, std::marker::PhantomData<&'a ()>);

#[cfg(not(unix))]
impl Socket<'_> {
    pub(crate) fn of(_: &(impl Stream + ?Sized)) -> Option<Socket<'_>> {
        None
    }

    pub(crate) fn read(self, _: &mut [u8]) -> io::Result<usize> {
        match self.0.0 {}
    }

    pub(crate) fn write(self, _: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.0.0 {}
    }

    pub(crate) fn hang_up(self) -> Option<io::Error> {
        match self.0.0 {}
    }

    pub(crate) fn wait(self, _: bool, _: Option<Duration>) -> io::Result<Ready> {
        match self.0.0 {}
    }
}
