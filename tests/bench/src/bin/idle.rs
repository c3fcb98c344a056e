//! What an open connection that says nothing holds: resident bytes of the server's process, and
//! the heap of the core alone.
//!
//! ```text
//! idle [--contestant wspulse-tokio,..] [--connections 10000] [--carriers 1000] [--rounds 1]
//!      [--results FILE]
//! ```
//!
//! A server with a thread for each connection gets a tenth of the connections. The carriers are
//! those of the connections that then carry a message of 1 MiB each, one after the other.

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use wspulse_bench::echo::{LONG_HEARTBEAT, least, number, ratio, wanted};
use wspulse_bench::load::{Talk, open, payload};
use wspulse_bench::servers::{Child, Server, Side, obey, raise_descriptor_limit};
use wspulse_bench::stats::{Results, Samples, pin_to};
use wspulse_bench::table::{Table, figure, whole};
use wspulse_core::handshake::Accept;
use wspulse_core::{Config, Connection, Event, Instant, Seed};
use wspulse_tests::alloc::{Counting, counters};
use wspulse_tests::kit::{drain, feed};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MESSAGE: usize = 1 << 20;

/// Messages after which an allocator has settled.
const FIRST: usize = 10;

/// After it a server has done what it had to do.
const QUIET: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    if let Some(code) = obey() {
        return code;
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("idle: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let connections: usize = number("--connections", 10_000)?;
    let carriers: usize = number("--carriers", 1_000)?;
    let rounds: usize = number("--rounds", 1)?;
    let servers = wanted(|server| server.side != Side::Limit)?;
    let mut results = Results::from_args("idle").map_err(|error| error.to_string())?;
    pin_to(0).map_err(|error| error.to_string())?;
    if connections < 20 * FIRST || carriers == 0 {
        return Err("that is too few connections".to_owned());
    }
    if raise_descriptor_limit(connections + 100) < connections + 100 {
        return Err(format!(
            "there are no descriptors for {connections} connections"
        ));
    }

    let heap = heap_of_the_core();
    for (when, bytes) in heap {
        let core = Samples::new("wspulse-core", vec![bytes as f64]);
        let recorded = results.record(&format!("heap {when}"), "bytes", &core);
        recorded.map_err(|error| error.to_string())?;
    }

    let mut taken: Vec<Vec<Held>> = servers.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for turn in 0..servers.len() {
            let index = (round + turn) % servers.len();
            let server = servers[index];
            let count = if server.is_threaded {
                connections / 10
            } else {
                connections
            };
            let held = measure(server, count, carriers.min(count - FIRST));
            let held = held.map_err(|error| format!("{}: {error}", server.name))?;
            taken[index].push(held);
        }
    }
    let samples = |of: fn(&Held) -> f64| -> Vec<Samples> {
        let turns = servers.iter().zip(&taken);
        turns
            .map(|(server, held)| Samples::new(server.name, held.iter().map(of).collect()))
            .collect()
    };
    let (idle, kept) = (samples(|held| held.idle), samples(|held| held.kept));
    for (case, figures) in [("idle", &idle), ("kept after 1 MiB", &kept)] {
        for samples in figures {
            let recorded = results.record(case, "bytes/connection", samples);
            recorded.map_err(|error| error.to_string())?;
        }
    }

    let mut table = Table::new([
        "",
        "connections",
        "resident bytes each, idle",
        "to the best peer",
        "more after 1 MiB each",
    ]);
    let peer = least(&servers, Side::Peer, &idle);
    for (index, server) in servers.iter().enumerate() {
        let held = &taken[index][0];
        table.row([
            server.name.to_owned(),
            whole(held.connections as f64),
            figure(idle[index].median()),
            ratio(&idle[index], peer),
            figure(kept[index].median()),
        ]);
    }
    println!("{table}");
    let heap = heap.map(|(when, bytes)| format!("{bytes} {when}"));
    println!(
        "A server connection of wspulse-core has {} bytes, and on the heap {}.",
        size_of::<Connection>(),
        heap.join(", ")
    );
    Ok(())
}

/// Bytes of one connection.
struct Held {
    connections: usize,
    idle: f64,
    /// Beside what it held before.
    kept: f64,
}

fn measure(server: &Server, connections: usize, carriers: usize) -> Result<Held, String> {
    let child = Child::start(server, Some(LONG_HEARTBEAT))?;
    // What only the first connection costs is not the next one's.
    drop(open(child.address(), server.talk, 1)?);
    thread::sleep(QUIET);
    let before = child.resident();

    let mut opened = open(child.address(), server.talk, connections)?;
    thread::sleep(QUIET);
    let idle = child.resident();

    let (frame, payload) = (server.talk.frame(MESSAGE), payload(MESSAGE));
    let mut carry = |number: usize| {
        let carried = opened[number].echo(&frame, &payload);
        carried.map_err(|error| format!("connection {number}: {error}"))
    };
    // The first ones show what the process keeps for the next message, whoever carries it.
    (0..FIRST).try_for_each(&mut carry)?;
    thread::sleep(QUIET);
    let first = child.resident();
    (FIRST..FIRST + carriers).try_for_each(&mut carry)?;
    thread::sleep(QUIET);
    let after = child.resident();
    Ok(Held {
        connections,
        idle: (idle as f64 - before as f64) / connections as f64,
        kept: (after as f64 - first as f64) / carriers as f64,
    })
}

/// Opens a connection in memory and echoes a message; returns what it holds on the heap when.
fn heap_of_the_core() -> [(&'static str, i64); 3] {
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let frame = Talk::WebSocket.frame(MESSAGE);
    let config = Arc::new(Config::default());
    let now = Instant::ZERO;
    let before = counters().held;
    let held = || counters().held - before;
    let seed = Seed::predictable_for_tests(1);
    let mut server = Connection::server(Arc::clone(&config), seed, now);
    drop(feed(&mut server, now, request));
    server.accept(now, &Accept::new()).expect("it asks");
    drop(drain(&mut server, now));
    let open = held();
    for event in feed(&mut server, now, &frame) {
        if let Event::Binary(message) = event {
            server.send(message).expect("room");
        }
    }
    drop(drain(&mut server, now));
    let echoed = held();
    let quiet = server.poll_timeout().expect("a heartbeat");
    server.handle_would_block(quiet);
    server.handle_timeout(quiet);
    drop(drain(&mut server, quiet));
    [
        ("when it is open", open),
        ("after an echo of 1 MiB", echoed),
        ("after a quiet interval", held()),
    ]
}
