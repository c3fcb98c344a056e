//! The search over a `Connection` in the world, and the list of what is known to fail in it.
//!
//! Run with `--nocapture`, it prints the states of each world, and the shortest timeline of each
//! failure. `WSPULSE_WORLDS=idle,closing` searches the worlds whose names begin so, and no others.
//! With `WSPULSE_LONG_SEARCH=1` more happens in each world and it is searched as far as memory allows; a
//! failure that is not listed is one there too.

use std::collections::BTreeMap;

use wspulse_tests::world::connection::known::{KNOWN, Known, whole_messages};
use wspulse_tests::world::connection::setups;
use wspulse_tests::world::oracle::{Oracle, Violation};
use wspulse_tests::world::search::{Limits, Report, search};

/// A failure found, with its timeline.
type Found = (&'static str, Violation, String);

#[test]
fn what_fails_is_what_is_known() {
    let worlds = std::env::var("WSPULSE_WORLDS").unwrap_or_default();
    let is_chosen = |name: &str| worlds.split(',').any(|chosen| name.starts_with(chosen));
    let (found, reports) = look(is_chosen);
    let is_known = |(world, violation, _): &Found| {
        KNOWN
            .iter()
            .any(|known| known.is_of(world) && known.violation == *violation)
    };
    let new: Vec<String> = found
        .iter()
        .filter(|found| !is_known(found))
        .map(|(world, violation, timeline)| format!("{world}: {violation}\n{timeline}"))
        .collect();
    let is_found = |known: &&Known| {
        let mut found = found.iter();
        found.any(|(world, violation, _)| known.is_of(world) && known.violation == *violation)
    };
    let passes: Vec<String> = KNOWN
        .iter()
        .filter(|known| !is_found(known) && is_chosen(known.world) && !known.world.is_empty())
        .map(|known| format!("{}: {}: {}", known.world, known.violation, known.because))
        .collect();
    assert!(new.is_empty(), "not in the list:\n{}", new.join("\n"));
    // A long search may run out of room before it comes to all of them.
    let is_long = std::env::var_os("WSPULSE_LONG_SEARCH").is_some();
    assert!(
        is_long || passes.is_empty(),
        "passes now, take it off the list:\n{}",
        passes.join("\n")
    );
    if worlds.is_empty() {
        reaches(&reports, &[OPENING, OPEN, ENDS, JITTER].concat());
    } else if is_chosen("jitter") {
        reaches(&reports, JITTER);
    }
}

/// The chosen worlds, each searched to its depth.
fn look(is_chosen: impl Fn(&str) -> bool) -> (Vec<Found>, Vec<(&'static str, Report)>) {
    let mut found = Vec::new();
    let mut reports = Vec::new();
    let is_long = std::env::var_os("WSPULSE_LONG_SEARCH").is_some();
    for mut setup in setups::all() {
        if !is_chosen(setup.name) {
            continue;
        }
        let mut limits = Limits::depth(setup.depth);
        if is_long {
            setup = setup.wider();
            limits = Limits::depth(3 * setup.depth);
            limits.states = 10_000_000;
            limits.level = 700_000;
        }
        let report = search(&setup, limits);
        println!("{}: {report}", setup.name);
        for failure in &report.failures {
            println!("{failure}");
            found.push((setup.name, failure.violation, failure.timeline.clone()));
        }
        for mark in report.marks.keys() {
            if mark.starts_with("no step") {
                let violation = Violation::new(Oracle::ShiftedTwice, mark);
                found.push((setup.name, violation, String::new()));
            }
        }
        assert!(is_long || report.is_complete, "{}: {report}", setup.name);
        reports.push((setup.name, report));
    }
    if is_chosen("whole messages")
        && let Err(violation) = whole_messages()
    {
        println!("whole messages: {violation}");
        found.push(("whole messages", violation, String::new()));
    }
    (found, reports)
}

const OPENING: &[&str] = &["handshake timeout", "open"];

const OPEN: &[&str] = &["ping", "suspicion", "recovery", "death", "write stall"];

const ENDS: &[&str] = &[
    "closed",
    "close timeout",
    "dead",
    "end of stream",
    "idle timeout",
    "maximum age",
    "message timeout",
    "protocol error",
];

/// Rules 12 and 13: what is drawn is drawn from all of its span.
const JITTER: &[&str] = &[
    "first ping in the first quarter",
    "first ping in the second quarter",
    "first ping in the third quarter",
    "first ping in the last quarter",
    "later ping early",
    "later ping on time",
    "maximum age early",
];

/// A check that cannot fail is worse than none: each of these must have been met.
fn reaches(reports: &[(&'static str, Report)], marks: &[&str]) {
    let mut met: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, report) in reports {
        for (mark, count) in &report.marks {
            *met.entry(mark).or_default() += count;
        }
    }
    println!("{met:#?}");
    let missed: Vec<&&str> = marks
        .iter()
        .filter(|mark| !met.contains_key(**mark))
        .collect();
    assert!(missed.is_empty(), "never met: {missed:?}");
}
