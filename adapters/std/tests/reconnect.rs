//! A client that comes back: over pipes in memory, and over a socket to a server that restarts.

mod common;

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use wspulse_core::backoff::{BackoffConfig, BackoffConfigError, Generation};
use wspulse_core::{Cause, CloseCode, Config, Event, Message, SendError};
use wspulse_std::{
    ConnectOptions, DownReason, Error, ReconnectError, ReconnectEvent, ReconnectPolicy,
    ReconnectingClient, Stream, UrlError, WebSocket, WhileDown, accept, client,
};

type Client = ReconnectingClient<Pipe>;
type Server = WebSocket<Pipe>;

/// The servers' ends of the attempts, in their order.
struct Net(mpsc::Receiver<Pipe>);

/// A client, and the net in which it connects.
fn client_in_net(policy: impl Into<ReconnectPolicy>, config: Config) -> (Client, Net) {
    let (attempts, net) = mpsc::channel();
    let connect = move |_| {
        let (near, far) = pipe(1 << 12);
        attempts.send(far).ok();
        client(near, &request(), config.clone())
    };
    let client = Client::with_connect(connect, policy).unwrap();
    (client, Net(net))
}

impl Net {
    /// The next attempt, which nobody has answered yet.
    fn attempt(&self) -> Pipe {
        self.0.recv_timeout(ms(10_000)).expect("an attempt")
    }

    fn accept(&self) -> Server {
        accept(self.attempt(), Config::default()).unwrap()
    }

    fn refuse(&self, head: &str) {
        let attempt = self.attempt();
        read_until(&attempt, |bytes| bytes.ends_with(b"\r\n\r\n"));
        let answer = format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n");
        write_all(&attempt, answer.as_bytes());
    }
}

/// Delays of milliseconds.
fn quick() -> BackoffConfig {
    BackoffConfig::default()
        .first(ms(40))
        .base(ms(20))
        .cap(ms(100))
}

fn keep(count: usize) -> ReconnectPolicy {
    ReconnectPolicy::new(quick()).while_down(WhileDown::Keep(count))
}

fn opened<S: Stream>(client: &mut ReconnectingClient<S>) -> Generation {
    match client.next_event().unwrap() {
        ReconnectEvent::Opened {
            generation,
            response,
        } => {
            assert!(response.is_some());
            generation
        }
        other => panic!("{other:?}"),
    }
}

fn down<S: Stream>(client: &mut ReconnectingClient<S>) -> (Generation, DownReason, Duration) {
    match client.next_event().unwrap() {
        ReconnectEvent::Down {
            generation,
            reason,
            retry_in,
        } => (generation, reason, retry_in),
        other => panic!("{other:?}"),
    }
}

fn text(server: &mut Server) -> String {
    let message = server.next().unwrap().unwrap();
    message.as_text().unwrap().to_owned()
}

fn given_back(result: Result<(), Error>) -> SendError {
    match result {
        Err(Error::Send(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn fatal(error: &ReconnectError) -> &DownReason {
    match error {
        ReconnectError::Fatal(reason) => reason,
        other => panic!("{other}"),
    }
}

#[test]
fn it_comes_back_under_a_new_name_and_tells_how_the_old_connection_ended() {
    within(ms(20_000), || {
        let (mut client, net) = client_in_net(quick(), Config::default());
        let servers = thread::spawn(move || {
            for _ in 0..3 {
                net.accept().send("hi").unwrap();
            }
            net.refuse("401 x");
        });
        let mut last = None;
        for _ in 0..3 {
            let generation = opened(&mut client);
            assert_eq!(client.generation(), Some(generation));
            assert!(last < Some(generation));
            last = Some(generation);
            let message = client.next_event();
            assert!(
                matches!(&message, Some(ReconnectEvent::Connection(Event::Text(text))) if text == "hi"),
                "{message:?}"
            );
            let (name, reason, retry_in) = down(&mut client);
            assert_eq!(name, generation);
            assert_eq!(reason.closed().unwrap().cause, Cause::Eof);
            assert!(retry_in <= ms(40) && !client.is_open());
        }
        match client.next_event() {
            Some(ReconnectEvent::GaveUp(error)) => {
                assert!(matches!(fatal(&error), DownReason::Failed(_)));
            }
            other => panic!("{other:?}"),
        }
        assert!(client.next_event().is_none() && client.next().is_none());
        let back = given_back(client.send("late"));
        assert_eq!(back, SendError::NotOpen(Message::from("late")));
        servers.join().unwrap();
    });
}

#[test]
fn it_is_an_iterator_over_the_messages_of_all_its_connections() {
    within(ms(20_000), || {
        let (client, net) = client_in_net(quick(), Config::default());
        let servers = thread::spawn(move || {
            for name in ["one", "two", "three"] {
                let mut server = net.accept();
                server.send(name).unwrap();
                server.close(CloseCode::GOING_AWAY, "").unwrap();
                drop(net.attempt());
            }
            net.accept().close(CloseCode::NORMAL, "done").unwrap();
        });
        let (texts, errors): (Vec<_>, Vec<_>) = client.partition(Result::is_ok);
        let texts: Vec<_> = texts.into_iter().map(Result::unwrap).collect();
        assert_eq!(texts, ["one", "two", "three"].map(Message::from));
        // The peer has nothing more to say: no sense in coming back, and it is said why.
        let [Err(error)] = &errors[..] else {
            panic!("{errors:?}");
        };
        assert_eq!(fatal(error).closed().unwrap().code(), CloseCode::NORMAL);
        servers.join().unwrap();
    });
}

#[test]
fn the_hooks_messages_come_first_then_the_kept_ones_in_order_and_none_twice() {
    within(ms(20_000), || {
        let (client, net) = client_in_net(keep(3), Config::default());
        let mut nth = 0;
        let mut client = client.on_open(move |opening| {
            nth += 1;
            opening.send(format!("login {nth}"));
            opening.send("subscribe");
        });
        for text in ["1", "2", "3"] {
            client.send(text).unwrap();
        }
        // What was accepted stays, so it is the newest that does not get in.
        let back = given_back(client.send("4"));
        assert_eq!(back, SendError::Full(Message::from("4")));

        let servers = thread::spawn(move || {
            let mut server = net.accept();
            for expected in ["login 1", "subscribe", "1", "2", "3", "5"] {
                assert_eq!(text(&mut server), expected);
            }
            drop(server);
            let mut server = net.accept();
            for expected in ["login 2", "subscribe", "6", "7"] {
                assert_eq!(text(&mut server), expected);
            }
            server.close(CloseCode::NORMAL, "").unwrap();
        });
        opened(&mut client);
        client.send("5").unwrap();
        down(&mut client);
        client.send("6").unwrap();
        client.handle().send("7").unwrap();
        opened(&mut client);
        assert!(client.next().unwrap().is_err());
        servers.join().unwrap();
    });
}

#[test]
fn without_a_place_to_keep_it_a_message_comes_back() {
    within(ms(20_000), || {
        let (mut client, net) = client_in_net(quick(), Config::default());
        let handle = client.handle();
        let servers = thread::spawn(move || {
            for _ in 0..2 {
                assert_eq!(text(&mut net.accept()), "c");
            }
            net
        });
        for _ in 0..2 {
            let back = given_back(client.send("a"));
            assert_eq!(back, SendError::NotOpen(Message::from("a")));
            let back = given_back(handle.send("b"));
            assert_eq!(back, SendError::NotOpen(Message::from("b")));
            opened(&mut client);
            client.send("c").unwrap();
            down(&mut client);
        }
        servers.join().unwrap();
    });
}

/// More than a connection takes at once: the rest waits for room, and later messages behind it.
#[test]
fn kept_messages_that_do_not_fit_at_once_stay_in_order_with_later_ones() {
    within(ms(20_000), || {
        let config = Config::builder().max_buffered_amount(1 << 10);
        let (mut client, net) = client_in_net(keep(100), config.build().unwrap());
        for nth in 0..40 {
            client.send(vec![nth; 1 << 10]).unwrap();
        }
        let handle = client.handle();
        let servers = thread::spawn(move || {
            let mut server = net.accept();
            let others = thread::spawn(move || {
                while !handle.is_open() {
                    thread::sleep(ms(1));
                }
                for nth in 40..80 {
                    handle.send(vec![nth; 1 << 10]).unwrap();
                }
            });
            for nth in 0..80 {
                let message = server.next().unwrap().unwrap();
                assert_eq!(message.as_bytes()[0], nth);
            }
            others.join().unwrap();
            server.close(CloseCode::NORMAL, "").unwrap();
        });
        assert!(client.next().unwrap().is_err());
        servers.join().unwrap();
    });
}

/// The same without anybody in `next`: the client's own `send` sees to it.
#[test]
fn the_clients_own_send_waits_for_room_and_moves_the_connection() {
    within(ms(20_000), || {
        let config = Config::builder().max_buffered_amount(1 << 10);
        let (mut client, net) = client_in_net(keep(100), config.build().unwrap());
        for nth in 0..20 {
            client.send(vec![nth; 1 << 10]).unwrap();
        }
        let server = thread::spawn(move || {
            let mut server = net.accept();
            let mut kinds = Vec::new();
            while let Some(message) = server.next() {
                kinds.push(message.unwrap().as_bytes()[0]);
            }
            kinds
        });
        opened(&mut client);
        for nth in 20..40 {
            client.send(vec![nth; 1 << 10]).unwrap();
        }
        client.close(CloseCode::NORMAL, "").unwrap();
        assert_eq!(server.join().unwrap(), (0..40).collect::<Vec<_>>());
    });
}

/// What was handed to a connection may have been seen by the peer.
#[test]
fn what_a_lost_connection_had_taken_is_not_sent_again() {
    within(ms(20_000), || {
        let (client, net) = client_in_net(keep(9), Config::default());
        let mut client = client.on_open(|opening| opening.send("login"));
        let handle = client.handle();
        let servers = thread::spawn(move || {
            let server = net.accept();
            // More than the pipe holds, so that some of it waits in the connection.
            let stuck = thread::spawn(move || handle.send(vec![0; 1 << 14]));
            thread::sleep(ms(50));
            drop(server);
            stuck.join().unwrap().unwrap();
            let mut server = net.accept();
            assert_eq!(text(&mut server), "login");
            assert_eq!(text(&mut server), "later");
        });
        opened(&mut client);
        down(&mut client);
        client.send("later").unwrap();
        opened(&mut client);
        down(&mut client);
        servers.join().unwrap();
    });
}

#[test]
fn it_gives_up_after_max_retries_and_says_why() {
    within(ms(20_000), || {
        let connect = |_| Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into());
        let mut client = Client::with_connect(connect, quick().max_retries(Some(4))).unwrap();
        match client.next().unwrap().unwrap_err() {
            ReconnectError::Exhausted { retries, reason } => {
                assert_eq!(retries, 4);
                assert!(matches!(reason, DownReason::Failed(Error::Io(_))));
            }
            other => panic!("{other}"),
        }
        assert!(client.next().is_none());
    });
}

#[test]
fn a_retry_after_is_waited_for() {
    within(ms(20_000), || {
        let (mut client, net) = client_in_net(quick(), Config::default());
        let servers = thread::spawn(move || {
            net.refuse("503 x\r\nRetry-After: 1");
            net.refuse("403 x");
        });
        let start = Instant::now();
        assert!(client.next().unwrap().is_err());
        assert!(start.elapsed() >= ms(1_000));
        servers.join().unwrap();
    });
}

/// The pings leave while the application only awaits the next message.
#[test]
fn a_peer_that_fell_silent_is_given_up_and_connected_to_again() {
    within(ms(20_000), || {
        let config = heartbeat(100, 200).build().unwrap();
        let (mut client, net) = client_in_net(quick(), config);
        let servers = thread::spawn(move || {
            let mut silent = net.accept();
            let mut server = net.accept();
            // What the old server still says is said to nobody.
            let _ = silent.send("are you there?");
            server.send("here").unwrap();
            server.close(CloseCode::NORMAL, "").unwrap();
        });
        let old = opened(&mut client);
        assert!(matches!(
            client.next_event(),
            Some(ReconnectEvent::Connection(Event::Suspect))
        ));
        let (name, reason, _) = down(&mut client);
        assert_eq!(name, old);
        assert!(matches!(reason.closed().unwrap().cause, Cause::Dead(_)));
        let message = client.next().unwrap().unwrap();
        assert_eq!(message.as_text(), Some("here"));
        assert!(client.next().unwrap().is_err());
        servers.join().unwrap();
    });
}

#[test]
fn a_hint_from_another_thread_cuts_the_delay_short() {
    within(ms(20_000), || {
        let day = Duration::from_secs(86_400);
        let config = quick().first(day).cap(day);
        let (mut client, net) = client_in_net(config, Config::default());
        let handle = client.handle();
        let servers = thread::spawn(move || {
            drop(net.attempt());
            thread::sleep(ms(100));
            handle.network_up();
            net.accept().close(CloseCode::NORMAL, "").unwrap();
        });
        down(&mut client);
        opened(&mut client);
        assert!(client.next().unwrap().is_err());
        servers.join().unwrap();
    });
}

#[test]
fn a_close_from_another_thread_ends_a_delay_of_a_day() {
    within(ms(20_000), || {
        let config = quick()
            .first(Duration::from_secs(86_400))
            .cap(Duration::from_secs(86_400));
        let (mut client, net) = client_in_net(config, Config::default());
        let handle = client.handle();
        let servers = thread::spawn(move || {
            drop(net.attempt());
            thread::sleep(ms(100));
            let refused = given_back(handle.close(CloseCode::NO_STATUS, ""));
            assert!(matches!(refused, SendError::Close(_)));
            handle.close(CloseCode::NORMAL, "").unwrap();
            net
        });
        assert!(client.next().is_none());
        assert!(client.next_event().is_none());
        let net = servers.join().unwrap();
        assert!(net.0.try_recv().is_err(), "no further attempt");
    });
}

#[test]
fn a_close_says_goodbye_and_the_last_event_is_how_it_ended() {
    within(ms(20_000), || {
        let (mut client, net) = client_in_net(quick(), Config::default());
        let handle = client.handle();
        let servers = thread::spawn(move || {
            let mut server = net.accept();
            while !handle.is_open() {
                thread::sleep(ms(1));
            }
            handle.send("last words").unwrap();
            handle.close(CloseCode::NORMAL, "bye").unwrap();
            let back = given_back(handle.send("more"));
            assert_eq!(back, SendError::NotOpen(Message::from("more")));
            assert_eq!(text(&mut server), "last words");
            assert!(server.next().is_none());
            let closed = server.closed().unwrap();
            assert_eq!(&*closed.received.as_ref().unwrap().reason, "bye");
        });
        opened(&mut client);
        let last = std::iter::from_fn(|| client.next_event()).last();
        match last {
            Some(ReconnectEvent::Connection(Event::Closed(closed))) => {
                assert_eq!(closed.cause, Cause::Normal);
            }
            other => panic!("{other:?}"),
        }
        servers.join().unwrap();
    });
}

#[test]
fn a_wait_with_an_end_comes_to_it_while_open_and_while_down() {
    within(ms(20_000), || {
        let config = quick()
            .first(Duration::from_secs(86_400))
            .cap(Duration::from_secs(86_400));
        let (mut client, net) = client_in_net(config, Config::default());
        let servers = thread::spawn(move || net.accept());
        opened(&mut client);
        assert!(client.next_timeout(ms(10)).is_pending());
        drop(servers.join().unwrap());
        down(&mut client);
        assert!(client.next_timeout(ms(10)).is_pending());
        assert!(client.next_event_timeout(ms(10)).is_pending());
        client.handle().close(CloseCode::NORMAL, "").unwrap();
        assert!(matches!(client.next_timeout(ms(10)), Poll::Ready(None)));
    });
}

/// The connection goes with the client, whoever still holds a handle.
#[test]
fn a_handle_keeps_nothing_alive() {
    within(ms(20_000), || {
        let (mut client, net) = client_in_net(keep(9), Config::default());
        let servers = thread::spawn(move || net.accept().next());
        opened(&mut client);
        let handle = client.handle();
        drop(client);
        assert!(servers.join().unwrap().unwrap().is_err());
        let back = given_back(handle.send("a"));
        assert_eq!(back, SendError::NotOpen(Message::from("a")));
        assert!(!handle.is_open());
    });
}

#[test]
fn what_cannot_work_is_said_at_once() {
    let new = |url: &str, options: ConnectOptions, backoff: BackoffConfig| {
        ReconnectingClient::new(url, options, backoff).err()
    };
    let fine = || ConnectOptions::new(Config::default());
    let url = "ws://127.0.0.1:1/";
    assert!(matches!(
        new("http://127.0.0.1/", fine(), quick()),
        Some(Error::Url(UrlError::Scheme))
    ));
    assert!(matches!(
        new(url, fine().header("a b", ""), quick()),
        Some(Error::Request(_))
    ));
    assert!(matches!(
        new(url, fine(), quick().base(Duration::ZERO)),
        Some(Error::Backoff(BackoffConfigError::ZeroBase))
    ));
    assert!(new(url, fine(), quick()).is_none());
}

#[test]
fn a_client_and_its_handle_may_move_to_other_threads() {
    fn is_send<T: Send>(_: &T) {}
    fn is_sync<T: Sync>(_: &T) {}
    let client = ReconnectingClient::new("ws://127.0.0.1:1/", Config::default(), keep(1)).unwrap();
    is_send(&client);
    is_send(&client.handle());
    is_sync(&client.handle());
}

#[cfg(feature = "tls")]
#[test]
fn a_certificate_that_is_not_trusted_is_not_looked_at_again() {
    use wspulse_std::tls::{client_config_from_pem, server_config_from_pem};
    within(ms(20_000), || {
        let names = || vec!["localhost".to_owned()];
        let trusted = rcgen::generate_simple_self_signed(names()).unwrap();
        let shown = rcgen::generate_simple_self_signed(names()).unwrap();
        let key = shown.signing_key.serialize_pem();
        let server = server_config_from_pem(shown.cert.pem().as_bytes(), key.as_bytes()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (attempts, count) = mpsc::channel();
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                attempts.send(()).ok();
                let _ = wspulse_std::accept_tls(stream, server.clone(), Config::default());
            }
        });
        let roots = client_config_from_pem(trusted.cert.pem().as_bytes()).unwrap();
        let options = ConnectOptions::new(Config::default()).tls(roots);
        let url = format!("wss://localhost:{port}/");
        let mut client = ReconnectingClient::new(&url, options, quick()).unwrap();
        let error = client.next().unwrap().unwrap_err();
        assert!(
            matches!(fatal(&error), DownReason::Failed(Error::Tls(_))),
            "{error}"
        );
        assert!(client.next().is_none());
        assert_eq!(count.try_iter().count(), 1);
    });
}

#[test]
fn it_finds_a_server_that_restarts_on_the_same_port() {
    within(ms(20_000), || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let mut listener = Some(listener);
            for round in 0..3 {
                // Down for long enough that some attempts find no one.
                let listener = listener.take().unwrap_or_else(|| {
                    thread::sleep(ms(150));
                    rebind(address)
                });
                let (stream, _) = listener.accept().unwrap();
                let mut ws = accept(stream, Config::default()).unwrap();
                let first = ws.next().unwrap().unwrap();
                assert_eq!(first.as_text(), Some("subscribe"));
                ws.send(format!("news {round}")).unwrap();
                match round {
                    // Without a word.
                    0 => {}
                    1 => ws.close(CloseCode::SERVICE_RESTART, "").unwrap(),
                    _ => ws.close(CloseCode::POLICY_VIOLATION, "").unwrap(),
                }
            }
        });
        let url = format!("ws://{address}/");
        let mut client = ReconnectingClient::new(&url, Config::default(), quick())
            .unwrap()
            .on_open(|opening| opening.send("subscribe"));
        for round in 0..3 {
            let news = client.next().unwrap().unwrap();
            assert_eq!(news.as_text(), Some(&*format!("news {round}")));
        }
        let error = client.next().unwrap().unwrap_err();
        let closed = fatal(&error).closed().unwrap();
        assert_eq!(closed.code(), CloseCode::POLICY_VIOLATION);
        server.join().unwrap();
    });
}

fn rebind(address: SocketAddr) -> TcpListener {
    for _ in 0..100 {
        if let Ok(listener) = TcpListener::bind(address) {
            return listener;
        }
        thread::sleep(ms(20));
    }
    panic!("the port is taken: {address}");
}
