//! Compares instruction counts with the stored ones, for `instructions.sh`.
//!
//! `instructions --stored FILE [--store]` reads what `cargo bench --bench instructions --
//! --output-format=json` prints; with `--store` it writes the file anew and compares nothing.

use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::process::{Command, ExitCode};
use std::{fs, iter};

use serde_json::{Value, json};
use wspulse_bench::stats::{has_option, option_value};
use wspulse_bench::table::{Table, figure};

/// What a count may be above the stored one.
const TOLERANCE: f64 = 0.03;

/// The same where another compiler or C library made the count.
const TOLERANCE_ELSEWHERE: f64 = 0.10;

type Counts = BTreeMap<String, u64>;

fn main() -> io::Result<ExitCode> {
    let path = option_value("--stored").expect("--stored FILE");
    let counts = read_counts(io::stdin().lock())?;
    if counts.is_empty() {
        eprintln!("no counts came in");
        return Ok(ExitCode::FAILURE);
    }
    let tools = tools();
    if has_option("--store") {
        let stored = json!({ "tools": tools, "instructions": counts });
        fs::write(&path, format!("{stored:#}\n"))?;
        print!("{}", draw(&counts, &counts));
        return Ok(ExitCode::SUCCESS);
    }

    let stored: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
    let made_by = stored["tools"].as_str().unwrap_or_default();
    let mut tolerance = TOLERANCE;
    if made_by != tools {
        eprintln!("warning: {path} was made by {made_by}, this is {tools}: 10 % may differ");
        tolerance = TOLERANCE_ELSEWHERE;
    }
    let stored: Counts = serde_json::from_value(stored["instructions"].clone())?;
    print!("{}", draw(&counts, &stored));
    let faults = faults(&counts, &stored, tolerance);
    for fault in &faults {
        eprintln!("{fault}");
    }
    if faults.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("if it is meant to be so: tests/bench/instructions.sh --store");
    Ok(ExitCode::FAILURE)
}

/// Takes the count of each benchmark, one JSON object a line.
fn read_counts(lines: impl BufRead) -> io::Result<Counts> {
    let mut counts = Counts::new();
    for line in lines.lines() {
        let run: Value = serde_json::from_str(&line?)?;
        let values = &run["profiles"][0]["data"]["total"]["metrics"]["Ir"]["values"];
        // `both` stands in the place of `new` where an earlier run lies about.
        let count = values["new"].as_u64().or(values["both"][0].as_u64());
        let (function, id) = (run["function_name"].as_str(), run["id"].as_str());
        let (Some(function), Some(id), Some(count)) = (function, id, count) else {
            return Err(io::Error::other(format!("no count in {run}")));
        };
        counts.insert(format!("{function} {id}"), count);
    }
    Ok(counts)
}

/// Says what is too high, new or gone.
fn faults(counts: &Counts, stored: &Counts, tolerance: f64) -> Vec<String> {
    let of_count = |(name, &count): (&String, &u64)| match stored.get(name) {
        None => Some(format!("{name} is not in the file")),
        Some(&before) if count as f64 > before as f64 * (1.0 + tolerance) => Some(format!(
            "{name}: {count} instructions, more than {before} and {:.0} %",
            tolerance * 100.0
        )),
        Some(_) => None,
    };
    let gone = stored.keys().filter(|name| !counts.contains_key(*name));
    let gone = gone.map(|name| format!("{name} was not counted"));
    counts.iter().filter_map(of_count).chain(gone).collect()
}

fn draw(counts: &Counts, stored: &Counts) -> Table {
    let mut table = Table::new(["", "instructions each", "stored", "change"]);
    for (name, &count) in counts {
        let each = |count: u64| figure(count as f64 / times(name) as f64);
        let before = stored.get(name).copied();
        let change = before.map(|before| (count as f64 / before as f64 - 1.0) * 100.0);
        let cells = [
            each(count),
            before.map(each).unwrap_or_default(),
            change
                .map(|change| format!("{change:+.2} %"))
                .unwrap_or_default(),
        ];
        table.row(iter::once(name.clone()).chain(cells));
    }
    table
}

/// How often the work is done: the number behind the last `x`.
fn times(name: &str) -> u64 {
    let number = name.rsplit_once('x').map(|(_, number)| number.parse());
    number.and_then(Result::ok).unwrap_or(1)
}

/// What the counts depend on beside the code.
fn tools() -> String {
    [
        &["rustc", "--version"][..],
        &["getconf", "GNU_LIBC_VERSION"],
    ]
    .map(|words| {
        let output = Command::new(words[0]).args(&words[1..]).output();
        let text = output.map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&text).trim().to_owned()
    })
    .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(list: &[(&str, u64)]) -> Counts {
        let owned = list.iter().map(|&(name, count)| (name.to_owned(), count));
        owned.collect()
    }

    #[test]
    fn three_percent_more_is_taken_and_more_is_not() {
        let stored = counts(&[("a", 1_000), ("b", 1_000)]);
        assert!(faults(&counts(&[("a", 1_030), ("b", 10)]), &stored, TOLERANCE).is_empty());
        let faults = faults(&counts(&[("a", 1_031), ("b", 1_000)]), &stored, TOLERANCE);
        assert_eq!(faults, ["a: 1031 instructions, more than 1000 and 3 %"]);
    }

    #[test]
    fn new_and_missing_work_is_told() {
        let faults = faults(&counts(&[("a", 1)]), &counts(&[("b", 1)]), TOLERANCE);
        assert_eq!(faults, ["a is not in the file", "b was not counted"]);
    }

    #[test]
    fn a_line_without_a_count_is_an_error() {
        let line = r#"{"function_name":"f","id":"g_x2","profiles":[{"data":{"total":{"metrics":{"Ir":{"values":{"new":7}}}}}}]}"#;
        assert_eq!(
            read_counts(line.as_bytes()).unwrap(),
            counts(&[("f g_x2", 7)])
        );
        assert_eq!(times("f g_x2"), 2);
        assert!(read_counts(&b"{}"[..]).is_err());
    }
}
