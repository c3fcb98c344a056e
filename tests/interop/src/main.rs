//! wspulse against the WebSocket implementations that others use, over loopback.
//!
//! `wspulse-interop [WORD...]` puts all peers through all cases, or those whose name holds one of
//! the words; it fails if a cell of the table is red. `run.sh` installs the peers first. Run with
//! all of them, it writes the table into `tests/README.md`. `wspulse-interop ticks [SECONDS]` has
//! servers that only send live for so long beside a client that pings them, which the run with all
//! peers does for two minutes.

mod cases;
mod child;
mod link;
mod page;
mod peers;
mod runtimes;
mod rust_peers;
mod table;
mod tap;
mod ticks;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs};

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::cases::{COLUMNS, Cell};
use crate::link::{Fault, Link};
use crate::peers::{PEERS, Peer, Side};
use crate::table::Row;

fn main() -> Result<ExitCode, Fault> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| word == "peer") {
        rust_peers::run(&arguments[1..])?;
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        if let [word, seconds @ ..] = &arguments[..]
            && word == "ticks"
        {
            let seconds = seconds
                .first()
                .map_or(Ok(TICKS), |seconds| seconds.parse())?;
            return only_send(seconds).await;
        }
        tokio::select! {
            done = timeout(LIMIT, interop(&arguments)) => {
                done.map_err(|_| format!("not done after {} s", LIMIT.as_secs()))?
            }
            // The peers end with what is dropped here.
            _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
        }
    })
}

async fn interop(words: &[String]) -> Result<ExitCode, Fault> {
    let is_wanted = |name: &str| words.iter().any(|word| name.contains(word.as_str()));
    let peers: Vec<_> = PEERS
        .iter()
        .filter(|peer| words.is_empty() || is_wanted(peer.name))
        .collect();
    if peers.is_empty() {
        return Err("no peer has such a name".into());
    }
    let logs = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/logs");
    fs::create_dir_all(&logs)?;

    let only_send = words.is_empty().then(|| tokio::spawn(only_send(TICKS)));

    // One after another while there is work, all at once while there is silence.
    let mut turns = Vec::new();
    for peer in peers {
        for &side in peer.sides {
            turns.push(Turn::take(peer, side, &logs).await);
        }
    }
    let rows = join_all(turns.into_iter().map(Turn::finish)).await;

    let mut is_red = false;
    for row in &rows {
        row.print();
        is_red |= row.is_red();
    }
    if let Some(only_send) = only_send {
        is_red |= only_send.await?? == ExitCode::FAILURE;
    }
    if is_red {
        println!("what the peers said is in {}", logs.display());
    }
    if words.is_empty() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
        table::write(&file, &rows)?;
    }
    Ok(if is_red {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Fails if a server that only sends was hung up on.
async fn only_send(seconds: u32) -> Result<ExitCode, Fault> {
    let (all_lived, said) = ticks::run(seconds).await?;
    for line in said.lines() {
        println!("only sends: {line}");
    }
    Ok(if all_lived {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A peer that has done its work and is still there, or the reason why not.
struct Turn {
    peer: &'static Peer,
    side: Side,
    version: String,
    link: Result<Link, Fault>,
    cells: Vec<Cell>,
}

impl Turn {
    async fn take(peer: &'static Peer, side: Side, logs: &Path) -> Self {
        let began = Instant::now();
        let file: PathBuf =
            logs.join(format!("{} {}.log", peer.name, side.name()).replace(' ', "-"));
        let mut version = String::new();
        let mut cells = Vec::new();
        let link = async {
            let mut link = Link::open(peer, side, &file).await?;
            let asked = timeout(Duration::from_secs(10), link.version()).await;
            version = asked.map_err(|_| "does not tell its version")??;
            Ok(link)
        };
        let mut link = link.await;
        if let Ok(link) = &mut link {
            cells = cases::busy(peer, link).await;
        }
        eprintln!(
            "{} as {}: {:.1} s",
            peer.name,
            side.name(),
            began.elapsed().as_secs_f32()
        );
        Self {
            peer,
            side,
            version,
            link,
            cells,
        }
    }

    async fn finish(self) -> Row {
        let mut cells = self.cells;
        match self.link {
            Ok(mut link) => cells.extend(cases::idle(self.peer, &mut link).await),
            Err(fault) => cells = vec![Cell::No(fault.to_string()); COLUMNS.len()],
        }
        Row {
            peer: self.peer,
            version: self.version,
            side: self.side,
            cells,
        }
    }
}

/// For how long servers that only send have to live, in seconds.
const TICKS: u32 = 120;

/// How long the whole run may take.
const LIMIT: Duration = Duration::from_secs(900);
