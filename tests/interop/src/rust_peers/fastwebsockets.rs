//! The peer on fastwebsockets, over hyper.

use std::sync::Arc;

use fastwebsockets::{
    FragmentCollector, Frame, OpCode, Payload, WebSocketError, handshake, upgrade,
};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HOST, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::{Command, Order, end, ended, name_of, parts, version};
use crate::link::Fault;

type Ws = FragmentCollector<TokioIo<Upgraded>>;

pub(super) async fn serve() -> Result<(), Fault> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    let over = Arc::new(Notify::new());
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            () = over.notified() => return Ok(()),
        };
        stream.set_nodelay(true)?;
        let over = Arc::clone(&over);
        let service = service_fn(move |request| answer(request, Arc::clone(&over)));
        tokio::spawn(async move {
            let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            serving.with_upgrades().await
        });
    }
}

async fn answer(
    mut request: Request<Incoming>,
    over: Arc<Notify>,
) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    let (response, upgraded) = upgrade::upgrade(&mut request)?;
    let name = name_of(request.uri().path()).to_owned();
    tokio::spawn(async move {
        let Ok(ws) = upgraded.await else {
            return;
        };
        if attend(FragmentCollector::new(ws), &name).await {
            over.notify_one();
        }
    });
    Ok(response)
}

pub(super) async fn connect(url: String) -> Result<(), Fault> {
    let (host, path) = url
        .trim_start_matches("ws://")
        .split_once('/')
        .ok_or("no path")?;
    let stream = TcpStream::connect(host).await?;
    stream.set_nodelay(true)?;
    let request = Request::get(format!("/{path}"))
        .header(HOST, host)
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "upgrade")
        .header("Sec-WebSocket-Key", handshake::generate_key())
        .header("Sec-WebSocket-Version", "13")
        .body(Empty::<Bytes>::new())?;
    let (ws, _) = handshake::client(&TokioExecutor::new(), request, stream).await?;
    attend(FragmentCollector::new(ws), path).await;
    Ok(())
}

fn open(url: String) {
    tokio::spawn(async move {
        if let Err(error) = connect(url.clone()).await {
            eprintln!("{url}: {error}");
        }
    });
}

/// Returns whether this was the control connection.
async fn attend(mut ws: Ws, name: &str) -> bool {
    if name == "control" {
        let _ = control(&mut ws).await;
        return true;
    }
    if let Err(error) = echo(&mut ws, name).await {
        eprintln!("{name}: {error}");
        end(name, 1006, &error.to_string());
    }
    false
}

async fn control(ws: &mut Ws) -> Result<(), WebSocketError> {
    loop {
        let frame = ws.read_frame().await?;
        if frame.opcode == OpCode::Close {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&frame.payload).into_owned();
        let answer = match Order::parse(&text) {
            Some(Order::Open(url)) => {
                open(url.to_owned());
                continue;
            }
            Some(Order::Closed(name)) => ended(name),
            Some(Order::Version) => version("fastwebsockets").to_owned(),
            None => continue,
        };
        ws.write_frame(Frame::text(answer.into_bytes().into()))
            .await?;
    }
}

async fn echo(ws: &mut Ws, name: &str) -> Result<(), WebSocketError> {
    let mut in_parts = false;
    let mut pinged = None;
    loop {
        let frame = ws.read_frame().await?;
        match frame.opcode {
            OpCode::Close => {
                let (code, reason) = frame
                    .payload
                    .split_at_checked(2)
                    .unwrap_or((&[3, 237], &[]));
                let code = u16::from_be_bytes([code[0], code[1]]);
                end(name, code, &String::from_utf8_lossy(reason));
                return Ok(());
            }
            OpCode::Pong if pinged.as_deref() == Some(&frame.payload[..]) => {
                let said = [b"pong ", &frame.payload[..]].concat();
                ws.write_frame(Frame::text(said.into())).await?;
            }
            OpCode::Text | OpCode::Binary => {
                let text = std::str::from_utf8(&frame.payload);
                match text.ok().and_then(Command::parse) {
                    Some(Command::Ping(payload)) => {
                        let ping = Payload::Owned(payload.clone());
                        ws.write_frame(Frame::new(true, OpCode::Ping, None, ping))
                            .await?;
                        pinged = Some(payload);
                    }
                    Some(Command::Close(code, reason)) => {
                        ws.write_frame(Frame::close(code, reason.as_bytes()))
                            .await?;
                    }
                    Some(Command::Parts) => in_parts = true,
                    None if in_parts => {
                        in_parts = false;
                        write_in_parts(ws, frame.opcode, &frame.payload).await?;
                    }
                    None => ws.write_frame(frame).await?,
                }
            }
            _ => {}
        }
    }
}

async fn write_in_parts(ws: &mut Ws, kind: OpCode, payload: &[u8]) -> Result<(), WebSocketError> {
    let parts = parts(payload);
    for (at, part) in parts.iter().enumerate() {
        let opcode = if at == 0 { kind } else { OpCode::Continuation };
        let last = at + 1 == parts.len();
        let frame = Frame::new(last, opcode, None, Payload::Owned(part.to_vec()));
        ws.write_frame(frame).await?;
    }
    Ok(())
}
