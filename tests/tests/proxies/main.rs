//! Behind nginx and HAProxy, as they are deployed: an idle timeout that is shorter than silence,
//! reloads, and servers that restart one after the other.
//!
//! A test's name is `scene/proxy/adapter`. The configurations are in `tests/proxies`, which has a
//! script that installs both from Debian. Where they are missing nothing is tested, and that is
//! said; with `WSPULSE_NEEDS_PROXIES=1` it is a failure. All tests run at the same time: nearly
//! all of it is sleep.

mod crowd;
mod idle;
mod outage;
mod proxy;

use std::env;
use std::process::ExitCode;
use std::time::Instant;

use libtest_mimic::{Arguments, Failed, Trial};
use wspulse_tests::net::{Control, fairly};

use proxy::{Kind, Proxy};

/// The environment variable that makes a machine without the proxies a failure.
const NEEDED: &str = "WSPULSE_NEEDS_PROXIES";

/// Tests at once, unless `--test-threads` says otherwise.
const AT_ONCE: usize = 64;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    if let Err(why) = proxy::check() {
        if env::var_os(NEEDED).is_some_and(|value| !value.is_empty() && value != "0") {
            println!("{why}: see tests/proxies/install.sh");
            return ExitCode::FAILURE;
        }
        println!("skipped: {why}; see tests/proxies/install.sh");
        return ExitCode::SUCCESS;
    }
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode, String> {
    let began = Instant::now();
    let control = Control::start();
    let mut proxies = Vec::new();
    let mut trials = outage::trials(control);
    // One proxy of each kind carries all the idle connections.
    for kind in Kind::ALL {
        let cases = idle::cases().map_err(|error| error.to_string())?;
        let backends: Vec<_> = cases.iter().map(|case| vec![case.address]).collect();
        let proxy = Proxy::start(kind, &backends)?;
        for (nth, case) in cases.into_iter().enumerate() {
            let address = proxy.address(nth);
            let name = format!("{}/{kind}/{}", case.scene(), case.subject.name());
            trials.push(Trial::test(name.clone(), move || {
                let figure = fairly(control, || case.play(address)).map_err(Failed::from)?;
                println!("{name}: {figure}");
                Ok(())
            }));
        }
        proxies.push(proxy);
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    for proxy in proxies {
        proxy.stop()?;
    }
    println!("{} ms in all", began.elapsed().as_millis());
    Ok(conclusion.exit_code())
}
