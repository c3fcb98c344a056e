//! Nine situations that kill healthy connections, or leave dead ones standing, in one library or
//! another. Here in virtual time, with exact instants, on both sides; ping interval and pong
//! timeout are one second.

use std::time::Duration;

use wspulse_core::heartbeat::{DeadReason, Evidence, HeartbeatConfig};
use wspulse_core::{Cause, Config, Initiator, Instant, Message, Role};
use wspulse_tests::check::Checked;
use wspulse_tests::host::{Host, Spell, SpellKind};
use wspulse_tests::kit::{at, host, ms, open, ping};
use wspulse_tests::peer::{Answer, Peer};
use wspulse_tests::pipe::PipeConfig;
use wspulse_tests::sim::World;
use wspulse_tests::wire::{frame, header, opcode};

const ROLES: [Role; 2] = [Role::Server, Role::Client];

/// Both scenarios' window.
const WINDOW: Instant = at(8_000);

fn pipe(latency: u64) -> PipeConfig {
    PipeConfig {
        latency: ms(latency),
        ..PipeConfig::default()
    }
}

fn against(host: Host, peer: Peer) -> World<Host, Peer> {
    World::new(host, peer, pipe(10), pipe(10))
}

fn assert_alive(world: &World<Host, Peer>) {
    assert!(
        world.a.conn().closed().is_none(),
        "{:?}",
        world.a.conn().closed()
    );
    assert!(!world.a.conn().pings().is_empty(), "no ping was sent");
}

/// Dead at `when`, suspected before, and told so.
#[track_caller]
fn assert_dead(world: &World<Host, Peer>, when: Instant, silence: Duration) {
    let (closed_at, closed) = world.a.conn().closed().expect("dead");
    assert_eq!(closed.cause, Cause::Dead(DeadReason::PongTimeout));
    assert_eq!(closed.initiator, Initiator::Local);
    assert_eq!((closed_at, closed.silence), (when, silence));
    assert_eq!(world.a.conn().suspicions(), 1);
    assert_eq!(
        world.a.conn().suspected(),
        Some(when.saturating_sub(ms(500)))
    );
    assert_eq!(closed.sent.map(|code| code.as_u16()), Some(1011));
}

/// The application does not read for seven seconds while 6.5 MB wait, the pong behind them.
#[test]
fn noread() {
    for role in ROLES {
        let mut host = host(role, ping(1_000, 1_000));
        let from = at(100);
        host.spells = vec![Spell {
            from,
            to: at(7_100),
            kind: SpellKind::NotReading,
        }];
        let mut peer = Peer::new(role.peer());
        let message = frame(role.peer(), opcode::BINARY, &[1; 65_000]);
        (0..100).for_each(|_| peer.write_at(at(100), message.clone()));
        let big = PipeConfig {
            receive_buffer: 1 << 20,
            send_buffer: 8 << 20,
            ..pipe(10)
        };
        let mut world = World::new(host, peer, pipe(10), big);
        world.run_until(WINDOW);
        assert_alive(&world);
        assert_eq!(world.a.received().len(), 100);
        // One ping while nobody read; its answer lay behind everything, and came.
        let pings = world.a.conn().pings();
        assert_eq!(pings[0], at(1_000));
        assert!(pings[1] > at(7_100), "{pings:?}");
        assert_eq!(world.a.conn().suspicions(), 0);
    }
}

/// The peer streams one frame of 4 MiB, 64 KiB every 100 ms; pongs come only after it.
#[test]
fn slowmsg() {
    for role in ROLES {
        let host = host(role, ping(1_000, 1_000));
        let mut peer = Peer::new(role.peer());
        let mask = (role == Role::Server).then_some([0; 4]);
        let mut bytes = header(true, 0, opcode::BINARY, mask, 4 << 20);
        bytes.extend(vec![1; 4 << 20]);
        for (index, chunk) in bytes.chunks(64 << 10).enumerate() {
            peer.write_at(at(50 + 100 * index as u64), chunk.to_vec());
        }
        peer.answer_from = at(6_500);
        let mut world = against(host, peer);
        world.run_until(WINDOW);
        assert_alive(&world);
        assert_eq!(world.a.received(), &[Message::from(vec![1; 4 << 20])]);
        // Nothing goes out for a second: a ping each second, whatever comes in.
        let first = [
            at(1_000),
            at(2_000),
            at(3_000),
            at(4_000),
            at(5_000),
            at(6_000),
        ];
        assert_eq!(world.a.conn().pings()[..6], first);
        assert_eq!(world.a.conn().suspicions(), 0);
    }
}

/// The local process does not run for 1.5 s, again and again; the peer's pongs take 50 ms.
#[test]
fn stall() {
    for role in ROLES {
        let mut host = host(role, ping(1_000, 1_000));
        let stall = |from: u64| Spell {
            from: at(from),
            to: at(from + 1_500),
            kind: SpellKind::Paused,
        };
        host.spells = vec![stall(1_001), stall(3_020), stall(5_030)];
        let mut peer = Peer::new(role.peer());
        peer.answer_after = ms(30);
        let mut world = against(host, peer);
        world.run_until(WINDOW);
        assert_alive(&world);
        assert!(
            world.a.conn().local_pauses(WINDOW) >= 2,
            "the pauses were noticed"
        );
        assert_eq!(world.a.conn().suspicions(), 0);
    }
}

/// 16 MiB to a peer that reads 2 MB/s, and answers each ping at once when it sees it.
#[test]
fn backlog() {
    for role in ROLES {
        // The extension may be as long as the backlog needs.
        let heartbeat = ping(1_000, 1_000).write_stall_timeout(ms(30_000));
        let mut host = host(role, heartbeat);
        (0..1).for_each(|_| host.send(vec![7; 16 << 20]));
        let mut peer = Peer::new(role.peer());
        peer.read_rate = Some(2_000_000);
        let there = PipeConfig {
            send_buffer: 4 << 20,
            receive_buffer: 6 << 20,
            ..pipe(10)
        };
        let mut world = World::new(host, peer, there, pipe(10));
        world.run_until(at(12_000));
        assert_alive(&world);
        assert!(
            world.there.read_total() > 16 << 20,
            "{}",
            world.there.read_total()
        );
        // The pong of the first ping was more than four timeouts late, and nobody died.
        let heard = world
            .b
            .frames()
            .iter()
            .find(|(_, frame)| frame.opcode == opcode::PING);
        let late = heard
            .expect("read")
            .0
            .saturating_duration_since(world.a.conn().pings()[0]);
        assert!(late > ms(4_000), "{late:?}");
    }
}

/// Silence without a FIN: the one that must be killed, at interval + timeout to the nanosecond.
#[test]
fn dead() {
    for role in ROLES {
        let host = host(role, ping(1_000, 1_000));
        let mut peer = Peer::new(role.peer());
        peer.write_at(at(290), frame(role.peer(), opcode::TEXT, b"last words"));
        let hole = |latency| PipeConfig {
            black_hole: Some(at(400)),
            ..pipe(latency)
        };
        let mut host = host;
        host.traffic.next = Some(at(300));
        host.traffic.left = 1;
        let mut world = World::new(host, peer, hole(10), hole(10));
        world.run_until(WINDOW);
        assert_eq!(world.a.conn().pings(), [at(1_300)]);
        assert_dead(&world, at(2_300), ms(2_000));
    }
}

/// The peer answers with empty pongs. Bytes are life; a policy of matching pongs says otherwise.
#[test]
fn emptypong() {
    for role in ROLES {
        let mut peer = Peer::new(role.peer());
        peer.answer = Answer::Empty;
        let mut world = against(host(role, ping(1_000, 1_000)), peer);
        world.run_until(WINDOW);
        assert_alive(&world);
        let snapshot = |world: &mut World<Host, Peer>| {
            world.a.conn_mut().connection().snapshot(WINDOW).heartbeat
        };
        assert_eq!(snapshot(&mut world).rtt, None, "an empty pong is no sample");
        assert_eq!(world.a.conn().pings().len(), 8);

        let mut peer = Peer::new(role.peer());
        peer.answer = Answer::Empty;
        let strict = ping(1_000, 1_000).evidence(Evidence::MatchingPong);
        let mut world = against(host(role, strict), peer);
        world.run_until(WINDOW);
        assert_dead(&world, at(2_000), ms(980));
    }
}

/// No answers, but an unsolicited pong every 200 ms.
#[test]
fn unsol() {
    for role in ROLES {
        let babble = |evidence| {
            let mut peer = Peer::new(role.peer());
            peer.answer = Answer::Nothing;
            for n in 1..45 {
                peer.write_at(at(200 * n), frame(role.peer(), opcode::PONG, b"hello"));
            }
            let host = host(role, ping(1_000, 1_000).evidence(evidence));
            let mut world = against(host, peer);
            world.run_until(WINDOW);
            world
        };
        for evidence in [Evidence::AnyByte, Evidence::AnyFrame] {
            let mut world = babble(evidence);
            assert_alive(&world);
            let snapshot = world.a.conn_mut().connection().snapshot(WINDOW).heartbeat;
            assert_eq!((snapshot.rtt, snapshot.answered), (None, 0));
        }
        assert_dead(&babble(Evidence::MatchingPong), at(2_000), ms(190));
    }
}

/// Data every 200 ms, never a pong.
#[test]
fn datanopong() {
    for role in ROLES {
        let talk = |evidence| {
            let mut peer = Peer::new(role.peer());
            peer.answer = Answer::Nothing;
            for n in 1..45 {
                peer.write_at(at(200 * n), frame(role.peer(), opcode::TEXT, b"hello"));
            }
            let host = host(role, ping(1_000, 1_000).evidence(evidence));
            let mut world = against(host, peer);
            world.run_until(WINDOW);
            world
        };
        for evidence in [Evidence::AnyByte, Evidence::AnyFrame] {
            let world = talk(evidence);
            assert_alive(&world);
            assert_eq!(world.a.received().len(), 39);
        }
        assert_dead(&talk(Evidence::MatchingPong), at(2_000), ms(190));
    }
}

/// Pings of 125 bytes as fast as they go, from a peer that never reads.
#[test]
fn flood() {
    for role in ROLES {
        let heartbeat = HeartbeatConfig::ping(ms(1_000), ms(1_000)).write_stall_timeout(ms(3_000));
        let config = Config::builder()
            .heartbeat(heartbeat)
            .build()
            .expect("valid");
        let host = Host::new(Checked::open(open(role, &config.into()), Instant::ZERO), 1);
        let mut peer = Peer::new(role.peer());
        peer.read_rate = Some(0);
        let ping = frame(role.peer(), opcode::PING, &[0x55; 125]);
        peer.write_at(at(100), ping.repeat(200_000));
        let mut world = World::new(host, peer, pipe(10), pipe(10));
        let mut most = 0;
        let mut connection_held = 0;
        world.run_while(WINDOW, |world| {
            most = most.max(world.there.held());
            connection_held = connection_held.max(world.a.conn().buffered_amount());
            true
        });
        let (_, closed) = world.a.conn().closed().expect("a flood ends");
        let limit = wspulse_core::LimitExceeded::ControlFlood;
        assert_eq!(closed.cause, Cause::Limit(limit));
        assert!(most <= 128 << 10, "both kernels hold {most}");
        assert!(
            connection_held < 8 << 10,
            "the connection holds {connection_held}"
        );
    }
}
