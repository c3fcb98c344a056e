//! The ready loop as server and as client, and the pieces in a loop of one's own.

mod common;

use std::collections::HashMap;
use std::sync::mpsc::channel;

use common::*;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use wspulse_core::{Cause, CloseCode, Config, Event, Message, State};
use wspulse_mio::{
    ConnectionId, Connections, EventLoop, Handler, Timers, Turn, WebSocket, accept, client,
};

#[test]
fn messages_come_back_as_they_went() {
    let server = Running::start(Notes::new(true).0, Config::default());
    let (notes, seen) = Notes::new(false);
    let peer = Running::start(notes, Config::default());
    let url = format!("ws://{}/", server.address);
    let id = peer.look(move |_, c| c.connect(&url, Config::default()).unwrap());
    assert_eq!(wait_for_open(&seen), id);
    for message in [
        "hello".into(),
        "".into(),
        Message::from(vec![7; 300_000]),
        vec![0; 126].into(),
    ] {
        peer.handle.send(id, message.clone()).unwrap();
        assert_eq!(wait_for_message(&seen), message);
    }
    peer.handle.close(id, CloseCode::NORMAL, "done").unwrap();
    let closed = wait_for_end(&seen).unwrap();
    assert!(closed.clean);
    server.wait_until_empty();
    peer.wait_until_empty();
}

/// Two hundred clients in one loop, each of which sends its next message when the one before is
/// back.
#[test]
fn two_hundred_connections_each_get_their_own_messages_back() {
    const COUNT: usize = 200;
    const ROUNDS: usize = 20;

    struct Clients {
        rounds: HashMap<ConnectionId, usize>,
        done: std::sync::mpsc::Sender<usize>,
        over: usize,
    }

    impl Handler for Clients {
        fn open(
            &mut self,
            connections: &mut Connections,
            id: ConnectionId,
            _: Option<&wspulse_core::handshake::Response>,
        ) {
            self.rounds.insert(id, 0);
            connections.send(id, format!("{id} 0")).unwrap();
        }

        fn message(&mut self, connections: &mut Connections, id: ConnectionId, message: Message) {
            let round = self.rounds.get_mut(&id).unwrap();
            assert_eq!(message.as_text(), Some(&*format!("{id} {round}")));
            *round += 1;
            if *round < ROUNDS {
                connections.send(id, format!("{id} {round}")).unwrap();
            } else {
                connections.close(id, CloseCode::NORMAL, "").unwrap();
            }
        }

        fn closed(
            &mut self,
            _: &mut Connections,
            id: ConnectionId,
            end: Result<Box<wspulse_core::Closed>, wspulse_mio::Error>,
        ) {
            assert!(end.unwrap().clean);
            assert_eq!(self.rounds[&id], ROUNDS);
            self.over += 1;
            self.done.send(self.over).unwrap();
        }
    }

    let server = Running::start(Notes::new(true).0, Config::default());
    let (done, over) = channel();
    let clients = Clients {
        rounds: HashMap::new(),
        done,
        over: 0,
    };
    let clients = Running::start(clients, Config::default());
    let url = format!("ws://{}/", server.address);
    clients.look(move |_, connections| {
        for _ in 0..COUNT {
            connections.connect(&url, Config::default()).unwrap();
        }
    });
    while over.recv_timeout(PATIENCE).expect("all come to their end") < COUNT {}
    server.wait_until_empty();
    clients.wait_until_empty();
}

/// The pieces in a loop that is somebody else's: a server and a client, in one poll.
#[test]
fn the_pieces_run_in_a_loop_of_ones_own() {
    let mut poll = Poll::new().unwrap();
    let mut listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let both = Interest::READABLE | Interest::WRITABLE;
    poll.registry()
        .register(&mut listener, Token(9), Interest::READABLE)
        .unwrap();
    let near = TcpStream::connect(address).unwrap();
    let mut near = client(near, &request(), Config::default()).unwrap();
    poll.registry().register(&mut near, Token(0), both).unwrap();
    let mut ends: Vec<WebSocket<TcpStream>> = vec![near];
    let mut causes = Vec::new();
    let mut timers = Timers::new();
    let mut echoes = 0;
    let mut events = Events::with_capacity(16);
    for _ in 0..1_000 {
        if causes.len() == 2 {
            break;
        }
        poll.poll(&mut events, Some(millis(50))).unwrap();
        if events.iter().any(|event| event.token() == Token(9)) {
            let (stream, _) = listener.accept().unwrap();
            let mut far = accept(stream, Config::default()).unwrap();
            poll.registry().register(&mut far, Token(1), both).unwrap();
            ends.push(far);
        }
        for (key, ws) in ends.iter_mut().enumerate() {
            let is_client = key == 0;
            let turn = ws.handle_ready(|ws, event| match event {
                Event::Request(request) => assert_eq!(request.target(), "/chat"),
                Event::Open(_) => ws.send("hello").unwrap(),
                Event::Text(text) if !is_client => ws.send(text).unwrap(),
                Event::Text(text) => {
                    assert_eq!(text, "hello");
                    echoes += 1;
                    ws.close(CloseCode::NORMAL, "").unwrap();
                }
                Event::Closed(closed) => causes.push(closed.cause.clone()),
                _ => {}
            });
            match turn {
                Turn::Again => panic!("nobody is fed without end"),
                Turn::Wait => timers.arm(key, ws.poll_timeout().unwrap()),
                Turn::Over => assert_eq!(ws.state(), State::Closed),
            }
        }
    }
    assert_eq!(causes, [Cause::Normal, Cause::Normal]);
    assert_eq!(echoes, 1);
    assert!(timers.counts().added <= 2);
}

#[test]
fn the_loop_can_be_turned_by_hand() {
    let mut server = EventLoop::new(Notes::new(true).0).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    server
        .connections()
        .listen(listener, Config::default())
        .unwrap();
    let thread = std::thread::spawn(move || {
        let mut raw = Raw::open(address);
        raw.write(&frame(TEXT, b"hello"));
        assert_eq!(raw.read_frame(), (TEXT, b"hello".to_vec()));
        raw.write(&frame(CLOSE, &[3, 232]));
        assert_eq!(raw.read_frame(), (CLOSE, vec![3, 232]));
        assert_eq!(raw.read_to_end(), b"");
    });
    for _ in 0..10_000 {
        assert!(server.turn(Some(millis(10))).unwrap());
        if thread.is_finished() {
            break;
        }
    }
    thread.join().unwrap();
    server.connections().stop();
    server.run().unwrap();
    assert!(!server.turn(None).unwrap());
}

#[cfg(unix)]
#[test]
fn unix_sockets_are_streams_too() {
    use mio::net::{UnixListener, UnixStream};

    let path = std::env::temp_dir().join(format!("wspulse-mio-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let server = Running::start_with(Notes::new(true).0, |connections, _| {
        connections.listen(listener, Config::default()).unwrap();
    });
    let (notes, seen) = Notes::new(false);
    let peer = Running::start(notes, Config::default());
    let stream = UnixStream::connect(&path).unwrap();
    let id = peer.look(|_, connections| {
        let client = connections.client(stream, &request(), Config::default());
        client.unwrap()
    });
    assert_eq!(wait_for_open(&seen), id);
    peer.handle.send(id, "hello").unwrap();
    assert_eq!(wait_for_message(&seen), Message::from("hello"));
    std::fs::remove_file(&path).unwrap();
    server.stop();
}
