//! Any history, however strange, and then a promise.

use std::sync::Arc;
use std::time::Duration;

use wspulse_core::frame::{FrameDecoder, FrameEvent, FrameRules, Opcode};
use wspulse_core::heartbeat::{
    Evidence, Heartbeat, HeartbeatConfig, HeartbeatEvent, Mode, PingPayload,
};
use wspulse_core::{CloseCode, Config, Connection, Delivery, Event, Instant, Role, Seed};
use wspulse_tests::alloc::Counting;
use wspulse_tests::meter::{HeartbeatMeter, Meter};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Random(u64);
impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}
fn ms(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn policy(random: &mut Random) -> (HeartbeatConfig, Duration) {
    let spans = [100, 1_000, 5_000, 20_000, 60_000].map(Duration::from_millis);
    let interval = random.pick(&spans);
    let timeout = random.pick(&spans);
    let stall = random.pick(&spans);
    let mode = random.pick(&[Mode::Idle, Mode::Idle, Mode::Periodic, Mode::Passive]);
    let mut evidence = random.pick(&[
        Evidence::AnyByte,
        Evidence::AnyByte,
        Evidence::AnyFrame,
        Evidence::MatchingPong,
    ]);
    if mode == Mode::Passive && evidence == Evidence::MatchingPong {
        evidence = Evidence::AnyByte;
    }
    let config = HeartbeatConfig::ping(interval, timeout)
        .mode(mode)
        .evidence(evidence)
        .write_stall_timeout(stall);
    let bound = interval + timeout + stall;
    (config, bound)
}

/// Any calls with a clock that jumps, of which none makes it hold more than its configuration
/// and its boxed part; returns the heartbeat, its policy and bound, the last time, a ping in the
/// wire, and whether it died.
fn history(
    random: &mut Random,
) -> (
    Heartbeat,
    HeartbeatConfig,
    Duration,
    u64,
    Option<PingPayload>,
    bool,
) {
    let (mut config, mut bound) = policy(random);
    let mut heap = HeartbeatMeter::new();
    let seed = random.below(1 << 40);
    let made = heap.call(|| Heartbeat::new(config, seed, Instant::ZERO));
    let mut heartbeat = made.unwrap();
    let mut now = 0;
    let mut wire: Option<PingPayload> = None;
    let mut last_ping: Option<PingPayload> = None;
    let mut dead = false;
    for _ in 0..random.below(60) {
        now += match random.below(6) {
            0 => 0,
            1 => random.below(10),
            2 => random.below(1_000),
            3 => random.below(30_000),
            4 => random.below(200_000),
            _ => heartbeat
                .poll_timeout()
                .map_or(0, |at| (at.as_nanos() / 1_000_000 + 1).saturating_sub(now)),
        };
        let t = if random.below(10) == 0 {
            ms(now / 2)
        } else {
            ms(now)
        };
        heap.call(|| match random.below(12) {
            0 => heartbeat.handle_received(t),
            1 => {
                heartbeat.handle_received(t);
                heartbeat.handle_frame(t);
            }
            2 => {
                if wire.is_none()
                    && let Some(ping) = last_ping
                {
                    heartbeat.handle_received(t);
                    heartbeat.handle_frame(t);
                    heartbeat.handle_pong(t, &ping);
                }
            }
            3 | 4 => heartbeat.handle_would_block(t),
            5 | 6 => heartbeat.handle_timeout(t),
            7 => {
                if let Some(ping) = heartbeat.poll_ping() {
                    wire = Some(ping);
                }
            }
            8 => {
                let blocked = random.below(2) == 0;
                let taken = random.pick(&[0, 1, 1_000, 65_536, 10_000_000]);
                heartbeat.handle_transmitted(t, taken, blocked);
            }
            9 => {
                if let Some(ping) = wire.take() {
                    heartbeat.handle_transmitted(t, 10, false);
                    heartbeat.handle_ping_sent(t);
                    last_ping = Some(ping);
                }
            }
            10 => heartbeat.handle_resumed(t),
            _ => {
                if random.below(4) == 0 {
                    (config, bound) = policy(random);
                    heartbeat.set_config(t, config).unwrap();
                }
            }
        });
        if heartbeat.poll_timeout().is_none() && heartbeat.wants_ping() { /* waits for us */ }
        while let Some(event) = heap.call(|| heartbeat.poll_event()) {
            dead |= matches!(event, HeartbeatEvent::Dead(_));
        }
    }
    (heartbeat, config, bound, now, wire, dead)
}

fn is_dead(heartbeat: &mut Heartbeat) -> bool {
    let mut dead = false;
    while let Some(event) = heartbeat.poll_event() {
        dead |= matches!(event, HeartbeatEvent::Dead(_));
    }
    dead
}

/// After any history, a prompt host finds a silent peer dead within interval + timeout + stall.
#[test]
fn any_history_then_silence_is_found() {
    for seed in 0..60_000 {
        let random = &mut Random(seed);
        let (mut heartbeat, config, bound, now, mut wire, mut dead) = history(random);
        let start = ms(now);
        let mut t = start;
        let mut turns = 0;
        // The host notices where it is, then is prompt.
        loop {
            heartbeat.handle_would_block(t);
            heartbeat.handle_timeout(t);
            if turns == 0 && wire.is_none() {
                heartbeat.handle_transmitted(t, 10, false); // nothing is stuck
            }
            if let Some(ping) = heartbeat.poll_ping() {
                wire = Some(ping);
            }
            if wire.take().is_some() {
                heartbeat.handle_transmitted(t, 10, false);
                heartbeat.handle_ping_sent(t);
            }
            dead |= is_dead(&mut heartbeat);
            if dead || heartbeat.poll_timeout().is_none() {
                break;
            }
            turns += 1;
            assert!(turns < 5_000, "seed {seed}: spins");
            let next = heartbeat.poll_timeout().unwrap();
            assert!(next > t, "seed {seed}");
            t = next;
        }
        let took = t.saturating_duration_since(start);
        let snapshot = heartbeat.snapshot(t);
        // Dead before phase 2, or dead now: no deadline and no ping.
        heartbeat.handle_timeout(ms(u64::MAX / 2_000_000));
        assert!(
            !heartbeat.wants_ping() && heartbeat.poll_timeout().is_none(),
            "seed {seed}: not dead: {config:?} {snapshot:?} after {took:?}"
        );
        assert!(
            took <= bound + Duration::from_millis(1),
            "seed {seed}: {took:?} > {bound:?}, {config:?}"
        );
        assert!(
            dead,
            "seed {seed}: no deadline, not dead: {config:?} {snapshot:?} {heartbeat:?}"
        );
    }
}

/// After any history that did not kill, a prompt host and a prompt peer live.
#[test]
fn any_history_then_a_healthy_peer_lives() {
    for seed in 0..40_000 {
        let random = &mut Random(seed);
        let (mut heartbeat, config, _, now, mut wire, _) = history(random);
        let mut t = ms(now);
        // The first drive: a full read (the peer's pong to whatever is out, and would block).
        let before = format!("{heartbeat:?}");
        heartbeat.handle_received(t);
        heartbeat.handle_frame(t);
        heartbeat.handle_transmitted(t, 10, false);
        if is_dead(&mut heartbeat) || before.contains("Dead") {
            continue;
        }
        let latest = {
            // The peer answers a ping that is out.
            let snapshot = heartbeat.snapshot(t);
            snapshot.awaiting.is_some()
        };
        if latest && config_is_strict(&config) {
            continue;
        }
        for turn in 0..60 {
            if turn > 0 || wire.is_none() {
                heartbeat.handle_would_block(t);
            }
            heartbeat.handle_timeout(t);
            if let Some(ping) = heartbeat.poll_ping() {
                wire = Some(ping);
            }
            if let Some(ping) = wire.take() {
                heartbeat.handle_transmitted(t, 10, false);
                heartbeat.handle_ping_sent(t);
                heartbeat.handle_received(t);
                heartbeat.handle_frame(t);
                heartbeat.handle_pong(t, &ping);
            }
            assert!(
                !is_dead(&mut heartbeat),
                "seed {seed}: {config:?} at turn {turn}: {before}"
            );
            let Some(next) = heartbeat.poll_timeout() else {
                break;
            };
            assert!(next > t, "seed {seed}");
            t = next;
            if format!("{config:?}").contains("Passive") {
                heartbeat.handle_received(t);
                heartbeat.handle_frame(t);
            }
        }
        assert!(
            heartbeat.poll_timeout().is_some(),
            "seed {seed}: alive without a deadline: {heartbeat:?}"
        );
    }
}
fn config_is_strict(config: &HeartbeatConfig) -> bool {
    format!("{config:?}").contains("MatchingPong")
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    bytes.extend_from_slice(payload);
    bytes
}

/// A server and a hostile script: one Closed, last; nothing behind our Close; frames whole and never
/// interleaved; deadlines later than handle_timeout; an open or closing connection has a deadline.
/// Whatever is called, the end is told once, no frame is illegal and the heap stays within its
/// budget.
#[test]
fn any_end_is_one_end() {
    for seed in 0..60_000 {
        let random = &mut Random(seed);
        let delivery = random.pick(&[Delivery::Messages, Delivery::Parts]);
        let config = Config::builder()
            .heartbeat(
                HeartbeatConfig::ping(Duration::from_secs(1), Duration::from_secs(2))
                    .write_stall_timeout(Duration::from_secs(3)),
            )
            .delivery(delivery)
            .max_outgoing_frame(random.pick(&[None, Some(7), Some(64 << 10)]))
            .message_timeout(random.pick(&[Duration::MAX, Duration::from_secs(2)]))
            .idle_timeout(random.pick(&[Duration::MAX, Duration::from_secs(4)]))
            .max_age(random.pick(&[Duration::MAX, Duration::from_secs(9)]))
            .report_control(random.below(2) == 0)
            .build()
            .unwrap();
        let mut connection = Connection::from_upgrade(
            Role::Server,
            Arc::new(config),
            Seed::predictable_for_tests(seed),
            ms(0),
        );
        let mut meter = Meter::new();
        meter.expect(300_000);
        let mut decoder = FrameDecoder::new(FrameRules::from_peer_of(Role::Client));
        let mut said_close = false;
        let mut in_message = false;
        let mut now = 0;
        let mut seen_closed = false;
        let mut was_aborted = false;
        for _ in 0..120 {
            now += random.pick(&[0, 0, 1, 10, 500, 1_500, 9_000]);
            let t = ms(now);
            meter.call(&mut connection, |connection| match random.below(16) {
                0 => drop(connection.send(vec![1; random.pick(&[0, 1, 5_000, 70_000, 300_000])])),
                1 => drop(connection.send_part(
                    vec![1; random.pick(&[0, 1, 5_000, 70_000])],
                    random.below(3) == 0,
                )),
                2 => drop(connection.ping(b"x")),
                3 if random.below(6) == 0 => drop(connection.close(t, CloseCode::NORMAL, "")),
                4 if random.below(12) == 0 => {
                    connection.abort(t);
                    was_aborted = true;
                }
                5 if random.below(8) == 0 => connection.handle_eof(t),
                6 => connection.handle_would_block(t),
                7 | 8 => {
                    connection.handle_timeout(t);
                    assert!(
                        connection.poll_timeout().is_none_or(|at| at > t),
                        "seed {seed}"
                    );
                }
                9 | 10 => {
                    let input = match random.below(14) {
                        0 => frame(0x88, b"\x03\xe8"),
                        1 => frame(0x88, b""),
                        2 => frame(0x83, b""),
                        3 => frame(0x81, b"\xff"),
                        4 => frame(0x80, b"stray"),
                        5 => frame(0x01, b"be"),
                        6 => frame(0x00, b"mid"),
                        7 => frame(0x80, b"end"),
                        8 => frame(0x89, b"ping"),
                        9 => frame(0x8A, b"pong"),
                        10 => frame(0x82, b"\xff\xff"),
                        11 => vec![0x82],
                        12 => vec![0x82, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF],
                        _ => frame(0x81, b"text"),
                    };
                    let wanted = connection.wants_read();
                    let taken = connection.handle_input(t, &input);
                    assert!(!wanted || taken > 0, "seed {seed}");
                }
                11 => drop(
                    connection.set_heartbeat(t, HeartbeatConfig::passive(Duration::from_secs(3))),
                ),
                12 => connection.handle_resumed(t),
                _ => {}
            });
            if random.below(2) == 0 {
                let wanted = connection.wants_write();
                meter.call(&mut connection, |it| it.poll_transmit().is_some());
                let lent: Option<Vec<u8>> = connection
                    .poll_transmit()
                    .map(|transmit| transmit.chunks().flatten().copied().collect());
                assert_eq!(wanted, lent.is_some(), "seed {seed}");
                if let Some(lent) = lent {
                    assert!(!lent.is_empty());
                    let n = random.pick(&[
                        0,
                        1,
                        lent.len() / 2,
                        lent.len(),
                        lent.len(),
                        lent.len() + 9,
                    ]);
                    meter.call(&mut connection, |it| it.handle_transmitted(t, n));
                    let mut rest = &lent[..n.min(lent.len())];
                    while let Some(event) = decoder.decode(&mut rest).unwrap() {
                        let FrameEvent::Header(header) = event else {
                            continue;
                        };
                        assert!(!said_close, "seed {seed}: {header:?} behind Close");
                        match header.opcode() {
                            Opcode::Close => said_close = true,
                            Opcode::Text | Opcode::Binary => {
                                assert!(!in_message, "seed {seed}: interleaved");
                                in_message = !header.fin();
                            }
                            Opcode::Continuation => {
                                assert!(in_message, "seed {seed}: stray");
                                in_message = !header.fin();
                            }
                            _ => {}
                        }
                    }
                }
            }
            if random.below(2) == 0 {
                while let Some(event) = meter.call(&mut connection, Connection::poll_event) {
                    assert!(!seen_closed, "seed {seed}: {event:?} behind Closed");
                    if let Event::Closed(closed) = &event {
                        seen_closed = true;
                        if !was_aborted {
                            assert_eq!(
                                closed.clean,
                                closed.sent.is_some() && closed.received.is_some()
                            );
                        }
                        assert!(closed.sent.is_none() || said_close, "seed {seed}");
                    }
                    meter.call(&mut connection, |_| drop(event));
                }
            }
            if !seen_closed && connection.state() == wspulse_core::State::Closed {
                continue;
            }
            assert!(
                connection.poll_timeout().is_some() || connection.wants_write() || seen_closed,
                "seed {seed}: nothing will wake it in {:?}",
                connection.state()
            );
        }
        // Left alone with prompt drives and a dead peer: it ends.
        let mut turns = 0;
        while !seen_closed {
            let t = ms(now);
            while let Some(n) = connection.poll_transmit().map(|transmit| transmit.len()) {
                connection.handle_transmitted(t, n);
            }
            connection.handle_would_block(t);
            connection.handle_timeout(t);
            for _ in 0..10 {
                if matches!(connection.poll_event(), Some(Event::Closed(_))) {
                    seen_closed = true;
                }
            }
            if let Some(at) = connection.poll_timeout() {
                now = now.max(at.as_nanos().div_ceil(1_000_000));
            }
            turns += 1;
            assert!(
                turns < 1_000,
                "seed {seed}: never ends, {:?} {:?}",
                connection.state(),
                connection.poll_timeout()
            );
        }
    }
}

/// A whole connection, both ends prompt, one end changes its policy at random, pauses at random, and
/// the wire has a delay: nobody dies. The pong never comes before the write is reported.
#[test]
fn any_policy_changes_and_pauses_kill_no_healthy_peer() {
    for seed in 0..20_000_u64 {
        let random = &mut Random(seed);
        let start = loop {
            let (config, _) = policy(random);
            if !format!("{config:?}").contains("Passive") {
                break config;
            }
        };
        let mut heartbeat = Heartbeat::new(start, seed, Instant::ZERO).unwrap();
        let delay = random.pick(&[0, 1, 20, 49]);
        let mut now = 0_u64;
        let mut back: Vec<(u64, PingPayload)> = Vec::new();
        for _ in 0..200 {
            // The host wakes for its deadline or for an answer, or sleeps too long.
            let due = heartbeat
                .poll_timeout()
                .map(|at| at.as_nanos().div_ceil(1_000_000));
            let answer = back.first().map(|(at, _)| *at);
            let mut next = due.unwrap_or(u64::MAX).min(answer.unwrap_or(u64::MAX));
            if next == u64::MAX {
                next = now + 1_000;
            }
            now = now.max(next);
            let paused = random.below(10) == 0;
            if paused {
                now += random.pick(&[60, 1_000, 4_000, 30_000, 500_000]);
            }
            let t = ms(now);
            while back.first().is_some_and(|(at, _)| *at <= now) {
                let (_, ping) = back.remove(0);
                heartbeat.handle_received(t);
                heartbeat.handle_pong(t, &ping);
                heartbeat.handle_frame(t);
            }
            heartbeat.handle_would_block(t);
            if heartbeat.poll_timeout().is_some_and(|at| at <= t) {
                heartbeat.handle_timeout(t);
            }
            if random.below(10) == 0 {
                let config = loop {
                    let (config, _) = policy(random);
                    if !format!("{config:?}").contains("Passive") {
                        break config;
                    }
                };
                heartbeat.set_config(t, config).unwrap();
            }
            if random.below(20) == 0 {
                heartbeat.handle_resumed(t);
            }
            if random.below(5) == 0 {
                heartbeat.handle_transmitted(t, 1_000, random.below(3) == 0);
                heartbeat.handle_transmitted(t, 100, false);
            }
            if let Some(ping) = heartbeat.poll_ping() {
                heartbeat.handle_transmitted(t, 10, false);
                heartbeat.handle_ping_sent(t);
                back.push((now + delay, ping));
            }
            assert!(
                !is_dead(&mut heartbeat),
                "seed {seed} at {t:?}, delay {delay}: {heartbeat:?}"
            );
            if let Some(rtt) = heartbeat.snapshot(t).rtt {
                assert!(
                    rtt.min() >= Duration::from_millis(delay) || delay == 0,
                    "seed {seed}: a sample of {:?}, delay {delay}",
                    rtt.min()
                );
            }
        }
        assert!(
            heartbeat.poll_timeout().is_some() || heartbeat.wants_ping(),
            "seed {seed}"
        );
    }
}
