//! The worlds that a heartbeat is searched in.
//!
//! Each one is about a few rules, so that its space is small enough to be searched whole. Times
//! are in ticks of a second. [`cases`] are small and say what may happen; [`scenes`] are nearly
//! without choice, with the timers of the defaults, and each shows one thing that was found.

use wspulse_core::heartbeat::Evidence;

use super::oracle::Policy;
use super::search::Tick;
use super::truth::{Budget, Buffer, First, Network, Peer, Sends, Setting, UNLIMITED};

/// A named world, for any engine.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// What may happen.
    pub setting: Setting,
    /// The policies; the first one is in force at the start.
    pub policies: Vec<Policy>,
    /// How deep the ordinary tests search.
    pub depth: Tick,
}

const NONE: Budget = Budget {
    naps: UNLIMITED,
    sends: 0,
    writes: 0,
    fulls: 0,
    shorts: 0,
    changes: 0,
    holds: 0,
};

const GONE: &[Peer] = &[Peer::Gone];
const BOTH: &[Network] = &[Network::Stays, Network::Restarts];
const ANY_FIRST: &[First] = &[First::Read, First::Timeout, First::Write];
const SHORT_NAPS: &[u8] = &[1, 2, 3, 4, 5];
const NAPS: &[u8] = &[1, 2, 3, 4, 5, 7, 9];

/// The small worlds.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut cases = pinging();
    cases.extend(writing());
    cases.extend(changing());
    cases.extend(reading());
    cases
}

fn case(name: &'static str, policy: Policy, depth: Tick, setting: Setting) -> Case {
    Case {
        name,
        setting,
        policies: vec![policy],
        depth,
    }
}

/// Policies, evidence and pauses.
fn pinging() -> Vec<Case> {
    let naps = Setting {
        naps: NAPS,
        network: BOTH,
        deaths: GONE,
        ..Setting::CALM
    };
    let sends = |kinds, sends| Setting {
        sends: kinds,
        budget: Budget { sends, ..NONE },
        ..naps.clone()
    };
    vec![
        case(
            "idle, a host that never pauses",
            Policy::idle(2, 4),
            60,
            Setting {
                naps: &[],
                extra_drives: true,
                ..sends(&[Sends::Frame], 9)
            },
        ),
        case(
            "idle, pauses",
            Policy::idle(2, 4),
            14,
            sends(&[Sends::Frame], 1),
        ),
        case(
            "idle, pauses, any call first",
            Policy::idle(2, 4),
            13,
            Setting {
                first: ANY_FIRST,
                extra_drives: true,
                naps: SHORT_NAPS,
                ..sends(&[Sends::Frame], 1)
            },
        ),
        case(
            "idle, pauses, a slow path",
            Policy::idle(2, 4),
            20,
            Setting {
                delay: 2,
                min_awake: 3,
                naps: SHORT_NAPS,
                ..naps.clone()
            },
        ),
        case(
            "idle, long timers, a path as slow as allowed",
            Policy::idle(3, 8),
            30,
            Setting {
                delay: 4,
                min_awake: 5,
                naps: &[1, 3, 8],
                ..naps.clone()
            },
        ),
        case(
            "idle, a first pause and a path slower than half the timeout",
            Policy::idle(3, 8),
            30,
            Setting {
                delay: 6,
                min_awake: 7,
                naps: &[8, 12],
                network: BOTH,
                deaths: GONE,
                budget: Budget { naps: 1, ..NONE },
                ..Setting::CALM
            },
        ),
        case(
            "idle, late suspicion",
            Policy::idle(8, 8).suspect_after(6),
            30,
            Setting {
                delay: 4,
                min_awake: 5,
                naps: &[1, 3, 8],
                ..naps.clone()
            },
        ),
        case(
            "idle, early suspicion",
            Policy::idle(4, 8).suspect_after(2),
            30,
            Setting {
                deaths: GONE,
                ..Setting::CALM
            },
        ),
        case(
            "idle, pauses that the host tells of",
            Policy::idle(6, 4),
            16,
            Setting {
                resumes: true,
                delay: 2,
                min_awake: 3,
                ..naps.clone()
            },
        ),
        case(
            "idle, pauses that freeze the network",
            Policy::idle(2, 4),
            18,
            Setting {
                network: &[Network::Freezes],
                ..naps.clone()
            },
        ),
        case(
            "idle, repeated pongs",
            Policy::idle(4, 4),
            16,
            Setting {
                naps: &[1, 4],
                ..sends(&[Sends::PongAgain], 2)
            },
        ),
        case(
            "idle, a frame longer than the timeout",
            Policy::idle(2, 4),
            16,
            Setting {
                network: &[Network::Stays],
                naps: &[1, 3],
                ..sends(&[Sends::Long(7)], 1)
            },
        ),
        case("periodic, pauses", Policy::periodic(3, 4), 15, naps.clone()),
        case(
            "periodic, traffic",
            Policy::periodic(3, 4),
            30,
            Setting {
                naps: &[],
                budget: Budget {
                    sends: UNLIMITED,
                    writes: UNLIMITED,
                    ..NONE
                },
                ..sends(&[Sends::Frame], 0)
            },
        ),
        case(
            "passive, pauses",
            Policy::passive(8),
            25,
            Setting {
                naps: &[1, 2, 3, 5, 9],
                chatter: Some(3),
                min_awake: 4,
                ..naps.clone()
            },
        ),
        case(
            "frames as evidence, pauses",
            Policy::idle(2, 4).evidence(Evidence::AnyFrame),
            13,
            Setting {
                deaths: &[Peer::Gone, Peer::Mute],
                naps: SHORT_NAPS,
                ..sends(&[Sends::Frame], 1)
            },
        ),
        case(
            "frames as evidence, frames without pongs",
            Policy::idle(2, 4).evidence(Evidence::AnyFrame),
            20,
            Setting {
                deaths: &[Peer::Gone, Peer::Deaf],
                ..Setting::CALM
            },
        ),
        case(
            "pongs as evidence, frames without pongs",
            Policy::idle(2, 4).evidence(Evidence::MatchingPong),
            20,
            Setting {
                deaths: &[Peer::Deaf],
                ..Setting::CALM
            },
        ),
        case(
            "pongs as evidence, pauses",
            Policy::idle(2, 4).evidence(Evidence::MatchingPong),
            13,
            Setting {
                deaths: &[Peer::Gone, Peer::Mute],
                naps: SHORT_NAPS,
                ..sends(&[Sends::Frame], 1)
            },
        ),
        case(
            "pongs as evidence, traffic both ways",
            Policy::idle(2, 4).evidence(Evidence::MatchingPong),
            20,
            Setting {
                deaths: &[Peer::Mute],
                naps: &[],
                budget: Budget {
                    writes: UNLIMITED,
                    ..NONE
                },
                ..naps.clone()
            },
        ),
        case(
            "pongs as evidence, a path as slow as allowed",
            Policy::idle(3, 8).evidence(Evidence::MatchingPong),
            26,
            Setting {
                delay: 4,
                min_awake: 5,
                deaths: &[Peer::Mute],
                naps: SHORT_NAPS,
                ..naps.clone()
            },
        ),
    ]
}

/// A transport that takes less than it is offered.
fn writing() -> Vec<Case> {
    let full = Setting {
        full: &[1, 3, 5],
        deaths: GONE,
        network: BOTH,
        budget: Budget { fulls: 1, ..NONE },
        ..Setting::CALM
    };
    let buffer = Setting {
        buffer: Some(Buffer {
            capacity: 60,
            rate: 10,
        }),
        write_len: 80,
        network: BOTH,
        deaths: GONE,
        min_awake: 4,
        budget: Budget {
            naps: 1,
            writes: 1,
            ..NONE
        },
        ..Setting::CALM
    };
    let many = Setting {
        buffer: Some(Buffer {
            capacity: 20,
            rate: 10,
        }),
        write_len: 30,
        naps: SHORT_NAPS,
        first: &[First::Read, First::Write],
        budget: Budget {
            naps: 2,
            writes: 2,
            ..NONE
        },
        ..buffer.clone()
    };
    let stall = Setting {
        naps: &[1, 4, 9],
        network: &[Network::Stays],
        budget: Budget {
            naps: 1,
            fulls: 1,
            writes: 1,
            ..NONE
        },
        full: &[4],
        first: ANY_FIRST,
        ..full.clone()
    };
    vec![
        case(
            "idle, a full transport",
            Policy::idle(2, 4),
            18,
            Setting {
                budget: Budget {
                    fulls: 2,
                    writes: 1,
                    shorts: 1,
                    ..NONE
                },
                write_len: 20,
                ..full.clone()
            },
        ),
        case(
            "idle, a full transport and a pause",
            Policy::idle(2, 4),
            14,
            Setting {
                naps: &[1, 3, 5],
                budget: Budget {
                    naps: 2,
                    fulls: 1,
                    ..NONE
                },
                ..full
            },
        ),
        case(
            "idle, a full buffer before the ping",
            Policy::idle(2, 4).write_stall(12),
            40,
            Setting {
                naps: &[],
                ..buffer.clone()
            },
        ),
        case(
            "idle, a full buffer before the ping and a pause",
            Policy::idle(2, 4).write_stall(12),
            18,
            Setting {
                naps: &[1, 3, 7],
                first: &[First::Read, First::Write],
                ..buffer.clone()
            },
        ),
        case(
            "idle, a small buffer, two writes and two pauses",
            Policy::idle(2, 4),
            13,
            Setting {
                naps: &[1, 3, 5],
                ..many.clone()
            },
        ),
        case(
            "no heartbeat, a full buffer",
            Policy::off(4),
            18,
            Setting {
                naps: &[1, 5],
                budget: Budget {
                    naps: 1,
                    writes: 2,
                    ..NONE
                },
                ..many.clone()
            },
        ),
        case(
            "no heartbeat, a write that takes longer than a stall",
            Policy::off(4),
            20,
            Setting {
                naps: &[],
                network: &[Network::Stays],
                deaths: &[],
                write_len: 140,
                budget: Budget { writes: 1, ..NONE },
                ..many.clone()
            },
        ),
        case("a stalled write and a pause", Policy::idle(4, 4), 18, stall),
        case(
            "idle, a small buffer and a long pause",
            Policy::idle(2, 4),
            18,
            Setting {
                naps: &[9],
                budget: Budget {
                    naps: 1,
                    writes: 1,
                    ..NONE
                },
                ..many.clone()
            },
        ),
        case(
            "idle, a small buffer and pauses that the host tells of",
            Policy::idle(2, 4),
            14,
            Setting {
                naps: &[3, 7],
                resumes: true,
                first: &[First::Read],
                budget: Budget {
                    naps: 2,
                    writes: 1,
                    ..NONE
                },
                ..many
            },
        ),
    ]
}

/// Policies that change.
fn changing() -> Vec<Case> {
    let changes = |changes, budget| Setting {
        changes,
        naps: SHORT_NAPS,
        network: BOTH,
        deaths: GONE,
        budget: Budget {
            naps: 1,
            changes: budget,
            ..NONE
        },
        ..Setting::CALM
    };
    let with = |name, policies: &[Policy], depth, setting| Case {
        name,
        setting,
        policies: policies.to_vec(),
        depth,
    };
    vec![
        with(
            "a shorter timeout, no pause",
            &[Policy::idle(2, 8), Policy::idle(2, 4)],
            30,
            Setting {
                naps: &[],
                ..changes(&[0, 1], 2)
            },
        ),
        with(
            "two policies, pauses",
            &[Policy::idle(2, 4), Policy::idle(1, 2)],
            12,
            Setting {
                naps: &[1, 3, 5],
                budget: Budget {
                    naps: 2,
                    changes: 2,
                    ..NONE
                },
                min_awake: 2,
                ..changes(&[0, 1], 2)
            },
        ),
        with(
            "a policy that changes for ever",
            &[Policy::idle(2, 4), Policy::idle(2, 8)],
            28,
            Setting {
                naps: &[],
                ..changes(&[0, 1], UNLIMITED)
            },
        ),
        with(
            "every mode after every other",
            &[
                Policy::idle(2, 4),
                Policy::periodic(3, 4),
                Policy::passive(4),
                Policy::off(4),
            ],
            14,
            Setting {
                chatter: Some(2),
                naps: &[2, 5],
                network: &[Network::Stays],
                ..changes(&[0, 1, 2, 3], 2)
            },
        ),
        with(
            "a shorter silence",
            &[Policy::passive(8), Policy::passive(4)],
            30,
            Setting {
                chatter: Some(3),
                naps: &[],
                ..changes(&[0, 1], 2)
            },
        ),
    ]
}

/// Readers that stop, and hosts that doze.
fn reading() -> Vec<Case> {
    vec![
        case(
            "idle, reads held back",
            Policy::idle(2, 4),
            16,
            Setting {
                naps: &[1, 3, 5],
                budget: Budget {
                    naps: 1,
                    sends: 1,
                    holds: 2,
                    ..NONE
                },
                sends: &[Sends::Frame],
                ..Setting::CALM
            },
        ),
        case(
            "passive, early suspicion, reads held back",
            Policy::passive(8).suspect_after(2),
            28,
            Setting {
                chatter: Some(4),
                deaths: GONE,
                budget: Budget { holds: 2, ..NONE },
                ..Setting::CALM
            },
        ),
        case(
            "frames as evidence, a small window while reads are held back",
            Policy::idle(2, 4).evidence(Evidence::AnyFrame),
            12,
            Setting {
                window: Some(1),
                sends: &[Sends::Long(2)],
                budget: Budget {
                    sends: 1,
                    holds: 1,
                    ..NONE
                },
                ..Setting::CALM
            },
        ),
        case(
            "idle, a forgotten would_block",
            Policy::idle(2, 4),
            30,
            Setting {
                forgets_looks: true,
                deaths: GONE,
                sends: &[Sends::Frame],
                budget: Budget {
                    naps: 1,
                    sends: 1,
                    ..NONE
                },
                naps: SHORT_NAPS,
                ..Setting::CALM
            },
        ),
        case(
            "a host that dozes",
            Policy::idle(4, 4),
            80,
            Setting {
                doze: Some((3, 2)),
                deaths: GONE,
                ..Setting::CALM
            },
        ),
        case(
            "a host that dozes for longer than it is awake",
            Policy::idle(4, 8),
            200,
            Setting {
                doze: Some((6, 3)),
                deaths: GONE,
                sends: &[Sends::Frame],
                budget: Budget { sends: 2, ..NONE },
                ..Setting::CALM
            },
        ),
    ]
}

/// One history each, or a few, with the default timers of 20 s and 20 s.
#[must_use]
pub fn scenes() -> Vec<Case> {
    let default = Policy::idle(20, 20);
    let fast = Policy::idle(5, 10);
    let once = Budget {
        naps: 1,
        changes: 1,
        fulls: 1,
        writes: 1,
        ..NONE
    };
    let quiet = Setting {
        budget: once,
        ..Setting::CALM
    };
    vec![
        Case {
            name: "C3: a new policy is the first call after a pause",
            setting: Setting {
                naps: &[30],
                network: &[Network::Restarts],
                min_awake: 15,
                changes: &[1],
                ..quiet.clone()
            },
            policies: vec![default, fast],
            depth: 54,
        },
        Case {
            name: "C4: a shorter timeout while an answer is awaited",
            setting: Setting {
                naps: &[8],
                network: &[Network::Restarts],
                deaths: GONE,
                changes: &[1],
                ..quiet.clone()
            },
            policies: vec![default, fast],
            depth: 34,
        },
        Case {
            name: "C4: a shorter silence",
            setting: Setting {
                deaths: GONE,
                chatter: Some(3),
                changes: &[1],
                ..quiet.clone()
            },
            policies: vec![Policy::passive(60), Policy::passive(10)],
            depth: 60,
        },
        Case {
            name: "C5: a write collapses an extension into our sleep",
            setting: Setting {
                naps: &[23],
                network: &[Network::Restarts],
                min_awake: 25,
                delay: 2,
                full: &[10],
                first: &[First::Read, First::Write],
                ..quiet.clone()
            },
            policies: vec![default],
            depth: 56,
        },
        Case {
            name: "P2: a write collapses an extension on a host that never slept",
            setting: Setting {
                full: &[10],
                deaths: GONE,
                min_awake: 18,
                write_len: 4_000,
                ..quiet.clone()
            },
            policies: vec![default],
            depth: 64,
        },
        Case {
            name: "T2: asleep for 11 s, awake for 5 s",
            setting: Setting {
                doze: Some((11, 5)),
                deaths: GONE,
                ..Setting::CALM
            },
            policies: vec![default],
            depth: 400,
        },
        Case {
            name: "C10: no heartbeat any more while the peer is suspect",
            setting: Setting {
                deaths: GONE,
                changes: &[1],
                ..quiet.clone()
            },
            policies: vec![Policy::idle(4, 4), Policy::off(4)],
            depth: 20,
        },
        Case {
            name: "C12: would_block is never said",
            setting: Setting {
                forgets_looks: true,
                deaths: GONE,
                ..Setting::CALM
            },
            policies: vec![default],
            depth: 130,
        },
    ]
}
