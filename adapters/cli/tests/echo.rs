//! `echo` on each runtime: what it prints, where it listens, how it compresses.

#![cfg(unix)]

mod programs;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use programs::{Echo, LONGEST, RUNTIMES, text};
use wspulse_core::{CloseCode, Config};

#[test]
fn a11_a_server_whose_lines_nobody_reads_goes_on_and_stops_when_it_is_told() {
    std::thread::scope(|scope| {
        for runtime in RUNTIMES {
            scope.spawn(move || {
                let server = Echo::start(runtime, "127.0.0.1:0", &[]);
                let url = format!("ws://{}/", server.address);
                // The reason stands in the line: a pipe of 64 KiB holds less than 400 of them.
                let reason = "r".repeat(120);
                for n in 0..600 {
                    let mut ws = wspulse_std::connect(&url, Config::default()).unwrap();
                    ws.send("hello").unwrap();
                    let answer = ws.next_timeout(LONGEST).map(|next| next.unwrap().unwrap());
                    assert!(answer.is_ready(), "{runtime}: connection {n} has no answer");
                    ws.close(CloseCode::NORMAL, &reason).unwrap();
                }
                let began = Instant::now();
                server.program.signal("-TERM");
                // Its output is read only after its end.
                let Echo {
                    mut program, lines, ..
                } = server;
                while program.child.try_wait().unwrap().is_none() {
                    assert!(began.elapsed() < LONGEST, "{runtime} does not end");
                    std::thread::sleep(Duration::from_millis(10));
                }
                drop(lines);
                assert_eq!(program.finish().status.code(), Some(0), "{runtime}");
            });
        }
    });
}

#[test]
fn a11_a_server_that_is_told_to_stop_does_not_wait_for_a_client_that_never_asked() {
    for runtime in RUNTIMES {
        let server = Echo::start(runtime, "127.0.0.1:0", &[]);
        let silent = TcpStream::connect(&server.address).unwrap();
        // Accepted by then: it was there first.
        let url = format!("ws://{}/", server.address);
        let mut ws = wspulse_std::connect(&url, Config::default()).unwrap();
        let began = Instant::now();
        server.program.signal("-TERM");
        assert!(ws.next().is_none(), "{runtime}");
        assert_eq!(
            ws.closed().unwrap().code(),
            CloseCode::GOING_AWAY,
            "{runtime}"
        );
        assert_eq!(server.program.finish().status.code(), Some(0));
        // The handshake has 10 s, and a Close has 5.
        assert!(
            began.elapsed() < Duration::from_secs(4),
            "{runtime}: {:?}",
            began.elapsed()
        );
        drop(silent);
    }
}

#[test]
fn t9_every_end_without_a_close_has_the_same_words() {
    for runtime in RUNTIMES {
        let mut server = Echo::start(runtime, "127.0.0.1:0", &[]);
        for is_reset in [false, true] {
            let stream = open(&server.address, "");
            if is_reset {
                let socket = socket2::SockRef::from(&stream);
                socket.set_linger(Some(Duration::ZERO)).unwrap();
            }
            let peer = stream.local_addr().unwrap();
            drop(stream);
            let line = format!("{peer}: transport ended without a close frame (0 messages)\n");
            assert_eq!(server.next_line(), line, "{runtime}, reset: {is_reset}");
        }
    }
}

#[test]
fn a_server_listens_on_a_port_or_a_name() {
    for runtime in RUNTIMES {
        for listen in ["0", "localhost:0"] {
            let server = Echo::start(runtime, listen, &[]);
            assert!(
                server.address.starts_with("127.0.0.1:"),
                "{}",
                server.address
            );
            TcpStream::connect(&server.address).unwrap();
            let output = server.stop();
            assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
        }
    }
}

/// Opens a connection on a bare socket, and reads the answer's head.
fn open(address: &str, header: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONGEST)).unwrap();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         {header}\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    stream
}

/// Asks for compression, sends `hi`, and returns the first byte of the answer's frame.
fn first_byte(address: &str) -> u8 {
    let mut stream = open(address, "Sec-WebSocket-Extensions: permessage-deflate\r\n");
    stream.write_all(b"\x81\x82\0\0\0\0hi").unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    byte[0]
}

#[test]
fn i4_short_messages_are_compressed_where_the_threshold_says_so() {
    for runtime in RUNTIMES {
        for (options, first) in [
            (&[][..], 0x81),
            (&["--deflate-threshold", "2"], 0xC1),
            (&["--deflate-threshold", "3"], 0x81),
            (&["--deflate-threshold", "0"], 0xC1),
        ] {
            let server = Echo::start(runtime, "127.0.0.1:0", options);
            assert_eq!(first_byte(&server.address), first, "{runtime}: {options:?}");
            assert_eq!(server.stop().status.code(), Some(0));
        }
    }
}
