//! Rule 16: sending is enough, and unread input hides nothing.

mod common;

use std::io;
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

use common::*;
use wspulse_core::heartbeat::{DeadReason, HeartbeatConfig};
use wspulse_core::{Cause, CloseCode, Closed, Config, Event, Message};
use wspulse_std::{
    Error, InboxLimits, ReconnectEvent, ReconnectPolicy, ReconnectingClient, WebSocket,
};

/// Sends a tick every 20 ms until that fails, and returns what it failed of.
fn tick(mut send: impl FnMut(&str) -> Result<(), Error>, limit_ms: u64) -> Error {
    let start = Instant::now();
    loop {
        if let Err(error) = send("tick") {
            return error;
        }
        assert!(start.elapsed() < ms(limit_ms), "nobody noticed");
        thread::sleep(ms(20));
    }
}

fn closed(error: Error) -> Box<Closed> {
    match error {
        Error::Closed(closed) => closed,
        other => panic!("{other:?}"),
    }
}

/// A way to send, for a program that does nothing else.
type Way = (&'static str, fn(WebSocket<TcpStream>) -> Ticker);
type Ticker = Box<dyn FnMut(&str) -> Result<(), Error>>;

const WAYS: [Way; 6] = [
    ("send", |mut ws| Box::new(move |text| ws.send(text))),
    ("feed", |mut ws| Box::new(move |text| ws.feed(text))),
    ("feed and flush", |mut ws| {
        Box::new(move |text| {
            ws.feed(text)?;
            ws.flush()
        })
    }),
    ("a half, its reader kept", |ws| {
        let (reader, mut writer) = ws.split();
        Box::new(move |text| {
            let _ = &reader;
            writer.send(text)
        })
    }),
    ("a half, its reader dropped", |ws| {
        let (_, mut writer) = ws.split();
        Box::new(move |text| writer.send(text))
    }),
    ("spawn", |ws| {
        let (receiver, sender) = ws.spawn(16);
        Box::new(move |text| {
            let _ = &receiver;
            sender.send(text)
        })
    }),
];

/// With the default heartbeat of 20 s nothing is due for a long time; a call looks once a second.
#[test]
fn a6_a_program_that_only_sends_answers_pings_and_the_peers_close() {
    within(ms(60_000), || {
        let threads = WAYS.map(|(name, way)| {
            thread::spawn(move || {
                let (server, mut raw) = server_and_raw(Config::default());
                let mut other = Raw(raw.0.try_clone().unwrap());
                let peer = thread::spawn(move || {
                    raw.write(&frame(PING, b"p"));
                    while raw.read_frame().0 != PONG {}
                    raw.write(&frame(CLOSE, &[0x03, 0xE9, b'b', b'y', b'e']));
                    let start = Instant::now();
                    while raw.read_frame().0 != CLOSE {}
                    assert!(start.elapsed() < ms(4_000), "{:?}", start.elapsed());
                });
                let end = closed(tick(way(server), 15_000));
                peer.join().unwrap();
                let received = end.received.expect("a Close");
                assert_eq!(received.code, CloseCode::GOING_AWAY, "{name}");
                assert_eq!(&*received.reason, "bye", "{name}");
                assert_eq!(end.cause, Cause::Normal, "{name}");
                assert_eq!(end.sent, Some(CloseCode::GOING_AWAY), "{name}");
                let _ = other.read_to_end();
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// The greeting lies unread, and then the peer says nothing more.
#[test]
fn a1_unread_messages_hide_no_death() {
    within(ms(60_000), || {
        let threads = WAYS.map(|(name, way)| {
            thread::spawn(move || {
                let (server, mut raw) = server_and_raw(heartbeat(300, 400).build().unwrap());
                raw.write(
                    &(0..17)
                        .flat_map(|_| frame(TEXT, b"hello"))
                        .collect::<Vec<_>>(),
                );
                let reading = thread::spawn(move || raw.read_to_end().map(|_| ()));
                let end = closed(tick(way(server), 10_000));
                assert_eq!(end.cause, Cause::Dead(DeadReason::PongTimeout), "{name}");
                let _ = reading.join().unwrap();
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// Seventeen messages unread, then a reset.
#[test]
fn t1_a_reset_ends_the_connection_for_the_sender_and_what_was_read_is_handed_out() {
    within(ms(60_000), || {
        for limits in [InboxLimits::new(), InboxLimits::new().max_messages(4)] {
            let (mut server, mut raw) = server_and_raw(Config::default());
            server.set_inbox_limits(limits);
            let (mut reader, mut writer) = server.split();
            raw.write(
                &(0..17)
                    .flat_map(|n| frame(BINARY, &[n]))
                    .collect::<Vec<_>>(),
            );
            // A call looks for input once a second.
            let start = Instant::now();
            while start.elapsed() < ms(1_500) {
                writer.send("tick").unwrap();
                thread::sleep(ms(20));
            }
            socket2::SockRef::from(&raw.0)
                .set_linger(Some(ms(0)))
                .unwrap();
            drop(raw);
            let mut taken = 0;
            let end = tick(
                |text| {
                    writer.send(text)?;
                    taken += 1;
                    Ok(())
                },
                10_000,
            );
            assert!(
                matches!(&end, Error::Io(error) if error.kind() == io::ErrorKind::ConnectionReset),
                "{end:?}"
            );
            assert!(taken <= 2, "{taken} more messages were taken");
            for n in 0..17 {
                let message = reader.next().unwrap().unwrap();
                assert_eq!(message, Message::from(vec![n]));
            }
            assert!(matches!(reader.next(), Some(Err(Error::Io(_)))));
            assert!(reader.next().is_none());
        }
    });
}

/// Nothing is read, so the socket tells of the reset by itself.
#[test]
fn t1_a_receiver_whose_inbox_is_full_is_told_of_a_reset() {
    within(ms(20_000), || {
        let (mut server, mut raw) = server_and_raw(Config::default());
        server.set_inbox_limits(InboxLimits::new().max_messages(2));
        let (mut receiver, sender) = server.spawn(1);
        raw.write(
            &(0..40)
                .flat_map(|n| frame(BINARY, &[n; 10_000]))
                .collect::<Vec<_>>(),
        );
        thread::sleep(ms(100));
        socket2::SockRef::from(&raw.0)
            .set_linger(Some(ms(0)))
            .unwrap();
        drop(raw);
        assert!(sender.ended().is_some());
        assert_eq!(receiver.next().unwrap().unwrap().as_bytes()[0], 0);
        while let Some(Ok(_)) = receiver.next() {}
    });
}

/// The inbox is full and nobody takes anything: the sender is told so, and the peer is not blamed.
#[test]
fn an_inbox_that_nobody_empties_ends_the_connection_as_unread() {
    within(ms(20_000), || {
        let heartbeat = HeartbeatConfig::default().unread_timeout(ms(400));
        let config = Config::builder()
            .heartbeat(heartbeat)
            .close_timeout(ms(300))
            .build()
            .unwrap();
        let (mut server, mut raw) = server_and_raw(config);
        server.set_inbox_limits(InboxLimits::new().max_messages(2));
        for n in 0..20 {
            raw.write(&frame(BINARY, &[n; 10]));
        }
        let told = tick(|text| server.send(text), 10_000);
        assert_eq!(
            told.to_string(),
            "nothing was read for the unread timeout, sent 1001"
        );
        assert_eq!(closed(told).cause, Cause::Unread);
        assert_eq!(server.next().unwrap().unwrap().as_bytes(), [0; 10]);
    });
}

/// The application is busy: 200 messages of 3,200 bytes are more than a queue of 16, and less than
/// the inbox takes. The peer pings, and would hang up.
#[test]
fn t3_the_inbox_of_a_busy_application_counts_bytes() {
    within(ms(20_000), || {
        let (server, mut raw) = server_and_raw(heartbeat(300, 3_000).build().unwrap());
        let (mut receiver, sender) = server.spawn(16);
        for n in 0..200 {
            let text = format!("{n:03200}");
            raw.write(&frame(TEXT, text.as_bytes()));
        }
        let start = Instant::now();
        raw.write(&frame(PING, b"are you there"));
        let mut pongs = 0;
        while start.elapsed() < ms(1_500) {
            match raw.read_frame() {
                (PING, payload) => raw.write(&frame(PONG, &payload)),
                (PONG, _) => pongs += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(pongs, 1, "it was read behind 200 messages");
        for n in 0..200 {
            let message = receiver.next().unwrap().unwrap();
            assert_eq!(message.as_text(), Some(&*format!("{n:03200}")));
        }
        sender.send("done").unwrap();
        while raw.read_frame() != (TEXT, b"done".to_vec()) {}
    });
}

/// What is sent while the peer sends more than all buffers hold.
#[test]
fn a16_a_send_reads_on_while_it_waits() {
    within(ms(20_000), || {
        let (mut client, mut server) = pair(Config::default());
        let server = thread::spawn(move || echo(&mut server));
        // Each comes back before the last has left, and nobody has taken one.
        for n in 0..12 {
            client.send(vec![n; 60_000]).unwrap();
        }
        for n in 0..12 {
            assert_eq!(
                client.next().unwrap().unwrap(),
                Message::from(vec![n; 60_000])
            );
        }
        client.close(CloseCode::NORMAL, "").unwrap();
        server.join().unwrap().unwrap();
    });
}

#[test]
fn t8_the_peers_close_is_the_error_of_a_failed_write() {
    within(ms(20_000), || {
        let (mut server, mut raw) = server_and_raw(Config::default());
        raw.write(&frame(TEXT, b"last words"));
        raw.write(&frame(CLOSE, b"\x03\xF3overload"));
        drop(raw);
        // The first write may be taken; the second is met by a reset.
        let end = closed(tick(|text| server.send(text), 5_000));
        let received = end.received.as_ref().expect("a Close");
        assert_eq!(
            (received.code.as_u16(), &*received.reason),
            (1011, "overload")
        );
        assert!(!end.to_string().contains("without a close"), "A21: {end}");
        assert_eq!(
            server.next().unwrap().unwrap().as_text(),
            Some("last words")
        );
        while server.next().is_some() {}
        assert_eq!(
            server
                .closed()
                .unwrap()
                .received
                .as_ref()
                .unwrap()
                .code
                .as_u16(),
            1011
        );
    });
}

#[test]
fn a12_after_a_suspend_a_fresh_ping_leaves_whichever_handle_says_so() {
    within(ms(20_000), || {
        let is_probed = |raw: &mut Raw| {
            raw.0.set_read_timeout(Some(ms(5_000))).unwrap();
            assert_eq!(raw.read_frame().0, PING);
        };
        let config = Config::default;
        let (mut server, mut raw) = server_and_raw(config());
        server.handle_resumed();
        is_probed(&mut raw);

        let (server, mut raw) = server_and_raw(config());
        let (mut reader, _writer) = server.split();
        reader.handle_resumed();
        is_probed(&mut raw);

        let (server, mut raw) = server_and_raw(config());
        let (mut reader, mut writer) = server.split();
        let reading = thread::spawn(move || reader.next().map(|next| next.is_err()));
        thread::sleep(ms(20));
        writer.handle_resumed();
        is_probed(&mut raw);
        drop(raw);
        assert_eq!(reading.join().unwrap(), Some(true));

        let (server, mut raw) = server_and_raw(config());
        let (_receiver, sender) = server.spawn(1);
        sender.handle_resumed();
        is_probed(&mut raw);
    });
}

#[test]
fn a12_network_up_probes_an_open_connection() {
    within(ms(20_000), || {
        let mut servers = Vec::new();
        let (given, taken) = std::sync::mpsc::channel();
        let connect = move |_| {
            let (client, server) = pair(Config::default());
            given.send(server).unwrap();
            Ok(client)
        };
        let mut client =
            ReconnectingClient::with_connect(connect, ReconnectPolicy::default()).unwrap();
        let pings = |client: &ReconnectingClient| client.snapshot().unwrap().heartbeat.pings;
        for handle in [None, Some(client.handle())] {
            if servers.is_empty() {
                let opened = client.next_event();
                assert!(
                    matches!(opened, Some(ReconnectEvent::Opened { .. })),
                    "{opened:?}"
                );
                servers.push(taken.recv().unwrap());
            }
            let before = pings(&client);
            match handle {
                None => client.network_up(),
                Some(handle) => handle.network_up(),
            }
            assert_eq!(pings(&client), before + 1);
        }
    });
}

/// A thread that was away past the deadline of its Close finds the answer that came in time.
#[test]
fn t7_an_answer_that_lies_in_the_socket_is_taken_before_the_closing_deadline_counts() {
    within(ms(20_000), || {
        let config = Config::builder().close_timeout(ms(200)).build().unwrap();
        let (server, mut raw) = server_and_raw(config);
        let (mut reader, mut writer) = server.split();
        writer.close(CloseCode::NORMAL, "").unwrap();
        assert_eq!(raw.read_frame().0, CLOSE);
        raw.write(&frame(CLOSE, &[0x03, 0xE8]));
        raw.0.shutdown(std::net::Shutdown::Write).unwrap();
        thread::sleep(ms(600));
        assert!(reader.next().is_none());
        assert_eq!(reader.closed().unwrap().cause, Cause::Normal);
    });
}

/// The reader may see the peer's answer before the writer has reported its Close as sent.
#[test]
fn an_answered_close_is_known_to_have_been_sent() {
    within(ms(60_000), || {
        for _ in 0..300 {
            let (server, mut raw) = server_and_raw(Config::default());
            let (mut reader, mut writer) = server.split();
            let reading = thread::spawn(move || {
                while let Some(event) = reader.next_event() {
                    if let Event::Closed(closed) = event {
                        return (closed, reader);
                    }
                }
                panic!("no end");
            });
            let peer = thread::spawn(move || {
                assert_eq!(raw.read_frame().0, CLOSE);
                // It ends the stream and answers nothing.
            });
            writer.close(CloseCode::NORMAL, "").unwrap();
            let (closed, _reader) = reading.join().unwrap();
            peer.join().unwrap();
            assert_eq!(closed.sent, Some(CloseCode::NORMAL), "{closed:?}");
        }
    });
}
