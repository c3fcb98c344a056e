//! What each peer is put through, one function a column of the table.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Cause, CloseCode, Config, ConfigBuilder, Event, Initiator, Message};

use crate::link::{Fault, Line, Link};
use crate::peers::Peer;
#[cfg(feature = "deflate")]
use crate::peers::{Deflate, Side};
use crate::runtimes::{on_mio, on_std};
use crate::tap::{BINARY, CLOSE, PING, PONG, TEXT};

/// What stands in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Yes,
    /// The peer's interface cannot, for this reason.
    Cannot(&'static str),
    /// It failed, in this way.
    No(String),
}

/// The columns, in the order of [`cells`].
pub(crate) const COLUMNS: &[&str] = &[
    "text",
    "binary",
    "empty",
    "1 B to 16 MiB",
    "our fragments",
    "its fragments",
    #[cfg(feature = "deflate")]
    "compressed",
    "our ping",
    "its ping",
    "our close",
    "its close",
    "on std",
    "on mio",
    "idle, we ping",
    "idle, it pings",
];

/// Fills the row up to the last two cells.
pub(crate) async fn busy(peer: &Peer, link: &mut Link) -> Vec<Cell> {
    vec![
        cell(Ok(()), text(link)).await,
        cell(Ok(()), binary(link)).await,
        cell(Ok(()), empty(link)).await,
        cell(Ok(()), sizes(link)).await,
        cell(Ok(()), our_fragments(link)).await,
        cell(peer.fragments, its_fragments(link)).await,
        #[cfg(feature = "deflate")]
        compressed(peer, link).await,
        cell(Ok(()), our_ping(link)).await,
        cell(peer.ping, its_ping(peer, link)).await,
        cell(Ok(()), our_close(link)).await,
        cell(Ok(()), its_close(link)).await,
        cell(Ok(()), on_std(link)).await,
        cell(Ok(()), on_mio(link)).await,
    ]
}

/// Fills the last two cells, both at once: they only wait.
pub(crate) async fn idle(peer: &Peer, link: &mut Link) -> [Cell; 2] {
    let ours = HeartbeatConfig::ping(Duration::from_millis(200), Duration::from_secs(2));
    let ours = timeout(LIMIT, link.connection(built(config().heartbeat(ours)))).await;
    let theirs = built(config().heartbeat(HeartbeatConfig::off()));
    let theirs = timeout(LIMIT, link.connection(theirs)).await;
    let ours = async {
        let mut line = ours.map_err(|_| "cannot connect in time")??;
        silence(&mut line).await?;
        let counts = line
            .look
            .at(|wire| (wire.sent.count(PING), wire.received.count(PONG)));
        must(counts.0 >= 10 && counts.1 >= 10, || {
            format!("{} pings of ours, {} answered", counts.0, counts.1)
        })
    };
    let theirs = async {
        let mut line = theirs.map_err(|_| "cannot connect in time")??;
        silence(&mut line).await?;
        let counts = line
            .look
            .at(|wire| (wire.received.count(PING), wire.sent.count(PONG)));
        must(counts.0 >= 2 && counts.1 >= 2, || {
            format!("{} pings of the peer, {} answered", counts.0, counts.1)
        })
    };
    let (ours, theirs) = tokio::join!(cell(Ok(()), ours), cell(peer.keepalive, theirs));
    [ours, theirs]
}

async fn cell(
    ability: Result<(), &'static str>,
    case: impl Future<Output = Result<(), Fault>>,
) -> Cell {
    if let Err(reason) = ability {
        return Cell::Cannot(reason);
    }
    match timeout(LIMIT, case).await {
        Ok(Ok(())) => Cell::Yes,
        Ok(Err(fault)) => Cell::No(fault.to_string()),
        Err(_) => Cell::No(format!("not done after {} s", LIMIT.as_secs())),
    }
}

// ---- messages

async fn text(link: &mut Link) -> Result<(), Fault> {
    let mut line = link.connection(built(config())).await?;
    for text in ["hello", "\0", "Grüße, 時間, \u{10FFFF} and 🦀", "é\u{FEFF}"] {
        line.echo(text).await?;
    }
    settle(line).await
}

async fn binary(link: &mut Link) -> Result<(), Fault> {
    let mut line = link.connection(built(config())).await?;
    line.echo((0..=255).collect::<Vec<u8>>()).await?;
    line.echo(&[0xFF, 0xFE, 0xC0][..]).await?;
    settle(line).await
}

async fn empty(link: &mut Link) -> Result<(), Fault> {
    let mut line = link.connection(built(config())).await?;
    line.echo("").await?;
    line.echo(&[][..]).await?;
    line.echo("").await?;
    settle(line).await
}

async fn sizes(link: &mut Link) -> Result<(), Fault> {
    let mut line = link.connection(built(config())).await?;
    every_size(&mut line).await?;
    settle(line).await
}

async fn every_size(line: &mut Line) -> Result<(), Fault> {
    for size in [1, 125, 126, 65_535, 65_536, 1 << 20, 16 << 20] {
        line.echo(bytes(size)).await?;
        line.echo(letters(size)).await?;
    }
    Ok(())
}

// ---- fragments

async fn our_fragments(link: &mut Link) -> Result<(), Fault> {
    let mut line = link.connection(built(config())).await?;
    // Control frames may come in the middle of a message (RFC 6455 §5.4).
    line.ws.send_part("Grüße, ", false).await?;
    line.ws.send_part("", false).await?;
    line.ws.ping(b"between").await?;
    line.ws.send_part(letters(70_000), false).await?;
    line.ws.send_part("🦀", true).await?;
    let whole = format!("Grüße, {}🦀", letters(70_000));
    line.expect(&whole.into()).await?;
    must(line.pongs == [b"between"], || {
        format!("pongs: {:?}", line.pongs)
    })?;

    line.ws.send_part(&[1, 2, 3][..], false).await?;
    line.ws.send_part(&[][..], true).await?;
    line.expect(&(&[1, 2, 3][..]).into()).await?;

    let fragments = line.look.at(|wire| wire.sent.most_fragments());
    must(fragments >= 4, || {
        format!("at most {fragments} fragments were sent")
    })?;
    settle(line).await
}

async fn its_fragments(link: &mut Link) -> Result<(), Fault> {
    // A kind a connection, so that each has to come in fragments.
    let messages = [
        Message::from(bytes(256 << 10)),
        "Grüße 🦀 ".repeat(20_000).into(),
    ];
    for message in messages {
        let mut line = link.connection(built(config())).await?;
        line.ws.send("cmd:parts").await?;
        line.echo(message).await?;
        let fragments = line.look.at(|wire| wire.received.most_fragments());
        must(fragments >= 4, || {
            format!("at most {fragments} fragments came")
        })?;
        settle(line).await?;
    }
    Ok(())
}

// ---- compression

/// Compresses, with a peer that does; to the others it offers to, and they decline.
#[cfg(feature = "deflate")]
async fn compressed(peer: &Peer, link: &mut Link) -> Cell {
    match (peer.deflate, cell(Ok(()), agree(peer, link)).await) {
        (Deflate::Not(reason), Cell::Yes) => Cell::Cannot(reason),
        (_, cell) => cell,
    }
}

#[cfg(feature = "deflate")]
async fn agree(peer: &Peer, link: &mut Link) -> Result<(), Fault> {
    use wspulse_core::extension::deflate::DeflateConfig;

    let whole = DeflateConfig::DEFAULT.window_bits(15).threshold(0);
    let forgetful = DeflateConfig::DEFAULT
        .context_takeover(false)
        .peer_context_takeover(false);
    let narrow = DeflateConfig::DEFAULT.window_bits(9).peer_window_bits(9);
    let configs = match (peer.deflate, link.side()) {
        (Deflate::WithoutParameters, Side::Server) => &[DeflateConfig::DEFAULT, whole][..],
        _ => &[DeflateConfig::DEFAULT, whole, forgetful, narrow],
    };
    for &deflate in configs {
        let mut line = link
            .connection(built(config().deflate(Some(deflate))))
            .await?;
        line.echo("").await?;
        for _ in 0..3 {
            // Long enough to be worth it, and with a past to refer to.
            line.echo("Grüße, 時間 and 🦀; ".repeat(1000)).await?;
            line.echo(bytes(100_000)).await?;
        }
        line.ws.send_part("Grüße, ", false).await?;
        line.ws.ping(b"between").await?;
        line.ws.send_part(letters(70_000), true).await?;
        line.expect(&format!("Grüße, {}", letters(70_000)).into())
            .await?;
        if deflate == DeflateConfig::DEFAULT {
            every_size(&mut line).await?;
        }
        let is_agreed = line.look.at(|wire| match link.side() {
            Side::Server => wire.received.is_compressing(),
            Side::Client => wire.sent.is_compressing(),
        });
        let (sent, received) = line
            .look
            .at(|wire| (wire.sent.rsv1s(), wire.received.rsv1s()));
        let is_right = match peer.deflate {
            Deflate::Whole | Deflate::WithoutParameters => is_agreed && sent > 0 && received > 0,
            Deflate::Inflates => is_agreed && sent > 0 && received == 0,
            Deflate::Not(_) => !is_agreed && sent == 0 && received == 0,
        };
        must(is_right, || {
            format!(
                "{deflate:?}: agreed: {is_agreed}; compressed: {sent} sent, {received} received"
            )
        })?;
        settle(line).await?;
    }
    Ok(())
}

// ---- pings

async fn our_ping(link: &mut Link) -> Result<(), Fault> {
    let mut line = link.connection(built(config())).await?;
    let longest = bytes(125);
    for payload in [&b""[..], b"are you there", &longest] {
        line.ws.ping(payload).await?;
        // The pong comes before the echo of what was sent after the ping.
        line.echo("x").await?;
        let pongs = std::mem::take(&mut line.pongs);
        must(pongs == [payload], || {
            format!("pinged {payload:?}, pongs: {pongs:?}")
        })?;
    }
    settle(line).await
}

async fn its_ping(peer: &Peer, link: &mut Link) -> Result<(), Fault> {
    let mut line = link.connection(built(config())).await?;
    line.ws.send("cmd:ping and you").await?;
    let said = if peer.hides_pong {
        "pinged and you"
    } else {
        "pong and you"
    };
    line.expect(&said.into()).await?;
    // A keepalive may have pinged beside it.
    let came = line.pings.iter().any(|payload| payload == b"and you");
    must(came, || format!("pings: {:?}", line.pings))?;
    line.echo("x").await?;
    let pongs = line.look.at(|wire| wire.sent.count(PONG));
    must(pongs >= 1, || "no pong was sent".to_owned())?;
    settle(line).await
}

// ---- ends

async fn our_close(link: &mut Link) -> Result<(), Fault> {
    for (code, reason) in CLOSES {
        let mut line = link.connection(built(config())).await?;
        line.echo("x").await?;
        line.ws.close(CloseCode::new(code), reason).await?;
        let closed = line.ws.closed().ok_or("no end")?;
        must(closed.initiator == Initiator::Local, || {
            format!("ended by: {closed}")
        })?;
        let closes = line
            .look
            .at(|wire| (wire.sent.count(CLOSE), wire.received.count(CLOSE)));
        must(closes == (1, 1), || {
            format!("close frames sent and received: {closes:?}")
        })?;
        let known = link.closed(&line.name).await?;
        must(known == format!("{code} {reason}"), || {
            format!("closed with {code} {reason:?}, the peer says {known:?}")
        })?;
    }
    Ok(())
}

async fn its_close(link: &mut Link) -> Result<(), Fault> {
    for (code, reason) in CLOSES {
        let mut line = link.connection(built(config())).await?;
        line.ws.send(format!("cmd:close {code} {reason}")).await?;
        match line.event().await? {
            Event::Closing(close) => {
                let came = (close.code.as_u16(), &close.reason[..]);
                must(came == (code, reason), || {
                    format!("told {code} {reason:?}, came {came:?}")
                })?;
            }
            other => return Err(format!("no close, but {other:?}").into()),
        }
        match line.event().await? {
            Event::Closed(closed) => {
                let in_order = closed.cause == Cause::Normal && closed.initiator == Initiator::Peer;
                must(in_order, || format!("ended by: {closed}"))?;
            }
            other => return Err(format!("no end, but {other:?}").into()),
        }
        // Our answer carries the same code; the reason is up to the peer's interface.
        let known = link.closed(&line.name).await?;
        must(known.starts_with(&code.to_string()), || {
            format!("closed with {code}, the peer says {known:?}")
        })?;
    }
    Ok(())
}

/// Closes a connection that has done its part.
async fn settle(mut line: Line) -> Result<(), Fault> {
    let rest = line.look.at(|wire| {
        let frames = [&wire.sent, &wire.received].map(|flow| flow.count(TEXT) + flow.count(BINARY));
        frames.iter().all(|&frames| frames > 0)
    });
    must(rest, || "the tap saw no messages".to_owned())?;
    Ok(line.ws.close(CloseCode::NORMAL, "").await?)
}

// ---- silence

/// Says nothing for a while; then the connection has to be as good as before.
async fn silence(line: &mut Line) -> Result<(), Fault> {
    line.echo("before").await?;
    let end = Instant::now() + SILENCE;
    match timeout_at(end, line.event()).await {
        Ok(Ok(Event::Closed(closed))) => return Err(format!("it ended: {closed}").into()),
        Ok(event) => return Err(format!("into the silence came {:?}", event?).into()),
        Err(_) => {}
    }
    line.echo("after").await?;
    Ok(line.ws.close(CloseCode::NORMAL, "").await?)
}

// ---- helpers

fn config() -> ConfigBuilder {
    Config::builder().report_control(true)
}

fn built(config: ConfigBuilder) -> Config {
    config.build().expect("a configuration that can work")
}

fn must(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Fault> {
    if holds {
        Ok(())
    } else {
        Err(otherwise().into())
    }
}

/// Bytes without a short period.
pub(crate) fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at * 7 + at / 251) as u8).collect()
}

pub(crate) fn letters(count: usize) -> String {
    (0..count)
        .map(|at| char::from(b'a' + ((at + at / 25) % 26) as u8))
        .collect()
}

/// Codes that a browser may send, too.
const CLOSES: [(u16, &str); 3] = [
    (1000, ""),
    (1000, "done"),
    (4001, "that was all, merci à tous"),
];

/// A minute without traffic, scaled down as the heartbeat is.
const SILENCE: Duration = Duration::from_secs(6);

/// How long a case may take: the longest moves 64 MiB through the slowest peer.
const LIMIT: Duration = Duration::from_secs(60);
