//! An echo server: `cargo run -p wspulse-std --example echo_std -- 127.0.0.1:9001`.

use std::env;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use wspulse_std::heartbeat::HeartbeatConfig;
use wspulse_std::{Config, Error};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Ping after 5 s of silence; dead 10 s after an unanswered ping.
    let heartbeat = HeartbeatConfig::ping(Duration::from_secs(5), Duration::from_secs(10));
    let config = Arc::new(Config::builder().heartbeat(heartbeat).build()?);

    let address = env::args().nth(1).unwrap_or("127.0.0.1:9001".into());
    let listener = wspulse_std::listen(address)?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, peer) = listener.accept()?;
        let config = Arc::clone(&config);
        thread::Builder::new().spawn(move || match echo(stream, config) {
            Ok(()) => println!("{peer} closed"),
            Err(error) => println!("{peer}: {error}"), // also a peer that is gone, with the reason
        })?;
    }
}

fn echo(stream: TcpStream, config: Arc<Config>) -> Result<(), Error> {
    let mut ws = wspulse_std::accept(stream, config)?;
    while let Some(message) = ws.next() {
        ws.feed(message?)?;
    }
    Ok(())
}
