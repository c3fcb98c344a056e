//! What a peer can make an adapter hold: floods, an application that stops reading, a peer that
//! stops reading, and both; with each adapter, in both roles, plain and through TLS.
//!
//! A test's name is `case/adapter/role/transport`. Each runs in a process of its own, since the
//! allocator counts the whole process (but for the peer).

mod cases;

use std::process::{Command, ExitCode};
use std::time::Instant;

use libtest_mimic::{Arguments, Failed, Trial};
use wspulse_core::Role;
use wspulse_tests::net::{Heap, Tls, subjects};

#[global_allocator]
static ALLOCATOR: Heap = Heap;

/// How many processes run at once, unless `--test-threads` says otherwise.
const AT_ONCE: usize = 32;

/// Tells a process that it is the one for the test of this name.
const NAME: &str = "WSPULSE_MEMORY_TEST";

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(NAME) {
        return match run(&name) {
            Ok(figure) => {
                println!("{figure}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                println!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let began = Instant::now();
    let trials = names().into_iter().map(|name| {
        let title = name.clone();
        Trial::test(title, move || in_a_process(&name))
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    println!("{} ms in all", began.elapsed().as_millis());
    conclusion.exit_code()
}

fn names() -> Vec<String> {
    let mut names = Vec::new();
    for case in cases::all() {
        for subject in subjects() {
            for role in ["client", "server"] {
                for transport in ["tcp", "tls"] {
                    names.push(format!(
                        "{}/{}/{role}/{transport}",
                        case.name,
                        subject.name()
                    ));
                }
            }
        }
    }
    names
}

fn in_a_process(name: &str) -> Result<(), Failed> {
    let output = Command::new(std::env::current_exe()?)
        .env(NAME, name)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{said} {errors}({})", output.status).into());
    }
    println!("{name}: {said}");
    Ok(())
}

fn run(name: &str) -> Result<String, String> {
    let parts: Vec<&str> = name.split('/').collect();
    let [case, subject, role, transport] = parts[..] else {
        return Err(format!("no such test: {name}"));
    };
    let case = cases::all().into_iter().find(|known| known.name == case);
    let subject = subjects().into_iter().find(|known| known.name() == subject);
    let (Some(case), Some(subject)) = (case, subject) else {
        return Err(format!("no such test: {name}"));
    };
    let role = if role == "client" {
        Role::Client
    } else {
        Role::Server
    };
    case.run(subject, role, (transport == "tls").then(Tls::new))
}
