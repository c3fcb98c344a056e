//! One cell of the grid: one scenario, program and role, in a process and a namespace of its own.

use std::fmt;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use wspulse_core::Role;

use crate::lateness::Lateness;
use crate::peer::Peer;
use crate::process::{Starved, Subject, cable, end_with_the_parent, hole, signal};
use crate::program::{Orders, Program, pace};
use crate::scenario::{App, Expect, Host, SCENARIOS, Scenario, Told};

/// What came out.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// A word for the grid; [`Verdict::OK`] for what must come out.
    pub(crate) word: String,
    /// What happened, in numbers.
    pub(crate) detail: String,
    /// The worst that this machine was late by meanwhile.
    pub(crate) late: Duration,
}

impl Verdict {
    pub(crate) const OK: &'static str = "ok";
    /// Nothing could be judged: the machine was too late each time.
    pub(crate) const VOID: &'static str = "void";

    pub(crate) fn is_ok(&self) -> bool {
        self.word == Self::OK
    }

    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (late, rest) = line.strip_prefix("verdict ")?.split_once(' ')?;
        let (word, detail) = rest.split_once('|')?;
        Some(Self {
            word: word.to_owned(),
            detail: detail.to_owned(),
            late: Duration::from_millis(late.parse().ok()?),
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let late = self.late.as_millis();
        write!(f, "verdict {late} {}|{}", self.word, self.detail)
    }
}

/// What the machine may take beyond a bound.
const MARGIN: Duration = Duration::from_millis(500);

/// How long after its bound a dead peer may still be found, late, before it counts as not found.
const OVERTIME: Duration = Duration::from_millis(2_500);

/// Plays the cell that the arguments name, and says what came out.
pub(crate) fn run(arguments: &[String]) {
    end_with_the_parent();
    let verdict = play(arguments).unwrap_or_else(|error| Verdict {
        word: "broken".to_owned(),
        detail: error.replace('\n', " "),
        late: Duration::ZERO,
    });
    println!("{verdict}");
}

fn play(arguments: &[String]) -> Result<Verdict, String> {
    let [scenario, program, role, timer, has_heartbeat] = arguments else {
        return Err("no such arguments".to_owned());
    };
    let scenario = SCENARIOS.iter().find(|known| known.name == scenario);
    let scenario = scenario.ok_or("no such scenario")?;
    let program = Program::find(program).ok_or("no such program")?;
    let timer = Duration::from_millis(timer.parse().map_err(|_| "no such timer")?);
    let up = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status();
    if !up.is_ok_and(|status| status.success()) {
        return Err("the loopback interface does not come up".to_owned());
    }
    let orders = Orders {
        scenario,
        program,
        timer,
        has_heartbeat: has_heartbeat == "true",
        address: None,
    };
    let lateness = Lateness::start();
    let began = Instant::now();
    let role = if role == "client" {
        Role::Client
    } else {
        Role::Server
    };
    let (subject, peer) = match meet(orders, role) {
        Ok(both) => both,
        Err(detail) => {
            let (_, late) = lateness.between(began, Instant::now());
            return Ok(Verdict {
                word: "unopened".to_owned(),
                detail: detail.replace(['\r', '\n'], " "),
                late,
            });
        }
    };
    let host = scenario.host;
    let (opened, pid, last_ping) = (peer.opened(), subject.pid(), peer.last_ping());
    let port = peer.port().ok_or("the peer has no port")?;
    thread::spawn(move || host.play(opened, timer, pid, port, &last_ping));
    let mut judge = Judge {
        scenario,
        timer,
        subject,
        peer,
        lateness,
    };
    let (word, detail) = judge.judge();
    let (_, late) = lateness.between(began, Instant::now());
    Ok(Verdict {
        word: word.to_owned(),
        detail,
        late,
    })
}

/// Starts the process under test, and shakes hands with it.
fn meet(mut orders: Orders, role: Role) -> Result<(Subject, Peer), String> {
    let Scenario { peer, host, .. } = *orders.scenario;
    let timer = orders.timer;
    let text = |error: std::io::Error| error.to_string();
    if role == Role::Client {
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(text)?;
        orders.address = Some(listener.local_addr().map_err(text)?);
        let subject = Subject::start(&orders)?;
        let (stop, resume) = in_opening(host, subject.pid());
        let peer = Peer::accept(&listener, peer, timer, stop, resume);
        return Ok((subject, peer.map_err(text)?));
    }
    let subject = Subject::start(&orders)?;
    let address = subject.word("listening", Duration::from_secs(20))?;
    let address = address.parse().map_err(|_| address)?;
    let (stop, resume) = in_opening(host, subject.pid());
    let peer = Peer::connect(address, peer, timer, stop, resume);
    Ok((subject, peer.map_err(text)?))
}

/// Judges one cell.
struct Judge {
    scenario: &'static Scenario,
    timer: Duration,
    subject: Subject,
    peer: Peer,
    lateness: &'static Lateness,
}

impl Judge {
    fn judge(&mut self) -> (&'static str, String) {
        match self.scenario.expect {
            Expect::Lives(until) => self.lives(self.moment(until)),
            Expect::AnswersClose => self.answers_close(),
            Expect::ClosesCleanly(from) => self.closes_cleanly(self.moment(from)),
            Expect::StaysSmall(until) => self.stays_small(self.moment(until)),
            Expect::Finds { from, within, told } => {
                self.finds(self.moment(from), within.span(self.timer), told)
            }
        }
    }

    fn lives(&mut self, until: Instant) -> (&'static str, String) {
        while Instant::now() < until && self.is_over().is_none() {
            self.peer.step();
        }
        if let Some(verdict) = self.is_over() {
            return verdict;
        }
        let log = self.peer.log().clone();
        let age = log.last_message.map(|at| at.elapsed());
        match self.scenario.app {
            App::Ticks | App::TicksOnly => {
                let lived = self.peer.opened().elapsed();
                let expected = (lived.as_secs_f64() / pace(self.timer).as_secs_f64()) as u64;
                let is_fresh = age.is_some_and(|age| age < self.timer);
                let detail = format!("{} ticks of {expected}, the last {age:?} ago", log.messages);
                if is_fresh && log.messages >= expected / 2 {
                    return (Verdict::OK, detail);
                }
                return ("unsent", detail);
            }
            App::Sends(_) if log.messages == 0 => {
                return ("unsent", format!("{} bytes came", log.bytes));
            }
            _ => {}
        }
        // Does it still hear, and do we?
        let asked = Instant::now();
        self.peer.ask();
        self.play_until(asked + 2 * self.timer, |peer| {
            peer.log().answers > log.answers
        });
        if let Some(verdict) = self.is_over() {
            return verdict;
        }
        if self.peer.log().answers > log.answers {
            let took = asked.elapsed().as_millis();
            return (Verdict::OK, format!("answers after {took} ms"));
        }
        ("deaf", "no answer at the end".to_owned())
    }

    /// Whether a connection that must live is over, by its own doing or the peer's.
    fn is_over(&mut self) -> Option<(&'static str, String)> {
        let opened = self.peer.opened();
        if let Some((at, end)) = self.subject.end() {
            let after = at.duration_since(opened).as_millis();
            let peer = self.peer.log().end.clone().unwrap_or_default();
            let word = if peer.contains(", after ") {
                "cut off"
            } else {
                "died"
            };
            return Some((word, format!("{end}, after {after} ms {peer}")));
        }
        let end = self.peer.log().end.clone()?;
        Some(("cut off", end))
    }

    fn answers_close(&mut self) -> (&'static str, String) {
        let closed = self.scenario.peer.last.map_or(0.0, |(at, _)| at);
        let closed = self.moment(closed);
        let limit = Duration::from_millis(1_500);
        self.play_until(closed + limit + OVERTIME, |peer| peer.log().close.is_some());
        let Some(answered) = self.peer.log().close else {
            let end = self.subject.end().map(|(_, end)| end.clone());
            return ("not answered", format!("{end:?}"));
        };
        let took = answered.saturating_duration_since(closed);
        let (late, _) = self.lateness.between(closed, answered);
        let detail = format!("after {} ms", took.as_millis());
        if took <= limit + late {
            return (Verdict::OK, detail);
        }
        ("late", detail)
    }

    fn closes_cleanly(&mut self, from: Instant) -> (&'static str, String) {
        self.play_until_the_end(from + MARGIN + OVERTIME);
        let Some((at, end)) = self.subject.end().cloned() else {
            return ("not closed", String::new());
        };
        let took = at.saturating_duration_since(from);
        let (late, _) = self.lateness.between(from, at);
        let detail = format!("{end}, after {} ms", took.as_millis());
        if end != "end clean" {
            return ("died", detail);
        }
        if took > MARGIN + late {
            return ("late", detail);
        }
        (Verdict::OK, detail)
    }

    fn stays_small(&mut self, until: Instant) -> (&'static str, String) {
        let before = self.subject.memory();
        let mut most = before;
        while Instant::now() < until && self.subject.end().is_none() {
            self.peer.step();
            most = most.max(self.subject.memory());
        }
        let end = self.subject.end().map(|(_, end)| end.clone());
        let (Some(before), Some(most)) = (before, most) else {
            return ("broken", "the kernel does not say".to_owned());
        };
        let grown = most - before;
        let detail = format!("{grown} KiB more, {}", end.unwrap_or_default());
        if grown <= 1_024 {
            return (Verdict::OK, detail);
        }
        ("large", detail)
    }

    fn finds(&mut self, from: Instant, bound: Duration, told: Told) -> (&'static str, String) {
        self.play_until_the_end(from + bound + MARGIN + OVERTIME);
        let Some((at, end)) = self.subject.end().cloned() else {
            let waited = (bound + MARGIN + OVERTIME).as_millis();
            return ("not found", format!("in {waited} ms"));
        };
        let took = at.saturating_duration_since(from);
        let (late, _) = self.lateness.between(from, at);
        let ms = took.as_millis();
        let detail = format!(
            "{end}, {ms} ms of {} ms, machine {} ms late",
            bound.as_millis(),
            late.as_millis()
        );
        // A healthy peer that is declared dead before it dies is another failure.
        let deadly = self.dies_at().min(from);
        if at + MARGIN < deadly {
            return ("died", detail);
        }
        if !told.is_in(&end) {
            return ("untold", detail);
        }
        if took > bound + MARGIN + late {
            return ("late", detail);
        }
        (Verdict::OK, detail)
    }

    /// When the peer is dead, or out of reach.
    fn dies_at(&self) -> Instant {
        let peer = &self.scenario.peer;
        let last = peer.last.map(|(at, _)| at);
        let cut = match self.scenario.host {
            Host::Cut { at } | Host::Hole { at } | Host::CutAndJerks { at, .. } => Some(at),
            Host::CutWhileStopped { cut, .. } => Some(cut),
            _ => None,
        };
        let first = [peer.hush, last, cut].into_iter().flatten();
        self.moment(first.fold(f64::MAX, f64::min).min(1e6))
    }

    fn play_until(&mut self, until: Instant, is_enough: impl Fn(&Peer) -> bool) {
        while Instant::now() < until && !is_enough(&self.peer) {
            self.peer.step();
        }
    }

    fn play_until_the_end(&mut self, limit: Instant) {
        while Instant::now() < limit && self.subject.end().is_none() {
            self.peer.step();
        }
    }

    fn moment(&self, timers: f64) -> Instant {
        self.peer.opened() + self.timer.mul_f64(timers)
    }
}

impl Told {
    fn is_in(self, end: &str) -> bool {
        match self {
            Self::Dead => end.contains("Dead("),
            Self::Ended => end.starts_with("end closed Eof") || end.contains("ConnectionReset"),
            Self::CloseTimeout => end.contains("CloseTimeout"),
        }
    }
}

impl Host {
    /// Does to the process and the cable what has to happen.
    fn play(
        self,
        opened: Instant,
        timer: Duration,
        pid: u32,
        port: u16,
        last_ping: &Mutex<Instant>,
    ) {
        let moment = |timers: f64| opened + timer.mul_f64(timers);
        let played = match self {
            Self::Calm | Self::StoppedInOpening { .. } => Ok(()),
            Self::Stopped { from, to } => {
                stop_between(moment(from), moment(to), pid);
                Ok(())
            }
            Self::Jerks {
                from,
                to,
                asleep,
                awake,
            } => {
                sleep_until(moment(from));
                jerk(moment(to), timer.mul_f64(asleep), timer.mul_f64(awake), pid);
                Ok(())
            }
            Self::Starved { from, to } => {
                sleep_until(moment(from));
                match Starved::start(pid) {
                    Ok(starved) => {
                        sleep_until(moment(to));
                        drop(starved);
                    }
                    Err(_) => jerk(moment(to), TURN - SHARE, SHARE, pid),
                }
                Ok(())
            }
            Self::Hole { at } => {
                sleep_until(moment(at));
                hole(port)
            }
            Self::Cut { at } => {
                sleep_until(moment(at));
                cable("-A")
            }
            Self::CutAndJerks {
                at,
                to,
                asleep,
                awake,
            } => {
                sleep_until(moment(at));
                let cut = cable("-A");
                jerk(moment(to), timer.mul_f64(asleep), timer.mul_f64(awake), pid);
                cut
            }
            Self::CutWhileStopped { from, cut, to } => {
                sleep_until(moment(from));
                signal(pid, Signal::STOP);
                sleep_until(moment(cut));
                let cut = cable("-A");
                sleep_until(moment(to));
                signal(pid, Signal::CONT);
                cut
            }
            Self::Outage { at, seconds } => {
                sleep_until(moment(at));
                let last = || *last_ping.lock().expect("no panic");
                while last() < moment(at) {
                    thread::sleep(MARGIN / 100);
                }
                // The jitter makes an interval of a second shorter by 100 ms at most, and iptables
                // takes some 100 ms on a busy machine.
                sleep_until(last() + Duration::from_millis(700));
                let cut = cable("-A");
                thread::sleep(Duration::from_secs_f64(seconds));
                cut.and_then(|()| cable("-D"))
            }
        };
        if let Err(error) = played {
            // Without its cable cut, a cell proves nothing.
            println!("verdict 0 broken|{error}");
            std::process::exit(1);
        }
    }
}

/// What is done to the process in the middle of the opening handshake, and after what it waits for
/// has been sent.
fn in_opening(host: Host, pid: u32) -> (impl FnOnce(), impl FnOnce()) {
    let seconds = match host {
        Host::StoppedInOpening { seconds } => seconds,
        _ => 0.0,
    };
    let stop = move || {
        if seconds > 0.0 {
            // It is to have read the first half.
            thread::sleep(MARGIN);
            signal(pid, Signal::STOP);
        }
    };
    let resume = move || {
        if seconds > 0.0 {
            thread::sleep(Duration::from_secs_f64(seconds));
            signal(pid, Signal::CONT);
        }
    };
    (stop, resume)
}

/// What a starved process gets of each turn.
const SHARE: Duration = Duration::from_millis(2);
const TURN: Duration = Duration::from_secs(1);

fn stop_between(from: Instant, to: Instant, pid: u32) {
    sleep_until(from);
    signal(pid, Signal::STOP);
    sleep_until(to);
    signal(pid, Signal::CONT);
}

fn jerk(until: Instant, asleep: Duration, awake: Duration, pid: u32) {
    while Instant::now() < until {
        signal(pid, Signal::STOP);
        thread::sleep(asleep);
        signal(pid, Signal::CONT);
        thread::sleep(awake);
    }
}

fn sleep_until(moment: Instant) {
    thread::sleep(moment.saturating_duration_since(Instant::now()));
}
