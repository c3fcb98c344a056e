//! Connections in threads of their own.

mod common;

use std::thread;
use std::time::Instant;

use common::*;
use wspulse_core::heartbeat::DeadReason;
use wspulse_core::{Cause, CloseCode, Config, Event, Message, SendError};
use wspulse_std::{Error, InboxLimits};

#[test]
fn messages_come_back_as_they_went() {
    within(ms(20_000), || {
        let (client, mut server) = pair(Config::default());
        let server = thread::spawn(move || echo(&mut server));
        let (mut receiver, sender) = client.spawn(4);
        for n in 0..200_usize {
            let message = Message::from(vec![7; n * 500]);
            sender.send(message.clone()).unwrap();
            assert_eq!(receiver.next().unwrap().unwrap(), message);
        }
        assert!(receiver.next_timeout(ms(10)).is_pending());
        sender.ping(b"mine").unwrap();
        assert!(matches!(receiver.next_event(), Some(Event::Pong(_))));
        assert!(receiver.response().is_some() && sender.response().is_some());
        assert!(sender.snapshot().is_some());
        sender.close(CloseCode::NORMAL, "").unwrap();
        assert!(receiver.next().is_none());
        assert_eq!(receiver.closed().unwrap().cause, Cause::Normal);
        assert!(sender.snapshot().is_none());
        server.join().unwrap().unwrap();
    });
}

#[test]
fn senders_in_several_threads_keep_their_own_order() {
    within(ms(20_000), || {
        let (client, mut server) = pair(Config::default());
        let (receiver, sender) = client.spawn(3);
        let threads: Vec<_> = (0..4_u8)
            .map(|name| {
                let sender = sender.clone();
                thread::spawn(move || {
                    for n in 0..200_u8 {
                        sender.send(vec![name, n]).unwrap();
                    }
                    sender.flush().unwrap();
                })
            })
            .collect();
        let mut next = [0; 4];
        for _ in 0..800 {
            let message = server.next().unwrap().unwrap();
            let [name, n] = *message.as_bytes() else {
                panic!("{message:?}");
            };
            let next = &mut next[usize::from(name)];
            assert_eq!(n, *next);
            *next += 1;
        }
        for thread in threads {
            thread.join().unwrap();
        }
        drop(receiver);
    });
}

#[test]
fn rule_6_an_application_that_sleeps_has_its_connection_kept() {
    within(ms(20_000), || {
        let (server, mut raw) = server_and_raw(heartbeat(150, 300).build().unwrap());
        let (mut receiver, sender) = server.spawn(4);
        // The application takes nothing for five timeouts. The peer pings, and answers pings.
        let start = Instant::now();
        raw.write(&frame(PING, b"are you there"));
        let (mut pings, mut pongs) = (0, 0);
        while start.elapsed() < ms(1_500) {
            match raw.read_frame() {
                (PING, payload) => {
                    pings += 1;
                    raw.write(&frame(PONG, &payload));
                }
                (PONG, payload) => {
                    assert_eq!(payload, b"are you there");
                    pongs += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(pings >= 8, "{pings} pings in ten intervals");
        assert_eq!(pongs, 1);
        raw.write(&frame(TEXT, b"wake up"));
        assert_eq!(receiver.next().unwrap().unwrap().as_text(), Some("wake up"));
        sender.send("awake").unwrap();
        assert_eq!(raw.read_frame(), (TEXT, b"awake".to_vec()));
    });
}

#[test]
fn rule_16_with_its_inbox_full_nobody_judges_and_pings_still_leave() {
    within(ms(20_000), || {
        let (mut server, mut raw) = server_and_raw(heartbeat(150, 300).build().unwrap());
        server.set_inbox_limits(InboxLimits::new().max_messages(4));
        let (mut receiver, _sender) = server.spawn(4);
        for n in 0..100 {
            raw.write(&frame(TEXT, format!("{n}").as_bytes()));
        }
        // The peer says nothing more, and its pongs would not be read either.
        let start = Instant::now();
        let mut pings = 0;
        raw.0.set_read_timeout(Some(ms(1_000))).unwrap();
        while start.elapsed() < ms(1_500) {
            let mut header = [0; 1];
            match std::io::Read::read(&mut raw.0, &mut header) {
                Ok(1) if header[0] == PING => pings += 1,
                Ok(0) => panic!("it hung up"),
                _ => {}
            }
        }
        assert!(pings >= 1, "no ping left");
        for n in 0..100 {
            let message = receiver.next().unwrap().unwrap();
            assert_eq!(message.as_text(), Some(&*format!("{n}")));
        }
    });
}

#[test]
fn rule_8_a_dead_peer_is_found_while_the_application_sleeps() {
    within(ms(20_000), || {
        let (server, _raw) = server_and_raw(heartbeat(300, 400).build().unwrap());
        let (mut receiver, sender) = server.spawn(4);
        let start = Instant::now();
        let closed = sender.ended().unwrap().clone();
        assert!(start.elapsed() <= ms(700 + 250), "{:?}", start.elapsed());
        assert_eq!(closed.cause, Cause::Dead(DeadReason::PongTimeout));
        assert!(matches!(receiver.next_event(), Some(Event::Suspect)));
        assert!(matches!(receiver.next(), Some(Err(Error::Closed(_)))));
        assert!(receiver.next().is_none());
        assert!(receiver.next_event().is_none());
        for late in [sender.send("late"), sender.flush()] {
            match late {
                Err(Error::Closed(late)) => assert_eq!(late.cause, closed.cause),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(
            sender.close(CloseCode::NORMAL, ""),
            Err(Error::Closed(_))
        ));
    });
}

#[test]
fn both_queues_are_bounded() {
    within(ms(20_000), || {
        let config = Config::builder()
            .max_buffered_amount(100_000)
            .build()
            .unwrap();
        let (server, mut raw) = server_and_raw(config);
        let (receiver, sender) = server.spawn(4);
        // The peer reads nothing.
        let mut queued = 0;
        let full = loop {
            match sender.try_send(vec![0; 100_000]) {
                Ok(()) => queued += 1,
                Err(error) => {
                    thread::sleep(ms(100));
                    match sender.try_send(vec![0; 100_000]) {
                        Ok(()) => queued += 1,
                        Err(_) => break error,
                    }
                }
            }
            assert!(queued < 1_000, "no end of it");
        };
        assert!(matches!(full, Error::Send(SendError::Full(_))), "{full:?}");
        // The application takes nothing: what the peer can send has an end too.
        raw.0.set_write_timeout(Some(ms(300))).unwrap();
        let block = frame(BINARY, &[0; 60_000]);
        let mut sent = 0;
        while sent < (64 << 20) {
            match std::io::Write::write(&mut raw.0, &block) {
                Ok(count) => sent += count,
                Err(_) => break,
            }
        }
        assert!(sent < 64 << 20, "no end of it");
        sender.abort();
        assert_eq!(sender.ended().unwrap().cause, Cause::Aborted);
        drop(receiver);
    });
}

#[test]
fn both_handles_dropped_close_the_connection_with_1001() {
    within(ms(10_000), || {
        let (client, mut server) = pair(Config::default());
        let (receiver, sender) = client.spawn(4);
        sender.clone().send("last words").unwrap();
        drop(sender);
        drop(receiver);
        assert_eq!(
            server.next().unwrap().unwrap().as_text(),
            Some("last words")
        );
        assert!(server.next().is_none());
        assert_eq!(server.closed().unwrap().code(), CloseCode::GOING_AWAY);
    });
}

#[test]
fn either_handle_does_alone() {
    within(ms(10_000), || {
        // The sender: what comes is dropped, and holds nothing up.
        let (client, mut server) = pair(Config::default());
        let (receiver, sender) = client.spawn(1);
        drop(receiver);
        for _ in 0..100 {
            server.send(vec![0; 10_000]).unwrap();
        }
        let server = thread::spawn(move || {
            assert_eq!(
                server.next().unwrap().unwrap().as_text(),
                Some("still here")
            );
            assert!(server.next().is_none());
        });
        sender.send("still here").unwrap();
        sender.close(CloseCode::NORMAL, "").unwrap();
        server.join().unwrap();

        // The receiver.
        let (client, mut server) = pair(Config::default());
        let (receiver, sender) = client.spawn(1);
        drop(sender);
        let receiving = thread::spawn(move || receiver.map(Result::unwrap).count());
        for _ in 0..100 {
            server.send("more").unwrap();
        }
        server.close(CloseCode::NORMAL, "").unwrap();
        assert_eq!(receiving.join().unwrap(), 100);
    });
}

#[test]
fn t8_a_sender_is_told_how_the_peer_closed() {
    within(ms(10_000), || {
        let (server, mut raw) = server_and_raw(Config::default());
        let (_receiver, sender) = server.spawn(4);
        raw.write(&frame(CLOSE, b"\x03\xF3overload"));
        let end = loop {
            match sender.send("tick") {
                Ok(()) => thread::sleep(ms(5)),
                Err(error) => break error,
            }
        };
        drop(raw);
        for end in [end, sender.flush().unwrap_err()] {
            let Error::Closed(closed) = end else {
                panic!("{end:?}");
            };
            let received = closed.received.expect("a Close");
            assert_eq!(
                (received.code.as_u16(), &*received.reason),
                (1011, "overload")
            );
        }
        sender.close(CloseCode::NORMAL, "").expect("it is closed");
    });
}

#[test]
fn what_cannot_be_sent_closes_nothing() {
    within(ms(10_000), || {
        let (client, mut server) = pair(Config::default());
        let (_receiver, sender) = client.spawn(4);
        assert!(matches!(
            sender.ping(&[0; 126]),
            Err(Error::Send(SendError::PingTooLong))
        ));
        assert!(matches!(
            sender.close(CloseCode::NO_STATUS, ""),
            Err(Error::Send(SendError::Close(_)))
        ));
        sender.send("still open").unwrap();
        assert_eq!(
            server.next().unwrap().unwrap().as_text(),
            Some("still open")
        );

        // Between the parts of a message there is nobody to finish it.
        let (mut client, _server) = pair(Config::default());
        client.send_part("half", false).unwrap();
        let (_receiver, sender) = client.spawn(4);
        assert!(matches!(
            sender.send("whole"),
            Err(Error::Send(SendError::Unfinished(_)))
        ));
    });
}
