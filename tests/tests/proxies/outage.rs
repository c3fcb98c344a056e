//! Reloads and restarts, under clients that come back.

use std::future::Future;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use wspulse_tests::kit::ms;
use wspulse_tests::net::process::raise_descriptor_limit;
use wspulse_tests::net::{Control, fairly};

use crate::crowd::{Crowd, Server};
use crate::proxy::{Kind, Proxy};

/// For how long both configurations let old connections live after a reload.
const OLD_LIVES_FOR: Duration = ms(2_000);

/// Over which time a server tells its clients to go, and how long it is away then.
const SPREAD: Duration = ms(1_000);
const AWAY: Duration = ms(500);

/// No test takes longer.
const LONGEST: Duration = ms(60_000);

pub(crate) fn trials(control: &'static Control) -> Vec<Trial> {
    let mut trials = Vec::new();
    for kind in Kind::ALL {
        let name = format!("restarts/{kind}/tokio");
        trials.push(trial(control, name, move || restarts(kind)));
        let name = format!("reload/{kind}/tokio");
        trials.push(trial(control, name, move || reload(kind)));
    }
    trials
}

fn trial(
    control: &'static Control,
    name: String,
    play: impl Fn() -> Result<String, String> + Send + 'static,
) -> Trial {
    Trial::test(name.clone(), move || {
        let figure = fairly(control, &play).map_err(Failed::from)?;
        println!("{name}: {figure}");
        Ok(())
    })
}

/// Three servers behind a proxy are restarted one after the other.
fn restarts(kind: Kind) -> Result<String, String> {
    const CLIENTS: usize = 200;
    // Both ends of a connection, on either side of the proxy, and as much again in between.
    raise_descriptor_limit(8 * CLIENTS)?;
    let runtime = runtime()?;
    let mut crowd = Crowd::new(CLIENTS);
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(runtime.block_on(Server::start(0, &crowd.record))?);
    }
    let backends = servers.iter().map(|server| server.address).collect();
    let proxy = Proxy::start(kind, &[backends])?;
    let address = proxy.address(0);
    let outcome = bounded(&runtime, async {
        crowd.enter(address).await?;
        crowd.goes_on_for(ms(1_000)).await?;
        let mut reports = Vec::new();
        let mut restarted = Vec::new();
        for server in servers {
            let port = server.address.port();
            let report = server.stop(SPREAD).await;
            if !report.is_in_order() {
                return Err(format!("{report}; {}", crowd.summary()));
            }
            reports.push(report.connections.len());
            tokio::time::sleep(AWAY).await;
            restarted.push(Server::start(port, &crowd.record).await?);
            // Time to be found healthy, and to get clients again.
            tokio::time::sleep(ms(1_000)).await;
        }
        crowd.leave().await?;
        let figure = format!(
            "connections drained {reports:?}; {} answers lost; {}",
            crowd.answers_lost(),
            crowd.summary()
        );
        // Each server had its clients and told them; and what it answered left before its Close
        // frame, so it came.
        let all_moved = crowd.least_downs() >= 1 && !reports.contains(&0);
        let is_said_to_all = crowd.ends().keys().all(|end| end.contains("received 1001"));
        if all_moved && is_said_to_all && crowd.answers_lost() == 0 {
            Ok(figure)
        } else {
            Err(figure)
        }
    });
    proxy.stop().and(outcome)
}

/// The proxy reads its configuration again, twice: what it carries goes on for some time, and is
/// cut then.
fn reload(kind: Kind) -> Result<String, String> {
    let runtime = runtime()?;
    let mut crowd = Crowd::new(20);
    let server = runtime.block_on(Server::start(0, &crowd.record))?;
    // Its thread is this one, and so it ends with this test at the latest.
    let proxy = Proxy::start(kind, &[vec![server.address]])?;
    let address = proxy.address(0);
    let outcome = bounded(&runtime, async {
        crowd.enter(address).await?;
        let mut lived_for = Vec::new();
        for _ in 0..2 {
            crowd.goes_on_for(ms(500)).await?;
            let reloaded = Instant::now();
            proxy.reload()?;
            crowd.goes_on_for(OLD_LIVES_FOR / 2).await?;
            let after = crowd.come_back(reloaded, OLD_LIVES_FOR - ms(200)).await?;
            lived_for.push(after.as_millis());
        }
        crowd.leave().await?;
        let lost = crowd.answers_lost();
        let summary = crowd.summary();
        Ok(format!(
            "the first connection was cut {lived_for:?} ms after a reload; {lost} answers lost; {summary}"
        ))
    });
    proxy.stop().and(outcome)
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())
}

fn bounded(
    runtime: &tokio::runtime::Runtime,
    play: impl Future<Output = Result<String, String>>,
) -> Result<String, String> {
    let outcome = runtime.block_on(async { tokio::time::timeout(LONGEST, play).await });
    outcome.unwrap_or_else(|_| Err(format!("not over after {LONGEST:?}")))
}
