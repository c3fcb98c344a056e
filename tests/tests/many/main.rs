//! Ten thousand connections, and nothing to say but pings: on one thread of mio, and on tokio with
//! one thread and with several.
//!
//! The server is the process of the test; its clients are raw peers in another one, on one epoll,
//! which answer pings and note when they came. No peer may be declared dead, and the pings have to
//! be spread: no hundredth of the interval holds more than three times the mean, from the second
//! period on (P25). What a heartbeat costs is printed.
//!
//! A test's name is `many/host`. They run one after the other, and each watches two intervals of
//! 5 s; with `WSPULSE_LONG=1` a minute.

mod held;
mod hosts;
mod load;
mod spread;

use std::env;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use wspulse_core::Config;
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_tests::net::isolated;
use wspulse_tests::net::process::raise_descriptor_limit;

use held::Held;
use hosts::Tally;
use spread::Full;

const CONNECTIONS: usize = 10_000;

/// Descriptors beside those of the connections.
const SOME_MORE: usize = 200;

/// How often a silent connection is pinged, and how long an answer may take.
const INTERVAL: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    if let Some(code) = load::obey() {
        return code;
    }
    let names = hosts::all().into_iter().map(|(name, _)| name.to_owned());
    isolated::main(names.collect(), 1, run)
}

/// The server's side.
fn run(name: &str) -> Result<String, String> {
    let (_, host) = hosts::all()
        .into_iter()
        .find(|(known, _)| *known == name)
        .ok_or("no such test")?;
    raise_descriptor_limit(CONNECTIONS + SOME_MORE)?;
    let held = Held::start();
    let is_long = env::var_os("WSPULSE_LONG").is_some_and(|value| value != "0");
    let span = if is_long { 12 } else { 2 } * INTERVAL;

    let heartbeat = HeartbeatConfig::ping(INTERVAL, INTERVAL);
    let config = Config::builder().heartbeat(heartbeat).build();
    let config = Arc::new(config.map_err(|error| error.to_string())?);
    let listener = listen().map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let tally = Arc::new(Tally::default());
    // The process ends with the test, and this thread with it.
    let server = {
        let tally = Arc::clone(&tally);
        thread::spawn(move || host(listener, config, &tally))
    };

    let mut load = Load::start(&load::Orders {
        address,
        connections: CONNECTIONS,
        interval: INTERVAL,
        span,
    })?;
    let started = Instant::now();
    load.next("open", Duration::from_secs(60))?;
    let opening = started.elapsed();
    load.next("measuring", INTERVAL + Duration::from_secs(10))?;
    let (began, cpu_before) = (Instant::now(), held.cpu_time());
    let measured = load.next("measured", span + Duration::from_secs(20))?;
    let (ended, cpu) = (Instant::now(), held.cpu_time() - cpu_before);
    // Before anything else happens.
    let (open, ends, suspicions) = (tally.opened(), tally.ends(), tally.suspicions());
    if server.is_finished() {
        return Err(format!("the server is gone: {:?}", server.join()));
    }
    let (heartbeats, fullest) = measured.split_once(' ').ok_or("no numbers")?;
    let [heartbeats, fullest]: [u32; 2] = [heartbeats, fullest].map(|n| n.parse().unwrap_or(0));
    let (full, mean) = load.spread()?;

    let slot = spread::slot(INTERVAL);
    let server_held = |full: &Full| spread::held_about(held, began, slot, full.slot);
    let guilty = full
        .iter()
        .find(|full| !full.is_excused(mean, slot, server_held(full)));
    let guilty_said = guilty.map(|full| format!("{full:?}, server {:?}", server_held(full)));
    let time = ended - began;
    let figure = format!(
        "{open} connections open in {} ms; in {:.1} s {heartbeats} heartbeats, CPU {:.1} us each, \
         {:.1} % of one core; {suspicions} suspicions, {ends} ends; mean of {} ms {mean:.1}, \
         fullest {fullest} ({:.2} x), {} above 3 x; machine at most {} ms late",
        opening.as_millis(),
        time.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / f64::from(heartbeats.max(1)),
        100.0 * cpu.as_secs_f64() / time.as_secs_f64(),
        slot.as_millis(),
        f64::from(fullest) / mean,
        full.len(),
        held.longest(began, ended).as_millis()
    );
    // One ping each in every interval, and jitter only shortens it.
    let expected = u32::try_from(CONNECTIONS).unwrap_or(0) * (span.as_secs() / 5) as u32;
    let faults = [
        (open < CONNECTIONS, "connections are missing"),
        (ends > 0, "a connection ended"),
        (heartbeats < expected / 20 * 19, "pings are missing"),
        (heartbeats > expected * 5 / 4, "there are too many pings"),
        (guilty.is_some(), "the pings are not spread"),
    ];
    match faults.iter().find(|(is_fault, _)| *is_fault) {
        Some((_, what)) => Err(format!(
            "{what}: {figure}; {guilty_said:?}; {:?}",
            tally.first_end()
        )),
        None => Ok(figure),
    }
}

fn listen() -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    socket.listen(1024)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// The other process.
struct Load {
    process: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Load {
    fn start(orders: &load::Orders) -> Result<Self, String> {
        let said = |error: std::io::Error| error.to_string();
        let mut command = Command::new(env::current_exe().map_err(said)?);
        command.env(load::ORDERS, orders.to_line());
        // Its end of input is the end of this process.
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(said)?;
        let stdout: ChildStdout = process.stdout.take().ok_or("no output")?;
        let (tell, lines) = std::sync::mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        Ok(Self { process, lines })
    }

    /// Returns the slots that hold too many pings, and how many a slot holds on average.
    fn spread(&mut self) -> Result<(Vec<Full>, f64), String> {
        let mut full = Vec::new();
        loop {
            let line = self.line(Duration::from_secs(10))?;
            if let Some(mean) = line.strip_prefix("told ") {
                return mean
                    .parse()
                    .map(|mean| (full, mean))
                    .map_err(|_| format!("the load says {line:?}"));
            }
            let slot = line.strip_prefix("full ").and_then(Full::from_line);
            full.push(slot.ok_or(line)?);
        }
    }

    /// Waits for a line that begins with `word`, and returns the rest of it.
    fn next(&mut self, word: &str, limit: Duration) -> Result<String, String> {
        let line = self
            .line(limit)
            .map_err(|error| format!("{word:?}: {error}"))?;
        match line.strip_prefix(word) {
            Some(rest) => Ok(rest.trim().to_owned()),
            None => Err(format!("the load says {line:?}, not {word:?}")),
        }
    }

    fn line(&mut self, limit: Duration) -> Result<String, String> {
        let line = self.lines.recv_timeout(limit);
        line.map_err(|error| format!("the load says nothing: {error}"))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
