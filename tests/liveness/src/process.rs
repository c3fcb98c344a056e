//! Processes: the one under test, its end with its parent, and the cable of its namespace.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};

use crate::program::{Orders, executable};

/// Makes the kernel end this process when its parent ends.
pub(crate) fn end_with_the_parent() {
    let is_set = set_parent_process_death_signal(Some(Signal::KILL)).is_ok();
    // A parent that ended before that has left this process to the first one.
    if !is_set || getppid().is_none_or(Pid::is_init) {
        process::exit(1);
    }
}

/// The process under test. Dropped, it is ended.
#[derive(Debug)]
pub(crate) struct Subject {
    process: Child,
    lines: Receiver<(Instant, String)>,
    end: Option<(Instant, String)>,
}

impl Subject {
    pub(crate) fn start(orders: &Orders) -> Result<Self, String> {
        let executable = executable().map_err(|error| error.to_string())?;
        let mut process = Command::new(executable)
            .args(orders.to_arguments())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let (heard, lines) = mpsc::channel();
        if let Some(stdout) = process.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    let _ = heard.send((Instant::now(), line));
                }
            });
        }
        Ok(Self {
            process,
            lines,
            end: None,
        })
    }

    /// Waits for the line that begins so, and returns the rest.
    pub(crate) fn word(&self, word: &str, limit: Duration) -> Result<String, String> {
        let (_, line) = self
            .lines
            .recv_timeout(limit)
            .map_err(|error| format!("no {word:?}: {error}"))?;
        let rest = line.strip_prefix(word).map(|rest| rest.trim().to_owned());
        rest.ok_or(line)
    }

    /// When and how the application's connection ended, if it did.
    pub(crate) fn end(&mut self) -> Option<&(Instant, String)> {
        if self.end.is_none() {
            self.end = self.lines.try_recv().ok();
            if self.end.is_none()
                && let Ok(Some(status)) = self.process.try_wait()
            {
                // What it said last may still be on its way.
                let last = self.lines.recv_timeout(Duration::from_secs(10));
                let crashed = |_| (Instant::now(), format!("end crashed {status}"));
                self.end = Some(last.unwrap_or_else(crashed));
            }
        }
        self.end.as_ref()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The memory that it holds, in KiB.
    pub(crate) fn memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Stops a process, or lets it go on.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // One that has ended needs neither.
        let _ = kill_process(pid, signal);
    }
}

/// A control group that gives its process 2 ms of CPU a second. Dropped, it is removed.
pub(crate) struct Starved {
    folder: PathBuf,
    pid: u32,
}

impl Starved {
    pub(crate) fn start(pid: u32) -> Result<Self, String> {
        let (root, limits): (_, &[_]) = if Path::new("/sys/fs/cgroup/cpu/tasks").exists() {
            let limits = &[
                ("cpu.cfs_period_us", "1000000"),
                ("cpu.cfs_quota_us", "2000"),
            ];
            ("/sys/fs/cgroup/cpu", limits)
        } else {
            ("/sys/fs/cgroup", &[("cpu.max", "2000 1000000")])
        };
        let starved = Self {
            folder: Path::new(root).join(format!("wspulse-liveness-{pid}")),
            pid,
        };
        let made = fs::create_dir(&starved.folder);
        let set = |(file, value): &(_, _)| fs::write(starved.folder.join(file), value);
        made.and_then(|()| limits.iter().try_for_each(set))
            .and_then(|()| fs::write(starved.folder.join("cgroup.procs"), pid.to_string()))
            .map_err(|error| format!("{}: {error}", starved.folder.display()))?;
        Ok(starved)
    }
}

impl Drop for Starved {
    fn drop(&mut self) {
        if let Some(root) = self.folder.parent() {
            // A process that has ended is in no group any more.
            let _ = fs::write(root.join("cgroup.procs"), self.pid.to_string());
        }
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Cuts or mends the cable: what arrives on the loopback interface of this namespace is dropped,
/// and nobody is told.
pub(crate) fn cable(rule: &str) -> Result<(), String> {
    drop_input(rule, &[])
}

/// Drops what arrives at this port from now on.
pub(crate) fn hole(port: u16) -> Result<(), String> {
    drop_input("-A", &["-p", "tcp", "--dport", &port.to_string()])
}

fn drop_input(rule: &str, only: &[&str]) -> Result<(), String> {
    let iptables = Command::new("iptables")
        .args(["-w", rule, "INPUT", "-i", "lo"])
        .args(only)
        .args(["-j", "DROP"])
        .status();
    match iptables {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("iptables {rule} {only:?}: {other:?}")),
    }
}
