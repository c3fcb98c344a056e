//! The drive loop in one thread, over sockets: batches, deadlines, closing, backpressure.

mod common;

use std::io::Read;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Instant;

use common::*;
use wspulse_core::handshake::{Accept, AnswerError, Reject};
use wspulse_core::heartbeat::{DeadReason, HeartbeatConfig};
use wspulse_core::{Cause, CloseCode, Config, Delivery, Event, Message, SendError, State};
use wspulse_std::{Error, WebSocket, accept, accept_with, client};

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

#[cfg(unix)]
#[test]
fn unix_sockets_are_streams_too() {
    within(ms(10_000), || {
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        let (mut client, mut server) = pair_over(near, far, Config::default());
        let server = thread::spawn(move || echo(&mut server));
        let message = Message::from(vec![7; 1_000_000]);
        client.send(message.clone()).unwrap();
        assert_eq!(client.next().unwrap().unwrap(), message);
        client.close(CloseCode::NORMAL, "").unwrap();
        server.join().unwrap().unwrap();
    });
}

#[test]
fn messages_are_an_iterator() {
    within(ms(10_000), || {
        let (mut client, server) = pair(Config::default());
        let server = thread::spawn(move || {
            let texts = server.map(|message| message.unwrap().as_text().unwrap().to_owned());
            texts.collect::<Vec<_>>()
        });
        for text in ["one", "two", "three"] {
            client.feed(text).unwrap();
        }
        client.close(CloseCode::NORMAL, "").unwrap();
        assert_eq!(server.join().unwrap(), ["one", "two", "three"]);
    });
}

#[test]
fn pings_are_answered_inside_a_blocking_read() {
    within(ms(10_000), || {
        let (mut server, mut raw) = server_and_raw(Config::default());
        let server = thread::spawn(move || server.next().map(|next| next.is_err()));
        raw.write(&frame(PING, b"are you there"));
        assert_eq!(raw.read_frame(), (PONG, b"are you there".to_vec()));
        drop(raw);
        assert_eq!(server.join().unwrap(), Some(true));
    });
}

#[test]
fn rule_2_a_ping_leaves_inside_a_blocking_read_and_its_pong_gives_an_rtt() {
    within(ms(10_000), || {
        let (mut server, mut raw) = server_and_raw(heartbeat(200, 2_000).build().unwrap());
        let server = thread::spawn(move || {
            assert!(server.next_timeout(ms(600)).is_pending());
            server.snapshot().heartbeat.rtt.expect("a sample")
        });
        let start = Instant::now();
        let (first, payload) = raw.read_frame();
        assert_eq!((first, payload.len()), (PING, 16));
        // The first ping comes anywhere in the second half of its interval.
        assert!(start.elapsed() >= ms(80), "{:?}", start.elapsed());
        thread::sleep(ms(30));
        raw.write(&frame(PONG, &payload));
        let rtt = server.join().unwrap();
        assert!(rtt.last() >= ms(30), "{rtt:?}");
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
        // The bound itself is held by the shared suite, which knows how late the machine was.
        assert!(
            suspected < died && *died >= ms(400) && *died <= ms(5_000),
            "{events:?}"
        );
        assert_eq!(server.state(), State::Closed);
        assert!(server.next_event().is_none());
        assert!(server.next().is_none());
        assert!(server.closed().is_some());
    });
}

#[test]
fn rule_6_a_thread_that_was_away_blames_nobody() {
    within(ms(10_000), || {
        let (mut server, mut raw) = server_and_raw(heartbeat(100, 200).build().unwrap());
        thread::sleep(ms(1_500));
        raw.write(&frame(TEXT, b"still here"));
        let message = server.next().unwrap().unwrap();
        assert_eq!(message.as_text(), Some("still here"));
        assert_eq!(server.state(), State::Open);
    });
}

#[test]
fn a_thread_that_only_sends_pings_and_notices_that_nobody_is_there() {
    within(ms(10_000), || {
        let (mut server, mut raw) = server_and_raw(heartbeat(200, 300).build().unwrap());
        // The peer reads and never says a word.
        let reader = thread::spawn(move || raw.read_to_end().map(|bytes| bytes.len()));
        let start = Instant::now();
        let end = loop {
            match server.send("are you there") {
                Ok(()) => thread::sleep(ms(5)),
                Err(error) => break error,
            }
            assert!(start.elapsed() < ms(3_000), "nobody noticed");
        };
        match end {
            Error::Closed(closed) => {
                assert_eq!(closed.cause, Cause::Dead(DeadReason::PongTimeout));
            }
            other => panic!("{other:?}"),
        }
        match server.next() {
            Some(Err(Error::Closed(closed))) => {
                assert_eq!(closed.cause, Cause::Dead(DeadReason::PongTimeout));
            }
            other => panic!("{other:?}"),
        }
        drop(server);
        reader.join().unwrap().unwrap();
    });
}

#[test]
fn a_deadline_that_moves_earlier_is_kept() {
    within(ms(10_000), || {
        let (mut server, _raw) = server_and_raw(heartbeat(100_000, 100_000).build().unwrap());
        assert!(server.next_timeout(ms(50)).is_pending());
        let impatient = HeartbeatConfig::ping(ms(100), ms(200)).jitter_percent(0);
        server.set_heartbeat(impatient).unwrap();
        assert!(matches!(server.next(), Some(Err(Error::Closed(_)))));
    });
}

#[cfg(target_os = "linux")]
#[test]
fn the_kernel_waits_as_long_as_the_heartbeat_that_was_set_last() {
    within(ms(10_000), || {
        let stall = |seconds: u64| HeartbeatConfig::off().write_stall_timeout(ms(seconds * 1_000));
        let config = Config::builder().heartbeat(stall(2)).build().unwrap();
        let (near, far) = sockets();
        let look = near.try_clone().unwrap();
        let kernel = || {
            let patience = socket2::SockRef::from(&look).tcp_user_timeout();
            patience.unwrap().map(|patience| patience.as_millis())
        };
        // Behind a pointer all the same.
        let (mut client, _server) = pair_over(Arc::new(near), far, config);
        assert_eq!(kernel(), Some(3_000));
        client.set_heartbeat(stall(30)).unwrap();
        assert_eq!(kernel(), Some(31_000));
        let never = HeartbeatConfig::ping(ms(0), ms(1_000));
        client.set_heartbeat(never).unwrap_err();
        assert_eq!(kernel(), Some(31_000), "what cannot work changes nothing");
        let (reader, mut writer) = client.split();
        writer.set_heartbeat(stall(40)).unwrap();
        assert_eq!(kernel(), Some(41_000));
        let watches = HeartbeatConfig::ping(ms(1_000), ms(1_000));
        writer.set_heartbeat(watches).unwrap();
        assert_eq!(kernel(), None, "the heartbeat judges");
        let client = reader.reunite(writer).unwrap();
        let (_receiver, sender) = client.spawn(1);
        sender.set_heartbeat(stall(50)).unwrap();
        assert_eq!(kernel(), Some(51_000));
    });
}

#[test]
fn next_timeout_comes_back_without_a_message_and_loses_none() {
    within(ms(10_000), || {
        let (mut client, mut server) = pair(Config::default());
        let start = Instant::now();
        assert!(matches!(server.next_timeout(ms(50)), Poll::Pending));
        assert!(start.elapsed() >= ms(50) && start.elapsed() < ms(500));
        client.send("late").unwrap();
        match server.next_timeout(ms(5_000)) {
            Poll::Ready(Some(Ok(message))) => assert_eq!(message.as_text(), Some("late")),
            other => panic!("{other:?}"),
        }
        client.send("at once").unwrap();
        thread::sleep(ms(50));
        // Also no time at all is enough for what has come.
        assert!(server.next_event_timeout(ms(0)).is_ready());
    });
}

/// 32 MiB each way, each more than all buffers hold, and nobody reads before it has sent.
#[test]
fn two_peers_that_both_send_do_not_wait_for_each_other() {
    within(ms(60_000), || {
        // No deadline comes to their help.
        let config = heartbeat(600_000, 600_000)
            .max_message_size(64 << 20)
            .build()
            .unwrap();
        let (client, server) = pair(config);
        let ends = [client, server].map(|mut end| {
            thread::spawn(move || {
                let message = Message::from(vec![9; 32 << 20]);
                end.send(message.clone()).unwrap();
                assert_eq!(end.next().unwrap().unwrap(), message);
                end
            })
        });
        let [mut client, mut server] = ends.map(|end| end.join().unwrap());
        let server = thread::spawn(move || assert!(server.next().is_none()));
        client.close(CloseCode::NORMAL, "").unwrap();
        server.join().unwrap();
    });
}

#[test]
fn a_full_queue_makes_feed_wait() {
    within(ms(10_000), || {
        let config = Config::builder()
            .max_buffered_amount(1_000)
            .build()
            .unwrap();
        let (near, far) = pipe(100);
        let (mut client, mut server) = pair_over(near, far, config);
        client.feed(vec![1; 1_200]).unwrap();
        let is_waiting = Arc::new(AtomicBool::new(true));
        let waits = is_waiting.clone();
        let client = thread::spawn(move || {
            client.feed("more").unwrap();
            waits.store(false, Ordering::SeqCst);
            client.flush().unwrap();
            client
        });
        thread::sleep(ms(100));
        assert!(is_waiting.load(Ordering::SeqCst), "nobody reads");
        assert_eq!(server.next().unwrap().unwrap().len(), 1_200);
        assert_eq!(server.next().unwrap().unwrap().as_text(), Some("more"));
        client.join().unwrap();
    });
}

#[test]
fn a_waiting_send_reads_on_up_to_the_next_event() {
    within(ms(10_000), || {
        let (near, far) = pipe(100);
        write_all(&near, &REQUEST[..100]);
        let server = thread::spawn(move || accept(far, Config::default()).unwrap());
        write_all(&near, &REQUEST[100..]);
        read_until(&near, |bytes| bytes.ends_with(b"\r\n\r\n"));
        let mut server = server.join().unwrap();
        let server = thread::spawn(move || {
            server.send(vec![1; 1_200]).unwrap();
            server
        });
        // It fits into no buffer, so it is read while the server sends.
        write_all(&near, &frame(BINARY, &[3; 5_000]));
        read_until(&near, |bytes| bytes.len() >= 1_204);
        let mut server = server.join().unwrap();
        assert_eq!(
            server.next().unwrap().unwrap(),
            Message::from(vec![3; 5_000])
        );
    });
}

#[test]
fn parts_go_out_and_come_in_one_by_one() {
    within(ms(10_000), || {
        let config = Config::builder().delivery(Delivery::Parts).build().unwrap();
        let (mut client, mut server) = pair(config);
        client.send_part("half a ", false).unwrap();
        assert!(matches!(
            client.send("whole"),
            Err(Error::Send(SendError::Unfinished(_)))
        ));
        client.send_part("message", true).unwrap();
        let mut text = String::new();
        loop {
            match server.next_event() {
                Some(Event::TextPart(part)) => text.push_str(&part),
                Some(Event::MessageEnd) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(text, "half a message");
    });
}

#[test]
fn a_ping_of_the_applications_own_is_answered() {
    within(ms(10_000), || {
        let (mut client, mut server) = pair(Config::default());
        let server = thread::spawn(move || server.next().is_none());
        client.ping(b"mine").unwrap();
        assert!(
            matches!(client.next_event(), Some(Event::Pong(payload)) if &payload[..] == b"mine")
        );
        assert!(matches!(
            client.ping(&[0; 126]),
            Err(Error::Send(SendError::PingTooLong))
        ));
        client.close(CloseCode::NORMAL, "").unwrap();
        assert!(server.join().unwrap());
    });
}

#[test]
fn close_goes_both_ways() {
    within(ms(10_000), || {
        let (mut client, mut server) = pair(Config::default());
        client.feed("last words").unwrap();
        let code = CloseCode::new(4_000);
        assert!(matches!(
            client.close(CloseCode::NO_STATUS, ""),
            Err(Error::Send(SendError::Close(_)))
        ));
        assert_eq!(client.state(), State::Open);
        let server = thread::spawn(move || {
            assert_eq!(
                server.next().unwrap().unwrap().as_text(),
                Some("last words")
            );
            assert!(server.next().is_none());
            server
        });
        client.close(code, "enough").unwrap();
        let mut server = server.join().unwrap();
        let received = server.closed().unwrap().received.as_ref().unwrap();
        assert_eq!((received.code, &*received.reason), (code, "enough"));
        assert!(client.closed().unwrap().clean && server.closed().unwrap().clean);
        match server.send("late") {
            Err(Error::Closed(closed)) => assert_eq!(closed.code(), code),
            other => panic!("{other:?}"),
        }
        server.flush().expect("all that was queued has left");
        assert!(matches!(
            client.send("late"),
            Err(Error::Send(SendError::NotOpen(_)))
        ));
        client.close(code, "again").unwrap();
    });
}

#[test]
fn a_close_that_is_not_answered_ends_at_the_close_timeout() {
    ends_after_300_ms(
        |mut server, _raw| match server.close(CloseCode::NORMAL, "") {
            Err(Error::Closed(closed)) => assert_eq!(closed.cause, Cause::CloseTimeout),
            other => panic!("{other:?}"),
        },
    );
}

#[test]
fn an_aborted_connection_says_so() {
    within(ms(10_000), || {
        let (mut server, mut raw) = server_and_raw(Config::default());
        server.abort();
        match server.next() {
            Some(Err(Error::Closed(closed))) => assert_eq!(closed.cause, Cause::Aborted),
            other => panic!("{other:?}"),
        }
        assert_eq!(raw.read_to_end().unwrap(), b"", "no Close frame");
    });
}

/// Dropping a socket with unread input resets the connection, and the peer would not see why.
#[test]
fn rule_11_a_close_we_owe_reaches_a_peer_whose_input_is_unread() {
    within(ms(20_000), || {
        let (mut server, mut raw) = server_and_raw(Config::default());
        let server = thread::spawn(move || server.next());
        let start = Instant::now();
        // A text that is not UTF-8, and megabytes behind it that nobody will want.
        raw.write(&frame(TEXT, b"\xFF"));
        raw.write(&vec![0; 4 << 20]);
        let (first, payload) = raw.read_frame();
        assert_eq!((first, &payload[..2]), (CLOSE, &1007_u16.to_be_bytes()[..]));
        // The server has half-closed, and waits for the peer's end.
        assert_eq!(raw.read_to_end().unwrap(), b"");
        assert!(!server.is_finished());
        assert!(start.elapsed() < ms(2_500), "{:?}", start.elapsed());
        raw.0.shutdown(Shutdown::Write).unwrap();
        match server.join().unwrap() {
            Some(Err(Error::Closed(closed))) => {
                assert!(matches!(closed.cause, Cause::Protocol(_)), "{closed:?}");
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn rule_11_a_misbehaving_peer_that_never_ends_is_cut_off_at_the_deadline() {
    ends_after_300_ms(|mut server, raw| {
        raw.write(&frame(TEXT, b"\xFF"));
        assert!(matches!(server.next(), Some(Err(Error::Closed(_)))));
    });
}

/// Ends a connection whose close timeout is that. A busy machine may be late, though not each time.
fn ends_after_300_ms(end: impl Fn(WebSocket<TcpStream>, &mut Raw) + Send + 'static) {
    within(ms(10_000), move || {
        let times = [(); 3].map(|()| {
            let config = Config::builder().close_timeout(ms(300)).build().unwrap();
            let (server, mut raw) = server_and_raw(config);
            let start = Instant::now();
            end(server, &mut raw);
            start.elapsed()
        });
        assert!(times.iter().all(|&time| time >= ms(300)), "{times:?}");
        assert!(times.iter().any(|&time| time < ms(450)), "{times:?}");
    });
}

#[test]
fn a_rejected_client_learns_the_status_and_the_server_too() {
    within(ms(10_000), || {
        let (near, far) = sockets();
        let server = thread::spawn(move || {
            accept_with(far, Config::default(), |request| {
                assert_eq!(request.target(), "/chat");
                Err(Reject::new(403).unwrap().body("not you"))
            })
        });
        let refused = client(near, &request(), Config::default());
        let Err(Error::Closed(closed)) = refused else {
            panic!("{refused:?}");
        };
        assert!(closed.to_string().contains("403"), "{closed}");
        match server.join().unwrap() {
            Err(Error::Closed(closed)) => assert_eq!(closed.cause, Cause::Rejected { status: 403 }),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_header_that_cannot_be_sent_is_our_mistake_and_answered_500() {
    within(ms(10_000), || {
        let (near, far) = sockets();
        let server = thread::spawn(move || {
            accept_with(far, Config::default(), |_| {
                Ok(Accept::new().header("X-Room", "two\r\nlines")?)
            })
        });
        let refused = client(near, &request(), Config::default());
        let Err(Error::Closed(closed)) = refused else {
            panic!("{refused:?}");
        };
        assert!(closed.to_string().contains("500"), "{closed}");
        let misused = server.join().unwrap();
        assert!(
            matches!(misused, Err(Error::Answer(AnswerError::HeaderValue))),
            "{misused:?}"
        );
    });
}

#[test]
fn a_request_that_trickles_in_has_an_absolute_deadline() {
    within(ms(10_000), || {
        let config = Config::builder()
            .handshake_timeout(ms(300))
            .build()
            .unwrap();
        let (near, far) = sockets();
        let trickle = thread::spawn(move || {
            let mut raw = Raw(near);
            for &byte in REQUEST {
                if std::io::Write::write_all(&mut raw.0, &[byte]).is_err() {
                    break;
                }
                thread::sleep(ms(10));
            }
        });
        let start = Instant::now();
        match accept(far, config) {
            Err(Error::Closed(closed)) => assert_eq!(closed.cause, Cause::HandshakeTimeout),
            other => panic!("{other:?}"),
        }
        assert!(start.elapsed() < ms(550), "{:?}", start.elapsed());
        trickle.join().unwrap();
    });
}

#[test]
fn messages_right_behind_the_handshake_are_not_lost() {
    within(ms(10_000), || {
        let (near, far) = sockets();
        let mut raw = Raw(near);
        raw.write(&[REQUEST, &frame(TEXT, b"early bird")].concat());
        let mut server = accept(far, Config::default()).unwrap();
        assert_eq!(
            server.next().unwrap().unwrap().as_text(),
            Some("early bird")
        );
    });
}

/// A listener that does not wait hands out sockets that do not either, on some systems.
#[test]
fn a_socket_that_does_not_wait_is_made_to() {
    within(ms(10_000), || {
        let (near, far) = sockets();
        near.set_nonblocking(true).unwrap();
        far.set_nonblocking(true).unwrap();
        let (mut client, mut server) = pair_over(near, far, Config::default());
        let server = thread::spawn(move || echo(&mut server));
        thread::sleep(ms(50));
        client.send("hello").unwrap();
        assert_eq!(client.next().unwrap().unwrap().as_text(), Some("hello"));
        client.close(CloseCode::NORMAL, "").unwrap();
        server.join().unwrap().unwrap();
    });
}

#[test]
fn a_dropped_connection_does_not_wait() {
    within(ms(10_000), || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        drop(listener);
        let (server, mut raw) = server_and_raw(Config::default());
        let start = Instant::now();
        drop(server);
        assert!(start.elapsed() < ms(100));
        assert_eq!(raw.0.read(&mut [0; 16]).unwrap(), 0, "the socket is closed");
    });
}
