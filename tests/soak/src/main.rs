//! A soak: random traffic, pings, drains and reconnects against two peers, and memory that stays
//! flat.
//!
//! `wspulse-soak PYTHON` runs it, where PYTHON has the package `websockets`. The process under
//! test has servers and clients on tokio, std and mio; each peer is a process of its own, with an
//! echo server and clients. `WSPULSE_SOAK_SECONDS` says how long, `WSPULSE_SOAK_SEED` chooses the
//! traffic. It fails on an echo that is not what was sent, on a connection that ended in a way
//! that nobody meant it to, and on memory or descriptors that grow or stay.

mod books;
mod on_mio;
mod on_std;
mod on_tokio;
mod peer;
mod peers;
mod plan;
mod scene;
mod talk;
mod watch;

use std::env;
use std::net::SocketAddr;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::task::JoinSet;
use wspulse_mio::Listener;
use wspulse_tests::kit::ms;
use wspulse_tests::net::Heap;

use books::Books;
use peers::Peer;
use scene::{DEADLINE, PATIENCE, Scene};
use watch::{STEP, Sample, Watch};

#[global_allocator]
static HEAP: Heap = Heap;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let outcome = match &*arguments {
        [word, seed, targets @ ..] if word == PEER => {
            let targets: Result<Vec<SocketAddr>, _> =
                targets.iter().map(|target| target.parse()).collect();
            return match (seed.parse(), targets) {
                (Ok(seed), Ok(targets)) => peer::run(seed, &targets),
                other => {
                    println!("FAILED {other:?}");
                    ExitCode::from(2)
                }
            };
        }
        [python] => soak(python),
        _ => Err("usage: wspulse-soak PYTHON".to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("soak: FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The word that makes this program the peer tokio-tungstenite.
const PEER: &str = "peer";

fn soak(python: &str) -> Result<(), String> {
    let length = Duration::from_secs(number("WSPULSE_SOAK_SECONDS")?.unwrap_or(5));
    let seed = match number("WSPULSE_SOAK_SEED")? {
        Some(seed) => seed,
        None => fresh_seed(),
    };
    println!(
        "soak: {} s; replay the choices with WSPULSE_SOAK_SEED={seed}",
        length.as_secs()
    );
    let mut watch = Watch::new(length);
    let before = Sample::take();
    let books = Arc::new(Books::default());
    run(python, seed, &books, &mut watch)?;
    print!("{books}");
    let after = settled(&before);
    println!("before: {before}\nafter: {after}");
    let memory = watch.judge();
    match &memory {
        Ok(figure) | Err(figure) => println!("{figure}"),
    }
    let stays = after.descriptors > before.descriptors
        || after.threads > before.threads
        || after.heap > before.heap + STAYS;
    match (books.failures(), memory) {
        (0, Ok(_)) if !stays => {
            println!("soak: passed");
            Ok(())
        }
        (0, Ok(_)) => Err("something stays behind".to_owned()),
        (0, Err(_)) => Err("memory grows".to_owned()),
        (failures, _) => Err(format!("{failures} failures, seed {seed}")),
    }
}

/// What statics may keep: names, time zones, the runtime's registries.
const STAYS: i64 = 16 << 10;

fn run(python: &str, seed: u64, books: &Arc<Books>, watch: &mut Watch) -> Result<(), String> {
    let said = |error: std::io::Error| error.to_string();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(said)?;
    let on_tokio = runtime.block_on(on_tokio::bind()).map_err(said)?;
    let on_std = std::net::TcpListener::bind("127.0.0.1:0").map_err(said)?;
    let on_mio = Listener::bind(([127, 0, 0, 1], 0).into()).map_err(said)?;
    // A peer's clients: most of them on tokio.
    let targets: Vec<SocketAddr> = [
        vec![on_tokio.local_addr().map_err(said)?; 6],
        vec![on_std.local_addr().map_err(said)?; 2],
        vec![on_mio.local_addr().ok_or("no address")?; 2],
    ]
    .concat();

    let this = env::current_exe().map_err(said)?;
    let mut tungstenite = Command::new(this);
    tungstenite.arg(PEER);
    let mut websockets = Command::new(python);
    websockets.args(["-u", concat!(env!("CARGO_MANIFEST_DIR"), "/peer.py")]);
    let mut peers = [
        Peer::start("tokio-tungstenite", tungstenite, seed, &targets, books)?,
        Peer::start("websockets", websockets, seed, &targets, books)?,
    ];
    let scene = Arc::new(Scene {
        seed,
        books: Arc::clone(books),
        config: scene::config(),
        peers: peers.iter().map(|peer| peer.address).collect(),
    });

    // Servers, and clients by their numbers, of which every second one has the same peer.
    let serving = runtime.spawn(on_tokio::serve(on_tokio, Arc::clone(&scene)));
    let mut tasks = JoinSet::new();
    let here = &scene;
    thread::scope(|scope| {
        let servers = [
            scope.spawn(|| on_std::serve(on_std, here)),
            scope.spawn(|| on_mio::serve(on_mio, here)),
        ];
        let mut clients = Vec::new();
        for who in 0..12 {
            tasks.spawn_on(
                on_tokio::come_and_go(who, Arc::clone(here)),
                runtime.handle(),
            );
        }
        for who in 12..20 {
            tasks.spawn_on(on_tokio::stay(who, Arc::clone(here)), runtime.handle());
        }
        for who in 20..24 {
            clients.push(scope.spawn(move || {
                on_std::come_and_go(who, here);
                Ok(())
            }));
        }
        clients.push(scope.spawn(|| on_mio::come_and_go((24..28).collect(), here)));

        look_on(watch, books);
        books.finish();
        runtime.block_on(async {
            let all = tasks.join_all();
            if tokio::time::timeout(3 * PATIENCE, all).await.is_err() {
                books.fail("clients on tokio do not end".to_owned());
            }
        });
        for client in clients {
            client
                .join()
                .map_err(|_| "a client panicked")?
                .map_err(said)?;
        }
        for peer in &mut peers {
            match peer.finish() {
                Ok(report) => println!("{report}"),
                Err(error) => books.fail(error),
            }
        }
        books.close();
        let serving = async { tokio::time::timeout(2 * DEADLINE, serving).await };
        match runtime.block_on(serving) {
            Ok(Ok(Ok(()))) => {}
            other => books.fail(format!("tokio server: {other:?}")),
        }
        for server in servers {
            server
                .join()
                .map_err(|_| "a server panicked")?
                .map_err(said)?;
        }
        Ok::<_, String>(())
    })?;
    runtime.shutdown_timeout(PATIENCE);
    Ok(())
}

/// Lets the time pass.
fn look_on(watch: &mut Watch, books: &Books) {
    let step = (watch.length() / 20).max(Duration::from_secs(5));
    let mut next_line = Duration::from_secs(5);
    while !watch.is_over() {
        thread::sleep(STEP);
        let (at, sample) = watch.look();
        if at >= next_line {
            let (connections, messages) = books.sums();
            println!(
                "{} s: {connections} connections ended, {messages} messages; {sample}",
                at.as_secs()
            );
            next_line += step;
        }
        // More of the same says no more.
        if books.failures() >= 20 {
            break;
        }
    }
}

/// Gives what ends in the background some time.
fn settled(before: &Sample) -> Sample {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let sample = Sample::take();
        let is_settled =
            sample.descriptors <= before.descriptors && sample.threads <= before.threads;
        if is_settled || Instant::now() > deadline {
            return sample;
        }
        thread::sleep(ms(20));
    }
}

fn number(variable: &str) -> Result<Option<u64>, String> {
    match env::var(variable) {
        Ok(text) => match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(format!("{variable} is no number: {text}")),
        },
        Err(_) => Ok(None),
    }
}

/// One that can be typed.
fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_nanos());
    (now ^ u128::from(std::process::id())) as u64 & 0xffff_ffff
}
