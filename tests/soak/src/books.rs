//! What happened, added up; and what should not have.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use wspulse_core::{Cause, Closed};

/// Shared by all connections of a process.
#[derive(Debug, Default)]
pub(crate) struct Books {
    accounts: Mutex<BTreeMap<&'static str, Account>>,
    failures: Mutex<Vec<String>>,
    is_over: AtomicBool,
    is_closed: AtomicBool,
}

/// All connections of one kind.
#[derive(Debug, Default)]
struct Account {
    connections: u64,
    tally: Tally,
    ends: BTreeMap<String, u64>,
}

/// What one connection did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Messages that came, as they should.
    pub(crate) messages: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Pings of the application's own that were answered.
    pub(crate) pongs: u64,
}

impl Books {
    /// Enters a connection that ended as `end` says: in a way that is all right, or not.
    pub(crate) fn enter(&self, kind: &'static str, tally: Tally, end: Result<String, String>) {
        let end = end.unwrap_or_else(|failure| {
            self.fail(format!("{kind}: {failure}"));
            "FAILED".to_owned()
        });
        let mut accounts = self.accounts.lock().expect("no panic");
        let account = accounts.entry(kind).or_default();
        account.connections += 1;
        account.tally.messages += tally.messages;
        account.tally.bytes += tally.bytes;
        account.tally.pongs += tally.pongs;
        *account.ends.entry(end).or_default() += 1;
    }

    /// Notes what must not be. The soak goes on, for more of it may say more.
    pub(crate) fn fail(&self, failure: String) {
        println!("FAILED {failure}");
        let mut failures = self.failures.lock().expect("no panic");
        if failures.len() < 100 {
            failures.push(failure);
        }
    }

    pub(crate) fn failures(&self) -> usize {
        self.failures.lock().expect("no panic").len()
    }

    /// Has all clients come to their ends.
    pub(crate) fn finish(&self) {
        self.is_over.store(true, Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }

    /// Has the servers end too.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Relaxed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Relaxed)
    }

    /// Returns the connections that ended, and the messages that came on them.
    pub(crate) fn sums(&self) -> (u64, u64) {
        let accounts = self.accounts.lock().expect("no panic");
        accounts.values().fold((0, 0), |sums, account| {
            let messages = account.tally.messages;
            (sums.0 + account.connections, sums.1 + messages)
        })
    }
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, account) in self.accounts.lock().expect("no panic").iter() {
            let Tally {
                messages,
                bytes,
                pongs,
            } = account.tally;
            writeln!(
                f,
                "{kind}: {} connections, {messages} messages, {} MiB, {pongs} pongs; ends {:?}",
                account.connections,
                bytes >> 20,
                account.ends
            )?;
        }
        Ok(())
    }
}

/// Judges an end: in order, or cut off as the peers do at times on purpose. Everything else is a
/// failure, a death by silence above all: nobody here is ever silent for so long.
pub(crate) fn judge(closed: &Closed) -> Result<String, String> {
    match closed.cause {
        Cause::Normal => Ok(closed.code().as_u16().to_string()),
        Cause::Eof => Ok("cut".to_owned()),
        _ => Err(closed.to_string()),
    }
}
