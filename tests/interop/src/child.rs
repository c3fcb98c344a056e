//! A program that ends with its owner.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child as Process, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// A running program. Dropped, it is told to end, is killed with what it started if it does not,
/// and is reaped.
#[derive(Debug)]
pub(crate) struct Child {
    process: Process,
}

impl Child {
    /// Starts it in a process group of its own, with its standard output for
    /// [`take_output`](Self::take_output) and its errors for `log`.
    pub(crate) fn start(mut command: Command, log: File) -> io::Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        let process = command.process_group(0).spawn();
        let process = process.map_err(|error| {
            let program = command.get_program().to_string_lossy();
            io::Error::new(error.kind(), format!("{program}: {error}"))
        })?;
        Ok(Self { process })
    }

    pub(crate) fn take_output(&mut self) -> Option<ChildStdout> {
        self.process.stdout.take()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.process);
        let deadline = Instant::now() + GRACE;
        let _ = kill_process(pid, Signal::TERM);
        // Unreaped until the group is gone: so nobody else is given its number.
        while !has_ended(pid) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = kill_process_group(pid, Signal::KILL);
        let _ = self.process.wait();
    }
}

/// Tells whether it has ended, and leaves it unreaped.
fn has_ended(pid: Pid) -> bool {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::Pid(pid), options), Ok(None))
}

/// How long a program may take to end in its own way.
const GRACE: Duration = Duration::from_secs(3);
