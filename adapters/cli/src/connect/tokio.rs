//! The connection on tokio: one task reads it, the other writes it.

use tokio::sync::mpsc;
use wspulse_core::CloseCode;
use wspulse_tokio::{ConnectOptions, Reader, Writer};

use super::report::Report;
use super::{Options, stdin};
use crate::{Failure, stop};

type Stream = wspulse_tokio::MaybeTls<tokio::net::TcpStream>;

pub(super) async fn run(
    options: &Options,
    connect: ConnectOptions,
    report: Report,
) -> Result<(), Failure> {
    let stop = stop::requested().map_err(Failure::failed)?;
    tokio::pin!(stop);
    let ws = tokio::select! {
        connected = wspulse_tokio::connect(&options.url, connect) => {
            connected.map_err(|error| Failure::connecting(&options.url, error))?
        }
        () = &mut stop => return Err(Failure::failed("interrupted before the connection was open")),
    };
    report.open(&options.url);
    let (reader, writer) = ws.split();
    let (lines, next_line) = mpsc::channel(16);
    stdin::spawn(move |line| line.is_some_and(|line| lines.blocking_send(line).is_ok()));
    let receiving = receive(reader, report);
    tokio::pin!(receiving);
    tokio::select! {
        end = &mut receiving => end,
        // Once everything is said, what the server still has to say is received.
        () = send(writer, next_line, &mut stop, report) => receiving.await,
    }
}

/// Sends each line, then closes.
async fn send(
    mut writer: Writer<Stream>,
    mut lines: mpsc::Receiver<Option<String>>,
    mut stop: impl Future<Output = ()> + Unpin,
    report: Report,
) {
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            () = &mut stop => None,
        };
        let sent = match line {
            Some(Some(line)) => writer.send(line).await,
            Some(None) => {
                report.skipped();
                continue;
            }
            None => break,
        };
        if sent.is_err() {
            return; // the reader tells why
        }
    }
    let _ = writer.close(CloseCode::NORMAL, "").await;
}

/// Reports until the end.
async fn receive(mut reader: Reader<Stream>, report: Report) -> Result<(), Failure> {
    while let Some(event) = reader.next_event().await {
        if let Some(end) = report.event(event, || reader.snapshot()) {
            return end;
        }
    }
    Err(report.failed("the connection is over"))
}
