//! Random heads, cut at random: the same outcome, no panic, nothing held past the limit.

use alloc::vec;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// One character a byte, so that nothing is lost.
fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

type Cuts = Vec<usize>;

fn feed(input: &[u8], cuts: &Cuts, mut handle_input: impl FnMut(&[u8]) -> usize) -> usize {
    let mut taken = 0;
    let mut from = 0;
    for size in cuts.iter().copied().chain([usize::MAX]) {
        let to = from + size.min(input.len() - from);
        let part = &input[from..to];
        let count = handle_input(part);
        taken += count;
        from = to;
        if count < part.len() {
            break;
        }
    }
    taken
}

type Served = (usize, Option<Result<Request, HandshakeError>>);
type Answered = (usize, Option<Result<Response, HandshakeError>>);

fn serve_in_pieces(input: &[u8], cuts: &Cuts, limits: HandshakeLimits) -> Served {
    let mut server = ServerHandshake::new(limits);
    let taken = feed(input, cuts, |part| {
        let taken = server.handle_input(part);
        if let Some(reader) = server.reader() {
            assert!(reader.capacity() <= limits.max_head_size);
        }
        taken
    });
    server.handle_eof();
    (taken, server.poll_request())
}

fn answer_in_pieces(input: &[u8], cuts: &Cuts, limits: HandshakeLimits) -> Answered {
    let request = ClientRequest::new("example.com", "/").unwrap();
    let mut client = ClientHandshake::new(&request, NONCE, limits);
    let taken = feed(input, cuts, |part| client.handle_input(part));
    client.handle_eof();
    (taken, client.poll_response())
}

fn cuts() -> impl Strategy<Value = Cuts> {
    prop_oneof![
        prop::collection::vec(0..40_usize, 0..40),
        Just(vec![1; 2000]),
    ]
}

/// A head to start from, broken in a few places.
fn spoiled(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r\n\r\n".to_vec()),
        Just(b": ".to_vec()),
        Just(b"Content-Length: 3\r\n".to_vec()),
        Just(b"Origin: https://a\r\n".to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    let edit = (any::<Index>(), 0..4_usize, piece);
    let edits = prop::collection::vec(edit, 0..4);
    (prop::sample::select(seeds), edits).prop_map(|(mut head, edits)| {
        for (at, removed, piece) in edits {
            let at = at.index(head.len() + 1);
            let to = (at + removed).min(head.len());
            head.splice(at..to, piece);
        }
        head
    })
}

fn requests() -> impl Strategy<Value = Vec<u8>> {
    let lists = "Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: a; b=\"c\", d";
    spoiled(vec![
        good_request(),
        request_with("", lists),
        [&good_request()[..], b"\x81\x80mask"].concat(),
    ])
}

fn responses() -> impl Strategy<Value = Vec<u8>> {
    spoiled(vec![
        good_response(),
        [
            b"HTTP/1.1 100 Continue\r\n\r\n",
            &good_response()[..],
            b"\x81\x00",
        ]
        .concat(),
        b"HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n\r\nlater".to_vec(),
        b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec(),
        b"HTTP/1.1 500 Oops\r\n\r\nuntil the end".to_vec(),
    ])
}

proptest! {
    #[test]
    fn any_cut_of_a_request_gives_the_same(input in requests(), cuts in cuts(), limit in 100..400_usize) {
        let limits = HandshakeLimits { max_head_size: limit, max_header_count: 8 };
        let whole = serve_in_pieces(&input, &vec![], limits);
        prop_assert_eq!(serve_in_pieces(&input, &cuts, limits), whole);
    }

    #[test]
    fn any_cut_of_a_response_gives_the_same(input in responses(), cuts in cuts(), limit in 60..400_usize) {
        let limits = HandshakeLimits { max_head_size: limit, max_header_count: 8 };
        let whole = answer_in_pieces(&input, &vec![], limits);
        prop_assert_eq!(answer_in_pieces(&input, &cuts, limits), whole);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(
        input in prop::collection::vec(any::<u8>(), 0..600),
        cuts in cuts(),
        limit in 0..300_usize,
    ) {
        let limits = HandshakeLimits { max_head_size: limit, max_header_count: 8 };
        serve_in_pieces(&input, &cuts, limits);
        answer_in_pieces(&input, &cuts, limits);
        let input = [b"GET / HTTP/1.1\r\n", &input[..]].concat();
        serve_in_pieces(&input, &cuts, limits);
        let input = [b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n", &input[..]].concat();
        answer_in_pieces(&input, &cuts, limits);
    }

    /// The parser's naive twin: split at line ends and at the first colon.
    #[test]
    fn headers_are_what_the_lines_say(input in requests()) {
        let (taken, outcome) = serve_in_pieces(&input, &vec![], ROOMY);
        if let Some(Ok(request)) = outcome {
            let head = latin1(&input[..taken]);
            let lines = head.split("\r\n").skip(1).filter(|line| !line.is_empty());
            let naive: Vec<(String, String)> = lines
                .map(|line| line.split_once(':').unwrap())
                .map(|(name, value)| (name.into(), value.trim_matches([' ', '\t']).into()))
                .collect();
            let found: Vec<(String, String)> = request
                .headers()
                .map(|(name, value)| (name.into(), latin1(value)))
                .collect();
            prop_assert_eq!(found, naive);
        }
    }

    #[test]
    fn what_one_side_writes_the_other_reads(
        nonce in any::<[u8; 16]>(),
        names in prop::collection::btree_set("[a-z]{1,8}", 0..5),
        value in "[ -~\u{a0}-\u{ff}]{0,20}",
        chosen in any::<Index>(),
    ) {
        let mut request = ClientRequest::new("example.com", "/").unwrap();
        for name in &names {
            request = request.subprotocol(name).unwrap();
        }
        request = request.header("X-Value", &value).unwrap();
        let mut client = ClientHandshake::new(&request, nonce, HandshakeLimits::default());
        let mut server = ServerHandshake::new(HandshakeLimits::default());
        server.handle_input(client.request_head());
        let asked = server.poll_request().unwrap().unwrap();
        prop_assert_eq!(asked.subprotocols().count(), names.len());
        prop_assert_eq!(asked.header("x-value").unwrap(), value.trim_matches(' ').as_bytes());
        let offered: Vec<&str> = asked.subprotocols().collect();
        let mut accept = Accept::new();
        let chosen = (!offered.is_empty()).then(|| *chosen.get(&offered));
        if let Some(name) = chosen {
            accept = accept.subprotocol(name).unwrap();
        }
        let answer = server.accept(&accept).unwrap();
        prop_assert_eq!(client.handle_input(&answer), answer.len());
        let response = client.poll_response().unwrap().unwrap();
        prop_assert_eq!(response.subprotocol(), chosen);
    }
}
