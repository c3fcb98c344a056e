//! What each end leads to, when, and what becomes of messages.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use wspulse_core::backoff::{BackoffConfig, RetryClass};
use wspulse_core::handshake::{AnswerError, ClientRequest, HandshakeError, Refusal, RequestError};
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{
    Cause, CloseCode, Closed, Config, Connection, Event, Initiator, Instant, Message, Role, Seed,
    SendError,
};

use super::*;
use crate::{RedirectError, Stage, UrlError};

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Instant {
    Instant::from_secs(seconds)
}

// ---- ends of real connections

/// A client whose opening handshake is done.
fn open_client(config: Config) -> Connection {
    let seed = Seed::predictable_for_tests(1);
    Connection::from_upgrade(Role::Client, Arc::new(config), seed, at(0))
}

/// A client that has sent its request.
fn asking_client() -> Connection {
    let request = ClientRequest::new("example.com", "/").unwrap();
    let seed = Seed::predictable_for_tests(1);
    let mut client = Connection::client(Arc::new(Config::default()), &request, seed, at(0));
    write_out(&mut client, at(0));
    client
}

fn write_out(connection: &mut Connection, now: Instant) {
    while let Some(transmit) = connection.poll_transmit() {
        let len = transmit.len();
        connection.handle_transmitted(now, len);
    }
}

/// Hands over `input`, then the end of the stream, and lets time pass until it is over.
fn end_of(mut client: Connection, input: &[u8], is_eof: bool) -> Box<Closed> {
    let mut rest = input;
    for step in 0..200 {
        let now = at(step);
        rest = &rest[client.handle_input(now, rest)..];
        if rest.is_empty() && is_eof {
            client.handle_eof(now);
        }
        client.handle_would_block(now);
        client.handle_timeout(now);
        write_out(&mut client, now);
        while let Some(event) = client.poll_event() {
            if let Event::Closed(closed) = event {
                return closed;
            }
        }
    }
    panic!("it lives for ever: {client:?}");
}

/// An unmasked Close frame.
fn close_frame(code: u16) -> Vec<u8> {
    [&[0x88, 2][..], &code.to_be_bytes()].concat()
}

fn closed_by_peer(code: u16) -> Box<Closed> {
    let closed = end_of(open_client(Config::default()), &close_frame(code), true);
    assert_eq!(closed.code(), CloseCode::new(code));
    closed
}

fn refused(head: &str) -> Error {
    let answer = format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n");
    let closed = end_of(asking_client(), answer.as_bytes(), true);
    assert!(
        matches!(closed.cause, Cause::Handshake(HandshakeError::Refused(_))),
        "{closed}"
    );
    Error::Closed(closed)
}

fn refusal(head: &str) -> Refusal {
    match refused(head) {
        Error::Closed(closed) => match closed.cause {
            Cause::Handshake(HandshakeError::Refused(refusal)) => *refusal,
            other => panic!("{other}"),
        },
        other => panic!("{other}"),
    }
}

// ---- lives

fn life(policy: impl Into<ReconnectPolicy>) -> Reconnect {
    Reconnect::with_seed(&policy.into(), 1).unwrap()
}

/// How long a client waits for the second attempt, if it makes one.
fn wait_after(policy: impl Into<ReconnectPolicy>, reason: DownReason) -> Option<Duration> {
    let mut life = life(policy);
    let name = life.begin(at(0));
    if matches!(reason, DownReason::Ended(_)) {
        life.handle_open(at(0), name, Vec::new()).unwrap();
    }
    let text = reason.to_string();
    match life.handle_down(at(100), name, reason).unwrap() {
        ReconnectEvent::Down {
            generation,
            retry_in,
            ..
        } => {
            assert_eq!(generation, name);
            assert_eq!(
                life.poll_timeout(),
                Some(at(100).saturating_add(retry_in)),
                "{text}"
            );
            assert!(!life.is_over());
            Some(retry_in)
        }
        ReconnectEvent::GaveUp(ReconnectError::Fatal(reason)) => {
            assert_eq!(reason.to_string(), text);
            assert!(life.is_over() && life.poll_timeout().is_none(), "{text}");
            None
        }
        other => panic!("{other:?}"),
    }
}

fn is_fatal(reason: DownReason) -> bool {
    wait_after(BackoffConfig::default(), reason).is_none()
}

#[test]
fn the_peers_close_code_decides() {
    let fatal = [1000, 1002, 1003, 1007, 1008, 1009, 1010, 3000, 3003];
    let retry = [1001, 1011, 1012, 1013, 1014, 3001, 4000, 4999];
    for code in fatal {
        assert!(is_fatal(DownReason::Ended(closed_by_peer(code))), "{code}");
    }
    for code in retry {
        assert!(!is_fatal(DownReason::Ended(closed_by_peer(code))), "{code}");
    }
    let without_code = end_of(open_client(Config::default()), b"\x88\x00", true);
    assert!(!is_fatal(DownReason::Ended(without_code)));
}

#[test]
fn the_status_of_a_refusal_decides() {
    let fatal = [
        200, 204, 301, 302, 400, 401, 403, 404, 407, 410, 426, 451, 600,
    ];
    for status in fatal {
        let refused = refused(&format!("{status} x"));
        assert!(is_fatal(DownReason::Failed(refused)), "{status}");
    }
    for status in [408, 425, 429, 500, 502, 503, 504, 520, 599] {
        let refused = refused(&format!("{status} x"));
        assert!(!is_fatal(DownReason::Failed(refused)), "{status}");
    }
}

#[test]
fn what_this_side_ended_is_tried_again() {
    let heartbeat = HeartbeatConfig::ping(SECOND, SECOND);
    let config = || Config::builder().heartbeat(heartbeat);
    let dead = end_of(open_client(config().build().unwrap()), b"", false);
    assert!(matches!(dead.cause, Cause::Dead(_)), "{dead}");

    let age = config().max_age(SECOND).build().unwrap();
    let idle = config().idle_timeout(SECOND).build().unwrap();
    let small = config().max_message_size(1).build().unwrap();
    let mut closing = open_client(config().build().unwrap());
    closing.close(at(0), CloseCode::NORMAL, "").unwrap();
    let mut aborted = open_client(config().build().unwrap());
    aborted.abort(at(0));
    let ends = [
        dead,
        end_of(open_client(age), b"", false),
        end_of(open_client(idle), b"", false),
        end_of(open_client(small), b"\x82\x02ab", true),
        end_of(open_client(Config::default()), b"\xFF\xFF", true),
        end_of(open_client(Config::default()), b"", true),
        end_of(closing, b"", false),
        end_of(aborted, b"", false),
    ];
    for closed in ends {
        let text = closed.to_string();
        assert!(!is_fatal(DownReason::Ended(closed)), "{text}");
    }
}

/// A Close that answers ours carries our code back. It must not pass for the peer's wish.
#[test]
fn an_echo_of_our_own_close_is_not_the_peers_verdict() {
    let small = Config::builder().max_message_size(1).build().unwrap();
    let age = Config::builder().max_age(SECOND).build().unwrap();
    let mut aged = open_client(age);
    aged.handle_timeout(at(2));
    write_out(&mut aged, at(2));
    let ends = [
        end_of(
            open_client(small),
            &[&b"\x82\x02ab"[..], &close_frame(1009)].concat(),
            true,
        ),
        end_of(aged, &close_frame(1000), true),
    ];
    for closed in ends {
        let text = closed.to_string();
        assert_eq!(closed.initiator, Initiator::Local, "{text}");
        assert!(!is_fatal(DownReason::Ended(closed)), "{text}");
    }
}

#[test]
fn a_failure_to_connect_is_tried_again_and_a_mistake_is_not() {
    let timed_out = end_of(asking_client(), b"", false);
    assert_eq!(timed_out.cause, Cause::HandshakeTimeout);
    let retry = [
        Error::Io(io::ErrorKind::ConnectionRefused.into()),
        Error::Io(io::ErrorKind::TimedOut.into()),
        Error::Timeout(Stage::Lookup),
        Error::Timeout(Stage::Connect),
        Error::Timeout(Stage::Proxy),
        Error::Timeout(Stage::Tls),
        Error::Proxy("no route".into()),
        Error::NotOpen,
        Error::Closed(timed_out),
        Error::Closed(end_of(asking_client(), b"HTTP/1.1 10", true)),
        Error::Closed(end_of(asking_client(), b"SSH-2.0-OpenSSH_9.9\r\n", true)),
        // The wrong answer to the key.
        Error::Closed(end_of(
            asking_client(),
            b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
            true,
        )),
    ];
    for error in retry {
        let text = error.to_string();
        assert!(!is_fatal(DownReason::Failed(error)), "{text}");
    }
    let fatal = [
        Error::Url(UrlError::Scheme),
        Error::Url(UrlError::Tls),
        Error::Request(RequestError::HeaderName),
        Error::Answer(AnswerError::NoRequest),
        Error::Redirect(RedirectError::TooMany),
        Error::Redirect(RedirectError::Downgrade),
    ];
    for error in fatal {
        let text = error.to_string();
        assert!(is_fatal(DownReason::Failed(error)), "{text}");
    }
}

#[cfg(feature = "tls")]
#[test]
fn a_certificate_that_is_not_trusted_is_fatal_and_a_bad_moment_of_tls_is_not() {
    use rustls::{AlertDescription as Alert, CertificateError};
    let fatal = [
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer),
        rustls::Error::InvalidCertificate(CertificateError::Expired),
        rustls::Error::InvalidCertificate(CertificateError::NotValidForName),
        rustls::Error::AlertReceived(Alert::CertificateRequired),
        rustls::Error::AlertReceived(Alert::ProtocolVersion),
    ];
    for error in fatal {
        assert!(
            is_fatal(DownReason::Failed(error.clone().into())),
            "{error}"
        );
    }
    let retry = [
        rustls::Error::AlertReceived(Alert::InternalError),
        rustls::Error::AlertReceived(Alert::UnrecognisedName),
        rustls::Error::DecryptError,
    ];
    for error in retry {
        assert!(
            !is_fatal(DownReason::Failed(error.clone().into())),
            "{error}"
        );
    }
}

#[test]
fn the_application_may_class_for_itself() {
    let stubborn = BackoffConfig::default().classify(|_| RetryClass::Retry);
    let refused = DownReason::Failed(refused("401 x"));
    assert!(wait_after(stubborn, refused).is_some());
    // But nothing makes a URL work that is none.
    let wrong = DownReason::Failed(Error::Url(UrlError::Scheme));
    assert!(wait_after(stubborn, wrong).is_none());
}

// ---- Retry-After

#[test]
fn retry_after_is_read_as_seconds_or_as_a_date() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777); // 1994-11-06 08:49:37
    let cases = [
        ("", None),
        ("Retry-After: 0", Some(0)),
        ("Retry-After: 120", Some(120)),
        ("retry-after:  7 ", Some(7)),
        ("Retry-After: 99999999999999999999999", Some(u64::MAX)),
        ("Retry-After: -1", None),
        ("Retry-After: 1.5", None),
        ("Retry-After: soon", None),
        ("Retry-After:", None),
        ("Retry-After: Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
        ("Retry-After: Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
        ("Retry-After: Sun Nov  6 08:50:37 1994", Some(60)),
        // A time that has passed asks for nothing.
        ("Retry-After: Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
        ("Retry-After: Sun, 99 Nov 1994 08:00:00 GMT", None),
        // The server's own clock is the measure of what it says.
        (
            "Retry-After: Sat, 01 Jan 2050 00:00:30 GMT\r\nDate: Sat, 01 Jan 2050 00:00:00 GMT",
            Some(30),
        ),
    ];
    for (header, seconds) in cases {
        let refusal = refusal(format!("503 x\r\n{header}").trim_end());
        let asked = retry_after(&refusal, now);
        assert_eq!(asked, seconds.map(Duration::from_secs), "{header}");
    }
}

#[test]
fn retry_after_is_a_floor_and_has_a_ceiling() {
    let wait = |policy: ReconnectPolicy, seconds: u64| {
        let refused = refused(&format!("503 x\r\nRetry-After: {seconds}"));
        wait_after(policy, DownReason::Failed(refused)).unwrap()
    };
    let policy = ReconnectPolicy::default();
    let asked = wait(policy.clone(), 120);
    assert!((120 * SECOND..125 * SECOND).contains(&asked), "{asked:?}");
    let forever = wait(policy.clone(), u64::MAX);
    assert!(
        (3600 * SECOND..3605 * SECOND).contains(&forever),
        "{forever:?}"
    );
    let capped = wait(policy.max_retry_after(10 * SECOND), 120);
    assert!((10 * SECOND..15 * SECOND).contains(&capped), "{capped:?}");
}

#[test]
fn a_hint_shortens_a_delay_once_and_no_retry_after() {
    let config = BackoffConfig::default().first(1000 * SECOND);
    let mut life = life(config);
    let name = life.begin(at(0));
    let reason = DownReason::Failed(Error::NotOpen);
    life.handle_down(at(0), name, reason).unwrap();
    assert!(life.poll_timeout() > Some(at(1)));
    life.handle_network_up(at(0));
    let shortened = life.poll_timeout();
    assert!(shortened <= Some(at(1)));
    life.handle_network_up(at(1));
    assert_eq!(life.poll_timeout(), shortened);

    let name = life.begin(at(2));
    let reason = DownReason::Failed(refused("503 x\r\nRetry-After: 60"));
    life.handle_down(at(2), name, reason).unwrap();
    life.handle_network_up(at(2));
    assert!(life.poll_timeout() >= Some(at(62)));
}

// ---- the end

#[test]
fn it_gives_up_after_max_retries_with_their_number_and_the_last_reason() {
    let mut life = life(BackoffConfig::default().max_retries(Some(3)));
    let mut now = at(0);
    for attempt in 0..4 {
        let name = life.begin(now);
        assert_eq!(life.failures(), attempt);
        let reason = DownReason::Failed(Error::Timeout(Stage::Connect));
        match life.handle_down(now, name, reason).unwrap() {
            ReconnectEvent::Down { retry_in, .. } => now = now.saturating_add(retry_in),
            ReconnectEvent::GaveUp(ReconnectError::Exhausted { retries, reason }) => {
                assert_eq!((retries, attempt), (3, 3));
                assert!(matches!(
                    reason,
                    DownReason::Failed(Error::Timeout(Stage::Connect))
                ));
                assert!(life.is_over());
                return;
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("it never gave up");
}

#[test]
fn a_good_connection_starts_the_sequence_over_and_a_short_one_does_not() {
    for (uptime, failures) in [(9, 3), (10, 1)] {
        let mut life = life(BackoffConfig::default());
        for _ in 0..2 {
            let name = life.begin(at(0));
            life.handle_down(at(0), name, DownReason::Failed(Error::NotOpen));
        }
        let name = life.begin(at(100));
        life.handle_open(at(100), name, Vec::new()).unwrap();
        let closed = closed_by_peer(1001);
        life.handle_down(at(100 + uptime), name, DownReason::Ended(closed));
        assert_eq!(life.failures(), failures, "{uptime} s");
    }
}

#[test]
fn what_belongs_to_an_earlier_connection_changes_nothing() {
    let mut life = life(ReconnectPolicy::default().while_down(WhileDown::Keep(1)));
    let old = life.begin(at(0));
    life.handle_down(at(0), old, DownReason::Failed(Error::NotOpen));
    let new = life.begin(at(10));
    assert!(old < new);
    assert!(life.handle_open(at(10), old, vec!["old".into()]).is_err());
    life.handle_open(at(10), new, vec!["new".into()]).unwrap();
    // Not even what would be fatal.
    for reason in [
        DownReason::Ended(closed_by_peer(1000)),
        DownReason::Failed(Error::Url(UrlError::Host)),
    ] {
        assert!(life.handle_down(at(11), old, reason).is_none());
    }
    assert!(!life.is_over());
    assert_eq!(life.generation(), Some(new));
    assert_eq!(handed_over(&mut life, usize::MAX), ["new"]);
}

#[test]
fn after_a_stop_there_is_only_the_connections_own_end_to_tell() {
    let mut stopped = life(BackoffConfig::default());
    let name = stopped.begin(at(0));
    stopped.stop();
    let failed = DownReason::Failed(Error::NotOpen);
    assert!(stopped.handle_down(at(1), name, failed).is_none());
    assert!(stopped.poll_timeout().is_none());

    let mut stopped = life(BackoffConfig::default());
    let name = stopped.begin(at(0));
    stopped.handle_open(at(0), name, Vec::new()).unwrap();
    stopped.stop();
    let ended = DownReason::Ended(closed_by_peer(1001));
    assert!(matches!(
        stopped.handle_down(at(1), name, ended),
        Some(ReconnectEvent::Connection(Event::Closed(_)))
    ));
    assert!(stopped.poll_timeout().is_none());
}

// ---- messages

fn handed_over(life: &mut Reconnect, room: usize) -> Vec<String> {
    let mut taken = Vec::new();
    life.hand_over(|message| {
        if taken.len() == room {
            return Err(SendError::Full(message));
        }
        taken.push(message.as_text().unwrap().to_owned());
        Ok(())
    });
    taken
}

#[test]
fn a_message_while_down_is_refused_or_kept_up_to_a_number() {
    let mut rejecting = life(ReconnectPolicy::default());
    let back = rejecting.keep("a".into());
    assert_eq!(back, Err(SendError::NotOpen(Message::from("a"))));

    let mut keeping = life(ReconnectPolicy::default().while_down(WhileDown::Keep(2)));
    keeping.keep("a".into()).unwrap();
    keeping.keep("b".into()).unwrap();
    let back = keeping.keep("c".into());
    assert_eq!(back, Err(SendError::Full(Message::from("c"))));
    assert_eq!(handed_over(&mut keeping, usize::MAX), ["a", "b"]);
    keeping.keep("c".into()).unwrap();

    keeping.stop();
    let back = keeping.keep("d".into());
    assert_eq!(back, Err(SendError::NotOpen(Message::from("d"))));
    assert_eq!(keeping.take_kept(), [Message::from("c")]);
}

#[test]
fn the_openings_messages_come_first_and_the_kept_ones_in_order_none_twice() {
    let mut life = life(ReconnectPolicy::default().while_down(WhileDown::Keep(9)));
    let name = life.begin(at(0));
    life.keep("1".into()).unwrap();
    life.keep("2".into()).unwrap();
    let mut opening = Opening::new(name, None);
    opening.send("hello");
    opening.send("subscribe");
    life.handle_open(at(0), name, opening.into_messages())
        .unwrap();
    assert_eq!(handed_over(&mut life, 3), ["hello", "subscribe", "1"]);
    assert!(life.has_waiting());
    life.keep("3".into()).unwrap();
    assert_eq!(handed_over(&mut life, usize::MAX), ["2", "3"]);
    assert!(!life.has_waiting());
    assert!(handed_over(&mut life, usize::MAX).is_empty());
}

#[test]
fn the_openings_messages_die_with_their_connection_and_the_kept_ones_do_not() {
    let mut life = life(ReconnectPolicy::default().while_down(WhileDown::Keep(9)));
    let name = life.begin(at(0));
    life.keep("1".into()).unwrap();
    life.handle_open(at(0), name, vec!["hello 1".into()])
        .unwrap();
    assert!(handed_over(&mut life, 0).is_empty());
    life.handle_down(at(1), name, DownReason::Ended(closed_by_peer(1001)));
    let still_there = life.greeting.len() + life.kept.len();
    assert_eq!(still_there, 1);
    let name = life.begin(at(10));
    life.handle_open(at(10), name, vec!["hello 2".into()])
        .unwrap();
    assert_eq!(handed_over(&mut life, usize::MAX), ["hello 2", "1"]);
}

#[test]
fn delays_that_cannot_work_are_refused() {
    let policy = ReconnectPolicy::new(BackoffConfig::default().base(Duration::ZERO));
    assert!(matches!(Reconnect::new(&policy), Err(Error::Backoff(_))));
}

/// Two clients of one program must not come back at the same time.
#[test]
fn clients_have_seeds_of_their_own() {
    let first_delay = || {
        let mut life = Reconnect::new(&ReconnectPolicy::default()).unwrap();
        let name = life.begin(at(0));
        life.handle_down(at(0), name, DownReason::Failed(Error::NotOpen));
        life.poll_timeout()
    };
    assert_ne!(first_delay(), first_delay());
}

#[test]
fn debug_shows_no_message() {
    let mut reconnect = Reconnect::with_seed(&ReconnectPolicy::default(), 7).unwrap();
    let generation = reconnect.begin(Instant::ZERO);
    let mut opening = Opening::new(generation, None);
    opening.send("s3cr3t");
    let refused = reconnect.keep("s3cr3t".into()).unwrap_err();
    let error = Error::from(refused.clone());
    for shown in [
        format!("{opening:?}"),
        format!("{reconnect:?}"),
        format!("{refused:?} {refused}"),
        format!("{error:?} {error}"),
    ] {
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
}
