//! Rules 5 to 9 and 15: when silence is held against the peer, and when it is not.

use std::time::Duration;

use wspulse_core::State;
use wspulse_core::heartbeat::{DeadReason, Heartbeat, HeartbeatConfig, HeartbeatEvent, Mode};
use wspulse_core::{Cause, Closed, Config, ConfigError, Connection, Event, Instant, Role, Seed};
use wspulse_tests::kit::{
    at, drain, drain_frames, events, feed, ms, open, ping, pings, silence, sleep, told, turn,
    with_heartbeat,
};
use wspulse_tests::wire::{frame, opcode};

fn server(heartbeat: HeartbeatConfig) -> Connection {
    open(Role::Server, &with_heartbeat(heartbeat))
}

fn ending(connection: &mut Connection) -> Option<Box<Closed>> {
    events(connection)
        .into_iter()
        .find_map(|event| match event {
            Event::Closed(closed) => Some(closed),
            _ => None,
        })
}

/// A transport that takes nothing for `write_stall_timeout` while output waits.
#[test]
fn rule_05_no_progress_is_its_own_death() {
    let mut server = server(ping(60_000, 60_000).write_stall_timeout(ms(3_000)));
    server.send(vec![1; 100_000]).unwrap();
    server.poll_transmit().unwrap();
    server.handle_transmitted(at(1_000), 500);
    for now in [1_500, 2_500, 3_500, 3_999] {
        server.handle_transmitted(at(now), 0);
        server.handle_would_block(at(now));
        server.handle_timeout(at(now));
        assert_eq!(server.state(), State::Open, "{now}");
    }
    server.handle_timeout(at(4_000));
    assert_eq!(server.state(), State::Open, "nobody has tried");
    server.handle_transmitted(at(4_000), 0);
    assert_eq!(
        server.state(),
        State::Closing,
        "three seconds without a byte"
    );
    sleep(&mut server, at(10_000));
    assert_eq!(
        ending(&mut server).unwrap().cause,
        Cause::Dead(DeadReason::WriteStalled)
    );
}

/// A byte each two seconds is progress.
#[test]
fn rule_05_progress_postpones() {
    let mut server = server(ping(60_000, 60_000).write_stall_timeout(ms(3_000)));
    server.send(vec![1; 100_000]).unwrap();
    for now in (0..120).map(|n| n * 2_000) {
        server.poll_transmit().unwrap();
        server.handle_transmitted(at(now), 1);
        feed(
            &mut server,
            at(now),
            &frame(Role::Client, opcode::PONG, b""),
        );
        server.handle_timeout(at(now));
    }
    assert_eq!(server.state(), State::Open);
}

/// A ping queued behind output that still drains has not left, and nobody is suspected.
#[test]
fn rule_05_expiry_waits_while_earlier_output_drains() {
    let mut server = server(ping(1_000, 1_000));
    server.send(vec![1; 60_000]).unwrap();
    for now in (0..10_000).step_by(500) {
        assert!(server.poll_transmit().unwrap().len() > 1_000);
        server.handle_transmitted(at(now), 1_000);
        server.handle_would_block(at(now));
        server.handle_timeout(at(now));
        assert!(events(&mut server).is_empty(), "{now}");
    }
}

/// Output at `rate` bytes per 100 ms into buffers of `depth` bytes, from time zero; then a ping.
/// Returns when it left and when the connection died.
fn behind(depth: usize, rate: usize, stall: u64) -> (Instant, Instant) {
    let mut server = server(ping(5_000, 2_000).write_stall_timeout(ms(stall)));
    let mut room = depth;
    let mut left = None;
    for now in (0..120_000).step_by(100).map(at) {
        // The far kernel takes bytes at a constant rate, and its application is gone.
        room += if now > at(0) { rate } else { 0 };
        while server.state() == State::Open && server.buffered_amount() < 500_000 {
            server.send(vec![1; 10_000]).unwrap();
        }
        server.handle_would_block(now);
        server.handle_timeout(now);
        while let Some(transmit) = server.poll_transmit() {
            let len = transmit.len();
            let bytes: Vec<u8> = transmit.chunks().flatten().copied().collect();
            let taken = len.min(room);
            room -= taken;
            // The ping's header, at a frame's beginning: unmistakable, as the payload is ones.
            let ping = bytes[..taken].windows(2).any(|window| window == [0x89, 16]);
            left = left.or(ping.then_some(now));
            server.handle_transmitted(now, taken);
            if taken < len {
                break;
            }
        }
        if let Some(closed) = ending(&mut server) {
            assert_eq!(closed.cause, Cause::Dead(DeadReason::PongTimeout));
            return (left.expect("the ping left"), now.saturating_sub(ms(250)));
        }
    }
    panic!("still alive");
}

/// A ping behind megabytes in the kernels has the time that they need, besides its own.
#[test]
fn rule_05_the_clock_is_extended_by_what_is_in_front_of_the_ping() {
    // 400 kB at 100 kB/s are four seconds, besides the timeout of two.
    let (left, dead) = behind(400_000, 10_000, 30_000);
    let waited = dead.saturating_duration_since(left);
    // No pong covered any of what was sent before, so all of it may stand there.
    assert!((ms(5_700)..=ms(32_000)).contains(&waited), "{waited:?}");
}

/// And the extension has a bound.
#[test]
fn rule_05_the_extension_stays_within_the_write_stall_timeout() {
    // Forty seconds' worth in front, and three allowed.
    let (left, dead) = behind(4_000_000, 10_000, 3_000);
    let waited = dead.saturating_duration_since(left);
    assert!((ms(4_700)..=ms(5_300)).contains(&waited), "{waited:?}");
}

/// That the transport takes what we write says nothing about the peer.
#[test]
fn rule_05_a_write_is_no_evidence_of_life() {
    let mut server = server(ping(1_000, 1_000));
    for now in (0..2_000).step_by(100) {
        server.send("are you there?").unwrap();
        turn(&mut server, at(now), &mut Vec::new());
    }
    assert_eq!(server.state(), State::Open);
    turn(&mut server, at(2_000), &mut Vec::new());
    assert_eq!(server.state(), State::Closed);
}

/// A server whose ping left at 1 s; its timeout is a second, and half of that a pause.
fn awaiting() -> Connection {
    let mut server = server(ping(1_000, 1_000));
    server.handle_timeout(at(1_000));
    assert_eq!(pings(&drain_frames(&mut server, at(1_000))).len(), 1);
    server
}

/// Time alone kills nobody: a read must have found nothing, at or after the deadline.
#[test]
fn rule_06_who_does_not_read_cannot_judge() {
    let mut server = awaiting();
    sleep(&mut server, at(1_500));
    server.handle_would_block(at(1_500));
    sleep(&mut server, at(1_999));
    server.handle_would_block(at(1_999));
    sleep(&mut server, at(9_000));
    assert_eq!(server.state(), State::Open, "no read since the deadline");
    server.handle_would_block(at(9_001));
    assert_ne!(server.state(), State::Open, "one, and it found nothing");
}

/// What fell due while we did not run kills nobody: one fresh ping, the full timeout.
#[test]
fn rule_06_our_own_pause_is_not_held_against_the_peer() {
    let mut server = awaiting();
    sleep(&mut server, at(1_500));
    let mut log = Vec::new();
    turn(&mut server, at(60_000), &mut log);
    assert_eq!(log, told(&[(60_000, "ping")]));
    assert_eq!(server.snapshot(at(60_000)).heartbeat.local_pauses, 1);
    let end = [
        (60_500, "suspect"),
        (61_000, "dead PongTimeout"),
        (61_000, "close 1011"),
    ];
    assert_eq!(silence(&mut server, at(90_000)), told(&end));
}

/// Every lateness is time in which nothing is counted, and none below a quarter of the timeout
/// grants more than that.
#[test]
fn rule_06_clocks_run_in_awake_time() {
    let mut server = awaiting();
    let mut log = Vec::new();
    // Suspicion was asked for at 1.5 s, and death comes at 2 s of awake time.
    turn(&mut server, at(1_700), &mut log);
    turn(&mut server, at(2_199), &mut log);
    assert_eq!(log, told(&[(1_700, "suspect")]));
    turn(&mut server, at(2_200), &mut log);
    assert_eq!(server.state(), State::Closed, "{log:?}");
    assert_eq!(server.snapshot(at(2_200)).heartbeat.local_pauses, 0);
}

/// T2: a host that sleeps and wakes in short turns finds a dead peer in at most five naps, however
/// late it is each time.
#[test]
fn rule_06_no_series_of_pauses_hides_a_death() {
    for (asleep, awake) in [
        (11_000, 5_000),
        (25_000, 5_000),
        (60_000, 15_000),
        (300_000, 19_000),
    ] {
        let mut server = server(ping(20_000, 20_000));
        let (mut now, mut naps) = (0, 0);
        while server.state() == State::Open {
            assert!(naps < 5, "{asleep}/{awake}: not found in {naps} naps");
            naps += 1;
            now += asleep;
            turn(&mut server, at(now), &mut Vec::new());
            silence(&mut server, at(now + awake));
            now += awake;
        }
    }
}

/// C3: a change of the policy as the first call after a pause counts the pause first.
#[test]
fn rule_06_a_change_first_after_our_pause_counts_it() {
    let mut server = server(ping(20_000, 20_000));
    turn(&mut server, at(20_000), &mut Vec::new());
    server
        .set_heartbeat(at(100_000), ping(100_000, 20_000))
        .unwrap();
    turn(&mut server, at(100_000), &mut Vec::new());
    assert_eq!(server.state(), State::Open);
    silence(&mut server, at(200_000));
    assert_eq!(server.state(), State::Closed);
}

/// P4: and so does a write that comes first.
#[test]
fn rule_06_a_write_first_after_our_pause_counts_it() {
    let mut server = server(ping(20_000, 20_000));
    turn(&mut server, at(20_000), &mut Vec::new());
    server.send("first").unwrap();
    drain(&mut server, at(100_000));
    turn(&mut server, at(100_000), &mut Vec::new());
    assert_eq!(server.state(), State::Open);
}

/// A judgement that is due and that nobody looked for is tried again after half of the timeout.
#[test]
fn rule_06_a_judgement_without_a_look_is_tried_again_after_half_a_timeout() {
    let mut server = awaiting();
    sleep(&mut server, at(2_000));
    assert_eq!(server.poll_timeout(), Some(at(2_500)));
}

/// No clock is armed further ahead than half of its length.
#[test]
fn rule_06_a_pause_that_ends_at_a_step_costs_half_a_clock() {
    let heartbeat = ping(5_000, 8_000).suspect_after(ms(7_000));
    let mut server = server(heartbeat);
    turn(&mut server, at(5_000), &mut Vec::new());
    assert_eq!(server.poll_timeout(), Some(at(9_000)));
    server.handle_timeout(at(9_000));
    assert_eq!(server.poll_timeout(), Some(at(10_000)), "an interval");
}

/// The same where the clock stands still in suspend, and somebody says so.
#[test]
fn rule_06_resumed_is_a_pause_that_the_clock_did_not_show() {
    let mut server = awaiting();
    sleep(&mut server, at(1_900));
    server.handle_resumed(at(1_900));
    let mut log = Vec::new();
    turn(&mut server, at(1_900), &mut log);
    assert_eq!(log, told(&[(1_900, "ping")]));
    let end = [
        (2_400, "suspect"),
        (2_900, "dead PongTimeout"),
        (2_900, "close 1011"),
    ];
    assert_eq!(silence(&mut server, at(90_000)), told(&end));
}

/// Half the timeout without life, then a byte; then silence for good.
#[test]
fn rule_07_suspect_before_dead_and_recovered() {
    let mut server = awaiting();
    assert_eq!(silence(&mut server, at(1_998)), told(&[(1_500, "suspect")]));
    let list = feed(&mut server, at(1_999), &[0x82]);
    assert!(matches!(list[..], [Event::Recovered]), "{list:?}");
    let end = silence(&mut server, at(60_000));
    let kinds: Vec<_> = end.iter().map(|(_, what)| &what[..]).collect();
    assert_eq!(kinds, ["ping", "suspect", "dead PongTimeout", "close 1011"]);
}

/// `suspect_after` says when.
#[test]
fn rule_07_suspicion_has_its_own_time() {
    let mut server = server(ping(1_000, 1_000).suspect_after(ms(100)));
    let end = [
        (1_000, "ping"),
        (1_100, "suspect"),
        (2_000, "dead PongTimeout"),
    ];
    assert_eq!(silence(&mut server, at(60_000))[..3], told(&end));
}

#[test]
fn rule_07_death_after_a_change_leaves_the_warning_its_time() {
    // C4: in force for a moment, and shorter than what has passed already.
    let mut server = server(ping(20_000, 20_000));
    turn(&mut server, at(20_000), &mut Vec::new());
    silence(&mut server, at(30_500));
    server
        .set_heartbeat(at(30_500), ping(5_000, 10_000))
        .unwrap();
    let end = told(&[(40_500, "dead PongTimeout"), (40_500, "close 1011")]);
    assert_eq!(silence(&mut server, at(90_000)), end, "suspected before");
    let mut server = self::server(HeartbeatConfig::passive(ms(60_000)));
    silence(&mut server, at(28_000));
    server
        .set_heartbeat(at(28_000), HeartbeatConfig::passive(ms(10_000)))
        .unwrap();
    let end = told(&[
        (33_000, "suspect"),
        (38_000, "dead Silence"),
        (38_000, "close 1011"),
    ]);
    assert_eq!(silence(&mut server, at(90_000)), end);
}

/// The last byte at 700 ms, something out at 800 ms: dead at interval + timeout after the byte.
#[test]
fn rule_08_silence_is_found_at_interval_plus_timeout() {
    for (interval, timeout) in [(1_000, 300), (1_000, 1_000), (1_000, 4_000)] {
        let mut server = server(ping(interval, timeout));
        feed(&mut server, at(700), &[0x82]);
        server.send("something").unwrap();
        drain(&mut server, at(800));
        let log = silence(&mut server, at(60_000));
        let dead = at(700 + interval + timeout);
        assert_eq!(log[0], (at(700 + interval), "ping".into()));
        assert!(log.contains(&(dead, "dead PongTimeout".into())), "{log:?}");
    }
}

/// A sign of life that comes when a suspicion was due, and nobody had looked, moves no deadline: the
/// one that is armed must not be later than the next suspicion.
#[test]
fn rule_08_a_sign_of_life_delays_no_later_suspicion() {
    let config = HeartbeatConfig::passive(ms(5_000)).suspect_after(ms(2_000));
    let mut heartbeat = Heartbeat::new(config, 1, at(0)).unwrap();
    while let Some(due) = heartbeat.poll_timeout()
        && due < at(3_000)
    {
        heartbeat.handle_timeout(due);
    }
    heartbeat.handle_received(at(2_600));
    let mut log = Vec::new();
    while let Some(due) = heartbeat.poll_timeout() {
        heartbeat.handle_would_block(due);
        heartbeat.handle_timeout(due);
        log.extend(heartbeat.poll_event().map(|event| (due, event)));
    }
    let dead = HeartbeatEvent::Dead(DeadReason::Silence);
    let end = [(at(4_600), HeartbeatEvent::Suspect), (at(7_600), dead)];
    assert_eq!(log, end);
}

/// Jitter moves the end forward only, and not before the timeout.
#[test]
fn rule_08_jitter_only_shortens() {
    for seed in 0..500 {
        let config = with_heartbeat(ping(1_000, 1_000).jitter_percent(50));
        let seed = Seed::predictable_for_tests(seed);
        let mut server = Connection::from_upgrade(Role::Server, config, seed, at(0));
        let log = silence(&mut server, at(60_000));
        let (dead, _) = log
            .iter()
            .find(|(_, what)| what.starts_with("dead"))
            .unwrap();
        assert!((at(1_500)..=at(2_000)).contains(dead), "{log:?}");
    }
}

/// Late by ten years: one ping, no burst, no verdict.
#[test]
fn rule_09_however_late_one_ping_and_one_change() {
    let years = Duration::from_secs(10 * 365 * 86_400);
    for mode in [Mode::Idle, Mode::Periodic] {
        let mut server = server(ping(1_000, 1_000).mode(mode));
        let late = at(1_000).saturating_add(years);
        let mut log = Vec::new();
        (0..5).for_each(|_| turn(&mut server, late, &mut log));
        assert_eq!(log, [(late, "ping".to_owned())]);
    }
}

/// `Duration::MAX` is never, and sums with it are too.
#[test]
fn rule_09_the_longest_duration_is_never() {
    let max = Duration::MAX;
    let forever = HeartbeatConfig::ping(max, max).write_stall_timeout(max);
    let mut patient = server(forever);
    assert_eq!(patient.poll_timeout(), None);
    turn(&mut patient, Instant::MAX, &mut Vec::new());
    assert_eq!(patient.state(), State::Open);

    let mut server = server(HeartbeatConfig::ping(ms(1_000), max).jitter_percent(0));
    turn(&mut server, at(1_000), &mut Vec::new());
    assert!(
        silence(&mut server, at(9_000_000)).is_empty(),
        "a ping that may wait for ever"
    );
}

/// What cannot work is refused when it is built.
#[test]
fn rule_09_nonsense_is_refused() {
    let zero = Duration::ZERO;
    let good = HeartbeatConfig::default();
    let cases = [
        (
            HeartbeatConfig::ping(zero, ms(1)),
            ConfigError::ZeroInterval,
        ),
        (HeartbeatConfig::ping(ms(1), zero), ConfigError::ZeroTimeout),
        (HeartbeatConfig::passive(zero), ConfigError::ZeroTimeout),
        (good.suspect_after(ms(20_001)), ConfigError::SuspectAfter),
        (good.suspect_after(zero), ConfigError::SuspectAfter),
        (good.write_stall_timeout(zero), ConfigError::ZeroDuration),
        (good.unread_timeout(zero), ConfigError::ZeroDuration),
        (good.jitter_percent(51), ConfigError::Jitter),
    ];
    for (heartbeat, error) in cases {
        let built = Config::builder().heartbeat(heartbeat).build();
        assert_eq!(built.err(), Some(error), "{heartbeat:?}");
        assert_eq!(
            Heartbeat::new(heartbeat, 1, at(0)).err(),
            Some(error),
            "{heartbeat:?}"
        );
        let mut server = server(good);
        assert_eq!(server.set_heartbeat(at(0), heartbeat), Err(error));
    }
}

/// Runs a server whose owner reads one byte at most, and says when it is told so or ends.
fn unread(heartbeat: HeartbeatConfig, mut read_at: Option<Instant>) -> Vec<(Instant, String)> {
    let mut server = server(heartbeat);
    let mut log = Vec::new();
    while let Some(due) = server.poll_timeout()
        && due < at(200_000_000)
    {
        if let Some(at) = read_at.take_if(|at| *at <= due) {
            assert_eq!(server.handle_input(at, &[0x82]), 1);
            continue;
        }
        server.handle_timeout(due);
        drain(&mut server, due);
        if server.state() != State::Open {
            server.handle_eof(due);
        }
        for event in events(&mut server) {
            log.push(match event {
                Event::NotRead => (due, "not read".into()),
                Event::Closed(closed) => (due, format!("{}", closed.cause)),
                other => panic!("{other:?}"),
            });
        }
    }
    log
}

/// Nobody reads, so nobody can say that the peer is dead: the end has a cause of its own, with the
/// default timers and short ones, also where nobody watches.
#[test]
fn rule_19_a_connection_that_nobody_reads_ends_at_the_unread_timeout() {
    let heartbeats = [
        HeartbeatConfig::default(),
        HeartbeatConfig::off(),
        HeartbeatConfig::passive(ms(3_000)),
        ping(1_000, 1_000),
    ];
    for heartbeat in heartbeats {
        for timeout in [500, 10_000, 86_400_000] {
            let heartbeat = heartbeat.unread_timeout(ms(timeout));
            let end = told(&[(timeout, "nothing was read for the unread timeout")]);
            assert_eq!(unread(heartbeat, None), end, "{heartbeat:?}");
            let read = Some(at(timeout / 2));
            let end = vec![(at(timeout + timeout / 2), end[0].1.clone())];
            assert_eq!(unread(heartbeat, read), end, "{heartbeat:?}, read once");
        }
    }
}

/// Without that timeout it is told, once, and nothing ends.
#[test]
fn rule_19_what_nobody_reads_is_told() {
    let told = told(&[(60_000, "not read")]);
    assert_eq!(unread(HeartbeatConfig::default(), None), told);
    assert!(unread(HeartbeatConfig::off(), None).is_empty());
}

/// Each send comes before the timer of its moment, and passes no deadline by.
#[test]
fn rule_19_a_program_that_only_sends_is_told_that_nobody_reads() {
    let run = |heartbeat: HeartbeatConfig| {
        let mut server = server(heartbeat);
        for now in (0..1_000).map(|tenth| at(tenth * 100)) {
            server.send("tick").unwrap();
            drain(&mut server, now);
            if server.poll_timeout().is_some_and(|due| due <= now) {
                server.handle_timeout(now);
            }
            let mut events = events(&mut server).into_iter();
            if server.state() != State::Open || events.any(|it| matches!(it, Event::NotRead)) {
                return (now, server.state());
            }
        }
        panic!("not told")
    };
    let unread = HeartbeatConfig::default();
    let cases = [
        (unread, 60_000, State::Open),
        (unread.unread_timeout(ms(70_000)), 70_000, State::Closing),
    ];
    for (heartbeat, time, state) in cases {
        let (told, is) = run(heartbeat);
        assert_eq!(is, state);
        // Each deadline is met by the next call, and the time up to then is awake time of nobody.
        assert!((at(time)..at(time + 400)).contains(&told), "{told:?}");
    }
}

/// Off, then on, then slower, then off.
#[test]
fn rule_15_the_policy_may_change_while_open() {
    let mut server = server(HeartbeatConfig::off());
    assert!(silence(&mut server, at(100_000)).is_empty());
    server
        .set_heartbeat(at(100_000), ping(1_000, 5_000))
        .unwrap();
    let mut log = Vec::new();
    turn(&mut server, at(100_000), &mut log);
    log.extend(silence(&mut server, at(102_000)));
    assert_eq!(
        log.len(),
        1,
        "a hundred seconds of silence are an interval: {log:?}"
    );
    assert_eq!(log[0].1, "ping");

    feed(&mut server, at(102_000), &[0x82]);
    server
        .set_heartbeat(at(102_000), ping(3_000, 5_000))
        .unwrap();
    server.send("out").unwrap();
    drain(&mut server, at(102_000));
    let log = silence(&mut server, at(105_000));
    assert_eq!(
        log,
        told(&[(105_000, "ping")]),
        "three seconds after the last byte"
    );

    server
        .set_heartbeat(at(105_500), HeartbeatConfig::off())
        .unwrap();
    let log = silence(&mut server, at(900_000));
    assert!(log.is_empty(), "no ping and no verdict: {log:?}");
    assert_eq!(server.state(), State::Open);
}

/// A change that cannot work changes nothing.
#[test]
fn rule_15_a_refused_policy_leaves_the_old_one() {
    let mut server = server(ping(1_000, 1_000));
    server.set_heartbeat(at(500), ping(0, 1)).unwrap_err();
    let end = [
        (1_000, "ping"),
        (1_500, "suspect"),
        (2_000, "dead PongTimeout"),
    ];
    assert_eq!(silence(&mut server, at(60_000))[..3], told(&end));
}
