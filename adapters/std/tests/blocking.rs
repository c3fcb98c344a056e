//! The drive loop in one thread, over sockets: batches, deadlines, closing, backpressure.

mod common;

use std::net::TcpListener;
use std::task::Poll;
use std::thread;
use std::time::Instant;

use common::*;
use wspulse_core::heartbeat::DeadReason;
use wspulse_core::{Cause, CloseCode, Config, Event, Message, State};
use wspulse_std::{Error, accept, connect};

#[test]
fn messages_come_back_as_they_went() {
    within(ms(10_000), || {
        let (mut client, mut server) = pair(Config::default());
        let server = thread::spawn(move || echo(&mut server));
        for message in [
            "hello".into(),
            "".into(),
            Message::from(vec![7; 3_000_000]),
            vec![0; 126].into(),
        ] {
            client.send(message.clone()).unwrap();
            assert_eq!(client.next().unwrap().unwrap(), message);
        }
        client.close(CloseCode::NORMAL, "").unwrap();
        assert!(client.next().is_none());
        server.join().unwrap().unwrap();
    });
}

#[test]
fn connect_and_accept_meet_over_tcp() {
    within(ms(10_000), || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            echo(&mut accept(stream, Config::default())?)
        });
        let mut client = connect(&format!("ws://localhost:{port}/"), Config::default()).unwrap();
        client.send("hello").unwrap();
        assert_eq!(client.next().unwrap().unwrap().as_text(), Some("hello"));
        client.close(CloseCode::NORMAL, "").unwrap();
        server.join().unwrap().unwrap();
    });
}

#[test]
fn rule_8_a_silent_peer_is_found_dead_inside_a_blocking_read() {
    within(ms(10_000), || {
        let (mut server, _raw) = server_and_raw(heartbeat(300, 400).build().unwrap());
        let start = Instant::now();
        let mut events = Vec::new();
        while let Some(event) = server.next_event() {
            events.push((start.elapsed(), event));
        }
        let [(suspected, Event::Suspect), (died, Event::Closed(closed))] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!(closed.cause, Cause::Dead(DeadReason::PongTimeout));
        assert!(
            *suspected < *died && *died <= ms(700 + 250),
            "interval + timeout + 250 ms: {events:?}"
        );
        assert!(*died >= ms(690), "not early: {events:?}");
        assert_eq!(server.state(), State::Closed);
    });
}

#[test]
fn next_timeout_comes_back_without_a_message_and_loses_none() {
    within(ms(10_000), || {
        let (mut client, mut server) = pair(Config::default());
        let start = Instant::now();
        assert!(matches!(server.next_timeout(ms(50)), Poll::Pending));
        assert!(start.elapsed() >= ms(50));
        client.send("late").unwrap();
        match server.next_timeout(ms(5_000)) {
            Poll::Ready(Some(Ok(message))) => assert_eq!(message.as_text(), Some("late")),
            other => panic!("{other:?}"),
        }
    });
}
