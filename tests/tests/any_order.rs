//! What goes over the wire, in which order, whatever the order of calls.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use wspulse_core::handshake::Accept;
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{
    ApplicationHeartbeat, Cause, CloseCode, Config, Connection, Event, Instant, Message, Role, Seed,
};
use wspulse_tests::alloc::Counting;
use wspulse_tests::meter::Meter;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

fn ms(millis: u64) -> Instant {
    Instant::from_millis(millis)
}
fn asked(config: Arc<Config>) -> Connection {
    let mut server = Connection::server(config, Seed::predictable_for_tests(1), Instant::ZERO);
    assert_eq!(server.handle_input(ms(0), REQUEST), REQUEST.len());
    assert!(matches!(server.poll_event(), Some(Event::Request(_))));
    server
}
fn flush(connection: &mut Connection, now: Instant) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(transmit) = connection.poll_transmit() {
        let n = transmit.len();
        out.extend(transmit.chunks().flatten());
        connection.handle_transmitted(now, n);
    }
    out
}
fn assert_head_first(out: &[u8]) {
    assert!(
        out.starts_with(b"HTTP/1.1 101 "),
        "{:?}",
        String::from_utf8_lossy(&out[..out.len().min(60)])
    );
}

#[test]
fn the_head_of_the_answer_goes_before_a_ping() {
    let mut server = asked(Arc::new(Config::default()));
    server.accept(ms(0), &Accept::new()).unwrap();
    server.ping(b"early").unwrap();
    assert_head_first(&flush(&mut server, ms(0)));
}

#[test]
fn the_head_of_the_answer_goes_before_a_pong() {
    let mut server = asked(Arc::new(Config::default()));
    server.accept(ms(0), &Accept::new()).unwrap();
    let _ = server.handle_input(ms(0), &[0x89, 0x80, 0, 0, 0, 0]);
    assert_head_first(&flush(&mut server, ms(0)));
}

#[test]
fn the_head_of_the_answer_goes_before_a_failing_close() {
    let mut server = asked(Arc::new(Config::default()));
    server.accept(ms(0), &Accept::new()).unwrap();
    let _ = server.handle_input(ms(0), &[0x83, 0x80, 0, 0, 0, 0]);
    assert_head_first(&flush(&mut server, ms(0)));
}

#[test]
fn the_head_of_the_answer_goes_before_the_heartbeats_ping() {
    let heartbeat = HeartbeatConfig::ping(Duration::from_millis(1), Duration::from_secs(1));
    let mut server = asked(Arc::new(
        Config::builder().heartbeat(heartbeat).build().unwrap(),
    ));
    server.accept(ms(0), &Accept::new()).unwrap();
    server.handle_timeout(ms(1));
    assert_head_first(&flush(&mut server, ms(1)));
}

struct Random(u64);
impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

fn message(random: &mut Random) -> Message {
    let len = match random.below(8) {
        0 => 0,
        1 => 1,
        2 => 125 + random.below(3),
        3 => 4_094 + random.below(5),
        4 => 16_382 + random.below(5),
        5 => 65_530 + random.below(12),
        6 => random.below(200_000),
        _ => random.below(300),
    } as usize;
    if random.below(2) == 0 {
        Message::from("x".repeat(len))
    } else {
        Message::from(vec![random.below(256) as u8; len])
    }
}

/// One that shares nothing: it is the connection's alone.
fn copy(message: &Message) -> Message {
    match message {
        Message::Text(text) => String::from(&**text).into(),
        Message::Binary(data) => data.to_vec().into(),
    }
}

/// Any calls at either end: neither holds more than it may, the other end never sees a protocol error, and gets what was queued, in
/// order; buffered_amount ends at zero.
#[test]
fn any_interleaving_keeps_order_and_rfc_5_4() {
    for seed in 0..300_u64 {
        run(seed);
    }
}

fn run(seed: u64) {
    let mut random = Random(seed);
    let asks = random.below(3);
    let frame = match random.below(4) {
        0 => None,
        1 => Some(1_000),
        2 => Some(64 << 10),
        _ => Some(100_000),
    };
    let config = |side: u64| {
        let heartbeat = HeartbeatConfig::ping(
            Duration::from_millis(5 + seed % 50),
            Duration::from_secs(10_000),
        );
        let mut builder = Config::builder()
            .heartbeat(heartbeat)
            .max_outgoing_frame(frame)
            .max_buffered_amount(1 << 22)
            .report_control(seed.is_multiple_of(7));
        if asks == 1 {
            builder = builder.application_heartbeat(if side == 0 {
                ApplicationHeartbeat::ask("hb-ask", "hb-answer")
            } else {
                ApplicationHeartbeat::answer("hb-ask", "hb-answer")
            });
        }
        Arc::new(builder.build().unwrap())
    };
    let role = if seed.is_multiple_of(2) {
        Role::Client
    } else {
        Role::Server
    };
    let other = if seed.is_multiple_of(2) {
        Role::Server
    } else {
        Role::Client
    };
    let mut meters = [Meter::new(), Meter::new()];
    let mut ends = [
        Connection::from_upgrade(role, config(0), Seed::predictable_for_tests(seed), ms(0)),
        Connection::from_upgrade(
            other,
            config(1),
            Seed::predictable_for_tests(seed + 1),
            ms(0),
        ),
    ];
    let mut pipes = [VecDeque::new(), VecDeque::new()];
    let mut expected: [VecDeque<Message>; 2] = Default::default();
    let mut partial: [Option<(bool, Vec<u8>)>; 2] = [None, None];
    let mut over = [0, 0];
    let mut now = 0;
    let mut closing = false;
    for step in 0..400 {
        let e = random.below(2) as usize;
        now += random.below(4);
        let t = ms(now);
        match random.below(10) {
            0 | 1 => {
                let m = message(&mut random);
                meters[e].expect(m.len());
                if meters[e].call(&mut ends[e], |end| end.send(copy(&m)).is_ok()) {
                    expected[e].push_back(m);
                }
            }
            2 => {
                let m = message(&mut random);
                let last = random.below(3) == 0;
                let before = partial[e].clone();
                meters[e].expect(m.len());
                if meters[e].call(&mut ends[e], |end| end.send_part(copy(&m), last).is_ok()) {
                    let mut whole = before.unwrap_or((m.is_text(), Vec::new()));
                    whole.1.extend_from_slice(m.as_bytes());
                    if last {
                        partial[e] = None;
                        expected[e].push_back(if whole.0 {
                            Message::from(String::from_utf8(whole.1).unwrap())
                        } else {
                            Message::from(whole.1)
                        });
                    } else {
                        partial[e] = Some(whole);
                    }
                }
            }
            3 => {
                let payload = &[7; 125][..random.below(126) as usize];
                let _ = meters[e].call(&mut ends[e], |end| end.ping(payload));
            }
            4 => {
                meters[e].call(&mut ends[e], |end| {
                    end.handle_timeout(t);
                    end.handle_would_block(t);
                });
            }
            5 if step > 300 && random.below(5) == 0 => {
                ends[e].close(t, CloseCode::NORMAL, "bye").unwrap();
                closing = true;
            }
            _ => {}
        }
        pump(
            &mut ends,
            &mut meters,
            &mut pipes,
            &mut expected,
            &mut over,
            &mut random,
            e,
            t,
            seed,
            asks == 1,
        );
    }
    for end in 0..2 {
        if let Some((text, mut bytes)) = partial[end].take() {
            let part = if text {
                Message::from("e")
            } else {
                Message::from(&b"e"[..])
            };
            if meters[end].call(&mut ends[end], |end| {
                end.send_part(copy(&part), true).is_ok()
            }) {
                bytes.push(b'e');
                expected[end].push_back(if text {
                    Message::from(String::from_utf8(bytes).unwrap())
                } else {
                    Message::from(bytes)
                });
            } else {
                assert!(
                    ends[end].state() != wspulse_core::State::Open,
                    "seed {seed}"
                );
            }
        }
    }
    for _ in 0..3_000 {
        for e in 0..2 {
            pump(
                &mut ends,
                &mut meters,
                &mut pipes,
                &mut expected,
                &mut over,
                &mut random,
                e,
                ms(now),
                seed,
                asks == 1,
            );
        }
        let busy = ends.iter().any(Connection::wants_write) || pipes.iter().any(|p| !p.is_empty());
        if !busy {
            break;
        }
    }
    if !closing {
        for e in 0..2 {
            assert!(
                expected[e].is_empty(),
                "seed {seed}: {:?} never came",
                expected[e]
            );
            assert_eq!(ends[e].buffered_amount(), 0, "seed {seed}");
            assert_eq!(ends[e].state(), wspulse_core::State::Open, "seed {seed}");
        }
    }
}

#[allow(clippy::too_many_arguments)]
fn pump(
    ends: &mut [Connection; 2],
    meters: &mut [Meter; 2],
    pipes: &mut [VecDeque<u8>; 2],
    expected: &mut [VecDeque<Message>; 2],
    over: &mut [u32; 2],
    random: &mut Random,
    e: usize,
    t: Instant,
    seed: u64,
    _asks: bool,
) {
    // Write some: what is lent twice is the same.
    meters[e].call(&mut ends[e], |end| end.poll_transmit().is_some());
    if let Some(transmit) = ends[e].poll_transmit() {
        let lent: Vec<u8> = transmit.chunks().flatten().copied().collect();
        let n = match random.below(4) {
            0 => 0,
            1 => random.below(lent.len() as u64 + 1) as usize,
            _ => lent.len(),
        };
        let again: Vec<u8> = ends[e]
            .poll_transmit()
            .unwrap()
            .chunks()
            .flatten()
            .copied()
            .collect();
        assert_eq!(lent, again, "seed {seed}");
        pipes[e].extend(&lent[..n]);
        meters[e].call(&mut ends[e], |end| end.handle_transmitted(t, n));
    }
    // Read some of the other's.
    let from = 1 - e;
    let cut = random.below(70_000) as usize;
    let mut input: Vec<u8> = pipes[from].iter().take(cut).copied().collect();
    let mut rounds = 0;
    loop {
        let wants = ends[e].wants_read();
        let taken = meters[e].input(&mut ends[e], t, &input);
        if wants && !input.is_empty() {
            assert!(taken > 0, "seed {seed}: nothing taken");
        }
        pipes[from].drain(..taken);
        input.drain(..taken);
        rounds += 1;
        assert!(rounds < 200_000);
        let mut any = false;
        while let Some(event) = meters[e].call(&mut ends[e], Connection::poll_event) {
            any = true;
            assert_eq!(over[e], 0, "seed {seed}: {event:?} behind Closed");
            match event {
                Event::Closed(closed) => {
                    over[e] += 1;
                    assert!(
                        !matches!(closed.cause, Cause::Protocol(_) | Cause::Limit(_)),
                        "seed {seed}: {closed}"
                    );
                    meters[e].call(&mut ends[e], |_| drop(closed));
                }
                Event::Text(_) | Event::Binary(_) => {
                    let m = Message::try_from(event).unwrap();
                    let want = expected[from].pop_front();
                    assert_eq!(Some(&m), want.as_ref(), "seed {seed}");
                    meters[e].call(&mut ends[e], |_| drop(m));
                }
                other => meters[e].call(&mut ends[e], |_| drop(other)),
            }
        }
        if !any && (input.is_empty() || !ends[e].wants_read()) {
            break;
        }
    }
    if over[e] > 0 {
        assert!(ends[e].poll_transmit().is_none() && ends[e].poll_timeout().is_none());
    }
}
