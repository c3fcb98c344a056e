//! A server in a process of its own, and what that process uses.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child as Process, Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Server, server};
use crate::stats::pin_to;

/// A server that runs, until this is dropped.
#[derive(Debug)]
pub struct Child {
    process: Process,
    address: SocketAddr,
}

impl Child {
    /// Starts this program again as a server on the second core.
    ///
    /// # Errors
    ///
    /// If the process cannot be started or says no address.
    pub fn start(server: &Server, heartbeat: Option<Duration>) -> Result<Self, String> {
        let said = |error: io::Error| format!("{}: {error}", server.name);
        let mut command = Command::new(env::current_exe().map_err(said)?);
        command.args([SUBCOMMAND, server.name]);
        command.args(heartbeat.map(|interval| interval.as_millis().to_string()));
        let mut process = command.stdout(Stdio::piped()).spawn().map_err(said)?;
        let mut line = String::new();
        if let Some(stdout) = process.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(said)?;
        }
        let address = line.trim().parse();
        let address = address.map_err(|_| format!("{}: it says {line:?}", server.name))?;
        Ok(Self { process, address })
    }

    /// Returns where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the processor time of all its threads: by schedstat (proc(5)) to the nanosecond,
    /// up to the last tick.
    ///
    /// # Panics
    ///
    /// If the process is gone.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        let tasks = fs::read_dir(self.file("task")).expect("the server runs");
        let of = |entry: fs::DirEntry| {
            let text = fs::read_to_string(entry.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        };
        let nanos = tasks.filter_map(|entry| of(entry.ok()?)).sum();
        Duration::from_nanos(nanos)
    }

    /// Returns the bytes of its memory that are resident.
    ///
    /// # Panics
    ///
    /// If the process is gone.
    #[must_use]
    pub fn resident(&self) -> u64 {
        let rollup = fs::read_to_string(self.file("smaps_rollup")).expect("the server runs");
        let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kilobytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.expect("a figure") * 1024
    }

    fn file(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.process.id())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves, if the command line says `server NAME [INTERVAL]`; `None` if not. The interval of the
/// heartbeat is in milliseconds.
#[must_use]
pub fn obey() -> Option<ExitCode> {
    let mut args = env::args().skip(1);
    if args.next()? != SUBCOMMAND {
        return None;
    }
    let (name, interval) = (args.next().unwrap_or_default(), args.next());
    let interval = interval.and_then(|text| text.parse().ok());
    match run(&name, interval.map(Duration::from_millis)) {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("{name}: {error}");
            Some(ExitCode::FAILURE)
        }
    }
}

fn run(name: &str, heartbeat: Option<Duration>) -> Result<(), String> {
    let server = server(name).ok_or("no such server")?;
    let said = |error: io::Error| error.to_string();
    // No server outlives its bench, whatever becomes of that.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| error.to_string())?;
    pin_to(SERVER_CORE).map_err(said)?;
    let _ = raise_descriptor_limit(MOST_CONNECTIONS + 200);
    let listener = listen().map_err(said)?;
    println!("{}", listener.local_addr().map_err(said)?);
    server.serve(listener, heartbeat).map_err(said)
}

/// Its backlog holds as many connections as the load opens at once.
fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

/// Lets this process have so many descriptors, or as many as it may, and returns how many.
#[must_use]
pub fn raise_descriptor_limit(descriptors: usize) -> usize {
    let wanted = descriptors as u64;
    let limit = getrlimit(Resource::Nofile);
    let mut allowed = limit.current.unwrap_or(wanted);
    // Only a privileged process may raise the limit of limits.
    for most in [limit.maximum.unwrap_or(wanted), wanted] {
        let raised = Rlimit {
            current: Some(most.min(wanted)),
            maximum: limit.maximum.map(|maximum| maximum.max(most)),
        };
        if allowed < wanted && setrlimit(Resource::Nofile, raised).is_ok() {
            allowed = most.min(wanted);
        }
    }
    allowed.min(wanted) as usize
}

const SUBCOMMAND: &str = "server";

/// The load has the first one.
const SERVER_CORE: usize = 1;

/// The most that any bench opens.
const MOST_CONNECTIONS: usize = 20_000;
