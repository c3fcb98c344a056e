//! Who the peers are, how they are started, and what their interfaces cannot do.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which end the peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Server,
    Client,
}

impl Side {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

/// Something a peer's interface does, or the reason why it does not.
pub(crate) type Ability = Result<(), &'static str>;

/// What a peer does of permessage-deflate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deflate {
    Whole,
    /// Inflates what comes, and compresses nothing.
    Inflates,
    /// As a server it agrees to each offer without its parameters.
    WithoutParameters,
    /// Nothing, for this reason.
    Not(&'static str),
}

/// A WebSocket implementation of others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) program: Program,
    pub(crate) sides: &'static [Side],
    /// Sends a message in the fragments that its user chooses.
    pub(crate) fragments: Ability,
    /// Sends pings for its user, who learns of the pong.
    pub(crate) ping: Ability,
    /// As `ping`, but who asked for the ping does not learn of the pong.
    pub(crate) hides_pong: bool,
    /// Loses bytes that come right behind the answer to its handshake, and has to be heard first.
    pub(crate) is_hasty: bool,
    /// Pings by itself and hangs up on silence.
    pub(crate) keepalive: Ability,
    #[cfg_attr(not(feature = "deflate"), expect(dead_code, reason = "for the column"))]
    pub(crate) deflate: Deflate,
    /// What stands beside its name in the table.
    pub(crate) note: Option<&'static str>,
}

/// How a peer is started.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program {
    /// A file of `peers/`, with arguments before the side.
    Python(&'static str, &'static [&'static str]),
    Node(&'static str),
    Java(&'static str),
    /// A part of this program.
    Rust,
    /// A page of `peers/`, served by this program.
    Chromium(&'static str),
}

const BOTH: &[Side] = &[Side::Server, Side::Client];
const CLIENT: &[Side] = &[Side::Client];

const BROWSER_API: &str = "the browser's WebSocket interface has no such call";
const NO_KEEPALIVE: &str = "has no keepalive of its own";
const NO_DEFLATE: &str = "does not implement permessage-deflate";

/// A peer that does everything.
const ABLE: Peer = Peer {
    name: "",
    program: Program::Rust,
    sides: BOTH,
    fragments: Ok(()),
    ping: Ok(()),
    hides_pong: false,
    is_hasty: false,
    keepalive: Ok(()),
    deflate: Deflate::Whole,
    note: None,
};

pub(crate) const PEERS: &[Peer] = &[
    Peer {
        name: "Python websockets",
        program: Program::Python("websockets_peer.py", &["websockets"]),
        ..ABLE
    },
    Peer {
        name: "Python aiohttp",
        program: Program::Python("aiohttp_peer.py", &[]),
        fragments: Err("aiohttp has no call that sends a frame without FIN"),
        hides_pong: true,
        note: Some("its user does not learn of pongs; that one was sent is seen on the wire"),
        ..ABLE
    },
    Peer {
        name: "Python picows",
        program: Program::Python("picows_peer.py", &[]),
        deflate: Deflate::Not("picows's core interface leaves extensions to its user"),
        ..ABLE
    },
    Peer {
        name: "Python picows.websockets",
        program: Program::Python("websockets_peer.py", &["picows.websockets"]),
        deflate: Deflate::WithoutParameters,
        note: Some(
            "its server agrees to any offer of permessage-deflate without its parameters, against \
             RFC 7692 §7.1.1.1, and is offered only what needs none",
        ),
        ..ABLE
    },
    Peer {
        name: "Node ws",
        program: Program::Node("ws_peer.mjs"),
        ..ABLE
    },
    Peer {
        name: "Node undici",
        program: Program::Node("undici_peer.mjs"),
        sides: CLIENT,
        fragments: Err(BROWSER_API),
        ping: Err(BROWSER_API),
        keepalive: Err(NO_KEEPALIVE),
        deflate: Deflate::Inflates,
        note: Some("inflates what comes, and compresses nothing"),
        ..ABLE
    },
    Peer {
        name: "Java HttpClient",
        program: Program::Java("Peer.java"),
        is_hasty: true,
        note: Some(
            "it loses bytes that come right behind the answer to its handshake, and is heard \
             before more than a message is sent to it",
        ),
        sides: CLIENT,
        keepalive: Err(NO_KEEPALIVE),
        deflate: Deflate::Not(NO_DEFLATE),
        ..ABLE
    },
    Peer {
        name: "tungstenite",
        keepalive: Err(NO_KEEPALIVE),
        deflate: Deflate::Not(NO_DEFLATE),
        ..ABLE
    },
    Peer {
        name: "fastwebsockets",
        keepalive: Err(NO_KEEPALIVE),
        deflate: Deflate::Not(NO_DEFLATE),
        ..ABLE
    },
    Peer {
        name: "tokio-websockets",
        keepalive: Err(NO_KEEPALIVE),
        deflate: Deflate::Not(NO_DEFLATE),
        ..ABLE
    },
    Peer {
        name: "Chromium",
        program: Program::Chromium("page.html"),
        sides: CLIENT,
        fragments: Err(BROWSER_API),
        ping: Err(BROWSER_API),
        keepalive: Err(NO_KEEPALIVE),
        ..ABLE
    },
];

impl Peer {
    /// Returns the command that starts it; `url` is where a client connects to, or a browser looks.
    pub(crate) fn command(&self, side: Side, url: Option<&str>, profile: &Path) -> Command {
        let mut command = match self.program {
            Program::Python(file, arguments) => {
                let mut command = Command::new(installed("venv/bin/python"));
                command.arg(source(file)).args(arguments);
                command
            }
            Program::Node(file) => {
                let mut command = Command::new("node");
                command.current_dir(installed("node")).arg(source(file));
                command
            }
            Program::Java(file) => {
                let mut command = Command::new("java");
                command.arg("-Xmx1g").arg(source(file));
                command
            }
            Program::Rust => {
                let mut command = Command::new(env::current_exe().unwrap_or_default());
                command.args(["peer", self.name]);
                command
            }
            Program::Chromium(_) => return chromium(url, profile),
        };
        command.arg(side.name()).args(url);
        command
    }
}

fn chromium(url: Option<&str>, profile: &Path) -> Command {
    let mut command = Command::new("chromium");
    command.args([
        "--headless",
        "--disable-gpu",
        "--no-first-run",
        "--disable-extensions",
    ]);
    command.args([
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]);
    command.arg("--disable-dev-shm-usage");
    if rustix::process::geteuid().is_root() {
        command.arg("--no-sandbox");
    }
    command.arg(format!("--user-data-dir={}", profile.display()));
    command.args(url);
    command
}

pub(crate) fn source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("peers")
        .join(file)
}

/// Where `run.sh` installs.
pub(crate) fn installed(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/peers")
        .join(file)
}
