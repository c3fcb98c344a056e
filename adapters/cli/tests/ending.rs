//! How `connect` and `ping` end when the server does not end as it should.

#![cfg(unix)]

mod programs;

use std::io::{BufRead, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use programs::{Echo, LONGEST, Program, RUNTIMES, assert_ended, text};
use serde_json::Value;
use wspulse_core::Config;

/// Every client there is.
const CLIENTS: [(&str, &[&str]); 5] = [
    ("std", &[]),
    ("tokio", &[]),
    ("mio", &[]),
    ("std", &["--reconnect"]),
    ("tokio", &["--reconnect"]),
];

/// What a server does once our Close has come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    /// It closes TCP.
    Fin,
    /// It closes TCP over input that it did not read, which resets it.
    Reset,
    /// It does nothing until the client is gone.
    Nothing,
    /// It answers with this payload, and closes TCP.
    Answer(&'static [u8]),
    /// It answers, and never closes TCP.
    AnswerOnly,
}

/// `1000`.
const NORMAL: &[u8] = b"\x03\xE8";

/// `1011` and `overload`.
const OVERLOAD: &[u8] = b"\x03\xF3overload";

/// A server of one client, on a bare socket.
struct Peer {
    stream: TcpStream,
}

impl Peer {
    /// Serves one client with `serve`.
    fn start(serve: impl FnOnce(Self) + Send + 'static) -> (String, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            drop(listener);
            // Only the opening handshake: nothing else is sent before its answer.
            drop(wspulse_std::accept(stream.try_clone().unwrap(), Config::default()).unwrap());
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(LONGEST)).unwrap();
            serve(Self { stream });
        });
        (url, server)
    }

    /// Answers pings if it should, until the Close begins; then ends like this.
    fn end(mut self, has_pongs: bool, ending: Ending) {
        loop {
            let mut opcode = [0];
            self.stream.read_exact(&mut opcode).unwrap();
            if opcode == [0x88] {
                break;
            }
            let payload = self.read_rest();
            if opcode == [0x89] && has_pongs {
                self.send(0x8A, &payload);
            }
        }
        match ending {
            // The rest of the Close is still to be read.
            Ending::Reset => return,
            _ => assert_eq!(self.read_rest(), NORMAL),
        }
        match ending {
            Ending::Fin | Ending::Reset => {}
            Ending::Nothing => self.wait(),
            Ending::Answer(payload) => self.send(0x88, payload),
            Ending::AnswerOnly => {
                self.send(0x88, NORMAL);
                self.wait();
            }
        }
    }

    fn send(&mut self, opcode: u8, payload: &[u8]) {
        let length = u8::try_from(payload.len()).unwrap();
        let frame = [&[opcode, length], payload].concat();
        self.stream.write_all(&frame).unwrap();
    }

    /// Reads the rest of a short masked frame, of which the first byte was read.
    fn read_rest(&mut self) -> Vec<u8> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head).unwrap();
        let [length, mask @ ..] = head;
        let mut payload = vec![0; usize::from(length & 0x7F)];
        self.stream.read_exact(&mut payload).unwrap();
        let keys = mask.iter().cycle();
        payload
            .iter()
            .zip(keys)
            .map(|(byte, key)| byte ^ key)
            .collect()
    }

    /// Waits until the client is gone.
    fn wait(&mut self) {
        let _ = self.stream.read_to_end(&mut Vec::new());
    }
}

fn connect(runtime: &str, url: &str, options: &[&str]) -> Program {
    let arguments = ["connect", url, "--runtime", runtime];
    Program::start(&[&arguments, options].concat())
}

/// Runs `connect` against a server that ends like this: a line, then the end of input.
fn run_connect(runtime: &str, options: &[&str], ending: Ending) -> Output {
    let (url, server) = Peer::start(move |peer| peer.end(true, ending));
    let mut program = connect(runtime, &url, options);
    program.stdin().write_all(b"hello\n").unwrap();
    let output = program.finish();
    server.join().unwrap();
    output
}

/// Runs `ping` against a server that ends like this.
fn run_ping(options: &[&str], has_pongs: bool, ending: Ending) -> Output {
    let (url, server) = Peer::start(move |peer| peer.end(has_pongs, ending));
    let arguments = ["ping", &url, "--count", "2", "--interval", "20ms"];
    let output = Program::start(&[&arguments, options].concat()).finish();
    server.join().unwrap();
    output
}

/// Runs `check` with every client at the same time.
fn with_every_client(check: impl Fn(&str, &[&str]) + Sync) {
    std::thread::scope(|scope| {
        for (runtime, options) in CLIENTS {
            let check = &check;
            scope.spawn(move || check(runtime, options));
        }
    });
}

#[track_caller]
fn assert_no_note(output: &Output) {
    assert!(!text(&output.stderr).contains("note: "), "{output:?}");
}

#[test]
fn connect_is_done_when_the_server_ends_tcp_without_answering_our_close() {
    with_every_client(|runtime, options| {
        let said = [
            "open: ",
            "closed: transport ended without a close frame",
            "note: the server ended TCP without answering our Close\n",
        ];
        assert_ended(&run_connect(runtime, options, Ending::Fin), 0, &said);
    });
}

#[test]
fn connect_is_done_when_the_server_resets_tcp_after_our_close() {
    with_every_client(|runtime, options| {
        let output = run_connect(runtime, options, Ending::Reset);
        let said = [
            "open: ",
            "closed: ",
            "note: the server ",
            "without answering our Close\n",
        ];
        assert_ended(&output, 0, &said);
    });
}

#[test]
fn connect_is_done_when_the_server_never_answers_our_close() {
    with_every_client(|runtime, options| {
        let said = [
            "open: ",
            "closed: closing handshake timed out, sent 1000",
            "note: the server did not answer our Close in time\n",
        ];
        assert_ended(&run_connect(runtime, options, Ending::Nothing), 0, &said);
    });
}

#[test]
fn connect_is_done_whatever_code_the_server_answers() {
    with_every_client(|runtime, options| {
        let output = run_connect(runtime, options, Ending::Answer(OVERLOAD));
        let said = [
            "closed: received 1011 \"overload\", sent 1000",
            "note: the server answered our Close with 1011 (internal error)\n",
        ];
        assert_ended(&output, 0, &said);
    });
}

#[test]
fn connect_notes_nothing_where_the_close_was_answered() {
    with_every_client(|runtime, options| {
        for ending in [Ending::Answer(NORMAL), Ending::AnswerOnly] {
            let output = run_connect(runtime, options, ending);
            assert_ended(&output, 0, &["open: ", "closed: received 1000, sent 1000"]);
            assert_no_note(&output);
        }
    });
}

#[test]
fn ctrl_c_ends_connect_in_the_same_way() {
    with_every_client(|runtime, options| {
        let (url, server) = Peer::start(|peer| peer.end(true, Ending::Fin));
        let mut program = connect(runtime, &url, options);
        let _stdin = program.stdin();
        let mut said = std::io::BufReader::new(program.child.stderr.take().unwrap());
        said.read_line(&mut String::new()).unwrap();
        program.signal("-INT");
        let mut rest = String::new();
        said.read_to_string(&mut rest).unwrap();
        assert_eq!(program.finish().status.code(), Some(0), "{rest}");
        assert!(rest.contains("note: the server ended TCP"), "{rest}");
        server.join().unwrap();
    });
}

#[test]
fn an_end_that_is_not_ours_stays_a_failure() {
    for runtime in RUNTIMES {
        let (url, server) = Peer::start(drop);
        let mut program = connect(runtime, &url, &[]);
        let _stdin = program.stdin();
        let output = program.finish();
        assert_ended(
            &output,
            1,
            &["closed: transport ended without a close frame"],
        );
        assert_no_note(&output);
        server.join().unwrap();

        let (url, server) = Peer::start(|mut peer| {
            peer.send(0x88, OVERLOAD);
            peer.wait();
        });
        let mut program = connect(runtime, &url, &[]);
        let _stdin = program.stdin();
        let output = program.finish();
        assert_ended(&output, 1, &["closed: received 1011 \"overload\""]);
        assert_no_note(&output);
        server.join().unwrap();
    }
}

#[test]
fn t9_a_reset_has_the_words_of_every_end_without_a_close() {
    with_every_client(|runtime, options| {
        if options.contains(&"--reconnect") {
            return;
        }
        for is_reset in [false, true] {
            let (url, server) = Peer::start(move |peer| {
                if is_reset {
                    let socket = socket2::SockRef::from(&peer.stream);
                    socket.set_linger(Some(Duration::ZERO)).unwrap();
                }
            });
            let mut program = connect(runtime, &url, options);
            let _stdin = program.stdin();
            let output = program.finish();
            server.join().unwrap();
            let said = text(&output.stderr).lines().last().unwrap();
            let said = said.split(" (").next();
            let words = Some("closed: transport ended without a close frame");
            assert_eq!(said, words, "{runtime}, reset: {is_reset}");
        }
    });
}

#[test]
fn the_cause_stays_exact_in_json() {
    for runtime in RUNTIMES {
        let output = run_connect(runtime, &["--json"], Ending::Fin);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let lines: Vec<Value> = text(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).expect(line))
            .collect();
        assert!(output.stderr.is_empty(), "{output:?}");
        let [open, closed, note] = &lines[..] else {
            panic!("{lines:?}");
        };
        assert_eq!(closed["cause"], "eof");
        assert_eq!(open["event"], "open");
        assert_eq!(closed["event"], "closed");
        let reason = closed["reason"].as_str().unwrap();
        let exact = "transport ended without a close frame";
        assert!(reason.starts_with(exact), "{closed}");
        assert_eq!(
            (&closed["code"], &closed["clean"]),
            (&1006.into(), &false.into())
        );
        assert_eq!(note["event"], "note");
    }
}

#[test]
fn ping_is_done_however_the_server_ends_after_our_close() {
    let endings = [
        (
            Ending::Fin,
            "note: the server ended TCP without answering our Close\n",
        ),
        (Ending::Reset, "without answering our Close\n"),
        (
            Ending::Nothing,
            "note: the server did not answer our Close in time\n",
        ),
    ];
    for (ending, note) in endings {
        let output = run_ping(&[], true, ending);
        assert_ended(&output, 0, &["note: the server ", note]);
        assert_eq!(text(&output.stderr).lines().count(), 1, "{output:?}");
        let said = text(&output.stdout);
        assert!(said.contains("2 sent, 2 received, 0 lost (0%)"), "{said}");
    }
    for ending in [Ending::Answer(NORMAL), Ending::AnswerOnly] {
        let output = run_ping(&[], true, ending);
        assert_ended(&output, 0, &[]);
        assert!(output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn ping_without_a_pong_fails_however_the_server_ends() {
    for ending in [Ending::Fin, Ending::Reset, Ending::Answer(NORMAL)] {
        let output = run_ping(&["--timeout", "200ms"], false, ending);
        assert_ended(&output, 1, &["wspulse: no pong came back\n"]);
        let said = text(&output.stdout);
        assert!(said.contains("2 sent, 0 received, 2 lost (100%)"), "{said}");
    }
}

#[test]
fn ping_shows_why_a_server_closes_before_it_pings() {
    let (url, server) = Peer::start(|mut peer| {
        peer.send(0x88, b"\x03\xF0log in first");
        peer.wait();
    });
    let output = Program::start(&["ping", &url]).finish();
    let reason = format!("wspulse: {url}: closed, received 1008 \"log in first\"");
    assert_ended(&output, 1, &[&reason]);
    server.join().unwrap();
}

#[test]
fn ping_fails_when_the_server_ends_before_our_close() {
    let (url, server) = Peer::start(|mut peer| {
        peer.stream.read_exact(&mut [0]).unwrap();
        let payload = peer.read_rest();
        peer.send(0x8A, &payload);
    });
    let output = Program::start(&["ping", &url, "--interval", "300ms"]).finish();
    assert_ended(
        &output,
        1,
        &["wspulse: ", "transport ended without a close frame"],
    );
    assert_no_note(&output);
    server.join().unwrap();
}

#[test]
fn ping_ends_when_nobody_reads_its_output() {
    let mut server = Echo::start("tokio", "127.0.0.1:0", &[]);
    let url = format!("ws://{}/", server.address);
    let mut ping = Program::start(&["ping", &url, "--interval", "20ms"]);
    let began = Instant::now();
    let mut stdout = ping.stdout();
    stdout.read_line(&mut String::new()).unwrap();
    drop(stdout);
    let output = ping.finish();
    assert_ended(&output, 0, &[]);
    assert!(began.elapsed() < Duration::from_secs(15));
    assert!(server.next_line().contains("received 1000"));
    assert_eq!(server.stop().status.code(), Some(0));
}
