//! What fails today, and why.

use crate::program::Program;
use crate::scenario::Scenario;

/// The list: a scenario, the programs, the finding; and `server` or `client` where only one role
/// fails.
const KNOWN: &str = include_str!("../known.txt");

/// Returns the finding for which a cell may fail.
pub(crate) fn finding(scenario: &Scenario, program: Program, role: &str) -> Option<&'static str> {
    lines().find_map(|(name, programs, finding, only)| {
        let is_listed = name == scenario.name
            && (programs == "all" || programs.split(',').any(|listed| listed == program.name()))
            && only.is_none_or(|only| only == role);
        is_listed.then_some(finding)
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
