//! Round trips to a WebSocket server.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpStream;
use wspulse_core::handshake::Response;
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{CloseCode, Config, Event, State};
use wspulse_drive::without_secrets;
use wspulse_tokio::{ConnectOptions, Error, MaybeTls, WebSocket};

use crate::cause::Why;
use crate::output::{Output, json_millis, millis};
use crate::{Failure, args, ending, stop, tls};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Ends after --count pings or with Ctrl-C, and prints what came of them. A server that ends the
connection in another way than by answering our Close is noted on standard error; it was measured
all the same.

Examples:
  wspulse ping ws://127.0.0.1:9001/
  wspulse ping ws://127.0.0.1:9001/ --count 5 --interval 200ms
  wspulse ping wss://127.0.0.1:9001/ --ca ca.pem
  wspulse ping ws://127.0.0.1:9001/ --count 1 --timeout 500ms --json

Exit codes:
  0  pongs came back
  1  none did, or the connection could not be made or was lost before the last ping had its time
  2  the command line makes no sense")]
pub(crate) struct Options {
    /// A ws:// or wss:// URL
    url: String,

    /// Trust the certificates in this PEM file, and no others; the server's own may be among them
    #[arg(long, value_name = "PEM")]
    ca: Option<PathBuf>,

    /// Stop after this many pings; without it, go on until Ctrl-C
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// The time from one ping to the next
    #[arg(long, short, value_name = "D", default_value = "1s", value_parser = args::duration)]
    interval: Duration,

    /// How long to wait for the connection, and for each pong
    #[arg(long, short, value_name = "D", default_value = "5s", value_parser = args::duration)]
    timeout: Duration,
}

/// Pings until it is enough.
pub(crate) async fn run(options: Options, output: Output) -> Result<(), Failure> {
    let config = Config::builder()
        .heartbeat(HeartbeatConfig::off())
        .handshake_timeout(options.timeout)
        .close_timeout(options.timeout.min(Duration::from_secs(2)))
        .build()
        .map_err(Failure::usage)?;
    let connect = ConnectOptions::new(config)
        .lookup_timeout(options.timeout)
        .connect_timeout(options.timeout)
        .tls_timeout(options.timeout);
    let connect = tls::client(connect, options.ca.as_deref())?;
    let stop = stop::requested().map_err(Failure::failed)?;
    tokio::pin!(stop);
    let connected = tokio::select! {
        connected = wspulse_tokio::connect(&options.url, connect) => connected,
        () = &mut stop => return Err(Failure::interrupted()),
    };
    let mut ws = connected.map_err(|error| Failure::connecting(&options.url, &error))?;
    let peer = ws
        .get_ref()
        .get_ref()
        .peer_addr()
        .map_err(Failure::failed)?
        .to_string();
    let url = without_secrets(&options.url);
    let response = ws.response();
    output.line(
        format_args!("PING {url} ({peer})"),
        &json!({
            "event": "open",
            "url": url,
            "peer": peer,
            "subprotocol": response.and_then(Response::subprotocol),
            "deflate": response.is_some_and(|response| response.deflate().is_some()),
        }),
    );

    let mut session = Session::new(&options, output, &url, peer).map_err(Failure::failed)?;
    let end = session.run(&mut ws, stop).await;
    // The server may take long to end the connection, which changes nothing about the numbers.
    session.print_statistics();
    end.map_err(|error| {
        let mut why = Why::end(&error, None);
        why.text = format!("{url}: {}", why.text);
        Failure::Failed(why)
    })?;
    let closed = ws.close(CloseCode::NORMAL, "").await;
    if session.round_trips.is_empty() {
        return Err(Failure::because("no-pong", "no pong came back"));
    }
    // The server was measured. How it ends after our Close changes nothing about that.
    if let Err(error) = closed {
        ending::note(output, &error);
    }
    Ok(())
}

struct Session<'a> {
    options: &'a Options,
    output: Output,
    url: &'a str,
    peer: String,
    /// Tells our pings' pongs from others.
    nonce: [u8; 8],
    began: Instant,
    sent: u64,
    waiting: BTreeMap<u64, Instant>,
    round_trips: Vec<Duration>,
    /// Nobody reads standard output any more.
    is_unread: bool,
}

impl<'a> Session<'a> {
    fn new(
        options: &'a Options,
        output: Output,
        url: &'a str,
        peer: String,
    ) -> Result<Self, getrandom::Error> {
        let mut nonce = [0; 8];
        getrandom::fill(&mut nonce)?;
        Ok(Self {
            options,
            output,
            url,
            peer,
            nonce,
            began: Instant::now(),
            sent: 0,
            waiting: BTreeMap::new(),
            round_trips: Vec::new(),
            is_unread: false,
        })
    }

    async fn run(
        &mut self,
        ws: &mut WebSocket<MaybeTls<TcpStream>>,
        mut stop: impl Future<Output = ()> + Unpin,
    ) -> Result<(), Error> {
        let mut ticks = tokio::time::interval(self.options.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let is_last = self.options.count.is_some_and(|count| self.sent >= count);
            if is_last && self.waiting.is_empty() {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = &mut stop => return Ok(()),
                event = ws.next_event() => match event {
                    Some(Event::Pong(payload)) => self.handle_pong(&payload),
                    Some(Event::Closed(closed)) => return Err(Error::Closed(closed)),
                    None => return Err(Error::NotOpen),
                    Some(_) => {}
                },
                () = tokio::time::sleep_until(self.next_loss()) => self.handle_loss(),
                // A connection that is closing takes no pings: its end is an event, which comes
                // with the server's reason.
                _ = ticks.tick(), if !is_last && ws.state() == State::Open => {
                    self.sent += 1;
                    self.waiting.insert(self.sent, Instant::now());
                    ws.ping(&[self.nonce, self.sent.to_be_bytes()].concat()).await?;
                }
            }
            if self.is_unread {
                return Ok(());
            }
        }
    }

    fn handle_pong(&mut self, payload: &[u8]) {
        let Some((nonce, number)) = payload.split_first_chunk() else {
            return;
        };
        let Ok(number) = number.try_into().map(u64::from_be_bytes) else {
            return;
        };
        if *nonce != self.nonce {
            return;
        }
        let Some(sent_at) = self.waiting.remove(&number) else {
            return;
        };
        let round_trip = sent_at.elapsed();
        self.round_trips.push(round_trip);
        let (peer, time) = (&self.peer, millis(round_trip));
        self.tell(
            format!("pong from {peer}: seq={number} time={time}"),
            &json!({ "event": "pong", "seq": number, "rtt_ms": json_millis(round_trip) }),
        );
    }

    /// When the oldest ping that waits is lost.
    fn next_loss(&self) -> tokio::time::Instant {
        let far = || Instant::now() + Duration::from_secs(86_400);
        let lost_at = self
            .waiting
            .first_key_value()
            .and_then(|(_, sent_at)| sent_at.checked_add(self.options.timeout));
        lost_at.unwrap_or_else(far).into()
    }

    fn handle_loss(&mut self) {
        let Some((number, _)) = self.waiting.pop_first() else {
            return;
        };
        let timeout = self.options.timeout;
        self.tell(
            format!("no pong within {timeout:?}: seq={number}"),
            &json!({ "event": "lost", "seq": number }),
        );
    }

    fn tell(&mut self, text: String, object: &Value) {
        self.is_unread |= self.output.try_line(text, object).is_err();
    }

    fn print_statistics(&self) {
        let received = self.round_trips.len() as u64;
        let lost = self.sent.saturating_sub(received);
        let percent = 100.0 * lost as f64 / self.sent.max(1) as f64;
        let summary = summary(&self.round_trips);
        let [min, avg, max, mdev] = summary.map(json_millis);
        self.output
            .text(format_args!("--- {} ping statistics ---", self.url));
        self.output.line(
            format_args!(
                "{} sent, {received} received, {lost} lost ({percent:.0}%), time {:.0} ms",
                self.sent,
                self.began.elapsed().as_secs_f64() * 1e3,
            ),
            &json!({
                "event": "statistics",
                "sent": self.sent,
                "received": received,
                "lost": lost,
                "min_ms": min,
                "avg_ms": avg,
                "max_ms": max,
                "mdev_ms": mdev,
            }),
        );
        if received > 0 {
            let [min, avg, max, mdev] = summary.map(|time| time.as_secs_f64() * 1e3);
            self.output.text(format_args!(
                "rtt min/avg/max/mdev = {min:.3}/{avg:.3}/{max:.3}/{mdev:.3} ms"
            ));
        }
    }
}

/// The least, the mean, the greatest, and the standard deviation, as ping(8) computes them.
fn summary(round_trips: &[Duration]) -> [Duration; 4] {
    let count = round_trips.len().max(1) as f64;
    let mean = round_trips.iter().map(Duration::as_secs_f64).sum::<f64>() / count;
    let squares = round_trips
        .iter()
        .map(|time| time.as_secs_f64().powi(2))
        .sum::<f64>()
        / count;
    let deviation = (squares - mean * mean).max(0.0).sqrt();
    let min = round_trips.iter().min().copied().unwrap_or_default();
    let max = round_trips.iter().max().copied().unwrap_or_default();
    [
        min,
        Duration::from_secs_f64(mean),
        max,
        Duration::from_secs_f64(deviation),
    ]
}

#[cfg(test)]
mod tests {
    use super::{Duration, summary};

    #[test]
    fn the_summary_is_that_of_ping() {
        let millis = Duration::from_millis;
        let times = [
            millis(2),
            millis(4),
            millis(4),
            millis(4),
            millis(5),
            millis(5),
            millis(7),
            millis(9),
        ];
        let [min, avg, max, mdev] = summary(&times).map(|time| time.as_secs_f64() * 1e3);
        assert_eq!((min, avg, max), (2.0, 5.0, 9.0));
        assert!((mdev - 2.0).abs() < 1e-3, "{mdev}");
        assert_eq!(summary(&[]), [Duration::ZERO; 4]);
    }
}
