//! Reads that are spared: a poll that told of input tells of what comes later too, so a short read
//! takes the last of it. What a read that was not made would have found is not known.
#![cfg(unix)]

mod common;

use std::io::Read;
use std::net::{Shutdown, SocketAddr};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use common::*;
use wspulse_core::heartbeat::{Evidence, HeartbeatConfig};
use wspulse_core::{Closed, Config, Message};
use wspulse_mio::{ConnectionId, Connections, Error, EventLoop, Handler, Listener};

/// Sleeps over a message, as an application does that computes in the loop's thread.
#[derive(Default)]
struct Sleeper {
    nap: Duration,
    messages: usize,
    end: Option<Result<Box<Closed>, Error>>,
}

impl Handler for Sleeper {
    fn message(&mut self, _: &mut Connections, _: ConnectionId, _: Message) {
        self.messages += 1;
        sleep(self.nap);
    }

    fn closed(&mut self, _: &mut Connections, _: ConnectionId, end: Result<Box<Closed>, Error>) {
        self.end = Some(end);
    }
}

fn served(config: Config, handler: Sleeper) -> (EventLoop<Sleeper>, SocketAddr) {
    let mut server = EventLoop::new(handler).unwrap();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    server.connections().listen(listener, config).unwrap();
    (server, address)
}

fn turn_until(server: &mut EventLoop<Sleeper>, mut is_done: impl FnMut(&Sleeper) -> bool) {
    let began = Instant::now();
    while !is_done(server.handler()) {
        assert!(began.elapsed() < PATIENCE, "it never comes");
        server.turn(Some(millis(10))).unwrap();
    }
}

/// Turns while `client` does what takes a server that answers.
fn turn_beside<T: Send + 'static>(
    server: &mut EventLoop<Sleeper>,
    client: impl FnOnce() -> T + Send + 'static,
) -> T {
    let client = spawn(client);
    turn_until(server, |_| client.is_finished());
    client.join().unwrap()
}

#[test]
fn an_end_that_comes_with_the_last_message_is_seen_with_it() {
    let config = Config::builder().heartbeat(HeartbeatConfig::off());
    let (mut server, address) = served(config.build().unwrap(), Sleeper::default());
    let mut raw = turn_beside(&mut server, move || Raw::open(address));
    // Nothing but this tells of the end: it is not answered, and no heartbeat comes.
    raw.write(&frame(TEXT, b"the last"));
    raw.0.shutdown(Shutdown::Write).unwrap();
    sleep(millis(50));
    turn_until(&mut server, |handler| handler.end.is_some());
    assert_eq!(server.handler().messages, 1);
}

/// RFC 6455 §7.1.7: what was said arrives, and then the end, in the turn that brought the fault.
#[test]
fn a_fault_in_the_last_of_the_input_is_answered_and_the_stream_half_closed() {
    let config = Config::builder()
        .heartbeat(HeartbeatConfig::off())
        .close_timeout(Duration::from_secs(3_600));
    let (mut server, address) = served(config.build().unwrap(), Sleeper::default());
    let mut raw = turn_beside(&mut server, move || Raw::open(address));
    raw.write(&frame(0x83, b"an opcode that nobody knows"));
    let said = turn_beside(&mut server, move || {
        let (first, _) = raw.read_frame();
        let mut end = [0];
        (first, raw.0.read(&mut end).unwrap(), raw)
    });
    assert_eq!((said.0, said.1), (CLOSE, 0));
}

/// The pong is there all the time, behind a message that the application sleeps over.
#[test]
fn rule_06_a_read_that_was_spared_declares_nobody_dead() {
    let heartbeat = HeartbeatConfig::ping(millis(200), millis(1_000))
        .jitter_percent(0)
        .evidence(Evidence::MatchingPong);
    let config = Config::builder().heartbeat(heartbeat).build().unwrap();
    let sleeper = Sleeper {
        nap: millis(1_500),
        ..Sleeper::default()
    };
    let (mut server, address) = served(config, sleeper);
    let peer = spawn(move || {
        let mut raw = Raw::open(address);
        let (first, ping) = raw.read_frame();
        assert_eq!(first, PING);
        raw.write(&frame(TEXT, b"think of it"));
        sleep(millis(300));
        raw.write(&frame(PONG, &ping));
        // The next ping says that this one was answered.
        assert_eq!(raw.read_frame().0, PING);
        raw
    });
    turn_until(&mut server, |_| peer.is_finished());
    peer.join().expect("it is pinged again");
    assert_eq!(server.handler().messages, 1);
    assert!(server.handler().end.is_none(), "{:?}", server.handler().end);
}
