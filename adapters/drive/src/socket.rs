//! What an adapter asks of the operating system beside bytes: entropy and socket options.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{Config, Seed};

/// Draws a connection's secret from the operating system.
///
/// # Errors
///
/// If the operating system has no entropy to give.
pub fn seed() -> io::Result<Seed> {
    let mut entropy = [0; 32];
    getrandom::fill(&mut entropy).map_err(io::Error::other)?;
    Ok(Seed::new(entropy))
}

/// Draws what spreads one client's reconnects from those of the others.
pub(crate) fn backoff_seed() -> io::Result<u64> {
    getrandom::u64().map_err(io::Error::other)
}

/// Listens on the first TCP address that can be, as [`TcpListener::bind`] does, with a longer queue of
/// clients that are connected and not accepted yet: 1,024, or as many as the system allows. A server that restarts
/// meets more than 128 at once, and each beyond the queue waits for a retransmission, a second or
/// longer.
///
/// # Errors
///
/// If none of the addresses can be listened on.
pub fn listen(addresses: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let mut last = io::Error::from(io::ErrorKind::InvalidInput);
    for address in addresses.to_socket_addrs()? {
        match listen_on(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    // As the standard library has it: a server that restarts takes its address again.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Sets up a TCP socket for small messages, honest backpressure and a bounded end.
///
/// - TCP_NODELAY: the engine gathers small frames itself, and a ping must not wait for an
///   acknowledgement.
/// - TCP_NOTSENT_LOWAT, 128 KiB (Linux): how much unsent output the kernel takes before it pushes
///   back. Enough to keep the path busy, little enough that a control frame does not queue behind
///   megabytes that nobody can reorder.
/// - TCP_USER_TIMEOUT (Linux): see [`set_patience`], which is for when the heartbeat changes.
///
/// Best effort: a socket that refuses an option still works, only less promptly.
pub fn tune<'s>(socket: impl Into<SockRef<'s>>, config: &Config) {
    let socket = socket.into();
    let _ = socket.set_tcp_nodelay(true);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket.set_tcp_notsent_lowat(NOTSENT_LOWAT);
    set_patience(socket, config.heartbeat());
}

/// Sets for how long the kernel waits for a peer beside the heartbeat: to be said again when that
/// changes.
///
/// While a heartbeat gives silent peers up, TCP_USER_TIMEOUT (Linux) is not set (rule 11). The option
/// runs on through pauses of this process, and counts a peer that only does not read: it would end
/// connections that the engine keeps, and without the engine's reason.
///
/// Without such a heartbeat it is `write_stall_timeout` and a second. More than the option can say,
/// 24 days, leaves the kernel its own.
///
/// Best effort, as [`tune`].
pub fn set_patience<'s>(socket: impl Into<SockRef<'s>>, heartbeat: &HeartbeatConfig) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let patience = match heartbeat.detection_bound() {
            Some(_) => Duration::MAX,
            None => heartbeat.output_patience(),
        };
        let patience = patience.saturating_add(AFTER_THE_ENGINE);
        // The kernel counts milliseconds in 31 bits, and refuses more.
        let can_be_said = i32::try_from(patience.as_millis()).is_ok();
        let patience = can_be_said.then_some(patience);
        let _ = socket.into().set_tcp_user_timeout(patience);
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (socket, heartbeat);
}

/// Has the kernel watch over the peer while nobody reads, as a full inbox has it (rule 16), and once
/// the connection is dropped without a clean end, so that no socket is left behind; or no longer. A silence is found within about the heartbeat's interval and timeout by TCP keepalive,
/// and what nobody acknowledges by TCP_USER_TIMEOUT (Linux). The socket then reports an error.
///
/// Without a heartbeat that gives up there is nothing to watch for.
///
/// Best effort, as [`tune`].
pub fn watch<'s>(socket: impl Into<SockRef<'s>>, heartbeat: &HeartbeatConfig, on: bool) {
    let socket = socket.into();
    let bound = heartbeat.detection_bound().filter(|_| on);
    let Some(bound) = bound else {
        let _ = socket.set_keepalive(false);
        return set_patience(socket, heartbeat);
    };
    // Half of it in silence, and three probes in the other half; the kernel counts seconds.
    let seconds = |part: u32| (bound / part).max(Duration::from_secs(1));
    let keepalive = TcpKeepalive::new().with_time(seconds(2));
    #[cfg(any(
        target_os = "linux",
        target_os = "android",
        target_vendor = "apple",
        windows
    ))]
    let keepalive = keepalive.with_interval(seconds(6));
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    let keepalive = keepalive.with_retries(3);
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if i32::try_from(bound.as_millis()).is_ok() {
        let _ = socket.set_tcp_user_timeout(Some(bound));
    }
}

/// Clients that are connected and not accepted yet.
const BACKLOG: i32 = 1024;

/// Unsent output that the kernel takes.
#[cfg(any(target_os = "linux", target_os = "android"))]
const NOTSENT_LOWAT: u32 = 128 * 1024;

/// How much longer than the engine the kernel waits.
#[cfg(any(target_os = "linux", target_os = "android"))]
const AFTER_THE_ENGINE: Duration = Duration::from_secs(1);

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_kernel_judges_no_peer_that_a_heartbeat_watches() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let patience = || SockRef::from(&stream).tcp_user_timeout().unwrap();
        let secs = Duration::from_secs;
        let ping = HeartbeatConfig::ping(secs(1), secs(5));
        tune(&stream, &Config::builder().heartbeat(ping).build().unwrap());
        assert_eq!(patience(), None);
        watch(&stream, &ping, true);
        assert_eq!(patience(), Some(secs(6)), "interval and timeout");
        watch(&stream, &ping, false);
        assert_eq!(patience(), None);

        let off = |stall| HeartbeatConfig::off().write_stall_timeout(secs(stall));
        set_patience(&stream, &off(30));
        assert_eq!(patience(), Some(secs(31)));
        // 49 days: they fit in 32 bits, and the kernel refuses them.
        set_patience(&stream, &off(49 * 24 * 3600));
        assert_eq!(patience(), None, "there is no limit that could be said");
        set_patience(&stream, &off(3));
        assert_eq!(patience(), Some(secs(4)));
    }
}
