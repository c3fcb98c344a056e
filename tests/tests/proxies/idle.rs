//! Connections on which nobody says anything, behind a proxy that gives up after 2 s.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Cause, Initiator, Role};
use wspulse_tests::kit::{ms, ping, with_heartbeat};
use wspulse_tests::net::{End, Hall, Job, Report, Script, Subject, subjects};

/// The idle timeout in both configurations.
const IDLE_TIMEOUT: Duration = ms(2_000);

/// How long a silent connection is watched, which should end long before.
const LONG_ENOUGH: Duration = ms(8_000);

/// A connection through a proxy, with the same adapter at both ends.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) subject: &'static dyn Subject,
    /// Who pings each second, if anybody does.
    pub(crate) pings: Option<Role>,
    /// Where the server is.
    pub(crate) address: SocketAddr,
    listener: TcpListener,
}

/// Each adapter, silent and with either end pinging.
pub(crate) fn cases() -> io::Result<Vec<Case>> {
    let mut cases = Vec::new();
    for pings in [None, Some(Role::Client), Some(Role::Server)] {
        for subject in subjects() {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            cases.push(Case {
                subject,
                pings,
                address: listener.local_addr()?,
                listener,
            });
        }
    }
    Ok(cases)
}

impl Case {
    pub(crate) fn scene(&self) -> &'static str {
        match self.pings {
            None => "silent",
            Some(Role::Client) => "client-pings",
            Some(Role::Server) => "server-pings",
        }
    }

    /// How long a connection has to live that pings.
    fn window(&self) -> Duration {
        match self.subject.name() {
            "tokio" => ms(30_000),
            _ => ms(10_000),
        }
    }

    fn job(&self, role: Role) -> Job {
        let heartbeat = match self.pings {
            Some(pings) if pings == role => ping(1_000, 5_000),
            _ => HeartbeatConfig::off(),
        };
        let window = match (self.pings, role) {
            (None, _) => LONG_ENOUGH,
            (Some(_), Role::Client) => self.window(),
            // It sees the client leave.
            (Some(_), Role::Server) => self.window() + ms(5_000),
        };
        Job {
            config: with_heartbeat(heartbeat),
            tls: None,
            script: Script::Read,
            window,
        }
    }

    pub(crate) fn play(&self, proxy: SocketAddr) -> Result<String, String> {
        let listener = self.listener.try_clone().map_err(|e| e.to_string())?;
        let hall = Hall::new(listener, 1);
        let client = thread::scope(|scope| {
            scope.spawn(|| self.subject.serve(&hall, &self.job(Role::Server)));
            let client = self.subject.connect(proxy, &self.job(Role::Client));
            if client.opened.is_none() {
                // The server may wait for its client still.
                let _ = TcpStream::connect(self.address);
            }
            client
        });
        let server = hall.take_reports().pop().ok_or("no report of the server")?;
        let figure = format!("client: {}; server: {}", told(&client), told(&server));
        let is_as_it_should = match self.pings {
            None => [&client, &server].into_iter().all(was_cut_by_the_proxy),
            Some(role) => {
                let pinger = if role == Role::Client {
                    &client
                } else {
                    &server
                };
                lived(&client, &server) && was_answered(pinger, self.window())
            }
        };
        if is_as_it_should {
            Ok(figure)
        } else {
            Err(figure)
        }
    }
}

/// The proxy ended the TCP connection when its time was over, without a word of WebSocket. nginx
/// ends both connections in order, and HAProxy its client's; its server's it resets, which mio's
/// event loop tells as the error that it is.
fn was_cut_by_the_proxy(report: &Report) -> bool {
    let is_typed = match &report.end {
        End::Closed(closed) => {
            closed.cause == Cause::Eof && closed.initiator == Initiator::Peer && !closed.clean
        }
        End::Failed(error) => error.starts_with("Connection reset by peer"),
        End::Alive(_) => false,
    };
    // Its clock began with the handshake's last byte.
    is_typed && report.open_for() + ms(200) > IDLE_TIMEOUT
}

/// The client left when its window was over, and that was what the server saw.
fn lived(client: &Report, server: &Report) -> bool {
    let sees_it_leave = matches!(&server.end, End::Closed(closed) if closed.cause == Cause::Eof);
    let is_alive = matches!(client.end, End::Alive(_));
    is_alive && sees_it_leave && server.open_for() + ms(500) > client.open_for()
}

/// Each second there was a ping, and each but the last has its pong.
fn was_answered(pinger: &Report, window: Duration) -> bool {
    let numbers = match &pinger.end {
        End::Alive(snapshot) => snapshot.heartbeat,
        End::Closed(closed) => closed.snapshot.heartbeat,
        End::Failed(_) => return false,
    };
    let expected = u32::try_from(window.as_secs()).unwrap_or(u32::MAX);
    let is_steady = numbers.pings + 3 >= expected && numbers.pings <= expected + 3;
    is_steady && numbers.answered + 1 >= numbers.pings && numbers.lost == 0
}

fn told(report: &Report) -> String {
    let numbers = match &report.end {
        End::Alive(snapshot) => Some(snapshot.heartbeat),
        End::Closed(closed) => Some(closed.snapshot.heartbeat),
        End::Failed(_) => None,
    };
    let pings = numbers.map_or(String::new(), |numbers| {
        format!(", {} pings, {} answered", numbers.pings, numbers.answered)
    });
    let open_for = report.open_for().as_millis();
    format!("{} after {open_for} ms{pings}", report.end)
}
