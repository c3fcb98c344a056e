//! The binary as a user runs it: on loopback, ended by its own process id, and never for long.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// No test runs a program for longer than this.
const LONGEST: Duration = Duration::from_secs(60);

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wspulse"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs to the end.
fn run(arguments: &[&str]) -> Output {
    finish(command(arguments).spawn().unwrap())
}

/// Waits for the end, or makes one.
fn finish(mut child: Child) -> Output {
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > LONGEST {
            let _ = child.kill();
            panic!("it did not end: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json_lines(output: &Output) -> Vec<Value> {
    stdout(output)
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

/// Fails with `code` and one line on stderr that has `words` in it.
#[track_caller]
fn assert_fails(output: &Output, code: i32, words: &str) {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(
        message.starts_with("wspulse: ") && message.contains(words),
        "{message:?}"
    );
    assert_eq!(message.lines().count(), 1, "{message:?}");
}

/// A running echo server.
struct Echo {
    child: Option<Child>,
    lines: BufReader<ChildStdout>,
    url: String,
}

impl Echo {
    fn start(options: &[&str]) -> Self {
        let arguments = [&["echo", "--listen", "127.0.0.1:0"], options].concat();
        let mut child = command(&arguments).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let address = match line.trim_end().strip_prefix("listening on ") {
            Some(address) => address.to_owned(),
            None => serde_json::from_str::<Value>(&line).unwrap()["address"]
                .as_str()
                .unwrap()
                .to_owned(),
        };
        Self {
            child: Some(child),
            lines,
            url: format!("ws://{address}/"),
        }
    }

    fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    fn stop(&mut self, signal: &str) -> Output {
        let child = self.child.take().unwrap();
        send_signal(&child, signal);
        finish(child)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn send_signal(child: &Child, signal: &str) {
    let sent = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

#[test]
fn demo_shows_every_step_inside_its_bound() {
    let output = run(&[
        "demo",
        "--interval",
        "400ms",
        "--timeout",
        "1s",
        "--quiet",
        "1s",
        "--backoff",
        "300ms",
    ]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}\n{}", stderr(&output));
    assert!(!text.contains("\\n"), "its own lines are lines: {text}");
    let steps = [
        "promised within 1.40 s",
        "listens on 127.0.0.1:",
        "is connected after",
        "hears Text(\"hello\")",
        "nobody says anything for 1.00 s",
        "ping 1 answered in",
        "client  is open after the quiet, and heard the server at least every ",
        " of 1.40 s promised: ok",
        "server  is open after the quiet, and heard the client at least every ",
        "A ticker would have sent ",
        "falls silent",
        "suspects its peer",
        "'Suspect' is a warning",
        "A ticker with a timer (ping every 0.40 s, 1.00 s for the pong)",
        "peer is dead: no sign of life after a ping",
        " of 1.40 s promised",
        " after the suspicion: ok",
        "TCP noticed nothing",
        "before it connects again",
        "thundering herd",
        "is connected again after ",
        "hears Text(\"hello again\")",
        "closes cleanly",
        "closed, received 1000 \"bye\"",
        "All 10 steps happened inside their bounds",
        "wspulse connect ws://127.0.0.1:9001/ --reconnect",
        "HeartbeatConfig::ping(Duration::from_millis(400), Duration::from_secs(1))",
    ];
    let mut rest = &*text;
    for step in steps {
        let at = rest
            .find(step)
            .unwrap_or_else(|| panic!("no {step:?} here, or too early:\n{text}"));
        rest = &rest[at..];
    }
    assert!(!text.contains('\u{1b}'), "colours are for terminals");
}

#[test]
fn demo_speaks_json() {
    let output = run(&[
        "demo",
        "--interval",
        "400ms",
        "--timeout",
        "1s",
        "--quiet",
        "500ms",
        "--backoff",
        "100ms",
        "--json",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let lines = json_lines(&output);
    assert!(
        lines
            .windows(2)
            .all(|pair| pair[0]["at_ms"].is_f64() && pair[1]["event"].is_string())
    );
    for who in ["client", "server"] {
        let verdict = lines
            .iter()
            .find(|line| line["event"] == "verdict" && line["who"] == who);
        let verdict = verdict.unwrap();
        assert_eq!(verdict["ok"], true);
        assert_eq!(verdict["bound_ms"], 1_400.0);
        let number = |name: &str| verdict[name].as_f64().unwrap();
        let allowed = ["bound_ms", "slack_ms", "late_ms", "grace_ms"].map(number);
        let allowed: f64 = allowed.iter().sum();
        let silence = number("silence_ms");
        assert!((1_000.0..=allowed).contains(&silence), "{verdict}");
        assert!(number("warning_ms") >= 200.0, "{verdict}");
    }
    let summary = lines.last().unwrap();
    assert_eq!(
        (&summary["event"], &summary["ok"]),
        (&"summary".into(), &true.into())
    );
}

#[test]
fn demo_has_colours_unless_they_are_not_wanted() {
    let options = ["--interval", "50ms", "--timeout", "100ms"];
    let options = [
        &["demo", "--quiet", "50ms", "--backoff", "50ms"][..],
        &options,
    ]
    .concat();
    for (variables, has_colours) in [
        (&[("CLICOLOR_FORCE", "1")][..], true),
        (&[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], false),
        (&[], false),
    ] {
        let mut command = command(&options);
        for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
            command.env_remove(name);
        }
        command.envs(variables.iter().copied());
        let text = stdout(&finish(command.spawn().unwrap()));
        assert_eq!(
            text.contains('\u{1b}'),
            has_colours,
            "{variables:?}: {text}"
        );
    }
}

#[test]
#[cfg(unix)]
fn demo_can_be_interrupted() {
    let mut child = command(&["demo"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("nobody says anything")));
    send_signal(&child, "-INT");
    assert_fails(&finish(child), 1, "interrupted");
}

#[test]
#[cfg(unix)]
fn ping_measures_an_echo_server() {
    let mut echo = Echo::start(&[]);
    let output = run(&["ping", &echo.url, "--count", "3", "--interval", "50ms"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 7, "{text}");
    assert!(lines[0].starts_with(&format!("PING {}", echo.url)));
    for (n, line) in (1..=3).zip(&lines[1..]) {
        assert!(
            line.contains(&format!("seq={n} time=")) && line.ends_with(" ms"),
            "{line}"
        );
    }
    assert!(lines[5].starts_with("3 sent, 3 received, 0 lost (0%)"));
    assert!(lines[6].starts_with("rtt min/avg/max/mdev = "));

    let ended = echo.next_line();
    assert!(
        ended.ends_with(": closed, received 1000, sent 1000 (0 messages)\n"),
        "{ended}"
    );
    let stopped = echo.stop("-INT");
    assert_eq!(stopped.status.code(), Some(0), "{}", stderr(&stopped));
}

#[test]
#[cfg(unix)]
fn ping_and_echo_speak_json() {
    let mut echo = Echo::start(&["--json"]);
    let output = run(&["ping", &echo.url, "-c", "2", "-i", "20ms", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let lines = json_lines(&output);
    let events: Vec<&str> = lines
        .iter()
        .map(|line| line["event"].as_str().unwrap())
        .collect();
    assert_eq!(events, ["open", "pong", "pong", "statistics"]);
    assert!(lines[1]["rtt_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(
        (lines[3]["sent"].as_u64(), lines[3]["lost"].as_u64()),
        (Some(2), Some(0))
    );
    let ended: Value = serde_json::from_str(&echo.next_line()).unwrap();
    assert_eq!(
        (&ended["event"], &ended["messages"]),
        (&"ended".into(), &0.into())
    );
    assert_eq!(echo.stop("-TERM").status.code(), Some(0));
}

#[test]
#[cfg(unix)]
fn a_server_that_is_told_to_stop_says_so_to_its_clients() {
    let mut echo = Echo::start(&[]);
    let mut ping = command(&["ping", &echo.url, "--interval", "20ms"])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(ping.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("seq=1 ")));

    let started = Instant::now();
    assert_eq!(echo.stop("-TERM").status.code(), Some(0));
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "the client answers at once"
    );
    assert!(
        lines.any(|line| line.unwrap().contains("0 lost")),
        "statistics all the same"
    );
    assert_fails(&finish(ping), 1, "received 1001 \"the server is stopping\"");
    assert!(echo.next_line().contains("received 1001, sent 1001"));
}

#[test]
#[cfg(unix)]
fn ping_ends_with_statistics_when_interrupted() {
    let echo = Echo::start(&[]);
    let mut ping = command(&["ping", &echo.url, "--interval", "20ms"])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(ping.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("seq=2 ")));
    send_signal(&ping, "-INT");
    assert!(lines.any(|line| line.unwrap().contains("rtt min/avg/max/mdev")));
    assert_eq!(finish(ping).status.code(), Some(0));
}

#[test]
fn what_makes_no_sense_is_refused_with_2() {
    let nonsense: &[&[&str]] = &[
        &[],
        &["dance"],
        &["demo", "--interval", "5"],
        &["demo", "--interval", "0s"],
        &["echo", "--listen", "nowhere"],
        &["echo", "--max-message", "lots"],
        &["echo", "--runtime", "abacus"],
        &["ping"],
        &["echo", "--cert", "a.pem"],
        &["ping", "ws://127.0.0.1:1/", "--count", "0"],
        &["connect"],
        &["connect", "ws://127.0.0.1:1/", "--header", "no colon"],
        &["connect", "ws://127.0.0.1:1/", "--linger", "0"],
        &["echo", "--no-deflate", "--deflate-threshold", "0"],
    ];
    for arguments in nonsense {
        let output = run(arguments);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(!stderr(&output).is_empty());
    }
    for (url, said) in [
        ("http://127.0.0.1/", "http://127.0.0.1/: the url's scheme"),
        ("127.0.0.1", "127.0.0.1: not an absolute url"),
        (
            "ws://me@127.0.0.1/",
            "ws://..@127.0.0.1/: the url carries credentials",
        ),
        ("ws://localhost:99999/", "invalid port number"),
        ("ws://[::1", "invalid IPv6 address"),
        ("ws://[fe80::1%25eth0]/", "names a zone"),
    ] {
        assert_fails(&run(&["ping", url]), 2, said);
        assert_fails(&run(&["connect", url]), 2, said);
    }
}

#[test]
fn help_has_examples_and_exit_codes() {
    for arguments in [
        &["--help"][..],
        &["connect", "--help"],
        &["demo", "--help"],
        &["echo", "--help"],
        &["ping", "--help"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(0));
        let text = stdout(&output);
        assert!(
            text.contains("Examples:") && text.contains("Exit codes:"),
            "{text}"
        );
    }
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert_fails(&run(&["echo", "--listen", &address]), 1, &address);
}

#[test]
fn a_port_where_nobody_listens_is_named() {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("ws://{address}/");
    assert_fails(&run(&["ping", &url]), 1, &url);
}

#[test]
fn a_failure_is_an_object_too_in_json() {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("ws://{address}/");
    for command in ["ping", "connect"] {
        let output = run(&[command, &url, "--json"]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(stderr(&output), "");
        let failed: Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(
            (&failed["event"], &failed["cause"]),
            (&"failed".into(), &"io".into())
        );
        assert_eq!(failed["io"], "ConnectionRefused");
        assert!(
            failed["reason"].as_str().unwrap().contains(&url),
            "{failed}"
        );
    }
}

#[test]
fn a_server_that_is_no_websocket_server_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4_096];
        let _ = stream.read(&mut head).unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
            .unwrap();
    });
    assert_fails(&run(&["ping", &url]), 1, "200");
    server.join().unwrap();
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let started = Instant::now();
    assert_fails(&run(&["ping", &url, "--timeout", "300ms"]), 1, "timed out");
    assert!(started.elapsed() < Duration::from_secs(5));
}
