//! The connection on blocking sockets: one thread reads it, another writes it.

use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use wspulse_core::{Cause, CloseCode, Event, Message, SendError};
use wspulse_drive::ConnectOptions;
use wspulse_std::{Error, Reader, ReconnectHandle, ReconnectingClient, Writer};

use super::report::{Next, Report};
use super::stdin::{self, Input};
use super::{LOOK, Options, RETRY};
use crate::{Failure, stop};

pub(super) fn run(
    options: &Options,
    connect: ConnectOptions,
    report: Report,
) -> Result<(), Failure> {
    if options.reconnect {
        return run_again(options, connect, report);
    }
    let patience = options.config().map_err(Failure::usage)?.close_timeout();
    let ws = wspulse_std::connect(&options.url, connect)
        .map_err(|error| Failure::connecting(&options.url, &error))?;
    let (reader, writer) = ws.split();
    let outlet = Arc::new(Outlet {
        writer: Mutex::new(writer),
        closing_since: OnceLock::new(),
        report: report.clone(),
    });
    let closing = Arc::clone(&outlet);
    stop::on_request(move || closing.close()).map_err(Failure::failed)?;
    // A Ctrl-C after this line closes in order, so the signals are watched already.
    report.open(reader.response());
    let sending = Arc::clone(&outlet);
    stdin::spawn(move |next| match next {
        Input::Line(line) => sending.send(line),
        Input::Skipped(unfit) => {
            sending.report.skipped(unfit);
            true
        }
        Input::End => {
            linger(&sending.report, || sending.closing_since.get().is_some());
            sending.close();
            false
        }
    });
    receive(reader, &report, &outlet, patience)
}

/// What the threads that send share.
struct Outlet {
    /// A send that the server does not read holds it for as long as the server is given.
    writer: Mutex<Writer<TcpStream>>,
    closing_since: OnceLock<Instant>,
    report: Report,
}

impl Outlet {
    /// Returns whether more may be sent.
    fn send(&self, line: String) -> bool {
        let mut writer = self.lock();
        self.closing_since.get().is_none() && writer.send(line).is_ok()
    }

    /// What the server still has to say is received by the reader.
    fn close(&self) {
        self.closing_since.get_or_init(Instant::now);
        self.report.closing();
        let _ = self.lock().close(CloseCode::NORMAL, "");
    }

    fn lock(&self) -> MutexGuard<'_, Writer<TcpStream>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reports until the end.
///
/// A close may have to wait behind a send that the server does not read, so it is given its time
/// here.
fn receive(
    mut reader: Reader<TcpStream>,
    report: &Report,
    outlet: &Arc<Outlet>,
    patience: Duration,
) -> Result<(), Failure> {
    let mut is_cut = false;
    loop {
        let since = outlet.closing_since.get();
        if !is_cut && since.is_some_and(|since| since.elapsed() > patience) {
            is_cut = true;
            reader.abort();
        }
        let mut event = match reader.next_event_timeout(LOOK) {
            Poll::Ready(Some(event)) => event,
            Poll::Ready(None) => return Err(report.failed(&Error::NotOpen)),
            Poll::Pending => {
                report.look(|| Some(reader.snapshot()));
                continue;
            }
        };
        if let Event::Closed(closed) = &mut event
            && is_cut
            && closed.cause == Cause::Aborted
        {
            closed.cause = Cause::CloseTimeout;
        }
        match report.event(event, || Some(reader.snapshot())) {
            Next::GoOn => {}
            // The threads that send may hold the writer for long.
            Next::Close if outlet.closing_since.set(Instant::now()).is_ok() => {
                let outlet = Arc::clone(outlet);
                thread::spawn(move || outlet.close());
            }
            Next::Close => {}
            Next::End(end) => return end,
        }
    }
}

/// Waits until the answers are in, or somebody else has closed.
fn linger(report: &Report, is_closing: impl Fn() -> bool) {
    while !is_closing()
        && let Some(left) = report.linger()
    {
        thread::sleep(left);
    }
}

/// Keeps a connection, and another after each that is lost.
fn run_again(options: &Options, connect: ConnectOptions, report: Report) -> Result<(), Failure> {
    let mut client = ReconnectingClient::new(&options.url, connect, super::policy())
        .map_err(|error| Failure::connecting(&options.url, &error))?;
    let (handle, reporting) = (client.handle(), report.clone());
    stop::on_request(move || {
        reporting.closing();
        let _ = handle.close(CloseCode::NORMAL, "");
    })
    .map_err(Failure::failed)?;
    let (handle, reporting) = (client.handle(), report.clone());
    stdin::spawn(move |next| match next {
        Input::Line(line) => {
            send_again(&handle, line.into());
            true
        }
        Input::Skipped(unfit) => {
            reporting.skipped(unfit);
            true
        }
        Input::End => {
            // What is kept for the next connection is sent before the end.
            wait_until_open(&handle);
            linger(&reporting, || false);
            wait_until_open(&handle);
            reporting.closing();
            let _ = handle.close(CloseCode::NORMAL, "");
            false
        }
    });
    let handle = client.handle();
    loop {
        let event = match client.next_event_timeout(LOOK) {
            Poll::Ready(Some(event)) => event,
            Poll::Ready(None) => return Err(report.gave_up()),
            Poll::Pending => {
                report.look(|| client.snapshot());
                continue;
            }
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

fn wait_until_open(handle: &ReconnectHandle) {
    while !handle.is_open() {
        thread::sleep(RETRY);
    }
}

/// Sends a message as soon as it is taken.
fn send_again(handle: &ReconnectHandle, mut message: Message) {
    while let Err(Error::Send(SendError::Full(again))) = handle.send(message) {
        message = again;
        thread::sleep(RETRY);
    }
}
