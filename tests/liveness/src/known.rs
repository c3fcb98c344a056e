//! What fails today, and why.

use crate::program::Program;
use crate::scenario::Scenario;

/// The list: a scenario, the programs, the finding; and `server` or `client` where only one role
/// fails. A finding with a question mark depends on the phase of a timer in the kernel, so its cells
/// may pass.
const KNOWN: &str = include_str!("../known.txt");

/// A row of the list.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub(crate) finding: &'static str,
    /// Whether a cell that passes may stay in the list.
    pub(crate) may_pass: bool,
}

/// Returns the finding for which a cell may fail.
pub(crate) fn finding(scenario: &Scenario, program: Program, role: &str) -> Option<Known> {
    lines().find_map(|(name, programs, finding, only)| {
        let is_listed = name == scenario.name
            && (programs == "all" || programs.split(',').any(|listed| listed == program.name()))
            && only.is_none_or(|only| only == role);
        is_listed.then_some(Known {
            finding: finding.trim_end_matches('?'),
            may_pass: finding.ends_with('?'),
        })
    })
}

fn lines() -> impl Iterator<
    Item = (
        &'static str,
        &'static str,
        &'static str,
        Option<&'static str>,
    ),
> {
    KNOWN
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?, words.next()?, words.next()))
        })
}
