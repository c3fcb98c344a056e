//! Rule 18: output leaves after each call of the handler, or at the latest 1 ms after it was queued.

mod common;

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use common::*;
use wspulse_core::{Config, Event, Message};
use wspulse_mio::{ConnectionId, Connections, Handler, Turn, accept};

/// Answers each message once its work is done, which takes until the test says so; `copy` sends
/// the answer to the other connection too.
struct Worker {
    begun: SyncSender<Message>,
    go: Receiver<()>,
    ids: Vec<ConnectionId>,
    copy: bool,
}

impl Worker {
    fn new(copy: bool) -> (Self, Receiver<Message>, SyncSender<()>) {
        let (begun, seen) = sync_channel(100);
        let (sender, go) = sync_channel(100);
        let worker = Self {
            begun,
            go,
            ids: Vec::new(),
            copy,
        };
        (worker, seen, sender)
    }
}

impl Handler for Worker {
    fn open(
        &mut self,
        _: &mut Connections,
        id: ConnectionId,
        _: Option<&wspulse_core::handshake::Response>,
    ) {
        self.ids.push(id);
    }

    fn message(&mut self, connections: &mut Connections, id: ConnectionId, message: Message) {
        let _ = self.begun.send(message.clone());
        let _ = self.go.recv_timeout(PATIENCE);
        for &other in &self.ids {
            if other == id || self.copy {
                connections.send(other, message.clone()).unwrap();
            }
        }
    }
}

const WORK: Duration = millis(5);

/// Three requests in one segment. While the work on one goes on, the answers to those before it
/// have arrived.
#[test]
fn a3_no_answer_waits_for_the_work_on_the_next_message() {
    let (worker, begun, go) = Worker::new(false);
    let server = Running::start(worker, Config::default());
    let mut raw = Raw::open(server.address);
    raw.write(&[b"1", b"2", b"3"].map(|text| frame(TEXT, text)).concat());
    for n in 1..=3 {
        let message = begun.recv_timeout(PATIENCE).unwrap();
        assert_eq!(message.as_text(), Some(&*n.to_string()));
        if n > 1 {
            assert_eq!(raw.read_frame(), (TEXT, (n - 1).to_string().into()));
        }
        std::thread::sleep(WORK);
        go.send(()).unwrap();
    }
    assert_eq!(raw.read_frame(), (TEXT, b"3".to_vec()));
}

/// The same for another connection, to which the handler sends.
#[test]
fn what_is_sent_to_another_connection_waits_for_no_work_either() {
    let (worker, begun, go) = Worker::new(true);
    let server = Running::start(worker, Config::default());
    let mut other = Raw::open(server.address);
    let mut raw = Raw::open(server.address);
    raw.write(&[b"1", b"2", b"3"].map(|text| frame(TEXT, text)).concat());
    for n in 1..=3 {
        begun.recv_timeout(PATIENCE).unwrap();
        if n > 1 {
            assert_eq!(other.read_frame(), (TEXT, (n - 1).to_string().into()));
        }
        std::thread::sleep(WORK);
        go.send(()).unwrap();
    }
    assert_eq!(other.read_frame(), (TEXT, b"3".to_vec()));
}

/// Commands of other threads are calls too.
#[test]
fn what_one_task_sends_waits_for_no_other_task() {
    let (notes, seen) = Notes::new(false);
    let server = Running::start(notes, Config::default());
    let mut raw = Raw::open(server.address);
    let id = wait_for_open(&seen);
    let (sender, gate) = sync_channel::<()>(1);
    // The loop is held up until all tasks are queued.
    let (started, start) = sync_channel::<()>(0);
    server
        .handle
        .run(move |_, _| {
            let _ = start.recv();
        })
        .unwrap();
    server
        .handle
        .run(move |_, connections| {
            std::thread::sleep(WORK);
            connections.send(id, "one").unwrap();
        })
        .unwrap();
    server
        .handle
        .run(move |_, _| {
            let _ = gate.recv();
        })
        .unwrap();
    started.send(()).unwrap();
    assert_eq!(raw.read_frame(), (TEXT, b"one".to_vec()));
    drop(sender);
}

#[test]
fn a4_a_drop_makes_one_attempt_to_write_what_was_queued() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let thread = std::thread::spawn({
        let address = listener.local_addr().unwrap();
        move || Raw::open(address)
    });
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let stream = mio::net::TcpStream::from_std(stream);
    let mut ws = accept(stream, Config::default()).unwrap();
    let mut is_open = false;
    while !is_open {
        let turn = ws.handle_ready(|_, event| is_open |= matches!(event, Event::Request(_)));
        assert_ne!(turn, Turn::Over);
        std::thread::sleep(millis(1));
    }
    let mut raw = thread.join().unwrap();
    ws.send("one").unwrap();
    ws.send("two").unwrap();
    drop(ws);
    assert_eq!(raw.read_frame(), (TEXT, b"one".to_vec()));
    assert_eq!(raw.read_frame(), (TEXT, b"two".to_vec()));
    assert_eq!(raw.read_to_end(), b"", "no Close frame");
}

/// A loop of one's own that works for long between two events.
#[test]
fn poll_event_writes_what_has_waited_for_company() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let thread = std::thread::spawn({
        let address = listener.local_addr().unwrap();
        move || {
            let mut raw = Raw::open(address);
            raw.write(&[b"1", b"2", b"3"].map(|text| frame(TEXT, text)).concat());
            raw
        }
    });
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let stream = mio::net::TcpStream::from_std(stream);
    let mut ws = accept(stream, Config::default()).unwrap();
    let first = loop {
        match ws.poll_event() {
            Some(Event::Text(text)) => break text,
            Some(_) => {}
            None => {
                let _ = ws.end_turn();
                std::thread::sleep(millis(1));
            }
        }
    };
    let mut raw = thread.join().unwrap();
    ws.send(first).unwrap();
    std::thread::sleep(WORK);
    assert!(matches!(ws.poll_event(), Some(Event::Text(_))));
    assert_eq!(raw.read_frame(), (TEXT, b"1".to_vec()));
}
