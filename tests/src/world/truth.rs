//! What is true: the peer, the path, the pauses of this host, and what the transport takes.
//!
//! A [`Setting`] says what may happen and how often. A [`Truth`] is the state at one tick, and an
//! [`Action`] is what happens in the next one. Bytes are counted, not made: a [`Piece`] is an
//! arrival, and the world that uses the truth decides which bytes it stands for.
//!
//! The order within a tick: [`Truth::advance`] applies the action, then, if it returns true, the
//! host is awake and the world drives its code: it reads with [`Truth::read`] until `None`, writes
//! with [`Truth::take`], and says with [`Truth::ping_taken`] that the last byte taken was the last
//! one of a ping.

use super::search::Tick;

/// What may happen in a world, and how often.
#[derive(Clone, Debug)]
pub struct Setting {
    /// From the tick at which a ping leaves the transport's buffer to the arrival of its pong, or
    /// from a restart of the network to the arrival of what was under way.
    pub delay: Tick,
    /// How long this host may be away; empty for never.
    pub naps: &'static [u8],
    /// What a nap does to the network.
    pub network: &'static [Network],
    /// For how many ticks the host is awake between two naps at least.
    pub min_awake: Tick,
    /// Naps without choice: asleep, then awake, again and again, with the network as in `network`.
    pub doze: Option<(Tick, Tick)>,
    /// How the peer may die.
    pub deaths: &'static [Peer],
    /// What a living peer may send on its own account.
    pub sends: &'static [Sends],
    /// A living peer sends a frame every so many ticks.
    pub chatter: Option<Tick>,
    /// What the transport holds and drains; `None` for a transport that is never full.
    pub buffer: Option<Buffer>,
    /// For how long the transport may take nothing.
    pub full: &'static [u8],
    /// Bytes that the application writes at a time.
    pub write_len: u32,
    /// Bytes of a ping.
    pub ping_len: u32,
    /// To which policies (by the world's numbers) the policy may change.
    pub changes: &'static [u8],
    /// Which call may come first in a drive.
    pub first: &'static [First],
    /// Whether the host calls `handle_resumed` after a nap.
    pub resumes: bool,
    /// Whether the code may also be driven when nothing happened.
    pub extra_drives: bool,
    /// How many pieces may wait while reads are held back; the rest leave the peer when reading
    /// begins again, and arrive `delay` later. `None` for any number.
    pub window: Option<usize>,
    /// Whether the adapter says nothing of reads that found nothing.
    pub forgets_looks: bool,
    /// How often each kind of event may happen.
    pub budget: Budget,
}

/// How often each kind of event may happen; [`UNLIMITED`] sets no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Naps.
    pub naps: u8,
    /// Frames, pieces of frames and pongs that the peer sends on its own account.
    pub sends: u8,
    /// Writes of the application.
    pub writes: u8,
    /// Times at which the transport takes nothing for a while.
    pub fulls: u8,
    /// Ticks in which the transport takes a single byte.
    pub shorts: u8,
    /// Changes of the policy.
    pub changes: u8,
    /// Times at which the application stops to read.
    pub holds: u8,
}

/// No bound.
pub const UNLIMITED: u8 = u8::MAX;

/// A transport's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    /// Bytes that it holds.
    pub capacity: u32,
    /// Bytes that drain to a living peer in a tick.
    pub rate: u32,
}

/// What a nap does to the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// It stays: what arrives meanwhile is read on waking.
    Stays,
    /// It is gone, and what was under way comes again `delay` after waking.
    Restarts,
    /// It is gone, and what was under way comes later by the length of the nap.
    Freezes,
}

/// What the peer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// It answers pings, and takes bytes.
    Lives,
    /// It takes bytes and answers nothing; bytes of a frame without end come every tick. Alive
    /// where any byte is evidence.
    Mute,
    /// It takes bytes and answers no ping; a whole frame comes every tick. Alive where a frame is
    /// evidence, or any byte.
    Deaf,
    /// Nothing comes, and nothing is taken.
    Gone,
}

/// What the peer sends on its own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sends {
    /// A whole frame, which arrives one tick later.
    Frame,
    /// A frame whose bytes take this many ticks; pongs wait for its end.
    Long(u8),
    /// The pong of the ping answered last, once more.
    PongAgain,
}

/// Which call comes first in a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum First {
    /// The read: the documented order.
    Read,
    /// `handle_timeout`, if it is due.
    Timeout,
    /// A write.
    Write,
}

/// What arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Piece {
    /// Bytes from inside a frame.
    Bytes,
    /// The end of a frame that is no pong.
    Frame,
    /// The pong of a ping, by the number that [`Truth::ping_taken`] was given.
    Pong(u16),
}

/// What happens in one tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Action {
    /// The host is away for so many ticks, this one included; 0 for not.
    pub nap: u8,
    /// What the nap does to the network.
    pub network: Network,
    /// What becomes of the peer.
    pub peer: Option<Peer>,
    /// What the peer sends.
    pub sends: Option<Sends>,
    /// The transport takes nothing for so many ticks, this one included; 0 for not.
    pub full: u8,
    /// The transport takes a single byte in this tick.
    pub is_short: bool,
    /// The application writes.
    pub writes: bool,
    /// The policy changes.
    pub change: Option<u8>,
    /// Which call comes first.
    pub first: First,
    /// The code is driven though nothing happened.
    pub extra: bool,
    /// The application stops to read, or begins again.
    pub toggles_reading: bool,
}

impl Action {
    /// Nothing happens.
    pub const NOTHING: Self = Self {
        nap: 0,
        network: Network::Stays,
        peer: None,
        sends: None,
        full: 0,
        is_short: false,
        writes: false,
        change: None,
        first: First::Read,
        extra: false,
        toggles_reading: false,
    };

    /// Tells what happens, for a timeline; `None` if nothing does.
    #[must_use]
    pub fn describe(&self, now: Tick) -> Option<String> {
        let mut words = Vec::new();
        if self.nap > 0 {
            let network = match self.network {
                Network::Stays => "network stays up",
                Network::Restarts => "network gone, restarts",
                Network::Freezes => "network gone, freezes",
            };
            let until = now + Tick::from(self.nap);
            words.push(format!("host away until {until}, {network}"));
        }
        match self.peer {
            Some(Peer::Gone) => words.push("peer dies".into()),
            Some(Peer::Mute) => words.push("peer answers no more, its bytes go on".into()),
            Some(Peer::Deaf) => words.push("peer answers no more, its frames go on".into()),
            _ => {}
        }
        match self.sends {
            Some(Sends::Frame) => words.push("peer sends a frame".into()),
            Some(Sends::Long(ticks)) => words.push(format!("peer sends a frame for {ticks} ticks")),
            Some(Sends::PongAgain) => words.push("peer repeats its last pong".into()),
            None => {}
        }
        if self.full > 0 {
            let until = now + Tick::from(self.full);
            words.push(format!("transport full until {until}"));
        }
        if self.is_short {
            words.push("transport takes one byte".into());
        }
        if self.toggles_reading {
            words.push("application stops or begins to read".into());
        }
        (!words.is_empty()).then(|| words.join(", "))
    }
}

/// The truth at one tick.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Truth {
    peer: Peer,
    /// What is under way to us, earliest first.
    inbound: Vec<(Tick, Piece)>,
    /// Bytes in the transport's buffer, and for each ping in it the bytes up to its end.
    held: u32,
    pings: Vec<(u32, u16)>,
    /// From when on the buffer drains: the network has to be back.
    drains_from: Tick,
    full_until: Tick,
    is_short: bool,
    asleep_until: Tick,
    network_back_at: Tick,
    woke_at: Tick,
    just_woke: bool,
    holds_reads: bool,
    /// Until when the peer's long frame lasts.
    frame_until: Tick,
    last_pong: u16,
    spent: Budget,
}

impl Default for Truth {
    fn default() -> Self {
        Self::new()
    }
}

impl Truth {
    /// A connection that opened at tick 0, with nothing under way.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            peer: Peer::Lives,
            inbound: Vec::new(),
            held: 0,
            pings: Vec::new(),
            drains_from: 0,
            full_until: 0,
            is_short: false,
            asleep_until: 0,
            network_back_at: 0,
            woke_at: 0,
            just_woke: false,
            holds_reads: false,
            frame_until: 0,
            last_pong: 0,
            spent: Budget {
                naps: 0,
                sends: 0,
                writes: 0,
                fulls: 0,
                shorts: 0,
                changes: 0,
                holds: 0,
            },
        }
    }

    /// What the peer does.
    #[must_use]
    pub const fn peer(&self) -> Peer {
        self.peer
    }

    /// Whether this is the first tick after a nap.
    #[must_use]
    pub const fn just_woke(&self) -> bool {
        self.just_woke
    }

    /// Whether the application does not want to read.
    #[must_use]
    pub const fn holds_reads(&self) -> bool {
        self.holds_reads
    }

    /// Bytes in the transport's buffer.
    #[must_use]
    pub const fn backlog(&self) -> u32 {
        self.held
    }

    /// Puts what may happen at `now` into `actions`. `is_due` tells that the code's deadline has
    /// come, so that no extra drive is needed.
    pub fn actions(&self, setting: &Setting, now: Tick, is_due: bool, actions: &mut Vec<Action>) {
        if now < self.asleep_until {
            actions.push(Action::NOTHING);
            return;
        }
        let wakes = self.asleep_until == now && now > 0;
        if let Some((asleep, awake)) = setting.doze
            && now % (asleep + awake) == awake
        {
            actions.push(Action {
                nap: asleep as u8,
                network: setting.network[0],
                ..Action::NOTHING
            });
            return;
        }
        let left = |budget: u8, spent: u8| budget == UNLIMITED || spent < budget;
        let (budget, spent) = (&setting.budget, &self.spent);
        actions.push(Action::NOTHING);
        // Each kind of event in turn, beside everything before it.
        if self.peer == Peer::Lives {
            vary(actions, setting.deaths, |action, &peer| {
                action.peer = Some(peer);
                true
            });
            if left(budget.sends, spent.sends) && now >= self.frame_until {
                vary(actions, setting.sends, |action, &sends| {
                    action.sends = Some(sends);
                    action.peer.is_none() && (sends != Sends::PongAgain || self.last_pong > 0)
                });
            }
        }
        let rested = now.saturating_sub(self.woke_at) >= setting.min_awake;
        let events = actions.len();
        if left(budget.naps, spent.naps) && !wakes && rested && setting.doze.is_none() {
            for &nap in setting.naps {
                for &network in setting.network {
                    for index in 0..events {
                        actions.push(Action {
                            nap,
                            network,
                            ..actions[index]
                        });
                    }
                }
            }
        }
        // A living peer's transport takes something in between.
        if left(budget.fulls, spent.fulls) && now > self.full_until {
            vary(actions, setting.full, |action, &full| {
                action.full = full;
                true
            });
        }
        let awake = |action: &Action| action.nap == 0;
        if left(budget.shorts, spent.shorts) && now >= self.full_until {
            vary(actions, &[()], |action, ()| {
                action.is_short = true;
                awake(action) && action.full == 0
            });
        }
        if left(budget.holds, spent.holds) || self.holds_reads {
            vary(actions, &[()], |action, ()| {
                action.toggles_reading = true;
                awake(action)
            });
        }
        if left(budget.changes, spent.changes) {
            vary(actions, setting.changes, |action, &policy| {
                action.change = Some(policy);
                awake(action)
            });
        }
        if left(budget.writes, spent.writes) {
            vary(actions, &[()], |action, ()| {
                action.writes = true;
                awake(action)
            });
        }
        // The order of calls matters after a pause, when the deadline has come, and for a write.
        vary(actions, setting.first, |action, &first| {
            action.first = first;
            let matters = wakes || is_due || action.writes && first == First::Write;
            awake(action) && first != First::Read && matters
        });
        if setting.extra_drives && !is_due && !wakes {
            vary(actions, &[()], |action, ()| {
                action.extra = true;
                awake(action) && !action.writes && action.change.is_none()
            });
        }
    }

    /// Lets `now` come, and `action` happen. Returns whether the host is awake.
    pub fn advance(&mut self, setting: &Setting, now: Tick, action: &Action) -> bool {
        if let Some(peer) = action.peer {
            self.peer = peer;
            self.frame_until = 0;
            self.inbound.clear();
            self.pings.clear();
        }
        if let Some(sends) = action.sends {
            count(&mut self.spent.sends, setting.budget.sends);
            match sends {
                Sends::Frame => self.arrives(now + 1, Piece::Frame),
                Sends::Long(ticks) => self.frame_until = now + Tick::from(ticks),
                Sends::PongAgain => self.arrives(now + 1, Piece::Pong(self.last_pong)),
            }
        }
        if action.toggles_reading {
            self.holds_reads = !self.holds_reads;
            if self.holds_reads {
                count(&mut self.spent.holds, setting.budget.holds);
            } else if let Some(window) = setting.window {
                self.open_window(window, now, now + setting.delay);
            }
        }
        if action.full > 0 {
            count(&mut self.spent.fulls, setting.budget.fulls);
            self.full_until = now + Tick::from(action.full);
        }
        self.is_short = action.is_short;
        if action.is_short {
            count(&mut self.spent.shorts, setting.budget.shorts);
        }
        if action.writes {
            count(&mut self.spent.writes, setting.budget.writes);
        }
        if action.change.is_some() {
            count(&mut self.spent.changes, setting.budget.changes);
        }
        if action.nap > 0 {
            self.fall_asleep(setting, now, action);
        }
        self.send(setting, now);
        if let Some(buffer) = &setting.buffer
            && self.peer != Peer::Gone
            && now >= self.drains_from
        {
            let drained = buffer.rate.min(self.held);
            self.held -= drained;
            for (ahead, _) in &mut self.pings {
                *ahead = ahead.saturating_sub(drained);
            }
        }
        self.answer(setting, now);
        if now < self.asleep_until {
            return false;
        }
        self.just_woke = self.asleep_until == now && now > 0;
        if self.just_woke {
            self.woke_at = now;
        }
        true
    }

    /// Whether a read at `now` finds something.
    #[must_use]
    pub fn is_readable(&self, now: Tick) -> bool {
        self.inbound.first().is_some_and(|(at, _)| *at <= now)
    }

    /// Whether the transport takes anything at `now`.
    #[must_use]
    pub fn is_writable(&self, setting: &Setting, now: Tick) -> bool {
        self.room(setting, now) > 0
    }

    /// Reads the next piece that has arrived.
    pub fn read(&mut self, now: Tick) -> Option<Piece> {
        if !self.is_readable(now) {
            return None;
        }
        let (_, piece) = self.inbound.remove(0);
        if let Piece::Pong(number) = piece {
            self.last_pong = number;
        }
        Some(piece)
    }

    /// Offers `bytes` to the transport; returns how many it takes.
    pub fn take(&mut self, setting: &Setting, now: Tick, bytes: u32) -> u32 {
        let taken = bytes.min(self.room(setting, now));
        if setting.buffer.is_some() {
            self.held += taken;
        }
        if self.is_short {
            // One byte a tick.
            self.is_short = false;
            self.full_until = self.full_until.max(now + 1);
        }
        taken
    }

    /// The last byte taken was the last one of ping `number`.
    pub fn ping_taken(&mut self, setting: &Setting, now: Tick, number: u16) {
        if self.peer == Peer::Lives {
            self.pings.push((self.held, number));
            self.answer(setting, now);
        }
    }

    fn room(&self, setting: &Setting, now: Tick) -> u32 {
        let room = setting
            .buffer
            .map_or(u32::MAX, |buffer| buffer.capacity.saturating_sub(self.held));
        match () {
            () if now < self.full_until => 0,
            () if self.is_short => room.min(1),
            () => room,
        }
    }

    /// What did not fit into the window while nobody read comes at `later`.
    fn open_window(&mut self, window: usize, now: Tick, later: Tick) {
        for (at, _) in self.inbound.iter_mut().skip(window) {
            if *at <= now {
                *at = later;
            }
        }
        self.inbound.sort_unstable();
        self.inbound.dedup();
    }

    fn fall_asleep(&mut self, setting: &Setting, now: Tick, action: &Action) {
        count(&mut self.spent.naps, setting.budget.naps);
        let nap = Tick::from(action.nap);
        self.asleep_until = now + nap;
        if action.network == Network::Stays {
            return;
        }
        self.network_back_at = now + nap;
        let restarts = action.network == Network::Restarts;
        for (at, piece) in &mut self.inbound {
            let again = match piece {
                Piece::Pong(_) => setting.delay,
                Piece::Bytes | Piece::Frame => 1,
            };
            if *at >= now {
                *at = if restarts {
                    now + nap + again
                } else {
                    *at + nap
                };
            }
        }
        self.inbound.sort_unstable();
        if self.frame_until > now {
            self.frame_until += nap;
        }
        let warm_up = if restarts && setting.buffer.is_some() {
            setting.delay
        } else {
            0
        };
        self.drains_from = self.network_back_at + warm_up;
    }

    /// What the peer sends by itself.
    fn send(&mut self, setting: &Setting, now: Tick) {
        let sends_frame = self.peer == Peer::Lives
            && setting
                .chatter
                .is_some_and(|every| now.is_multiple_of(every));
        if sends_frame {
            self.arrives(now.max(self.network_back_at) + 1, Piece::Frame);
        }
        if now < self.network_back_at {
            return;
        }
        match self.peer {
            Peer::Lives if now < self.frame_until => {
                let ends = now + 1 == self.frame_until;
                let piece = if ends { Piece::Frame } else { Piece::Bytes };
                self.arrives(now + 1, piece);
            }
            Peer::Mute => self.arrives(now + 1, Piece::Bytes),
            Peer::Deaf => self.arrives(now + 1, Piece::Frame),
            _ => {}
        }
    }

    /// A living peer answers the pings that have left the buffer.
    fn answer(&mut self, setting: &Setting, now: Tick) {
        while let Some(&(0, number)) = self.pings.first()
            && now >= self.drains_from
        {
            self.pings.remove(0);
            let after_frame = if now < self.frame_until {
                self.frame_until + 1
            } else {
                0
            };
            let at = (now + setting.delay).max(after_frame);
            self.arrives(at, Piece::Pong(number));
        }
    }

    fn arrives(&mut self, at: Tick, piece: Piece) {
        let arrival = (at, piece);
        if let Err(place) = self.inbound.binary_search(&arrival) {
            self.inbound.insert(place, arrival);
        }
    }
}

impl Setting {
    /// A living peer, a host that never pauses and a transport that is never full.
    pub const CALM: Self = Self {
        delay: 1,
        naps: &[],
        network: &[Network::Stays],
        min_awake: 2,
        doze: None,
        deaths: &[],
        sends: &[],
        chatter: None,
        buffer: None,
        full: &[],
        write_len: 10,
        ping_len: 10,
        changes: &[],
        first: &[First::Read],
        resumes: false,
        extra_drives: false,
        window: None,
        forgets_looks: false,
        budget: Budget {
            naps: UNLIMITED,
            sends: 0,
            writes: 0,
            fulls: 0,
            shorts: 0,
            changes: 0,
            holds: 0,
        },
    };
}

/// Adds to `actions`, for each of them and each of `choices`, a copy that `choose` may change; it
/// returns false where the two do not go together.
fn vary<T>(actions: &mut Vec<Action>, choices: &[T], choose: impl Fn(&mut Action, &T) -> bool) {
    for index in 0..actions.len() {
        for choice in choices {
            let mut action = actions[index];
            if choose(&mut action, choice) {
                actions.push(action);
            }
        }
    }
}

/// Events without a bound are not counted, so that the count tells no states apart.
fn count(spent: &mut u8, budget: u8) {
    if budget != UNLIMITED {
        *spent += 1;
    }
}
