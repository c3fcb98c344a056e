//! Servers that write down what they were told, and clients that know what was acknowledged.
//!
//! Each client numbers its messages. A server writes a number down and answers it; with the answer
//! the message is acknowledged. What was not acknowledged on one connection is sent again on the
//! next, so a number may be written down more than once, but none may be missing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use wspulse_core::backoff::BackoffConfig;
use wspulse_core::{CloseCode, Config, Event};
use wspulse_tests::kit::{ms, ping, with_heartbeat};
use wspulse_tokio::{
    DownReason, Drain, DrainReport, Error, ReconnectEvent, ReconnectPolicy, ReconnectingClient,
    accept,
};

// ---- servers

/// What the servers were told, over all their lives; one ledger a client.
#[derive(Debug)]
pub(crate) struct Record {
    ledgers: Vec<Mutex<Ledger>>,
}

#[derive(Clone, Debug, Default)]
struct Ledger {
    numbers: BTreeSet<u64>,
    repeated: u64,
    answered: u64,
}

impl Record {
    fn new(clients: usize) -> Self {
        Self {
            ledgers: (0..clients).map(|_| Mutex::default()).collect(),
        }
    }

    /// Changes the ledger of a message's client; `None` if there is no such client.
    fn note(&self, message: &str, change: impl FnOnce(&mut Ledger, u64)) -> Option<()> {
        let (client, number) = message.split_once(':')?;
        let ledger = self.ledgers.get(client.parse::<usize>().ok()?)?;
        let number = number.parse().ok()?;
        change(&mut ledger.lock().expect("no panic"), number);
        Some(())
    }

    fn of(&self, client: usize) -> Ledger {
        self.ledgers[client].lock().expect("no panic").clone()
    }
}

/// A server that can be ended in order.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    drain: Drain,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Starts a server; with port 0 on a free one.
    ///
    /// # Errors
    ///
    /// If the port is taken, and stays so.
    pub(crate) async fn start(port: u16, record: &Arc<Record>) -> Result<Self, String> {
        let listener = listen(port).await.map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let drain = Drain::new();
        let (record, guard) = (Arc::clone(record), drain.clone());
        let accepting = tokio::spawn(async move {
            loop {
                // What a checker of health connects for ends in the handshake.
                if let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(answer(stream, guard.clone(), Arc::clone(&record)));
                }
            }
        });
        Ok(Self {
            address,
            drain,
            accepting,
        })
    }

    /// Stops accepting, and closes all connections over the time `spread`.
    pub(crate) async fn stop(self, spread: Duration) -> DrainReport {
        self.accepting.abort();
        // It is over when its listener is gone.
        let _ = self.accepting.await;
        self.drain.shutdown(spread, spread + ms(8_000)).await
    }
}

/// Between two lives of a server somebody may have its port for a moment.
async fn listen(port: u16) -> std::io::Result<TcpListener> {
    let mut attempt = 1;
    loop {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Err(_) if port != 0 && attempt < 100 => attempt += 1,
            outcome => return outcome,
        }
        tokio::time::sleep(ms(10)).await;
    }
}

async fn answer(stream: TcpStream, drain: Drain, record: Arc<Record>) -> Result<(), Error> {
    let mut ws = accept(stream, heartbeat()).await?;
    drain.guard(&mut ws, "");
    while let Some(message) = ws.next().await {
        let message = message?;
        let text = message.as_text().unwrap_or_default().to_owned();
        let noted = record.note(&text, |ledger, number| {
            ledger.repeated += u64::from(!ledger.numbers.insert(number));
        });
        if noted.is_some() && ws.send(message).await.is_ok() {
            record.note(&text, |ledger, _| ledger.answered += 1);
        }
    }
    Ok(())
}

/// Once a second, where the proxies give up after two.
fn heartbeat() -> Arc<Config> {
    with_heartbeat(ping(1_000, 5_000))
}

// ---- clients

/// Clients that come back.
#[derive(Debug)]
pub(crate) struct Crowd {
    pub(crate) record: Arc<Record>,
    lives: Vec<Arc<Life>>,
    is_over: Arc<AtomicBool>,
    tasks: JoinSet<Result<(), String>>,
}

/// What is known of a client while it lives.
#[derive(Debug, Default)]
struct Life {
    is_open: AtomicBool,
    sent: AtomicU64,
    /// Numbers that were acknowledged, each once.
    acknowledged: AtomicU64,
    /// Messages sent on a second connection.
    again: AtomicU64,
    /// When and how its connections ended.
    downs: Mutex<Vec<(Instant, String)>>,
    /// Why attempts failed, or the client itself.
    failures: Mutex<Vec<String>>,
}

impl Crowd {
    /// Makes a crowd of which nobody is there.
    pub(crate) fn new(count: usize) -> Self {
        Self {
            record: Arc::new(Record::new(count)),
            lives: (0..count).map(|_| Arc::default()).collect(),
            is_over: Arc::default(),
            tasks: JoinSet::new(),
        }
    }

    /// Has all of them connect, and waits until they are.
    ///
    /// # Errors
    ///
    /// If some are not.
    pub(crate) async fn enter(&mut self, proxy: SocketAddr) -> Result<(), String> {
        for (number, life) in self.lives.iter().enumerate() {
            let (life, is_over) = (Arc::clone(life), Arc::clone(&self.is_over));
            self.tasks.spawn(async move {
                let outcome = talk(number, proxy, &life, &is_over).await;
                if let Err(error) = &outcome {
                    let mut failures = life.failures.lock().expect("no panic");
                    failures.push(error.clone());
                }
                outcome
            });
        }
        self.wait_until("connected", |life| life.is_open.load(Relaxed))
            .await
    }

    /// Waits until `holds` for each.
    ///
    /// # Errors
    ///
    /// If it does not in time.
    async fn wait_until(&self, what: &str, holds: impl Fn(&Life) -> bool) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let others = self.lives.iter().filter(|life| !holds(life)).count();
            if others == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{others} are not {what}; {}", self.summary()));
            }
            tokio::time::sleep(ms(20)).await;
        }
    }

    /// Waits until each lost a connection after `since`, and has another one.
    ///
    /// # Errors
    ///
    /// If somebody does not come back, or lost it within `at_least`.
    pub(crate) async fn come_back(
        &self,
        since: Instant,
        at_least: Duration,
    ) -> Result<Duration, String> {
        let lost_at = |life: &Life| {
            let downs = life.downs.lock().expect("no panic");
            downs.iter().map(|(at, _)| *at).find(|at| *at >= since)
        };
        self.wait_until("back", |life| {
            life.is_open.load(Relaxed) && lost_at(life).is_some()
        })
        .await?;
        let first = self.lives.iter().filter_map(|life| lost_at(life)).min();
        let after = first.map_or(Duration::ZERO, |first| first - since);
        if after < at_least {
            return Err(format!(
                "the first was lost after {after:?}: {}",
                self.summary()
            ));
        }
        Ok(after)
    }

    /// Waits for `span`, and demands that meanwhile each got answers on the connection it has.
    ///
    /// # Errors
    ///
    /// If somebody got none, or lost the connection.
    pub(crate) async fn goes_on_for(&self, span: Duration) -> Result<(), String> {
        let count = |life: &Life| {
            let downs = life.downs.lock().expect("no panic").len();
            (life.acknowledged.load(Relaxed), downs)
        };
        let before: Vec<_> = self.lives.iter().map(|life| count(life)).collect();
        tokio::time::sleep(span).await;
        let goes_on = |(life, before): (&Arc<Life>, (u64, usize))| {
            let after = count(life);
            after.0 > before.0 && after.1 == before.1
        };
        if self.lives.iter().zip(before).all(goes_on) {
            return Ok(());
        }
        Err(format!("not all go on: {}", self.summary()))
    }

    /// Has each wait for its last answers and leave; then compares the books.
    ///
    /// # Errors
    ///
    /// If a number is missing on one side.
    pub(crate) async fn leave(&mut self) -> Result<(), String> {
        self.is_over.store(true, Relaxed);
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                ended.map_err(|panic| panic.to_string())??;
            }
            Ok::<_, String>(())
        };
        match tokio::time::timeout(Duration::from_secs(15), all).await {
            Ok(outcome) => outcome?,
            Err(_) => return Err(format!("some wait for answers: {}", self.summary())),
        }
        for (number, life) in self.lives.iter().enumerate() {
            let ledger = self.record.of(number);
            let (sent, acknowledged) = (life.sent.load(Relaxed), life.acknowledged.load(Relaxed));
            // Numbers are given without a gap, so this is each of them.
            if acknowledged != sent || !ledger.numbers.iter().copied().eq(0..sent) {
                let written = ledger.numbers.len();
                return Err(format!(
                    "client {number} sent {sent} messages: {acknowledged} were acknowledged, \
                     {written} written down"
                ));
            }
        }
        Ok(())
    }

    /// Returns how many answers were sent and did not come.
    pub(crate) fn answers_lost(&self) -> u64 {
        let answered: u64 = self.ledgers().map(|ledger| ledger.answered).sum();
        answered - self.sum(|life| &life.acknowledged)
    }

    /// Returns how the connections ended, each with its count.
    pub(crate) fn ends(&self) -> BTreeMap<String, usize> {
        let mut ends = BTreeMap::new();
        for life in &self.lives {
            for (_, reason) in life.downs.lock().expect("no panic").iter() {
                *ends.entry(reason.clone()).or_default() += 1;
            }
        }
        ends
    }

    /// Returns the least number of connections that one of them lost.
    pub(crate) fn least_downs(&self) -> usize {
        let downs = |life: &Arc<Life>| life.downs.lock().expect("no panic").len();
        self.lives.iter().map(downs).min().unwrap_or_default()
    }

    pub(crate) fn summary(&self) -> String {
        let mut failures = BTreeMap::<String, usize>::new();
        for life in &self.lives {
            for failure in life.failures.lock().expect("no panic").iter() {
                *failures.entry(failure.clone()).or_default() += 1;
            }
        }
        let repeated: u64 = self.ledgers().map(|ledger| ledger.repeated).sum();
        format!(
            "{} messages of {} clients, {} acknowledged, {} sent again, {repeated} written down \
             again; ends {:?}; attempts that failed {failures:?}",
            self.sum(|life| &life.sent),
            self.lives.len(),
            self.sum(|life| &life.acknowledged),
            self.sum(|life| &life.again),
            self.ends(),
        )
    }

    fn ledgers(&self) -> impl Iterator<Item = Ledger> {
        (0..self.lives.len()).map(|client| self.record.of(client))
    }

    fn sum(&self, field: impl Fn(&Life) -> &AtomicU64) -> u64 {
        self.lives
            .iter()
            .map(|life| field(life).load(Relaxed))
            .sum()
    }
}

/// A client's life.
async fn talk(
    number: usize,
    proxy: SocketAddr,
    life: &Life,
    is_over: &AtomicBool,
) -> Result<(), String> {
    let url = format!("ws://{proxy}/");
    let mut client =
        ReconnectingClient::new(&url, heartbeat(), policy()).map_err(|error| error.to_string())?;
    let mut waiting = BTreeSet::new();
    let mut rhythm = tokio::time::interval(PACE);
    let text = |n: u64| format!("{number}:{n}");
    loop {
        let event = tokio::select! {
            event = client.next_event() => event,
            _ = rhythm.tick() => {
                if !is_over.load(Relaxed) && waiting.len() < WINDOW {
                    let next = life.sent.fetch_add(1, Relaxed);
                    waiting.insert(next);
                    // One that is refused is sent with the others when there is a connection.
                    let _ = client.send(text(next)).await;
                } else if is_over.load(Relaxed) && waiting.is_empty() {
                    break;
                }
                continue;
            }
        };
        match event {
            Some(ReconnectEvent::Opened { .. }) => {
                for n in &waiting {
                    life.again.fetch_add(1, Relaxed);
                    let _ = client.send(text(*n)).await;
                }
                life.is_open.store(true, Relaxed);
            }
            Some(ReconnectEvent::Connection(Event::Text(answer))) => {
                let answered = answer.strip_prefix(&format!("{number}:"));
                let answered = answered.and_then(|n| n.parse().ok());
                if !answered.is_some_and(|n: u64| waiting.remove(&n)) {
                    return Err(format!("client {number} did not wait for {answer}"));
                }
                life.acknowledged.fetch_add(1, Relaxed);
            }
            Some(ReconnectEvent::Down { reason, .. }) => {
                let was_open = life.is_open.swap(false, Relaxed);
                match reason {
                    DownReason::Ended(closed) if was_open => {
                        let down = (Instant::now(), closed.to_string());
                        life.downs.lock().expect("no panic").push(down);
                    }
                    failed => {
                        let mut failures = life.failures.lock().expect("no panic");
                        failures.push(failed.to_string());
                    }
                }
            }
            Some(ReconnectEvent::Connection(_)) => {}
            other => return Err(format!("client {number} does not go on: {other:?}")),
        }
    }
    // A connection that was lost just now is as good as one that was closed.
    let _ = client.close(CloseCode::NORMAL, "").await;
    Ok(())
}

/// Short, for the tests' sake: see [`BackoffConfig`] for what is good for a server.
fn policy() -> ReconnectPolicy {
    let backoff = BackoffConfig::default()
        .first(ms(500))
        .base(ms(200))
        .cap(ms(1_000))
        .min_uptime(ms(500));
    ReconnectPolicy::new(backoff)
}

/// A message for each client so often.
const PACE: Duration = ms(50);

/// Messages that may wait for their answers.
const WINDOW: usize = 8;
