//! Issue 13 point 6: nothing that a peer says makes a terminal do anything, and no credential is
//! printed.

#![cfg(unix)]

mod programs;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;

use programs::{Echo, Program, RUNTIMES, accept, assert_ended, text};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use wspulse_core::{CloseCode, Config};

/// Clears the screen, sets the title, begins a sequence in one character, and turns text round.
const EVIL: &str = "a\u{1b}[2J\u{1b}]0;pwned\u{7}b\u{9b}31mc\r\u{7f}\u{8}\u{202e}d\u{2028}e";

/// What of it no line may have.
fn is_harmful(c: char) -> bool {
    (c.is_control() && c != '\n') || matches!(c, '\u{202e}' | '\u{2028}')
}

#[track_caller]
fn assert_harmless(output: &[u8]) {
    let said = text(output);
    assert!(!said.contains(is_harmful), "{said:?}");
}

/// A server of one client that says `EVIL` in a message, and as the reason of its Close.
fn evil_server() -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let stream = accept(&listener);
        let mut ws = wspulse_std::accept(stream, Config::default()).unwrap();
        ws.send(EVIL).unwrap();
        let _ = ws.close(CloseCode::POLICY_VIOLATION, EVIL);
    });
    (url, server)
}

/// A server of one client that answers with these bytes.
fn answering(answer: Vec<u8>) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let mut stream = accept(&listener);
        let _ = stream.read(&mut [0; 4_096]).unwrap();
        stream.write_all(&answer).unwrap();
    });
    (url, server)
}

fn run(arguments: &[&str]) -> Output {
    let mut program = Program::start(arguments);
    let _stdin = program.stdin();
    program.finish()
}

#[test]
fn a_message_goes_to_a_pipe_as_it_came_and_all_else_is_escaped() {
    for runtime in RUNTIMES {
        let (url, server) = evil_server();
        let output = run(&["connect", &url, "--runtime", runtime]);
        server.join().unwrap();
        assert_eq!(text(&output.stdout), format!("{EVIL}\n"), "{runtime}");
        assert_harmless(&output.stderr);
        assert_ended(&output, 1, &["closed: received 1008 \"a\\u{1b}[2J"]);
    }
}

#[test]
fn json_has_no_control_characters_and_loses_none() {
    let (url, server) = evil_server();
    let output = run(&["connect", &url, "--json"]);
    server.join().unwrap();
    assert!(output.stderr.is_empty());
    assert_harmless(&output.stdout);
    let lines: Vec<serde_json::Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [_, message, closed] = &lines[..] else {
        panic!("{lines:?}");
    };
    assert_eq!(message["data"], EVIL);
    assert_eq!(closed["received_reason"], EVIL);
}

#[test]
fn on_a_terminal_a_message_is_escaped() {
    let (url, server) = evil_server();
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let screen = File::options()
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_wspulse"))
        .args(["connect", &url])
        .stdin(Stdio::piped())
        .stdout(screen)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Kept open until the end: the end of input would close.
    let mut program = Program { child };
    let _stdin = program.stdin();
    let output = program.finish();
    server.join().unwrap();
    assert_ended(&output, 1, &["open: ", "closed: received 1008"]);

    let mut shown = Vec::new();
    match File::from(terminal).read_to_end(&mut shown) {
        Ok(_) => {}
        // The end of a terminal: the program was the last to have it open.
        Err(error) => assert_eq!(
            error.raw_os_error(),
            Some(rustix::io::Errno::IO.raw_os_error())
        ),
    }
    // The terminal itself ends lines with CR LF.
    let shown = text(&shown).replace("\r\n", "\n");
    assert_harmless(shown.as_bytes());
    assert!(
        shown.starts_with("a\\u{1b}[2J\\u{1b}]0;pwned\\u{7}b\\u{9b}31mc\\r"),
        "{shown:?}"
    );
}

#[test]
fn the_body_of_a_refusal_is_escaped_and_shown() {
    let answer = format!(
        "HTTP/1.1 403 Forbidden\r\nX-Evil: \u{9b}\r\nContent-Length: {}\r\n\r\n{EVIL}",
        EVIL.len()
    );
    for arguments in [
        &["connect", "--runtime", "std"][..],
        &["connect", "--runtime", "mio"],
        &["connect", "--reconnect"],
        &["ping"],
        &["ping", "--json"],
    ] {
        let (url, server) = answering(answer.clone().into_bytes());
        let (command, options) = arguments.split_first().unwrap();
        let output = run(&[&[*command, &url], options].concat());
        server.join().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_harmless(&output.stderr);
        assert_harmless(&output.stdout);
        let said = [output.stdout, output.stderr].concat();
        let said = text(&said);
        assert!(said.contains("403") && said.contains("pwned"), "{said}");
    }
}

#[test]
fn an_answer_of_nothing_but_noise_is_harmless() {
    for answer in [
        &b"\x1b[2J\x1b]0;pwned\x07\r\n\r\n"[..],
        b"HTTP/1.1 \x1b[2J 200\r\n\r\n",
        b"HTTP/1.1 403 \x1b[2J\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 \x1b[2J\r\nUpgrade: \x1b[2J\r\n\r\n",
    ] {
        let (url, server) = answering(answer.to_vec());
        let output = run(&["ping", &url]);
        server.join().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_harmless(&output.stderr);
        assert_harmless(&output.stdout);
    }
}

#[test]
fn what_a_client_says_reaches_the_log_of_echo_escaped() {
    for runtime in RUNTIMES {
        let mut server = Echo::start(runtime, "127.0.0.1:0", &[]);
        let url = format!("ws://{}/", server.address);
        let mut ws = wspulse_std::connect(&url, Config::default()).unwrap();
        ws.close(CloseCode::NORMAL, EVIL).unwrap();
        let line = server.next_line();
        assert_harmless(line.as_bytes());
        assert!(line.contains("pwned"), "{line:?}");

        let mut noise = TcpStream::connect(&server.address).unwrap();
        noise
            .write_all(b"GET /\x1b[2J HTTP/1.1\r\nHost: \x1b[2J\r\n\r\n")
            .unwrap();
        noise.shutdown(Shutdown::Write).unwrap();
        assert_harmless(server.next_line().as_bytes());
        assert_eq!(server.stop().status.code(), Some(0));
    }
}

/// What a test's URL or header hides.
const SECRET: &str = "s3cr3t";

#[test]
fn no_credential_is_printed() {
    // Nobody listens there.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let urls = [
        format!("ws://me:{SECRET}@127.0.0.1:{port}/"),
        format!("ws://{SECRET}@127.0.0.1:{port}/"),
        format!("ws://me:{SECRET}@[::1"),
        format!("ws://me:a/{SECRET}@127.0.0.1:{port}/"),
        format!("http://me:{SECRET}@127.0.0.1:{port}/"),
        format!("ws://127.0.0.1:{port}/?token={SECRET}"),
        format!("ws://127.0.0.1:{port}/#{SECRET}"),
    ];
    for url in &urls {
        for options in [&[][..], &["--json"]] {
            for arguments in [
                &["ping", &**url][..],
                &["connect", &**url, "--runtime", "mio"],
            ] {
                let output = run(&[arguments, options].concat());
                assert_ne!(output.status.code(), Some(0));
                let said = [output.stdout, output.stderr].concat();
                let said = text(&said);
                assert!(!said.is_empty() && !said.contains(SECRET), "{url}: {said}");
            }
        }
    }
    let header = format!("Authorization Bearer {SECRET}");
    let output = run(&["connect", "ws://127.0.0.1:1/", "--header", &header]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!text(&output.stderr).contains(SECRET), "{output:?}");
}

#[test]
fn a_token_in_a_url_that_works_is_not_printed_either() {
    for arguments in [
        &["ping", "--count", "1"][..],
        &["ping", "--count", "1", "--json"],
        &["connect", "--linger", "0s"],
        &["connect", "--linger", "0s", "--runtime", "std", "--json"],
    ] {
        let server = Echo::start("tokio", "127.0.0.1:0", &[]);
        let url = format!("ws://{}/chat?token={SECRET}", server.address);
        let (command, options) = arguments.split_first().unwrap();
        let mut program = Program::start(&[&[*command, &url], options].concat());
        drop(program.stdin());
        let output = program.finish();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let said = [output.stdout, output.stderr].concat();
        let said = text(&said);
        assert!(
            said.contains("/chat?..") && !said.contains(SECRET),
            "{said}"
        );
    }
}

#[test]
fn a26_a_trusted_certificate_of_the_servers_own_is_trusted() {
    let folder = std::env::temp_dir().join(format!("wspulse-a26-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    // As `openssl req -x509` makes it.
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    std::fs::write(path("cert"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(path("key"), key.serialize_pem()).unwrap();
    let identity = ["--cert", &path("cert"), "--key", &path("key")];
    let server = Echo::start("tokio", "127.0.0.1:0", &identity);
    let port = server.address.rsplit(':').next().unwrap();
    let trust = ["--ca", &path("cert")];
    let url = format!("wss://localhost:{port}/");
    for command in [
        &["ping", &*url, "--count", "1"][..],
        &["connect", &url, "--runtime", "std"],
    ] {
        let mut program = Program::start(&[command, &trust].concat());
        drop(program.stdin());
        assert_ended(&program.finish(), 0, &[]);
    }
    let url = format!("wss://127.0.0.1:{port}/");
    let output = Program::start(&[&["ping", &url][..], &trust].concat()).finish();
    assert_ended(&output, 1, &["tls: ", "not valid for name"]);
    std::fs::remove_dir_all(&folder).unwrap();
}
