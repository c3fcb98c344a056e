//! The programs of the README, as they run.

#[path = "../../drive/tests/programs/mod.rs"]
mod programs;

use tokio::net::TcpListener;

use programs::{Program, Running, assert_comes_back, assert_in_readme, assert_linked};
use wspulse_core::{CloseCode, Config};
use wspulse_tokio::accept;

const ECHO: Program = Program {
    name: "echo_tokio",
    source: include_str!("../examples/echo_tokio.rs"),
};

const RECONNECT: Program = Program {
    name: "reconnect_tokio",
    source: include_str!("../examples/reconnect_tokio.rs"),
};

#[test]
fn the_readme_has_the_server_to_the_letter_and_says_where_the_client_is() {
    let readme = include_str!("../README.md");
    assert_in_readme(readme, &ECHO);
    assert_linked(readme, &RECONNECT);
}

#[test]
fn the_client_comes_back_to_a_server_that_was_killed() {
    assert_comes_back(&ECHO, &RECONNECT);
}

/// After 1012, and not after 1000.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_client_stops_when_there_is_no_point() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let mut client = Running::start(&RECONNECT, &url);
    let server = tokio::spawn(async move {
        let codes = [CloseCode::SERVICE_RESTART, CloseCode::NORMAL];
        for (news, code) in ["one", "two"].into_iter().zip(codes) {
            let (stream, _) = listener.accept().await.unwrap();
            let mut ws = accept(stream, Config::default()).await.unwrap();
            let first = ws.next().await.unwrap().unwrap();
            assert_eq!(first.as_text(), Some("subscribe: news"));
            let second = ws.next().await.unwrap().unwrap();
            assert!(second.as_text().unwrap().starts_with("message "));
            ws.send(news).await.unwrap();
            ws.close(code, "").await.unwrap();
        }
    });
    assert_eq!(client.line(""), "open");
    assert_eq!(client.line("one"), "one");
    let down = client.line("down: ");
    assert!(down.starts_with("down: closed, received 1012"), "{down}");
    client.line("open");
    assert_eq!(client.line("two"), "two");
    let error = client.end();
    assert!(error.contains("1000"), "{error}");
    server.await.unwrap();
}
