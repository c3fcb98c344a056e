//! Two threads at one connection.

mod common;

use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use wspulse_core::heartbeat::{DeadReason, HeartbeatConfig};
use wspulse_core::{Cause, CloseCode, Config, Message, State};
use wspulse_std::{Error, Stream, accept};

#[test]
fn a_blocked_reader_does_not_hold_up_the_writer() {
    within(ms(20_000), || {
        let (client, mut server) = pair(Config::default());
        let (mut reader, mut writer) = client.split();
        let reading = thread::spawn(move || {
            let message = reader.next().unwrap().unwrap();
            (reader, message)
        });
        thread::sleep(ms(50));
        let big = Message::from(vec![5; 8 << 20]);
        let theirs = big.clone();
        let server = thread::spawn(move || {
            assert_eq!(server.next().unwrap().unwrap(), theirs);
            server.send("got it").unwrap();
            assert!(server.next().is_none());
        });
        let start = Instant::now();
        writer.send(big).unwrap();
        assert!(start.elapsed() < ms(5_000), "{:?}", start.elapsed());
        let (mut reader, message) = reading.join().unwrap();
        assert_eq!(message.as_text(), Some("got it"));
        writer.close(CloseCode::NORMAL, "").unwrap();
        assert!(reader.next().is_none());
        server.join().unwrap();
    });
}

#[test]
fn a_blocked_writer_does_not_hold_up_the_reader() {
    within(ms(20_000), || {
        let (client, mut raw) = server_and_raw(Config::default());
        let (mut reader, mut writer) = client.split();
        // The peer reads nothing, so this takes until it does.
        let writing = thread::spawn(move || {
            writer.send(vec![5; 16 << 20]).unwrap();
            writer
        });
        thread::sleep(ms(100));
        for n in 0..100 {
            let start = Instant::now();
            raw.write(&frame(TEXT, format!("{n}").as_bytes()));
            let message = reader.next().unwrap().unwrap();
            assert_eq!(message.as_text(), Some(&*format!("{n}")));
            assert!(start.elapsed() < ms(1_000), "{:?}", start.elapsed());
        }
        let reading = thread::spawn(move || raw.read_to_end());
        let mut writer = writing.join().unwrap();
        writer.abort();
        let read = reading.join().unwrap().unwrap();
        assert!(read.len() > 16 << 20);
        assert!(matches!(reader.next(), Some(Err(Error::Closed(_)))));
    });
}

/// 32 MiB each way in many messages, with a thread for each direction.
#[test]
fn four_threads_send_and_receive_at_once() {
    within(ms(60_000), || {
        let (client, server) = pair(Config::default());
        let ends = [client, server].map(|end| {
            let (mut reader, mut writer) = end.split();
            let writing = thread::spawn(move || {
                for n in 0..512_usize {
                    writer
                        .send(vec![u8::try_from(n % 251).unwrap(); 64 << 10])
                        .unwrap();
                }
                writer
            });
            let reading = thread::spawn(move || {
                for n in 0..512_usize {
                    let message = reader.next().unwrap().unwrap();
                    assert_eq!(message.len(), 64 << 10);
                    assert_eq!(message.as_bytes()[7], u8::try_from(n % 251).unwrap());
                }
                reader
            });
            (reading, writing)
        });
        let [(mut reader, mut writer), (mut other, _writer)] =
            ends.map(|(r, w)| (r.join().unwrap(), w.join().unwrap()));
        let other = thread::spawn(move || assert!(other.next().is_none()));
        writer.close(CloseCode::NORMAL, "").unwrap();
        assert!(reader.next().is_none());
        other.join().unwrap();
    });
}

/// A stream whose reads wait for input however long that takes, and whose writes wait for a gate.
#[derive(Debug)]
struct Gated {
    inner: Pipe,
    gate: Mutex<Gate>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Gate {
    is_shut: bool,
    /// A write waits.
    is_waiting: bool,
}

impl Gated {
    fn new(inner: Pipe) -> Arc<Self> {
        Arc::new(Self {
            inner,
            gate: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    fn shut(&self) {
        self.gate.lock().unwrap().is_shut = true;
    }

    fn wait_for_write(&self) {
        let gate = self.gate.lock().unwrap();
        drop(
            self.changed
                .wait_while(gate, |gate| !gate.is_waiting)
                .unwrap(),
        );
    }

    fn open(&self) {
        self.gate.lock().unwrap().is_shut = false;
        self.changed.notify_all();
    }
}

impl Stream for Gated {
    fn set_read_timeout(&self, _: Option<Duration>) -> io::Result<()> {
        self.inner.set_read_timeout(None)
    }

    fn set_write_timeout(&self, _: Option<Duration>) -> io::Result<()> {
        self.inner.set_write_timeout(None)
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut gate = self.gate.lock().unwrap();
        gate.is_waiting = gate.is_shut;
        self.changed.notify_all();
        gate = self.changed.wait_while(gate, |gate| gate.is_shut).unwrap();
        gate.is_waiting = false;
        drop(gate);
        self.inner.write(bytes)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.inner.shutdown(how)
    }
}

/// The reader waits for input that never comes, and nothing wakes it up.
#[test]
fn a15_what_one_half_feeds_leaves_although_the_other_waits_in_a_read() {
    within(ms(20_000), || {
        let (near, far) = pipe(1 << 20);
        let far = Gated::new(far);
        write_all(&near, REQUEST);
        let server = accept(far.clone(), Config::default()).unwrap();
        read_until(&near, |bytes| bytes.ends_with(b"\r\n\r\n"));
        let (mut reader, mut writer) = server.split();
        let reading = thread::spawn(move || reader.next().map(|next| next.is_err()));
        thread::sleep(ms(50));
        for _ in 0..20 {
            writer.feed("fed").unwrap();
            assert_eq!(read_until(&near, |bytes| bytes.len() >= 5), b"\x81\x03fed");
        }
        writer.abort();
        assert_eq!(reading.join().unwrap(), Some(true));
    });
}

/// The reader answers a ping while the writer is at the stream, and leaves the pong to it. Then
/// the reader waits for input that never comes; so if the writer went without another look, the
/// pong would never leave.
#[test]
fn a_pong_that_is_left_to_the_writer_leaves() {
    within(ms(20_000), || {
        let (near, far) = pipe(1 << 20);
        let far = Gated::new(far);
        write_all(&near, REQUEST);
        let server = accept(far.clone(), Config::default()).unwrap();
        read_until(&near, |bytes| bytes.ends_with(b"\r\n\r\n"));
        let (mut reader, mut writer) = server.split();
        far.shut();
        let writing = thread::spawn(move || {
            writer.send("hello").unwrap();
            writer
        });
        far.wait_for_write();
        write_all(&near, &[frame(PING, b"p"), frame(TEXT, b"t")].concat());
        // Behind the ping: it was read, and the pong is queued.
        assert_eq!(reader.next().unwrap().unwrap().as_text(), Some("t"));
        let reading = thread::spawn(move || reader.next().map(|next| next.is_err()));
        thread::sleep(ms(50));
        far.open();
        let output = read_until(&near, |bytes| bytes.len() >= 10);
        assert_eq!(output, b"\x81\x05hello\x8A\x01p");
        let mut writer = writing.join().unwrap();
        writer.abort();
        assert_eq!(reading.join().unwrap(), Some(true));
    });
}

/// The other way round: the reader is at the stream with a pong when the writer comes.
#[test]
fn a_message_that_finds_the_reader_at_the_stream_leaves() {
    within(ms(20_000), || {
        let (near, far) = pipe(1 << 20);
        let far = Gated::new(far);
        write_all(&near, REQUEST);
        let server = accept(far.clone(), Config::default()).unwrap();
        read_until(&near, |bytes| bytes.ends_with(b"\r\n\r\n"));
        let (mut reader, mut writer) = server.split();
        far.shut();
        let reading = thread::spawn(move || reader.next().map(|next| next.is_err()));
        write_all(&near, &frame(PING, b"p"));
        far.wait_for_write();
        let writing = thread::spawn(move || {
            writer.send("hello").unwrap();
            writer
        });
        thread::sleep(ms(50));
        far.open();
        let output = read_until(&near, |bytes| bytes.len() >= 10);
        assert_eq!(output, b"\x8A\x01p\x81\x05hello");
        writing.join().unwrap().abort();
        assert_eq!(reading.join().unwrap(), Some(true));
    });
}

/// A pong and a message meet at the stream in every order that two threads come up with, and then
/// nobody comes who would take along what was left.
#[test]
fn no_pong_is_lost_between_two_threads() {
    within(ms(60_000), || {
        const ROUNDS: u32 = 5_000;
        let (near, far) = pipe(1 << 20);
        let far = Gated::new(far);
        write_all(&near, REQUEST);
        let server = accept(far.clone(), Config::default()).unwrap();
        read_until(&near, |bytes| bytes.ends_with(b"\r\n\r\n"));
        let (mut reader, mut writer) = server.split();
        let reading = thread::spawn(move || reader.next().map(|next| next.is_err()));
        let round = Arc::new(AtomicU32::new(0));
        let rounds = round.clone();
        let writing = thread::spawn(move || {
            for n in 1..=ROUNDS {
                while rounds.load(Ordering::SeqCst) < n {
                    thread::yield_now();
                }
                // From before the ping to after the pong.
                for _ in 0..(n % 50) * 20 {
                    std::hint::spin_loop();
                }
                writer.send("m").unwrap();
            }
            writer
        });
        for n in 1..=ROUNDS {
            round.store(n, Ordering::SeqCst);
            write_all(&near, &frame(PING, &n.to_be_bytes()));
            near.set_read_timeout(Some(ms(5_000))).unwrap();
            // Either may come first.
            let mut output = read_until(&near, |bytes| bytes.len() >= 9);
            output.sort_unstable();
            let mut both = [&b"\x81\x01m"[..], &[PONG, 4], &n.to_be_bytes()].concat();
            both.sort_unstable();
            assert_eq!(output, both, "round {n}");
        }
        writing.join().unwrap().abort();
        assert_eq!(reading.join().unwrap(), Some(true));
    });
}

#[test]
fn an_abort_by_one_half_ends_the_wait_of_the_other_at_once() {
    within(ms(10_000), || {
        let (server, _raw) = server_and_raw(Config::default());
        let (mut reader, mut writer) = server.split();
        let reading = thread::spawn(move || (reader.next(), Instant::now()));
        thread::sleep(ms(60));
        let start = Instant::now();
        writer.abort();
        let (end, ended) = reading.join().unwrap();
        assert!(matches!(end, Some(Err(Error::Closed(closed))) if closed.cause == Cause::Aborted));
        assert!(ended - start < ms(100), "{:?}", ended - start);

        let (server, _raw) = server_and_raw(Config::default());
        let (mut reader, mut writer) = server.split();
        let writing = thread::spawn(move || (writer.send(vec![0; 64 << 20]), Instant::now()));
        thread::sleep(ms(60));
        let start = Instant::now();
        reader.abort();
        let (end, ended) = writing.join().unwrap();
        assert!(end.is_err());
        assert!(ended - start < ms(100), "{:?}", ended - start);
    });
}

#[test]
fn rule_5_a_peer_that_takes_nothing_is_dead_for_both_halves() {
    within(ms(20_000), || {
        let heartbeat = HeartbeatConfig::ping(ms(60_000), ms(60_000)).write_stall_timeout(ms(500));
        let config = Config::builder().heartbeat(heartbeat).build().unwrap();
        let (server, _raw) = server_and_raw(config);
        let (mut reader, mut writer) = server.split();
        let reading = thread::spawn(move || reader.next());
        let start = Instant::now();
        let stalled = |end: Result<(), Error>| match end {
            Err(Error::Closed(closed)) => {
                assert_eq!(closed.cause, Cause::Dead(DeadReason::WriteStalled));
            }
            other => panic!("{other:?}"),
        };
        stalled(writer.send(vec![0; 64 << 20]));
        assert!(start.elapsed() < ms(2_500), "{:?}", start.elapsed());
        match reading.join().unwrap() {
            Some(Err(Error::Closed(closed))) => {
                assert_eq!(closed.cause, Cause::Dead(DeadReason::WriteStalled));
            }
            other => panic!("{other:?}"),
        }
        stalled(writer.send("late"));
        assert_eq!(
            writer.closed().unwrap().cause,
            Cause::Dead(DeadReason::WriteStalled)
        );
    });
}

#[test]
fn what_one_half_fed_leaves_while_the_other_waits() {
    within(ms(10_000), || {
        let (server, mut raw) = server_and_raw(Config::default());
        let (mut reader, mut writer) = server.split();
        let reading = thread::spawn(move || reader.next().map(|next| next.is_err()));
        writer.feed("fed").unwrap();
        drop(writer);
        assert_eq!(raw.read_frame(), (TEXT, b"fed".to_vec()));
        drop(raw);
        assert_eq!(reading.join().unwrap(), Some(true));
    });
}

#[test]
fn without_a_reader_the_writer_reads_and_closes() {
    within(ms(20_000), || {
        let (server, mut client) = pair(Config::default());
        let (reader, mut writer) = server.split();
        drop(reader);
        // Both send more than all buffers hold; what comes to the writer is dropped.
        let client = thread::spawn(move || {
            for _ in 0..64 {
                match client.send(vec![1; 256 << 10]) {
                    Ok(()) => {}
                    // The Close was read on the way.
                    Err(Error::Closed(closed)) => {
                        assert_eq!(closed.cause, Cause::Normal);
                        break;
                    }
                    Err(error) => panic!("{error:?}"),
                }
            }
            let mut received = 0;
            while let Some(message) = client.next() {
                received += message.unwrap().len();
            }
            received
        });
        writer.send(vec![2; 12 << 20]).unwrap();
        writer.close(CloseCode::NORMAL, "").unwrap();
        assert_eq!(writer.state(), State::Closed);
        assert_eq!(client.join().unwrap(), 12 << 20);
    });
}

#[test]
fn with_both_halves_dropped_the_stream_is_closed() {
    within(ms(10_000), || {
        let (server, mut raw) = server_and_raw(Config::default());
        let (reader, writer) = server.split();
        drop(writer);
        drop(reader);
        assert_eq!(raw.read_to_end().unwrap(), b"");
    });
}

#[test]
fn halves_come_together_again() {
    within(ms(10_000), || {
        let (client, mut server) = pair(Config::default());
        let server = thread::spawn(move || echo(&mut server));
        let (reader, writer) = client.split();
        let (other, _raw) = server_and_raw(Config::default());
        let (_, stranger) = other.split();
        let error = reader.reunite(stranger).unwrap_err();
        let mut client = error.0.reunite(writer).unwrap();
        client.send("hello").unwrap();
        assert_eq!(client.next().unwrap().unwrap().as_text(), Some("hello"));
        client.close(CloseCode::NORMAL, "").unwrap();
        server.join().unwrap().unwrap();
    });
}
