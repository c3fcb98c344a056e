//! The programs of the README, as they run.

#[path = "../../drive/tests/programs/mod.rs"]
mod programs;

use std::collections::VecDeque;
use std::thread;

use programs::{Program, Running, assert_comes_back, assert_in_readme, assert_linked};
use wspulse_core::{CloseCode, Config, Message};
use wspulse_mio::{ConnectionId, Connections, EventLoop, Handler, Listener};

const ECHO: Program = Program {
    name: "echo_mio",
    source: include_str!("../examples/echo_mio.rs"),
};

const RECONNECT: Program = Program {
    name: "reconnect_mio",
    source: include_str!("../examples/reconnect_mio.rs"),
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
#[test]
fn the_client_stops_when_there_is_no_point() {
    let codes = [CloseCode::SERVICE_RESTART, CloseCode::NORMAL];
    let news = ["one", "two"].into_iter().zip(codes).collect();
    let mut server = EventLoop::new(Newsroom { news }).unwrap();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let connections = server.connections();
    connections.listen(listener, Config::default()).unwrap();
    let handle = server.handle();
    let server = thread::spawn(move || server.run());
    let mut client = Running::start(&RECONNECT, &url);
    assert_eq!(client.line(""), "open");
    assert_eq!(client.line("one"), "one");
    let down = client.line("down: ");
    assert!(down.starts_with("down: closed, received 1012"), "{down}");
    client.line("open");
    assert_eq!(client.line("two"), "two");
    let error = client.end();
    assert!(error.contains("1000"), "{error}");
    handle.stop();
    server.join().unwrap().unwrap();
}

/// Has news for who asked for it first, and then an end.
struct Newsroom {
    news: VecDeque<(&'static str, CloseCode)>,
}

impl Handler for Newsroom {
    fn message(&mut self, connections: &mut Connections, id: ConnectionId, message: Message) {
        if message.as_text() == Some("subscribe: news")
            && let Some((news, code)) = self.news.pop_front()
        {
            connections.send(id, news).unwrap();
            connections.close(id, code, "").unwrap();
        }
    }
}
