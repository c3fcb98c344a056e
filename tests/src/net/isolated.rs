//! Tests that each have a process to themselves.

use std::env;
use std::process::{Command, ExitCode};
use std::time::Instant;

use libtest_mimic::{Arguments, Failed, Trial};

/// Tells a process that it is the one for the test of this name.
const NAME: &str = "WSPULSE_TEST";

/// The `main` of a test binary whose tests count descriptors, threads or the heap, which belong to
/// the whole process: runs each of `names` in a process of its own, `at_once` at a time unless
/// `--test-threads` says otherwise. `run` returns figures worth printing, or what is wrong.
pub fn main(
    names: Vec<String>,
    at_once: usize,
    run: impl FnOnce(&str) -> Result<String, String>,
) -> ExitCode {
    if let Ok(name) = env::var(NAME) {
        let (Ok(said) | Err(said)) = &run(&name).map_err(|error| format!("broken: {error}"));
        println!("{said}");
        return ExitCode::from(u8::from(said.starts_with("broken")));
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(at_once);
    let began = Instant::now();
    let trials = names.into_iter().map(|name| {
        let title = name.clone();
        Trial::test(title, move || in_a_process(&name))
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    println!("{} ms in all", began.elapsed().as_millis());
    conclusion.exit_code()
}

fn in_a_process(name: &str) -> Result<(), Failed> {
    let output = Command::new(env::current_exe()?).env(NAME, name).output()?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{said} {errors}({})", output.status).into());
    }
    println!("{name}: {said}");
    Ok(())
}
