//! Streams that misbehave at every call: nothing is lost, nothing comes twice, nothing spins.

mod common;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::rc::Rc;
use std::sync::Arc;

use common::*;
use mio::event::Source;
use mio::{Interest, Registry, Token};
use wspulse_core::{Cause, CloseCode, Config, Connection, Event, Instant, Role, Seed};
use wspulse_mio::{Error, Stream, Turn, WebSocket};

type Pipe = Rc<RefCell<VecDeque<u8>>>;

/// What happens at a call before one succeeds.
#[derive(Clone, Copy, Debug)]
enum Hiccup {
    WouldBlock,
    Interrupted,
}

/// How a direction ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// It returns this count, whatever it moved.
    Count(usize),
    Error(io::ErrorKind),
}

/// One direction's script.
#[derive(Clone, Copy, Debug)]
struct Script {
    /// Bytes that one call moves at most.
    most: usize,
    /// What happens before each call that succeeds.
    hiccups: &'static [Hiccup],
    /// After how many bytes it ends, and how.
    end: (usize, End),
    calls: usize,
    moved: usize,
}

impl Script {
    const PLAIN: Self = Self {
        most: usize::MAX,
        hiccups: &[],
        end: (usize::MAX, End::Count(0)),
        calls: 0,
        moved: 0,
    };

    /// How much the next call may move, or what else it comes to.
    fn call(&mut self) -> Result<usize, io::Result<usize>> {
        self.calls += 1;
        match self.hiccups.get(self.calls % (self.hiccups.len() + 1)) {
            Some(Hiccup::WouldBlock) => return Err(Err(io::ErrorKind::WouldBlock.into())),
            Some(Hiccup::Interrupted) => return Err(Err(io::ErrorKind::Interrupted.into())),
            None => {}
        }
        match self.end {
            (at, End::Count(count)) if self.moved >= at => Err(Ok(count)),
            (at, End::Error(kind)) if self.moved >= at => Err(Err(kind.into())),
            (at, _) => Ok(self.most.min(at - self.moved)),
        }
    }
}

/// One end of two pipes that goes by a script.
#[derive(Debug)]
struct Scripted {
    rx: Pipe,
    tx: Pipe,
    reading: Script,
    writing: Script,
    log: Rc<RefCell<Log>>,
}

/// What was asked of a stream.
#[derive(Clone, Debug, Default)]
struct Log {
    reads: usize,
    writes: Vec<usize>,
    shutdowns: usize,
}

impl Log {
    fn calls(&self) -> usize {
        self.reads + self.writes.len() + self.shutdowns
    }
}

impl Read for Scripted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.log.borrow_mut().reads += 1;
        let most = match self.reading.call() {
            Ok(most) => most,
            Err(result) => return result,
        };
        let mut rx = self.rx.borrow_mut();
        let count = rx.len().min(most).min(buffer.len());
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        for (slot, byte) in buffer.iter_mut().zip(rx.drain(..count)) {
            *slot = byte;
        }
        self.reading.moved += count;
        Ok(count)
    }
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let result = self.writing.call().map(|most| {
            let bytes: Vec<u8> = slices.iter().flat_map(|s| s.iter().copied()).collect();
            let count = bytes.len().min(most);
            self.tx.borrow_mut().extend(&bytes[..count]);
            self.writing.moved += count;
            count
        });
        let count = result.as_ref().copied().unwrap_or(0);
        self.log.borrow_mut().writes.push(count);
        match result {
            Ok(count) => Ok(count),
            Err(result) => result,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Scripted {
    fn shutdown(&mut self) -> io::Result<()> {
        self.log.borrow_mut().shutdowns += 1;
        Ok(())
    }
}

impl Source for Scripted {
    fn register(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
        Ok(())
    }
    fn reregister(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
        Ok(())
    }
    fn deregister(&mut self, _: &Registry) -> io::Result<()> {
        Ok(())
    }
}

fn pair(script: Script) -> (WebSocket<Scripted>, WebSocket<Scripted>) {
    let (up, down) = (Pipe::default(), Pipe::default());
    let end = |role, rx: &Pipe, tx: &Pipe| {
        let stream = Scripted {
            rx: Rc::clone(rx),
            tx: Rc::clone(tx),
            reading: script,
            writing: script,
            log: Rc::default(),
        };
        open(role, stream)
    };
    (end(Role::Client, &down, &up), end(Role::Server, &up, &down))
}

fn open(role: Role, stream: Scripted) -> WebSocket<Scripted> {
    let seed = Seed::predictable_for_tests(7);
    let config = Arc::new(Config::default());
    let connection = Connection::from_upgrade(role, config, seed, Instant::ZERO);
    WebSocket::from_connection(stream, connection)
}

/// A server whose peer is the test, and the peer's ends of the pipes.
fn server(reading: Script, writing: Script) -> (WebSocket<Scripted>, Pipe, Pipe) {
    let (rx, tx) = (Pipe::default(), Pipe::default());
    let stream = Scripted {
        rx: Rc::clone(&rx),
        tx: Rc::clone(&tx),
        reading,
        writing,
        log: Rc::default(),
    };
    (open(Role::Server, stream), rx, tx)
}

fn log(ws: &WebSocket<Scripted>) -> Log {
    ws.get_ref().log.borrow().clone()
}

/// Gives turns until the connection waits in earnest: a stream that hiccups says "would block"
/// although it is ready, for which a real one would wake its owner.
fn settle(ws: &mut WebSocket<Scripted>) -> Vec<Event> {
    let mut events = Vec::new();
    let mut idle = 0;
    for _ in 0..100_000 {
        let before = (ws.get_ref().reading.moved, ws.get_ref().writing.moved);
        let count = events.len();
        match ws.handle_ready(|_, event| events.push(event)) {
            Turn::Over => return events,
            Turn::Again => idle = 0,
            Turn::Wait => idle += 1,
        }
        let moved = (ws.get_ref().reading.moved, ws.get_ref().writing.moved) != before;
        if moved || events.len() > count {
            idle = 0;
        }
        if idle > 4 {
            return events;
        }
    }
    panic!("it spins");
}

fn texts(events: &[Event]) -> Vec<String> {
    let text = |event: &Event| match event {
        Event::Text(text) => Some(text.to_string()),
        _ => None,
    };
    events.iter().filter_map(text).collect()
}

#[test]
fn whatever_the_stream_does_at_a_call_no_byte_is_lost_or_repeated() {
    use Hiccup::{Interrupted, WouldBlock};
    let hiccups: [&'static [Hiccup]; 5] = [
        &[],
        &[WouldBlock],
        &[Interrupted],
        &[Interrupted, WouldBlock],
        &[WouldBlock, WouldBlock, Interrupted],
    ];
    let sent: Vec<String> = (0..40).map(|n| format!("message {n} ").repeat(n)).collect();
    for most in [1, 2, 7, 1_000, usize::MAX] {
        for hiccups in hiccups {
            let (mut near, mut far) = pair(Script {
                most,
                hiccups,
                ..Script::PLAIN
            });
            for text in &sent {
                near.send(&**text).unwrap();
            }
            settle(&mut near);
            let events = settle(&mut far);
            assert_eq!(texts(&events), sent, "{most} {hiccups:?}");
            for text in &sent {
                far.send(&**text).unwrap();
            }
            settle(&mut far);
            let events = settle(&mut near);
            assert_eq!(texts(&events), sent, "{most} {hiccups:?}");

            // Calls follow the bytes that moved, and nothing else.
            let bytes: usize = sent.iter().map(|text| text.len() + 8).sum();
            let needed = 2 * (bytes / most + sent.len() + 8);
            let bound = needed * (hiccups.len() + 1) * 3;
            let calls = log(&near).calls();
            assert!(
                calls <= bound,
                "{calls} calls, at most {bound}: {most} {hiccups:?}"
            );
        }
    }
}

#[test]
fn a_reset_at_any_offset_of_the_input_is_said_and_what_came_before_is_delivered() {
    let input = [frame(TEXT, b"one"), frame(TEXT, b"two"), frame(PING, b"p")].concat();
    for end in [
        End::Error(io::ErrorKind::ConnectionReset),
        End::Error(io::ErrorKind::TimedOut),
        End::Count(0),
    ] {
        for at in 0..=input.len() {
            let reading = Script {
                end: (at, end),
                ..Script::PLAIN
            };
            let (mut ws, rx, _) = server(reading, Script::PLAIN);
            rx.borrow_mut().extend(&input);
            let mut events = settle(&mut ws);
            let whole = usize::from(at >= 9) + usize::from(at >= 18);
            assert_eq!(texts(&events), ["one", "two"][..whole], "{end:?} at {at}");
            let Some(Event::Closed(closed)) = events.pop() else {
                panic!("no end: {end:?} at {at}");
            };
            assert_eq!(closed.cause, Cause::Eof);
            match (end, ws.end_error(closed)) {
                (End::Error(kind), Error::Io(error)) => assert_eq!(error.kind(), kind),
                (End::Count(0), Error::Closed(_)) => {}
                (_, error) => panic!("{error:?} for {end:?} at {at}"),
            }
            assert_eq!(ws.end_turn(), Turn::Over);
            let calls = log(&ws).calls();
            assert!(calls < 16, "{calls} calls for {end:?} at {at}");
        }
    }
}

/// RFC 6455 §5.5.1: what was to be sent first goes before the answer to a Close.
#[test]
fn a_close_behind_a_message_that_is_paused_over_waits_for_what_came_back() {
    let (mut ws, rx, tx) = server(Script::PLAIN, Script::PLAIN);
    while ws.send(vec![0; 100_000]).is_ok() {}
    let close = frame(CLOSE, &[0x03, 0xE8]);
    rx.borrow_mut()
        .extend([frame(TEXT, b"one"), close].concat());
    assert!(matches!(ws.poll_event(), Some(Event::Text(_))));
    ws.pause();
    let events = settle(&mut ws);
    assert!(events.is_empty(), "{events:?}: then it would be answered");
    assert!(ws.take_writable());
    ws.send("the last").unwrap();
    ws.resume();
    settle(&mut ws);
    let sent: Vec<u8> = tx.borrow().iter().copied().collect();
    assert!(sent.ends_with(b"\x81\x08the last\x88\x02\x03\xE8"));
}

#[test]
fn a_stream_that_takes_no_more_at_any_offset_ends_and_what_came_is_delivered() {
    for end in [
        End::Error(io::ErrorKind::BrokenPipe),
        End::Error(io::ErrorKind::ConnectionReset),
        End::Count(0),
    ] {
        for at in 0..12 {
            let writing = Script {
                end: (at, end),
                ..Script::PLAIN
            };
            let (mut ws, rx, tx) = server(Script::PLAIN, writing);
            ws.send("a message").unwrap();
            rx.borrow_mut().extend(frame(TEXT, b"last words"));
            let mut events = settle(&mut ws);
            assert_eq!(texts(&events), ["last words"], "{end:?} at {at}");
            assert_eq!(tx.borrow().len(), at.min(11));
            if at >= 11 {
                assert_eq!(ws.end_turn(), Turn::Wait, "it took everything");
                continue;
            }
            let Some(Event::Closed(closed)) = events.pop() else {
                panic!("no end: {end:?} at {at}");
            };
            assert!(matches!(ws.end_error(closed), Error::Io(_)));
            let calls = log(&ws).calls();
            assert!(calls < 16, "{calls} calls for {end:?} at {at}");
        }
    }
}

#[test]
fn a_lying_count_is_not_believed() {
    let lies = Script {
        end: (0, End::Count(usize::MAX)),
        ..Script::PLAIN
    };
    let (mut ws, _, _) = server(lies, Script::PLAIN);
    let mut events = settle(&mut ws);
    let Some(Event::Closed(closed)) = events.pop() else {
        panic!("a read of more than there was room for is a failure");
    };
    assert!(matches!(ws.end_error(closed), Error::Io(_)));

    // More written than there was counts as all.
    let (mut ws, _, _) = server(Script::PLAIN, lies);
    ws.send("a message").unwrap();
    settle(&mut ws);
    assert_eq!((ws.buffered_amount(), log(&ws).writes.len()), (0, 1));
}

#[cfg(feature = "tls")]
#[test]
fn a_lying_count_is_not_believed_under_tls_either() {
    use wspulse_mio::tls::{self, TlsSession};

    let key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new([]).unwrap();
    let own = own.self_signed(&key).unwrap().pem();
    let lies = Script {
        end: (0, End::Count(usize::MAX)),
        ..Script::PLAIN
    };
    for (reading, writing) in [(lies, Script::PLAIN), (Script::PLAIN, lies)] {
        let config = tls::client_config_from_pem(own.as_bytes()).unwrap();
        let name = "example.com".try_into().unwrap();
        let (ws, _, _) = server(reading, writing);
        let mut ws = ws.with_tls(TlsSession::client(config, name).unwrap());
        let _ = settle(&mut ws);
        assert!(log(&ws).calls() < 16, "it neither fails nor spins");
    }
}

#[test]
fn a_stream_that_blocks_is_left_alone_until_it_is_ready() {
    let blocks = Script {
        end: (5, End::Error(io::ErrorKind::WouldBlock)),
        ..Script::PLAIN
    };
    let (mut ws, _, _) = server(Script::PLAIN, blocks);
    ws.send("a message").unwrap();
    assert_eq!(ws.handle_ready(|_, _| {}), Turn::Wait);
    let first = log(&ws);
    assert!(first.calls() <= 4, "{first:?}");
    assert_eq!(ws.handle_ready(|_, _| {}), Turn::Wait);
    assert!(log(&ws).calls() - first.calls() <= 2, "one write, one read");
}

/// A kernel with some room, but little, does not say that it has any: whoever waits for word of it
/// writes by chance, seconds later, and takes that for progress (rule 5).
#[test]
fn rule_5_output_that_the_stream_did_not_take_is_tried_again_soon_then_less_often() {
    let writing = Script {
        end: (5, End::Error(io::ErrorKind::WouldBlock)),
        ..Script::PLAIN
    };
    let (mut ws, _, _) = server(Script::PLAIN, writing);
    ws.send("more than that").unwrap();
    let began = std::time::Instant::now();
    let _ = settle(&mut ws);
    let mut tries = Vec::new();
    for _ in 0..3 {
        let due = ws.poll_timeout().expect("it is tried again");
        std::thread::sleep(due.saturating_duration_since(std::time::Instant::now()));
        tries.push(due.duration_since(began));
        let _ = settle(&mut ws);
    }
    let waits = tries.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(tries[0] < millis(1_000), "{tries:?}");
    for (wait, least) in waits.zip([100, 200]) {
        assert!(wait >= millis(least - 1), "{tries:?}");
    }
}

#[test]
fn a_batch_of_input_is_answered_with_one_write() {
    let (mut ws, rx, tx) = server(Script::PLAIN, Script::PLAIN);
    for n in 0..32 {
        rx.borrow_mut().extend(frame(BINARY, &[n; 20]));
    }
    let turn = ws.handle_ready(|ws, event| {
        if let Event::Binary(data) = event {
            ws.send(data).unwrap();
        }
    });
    assert_eq!(turn, Turn::Wait);
    assert_eq!(log(&ws).writes, [32 * 22]);
    assert_eq!(tx.borrow().len(), 32 * 22);
    // Two reads: what there was, and that there is no more.
    assert_eq!(log(&ws).reads, 2);
}

#[test]
fn what_is_sent_behind_the_last_event_leaves_at_the_end_of_the_turn() {
    let (mut ws, _, tx) = server(Script::PLAIN, Script::PLAIN);
    assert!(ws.poll_event().is_none());
    ws.send("one").unwrap();
    ws.send("two").unwrap();
    assert!(tx.borrow().is_empty(), "send queues");
    assert_eq!(ws.end_turn(), Turn::Wait);
    assert_eq!(log(&ws).writes, [10]);
    ws.send("three").unwrap();
    assert!(ws.flush().unwrap(), "and flush writes at once");
    assert_eq!(log(&ws).writes, [10, 7]);
}

#[test]
fn a_turn_that_is_fed_without_end_is_cut_short() {
    let (mut ws, rx, _) = server(Script::PLAIN, Script::PLAIN);
    let message = frame(BINARY, &[0; 1_016]);
    for _ in 0..1_000 {
        rx.borrow_mut().extend(&message);
    }
    let mut counts = Vec::new();
    loop {
        let mut count = 0;
        let turn =
            ws.handle_ready(|_, event| count += usize::from(matches!(event, Event::Binary(_))));
        counts.push(count);
        match turn {
            Turn::Again => assert!(count * message.len() <= 320 << 10, "{count} in one turn"),
            Turn::Wait => break,
            Turn::Over => panic!("it is not over"),
        }
        assert!(counts.len() < 100, "{counts:?}");
    }
    assert_eq!(counts.iter().sum::<usize>(), 1_000);
    assert!(counts.len() >= 4, "{counts:?}");
}

#[test]
fn a_close_owed_to_a_peer_that_broke_the_protocol_is_written_and_the_stream_half_closed() {
    let (mut ws, rx, tx) = server(Script::PLAIN, Script::PLAIN);
    rx.borrow_mut().extend([0xF1, 0x80, 0, 0, 0, 0]);
    rx.borrow_mut().extend([0; 100_000]);
    assert!(
        settle(&mut ws).is_empty(),
        "it reads on to the stream's end"
    );
    assert_eq!(tx.borrow()[0], CLOSE);
    assert_eq!(
        tx.borrow()
            .iter()
            .skip(2)
            .take(2)
            .copied()
            .collect::<Vec<_>>(),
        [3, 234]
    );
    assert_eq!(log(&ws).shutdowns, 1);
    assert!(rx.borrow().is_empty(), "what comes is swallowed");
}

#[test]
fn a_peer_that_is_gone_after_the_closing_handshake_is_no_error() {
    let (mut near, mut far) = pair(Script::PLAIN);
    near.close(CloseCode::NORMAL, "done").unwrap();
    settle(&mut near);
    let events = settle(&mut far);
    assert!(matches!(events.last(), Some(Event::Closed(closed)) if closed.clean));
    assert_eq!(far.end_turn(), Turn::Over);
    assert_eq!(far.end_turn(), Turn::Over, "and it stays over");
    assert!(far.poll_event().is_none());
}
