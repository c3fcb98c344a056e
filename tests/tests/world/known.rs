//! Lists of failures that are known, and must shrink.

use std::collections::BTreeSet;

use wspulse_tests::world::cases::Case;
use wspulse_tests::world::search::Report;

/// Compares what fell with the list `text`, a line each: `finding | world | failure`. Prints each
/// failure that is in the list with its timeline. A finding that ends with `(deep)` is for the
/// search of `tests/world.sh` alone. A failure that is not in the list is told first, also where
/// the search did not come to its end.
///
/// With `WSPULSE_WORLD_LIST` set, prints the lines that the list should have.
pub(crate) fn check(file: &str, text: &str, reports: &[(Case, Report)]) {
    let mut left: BTreeSet<(&str, String)> = BTreeSet::new();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.contains(" (deep) | "));
    let entries: Vec<(&str, &str, &str)> = lines
        .map(|line| {
            let mut cells = line.split(" | ").map(str::trim);
            let mut cell = || cells.next().expect("three cells in a line");
            (cell(), cell(), cell())
        })
        .collect();
    for (_, world, failure) in &entries {
        let is_new = left.insert((world, (*failure).to_owned()));
        assert!(is_new, "{file}: {world} | {failure} is there twice");
    }
    let mut unknown = Vec::new();
    for (case, report) in reports {
        for failure in &report.failures {
            let name = failure.violation.to_string();
            let entry = entries
                .iter()
                .find(|(_, world, known)| *world == case.name && *known == name);
            let finding = entry.map_or("?", |(finding, _, _)| finding);
            if std::env::var_os("WSPULSE_WORLD_LIST").is_some() {
                println!("LIST {file} {finding} | {} | {name}", case.name);
            }
            let told = format!("{finding} in \"{}\": {failure}", case.name);
            if left.remove(&(case.name, name)) {
                println!("known: {told}");
            } else {
                unknown.push(told);
            }
        }
    }
    assert!(
        unknown.is_empty(),
        "{file} does not have:\n{}",
        unknown.join("\n")
    );
    for (case, report) in reports {
        assert!(report.is_complete, "{}: {report}", case.name);
    }
    assert!(
        left.is_empty(),
        "{file} has what no longer fails: take it out of the list: {left:#?}"
    );
}
