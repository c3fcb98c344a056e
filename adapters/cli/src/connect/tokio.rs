//! The connection on tokio: one task reads it, the other writes it.

use tokio::sync::{Notify, mpsc};
use wspulse_core::{CloseCode, Message, SendError};
use wspulse_tokio::{ConnectOptions, Error, Reader, ReconnectHandle, ReconnectingClient, Writer};

use super::report::{Next, Report};
use super::stdin::{self, Input};
use super::{LOOK, Options, RETRY};
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
            connected.map_err(|error| Failure::connecting(&options.url, &error))?
        }
        () = &mut stop => return Err(Failure::interrupted()),
    };
    report.open(ws.response());
    let (reader, writer) = ws.split();
    let (lines, next_line) = mpsc::channel(16);
    stdin::spawn(move |next| lines.blocking_send(next).is_ok());
    let unheard = Notify::new();
    let enough = async {
        tokio::select! {
            () = stop => {}
            () = unheard.notified() => {}
        }
    };
    tokio::pin!(enough);
    let receiving = receive(reader, &report, &unheard);
    tokio::pin!(receiving);
    tokio::select! {
        end = &mut receiving => end,
        // Once everything is said, what the server still has to say is received.
        () = send(writer, next_line, enough, &report) => receiving.await,
    }
}

/// Sends each line until it is enough, then closes.
async fn send(
    mut writer: Writer<Stream>,
    mut lines: mpsc::Receiver<Input>,
    mut enough: impl Future<Output = ()> + Unpin,
    report: &Report,
) {
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            () = &mut enough => break,
        };
        let sent = match line {
            Some(Input::Line(line)) => tokio::select! {
                sent = writer.send(line) => sent,
                // A server that does not read must not hold up the close.
                () = &mut enough => break,
            },
            Some(Input::Skipped(unfit)) => {
                report.skipped(unfit);
                continue;
            }
            Some(Input::End) | None => {
                tokio::select! {
                    () = linger(report) => {}
                    () = &mut enough => {}
                }
                break;
            }
        };
        if sent.is_err() {
            return; // the reader tells why
        }
    }
    report.closing();
    let _ = writer.close(CloseCode::NORMAL, "").await;
}

/// Waits until the answers are in.
async fn linger(report: &Report) {
    while let Some(left) = report.linger() {
        tokio::time::sleep(left).await;
    }
}

/// Reports until the end.
async fn receive(
    mut reader: Reader<Stream>,
    report: &Report,
    unheard: &Notify,
) -> Result<(), Failure> {
    loop {
        let next = tokio::select! {
            next = reader.next_event() => next,
            () = tokio::time::sleep(LOOK), if report.is_ending() => {
                report.look(|| Some(reader.snapshot()));
                continue;
            }
        };
        let Some(event) = next else {
            return Err(report.failed(&Error::NotOpen));
        };
        match report.event(event, || Some(reader.snapshot())) {
            Next::GoOn => {}
            Next::Close => unheard.notify_one(),
            Next::End(end) => return end,
        }
    }
}

/// Keeps a connection, and another after each that is lost.
async fn run_again(
    options: &Options,
    connect: ConnectOptions,
    report: Report,
) -> Result<(), Failure> {
    let stop = stop::requested().map_err(Failure::failed)?;
    let mut client = ReconnectingClient::new(&options.url, connect, super::policy())
        .map_err(|error| Failure::connecting(&options.url, &error))?;
    let (lines, mut next_line) = mpsc::channel(16);
    stdin::spawn(move |next| lines.blocking_send(next).is_ok());

    let (handle, reporting) = (client.handle(), report.clone());
    let sending = async move {
        while let Some(next) = next_line.recv().await {
            match next {
                Input::Line(line) => send_again(&handle, line.into()).await,
                Input::Skipped(unfit) => reporting.skipped(unfit),
                Input::End => break,
            }
        }
        // What is kept for the next connection is sent before the end.
        wait_until_open(&handle).await;
        linger(&reporting).await;
        wait_until_open(&handle).await;
    };
    let (handle, reporting) = (client.handle(), report.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = sending => {}
            () = stop => {}
        }
        reporting.closing();
        let _ = handle.close(CloseCode::NORMAL, "");
    });
    let handle = client.handle();
    loop {
        let next = tokio::select! {
            next = client.next_event() => next,
            () = tokio::time::sleep(LOOK), if report.is_ending() => {
                report.look(|| client.snapshot());
                continue;
            }
        };
        let Some(event) = next else {
            return Err(report.gave_up());
        };
        match report.reconnect_event(event, || client.snapshot()) {
            Next::GoOn => {}
            Next::Close => {
                report.closing();
                let _ = handle.close(CloseCode::NORMAL, "");
            }
            Next::End(end) => return end,
        }
    }
}

async fn wait_until_open(handle: &ReconnectHandle) {
    while !handle.is_open() {
        tokio::time::sleep(RETRY).await;
    }
}

/// Sends a message as soon as it is taken.
async fn send_again(handle: &ReconnectHandle, mut message: Message) {
    while let Err(Error::Send(SendError::Full(again))) = handle.send(message).await {
        message = again;
        tokio::time::sleep(RETRY).await;
    }
}
