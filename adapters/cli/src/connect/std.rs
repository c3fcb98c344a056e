//! The connection on blocking sockets: one thread reads it, another writes it.

use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};

use wspulse_core::CloseCode;
use wspulse_drive::ConnectOptions;
use wspulse_std::{Reader, Writer};

use super::report::Report;
use super::{Options, stdin};
use crate::{Failure, stop};

pub(super) fn run(
    options: &Options,
    connect: ConnectOptions,
    report: Report,
) -> Result<(), Failure> {
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
        if let Some(end) = report.event(event, || reader.snapshot()) {
            return end;
        }
    }
    Err(report.failed("the connection is over"))
}
