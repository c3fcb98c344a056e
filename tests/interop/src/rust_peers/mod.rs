//! The peers that are Rust libraries: this program, started again.

mod fastwebsockets;
mod tokio_websockets;
mod tungstenite;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::link::Fault;

/// Runs the peer of this name on this side: `NAME server` or `NAME client URL`.
pub(crate) fn run(arguments: &[String]) -> Result<(), Fault> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (name, url) = match words[..] {
        [name, "server"] => (name, None),
        [name, "client", url] => (name, Some(url)),
        _ => return Err("peer NAME server, or peer NAME client URL".into()),
    };
    match (name, url) {
        ("tungstenite", None) => tungstenite::serve(),
        ("tungstenite", Some(url)) => tungstenite::connect(url),
        ("fastwebsockets", None) => on_tokio(fastwebsockets::serve()),
        ("fastwebsockets", Some(url)) => on_tokio(fastwebsockets::connect(url.to_owned())),
        ("tokio-websockets", None) => on_tokio(tokio_websockets::serve()),
        ("tokio-websockets", Some(url)) => on_tokio(tokio_websockets::connect(url.to_owned())),
        _ => Err("no peer has such a name".into()),
    }
}

fn on_tokio(peer: impl Future<Output = Result<(), Fault>>) -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(peer)
}

/// What is asked for on the control connection.
enum Order<'a> {
    Open(&'a str),
    Closed(&'a str),
    Version,
}

impl<'a> Order<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        match text.split_once(' ').unwrap_or((text, "")) {
            ("open", url) => Some(Self::Open(url)),
            ("closed", name) => Some(Self::Closed(name)),
            ("version", _) => Some(Self::Version),
            _ => None,
        }
    }
}

/// What is asked for on another connection.
enum Command {
    Ping(Vec<u8>),
    Close(u16, String),
    Parts,
}

impl Command {
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix("cmd:")?;
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "ping" => Some(Self::Ping(rest.into())),
            "close" => {
                let (code, reason) = rest.split_once(' ')?;
                Some(Self::Close(code.parse().ok()?, reason.to_owned()))
            }
            "parts" => Some(Self::Parts),
            _ => None,
        }
    }
}

/// How the connections ended.
static ENDED: Mutex<Option<HashMap<String, String>>> = Mutex::new(None);

fn end(name: &str, code: u16, reason: &str) {
    let mut ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
    let ended = ended.get_or_insert_default();
    ended.insert(name.to_owned(), format!("{code} {reason}"));
}

fn ended(name: &str) -> String {
    let ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
    let said = ended.as_ref().and_then(|ended| ended.get(name));
    said.cloned().unwrap_or_else(|| "open".to_owned())
}

/// The last part of a URL or its path, which says what a connection is for.
fn name_of(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}

/// Cuts a message into four parts or so.
fn parts(payload: &[u8]) -> Vec<&[u8]> {
    payload.chunks(payload.len() / 4 + 1).collect()
}

/// The version of a library, as this program is locked to it.
fn version(library: &str) -> &'static str {
    let lock = include_str!("../../Cargo.lock");
    let entry = format!("name = \"{library}\"\nversion = \"");
    let version = lock
        .split_once(&entry)
        .and_then(|(_, rest)| rest.split('"').next());
    version.unwrap_or("of an unknown version")
}
