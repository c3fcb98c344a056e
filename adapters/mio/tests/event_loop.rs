//! The ready loop: shares of time, deadlines, other threads, backpressure, ends.

mod common;

use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::*;
use mio::event::Source;
use mio::{Interest, Registry, Token};
use wspulse_core::handshake::Response;
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Cause, CloseCode, Closed, Config, Connection, Message, Role, Seed, SendError};
use wspulse_mio::{
    ConnectionId, Connections, DrainReport, Error, EventLoop, Handle, HandleError, Handler,
    Listener, Socket, Stream, WebSocket,
};

// ---- shares of time

/// A stream that never runs out of input, and counts what was read of it.
struct Flood {
    message: Vec<u8>,
    offset: usize,
    read: Arc<AtomicUsize>,
}

impl Read for Flood {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for byte in buffer.iter_mut() {
            *byte = self.message[self.offset];
            self.offset = (self.offset + 1) % self.message.len();
        }
        let before = self.read.fetch_add(buffer.len(), Ordering::Relaxed);
        assert!(before < 512 << 20, "it is read without end");
        Ok(buffer.len())
    }
}

impl Write for Flood {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Flood {
    fn shutdown(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source for Flood {
    fn register(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
        Ok(())
    }
    fn reregister(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
        Ok(())
    }
    fn deregister(&mut self, _: &Registry) -> io::Result<()> {
        Ok(())
    }
}

fn flood(connections: &mut Connections) -> (ConnectionId, Arc<AtomicUsize>) {
    let read = Arc::new(AtomicUsize::new(0));
    let stream: Box<dyn Stream + Send> = Box::new(Flood {
        message: frame(BINARY, &[0; 1_000]),
        offset: 0,
        read: Arc::clone(&read),
    });
    let connection = Connection::from_upgrade(
        Role::Server,
        Arc::new(Config::default()),
        Seed::predictable_for_tests(7),
        wspulse_core::Instant::ZERO,
    );
    let ws = WebSocket::from_connection(Socket::from(stream), connection);
    (connections.add(ws).unwrap(), read)
}

/// Writes down whose messages came, in their order.
#[derive(Default)]
struct Order(Rc<RefCell<Vec<ConnectionId>>>);

impl Handler for Order {
    fn message(&mut self, _: &mut Connections, id: ConnectionId, _: Message) {
        self.0.borrow_mut().push(id);
    }
}

/// What one turn reads at most: its budget, and the read that went beyond it.
const SHARE: usize = (256 + 64) << 10;

/// How long a loop sleeps that should not.
const AT_ONCE: Duration = Duration::from_secs(1);

#[test]
fn a_peer_that_floods_leaves_the_others_their_turns() {
    let order = Order::default();
    let seen = Rc::clone(&order.0);
    let mut server = EventLoop::new(order).unwrap();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    server
        .connections()
        .listen(listener, Config::default())
        .unwrap();
    let (flooder, read) = flood(server.connections());
    let thread = std::thread::spawn(move || {
        let raw = Raw::open(address);
        raw.0.set_nodelay(true).unwrap();
        raw
    });
    while !thread.is_finished() {
        server.turn(Some(AT_ONCE)).unwrap();
    }
    let mut raw = thread.join().unwrap();
    for round in 0..100 {
        raw.write(&frame(TEXT, b"me too"));
        // On this machine the bytes are there when the write returns. With the flood always
        // ready the loop never sleeps, and comes to everybody in each turn.
        seen.borrow_mut().clear();
        let before = read.load(Ordering::Relaxed);
        for _ in 0..2 {
            server.turn(Some(AT_ONCE)).unwrap();
        }
        let seen = seen.borrow();
        let quiet = seen.iter().filter(|id| **id != flooder).count();
        assert_eq!(quiet, 1, "round {round}");
        let flooded = read.load(Ordering::Relaxed) - before;
        assert!(seen.len() > quiet, "nothing of the flood in round {round}");
        assert!(flooded <= 2 * SHARE, "{flooded} in round {round}");
    }
}

#[test]
fn two_peers_that_flood_take_turns() {
    let order = Order::default();
    let seen = Rc::clone(&order.0);
    let mut server = EventLoop::new(order).unwrap();
    let (one, _) = flood(server.connections());
    let (two, _) = flood(server.connections());
    for _ in 0..20 {
        server.turn(Some(AT_ONCE)).unwrap();
    }
    let seen = seen.borrow();
    let runs: Vec<_> = seen.chunk_by(|a, b| a == b).collect();
    assert_eq!(runs.len(), 40);
    for (index, run) in runs.iter().enumerate() {
        assert_eq!(run[0], [one, two][index % 2]);
        assert!(run.len() <= SHARE / 1_000, "{} in a row", run.len());
    }
}

/// Peers of all kinds that give nothing to do: open, unanswered, unread, paused, half gone.
#[test]
fn a_loop_with_nothing_to_do_sleeps() {
    let (notes, seen) = Notes::new(false);
    let mut server = EventLoop::new(notes).unwrap();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    server
        .connections()
        .listen(listener, Config::default())
        .unwrap();
    let thread = std::thread::spawn(move || {
        let silent = Raw::connect(address);
        let half = Raw::open(address);
        half.0.shutdown(std::net::Shutdown::Write).unwrap();
        let mut broken = Raw::open(address);
        broken.write(&[0xF1, 0x80, 0, 0, 0, 0]);
        let (mut unread, mut paused) = (Raw::open(address), Raw::open(address));
        unread.write(&frame(TEXT, b"write to me"));
        paused.write(&frame(TEXT, b"pause me"));
        (silent, half, broken, unread, paused)
    });
    let mut raws = None;
    let begun = Instant::now();
    let mut held = 0;
    while raws.is_none() || held < 2 {
        assert!(begun.elapsed() < PATIENCE);
        server.turn(Some(millis(20))).unwrap();
        for seen in seen.try_iter() {
            let Seen::Message(id, message) = seen else {
                continue;
            };
            held += 1;
            match message.as_text() {
                Some("pause me") => server.connections().pause(id),
                _ => server.connections().send(id, vec![0; 16 << 20]).unwrap(),
            }
        }
        if raws.is_none() && thread.is_finished() {
            raws = Some(());
        }
    }
    let (_silent, _half, _broken, mut unread, mut paused) = thread.join().unwrap();
    paused.write(&frame(TEXT, b"held back").repeat(10));
    // What the kernels still take; then it is quiet.
    for _ in 0..50 {
        server.turn(Some(millis(10))).unwrap();
    }
    let begun = Instant::now();
    let mut turns = 0;
    while begun.elapsed() < millis(300) {
        server.turn(Some(millis(100))).unwrap();
        turns += 1;
    }
    assert!(turns <= 12, "{turns} turns in 300 ms");
    // And the one with megabytes to write goes on when it is read.
    let thread = std::thread::spawn(move || unread.read_exact(16 << 20));
    let begun = Instant::now();
    while !thread.is_finished() {
        assert!(begun.elapsed() < PATIENCE);
        server.turn(Some(millis(20))).unwrap();
    }
    thread.join().unwrap();
}

#[test]
fn no_more_connections_are_taken_than_there_may_be() {
    let (notes, seen) = Notes::new(true);
    let server = Running::start_with(notes, |connections, listener| {
        connections.listen(listener, Config::default()).unwrap();
        connections.set_max_connections(2);
    });
    let first = Raw::open(server.address);
    let _second = Raw::open(server.address);
    let mut third = Raw::connect(server.address);
    third.write(REQUEST);
    std::thread::sleep(millis(50));
    assert_eq!(server.look(|_, connections| connections.len()), 2);
    drop(first);
    wait_for_end(&seen).unwrap_err();
    assert!(third.read_head().starts_with("HTTP/1.1 101 "));
}

// ---- deadlines

#[test]
fn traffic_moves_no_entry_of_the_timers() {
    const MESSAGES: usize = 100_000;
    let (notes, _seen) = Notes::new(true);
    let server = Running::start(notes, Config::default());
    let mut raw = Raw::open(server.address);
    let before = server.look(|_, connections| connections.timers().counts());
    let batch = frame(BINARY, b"0123456789").repeat(500);
    for _ in 0..MESSAGES / 500 {
        raw.write(&batch);
        raw.read_exact(500 * 12);
    }
    let after = server.look(|_, connections| connections.timers().counts());
    assert_eq!(after.moved, before.moved);
    // Nothing is added either, but for what fired.
    assert_eq!(after.added - before.added, after.fired - before.fired);
    assert!(after.fired - before.fired <= 2, "{after:?}");
}

#[test]
fn rule_8_a_peer_that_falls_silent_is_dead_after_interval_and_timeout() {
    let (notes, seen) = Notes::new(false);
    let server = Running::start(notes, heartbeat(200, 300));
    let mut raw = Raw::open(server.address);
    raw.write(&frame(TEXT, b"my last words"));
    wait_for_message(&seen);
    let silent = Instant::now();
    let Err(Error::Closed(closed)) = wait_for_end(&seen) else {
        panic!("it is dead");
    };
    assert!(matches!(closed.cause, Cause::Dead(_)), "{closed:?}");
    let elapsed = silent.elapsed();
    assert!(elapsed <= millis(200 + 300 + 250), "{elapsed:?}");
    assert_eq!(raw.read_frame().0, PING);
    assert_eq!(raw.read_frame().0, CLOSE);
    server.wait_until_empty();
}

#[cfg(target_os = "linux")]
#[test]
fn the_kernel_waits_as_long_as_the_heartbeat_that_was_set_last() {
    let stall =
        |seconds: u64| HeartbeatConfig::off().write_stall_timeout(Duration::from_secs(seconds));
    let (notes, seen) = Notes::new(false);
    let config = Config::builder().heartbeat(stall(2)).build().unwrap();
    let server = Running::start(notes, config);
    let _raw = Raw::open(server.address);
    let id = wait_for_open(&seen);
    let kernel = move |connections: &Connections| match connections.get(id).unwrap().get_ref() {
        Socket::Tcp(stream) => {
            let patience = socket2::SockRef::from(stream).tcp_user_timeout();
            patience.unwrap().map(|patience| patience.as_secs())
        }
        other => panic!("{other:?}"),
    };
    let never = HeartbeatConfig::ping(millis(0), millis(1_000));
    let patience = server.look(move |_, connections| {
        let mut patience = vec![kernel(connections)];
        let watches = HeartbeatConfig::ping(millis(1_000), millis(1_000));
        for heartbeat in [stall(30), never, watches, stall(4)] {
            let is_set = connections.set_heartbeat(id, heartbeat).is_ok();
            assert_eq!(is_set, heartbeat != never);
            patience.push(kernel(connections));
        }
        patience
    });
    // What cannot work changes nothing.
    assert_eq!(patience, [Some(3), Some(31), Some(31), None, Some(5)]);
}

#[test]
fn a_peer_that_answers_pings_lives() {
    let (notes, seen) = Notes::new(false);
    let server = Running::start(notes, heartbeat(50, 100));
    let mut raw = Raw::open(server.address);
    wait_for_open(&seen);
    for _ in 0..10 {
        let (first, payload) = raw.read_frame();
        assert_eq!(first, PING);
        raw.write(&frame(PONG, &payload));
    }
    assert_eq!(server.look(|_, connections| connections.len()), 1);
}

#[test]
fn the_handler_is_told_of_the_time_it_asked_for() {
    struct Timed(std::sync::mpsc::Sender<usize>, usize);
    impl Handler for Timed {
        fn message(&mut self, _: &mut Connections, _: ConnectionId, _: Message) {}
        fn timeout(&mut self, connections: &mut Connections) {
            self.1 += 1;
            if self.1 < 3 {
                connections.set_timeout(Some(Instant::now() + millis(10)));
            }
            self.0.send(self.1).unwrap();
        }
    }
    let (sender, ticks) = std::sync::mpsc::channel();
    let server = Running::start(Timed(sender, 0), Config::default());
    server.look(|_, connections| connections.set_timeout(Some(Instant::now() + millis(10))));
    for tick in 1..=3 {
        assert_eq!(ticks.recv_timeout(PATIENCE), Ok(tick));
    }
    assert!(ticks.recv_timeout(millis(50)).is_err());
}

// ---- other threads

#[test]
fn other_threads_send_in_order_and_to_everybody() {
    let (notes, seen) = Notes::new(false);
    let server = Running::start(notes, Config::default());
    let mut raws = [Raw::open(server.address), Raw::open(server.address)];
    let ids = [wait_for_open(&seen), wait_for_open(&seen)];
    let threads: Vec<_> = ids
        .into_iter()
        .map(|id| {
            let handle = server.handle.clone();
            std::thread::spawn(move || {
                for n in 0..5_000_u32 {
                    let mut message = Message::from(n.to_be_bytes().to_vec());
                    // The queue is bounded: who is faster than the loop comes again.
                    while let Err(error) = handle.send(id, message) {
                        assert!(matches!(error, SendError::Full(_)), "{error:?}");
                        message = error.into_message().unwrap();
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    for raw in &mut raws {
        for n in 0..5_000_u32 {
            assert_eq!(raw.read_frame(), (BINARY, n.to_be_bytes().to_vec()));
        }
    }
    for thread in threads {
        thread.join().unwrap();
    }
    server.handle.broadcast("to all").unwrap();
    for raw in &mut raws {
        assert_eq!(raw.read_frame(), (TEXT, b"to all".to_vec()));
    }
    server
        .handle
        .close(ids[0], CloseCode::GOING_AWAY, "bye")
        .unwrap();
    server.handle.abort(ids[1]).unwrap();
    let mut ends = [false; 2];
    for _ in 0..2 {
        wait_for(&seen, |seen| match seen {
            Seen::Closed(id, end) => {
                let index = ids.iter().position(|known| *known == id).unwrap();
                assert_eq!(end.is_ok(), index == 0);
                ends[index] = true;
                Some(())
            }
            _ => None,
        });
        if !ends[0] {
            assert_eq!(raws[0].read_frame().0, CLOSE);
            raws[0].write(&frame(CLOSE, &[3, 233]));
        }
    }
    assert_eq!(ends, [true; 2]);
}

#[test]
fn a_message_for_a_connection_that_is_over_comes_back() {
    let (notes, seen) = Notes::new(false);
    let server = Running::start(notes, Config::default());
    let raw = Raw::open(server.address);
    let id = wait_for_open(&seen);
    drop(raw);
    wait_for_end(&seen).unwrap_err();
    // Its place is taken by another one; that does not get it either.
    let mut other = Raw::open(server.address);
    let other_id = wait_for_open(&seen);
    assert_ne!(id, other_id);
    server.handle.send(id, "too late").unwrap();
    let error = wait_for(&seen, |seen| match seen {
        Seen::Unsent(unsent, error) => {
            assert_eq!(unsent, id);
            Some(error)
        }
        _ => None,
    });
    assert_eq!(error, SendError::NotOpen(Message::from("too late")));
    server.handle.send(other_id, "in time").unwrap();
    assert_eq!(other.read_frame(), (TEXT, b"in time".to_vec()));
}

#[test]
fn the_queue_of_other_threads_is_bounded_and_ends_with_the_loop() {
    let mut server = EventLoop::with_queue(Notes::new(false).0, 4).unwrap();
    let handle = server.handle();
    for _ in 0..4 {
        handle.run(|_, _| {}).unwrap();
    }
    assert_eq!(handle.run(|_, _| {}), Err(HandleError::Full));
    server.turn(Some(PATIENCE)).unwrap();
    handle.run(|_, connections| connections.stop()).unwrap();
    server.run().unwrap();
    drop(server);
    assert_eq!(handle.run(|_, _| {}), Err(HandleError::Ended));
}

#[test]
fn what_is_queued_when_the_loop_ends_is_seen_to_and_nothing_is_taken_behind_it() {
    #[derive(Default)]
    struct Last {
        handle: Option<Handle<Self>>,
        id: Option<ConnectionId>,
        saw: Vec<String>,
    }
    impl Last {
        fn send(&mut self, id: ConnectionId, text: &str) {
            let sent = self.handle.as_ref().unwrap().send(id, text);
            self.saw.push(format!("sent {text}: {}", sent.is_ok()));
        }
    }
    impl Handler for Last {
        fn open(&mut self, connections: &mut Connections, _: ConnectionId, _: Option<&Response>) {
            connections.stop();
        }
        fn message(&mut self, _: &mut Connections, _: ConnectionId, _: Message) {}
        fn closed(&mut self, _: &mut Connections, id: ConnectionId, _: Result<Box<Closed>, Error>) {
            self.saw.push("closed".to_owned());
            self.id = Some(id);
            // Behind the last look at the queue.
            self.send(id, "one");
            let handle = self.handle.as_ref().unwrap();
            handle
                .run(|handler, connections| {
                    handler.saw.push(format!("ran: {}", connections.len()));
                })
                .unwrap();
        }
        fn unsent(&mut self, _: &mut Connections, id: ConnectionId, error: SendError) {
            assert_eq!(error, SendError::NotOpen(Message::from("one")));
            self.saw.push("unsent".to_owned());
            self.send(id, "two");
        }
        fn drained(&mut self, _: DrainReport) {
            self.saw.push("drained".to_owned());
        }
    }
    let mut server = EventLoop::new(Last::default()).unwrap();
    let handle = server.handle();
    server.handler().handle = Some(handle.clone());
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let connections = server.connections();
    connections.listen(listener, Config::default()).unwrap();
    let thread = std::thread::spawn(move || Raw::open(address).read_to_end());
    server.run().unwrap();
    thread.join().unwrap();

    let saw = [
        "closed",
        "sent one: true",
        "unsent",
        "sent two: false",
        "ran: 0",
        "drained",
    ];
    assert_eq!(server.handler().saw, saw);
    // The loop is still there, but over.
    let id = server.handler().id.unwrap();
    assert_eq!(
        handle.send(id, "late"),
        Err(SendError::NotOpen("late".into()))
    );
    assert_eq!(
        handle.broadcast("late"),
        Err(SendError::NotOpen("late".into()))
    );
    assert_eq!(
        handle.close(id, CloseCode::NORMAL, ""),
        Err(HandleError::Ended)
    );
    assert_eq!(handle.abort(id), Err(HandleError::Ended));
    assert_eq!(handle.run(|_, _| {}), Err(HandleError::Ended));
}

/// Nobody is there, so what is taken comes back, whenever that is.
#[test]
fn a_message_is_taken_and_comes_back_or_is_not_taken_whenever_the_loop_ends() {
    for round in 0..50 {
        let (notes, seen) = Notes::new(false);
        let server = Running::start(notes, Config::default());
        drop(Raw::open(server.address));
        let id = wait_for_open(&seen);
        wait_for_end(&seen).unwrap_err();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let handle = server.handle.clone();
                std::thread::spawn(move || {
                    let mut taken = 0_usize;
                    loop {
                        match handle.send(id, "hello") {
                            Ok(()) => taken += 1,
                            Err(SendError::NotOpen(_)) => return taken,
                            Err(_) => std::thread::yield_now(),
                        }
                    }
                })
            })
            .collect();
        std::thread::sleep(Duration::from_micros(50 * round));
        let server = server.stop();
        let taken: usize = threads.into_iter().map(|one| one.join().unwrap()).sum();
        drop(server);
        let seen: Vec<Seen> = seen.try_iter().collect();
        let unsent = seen.iter().filter(|seen| matches!(seen, Seen::Unsent(..)));
        assert_eq!(unsent.count(), taken, "in round {round}");
        let last = seen.last();
        assert!(matches!(last, Some(Seen::Drained(_))), "not last: {last:?}");
    }
}

// ---- backpressure

#[test]
fn rule_16_a_paused_connection_is_read_up_to_its_inbox_and_nobody_dies() {
    let (notes, seen) = Notes::new(false);
    let server = Running::start(notes, heartbeat(50, 100));
    let mut raw = Raw::open(server.address);
    let id = wait_for_open(&seen);
    server.look(move |_, connections| connections.pause(id));

    // As long as the inbox has room, pings go both ways.
    raw.write(&frame(PING, b"are you there"));
    loop {
        match raw.read_frame() {
            (PING, payload) => raw.write(&frame(PONG, &payload)),
            (PONG, payload) => break assert_eq!(payload, b"are you there"),
            other => panic!("{other:?}"),
        }
    }

    // With the inbox full the peer is held back: what it sends stays in the kernels.
    raw.0.set_write_timeout(Some(millis(100))).unwrap();
    let large = frame(BINARY, &[0; 100_000]);
    let mut sent = 0;
    while raw.0.write(&large).is_ok_and(|count| {
        sent += count;
        count == large.len()
    }) {
        assert!(sent < 64 << 20, "it is held back");
    }
    // Four times interval and timeout, and it lives, unread as it is.
    std::thread::sleep(millis(600));
    assert!(seen.try_recv().is_err(), "no message, and no end");
    server.look(move |_, connections| {
        let ws = connections.get(id).expect("it lives");
        assert!(ws.is_paused());
        connections.resume(id);
    });
    // Everything that was sent whole arrives.
    for _ in 0..sent / large.len() {
        assert_eq!(wait_for_message(&seen).len(), 100_000);
    }
}

#[test]
fn what_waits_at_a_resume_needs_no_news_from_the_stream() {
    let (notes, seen) = Notes::new(false);
    let server = Running::start(notes, heartbeat(3_600_000, 3_600_000));
    let mut raw = Raw::open(server.address);
    let id = wait_for_open(&seen);
    server.look(move |_, connections| connections.pause(id));
    raw.write(&frame(TEXT, b"one").repeat(3));
    std::thread::sleep(millis(50));
    assert!(seen.try_recv().is_err());
    server.look(move |_, connections| connections.resume(id));
    for _ in 0..3 {
        assert_eq!(wait_for_message(&seen), Message::from("one"));
    }
}

#[test]
fn a_paused_connection_that_is_aborted_ends_all_the_same() {
    let (notes, seen) = Notes::new(false);
    let server = Running::start(notes, Config::default());
    let mut raw = Raw::open(server.address);
    let id = wait_for_open(&seen);
    server.look(move |_, connections| connections.pause(id));
    raw.write(&frame(TEXT, b"one").repeat(3));
    std::thread::sleep(millis(50));
    server.look(move |_, connections| connections.abort(id));
    assert!(matches!(
        wait_for_end(&seen),
        Err(Error::Closed(closed)) if closed.cause == Cause::Aborted
    ));
    server.wait_until_empty();
}

#[test]
fn a_full_queue_gives_the_message_back_and_says_when_there_is_room() {
    let (notes, seen) = Notes::new(false);
    let server = Running::start(notes, Config::default());
    let mut raw = Raw::open(server.address);
    let id = wait_for_open(&seen);
    // In one look nothing is written in between.
    let sent = server.look(move |_, connections| {
        let mut sent = 0;
        loop {
            match connections.send(id, vec![0; 100_000]) {
                Ok(()) => sent += 1,
                Err(SendError::Full(message)) => {
                    assert_eq!(message.len(), 100_000);
                    return sent;
                }
                Err(other) => panic!("{other}"),
            }
        }
    });
    assert_eq!(sent, 11, "max_buffered_amount is 1 MiB");
    let mut bytes = 0;
    while bytes < sent * 100_000 {
        let (first, payload) = raw.read_frame();
        assert!([BINARY, 0x02, 0x00, 0x80].contains(&first));
        bytes += payload.len();
    }
    wait_for(&seen, |seen| {
        matches!(seen, Seen::Writable(_)).then_some(())
    });
    server.handle.send(id, "and on").unwrap();
    assert_eq!(raw.read_frame(), (TEXT, b"and on".to_vec()));
    assert!(
        !seen
            .try_iter()
            .any(|seen| matches!(seen, Seen::Writable(_))),
        "it is said once"
    );
}

#[test]
fn a_drain_is_not_held_up_by_a_peer_that_floods() {
    let mut server = EventLoop::new(Order::default()).unwrap();
    flood(server.connections());
    server.turn(Some(PATIENCE)).unwrap();
    server.connections().stop();
    for _ in 0..100 {
        if !server.turn(Some(PATIENCE)).unwrap() {
            return;
        }
    }
    panic!("it goes on and on");
}

/// One write for everything that is queued for a connection in a turn of somebody else's.
#[test]
fn a_burst_to_one_connection_is_one_write() {
    struct Counting {
        writes: Arc<AtomicUsize>,
    }
    impl Read for Counting {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }
    impl Write for Counting {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.write_vectored(&[IoSlice::new(bytes)])
        }
        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            self.writes.fetch_add(1, Ordering::Relaxed);
            Ok(slices.iter().map(|slice| slice.len()).sum())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Stream for Counting {
        fn shutdown(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Source for Counting {
        fn register(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
            Ok(())
        }
        fn reregister(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
            Ok(())
        }
        fn deregister(&mut self, _: &Registry) -> io::Result<()> {
            Ok(())
        }
    }
    let writes = Arc::new(AtomicUsize::new(0));
    let stream: Box<dyn Stream + Send> = Box::new(Counting {
        writes: Arc::clone(&writes),
    });
    let connection = Connection::from_upgrade(
        Role::Server,
        Arc::new(Config::default()),
        Seed::predictable_for_tests(7),
        wspulse_core::Instant::ZERO,
    );
    let mut server = EventLoop::new(Order::default()).unwrap();
    let ws = WebSocket::from_connection(Socket::from(stream), connection);
    let id = server.connections().add(ws).unwrap();
    server.turn(Some(millis(1))).unwrap();
    for n in 0..100 {
        server.connections().send(id, format!("{n}")).unwrap();
    }
    server.turn(Some(millis(1))).unwrap();
    assert_eq!(writes.load(Ordering::Relaxed), 1);
}
