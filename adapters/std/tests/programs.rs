//! The programs of the README, as they run.

mod common;

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{env, thread};

use common::{ms, within};
use wspulse_core::{CloseCode, Config};
use wspulse_std::accept;

#[test]
fn a_client_that_comes_back() {
    let program = include_str!("../examples/reconnect_std.rs");
    let (_, program) = program.split_once("\n\n").unwrap();
    assert!(include_str!("../README.md").contains(program));

    within(ms(30_000), || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        let client = Command::new(example("reconnect_std"))
            .arg(url)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("`cargo build --examples` before a test on its own");
        let server = thread::spawn(move || {
            for news in ["one", "two"] {
                let (stream, _) = listener.accept().unwrap();
                let mut ws = accept(stream, Config::default()).unwrap();
                let first = ws.next().unwrap().unwrap();
                assert_eq!(first.as_text(), Some("subscribe: news"));
                let second = ws.next().unwrap().unwrap();
                assert!(second.as_text().unwrap().starts_with("message "));
                ws.send(news).unwrap();
                let code = match news {
                    "one" => CloseCode::SERVICE_RESTART,
                    _ => CloseCode::NORMAL,
                };
                ws.close(code, "").unwrap();
            }
        });
        let output = client.wait_with_output().unwrap();
        server.join().unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<_> = lines.lines().collect();
        let [open, one, down, middle @ .., two] = &lines[..] else {
            panic!("{lines:?}");
        };
        assert_eq!((*open, *one, *two), ("open", "one", "two"), "{lines:?}");
        assert!(down.starts_with("down: closed, received 1012"), "{lines:?}");
        assert!(middle.contains(&"open"), "{lines:?}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("1000"), "{error}");
    });
}

/// Where cargo puts examples: beside the directory of the tests.
fn example(name: &str) -> PathBuf {
    let tests = env::current_exe().unwrap();
    let target = tests.parent().and_then(|deps| deps.parent()).unwrap();
    let file = format!("{name}{}", env::consts::EXE_SUFFIX);
    target.join("examples").join(file)
}
