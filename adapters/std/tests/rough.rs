//! Streams that misbehave: nothing is lost, nothing spins, nobody hangs.

mod common;

use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use wspulse_core::{CloseCode, Config, Message};
use wspulse_std::{Error, Stream, accept, client};

/// How a stream misbehaves.
#[derive(Debug, Default)]
struct Manner {
    /// Bytes that one attempt moves at most.
    max: Option<usize>,
    /// Whether each attempt is first interrupted and then not ready.
    hiccups: bool,
    /// Whether it never waits, and says so.
    is_hasty: bool,
    /// After how many bytes reads fail, and with what.
    read_fails: Option<(u32, io::ErrorKind)>,
    write_fails: Option<(u32, io::ErrorKind)>,
    /// Whether a write succeeds with nothing, or any attempt with more than there was.
    takes_nothing: bool,
    reads_too_much: bool,
    writes_too_much: bool,
}

#[derive(Debug)]
struct Rough {
    inner: Pipe,
    manner: Manner,
    reads: AtomicU32,
    writes: AtomicU32,
    bytes_read: AtomicU32,
    bytes_written: AtomicU32,
    /// The opening handshake is over, and the bad manners begin.
    is_on: AtomicBool,
}

impl Rough {
    fn new(inner: Pipe, manner: Manner) -> Arc<Self> {
        Arc::new(Self {
            inner,
            manner,
            reads: AtomicU32::new(0),
            writes: AtomicU32::new(0),
            bytes_read: AtomicU32::new(0),
            bytes_written: AtomicU32::new(0),
            is_on: AtomicBool::new(true),
        })
    }

    fn calls(&self) -> u32 {
        self.reads.load(Ordering::SeqCst) + self.writes.load(Ordering::SeqCst)
    }

    /// The first attempt is interrupted, the second not ready, the third goes through.
    fn hiccup(&self, count: &AtomicU32) -> io::Result<()> {
        match count.fetch_add(1, Ordering::SeqCst) % 3 {
            0 if self.manner.hiccups => Err(io::ErrorKind::Interrupted.into()),
            1 if self.manner.hiccups => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(()),
        }
    }
}

/// How much may move before `fails`, if anything.
fn room(fails: Option<(u32, io::ErrorKind)>, moved: &AtomicU32) -> io::Result<usize> {
    match fails {
        None => Ok(usize::MAX),
        Some((at, kind)) => match at.saturating_sub(moved.load(Ordering::SeqCst)) {
            0 => Err(kind.into()),
            room => Ok(usize::try_from(room).unwrap()),
        },
    }
}

impl Stream for Rough {
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        let hasty = self.manner.is_hasty.then_some(Duration::from_nanos(1));
        self.inner.set_read_timeout(hasty.or(timeout))
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        let hasty = self.manner.is_hasty.then_some(Duration::from_nanos(1));
        self.inner.set_write_timeout(hasty.or(timeout))
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.hiccup(&self.reads)?;
        if self.manner.reads_too_much && self.is_on.load(Ordering::SeqCst) {
            return Ok(buffer.len() + 1);
        }
        let room = room(self.manner.read_fails, &self.bytes_read)?;
        let most = buffer.len().min(self.manner.max.unwrap_or(usize::MAX));
        let count = self.inner.read(&mut buffer[..most.min(room)])?;
        let moved = u32::try_from(count).unwrap();
        self.bytes_read.fetch_add(moved, Ordering::SeqCst);
        Ok(count)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.hiccup(&self.writes)?;
        if self.manner.takes_nothing && self.is_on.load(Ordering::SeqCst) {
            return Ok(0);
        }
        let room = room(self.manner.write_fails, &self.bytes_written)?;
        let most = bytes.len().min(self.manner.max.unwrap_or(usize::MAX));
        let count = self.inner.write(&bytes[..most.min(room)])?;
        let moved = u32::try_from(count).unwrap();
        self.bytes_written.fetch_add(moved, Ordering::SeqCst);
        let lie = usize::from(self.manner.writes_too_much && self.is_on.load(Ordering::SeqCst));
        Ok(count + lie)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.inner.shutdown(how)
    }
}

#[test]
fn the_order_of_bytes_survives_a_nasty_stream_and_nothing_spins() {
    within(ms(60_000), || {
        let nasty = || Manner {
            max: Some(1),
            hiccups: true,
            ..Manner::default()
        };
        let (near, far) = pipe(16);
        let (near, far) = (Rough::new(near, nasty()), Rough::new(far, nasty()));
        let (mut client, mut server) = pair_over(near.clone(), far, Config::default());
        let server = thread::spawn(move || echo(&mut server));
        let mut bytes = 1_000;
        for n in 0..20_u8 {
            let message = Message::from(vec![n; usize::from(n) * 7]);
            bytes += 2 * (u32::from(n) * 7 + 14);
            client.send(message.clone()).unwrap();
            assert_eq!(client.next().unwrap().unwrap(), message);
        }
        client.close(CloseCode::NORMAL, "").unwrap();
        server.join().unwrap().unwrap();
        let calls = near.calls();
        assert!(calls < bytes * 8, "{calls} calls for {bytes} bytes");
    });
}

#[test]
fn a_stream_that_never_waits_is_not_asked_all_the_time() {
    within(ms(10_000), || {
        let (near, far) = pipe(64);
        let hasty = Manner {
            is_hasty: true,
            ..Manner::default()
        };
        let near = Rough::new(near, hasty);
        let (mut client, mut server) = pair_over(near.clone(), far, Config::default());
        let before = near.calls();
        assert!(client.next_timeout(ms(400)).is_pending());
        let calls = near.calls() - before;
        assert!(calls < 200, "{calls} calls in 400 ms of silence");

        // Nobody reads either: a send waits without a spin too.
        let before = near.calls();
        let server = thread::spawn(move || {
            thread::sleep(ms(400));
            server.next().unwrap().unwrap().len()
        });
        client.send(vec![0; 500]).unwrap();
        assert_eq!(server.join().unwrap(), 500);
        let calls = near.calls() - before;
        assert!(
            calls < 400,
            "{calls} calls in 400 ms of a peer that does not read"
        );
    });
}

/// The bytes of a client from its request to its Close.
fn conversation() -> Vec<u8> {
    [
        REQUEST,
        &frame(TEXT, b"one"),
        &frame(PING, b"p"),
        &frame(BINARY, &[2; 200]),
        &frame(CLOSE, &1000_u16.to_be_bytes()),
    ]
    .concat()
}

/// Runs a server to its end; returns how it ended and the messages before.
fn serve(server: Arc<Rough>) -> (Result<(), Error>, usize) {
    let mut ws = match accept(server, Config::default()) {
        Ok(ws) => ws,
        Err(error) => return (Err(error), 0),
    };
    let mut messages = 0;
    loop {
        match ws.next() {
            Some(Ok(_)) => messages += 1,
            Some(Err(error)) => return (Err(error), messages),
            None => return (Ok(()), messages),
        }
    }
}

#[test]
fn a_reset_at_each_offset_of_the_input_ends_the_connection() {
    within(ms(60_000), || {
        let bytes = conversation();
        for at in 0..=u32::try_from(bytes.len()).unwrap() {
            let (near, far) = pipe(1 << 16);
            write_all(&near, &bytes);
            let far = Rough::new(
                far,
                Manner {
                    read_fails: Some((at, io::ErrorKind::ConnectionReset)),
                    ..Manner::default()
                },
            );
            let (end, messages) = serve(far.clone());
            let one = u32::try_from(REQUEST.len() + 9).unwrap();
            let two = one + 7 + 208;
            assert_eq!(
                messages,
                usize::from(at >= one) + usize::from(at >= two),
                "what came before the reset at {at} is not lost"
            );
            match end {
                Ok(()) => assert_eq!(usize::try_from(at).unwrap(), bytes.len()),
                Err(Error::Io(error)) => {
                    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "at {at}");
                }
                Err(error) => panic!("at {at}: {error:?}"),
            }
            assert!(far.calls() < 30, "{} calls, reset at {at}", far.calls());
        }
    });
}

#[test]
fn a_broken_pipe_at_each_offset_of_the_output_ends_the_connection() {
    within(ms(60_000), || {
        // The answer, a pong, a Close.
        for at in 0..160 {
            let (near, far) = pipe(1 << 16);
            write_all(&near, &conversation());
            let far = Rough::new(
                far,
                Manner {
                    write_fails: Some((at, io::ErrorKind::BrokenPipe)),
                    ..Manner::default()
                },
            );
            let (end, messages) = serve(far.clone());
            let written = far.bytes_written.load(Ordering::SeqCst);
            match end {
                // Everything had left.
                Ok(()) => assert!(written <= at && messages == 2, "at {at}: {messages}"),
                Err(Error::Io(error)) => {
                    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "at {at}");
                    assert_eq!(written, at);
                }
                // The peer had said that it goes, and the answer did not reach it.
                Err(Error::Closed(closed)) => {
                    // What is said to the Close shares its write with the handshake's answer, so
                    // there is nobody yet to take messages.
                    assert!(
                        closed.received.is_some() && messages == 0,
                        "at {at}: {messages}, {closed:?}"
                    );
                    assert_eq!(written, at);
                }
                Err(error) => panic!("at {at}: {error:?}"),
            }
            assert!(far.calls() < 40, "{} calls, broken at {at}", far.calls());
            drop(near);
        }
    });
}

/// Sends through a stream of this manner, whose handshake was honest.
fn send_through(manner: Manner) -> (Result<(), Error>, Arc<Rough>) {
    let (near, far) = pipe(1 << 16);
    let near = Rough::new(near, manner);
    near.is_on.store(false, Ordering::SeqCst);
    let server = thread::spawn(move || accept(far, Config::default()).map(|mut ws| ws.next()));
    let mut ws = client(near.clone(), &request(), Config::default()).unwrap();
    near.is_on.store(true, Ordering::SeqCst);
    let sent = ws.send("hello").and_then(|()| match ws.next() {
        Some(result) => result.map(drop),
        None => Ok(()),
    });
    drop(ws);
    near.shutdown(Shutdown::Both).unwrap();
    server.join().unwrap().unwrap();
    (sent, near)
}

#[test]
fn a_write_that_takes_nothing_is_an_error_and_no_spin() {
    within(ms(10_000), || {
        let (sent, stream) = send_through(Manner {
            takes_nothing: true,
            ..Manner::default()
        });
        let Err(Error::Io(error)) = sent else {
            panic!("{sent:?}");
        };
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
        assert!(stream.calls() < 30, "{} calls", stream.calls());
    });
}

#[test]
fn a_read_that_lies_about_its_count_is_an_error() {
    within(ms(10_000), || {
        let (sent, stream) = send_through(Manner {
            reads_too_much: true,
            ..Manner::default()
        });
        assert!(matches!(sent, Err(Error::Io(_))), "{sent:?}");
        assert!(stream.calls() < 30, "{} calls", stream.calls());
    });
}

#[test]
fn a_write_that_lies_about_its_count_is_believed_and_no_panic() {
    within(ms(10_000), || {
        let (near, far) = pipe(1 << 16);
        let near = Rough::new(
            near,
            Manner {
                writes_too_much: true,
                ..Manner::default()
            },
        );
        let (mut client, mut server) = pair_over(near, far, Config::default());
        client.send("hello").unwrap();
        assert_eq!(server.next().unwrap().unwrap().as_text(), Some("hello"));
        client.send("again").unwrap();
        assert_eq!(server.next().unwrap().unwrap().as_text(), Some("again"));
    });
}

/// After the stream failed, no command waits for a room that never comes.
#[test]
fn a_stream_that_failed_makes_nobody_wait() {
    within(ms(10_000), || {
        let config = Config::builder().max_buffered_amount(100).build().unwrap();
        let (near, far) = pipe(1 << 16);
        let far = Rough::new(
            far,
            Manner {
                write_fails: Some((129, io::ErrorKind::BrokenPipe)),
                ..Manner::default()
            },
        );
        write_all(&near, REQUEST);
        let mut server = accept(far, config).unwrap();
        // An event waits, so nothing more is read.
        write_all(&near, &[frame(TEXT, b"one"), frame(TEXT, b"two")].concat());
        server.next().unwrap().unwrap();
        let start = Instant::now();
        assert!(server.feed(vec![0; 500]).is_ok());
        assert!(matches!(server.flush(), Err(Error::Io(_))));
        assert!(server.flush().is_err());
        assert!(server.feed("more").is_err());
        assert!(start.elapsed() < ms(1_000), "{:?}", start.elapsed());
        assert_eq!(server.next().unwrap().unwrap().as_text(), Some("two"));
        assert!(matches!(server.next(), Some(Err(_))));
        assert!(server.next().is_none());
    });
}
