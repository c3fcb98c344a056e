//! Two hosts and a cable, for real: network namespaces joined by a veth pair.
//!
//! Needs root, `ip`, `tc`, `ss` (iproute2) and `iptables`. Where they are missing, tests that need
//! them say so and are skipped; with [`NEEDED`] in the environment they fail instead.

use std::env;
use std::fmt::{self, Display};
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{self, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The environment variable that makes a machine without namespaces a failure.
pub const NEEDED: &str = "WSPULSE_NEEDS_NETNS";

/// What every name begins with, and then the id of the process that it belongs to.
const PREFIX: &str = "wspulse-";

/// Two namespaces and the link between them. Dropped, both are gone, with all that is in them.
#[derive(Debug)]
pub struct Link {
    /// One end.
    pub left: Namespace,
    /// The other.
    pub right: Namespace,
}

/// A namespace with one interface and the loopback.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    address: Ipv4Addr,
}

impl Link {
    /// Makes a link that is up.
    ///
    /// # Errors
    ///
    /// What a program said that failed, such as for want of privileges.
    pub fn new() -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = |side| format!("{PREFIX}{}-{number}{side}", process::id());
        // Namespaces see nothing of each other, so all links may have the same addresses.
        let left = Namespace::new(name("l"), Ipv4Addr::new(10, 99, 0, 1))?;
        let right = Namespace::new(name("r"), Ipv4Addr::new(10, 99, 0, 2))?;
        let veth = ["type", "veth", "peer", "name", INTERFACE, "netns"];
        let add = [&["-n", &left.name, "link", "add", INTERFACE], &veth[..]].concat();
        run("ip", &[&add[..], &[&right.name]].concat())?;
        for namespace in [&left, &right] {
            let address = format!("{}/30", namespace.address);
            namespace.ip(&["address", "add", &address, "dev", INTERFACE])?;
            namespace.ip(&["link", "set", INTERFACE, "up"])?;
            namespace.ip(&["link", "set", "lo", "up"])?;
        }
        Ok(Self { left, right })
    }

    /// Makes the link so fast and no faster, in bytes per second and direction.
    ///
    /// # Errors
    ///
    /// What `tc` said.
    pub fn limit_rate(&self, bytes_per_second: u32) -> Result<(), String> {
        for namespace in [&self.left, &self.right] {
            let rate = format!("{}kbit", bytes_per_second / 125);
            let bucket = [
                "root", "tbf", "rate", &rate, "burst", "256kb", "latency", "30ms",
            ];
            let add = [&["tc", "qdisc", "add", "dev", INTERFACE], &bucket[..]].concat();
            namespace.run(&add)?;
        }
        Ok(())
    }

    /// Cuts the link: what arrives at either end is dropped, and nobody is told.
    ///
    /// # Errors
    ///
    /// What `iptables` said.
    pub fn cut(&self) -> Result<(), String> {
        self.rule("-A")
    }

    /// Mends it.
    ///
    /// # Errors
    ///
    /// What `iptables` said.
    pub fn mend(&self) -> Result<(), String> {
        self.rule("-D")
    }

    fn rule(&self, what: &str) -> Result<(), String> {
        for namespace in [&self.left, &self.right] {
            namespace.run(&[
                "iptables", "-w", what, "INPUT", "-i", INTERFACE, "-j", "DROP",
            ])?;
        }
        Ok(())
    }
}

impl Namespace {
    fn new(name: String, address: Ipv4Addr) -> Result<Self, String> {
        run("ip", &["netns", "add", &name])?;
        Ok(Self { name, address })
    }

    /// Returns the address of its end of the link.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Makes a command that runs `program` here, under the process id of the command.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Returns the TCP sockets here that are not listening, one a line, as `ss` tells them; also
    /// those that no process holds any more.
    ///
    /// # Errors
    ///
    /// What `ss` said.
    pub fn sockets(&self) -> Result<Vec<String>, String> {
        // One that waits only for stray packets (TIME-WAIT) holds nothing.
        let all = self.run(&["ss", "-Htano", "state", "connected", "exclude", "time-wait"])?;
        Ok(all.lines().map(str::to_owned).collect())
    }

    /// Returns how many bytes came over the link.
    ///
    /// # Errors
    ///
    /// If the kernel does not say.
    pub fn received(&self) -> Result<u64, String> {
        let path = format!("/sys/class/net/{INTERFACE}/statistics/rx_bytes");
        let count = self.run(&["cat", &path])?;
        count.trim().parse().map_err(|_| format!("{path}: {count}"))
    }

    fn ip(&self, arguments: &[&str]) -> Result<String, String> {
        run("ip", &[&["-n", &self.name], arguments].concat())
    }

    fn run(&self, arguments: &[&str]) -> Result<String, String> {
        run("ip", &[&["netns", "exec", &self.name], arguments].concat())
    }
}

impl Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The interfaces go with their namespaces, and the rules too.
impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = run("ip", &["netns", "delete", &self.name]);
    }
}

/// Tells whether a link can be made and cut here; and makes away with what processes left behind
/// that were killed.
///
/// # Errors
///
/// Why not.
pub fn check() -> Result<(), String> {
    let list = run("ip", &["netns", "list"])?;
    for name in list.lines().filter_map(|line| line.split(' ').next()) {
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = run("ip", &["netns", "delete", name]);
        }
    }
    let link = Link::new()?;
    link.limit_rate(1_000_000)?;
    link.cut()?;
    link.mend()?;
    link.left.sockets().map(drop)
}

/// Tells whether a machine without namespaces is to fail.
#[must_use]
pub fn is_needed() -> bool {
    env::var_os(NEEDED).is_some_and(|value| !value.is_empty() && value != "0")
}

/// Returns the names of the namespaces of this process that are still there.
#[must_use]
pub fn left_over() -> Vec<String> {
    let mine = format!("{PREFIX}{}-", process::id());
    let Ok(entries) = fs::read_dir("/run/netns") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(&mine))
        .collect()
}

fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    let said = |what: &dyn Display| format!("{program} {}: {what}", arguments.join(" "));
    let Output {
        status,
        stdout,
        stderr,
    } = output.map_err(|error| said(&error))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    Err(said(&String::from_utf8_lossy(&stderr).trim()))
}

/// The name of the interface at either end.
const INTERFACE: &str = "cable";
