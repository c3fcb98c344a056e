//! A host: a connection, an application, and a scheduler that is not always kind.

use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use wspulse_core::handshake::Accept;
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Event, Instant, Message, SendError, State};

use crate::check::Checked;
use crate::pipe::{Pipe, Read};
use crate::rng::Rng;
use crate::sim::End;

/// How late a host wakes up.
#[derive(Clone, Debug)]
pub struct Lag {
    /// Every time, up to this.
    pub usual: Duration,
    /// Now and then, up to this.
    pub rare: Duration,
    /// How often that is, in percent.
    pub rare_percent: u64,
}

impl Lag {
    /// Always on time.
    pub const NONE: Self = Self {
        usual: Duration::ZERO,
        rare: Duration::ZERO,
        rare_percent: 0,
    };

    fn draw(&self, rng: &mut Rng) -> Duration {
        let most = if rng.chance(self.rare_percent) {
            self.rare
        } else {
            self.usual
        };
        rng.span(Duration::ZERO..=most)
    }
}

/// A span of time in which a host is not itself.
#[derive(Clone, Copy, Debug)]
pub struct Spell {
    /// When it begins.
    pub from: Instant,
    /// When it ends.
    pub to: Instant,
    /// What it is.
    pub kind: SpellKind,
}

/// What a [`Spell`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpellKind {
    /// The process does not run; the clock does.
    Paused,
    /// The process does not run and its clock stands still; afterwards it is told.
    Suspended,
    /// The application does not read; timers and writes go on.
    NotReading,
}

/// What an application sends.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// When the next message is due, and how far apart they are.
    pub next: Option<Instant>,
    /// The longest gap to the next.
    pub gap: Duration,
    /// How many are left.
    pub left: u32,
    /// The longest message.
    pub longest: usize,
    /// The shortest message.
    pub shortest: usize,
    /// How many percent go out in parts, and how many are pings instead.
    pub parts_percent: u64,
    /// How many percent of the turns ping instead.
    pub ping_percent: u64,
}

impl Traffic {
    /// Sends nothing.
    pub const NONE: Self = Self {
        next: None,
        gap: Duration::ZERO,
        left: 0,
        longest: 0,
        shortest: 0,
        parts_percent: 0,
        ping_percent: 0,
    };
}

/// A connection and its surroundings.
#[derive(Debug)]
pub struct Host {
    conn: Checked,
    rng: Rng,
    /// How late it wakes.
    pub lag: Lag,
    /// When it is not itself; sorted, apart.
    pub spells: Vec<Spell>,
    /// What it sends.
    pub traffic: Traffic,
    /// The most bytes a turn reads.
    pub read_budget: usize,
    /// The most bytes handed over at once.
    pub read_chunk: usize,
    /// When the application closes.
    pub close_at: Option<Instant>,
    /// When which policy comes into force, the last one first: the first call of its turn.
    pub policies: Vec<(Instant, HeartbeatConfig)>,
    /// Now and then a write or the timeout comes before the read.
    pub any_first: bool,
    wake: Option<Instant>,
    unsent: Option<(Message, bool)>,
    parts: Vec<Message>,
    sent: Vec<Message>,
    received: Vec<Message>,
    pings_queued: u32,
    pongs: u32,
    is_shut: bool,
    resumed: usize,
    turns: u64,
}

impl Host {
    /// Puts a connection on a host that is always on time.
    #[must_use]
    pub fn new(conn: Checked, seed: u64) -> Self {
        Self {
            conn,
            rng: Rng::new(seed),
            lag: Lag::NONE,
            spells: Vec::new(),
            traffic: Traffic::NONE,
            read_budget: 1 << 18,
            read_chunk: 1 << 16,
            close_at: None,
            policies: Vec::new(),
            any_first: false,
            wake: Some(Instant::ZERO),
            unsent: None,
            parts: Vec::new(),
            sent: Vec::new(),
            received: Vec::new(),
            pings_queued: 0,
            pongs: 0,
            is_shut: false,
            resumed: 0,
            turns: 0,
        }
    }

    /// Returns the connection.
    #[must_use]
    pub const fn conn(&self) -> &Checked {
        &self.conn
    }

    /// Returns the connection, to act on it between turns; [`wake`](Self::wake_at) it afterwards.
    pub const fn conn_mut(&mut self) -> &mut Checked {
        &mut self.conn
    }

    /// Returns the messages that were queued, those in parts as they should arrive.
    #[must_use]
    pub fn sent(&self) -> &[Message] {
        &self.sent
    }

    /// Returns the messages that came.
    #[must_use]
    pub fn received(&self) -> &[Message] {
        &self.received
    }

    /// Returns how many pings of the application were queued, and how many pongs it saw.
    #[must_use]
    pub const fn application_pings(&self) -> (u32, u32) {
        (self.pings_queued, self.pongs)
    }

    /// Returns how often the host ran.
    #[must_use]
    pub const fn turns(&self) -> u64 {
        self.turns
    }

    /// Queues a message now.
    pub fn send(&mut self, message: impl Into<Message>) {
        let message = message.into();
        self.conn
            .connection()
            .send(message.clone())
            .expect("queued");
        self.sent.push(message);
    }

    /// Wakes the host at `at` at the latest.
    pub fn wake_at(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// One line for `SIM_LOG=1`.
    fn line(&self, now: Instant) -> String {
        let conn = &self.conn;
        let count = [self.sent.len(), self.received.len(), conn.pings().len()];
        let rest = (
            conn.last_input(),
            conn.suspected(),
            conn.closed().map(|(_, c)| &c.cause),
        );
        let role = conn.role();
        let local = self.local(now);
        format!(
            "{now:?} {role:?} local {local:?} sent, received, pings {count:?} waits {} \
             deadline {:?}, last input, suspected, closed {rest:?}",
            conn.buffered_amount(),
            conn.deadline(),
        )
    }

    /// The host's own clock: it stands still while suspended.
    #[must_use]
    pub fn local(&self, now: Instant) -> Instant {
        let stopped = self
            .spells
            .iter()
            .filter(|spell| spell.kind == SpellKind::Suspended);
        stopped.fold(now, |local, spell| {
            let lost = now.min(spell.to).saturating_duration_since(spell.from);
            local.saturating_sub(lost)
        })
    }

    fn is_reading(&self, now: Instant) -> bool {
        self.spell(now, |kind| kind == SpellKind::NotReading)
            .is_none()
    }

    fn spell(&self, now: Instant, of: impl Fn(SpellKind) -> bool) -> Option<Spell> {
        let in_it = |spell: &&Spell| spell.from <= now && now < spell.to && of(spell.kind);
        self.spells.iter().find(in_it).copied()
    }

    /// Plans to run at `at`, or when the spell that covers it is over.
    fn plan(&mut self, now: Instant, at: Instant) {
        let mut at = at.max(now);
        for spell in &self.spells {
            let asleep = match spell.kind {
                SpellKind::Paused => spell.from <= at && at < spell.to,
                // Timers stand still as well: whatever was due later is due later still.
                SpellKind::Suspended => {
                    now < spell.to && spell.from <= at && at < spell.to
                        || now < spell.from && spell.from <= at
                }
                SpellKind::NotReading => false,
            };
            if asleep {
                at = spell.to;
            }
        }
        self.wake_at(at);
    }

    /// A deadline on the local clock, on the world's.
    fn world(&self, now: Instant, deadline: Instant) -> Instant {
        now.saturating_add(deadline.saturating_duration_since(self.local(now)))
    }

    fn read(&mut self, local: Instant, inbound: &mut Pipe) {
        let mut budget = self.read_budget;
        while budget > 0 && self.conn.connection().wants_read() {
            let chunk = match inbound.read() {
                Read::Bytes(bytes) => {
                    let most = self.rng.len(1..=self.read_chunk.max(1));
                    &bytes[..bytes.len().min(most).min(budget)]
                }
                Read::WouldBlock => return self.conn.would_block(local),
                Read::End(_) => return self.conn.eof(local),
            };
            let taken = self.conn.input(local, chunk);
            inbound.consume(taken);
            budget -= taken;
            let events = self.events(local);
            assert!(taken > 0 || events > 0, "wants to read, and takes nothing");
        }
    }

    fn events(&mut self, local: Instant) -> usize {
        let mut count = 0;
        while let Some(event) = self.conn.event(local) {
            count += 1;
            match event {
                Event::Request(_) => {
                    self.conn
                        .connection()
                        .accept(local, &Accept::new())
                        .expect("a request waits");
                }
                Event::Pong(_) => self.pongs += 1,
                event => self.received.extend(Message::try_from(event).ok()),
            }
        }
        count
    }

    fn write(&mut self, local: Instant, outbound: &mut Pipe) {
        while outbound.is_writable() && self.conn.transmit(local, |bytes| outbound.write(bytes)) {}
    }

    /// Sends what is due. Returns when to come again.
    fn application(&mut self, local: Instant, now: Instant) {
        if self.conn.connection().state() != State::Open {
            return;
        }
        if let Some((message, last)) = self.unsent.take() {
            self.queue(message, last);
        }
        while self.unsent.is_none() && self.traffic.next.is_some_and(|next| next <= now) {
            self.traffic.left = self.traffic.left.saturating_sub(1);
            let gap = self.rng.span(Duration::ZERO..=self.traffic.gap);
            self.traffic.next = (self.traffic.left > 0).then(|| now.saturating_add(gap));
            if self.rng.chance(self.traffic.ping_percent) && self.parts.is_empty() {
                let ping = &[7; 9][..];
                self.pings_queued += u32::from(self.conn.connection().ping(ping).is_ok());
                continue;
            }
            let parts = self.rng.chance(self.traffic.parts_percent);
            let count = if parts { self.rng.range(2..=5) } else { 1 };
            let is_text = self.rng.chance(50);
            let mut list: Vec<Message> = (0..count).map(|_| self.message(is_text)).collect();
            let first = list.remove(0);
            list.reverse();
            self.parts = list;
            if parts {
                self.sent.push(if is_text {
                    "".into()
                } else {
                    Bytes::new().into()
                });
            }
            self.queue(first, !parts);
        }
        if self.close_at.is_some_and(|at| at <= now) && self.unsent.is_none() {
            self.close_at = None;
            let close = self.conn.connection();
            close
                .close(local, wspulse_core::CloseCode::NORMAL, "done")
                .expect("open");
        }
    }

    /// Queues a message, or a part of one and then the next.
    fn queue(&mut self, message: Message, whole: bool) {
        let connection = self.conn.connection();
        let last = self.parts.is_empty();
        let result = if whole {
            connection.send(message.clone())
        } else {
            connection.send_part(message.clone(), last)
        };
        match result {
            Ok(()) if whole => self.sent.push(message),
            Ok(()) => {
                let open = self.sent.last_mut().expect("pushed with the first part");
                *open = join(open, &message);
                if let Some(next) = self.parts.pop() {
                    self.queue(next, false);
                }
            }
            Err(SendError::Full(back)) => {
                assert_eq!(back, message, "a full queue gives the message back");
                self.unsent = Some((back, whole));
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn message(&mut self, is_text: bool) -> Message {
        let len = self.rng.len(self.traffic.shortest..=self.traffic.longest);
        noise(&mut self.rng, is_text, len)
    }
}

impl End for Host {
    fn wake(&self) -> Option<Instant> {
        self.wake
    }

    fn notice(&mut self, now: Instant, inbound: &Pipe, outbound: &Pipe) {
        let reads = self.is_reading(now) && self.conn.connection().wants_read();
        let writes = self.conn.connection().wants_write();
        let ready = (reads && inbound.is_readable()) || (writes && outbound.is_writable());
        let soon = now.saturating_add(self.lag.usual);
        if ready && self.wake.is_none_or(|wake| wake > soon) {
            let lag = self.lag.draw(&mut self.rng);
            self.plan(now, now.saturating_add(lag));
        }
    }

    fn turn(&mut self, now: Instant, inbound: &mut Pipe, outbound: &mut Pipe) {
        self.turns += 1;
        self.wake = None;
        let local = self.local(now);
        let over = self
            .spells
            .iter()
            .filter(|spell| spell.kind == SpellKind::Suspended && spell.to <= now);
        let over = over.count();
        if over > self.resumed {
            self.resumed = over;
            self.conn.connection().handle_resumed(local);
        }
        while let Some((_, policy)) = self.policies.pop_if(|(at, _)| *at <= now) {
            let set = self.conn.connection().set_heartbeat(local, policy);
            set.expect("a policy that can work");
            self.conn.forgive_ping();
        }
        match self.any_first.then(|| self.rng.below(4)) {
            Some(0) => self.write(local, outbound),
            Some(1) => self.conn.timeout(local),
            _ => {}
        }
        if self.is_reading(now) {
            self.read(local, inbound);
        }
        if self.conn.deadline().is_some_and(|due| due <= local) {
            self.conn.timeout(local);
            // Also in vain: a stall is judged by it.
            self.conn.transmit(local, |bytes| outbound.write(bytes));
        }
        self.events(local);
        self.application(local, now);
        self.write(local, outbound);
        // Room in the queue, and what a failed write had to say.
        self.application(local, now);
        self.write(local, outbound);
        self.events(local);
        if self.conn.connection().wants_shutdown() || self.conn.closed().is_some() {
            self.is_shut = true;
            outbound.shutdown();
        }
        if logs() {
            eprintln!("{}", self.line(now));
        }
        if self.conn.closed().is_some() {
            return;
        }
        let deadline = self.conn.connection().poll_timeout();
        let deadline = deadline.map(|deadline| self.world(now, deadline));
        let reading = self
            .spell(now, |kind| kind == SpellKind::NotReading)
            .map(|s| s.to);
        let acts = self.conn.connection().state() == State::Open && self.unsent.is_none();
        let app = [self.traffic.next, self.close_at].map(|due| due.filter(|_| acts));
        let policy = self.policies.last().map(|(at, _)| *at);
        let next = [deadline, reading, app[0], app[1], policy]
            .into_iter()
            .flatten()
            .min();
        if let Some(next) = next {
            let lag = self.lag.draw(&mut self.rng);
            self.plan(now, next.saturating_add(lag));
        }
    }
}

/// Whether to tell what every turn did.
fn logs() -> bool {
    static LOGS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *LOGS.get_or_init(|| std::env::var_os("SIM_LOG").is_some())
}

/// Joins two parts.
fn join(a: &Message, b: &Message) -> Message {
    let bytes = Bytes::from([a.as_bytes(), b.as_bytes()].concat());
    match a {
        Message::Text(_) => ByteString::try_from(bytes).expect("text and text").into(),
        Message::Binary(_) => bytes.into(),
    }
}

/// Returns a message of about `len` bytes, cheaply: cut out of one block that all share.
fn noise(rng: &mut Rng, is_text: bool, len: usize) -> Message {
    use std::sync::OnceLock;
    static BINARY: OnceLock<Bytes> = OnceLock::new();
    static TEXT: OnceLock<ByteString> = OnceLock::new();
    const SIZE: usize = 8 << 20;
    if is_text {
        let unit = UNIT.len();
        let block = TEXT.get_or_init(|| UNIT.repeat(SIZE / unit).into());
        let len = len / unit * unit;
        let start = rng.len(0..=(block.len() - len) / unit) * unit;
        // Cut at a whole unit, so nothing has to be checked again.
        return block.slice_ref(&block[start..start + len]).into();
    }
    let block = BINARY.get_or_init(|| {
        let mut bytes = vec![0; SIZE];
        Rng::new(1).fill(&mut bytes);
        bytes.into()
    });
    let start = rng.len(0..=block.len() - len);
    block.slice(start..start + len).into()
}

/// A character of each length.
const UNIT: &str = "añ€𝄞";
