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
        let mut client =
            connect(&format!("ws://localhost:{port}/"), Config::default()).unwrap();
        client.send("hello").unwrap();
        assert_eq!(client.next().unwrap().unwrap().as_text(), Some("hello"));
        client.close(CloseCode::NORMAL, "").unwrap();
        server.join().unwrap().unwrap();
    });
}
