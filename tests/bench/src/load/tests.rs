use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use wspulse_core::Config;

use super::{Load, Run, Talk, Work};

/// Serves each connection in a thread that ends with it.
fn server(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Writes back what `change` makes of what came, given how much came before.
fn echo(mut stream: TcpStream, change: impl Fn(usize, &mut Vec<u8>)) {
    let mut buffer = vec![0; 1 << 16];
    let mut before = 0;
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        let mut bytes = buffer[..count].to_vec();
        change(before, &mut bytes);
        before += count;
        if stream.write_all(&bytes).is_err() {
            return;
        }
    }
}

fn web_socket(stream: TcpStream) {
    let Ok(mut ws) = wspulse_std::accept(stream, Config::default()) else {
        return;
    };
    while let Some(Ok(message)) = ws.next() {
        if ws.send(message).is_err() {
            return;
        }
    }
}

fn run(address: SocketAddr, talk: Talk, size: usize, in_flight: usize) -> Result<Run, String> {
    let work = Work { size, in_flight };
    let mut load = Load::open(address, talk, 4, 2, work)?;
    assert_eq!(load.active(), 2);
    let time = Duration::from_millis(100);
    load.run(Duration::from_millis(10), time, &mut || {}, &mut || {})
}

#[test]
fn every_answer_is_counted_and_timed() {
    let address = server(|stream| echo(stream, |_, _| {}));
    for (size, in_flight) in [(0, 1), (16, 1), (64, 32), (70_000, 3)] {
        let run = run(address, Talk::Tcp, size, in_flight).expect("it echoes");
        assert!(run.messages > 0, "{size} x {in_flight}");
        assert_eq!(run.round_trips.total(), run.messages);
        assert!(run.round_trips.quantile(0.5) > 0);
    }
}

#[test]
fn answers_may_have_several_frames() {
    let address = server(web_socket);
    for (size, in_flight) in [(16, 8), (125, 1), (126, 2), (70_000, 2), (1 << 20, 1)] {
        let run = run(address, Talk::WebSocket, size, in_flight).expect("it echoes");
        assert!(run.messages > 0, "{size} x {in_flight}");
    }
}

#[test]
fn other_bytes_are_no_answer() {
    let address = server(|stream| echo(stream, |_, bytes| bytes[0] ^= 1));
    let error = run(address, Talk::Tcp, 16, 1).expect_err("a bit is wrong");
    assert_eq!(error, "other bytes came back");
}

#[test]
fn more_bytes_than_answers_are_noticed() {
    // Beyond what is looked at before the run.
    let address = server(|stream| {
        echo(stream, |before, bytes| {
            let has_passed = (before..before + bytes.len()).contains(&1_000);
            bytes.extend(has_passed.then_some(0));
        });
    });
    let error = run(address, Talk::Tcp, 16, 1).expect_err("there is a byte too many");
    assert_eq!(error, "there are more bytes than answers");
}

#[test]
fn an_end_is_noticed() {
    let address = server(|stream| {
        let twin = stream.try_clone().expect("a descriptor");
        echo(stream, move |before, _| {
            if before > 1_000 {
                let _ = twin.shutdown(std::net::Shutdown::Both);
            }
        });
    });
    let error = run(address, Talk::Tcp, 16, 1).expect_err("it ends");
    assert!(error.starts_with("connection "), "{error}");
}
