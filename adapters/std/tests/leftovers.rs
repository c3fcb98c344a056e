//! What a connection leaves behind: nothing. Alone in its process, to count threads.
#![cfg(target_os = "linux")]

mod common;

use std::thread;
use std::time::Instant;

use common::*;
use wspulse_core::{CloseCode, Config};

/// Threads of this process whose name begins like this, and open descriptors.
fn leftovers() -> (usize, usize) {
    let threads = std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter(|task| {
            let comm = task.as_ref().unwrap().path().join("comm");
            std::fs::read_to_string(comm).is_ok_and(|name| name.starts_with("wspulse"))
        });
    let threads = threads.count();
    (threads, std::fs::read_dir("/proc/self/fd").unwrap().count())
}

#[test]
fn no_thread_and_no_descriptor_is_left_after_the_end() {
    within(ms(60_000), || {
        drop(pair(Config::default()));
        let before = leftovers();
        assert_eq!(before.0, 0);
        for round in 0..40 {
            let (client, server) = pair(Config::default());
            let (mut receiver, sender) = client.spawn(2);
            let (mut theirs, answers) = server.spawn(2);
            sender.send("hello").unwrap();
            theirs.next().unwrap().unwrap();
            match round % 5 {
                0 => sender.close(CloseCode::NORMAL, "").unwrap(),
                1 => answers.abort(),
                2 => drop((receiver, sender)),
                3 => drop((theirs, answers)),
                _ => {
                    sender.abort();
                    assert!(receiver.next().unwrap().is_err());
                }
            }
        }
        let start = Instant::now();
        while leftovers() != before {
            assert!(
                start.elapsed() < ms(10_000),
                "{:?} of {before:?}",
                leftovers()
            );
            thread::sleep(ms(50));
        }
    });
}
