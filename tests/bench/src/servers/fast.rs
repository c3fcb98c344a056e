//! fastwebsockets, as its `examples/echo_server.rs`, but on the bare TCP stream: hyper's upgraded
//! one, which the example has, costs it a virtual call a read and memory of hyper's.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use fastwebsockets::{FragmentCollector, OpCode, Role, WebSocket, WebSocketError};
use sockudo_ws::handshake::server_handshake;
use tokio::net::TcpStream;
use tokio::task::unconstrained;
use wspulse_core::Config;

use super::on_tokio;

pub(super) fn serve(listener: TcpListener, _: Arc<Config>) -> io::Result<()> {
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
