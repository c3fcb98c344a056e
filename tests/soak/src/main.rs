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
mod stay;
mod talk;
mod watch;

use std::env;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::runtime::Runtime;
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
    let listeners = Listeners {
        on_tokio: runtime.block_on(on_tokio::bind()).map_err(said)?,
        on_std: std::net::TcpListener::bind("127.0.0.1:0").map_err(said)?,
        on_mio: Listener::bind(([127, 0, 0, 1], 0).into()).map_err(said)?,
    };
    let targets = listeners.targets().map_err(said)?;

    let mut tungstenite = Command::new(env::current_exe().map_err(said)?);
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
    let serving = runtime.spawn(on_tokio::serve(listeners.on_tokio, Arc::clone(&scene)));
    let here = &scene;
    thread::scope(|scope| {
        let _curtain = Curtain(books);
        let servers = vec![
            scope.spawn(|| on_std::serve(listeners.on_std, here)),
            scope.spawn(|| on_mio::serve(listeners.on_mio, here)),
        ];
        let tasks = clients_on_tokio(&runtime, here);
        let mut clients = vec![scope.spawn(|| on_mio::come_and_go((24..28).collect(), here))];
        for who in 20..24 {
            clients.push(scope.spawn(move || {
                on_std::come_and_go(who, here);
                Ok(())
            }));
        }
        for who in 28..32 {
            clients.push(scope.spawn(move || {
                on_std::stay(who, here);
                Ok(())
            }));
        }
        look_on(watch, books);
        books.finish();
        runtime.block_on(end_all(tasks, books));
        join_all("client", clients, books);
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
        join_all("server", servers, books);
    });
    runtime.shutdown_timeout(PATIENCE);
    Ok(())
}

/// Ends everything when it falls, whatever brought it down.
struct Curtain<'a>(&'a Books);

impl Drop for Curtain<'_> {
    fn drop(&mut self) {
        self.0.finish();
        self.0.close();
    }
}

struct Listeners {
    on_tokio: tokio::net::TcpListener,
    on_std: std::net::TcpListener,
    on_mio: Listener,
}

impl Listeners {
    /// Returns one for each of a peer's clients: most of them are on tokio.
    fn targets(&self) -> std::io::Result<Vec<SocketAddr>> {
        let on_mio = self.on_mio.local_addr().ok_or(ErrorKind::Unsupported)?;
        let mut targets = vec![self.on_tokio.local_addr()?; 6];
        targets.extend([self.on_std.local_addr()?; 2]);
        targets.extend([on_mio; 2]);
        Ok(targets)
    }
}

/// Starts clients, by their numbers, of which every second one has the same peer.
fn clients_on_tokio(runtime: &Runtime, scene: &Arc<Scene>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for who in 0..12 {
        let client = on_tokio::come_and_go(who, Arc::clone(scene));
        tasks.spawn_on(client, runtime.handle());
    }
    for who in 12..20 {
        tasks.spawn_on(on_tokio::stay(who, Arc::clone(scene)), runtime.handle());
    }
    tasks
}

async fn end_all(mut tasks: JoinSet<()>, books: &Books) {
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            if let Err(panic) = ended {
                books.fail(format!("tokio client: {panic}"));
            }
        }
    };
    if tokio::time::timeout(3 * PATIENCE, all).await.is_err() {
        books.fail("tokio clients do not end".to_owned());
    }
}

type Work<'a> = ScopedJoinHandle<'a, std::io::Result<()>>;

fn join_all(what: &str, threads: Vec<Work<'_>>, books: &Books) {
    for thread in threads {
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => books.fail(format!("a {what}: {error}")),
            Err(_) => books.fail(format!("a {what} panicked")),
        }
    }
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
