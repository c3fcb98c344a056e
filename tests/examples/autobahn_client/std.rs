//! A thread for each case that runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use wspulse_std::{Error, connect};

use crate::{Server, is_on_purpose, say_failed};

pub(crate) fn run(server: &Server) -> Result<usize, Error> {
    let count = case_count(server)?;
    let next = AtomicUsize::new(1);
    thread::scope(|scope| {
        for _ in 0..server.parallel {
            scope.spawn(|| {
                loop {
                    let case = next.fetch_add(1, Ordering::Relaxed);
                    if case > count {
                        return;
                    }
                    if let Err(error) = run_case(server, case) {
                        say_failed(case, &error);
                    }
                }
            });
        }
    });
    let mut ws = connect(&server.report(), Arc::clone(&server.config))?;
    while let Some(message) = ws.next() {
        message?;
    }
    Ok(count)
}

fn case_count(server: &Server) -> Result<usize, Error> {
    let mut ws = connect(&server.count(), Arc::clone(&server.config))?;
    let mut count = 0;
    while let Some(message) = ws.next() {
        if let Some(number) = message?.as_text().and_then(|text| text.parse().ok()) {
            count = number;
        }
    }
    Ok(count)
}

/// Echoes until the connection ends.
fn run_case(server: &Server, case: usize) -> Result<(), Error> {
    let mut ws = connect(&server.case(case), Arc::clone(&server.config))?;
    while let Some(message) = ws.next() {
        match message {
            Ok(message) => match ws.send(message) {
                Ok(()) | Err(Error::Send(_)) => {}
                Err(error) => return Err(error),
            },
            Err(error) if is_on_purpose(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
