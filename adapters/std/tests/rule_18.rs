//! Rule 18: what a call said `Ok` to is on its way.

mod common;

use std::thread;
use std::time::{Duration, Instant};

use common::*;
use wspulse_core::{CloseCode, Config, SendError};
use wspulse_std::{Error, accept};

/// Two messages in one segment, of which the server has taken the first.
fn server_with_one_left() -> (wspulse_std::WebSocket<std::net::TcpStream>, Raw) {
    let (mut server, mut raw) = server_and_raw(Config::default());
    raw.write(&[frame(TEXT, b"login"), frame(TEXT, b"subscribe")].concat());
    assert_eq!(server.next().unwrap().unwrap().as_text(), Some("login"));
    (server, raw)
}

/// Reads a frame that has to be there by now.
fn read_soon(raw: &mut Raw) -> (u8, Vec<u8>) {
    raw.0.set_read_timeout(Some(ms(5_000))).unwrap();
    raw.read_frame()
}

#[test]
fn a1_send_writes_at_once_although_a_message_lies_unread() {
    within(ms(20_000), || {
        let (mut server, mut raw) = server_with_one_left();
        for n in 0..10 {
            server.send(format!("tick {n}")).unwrap();
            assert_eq!(read_soon(&mut raw), (TEXT, format!("tick {n}").into()));
        }
        assert_eq!(server.next().unwrap().unwrap().as_text(), Some("subscribe"));

        // A client that has not read the greeting.
        let (mut client, mut server) = pair(Config::default());
        server.send("hello").unwrap();
        thread::sleep(ms(20));
        for n in 0..10 {
            client.send(format!("tick {n}")).unwrap();
            let tick = server.next().unwrap().unwrap();
            assert_eq!(tick.as_text(), Some(&*format!("tick {n}")));
        }
        assert_eq!(client.next().unwrap().unwrap().as_text(), Some("hello"));
    });
}

/// Work between two messages holds up no answer: neither one that is sent nor one that is fed.
#[test]
fn a3_no_answer_waits_for_the_work_on_the_next_message() {
    within(ms(20_000), || {
        for is_fed in [false, true] {
            let (mut server, mut raw) = server_and_raw(Config::default());
            raw.write(&[b"1", b"2", b"3"].map(|text| frame(TEXT, text)).concat());
            for n in 1..=3 {
                let message = server.next().unwrap().unwrap();
                assert_eq!(message.as_text(), Some(&*n.to_string()));
                thread::sleep(ms(20));
                if is_fed {
                    server.feed(message).unwrap();
                } else {
                    server.send(message).unwrap();
                }
                assert_eq!(read_soon(&mut raw), (TEXT, n.to_string().into()));
            }
        }
    });
}

#[test]
fn a4_what_was_sent_before_a_drop_arrives() {
    within(ms(20_000), || {
        let (mut server, mut raw) = server_with_one_left();
        server.send("answer").unwrap();
        drop(server);
        assert_eq!(read_soon(&mut raw), (TEXT, b"answer".to_vec()));

        let (mut client, mut server) = pair(Config::default());
        server.send("hello").unwrap();
        thread::sleep(ms(20));
        client.send("and good-bye").unwrap();
        drop(client);
        assert_eq!(
            server.next().unwrap().unwrap().as_text(),
            Some("and good-bye")
        );
    });
}

#[test]
fn a_drop_makes_one_attempt_to_write_what_was_fed_and_does_not_wait() {
    within(ms(20_000), || {
        let (mut server, mut raw) = server_and_raw(Config::default());
        server.feed("one").unwrap();
        server.feed("two").unwrap();
        drop(server);
        assert_eq!(read_soon(&mut raw), (TEXT, b"one".to_vec()));
        assert_eq!(read_soon(&mut raw), (TEXT, b"two".to_vec()));
        assert_eq!(raw.read_to_end().unwrap(), b"", "no Close frame");

        // The halves, over a stream that is no socket.
        let (near, far) = pipe(1 << 16);
        write_all(&near, REQUEST);
        let server = accept(far, Config::default()).unwrap();
        read_until(&near, |bytes| bytes.ends_with(b"\r\n\r\n"));
        let (reader, mut writer) = server.split();
        writer.feed("fed").unwrap();
        drop(writer);
        drop(reader);
        assert_eq!(read_until(&near, |bytes| bytes.len() >= 5), b"\x81\x03fed");

        // A peer that takes nothing.
        let (near, far) = pipe(200);
        let server = thread::spawn(move || accept(far, Config::default()).unwrap());
        write_all(&near, REQUEST);
        read_until(&near, |bytes| bytes.ends_with(b"\r\n\r\n"));
        let mut server = server.join().unwrap();
        server.feed(vec![0; 100_000]).unwrap();
        let start = Instant::now();
        drop(server);
        assert!(start.elapsed() < ms(1_000), "{:?}", start.elapsed());
    });
}

/// The loop of the README: `next` and `feed` answer a batch with one write.
#[test]
fn next_and_feed_answer_a_batch_with_one_write() {
    within(ms(20_000), || {
        let (near, far) = pipe(1 << 20);
        let far = Counted::new(far);
        let writes = far.writes.clone();
        let batch: Vec<u8> = (0..32).flat_map(|n| frame(BINARY, &[n; 20])).collect();
        let server = thread::spawn(move || echo(&mut accept(far, Config::default())?));
        write_all(&near, REQUEST);
        read_until(&near, |bytes| bytes.ends_with(b"\r\n\r\n"));
        // A batch that takes the machine more than 1 ms needs more writes, and no answer more
        // than one.
        let is_one_write = (0..50).any(|_| {
            writes.lock().unwrap().clear();
            write_all(&near, &batch);
            let answer = read_until(&near, |bytes| bytes.len() >= 32 * 22);
            assert_eq!(answer.len(), 32 * 22);
            writes.lock().unwrap().len() == 1
        });
        assert!(is_one_write, "{:?}", writes.lock().unwrap());
        drop(near);
        assert!(server.join().unwrap().is_err());
    });
}

#[test]
fn what_was_fed_leaves_with_the_next_send_or_flush_in_its_order() {
    within(ms(20_000), || {
        let (mut server, mut raw) = server_with_one_left();
        server.feed("one").unwrap();
        server.send("two").unwrap();
        assert_eq!(read_soon(&mut raw), (TEXT, b"one".to_vec()));
        assert_eq!(read_soon(&mut raw), (TEXT, b"two".to_vec()));
        server.feed("three").unwrap();
        server.flush().unwrap();
        assert_eq!(read_soon(&mut raw), (TEXT, b"three".to_vec()));
        server.feed("four").unwrap();
        server.ping(b"p").unwrap();
        let frames = [read_soon(&mut raw), read_soon(&mut raw)];
        assert!(frames.contains(&(TEXT, b"four".to_vec())), "{frames:?}");
    });
}

/// With a message at hand, so that `next` does not come to wait.
#[test]
fn what_was_fed_leaves_with_any_call_once_it_is_older_than_a_millisecond() {
    within(ms(20_000), || {
        let (mut server, mut raw) = server_and_raw(Config::default());
        raw.write(&(0..8).flat_map(|_| frame(TEXT, b"m")).collect::<Vec<_>>());
        server.next().unwrap().unwrap();
        server.feed("one").unwrap();
        thread::sleep(ms(5));
        server.next().unwrap().unwrap();
        assert_eq!(read_soon(&mut raw), (TEXT, b"one".to_vec()));
        server.feed("two").unwrap();
        thread::sleep(ms(5));
        server.feed("three").unwrap();
        assert_eq!(read_soon(&mut raw), (TEXT, b"two".to_vec()));
        thread::sleep(ms(5));
        assert!(server.next_timeout(Duration::ZERO).is_ready());
        assert_eq!(read_soon(&mut raw), (TEXT, b"three".to_vec()));
    });
}

#[test]
fn what_was_fed_leaves_when_next_has_nothing_more_at_hand() {
    within(ms(20_000), || {
        let (mut server, mut raw) = server_and_raw(Config::default());
        server.feed("one").unwrap();
        assert!(server.next_timeout(Duration::ZERO).is_pending());
        assert_eq!(read_soon(&mut raw), (TEXT, b"one".to_vec()));
    });
}

#[test]
fn a14_after_a_part_no_whole_message_is_lost() {
    within(ms(20_000), || {
        let (server, mut raw) = server_and_raw(Config::default());
        let (reader, mut writer) = server.split();
        writer.send_part("half", false).unwrap();
        assert_eq!(read_soon(&mut raw), (0x01, b"half".to_vec()));
        let mut server = reader.reunite(writer).unwrap();
        let refused = server.send("whole");
        assert!(
            matches!(refused, Err(Error::Send(SendError::Unfinished(_)))),
            "{refused:?}"
        );
        let (_receiver, sender) = server.spawn(16);
        let refused = sender.send("whole");
        assert!(
            matches!(refused, Err(Error::Send(SendError::Unfinished(_)))),
            "{refused:?}"
        );
        sender.close(CloseCode::NORMAL, "").unwrap_err();
    });
}
