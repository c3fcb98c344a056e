//! The grid: every cell, many at a time, and what came out beside what is known to fail.

use std::collections::HashMap;
use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::cell::Verdict;
use crate::known;
use crate::program::{Adapter, Program};
use crate::scenario::{Counted, SCENARIOS, Scenario};

const USAGE: &str = "\
usage: run.sh [OPTION..] [SCENARIO..]
  --timers 1s       interval and timeout
  --role server     server, client, both, or either: each cell in one of them, by turns
  --programs A,B    tokio-W tokio-K tokio-H tokio-P std-W std-H std-P mio-M, or naive
  --heartbeat off   shows that the dead are not found without
  --jobs 12         cells at once
  --list            the scenarios
  --verbose         every cell as it ends";

/// A cell that does not come out as the list says, on a machine that was late by more than this,
/// is void, and repeated.
const TOO_LATE: Duration = Duration::from_millis(150);
const ATTEMPTS: u32 = 3;

struct Options {
    timer: Duration,
    roles: Vec<Roles>,
    programs: Vec<Program>,
    has_heartbeat: bool,
    jobs: usize,
    is_verbose: bool,
    scenarios: Vec<&'static Scenario>,
}

/// The roles of one grid.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Roles {
    Server,
    Client,
    /// Each cell in one of them, by turns.
    Either,
}

#[derive(Clone, Copy)]
struct Cell {
    scenario: &'static Scenario,
    program: Program,
    role: &'static str,
}

pub(crate) fn main(arguments: &[String]) -> ExitCode {
    if arguments.iter().any(|argument| argument == "--list") {
        for scenario in SCENARIOS {
            println!("{}", scenario.name);
        }
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let began = Instant::now();
    let mut cells = Vec::new();
    for roles in &options.roles {
        for scenario in &options.scenarios {
            for program in &options.programs {
                cells.push(roles.cell(scenario, *program));
            }
        }
    }
    let verdicts = play_all(&cells, &options);
    let mut is_right = true;
    let grids = verdicts.chunks(options.scenarios.len() * options.programs.len());
    for (roles, verdicts) in options.roles.iter().zip(grids) {
        print_grid(&options, *roles, verdicts);
    }
    for (cell, verdict) in cells.iter().zip(&verdicts) {
        if cell.is_judged(&options) {
            is_right &= cell.is_as_known(verdict);
        }
    }
    let seconds = began.elapsed().as_secs();
    println!("\n{} cells in {seconds} s", cells.len());
    ExitCode::from(u8::from(!is_right))
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self {
            timer: Duration::from_secs(1),
            roles: vec![Roles::Server, Roles::Client],
            programs: Program::ALL
                .into_iter()
                .filter(|program| program.adapter != Adapter::Naive)
                .collect(),
            has_heartbeat: true,
            jobs: 12,
            is_verbose: false,
            scenarios: Vec::new(),
        };
        let mut names = Vec::new();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            let wrong = |value: &str| format!("{argument} {value}: no such value");
            match &argument[..] {
                "--timers" => options.timer = span(value()?).ok_or(wrong("that"))?,
                "--role" => {
                    options.roles = match &value()?[..] {
                        "server" => vec![Roles::Server],
                        "client" => vec![Roles::Client],
                        "both" => vec![Roles::Server, Roles::Client],
                        "either" => vec![Roles::Either],
                        other => return Err(wrong(other)),
                    }
                }
                "--programs" => {
                    let find = |name| Program::find(name).ok_or_else(|| wrong(name));
                    options.programs = value()?.split(',').map(find).collect::<Result<_, _>>()?;
                }
                "--heartbeat" => {
                    options.has_heartbeat = match &value()?[..] {
                        "on" => true,
                        "off" => false,
                        other => return Err(wrong(other)),
                    }
                }
                "--jobs" => options.jobs = value()?.parse().map_err(|_| wrong("that"))?,
                "--verbose" => options.is_verbose = true,
                name => {
                    if !SCENARIOS.iter().any(|known| known.name == name) {
                        return Err(format!("{name}: no such scenario"));
                    }
                    names.push(name);
                }
            }
        }
        // In the order of the table.
        let named = |known: &&Scenario| names.is_empty() || names.contains(&known.name);
        options.scenarios = SCENARIOS.iter().filter(named).collect();
        Ok(options)
    }
}

impl Roles {
    const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Either => "either role",
        }
    }

    fn cell(self, scenario: &'static Scenario, program: Program) -> Cell {
        let role = match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Either => {
                let first = SCENARIOS.iter().position(|s| s.name == scenario.name);
                let second = Program::ALL.iter().position(|known| *known == program);
                let is_even = (first.unwrap_or(0) + second.unwrap_or(0)).is_multiple_of(2);
                if is_even { "server" } else { "client" }
            }
        };
        Cell {
            scenario,
            program,
            role,
        }
    }
}

impl Cell {
    /// Whether only what is listed fails, and all that is listed.
    fn is_as_known(&self, verdict: &Verdict) -> bool {
        let Self {
            scenario,
            program,
            role,
        } = self;
        let finding = known::finding(scenario, *program, role);
        let name = format!("{} {} {role}", scenario.name, program.name());
        match (finding, verdict.is_ok()) {
            _ if verdict.word == Verdict::VOID && (finding.is_some() || self.counts()) => {
                println!(
                    "VOID: {name}: {}; the machine was {} ms late",
                    verdict.detail,
                    verdict.late.as_millis()
                );
                false
            }
            (Some(known), true) if !known.may_pass => {
                println!("PASSES, and is listed for {}: {name}", known.finding);
                false
            }
            (None, false) if self.counts() => {
                println!("FAILS: {name}: {}: {}", verdict.word, verdict.detail);
                false
            }
            _ => true,
        }
    }

    /// The list says nothing about other timers than the project's.
    fn is_judged(&self, options: &Options) -> bool {
        options.has_heartbeat && self.program.adapter != Adapter::Naive
    }

    fn counts(&self) -> bool {
        match self.scenario.counted {
            Counted::All => true,
            Counted::SpawnAndMio => self.program.runs_alone(),
        }
    }

    /// Plays it, again where the machine was too late for a judgement.
    fn play(&self, options: &Options) -> Verdict {
        let known = known::finding(self.scenario, self.program, self.role);
        let mut attempt = 1;
        loop {
            let verdict = self.play_once(options);
            let is_expected = match known {
                Some(known) => known.may_pass || !verdict.is_ok(),
                None => verdict.is_ok(),
            };
            if is_expected || verdict.late <= TOO_LATE || !self.is_judged(options) {
                return verdict;
            }
            if attempt == ATTEMPTS {
                return Verdict {
                    word: Verdict::VOID.to_owned(),
                    detail: format!("{}: {}", verdict.word, verdict.detail),
                    ..verdict
                };
            }
            attempt += 1;
        }
    }

    fn play_once(&self, options: &Options) -> Verdict {
        let broken = |detail: String| Verdict {
            word: "broken".to_owned(),
            detail,
            late: Duration::ZERO,
        };
        let mut process = match self.start(options) {
            Ok(process) => process,
            Err(error) => return broken(error.to_string()),
        };
        let pid = process.id();
        let limit = Instant::now() + LIMIT + 25 * options.timer;
        let stdout = process.stdout.take();
        let reader = thread::spawn(move || {
            let lines = BufReader::new(stdout?).lines().map_while(Result::ok);
            lines.last()
        });
        while !reader.is_finished() && Instant::now() < limit {
            thread::sleep(Duration::from_millis(20));
        }
        // The process has said what it has to say, or never will.
        end(&mut process);
        let said = reader.join().ok().flatten();
        let verdict = said.as_deref().and_then(Verdict::parse);
        verdict.unwrap_or_else(|| broken(format!("process {pid} said {said:?}")))
    }

    fn start(&self, options: &Options) -> std::io::Result<Child> {
        Command::new("unshare")
            .args(["--net", "--"])
            .arg(env::current_exe()?)
            .args(["cell", self.scenario.name, self.program.name(), self.role])
            .arg(options.timer.as_millis().to_string())
            .arg(options.has_heartbeat.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
    }
}

/// No cell takes longer than this and 25 timers.
const LIMIT: Duration = Duration::from_secs(40);

fn end(process: &mut Child) {
    let _ = process.kill();
    let _ = process.wait();
}

fn play_all(cells: &[Cell], options: &Options) -> Vec<Verdict> {
    let next = AtomicUsize::new(0);
    let verdicts = Mutex::new(vec![None; cells.len()]);
    thread::scope(|scope| {
        for _ in 0..options.jobs.clamp(1, 64) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(cell) = cells.get(index) else {
                        return;
                    };
                    let verdict = cell.play(options);
                    if options.is_verbose {
                        let Cell {
                            scenario,
                            program,
                            role,
                        } = cell;
                        println!(
                            "{} {} {role}: {}: {}; control {} ms late",
                            scenario.name,
                            program.name(),
                            verdict.word,
                            verdict.detail,
                            verdict.late.as_millis()
                        );
                    }
                    verdicts.lock().expect("no panic")[index] = Some(verdict);
                }
            });
        }
    });
    let verdicts = verdicts.into_inner().expect("no panic");
    verdicts.into_iter().map(|v| v.expect("played")).collect()
}

fn print_grid(options: &Options, roles: Roles, verdicts: &[Verdict]) {
    let columns = options.programs.len();
    let rows: HashMap<_, _> = options
        .scenarios
        .iter()
        .map(|scenario| scenario.name)
        .zip(verdicts.chunks(columns))
        .collect();
    let names: Vec<_> = options
        .programs
        .iter()
        .map(|program| program.name())
        .collect();
    let timer = options.timer;
    println!("\n| {}, {timer:?} | {} |", roles.name(), names.join(" | "));
    println!("| --- |{}", " --- |".repeat(names.len()));
    for (index, scenario) in options.scenarios.iter().enumerate() {
        let is_first =
            index == 0 || options.scenarios[index - 1].is_healthy() != scenario.is_healthy();
        if is_first {
            let kind = if scenario.is_healthy() {
                "must live"
            } else {
                "must be found"
            };
            println!("| **{kind}** |{}", " |".repeat(names.len()));
        }
        print!("| {} |", scenario.name);
        for (program, verdict) in options.programs.iter().zip(rows[scenario.name]) {
            let cell = roles.cell(scenario, *program);
            let word = &verdict.word[..];
            let finding = known::finding(scenario, *program, cell.role);
            match (cell.counts(), finding) {
                (true, Some(known)) if word != Verdict::OK && cell.is_judged(options) => {
                    print!(" {word} ({}) |", known.finding)
                }
                (true, _) => print!(" {word} |"),
                (false, _) => print!(" ({word}) |"),
            }
        }
        println!();
    }
    for is_healthy in [true, false] {
        let of_kind: Vec<_> = options
            .scenarios
            .iter()
            .filter(|scenario| scenario.is_healthy() == is_healthy)
            .collect();
        print!(
            "| {} of {} |",
            if is_healthy { "**kept**" } else { "**found**" },
            of_kind.len()
        );
        for column in 0..columns {
            let of_column = of_kind
                .iter()
                .map(|scenario| rows[scenario.name].get(column));
            let good = of_column.flatten().filter(|verdict| verdict.is_ok());
            print!(" {} |", good.count());
        }
        println!();
    }
}

fn span(text: &str) -> Option<Duration> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    (0.1..=60.0)
        .contains(&seconds)
        .then(|| Duration::from_secs_f64(seconds))
}
