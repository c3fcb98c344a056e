//! Healthy peers that must live and dead ones that must be found, over real sockets: a table of
//! scenarios ([`scenario`]) and a table of programs ([`program`]), and a grid of what came out.
//!
//! Each cell is a process of its own in a network namespace of its own, with a peer that knows
//! frames and no engine; the program under test is a child of it, which can be stopped.

mod cell;
mod grid;
mod known;
mod lateness;
mod peer;
mod process;
mod program;
mod scenario;

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("subject") => program::run(&arguments[1..]),
        Some("cell") => cell::run(&arguments[1..]),
        _ => return grid::main(&arguments),
    }
    ExitCode::SUCCESS
}
