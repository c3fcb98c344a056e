//! The nine situations that kill healthy connections, or leave dead ones standing, in one library
//! or another: over real sockets, for each adapter, as client and as server, plain and through
//! TLS; another way to use an adapter (a task, a thread, the pieces) has each role and each
//! transport once.
//!
//! A test's name is `scene/adapter/role/transport`; `cargo test --test adapters -- dead/tokio`
//! runs those that contain the words. Nearly all of the time is sleep, so many run at once.

mod scene;
mod scenes;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use libtest_mimic::{Arguments, Trial};
use wspulse_tests::net::{Control, Tls, place, places};

use scene::Hearing;

/// How many connections are under test at once, unless `--test-threads` says otherwise.
const AT_ONCE: usize = 80;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let began = Instant::now();
    let hearing = Arc::new(Hearing::new(Control::start()));
    let tls = Tls::new();
    let mut trials = Vec::new();
    // The longest first.
    let mut scenes = scenes::all();
    scenes.sort_by_key(|scene| std::cmp::Reverse(scene.window));
    for scene in scenes {
        for (subject, role, is_tls) in places() {
            let scene = scene.of(subject);
            let stage = scene.stage(subject, role, is_tls.then(|| tls.clone()));
            let name = format!("{}/{}", scene.name, place(subject, role, is_tls));
            let hearing = Arc::clone(&hearing);
            trials.push(Trial::test(name.clone(), move || {
                hearing.judge(&name, &scene, &stage).map_err(Into::into)
            }));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    hearing.print();
    println!("{} ms in all", began.elapsed().as_millis());
    conclusion.exit_code()
}
