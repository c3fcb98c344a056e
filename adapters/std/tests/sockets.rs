//! How sockets are waited for: both directions at once, and no calls that a message does not need.
#![cfg(unix)]

mod common;

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use wspulse_core::heartbeat::{DeadReason, HeartbeatConfig};
use wspulse_core::{Cause, CloseCode, Config, Message};
use wspulse_std::{Error, InboxLimits, Stream, WebSocket, accept};

/// A socket whose calls are counted.
#[derive(Debug)]
struct Watched<S> {
    inner: S,
    timeouts: AtomicU32,
    reads: AtomicU32,
    /// How often the socket itself was asked for, to be tried or waited for.
    asked: AtomicU32,
}

impl<S> Watched<S> {
    fn new(inner: S) -> Arc<Self> {
        Arc::new(Self {
            inner,
            timeouts: AtomicU32::new(0),
            reads: AtomicU32::new(0),
            asked: AtomicU32::new(0),
        })
    }

    fn turns(&self) -> u32 {
        self.reads.load(Ordering::SeqCst) + self.asked.load(Ordering::SeqCst)
    }
}

impl<S: Stream + AsFd> Stream for Watched<S> {
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.timeouts.fetch_add(1, Ordering::SeqCst);
        self.inner.set_read_timeout(timeout)
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.timeouts.fetch_add(1, Ordering::SeqCst);
        self.inner.set_write_timeout(timeout)
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.inner.read(buffer)
    }

    fn write(&self, _: &[u8]) -> io::Result<usize> {
        panic!("a write that may wait");
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.inner.shutdown(how)
    }

    fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Some(self.inner.as_fd())
    }

    fn prepare(&self, config: &Config) -> io::Result<()> {
        self.inner.prepare(config)
    }

    fn watch(&self, heartbeat: &HeartbeatConfig, is_unread: bool) {
        self.inner.watch(heartbeat, is_unread);
    }
}

/// A server over a socket that is watched, and its peer after the handshake.
fn watched(config: Config) -> (WebSocket<Arc<Watched<TcpStream>>>, Raw) {
    let (near, far) = sockets();
    let mut raw = Raw(near);
    raw.write(REQUEST);
    let server = accept(Watched::new(far), config).unwrap();
    raw.read_head();
    (server, raw)
}

#[test]
fn a_message_costs_a_read_and_a_write_and_no_timeout() {
    const ROUNDS: u32 = 1_000;
    within(ms(30_000), || {
        let (mut server, mut raw) = watched(Config::default());
        let server = thread::spawn(move || {
            let _ = echo(&mut server);
            server
        });
        for _ in 0..ROUNDS {
            raw.write(&frame(TEXT, b"hello"));
            assert_eq!(raw.read_frame(), (TEXT, b"hello".to_vec()));
        }
        drop(raw);
        let server = server.join().unwrap();
        let socket = server.get_ref();
        let reads = socket.reads.load(Ordering::SeqCst);
        let timeouts = socket.timeouts.load(Ordering::SeqCst);
        assert!(
            (ROUNDS..ROUNDS + 20).contains(&reads),
            "{reads} reads of {ROUNDS} messages"
        );
        assert!(timeouts < 20, "{timeouts} timeouts for {ROUNDS} messages");
    });
}

#[test]
fn who_waits_for_room_sleeps_until_there_is_some() {
    within(ms(30_000), || {
        let (mut server, raw) = watched(Config::default());
        let socket = Arc::clone(server.get_ref());
        let big = Message::from(vec![5; 32 << 20]);
        let writing = thread::spawn(move || {
            server.send(big).unwrap();
            server
        });
        thread::sleep(ms(300));
        let before = socket.turns();
        thread::sleep(ms(500));
        let turns = socket.turns() - before;
        assert!(turns < 10, "{turns} turns while nobody reads");
        let reading = thread::spawn(move || {
            let mut raw = raw;
            raw.read_to_end().map(|bytes| bytes.len())
        });
        let mut server = writing.join().unwrap();
        server.abort();
        assert!(reading.join().unwrap().unwrap() > 32 << 20);
    });
}

/// Timers run on, and nothing that they ask for can be done.
#[test]
fn rule_16_who_waits_for_room_with_a_full_inbox_sleeps_too() {
    within(ms(30_000), || {
        let policy = HeartbeatConfig::ping(ms(100), ms(100)).write_stall_timeout(ms(60_000));
        let config = Config::builder().heartbeat(policy).build().unwrap();
        let (mut server, mut raw) = watched(config);
        server.set_inbox_limits(InboxLimits::new().max_messages(1));
        raw.write(&frame(TEXT, b"unread").repeat(10));
        let socket = Arc::clone(server.get_ref());
        let writing = thread::spawn(move || (server.send(vec![5; 32 << 20]), server));
        thread::sleep(ms(300));
        let before = socket.turns();
        thread::sleep(ms(500));
        let turns = socket.turns() - before;
        assert!(turns < 100, "{turns} turns while nobody reads");
        // With input unread this is a reset.
        drop(raw);
        let (end, mut server) = writing.join().unwrap();
        assert!(matches!(end, Err(Error::Io(_))), "{end:?}");
        let messages = std::iter::from_fn(|| server.next()).filter(Result::is_ok);
        assert_eq!(messages.count(), 10);
    });
}

/// While nobody reads, the kernel is to find a peer that is gone without a word.
#[cfg(target_os = "linux")]
#[test]
fn rule_16_while_the_inbox_is_full_the_kernel_watches() {
    within(ms(30_000), || {
        let (near, far) = sockets();
        let mut raw = Raw(near);
        raw.write(REQUEST);
        let look = far.try_clone().unwrap();
        let kernel = || {
            let socket = socket2::SockRef::from(&look);
            (
                socket.keepalive().unwrap(),
                socket.tcp_user_timeout().unwrap(),
            )
        };
        let mut server = accept(far, heartbeat(2_000, 4_000).build().unwrap()).unwrap();
        raw.read_head();
        let before = kernel();
        assert!(!before.0);
        server.set_inbox_limits(InboxLimits::new().max_messages(4));
        let (mut receiver, _sender) = server.spawn(16);
        raw.write(&frame(TEXT, b"unread").repeat(10));
        while kernel() != (true, Some(ms(6_000))) {
            thread::sleep(ms(5));
        }
        for _ in 0..10 {
            assert!(receiver.next().unwrap().is_ok());
        }
        while kernel() != before {
            thread::sleep(ms(5));
        }
    });
}

/// More than all buffers hold each way, in many messages that are answered one by one.
fn both_ways<S: Stream + AsFd + Send + Sync + 'static>(near: S, far: S) {
    // No deadline comes to their help.
    let config = heartbeat(600_000, 600_000).build().unwrap();
    let (client, mut server) = pair_over(Watched::new(near), Watched::new(far), config);
    let server = thread::spawn(move || echo(&mut server));
    let (mut reader, mut writer) = client.split();
    let writing = thread::spawn(move || {
        for n in 0..40_u8 {
            writer.send(vec![n; 1_000_000]).unwrap();
        }
        writer
    });
    for n in 0..40_u8 {
        let message = reader.next().unwrap().unwrap();
        assert_eq!(message, Message::from(vec![n; 1_000_000]), "{n}");
    }
    let mut writer = writing.join().unwrap();
    writer.close(CloseCode::NORMAL, "").unwrap();
    assert!(reader.next().is_none());
    server.join().unwrap().unwrap();
}

#[test]
fn megabytes_go_both_ways_at_once_over_tcp() {
    within(ms(60_000), || {
        let (near, far) = sockets();
        both_ways(near, far);
    });
}

#[test]
fn megabytes_go_both_ways_at_once_over_a_unix_socket() {
    within(ms(60_000), || {
        let (near, far) = UnixStream::pair().unwrap();
        both_ways(near, far);
    });
}

#[test]
fn who_waits_for_room_is_told_of_the_end() {
    within(ms(10_000), || {
        let (mut server, mut raw) = watched(Config::default());
        let writing = thread::spawn(move || (server.send(vec![0; 32 << 20]), server));
        // It sends, so it is blocked soon.
        raw.read_frame();
        thread::sleep(ms(100));
        // With input unread this is a reset.
        drop(raw);
        let (end, mut server) = writing.join().unwrap();
        assert!(matches!(end, Err(Error::Io(_))), "{end:?}");
        while let Some(Ok(_)) = server.next() {}
    });
}

/// The peer is alive and sends on, only it takes nothing: each byte of input ends a wait, and none
/// of them is room.
#[test]
fn rule_5_a_peer_that_takes_nothing_is_dead_although_it_sends() {
    within(ms(20_000), || {
        let heartbeat = HeartbeatConfig::ping(ms(60_000), ms(60_000)).write_stall_timeout(ms(500));
        let config = Config::builder().heartbeat(heartbeat).build().unwrap();
        let (mut server, mut raw) = watched(config);
        let sending = thread::spawn(move || {
            let message = frame(BINARY, &vec![7; 1_000_000]);
            for byte in message {
                if io::Write::write_all(&mut raw.0, &[byte]).is_err() {
                    break;
                }
                thread::sleep(ms(2));
            }
        });
        let start = Instant::now();
        match server.send(vec![0; 64 << 20]) {
            Err(Error::Closed(closed)) => {
                assert_eq!(closed.cause, Cause::Dead(DeadReason::WriteStalled));
            }
            other => panic!("{other:?}"),
        }
        assert!(start.elapsed() < ms(2_500), "{:?}", start.elapsed());
        match server.next() {
            Some(Err(Error::Closed(closed))) => {
                assert_eq!(closed.cause, Cause::Dead(DeadReason::WriteStalled));
            }
            other => panic!("{other:?}"),
        }
        sending.join().unwrap();
    });
}
