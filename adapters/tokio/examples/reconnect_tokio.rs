//! A client that comes back: `cargo run -p wspulse-tokio --example reconnect_tokio -- ws://127.0.0.1:9001/`.

use std::env;
use std::time::Duration;

use wspulse_tokio::{
    Config, Event, ReconnectEvent, ReconnectPolicy, ReconnectingClient, WhileDown,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = env::args().nth(1).unwrap_or("ws://127.0.0.1:9001/".into());
    // While there is no connection, up to ten messages wait for the next one.
    let policy = ReconnectPolicy::default().while_down(WhileDown::Keep(10));
    let mut client = ReconnectingClient::new(&url, Config::default(), policy)?
        .on_open(|opening| opening.send("subscribe: news")); // before anything else, each time

    let handle = client.handle();
    tokio::spawn(async move {
        for n in 1.. {
            if let Err(error) = handle.send(format!("message {n}")).await {
                println!("message {n} was not sent: {error}"); // which gives it back
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });

    while let Some(event) = client.next_event().await {
        match event {
            ReconnectEvent::Opened { .. } => println!("open"),
            ReconnectEvent::Connection(Event::Text(text)) => println!("{text}"),
            ReconnectEvent::Down {
                reason, retry_in, ..
            } => println!("down: {reason}; again in {retry_in:.1?}"),
            ReconnectEvent::GaveUp(error) => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}
