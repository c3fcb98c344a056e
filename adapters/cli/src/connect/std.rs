//! The connection on blocking sockets: one thread reads it, another writes it.

use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use wspulse_core::{CloseCode, Message, SendError};
use wspulse_drive::ConnectOptions;
use wspulse_std::{Error, Reader, ReconnectHandle, ReconnectingClient, Writer};

use super::report::Report;
use super::{Options, RETRY, stdin};
use crate::{Failure, stop};

pub(super) fn run(
    options: &Options,
    connect: ConnectOptions,
    report: Report,
) -> Result<(), Failure> {
    if options.reconnect {
        return run_again(options, connect, report);
    }
    let ws = wspulse_std::connect(&options.url, connect)
        .map_err(|error| Failure::connecting(&options.url, error))?;
    report.open(&options.url);
    let (reader, writer) = ws.split();
    let writer = Arc::new(Mutex::new(writer));
    let stopped = Arc::clone(&writer);
    stop::on_request(move || close(&stopped)).map_err(Failure::failed)?;
    stdin::spawn(move |line| match line {
        Some(Some(line)) => locked(&writer).send(line).is_ok(),
        Some(None) => {
            report.skipped();
            true
        }
        None => {
            close(&writer);
            false
        }
    });
    receive(reader, report)
}

/// What the server still has to say is received by the reader.
fn close(writer: &Mutex<Writer<TcpStream>>) {
    let _ = locked(writer).close(CloseCode::NORMAL, "");
}

fn locked<T>(mutex: &Mutex<T>) -> impl std::ops::DerefMut<Target = T> + use<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reports until the end.
fn receive(mut reader: Reader<TcpStream>, report: Report) -> Result<(), Failure> {
    while let Some(event) = reader.next_event() {
        if let Some(end) = report.event(event, || Some(reader.snapshot())) {
            return end;
        }
    }
    Err(report.failed("the connection is over"))
}

/// Keeps a connection, and another after each that is lost.
fn run_again(options: &Options, connect: ConnectOptions, report: Report) -> Result<(), Failure> {
    let mut client = ReconnectingClient::new(&options.url, connect, super::policy())
        .map_err(|error| Failure::connecting(&options.url, error))?;
    let handle = client.handle();
    stop::on_request(move || {
        let _ = handle.close(CloseCode::NORMAL, "");
    })
    .map_err(Failure::failed)?;
    let handle = client.handle();
    stdin::spawn(move |line| match line {
        Some(Some(line)) => {
            send_again(&handle, line.into());
            true
        }
        Some(None) => {
            report.skipped();
            true
        }
        None => {
            // What is kept for the next connection is sent before the end.
            while !handle.is_open() {
                thread::sleep(RETRY);
            }
            let _ = handle.close(CloseCode::NORMAL, "");
            false
        }
    });
    while let Some(event) = client.next_event() {
        let end = report.reconnect_event(&options.url, event, || client.snapshot());
        if let Some(end) = end {
            return end;
        }
    }
    // It was closed while there was no connection.
    Ok(())
}

/// Sends a message as soon as it is taken.
fn send_again(handle: &ReconnectHandle, mut message: Message) {
    while let Err(Error::Send(SendError::Full(again))) = handle.send(message) {
        message = again;
        thread::sleep(RETRY);
    }
}
