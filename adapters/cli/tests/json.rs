//! A17: with `--json` every line is an object on standard output, with a cause for machines.

#![cfg(unix)]

mod programs;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Output;

use programs::{Echo, Program, RUNTIMES, accept, text};
use serde_json::Value;
use wspulse_core::Config;
use wspulse_core::handshake::Accept;

/// Every client there is.
const CLIENTS: [&[&str]; 5] = [
    &["--runtime", "std"],
    &["--runtime", "tokio"],
    &["--runtime", "mio"],
    &["--runtime", "std", "--reconnect"],
    &["--runtime", "tokio", "--reconnect"],
];

/// Reads the lines; nothing else was said.
#[track_caller]
fn objects(output: &Output) -> Vec<Value> {
    assert_eq!(text(&output.stderr), "");
    let lines = text(&output.stdout).lines();
    lines
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

fn connect(url: &str, options: &[&str], more: &[&str]) -> Program {
    Program::start(&[&["connect", url, "--json"], options, more].concat())
}

#[track_caller]
fn assert_event(object: &Value, event: &str, cause: &str) {
    assert_eq!(
        (&object["event"], &object["cause"]),
        (&event.into(), &cause.into()),
        "{object}"
    );
    assert!(object["reason"].is_string(), "{object}");
}

#[test]
fn a17_what_was_agreed_on_and_how_it_ended() {
    for options in CLIENTS {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let stream = accept(&listener);
            let deflate = wspulse_core::extension::deflate::DeflateConfig::DEFAULT;
            let config = Config::builder().deflate(Some(deflate)).build().unwrap();
            let mut ws = wspulse_std::accept_with(stream, config, |_| {
                Ok(Accept::new().subprotocol("chat.v1")?)
            })
            .unwrap();
            while let Some(Ok(message)) = ws.next() {
                ws.send(message).unwrap();
            }
        });
        let agreed = [
            "--subprotocol",
            "chat.v2",
            "--subprotocol",
            "chat.v1",
            "--deflate",
        ];
        let mut program = connect(&url, options, &agreed);
        program.stdin().write_all(b"hello\n\xFF\n").unwrap();
        let objects = objects(&program.finish());
        server.join().unwrap();
        let find = |event: &str| {
            let found = objects.iter().find(|object| object["event"] == event);
            found.unwrap_or_else(|| panic!("no {event}: {objects:?}"))
        };
        let open = find("open");
        assert_eq!(open["subprotocol"], "chat.v1", "{options:?}");
        assert_eq!(open["deflate"], true, "{options:?}");
        assert_eq!(find("text")["data"], "hello");
        assert_eq!(find("skipped")["cause"], "not-utf-8");
        let closed = objects.last().unwrap();
        assert_event(closed, "closed", "closed");
        assert_eq!(
            (&closed["received"], &closed["sent"]),
            (&1000.into(), &1000.into())
        );
        assert_eq!(closed["clean"], true);
    }
}

#[test]
fn a17_without_an_agreement_the_fields_say_so() {
    let server = Echo::start("tokio", "127.0.0.1:0", &[]);
    let url = format!("ws://{}/", server.address);
    for arguments in [
        &["ping", "--count", "1"][..],
        &["connect", "--runtime", "mio"],
    ] {
        let (command, options) = arguments.split_first().unwrap();
        let mut program = Program::start(&[&[*command, &url, "--json"], options].concat());
        drop(program.stdin());
        let open = objects(&program.finish()).remove(0);
        assert_eq!(open["event"], "open");
        assert_eq!(
            (&open["subprotocol"], &open["deflate"]),
            (&Value::Null, &false.into())
        );
    }
}

#[test]
fn a17_a_refusal_has_its_status_and_its_body() {
    let body = format!(
        "{{\"kind\":\"Status\",\"message\":\"{}\"}}",
        "no such pod ".repeat(40)
    );
    for options in CLIENTS {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        let answer = format!(
            "HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let server = std::thread::spawn(move || {
            let mut stream = accept(&listener);
            let _ = stream.read(&mut [0; 4_096]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let output = connect(&url, options, &[]).finish();
        server.join().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let [failed] = &objects(&output)[..] else {
            panic!("{output:?}");
        };
        let event = if options.contains(&"--reconnect") {
            "closed"
        } else {
            "failed"
        };
        assert_event(failed, event, "refused");
        assert_eq!(failed["status"], 404);
        assert_eq!(failed["body"], *body, "all of it: it is shorter than 4 KiB");
    }
}

#[test]
fn a17_c25_a_death_has_its_numbers() {
    for options in &CLIENTS[..3] {
        let server = Echo::start("tokio", "127.0.0.1:0", &[]);
        let url = format!("ws://{}/", server.address);
        let heartbeat = ["--ping-interval", "200ms", "--pong-timeout", "500ms"];
        let mut program = connect(&url, options, &heartbeat);
        let mut stdin = program.stdin();
        let mut lines = std::io::BufRead::lines(program.stdout());
        // A pong has come by then, so that a round trip is known.
        stdin.write_all(b"hello\n").unwrap();
        assert!(lines.any(|line| line.unwrap().contains("hello")));
        std::thread::sleep(std::time::Duration::from_millis(600));
        server.program.signal("-STOP");
        let closed = lines
            .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
            .find(|object| object["event"] == "closed")
            .unwrap();
        server.program.signal("-CONT");
        assert_event(&closed, "closed", "peer-dead");
        assert_eq!(closed["dead"], "pong-timeout");
        assert_eq!(closed["pong_timeout_ms"], 500.0);
        assert!(closed["silence_ms"].as_f64().unwrap() >= 500.0, "{closed}");
        assert!(closed["last_rtt_ms"].as_f64().unwrap() > 0.0, "{closed}");
        assert!(closed["unanswered"].as_u64().unwrap() >= 1, "{closed}");
        let reason = closed["reason"].as_str().unwrap();
        for number in ["silent for 0.", ", 0.500 s allowed", "last round trip "] {
            assert!(reason.contains(number), "{reason}");
        }
        assert_eq!(program.finish().status.code(), Some(1));
    }
}

#[test]
fn a17_failures_have_causes() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let cases: &[(&[&str], i32, &str)] = &[
        (&["ping", "http://127.0.0.1/"], 2, "url"),
        (&["ping"], 2, "usage"),
        (
            &["connect", "ws://127.0.0.1:1/", "--linger", "never"],
            2,
            "usage",
        ),
        (&["dance"], 2, "usage"),
        (&["echo", "--listen", &address], 1, "listen"),
        (
            &["ping", "ws://127.0.0.1:1/", "--ca", "/no/such/file"],
            1,
            "io",
        ),
        (
            &["ping", "ws://127.0.0.1:1/", "--ca", "/dev/null"],
            1,
            "pem",
        ),
        (
            &["connect", "ws://127.0.0.1:1/", "--header", "A: \u{7f}"],
            2,
            "request",
        ),
    ];
    for (arguments, code, cause) in cases {
        let output = Program::start(&[arguments, &["--json"][..]].concat()).finish();
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}");
        let [failed] = &objects(&output)[..] else {
            panic!("{arguments:?}: {output:?}");
        };
        assert_event(failed, "failed", cause);
        assert_eq!(failed["exit_code"], *code);
    }
    // Help is for people, whatever else is asked.
    let help = Program::start(&["ping", "--help", "--json"]).finish();
    assert!(text(&help.stdout).contains("Exit codes:"));
}

#[test]
fn a17_the_lines_of_echo_have_causes() {
    for runtime in RUNTIMES {
        let mut server = Echo::start(runtime, "127.0.0.1:0", &["--json"]);
        let url = format!("ws://{}/", server.address);
        drop(wspulse_std::connect(&url, Config::default()).unwrap());
        let ended: Value = serde_json::from_str(&server.next_line()).unwrap();
        assert_event(&ended, "ended", "eof");
        let mut noise = std::net::TcpStream::connect(&server.address).unwrap();
        noise.write_all(b"noise\r\n\r\n").unwrap();
        noise.shutdown(std::net::Shutdown::Write).unwrap();
        let ended: Value = serde_json::from_str(&server.next_line()).unwrap();
        assert_event(&ended, "ended", "handshake-failed");
        let output = server.stop();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    }
}
