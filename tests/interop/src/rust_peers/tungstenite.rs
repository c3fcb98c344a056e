//! The peer on tungstenite, a thread a connection.

use std::net::{TcpListener, TcpStream};
use std::thread;

use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::{Message, WebSocket};

use super::{Command, Order, end, ended, name_of, parts, version};
use crate::link::Fault;

pub(super) fn serve() -> Result<(), Fault> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening on {}", listener.local_addr()?);
    let (control, is_over) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let control = control.clone();
            thread::spawn(move || {
                let over = accept(stream).and_then(|(ws, name)| attend(ws, &name));
                if over.unwrap_or(false) {
                    let _ = control.send(());
                }
            });
        }
    });
    Ok(is_over.recv()?)
}

fn accept(stream: TcpStream) -> Result<(WebSocket<TcpStream>, String), Fault> {
    stream.set_nodelay(true)?;
    let mut name = String::new();
    #[expect(clippy::result_large_err, reason = "the library's own type")]
    let note = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        name_of(request.uri().path()).clone_into(&mut name);
        Ok(response)
    };
    let ws = tungstenite::accept_hdr(stream, note).map_err(|error| error.to_string())?;
    Ok((ws, name))
}

pub(super) fn connect(url: &str) -> Result<(), Fault> {
    let address = url
        .trim_start_matches("ws://")
        .split('/')
        .next()
        .unwrap_or_default();
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let (ws, _) = tungstenite::client(url, stream).map_err(|error| error.to_string())?;
    attend(ws, name_of(url))?;
    Ok(())
}

/// Returns whether this was the control connection.
fn attend(mut ws: WebSocket<TcpStream>, name: &str) -> Result<bool, Fault> {
    if name == "control" {
        let _ = control(&mut ws);
        return Ok(true);
    }
    if let Err(error) = echo(&mut ws, name) {
        eprintln!("{name}: {error}");
        end(name, 1006, &error.to_string());
    }
    Ok(false)
}

fn control(ws: &mut WebSocket<TcpStream>) -> tungstenite::Result<()> {
    loop {
        let Message::Text(text) = ws.read()? else {
            continue;
        };
        match Order::parse(&text) {
            Some(Order::Open(url)) => {
                let url = url.to_owned();
                thread::spawn(move || connect(&url).map_err(|error| eprintln!("{url}: {error}")));
            }
            Some(Order::Closed(name)) => ws.send(ended(name).into())?,
            Some(Order::Version) => ws.send(version("tungstenite").into())?,
            None => {}
        }
    }
}

fn echo(ws: &mut WebSocket<TcpStream>, name: &str) -> tungstenite::Result<()> {
    let mut in_parts = false;
    let mut pinged = None;
    let mut close = None;
    loop {
        let message = match ws.read() {
            Err(tungstenite::Error::ConnectionClosed) => break,
            read => read?,
        };
        match message {
            Message::Text(text) if Command::parse(&text).is_some() => match Command::parse(&text) {
                Some(Command::Ping(payload)) => {
                    ws.send(Message::Ping(payload.clone().into()))?;
                    pinged = Some(payload);
                }
                Some(Command::Close(code, reason)) => ws.close(Some(CloseFrame {
                    code: code.into(),
                    reason: reason.into(),
                }))?,
                Some(Command::Parts) => in_parts = true,
                None => {}
            },
            Message::Pong(payload) if pinged.as_deref() == Some(&payload[..]) => {
                ws.send(format!("pong {}", String::from_utf8_lossy(&payload)).into())?;
            }
            Message::Close(frame) => close = frame,
            Message::Text(_) | Message::Binary(_) if in_parts => {
                in_parts = false;
                send_in_parts(ws, message)?;
            }
            Message::Text(_) | Message::Binary(_) => ws.send(message)?,
            _ => {}
        }
    }
    match close {
        Some(close) => end(name, close.code.into(), &close.reason),
        None => end(name, 1005, ""),
    }
    Ok(())
}

fn send_in_parts(ws: &mut WebSocket<TcpStream>, message: Message) -> tungstenite::Result<()> {
    let mut kind = if message.is_text() {
        Data::Text
    } else {
        Data::Binary
    };
    let payload = message.into_data();
    let parts = parts(&payload);
    for (at, part) in parts.iter().enumerate() {
        let last = at + 1 == parts.len();
        let frame = Frame::message(part.to_vec(), OpCode::Data(kind), last);
        ws.send(Message::Frame(frame))?;
        kind = Data::Continue;
    }
    Ok(())
}
