//! The way to a server: its addresses, TCP, TLS, and on to where it sends us.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;
use std::vec;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use wspulse_core::Config;
use wspulse_core::handshake::Refusal;
#[cfg(feature = "tls")]
use wspulse_drive::tls::{self, TlsSession};
use wspulse_drive::{ConnectOptions, Error, RedirectError, Stage, Target};

use crate::clock::after_by;
use crate::stream::{Socket, Stream as _};
use crate::websocket::{self, WebSocket};

/// Where a client wants to go, until it is there.
#[derive(Debug)]
pub(crate) struct Plan {
    options: ConnectOptions,
    /// What the caller named.
    origin: Target,
    target: Target,
    /// What a stranger leads back to is not trusted again: the path is the stranger's choice.
    is_trusted: bool,
    redirects_left: u32,
}

impl Plan {
    /// Reads the URL, and checks everything that can be checked before anything is done.
    pub(crate) fn new(url: &str, options: ConnectOptions) -> Result<Self, Error> {
        let target = Target::parse(url)?;
        let plan = Self {
            redirects_left: options.redirects(),
            origin: target.clone(),
            options,
            target,
            is_trusted: true,
        };
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> Result<(), Error> {
        self.options.request(&self.target, self.is_trusted)?;
        if self.target.is_secure() {
            #[cfg(not(feature = "tls"))]
            return Err(wspulse_drive::UrlError::Tls.into());
            #[cfg(feature = "tls")]
            {
                tls::server_name(&self.target)?;
                self.options.tls_config()?;
            }
        }
        Ok(())
    }

    /// Follows a redirect; `None` if redirects are not wanted or it is none.
    pub(crate) fn follow(mut self, refusal: &Refusal) -> Option<Result<Self, Error>> {
        if self.options.redirects() == 0 || !matches!(refusal.status(), 301 | 302 | 303 | 307 | 308)
        {
            return None;
        }
        Some(self.step(refusal).map(|()| self))
    }

    fn step(&mut self, refusal: &Refusal) -> Result<(), Error> {
        let left = self.redirects_left.checked_sub(1);
        self.redirects_left = left.ok_or(RedirectError::TooMany)?;
        let location = refusal.header("location").ok_or(RedirectError::Location)?;
        self.target = self.target.redirect(location)?;
        self.is_trusted &= self.origin.is_same_origin(&self.target);
        self.check()
    }

    /// Returns the server's address if it needs no lookup; else its name and port.
    pub(crate) fn address(&self) -> Result<SocketAddr, (String, u16)> {
        let (host, port) = (self.target.host(), self.target.port());
        match host.parse::<IpAddr>() {
            Ok(address) => Ok(SocketAddr::new(address, port)),
            Err(_) => Err((host, port)),
        }
    }

    fn deadline(&self, stage: Stage) -> Instant {
        after_by(Instant::now(), self.options.timeout(stage))
    }
}

/// A client on its way.
#[derive(Debug)]
pub(crate) struct Connecting {
    plan: Plan,
    step: Step,
    deadline: Instant,
}

#[derive(Debug)]
enum Step {
    Lookup,
    Tcp {
        /// Tried until `deadline` of its own, which leaves time for those after it.
        stream: TcpStream,
        until: Instant,
        rest: vec::IntoIter<SocketAddr>,
    },
    #[cfg(feature = "tls")]
    Tls {
        stream: TcpStream,
        session: TlsSession,
    },
    Failed(Error),
}

/// How far a client got.
pub(crate) enum Outcome {
    Waiting(Box<Connecting>),
    Arrived(Box<(Plan, WebSocket<Socket>)>),
}

/// Where its sockets are registered.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) token: Token,
}

impl Connecting {
    /// Waits for a lookup.
    pub(crate) fn lookup(plan: Plan) -> Self {
        Self {
            deadline: plan.deadline(Stage::Lookup),
            step: Step::Lookup,
            plan,
        }
    }

    /// Tries the addresses one after the other.
    pub(crate) fn tcp(plan: Plan, addresses: Vec<SocketAddr>, place: Place<'_>) -> Self {
        let deadline = plan.deadline(Stage::Connect);
        let none = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        Self {
            step: next_address(addresses.into_iter(), deadline, none, place),
            deadline,
            plan,
        }
    }

    /// Fails at the next turn.
    pub(crate) fn failed(plan: Plan, error: Error) -> Self {
        Self {
            deadline: Instant::now(),
            step: Step::Failed(error),
            plan,
        }
    }

    /// The lookup is done.
    pub(crate) fn found(self, found: io::Result<Vec<SocketAddr>>, place: Place<'_>) -> Self {
        match (&self.step, found) {
            (Step::Lookup, Ok(addresses)) => Self::tcp(self.plan, addresses, place),
            (Step::Lookup, Err(error)) => Self::failed(self.plan, error.into()),
            _ => self,
        }
    }

    pub(crate) fn is_lookup(&self) -> bool {
        matches!(self.step, Step::Lookup)
    }

    /// Returns when a turn is due.
    pub(crate) fn poll_timeout(&self) -> Instant {
        match &self.step {
            Step::Tcp { until, .. } => *until,
            _ => self.deadline,
        }
    }

    /// Goes on as far as it goes without waiting.
    pub(crate) fn advance(mut self: Box<Self>, place: Place<'_>) -> Result<Outcome, Error> {
        let now = Instant::now();
        loop {
            self.step = match self.step {
                Step::Failed(error) => return Err(error),
                Step::Lookup => {
                    self.in_time(now, Stage::Lookup)?;
                    return Ok(Outcome::Waiting(self));
                }
                Step::Tcp {
                    stream,
                    until,
                    rest,
                } => match is_connected(&stream) {
                    Ok(true) => {
                        self.plan.tune(&stream);
                        if !self.plan.target.is_secure() {
                            let ws = self.plan.client(stream)?;
                            return Ok(Outcome::Arrived(Box::new((self.plan, ws))));
                        }
                        self.deadline = self.plan.deadline(Stage::Tls);
                        self.plan.secure(stream)?
                    }
                    Ok(false) if now < until => {
                        self.step = Step::Tcp {
                            stream,
                            until,
                            rest,
                        };
                        return Ok(Outcome::Waiting(self));
                    }
                    Ok(false) => {
                        if rest.len() == 0 || now >= self.deadline {
                            return Err(Error::Timeout(Stage::Connect));
                        }
                        drop(stream);
                        next_address(rest, self.deadline, io::ErrorKind::TimedOut.into(), place)
                    }
                    Err(error) => {
                        drop(stream);
                        next_address(rest, self.deadline, error, place)
                    }
                },
                #[cfg(feature = "tls")]
                Step::Tls {
                    mut stream,
                    mut session,
                } => {
                    shake_hands(&mut stream, &mut session)?;
                    if !session.is_handshaking() {
                        let ws = self.plan.client(stream)?.with_tls(session);
                        return Ok(Outcome::Arrived(Box::new((self.plan, ws))));
                    }
                    self.step = Step::Tls { stream, session };
                    if now >= self.deadline {
                        return Err(Error::Timeout(Stage::Tls));
                    }
                    return Ok(Outcome::Waiting(self));
                }
            };
        }
    }

    fn in_time(&self, now: Instant, stage: Stage) -> Result<(), Error> {
        if now >= self.deadline {
            return Err(Error::Timeout(stage));
        }
        Ok(())
    }
}

impl Plan {
    fn config(&self) -> &Arc<Config> {
        self.options.config()
    }

    fn tune(&self, stream: &TcpStream) {
        stream.tune(self.config());
    }

    fn client(&self, stream: TcpStream) -> Result<WebSocket<Socket>, Error> {
        let request = self.options.request(&self.target, self.is_trusted)?;
        websocket::client(Socket::Tcp(stream), &request, Arc::clone(self.config()))
    }

    #[cfg(feature = "tls")]
    fn secure(&self, stream: TcpStream) -> Result<Step, Error> {
        let name = tls::server_name(&self.target)?;
        let session = TlsSession::client(self.options.tls_config()?, name)?;
        Ok(Step::Tls { stream, session })
    }

    #[cfg(not(feature = "tls"))]
    fn secure(&self, _: TcpStream) -> Result<Step, Error> {
        Err(wspulse_drive::UrlError::Tls.into())
    }
}

/// Begins to connect to the next address; after the last one, `error` says why.
fn next_address(
    mut rest: vec::IntoIter<SocketAddr>,
    deadline: Instant,
    mut error: io::Error,
    place: Place<'_>,
) -> Step {
    while let Some(address) = rest.next() {
        match begin(address, place) {
            Ok(stream) => {
                let now = Instant::now();
                let left = deadline.saturating_duration_since(now);
                let share = u32::try_from(rest.len() + 1).unwrap_or(u32::MAX);
                let until = after_by(now, left / share);
                return Step::Tcp {
                    stream,
                    until,
                    rest,
                };
            }
            Err(failure) => error = failure,
        }
    }
    Step::Failed(error.into())
}

fn begin(address: SocketAddr, place: Place<'_>) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    let interests = Interest::READABLE | Interest::WRITABLE;
    place
        .registry
        .register(&mut stream, place.token, interests)?;
    Ok(stream)
}

fn is_connected(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        // What some systems say of a connection on its way.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(false),
        Err(error) => Err(error),
    }
}

/// Shakes hands as far as that goes without waiting.
#[cfg(feature = "tls")]
fn shake_hands(stream: &mut TcpStream, session: &mut TlsSession) -> Result<(), Error> {
    match session.flush(stream) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        flushed => flushed?,
    }
    // Nobody has asked anything yet, so that there is nothing to read but the handshake.
    loop {
        match session.read(stream, &mut [0]) {
            Ok(0) => return Err(Error::Io(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => {
                return Err(Error::Io(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the server spoke before it was asked",
                )));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}
