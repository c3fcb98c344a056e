//! tokio-tungstenite as the peer, in a process of its own: an echo server, and clients of ours.

use std::io::Read;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};
use wspulse_tests::kit::ms;
use wspulse_tests::rng::Rng;

use crate::books::{Books, Tally};
use crate::plan::Plan;
use crate::talk::{Next, PATIENCE, Talk};

type Ws = WebSocketStream<TcpStream>;

/// Runs until standard input ends; `targets` are the servers, one for each client.
pub(crate) fn run(seed: u64, targets: &[SocketAddr]) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let books = Arc::new(Books::default());
    let outcome = runtime.block_on(work(seed, targets, &books));
    print!("{books}");
    match outcome {
        Ok(()) if books.failures() == 0 => ExitCode::SUCCESS,
        outcome => {
            println!("FAILED {outcome:?}, {} failures", books.failures());
            ExitCode::FAILURE
        }
    }
}

async fn work(seed: u64, targets: &[SocketAddr], books: &Arc<Books>) -> Result<(), String> {
    let said = |error: std::io::Error| error.to_string();
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(said)?;
    println!("listening on {}", listener.local_addr().map_err(said)?);
    tokio::spawn(serve(listener, seed, Arc::clone(books)));
    let (stop, stopped) = oneshot::channel::<()>();
    thread::spawn(move || {
        let _ = std::io::stdin().read(&mut [0]);
        drop(stop);
    });
    let mut clients = JoinSet::new();
    for (who, target) in (0..).zip(targets) {
        clients.spawn(come_and_go(seed, who, *target, Arc::clone(books)));
    }
    let _ = stopped.await;
    books.finish();
    let all = clients.join_all();
    timeout(2 * PATIENCE, all)
        .await
        .map(drop)
        .map_err(|_| "clients do not end".to_owned())
}

// ---- the server

async fn serve(listener: TcpListener, seed: u64, books: Arc<Books>) {
    for number in 0.. {
        if let Ok((stream, _)) = listener.accept().await {
            let rng = Rng::new(seed ^ (number << 16));
            let books = Arc::clone(&books);
            tokio::spawn(async move {
                let mut tally = Tally::default();
                let end = echo(stream, rng, &mut tally).await;
                books.enter("tungstenite server", tally, end);
            });
        }
    }
}

async fn echo(stream: TcpStream, mut rng: Rng, tally: &mut Tally) -> Result<String, String> {
    let mut ws = match accept_async(stream).await {
        Ok(ws) => ws,
        Err(error) => return lost(&error).map(|how| format!("{how} in the handshake")),
    };
    // Most clients leave before; those that only come back do not.
    let mut left = match rng.chance(50) {
        true => rng.range(1..=100),
        false => rng.range(100..=1_000),
    };
    let mut end = "closed by the client";
    while let Some(came) = ws.next().await {
        match came {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) if left > 0 => {
                tally.messages += 1;
                tally.bytes += message.len() as u64;
                // What is wrong with it, the next read says.
                let _ = ws.send(message).await;
                if rng.chance(3) {
                    let _ = ws.send(Message::Ping(b"are you there?"[..].into())).await;
                }
                left -= 1;
                if left == 0 {
                    if rng.chance(25) {
                        return Ok("cut by us".to_owned());
                    }
                    end = "closed by us";
                    let _ = ws.close(Some(frame(rng.pick(&CODES)))).await;
                }
            }
            Ok(_) => {}
            Err(error) => return lost(&error),
        }
    }
    Ok(end.to_owned())
}

/// A client may drop its connection at any time. All other errors are failures.
fn lost(error: &Error) -> Result<String, String> {
    match error {
        Error::Io(_)
        | Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(
            ProtocolError::ResetWithoutClosingHandshake | ProtocolError::HandshakeIncomplete,
        ) => Ok("cut".to_owned()),
        error => Err(error.to_string()),
    }
}

fn frame(code: u16) -> CloseFrame {
    CloseFrame {
        code: code.into(),
        reason: "".into(),
    }
}

/// After none of these is a client to stay away.
const CODES: [u16; 4] = [1001, 1011, 1012, 4000];

// ---- clients

async fn come_and_go(seed: u64, who: u64, target: SocketAddr, books: Arc<Books>) {
    for nth in 0.. {
        if books.is_over() {
            return;
        }
        let mut talk = Talk::new(&books, Plan::new(!seed, who, nth));
        let end = match connect(target).await {
            Ok(ws) => converse(ws, &mut talk).await,
            Err(end) => {
                sleep(ms(100)).await;
                end
            }
        };
        let named = |failure| format!("client {who}, connection {nth}, to {target}: {failure}");
        books.enter("tungstenite client", talk.tally, end.map_err(named));
    }
}

/// A server that restarts is not there for some time.
async fn connect(target: SocketAddr) -> Result<Ws, Result<String, String>> {
    let refused = |_| Ok("refused".to_owned());
    let stream = TcpStream::connect(target).await.map_err(refused)?;
    let shaken = client_async(format!("ws://{target}/"), stream).await;
    match shaken {
        Ok((ws, _)) => Ok(ws),
        Err(error) => Err(lost(&error).map(|_| "refused".to_owned())),
    }
}

/// How a server may end a connection: with its drain, or in answer.
struct End {
    ours: Option<u16>,
    theirs: Option<u16>,
}

impl End {
    fn judge(&self) -> Result<String, String> {
        match (self.ours, self.theirs) {
            (_, Some(1001)) => Ok("1001".to_owned()),
            (Some(ours), Some(theirs)) if ours == theirs => Ok("closed by us".to_owned()),
            (ours, theirs) => Err(format!("ended with {theirs:?}, we closed with {ours:?}")),
        }
    }
}

async fn converse(mut ws: Ws, talk: &mut Talk) -> Result<String, String> {
    let mut end = End {
        ours: None,
        theirs: None,
    };
    loop {
        let wait = match talk.next() {
            Next::Send(parts) => {
                send(&mut ws, parts).await;
                Duration::ZERO
            }
            Next::Ping(payload) => {
                let _ = ws.send(Message::Ping(payload.to_vec().into())).await;
                Duration::ZERO
            }
            Next::Pause(pause) => pause,
            Next::Wait => {
                talk.check_patience()?;
                let came = timeout(ms(500), ws.next()).await;
                if let Ok(came) = came
                    && hear(came, talk, &mut end)?
                {
                    return end.judge();
                }
                continue;
            }
            Next::Close(code) => {
                end.ours = Some(code.as_u16());
                let _ = ws.close(Some(frame(code.as_u16()))).await;
                let all = async {
                    while !hear(ws.next().await, talk, &mut end)? {}
                    end.judge()
                };
                let ended = timeout(PATIENCE, all).await;
                return ended.unwrap_or_else(|_| Err("does not end".to_owned()));
            }
            Next::Abort => return Ok("cut by us".to_owned()),
        };
        let until = Instant::now() + wait;
        while let Ok(came) = timeout_at(until, ws.next()).await {
            if hear(came, talk, &mut end)? {
                return end.judge();
            }
        }
    }
}

/// What is wrong with it, the next read says.
async fn send(ws: &mut Ws, parts: Vec<wspulse_core::Message>) {
    if let [one] = &*parts {
        let message = match one.as_text() {
            Some(text) => Message::text(text),
            None => Message::binary(one.clone().into_bytes()),
        };
        let _ = ws.send(message).await;
        return;
    }
    let mut opcode = Data::Binary;
    if parts.first().is_some_and(wspulse_core::Message::is_text) {
        opcode = Data::Text;
    }
    let count = parts.len();
    for (nth, part) in parts.into_iter().enumerate() {
        let is_last = nth + 1 == count;
        let frame = Frame::message(part.into_bytes(), OpCode::Data(opcode), is_last);
        let _ = ws.send(Message::Frame(frame)).await;
        opcode = Data::Continue;
    }
}

/// Tells whether it is over.
fn hear(
    came: Option<Result<Message, Error>>,
    talk: &mut Talk,
    end: &mut End,
) -> Result<bool, String> {
    match came {
        None | Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) => return Ok(true),
        Some(Err(error)) => return Err(error.to_string()),
        Some(Ok(Message::Text(text))) => talk.message(&text.as_str().into())?,
        Some(Ok(Message::Binary(data))) => talk.message(&data.into())?,
        Some(Ok(Message::Pong(payload))) => talk.pong(&payload)?,
        Some(Ok(Message::Close(frame))) => {
            end.theirs = Some(frame.map_or(1005, |frame| frame.code.into()));
        }
        Some(Ok(_)) => {}
    }
    Ok(false)
}
