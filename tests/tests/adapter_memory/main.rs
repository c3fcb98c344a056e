//! What a peer can make an adapter hold: floods, an application that stops reading, a peer that
//! stops reading, and both; with each adapter, in both roles, plain and through TLS.
//!
//! A test's name is `case/adapter/role/transport`. Each runs in a process of its own, since the
//! allocator counts the whole process (but for the peer).

mod cases;

use std::process::ExitCode;

use wspulse_core::Role;
use wspulse_tests::net::{Heap, Tls, isolated, place, places, subjects};

#[global_allocator]
static ALLOCATOR: Heap = Heap;

/// How many processes run at once; most of their time is sleep.
const AT_ONCE: usize = 32;

fn main() -> ExitCode {
    isolated::main(names(), AT_ONCE, run)
}

fn names() -> Vec<String> {
    let mut names = Vec::new();
    for case in cases::all() {
        for (subject, role, tls) in places() {
            names.push(format!("{}/{}", case.name, place(subject, role, tls)));
        }
    }
    names
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
