//! Rule 16: what lies unread hides nothing, and long work of the handler neither.

mod common;

use std::sync::mpsc::sync_channel;
use std::time::Instant;

use common::*;
use wspulse_core::heartbeat::{DeadReason, HeartbeatConfig};
use wspulse_core::{Cause, CloseCode, Config, Event, Message};
use wspulse_mio::{ConnectionId, Connections, Error, Handler, InboxLimits, accept};

/// A connection that is paused, and its peer.
fn paused(
    config: Config,
    limits: InboxLimits,
) -> (
    Running<Notes>,
    std::sync::mpsc::Receiver<Seen>,
    Raw,
    ConnectionId,
) {
    let (notes, seen) = Notes::new(false);
    let server = Running::start(notes, config);
    let raw = Raw::open(server.address);
    let id = wait_for_open(&seen);
    server.look(move |_, connections| {
        connections.set_inbox_limits(id, limits);
        connections.pause(id);
    });
    (server, seen, raw, id)
}

#[test]
fn a_pause_reads_on_and_answers_pings_and_the_peers_close() {
    let (server, seen, mut raw, _) = paused(Config::default(), InboxLimits::new());
    let batch: Vec<u8> = (0..100).flat_map(|n| frame(BINARY, &[n; 3_000])).collect();
    raw.write(&batch);
    raw.write(&frame(PING, b"are you there"));
    assert_eq!(raw.read_frame(), (PONG, b"are you there".to_vec()));
    assert!(seen.try_recv().is_err(), "it is paused");
    raw.write(&frame(CLOSE, &[0x03, 0xE9]));
    assert_eq!(raw.read_frame().0, CLOSE);
    // The end holds nothing back any more.
    for n in 0..100 {
        assert_eq!(wait_for_message(&seen), Message::from(vec![n; 3_000]));
    }
    let closed = wait_for_end(&seen).unwrap();
    assert_eq!(closed.received.unwrap().code, CloseCode::GOING_AWAY);
    server.wait_until_empty();
}

#[test]
fn t1_a_pause_hides_no_death() {
    let (_server, seen, mut raw, _) = paused(heartbeat(300, 400), InboxLimits::new());
    raw.write(
        &(0..17)
            .flat_map(|n| frame(BINARY, &[n]))
            .collect::<Vec<_>>(),
    );
    for n in 0..17 {
        assert_eq!(wait_for_message(&seen), Message::from(vec![n]));
    }
    match wait_for_end(&seen) {
        Err(Error::Closed(closed)) => {
            assert_eq!(closed.cause, Cause::Dead(DeadReason::PongTimeout));
        }
        other => panic!("{other:?}"),
    }
}

/// Nothing is read any more, so the socket tells of the reset by itself. What was read before is
/// handed out.
#[test]
fn t1_a_reset_ends_a_connection_whose_inbox_is_full() {
    for limits in [InboxLimits::new(), InboxLimits::new().max_messages(4)] {
        let (server, seen, mut raw, id) = paused(Config::default(), limits);
        raw.write(
            &(0..17)
                .flat_map(|n| frame(BINARY, &[n]))
                .collect::<Vec<_>>(),
        );
        raw.write(&frame(BINARY, &[0; 200_000]));
        // It is read by now, as far as it will be.
        std::thread::sleep(millis(100));
        assert!(seen.try_recv().is_err(), "it is paused");
        socket2::SockRef::from(&raw.0)
            .set_linger(Some(millis(0)))
            .unwrap();
        drop(raw);
        for n in 0..4 {
            assert_eq!(wait_for_message(&seen), Message::from(vec![n]));
        }
        let end = wait_for_end(&seen);
        assert!(matches!(end, Err(Error::Io(_))), "{end:?}");
        assert!(server.look(move |_, connections| connections.get(id).is_none()));
    }
}

/// The inbox is full and nobody resumes: that is told, and the peer is not blamed.
#[test]
fn an_inbox_that_nobody_empties_ends_the_connection_as_unread() {
    let heartbeat = HeartbeatConfig::default().unread_timeout(millis(400));
    let config = Config::builder()
        .heartbeat(heartbeat)
        .close_timeout(millis(300))
        .build()
        .unwrap();
    let (_server, seen, mut raw, _) = paused(config, InboxLimits::new().max_messages(4));
    let batch: Vec<u8> = (0..17).flat_map(|n| frame(BINARY, &[n])).collect();
    raw.write(&batch);
    assert_eq!(raw.read_frame(), (CLOSE, b"\x03\xE9unread".to_vec()));
    raw.write(&frame(CLOSE, &[0x03, 0xE9]));
    for n in 0..4 {
        assert_eq!(wait_for_message(&seen), Message::from(vec![n]));
    }
    match wait_for_end(&seen) {
        Err(Error::Closed(closed)) => assert_eq!(closed.cause, Cause::Unread),
        other => panic!("{other:?}"),
    }
}

/// A peer that is gone without a word is for the kernel to find, while nobody reads.
#[cfg(target_os = "linux")]
#[test]
fn while_the_inbox_is_full_the_kernel_watches() {
    let (server, seen, mut raw, id) =
        paused(heartbeat(2_000, 4_000), InboxLimits::new().max_messages(4));
    let kernel = move |connections: &mut Connections| {
        let wspulse_mio::Socket::Tcp(stream) = connections.get(id).unwrap().get_ref() else {
            unreachable!("it listens on TCP");
        };
        let socket = socket2::SockRef::from(stream);
        let patience = socket.tcp_user_timeout().unwrap();
        (socket.keepalive().unwrap(), patience)
    };
    let before = server.look(move |_, connections| kernel(connections));
    assert!(!before.0);
    raw.write(&(0..8).flat_map(|n| frame(BINARY, &[n])).collect::<Vec<_>>());
    let begun = Instant::now();
    while server.look(move |_, connections| kernel(connections)) != (true, Some(millis(6_000))) {
        assert!(begun.elapsed() < PATIENCE, "nobody watches");
        std::thread::sleep(millis(5));
    }
    server.look(move |_, connections| connections.resume(id));
    for n in 0..8 {
        assert_eq!(wait_for_message(&seen), Message::from(vec![n]));
    }
    let begun = Instant::now();
    while server.look(move |_, connections| kernel(connections)) != before {
        assert!(begun.elapsed() < PATIENCE, "it watches still");
        std::thread::sleep(millis(5));
    }
}

/// Works for 20 ms over each message.
struct Slow;

impl Handler for Slow {
    fn message(&mut self, connections: &mut Connections, id: ConnectionId, message: Message) {
        std::thread::sleep(millis(20));
        connections.send(id, message).unwrap();
    }
}

/// A hundred messages in one segment, and a ping behind them: its pong comes long before the last
/// answer, and so does that of another connection.
#[test]
fn long_work_of_the_handler_holds_up_no_pong() {
    let server = Running::start(Slow, heartbeat(200, 20_000));
    let mut raw = Raw::open(server.address);
    let mut other = Raw::open(server.address);
    let mut batch: Vec<u8> = (0..100).flat_map(|n| frame(BINARY, &[n])).collect();
    batch.extend(frame(PING, b"p"));
    raw.write(&batch);
    assert_eq!(raw.read_frame(), (BINARY, vec![0]));
    other.write(&frame(PING, b"q"));
    while other.read_frame().0 != PONG {}
    let mut answers = 0;
    loop {
        match raw.read_frame() {
            (PONG, _) => break,
            (PING, payload) => raw.write(&frame(PONG, &payload)),
            _ => answers += 1,
        }
    }
    assert!(answers < 50, "{answers} answers before the pong");
}

/// A loop of one's own that only flushes: what a flush has read, the stream tells of no more.
#[test]
fn a_flush_looks_for_input_and_asks_for_a_turn_over_it() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let thread = std::thread::spawn({
        let address = listener.local_addr().unwrap();
        move || Raw::open(address)
    });
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let stream = mio::net::TcpStream::from_std(stream);
    let mut ws = accept(stream, heartbeat(40, 60_000)).unwrap();
    while !thread.is_finished() {
        let _ = ws.handle_ready(|_, _| {});
        std::thread::sleep(millis(1));
    }
    let mut raw = thread.join().unwrap();
    raw.write(&[frame(PING, b"p"), frame(TEXT, b"hello")].concat());
    let begun = Instant::now();
    // It looks every quarter of the interval.
    while ws.poll_timeout().is_none_or(|due| due > begun) {
        assert!(begun.elapsed() < PATIENCE, "nobody looks");
        ws.send("tick").unwrap();
        assert!(ws.flush().unwrap());
        std::thread::sleep(millis(5));
    }
    while raw.read_frame() != (PONG, b"p".to_vec()) {}
    let mut texts = Vec::new();
    let _ = ws.handle_ready(|_, event| {
        if let Event::Text(text) = event {
            texts.push(text);
        }
    });
    assert_eq!(texts, ["hello"]);
}

#[test]
fn a12_after_a_suspend_each_connection_is_probed() {
    let (notes, seen) = Notes::new(false);
    let server = Running::start(notes, Config::default());
    let mut first = Raw::open(server.address);
    let mut second = Raw::open(server.address);
    let _ = [wait_for_open(&seen), wait_for_open(&seen)];
    server.handle.handle_resumed().unwrap();
    assert_eq!(first.read_frame().0, PING);
    assert_eq!(second.read_frame().0, PING);
    server.stop();
}

/// The queue of the listening socket holds what comes at once.
#[cfg(target_os = "linux")]
#[test]
fn a24_a_burst_of_clients_waits_in_the_listeners_queue() {
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let most: usize = most.trim().parse().unwrap();
    let (notes, _seen) = Notes::new(false);
    let server = Running::start(notes, Config::default());
    // The loop takes nobody.
    let (sender, gate) = sync_channel::<()>(0);
    server
        .handle
        .run(move |_, _| {
            let _ = gate.recv();
        })
        .unwrap();
    let clients = 600.min(most);
    let streams: Vec<_> = (0..clients)
        .map(|n| {
            let stream = std::net::TcpStream::connect_timeout(&server.address, millis(900));
            stream.unwrap_or_else(|error| panic!("client {n}: {error}"))
        })
        .collect();
    assert_eq!(streams.len(), clients);
    drop(sender);
}
