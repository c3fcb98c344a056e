//! What a heartbeat costs without anybody who keeps one: each socket is written a ping once an
//! interval, spread evenly, and its answer is read.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::Settings;

pub(super) fn serve(listener: TcpListener, settings: Settings) -> io::Result<()> {
    let interval = settings.heartbeat.unwrap_or(Duration::from_secs(20));
    let mut listener = mio::net::TcpListener::from_std(listener);
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut streams: Vec<TcpStream> = Vec::new();
    let (mut next, mut due) = (0, Instant::now());
    let mut buffer = [0; 1024];
    loop {
        // Whoever keeps timers sleeps until one is due, too.
        let wait = (!streams.is_empty()).then(|| due.saturating_duration_since(Instant::now()));
        poll.poll(&mut events, wait)?;
        for event in &events {
            match event.token() {
                LISTENER => {
                    accept_all(&listener, &poll, &mut streams)?;
                    due = Instant::now();
                }
                // A read that falls short has emptied the socket.
                Token(number) => match streams[number].read(&mut buffer) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Ok(1..) => {}
                    // The load is done.
                    Ok(0) | Err(_) => return Ok(()),
                },
            }
        }
        let Ok(count @ 1..) = u32::try_from(streams.len()) else {
            continue;
        };
        while Instant::now() >= due {
            due += interval / count;
            next = (next + 1) % streams.len();
            if streams[next].write_all(&PING).is_err() {
                return Ok(());
            }
        }
    }
}

fn accept_all(
    listener: &mio::net::TcpListener,
    poll: &Poll,
    streams: &mut Vec<TcpStream>,
) -> io::Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        stream.set_nodelay(true)?;
        let token = Token(streams.len());
        poll.registry()
            .register(&mut stream, token, Interest::READABLE)?;
        streams.push(stream);
    }
}

const LISTENER: Token = Token(usize::MAX - 1);

/// A ping of eight bytes, as wspulse sends them.
const PING: [u8; 10] = [0x89, 8, 1, 2, 3, 4, 5, 6, 7, 8];
