//! What really is on the wire: a stream that notes the head of each frame that passes.
//!
//! An echo that comes back right says nothing of how it travelled. The cases ask here whether
//! fragments were fragments, whether compressed messages were compressed, and who pinged. It reads
//! frames by itself, so that it does not see with the eyes of what is under test.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// The first byte of a frame, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) fin: bool,
    pub(crate) rsv1: bool,
    pub(crate) opcode: u8,
}

impl Frame {
    pub(crate) fn is_data(self) -> bool {
        self.opcode < CLOSE
    }
}

/// What passed in one direction.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// The head of the opening handshake.
    pub(crate) head: String,
    pub(crate) frames: Vec<Frame>,
    is_open: bool,
    /// The part of a frame's header that has passed.
    header: Vec<u8>,
    /// Bytes of payload that are still to pass.
    payload: u64,
}

impl Flow {
    pub(crate) fn count(&self, opcode: u8) -> usize {
        let frames = self.frames.iter();
        frames.filter(|frame| frame.opcode == opcode).count()
    }

    /// Returns the longest message in frames: how many they were.
    pub(crate) fn most_fragments(&self) -> usize {
        let mut most = 0;
        let mut count = 0;
        for frame in self.frames.iter().filter(|frame| frame.is_data()) {
            count += 1;
            if frame.fin {
                most = most.max(count);
                count = 0;
            }
        }
        most
    }

    /// Tells whether the head has permessage-deflate in it.
    #[cfg(feature = "deflate")]
    pub(crate) fn is_compressing(&self) -> bool {
        self.head
            .to_ascii_lowercase()
            .contains("permessage-deflate")
    }

    /// Returns how many messages were compressed (RFC 7692 §6).
    #[cfg(feature = "deflate")]
    pub(crate) fn rsv1s(&self) -> usize {
        self.frames.iter().filter(|frame| frame.rsv1).count()
    }

    fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if !self.is_open {
                self.head.push(char::from(byte));
                self.is_open = self.head.ends_with("\r\n\r\n");
                bytes = rest;
            } else if self.payload > 0 {
                let passed = bytes
                    .len()
                    .min(usize::try_from(self.payload).unwrap_or(usize::MAX));
                self.payload -= passed as u64;
                bytes = &bytes[passed..];
            } else {
                self.header.push(byte);
                self.header_grew();
                bytes = rest;
            }
        }
    }

    /// RFC 6455 §5.2.
    fn header_grew(&mut self) {
        let &[first, second, ref more @ ..] = &self.header[..] else {
            return;
        };
        let extended = match second & 0x7F {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        if more.len() < extended + mask {
            return;
        }
        let length = more[..extended].iter();
        self.payload = match extended {
            0 => u64::from(second & 0x7F),
            _ => length.fold(0, |length, &byte| length << 8 | u64::from(byte)),
        };
        self.frames.push(Frame {
            fin: first & 0x80 != 0,
            rsv1: first & 0x40 != 0,
            opcode: first & 0x0F,
        });
        self.header.clear();
    }
}

/// Both directions, seen from our side.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    pub(crate) received: Flow,
    pub(crate) sent: Flow,
}

/// A look at what passes a [`Tap`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Look(Arc<Mutex<Wire>>);

impl Look {
    pub(crate) fn at<T>(&self, look: impl FnOnce(&Wire) -> T) -> T {
        look(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, note: impl FnOnce(&mut Wire)) {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A stream with a [`Look`] at it.
#[derive(Debug)]
pub(crate) struct Tap<S> {
    stream: S,
    look: Look,
}

impl<S> Tap<S> {
    pub(crate) fn new(stream: S) -> Self {
        let look = Look::default();
        Self { stream, look }
    }

    pub(crate) fn look(&self) -> Look {
        self.look.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.look
            .note(|wire| wire.received.pass(&buf.filled()[before..]));
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(mut taken)) = polled {
            self.look.note(|wire| {
                for buf in bufs {
                    let passed = taken.min(buf.len());
                    wire.sent.pass(&buf[..passed]);
                    taken -= passed;
                }
            });
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::{CLOSE, Flow, Frame, PING, TEXT};

    #[test]
    fn frames_are_seen_however_they_are_cut() {
        let mut bytes = b"GET / HTTP/1.1\r\nA: b\r\n\r\n".to_vec();
        bytes.extend([0x41, 0x82, 1, 2, 3, 4, 9, 9]);
        bytes.extend([0x89, 0]);
        bytes.extend([0x80, 126, 1, 0]);
        bytes.extend([7; 256]);
        bytes.extend([0x88, 127, 0, 0, 0, 0, 0, 0, 0, 2, 3, 232]);
        for cut in 1..bytes.len() {
            let mut flow = Flow::default();
            bytes.chunks(cut).for_each(|chunk| flow.pass(chunk));
            let frame = |fin, rsv1, opcode| Frame { fin, rsv1, opcode };
            let frames = [
                frame(false, true, TEXT),
                frame(true, false, PING),
                frame(true, false, 0),
                frame(true, false, CLOSE),
            ];
            assert_eq!(flow.frames, frames, "cut at {cut}");
            assert_eq!(flow.most_fragments(), 2);
            assert!(flow.head.contains("A: b"));
        }
    }
}
