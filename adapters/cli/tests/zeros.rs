//! Clients that send zeros, compressed a hundred and sixty times smaller, and never read (C1).
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn c1_on_tokio() {
    zeros_cost_less_than_80_mb("tokio");
}

#[test]
fn c1_on_std() {
    zeros_cost_less_than_80_mb("std");
}

#[test]
fn c1_on_mio() {
    zeros_cost_less_than_80_mb("mio");
}

/// Ten clients send until the server takes no more, or the time is over.
fn zeros_cost_less_than_80_mb(runtime: &str) {
    let (server, address) = Server::start(runtime);
    let frame = frame_of_zeros();
    let frames: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| send_until_blocked(&address, &frame)))
            .collect();
        clients.into_iter().map(|it| it.join().unwrap()).sum()
    });
    let peak = server.peak();
    // Fewer would show nothing: each connection's queue would be far from full.
    assert!(frames > 50 * CLIENTS, "only {frames} frames were taken");
    assert!(peak < 80 << 20, "{peak} bytes at {frames} frames");
}

const CLIENTS: usize = 10;

/// For how long the clients send at most.
const LONGEST: Duration = Duration::from_secs(15);

/// Returns how many frames the server took.
fn send_until_blocked(address: &str, frame: &[u8]) -> usize {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.contains("permessage-deflate"), "{head}");

    let blocked = Some(Duration::from_secs(2));
    stream.set_write_timeout(blocked).unwrap();
    let began = Instant::now();
    let mut frames = 0;
    while began.elapsed() < LONGEST && stream.write_all(frame).is_ok() {
        frames += 1;
    }
    frames
}

/// A masked binary frame with 1 MiB of zeros in it, in one block of fixed codes (RFC 1951 §3.2.6).
fn frame_of_zeros() -> Vec<u8> {
    let mut bits = Bits::default();
    // Not the last block; fixed codes; the literal 0. Codes go with their first bit first.
    bits.push([false, true, false]);
    bits.push_code(0b0011_0000, 8);
    for _ in 0..(1 << 20) / 258 {
        // Length 258 is symbol 285 without more bits, distance 1 is symbol 0.
        bits.push_code(0b1100_0101, 8);
        bits.push_code(0, 5);
    }
    // The end of the block, and the header of the empty stored block that the tail completes.
    bits.push_code(0, 7);
    bits.push([false, false, false]);

    let payload = bits.bytes;
    let length = u16::try_from(payload.len()).unwrap();
    let mut frame = vec![0xC2, 0x80 | 126];
    frame.extend(length.to_be_bytes());
    // A masking key of zeros leaves the payload as it is.
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// Bytes that are filled from their lowest bit.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    count: usize,
}

impl Bits {
    fn push(&mut self, bits: impl IntoIterator<Item = bool>) {
        for bit in bits {
            if self.count.is_multiple_of(8) {
                self.bytes.push(0);
            }
            *self.bytes.last_mut().unwrap() |= u8::from(bit) << (self.count % 8);
            self.count += 1;
        }
    }

    fn push_code(&mut self, code: u8, length: u32) {
        self.push((0..length).rev().map(|index| code >> index & 1 == 1));
    }
}

/// `wspulse echo`, killed when it is dropped.
struct Server(Child);

impl Server {
    fn start(runtime: &str) -> (Self, String) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_wspulse"))
            .args(["echo", "--listen", "127.0.0.1:0", "--runtime", runtime])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening on ").unwrap();
        let address = address.to_owned();
        // What it says of its connections is not read, and is to go on all the same.
        thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        (Self(child), address)
    }

    /// The most memory that it had at once, in bytes.
    fn peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes: u64 = line
            .unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap();
        kilobytes << 10
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
