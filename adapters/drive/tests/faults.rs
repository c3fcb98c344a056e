//! Streams that misbehave at every call: nothing is lost, nothing comes twice, nothing spins.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{
    Cause, CloseCode, Config, Connection, Event, Instant, Role, Seed, SendError, State, Transmit,
};
use wspulse_drive::{Clock, Drive, Error, InboxLimits, Transport};

/// Time that passes only when a test says so.
#[derive(Default)]
struct Virtual(Cell<u64>);

impl Clock for Virtual {
    fn now(&self) -> Instant {
        Instant::from_millis(self.0.get())
    }
}

type Pipe = Rc<RefCell<VecDeque<u8>>>;

/// What goes wrong at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    WouldBlock,
    Interrupted,
}

/// One end of two pipes, with faults.
struct Rough {
    rx: Pipe,
    tx: Pipe,
    /// Bytes that one call moves at most.
    max: usize,
    /// What happens before each call succeeds, in this order.
    hiccups: &'static [Fault],
    read_calls: usize,
    write_calls: usize,
    shutdowns: usize,
    /// After how many bytes reading or writing fails for good, and how.
    read_end: (usize, Result<usize, io::ErrorKind>),
    write_end: (usize, Result<usize, io::ErrorKind>),
    moved: (usize, usize),
}

impl Rough {
    fn pair(max: usize, hiccups: &'static [Fault]) -> (Self, Self) {
        let (up, down) = (Pipe::default(), Pipe::default());
        let end = |rx: &Pipe, tx: &Pipe| Self {
            rx: Rc::clone(rx),
            tx: Rc::clone(tx),
            max,
            hiccups,
            read_calls: 0,
            write_calls: 0,
            shutdowns: 0,
            read_end: (usize::MAX, Ok(0)),
            write_end: (usize::MAX, Ok(0)),
            moved: (0, 0),
        };
        (end(&down, &up), end(&up, &down))
    }

    fn calls(&self) -> usize {
        self.read_calls + self.write_calls
    }

    fn hiccup(hiccups: &[Fault], call: usize) -> io::Result<()> {
        match hiccups.get(call % (hiccups.len() + 1)) {
            Some(Fault::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Some(Fault::Interrupted) => Err(io::ErrorKind::Interrupted.into()),
            None => Ok(()),
        }
    }
}

impl Transport for Rough {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_calls += 1;
        Self::hiccup(self.hiccups, self.read_calls)?;
        let (end, how) = self.read_end;
        if self.moved.0 >= end {
            return how.map_err(Into::into);
        }
        let mut rx = self.rx.borrow_mut();
        let count = rx
            .len()
            .min(self.max)
            .min(buffer.len())
            .min(end - self.moved.0);
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        for (slot, byte) in buffer.iter_mut().zip(rx.drain(..count)) {
            *slot = byte;
        }
        self.moved.0 += count;
        Ok(count)
    }

    fn write(&mut self, transmit: &Transmit<'_>) -> io::Result<usize> {
        self.write_calls += 1;
        Self::hiccup(self.hiccups, self.write_calls)?;
        let (end, how) = self.write_end;
        if self.moved.1 >= end {
            return how.map_err(Into::into);
        }
        let count = transmit.len().min(self.max).min(end - self.moved.1);
        let bytes = transmit.chunks().flatten().take(count);
        self.tx.borrow_mut().extend(bytes);
        self.moved.1 += count;
        Ok(count)
    }

    fn shutdown(&mut self) -> io::Result<()> {
        self.shutdowns += 1;
        Ok(())
    }
}

fn drive(role: Role) -> Drive {
    let seed = Seed::predictable_for_tests(7);
    let config = Arc::new(Config::default());
    Drive::new(Connection::from_upgrade(role, config, seed, Instant::ZERO))
}

/// Turns until nothing moves; fails instead of hanging.
fn settle(drive: &mut Drive, rough: &mut Rough, clock: &Virtual) -> Vec<Event> {
    let mut events = Vec::new();
    // A stream that hiccups says "would block" although it is ready: real ones wake their owner
    // then, so here a few turns in a row that move no byte mean that it is over.
    let mut idle = 0;
    for _ in 0..100_000 {
        let before = rough.moved;
        let turn = drive.turn(rough, clock);
        let count = events.len();
        events.extend(std::iter::from_fn(|| drive.poll_event()));
        let is_idle = rough.moved == before && events.len() == count;
        idle = if is_idle { idle + 1 } else { 0 };
        if idle > 2 * rough.hiccups.len() && !turn.has_progress() {
            return events;
        }
    }
    panic!("it spins: {drive:?}");
}

fn texts(events: &[Event]) -> Vec<String> {
    let text = |event: &Event| match event {
        Event::Text(text) => Some(text.to_string()),
        _ => None,
    };
    events.iter().filter_map(text).collect()
}

#[test]
fn one_byte_at_a_time_between_hiccups_loses_and_repeats_nothing() {
    let all: [&'static [Fault]; 4] = [
        &[],
        &[Fault::WouldBlock],
        &[Fault::Interrupted],
        &[Fault::Interrupted, Fault::WouldBlock, Fault::Interrupted],
    ];
    for hiccups in all {
        let clock = Virtual::default();
        let (mut near, mut far) = Rough::pair(1, hiccups);
        let (mut client, mut server) = (drive(Role::Client), drive(Role::Server));
        let messages: Vec<String> = (0..20).map(|n| "x".repeat(n * 7)).collect();
        for message in &messages {
            client.command(|c| c.send(message.as_str())).unwrap();
        }
        let mut got = Vec::new();
        // The pipe holds everything, so one side after the other is enough.
        settle(&mut client, &mut near, &clock);
        got.extend(settle(&mut server, &mut far, &clock));
        assert!(texts(&got) == messages, "{hiccups:?}");

        let bytes = near.moved.1;
        let per_byte = hiccups.len() + 1;
        let enough = per_byte * bytes + 50;
        assert!(near.write_calls <= enough, "{} writes", near.write_calls);
        // Each turn makes one read, also those of the client that has nothing to read.
        assert!(far.read_calls <= enough, "{} reads", far.read_calls);
    }
}

#[test]
fn a_reset_at_any_offset_comes_after_all_that_came_before_it() {
    let wire = {
        let clock = Virtual::default();
        let (mut near, _far) = Rough::pair(usize::MAX, &[]);
        let mut client = drive(Role::Client);
        for message in ["one", "two", "three"] {
            client.command(|c| c.send(message)).unwrap();
        }
        settle(&mut client, &mut near, &clock);
        let wire: Vec<u8> = near.tx.borrow().iter().copied().collect();
        wire
    };
    // Frames of 9, 9 and 11 bytes.
    assert_eq!(wire.len(), 29);
    for offset in 0..=wire.len() {
        for how in [Ok(0), Err(io::ErrorKind::ConnectionReset)] {
            let clock = Virtual::default();
            let (_near, mut far) = Rough::pair(usize::MAX, &[]);
            far.rx.borrow_mut().extend(&wire);
            far.read_end = (offset, how);
            let mut server = drive(Role::Server);
            let mut events = settle(&mut server, &mut far, &clock);

            let whole = [9, 18, 29].iter().filter(|end| **end <= offset).count();
            assert_eq!(texts(&events), ["one", "two", "three"][..whole], "{offset}");
            let Some(Event::Closed(closed)) = events.pop() else {
                panic!("no end at {offset}: {events:?}");
            };
            assert_eq!(closed.cause, Cause::Eof);
            assert_eq!(
                matches!(server.end_error(closed), Error::Io(_)),
                how.is_err()
            );
            assert!(far.calls() < 20, "{} calls", far.calls());
        }
    }
}

#[test]
fn a_stream_that_takes_no_output_any_more_is_read_to_its_end() {
    let failures = [
        (Err(io::ErrorKind::BrokenPipe), io::ErrorKind::BrokenPipe),
        (Ok(0), io::ErrorKind::WriteZero),
        (Err(io::ErrorKind::TimedOut), io::ErrorKind::TimedOut),
    ];
    for (how, kind) in failures {
        for offset in [0, 1, 5, 100] {
            let clock = Virtual::default();
            let (mut near, mut far) = Rough::pair(usize::MAX, &[]);
            let (mut client, mut server) = (drive(Role::Client), drive(Role::Server));
            client.command(|c| c.send("last words")).unwrap();
            settle(&mut client, &mut near, &clock);
            server.command(|c| c.send("x".repeat(200))).unwrap();
            far.write_end = (offset, how);

            let mut events = settle(&mut server, &mut far, &clock);
            assert_eq!(texts(&events), ["last words"]);
            let Some(Event::Closed(closed)) = events.pop() else {
                panic!("no end: {events:?}");
            };
            match server.end_error(closed) {
                Error::Io(error) => assert_eq!(error.kind(), kind),
                other => panic!("{other:?}"),
            }
            assert!(far.calls() < 20, "{} calls", far.calls());
        }
    }
}

#[test]
fn a_stream_that_lies_about_its_counts_is_not_believed() {
    struct Liar(bool);
    impl Transport for Liar {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0 {
                Ok(buffer.len() + 1)
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
        fn write(&mut self, transmit: &Transmit<'_>) -> io::Result<usize> {
            Ok(transmit.len() + 1_000)
        }
        fn shutdown(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let clock = Virtual::default();
    let mut server = drive(Role::Server);
    server.command(|c| c.send("hello")).unwrap();
    let turn = server.turn(&mut Liar(false), &clock);
    assert!(turn.wrote);
    assert_eq!(server.connection().buffered_amount(), 0);
    assert!(!server.turn(&mut Liar(false), &clock).has_progress());

    server.turn(&mut Liar(true), &clock);
    let Some(Event::Closed(closed)) = server.poll_event() else {
        panic!("it goes on");
    };
    assert!(matches!(server.end_error(closed), Error::Io(_)));
}

#[test]
fn input_in_front_of_the_end_comes_before_the_end() {
    // As an owner does that reads in another place than it takes events.
    let clock = Virtual::default();
    let mut client = drive(Role::Client);
    let now = clock.now();
    client.handle_read(now, Ok(b"\x81\x01a\x81\x01b"));
    client.handle_read(now, Ok(b"\x81\x01c"));
    client.handle_read(now, Ok(b""));
    let mut events = Vec::new();
    for _ in 0..10 {
        events.extend(client.poll_event());
        client.hand_over();
    }
    assert_eq!(texts(&events), ["a", "b", "c"]);
    assert!(matches!(events.last(), Some(Event::Closed(closed)) if closed.cause == Cause::Eof));
}

#[test]
fn rule_6_a_scheduler_that_does_not_let_us_look_kills_nobody() {
    struct Unlooked;
    impl Transport for Unlooked {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }
        fn write(&mut self, transmit: &Transmit<'_>) -> io::Result<usize> {
            Ok(transmit.len())
        }
        fn shutdown(&mut self) -> io::Result<()> {
            Ok(())
        }
        fn has_looked(&self) -> bool {
            false
        }
    }
    let clock = Virtual::default();
    let mut server = drive(Role::Server);
    for _ in 0..1_000 {
        clock.0.set(clock.0.get() + 1_000);
        server.turn(&mut Unlooked, &clock);
        let event = server.poll_event();
        assert!(!matches!(event, Some(Event::Closed(_))), "{event:?}");
    }
}

#[test]
fn everything_said_is_followed_by_a_half_close_and_the_peer_is_read_to_its_end() {
    let clock = Virtual::default();
    let (_near, mut far) = Rough::pair(usize::MAX, &[]);
    let mut server = drive(Role::Server);
    // A reserved bit, and more that nobody wants any more.
    far.rx.borrow_mut().extend(b"\xC1\x80\0\0\0\0");
    far.rx.borrow_mut().extend([0; 100_000]);
    let events = settle(&mut server, &mut far, &clock);
    assert!(events.is_empty(), "{events:?}");
    assert_eq!(far.shutdowns, 1);
    assert!(far.rx.borrow().is_empty(), "what came is read");
    let sent: Vec<u8> = far.tx.borrow().iter().copied().collect();
    assert_eq!(sent[0], 0x88);
    assert_eq!(sent[2..4], CloseCode::PROTOCOL_ERROR.as_u16().to_be_bytes());

    far.read_end = (0, Ok(0));
    let events = settle(&mut server, &mut far, &clock);
    assert!(matches!(events[..], [Event::Closed(_)]));
}

#[test]
fn a_stream_that_fails_after_the_verdict_does_not_hide_it() {
    let clock = Virtual::default();
    let (_near, mut far) = Rough::pair(usize::MAX, &[]);
    let mut server = drive(Role::Server);
    // It is full for ever: the write stall timeout ends it.
    far.write_end = (0, Err(io::ErrorKind::WouldBlock));
    server.command(|c| c.send("hello")).unwrap();
    while server.connection().state() == State::Open {
        server.turn(&mut far, &clock);
        clock.0.set(clock.0.get() + 1_000);
        assert!(clock.0.get() < 1_000_000);
    }
    // While its last words wait, the kernel gives the peer up too.
    far.write_end = (0, Err(io::ErrorKind::TimedOut));
    far.read_end = (0, Err(io::ErrorKind::TimedOut));
    server.turn(&mut far, &clock);
    let late = server.command(|c| c.send("late")).unwrap_err();
    let is_verdict = |error: &Error| match error {
        Error::Closed(closed) => matches!(closed.cause, Cause::Dead(_)),
        _ => false,
    };
    let error = server.send_error(late);
    assert!(is_verdict(&error), "T8: the sender is told why: {error:?}");
    assert!(is_verdict(&server.is_flushed().unwrap_err()));

    let events: Vec<_> = std::iter::from_fn(|| server.poll_event()).collect();
    let Some(Event::Closed(closed)) = events.into_iter().last() else {
        panic!("no end");
    };
    assert!(matches!(closed.cause, Cause::Dead(_)), "{closed}");
    assert!(matches!(server.end_error(closed), Error::Closed(_)));
}

#[test]
fn there_is_room_exactly_when_a_message_is_taken() {
    for size in [0, 1, 50, 5_000, 100_000] {
        let mut server = drive(Role::Server);
        loop {
            let has_room = server.has_room();
            let sent = server.command(|c| c.send(vec![0; size]));
            assert_eq!(has_room, sent.is_ok(), "{size}");
            if !has_room {
                break;
            }
        }
        let (_near, mut far) = Rough::pair(usize::MAX, &[]);
        settle(&mut server, &mut far, &Virtual::default());
        assert!(server.has_room());
    }
}

#[test]
fn a_flush_of_what_can_never_leave_is_no_success() {
    let clock = Virtual::default();
    let (_near, mut far) = Rough::pair(usize::MAX, &[]);
    far.write_end = (10, Err(io::ErrorKind::ConnectionReset));
    let mut server = drive(Role::Server);
    let now = clock.now();
    server.command(|c| c.send(vec![0; 10_000])).unwrap();
    server
        .command(|c| c.close(now, CloseCode::NORMAL, ""))
        .unwrap();
    server.write(&mut far, &clock);
    assert!(far.tx.borrow().len() < 10_000);
    assert!(server.is_flushed().is_err());
}

/// A frame of a client, whose masking key is zero.
fn arrive(rough: &Rough, first: u8, payload: &[u8]) {
    let length = u8::try_from(payload.len()).unwrap();
    let mut rx = rough.rx.borrow_mut();
    rx.extend([first, 0x80 | length, 0, 0, 0, 0]);
    rx.extend(payload);
}

/// Turns until nothing moves, while the application takes no event.
fn settle_ahead(drive: &mut Drive, rough: &mut Rough, clock: &Virtual) {
    for _ in 0..100_000 {
        if !drive.turn_ahead(rough, clock).has_progress() {
            return;
        }
    }
    panic!("it spins: {drive:?}");
}

#[test]
fn rule_16_pings_and_a_close_are_answered_while_messages_wait() {
    let clock = Virtual::default();
    let (_near, mut far) = Rough::pair(usize::MAX, &[]);
    let mut server = drive(Role::Server);
    for text in ["one", "two", "three"] {
        arrive(&far, 0x81, text.as_bytes());
    }
    arrive(&far, 0x89, b"!");
    arrive(&far, 0x81, b"four");
    settle_ahead(&mut server, &mut far, &clock);
    assert_eq!(
        far.tx.borrow_mut().drain(..).collect::<Vec<_>>(),
        b"\x8A\x01!"
    );
    assert_eq!((server.inbox_len(), server.inbox_bytes()), (4, 15 + 4 * 64));
    arrive(&far, 0x88, b"\x03\xE8bye");
    settle_ahead(&mut server, &mut far, &clock);
    assert_eq!(
        far.tx.borrow().iter().take(2).copied().collect::<Vec<_>>(),
        b"\x88\x02"
    );
    let closed = server
        .closed()
        .expect("the end is known before it is taken");
    assert!(closed.clean && closed.cause == Cause::Normal);

    let events: Vec<_> = std::iter::from_fn(|| server.poll_event()).collect();
    assert_eq!(texts(&events), ["one", "two", "three", "four"]);
    assert!(matches!(events[4..], [Event::Closing(_), Event::Closed(_)]));
}

#[test]
fn rule_16_reading_stops_when_the_inbox_is_full_and_goes_on_when_it_is_taken() {
    let clock = Virtual::default();
    let (_near, mut far) = Rough::pair(1, &[]);
    let mut server = drive(Role::Server);
    server.set_inbox_limits(InboxLimits::new().max_messages(2));
    for _ in 0..5 {
        arrive(&far, 0x81, b"x");
    }
    arrive(&far, 0x89, b"!");
    settle_ahead(&mut server, &mut far, &clock);
    assert!(server.is_inbox_full() && !server.wants_read());
    assert!(!far.rx.borrow().is_empty() && far.tx.borrow().is_empty());
    let events = settle(&mut server, &mut far, &clock);
    assert_eq!(texts(&events).len(), 5, "each message comes once");
    assert_eq!(*far.tx.borrow(), b"\x8A\x01!");
}

#[test]
fn a6_a_failed_write_ends_it_at_once_with_the_peers_close_and_all_that_came() {
    let clock = Virtual::default();
    let (_near, mut far) = Rough::pair(usize::MAX, &[]);
    let mut server = drive(Role::Server);
    far.write_end = (0, Err(io::ErrorKind::BrokenPipe));
    for _ in 0..3 {
        arrive(&far, 0x81, b"x");
    }
    arrive(&far, 0x88, b"\x03\xF3overload");
    server.command(|c| c.send("tick")).unwrap();
    server.write(&mut far, &clock);
    let late = server.command(|c| c.send("late")).unwrap_err();
    let error = server.send_error(late).to_string();
    assert_eq!(error, "closed, received 1011 \"overload\"", "T8 and A21");
    let events: Vec<_> = std::iter::from_fn(|| server.poll_event()).collect();
    assert_eq!(texts(&events).len(), 3);
    assert!(matches!(events.last(), Some(Event::Closed(closed)) if !closed.clean));
}

#[test]
fn t1_a_reset_is_told_to_the_sender_although_the_inbox_is_full() {
    let clock = Virtual::default();
    let (_near, mut far) = Rough::pair(usize::MAX, &[]);
    let mut server = drive(Role::Server);
    server.set_inbox_limits(InboxLimits::new().max_messages(2));
    for _ in 0..9 {
        arrive(&far, 0x81, b"x");
    }
    settle_ahead(&mut server, &mut far, &clock);
    far.write_end = (0, Err(io::ErrorKind::ConnectionReset));
    server.command(|c| c.send("tick")).unwrap();
    server.turn_ahead(&mut far, &clock);
    let late = server.command(|c| c.send("late")).unwrap_err();
    for _ in 0..2 {
        let error = server.send_error(SendError::NotOpen("again".into()));
        let is_reset = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionReset;
        assert!(matches!(error, Error::Io(error) if is_reset(&error)));
    }
    assert!(matches!(late, SendError::NotOpen(_)));
    let events: Vec<_> = std::iter::from_fn(|| server.poll_event()).collect();
    assert_eq!(texts(&events).len(), 9, "one read brought all of them");
    assert!(matches!(events.last(), Some(Event::Closed(_))));
}

#[test]
fn rule_16_a_read_is_due_when_the_last_one_is_old() {
    let clock = Virtual::default();
    let (_near, mut far) = Rough::pair(usize::MAX, &[]);
    let mut server = drive(Role::Server);
    server.turn_ahead(&mut far, &clock);
    assert!(!server.is_read_due(Instant::from_millis(249)));
    assert!(server.is_read_due(Instant::from_millis(250)));
    let seconds = std::time::Duration::from_secs;
    let fast = HeartbeatConfig::ping(seconds(1), seconds(2));
    server.set_heartbeat(clock.now(), fast).unwrap();
    assert!(!server.is_read_due(Instant::from_millis(62)));
    assert!(server.is_read_due(Instant::from_millis(63)));
}
