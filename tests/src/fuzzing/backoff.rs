//! Reconnect delays: any history, in any order, against a naive account of it.

use std::time::Duration;

use wspulse_core::Instant;
use wspulse_core::backoff::{
    Backoff, BackoffConfig, BackoffConfigError, Decision, Generation, GiveUp, Outcome, RetryClass,
    Stale,
};

use super::Reader;
use crate::alloc::without_heap;

/// Runs a history of attempts in virtual time and compares each answer with what the docs promise:
/// delays within their bounds, attempts counted and forgotten only after `min_uptime`, nothing of
/// one generation touching the next, and no overflow. It has no heap, however long its history.
///
/// The input is five bytes of configuration (each names a duration or a count), a seed of eight, and
/// steps: a byte whose lower three bits say what happens, and its arguments.
pub fn backoff(data: &[u8]) {
    let mut reader = Reader::new(data);
    let limits = Limits::read(&mut reader);
    let mut seed = [0; 8];
    seed.fill_with(|| reader.byte());
    let made = without_heap(|| Backoff::new(limits.config(), u64::from_be_bytes(seed)));
    if limits.base.is_zero() {
        return assert_eq!(made.err(), Some(BackoffConfigError::ZeroBase));
    }
    if limits.base > limits.cap {
        return assert_eq!(made.err(), Some(BackoffConfigError::BaseAboveCap));
    }
    let mut run = Run {
        backoff: made.expect("a configuration that can work"),
        limits,
        clock: 0,
        now: 0,
        generations: Vec::new(),
        failures: 0,
        phase: Phase::Idle,
    };
    for _ in 0..MAX_STEPS {
        if reader.is_empty() {
            break;
        }
        run.step(&mut reader);
        run.check();
    }
}

struct Limits {
    first: Duration,
    base: Duration,
    cap: Duration,
    min_uptime: Duration,
    max_retries: Option<u32>,
}

impl Limits {
    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            first: duration(reader.byte()),
            base: duration(reader.byte()),
            cap: duration(reader.byte()),
            min_uptime: duration(reader.byte()),
            max_retries: match reader.byte() {
                0..=127 => None,
                count => Some(u32::from(count - 128)),
            },
        }
    }

    fn config(&self) -> BackoffConfig {
        BackoffConfig::default()
            .first(self.first)
            .base(self.base)
            .cap(self.cap)
            .min_uptime(self.min_uptime)
            .max_retries(self.max_retries)
    }

    /// The longest delay after so many failures: `first`, `base`, twice that and so on, none of
    /// them above `cap`.
    fn longest(&self, failures: u32) -> Duration {
        if failures <= 1 {
            return self.first.min(self.cap);
        }
        let mut longest = self.base;
        for _ in 2..failures {
            if longest >= self.cap {
                break;
            }
            longest = longest.saturating_mul(2);
        }
        longest.min(self.cap)
    }
}

/// What is under way, as the history says.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Idle,
    Connecting,
    Open {
        since: u64,
    },
    Waiting {
        until: u64,
        floor: u64,
        hinted: bool,
    },
}

struct Run {
    backoff: Backoff,
    limits: Limits,
    /// What the caller's clock says, in nanoseconds; it may go back.
    clock: u64,
    /// The largest time told.
    now: u64,
    generations: Vec<Generation>,
    failures: u32,
    phase: Phase,
}

impl Run {
    fn step(&mut self, reader: &mut Reader<'_>) {
        match reader.byte() & 7 {
            0 => self.clock = self.clock.saturating_add(nanos(duration(reader.byte()))),
            1 => self.clock = self.clock.saturating_sub(nanos(duration(reader.byte()))),
            2 => {
                if let Some(due) = self.backoff.poll_timeout() {
                    self.clock = self.clock.max(due.as_nanos());
                }
                self.begin();
            }
            3 => self.begin(),
            4 => self.open(reader.byte()),
            5 | 6 => {
                let which = reader.byte();
                self.close(which, outcome(reader));
            }
            _ => self.network_up(),
        }
    }

    fn tell(&mut self) -> Instant {
        self.now = self.now.max(self.clock).min(END);
        Instant::from_nanos(self.clock)
    }

    fn begin(&mut self) {
        let now = self.tell();
        self.credit_uptime();
        let generation = without_heap(|| self.backoff.begin(now));
        assert!(
            self.generations
                .last()
                .is_none_or(|last| *last < generation)
        );
        self.generations.push(generation);
        self.phase = Phase::Connecting;
    }

    fn open(&mut self, which: u8) {
        let Some((generation, is_current)) = self.generation(which) else {
            return;
        };
        let now = self.tell();
        let opened = without_heap(|| self.backoff.handle_open(now, generation));
        match self.phase {
            Phase::Connecting if is_current => {
                assert_eq!(opened, Ok(()));
                self.phase = Phase::Open { since: self.now };
            }
            // It is open already, and since then.
            Phase::Open { .. } if is_current => assert_eq!(opened, Ok(())),
            _ => assert_eq!(opened, Err(Stale)),
        }
    }

    fn close(&mut self, which: u8, outcome: Outcome) {
        let Some((generation, is_current)) = self.generation(which) else {
            return;
        };
        let now = self.tell();
        let twin = self.backoff.clone().handle_closed(now, generation, outcome);
        let decision = without_heap(|| self.backoff.handle_closed(now, generation, outcome));
        assert_eq!(decision, twin, "the same calls, another answer");
        let is_under_way = matches!(self.phase, Phase::Connecting | Phase::Open { .. });
        if !is_under_way || !is_current {
            return assert_eq!(decision, Err(Stale));
        }
        self.credit_uptime();
        let decision = decision.expect("it is under way");
        assert_eq!(outcome.class(), class(outcome));
        let is_exhausted = self
            .limits
            .max_retries
            .is_some_and(|max| self.failures >= max);
        if class(outcome) == RetryClass::Fatal || is_exhausted {
            let why = match class(outcome) {
                RetryClass::Fatal => GiveUp::Fatal,
                RetryClass::Retry => GiveUp::Exhausted,
            };
            assert_eq!(decision, Decision::GiveUp(why));
            self.failures = 0;
            self.phase = Phase::Idle;
            return;
        }
        self.failures += 1;
        let Decision::Retry { at } = decision else {
            panic!("{decision:?} after {} failures", self.failures);
        };
        let mut longest = self.limits.longest(self.failures);
        let mut floor = self.now;
        if let Outcome::Refused {
            retry_after: Some(asked),
            ..
        } = outcome
        {
            // Clients that were told the same time spread as after a loss.
            longest = longest.max(self.limits.longest(1));
            floor = after(floor, asked.min(MAX_RETRY_AFTER));
        }
        let until = at.as_nanos();
        let most = after(floor, longest);
        assert!(
            until >= floor && until <= most,
            "{until} is not in {floor}..={most}"
        );
        self.phase = Phase::Waiting {
            until,
            floor,
            hinted: false,
        };
    }

    fn network_up(&mut self) {
        let now = self.tell();
        without_heap(|| self.backoff.handle_network_up(now));
        if let Phase::Waiting {
            until,
            floor,
            hinted,
        } = self.phase
        {
            let shortened = self.backoff.poll_timeout().map_or(END, Instant::as_nanos);
            let soonest = self.now.max(floor);
            let latest = until.min(after(soonest, self.limits.base));
            // A wait that is over stays over.
            assert!(
                shortened >= soonest.min(until) && shortened <= latest,
                "{shortened} after a hint"
            );
            if hinted {
                assert_eq!(shortened, until, "a second hint shortens nothing");
            }
            self.phase = Phase::Waiting {
                until: shortened,
                floor,
                hinted: true,
            };
        }
    }

    /// Only time open makes good, from `min_uptime` on.
    fn credit_uptime(&mut self) {
        if let Phase::Open { since } = self.phase
            && self.now - since >= nanos(self.limits.min_uptime)
        {
            self.failures = 0;
        }
    }

    /// One of the generations so far, and whether it is the last.
    fn generation(&self, which: u8) -> Option<(Generation, bool)> {
        let back = usize::from(which >> 5) % self.generations.len().max(1);
        let generation = self.generations.iter().rev().nth(back)?;
        Some((*generation, back == 0))
    }

    fn check(&self) {
        assert_eq!(self.backoff.failures(), self.failures);
        let due = without_heap(|| self.backoff.poll_timeout()).map(Instant::as_nanos);
        match self.phase {
            Phase::Waiting { until, .. } => assert_eq!(due, (until < END).then_some(until)),
            _ => assert_eq!(due, None),
        }
    }
}

/// Durations of every size: half of them in quarters of a second, the others powers of two.
fn duration(byte: u8) -> Duration {
    match byte {
        0..=127 => Duration::from_millis(250) * u32::from(byte),
        128..=191 => Duration::from_nanos(1 << (byte - 128)),
        192..=254 => Duration::from_secs(1 << (byte - 192)),
        255 => Duration::MAX,
    }
}

fn outcome(reader: &mut Reader<'_>) -> Outcome {
    match reader.byte() & 3 {
        0 => Outcome::ConnectFailed,
        1 => Outcome::Closed {
            code: reader.short(),
        },
        2 => Outcome::Refused {
            status: reader.short(),
            retry_after: None,
        },
        _ => Outcome::Refused {
            status: [503, 429, 408, 404][usize::from(reader.byte() & 3)],
            retry_after: Some(duration(reader.byte())),
        },
    }
}

/// The table in the docs of `Outcome::class`, once more.
fn class(outcome: Outcome) -> RetryClass {
    const FATAL: [u16; 9] = [1000, 1002, 1003, 1007, 1008, 1009, 1010, 3000, 3003];
    let can_help = match outcome {
        Outcome::Closed { code } => !FATAL.contains(&code),
        Outcome::Refused { status, .. } => [408, 425, 429].contains(&status) || status / 100 == 5,
        _ => true,
    };
    if can_help {
        RetryClass::Retry
    } else {
        RetryClass::Fatal
    }
}

/// So much later, at most at the end of the timeline.
fn after(time: u64, span: Duration) -> u64 {
    time.saturating_add(nanos(span)).min(END)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

const END: u64 = Instant::MAX.as_nanos();

const MAX_STEPS: usize = 200;

/// For so long a Retry-After is obeyed by default.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);
