//! How connections and the loop itself end, and that nothing is left behind.

mod common;

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use common::*;
use wspulse_core::handshake::{Accept, HandshakeLimits, ServerHandshake};
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Cause, CloseCode, Config, Message};
use wspulse_mio::{ConnectionId, Connections, DrainReport, Error, Handler};

#[test]
fn rule_11_a_close_owed_to_a_peer_that_misbehaves_arrives_though_its_input_is_unread() {
    let (notes, seen) = Notes::new(false);
    let config = Config::builder()
        .close_timeout(millis(500))
        .build()
        .unwrap();
    let server = Running::start(notes, config);
    let mut raw = Raw::open(server.address);
    // An illegal frame, and megabytes behind it that nobody has any use for.
    let mut writer = Raw(raw.0.try_clone().unwrap());
    let thread = std::thread::spawn(move || {
        writer.write(&[0xF1, 0x80, 0, 0, 0, 0]);
        for _ in 0..64 {
            if writer.0.write_all(&[0; 65_536]).is_err() {
                break;
            }
        }
    });
    thread.join().unwrap();
    let (first, payload) = raw.read_frame();
    assert_eq!((first, &payload[..2]), (CLOSE, &[3, 234][..]));
    // Half-closed: the end of its stream, and no reset.
    assert_eq!(raw.0.read(&mut [0]).unwrap(), 0);
    assert!(
        seen.try_iter()
            .all(|seen| !matches!(seen, Seen::Closed(..))),
        "it reads on"
    );
    drop(raw);
    let Err(Error::Closed(closed)) = wait_for_end(&seen) else {
        panic!("it is the peer's doing");
    };
    assert!(matches!(closed.cause, Cause::Protocol(_)), "{closed:?}");
    server.wait_until_empty();
}

#[test]
fn a_peer_that_misbehaves_and_never_ends_is_cut_at_the_close_deadline() {
    let (notes, seen) = Notes::new(false);
    let config = Config::builder()
        .close_timeout(millis(200))
        .build()
        .unwrap();
    let server = Running::start(notes, config);
    let mut raw = Raw::open(server.address);
    raw.write(&[0xF1, 0x80, 0, 0, 0, 0]);
    let Err(Error::Closed(closed)) = wait_for_end(&seen) else {
        panic!("it is the peer's doing");
    };
    assert!(matches!(closed.cause, Cause::Protocol(_)), "{closed:?}");
    server.wait_until_empty();
    assert_eq!(raw.read_frame().0, CLOSE);
}

#[test]
fn a_drain_asks_everybody_to_go_and_reports_who_was_cut() {
    let (notes, seen) = Notes::new(false);
    let server = Running::start(notes, Config::default());
    let mut raws: Vec<Raw> = (0..10).map(|_| Raw::open(server.address)).collect();
    let ids: Vec<_> = raws.iter().map(|_| wait_for_open(&seen)).collect();
    let address = server.address;
    let begun = Instant::now();
    server.handle.drain(millis(300), millis(800));
    // All but the last answer.
    let stubborn = raws.pop().unwrap();
    let asked: Vec<_> = raws
        .iter_mut()
        .map(|raw| {
            let (first, payload) = raw.read_frame();
            assert_eq!((first, &payload[..2]), (CLOSE, &1001_u16.to_be_bytes()[..]));
            let asked = begun.elapsed();
            raw.write(&frame(CLOSE, &payload));
            asked
        })
        .collect();
    assert!(asked[8] >= millis(200), "spread: {asked:?}");
    let report = wait_for(&seen, |seen| match seen {
        Seen::Drained(report) => Some(report),
        _ => None,
    });
    let mut expected = DrainReport::default();
    expected.asked = 10;
    expected.cut = vec![ids[9]];
    assert_eq!(report, expected);
    let elapsed = begun.elapsed();
    assert!(elapsed >= millis(800), "{elapsed:?}");
    assert!(elapsed < millis(5_000), "{elapsed:?}");
    let mut server = server.join();
    assert!(server.connections().is_empty());
    assert!(
        std::net::TcpStream::connect(address).is_err(),
        "it listens no more"
    );
    drop(stubborn);
}

/// A client that has closed in order waits for the server to end the stream (RFC 6455 §7.1.1).
#[test]
fn a_drain_does_not_report_as_cut_who_had_closed_in_order() {
    let (notes, seen) = Notes::new(false);
    let server = Running::start(notes, Config::default());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let client = server.look(move |_, connections| connections.connect(&url, Config::default()));
    let client = client.unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut far = Raw(stream);
    let mut handshake = ServerHandshake::new(HandshakeLimits::default());
    handshake.handle_input(far.read_head().as_bytes());
    handshake.poll_request().unwrap().unwrap();
    far.write(&handshake.accept(&Accept::new()).unwrap());
    assert_eq!(wait_for_open(&seen), client);
    let stubborn = Raw::open(server.address);
    let silent = wait_for_open(&seen);

    server.handle.drain(millis(0), millis(500));
    // With a mask, and a code.
    assert_eq!(far.read_exact(8)[..2], [CLOSE, 0x82]);
    far.write(&[CLOSE, 2, 3, 233]);
    let mut ended_in_order = Vec::new();
    let report = wait_for(&seen, |seen| match seen {
        Seen::Closed(id, Ok(_)) => {
            ended_in_order.push(id);
            None
        }
        Seen::Drained(report) => Some(report),
        _ => None,
    });
    assert_eq!(ended_in_order, [client]);
    assert_eq!((report.asked, report.cut), (2, vec![silent]));
    drop((far, stubborn));
}

#[test]
fn a_drain_ends_when_everybody_has_gone() {
    let (notes, seen) = Notes::new(false);
    let server = Running::start(notes, Config::default());
    server.handle.drain(PATIENCE, PATIENCE);
    let begun = Instant::now();
    wait_for(&seen, |seen| matches!(seen, Seen::Drained(_)).then_some(()));
    assert!(begun.elapsed() < PATIENCE / 2);
}

#[test]
fn a_stop_says_goodbye_and_waits_for_nobody() {
    let (notes, seen) = Notes::new(false);
    let server = Running::start(notes, Config::default());
    let mut raw = Raw::open(server.address);
    wait_for_open(&seen);
    let mut server = server.stop();
    assert!(server.connections().is_empty());
    let (first, payload) = raw.read_frame();
    assert_eq!((first, payload), (CLOSE, 1001_u16.to_be_bytes().to_vec()));
    wait_for_end(&seen).unwrap_err();
}

// ---- nothing is left behind

#[test]
fn ten_thousand_connections_that_come_and_go_leave_nothing_behind() {
    const ROUNDS: usize = 10_000;
    struct Counter {
        opened: usize,
        closed: usize,
    }
    impl Handler for Counter {
        fn open(
            &mut self,
            _: &mut Connections,
            _: ConnectionId,
            _: Option<&wspulse_core::handshake::Response>,
        ) {
            self.opened += 1;
        }
        fn message(&mut self, _: &mut Connections, _: ConnectionId, _: Message) {}
        fn closed(
            &mut self,
            _: &mut Connections,
            _: ConnectionId,
            _: Result<Box<wspulse_core::Closed>, Error>,
        ) {
            self.closed += 1;
        }
    }
    let counter = Counter {
        opened: 0,
        closed: 0,
    };
    let server = Running::start(counter, Config::default());
    Raw::open(server.address);
    server.wait_until_empty();
    let before = descriptors();
    for round in 1..ROUNDS {
        // In all sorts of ways: before a word, in the handshake, open, after a Close.
        match round % 4 {
            0 => drop(Raw::connect(server.address)),
            1 => Raw::connect(server.address).write(&REQUEST[..40]),
            2 => drop(Raw::open(server.address)),
            _ => {
                let mut raw = Raw::open(server.address);
                raw.write(&frame(CLOSE, &[3, 232]));
                assert_eq!(raw.read_frame().0, CLOSE);
            }
        }
    }
    server.wait_until_empty();
    let (opened, closed, timers, counts) = server.look(|counter, connections| {
        let timers = connections.timers();
        (
            counter.opened,
            counter.closed,
            timers.len(),
            timers.counts(),
        )
    });
    assert_eq!(closed, ROUNDS, "each is told of once");
    assert_eq!(opened, ROUNDS / 2 + 1);
    assert_eq!(timers, 0);
    assert_eq!(counts.added, counts.fired + counts.cancelled);
    // Other tests of this process open and close theirs meanwhile.
    let after = descriptors();
    assert!(
        after < before + 200,
        "{before} descriptors before, {after} after"
    );
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// With few descriptors, in a process of its own.
#[cfg(target_os = "linux")]
#[test]
fn a_listener_without_descriptors_says_so_rests_and_comes_back() {
    const CHILD: &str = "WSPULSE_FEW_DESCRIPTORS";
    if std::env::var_os(CHILD).is_none() {
        let output = std::process::Command::new("sh")
            .args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("a_listener_without_descriptors_says_so_rests_and_comes_back")
            .env(CHILD, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        return;
    }
    let (notes, seen) = Notes::new(false);
    let server = Running::start(notes, Config::default());
    let mut raws = Vec::new();
    // Each takes two descriptors, one at each end.
    while let Ok(stream) = std::net::TcpStream::connect(server.address) {
        raws.push(stream);
    }
    let error = wait_for(&seen, |seen| match seen {
        Seen::AcceptFailed(error) => Some(error),
        _ => None,
    });
    assert_eq!(error.raw_os_error(), Some(24), "too many open files");
    // It rests in between, and does not fail as fast as it can.
    std::thread::sleep(millis(500));
    let failures = seen
        .try_iter()
        .filter(|seen| matches!(seen, Seen::AcceptFailed(_)))
        .count();
    assert!((1..=6).contains(&failures), "{failures} in half a second");
    // With descriptors again, those who wait are taken.
    raws.truncate(1);
    std::thread::sleep(millis(300));
    let mut raw = Raw::open(server.address);
    raw.write(&frame(TEXT, b"here I am"));
    // Past the ends of those that left.
    let message = wait_for(&seen, |seen| match seen {
        Seen::Message(_, message) => Some(message),
        _ => None,
    });
    assert_eq!(message, Message::from("here I am"));
}

/// What the handler does in one turn to others leaves in that order, and to itself at its end.
#[test]
fn a_handler_may_do_anything_to_any_connection_in_any_method() {
    struct Wild {
        ids: Vec<ConnectionId>,
        over: Arc<Mutex<usize>>,
    }
    impl Handler for Wild {
        fn open(
            &mut self,
            connections: &mut Connections,
            id: ConnectionId,
            _: Option<&wspulse_core::handshake::Response>,
        ) {
            self.ids.push(id);
            connections.broadcast("another one");
        }
        fn message(&mut self, connections: &mut Connections, id: ConnectionId, message: Message) {
            match message.as_text() {
                Some("abort me") => connections.abort(id),
                Some("abort all") => {
                    for id in &self.ids {
                        connections.abort(*id);
                    }
                }
                _ => {
                    connections.pause(id);
                    connections.resume(id);
                    connections.close(id, CloseCode::NORMAL, "").unwrap();
                    connections.close(id, CloseCode::NORMAL, "").unwrap();
                    let heartbeat = HeartbeatConfig::ping(millis(1_000), millis(1_000));
                    connections.set_heartbeat(id, heartbeat).unwrap();
                    connections.send(id, "late").unwrap_err();
                }
            }
        }
        fn closed(
            &mut self,
            connections: &mut Connections,
            id: ConnectionId,
            _: Result<Box<wspulse_core::Closed>, Error>,
        ) {
            assert!(connections.get(id).is_none());
            connections.send(id, "gone").unwrap_err();
            connections.abort(id);
            connections.resume(id);
            connections.broadcast("one less");
            *self.over.lock().unwrap() += 1;
        }
    }
    let over = Arc::new(Mutex::new(0));
    let wild = Wild {
        ids: Vec::new(),
        over: Arc::clone(&over),
    };
    let server = Running::start(wild, Config::default());
    let mut raws: Vec<Raw> = (0..5).map(|_| Raw::open(server.address)).collect();
    raws[0].write(&frame(TEXT, b"abort me"));
    raws[0].read_to_end();
    raws[1].write(&frame(TEXT, b"close me"));
    raws[1].write(&frame(CLOSE, &[3, 232]));
    raws[1].read_to_end();
    raws[2].write(&frame(TEXT, b"abort all"));
    for mut raw in raws {
        raw.read_to_end();
    }
    server.wait_until_empty();
    assert_eq!(*over.lock().unwrap(), 5);
}
