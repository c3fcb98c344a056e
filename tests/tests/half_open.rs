//! A cable is cut, and nobody is told: two hosts, a link and a rule that drops what arrives; with
//! each adapter at both ends.
//!
//! A test's name is `scene/adapter`. Each has a pair of network namespaces, and a child process
//! in either: a server on the right, its client on the left. Both have to see that the other is
//! gone, within the bounds that the engine's rules add up to; or, if the link is mended before
//! that, nothing is to be lost. Where there are no namespaces to be had nothing is tested, and
//! that is said; with `WSPULSE_NEEDS_NETNS=1` it is a failure.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use wspulse_core::Role;
use wspulse_tests::kit::ms;
use wspulse_tests::net::child::{Child, Ended, Orders, obey};
use wspulse_tests::net::{Control, content, digest, fairly, subjects};
use wspulse_tests::netns::{self, Link};

/// What a declaration of death may take beyond the bounds of the engine.
const MARGIN: Duration = ms(250);

/// 64 MiB, at a rate that makes it take more than three seconds.
const LARGE: usize = 64 << 20;
const RATE: u32 = 20_000_000;

/// Links at once, unless `--test-threads` says otherwise: nearly all of the time is sleep.
const AT_ONCE: usize = 8;

/// A situation.
#[derive(Clone, Copy, Debug)]
struct Scene {
    name: &'static str,
    /// Who sends 64 MiB, if it is not idle.
    sender: Option<Role>,
    /// How long the link is cut, if not for good.
    cut_for: Option<Duration>,
    interval: Duration,
    timeout: Duration,
    write_stall: Duration,
}

fn scenes() -> Vec<Scene> {
    let idle = Scene {
        name: "idle-cut",
        sender: None,
        cut_for: None,
        interval: ms(1_000),
        timeout: ms(1_000),
        write_stall: ms(2_000),
    };
    // What was lost the kernel sends again after 0.2, 0.6, 1.4 and 3 s, or somewhat later where
    // answers took longer: a link that was away for so long carries again within twice that and a
    // bit, and that has to be before the deadline.
    let mended = Scene {
        cut_for: Some(ms(1_300)),
        timeout: ms(5_500),
        write_stall: ms(6_000),
        ..idle
    };
    let by = |sender, name, scene: Scene| Scene {
        name,
        sender: Some(sender),
        ..scene
    };
    vec![
        by(Role::Client, "upload-cut", idle),
        by(Role::Server, "download-cut", idle),
        by(Role::Client, "upload-mended", mended),
        by(Role::Server, "download-mended", mended),
        idle,
        Scene {
            name: "idle-mended",
            // Long enough for suspicion.
            cut_for: Some(ms(2_200)),
            ..mended
        },
    ]
}

fn main() -> ExitCode {
    if let Some(code) = obey() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    if let Err(why) = netns::check() {
        println!("no network namespaces here: {why}");
        if netns::is_needed() {
            return ExitCode::FAILURE;
        }
        println!("skipped: needs root, iproute2 and iptables");
        return ExitCode::SUCCESS;
    }
    let began = Instant::now();
    let control = Control::start();
    let mut trials = Vec::new();
    for scene in scenes() {
        for subject in subjects() {
            let (name, subject) = (format!("{}/{}", scene.name, subject.name()), subject.name());
            trials.push(Trial::test(name.clone(), move || {
                let figure = fairly(control, || scene.play(subject)).map_err(Failed::from)?;
                println!("{name}: {figure}");
                Ok(())
            }));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    println!("{} ms in all", began.elapsed().as_millis());
    let left = netns::left_over();
    if !left.is_empty() {
        println!("namespaces are left: {left:?}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

impl Scene {
    fn play(&self, subject: &'static str) -> Result<String, String> {
        let link = Link::new()?;
        if self.sender.is_some() {
            link.limit_rate(RATE)?;
        }
        let orders = |role| self.orders(subject, role, &link);
        let mut server = Child::start(&orders(Role::Server), Some(&link.right))?;
        let address = server.listening()?;
        let to_it = Orders {
            address,
            ..orders(Role::Client)
        };
        let mut client = Child::start(&to_it, Some(&link.left))?;
        self.wait_for_the_middle(&link)?;
        link.cut()?;
        let cut = Instant::now();
        if let Some(cut_for) = self.cut_for {
            thread::sleep(cut_for);
            link.mend()?;
            let outage = cut.elapsed();
            return self.lives_on(&mut client, &mut server, outage);
        }
        let figures = [
            self.declares_death(&mut client, Role::Client, cut)?,
            self.declares_death(&mut server, Role::Server, cut)?,
        ];
        let orphans = self.leaves_no_socket(&link)?;
        Ok(format!("{}; {orphans}", figures.join("; ")))
    }

    fn orders(&self, subject: &'static str, role: Role, link: &Link) -> Orders {
        Orders {
            subject,
            role,
            address: (link.right.address(), 0).into(),
            interval: self.interval,
            timeout: self.timeout,
            write_stall: self.write_stall,
            sends: (self.sender == Some(role)).then_some(LARGE),
            // The client leaves first.
            window: match role {
                Role::Client => WINDOW,
                Role::Server => WINDOW + ms(5_000),
            },
        }
    }

    /// Idle: until some pings have been answered. In a transfer: until a third has come.
    fn wait_for_the_middle(&self, link: &Link) -> Result<(), String> {
        let receiver = match self.sender {
            Some(Role::Server) => &link.left,
            Some(Role::Client) | None => &link.right,
        };
        let enough = if self.sender.is_some() {
            LARGE as u64 / 3
        } else {
            // The handshakes, and some ten packets.
            1_000
        };
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let received = receiver.received()?;
            if received > LARGE as u64 * 9 / 10 {
                return Err(format!("{received} bytes came before the link was cut"));
            }
            if received >= enough {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{received} bytes came, and then no more"));
            }
            thread::sleep(ms(20));
        }
    }

    /// The bound, by the rules in the engine's documentation.
    ///
    /// Rule 8: who has nothing queued declares death within interval + timeout. Rule 5: who has
    /// output that the transport does not take does so within `write_stall_timeout`; rule 11: and
    /// then the Close frame, which cannot leave either, is given the linger.
    fn bound(&self, role: Role) -> Duration {
        if self.sender == Some(role) {
            self.write_stall + LINGER
        } else {
            self.interval + self.timeout
        }
    }

    /// In time, with a typed reason, and without anything left in the process.
    fn declares_death(
        &self,
        child: &mut Child,
        role: Role,
        cut: Instant,
    ) -> Result<String, String> {
        let bound = self.bound(role) + MARGIN;
        let ended = child.ended(WINDOW + ms(5_000))?;
        let after = ended.at.saturating_duration_since(cut);
        let figure = format!(
            "{role:?}: {} {} ms after the cut, bound {} ms, silence {} ms",
            ended.cause,
            after.as_millis(),
            bound.as_millis(),
            ended.silence.as_millis()
        );
        let may_stall = self.sender == Some(role) && ended.cause == "Dead(WriteStalled)";
        let is_typed = ended.cause == "Dead(PongTimeout)" || may_stall;
        if !is_typed || after > bound || (!may_stall && ended.silence > bound) {
            return Err(format!("broken: {figure}: {}", ended.line));
        }
        child.leaves_nothing()?;
        Ok(figure)
    }

    /// What the dead processes could not deliver, the kernel gives up in time too.
    fn leaves_no_socket(&self, link: &Link) -> Result<String, String> {
        let began = Instant::now();
        let limit = self.timeout.max(self.write_stall) + ORPHANED;
        loop {
            let left = [link.left.sockets()?, link.right.sockets()?].concat();
            if left.is_empty() {
                return Ok(format!(
                    "no socket after {} ms",
                    began.elapsed().as_millis()
                ));
            }
            if began.elapsed() > limit {
                return Err(format!("sockets are left after {limit:?}: {left:?}"));
            }
            thread::sleep(ms(50));
        }
    }

    /// Nobody died, and what was sent came.
    fn lives_on(
        &self,
        client: &mut Child,
        server: &mut Child,
        outage: Duration,
    ) -> Result<String, String> {
        let limit = WINDOW + ms(10_000);
        let ends = [client.ended(limit)?, server.ended(limit)?];
        let [client_end, server_end] = &ends;
        let figure = format!("cut for {} ms; {}", outage.as_millis(), summary(&ends));
        let is_alive =
            client_end.end == "alive" && ends.iter().all(|end| end.suspicions == end.recoveries);
        // The server sees its client leave.
        let sees_it = !server_end.is_dead() && server_end.end != "alive";
        let has_lived = server_end.open_for + ms(500) > client_end.open_for;
        if !(is_alive && sees_it && has_lived) {
            return Err(format!("broken: {figure}"));
        }
        for (role, end) in [(Role::Server, client_end), (Role::Client, server_end)] {
            let sent = self.sender == Some(role);
            let is_whole = end.messages == 1
                && end.bytes == LARGE as u64
                && end.digest == digest(&content(LARGE));
            if sent && !is_whole {
                return Err(format!("broken: what came is not what was sent: {figure}"));
            }
        }
        client.leaves_nothing()?;
        server.leaves_nothing()?;
        Ok(figure)
    }
}

fn summary(ends: &[Ended; 2]) -> String {
    let says = |role, end: &Ended| {
        format!(
            "{role}: {} {} after {} ms, {} bytes, {} pings, {} suspicions, {} recoveries",
            end.end,
            end.cause,
            end.open_for.as_millis(),
            end.bytes,
            end.pings,
            end.suspicions,
            end.recoveries
        )
    };
    format!("{}; {}", says("client", &ends[0]), says("server", &ends[1]))
}

/// How long a child's connection is watched.
const WINDOW: Duration = ms(11_000);

/// The engine's default.
const LINGER: Duration = ms(250);

/// How much later than the engine a kernel may give up what it could not deliver.
const ORPHANED: Duration = ms(2_000);
