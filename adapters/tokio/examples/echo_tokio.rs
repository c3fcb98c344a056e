//! An echo server: `cargo run -p wspulse-tokio --example echo_tokio -- 127.0.0.1:9001`.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use wspulse_tokio::heartbeat::HeartbeatConfig;
use wspulse_tokio::{Config, Error};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Ping after 5 s of silence; dead 10 s after an unanswered ping.
    let heartbeat = HeartbeatConfig::ping(Duration::from_secs(5), Duration::from_secs(10));
    let config = Arc::new(Config::builder().heartbeat(heartbeat).build()?);

    let address = env::args().nth(1).unwrap_or("127.0.0.1:9001".into());
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, peer) = listener.accept().await?;
        let config = Arc::clone(&config);
        tokio::spawn(async move {
            match echo(stream, config).await {
                Ok(()) => println!("{peer} closed"),
                Err(error) => println!("{peer}: {error}"), // also a peer that is gone, with the reason
            }
        });
    }
}

async fn echo(stream: TcpStream, config: Arc<Config>) -> Result<(), Error> {
    let mut ws = wspulse_tokio::accept(stream, config).await?;
    while let Some(message) = ws.next().await {
        ws.feed(message?).await?;
    }
    Ok(())
}
