//! Two threads at one connection, and threads of its own.

mod common;

use std::thread;

use common::*;
use wspulse_core::{CloseCode, Config, Message};

#[test]
fn spawned_threads_echo() {
    within(ms(10_000), || {
        let (client, mut server) = pair(Config::default());
        let server = thread::spawn(move || echo(&mut server));
        let (mut receiver, sender) = client.spawn(4);
        for n in 0..100 {
            sender.send(format!("message {n}")).unwrap();
            let message = receiver.next().unwrap().unwrap();
            assert_eq!(message.as_text(), Some(&*format!("message {n}")));
        }
        sender.close(CloseCode::NORMAL, "").unwrap();
        assert!(receiver.next().is_none());
        server.join().unwrap().unwrap();
    });
}

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
        writer.send(big).unwrap();
        let (mut reader, message) = reading.join().unwrap();
        assert_eq!(message.as_text(), Some("got it"));
        writer.close(CloseCode::NORMAL, "").unwrap();
        assert!(reader.next().is_none());
        server.join().unwrap();
    });
}
