//! How a dead peer is noticed: a client and a server on loopback, and between them a relay that
//! falls silent.

mod explain;
mod judge;
mod lateness;
mod relay;
mod timeline;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use wspulse_core::backoff::{Backoff, BackoffConfig, Decision, Outcome};
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Cause, CloseCode, Closed, Config, Instant};
use wspulse_tokio::{MaybeTls, WebSocket};

use crate::output::{Output, json_millis, millis};
use crate::{Failure, args, stop};
use explain::Ticker;
use judge::{Death, MOMENT, SLACK, WAKEUPS};
use lateness::Lateness;
use relay::Relay;
use timeline::{Claim, Timeline, seconds, verdict_mark};
use watch::{Observer, Sight, Sighting};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A client and a server talk through a relay, all in this program and on loopback. They live through
a quiet phase on pings alone. Then the relay swallows every byte in both directions and closes
nothing. Each end first suspects the other, then gives it up: at most interval + timeout after its
last byte. The client waits, connects again and closes cleanly.

The demonstration measures how late this machine runs it, and adds only that to a bound (and 50 ms
for what it cannot measure). So a busy machine fails no step, and hides no missed bound.

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
pub(crate) fn run(options: &Options, output: Output) -> Result<(), Failure> {
    // One thread runs both ends, the relay and the clock that tells how late the thread is.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::failed)?;
    let (stop, stopped) = oneshot::channel();
    stop::on_request(move || {
        let _ = stop.send(());
    })
    .map_err(Failure::failed)?;
    runtime.block_on(show(options, output, stopped))
}

async fn show(
    options: &Options,
    output: Output,
    stopped: oneshot::Receiver<()>,
) -> Result<(), Failure> {
    let heartbeat = HeartbeatConfig::ping(options.interval, options.timeout);
    let config = Config::builder()
        .heartbeat(heartbeat)
        .build()
        .map_err(Failure::usage)?;
    let timeline = Timeline::new(output);
    let mut client = None;
    let finished = tokio::select! {
        finished = Demo::start(options, Arc::new(config), &timeline, &mut client) => finished,
        _ = stopped => Err(Failure::because("interrupted", "interrupted")),
    };
    if let Err(failure) = finished {
        if let Some(mut client) = client.filter(|client| client.closed().is_none()) {
            let _ = tokio::time::timeout(MOMENT, client.close(CloseCode::GOING_AWAY, "")).await;
        }
        return Err(failure);
    }
    let (kept, broken) = timeline.score();
    let took = timeline.origin.elapsed();
    let (_, style) = verdict_mark(broken == 0);
    let summary = match broken {
        0 => format!("{style}All {kept} steps happened inside their bounds{style:#}"),
        _ => format!("{style}{broken} of {} steps FAILED{style:#}", kept + broken),
    };
    let fields = json!({
        "at_ms": json_millis(took),
        "who": "demo",
        "event": "summary",
        "kept": kept,
        "broken": broken,
        "ok": broken == 0,
    });
    output.styled_line(format_args!("\n{summary}, in {}.", seconds(took)), &fields);
    if broken > 0 {
        return Err(Failure::failed("not every step happened inside its bound"));
    }
    output.styled_text(explain::next(options.interval, options.timeout));
    Ok(())
}

/// The stage: the parties, and what they saw.
struct Demo<'a> {
    options: &'a Options,
    config: Arc<Config>,
    timeline: &'a Timeline,
    lateness: Lateness,
    relay: Relay,
    observer: Observer,
    sightings: mpsc::UnboundedReceiver<Sighting>,
    bound: Duration,
    /// Since when each end suspects its peer.
    client_suspects: Option<Duration>,
    server_suspects: Option<Duration>,
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
             last byte.\n",
            seconds(options.interval),
            seconds(options.timeout),
            seconds(bound),
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
            lateness: Lateness::measure(origin),
            relay,
            observer: observer("client"),
            sightings,
            bound,
            client_suspects: None,
            server_suspects: None,
        };
        demo.play(client).await
    }

    async fn play(
        &mut self,
        client: &mut Option<WebSocket<MaybeTls<TcpStream>>>,
    ) -> Result<(), Failure> {
        let mut backoff = self.new_backoff()?;
        let generation = backoff.begin(self.now());
        let began = self.elapsed();
        let ws = client.insert(self.connect().await?);
        let opened = self.elapsed();
        self.check_moment("client", "open", began, true, |took| {
            format!("is connected after {took}")
        });
        let ticker = Ticker {
            opened,
            interval: self.options.interval,
            timeout: self.options.timeout,
        };
        let _ = backoff.handle_open(self.now(), generation);
        self.talk(ws, "hello").await?;
        self.keep_quiet(ws, ticker).await?;
        let code = self.lose_the_peer(ws, ticker).await?;

        let lost = self.elapsed();
        let outcome = Outcome::Closed { code };
        let decision = backoff.handle_closed(self.now(), generation, outcome);
        let Ok(Decision::Retry { at }) = decision else {
            return Err(Failure::failed("the backoff gave up after one connection"));
        };
        let delay = self.wait_out(at).await;
        let generation = backoff.begin(self.now());
        let ws = client.insert(self.connect().await?);
        self.check_return(lost, delay);
        let _ = backoff.handle_open(self.now(), generation);
        self.talk(ws, "hello again").await?;
        self.part(ws).await
    }

    async fn connect(&mut self) -> Result<WebSocket<MaybeTls<TcpStream>>, Failure> {
        let url = format!("ws://{}/", self.relay.address);
        let connecting = wspulse_tokio::connect(&url, Arc::clone(&self.config));
        let ws = tokio::time::timeout(PATIENCE, connecting).await;
        ws.map_err(Failure::failed)?.map_err(Failure::failed)
    }

    /// One message there and back.
    async fn talk(
        &mut self,
        ws: &mut WebSocket<MaybeTls<TcpStream>>,
        text: &str,
    ) -> Result<(), Failure> {
        let began = self.elapsed();
        ws.send(text).await.map_err(Failure::failed)?;
        let answer = tokio::time::timeout(PATIENCE, watch::watch(ws, &mut self.observer)).await;
        let answer = answer.map_err(Failure::failed)?;
        let came_back = answer.is_some_and(|answer| answer.as_text() == Some(text));
        self.show_sightings();
        self.check_moment("client", "echo", began, came_back, |took| {
            format!("says {text:?} and hears it {took} later")
        });
        Ok(())
    }

    /// Nothing is said for a while: pings keep the connection, and show that it lives.
    async fn keep_quiet(
        &mut self,
        ws: &mut WebSocket<MaybeTls<TcpStream>>,
        ticker: Ticker,
    ) -> Result<(), Failure> {
        let quiet = self.options.quiet;
        let text = format!("nobody says anything for {}", seconds(quiet));
        self.timeline.note(
            "demo",
            "quiet",
            &text,
            json!({ "for_ms": json_millis(quiet) }),
        );
        let began = self.elapsed();
        let until = self.timeline.origin + began + quiet;
        let (mut of_client, mut of_server) = (0, 0);
        loop {
            let sighting = tokio::select! {
                biased;
                sighting = self.sightings.recv() => sighting,
                message = watch::watch(ws, &mut self.observer) => {
                    self.show_sightings();
                    return Err(self.broken_quiet(message.map(|message| format!("{message:?}"))));
                }
                () = tokio::time::sleep_until(until) => break,
            };
            let Some(sighting) = sighting else { continue };
            match (sighting.who, &sighting.what) {
                ("client", Sight::Pong { number, .. }) => of_client = *number,
                (_, Sight::Pong { number, .. }) => of_server = *number,
                _ => {}
            }
            let is_end = matches!(sighting.what, Sight::Closed(_));
            self.show(&sighting);
            if is_end {
                return Err(self.broken_quiet(None));
            }
        }
        let ended = self.elapsed();
        self.check_alive("client", began, ended, of_client);
        self.check_alive("server", began, ended, of_server);
        self.timeline
            .explain(&explain::quiet(ticker, began, ended, of_client + of_server));
        Ok(())
    }

    /// Nothing that happened in the quiet may end it.
    fn broken_quiet(&self, message: Option<String>) -> Failure {
        let text = match message {
            Some(message) => format!("heard {message} in the quiet"),
            None => "ended in the quiet, although both ends were there".to_owned(),
        };
        let claim = Claim {
            who: "demo",
            event: "alive",
            text,
            fields: json!({}),
        };
        self.timeline.check(self.elapsed(), false, claim);
        Failure::failed("a connection whose ends both live must live through the quiet")
    }

    /// This end was not left without a byte for longer than a dead peer may take to be found.
    fn check_alive(&self, who: &str, from: Duration, to: Duration, pongs: u32) {
        let silences = self.relay.passed_to(who).silences(from, to);
        let measured = silences.into_iter().map(|(from, to)| {
            let late = self.lateness.of(WAKEUPS, from, to);
            let silence = to.saturating_sub(from);
            (silence.saturating_sub(late), silence, late)
        });
        // The worst beyond what the machine was late is judged and shown.
        let (_, silence, late) = measured.max().unwrap_or_default();
        let peer = other(who);
        let text = format!(
            "is open after the quiet, and heard the {peer} at least every {} of {} promised{}",
            seconds(silence),
            seconds(self.bound),
            excuse(silence, self.bound, late),
        );
        let fields = json!({
            "longest_silence_ms": json_millis(silence),
            "bound_ms": json_millis(self.bound),
            "late_ms": json_millis(late),
            "pongs": pongs,
        });
        let claim = Claim {
            who,
            event: "alive",
            text,
            fields,
        };
        let is_kept = judge::is_within(silence, self.bound, late);
        self.timeline.check(to, is_kept, claim);
    }

    /// The relay falls silent, and each end finds out.
    async fn lose_the_peer(
        &mut self,
        ws: &mut WebSocket<MaybeTls<TcpStream>>,
        ticker: Ticker,
    ) -> Result<u16, Failure> {
        self.show_sightings();
        self.relay.go_silent();
        let silent = self.elapsed();
        self.timeline.note(
            "relay",
            "silent",
            "falls silent: bytes vanish both ways, nothing is closed",
            json!({}),
        );
        let patience = self
            .bound
            .saturating_add(self.options.timeout)
            .saturating_add(PATIENCE);
        let deadline = tokio::time::sleep(patience);
        tokio::pin!(deadline);
        let mut code = None;
        let mut verdicts = 0;
        let mut is_explained = false;
        while verdicts < 2 {
            let sighting = tokio::select! {
                biased;
                sighting = self.sightings.recv() => sighting,
                Some(_) = watch::watch(ws, &mut self.observer) => None,
                () = &mut deadline => {
                    return Err(Failure::failed("the silence was never noticed"));
                }
            };
            let Some(sighting) = sighting else { continue };
            match &sighting.what {
                Sight::Suspect => {
                    self.show_suspicion(&sighting);
                    if !is_explained {
                        let text = explain::suspicion(ticker, silent, sighting.at);
                        self.timeline.explain(&text);
                        is_explained = true;
                    }
                }
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
        self.timeline.explain(explain::verdicts());
        code.ok_or_else(|| Failure::failed("the client never gave up"))
    }

    /// How long `sighting` came after the last byte that the relay passed to that end.
    fn silence(&self, sighting: &Sighting) -> Duration {
        let last_byte = self.relay.passed_to(sighting.who).last();
        sighting.at.saturating_sub(last_byte)
    }

    fn show_suspicion(&mut self, sighting: &Sighting) {
        self.track(sighting);
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

    /// A peer is found dead in time, not before its ping had its time, and not without a warning.
    fn check_verdict(&mut self, sighting: &Sighting, closed: &Closed) {
        let suspected = *self.suspects(sighting.who);
        let silence = self.silence(sighting);
        let last_byte = sighting.at.saturating_sub(silence);
        // A suspicious end has pinged, and sends nothing more until it gives up or is held up.
        let pinged = suspected.unwrap_or(sighting.at);
        let pinged = self.relay.came_from(sighting.who).last_before(pinged);
        let death = Death {
            interval: self.options.interval,
            timeout: self.options.timeout,
            silence,
            waited: sighting.at.saturating_sub(pinged),
            warning: suspected.map(|at| sighting.at.saturating_sub(at)),
            late: self.lateness.of(WAKEUPS, last_byte, sighting.at),
            longest_delay: self.lateness.longest(last_byte, sighting.at),
        };
        let (late, grace) = (death.late, death.grace());
        let is_dead = matches!(closed.cause, Cause::Dead(_));
        let text = format!(
            "{closed}; {} of {} promised{}, {}",
            seconds(silence),
            seconds(self.bound),
            excuse(silence, self.bound, late + grace),
            match death.warning {
                Some(warning) => format!("{} after the suspicion", seconds(warning)),
                None => "without a suspicion before".into(),
            },
        );
        self.timeline.check(
            sighting.at,
            is_dead && death.is_prompt() && death.is_fair() && death.is_warned(),
            Claim {
                who: sighting.who,
                event: "verdict",
                text,
                fields: json!({
                    "reason": closed.cause.to_string(),
                    "silence_ms": json_millis(silence),
                    "bound_ms": json_millis(self.bound),
                    "slack_ms": json_millis(SLACK),
                    "late_ms": json_millis(late),
                    "grace_ms": json_millis(grace),
                    "waited_ms": json_millis(death.waited),
                    "warning_ms": death.warning.map(json_millis),
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
    async fn wait_out(&mut self, at: Instant) -> Duration {
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
        self.timeline.explain(explain::backoff());
        tokio::time::sleep(delay).await;
        delay
    }

    /// The client is back, not before its delay was over and not long after the longest one.
    fn check_return(&self, lost: Duration, delay: Duration) {
        let now = self.elapsed();
        let away = now.saturating_sub(lost);
        let longest = self.options.backoff;
        let late = self.lateness.total(lost, now);
        let is_kept = judge::is_return(delay, away, longest, late);
        let claim = Claim {
            who: "client",
            event: "open",
            text: format!(
                "is connected again after {} of {} promised{}",
                seconds(away),
                seconds(longest),
                excuse(away, longest, late),
            ),
            fields: json!({
                "away_ms": json_millis(away),
                "bound_ms": json_millis(longest),
                "late_ms": json_millis(late),
            }),
        };
        self.timeline.check(now, is_kept, claim);
    }

    /// The closing handshake.
    async fn part(&mut self, ws: &mut WebSocket<MaybeTls<TcpStream>>) -> Result<(), Failure> {
        self.show_sightings();
        let began = self.elapsed();
        let closed = tokio::time::timeout(PATIENCE, ws.close(CloseCode::NORMAL, "bye")).await;
        closed.map_err(Failure::failed)?.map_err(Failure::failed)?;
        let is_clean = ws.closed().is_some_and(|closed| closed.clean);
        self.check_moment("client", "closed", began, is_clean, |took| {
            format!("closes cleanly within {took}")
        });
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

    /// Something that waits for nothing but this machine came to this end.
    fn check_moment(
        &self,
        who: &str,
        event: &str,
        began: Duration,
        is_right: bool,
        text: impl FnOnce(String) -> String,
    ) {
        let now = self.elapsed();
        let took = now.saturating_sub(began);
        let late = self.lateness.total(began, now);
        let text = text(millis(took));
        let text = match took > MOMENT {
            true => format!("{text}, on a machine that was {} late", seconds(late)),
            false => text,
        };
        let claim = Claim {
            who,
            event,
            text,
            fields: json!({ "took_ms": json_millis(took), "late_ms": json_millis(late) }),
        };
        let is_kept = is_right && judge::is_moment(took, late);
        self.timeline.check(now, is_kept, claim);
    }

    /// Shows what was seen up to now.
    fn show_sightings(&mut self) {
        while let Ok(sighting) = self.sightings.try_recv() {
            self.show(&sighting);
        }
    }

    fn show(&mut self, sighting: &Sighting) {
        self.track(sighting);
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

    /// Notes whether an end suspects its peer.
    fn track(&mut self, sighting: &Sighting) {
        let suspects = self.suspects(sighting.who);
        match sighting.what {
            Sight::Suspect => *suspects = Some(sighting.at),
            Sight::Open | Sight::Recovered => *suspects = None,
            _ => {}
        }
    }

    fn suspects(&mut self, who: &str) -> &mut Option<Duration> {
        match who {
            "client" => &mut self.client_suspects,
            _ => &mut self.server_suspects,
        }
    }

    fn elapsed(&self) -> Duration {
        self.timeline.origin.elapsed()
    }

    /// The timeline as the core's time.
    fn now(&self) -> Instant {
        Instant::ZERO.saturating_add(self.elapsed())
    }
}

/// What is said where a bound was kept only because the machine was late.
fn excuse(took: Duration, bound: Duration, late: Duration) -> String {
    if took <= bound + SLACK || late.is_zero() {
        return String::new();
    }
    format!(" and {} more for this late machine", seconds(late))
}

fn other(who: &str) -> &'static str {
    match who {
        "client" => "server",
        _ => "client",
    }
}

/// How long something that waits for nothing may take before the demonstration is given up, on the
/// slowest machine.
const PATIENCE: Duration = Duration::from_secs(10);
