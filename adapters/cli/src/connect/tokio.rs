//! The connection on tokio: one task reads it, the other writes it.

use tokio::sync::{Notify, mpsc};
use wspulse_core::{CloseCode, Message, SendError};
use wspulse_tokio::{ConnectOptions, Error, Reader, ReconnectHandle, ReconnectingClient, Writer};

use super::report::{Next, Report};
use super::{Options, RETRY, stdin};
use crate::{Failure, stop};

type Stream = wspulse_tokio::MaybeTls<tokio::net::TcpStream>;

pub(super) async fn run(
    options: &Options,
    connect: ConnectOptions,
    report: Report,
) -> Result<(), Failure> {
    if options.reconnect {
        return run_again(options, connect, report).await;
    }
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
    let unheard = Notify::new();
    let enough = async {
        tokio::select! {
            () = stop => {}
            () = unheard.notified() => {}
        }
    };
    tokio::pin!(enough);
    let receiving = receive(reader, report, &unheard);
    tokio::pin!(receiving);
    tokio::select! {
        end = &mut receiving => end,
        // Once everything is said, what the server still has to say is received.
        () = send(writer, next_line, enough, report) => receiving.await,
    }
}

/// Sends each line until it is enough, then closes.
async fn send(
    mut writer: Writer<Stream>,
    mut lines: mpsc::Receiver<Option<String>>,
    mut enough: impl Future<Output = ()> + Unpin,
    report: Report,
) {
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            () = &mut enough => break,
        };
        let sent = match line {
            Some(Some(line)) => tokio::select! {
                sent = writer.send(line) => sent,
                // A server that does not read must not hold up the close.
                () = &mut enough => break,
            },
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
async fn receive(
    mut reader: Reader<Stream>,
    report: Report,
    unheard: &Notify,
) -> Result<(), Failure> {
    while let Some(event) = reader.next_event().await {
        match report.event(event, || Some(reader.snapshot())) {
            Next::GoOn => {}
            Next::Close => unheard.notify_one(),
            Next::End(end) => return end,
        }
    }
    Err(report.failed("the connection is over"))
}

/// Keeps a connection, and another after each that is lost.
async fn run_again(
    options: &Options,
    connect: ConnectOptions,
    report: Report,
) -> Result<(), Failure> {
    let stop = stop::requested().map_err(Failure::failed)?;
    let mut client = ReconnectingClient::new(&options.url, connect, super::policy())
        .map_err(|error| Failure::connecting(&options.url, error))?;
    let (lines, mut next_line) = mpsc::channel(16);
    stdin::spawn(move |line| line.is_some_and(|line| lines.blocking_send(line).is_ok()));

    let handle = client.handle();
    let sending = async move {
        while let Some(line) = next_line.recv().await {
            match line {
                Some(line) => send_again(&handle, line.into()).await,
                None => report.skipped(),
            }
        }
        // What is kept for the next connection is sent before the end.
        while !handle.is_open() {
            tokio::time::sleep(RETRY).await;
        }
        let _ = handle.close(CloseCode::NORMAL, "");
    };
    let handle = client.handle();
    tokio::spawn(async move {
        tokio::select! {
            () = sending => {}
            () = stop => {
                let _ = handle.close(CloseCode::NORMAL, "");
            }
        }
    });
    let handle = client.handle();
    while let Some(event) = client.next_event().await {
        match report.reconnect_event(&options.url, event, || client.snapshot()) {
            Next::GoOn => {}
            Next::Close => {
                let _ = handle.close(CloseCode::NORMAL, "");
            }
            Next::End(end) => return end,
        }
    }
    Err(report.gave_up())
}

/// Sends a message as soon as it is taken.
async fn send_again(handle: &ReconnectHandle, mut message: Message) {
    while let Err(Error::Send(SendError::Full(again))) = handle.send(message).await {
        message = again;
        tokio::time::sleep(RETRY).await;
    }
}
