//! The programs of the README, as they run.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, thread};

use tokio::net::TcpListener;
use wspulse_core::{CloseCode, Config};
use wspulse_tokio::accept;

#[tokio::test]
async fn a_client_that_comes_back() {
    let program = include_str!("../examples/reconnect_tokio.rs");
    let (_, program) = program.split_once("\n\n").unwrap();
    assert!(include_str!("../README.md").contains(program));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let client = Command::new(example("reconnect_tokio"))
        .arg(url)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("`cargo build --examples` before a test on its own");
    let client = thread::spawn(move || client.wait_with_output().unwrap());
    let serving = async {
        for news in ["one", "two"] {
            let (stream, _) = listener.accept().await.unwrap();
            let mut ws = accept(stream, Config::default()).await.unwrap();
            let first = ws.next().await.unwrap().unwrap();
            assert_eq!(first.as_text(), Some("subscribe: news"));
            let second = ws.next().await.unwrap().unwrap();
            assert!(second.as_text().unwrap().starts_with("message "));
            ws.send(news).await.unwrap();
            let code = match news {
                "one" => CloseCode::SERVICE_RESTART,
                _ => CloseCode::NORMAL,
            };
            ws.close(code, "").await.unwrap();
        }
    };
    let served = tokio::time::timeout(Duration::from_secs(30), serving).await;
    served.expect("it takes too long");

    let output = client.join().unwrap();
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
}

/// Where cargo puts examples: beside the directory of the tests.
fn example(name: &str) -> PathBuf {
    let tests = env::current_exe().unwrap();
    let target = tests.parent().and_then(|deps| deps.parent()).unwrap();
    let file = format!("{name}{}", env::consts::EXE_SUFFIX);
    target.join("examples").join(file)
}
