//! nginx and HAProxy, started on free ports of the loopback with files of their own.

use std::env;
use std::fmt::{self, Display, Write as _};
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, kill_process, kill_process_group, test_kill_process_group as find_process_group,
};

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Nginx,
    Haproxy,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Nginx, Self::Haproxy];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        }
    }

    /// The configuration that does not depend on ports, and the name that it is run under.
    const fn configuration(self) -> (&'static str, &'static str) {
        match self {
            Self::Nginx => (include_str!("../../proxies/nginx.conf"), "nginx.conf"),
            Self::Haproxy => (include_str!("../../proxies/haproxy.cfg"), "haproxy.cfg"),
        }
    }

    /// The rest of it: `site` by `site`, a port of the proxy and the servers behind it.
    fn sites(self, ports: &[u16], sites: &[Vec<SocketAddr>]) -> String {
        let mut text = String::new();
        for (nth, (port, servers)) in ports.iter().zip(sites).enumerate() {
            // Writing to a string cannot fail.
            let _ = match self {
                Self::Nginx => write_nginx(&mut text, nth, *port, servers),
                Self::Haproxy => write_haproxy(&mut text, nth, *port, servers),
            };
        }
        text
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A server that refuses is not asked again for this connection, but for the next: one that
/// restarts is back soon.
fn write_nginx(text: &mut String, nth: usize, port: u16, servers: &[SocketAddr]) -> fmt::Result {
    writeln!(text, "upstream site{nth} {{\n    least_conn;")?;
    for server in servers {
        writeln!(text, "    server {server} max_fails=0;")?;
    }
    writeln!(text, "}}")?;
    let location = format!("location / {{ proxy_pass http://site{nth}; }}");
    writeln!(text, "server {{ listen 127.0.0.1:{port}; {location} }}")
}

/// Several servers are looked after; a single one is there or not.
fn write_haproxy(text: &mut String, nth: usize, port: u16, servers: &[SocketAddr]) -> fmt::Result {
    writeln!(text, "listen site{nth}\n    bind 127.0.0.1:{port}")?;
    let check = if servers.len() > 1 { "check" } else { "" };
    for (number, server) in servers.iter().enumerate() {
        writeln!(text, "    server server{number} {server} {check}")?;
    }
    Ok(())
}

/// Tells whether both proxies can be run here; and makes away with the files of tests that were
/// killed.
///
/// # Errors
///
/// Which one is missing.
pub(crate) fn check() -> Result<(), String> {
    for kind in Kind::ALL {
        program(kind.name()).ok_or_else(|| format!("{kind} is not installed"))?;
    }
    let left = fs::read_dir(env!("CARGO_TARGET_TMPDIR"))
        .into_iter()
        .flatten();
    for entry in left.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(owner);
        if owner.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

/// A running proxy. Dropped, it is gone with all its processes and files.
#[derive(Debug)]
pub(crate) struct Proxy {
    kind: Kind,
    process: process::Child,
    directory: PathBuf,
    addresses: Vec<SocketAddr>,
}

impl Proxy {
    /// Starts a proxy, with one address of its own for each site. It ends with the thread that
    /// this is called on.
    ///
    /// # Errors
    ///
    /// What the proxy said, if it does not listen.
    pub(crate) fn start(kind: Kind, sites: &[Vec<SocketAddr>]) -> Result<Self, String> {
        let mut attempt = 1;
        loop {
            match Self::try_start(kind, sites) {
                // A port was free a moment ago, and somebody else took it.
                Err(error) if error.contains("ddress already in use") && attempt < 5 => {
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    fn try_start(kind: Kind, sites: &[Vec<SocketAddr>]) -> Result<Self, String> {
        let directory = fresh_directory(kind).map_err(|error| format!("{kind}: {error}"))?;
        let ports = free_ports(sites.len()).map_err(|error| format!("{kind}: {error}"))?;
        let spawned = spawn(kind, &directory, &kind.sites(&ports, sites));
        let process = match spawned {
            Ok(process) => process,
            Err(error) => {
                let _ = fs::remove_dir_all(&directory);
                return Err(format!("{kind}: {error}"));
            }
        };
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut proxy = Self {
            kind,
            process,
            directory,
            addresses: ports.into_iter().map(address).collect(),
        };
        proxy.wait_until_it_listens()?;
        Ok(proxy)
    }

    fn wait_until_it_listens(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(10);
        for address in &self.addresses {
            while TcpStream::connect(address).is_err() {
                let ended = self.process.try_wait().ok().flatten();
                if ended.is_some() || Instant::now() > deadline {
                    let said = fs::read_to_string(self.directory.join("output"));
                    let said = said.unwrap_or_default();
                    return Err(format!("{} does not listen ({ended:?}): {said}", self.kind));
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }

    /// Returns where the clients of a site connect to.
    pub(crate) fn address(&self, site: usize) -> SocketAddr {
        self.addresses[site]
    }

    /// Has the proxy read its configuration again, in the way of its manual.
    ///
    /// # Errors
    ///
    /// If it cannot be told to.
    pub(crate) fn reload(&self) -> Result<(), String> {
        // What `nginx -s reload` sends, and what HAProxy's master takes for the same.
        let signal = match self.kind {
            Kind::Nginx => Signal::HUP,
            Kind::Haproxy => Signal::USR2,
        };
        kill_process(Pid::from_child(&self.process), signal)
            .map_err(|error| format!("{}: {error}", self.kind))
    }

    /// Ends the proxy.
    ///
    /// # Errors
    ///
    /// If it had ended before, or does not end with all its processes when told to.
    pub(crate) fn stop(mut self) -> Result<(), String> {
        if let Ok(Some(status)) = self.process.try_wait() {
            return Err(format!("{} ended by itself: {status}", self.kind));
        }
        self.end()
    }

    fn end(&mut self) -> Result<(), String> {
        let id = Pid::from_child(&self.process);
        let deadline = Instant::now() + Duration::from_secs(5);
        let is_running = matches!(self.process.try_wait(), Ok(None));
        if is_running {
            let _ = kill_process(id, Signal::TERM);
        }
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        // The group is the proxy's own: see `spawn`.
        while find_process_group(id).is_ok() {
            if Instant::now() > deadline {
                let _ = kill_process_group(id, Signal::KILL);
                let _ = self.process.wait();
                return Err(format!("{} had to be killed", self.kind));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.end();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Starts the program in a process group of its own, which its workers share.
fn spawn(kind: Kind, directory: &Path, sites: &str) -> Result<process::Child, String> {
    let said = |error: std::io::Error| error.to_string();
    let (text, name) = kind.configuration();
    let (main, rest) = (directory.join(name), directory.join("sites.conf"));
    fs::write(&main, text).map_err(said)?;
    fs::write(&rest, sites).map_err(said)?;
    fs::create_dir(directory.join("temporary")).map_err(said)?;
    let output = File::create(directory.join("output")).map_err(said)?;
    let program = program(kind.name()).ok_or("not installed")?;
    // Whatever becomes of the tests, nothing stays behind: the kernel ends it with their thread.
    let mut command = match self::program("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "TERM", "--"]).arg(program);
            command
        }
        None => Command::new(program),
    };
    match kind {
        Kind::Nginx => command.arg("-p").arg(directory).arg("-c").arg(&main),
        Kind::Haproxy => command.arg("-W").arg("-f").arg(&main).arg("-f").arg(&rest),
    };
    command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(output.try_clone().map_err(said)?)
        .stderr(output)
        .spawn()
        .map_err(said)
}

/// Tells which process a directory belongs to, if it is one of [`fresh_directory`].
fn owner(name: &str) -> Option<&str> {
    let mut prefixes = Kind::ALL.iter().map(|kind| kind.name());
    let rest = prefixes.find_map(|prefix| name.strip_prefix(prefix))?;
    rest.strip_prefix('-')?.split('-').next()
}

fn fresh_directory(kind: Kind) -> std::io::Result<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("{kind}-{}-{number}", process::id());
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// Ports that were free at this moment.
fn free_ports(count: usize) -> std::io::Result<Vec<u16>> {
    let listeners = (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let listeners = listeners.collect::<Result<Vec<_>, _>>()?;
    let port = |listener: &TcpListener| Ok(listener.local_addr()?.port());
    listeners.iter().map(port).collect()
}

/// Finds a program; those of Debian's proxies are where only root looks.
fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}
