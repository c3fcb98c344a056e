//! The situations.

use std::time::Duration;

use bytes::Bytes;
use wspulse_core::Cause;
use wspulse_core::heartbeat::{DeadReason, Evidence};
use wspulse_tests::kit::ms;
use wspulse_tests::net::{End, Manner, Note, Outcome, Script};

use crate::scene::{Scene, heartbeat};

/// What a declaration of death may take beyond the engine's bound of interval + timeout.
const MARGIN: Duration = ms(250);

/// 16 MiB, shared by all connections.
const LARGE: usize = 16 << 20;
static LARGE_MESSAGE: [u8; LARGE] = [7; LARGE];

pub(crate) fn all() -> Vec<Scene> {
    let scene = Scene {
        name: "",
        manner: Manner::HEALTHY,
        script: Script::Read,
        evidence: Evidence::AnyByte,
        window: ms(5_000),
        receive_buffer: None,
        check: is_alive_and_pinged,
    };
    let backlog = Scene {
        manner: Manner::backlog(),
        script: Script::Send(Bytes::from_static(&LARGE_MESSAGE)),
        // 8.4 s at 2 MB/s.
        window: ms(11_000),
        check: backlog,
        ..scene.clone()
    };
    vec![
        Scene {
            name: "noread",
            manner: Manner::noread(),
            script: Script::Away(ms(0), ms(7_000)),
            window: ms(9_000),
            check: noread,
            ..scene.clone()
        },
        Scene {
            name: "slowmsg",
            manner: Manner::slowmsg(),
            window: ms(8_000),
            check: slowmsg,
            ..scene.clone()
        },
        Scene {
            name: "stall",
            manner: Manner::stall(),
            // The first block begins with the first ping on its way, later ones anywhere.
            script: Script::Block {
                first: ms(1_010),
                span: ms(1_500),
                free: ms(520),
            },
            window: ms(8_000),
            check: stall,
            ..scene.clone()
        },
        Scene {
            name: "backlog-small",
            receive_buffer: Some(64 << 10),
            ..backlog.clone()
        },
        Scene {
            name: "backlog-auto",
            ..backlog.clone()
        },
        Scene {
            name: "backlog-kernel",
            check: backlog_kernel,
            // The kernel's own buffers on the sending side, and several MB at the peer, all of
            // which stand in front of a ping.
            receive_buffer: Some(4 << 20),
            ..backlog
        },
        Scene {
            name: "dead",
            manner: Manner::dead(ms(0)),
            check: dead,
            ..scene.clone()
        },
        Scene {
            name: "dead-later",
            manner: Manner::dead(ms(1_700)),
            check: dead,
            ..scene.clone()
        },
        Scene {
            name: "emptypong",
            manner: Manner::emptypong(),
            ..scene.clone()
        },
        Scene {
            name: "unsol",
            manner: Manner::unsol(),
            ..scene.clone()
        },
        Scene {
            name: "datanopong",
            manner: Manner::datanopong(),
            check: |outcome| {
                is_alive_and_pinged(outcome)?;
                demand(outcome, outcome.report.messages >= 10, "data arrives")?;
                Ok(figure(outcome))
            },
            ..scene.clone()
        },
        Scene {
            name: "illegal",
            manner: Manner::illegal(),
            check: told_why,
            ..scene.clone()
        },
        Scene {
            name: "unsol-matchingpong",
            manner: Manner::unsol(),
            evidence: Evidence::MatchingPong,
            check: dead_by_policy,
            ..scene.clone()
        },
        Scene {
            name: "datanopong-matchingpong",
            manner: Manner::datanopong(),
            evidence: Evidence::MatchingPong,
            check: dead_by_policy,
            ..scene
        },
    ]
}

/// A peer that is alive is not killed, and is pinged.
pub(crate) fn is_alive_and_pinged(outcome: &Outcome) -> Result<String, String> {
    outcome.is_alive()?;
    demand(outcome, !outcome.log.pings.is_empty(), "pings are sent")?;
    Ok(figure(outcome))
}

fn noread(outcome: &Outcome) -> Result<String, String> {
    outcome.is_alive()?;
    let all = outcome.report.messages == 100 && outcome.report.bytes == 6_500_000;
    demand(outcome, all, "all messages arrive")?;
    Ok(figure(outcome))
}

fn slowmsg(outcome: &Outcome) -> Result<String, String> {
    is_alive_and_pinged(outcome)?;
    let whole = outcome.report.messages == 1 && outcome.report.bytes == 4 << 20;
    demand(outcome, whole, "the message arrives")?;
    Ok(figure(outcome))
}

/// The pauses were long enough to kill, and were noticed.
fn stall(outcome: &Outcome) -> Result<String, String> {
    let figure = is_alive_and_pinged(outcome)?;
    let End::Alive(snapshot) = &outcome.report.end else {
        return Err("not alive".to_owned());
    };
    let pauses = snapshot.heartbeat.local_pauses;
    demand(outcome, pauses > 0, "the pauses are noticed")?;
    Ok(format!("{figure}, {pauses} local pauses"))
}

fn backlog(outcome: &Outcome) -> Result<String, String> {
    is_alive_and_pinged(outcome)?;
    let whole = outcome.log.messages_in == 1 && outcome.log.bytes_in > LARGE as u64;
    demand(outcome, whole, "the message arrives at the peer")?;
    Ok(figure(outcome))
}

/// That pings took longer than their timeout to be seen shows that the engine had to know better.
fn backlog_kernel(outcome: &Outcome) -> Result<String, String> {
    let figure = backlog(outcome)?;
    let slowest = slowest_ping(outcome);
    let is_hard = slowest > ms(1_000);
    demand(
        outcome,
        is_hard,
        &format!("pings stand in a queue, {slowest:?} at most"),
    )?;
    Ok(format!(
        "{figure}, one of them after {} ms",
        slowest.as_millis()
    ))
}

/// A ping leaves an interval after the last byte came in, which was the pong before: what is longer
/// between two that were seen is how long the later one took.
fn slowest_ping(outcome: &Outcome) -> Duration {
    let pings = outcome.log.pings.iter().copied();
    let times: Vec<_> = outcome.log.opened.into_iter().chain(pings).collect();
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    let longest = gaps.max().unwrap_or_default();
    longest.saturating_sub(ms(1_000))
}

/// A peer that falls silent is declared dead within interval + timeout of its last byte.
fn dead(outcome: &Outcome) -> Result<String, String> {
    let End::Closed(closed) = &outcome.report.end else {
        return Err(format!("not dead: {}", outcome.summary()));
    };
    let is_dead = closed.cause == Cause::Dead(DeadReason::PongTimeout);
    demand(outcome, is_dead, "the cause is death")?;
    let last = outcome.log.last_write.ok_or("the peer wrote nothing")?;
    let after = outcome.report.ended.saturating_duration_since(last);
    let bound = heartbeat().detection_bound().expect("it pings") + MARGIN;
    let figure = format!(
        "dead {} ms after the last byte, bound {} ms, silence {} ms",
        after.as_millis(),
        bound.as_millis(),
        closed.silence.as_millis()
    );
    demand(outcome, after <= bound, &figure)?;
    // The numbers that come with it.
    let is_silent = closed.silence >= ms(1_000) && closed.silence <= bound;
    demand(outcome, is_silent, &figure)?;
    let heartbeat = closed.snapshot.heartbeat;
    let has_numbers = heartbeat.pings > 0 && heartbeat.since_received >= closed.silence;
    demand(outcome, has_numbers, "the death comes with its numbers")?;
    let was_suspected = outcome
        .report
        .notes
        .iter()
        .any(|(_, note)| *note == Note::Suspect);
    demand(outcome, was_suspected, "suspicion comes before death")?;
    Ok(figure)
}

/// The peer never answers a ping, and by this policy nothing else counts.
fn dead_by_policy(outcome: &Outcome) -> Result<String, String> {
    let End::Closed(closed) = &outcome.report.end else {
        return Err(format!("not dead: {}", outcome.summary()));
    };
    let is_dead = closed.cause == Cause::Dead(DeadReason::PongTimeout);
    demand(outcome, is_dead, "the cause is death")?;
    let bound = heartbeat().detection_bound().expect("it pings") + MARGIN;
    let after = outcome.report.open_for();
    let figure = format!("dead {} ms after the opening", after.as_millis());
    demand(outcome, after <= bound, &figure)?;
    Ok(figure)
}

/// A Close that is owed to a peer that misbehaves reaches it, though much of what it sent is unread
/// (RFC 6455 §7.1.1: a socket that is dropped over unread input would destroy it).
fn told_why(outcome: &Outcome) -> Result<String, String> {
    let is_protocol = match &outcome.report.end {
        End::Closed(closed) => matches!(closed.cause, Cause::Protocol(_)),
        _ => false,
    };
    demand(outcome, is_protocol, "the cause is the peer's mistake")?;
    let is_told = outcome.log.close == Some(1002);
    demand(outcome, is_told, "the peer is told")?;
    Ok(format!(
        "told after {} ms, with {} bytes behind the mistake",
        outcome.report.open_for().as_millis(),
        outcome.log.bytes_out
    ))
}

fn demand(outcome: &Outcome, is_so: bool, what: &str) -> Result<(), String> {
    if is_so {
        return Ok(());
    }
    Err(format!("broken: {what}: {}", outcome.summary()))
}

fn figure(outcome: &Outcome) -> String {
    let suspicions = outcome
        .report
        .notes
        .iter()
        .filter(|(_, note)| *note == Note::Suspect);
    format!(
        "alive, {} pings seen, {} suspicions",
        outcome.log.pings.len(),
        suspicions.count()
    )
}
