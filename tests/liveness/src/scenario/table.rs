//! The table.

use super::{
    App, Bound, Counted, Direction, Expect, Heartbeat, Host, Last, Peer, Pongs, Scenario, Talk,
    Told,
};

const PEER: Peer = Peer {
    pongs: Pongs::Right,
    talk: &[],
    rate: None,
    strict: None,
    forgets: None,
    hush: None,
    last: None,
};

const BASE: Scenario = Scenario {
    name: "",
    expect: Expect::Lives(8.0),
    app: App::Reads,
    peer: PEER,
    host: Host::Calm,
    counted: Counted::All,
    matching_pong: false,
    heartbeat: Heartbeat::Timers(1.0),
};

/// A peer that pings each second and hangs up 2.5 s later without a pong.
const STRICT: Peer = Peer {
    strict: Some((1.0, 2.5)),
    ..PEER
};

const fn talks(talk: &'static [Talk]) -> Peer {
    Peer { talk, ..PEER }
}

const fn hushes(at: f64, peer: Peer) -> Peer {
    Peer {
        hush: Some(at),
        ..peer
    }
}

const fn ends(at: f64, last: Last, peer: Peer) -> Peer {
    Peer {
        last: Some((at, last)),
        ..peer
    }
}

const fn lives(name: &'static str, until: f64, app: App, peer: Peer) -> Scenario {
    Scenario {
        name,
        expect: Expect::Lives(until),
        app,
        peer,
        ..BASE
    }
}

const fn dies(name: &'static str, from: f64, within: Bound, app: App, peer: Peer) -> Scenario {
    Scenario {
        name,
        expect: Expect::Finds {
            from,
            within,
            told: Told::Dead,
        },
        app,
        peer,
        ..BASE
    }
}

/// With a slow heartbeat, which brings nobody to the socket in time.
const fn slowly(scenario: Scenario) -> Scenario {
    Scenario {
        heartbeat: Heartbeat::Timers(5.0),
        ..scenario
    }
}

const fn on(host: Host, scenario: Scenario) -> Scenario {
    Scenario { host, ..scenario }
}

const fn where_it_runs_alone(scenario: Scenario) -> Scenario {
    Scenario {
        counted: Counted::SpawnAndMio,
        ..scenario
    }
}

const fn told(told: Told, scenario: Scenario) -> Scenario {
    match scenario.expect {
        Expect::Finds { from, within, .. } => Scenario {
            expect: Expect::Finds { from, within, told },
            ..scenario
        },
        _ => scenario,
    }
}

/// Interval and timeout.
const BOTH: Bound = Bound::Timers(2.0);

const BUSY: App = App::Away { from: 1.0, to: 7.0 };
const ASLEEP: App = App::Blocks { from: 1.0, to: 6.0 };
const CHAT: &[Talk] = &[Talk::Asks { every: 0.2 }];
const LOAD: &[Talk] = &[Talk::Data {
    from: 0.5,
    to: 7.0,
    every: 0.01,
    size: 3_200,
}];
const STREAM: &[Talk] = &[Talk::Data {
    from: 0.5,
    to: f64::MAX,
    every: 0.02,
    size: 200,
}];
const SEVENTEEN: &[Talk] = &[Talk::Burst {
    at: 0.5,
    count: 17,
    size: 100,
}];
const MIB: usize = 1 << 20;

/// Every scenario, the healthy ones first.
pub(crate) const SCENARIOS: &[Scenario] = &[
    lives("thinking", 8.0, App::Reads, PEER),
    where_it_runs_alone(lives("think_pinged", 9.0, BUSY, STRICT)),
    lives("busy", 10.0, BUSY, talks(LOAD)),
    where_it_runs_alone(lives(
        "busy_pinged",
        10.0,
        BUSY,
        Peer {
            talk: LOAD,
            ..STRICT
        },
    )),
    lives("block", 9.0, ASLEEP, PEER),
    on(
        Host::Stopped { from: 2.0, to: 6.0 },
        lives("stopcont", 9.0, App::Reads, PEER),
    ),
    on(
        Host::Jerks {
            from: 1.0,
            to: 14.0,
            asleep: 1.7,
            awake: 0.05,
        },
        lives("jerk", 17.0, App::Reads, PEER),
    ),
    on(
        Host::Starved {
            from: 1.0,
            to: 14.0,
        },
        lives("cgroup", 17.0, App::Reads, PEER),
    ),
    on(
        Host::Stopped { from: 2.0, to: 6.0 },
        lives(
            "stop_slowmsg",
            11.0,
            App::Reads,
            talks(&[Talk::Slow {
                from: 1.0,
                to: 8.0,
                size: 2 * MIB,
            }]),
        ),
    ),
    on(
        Host::Stopped { from: 1.0, to: 5.0 },
        lives(
            "stop_backlog",
            9.0,
            App::Sends(16 * MIB),
            Peer {
                rate: Some(8_000),
                ..PEER
            },
        ),
    ),
    on(
        // `handshake_timeout` is 10 s.
        Host::StoppedInOpening { seconds: 13.0 },
        lives("stop_opening", 3.0, App::Reads, PEER),
    ),
    on(
        // The answer to our Close comes while the process is stopped longer than `close_timeout`.
        Host::Stopped { from: 1.9, to: 8.7 },
        Scenario {
            expect: Expect::ClosesCleanly(8.7),
            ..lives(
                "stop_closing",
                0.0,
                App::Closes(1.4),
                ends(2.5, Last::Answer, PEER),
            )
        },
    ),
    lives(
        "nopong_talks",
        8.0,
        App::Reads,
        Peer {
            pongs: Pongs::Never,
            talk: &[Talk::Data {
                from: 0.0,
                to: f64::MAX,
                every: 0.2,
                size: 7,
            }],
            ..PEER
        },
    ),
    lives(
        "emptypong",
        8.0,
        App::Reads,
        Peer {
            pongs: Pongs::Empty,
            ..PEER
        },
    ),
    lives(
        "unsol",
        8.0,
        App::Reads,
        Peer {
            pongs: Pongs::Never,
            talk: &[Talk::Pongs { every: 0.2 }],
            ..PEER
        },
    ),
    lives(
        "pings_only",
        8.0,
        App::Reads,
        Peer {
            pongs: Pongs::Never,
            talk: &[Talk::Pings { every: 0.2 }],
            ..PEER
        },
    ),
    lives(
        "latepong",
        10.0,
        App::Reads,
        Peer {
            pongs: Pongs::Late(0.85),
            ..PEER
        },
    ),
    lives(
        "path_cut",
        10.0,
        App::Reads,
        Peer {
            forgets: Some((Direction::Both, 1.5)),
            ..PEER
        },
    ),
    lives(
        "path_cut_dir",
        10.0,
        App::Reads,
        Peer {
            forgets: Some((Direction::In, 1.9)),
            ..PEER
        },
    ),
    lives(
        "path_cut_out",
        10.0,
        App::Reads,
        Peer {
            forgets: Some((Direction::Out, 1.5)),
            talk: &[Talk::Data {
                from: 0.0,
                to: f64::MAX,
                every: 0.2,
                size: 7,
            }],
            ..PEER
        },
    ),
    lives(
        "exec_idle",
        10.0,
        App::Reads,
        Peer {
            forgets: Some((Direction::Both, 1.9)),
            talk: &[Talk::AskBurst { at: 0.2, count: 1 }],
            ..PEER
        },
    ),
    slowly(lives("sendonly", 10.0, App::Ticks, STRICT)),
    slowly(lives(
        "sendonly_greet",
        10.0,
        App::Ticks,
        Peer {
            talk: SEVENTEEN,
            ..STRICT
        },
    )),
    slowly(lives(
        "sendonly_stream",
        10.0,
        App::Ticks,
        Peer {
            talk: STREAM,
            ..STRICT
        },
    )),
    slowly(Scenario {
        expect: Expect::AnswersClose,
        ..lives(
            "sendonly_close",
            0.0,
            App::Ticks,
            ends(0.5, Last::Close, PEER),
        )
    }),
    lives(
        "noread",
        10.0,
        BUSY,
        talks(&[Talk::Burst {
            at: 0.5,
            count: 100,
            size: 65_000,
        }]),
    ),
    lives(
        "slowmsg",
        9.0,
        App::Reads,
        talks(&[Talk::Slow {
            from: 0.5,
            to: 6.5,
            size: 2 * MIB,
        }]),
    ),
    lives(
        "backlog",
        6.0,
        App::Sends(16 * MIB),
        Peer {
            rate: Some(8_000),
            ..PEER
        },
    ),
    lives(
        "echo_flooded",
        13.0,
        App::Reads,
        Peer {
            // 3 MiB of answers take 8 s.
            rate: Some(400),
            ..talks(&[Talk::AskBurst {
                at: 0.5,
                count: 300_000,
            }])
        },
    ),
    Scenario {
        expect: Expect::StaysSmall(6.0),
        ..lives("flood", 0.0, App::Reads, talks(&[Talk::Flood { to: 5.0 }]))
    },
    Scenario {
        // TCP's retransmissions come 0.2, 0.6, 1.4, 3.2 and 6.6 s after the ping, unless
        // TCP_RTO_MAX_MS says otherwise.
        heartbeat: Heartbeat::Seconds(1, 8),
        ..on(
            Host::Outage {
                at: 2.1,
                seconds: 7.1,
            },
            lives("outage", 14.0, App::Reads, PEER),
        )
    },
    // ---- dead
    dies("dead_longapp", 4.0, BOTH, App::Reads, hushes(4.0, PEER)),
    on(
        Host::Cut { at: 3.3 },
        dies("dead_cable", 3.3, BOTH, App::Reads, PEER),
    ),
    on(
        Host::Cut { at: 3.3 },
        dies("dead_cable_chat", 3.3, BOTH, App::Reads, talks(CHAT)),
    ),
    on(
        Host::Cut { at: 1.0 },
        dies(
            "dead_cable_push",
            1.0,
            BOTH,
            App::Sends(16 * MIB),
            Peer {
                rate: Some(4_000),
                ..PEER
            },
        ),
    ),
    dies(
        "dead_blast",
        2.0,
        Bound::WriteStall,
        App::Pushes(64 << 10),
        hushes(2.0, PEER),
    ),
    dies(
        "midframe_dead",
        3.0,
        BOTH,
        App::Reads,
        hushes(3.0, talks(&[Talk::HalfFrame { at: 2.9 }])),
    ),
    on(
        Host::Hole { at: 3.3 },
        dies("path_hole", 3.3, BOTH, App::Reads, PEER),
    ),
    // A relay that falls silent is a peer of which the kernel still acknowledges.
    dies(
        "relay_silent",
        4.0,
        BOTH,
        App::Reads,
        hushes(4.0, talks(CHAT)),
    ),
    dies("busy_dead", 7.0, BOTH, BUSY, hushes(3.0, talks(LOAD))),
    dies("block_dead", 6.0, BOTH, ASLEEP, hushes(2.0, PEER)),
    on(
        Host::CutWhileStopped {
            from: 2.0,
            cut: 4.0,
            to: 6.0,
        },
        dies("wake_dead", 6.0, BOTH, App::Reads, PEER),
    ),
    on(
        Host::Stopped { from: 2.0, to: 6.0 },
        dies(
            "wake_dead_buffered",
            6.0,
            BOTH,
            App::Reads,
            hushes(
                4.0,
                talks(&[Talk::Burst {
                    at: 3.0,
                    count: 20,
                    size: 100,
                }]),
            ),
        ),
    ),
    on(
        Host::CutWhileStopped {
            from: 2.0,
            cut: 4.0,
            to: 6.0,
        },
        dies("wake_dead_chat", 6.0, BOTH, App::Reads, talks(CHAT)),
    ),
    on(
        Host::Stopped { from: 2.0, to: 6.0 },
        told(
            Told::Ended,
            dies(
                "wake_rst",
                6.0,
                Bound::Now,
                App::Reads,
                ends(4.0, Last::Reset, PEER),
            ),
        ),
    ),
    told(
        Told::Ended,
        dies(
            "halfclose",
            3.0,
            Bound::Now,
            App::Reads,
            ends(3.0, Last::Fin, PEER),
        ),
    ),
    on(
        Host::Jerks {
            from: 2.0,
            to: 19.0,
            asleep: 1.7,
            awake: 0.05,
        },
        dies(
            "jerk_dead",
            3.0,
            Bound::Timers(12.0),
            App::Reads,
            hushes(3.0, PEER),
        ),
    ),
    on(
        Host::CutAndJerks {
            at: 2.0,
            to: 24.0,
            asleep: 2.6,
            awake: 0.4,
        },
        dies("wake_jerk_dead", 2.0, Bound::Timers(17.0), App::Reads, PEER),
    ),
    Scenario {
        matching_pong: true,
        ..dies(
            "relay_half",
            3.0,
            BOTH,
            App::Reads,
            Peer {
                // The peer hears nothing of us any more, and talks on.
                pongs: Pongs::RightUntil(3.0),
                talk: &[Talk::Asks { every: 0.2 }],
                ..PEER
            },
        )
    },
    dies("sendonly_dead", 4.0, BOTH, App::Ticks, hushes(4.0, PEER)),
    on(
        Host::Cut { at: 4.0 },
        dies("sendonly_cable", 4.0, BOTH, App::Ticks, PEER),
    ),
    dies(
        "sendonly_stream_dead",
        4.0,
        BOTH,
        App::Ticks,
        hushes(4.0, talks(STREAM)),
    ),
    told(
        Told::Ended,
        dies(
            "held_rst",
            3.0,
            Bound::Now,
            App::TicksOnly,
            ends(3.0, Last::Reset, talks(SEVENTEEN)),
        ),
    ),
    on(
        Host::Cut { at: 3.0 },
        dies("held_cable", 3.0, BOTH, App::TicksOnly, talks(SEVENTEEN)),
    ),
    dies(
        "held_hung",
        3.0,
        BOTH,
        App::TicksOnly,
        hushes(3.0, talks(SEVENTEEN)),
    ),
    told(
        Told::CloseTimeout,
        dies(
            "closing_dead",
            2.5,
            Bound::CloseTimeout,
            App::Closes(2.5),
            hushes(2.4, PEER),
        ),
    ),
];
