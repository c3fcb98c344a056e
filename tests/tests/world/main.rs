//! The heartbeat searched breadth first beside the truth, against the oracles of the rules.
//!
//! `cargo test -p wspulse-tests --no-default-features --test world -- --nocapture` prints every
//! known failure with its shortest timeline. `known.txt` lists them, and `different.txt` where
//! the shipped heartbeat and the reference answer differently. Both lists must shrink to nothing:
//! a failure that is not in its list fails the test, and so does an entry that no longer fails.

mod known;
mod switches;

use wspulse_core::heartbeat::Mode;
use wspulse_tests::world::cases::{Case, cases, scenes};
use wspulse_tests::world::compare::Both;
use wspulse_tests::world::heartbeat::{Engine, HeartbeatWorld, Shipped};
use wspulse_tests::world::oracle::Oracle;
use wspulse_tests::world::reference::Reference;
use wspulse_tests::world::search::{Limits, Report, search};

#[test]
fn the_shipped_heartbeat_breaks_only_what_is_known() {
    let reports = every_world(|case| Shipped::new(&case.policies[0]));
    // First, so that a failure has its timeline also where it makes something unreachable.
    known::check("known.txt", include_str!("known.txt"), &reports);
    for (case, report) in &reports {
        // What is reachable, or is missed for a reason that is in the list.
        let fails = |oracle| {
            report
                .failures
                .iter()
                .any(|it| it.violation.oracle == oracle)
        };
        let is_missed = fails(Oracle::NotFound);
        assert_reachable(case, report, is_missed || fails(Oracle::NoWarning));
    }
}

#[test]
fn the_reference_keeps_every_oracle() {
    for (case, report) in every_world(|case| Reference::new(&case.policies[0])) {
        assert!(report.is_complete, "{}: {report}", case.name);
        assert_reachable(&case, &report, false);
        if let Some(failure) = report.failures.first() {
            panic!("{}: {failure}", case.name);
        }
    }
}

#[test]
fn the_shipped_heartbeat_differs_from_the_reference_only_where_known() {
    let reports = every_world(|case| {
        let policy = &case.policies[0];
        Both::new(Shipped::new(policy), Reference::new(policy))
    });
    let differences: Vec<_> = reports
        .into_iter()
        .map(|(case, mut report)| {
            let differs = |oracle| oracle == Oracle::Disagreement;
            report.failures.retain(|it| differs(it.violation.oracle));
            (case, report)
        })
        .collect();
    known::check("different.txt", include_str!("different.txt"), &differences);
}

fn every_world<E: Engine>(engine: impl Fn(&Case) -> E) -> Vec<(Case, Report)> {
    let worlds = cases().into_iter().chain(scenes());
    worlds
        .map(|case| {
            let engine = engine(&case);
            let report = run(&case, engine);
            println!("{}: {report}", case.name);
            (case, report)
        })
        .collect()
}

fn run<E: Engine>(case: &Case, engine: E) -> Report {
    let world = HeartbeatWorld {
        setting: case.setting.clone(),
        policies: case.policies.clone(),
        engine,
    };
    search(&world, Limits::depth(case.depth))
}

/// A check that cannot fail is worse than none: pings, suspicions and deaths must be met.
fn assert_reachable(case: &Case, report: &Report, may_miss_death: bool) {
    let policy = &case.policies[0];
    let dies = !case.setting.deaths.is_empty();
    let is_watched = dies && policy.mode != Mode::Off && !case.setting.forgets_looks;
    let expected = [
        ("ping", policy.pings()),
        ("suspicion", is_watched && !may_miss_death),
        ("death by silence", is_watched && !may_miss_death),
        ("death by a stalled write", dies && policy.mode == Mode::Off),
    ];
    for (mark, is_expected) in expected {
        let is_met = report.count(mark) > 0;
        assert!(is_met || !is_expected, "{}: no {mark}: {report}", case.name);
    }
}
