//! How a dead peer is noticed: a client and a server on loopback, and between them a relay that
//! falls silent.

mod relay;
mod timeline;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use wspulse_core::backoff::{Backoff, BackoffConfig, Decision, Outcome};
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Cause, CloseCode, Closed, Config, Instant};
use wspulse_tokio::{MaybeTls, WebSocket};

use crate::output::{Output, json_millis, millis};
use crate::{Failure, args, stop};
use relay::Relay;
use timeline::{Claim, SLACK, Timeline, seconds};
use watch::{Observer, Sight, Sighting};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A client and a server talk through a relay, all in this program and on loopback. They live through
a quiet phase on pings alone. Then the relay swallows every byte in both directions, without
closing anything, and each end has to find out: at most interval + timeout after its last byte,
and 250 ms more for a busy machine. The client backs off, connects again and closes cleanly.

Examples:
  wspulse demo
  wspulse demo --interval 300ms --timeout 600ms --quiet 1s --backoff 500ms
  wspulse demo --json

Exit codes:
  0  every step happened inside its bound
  1  a step did not, or was interrupted
  2  the command line makes no sense")]
pub(crate) struct Options {
    /// Ping after this much silence
    #[arg(long, value_name = "D", default_value = "1s", value_parser = args::duration)]
    interval: Duration,

    /// Give the peer up this long after an unanswered ping
    #[arg(long, value_name = "D", default_value = "2s", value_parser = args::duration)]
    timeout: Duration,

    /// How long the quiet phase lasts
    #[arg(long, value_name = "D", default_value = "6s", value_parser = args::duration)]
    quiet: Duration,

    /// The longest wait before the client connects again
    #[arg(long, value_name = "D", default_value = "5s", value_parser = args::duration)]
    backoff: Duration,
}

/// Runs the demonstration, or closes the connection when the user has seen enough.
pub(crate) async fn run(options: Options, output: Output) -> Result<(), Failure> {
    let stop = stop::requested().map_err(Failure::failed)?;
    let heartbeat = HeartbeatConfig::ping(options.interval, options.timeout);
    let config = Config::builder()
        .heartbeat(heartbeat)
        .build()
        .map_err(Failure::usage)?;
    let timeline = Timeline::new(output);
    let mut client = None;
    let finished = tokio::select! {
        finished = Demo::start(&options, Arc::new(config), &timeline, &mut client) => finished,
        () = stop => Err(Failure::failed("interrupted")),
    };
    if let Err(failure) = finished {
        if let Some(mut client) = client.filter(|client| client.closed().is_none()) {
            let _ = tokio::time::timeout(SLACK, client.close(CloseCode::GOING_AWAY, "")).await;
        }
        return Err(failure);
    }
    let (kept, broken) = timeline.score();
    let took = timeline.origin.elapsed();
    let summary = match broken {
        0 => format!(
            "\nAll {kept} steps happened inside their bounds, in {}.",
            seconds(took)
        ),
        _ => format!(
            "\n{broken} of {} steps FAILED, in {}.",
            kept + broken,
            seconds(took)
        ),
    };
    let fields = json!({
        "at_ms": json_millis(took),
        "who": "demo",
        "event": "summary",
        "kept": kept,
        "broken": broken,
        "ok": broken == 0,
    });
    output.line(summary, &fields);
    match broken {
        0 => Ok(()),
        _ => Err(Failure::failed("not every step happened inside its bound")),
    }
}

/// The stage: who takes part, and what they saw.
struct Demo<'a> {
    options: &'a Options,
    config: Arc<Config>,
    timeline: &'a Timeline,
    relay: Relay,
    observer: Observer,
    sightings: mpsc::UnboundedReceiver<Sighting>,
    bound: Duration,
}

impl<'a> Demo<'a> {
    async fn start(
        options: &'a Options,
        config: Arc<Config>,
        timeline: &'a Timeline,
        client: &mut Option<WebSocket<MaybeTls<TcpStream>>>,
    ) -> Result<(), Failure> {
        let (sender, sightings) = mpsc::unbounded_channel();
        let origin = timeline.origin;
        let observer = |who| Observer {
            who,
            origin,
            sightings: sender.clone(),
            answered: 0,
        };
        let server = watch::serve(Arc::clone(&config), observer("server")).await;
        let server = server.map_err(Failure::failed)?;
        let relay = Relay::start(server, origin)
            .await
            .map_err(Failure::failed)?;
        let bound = options.interval.saturating_add(options.timeout);
        timeline.text(&format!(
            "Ping after {} of silence, dead {} after an unanswered ping: promised within {} of the \
             last byte\n(measured with {} ms of slack for a busy machine).\n",
            seconds(options.interval),
            seconds(options.timeout),
            seconds(bound),
            SLACK.as_millis(),
        ));
        timeline.note(
            "server",
            "listening",
            &format!("listens on {server}, behind a relay on {}", relay.address),
            json!({ "address": server.to_string(), "relay": relay.address.to_string() }),
        );
        let mut demo = Self {
            options,
            config,
            timeline,
            relay,
            observer: observer("client"),
            sightings,
            bound,
        };
        demo.play(client).await
    }

    async fn play(
        &mut self,
        client: &mut Option<WebSocket<MaybeTls<TcpStream>>>,
    ) -> Result<(), Failure> {
        let mut backoff = self.new_backoff()?;
        let generation = backoff.begin(self.now());
        let ws = client.insert(self.connect().await?);
        let _ = backoff.handle_open(self.now(), generation);
        self.talk(ws, "hello").await?;
        self.keep_quiet(ws).await?;
        let code = self.lose_the_peer(ws).await?;

        let outcome = Outcome::Closed { code };
        let decision = backoff.handle_closed(self.now(), generation, outcome);
        let Ok(Decision::Retry { at }) = decision else {
            return Err(Failure::failed("the backoff gave up after one connection"));
        };
        self.wait_out(at).await;
        let generation = backoff.begin(self.now());
        let ws = client.insert(self.connect().await?);
        let _ = backoff.handle_open(self.now(), generation);
        self.talk(ws, "hello again").await?;
        self.part(ws).await
    }

    async fn connect(&mut self) -> Result<WebSocket<MaybeTls<TcpStream>>, Failure> {
        let began = self.timeline.origin.elapsed();
        let url = format!("ws://{}/", self.relay.address);
        let connecting = wspulse_tokio::connect(&url, Arc::clone(&self.config));
        let ws = tokio::time::timeout(PATIENCE, connecting).await;
        let ws = ws.map_err(Failure::failed)?.map_err(Failure::failed)?;
        let took = self.timeline.origin.elapsed() - began;
        self.check(
            took <= SLACK,
            "client",
            "open",
            format!("is connected after {}", millis(took)),
        );
        Ok(ws)
    }

    /// One message there and back.
    async fn talk(
        &mut self,
        ws: &mut WebSocket<MaybeTls<TcpStream>>,
        text: &str,
    ) -> Result<(), Failure> {
        let began = self.timeline.origin.elapsed();
        ws.send(text).await.map_err(Failure::failed)?;
        let answer = tokio::time::timeout(PATIENCE, watch::watch(ws, &mut self.observer)).await;
        let answer = answer.map_err(Failure::failed)?;
        self.show_sightings();
        let took = self.timeline.origin.elapsed() - began;
        let came_back = answer.is_some_and(|answer| answer.as_text() == Some(text));
        let said = format!("says {text:?} and hears it {} later", millis(took));
        self.check(came_back && took <= SLACK, "client", "echo", said);
        Ok(())
    }

    /// Nothing is said for a while: pings keep the connection, and show that it lives.
    async fn keep_quiet(&mut self, ws: &mut WebSocket<MaybeTls<TcpStream>>) -> Result<(), Failure> {
        let quiet = self.options.quiet;
        let text = format!("nobody says anything for {}", seconds(quiet));
        self.timeline.note(
            "demo",
            "quiet",
            &text,
            json!({ "for_ms": json_millis(quiet) }),
        );
        let mut worries = 0;
        let until = tokio::time::Instant::now() + quiet;
        loop {
            let sighting = tokio::select! {
                biased;
                sighting = self.sightings.recv() => sighting,
                message = watch::watch(ws, &mut self.observer) => {
                    self.show_sightings();
                    return Err(Failure::Failed(format!("the quiet was broken by {message:?}")));
                }
                () = tokio::time::sleep_until(until) => break,
            };
            if let Some(sighting) = sighting {
                worries += u32::from(matches!(sighting.what, Sight::Suspect | Sight::Closed(_)));
                self.show(&sighting);
            }
        }
        let heartbeat = ws.snapshot().heartbeat;
        // Jitter and a first ping after half an interval aside, one ping an interval.
        let expected = (quiet.as_secs_f64() / self.bound.as_secs_f64()).floor() as u32;
        let is_alive = worries == 0 && heartbeat.answered >= expected;
        let text = format!(
            "is open after the quiet, pings answered: {}",
            heartbeat.answered
        );
        self.check(is_alive, "client", "alive", text);
        Ok(())
    }

    /// The relay falls silent, and each end finds out.
    async fn lose_the_peer(
        &mut self,
        ws: &mut WebSocket<MaybeTls<TcpStream>>,
    ) -> Result<u16, Failure> {
        self.relay.go_silent();
        self.timeline.note(
            "relay",
            "silent",
            "falls silent: bytes vanish both ways, nothing is closed",
            json!({}),
        );
        let patience = self.bound + SLACK + PATIENCE;
        let until = tokio::time::Instant::now() + patience;
        let mut code = None;
        let mut verdicts = 0;
        while verdicts < 2 {
            let sighting = tokio::select! {
                biased;
                sighting = self.sightings.recv() => sighting,
                Some(_) = watch::watch(ws, &mut self.observer) => None,
                () = tokio::time::sleep_until(until) => {
                    return Err(Failure::failed("the silence was never noticed"));
                }
            };
            let Some(sighting) = sighting else { continue };
            match &sighting.what {
                Sight::Suspect => self.show_suspicion(&sighting),
                Sight::Closed(closed) => {
                    verdicts += 1;
                    if sighting.who == "client" {
                        code = Some(closed.code().as_u16());
                    }
                    self.check_verdict(&sighting, closed);
                }
                _ => self.show(&sighting),
            }
        }
        code.ok_or_else(|| Failure::failed("the client never gave up"))
    }

    /// How long `sighting` came after the last byte that the relay passed to that end.
    fn silence(&self, sighting: &Sighting) -> Duration {
        let last_byte = match sighting.who {
            "client" => self.relay.last_to_client(),
            _ => self.relay.last_to_server(),
        };
        sighting.at.saturating_sub(last_byte)
    }

    fn show_suspicion(&self, sighting: &Sighting) {
        let silence = self.silence(sighting);
        self.timeline.note_at(
            sighting.at,
            sighting.who,
            "suspect",
            &format!(
                "suspects its peer, {} after the last byte",
                seconds(silence)
            ),
            json!({ "silence_ms": json_millis(silence) }),
        );
    }

    fn check_verdict(&self, sighting: &Sighting, closed: &Closed) {
        let silence = self.silence(sighting);
        let is_dead = matches!(closed.cause, Cause::Dead(_));
        let is_prompt = silence <= self.bound + SLACK;
        // Never before the ping had its time.
        let is_fair = silence >= self.options.timeout;
        self.timeline.check(
            sighting.at,
            is_dead && is_prompt && is_fair,
            Claim {
                who: sighting.who,
                event: "verdict",
                text: format!(
                    "{closed}; {} after the last byte, promised {}",
                    seconds(silence),
                    seconds(self.bound),
                ),
                fields: json!({
                    "reason": closed.cause.to_string(),
                    "silence_ms": json_millis(silence),
                    "bound_ms": json_millis(self.bound),
                    "slack_ms": json_millis(SLACK),
                }),
            },
        );
    }

    fn new_backoff(&self) -> Result<Backoff, Failure> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(Failure::failed)?;
        let config = BackoffConfig::default().first(self.options.backoff);
        Backoff::new(config, u64::from_ne_bytes(seed)).map_err(Failure::usage)
    }

    /// Sleeps until the client may connect again.
    async fn wait_out(&mut self, at: Instant) {
        let longest = self.options.backoff;
        let delay = at.saturating_duration_since(self.now());
        let text = format!(
            "waits {} before it connects again (at random, {} at most)",
            seconds(delay),
            seconds(longest),
        );
        self.timeline.note(
            "client",
            "backoff",
            &text,
            json!({
                "delay_ms": json_millis(delay),
                "longest_ms": json_millis(longest),
            }),
        );
        tokio::time::sleep(delay).await;
    }

    /// The closing handshake.
    async fn part(&mut self, ws: &mut WebSocket<MaybeTls<TcpStream>>) -> Result<(), Failure> {
        let began = self.timeline.origin.elapsed();
        let closed = tokio::time::timeout(PATIENCE, ws.close(CloseCode::NORMAL, "bye")).await;
        closed.map_err(Failure::failed)?.map_err(Failure::failed)?;
        let took = self.timeline.origin.elapsed() - began;
        let is_clean = ws.closed().is_some_and(|closed| closed.clean);
        let text = format!("closes cleanly within {}", millis(took));
        self.check(is_clean && took <= SLACK, "client", "closed", text);
        let server = async {
            loop {
                match self.sightings.recv().await {
                    Some(Sighting {
                        who: "server",
                        at,
                        what: Sight::Closed(closed),
                    }) => {
                        return Some((at, closed));
                    }
                    Some(sighting) => self.show(&sighting),
                    None => return None,
                }
            }
        };
        let Ok(Some((at, closed))) = tokio::time::timeout(PATIENCE, server).await else {
            return Err(Failure::failed("the server never saw the Close"));
        };
        self.timeline.check(
            at,
            closed.clean && closed.cause == Cause::Normal,
            Claim {
                who: "server",
                event: "closed",
                text: format!("{closed}"),
                fields: json!({ "reason": closed.cause.to_string() }),
            },
        );
        Ok(())
    }

    fn check(&self, is_kept: bool, who: &str, event: &str, text: String) {
        let at = self.timeline.origin.elapsed();
        self.timeline.check(
            at,
            is_kept,
            Claim {
                who,
                event,
                text,
                fields: json!({}),
            },
        );
    }

    /// Shows what was seen up to now.
    fn show_sightings(&mut self) {
        while let Ok(sighting) = self.sightings.try_recv() {
            self.show(&sighting);
        }
    }

    fn show(&self, sighting: &Sighting) {
        let (event, text, fields) = match &sighting.what {
            Sight::Open => ("open", "has a client".into(), json!({})),
            Sight::Message(message) => ("message", format!("hears {message:?}"), json!({})),
            Sight::Pong { number, rtt } => (
                "pong",
                format!("ping {number} answered in {}", millis(*rtt)),
                json!({ "number": number, "rtt_ms": json_millis(*rtt) }),
            ),
            Sight::Suspect => ("suspect", "suspects its peer".into(), json!({})),
            Sight::Recovered => ("recovered", "hears its peer again".into(), json!({})),
            Sight::Closed(closed) => (
                "closed",
                closed.to_string(),
                json!({ "reason": closed.cause.to_string() }),
            ),
        };
        self.timeline
            .note_at(sighting.at, sighting.who, event, &text, fields);
    }

    /// The timeline as the core's time.
    fn now(&self) -> Instant {
        Instant::ZERO.saturating_add(self.timeline.origin.elapsed())
    }
}

/// How long to wait for what should take a moment, before giving the demonstration up.
const PATIENCE: Duration = Duration::from_secs(2);
