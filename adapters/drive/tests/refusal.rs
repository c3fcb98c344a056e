//! A server that refuses, and never ends the body of its refusal.

use std::sync::Arc;
use std::time::Duration;

use wspulse_core::handshake::{ClientRequest, HandshakeError};
use wspulse_core::{Cause, Config, Connection, Event, Instant, Seed};

const MILLISECOND: Duration = Duration::from_millis(1);

fn client() -> Connection {
    let request = ClientRequest::new("example.com", "/").unwrap();
    let seed = Seed::predictable_for_tests(7);
    Connection::client(Arc::new(Config::default()), &request, seed, Instant::ZERO)
}

#[test]
fn a_refusal_without_a_length_is_told_after_a_second_with_its_status() {
    for head in [
        "",
        "Content-Length: 100\r\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        let mut client = client();
        while let Some(transmit) = client.poll_transmit() {
            let count = transmit.len();
            client.handle_transmitted(Instant::ZERO, count);
        }
        let start = Instant::ZERO.saturating_add(Duration::from_secs(2));
        let answer = format!("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\n{head}\r\nff\r\n");
        let taken = client.handle_input(start, answer.as_bytes());
        assert_eq!(taken, answer.len());
        // What trickles in does not move the second.
        let mut now = start;
        for _ in 0..9 {
            now = now.saturating_add(100 * MILLISECOND);
            assert_eq!(client.handle_input(now, b"x"), 1);
            client.handle_would_block(now);
        }
        assert!(client.poll_event().is_none());
        let end = start.saturating_add(Duration::from_secs(1));
        while let Some(deadline) = client.poll_timeout() {
            assert!(deadline <= end, "{head:?}: {deadline:?}");
            client.handle_would_block(deadline);
            client.handle_timeout(deadline);
        }
        let Some(Event::Closed(closed)) = client.poll_event() else {
            panic!("no end: {head:?}");
        };
        match closed.cause {
            Cause::Handshake(HandshakeError::Refused(refusal)) => {
                assert_eq!(refusal.status(), 503);
                assert_eq!(refusal.header("retry-after"), Some(&b"7"[..]));
            }
            cause => panic!("{head:?}: {cause:?}"),
        }
    }
}
