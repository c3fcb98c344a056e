//! A process is stopped in the middle (SIGSTOP) and goes on later (SIGCONT), with each adapter in
//! both roles.
//!
//! A test's name is `scene/adapter/role`. The one who was stopped does not blame a peer that was
//! there all the time; the one who was not declares in time that its peer is gone. Everything is
//! on loopback, and only children of this process get signals.

use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use wspulse_core::Role;
use wspulse_tests::kit::ms;
use wspulse_tests::net::child::{Child, Orders, obey};
use wspulse_tests::net::{Answer, Control, Manner, Peer, PeerOptions, fairly, subjects};

/// What a declaration of death may take beyond the engine's bound of interval + timeout.
const MARGIN: Duration = ms(250);

/// Ping after this, and dead as long after an unanswered ping.
const SECOND: Duration = ms(1_000);

/// Much longer than both together.
const STOP: Duration = ms(2_500);

/// How many tests run at once, unless `--test-threads` says otherwise: most of it is sleep.
const AT_ONCE: usize = 48;

/// A test: an adapter in a role.
type Play = fn(&'static str, Role) -> Result<String, String>;

fn main() -> ExitCode {
    if let Some(code) = obey() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let began = Instant::now();
    let control = Control::start();
    let scenes: [(&str, Play); 3] = [
        ("is-stopped-and-lives", is_stopped_and_lives),
        ("peer-is-stopped-and-dies", peer_is_stopped_and_dies),
        ("peer-is-stopped-briefly", peer_is_stopped_briefly),
    ];
    let mut trials = Vec::new();
    for (scene, play) in scenes {
        for subject in subjects() {
            for (role, word) in [(Role::Client, "client"), (Role::Server, "server")] {
                let name = format!("{scene}/{}/{word}", subject.name());
                trials.push(Trial::test(name.clone(), move || {
                    let figure = fairly(control, || play(subject.name(), role));
                    println!("{name}: {}", figure.map_err(Failed::from)?);
                    Ok(())
                }));
            }
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    println!("{} ms in all", began.elapsed().as_millis());
    conclusion.exit_code()
}

/// Rule 6: this side was away, and its peer was not. The answer to a ping comes while it is
/// stopped, and waits in the socket; the next time there is none, and none comes but to a fresh
/// ping.
fn is_stopped_and_lives(subject: &'static str, role: Role) -> Result<String, String> {
    let (mut child, mut peer) = child_and_peer(subject, role)?;
    let began = Instant::now();
    let healthy = Manner::HEALTHY;
    let ping = |peer: &mut Peer, manner| -> Result<(), String> {
        let before = peer.log().pings.len();
        let deadline = Instant::now() + ms(5_000);
        while peer.log().pings.len() == before {
            if Instant::now() > deadline {
                return Err(format!("no ping came: {:?}", peer.log()));
            }
            play(peer, &manner, ms(5));
        }
        Ok(())
    };
    // After the child is stopped, before its deadline, and before it goes on.
    let soon = Manner {
        answer_after: ms(300),
        ..healthy
    };
    // RFC 6455 §5.5.3: who has several pings to answer may answer the last one alone. That is the
    // fresh one which comes of the pardon; a child that is unforgiving makes none, and dies in its
    // next look at the socket.
    let only_the_next = Manner {
        answer: Answer::Nothing,
        ..healthy
    };
    play(&mut peer, &healthy, ms(700));
    for manner in [soon, only_the_next] {
        ping(&mut peer, manner)?;
        // A child that is stopped within the write has its ping's clock start when it goes on, and
        // owes nobody another one.
        play(&mut peer, &manner, ms(100));
        child.stop()?;
        play(&mut peer, &manner, STOP);
        child.resume()?;
        // Through what comes of it, and a quiet ping of its own.
        play(&mut peer, &healthy, ms(1_200));
    }
    ping(&mut peer, healthy)?;
    let left = (WINDOW + ms(500)).saturating_sub(began.elapsed());
    play(&mut peer, &healthy, left);
    let ended = child.ended(ms(5_000))?;
    let figure = format!(
        "{} after {} ms, {} pings, {} pauses of its own, {} suspicions",
        ended.end,
        ended.open_for.as_millis(),
        ended.pings,
        ended.pauses,
        ended.suspicions
    );
    if ended.end != "alive" || ended.pauses == 0 || peer.log().fault.is_some() {
        return Err(format!(
            "broken: {figure}: {}; {:?}",
            ended.line,
            peer.log()
        ));
    }
    child.leaves_nothing()?;
    Ok(figure)
}

/// Who was not stopped declares death in time, and who was is told when it goes on.
fn peer_is_stopped_and_dies(subject: &'static str, role: Role) -> Result<String, String> {
    let (mut live, mut stopped) = two_children(subject, role)?;
    thread::sleep(ms(1_600));
    stopped.stop()?;
    let at = Instant::now();
    let ended = live.ended(ms(10_000))?;
    let after = ended.at.saturating_duration_since(at);
    let bound = 2 * SECOND + MARGIN;
    let figure = format!(
        "{} {} ms after the stop, silence {} ms, bound {} ms",
        ended.cause,
        after.as_millis(),
        ended.silence.as_millis(),
        bound.as_millis()
    );
    let in_time = after <= bound && ended.silence <= bound && ended.silence >= SECOND;
    if ended.cause != "Dead(PongTimeout)" || !in_time || ended.suspicions == 0 {
        return Err(format!("broken: {figure}: {}", ended.line));
    }
    live.leaves_nothing()?;
    // Far behind its own deadlines, with the other's last words before it.
    thread::sleep(STOP.saturating_sub(after));
    stopped.resume()?;
    let resumed = Instant::now();
    let ended = stopped.ended(ms(5_000))?;
    let after = ended.at.saturating_duration_since(resumed);
    let figure = format!(
        "{figure}; then the other: {} in {} ms",
        ended.said,
        after.as_millis()
    );
    // Its own answer may not find anybody any more; then what it was told is the reason.
    let is_typed = ["Normal", "Eof"].contains(&&*ended.cause);
    if ended.end != "closed" || !is_typed || after > ms(1_000) {
        return Err(format!("broken: {figure}: {}", ended.line));
    }
    stopped.leaves_nothing()?;
    Ok(figure)
}

/// For less than the timeout: nobody dies.
fn peer_is_stopped_briefly(subject: &'static str, role: Role) -> Result<String, String> {
    let (mut live, mut stopped) = two_children(subject, role)?;
    for pause in [ms(1_100), ms(730), ms(910)] {
        thread::sleep(pause);
        stopped.stop()?;
        thread::sleep(ms(650));
        stopped.resume()?;
    }
    let ends = [live.ended(WINDOW * 2)?, stopped.ended(WINDOW * 2)?];
    let says = |n: usize| {
        let end = &ends[n];
        format!(
            "{} {} after {} ms, {} suspicions, {} recoveries",
            end.end,
            end.cause,
            end.open_for.as_millis(),
            end.suspicions,
            end.recoveries
        )
    };
    let figure = format!("{}; then the other: {}", says(0), says(1));
    // Who is stopped is told to leave last.
    let has_lived = ends[0].end == "alive" && !ends[1].is_dead();
    let has_recovered = ends[0].suspicions == ends[0].recoveries;
    if !has_lived || !has_recovered || ends[1].open_for + ms(500) < WINDOW {
        return Err(format!("broken: {figure}: {}", ends[0].line));
    }
    live.leaves_nothing()?;
    stopped.leaves_nothing()?;
    Ok(figure)
}

/// How long a child's connection is watched; who is stopped by another leaves later.
const WINDOW: Duration = ms(12_000);

fn orders(subject: &'static str, role: Role) -> Orders {
    Orders {
        subject,
        role,
        address: ([127, 0, 0, 1], 0).into(),
        interval: SECOND,
        timeout: SECOND,
        write_stall: ms(30_000),
        sends: None,
        window: WINDOW,
    }
}

/// A child in this role, and a peer in this process.
fn child_and_peer(subject: &'static str, role: Role) -> Result<(Child, Peer), String> {
    let said = |error: std::io::Error| error.to_string();
    let options = PeerOptions::default();
    let orders = orders(subject, role);
    if role == Role::Server {
        let mut child = Child::start(&orders, None)?;
        let peer = Peer::connect(child.listening()?, &options).map_err(said)?;
        return Ok((child, peer));
    }
    let listener: TcpListener = Peer::listen(&options).map_err(said)?;
    let address = listener.local_addr().map_err(said)?;
    let child = Child::start(&Orders { address, ..orders }, None)?;
    let peer = Peer::accept(&listener, &options).map_err(said)?;
    Ok((child, peer))
}

/// A child in this role that is to live, and one in the other that is to be stopped.
fn two_children(subject: &'static str, role: Role) -> Result<(Child, Child), String> {
    let window = |of| if of == role { WINDOW } else { 2 * WINDOW };
    let orders = |of| Orders {
        window: window(of),
        ..orders(subject, of)
    };
    let mut server = Child::start(&orders(Role::Server), None)?;
    let address = server.listening()?;
    let to_it = Orders {
        address,
        ..orders(Role::Client)
    };
    let client = Child::start(&to_it, None)?;
    Ok(match role {
        Role::Client => (client, server),
        Role::Server => (server, client),
    })
}

fn play(peer: &mut Peer, manner: &Manner, span: Duration) {
    peer.play(manner, Instant::now() + span, &AtomicBool::new(false));
}
