//! TLS without I/O: cut anywhere, and honest about what has left.
#![cfg(feature = "tls")]

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use wspulse_core::{CloseCode, Config, Connection, Event, Role, Seed, Transmit};
use wspulse_drive::tls::{self, TlsSession};
use wspulse_drive::{Clock, Drive, Error, SystemClock, Target, Transport};

/// A socket of two queues that moves `max` bytes a call, and takes `room` in all.
struct Socket {
    rx: VecDeque<u8>,
    tx: VecDeque<u8>,
    max: usize,
    room: usize,
    calls: usize,
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.calls += 1;
        let count = self.rx.len().min(self.max).min(buffer.len());
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        for (slot, byte) in buffer.iter_mut().zip(self.rx.drain(..count)) {
            *slot = byte;
        }
        Ok(count)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.calls += 1;
        let count = bytes.len().min(self.max).min(self.room);
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.room -= count;
        self.tx.extend(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Tls {
    session: TlsSession,
    socket: Socket,
}

impl Transport for Tls {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.session.read(&mut self.socket, buffer)
    }
    fn write(&mut self, transmit: &Transmit<'_>) -> io::Result<usize> {
        self.session.write(&mut self.socket, transmit)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.session.flush(&mut self.socket)
    }
    fn shutdown(&mut self) -> io::Result<()> {
        self.session.shutdown(&mut self.socket)
    }
    fn wants_flush(&self) -> bool {
        self.session.wants_flush()
    }
}

struct End {
    drive: Drive,
    tls: Tls,
    events: Vec<Event>,
}

impl End {
    fn new(role: Role, session: TlsSession, max: usize, clock: &SystemClock) -> Self {
        let config = Arc::new(Config::default());
        let seed = Seed::predictable_for_tests(7);
        let connection = Connection::from_upgrade(role, config, seed, clock.now());
        let socket = Socket {
            rx: VecDeque::new(),
            tx: VecDeque::new(),
            max,
            room: usize::MAX,
            calls: 0,
        };
        Self {
            drive: Drive::new(connection),
            tls: Tls { session, socket },
            events: Vec::new(),
        }
    }

    fn settle(&mut self, clock: &SystemClock) {
        for _ in 0..1_000_000 {
            let turn = self.drive.turn(&mut self.tls, clock);
            let count = self.events.len();
            self.events
                .extend(std::iter::from_fn(|| self.drive.poll_event()));
            if !turn.has_progress() && count == self.events.len() {
                return;
            }
        }
        panic!("it spins");
    }
}

/// A certificate for `example.com` and its key, as PEM.
struct Pair {
    certificate: String,
    key: String,
}

impl Pair {
    fn params() -> CertificateParams {
        CertificateParams::new(vec!["example.com".into()]).unwrap()
    }

    fn self_signed(params: &CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        Self {
            certificate: params.self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// One that an authority signed which nobody else knows.
    fn signed(params: &CertificateParams) -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority
            .distinguished_name
            .push(DnType::CommonName, "an authority");
        let issuer = Issuer::new(authority, KeyPair::generate().unwrap());
        let key = KeyPair::generate().unwrap();
        Self {
            certificate: params.signed_by(&key, &issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

fn ends(name: &str, max: usize, clock: &SystemClock) -> (End, End) {
    let pair = Pair::self_signed(&Pair::params());
    ends_with(&pair, &pair.certificate, name, max, clock)
}

/// A client that trusts `trusted`, and a server that shows `pair`.
fn ends_with(
    pair: &Pair,
    trusted: &str,
    name: &str,
    max: usize,
    clock: &SystemClock,
) -> (End, End) {
    let server = tls::server_config_from_pem(pair.certificate.as_bytes(), pair.key.as_bytes());
    let client = tls::client_config_from_pem(trusted.as_bytes()).unwrap();
    let target = Target::parse(&format!("wss://{name}/")).unwrap();
    let name = tls::server_name(&target).unwrap();
    (
        End::new(
            Role::Client,
            TlsSession::client(client, name).unwrap(),
            max,
            clock,
        ),
        End::new(
            Role::Server,
            TlsSession::server(server.unwrap()).unwrap(),
            max,
            clock,
        ),
    )
}

/// Moves bytes until neither side has more to say.
fn run(client: &mut End, server: &mut End, clock: &SystemClock) {
    for _ in 0..1_000 {
        client.settle(clock);
        let mut moved = client.tls.socket.tx.len();
        server.tls.socket.rx.append(&mut client.tls.socket.tx);
        server.settle(clock);
        moved += server.tls.socket.tx.len();
        client.tls.socket.rx.append(&mut server.tls.socket.tx);
        if moved == 0 {
            return;
        }
    }
    panic!("no end of it");
}

#[test]
fn messages_cross_tls_however_it_is_cut() {
    for max in [1, 7, usize::MAX] {
        let clock = SystemClock::start();
        let (mut client, mut server) = ends("example.com", max, &clock);
        let large = vec![3; 100_000];
        client.drive.command(|c| c.send("hello")).unwrap();
        client.drive.command(|c| c.send(large.clone())).unwrap();
        run(&mut client, &mut server, &clock);
        let [Event::Text(hello), Event::Binary(data)] = &server.events[..] else {
            panic!("{:?}", server.events);
        };
        assert!(hello == "hello" && *data == large);

        let now = clock.now();
        client
            .drive
            .command(|c| c.close(now, CloseCode::NORMAL, ""))
            .unwrap();
        run(&mut client, &mut server, &clock);
        assert!(server.drive.closed().is_some_and(|closed| closed.clean));
    }
}

#[test]
fn rule_4_output_counts_as_taken_when_its_last_encrypted_byte_is() {
    let clock = SystemClock::start();
    let (mut client, mut server) = ends("example.com", usize::MAX, &clock);
    client.drive.command(|c| c.send("hello")).unwrap();
    run(&mut client, &mut server, &clock);

    client.tls.socket.room = 20_000;
    client.drive.command(|c| c.send(vec![1; 30_000])).unwrap();
    client.settle(&clock);
    assert_eq!(client.tls.socket.tx.len(), 20_000, "the socket is full");
    let waiting = client.drive.connection().buffered_amount();
    assert!(waiting > 30_000, "a part of the ciphertext is nobody's yet");

    let calls = client.tls.socket.calls;
    client.settle(&clock);
    assert!(
        client.tls.socket.calls - calls < 10,
        "no spinning while it is full"
    );

    client.tls.socket.room = usize::MAX;
    run(&mut client, &mut server, &clock);
    assert_eq!(client.drive.connection().buffered_amount(), 0);
    assert!(matches!(server.events.last(), Some(Event::Binary(data)) if data.len() == 30_000));
}

#[test]
fn a_certificate_for_another_name_is_refused_with_a_typed_error() {
    let clock = SystemClock::start();
    let (mut client, mut server) = ends("example.org", usize::MAX, &clock);
    client.drive.command(|c| c.send("secret")).unwrap();
    run(&mut client, &mut server, &clock);
    let Some(Event::Closed(closed)) = client.events.pop() else {
        panic!("{:?}", client.events);
    };
    match client.drive.end_error(closed) {
        Error::Tls(rustls::Error::InvalidCertificate(_)) => {}
        other => panic!("{other:?}"),
    }
    // The server was told why, and never saw a byte of the message.
    let closed = server.events.pop();
    assert!(matches!(closed, Some(Event::Closed(_))), "{closed:?}");
}

/// What a client that trusts `trusted` says of a server that shows `pair` under `name`.
fn judge(pair: &Pair, trusted: &str, name: &str) -> Result<(), Error> {
    let clock = SystemClock::start();
    let (mut client, mut server) = ends_with(pair, trusted, name, usize::MAX, &clock);
    client.drive.command(|c| c.send("hello")).unwrap();
    run(&mut client, &mut server, &clock);
    match client.events.pop() {
        Some(Event::Closed(closed)) => Err(client.drive.end_error(closed)),
        _ => match &server.events[..] {
            [Event::Text(hello)] if hello == "hello" => Ok(()),
            events => panic!("{events:?}"),
        },
    }
}

#[track_caller]
fn assert_refused(judged: Result<(), Error>, words: &str) {
    match judged {
        Err(error @ Error::Tls(rustls::Error::InvalidCertificate(_))) => {
            let said = error.to_string();
            assert!(said.contains(words), "{said}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a26_the_servers_own_certificate_may_be_the_trusted_one() {
    let mut authority = Pair::params();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // As `openssl req -x509` makes it, as rcgen does, and as an authority does.
    let pairs = [
        Pair::self_signed(&authority),
        Pair::self_signed(&Pair::params()),
        Pair::signed(&Pair::params()),
    ];
    for pair in &pairs {
        judge(pair, &pair.certificate, "example.com").unwrap();
        assert_refused(
            judge(pair, &pair.certificate, "example.org"),
            "not valid for name",
        );
        // Another one that claims the same is still a stranger.
        let other = Pair::self_signed(&authority);
        assert_refused(judge(pair, &other.certificate, "example.com"), "");
    }
}

#[test]
fn a26_a_trusted_certificate_of_the_servers_own_still_expires() {
    let make: [fn(&CertificateParams) -> Pair; 2] = [Pair::self_signed, Pair::signed];
    for is_authority in [true, false] {
        for make in make {
            let mut params = Pair::params();
            if is_authority {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }
            params.not_after = date_time_ymd(2020, 1, 1);
            let pair = make(&params);
            let judged = judge(&pair, &pair.certificate, "example.com");
            assert_refused(judged, "expired");

            params.not_after = date_time_ymd(4000, 1, 1);
            params.not_before = date_time_ymd(3000, 1, 1);
            let pair = make(&params);
            let judged = judge(&pair, &pair.certificate, "example.com");
            assert_refused(judged, "not valid yet");
        }
    }
}
