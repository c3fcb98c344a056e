//! fastwebsockets, as its `examples/echo_server.rs`, but on the bare TCP stream: hyper's upgraded
//! one, which the example has, costs it a virtual call a read and memory of hyper's.

use std::io;
use std::net::TcpListener;

use super::{Settings, on_tokio};
use fastwebsockets::{FragmentCollector, OpCode, Role, WebSocket, WebSocketError};
use sockudo_ws::handshake::server_handshake;
use tokio::net::TcpStream;
use tokio::task::unconstrained;

pub(super) fn serve(listener: TcpListener, _: Settings) -> io::Result<()> {
    on_tokio::serve(listener, |stream| unconstrained(echo(stream)))
}

async fn echo(mut stream: TcpStream) -> Result<(), WebSocketError> {
    if server_handshake(&mut stream).await.is_err() {
        return Ok(());
    }
    let mut ws = FragmentCollector::new(WebSocket::after_handshake(stream, Role::Server));
    loop {
        let frame = ws.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => ws.write_frame(frame).await?,
            _ => {}
        }
    }
}
