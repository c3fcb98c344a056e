//! Thousands of peers that go away in the middle leave nothing behind: descriptors, threads, tasks
//! and heap are back where they were. With each adapter, in both roles, plain and through TLS.
//!
//! A test's name is `churn/adapter/role/transport`. Each runs in a process of its own, whose
//! descriptors, threads and heap are counted (but for the peers').

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wspulse_core::{Config, Role};
use wspulse_tests::kit::{ms, ping};
use wspulse_tests::net::{
    Ending, Hall, Heap, Job, Peer, PeerOptions, Point, Script, Subject, Tls, abort_as_client,
    abort_as_server, exempt_this_thread, held, isolated, place, places, process, round, subjects,
};

#[global_allocator]
static ALLOCATOR: Heap = Heap;

/// Rounds before the first count: what is made once and kept is there then.
const WARM: usize = 600;

/// Peers at once.
const PEERS: usize = 6;

/// What a heap may have grown by, less than 7 bytes a round: tables that double, and no leak.
const SLACK: i64 = 64 << 10;

fn main() -> ExitCode {
    let mut places = places();
    // The longest first.
    places.sort_by_key(|(_, role, _)| *role == Role::Client);
    let names = places
        .into_iter()
        .map(|(subject, role, tls)| format!("churn/{}", place(subject, role, tls)));
    isolated::main(names.collect(), 2, run)
}

fn run(name: &str) -> Result<String, String> {
    let parts: Vec<&str> = name.split('/').collect();
    let ["churn", subject, role, transport] = parts[..] else {
        return Err(format!("no such test: {name}"));
    };
    let subject = subjects()
        .into_iter()
        .find(|known| known.name() == subject)
        .ok_or("no such adapter")?;
    exempt_this_thread();
    let config = Config::builder().heartbeat(ping(1_000, 1_000)).build();
    let job = Job {
        config: Arc::new(config.expect("valid")),
        tls: (transport == "tls").then(Tls::new),
        script: Script::Echo,
        window: Duration::from_secs(3_600),
    };
    match (role, transport) {
        ("server", "tcp") => churn_server(subject, &job, 10_000),
        ("server", _) => churn_server(subject, &job, 8_000),
        (_, "tcp") => churn_client(subject, &job, 2_000),
        _ => churn_client(subject, &job, 1_000),
    }
}

/// One server, and so many clients that go away.
fn churn_server(subject: &'static dyn Subject, job: &Job, rounds: usize) -> Result<String, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let hall = Arc::new(Hall::new(listener, WARM + rounds + 1));
    let server = {
        let (hall, job) = (Arc::clone(&hall), job.clone());
        thread::spawn(move || subject.serve(&hall, &job))
    };
    let options = PeerOptions {
        tls: job.tls.clone(),
        receive_buffer: None,
    };
    let began = Instant::now();
    clients(address, &options, 0..WARM)?;
    wait_for(&hall, WARM)?;
    let before = Count::settled(&hall, None);
    clients(address, &options, WARM..WARM + rounds)?;
    wait_for(&hall, WARM + rounds)?;
    let after = Count::settled(&hall, Some(before));
    let figure = format!(
        "{rounds} rounds in {} ms, {before:?} before, {after:?} after",
        began.elapsed().as_millis()
    );
    // The server still serves, and then it is done.
    let peer = Peer::connect(address, &options).map_err(|error| format!("{error}; {figure}"))?;
    peer.into_line().reset();
    wait_for(&hall, WARM + rounds + 1)?;
    server.join().map_err(|_| "the server panicked")?;
    after
        .is_back_to(before)
        .map_err(|what| format!("{what}: {figure}"))?;
    Ok(figure)
}

/// So many connections of a client whose server goes away.
fn churn_client(subject: &'static dyn Subject, job: &Job, rounds: usize) -> Result<String, String> {
    let options = PeerOptions {
        tls: job.tls.clone(),
        receive_buffer: None,
    };
    let listener = Peer::listen(&options).map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let began = Instant::now();
    let job = job.clone();
    let mut before = None;
    let mut first = 0;
    for last in [WARM, WARM + rounds] {
        let job = job.clone();
        let client = thread::spawn(move || {
            for _ in first..last {
                subject.connect(address, &job);
            }
        });
        for n in first..last {
            let (point, ending) = round(n);
            let _ = abort_as_server(&listener, &options, point, ending);
        }
        client.join().map_err(|_| "the client panicked")?;
        first = last;
        let hall = Hall::new(listener.try_clone().map_err(|e| e.to_string())?, 0);
        let count = Count::settled(&hall, before);
        match before {
            None => before = Some(count),
            Some(before) => {
                let figure = format!(
                    "{rounds} rounds in {} ms, {before:?} before, {count:?} after",
                    began.elapsed().as_millis()
                );
                count
                    .is_back_to(before)
                    .map_err(|what| format!("{what}: {figure}"))?;
                return Ok(figure);
            }
        }
    }
    Err("no rounds".to_owned())
}

/// Lets several clients go away at a time.
fn clients(
    address: SocketAddr,
    options: &PeerOptions,
    rounds: std::ops::Range<usize>,
) -> Result<(), String> {
    let next = AtomicUsize::new(rounds.start);
    thread::scope(|scope| {
        let peers: Vec<_> = (0..PEERS)
            .map(|_| {
                scope.spawn(|| {
                    exempt_this_thread();
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= rounds.end {
                            return Ok(());
                        }
                        let (point, ending) = round(n);
                        abort_as_client(address, options, point, ending)
                            .map_err(|error| said(point, ending, &error))?;
                    }
                })
            })
            .collect();
        peers.into_iter().try_for_each(|peer| {
            peer.join()
                .unwrap_or_else(|_| Err("a peer panicked".to_owned()))
        })
    })
}

fn said(point: Point, ending: Ending, error: &std::io::Error) -> String {
    format!("a client that goes away at {point:?} with {ending:?}: {error}")
}

fn wait_for(hall: &Hall, count: usize) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while hall.ended() < count {
        if Instant::now() > deadline {
            return Err(format!("{} of {count} connections ended", hall.ended()));
        }
        thread::sleep(ms(5));
    }
    Ok(())
}

/// What this process holds.
#[derive(Clone, Copy, Debug)]
struct Count {
    descriptors: usize,
    threads: usize,
    tasks: usize,
    heap: i64,
}

impl Count {
    fn take(hall: &Hall) -> Self {
        Self {
            descriptors: process::descriptors(),
            threads: process::threads(),
            tasks: hall.tasks(),
            heap: held(),
        }
    }

    /// Counts once what ends has had the time to: until it is back to `before`, or for a second.
    fn settled(hall: &Hall, before: Option<Self>) -> Self {
        let deadline = Instant::now() + before.map_or(ms(300), |_| ms(3_000));
        loop {
            let count = Self::take(hall);
            let is_back = before.is_some_and(|before| count.is_back_to(before).is_ok());
            if is_back || Instant::now() > deadline {
                return count;
            }
            thread::sleep(ms(20));
        }
    }

    fn is_back_to(self, before: Self) -> Result<(), &'static str> {
        if self.descriptors > before.descriptors {
            Err("descriptors stay open")
        } else if self.threads > before.threads {
            Err("threads are left")
        } else if self.tasks > before.tasks {
            Err("tasks are left")
        } else if self.heap > before.heap + SLACK {
            Err("memory is left")
        } else {
            Ok(())
        }
    }
}
