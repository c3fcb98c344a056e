//! The cases, and the budgets they stay within.

use std::sync::Arc;
use std::time::Duration;

use wspulse_core::heartbeat::{DeadReason, HeartbeatConfig};
use wspulse_core::{Cause, Config, LimitExceeded, Role};
use wspulse_tests::kit::{ms, ping};
use wspulse_tests::net::{
    End, Job, Manner, Outcome, Script, Sending, Stage, Subject, Tls, held, peak, process,
    reset_peak,
};

/// A case.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    manner: Manner,
    script: Script,
    heartbeat: HeartbeatConfig,
    window: Duration,
    budget: fn(&dyn Subject) -> usize,
    check: fn(&Stage, &Outcome) -> Result<(), String>,
}

const KIB: usize = 1 << 10;

/// Messages in both directions.
const MESSAGE: usize = 64 * KIB;

/// `max_buffered_amount`.
const BUFFERED: usize = 256 * KIB;

/// `max_message_size`.
const LARGEST: usize = 512 * KIB;

/// Bytes a second that a peer reads which is sent as much as it takes.
const RATE: Option<f64> = Some(8e6);

/// When the applications that stop reading go on, and the peers.
const BACK: Duration = ms(4_000);

pub(crate) fn all() -> Vec<Case> {
    let case = Case {
        name: "",
        manner: Manner::HEALTHY,
        script: Script::Read,
        // No bound on death is at stake, so a machine under load gets some time.
        heartbeat: ping(1_000, 3_000),
        window: ms(6_000),
        budget: |subject| inbound(subject) + ALWAYS,
        check: |_, _| Ok(()),
    };
    vec![
        Case {
            name: "flood",
            manner: Manner::flood(),
            heartbeat: ping(1_000, 1_000),
            window: ms(4_000),
            budget: |_| 1024 * KIB,
            check: flood,
            ..case.clone()
        },
        Case {
            name: "application-stops-reading",
            manner: Manner {
                sending: Sending::Stream(MESSAGE),
                ..Manner::HEALTHY
            },
            script: Script::Away(ms(200), BACK),
            check: application_stops,
            ..case.clone()
        },
        Case {
            name: "application-only-sends",
            manner: Manner {
                rate: RATE,
                sending: Sending::Stream(MESSAGE),
                ..Manner::HEALTHY
            },
            script: Script::Pump {
                size: MESSAGE,
                reads: false,
            },
            window: BACK,
            budget: |subject| inbound(subject) + outbound(subject) + ALWAYS,
            check: application_only_sends,
            ..case.clone()
        },
        Case {
            name: "peer-stops-reading",
            manner: Manner {
                reads_after: BACK,
                rate: RATE,
                sending: Sending::Pings(ms(300)),
                ..Manner::HEALTHY
            },
            script: Script::Pump {
                size: MESSAGE,
                reads: true,
            },
            budget: |subject| outbound(subject) + ALWAYS,
            check: peer_stops,
            ..case.clone()
        },
        Case {
            name: "nobody-reads",
            manner: Manner {
                reads_after: Duration::MAX,
                sending: Sending::Stream(MESSAGE),
                ..Manner::HEALTHY
            },
            script: Script::Pump {
                size: MESSAGE,
                reads: false,
            },
            // Nothing moves any more: this ends it.
            heartbeat: ping(1_000, 3_000).write_stall_timeout(STALL),
            window: ms(20_000),
            budget: |subject| inbound(subject) + outbound(subject) + ALWAYS,
            check: nobody_reads,
        },
    ]
}

/// What there is whatever happens: the thread's read buffer, the runtime and the connection itself,
/// and what TLS has in each direction (64 KiB of its own queue, records of 16 KiB in parts).
const ALWAYS: usize = 64 * KIB + 64 * KIB + 256 * KIB;

/// A message that waits to be taken, at most twice its size, and one read.
fn inbound(subject: &dyn Subject) -> usize {
    2 * MESSAGE + 4 * KIB + 64 * KIB + subject.own_memory(MESSAGE)
}

/// The queue, the message that went beyond its limit, and what is committed to the wire.
fn outbound(subject: &dyn Subject) -> usize {
    BUFFERED + MESSAGE + 64 * KIB + 16 * KIB + subject.own_memory(MESSAGE)
}

impl Case {
    /// Runs the case, and returns its figures.
    pub(crate) fn run(
        &self,
        subject: &'static dyn Subject,
        role: Role,
        tls: Option<Tls>,
    ) -> Result<String, String> {
        let config = Config::builder()
            .heartbeat(self.heartbeat)
            .max_message_size(LARGEST as u64)
            .max_buffered_amount(BUFFERED)
            .close_timeout(ms(1_000))
            .build();
        let stage = Stage {
            subject,
            role,
            job: Job {
                config: Arc::new(config.expect("valid")),
                tls,
                script: self.script.clone(),
                window: self.window,
            },
            manner: self.manner,
            receive_buffer: None,
        };
        reset_peak();
        let before = held();
        let used = process::others_time();
        let outcome = stage.play()?;
        let used = process::others_time() - used;
        let growth = usize::try_from(peak() - before).unwrap_or(0);
        let budget = (self.budget)(subject);
        let figure = format!(
            "{} KiB at most, budget {} KiB, {} ms of processor time; {}",
            growth / KIB,
            budget / KIB,
            used.as_millis(),
            outcome.summary()
        );
        if growth > budget {
            return Err(format!("memory stays within the budget: {figure}"));
        }
        // Where nothing moves, nothing turns.
        if used > outcome.report.open_for() / 4 {
            return Err(format!("it waits, and does not spin: {figure}"));
        }
        match (self.check)(&stage, &outcome) {
            Ok(()) => Ok(figure),
            Err(error) => Err(format!("{error}: {figure}")),
        }
    }
}

/// Rule 10: answered within bounds, or closed with 1008.
fn flood(_: &Stage, outcome: &Outcome) -> Result<(), String> {
    // What the application has to be shown, before the kernel is full.
    demand(outcome.log.bytes_out > 200_000, "the peer floods")?;
    match &outcome.report.end {
        End::Alive(_) => Ok(()),
        End::Closed(closed) if closed.cause == Cause::Limit(LimitExceeded::ControlFlood) => Ok(()),
        _ => Err("alive, or closed for flooding".to_owned()),
    }
}

fn application_stops(stage: &Stage, outcome: &Outcome) -> Result<(), String> {
    outcome.is_alive()?;
    demand(outcome.report.messages > 10, "it goes on afterwards")?;
    let opened = outcome.report.opened.ok_or("never open")?;
    let meanwhile = opened + ms(500)..opened + BACK;
    let pings = outcome
        .log
        .pings
        .iter()
        .filter(|at| meanwhile.contains(*at));
    demand(
        !stage.subject.runs_by_itself() || pings.count() > 0,
        "pings flow while the application does not read",
    )
}

fn application_only_sends(_: &Stage, outcome: &Outcome) -> Result<(), String> {
    outcome.is_alive()?;
    demand(outcome.log.messages_in > 10, "messages flow")?;
    demand(!outcome.log.pings.is_empty(), "pings flow")
}

fn peer_stops(_: &Stage, outcome: &Outcome) -> Result<(), String> {
    outcome.is_alive()?;
    demand(outcome.log.messages_in > 10, "messages flow afterwards")?;
    demand(!outcome.log.pongs.is_empty(), "its pings are answered")
}

fn nobody_reads(_: &Stage, outcome: &Outcome) -> Result<(), String> {
    let is_stalled = match &outcome.report.end {
        End::Closed(closed) => closed.cause == Cause::Dead(DeadReason::WriteStalled),
        _ => false,
    };
    demand(is_stalled, "a transport that takes nothing ends it")?;
    // Since the last byte that it took, which may be late: a kernel has room for some time before
    // it says so, and whoever happens to try gets a little of it.
    let since = match &outcome.report.end {
        End::Closed(closed) => closed.snapshot.heartbeat.since_sent,
        _ => Duration::ZERO,
    };
    let is_in_time = since >= STALL && since <= STALL + LINGER + MARGIN;
    demand(
        is_in_time,
        &format!("the last byte left {} ms before", since.as_millis()),
    )
}

const STALL: Duration = ms(3_000);

/// How long the Close frame of a dead connection is waited for.
const LINGER: Duration = ms(250);

/// Less than what a stall that no write attempt was made to confirm has to wait.
const MARGIN: Duration = ms(1_000);

fn demand(is_so: bool, what: &str) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(what.to_owned()) }
}
